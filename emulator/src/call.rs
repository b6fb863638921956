//! What the engine must know of a call before it runs it, and what a service knows while it runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::assumptions::Assumptions;
use crate::identity::Caller;
use crate::quota::Quotas;
use crate::ram;

/// The emulated services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Simple Log Service (REST).
    LogService,
    /// ActionTrail 2020-07-06.
    ActionTrail,
    /// RAM 2015-05-01.
    Ram,
    /// STS 2015-04-01.
    Sts,
    /// ResourceManager 2020-03-31.
    ResourceManager,
}

impl Service {
    /// The product name used in faults and in the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogService => "Log",
            Self::ActionTrail => "Actiontrail",
            Self::Ram => "Ram",
            Self::Sts => "Sts",
            Self::ResourceManager => "ResourceManager",
        }
    }

    /// Whether the service has one global endpoint, so that its events are seen in every region.
    pub fn is_global(self) -> bool {
        matches!(self, Self::Ram | Self::Sts | Self::ResourceManager)
    }
}

/// Management calls become events of trails; data calls (reading and writing logs) do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventClass {
    /// Recorded.
    Management,
    /// Not recorded by a management trail.
    Data,
}

/// An identified call: pure facts about it, taken from the request alone.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Which service.
    pub service: Service,
    /// Operation name, also the event's name: `CreateProject`.
    pub name: &'static str,
    /// RAM action: `log:CreateProject`.
    pub action: String,
    /// Resource ARNs that must all be allowed; `*` where the service has no finer one. The account part may
    /// be written as `{account}`: the engine puts the caller's account there.
    pub resources: Vec<String>,
    /// Whether the emulator's own action table marks it as a write.
    pub is_write: bool,
    /// Whether it is recorded.
    pub class: EventClass,
    /// `resourceType` and `resourceName` of the event, for example `("ACS::SLS::Project", "p1")`.
    pub event_resource: Option<(String, String)>,
    /// `requestParameters` of the event; secrets already masked.
    pub event_request: Value,
    /// Arguments that may stand in the journal in plain text: names, ttl, region.
    pub safe_args: BTreeMap<String, String>,
    /// Facts for policy conditions beside the common ones, for example `ram:ServiceName`.
    pub conditions: BTreeMap<String, String>,
}

impl Operation {
    /// A recorded operation with `{prefix}:{name}` as RAM action and no resource finer than `*`.
    pub fn new(service: Service, prefix: &str, name: &'static str, is_write: bool) -> Self {
        Self {
            service,
            name,
            action: format!("{prefix}:{name}"),
            resources: vec!["*".to_owned()],
            is_write,
            class: EventClass::Management,
            event_resource: None,
            event_request: Value::Object(serde_json::Map::new()),
            safe_args: BTreeMap::new(),
            conditions: BTreeMap::new(),
        }
    }
}

/// What a service may look at while it runs a call.
#[derive(Debug, Clone, Copy)]
pub struct CallContext<'a> {
    /// Verified caller.
    pub caller: &'a Caller,
    /// Region of the endpoint that was called.
    pub region: &'a str,
    /// Time of the call on the emulator's clock.
    pub now: Timestamp,
    /// Request id of the call.
    pub request_id: &'a str,
    /// Chosen behaviours.
    pub assumptions: &'a Assumptions,
    /// Limits.
    pub quotas: &'a Quotas,
    /// RAM objects, for roles named in arguments.
    pub ram: &'a ram::State,
}

/// What background work may look at.
#[derive(Debug, Clone, Copy)]
pub struct Tick<'a> {
    /// Time on the emulator's clock up to which work is due.
    pub now: Timestamp,
    /// Chosen behaviours.
    pub assumptions: &'a Assumptions,
    /// RAM objects, for the roles that jobs run as.
    pub ram: &'a ram::State,
}
