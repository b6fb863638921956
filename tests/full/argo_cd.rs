//! Real Argo CD syncs our objects from a Git repository on this machine, against the real API server, the operator and a hostile
//! cloud: what users of GitOps meet, from the first sync to the deletion of the Application.
//!
//! One test again: `cargo test --test argo_cd NAME`. Argo CD is built once, by `cargo xtask test --only argo-cd`.
#![allow(clippy::unwrap_used)]

#[path = "argo_cd/argo.rs"]
mod argo;
#[path = "argo_cd/examples.rs"]
mod examples;
#[path = "argo_cd/life.rs"]
mod life;
#[path = "argo_cd/operator.rs"]
mod operator;
#[path = "argo_cd/script.rs"]
mod script;
#[path = "argo_cd/states.rs"]
mod states;
#[path = "../support/mod.rs"]
mod support;
#[path = "../trail_support/mod.rs"]
mod trail_support;

use std::sync::OnceLock;

use serde_json::{Value, json};

use argo::{Argo, Repository};
use support::{World, api_server, project_spec, store_spec};
use trail_support::{PROJECT, STORE, TRAIL, copy_to, prepare, trail_spec};

/// The kinds of the stack and the names of its objects.
const STACK: [(&str, &str); 3] = [
    ("AuditProject", PROJECT),
    ("AuditLogStore", STORE),
    ("RamTrail", TRAIL),
];

/// The Argo CD of this program, on the API server that all tests share.
fn shared() -> &'static Argo {
    static SHARED: OnceLock<Argo> = OnceLock::new();
    SHARED.get_or_init(|| Argo::start(&api_server::kubectl()))
}

/// Each program in its own way: the application controller has no flag for it, and is built so.
#[test]
fn nothing_of_argo_cd_can_be_reached_from_outside() {
    let argo = shared();
    argo::eventually("every program listens", || {
        match argo.listens_on_loopback_only() {
            listening if listening >= argo::PORTS => Ok(()),
            listening => Err(format!("{listening} sockets")),
        }
    });
    eprintln!(
        "{} sockets listen, all on loopback",
        argo.listens_on_loopback_only()
    );
}

/// A world, a repository with the seed's stack, and an Application of it.
struct Stage {
    world: World,
    argo: &'static Argo,
    repository: Repository,
    name: String,
}

impl Stage {
    /// Everything but the Application; the operator is not started yet.
    fn new(purpose: &str) -> Self {
        let world = World::new(purpose);
        prepare(&world);
        let repository = Repository::new();
        for (kind, _) in STACK {
            repository.write(&path(kind), &manifest(kind, &json!({})));
        }
        Self {
            name: world.namespace.clone(),
            argo: shared(),
            repository,
            world,
        }
    }

    /// A stage whose stack is Synced and Healthy.
    fn healthy(purpose: &str) -> Self {
        let mut stage = Self::new(purpose);
        stage.world.start();
        let commit = stage.repository.commit();
        stage.apply(&json!({}));
        stage.argo.synced_and_healthy(&stage.name, &commit);
        stage
    }

    /// Applies the Application, with changes.
    fn apply(&self, changes: &Value) {
        let source = json!({"repoURL": self.repository.url(), "path": "audit", "targetRevision": "main"});
        self.argo
            .application(&self.name, &source, &self.world.namespace, changes);
    }

    /// Changes an object in Git and tells Argo CD.
    fn push(&self, kind: &str, changes: &Value) -> String {
        self.repository.write(&path(kind), &manifest(kind, changes));
        self.push_what_is_there()
    }

    fn push_what_is_there(&self) -> String {
        let commit = self.repository.commit();
        self.argo.refresh(&self.name, "normal");
        commit
    }

    /// Waits until the operator has nothing left to do with the stack.
    fn settled(&self) {
        for (kind, name) in STACK {
            self.world.settled(kind, name);
        }
    }
}

fn path(kind: &str) -> String {
    format!("audit/{}.yaml", kind.to_lowercase())
}

/// An object of the stack as it lies in Git: in the namespace of the Application, with changes.
fn manifest(kind: &str, changes: &Value) -> Value {
    let (name, spec) = match kind {
        "AuditProject" => (PROJECT, project_spec(PROJECT)),
        "AuditLogStore" => (STORE, store_spec(PROJECT, STORE, 30)),
        _ => (TRAIL, trail_spec(&json!({"copyTo": copy_to()}))),
    };
    let mut object = json!({
        "apiVersion": "ramtrail.io/v1alpha1", "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    });
    support::merge(&mut object, changes);
    object
}

/// The condition of an object as the API server has it.
fn condition(world: &World, kind: &str, name: &str, type_: &str) -> Value {
    let object = world.object(kind, name).unwrap();
    object.data["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|condition| condition["type"] == type_))
        .cloned()
        .unwrap_or_default()
}

/// The operator's calls that deleted something or made it protect less.
fn reductions(world: &World) -> Vec<String> {
    world
        .journal(0)
        .iter()
        .filter(|row| {
            row.is_ours() && (row.reduces() || (row.is_change() && row.action().starts_with("Delete")))
        })
        .map(ToString::to_string)
        .collect()
}
