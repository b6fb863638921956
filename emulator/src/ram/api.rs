//! Operations of RAM 2015-05-01 and of ResourceManager 2020-03-31.

use jiff::Timestamp;
use serde_json::Value;

use super::State;
use crate::identity::Caller;
use crate::ids::Ids;
use crate::quota::Quotas;
use crate::rpc::{Action, RpcCall};
use crate::wire::ApiError;

/// Operations of RAM.
pub const ACTIONS: &[Action] = &[];
/// Operations of ResourceManager.
pub const RESOURCE_MANAGER_ACTIONS: &[Action] = &[];

/// Runs an operation; the answer lacks only its RequestId.
pub fn execute(
    _call: &RpcCall,
    _state: &mut State,
    _ids: &mut Ids,
    _quotas: &Quotas,
    _caller: &Caller,
    _now: Timestamp,
) -> Result<Value, ApiError> {
    Err(ApiError::new(404, "InvalidApi.NotFound", ""))
}

/// What an event may show of an answer: no secret of a key.
pub fn event_response(value: &Value) -> Value {
    value.clone()
}
