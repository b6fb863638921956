//! The Pod of `helm test`: what it runs, and that it is nobody's but its own.

use std::process::Command;

use clap::Parser as _;
use ramtrail::config::{self, Cli};
use serde_json::Value;

use super::{NAMESPACE, api_server, helm, named, objects, of_kind, render, root, strings};

fn pod(more: &[&str]) -> Value {
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

#[test]
fn it_has_the_operators_identity_and_none_of_its_selectors() {
    let pod = pod(&[]);
    let rendered = render(&[]);
    let deployment = named(&rendered, "Deployment", "ramtrail");
    let operator = &deployment["spec"]["template"]["spec"];
    for field in ["serviceAccountName", "securityContext", "enableServiceLinks"] {
        assert_eq!(pod["spec"][field], operator[field], "{field}");
    }
    for field in ["image", "env", "securityContext", "resources"] {
        assert_eq!(
            pod["spec"]["containers"][0][field], operator["containers"][0][field],
            "{field}"
        );
    }
    let selector = of_kind(&rendered, "Service")[0]["spec"]["selector"]
        .as_object()
        .unwrap();
    let labels = &pod["metadata"]["labels"];
    assert!(
        selector.iter().any(|(key, value)| labels[key] != *value),
        "the Service counts {labels}"
    );
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
