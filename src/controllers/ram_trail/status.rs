//! What a visit to a RamTrail says in its conditions. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::delivery::Verdict;
use super::model::{Observed, Obstacle, Trail, Wanted, event_rw, trail_store};
use super::plan::{Action, Plan};
use crate::api::condition::{
    DELIVERING, LOGGING, PROTECTED, READY, RECONCILING, STALLED, SYNCED, Statement, Status, find, reason,
};
use crate::api::v1alpha1::{EventSelection, Logging, ManagementPolicy};
use crate::controllers::pass::{out_of_sync, protected};
use crate::controllers::plan::{Effect, Step};

/// Everything that conditions are made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What is wanted.
    pub wanted: &'a Wanted,
    /// What was seen before any step was taken.
    pub observed: &'a Observed,
    /// The plan.
    pub plan: &'a Plan,
    /// The policy in force.
    pub policy: ManagementPolicy,
    /// Whether the steps broke off: what was seen stands, and nothing is claimed of what was to be done.
    pub failed: bool,
    /// What is known of delivery.
    pub verdict: Option<Verdict>,
    /// Why the trail's store cannot be searched, where a person must mend it.
    pub blind_because: Option<&'a str>,
    /// Longest accepted lag, in seconds.
    pub max_lag: i32,
    /// The conditions before.
    pub before: &'a [Condition],
}

/// All statements of a visit that reached its end.
pub fn statements(facts: &Facts<'_>) -> Vec<Statement> {
    let mut all = vec![ready(facts), synced(facts)];
    all.extend(seen(facts));
    all.extend(reconciling(facts));
    all.extend(stalled(facts));
    all
}

/// What was seen by a visit whose steps failed. Ready only where it cannot be True: the failure itself says the rest.
pub fn failed(facts: Facts<'_>) -> Vec<Statement> {
    let facts = Facts {
        failed: true,
        ..facts
    };
    let mut all = seen(&facts);
    let ready = ready(&facts);
    if ready.status == Status::False {
        all.push(ready);
    }
    let protecting = |step: &&Step<Action>| step.effect == Effect::Protect;
    let mut left = facts.plan.steps.iter().filter(protecting).peekable();
    if left.peek().is_some() {
        all.push(out_of_sync(left.map(|step| step.text.as_str())));
    }
    all
}

/// What a visit says that saw nothing but the trail: whether it logs, and what is certainly weak. That nothing else is weak it
/// cannot say.
pub fn of_trail(facts: Facts<'_>) -> Vec<Statement> {
    let mut all = vec![logging(&facts)];
    all.extend(Some(protection(&facts)).filter(|statement| statement.status == Status::False));
    if facts.observed.trail.as_ref().is_some_and(|trail| !trail.on) {
        all.extend(delivering(&facts));
    }
    all
}

fn seen(facts: &Facts<'_>) -> Vec<Statement> {
    let mut all = vec![protection(facts), logging(facts)];
    all.extend(delivering(facts));
    all
}

/// What a trail that was ours and may no longer be touched says, besides why.
pub fn left_alone(obstacle: &Obstacle, observed: &Observed, wanted: Logging) -> Vec<Statement> {
    let mut all = vec![Statement::new(
        PROTECTED,
        Status::False,
        obstacle.reason,
        obstacle.message.clone(),
    )];
    let off = observed.trail.as_ref().is_some_and(|trail| !trail.on);
    if off {
        let why = if wanted == Logging::Stopped {
            reason::LOGGING_STOPPED
        } else {
            reason::LOGGING_OFF
        };
        all.push(Statement::new(LOGGING, Status::False, why, "The trail is off"));
    }
    let text = "The trail is not looked after, so nothing is looked for in its log store";
    all.push(Statement::new(
        DELIVERING,
        Status::Unknown,
        reason::NOT_OBSERVED,
        text,
    ));
    all
}

/// A visit under Observe to a trail that could not be taken over.
pub fn observe_blocked(obstacle: &Obstacle, observed: &Observed) -> Vec<Statement> {
    let text = format!(
        "managementPolicy is Observe; Enforce would not go on: {}",
        obstacle.message
    );
    let there = match &observed.trail {
        Some(trail) if trail.on => Statement::new(
            READY,
            Status::True,
            reason::AVAILABLE,
            "The trail exists and is on",
        ),
        Some(_) => Statement::new(
            READY,
            Status::False,
            reason::LOGGING_OFF,
            "The trail exists and is off",
        ),
        None => Statement::new(
            READY,
            Status::False,
            reason::PLAN_PENDING,
            "The trail does not exist",
        ),
    };
    vec![
        there,
        Statement::new(SYNCED, Status::False, reason::PLAN_PENDING, text),
        protected(ManagementPolicy::Observe, &[]),
    ]
}

/// Whether there were steps and they were to be taken.
fn tried(facts: &Facts<'_>) -> bool {
    facts.policy == ManagementPolicy::Enforce && !facts.plan.steps.is_empty()
}

fn taken(facts: &Facts<'_>) -> bool {
    tried(facts) && !facts.failed
}

fn first<'a>(facts: &Facts<'a>) -> Option<&'a Obstacle> {
    facts.plan.stalls.first().or_else(|| facts.plan.waits.first())
}

fn ready(facts: &Facts<'_>) -> Statement {
    let name = &facts.wanted.trail_name;
    let no = |reason, message: String| Statement::new(READY, Status::False, reason, message);
    let unseen = |obstacle: &&Obstacle| obstacle.reason == reason::AWAITING_VISIBILITY;
    let Some(trail) = &facts.observed.trail else {
        return if let Some(obstacle) = facts.plan.waits.iter().find(unseen) {
            no(obstacle.reason, obstacle.message.clone())
        } else if taken(facts) {
            no(reason::CREATING, format!("Trail {name} is being created"))
        } else if tried(facts) {
            no(reason::CREATING, format!("Trail {name} does not exist yet"))
        } else {
            no(
                reason::PLAN_PENDING,
                format!("Trail {name} does not exist, and managementPolicy is Observe"),
            )
        };
    };
    if facts.wanted.logging == Logging::Enabled && !trail.on {
        let text = if taken(facts) {
            "was off and is being switched on"
        } else {
            "is off"
        };
        return no(reason::LOGGING_OFF, format!("Trail {name} {text}"));
    }
    let under_way = |effect| tried(facts) && facts.plan.steps.iter().any(|step| step.effect == effect);
    if under_way(Effect::Create) {
        return no(reason::CREATING, format!("Trail {name} is being set up"));
    }
    if under_way(Effect::Protect) {
        let text = if taken(facts) {
            "is being put right"
        } else {
            "is not put right yet"
        };
        return no(reason::UPDATING, format!("Trail {name} was weakened and {text}"));
    }
    if let Some(obstacle) = first(facts) {
        return no(obstacle.reason, obstacle.message.clone());
    }
    if let Some(text) = facts
        .verdict
        .filter(|_| trail.on)
        .and_then(|verdict| undelivered(facts, verdict))
    {
        return no(reason::DELIVERY_BROKEN, text);
    }
    let text = match facts.wanted.logging {
        Logging::Enabled => {
            let events = trail.events.map_or("unknown", event_rw);
            format!("Trail {name} records {events} events into {}", project_of(trail))
        }
        Logging::Stopped if trail.on => {
            format!("Trail {name} is there and on, although spec.logging is Stopped")
        }
        Logging::Stopped => format!("Trail {name} is there and stopped, as spec.logging asks"),
    };
    Statement::new(READY, Status::True, reason::AVAILABLE, text)
}

fn project_of(trail: &Trail) -> String {
    let project = trail.project_arn.rsplit('/').next().unwrap_or_default();
    format!("project {project}")
}

fn synced(facts: &Facts<'_>) -> Statement {
    let no = |reason, message: String| Statement::new(SYNCED, Status::False, reason, message);
    let plan = facts.plan;
    if facts.policy == ManagementPolicy::Observe && !plan.steps.is_empty() {
        let count = plan.steps.len();
        return no(
            reason::PLAN_PENDING,
            format!("managementPolicy is Observe: {count} step(s) are listed in status.plan and not taken"),
        );
    }
    if facts.observed.trail.is_none() {
        return no(
            reason::CREATING,
            format!("Trail {} is being created", facts.wanted.trail_name),
        );
    }
    if let Some(obstacle) = first(facts) {
        return no(obstacle.reason, obstacle.message.clone());
    }
    if !plan.exceeds.is_empty() {
        let text = format!(
            "The cloud holds more than the spec asks for, and nothing is reduced because of that: {}. Write the found values into the \
             spec, or reduce them by hand",
            plan.exceeds.join("; ")
        );
        return no(reason::EXCEEDS_SPEC, text);
    }
    if taken(facts) {
        return Statement::new(
            SYNCED,
            Status::True,
            reason::REPAIRED,
            "Differences were found and put right",
        );
    }
    Statement::new(SYNCED, Status::True, reason::UP_TO_DATE, "")
}

fn reconciling(facts: &Facts<'_>) -> Option<Statement> {
    if taken(facts) {
        let creating = facts.plan.steps.iter().any(|step| step.effect == Effect::Create);
        let why = if creating {
            reason::CREATING
        } else {
            reason::UPDATING
        };
        let calls: Vec<&str> = facts.plan.steps.iter().map(|step| step.action.call()).collect();
        return Some(Statement::new(
            RECONCILING,
            Status::True,
            why,
            format!("Called {}; looking at the result", calls.join(", ")),
        ));
    }
    let wait = facts.plan.waits.first()?;
    Some(Statement::new(
        RECONCILING,
        Status::True,
        wait.reason,
        wait.message.clone(),
    ))
}

fn stalled(facts: &Facts<'_>) -> Option<Statement> {
    if let Some(obstacle) = facts.plan.stalls.first() {
        return Some(Statement::new(
            STALLED,
            Status::True,
            obstacle.reason,
            obstacle.message.clone(),
        ));
    }
    let on = facts.observed.trail.as_ref().is_some_and(|trail| trail.on);
    match facts.verdict {
        Some(verdict) if on => undelivered(facts, verdict)
            .map(|text| Statement::new(STALLED, Status::True, reason::DELIVERY_BROKEN, text)),
        _ => None,
    }
}

fn protection(facts: &Facts<'_>) -> Statement {
    let mut weak = Vec::new();
    match &facts.observed.trail {
        None => weak.push((
            reason::CREATING,
            format!("trail {} does not exist yet", facts.wanted.trail_name),
        )),
        Some(trail) => {
            if facts.wanted.logging == Logging::Stopped {
                weak.push((reason::LOGGING_STOPPED, "spec.logging is Stopped".to_owned()));
            } else if !trail.on {
                weak.push((reason::TAMPERED, "the trail is off".to_owned()));
            }
            if trail.events != Some(EventSelection::All) {
                let found = trail.events.map_or("an unknown selection of", event_rw);
                weak.push((
                    reason::EVENTS_NARROWED,
                    format!("only {found} events are recorded"),
                ));
            }
        }
    }
    if facts.plan.store_gone {
        let store = trail_store(&facts.wanted.trail_name);
        weak.push((
            reason::WAITING_FOR_TRAIL_STORE,
            format!("log store {store} of the trail is not there"),
        ));
    }
    let failed = |obstacle: &&Obstacle| obstacle.reason == reason::COPY_JOB_FAILED;
    weak.extend(
        (facts.plan.waits.iter().chain(&facts.plan.stalls))
            .filter(failed)
            .map(|obstacle| (obstacle.reason, obstacle.message.clone())),
    );
    weak.extend(
        facts
            .plan
            .weak
            .iter()
            .map(|text| (reason::EXCEEDS_SPEC, text.clone())),
    );
    weak.extend(
        facts
            .plan
            .findings
            .iter()
            .map(|finding| (reason::TAMPERED, finding.what.clone())),
    );
    protected(facts.policy, &weak)
}

fn logging(facts: &Facts<'_>) -> Statement {
    let Some(trail) = &facts.observed.trail else {
        return Statement::new(
            LOGGING,
            Status::Unknown,
            reason::NOT_OBSERVED,
            "There is no trail yet",
        );
    };
    if trail.on {
        return Statement::new(LOGGING, Status::True, reason::LOGGING_ENABLED, "");
    }
    let started = taken(facts)
        && facts
            .plan
            .steps
            .iter()
            .any(|step| step.action == Action::StartLogging);
    match (facts.wanted.logging, started) {
        (Logging::Stopped, _) => Statement::new(
            LOGGING,
            Status::False,
            reason::LOGGING_STOPPED,
            "spec.logging is Stopped",
        ),
        (Logging::Enabled, true) => Statement::new(
            LOGGING,
            Status::False,
            reason::LOGGING_OFF,
            "The trail was off and was switched on; looking at the result",
        ),
        (Logging::Enabled, false) => {
            Statement::new(LOGGING, Status::False, reason::LOGGING_OFF, "The trail is off")
        }
    }
}

/// What is wrong with delivery, if a verdict says so on evidence.
fn undelivered(facts: &Facts<'_>, verdict: Verdict) -> Option<String> {
    match verdict {
        Verdict::Broken { sent } => Some(broken(facts, sent)),
        Verdict::Late => Some(format!(
            "Calls of our own arrive in the log store of trail {}, and later than after {} seconds: each was missing then, looked for \
             twice. Events of attacks come as late. Raise spec.delivery.maxLagSeconds if that is accepted, else ask ActionTrail's support",
            facts.wanted.trail_name, facts.max_lag
        )),
        _ => None,
    }
}

fn broken(facts: &Facts<'_>, sent: i64) -> String {
    let time = Timestamp::from_second(sent)
        .map(|time| time.to_string())
        .unwrap_or_default();
    format!(
        "A call of our own of {time} must have been recorded by trail {} and is not in its log store after {} seconds, looked for \
         twice. Check in the console of ActionTrail that the trail delivers to project {}, and that its role may write there",
        facts.wanted.trail_name, facts.max_lag, facts.wanted.project_arn
    )
}

/// `None`: what was said before stands.
fn delivering(facts: &Facts<'_>) -> Option<Statement> {
    let say = |status, reason, message: &str| Some(Statement::new(DELIVERING, status, reason, message));
    let awaiting = || {
        say(
            Status::Unknown,
            reason::AWAITING_FIRST_EVENT,
            "No call of our own that the trail must record is in its log store yet, and none is overdue",
        )
    };
    let Some(trail) = &facts.observed.trail else {
        return say(Status::Unknown, reason::NOT_OBSERVED, "There is no trail yet");
    };
    if !trail.on {
        let why = if facts.wanted.logging == Logging::Stopped {
            reason::LOGGING_STOPPED
        } else {
            reason::LOGGING_OFF
        };
        return say(Status::Unknown, why, "The trail is off");
    }
    match facts.verdict {
        Some(Verdict::Arriving) => {
            let text = format!(
                "The newest call of our own that the trail must record arrived in its log store within {} seconds",
                facts.max_lag
            );
            say(Status::True, reason::EVENTS_ARRIVING, &text)
        }
        Some(Verdict::Quiet) => say(
            Status::True,
            reason::QUIET,
            "No call was due, the log store can be reached, and no error is told",
        ),
        Some(Verdict::Awaiting) => awaiting(),
        Some(verdict @ (Verdict::Broken { .. } | Verdict::Late)) => {
            let text = undelivered(facts, verdict).unwrap_or_default();
            say(Status::False, reason::DELIVERY_BROKEN, &text)
        }
        Some(Verdict::Unknown) => say(
            Status::Unknown,
            reason::NOT_OBSERVED,
            facts
                .blind_because
                .unwrap_or("The trail's log store cannot be searched, or tells neither way"),
        ),
        Some(Verdict::AsBefore) | None => {
            let before = find(facts.before, DELIVERING).map(|condition| condition.reason.as_str());
            let stands = [
                reason::EVENTS_ARRIVING,
                reason::QUIET,
                reason::DELIVERY_BROKEN,
                reason::NOT_OBSERVED,
            ];
            if before.is_some_and(|before| stands.contains(&before)) {
                None
            } else {
                awaiting()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::api::condition::merge;
    use crate::api::v1alpha1::AdoptionPolicy;
    use crate::controllers::ownership::{Mark, Owner};
    use crate::controllers::plan::Step;
    use crate::controllers::ram_trail::model::{Index, Job, OtherDestinations, Role, Store};
    use crate::controllers::ram_trail::plan::Finding;

    fn wanted() -> Wanted {
        Wanted {
            trail_name: "ram-access".to_owned(),
            account_id: "1".to_owned(),
            region: "cn-hangzhou".to_owned(),
            project_arn: "acs:log:cn-hangzhou:1:project/audit".to_owned(),
            owner: Owner::new("c", "RamTrail", "n", "t"),
            logging: Logging::Enabled,
            events: EventSelection::All,
            retention_days: None,
            copy: None,
            copy_blocked: None,
            adoption: AdoptionPolicy::IfUnowned,
        }
    }

    fn observed(on: bool) -> Observed {
        Observed {
            mark: Mark::Ours,
            trail: Some(Trail {
                home_region: "cn-hangzhou".to_owned(),
                arn: "a".to_owned(),
                create_time: "2026-01-01T00:00:00Z".to_owned(),
                on,
                events: Some(EventSelection::All),
                trail_region: "All".to_owned(),
                project_arn: "acs:log:cn-hangzhou:1:project/audit".to_owned(),
                write_role_arn: String::new(),
                others: OtherDestinations::default(),
                organization: false,
            }),
            role: Role::NotLooked,
            store: Store::Present {
                days: Some(3650),
                created: 1,
            },
            index: Index::Fine,
            job: Job::NotLooked,
        }
    }

    fn say(
        wanted: &Wanted,
        observed: &Observed,
        plan: &Plan,
        policy: ManagementPolicy,
        verdict: Option<Verdict>,
        before: &[Condition],
    ) -> Vec<(&'static str, Status, &'static str)> {
        let facts = Facts {
            wanted,
            observed,
            plan,
            policy,
            failed: false,
            verdict,
            blind_because: None,
            max_lag: 900,
            before,
        };
        statements(&facts)
            .into_iter()
            .map(|s| (s.type_, s.status, s.reason))
            .collect()
    }

    const ENFORCE: ManagementPolicy = ManagementPolicy::Enforce;

    #[test]
    fn a_trail_that_is_on_and_delivers_is_all_true() {
        let said = say(
            &wanted(),
            &observed(true),
            &Plan::default(),
            ENFORCE,
            Some(Verdict::Arriving),
            &[],
        );
        assert_eq!(
            said,
            [
                (READY, Status::True, reason::AVAILABLE),
                (SYNCED, Status::True, reason::UP_TO_DATE),
                (PROTECTED, Status::True, reason::PROTECTED),
                (LOGGING, Status::True, reason::LOGGING_ENABLED),
                (DELIVERING, Status::True, reason::EVENTS_ARRIVING),
            ]
        );
    }

    #[test]
    fn broken_delivery_is_not_ready_and_stalled() {
        let said = say(
            &wanted(),
            &observed(true),
            &Plan::default(),
            ENFORCE,
            Some(Verdict::Broken { sent: 1 }),
            &[],
        );
        assert!(said.contains(&(READY, Status::False, reason::DELIVERY_BROKEN)));
        assert!(said.contains(&(STALLED, Status::True, reason::DELIVERY_BROKEN)));
        assert!(said.contains(&(DELIVERING, Status::False, reason::DELIVERY_BROKEN)));
    }

    #[test]
    fn a_trail_that_was_found_off_is_neither_ready_nor_protected_until_it_is_seen_on() {
        let mut plan = Plan::default();
        plan.findings.push(Finding {
            field: "logging",
            what: "logging: found off, want Enabled".to_owned(),
        });
        plan.steps
            .push(Step::new(Effect::Protect, "logging", "x", Action::StartLogging));
        let said = say(&wanted(), &observed(false), &plan, ENFORCE, None, &[]);
        assert!(said.contains(&(READY, Status::False, reason::LOGGING_OFF)));
        assert!(said.contains(&(LOGGING, Status::False, reason::LOGGING_OFF)));
        assert!(said.contains(&(PROTECTED, Status::False, reason::TAMPERED)));
        assert!(said.contains(&(SYNCED, Status::True, reason::REPAIRED)));
        assert!(said.contains(&(RECONCILING, Status::True, reason::UPDATING)));
    }

    #[test]
    fn a_trail_that_could_not_be_switched_on_says_that_it_is_off_and_claims_no_step() {
        let mut plan = Plan::default();
        plan.steps
            .push(Step::new(Effect::Protect, "logging", "x", Action::StartLogging));
        let said = failed(Facts {
            wanted: &wanted(),
            observed: &observed(false),
            plan: &plan,
            policy: ENFORCE,
            failed: false,
            verdict: Some(Verdict::Arriving),
            blind_because: None,
            max_lag: 900,
            before: &[],
        });
        let status = |type_| {
            let found = said.iter().find(|statement| statement.type_ == type_).unwrap();
            (found.status, found.reason)
        };
        assert_eq!(status(LOGGING), (Status::False, reason::LOGGING_OFF));
        assert_eq!(status(READY), (Status::False, reason::LOGGING_OFF));
        assert_eq!(status(PROTECTED), (Status::False, reason::TAMPERED));
        assert_eq!(status(SYNCED), (Status::False, reason::UPDATING));
        assert_eq!(status(DELIVERING), (Status::Unknown, reason::LOGGING_OFF));
        assert!(
            said.iter()
                .all(|statement| !statement.message.contains("switched on"))
        );
    }

    #[test]
    fn a_failed_step_that_protects_nothing_leaves_ready_alone() {
        let mut plan = Plan::default();
        plan.steps
            .push(Step::new(Effect::Reduce, "logging", "x", Action::StopLogging));
        let said = failed(Facts {
            wanted: &wanted(),
            observed: &observed(true),
            plan: &plan,
            policy: ENFORCE,
            failed: false,
            verdict: None,
            blind_because: None,
            max_lag: 900,
            before: &[],
        });
        assert!(said.iter().all(|statement| statement.type_ != READY));
    }

    #[test]
    fn a_store_that_is_gone_leaves_nothing_protected() {
        let mut plan = Plan::default();
        plan.store_gone = true;
        let said = say(&wanted(), &observed(true), &plan, ENFORCE, None, &[]);
        assert!(said.contains(&(PROTECTED, Status::False, reason::WAITING_FOR_TRAIL_STORE)));
    }

    #[test]
    fn a_trail_that_is_on_is_not_called_stopped() {
        let stopped = Wanted {
            logging: Logging::Stopped,
            ..wanted()
        };
        let text = |on| {
            let facts = Facts {
                wanted: &stopped,
                observed: &observed(on),
                plan: &Plan::default(),
                policy: ENFORCE,
                failed: false,
                verdict: None,
                blind_because: None,
                max_lag: 900,
                before: &[],
            };
            ready(&facts).message
        };
        assert!(text(false).contains("stopped, as spec.logging asks"));
        assert!(text(true).contains("on, although"));
    }

    #[test]
    fn delivery_that_cannot_be_seen_says_what_to_grant() {
        let said = statements(&Facts {
            wanted: &wanted(),
            observed: &observed(true),
            plan: &Plan::default(),
            policy: ENFORCE,
            failed: false,
            verdict: Some(Verdict::Unknown),
            blind_because: Some("Grant it"),
            max_lag: 900,
            before: &[],
        });
        let delivering = said
            .iter()
            .find(|statement| statement.type_ == DELIVERING)
            .unwrap();
        assert_eq!(
            (delivering.status, delivering.message.as_str()),
            (Status::Unknown, "Grant it")
        );
    }

    #[test]
    fn a_trail_that_may_no_longer_be_touched_is_claimed_neither_on_nor_protected() {
        let said = left_alone(
            &Obstacle::new(reason::ADOPTION_FORBIDDEN, "x"),
            &observed(false),
            Logging::Enabled,
        );
        let said: Vec<_> = said.iter().map(|s| (s.type_, s.status, s.reason)).collect();
        assert_eq!(
            said,
            [
                (PROTECTED, Status::False, reason::ADOPTION_FORBIDDEN),
                (LOGGING, Status::False, reason::LOGGING_OFF),
                (DELIVERING, Status::Unknown, reason::NOT_OBSERVED),
            ]
        );
    }

    #[test]
    fn late_delivery_is_not_ready_and_names_no_measured_time() {
        let said = say(
            &wanted(),
            &observed(true),
            &Plan::default(),
            ENFORCE,
            Some(Verdict::Late),
            &[],
        );
        for type_ in [READY, DELIVERING] {
            assert!(said.contains(&(type_, Status::False, reason::DELIVERY_BROKEN)));
        }
        assert!(said.contains(&(STALLED, Status::True, reason::DELIVERY_BROKEN)));
    }

    #[test]
    fn stopped_by_the_spec_is_ready_and_not_protected() {
        let wanted = Wanted {
            logging: Logging::Stopped,
            ..wanted()
        };
        let said = say(&wanted, &observed(false), &Plan::default(), ENFORCE, None, &[]);
        assert!(said.contains(&(READY, Status::True, reason::AVAILABLE)));
        assert!(said.contains(&(PROTECTED, Status::False, reason::LOGGING_STOPPED)));
        assert!(said.contains(&(LOGGING, Status::False, reason::LOGGING_STOPPED)));
        assert!(said.contains(&(DELIVERING, Status::Unknown, reason::LOGGING_STOPPED)));
    }

    #[test]
    fn narrowed_events_and_observe_are_not_protected() {
        let mut narrow = observed(true);
        narrow.trail.as_mut().unwrap().events = Some(EventSelection::Write);
        let said = say(&wanted(), &narrow, &Plan::default(), ENFORCE, None, &[]);
        assert!(said.contains(&(PROTECTED, Status::False, reason::EVENTS_NARROWED)));
        let said = say(
            &wanted(),
            &observed(true),
            &Plan::default(),
            ManagementPolicy::Observe,
            None,
            &[],
        );
        assert!(said.contains(&(PROTECTED, Status::False, reason::OBSERVE_ONLY)));
    }

    #[test]
    fn observe_lists_and_takes_no_step() {
        let mut plan = Plan::default();
        plan.steps
            .push(Step::new(Effect::Protect, "logging", "x", Action::StartLogging));
        let said = say(
            &wanted(),
            &observed(false),
            &plan,
            ManagementPolicy::Observe,
            None,
            &[],
        );
        assert!(said.contains(&(SYNCED, Status::False, reason::PLAN_PENDING)));
        assert!(!said.iter().any(|(type_, ..)| *type_ == RECONCILING));
    }

    #[test]
    fn more_than_wanted_is_ready_and_not_synced() {
        let mut plan = Plan::default();
        plan.exceeds.push("events: found All, want Write".to_owned());
        let said = say(
            &wanted(),
            &observed(true),
            &plan,
            ENFORCE,
            Some(Verdict::Arriving),
            &[],
        );
        assert!(said.contains(&(READY, Status::True, reason::AVAILABLE)));
        assert!(said.contains(&(SYNCED, Status::False, reason::EXCEEDS_SPEC)));
    }

    #[test]
    fn after_a_restart_what_was_said_about_delivery_stands() {
        for (before, stands) in [
            (reason::EVENTS_ARRIVING, true),
            (reason::DELIVERY_BROKEN, true),
            (reason::LOGGING_OFF, false),
            (reason::AWAITING_FIRST_EVENT, false),
        ] {
            let said = [Statement::new(DELIVERING, Status::Unknown, before, "")];
            let conditions = merge(&[], &said, Some(1), Timestamp::UNIX_EPOCH);
            let said = say(
                &wanted(),
                &observed(true),
                &Plan::default(),
                ENFORCE,
                Some(Verdict::AsBefore),
                &conditions,
            );
            assert_eq!(
                !said.iter().any(|(type_, ..)| *type_ == DELIVERING),
                stands,
                "{before}"
            );
        }
    }

    #[test]
    fn what_is_waited_for_is_named_by_ready() {
        let mut plan = Plan::default();
        plan.waits
            .push(Obstacle::new(reason::LOG_STORE_NOT_FOUND, "no store"));
        let said = say(&wanted(), &observed(true), &plan, ENFORCE, None, &[]);
        assert!(said.contains(&(READY, Status::False, reason::LOG_STORE_NOT_FOUND)));
        assert!(said.contains(&(RECONCILING, Status::True, reason::LOG_STORE_NOT_FOUND)));
    }
}
