//! The CustomResourceDefinitions as they are committed, and as a real API server serves them.
#![allow(clippy::unwrap_used)]

mod api_server;

use std::fs;
use std::path::Path;
use std::time::Duration;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use xtask::wait::Probe;

use k8s_openapi::jiff::Timestamp;
use ramtrail::api;
use ramtrail::api::condition::{self, Statement, Status, merge, reason};
use ramtrail::api::v1alpha1::{
    AppliedCopy, AppliedLogStore, AppliedProject, AppliedTrail, AuditLogStore, AuditLogStoreSpec,
    AuditLogStoreStatus, AuditProject, AuditProjectSpec, AuditProjectStatus, Claim, EventSelection,
    LocalReference, Logging, ManagementPolicy, Origin, PendingCreate, RamTrail, RamTrailSpec, RamTrailStatus,
    Tamper, Unrepaired,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn definitions() -> Vec<Value> {
    api::all_crds()
        .iter()
        .map(|crd| serde_json::to_value(crd).unwrap())
        .collect()
}

/// Calls `check` with the path and the schema of every field, and of every item.
fn each_schema(path: &str, schema: &Value, check: &mut impl FnMut(&str, &Value)) {
    check(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        each_schema(&format!("{path}.{name}"), property, check);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            each_schema(&format!("{path}.{key}"), &schema[key], check);
        }
    }
}

fn each_field(mut check: impl FnMut(&str, &Value)) {
    for definition in definitions() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        let versions = definition["spec"]["versions"].as_array().unwrap();
        for version in versions {
            each_schema(&kind, &version["schema"]["openAPIV3Schema"], &mut check);
        }
    }
}

fn is_item(path: &str) -> bool {
    let last = path.rsplit('.').next();
    matches!(last, Some("items" | "additionalProperties"))
}

#[test]
fn committed_definitions_are_those_of_the_code() {
    let manifests = api::manifests().unwrap();
    for (file, text) in &manifests {
        let committed = fs::read_to_string(root().join("crds").join(file)).unwrap_or_default();
        assert_eq!(
            &committed, text,
            "crds/{file} is out of date: run `cargo xtask generate`"
        );
        assert!(
            text.len() < 200_000,
            "crds/{file} is too large for an annotation of client-side apply"
        );
    }
    let mut files: Vec<String> = fs::read_dir(root().join("crds"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut expected: Vec<&str> = manifests.iter().map(|(file, _)| file.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(files, expected);
}

#[test]
fn every_field_is_described() {
    each_field(|path, schema| {
        let described = schema["description"].as_str().is_some_and(|d| d.len() > 10);
        assert!(
            described || (is_item(path) && !schema["properties"].is_object()),
            "{path} has no description"
        );
    });
}

#[test]
fn lists_and_strings_are_bounded_and_lists_say_how_they_merge() {
    each_field(|path, schema| {
        if schema["type"] == "array" {
            assert!(schema["maxItems"].is_u64(), "{path} has no maxItems");
            let merges = schema["x-kubernetes-list-type"].as_str();
            assert!(
                merges.is_some_and(|m| ["map", "set", "atomic"].contains(&m)),
                "{path}: {merges:?}"
            );
        }
        let bounded =
            schema["maxLength"].is_u64() || schema["enum"].is_array() || schema["format"].is_string();
        assert!(schema["type"] != "string" || bounded, "{path} has no maxLength");
        if schema["additionalProperties"].is_object() {
            assert!(schema["maxProperties"].is_u64(), "{path} has no maxProperties");
        }
    });
}

#[test]
fn numbers_are_signed_and_whole_and_those_of_specs_are_bounded() {
    each_field(|path, schema| {
        assert_ne!(schema["type"], "number", "{path} is a float");
        if schema["type"] == "integer" {
            let format = schema["format"].as_str().unwrap();
            assert!(["int32", "int64"].contains(&format), "{path}: {format}");
            if path.contains(".spec.") {
                assert!(
                    schema["minimum"].is_number() && schema["maximum"].is_number(),
                    "{path} is not bounded"
                );
            }
        }
    });
}

#[test]
fn list_items_have_no_defaults_and_nothing_may_be_null() {
    each_field(|path, schema| {
        assert!(schema["nullable"].is_null(), "{path} may be null");
        let inside_list = path.contains(".items") || path.contains(".additionalProperties");
        assert!(
            schema["default"].is_null() || !inside_list,
            "{path} has a default"
        );
    });
}

#[test]
fn names_and_columns_are_what_people_type_and_see() {
    let expected = [
        (
            "AuditProject",
            "auditprojects",
            "aproj",
            vec![
                "Ready", "Reason", "Project", "Region", "Age", "Account*", "Policy*", "Message*",
            ],
        ),
        (
            "AuditLogStore",
            "auditlogstores",
            "als",
            vec![
                "Ready",
                "Reason",
                "Store",
                "Retention",
                "Shards",
                "Since",
                "Age",
                "Message*",
            ],
        ),
        (
            "RamTrail",
            "ramtrails",
            "rt",
            vec![
                "Ready",
                "Logging",
                "Delivering",
                "Events",
                "Trail",
                "Age",
                "Region*",
                "Tampered*",
                "Policy*",
                "Message*",
            ],
        ),
    ];
    let definitions = definitions();
    assert_eq!(definitions.len(), expected.len());
    for (definition, (kind, plural, short, columns)) in definitions.iter().zip(expected) {
        let names = &definition["spec"]["names"];
        assert_eq!(names["kind"], kind);
        assert_eq!(names["plural"], plural);
        assert_eq!(names["shortNames"], json!([short]));
        // A category is expanded before a kind is looked up: one that is called like a kind would hide it.
        assert_eq!(names["categories"], json!(["audit", "alibaba"]));
        assert_eq!(definition["metadata"]["name"], format!("{plural}.{}", api::GROUP));
        assert_eq!(definition["spec"]["scope"], "Namespaced");
        let version = &definition["spec"]["versions"][0];
        assert_eq!(version["name"], "v1alpha1");
        assert!(version["subresources"]["status"].is_object());
        let shown: Vec<String> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| {
                format!(
                    "{}{}",
                    c["name"].as_str().unwrap(),
                    if c["priority"] == 1 { "*" } else { "" }
                )
            })
            .collect();
        assert_eq!(shown, columns, "{kind}");
    }
}

#[test]
fn the_server_takes_the_definitions_without_a_warning() {
    let kubectl = api_server::kubectl();
    let manifests: String = api::manifests()
        .unwrap()
        .into_iter()
        .map(|(_, yaml)| yaml)
        .collect();
    let mut command = kubectl.command();
    command.args([
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--warnings-as-errors",
        "-f",
        "-",
    ]);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), manifests.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !said.to_lowercase().contains("warning"),
        "{said}"
    );
}

#[test]
fn kubectl_explains_and_finds_the_kinds() {
    let kubectl = api_server::kubectl();
    let namespace = api_server::namespace(&kubectl, "explain");
    for (short, field, words) in [
        ("aproj", "spec.region", "cn-hangzhou"),
        (
            "aproj",
            "spec.credentials.secretRef",
            "ALIBABA_CLOUD_ACCESS_KEY_ID",
        ),
        ("als", "spec.retentionDays", "1 to 3650"),
        ("rt", "spec.copyTo.roleARN", "acs:ram::"),
        ("rt", "status.conditions", "Delivering"),
    ] {
        // The OpenAPI document follows a new definition with a delay.
        let explained = xtask::wait::until(
            "kubectl explain",
            api_server::DEADLINE,
            Duration::from_millis(200),
            || {
                Ok(match kubectl.run(["explain", &format!("{short}.{field}")]) {
                    Ok(text) => Probe::Done(text),
                    Err(error) => Probe::Pending(error.to_string()),
                })
            },
        );
        let explained = explained.unwrap();
        let joined = explained.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(joined.contains(words), "{short}.{field}: {explained}");
    }
    kubectl.apply(&seed(&namespace)).unwrap();
    for category in ["audit", "alibaba"] {
        let names = kubectl
            .run(["-n", &namespace, "get", category, "-o", "name"])
            .unwrap();
        let names: Vec<&str> = names.lines().collect();
        let expected = [
            "auditlogstore.ramtrail.io/the-store",
            "auditproject.ramtrail.io/the-project",
            "ramtrail.ramtrail.io/the-trail",
        ];
        assert_eq!(names, expected, "{category}");
    }
    for short in ["aproj", "als", "rt"] {
        let table = kubectl.run(["-n", &namespace, "get", short]).unwrap();
        assert!(table.starts_with("NAME") && table.contains("READY"), "{table}");
    }
}

fn seed(namespace: &str) -> String {
    format!(
        r"
apiVersion: ramtrail.io/v1alpha1
kind: AuditProject
metadata: {{ name: the-project, namespace: {namespace} }}
spec: {{ region: cn-hangzhou }}
---
apiVersion: ramtrail.io/v1alpha1
kind: AuditLogStore
metadata: {{ name: the-store, namespace: {namespace} }}
spec: {{ projectRef: {{ name: the-project }}, retentionDays: 30 }}
---
apiVersion: ramtrail.io/v1alpha1
kind: RamTrail
metadata: {{ name: the-trail, namespace: {namespace} }}
spec: {{ projectRef: {{ name: the-project }} }}
"
    )
}

fn claim() -> Claim {
    Claim {
        origin: Origin::Created,
        external_name: "a".repeat(63),
        create_time: Some("2026-11-22 10:00:00".to_owned()),
        confirmed: Some(true),
    }
}

fn pending() -> PendingCreate {
    PendingCreate {
        account_id: "1234567890123456".to_owned(),
        name: "a".repeat(63),
        cloud_time: "2026-11-22T10:00:00Z".to_owned(),
    }
}

fn tamper() -> Tamper {
    Tamper {
        time: "2026-11-22T10:00:00Z".to_owned(),
        what: "é".repeat(1024),
        repaired: true,
    }
}

/// Every type with every reason in turn, and the longest message.
fn conditions(offset: usize) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    let types = [
        condition::READY,
        condition::SYNCED,
        condition::RECONCILING,
        condition::STALLED,
        condition::PROTECTED,
        condition::LOGGING,
        condition::DELIVERING,
    ];
    let states = [Status::True, Status::False, Status::Unknown];
    let statements: Vec<Statement> = types
        .iter()
        .enumerate()
        .map(|(i, type_)| {
            let reason = reason::ALL[(offset + i) % reason::ALL.len()];
            Statement::new(type_, states[i % 3], reason, "x".repeat(5000))
        })
        .collect();
    merge(&[], &statements, Some(3), Timestamp::now())
}

fn reference(name: &str) -> LocalReference {
    LocalReference {
        name: name.to_owned(),
    }
}

/// Writes a status by server-side apply as the controllers do, and reads it back.
async fn status_survives<K, S>(api: &Api<K>, object: &K, status: &S)
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + serde::Serialize,
    S: serde::Serialize,
{
    let name = object.name_any();
    if api.get_opt(&name).await.unwrap().is_none() {
        api.create(&PostParams::default(), object).await.unwrap();
    }
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name },
        "status": status,
    });
    let params = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::apply(api::FIELD_MANAGER).force()
    };
    let written = api
        .patch_status(&name, &params, &Patch::Apply(&body))
        .await
        .unwrap();
    let written = serde_json::to_value(&written).unwrap();
    assert_eq!(written["status"], body["status"], "the server changed the status");
}

#[allow(clippy::unnecessary_wraps, reason = "every caller wants an optional text")]
fn text(length: usize) -> Option<String> {
    Some("a".repeat(length))
}

fn longest_plan() -> Vec<String> {
    vec!["x".repeat(512); 30]
}

fn longest_project_status(offset: usize) -> AuditProjectStatus {
    AuditProjectStatus {
        observed_generation: Some(i64::MAX),
        applied_generation: Some(2),
        conditions: conditions(offset),
        account_id: text(20),
        project_name: text(63),
        arn: text(200),
        endpoint: text(120),
        management_policy: Some(ManagementPolicy::Observe),
        claim: Some(claim()),
        pending_create: Some(pending()),
        applied: Some(AppliedProject {
            tag_keys: vec!["é".repeat(128); 20],
            description: Some("é".repeat(512)),
        }),
        data_since: text(30),
        last_tamper: Some(tamper()),
        plan: longest_plan(),
    }
}

fn longest_log_store_status(offset: usize) -> AuditLogStoreStatus {
    AuditLogStoreStatus {
        observed_generation: Some(1),
        applied_generation: Some(1),
        conditions: conditions(offset),
        account_id: text(20),
        log_store_name: text(63),
        project_name: text(63),
        arn: text(200),
        management_policy: Some(ManagementPolicy::Enforce),
        retention_days: Some(3650),
        shard_count: Some(i32::MAX),
        claim: Some(claim()),
        pending_create: Some(pending()),
        applied: Some(AppliedLogStore {
            retention_days: Some(30),
            append_meta: Some(false),
            index_types: vec!["k".repeat(128); 64],
        }),
        data_since: text(30),
        last_tamper: Some(tamper()),
        plan: longest_plan(),
    }
}

fn longest_trail_status(offset: usize) -> RamTrailStatus {
    RamTrailStatus {
        observed_generation: Some(1),
        applied_generation: Some(1),
        conditions: conditions(offset),
        account_id: text(20),
        trail_name: text(36),
        home_region: text(40),
        trail_arn: text(200),
        log_store_name: text(63),
        project_name: text(63),
        retention_days: Some(180),
        copy_job_name: text(64),
        management_policy: Some(ManagementPolicy::Enforce),
        claim: Some(claim()),
        pending_create: Some(pending()),
        applied: Some(AppliedTrail {
            logging: Some(Logging::Stopped),
            events: Some(EventSelection::Read),
            store_retention_days: Some(1),
            copy: Some(AppliedCopy {
                log_store_name: "a".repeat(63),
                services: vec!["s".repeat(64); 64],
                role_arn: "r".repeat(256),
                from_time: Some(i64::MAX),
            }),
            index_types: vec!["k".repeat(128); 64],
        }),
        data_since: text(30),
        last_tamper: Some(tamper()),
        unrepaired: vec![
            Unrepaired {
                field: "f".repeat(64),
                what: "w".repeat(1024),
                declared: "d".repeat(1024),
            };
            16
        ],
        plan: longest_plan(),
    }
}

#[tokio::test]
async fn every_status_that_can_be_written_is_accepted_whole() {
    let kubectl = api_server::kubectl();
    let namespace = api_server::namespace(&kubectl, "status");
    let client = api_server::client(kubectl.kubeconfig()).await;

    let project = AuditProject::new(
        "p-project",
        AuditProjectSpec {
            region: "cn-hangzhou".to_owned(),
            ..Default::default()
        },
    );
    let store = AuditLogStore::new(
        "a-store",
        AuditLogStoreSpec {
            project_ref: reference("p"),
            retention_days: 30,
            ..Default::default()
        },
    );
    let trail = RamTrail::new(
        "a-trail",
        RamTrailSpec {
            project_ref: reference("p"),
            ..Default::default()
        },
    );
    for offset in (0..reason::ALL.len()).step_by(7) {
        let status = longest_project_status(offset);
        status_survives(&Api::namespaced(client.clone(), &namespace), &project, &status).await;
        let status = longest_log_store_status(offset);
        status_survives(&Api::namespaced(client.clone(), &namespace), &store, &status).await;
        let status = longest_trail_status(offset);
        status_survives(&Api::namespaced(client.clone(), &namespace), &trail, &status).await;
    }
}

#[tokio::test]
async fn status_is_written_apart_from_the_spec() {
    let kubectl = api_server::kubectl();
    let namespace = api_server::namespace(&kubectl, "subresource");
    let client = api_server::client(kubectl.kubeconfig()).await;
    let projects: Api<AuditProject> = Api::namespaced(client, &namespace);
    let mut project = AuditProject::new(
        "a-project",
        AuditProjectSpec {
            region: "cn-hangzhou".to_owned(),
            ..Default::default()
        },
    );
    project.status = Some(AuditProjectStatus {
        account_id: Some("1".to_owned()),
        ..Default::default()
    });
    let created = projects.create(&PostParams::default(), &project).await.unwrap();
    assert_eq!(
        created.status, None,
        "a status given at creation counts for nothing"
    );
    let generation = created.metadata.generation;
    let body = json!({ "status": { "accountID": "2" }, "spec": { "region": "cn-beijing" } });
    let written = projects
        .patch_status("a-project", &PatchParams::default(), &Patch::Merge(&body))
        .await
        .unwrap();
    assert_eq!(written.spec.region, "cn-hangzhou");
    assert_eq!(written.status.unwrap().account_id.as_deref(), Some("2"));
    assert_eq!(
        written.metadata.generation, generation,
        "a status is no new generation"
    );
}
