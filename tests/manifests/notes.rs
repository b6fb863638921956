//! What helm says after an installation: its commands name what is there, and need no checkout.

use std::process::Command;

use serde_json::{Value, json};

use super::values::{dry_run, sets};
use super::{NAMESPACE, api_server, helm, named, objects, parse, root, selftest, template};

/// The notes that an installation with these values would end with.
fn notes(values: &[&str]) -> String {
    let output = Command::new(helm())
        .current_dir(root())
        // No cluster is asked.
        .env("KUBECONFIG", "/nowhere")
        .args(["install", "ramtrail", "charts/ramtrail", "--dry-run=client"])
        .args(["--namespace", NAMESPACE])
        .args(values)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let all = String::from_utf8(output.stdout).unwrap();
    all.split_once("\nNOTES:\n").unwrap().1.to_owned()
}

/// Command lines that begin with this program, as their words.
fn commands(notes: &str, program: &str) -> Vec<Vec<String>> {
    let joined = notes.replace("\\\n", " ");
    joined
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter(|words| words.first().is_some_and(|first| first == program))
        .collect()
}

fn is_namespaced(command: &[String], namespace: &str) -> bool {
    command[1] == "-n" && command[2] == namespace
}

#[test]
fn the_notes_commands_work_from_a_packaged_chart() {
    let kubectl = api_server::kubectl();
    for (values, audited) in [
        (vec![], "audit"),
        (vec!["--values", sets()["names"].as_str()], "audit"),
        (
            vec!["--set-json", r#"watchNamespaces=["notes-ml","audit"]"#],
            "notes-ml",
        ),
    ] {
        let notes = notes(&values);
        assert!(
            !notes.contains("charts/") && !notes.contains("deploy/"),
            "{notes}"
        );
        let rendered = objects(&template(&values).unwrap());
        // The operator and the test are there under these names.
        let test = commands(&notes, "helm");
        assert_eq!(test, [["helm", "-n", NAMESPACE, "test", "ramtrail"]]);
        assert_eq!(
            selftest::pod(&values)["metadata"]["annotations"]["helm.sh/hook"],
            "test"
        );
        let all = commands(&notes, "kubectl");
        let (rollout, steps) = all.split_first().unwrap();
        let deployment = rollout.last().unwrap().strip_prefix("deployment/").unwrap();
        let deployment = named(&rendered, "Deployment", deployment);
        let own = deployment["metadata"]["namespace"].as_str().unwrap();
        assert!(is_namespaced(rollout, own), "{rollout:?}");
        let weaken = notes.split_whitespace().find(|word| word.ends_with("-weaken."));
        named(&rendered, "ClusterRole", weaken.unwrap().trim_end_matches('.'));
        // The namespace is one that the operator looks at.
        let watched = parse(&super::arguments(&rendered)).watch_namespaces;
        assert!(watched.is_empty() || watched.iter().any(|name| name == audited));
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": audited } });
        kubectl.apply(&namespace.to_string()).unwrap();
        let mut manifest = None;
        for step in steps.iter().filter(|step| step[1] != "create") {
            assert!(is_namespaced(step, audited), "{step:?}");
            let words = step[1..].iter().map(String::as_str);
            if step[3] == "apply" {
                assert!(step.ends_with(&["<<'EOF'".to_owned()]), "{step:?}");
                let (_, rest) = notes.split_once("<<'EOF'\n").unwrap();
                manifest = Some(objects(rest.split_once("\nEOF\n").unwrap().0));
            } else {
                kubectl.run(words).unwrap();
            }
        }
        let of_secret = ["-n", audited, "get", "secret", "alibaba-cloud-credentials"];
        let secret = kubectl.json(of_secret).unwrap();
        assert_eq!(secret["metadata"]["labels"]["ramtrail.io/credentials"], "true");
        let mut manifest: Vec<Value> = manifest.unwrap();
        for object in &mut manifest {
            object["metadata"]["namespace"] = json!(audited);
        }
        dry_run(&kubectl, &manifest.iter().collect::<Vec<_>>());
        assert_eq!(
            manifest[0]["spec"]["credentials"]["secretRef"]["name"],
            secret["metadata"]["name"]
        );
        assert_eq!(
            manifest[1]["spec"]["projectRef"]["name"],
            manifest[0]["metadata"]["name"]
        );
        // The next value set makes it again.
        kubectl
            .run(["-n", audited, "delete", "secret", "alibaba-cloud-credentials"])
            .unwrap();
    }
}
