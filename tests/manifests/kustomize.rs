//! `deploy/`: kustomizations that give what the chart gives, applied by kubectl.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xtask::control_plane::{ControlPlane, Options};
use xtask::temp_dir::TempDir;

use super::{api_server, named, objects, read, root, template};

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

/// A kustomization of a user, with the lines that the base recommends for another namespace.
fn moved() -> TempDir {
    let base = read("deploy/base/kustomization.yaml");
    let recommended: Vec<&str> = base
        .lines()
        .skip_while(|line| !line.starts_with("#   namespace: "))
        .map_while(|line| line.strip_prefix("#   "))
        .collect();
    assert!(recommended.len() > 5, "{recommended:?}");
    let dir = TempDir::new("moved").unwrap();
    // Kustomizations are named relative to each other.
    let up = "../".repeat(dir.path().components().count() - 1);
    let base = format!("{up}{}", root().join("deploy/base").display()).replace("//", "/");
    let text = format!("resources:\n  - {base}\n{}\n", recommended.join("\n"));
    std::fs::write(dir.path().join("kustomization.yaml"), text).unwrap();
    dir
}

#[test]
fn another_namespace_reaches_the_policy_as_the_base_recommends() {
    let kubectl = api_server::bare_kubectl();
    let dir = moved();
    let built = kubectl
        .run(["kustomize", &dir.path().display().to_string()])
        .unwrap();
    assert!(!built.contains("ramtrail-system"), "{built}");
    let built = objects(&built);
    let policy = named(&built, "ValidatingAdmissionPolicy", "ramtrail-weaken");
    let variables = &policy["spec"]["variables"];
    let operator = variables
        .as_array()
        .unwrap()
        .iter()
        .find(|variable| variable["name"] == "operator")
        .unwrap();
    assert_eq!(
        operator["expression"],
        "'system:serviceaccount:audit-system:ramtrail'"
    );
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
    // As a file, and as a kustomization: the same.
    kubectl.run(["apply", "-f", "deploy/crds/crds.yaml"]).unwrap();
    let as_file = versions("deploy/crds");
    kubectl.run(["apply", "-k", "deploy/crds"]).unwrap();
    assert_eq!(versions("deploy/crds"), as_file);
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
    let dir = moved();
    kubectl
        .run(["apply", "-k", &dir.path().display().to_string()])
        .unwrap();
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
