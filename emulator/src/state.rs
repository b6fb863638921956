//! The world: everything that one lock guards.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::assumptions::Assumptions;
use crate::call::Tick;
use crate::config::{AccessKey, Config};
use crate::faults::Faults;
use crate::ids::Ids;
use crate::journal::Journal;
use crate::protection::Facts;
use crate::quota::Quotas;
use crate::ram::policy::SYSTEM_POLICIES;
use crate::ram::{self, Key, KeyOwner, PolicyKind, PolicyRef};
use crate::throttle::Throttle;
use crate::{actiontrail, log_service};

/// How long a nonce is remembered, and how far a clock may be off.
pub const SKEW: SignedDuration = SignedDuration::from_mins(15);

/// Everything the emulator holds.
#[derive(Debug)]
pub struct World {
    /// Identities and policies.
    pub ram: ram::State,
    /// Log Service.
    pub log: log_service::State,
    /// Trails, events, deliveries.
    pub trails: actiontrail::State,
    /// Every call.
    pub journal: Journal,
    /// Faults in force.
    pub faults: Faults,
    /// Rates.
    pub throttle: Throttle,
    /// Source of ids.
    pub ids: Ids,
    /// Chosen behaviours.
    pub assumptions: Assumptions,
    /// Limits.
    pub quotas: Quotas,
    nonces: BTreeMap<(String, String), Timestamp>,
    nonces_pruned: Timestamp,
}

impl World {
    /// A new world with the configured keys.
    pub fn new(config: &Config, now: Timestamp) -> Self {
        let mut world = Self {
            ram: ram::State::default(),
            log: log_service::State::default(),
            trails: actiontrail::State::default(),
            journal: Journal::default(),
            faults: Faults::default(),
            throttle: Throttle::default(),
            ids: Ids::new(config.seed),
            assumptions: config.assumptions.clone(),
            quotas: config.quotas.clone(),
            nonces: BTreeMap::new(),
            nonces_pruned: now,
        };
        world.seed_keys(config, now);
        world
    }

    /// Back to the beginning; journal numbers and ids go on, so that nothing is mistaken for an older thing.
    pub fn reset(&mut self, config: &Config, now: Timestamp) {
        self.ram = ram::State::default();
        self.log = log_service::State::default();
        self.trails = actiontrail::State::default();
        self.journal.clear();
        self.faults.remove(None);
        self.throttle.clear();
        self.nonces.clear();
        self.assumptions = config.assumptions.clone();
        self.quotas = config.quotas.clone();
        self.seed_keys(config, now);
    }

    fn seed_keys(&mut self, config: &Config, now: Timestamp) {
        for key in &config.access_keys {
            self.add_key(key, &[SYSTEM_POLICIES[0].0.to_owned()], now);
        }
    }

    /// Adds a key, and its user with the given system policies if it is a user's.
    pub fn add_key(&mut self, key: &AccessKey, policies: &[String], now: Timestamp) {
        // The account exists from now on, also with nothing in it.
        self.ram.account(&key.account);
        let owner = match &key.user {
            None => KeyOwner::Root,
            Some(name) => {
                self.ram.ensure_user(&key.account, name, now);
                let attached = policies.iter().map(|policy| {
                    let policy = PolicyRef {
                        kind: PolicyKind::System,
                        name: policy.clone(),
                    };
                    (policy, now)
                });
                if let Some(user) = self.ram.account(&key.account).users.get_mut(name) {
                    user.attached.extend(attached);
                }
                KeyOwner::User(name.clone())
            }
        };
        let stored = Key {
            secret: key.secret.clone(),
            account: key.account.clone(),
            owner,
            active: true,
            created: now,
        };
        self.ram.put_key(&key.id, stored);
    }

    /// Does everything that is due at `now`: deliveries in the order they are due, then background work.
    pub fn advance(&mut self, now: Timestamp) {
        self.trails
            .advance(&mut self.log, &self.ram, &self.assumptions, now);
        self.log.advance(&Tick {
            now,
            assumptions: &self.assumptions,
            ram: &self.ram,
        });
    }

    /// Remembers a nonce; false if it was seen within the skew window.
    pub fn take_nonce(&mut self, key: &str, nonce: &str, now: Timestamp) -> bool {
        // A nonce from before a jump backwards must be forgotten too, or it would never leave.
        let fresh = |seen: Timestamp| now.duration_since(seen).abs() < SKEW;
        if now.duration_since(self.nonces_pruned).abs() > SignedDuration::from_secs(10) {
            self.nonces.retain(|_, seen| fresh(*seen));
            self.nonces_pruned = now;
        }
        self.nonces
            .insert((key.to_owned(), nonce.to_owned()), now)
            .is_none_or(|seen| !fresh(seen))
    }

    /// What protects the audit of an account.
    pub fn facts(&self, account: &str) -> Facts {
        let mut facts = Facts::new();
        self.log.facts(account, &mut facts);
        self.trails.facts(account, &mut facts);
        facts
    }

    /// All managed settings of an account.
    pub fn summary(&self, account: &str) -> Value {
        json!({
            "account": account,
            "log": self.log.summary(account),
            "trails": self.trails.summary(account),
            "ram": self.ram.summary(account),
        })
    }
}
