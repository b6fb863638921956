//! Token buckets: how often an account may call an operation.

use std::collections::BTreeMap;

use jiff::Timestamp;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

/// Buckets by account and name.
#[derive(Debug, Default)]
pub struct Throttle {
    buckets: BTreeMap<(String, String), Bucket>,
}

impl Throttle {
    /// Takes one token of a bucket that holds `per_period` and fills up within `seconds`; false if empty.
    pub fn take(&mut self, account: &str, name: &str, per_period: u64, seconds: f64, now: Timestamp) -> bool {
        let capacity = f64::from(u32::try_from(per_period).unwrap_or(u32::MAX));
        let bucket = self
            .buckets
            .entry((account.to_owned(), name.to_owned()))
            .or_insert(Bucket {
                tokens: capacity,
                filled: now,
            });
        let passed = now.duration_since(bucket.filled).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed * capacity / seconds).min(capacity);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    /// Fills every bucket.
    pub fn clear(&mut self) {
        self.buckets.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_with_time() {
        let mut throttle = Throttle::default();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |millis| start + SignedDuration::from_millis(millis);
        let mut take = |millis| throttle.take("1", "x", 2, 1.0, at(millis));
        assert_eq!([take(0), take(0), take(0)], [true, true, false]);
        assert_eq!([take(500), take(500)], [true, false]);
        assert_eq!([take(5000), take(5000), take(5000)], [true, true, false]);
    }

    #[test]
    fn accounts_and_names_do_not_share() {
        let mut throttle = Throttle::default();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert!(throttle.take("1", "x", 1, 1.0, now));
        assert!(throttle.take("2", "x", 1, 1.0, now));
        assert!(throttle.take("1", "y", 1, 1.0, now));
        assert!(!throttle.take("1", "x", 1, 1.0, now));
    }
}
