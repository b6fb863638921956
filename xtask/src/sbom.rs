//! A bill of materials (CycloneDX 1.5, JSON) of one package, from what cargo resolves and locks.
//!
//! Holds what is linked or run at build time, for the platforms named; nothing that only tests need. The same lock gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The bill, from `cargo metadata --format-version 1` and `Cargo.lock`.
///
/// # Errors
/// Fails if the metadata does not hold the package or is not of the expected form.
pub fn cyclonedx(metadata: &Value, lock: &str, package: &str) -> Result<Value> {
    let packages = metadata["packages"].as_array().context("no packages")?;
    let by_id: BTreeMap<&str, &Value> = packages
        .iter()
        .filter_map(|p| Some((p["id"].as_str()?, p)))
        .collect();
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .context("nothing is resolved")?;
    let nodes: BTreeMap<&str, &Value> = nodes
        .iter()
        .filter_map(|n| Some((n["id"].as_str()?, n)))
        .collect();
    let (root, root_package) = by_id
        .iter()
        .find(|(_, p)| p["name"] == package)
        .with_context(|| format!("no package {package}"))?;
    let mut reached = BTreeSet::from([*root]);
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut open = vec![*root];
    while let Some(id) = open.pop() {
        let node = nodes.get(id).with_context(|| format!("{id} is not resolved"))?;
        for dep in node["deps"].as_array().into_iter().flatten() {
            // `dev` alone is for tests; no kind is a normal dependency.
            let kinds = dep["dep_kinds"].as_array().map(Vec::as_slice).unwrap_or_default();
            let ships = kinds.iter().any(|kind| kind["kind"] != "dev");
            let Some(target) = dep["pkg"].as_str().filter(|_| ships) else {
                continue;
            };
            edges.entry(id).or_default().insert(target);
            if reached.insert(target) {
                open.push(target);
            }
        }
    }
    let checksums = checksums(lock);
    let component = |package: &Value, kind: &str| {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let (name, version) = (text("name"), text("version"));
        let mut component = json!({
            "type": kind,
            "bom-ref": purl(package),
            "name": name,
            "version": version,
            "purl": purl(package),
        });
        if let Some(license) = package["license"].as_str() {
            // Old manifests write a slash for "or".
            component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
        }
        if let Some(sum) = checksums.get(&(name, version)) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        component
    };
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for id in &reached {
        let package = by_id.get(id).with_context(|| format!("{id} is not a package"))?;
        if id != root {
            components.push(component(package, "library"));
        }
        let on = edges.get(id).into_iter().flatten();
        let on: Vec<String> = on.filter_map(|id| by_id.get(id)).map(|p| purl(p)).collect();
        dependencies.push(json!({ "ref": purl(package), "dependsOn": on }));
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(root_package, "application") },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn purl(package: &Value) -> String {
    format!(
        "pkg:cargo/{}@{}",
        package["name"].as_str().unwrap_or_default(),
        package["version"].as_str().unwrap_or_default()
    )
}

/// Checksums by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for entry in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = entry
                .lines()
                .find_map(|l| l.strip_prefix(key)?.strip_prefix(" = \""))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(sum)) = (value("name"), value("version"), value("checksum")) {
            found.insert((name, version), sum);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_ships_is_listed_and_what_tests_need_is_not() {
        let metadata = json!({
            "packages": [
                { "id": "a", "name": "app", "version": "1.0.0", "license": "Apache-2.0" },
                { "id": "b", "name": "lib", "version": "2.0.0", "license": "MIT/Apache-2.0" },
                { "id": "c", "name": "deep", "version": "3.0.0" },
                { "id": "d", "name": "test-only", "version": "4.0.0" },
            ],
            "resolve": { "nodes": [
                { "id": "a", "deps": [
                    { "pkg": "b", "dep_kinds": [{ "kind": null }, { "kind": "dev" }] },
                    { "pkg": "d", "dep_kinds": [{ "kind": "dev" }] },
                ] },
                { "id": "b", "deps": [{ "pkg": "c", "dep_kinds": [{ "kind": "build" }] }] },
                { "id": "c", "deps": [] },
                { "id": "d", "deps": [] },
            ] },
        });
        let lock = "version = 4\n\n[[package]]\nname = \"lib\"\nversion = \"2.0.0\"\nsource = \"r\"\nchecksum = \"ab\"\n";
        let bill = cyclonedx(&metadata, lock, "app").unwrap();
        let names: Vec<&str> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["lib", "deep"]);
        let lib = &bill["components"][0];
        assert_eq!(lib["purl"], "pkg:cargo/lib@2.0.0");
        assert_eq!(lib["hashes"][0]["content"], "ab");
        assert_eq!(lib["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bill["metadata"]["component"]["name"], "app");
        assert_eq!(
            bill["dependencies"][0]["dependsOn"],
            json!(["pkg:cargo/lib@2.0.0"])
        );
        assert!(cyclonedx(&metadata, lock, "other").is_err());
    }
}
