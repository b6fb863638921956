//! Owns the cloud's time as far as we know it: our own clock plus, per service, what the `Date` headers
//! of its answers showed. Timers do not belong here; they are monotonic.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::operation::Service;

/// A `Date` header counts whole seconds and the way takes time: smaller differences are not followed,
/// so that cloud time does not jitter.
const DEAD_BAND: SignedDuration = SignedDuration::from_secs(2);

type OwnClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The corrected clock. Clones share what was learned.
#[derive(Clone)]
pub struct CloudClock {
    own: OwnClock,
    offsets: Arc<Mutex<Offsets>>,
}

#[derive(Debug, Default)]
struct Offsets {
    by_service: BTreeMap<Service, SignedDuration>,
    newest: SignedDuration,
}

impl Default for CloudClock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for CloudClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CloudClock")
            .field("offsets", &self.offsets)
            .finish_non_exhaustive()
    }
}

impl CloudClock {
    /// A clock that corrects `own`.
    pub fn new(own: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self {
            own: Arc::new(own),
            offsets: Arc::default(),
        }
    }

    /// Our own, uncorrected time.
    pub fn own_now(&self) -> Timestamp {
        (self.own)()
    }

    /// The time of one service, for signing calls to it. A service not heard from yet is assumed to
    /// agree with the one heard from last.
    pub fn now(&self, service: Service) -> Timestamp {
        let offset = {
            let offsets = self.lock();
            offsets
                .by_service
                .get(&service)
                .copied()
                .unwrap_or(offsets.newest)
        };
        shift(self.own_now(), offset)
    }

    /// The cloud's time by the service heard from last: what ages are measured by.
    pub fn cloud_now(&self) -> Timestamp {
        let offset = self.lock().newest;
        shift(self.own_now(), offset)
    }

    /// How far a service's clock is ahead of ours (negative: behind); `None` before its first answer.
    pub fn skew(&self, service: Service) -> Option<SignedDuration> {
        self.lock().by_service.get(&service).copied()
    }

    /// Takes the `Date` of an answer that was awaited between the two own times. Returns the new
    /// difference when it changed by more than a header's precision.
    pub fn learn(
        &self,
        service: Service,
        date: Timestamp,
        sent: Timestamp,
        received: Timestamp,
    ) -> Option<SignedDuration> {
        // The header was written at some point on the way, and cuts off its fraction of a second.
        let half_way = received.duration_since(sent) / 2;
        let middle = shift(sent, half_way);
        let measured = date.duration_since(middle) + SignedDuration::from_millis(500);
        let tolerance = DEAD_BAND + half_way.abs();
        let mut offsets = self.lock();
        let known = offsets.by_service.get(&service).copied();
        let before = known.unwrap_or_default();
        if known.is_some() && (measured - before).abs() <= tolerance {
            offsets.newest = before;
            return None;
        }
        let learned = if measured.abs() <= tolerance {
            SignedDuration::ZERO
        } else {
            measured
        };
        offsets.by_service.insert(service, learned);
        offsets.newest = learned;
        (known != Some(learned)).then_some(learned)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Offsets> {
        // Every update is a plain assignment: what a panicking thread left is whole.
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shift(time: Timestamp, offset: SignedDuration) -> Timestamp {
    time.checked_add(offset).unwrap_or(time)
}

/// The time in an HTTP `Date` header.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn clock() -> CloudClock {
        CloudClock::new(|| at("2026-01-02T03:00:00Z"))
    }

    #[test]
    fn http_dates_are_read_and_nonsense_is_not() {
        assert_eq!(
            parse_http_date("Tue, 05 Aug 2025 06:00:00 GMT"),
            Some(at("2025-08-05T06:00:00Z"))
        );
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn a_difference_is_learned_per_service() {
        let clock = clock();
        let now = clock.own_now();
        let ahead = clock
            .learn(Service::LogService, at("2026-01-02T04:00:00Z"), now, now)
            .unwrap();
        assert!((ahead.as_secs() - 3600).abs() <= 1);
        clock.learn(Service::ActionTrail, at("2026-01-02T03:00:00Z"), now, now);
        assert_eq!(clock.skew(Service::ActionTrail), Some(SignedDuration::ZERO));
        assert!(clock.now(Service::LogService) >= at("2026-01-02T04:00:00Z"));
        assert_eq!(clock.now(Service::ActionTrail), at("2026-01-02T03:00:00Z"));
        assert_eq!(clock.cloud_now(), at("2026-01-02T03:00:00Z"));
    }

    #[test]
    fn a_service_not_heard_from_follows_the_newest() {
        let clock = clock();
        let now = clock.own_now();
        clock.learn(Service::LogService, at("2026-01-02T02:00:00Z"), now, now);
        assert!(clock.now(Service::Ram) < at("2026-01-02T02:00:02Z"));
        assert_eq!(clock.skew(Service::Ram), None);
    }

    #[test]
    fn the_precision_of_a_header_is_not_followed() {
        let clock = clock();
        let now = clock.own_now();
        for second in [0, 1, 1, 0] {
            let date = now + SignedDuration::from_secs(second);
            clock.learn(Service::Sts, date, now, now);
            assert_eq!(clock.now(Service::Sts), now);
        }
    }

    #[test]
    fn a_slow_answer_widens_the_tolerance() {
        let clock = clock();
        let now = clock.own_now();
        let later = now + SignedDuration::from_secs(20);
        clock.learn(Service::Sts, now, now, later);
        assert_eq!(clock.skew(Service::Sts), Some(SignedDuration::ZERO));
    }

    #[test]
    fn a_jump_of_the_cloud_is_reported_once() {
        let clock = clock();
        let now = clock.own_now();
        let date = at("2026-01-03T03:00:00Z");
        assert!(clock.learn(Service::Ram, date, now, now).is_some());
        assert!(clock.learn(Service::Ram, date, now, now).is_none());
        assert!(clock.learn(Service::Ram, now, now, now).is_some());
        assert_eq!(clock.now(Service::Ram), now);
    }
}
