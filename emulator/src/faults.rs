//! Faults that tests put in the way of calls.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Kind {
    /// The call runs after `ms`.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The connection is closed, the call does not run.
    DropBefore,
    /// The call runs, then the connection is closed without an answer.
    DropAfter,
    /// The call waits; it runs when released or when the client is gone.
    HoldBefore,
    /// The call runs; the answer waits until released or until the client is gone.
    HoldAfter,
    /// The call does not run; this is the answer.
    Status {
        /// HTTP status.
        status: u16,
        /// Error code.
        #[serde(default = "default_code")]
        code: String,
        /// Message.
        #[serde(default)]
        message: String,
        /// Value of `x-acs-retry-after`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// The call does not run; the service's own throttling error.
    Throttle {
        /// Value of `x-acs-retry-after`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// The call runs; the answer is 200 with a body that is not what it should be.
    Garbage,
    /// The call runs; the answer announces its whole body, and the connection is closed after half of it.
    Truncated,
    /// The call runs; the body comes byte by byte.
    SlowBody {
        /// Milliseconds between bytes.
        ms: u64,
    },
}

fn default_code() -> String {
    "InternalError".to_owned()
}

/// A fault and the calls it meets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Matching {
    /// Service name as in the journal; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Operation; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only writes, or only reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_write: Option<bool>,
    /// Only calls of this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Text within the caller's ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Text within one of the resource ARNs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The first matching call that is met, from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many calls are met from there on; 0: all.
    #[serde(default = "one")]
    pub times: u64,
}

fn one() -> u64 {
    1
}

/// A fault as posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Calls it meets.
    #[serde(default, rename = "match")]
    pub matching: Matching,
    /// What goes wrong.
    pub fault: Kind,
}

impl Default for Matching {
    fn default() -> Self {
        Self {
            service: None,
            action: None,
            is_write: None,
            account: None,
            caller: None,
            resource: None,
            nth: 1,
            times: 1,
        }
    }
}

/// A call as faults see it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Service name.
    pub service: &'a str,
    /// Operation.
    pub action: &'a str,
    /// Write or read.
    pub is_write: bool,
    /// Account, if known.
    pub account: Option<&'a str>,
    /// Caller's ARN, if known.
    pub caller: Option<&'a str>,
    /// Resource ARNs.
    pub resources: &'a [String],
}

impl Matching {
    fn covers(&self, seen: &Seen<'_>) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| found.is_some_and(|found| wanted.eq_ignore_ascii_case(found)))
        };
        same(&self.service, Some(seen.service))
            && same(&self.action, Some(seen.action))
            && same(&self.account, seen.account)
            && self.is_write.is_none_or(|wanted| wanted == seen.is_write)
            && self
                .caller
                .as_deref()
                .is_none_or(|part| seen.caller.is_some_and(|caller| caller.contains(part)))
            && self
                .resource
                .as_deref()
                .is_none_or(|part| seen.resources.iter().any(|resource| resource.contains(part)))
    }
}

/// A fault that met a call.
#[derive(Debug, Clone)]
pub struct Met {
    /// Id of the fault.
    pub id: u64,
    /// What goes wrong.
    pub kind: Kind,
    /// Rings when the fault is released or removed.
    pub release: Arc<Notify>,
}

#[derive(Debug)]
struct Armed {
    id: u64,
    spec: Spec,
    seen: u64,
    met: u64,
    holding: u64,
    release: Arc<Notify>,
}

/// A fault as listed.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// Id.
    pub id: u64,
    /// As posted.
    #[serde(flatten)]
    pub spec: Spec,
    /// Calls that matched.
    pub seen: u64,
    /// Calls that were met.
    pub met: u64,
    /// Calls that wait at present.
    pub holding: u64,
}

/// All faults in force.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Vec<Armed>,
    last: u64,
}

impl Faults {
    /// Adds a fault; gives its id.
    pub fn add(&mut self, spec: Spec) -> u64 {
        self.last += 1;
        self.armed.push(Armed {
            id: self.last,
            spec,
            seen: 0,
            met: 0,
            holding: 0,
            release: Arc::default(),
        });
        self.last
    }

    /// All faults.
    pub fn list(&self) -> Vec<Listed> {
        self.armed
            .iter()
            .map(|armed| Listed {
                id: armed.id,
                spec: armed.spec.clone(),
                seen: armed.seen,
                met: armed.met,
                holding: armed.holding,
            })
            .collect()
    }

    /// Removes one fault, or all; what they hold is released. Gives how many were removed.
    pub fn remove(&mut self, id: Option<u64>) -> usize {
        let before = self.armed.len();
        self.armed.retain(|armed| {
            let keep = id.is_some_and(|id| id != armed.id);
            if !keep {
                armed.release.notify_waiters();
            }
            keep
        });
        before - self.armed.len()
    }

    /// Lets the calls go on that one fault, or any, holds. Gives how many were waiting.
    pub fn release(&mut self, id: Option<u64>) -> u64 {
        let mut count = 0;
        for armed in self
            .armed
            .iter_mut()
            .filter(|armed| id.is_none_or(|id| id == armed.id))
        {
            count += armed.holding;
            armed.release.notify_waiters();
        }
        count
    }

    /// The faults that meet this call; counts it.
    pub fn meet(&mut self, seen: &Seen<'_>) -> Vec<Met> {
        let mut met = Vec::new();
        for armed in self
            .armed
            .iter_mut()
            .filter(|armed| armed.spec.matching.covers(seen))
        {
            armed.seen += 1;
            let Matching { nth, times, .. } = armed.spec.matching;
            if armed.seen < nth || (times > 0 && armed.seen >= nth.saturating_add(times)) {
                continue;
            }
            armed.met += 1;
            met.push(Met {
                id: armed.id,
                kind: armed.spec.fault.clone(),
                release: armed.release.clone(),
            });
        }
        met
    }

    /// Counts calls that wait.
    pub fn holding(&mut self, id: u64, begin: bool) {
        if let Some(armed) = self.armed.iter_mut().find(|armed| armed.id == id) {
            armed.holding = if begin {
                armed.holding + 1
            } else {
                armed.holding.saturating_sub(1)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seen(action: &str, is_write: bool) -> Seen<'_> {
        Seen {
            service: "Log",
            action,
            is_write,
            account: Some("1"),
            caller: Some("acs:ram::1:user/op"),
            resources: &[],
        }
    }

    #[test]
    fn a_fault_meets_the_nth_call_and_as_many_as_asked() {
        let mut faults = Faults::default();
        let spec: Spec = serde_json::from_str(
            r#"{"match":{"service":"log","action":"CreateProject","nth":2,"times":2},"fault":{"kind":"status","status":503}}"#,
        )
        .unwrap();
        faults.add(spec);
        let met: Vec<bool> = (0..5)
            .map(|_| !faults.meet(&seen("CreateProject", true)).is_empty())
            .collect();
        assert_eq!(met, [false, true, true, false, false]);
        assert!(faults.meet(&seen("GetProject", false)).is_empty());
        assert_eq!((faults.list()[0].seen, faults.list()[0].met), (5, 2));
    }

    #[test]
    fn times_zero_meets_every_call_until_removed() {
        let mut faults = Faults::default();
        let id = faults.add(Spec {
            matching: Matching {
                is_write: Some(true),
                times: 0,
                ..Matching::default()
            },
            fault: Kind::DropBefore,
        });
        assert_eq!(faults.meet(&seen("A", true)).len(), 1);
        assert_eq!(faults.meet(&seen("B", true)).len(), 1);
        assert!(faults.meet(&seen("B", false)).is_empty());
        assert_eq!(faults.remove(Some(id)), 1);
        assert!(faults.meet(&seen("A", true)).is_empty());
    }

    #[test]
    fn callers_and_resources_match_by_part() {
        let mut faults = Faults::default();
        faults.add(Spec {
            matching: Matching {
                caller: Some("user/op".into()),
                times: 0,
                ..Matching::default()
            },
            fault: Kind::Garbage,
        });
        assert_eq!(faults.meet(&seen("A", true)).len(), 1);
        let other = Seen {
            caller: Some("acs:ram::1:user/other"),
            ..seen("A", true)
        };
        assert!(faults.meet(&other).is_empty());
        let resources = vec!["acs:log:r:1:project/p1".to_owned()];
        faults.add(Spec {
            matching: Matching {
                resource: Some("project/p1".into()),
                times: 0,
                ..Matching::default()
            },
            fault: Kind::Garbage,
        });
        assert_eq!(
            faults
                .meet(&Seen {
                    resources: &resources,
                    ..other
                })
                .len(),
            1
        );
    }
}
