//! Owns what a process shares over all its calls, and puts the clients together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::action_trail::ActionTrail;
use super::budget::{Budget, Lane, PublishedRates};
use super::clock::CloudClock;
use super::credential::CredentialSource;
use super::endpoint::{Network, Region};
use super::log_service::LogService;
use super::observer::CallObserver;
use super::ram::Ram;
use super::resource_manager::ResourceManager;
use super::retry::{Caller, RetryPolicy, Shared, WritePermit};
use super::sts::Sts;
use super::transport::HttpSend;
use super::user_agent::ClusterId;

/// What is the same for all calls of a process.
#[derive(Clone, Debug)]
pub struct CloudOptions {
    /// Goes into every User-Agent.
    pub cluster_id: ClusterId,
    /// Which endpoints are called.
    pub network: Network,
    /// How often and how long calls are tried.
    pub retry: RetryPolicy,
    /// The rates of which our shares are taken.
    pub rates: PublishedRates,
}

impl CloudOptions {
    /// Public endpoints, default retries and rates.
    pub fn new(cluster_id: ClusterId) -> Self {
        Self {
            cluster_id,
            network: Network::default(),
            retry: RetryPolicy::default(),
            rates: PublishedRates::default(),
        }
    }
}

/// The way to the cloud: transport, clock, budgets. Cheap to clone; clones share all of it.
#[derive(Clone)]
pub struct Cloud {
    shared: Arc<Shared>,
    permit: Option<WritePermit>,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Cloud")
            .field("cluster_id", &self.shared.cluster_id)
            .field("network", &self.shared.network)
            .field("sender", &self.shared.sender)
            .finish_non_exhaustive()
    }
}

impl Cloud {
    /// A way to the cloud with our own clock and the system's randomness.
    pub fn new(options: CloudOptions, sender: Arc<dyn HttpSend>, observer: Arc<dyn CallObserver>) -> Self {
        Self::with_clock(options, sender, observer, CloudClock::default())
    }

    /// As [`Cloud::new`], with a clock of the caller's.
    pub fn with_clock(
        options: CloudOptions,
        sender: Arc<dyn HttpSend>,
        observer: Arc<dyn CallObserver>,
        clock: CloudClock,
    ) -> Self {
        let CloudOptions {
            cluster_id,
            network,
            retry,
            rates,
        } = options;
        let shared = Shared {
            sender,
            observer,
            clock,
            budget: Budget::new(rates),
            network,
            cluster_id,
            retry,
            random: system_randomness(),
        };
        Self {
            shared: Arc::new(shared),
            permit: None,
        }
    }

    /// The same way, on which writes leave only while `permit` says so: it is asked right before each attempt is sent.
    #[must_use]
    pub fn writing_while(mut self, permit: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.permit = Some(Arc::new(permit));
        self
    }

    /// Clients that sign with these keys and call this region's endpoints. Nothing is sent.
    pub fn clients(&self, credentials: Arc<dyn CredentialSource>, region: &Region) -> CloudClients {
        let caller = Caller::new(Arc::clone(&self.shared), credentials, region.clone());
        CloudClients::over(caller.with_permit(self.permit.clone()))
    }

    /// The corrected clock.
    pub fn clock(&self) -> &CloudClock {
        &self.shared.clock
    }
}

/// One client per service, for one credential and region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CloudClients {
    caller: Caller,
    /// Simple Log Service.
    pub log_service: LogService,
    /// ActionTrail.
    pub action_trail: ActionTrail,
    /// RAM.
    pub ram: Ram,
    /// ResourceManager.
    pub resource_manager: ResourceManager,
    /// STS.
    pub sts: Sts,
}

impl CloudClients {
    fn over(caller: Caller) -> Self {
        Self {
            log_service: LogService::new(caller.clone()),
            action_trail: ActionTrail::new(caller.clone()),
            ram: Ram::new(caller.clone()),
            resource_manager: ResourceManager::new(caller.clone()),
            sts: Sts::new(caller.clone()),
            caller,
        }
    }

    /// The same clients once the account behind the keys is known: budgets are shared by all keys of the
    /// account from then on, and permissions in messages name it.
    #[must_use]
    pub fn with_account(&self, account_id: &str) -> Self {
        Self::over(self.caller.clone().with_account(account_id))
    }

    /// The same clients for calls that restore what protects the audit: they have a reserved rate.
    #[must_use]
    pub fn protective(&self) -> Self {
        Self::over(self.caller.clone().with_lane(Lane::Protective))
    }

    /// The same clients with another time limit per call: waiting, attempts and delays together.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self::over(self.caller.clone().with_timeout(timeout))
    }

    /// The region whose endpoints are called.
    pub fn region(&self) -> &Region {
        self.caller.region()
    }

    /// The cloud's time, by the service heard from last.
    pub fn cloud_now(&self) -> Timestamp {
        self.caller.clock().cloud_now()
    }
}

/// The operating system's randomness, as the TLS provider reads it.
fn system_randomness() -> super::retry::Randomness {
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(move |buffer: &mut [u8]| {
        provider
            .secure_random
            .fill(buffer)
            .expect("the operating system gives random bytes");
    })
}
