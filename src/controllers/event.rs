//! Owns what is told as Kubernetes Events: their reasons, and how they are written.
//!
//! An Event that cannot be written is a log line, never a failed visit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::failure::without_request_id;
use super::memory::lock;

/// Something was created in the cloud.
pub const CREATED: &str = "Created";
/// Something that was lost was created again; what it held is gone.
pub const CREATED_AGAIN: &str = "CreatedAgain";
/// Something that existed was taken over.
pub const ADOPTED: &str = "Adopted";
/// Something was changed because the spec changed.
pub const UPDATED: &str = "Updated";
/// A weakening from outside was found and put right.
pub const TAMPER_REPAIRED: &str = "TamperRepaired";
/// A weakening from outside was found and is not put right.
pub const TAMPER_FOUND: &str = "TamperFound";
/// The object does not have the form of its kind and is left alone.
pub const UNREADABLE: &str = "Unreadable";
/// The object was deleted and its cloud side stays, marked as released.
pub const RETAINED: &str = "Retained";
/// The cloud side was deleted.
pub const DELETED: &str = "Deleted";
/// The project still holds log stores and was left.
pub const PROJECT_LEFT_NOT_EMPTY: &str = crate::api::condition::reason::PROJECT_LEFT_NOT_EMPTY;
/// The object was freed and its cloud side left as it is.
pub const LEFT_IN_CLOUD: &str = crate::api::condition::reason::LEFT_IN_CLOUD;

/// Longest note (the API server's bound is 1 kB).
const NOTE_LIMIT: usize = 1000;
/// A repeat later than this after the last one is told as a new Event.
const SERIES_ENDS: Duration = Duration::from_secs(360);
/// Events that are remembered for counting repeats.
const REMEMBERED_EVENTS: usize = 2000;

/// Something to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Whether a person should look.
    pub warning: bool,
    /// One of the constants here, or a condition reason.
    pub reason: &'static str,
    /// What was done or found, short, from a closed set.
    pub action: &'static str,
    /// In words.
    pub text: String,
}

impl Note {
    /// News.
    pub fn normal(reason: &'static str, action: &'static str, text: impl Into<String>) -> Self {
        Self {
            warning: false,
            reason,
            action,
            text: text.into(),
        }
    }

    /// Something a person should look at.
    pub fn warning(reason: &'static str, action: &'static str, text: impl Into<String>) -> Self {
        Self {
            warning: true,
            reason,
            action,
            text: text.into(),
        }
    }
}

/// Writes Events. Repeats of the same text about the same object are counted in one Event; another text is another Event,
/// so that nothing is hidden behind what was said first.
#[derive(Clone)]
pub struct Teller {
    client: Client,
    reporter: Reporter,
    /// Where Events go that fit nowhere else.
    own_namespace: String,
    told: Arc<Mutex<Told>>,
}

/// Who says so, as the API server asks for it.
#[derive(Clone)]
struct Reporter {
    controller: String,
    instance: String,
}

impl Teller {
    /// A writer for this operator.
    pub fn new(client: Client, own_namespace: &str) -> Self {
        Self {
            client,
            reporter: Reporter {
                controller: "ramtrail.io/operator".to_owned(),
                instance: instance_name(),
            },
            own_namespace: own_namespace.to_owned(),
            told: Arc::default(),
        }
    }

    /// Writes an Event about an object, in its namespace, or in the operator's when that one is being deleted.
    pub async fn tell(&self, about: &ObjectReference, note: &Note) {
        let Note {
            warning,
            reason,
            action,
            text,
        } = note;
        if *warning {
            tracing::warn!(reason, action, "{text}");
        } else {
            tracing::info!(reason, action, "{text}");
        }
        let namespace = about.namespace.as_deref().unwrap_or(&self.own_namespace);
        let Err(error) = self.write(namespace, about, note).await else {
            return;
        };
        // In a namespace that is being deleted nothing can be created.
        let refused =
            matches!(&error, kube::Error::Api(status) if status.is_forbidden() || status.is_not_found());
        let result = if refused && namespace != self.own_namespace {
            self.write(&self.own_namespace, about, note).await
        } else {
            Err(error)
        };
        if let Err(error) = result {
            tracing::warn!(%error, reason, "cannot write an Event");
        }
    }

    /// Counts the note in its Event, or makes one.
    async fn write(&self, namespace: &str, about: &ObjectReference, note: &Note) -> Result<(), kube::Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let key = key(namespace, about, note);
        let repeat = lock(&self.told).repeat(&key, Instant::now());
        if let Some((name, count)) = repeat {
            let is_away = about.namespace.as_deref().is_some_and(|own| own != namespace);
            if is_away {
                // Said once is enough there: counting would need a right that nothing else needs.
                return Ok(());
            }
            let series =
                json!({ "series": { "count": count, "lastObservedTime": MicroTime(Timestamp::now()) } });
            match api
                .patch(&name, &PatchParams::default(), &Patch::Merge(&series))
                .await
            {
                // The API server forgets Events after a while.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                done => return done.map(drop),
            }
        }
        let event = self.event(namespace, about, note, Timestamp::now());
        api.create(&PostParams::default(), &event).await?;
        lock(&self.told).wrote(key, event.metadata.name.unwrap_or_default(), Instant::now());
        Ok(())
    }

    fn event(&self, namespace: &str, about: &ObjectReference, note: &Note, now: Timestamp) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name_of_event(about.name.as_deref().unwrap_or_default(), now)),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some(note.action.to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(cut(&note.text, NOTE_LIMIT)),
            reason: Some(note.reason.to_owned()),
            regarding: Some(about.clone()),
            reporting_controller: Some(self.reporter.controller.clone()),
            reporting_instance: Some(self.reporter.instance.clone()),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        }
    }
}

/// What makes an Event the same one: what it is about and what it says, whatever call it came from.
type Key = (String, String, bool, &'static str, &'static str, String);

fn key(namespace: &str, about: &ObjectReference, note: &Note) -> Key {
    (
        namespace.to_owned(),
        about.uid.clone().unwrap_or_default(),
        note.warning,
        note.reason,
        note.action,
        without_request_id(&note.text).to_owned(),
    )
}

/// The Events that were written lately. Forgetting one costs a second Event, no more.
#[derive(Default)]
struct Told {
    events: HashMap<Key, (String, i32, Instant)>,
}

impl Told {
    /// The name of the Event that says this already, and how often it has said so with this time.
    fn repeat(&mut self, key: &Key, now: Instant) -> Option<(String, i32)> {
        self.events
            .retain(|_, (_, _, last)| now.duration_since(*last) < SERIES_ENDS);
        let (name, count, last) = self.events.get_mut(key)?;
        *count = count.saturating_add(1);
        *last = now;
        Some((name.clone(), *count))
    }

    fn wrote(&mut self, key: Key, name: String, now: Instant) {
        if self.events.len() >= REMEMBERED_EVENTS {
            let oldest = self.events.iter().min_by_key(|(_, (_, _, last))| *last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.events.remove(&oldest);
            }
        }
        self.events.insert(key, (name, 1, now));
    }
}

/// A name that no other Event has, with the name of the object in front.
fn name_of_event(object: &str, now: Timestamp) -> String {
    let object = cut(object, 200);
    let object = object.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    let object = if object.is_empty() { "ramtrail" } else { object };
    format!("{object}.{:x}", now.as_nanosecond())
}

/// Required in Events: the Pod, or the operator's name. At most 128 characters.
fn instance_name() -> String {
    let named = std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .ok();
    let named = named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "ramtrail".to_owned());
    cut(&named, 128)
}

fn cut(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::SignedDuration;

    fn about(name: &str) -> ObjectReference {
        ObjectReference {
            name: Some(name.to_owned()),
            uid: Some(format!("uid-{name}")),
            ..ObjectReference::default()
        }
    }

    #[test]
    fn notes_are_cut_on_a_character_boundary() {
        assert_eq!(cut("short", NOTE_LIMIT), "short");
        let long = format!("a{}", "é".repeat(800));
        let short = cut(&long, NOTE_LIMIT);
        assert!(short.len() <= NOTE_LIMIT && long.starts_with(&short));
    }

    #[test]
    fn the_same_text_is_counted_and_another_text_is_another_event() {
        let now = Instant::now();
        let mut told = Told::default();
        let note = |text: &str| Note::warning(TAMPER_REPAIRED, "RetentionReduced", text);
        let first = key("n", &about("a"), &note("lowered to 7 days (request 1)"));
        assert_eq!(told.repeat(&first, now), None);
        told.wrote(first.clone(), "e1".to_owned(), now);
        let again = key("n", &about("a"), &note("lowered to 7 days (request 2)"));
        assert_eq!(told.repeat(&again, now), Some(("e1".to_owned(), 2)));
        assert_eq!(told.repeat(&again, now), Some(("e1".to_owned(), 3)));
        for other in [
            key("n", &about("a"), &note("lowered to 8 days")),
            key("n", &about("b"), &note("lowered to 7 days")),
            key("o", &about("a"), &note("lowered to 7 days")),
        ] {
            assert_eq!(told.repeat(&other, now), None, "{other:?}");
        }
        assert_eq!(told.repeat(&first, now + SERIES_ENDS), None, "long ago");
    }

    #[test]
    fn what_is_remembered_of_events_is_bounded() {
        let now = Instant::now();
        let mut told = Told::default();
        for i in 0..=REMEMBERED_EVENTS {
            let note = Note::normal(CREATED, "Create", format!("{i}"));
            let at = now + Duration::from_millis(u64::try_from(i).unwrap_or_default());
            told.wrote(key("n", &about("a"), &note), format!("e{i}"), at);
        }
        assert_eq!(told.events.len(), REMEMBERED_EVENTS);
        let oldest = key("n", &about("a"), &Note::normal(CREATED, "Create", "0"));
        assert_eq!(told.repeat(&oldest, now), None);
    }

    #[test]
    fn names_of_events_are_valid_whatever_the_object_is_called() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000);
        for object in [
            "a",
            "",
            &"x".repeat(253),
            &format!("{}.-{}", "x".repeat(198), "y".repeat(53)),
        ] {
            let name = name_of_event(object, now);
            assert!(name.len() <= 253, "{name}");
            assert!(
                name.split('.').all(|part| {
                    part.starts_with(|c: char| c.is_ascii_alphanumeric())
                        && part.ends_with(|c: char| c.is_ascii_alphanumeric())
                }),
                "{name}"
            );
        }
    }
}
