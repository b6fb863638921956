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
