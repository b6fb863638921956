//! The API server itself ends, hangs, forgets a kind, or holds an object that cannot be read. On a control plane apart from that of
//! all other tests, because kinds are of the whole cluster; one test at a time.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use xtask::kubectl::Kubectl;
use xtask::process::Signal;

use crate::stage::{changes, created_once};
use crate::support::{DEADLINE, WatchedPlane, World, api_server, give_rights};
use crate::trail_support::{
    PROJECT, STORE, apply_project, apply_stack, apply_store, prepare, settle_stack, until_retention,
};

struct Plane {
    control_plane: WatchedPlane,
    cluster: (Kubectl, Client),
}

/// The control plane of these tests while one of them has it. It outlives them all, so each looks for itself what was refused.
struct Turn(MutexGuard<'static, Plane>);

impl Deref for Turn {
    type Target = Plane;

    fn deref(&self) -> &Plane {
        &self.0
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Plane {
        &mut self.0
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.control_plane.nothing_was_refused();
        }
    }
}

/// The control plane of these tests, for one of them at a time.
fn plane() -> Turn {
    static PLANE: OnceLock<Mutex<Plane>> = OnceLock::new();
    let plane = PLANE.get_or_init(|| Mutex::new(Plane::start()));
    Turn(plane.lock().unwrap_or_else(|poisoned| {
        // A test that failed may have left the server frozen: that is not to fail the next one too.
        let mut plane = PoisonError::into_inner(poisoned);
        plane.control_plane.refusals_were_meant();
        plane.control_plane.restart_apiserver();
        plane
    }))
}

impl Plane {
    fn start() -> Self {
        let control_plane = WatchedPlane::start();
        let kubectl = control_plane.kubectl().clone();
        api_server::install(&kubectl);
        let cluster = give_rights(kubectl);
        Self {
            control_plane,
            cluster,
        }
    }

    fn world(&self, purpose: &str) -> World {
        World::on(&self.cluster, purpose, &["--profile=hostile"]).behind_proxy()
    }
}

/// Killed and started again in the middle of the creation, and once more at rest: the same process of the operator goes on.
#[test]
fn the_api_server_is_restarted() {
    let mut plane = plane();
    let mut world = plane.world("restart");
    prepare(&world);
    apply_stack(&world);
    world.start();
    world.eventually("the project is made", || {
        let made = changes(&world);
        if made.is_empty() {
            Err(String::new())
        } else {
            Ok(())
        }
    });
    plane.control_plane.restart_apiserver();
    settle_stack(&world);
    created_once(&world);
    let since = world.now();
    plane.control_plane.apiserver().kill().unwrap();
    // Visits fail and are tried again; the cloud is not asked to change anything meanwhile.
    sleep(Duration::from_secs(5));
    plane.control_plane.restart_apiserver();
    world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 60}));
    until_retention(&world, 60);
    settle_stack(&world);
    assert_eq!(world.writes(since), ["UpdateLogStore"], "{}", world.report());
    assert_eq!(
        world.logs().matches("ramtrail starts").count(),
        1,
        "it went on without a restart of its own"
    );
}

/// Frozen, not dead: connections stay and nothing is answered.
#[test]
fn the_api_server_hangs() {
    let mut plane = plane();
    let mut world = plane.world("hang");
    prepare(&world);
    apply_stack(&world);
    world.start();
    world.eventually("the project is made", || {
        let made = changes(&world);
        if made.is_empty() {
            Err(String::new())
        } else {
            Ok(())
        }
    });
    plane.control_plane.apiserver().signal(Signal::Stop).unwrap();
    sleep(Duration::from_secs(20));
    let calls = changes(&world).len();
    sleep(Duration::from_secs(5));
    assert_eq!(
        changes(&world).len(),
        calls,
        "nothing is created that could not be noted before"
    );
    plane.control_plane.apiserver().signal(Signal::Cont).unwrap();
    settle_stack(&world);
    created_once(&world);
}

#[test]
fn a_kind_is_removed_and_installed_again_while_the_operator_runs() {
    // Nobody else's: objects that other tests left, with finalizers and no operator, would keep the kind from going.
    let plane = Plane::start();
    let mut world = plane.world("kinds");
    let kubectl = plane.cluster.0.clone();
    apply_project(&world);
    apply_store(&world);
    world.start();
    world.settled("AuditProject", PROJECT);
    world.settled("AuditLogStore", STORE);
    let crd = "auditlogstores.ramtrail.io";
    // Its objects are deleted first, and that waits for their finalizers: the operator settles them.
    kubectl
        .run(["delete", "crd", crd, "--wait=true", "--timeout=100s"])
        .unwrap();
    assert_eq!(world.count(0, "DeleteLogStore"), 0, "Retain keeps it");
    let since = world.now();
    world.resyncs("GetProject", 3);
    assert_eq!(world.writes(since), Vec::<String>::new(), "the others go on");
    api_server::install(&kubectl);
    apply_store(&world);
    world.settled("AuditLogStore", STORE);
    assert_eq!(world.count(0, "CreateLogStore"), 1, "{}", world.report());
    world.nothing_was_reduced();
    assert_eq!(world.logs().matches("ramtrail starts").count(), 1);
}

/// A stored object that the schema of today would refuse, as an older or a relaxed one let it in.
#[test]
fn an_object_that_cannot_be_read_stops_no_other() {
    let plane = plane();
    let kubectl = plane.cluster.0.clone();
    let mut world = plane.world("poison");
    apply_project(&world);
    apply_store(&world);
    world.start();
    world.settled("AuditLogStore", STORE);
    let crd = "auditlogstores.ramtrail.io";
    relax(&kubectl, crd);
    let poison = |name: &str, spec: &Value| {
        let object = json!({
            "apiVersion": "ramtrail.io/v1alpha1", "kind": "AuditLogStore",
            "metadata": {"name": name, "namespace": world.namespace}, "spec": spec,
        });
        kubectl.apply(&object.to_string()).unwrap();
    };
    poison("no-map", &json!("not a map"));
    poison(
        "no-number",
        &json!({"projectRef": {"name": PROJECT}, "retentionDays": "marked-value-of-a-user"}),
    );
    poison(
        "no-policy",
        &json!({"projectRef": {"name": PROJECT}, "retentionDays": 30, "deletionPolicy": "Shred"}),
    );
    api_server::install(&kubectl);
    let note = world.event("Unreadable");
    assert!(note.contains("cannot be read"), "{note}");
    world.eventually("every one is told", || {
        let events = world.events();
        let told = events.iter().filter(|(reason, _)| reason == "Unreadable").count();
        if told >= 3 {
            Ok(())
        } else {
            Err(format!("{events:?}"))
        }
    });
    let others = |world: &World| {
        world.apply(
            "AuditLogStore",
            "another",
            &json!({"projectRef": {"name": PROJECT}, "logStoreName": "another", "retentionDays": 30}),
        );
        world.settled("AuditLogStore", "another");
        world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 60}));
        until_retention(world, 60);
    };
    others(&world);
    // And the same after a start, when they come in the first list.
    world.kill();
    world.start();
    world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 90}));
    until_retention(&world, 90);
    world.settled("AuditLogStore", "another");
    assert!(
        !format!("{:?}", world.events()).contains("marked-value-of-a-user"),
        "values are not repeated"
    );
    let names = ["no-map", "no-number", "no-policy"];
    for name in names {
        kubectl
            .run([
                "-n",
                &world.namespace,
                "delete",
                "auditlogstore",
                name,
                "--timeout=60s",
            ])
            .unwrap();
    }
    assert_eq!(world.count(0, "CreateLogStore"), 2, "{}", world.report());
    world.nothing_was_reduced();
}

/// Lets everything in for now.
fn relax(kubectl: &Kubectl, crd: &str) {
    let open = json!([{
        "op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }]);
    kubectl
        .run(["patch", "crd", crd, "--type=json", "-p", &open.to_string()])
        .unwrap();
    // Schemas of another moment may still be in use for a blink.
    let probe = json!({
        "apiVersion": "ramtrail.io/v1alpha1", "kind": "AuditLogStore",
        "metadata": {"name": "probe", "namespace": "default"}, "spec": "any",
    });
    xtask::wait::until(
        "the relaxed schema is in use",
        DEADLINE,
        Duration::from_millis(100),
        || {
            Ok(
                match kubectl.run_with_input(["create", "--dry-run=server", "-f", "-"], &probe.to_string()) {
                    Ok(_) => xtask::wait::Probe::Done(()),
                    Err(error) => xtask::wait::Probe::Pending(error.to_string()),
                },
            )
        },
    )
    .unwrap();
}

/// The namespace goes with everything in it and comes back: what was kept is taken again, nothing is created anew.
#[test]
fn a_namespace_is_deleted_and_made_again() {
    let plane = plane();
    let kubectl = plane.cluster.0.clone();
    let mut world = plane.world("again");
    prepare(&world);
    apply_stack(&world);
    world.start();
    settle_stack(&world);
    created_once(&world);
    let since = world.now();
    world.delete_namespace();
    kubectl
        .run([
            "wait",
            "--for=delete",
            &format!("namespace/{}", world.namespace),
            "--timeout=120s",
        ])
        .unwrap();
    let destroyed: Vec<String> = world
        .writes(since)
        .into_iter()
        .filter(|call| call.starts_with("Delete"))
        .collect();
    assert_eq!(destroyed, Vec::<String>::new(), "{}", world.report());
    kubectl.run(["create", "namespace", &world.namespace]).unwrap();
    world.write_secret(
        crate::support::CREDENTIALS,
        crate::support::KEY,
        crate::support::SECRET,
        true,
    );
    apply_stack(&world);
    settle_stack(&world);
    let created: Vec<String> = world
        .writes(since)
        .into_iter()
        .filter(|call| call.starts_with("Create") && call != "CreateETL")
        .collect();
    assert_eq!(created, Vec::<String>::new(), "{}", world.report());
    world.nothing_was_reduced();
}
