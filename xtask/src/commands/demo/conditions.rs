//! What objects say of themselves, and waiting until they say it.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use xtask::kubectl::Kubectl;
use xtask::terminal::{self, Style};

use super::DEADLINE;

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

/// Prints each change of a condition, with the time since `start`, until it is True everywhere; `check` is
/// asked in between.
///
/// # Errors
/// At the deadline, with what each object said last; or as `check` says.
pub(super) fn wait_until_true(
    kubectl: &Kubectl,
    namespace: &str,
    objects: &[Named],
    type_: &str,
    start: Instant,
    mut check: impl FnMut() -> Result<()>,
) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    let width = objects
        .iter()
        .map(|o| o.to_string().chars().count())
        .max()
        .unwrap_or(0);
    let mut said: BTreeMap<String, Condition> = BTreeMap::new();
    loop {
        check()?;
        let arguments: Vec<String> = objects.iter().map(Named::argument).collect();
        let answer = kubectl.json(
            ["-n", namespace, "get"]
                .map(str::to_owned)
                .into_iter()
                .chain(arguments),
        )?;
        let single = [answer.clone()];
        let found = answer["items"].as_array().map_or(&single[..], Vec::as_slice);
        for object in objects {
            let of_it = |o: &&Value| o["kind"] == *object.kind && o["metadata"]["name"] == *object.name;
            let Some(condition) = found.iter().find(of_it).and_then(|o| Condition::of(o, type_)) else {
                continue;
            };
            let key = object.to_string();
            let same = |old: &Condition| old.status == condition.status && old.reason == condition.reason;
            if !said.get(&key).is_some_and(same) {
                print_change(start.elapsed(), &key, width, type_, &condition);
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

fn print_change(elapsed: Duration, object: &str, width: usize, type_: &str, condition: &Condition) {
    let time = terminal::paint(Style::Dim, format!("{:>7}", terminal::elapsed(elapsed)));
    let state = if condition.is_true() {
        terminal::paint(Style::Good, type_)
    } else {
        format!("not yet: {}", terminal::paint(Style::Warn, &condition.reason))
    };
    terminal::line(&format!("{time}  {}  {state}", terminal::pad(object, width)));
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
