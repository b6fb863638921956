//! The example that the demo applies, and what the story needs to know of it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xtask::deployment::objects;
use xtask::kubectl::Kubectl;

use super::conditions::Named;

/// Names in the example, read from its manifest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seed {
    pub(super) namespace: String,
    pub(super) objects: Vec<Named>,
    pub(super) trail: Named,
    pub(super) region: String,
    pub(super) account: String,
    pub(super) project_name: String,
    pub(super) user_store: String,
    pub(super) trail_name: String,
    /// The role that the copy job works as.
    pub(super) copy_role: String,
    /// The Secret that the project takes its credentials from.
    pub(super) secret: String,
}

impl Seed {
    pub(super) fn read(kubectl: &Kubectl, path: &Path) -> Result<Self> {
        Self::from_objects(&objects(kubectl, path)?).with_context(|| format!("in {}", path.display()))
    }

    fn from_objects(all: &[Value]) -> Result<Self> {
        let ours = all.iter().filter(|o| {
            o["apiVersion"]
                .as_str()
                .is_some_and(|v| v.starts_with("ramtrail.io/"))
        });
        let ours: Vec<&Value> = ours.collect();
        let project = one(&ours, "AuditProject")?;
        let store = one(&ours, "AuditLogStore")?;
        let trail = one(&ours, "RamTrail")?;
        let role_arn = text(
            &trail["spec"]["copyTo"]["roleARN"],
            "spec.copyTo.roleARN of the RamTrail",
        )?;
        let (account, copy_role) = parse_role(&role_arn)?;
        Ok(Self {
            namespace: text(&project["metadata"]["namespace"], "namespace of the AuditProject")?,
            objects: ours.iter().copied().map(named).collect::<Result<_>>()?,
            trail: named(trail)?,
            region: text(&project["spec"]["region"], "spec.region of the AuditProject")?,
            account,
            project_name: external_name(project, "projectName")?,
            user_store: external_name(store, "logStoreName")?,
            trail_name: external_name(trail, "trailName")?,
            copy_role,
            secret: text(
                &project["spec"]["credentials"]["secretRef"]["name"],
                "spec.credentials.secretRef of the AuditProject",
            )?,
        })
    }

    /// The store that ActionTrail makes for this trail.
    pub(super) fn trail_store(&self) -> String {
        format!("actiontrail_{}", self.trail_name)
    }
}

fn one<'a>(objects: &[&'a Value], kind: &str) -> Result<&'a Value> {
    let found: Vec<&&Value> = objects.iter().filter(|o| o["kind"] == kind).collect();
    let [object] = found[..] else {
        bail!("expected one {kind}, found {}", found.len())
    };
    Ok(object)
}

fn text(value: &Value, what: &str) -> Result<String> {
    value
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no {what}"))
}

fn named(object: &Value) -> Result<Named> {
    Ok(Named {
        kind: text(&object["kind"], "kind")?,
        name: text(&object["metadata"]["name"], "name")?,
    })
}

/// The name in the cloud: the spec's, else the object's.
fn external_name(object: &Value, field: &str) -> Result<String> {
    let name = object["spec"].get(field).unwrap_or(&object["metadata"]["name"]);
    text(name, field)
}

/// Account and role name of `acs:ram::<account>:role/<name>`.
fn parse_role(arn: &str) -> Result<(String, String)> {
    let parts = arn
        .strip_prefix("acs:ram::")
        .and_then(|rest| rest.split_once(":role/"));
    let (account, role) = parts.with_context(|| format!("{arn} is not the ARN of a role"))?;
    Ok((account.to_owned(), role.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn objects() -> Vec<Value> {
        let ours = |kind: &str, name: &str, spec: Value| {
            json!({
                "apiVersion": "ramtrail.io/v1alpha1",
                "kind": kind,
                "metadata": { "namespace": "audit", "name": name },
                "spec": spec,
            })
        };
        vec![
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "audit" } }),
            ours(
                "AuditProject",
                "p",
                json!({ "region": "cn-hangzhou", "credentials": { "secretRef": { "name": "key" } } }),
            ),
            ours("AuditLogStore", "s", json!({ "logStoreName": "store" })),
            ours(
                "RamTrail",
                "t",
                json!({
                    "trailName": "trail",
                    "copyTo": { "roleARN": "acs:ram::1234567890123456:role/copier" },
                }),
            ),
        ]
    }

    #[test]
    fn names_are_the_specs_or_the_objects() {
        let seed = Seed::from_objects(&objects()).unwrap();
        assert_eq!(
            (seed.project_name.as_str(), seed.user_store.as_str()),
            ("p", "store")
        );
        assert_eq!(
            (seed.account.as_str(), seed.copy_role.as_str()),
            ("1234567890123456", "copier")
        );
        assert_eq!(seed.trail_store(), "actiontrail_trail");
        assert_eq!(seed.objects.len(), 3);
    }

    #[test]
    fn incomplete_example_is_refused() {
        assert!(Seed::from_objects(&objects()[..3]).is_err());
    }
}
