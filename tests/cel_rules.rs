//! Every rule and every bound of the kinds on a real API server: what is accepted, what is refused, and in which words.
#![allow(clippy::unwrap_used)]
#![allow(clippy::too_many_lines)] // tables are long

mod api_server;

use std::collections::BTreeMap;

use kube::api::{DynamicObject, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client, CustomResourceExt, ResourceExt};
use serde_json::{Value, json};

use ramtrail::api::v1alpha1::{AuditLogStore, AuditProject, RamTrail};

/// Something a user does.
#[derive(Clone, Debug)]
enum Act {
    /// Creates an object of this name with this spec.
    Create(&'static str, Value),
    /// Replaces the first spec by the second.
    Update(&'static str, Value, Value),
}

/// A rule, by kind and a part of its message, with what it accepts and what it refuses.
struct RuleCases {
    kind: &'static str,
    message: &'static str,
    accepts: Vec<Act>,
    refuses: Vec<Act>,
}

fn project() -> Value {
    json!({ "region": "cn-hangzhou" })
}

fn store() -> Value {
    json!({ "projectRef": { "name": "p" }, "retentionDays": 30 })
}

fn trail() -> Value {
    json!({ "projectRef": { "name": "p" } })
}

/// The second laid over the first; null removes.
fn with(mut base: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else {
        panic!("not an object: {changes}")
    };
    for (key, value) in changes {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(&key);
        } else {
            base[key] = value;
        }
    }
    base
}

fn copy_to(store: &str) -> Value {
    json!({ "copyTo": { "logStoreRef": { "name": store }, "roleARN": "acs:ram::1234567890123456:role/copy" } })
}

fn project_cases() -> Vec<RuleCases> {
    use Act::{Create, Update};
    let kind = "AuditProject";
    let named = |name: &str| with(project(), json!({ "projectName": name }));
    let tagged = |key: &str, value: &str| with(project(), json!({ "tags": { key: value } }));
    let account = |id: &str| with(project(), json!({ "accountID": id }));
    let region = |region: &str| json!({ "region": region });
    vec![
        RuleCases {
            kind,
            message: "spec.projectName cannot be changed",
            accepts: vec![
                Update("rule-name", project(), named("rule-name")),
                Update("rule-name", named("rule-name"), project()),
                Update("rule-name", named("other"), named("other")),
            ],
            refuses: vec![
                Update("rule-name", project(), named("other")),
                Update("rule-name", named("other"), project()),
                Update("rule-name", named("other"), named("another")),
            ],
        },
        RuleCases {
            kind,
            message: "must be 3 to 63 characters",
            accepts: vec![
                Create("abc", project()),
                Create("1-project-9", project()),
                Create("dots.are.no.names", named("dots")),
                Create("x", named(&"a".repeat(63))),
            ],
            refuses: vec![
                Create("ab", project()),
                Create("with.dots", project()),
                Create("good", named("Upper")),
                Create("good", named("under_score")),
                Create("good", named("-leading")),
                Create("good", named("trailing-")),
                Create("good", named("line\nfeed")),
                Create("good", named("trailing-newline\n")),
            ],
        },
        RuleCases {
            kind,
            message: "'logtail' is reserved",
            accepts: vec![Create("logtail", named("mine")), Create("logtail-2", project())],
            refuses: vec![Create("logtail", project()), Create("good", named("logtail"))],
        },
        RuleCases {
            kind,
            message: "spec.accountID may be added once",
            accepts: vec![
                Update("pinned", project(), account("1234567890")),
                Update("pinned", account("1234567890"), account("1234567890")),
            ],
            refuses: vec![
                Update("pinned", account("1234567890"), account("1234567891")),
                Update("pinned", account("1234567890"), project()),
            ],
        },
        RuleCases {
            kind,
            message: "spec.region cannot be changed",
            accepts: vec![Update(
                "moved",
                region("cn-hangzhou"),
                with(project(), json!({ "description": "d" })),
            )],
            refuses: vec![Update("moved", region("cn-hangzhou"), region("cn-beijing"))],
        },
        RuleCases {
            kind,
            message: "spec.region is a region's id",
            accepts: vec![
                Create("placed", region("cn-shanghai-finance-1")),
                Create("placed", region("ap-southeast-1")),
            ],
            refuses: [
                "cn-hangzhou-intranet",
                "cn-hangzhou-share",
                "cn-hangzhou-vpc",
                "cn-hangzhou-internal",
            ]
            .map(|name| Create("placed", region(name)))
            .to_vec(),
        },
        RuleCases {
            kind,
            message: "spec.tags: keys must have 1 to 128 characters",
            accepts: vec![
                Create("tagged", tagged(&"k".repeat(128), "v")),
                Create("tagged", tagged("k", "v")),
                Create("tagged", tagged("team/acs:", "v")),
            ],
            refuses: vec![
                Create("tagged", tagged(&"k".repeat(129), "v")),
                Create("tagged", tagged("", "v")),
                Create("tagged", tagged("acs:x", "v")),
                Create("tagged", tagged("aliyun-x", "v")),
                Create("tagged", tagged("see http://x", "v")),
                Create("tagged", tagged("see https://x", "v")),
            ],
        },
        RuleCases {
            kind,
            message: "kept for ramtrail's own marks",
            accepts: vec![Create("tagged", tagged("ramtrail", "v"))],
            refuses: vec![Create("tagged", tagged("ramtrail-owner", "v"))],
        },
        RuleCases {
            kind,
            message: "values may not contain 'http://'",
            accepts: vec![Create("tagged", tagged("k", "example.com/http"))],
            refuses: vec![
                Create("tagged", tagged("k", "http://example.com")),
                Create("tagged", tagged("k", "at https://example.com")),
            ],
        },
    ]
}

fn log_store_cases() -> Vec<RuleCases> {
    use Act::{Create, Update};
    let kind = "AuditLogStore";
    let named = |name: &str| with(store(), json!({ "logStoreName": name }));
    let shards = |count: i32| with(store(), json!({ "shards": { "count": count } }));
    vec![
        RuleCases {
            kind,
            message: "spec.logStoreName cannot be changed",
            accepts: vec![
                Update("rule-name", store(), named("rule-name")),
                Update("rule-name", named("other_name"), named("other_name")),
            ],
            refuses: vec![
                Update("rule-name", store(), named("other_name")),
                Update("rule-name", named("other_name"), store()),
                Update("rule-name", named("other_name"), named("another")),
            ],
        },
        RuleCases {
            kind,
            message: "must be 2 to 63 characters",
            accepts: vec![
                Create("ab", store()),
                Create("with.dots", named("with_underscores")),
                Create("good", named(&"a".repeat(63))),
            ],
            refuses: vec![
                Create("a", store()),
                Create("with.dots", store()),
                Create("good", named("_leading")),
                Create("good", named("trailing_")),
                Create("good", named("Upper")),
            ],
        },
        RuleCases {
            kind,
            message: "spec.logStoreName may not start with",
            accepts: vec![
                Create("good", named("my_actiontrail_x")),
                Create("actiontrail-x", store()),
            ],
            refuses: ["actiontrail_x", "innertrail_x", "insights_x"]
                .map(|name| Create("good", named(name)))
                .to_vec(),
        },
        RuleCases {
            kind,
            message: "spec.projectRef cannot be changed",
            accepts: vec![Update(
                "kept",
                store(),
                with(store(), json!({ "retentionDays": 60 })),
            )],
            refuses: vec![Update(
                "kept",
                store(),
                with(store(), json!({ "projectRef": { "name": "q" } })),
            )],
        },
        RuleCases {
            kind,
            message: "spec.shards.count cannot be changed",
            accepts: vec![
                Update(
                    "sharded",
                    shards(2),
                    with(shards(2), json!({ "retentionDays": 60 })),
                ),
                Update("sharded", store(), with(store(), json!({ "retentionDays": 60 }))),
            ],
            refuses: vec![
                Update("sharded", shards(2), shards(3)),
                Update("sharded", shards(2), store()),
                Update("sharded", store(), shards(2)),
            ],
        },
    ]
}

fn trail_cases() -> Vec<RuleCases> {
    use Act::{Create, Update};
    let kind = "RamTrail";
    let named = |name: &str| with(trail(), json!({ "trailName": name }));
    let copying = |store: &str| with(trail(), copy_to(store));
    vec![
        RuleCases {
            kind,
            message: "spec.trailName cannot be changed",
            accepts: vec![
                Update("rule-name", trail(), named("rule-name")),
                Update("rule-name", named("other-name"), named("other-name")),
            ],
            refuses: vec![
                Update("rule-name", trail(), named("other-name")),
                Update("rule-name", named("other-name"), trail()),
                Update("rule-name", named("other-name"), named("another")),
            ],
        },
        RuleCases {
            kind,
            message: "must be 6 to 36 characters",
            accepts: vec![
                Create("sixsix", trail()),
                Create("s", named("a_trail-9")),
                Create("good-name", named(&"a".repeat(36))),
            ],
            refuses: vec![
                Create("short", trail()),
                Create("9starts-with-a-digit", trail()),
                Create("this-name-has-more-than-36-characters", trail()),
                Create("with.dots", trail()),
                Create("good-name", named("Uppercase")),
                Create("good-name", named("-leading")),
            ],
        },
        RuleCases {
            kind,
            message: "spec.projectRef cannot be changed",
            accepts: vec![Update(
                "kept-trail",
                trail(),
                with(trail(), json!({ "events": "Write" })),
            )],
            refuses: vec![Update(
                "kept-trail",
                trail(),
                with(trail(), json!({ "projectRef": { "name": "q" } })),
            )],
        },
        RuleCases {
            kind,
            message: "spec.copyTo.logStoreRef cannot be changed",
            accepts: vec![
                Update("copied", trail(), copying("a")),
                Update("copied", copying("a"), trail()),
                Update(
                    "copied",
                    copying("a"),
                    with(copying("a"), json!({ "events": "Read" })),
                ),
            ],
            refuses: vec![Update("copied", copying("a"), copying("b"))],
        },
    ]
}

fn all_cases() -> Vec<RuleCases> {
    [project_cases(), log_store_cases(), trail_cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// A rule as the CustomResourceDefinition has it.
#[derive(Debug)]
struct DeclaredRule {
    kind: String,
    message: String,
    /// Path of the field that the refusal names.
    field: String,
    forbidden: bool,
}

fn declared_rules() -> Vec<DeclaredRule> {
    fn walk(kind: &str, path: &str, schema: &Value, found: &mut Vec<DeclaredRule>) {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let message = rule["message"].as_str().unwrap_or_default().to_owned();
            assert!(
                !message.is_empty(),
                "{kind}{path}: a rule without a message: {rule}"
            );
            let below = rule["fieldPath"].as_str().unwrap_or_default();
            let field = format!("{path}{below}").trim_start_matches('.').to_owned();
            let forbidden = rule["reason"] == "FieldValueForbidden";
            found.push(DeclaredRule {
                kind: kind.to_owned(),
                message,
                field,
                forbidden,
            });
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(kind, &format!("{path}.{name}"), property, found);
        }
        for (key, mark) in [("items", "[*]"), ("additionalProperties", "[*]")] {
            if schema[key].is_object() {
                walk(kind, &format!("{path}{mark}"), &schema[key], found);
            }
        }
    }
    let mut found = Vec::new();
    for crd in ramtrail::api::all_crds() {
        for version in &crd.spec.versions {
            let schema = version
                .schema
                .as_ref()
                .unwrap()
                .open_api_v3_schema
                .as_ref()
                .unwrap();
            walk(
                &crd.spec.names.kind,
                "",
                &serde_json::to_value(schema).unwrap(),
                &mut found,
            );
        }
    }
    found
}

/// The API server's answer to acts, without keeping anything.
struct Server {
    client: Client,
    namespace: String,
    counter: u32,
}

impl Server {
    async fn start(purpose: &str) -> Self {
        let kubectl = api_server::kubectl();
        let namespace = api_server::namespace(&kubectl, purpose);
        Self {
            client: api_server::client(kubectl.kubeconfig()).await,
            namespace,
            counter: 0,
        }
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    async fn answer(&mut self, kind: &str, act: &Act) -> Result<DynamicObject, kube::Error> {
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let object = |name: &str, spec: &Value| {
            DynamicObject::new(name, &resource(kind)).data(json!({ "spec": spec }))
        };
        match act {
            Act::Create(name, spec) => self.api(kind).create(&dry_run, &object(name, spec)).await,
            Act::Update(name, old, new) => {
                // Objects of one name in namespaces of their own: rules see the name.
                self.counter += 1;
                let api = self.api(kind);
                let kept = api.create(&PostParams::default(), &object(name, old)).await?;
                let mut changed = object(name, new);
                changed.metadata.resource_version = kept.resource_version();
                let answer = api.replace(name, &dry_run, &changed).await;
                api.delete(name, &kube::api::DeleteParams::default())
                    .await
                    .unwrap();
                answer
            }
        }
    }
}

fn resource(kind: &str) -> ApiResource {
    match kind {
        "AuditProject" => AuditProject::api_resource(),
        "AuditLogStore" => AuditLogStore::api_resource(),
        "RamTrail" => RamTrail::api_resource(),
        other => panic!("unknown kind {other}"),
    }
}

fn refusal(answer: Result<DynamicObject, kube::Error>, act: &Act) -> String {
    match answer {
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.code, 422, "{act:?} was refused with {status:?}");
            status.message
        }
        Err(error) => panic!("{act:?}: {error}"),
        Ok(_) => panic!("{act:?} was accepted"),
    }
}

#[test]
fn every_rule_has_accepting_and_refusing_cases() {
    let rules = declared_rules();
    assert!(rules.len() >= 18, "rules are not found: {rules:#?}");
    let mut cases: BTreeMap<(String, String), usize> = BTreeMap::new();
    for case in all_cases() {
        let matching: Vec<_> = rules
            .iter()
            .filter(|r| r.kind == case.kind && r.message.contains(case.message))
            .collect();
        assert_eq!(
            matching.len(),
            1,
            "{}: {:?} names {matching:#?}",
            case.kind,
            case.message
        );
        assert!(
            !case.accepts.is_empty() && !case.refuses.is_empty(),
            "{}",
            case.message
        );
        *cases
            .entry((case.kind.to_owned(), matching[0].message.clone()))
            .or_default() += 1;
    }
    for rule in rules {
        let count = cases.get(&(rule.kind.clone(), rule.message.clone()));
        assert_eq!(
            count,
            Some(&1),
            "{}: no cases for the rule {:?}",
            rule.kind,
            rule.message
        );
    }
}

#[tokio::test]
async fn every_rule_accepts_and_refuses_in_its_own_words() {
    let mut server = Server::start("rules").await;
    let rules = declared_rules();
    for case in all_cases() {
        let rule = rules
            .iter()
            .find(|r| r.kind == case.kind && r.message.contains(case.message))
            .unwrap();
        for act in &case.accepts {
            if let Err(error) = server.answer(case.kind, act).await {
                panic!("{}: {act:?} was refused: {error}", case.kind);
            }
        }
        for act in &case.refuses {
            let said = refusal(server.answer(case.kind, act).await, act);
            assert!(
                said.contains(&rule.message),
                "{}: {act:?} was refused with other words: {said}",
                case.kind
            );
            assert!(
                said.contains(&rule.field),
                "{}: {act:?}: {said} does not name {}",
                case.kind,
                rule.field
            );
            let kind_of_error = if rule.forbidden {
                "Forbidden"
            } else {
                "Invalid value"
            };
            assert!(said.contains(kind_of_error), "{}: {act:?}: {said}", case.kind);
            for other in rules
                .iter()
                .filter(|r| r.kind == rule.kind && r.message != rule.message)
            {
                assert!(
                    !said.contains(&other.message),
                    "{}: {act:?} also breaks {:?}",
                    case.kind,
                    other.message
                );
            }
        }
    }
}

#[tokio::test]
async fn every_bound_refuses_in_words_that_name_the_field_and_the_limit() {
    let mut server = Server::start("bounds").await;
    let long = |n: usize| "a".repeat(n);
    let seventeen: serde_json::Map<String, Value> = (0..17).map(|i| (format!("k{i}"), json!("v"))).collect();
    let services = |list: Value| {
        let mut copy = copy_to("s");
        copy["copyTo"]["services"] = list;
        with(trail(), copy)
    };
    let role = |arn: &str| {
        let mut copy = copy_to("s");
        copy["copyTo"]["roleARN"] = json!(arn);
        with(trail(), copy)
    };
    let project_with = |changes| ("AuditProject", with(project(), changes));
    let store_with = |changes| ("AuditLogStore", with(store(), changes));
    let trail_with = |changes| ("RamTrail", with(trail(), changes));
    let many: Vec<String> = (0..65).map(|i| format!("s{i}")).collect();
    let table: Vec<((&str, Value), &str, &str)> = vec![
        (("AuditProject", json!({})), "spec.region", "Required value"),
        (
            project_with(json!({ "region": "cn" })),
            "spec.region",
            "at least 4 chars",
        ),
        (
            project_with(json!({ "region": format!("cn-{}", long(38)) })),
            "spec.region",
            "than 40",
        ),
        (
            project_with(json!({ "region": "hangzhou" })),
            "spec.region",
            "should match '^[a-z]{2}(-[a-z0-9]+){1,6}$'",
        ),
        (
            project_with(json!({ "region": "cn-x.evil" })),
            "spec.region",
            "should match",
        ),
        (
            project_with(json!({ "projectName": "ab" })),
            "spec.projectName",
            "at least 3 chars",
        ),
        (
            project_with(json!({ "projectName": long(64) })),
            "spec.projectName",
            "than 63",
        ),
        (
            project_with(json!({ "accountID": "1234" })),
            "spec.accountID",
            "at least 5 chars",
        ),
        (
            project_with(json!({ "accountID": "1".repeat(21) })),
            "spec.accountID",
            "than 20",
        ),
        (
            project_with(json!({ "accountID": "12345x" })),
            "spec.accountID",
            "should match '^[0-9]+$'",
        ),
        (
            project_with(json!({ "description": long(513) })),
            "spec.description",
            "than 512",
        ),
        (
            project_with(json!({ "tags": seventeen })),
            "spec.tags",
            "at most 16",
        ),
        (
            project_with(json!({ "tags": { "k": "" } })),
            "spec.tags",
            "at least 1 chars",
        ),
        (
            project_with(json!({ "tags": { "k": long(129) } })),
            "spec.tags",
            "than 128",
        ),
        (
            project_with(json!({ "credentials": {} })),
            "spec.credentials.secretRef",
            "Required value",
        ),
        (
            project_with(json!({ "credentials": { "secretRef": { "name": "" } } })),
            "secretRef.name",
            "at least 1 chars",
        ),
        (
            project_with(json!({ "credentials": { "secretRef": { "name": "My_Secret" } } })),
            "secretRef.name",
            "should match",
        ),
        (
            project_with(json!({ "credentials": { "secretRef": { "name": "../../nodes/a" } } })),
            "secretRef.name",
            "should match",
        ),
        (
            project_with(json!({ "managementPolicy": "Ignore" })),
            "spec.managementPolicy",
            r#""Enforce", "Observe""#,
        ),
        (
            project_with(json!({ "adoptionPolicy": "x" })),
            "spec.adoptionPolicy",
            r#""IfUnowned", "Always", "Never""#,
        ),
        (
            project_with(json!({ "deletionPolicy": "Orphan" })),
            "spec.deletionPolicy",
            r#""Retain", "Delete""#,
        ),
        (
            ("AuditLogStore", json!({ "retentionDays": 30 })),
            "spec.projectRef",
            "Required value",
        ),
        (
            ("AuditLogStore", json!({ "projectRef": { "name": "p" } })),
            "spec.retentionDays",
            "Required value",
        ),
        (
            store_with(json!({ "retentionDays": 0 })),
            "spec.retentionDays",
            "greater than or equal to 1",
        ),
        (
            store_with(json!({ "retentionDays": 3651 })),
            "spec.retentionDays",
            "less than or equal to 3650",
        ),
        (
            store_with(json!({ "retentionDays": "30" })),
            "spec.retentionDays",
            "must be of type integer",
        ),
        (
            store_with(json!({ "appendMeta": "yes" })),
            "spec.appendMeta",
            "must be of type boolean",
        ),
        (
            store_with(json!({ "logStoreName": "a" })),
            "spec.logStoreName",
            "at least 2 chars",
        ),
        (
            store_with(json!({ "logStoreName": long(64) })),
            "spec.logStoreName",
            "than 63",
        ),
        (
            store_with(json!({ "shards": { "count": 0 } })),
            "spec.shards.count",
            "greater than or equal to 1",
        ),
        (
            store_with(json!({ "shards": { "count": 11 } })),
            "spec.shards.count",
            "less than or equal to 10",
        ),
        (
            store_with(json!({ "shards": {} })),
            "spec.shards.count",
            "Required value",
        ),
        (
            store_with(json!({ "projectRef": { "name": long(254) } })),
            "spec.projectRef.name",
            "than 253",
        ),
        (
            store_with(json!({ "projectRef": { "name": "other-namespace/p" } })),
            "spec.projectRef.name",
            "should match",
        ),
        (("RamTrail", json!({})), "spec.projectRef", "Required value"),
        (
            trail_with(json!({ "trailName": "short" })),
            "spec.trailName",
            "at least 6 chars",
        ),
        (
            trail_with(json!({ "trailName": long(37) })),
            "spec.trailName",
            "than 36",
        ),
        (
            trail_with(json!({ "logging": "On" })),
            "spec.logging",
            r#""Enabled", "Stopped""#,
        ),
        (
            trail_with(json!({ "events": "None" })),
            "spec.events",
            r#""All", "Write", "Read""#,
        ),
        (
            trail_with(json!({ "adoptionPolicy": "Sometimes" })),
            "spec.adoptionPolicy",
            r#""IfUnowned", "Always", "Never""#,
        ),
        (
            trail_with(json!({ "store": { "retentionDays": 0 } })),
            "spec.store.retentionDays",
            "greater than or equal to 1",
        ),
        (
            trail_with(json!({ "store": { "retentionDays": 3651 } })),
            "spec.store.retentionDays",
            "less than or equal to 3650",
        ),
        (
            trail_with(json!({ "delivery": { "maxLagSeconds": 59 } })),
            "maxLagSeconds",
            "greater than or equal to 60",
        ),
        (
            trail_with(json!({ "delivery": { "maxLagSeconds": 86401 } })),
            "maxLagSeconds",
            "less than or equal to 86400",
        ),
        (
            trail_with(json!({ "copyTo": {} })),
            "spec.copyTo.logStoreRef",
            "Required value",
        ),
        (
            trail_with(json!({ "copyTo": { "logStoreRef": { "name": "s" } } })),
            "spec.copyTo.roleARN",
            "Required value",
        ),
        (
            ("RamTrail", services(json!(["a b"]))),
            "spec.copyTo.services[0]",
            "should match",
        ),
        (
            ("RamTrail", services(json!([""]))),
            "spec.copyTo.services[0]",
            "at least 1 chars",
        ),
        (
            ("RamTrail", services(json!([long(65)]))),
            "spec.copyTo.services[0]",
            "than 64",
        ),
        (
            ("RamTrail", services(json!(["Ram", "Ram"]))),
            "spec.copyTo.services[1]",
            "Duplicate value",
        ),
        (
            ("RamTrail", services(json!(many))),
            "spec.copyTo.services",
            "at most 64",
        ),
        (
            ("RamTrail", role("arn:x")),
            "spec.copyTo.roleARN",
            "should match '^acs:ram::[0-9]+:role/",
        ),
        (("RamTrail", role("")), "spec.copyTo.roleARN", "at least 1 chars"),
        (
            ("RamTrail", role(&format!("acs:ram::1:role/{}", long(260)))),
            "spec.copyTo.roleARN",
            "than 256",
        ),
    ];
    for ((kind, spec), field, words) in table {
        let act = Act::Create("good-name", spec);
        let said = refusal(server.answer(kind, &act).await, &act);
        assert!(
            said.contains(field) && said.contains(words),
            "{kind} {act:?}: {said} lacks {field:?} or {words:?}"
        );
    }
}

#[tokio::test]
async fn the_server_fills_in_policies_and_nothing_else() {
    let mut server = Server::start("defaults").await;
    let policies =
        json!({ "managementPolicy": "Enforce", "adoptionPolicy": "IfUnowned", "deletionPolicy": "Retain" });
    let expected = [
        ("AuditProject", project(), with(project(), policies.clone())),
        ("AuditLogStore", store(), with(store(), policies.clone())),
        (
            "RamTrail",
            trail(),
            with(
                with(trail(), policies),
                json!({ "logging": "Enabled", "events": "All" }),
            ),
        ),
        ("RamTrail", with(trail(), copy_to("s")), Value::Null),
    ];
    for (kind, given, expected) in expected {
        let act = Act::Create("good-name", given.clone());
        let stored = server.answer(kind, &act).await.unwrap().data["spec"].clone();
        if expected.is_null() {
            assert_eq!(
                stored["copyTo"], given["copyTo"],
                "an optional part gets no defaults"
            );
        } else {
            assert_eq!(stored, expected, "{kind}");
        }
    }
}

#[tokio::test]
async fn a_null_is_a_field_left_out() {
    let mut server = Server::start("nulls").await;
    let spec = json!({ "region": "cn-hangzhou", "projectName": null, "accountID": null, "description": null, "deletionPolicy": null });
    let act = Act::Create("good-name", spec);
    let stored = server.answer("AuditProject", &act).await.unwrap().data["spec"].clone();
    for field in ["projectName", "accountID", "description"] {
        assert!(stored.get(field).is_none(), "{field} in {stored}");
    }
    assert_eq!(stored["deletionPolicy"], "Retain");
}
