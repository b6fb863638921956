//! Chart, rendered manifest and examples: what they grant, what they set, and that a real API server takes them.
#![allow(clippy::unwrap_used)]

mod api_server;
#[path = "manifests/documents.rs"]
mod documents;
#[path = "manifests/kustomize.rs"]
mod kustomize;
#[path = "manifests/monitoring.rs"]
mod monitoring;
#[path = "manifests/notes.rs"]
mod notes;
#[path = "manifests/selftest.rs"]
mod selftest;
#[path = "manifests/values.rs"]
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use clap::Parser as _;
use serde_json::{Value, json};
use xtask::assets::{self, Tool};

use ramtrail::api;
use ramtrail::config::{self, Cli, Pattern, RunArgs};

const NAMESPACE: &str = "ramtrail-system";
const KINDS: [&str; 3] = ["auditprojects", "auditlogstores", "ramtrails"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The objects of a YAML stream.
fn objects(stream: &str) -> Vec<Value> {
    let documents = stream
        .split("\n---\n")
        .map(|text| text.trim_start_matches("---\n"));
    let has_content = |text: &&str| {
        text.lines()
            .any(|line| !line.is_empty() && !line.starts_with('#'))
    };
    documents
        .filter(has_content)
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect()
}

fn helm() -> &'static Path {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    HELM.get_or_init(|| assets::ensure(Tool::Helm).unwrap())
}

fn render_text(values: &[&str]) -> Result<String, String> {
    let values: Vec<&str> = values.iter().flat_map(|value| ["--set-json", value]).collect();
    template(&values)
}

/// What helm renders with further arguments, or what it says.
fn template(more: &[&str]) -> Result<String, String> {
    let mut command = Command::new(helm());
    command
        .current_dir(root())
        .args([
            "template",
            "ramtrail",
            "charts/ramtrail",
            "--namespace",
            NAMESPACE,
            // The Pod of `helm test` has a test of its own.
            "--skip-tests",
        ])
        .args(more);
    let output = command.output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn render(values: &[&str]) -> Vec<Value> {
    objects(&render_text(values).unwrap())
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|v| v.as_str().unwrap())
        .collect()
}

/// The object of a kind and name.
fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = of_kind(objects, kind)
        .into_iter()
        .filter(|object| object["metadata"]["name"] == name);
    let object = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "{kind} {name} is there twice");
    object
}

/// The arguments of the operator's container, as the kubelet would pass them.
fn arguments(objects: &[Value]) -> Vec<String> {
    let container = &of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    strings(&container["args"])
        .into_iter()
        .map(|arg| arg.replace("$(POD_NAMESPACE)", NAMESPACE))
        .collect()
}

fn parse(arguments: &[String]) -> RunArgs {
    let line = ["ramtrail".to_owned()]
        .into_iter()
        .chain(arguments.iter().cloned());
    let Ok(Cli {
        command: config::Command::Run(args),
    }) = Cli::try_parse_from(line)
    else {
        panic!("the operator does not understand {arguments:?}");
    };
    args.check().unwrap();
    *args
}

#[test]
fn definitions_in_the_chart_are_those_of_the_code() {
    let manifests = api::manifests().unwrap();
    for (file, text) in &manifests {
        assert_eq!(
            &read(&format!("charts/ramtrail/crd-manifests/{file}")),
            text,
            "run `cargo xtask generate`"
        );
    }
    let files = fs::read_dir(root().join("charts/ramtrail/crd-manifests"))
        .unwrap()
        .count();
    assert_eq!(files, manifests.len());
}

#[test]
fn the_rendered_manifest_is_what_the_chart_renders() {
    let committed = read("deploy/install.yaml");
    let rendered = render_text(&[]).unwrap();
    assert!(
        committed.ends_with(&rendered),
        "deploy/install.yaml is out of date: run `cargo xtask generate`"
    );
    let first = &objects(&committed)[0];
    assert_eq!(
        (&first["kind"], &first["metadata"]["name"]),
        (&json!("Namespace"), &json!(NAMESPACE))
    );
    let of_base = template(&["--set=crds.enabled=false"]).unwrap();
    assert!(read("deploy/base/ramtrail.yaml").ends_with(&of_base));
    let crds = template(&["--show-only=templates/crds.yaml"]).unwrap();
    assert!(read("deploy/crds/crds.yaml").ends_with(&crds));
}

#[test]
fn the_readme_of_the_chart_is_made_of_its_values() {
    let file = |name: &str| read(&format!("charts/ramtrail/{name}"));
    let made = xtask::chart::readme(
        &file("Chart.yaml"),
        &file("values.yaml"),
        &file("files/alerts.yaml"),
    )
    .unwrap();
    assert_eq!(file("README.md"), made, "run `cargo xtask generate`");
}

#[test]
fn the_manifest_holds_the_definitions_of_the_code_and_keeps_them() {
    let objects = objects(&read("deploy/install.yaml"));
    let found = of_kind(&objects, "CustomResourceDefinition");
    assert_eq!(found.len(), api::all_crds().len());
    for (_, text) in api::manifests().unwrap() {
        let wanted: Value = serde_saphyr::from_str(&text).unwrap();
        let found = found
            .iter()
            .find(|crd| crd["metadata"]["name"] == wanted["metadata"]["name"])
            .unwrap();
        assert_eq!(found["spec"], wanted["spec"]);
        assert_eq!(
            found["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
    }
    assert!(of_kind(&render(&["crds.enabled=false"]), "CustomResourceDefinition").is_empty());
    let unkept = render(&["crds.keep=false"]);
    assert!(
        of_kind(&unkept, "CustomResourceDefinition")
            .iter()
            .all(|crd| crd["metadata"]["annotations"].is_null())
    );
}

/// What roles grant: verbs by "group/resource", with the names they are limited to.
fn grants(roles: &[&Value]) -> BTreeMap<(String, Vec<String>), BTreeSet<String>> {
    let mut grants: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for rule in roles.iter().flat_map(|role| role["rules"].as_array().unwrap()) {
        assert!(rule["nonResourceURLs"].is_null(), "{rule}");
        let names: Vec<String> = strings(&rule["resourceNames"])
            .into_iter()
            .map(str::to_owned)
            .collect();
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                let verbs = strings(&rule["verbs"]).into_iter().map(str::to_owned);
                grants
                    .entry((format!("{group}/{resource}"), names.clone()))
                    .or_default()
                    .extend(verbs);
            }
        }
    }
    grants
}

/// Everything that the operator may do, and nothing else.
fn expected_grants(with_own: bool, with_objects: bool) -> BTreeMap<(String, Vec<String>), BTreeSet<String>> {
    let mut expected = BTreeMap::new();
    let mut grant = |resource: &str, names: &[&str], verbs: &[&str]| {
        let names = names.iter().map(|&n| n.to_owned()).collect();
        expected.insert(
            (resource.to_owned(), names),
            verbs.iter().map(|&v| v.to_owned()).collect(),
        );
    };
    if with_objects {
        for kind in KINDS {
            grant(
                &format!("ramtrail.io/{kind}"),
                &[],
                &["get", "list", "watch", "patch"],
            );
            grant(&format!("ramtrail.io/{kind}/status"), &[], &["patch"]);
        }
        grant("/secrets", &[], &["get"]);
        grant("events.k8s.io/events", &[], &["create", "patch"]);
    }
    if with_own {
        grant("coordination.k8s.io/leases", &[], &["create"]);
        grant("coordination.k8s.io/leases", &["ramtrail"], &["get", "update"]);
        grant("events.k8s.io/events", &[], &["create"]);
    } else {
        grant("/namespaces", &[], &["get"]);
    }
    expected
}

#[test]
fn permissions_are_exactly_those_that_are_needed() {
    let objects = objects(&read("deploy/install.yaml"));
    let bound: BTreeSet<&str> = ["ClusterRoleBinding", "RoleBinding"]
        .iter()
        .flat_map(|kind| of_kind(&objects, kind))
        .map(|binding| binding["roleRef"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(bound, BTreeSet::from(["ramtrail", "ramtrail-own"]));
    let cluster = named(&objects, "ClusterRole", "ramtrail");
    assert_eq!(grants(&[cluster]), expected_grants(false, true));
    let own = named(&objects, "Role", "ramtrail-own");
    assert_eq!(grants(&[own]), expected_grants(true, false));
    assert_eq!(own["metadata"]["namespace"], NAMESPACE);
    assert_eq!(of_kind(&objects, "Role").len(), 1);
}

#[test]
fn roles_for_people_aggregate_and_neither_holds_weaken_nor_status() {
    let objects = render(&[]);
    let label = |role: &str| format!("rbac.authorization.k8s.io/aggregate-to-{role}");
    for (name, into, verbs) in [
        (
            "ramtrail-view",
            vec!["view", "edit", "admin"],
            vec!["get", "list", "watch"],
        ),
        (
            "ramtrail-edit",
            vec!["edit", "admin"],
            vec!["create", "update", "patch", "delete", "deletecollection"],
        ),
        ("ramtrail-weaken", vec![], vec!["weaken"]),
    ] {
        let role = named(&objects, "ClusterRole", name);
        for target in ["view", "edit", "admin"] {
            let set = role["metadata"]["labels"][label(target)] == "true";
            assert_eq!(set, into.contains(&target), "{name} into {target}");
        }
        let verbs: BTreeSet<String> = verbs.into_iter().map(str::to_owned).collect();
        for ((resource, names), granted) in grants(&[role]) {
            let is_status = resource.ends_with("/status");
            let expected = if is_status {
                BTreeSet::from(["get".to_owned()])
            } else {
                verbs.clone()
            };
            assert_eq!((granted, names), (expected, vec![]), "{name} on {resource}");
        }
    }
    assert_eq!(of_kind(&objects, "ClusterRole").len(), 4);
    for role in of_kind(&objects, "ClusterRole")
        .into_iter()
        .chain(of_kind(&objects, "Role"))
    {
        assert!(!role["rules"].to_string().contains('*'), "{role}");
    }
}

#[test]
fn an_operator_of_some_namespaces_has_no_rights_in_others() {
    let objects = render(&[r#"watchNamespaces=["audit","ml"]"#]);
    assert_eq!(
        grants(&[named(&objects, "ClusterRole", "ramtrail")]),
        expected_grants(false, false)
    );
    for binding in of_kind(&objects, "ValidatingAdmissionPolicyBinding") {
        let selected = &binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"];
        // The operator's own credentials lie in its own namespace.
        let values = match binding["spec"]["policyName"].as_str().unwrap() {
            "ramtrail-weaken-credentials" => vec!["audit", "ml", NAMESPACE],
            _ => vec!["audit", "ml"],
        };
        let expected = json!([{ "key": "kubernetes.io/metadata.name", "operator": "In", "values": values }]);
        assert_eq!(
            selected, &expected,
            "another operator's namespaces have another policy"
        );
    }
    let roles = of_kind(&objects, "Role");
    let in_namespace = |namespace: &str| -> Vec<&Value> {
        roles
            .iter()
            .copied()
            .filter(|role| role["metadata"]["namespace"] == namespace)
            .collect()
    };
    for namespace in ["audit", "ml"] {
        let mut expected = expected_grants(false, true);
        expected.remove(&("/namespaces".to_owned(), vec![]));
        assert_eq!(grants(&in_namespace(namespace)), expected);
    }
    assert_eq!(roles.len(), 3);
    assert_eq!(of_kind(&objects, "RoleBinding").len(), 3);
    let args = parse(&arguments(&objects));
    assert_eq!(args.watch_namespaces, ["audit", "ml"]);
}

#[test]
fn bindings_name_only_the_service_account_of_the_operator() {
    let objects = objects(&read("deploy/install.yaml"));
    let accounts = of_kind(&objects, "ServiceAccount");
    assert_eq!(accounts.len(), 1);
    assert_eq!(accounts[0]["automountServiceAccountToken"], false);
    for kind in ["ClusterRoleBinding", "RoleBinding"] {
        let bindings = of_kind(&objects, kind);
        assert_eq!(bindings.len(), 1);
        let account = json!([{ "kind": "ServiceAccount", "name": "ramtrail", "namespace": NAMESPACE }]);
        assert_eq!(bindings[0]["subjects"], account);
    }
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "ramtrail");
}

#[test]
fn default_values_are_the_defaults_of_the_flags() {
    let args = parse(&arguments(&render(&[])));
    let expected = RunArgs {
        namespace: Some(NAMESPACE.to_owned()),
        http_listen: "0.0.0.0:8080".parse().unwrap(),
        log_format: config::LogFormat::Json,
        // Denied without the chart, which by default lets only the operator's own namespace use the identity.
        identity_projects: vec![Pattern::new("*")],
        identity_roles: vec![Pattern::new("*")],
        ..RunArgs::defaults()
    };
    assert_eq!(format!("{args:?}"), format!("{expected:?}"));
}

#[test]
fn every_value_reaches_the_operator() {
    let objects = render(&[
        r#"clusterID="prod-1""#,
        r#"identityNamespaces=["a","b"]"#,
        r#"identityProjects=["audit-*","one"]"#,
        r#"identityRoles=["acs:ram::1:role/copy"]"#,
        r#"network="vpc""#,
        r#"cloudEndpoint="https://gateway.example""#,
        "logServiceRate=3",
        r#"resyncInterval="1m""#,
        r#"pollInterval="30s""#,
        "concurrency=2",
        r#"logging={"format":"text","level":"warn"}"#,
        r#"leaderElection={"enabled":false,"leaseDuration":"60s","renewDeadline":"40s","retryPeriod":"5s"}"#,
        r#"deletionGrace="1h""#,
        r#"dueCallInterval="2m""#,
        r#"claimConfirmation="90s""#,
        r#"shutdownTimeout="25s""#,
        r#"cloudCA={"secretName":"authority","key":"ca.pem"}"#,
        r#"extraEnv=[{"name":"X","value":"y"}]"#,
        r#"fullnameOverride="other""#,
        r#"image={"repository":"example/ramtrail","digest":"sha256:0123"}"#,
        r#"credentials={"secretName":""}"#,
        r#"podLabels={"team":"audit"}"#,
        r#"serviceAccount.annotations={"pod-identity.alibabacloud.com/role-name":"ramtrail"}"#,
    ]);
    let args = parse(&arguments(&objects));
    assert_eq!(args.cluster_id.as_ref().unwrap().as_str(), "prod-1");
    assert_eq!(args.identity_namespaces.as_deref().unwrap(), ["a", "b"]);
    let patterns = ["audit-*", "one"].map(Pattern::new);
    assert_eq!(args.identity_projects, patterns);
    assert_eq!(args.identity_roles, [Pattern::new("acs:ram::1:role/copy")]);
    assert_eq!(args.network.to_string(), "vpc");
    assert_eq!(
        args.cloud_endpoint.as_ref().unwrap().to_string(),
        "https://gateway.example"
    );
    let seconds = |d: std::time::Duration| d.as_secs();
    assert_eq!((args.log_service_rate.get(), args.concurrency.get()), (3, 2));
    assert_eq!(
        (seconds(args.resync_interval), seconds(args.poll_interval)),
        (60, 30)
    );
    assert_eq!(
        (seconds(args.deletion_grace), seconds(args.due_call_interval)),
        (3600, 120)
    );
    assert_eq!(
        (seconds(args.claim_confirmation), seconds(args.shutdown_timeout)),
        (90, 25)
    );
    let ca = args.cloud_ca_file.unwrap();
    assert_eq!(
        (args.log_format, args.log_level.as_str()),
        (config::LogFormat::Text, "warn")
    );
    assert!(!args.leader_elect);
    let lease = parse(&arguments(&objects)).lease();
    assert_eq!(lease.name, "other");
    assert_eq!(
        (
            seconds(lease.duration),
            seconds(lease.renew_deadline),
            seconds(lease.retry_period)
        ),
        (60, 40, 5)
    );
    let deployment = of_kind(&objects, "Deployment")[0];
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "example/ramtrail@sha256:0123");
    // The file of authorities lies where it is mounted.
    let pod = &deployment["spec"]["template"]["spec"];
    let (mount, volume) = (&container["volumeMounts"][0], &pod["volumes"][0]);
    assert_eq!(ca, Path::new(mount["mountPath"].as_str().unwrap()).join("ca.pem"));
    assert_eq!(mount["name"], volume["name"]);
    assert_eq!(volume["secret"]["secretName"], "authority");
    let variables: Vec<&str> = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, ["POD_NAMESPACE", "X"]);
    assert_eq!(
        deployment["spec"]["template"]["metadata"]["labels"]["team"],
        "audit"
    );
    let account = of_kind(&objects, "ServiceAccount")[0];
    assert_eq!(
        account["metadata"]["annotations"]["pod-identity.alibabacloud.com/role-name"],
        "ramtrail"
    );
    // The right to the lease follows its name.
    let lease_rule = named(&objects, "Role", "other-own")["rules"][1].clone();
    assert_eq!(lease_rule["resourceNames"], json!(["other"]));
}

#[test]
fn an_empty_identity_list_denies_and_the_chart_sets_its_own() {
    let usual = parse(&arguments(&render(&[])));
    assert_eq!(usual.identity_namespaces, None, "the operator's own");
    let settings = usual.settings("c".parse().unwrap(), NAMESPACE);
    assert!(settings.may_manage_project("any") && settings.may_name_role("acs:ram::1:role/any"));
    let denied = parse(&arguments(&render(&[
        "identityNamespaces=[]",
        "identityProjects=[]",
        "identityRoles=[]",
    ])));
    let settings = denied.settings("c".parse().unwrap(), NAMESPACE);
    assert!(!settings.may_use_own_identity(NAMESPACE));
    assert!(!settings.may_manage_project("any") && !settings.may_name_role("acs:ram::1:role/any"));
}

#[test]
fn the_operators_keys_come_from_a_secret_that_may_be_missing() {
    let objects = render(&[]);
    let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    for key in [
        "ALIBABA_CLOUD_ACCESS_KEY_ID",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        "ALIBABA_CLOUD_SECURITY_TOKEN",
    ] {
        let variable = container["env"]
            .as_array()
            .unwrap()
            .iter()
            .find(|v| v["name"] == key)
            .unwrap();
        let source = json!({ "name": "ramtrail-credentials", "key": key, "optional": true });
        assert_eq!(variable["valueFrom"]["secretKeyRef"], source);
    }
    assert!(
        of_kind(&objects, "Secret").is_empty(),
        "the chart holds no secret"
    );
}

#[test]
fn chart_and_program_have_one_version() {
    let chart: Value = serde_saphyr::from_str(&read("charts/ramtrail/Chart.yaml")).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_server_takes_the_manifest_and_the_pod_is_restricted() {
    let kubectl = api_server::kubectl();
    let namespace = api_server::namespace(&kubectl, "restricted");
    kubectl
        .run([
            "label",
            "namespace",
            &namespace,
            "pod-security.kubernetes.io/enforce=restricted",
        ])
        .unwrap();
    let dry_run = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
    ];
    for object in objects(&read("deploy/install.yaml")) {
        let mut object = object;
        if object["metadata"]["namespace"] == NAMESPACE {
            object["metadata"]["namespace"] = json!(namespace);
        }
        kubectl.run_with_input(dry_run, &object.to_string()).unwrap();
    }
    let manifest = objects(&read("deploy/install.yaml"));
    let template = &of_kind(&manifest, "Deployment")[0]["spec"]["template"];
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "ramtrail", "namespace": namespace }, "spec": template["spec"] });
    // Service accounts are made by a controller, and admission asks for them.
    pod["spec"]["serviceAccountName"] = json!("default");
    xtask::wait::until(
        "the namespace has its service account",
        api_server::DEADLINE,
        std::time::Duration::from_millis(100),
        || {
            Ok(
                match kubectl.run(["-n", &namespace, "get", "serviceaccount", "default"]) {
                    Ok(_) => xtask::wait::Probe::Done(()),
                    Err(error) => xtask::wait::Probe::Pending(error.to_string()),
                },
            )
        },
    )
    .unwrap();
    kubectl.run_with_input(dry_run, &pod.to_string()).unwrap();
    // The same Pod with a little more power is refused: the check above can fail.
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let refusal = kubectl
        .run_with_input(dry_run, &pod.to_string())
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("violates PodSecurity"), "{refusal}");
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert!(container["resources"]["limits"]["memory"].is_string());
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
}

#[test]
fn examples_are_taken_by_the_server() {
    let kubectl = api_server::kubectl();
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: audit}}";
    kubectl.apply(namespace).unwrap();
    let mut kinds = BTreeSet::new();
    let mut count = 0;
    for entry in fs::read_dir(root().join("deploy/examples")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.display().to_string();
        let dry_run = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            &file,
        ];
        kubectl.run(dry_run).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with('#'), "{file} says nothing about itself");
        kinds.extend(
            objects(&text)
                .iter()
                .map(|o| o["kind"].as_str().unwrap().to_owned()),
        );
        count += 1;
    }
    assert_eq!(count, 5);
    let wanted = ["AuditLogStore", "AuditProject", "Namespace", "RamTrail", "Secret"];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
}

#[test]
fn the_whole_example_is_the_trail_that_was_asked_for() {
    let objects = objects(&read("deploy/examples/ai-workload-audit-trail.yaml"));
    let spec = |kind: &str| of_kind(&objects, kind)[0]["spec"].clone();
    let project = spec("AuditProject");
    assert_eq!(project["projectName"], "ai-workload-audit-trail");
    assert_eq!(
        project["description"],
        "Project to store AI workload audit trails"
    );
    assert_eq!(project["region"], "cn-hangzhou");
    assert_eq!(
        project["credentials"]["secretRef"]["name"],
        "alibaba-cloud-credentials"
    );
    let store = spec("AuditLogStore");
    assert_eq!(store["logStoreName"], "ai-workload-log-store");
    assert_eq!(
        (&store["retentionDays"], &store["shards"]["count"]),
        (&json!(30), &json!(2))
    );
    assert_eq!(store["projectRef"]["name"], "ai-workload-audit-trail");
    let trail = spec("RamTrail");
    assert_eq!(
        (&trail["logging"], &trail["events"]),
        (&json!("Enabled"), &json!("All"))
    );
    assert_eq!(trail["trailName"], "ai-workload-ram-access");
    assert_eq!(trail["copyTo"]["logStoreRef"]["name"], "ai-workload-log-store");
    for object in objects.iter().filter(|o| o["kind"] != "Namespace") {
        assert_eq!(object["metadata"]["namespace"], "audit");
    }
}

#[test]
fn a_wrong_value_fails_to_render() {
    let error = render_text(&[r#"serviceAccount={"create":false}"#]).unwrap_err();
    assert!(error.contains("serviceAccount.name"), "{error}");
    // A lease is what keeps replicas apart.
    let both = ["replicaCount=2", r#"leaderElection={"enabled":false}"#];
    let error = render_text(&both).unwrap_err();
    assert!(error.contains("needs leaderElection.enabled"), "{error}");
    render_text(&both[1..]).unwrap();
    for (value, words) in [
        (
            r#"cloudCA={"secretName":"a","configMapName":"b"}"#,
            "exclude each other",
        ),
        (
            r#"podDisruptionBudget={"enabled":true,"minAvailable":1,"maxUnavailable":1}"#,
            "exclude each other",
        ),
        (
            r#"metrics={"service":{"enabled":false},"serviceMonitor":{"enabled":true}}"#,
            "metrics.service.enabled",
        ),
    ] {
        let error = render_text(&[value]).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    use k8s_openapi::jiff::Timestamp;
    use ramtrail::aliyun::error::Class;
    use ramtrail::aliyun::observer::{Attempt, CallObserver};
    use ramtrail::aliyun::operation::Service;
    use ramtrail::api::condition::{self, Statement, Status};
    use ramtrail::telemetry::{Kind, Metrics, TrailFigures};
    use std::time::Duration;
    let documented = read("docs/metrics.md");
    let table = documented.lines().filter(|line| line.starts_with("| `"));
    let names = table.flat_map(|line| line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    // No name of a metric has a dot: those are values of the chart.
    let documented: BTreeSet<String> = names
        .filter(|name| !name.contains('.'))
        .map(str::to_owned)
        .collect();
    // A metric without any series is not shown: everything happens once. Tasks are those of a runtime.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let metrics = Metrics::new();
    let second = Duration::from_secs(1);
    for class in [None, Some(Class::Throttled), Some(Class::Denied)] {
        let (service, action) = (Service::Sts, "GetCallerIdentity");
        metrics.attempt_ended(&Attempt {
            service,
            action,
            write: false,
            class,
            duration: second,
            retried: false,
        });
    }
    metrics.waited_for_budget(Service::Sts, "GetCallerIdentity", second);
    metrics.clock_skew(Service::Sts, 1.0);
    metrics.reconcile_failed(Kind::RamTrail, "Denied");
    let ready = Statement::new(condition::READY, Status::True, condition::reason::AVAILABLE, "");
    metrics.set_conditions(
        Kind::RamTrail,
        "n",
        "t",
        &condition::merge(&[], &[ready], None, Timestamp::UNIX_EPOCH),
    );
    let (time, span) = (Some(Timestamp::UNIX_EPOCH), Some(second));
    let figures = TrailFigures {
        logging: Some(true),
        last_event: time,
        max_lag: span,
        due_call_last_success: time,
        due_call_interval: span,
    };
    metrics.set_trail("n", "t", &figures);
    metrics.set_log_store_retention("n", "s", Some(1));
    metrics.drift_detected(Kind::RamTrail, "spec.events");
    metrics.drift_repaired(Kind::RamTrail, "spec.events");
    let text = metrics.encode().unwrap();
    let mut exported = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        exported.insert(if kind == "counter" {
            format!("{name}_total")
        } else {
            name.to_owned()
        });
    }
    assert_eq!(documented, exported);
}

/// The RAM actions of calls that the operator makes.
///
/// Read as text: from the clients' tables, and from the controllers whether they use the method. A call that a client has and
/// nobody makes needs no permission.
fn ram_actions() -> BTreeSet<String> {
    let controllers = source_below(&root().join("src/controllers"));
    let mut called = BTreeSet::new();
    for (file, prefix) in [("log_service", "log"), ("action_trail", "actiontrail")] {
        let source = read(&format!("src/aliyun/{file}.rs"));
        let table = source
            .split("\noperations! {\n")
            .nth(1)
            .unwrap()
            .split("\n}")
            .next()
            .unwrap();
        for row in table.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let method = row.split(',').next().unwrap().trim().to_lowercase();
            assert!(source.contains(&format!("pub async fn {method}(")), "{method}");
            if controllers.contains(&format!("{method}(")) {
                let quoted: Vec<&str> = row.split('"').skip(1).step_by(2).collect();
                called.insert(format!("{prefix}:{}", quoted.last().unwrap()));
            }
        }
    }
    assert!(called.len() > 25, "{called:?}");
    called.extend(["ram:GetRole", "ram:CreateServiceLinkedRole", "ram:PassRole"].map(str::to_owned));
    called
}

fn source_below(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&source_below(&path));
        } else {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
    text
}

#[test]
fn the_ram_policy_allows_what_the_operator_calls_and_nothing_else() {
    let policy: Value = serde_json::from_str(&read("deploy/ram-policy.json")).unwrap();
    let mut allowed = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        assert_eq!(statement["Effect"], "Allow");
        match &statement["Action"] {
            Value::String(action) => drop(allowed.insert(action.clone())),
            actions => allowed.extend(strings(actions).into_iter().map(str::to_owned)),
        }
    }
    assert_eq!(allowed, ram_actions());
}
