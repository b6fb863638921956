//! Owns how fast calls go out: at most half of each published rate per account, one fifth for
//! LookupEvents, with a lane of its own for calls that protect an audit trail, so that a crowd of
//! ordinary calls never delays switching a trail back on.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, RateLimiter};
use tokio::time::Instant;

use super::operation::Quota;

/// Which share of a rate a call may use.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Lane {
    /// Everything ordinary.
    #[default]
    Normal,
    /// Calls that restore what protects the audit: these use the reserved share, then the ordinary one.
    Protective,
}

/// The published rates, per account and second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PublishedRates {
    /// Log Service's management calls. No figure is published: 10, to be set by a flag.
    pub log_management: f64,
    /// ActionTrail's writes on trails: 5.
    pub action_trail_write: f64,
    /// ActionTrail's reads of trails: 100.
    pub action_trail_read: f64,
    /// LookupEvents: 10, on older pages 2. The smaller one, since shares are taken of it.
    pub lookup_events: f64,
    /// RAM. No figure is published; throttling is reported often.
    pub ram: f64,
    /// ResourceManager. No figure is published.
    pub resource_manager: f64,
    /// STS. No figure is published.
    pub sts: f64,
}

impl Default for PublishedRates {
    fn default() -> Self {
        Self {
            log_management: 10.0,
            action_trail_write: 5.0,
            action_trail_read: 100.0,
            lookup_events: 2.0,
            ram: 10.0,
            resource_manager: 10.0,
            sts: 20.0,
        }
    }
}

impl PublishedRates {
    /// What we take of it, in calls per second; `None` where nothing is limited here.
    fn ours(&self, quota: Quota) -> Option<f64> {
        Some(match quota {
            Quota::LogManagement => self.log_management / 2.0,
            Quota::LogData => return None,
            Quota::ActionTrailWrite => self.action_trail_write / 2.0,
            Quota::ActionTrailRead => self.action_trail_read / 2.0,
            Quota::LookupEvents => self.lookup_events / 5.0,
            Quota::Ram => self.ram / 2.0,
            Quota::ResourceManager => self.resource_manager / 2.0,
            Quota::Sts => self.sts / 2.0,
        })
    }
}

/// Part of our rate that only protective calls may use.
const RESERVED_SHARE: f64 = 0.2;

/// Accounts whose idle limiters are kept before the unused ones are forgotten.
const KEPT: usize = 4096;

/// The rates of all accounts. Clones share them.
#[derive(Clone, Debug)]
pub struct Budget {
    rates: PublishedRates,
    lanes: Arc<Mutex<LanesByScope>>,
}

/// By account or key, and API.
type LanesByScope = HashMap<(String, Quota), Arc<Lanes>>;

#[derive(Debug)]
struct Lanes {
    normal: DefaultDirectRateLimiter,
    reserved: DefaultDirectRateLimiter,
}

/// The deadline lies before the next free share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoBudget;

impl Budget {
    /// Budgets out of the published rates.
    pub fn new(rates: PublishedRates) -> Self {
        Self {
            rates,
            lanes: Arc::default(),
        }
    }

    /// Waits for a share of the rate of `scope` (an account, or a key whose account is not known yet),
    /// at most until `deadline`. Returns how long it waited.
    pub async fn acquire(
        &self,
        scope: &str,
        quota: Quota,
        lane: Lane,
        deadline: Instant,
    ) -> Result<Duration, NoBudget> {
        let Some(lanes) = self.lanes(scope, quota) else {
            return Ok(Duration::ZERO);
        };
        let start = Instant::now();
        loop {
            let Some(wait) = lanes.try_take(lane) else {
                return Ok(start.elapsed());
            };
            if Instant::now() + wait > deadline {
                return Err(NoBudget);
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn lanes(&self, scope: &str, quota: Quota) -> Option<Arc<Lanes>> {
        let rate = self.rates.ours(quota)?;
        let mut all = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.retain(|_, lanes| Arc::strong_count(lanes) > 1);
        }
        let lanes = all.entry((scope.to_owned(), quota)).or_insert_with(|| {
            Arc::new(Lanes {
                normal: limiter(rate * (1.0 - RESERVED_SHARE)),
                reserved: limiter(rate * RESERVED_SHARE),
            })
        });
        Some(Arc::clone(lanes))
    }
}

impl Lanes {
    /// Takes a share, or says how long until there may be one.
    fn try_take(&self, lane: Lane) -> Option<Duration> {
        let take = |limiter: &DefaultDirectRateLimiter| {
            limiter
                .check()
                .err()
                .map(|later| later.wait_time_from(DefaultClock::default().now()))
        };
        let reserved = match lane {
            Lane::Normal => None,
            Lane::Protective => Some(take(&self.reserved)?),
        };
        let normal = take(&self.normal)?;
        Some(reserved.map_or(normal, |reserved| reserved.min(normal)))
    }
}

/// A limiter that lets the calls of one second go at once. Our rate is half of the published one, so that
/// even such a burst, followed by a second's refill, stays within what is published.
fn limiter(per_second: f64) -> DefaultDirectRateLimiter {
    let per_second = if per_second.is_finite() {
        per_second.clamp(0.01, 10_000.0)
    } else {
        0.01
    };
    // In 1..=10000 by the clamp.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let burst = NonZeroU32::new(per_second.floor() as u32).unwrap_or(NonZeroU32::MIN);
    let period = Duration::from_secs_f64(1.0 / per_second);
    let quota = governor::Quota::with_period(period).expect("the period is at least 0.1 ms");
    RateLimiter::direct(quota.allow_burst(burst))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn soon() -> Instant {
        Instant::now()
    }

    async fn taken_at_once(budget: &Budget, scope: &str, quota: Quota, lane: Lane) -> usize {
        let mut taken = 0;
        while taken < 1000 && budget.acquire(scope, quota, lane, soon()).await.is_ok() {
            taken += 1;
        }
        taken
    }

    #[test]
    fn ours_is_half_of_the_published_rate() {
        let rates = PublishedRates::default();
        let table = [
            (Quota::LogManagement, 5.0),
            (Quota::ActionTrailWrite, 2.5),
            (Quota::ActionTrailRead, 50.0),
            (Quota::Ram, 5.0),
            (Quota::Sts, 10.0),
        ];
        for (quota, expected) in table {
            let ours = rates.ours(quota).unwrap();
            assert!((ours - expected).abs() < 1e-9, "{quota:?}");
        }
    }

    #[tokio::test]
    async fn protective_calls_go_out_when_ordinary_ones_used_their_share() {
        let budget = Budget::new(PublishedRates {
            log_management: 0.2,
            ..PublishedRates::default()
        });
        assert_eq!(
            taken_at_once(&budget, "1", Quota::LogManagement, Lane::Normal).await,
            1
        );
        assert!(
            budget
                .acquire("1", Quota::LogManagement, Lane::Normal, soon())
                .await
                .is_err()
        );
        assert!(
            budget
                .acquire("1", Quota::LogManagement, Lane::Protective, soon())
                .await
                .is_ok()
        );
        assert!(
            budget
                .acquire("1", Quota::LogManagement, Lane::Protective, soon())
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn accounts_do_not_share_a_rate() {
        let budget = Budget::new(PublishedRates {
            sts: 0.2,
            ..PublishedRates::default()
        });
        for scope in ["1", "2"] {
            assert!(
                budget
                    .acquire(scope, Quota::Sts, Lane::Normal, soon())
                    .await
                    .is_ok()
            );
            assert!(
                budget
                    .acquire(scope, Quota::Sts, Lane::Normal, soon())
                    .await
                    .is_err()
            );
        }
    }

    #[tokio::test]
    async fn waiting_ends_with_a_share() {
        let budget = Budget::new(PublishedRates {
            ram: 50.0,
            ..PublishedRates::default()
        });
        let far = Instant::now() + Duration::from_secs(600);
        taken_at_once(&budget, "1", Quota::Ram, Lane::Normal).await;
        let waited = budget.acquire("1", Quota::Ram, Lane::Normal, far).await.unwrap();
        assert!(waited > Duration::ZERO);
    }

    #[tokio::test]
    async fn log_data_is_left_to_the_cloud_to_limit() {
        let budget = Budget::new(PublishedRates::default());
        assert_eq!(
            taken_at_once(&budget, "1", Quota::LogData, Lane::Normal).await,
            1000
        );
    }

    #[test]
    fn lookups_take_a_fifth_of_the_smaller_published_rate() {
        let ours = PublishedRates::default().ours(Quota::LookupEvents).unwrap();
        assert!((ours - 0.4).abs() < 1e-9);
    }
}
