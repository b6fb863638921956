//! What a ServiceAccount may do, beside what the API server's audit log saw it do: a verb that is granted and never
//! used, and a call that was refused for want of a right, are both mistakes.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A ServiceAccount.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl Account<'_> {
    fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// An audit policy under which the log holds each call of this account once, and nobody else's.
    pub fn audit_policy(&self) -> String {
        json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
            "omitStages": ["RequestReceived", "ResponseStarted"],
            "rules": [{ "level": "Metadata", "users": [self.user()] }, { "level": "None" }],
        })
        .to_string()
    }
}

/// What came out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Verbs on resources that are granted.
    pub granted: usize,
    /// Calls about resources that the log holds.
    pub calls: usize,
    /// Grants that no call needed: `get auditprojects.ramtrail.io`.
    pub unused: BTreeSet<String>,
    /// Calls that were refused for want of a right.
    pub denied: BTreeSet<String>,
}

/// One verb on one resource, as a role grants it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    verb: String,
    group: String,
    /// With the subresource, if any: `ramtrails/status`.
    resource: String,
    /// Objects by name; none means all.
    names: Vec<String>,
    /// A Role's namespace.
    namespace: Option<String>,
}

impl Grant {
    fn shown(&self) -> String {
        let mut text = verb_on(&self.verb, &self.group, &self.resource);
        if !self.names.is_empty() {
            text = format!("{text} {}", self.names.join(","));
        }
        if let Some(namespace) = &self.namespace {
            text = format!("{text} in {namespace}");
        }
        text
    }

    fn covers(&self, call: &Call<'_>) -> bool {
        self.verb == call.verb
            && self.group == call.group
            && self.resource == call.resource
            && (self.names.is_empty() || self.names.iter().any(|name| name == call.name))
            && self.namespace.as_deref().is_none_or(|own| own == call.namespace)
    }
}

fn verb_on(verb: &str, group: &str, resource: &str) -> String {
    if group.is_empty() {
        return format!("{verb} {resource}");
    }
    let (resource, sub) = resource
        .split_once('/')
        .map_or((resource, None), |(r, s)| (r, Some(s)));
    sub.map_or_else(
        || format!("{verb} {resource}.{group}"),
        |sub| format!("{verb} {resource}.{group}/{sub}"),
    )
}

struct Call<'a> {
    verb: &'a str,
    group: &'a str,
    resource: String,
    name: &'a str,
    namespace: &'a str,
}

/// Compares the grants that objects of a manifest bind to the account with the lines of an audit log.
///
/// # Errors
/// Fails if a line is not JSON or nothing is bound to the account.
pub fn usage(manifest: &[Value], account: Account<'_>, log: &str) -> Result<Usage> {
    let grants = granted(manifest, account)?;
    let mut used = BTreeSet::new();
    let mut usage = Usage {
        granted: grants.len(),
        ..Usage::default()
    };
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).context("a line of the audit log is not JSON")?;
        if event["user"]["username"] != account.user().as_str() {
            continue;
        }
        let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
        // By its authorizer: an admission plugin refuses with the same status, such as in a namespace that goes away.
        let denied = event["annotations"]["authorization.k8s.io/decision"] == "forbid";
        let Some(object) = event.get("objectRef") else {
            if denied {
                usage
                    .denied
                    .insert(format!("{} {}", text(&event["verb"]), text(&event["requestURI"])));
            }
            continue;
        };
        usage.calls += 1;
        let str = |key: &str| object[key].as_str().unwrap_or_default();
        let call = Call {
            verb: event["verb"].as_str().unwrap_or_default(),
            group: str("apiGroup"),
            resource: match str("subresource") {
                "" => str("resource").to_owned(),
                sub => format!("{}/{sub}", str("resource")),
            },
            name: str("name"),
            namespace: str("namespace"),
        };
        if denied {
            usage
                .denied
                .insert(verb_on(call.verb, call.group, &call.resource));
            continue;
        }
        let covering = grants.iter().enumerate().filter(|(_, grant)| grant.covers(&call));
        used.extend(covering.map(|(place, _)| place));
    }
    usage.unused = grants
        .iter()
        .enumerate()
        .filter(|(place, _)| !used.contains(place))
        .map(|(_, grant)| grant.shown())
        .collect();
    Ok(usage)
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn granted(manifest: &[Value], account: Account<'_>) -> Result<Vec<Grant>> {
    let mut grants = BTreeSet::new();
    for binding in manifest {
        let kind = binding["kind"].as_str().unwrap_or_default();
        if !matches!(kind, "ClusterRoleBinding" | "RoleBinding") {
            continue;
        }
        let ours = binding["subjects"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|subject| {
                subject["kind"] == "ServiceAccount"
                    && subject["name"] == account.name
                    && subject["namespace"] == account.namespace
            });
        if !ours {
            continue;
        }
        let namespace = (kind == "RoleBinding").then(|| binding["metadata"]["namespace"].as_str());
        let namespace = namespace.flatten().map(str::to_owned);
        let role = manifest
            .iter()
            .find(|object| {
                object["kind"] == binding["roleRef"]["kind"]
                    && object["metadata"]["name"] == binding["roleRef"]["name"]
            })
            .with_context(|| format!("no role behind the binding {}", binding["metadata"]["name"]))?;
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    for verb in strings(&rule["verbs"]) {
                        grants.insert(Grant {
                            verb: verb.to_owned(),
                            group: group.to_owned(),
                            resource: resource.to_owned(),
                            names: strings(&rule["resourceNames"])
                                .into_iter()
                                .map(str::to_owned)
                                .collect(),
                            namespace: namespace.clone(),
                        });
                    }
                }
            }
        }
    }
    if grants.is_empty() {
        anyhow::bail!("nothing is granted to {}", account.user());
    }
    Ok(grants.into_iter().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const OPERATOR: Account<'static> = Account {
        namespace: "own",
        name: "operator",
    };

    fn manifest() -> Vec<Value> {
        let subjects = json!([{ "kind": "ServiceAccount", "name": "operator", "namespace": "own" }]);
        vec![
            json!({ "kind": "ClusterRole", "metadata": { "name": "all" }, "rules": [
                { "apiGroups": ["g"], "resources": ["things", "things/status"], "verbs": ["get", "patch"] } ] }),
            json!({ "kind": "ClusterRoleBinding", "metadata": { "name": "all" }, "subjects": subjects,
                "roleRef": { "kind": "ClusterRole", "name": "all" } }),
            json!({ "kind": "Role", "metadata": { "name": "own", "namespace": "own" }, "rules": [
                { "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["keys"], "verbs": ["get"] } ] }),
            json!({ "kind": "RoleBinding", "metadata": { "name": "own", "namespace": "own" }, "subjects": subjects,
                "roleRef": { "kind": "Role", "name": "own" } }),
            // Another's.
            json!({ "kind": "ClusterRole", "metadata": { "name": "other" }, "rules": [
                { "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] } ] }),
        ]
    }

    fn event(verb: &str, object: &Value, decision: &str) -> String {
        json!({
            "verb": verb, "user": { "username": "system:serviceaccount:own:operator" }, "objectRef": object,
            "annotations": { "authorization.k8s.io/decision": decision },
        })
        .to_string()
    }

    #[test]
    fn what_no_call_needed_is_told() {
        let log = [
            event("get", &json!({ "apiGroup": "g", "resource": "things" }), "allow"),
            event(
                "patch",
                &json!({ "apiGroup": "g", "resource": "things", "subresource": "status" }),
                "allow",
            ),
            // Another object, and the same name elsewhere.
            event(
                "get",
                &json!({ "resource": "secrets", "name": "others", "namespace": "own" }),
                "allow",
            ),
            event(
                "get",
                &json!({ "resource": "secrets", "name": "keys", "namespace": "elsewhere" }),
                "allow",
            ),
        ];
        let found = usage(&manifest(), OPERATOR, &log.join("\n")).unwrap();
        let expected = ["get secrets keys in own", "get things.g/status", "patch things.g"];
        assert_eq!(found.unused, expected.map(str::to_owned).into());
        assert_eq!((found.granted, found.calls), (5, 4));
        assert!(found.denied.is_empty());
    }

    #[test]
    fn what_was_refused_for_want_of_a_right_is_told() {
        let log = event("list", &json!({ "resource": "secrets" }), "forbid");
        let found = usage(&manifest(), OPERATOR, &log).unwrap();
        assert_eq!(found.denied, ["list secrets".to_owned()].into());
    }

    #[test]
    fn an_account_without_grants_is_an_error() {
        let nobody = Account {
            namespace: "own",
            name: "nobody",
        };
        usage(&manifest(), nobody, "").unwrap_err();
    }
}
