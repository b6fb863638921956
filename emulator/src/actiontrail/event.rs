//! The event that a call becomes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::assumptions::{AssumeRoleRw, Assumptions, EventIdForm, EventVersion, LogServiceName};
use crate::call::{Operation, Service};
use crate::clock::iso_seconds;
use crate::identity::{Caller, Principal};
use crate::ids::Ids;
use crate::wire::{ApiError, Inbound, Reply};

/// Everything that is known of a call once it has run.
#[derive(Debug)]
pub struct Call<'a> {
    /// What it was.
    pub operation: &'a Operation,
    /// Whose key signed it.
    pub caller: &'a Caller,
    /// The request.
    pub inbound: &'a Inbound,
    /// Host name called.
    pub host: &'a str,
    /// Region of the endpoint.
    pub region: &'a str,
    /// Request id.
    pub request_id: &'a str,
    /// When the key was made.
    pub key_created: Option<Timestamp>,
    /// How it ended.
    pub result: &'a Result<Reply, ApiError>,
    /// When it ran.
    pub now: Timestamp,
}

/// An event with what selection by trails and lookups needs.
#[derive(Debug, Clone)]
pub struct Event {
    /// Time of the call.
    pub time: Timestamp,
    /// Whether it is a write.
    pub is_write: bool,
    /// Region.
    pub region: String,
    /// Whether it belongs to a global service.
    pub is_global: bool,
    /// The event itself.
    pub value: Value,
}

impl Event {
    /// Reads an event that was imported as JSON. The event time is needed; the rest has defaults.
    pub fn import(value: Value) -> Result<Self, String> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let time = text("eventTime")
            .ok_or("eventTime is missing")?
            .parse()
            .map_err(|_| "eventTime is not a time".to_owned())?;
        Ok(Self {
            time,
            is_write: text("eventRW") != Some("Read"),
            region: text("acsRegion").unwrap_or("cn-hangzhou").to_owned(),
            is_global: value.get("isGlobal").and_then(Value::as_bool).unwrap_or(false),
            value,
        })
    }
}

/// Builds the event of a call.
pub fn build(call: &Call<'_>, assumptions: &Assumptions, ids: &mut Ids) -> Event {
    let Call {
        operation,
        caller,
        inbound,
        host,
        region,
        request_id,
        key_created,
        result,
        now,
    } = call;
    let is_write = match operation.name {
        "AssumeRole" => assumptions.get::<AssumeRoleRw>() == AssumeRoleRw::Write,
        _ => operation.is_write,
    };
    let is_global = operation.service.is_global();
    let event_id = match assumptions.get::<EventIdForm>() {
        EventIdForm::RequestId => (*request_id).to_owned(),
        EventIdForm::OwnUuid => ids.uuid().to_lowercase(),
    };
    let version = match assumptions.get::<EventVersion>() {
        EventVersion::Number => json!(1),
        EventVersion::Text => json!("1"),
    };
    let mut event = json!({
        "eventId": event_id,
        "eventVersion": version,
        "eventName": operation.name,
        "eventSource": host,
        "eventTime": iso_seconds(*now),
        "eventType": "ApiCall",
        "eventRW": if is_write { "Write" } else { "Read" },
        "eventCategory": "Management",
        "serviceName": service_name(operation.service, assumptions),
        "apiVersion": api_version(operation.service),
        "acsRegion": region,
        "requestId": request_id,
        "sourceIpAddress": inbound.peer.ip().to_string(),
        "userAgent": inbound.header("user-agent").unwrap_or_default(),
        "recipientAccountId": caller.account,
        "userIdentity": identity(caller, *key_created, *now),
    });
    let members = event.as_object_mut().expect("a JSON object was built");
    if is_global {
        members.insert("isGlobal".to_owned(), json!(true));
    }
    let request = request_parameters(operation, caller, host);
    members.insert(
        "requestParameterJson".to_owned(),
        json!(Value::Object(request.clone()).to_string()),
    );
    members.insert("requestParameters".to_owned(), Value::Object(request));
    if let Some((kind, name)) = &operation.event_resource {
        let name = short_name(name);
        members.insert("resourceType".to_owned(), json!(kind));
        members.insert("resourceName".to_owned(), json!(name));
        let referenced: BTreeMap<&String, [&str; 1]> = BTreeMap::from([(kind, [name])]);
        members.insert("referencedResources".to_owned(), json!(referenced));
    }
    match result {
        Ok(reply) => {
            if let Some(response) = &reply.event_response {
                members.insert("responseElements".to_owned(), response.clone());
            }
        }
        Err(error) => {
            members.insert("errorCode".to_owned(), json!(error.code));
            // A signature error's text repeats what was signed, tokens included.
            let shown = if error.code.starts_with("Signature") {
                ""
            } else {
                &error.message
            };
            members.insert("errorMessage".to_owned(), json!(shown));
        }
    }
    Event {
        time: *now,
        is_write,
        region: (*region).to_owned(),
        is_global,
        value: event,
    }
}

/// A role is named by its ARN in requests and by its name in events.
fn short_name(name: &str) -> &str {
    if name.starts_with("acs:ram::") {
        name.rsplit('/').next().unwrap_or(name)
    } else {
        name
    }
}

fn service_name(service: Service, assumptions: &Assumptions) -> &'static str {
    match service {
        Service::LogService => match assumptions.get::<LogServiceName>() {
            LogServiceName::Sls => "Sls",
            LogServiceName::Log => "Log",
        },
        other => other.name(),
    }
}

fn api_version(service: Service) -> &'static str {
    match service {
        Service::LogService => "2020-12-30",
        Service::ActionTrail => "2020-07-06",
        Service::Ram => "2015-05-01",
        Service::Sts => "2015-04-01",
        Service::ResourceManager => "2020-03-31",
    }
}

fn request_parameters(operation: &Operation, caller: &Caller, host: &str) -> Map<String, Value> {
    let mut request = operation.event_request.as_object().cloned().unwrap_or_default();
    request.insert("AcsHost".to_owned(), json!(host));
    if let Principal::AssumedRole { role, session, .. } = &caller.principal {
        request.insert(
            "stsTokenPrincipalName".to_owned(),
            json!(format!("{role}/{session}")),
        );
        request.insert("stsTokenPlayerUid".to_owned(), json!(caller.account));
    }
    request
}

fn identity(caller: &Caller, key_created: Option<Timestamp>, now: Timestamp) -> Value {
    let kind = match &caller.principal {
        Principal::Root => "root-account",
        Principal::User { .. } => "ram-user",
        Principal::AssumedRole { .. } => "assumed-role",
        Principal::System { service } => return json!({"type": "system", "userName": service}),
    };
    json!({
        "type": kind,
        "accountId": caller.account,
        "principalId": caller.principal_id(),
        "userName": caller.user_name(),
        "accessKeyId": caller.access_key_id,
        "sessionContext": {"attributes": {
            "creationDate": iso_seconds(key_created.unwrap_or(now)),
            "mfaAuthenticated": "false",
        }},
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::Method;

    use super::*;
    use crate::assumptions::Profile;
    use crate::auth::testing::inbound;

    fn event(principal: Principal, result: &Result<Reply, ApiError>) -> Value {
        let mut operation = Operation::new(Service::Sts, "sts", "AssumeRole", false);
        operation.event_request = json!({"RoleArn": "acs:ram::1:role/trainer", "AcsProduct": "Sts"});
        operation.event_resource = Some(("ACS::RAM::Role".into(), "acs:ram::1:role/trainer".into()));
        let caller = Caller {
            account: "1".into(),
            principal,
            access_key_id: "LTAIx".into(),
        };
        let request = inbound(
            Method::POST,
            "sts.aliyuncs.com",
            "/",
            "",
            &[("user-agent", "example-client/1.0")],
            "",
        );
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let call = Call {
            operation: &operation,
            caller: &caller,
            inbound: &request,
            host: "sts.aliyuncs.com",
            region: "cn-hangzhou",
            request_id: "7F1C2A30-0000-4000-8000-00000000A001",
            key_created: Some(now),
            result,
            now,
        };
        build(
            &call,
            &Assumptions::profile(Profile::Documented),
            &mut Ids::new(0),
        )
        .value
    }

    #[test]
    fn a_users_call_has_the_published_shape() {
        let ok = Ok(Reply::empty().event(json!({"AssumedRoleUser": {"Arn": "a"}})));
        let event = event(
            Principal::User {
                name: "alice".into(),
                id: "200000000000000001".into(),
            },
            &ok,
        );
        for (pointer, expected) in [
            ("/eventId", json!("7F1C2A30-0000-4000-8000-00000000A001")),
            ("/eventName", json!("AssumeRole")),
            ("/eventSource", json!("sts.aliyuncs.com")),
            ("/eventTime", json!("2026-01-02T03:04:05Z")),
            ("/eventRW", json!("Write")),
            ("/serviceName", json!("Sts")),
            ("/isGlobal", json!(true)),
            ("/sourceIpAddress", json!("127.0.0.1")),
            ("/userAgent", json!("example-client/1.0")),
            ("/userIdentity/type", json!("ram-user")),
            ("/userIdentity/principalId", json!("200000000000000001")),
            ("/userIdentity/userName", json!("alice")),
            ("/userIdentity/accessKeyId", json!("LTAIx")),
            (
                "/userIdentity/sessionContext/attributes/mfaAuthenticated",
                json!("false"),
            ),
            ("/requestParameters/RoleArn", json!("acs:ram::1:role/trainer")),
            ("/responseElements/AssumedRoleUser/Arn", json!("a")),
            ("/resourceType", json!("ACS::RAM::Role")),
            ("/resourceName", json!("trainer")),
            ("/referencedResources/ACS::RAM::Role/0", json!("trainer")),
        ] {
            assert_eq!(event.pointer(pointer), Some(&expected), "{pointer}");
        }
        assert!(event.get("errorCode").is_none());
    }

    #[test]
    fn a_sessions_failed_call_names_session_and_error() {
        let failed = Err(ApiError::new(403, "NoPermission", "no"));
        let event = event(
            Principal::AssumedRole {
                role: "r".into(),
                role_id: "3".into(),
                session: "s".into(),
            },
            &failed,
        );
        assert_eq!(event["userIdentity"]["type"], "assumed-role");
        assert_eq!(event["userIdentity"]["userName"], "r:s");
        assert_eq!(event["userIdentity"]["principalId"], "3:s");
        assert_eq!(event["requestParameters"]["stsTokenPrincipalName"], "r/s");
        assert_eq!(event["errorCode"], "NoPermission");
        assert!(event.get("responseElements").is_none());
    }

    #[test]
    fn a_signature_errors_text_stays_out() {
        let failed = Err(ApiError::new(
            400,
            "SignatureDoesNotMatch",
            "server string to sign is:marked",
        ));
        assert!(!event(Principal::Root, &failed).to_string().contains("marked"));
    }

    #[test]
    fn imported_events_need_a_time() {
        assert!(Event::import(json!({})).is_err());
        let event = Event::import(json!({"eventTime": "2026-01-02T03:04:05Z", "eventRW": "Read"})).unwrap();
        assert!(!event.is_write);
    }
}
