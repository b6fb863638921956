//! What a ServiceAccount may do, beside what the API server's audit log saw it do: a verb that is granted and never
//! used, and a call that was refused for want of a right, are both mistakes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// Name of an object that a test lets an operator ask for just because no role allows it: refusals of this name are no mistake.
pub const REFUSED_ON_PURPOSE: &str = "not-allowed";

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Verbs on resources that are granted.
    pub granted: usize,
    /// Calls about resources that the log holds.
    pub calls: usize,
    /// Grants that no call needed: `get auditprojects.ramtrail.io`.
    pub unused: BTreeSet<String>,
    /// Calls that were refused for want of a right, and an object that one of each kind was about:
    /// `patch auditprojects.ramtrail.io (team-a/project)`.
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
    let mut judge = Judge::new(manifest, account)?;
    judge.hear(log.as_bytes())?;
    Ok(judge.usage())
}

/// Reads an audit log while it grows: each line once, so that a look after each of many parts costs no more than one in the end.
#[derive(Debug)]
pub struct Watch {
    log: PathBuf,
    /// How many bytes of the log were heard.
    heard: u64,
    judge: Judge,
}

impl Watch {
    /// Watches a log, which need not exist yet, for an account with what a manifest binds to it.
    ///
    /// # Errors
    /// Fails if nothing is bound to the account.
    pub fn new(log: &Path, manifest: &[Value], account: Account<'_>) -> Result<Self> {
        Ok(Self {
            log: log.to_owned(),
            heard: 0,
            judge: Judge::new(manifest, account)?,
        })
    }

    /// Reads what came since the last look. Unused is what no call so far needed; calls and refusals are those since the last look.
    ///
    /// # Errors
    /// Fails if the log cannot be read or a line is not JSON.
    pub fn look(&mut self) -> Result<Usage> {
        let failed = || format!("cannot read {}", self.log.display());
        self.judge.calls = 0;
        self.judge.denied.clear();
        let mut log = match File::open(&self.log) {
            // The API server makes it for the first call that is worth a line.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(self.judge.usage()),
            opened => opened.with_context(failed)?,
        };
        log.seek(SeekFrom::Start(self.heard)).with_context(failed)?;
        let mut log = BufReader::new(log);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = log.read_until(b'\n', &mut line).with_context(failed)?;
            // What has no end yet is heard the next time.
            if line.last() != Some(&b'\n') {
                return Ok(self.judge.usage());
            }
            self.judge.hear(&line)?;
            self.heard += read as u64;
        }
    }
}

/// What is granted, and which of it the lines so far needed.
#[derive(Debug)]
struct Judge {
    user: String,
    grants: Vec<Grant>,
    used: BTreeSet<usize>,
    calls: usize,
    /// What was refused, and one object that it was about.
    denied: BTreeMap<String, String>,
}

impl Judge {
    fn new(manifest: &[Value], account: Account<'_>) -> Result<Self> {
        Ok(Self {
            user: account.user(),
            grants: granted(manifest, account)?,
            used: BTreeSet::new(),
            calls: 0,
            denied: BTreeMap::new(),
        })
    }

    fn hear(&mut self, lines: &[u8]) -> Result<()> {
        let lines = lines.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            let event: Event<'_> =
                serde_json::from_slice(line).context("a line of the audit log is not JSON")?;
            if event.user.username == self.user {
                self.judge(&event);
            }
        }
        Ok(())
    }

    fn judge(&mut self, event: &Event<'_>) {
        // By its authorizer: an admission plugin refuses with the same status, such as in a namespace that goes away.
        let denied = event.annotations.decision == "forbid";
        let Some(object) = &event.object_ref else {
            if denied {
                let what = format!("{} {}", event.verb, event.request_uri);
                self.denied.entry(what).or_default();
            }
            return;
        };
        self.calls += 1;
        let call = Call {
            verb: &event.verb,
            group: &object.api_group,
            resource: if object.subresource.is_empty() {
                object.resource.to_string()
            } else {
                format!("{}/{}", object.resource, object.subresource)
            },
            name: &object.name,
            namespace: &object.namespace,
        };
        if denied && call.name == REFUSED_ON_PURPOSE {
            return;
        }
        if denied {
            let what = verb_on(call.verb, call.group, &call.resource);
            let about = [call.namespace, call.name]
                .into_iter()
                .filter(|part| !part.is_empty());
            let about = about.collect::<Vec<_>>().join("/");
            self.denied.entry(what).or_insert(about);
            return;
        }
        let covering = self.grants.iter().enumerate();
        let covering = covering.filter(|(_, grant)| grant.covers(&call));
        self.used.extend(covering.map(|(place, _)| place));
    }

    fn usage(&self) -> Usage {
        let unused = self.grants.iter().enumerate();
        let unused = unused.filter(|(place, _)| !self.used.contains(place));
        let denied = self.denied.iter().map(|(what, about)| {
            if about.is_empty() {
                what.clone()
            } else {
                format!("{what} ({about})")
            }
        });
        Usage {
            granted: self.grants.len(),
            calls: self.calls,
            unused: unused.map(|(_, grant)| grant.shown()).collect(),
            denied: denied.collect(),
        }
    }
}

/// What a line says that matters here. Names without escapes are not copied: a long run has hundreds of thousands of lines.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    verb: Cow<'a, str>,
    #[serde(borrow, default, rename = "requestURI")]
    request_uri: Cow<'a, str>,
    #[serde(borrow)]
    user: User<'a>,
    #[serde(borrow)]
    object_ref: Option<Object<'a>>,
    #[serde(borrow, default)]
    annotations: Annotations<'a>,
}

#[derive(Debug, Deserialize)]
struct User<'a> {
    #[serde(borrow)]
    username: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Object<'a> {
    #[serde(borrow)]
    api_group: Cow<'a, str>,
    #[serde(borrow)]
    resource: Cow<'a, str>,
    #[serde(borrow)]
    subresource: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations<'a> {
    #[serde(borrow, rename = "authorization.k8s.io/decision")]
    decision: Cow<'a, str>,
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
    fn what_was_refused_for_want_of_a_right_is_told_with_one_object() {
        let about = |name: &str| json!({ "resource": "secrets", "namespace": "a", "name": name });
        let log = [
            event("list", &json!({ "resource": "secrets" }), "forbid"),
            event("get", &about("one"), "forbid"),
            event("get", &about("other"), "forbid"),
            event("patch", &about(REFUSED_ON_PURPOSE), "forbid"),
        ];
        let found = usage(&manifest(), OPERATOR, &log.join("\n")).unwrap();
        assert_eq!(
            found.denied,
            ["get secrets (a/one)", "list secrets"].map(str::to_owned).into()
        );
    }

    #[test]
    fn a_log_that_grows_is_heard_once_and_line_by_line() {
        let dir = crate::temp_dir::TempDir::new("grants").unwrap();
        let path = dir.path().join("audit.log");
        let mut watch = Watch::new(&path, &manifest(), OPERATOR).unwrap();
        assert_eq!(watch.look().unwrap().unused.len(), 5, "nobody called yet");
        let things = json!({ "apiGroup": "g", "resource": "things" });
        let refused = event("list", &json!({ "resource": "secrets" }), "forbid");
        let (begun, rest) = refused.split_at(40);
        let mut text = format!("{}\n{begun}", event("get", &things, "allow"));
        std::fs::write(&path, &text).unwrap();
        let found = watch.look().unwrap();
        assert_eq!((found.calls, found.unused.len()), (1, 4));
        assert!(found.denied.is_empty(), "a half line is not heard yet");
        text = format!("{text}{rest}\n{}\n", event("patch", &things, "allow"));
        std::fs::write(&path, &text).unwrap();
        let found = watch.look().unwrap();
        assert_eq!((found.calls, found.unused.len()), (2, 3));
        assert_eq!(found.denied, ["list secrets".to_owned()].into());
        let found = watch.look().unwrap();
        assert_eq!((found.calls, found.unused.len()), (0, 3));
        assert!(found.denied.is_empty(), "it was told before");
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
