//! Owns the hook through which metrics learn of calls. No metrics crate here.

use std::time::Duration;

use super::error::Class;
use super::operation::Service;

/// One attempt of one call, after it ended.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The service called.
    pub service: Service,
    /// The API action, from the closed set that this crate knows.
    pub action: &'static str,
    /// Whether the action changes anything.
    pub write: bool,
    /// How it failed; `None` for success.
    pub class: Option<Class>,
    /// From sending to the end of the answer.
    pub duration: Duration,
    /// Whether another attempt follows.
    pub retried: bool,
}

/// Told about every attempt. Must be quick: it runs inside the call.
pub trait CallObserver: Send + Sync {
    /// An attempt ended.
    fn attempt_ended(&self, attempt: &Attempt);

    /// A call waited this long for its share of the rate before an attempt.
    fn waited_for_budget(&self, service: Service, action: &'static str, waited: Duration) {
        let _ = (service, action, waited);
    }

    /// The difference between the cloud's clock and ours changed, in seconds (positive: the cloud is ahead).
    fn clock_skew(&self, service: Service, seconds: f64) {
        let _ = (service, seconds);
    }
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl CallObserver for NoObserver {
    fn attempt_ended(&self, _attempt: &Attempt) {}
}
