//! RamTrail on a real API server, with the emulator in its hostile profile: what a user sees, what the cloud gets, and what an
//! attacker achieves.
#![allow(clippy::unwrap_used)]

mod support;
mod trail_support;

use std::collections::BTreeMap;

use ramtrail::aliyun::LogStoreName;
use ramtrail::aliyun::action_trail::{EventRw, TrailSettings, TrailState};
use ramtrail::aliyun::log_service::Taggable;
use ramtrail::api::v1alpha1::{Origin, RamTrail};
use serde_json::{Value, json};
use support::{ACCOUNT, REGION, World, reason_of, wait};
use trail_support::{
    KIND, PROJECT, STORE, TRAIL, apply_project, apply_stack, apply_store, apply_trail, copy_to, create_role,
    deliver, job, project, ram, settle, store, tags, take_role_away, trail, trail_store, until_trail, world,
};

/// A trail without copy, settled.
fn plain(purpose: &str, changes: &Value) -> World {
    let mut world = world(purpose);
    apply_project(&world);
    apply_trail(&world, changes);
    world.start();
    settle(&world);
    world
}

/// A trail with its copy, settled.
fn copying(purpose: &str) -> World {
    let mut world = world(purpose);
    apply_stack(&world);
    world.start();
    settle(&world);
    world
}

fn status_of(world: &World) -> ramtrail::api::v1alpha1::RamTrailStatus {
    world.get::<RamTrail>(TRAIL).status.unwrap()
}

/// The calls for the trail alone: what the project's own controller does is left out.
fn trail_writes(world: &World, since: u64) -> Vec<String> {
    let others = ["CreateProject", "CreateLogStore", "CreateIndex", "UpdateProject"];
    let mut tagged = 0;
    let mut writes = world.writes(since);
    writes.retain(|action| {
        tagged += usize::from(action == "TagResources");
        // The first marks are the project's, the second the trail's.
        !others.contains(&action.as_str()) && (action != "TagResources" || tagged > 1 || since > 0)
    });
    writes
}

/// Waits until a weakening is told as put right, and everything is as it should be again. Events of the same kind are counted by
/// Kubernetes under the words of the first, so the status is asked.
fn healed(world: &World, note: &str) {
    world.until(
        TRAIL,
        &format!("lastTamper tells that {note} was put right"),
        |object: &RamTrail| {
            let tamper = object
                .status
                .as_ref()
                .and_then(|status| status.last_tamper.as_ref());
            tamper.is_some_and(|tamper| tamper.repaired && tamper.what.contains(note))
        },
    );
    world.event("TamperRepaired");
    world.settled(KIND, TRAIL);
    world.nothing_was_reduced();
}

#[test]
fn a_trail_is_created_with_the_settled_calls_and_then_left_alone() {
    let world = plain("create", &json!({}));
    assert_eq!(
        trail_writes(&world, 0),
        [
            "TagResources",
            "CreateServiceLinkedRole",
            "CreateTrail",
            "StartLogging"
        ],
        "{}",
        world.report()
    );
    let found = trail(&world).unwrap();
    assert_eq!(found.state(), TrailState::Enable);
    assert_eq!(found.events(), Some(EventRw::All));
    assert_eq!(found.trail_region.as_deref(), Some("All"));
    assert_eq!(
        found.sls_project_arn.unwrap(),
        format!("acs:log:{REGION}:{ACCOUNT}:project/{PROJECT}")
    );
    assert!(tags(&world).contains_key(&format!("ramtrail-trail-{TRAIL}")));

    let status = status_of(&world);
    assert_eq!(status.claim.as_ref().unwrap().origin, Origin::Created);
    assert_eq!(status.pending_create, None);
    assert_eq!(status.trail_name.as_deref(), Some(TRAIL));
    assert_eq!(status.home_region.as_deref(), Some(REGION));
    assert_eq!(status.log_store_name, Some(trail_store().to_string()));
    assert_eq!(status.retention_days, Some(3650));
    assert!(status.data_since.is_some() && status.trail_arn.is_some());
    for (type_, said) in [
        ("Ready", "True/Available"),
        ("Synced", "True/UpToDate"),
        ("Protected", "True/Protected"),
        ("Logging", "True/LoggingEnabled"),
        ("Delivering", "True/EventsArriving"),
        ("Reconciling", "False/Idle"),
        ("Stalled", "False/NotStalled"),
    ] {
        assert_eq!(reason_of(&status.conditions, type_), said, "{type_}");
    }
    assert!(
        world.event("Created").contains(PROJECT)
            || world.events().iter().any(|(_, note)| note.contains(TRAIL))
    );

    let (since, versions) = (world.now(), world.versions());
    world.resyncs("GetTrailStatus", 3);
    assert_eq!(world.writes(since), Vec::<String>::new());
    assert_eq!(world.versions(), versions);
    world.nothing_was_reduced();
}

#[test]
fn a_stopped_trail_is_switched_on_again() {
    let world = plain("stop", &json!({}));
    wait(world.intruder().action_trail.stop_logging(TRAIL)).unwrap();
    until_trail(&world, "the trail is on again", |trail| {
        trail.state() == TrailState::Enable
    });
    healed(&world, "logging: found off");
    let tamper = status_of(&world).last_tamper.unwrap();
    assert!(tamper.repaired && tamper.what.contains("logging"), "{tamper:?}");
}

/// Log Service fails or refuses, and an attacker uses that time: only ActionTrail is needed to switch the trail on.
fn protected_without_log_service(world: &World, fault: &Value) {
    world.resyncs("GetTrailStatus", 1);
    world.emulator.add_fault(fault).unwrap();
    let since = world.now();
    let intruder = world.intruder().action_trail;
    let settings = trail(world).unwrap().settings().unwrap();
    let narrowed = TrailSettings {
        event_rw: EventRw::Write,
        ..settings
    };
    wait(intruder.update_trail(TRAIL, &narrowed)).unwrap();
    wait(intruder.stop_logging(TRAIL)).unwrap();
    until_trail(world, "the trail is on and records all events", |trail| {
        trail.state() == TrailState::Enable && trail.events() == Some(EventRw::All)
    });
    let switched_on = world
        .journal(since)
        .iter()
        .any(|row| row.is_ours() && row.is_change() && row.action() == "StartLogging");
    assert!(switched_on, "{}", world.report());
    // Stopped and narrowed may be seen by one visit or by two: lastTamper holds the last, each has its Event.
    world.eventually("the weakening is told as put right", || {
        let told = world.events();
        told.iter()
            .any(|(reason, text)| reason == "TamperRepaired" && text.contains("logging: found off"))
            .then_some(())
            .ok_or_else(|| format!("{told:#?}"))
    });
    // The failure is told all the same, and of what could not be read nothing is claimed.
    world.eventually("the failed reads are told", || {
        let status = status_of(world);
        let said = |type_| reason_of(&status.conditions, type_);
        let failing = !said("Synced").starts_with("True") && !said("Protected").starts_with("True");
        if failing && said("Logging") == "True/LoggingEnabled" {
            Ok(())
        } else {
            Err(format!("{:#?}", status.conditions))
        }
    });
    let writes = world.writes(since);
    assert!(
        writes
            .iter()
            .all(|action| ["StartLogging", "UpdateTrail"].contains(&action.as_str())),
        "{writes:?}"
    );
    world.emulator.remove_faults().unwrap();
    world.settled(KIND, TRAIL);
    world.condition(KIND, TRAIL, "Protected", "True", "Protected");
    world.nothing_was_reduced();
}

#[test]
fn a_stopped_trail_is_switched_on_although_log_service_fails() {
    let world = plain("blind", &json!({}));
    protected_without_log_service(
        &world,
        &json!({
            "match": {"service": "Log", "isWrite": false, "caller": support::USER, "times": 0},
            "fault": {"kind": "status", "status": 503, "code": "ServerBusy"},
        }),
    );
}

#[test]
fn a_stopped_trail_is_switched_on_although_its_mark_may_not_be_read() {
    let world = plain("unread", &json!({}));
    protected_without_log_service(
        &world,
        &json!({
            "match": {"action": "ListTagResources", "caller": support::USER, "times": 0},
            "fault": {"kind": "status", "status": 401, "code": "Unauthorized",
                      "message": "denied by sts or ram, action: log:ListTagResources, resource: acs:log:cn-hangzhou:1:project/p"},
        }),
    );
}

#[test]
fn narrowed_events_regions_and_a_redirected_trail_are_put_back() {
    let world = plain("update", &json!({}));
    let settings = trail(&world).unwrap().settings().unwrap();
    let intruder = world.intruder().action_trail;

    let narrowed = TrailSettings {
        event_rw: EventRw::Write,
        trail_region: REGION.to_owned(),
        ..settings.clone()
    };
    wait(intruder.update_trail(TRAIL, &narrowed)).unwrap();
    until_trail(&world, "all events of all regions", |trail| {
        trail.events() == Some(EventRw::All) && trail.trail_region.as_deref() == Some("All")
    });
    healed(&world, "events: found Write");

    wait(
        world
            .intruder()
            .log_service
            .create_project(&"elsewhere".parse().unwrap(), ""),
    )
    .unwrap();
    let arn = format!("acs:log:{REGION}:{ACCOUNT}:project/elsewhere");
    world.eventually("the trail is redirected", || {
        let redirected = TrailSettings {
            sls_project_arn: Some(arn.clone()),
            ..settings.clone()
        };
        wait(intruder.update_trail(TRAIL, &redirected))
            .map(drop)
            .map_err(|error| error.to_string())
    });
    until_trail(&world, "the trail delivers into our project", |trail| {
        trail
            .sls_project_arn
            .as_deref()
            .is_some_and(|arn| arn.ends_with(PROJECT))
    });
    healed(&world, "destination: found");
}

#[test]
fn a_deleted_trail_is_created_again_and_said_loudly() {
    let world = plain("delete", &json!({}));
    let before = status_of(&world).claim.unwrap();
    deliver(&world);
    wait(world.intruder().action_trail.delete_trail(TRAIL)).unwrap();
    until_trail(&world, "the trail is there and on", |trail| {
        trail.state() == TrailState::Enable
    });
    healed(&world, "was deleted");
    assert!(world.event("CreatedAgain").contains(TRAIL));
    let after = world.until(TRAIL, "the claim is on the new trail", |object: &RamTrail| {
        let claim = object.status.as_ref().and_then(|status| status.claim.clone());
        claim.is_some_and(|claim| claim.create_time != before.create_time)
    });
    let claim = after.status.unwrap().claim.unwrap();
    assert_eq!((claim.origin, claim.confirmed), (Origin::Created, Some(true)));
}

#[test]
fn the_retention_of_the_trails_store_is_set_raised_again_and_never_lowered_for_the_cloud() {
    let world = plain("retention", &json!({"store": {"retentionDays": 365}}));
    assert_eq!(
        store(&world).retention_days(),
        Some(365),
        "the first value is a change of the spec"
    );
    let set = |days: i64| {
        let mut found = store(&world);
        found.set_retention_days(days);
        wait(
            world
                .intruder()
                .log_service
                .update_log_store(&project(), &trail_store(), &found),
        )
        .unwrap();
    };
    set(7);
    world.eventually("the retention is 365 days again", || {
        match store(&world).retention_days() {
            Some(365) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    world.event("TamperRepaired");
    world.settled(KIND, TRAIL);

    set(3650);
    world.condition(KIND, TRAIL, "Synced", "False", "ExceedsSpec");
    let since = world.now();
    world.resyncs("GetTrailStatus", 2);
    assert_eq!(
        world.writes(since),
        Vec::<String>::new(),
        "an increase is reported and left"
    );
    assert_eq!(store(&world).retention_days(), Some(3650));
    world.condition(KIND, TRAIL, "Ready", "True", "Available");

    apply_trail(&world, &json!({"store": {"retentionDays": 180}}));
    world.eventually("the spec's own fall is carried out", || {
        match store(&world).retention_days() {
            Some(180) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert!(world.event("Updated").contains("store.retentionDays"));
}

#[test]
fn events_and_logging_fall_only_with_the_spec() {
    let world = plain("spec", &json!({}));
    apply_trail(&world, &json!({"events": "Write"}));
    until_trail(&world, "only writes", |trail| {
        trail.events() == Some(EventRw::Write)
    });
    world.condition(KIND, TRAIL, "Protected", "False", "EventsNarrowed");
    world.settled(KIND, TRAIL);

    let settings = trail(&world).unwrap().settings().unwrap();
    let widened = TrailSettings {
        event_rw: EventRw::All,
        ..settings
    };
    wait(world.intruder().action_trail.update_trail(TRAIL, &widened)).unwrap();
    world.condition(KIND, TRAIL, "Synced", "False", "ExceedsSpec");
    let since = world.now();
    world.resyncs("GetTrailStatus", 2);
    assert_eq!(world.writes(since), Vec::<String>::new());

    apply_trail(&world, &json!({"logging": "Stopped"}));
    until_trail(&world, "off", |trail| trail.state() == TrailState::Disable);
    world.condition(KIND, TRAIL, "Logging", "False", "LoggingStopped");
    world.condition(KIND, TRAIL, "Protected", "False", "LoggingStopped");
    wait(world.intruder().action_trail.start_logging(TRAIL)).unwrap();
    world.condition(KIND, TRAIL, "Synced", "False", "ExceedsSpec");
    assert_eq!(trail(&world).unwrap().state(), TrailState::Enable);
}

#[test]
fn the_copy_job_is_kept() {
    let world = copying("copy");
    let log = world.intruder().log_service;
    let read = || {
        wait(log.get_etl(&project(), &job()))
            .map(|answer| answer.value)
            .map_err(|error| error.to_string())
    };
    let running = |what: &str| {
        world.eventually(what, || {
            let found = read()?;
            let whole =
                found.configuration.script.contains("'ram'") && found.configuration.script.contains("'sts'");
            let runs = matches!(
                found.status.as_deref(),
                Some("RUNNING" | "STARTING" | "RESTARTING")
            );
            if whole && runs {
                Ok(found)
            } else {
                Err(format!("{found:?}"))
            }
        })
    };
    let first = running("the job runs");
    assert_eq!(first.configuration.to_time, Some(0));
    assert!(first.description.contains("ramtrail-owner="));
    assert!(status_of(&world).copy_job_name.is_some());

    wait(log.stop_etl(&project(), &job())).unwrap();
    running("a stopped job runs again");
    healed(&world, "found stopped");

    let mut narrowed = read().unwrap();
    narrowed.configuration.script =
        "* | where lower(json_extract_scalar(event, '$.serviceName')) in ('sts')".to_owned();
    let definition = ramtrail::aliyun::log_service::EtlDefinition {
        display_name: narrowed.display_name.clone(),
        description: narrowed.description.clone(),
        configuration: narrowed.configuration.clone(),
    };
    world.eventually("the job is narrowed", || {
        wait(log.update_etl(&project(), &job(), &definition))
            .map(drop)
            .map_err(|error| error.to_string())
    });
    running("a narrowed job passes everything again");
    healed(&world, "services: found sts");

    world.eventually("the job is deleted", || {
        wait(log.delete_etl(&project(), &job()))
            .map(drop)
            .map_err(|error| error.to_string())
    });
    let again = running("a deleted job is there again");
    healed(&world, "found none");
    assert!(again.configuration.from_time.is_some());
}

/// The job loses the role by which it works: it is started again once, then a person is told what to check.
#[test]
fn a_failed_copy_job_is_started_again_and_explained_until_it_runs() {
    let world = copying("failed");
    world.emulator.assume("sls.etl.denied", "failed").unwrap();
    let policy = [
        ("PolicyType", "System"),
        ("PolicyName", "AliyunLogFullAccess"),
        ("RoleName", trail_support::COPY_ROLE),
    ];
    let since = world.now();
    ram(&world, "DetachPolicyFromRole", &policy).unwrap();
    deliver(&world);
    let stalled = world.condition(KIND, TRAIL, "Stalled", "True", "CopyJobFailed");
    let message = stalled["message"].as_str().unwrap();
    assert!(
        message.contains(&trail_support::copy_role_arn()) && message.contains(STORE),
        "{message}"
    );
    world.condition(KIND, TRAIL, "Ready", "False", "CopyJobFailed");
    world.condition(KIND, TRAIL, "Protected", "False", "CopyJobFailed");
    world.condition(KIND, TRAIL, "Logging", "True", "LoggingEnabled");
    assert_eq!(world.writes(since), ["StartETL"], "{}", world.report());

    ram(&world, "AttachPolicyToRole", &policy).unwrap();
    let log = world.intruder().log_service;
    wait(log.start_etl(&project(), &job())).unwrap();
    world.settled(KIND, TRAIL);
    world.condition(KIND, TRAIL, "Protected", "True", "Protected");
    world.nothing_was_reduced();
}

#[test]
fn a_copy_job_that_begins_in_the_future_is_put_back_to_what_was_copied() {
    let world = copying("future");
    let log = world.intruder().log_service;
    let read = || {
        wait(log.get_etl(&project(), &job()))
            .map(|answer| answer.value)
            .map_err(|error| error.to_string())
    };
    let now = trail_support::cloud_now(&world).as_second();
    world.eventually("the beginning is moved", || {
        let mut found = read()?;
        found.configuration.from_time = Some(now + 7 * 24 * 3600);
        let definition = ramtrail::aliyun::log_service::EtlDefinition {
            display_name: found.display_name.clone(),
            description: found.description.clone(),
            configuration: found.configuration.clone(),
        };
        wait(log.update_etl(&project(), &job(), &definition))
            .map(drop)
            .map_err(|error| error.to_string())
    });
    world.eventually("the job begins before the newest copied event", || {
        let from = read()?.configuration.from_time;
        if from.is_some_and(|from| from <= now) {
            Ok(())
        } else {
            Err(format!("{from:?}"))
        }
    });
    healed(&world, "by which events are left out");
}

/// The operator cannot start the job that it made again, says so, and somebody else starts it.
#[test]
fn what_was_told_as_not_put_right_is_told_when_it_is_seen_right() {
    let mut world = copying("seen");
    let log = world.intruder().log_service;
    world
        .emulator
        .add_fault(&json!({
            "match": {"action": "StartETL", "caller": support::USER, "times": 0},
            "fault": {"kind": "status", "status": 500, "code": "InternalServerError"},
        }))
        .unwrap();
    wait(log.delete_etl(&project(), &job())).unwrap();
    let unrepaired = |object: &RamTrail| {
        let status = object.status.clone().unwrap_or_default();
        let open = status
            .unrepaired
            .iter()
            .any(|open| open.what.contains("found none"));
        open && status.last_tamper.is_some_and(|tamper| !tamper.repaired)
    };
    world.until(TRAIL, "the lost job is told as not put right", unrepaired);
    assert!(world.event("TamperFound").contains("not put right"));

    // What was told outlives the process that told it.
    world.kill();
    world.eventually("somebody starts the job", || {
        wait(log.start_etl(&project(), &job()))
            .map(drop)
            .map_err(|error| error.to_string())
    });
    world.start();
    healed(&world, "found none");
    assert_eq!(status_of(&world).unrepaired, []);
}

#[test]
fn a_start_whose_answer_is_lost_is_seen_to_have_worked() {
    let world = copying("lost");
    let log = world.intruder().log_service;
    world
        .emulator
        .add_fault(&json!({
            "match": {"action": "StartETL", "caller": support::USER},
            "fault": {"kind": "drop-after"},
        }))
        .unwrap();
    wait(log.delete_etl(&project(), &job())).unwrap();
    healed(&world, "found none");
}

#[test]
fn the_mark_is_put_back() {
    let world = plain("mark", &json!({}));
    let key = format!("ramtrail-trail-{TRAIL}");
    let marked = tags(&world)[&key].clone();
    let target = Taggable::Project(project());
    wait(world.intruder().log_service.untag_resources(&target, &[&key])).unwrap();
    world.eventually("the mark is back", || match tags(&world).get(&key) {
        Some(mark) if *mark == marked => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let scribbled = BTreeMap::from([(key.clone(), "scribble".to_owned())]);
    wait(world.intruder().log_service.tag_resources(&target, &scribbled)).unwrap();
    world.eventually("the mark is back", || match tags(&world).get(&key) {
        Some(mark) if *mark == marked => Ok(()),
        other => Err(format!("{other:?}")),
    });
    healed(&world, "mark");
}

#[test]
fn what_exists_is_adopted_if_that_reduces_nothing() {
    let mut world = world("adopt");
    apply_project(&world);
    world.start();
    world.settled("AuditProject", PROJECT);
    let arn = format!("acs:log:{REGION}:{ACCOUNT}:project/{PROJECT}");
    ram(&world, "ListRoles", &[]).unwrap();
    wait(
        world
            .intruder()
            .resource_manager
            .create_service_linked_role("actiontrail.aliyuncs.com"),
    )
    .unwrap();
    wait(
        world
            .intruder()
            .action_trail
            .create_trail(TRAIL, &TrailSettings::into_project(&arn)),
    )
    .unwrap();
    until_trail(&world, "the foreign trail is shown", |_| true);
    wait(world.intruder().action_trail.start_logging(TRAIL)).unwrap();

    apply_trail(&world, &json!({"adoptionPolicy": "Never"}));
    world.condition(KIND, TRAIL, "Stalled", "True", "AdoptionForbidden");
    let since = world.now();
    apply_trail(&world, &json!({"events": "Write"}));
    let stalled = world.condition(KIND, TRAIL, "Stalled", "True", "AdoptionWouldReduce");
    assert!(
        stalled["message"]
            .as_str()
            .unwrap()
            .contains("events: found All, want Write"),
        "{stalled}"
    );
    assert_eq!(world.writes(since), Vec::<String>::new(), "not even the mark");
    assert!(!tags(&world).contains_key(&format!("ramtrail-trail-{TRAIL}")));

    apply_trail(&world, &json!({}));
    world.settled(KIND, TRAIL);
    assert_eq!(status_of(&world).claim.unwrap().origin, Origin::Adopted);
    assert!(world.events().iter().any(|(reason, _)| reason == "Adopted"));

    apply_trail(&world, &json!({"deletionPolicy": "Delete"}));
    world.settled(KIND, TRAIL);
    world.delete(KIND, TRAIL);
    world.gone(KIND, TRAIL);
    assert_eq!(
        trail(&world).unwrap().state(),
        TrailState::Enable,
        "what was adopted is never deleted"
    );
    world.nothing_was_reduced();
}

#[test]
fn a_retained_trail_goes_on_and_is_retaken() {
    let world = plain("retain", &json!({}));
    let key = format!("ramtrail-trail-{TRAIL}");
    world.delete(KIND, TRAIL);
    world.gone(KIND, TRAIL);
    assert_eq!(trail(&world).unwrap().state(), TrailState::Enable);
    assert!(tags(&world)[&key].starts_with("released"), "{:?}", tags(&world));
    world.event("Retained");

    apply_trail(&world, &json!({}));
    world.settled(KIND, TRAIL);
    assert_eq!(status_of(&world).claim.unwrap().origin, Origin::Adopted);
    assert!(!tags(&world)[&key].starts_with("released"));
    world.nothing_was_reduced();
}

#[test]
fn a_created_trail_is_deleted_with_its_job_and_its_events_stay() {
    let world = copying("remove");
    apply_trail(&world, &json!({"copyTo": copy_to(), "deletionPolicy": "Delete"}));
    world.settled(KIND, TRAIL);
    world.delete(KIND, TRAIL);
    world.gone(KIND, TRAIL);
    assert_eq!(trail(&world), None);
    assert!(wait(world.intruder().log_service.get_etl(&project(), &job())).is_err());
    assert_eq!(
        store(&world).retention_days(),
        Some(3650),
        "ActionTrail's store stays"
    );
    assert!(!tags(&world).contains_key(&format!("ramtrail-trail-{TRAIL}")));
    world.event("Deleted");
}

#[test]
fn a_trail_that_somebody_else_made_again_is_kept_and_never_deleted() {
    let world = plain("remade", &json!({"deletionPolicy": "Delete"}));
    world.annotate(KIND, TRAIL, "ramtrail.io/paused", Some("true"));
    world.condition(KIND, TRAIL, "Ready", "Unknown", "Paused");
    let settings = trail(&world).unwrap().settings().unwrap();
    wait(world.intruder().action_trail.delete_trail(TRAIL)).unwrap();
    let narrow = TrailSettings {
        event_rw: EventRw::Write,
        ..settings
    };
    world.eventually("another trail under the name", || {
        wait(world.intruder().action_trail.create_trail(TRAIL, &narrow))
            .map(drop)
            .map_err(|error| error.to_string())
    });
    until_trail(&world, "the other trail is shown", |_| true);
    world.annotate(KIND, TRAIL, "ramtrail.io/paused", None);
    until_trail(&world, "the other trail is kept as declared", |trail| {
        trail.events() == Some(EventRw::All) && trail.state() == TrailState::Enable
    });
    world.settled(KIND, TRAIL);
    assert_eq!(status_of(&world).claim.unwrap().origin, Origin::Adopted);
    world.delete(KIND, TRAIL);
    world.gone(KIND, TRAIL);
    assert!(trail(&world).is_some());
    world.nothing_was_reduced();
}

#[test]
fn a_paused_trail_is_left_alone() {
    let world = plain("pause", &json!({}));
    world.annotate(KIND, TRAIL, "ramtrail.io/paused", Some("true"));
    world.condition(KIND, TRAIL, "Protected", "False", "Paused");
    world.condition(KIND, TRAIL, "Logging", "Unknown", "Paused");
    world.condition(KIND, TRAIL, "Delivering", "Unknown", "Paused");
    let since = world.now();
    wait(world.intruder().action_trail.stop_logging(TRAIL)).unwrap();
    world.resyncs("GetProject", 3);
    assert_eq!(world.writes(since), Vec::<String>::new());
    assert_eq!(trail(&world).unwrap().state(), TrailState::Disable);
    world.annotate(KIND, TRAIL, "ramtrail.io/paused", None);
    until_trail(&world, "on again", |trail| trail.state() == TrailState::Enable);
    healed(&world, "logging");
}

#[test]
fn under_observe_nothing_is_changed_and_everything_is_said() {
    let mut world = world("observe");
    apply_project(&world);
    apply_trail(&world, &json!({"managementPolicy": "Observe"}));
    world.start();
    world.settled("AuditProject", PROJECT);
    world.condition(KIND, TRAIL, "Ready", "False", "PlanPending");
    let object: RamTrail = world.get(TRAIL);
    let plan = object.status.unwrap().plan;
    assert!(plan.iter().any(|line| line.contains("CreateTrail")), "{plan:?}");
    assert!(object.metadata.finalizers.unwrap_or_default().is_empty());
    assert_eq!(world.count(0, "CreateTrail") + world.count(0, "StartLogging"), 0);

    apply_trail(&world, &json!({}));
    world.settled(KIND, TRAIL);
    apply_trail(&world, &json!({"managementPolicy": "Observe"}));
    world.condition(KIND, TRAIL, "Protected", "False", "ObserveOnly");
    let since = world.now();
    wait(world.intruder().action_trail.stop_logging(TRAIL)).unwrap();
    world.condition(KIND, TRAIL, "Synced", "False", "PlanPending");
    world.condition(KIND, TRAIL, "Logging", "False", "LoggingOff");
    assert!(world.event("TamperFound").contains("logging"));
    assert_eq!(world.writes(since), Vec::<String>::new());
    assert_eq!(trail(&world).unwrap().state(), TrailState::Disable);
}

/// The trail delivers through a role of its own, which is then deleted: nothing that the operator may mend.
#[test]
fn delivery_that_stops_is_said_on_evidence_and_ends_with_it() {
    let mut world = world("broken");
    apply_project(&world);
    world.start();
    world.settled("AuditProject", PROJECT);
    create_role(&world, "delivery", "actiontrail.aliyuncs.com");
    let role = format!("acs:ram::{ACCOUNT}:role/delivery");
    let arn = format!("acs:log:{REGION}:{ACCOUNT}:project/{PROJECT}");
    let settings = TrailSettings {
        sls_write_role_arn: Some(role),
        ..TrailSettings::into_project(arn)
    };
    wait(
        world
            .intruder()
            .resource_manager
            .create_service_linked_role("actiontrail.aliyuncs.com"),
    )
    .unwrap();
    wait(world.intruder().action_trail.create_trail(TRAIL, &settings)).unwrap();
    until_trail(&world, "the trail is shown", |_| true);
    apply_trail(&world, &json!({}));
    settle(&world);

    take_role_away(&world, "delivery");
    // A call that the trail cannot deliver any more; those before it may have arrived.
    world.resyncs("GetCallerIdentity", 1);
    world.emulator.jump(std::time::Duration::from_secs(600)).unwrap();
    world.resyncs("GetTrailStatus", 2);
    let status = status_of(&world);
    assert_eq!(
        reason_of(&status.conditions, "Delivering"),
        "True/EventsArriving",
        "late is not missing"
    );
    world.emulator.jump(std::time::Duration::from_secs(600)).unwrap();
    world.condition(KIND, TRAIL, "Delivering", "False", "DeliveryBroken");
    world.condition(KIND, TRAIL, "Stalled", "True", "DeliveryBroken");
    world.condition(KIND, TRAIL, "Ready", "False", "DeliveryBroken");

    create_role(&world, "delivery", "actiontrail.aliyuncs.com");
    world.resyncs("GetCallerIdentity", 1);
    deliver(&world);
    world.condition(KIND, TRAIL, "Delivering", "True", "EventsArriving");
    world.settled(KIND, TRAIL);
    world.nothing_was_reduced();
}

#[test]
fn a_lost_store_is_asked_for_and_the_loss_is_said() {
    let world = plain("store", &json!({}));
    wait(
        world
            .intruder()
            .log_service
            .delete_log_store(&project(), &trail_store()),
    )
    .unwrap();
    let since = world.now();
    world.eventually("UpdateTrail asks for the store", || {
        if world.count(since, "UpdateTrail") > 0 {
            Ok(())
        } else {
            Err("no UpdateTrail".to_owned())
        }
    });
    world.eventually("the store is back", || {
        wait(
            world
                .intruder()
                .log_service
                .get_log_store(&project(), &trail_store()),
        )
        .map(drop)
        .map_err(|e| e.to_string())
    });
    world.settled(KIND, TRAIL);
    world.eventually("the loss is told", || {
        let events = world.events();
        let told = events
            .iter()
            .any(|(_, note)| note.contains("the events that it held before are lost"));
        if told { Ok(()) } else { Err(format!("{events:?}")) }
    });
    assert_eq!(
        world.count(0, "CreateLogStore"),
        0,
        "only ActionTrail makes that store"
    );
    world.nothing_was_reduced();
}

#[test]
fn a_missing_role_that_may_not_be_made_is_explained() {
    let mut world = world("role");
    let statements = json!([
        {"Effect": "Allow", "Action": ["log:*", "actiontrail:*", "ram:Get*"], "Resource": "*"},
    ]);
    world.add_user("LTAInarrowKey000001", ACCOUNT, "narrow", &statements);
    world.write_secret(support::CREDENTIALS, "LTAInarrowKey000001", support::SECRET, true);
    apply_project(&world);
    apply_trail(&world, &json!({}));
    world.start();
    let stalled = world.condition(KIND, TRAIL, "Stalled", "True", "ServiceLinkedRoleMissing");
    let message = stalled["message"].as_str().unwrap();
    assert!(
        message.contains("ram:CreateServiceLinkedRole") && message.contains("user/narrow"),
        "{message}"
    );
    wait(
        world
            .intruder()
            .resource_manager
            .create_service_linked_role("actiontrail.aliyuncs.com"),
    )
    .unwrap();
    world.settled(KIND, TRAIL);
}

#[test]
fn references_are_waited_for_and_wrong_ones_are_explained() {
    let mut world = world("refs");
    apply_trail(&world, &json!({"copyTo": copy_to()}));
    world.start();
    world.condition(KIND, TRAIL, "Ready", "False", "ProjectNotFound");
    apply_project(&world);
    world.condition(KIND, TRAIL, "Ready", "False", "LogStoreNotFound");
    assert_eq!(
        trail(&world).unwrap().state(),
        TrailState::Enable,
        "the trail does not wait for its copy"
    );
    world.apply("AuditProject", "other", &support::project_spec("ai-other"));
    world.apply("AuditLogStore", STORE, &support::store_spec("other", STORE, 30));
    world.condition(KIND, TRAIL, "Stalled", "True", "ReferenceInvalid");
    world.delete("AuditLogStore", STORE);
    world.gone("AuditLogStore", STORE);
    apply_store(&world);
    world.settled(KIND, TRAIL);
    let name = LogStoreName::new(STORE).unwrap();
    assert!(wait(world.intruder().log_service.get_log_store(&project(), &name)).is_ok());
}

#[test]
fn two_objects_do_not_share_a_trail() {
    let world = plain("twice", &json!({}));
    world.apply(
        KIND,
        "second",
        &json!({"projectRef": {"name": PROJECT}, "trailName": TRAIL}),
    );
    let stalled = world.condition(KIND, "second", "Stalled", "True", "DuplicateOf");
    assert!(stalled["message"].as_str().unwrap().contains(TRAIL), "{stalled}");
    let since = world.now();
    world.delete(KIND, "second");
    world.gone(KIND, "second");
    assert_eq!(world.writes(since), Vec::<String>::new());
    assert_eq!(trail(&world).unwrap().state(), TrailState::Enable);
}

/// The index of ActionTrail's store loses its full text, which no search notices: the event of that write does.
#[test]
fn a_narrowed_index_is_found_by_its_own_event_and_put_back() {
    let world = plain("index", &json!({}));
    let log = world.intruder().log_service;
    let read = || {
        wait(log.get_index(&project(), &trail_store()))
            .map(|answer| answer.value)
            .ok()
    };
    let mut narrowed = read().unwrap();
    narrowed.remove("line");
    wait(log.update_index(&project(), &trail_store(), &narrowed)).unwrap();
    // ActionTrail itself puts its index back with a delivery, in the hostile profile: that must not do our work.
    world
        .emulator
        .assume("actiontrail.index.restored", "kept")
        .unwrap();
    deliver(&world);
    world.eventually("the full text is indexed again", || match read() {
        Some(index) if index.contains_key("line") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    healed(&world, "index");
    assert!(read().unwrap()["keys"].get("event").is_some());
}

/// The type of `event` is what makes its leaves searchable: it was seen before, so its change is a weakening.
#[test]
fn a_changed_type_in_the_index_is_put_back() {
    let mut world = plain("type", &json!({}));
    world
        .emulator
        .assume("actiontrail.index.restored", "kept")
        .unwrap();
    let log = world.intruder().log_service;
    let read = || {
        wait(log.get_index(&project(), &trail_store()))
            .map(|answer| answer.value)
            .ok()
    };
    world.until(TRAIL, "the type is noted", |object: &RamTrail| {
        let applied = object.status.as_ref().and_then(|status| status.applied.clone());
        applied.is_some_and(|applied| applied.index_types == ["event"])
    });
    let mut retyped = read().unwrap();
    retyped["keys"]["event"] = json!({"type": "long", "doc_value": true});
    wait(log.update_index(&project(), &trail_store(), &retyped)).unwrap();
    // A search by its leaves finds that change no more; whoever starts looks at the index once.
    world.kill();
    world.start();
    world.eventually("event is JSON again", || match read() {
        Some(index) if index["keys"]["event"]["type"] == "json" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    world.until(TRAIL, "the change is told as put right", |object: &RamTrail| {
        let tamper = object
            .status
            .as_ref()
            .and_then(|status| status.last_tamper.as_ref());
        tamper.is_some_and(|tamper| tamper.repaired && tamper.what.contains("the type of event"))
    });
    world.settled(KIND, TRAIL);
    // A type takes the place of another one, and the cloud's own ledger counts that as a loss either way: it is the only one.
    let reducing: Vec<String> = world
        .journal(0)
        .iter()
        .filter(|row| row.is_ours() && row.reduces())
        .map(|row| row.action().to_owned())
        .collect();
    assert_eq!(reducing, ["UpdateIndex"], "{}", world.report());
}

#[test]
fn what_is_not_looked_at_is_no_longer_called_logging_and_delivering() {
    let world = plain("stale", &json!({}));
    world
        .emulator
        .add_fault(&json!({
            "match": {"service": "Actiontrail", "isWrite": false, "caller": support::USER, "times": 0},
            "fault": {"kind": "status", "status": 503, "code": "ServiceUnavailable"},
        }))
        .unwrap();
    world.condition(KIND, TRAIL, "Ready", "Unknown", "ObservationStale");
    world.condition(KIND, TRAIL, "Protected", "Unknown", "ObservationStale");
    world.condition(KIND, TRAIL, "Logging", "Unknown", "NotObserved");
    world.condition(KIND, TRAIL, "Delivering", "Unknown", "NotObserved");
    world.emulator.remove_faults().unwrap();
    world.settled(KIND, TRAIL);
    world.condition(KIND, TRAIL, "Logging", "True", "LoggingEnabled");
}

#[test]
fn a_restart_says_nothing_new() {
    let mut world = plain("restart", &json!({}));
    world.resyncs("GetTrailStatus", 2);
    let versions = world.versions();
    world.kill();
    let since = world.now();
    world.start();
    world.resyncs("GetTrailStatus", 3);
    assert_eq!(
        world.versions(),
        versions,
        "conditions stay until they are known to be otherwise"
    );
    assert_eq!(world.writes(since), Vec::<String>::new());
}

#[test]
fn with_writes_only_our_own_writes_are_the_proof_and_silence_is_quiet() {
    let mut world = world("writes");
    apply_project(&world);
    apply_store(&world);
    let copy_of = |services: &[&str]| {
        let mut copy = copy_to();
        copy["services"] = json!(services);
        json!({"copyTo": copy})
    };
    let mut spec = copy_of(&["Ram"]);
    spec["events"] = json!("Write");
    apply_trail(&world, &spec);
    world.start();
    world.settled(KIND, TRAIL);
    // A write of ours while the trail's store can be searched: those of the creation may have been made before the cloud showed it.
    world.resyncs("GetLogsV2", 2);
    world.patch_spec(KIND, TRAIL, &copy_of(&["Ram", "Sts"]));
    settle(&world);
    assert_eq!(trail(&world).unwrap().events(), Some(EventRw::Write));
    world.emulator.jump(std::time::Duration::from_secs(2000)).unwrap();
    world.condition(KIND, TRAIL, "Delivering", "True", "Quiet");
    world.settled(KIND, TRAIL);
}

#[test]
fn another_clusters_mark_is_left_and_the_trail_is_kept_all_the_same() {
    let world = plain("contested", &json!({}));
    let key = format!("ramtrail-trail-{TRAIL}");
    let theirs = format!("other-cluster_{}", "0123456789abcdef".repeat(2));
    let target = Taggable::Project(project());
    let tag = BTreeMap::from([(key.clone(), theirs.clone())]);
    wait(world.intruder().log_service.tag_resources(&target, &tag)).unwrap();
    let stalled = world.condition(KIND, TRAIL, "Stalled", "True", "OwnedByAnother");
    assert!(
        stalled["message"].as_str().unwrap().contains(&theirs),
        "{stalled}"
    );
    world.condition(KIND, TRAIL, "Protected", "False", "Tampered");
    wait(world.intruder().action_trail.stop_logging(TRAIL)).unwrap();
    until_trail(&world, "on again", |trail| trail.state() == TrailState::Enable);
    world.resyncs("GetTrailStatus", 2);
    assert_eq!(tags(&world)[&key], theirs);
    world.delete(KIND, TRAIL);
    world.gone(KIND, TRAIL);
    assert_eq!(tags(&world)[&key], theirs);
    world.nothing_was_reduced();
}

#[test]
fn a_deletion_ends_also_without_credentials() {
    let world = plain("nokeys", &json!({"deletionPolicy": "Delete"}));
    world
        .kubectl
        .run(["-n", &world.namespace, "delete", "secret", support::CREDENTIALS])
        .unwrap();
    world.delete(KIND, TRAIL);
    world.gone(KIND, TRAIL);
    assert!(world.event("LeftInCloud").contains(TRAIL));
    assert_eq!(trail(&world).unwrap().state(), TrailState::Enable);
}

#[test]
fn a_deletion_ends_also_without_the_project() {
    let world = plain("noproject", &json!({"deletionPolicy": "Delete"}));
    world.delete("AuditProject", PROJECT);
    world.gone("AuditProject", PROJECT);
    world.delete(KIND, TRAIL);
    world.gone(KIND, TRAIL);
    assert!(world.event("LeftInCloud").contains(TRAIL));
    assert_eq!(trail(&world).unwrap().state(), TrailState::Enable);
}

#[test]
fn without_its_mark_a_trail_is_not_deleted() {
    let world = plain("nomark", &json!({"deletionPolicy": "Delete"}));
    for (kind, name) in [("AuditProject", PROJECT), (KIND, TRAIL)] {
        world.annotate(kind, name, "ramtrail.io/paused", Some("true"));
        world.condition(kind, name, "Ready", "Unknown", "Paused");
    }
    wait(world.intruder().log_service.delete_project(&project())).unwrap();
    world.delete(KIND, TRAIL);
    world.annotate(KIND, TRAIL, "ramtrail.io/paused", None);
    world.gone(KIND, TRAIL);
    assert!(world.event("LeftInCloud").contains(TRAIL));
    assert!(trail(&world).is_some());
}

#[test]
fn abandon_frees_at_once_and_leaves_everything() {
    let world = plain("abandon", &json!({"deletionPolicy": "Delete"}));
    world.annotate(KIND, TRAIL, "ramtrail.io/abandon", Some("true"));
    world.settled(KIND, TRAIL);
    let since = world.now();
    world.delete(KIND, TRAIL);
    world.gone(KIND, TRAIL);
    assert_eq!(world.writes(since), Vec::<String>::new());
    assert_eq!(trail(&world).unwrap().state(), TrailState::Enable);
}
