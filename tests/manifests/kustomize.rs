//! `deploy/`: kustomizations that give what the chart gives, applied by kubectl.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xtask::control_plane::{ControlPlane, Options};

use super::{api_server, objects, read, template};

/// Objects by what they are; arguments of the operator in any order, since a flag's place means nothing.
fn by_identity(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for mut object in objects {
        if object["kind"] == "Namespace" {
            continue; // helm makes it by itself
        }
        if let Some(args) = object.pointer_mut("/spec/template/spec/containers/0/args") {
            let mut sorted: Vec<String> = serde_json::from_value(args.take()).unwrap();
            sorted.sort();
            *args = json!(sorted);
        }
        let metadata = &object["metadata"];
        let identity = format!(
            "{} {} {}",
            object["kind"], metadata["namespace"], metadata["name"]
        );
        assert!(all.insert(identity.clone(), object).is_none(), "{identity} twice");
    }
    all
}

#[test]
fn kustomizations_give_what_the_chart_gives() {
    let kubectl = api_server::bare_kubectl();
    for (folder, arguments) in [
        ("base", vec![]),
        ("overlays/ha", vec!["--values=charts/ramtrail/ci/ha-values.yaml"]),
        (
            "overlays/namespaced",
            vec!["--values=charts/ramtrail/ci/namespaced-values.yaml"],
        ),
        ("crds", vec!["--show-only=templates/crds.yaml"]),
    ] {
        let built = kubectl.run(["kustomize", &format!("deploy/{folder}")]).unwrap();
        let built = by_identity(objects(&built));
        let rendered = by_identity(objects(&template(&arguments).unwrap()));
        assert_eq!(
            built.keys().collect::<Vec<_>>(),
            rendered.keys().collect::<Vec<_>>(),
            "{folder}"
        );
        for (identity, object) in &built {
            assert_eq!(object, &rendered[identity], "deploy/{folder}: {identity}");
        }
    }
}

#[test]
fn kubectl_applies_every_kustomization_and_the_manifest() {
    // A server of its own: roles and policies are replaced under the feet of whoever works beside.
    let plane = ControlPlane::start(&Options::new()).unwrap();
    let kubectl = plane.kubectl();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "audit" } });
    kubectl.apply(&namespace.to_string()).unwrap();
    let versions = |path: &str| {
        let all =
            "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}";
        kubectl.run(["get", "-k", path, "-o", all]).unwrap()
    };
    kubectl.run(["apply", "-k", "deploy/crds"]).unwrap();
    let crds: Vec<String> = ramtrail::api::all_crds()
        .into_iter()
        .filter_map(|crd| crd.metadata.name)
        .collect();
    kubectl
        .wait_for_crds(
            &crds.iter().map(String::as_str).collect::<Vec<_>>(),
            api_server::DEADLINE,
        )
        .unwrap();
    for path in ["deploy/base", "deploy/overlays/namespaced", "deploy/overlays/ha"] {
        kubectl.run(["apply", "-k", path]).unwrap();
    }
    // Nothing that the server fills in is taken away again by the next apply.
    let before = versions("deploy/overlays/ha");
    assert!(before.lines().count() > 15, "{before}");
    kubectl.run(["apply", "-k", "deploy/overlays/ha"]).unwrap();
    assert_eq!(versions("deploy/overlays/ha"), before);
    kubectl.run(["apply", "-f", "deploy/install.yaml"]).unwrap();
    let names = kubectl
        .run(["get", "validatingadmissionpolicy", "-o", "name"])
        .unwrap();
    assert_eq!(names.lines().count(), 2, "{names}");
    // The manifest had the last word.
    let deployment = kubectl
        .json(["-n", "ramtrail-system", "get", "deployment", "ramtrail"])
        .unwrap();
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert!(read("deploy/install.yaml").contains("kind: ValidatingAdmissionPolicy\n"));
}
