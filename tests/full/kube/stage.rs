//! The stack under test, and what every test asks of it in the end.

use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use ramtrail::api::v1alpha1::{AuditLogStore, AuditProject, RamTrail};
use serde_json::{Value, json};

use crate::support::{World, wait};
use crate::trail_support::{
    CALLS, PROJECT, STORE, TRAIL, apply_project, apply_stack, apply_store, prepare, settle_stack,
};

/// The objects of the stack: kind, plural name, name.
pub const OBJECTS: [(&str, &str, &str); 3] = [
    ("AuditProject", "auditprojects", PROJECT),
    ("AuditLogStore", "auditlogstores", STORE),
    ("RamTrail", "ramtrails", TRAIL),
];

/// A hostile cloud behind a proxy; nothing is applied or started yet.
pub fn world(purpose: &str) -> World {
    let world = World::new(purpose).behind_proxy();
    prepare(&world);
    world
}

/// The whole stack at rest.
pub fn at_rest(purpose: &str) -> World {
    let mut world = world(purpose);
    apply_stack(&world);
    world.start();
    settle_stack(&world);
    world
}

/// Project and store at rest, without the trail: quicker.
pub fn store_at_rest(purpose: &str) -> World {
    let mut world = World::new(purpose).behind_proxy();
    apply_project(&world);
    apply_store(&world);
    world.start();
    world.settled("AuditProject", PROJECT);
    world.settled("AuditLogStore", STORE);
    world
}

/// The changes of the operator so far, sorted.
pub fn changes(world: &World) -> Vec<String> {
    let mut calls = world.writes(0);
    calls.sort();
    calls
}

/// Fails unless the cloud was asked for exactly the calls of an undisturbed creation.
pub fn created_once(world: &World) {
    assert_eq!(changes(world), CALLS, "{}", world.report());
    world.nothing_was_reduced();
}

/// A list as the API server would answer it now.
pub fn list(world: &World, plural: &str) -> Value {
    let path = format!(
        "/apis/ramtrail.io/v1alpha1/namespaces/{}/{plural}",
        world.namespace
    );
    serde_json::from_str(&world.kubectl.run(["get", "--raw", &path]).unwrap()).unwrap()
}

fn api(world: &World, kind: &str) -> Api<DynamicObject> {
    let resource = match kind {
        "AuditProject" => ApiResource::erase::<AuditProject>(&()),
        "AuditLogStore" => ApiResource::erase::<AuditLogStore>(&()),
        "RamTrail" => ApiResource::erase::<RamTrail>(&()),
        other => panic!("{other} is no kind of ours"),
    };
    Api::namespaced_with(world.client.clone(), &world.namespace, &resource)
}

/// Removes an object although its finalizer stands, as an impatient administrator would.
pub fn tear_out(world: &World, kind: &str, name: &str) {
    let api = api(world, kind);
    wait(api.delete(name, &DeleteParams::background())).unwrap();
    let patch = json!({"metadata": {"finalizers": null}});
    wait(api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))).unwrap();
    assert!(wait(api.get_opt(name)).unwrap().is_none());
}

/// The UID of an object.
pub fn uid(world: &World, kind: &str, name: &str) -> String {
    wait(api(world, kind).get(name)).unwrap().metadata.uid.unwrap()
}

/// Whether an object exists.
pub fn exists(world: &World, kind: &str, name: &str) -> bool {
    wait(api(world, kind).get_opt(name)).unwrap().is_some()
}
