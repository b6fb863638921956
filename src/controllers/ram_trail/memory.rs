//! What one process remembers of a trail between visits and polls. All of it may be lost at any moment.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

use super::delivery::{Channel, Verdict, Watch};
use super::model::{Attempt, Memory};
use super::plan::Finding;
use crate::aliyun::action_trail::Trail;

/// Events whose ids are remembered, so that one delivered twice asks for one visit.
const EVENTS: usize = 256;
/// How many times longer than it may take to show a step that did not help is left alone.
const PATIENCE: u32 = 60;

/// The memory of one trail.
#[derive(Debug, Default)]
pub struct TrailMemory {
    /// The newest look at the trail's settings.
    pub snapshot: Option<Snapshot>,
    /// When a visit last sent a change of the trail: older looks are not believed.
    pub changed: Option<Instant>,
    /// What is known of delivery.
    pub watch: Option<Watch>,
    /// What `GetTrailStatus` last said about it.
    pub channel: Option<Channel>,
    /// The newest verdict.
    pub verdict: Option<Verdict>,
    /// Why the trail's store cannot be searched, where a person must mend it.
    pub blind_because: Option<String>,
    /// Cloud time, in seconds, of the newest look that saw the copy job run as it should.
    pub job_seen: Option<i64>,
    /// The index of the trail's store should be looked at.
    pub index_suspect: bool,
    /// When the whole settings were sent because the store is gone.
    pub store_repair: Option<Instant>,
    /// Where the copy job that was sent last begins, in seconds, until the status says so.
    pub job_from: Option<i64>,
    /// This process has looked at the index of the trail's store.
    pub index_looked: bool,
    /// When a failed job was started.
    pub job_start: Option<Instant>,
    /// Into which store it was to copy then, by the time of its creation; nothing when it was not there.
    pub job_start_into: Option<String>,
    /// Since when the store of a trail that is on is missing, by the cloud's clock.
    pub store_missing_since: Option<Timestamp>,
    /// When a weakening was first seen that is not put right yet.
    pub tampered_at: Option<Instant>,
    /// Weakenings that are being put right and not told yet: something must become visible first.
    pub untold: Vec<Finding>,
    /// Time of the newest event that was seen in the trail's store.
    pub last_event: Option<Timestamp>,
    /// Visits in a row that ended with something still under way.
    pub unsettled: u32,
    events: VecDeque<String>,
}

/// A look at the trail's settings.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When the look began.
    pub at: Instant,
    /// The trail; `None` when it was not in the list.
    pub trail: Option<Trail>,
}

impl TrailMemory {
    /// The newest look, if it is young enough and no change of ours came after it began.
    pub fn fresh_snapshot(&self, age: Duration) -> Option<&Snapshot> {
        self.snapshot.as_ref().filter(|snapshot| {
            snapshot.at.elapsed() <= age && self.changed.is_none_or(|changed| changed < snapshot.at)
        })
    }

    /// Takes a look; tells whether it differs from the one before. Looks from before our own newest change say nothing.
    pub fn take_snapshot(&mut self, snapshot: Snapshot) -> bool {
        if self.changed.is_some_and(|changed| snapshot.at <= changed) {
            return false;
        }
        let differs = self
            .snapshot
            .as_ref()
            .is_some_and(|before| before.trail != snapshot.trail);
        self.snapshot = Some(snapshot);
        differs
    }

    /// The store into which events are copied is there, made at this time. A job that failed for want of it may be started
    /// again at once.
    pub fn copies_into(&mut self, target: Option<&str>) {
        if target.is_some() && target != self.job_start_into.as_deref() {
            self.job_start = None;
        }
    }

    /// What planning may know of it. `settle`: how long a step may take to show.
    pub fn for_planning(&self, settle: Duration, now: Timestamp, max_lag: Duration) -> Memory {
        let attempt = |since: Option<Instant>| match since.map(|since| since.elapsed()) {
            Some(elapsed) if elapsed < settle => Attempt::Waiting,
            Some(elapsed) if elapsed < settle * PATIENCE => Attempt::Failed,
            _ => Attempt::Open,
        };
        let overdue = |since: Timestamp| now.duration_since(since).unsigned_abs() > max_lag && now > since;
        Memory {
            store_repair: attempt(self.store_repair),
            job_start: attempt(self.job_start),
            job_seen: self.job_seen,
            store_overdue: self.store_missing_since.is_some_and(overdue),
        }
    }

    /// Notes an event; tells whether it is news.
    pub fn is_news(&mut self, id: &str) -> bool {
        if self.events.iter().any(|known| known == id) {
            return false;
        }
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(id.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn snapshot(status: &str) -> Snapshot {
        let trail = Trail {
            name: "t".to_owned(),
            status: Some(status.to_owned()),
            ..Trail::default()
        };
        Snapshot {
            at: Instant::now(),
            trail: Some(trail),
        }
    }

    #[test]
    fn a_look_that_differs_is_told_once_and_the_first_is_no_difference() {
        let mut memory = TrailMemory::default();
        assert!(!memory.take_snapshot(snapshot("Enable")));
        assert!(memory.take_snapshot(snapshot("Disable")));
        assert!(!memory.take_snapshot(snapshot("Disable")));
        assert!(memory.take_snapshot(Snapshot {
            at: Instant::now(),
            trail: None
        }));
    }

    #[test]
    fn looks_from_before_our_own_change_are_not_believed() {
        let mut memory = TrailMemory::default();
        let old = snapshot("Enable");
        memory.take_snapshot(old.clone());
        assert!(memory.fresh_snapshot(Duration::from_secs(60)).is_some());
        memory.changed = Some(Instant::now());
        assert!(memory.fresh_snapshot(Duration::from_secs(60)).is_none());
        assert!(!memory.take_snapshot(old));
    }

    #[test]
    fn an_event_is_news_once_and_the_memory_is_bounded() {
        let mut memory = TrailMemory::default();
        assert!(memory.is_news("a") && !memory.is_news("a"));
        for number in 0..1000 {
            memory.is_news(&number.to_string());
        }
        assert!(memory.events.len() <= EVENTS);
    }

    #[test]
    fn a_step_is_waited_for_then_given_up_then_open_again() {
        let mut memory = TrailMemory::default();
        let plan = |memory: &TrailMemory, settle| {
            memory
                .for_planning(settle, Timestamp::UNIX_EPOCH, Duration::from_secs(900))
                .store_repair
        };
        assert_eq!(plan(&memory, Duration::from_secs(9)), Attempt::Open);
        memory.store_repair = Some(Instant::now());
        assert_eq!(plan(&memory, Duration::from_secs(9)), Attempt::Waiting);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(plan(&memory, Duration::from_millis(10)), Attempt::Failed);
        assert_eq!(plan(&memory, Duration::from_nanos(1)), Attempt::Open);
    }

    #[test]
    fn a_job_that_failed_for_want_of_its_target_is_started_when_the_target_is_there() {
        let started = |into: Option<&str>| TrailMemory {
            job_start: Some(Instant::now()),
            job_start_into: into.map(str::to_owned),
            ..TrailMemory::default()
        };
        for (before, now, left_alone) in [
            (Some("monday"), Some("monday"), true),
            (Some("monday"), Some("tuesday"), false),
            (None, Some("tuesday"), false),
            (Some("monday"), None, true),
            (None, None, true),
        ] {
            let mut memory = started(before);
            memory.copies_into(now);
            assert_eq!(memory.job_start.is_some(), left_alone, "{before:?} {now:?}");
        }
    }

    #[test]
    fn a_missing_store_is_overdue_after_max_lag_by_the_clouds_clock() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let memory = TrailMemory {
            store_missing_since: Some(at(0)),
            ..TrailMemory::default()
        };
        let overdue = |now| {
            memory
                .for_planning(Duration::ZERO, at(now), Duration::from_secs(900))
                .store_overdue
        };
        assert!(!overdue(900) && overdue(901) && !overdue(-5000));
    }
}
