//! The definitions of the kinds, from an earlier version to today's and back, under stored objects: what was accepted stays accepted,
//! and nothing is lost that both versions know. No operator runs: the API server alone is asked.

use std::path::Path;

use serde_json::{Map, Value, json};
use xtask::control_plane::{ControlPlane, Options};
use xtask::kubectl::Kubectl;
use xtask::wait::{self, Probe};

use crate::release::{CRDS, Helm};
use crate::support::DEADLINE;
use crate::{Version, chart, examples};

/// Namespace of the examples; stored objects are put there too.
const NAMESPACE: &str = "audit";

/// An API server with a chart of ours, and no operator.
struct Cluster {
    helm: Helm,
    control_plane: ControlPlane,
}

impl Cluster {
    fn of(chart: &Path) -> Self {
        let control_plane = ControlPlane::start(&Options::new()).unwrap();
        let helm = Helm::new(control_plane.kubectl());
        helm.install(chart, &json!({}));
        let cluster = Self { helm, control_plane };
        cluster.kubectl().run(["create", "namespace", NAMESPACE]).unwrap();
        cluster
    }

    fn kubectl(&self) -> &Kubectl {
        self.control_plane.kubectl()
    }

    /// What every schema says now, by kind.
    fn schemas(&self) -> Map<String, Value> {
        let definitions = CRDS
            .iter()
            .map(|name| self.kubectl().json(["get", "crd", name]).unwrap());
        definitions
            .map(|crd| {
                let versions = crd["spec"]["versions"].as_array().unwrap();
                let [version] = versions.as_slice() else {
                    panic!("more versions than one: objects must be converted, which nothing here does");
                };
                let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
                (kind, version["schema"]["openAPIV3Schema"].clone())
            })
            .collect()
    }

    /// All objects as they are served now, without the history of who wrote what.
    fn objects(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for name in CRDS {
            let list = self.kubectl().json(["-n", NAMESPACE, "get", name]).unwrap();
            all.extend(list["items"].as_array().unwrap().iter().cloned());
        }
        for object in &mut all {
            object["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("managedFields");
        }
        all
    }

    /// Writes the status of an object, each field of which must be known.
    fn write_status(&self, object: &Value, more: &[&str]) -> anyhow::Result<String> {
        let arguments = ["replace", "--subresource=status", "--validate=strict", "-f", "-"];
        let arguments = arguments.iter().chain(more);
        self.kubectl().run_with_input(arguments, &object.to_string())
    }

    /// Gives every object a status in which each field of its schema is set.
    fn fill_statuses(&self) {
        let schemas = self.schemas();
        for mut object in self.objects() {
            let schema = &schemas[object["kind"].as_str().unwrap()]["properties"]["status"];
            object["status"] = sample(schema);
            self.write_status(&object, &[]).unwrap();
        }
    }

    /// Waits until all objects are served as wanted: an API server takes a changed definition up a moment later.
    fn until_served(&self, what: &str, wanted: &[Value]) {
        wait::until(what, DEADLINE, std::time::Duration::from_millis(200), || {
            let seen = self.objects();
            Ok(if seen == wanted {
                Probe::Done(())
            } else {
                let pairs = wanted.iter().zip(&seen).filter(|(wanted, seen)| wanted != seen);
                let told: Vec<String> = pairs
                    .map(|(wanted, seen)| format!("{wanted:#}\n{seen:#}"))
                    .collect();
                Probe::Pending(told.join("\n"))
            })
        })
        .unwrap();
    }

    /// Every object is taken as it is: by a dry run, by an update of its own and by one of its status; and it stays as it was.
    fn takes_all(&self, label: &str) {
        let before = self.objects();
        for object in &before {
            let mut changed = object.clone();
            changed["metadata"]["labels"][label] = json!("true");
            let replace = ["replace", "--validate=strict", "-f", "-"];
            let dry = replace.iter().chain(&["--dry-run=server"]);
            self.kubectl().run_with_input(dry, &changed.to_string()).unwrap();
            self.write_status(object, &["--dry-run=server"]).unwrap();
            self.kubectl()
                .run_with_input(replace, &changed.to_string())
                .unwrap();
            let kind = object["kind"].as_str().unwrap().to_lowercase() + "s.ramtrail.io";
            let name = object["metadata"]["name"].as_str().unwrap();
            let mut now = self
                .kubectl()
                .json(["-n", NAMESPACE, "get", &kind, name])
                .unwrap();
            assert_eq!(now["metadata"]["labels"][label], "true", "{now:#}");
            self.write_status(&now, &[]).unwrap();
            now = self
                .kubectl()
                .json(["-n", NAMESPACE, "get", &kind, name])
                .unwrap();
            for part in ["spec", "status"] {
                assert_eq!(now[part], object[part], "{part} of {kind} {name}");
            }
            assert_eq!(now["metadata"]["uid"], object["metadata"]["uid"]);
        }
    }
}

#[test]
fn what_an_earlier_version_stored_is_served_and_taken_as_it_was() {
    for version in Version::all() {
        let cluster = Cluster::of(&version.chart());
        cluster.kubectl().apply_path(&version.examples()).unwrap();
        cluster.fill_statuses();
        let stored = version.objects();
        for object in &stored {
            store(&cluster, object);
        }
        let before = cluster.objects();
        assert!(before.len() > stored.len(), "{}", before.len());

        cluster.helm.upgrade(&chart());
        until_taken_up(&cluster);
        cluster.until_served("all objects are as they were", &before);
        cluster.takes_all("after-upgrade");
        // As their users would apply them again, from the file and by either way of applying.
        let folder = version.examples().display().to_string();
        for arguments in [
            vec!["apply", "--dry-run=server", "--validate=strict", "-f", &folder],
            vec![
                "apply",
                "--server-side",
                "--validate=strict",
                "--force-conflicts",
                "-f",
                &folder,
            ],
        ] {
            cluster.kubectl().run(arguments).unwrap();
        }
        // And new, to a namespace that has none of them.
        cluster
            .kubectl()
            .run([
                "-n",
                NAMESPACE,
                "delete",
                &CRDS.join(","),
                "--all",
                "--wait=false",
            ])
            .unwrap();
        for object in &stored {
            rescue(&cluster, object);
        }
        cluster.kubectl().apply_path(&version.examples()).unwrap();
        for object in &stored {
            store(&cluster, object);
        }
        assert_eq!(cluster.objects().len(), before.len());
    }
}

#[test]
fn a_rollback_loses_nothing_that_the_earlier_version_knows() {
    for version in Version::all() {
        let cluster = Cluster::of(&version.chart());
        let earlier = cluster.schemas();
        cluster.helm.upgrade(&chart());
        until_taken_up(&cluster);
        cluster.kubectl().apply_path(&examples()).unwrap();
        cluster.fill_statuses();
        let today = cluster.objects();
        assert!(!today.is_empty());

        cluster.helm.rollback();
        assert_eq!(
            cluster.schemas(),
            earlier,
            "the definitions are those of the earlier version"
        );
        let kept: Vec<Value> = today
            .iter()
            .map(|object| {
                let mut kept = known(object, &earlier[object["kind"].as_str().unwrap()]);
                for name in ["apiVersion", "kind", "metadata"] {
                    kept[name] = object[name].clone();
                }
                kept
            })
            .collect();
        let lost = today.iter().zip(&kept).filter(|(all, kept)| all != kept).count();
        eprintln!(
            "{}: {lost} of {} objects hold more than it knows",
            version.name,
            today.len()
        );
        cluster.until_served("all is there that this version knows", &kept);
        for (today, kept) in today.iter().zip(&kept) {
            assert_eq!(today["spec"], kept["spec"], "no wish of a user is lost");
        }
        cluster.takes_all("after-rollback");

        let back = cluster.objects();
        cluster.helm.upgrade(&chart());
        until_taken_up(&cluster);
        cluster.until_served("all objects are as they were", &back);
        cluster.takes_all("after-second-upgrade");
    }
}

/// Waits until the API server works by today's definitions: it takes each field of today's status.
fn until_taken_up(cluster: &Cluster) {
    let today = ramtrail::api::all_crds().into_iter().map(|crd| {
        let schema = &crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema;
        (crd.spec.names.kind, serde_json::to_value(schema).unwrap())
    });
    for (kind, schema) in today {
        let name = "taken-up";
        let spec = match kind.as_str() {
            "AuditProject" => json!({"region": "cn-hangzhou"}),
            "AuditLogStore" => json!({"projectRef": {"name": "p"}, "retentionDays": 30}),
            _ => json!({"projectRef": {"name": "p"}, "trailName": name}),
        };
        let mut object = json!({
            "apiVersion": "ramtrail.io/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
        });
        cluster.kubectl().apply(&object.to_string()).unwrap();
        object["status"] = sample(&schema["properties"]["status"]);
        wait::until(
            "today's status is taken",
            DEADLINE,
            std::time::Duration::from_millis(200),
            || {
                Ok(match cluster.write_status(&object, &["--dry-run=server"]) {
                    Ok(_) => Probe::Done(()),
                    Err(error) => Probe::Pending(error.to_string()),
                })
            },
        )
        .unwrap();
        cluster
            .kubectl()
            .run_with_input(["delete", "--wait=true", "-f", "-"], &object.to_string())
            .unwrap();
    }
}

/// Stores an object of the test data with its status.
fn store(cluster: &Cluster, object: &Value) {
    let mut object = object.clone();
    object["metadata"]["namespace"] = json!(NAMESPACE);
    cluster
        .kubectl()
        .run_with_input(["create", "--validate=strict", "-f", "-"], &object.to_string())
        .unwrap();
    cluster.write_status(&object, &[]).unwrap();
}

/// Takes the finalizer from an object that is being deleted.
fn rescue(cluster: &Cluster, object: &Value) {
    let kind = object["kind"].as_str().unwrap().to_lowercase() + "s.ramtrail.io";
    let name = object["metadata"]["name"].as_str().unwrap();
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    cluster
        .kubectl()
        .run(["-n", NAMESPACE, "patch", &kind, name, "--type=merge", "-p", patch])
        .unwrap();
}

/// A value in which every field of a schema is set.
fn sample(schema: &Value) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().rfind(|value| !value.is_null()).unwrap().clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            let mut object: Map<String, Value> = fields
                .map(|(name, schema)| (name.clone(), sample(schema)))
                .collect();
            if schema["additionalProperties"].is_object() {
                object.insert("key".to_owned(), sample(&schema["additionalProperties"]));
            }
            Value::Object(object)
        }
        Some("array") => json!([sample(&schema["items"])]),
        Some("integer" | "number") => json!(schema["minimum"].as_i64().unwrap_or(1).max(1)),
        Some("boolean") => json!(true),
        Some("string") if schema["format"] == "date-time" => json!("2026-11-22T08:00:00Z"),
        // Fits every pattern that a status has; the API server would refuse it else.
        Some("string") => json!("Aa1"),
        other => panic!("a field of the type {other:?}: {schema:#}"),
    }
}

/// What of a value a schema knows, as the API server prunes.
fn known(value: &Value, schema: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter_map(|(name, value)| {
                    let own = &schema["properties"][name];
                    let more = &schema["additionalProperties"];
                    let schema = if own.is_null() { more } else { own };
                    (!schema.is_null()).then(|| (name.clone(), known(value, schema)))
                })
                .collect(),
        ),
        Value::Array(items) => items.iter().map(|item| known(item, &schema["items"])).collect(),
        other => other.clone(),
    }
}
