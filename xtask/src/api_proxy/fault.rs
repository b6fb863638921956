//! What goes wrong on the way to the API server, and which requests it meets. Plans are lists of these, as JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::Call;

/// What goes wrong.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Fault {
    /// The request is forwarded after `ms` milliseconds.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The connection is closed, the request does not reach the API server.
    DropBefore,
    /// The request is carried out, then the connection is closed without an answer.
    DropAfter,
    /// The request waits; it is carried out when released or when the client is gone.
    HoldBefore,
    /// The request is carried out; the answer waits until released or until the client is gone.
    HoldAfter,
    /// Nothing happens and nothing is answered until released; then the connection is closed.
    BlackHole,
    /// The request does not reach the API server; a Status is the answer.
    Status {
        /// HTTP status.
        status: u16,
        /// Reason in the Status, such as `Conflict`.
        #[serde(default)]
        reason: String,
        /// Value of `Retry-After`, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// The request does not reach the API server; this body is the answer. An old list makes a stale read.
    Answer {
        /// HTTP status.
        status: u16,
        /// Body.
        body: Value,
    },
    /// A watch is refused because its resourceVersion was compacted away: as an event of the stream, which is what API
    /// servers do, or as the status of the answer.
    Gone {
        /// As an event of the stream.
        as_event: bool,
    },
    /// The request is carried out; the answer comes byte by byte.
    SlowBody {
        /// Milliseconds between bytes.
        ms: u64,
    },
    /// The request is carried out; the connection is closed after half of the answer.
    Truncated,
    /// The bytes of a watch stop and its connection stays, until the fault is removed. Meets open watches too.
    Freeze,
    /// The stream of a watch breaks. Meets open watches too.
    Cut,
}

impl Fault {
    /// Its name in plans and in the journal.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Delay { .. } => "delay",
            Self::DropBefore => "drop-before",
            Self::DropAfter => "drop-after",
            Self::HoldBefore => "hold-before",
            Self::HoldAfter => "hold-after",
            Self::BlackHole => "black-hole",
            Self::Status { .. } => "status",
            Self::Answer { .. } => "answer",
            Self::Gone { .. } => "gone",
            Self::SlowBody { .. } => "slow-body",
            Self::Truncated => "truncated",
            Self::Freeze => "freeze",
            Self::Cut => "cut",
        }
    }

    /// A refusal with a Status of this code and reason.
    pub fn status(status: u16, reason: &str) -> Self {
        Self::Status {
            status,
            reason: reason.to_owned(),
            retry_after: None,
        }
    }

    pub(super) const fn is_of_streams(&self) -> bool {
        matches!(self, Self::Freeze | Self::Cut)
    }
}

/// The requests that a fault meets. What is absent matches all.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Matching {
    /// Verb, as RBAC names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// Plural name of the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Subresource; an empty text for the object itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
    /// Namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only writes, or only reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_write: Option<bool>,
    /// What the write is about, such as `metadata.finalizers` or `status.pendingCreate`; see [`Call::about`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The first matching request that is met, from 1.
    pub nth: u64,
    /// How many requests are met from there on; 0: all.
    pub times: u64,
}

impl Default for Matching {
    fn default() -> Self {
        Self {
            verb: None,
            resource: None,
            subresource: None,
            namespace: None,
            name: None,
            is_write: None,
            about: None,
            nth: 1,
            times: 1,
        }
    }
}

impl Matching {
    /// The first request.
    pub fn any() -> Self {
        Self::default()
    }

    /// The first request with this verb for this resource.
    pub fn of(verb: &str, resource: &str) -> Self {
        Self {
            verb: Some(verb.to_owned()),
            resource: Some(resource.to_owned()),
            ..Self::default()
        }
    }

    /// The first write.
    pub fn write() -> Self {
        Self {
            is_write: Some(true),
            ..Self::default()
        }
    }

    /// Every watch.
    pub fn watches() -> Self {
        Self {
            verb: Some("watch".to_owned()),
            times: 0,
            ..Self::default()
        }
    }

    /// The nth of these instead of the first.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// As many from there on; 0: all.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Only of this subresource; an empty text for the object itself.
    #[must_use]
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.to_owned());
        self
    }

    /// Only of this object.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Only writes about this.
    #[must_use]
    pub fn about(mut self, about: &str) -> Self {
        self.about = Some(about.to_owned());
        self
    }

    /// Whether a request is one of these, whatever its number.
    pub fn covers(&self, call: &Call) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        same(&self.verb, &call.verb)
            && same(&self.resource, &call.resource)
            && same(&self.subresource, &call.subresource)
            && same(&self.namespace, &call.namespace)
            && same(&self.name, &call.name)
            && self.is_write.is_none_or(|wanted| wanted == call.is_write)
            && self
                .about
                .as_ref()
                .is_none_or(|wanted| call.about.iter().any(|about| about == wanted))
    }
}

/// A fault and the requests it meets, as plans write it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// Requests it meets.
    #[serde(default, rename = "match")]
    pub matching: Matching,
    /// What goes wrong.
    pub fault: Fault,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn plans_are_read_and_misspelt_ones_refused() {
        let plan = r#"[{"match": {"verb": "watch", "nth": 2, "times": 0}, "fault": {"kind": "gone", "asEvent": true}},
            {"match": {"isWrite": true}, "fault": {"kind": "status", "status": 429, "retryAfter": 1}}]"#;
        let read: Vec<Planned> = serde_json::from_str(plan).unwrap();
        assert_eq!(
            read[0].matching,
            Matching::of("watch", "x").nth(2).times(0).without_resource()
        );
        assert_eq!(read[1].fault.name(), "status");
        let again: Vec<Planned> = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, read);
        for wrong in [
            r#"{"match": {"verbs": "watch"}, "fault": {"kind": "cut"}}"#,
            r#"{"fault": {"kind": "cuts"}}"#,
            r#"{"fault": {"kind": "delay"}}"#,
        ] {
            assert!(serde_json::from_str::<Planned>(wrong).is_err(), "{wrong}");
        }
    }

    impl Matching {
        fn without_resource(mut self) -> Self {
            self.resource = None;
            self
        }
    }

    #[test]
    fn every_part_of_a_match_tells_requests_apart() {
        let call = Call {
            verb: "patch".into(),
            resource: "ramtrails".into(),
            subresource: "status".into(),
            namespace: "n".into(),
            name: "a".into(),
            is_write: true,
            about: vec!["status.claim".into()],
        };
        assert!(Matching::any().covers(&call) && Matching::write().covers(&call));
        assert!(
            Matching::of("patch", "ramtrails")
                .subresource("status")
                .name("a")
                .about("status.claim")
                .covers(&call)
        );
        for other in [
            Matching::of("get", "ramtrails"),
            Matching::of("patch", "auditprojects"),
            Matching::any().subresource(""),
            Matching::any().name("b"),
            Matching::any().about("metadata.finalizers"),
            Matching::watches(),
        ] {
            assert!(!other.covers(&call), "{other:?}");
        }
    }
}
