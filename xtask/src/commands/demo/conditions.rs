//! What objects say of themselves, and waiting until they say it.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use xtask::kubectl::Kubectl;
use xtask::terminal::{self, Style};

use super::seed::Seed;
use super::{DEADLINE, step};

/// One condition of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Condition {
    /// The condition of this type, if it speaks about the present spec.
    pub(super) fn of(object: &Value, type_: &str) -> Option<Self> {
        let condition = object["status"]["conditions"]
            .as_array()?
            .iter()
            .find(|c| c["type"] == type_)?;
        let generation = &object["metadata"]["generation"];
        if condition
            .get("observedGeneration")
            .is_some_and(|observed| observed != generation)
        {
            return None;
        }
        let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        Some(Self {
            status: text("status"),
            reason: text("reason"),
            message: text("message"),
        })
    }

    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// An object by the name kubectl takes, and by the one a person reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) kind: String,
    pub(super) name: String,
}

impl Named {
    fn argument(&self) -> String {
        // All our kinds, and only they, are of this group: no other kind of that name can be meant.
        format!("{}.ramtrail.io/{}", self.kind.to_lowercase(), self.name)
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Reads one object.
pub(super) fn get(kubectl: &Kubectl, namespace: &str, object: &Named) -> Result<Value> {
    kubectl.json(["-n", namespace, "get", &object.argument()])
}

/// Looks at objects of one namespace and prints what changes, with the time since `start`.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    pub(super) kubectl: &'a Kubectl,
    pub(super) seed: &'a Seed,
    pub(super) start: Instant,
}

impl Watch<'_> {
    /// Prints each change of a condition until it is True everywhere; `check` is asked in between.
    ///
    /// # Errors
    /// At the deadline, with what each object said last; or as `check` says.
    pub(super) fn until_true(
        &self,
        objects: &[Named],
        type_: &str,
        mut check: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let mut said: BTreeMap<String, Condition> = BTreeMap::new();
        loop {
            check()?;
            let found = self.get_all(objects)?;
            for object in objects {
                let of_it = |o: &&Value| o["kind"] == *object.kind && o["metadata"]["name"] == *object.name;
                let condition = found.iter().find(of_it).and_then(|o| Condition::of(o, type_));
                let Some(condition) = condition else { continue };
                let key = object.to_string();
                let same = |old: &Condition| old.status == condition.status && old.reason == condition.reason;
                if !said.get(&key).is_some_and(same) {
                    self.print_change(&key, type_, &condition);
                }
                said.insert(key, condition);
            }
            if objects
                .iter()
                .all(|o| said.get(&o.to_string()).is_some_and(Condition::is_true))
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let last: Vec<String> = objects
                    .iter()
                    .map(|o| describe(o, said.get(&o.to_string())))
                    .collect();
                bail!(
                    "expected within {} s: {type_} of everything; seen: {}",
                    DEADLINE.as_secs(),
                    last.join("; ")
                );
            }
            thread::sleep(Duration::from_millis(150));
        }
    }

    fn get_all(&self, objects: &[Named]) -> Result<Vec<Value>> {
        let arguments = objects.iter().map(Named::argument);
        let get = ["-n", &self.seed.namespace, "get"].map(str::to_owned);
        let mut answer = self.kubectl.json(get.into_iter().chain(arguments))?;
        // One object is answered as itself, several as a list.
        Ok(match answer["items"].take() {
            Value::Array(items) => items,
            _ => vec![answer],
        })
    }

    fn print_change(&self, object: &str, type_: &str, condition: &Condition) {
        let width = self
            .seed
            .objects
            .iter()
            .map(|o| o.to_string().chars().count())
            .max()
            .unwrap_or(0);
        let state = if condition.is_true() {
            terminal::paint(Style::Good, type_)
        } else {
            format!("not yet: {}", terminal::paint(Style::Warn, &condition.reason))
        };
        step(self.start, &format!("{}  {state}", terminal::pad(object, width)));
    }
}

fn describe(object: &Named, condition: Option<&Condition>) -> String {
    match condition {
        None => format!("{object} says nothing"),
        Some(Condition {
            status,
            reason,
            message,
        }) => format!("{object} is {status}/{reason} ({message})"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn object(observed: i64) -> Value {
        json!({
            "metadata": { "generation": 2 },
            "status": { "conditions": [
                { "type": "Ready", "status": "True", "reason": "R", "message": "m", "observedGeneration": observed },
            ] },
        })
    }

    #[test]
    fn condition_about_an_older_spec_does_not_count() {
        assert!(Condition::of(&object(2), "Ready").unwrap().is_true());
        assert_eq!(Condition::of(&object(1), "Ready"), None);
        assert_eq!(Condition::of(&object(2), "Logging"), None);
    }
}
