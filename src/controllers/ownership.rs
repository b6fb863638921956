//! Owns the marks that say whose a thing in the cloud is: how they are written, read and judged.
//!
//! Pure. Who writes marks, and when, is decided by the kinds; nothing here talks to the cloud. Tags have no
//! compare-and-swap, so a mark is evidence, not a lock: it is read back, and read once more a minute later.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Tag with the owner on a project or a log store.
pub const OWNER_KEY: &str = "ramtrail-owner";
/// Tag with the owner's readable name, for people.
pub const OBJECT_KEY: &str = "ramtrail-object";
/// Beginning of every tag key that is ours.
pub const KEY_PREFIX: &str = "ramtrail-";
/// Longest tag value (Log Service).
pub const VALUE_LIMIT: usize = 128;
/// Tags that one project or log store can carry (Log Service); users' tags and all marks share them.
pub const TAG_LIMIT: usize = 20;

const RELEASED: &str = "released";
/// Between the parts of a mark; no source says which characters a tag value may have.
const SEPARATOR: char = '/';
/// Written instead where the cloud refuses the first. Neither occurs in a cluster id or a digest.
const FALLBACK_SEPARATOR: char = '_';

/// Key of the mark of a trail: trails carry no tags, so it lies on the project.
pub fn trail_key(trail: &str) -> String {
    format!("ramtrail-trail-{trail}")
}

/// Key of the mark of a log store on its project, where log stores cannot be tagged.
pub fn store_key(store: &str) -> String {
    format!("ramtrail-store-{store}")
}

/// How marks are written where they are written now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Spelling {
    /// `<cluster>/<digest>`.
    #[default]
    Slash,
    /// `<cluster>_<digest>`: the cloud refused the slash.
    Underscore,
}

impl Spelling {
    fn separator(self) -> char {
        match self {
            Self::Slash => SEPARATOR,
            Self::Underscore => FALLBACK_SEPARATOR,
        }
    }
}

/// One object of one cluster, as marks name it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Owner {
    cluster_id: String,
    digest: String,
    object: String,
}

impl Owner {
    /// The owner that the object `kind` `namespace`/`name` of this cluster is.
    pub fn new(cluster_id: &str, kind: &str, namespace: &str, name: &str) -> Self {
        let object = format!("{kind}/{namespace}/{name}");
        let mut digest = hex::encode(Sha256::digest(object.as_bytes()));
        digest.truncate(32);
        Self {
            cluster_id: cluster_id.to_owned(),
            digest,
            object,
        }
    }

    /// The mark that says: this is ours.
    pub fn mark(&self, spelling: Spelling) -> String {
        format!("{}{}{}", self.cluster_id, spelling.separator(), self.digest)
    }

    /// The mark that says: this was ours, and we let it go.
    pub fn released_mark(&self, spelling: Spelling) -> String {
        format!("{RELEASED}{}{}", spelling.separator(), self.mark(spelling))
    }

    /// The readable name, cut to what a tag holds.
    pub fn readable(&self, spelling: Spelling) -> String {
        let text = match spelling {
            Spelling::Slash => self.object.clone(),
            Spelling::Underscore => self.object.replace(SEPARATOR, "_"),
        };
        text.chars().take(VALUE_LIMIT).collect()
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The cluster that a well-formed mark names, released or not; `None` for any other text.
    pub fn cluster_of(mark: &str) -> Option<&str> {
        [SEPARATOR, FALLBACK_SEPARATOR].into_iter().find_map(|separator| {
            let mark = mark
                .strip_prefix(RELEASED)
                .and_then(|rest| rest.strip_prefix(separator))
                .unwrap_or(mark);
            let (cluster, digest) = mark.split_once(separator)?;
            let legal_cluster = (1..=40).contains(&cluster.len())
                && cluster
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            let legal_digest = digest.len() == 32
                && digest
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
            (legal_cluster && legal_digest).then_some(cluster)
        })
    }

    /// `Kind/namespace/name`, whole.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// How a mark of this owner is spelled; `None` for any other text.
    pub fn spelling_of(&self, found: &str) -> Option<Spelling> {
        [Spelling::Slash, Spelling::Underscore]
            .into_iter()
            .find(|spelling| found == self.mark(*spelling) || found == self.released_mark(*spelling))
    }

    /// What a mark found in the cloud means for this owner.
    pub fn judge(&self, found: Option<&str>) -> Mark {
        let Some(found) = found.filter(|value| !value.is_empty()) else {
            return Mark::Unowned;
        };
        for spelling in [Spelling::Slash, Spelling::Underscore] {
            if found == self.mark(spelling) {
                return Mark::Ours;
            }
            if found == self.released_mark(spelling) {
                return Mark::ReleasedByUs;
            }
        }
        Mark::Foreign(found.chars().take(VALUE_LIMIT).collect())
    }
}

/// What a mark found in the cloud means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mark {
    /// It names us.
    Ours,
    /// It says that we let the thing go: we may take it again.
    ReleasedByUs,
    /// There is none.
    Unowned,
    /// It names somebody else, or says that somebody else let it go: its text.
    Foreign(String),
}

impl Mark {
    /// Whether the mark names another owner.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_))
    }
}

/// How a foreign owner is named to a person: by its readable name where there is one, and by its mark.
pub fn describe_foreign(mark: &str, tags: &BTreeMap<String, String>) -> String {
    match tags.get(OBJECT_KEY).filter(|object| !object.is_empty()) {
        Some(object) => format!("{object} (mark {mark})"),
        None => format!("the owner with the mark {mark}"),
    }
}

/// How many tags too many there would be after setting `set` on what carries `found`.
pub fn tags_over_limit<'a>(
    found: &BTreeMap<String, String>,
    set: impl IntoIterator<Item = &'a str>,
) -> usize {
    let added = set.into_iter().filter(|key| !found.contains_key(*key)).count();
    (found.len() + added).saturating_sub(TAG_LIMIT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn owner() -> Owner {
        Owner::new("prod-1", "AuditProject", "audit", "ai-workload-audit-trail")
    }

    #[test]
    fn the_mark_is_the_cluster_and_the_published_digest() {
        assert_eq!(
            owner().mark(Spelling::Slash),
            "prod-1/4545a189ee6593d75ecddcfea991ebf3"
        );
        assert_eq!(
            owner().released_mark(Spelling::Slash),
            "released/prod-1/4545a189ee6593d75ecddcfea991ebf3"
        );
        assert_eq!(
            owner().mark(Spelling::Underscore),
            "prod-1_4545a189ee6593d75ecddcfea991ebf3"
        );
    }

    #[test]
    fn marks_are_recognised_in_both_spellings() {
        for spelling in [Spelling::Slash, Spelling::Underscore] {
            assert_eq!(owner().spelling_of(&owner().mark(spelling)), Some(spelling));
            assert_eq!(owner().judge(Some(&owner().mark(spelling))), Mark::Ours);
            assert_eq!(
                owner().judge(Some(&owner().released_mark(spelling))),
                Mark::ReleasedByUs
            );
        }
    }

    #[test]
    fn everyone_else_is_foreign() {
        let others = [
            Owner::new("prod-2", "AuditProject", "audit", "ai-workload-audit-trail"),
            Owner::new("prod-1", "AuditLogStore", "audit", "ai-workload-audit-trail"),
            Owner::new("prod-1", "AuditProject", "other", "ai-workload-audit-trail"),
        ];
        for other in others {
            for mark in [other.mark(Spelling::Slash), other.released_mark(Spelling::Slash)] {
                assert_eq!(owner().judge(Some(&mark)), Mark::Foreign(mark.clone()));
            }
        }
        assert!(
            owner()
                .judge(Some("prod-1/4545a189ee6593d75ecddcfea991ebf3\n"))
                .is_foreign()
        );
        assert!(owner().judge(Some("somebody")).is_foreign());
    }

    #[test]
    fn well_formed_marks_name_their_cluster() {
        for spelling in [Spelling::Slash, Spelling::Underscore] {
            assert_eq!(Owner::cluster_of(&owner().mark(spelling)), Some("prod-1"));
            assert_eq!(
                Owner::cluster_of(&owner().released_mark(spelling)),
                Some("prod-1")
            );
        }
        for text in [
            "",
            "a/b",
            "prod-1/4545a189ee6593d75ecddcfea991ebf",
            "P/4545a189ee6593d75ecddcfea991ebf3",
        ] {
            assert_eq!(Owner::cluster_of(text), None, "{text}");
        }
    }

    #[test]
    fn no_mark_and_an_empty_mark_are_nobodys() {
        assert_eq!(owner().judge(None), Mark::Unowned);
        assert_eq!(owner().judge(Some("")), Mark::Unowned);
    }

    #[test]
    fn marks_and_readable_names_fit_a_tag() {
        let long = Owner::new(
            &"c".repeat(40),
            "AuditLogStore",
            &"n".repeat(63),
            &"é".repeat(253),
        );
        assert!(long.released_mark(Spelling::Slash).chars().count() <= VALUE_LIMIT);
        assert_eq!(long.readable(Spelling::Slash).chars().count(), VALUE_LIMIT);
        assert_eq!(
            owner().readable(Spelling::Slash),
            "AuditProject/audit/ai-workload-audit-trail"
        );
        assert!(!owner().readable(Spelling::Underscore).contains('/'));
    }

    #[test]
    fn a_foreign_owner_is_named_by_its_readable_name_where_there_is_one() {
        let tags = BTreeMap::from([(OBJECT_KEY.to_owned(), "AuditProject/x/y".to_owned())]);
        assert_eq!(describe_foreign("a/b", &tags), "AuditProject/x/y (mark a/b)");
        assert_eq!(
            describe_foreign("a/b", &BTreeMap::new()),
            "the owner with the mark a/b"
        );
    }

    #[test]
    fn tags_are_counted_once_each() {
        let found: BTreeMap<String, String> = (0..18).map(|i| (format!("k{i}"), String::new())).collect();
        assert_eq!(tags_over_limit(&found, ["k1", "a", "b"]), 0);
        assert_eq!(tags_over_limit(&found, ["a", "b", "c"]), 1);
    }
}
