//! RAM: users, groups, keys, policies and roles of every account, and what they permit.
//!
//! Owns identities. Knows nothing of HTTP; the operations are in [`api`].

pub mod api;
pub mod policy;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::identity::{Caller, Principal};
use policy::{ConditionFacts, Document, DocumentKind, Verdict};

/// RAM objects of all accounts.
#[derive(Debug, Default)]
pub struct State {
    accounts: BTreeMap<String, Account>,
    keys: BTreeMap<String, Key>,
    made: u64,
}

/// RAM objects of one account.
#[derive(Debug, Default)]
pub struct Account {
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
    /// Custom policies by name.
    pub policies: BTreeMap<String, Policy>,
    /// Roles by lower-case name.
    pub roles: BTreeMap<String, Role>,
}

/// Type and name of an attached policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyRef {
    /// `System` or `Custom`.
    pub kind: PolicyKind,
    /// Name.
    pub name: String,
}

/// Whose policy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyKind {
    /// The vendor's.
    System,
    /// The account's.
    Custom,
}

impl PolicyKind {
    /// Name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::Custom => "Custom",
        }
    }
}

/// Attached policies with the time of attachment.
pub type Attachments = BTreeMap<PolicyRef, Timestamp>;

/// A RAM user.
#[derive(Debug, Clone)]
pub struct User {
    /// Numeric id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Display name.
    pub display_name: String,
    /// Comments.
    pub comments: String,
    /// Phone.
    pub mobile_phone: String,
    /// Mail.
    pub email: String,
    /// Created.
    pub created: Timestamp,
    /// Last changed.
    pub updated: Timestamp,
    /// Policies.
    pub attached: Attachments,
}

/// A group.
#[derive(Debug, Clone)]
pub struct Group {
    /// `g-…`.
    pub id: String,
    /// Name.
    pub name: String,
    /// Comments.
    pub comments: String,
    /// Created.
    pub created: Timestamp,
    /// Last changed.
    pub updated: Timestamp,
    /// Members with the time they joined.
    pub members: BTreeMap<String, Timestamp>,
    /// Policies.
    pub attached: Attachments,
}

/// A custom policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Versions in order of creation.
    pub versions: Vec<PolicyVersion>,
    /// Number of the default version.
    pub default_version: u64,
    /// Number the next version gets; never reused.
    pub next_version: u64,
    /// Created.
    pub created: Timestamp,
    /// Last changed.
    pub updated: Timestamp,
}

/// A version of a policy.
#[derive(Debug, Clone)]
pub struct PolicyVersion {
    /// Number in `v1`, `v2`, …
    pub number: u64,
    /// Document text.
    pub document: String,
    /// Created.
    pub created: Timestamp,
}

/// A role.
#[derive(Debug, Clone)]
pub struct Role {
    /// Numeric id.
    pub id: String,
    /// Name as created.
    pub name: String,
    /// Description.
    pub description: String,
    /// Who may assume it.
    pub trust: String,
    /// Seconds.
    pub max_session: u64,
    /// The service it is linked to.
    pub linked_service: Option<String>,
    /// Created.
    pub created: Timestamp,
    /// Last changed.
    pub updated: Timestamp,
    /// Policies.
    pub attached: Attachments,
}

/// An access key.
#[derive(Clone)]
pub struct Key {
    /// Secret.
    pub secret: String,
    /// Account.
    pub account: String,
    /// Whose key.
    pub owner: KeyOwner,
    /// Usable.
    pub active: bool,
    /// Created.
    pub created: Timestamp,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("account", &self.account)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

/// Whose key it is.
#[derive(Clone)]
pub enum KeyOwner {
    /// The account's own.
    Root,
    /// A user's.
    User(String),
    /// A session of a role.
    Session {
        /// Role name as created.
        role: String,
        /// Role id.
        role_id: String,
        /// Session name.
        session: String,
        /// Token that must come with the key.
        token: String,
        /// End of validity.
        expires: Timestamp,
        /// Policy that narrows the session.
        policy: Option<String>,
    },
}

/// Service-linked roles that can be made: service, role name, system policy.
pub const LINKED_ROLES: &[(&str, &str, &str)] = &[
    (
        "actiontrail.aliyuncs.com",
        "AliyunServiceRoleForActionTrail",
        "AliyunServiceRolePolicyForActionTrail",
    ),
    (
        "audit.log.aliyuncs.com",
        "AliyunServiceRoleForSLSAudit",
        "ReadOnlyAccess",
    ),
];

impl State {
    /// The account, made on first use.
    pub fn account(&mut self, id: &str) -> &mut Account {
        self.accounts.entry(id.to_owned()).or_default()
    }

    /// The account, if anything was ever made in it.
    pub fn find_account(&self, id: &str) -> Option<&Account> {
        self.accounts.get(id)
    }

    /// A key by id.
    pub fn key(&self, id: &str) -> Option<&Key> {
        self.keys.get(id)
    }

    /// Stores a key.
    pub fn put_key(&mut self, id: &str, key: Key) {
        self.keys.insert(id.to_owned(), key);
    }

    /// Removes a key.
    pub fn remove_key(&mut self, id: &str) {
        self.keys.remove(id);
    }

    /// Keys of a user.
    pub fn user_keys(&self, account: &str, user: &str) -> Vec<(&String, &Key)> {
        self.keys
            .iter()
            .filter(|(_, key)| {
                key.account == account && matches!(&key.owner, KeyOwner::User(name) if name == user)
            })
            .collect()
    }

    /// A key of a user, for changes.
    pub fn user_key_mut(&mut self, account: &str, user: &str, id: &str) -> Option<&mut Key> {
        self.keys.get_mut(id).filter(|key| {
            key.account == account && matches!(&key.owner, KeyOwner::User(name) if name == user)
        })
    }

    /// Moves the keys of a renamed user.
    pub fn rename_key_owner(&mut self, account: &str, old: &str, new: &str) {
        for key in self.keys.values_mut() {
            if key.account == account && matches!(&key.owner, KeyOwner::User(name) if name == old) {
                key.owner = KeyOwner::User(new.to_owned());
            }
        }
    }

    /// A number that was not given before.
    pub fn next_number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// A user id such as `200000000000000001`.
    pub fn next_user_id(&mut self) -> String {
        format!("2{:017}", self.next_number())
    }

    /// A role id such as `300000000000000001`.
    pub fn next_role_id(&mut self) -> String {
        format!("3{:017}", self.next_number())
    }

    /// Stores a custom policy with this one document.
    pub fn put_policy(&mut self, account: &str, name: &str, document: &str, now: Timestamp) {
        let policy = Policy {
            name: name.to_owned(),
            description: String::new(),
            versions: vec![PolicyVersion {
                number: 1,
                document: document.to_owned(),
                created: now,
            }],
            default_version: 1,
            next_version: 2,
            created: now,
            updated: now,
        };
        self.account(account).policies.insert(name.to_owned(), policy);
    }

    /// Makes a user unless it exists.
    pub fn ensure_user(&mut self, account: &str, name: &str, now: Timestamp) {
        if self.account(account).users.contains_key(name) {
            return;
        }
        let id = self.next_user_id();
        let user = User {
            id,
            name: name.to_owned(),
            display_name: name.to_owned(),
            comments: String::new(),
            mobile_phone: String::new(),
            email: String::new(),
            created: now,
            updated: now,
            attached: Attachments::new(),
        };
        self.account(account).users.insert(name.to_owned(), user);
    }

    /// Whether a role exists, by its ARN `acs:ram::<uid>:role/<name>` (names compare without case).
    pub fn role_exists(&self, arn: &str) -> bool {
        self.role_by_arn(arn).is_some()
    }

    /// Account and role of a role ARN.
    pub fn role_by_arn(&self, arn: &str) -> Option<(&str, &Role)> {
        let rest = arn.strip_prefix("acs:ram::")?;
        let (account, name) = rest.split_once(":role/")?;
        let (account, found) = self.accounts.get_key_value(account)?;
        found
            .roles
            .get(&name.to_lowercase())
            .map(|role| (account.as_str(), role))
    }

    /// Makes the role linked to a service, if the service has one and it does not exist.
    pub fn create_linked_role(&mut self, account: &str, service: &str, now: Timestamp) -> Option<Role> {
        let (service, name, policy) = LINKED_ROLES.iter().find(|(known, _, _)| *known == service)?;
        if self.account(account).roles.contains_key(&name.to_lowercase()) {
            return None;
        }
        let role = Role {
            id: self.next_role_id(),
            name: (*name).to_owned(),
            description: String::new(),
            trust: json!({
                "Version": "1",
                "Statement": [{
                    "Action": "sts:AssumeRole",
                    "Effect": "Allow",
                    "Principal": {"Service": [service]},
                }],
            })
            .to_string(),
            max_session: 3600,
            linked_service: Some((*service).to_owned()),
            created: now,
            updated: now,
            attached: Attachments::from([(
                PolicyRef {
                    kind: PolicyKind::System,
                    name: (*policy).to_owned(),
                },
                now,
            )]),
        };
        self.account(account)
            .roles
            .insert(name.to_lowercase(), role.clone());
        Some(role)
    }

    /// Whether the role linked to a service exists in an account.
    pub fn has_linked_role(&self, account: &str, service: &str) -> bool {
        self.accounts.get(account).is_some_and(|account| {
            account
                .roles
                .values()
                .any(|role| role.linked_service.as_deref() == Some(service))
        })
    }

    /// The default document of a policy.
    pub fn document(&self, account: &str, policy: &PolicyRef) -> Option<&str> {
        match policy.kind {
            PolicyKind::System => policy::system_policy(&policy.name),
            PolicyKind::Custom => {
                let policy = self.accounts.get(account)?.policies.get(&policy.name)?;
                policy
                    .versions
                    .iter()
                    .find(|version| version.number == policy.default_version)
                    .map(|version| version.document.as_str())
            }
        }
    }

    /// Whether `caller` may do `action` on `resource`.
    pub fn permits(&self, caller: &Caller, action: &str, resource: &str, facts: &ConditionFacts) -> bool {
        match &caller.principal {
            Principal::Root | Principal::System { .. } => true,
            Principal::User { name, .. } => {
                let Some(account) = self.accounts.get(&caller.account) else {
                    return false;
                };
                let own = account
                    .users
                    .get(name)
                    .into_iter()
                    .flat_map(|user| user.attached.keys());
                let by_group = account
                    .groups
                    .values()
                    .filter(|group| group.members.contains_key(name))
                    .flat_map(|group| group.attached.keys());
                self.verdict(&caller.account, own.chain(by_group), action, resource, facts)
                    == Verdict::Allowed
            }
            Principal::AssumedRole { role, .. } => {
                let Some(account) = self.accounts.get(&caller.account) else {
                    return false;
                };
                let attached = account
                    .roles
                    .get(&role.to_lowercase())
                    .into_iter()
                    .flat_map(|role| role.attached.keys());
                if self.verdict(&caller.account, attached, action, resource, facts) != Verdict::Allowed {
                    return false;
                }
                match self.keys.get(&caller.access_key_id).map(|key| &key.owner) {
                    Some(KeyOwner::Session {
                        policy: Some(policy), ..
                    }) => Document::parse(policy, DocumentKind::Permission)
                        .is_ok_and(|document| document.verdict(action, resource, facts) == Verdict::Allowed),
                    _ => true,
                }
            }
        }
    }

    fn verdict<'a>(
        &self,
        account: &str,
        policies: impl Iterator<Item = &'a PolicyRef>,
        action: &str,
        resource: &str,
        facts: &ConditionFacts,
    ) -> Verdict {
        let mut verdict = Verdict::Silent;
        for policy in policies {
            let Some(text) = self.document(account, policy) else {
                continue;
            };
            // Documents were checked when they were stored.
            let Ok(document) = Document::parse(text, DocumentKind::Permission) else {
                continue;
            };
            match document.verdict(action, resource, facts) {
                Verdict::Denied => return Verdict::Denied,
                Verdict::Allowed => verdict = Verdict::Allowed,
                Verdict::Silent => {}
            }
        }
        verdict
    }

    /// Names of every principal that a trust document may name for this caller.
    pub fn trust_names(caller: &Caller) -> Vec<String> {
        let account = &caller.account;
        let mut names = vec![format!("acs:ram::{account}:root")];
        match &caller.principal {
            Principal::AssumedRole { role, .. } => names.push(format!("acs:ram::{account}:role/{role}")),
            _ => names.push(caller.arn()),
        }
        names
    }

    /// All managed settings of an account: no secrets, no modification times.
    pub fn summary(&self, account: &str) -> Value {
        let Some(found) = self.accounts.get(account) else {
            return Value::Null;
        };
        let attached = |attached: &Attachments| -> Vec<String> {
            attached
                .keys()
                .map(|policy| format!("{}/{}", policy.kind.name(), policy.name))
                .collect()
        };
        let keys: BTreeMap<&String, Value> = self
            .keys
            .iter()
            .filter(|(_, key)| key.account == account)
            .map(|(id, key)| {
                let owner = match &key.owner {
                    KeyOwner::Root => "root".to_owned(),
                    KeyOwner::User(name) => format!("user/{name}"),
                    KeyOwner::Session { role, session, .. } => format!("role/{role}/{session}"),
                };
                (id, json!({"owner": owner, "active": key.active}))
            })
            .collect();
        json!({
            "users": found.users.values().map(|user| json!({
                "name": user.name, "id": user.id, "displayName": user.display_name, "comments": user.comments,
                "mobilePhone": user.mobile_phone, "email": user.email, "policies": attached(&user.attached),
            })).collect::<Vec<_>>(),
            "groups": found.groups.values().map(|group| json!({
                "name": group.name, "comments": group.comments,
                "members": group.members.keys().collect::<BTreeSet<_>>(), "policies": attached(&group.attached),
            })).collect::<Vec<_>>(),
            "policies": found.policies.values().map(|policy| json!({
                "name": policy.name, "description": policy.description, "default": policy.default_version,
                "versions": policy.versions.iter().map(|version| version.number).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "roles": found.roles.values().map(|role| json!({
                "name": role.name, "description": role.description, "trust": role.trust,
                "maxSession": role.max_session, "policies": attached(&role.attached),
            })).collect::<Vec<_>>(),
            "accessKeys": keys,
        })
    }
}
