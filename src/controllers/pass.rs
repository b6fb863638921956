//! Owns one visit to one object: its newest copy, its status on the way, and everything a kind may do during it.
//!
//! Kinds call the cloud only through [`Pass::read`] and [`Pass::change`], so that leadership, our ledger and the words
//! for failures are seen to once.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::access::Access;
use super::acquisition::{self, Decision, Found, Known};
use super::context::Context;
use super::event::{self, Note};
use super::failure::{Failure, Phase, without_request_id};
use super::memory::{ObjectMemory, lock};
use super::name_index::{Declarer, ExternalName};
use super::object::{Managed, ObjectId, Status};
use super::ownership::Owner;
use super::undeclared;
use crate::aliyun::error::{Error as CloudError, ErrorKind, clean};
use crate::aliyun::{Answer, CallResult};
use crate::api::condition::{self, Statement, reason};
use crate::api::v1alpha1::{AdoptionPolicy, Claim, ManagementPolicy, PendingCreate, Tamper};
use crate::api::{FIELD_MANAGER, FINALIZER};
use crate::telemetry::TamperAction;

/// How often a status write is tried again when the object changed at the same moment.
const SAVE_ATTEMPTS: u32 = 4;
/// Longest text of a weakening, in characters: the schema's bound less what says that it was cut.
const TOLD: usize = 500;
/// How often a status write is tried again without what the served definition of its kind does not know.
const UNDECLARED_ATTEMPTS: u32 = 8;

/// One visit.
pub struct Pass<K: Managed> {
    /// What all visits share.
    pub ctx: Arc<Context>,
    /// The newest copy of the object.
    pub object: K,
    /// The status on its way: what [`Pass::save`] writes.
    pub status: K::Status,
    /// The stricter of the object's and its project's management policy.
    pub policy: ManagementPolicy,
    /// What a visit that cannot go on has seen all the same: its failure does not make that unknown.
    pub seen: Vec<Statement>,
    /// What is remembered of the object.
    pub memory: Arc<Mutex<ObjectMemory>>,
    /// The status as the API server has it.
    saved: K::Status,
    api: Api<K>,
    phase: Phase,
    caller: Option<String>,
    changes: u32,
}

impl<K: Managed> Pass<K> {
    /// A visit to an object.
    pub(super) fn new(ctx: Arc<Context>, object: K) -> Self {
        let saved = object.status().cloned().unwrap_or_default();
        let memory = ctx.memory.of(&object.uid().unwrap_or_default());
        let api = Api::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default());
        Self {
            ctx,
            status: saved.clone(),
            saved,
            policy: object.own_management_policy(),
            seen: Vec::new(),
            object,
            memory,
            api,
            phase: Phase::default(),
            caller: None,
            changes: 0,
        }
    }

    /// Which object this is.
    pub fn id(&self) -> ObjectId {
        self.object.id()
    }

    /// The owner that marks name for this object.
    pub fn owner(&self) -> Owner {
        let id = self.id();
        Owner::new(
            self.ctx.settings.cluster_id.as_str(),
            id.kind.as_str(),
            &id.namespace,
            &id.name,
        )
    }

    /// Whether the cloud may be changed for this object.
    pub fn enforces(&self) -> bool {
        self.policy == ManagementPolicy::Enforce
    }

    /// How far the visit has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Who calls the cloud, once that is known.
    pub fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    /// How many mutating calls this visit made.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// The access of this visit is known: denied calls can say whom to grant what.
    ///
    /// # Errors
    /// Stalled when the object has worked in another account before.
    pub fn uses(&mut self, access: &Access) -> Result<(), Failure> {
        self.caller = Some(access.caller());
        if let Some(before) = self
            .status
            .account_id()
            .filter(|before| *before != access.account)
        {
            return Err(Failure::stalled(
                reason::ACCOUNT_CHANGED,
                format!(
                    "{} was managed in account {before}, and {} belongs to account {}. Nothing is written. Use credentials of account \
                     {before}, or create another object for account {}",
                    self.id(),
                    access.credential,
                    access.account,
                    access.account
                ),
            ));
        }
        self.status.set_account_id(Some(access.account.clone()));
        Ok(())
    }

    /// All that had to be looked at was seen: from here on the visit changes things.
    pub fn observed(&mut self) {
        self.phase = Phase::Applying;
        lock(&self.memory).last_good = Instant::now();
    }

    /// Makes a call that changes nothing. `doing` follows "cannot": "read the project".
    pub async fn read<T>(
        &self,
        doing: impl Into<String>,
        call: impl Future<Output = CallResult<T>>,
    ) -> Result<T, Failure> {
        match call.await {
            Ok(answer) => Ok(answer.value),
            Err(error) => Err(Failure::cloud(doing, error)),
        }
    }

    /// Makes a call that changes something, if this process leads and the policy allows it.
    ///
    /// # Errors
    /// The failed call; [`Failure::NotLeading`]; stalled under Observe, before anything is sent.
    pub async fn change<T>(
        &mut self,
        doing: impl Into<String>,
        call: impl Future<Output = CallResult<T>>,
    ) -> Result<Answer<T>, Failure> {
        let doing = doing.into();
        may_change(self.policy, &doing)?;
        self.ctx.must_lead()?;
        let result = call.await;
        self.changes += 1;
        match result {
            Ok(answer) => {
                self.ctx.ledger.note(&answer.call);
                tracing::info!(
                    action = answer.call.action,
                    call_id = answer.call.call_id,
                    "{doing}: done"
                );
                Ok(answer)
            }
            Err(error) => {
                self.ctx.ledger.note(&error.call);
                Err(failed_change(doing, error))
            }
        }
    }

    /// Whose the thing in the cloud is, by what the status knows of it and by what was found under its name.
    ///
    /// # Errors
    /// As [`acquisition::decide`].
    pub fn decide(
        &self,
        access: &Access,
        owner: &Owner,
        adoption: AdoptionPolicy,
        found: Option<&Found>,
    ) -> Result<Decision, Failure> {
        let known = Known {
            owner,
            account: &access.account,
            name: self.object.external_name(),
            claim: self.status.claim(),
            pending: self.status.pending_create(),
            adoption,
        };
        acquisition::decide(&known, found)
    }

    /// Lets only one object of the cluster act on `what`, which goes by this name in the cloud.
    ///
    /// # Errors
    /// As [`Standing::only_holder`](super::name_index::Standing::only_holder).
    pub fn hold_name(&self, name: &ExternalName, rivals: &[Declarer], what: &str) -> Result<(), Failure> {
        let me = Declarer::from(&self.object);
        self.ctx.names.claim(name, &me, rivals).only_holder(what)
    }

    /// Notes in the status that a create call is about to be sent, guarded by the object's version: whoever comes next
    /// knows that what then exists is ours.
    ///
    /// # Errors
    /// [`Failure::Outdated`] when the object changed meanwhile.
    pub async fn begin_create(&mut self, access: &Access) -> Result<(), Failure> {
        self.ctx.must_lead()?;
        self.status.set_pending_create(Some(PendingCreate {
            account_id: access.account.clone(),
            name: self.object.external_name().to_owned(),
            cloud_time: second(access.clients.cloud_now()),
        }));
        self.write_status().await
    }

    /// Sends the create call, noted in the status before. What is remembered of it: that it succeeded, so that it is
    /// not sent again while its result is not shown yet. When it was refused, and no earlier call may still take effect,
    /// the note is taken back: what somebody else makes under the name is not ours.
    ///
    /// A create that keeps being refused costs these two writes each time it is tried, at the pace of the resync. With a
    /// note that stayed, a process that starts anew could not tell what its forerunner made a moment before it died from
    /// what a person made; with one that was taken back and not written again, it would not know its own.
    pub async fn create<T>(
        &mut self,
        access: &Access,
        doing: impl Into<String>,
        call: impl Future<Output = CallResult<T>>,
    ) -> Result<Answer<T>, Failure> {
        let open = self.status.pending_create().cloned();
        lock(&self.memory).doubt.begin(open.is_some(), Instant::now());
        if !open.is_some_and(|open| acquisition::is_fresh(&open, access.clients.cloud_now())) {
            self.begin_create(access).await?;
        }
        let result = self.change(doing, call).await;
        let mut memory = lock(&self.memory);
        match &result {
            Ok(_) => memory.created_at = Some(Instant::now()),
            Err(failure) => {
                if memory.doubt.is_settled_by(failure, Instant::now()) {
                    self.status.set_pending_create(None);
                }
            }
        }
        drop(memory);
        result
    }

    /// Whether what this object holds is gone: it was missing in looks long enough apart. One look proves nothing, since the
    /// cloud does not show everything everywhere at once.
    pub fn is_gone(&self) -> bool {
        let now = Instant::now();
        lock(&self.memory)
            .gone_since(now)
            .is_some_and(|since| now.duration_since(since) >= GONE)
    }

    /// What this object holds was seen.
    pub fn is_there(&self) {
        lock(&self.memory).missing_since = None;
    }

    /// Whether the object holds something in the cloud, or may.
    pub fn may_hold_something(&self) -> bool {
        self.status.claim().is_some() || self.status.pending_create().is_some()
    }

    /// The thing in the cloud is ours from now on: the claim goes into the status, the open create is settled, and the
    /// minute until confirmation begins.
    pub fn acquired(&mut self, claim: Claim) {
        self.status.set_claim(Some(claim));
        self.status.set_pending_create(None);
        let mut memory = lock(&self.memory);
        memory.claimed_at = Some(Instant::now());
        memory.created_at = None;
        memory.taken_at = None;
        memory.missing_since = None;
    }

    /// Makes an unconfirmed claim final when its mark was read as ours late enough; tells how long is left otherwise.
    pub fn confirm(&mut self) -> Option<std::time::Duration> {
        let claim = self
            .status
            .claim()
            .filter(|claim| claim.confirmed != Some(true))?
            .clone();
        let wait = self.ctx.settings.claim_confirmation;
        let since = *lock(&self.memory).claimed_at.get_or_insert_with(Instant::now);
        let left = wait.saturating_sub(since.elapsed());
        if left.is_zero() {
            self.status.set_claim(Some(Claim {
                confirmed: Some(true),
                ..claim
            }));
            return None;
        }
        Some(left)
    }

    /// Measures the time from finding a weakening to its repair. `weakened`: this visit found one, `found`: when; `done`: every
    /// step was taken.
    pub fn time_repair(&self, weakened: bool, found: Instant, done: bool) {
        let healed = lock(&self.memory).repaired_after(weakened, found, done, Instant::now());
        if let Some(time) = healed {
            self.ctx.metrics.healed(K::KIND.into(), time);
        }
    }

    /// A weakening from outside was found: status, metric and Event say so, and whether it was put right. What stays is
    /// told once, not at every visit that finds it again.
    pub async fn tampered(&mut self, action: TamperAction, what: &str, repaired: bool) {
        let what = told(what);
        let before = self.status.last_tamper();
        let before = before
            .filter(|tamper| !tamper.repaired)
            .map(|tamper| tamper.what.clone());
        if !lock(&self.memory).tampers.is_news(&what, repaired, before) {
            return;
        }
        let now = second(self.ctx.gate.cloud().clock().cloud_now());
        self.status.set_last_tamper(Some(Tamper {
            time: now,
            what: what.clone(),
            repaired,
        }));
        self.ctx.metrics.tampered(K::KIND.into(), action);
        let (reason, end) = if repaired {
            (event::TAMPER_REPAIRED, "It was put right")
        } else {
            (event::TAMPER_FOUND, "It is not put right")
        };
        self.tell(Note::warning(
            reason,
            tamper_label(action),
            format!("Changed from outside: {what}. {end}"),
        ))
        .await;
    }

    /// Writes an Event about the object; a flood of them is only logged.
    pub async fn tell(&self, note: Note) {
        if lock(&self.memory).may_tell(Instant::now()) {
            self.ctx.teller.tell(&self.reference(), &note).await;
        } else {
            tracing::warn!(
                reason = note.reason,
                "too many Events about one object: {}",
                note.text
            );
        }
    }

    fn reference(&self) -> ObjectReference {
        self.object.object_ref(&())
    }

    /// Puts statements into the conditions; what a failure said before keeps its request id.
    pub fn state(&mut self, statements: &[Statement]) {
        let old = self.status.conditions().to_vec();
        let statements: Vec<Statement> = statements
            .iter()
            .cloned()
            .map(|mut statement| {
                let before = condition::find(&old, statement.type_).filter(|c| c.reason == statement.reason);
                if let Some(before) = before
                    && without_request_id(&before.message) == without_request_id(&statement.message)
                {
                    statement.message.clone_from(&before.message);
                }
                statement
            })
            .collect();
        let generation = self.object.meta().generation;
        let merged = condition::merge(&old, &statements, generation, Timestamp::now());
        self.status.set_conditions(merged);
        self.status.set_observed_generation(generation);
    }

    /// Writes the status if it differs from what the API server has apart from times. An object that changed at the same
    /// moment is no obstacle: nobody but us writes the status.
    pub async fn save(&mut self) -> Result<(), Failure> {
        if same(&self.saved, &self.status) {
            return Ok(());
        }
        for _ in 1..SAVE_ATTEMPTS {
            match self.write_status().await {
                Err(Failure::Outdated) => {
                    let Some(live) = self.api.get_opt(&self.object.name_any()).await? else {
                        return Err(Failure::Outdated);
                    };
                    if live.uid() != self.object.uid() {
                        return Err(Failure::Outdated);
                    }
                    self.object.meta_mut().resource_version = live.resource_version();
                }
                done => return done,
            }
        }
        self.write_status().await
    }

    /// Server-side apply of the whole status, only onto the version of the object that we know.
    async fn write_status(&mut self) -> Result<(), Failure> {
        self.ctx.must_lead()?;
        let mut body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {
                "name": self.object.name_any(),
                "namespace": self.object.namespace(),
                "resourceVersion": self.object.resource_version(),
            },
            "status": self.status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let name = self.object.name_any();
        let mut written = self
            .api
            .patch_status(&name, &parameters, &Patch::Apply(&body))
            .await;
        // Each refusal may name only some of the fields.
        for _ in 0..UNDECLARED_ATTEMPTS {
            let Err(kube::Error::Api(refusal)) = &written else {
                break;
            };
            let removed = undeclared::remove(&mut body, &refusal.message);
            if removed.is_empty() {
                break;
            }
            tracing::warn!(
                fields = ?removed,
                "the CustomResourceDefinition is older than this operator and does not know all of the status; apply crds/"
            );
            written = self
                .api
                .patch_status(&name, &parameters, &Patch::Apply(&body))
                .await;
        }
        let written = gone_is_outdated(written)?;
        self.saved = self.status.clone();
        self.took(written);
        Ok(())
    }

    /// Adds our finalizer.
    pub(super) async fn add_finalizer(&mut self) -> Result<(), Failure> {
        let mut finalizers = self.object.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        self.set_finalizers(&finalizers).await
    }

    /// Removes our finalizer: the object may go.
    pub(super) async fn remove_finalizer(&mut self) -> Result<(), Failure> {
        let others: Vec<String> = self
            .object
            .finalizers()
            .iter()
            .filter(|name| *name != FINALIZER)
            .cloned()
            .collect();
        self.set_finalizers(&others).await
    }

    async fn set_finalizers(&mut self, finalizers: &[String]) -> Result<(), Failure> {
        self.ctx.must_lead()?;
        let body: Value = json!({
            "metadata": { "resourceVersion": self.object.resource_version(), "finalizers": finalizers },
        });
        let written = self
            .api
            .patch(
                &self.object.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&body),
            )
            .await;
        let written = gone_is_outdated(written)?;
        self.took(written);
        Ok(())
    }

    /// Takes over the metadata of the object as it was written.
    fn took(&mut self, written: K) {
        lock(&self.memory).written_version = written.resource_version();
        let mut written = written;
        written.managed_fields_mut().clear();
        *self.object.meta_mut() = written.meta().clone();
    }
}

/// How long what an object holds must have been missing until it counts as gone.
const GONE: std::time::Duration = std::time::Duration::from_secs(5);

/// Under Observe nothing may be changed, whoever asks.
fn may_change(policy: ManagementPolicy, doing: &str) -> Result<(), Failure> {
    if policy == ManagementPolicy::Enforce {
        return Ok(());
    }
    Err(Failure::stalled(
        reason::OBSERVE_ONLY,
        format!("managementPolicy is Observe, so ramtrail does not {doing}"),
    ))
}

/// A mutating call that failed; one that was held back because the lease ran out while it waited was never sent.
fn failed_change(doing: String, error: CloudError) -> Failure {
    if error.kind == ErrorKind::Withheld {
        return Failure::NotLeading;
    }
    Failure::cloud(doing, error)
}

/// An object that is gone has changed under the visit.
fn gone_is_outdated<T>(result: Result<T, kube::Error>) -> Result<T, Failure> {
    result.map_err(|error| match &error {
        kube::Error::Api(status) if status.is_not_found() => Failure::Outdated,
        _ => error.into(),
    })
}

/// Whether two statuses say the same, whatever the times of their conditions.
fn same<S: Status>(a: &S, b: &S) -> bool {
    let bare = |status: &S| {
        let mut status = status.clone();
        status.set_conditions(Vec::new());
        status
    };
    condition::same_apart_from_times(a.conditions(), b.conditions()) && bare(a) == bare(b)
}

/// A time as statuses write it: whole seconds, RFC 3339, UTC.
pub fn second(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).map_or_else(|_| time.to_string(), |whole| whole.to_string())
}

/// A weakening as statuses tell it: one line, and no longer than the schema allows.
pub fn told(weakening: &str) -> String {
    clean(weakening, TOLD)
}

fn tamper_label(action: TamperAction) -> &'static str {
    match action {
        TamperAction::LoggingStopped => "LoggingStopped",
        TamperAction::EventsNarrowed => "EventsNarrowed",
        TamperAction::TrailRedirected => "TrailRedirected",
        TamperAction::Deleted => "Deleted",
        TamperAction::RetentionReduced => "RetentionReduced",
        TamperAction::IndexReduced => "IndexReduced",
        TamperAction::CopyReduced => "CopyReduced",
        TamperAction::MarkChanged => "MarkChanged",
        TamperAction::Other => "Other",
    }
}

/// What a visit found, in conditions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Statements; Reconciling and Stalled say "nothing" unless stated.
    pub statements: Vec<Statement>,
    /// When to look again at the latest; the resync comes anyway.
    pub again: Option<std::time::Duration>,
    /// Whether the spec's current generation is converged.
    pub converged: bool,
}

impl Report {
    /// A report of these statements after a visit that reached its end.
    pub fn new(statements: Vec<Statement>) -> Self {
        Self {
            statements,
            again: None,
            converged: true,
        }
    }

    /// Looks again after this long, if the resync does not come first.
    #[must_use]
    pub fn again_in(mut self, delay: Option<std::time::Duration>) -> Self {
        self.again = match (self.again, delay) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self
    }

    /// The statements with what every set of conditions has.
    pub(super) fn complete(&self) -> Vec<Statement> {
        let mut all = self.statements.clone();
        for quiet in [
            Statement::new(condition::RECONCILING, condition::Status::False, reason::IDLE, ""),
            Statement::new(
                condition::STALLED,
                condition::Status::False,
                reason::NOT_STALLED,
                "",
            ),
        ] {
            if !all.iter().any(|statement| statement.type_ == quiet.type_) {
                all.push(quiet);
            }
        }
        all
    }
}

/// Another cluster's mark appeared on `what`, which is ours.
pub fn contested(what: &str, foreign_owner: &str) -> Report {
    let text = format!(
        "{what} was acquired by this object and now carries the mark of {foreign_owner}. Two clusters never repair each other's marks: decide \
         which one manages it, and delete the other object with deletionPolicy Retain. Until then both only protect it"
    );
    let mut report = Report::new(vec![
        Statement::new(
            condition::READY,
            condition::Status::False,
            reason::OWNED_BY_ANOTHER,
            text.clone(),
        ),
        Statement::new(
            condition::SYNCED,
            condition::Status::False,
            reason::OWNED_BY_ANOTHER,
            text.clone(),
        ),
        Statement::new(
            condition::STALLED,
            condition::Status::True,
            reason::OWNED_BY_ANOTHER,
            text.clone(),
        ),
        Statement::new(
            condition::PROTECTED,
            condition::Status::False,
            reason::TAMPERED,
            text,
        ),
    ]);
    report.converged = false;
    report
}

/// Differences that were found and are still there: the steps that would have put them right failed.
pub fn out_of_sync<'a>(differences: impl IntoIterator<Item = &'a str>) -> Statement {
    let differences: Vec<&str> = differences.into_iter().collect();
    let text = format!("Found and not put right yet: {}", differences.join("; "));
    Statement::new(
        condition::SYNCED,
        condition::Status::False,
        reason::UPDATING,
        text,
    )
}

/// The Protected condition: True unless something weakens the audit; the first reason given stands, all are named.
pub fn protected(policy: ManagementPolicy, weaknesses: &[(&'static str, String)]) -> Statement {
    let mut all: Vec<(&'static str, String)> = Vec::new();
    if policy == ManagementPolicy::Observe {
        all.push((
            reason::OBSERVE_ONLY,
            "managementPolicy is Observe: a weakening would be seen and not put right".to_owned(),
        ));
    }
    all.extend_from_slice(weaknesses);
    match all.first() {
        None => Statement::new(
            condition::PROTECTED,
            condition::Status::True,
            reason::PROTECTED,
            "Nothing weakens the audit",
        ),
        Some((first, _)) => {
            let text: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
            Statement::new(
                condition::PROTECTED,
                condition::Status::False,
                first,
                text.join("; "),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::v1alpha1::AuditProjectStatus;
    use crate::controllers::memory::Doubt;

    fn refused(code: &str, kind: Option<ErrorKind>, outcome_unknown: bool) -> CloudError {
        use crate::aliyun::error::{ApiError, CallInfo};
        use crate::aliyun::{Class, Service};
        let api = ApiError {
            service: Service::LogService,
            action: "CreateLogStore",
            status: 400,
            code: code.into(),
            message: String::new(),
            request_id: None,
            retry_after: None,
            class: Class::Denied,
            permission: None,
        };
        CloudError {
            kind: kind.unwrap_or(ErrorKind::Api(api)),
            call: Box::new(CallInfo {
                service: Service::LogService,
                action: "CreateLogStore",
                call_id: "c".into(),
                request_id: None,
                earlier_request_ids: vec![],
                attempts: 1,
                signed_at: Timestamp::UNIX_EPOCH,
                cloud_time: Timestamp::UNIX_EPOCH,
            }),
            outcome_unknown,
        }
    }

    #[test]
    fn the_note_of_a_refused_create_is_taken_back_unless_an_earlier_call_may_still_take_effect() {
        let refusal = || failed_change("create".into(), refused("Unauthorized", None, false));
        let doubt = || failed_change("create".into(), refused("InternalServerError", None, true));
        let retried = {
            let mut error = refused("Unauthorized", None, false);
            error.call.attempts = 2;
            failed_change("create".into(), error)
        };
        let withheld = failed_change("create".into(), refused("", Some(ErrorKind::Withheld), false));
        let now = Instant::now();
        let after = |open: bool, failure: &Failure| {
            let mut doubts = Doubt::default();
            doubts.begin(open, now);
            doubts.is_settled_by(failure, now)
        };
        assert!(after(false, &refusal()));
        assert!(!after(true, &refusal()), "the call of a process before");
        assert!(!after(false, &doubt()));
        assert!(!after(false, &retried), "its first attempt may have been taken");
        assert!(!after(false, &withheld));
        assert!(matches!(withheld, Failure::NotLeading));
    }

    #[test]
    fn a_doubt_about_a_create_ends_when_its_window_has_passed() {
        let refusal = failed_change("create".into(), refused("Unauthorized", None, false));
        let doubt = failed_change("create".into(), refused("InternalServerError", None, true));
        let start = Instant::now();
        let later = |minutes: u64| start + std::time::Duration::from_secs(60 * minutes);
        let mut doubts = Doubt::default();
        doubts.begin(false, start);
        assert!(!doubts.is_settled_by(&doubt, start));
        for minutes in [5, 10, 15] {
            doubts.begin(true, later(minutes));
            assert!(!doubts.is_settled_by(&refusal, later(minutes)), "{minutes}");
        }
        doubts.begin(true, later(16));
        assert!(doubts.is_settled_by(&refusal, later(16)));
        // The next note is another one.
        doubts.begin(false, later(20));
        assert!(doubts.is_settled_by(&refusal, later(20)));
    }

    #[test]
    fn nothing_is_changed_under_observe() {
        assert!(may_change(ManagementPolicy::Enforce, "create it").is_ok());
        let refusal = may_change(ManagementPolicy::Observe, "create it").unwrap_err();
        assert!(
            matches!(
                refusal,
                Failure::Stalled {
                    reason: reason::OBSERVE_ONLY,
                    ..
                }
            ),
            "{refusal}"
        );
    }

    #[test]
    fn statuses_are_compared_without_the_times_of_conditions() {
        let said = [Statement::new(
            condition::READY,
            condition::Status::True,
            reason::AVAILABLE,
            "",
        )];
        let at = |second| condition::merge(&[], &said, Some(1), Timestamp::from_second(second).unwrap());
        let a = AuditProjectStatus {
            conditions: at(1),
            ..AuditProjectStatus::default()
        };
        let mut b = AuditProjectStatus {
            conditions: at(2),
            ..AuditProjectStatus::default()
        };
        assert!(same(&a, &b));
        b.endpoint = Some("x".into());
        assert!(!same(&a, &b));
    }

    #[test]
    fn protected_names_every_weakness() {
        assert_eq!(
            protected(ManagementPolicy::Enforce, &[]).status,
            condition::Status::True
        );
        let weak = [(reason::TAMPERED, "the mark is gone".to_owned())];
        let statement = protected(ManagementPolicy::Observe, &weak);
        assert_eq!(
            (statement.status, statement.reason),
            (condition::Status::False, reason::OBSERVE_ONLY)
        );
        assert!(statement.message.contains("the mark is gone"));
    }

    #[test]
    fn times_in_statuses_are_whole_seconds() {
        let time = Timestamp::from_millisecond(1_500).unwrap();
        assert_eq!(second(time), "1970-01-01T00:00:01Z");
    }

    #[test]
    fn every_report_says_whether_something_is_under_way_or_stuck() {
        let types: Vec<_> = Report::new(vec![]).complete().iter().map(|s| s.type_).collect();
        assert_eq!(types, [condition::RECONCILING, condition::STALLED]);
    }
}
