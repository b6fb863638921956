//! `/healthz`, `/readyz` and `/metrics` over plain HTTP.
//!
//! Healthy: the process answers. A leader that loses its lease ends by itself, nobody has to notice that from outside.
//! Ready: it has reached the API server and found the CustomResourceDefinitions; a process that waits for the lease is ready
//! too, or an update could never roll.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::Metrics;

/// What the process is doing, as `/readyz` tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Reaching the API server, or waiting for the CustomResourceDefinitions.
    Starting,
    /// Another process holds the lease.
    Standby,
    /// Controllers run.
    Working,
    /// Work under way is being finished.
    Stopping,
}

impl Phase {
    fn is_ready(self) -> bool {
        matches!(self, Self::Standby | Self::Working)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Working => "working",
            Self::Stopping => "stopping",
        }
    }
}

/// Shared between the process and its HTTP server.
#[derive(Clone, Debug)]
pub struct Health {
    state: Arc<Mutex<(Phase, String)>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            state: Arc::new(Mutex::new((Phase::Starting, String::new()))),
        }
    }
}

impl Health {
    /// Says what the process is doing, with a detail for a person; never a secret.
    pub fn set(&self, phase: Phase, detail: impl Into<String>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (phase, detail.into());
    }

    fn get(&self) -> (Phase, String) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Clone)]
struct Shared {
    health: Health,
    metrics: Metrics,
}

/// Answers until `stop` is done.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(Shared { health, metrics });
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let (phase, detail) = shared.health.get();
    let status = if phase.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let separator = if detail.is_empty() { "" } else { ": " };
    (status, format!("{}{separator}{detail}\n", phase.as_str())).into_response()
}

async fn exposition(State(shared): State<Shared>) -> Response {
    match shared.metrics.encode() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
