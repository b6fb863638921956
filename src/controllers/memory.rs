//! Owns what the process remembers of each object between visits. All of it may be lost at any moment: what must
//! survive a restart is in the status or in the cloud.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::acquisition;
use super::failure::Failure;

/// Events of one object within [`EVENT_WINDOW`] before further ones are only logged.
const EVENTS_PER_WINDOW: u32 = 20;
const EVENT_WINDOW: Duration = Duration::from_secs(600);

/// How long a create that was refused because the name is taken is not sent again, while nothing is shown under the name.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What is remembered of one object.
#[derive(Debug)]
pub struct ObjectMemory {
    /// Failed passes in a row.
    pub failures: u32,
    /// When the newest complete look at the cloud ended; at first, when the object was first seen.
    pub last_good: Instant,
    /// The version of the object that our newest write made: an older copy from the watch is not believed.
    pub written_version: Option<String>,
    /// Since when the cloud side of a deletion cannot be settled.
    pub unsettled: Option<Instant>,
    /// Since when the object's deletion is known.
    pub deletion_seen: Option<Instant>,
    /// When the claim was made, until it is confirmed.
    pub claimed_at: Option<Instant>,
    /// The create calls that may still take effect.
    pub doubt: Doubt,
    /// When a create call succeeded whose result has not been seen yet.
    pub created_at: Option<Instant>,
    /// When a create was refused because the name is taken, while no look shows anything under it.
    pub taken_at: Option<Instant>,
    /// Since when what the object holds has been missing, in every look.
    pub missing_since: Option<Instant>,
    /// The weakenings that were told and stay.
    pub tampers: Tampers,
    /// When a weakening was first found that is not put right yet.
    weakened_at: Option<Instant>,
    events: (Instant, u32),
    slot: Option<Box<dyn Any + Send>>,
}

impl ObjectMemory {
    fn new(now: Instant) -> Self {
        Self {
            failures: 0,
            last_good: now,
            written_version: None,
            unsettled: None,
            deletion_seen: None,
            claimed_at: None,
            doubt: Doubt::default(),
            created_at: None,
            taken_at: None,
            missing_since: None,
            tampers: Tampers::default(),
            weakened_at: None,
            events: (now, 0),
            slot: None,
        }
    }

    /// Whether one more event may be written now.
    pub fn may_tell(&mut self, now: Instant) -> bool {
        if now.duration_since(self.events.0) > EVENT_WINDOW {
            self.events = (now, 0);
        }
        self.events.1 += 1;
        self.events.1 <= EVENTS_PER_WINDOW
    }

    /// Whether a create was refused so recently, because the name is taken, that sending it once more is too early: what has
    /// the name, or had it a moment ago, may still be shown, or go.
    pub fn is_taken(&self, now: Instant) -> bool {
        self.taken_at
            .is_some_and(|at| now.saturating_duration_since(at) < ASK_AGAIN)
    }

    /// What the object holds is missing at `now`: since when, if it was missing in the look before too.
    pub fn gone_since(&mut self, now: Instant) -> Option<Instant> {
        let before = self.missing_since;
        self.missing_since.get_or_insert(now);
        before
    }

    /// A visit has ended at `now`. `weakened`: it found a weakening, `found`: when; `done`: every step was taken. Gives the time
    /// from first finding it to its repair, once that is complete.
    pub fn repaired_after(
        &mut self,
        weakened: bool,
        found: Instant,
        done: bool,
        now: Instant,
    ) -> Option<Duration> {
        let since = self.weakened_at.take();
        match (weakened, done) {
            (true, true) => Some(now.saturating_duration_since(since.unwrap_or(found))),
            (true, false) => {
                self.weakened_at = since.or(Some(found));
                None
            }
            (false, false) => {
                self.weakened_at = since;
                None
            }
            // Somebody else put it right.
            (false, true) => None,
        }
    }

    /// What a kind keeps here for itself.
    ///
    /// # Panics
    /// Never: the slot is filled with the type that is asked for.
    pub fn slot<T: Any + Default + Send>(&mut self) -> &mut T {
        if !self.slot.as_ref().is_some_and(|slot| slot.is::<T>()) {
            self.slot = Some(Box::new(T::default()));
        }
        self.slot
            .as_mut()
            .and_then(|slot| slot.downcast_mut())
            .expect("the slot was just filled with this type")
    }
}

/// Until when a create call of ours that was not answered with a refusal may have made something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doubt {
    since: Option<Instant>,
}

impl Doubt {
    /// A create call is about to be sent. `noted`: the status tells of one already, which this process need not know of.
    pub fn begin(&mut self, noted: bool, now: Instant) {
        self.since = noted.then(|| self.since.unwrap_or(now));
    }

    /// The create call failed. Tells whether nothing can come of it any more, nor of an earlier one under the same note:
    /// it was refused, and what the earlier ones may have made would have been made by now.
    pub fn is_settled_by(&mut self, failure: &Failure, now: Instant) -> bool {
        if !failure.is_definite() {
            if matches!(failure, Failure::Cloud { .. }) {
                self.since = Some(now);
            }
            return false;
        }
        let settled = self
            .since
            .is_none_or(|since| now.duration_since(since) > acquisition::LATER.unsigned_abs());
        if settled {
            self.since = None;
        }
        settled
    }
}

/// Weakenings that were told and are not put right.
#[derive(Debug, Default)]
pub struct Tampers {
    told: Option<BTreeSet<String>>,
    found: BTreeSet<String>,
}

impl Tampers {
    /// Whether a finding is to be told: it is put right, or was not told since it came up. `before` is the one that the
    /// status tells of, for a process that does not remember.
    pub fn is_news(&mut self, what: &str, repaired: bool, before: Option<String>) -> bool {
        let told = self.told.get_or_insert_with(|| before.into_iter().collect());
        if repaired {
            told.remove(what);
            self.found.remove(what);
            return true;
        }
        self.found.insert(what.to_owned());
        told.insert(what.to_owned())
    }

    /// A visit reached its end: what it did not find again may come up anew.
    pub fn visit_ended(&mut self) {
        let found = std::mem::take(&mut self.found);
        if let Some(told) = &mut self.told {
            told.retain(|what| found.contains(what));
        }
    }
}

/// The memory of all objects, by UID.
#[derive(Debug, Default)]
pub struct Memory {
    objects: Mutex<HashMap<String, Arc<Mutex<ObjectMemory>>>>,
}

impl Memory {
    /// What is remembered of an object.
    pub fn of(&self, uid: &str) -> Arc<Mutex<ObjectMemory>> {
        let mut objects = lock(&self.objects);
        if let Some(memory) = objects.get(uid) {
            return memory.clone();
        }
        let memory = Arc::new(Mutex::new(ObjectMemory::new(Instant::now())));
        objects.insert(uid.to_owned(), memory.clone());
        memory
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.objects).remove(uid);
    }

    /// How many objects are remembered.
    pub fn len(&self) -> usize {
        lock(&self.objects).len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Locks; what a panicking pass left in a memory is only ever a hint.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shortest bound of the delay after a failed pass.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Longest bound of the delay after a failed pass.
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// The delay after so many failures in a row: anywhere below a bound that doubles, so that many objects that failed
/// together do not come back together. Never longer than the resync, never below a tenth of the bound.
pub fn backoff(failures: u32, resync: Duration, fraction: f64) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let bound = doubled.min(LONGEST_DELAY).min(resync.max(FIRST_DELAY));
    bound.mul_f64(fraction.clamp(0.1, 1.0))
}

/// The pause until the next resync of an object: the interval, give or take a fifth, always the same for one object,
/// so that objects spread evenly and stay spread.
pub fn resync(interval: Duration, uid: &str) -> Duration {
    let mut hasher = std::hash::DefaultHasher::new();
    uid.hash(&mut hasher);
    interval.mul_f64(0.8 + 0.4 * unit(hasher.finish()))
}

/// A number from 0 to 1 that nobody can guess.
pub fn random_fraction() -> f64 {
    unit(RandomState::new().hash_one(Instant::now()))
}

fn unit(bits: u64) -> f64 {
    f64::from(u32::try_from(bits >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_bound_of_the_backoff_doubles_and_ends() {
        let resync = Duration::from_secs(600);
        let seconds = |failures| backoff(failures, resync, 1.0).as_secs();
        assert_eq!([1, 2, 3, 4, 40].map(seconds), [1, 2, 4, 8, 300]);
        assert_eq!(backoff(3, resync, 0.5), Duration::from_secs(2));
        assert_eq!(backoff(3, resync, 0.0), Duration::from_millis(400));
        assert_eq!(backoff(40, Duration::from_secs(5), 1.0), Duration::from_secs(5));
    }

    #[test]
    fn resyncs_spread_over_a_fifth_and_keep_their_place() {
        let interval = Duration::from_secs(300);
        let delays: Vec<_> = (0..200).map(|i| resync(interval, &format!("uid-{i}"))).collect();
        assert!(delays.iter().all(|d| (240..=360).contains(&d.as_secs())));
        let (min, max) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!(max.as_secs() - min.as_secs() > 90);
        assert_eq!(resync(interval, "uid-7"), delays[7]);
    }

    #[test]
    fn events_of_one_object_are_bounded_and_come_back() {
        let now = Instant::now();
        let mut memory = ObjectMemory::new(now);
        assert_eq!((0..50).filter(|_| memory.may_tell(now)).count(), 20);
        assert!(memory.may_tell(now + EVENT_WINDOW + Duration::from_secs(1)));
    }

    #[test]
    fn findings_that_stay_are_told_once_each() {
        let mut tampers = Tampers::default();
        let before = || Some("off".to_owned());
        // The status of the process before tells of one of them.
        assert!(!tampers.is_news("off", false, before()));
        assert!(tampers.is_news("narrowed", false, before()));
        tampers.visit_ended();
        for _ in 0..3 {
            assert!(!tampers.is_news("off", false, None) && !tampers.is_news("narrowed", false, None));
            tampers.visit_ended();
        }
        assert!(tampers.is_news("off", true, None), "put right");
        assert!(tampers.is_news("off", false, None), "and again");
        // "narrowed" is not found any more; when it comes back it is news.
        tampers.visit_ended();
        assert!(tampers.is_news("narrowed", false, None));
    }

    #[test]
    fn a_repair_is_timed_from_the_first_visit_that_found_the_weakening() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut memory = ObjectMemory::new(start);
        let mut visit = |weakened, found, done, now| {
            memory
                .repaired_after(weakened, at(found), done, at(now))
                .map(|time| time.as_secs())
        };
        assert_eq!(visit(false, 0, true, 1), None, "nothing was weakened");
        assert_eq!(
            visit(true, 2, true, 5),
            Some(3),
            "found and put right in one visit"
        );
        // Two visits fail, and one that could not even look.
        assert_eq!(visit(true, 10, false, 11), None);
        assert_eq!(visit(true, 20, false, 21), None);
        assert_eq!(visit(false, 30, false, 31), None);
        assert_eq!(visit(true, 80, true, 82), Some(72));
        // What was put right is not counted again, and what somebody else put right is not ours.
        assert_eq!(visit(true, 90, true, 91), Some(1));
        assert_eq!(visit(true, 100, false, 101), None);
        assert_eq!(visit(false, 110, true, 111), None);
        assert_eq!(visit(true, 200, true, 204), Some(4));
    }

    #[test]
    fn what_is_missing_once_is_not_gone() {
        let now = Instant::now();
        let mut memory = ObjectMemory::new(now);
        assert_eq!(memory.gone_since(now), None);
        assert_eq!(memory.gone_since(now + Duration::from_secs(9)), Some(now));
        memory.missing_since = None;
        assert_eq!(memory.gone_since(now), None);
    }

    #[test]
    fn a_slot_keeps_what_a_kind_puts_in() {
        let memory = Memory::default();
        *lock(&memory.of("a")).slot::<u32>() = 7;
        assert_eq!(*lock(&memory.of("a")).slot::<u32>(), 7);
        memory.forget("a");
        assert_eq!(*lock(&memory.of("a")).slot::<u32>(), 0);
    }
}
