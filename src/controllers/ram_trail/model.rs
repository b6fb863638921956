//! What a trail should be and what was seen of it, as plain values: the language between observing, planning and reporting.
//!
//! No I/O and no decisions here. Values come checked from the edges: inner code asks no spec and no answer again.

use std::collections::BTreeSet;

use crate::api::v1alpha1::{
    AdoptionPolicy, AppliedCopy, AppliedTrail, Claim, EventSelection, Logging, PendingCreate,
};
use crate::controllers::ownership::{Mark, Owner};

use super::copy_script::Filter;

/// Value of `TrailRegion` with which a trail records every region.
pub const ALL_REGIONS: &str = "All";
/// Prefix of the store that ActionTrail makes for a trail, and of nothing else.
pub const TRAIL_STORE_PREFIX: &str = "actiontrail_";
/// Name of the role through which ActionTrail delivers, as RAM knows it.
pub const SERVICE_LINKED_ROLE: &str = "AliyunServiceRoleForActionTrail";
/// Days with which ActionTrail makes its stores; Log Service keeps such logs for ever.
pub const PERMANENT_DAYS: i32 = 3650;

/// The store into which ActionTrail delivers a trail.
pub fn trail_store(trail_name: &str) -> String {
    format!("{TRAIL_STORE_PREFIX}{trail_name}")
}

/// ARN of the service-linked role in an account, in the casing of ActionTrail's own messages.
pub fn service_linked_role_arn(account_id: &str) -> String {
    format!(
        "acs:ram::{account_id}:role/{}",
        SERVICE_LINKED_ROLE.to_lowercase()
    )
}

/// What the spec, the project and the store together ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Name of the trail.
    pub trail_name: String,
    /// Account of the trail.
    pub account_id: String,
    /// Region of the project: where the trail is at home.
    pub region: String,
    /// `acs:log:<region>:<account>:project/<project>`.
    pub project_arn: String,
    /// Who we are.
    pub owner: Owner,
    /// Switched on or off.
    pub logging: Logging,
    /// Which events.
    pub events: EventSelection,
    /// Retention of the trail's store in days; `None`: left as found.
    pub retention_days: Option<i32>,
    /// The copy, when there should be one and it is known where to.
    pub copy: Option<WantedCopy>,
    /// Why the copy cannot be looked after now, although the spec asks for one: it is left as it is.
    pub copy_blocked: Option<CopyBlocked>,
    /// What to do with a trail that is there already.
    pub adoption: AdoptionPolicy,
}

/// What keeps the copy from being looked after.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CopyBlocked {
    /// What it is.
    pub obstacle: Obstacle,
    /// Whether a person must act.
    pub stalls: bool,
}

/// Something that keeps the trail from being whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obstacle {
    /// Reason of the condition.
    pub reason: &'static str,
    /// For people: what is so, and what to do.
    pub message: String,
    /// Whether its end asks for a visit by itself, so that nobody need look whether it is over.
    pub announces_its_end: bool,
}

impl Obstacle {
    /// An obstacle.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            announces_its_end: false,
        }
    }

    /// An obstacle in another object of the cluster: when that changes, the trail is visited.
    pub fn in_cluster(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            announces_its_end: true,
            ..Self::new(reason, message)
        }
    }
}

/// The copy job as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WantedCopy {
    /// Name of the job.
    pub job_name: String,
    /// Store from which it reads.
    pub source: String,
    /// Project of both stores.
    pub project: String,
    /// Store into which it writes.
    pub log_store: String,
    /// Host of Log Service in the project's region.
    pub endpoint: String,
    /// Services whose events it passes, lower case.
    pub services: BTreeSet<String>,
    /// Role of the job.
    pub role_arn: String,
    /// Description with our owner in it.
    pub description: String,
}

/// What earlier visits left in the status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// The claim.
    pub claim: Option<Claim>,
    /// A create whose outcome is open.
    pub pending: Option<PendingCreate>,
    /// What was converged.
    pub applied: Option<AppliedTrail>,
    /// Whether the trail's store was there before.
    pub store_seen: bool,
    /// The cloud's time, in seconds.
    pub now: i64,
    /// What this process remembers.
    pub memory: Memory,
}

/// What one process remembers about a trail between visits, so that steps that did not help are not repeated in a hurry.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    /// Sending the whole settings because the store is gone.
    pub store_repair: Attempt,
    /// Starting a job that had failed.
    pub job_start: Attempt,
    /// Cloud time, in seconds, of the newest look that saw the copy job run as it should.
    pub job_seen: Option<i64>,
    /// The store of a trail that is on has not appeared for longer than a delivery may take.
    pub store_overdue: bool,
}

/// A step that may not help.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Attempt {
    /// Not made, or so long ago that it may be made again.
    #[default]
    Open,
    /// Made, and it may still show.
    Waiting,
    /// Made, and it did not help.
    Failed,
}

/// What was seen in the cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The mark on the project.
    pub mark: Mark,
    /// The trail; `None` when it is proved not to exist.
    pub trail: Option<Trail>,
    /// The delivery role.
    pub role: Role,
    /// The trail's store.
    pub store: Store,
    /// The index of the trail's store.
    pub index: Index,
    /// The copy job.
    pub job: Job,
}

/// A trail as found.
#[derive(Clone, Debug, PartialEq)]
pub struct Trail {
    /// Region in which it was created.
    pub home_region: String,
    /// Resource name.
    pub arn: String,
    /// Creation time as told by the cloud.
    pub create_time: String,
    /// Whether it records.
    pub on: bool,
    /// Which events; `None` for a value that is not known.
    pub events: Option<EventSelection>,
    /// Which regions: `All`, or region ids.
    pub trail_region: String,
    /// Log Service destination; empty when there is none.
    pub project_arn: String,
    /// Role that writes to Log Service; empty when none is told.
    pub write_role_arn: String,
    /// Destinations that are not ours to decide: sent back as they are.
    pub others: OtherDestinations,
    /// Whether it is an organization's.
    pub organization: bool,
}

/// Destinations besides Log Service, echoed in every update.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OtherDestinations {
    /// OSS bucket.
    pub oss_bucket: Option<String>,
    /// Prefix of its objects.
    pub oss_prefix: Option<String>,
    /// Role that writes to it.
    pub oss_role_arn: Option<String>,
    /// MaxCompute project.
    pub max_compute_project_arn: Option<String>,
    /// Role that writes to it.
    pub max_compute_role_arn: Option<String>,
}

/// The delivery role as far as it was looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Nobody had a reason to look.
    NotLooked,
    /// It is there.
    Present,
    /// It is missing.
    Missing,
}

/// The trail's store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Store {
    /// Nobody had a reason to look.
    NotLooked,
    /// It is not there.
    Missing,
    /// It is there.
    Present {
        /// Retention in days, if it is told.
        days: Option<i32>,
        /// Creation time in seconds; 0 when not told.
        created: i64,
    },
}

/// The index of the trail's store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Index {
    /// Nobody had a reason to look.
    NotLooked,
    /// Events can be found by it.
    Fine,
    /// Events can be found by it in full text; its key `event` has another type than ramtrail gives it, and is not known to have
    /// had that one.
    OtherType,
    /// The type of its key `event` was changed since it was last seen whole.
    Retyped,
    /// There is none.
    Missing,
    /// It cannot find events: full text or `event` is not in it.
    Incomplete,
}

impl Index {
    /// Whether nothing speaks against it.
    pub fn is_fine(self) -> bool {
        matches!(self, Self::NotLooked | Self::Fine | Self::OtherType)
    }
}

/// The copy job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Job {
    /// Nobody had a reason to look.
    NotLooked,
    /// It is not there.
    Missing,
    /// It is there.
    Present(JobFound),
}

/// A copy job as found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JobFound {
    /// Description.
    pub description: String,
    /// Whether it runs.
    pub state: JobState,
    /// Store from which it reads.
    pub source: String,
    /// Role that reads.
    pub role_arn: String,
    /// What its script lets through.
    pub filter: Filter,
    /// Language of the script.
    pub lang: String,
    /// From when it reads, in seconds.
    pub from_time: i64,
    /// Until when it reads, in seconds; 0 for ever.
    pub to_time: i64,
    /// Where it writes.
    pub sinks: Vec<Sink>,
}

/// Where a copy job writes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sink {
    /// Name within the job.
    pub name: String,
    /// Project.
    pub project: String,
    /// Store.
    pub log_store: String,
    /// Host of Log Service.
    pub endpoint: String,
    /// Role that writes.
    pub role_arn: String,
    /// Datasets.
    pub datasets: Vec<String>,
}

/// State of a job, from the words of Log Service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JobState {
    /// It runs, or is about to.
    Running,
    /// It stands still and can be started.
    Stopped,
    /// It ended by an error.
    Failed,
}

/// Whether a job that begins at `from` leaves out events: it begins in the future, or later than where we let it begin
/// (`applied`) and than it was last seen at work (`seen`). All in seconds by the cloud's clock.
pub fn skips(from: i64, applied: Option<i64>, seen: Option<i64>, now: i64) -> bool {
    let moved = applied.is_some_and(|applied| from > applied);
    from > now || (moved && seen.is_none_or(|seen| from > seen))
}

impl JobState {
    /// From the word that Log Service uses. A word that is not known counts as running: nothing is done because of it.
    pub fn from_word(word: &str) -> Self {
        match word.to_ascii_uppercase().as_str() {
            "STOPPED" | "STOPPING" | "SUCCEEDED" => Self::Stopped,
            "FAILED" => Self::Failed,
            _ => Self::Running,
        }
    }
}

impl Wanted {
    /// What `status.applied` says once all of this holds.
    pub fn as_applied(&self) -> AppliedTrail {
        AppliedTrail {
            logging: Some(self.logging),
            events: Some(self.events),
            store_retention_days: self.retention_days,
            copy: self.copy.as_ref().map(|copy| AppliedCopy {
                log_store_name: copy.log_store.clone(),
                services: copy.services.iter().cloned().collect(),
                role_arn: copy.role_arn.clone(),
                from_time: None,
            }),
            index_types: Vec::new(),
        }
    }
}

/// The word of ActionTrail for a selection of events.
pub fn event_rw(events: EventSelection) -> &'static str {
    match events {
        EventSelection::All => "All",
        EventSelection::Write => "Write",
        EventSelection::Read => "Read",
    }
}

/// The selection that a word of ActionTrail means.
pub fn parse_event_rw(word: &str) -> Option<EventSelection> {
    [EventSelection::All, EventSelection::Write, EventSelection::Read]
        .into_iter()
        .find(|events| word.eq_ignore_ascii_case(event_rw(*events)))
}
