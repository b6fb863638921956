//! The journal: one row per call, the oracle of every test. No secret ever enters it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::protection::Effect;

/// One call.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Number of the call, from 1, never reused within a run.
    pub seq: u64,
    /// Time of execution on the emulator's clock, with milliseconds.
    pub time: String,
    /// Account; absent if no key was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Caller's ARN; absent if the signature was not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Service.
    pub service: &'static str,
    /// Operation; `Unknown` if it was not recognised.
    pub action: String,
    /// By the emulator's own action table.
    pub is_write: bool,
    /// Resource ARNs.
    pub resources: Vec<String>,
    /// Region of the endpoint.
    pub region: String,
    /// Request id.
    pub request_id: String,
    /// User agent.
    pub user_agent: String,
    /// HTTP method.
    pub method: String,
    /// Status; 0 if the call was dropped before it ran.
    pub status: u16,
    /// Error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// HMAC of method, path and all arguments, with a key of this run.
    pub args_hash: String,
    /// Names and sizes in plain text.
    pub args: BTreeMap<String, String>,
    /// Whether any managed setting changed.
    pub changed: bool,
    /// What the call did to the audit's protection.
    pub effects: Vec<Effect>,
    /// Ids of the faults that applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<u64>,
}

/// All rows of a run.
#[derive(Debug, Default)]
pub struct Journal {
    rows: Vec<Row>,
    last: u64,
}

impl Journal {
    /// Number for the next row.
    pub fn next_seq(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Rows with a number above `since`.
    pub fn since(&self, since: u64) -> &[Row] {
        let from = self.rows.partition_point(|row| row.seq <= since);
        &self.rows[from..]
    }

    /// Highest number given.
    pub fn last_seq(&self) -> u64 {
        self.last
    }

    /// Forgets the rows; numbers go on.
    pub fn clear(&mut self) {
        self.rows.clear();
    }
}
