//! The RAM client: roles.

use jiff::Timestamp;
use serde::Deserialize;

use super::error::CallResult;
use super::operation::{Effect, Operation, Quota, Service};
use super::retry::Caller;
use super::rpc::{self, Parameters};
use super::tolerant;

static GET_ROLE: Operation = Operation {
    service: Service::Ram,
    action: "GetRole",
    effect: Effect::Read,
    quota: Quota::Ram,
    ram_action: "ram:GetRole",
};

/// The name of ActionTrail's service-linked role.
pub const ACTION_TRAIL_ROLE: &str = "AliyunServiceRoleForActionTrail";

/// The RAM client.
#[derive(Clone, Debug)]
pub struct Ram {
    caller: Caller,
}

/// A role.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Role {
    /// The role's id.
    #[serde(deserialize_with = "tolerant::text")]
    pub role_id: Option<String>,
    /// The name, in the case it was made with.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub role_name: String,
    /// `acs:ram::<account>:role/<name in lower case>`.
    #[serde(deserialize_with = "tolerant::text")]
    pub arn: Option<String>,
    /// The description.
    #[serde(deserialize_with = "tolerant::text")]
    pub description: Option<String>,
    /// Who may assume it, as JSON text.
    #[serde(deserialize_with = "tolerant::text")]
    pub assume_role_policy_document: Option<String>,
    /// Whether a service owns it, where the answer says.
    #[serde(deserialize_with = "tolerant::boolean")]
    pub is_service_linked_role: Option<bool>,
    /// When it was made.
    #[serde(deserialize_with = "tolerant::time")]
    pub create_date: Option<Timestamp>,
}

/// `{"Role": …}`, as RAM and ResourceManager answer.
#[derive(Deserialize)]
pub(super) struct RoleAnswer {
    #[serde(rename = "Role")]
    pub(super) role: Role,
}

impl Ram {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }

    /// One role by its name.
    pub async fn get_role(&self, role_name: &str) -> CallResult<Role> {
        let resource = format!(
            "acs:ram:*:{}:role/{}",
            self.caller.account(),
            role_name.to_ascii_lowercase()
        );
        let parameters = Parameters::new().with("RoleName", role_name);
        let answer = rpc::call::<RoleAnswer>(&self.caller, &GET_ROLE, parameters, resource).await?;
        Ok(answer.map(|answer| answer.role))
    }
}
