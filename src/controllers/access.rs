//! Owns the way from an AuditProject to usable clients: which credentials, whose they are, and whether they may be
//! used here.
//!
//! Deny by default: an object uses the Secret it names in its own namespace, or the operator's identity where the
//! operator's flags allow it, for this namespace and this project. After every change of credentials GetCallerIdentity is the first call; credentials of
//! another account than before are never used.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use tokio::sync::OnceCell;

use super::failure::Failure;
use super::memory::lock;
use super::object::Managed;
use crate::aliyun::sts::CallerIdentity;
use crate::aliyun::{
    Cloud, CloudClients, CredentialError, CredentialSource, ProjectName, Region, StaticCredentials,
};
use crate::api::CREDENTIALS_LABEL;
use crate::api::condition::reason;
use crate::api::v1alpha1::AuditProject;
use crate::config::{Pattern, Settings};

/// Which credentials: what caches and polls are keyed by. Holds no secret.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum CredentialId {
    /// The operator's own, from its environment.
    Operator,
    /// A Secret, in one version.
    Secret {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// UID and resourceVersion: another value means other content.
        version: String,
    },
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("the operator's own identity"),
            Self::Secret { namespace, name, .. } => write!(f, "the Secret {namespace}/{name}"),
        }
    }
}

/// Usable clients for one project.
#[derive(Clone, Debug)]
pub struct Access {
    /// Clients for the project's region, aware of the account.
    pub clients: CloudClients,
    /// Account of the credentials.
    pub account: String,
    /// Who the credentials belong to.
    pub identity: CallerIdentity,
    /// Which credentials.
    pub credential: CredentialId,
    /// Name of the project in Log Service, checked.
    pub project: ProjectName,
}

impl Access {
    /// Region of the project.
    pub fn region(&self) -> &Region {
        self.clients.region()
    }

    /// Who calls, for a person: an ARN where there is one.
    pub fn caller(&self) -> String {
        self.identity
            .arn
            .clone()
            .unwrap_or_else(|| format!("the identity in account {}", self.account))
    }

    /// The project's ARN.
    pub fn project_arn(&self) -> String {
        format!(
            "acs:log:{}:{}:project/{}",
            self.region(),
            self.account,
            self.project
        )
    }
}

/// Where an entry of the cache belongs.
type Place = Option<(String, String)>;

#[derive(Clone)]
struct Entry {
    id: CredentialId,
    source: Arc<dyn CredentialSource>,
    identity: Arc<OnceCell<CallerIdentity>>,
}

/// Makes access and remembers whose credentials are whose.
pub struct Gate {
    client: Client,
    cloud: Cloud,
    entries: Mutex<HashMap<Place, Entry>>,
}

impl Gate {
    /// A gate to this cloud.
    pub fn new(client: Client, cloud: Cloud) -> Self {
        Self {
            client,
            cloud,
            entries: Mutex::default(),
        }
    }

    /// The way to the cloud.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Access for a project and whatever belongs to it.
    ///
    /// # Errors
    /// Stalled with what to do when credentials are missing, not allowed here, or of another account; the failed call
    /// when the cloud does not tell whose they are.
    pub async fn open(&self, project: &AuditProject, settings: &Settings) -> Result<Access, Failure> {
        let namespace = project.namespace().unwrap_or_default();
        let region = Region::new(&project.spec.region)
            .map_err(|error| Failure::stalled(reason::INVALID_SPEC, format!("spec.region: {error}")))?;
        let name = ProjectName::new(project.effective_name())
            .map_err(|error| Failure::stalled(reason::INVALID_SPEC, format!("spec.projectName: {error}")))?;
        let entry = match &project.spec.credentials {
            Some(credentials) => self.of_secret(&namespace, &credentials.secret_ref.name).await?,
            None => self.own(&namespace, &name, settings)?,
        };
        let clients = self.cloud.clients(Arc::clone(&entry.source), &region);
        let identity = entry
            .identity
            .get_or_try_init(|| async {
                let answer = clients.sts.get_caller_identity().await;
                answer.map(crate::aliyun::Answer::into_value)
            })
            .await
            .map_err(|error| Failure::cloud(format!("ask whose credentials {} holds", entry.id), error))?
            .clone();
        let account = identity.account_id.clone();
        check_account(&account, project, &entry.id)?;
        Ok(Access {
            clients: clients.with_account(&account),
            account,
            identity,
            credential: entry.id,
            project: name,
        })
    }

    /// Forgets credentials that no project names any more.
    pub fn forget_unused(&self, projects: impl Iterator<Item = Arc<AuditProject>>) {
        let used: HashSet<Place> = projects
            .map(|project| {
                let credentials = project.spec.credentials.as_ref()?;
                Some((project.namespace()?, credentials.secret_ref.name.clone()))
            })
            .collect();
        lock(&self.entries).retain(|place, _| place.is_none() || used.contains(place));
    }

    fn own(&self, namespace: &str, project: &ProjectName, settings: &Settings) -> Result<Entry, Failure> {
        if !settings.may_use_own_identity(namespace) {
            return Err(Failure::stalled(
                reason::IDENTITY_NOT_ALLOWED,
                format!(
                    "Objects in namespace {namespace} may not use the operator's own identity. Set spec.credentials.secretRef to a Secret \
                     with credentials, or add the namespace to --identity-namespaces of the operator"
                ),
            ));
        }
        if !settings.may_manage_project(project.as_str()) {
            return Err(Failure::stalled(
                reason::IDENTITY_NOT_ALLOWED,
                format!(
                    "Project {project} may not be managed with the operator's own identity: --identity-projects of the operator allows {}. Set \
                     spec.credentials.secretRef to a Secret with credentials, or add the project to --identity-projects",
                    allowed(&settings.identity_projects)
                ),
            ));
        }
        if let Some(entry) = lock(&self.entries).get(&None) {
            return Ok(entry.clone());
        }
        let source = StaticCredentials::from_environment().map_err(|error| no_credentials(&error))?;
        Ok(self.remember(None, CredentialId::Operator, Arc::new(source)))
    }

    async fn of_secret(&self, namespace: &str, name: &str) -> Result<Entry, Failure> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let missing = |text: String| Failure::stalled(reason::CREDENTIALS_NOT_FOUND, text);
        // The name becomes a part of a path: one that is none could ask for something else, or elsewhere.
        if !is_object_name(name) {
            return Err(missing(format!(
                "spec.credentials.secretRef.name: {name:?} cannot be the name of a Secret. Write the name of a Secret in namespace {namespace}"
            )));
        }
        let secret = match secrets.get_opt(name).await {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                return Err(missing(format!(
                    "There is no Secret {name} in namespace {namespace}. Create it with the keys ALIBABA_CLOUD_ACCESS_KEY_ID and \
                     ALIBABA_CLOUD_ACCESS_KEY_SECRET and the label {CREDENTIALS_LABEL}=true"
                )));
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                return Err(missing(format!(
                    "The operator may not read the Secret {namespace}/{name}. Grant its service account the verb get on it"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        if secret.labels().get(CREDENTIALS_LABEL).map(String::as_str) != Some("true") {
            return Err(missing(format!(
                "The Secret {namespace}/{name} is not meant for ramtrail: it lacks the label {CREDENTIALS_LABEL}=true. Add it with: \
                 kubectl label secret -n {namespace} {name} {CREDENTIALS_LABEL}=true"
            )));
        }
        let place = Some((namespace.to_owned(), name.to_owned()));
        let version = format!(
            "{}/{}",
            secret.uid().unwrap_or_default(),
            secret.resource_version().unwrap_or_default()
        );
        let id = CredentialId::Secret {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version,
        };
        if let Some(entry) = lock(&self.entries).get(&place).filter(|entry| entry.id == id) {
            return Ok(entry.clone());
        }
        let data = secret.data.unwrap_or_default();
        let source = StaticCredentials::from_secret_data(format!("the Secret {namespace}/{name}"), |key| {
            data.get(key).map(|bytes| bytes.0.as_slice())
        })
        .map_err(|error| no_credentials(&error))?;
        Ok(self.remember(place, id, Arc::new(source)))
    }

    /// Keeps the newest version only: what was made with an older one is dropped with its last user.
    fn remember(&self, place: Place, id: CredentialId, source: Arc<dyn CredentialSource>) -> Entry {
        let entry = Entry {
            id,
            source,
            identity: Arc::default(),
        };
        lock(&self.entries).insert(place, entry.clone());
        entry
    }
}

/// An allow-list in words.
pub fn allowed(patterns: &[Pattern]) -> String {
    if patterns.is_empty() {
        return "none".to_owned();
    }
    let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
    patterns.join(", ")
}

/// Whether the API server could have an object of this name (RFC 1123 subdomain).
fn is_object_name(name: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    bytes.len() <= 253
        && is_end(bytes.first())
        && is_end(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

fn no_credentials(error: &CredentialError) -> Failure {
    Failure::stalled(reason::CREDENTIALS_NOT_FOUND, error.to_string())
}

/// Refuses credentials of another account than the spec pins, or than this object has worked in before.
fn check_account(account: &str, project: &AuditProject, credential: &CredentialId) -> Result<(), Failure> {
    let id = project.id();
    if let Some(pinned) = project
        .spec
        .account_id
        .as_deref()
        .filter(|pinned| *pinned != account)
    {
        return Err(Failure::stalled(
            reason::ACCOUNT_CHANGED,
            format!(
                "{id} belongs to account {pinned} (spec.accountID), and {credential} to account {account}. Nothing is written. Use credentials \
                 of account {pinned}"
            ),
        ));
    }
    let before = project
        .status
        .as_ref()
        .and_then(|status| status.account_id.as_deref());
    if let Some(before) = before.filter(|before| *before != account) {
        return Err(Failure::stalled(
            reason::ACCOUNT_CHANGED,
            format!(
                "{id} was managed in account {before}, and {credential} now belongs to account {account}. Nothing is written. Use credentials \
                 of account {before}, or create another AuditProject for account {account}"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn project(pin: Option<&str>, before: Option<&str>) -> AuditProject {
        serde_json::from_value(json!({
            "apiVersion": "ramtrail.io/v1alpha1", "kind": "AuditProject", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"region": "cn-hangzhou", "accountID": pin}, "status": {"accountID": before},
        }))
        .unwrap()
    }

    #[test]
    fn another_account_is_refused_and_both_are_named() {
        for (pin, before) in [
            (Some("11111"), None),
            (None, Some("11111")),
            (Some("11111"), Some("11111")),
        ] {
            let error = check_account("22222", &project(pin, before), &CredentialId::Operator).unwrap_err();
            assert!(matches!(
                error,
                Failure::Stalled {
                    reason: reason::ACCOUNT_CHANGED,
                    ..
                }
            ));
            let text = error.to_string();
            assert!(text.contains("11111") && text.contains("22222"), "{text}");
        }
    }

    #[test]
    fn only_what_can_be_a_name_is_asked_for() {
        for name in ["a", "cloud-credentials", "a.b-c.1", &"a".repeat(253)] {
            assert!(is_object_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a/",
            "/a",
            "../b/secrets/a",
            "a/b",
            "a?x=y",
            "a#x",
            "a%2fb",
            "a%00",
            "A",
            "a_b",
            "a b",
            "a\n",
            "é",
            "-a",
            "a.",
            &"a".repeat(254),
        ] {
            assert!(!is_object_name(name), "{name}");
        }
    }

    #[test]
    fn the_same_account_is_accepted() {
        for (pin, before) in [(None, None), (Some("22222"), None), (None, Some("22222"))] {
            assert!(check_account("22222", &project(pin, before), &CredentialId::Operator).is_ok());
        }
    }
}
