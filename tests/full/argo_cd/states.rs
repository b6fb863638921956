//! What Argo CD says of objects that are not well: the health and the message, word for word the operator's.

use std::time::Duration;

use serde_json::json;

use crate::support::{ACCOUNT, REGION, USER, wait};
use crate::trail_support::{PROJECT, STORE, TRAIL, create_role, settle, take_role_away, until_trail};
use crate::{STACK, Stage, condition, manifest, path};
use ramtrail::aliyun::action_trail::TrailSettings;

const PAUSED: &str = "ramtrail.io/paused";

/// A project whose Secret does not exist: a person must act, and the message says how.
#[test]
fn a_bad_spec_is_degraded_with_our_message() {
    let mut stage = Stage::new("bad");
    stage.world.start();
    let bad = json!({"spec": {"credentials": {"secretRef": {"name": "nobody-wrote-this"}}}});
    stage
        .repository
        .write(&path("AuditProject"), &manifest("AuditProject", &bad));
    stage.repository.commit();
    stage.apply(&json!({}));
    let said = stage
        .argo
        .health_says(&stage.name, "AuditProject", "Degraded", "nobody-wrote-this");
    let stalled = condition(&stage.world, "AuditProject", PROJECT, "Stalled");
    assert_eq!(stalled["status"], "True", "{stalled}");
    assert_eq!(said, stalled["message"].as_str().unwrap());
    stage
        .argo
        .until(&stage.name, "the Application is Degraded", |application| {
            application["status"]["health"]["status"] == "Degraded"
        });
    // What depends on it waits, and says for what.
    stage
        .argo
        .health_says(&stage.name, "RamTrail", "Progressing", PROJECT);
    // Put right in Git, all is well without any other step.
    let commit = stage.push("AuditProject", &json!({}));
    stage.argo.synced_and_healthy(&stage.name, &commit);
}

/// What the API server refuses never becomes an object: the sync fails, with our words.
#[test]
fn a_spec_that_the_api_server_refuses_fails_the_sync_with_our_message() {
    let stage = Stage::healthy("refused");
    stage.settled();
    stage.push("AuditLogStore", &json!({"spec": {"retentionDays": 0}}));
    let application = stage.argo.until(&stage.name, "the sync fails", |application| {
        application["status"]["operationState"]["message"]
            .as_str()
            .is_some_and(|said| said.contains("retentionDays"))
    });
    assert_eq!(
        application["status"]["sync"]["status"], "OutOfSync",
        "{application:#}"
    );
    assert_eq!(
        stage.world.object("AuditLogStore", STORE).unwrap().data["spec"]["retentionDays"],
        30
    );
}

/// Paused in Git: Suspended, until the annotation goes.
#[test]
fn a_paused_object_is_suspended() {
    let stage = Stage::healthy("paused");
    stage.settled();
    stage.push(
        "RamTrail",
        &json!({"metadata": {"annotations": {PAUSED: "true"}}}),
    );
    let said = stage.argo.health_of(&stage.name, "RamTrail", "Suspended");
    assert!(said.contains(PAUSED), "{said}");
    stage
        .argo
        .until(&stage.name, "the Application is Suspended", |application| {
            application["status"]["health"]["status"] == "Suspended"
        });
    let commit = stage.push("RamTrail", &json!({}));
    stage.argo.synced_and_healthy(&stage.name, &commit);
}

/// A trail whose project is not there yet is Progressing, and Healthy once the project comes.
#[test]
fn a_waiting_trail_is_progressing() {
    let mut stage = Stage::new("waits");
    stage.world.start();
    stage.repository.remove(&path("AuditProject"));
    stage.repository.commit();
    stage.apply(&json!({}));
    stage
        .argo
        .health_says(&stage.name, "RamTrail", "Progressing", PROJECT);
    let commit = stage.push("AuditProject", &json!({}));
    stage.argo.synced_and_healthy(&stage.name, &commit);
}

/// Somebody stops the trail and the cloud does not let the operator switch it on: Degraded, until it is on again.
#[test]
fn a_stopped_trail_that_cannot_be_switched_on_is_degraded() {
    let stage = Stage::healthy("stopped");
    stage.settled();
    stage
        .world
        .emulator
        .add_fault(&json!({
            "match": {"action": "StartLogging", "caller": USER, "times": 0},
            "fault": {"kind": "status", "status": 503, "code": "ServiceUnavailable"},
        }))
        .unwrap();
    wait(stage.world.intruder().action_trail.stop_logging(TRAIL)).unwrap();
    let said = stage.argo.health_of(&stage.name, "RamTrail", "Degraded");
    assert!(said.contains("off"), "{said}");
    stage.world.emulator.remove_faults().unwrap();
    stage.argo.health_of(&stage.name, "RamTrail", "Healthy");
    stage
        .argo
        .until(&stage.name, "the Application is Healthy", |application| {
            application["status"]["health"]["status"] == "Healthy"
        });
}

/// Events that ought to arrive do not, for the role of the delivery is gone: Degraded with what to look at. How it heals is a story of the
/// operator alone (`tests/operator_trail.rs`).
#[test]
fn a_trail_that_does_not_deliver_is_degraded() {
    let mut stage = Stage::new("broken");
    stage.world.start();
    stage.repository.remove(&path("RamTrail"));
    stage.repository.commit();
    stage.apply(&json!({}));
    stage.argo.health_of(&stage.name, "AuditProject", "Healthy");
    let world = &stage.world;
    create_role(world, "delivery", "actiontrail.aliyuncs.com");
    let settings = TrailSettings {
        sls_write_role_arn: Some(format!("acs:ram::{ACCOUNT}:role/delivery")),
        ..TrailSettings::into_project(format!("acs:log:{REGION}:{ACCOUNT}:project/{PROJECT}"))
    };
    let cloud = world.intruder();
    let made = cloud
        .resource_manager
        .create_service_linked_role("actiontrail.aliyuncs.com");
    wait(made).unwrap();
    wait(cloud.action_trail.create_trail(TRAIL, &settings)).unwrap();
    until_trail(world, "the trail is shown", |_| true);
    let commit = stage.push("RamTrail", &json!({}));
    stage.argo.synced_and_healthy(&stage.name, &commit);
    settle(world);

    take_role_away(world, "delivery");
    // A call that the trail cannot deliver any more; those before it may have arrived.
    world.resyncs("GetCallerIdentity", 2);
    world.emulator.jump(Duration::from_secs(1200)).unwrap();
    let said = stage
        .argo
        .health_says(&stage.name, "RamTrail", "Degraded", "console of ActionTrail");
    let stalled = condition(world, "RamTrail", TRAIL, "Stalled");
    assert_eq!(stalled["reason"], "DeliveryBroken", "{stalled}");
    assert_eq!(said, stalled["message"].as_str().unwrap());
}

/// Nothing can be seen for longer than three resyncs: what was true then is not called Healthy.
#[test]
fn what_cannot_be_observed_is_not_healthy() {
    let stage = Stage::healthy("unseen");
    stage.settled();
    stage
        .world
        .emulator
        .add_fault(&json!({
            "match": {"isWrite": false, "caller": USER, "times": 0},
            "fault": {"kind": "status", "status": 503, "code": "ServiceUnavailable"},
        }))
        .unwrap();
    let said = stage.argo.health_of(&stage.name, "RamTrail", "Degraded");
    assert!(said.contains("three resyncs"), "{said}");
    stage.world.emulator.remove_faults().unwrap();
    for (kind, _) in STACK {
        stage.argo.health_of(&stage.name, kind, "Healthy");
    }
}
