//! The STS client: who the keys belong to.

use serde::Deserialize;

use super::error::CallResult;
use super::operation::{Effect, Operation, Quota, Service};
use super::retry::Caller;
use super::rpc::{self, Parameters};
use super::tolerant;

static GET_CALLER_IDENTITY: Operation = Operation {
    service: Service::Sts,
    action: "GetCallerIdentity",
    effect: Effect::Read,
    quota: Quota::Sts,
    ram_action: "sts:GetCallerIdentity",
};

/// The STS client.
#[derive(Clone, Debug)]
pub struct Sts {
    caller: Caller,
}

/// Who made a call.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "PascalCase")]
pub struct CallerIdentity {
    /// `Account`, `RAMUser` or `AssumedRoleUser`.
    #[serde(deserialize_with = "tolerant::text")]
    pub identity_type: Option<String>,
    /// The account. Never empty.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub account_id: String,
    /// The identity's id; for a role `<roleId>:<session>`.
    #[serde(deserialize_with = "tolerant::text")]
    pub principal_id: Option<String>,
    /// The id of a RAM user.
    #[serde(deserialize_with = "tolerant::text")]
    pub user_id: Option<String>,
    /// The id of an assumed role.
    #[serde(deserialize_with = "tolerant::text")]
    pub role_id: Option<String>,
    /// `acs:ram::<account>:root`, `…:user/<name>` or `…:assumed-role/<role>/<session>`.
    #[serde(deserialize_with = "tolerant::text")]
    pub arn: Option<String>,
}

impl Sts {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }

    /// Who the keys belong to. Takes no permission.
    pub async fn get_caller_identity(&self) -> CallResult<CallerIdentity> {
        let method = http::Method::POST;
        rpc::send(
            &self.caller,
            &GET_CALLER_IDENTITY,
            method,
            Parameters::new(),
            "*".to_owned(),
            |reply| {
                let identity: CallerIdentity = rpc::read(reply)?;
                // Nothing may be decided about an account without an id.
                if identity.account_id.is_empty() {
                    return Err("there is no AccountId in the answer".to_owned());
                }
                Ok(identity)
            },
        )
        .await
    }
}
