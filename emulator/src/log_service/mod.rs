//! Simple Log Service: projects, tags, log stores, indexes, jobs, logs and queries.
//!
//! The seam types below are shared with the engine; see the crate's documentation.

pub mod assumptions;
pub mod index;
pub mod search;

use jiff::Timestamp;
use serde_json::Value;

use crate::call::{CallContext, Operation, Tick};
use crate::protection::Facts;
use crate::wire::{ApiError, Inbound, Reply};

/// A request routed to Log Service.
#[derive(Debug, Clone, Copy)]
pub struct LogRequest<'a> {
    /// The request.
    pub inbound: &'a Inbound,
    /// Project from the host prefix.
    pub project: Option<&'a str>,
    /// Region of the endpoint.
    pub region: &'a str,
}

/// An identified call with its parsed arguments.
#[derive(Debug, Clone)]
pub struct LogCall {
    /// What the engine needs.
    pub operation: Operation,
}

/// All projects of all accounts.
#[derive(Debug, Default)]
pub struct State {}

/// Why a vendor's door did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VendorError {
    /// No such project (in that region).
    ProjectNotExist,
    /// No such log store.
    LogStoreNotExist,
}

/// A log store that ActionTrail makes for itself.
#[derive(Debug, Clone)]
pub struct VendorStore {
    /// Days, 3650 = permanent.
    pub ttl: u32,
    /// Shards.
    pub shards: u32,
    /// Index configuration as CreateIndex takes it.
    pub index: Value,
    /// Dashboard to make beside it, if any.
    pub dashboard: Option<String>,
}

/// A log that ActionTrail writes.
#[derive(Debug, Clone)]
pub struct VendorLog {
    /// `__time__`, epoch seconds.
    pub time: i64,
    /// `__topic__`.
    pub topic: String,
    /// `__source__`.
    pub source: String,
    /// Fields.
    pub contents: Vec<(String, String)>,
}

/// Recognises the operation and parses its arguments from the request alone.
pub fn identify(_request: &LogRequest<'_>) -> Result<LogCall, ApiError> {
    Err(ApiError::new(
        405,
        "InvalidMethod",
        "this operation is not emulated",
    ))
}

/// Runs an identified call.
pub fn execute(_call: LogCall, _state: &mut State, _cx: &CallContext<'_>) -> Result<Reply, ApiError> {
    Err(ApiError::new(
        405,
        "InvalidMethod",
        "this operation is not emulated",
    ))
}

impl State {
    /// Does background work up to `tick.now`.
    pub fn advance(&mut self, _tick: &Tick<'_>) {}

    /// Writes what protects the audit of `account`.
    pub fn facts(&self, _account: &str, _facts: &mut Facts) {}

    /// All managed settings of `account`: no logs, no modification times.
    pub fn summary(&self, _account: &str) -> Value {
        Value::Null
    }

    /// Account that owns a project of a region.
    pub fn project_owner(&self, _region: &str, _project: &str) -> Option<&str> {
        None
    }

    /// Whether a log store exists.
    pub fn store_exists(&self, _region: &str, _project: &str, _store: &str) -> bool {
        false
    }

    /// Makes a vendor's log store with its index and dashboard; leaves an existing one as it is.
    pub fn vendor_create_store(
        &mut self,
        _region: &str,
        _project: &str,
        _store: &str,
        _spec: &VendorStore,
        _now: Timestamp,
    ) -> Result<(), VendorError> {
        Err(VendorError::ProjectNotExist)
    }

    /// Appends logs to a vendor's log store; `received` is the time on the emulator's clock.
    pub fn vendor_append(
        &mut self,
        _region: &str,
        _project: &str,
        _store: &str,
        _logs: Vec<VendorLog>,
        _received: Timestamp,
    ) -> Result<(), VendorError> {
        Err(VendorError::ProjectNotExist)
    }

    /// Puts the vendor's index back over whatever is there.
    pub fn vendor_restore_index(
        &mut self,
        _region: &str,
        _project: &str,
        _store: &str,
        _index: &Value,
        _now: Timestamp,
    ) -> Result<(), VendorError> {
        Err(VendorError::LogStoreNotExist)
    }
}
