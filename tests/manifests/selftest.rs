//! The Pod of `helm test`: what it runs, and that it is nobody's but its own.

use std::process::Command;

use clap::Parser as _;
use ramtrail::config::{self, Cli};
use serde_json::Value;

use super::values::sets;
use super::{NAMESPACE, api_server, helm, objects, of_kind, root, strings, template};

/// The Pod that these values render to.
pub(super) fn pod(more: &[&str]) -> Value {
    let mut command = Command::new(helm());
    command
        .current_dir(root())
        .args([
            "template",
            "ramtrail",
            "charts/ramtrail",
            "--namespace",
            NAMESPACE,
        ])
        .args(["--show-only", "templates/tests/selftest.yaml"])
        .args(more);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut found = objects(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn it_runs_the_selftest_as_the_operator_would_run() {
    let pod = pod(&["--values", "charts/ramtrail/ci/private-cloud-values.yaml"]);
    assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], "test");
    let container = &pod["spec"]["containers"][0];
    let line = ["ramtrail"].into_iter().chain(strings(&container["args"]));
    let line: Vec<String> = line
        .map(|arg| arg.replace("$(POD_NAMESPACE)", NAMESPACE))
        .collect();
    let Ok(Cli {
        command: config::Command::Selftest(args),
    }) = Cli::try_parse_from(&line)
    else {
        panic!("{line:?} is not understood");
    };
    assert_eq!(args.run.namespace.as_deref(), Some(NAMESPACE));
    assert_eq!(args.run.lease_name, "ramtrail");
    assert!(args.run.cloud_endpoint.is_some() && args.run.cloud_ca_file.is_some());
}

/// Whether a NetworkPolicy is about Pods with these labels.
fn selects(policy: &Value, labels: &Value) -> bool {
    let selector = &policy["spec"]["podSelector"];
    let mut same = selector["matchLabels"].as_object().unwrap().iter();
    let mut expressions = selector["matchExpressions"].as_array().unwrap().iter();
    same.all(|(key, value)| labels[key] == *value)
        && expressions.all(|expression| {
            assert_eq!(expression["operator"], "In");
            let label = &labels[expression["key"].as_str().unwrap()];
            expression["values"].as_array().unwrap().contains(label)
        })
}

#[test]
fn it_works_where_and_as_the_operator_does_with_every_value_set() {
    // What keeps replicas apart or lets them end is not about it.
    let own = [
        "containers",
        "affinity",
        "topologySpreadConstraints",
        "terminationGracePeriodSeconds",
    ];
    let of_container = ["name", "args", "ports", "livenessProbe", "readinessProbe"];
    let mut policies = 0;
    for (name, path) in sets() {
        let values = ["--values", path.as_str()];
        let pod = pod(&values);
        let rendered = objects(&template(&values).unwrap());
        let deployment = of_kind(&rendered, "Deployment")[0];
        let operator = &deployment["spec"]["template"];
        let shared = |operator: &Value, pod: &Value, own: &[&str]| {
            for (field, value) in operator.as_object().unwrap() {
                if !own.contains(&field.as_str()) {
                    assert_eq!(&pod[field], value, "{name}: {field}");
                }
            }
        };
        shared(&operator["spec"], &pod["spec"], &own);
        shared(
            &operator["spec"]["containers"][0],
            &pod["spec"]["containers"][0],
            &of_container,
        );
        assert_eq!(
            pod["spec"]["affinity"]["nodeAffinity"], operator["spec"]["affinity"]["nodeAffinity"],
            "{name}"
        );
        for metadata in ["labels", "annotations"] {
            for (key, value) in operator["metadata"][metadata].as_object().into_iter().flatten() {
                if !key.starts_with("app.kubernetes.io/") {
                    assert_eq!(&pod["metadata"][metadata][key], value, "{name}");
                }
            }
        }
        for policy in of_kind(&rendered, "NetworkPolicy") {
            policies += 1;
            assert!(selects(policy, &operator["metadata"]["labels"]), "{name}");
            assert!(selects(policy, &pod["metadata"]["labels"]), "{name}");
            let mut other = pod["metadata"]["labels"].clone();
            other["app.kubernetes.io/name"] = "other".into();
            assert!(!selects(policy, &other), "{name}");
        }
        // Neither the Service nor the PodDisruptionBudget counts it.
        let labels = &pod["metadata"]["labels"];
        for selector in ["Service", "PodDisruptionBudget"]
            .iter()
            .flat_map(|kind| of_kind(&rendered, kind))
            .map(|object| &object["spec"]["selector"])
        {
            let selector = selector
                .get("matchLabels")
                .unwrap_or(selector)
                .as_object()
                .unwrap();
            assert!(
                selector.iter().any(|(key, value)| labels[key] != *value),
                "{name}: {labels}"
            );
        }
    }
    assert!(policies > 0, "no set has a NetworkPolicy");
}

#[test]
fn a_restricted_namespace_takes_it() {
    let kubectl = api_server::bare_kubectl();
    let namespace = api_server::namespace(&kubectl, "restricted");
    let label = "pod-security.kubernetes.io/enforce=restricted";
    kubectl.run(["label", "namespace", &namespace, label]).unwrap();
    let set = [
        "--set",
        &format!("namespaceOverride={namespace}"),
        "--set=serviceAccount.create=false",
        "--set=serviceAccount.name=default",
    ];
    let args = ["apply", "--dry-run=server", "-f", "-"];
    kubectl.run_with_input(args, &pod(&set).to_string()).unwrap();
}
