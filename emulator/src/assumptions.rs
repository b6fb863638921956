//! Behaviours that no source settles: each has an id, at least two possible behaviours, and one choice.
//!
//! `assumptions.toml` is the register for people (what is open, where, what each profile chooses); the
//! enums declared with [`assumption!`](crate::assumption) are the same list for code, so that every
//! behaviour is handled by an exhaustive `match`. A test holds both lists equal.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The register's text, compiled in.
const REGISTER: &str = include_str!("../assumptions.toml");

/// One open question, as an enum of its possible behaviours.
pub trait Assumption: Copy + 'static {
    /// Id in the register.
    const ID: &'static str;
    /// Names of the behaviours, in the order of the variants.
    const BEHAVIOURS: &'static [&'static str];
    /// The behaviour of that name.
    fn from_behaviour(name: &str) -> Option<Self>;
}

/// Declares an [`Assumption`]: `assumption! { /// doc  pub enum Name("id") { Variant = "behaviour", } }`.
#[macro_export]
macro_rules! assumption {
    ($($(#[$doc:meta])* pub enum $name:ident($id:literal) {
        $($(#[$variant_doc:meta])* $variant:ident = $behaviour:literal),+ $(,)?
    })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }
        impl $crate::assumptions::Assumption for $name {
            const ID: &'static str = $id;
            const BEHAVIOURS: &'static [&'static str] = &[$($behaviour),+];
            fn from_behaviour(name: &str) -> Option<Self> {
                match name { $($behaviour => Some(Self::$variant),)+ _ => None }
            }
        }
    )+};
}

/// Id and behaviours of one declared assumption, for the comparison with the register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    /// Id.
    pub id: &'static str,
    /// Names of the behaviours.
    pub behaviours: &'static [&'static str],
}

impl Declared {
    /// The declaration of `A`.
    pub const fn of<A: Assumption>() -> Self {
        Self {
            id: A::ID,
            behaviours: A::BEHAVIOURS,
        }
    }
}

/// Which column of the register the choices start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// What the documents suggest.
    #[default]
    Documented,
    /// What hurts most.
    Hostile,
}

/// One entry of the register.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Id, `area.thing.question`.
    pub id: String,
    /// The question.
    pub text: String,
    /// Where it is left open.
    pub source: String,
    /// Possible behaviours.
    pub behaviours: Vec<String>,
    /// Choice of the documented profile.
    pub documented: String,
    /// Choice of the hostile profile.
    pub hostile: String,
}

#[derive(Deserialize)]
struct Register {
    assumption: Vec<Entry>,
}

/// All entries of the register.
pub fn register() -> Vec<Entry> {
    let register: Register = toml::from_str(REGISTER).expect("assumptions.toml is checked by a test");
    register.assumption
}

/// A choice that the register does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// No such id.
    #[error("there is no assumption {0}")]
    UnknownId(String),
    /// No such behaviour.
    #[error("assumption {id} has no behaviour {behaviour}; it has {known}")]
    UnknownBehaviour {
        /// Id.
        id: String,
        /// The behaviour asked for.
        behaviour: String,
        /// Behaviours that exist.
        known: String,
    },
}

/// The behaviours in force.
#[derive(Debug, Clone)]
pub struct Assumptions {
    chosen: BTreeMap<String, String>,
}

impl Assumptions {
    /// The choices of a profile.
    pub fn profile(profile: Profile) -> Self {
        let chosen = register()
            .into_iter()
            .map(|entry| {
                let choice = match profile {
                    Profile::Documented => entry.documented,
                    Profile::Hostile => entry.hostile,
                };
                (entry.id, choice)
            })
            .collect();
        Self { chosen }
    }

    /// Overrides one choice.
    pub fn choose(&mut self, id: &str, behaviour: &str) -> Result<(), ChoiceError> {
        let entry = register()
            .into_iter()
            .find(|entry| entry.id == id)
            .ok_or_else(|| ChoiceError::UnknownId(id.to_owned()))?;
        if !entry.behaviours.iter().any(|known| known == behaviour) {
            return Err(ChoiceError::UnknownBehaviour {
                id: id.to_owned(),
                behaviour: behaviour.to_owned(),
                known: entry.behaviours.join(", "),
            });
        }
        self.chosen.insert(id.to_owned(), behaviour.to_owned());
        Ok(())
    }

    /// The behaviour in force.
    pub fn get<A: Assumption>(&self) -> A {
        self.chosen
            .get(A::ID)
            .and_then(|name| A::from_behaviour(name))
            .expect("a test holds the register and the declared behaviours equal")
    }

    /// Every id with its behaviour.
    pub fn chosen(&self) -> &BTreeMap<String, String> {
        &self.chosen
    }
}

assumption! {
    /// Time from a call to its event in the trail's log store.
    pub enum DeliveryDelay("actiontrail.delivery.delay") {
        /// One second: tests that do not look at lag stay quick.
        OneSecond = "1s",
        /// Sixty seconds, "about a minute" in the documents.
        SixtySeconds = "60s",
    }
    /// Time from a call to LookupEvents showing it.
    pub enum LookupDelay("actiontrail.lookup.delay") {
        /// One second.
        OneSecond = "1s",
        /// Ten minutes.
        TenMinutes = "10m",
    }
}

/// Everything declared in the engine's modules.
pub fn registered() -> Vec<Declared> {
    vec![Declared::of::<DeliveryDelay>(), Declared::of::<LookupDelay>()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn declared() -> Vec<Declared> {
        let mut all = registered();
        all.extend(crate::log_service::assumptions::registered());
        all
    }

    #[test]
    fn register_and_code_know_the_same_behaviours() {
        let in_file: BTreeSet<(String, Vec<String>)> = register()
            .into_iter()
            .map(|entry| (entry.id, entry.behaviours))
            .collect();
        let in_code: BTreeSet<(String, Vec<String>)> = declared()
            .into_iter()
            .map(|entry| {
                (
                    entry.id.to_owned(),
                    entry.behaviours.iter().map(|&name| name.to_owned()).collect(),
                )
            })
            .collect();
        assert_eq!(in_file, in_code);
        assert_eq!(in_file.len(), register().len(), "an id stands twice");
    }

    #[test]
    fn every_entry_is_complete_and_has_a_choice_among_at_least_two() {
        for entry in register() {
            assert!(entry.behaviours.len() >= 2, "{} has one behaviour", entry.id);
            assert!(entry.behaviours.contains(&entry.documented), "{}", entry.id);
            assert!(entry.behaviours.contains(&entry.hostile), "{}", entry.id);
            assert!(!entry.text.is_empty() && !entry.source.is_empty(), "{}", entry.id);
        }
    }

    #[test]
    fn unknown_choices_are_refused() {
        let mut assumptions = Assumptions::profile(Profile::Documented);
        assert!(assumptions.choose("no.such", "x").is_err());
        assert!(assumptions.choose("actiontrail.lookup.delay", "x").is_err());
        assumptions.choose("actiontrail.lookup.delay", "10m").unwrap();
        assert_eq!(assumptions.get::<LookupDelay>(), LookupDelay::TenMinutes);
    }
}
