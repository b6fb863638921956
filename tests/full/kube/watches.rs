//! Watches that freeze, break and expire: nothing is missed, nothing done twice.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use xtask::api_proxy::{Fault, Matching};

use crate::stage::{at_rest, changes, created_once, store_at_rest, tear_out, uid, world};
use crate::support::{CREDENTIALS, World};
use crate::trail_support::{STORE, apply_stack, apply_store, settle_stack, until_retention};

/// The lists that the operator asked for after a request.
fn lists(world: &World, since: u64) -> usize {
    let rows = world.proxy().journal(since);
    rows.iter().filter(|row| row.call.verb == "list").count()
}

fn watched(world: &World) {
    world.eventually("all watches are open", || {
        let open = world.proxy().open_watches();
        if open.len() >= 3 {
            Ok(())
        } else {
            Err(format!("{open:?}"))
        }
    });
}

/// A visit of the store at rest has read no object: its watch has shown what the operator wrote last. Before that it reads each object
/// anew, whatever becomes of the watch.
fn caught_up(world: &World) {
    watched(world);
    world.eventually("a visit reads no object", || {
        let asked = world.proxy().now();
        world.resyncs("GetIndex", 2);
        let rows = world.proxy().journal(asked);
        let read = rows
            .iter()
            .find(|row| row.call.verb == "get" && row.call.resource == "auditlogstores");
        read.map_or(Ok(()), |row| Err(row.to_string()))
    });
}

/// Freezes the watches that are open; later ones are not.
fn blind(world: &World) -> u64 {
    caught_up(world);
    let open = world.proxy().open_watches().len() as u64;
    world.proxy().add(Matching::watches().times(open), Fault::Freeze)
}

/// Breaks the frozen watches and has the next ones refused as compacted: what happened between is in no list.
fn relisted(world: &World, freeze: u64) {
    let asked = world.proxy().now();
    world
        .proxy()
        .add(Matching::watches().times(3), Fault::Gone { as_event: true });
    world.proxy().cut(Matching::watches());
    world.eventually("every kind is listed anew", || {
        let count = lists(world, asked);
        if count >= 3 {
            Ok(())
        } else {
            Err(format!("{count}"))
        }
    });
    world.proxy().remove(freeze);
}

/// What was changed after the stack was made.
fn later(world: &World, since: u64) -> Vec<String> {
    world.writes(since)
}

#[test]
fn under_frozen_watches_nothing_is_undone_and_then_everything_is_seen() {
    let world = at_rest("frozen");
    caught_up(&world);
    let freeze = world.proxy().add(Matching::watches(), Fault::Freeze);
    let since = world.now();
    world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 60}));
    for action in ["GetProject", "GetIndex", "GetTrailStatus"] {
        world.resyncs(action, 3);
    }
    assert_eq!(later(&world, since), Vec::<String>::new(), "{}", world.report());
    world.proxy().remove(freeze);
    world.proxy().cut(Matching::watches());
    until_retention(&world, 60);
    settle_stack(&world);
    assert_eq!(later(&world, since), ["UpdateLogStore"], "{}", world.report());
    world.nothing_was_reduced();
}

/// The operator does not see its own writes: what they noted must hold all the same.
#[test]
fn while_its_own_writes_are_not_shown_nothing_is_created_twice() {
    let mut world = world("unseen");
    let hold = json!({"match": {"action": "CreateProject", "nth": 1}, "fault": {"kind": "hold-after"}});
    world.emulator.add_fault(&hold).unwrap();
    apply_stack(&world);
    world.start();
    world.eventually("the project is made and its answer held", || {
        let faults = world.emulator.get("faults").unwrap();
        if faults["faults"][0]["holding"].as_u64() > Some(0) {
            Ok(())
        } else {
            Err(faults.to_string())
        }
    });
    watched(&world);
    let freeze = world.proxy().add(Matching::watches(), Fault::Freeze);
    world.emulator.remove_faults().unwrap();
    world.eventually("the project has its mark", || {
        let seen = changes(&world);
        if seen == ["CreateProject", "TagResources"] {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    world.resyncs("GetProject", 4);
    assert_eq!(
        changes(&world),
        ["CreateProject", "TagResources"],
        "{}",
        world.report()
    );
    world.proxy().remove(freeze);
    world.proxy().cut(Matching::watches());
    settle_stack(&world);
    created_once(&world);
}

#[test]
fn a_spec_that_went_and_came_back_unseen_changes_nothing() {
    let world = store_at_rest("aba");
    let freeze = blind(&world);
    let since = world.now();
    for days in [60, 7, 30] {
        world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": days}));
    }
    relisted(&world, freeze);
    world.settled("AuditLogStore", STORE);
    world.resyncs("GetIndex", 3);
    assert_eq!(later(&world, since), Vec::<String>::new(), "{}", world.report());
}

/// Deleted and made again while nobody looked: another object, of the same name.
#[test]
fn an_object_of_the_same_name_and_another_uid_takes_over_without_a_second_create() {
    let world = store_at_rest("uid");
    let before = uid(&world, "AuditLogStore", STORE);
    let freeze = blind(&world);
    tear_out(&world, "AuditLogStore", STORE);
    apply_store(&world);
    let since = world.now();
    assert_ne!(uid(&world, "AuditLogStore", STORE), before);
    // The visits go on with the copy of the object that is gone; nothing they do may be lasting.
    world.resyncs("GetProject", 3);
    relisted(&world, freeze);
    world.settled("AuditLogStore", STORE);
    world.resyncs("GetIndex", 3);
    let made: Vec<String> = later(&world, since)
        .into_iter()
        .filter(|call| call != "TagResources")
        .collect();
    assert_eq!(made, Vec::<String>::new(), "{}", world.report());
    world.nothing_was_reduced();
}

#[test]
fn watches_that_break_again_and_again_lose_nothing() {
    let mut world = world("broken");
    apply_stack(&world);
    world.start();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        world.proxy().cut(Matching::watches());
        sleep(Duration::from_millis(150));
    }
    settle_stack(&world);
    created_once(&world);
}

/// A load balancer that lets no stream live must not be answered with a flood.
#[test]
fn watches_that_end_at_once_are_opened_with_care() {
    let world = store_at_rest("endless");
    watched(&world);
    let asked = world.proxy().now();
    let cut = world.proxy().add(Matching::watches(), Fault::Cut);
    sleep(Duration::from_secs(5));
    let rows = world.proxy().journal(asked);
    let opened = rows.iter().filter(|row| row.call.verb == "watch").count();
    world.proxy().remove(cut);
    assert!(opened <= 60, "{opened} watches of 3 kinds in 5 s");
    world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 60}));
    until_retention(&world, 60);
}

#[test]
fn a_change_behind_a_compacted_watch_is_seen_after_one_list() {
    let world = store_at_rest("compacted");
    let (since, asked) = (world.now(), world.proxy().now());
    let freeze = blind(&world);
    world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 60}));
    relisted(&world, freeze);
    until_retention(&world, 60);
    world.settled("AuditLogStore", STORE);
    assert_eq!(later(&world, since), ["UpdateLogStore"], "{}", world.report());
    let count = lists(&world, asked);
    assert!((3..=6).contains(&count), "{count} lists\n{}", world.report());
}

/// No bytes and no end: only the client's own clock can tell. Takes the five minutes of the operator's read timeout.
pub fn a_frozen_watch_is_given_up_without_help() {
    let world = store_at_rest("silent");
    watched(&world);
    let frozen = world.proxy().open_watches().len() as u64;
    // Those that are open, and no later one.
    world
        .proxy()
        .add(Matching::watches().times(frozen), Fault::Freeze);
    world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 60}));
    let start = Instant::now();
    while world.count(0, "UpdateLogStore") == 0 {
        assert!(start.elapsed() < Duration::from_secs(420), "{}", world.report());
        sleep(Duration::from_secs(1));
    }
    eprintln!("given up after {:?}", start.elapsed());
    world.settled("AuditLogStore", STORE);
}

/// Credentials are read when they are needed, and never from a watch: a hidden change of a Secret is seen all the same.
#[test]
fn credentials_that_change_under_frozen_watches_are_used() {
    let world = store_at_rest("rotated");
    watched(&world);
    world.proxy().add(Matching::watches(), Fault::Freeze);
    let key = "LTAIrotatedKey00000001";
    world.add_user(
        key,
        crate::support::ACCOUNT,
        "rotated",
        &json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]),
    );
    world.write_secret(CREDENTIALS, key, crate::support::SECRET, true);
    world.eventually("the new key is used", || {
        let rows = world.journal(0);
        let used = rows
            .iter()
            .rev()
            .take(5)
            .any(|row| row.0.to_string().contains("rotated"));
        if used { Ok(()) } else { Err("not yet".to_owned()) }
    });
    world.nothing_was_reduced();
}
