//! The chart's values: what its schema takes and refuses, and what value sets render to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use xtask::assets;
use xtask::kubectl::Kubectl;

use super::{
    api_server, arguments, helm, objects, of_kind, parse, read, render_text, root, selftest, template,
};

/// Values for parents of this chart: nothing in it reads them.
const OF_PARENTS: [&str; 2] = ["enabled", "global"];
/// Set to rewrite the recorded renderings: `RAMTRAIL_UPDATE_SNAPSHOTS=1 cargo test --test manifests`.
const UPDATE: &str = "RAMTRAIL_UPDATE_SNAPSHOTS";

fn schema() -> Value {
    serde_json::from_str(&read("charts/ramtrail/values.schema.json")).unwrap()
}

fn resolved<'a>(schema: &'a Value, node: &'a Value) -> &'a Value {
    node["$ref"].as_str().map_or(node, |reference| {
        schema.pointer(reference.strip_prefix('#').unwrap()).unwrap()
    })
}

/// Paths of all properties that a schema names.
fn properties(schema: &Value, node: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (key, child) in resolved(schema, node)["properties"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let path = format!("{path}.{key}");
        properties(schema, child, &path, found);
        found.insert(path);
    }
}

/// Paths of all keys of the values, as deep as the schema names properties.
fn keys(schema: &Value, node: &Value, value: &Value, path: &str, found: &mut BTreeSet<String>) {
    let node = resolved(schema, node);
    if node["properties"].is_null() {
        return;
    }
    assert_eq!(
        node["additionalProperties"], false,
        "{path} takes keys that nobody reads"
    );
    for (key, value) in value.as_object().unwrap() {
        let path = format!("{path}.{key}");
        keys(schema, &node["properties"][key], value, &path, found);
        found.insert(path);
    }
}

#[test]
fn values_and_schema_have_the_same_keys() {
    let schema = schema();
    let values: Value = serde_saphyr::from_str(&read("charts/ramtrail/values.yaml")).unwrap();
    let (mut in_schema, mut in_values) = (BTreeSet::new(), BTreeSet::new());
    properties(&schema, &schema, "", &mut in_schema);
    keys(&schema, &schema, &values, "", &mut in_values);
    for key in OF_PARENTS {
        assert!(in_schema.remove(&format!(".{key}")), "{key}");
    }
    // Parts of a probe that have no default of ours.
    for probe in ["livenessProbe", "readinessProbe"] {
        in_schema.retain(|path| !path.starts_with(&format!(".{probe}.")));
        in_values.retain(|path| !path.starts_with(&format!(".{probe}.")));
    }
    assert_eq!(in_values, in_schema);
    assert!(in_values.len() > 100, "{}", in_values.len());
}

#[test]
fn a_misspelt_key_is_refused_with_its_name() {
    for (value, name, place) in [
        ("replicaCont=2", "replicaCont", "''"),
        (r#"breakGlass={"enabld":false}"#, "enabld", "/breakGlass"),
        (
            r#"metrics={"podMonitor":{"intervall":"3s"}}"#,
            "intervall",
            "/metrics/podMonitor",
        ),
        (r#"livenessProbe={"period":1}"#, "period", "/livenessProbe"),
        (r#"image={"repo":"x"}"#, "repo", "/image"),
    ] {
        let error = render_text(&[value]).unwrap_err();
        for part in [name, place, "not allowed"] {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    }
}

#[test]
fn a_value_of_the_wrong_form_is_refused_with_its_place() {
    for (value, place) in [
        (r#"resyncInterval="5""#, "/resyncInterval"),
        ("resyncInterval=5", "/resyncInterval"),
        (r#"network="moon""#, "/network"),
        (r#"clusterID="Prod 1""#, "/clusterID"),
        (r#"watchNamespaces=["A"]"#, "/watchNamespaces/0"),
        ("concurrency=0", "/concurrency"),
        (r#"image={"digest":"latest"}"#, "/image/digest"),
        (
            r#"podDisruptionBudget={"minAvailable":"some"}"#,
            "/podDisruptionBudget",
        ),
    ] {
        let error = render_text(&[value]).unwrap_err();
        assert!(error.contains(place), "{place:?} is not in {error}");
    }
    // A parent's values pass.
    render_text(&[r#"global={"imageRegistry":"x"}"#, "enabled=true"]).unwrap();
}

/// Value sets by name: the files of `charts/ramtrail/ci`.
pub(super) fn sets() -> BTreeMap<String, String> {
    fs::read_dir(root().join("charts/ramtrail/ci"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            let name = file.strip_suffix("-values.yaml").unwrap().to_owned();
            (name, path.display().to_string())
        })
        .collect()
}

fn render_set(path: &str) -> Vec<Value> {
    objects(&template(&["--values", path]).unwrap())
}

/// What an object is called in a recording; the set that changes names gets the usual ones.
fn title(object: &Value) -> String {
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_default()
            .replace("audit-operator", "ramtrail")
            .replace("audit-system", "ramtrail-system")
    };
    let metadata = &object["metadata"];
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    format!("{} {namespace}/{name}", object["kind"].as_str().unwrap())
}

/// A value as lines of "path = value"; order in lists of texts does not show.
fn flatten(value: &Value, path: &str, lines: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                flatten(value, &format!("{path}.{key}"), lines);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                let key = ["name", "alert"].iter().find_map(|key| item[key].as_str());
                let place = match (item, key) {
                    (Value::String(_), _) => String::new(),
                    (_, Some(name)) => name.to_owned(),
                    _ => index.to_string(),
                };
                flatten(item, &format!("{path}[{place}]"), lines);
            }
        }
        Value::String(text) if text.len() > 200 => {
            lines.insert(format!("{path} = <{} characters>", text.chars().count()));
        }
        other => {
            lines.insert(format!("{path} = {other}"));
        }
    }
}

fn by_title(objects: &[Value]) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for object in objects {
        let mut lines = BTreeSet::new();
        // Definitions are compared with the code elsewhere.
        let is_definition = object["kind"] == "CustomResourceDefinition";
        flatten(
            if is_definition {
                &object["metadata"]
            } else {
                object
            },
            "",
            &mut lines,
        );
        assert!(
            all.insert(title(object), lines).is_none(),
            "{} twice",
            title(object)
        );
    }
    all
}

/// How a rendering differs from the one of the default values.
fn difference(default: &[Value], rendered: &[Value]) -> String {
    let (default, rendered) = (by_title(default), by_title(rendered));
    let none = BTreeSet::new();
    let mut text = String::new();
    for title in default.keys().chain(rendered.keys()).collect::<BTreeSet<_>>() {
        let (before, after) = (default.get(title), rendered.get(title));
        let Some(after) = after else {
            writeln!(text, "- {title}").unwrap();
            continue;
        };
        let before_lines = before.unwrap_or(&none);
        if before_lines == after {
            continue;
        }
        writeln!(text, "{} {title}", if before.is_some() { " " } else { "+" }).unwrap();
        for line in before_lines.difference(after) {
            writeln!(text, "  - {line}").unwrap();
        }
        for line in after.difference(before_lines) {
            writeln!(text, "  + {line}").unwrap();
        }
    }
    text
}

/// Only the operator writes statuses and takes its finalizer away without the verb: by its full name.
fn assert_policy_knows_the_operator(set: &str, objects: &[Value]) {
    let deployment = of_kind(objects, "Deployment")[0];
    let expected = format!(
        "'system:serviceaccount:{}:{}'",
        deployment["metadata"]["namespace"].as_str().unwrap(),
        deployment["spec"]["template"]["spec"]["serviceAccountName"]
            .as_str()
            .unwrap()
    );
    for variable in of_kind(objects, "ValidatingAdmissionPolicy")
        .iter()
        .flat_map(|policy| policy["spec"]["variables"].as_array().unwrap())
        .filter(|variable| variable["name"] == "operator")
    {
        assert_eq!(variable["expression"], expected, "{set}");
    }
}

#[test]
fn value_sets_render_as_recorded() {
    let sets = sets();
    assert!(sets.len() >= 12, "{sets:?}");
    let default = render_set(&sets["default"]);
    assert_eq!(default, objects(&render_text(&[]).unwrap()));
    let update = std::env::var_os(UPDATE).is_some();
    let mut wrong = Vec::new();
    for (name, path) in &sets {
        let rendered = render_set(path);
        parse(&arguments(&rendered));
        assert_policy_knows_the_operator(name, &rendered);
        let difference = difference(&default, &rendered);
        assert_eq!(name == "default", difference.is_empty(), "{name} changes nothing");
        let file = root().join(format!("tests/snapshots/chart-{name}.txt"));
        if update {
            fs::write(&file, &difference).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != difference {
            wrong.push(format!("{name}: now\n{difference}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nif that is meant: {UPDATE}=1",
        wrong.join("\n")
    );
    let recorded = fs::read_dir(root().join("tests/snapshots")).unwrap().count();
    assert_eq!(recorded, sets.len(), "a recording belongs to no value set");
}

#[test]
fn helm_lint_is_clean_with_every_value_set() {
    for path in sets().values() {
        let output = Command::new(helm())
            .current_dir(root())
            .args(["lint", "charts/ramtrail", "--strict", "--values", path])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{path}: {said}");
        assert!(
            !said.contains("[WARNING]") && !said.contains("[ERROR]"),
            "{path}: {said}"
        );
    }
}

/// Asks the API server whether it would take these objects.
pub(super) fn dry_run(kubectl: &Kubectl, objects: &[&Value]) {
    let stream = objects
        .iter()
        .fold(String::new(), |all, object| format!("{all}---\n{object}\n"));
    kubectl
        .run_with_input(
            [
                "apply",
                "--server-side",
                "--force-conflicts",
                "--dry-run=server",
                "--validate=strict",
                "-f",
                "-",
            ],
            &stream,
        )
        .unwrap();
}

/// The kinds of the Prometheus operator that the chart makes objects of, as its module defines them.
fn install_monitoring_kinds(kubectl: &Kubectl) {
    let source = assets::prometheus_operator_source().unwrap();
    let kinds = ["servicemonitors", "podmonitors", "prometheusrules"];
    for kind in kinds {
        let file = format!("example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml");
        let path = source.join(file).display().to_string();
        kubectl
            .run(["apply", "--server-side", "--force-conflicts", "-f", &path])
            .unwrap();
    }
    let names = kinds.map(|kind| format!("{kind}.monitoring.coreos.com"));
    kubectl
        .wait_for_crds(&names.each_ref().map(String::as_str), api_server::DEADLINE)
        .unwrap();
}

#[test]
fn the_server_takes_what_value_sets_render() {
    let kubectl = api_server::kubectl();
    for namespace in ["ramtrail-system", "audit-system", "audit", "monitoring"] {
        let manifest = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}");
        kubectl.apply(&manifest).unwrap();
    }
    let sandbox = json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": "gvisor" }, "handler": "runsc",
    });
    kubectl.apply(&sandbox.to_string()).unwrap();
    install_monitoring_kinds(&kubectl);
    let mut monitors = 0;
    for (name, path) in sets() {
        let rendered = render_set(&path);
        monitors += rendered
            .iter()
            .filter(|object| object["apiVersion"] == "monitoring.coreos.com/v1")
            .count();
        assert_eq!(of_kind(&rendered, "Deployment").len(), 1, "{name}");
        dry_run(&kubectl, &rendered.iter().collect::<Vec<_>>());
        // The Pod of `helm test` comes after them: admission asks for its account.
        let test = selftest::pod(&["--values", &path]);
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": test["spec"]["serviceAccountName"], "namespace": test["metadata"]["namespace"] },
        });
        kubectl.apply(&account.to_string()).unwrap();
        dry_run(&kubectl, &[&test]);
    }
    assert!(monitors >= 3, "{monitors} objects for the Prometheus operator");
    // The question can be answered with no.
    for (set, kind, field) in [
        ("ha", "Deployment", "replicaz"),
        ("monitoring", "ServiceMonitor", "endpointz"),
    ] {
        let mut wrong = render_set(&sets()[set]);
        let object = wrong.iter_mut().find(|o| o["kind"] == kind).unwrap();
        object["spec"][field] = Value::from(2);
        let refusal = kubectl
            .run_with_input(
                ["apply", "--dry-run=server", "--validate=strict", "-f", "-"],
                &object.to_string(),
            )
            .unwrap_err();
        assert!(refusal.to_string().contains(field), "{refusal}");
    }
}

#[test]
fn the_charts_annotations_name_every_kind_with_an_example_that_the_server_takes() {
    let chart: Value = serde_saphyr::from_str(&read("charts/ramtrail/Chart.yaml")).unwrap();
    let annotation =
        |key: &str| -> Value { serde_saphyr::from_str(chart["annotations"][key].as_str().unwrap()).unwrap() };
    let told: Vec<Value> = annotation("artifacthub.io/crds").as_array().unwrap().clone();
    let crds = ramtrail::api::all_crds();
    assert_eq!(told.len(), crds.len());
    for (told, crd) in told.iter().zip(&crds) {
        assert_eq!(told["kind"], crd.spec.names.kind);
        assert_eq!(told["name"].as_str(), crd.metadata.name.as_deref());
        assert_eq!(told["version"], crd.spec.versions[0].name);
    }
    let examples = annotation("artifacthub.io/crdsExamples");
    let examples: Vec<Value> = examples.as_array().unwrap().clone();
    let kinds: BTreeSet<&str> = examples.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        crds.iter().map(|crd| crd.spec.names.kind.as_str()).collect()
    );
    let kubectl = api_server::kubectl();
    kubectl
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: audit}}")
        .unwrap();
    dry_run(&kubectl, &examples.iter().collect::<Vec<_>>());
}
