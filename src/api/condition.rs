//! Conditions: their types, every reason they can give, and the pure rules by which a set of them changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// What the spec asks for holds.
pub const READY: &str = "Ready";
/// The last comparison found no difference, or repaired it.
pub const SYNCED: &str = "Synced";
/// A write is planned or awaited (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// A human must act (kstatus).
pub const STALLED: &str = "Stalled";
/// Nothing weakens the audit.
pub const PROTECTED: &str = "Protected";
/// The trail is switched on.
pub const LOGGING: &str = "Logging";
/// Events arrive.
pub const DELIVERING: &str = "Delivering";

/// Longest message that is written; the API server refuses conditions over 32,768 bytes, people stop reading far earlier.
pub const MAX_MESSAGE_BYTES: usize = 1024;

macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $konst:ident = $text:literal;)*) => {
        /// Reasons that conditions give, as constants: they are part of the API.
        pub mod reason {
            $($(#[doc = $meaning])+ pub const $konst: &str = $text;)*
            /// Every reason, sorted as declared; documentation and metrics take their closed set from here.
            pub const ALL: &[&str] = &[$($text),*];
            /// What each of [`ALL`] means, in one sentence or two; documentation is checked against it.
            pub const MEANINGS: &[&str] = &[$(concat!($($meaning),+)),*];
        }
    };
}

reasons! {
    /// First visit, nothing observed yet.
    PENDING = "Pending";
    /// What the spec asks for was observed.
    AVAILABLE = "Available";
    /// The last comparison found no difference.
    UP_TO_DATE = "UpToDate";
    /// The last comparison found differences and all were put right.
    REPAIRED = "Repaired";
    /// A creation is under way.
    CREATING = "Creating";
    /// A change is under way.
    UPDATING = "Updating";
    /// The object is being deleted.
    DELETING = "Deleting";
    /// Nothing is under way.
    IDLE = "Idle";
    /// Nobody has to act.
    NOT_STALLED = "NotStalled";
    /// Annotation `ramtrail.io/paused`.
    PAUSED = "Paused";
    /// Policy Observe: a difference was found and is listed in `status.plan`.
    PLAN_PENDING = "PlanPending";
    /// Policy Observe weakens the audit.
    OBSERVE_ONLY = "ObserveOnly";
    /// The cloud holds more than the spec asks for; nothing is reduced because of that.
    EXCEEDS_SPEC = "ExceedsSpec";
    /// The number of shards differs and this version does not converge it.
    SHARD_COUNT_DIFFERS = "ShardCountDiffers";
    /// A weakening from outside was found and is being put right, or could not be.
    TAMPERED = "Tampered";
    /// The newest good observation is older than three resyncs.
    OBSERVATION_STALE = "ObservationStale";
    /// The AuditProject that is referred to does not exist.
    PROJECT_NOT_FOUND = "ProjectNotFound";
    /// The AuditProject that is referred to is not Ready yet.
    WAITING_FOR_PROJECT = "WaitingForProject";
    /// The AuditLogStore that is referred to does not exist.
    LOG_STORE_NOT_FOUND = "LogStoreNotFound";
    /// The AuditLogStore that is referred to is not Ready yet.
    WAITING_FOR_LOG_STORE = "WaitingForLogStore";
    /// The AuditLogStore that is referred to lies in another project.
    REFERENCE_INVALID = "ReferenceInvalid";
    /// Another object holds the same thing and is being deleted.
    WAITING_FOR_OWNER = "WaitingForOwner";
    /// Another object in this cluster declares the same thing.
    DUPLICATE_OF = "DuplicateOf";
    /// It carries the mark of another owner.
    OWNED_BY_ANOTHER = "OwnedByAnother";
    /// It exists and the adoption policy forbids taking it over.
    ADOPTION_FORBIDDEN = "AdoptionForbidden";
    /// Taking it over would reduce what it protects.
    ADOPTION_WOULD_REDUCE = "AdoptionWouldReduce";
    /// The name is taken in another account or region.
    NAME_TAKEN = "NameTaken";
    /// No Secret, a Secret without the label, or keys missing.
    CREDENTIALS_NOT_FOUND = "CredentialsNotFound";
    /// The cloud refuses the credentials.
    CREDENTIALS_INVALID = "CredentialsInvalid";
    /// The credentials have expired.
    CREDENTIALS_EXPIRED = "CredentialsExpired";
    /// The operator's own identity may not be used in this namespace, for this project, or with this role.
    IDENTITY_NOT_ALLOWED = "IdentityNotAllowed";
    /// The credentials belong to another account than before, or than `spec.accountID`.
    ACCOUNT_CHANGED = "AccountChanged";
    /// A RAM permission is missing.
    DENIED = "Denied";
    /// The thing belongs to another account.
    FOREIGN = "Foreign";
    /// The cloud refuses a value of the spec.
    INVALID_SPEC = "InvalidSpec";
    /// A quota of the account is used up.
    QUOTA_EXCEEDED = "QuotaExceeded";
    /// More tags than Log Service allows.
    TAG_LIMIT_EXCEEDED = "TagLimitExceeded";
    /// The region has no such endpoint.
    UNKNOWN_REGION = "UnknownRegion";
    /// Too many calls; retried.
    THROTTLED = "Throttled";
    /// The cloud failed or could not be reached; retried.
    TRANSIENT = "Transient";
    /// The clocks differ by more than the cloud accepts.
    CLOCK_SKEW = "ClockSkew";
    /// Something exists but the cloud does not show it yet.
    AWAITING_VISIBILITY = "AwaitingVisibility";
    /// Nothing weakens the audit.
    PROTECTED = "Protected";
    /// `spec.logging` is Stopped.
    LOGGING_STOPPED = "LoggingStopped";
    /// `spec.events` is not All.
    EVENTS_NARROWED = "EventsNarrowed";
    /// The trail is switched on.
    LOGGING_ENABLED = "LoggingEnabled";
    /// The trail is switched off although the spec wants it on.
    LOGGING_OFF = "LoggingOff";
    /// No due call has arrived yet and none is late.
    AWAITING_FIRST_EVENT = "AwaitingFirstEvent";
    /// The newest call that this trail must record is in its store within the bound.
    EVENTS_ARRIVING = "EventsArriving";
    /// No call was due, and nothing speaks against delivery.
    QUIET = "Quiet";
    /// A call that this trail must have recorded is missing, seen twice.
    DELIVERY_BROKEN = "DeliveryBroken";
    /// Delivery cannot be judged now.
    NOT_OBSERVED = "NotObserved";
    /// The service-linked role of ActionTrail is missing and could not be made.
    SERVICE_LINKED_ROLE_MISSING = "ServiceLinkedRoleMissing";
    /// The store that ActionTrail makes has not appeared yet.
    WAITING_FOR_TRAIL_STORE = "WaitingForTrailStore";
    /// The copy job does not run.
    COPY_JOB_FAILED = "CopyJobFailed";
    /// The project still holds log stores and was left in the cloud.
    PROJECT_LEFT_NOT_EMPTY = "ProjectLeftNotEmpty";
    /// The cloud side was left as it is.
    LEFT_IN_CLOUD = "LeftInCloud";
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition as a visit states it; generation and time are added by [`merge`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement {
    /// One of the types of this module.
    pub type_: &'static str,
    /// Status.
    pub status: Status,
    /// One of [`reason::ALL`].
    pub reason: &'static str,
    /// For people: what is so, and what to do. Cut to [`MAX_MESSAGE_BYTES`].
    pub message: String,
}

impl Statement {
    /// A statement.
    pub fn new(
        type_: &'static str,
        status: Status,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            status,
            reason,
            message: message.into(),
        }
    }
}

/// Order in which conditions are listed, so that equal sets are equal lists.
const ORDER: [&str; 7] = [
    READY,
    SYNCED,
    RECONCILING,
    STALLED,
    PROTECTED,
    LOGGING,
    DELIVERING,
];

/// The conditions after a visit: statements replace conditions of their type, others stay, and the transition time moves only
/// when the status changes.
pub fn merge(
    old: &[Condition],
    statements: &[Statement],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut merged: Vec<Condition> = old
        .iter()
        .filter(|c| !statements.iter().any(|s| s.type_ == c.type_))
        .cloned()
        .collect();
    for statement in statements {
        let before = old.iter().find(|c| c.type_ == statement.type_);
        let unchanged = before.filter(|c| c.status == statement.status.as_str());
        merged.push(Condition {
            type_: statement.type_.to_owned(),
            status: statement.status.as_str().to_owned(),
            reason: statement.reason.to_owned(),
            message: clean(&statement.message),
            observed_generation: generation,
            last_transition_time: unchanged.map_or_else(|| Time(now), |c| c.last_transition_time.clone()),
        });
    }
    merged.sort_by_key(|c| ORDER.iter().position(|t| *t == c.type_).unwrap_or(ORDER.len()));
    merged
}

/// Whether two sets of conditions say the same, whatever their times.
pub fn same_apart_from_times(a: &[Condition], b: &[Condition]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            a.type_ == b.type_
                && a.status == b.status
                && a.reason == b.reason
                && a.message == b.message
                && a.observed_generation == b.observed_generation
        })
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether a condition is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == Status::True.as_str())
}

/// One line without control characters, cut to size on a character boundary.
fn clean(message: &str) -> String {
    let mut text: String = message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.len() > MAX_MESSAGE_BYTES {
        let mut end = MAX_MESSAGE_BYTES - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn transition_time_moves_only_when_the_status_changes() {
        let first = merge(
            &[],
            &[Statement::new(READY, Status::False, reason::CREATING, "a")],
            Some(1),
            at(10),
        );
        let same = merge(
            &first,
            &[Statement::new(READY, Status::False, reason::DENIED, "b")],
            Some(2),
            at(20),
        );
        assert_eq!(same[0].last_transition_time, Time(at(10)));
        assert_eq!(
            (same[0].reason.as_str(), same[0].message.as_str()),
            (reason::DENIED, "b")
        );
        let moved = merge(
            &same,
            &[Statement::new(READY, Status::True, reason::AVAILABLE, "c")],
            Some(2),
            at(30),
        );
        assert_eq!(moved[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn conditions_that_are_not_restated_stay() {
        let first = merge(
            &[],
            &[Statement::new(SYNCED, Status::True, reason::UP_TO_DATE, "")],
            Some(1),
            at(1),
        );
        let next = merge(
            &first,
            &[Statement::new(READY, Status::True, reason::AVAILABLE, "")],
            Some(1),
            at(2),
        );
        assert_eq!(
            next.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(),
            [READY, SYNCED]
        );
    }

    #[test]
    fn equal_statements_differ_in_times_only() {
        let a = merge(
            &[],
            &[Statement::new(READY, Status::True, reason::AVAILABLE, "m")],
            Some(1),
            at(1),
        );
        let b = merge(
            &[],
            &[Statement::new(READY, Status::True, reason::AVAILABLE, "m")],
            Some(1),
            at(2),
        );
        assert!(same_apart_from_times(&a, &b));
        let c = merge(
            &[],
            &[Statement::new(READY, Status::True, reason::AVAILABLE, "other")],
            Some(1),
            at(1),
        );
        assert!(!same_apart_from_times(&a, &c));
    }

    #[test]
    fn messages_stay_one_line_and_are_cut_on_a_character_boundary() {
        let long = format!("a\nb{}", "é".repeat(2000));
        let merged = merge(
            &[],
            &[Statement::new(READY, Status::True, reason::AVAILABLE, long)],
            None,
            at(1),
        );
        assert!(merged[0].message.len() <= MAX_MESSAGE_BYTES);
        assert!(merged[0].message.starts_with("a b") && merged[0].message.ends_with('…'));
    }

    #[test]
    fn every_reason_is_a_legal_condition_reason_and_stands_once() {
        for (index, reason) in reason::ALL.iter().enumerate() {
            assert!(
                reason.chars().all(|c| c.is_ascii_alphanumeric())
                    && reason.starts_with(|c: char| c.is_ascii_uppercase())
            );
            assert!(!reason::ALL[..index].contains(reason), "{reason} stands twice");
        }
    }
}
