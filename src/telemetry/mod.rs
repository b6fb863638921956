//! What the process tells about itself: log lines, metrics, health.
//!
//! Knows nothing of how objects are reconciled: controllers report to [`Metrics`], nothing here asks them.

pub mod http;
mod logging;
mod metrics;

pub use logging::init as init_logging;
pub use metrics::{Kind, Metrics, Outcome, TamperAction, TrailFigures};
