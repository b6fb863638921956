//! The operator itself under Argo CD, with the example Applications, on a control plane of its own: it changes kinds and permissions
//! of the whole cluster. The Deployment has no replica, since no kubelet runs; the operator is a process with its ServiceAccount.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use xtask::kubectl::Kubectl;

use crate::argo::{Argo, NAMESPACE, Repository};
use crate::examples::example;
use crate::support::{DEADLINE, OPERATOR_NAMESPACE, WatchedPlane, World, give_rights, merge};
use crate::trail_support::{TRAIL, prepare, trail};
use crate::{STACK, manifest, reductions};
use ramtrail::aliyun::action_trail::TrailState;

/// What the chart makes and what a user would notice the loss of.
const OURS: [(&str, &str); 6] = [
    ("crd", "auditprojects.ramtrail.io"),
    ("crd", "auditlogstores.ramtrail.io"),
    ("crd", "ramtrails.ramtrail.io"),
    ("clusterrole", "ramtrail"),
    ("clusterrolebinding", "ramtrail"),
    ("validatingadmissionpolicy", "ramtrail-weaken"),
];

/// Installed with kubectl, handed over to Argo CD, its kinds upgraded, and operator and stack deleted as one Application.
#[test]
fn hand_over_upgrade_and_deletion_in_one_application() {
    let mut control_plane = WatchedPlane::start();
    let kubectl = &control_plane.kubectl().clone();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    kubectl.apply_path(&root.join("deploy/install.yaml")).unwrap();
    kubectl
        .wait_for_crds(
            &[
                "auditprojects.ramtrail.io",
                "auditlogstores.ramtrail.io",
                "ramtrails.ramtrail.io",
            ],
            DEADLINE,
        )
        .unwrap();
    let mut world = World::on(&give_rights(kubectl.clone()), "handover", &["--profile=hostile"]);
    prepare(&world);
    let stack: Vec<String> = STACK
        .iter()
        .map(|(kind, _)| {
            let namespace = json!({"metadata": {"namespace": world.namespace}});
            manifest(kind, &namespace).to_string()
        })
        .collect();
    kubectl.apply(&stack.join("\n---\n")).unwrap();
    world.start();
    for (kind, name) in STACK {
        world.settled(kind, name);
    }

    let argo = Argo::start(kubectl);
    let repository = Repository::new();
    copy(
        &root.join("charts/ramtrail"),
        &repository.path().join("charts/ramtrail"),
    );
    for (kind, _) in STACK {
        let path = format!("audit/{}.yaml", kind.to_lowercase());
        repository.write(&path, &manifest(kind, &json!({})));
    }
    let commit = repository.commit();
    let before = identities(kubectl, &world);
    let since = world.now();

    hand_over(&argo, &world, &repository, &commit);
    assert_eq!(identities(kubectl, &world), before, "something was made anew");
    assert_eq!(world.writes(since), Vec::<String>::new(), "{}", world.report());

    upgrade(kubectl, &argo, &repository);
    assert_eq!(identities(kubectl, &world), before, "something was made anew");
    assert_eq!(world.writes(since), Vec::<String>::new(), "{}", world.report());

    control_plane.nothing_was_refused();
    delete_as_one(kubectl, &argo, &world, &repository);
    // Its permissions went with the Application, and the process ran on.
    drop(world);
    control_plane.refusals_were_meant();
}

/// The two example Applications take over what kubectl applied.
fn hand_over(argo: &Argo, world: &World, repository: &Repository, commit: &str) {
    let mut operator = example("operator-application.yaml", &repository.url(), argo.server());
    merge(
        &mut operator,
        &json!({"spec": {"source": {"helm": {"valuesObject": values()}}}}),
    );
    world.kubectl.apply(&operator.to_string()).unwrap();
    let mut audit = example("audit-application.yaml", &repository.url(), argo.server());
    audit["spec"]["destination"]["namespace"] = json!(world.namespace);
    world.kubectl.apply(&audit.to_string()).unwrap();
    argo.synced_and_healthy("ramtrail", commit);
    argo.synced_and_healthy("audit", commit);
    for name in ["ramtrail", "audit"] {
        argo.refresh(name, "hard");
        argo.synced_and_healthy(name, commit);
    }
}

/// Values that this machine needs besides the example's.
fn values() -> Value {
    json!({"replicaCount": 0})
}

/// A new release with another definition of a kind: the definition changes in its place.
fn upgrade(kubectl: &Kubectl, argo: &Argo, repository: &Repository) {
    let path = repository
        .path()
        .join("charts/ramtrail/crd-manifests/ramtrails.ramtrail.io.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let mut definition: Value = serde_saphyr::from_str(&text).unwrap();
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array_mut()
        .unwrap();
    columns.push(json!({"name": "NEW", "type": "string", "jsonPath": ".metadata.uid"}));
    fs::write(&path, serde_json::to_string_pretty(&definition).unwrap()).unwrap();
    let commit = repository.commit();
    argo.refresh("ramtrail", "normal");
    argo.synced_and_healthy("ramtrail", &commit);
    let seen = kubectl.json(["get", "crd", "ramtrails.ramtrail.io"]).unwrap();
    assert!(
        seen["spec"]["versions"][0].to_string().contains("NEW"),
        "{seen:#}"
    );
    argo.refresh("audit", "normal");
    argo.synced_and_healthy("audit", &commit);
}

/// Operator and stack in one Application, the stack in a later wave: deletion takes the stack first, while the operator has its
/// permissions, and the kinds stay.
fn delete_as_one(kubectl: &Kubectl, argo: &Argo, world: &World, repository: &Repository) {
    for name in ["ramtrail", "audit"] {
        let free = r#"{"metadata":{"finalizers":null}}"#;
        let patch = ["-n", NAMESPACE, "patch", "application", name, "--type=merge"];
        kubectl.run(patch.into_iter().chain(["-p", free])).unwrap();
        kubectl
            .run(["-n", NAMESPACE, "delete", "application", name])
            .unwrap();
    }
    for (kind, _) in STACK {
        let path = format!("audit/{}.yaml", kind.to_lowercase());
        let wave = json!({"metadata": {
            "namespace": world.namespace,
            "annotations": {"argocd.argoproj.io/sync-wave": "1"},
        }});
        repository.write(&path, &manifest(kind, &wave));
    }
    let commit = repository.commit();
    let mut chart = json!({
        "repoURL": repository.url(), "path": "charts/ramtrail", "targetRevision": "main",
        "helm": {"valuesObject": values()},
    });
    chart["helm"]["valuesObject"]["clusterID"] = json!("prod-1");
    let audit = json!({"repoURL": repository.url(), "path": "audit", "targetRevision": "main"});
    let changes = json!({"spec": {
        "sources": [chart, audit],
        "syncPolicy": {"syncOptions": ["ServerSideApply=true"]},
    }});
    argo.application("ramtrail", &Value::Null, OPERATOR_NAMESPACE, &changes);
    argo.until("ramtrail", "both sources are Synced and Healthy", |application| {
        let status = &application["status"];
        status["sync"]["status"] == "Synced"
            && status["sync"]["revisions"] == json!([commit, commit])
            && status["health"]["status"] == "Healthy"
            && status["operationState"]["phase"] == "Succeeded"
    });
    argo.delete("ramtrail");
    for (kind, name) in STACK {
        assert!(world.object(kind, name).is_none(), "{kind} {name} is still there");
    }
    for (kind, name) in OURS {
        let found = kubectl.run(["get", kind, name, "--ignore-not-found"]).unwrap();
        assert_eq!(
            kind == "crd",
            !found.trim().is_empty(),
            "{kind} {name}: {found:?}"
        );
    }
    assert_eq!(trail(world).unwrap().state(), TrailState::Enable, "{TRAIL}");
    assert_eq!(reductions(world), Vec::<String>::new());
}

/// UIDs of all that must not be made anew.
fn identities(kubectl: &Kubectl, world: &World) -> Vec<String> {
    let of = |arguments: &[&str]| {
        let output = ["get", "-o", "jsonpath={.kind} {.metadata.name} {.metadata.uid}"];
        kubectl.run(output.iter().chain(arguments)).unwrap()
    };
    let mut found: Vec<String> = OURS.iter().map(|(kind, name)| of(&[kind, name])).collect();
    found.push(of(&["-n", OPERATOR_NAMESPACE, "deployment", "ramtrail"]));
    found.extend(
        STACK
            .iter()
            .map(|(kind, name)| of(&["-n", &world.namespace, kind, name])),
    );
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let status = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(status.success());
}
