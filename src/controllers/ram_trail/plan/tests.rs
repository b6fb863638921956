//! Tables, and the properties that no table can show: a plan carried out leaves nothing to plan, nothing is reduced without its
//! own wanted value falling, and more than wanted is never touched.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::job::wanted_sink;
use super::*;
use crate::controllers::ownership::Spelling;
use crate::controllers::ram_trail::copy_script;
use crate::controllers::ram_trail::model::Memory;
use crate::controllers::ram_trail::model::{Job, JobFound, JobState, WantedCopy};

const ACCOUNT: &str = "1234567890123456";
const PROJECT: &str = "acs:log:cn-hangzhou:1234567890123456:project/audit";
/// The cloud's time.
const NOW: i64 = 1_000_000;
const CREATED: &str = "2026-01-02T03:04:05Z";

fn owner() -> Owner {
    Owner::new("prod-1", "RamTrail", "audit", "ram-access")
}

fn mark() -> String {
    owner().mark(Spelling::Slash)
}

fn services(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn copy() -> WantedCopy {
    WantedCopy {
        job_name: "ramtrail-ram-access".to_owned(),
        source: "actiontrail_ram-access".to_owned(),
        project: "audit".to_owned(),
        log_store: "ai-workload-log-store".to_owned(),
        endpoint: "cn-hangzhou.log.aliyuncs.com".to_owned(),
        services: services(&["ram", "sts"]),
        role_arn: "acs:ram::1234567890123456:role/copy".to_owned(),
        description: copy_script::description(&mark(), "ai-workload-log-store"),
    }
}

fn wanted() -> Wanted {
    Wanted {
        trail_name: "ram-access".to_owned(),
        account_id: ACCOUNT.to_owned(),
        region: "cn-hangzhou".to_owned(),
        project_arn: PROJECT.to_owned(),
        owner: owner(),
        logging: Logging::Enabled,
        events: EventSelection::All,
        retention_days: None,
        copy: Some(copy()),
        copy_blocked: None,
        adoption: AdoptionPolicy::IfUnowned,
    }
}

fn good_trail() -> Trail {
    Trail {
        home_region: "cn-hangzhou".to_owned(),
        arn: "acs:actiontrail:cn-hangzhou:1234567890123456:trail/ram-access".to_owned(),
        create_time: CREATED.to_owned(),
        on: true,
        events: Some(EventSelection::All),
        trail_region: "All".to_owned(),
        project_arn: PROJECT.to_owned(),
        write_role_arn: String::new(),
        others: OtherDestinations::default(),
        organization: false,
    }
}

fn good_job() -> JobFound {
    let copy = copy();
    JobFound {
        description: copy.description.clone(),
        state: JobState::Running,
        source: copy.source.clone(),
        role_arn: copy.role_arn.clone(),
        filter: Filter::Services(copy.services.clone()),
        lang: copy_script::LANG.to_owned(),
        from_time: 7,
        to_time: 0,
        sinks: vec![wanted_sink(&copy)],
    }
}

fn good() -> Observed {
    Observed {
        mark: Mark::Ours,
        trail: Some(good_trail()),
        role: Role::NotLooked,
        store: Store::Present {
            days: Some(3650),
            created: 1,
        },
        index: Index::Fine,
        job: Job::Present(good_job()),
    }
}

fn nothing() -> Observed {
    Observed {
        mark: Mark::Unowned,
        trail: None,
        role: Role::Missing,
        store: Store::NotLooked,
        index: Index::Fine,
        job: Job::NotLooked,
    }
}

fn held() -> Known {
    Known {
        claim: Some(Claim {
            origin: Origin::Created,
            external_name: "ram-access".to_owned(),
            create_time: Some(CREATED.to_owned()),
            confirmed: Some(true),
        }),
        pending: None,
        applied: Some(wanted().as_applied()),
        store_seen: true,
        now: NOW,
        memory: Memory::default(),
    }
}

fn converge(wanted: &Wanted, observed: &Observed, known: &Known) -> Plan {
    match plan(wanted, observed, known) {
        Decision::Converge(plan) => plan,
        Decision::Blocked(obstacle) => panic!("blocked: {obstacle:?}"),
    }
}

fn blocked(wanted: &Wanted, observed: &Observed, known: &Known) -> Obstacle {
    match plan(wanted, observed, known) {
        Decision::Blocked(obstacle) => obstacle,
        Decision::Converge(plan) => panic!("not blocked: {plan:?}"),
    }
}

fn actions(plan: &Plan) -> Vec<(&'static str, Effect)> {
    plan.steps
        .iter()
        .map(|step| (step.action.call(), step.effect))
        .collect()
}

#[test]
fn in_sync_there_is_nothing_to_do() {
    let plan = converge(&wanted(), &good(), &held());
    assert!(
        plan.is_settled() && plan.findings.is_empty() && plan.exceeds.is_empty(),
        "{plan:?}"
    );
}

#[test]
fn a_missing_trail_is_created_in_the_settled_order() {
    let plan = converge(&wanted(), &nothing(), &Known::default());
    let expected = [
        "TagResources",
        "CreateServiceLinkedRole",
        "CreateTrail",
        "StartLogging",
    ];
    assert_eq!(actions(&plan), expected.map(|action| (action, Effect::Create)));
    assert!(plan.findings.is_empty());
}

#[test]
fn a_present_role_is_not_created() {
    let observed = Observed {
        role: Role::Present,
        mark: Mark::Ours,
        ..nothing()
    };
    assert_eq!(
        actions(&converge(&wanted(), &observed, &Known::default())),
        [("CreateTrail", Effect::Create), ("StartLogging", Effect::Create)]
    );
}

#[test]
fn a_stopped_trail_is_created_and_not_started() {
    let wanted = Wanted {
        logging: Logging::Stopped,
        ..wanted()
    };
    let observed = Observed {
        role: Role::Present,
        mark: Mark::Ours,
        ..nothing()
    };
    assert_eq!(
        actions(&converge(&wanted, &observed, &Known::default())),
        [("CreateTrail", Effect::Create)]
    );
}

#[test]
fn the_copy_job_waits_for_the_trails_store() {
    let known = Known {
        store_seen: false,
        applied: None,
        ..held()
    };
    let missing = Observed {
        store: Store::Missing,
        job: Job::Missing,
        ..good()
    };
    let plan = converge(&wanted(), &missing, &known);
    assert!(plan.steps.is_empty());
    assert_eq!(plan.waits[0].reason, reason::WAITING_FOR_TRAIL_STORE);
    let there = Observed {
        job: Job::Missing,
        ..good()
    };
    let plan = converge(&wanted(), &there, &known);
    assert_eq!(
        actions(&plan),
        [("CreateETL", Effect::Create), ("StartETL", Effect::Create)]
    );
    assert!(plan.findings.is_empty(), "the first creation is no tampering");
}

#[test]
fn our_own_create_with_a_lost_answer_is_ours() {
    let pending = Some(PendingCreate {
        account_id: ACCOUNT.to_owned(),
        name: "ram-access".to_owned(),
        cloud_time: "2026-01-02T03:04:00Z".to_owned(),
    });
    let known = Known {
        pending,
        now: NOW,
        ..Known::default()
    };
    let mut off = good_trail();
    off.on = false;
    let observed = Observed {
        trail: Some(off),
        ..good()
    };
    let never = Wanted {
        adoption: AdoptionPolicy::Never,
        ..wanted()
    };
    let plan = converge(&never, &observed, &known);
    assert_eq!(plan.acquire, Some(Origin::Created));
    assert_eq!(actions(&plan), [("StartLogging", Effect::Create)]);
}

#[test]
fn creation_times_outside_the_window_are_not_ours() {
    let pending = |time: &str| {
        Some(PendingCreate {
            account_id: ACCOUNT.to_owned(),
            name: "ram-access".to_owned(),
            cloud_time: time.to_owned(),
        })
    };
    for (noted, ours) in [
        ("2026-01-02T03:06:05Z", true),
        ("2026-01-02T03:06:06Z", false),
        ("2026-01-02T02:49:05Z", true),
        ("2026-01-02T02:49:04Z", false),
        ("nonsense", false),
    ] {
        assert_eq!(
            pending_matches(pending(noted).as_ref(), &wanted(), CREATED),
            ours,
            "{noted}"
        );
    }
    let other = Wanted {
        account_id: "1".to_owned(),
        ..wanted()
    };
    assert!(!pending_matches(pending(CREATED).as_ref(), &other, CREATED));
    assert!(!pending_matches(None, &wanted(), CREATED));
}

#[test]
fn adoption_takes_over_only_what_it_would_not_reduce() {
    let known = Known::default();
    let unowned = Observed {
        mark: Mark::Unowned,
        job: Job::Missing,
        ..good()
    };
    let plan = converge(&wanted(), &unowned, &known);
    assert_eq!(plan.acquire, Some(Origin::Adopted));
    assert_eq!(plan.steps[0].action, Action::WriteMark);

    let lower = Wanted {
        events: EventSelection::Write,
        retention_days: Some(30),
        ..wanted()
    };
    let obstacle = blocked(&lower, &unowned, &known);
    assert_eq!(obstacle.reason, reason::ADOPTION_WOULD_REDUCE);
    assert!(
        obstacle.message.contains("events: found All, want Write"),
        "{}",
        obstacle.message
    );
    assert!(
        obstacle
            .message
            .contains("store.retentionDays: found 3650, want 30"),
        "{}",
        obstacle.message
    );

    let stopped = Wanted {
        logging: Logging::Stopped,
        ..wanted()
    };
    assert!(blocked(&stopped, &unowned, &known).message.contains("logging"));

    let mut elsewhere = good_trail();
    elsewhere.project_arn = "acs:log:cn-hangzhou:1234567890123456:project/other".to_owned();
    let redirected = Observed {
        trail: Some(elsewhere),
        ..unowned.clone()
    };
    assert!(
        blocked(&wanted(), &redirected, &known)
            .message
            .contains("destination")
    );

    let mut half = good_trail();
    half.events = Some(EventSelection::Read);
    let half = Observed {
        trail: Some(half),
        ..unowned
    };
    assert_eq!(
        blocked(&lower, &half, &known).reason,
        reason::ADOPTION_WOULD_REDUCE
    );
    assert_eq!(
        actions(&converge(&wanted(), &half, &known))[1],
        ("UpdateTrail", Effect::Protect)
    );
}

#[test]
fn adoption_never_and_foreign_marks_block() {
    let never = Wanted {
        adoption: AdoptionPolicy::Never,
        ..wanted()
    };
    let unowned = Observed {
        mark: Mark::Unowned,
        ..good()
    };
    assert_eq!(
        blocked(&never, &unowned, &Known::default()).reason,
        reason::ADOPTION_FORBIDDEN
    );
    assert_eq!(
        converge(&never, &good(), &Known::default()).acquire,
        Some(Origin::Adopted),
        "with our mark on it, it is ours although the status was lost"
    );
    let foreign = Observed {
        mark: Mark::Foreign("prod-2/x".to_owned()),
        ..good()
    };
    let obstacle = blocked(&wanted(), &foreign, &Known::default());
    assert_eq!(obstacle.reason, reason::OWNED_BY_ANOTHER);
    assert!(obstacle.message.contains("prod-2/x") && obstacle.message.contains("RamTrail/audit/ram-access"));
    let absent = Observed {
        trail: None,
        ..foreign
    };
    assert_eq!(
        blocked(&wanted(), &absent, &Known::default()).reason,
        reason::OWNED_BY_ANOTHER
    );
}

#[test]
fn adoption_always_takes_a_trail_from_another_owner_and_never_reduces_it() {
    let always = Wanted {
        adoption: AdoptionPolicy::Always,
        ..wanted()
    };
    let foreign = Observed {
        mark: Mark::Foreign("released/prod-2/x".to_owned()),
        ..good()
    };
    let first = Known {
        now: NOW,
        ..Known::default()
    };
    let plan = converge(&always, &foreign, &first);
    assert_eq!(plan.acquire, Some(Origin::Adopted));
    assert_eq!(actions(&plan), [("TagResources", Effect::Create)]);
    assert!(
        plan.steps[0]
            .text
            .ends_with("mark: found released/prod-2/x, want ours")
    );
    let narrower = Wanted {
        events: EventSelection::Write,
        ..always.clone()
    };
    assert_eq!(
        blocked(&narrower, &foreign, &first).reason,
        reason::ADOPTION_WOULD_REDUCE
    );
    // Even what looks like the answer to our own call is then another's.
    let pending = Some(PendingCreate {
        account_id: ACCOUNT.to_owned(),
        name: "ram-access".to_owned(),
        cloud_time: "2026-01-02T03:04:00Z".to_owned(),
    });
    let known = Known { pending, ..first };
    assert_eq!(converge(&always, &foreign, &known).acquire, Some(Origin::Adopted));
}

#[test]
fn trails_of_other_regions_and_organizations_block() {
    let mut trail = good_trail();
    trail.home_region = "cn-beijing".to_owned();
    let observed = Observed {
        trail: Some(trail),
        ..good()
    };
    assert_eq!(
        blocked(&wanted(), &observed, &Known::default()).reason,
        reason::NAME_TAKEN
    );
    assert_eq!(blocked(&wanted(), &observed, &held()).reason, reason::NAME_TAKEN);
    let mut trail = good_trail();
    trail.organization = true;
    let observed = Observed {
        trail: Some(trail),
        ..good()
    };
    assert_eq!(
        blocked(&wanted(), &observed, &Known::default()).reason,
        reason::ADOPTION_FORBIDDEN
    );
}

/// Each weakening of a trail in sync, the calls that mend it and the field that is named.
#[test]
fn weakenings_are_mended_and_named() {
    type Weaken = fn(&mut Observed);
    fn trail(observed: &mut Observed) -> &mut Trail {
        observed.trail.as_mut().unwrap()
    }
    fn job(observed: &mut Observed) -> &mut JobFound {
        match &mut observed.job {
            Job::Present(job) => job,
            _ => panic!("no job"),
        }
    }
    let cases: [(&str, Weaken, &[&str]); 22] = [
        ("logging", |o| trail(o).on = false, &["StartLogging"]),
        (
            "events",
            |o| trail(o).events = Some(EventSelection::Write),
            &["UpdateTrail"],
        ),
        ("events", |o| trail(o).events = None, &["UpdateTrail"]),
        (
            "regions",
            |o| trail(o).trail_region = "cn-hangzhou".to_owned(),
            &["UpdateTrail"],
        ),
        (
            "destination",
            |o| trail(o).project_arn = "acs:log:x:y:project/z".to_owned(),
            &["UpdateTrail"],
        ),
        ("destination", |o| trail(o).project_arn.clear(), &["UpdateTrail"]),
        (
            "role",
            |o| trail(o).write_role_arn = "acs:ram::1:role/evil".to_owned(),
            &["UpdateTrail"],
        ),
        ("role", |o| o.role = Role::Missing, &["CreateServiceLinkedRole"]),
        ("trail", |o| o.trail = None, &["CreateTrail", "StartLogging"]),
        ("store", |o| o.store = Store::Missing, &["UpdateTrail"]),
        ("index", |o| o.index = Index::Missing, &["UpdateIndex"]),
        ("index", |o| o.index = Index::Incomplete, &["UpdateIndex"]),
        ("mark", |o| o.mark = Mark::Unowned, &["TagResources"]),
        (
            "mark",
            |o| o.mark = Mark::Foreign("nobody".to_owned()),
            &["TagResources"],
        ),
        ("mark", |o| o.mark = Mark::ReleasedByUs, &["TagResources"]),
        ("copy", |o| o.job = Job::Missing, &["CreateETL", "StartETL"]),
        ("copy", |o| job(o).state = JobState::Stopped, &["StartETL"]),
        (
            "copy",
            |o| job(o).filter = Filter::Services(services(&["ram"])),
            &["UpdateETL"],
        ),
        ("copy", |o| job(o).filter = Filter::Unknown, &["UpdateETL"]),
        ("copy", |o| job(o).to_time = 99, &["UpdateETL"]),
        (
            "copy",
            |o| job(o).sinks[0].log_store = "elsewhere".to_owned(),
            &["UpdateETL"],
        ),
        (
            "copy",
            |o| job(o).role_arn = "acs:ram::1:role/none".to_owned(),
            &["UpdateETL"],
        ),
    ];
    for (field, weaken, calls) in cases {
        let mut observed = good();
        weaken(&mut observed);
        let plan = converge(&wanted(), &observed, &held());
        let made: Vec<&str> = plan.steps.iter().map(|step| step.action.call()).collect();
        assert_eq!(made, calls, "{field}: {plan:?}");
        assert!(
            plan.steps
                .iter()
                .all(|step| matches!(step.effect, Effect::Create | Effect::Protect)),
            "{field}: {plan:?}"
        );
        assert!(
            plan.findings.iter().any(|finding| finding.field == field),
            "{field}: {plan:?}"
        );
    }
}

#[test]
fn a_lowered_retention_is_raised_and_a_raised_one_is_reported() {
    let wanted = Wanted {
        retention_days: Some(365),
        ..wanted()
    };
    let known = Known {
        applied: Some(wanted.as_applied()),
        ..held()
    };
    let at = |days| Observed {
        store: Store::Present {
            days: Some(days),
            created: 1,
        },
        ..good()
    };
    let plan = converge(&wanted, &at(7), &known);
    assert_eq!(actions(&plan), [("UpdateLogStore", Effect::Protect)]);
    assert_eq!(plan.findings[0].field, "retention");
    let plan = converge(&wanted, &at(3650), &known);
    assert!(plan.steps.is_empty());
    assert_eq!(plan.exceeds, ["store.retentionDays: found 3650, want 365"]);
}

#[test]
fn the_first_retention_below_permanent_is_a_change_of_the_spec() {
    let wanted = Wanted {
        retention_days: Some(365),
        ..wanted()
    };
    let plan = converge(&wanted, &good(), &held());
    assert_eq!(actions(&plan), [("UpdateLogStore", Effect::Reduce)]);
    let before = held().applied;
    assert_eq!(
        plan.applied(&wanted, &good(), before.as_ref(), false)
            .store_retention_days,
        None
    );
    assert_eq!(
        plan.applied(&wanted, &good(), before.as_ref(), true)
            .store_retention_days,
        Some(365)
    );
    let created_now = Known {
        applied: None,
        ..held()
    };
    assert_eq!(
        actions(&converge(&wanted, &good(), &created_now)),
        [("UpdateLogStore", Effect::Reduce)]
    );
    let mut adopted = Known {
        applied: None,
        ..held()
    };
    adopted.claim.as_mut().unwrap().origin = Origin::Adopted;
    let plan = converge(&wanted, &good(), &adopted);
    assert!(plan.steps.is_empty() && plan.exceeds.len() == 1);
}

#[test]
fn retention_is_not_noted_before_the_store_is_there() {
    let wanted = Wanted {
        retention_days: Some(365),
        ..wanted()
    };
    let plan = converge(
        &wanted,
        &Observed {
            mark: Mark::Ours,
            ..nothing()
        },
        &Known::default(),
    );
    let applied = plan.applied(&wanted, &nothing(), None, true);
    assert_eq!((applied.store_retention_days, applied.copy), (None, None));
    assert_eq!(
        (applied.events, applied.logging),
        (Some(EventSelection::All), Some(Logging::Enabled))
    );
}

/// Out-of-band increases: reported, never undone.
#[test]
fn more_than_wanted_is_left() {
    let wanted = Wanted {
        logging: Logging::Stopped,
        events: EventSelection::Write,
        retention_days: Some(30),
        ..wanted()
    };
    let known = Known {
        applied: Some(wanted.as_applied()),
        ..held()
    };
    let mut job = good_job();
    job.filter = Filter::Everything;
    let observed = Observed {
        job: Job::Present(job),
        ..good()
    };
    let plan = converge(&wanted, &observed, &known);
    assert!(plan.steps.is_empty() && plan.findings.is_empty(), "{plan:?}");
    assert_eq!(plan.exceeds.len(), 4, "{plan:?}");
}

#[test]
fn a_spec_that_falls_reduces_that_field_only() {
    let before = wanted();
    let known = held();
    let stop = Wanted {
        logging: Logging::Stopped,
        ..before.clone()
    };
    assert_eq!(
        actions(&converge(&stop, &good(), &known)),
        [("StopLogging", Effect::Reduce)]
    );
    let write = Wanted {
        events: EventSelection::Write,
        ..before.clone()
    };
    let plan = converge(&write, &good(), &known);
    assert_eq!(actions(&plan), [("UpdateTrail", Effect::Reduce)]);
    let mut fewer = copy();
    fewer.services = services(&["ram"]);
    let fewer = Wanted {
        copy: Some(fewer),
        ..before.clone()
    };
    assert_eq!(
        actions(&converge(&fewer, &good(), &known)),
        [("UpdateETL", Effect::Reduce)]
    );
    let none = Wanted { copy: None, ..before };
    assert_eq!(
        actions(&converge(&none, &good(), &known)),
        [("DeleteETL", Effect::Reduce)]
    );
    let mut foreign = good_job();
    foreign.description = "somebody's".to_owned();
    let observed = Observed {
        job: Job::Present(foreign),
        ..good()
    };
    assert!(
        converge(&none, &observed, &known).steps.is_empty(),
        "a job that is not ours is left"
    );
}

#[test]
fn of_two_halves_the_whole_is_restored() {
    let wanted = Wanted {
        events: EventSelection::Write,
        ..wanted()
    };
    let known = Known {
        applied: Some(wanted.as_applied()),
        ..held()
    };
    let mut trail = good_trail();
    trail.events = Some(EventSelection::Read);
    let plan = converge(
        &wanted,
        &Observed {
            trail: Some(trail.clone()),
            ..good()
        },
        &known,
    );
    let [
        Step {
            action: Action::UpdateTrail(settings),
            effect: Effect::Protect,
            ..
        },
    ] = plan.steps.as_slice()
    else {
        panic!("{plan:?}");
    };
    assert_eq!(
        settings.events,
        EventSelection::All,
        "setting Write would take the reads away"
    );
    let read_before = Known {
        applied: Some(
            Wanted {
                events: EventSelection::Read,
                ..wanted.clone()
            }
            .as_applied(),
        ),
        ..held()
    };
    let plan = converge(
        &wanted,
        &Observed {
            trail: Some(trail),
            ..good()
        },
        &read_before,
    );
    assert_eq!(actions(&plan), [("UpdateTrail", Effect::Reduce)]);
}

#[test]
fn a_step_is_planned_anew_for_what_changed_since_the_look() {
    let is_update = |action: &Action| matches!(action, Action::UpdateTrail(_));
    let with = |events, region: &str| {
        let mut observed = good();
        let trail = observed.trail.as_mut().unwrap();
        trail.events = Some(events);
        region.clone_into(&mut trail.trail_region);
        observed
    };
    let mut wanted = wanted();
    wanted.events = EventSelection::Write;
    let mut known = held();
    known.applied = Some(wanted.as_applied());
    // Regions were narrowed, so the whole is sent: events that somebody widened by now stay wide.
    let narrow = with(EventSelection::Write, "cn-hangzhou");
    assert!(actions(&converge(&wanted, &narrow, &known)).contains(&("UpdateTrail", Effect::Protect)));
    let wide = with(EventSelection::All, "cn-hangzhou");
    let again =
        |observed: &Observed, known: &Known, planned| again(&wanted, observed, known, planned, is_update);
    let Ok(Some(Action::UpdateTrail(settings))) = again(&wide, &known, Effect::Protect) else {
        panic!("the regions are still narrow");
    };
    assert_eq!(
        (settings.events, settings.trail_region.as_str()),
        (EventSelection::All, ALL_REGIONS)
    );
    // Somebody else was faster.
    assert_eq!(
        again(&with(EventSelection::All, ALL_REGIONS), &known, Effect::Protect),
        Ok(None)
    );
    // What was to protect only does not become a reduction.
    let mut fell = known.clone();
    fell.applied.as_mut().unwrap().events = Some(EventSelection::All);
    assert_eq!(again(&wide, &fell, Effect::Protect), Err(Moved));
    assert!(matches!(again(&wide, &fell, Effect::Reduce), Ok(Some(_))));
}

#[test]
fn other_destinations_are_echoed() {
    let mut trail = good_trail();
    trail.trail_region = "cn-hangzhou".to_owned();
    trail.others = OtherDestinations {
        oss_bucket: Some("bucket".to_owned()),
        oss_prefix: Some("prefix".to_owned()),
        oss_role_arn: Some("acs:ram::1:role/oss".to_owned()),
        max_compute_project_arn: Some("acs:odps:x".to_owned()),
        max_compute_role_arn: Some("acs:ram::1:role/mc".to_owned()),
    };
    let plan = converge(
        &wanted(),
        &Observed {
            trail: Some(trail.clone()),
            ..good()
        },
        &held(),
    );
    let Action::UpdateTrail(settings) = &plan.steps[0].action else {
        panic!("{plan:?}")
    };
    assert_eq!(settings.others, trail.others);
    assert_eq!(settings.project_arn, PROJECT);
}

#[test]
fn another_clusters_mark_wins_while_the_claim_is_young_and_is_never_overwritten() {
    let theirs = Mark::Foreign(Owner::new("prod-2", "RamTrail", "audit", "ram-access").mark(Spelling::Slash));
    let observed = Observed {
        mark: theirs,
        ..good()
    };
    let mut young = held();
    young.claim.as_mut().unwrap().confirmed = None;
    assert_eq!(
        blocked(&wanted(), &observed, &young).reason,
        reason::OWNED_BY_ANOTHER
    );
    let plan = converge(&wanted(), &observed, &held());
    assert!(plan.steps.is_empty());
    assert_eq!(plan.stalls[0].reason, reason::OWNED_BY_ANOTHER);
    assert_eq!(plan.findings[0].field, "mark");
}

#[test]
fn a_mark_of_our_own_cluster_is_restored() {
    let other = Mark::Foreign(Owner::new("prod-1", "RamTrail", "audit", "other").mark(Spelling::Slash));
    let plan = converge(
        &wanted(),
        &Observed {
            mark: other,
            ..good()
        },
        &held(),
    );
    assert_eq!(actions(&plan), [("TagResources", Effect::Protect)]);
}

#[test]
fn a_store_that_does_not_come_back_stalls_with_what_to_do() {
    let observed = Observed {
        store: Store::Missing,
        ..good()
    };
    let with = |attempt| Known {
        memory: Memory {
            store_repair: attempt,
            ..Memory::default()
        },
        ..held()
    };
    let plan = converge(&wanted(), &observed, &with(Attempt::Waiting));
    assert!(
        plan.steps.is_empty() && plan.stalls.is_empty() && plan.waits.len() == 1,
        "{plan:?}"
    );
    let plan = converge(&wanted(), &observed, &with(Attempt::Failed));
    assert!(plan.steps.is_empty(), "{plan:?}");
    assert_eq!(plan.stalls[0].reason, reason::DELIVERY_BROKEN);
    assert!(plan.stalls[0].message.contains("console"));
}

#[test]
fn a_failed_job_is_started_once_and_then_explained() {
    let mut job = good_job();
    job.state = JobState::Failed;
    let observed = Observed {
        job: Job::Present(job),
        ..good()
    };
    let with = |attempt| Known {
        memory: Memory {
            job_start: attempt,
            ..Memory::default()
        },
        ..held()
    };
    assert_eq!(
        actions(&converge(&wanted(), &observed, &with(Attempt::Open))),
        [("StartETL", Effect::Protect)]
    );
    assert_eq!(
        converge(&wanted(), &observed, &with(Attempt::Waiting)).waits[0].reason,
        reason::COPY_JOB_FAILED
    );
    let plan = converge(&wanted(), &observed, &with(Attempt::Failed));
    assert!(plan.steps.is_empty());
    assert_eq!(plan.stalls[0].reason, reason::COPY_JOB_FAILED);
}

#[test]
fn a_beginning_that_leaves_out_events_is_a_weakening() {
    let plan_of = |from: i64, applied: Option<i64>, seen: Option<i64>| {
        let mut known = held();
        let copy = known.applied.as_mut().unwrap().copy.as_mut().unwrap();
        copy.from_time = applied;
        known.memory.job_seen = seen;
        let mut observed = good();
        let Job::Present(job) = &mut observed.job else {
            unreachable!()
        };
        job.from_time = from;
        converge(&wanted(), &observed, &known)
    };
    for (from, applied, seen) in [
        (NOW + 1, None, None),
        (NOW + 1, Some(7), Some(NOW)),
        (8, Some(7), None),
        (501, Some(7), Some(500)),
    ] {
        let plan = plan_of(from, applied, seen);
        let [step] = &plan.steps[..] else {
            panic!("{plan:?}")
        };
        let Action::UpdateJob(settings) = &step.action else {
            panic!("{plan:?}")
        };
        assert_eq!((settings.from_time, step.effect), (None, Effect::Protect));
        assert!(plan.findings[0].what.contains("start: found"), "{plan:?}");
    }
    for (from, applied, seen) in [
        (7, Some(7), None),
        (0, Some(7), None),
        (500, Some(7), Some(500)),
        (NOW, None, None),
    ] {
        assert_eq!(
            plan_of(from, applied, seen).steps,
            [],
            "{from} {applied:?} {seen:?}"
        );
    }
}

#[test]
fn the_type_of_the_index_is_restored_only_if_it_was_known() {
    let plan_of = |index| converge(&wanted(), &Observed { index, ..good() }, &held());
    let changed = plan_of(Index::Retyped);
    assert_eq!(changed.steps[0].action, Action::RestoreIndex);
    assert_eq!(changed.findings[0].field, "index");
    let never = plan_of(Index::OtherType);
    assert_eq!((never.steps, never.weak.len()), (vec![], 1));
}

#[test]
fn without_a_look_at_the_mark_only_protecting_steps_on_the_trail_remain() {
    let mut observed = good();
    observed.mark = Mark::Unowned;
    observed.role = Role::Missing;
    let trail = observed.trail.as_mut().unwrap();
    (trail.on, trail.events) = (false, Some(EventSelection::Write));
    let plan = converge(&wanted(), &observed, &held()).only_protecting_the_trail();
    let calls: Vec<&str> = plan.steps.iter().map(|step| step.action.call()).collect();
    assert_eq!(calls, ["UpdateTrail", "StartLogging"]);
    let fields: Vec<&str> = plan.findings.iter().map(|finding| finding.field).collect();
    assert_eq!(fields, ["events", "logging"]);
    // What the spec itself takes away waits for a whole look.
    let less = Wanted {
        logging: Logging::Stopped,
        events: EventSelection::Write,
        ..wanted()
    };
    let plan = converge(&less, &good(), &held());
    assert!(plan.steps.iter().any(|step| step.effect == Effect::Reduce));
    assert_eq!(plan.only_protecting_the_trail().steps, []);
}

#[test]
fn a_job_of_somebody_else_is_not_touched() {
    let known = Known {
        applied: None,
        ..held()
    };
    for description in [
        "",
        "theirs",
        "ramtrail-owner=prod-2/0123456789abcdef0123456789abcdef",
    ] {
        let mut job = good_job();
        job.description = description.to_owned();
        job.state = JobState::Stopped;
        let plan = converge(
            &wanted(),
            &Observed {
                job: Job::Present(job),
                ..good()
            },
            &known,
        );
        assert!(plan.steps.is_empty(), "{description}: {plan:?}");
        assert_eq!(plan.stalls[0].reason, reason::OWNED_BY_ANOTHER);
    }
}

#[test]
fn the_job_of_the_owner_before_comes_with_a_trail_that_may_be_taken_over() {
    let always = Wanted {
        adoption: AdoptionPolicy::Always,
        ..wanted()
    };
    let with_job = |description: &str, passed: &[&str]| {
        let mut job = good_job();
        job.description = description.to_owned();
        job.filter = Filter::Services(services(passed));
        Observed {
            job: Job::Present(job),
            ..good()
        }
    };
    let none_held = Known {
        applied: None,
        ..held()
    };
    let theirs = "ramtrail-owner=prod-1/0123456789abcdef0123456789abcdef";
    let plan = converge(&always, &with_job(theirs, &["ram", "sts", "ecs"]), &none_held);
    let [(call, effect)] = actions(&plan)[..] else {
        panic!("{plan:?}")
    };
    assert_eq!((call, effect), ("UpdateETL", Effect::Neutral));
    let Action::UpdateJob(settings) = &plan.steps[0].action else {
        panic!("{plan:?}")
    };
    let job = good_job();
    assert_eq!(settings.description, job.description);
    let Filter::Services(passed) = &settings.filter else {
        panic!("{settings:?}")
    };
    assert!(passed.contains("ecs"), "what it copied besides goes on");
    // One that no owner's mark is on stays its maker's, and one that we hold is not fought over.
    let unmarked = converge(&always, &with_job("theirs", &["ram", "sts"]), &none_held);
    assert_eq!(unmarked.stalls[0].reason, reason::OWNED_BY_ANOTHER);
    let other_cluster = "ramtrail-owner=prod-2/0123456789abcdef0123456789abcdef";
    let contested = converge(&always, &with_job(other_cluster, &["ram", "sts"]), &held());
    assert_eq!(contested.stalls[0].reason, reason::OWNED_BY_ANOTHER);
    assert!(contested.steps.is_empty());
}

#[test]
fn a_service_that_only_the_cloud_passes_stays() {
    let mut job = good_job();
    job.filter = Filter::Services(services(&["ram", "ecs"]));
    let plan = converge(
        &wanted(),
        &Observed {
            job: Job::Present(job),
            ..good()
        },
        &held(),
    );
    let Action::UpdateJob(settings) = &plan.steps[0].action else {
        panic!("{plan:?}")
    };
    assert_eq!(
        settings.filter,
        Filter::Services(services(&["ecs", "ram", "sts"]))
    );
    assert_eq!(settings.from_time, Some(7));
    assert_eq!(plan.exceeds.len(), 1);
}

#[test]
fn a_trail_made_again_is_kept_and_counts_as_ours_only_if_we_made_it() {
    let mut trail = good_trail();
    trail.create_time = "2026-01-03T00:00:00Z".to_owned();
    let observed = Observed {
        trail: Some(trail),
        ..good()
    };
    let plan = converge(&wanted(), &observed, &held());
    assert_eq!(plan.acquire, Some(Origin::Adopted));
    assert_eq!(plan.findings[0].field, "trail");
    let pending = PendingCreate {
        account_id: ACCOUNT.to_owned(),
        name: "ram-access".to_owned(),
        cloud_time: "2026-01-03T00:00:00Z".to_owned(),
    };
    let plan = converge(
        &wanted(),
        &observed,
        &Known {
            pending: Some(pending),
            ..held()
        },
    );
    assert_eq!(plan.acquire, Some(Origin::Created));
    assert!(plan.findings.is_empty());
}

#[test]
fn a_trail_made_again_by_others_is_left_under_never_and_one_of_ours_is_created() {
    let mut trail = good_trail();
    trail.create_time = "2026-01-03T00:00:00Z".to_owned();
    let observed = Observed {
        trail: Some(trail),
        ..good()
    };
    let never = Wanted {
        adoption: AdoptionPolicy::Never,
        ..wanted()
    };
    assert_eq!(
        blocked(&never, &observed, &held()).reason,
        reason::ADOPTION_FORBIDDEN
    );
    let mut adopted = held();
    adopted.claim.as_mut().unwrap().origin = Origin::Adopted;
    adopted.pending = Some(PendingCreate {
        account_id: ACCOUNT.to_owned(),
        name: "ram-access".to_owned(),
        cloud_time: "2026-01-03T00:00:00Z".to_owned(),
    });
    assert_eq!(
        converge(&never, &observed, &adopted).acquire,
        Some(Origin::Created),
        "what we made again ourselves was created by us"
    );
}

#[test]
fn values_that_are_not_told_are_never_taken_for_low_ones() {
    let wanted = Wanted {
        events: EventSelection::Write,
        retention_days: Some(30),
        ..wanted()
    };
    let known = Known {
        applied: Some(wanted.as_applied()),
        ..held()
    };
    let mut trail = good_trail();
    trail.events = None;
    let untold = Observed {
        trail: Some(trail),
        store: Store::Present {
            days: None,
            created: 1,
        },
        ..good()
    };
    let plan = converge(&wanted, &untold, &known);
    let [step] = plan.steps.as_slice() else {
        panic!("{plan:?}")
    };
    let Action::UpdateTrail(settings) = &step.action else {
        panic!("{step:?}")
    };
    assert_eq!(settings.events, EventSelection::All);
    let mut elsewhere = untold;
    elsewhere.trail.as_mut().unwrap().events = Some(EventSelection::Write);
    assert!(converge(&wanted, &elsewhere, &known).is_settled());
}

#[test]
fn other_targets_of_the_job_stay_when_ours_is_restored() {
    let other = |store: &str| Sink {
        log_store: store.to_owned(),
        ..wanted_sink(&copy())
    };
    let updated = |sinks: Vec<Sink>, known: &Known| {
        let mut job = good_job();
        job.sinks = sinks;
        let observed = Observed {
            job: Job::Present(job),
            ..good()
        };
        let plan = converge(&wanted(), &observed, known);
        let [step] = plan.steps.as_slice() else {
            panic!("{plan:?}")
        };
        let Action::UpdateJob(settings) = &step.action else {
            panic!("{step:?}")
        };
        let targets: Vec<(String, String)> = settings
            .sinks
            .iter()
            .map(|sink| (sink.name.clone(), sink.log_store.clone()))
            .collect();
        (step.effect, targets)
    };
    let pair = |name: &str, store: &str| (name.to_owned(), store.to_owned());
    assert_eq!(
        updated(vec![other("theirs")], &held()),
        (
            Effect::Protect,
            vec![
                pair("ramtrail", "theirs"),
                pair("ramtrail-2", "ai-workload-log-store")
            ]
        )
    );
    // The spec asked for another store before: only that one goes.
    let mut known = held();
    known
        .applied
        .as_mut()
        .unwrap()
        .copy
        .as_mut()
        .unwrap()
        .log_store_name = "before".to_owned();
    assert_eq!(
        updated(vec![other("before"), other("theirs")], &known),
        (
            Effect::Reduce,
            vec![
                pair("ramtrail", "theirs"),
                pair("ramtrail-2", "ai-workload-log-store")
            ]
        )
    );
}

#[test]
fn a_missing_store_of_a_stopped_trail_is_not_waited_for() {
    let wanted = Wanted {
        logging: Logging::Stopped,
        retention_days: Some(365),
        ..wanted()
    };
    let mut trail = good_trail();
    trail.on = false;
    let observed = Observed {
        trail: Some(trail),
        store: Store::Missing,
        job: Job::NotLooked,
        ..good()
    };
    let known = Known {
        store_seen: false,
        applied: None,
        ..held()
    };
    let plan = converge(&wanted, &observed, &known);
    assert!(plan.waits.is_empty() && !plan.is_under_way(), "{plan:?}");
}

#[test]
fn only_what_time_ends_is_looked_at_again_soon() {
    let blocked = |obstacle| {
        let wanted = Wanted {
            copy: None,
            copy_blocked: Some(CopyBlocked {
                obstacle,
                stalls: false,
            }),
            ..wanted()
        };
        let plan = converge(&wanted, &good(), &held());
        assert_eq!(plan.waits.len(), 1);
        plan.is_under_way()
    };
    assert!(blocked(Obstacle::new(reason::WAITING_FOR_TRAIL_STORE, "x")));
    assert!(!blocked(Obstacle::in_cluster(reason::LOG_STORE_NOT_FOUND, "x")));
}

#[test]
fn a_copy_whose_target_is_not_known_is_left_as_it_is() {
    let blocked = CopyBlocked {
        obstacle: Obstacle::new(reason::LOG_STORE_NOT_FOUND, "no store"),
        stalls: false,
    };
    let wanted = Wanted {
        copy: None,
        copy_blocked: Some(blocked),
        ..wanted()
    };
    let plan = converge(&wanted, &good(), &held());
    assert!(plan.steps.is_empty());
    assert_eq!(plan.waits[0].reason, reason::LOG_STORE_NOT_FOUND);
    let mut before = held().applied;
    before.as_mut().unwrap().copy.as_mut().unwrap().from_time = Some(5);
    assert_eq!(
        plan.applied(&wanted, &good(), before.as_ref(), true).copy,
        before.unwrap().copy
    );
}

#[test]
fn a_new_role_in_the_spec_is_neutral() {
    let mut copy = copy();
    copy.role_arn = "acs:ram::1234567890123456:role/new".to_owned();
    let plan = converge(
        &Wanted {
            copy: Some(copy),
            ..wanted()
        },
        &good(),
        &held(),
    );
    assert_eq!(actions(&plan), [("UpdateETL", Effect::Neutral)]);
    assert!(plan.findings.is_empty());
}

#[test]
fn steps_say_field_found_and_wanted() {
    let mut trail = good_trail();
    trail.on = false;
    trail.events = Some(EventSelection::Read);
    let plan = converge(
        &wanted(),
        &Observed {
            trail: Some(trail),
            ..good()
        },
        &held(),
    );
    let lines: Vec<String> = plan.steps.iter().map(|step| step.text.clone()).collect();
    assert_eq!(
        lines,
        [
            "UpdateTrail: events: found Read, want All",
            "StartLogging: logging: found off, want Enabled"
        ]
    );
}

// ---- properties ----

/// The cloud as far as steps change it.
fn carry_out(step: &Action, wanted: &Wanted, cloud: &mut Observed) {
    match step {
        Action::WriteMark => cloud.mark = Mark::Ours,
        Action::CreateRole => cloud.role = Role::Present,
        Action::CreateTrail => {
            let mut trail = good_trail();
            trail.on = false;
            trail.events = Some(wanted.events);
            cloud.trail = Some(trail);
            if !matches!(cloud.store, Store::Present { .. }) {
                cloud.store = Store::Present {
                    days: Some(PERMANENT_DAYS),
                    created: 2,
                };
            }
        }
        Action::UpdateTrail(settings) => {
            let trail = cloud.trail.as_mut().unwrap();
            trail.events = Some(settings.events);
            trail.trail_region.clone_from(&settings.trail_region);
            trail.project_arn.clone_from(&settings.project_arn);
            trail.write_role_arn = settings.write_role_arn.clone().unwrap_or_default();
            trail.others = settings.others.clone();
            if cloud.store == Store::Missing {
                cloud.store = Store::Present {
                    days: Some(PERMANENT_DAYS),
                    created: 2,
                };
            }
        }
        Action::StartLogging => cloud.trail.as_mut().unwrap().on = true,
        Action::StopLogging => cloud.trail.as_mut().unwrap().on = false,
        Action::SetRetention(days) => {
            cloud.store = Store::Present {
                days: Some(*days),
                created: 1,
            }
        }
        Action::RestoreIndex => cloud.index = Index::Fine,
        Action::CreateJob(settings) | Action::UpdateJob(settings) => {
            let state = match &cloud.job {
                Job::Present(job) => job.state,
                _ => JobState::Stopped,
            };
            cloud.job = Job::Present(JobFound {
                description: settings.description.clone(),
                state,
                source: settings.source.clone(),
                role_arn: settings.role_arn.clone(),
                filter: settings.filter.clone(),
                lang: copy_script::LANG.to_owned(),
                from_time: settings.from_time.unwrap_or(0),
                to_time: 0,
                sinks: settings.sinks.clone(),
            });
        }
        Action::StartJob => {
            if let Job::Present(job) = &mut cloud.job {
                job.state = JobState::Running;
            }
        }
        Action::DeleteJob => cloud.job = Job::Missing,
    }
    if matches!(cloud.store, Store::Present { .. }) && cloud.job == Job::NotLooked {
        cloud.job = Job::Missing;
    }
}

/// What protects: a field that loses one of these was reduced.
#[derive(Clone, Debug)]
struct Protection {
    events: BTreeSet<&'static str>,
    on: bool,
    everywhere: bool,
    days: Option<i32>,
    targets: BTreeSet<String>,
    services: Option<Filter>,
    job_runs: bool,
    others: Option<OtherDestinations>,
    role: bool,
    mark: bool,
}

fn protection(cloud: &Observed) -> Protection {
    let trail = cloud.trail.as_ref();
    let job = match &cloud.job {
        Job::Present(job) => Some(job),
        _ => None,
    };
    Protection {
        events: match trail.and_then(|t| t.events) {
            Some(EventSelection::All) => ["Read", "Write"].into(),
            Some(EventSelection::Write) => ["Write"].into(),
            Some(EventSelection::Read) => ["Read"].into(),
            None => BTreeSet::new(),
        },
        on: trail.is_some_and(|t| t.on),
        everywhere: trail.is_some_and(|t| t.trail_region == ALL_REGIONS),
        days: match cloud.store {
            Store::Present { days, .. } => days,
            _ => None,
        },
        targets: job
            .map(|job| job.sinks.iter().map(|sink| sink.log_store.clone()).collect())
            .unwrap_or_default(),
        services: job.map(|job| job.filter.clone()),
        job_runs: job.is_some_and(|job| job.state == JobState::Running),
        others: trail.map(|t| t.others.clone()),
        role: cloud.role == Role::Present,
        mark: cloud.mark == Mark::Ours,
    }
}

/// The fields that a step took from.
fn reduced(before: &Protection, after: &Protection) -> BTreeSet<&'static str> {
    let mut lost = BTreeSet::new();
    let narrower = match (&before.services, &after.services) {
        (Some(Filter::Everything), Some(other)) => *other != Filter::Everything,
        (Some(Filter::Services(b)), Some(Filter::Services(a))) => !b.is_subset(a),
        (Some(_), None) => true,
        _ => false,
    };
    for (field, fell) in [
        ("events", !before.events.is_subset(&after.events)),
        ("logging", before.on && !after.on),
        ("regions", before.everywhere && !after.everywhere),
        ("retention", before.days.is_some() && after.days < before.days),
        ("copy", !before.targets.is_subset(&after.targets)),
        ("copy", narrower || (before.job_runs && !after.job_runs)),
        ("others", before.others.is_some() && before.others != after.others),
        ("role", before.role && !after.role),
        ("mark", before.mark && !after.mark),
    ] {
        if fell {
            lost.insert(field);
        }
    }
    lost
}

/// The fields whose wanted value is lower than what was applied.
fn fallen(wanted: &Wanted, known: &Known) -> BTreeSet<&'static str> {
    let mut fields = BTreeSet::new();
    let applied = known.applied.clone().unwrap_or_default();
    if applied
        .events
        .is_some_and(|before| !covers(wanted.events, before))
    {
        fields.insert("events");
    }
    if applied.logging == Some(Logging::Enabled) && wanted.logging == Logging::Stopped {
        fields.insert("logging");
    }
    if wanted
        .retention_days
        .is_some_and(|days| days < applied.store_retention_days.unwrap_or(PERMANENT_DAYS))
    {
        fields.insert("retention");
    }
    let fewer = applied.copy.as_ref().is_some_and(|before| {
        wanted.copy.as_ref().is_none_or(|copy| {
            before.log_store_name != copy.log_store
                || before.services.iter().any(|s| !copy.services.contains(s))
        })
    });
    if fewer {
        fields.insert("copy");
    }
    fields
}

fn any_events() -> impl Strategy<Value = EventSelection> {
    prop_oneof![
        Just(EventSelection::All),
        Just(EventSelection::Write),
        Just(EventSelection::Read)
    ]
}

fn any_logging() -> impl Strategy<Value = Logging> {
    prop_oneof![Just(Logging::Enabled), Just(Logging::Stopped)]
}

fn any_days() -> impl Strategy<Value = i32> {
    prop_oneof![Just(7), Just(30), Just(365), Just(PERMANENT_DAYS)]
}

fn any_services() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set(prop_oneof!["ram", "sts", "ims", "ecs"], 1..4)
}

fn any_role() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("acs:ram::1234567890123456:role/copy"),
        Just("acs:ram::1:role/other")
    ]
    .prop_map(str::to_owned)
}

prop_compose! {
    fn any_wanted()(
        logging in any_logging(),
        events in any_events(),
        retention_days in prop::option::of(any_days()),
        copied in prop::option::of((any_services(), any_role())),
    ) -> Wanted {
        let copy = copied.map(|(services, role_arn)| WantedCopy { services, role_arn, ..copy() });
        Wanted { logging, events, retention_days, copy, ..wanted() }
    }
}

prop_compose! {
    fn any_trail()(
        on in any::<bool>(),
        events in prop::option::weighted(0.9, any_events()),
        region in prop_oneof![3 => Just("All"), 1 => Just("cn-hangzhou")],
        destination in prop_oneof![3 => Just(PROJECT), 1 => Just(""), 1 => Just("acs:log:cn-beijing:1:project/x")],
        role in prop_oneof![3 => Just(""), 1 => Just("acs:ram::1:role/evil")],
        bucket in prop::option::of(Just("bucket".to_owned())),
    ) -> Trail {
        Trail {
            on,
            events,
            trail_region: region.to_owned(),
            project_arn: destination.to_owned(),
            write_role_arn: role.to_owned(),
            others: OtherDestinations { oss_bucket: bucket, ..OtherDestinations::default() },
            ..good_trail()
        }
    }
}

prop_compose! {
    fn any_job()(
        state in prop_oneof![Just(JobState::Running), Just(JobState::Stopped), Just(JobState::Failed)],
        filter in prop_oneof![
            4 => any_services().prop_map(Filter::Services),
            1 => Just(Filter::Everything),
            1 => Just(Filter::Unknown),
        ],
        role_arn in any_role(),
        to_time in prop_oneof![3 => Just(0), 1 => Just(99)],
        target in prop_oneof![3 => Just("ai-workload-log-store"), 1 => Just("elsewhere")],
        described in prop::bool::weighted(0.9),
    ) -> JobFound {
        let mut job = JobFound { state, role_arn, filter, to_time, ..good_job() };
        job.sinks[0].log_store = target.to_owned();
        if !described {
            job.description = "changed".to_owned();
        }
        job
    }
}

prop_compose! {
    fn any_cloud()(
        mark in prop_oneof![6 => Just(Mark::Ours), 1 => Just(Mark::Unowned), 1 => Just(Mark::Foreign("text".to_owned()))],
        trail in prop::option::weighted(0.85, any_trail()),
        role in prop_oneof![Just(Role::Present), Just(Role::Missing)],
        store in prop_oneof![
            5 => any_days().prop_map(|days| Store::Present { days: Some(days), created: 1 }),
            1 => Just(Store::Present { days: None, created: 1 }),
            1 => Just(Store::Missing),
        ],
        index in prop_oneof![4 => Just(Index::Fine), 1 => Just(Index::Missing), 1 => Just(Index::Incomplete)],
        job in prop_oneof![4 => any_job().prop_map(Job::Present), 1 => Just(Job::Missing)],
    ) -> Observed {
        Observed { mark, trail, role, store, index, job }
    }
}

prop_compose! {
    fn any_known()(
        held in prop::bool::weighted(0.8),
        adopted in any::<bool>(),
        applied in prop::option::weighted(0.8, any_wanted()),
        store_seen in any::<bool>(),
    ) -> Known {
        let mut known = Known { store_seen, applied: applied.map(|w| w.as_applied()), ..self::held() };
        if adopted {
            known.claim.as_mut().unwrap().origin = Origin::Adopted;
        }
        if !held {
            known.claim = None;
            known.applied = None;
        }
        known
    }
}

/// The status as the pass would leave it.
fn after(plan: &Plan, wanted: &Wanted, observed: &Observed, known: &Known) -> Known {
    let origin = plan.acquire.unwrap_or(Origin::Created);
    Known {
        claim: known.claim.clone().or_else(|| {
            Some(Claim {
                origin,
                ..held().claim.unwrap()
            })
        }),
        applied: Some(plan.applied(wanted, observed, known.applied.as_ref(), true)),
        store_seen: true,
        ..known.clone()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(wanted in any_wanted(), cloud in any_cloud(), known in any_known()) {
        let mut cloud = cloud;
        let mut known = known;
        // Three rounds: a trail that was gone, its store, its job.
        for _ in 0..3 {
            let Decision::Converge(plan) = plan(&wanted, &cloud, &known) else { return Ok(()) };
            let seen = cloud.clone();
            for planned in &plan.steps {
                carry_out(&planned.action, &wanted, &mut cloud);
            }
            known = after(&plan, &wanted, &seen, &known);
        }
        let Decision::Converge(last) = plan(&wanted, &cloud, &known) else { panic!("blocked at the end") };
        prop_assert!(last.steps.is_empty(), "{last:?} on {cloud:?}");
        prop_assert!(last.findings.is_empty(), "{last:?}");
    }

    #[test]
    fn nothing_is_reduced_without_its_wanted_value_falling(wanted in any_wanted(), cloud in any_cloud(), known in any_known()) {
        let mut cloud = cloud;
        let Decision::Converge(plan) = plan(&wanted, &cloud, &known) else { return Ok(()) };
        let fallen = fallen(&wanted, &known);
        for planned in &plan.steps {
            let before = protection(&cloud);
            carry_out(&planned.action, &wanted, &mut cloud);
            let lost = reduced(&before, &protection(&cloud));
            prop_assert!(lost.is_subset(&fallen), "{planned:?} took {lost:?}, only {fallen:?} fell");
            if planned.effect != Effect::Reduce {
                prop_assert!(lost.is_empty(), "{planned:?} is called {:?} and took {lost:?}", planned.effect);
            }
        }
        if fallen.is_empty() {
            prop_assert!(plan.steps.iter().all(|planned| planned.effect != Effect::Reduce), "{plan:?}");
        }
    }

    #[test]
    fn more_of_everything_is_never_touched(wanted in any_wanted(), known in any_known()) {
        let known = Known { applied: Some(wanted.as_applied()), ..known };
        prop_assume!(known.claim.is_some());
        let mut job = good_job();
        job.filter = Filter::Everything;
        if let Some(copy) = &wanted.copy {
            job.role_arn.clone_from(&copy.role_arn);
            job.sinks = vec![wanted_sink(copy)];
        }
        let cloud = Observed { job: Job::Present(job), ..good() };
        let Decision::Converge(plan) = plan(&wanted, &cloud, &known) else { panic!("blocked") };
        prop_assert!(plan.steps.is_empty() && plan.findings.is_empty(), "{plan:?}");
    }
}
