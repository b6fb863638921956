//! The ResourceManager client: service-linked roles.

use super::error::CallResult;
use super::operation::{Effect, Operation, Quota, Service};
use super::ram::{Role, RoleAnswer};
use super::retry::Caller;
use super::rpc::{self, Parameters};

static CREATE_SERVICE_LINKED_ROLE: Operation = Operation {
    service: Service::ResourceManager,
    action: "CreateServiceLinkedRole",
    effect: Effect::Write,
    quota: Quota::ResourceManager,
    ram_action: "ram:CreateServiceLinkedRole",
};

/// The service name of ActionTrail.
pub const ACTION_TRAIL_SERVICE: &str = "actiontrail.aliyuncs.com";

/// The ResourceManager client.
#[derive(Clone, Debug)]
pub struct ResourceManager {
    caller: Caller,
}

impl ResourceManager {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }

    /// Makes the role that a service works with. [`super::Class::AlreadyExists`] means that it is there.
    pub async fn create_service_linked_role(&self, service_name: &str) -> CallResult<Role> {
        let resource = "*".to_owned();
        let parameters = Parameters::new().with("ServiceName", service_name);
        let answer =
            rpc::call::<RoleAnswer>(&self.caller, &CREATE_SERVICE_LINKED_ROLE, parameters, resource).await?;
        Ok(answer.map(|answer| answer.role))
    }
}
