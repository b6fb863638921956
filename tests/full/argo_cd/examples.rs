//! The example Applications and ApplicationSets of `deploy/argocd`, as they are but for the repository and the cluster, do what
//! their comments say.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::argo::{Argo, NAMESPACE, Repository};
use crate::life::write_secret;
use crate::support::{OPERATOR_NAMESPACE, api_server};
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

/// Each folder below `accounts/` becomes an Application; one that disappears leaves its objects, and so does the set.
#[test]
fn an_application_set_follows_the_folders() {
    let mut stage = Stage::new("folders");
    let second = api_server::namespace(&stage.world.kubectl, "second");
    write_secret(&stage, &second);
    let watch = format!("--watch-namespaces={second}");
    stage.world = stage.world.option(&watch);
    stage.world.start();
    let first = stage.world.namespace.clone();
    for (kind, _) in STACK {
        let path = format!("accounts/{first}/{}.yaml", kind.to_lowercase());
        stage.repository.write(&path, &manifest(kind, &json!({})));
    }
    let path = format!("accounts/{second}/auditproject.yaml");
    let project = json!({"metadata": {"name": SECOND}, "spec": {"projectName": SECOND}});
    stage.repository.write(&path, &manifest("AuditProject", &project));
    let commit = stage.repository.commit();
    let set = example(
        "audit-application-set.yaml",
        &stage.repository.url(),
        stage.argo.server(),
    );
    let kubectl = &stage.world.kubectl;
    kubectl.apply(&set.to_string()).unwrap();
    let names = [&first, &second].map(|folder| format!("audit-{folder}"));
    for name in &names {
        until_there(stage.argo, name, true);
        stage.argo.synced_and_healthy(name, &commit);
    }
    stage.settled();

    stage.repository.remove(&path);
    stage.repository.commit();
    refresh_set("audit");
    until_there(stage.argo, &names[1], false);
    until_up_to_date("audit");
    assert!(stage.argo.exists(&names[0]));
    let arguments = ["-n", &second, "get", "auditproject", SECOND];
    let left = kubectl.json(arguments).unwrap();
    assert!(left["metadata"]["deletionTimestamp"].is_null(), "{left:#}");

    delete_set("audit");
    until_there(stage.argo, &names[0], false);
    for (kind, object) in STACK {
        let found = stage.world.object(kind, object).unwrap();
        assert!(
            found.metadata.deletion_timestamp.is_none(),
            "{kind} {object} is being deleted"
        );
    }
}

/// Each labelled cluster gets an operator whose cluster id is the cluster's name; a label that is taken away leaves the operator.
#[test]
fn an_application_set_follows_the_clusters() {
    let argo = shared();
    let kubectl = api_server::kubectl();
    // In place of the chart one that tells its values: what the chart makes on a cluster is the subject of another test.
    let repository = Repository::new();
    let chart = json!({"apiVersion": "v2", "name": "ramtrail", "version": "0.0.0"});
    repository.write("charts/ramtrail/Chart.yaml", &chart);
    let told = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": TOLD}, "data": {"clusterID": "{{ .Values.clusterID }}"},
    });
    repository.write("charts/ramtrail/templates/told.yaml", &told);
    let commit = repository.commit();
    let set = example("operator-application-set.yaml", &repository.url(), argo.server());
    kubectl.apply(&set.to_string()).unwrap();
    until_up_to_date("ramtrail");
    assert!(!argo.exists(OF_CLUSTER));
    let label = |what: &str| {
        let cluster = [
            "-n",
            NAMESPACE,
            "label",
            "secret",
            "cluster-of-the-test",
            "--overwrite",
        ];
        kubectl.run(cluster.into_iter().chain([what])).unwrap();
    };
    label("audit=true");
    until_there(argo, OF_CLUSTER, true);
    let application = argo.synced_and_healthy(OF_CLUSTER, &commit);
    let values = &application["spec"]["source"]["helm"]["valuesObject"];
    assert_eq!(values["clusterID"], "test", "{application:#}");
    assert_eq!(application["spec"]["destination"]["server"], argo.server());
    let made = || {
        let arguments = ["-n", OPERATOR_NAMESPACE, "get", "configmap", TOLD];
        kubectl.json(arguments).unwrap()
    };
    let before = made();
    assert_eq!(before["data"]["clusterID"], "test", "{before:#}");

    label("audit-");
    until_there(argo, OF_CLUSTER, false);
    until_up_to_date("ramtrail");
    let after = made();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(after["metadata"]["deletionTimestamp"].is_null(), "{after:#}");
    delete_set("ramtrail");
}

/// A project in a folder of its own.
const SECOND: &str = "second-audit";
/// The Application of the cluster that these tests run on.
const OF_CLUSTER: &str = "ramtrail-test";
/// What the stand-in for the chart makes.
const TOLD: &str = "told";

fn until_there(argo: &Argo, name: &str, there: bool) {
    crate::argo::eventually(&format!("Application {name} is there: {there}"), || {
        if argo.exists(name) == there {
            Ok(())
        } else {
            Err(name.to_owned())
        }
    });
}

/// Waits until the controller has made of a set what it is now: what is not there then is not wanted.
fn until_up_to_date(name: &str) {
    let kubectl = api_server::kubectl();
    crate::argo::eventually(&format!("ApplicationSet {name} is up to date"), || {
        let set = kubectl
            .json(["-n", NAMESPACE, "get", "applicationset", name])
            .unwrap();
        let is_true = |type_: &str| {
            let conditions = set["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|c| c["type"] == type_ && c["status"] == "True"))
        };
        if is_true("ParametersGenerated") && is_true("ResourcesUpToDate") {
            Ok(())
        } else {
            Err(set["status"].to_string())
        }
    });
}

/// What a webhook of a Git server does: asks Argo CD to look at the repository of a set.
fn refresh_set(name: &str) {
    let arguments = ["-n", NAMESPACE, "annotate", "applicationset", name, "--overwrite"];
    let annotation = "argocd.argoproj.io/application-set-refresh=true";
    api_server::kubectl()
        .run(arguments.into_iter().chain([annotation]))
        .unwrap();
}

fn delete_set(name: &str) {
    let arguments = ["-n", NAMESPACE, "delete", "applicationset", name, "--wait=true"];
    api_server::kubectl().run(arguments).unwrap();
}
