//! The health script in Argo CD's own checker: every case of every kind's `health_test.yaml`, in the layout of Argo's repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kube::CustomResourceExt;
use ramtrail::api::v1alpha1::{AuditLogStore, AuditProject, RamTrail};
use serde_json::Value;
use xtask::argo_cd::{KINDS, kind_folder};

use crate::argo::judged;

#[test]
fn the_script_is_for_all_our_kinds() {
    let ours: BTreeSet<String> = [
        AuditLogStore::crd_name(),
        AuditProject::crd_name(),
        RamTrail::crd_name(),
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    let all: BTreeSet<String> = ramtrail::api::all_crds()
        .into_iter()
        .filter_map(|crd| crd.metadata.name)
        .collect();
    assert_eq!(ours, all, "a kind without a health check");
    let kinds: BTreeSet<String> = ramtrail::api::all_crds()
        .into_iter()
        .map(|crd| crd.spec.names.kind)
        .collect();
    assert_eq!(kinds, KINDS.iter().map(|kind| (*kind).to_owned()).collect());
}

/// The test files of Argo's repository, in the program that its users have; it reads the snippet of `argocd-cm`.
#[test]
fn every_case_has_its_health_and_message() {
    for kind in KINDS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind_folder(kind));
        let cases: Value =
            serde_saphyr::from_str(&fs::read_to_string(folder.join("health_test.yaml")).unwrap()).unwrap();
        let mut healths = BTreeSet::new();
        let mut tried = BTreeSet::new();
        for case in cases["tests"].as_array().unwrap() {
            let input = case["inputPath"].as_str().unwrap();
            let (health, message) = judged(&folder.join(input));
            assert_eq!(
                case["healthStatus"]["status"],
                health.as_str(),
                "{kind} {input}: {message}"
            );
            assert_eq!(
                case["healthStatus"]["message"],
                message.as_str(),
                "{kind} {input}"
            );
            healths.insert(health);
            tried.insert(input.to_owned());
        }
        for health in ["Healthy", "Progressing", "Degraded", "Suspended"] {
            assert!(healths.contains(health), "{kind} has no case that is {health}");
        }
        let there: BTreeSet<String> = fs::read_dir(folder.join("testdata"))
            .unwrap()
            .map(|entry| format!("testdata/{}", entry.unwrap().file_name().to_string_lossy()))
            .collect();
        assert_eq!(tried, there, "{kind}: a file without a case");
    }
}

/// What kstatus makes of an object, by which Flux and Helm wait: its rules for kinds that it does not know, in their order.
fn kstatus(object: &Value) -> &'static str {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating";
    }
    let status = &object["status"];
    let observed = &status["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return "InProgress";
    }
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    for condition in conditions
        .iter()
        .filter(|condition| condition["status"] == "True")
    {
        match condition["type"].as_str() {
            Some("Reconciling") => return "InProgress",
            Some("Stalled") => return "Failed",
            _ => {}
        }
    }
    match conditions.iter().find(|condition| condition["type"] == "Ready") {
        Some(ready) if ready["status"] != "True" => "InProgress",
        _ => "Current",
    }
}

/// What kstatus takes for well although Argo CD waits. It believes whatever has no `observedGeneration` or no `Ready`, and looks at
/// no condition's own generation: the operator never leaves an object so, but for the moment before its first visit.
const BELIEVED: [&str; 5] = [
    "progressing_new",
    "progressing_no_conditions",
    "progressing_no_generation",
    "progressing_not_ready_yet",
    "progressing_old_ready",
];

#[test]
fn kstatus_calls_well_what_argo_cd_calls_healthy_and_failed_what_a_person_must_mend() {
    for kind in KINDS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(kind_folder(kind))
            .join("testdata");
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let object: Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            let stalled = object["status"]["conditions"].as_array().is_some_and(|all| {
                all.iter()
                    .any(|c| c["type"] == "Stalled" && c["status"] == "True")
            });
            let wanted = match name.split('_').next().unwrap() {
                "healthy" => "Current",
                "degraded" if stalled => "Failed",
                _ if BELIEVED.contains(&name.as_str()) => "Current",
                _ => "InProgress",
            };
            assert_eq!(kstatus(&object), wanted, "{kind} {name}");
        }
    }
}
