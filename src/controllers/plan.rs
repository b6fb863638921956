//! Owns what a plan is: steps that each say which way they move the audit, so that one rule holds for all kinds.
//!
//! The rule: what differs from the spec is put right only upwards. A step that reduces may be in a plan only because
//! that field's wanted value fell since it was last converged; the kinds' planners see to it, and their tests.

use crate::aliyun::error::clean;

/// Which way a step moves what protects the audit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Makes what is missing.
    Create,
    /// Restores or raises.
    Protect,
    /// Neither.
    Neutral,
    /// Lowers or removes, because the spec asks for it.
    Reduce,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<A> {
    /// Which way it moves.
    pub effect: Effect,
    /// Path of the field in the spec, or of what stands for it; label of metrics.
    pub field: &'static str,
    /// In words: what is so and what is wanted.
    pub text: String,
    /// What to do.
    pub action: A,
}

impl<A> Step<A> {
    /// A step.
    pub fn new(effect: Effect, field: &'static str, text: impl Into<String>, action: A) -> Self {
        Self {
            effect,
            field,
            text: text.into(),
            action,
        }
    }
}

/// Steps in `status.plan` at most.
const STEPS: usize = 30;
/// Characters of one of them at most.
const STEP_LENGTH: usize = 200;

/// A plan as `status.plan` lists it.
pub fn describe<A>(steps: &[Step<A>]) -> Vec<String> {
    let mut lines: Vec<String> = steps.iter().map(|step| clean(&step.text, STEP_LENGTH)).collect();
    if lines.len() > STEPS {
        let more = lines.len() - (STEPS - 1);
        lines.truncate(STEPS - 1);
        lines.push(format!("and {more} more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_listed_within_their_bounds() {
        let steps: Vec<Step<()>> = (0..40)
            .map(|i| Step::new(Effect::Protect, "f", format!("{i}{}", "x".repeat(300)), ()))
            .collect();
        let lines = describe(&steps);
        assert_eq!(lines.len(), 30);
        assert_eq!(lines[29], "and 11 more");
        let told = lines[..29].iter();
        assert!(
            told.clone().all(|line| line.ends_with('…')),
            "what is cut says so"
        );
        assert!(told.clone().all(|line| line.chars().count() == 201));
    }

    #[test]
    fn a_listed_step_is_one_line_in_its_own_order() {
        let step = Step::new(Effect::Protect, "f", "raise\nthe\u{202e} retention\u{1b}[2J", ());
        assert_eq!(describe(&[step]), ["raise the retention [2J"]);
    }
}
