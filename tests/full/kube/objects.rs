//! Objects at their limits, and objects that change while nobody looks.

use ramtrail::aliyun::LogStoreName;
use serde_json::json;

use crate::stage::{OBJECTS, at_rest, changes, created_once, store_at_rest};
use crate::support::{USER, World, project_spec, wait};
use crate::trail_support::{
    PROJECT, STORE, TRAIL, apply_project, apply_stack, apply_store, project, settle_stack, trail,
};

#[test]
fn what_is_deleted_while_the_operator_is_down_is_settled_when_it_comes() {
    let mut world = at_rest("down");
    for (kind, name) in [("AuditLogStore", STORE), ("RamTrail", TRAIL)] {
        world.patch_spec(kind, name, &json!({"deletionPolicy": "Delete"}));
        world.settled(kind, name);
    }
    world.kill();
    let since = world.now();
    for (kind, _, name) in OBJECTS {
        world.delete(kind, name);
    }
    world.start();
    for (kind, _, name) in OBJECTS {
        world.gone(kind, name);
    }
    assert!(trail(&world).is_none(), "{}", world.report());
    let name = LogStoreName::new(STORE).unwrap();
    assert!(wait(world.intruder().log_service.get_log_store(&project(), &name)).is_err());
    let deletes: Vec<String> = world
        .writes(since)
        .into_iter()
        .filter(|call| call.starts_with("Delete"))
        .collect();
    let mut once = deletes.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), deletes.len(), "{deletes:?}");
    assert!(!deletes.contains(&"DeleteProject".to_owned()), "Retain");
}

#[test]
fn objects_with_the_largest_annotations_are_managed_like_others() {
    let mut world = World::new("large").behind_proxy();
    apply_project(&world);
    apply_store(&world);
    // The API server allows 256 KiB in all.
    let load = "x".repeat(250 * 1024);
    for (kind, name) in [("AuditProject", PROJECT), ("AuditLogStore", STORE)] {
        world.annotate(kind, name, "example.com/load", Some(&load));
    }
    world.start();
    world.settled("AuditProject", PROJECT);
    world.settled("AuditLogStore", STORE);
    assert_eq!(
        changes(&world),
        [
            "CreateIndex",
            "CreateLogStore",
            "CreateProject",
            "TagResources",
            "TagResources"
        ],
        "{}",
        world.report()
    );
}

/// The cloud's words are longer than a condition or an Event may be, in letters of several bytes.
#[test]
fn endless_words_of_the_cloud_fail_no_status_write() {
    let mut world = World::new("words").behind_proxy();
    let message = "审计".repeat(60_000);
    let fault = json!({
        "match": {"action": "CreateProject", "caller": USER, "nth": 1, "times": 0},
        "fault": {"kind": "status", "status": 400, "code": "ParameterInvalid", "message": message},
    });
    world.emulator.add_fault(&fault).unwrap();
    world.apply("AuditProject", PROJECT, &project_spec(PROJECT));
    world.start();
    let told = world.eventually("the refusal is told", || {
        let conditions = world.conditions("AuditProject", PROJECT);
        conditions
            .iter()
            .find(|c| c["message"].as_str().is_some_and(|text| text.contains('审')))
            .cloned()
            .ok_or(format!("{conditions:?}"))
    });
    assert!(told["message"].as_str().unwrap().chars().count() <= 32_768);
    world.eventually("an Event tells it", || {
        let events = world.events();
        let told = events.iter().find(|(_, note)| note.contains('审'));
        match told {
            Some((_, note)) if note.len() <= 1024 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    world.emulator.remove_faults().unwrap();
    world.settled("AuditProject", PROJECT);
    let refused = world
        .proxy()
        .journal(0)
        .into_iter()
        .find(|row| row.call.is_write && matches!(row.status, Some(400 | 413 | 422)));
    assert!(refused.is_none(), "{refused:?}");
}

/// Somebody writes to the objects all the time; every status write of the operator finds them changed.
#[test]
fn real_conflicts_repeat_only_the_write_to_the_api_server() {
    use xtask::api_proxy::{Fault, Matching};
    let mut world = crate::stage::world("busy");
    apply_stack(&world);
    let faults: Vec<(&str, &str, u64)> = OBJECTS
        .iter()
        .map(|(kind, plural, name)| {
            let held = Matching::of("patch", plural).times(0);
            (*kind, *name, world.proxy().add(held, Fault::HoldBefore))
        })
        .collect();
    world.start();
    let mut bumps = 0u32;
    let start = std::time::Instant::now();
    while bumps < 24 && start.elapsed() < crate::support::DEADLINE {
        for (kind, name, id) in &faults {
            if world.proxy().progress(*id).holding > 0 {
                // Every second write meets a conflict, so that there is an end.
                if bumps.is_multiple_of(2) {
                    world.annotate(kind, name, "example.com/bump", Some(&bumps.to_string()));
                }
                bumps += 1;
                world.proxy().release(*id);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(bumps >= 24, "{bumps} writes\n{}", world.report());
    world.proxy().clear();
    settle_stack(&world);
    let conflicts = world
        .proxy()
        .journal(0)
        .iter()
        .filter(|row| row.status == Some(409))
        .count();
    assert!(conflicts >= 4, "{conflicts} conflicts\n{}", world.report());
    created_once(&world);
}

/// At rest, a conflict or a lost answer of the API server asks nothing of the cloud.
#[test]
fn a_restart_between_any_two_requests_at_rest_changes_nothing() {
    let mut world = store_at_rest("rest");
    let since = world.now();
    for step in 0..6 {
        world.kill();
        let asked = world.proxy().now();
        world.start();
        world.eventually("some requests of the new process", || {
            let now = world.proxy().now();
            if now >= asked + 3 + 3 * step {
                Ok(())
            } else {
                Err(format!("{now}"))
            }
        });
    }
    world.resyncs("GetIndex", 2);
    assert_eq!(world.writes(since), Vec::<String>::new(), "{}", world.report());
}
