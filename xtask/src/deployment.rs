//! The operator as its Deployment describes it: the same arguments and environment, as a process.
//!
//! No node runs Pods here, so what installs the operator starts the process beside it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::kubectl::Kubectl;
use crate::operator::OperatorOptions;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A manifest with one Deployment, such as `deploy/install.yaml`.
#[derive(Debug)]
pub struct Manifest {
    /// Everything but Deployments.
    others: Vec<Value>,
    deployment: Value,
}

/// Objects of a manifest, in its order, read by kubectl.
///
/// # Errors
/// Fails with kubectl's words if it cannot read the file.
pub fn objects(kubectl: &Kubectl, path: &Path) -> Result<Vec<Value>> {
    let file = path.display().to_string();
    let args = [
        "create",
        "--dry-run=client",
        "--validate=false",
        "-o",
        "json",
        "-f",
        &file,
    ];
    let text = kubectl.run(args)?;
    let mut objects = Vec::new();
    for object in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        let object = object.context("kubectl printed no JSON")?;
        match object["items"].as_array() {
            Some(items) if object["kind"] == "List" => objects.extend(items.iter().cloned()),
            _ => objects.push(object),
        }
    }
    Ok(objects)
}

impl Manifest {
    /// Reads a manifest with kubectl.
    ///
    /// # Errors
    /// Fails unless it holds exactly one Deployment.
    pub fn read(kubectl: &Kubectl, path: &Path) -> Result<Self> {
        Self::from_objects(objects(kubectl, path)?).with_context(|| format!("in {}", path.display()))
    }

    /// A manifest of these objects.
    ///
    /// # Errors
    /// Fails unless exactly one of them is a Deployment.
    pub fn from_objects(objects: Vec<Value>) -> Result<Self> {
        let (mut deployments, others): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|object| object["kind"] == "Deployment");
        match (deployments.pop(), deployments.is_empty()) {
            (Some(deployment), true) => Ok(Self { others, deployment }),
            _ => bail!("expected exactly one Deployment"),
        }
    }

    /// Everything but the Deployment, to be applied: no node is there to run it on.
    pub fn others(&self) -> String {
        json!({ "apiVersion": "v1", "kind": "List", "items": self.others }).to_string()
    }

    /// Names of objects of a kind, such as its CRDs.
    pub fn names(&self, kind: &str) -> Vec<&str> {
        let of_kind = self.others.iter().filter(|object| object["kind"] == kind);
        of_kind
            .filter_map(|object| object["metadata"]["name"].as_str())
            .collect()
    }

    /// The Deployment's namespace.
    ///
    /// # Errors
    /// Fails if it names none.
    pub fn namespace(&self) -> Result<&str> {
        self.deployment["metadata"]["namespace"]
            .as_str()
            .context("the Deployment names no namespace")
    }

    /// The ServiceAccount its Pods would run as.
    ///
    /// # Errors
    /// Fails if it names none.
    pub fn service_account(&self) -> Result<&str> {
        let name = &self.deployment["spec"]["template"]["spec"]["serviceAccountName"];
        name.as_str().context("the Deployment names no ServiceAccount")
    }

    /// The process that a Pod would hold: its arguments with some replaced, its environment resolved.
    ///
    /// `secret` reads a key of a Secret in the Deployment's namespace, `None` if it is not there.
    ///
    /// # Errors
    /// Fails if the container or a source of its environment is of another form than our chart's.
    pub fn process(
        &self,
        kubeconfig: &Path,
        replaced: &[(&str, &str)],
        secret: impl Fn(&str, &str) -> Result<Option<String>>,
    ) -> Result<OperatorOptions> {
        let containers = self.deployment["spec"]["template"]["spec"]["containers"].as_array();
        let [container] = containers.map(Vec::as_slice).unwrap_or_default() else {
            bail!("expected exactly one container in the Deployment");
        };
        let env = self.environment(container, secret)?;
        let args = arguments(container, &env, replaced)?;
        let mut options = OperatorOptions::default();
        for arg in args {
            options = options.arg(arg);
        }
        for (key, value) in &env {
            // A variable that is set beside a replaced flag would be a second, other wish.
            let flag = key
                .strip_prefix("RAMTRAIL_")
                .map(|k| format!("--{}", k.to_lowercase().replace('_', "-")));
            if !flag.is_some_and(|flag| replaced.iter().any(|(name, _)| *name == flag)) {
                options = options.env(key, value);
            }
        }
        Ok(options.env("KUBECONFIG", &kubeconfig.display().to_string()))
    }

    fn environment(
        &self,
        container: &Value,
        secret: impl Fn(&str, &str) -> Result<Option<String>>,
    ) -> Result<BTreeMap<String, String>> {
        if container.get("envFrom").is_some() {
            bail!("envFrom of a Deployment is not understood here");
        }
        let mut env = BTreeMap::new();
        for variable in container["env"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let name = variable["name"].as_str().context("a variable without a name")?;
            let source = &variable["valueFrom"];
            let value = if let Some(field) = source["fieldRef"]["fieldPath"].as_str() {
                Some(match field {
                    "metadata.namespace" => self.namespace()?.to_owned(),
                    "metadata.name" => "ramtrail-demo".to_owned(),
                    "status.podIP" => "127.0.0.1".to_owned(),
                    other => bail!("{name} comes from {other}, which only a Pod has"),
                })
            } else if let (Some(object), Some(key)) = (
                source["secretKeyRef"]["name"].as_str(),
                source["secretKeyRef"]["key"].as_str(),
            ) {
                let value = secret(object, key)?;
                if value.is_none() && source["secretKeyRef"]["optional"] != true {
                    bail!("{name} comes from key {key} of Secret {object}, which is not there");
                }
                value
            } else if source.is_null() {
                Some(variable["value"].as_str().unwrap_or_default().to_owned())
            } else {
                bail!("the source of {name} is not understood here");
            };
            env.extend(value.map(|value| (name.to_owned(), value)));
        }
        Ok(env)
    }
}

/// The container's arguments, `$(NAME)` expanded as Kubernetes does, some flags replaced.
fn arguments(
    container: &Value,
    env: &BTreeMap<String, String>,
    replaced: &[(&str, &str)],
) -> Result<Vec<String>> {
    let texts = |key: &str| -> Result<Vec<String>> {
        let items = container[key].as_array().map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .map(|i| i.as_str().map(str::to_owned).context("an argument is no text"))
            .collect()
    };
    // The first word of a command is the program in the image; here it is the one cargo built.
    let mut args = texts("command")?.into_iter().skip(1).chain(texts("args")?);
    let mut kept = Vec::new();
    while let Some(mut arg) = args.next() {
        for (name, value) in env {
            arg = arg.replace(&format!("$({name})"), value);
        }
        match replaced
            .iter()
            .find(|(flag, _)| arg == *flag || arg.starts_with(&format!("{flag}=")))
        {
            None => kept.push(arg),
            // Written as two words: its value goes as well.
            Some((flag, _)) if arg == *flag => drop(args.next()),
            Some(_) => {}
        }
    }
    kept.extend(replaced.iter().map(|(flag, value)| format!("{flag}={value}")));
    Ok(kept)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn manifest() -> Manifest {
        Manifest::from_objects(vec![
            json!({ "kind": "Namespace", "metadata": { "name": "n" } }),
            json!({
                "kind": "Deployment",
                "metadata": { "namespace": "n" },
                "spec": { "template": { "spec": {
                    "serviceAccountName": "sa",
                    "containers": [{
                        "args": ["run", "--namespace=$(NS)", "--poll-interval=60s", "--network", "vpc"],
                        "env": [
                            { "name": "NS", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } },
                            { "name": "RAMTRAIL_POLL_INTERVAL", "value": "60s" },
                            { "name": "ID", "valueFrom": { "secretKeyRef": { "name": "s", "key": "id" } } },
                            { "name": "TOKEN", "valueFrom": {
                                "secretKeyRef": { "name": "s", "key": "token", "optional": true } } },
                        ],
                    }],
                } } },
            }),
        ])
        .unwrap()
    }

    #[test]
    fn process_has_the_deployments_arguments_and_environment() {
        let secret = |_: &str, key: &str| Ok((key == "id").then(|| "the-id".to_owned()));
        let replaced = [("--poll-interval", "1s"), ("--network", "public")];
        let options = manifest().process(Path::new("/k"), &replaced, secret).unwrap();
        let expected = OperatorOptions::default()
            .arg("run")
            .arg("--namespace=n")
            .arg("--poll-interval=1s")
            .arg("--network=public")
            .env("ID", "the-id")
            .env("NS", "n")
            .env("KUBECONFIG", "/k");
        assert_eq!(format!("{options:?}"), format!("{expected:?}"));
    }

    #[test]
    fn missing_secret_is_an_error_unless_optional() {
        let error = manifest()
            .process(Path::new("/k"), &[], |_, _| Ok(None))
            .unwrap_err()
            .to_string();
        assert!(error.contains("Secret s"), "{error}");
    }

    #[test]
    fn deployment_is_kept_apart() {
        let manifest = manifest();
        assert_eq!(manifest.names("Namespace"), ["n"]);
        assert!(!manifest.others().contains("Deployment"));
        assert!(Manifest::from_objects(vec![]).is_err());
    }
}
