//! What protects an audit, as comparable facts, and how a call moved them.
//!
//! Each service writes the facts of one account before and after a write; the difference goes into the
//! journal as the call's effects. This is the emulator's own judgement: no client's plan enters it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// One protective (or neutral) setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Something exists. New is up, gone is down.
    Present,
    /// A quantity: more is up, less is down (days, a switch as 0 or 1).
    Amount(i64),
    /// A set: only additions are up, any removal is down (index keys, covered events).
    Members(BTreeSet<String>),
    /// What a filter lets through: these texts, or everything. Everything is more than any texts.
    Passed(Option<BTreeSet<String>>),
    /// Must exist, whatever its value: new is up, gone is down, another value is neutral (marks,
    /// destinations: nobody but the owner knows which value is right).
    Kept(String),
    /// Protects nothing: a change is neutral, coming and going is no effect (descriptions, user tags).
    Neutral(String),
}

/// Facts by field, for example `project/p1/store/s1/ttl`.
pub type Facts = BTreeMap<String, Fact>;

/// Direction in which a call moved a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// More protection.
    Up,
    /// Less protection.
    Down,
    /// Changed without more or less protection.
    Same,
}

/// One moved field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// Field.
    pub field: String,
    /// Direction.
    pub change: Change,
}

/// How `after` differs from `before`, by field. Unchanged fields are left out.
pub fn effects(before: &Facts, after: &Facts) -> Vec<Effect> {
    let fields: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    fields
        .into_iter()
        .filter_map(|field| {
            let change = match (before.get(field), after.get(field)) {
                (Some(old), Some(new)) if old == new => return None,
                (Some(old), Some(new)) => moved(old, new),
                // What protects nothing is told only when it is changed, not when it comes or goes along.
                (None, Some(Fact::Neutral(_)) | None) | (Some(Fact::Neutral(_)), None) => return None,
                (None, Some(_)) => Change::Up,
                (Some(_), None) => Change::Down,
            };
            Some(Effect {
                field: field.clone(),
                change,
            })
        })
        .collect()
}

fn moved(old: &Fact, new: &Fact) -> Change {
    match (old, new) {
        (Fact::Amount(old), Fact::Amount(new)) => {
            if new > old {
                Change::Up
            } else {
                Change::Down
            }
        }
        (Fact::Members(old), Fact::Members(new)) => {
            if new.is_superset(old) {
                Change::Up
            } else {
                Change::Down
            }
        }
        (Fact::Passed(_), Fact::Passed(None)) => Change::Up,
        (Fact::Passed(Some(old)), Fact::Passed(Some(new))) if new.is_superset(old) => Change::Up,
        (Fact::Kept(_), Fact::Kept(_)) | (Fact::Neutral(_), Fact::Neutral(_)) => Change::Same,
        // A field that changes its nature has lost what it was.
        _ => Change::Down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[&str]) -> Fact {
        Fact::Members(items.iter().map(|&item| item.to_owned()).collect())
    }

    #[test]
    fn each_kind_of_fact_moves_its_own_way() {
        let passed = |items: Option<&[&str]>| {
            Some(Fact::Passed(
                items.map(|items| items.iter().map(|&item| item.to_owned()).collect()),
            ))
        };
        let table: [(Option<Fact>, Option<Fact>, Option<Change>); 21] = [
            (None, Some(Fact::Present), Some(Change::Up)),
            (Some(Fact::Present), None, Some(Change::Down)),
            (Some(Fact::Present), Some(Fact::Present), None),
            (Some(Fact::Amount(30)), Some(Fact::Amount(31)), Some(Change::Up)),
            (Some(Fact::Amount(30)), Some(Fact::Amount(29)), Some(Change::Down)),
            (Some(Fact::Amount(30)), None, Some(Change::Down)),
            (
                Some(set(&["Read", "Write"])),
                Some(set(&["Write"])),
                Some(Change::Down),
            ),
            (Some(set(&["Read"])), Some(set(&["Write"])), Some(Change::Down)),
            (
                Some(set(&["Read"])),
                Some(set(&["Read", "Write"])),
                Some(Change::Up),
            ),
            (Some(set(&["a"])), Some(set(&["a"])), None),
            (passed(Some(&["a"])), passed(None), Some(Change::Up)),
            (passed(None), passed(Some(&["a"])), Some(Change::Down)),
            (passed(Some(&["a"])), passed(Some(&["a", "b"])), Some(Change::Up)),
            (
                passed(Some(&["a", "b"])),
                passed(Some(&["a"])),
                Some(Change::Down),
            ),
            (passed(Some(&[])), passed(None), Some(Change::Up)),
            (
                Some(Fact::Kept("a".into())),
                Some(Fact::Kept("b".into())),
                Some(Change::Same),
            ),
            (Some(Fact::Kept("a".into())), None, Some(Change::Down)),
            (None, Some(Fact::Kept("a".into())), Some(Change::Up)),
            (
                Some(Fact::Neutral("a".into())),
                Some(Fact::Neutral("b".into())),
                Some(Change::Same),
            ),
            (Some(Fact::Neutral("a".into())), None, None),
            (Some(Fact::Amount(1)), Some(Fact::Present), Some(Change::Down)),
        ];
        for (old, new, expected) in table {
            let facts = |fact: &Option<Fact>| -> Facts {
                fact.iter().map(|fact| ("f".to_owned(), fact.clone())).collect()
            };
            let found = effects(&facts(&old), &facts(&new));
            assert_eq!(
                found.first().map(|effect| effect.change),
                expected,
                "{old:?} -> {new:?}"
            );
        }
    }
}
