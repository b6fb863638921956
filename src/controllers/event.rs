//! Owns what is told as Kubernetes Events: their reasons, and how they are written.
//!
//! An Event that cannot be written is a log line, never a failed visit.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as EventObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};

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

/// Something to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Whether a person should look.
    pub warning: bool,
    /// One of the constants here, or a condition reason.
    pub reason: &'static str,
    /// What was done or found, short, from a closed set: repeats of the same (reason, action) are counted, not
    /// written again.
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

/// Writes Events.
#[derive(Clone)]
pub struct Teller {
    client: Client,
    recorder: Recorder,
    reporter: Reporter,
    /// Where Events go that fit nowhere else.
    own_namespace: String,
}

impl Teller {
    /// A writer for this operator.
    pub fn new(client: Client, own_namespace: &str) -> Self {
        let reporter = Reporter {
            controller: "ramtrail.io/operator".to_owned(),
            instance: Some(instance_name()),
        };
        let recorder = Recorder::new(client.clone(), reporter.clone());
        Self {
            client,
            recorder,
            reporter,
            own_namespace: own_namespace.to_owned(),
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
        let event = Event {
            type_: if *warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: (*reason).to_owned(),
            note: Some(cut(text)),
            action: (*action).to_owned(),
            secondary: None,
        };
        let Err(error) = self.recorder.publish(&event, about).await else {
            return;
        };
        let refused =
            matches!(&error, kube::Error::Api(status) if status.is_forbidden() || status.is_not_found());
        let result = if refused {
            self.tell_at_home(about, note).await
        } else {
            Err(error)
        };
        if let Err(error) = result {
            tracing::warn!(%error, reason, "cannot write an Event");
        }
    }

    /// In a namespace that is being deleted nothing can be created.
    async fn tell_at_home(&self, about: &ObjectReference, note: &Note) -> Result<(), kube::Error> {
        let event = EventObject {
            metadata: ObjectMeta {
                generate_name: Some("ramtrail-".to_owned()),
                namespace: Some(self.own_namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some(note.action.to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(cut(&note.text)),
            reason: Some(note.reason.to_owned()),
            regarding: Some(about.clone()),
            reporting_controller: Some(self.reporter.controller.clone()),
            reporting_instance: self.reporter.instance.clone(),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            ..EventObject::default()
        };
        let api: Api<EventObject> = Api::namespaced(self.client.clone(), &self.own_namespace);
        api.create(&PostParams::default(), &event).await.map(|_| ())
    }
}

/// Required in Events: the Pod, or the operator's name.
fn instance_name() -> String {
    let named = std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .ok();
    named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "ramtrail".to_owned())
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(NOTE_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_on_a_character_boundary() {
        assert_eq!(cut("short"), "short");
        let long = format!("a{}", "é".repeat(800));
        assert!(cut(&long).len() <= NOTE_LIMIT && long.starts_with(&cut(&long)));
    }
}
