//! Owns the call form that ActionTrail, RAM, STS and ResourceManager share: the action in a header, the
//! parameters in the query, no body.

use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::CallResult;
use super::operation::Operation;
use super::retry::{Call, Caller, Reply};

/// Parameters being collected; those without a value are left out.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    pub(super) fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// Makes one RPC call and reads its answer as `T`.
pub(super) async fn call<T: DeserializeOwned>(
    caller: &Caller,
    operation: &'static Operation,
    parameters: Parameters,
    resource: String,
) -> CallResult<T> {
    send(caller, operation, Method::POST, parameters, resource, read).await
}

/// Makes one RPC call with a method and a reader of its own.
pub(super) async fn send<T>(
    caller: &Caller,
    operation: &'static Operation,
    method: Method,
    parameters: Parameters,
    resource: String,
    read: impl Fn(&Reply) -> Result<T, String> + Send,
) -> CallResult<T> {
    let call = Call {
        operation,
        method,
        project: None,
        path: "/".to_owned(),
        query: parameters.0,
        body: None,
        resource,
    };
    caller.call(call, read).await
}

/// Reads the body as `T`.
pub(super) fn read<T: DeserializeOwned>(reply: &Reply) -> Result<T, String> {
    T::deserialize(&reply.json).map_err(|error| error.to_string())
}

/// For calls whose answer says nothing but that they were done. An RPC service answers with an object;
/// anything else is not its answer.
pub(super) fn done(reply: &Reply) -> Result<(), String> {
    match &reply.json {
        Value::Object(_) => Ok(()),
        _ => Err("the answer is not an object".to_owned()),
    }
}
