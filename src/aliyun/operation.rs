//! Owns the static facts about each API action: its service, what repeating it means, which rate it
//! counts against and which RAM permission it takes.

use std::fmt;

/// The services this crate speaks to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Service {
    /// Simple Log Service, REST, version 0.6.0 on the wire.
    LogService,
    /// ActionTrail 2020-07-06.
    ActionTrail,
    /// Resource Access Management 2015-05-01.
    Ram,
    /// Security Token Service 2015-04-01.
    Sts,
    /// Resource Management 2020-03-31.
    ResourceManager,
}

impl Service {
    /// Every service, for tables and metrics.
    pub const ALL: [Self; 5] = [
        Self::LogService,
        Self::ActionTrail,
        Self::Ram,
        Self::Sts,
        Self::ResourceManager,
    ];

    /// Short name for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LogService => "log",
            Self::ActionTrail => "actiontrail",
            Self::Ram => "ram",
            Self::Sts => "sts",
            Self::ResourceManager => "resourcemanager",
        }
    }

    /// The version an RPC service is called by; `None` for Log Service, which has none per action.
    pub const fn rpc_version(self) -> Option<&'static str> {
        match self {
            Self::LogService => None,
            Self::ActionTrail => Some("2020-07-06"),
            Self::Ram => Some("2015-05-01"),
            Self::Sts => Some("2015-04-01"),
            Self::ResourceManager => Some("2020-03-31"),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What sending a call a second time may do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Effect {
    /// Changes nothing: repeated whenever that may help.
    Read,
    /// Changes something, and once more changes nothing further: repeated like a read.
    IdempotentWrite,
    /// Changes something, and a repetition might undo what others did in between: never repeated
    /// when the outcome of an attempt is not known.
    Write,
}

/// Calls that share one published rate.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Quota {
    /// Log Service's management calls.
    LogManagement,
    /// Log Service's reading of log data, limited per project and shard by the cloud.
    LogData,
    /// ActionTrail's writes on trails.
    ActionTrailWrite,
    /// ActionTrail's reads of trails.
    ActionTrailRead,
    /// ActionTrail's LookupEvents.
    LookupEvents,
    /// RAM.
    Ram,
    /// ResourceManager.
    ResourceManager,
    /// STS.
    Sts,
}

/// One API action.
#[derive(Debug)]
pub struct Operation {
    /// The service it belongs to.
    pub service: Service,
    /// The API's own name of it.
    pub action: &'static str,
    /// What repeating it means.
    pub effect: Effect,
    /// The rate it counts against.
    pub quota: Quota,
    /// The RAM action that allows it.
    pub ram_action: &'static str,
}

impl Operation {
    /// Whether the action changes anything in the cloud.
    pub const fn is_write(&self) -> bool {
        matches!(self.effect, Effect::Write | Effect::IdempotentWrite)
    }
}

/// What an identity would have to be allowed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Permission {
    /// The RAM action, such as `log:CreateProject`.
    pub action: String,
    /// The resource's ARN, such as `acs:log:cn-hangzhou:1234567890123456:project/audit`.
    pub resource: String,
}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "allow {} on {}", self.action, self.resource)
    }
}
