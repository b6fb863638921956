//! ramtrail: declares, enforces and proves audit trails for AI workloads on Alibaba Cloud.
//!
//! Map of the modules, from the outside in; nothing imports upwards:
//!
//! - [`api`]: the Kubernetes kinds, their conditions and reasons. Knows neither the cloud nor the controllers.
//! - `aliyun`: the cloud: signing, transport, retries, clients. Knows neither Kubernetes nor our kinds.
//! - `controllers`: one folder per kind; every pass is observe, plan, apply, report.
//! - `config`, `lease`, `telemetry`: the process around them.

pub mod api;
// Becomes `pub mod aliyun;` with src/aliyun/mod.rs.
/// The cloud.
pub mod aliyun {
    pub mod credential;
    pub mod endpoint;
    pub mod error;
    pub mod operation;
    pub mod transport;
    pub mod user_agent;
    pub use endpoint::Network;
    pub use transport::CloudEndpoint;
    pub use user_agent::ClusterId;
}
pub mod config;
