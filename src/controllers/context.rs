//! Owns what all visits of a process share.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use kube::Client;

use super::access::Gate;
use super::cluster::Cluster;
use super::event::Teller;
use super::failure::Failure;
use super::memory::{Memory, lock};
use super::name_index::NameIndex;
use super::object::KindName;
use super::ownership::{Owner, Spelling};
use crate::aliyun::CallInfo;
use crate::config::Settings;
use crate::lease::Leadership;
use crate::telemetry::{Kind, Metrics};

/// A change must have left before this much of the lease is over.
pub(super) const MARGIN: Duration = Duration::from_millis(500);

/// What all visits share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The operator's settings.
    pub settings: Settings,
    /// Metrics.
    pub metrics: Metrics,
    /// What is known of the cluster.
    pub cluster: Cluster,
    /// The way to the cloud.
    pub gate: Gate,
    /// Who holds which external name.
    pub names: NameIndex,
    /// What is remembered of each object.
    pub memory: Memory,
    /// Events.
    pub teller: Teller,
    /// Our own calls.
    pub ledger: Ledger,
    leadership: Leadership,
    spelling: Mutex<Spelling>,
    log_store_tags: Mutex<Option<bool>>,
}

impl Context {
    /// A context around what is given.
    pub fn new(
        client: Client,
        settings: Settings,
        metrics: Metrics,
        cluster: Cluster,
        gate: Gate,
        leadership: Leadership,
    ) -> Self {
        let teller = Teller::new(client.clone(), &settings.namespace);
        Self {
            client,
            settings,
            metrics,
            cluster,
            gate,
            names: NameIndex::default(),
            memory: Memory::default(),
            teller,
            ledger: Ledger::default(),
            leadership,
            spelling: Mutex::default(),
            log_store_tags: Mutex::default(),
        }
    }

    /// Fails when this process may not change anything.
    pub fn must_lead(&self) -> Result<(), Failure> {
        if self.leadership.holds_for(MARGIN) {
            Ok(())
        } else {
            Err(Failure::NotLeading)
        }
    }

    /// How marks are written: with a slash, until the cloud refuses one.
    pub fn spelling(&self) -> Spelling {
        *lock(&self.spelling)
    }

    /// A mark of ours was found: an earlier process may have learned that the cloud refuses a slash.
    pub fn learn_spelling(&self, owner: &Owner, mark: Option<&str>) {
        if mark.and_then(|mark| owner.spelling_of(mark)) == Some(Spelling::Underscore) {
            self.avoid_slash();
        }
    }

    /// The cloud refused a slash in a tag: marks are written without from now on.
    pub fn avoid_slash(&self) {
        *lock(&self.spelling) = Spelling::Underscore;
    }
}

impl Context {
    /// Whether log stores carry tags: the documents disagree. `None` until the cloud has shown it.
    pub fn log_store_tags(&self) -> Option<bool> {
        *lock(&self.log_store_tags)
    }

    /// The cloud has shown whether it tags log stores. Where it does not, their marks lie on the project.
    pub fn learn_log_store_tags(&self, tagged: bool) {
        let before = lock(&self.log_store_tags).replace(tagged);
        if !tagged && before != Some(false) {
            tracing::info!("the cloud does not tag log stores: their marks lie on the project from now on");
        }
    }
}

impl From<KindName> for Kind {
    fn from(kind: KindName) -> Self {
        match kind {
            KindName::AuditProject => Self::AuditProject,
            KindName::AuditLogStore => Self::AuditLogStore,
            KindName::RamTrail => Self::RamTrail,
        }
    }
}

/// Our newest mutating calls, so that their audit events are known as ours. Bounded; what is older than its reach
/// is recognised by the call id in the User-Agent.
#[derive(Debug, Default)]
pub struct Ledger {
    calls: Mutex<VecDeque<OwnCall>>,
}

/// One mutating call of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnCall {
    /// The API action.
    pub action: &'static str,
    /// Our id, in the User-Agent.
    pub call_id: String,
    /// The cloud's ids of all its attempts, as far as they were told.
    pub request_ids: Vec<String>,
}

/// A write of ours makes an event within minutes; this many last for hours of churn.
const LEDGER_LENGTH: usize = 4096;

impl Ledger {
    /// Notes a call.
    pub fn note(&self, call: &CallInfo) {
        let mut request_ids = call.earlier_request_ids.clone();
        request_ids.extend(call.request_id.clone());
        let mut calls = lock(&self.calls);
        if calls.len() == LEDGER_LENGTH {
            calls.pop_front();
        }
        calls.push_back(OwnCall {
            action: call.action,
            call_id: call.call_id.clone(),
            request_ids,
        });
    }

    /// Whether an id, the cloud's or ours, is of a call of ours.
    pub fn knows(&self, id: &str) -> bool {
        !id.is_empty()
            && lock(&self.calls)
                .iter()
                .any(|call| call.call_id == id || call.request_ids.iter().any(|r| r == id))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::aliyun::Service;
    use k8s_openapi::jiff::Timestamp;

    #[test]
    fn our_calls_are_known_by_every_id_and_the_ledger_is_bounded() {
        let ledger = Ledger::default();
        for i in 0..=LEDGER_LENGTH {
            ledger.note(&CallInfo {
                service: Service::LogService,
                action: "CreateProject",
                call_id: format!("call-{i}"),
                request_id: Some(format!("request-{i}")),
                earlier_request_ids: vec![format!("earlier-{i}")],
                attempts: 2,
                signed_at: Timestamp::UNIX_EPOCH,
                cloud_time: Timestamp::UNIX_EPOCH,
            });
        }
        for id in ["call-7", "request-7", "earlier-7"] {
            assert!(ledger.knows(id), "{id}");
        }
        assert!(!ledger.knows("request-0") && !ledger.knows("other") && !ledger.knows(""));
    }
}
