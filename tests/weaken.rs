//! Break-glass by the API server: whatever weakens an audit needs the verb `weaken`, whoever may change the object.
//!
//! Changes are asked for by `--dry-run=server`, which passes admission and writes nothing: every case starts from the same
//! objects.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use xtask::assets::{self, Tool};
use xtask::control_plane::{ControlPlane, Options};
use xtask::kubectl::Kubectl;
use xtask::process::{Spec, Supervised};
use xtask::wait::{self, Probe};

use ramtrail::api::v1alpha1::{AuditProject, CopyTo};
use support::{CREDENTIALS, World, api_server, give_rights};

/// May change everything of ours, and Secrets, in the namespace of the test; nothing more.
const EDITOR: &str = "editor";
/// May do the same, and holds the ClusterRole `ramtrail-weaken` there.
const BREAKER: &str = "breaker";
/// An editor who holds the verb on one object only.
const BREAKER_OF_ONE: &str = "breaker-of-one";
const OPERATOR: &str = "system:serviceaccount:ramtrail-system:ramtrail";
const KINDS: [&str; 3] = ["auditprojects", "auditlogstores", "ramtrails"];
/// The account in which the claimed objects are.
const ACCOUNT: &str = "1234567890";

/// Objects of every kind in their strongest form, claimed in the cloud; people with rights; the policy in force.
struct Scene {
    kubectl: Kubectl,
    namespace: String,
}

/// A change and what the refusal must name.
type Case = (&'static str, &'static str, Value, &'static str);

impl Scene {
    fn shared() -> &'static Self {
        static SCENE: OnceLock<Scene> = OnceLock::new();
        SCENE.get_or_init(|| {
            let (kubectl, _) = give_rights(api_server::kubectl());
            Self::set_up(kubectl)
        })
    }

    fn set_up(kubectl: Kubectl) -> Self {
        let namespace = api_server::namespace(&kubectl, "weaken");
        let scene = Self::with_people(kubectl, namespace);
        scene.write_objects();
        scene.wait_for_policy();
        scene
    }

    /// The people and their rights in this namespace.
    fn with_people(kubectl: Kubectl, namespace: String) -> Self {
        let scene = Self { kubectl, namespace };
        let verbs = [
            "get",
            "list",
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
        ];
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "name": "editor", "namespace": scene.namespace },
            "rules": [
                // With the statuses, which no role of the chart gives to people.
                { "apiGroups": ["ramtrail.io"], "resources": KINDS.iter().flat_map(|kind| [(*kind).to_owned(), format!("{kind}/status")])
                    .collect::<Vec<_>>(), "verbs": verbs },
                { "apiGroups": [""], "resources": ["secrets"], "verbs": verbs },
            ],
        });
        let of_one = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "name": "weaken-one", "namespace": scene.namespace },
            "rules": [{ "apiGroups": ["ramtrail.io"], "resources": ["ramtrails"], "resourceNames": ["strong"], "verbs": ["weaken"] }],
        });
        scene.apply(&[
            role,
            of_one,
            scene.binding("Role", "editor", &[EDITOR, BREAKER, BREAKER_OF_ONE]),
            scene.binding("Role", "weaken-one", &[BREAKER_OF_ONE]),
            scene.binding("ClusterRole", "ramtrail-weaken", &[BREAKER]),
        ]);
        scene
    }

    fn binding(&self, kind: &str, role: &str, users: &[&str]) -> Value {
        let subjects: Vec<Value> = users
            .iter()
            .map(|user| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }))
            .collect();
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": role, "namespace": self.namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
            "subjects": subjects,
        })
    }

    /// `strong` and `held` have all that can be lost; `weak` has lost it.
    fn write_objects(&self) {
        let of = |kind: &str, name: &str, spec: Value| {
            json!({
                "apiVersion": "ramtrail.io/v1alpha1", "kind": kind, "spec": spec,
                "metadata": { "name": name, "namespace": self.namespace, "finalizers": ["ramtrail.io/finalizer"] },
            })
        };
        let project = |more: Value| {
            let mut spec =
                json!({ "region": "cn-hangzhou", "credentials": { "secretRef": { "name": "keys" } } });
            support::merge(&mut spec, &more);
            spec
        };
        let trail = |more: Value| {
            let mut spec = json!({ "projectRef": { "name": "strong" } });
            support::merge(&mut spec, &more);
            spec
        };
        let copy = |services: &[&str]| json!({ "logStoreRef": { "name": "strong" }, "roleARN": "acs:ram::1:role/copy", "services": services });
        let weakest = json!({ "managementPolicy": "Observe", "deletionPolicy": "Delete" });
        let store = json!({ "projectRef": { "name": "strong" }, "retentionDays": 365, "appendMeta": true });
        let mut weak_store = store.clone();
        support::merge(&mut weak_store, &weakest);
        let mut weak_trail = trail(json!({
            "logging": "Stopped", "events": "Write", "store": { "retentionDays": 30 },
            "delivery": { "maxLagSeconds": 3600 }, "copyTo": copy(&["Ram"]),
        }));
        support::merge(&mut weak_trail, &weakest);
        let mut objects = vec![
            of("AuditProject", "strong", project(json!({}))),
            of("AuditProject", "weak", project(weakest)),
            of("AuditProject", "fresh", project(json!({}))),
            of("AuditProject", "begun", project(json!({}))),
            of("AuditProject", "pinned", project(json!({ "accountID": ACCOUNT }))),
            of("AuditLogStore", "strong", store),
            of("AuditLogStore", "weak", weak_store),
            of(
                "RamTrail",
                "strong",
                trail(json!({ "store": { "retentionDays": 365 }, "copyTo": copy(&["Ram", "Sts"]) })),
            ),
            of(
                "RamTrail",
                "default",
                trail(json!({ "trailName": "default-trail", "copyTo": copy(&[]) })),
            ),
            of(
                "RamTrail",
                "prompt-trail",
                trail(json!({ "delivery": { "maxLagSeconds": 300 } })),
            ),
            of("RamTrail", "weak-trail", weak_trail),
        ];
        for object in &mut objects {
            if object["metadata"]["name"].as_str().unwrap().starts_with("weak") {
                object["metadata"]["annotations"] =
                    json!({ "ramtrail.io/paused": "true", "ramtrail.io/abandon": "true" });
            }
            if object["kind"] == "RamTrail" && object["metadata"]["name"] == "strong" {
                object["spec"]["trailName"] = json!("strong-trail");
            }
        }
        for (name, label) in [("keys", "true"), ("plain", "false")] {
            objects.push(json!({
                "apiVersion": "v1", "kind": "Secret", "stringData": { "ALIBABA_CLOUD_ACCESS_KEY_ID": "id" },
                "metadata": { "name": name, "namespace": self.namespace, "labels": { "ramtrail.io/credentials": label } },
            }));
        }
        self.apply(&objects);
        let claim = json!({ "accountID": ACCOUNT, "claim": { "origin": "Created", "externalName": "x" } });
        let pending = json!({ "pendingCreate": { "accountID": ACCOUNT, "name": "x", "cloudTime": "2026-01-01T00:00:00Z" } });
        for (resource, name, status) in [
            ("auditprojects", "strong", &claim),
            ("auditprojects", "weak", &claim),
            ("auditprojects", "begun", &pending),
            ("auditlogstores", "strong", &claim),
            ("ramtrails", "strong", &claim),
            ("ramtrails", "weak-trail", &claim),
        ] {
            let status = json!({ "status": status }).to_string();
            let patch = [
                "patch",
                resource,
                name,
                "--subresource=status",
                "--type=merge",
                "-p",
                &status,
            ];
            self.kubectl
                .run(["-n", &self.namespace].into_iter().chain(patch))
                .unwrap();
        }
    }

    fn apply(&self, objects: &[Value]) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.kubectl.apply(&list.to_string()).unwrap();
    }

    /// A policy comes into force a moment after it was written.
    fn wait_for_policy(&self) {
        let stop = json!({ "spec": { "logging": "Stopped" } });
        let delete = ["delete", "secret", "keys"];
        wait::until(
            "the policies are in force",
            api_server::DEADLINE,
            Duration::from_millis(200),
            || {
                let asked = [
                    self.patch(EDITOR, "ramtrails", "strong", &stop),
                    self.ask(EDITOR, &delete),
                ];
                Ok(match asked {
                    [Err(_), Err(_)] => Probe::Done(()),
                    other => Probe::Pending(format!("{other:?}")),
                })
            },
        )
        .unwrap();
    }

    /// What the API server says to somebody, without anything being written.
    fn ask(&self, user: &str, args: &[&str]) -> Result<String, String> {
        let user = format!("--as={user}");
        let mut all = vec![user.as_str(), "-n", self.namespace.as_str()];
        all.extend(args);
        all.push("--dry-run=server");
        self.kubectl.run(all).map_err(|error| error.to_string())
    }

    fn patch(&self, user: &str, resource: &str, name: &str, patch: &Value) -> Result<String, String> {
        let resource = match resource {
            "secrets" => resource.to_owned(),
            ours => format!("{ours}.ramtrail.io"),
        };
        self.ask(
            user,
            &["patch", &resource, name, "--type=merge", "-p", &patch.to_string()],
        )
    }

    fn patch_status(&self, user: &str, resource: &str, status: &Value) -> Result<String, String> {
        let resource = format!("{resource}.ramtrail.io");
        let patch = json!({ "status": status }).to_string();
        self.ask(
            user,
            &[
                "patch",
                &resource,
                "strong",
                "--subresource=status",
                "--type=merge",
                "-p",
                &patch,
            ],
        )
    }

    /// Only who holds the verb may, and everybody else is told what is missing and who gives it.
    fn assert_weakens(
        &self,
        what: &str,
        resource: &str,
        name: &str,
        names: &str,
        ask: impl Fn(&str) -> Result<String, String>,
    ) {
        let refusal = ask(EDITOR).expect_err(&format!("{what} of {resource}/{name} was let through"));
        let object = if resource == "secrets" {
            format!("needs the verb weaken on secrets/{name}")
        } else {
            format!("needs the verb weaken on {resource}.ramtrail.io/{name}")
        };
        let place = format!("in the namespace {}", self.namespace);
        for part in [
            "Forbidden",
            names,
            &object,
            &place,
            "which the ClusterRole ramtrail-weaken gives",
        ] {
            assert!(refusal.contains(part), "{what}: {part:?} is not in {refusal}");
        }
        ask(BREAKER).unwrap_or_else(|refusal| panic!("{what} with the verb: {refusal}"));
    }

    fn assert_all_weaken(&self, cases: &[Case]) {
        for (resource, name, patch, names) in cases {
            let what = patch.to_string();
            self.assert_weakens(&what, resource, name, names, |user| {
                self.patch(user, resource, name, patch)
            });
        }
    }

    fn assert_passes(&self, user: &str, cases: &[(&str, &str, Value)]) {
        for (resource, name, patch) in cases {
            self.patch(user, resource, name, patch)
                .unwrap_or_else(|refusal| panic!("{resource}/{name} {patch}: {refusal}"));
        }
    }
}

fn annotated(key: &str, value: &str) -> Value {
    json!({ "metadata": { "annotations": { key: value } } })
}

/// Whether the definition of a kind refuses, not a policy, nor a policy that cannot be evaluated.
fn by_definition(refusal: &str) -> bool {
    refusal.contains("is invalid") && !refusal.contains("ValidatingAdmissionPolicy")
}

#[allow(clippy::needless_pass_by_value)] // called with literals
fn spec(spec: Value) -> Value {
    json!({ "spec": spec })
}

fn weaker_trails() -> Vec<Case> {
    let keep = |days: i32| spec(json!({ "store": { "retentionDays": days } }));
    let trail = "ramtrails";
    vec![
        (
            trail,
            "strong",
            spec(json!({ "logging": "Stopped" })),
            "(spec.logging: Stopped)",
        ),
        (
            trail,
            "strong",
            spec(json!({ "events": "Write" })),
            "(spec.events narrowed to Write)",
        ),
        (
            trail,
            "strong",
            spec(json!({ "events": "Read" })),
            "(spec.events narrowed to Read)",
        ),
        (
            trail,
            "weak-trail",
            spec(json!({ "events": "Read" })),
            "(spec.events narrowed to Read)",
        ),
        (
            trail,
            "strong",
            keep(364),
            "(spec.store.retentionDays lowered from 365 to 364)",
        ),
        (
            trail,
            "default",
            keep(3649),
            "(spec.store.retentionDays lowered from 3650 to 3649)",
        ),
        (
            trail,
            "strong",
            spec(json!({ "store": null })),
            "(spec.store.retentionDays removed)",
        ),
        (
            trail,
            "strong",
            spec(json!({ "copyTo": null })),
            "(spec.copyTo removed)",
        ),
        (
            trail,
            "strong",
            spec(json!({ "copyTo": { "services": ["RAM"] } })),
            "(spec.copyTo.services narrowed)",
        ),
        (
            trail,
            "strong",
            spec(json!({ "copyTo": { "roleARN": "acs:ram::1:role/powerless" } })),
            "(spec.copyTo.roleARN changed)",
        ),
        (
            trail,
            "default",
            spec(json!({ "copyTo": { "services": ["Ram", "Ims", "Sts", "AasSub", "AasCustomer"] } })),
            "(spec.copyTo.services narrowed)",
        ),
        (
            trail,
            "strong",
            spec(json!({ "delivery": { "maxLagSeconds": 901 } })),
            "(spec.delivery.maxLagSeconds raised to 901)",
        ),
        // What is no longer said is what is said by default.
        (
            trail,
            "prompt-trail",
            spec(json!({ "delivery": null })),
            "(spec.delivery.maxLagSeconds raised to 900)",
        ),
        (
            trail,
            "prompt-trail",
            spec(json!({ "delivery": { "maxLagSeconds": null } })),
            "(spec.delivery.maxLagSeconds raised to 900)",
        ),
        (
            trail,
            "strong",
            spec(json!({ "logging": "Stopped", "deletionPolicy": "Delete" })),
            "(spec.deletionPolicy: Delete; spec.logging: Stopped)",
        ),
    ]
}

#[test]
fn every_switch_that_weakens_needs_the_verb() {
    Scene::shared().assert_all_weaken(&weaker_trails());
}

fn weaker_stores() -> Vec<Case> {
    [
        (
            json!({ "retentionDays": 364 }),
            "(spec.retentionDays lowered from 365 to 364)",
        ),
        (
            json!({ "appendMeta": false }),
            "(spec.appendMeta: no longer true)",
        ),
        (json!({ "appendMeta": null }), "(spec.appendMeta: no longer true)"),
    ]
    .map(|(store, message)| ("auditlogstores", "strong", spec(store), message))
    .into()
}

#[test]
fn every_field_of_a_store_that_weakens_needs_the_verb() {
    Scene::shared().assert_all_weaken(&weaker_stores());
}

fn weaker_projects() -> Vec<Case> {
    let secret = |secret: Value| spec(json!({ "credentials": secret }));
    let account = |account: &str| spec(json!({ "accountID": account }));
    let other = secret(json!({ "secretRef": { "name": "plain" } }));
    let project = "auditprojects";
    vec![
        (project, "strong", other.clone(), "(spec.credentials changed)"),
        (
            project,
            "strong",
            secret(Value::Null),
            "(spec.credentials changed)",
        ),
        // Its create call was about to be sent: something may be there.
        (project, "begun", other, "(spec.credentials changed)"),
        // It could never be taken back, and ends all work.
        (
            project,
            "strong",
            account("9999999999"),
            "(spec.accountID: not the account of status.accountID)",
        ),
        (
            project,
            "begun",
            account(ACCOUNT),
            "(spec.accountID: not the account of status.accountID)",
        ),
    ]
}

fn weaker_objects() -> Vec<Case> {
    let owner = json!({ "metadata": { "ownerReferences": [
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "bait", "uid": "00000000-0000-0000-0000-000000000001" }] } });
    let mut cases: Vec<Case> = Vec::new();
    for resource in KINDS {
        cases.extend([
            (
                resource,
                "strong",
                spec(json!({ "managementPolicy": "Observe" })),
                "(spec.managementPolicy: Observe)",
            ),
            (
                resource,
                "strong",
                spec(json!({ "deletionPolicy": "Delete" })),
                "(spec.deletionPolicy: Delete)",
            ),
            // What somebody deletes and makes again would not be put right.
            (
                resource,
                "strong",
                spec(json!({ "adoptionPolicy": "Never" })),
                "(spec.adoptionPolicy: Never)",
            ),
            (
                resource,
                "strong",
                annotated("ramtrail.io/paused", "true"),
                "(annotation ramtrail.io/paused)",
            ),
            (
                resource,
                "strong",
                annotated("ramtrail.io/abandon", "true"),
                "(annotation ramtrail.io/abandon)",
            ),
            (
                resource,
                "strong",
                json!({ "metadata": { "finalizers": [] } }),
                "(finalizer ramtrail.io/finalizer removed)",
            ),
            (
                resource,
                "strong",
                owner.clone(),
                "(metadata.ownerReferences added",
            ),
        ]);
    }
    cases
}

#[test]
fn credentials_accounts_policies_annotations_finalizers_and_owners_need_the_verb() {
    let scene = Scene::shared();
    scene.assert_all_weaken(&weaker_projects());
    scene.assert_all_weaken(&weaker_objects());
}

#[test]
fn a_status_is_written_by_the_operator_or_by_a_holder_of_the_verb() {
    let scene = Scene::shared();
    let ready = json!([{ "type": "Ready", "status": "True", "reason": "Available", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    for resource in KINDS {
        for status in [
            json!({ "claim": null }),
            json!({ "accountID": "9999999999" }),
            json!({ "conditions": ready }),
        ] {
            let names = "(status written by another than the operator)";
            scene.assert_weakens(&status.to_string(), resource, "strong", names, |user| {
                scene.patch_status(user, resource, &status)
            });
        }
        // Nothing is written, and administrators hold every verb.
        let same = json!({ "accountID": ACCOUNT });
        scene.patch_status(EDITOR, resource, &same).unwrap();
        let patch = [
            "patch",
            resource,
            "strong",
            "--subresource=status",
            "--type=merge",
            "--dry-run=server",
            "-p",
        ];
        let cleared = r#"{"status":{"claim":null}}"#;
        let all = ["-n", scene.namespace.as_str()]
            .into_iter()
            .chain(patch)
            .chain([cleared]);
        scene.kubectl.run(all).unwrap();
    }
}

#[test]
fn deleting_what_is_enforced_or_would_be_deleted_in_the_cloud_needs_the_verb() {
    let scene = Scene::shared();
    for resource in KINDS {
        let weak = if resource == "ramtrails" {
            "weak-trail"
        } else {
            "weak"
        };
        // Observe alone would be free, but these have deletionPolicy Delete.
        let begun = (resource == "auditprojects").then_some("begun");
        for name in ["strong", weak].into_iter().chain(begun) {
            let kind = format!("{resource}.ramtrail.io");
            scene.assert_weakens("deletion", resource, name, "(deletion)", |user| {
                scene.ask(user, &["delete", &kind, name, "--wait=false"])
            });
        }
    }
    // A whole collection is asked about one by one.
    let path = format!(
        "/apis/ramtrail.io/v1alpha1/namespaces/{}/ramtrails?dryRun=All",
        scene.namespace
    );
    let refusal = scene
        .kubectl
        .run([&format!("--as={EDITOR}"), "delete", "--raw", &path])
        .unwrap_err();
    assert!(
        refusal.to_string().contains("weakens the audit (deletion)"),
        "{refusal}"
    );
    // What holds nothing in the cloud protects nothing yet.
    for (kind, name) in [("auditprojects", "fresh"), ("ramtrails", "default")] {
        scene
            .ask(
                EDITOR,
                &["delete", &format!("{kind}.ramtrail.io"), name, "--wait=false"],
            )
            .unwrap();
    }
}

#[test]
fn secrets_with_credentials_need_the_verb_and_others_do_not() {
    let scene = Scene::shared();
    let data = json!({ "data": { "ALIBABA_CLOUD_ACCESS_KEY_ID": "b3RoZXI=" } });
    let unlabelled = json!({ "metadata": { "labels": { "ramtrail.io/credentials": null } } });
    let switched = json!({ "metadata": { "labels": { "ramtrail.io/credentials": "false" } } });
    let sealed = json!({ "immutable": true });
    for (patch, names) in [
        (&data, "(keys changed)"),
        (&unlabelled, "(label removed)"),
        (&switched, "(label removed)"),
        (&sealed, "(immutable: the keys could never be changed again)"),
    ] {
        let what = patch.to_string();
        scene.assert_weakens(&what, "secrets", "keys", names, |user| {
            scene.patch(user, "secrets", "keys", patch)
        });
    }
    scene.assert_weakens("deletion", "secrets", "keys", "(deletion)", |user| {
        scene.ask(user, &["delete", "secret", "keys"])
    });
    let labelled = json!({ "metadata": { "labels": { "ramtrail.io/credentials": "true" } } });
    scene.assert_passes(
        EDITOR,
        &[
            ("secrets", "keys", annotated("team", "audit")),
            ("secrets", "plain", sealed.clone()),
            ("secrets", "plain", data),
            ("secrets", "plain", labelled),
        ],
    );
    scene.ask(EDITOR, &["delete", "secret", "plain"]).unwrap();
}

#[test]
fn what_strengthens_or_changes_nothing_needs_no_verb() {
    let scene = Scene::shared();
    let mut cases = vec![
        (
            "ramtrails",
            "weak-trail",
            spec(json!({ "logging": "Enabled", "events": "All" })),
        ),
        (
            "ramtrails",
            "weak-trail",
            spec(json!({ "store": { "retentionDays": 31 } })),
        ),
        (
            "ramtrails",
            "weak-trail",
            spec(json!({ "delivery": { "maxLagSeconds": 900 } })),
        ),
        ("ramtrails", "weak-trail", spec(json!({ "delivery": null }))),
        (
            "ramtrails",
            "weak-trail",
            spec(json!({ "copyTo": { "services": ["Sts", "rAM"] } })),
        ),
        (
            "ramtrails",
            "weak-trail",
            spec(json!({ "copyTo": { "services": null } })),
        ),
        (
            "ramtrails",
            "default",
            spec(json!({ "store": { "retentionDays": 3650 } })),
        ),
        // Nothing is held, and so nothing can be deleted and made again.
        ("ramtrails", "default", spec(json!({ "adoptionPolicy": "Never" }))),
        (
            "auditprojects",
            "fresh",
            spec(json!({ "adoptionPolicy": "Never", "accountID": "9999999999" })),
        ),
        ("ramtrails", "strong", spec(json!({ "adoptionPolicy": "Always" }))),
        (
            "ramtrails",
            "prompt-trail",
            spec(json!({ "delivery": { "maxLagSeconds": 60 } })),
        ),
        ("auditlogstores", "strong", spec(json!({ "retentionDays": 366 }))),
        ("auditlogstores", "weak", spec(json!({ "appendMeta": true }))),
        // The account in which it is.
        ("auditprojects", "strong", spec(json!({ "accountID": ACCOUNT }))),
        // Nothing can be lost with credentials that never reached anything.
        ("auditprojects", "fresh", spec(json!({ "credentials": null }))),
        ("ramtrails", "strong", annotated("ramtrail.io/paused", "false")),
        (
            "ramtrails",
            "strong",
            annotated("ramtrail.io/reconcile-requested-at", "now"),
        ),
        (
            "ramtrails",
            "strong",
            json!({ "metadata": { "labels": { "a": "b" } } }),
        ),
    ];
    for (resource, name) in [
        ("auditprojects", "weak"),
        ("auditlogstores", "weak"),
        ("ramtrails", "weak-trail"),
    ] {
        cases.push((
            resource,
            name,
            spec(json!({ "managementPolicy": "Enforce", "deletionPolicy": "Retain", "adoptionPolicy": "IfUnowned" })),
        ));
        let annotations = json!({ "ramtrail.io/paused": null, "ramtrail.io/abandon": null });
        cases.push((
            resource,
            name,
            json!({ "metadata": { "annotations": annotations } }),
        ));
    }
    scene.assert_passes(EDITOR, &cases);
    scene.assert_passes(EDITOR, &harmless());
    // An object that was weak already may be changed otherwise.
    scene.assert_passes(
        EDITOR,
        &[(
            "ramtrails",
            "weak-trail",
            json!({ "metadata": { "labels": { "a": "b" } } }),
        )],
    );
}

#[test]
fn the_verb_can_be_given_for_one_object() {
    let scene = Scene::shared();
    let stop = json!({ "spec": { "logging": "Stopped" } });
    scene.patch(BREAKER_OF_ONE, "ramtrails", "strong", &stop).unwrap();
    scene
        .patch(BREAKER_OF_ONE, "ramtrails", "default", &stop)
        .unwrap_err();
    let lower = json!({ "spec": { "retentionDays": 1 } });
    scene
        .patch(BREAKER_OF_ONE, "auditlogstores", "strong", &lower)
        .unwrap_err();
}

#[test]
fn the_operator_passes_with_its_finalizer_and_may_weaken_nothing() {
    let scene = Scene::shared();
    for resource in KINDS {
        let patch = |patch: &Value| scene.patch(OPERATOR, resource, "strong", patch);
        patch(&json!({ "metadata": { "finalizers": [] } })).unwrap();
        patch(&json!({ "metadata": { "finalizers": ["ramtrail.io/finalizer"] } })).unwrap();
        // Its right to patch is for the finalizer; a stolen token of it weakens nothing by that.
        let refusal = patch(&json!({ "spec": { "managementPolicy": "Observe" } })).unwrap_err();
        assert!(refusal.contains("needs the verb weaken"), "{refusal}");
    }
    let may = |user: &str| {
        let (user, namespace) = (format!("--as={user}"), scene.namespace.as_str());
        let question = [
            "auth",
            "can-i",
            "weaken",
            "ramtrails.ramtrail.io",
            "-n",
            namespace,
        ];
        scene.kubectl.run(question.iter().copied().chain([user.as_str()]))
    };
    assert_eq!(may(BREAKER).unwrap().trim(), "yes");
    may(OPERATOR).expect_err("the operator holds the verb");
}

#[test]
fn only_the_controllers_that_tidy_up_delete_without_the_verb() {
    let scene = Scene::shared();
    let delete = |user: &str| {
        scene.ask(
            user,
            &["delete", "ramtrails.ramtrail.io", "strong", "--wait=false"],
        )
    };
    for controller in ["namespace-controller", "generic-garbage-collector"] {
        delete(&format!("system:serviceaccount:kube-system:{controller}")).unwrap();
    }
    // Another one with as many rights, and the exempt ones with anything but a deletion.
    let resourceful = "system:serviceaccount:kube-system:ttl-after-finished-controller";
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "controllers", "namespace": scene.namespace },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "editor" },
        "subjects": [
            { "kind": "ServiceAccount", "namespace": "kube-system", "name": "ttl-after-finished-controller" },
            { "kind": "ServiceAccount", "namespace": "kube-system", "name": "namespace-controller" },
        ],
    });
    scene.apply(&[role]);
    let refusal = delete(resourceful).unwrap_err();
    assert!(refusal.contains("weakens the audit (deletion)"), "{refusal}");
    let stop = json!({ "spec": { "logging": "Stopped" } });
    let refusal = scene
        .patch(
            "system:serviceaccount:kube-system:namespace-controller",
            "ramtrails",
            "strong",
            &stop,
        )
        .unwrap_err();
    assert!(refusal.contains("weakens the audit"), "{refusal}");
}

/// Descriptions and the user's tags.
fn harmless() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("auditprojects", "strong", spec(json!({ "description": "x" }))),
        ("auditprojects", "strong", spec(json!({ "tags": { "a": "b" } }))),
    ]
}

/// What the definitions allow nobody to change.
fn fixed() -> Vec<Case> {
    let other = json!({ "name": "other" });
    let reference = spec(json!({ "projectRef": other }));
    let words = "cannot be changed";
    vec![
        (
            "auditprojects",
            "strong",
            spec(json!({ "region": "cn-beijing" })),
            words,
        ),
        (
            "auditprojects",
            "strong",
            spec(json!({ "projectName": "another-name" })),
            words,
        ),
        (
            "auditprojects",
            "pinned",
            spec(json!({ "accountID": "9999999999" })),
            words,
        ),
        (
            "auditprojects",
            "pinned",
            spec(json!({ "accountID": null })),
            words,
        ),
        ("auditlogstores", "strong", reference.clone(), words),
        (
            "auditlogstores",
            "strong",
            spec(json!({ "logStoreName": "another-name" })),
            words,
        ),
        (
            "auditlogstores",
            "strong",
            spec(json!({ "shards": { "count": 1 } })),
            words,
        ),
        ("ramtrails", "strong", reference, words),
        (
            "ramtrails",
            "strong",
            spec(json!({ "trailName": "another-name" })),
            words,
        ),
        (
            "ramtrails",
            "strong",
            spec(json!({ "copyTo": { "logStoreRef": other } })),
            words,
        ),
    ]
}

#[test]
fn what_is_fixed_is_refused_to_administrators_too() {
    let scene = Scene::shared();
    for (resource, name, patch, words) in fixed() {
        let patch = patch.to_string();
        let ask = [
            "patch",
            resource,
            name,
            "--type=merge",
            "--dry-run=server",
            "-p",
            &patch,
        ];
        let refusal = scene
            .kubectl
            .run(["-n", &scene.namespace].into_iter().chain(ask))
            .expect_err(&patch)
            .to_string();
        assert!(
            refusal.contains(words) && by_definition(&refusal),
            "{patch}: {refusal}"
        );
    }
}

/// Paths of the fields of a spec that hold no further fields; with `all` of those that do as well.
fn paths(schema: &Value, path: &str, all: bool, found: &mut Vec<String>) {
    let properties = schema["properties"].as_object();
    if properties.is_none() || (all && path.contains('.')) {
        found.push(path.to_owned());
    }
    for (key, child) in properties.into_iter().flatten() {
        paths(child, &format!("{path}.{key}"), all, found);
    }
}

/// The fields of all specs, each behind the plural of its kind.
fn fields(all: bool) -> Vec<String> {
    let mut found = Vec::new();
    for crd in ramtrail::api::all_crds() {
        let plural = crd.spec.names.plural.clone();
        let crd = serde_json::to_value(crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        paths(schema, &plural, all, &mut found);
    }
    found
}

/// The one field that a patch of a spec changes; nothing if it changes several, or none.
fn changed_field(resource: &str, patch: &Value) -> Option<String> {
    let mut field = resource.to_owned();
    let mut value = &patch["spec"];
    while let Some(map) = value.as_object() {
        // The user's own keys.
        if field == "auditprojects.tags" {
            break;
        }
        let (key, below) = map.iter().next().filter(|_| map.len() == 1)?;
        field = format!("{field}.{key}");
        value = below;
    }
    Some(field)
}

#[test]
fn every_field_of_a_spec_is_guarded_or_fixed_or_known_to_weaken_nothing() {
    // By the cases that the tests above run, not by a list beside them.
    let guarded = [
        weaker_trails(),
        weaker_stores(),
        weaker_projects(),
        weaker_objects(),
        fixed(),
    ]
    .concat();
    let mut known: BTreeSet<String> = guarded
        .iter()
        .filter_map(|(resource, _, patch, _)| changed_field(resource, patch))
        .collect();
    known.extend(
        harmless()
            .iter()
            .filter_map(|(resource, _, patch)| changed_field(resource, patch)),
    );
    let missing: Vec<String> = fields(false)
        .into_iter()
        .filter(|field| !known.contains(field))
        .collect();
    assert!(
        missing.is_empty(),
        "does changing one of these weaken an audit? {missing:?}"
    );
}

#[test]
fn no_field_that_is_absent_makes_the_policy_fail() {
    let scene = Scene::shared();
    let asked = |resource: &str, name: &str, patch: &Value| {
        // What the definitions refuse never reaches the policy; everything else passes with the verb.
        match scene.patch(BREAKER, resource, name, patch) {
            Err(refusal) if !by_definition(&refusal) => panic!("{resource}/{name} {patch}: {refusal}"),
            answer => answer.is_ok(),
        }
    };
    let mut passed = 0;
    for field in fields(true) {
        let (resource, keys) = field.split_once('.').unwrap();
        let patch = keys
            .rsplit('.')
            .fold(Value::Null, |below, key| json!({ key: below }));
        let names: &[&str] = match resource {
            "auditprojects" => &["strong", "weak", "pinned"],
            "auditlogstores" => &["strong", "weak"],
            _ => &["strong", "weak-trail", "prompt-trail"],
        };
        for name in names {
            passed += i32::from(asked(resource, name, &spec(patch.clone())));
        }
    }
    // And from absent to there, each with the least that it can hold.
    for (resource, name, patch) in [
        ("ramtrails", "prompt-trail", json!({ "store": {} })),
        ("ramtrails", "prompt-trail", json!({ "delivery": {} })),
        (
            "ramtrails",
            "prompt-trail",
            json!({ "store": { "retentionDays": 1 } }),
        ),
        (
            "ramtrails",
            "prompt-trail",
            json!({ "copyTo": { "logStoreRef": { "name": "strong" }, "roleARN": "acs:ram::1:role/copy" } }),
        ),
        ("auditprojects", "strong", json!({ "accountID": "9999999999" })),
        ("auditlogstores", "strong", json!({ "appendMeta": false })),
    ] {
        assert!(
            asked(resource, name, &spec(patch.clone())),
            "{resource}/{name} {patch}"
        );
        passed += 1;
    }
    assert!(passed > 30, "{passed}");
}

#[test]
fn the_services_that_are_copied_by_default_are_those_of_the_code() {
    let manifest =
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/install.yaml"))
            .unwrap();
    let (_, rest) = manifest.split_once("- name: defaultServices\n").unwrap();
    let line = rest.lines().next().unwrap().trim();
    let list = line
        .strip_prefix("expression: \"")
        .unwrap()
        .strip_suffix('"')
        .unwrap();
    let told: BTreeSet<String> = serde_json::from_str(&list.replace('\'', "\"")).unwrap();
    let meant: BTreeSet<String> = CopyTo::DEFAULT_SERVICES
        .iter()
        .map(|service| service.to_lowercase())
        .collect();
    assert_eq!(told, meant);
}

#[test]
fn what_is_older_than_the_schema_can_still_be_freed_and_deleted() {
    let plane = ControlPlane::start(&Options::new()).unwrap();
    let kubectl = plane.kubectl().clone();
    // As if an older version had taken anything.
    for mut crd in ramtrail::api::all_crds()
        .into_iter()
        .map(|crd| serde_json::to_value(crd).unwrap())
    {
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
            json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        kubectl.apply(&crd.to_string()).unwrap();
    }
    let crds = KINDS.map(|kind| format!("{kind}.ramtrail.io"));
    kubectl
        .wait_for_crds(&crds.each_ref().map(String::as_str), api_server::DEADLINE)
        .unwrap();
    let namespace = api_server::namespace(&kubectl, "older");
    let odd = json!({ "retentionDays": "long", "store": "none", "delivery": 5, "copyTo": { "services": "all" }, "credentials": "mine",
        "accountID": 7, "appendMeta": "no" });
    for kind in ["AuditProject", "AuditLogStore", "RamTrail"] {
        for (name, spec) in [
            ("bare-object", Value::Null),
            ("empty-object", json!({})),
            ("odd-object", odd.clone()),
        ] {
            let mut object = json!({
                "apiVersion": "ramtrail.io/v1alpha1", "kind": kind,
                "metadata": { "name": name, "namespace": namespace, "finalizers": ["ramtrail.io/finalizer"] },
            });
            if !spec.is_null() {
                object["spec"] = spec;
            }
            kubectl.apply(&object.to_string()).unwrap();
        }
    }
    api_server::install(&kubectl);
    let (kubectl, _) = give_rights(kubectl);
    let scene = Scene::with_people(kubectl, namespace);
    scene.write_objects();
    scene.wait_for_policy();
    for resource in KINDS {
        for name in ["bare-object", "empty-object", "odd-object"] {
            for patch in [
                json!({ "metadata": { "labels": { "a": "b" } } }),
                json!({ "metadata": { "finalizers": [] } }),
            ] {
                if let Err(refusal) = scene.patch(OPERATOR, resource, name, &patch) {
                    // The definition may object, and then says to what; the policy never does.
                    assert!(by_definition(&refusal), "{resource}/{name} {patch}: {refusal}");
                }
            }
            let kind = format!("{resource}.ramtrail.io");
            scene
                .ask(EDITOR, &["delete", &kind, name, "--wait=false"])
                .unwrap();
        }
    }
}

/// The controllers of namespaces and of owned objects, each with the rights of its own ServiceAccount.
fn controllers_as_themselves(plane: &ControlPlane) -> Supervised {
    let manager = Spec::new(
        "kube-controller-manager",
        assets::ensure(Tool::KubeControllerManager).unwrap(),
        plane.dir(),
    )
    .args([
        format!("--kubeconfig={}", plane.kubeconfig().display()),
        format!(
            "--service-account-private-key-file={}",
            plane.dir().join("certs/apiserver.key").display()
        ),
        "--controllers=namespace-controller,garbage-collector-controller".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        "--namespace-sync-period=5s".to_owned(),
    ]);
    Supervised::start(&manager).unwrap()
}

#[test]
fn namespaces_and_owned_objects_still_go_away_and_weakenings_are_in_the_audit_log() {
    // The shared control plane's controllers act as administrators; here each acts as itself, as in a real cluster.
    let audit = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "rules": [{ "level": "Metadata", "verbs": ["patch"] }, { "level": "None" }],
    });
    let options = Options::new().audit_policy(&audit.to_string());
    let plane = ControlPlane::start(&options).unwrap();
    let kubectl = plane.kubectl().clone();
    api_server::install(&kubectl);
    let (kubectl, _) = give_rights(kubectl);
    let mut manager = controllers_as_themselves(&plane);
    let scene = Scene::set_up(kubectl.clone());
    let namespace = scene.namespace.as_str();
    // Who weakened an audit by right is found in the API server's audit log.
    let stop = json!({ "spec": { "logging": "Stopped" } });
    scene.patch(BREAKER, "ramtrails", "strong", &stop).unwrap();
    let log = std::fs::read_to_string(plane.audit_log()).unwrap();
    let told = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["impersonatedUser"]["username"] == BREAKER && event["verb"] == "patch")
        .filter(|event| event["annotations"]["ramtrail-weaken/weakened"] == "spec.logging: Stopped");
    assert!(told.count() > 0, "{log}");
    // An owned one goes with its owner, though nobody who holds the verb asked for it.
    let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "owner", "namespace": namespace } });
    scene.apply(&[owner]);
    let uid = kubectl
        .json(["-n", namespace, "get", "configmap", "owner"])
        .unwrap()["metadata"]["uid"]
        .clone();
    scene.apply(&[json!({
        "apiVersion": "ramtrail.io/v1alpha1", "kind": "AuditLogStore",
        "metadata": {
            "name": "owned", "namespace": namespace,
            "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid }],
        },
        "spec": { "projectRef": { "name": "strong" }, "retentionDays": 1, "deletionPolicy": "Delete" },
    })]);
    scene
        .ask(
            EDITOR,
            &["delete", "auditlogstores.ramtrail.io", "owned", "--wait=false"],
        )
        .unwrap_err();
    kubectl
        .run(["-n", namespace, "delete", "configmap", "owner"])
        .unwrap();
    let mut gone = |what: &str, args: &[&str]| {
        wait::until(what, api_server::DEADLINE, Duration::from_millis(200), || {
            manager.must_run()?;
            let found = kubectl.run(args.iter().copied().chain(["--ignore-not-found", "-o", "name"]))?;
            Ok(if found.is_empty() {
                Probe::Done(())
            } else {
                Probe::Pending(found)
            })
        })
        .unwrap();
    };
    gone(
        "the owned object is gone",
        &["-n", namespace, "get", "auditlogstores", "owned"],
    );
    // No operator is here to settle finalizers.
    for resource in KINDS {
        let names = kubectl
            .run(["-n", namespace, "get", resource, "-o", "name"])
            .unwrap();
        for name in names.lines() {
            kubectl
                .run([
                    "-n",
                    namespace,
                    "patch",
                    name,
                    "--type=merge",
                    "-p",
                    r#"{"metadata":{"finalizers":[]}}"#,
                ])
                .unwrap();
        }
    }
    kubectl
        .run(["delete", "namespace", namespace, "--wait=false"])
        .unwrap();
    gone("the namespace is gone", &["get", "namespace", namespace]);
}

#[test]
fn the_operator_creates_and_frees_under_the_policy() {
    Scene::shared();
    let mut world = World::new("weaken-operator");
    world.start();
    let spec = json!({
        "region": support::REGION, "projectName": "weaken-operator-project", "deletionPolicy": "Delete",
        "credentials": { "secretRef": { "name": CREDENTIALS } },
    });
    world.apply("AuditProject", "p", &spec);
    world.condition("AuditProject", "p", "Ready", "True", "Available");
    let project: AuditProject = world.get("p");
    assert!(
        project
            .metadata
            .finalizers
            .is_some_and(|f| f.contains(&"ramtrail.io/finalizer".to_owned()))
    );
    world.delete("AuditProject", "p");
    world.gone("AuditProject", "p");
    assert!(!world.logs().contains("weakens the audit"), "{}", world.logs());
}
