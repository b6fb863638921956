//! What a visit to an AuditProject says in its conditions. Pure, but for setting the plan.

use super::Drift;
use super::observe::Observed;
use super::plan::Action;
use crate::api::condition::{READY, SYNCED, Statement, Status, reason};
use crate::api::v1alpha1::{AuditProject, ManagementPolicy};
use crate::controllers::acquisition::{Decision, Found};
use crate::controllers::ownership::Mark;
use crate::controllers::pass::{Pass, Report, contested, out_of_sync, protected};
use crate::controllers::plan::Step;
use crate::telemetry::TamperAction;

/// After a visit that changed what had to be changed.
pub fn enforced(pass: &Pass<AuditProject>, found: &Found, decision: &Decision, repaired: bool) -> Report {
    let name = pass.object.effective_name();
    if *decision == Decision::Contested {
        return contested(&format!("Project {name}"), &found.foreign_owner);
    }
    let mut weak = Vec::new();
    if found.mark != Mark::Ours {
        weak.push((
            reason::TAMPERED,
            format!("the mark on project {name} is not ours"),
        ));
    }
    let synced = if repaired {
        Statement::new(
            SYNCED,
            Status::True,
            reason::REPAIRED,
            "Differences were found and put right",
        )
    } else {
        Statement::new(SYNCED, Status::True, reason::UP_TO_DATE, "")
    };
    Report::new(vec![
        Statement::new(
            READY,
            Status::True,
            reason::AVAILABLE,
            format!("Project {name} is there"),
        ),
        synced,
        protected(ManagementPolicy::Enforce, &weak),
    ])
}

/// What was found and is not put right: the project has lost its mark, or is gone.
pub fn weakened(drift: &[Drift]) -> Vec<Statement> {
    let weak: Vec<_> = drift
        .iter()
        .filter(|drift| drift.tamper.is_some())
        .map(|drift| (reason::TAMPERED, drift.text.clone()))
        .collect();
    if weak.is_empty() {
        return Vec::new();
    }
    let found = weak.iter().map(|(_, text)| text.as_str());
    let mut statements = vec![protected(ManagementPolicy::Enforce, &weak), out_of_sync(found)];
    let gone = drift
        .iter()
        .find(|drift| drift.tamper == Some(TamperAction::Deleted));
    if let Some(gone) = gone {
        statements.push(Statement::new(
            READY,
            Status::False,
            reason::TAMPERED,
            gone.text.clone(),
        ));
    }
    statements
}

/// After a visit that only looked.
pub fn observe_only(
    pass: &mut Pass<AuditProject>,
    observed: Option<&Observed>,
    decision: &Decision,
    steps: &[Step<Action>],
) -> Report {
    let name = pass.object.effective_name().to_owned();
    let lines = super::plan_lines(decision, steps, &name);
    let synced = if lines.is_empty() {
        Statement::new(SYNCED, Status::True, reason::UP_TO_DATE, "")
    } else {
        let text = format!(
            "managementPolicy is Observe: {} step(s) are listed in status.plan and not taken",
            lines.len()
        );
        Statement::new(SYNCED, Status::False, reason::PLAN_PENDING, text)
    };
    let ready = if observed.is_some() {
        Statement::new(
            READY,
            Status::True,
            reason::AVAILABLE,
            format!("Project {name} is there"),
        )
    } else {
        let text = format!("Project {name} does not exist, and managementPolicy is Observe");
        Statement::new(READY, Status::False, reason::PLAN_PENDING, text)
    };
    pass.status.plan = lines;
    pass.status.data_since = observed.and_then(|observed| observed.seen.create_time.clone());
    let mut report = Report::new(vec![ready, synced, protected(ManagementPolicy::Observe, &[])]);
    report.converged = false;
    report
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::condition::PROTECTED;

    #[test]
    fn a_lost_mark_weakens_a_lost_project_is_not_ready_and_a_tag_is_neither() {
        let said = |tamper| {
            let drift = Drift {
                tamper,
                field: "f",
                text: "so".to_owned(),
            };
            let statements = weakened(&[drift]);
            let status = |type_| statements.iter().find(|s| s.type_ == type_).map(|s| s.status);
            (status(PROTECTED), status(READY))
        };
        let no = Some(Status::False);
        assert_eq!(said(Some(TamperAction::MarkChanged)), (no, None));
        assert_eq!(said(Some(TamperAction::Deleted)), (no, no));
        assert_eq!(said(None), (None, None));
    }
}
