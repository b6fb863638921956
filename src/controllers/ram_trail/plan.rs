//! Decides what to do about a trail: (wanted, observed, known) to steps. Pure.
//!
//! The rule that everything here serves: repair only ever protects. A step that reduces anything exists only where the wanted
//! value of that very field fell since it was last applied; a cloud that holds more than the spec asks for is reported and left.

mod job;

use std::collections::BTreeSet;
use std::fmt;

use crate::api::condition::reason;
use crate::api::v1alpha1::{
    AdoptionPolicy, AppliedTrail, Claim, EventSelection, Logging, Origin, PendingCreate,
};
use crate::controllers::acquisition;
use crate::controllers::ownership::{Mark, Owner};
use crate::controllers::plan::{Effect, Step};
use k8s_openapi::jiff::Timestamp;

use super::copy_script::Filter;
use super::model::{
    ALL_REGIONS, Attempt, CopyBlocked, Index, Job, Known, Observed, Obstacle, OtherDestinations,
    PERMANENT_DAYS, Role, Sink, Store, Trail, Wanted, event_rw, service_linked_role_arn, trail_store,
};

/// One call, or two that belong together.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write our mark on the project and read it back.
    WriteMark,
    /// Make the service-linked role of ActionTrail.
    CreateRole,
    /// Create the trail.
    CreateTrail,
    /// Send the whole settings of the trail.
    UpdateTrail(Settings),
    /// Switch the trail on.
    StartLogging,
    /// Switch the trail off.
    StopLogging,
    /// Set the retention of the trail's store, in days.
    SetRetention(i32),
    /// Put back what the index of the trail's store needs.
    RestoreIndex,
    /// Create the copy job.
    CreateJob(JobSettings),
    /// Send the whole configuration of the copy job.
    UpdateJob(JobSettings),
    /// Start the copy job.
    StartJob,
    /// Delete the copy job.
    DeleteJob,
}

/// The whole settings of a trail, as an update sends them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which events.
    pub events: EventSelection,
    /// Which regions.
    pub trail_region: String,
    /// Log Service destination.
    pub project_arn: String,
    /// Role that writes to it; `None`: the service-linked one, unsaid.
    pub write_role_arn: Option<String>,
    /// The other destinations, as found.
    pub others: OtherDestinations,
}

/// The whole configuration of a copy job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JobSettings {
    /// Description.
    pub description: String,
    /// Store from which it reads.
    pub source: String,
    /// Role that reads.
    pub role_arn: String,
    /// What it passes.
    pub filter: Filter,
    /// From when it reads, in seconds; `None`: to be found out when the job is made.
    pub from_time: Option<i64>,
    /// Where it writes.
    pub sinks: Vec<Sink>,
}

impl Action {
    /// The API's own name of what is called.
    pub fn call(&self) -> &'static str {
        match self {
            Self::WriteMark => "TagResources",
            Self::CreateRole => "CreateServiceLinkedRole",
            Self::CreateTrail => "CreateTrail",
            Self::UpdateTrail(_) => "UpdateTrail",
            Self::StartLogging => "StartLogging",
            Self::StopLogging => "StopLogging",
            Self::SetRetention(_) => "UpdateLogStore",
            Self::RestoreIndex => "UpdateIndex",
            Self::CreateJob(_) => "CreateETL",
            Self::UpdateJob(_) => "UpdateETL",
            Self::StartJob => "StartETL",
            Self::DeleteJob => "DeleteETL",
        }
    }

    /// What it is about: a label of metrics.
    fn field(&self) -> &'static str {
        match self {
            Self::WriteMark => "mark",
            Self::CreateRole => "role",
            Self::CreateTrail => "trail",
            Self::UpdateTrail(_) => "settings",
            Self::StartLogging | Self::StopLogging => "logging",
            Self::SetRetention(_) => "retention",
            Self::RestoreIndex => "index",
            Self::CreateJob(_) | Self::UpdateJob(_) | Self::StartJob | Self::DeleteJob => "copy",
        }
    }
}

/// A weakening from outside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The field, from a closed set: a metric label.
    pub field: &'static str,
    /// Field, found value and wanted value, in words.
    pub what: String,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The claim to make: the trail is there and now ours, or it is another one than before.
    pub acquire: Option<Origin>,
    /// The steps, in order.
    pub steps: Vec<Step<Action>>,
    /// Weakenings from outside.
    pub findings: Vec<Finding>,
    /// Where the cloud holds more than the spec asks for.
    pub exceeds: Vec<String>,
    /// What weakens the audit and is left as it is, in words.
    pub weak: Vec<String>,
    /// What will come by itself.
    pub waits: Vec<Obstacle>,
    /// What a person must mend, while everything else goes on.
    pub stalls: Vec<Obstacle>,
    /// Whether the trail that was found is what our own open create has made: nobody else has touched it yet.
    just_made: bool,
    /// The trail is on and the store that should be there by now is not.
    pub store_gone: bool,
    /// Fields that are not as wanted yet: what was applied to them stays noted until they are.
    open: BTreeSet<Field>,
}

/// Fields that `status.applied` tells apart.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Field {
    Logging,
    Events,
    Retention,
    Copy,
}

/// What planning came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// These steps.
    Converge(Plan),
    /// Nothing may be written; a person must act.
    Blocked(Obstacle),
}

/// How a found value stands to the wanted one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Course {
    Same,
    Raise,
    Lower,
    Keep,
}

/// Whether a trail with this creation time is the outcome of our own open create.
pub fn pending_matches(pending: Option<&PendingCreate>, wanted: &Wanted, create_time: &str) -> bool {
    let times: Vec<Timestamp> = create_time.parse().into_iter().collect();
    pending
        .is_some_and(|pending| acquisition::is_from(pending, &wanted.account_id, &wanted.trail_name, &times))
}

/// Decides.
pub fn plan(wanted: &Wanted, observed: &Observed, known: &Known) -> Decision {
    let mut plan = Plan::default();
    if let Some(claim) = &known.claim {
        if let Some(obstacle) = mark_after_acquisition(wanted, observed, claim, &mut plan) {
            return Decision::Blocked(obstacle);
        }
        if let Some(trail) = &observed.trail
            && let Some(obstacle) = remade(wanted, trail, claim, known, &mut plan)
        {
            return Decision::Blocked(obstacle);
        }
    } else if let Some(obstacle) = acquire(wanted, observed, known, &mut plan) {
        return Decision::Blocked(obstacle);
    }
    match &observed.trail {
        None => {
            plan.open.extend([Field::Logging, Field::Events]);
            create(wanted, observed, known, &mut plan);
        }
        Some(trail) => {
            if let Some(obstacle) = out_of_reach(wanted, trail) {
                return Decision::Blocked(obstacle);
            }
            converge_trail(wanted, observed, trail, known, &mut plan);
        }
    }
    converge_store(wanted, observed, known, &mut plan);
    if matches!(observed.store, Store::Present { .. }) {
        job::converge(wanted, &observed.job, known, &mut plan);
    } else {
        plan.open.extend([Field::Retention, Field::Copy]);
        if let Some(CopyBlocked { obstacle, stalls }) = &wanted.copy_blocked {
            plan.hold_up(obstacle.clone(), *stalls);
        }
    }
    Decision::Converge(plan)
}

/// Something changed so much since the visit looked that what was planned may no longer be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moved;

/// What is left of a planned step for what was read anew right before it: settings go whole, and the cloud does not compare.
/// Nothing where somebody else was faster.
///
/// # Errors
/// When nothing may be written any more, or when a step that was to take nothing away now would.
pub fn again(
    wanted: &Wanted,
    observed: &Observed,
    known: &Known,
    planned: Effect,
    is_it: impl Fn(&Action) -> bool,
) -> Result<Option<Action>, Moved> {
    let Decision::Converge(plan) = plan(wanted, observed, known) else {
        return Err(Moved);
    };
    match plan.steps.into_iter().find(|step| is_it(&step.action)) {
        Some(step) if step.effect == Effect::Reduce && planned != Effect::Reduce => Err(Moved),
        Some(step) => Ok(Some(step.action)),
        None => Ok(None),
    }
}

impl Plan {
    fn step(&mut self, action: Action, effect: Effect, why: impl fmt::Display) {
        let text = format!("{}: {why}", action.call());
        self.steps.push(Step::new(effect, action.field(), text, action));
    }

    fn found(&mut self, field: &'static str, what: impl Into<String>) {
        self.findings.push(Finding {
            field,
            what: what.into(),
        });
    }

    fn hold_up(&mut self, obstacle: Obstacle, stalls: bool) {
        if stalls { &mut self.stalls } else { &mut self.waits }.push(obstacle);
    }

    /// What `status.applied` says after this visit: what is wanted, but for fields that are not so yet. `done` says that all
    /// steps were taken. When a trail of our own is acquired only now, because the answer of its creation was lost, what differs
    /// from the spec counts as never applied: whether the spec changed since or somebody widened the trail is not known.
    pub fn applied(
        &self,
        wanted: &Wanted,
        observed: &Observed,
        before: Option<&AppliedTrail>,
        done: bool,
    ) -> AppliedTrail {
        let mut applied = wanted.as_applied();
        if let (Some(Origin::Created), Some(trail), None) = (self.acquire, &observed.trail, before) {
            applied.events = trail.events.filter(|found| *found == wanted.events);
            applied.logging = (!trail.on || wanted.logging == Logging::Enabled).then_some(wanted.logging);
        }
        let before = before.cloned().unwrap_or_default();
        for field in &self.open {
            match field {
                Field::Logging if !done => applied.logging = before.logging,
                Field::Events if !done => applied.events = before.events,
                // Settings of things that may not be there yet: without their step nothing was applied to them.
                Field::Retention if !(done && self.touches_retention()) => {
                    applied.store_retention_days = before.store_retention_days;
                }
                Field::Copy if !(done && self.touches_copy()) => applied.copy.clone_from(&before.copy),
                Field::Logging | Field::Events | Field::Retention | Field::Copy => {}
            }
        }
        applied.index_types = before.index_types;
        if let Some(copy) = &mut applied.copy {
            let found = match &observed.job {
                Job::Present(found) => Some(found.from_time),
                _ => None,
            };
            copy.from_time = before.copy.and_then(|copy| copy.from_time).or(found);
        }
        applied
    }

    /// What of it only protects, and is about the trail as ActionTrail keeps it: no mark, no role, nothing in Log Service.
    #[must_use]
    pub fn only_protecting_the_trail(self) -> Self {
        let (steps, findings) = (self.steps, self.findings);
        let steps: Vec<_> = steps
            .into_iter()
            .filter(|step| {
                step.effect == Effect::Protect
                    && matches!(step.action, Action::StartLogging | Action::UpdateTrail(_))
            })
            .collect();
        let updates = steps
            .iter()
            .any(|step| matches!(step.action, Action::UpdateTrail(_)));
        let findings = findings.into_iter().filter(|finding| match finding.field {
            "logging" => true,
            "events" | "regions" | "destination" => updates,
            _ => false,
        });
        Self {
            findings: findings.collect(),
            steps,
            ..Self::default()
        }
    }

    /// Whether the copy job was seen to be as wanted, and nothing is to be done about it.
    pub fn copy_is_settled(&self) -> bool {
        let touched = self.touches_copy() || self.steps.iter().any(|step| step.action == Action::StartJob);
        let stuck = |obstacle: &Obstacle| obstacle.reason == reason::COPY_JOB_FAILED;
        !touched && !self.open.contains(&Field::Copy) && !self.waits.iter().chain(&self.stalls).any(stuck)
    }

    fn touches_retention(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.action, Action::SetRetention(_)))
    }

    fn touches_copy(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(
                step.action,
                Action::CreateJob(_) | Action::UpdateJob(_) | Action::DeleteJob
            )
        })
    }

    /// Whether only another look tells how it goes on.
    pub fn is_under_way(&self) -> bool {
        !self.steps.is_empty() || self.waits.iter().any(|wait| !wait.announces_its_end)
    }

    /// Whether the cloud is as wanted, apart from what is reported as more than that.
    pub fn is_settled(&self) -> bool {
        self.steps.is_empty() && self.waits.is_empty() && self.stalls.is_empty()
    }
}

/// Another creation time than the claim's: made again by us, or by somebody who deleted ours. It is kept as declared either
/// way, redirected or not, or deleting and making again would end all repair; only where nothing may be taken over, it is left.
/// What somebody else made is never deleted by us.
fn remade(wanted: &Wanted, trail: &Trail, claim: &Claim, known: &Known, plan: &mut Plan) -> Option<Obstacle> {
    if claim
        .create_time
        .as_deref()
        .is_none_or(|time| time == trail.create_time)
    {
        return None;
    }
    if pending_matches(known.pending.as_ref(), wanted, &trail.create_time) {
        plan.just_made = true;
        plan.acquire = Some(Origin::Created);
    } else if wanted.adoption == AdoptionPolicy::Never {
        return Some(Obstacle::new(
            reason::ADOPTION_FORBIDDEN,
            format!(
                "the trail that this object held was deleted, and another one was made under its name {} at {}, and \
                 spec.adoptionPolicy is Never. Set it to IfUnowned to take that trail over, or delete it: then it is created again",
                wanted.trail_name, trail.create_time
            ),
        ));
    } else {
        plan.acquire = Some(Origin::Adopted);
        plan.found(
            "trail",
            format!(
                "trail {} was deleted and another one made under its name",
                wanted.trail_name
            ),
        );
    }
    None
}

/// The mark of a trail that we hold. Losing it is tampering, unless another cluster was faster while our claim was young.
fn mark_after_acquisition(
    wanted: &Wanted,
    observed: &Observed,
    claim: &Claim,
    plan: &mut Plan,
) -> Option<Obstacle> {
    match &observed.mark {
        Mark::Ours => None,
        Mark::ReleasedByUs | Mark::Unowned => {
            plan.found("mark", "the mark on the project was removed");
            plan.step(Action::WriteMark, Effect::Protect, "mark: found none, want ours");
            None
        }
        Mark::Foreign(text)
            if Owner::cluster_of(text).is_none_or(|cluster| cluster == wanted.owner.cluster_id()) =>
        {
            plan.found("mark", format!("the mark on the project was changed to {text}"));
            plan.step(
                Action::WriteMark,
                Effect::Protect,
                format!("mark: found {text}, want ours"),
            );
            None
        }
        Mark::Foreign(text) if claim.confirmed != Some(true) => Some(owned_by_another(wanted, text)),
        Mark::Foreign(text) => {
            plan.found("mark", format!("the mark on the project was changed to {text}"));
            plan.stalls.push(Obstacle::new(
                reason::OWNED_BY_ANOTHER,
                format!(
                    "another cluster wrote its mark {text} over ours for trail {}. The trail is kept as declared, the mark is left: \
                     two clusters never undo each other's marks. Delete one of the two RamTrails",
                    wanted.trail_name
                ),
            ));
            None
        }
    }
}

fn owned_by_another(wanted: &Wanted, mark: &str) -> Obstacle {
    Obstacle::new(
        reason::OWNED_BY_ANOTHER,
        format!(
            "trail {} is marked as {mark}, and this is {} of cluster {}. Choose another spec.trailName, or have the other owner \
             release it and set spec.adoptionPolicy to Always to take it over",
            wanted.trail_name,
            wanted.owner.object(),
            wanted.owner.cluster_id(),
        ),
    )
}

/// The first time: may we have it at all?
fn acquire(wanted: &Wanted, observed: &Observed, known: &Known, plan: &mut Plan) -> Option<Obstacle> {
    let taken_from_another = observed.mark.is_foreign();
    if let Mark::Foreign(mark) = &observed.mark
        && wanted.adoption != AdoptionPolicy::Always
    {
        return Some(owned_by_another(wanted, mark));
    }
    let Some(trail) = &observed.trail else {
        first_mark(&observed.mark, plan);
        return None;
    };
    if let Some(obstacle) = out_of_reach(wanted, trail) {
        return Some(obstacle);
    }
    if !taken_from_another && pending_matches(known.pending.as_ref(), wanted, &trail.create_time) {
        plan.just_made = true;
        plan.acquire = Some(Origin::Created);
    } else {
        // With our mark on it we held it before the status was lost.
        if wanted.adoption == AdoptionPolicy::Never && observed.mark != Mark::Ours {
            return Some(Obstacle::new(
                reason::ADOPTION_FORBIDDEN,
                format!(
                    "trail {} exists since {} and spec.adoptionPolicy is Never. Set it to IfUnowned to take the trail over, or \
                     choose another spec.trailName",
                    wanted.trail_name, trail.create_time
                ),
            ));
        }
        let reductions = reductions_by_adoption(wanted, observed, trail);
        if !reductions.is_empty() {
            return Some(Obstacle::new(
                reason::ADOPTION_WOULD_REDUCE,
                format!(
                    "taking over trail {} would reduce what it protects: {}. Write the found values into the spec; they can be \
                     lowered once the trail is taken over",
                    wanted.trail_name,
                    reductions.join("; ")
                ),
            ));
        }
        plan.acquire = Some(Origin::Adopted);
    }
    first_mark(&observed.mark, plan);
    None
}

/// Our mark, where there is none of ours yet.
fn first_mark(found: &Mark, plan: &mut Plan) {
    let found = match found {
        Mark::Ours => return,
        Mark::Foreign(text) => text.as_str(),
        Mark::ReleasedByUs | Mark::Unowned => "none",
    };
    plan.step(
        Action::WriteMark,
        Effect::Create,
        format!("mark: found {found}, want ours"),
    );
}

/// Trails that cannot be managed from here at all.
fn out_of_reach(wanted: &Wanted, trail: &Trail) -> Option<Obstacle> {
    if trail.organization {
        return Some(Obstacle::new(
            reason::ADOPTION_FORBIDDEN,
            format!(
                "trail {} is an organization's trail, which this version does not manage. Choose another spec.trailName",
                wanted.trail_name
            ),
        ));
    }
    (trail.home_region != wanted.region).then(|| {
        Obstacle::new(
            reason::NAME_TAKEN,
            format!(
                "the account has a trail {} already, at home in {}, and trail names are unique in an account. Choose another \
                 spec.trailName, or put the AuditProject into {}",
                wanted.trail_name, trail.home_region, trail.home_region
            ),
        )
    })
}

/// What converging a trail that nobody of us touched before would take away.
fn reductions_by_adoption(wanted: &Wanted, observed: &Observed, trail: &Trail) -> Vec<String> {
    let mut lost = Vec::new();
    if trail.events.is_some_and(|found| !covers(wanted.events, found)) {
        lost.push(found_want(
            "events",
            trail.events.map_or("", event_rw),
            event_rw(wanted.events),
        ));
    }
    if trail.on && wanted.logging == Logging::Stopped {
        lost.push(found_want("logging", "Enabled", "Stopped"));
    }
    if !trail.project_arn.is_empty() && trail.project_arn != wanted.project_arn {
        lost.push(found_want("destination", &trail.project_arn, &wanted.project_arn));
    }
    if let (
        Some(days),
        Store::Present {
            days: Some(found), ..
        },
    ) = (wanted.retention_days, &observed.store)
        && days < *found
    {
        lost.push(found_want("store.retentionDays", found, days));
    }
    lost
}

fn found_want(field: &str, found: impl fmt::Display, want: impl fmt::Display) -> String {
    format!("{field}: found {found}, want {want}")
}

/// Whether everything that `narrow` records is recorded by `wide` too.
pub(super) fn covers(wide: EventSelection, narrow: EventSelection) -> bool {
    wide == EventSelection::All || wide == narrow
}

/// A trail that is not there.
fn create(wanted: &Wanted, observed: &Observed, known: &Known, plan: &mut Plan) {
    if known.claim.is_some() {
        plan.found("trail", format!("trail {} was deleted", wanted.trail_name));
    }
    if observed.role == Role::Missing {
        plan.step(
            Action::CreateRole,
            Effect::Create,
            "service-linked role of ActionTrail: found none",
        );
    }
    plan.step(
        Action::CreateTrail,
        Effect::Create,
        format!("trail {}: found none", wanted.trail_name),
    );
    if wanted.logging == Logging::Enabled {
        plan.step(
            Action::StartLogging,
            Effect::Create,
            "logging: a new trail is off, want Enabled",
        );
    }
}

/// An update of the trail in the making: the settings as found, with what has to change.
struct Draft {
    settings: Settings,
    effect: Option<Effect>,
    why: Vec<String>,
}

impl Draft {
    fn of(trail: &Trail) -> Self {
        let settings = Settings {
            // What is not known may be everything.
            events: trail.events.unwrap_or(EventSelection::All),
            trail_region: trail.trail_region.clone(),
            project_arn: trail.project_arn.clone(),
            write_role_arn: Some(trail.write_role_arn.clone()).filter(|arn| !arn.is_empty()),
            others: trail.others.clone(),
        };
        Self {
            settings,
            effect: None,
            why: Vec::new(),
        }
    }

    /// Notes a reason for the update. What takes something away outweighs all else.
    fn change(&mut self, effect: Effect, why: String) {
        if self.effect != Some(Effect::Reduce) {
            self.effect = Some(effect);
        }
        self.why.push(why);
    }
}

fn converge_trail(wanted: &Wanted, observed: &Observed, trail: &Trail, known: &Known, plan: &mut Plan) {
    if observed.role == Role::Missing {
        plan.found("role", "the service-linked role of ActionTrail was deleted");
        plan.step(
            Action::CreateRole,
            Effect::Protect,
            "service-linked role of ActionTrail: found none",
        );
    }
    let mut draft = Draft::of(trail);
    converge_events(wanted, trail, known, &mut draft, plan);
    converge_reach(wanted, trail, known, &mut draft, plan);
    plan.store_gone = store_is_gone(observed, trail, known);
    if plan.store_gone && draft.effect.is_none() {
        regain_store(wanted, known, &mut draft, plan);
    }
    let Draft {
        settings,
        effect,
        why,
    } = draft;
    if let Some(effect) = effect {
        plan.step(Action::UpdateTrail(settings), effect, why.join("; "));
    }
    converge_logging(wanted, trail, known, plan);
}

fn converge_events(wanted: &Wanted, trail: &Trail, known: &Known, draft: &mut Draft, plan: &mut Plan) {
    let applied = known.applied.as_ref().and_then(|applied| applied.events);
    let text = found_want(
        "events",
        trail.events.map_or("an unknown value", event_rw),
        event_rw(wanted.events),
    );
    match events_course(wanted.events, trail.events, applied) {
        Course::Same => {}
        Course::Keep => plan.exceeds.push(text),
        Course::Raise => {
            plan.open.insert(Field::Events);
            // Of two halves neither covers the other, and nobody knows what an unknown value covers: only All takes nothing away.
            draft.settings.events = match trail.events {
                Some(found) if covers(wanted.events, found) => wanted.events,
                _ => EventSelection::All,
            };
            if applied == Some(wanted.events) {
                plan.found("events", text.clone());
            }
            draft.change(Effect::Protect, text);
        }
        Course::Lower => {
            plan.open.insert(Field::Events);
            draft.settings.events = wanted.events;
            draft.change(Effect::Reduce, text);
        }
    }
}

/// Where from, where to, and through which role.
fn converge_reach(wanted: &Wanted, trail: &Trail, known: &Known, draft: &mut Draft, plan: &mut Plan) {
    let held = known.claim.is_some();
    if trail.trail_region != ALL_REGIONS {
        let text = found_want("regions", &trail.trail_region, ALL_REGIONS);
        ALL_REGIONS.clone_into(&mut draft.settings.trail_region);
        if held {
            plan.found("regions", text.clone());
        }
        draft.change(Effect::Protect, text);
    }
    if trail.project_arn != wanted.project_arn {
        let found = Some(trail.project_arn.as_str())
            .filter(|arn| !arn.is_empty())
            .unwrap_or("none");
        let text = found_want("destination", found, &wanted.project_arn);
        draft.settings.project_arn.clone_from(&wanted.project_arn);
        if held {
            plan.found("destination", text.clone());
        }
        draft.change(Effect::Protect, text);
    }
    // A trail of our own delivers through the service-linked role; which role an adopted one had is not known.
    let role = service_linked_role_arn(&wanted.account_id);
    let other_role = !trail.write_role_arn.is_empty() && !trail.write_role_arn.eq_ignore_ascii_case(&role);
    if origin(known, plan) == Some(Origin::Created) && other_role {
        let text = found_want("delivery role", &trail.write_role_arn, &role);
        draft.settings.write_role_arn = Some(role);
        plan.found("role", text.clone());
        draft.change(Effect::Protect, text);
    }
}

/// Only ActionTrail can make its store again: it is asked to by sending the whole settings, once in a while.
fn regain_store(wanted: &Wanted, known: &Known, draft: &mut Draft, plan: &mut Plan) {
    let store = trail_store(&wanted.trail_name);
    match known.memory.store_repair {
        Attempt::Open => {
            let text = format!("store {store}: gone, and only ActionTrail can make it");
            if known.store_seen {
                plan.found("store", text.clone());
            }
            draft.change(Effect::Protect, text);
        }
        Attempt::Waiting => plan.waits.push(Obstacle::new(
            reason::WAITING_FOR_TRAIL_STORE,
            format!("store {store} is gone; ActionTrail was asked to make it again"),
        )),
        Attempt::Failed => plan.stalls.push(Obstacle::new(
            reason::DELIVERY_BROKEN,
            format!(
                "store {store} is gone and ActionTrail does not make it again. In the console of ActionTrail open trail {}, save its \
                 delivery to project {} once more, and check that the store appears",
                wanted.trail_name, wanted.project_arn
            ),
        )),
    }
}

fn converge_logging(wanted: &Wanted, trail: &Trail, known: &Known, plan: &mut Plan) {
    let applied = known.applied.as_ref().and_then(|applied| applied.logging);
    match (wanted.logging, trail.on) {
        (Logging::Enabled, true) | (Logging::Stopped, false) => {}
        (Logging::Enabled, false) => {
            plan.open.insert(Field::Logging);
            let text = found_want("logging", "off", "Enabled");
            if applied == Some(Logging::Enabled) && !plan.just_made {
                plan.found("logging", text.clone());
            }
            let effect = if plan.just_made {
                Effect::Create
            } else {
                Effect::Protect
            };
            plan.step(Action::StartLogging, effect, text);
        }
        (Logging::Stopped, true) if applied == Some(Logging::Enabled) => {
            plan.open.insert(Field::Logging);
            plan.step(
                Action::StopLogging,
                Effect::Reduce,
                found_want("logging", "on", "Stopped"),
            );
        }
        (Logging::Stopped, true) => plan.exceeds.push(found_want("logging", "on", "Stopped")),
    }
}

fn events_course(
    wanted: EventSelection,
    found: Option<EventSelection>,
    applied: Option<EventSelection>,
) -> Course {
    let Some(found) = found else { return Course::Raise };
    if found == wanted {
        return Course::Same;
    }
    // The wanted value fell when it no longer covers what was applied: All to a half, or one half to the other.
    let fell = applied.is_some_and(|applied| !covers(wanted, applied));
    if covers(wanted, found) {
        Course::Raise
    } else if fell {
        Course::Lower
    } else if covers(found, wanted) {
        Course::Keep
    } else {
        Course::Raise
    }
}

fn origin(known: &Known, plan: &Plan) -> Option<Origin> {
    known.claim.as_ref().map(|claim| claim.origin).or(plan.acquire)
}

/// Whether the trail's store was there, or should be there by now, and is not.
fn store_is_gone(observed: &Observed, trail: &Trail, known: &Known) -> bool {
    observed.store == Store::Missing && trail.on && (known.store_seen || known.memory.store_overdue)
}

fn converge_store(wanted: &Wanted, observed: &Observed, known: &Known, plan: &mut Plan) {
    let store = trail_store(&wanted.trail_name);
    match observed.store {
        Store::NotLooked => {}
        Store::Missing => {
            // Only switching the trail on makes its store.
            let expected = wanted.logging == Logging::Enabled
                || (known.store_seen && (wanted.copy.is_some() || wanted.retention_days.is_some()));
            let gone = observed
                .trail
                .as_ref()
                .is_some_and(|trail| store_is_gone(observed, trail, known));
            if expected && !gone {
                plan.waits.push(Obstacle::new(
                    reason::WAITING_FOR_TRAIL_STORE,
                    format!("ActionTrail has not made store {store} yet"),
                ));
            }
        }
        Store::Present { days: found, .. } => {
            match (wanted.retention_days, found) {
                (Some(days), Some(found)) => converge_retention(days, found, known, plan),
                // Not told is not low. On a trail of our own the wanted value is still to be applied; what was taken over is
                // never lowered because of a value that was not told at first.
                (Some(_), None) if origin(known, plan) == Some(Origin::Created) => {
                    plan.open.insert(Field::Retention);
                }
                _ => {}
            }
            let text = match observed.index {
                Index::NotLooked | Index::Fine => return,
                Index::OtherType => {
                    plan.weak.push(format!(
                        "in log store {store} the index key event has another type than json, by whose leaves nothing can be searched; \
                         it is not replaced, because it is not known to have been json"
                    ));
                    return;
                }
                Index::Retyped => format!("index of {store}: the type of event was changed, want json"),
                Index::Missing => format!("index of {store}: found none"),
                Index::Incomplete => format!("index of {store}: events cannot be found by it"),
            };
            if known.claim.is_some() {
                plan.found("index", text.clone());
            }
            plan.step(Action::RestoreIndex, Effect::Protect, text);
        }
    }
}

fn converge_retention(wanted: i32, found: i32, known: &Known, plan: &mut Plan) {
    let applied = known.applied.as_ref();
    let before = applied.and_then(|applied| applied.store_retention_days);
    let text = found_want("store.retentionDays", found, wanted);
    if found < wanted {
        if before.is_some_and(|before| found < before) {
            plan.found("retention", text.clone());
        }
        plan.open.insert(Field::Retention);
        plan.step(Action::SetRetention(wanted), Effect::Protect, text);
    } else if found > wanted {
        // ActionTrail makes its store with 3650 days: the first smaller value is a change of the spec against that. On a trail
        // that was taken over it counts from the first visit after that, since taking over reduces nothing.
        let fell = match before {
            Some(before) => wanted < before,
            None => {
                wanted < PERMANENT_DAYS && (applied.is_some() || origin(known, plan) == Some(Origin::Created))
            }
        };
        if fell {
            plan.open.insert(Field::Retention);
            plan.step(Action::SetRetention(wanted), Effect::Reduce, text);
        } else {
            plan.exceeds.push(text);
        }
    }
}

#[cfg(test)]
mod tests;
