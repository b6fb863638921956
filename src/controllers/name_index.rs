//! Owns the question which object of this cluster holds an external name, when several declare it.
//!
//! One rule for all kinds: whoever has acquired it holds it; among those that have not, the oldest
//! (creationTimestamp, then namespace and name). What was acquired is known from the status, and, because a
//! watch may lag behind, from the memory of this process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::jiff::Timestamp;

use super::failure::Failure;
use super::object::Managed;
use crate::api::condition::reason;

/// A name in the cloud, as unique as the cloud makes it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ExternalName {
    /// A Log Service project.
    Project {
        /// Account.
        account: String,
        /// Name of the project.
        name: String,
    },
    /// A log store.
    LogStore {
        /// Account.
        account: String,
        /// Name of the project.
        project: String,
        /// Name of the store.
        name: String,
    },
    /// A trail: unique in the account, whatever the region.
    Trail {
        /// Account.
        account: String,
        /// Name of the trail.
        name: String,
    },
}

/// An object that declares a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Declarer {
    /// UID.
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Whether its status holds a claim, or a create whose outcome is open.
    pub acquired: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl<K: Managed> From<&K> for Declarer {
    fn from(object: &K) -> Self {
        let meta = object.meta();
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            acquired: object.has_acquired(),
            deleting: object.is_deleting(),
        }
    }
}

/// Whether an object may act on a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It may.
    Holder,
    /// Another object holds the name: `namespace/name`.
    DuplicateOf(String),
    /// Another object holds it and is being deleted.
    WaitingFor(String),
}

impl Standing {
    /// Lets the holder of `what` pass.
    ///
    /// # Errors
    /// Stalled for a duplicate, waiting for a holder that is being deleted.
    pub fn only_holder(self, what: &str) -> Result<(), Failure> {
        match self {
            Self::Holder => Ok(()),
            Self::DuplicateOf(other) => Err(Failure::stalled(
                reason::DUPLICATE_OF,
                format!(
                    "{what} is declared by {other} already. Delete one of the two, or choose another name"
                ),
            )),
            Self::WaitingFor(other) => Err(Failure::waiting(
                reason::WAITING_FOR_OWNER,
                format!("{what} is still held by {other}, which is being deleted"),
            )),
        }
    }
}

/// Who holds what, as this process knows it.
#[derive(Debug, Default)]
pub struct NameIndex {
    held: Mutex<HashMap<ExternalName, String>>,
}

impl NameIndex {
    /// Judges `me` among `others` that declare the same name, and notes it as the holder if it is.
    pub fn claim(&self, name: &ExternalName, me: &Declarer, others: &[Declarer]) -> Standing {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = held.get(name).cloned();
        let rank = |d: &Declarer| {
            let acquired = d.acquired || noted.as_deref() == Some(d.uid.as_str());
            (
                !acquired,
                d.created.unwrap_or(Timestamp::MAX),
                d.namespace.clone(),
                d.name.clone(),
            )
        };
        let mine = rank(me);
        match others
            .iter()
            .filter(|other| other.uid != me.uid)
            .min_by_key(|other| rank(other))
        {
            Some(other) if rank(other) < mine => {
                let named = format!("{}/{}", other.namespace, other.name);
                if other.deleting {
                    Standing::WaitingFor(named)
                } else {
                    Standing::DuplicateOf(named)
                }
            }
            _ => {
                held.insert(name.clone(), me.uid.clone());
                Standing::Holder
            }
        }
    }

    /// Forgets what an object held: it is gone.
    pub fn forget(&self, uid: &str) {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, holder| holder != uid);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name() -> ExternalName {
        ExternalName::Project {
            account: "1".into(),
            name: "p".into(),
        }
    }

    fn declarer(uid: &str, second: i64) -> Declarer {
        Declarer {
            uid: uid.into(),
            namespace: "audit".into(),
            name: uid.into(),
            created: Some(Timestamp::from_second(second).unwrap()),
            acquired: false,
            deleting: false,
        }
    }

    #[test]
    fn the_oldest_holds_and_the_others_are_duplicates() {
        let index = NameIndex::default();
        let (old, young) = (declarer("a", 1), declarer("b", 2));
        assert_eq!(
            index.claim(&name(), &young, std::slice::from_ref(&old)),
            Standing::DuplicateOf("audit/a".into())
        );
        assert_eq!(index.claim(&name(), &old, &[young]), Standing::Holder);
    }

    #[test]
    fn objects_of_one_second_are_ordered_by_name() {
        let index = NameIndex::default();
        let (a, b) = (declarer("a", 1), declarer("b", 1));
        assert_eq!(
            index.claim(&name(), &b, std::slice::from_ref(&a)),
            Standing::DuplicateOf("audit/a".into())
        );
        assert_eq!(index.claim(&name(), &a, &[b]), Standing::Holder);
    }

    #[test]
    fn what_was_acquired_is_not_lost_to_an_older_object() {
        let index = NameIndex::default();
        let (old, mut young) = (declarer("a", 1), declarer("b", 2));
        young.acquired = true;
        assert_eq!(
            index.claim(&name(), &young, std::slice::from_ref(&old)),
            Standing::Holder
        );
        assert_eq!(
            index.claim(&name(), &old, &[young]),
            Standing::DuplicateOf("audit/b".into())
        );
    }

    #[test]
    fn a_holder_that_the_watch_does_not_show_yet_is_remembered() {
        let index = NameIndex::default();
        let (old, young) = (declarer("a", 1), declarer("b", 2));
        assert_eq!(index.claim(&name(), &young, &[]), Standing::Holder);
        assert_eq!(
            index.claim(&name(), &old, std::slice::from_ref(&young)),
            Standing::DuplicateOf("audit/b".into())
        );
        index.forget("b");
        assert_eq!(index.claim(&name(), &old, &[]), Standing::Holder);
    }

    #[test]
    fn a_holder_that_is_being_deleted_is_waited_for() {
        let index = NameIndex::default();
        let (mut old, young) = (declarer("a", 1), declarer("b", 2));
        old.deleting = true;
        assert_eq!(
            index.claim(&name(), &young, &[old]),
            Standing::WaitingFor("audit/a".into())
        );
    }

    #[test]
    fn names_of_different_accounts_do_not_meet() {
        let index = NameIndex::default();
        let other = ExternalName::Project {
            account: "2".into(),
            name: "p".into(),
        };
        assert_eq!(index.claim(&name(), &declarer("a", 1), &[]), Standing::Holder);
        assert_eq!(index.claim(&other, &declarer("b", 2), &[]), Standing::Holder);
    }
}
