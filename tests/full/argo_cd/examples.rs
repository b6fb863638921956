//! The example Applications and ApplicationSets of `deploy/argocd`, as they are but for the repository and the cluster, do what
//! their comments say.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::argo::NAMESPACE;
use crate::support::api_server;
use crate::{STACK, Stage, manifest, shared};

/// An example with this repository and cluster in place of the placeholders.
pub fn example(name: &str, repository: &str, server: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/argocd")
        .join(name);
    let text = fs::read_to_string(path).unwrap();
    let text = text
        .replace("https://git.example.com/platform/ramtrail.git", repository)
        .replace("https://git.example.com/platform/audit.git", repository)
        .replace("https://kubernetes.default.svc", server);
    serde_saphyr::from_str(&text).unwrap()
}

/// Each folder below `accounts/` becomes an Application; one that disappears leaves its objects.
#[test]
fn an_application_set_follows_the_folders() {
    let mut stage = Stage::new("folders");
    stage.world.start();
    let folder = stage.world.namespace.clone();
    for (kind, _) in STACK {
        let path = format!("accounts/{folder}/{}.yaml", kind.to_lowercase());
        stage.repository.write(&path, &manifest(kind, &json!({})));
    }
    let commit = stage.repository.commit();
    let set = example(
        "audit-application-set.yaml",
        &stage.repository.url(),
        stage.argo.server(),
    );
    let kubectl = &stage.world.kubectl;
    kubectl.apply(&set.to_string()).unwrap();
    let name = format!("audit-{folder}");
    crate::argo::eventually("the folder has an Application", || {
        if stage.argo.exists(&name) {
            Ok(())
        } else {
            Err(name.clone())
        }
    });
    stage.argo.synced_and_healthy(&name, &commit);
    stage.settled();
    kubectl
        .run([
            "-n",
            NAMESPACE,
            "delete",
            "applicationset",
            "audit",
            "--wait=true",
        ])
        .unwrap();
    crate::argo::eventually("the Application is gone", || {
        if stage.argo.exists(&name) {
            Err(name.clone())
        } else {
            Ok(())
        }
    });
    for (kind, object) in STACK {
        let found = stage.world.object(kind, object).unwrap();
        assert!(
            found.metadata.deletion_timestamp.is_none(),
            "{kind} {object} is being deleted"
        );
    }
}

/// Each labelled cluster gets an operator whose cluster id is the cluster's name.
#[test]
fn an_application_set_follows_the_clusters() {
    let argo = shared();
    let kubectl = api_server::kubectl();
    // Automated syncs are left out: what the chart makes on a cluster is the subject of another test.
    let mut set = example("operator-application-set.yaml", "file:///nowhere", argo.server());
    set["spec"]["template"]["spec"]["syncPolicy"]
        .as_object_mut()
        .unwrap()
        .remove("automated");
    kubectl.apply(&set.to_string()).unwrap();
    assert!(!argo.exists("ramtrail-test"));
    let cluster = [
        "-n",
        NAMESPACE,
        "label",
        "secret",
        "cluster-of-the-test",
        "--overwrite",
    ];
    kubectl.run(cluster.into_iter().chain(["audit=true"])).unwrap();
    crate::argo::eventually("the cluster has an Application", || {
        if argo.exists("ramtrail-test") {
            Ok(())
        } else {
            Err("none".to_owned())
        }
    });
    let application = argo.get("ramtrail-test");
    let values = &application["spec"]["source"]["helm"]["valuesObject"];
    assert_eq!(values["clusterID"], "test", "{application:#}");
    assert_eq!(application["spec"]["destination"]["server"], argo.server());
    kubectl
        .run([
            "-n",
            NAMESPACE,
            "delete",
            "applicationset",
            "ramtrail",
            "--wait=true",
        ])
        .unwrap();
}
