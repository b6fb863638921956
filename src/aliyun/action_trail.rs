//! The ActionTrail client: trails and the account's recent events.

use std::fmt;

use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::CallResult;
use super::operation::{Effect, Operation, Quota, Service};
use super::retry::Caller;
use super::rpc::{self, Parameters};
use super::tolerant;

macro_rules! operations {
    ($($name:ident, $action:literal, $effect:ident, $quota:ident;)*) => {$(
        static $name: Operation = Operation {
            service: Service::ActionTrail,
            action: $action,
            effect: Effect::$effect,
            quota: Quota::$quota,
            ram_action: concat!("actiontrail:", $action),
        };
    )*};
}

operations! {
    CREATE_TRAIL, "CreateTrail", Write, ActionTrailWrite;
    UPDATE_TRAIL, "UpdateTrail", Write, ActionTrailWrite;
    DELETE_TRAIL, "DeleteTrail", Write, ActionTrailWrite;
    // Switching on what is on changes nothing, and it only ever protects.
    START_LOGGING, "StartLogging", IdempotentWrite, ActionTrailWrite;
    STOP_LOGGING, "StopLogging", Write, ActionTrailWrite;
    DESCRIBE_TRAILS, "DescribeTrails", Read, ActionTrailRead;
    GET_TRAIL_STATUS, "GetTrailStatus", Read, ActionTrailRead;
    LOOKUP_EVENTS, "LookupEvents", Read, LookupEvents;
}

/// The ActionTrail client. The region of its endpoint is the home region of trails it makes.
#[derive(Clone, Debug)]
pub struct ActionTrail {
    caller: Caller,
}

/// Which events a trail records.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum EventRw {
    /// Reads and writes.
    All,
    /// Writes only.
    Write,
    /// Reads only.
    Read,
}

impl EventRw {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Write => "Write",
            Self::Read => "Read",
        }
    }

    /// The value of the API's word, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::All, Self::Write, Self::Read]
            .into_iter()
            .find(|value| value.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for EventRw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Whether a trail is on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TrailState {
    /// Made and never switched on.
    Fresh,
    /// On.
    Enable,
    /// Switched off.
    Disable,
    /// A word that was not documented.
    Other(String),
}

/// A trail as DescribeTrails shows it. Texts that the answer lacks are `None`, empty ones too.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Trail {
    /// The name, unique in the account.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub name: String,
    /// `Fresh`, `Enable` or `Disable`; see [`Trail::state`].
    #[serde(deserialize_with = "filled")]
    pub status: Option<String>,
    /// The region of the endpoint it was made at.
    #[serde(deserialize_with = "filled")]
    pub home_region: Option<String>,
    /// The region of the answering endpoint.
    #[serde(deserialize_with = "filled")]
    pub region: Option<String>,
    /// `All` or one region.
    #[serde(deserialize_with = "filled")]
    pub trail_region: Option<String>,
    /// `All`, `Write` or `Read`; see [`Trail::events`].
    #[serde(deserialize_with = "filled", rename = "EventRW")]
    pub event_rw: Option<String>,
    /// `acs:actiontrail:<region>:<account>:trail/<name>`.
    #[serde(deserialize_with = "filled")]
    pub trail_arn: Option<String>,
    /// `acs:log:<region>:<account>:project/<project>`.
    #[serde(deserialize_with = "filled")]
    pub sls_project_arn: Option<String>,
    /// The role that writes to the project.
    #[serde(deserialize_with = "filled")]
    pub sls_write_role_arn: Option<String>,
    /// A bucket that is a destination too.
    #[serde(deserialize_with = "filled")]
    pub oss_bucket_name: Option<String>,
    /// Where the bucket is.
    #[serde(deserialize_with = "filled")]
    pub oss_bucket_location: Option<String>,
    /// The prefix of objects in the bucket.
    #[serde(deserialize_with = "filled")]
    pub oss_key_prefix: Option<String>,
    /// The role that writes to the bucket.
    #[serde(deserialize_with = "filled")]
    pub oss_write_role_arn: Option<String>,
    /// A MaxCompute project that is a destination too.
    #[serde(deserialize_with = "filled")]
    pub max_compute_project_arn: Option<String>,
    /// The role that writes to MaxCompute.
    #[serde(deserialize_with = "filled")]
    pub max_compute_write_role_arn: Option<String>,
    /// Whether it records all accounts of an organization.
    #[serde(deserialize_with = "tolerant::boolean")]
    pub is_organization_trail: Option<bool>,
    /// The organization's id.
    #[serde(deserialize_with = "filled")]
    pub organization_id: Option<String>,
    /// When it was made.
    #[serde(deserialize_with = "tolerant::time")]
    pub create_time: Option<Timestamp>,
    /// When it was changed last.
    #[serde(deserialize_with = "tolerant::time")]
    pub update_time: Option<Timestamp>,
    /// When it was switched on last.
    #[serde(deserialize_with = "tolerant::time")]
    pub start_logging_time: Option<Timestamp>,
    /// When it was switched off last.
    #[serde(deserialize_with = "tolerant::time")]
    pub stop_logging_time: Option<Timestamp>,
}

impl Trail {
    /// Whether it is on.
    pub fn state(&self) -> TrailState {
        match self.status.as_deref() {
            Some("Fresh") => TrailState::Fresh,
            Some("Enable") => TrailState::Enable,
            Some("Disable") => TrailState::Disable,
            other => TrailState::Other(other.unwrap_or_default().to_owned()),
        }
    }

    /// Which events it records; `None` for an undocumented word.
    pub fn events(&self) -> Option<EventRw> {
        self.event_rw.as_deref().and_then(EventRw::parse)
    }

    /// What an update has to send so that it changes nothing. `None` for an undocumented kind of events.
    pub fn settings(&self) -> Option<TrailSettings> {
        Some(TrailSettings {
            event_rw: self.events()?,
            trail_region: self.trail_region.clone().unwrap_or_else(|| "All".to_owned()),
            sls_project_arn: self.sls_project_arn.clone(),
            sls_write_role_arn: self.sls_write_role_arn.clone(),
            oss_bucket_name: self.oss_bucket_name.clone(),
            oss_key_prefix: self.oss_key_prefix.clone(),
            oss_write_role_arn: self.oss_write_role_arn.clone(),
            max_compute_project_arn: self.max_compute_project_arn.clone(),
            max_compute_write_role_arn: self.max_compute_write_role_arn.clone(),
        })
    }
}

/// What a trail records and where to. Always sent whole: whether a field that is left out keeps its value is
/// documented nowhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrailSettings {
    /// Which events.
    pub event_rw: EventRw,
    /// `All` or one region.
    pub trail_region: String,
    /// `acs:log:<region>:<account>:project/<project>`.
    pub sls_project_arn: Option<String>,
    /// The role that writes to the project; without it the service-linked role does.
    pub sls_write_role_arn: Option<String>,
    /// A bucket that is a destination too.
    pub oss_bucket_name: Option<String>,
    /// The prefix of objects in the bucket.
    pub oss_key_prefix: Option<String>,
    /// The role that writes to the bucket.
    pub oss_write_role_arn: Option<String>,
    /// A MaxCompute project that is a destination too.
    pub max_compute_project_arn: Option<String>,
    /// The role that writes to MaxCompute.
    pub max_compute_write_role_arn: Option<String>,
}

impl TrailSettings {
    /// All events of all regions into one project.
    pub fn into_project(sls_project_arn: impl Into<String>) -> Self {
        Self {
            event_rw: EventRw::All,
            trail_region: "All".to_owned(),
            sls_project_arn: Some(sls_project_arn.into()),
            sls_write_role_arn: None,
            oss_bucket_name: None,
            oss_key_prefix: None,
            oss_write_role_arn: None,
            max_compute_project_arn: None,
            max_compute_write_role_arn: None,
        }
    }

    fn parameters(&self, name: &str) -> Parameters {
        let Self {
            event_rw,
            trail_region,
            sls_project_arn,
            sls_write_role_arn,
            oss_bucket_name,
            oss_key_prefix,
            oss_write_role_arn,
            max_compute_project_arn,
            max_compute_write_role_arn,
        } = self;
        Parameters::new()
            .with("Name", name)
            .with("EventRW", event_rw.as_str())
            .with("TrailRegion", trail_region.as_str())
            .with_some("SlsProjectArn", sls_project_arn.as_deref())
            .with_some("SlsWriteRoleArn", sls_write_role_arn.as_deref())
            .with_some("OssBucketName", oss_bucket_name.as_deref())
            .with_some("OssKeyPrefix", oss_key_prefix.as_deref())
            .with_some("OssWriteRoleArn", oss_write_role_arn.as_deref())
            .with_some("MaxComputeProjectArn", max_compute_project_arn.as_deref())
            .with_some("MaxComputeWriteRoleArn", max_compute_write_role_arn.as_deref())
    }
}

/// How a trail is doing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "PascalCase")]
pub struct TrailStatus {
    /// Whether it is on.
    #[serde(deserialize_with = "tolerant::boolean")]
    pub is_logging: Option<bool>,
    /// When it was switched on last.
    #[serde(deserialize_with = "tolerant::time")]
    pub start_logging_time: Option<Timestamp>,
    /// When it was switched off last.
    #[serde(deserialize_with = "tolerant::time")]
    pub stop_logging_time: Option<Timestamp>,
    /// The last delivery to any destination.
    #[serde(deserialize_with = "tolerant::time")]
    pub latest_delivery_time: Option<Timestamp>,
    /// The last failure at any destination.
    #[serde(deserialize_with = "filled")]
    pub latest_delivery_error: Option<String>,
    /// The last delivery to Log Service.
    #[serde(deserialize_with = "tolerant::time")]
    pub latest_delivery_log_service_time: Option<Timestamp>,
    /// The last failure at Log Service.
    #[serde(deserialize_with = "filled")]
    pub latest_delivery_log_service_error: Option<String>,
    /// Whether the bucket can be reached.
    #[serde(deserialize_with = "tolerant::boolean")]
    pub oss_bucket_status: Option<bool>,
    /// Whether the log store can be reached.
    #[serde(deserialize_with = "tolerant::boolean")]
    pub sls_log_store_status: Option<bool>,
}

/// What LookupEvents can search by. Compared exactly, with case.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LookupKey {
    /// The service's name.
    ServiceName,
    /// The action.
    EventName,
    /// The user.
    User,
    /// The event's id.
    EventId,
    /// The type of a resource.
    ResourceType,
    /// The name of a resource.
    ResourceName,
    /// `Read` or `Write`.
    EventRw,
    /// The access key.
    EventAccessKeyId,
}

impl LookupKey {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceName => "ServiceName",
            Self::EventName => "EventName",
            Self::User => "User",
            Self::EventId => "EventId",
            Self::ResourceType => "ResourceType",
            Self::ResourceName => "ResourceName",
            Self::EventRw => "EventRW",
            Self::EventAccessKeyId => "EventAccessKeyId",
        }
    }
}

/// What LookupEvents is asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EventLookup {
    /// From and to; without it the last seven days. At most 30 days long and 90 days back.
    pub window: Option<(Timestamp, Timestamp)>,
    /// At most two conditions that all hold.
    pub attributes: Vec<(LookupKey, String)>,
    /// Events per page, 1 to 50.
    pub max_results: Option<u8>,
    /// Where the page before ended.
    pub next_token: Option<String>,
    /// Oldest first instead of newest first.
    pub forward: bool,
}

/// One page of events.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<TrailEvent>,
    /// What asks for the next page; `None` at the end.
    pub next_token: Option<String>,
}

/// An audit event, in the form that both LookupEvents and a trail's log store hold.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct TrailEvent {
    /// The event's id; the same event may be delivered twice.
    #[serde(deserialize_with = "filled")]
    pub event_id: Option<String>,
    /// When it happened.
    #[serde(deserialize_with = "tolerant::time")]
    pub event_time: Option<Timestamp>,
    /// The action.
    #[serde(deserialize_with = "filled")]
    pub event_name: Option<String>,
    /// The service's name, such as `Ram`.
    #[serde(deserialize_with = "filled")]
    pub service_name: Option<String>,
    /// The host that was called.
    #[serde(deserialize_with = "filled")]
    pub event_source: Option<String>,
    /// `Read` or `Write`.
    #[serde(deserialize_with = "filled", rename = "eventRW")]
    pub event_rw: Option<String>,
    /// `ApiCall`, `ConsoleSignin` and others.
    #[serde(deserialize_with = "filled")]
    pub event_type: Option<String>,
    /// The cloud's id of the request.
    #[serde(deserialize_with = "filled")]
    pub request_id: Option<String>,
    /// The region.
    #[serde(deserialize_with = "filled")]
    pub acs_region: Option<String>,
    /// The caller's address, or the host of a calling service.
    #[serde(deserialize_with = "filled")]
    pub source_ip_address: Option<String>,
    /// The caller's program, as it called itself.
    #[serde(deserialize_with = "filled")]
    pub user_agent: Option<String>,
    /// The code of a failed call; `None` for success.
    #[serde(deserialize_with = "filled")]
    pub error_code: Option<String>,
    /// The message of a failed call.
    #[serde(deserialize_with = "filled")]
    pub error_message: Option<String>,
    /// Types of the resources, joined by `;`.
    #[serde(deserialize_with = "filled")]
    pub resource_type: Option<String>,
    /// Names of the resources, joined by `;`.
    #[serde(deserialize_with = "filled")]
    pub resource_name: Option<String>,
    /// Who called.
    #[serde(deserialize_with = "object")]
    pub user_identity: UserIdentity,
    /// The call's parameters.
    #[serde(deserialize_with = "object")]
    pub request_parameters: Map<String, Value>,
}

/// Who made the call of an event.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct UserIdentity {
    /// `root-account`, `ram-user`, `assumed-role`, `system` and others.
    #[serde(deserialize_with = "filled", rename = "type")]
    pub kind: Option<String>,
    /// The account.
    #[serde(deserialize_with = "filled")]
    pub account_id: Option<String>,
    /// The identity's id; for a role `<roleId>:<session>`.
    #[serde(deserialize_with = "filled")]
    pub principal_id: Option<String>,
    /// `root`, the user, or `<role>:<session>`; the session's name is the caller's own choice.
    #[serde(deserialize_with = "filled")]
    pub user_name: Option<String>,
    /// The access key; absent for the console.
    #[serde(deserialize_with = "filled")]
    pub access_key_id: Option<String>,
}

impl TrailEvent {
    /// The event in the field `event` of a row in a trail's log store.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TrailList {
    #[serde(rename = "TrailList")]
    trails: Option<Vec<Trail>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct EventList {
    events: Option<Vec<Value>>,
    #[serde(deserialize_with = "filled")]
    next_token: Option<String>,
}

impl ActionTrail {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }

    /// Makes a trail for this account. It records nothing until [`ActionTrail::start_logging`].
    pub async fn create_trail(&self, name: &str, settings: &TrailSettings) -> CallResult<()> {
        let parameters = settings.parameters(name);
        self.write(&CREATE_TRAIL, Method::POST, parameters, self.any_trail())
            .await
    }

    /// Sets all settings of a trail. Read it first and send back what is to stay; see [`Trail::settings`].
    pub async fn update_trail(&self, name: &str, settings: &TrailSettings) -> CallResult<()> {
        self.write(
            &UPDATE_TRAIL,
            Method::POST,
            settings.parameters(name),
            self.trail(name),
        )
        .await
    }

    /// Removes a trail. Its project, log store and data stay.
    pub async fn delete_trail(&self, name: &str) -> CallResult<()> {
        self.write(
            &DELETE_TRAIL,
            Method::POST,
            Parameters::new().with("Name", name),
            self.trail(name),
        )
        .await
    }

    /// Switches a trail on.
    pub async fn start_logging(&self, name: &str) -> CallResult<()> {
        self.write(
            &START_LOGGING,
            Method::POST,
            Parameters::new().with("Name", name),
            self.trail(name),
        )
        .await
    }

    /// Switches a trail off. The one write of this API that is a GET.
    pub async fn stop_logging(&self, name: &str) -> CallResult<()> {
        self.write(
            &STOP_LOGGING,
            Method::GET,
            Parameters::new().with("Name", name),
            self.trail(name),
        )
        .await
    }

    /// The trails of these names, or all of them. A name that does not exist is just not in the list.
    /// `include_shadow` adds trails of other home regions; organization trails are always included.
    pub async fn describe_trails(&self, names: &[&str], include_shadow: bool) -> CallResult<Vec<Trail>> {
        let list = (!names.is_empty()).then(|| names.join(","));
        let parameters = Parameters::new()
            .with_some("NameList", list.as_deref())
            .with("IncludeShadowTrails", include_shadow.to_string())
            .with("IncludeOrganizationTrail", "true");
        let resource = self.any_trail();
        let answer = rpc::call::<TrailList>(&self.caller, &DESCRIBE_TRAILS, parameters, resource).await?;
        Ok(answer.map(|list| list.trails.unwrap_or_default()))
    }

    /// How a trail is doing.
    pub async fn get_trail_status(&self, name: &str) -> CallResult<TrailStatus> {
        let parameters = Parameters::new().with("Name", name);
        rpc::call(&self.caller, &GET_TRAIL_STATUS, parameters, self.trail(name)).await
    }

    /// One page of the account's events of the last 90 days.
    pub async fn lookup_events(&self, lookup: &EventLookup) -> CallResult<EventPage> {
        let EventLookup {
            window,
            attributes,
            max_results,
            next_token,
            forward,
        } = lookup;
        let mut parameters = Parameters::new()
            .with("Direction", if *forward { "FORWARD" } else { "BACKWARD" })
            .with_some("NextToken", next_token.as_deref());
        if let Some((from, to)) = window {
            let text = |time: &Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            parameters = parameters.with("StartTime", text(from)).with("EndTime", text(to));
        }
        if let Some(count) = max_results {
            parameters = parameters.with("MaxResults", count.clamp(&1, &50).to_string());
        }
        for (number, (key, value)) in (1..).zip(attributes) {
            parameters = parameters
                .with(format!("LookupAttribute.{number}.Key"), key.as_str())
                .with(format!("LookupAttribute.{number}.Value"), value.as_str());
        }
        let resource = "*".to_owned();
        let answer = rpc::call::<EventList>(&self.caller, &LOOKUP_EVENTS, parameters, resource).await?;
        Ok(answer.map(|list| EventPage {
            events: list
                .events
                .unwrap_or_default()
                .into_iter()
                .filter_map(event)
                .collect(),
            next_token: list.next_token,
        }))
    }

    async fn write(
        &self,
        operation: &'static Operation,
        method: Method,
        parameters: Parameters,
        resource: String,
    ) -> CallResult<()> {
        rpc::send(&self.caller, operation, method, parameters, resource, rpc::done).await
    }

    fn any_trail(&self) -> String {
        self.trail("*")
    }

    fn trail(&self, name: &str) -> String {
        format!(
            "acs:actiontrail:{}:{}:trail/{name}",
            self.caller.region(),
            self.caller.account()
        )
    }
}

/// An event that is an object, or the JSON text of one.
fn event(value: Value) -> Option<TrailEvent> {
    match value {
        Value::String(text) => TrailEvent::parse(&text),
        other => serde_json::from_value(other).ok(),
    }
}

/// Text, where empty text means that there is none.
fn filled<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(tolerant::text(deserializer)?.filter(|text| !text.is_empty()))
}

/// An object, where anything else means an empty one.
fn object<'de, D: serde::Deserializer<'de>, T: serde::de::DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

#[cfg(test)]
mod tests;
