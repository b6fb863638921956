//! Owns the one decision that is made once per thing in the cloud: whether it is ours, becomes ours, or stays another's.
//!
//! Pure. The order of the calls around it (pending create, create, mark, read back) is the kinds'.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::failure::Failure;
use super::object::Managed;
use super::ownership::{Mark, Owner};
use crate::api::condition::reason;
use crate::api::v1alpha1::{AdoptionPolicy, Claim, Origin, PendingCreate};

/// What was found under the name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// Creation time as the cloud says it.
    pub create_time: Option<String>,
    /// The points in time it may mean.
    pub create_times: Vec<Timestamp>,
    /// The mark on it.
    pub mark: Mark,
    /// The owner that a foreign mark names, for a person.
    pub foreign_owner: String,
}

/// What to do about ownership.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// There is nothing, and there was nothing of ours: create it.
    Create,
    /// There is nothing although there was something of ours: create it again, and say so.
    CreateAgain,
    /// It is ours, as the claim says.
    Keep,
    /// It becomes ours: write the mark where it is not ours yet, read it back, write the claim.
    Take(Origin),
    /// It is ours by the claim, but another cluster's mark is on it: protect it, do not fight over the mark.
    Contested,
}

/// How long before the noted time a creation time may lie: clocks differ.
const EARLIER: SignedDuration = SignedDuration::from_secs(120);
/// How long after the noted time a creation time may lie: the call may have been held up.
pub(super) const LATER: SignedDuration = SignedDuration::from_mins(15);

/// How long a noted time serves: an attempt this late is still answered within the window.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// Whether something that was found is what the noted create call made.
pub fn is_from(pending: &PendingCreate, account: &str, name: &str, create_times: &[Timestamp]) -> bool {
    let Ok(noted) = pending.cloud_time.parse::<Timestamp>() else {
        return false;
    };
    pending.account_id == account
        && pending.name == name
        && create_times.iter().any(|time| {
            let after = time.duration_since(noted);
            -EARLIER <= after && after <= LATER
        })
}

/// Whether the noted create call was sent so recently that the cloud may not show its result yet.
pub fn may_be_invisible(pending: &PendingCreate, now: Timestamp) -> bool {
    pending
        .cloud_time
        .parse::<Timestamp>()
        .is_ok_and(|noted| now.duration_since(noted).abs() <= EARLIER)
}

/// Whether the noted create call need not be noted again before it is sent once more: what it or the next attempt makes
/// lies within its window.
pub fn is_fresh(pending: &PendingCreate, now: Timestamp) -> bool {
    pending
        .cloud_time
        .parse::<Timestamp>()
        .is_ok_and(|noted| (SignedDuration::ZERO..=FRESH).contains(&now.duration_since(noted)))
}

/// What the object knows about its thing in the cloud.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Who we are.
    pub owner: &'a Owner,
    /// Account of the credentials.
    pub account: &'a str,
    /// Name in the cloud.
    pub name: &'a str,
    /// The claim in the status.
    pub claim: Option<&'a Claim>,
    /// The open create call in the status.
    pub pending: Option<&'a PendingCreate>,
    /// What the spec says about taking over.
    pub adoption: AdoptionPolicy,
}

/// Decides.
///
/// # Errors
/// Stalled, with both names, when it belongs to another or may not be taken over.
pub fn decide(known: &Known<'_>, found: Option<&Found>) -> Result<Decision, Failure> {
    let Known {
        owner,
        account,
        name,
        claim,
        pending,
        adoption,
    } = *known;
    let Some(found) = found else {
        return Ok(if claim.is_some() {
            Decision::CreateAgain
        } else {
            Decision::Create
        });
    };
    let made_by_us = pending.is_some_and(|pending| is_from(pending, account, name, &found.create_times));
    // Another creation time than the claim's is another thing under the same name.
    let claim = claim.filter(|claim| claim.create_time.is_none() || claim.create_time == found.create_time);
    if let Some(claim) = claim {
        return match &found.mark {
            Mark::Foreign(_) if claim.confirmed != Some(true) => Err(owned_by_another(owner, found)),
            Mark::Foreign(mark) if names_other_cluster(owner, mark) => Ok(Decision::Contested),
            Mark::Ours | Mark::ReleasedByUs | Mark::Unowned | Mark::Foreign(_) => Ok(Decision::Keep),
        };
    }
    match (&found.mark, adoption) {
        (Mark::Ours | Mark::Unowned, _) if made_by_us => Ok(Decision::Take(Origin::Created)),
        (Mark::Ours, _)
        | (Mark::ReleasedByUs | Mark::Unowned, AdoptionPolicy::IfUnowned)
        | (_, AdoptionPolicy::Always) => Ok(Decision::Take(Origin::Adopted)),
        (Mark::Foreign(_), _) => Err(owned_by_another(owner, found)),
        (Mark::ReleasedByUs | Mark::Unowned, AdoptionPolicy::Never) => Err(Failure::stalled(
            reason::ADOPTION_FORBIDDEN,
            format!(
                "{name} exists and spec.adoptionPolicy is Never, which manages only what this object created. Choose another name, or set \
                 spec.adoptionPolicy to IfUnowned to take it over"
            ),
        )),
    }
}

/// Whether a mark is a well-formed one of another cluster: two clusters never repair each other's marks.
fn names_other_cluster(owner: &Owner, mark: &str) -> bool {
    Owner::cluster_of(mark).is_some_and(|cluster| cluster != owner.cluster_id())
}

fn owned_by_another(owner: &Owner, found: &Found) -> Failure {
    Failure::stalled(
        reason::OWNED_BY_ANOTHER,
        format!(
            "It carries the mark of {}, and this object is {} of cluster {}. Choose another name, have the other owner release it, or set \
             spec.adoptionPolicy to Always to take it over",
            found.foreign_owner,
            owner.object(),
            owner.cluster_id()
        ),
    )
}

/// What a deletion may do to what was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Release {
    /// It is gone, or does not carry our mark: nothing is to be done.
    Nothing,
    /// Rewrite the mark: it stays and is free.
    Free,
    /// Delete it.
    Delete,
    /// It is wanted gone and may not be deleted by us: it stays, and is free.
    FreeInstead,
}

/// Whether to delete or to free: deleting needs a fresh mark that is ours, a claim of origin Created, and the creation
/// time of the claim.
pub fn release<K: Managed>(
    object: &K,
    claim: Option<&Claim>,
    found: Option<&Found>,
    delete: bool,
) -> Release {
    use super::object::Status;
    let Some(found) = found else {
        return Release::Nothing;
    };
    if found.mark.is_foreign() || found.mark == Mark::ReleasedByUs {
        return Release::Nothing;
    }
    if !delete {
        return if found.mark == Mark::Ours {
            Release::Free
        } else {
            Release::Nothing
        };
    }
    let pending = object.status().and_then(Status::pending_create);
    let created = match claim {
        Some(claim) => {
            claim.origin == Origin::Created
                && claim.create_time.is_some()
                && claim.create_time == found.create_time
        }
        // The create call's answer was lost and nobody came to write the claim.
        None => {
            pending.is_some_and(|p| is_from(p, &p.account_id, object.external_name(), &found.create_times))
        }
    };
    match (created, found.mark == Mark::Ours) {
        (true, true) => Release::Delete,
        (false, true) => Release::FreeInstead,
        // Without our mark it is left, even if we made it.
        (_, false) => Release::Nothing,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::controllers::ownership::Spelling;

    const NOTED: &str = "2026-01-01T00:00:00Z";

    fn owner() -> Owner {
        Owner::new("prod", "AuditProject", "n", "p")
    }

    fn pending() -> PendingCreate {
        PendingCreate {
            account_id: "1".into(),
            name: "p".into(),
            cloud_time: NOTED.into(),
        }
    }

    fn found(mark: Mark, second: i64) -> Found {
        let time = NOTED.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second);
        Found {
            create_time: Some(time.to_string()),
            create_times: vec![time],
            foreign_owner: "AuditProject/x/y (mark z)".into(),
            mark,
        }
    }

    fn claim(found: &Found, confirmed: bool) -> Claim {
        Claim {
            origin: Origin::Created,
            external_name: "p".into(),
            create_time: found.create_time.clone(),
            confirmed: confirmed.then_some(true),
        }
    }

    fn decide_with(
        claim: Option<&Claim>,
        pending: Option<&PendingCreate>,
        adoption: AdoptionPolicy,
        found: Option<&Found>,
    ) -> Result<Decision, &'static str> {
        let known = Known {
            owner: &owner(),
            account: "1",
            name: "p",
            claim,
            pending,
            adoption,
        };
        decide(&known, found).map_err(|failure| match failure {
            Failure::Stalled { reason, .. } => reason,
            other => panic!("{other}"),
        })
    }

    fn foreign() -> Mark {
        Mark::Foreign(Owner::new("other", "AuditProject", "n", "p").mark(Spelling::Slash))
    }

    #[test]
    fn what_is_missing_is_created_and_what_was_lost_is_created_again() {
        use AdoptionPolicy::IfUnowned;
        assert_eq!(decide_with(None, None, IfUnowned, None), Ok(Decision::Create));
        assert_eq!(
            decide_with(None, Some(&pending()), IfUnowned, None),
            Ok(Decision::Create)
        );
        let claim = claim(&found(Mark::Ours, 0), true);
        assert_eq!(
            decide_with(Some(&claim), None, IfUnowned, None),
            Ok(Decision::CreateAgain)
        );
    }

    #[test]
    fn the_noted_create_is_recognised_within_its_window_only() {
        use AdoptionPolicy::Never;
        for (second, ours) in [(-121, false), (-120, true), (0, true), (900, true), (901, false)] {
            let decision = decide_with(None, Some(&pending()), Never, Some(&found(Mark::Unowned, second)));
            let expected = if ours {
                Ok(Decision::Take(Origin::Created))
            } else {
                Err(reason::ADOPTION_FORBIDDEN)
            };
            assert_eq!(decision, expected, "{second}");
        }
        let mut other_account = pending();
        other_account.account_id = "2".into();
        assert_eq!(
            decide_with(None, Some(&other_account), Never, Some(&found(Mark::Unowned, 0))),
            Err(reason::ADOPTION_FORBIDDEN)
        );
    }

    #[test]
    fn any_of_the_times_that_a_creation_time_may_mean_is_enough() {
        let mut found = found(Mark::Unowned, 8 * 3600);
        let noted = NOTED.parse::<Timestamp>().unwrap();
        found.create_times.push(noted);
        assert_eq!(
            decide_with(None, Some(&pending()), AdoptionPolicy::Never, Some(&found)),
            Ok(Decision::Take(Origin::Created))
        );
    }

    #[test]
    fn the_adoption_matrix() {
        use AdoptionPolicy::{Always, IfUnowned, Never};
        let take = Ok(Decision::Take(Origin::Adopted));
        let table = [
            (Mark::Unowned, IfUnowned, take.clone()),
            (Mark::Unowned, Always, take.clone()),
            (Mark::Unowned, Never, Err(reason::ADOPTION_FORBIDDEN)),
            (Mark::ReleasedByUs, IfUnowned, take.clone()),
            (Mark::ReleasedByUs, Always, take.clone()),
            (Mark::ReleasedByUs, Never, Err(reason::ADOPTION_FORBIDDEN)),
            (Mark::Ours, IfUnowned, take.clone()),
            (Mark::Ours, Always, take.clone()),
            (Mark::Ours, Never, take.clone()),
            (foreign(), IfUnowned, Err(reason::OWNED_BY_ANOTHER)),
            (foreign(), Never, Err(reason::OWNED_BY_ANOTHER)),
            (foreign(), Always, take),
        ];
        for (mark, adoption, expected) in table {
            assert_eq!(
                decide_with(None, None, adoption, Some(&found(mark.clone(), 0))),
                expected,
                "{mark:?} {adoption:?}"
            );
        }
    }

    #[test]
    fn a_foreign_mark_wins_over_a_create_of_ours() {
        assert_eq!(
            decide_with(
                None,
                Some(&pending()),
                AdoptionPolicy::IfUnowned,
                Some(&found(foreign(), 0))
            ),
            Err(reason::OWNED_BY_ANOTHER)
        );
    }

    #[test]
    fn a_foreign_mark_wins_until_the_claim_is_confirmed_and_is_tampering_afterwards() {
        let found = found(foreign(), 0);
        let policy = AdoptionPolicy::IfUnowned;
        assert_eq!(
            decide_with(Some(&claim(&found, false)), None, policy, Some(&found)),
            Err(reason::OWNED_BY_ANOTHER)
        );
        assert_eq!(
            decide_with(Some(&claim(&found, true)), None, policy, Some(&found)),
            Ok(Decision::Contested)
        );
    }

    #[test]
    fn after_acquisition_a_lost_or_scribbled_mark_is_no_loss_of_ownership() {
        for mark in [
            Mark::Unowned,
            Mark::ReleasedByUs,
            Mark::Ours,
            Mark::Foreign("scribble".into()),
        ] {
            let found = found(mark, 0);
            let claim = claim(&found, true);
            assert_eq!(
                decide_with(Some(&claim), None, AdoptionPolicy::Never, Some(&found)),
                Ok(Decision::Keep)
            );
        }
    }

    #[test]
    fn another_creation_time_is_another_thing() {
        let old = claim(&found(Mark::Ours, 0), true);
        let remade = found(Mark::Unowned, 10_000);
        assert_eq!(
            decide_with(Some(&old), None, AdoptionPolicy::IfUnowned, Some(&remade)),
            Ok(Decision::Take(Origin::Adopted))
        );
        assert_eq!(
            decide_with(Some(&old), None, AdoptionPolicy::Never, Some(&remade)),
            Err(reason::ADOPTION_FORBIDDEN)
        );
    }

    #[test]
    fn another_owner_is_named_together_with_us() {
        let known = Known {
            owner: &owner(),
            account: "1",
            name: "p",
            claim: None,
            pending: None,
            adoption: AdoptionPolicy::IfUnowned,
        };
        let text = decide(&known, Some(&found(foreign(), 0)))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("AuditProject/x/y (mark z)") && text.contains("AuditProject/n/p of cluster prod"),
            "{text}"
        );
    }

    #[test]
    fn deleting_needs_a_fresh_mark_the_origin_and_the_creation_time() {
        let object: crate::api::v1alpha1::AuditProject = serde_json::from_value(serde_json::json!({
            "apiVersion": "ramtrail.io/v1alpha1", "kind": "AuditProject", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"region": "cn-hangzhou"},
        }))
        .unwrap();
        let ours = found(Mark::Ours, 0);
        let created = claim(&ours, true);
        let mut adopted = created.clone();
        adopted.origin = Origin::Adopted;
        let mut other_time = created.clone();
        other_time.create_time = Some("other".into());
        let with =
            |claim: Option<&Claim>, found: Option<&Found>, delete| release(&object, claim, found, delete);
        assert_eq!(with(Some(&created), Some(&ours), true), Release::Delete);
        assert_eq!(with(Some(&adopted), Some(&ours), true), Release::FreeInstead);
        assert_eq!(with(Some(&other_time), Some(&ours), true), Release::FreeInstead);
        assert_eq!(with(None, Some(&ours), true), Release::FreeInstead);
        for mark in [Mark::Unowned, Mark::ReleasedByUs, foreign()] {
            let found = Found { mark, ..ours.clone() };
            assert_eq!(with(Some(&created), Some(&found), true), Release::Nothing);
            assert_eq!(with(Some(&created), Some(&found), false), Release::Nothing);
        }
        assert_eq!(with(Some(&created), Some(&ours), false), Release::Free);
        assert_eq!(with(Some(&created), None, true), Release::Nothing);
    }
}
