//! The cloud side: signing, sending and reading calls to Log Service, ActionTrail, RAM, STS and
//! ResourceManager of Alibaba Cloud.
//!
//! It knows nothing of Kubernetes or of our resources. It makes one call when asked for one, says exactly
//! what came back and what a failure means, and never decides what should be called.
//!
//! Start at [`Cloud`], which everything of a process shares, and [`Cloud::clients`], which gives one typed
//! client per service for a credential and a region:
//!
//! | service | client | API |
//! |---|---|---|
//! | Simple Log Service | [`log_service::LogService`] | REST, SLS4-HMAC-SHA256 |
//! | ActionTrail | [`action_trail::ActionTrail`] | RPC 2020-07-06, ACS3-HMAC-SHA256 |
//! | RAM | [`ram::Ram`] | RPC 2015-05-01 |
//! | ResourceManager | [`resource_manager::ResourceManager`] | RPC 2020-03-31 |
//! | STS | [`sts::Sts`] | RPC 2015-04-01 |
//!
//! Every method returns [`CallResult`]: the value with its [`CallInfo`], or an [`Error`] that
//! [`Error::classify`] sorts into a [`Class`].

pub mod action_trail;
pub mod budget;
pub mod clock;
mod cloud;
pub mod credential;
pub mod endpoint;
pub mod error;
pub mod log_service;
pub mod observer;
pub mod operation;
pub mod ram;
pub mod resource_manager;
pub mod retry;
mod rpc;
pub mod sign;
pub mod sts;
mod tolerant;
pub mod transport;
pub mod user_agent;

pub use budget::{Lane, PublishedRates};
pub use clock::CloudClock;
pub use cloud::{Cloud, CloudClients, CloudOptions};
pub use credential::{Credential, CredentialError, CredentialSource, StaticCredentials};
pub use endpoint::{JobName, LogStoreName, NameError, Network, ProjectName, Region};
pub use error::{Answer, ApiError, CallInfo, CallResult, Class, Error, ErrorKind};
pub use observer::{Attempt, CallObserver, NoObserver};
pub use operation::{Effect, Operation, Permission, Quota, Service};
pub use retry::RetryPolicy;
pub use transport::{
    CaBundle, CaBundleError, CloudEndpoint, HttpRequest, HttpResponse, HttpSend, ReqwestSender,
    TransportError, TransportFailure, TransportOptions,
};
pub use user_agent::ClusterId;
