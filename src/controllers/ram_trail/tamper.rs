//! How weakenings are told: Events, metrics, `status.lastTamper`, and what is still open in `status.unrepaired`.
//!
//! Decides nothing about repair. A weakening counts as put right when its step was answered, or when a later visit sees with its
//! own eyes that what was told as not put right is as declared; who did it does not matter then.

use std::time::Instant;

use super::memory::TrailMemory;
use super::model::{ALL_REGIONS, Index, Job, JobState, Observed, Role, Store, Wanted, event_rw};
use super::plan::{self, Action, Finding, Plan};
use crate::api::v1alpha1::{Logging, RamTrail, RamTrailStatus, Unrepaired};
use crate::controllers::memory::lock;
use crate::controllers::object::Managed;
use crate::controllers::ownership::Mark;
use crate::controllers::pass::{Pass, told};
use crate::controllers::plan::Effect;
use crate::telemetry::TamperAction;

/// Weakenings that stay open at most, as the schema bounds them.
const OPEN: usize = 16;
/// Longest text of what was declared, in characters.
const DECLARED: usize = 500;

/// What became of the steps of a visit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// All were answered.
    Done,
    /// Something must become visible first.
    Waiting,
    /// They broke off.
    Failed,
}

/// How much of the trail a visit looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Everything.
    Whole,
    /// What ActionTrail tells: not the mark, the store, its index, the copy job.
    Trail,
}

/// Weakenings become Events, metrics and `status.lastTamper`; everything put right is counted. While something must become
/// visible first, they are neither put right nor not: they are told at the end.
pub async fn tell(
    pass: &mut Pass<RamTrail>,
    wanted: &Wanted,
    observed: &Observed,
    plan: &Plan,
    scope: Scope,
    outcome: Outcome,
    started: Instant,
) {
    count_drift(pass, plan, outcome == Outcome::Done);
    let seen_right = seen_right(&mut pass.status, wanted, observed, plan, scope);
    let mut findings = std::mem::take(&mut lock(&pass.memory).slot::<TrailMemory>().untold);
    for finding in &plan.findings {
        if !findings.contains(finding) {
            findings.push(finding.clone());
        }
    }
    if outcome == Outcome::Waiting {
        lock(&pass.memory).slot::<TrailMemory>().untold = findings;
        findings = Vec::new();
    }
    let marks = plan.steps.iter().any(|step| step.action == Action::WriteMark);
    let (mut mended, left): (Vec<Finding>, Vec<Finding>) = findings
        .into_iter()
        .partition(|finding| outcome == Outcome::Done && is_mended(finding, marks));
    leave(pass, wanted, &left).await;
    close(&mut pass.status, &mended);
    mended.extend(seen_right);
    tell_findings(pass, &mended, true).await;
    let mut memory = lock(&pass.memory);
    let memory = memory.slot::<TrailMemory>();
    if !mended.is_empty() {
        let seen = memory.tampered_at.take().unwrap_or(started);
        pass.ctx.metrics.healed(RamTrail::KIND.into(), seen.elapsed());
    } else if left.is_empty() && memory.untold.is_empty() && pass.status.unrepaired.is_empty() {
        // What the poll saw change weakened nothing.
        memory.tampered_at = None;
    }
}

/// Under Observe nothing is put right by us, and still it may be seen to be right again.
pub async fn tell_only(pass: &mut Pass<RamTrail>, wanted: &Wanted, observed: &Observed, plan: &Plan) {
    let seen_right = seen_right(&mut pass.status, wanted, observed, plan, Scope::Whole);
    leave(pass, wanted, &plan.findings).await;
    tell_findings(pass, &seen_right, true).await;
}

/// Whether a weakening of this field is still open, so that it has to be looked at.
pub fn is_open(status: &RamTrailStatus, field: &str) -> bool {
    status.unrepaired.iter().any(|open| open.field == field)
}

fn count_drift(pass: &Pass<RamTrail>, plan: &Plan, repaired: bool) {
    if plan.acquire.is_some() && pass.status.applied.is_none() {
        return;
    }
    let kind = RamTrail::KIND.into();
    for step in plan.steps.iter().filter(|step| step.effect == Effect::Protect) {
        pass.ctx.metrics.drift_detected(kind, step.field);
        if repaired {
            pass.ctx.metrics.drift_repaired(kind, step.field);
        }
    }
}

/// Tells what is not put right, and keeps it in the status until it is.
async fn leave(pass: &mut Pass<RamTrail>, wanted: &Wanted, left: &[Finding]) {
    tell_findings(pass, left, false).await;
    for finding in left {
        let entry = Unrepaired {
            field: finding.field.to_owned(),
            what: told(&finding.what),
            declared: declared(wanted, &pass.status, finding.field),
        };
        let open = &mut pass.status.unrepaired;
        open.retain(|known| (&known.field, &known.what) != (&entry.field, &entry.what));
        if open.len() == OPEN {
            open.remove(0);
        }
        open.push(entry);
    }
}

fn close(status: &mut RamTrailStatus, mended: &[Finding]) {
    status.unrepaired.retain(|open| {
        !mended
            .iter()
            .any(|finding| finding.field == open.field && told(&finding.what) == open.what)
    });
}

/// Takes the open weakenings out of the status that this visit saw to be as declared. Those of what is declared otherwise by now
/// go without a word: nobody can say any more that they were put right.
fn seen_right(
    status: &mut RamTrailStatus,
    wanted: &Wanted,
    observed: &Observed,
    plan: &Plan,
    scope: Scope,
) -> Vec<Finding> {
    let mut right = Vec::new();
    for open in std::mem::take(&mut status.unrepaired) {
        let field = FIELDS.into_iter().find(|field| *field == open.field);
        let Some(field) = field.filter(|field| declared(wanted, status, field) == open.declared) else {
            continue;
        };
        if is_in_order(field, wanted, observed, plan, status, scope) {
            right.push(Finding {
                field,
                what: open.what,
            });
        } else {
            status.unrepaired.push(open);
        }
    }
    right
}

/// Fields that findings are about.
const FIELDS: [&str; 11] = [
    "copy",
    "mark",
    "trail",
    "role",
    "events",
    "regions",
    "destination",
    "store",
    "logging",
    "index",
    "retention",
];

/// What is declared for a field, as far as it may change.
fn declared(wanted: &Wanted, status: &RamTrailStatus, field: &str) -> String {
    let text = match field {
        "logging" => match wanted.logging {
            Logging::Enabled => "Enabled".to_owned(),
            Logging::Stopped => "Stopped".to_owned(),
        },
        "events" => event_rw(wanted.events).to_owned(),
        "destination" => wanted.project_arn.clone(),
        "retention" => wanted
            .retention_days
            .map(|days| days.to_string())
            .unwrap_or_default(),
        // A store that was made again has lost its events: that is not put right by its being there.
        "store" => status.data_since.clone().unwrap_or_default(),
        "copy" => wanted.copy.as_ref().map_or_else(String::new, |copy| {
            let services: Vec<&str> = copy.services.iter().map(String::as_str).collect();
            format!("{} {} {}", copy.role_arn, copy.log_store, services.join(","))
        }),
        _ => String::new(),
    };
    text.chars().take(DECLARED).collect()
}

/// Whether this visit saw, before its own steps, that a field is as declared. What was not looked at is not.
fn is_in_order(
    field: &str,
    wanted: &Wanted,
    observed: &Observed,
    plan: &Plan,
    status: &RamTrailStatus,
    scope: Scope,
) -> bool {
    if plan.findings.iter().any(|finding| finding.field == field) {
        return false;
    }
    let Some(trail) = &observed.trail else {
        return false;
    };
    match field {
        "logging" => trail.on,
        "events" => trail
            .events
            .is_some_and(|found| plan::covers(found, wanted.events)),
        "regions" => trail.trail_region == ALL_REGIONS,
        "destination" => trail.project_arn == wanted.project_arn,
        "trail" => status
            .claim
            .as_ref()
            .is_some_and(|claim| claim.create_time.as_deref() == Some(trail.create_time.as_str())),
        _ if scope == Scope::Trail => false,
        "mark" => observed.mark == Mark::Ours,
        "role" => observed.role == Role::Present,
        "store" => matches!(observed.store, Store::Present { .. }) && status.data_since.is_some(),
        "index" => observed.index == Index::Fine,
        "retention" => match (&observed.store, wanted.retention_days) {
            (
                Store::Present {
                    days: Some(found), ..
                },
                Some(days),
            ) => *found >= days,
            _ => false,
        },
        "copy" => {
            let runs = matches!(&observed.job, Job::Present(job) if job.state == JobState::Running);
            runs && wanted.copy.is_some() && plan.copy_is_settled()
        }
        _ => false,
    }
}

/// Whether a finding is put right once all steps were taken. Another cluster's mark is not: two clusters never undo each other's
/// marks. A store that is gone is not either: only ActionTrail makes it, if it does, and its events are lost.
fn is_mended(finding: &Finding, marks: bool) -> bool {
    match finding.field {
        "mark" => marks,
        "store" => false,
        _ => true,
    }
}

fn tamper_action(finding: &Finding) -> TamperAction {
    match finding.field {
        "logging" => TamperAction::LoggingStopped,
        "events" | "regions" => TamperAction::EventsNarrowed,
        "destination" => TamperAction::TrailRedirected,
        "trail" | "store" | "role" => TamperAction::Deleted,
        "retention" => TamperAction::RetentionReduced,
        "index" => TamperAction::IndexReduced,
        "copy" => TamperAction::CopyReduced,
        "mark" => TamperAction::MarkChanged,
        _ => TamperAction::Other,
    }
}

/// What one visit found is told together: `status.lastTamper` holds one text.
async fn tell_findings(pass: &mut Pass<RamTrail>, findings: &[Finding], repaired: bool) {
    let Some((first, others)) = findings.split_first() else {
        return;
    };
    let what: Vec<&str> = findings.iter().map(|finding| finding.what.as_str()).collect();
    let what = what.join("; ");
    let before = pass.status.last_tamper.clone();
    pass.tampered(tamper_action(first), &what, repaired).await;
    if pass.status.last_tamper == before {
        return;
    }
    for other in others
        .iter()
        .map(tamper_action)
        .filter(|other| *other != tamper_action(first))
    {
        pass.ctx.metrics.tampered(RamTrail::KIND.into(), other);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::api::v1alpha1::{AdoptionPolicy, Claim, EventSelection, Origin};
    use crate::controllers::ownership::Owner;
    use crate::controllers::ram_trail::model::{OtherDestinations, Trail};

    fn wanted() -> Wanted {
        Wanted {
            trail_name: "x".to_owned(),
            account_id: "1".to_owned(),
            region: "cn-hangzhou".to_owned(),
            project_arn: "arn".to_owned(),
            owner: Owner::new("c", "RamTrail", "n", "t"),
            logging: Logging::Enabled,
            events: EventSelection::All,
            retention_days: Some(365),
            copy: None,
            copy_blocked: None,
            adoption: AdoptionPolicy::IfUnowned,
        }
    }

    fn observed() -> Observed {
        Observed {
            mark: Mark::Ours,
            trail: Some(Trail {
                home_region: "cn-hangzhou".to_owned(),
                arn: String::new(),
                create_time: "then".to_owned(),
                on: true,
                events: Some(EventSelection::All),
                trail_region: ALL_REGIONS.to_owned(),
                project_arn: "arn".to_owned(),
                write_role_arn: String::new(),
                others: OtherDestinations::default(),
                organization: false,
            }),
            role: Role::Present,
            store: Store::Present {
                days: Some(365),
                created: 1,
            },
            index: Index::Fine,
            job: Job::NotLooked,
        }
    }

    fn status(fields: &[&str]) -> RamTrailStatus {
        let mut status = RamTrailStatus {
            data_since: Some("then".to_owned()),
            claim: Some(Claim {
                origin: Origin::Created,
                external_name: "x".to_owned(),
                create_time: Some("then".to_owned()),
                confirmed: Some(true),
            }),
            ..RamTrailStatus::default()
        };
        let open: Vec<Unrepaired> = fields
            .iter()
            .map(|field| Unrepaired {
                field: (*field).to_owned(),
                what: format!("{field} weak"),
                declared: declared(&wanted(), &status, field),
            })
            .collect();
        status.unrepaired = open;
        status
    }

    fn right(
        status: &mut RamTrailStatus,
        wanted: &Wanted,
        observed: &Observed,
        scope: Scope,
    ) -> Vec<&'static str> {
        seen_right(status, wanted, observed, &Plan::default(), scope)
            .iter()
            .map(|finding| finding.field)
            .collect()
    }

    #[test]
    fn what_is_seen_as_declared_is_right_and_no_longer_open() {
        let all: Vec<&str> = FIELDS.into_iter().filter(|field| *field != "copy").collect();
        let mut status = status(&all);
        assert_eq!(right(&mut status, &wanted(), &observed(), Scope::Whole), all);
        assert_eq!(status.unrepaired, []);
    }

    #[test]
    fn what_is_still_weak_or_was_not_looked_at_stays_open() {
        type Weaken = fn(&mut Observed);
        let weaken: [(&str, Weaken); 11] = [
            ("mark", |o| o.mark = Mark::Unowned),
            ("trail", |o| {
                o.trail.as_mut().unwrap().create_time = "later".to_owned();
            }),
            ("trail", |o| o.trail = None),
            ("role", |o| o.role = Role::NotLooked),
            ("events", |o| {
                o.trail.as_mut().unwrap().events = Some(EventSelection::Write);
            }),
            ("regions", |o| {
                "one".clone_into(&mut o.trail.as_mut().unwrap().trail_region);
            }),
            ("destination", |o| {
                "other".clone_into(&mut o.trail.as_mut().unwrap().project_arn);
            }),
            ("store", |o| o.store = Store::NotLooked),
            ("logging", |o| o.trail.as_mut().unwrap().on = false),
            ("index", |o| o.index = Index::NotLooked),
            ("retention", |o| {
                o.store = Store::Present {
                    days: Some(364),
                    created: 1,
                }
            }),
        ];
        for (field, weaken) in weaken {
            let mut seen = observed();
            weaken(&mut seen);
            let mut status = status(&[field]);
            assert!(
                right(&mut status, &wanted(), &seen, Scope::Whole).is_empty(),
                "{field}"
            );
            assert_eq!(status.unrepaired.len(), 1, "{field}");
        }
        let mut status = status(&["copy"]);
        assert!(right(&mut status, &wanted(), &observed(), Scope::Whole).is_empty());
    }

    #[test]
    fn a_look_at_the_trail_alone_says_nothing_of_log_service() {
        let mut status = status(&FIELDS);
        assert_eq!(
            right(&mut status, &wanted(), &observed(), Scope::Trail),
            ["trail", "events", "regions", "destination", "logging"]
        );
    }

    #[test]
    fn what_is_declared_otherwise_by_now_is_told_no_more() {
        let mut status = status(&["logging", "retention"]);
        let changed = Wanted {
            logging: Logging::Stopped,
            ..wanted()
        };
        assert_eq!(
            right(&mut status, &changed, &observed(), Scope::Whole),
            ["retention"]
        );
        assert_eq!(status.unrepaired, []);
    }

    #[test]
    fn a_store_that_was_made_again_is_not_put_right() {
        let mut status = status(&["store"]);
        status.data_since = Some("later".to_owned());
        assert!(right(&mut status, &wanted(), &observed(), Scope::Whole).is_empty());
        assert_eq!(status.unrepaired, []);
    }

    #[test]
    fn a_store_that_is_gone_is_not_put_right_by_asking_for_it() {
        let finding = |field| Finding {
            field,
            what: String::new(),
        };
        assert!(!is_mended(&finding("store"), true));
        assert!(!is_mended(&finding("mark"), false) && is_mended(&finding("mark"), true));
        assert!(is_mended(&finding("logging"), false));
    }
}
