//! What the RPC services have in common: parameters, recognising an operation, answers.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

use crate::call::{Operation, Service};
use crate::wire::{ApiError, Inbound, Reply, decode_pairs};
use crate::{actiontrail, ram, sts};

/// Parameters of query and form body together.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(String, String)>);

/// Parameters that belong to the call and not to the operation.
const SYSTEM: &[&str] = &[
    "Action",
    "Version",
    "Format",
    "Timestamp",
    "SignatureNonce",
    "SignatureMethod",
    "SignatureVersion",
    "SignatureType",
    "AccessKeyId",
    "SecurityToken",
    "Signature",
    "SourceIp",
    "SecureTransport",
];

impl Params {
    /// Reads query and form body.
    pub fn read(inbound: &Inbound) -> Self {
        let mut pairs = inbound.query_pairs();
        if inbound.header("content-type").is_some_and(|kind| {
            kind.to_ascii_lowercase()
                .starts_with("application/x-www-form-urlencoded")
        }) {
            pairs.extend(decode_pairs(&String::from_utf8_lossy(&inbound.body)));
        }
        Self(pairs)
    }

    /// Parameters from pairs, for tests.
    #[cfg(test)]
    pub(crate) fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        Self(
            pairs
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// All pairs, system parameters included.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// A parameter's text; empty counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// A parameter's text, also when empty.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that must be there.
    pub fn need(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| {
            ApiError::new(
                400,
                format!("Missing{name}"),
                format!("{name} is mandatory for this action."),
            )
        })
    }

    /// A boolean in any case.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(format_error(name)),
        }
    }

    /// An integer.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.get(name)
            .map(|text| text.parse().map_err(|_| format_error(name)))
            .transpose()
    }

    /// The operation's own parameters.
    pub fn business(&self) -> BTreeMap<String, String> {
        self.0
            .iter()
            .filter(|(name, _)| !SYSTEM.contains(&name.as_str()))
            .cloned()
            .collect()
    }
}

fn format_error(name: &str) -> ApiError {
    ApiError::new(
        400,
        "InvalidParameter.Format",
        format!("The parameter {name} has a wrong format."),
    )
}

/// Resource ARNs of a call, from its parameters and the endpoint's region.
pub type Resources = fn(&Params, &str) -> Vec<String>;

/// One row of a service's action table.
#[derive(Debug, Clone, Copy)]
pub struct Action {
    /// Name.
    pub name: &'static str,
    /// Whether it changes something: the emulator's own judgement.
    pub write: bool,
    /// Prefix of the RAM action.
    pub prefix: &'static str,
    /// Resources for RAM.
    pub resources: Resources,
    /// `resourceType` of the event and the parameter with its name.
    pub event_resource: Option<(&'static str, &'static str)>,
}

/// No resource finer than all.
pub fn any_resource(_: &Params, _: &str) -> Vec<String> {
    vec!["*".to_owned()]
}

/// An identified RPC call.
#[derive(Debug, Clone)]
pub struct RpcCall {
    /// What the engine needs.
    pub operation: Operation,
    /// Parameters.
    pub params: Params,
}

/// Parameters whose values never reach an event.
const MASKED: &[&str] = &[
    "Password",
    "AccessKeySecret",
    "OIDCToken",
    "SAMLAssertion",
    "SecurityToken",
    "NewPassword",
    "OldPassword",
];

/// Parameters that the journal may show.
const SAFE: &[&str] = &[
    "Name",
    "NameList",
    "EventRW",
    "TrailRegion",
    "SlsProjectArn",
    "GroupName",
    "UserName",
    "PolicyName",
    "PolicyType",
    "RoleName",
    "ServiceName",
    "StartTime",
    "EndTime",
    "IncludeShadowTrails",
];

/// Recognises an operation.
pub fn identify(service: Service, region: &str, inbound: &Inbound) -> Result<RpcCall, ApiError> {
    let params = Params::read(inbound);
    let name = inbound
        .header("x-acs-action")
        .or_else(|| params.get("Action"))
        .ok_or_else(|| ApiError::new(400, "MissingAction", "Action is mandatory for this action."))?;
    let (table, version) = match service {
        Service::ActionTrail => (actiontrail::ACTIONS, "2020-07-06"),
        Service::Ram => (ram::api::ACTIONS, "2015-05-01"),
        Service::Sts => (sts::ACTIONS, "2015-04-01"),
        Service::ResourceManager => (ram::api::RESOURCE_MANAGER_ACTIONS, "2020-03-31"),
        Service::LogService => (&[] as &[Action], ""),
    };
    let not_found = || {
        ApiError::new(
            404,
            "InvalidApi.NotFound",
            "The specified API is not found, check its name and version.",
        )
    };
    if inbound.header("x-acs-version").or_else(|| params.get("Version")) != Some(version) {
        return Err(not_found());
    }
    let action = table
        .iter()
        .find(|action| action.name == name)
        .ok_or_else(not_found)?;
    let business = params.business();
    let mut operation = Operation::new(service, action.prefix, action.name, action.write);
    operation.resources = (action.resources)(&params, region);
    operation.event_resource = action
        .event_resource
        .and_then(|(kind, param)| Some((kind.to_owned(), params.get(param)?.to_owned())));
    operation.event_request = Value::Object(event_request(service, &business));
    operation.safe_args = business
        .iter()
        .filter(|(name, _)| SAFE.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.chars().take(200).collect()))
        .collect();
    if let Some(service_name) = params
        .get("ServiceName")
        .filter(|_| action.name == "CreateServiceLinkedRole")
    {
        operation
            .conditions
            .insert("ram:ServiceName".to_owned(), service_name.to_owned());
    }
    let get_only = matches!(action.name, "StopLogging" | "GetGlobalEventsStorageRegion");
    if !matches!(inbound.method, Method::GET | Method::POST) || (get_only && inbound.method != Method::GET) {
        return Err(ApiError::new(
            400,
            "UnsupportedHTTPMethod",
            "This HTTP method is not supported by the requested API.",
        ));
    }
    Ok(RpcCall { operation, params })
}

fn event_request(service: Service, business: &BTreeMap<String, String>) -> Map<String, Value> {
    let mut request: Map<String, Value> = business
        .iter()
        .map(|(name, value)| {
            let value = if MASKED.contains(&name.as_str()) {
                json!("***")
            } else if let Ok(number) = value.parse::<i64>() {
                json!(number)
            } else {
                json!(value)
            };
            (name.clone(), value)
        })
        .collect();
    request.insert("AcsProduct".to_owned(), json!(service.name()));
    request
}

/// A success: the members of `value` plus `RequestId`.
pub fn answer(request_id: &str, value: Value) -> Reply {
    let mut members = match value {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    members.insert("RequestId".to_owned(), json!(request_id));
    Reply::json(&Value::Object(members))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::auth::testing::inbound;

    fn action(method: Method, name: &str, query: &str) -> Result<RpcCall, ApiError> {
        let headers = [("x-acs-action", name), ("x-acs-version", "2020-07-06")];
        identify(
            Service::ActionTrail,
            "cn-hangzhou",
            &inbound(method, "h", "/", query, &headers, ""),
        )
    }

    #[test]
    fn query_and_form_are_merged_and_flags_ignore_case() {
        let request = inbound(
            Method::POST,
            "h",
            "/",
            "Action=CreateTrail&Version=2020-07-06",
            &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
            "Name=abcdef&IsOrganizationTrail=False",
        );
        let call = identify(Service::ActionTrail, "cn-hangzhou", &request).unwrap();
        assert_eq!(call.operation.action, "actiontrail:CreateTrail");
        assert!(call.operation.is_write);
        assert_eq!(call.params.get("Name"), Some("abcdef"));
        assert_eq!(call.params.flag("IsOrganizationTrail").unwrap(), Some(false));
        assert_eq!(call.operation.event_request["Name"], "abcdef");
        assert!(call.operation.event_request.get("Action").is_none());
    }

    #[test]
    fn stop_logging_is_a_write_by_get_only() {
        assert!(
            action(Method::GET, "StopLogging", "Name=abcdef")
                .unwrap()
                .operation
                .is_write
        );
        assert_eq!(
            action(Method::POST, "StopLogging", "").unwrap_err().code,
            "UnsupportedHTTPMethod"
        );
    }

    #[test]
    fn unknown_actions_and_versions_are_not_found() {
        assert_eq!(
            action(Method::POST, "PutEventSelectors", "").unwrap_err().code,
            "InvalidApi.NotFound"
        );
        let request = inbound(
            Method::POST,
            "h",
            "/",
            "Action=CreateTrail&Version=2017-12-04",
            &[],
            "",
        );
        assert_eq!(
            identify(Service::ActionTrail, "r", &request).unwrap_err().status,
            404
        );
    }
}
