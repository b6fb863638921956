//! An emulator of Alibaba Cloud Log Service, ActionTrail, RAM, STS and ResourceManager on one port.
//!
//! It keeps everything in memory, verifies signatures, identities and RAM policies, and closes the loop:
//! every call becomes an ActionTrail event, trails that log deliver it into a log store. Unmodified
//! official SDKs judge it; it shares no model, constant or signing code with any client.
//!
//! # The path of a call
//!
//! ```text
//! server      HTTP -> wire::Inbound, route by Host (route)
//! engine      identify -> authenticate -> faults(before) -> quotas -> RAM -> execute -> effects
//!             -> journal -> ActionTrail event -> faults(after) -> wire::Reply
//! ```
//!
//! # The seam between the engine and Log Service
//!
//! [`log_service`] is plugged in by four functions and one state type; everything else is the engine's:
//!
//! - `log_service::identify(&LogRequest) -> Result<LogCall, ApiError>`: pure; recognises the operation and
//!   parses its arguments, without looking at any state. [`call::Operation`] inside says what the engine
//!   needs: RAM action and resource ARNs, write or read, the event's name, safe arguments for the journal.
//! - `log_service::execute(LogCall, &mut log_service::State, &CallContext) -> Result<Reply, ApiError>`:
//!   after signature, throttling and RAM have passed. The engine turns an [`wire::ApiError`] into
//!   `{"errorCode","errorMessage"}` and adds `x-log-requestid` and `Date` to every answer.
//! - `State::advance(&mut self, &Tick)`: lets background work (data transformation, index switches) happen
//!   up to `tick.now`; called before each call, after each delivery and at least five times a second.
//! - `State::facts(&self, account, &mut Facts)` and `State::summary(&self, account) -> Value`: what is
//!   protective ([`protection`]) and all managed settings (no logs, no modification times) of one account;
//!   compared before and after each write.
//! - the vendor's doors, used by ActionTrail only: `State::vendor_create_store`, `State::vendor_append`,
//!   `State::vendor_restore_index`, `State::project_owner`, `State::store_exists`.
//!
//! Choices that no source settles are [`assumptions`]: declare an enum with `assumption!`, register it in
//! the module's `registered()` list, describe it in `assumptions.toml` (all `sls.*` ids are declared in
//! `log_service::assumptions` and described in the register's Log Service section).

// `expect` stands only where a lock or a checked table makes failure impossible.
#![allow(clippy::missing_panics_doc)]

pub mod actiontrail;
pub mod admin;
pub mod assumptions;
pub mod auth;
pub mod call;
pub mod clock;
pub mod config;
pub mod engine;
pub mod faults;
pub mod identity;
pub mod ids;
pub mod journal;
pub mod log_service;
pub mod protection;
pub mod quota;
pub mod ram;
pub mod route;
pub mod rpc;
pub mod server;
pub mod state;
pub mod sts;
pub mod throttle;
pub mod wire;
