//! Leadership by a Lease: at most one process works, and each knows until when it may.
//!
//! Every write carries the resourceVersion that was read, so that of two writers one gets a conflict. Whether another's
//! lease has run out is judged by how long *we* have seen it unchanged on our own monotonic clock; the times inside the
//! Lease are for people, and clocks of other machines are never compared. The holder counts its time from before it sent
//! the write that renewed it, others count from after they read that write: they can only be later.
//!
//! Knows nothing of what the leader does.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::LeaseSettings;

/// Whether this process leads, to be asked right before each step that only a leader may take.
#[derive(Clone, Debug)]
pub struct Leadership {
    validity: Arc<Mutex<Validity>>,
}

#[derive(Clone, Copy, Debug)]
enum Validity {
    /// No lease is used.
    Unlimited,
    /// Not held, or lost.
    None,
    /// Nobody else can hold the lease before this moment.
    Until(Instant),
}

impl Leadership {
    /// Leadership of a process that runs without a lease.
    pub fn unlimited() -> Self {
        Self {
            validity: Arc::new(Mutex::new(Validity::Unlimited)),
        }
    }

    fn none() -> Self {
        Self {
            validity: Arc::new(Mutex::new(Validity::None)),
        }
    }

    /// Whether no other process can lead before this much time has passed: the question to ask right before a call that
    /// changes something, with the time that the call may take to arrive.
    pub fn holds_for(&self, margin: Duration) -> bool {
        match *self.validity.lock().unwrap_or_else(PoisonError::into_inner) {
            Validity::Unlimited => true,
            Validity::None => false,
            Validity::Until(end) => Instant::now().checked_add(margin).is_some_and(|then| then < end),
        }
    }

    /// Whether this process leads now.
    pub fn holds(&self) -> bool {
        self.holds_for(Duration::ZERO)
    }

    fn set(&self, validity: Validity) {
        *self.validity.lock().unwrap_or_else(PoisonError::into_inner) = validity;
    }
}

/// Why leadership ended.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Another process wrote the Lease, which it only does when it takes it over.
    #[error("the lease {lease} was taken over by {holder}")]
    TakenOver {
        /// Name of the Lease.
        lease: String,
        /// Who holds it now.
        holder: String,
    },
    /// Somebody deleted the Lease: the next process may make a new one at any time.
    #[error("the lease {0} was deleted")]
    Deleted(String),
    /// It could not be renewed in time.
    #[error("the lease {lease} could not be renewed within {deadline:?}; last error: {last}")]
    Deadline {
        /// Name of the Lease.
        lease: String,
        /// The time that was allowed.
        deadline: Duration,
        /// The newest error.
        last: String,
    },
}

/// One attempt to read or write the Lease failed.
#[derive(Debug, thiserror::Error)]
enum Attempt {
    #[error("{0}")]
    Api(#[source] Box<kube::Error>),
    #[error("no answer in time")]
    Timeout,
}

impl Attempt {
    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api(error) => match error.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Timeout => None,
        }
    }

    fn is_conflict(&self) -> bool {
        self.status()
            .is_some_and(|s| s.is_conflict() || s.is_already_exists())
    }

    fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }
}

/// Another's lease as it was first seen in this form.
#[derive(Clone, Debug)]
struct Observed {
    spec: LeaseSpec,
    since: Instant,
}

/// One process that wants to lead.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    settings: LeaseSettings,
    identity: String,
    leadership: Leadership,
    observed: Option<Observed>,
    /// The Lease as we last wrote it; its resourceVersion guards the next write.
    held: Option<Lease>,
}

impl Candidate {
    /// A candidate for the lease of these settings in a namespace. `identity` must differ from that of every other process,
    /// also from that of an earlier process in the same Pod: see [`unique_identity`].
    pub fn new(
        client: Client,
        namespace: &str,
        settings: LeaseSettings,
        identity: impl Into<String>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            settings,
            identity: identity.into(),
            leadership: Leadership::none(),
            observed: None,
            held: None,
        }
    }

    /// The handle to ask whether this candidate leads.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Name under which this candidate holds the lease.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Returns once the lease is held, however long that takes. Failures are logged when they change.
    ///
    /// May be cancelled: a write that was under way is found by [`Candidate::release`].
    pub async fn acquire(&mut self) {
        let mut last_failure = String::new();
        loop {
            match self.try_acquire().await {
                Ok(true) => {
                    tracing::info!(
                        lease = self.settings.name,
                        identity = self.identity,
                        "this process leads"
                    );
                    return;
                }
                Ok(false) => last_failure.clear(),
                // Another candidate was faster.
                Err(failure) if failure.is_conflict() => {}
                Err(failure) => {
                    let text = failure.to_string();
                    if text != last_failure {
                        let hint = if failure.status().is_some_and(kube::core::Status::is_forbidden) {
                            "; the service account needs get, create and update on leases in the operator's namespace"
                        } else {
                            ""
                        };
                        tracing::warn!(lease = self.settings.name, "cannot get the lease: {text}{hint}");
                        last_failure = text;
                    }
                }
            }
            sleep(self.settings.retry_period).await;
        }
    }

    /// One attempt; whether the lease is held now.
    async fn try_acquire(&mut self) -> Result<bool, Attempt> {
        let deadline = Instant::now() + self.settings.renew_deadline;
        let found = bounded(deadline, self.api.get_opt(&self.settings.name)).await?;
        let sent = Instant::now();
        let Some(mut lease) = found else {
            let lease = self.new_lease();
            let created = bounded(deadline, self.api.create(&PostParams::default(), &lease)).await?;
            self.won(created, sent);
            return Ok(true);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if !self.is_free(&spec) {
            return Ok(false);
        }
        let transitions = match &spec.holder_identity {
            Some(holder) if *holder == self.identity => spec.lease_transitions,
            _ => Some(spec.lease_transitions.unwrap_or(0).saturating_add(1)),
        };
        lease.spec = Some(self.spec_now(MicroTime(Timestamp::now()), transitions));
        let written = bounded(deadline, self.replace(&lease)).await?;
        self.won(written, sent);
        Ok(true)
    }

    /// Whether the lease may be taken: nobody holds it, we do, or we have seen it unchanged for as long as its holder asked.
    fn is_free(&mut self, spec: &LeaseSpec) -> bool {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        let since = match &self.observed {
            Some(observed) if observed.spec == *spec => observed.since,
            _ => {
                tracing::info!(lease = self.settings.name, holder, "another process leads");
                let since = Instant::now();
                self.observed = Some(Observed {
                    spec: spec.clone(),
                    since,
                });
                since
            }
        };
        // The holder's own word counts, not our setting: the two may differ during an update.
        let asked = spec
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok())
            .map(Duration::from_secs);
        since.elapsed() >= asked.unwrap_or(self.settings.duration)
    }

    /// Renews at a third of the duration until the lease is lost. Leadership has ended when this returns.
    ///
    /// May be cancelled, then [`Candidate::release`] should follow.
    pub async fn hold(&mut self) -> Lost {
        let lost = self.renew_until_lost().await;
        self.leadership.set(Validity::None);
        self.held = None;
        lost
    }

    async fn renew_until_lost(&mut self) -> Lost {
        let mut renewed = Instant::now();
        loop {
            sleep(self.settings.duration / 3).await;
            let deadline = renewed + self.settings.renew_deadline;
            let mut failed = String::from("none: the process did not run in time");
            loop {
                let sent = Instant::now();
                if sent >= deadline {
                    return Lost::Deadline {
                        lease: self.settings.name.clone(),
                        deadline: self.settings.renew_deadline,
                        last: failed,
                    };
                }
                // An attempt that hangs must leave time for another one.
                let attempt_end = deadline.min(sent + self.settings.renew_deadline / 2);
                match self.renew(sent, attempt_end).await {
                    Ok(None) => {
                        renewed = sent;
                        break;
                    }
                    Ok(Some(lost)) => return lost,
                    Err(failure) => {
                        failed = failure.to_string();
                        tracing::warn!(
                            lease = self.settings.name,
                            error = failed,
                            "the lease was not renewed; trying again"
                        );
                        sleep(
                            self.settings
                                .retry_period
                                .min(deadline.saturating_duration_since(Instant::now())),
                        )
                        .await;
                    }
                }
            }
        }
    }

    /// One attempt to renew; `Some` if the lease is lost for certain.
    async fn renew(&mut self, sent: Instant, end: Instant) -> Result<Option<Lost>, Attempt> {
        // None after an attempt whose outcome is unknown.
        let mut lease = match self.held.take() {
            Some(lease) => lease,
            None => match bounded(end, self.api.get_opt(&self.settings.name)).await? {
                Some(lease) => lease,
                None => return Ok(Some(Lost::Deleted(self.settings.name.clone()))),
            },
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(Some(self.taken_over(&spec)));
        }
        let acquired = spec.acquire_time.unwrap_or_else(|| MicroTime(Timestamp::now()));
        lease.spec = Some(self.spec_now(acquired, spec.lease_transitions));
        match bounded(end, self.replace(&lease)).await {
            Ok(written) => {
                self.won(written, sent);
                Ok(None)
            }
            Err(failure) if failure.is_not_found() => Ok(Some(Lost::Deleted(self.settings.name.clone()))),
            // Either another process took over, or an earlier write of ours arrived after all: the Lease itself tells.
            Err(failure) if failure.is_conflict() => {
                match bounded(end, self.api.get_opt(&self.settings.name)).await? {
                    None => Ok(Some(Lost::Deleted(self.settings.name.clone()))),
                    Some(lease) => {
                        let spec = lease.spec.clone().unwrap_or_default();
                        if spec.holder_identity.as_deref() == Some(self.identity.as_str()) {
                            self.held = Some(lease);
                            Err(failure)
                        } else {
                            Ok(Some(self.taken_over(&spec)))
                        }
                    }
                }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Gives the lease back so that another process can take it at once. Nothing happens if it is not ours.
    pub async fn release(&mut self) -> Result<(), kube::Error> {
        self.leadership.set(Validity::None);
        self.held = None;
        // Read anew: a write may have been under way when the process was told to stop.
        let Some(mut lease) = self.api.get_opt(&self.settings.name).await? else {
            return Ok(());
        };
        let Some(spec) = lease.spec.as_mut() else {
            return Ok(());
        };
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(());
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        match self.replace(&lease).await {
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    fn taken_over(&self, spec: &LeaseSpec) -> Lost {
        let holder = match spec.holder_identity.as_deref() {
            None | Some("") => "nobody (its holder was removed)".to_owned(),
            Some(holder) => holder.to_owned(),
        };
        Lost::TakenOver {
            lease: self.settings.name.clone(),
            holder,
        }
    }

    /// The write of this Lease, sent at that moment, has arrived.
    fn won(&mut self, lease: Lease, sent: Instant) {
        self.held = Some(lease);
        self.observed = None;
        self.leadership
            .set(Validity::Until(sent + self.settings.duration));
    }

    fn replace(&self, lease: &Lease) -> impl Future<Output = Result<Lease, kube::Error>> {
        let (api, name, lease) = (self.api.clone(), self.settings.name.clone(), lease.clone());
        async move { api.replace(&name, &PostParams::default(), &lease).await }
    }

    fn new_lease(&self) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(self.spec_now(MicroTime(Timestamp::now()), Some(0))),
        }
    }

    fn spec_now(&self, acquired: MicroTime, transitions: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.settings.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(acquired),
            renew_time: Some(MicroTime(Timestamp::now())),
            lease_transitions: transitions,
            ..LeaseSpec::default()
        }
    }
}

async fn bounded<T>(
    deadline: Instant,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Attempt> {
    match timeout_at(deadline, call).await {
        Ok(answer) => answer.map_err(|error| Attempt::Api(Box::new(error))),
        Err(_) => Err(Attempt::Timeout),
    }
}

/// A name that no other process has: the host's (in a Pod, the Pod's), and bits that differ from process to process.
pub fn unique_identity(host: &str) -> String {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{host}_{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn leadership_ends_at_its_moment_without_anybody_telling() {
        let leadership = Leadership::none();
        assert!(!leadership.holds());
        leadership.set(Validity::Until(Instant::now() + Duration::from_secs(60)));
        assert!(leadership.holds() && leadership.holds_for(Duration::from_secs(30)));
        assert!(!leadership.holds_for(Duration::from_secs(61)));
        assert!(!leadership.holds_for(Duration::MAX));
        leadership.set(Validity::Until(Instant::now()));
        assert!(!leadership.holds());
    }

    #[test]
    fn a_process_without_a_lease_always_leads() {
        assert!(Leadership::unlimited().holds_for(Duration::MAX));
    }

    #[test]
    fn identities_differ() {
        assert_ne!(unique_identity("pod"), unique_identity("pod"));
    }
}
