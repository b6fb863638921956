//! The emulator's clock: real time plus jumps. Everything that has a time takes it from here.

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};

/// Real time plus the sum of all jumps. Jumps may go backwards.
#[derive(Debug, Default)]
pub struct Clock {
    offset: Mutex<SignedDuration>,
}

impl Clock {
    /// The present time.
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + self.offset()
    }

    /// The sum of all jumps.
    pub fn offset(&self) -> SignedDuration {
        *self.offset.lock().expect("no holder of the clock panics")
    }

    /// Moves the clock by whole seconds.
    pub fn jump(&self, seconds: i64) {
        let mut offset = self.offset.lock().expect("no holder of the clock panics");
        *offset = offset.saturating_add(SignedDuration::from_secs(seconds));
    }

    /// Back to real time.
    pub fn reset(&self) {
        *self.offset.lock().expect("no holder of the clock panics") = SignedDuration::ZERO;
    }
}

/// RFC 1123 text of a `Date` header.
pub fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// `2021-04-06T02:16:24Z`.
pub fn iso_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_add_up_and_reset() {
        let clock = Clock::default();
        clock.jump(3600);
        clock.jump(-60);
        assert_eq!(clock.offset().as_secs(), 3540);
        assert!(clock.now() > Timestamp::now() + SignedDuration::from_secs(3500));
        clock.reset();
        assert_eq!(clock.offset(), SignedDuration::ZERO);
    }

    #[test]
    fn dates_have_the_services_forms() {
        let time: Timestamp = "2026-01-02T03:04:05.678Z".parse().expect("a timestamp");
        assert_eq!(http_date(time), "Fri, 02 Jan 2026 03:04:05 GMT");
        assert_eq!(iso_seconds(time), "2026-01-02T03:04:05Z");
    }
}
