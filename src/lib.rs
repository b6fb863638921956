//! ramtrail: declares, enforces and proves audit trails for AI workloads on Alibaba Cloud.
//!
//! Map of the modules, from the outside in; nothing imports upwards:
//!
//! - [`api`]: the Kubernetes kinds, their conditions and reasons. Knows neither the cloud nor the controllers.
//! - [`aliyun`]: the cloud: signing, transport, retries, clients. Knows neither Kubernetes nor our kinds.
//! - `controllers`: one folder per kind; every pass is observe, plan, apply, report.
//! - `config`, `lease`, `telemetry`: the process around them.

pub mod aliyun;
pub mod api;
pub mod config;
pub mod controllers;
pub mod lease;
pub mod telemetry;
