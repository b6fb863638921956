//! The cloud's clock and ours differ: by less than the cloud accepts, by more, from the start and suddenly. The operator's own
//! clock stays: to it the cloud is early or late, which is the same as a wrong clock on its node.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use ramtrail::aliyun::LogStoreName;
use ramtrail::api::v1alpha1::{AuditLogStore, RamTrail};
use serde_json::{Value, json};

use crate::matrix;
use crate::points::Point;
use crate::support::{World, wait};
use crate::trail_support::{
    KIND, STACK, STORE, TRAIL, apply_stack, cloud_now, deliver, prepare, project, settle_stack,
    stack_settled, store,
};
use crate::{stack, well};

const MINUTE: i64 = 60;
/// What the tests let pass in jumps besides, at most.
const JUMPED: SignedDuration = SignedDuration::from_mins(10);

fn jump(world: &World, seconds: i64) {
    world
        .emulator
        .post("clock", &json!({"jumpSeconds": seconds}))
        .unwrap();
}

fn time(text: &Value) -> Timestamp {
    text.as_str().unwrap().parse().unwrap()
}

fn near(what: &str, found: Timestamp, expected: Timestamp, seconds: i64) {
    let off = found.duration_since(expected).abs();
    assert!(
        off <= SignedDuration::from_secs(seconds),
        "{what}: {found} is {off} off {expected}"
    );
}

/// Times of Kubernetes are by the cluster's clock, times of the cloud by the cloud's, and delivery is neither late nor early.
fn ages_are_right(world: &World, began: Timestamp) {
    let slack = 5;
    for (kind, name) in STACK {
        for condition in world.conditions(kind, name) {
            let since = time(&condition["lastTransitionTime"]);
            let now = Timestamp::now();
            assert!(
                since >= began - SignedDuration::from_secs(slack)
                    && since <= now + SignedDuration::from_secs(slack),
                "{kind} {name} {}: {since} is not between {began} and {now}",
                condition["type"]
            );
        }
    }
    let name = LogStoreName::new(STORE).unwrap();
    let found = wait(world.intruder().log_service.get_log_store(&project(), &name)).unwrap();
    let status = world.get::<AuditLogStore>(STORE).status.unwrap();
    let pairs = [
        ("the store", status.data_since, found.value.create_time()),
        (
            "the trail's store",
            world.get::<RamTrail>(TRAIL).status.unwrap().data_since,
            trail_store_of(world),
        ),
    ];
    for (what, since, made) in pairs {
        let since: Timestamp = since.unwrap().parse().unwrap();
        near(&format!("dataSince of {what}"), since, made.unwrap(), 1);
        let age = cloud_now(world).duration_since(since);
        let lived = Timestamp::now().duration_since(began) + JUMPED;
        assert!(
            age.abs() <= lived + SignedDuration::from_mins(301),
            "{what} is {age} old and the test {lived}"
        );
    }
}

fn trail_store_of(world: &World) -> Option<Timestamp> {
    store(world).create_time()
}

/// Rows that the cloud refused for their time.
fn refused(world: &World, since: u64) -> Vec<(String, String)> {
    world
        .journal(since)
        .iter()
        .filter(|row| row.is_ours())
        .filter(|row| {
            row.0["errorCode"]
                .as_str()
                .is_some_and(|code| code.contains("Time"))
        })
        .map(|row| {
            (
                row.0["service"].as_str().unwrap_or_default().to_owned(),
                row.0["requestId"].to_string(),
            )
        })
        .collect()
}

/// The clocks differ from the start: everything becomes Ready and stays so, and ages are right.
fn from_the_start(minutes: i64) {
    let began = Timestamp::now();
    let mut world = World::new("clock");
    jump(&world, minutes * MINUTE);
    prepare(&world);
    apply_stack(&world);
    world.start();
    settle_stack(&world);
    ages_are_right(&world, began);
    let since = world.now();
    world.resyncs("GetTrailStatus", 2);
    assert_eq!(world.writes(since), Vec::<String>::new());
    // Below the limit nothing is refused at all; above it each service refuses once, and its clock is known.
    let felt = refused(&world, 0);
    let one_each = felt.len() <= 4 && !felt.is_empty();
    assert!(
        if minutes.abs() < 15 {
            felt.is_empty()
        } else {
            one_each
        },
        "{felt:?}\n{}",
        world.report()
    );
    world.nothing_was_reduced();
}

/// The clocks part while the operator works.
fn suddenly(minutes: i64) {
    let began = Timestamp::now();
    let world = stack("jump");
    settle_stack(&world);
    if minutes < 0 {
        // The cloud's time never falls behind what it made: first as far ahead.
        jump(&world, -minutes * MINUTE);
        world.resyncs("GetTrailStatus", 2);
        deliver(&world);
    }
    stack_settled(&world);
    world.resyncs("GetTrailStatus", 1);
    let since = world.now();
    jump(&world, minutes * MINUTE);
    world.resyncs("GetTrailStatus", 3);
    for (kind, name) in STACK {
        well(&world, kind, name);
        for condition in world.conditions(kind, name) {
            assert_ne!(condition["reason"], "ClockSkew", "{condition}");
        }
    }
    if minutes.abs() > 15 {
        let felt = refused(&world, since);
        assert!(!felt.is_empty(), "the jump was not felt\n{}", world.report());
        // Calls that were under way together may all be refused; the next ones know.
        let settled = world.now();
        world.resyncs("GetTrailStatus", 2);
        let again = refused(&world, settled);
        assert_eq!(again, Vec::<(String, String)>::new(), "{}", world.report());
    }
    assert_eq!(world.writes(since), Vec::<String>::new(), "{}", world.report());
    // Calls before the jump lie hours or minutes away now: that is no broken delivery.
    world.emulator.jump(Duration::from_secs(70)).unwrap();
    world.resyncs("GetCallerIdentity", 2);
    world.emulator.jump(Duration::from_secs(70)).unwrap();
    world.condition(KIND, TRAIL, "Delivering", "True", "EventsArriving");
    ages_are_right(&world, began);
    world.nothing_was_reduced();
}

#[test]
fn clocks_may_differ_and_part_and_ages_stay_right() {
    let test = "clocks_may_differ_and_part_and_ages_stay_right";
    let mut points = Vec::new();
    for minutes in [14, -14, 16, -16, 300, -300] {
        points.push(Point::new(format!("start/{minutes}m"), move || {
            from_the_start(minutes);
        }));
        points.push(Point::new(format!("jump/{minutes}m"), move || suddenly(minutes)));
    }
    matrix(test).run(points);
}
