//! The health checks for Argo CD: one script, in the two forms Argo CD takes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Where the script and what is made from it lie in the checkout.
pub const FOLDER: &str = "deploy/argocd";

/// The kinds that the script is for.
pub const KINDS: [&str; 3] = ["AuditLogStore", "AuditProject", "RamTrail"];

/// The folder of a kind in the layout of Argo CD's own repository.
pub fn kind_folder(kind: &str) -> PathBuf {
    Path::new(FOLDER)
        .join("resource_customizations/ramtrail.io")
        .join(kind)
}

/// The files made from `health.lua`, by path in the checkout: a snippet of the ConfigMap `argocd-cm`, and a script for each kind.
pub fn health_checks(script: &str) -> BTreeMap<PathBuf, String> {
    let mut files: BTreeMap<PathBuf, String> = KINDS
        .iter()
        .map(|kind| (kind_folder(kind).join("health.lua"), script.to_owned()))
        .collect();
    files.insert(Path::new(FOLDER).join("argocd-cm.yaml"), config_map(script));
    files
}

fn config_map(script: &str) -> String {
    let mut text = String::from(
        "# Health checks for Argo CD, made from health.lua by `cargo xtask generate`. Add them to what is there:\n\
         #   kubectl --namespace argocd patch configmap argocd-cm --type merge --patch-file argocd-cm.yaml\n\
         apiVersion: v1\n\
         kind: ConfigMap\n\
         metadata:\n  name: argocd-cm\n  labels:\n    app.kubernetes.io/name: argocd-cm\n    app.kubernetes.io/part-of: argocd\n\
         data:\n",
    );
    for kind in KINDS {
        // Wildcards work under another key only, which is one text for all kinds and hard to share with others.
        let _ = writeln!(text, "  resource.customizations.health.ramtrail.io_{kind}: |");
        for line in script.lines() {
            if line.is_empty() {
                text.push('\n');
            } else {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_gets_the_script_in_both_forms() {
        let files = health_checks("local a = 1\n\nreturn a\n");
        assert_eq!(files.len(), KINDS.len() + 1);
        let map = &files[Path::new("deploy/argocd/argocd-cm.yaml")];
        for kind in KINDS {
            let key = format!(
                "  resource.customizations.health.ramtrail.io_{kind}: |\n    local a = 1\n\n    return a\n"
            );
            assert!(map.contains(&key), "{map}");
            assert_eq!(
                files[&kind_folder(kind).join("health.lua")],
                "local a = 1\n\nreturn a\n"
            );
        }
    }
}
