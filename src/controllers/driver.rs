//! Owns the order of one visit, the same for every kind: paused, deleted, first status, policy, finalizer, the kind's own
//! pass, and what comes of it: status, Event, metric, delay.
//!
//! Nothing here knows what a kind does in the cloud.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use tracing::Instrument;

use super::cluster::Related;
use super::context::Context;
use super::event::{self, Note};
use super::failure::{Again, Circumstances, Failure, Verdict, judge, without_request_id};
use super::memory::{backoff, lock, random_fraction, resync};
use super::object::{Managed, ObjectId, Status, stricter};
use super::pass::{Pass, Report, protected};
use crate::api::condition::{
    DELIVERING, LOGGING, PROTECTED, READY, RECONCILING, STALLED, SYNCED, Statement, Status as Truth, find,
    reason,
};
use crate::api::v1alpha1::{DeletionPolicy, ManagementPolicy};
use crate::telemetry::Outcome;

/// A visit that takes longer is given up; what it did stands, and the next one goes on from there.
const LONGEST_VISIT: Duration = Duration::from_secs(300);
/// After so long a visit is told of while it goes on: whoever wonders why nothing happens to the object finds it.
const LONG_VISIT: Duration = Duration::from_secs(60);
/// Visits in a row that start again because the object changed meanwhile.
const RESTARTS: u32 = 4;
/// How often a deleted object looks whether what it waits for is gone; the change itself triggers a visit too.
const WAIT_FOR_CHILDREN: Duration = Duration::from_secs(10);
/// Failed visits in a row after which access that may come back counts as lost in a namespace that is being deleted.
const FAILURES_IN_TERMINATING: u32 = 3;

/// How long a deletion leaves children the time to be deleted and settled too: `kubectl delete -f` names the parent first and its
/// children a moment later, and without it they could neither delete nor release what they hold.
const CHILDREN_MAY_FOLLOW: Duration = Duration::from_secs(5);

/// Children that hold something in the cloud, which is to be settled before this object goes.
#[derive(Debug, Default)]
pub struct Children {
    /// Those that are being deleted with their cloud side: this object must outlive them.
    pub awaited: Vec<ObjectId>,
    /// Those that are released, or not being deleted, or not yet: they get a moment.
    pub others: Vec<ObjectId>,
}

impl Children {
    /// Adds those of these objects that hold something.
    pub fn add<'a, C: Managed + 'a>(&mut self, children: impl IntoIterator<Item = &'a C>) {
        for child in children {
            if !child.has_finalizer() || !child.has_acquired() || child.is_abandoned() {
                continue;
            }
            let deletes = child.deletion_policy() == DeletionPolicy::Delete;
            if child.is_deleting() && deletes {
                self.awaited.push(child.id());
            } else {
                self.others.push(child.id());
            }
        }
    }
}

/// What a kind does.
pub trait Kind: Related {
    /// One pass: observe, plan, apply, report. Under Observe nothing may be changed.
    fn visit(pass: &mut Pass<Self>) -> impl Future<Output = Result<Report, Failure>> + Send;

    /// The object is being deleted: settle the cloud side by its deletionPolicy. Gone is settled.
    fn release(pass: &mut Pass<Self>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The children that this object should outlive.
    fn children(pass: &Pass<Self>) -> Children;

    /// What is left in the cloud when the object goes without settling it: ARN or name. `None`: nothing.
    fn cloud_side(pass: &Pass<Self>) -> Option<String>;
}

/// Visits an object. Every outcome is an [`Action`]: failures are judged here.
pub async fn reconcile<K: Kind>(object: Arc<K>, ctx: Arc<Context>) -> Result<Action, Infallible> {
    let id = object.id();
    let uid = object.uid().unwrap_or_default();
    let span = tracing::info_span!("visit", kind = %id.kind, namespace = id.namespace, name = id.name);
    let started = Instant::now();
    // On a task of its own: a panic ends this visit and nothing else.
    let mut visit = tokio::spawn(
        {
            let ctx = Arc::clone(&ctx);
            async move { tokio::time::timeout(LONGEST_VISIT, to_the_end::<K>(&object, &ctx)).await }
        }
        .instrument(span.clone()),
    );
    let ended = if let Ok(ended) = tokio::time::timeout(LONG_VISIT, &mut visit).await {
        ended
    } else {
        span.in_scope(|| tracing::warn!("the visit takes long: more than {LONG_VISIT:?} so far"));
        visit.await
    };
    let (outcome, action) = match ended {
        Ok(Ok(end)) => end,
        Ok(Err(_)) => {
            span.in_scope(|| {
                tracing::error!("the visit took longer than {LONGEST_VISIT:?} and was given up");
            });
            (Outcome::Error, Action::requeue(retry_delay(&ctx, &uid)))
        }
        Err(error) => {
            span.in_scope(|| tracing::error!(%error, "the visit broke off"));
            (Outcome::Error, Action::requeue(retry_delay(&ctx, &uid)))
        }
    };
    ctx.metrics.reconciled(id.kind.into(), outcome, started.elapsed());
    Ok(action)
}

fn retry_delay(ctx: &Context, uid: &str) -> Duration {
    let memory = ctx.memory.of(uid);
    let mut memory = lock(&memory);
    memory.failures += 1;
    backoff(memory.failures, ctx.settings.resync_interval, random_fraction())
}

type End = (Outcome, Action);

async fn to_the_end<K: Kind>(object: &K, ctx: &Arc<Context>) -> End {
    let mut newest = newest_of(object, ctx).await;
    for _ in 0..RESTARTS {
        let object = match newest {
            Ok(Some(object)) => object,
            Ok(None) => return (Outcome::Ok, Action::await_change()),
            Err(failure) => {
                tracing::warn!(error = %failure, "cannot read the object");
                return (
                    Outcome::Error,
                    Action::requeue(retry_delay(ctx, &object.uid().unwrap_or_default())),
                );
            }
        };
        let mut pass = Pass::new(Arc::clone(ctx), object);
        match visit_once(&mut pass).await {
            Ok(end) => return end,
            Err(Failure::Outdated) => {
                tracing::debug!("the object changed during the visit; starting again");
                newest = live(&pass.object, ctx).await;
            }
            Err(failure) => return fail(&mut pass, &failure).await,
        }
    }
    (Outcome::Requeue, Action::requeue(Duration::from_secs(1)))
}

/// The newest copy there is: the watch's, unless our own newest write has not come through it yet. A watch may lag behind by
/// minutes, so a copy that asks for something to be deleted, or whose spec is not applied yet and may ask for less than
/// before, is never taken from it: what it asks may have been taken back.
async fn newest_of<K: Managed>(object: &K, ctx: &Context) -> Result<Option<K>, Failure> {
    let memory = ctx.memory.of(&object.uid().unwrap_or_default());
    let written = lock(&memory).written_version.clone();
    let behind = match (written.as_deref(), object.meta().resource_version.as_deref()) {
        (Some(written), Some(seen)) => match (written.parse::<u64>(), seen.parse::<u64>()) {
            (Ok(written), Ok(seen)) => seen < written,
            _ => written != seen,
        },
        _ => false,
    };
    if behind || object.is_deleting() || !object.is_applied() {
        live(object, ctx).await
    } else {
        Ok(Some(object.clone()))
    }
}

/// The object as the API server has it now; nothing if it is gone or another one has its name.
async fn live<K: Managed>(object: &K, ctx: &Context) -> Result<Option<K>, Failure> {
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default());
    let found = api.get_opt(&object.name_any()).await?;
    Ok(found.filter(|found| found.uid() == object.uid()))
}

async fn visit_once<K: Kind>(pass: &mut Pass<K>) -> Result<End, Failure> {
    if pass.object.is_deleting() {
        return delete(pass).await;
    }
    pass.policy = effective_policy(pass);
    pass.status.set_management_policy(pass.policy);
    if pass.object.is_paused() {
        return pause(pass).await;
    }
    if pass.status.conditions().is_empty() {
        pass.state(&first_statements());
        pass.save().await?;
    }
    if pass.enforces() && !pass.object.has_finalizer() {
        pass.add_finalizer().await?;
    } else if !pass.enforces() && pass.object.has_finalizer() {
        pass.remove_finalizer().await?;
    }
    let report = K::visit(pass).await?;
    finish(pass, &report).await
}

fn effective_policy<K: Managed>(pass: &Pass<K>) -> ManagementPolicy {
    let id = pass.id();
    let project = pass
        .ctx
        .cluster
        .project(&id.namespace, pass.object.project_object());
    let of_project = project.map_or(ManagementPolicy::Enforce, |project| {
        project.own_management_policy()
    });
    stricter(pass.object.own_management_policy(), of_project)
}

fn first_statements() -> Vec<Statement> {
    let text = "Not looked at yet";
    vec![
        Statement::new(READY, Truth::Unknown, reason::PENDING, text),
        Statement::new(SYNCED, Truth::Unknown, reason::PENDING, text),
        Statement::new(RECONCILING, Truth::True, reason::PENDING, text),
        Statement::new(STALLED, Truth::False, reason::NOT_STALLED, ""),
        Statement::new(PROTECTED, Truth::Unknown, reason::PENDING, text),
    ]
}

async fn pause<K: Kind>(pass: &mut Pass<K>) -> Result<End, Failure> {
    let text = "Paused by the annotation ramtrail.io/paused; remove it to go on";
    let weak = [(reason::PAUSED, "Paused: a weakening would not be seen".to_owned())];
    let mut statements = vec![
        Statement::new(READY, Truth::Unknown, reason::PAUSED, text),
        Statement::new(SYNCED, Truth::Unknown, reason::PAUSED, text),
        Statement::new(RECONCILING, Truth::False, reason::PAUSED, ""),
        Statement::new(STALLED, Truth::False, reason::NOT_STALLED, ""),
        protected(ManagementPolicy::Enforce, &weak),
    ];
    if tells_of_logging(pass.status.conditions()) {
        statements.extend(
            [LOGGING, DELIVERING].map(|type_| Statement::new(type_, Truth::Unknown, reason::PAUSED, text)),
        );
    }
    pass.state(&statements);
    pass.save().await?;
    note_conditions(pass);
    Ok((Outcome::Ok, Action::await_change()))
}

/// Whether a kind tells of logging and delivery, and has said something of them before.
fn tells_of_logging(conditions: &[Condition]) -> bool {
    find(conditions, LOGGING).is_some()
}

/// What is new in the Stalled condition, for an Event: a person must act, and was not told the same before.
fn news_of_stalled<'a>(before: Option<&Condition>, now: Option<&'a Condition>) -> Option<&'a Condition> {
    let now = now.filter(|now| now.status == Truth::True.as_str())?;
    let told = before.is_some_and(|before| {
        before.status == now.status
            && before.reason == now.reason
            && without_request_id(&before.message) == without_request_id(&now.message)
    });
    (!told).then_some(now)
}

async fn tell_stalled<K: Kind>(pass: &Pass<K>, before: Option<&Condition>) {
    let now = find(pass.status.conditions(), STALLED);
    let Some(news) = news_of_stalled(before, now) else {
        return;
    };
    if let Some(reason) = reason::ALL.iter().find(|reason| **reason == news.reason) {
        pass.tell(Note::warning(reason, "Visit", news.message.clone()))
            .await;
    }
}

async fn finish<K: Kind>(pass: &mut Pass<K>, report: &Report) -> Result<End, Failure> {
    if report.converged && pass.enforces() {
        let generation = pass.object.meta().generation;
        pass.status.set_applied_generation(generation);
    }
    if pass.enforces() {
        pass.status.set_plan(Vec::new());
    }
    let before = find(pass.status.conditions(), STALLED).cloned();
    pass.state(&report.complete());
    pass.save().await?;
    note_conditions(pass);
    tell_stalled(pass, before.as_ref()).await;
    {
        let mut memory = lock(&pass.memory);
        memory.failures = 0;
        memory.tampers.visit_ended();
    }
    let pause = resync(
        pass.ctx.settings.resync_interval,
        &pass.object.uid().unwrap_or_default(),
    );
    let outcome = if report.again.is_some() {
        Outcome::Requeue
    } else {
        Outcome::Ok
    };
    Ok((
        outcome,
        Action::requeue(report.again.map_or(pause, |again| again.min(pause))),
    ))
}

fn note_conditions<K: Managed>(pass: &Pass<K>) {
    let id = pass.id();
    pass.ctx
        .metrics
        .set_conditions(id.kind.into(), &id.namespace, &id.name, pass.status.conditions());
}

/// A visit failed: the table says what that means.
async fn fail<K: Kind>(pass: &mut Pass<K>, failure: &Failure) -> End {
    let waiting = matches!(failure, Failure::Waiting { .. });
    let (failures, stale) = {
        let mut memory = lock(&pass.memory);
        memory.failures += 1;
        (
            memory.failures,
            memory.last_good.elapsed() > pass.ctx.settings.resync_interval * 3,
        )
    };
    let verdict = judge(
        failure,
        &Circumstances {
            phase: pass.phase(),
            acquired: pass.status.claim().is_some(),
            failures,
            stale,
            logs: tells_of_logging(pass.status.conditions()),
            caller: pass.caller(),
        },
    );
    if waiting {
        tracing::debug!(reason = verdict.reason, "waiting: {failure}");
    } else {
        tracing::warn!(reason = verdict.reason, failures, "the visit failed: {failure}");
        pass.ctx.metrics.reconcile_failed(K::KIND.into(), verdict.reason);
    }
    let before = find(pass.status.conditions(), STALLED).cloned();
    let statements = with_what_was_seen(&verdict.statements, &pass.seen);
    pass.state(&statements);
    if let Err(error) = pass.save().await {
        tracing::warn!(%error, "cannot write the status");
    }
    note_conditions(pass);
    tell_stalled(pass, before.as_ref()).await;
    let outcome = if waiting { Outcome::Requeue } else { Outcome::Error };
    (outcome, Action::requeue(delay(pass, &verdict, failures)))
}

/// What a failure says, but for what the visit saw before it failed.
fn with_what_was_seen(failed: &[Statement], seen: &[Statement]) -> Vec<Statement> {
    let known = |statement: &&Statement| !seen.iter().any(|seen| seen.type_ == statement.type_);
    failed.iter().filter(known).chain(seen).cloned().collect()
}

fn delay<K: Managed>(pass: &Pass<K>, verdict: &Verdict, failures: u32) -> Duration {
    let interval = pass.ctx.settings.resync_interval;
    match verdict.again {
        Again::Now => Duration::from_secs(1),
        Again::Backoff => backoff(failures, interval, random_fraction()),
        Again::Slowly => resync(interval, &pass.object.uid().unwrap_or_default()),
    }
}

/// The object is being deleted.
async fn delete<K: Kind>(pass: &mut Pass<K>) -> Result<End, Failure> {
    if !pass.object.has_finalizer() {
        return Ok((Outcome::Ok, Action::await_change()));
    }
    if pass.object.is_abandoned() {
        return free(pass, "the annotation ramtrail.io/abandon asks for it").await;
    }
    if !pass.may_hold_something() {
        return let_go(pass).await;
    }
    if pass.object.is_paused() {
        if is_terminating(pass).await {
            return free(pass, "it is paused and its namespace is being deleted").await;
        }
        let text = "Being deleted and paused: remove the annotation ramtrail.io/paused to go on, or set ramtrail.io/abandon to \
                    \"true\" to leave the cloud side as it is";
        pass.state(&[
            Statement::new(READY, Truth::Unknown, reason::PAUSED, text),
            Statement::new(RECONCILING, Truth::False, reason::PAUSED, ""),
        ]);
        pass.save().await?;
        // Its namespace may be deleted later, which changes nothing in the object.
        let interval = pass.ctx.settings.resync_interval;
        let pace = resync(interval, &pass.object.uid().unwrap_or_default());
        return Ok((Outcome::Ok, Action::requeue(pace)));
    }
    pass.policy = effective_policy(pass);
    if !pass.enforces() {
        return free(pass, "managementPolicy is Observe").await;
    }
    let children = K::children(pass);
    if !children.awaited.is_empty() {
        let text = format!("Waits for {} to be deleted first", named(&children.awaited));
        deleting(pass, &text).await?;
        return Ok((Outcome::Requeue, Action::requeue(WAIT_FOR_CHILDREN)));
    }
    let asked = *lock(&pass.memory).deletion_seen.get_or_insert_with(Instant::now);
    let left = CHILDREN_MAY_FOLLOW.saturating_sub(asked.elapsed());
    if !children.others.is_empty() && !left.is_zero() {
        let text = format!(
            "Waits a moment in case {} is to be deleted too: it would have to go first",
            named(&children.others)
        );
        deleting(pass, &text).await?;
        return Ok((Outcome::Requeue, Action::requeue(left)));
    }
    let intent = match pass.object.deletion_policy() {
        DeletionPolicy::Retain => "Being deleted; the cloud side stays and is marked as released",
        DeletionPolicy::Delete => "Being deleted, with the cloud side",
    };
    // While it cannot be settled the conditions say why.
    if lock(&pass.memory).unsettled.is_none() {
        deleting(pass, intent).await?;
    }
    match K::release(pass).await {
        Ok(()) => let_go(pass).await,
        Err(failure) => stuck(pass, failure).await,
    }
}

/// Some of the objects, for a person.
fn named(objects: &[ObjectId]) -> String {
    let names: Vec<String> = objects.iter().take(5).map(ToString::to_string).collect();
    names.join(", ")
}

async fn deleting<K: Kind>(pass: &mut Pass<K>, text: &str) -> Result<(), Failure> {
    pass.state(&[
        Statement::new(READY, Truth::False, reason::DELETING, text),
        Statement::new(RECONCILING, Truth::True, reason::DELETING, text),
    ]);
    pass.save().await?;
    note_conditions(pass);
    Ok(())
}

/// Settling the cloud side failed: the object is freed after the grace, whatever the cloud answers, and without usable
/// access at once when its namespace goes.
async fn stuck<K: Kind>(pass: &mut Pass<K>, failure: Failure) -> Result<End, Failure> {
    if !failure.keeps_unsettled() {
        if matches!(failure, Failure::Waiting { .. }) {
            lock(&pass.memory).unsettled = None;
        }
        return Err(failure);
    }
    let since = *lock(&pass.memory).unsettled.get_or_insert_with(Instant::now);
    let failures = lock(&pass.memory).failures + 1;
    let grace = pass.ctx.settings.deletion_grace;
    if since.elapsed() >= grace {
        let text = format!("for {grace:?} {} ({failure})", obstacle(&failure));
        return free(pass, &text).await;
    }
    let lasting = failure.is_no_access() && !failure.may_pass();
    if (lasting || failures >= FAILURES_IN_TERMINATING) && is_terminating(pass).await {
        let text = format!(
            "its namespace is being deleted and {} ({failure})",
            obstacle(&failure)
        );
        return free(pass, &text).await;
    }
    let left = grace.saturating_sub(since.elapsed());
    let (outcome, _) = fail(pass, &failure).await;
    let wait = backoff(failures, pass.ctx.settings.resync_interval, random_fraction());
    Ok((
        outcome,
        Action::requeue(wait.min(left).max(Duration::from_millis(50))),
    ))
}

fn obstacle(failure: &Failure) -> &'static str {
    if failure.is_no_access() {
        "there was no usable access"
    } else {
        "the cloud refused it"
    }
}

/// Whether the object's namespace is being deleted. Not knowing means no: the grace ends the wait anyway.
async fn is_terminating<K: Managed>(pass: &Pass<K>) -> bool {
    let api: Api<Namespace> = Api::all(pass.ctx.client.clone());
    match api.get_opt(&pass.id().namespace).await {
        Ok(Some(namespace)) => namespace.meta().deletion_timestamp.is_some(),
        Ok(None) => true,
        Err(error) => {
            tracing::debug!(%error, "cannot tell whether the namespace is being deleted");
            false
        }
    }
}

/// Removes the finalizer and leaves the cloud side as it is, saying so.
async fn free<K: Kind>(pass: &mut Pass<K>, why: &str) -> Result<End, Failure> {
    if let Some(what) = K::cloud_side(pass) {
        let text = format!(
            "{} is left in the cloud as it is: {what}. Reason: {why}",
            pass.id()
        );
        pass.ctx
            .metrics
            .reconcile_failed(K::KIND.into(), reason::LEFT_IN_CLOUD);
        pass.ctx
            .teller
            .tell(
                &pass.object.object_ref(&()),
                &Note::warning(event::LEFT_IN_CLOUD, "Delete", text),
            )
            .await;
    }
    let_go(pass).await
}

async fn let_go<K: Kind>(pass: &mut Pass<K>) -> Result<End, Failure> {
    pass.remove_finalizer().await?;
    tracing::info!("the object is let go");
    Ok((Outcome::Ok, Action::await_change()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::condition;
    use k8s_openapi::jiff::Timestamp;

    fn stalled(status: Truth, reason: &'static str, message: &str) -> Option<Condition> {
        let said = [Statement::new(STALLED, status, reason, message)];
        condition::merge(&[], &said, Some(1), Timestamp::UNIX_EPOCH).pop()
    }

    #[test]
    fn a_person_is_told_of_every_new_thing_to_do_and_of_none_twice() {
        let idle = || stalled(Truth::False, reason::NOT_STALLED, "");
        let denied = |what: &str| stalled(Truth::True, reason::DENIED, what);
        let table = [
            (None, denied("a"), true),
            (idle(), denied("a"), true),
            (denied("a (request 1)"), denied("a (request 2)"), false),
            (denied("a"), denied("b"), true),
            (
                denied("a"),
                stalled(Truth::True, reason::DELIVERY_BROKEN, "a"),
                true,
            ),
            (denied("a"), idle(), false),
            (idle(), idle(), false),
        ];
        for (before, now, news) in table {
            assert_eq!(
                news_of_stalled(before.as_ref(), now.as_ref()).is_some(),
                news,
                "{before:?} {now:?}"
            );
        }
    }
}
