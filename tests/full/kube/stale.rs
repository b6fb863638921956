//! An operator that starts on an API server that lags behind: lists are old and watches silent, single reads and writes are not.
//! Nothing that destroys or reduces may be decided from what is old.

use serde_json::{Value, json};
use xtask::api_proxy::{Fault, Matching};

use crate::stage::{OBJECTS, at_rest, created_once, exists, list, store_at_rest, world};
use crate::support::World;
use crate::trail_support::{PROJECT, STORE, TRAIL, apply_stack, settle_stack, until_retention, until_trail};

/// Answers lists with old ones, and freezes watches.
fn time_travel(world: &World, old: &[(&str, Value)]) {
    for (plural, body) in old {
        let answer = Fault::Answer {
            status: 200,
            body: body.clone(),
        };
        world.proxy().add(Matching::of("list", plural).times(0), answer);
    }
    world.proxy().add(Matching::watches(), Fault::Freeze);
}

/// Back to the present.
fn catch_up(world: &World) {
    world.proxy().cut(Matching::watches());
    world.proxy().clear();
}

#[test]
fn a_policy_that_was_changed_to_retain_is_not_overlooked() {
    let mut world = store_at_rest("keep");
    world.patch_spec("AuditLogStore", STORE, &json!({"deletionPolicy": "Delete"}));
    world.settled("AuditLogStore", STORE);
    world.kill();
    world.delete("AuditLogStore", STORE);
    let old = list(&world, "auditlogstores");
    assert_eq!(old["items"][0]["spec"]["deletionPolicy"], "Delete");
    assert!(old["items"][0]["metadata"]["deletionTimestamp"].is_string());
    world.patch_spec("AuditLogStore", STORE, &json!({"deletionPolicy": "Retain"}));
    time_travel(&world, &[("auditlogstores", old)]);
    world.start();
    world.gone("AuditLogStore", STORE);
    assert_eq!(world.count(0, "DeleteLogStore"), 0, "{}", world.report());
    world.nothing_was_reduced();
}

#[test]
fn a_reduction_that_was_taken_back_is_not_carried_out() {
    let mut world = at_rest("taken-back");
    world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 90}));
    until_retention(&world, 90);
    settle_stack(&world);
    world.kill();
    world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 7}));
    world.patch_spec("RamTrail", TRAIL, &json!({"events": "Write"}));
    let old = [
        ("auditlogstores", list(&world, "auditlogstores")),
        ("ramtrails", list(&world, "ramtrails")),
    ];
    world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 90}));
    world.patch_spec("RamTrail", TRAIL, &json!({"events": "All"}));
    let since = world.now();
    time_travel(&world, &old);
    world.start();
    world.resyncs("GetIndex", 3);
    world.resyncs("GetTrailStatus", 3);
    let reducing: Vec<String> = world
        .journal(since)
        .iter()
        .filter(|row| row.is_ours() && row.reduces())
        .map(ToString::to_string)
        .collect();
    assert_eq!(reducing, Vec::<String>::new(), "{}", world.report());
    catch_up(&world);
    settle_stack(&world);
    until_retention(&world, 90);
    until_trail(&world, "all events", |trail| {
        trail.event_rw.as_deref() == Some("All")
    });
}

#[test]
fn a_list_from_before_everything_creates_nothing_again() {
    let mut world = world("young");
    apply_stack(&world);
    let old: Vec<(&str, Value)> = OBJECTS
        .iter()
        .map(|(_, plural, _)| (*plural, list(&world, plural)))
        .collect();
    world.start();
    settle_stack(&world);
    world.kill();
    time_travel(&world, &old);
    world.start();
    world.resyncs("GetProject", 3);
    catch_up(&world);
    settle_stack(&world);
    created_once(&world);
}

#[test]
fn objects_that_are_gone_are_not_made_again_in_the_cloud() {
    let mut world = store_at_rest("gone");
    for (kind, name) in [("AuditLogStore", STORE), ("AuditProject", PROJECT)] {
        world.patch_spec(kind, name, &json!({"deletionPolicy": "Delete"}));
        world.settled(kind, name);
    }
    let old: Vec<(&str, Value)> = OBJECTS
        .iter()
        .map(|(_, plural, _)| (*plural, list(&world, plural)))
        .collect();
    for (kind, name) in [("AuditLogStore", STORE), ("AuditProject", PROJECT)] {
        world.delete(kind, name);
        world.gone(kind, name);
    }
    world.kill();
    let since = world.now();
    time_travel(&world, &old);
    let asked = world.proxy().now();
    world.start();
    // Each visit ends at the first thing the API server knows better.
    world.eventually("the old objects were visited", || {
        let rows = world.proxy().journal(asked);
        let found = rows
            .iter()
            .filter(|row| row.call.resource.starts_with("audit") && row.status == Some(404))
            .count();
        if found >= 2 {
            Ok(())
        } else {
            Err(format!("{found}"))
        }
    });
    assert_eq!(world.writes(since), Vec::<String>::new(), "{}", world.report());
    assert!(!exists(&world, "AuditProject", PROJECT));
}
