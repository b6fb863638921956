//! What a visit to an AuditLogStore says in its conditions. Pure, but for setting what was found.

use super::Drift;
use super::observe::Observed;
use super::plan::{Excess, Plan};
use crate::api::condition::{READY, SYNCED, Statement, Status, reason};
use crate::api::v1alpha1::{AuditLogStore, ManagementPolicy};
use crate::controllers::acquisition::{Decision, Found};
use crate::controllers::ownership::Mark;
use crate::controllers::pass::{Pass, Report, contested, out_of_sync, protected};
use crate::controllers::plan::describe;
use crate::telemetry::TamperAction;

/// After a visit that changed what had to be changed.
pub fn enforced(
    pass: &Pass<AuditLogStore>,
    found: &Found,
    decision: &Decision,
    excess: &[Excess],
    repaired: bool,
) -> Report {
    let name = pass.object.effective_name();
    if *decision == Decision::Contested {
        return contested(&format!("Log store {name}"), &found.foreign_owner);
    }
    let mut weak: Vec<_> = excess
        .iter()
        .filter(|excess| excess.weakens)
        .map(|excess| (excess.reason, excess.text.clone()))
        .collect();
    if found.mark != Mark::Ours {
        weak.push((
            reason::TAMPERED,
            format!("the mark on log store {name} is not ours"),
        ));
    }
    Report::new(vec![
        Statement::new(
            READY,
            Status::True,
            reason::AVAILABLE,
            format!("Log store {name} is there, with its index"),
        ),
        synced(excess, repaired),
        protected(ManagementPolicy::Enforce, &weak),
    ])
}

fn synced(excess: &[Excess], repaired: bool) -> Statement {
    match excess.first() {
        Some(first) => {
            let texts: Vec<&str> = excess.iter().map(|excess| excess.text.as_str()).collect();
            Statement::new(SYNCED, Status::False, first.reason, texts.join("; "))
        }
        None if repaired => Statement::new(
            SYNCED,
            Status::True,
            reason::REPAIRED,
            "Differences were found and put right",
        ),
        None => Statement::new(SYNCED, Status::True, reason::UP_TO_DATE, ""),
    }
}

/// What was found and is not put right: the store protects less, or is gone.
pub fn weakened(drift: &[Drift]) -> Vec<Statement> {
    let weak: Vec<_> = drift
        .iter()
        .map(|drift| (reason::TAMPERED, drift.text.clone()))
        .collect();
    let found = weak.iter().map(|(_, text)| text.as_str());
    let mut statements = vec![protected(ManagementPolicy::Enforce, &weak), out_of_sync(found)];
    if let Some(gone) = drift.iter().find(|drift| drift.action == TamperAction::Deleted) {
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
    pass: &mut Pass<AuditLogStore>,
    observed: Option<&Observed>,
    decision: &Decision,
    plan: &Plan,
) -> Report {
    let name = pass.object.effective_name().to_owned();
    let mut lines = describe(&plan.steps);
    if matches!(decision, Decision::Take(_)) && lines.is_empty() {
        lines.push(format!("take over log store {name}"));
    }
    let synced = if lines.is_empty() {
        synced(&plan.excess, false)
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
            format!("Log store {name} is there"),
        )
    } else {
        let text = format!("Log store {name} does not exist, and managementPolicy is Observe");
        Statement::new(READY, Status::False, reason::PLAN_PENDING, text)
    };
    pass.status.plan = lines;
    match observed {
        Some(observed) => super::show(pass, observed),
        None => {
            (
                pass.status.retention_days,
                pass.status.shard_count,
                pass.status.data_since,
            ) = (None, None, None);
        }
    }
    let weak: Vec<_> = plan
        .excess
        .iter()
        .filter(|excess| excess.weakens)
        .map(|excess| (excess.reason, excess.text.clone()))
        .collect();
    let mut report = Report::new(vec![ready, synced, protected(ManagementPolicy::Observe, &weak)]);
    report.converged = false;
    report
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::condition::PROTECTED;

    #[test]
    fn a_weakening_that_stays_is_named_and_a_store_that_is_gone_is_not_ready() {
        let drift = |action, text: &str| Drift {
            action,
            field: "f",
            text: text.to_owned(),
        };
        let find = |statements: &[Statement], type_| statements.iter().find(|s| s.type_ == type_).cloned();
        let lowered = weakened(&[drift(TamperAction::RetentionReduced, "lowered from 30 to 7 days")]);
        let protected = find(&lowered, PROTECTED).unwrap();
        assert_eq!(
            (protected.status, protected.reason),
            (Status::False, reason::TAMPERED)
        );
        assert!(protected.message.contains("lowered from 30 to 7 days"));
        assert_eq!(find(&lowered, READY), None);
        let gone = weakened(&[drift(TamperAction::Deleted, "deleted")]);
        assert_eq!(find(&gone, READY).unwrap().status, Status::False);
    }
}
