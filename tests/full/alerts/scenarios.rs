//! What really happens: each function makes one trouble, records it, and says all that must fire for it.

use std::time::Duration;

use ramtrail::aliyun::LogStoreName;
use ramtrail::aliyun::action_trail::{TrailSettings, TrailState};
use ramtrail::aliyun::log_service::Taggable;
use serde_json::json;
use xtask::grants::REFUSED_ON_PURPOSE;

use crate::recording::Recording;
use crate::stage::Stage;
use crate::support::{ACCOUNT, REGION, USER, World, project_spec, store_spec, wait};
use crate::trail_support::{
    KIND, PROJECT, STORE, TRAIL, apply_project, apply_store, apply_trail, create_role, project,
    take_role_away, until_trail,
};
use crate::{Firing, Played, TEN_MINUTES, firing, label, lasting, prelude};

/// The tag that says whose a project is.
const MARK: &str = "ramtrail-owner";

fn stop(world: &World) {
    wait(world.intruder().action_trail.stop_logging(TRAIL)).unwrap();
}

fn started(world: &World) {
    until_trail(world, "the trail is on again", |trail| {
        trail.state() == TrailState::Enable
    });
}

/// The trail of this world, as labels.
fn of_trail(world: &World) -> [(&'static str, &str); 2] {
    [("namespace", &world.namespace), ("name", TRAIL)]
}

fn words(world: &World, before: &str, after: &str) -> String {
    format!("{before} {}/{TRAIL} {after}", world.namespace)
}

fn not_ready(kind: &'static str, count: u32) -> Firing {
    firing(
        "RamTrailObjectsNotReady",
        30,
        &[("kind", kind)],
        format!("{count} of {kind} not Ready."),
    )
}

fn stalled_of(kind: &'static str, count: u32) -> Firing {
    firing(
        "RamTrailObjectsStalled",
        30,
        &[("kind", kind)],
        format!("{count} of {kind} Stalled: a person must act."),
    )
}

fn fails(kind: &'static str) -> Firing {
    firing(
        "RamTrailReconcileErrors",
        40,
        &[("kind", kind)],
        format!("More than a tenth of the visits to {kind} fail."),
    )
}

fn refuses(service: &str, action: &str) -> Firing {
    firing(
        "RamTrailPermissionDenied",
        15,
        &[("service", service), ("action", action)],
        format!("{service} refuses {action}."),
    )
}

fn tampering() -> Firing {
    weakened(KIND, "LoggingStopped")
}

fn weakened(kind: &str, action: &str) -> Firing {
    firing(
        "RamTrailTampered",
        3,
        &[("kind", kind), ("action", action)],
        format!("Somebody weakened an audit from outside: {kind}, {action}."),
    )
}

fn does_not_record(world: &World) -> Firing {
    firing(
        "RamTrailNotLogging",
        10,
        &of_trail(world),
        words(world, "Trail", "does not record."),
    )
}

fn lags(world: &World) -> Firing {
    firing(
        "RamTrailDeliveryLagHigh",
        30,
        &of_trail(world),
        words(world, "No event of trail", "arrives."),
    )
}

fn misses(world: &World) -> Firing {
    firing(
        "RamTrailCanaryMissed",
        30,
        &of_trail(world),
        words(world, "Calls that trail", "must record do not arrive."),
    )
}

fn not_ready_objects(recording: &Recording) -> f64 {
    let ready = |(series, count): (&str, f64)| {
        let counts = series.contains("condition=\"Ready\"") && series.contains("status=\"False\"");
        if counts { count } else { 0.0 }
    };
    recording.values("ramtrail_objects").map(ready).sum()
}

pub fn operator_down() -> Played {
    let mut stage = Stage::stack("down", &[]);
    let mut course = prelude(&stage);
    stage.world.kill();
    assert!(stage.is_gone());
    let trouble = course.length();
    course.gone(5 * TEN_MINUTES);
    Played {
        course,
        trouble,
        fires: vec![firing(
            "RamTrailOperatorDown",
            15,
            &[],
            "The operator of ramtrail is not there.",
        )],
    }
}

/// The chart's Role allows one Lease by its name; this one it does not.
pub fn no_leader() -> Played {
    let mut stage = Stage::stack("leaderless", &[]);
    let course = prelude(&stage);
    let lease = format!("--lease-name={REFUSED_ON_PURPOSE}");
    stage.another_pod(&["--leader-elect=true", &lease]);
    let from = stage.record();
    std::thread::sleep(Duration::from_secs(5));
    let to = stage.record();
    let fires = vec![firing(
        "RamTrailNoLeader",
        15,
        &[],
        "No replica of ramtrail leads.",
    )];
    lasting(course, &from, &to, fires)
}

pub fn not_logging() -> Played {
    let stage = Stage::stack("off", &[]);
    stage.deny("actiontrail:StartLogging");
    let course = prelude(&stage);
    stop(&stage.world);
    stage.world.condition(KIND, TRAIL, "Stalled", "True", "Denied");
    let from = stage.record();
    let to = stage.later(&from);
    let fires = vec![
        does_not_record(&stage.world),
        lags(&stage.world),
        tampering(),
        refuses("actiontrail", "StartLogging"),
        not_ready(KIND, 1),
        stalled_of(KIND, 1),
        fails(KIND),
    ];
    lasting(course, &from, &to, fires)
}

/// Gone is off too.
pub fn trail_deleted() -> Played {
    let stage = Stage::stack("gone", &[]);
    stage.deny("actiontrail:CreateTrail");
    let course = prelude(&stage);
    wait(stage.world.intruder().action_trail.delete_trail(TRAIL)).unwrap();
    stage.world.condition(KIND, TRAIL, "Stalled", "True", "Denied");
    let from = stage.record();
    let to = stage.later(&from);
    let fires = vec![
        does_not_record(&stage.world),
        weakened(KIND, "Deleted"),
        refuses("actiontrail", "CreateTrail"),
        not_ready(KIND, 1),
        stalled_of(KIND, 1),
        fails(KIND),
    ];
    lasting(course, &from, &to, fires)
}

/// How much later than the emulator can make it each event comes here: an own call once a minute, which is not missed for three
/// of them, and the minute of lag that a spec can ask for at least must both have passed.
const LATER: f64 = 90.0;

/// From now on an event takes two and a half minutes, more than this trail accepts. Own calls are made once a minute here, so that
/// none is missed.
pub fn late() -> Played {
    let stage = Stage::stack("late", &["--due-call-interval=60s"]);
    stage
        .world
        .patch_spec(KIND, TRAIL, &json!({"delivery": {"maxLagSeconds": 60}}));
    let course = prelude(&stage);
    stage
        .world
        .emulator
        .assume("actiontrail.delivery.delay", "60s")
        .unwrap();
    let last = "ramtrail_trail_last_event_timestamp_seconds";
    let newest = stage.record().sum(last, "");
    // What comes now was made after the cloud became slow.
    let from = stage.record_when("events come late", |now| now.sum(last, "") > newest + 10.0);
    let to = stage.record_when("events go on coming late", |now| {
        now.sum(last, "") > from.sum(last, "") + 10.0
    });
    let fires = vec![lags(&stage.world)];
    let (from, to) = (from.with_older_events(LATER), to.with_older_events(LATER));
    lasting(course, &from, &to, fires)
}

/// A trail that delivers through a role of its own, which the operator neither makes nor mends.
fn through_own_role(purpose: &str) -> Stage {
    let mut stage = Stage::new(purpose, &[]);
    let world = &mut stage.world;
    apply_project(world);
    world.start();
    world.settled("AuditProject", PROJECT);
    create_role(world, "delivery", "actiontrail.aliyuncs.com");
    let arn = format!("acs:log:{REGION}:{ACCOUNT}:project/{PROJECT}");
    let settings = TrailSettings {
        sls_write_role_arn: Some(format!("acs:ram::{ACCOUNT}:role/delivery")),
        ..TrailSettings::into_project(arn)
    };
    let service = "actiontrail.aliyuncs.com";
    wait(
        world
            .intruder()
            .resource_manager
            .create_service_linked_role(service),
    )
    .unwrap();
    wait(world.intruder().action_trail.create_trail(TRAIL, &settings)).unwrap();
    until_trail(world, "the trail is shown", |_| true);
    apply_store(world);
    apply_trail(world, &json!({"delivery": {"maxLagSeconds": 60}}));
    stage.at_rest();
    stage
}

fn broken_fires(world: &World) -> Vec<Firing> {
    vec![
        misses(world),
        lags(world),
        not_ready(KIND, 1),
        stalled_of(KIND, 1),
    ]
}

fn said_broken(world: &World) {
    world.condition(KIND, TRAIL, "Delivering", "False", "DeliveryBroken");
}

pub fn broken() -> Played {
    let stage = through_own_role("broken");
    let course = prelude(&stage);
    take_role_away(&stage.world, "delivery");
    said_broken(&stage.world);
    let from = stage.record();
    let to = stage.later(&from);
    let fires = broken_fires(&stage.world);
    lasting(course, &from, &to, fires)
}

/// A process that never saw an own call arrive says so too.
pub fn broken_before() -> Played {
    let mut stage = through_own_role("away");
    let course = prelude(&stage);
    stage.world.kill();
    take_role_away(&stage.world, "delivery");
    stage.another_pod(&[]);
    said_broken(&stage.world);
    let from = stage.record();
    let to = stage.later(&from);
    let fires = broken_fires(&stage.world);
    lasting(course, &from, &to, fires)
}

fn count_tampers(recording: &Recording) -> f64 {
    recording.sum("ramtrail_tamper_events_total", "")
}

pub fn tampered() -> Played {
    let stage = Stage::stack("tampered", &[]);
    let course = prelude(&stage);
    stop(&stage.world);
    started(&stage.world);
    stage.at_rest();
    let (from, to) = stage.healthy();
    assert!(count_tampers(&from) > 0.0);
    lasting(course, &from, &to, vec![tampering()])
}

/// The new Pod finds it before it is scraped for the first time: there is no zero to increase from.
pub fn tampered_before() -> Played {
    let mut stage = Stage::stack("unseen", &[]);
    let course = prelude(&stage);
    stage.world.kill();
    stop(&stage.world);
    stage.another_pod(&[]);
    started(&stage.world);
    stage.at_rest();
    let (from, to) = stage.healthy();
    assert!(count_tampers(&from) > 0.0);
    lasting(course, &from, &to, vec![tampering()])
}

/// The only clock here is the operator's own: more than a minute really passes.
pub fn heal_slow() -> Played {
    let stage = Stage::stack("slow", &[]);
    let fires = vec![slowly_healed(), tampering()];
    slow_repair(
        &stage,
        KIND,
        "StartLogging",
        fires,
        || stop(&stage.world),
        || started(&stage.world),
    )
}

/// The same of a store whose logs are to be kept for a shorter time.
pub fn heal_slow_of_store() -> Played {
    let stage = Stage::stack("slow-store", &[]);
    let name = LogStoreName::new(STORE).unwrap();
    let found = || {
        let intruder = stage.world.intruder();
        wait(intruder.log_service.get_log_store(&project(), &name))
            .unwrap()
            .value
    };
    let shorten = || {
        let mut store = found();
        store.set_retention_days(7);
        wait(
            stage
                .world
                .intruder()
                .log_service
                .update_log_store(&project(), &name, &store),
        )
        .unwrap();
    };
    let restored = || {
        stage
            .world
            .eventually("30 days again", || match found().retention_days() {
                Some(30) => Ok(()),
                other => Err(format!("{other:?}")),
            });
    };
    let kind = "AuditLogStore";
    let fires = vec![slowly_healed(), weakened(kind, "RetentionReduced")];
    slow_repair(&stage, kind, "UpdateLogStore", fires, shorten, restored)
}

/// The same of a project whose mark is gone, without which others may take it for theirs.
pub fn heal_slow_of_project() -> Played {
    let stage = Stage::stack("slow-project", &[]);
    let target = Taggable::Project(project());
    let marked = || {
        let found = stage.world.intruder().log_service;
        wait(found.list_tag_resources(&target))
            .unwrap()
            .value
            .contains_key(MARK)
    };
    let remove = || {
        wait(
            stage
                .world
                .intruder()
                .log_service
                .untag_resources(&target, &[MARK]),
        )
        .unwrap();
    };
    let restored = || {
        stage.world.eventually("the mark is back", || {
            marked().then_some(()).ok_or_else(|| "no mark".to_owned())
        });
    };
    let kind = "AuditProject";
    let fires = vec![slowly_healed(), weakened(kind, "MarkChanged")];
    slow_repair(&stage, kind, "TagResources", fires, remove, restored)
}

fn slowly_healed() -> Firing {
    firing("RamTrailHealSlow", 10, &[], "Weakenings are put right slowly.")
}

fn slow_repair(
    stage: &Stage,
    kind: &str,
    action: &str,
    fires: Vec<Firing>,
    weaken: impl Fn(),
    until_healed: impl Fn(),
) -> Played {
    let mut course = prelude(stage);
    let emulator = &stage.world.emulator;
    refuse(&stage.world, action);
    weaken();
    let during = stage.record_when("it was found", |now| {
        now.sum("ramtrail_tamper_events_total", kind) > 0.0
    });
    std::thread::sleep(Duration::from_secs(70));
    emulator.remove_faults().unwrap();
    until_healed();
    let trouble = course.length();
    // Two scrapes at the real pace, then it is healed.
    course.hold(&during, 2);
    stage.at_rest();
    let (from, to) = stage.healthy();
    assert!(from.sum("ramtrail_tamper_heal_duration_seconds_count", kind) > 0.0);
    course.go_on(&from, &to, 5 * TEN_MINUTES);
    Played {
        course,
        trouble,
        fires,
    }
}

/// Calls of the operator to this action meet a cloud that is not there for the moment.
fn refuse(world: &World, action: &str) {
    let fault = json!({
        "match": {"caller": USER, "action": action, "times": 0},
        "fault": {"kind": "status", "status": 503, "code": "ServiceUnavailable", "message": "later"},
    });
    world.emulator.add_fault(&fault).unwrap();
}

/// Somebody's script stops the trail again and again. Each round is recorded, and they come two minutes apart on the axis.
pub fn drift_loop() -> Played {
    let stage = Stage::stack("fight", &[]);
    let mut course = prelude(&stage);
    let trouble = course.length();
    for round in 1..=15 {
        stop(&stage.world);
        started(&stage.world);
        let repaired = stage.record_when("the repair was counted, and all is well", |now| {
            let repairs = now.sum("ramtrail_drift_repaired_total", "field=\"logging\"");
            let on = now.values("ramtrail_trail_logging").all(|(_, on)| on > 0.0);
            repairs >= f64::from(round) && on && not_ready_objects(now) < 1.0
        });
        course.hold(&repaired, 4);
    }
    Played {
        course,
        trouble,
        fires: vec![
            firing(
                "RamTrailDriftLoop",
                29,
                &[("kind", KIND), ("field", "logging")],
                "Something else manages logging of a RamTrail.",
            ),
            tampering(),
        ],
    }
}

pub fn not_ready_store() -> Played {
    let stage = Stage::stack("orphan", &[]);
    let course = prelude(&stage);
    let kind = "AuditLogStore";
    stage
        .world
        .apply(kind, "orphan", &store_spec("nowhere", "orphan", 30));
    stage.record_when("it is counted as not Ready", |now| not_ready_objects(now) > 0.0);
    let (from, to) = stage.healthy();
    lasting(course, &from, &to, vec![not_ready(kind, 1)])
}

pub fn stalled() -> Played {
    let stage = Stage::stack("twice", &[]);
    let course = prelude(&stage);
    stage.world.apply("AuditProject", "twin", &project_spec(PROJECT));
    stage
        .world
        .condition("AuditProject", "twin", "Stalled", "True", "DuplicateOf");
    let (from, to) = stage.healthy();
    let kind = "AuditProject";
    lasting(
        course,
        &from,
        &to,
        vec![not_ready(kind, 1), stalled_of(kind, 1), fails(kind)],
    )
}

pub fn errors() -> Played {
    let stage = Stage::stack("errors", &[]);
    let course = prelude(&stage);
    refuse(&stage.world, "GetProject");
    let failures = |now: &Recording| now.sum("ramtrail_reconcile_errors_total", "AuditProject");
    let from = stage.record_when("visits fail", |now| failures(now) >= 3.0);
    let to = stage.record_when("visits go on failing", |now| {
        failures(now) >= failures(&from) + 5.0
    });
    lasting(course, &from, &to, vec![fails("AuditProject")])
}

/// The store shall keep logs longer, and the operator may not make it so.
pub fn denied() -> Played {
    let stage = Stage::stack("denied", &[]);
    stage.deny("log:UpdateLogStore");
    let course = prelude(&stage);
    let store = STORE;
    let kind = "AuditLogStore";
    stage.world.patch_spec(kind, store, &json!({"retentionDays": 60}));
    stage.world.condition(kind, store, "Stalled", "True", "Denied");
    let (from, to) = stage.healthy();
    let fires = vec![
        refuses("log", "UpdateLogStore"),
        not_ready(kind, 1),
        stalled_of(kind, 1),
        fails(kind),
    ];
    lasting(course, &from, &to, fires)
}

/// Others take all that Log Service allows for managing; reading logs has a quota of its own.
pub fn throttled() -> Played {
    let stage = Stage::stack("throttled", &[]);
    let course = prelude(&stage);
    for action in [
        "GetProject",
        "ListTagResources",
        "GetLogStore",
        "GetIndex",
        "GetETL",
    ] {
        let fault = json!({
            "match": {"caller": USER, "action": action, "times": 0}, "fault": {"kind": "throttle"},
        });
        stage.world.emulator.add_fault(&fault).unwrap();
    }
    stage.record_when("visits fail", |now| {
        ["AuditProject", "AuditLogStore", KIND]
            .iter()
            .all(|kind| now.sum("ramtrail_reconcile_errors_total", kind) >= 3.0)
    });
    let (from, to) = stage.healthy();
    let fires = vec![
        firing(
            "RamTrailThrottled",
            40,
            &[("service", "log")],
            "log throttles ramtrail.",
        ),
        fails("AuditProject"),
        fails("AuditLogStore"),
        fails(KIND),
    ];
    lasting(course, &from, &to, fires)
}

/// To the operator the cloud is ahead, which is the same as a wrong clock of its node.
pub fn skew() -> Played {
    let stage = Stage::stack("skew", &[]);
    let course = prelude(&stage);
    stage.world.emulator.jump(Duration::from_secs(300)).unwrap();
    let metric = "ramtrail_clock_skew_seconds";
    // The others are asked once, when a stack is made.
    let ahead = |now: &Recording| {
        ["log", "actiontrail", "sts"].iter().all(|service| {
            let service = format!("service=\"{service}\"");
            now.sum(metric, &service) > 60.0
        })
    };
    stage.record_when("the clocks are seen apart", ahead);
    let (from, to) = stage.healthy();
    let fires = to
        .values(metric)
        .filter(|(_, seconds)| *seconds > 60.0)
        .map(|(series, seconds)| {
            let service = label(series, "service");
            let apart = format!("{}m {}s", (seconds / 60.0).floor(), (seconds % 60.0).floor());
            let words = format!("The clock differs from the one of {service} by {apart}.");
            firing("RamTrailClockSkew", 20, &[("service", service)], words)
        })
        .collect();
    lasting(course, &from, &to, fires)
}
