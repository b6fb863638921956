//! The controllers: what turns AuditProjects, AuditLogStores and RamTrails into calls to the cloud.
//!
//! Every visit to an object is observe, plan, apply, report. Observe and apply talk to the cloud; plan and report are pure.
//!
//! | module | owns |
//! |---|---|
//! | [`driver`] | the order of a visit, the same for all kinds |
//! | [`pass`] | what a kind may do during a visit |
//! | [`failure`] | what failures mean: conditions, messages, delays |
//! | [`cluster`] | watches, caches, and which change asks for which visit |
//! | [`access`] | credentials and whose they are |
//! | [`ownership`], [`acquisition`] | marks, and whether a thing in the cloud is ours |
//! | [`name_index`] | which object of the cluster holds a name |
//! | [`undeclared`] | what a definition that is older than the operator does not know |
//! | [`index_preset`] | the index of stores with ActionTrail events |
//! | [`audit_project`], [`audit_log_store`], [`ram_trail`] | the kinds |

pub mod access;
pub mod acquisition;
pub mod audit_log_store;
pub mod audit_project;

pub mod cluster;
pub mod context;
pub mod driver;
pub mod event;
pub mod failure;
pub mod index_preset;
pub mod marks;
pub mod memory;
#[cfg(test)]
mod model_tests;
pub mod name_index;
pub mod object;
pub mod ownership;
pub mod pass;
pub mod plan;
pub mod ram_trail;
pub mod undeclared;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aliyun::{CaBundle, Cloud, CloudOptions, PublishedRates, ReqwestSender, TransportOptions};
use crate::config::Settings;
use crate::lease::Leadership;
use crate::telemetry::Metrics;
use access::Gate;
use cluster::{Cluster, Inputs, Related, Scope, Unreadable};
use context::Context;
use driver::Kind;
use object::{KindName, ObjectId};

/// Why the controllers could not start, or ended unasked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The HTTP client cannot be built.
    #[error("cannot make the client for the cloud")]
    Transport(#[from] crate::aliyun::transport::BuildError),
    /// The authorities to trust cannot be had.
    #[error(transparent)]
    CloudCaFile(#[from] CloudCaFileError),
    /// A watch or a queue ended although nobody asked.
    #[error("a controller ended unasked: {0}")]
    Ended(String),
}

/// The file of `--cloud-ca-file` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "--cloud-ca-file {}: {problem}; name a readable file with the certificates of the authorities in PEM form, or leave the flag out",
    path.display()
)]
pub struct CloudCaFileError {
    path: PathBuf,
    problem: String,
}

/// Reads the authorities that are trusted for the cloud besides those of the system.
pub fn read_cloud_ca(path: &Path) -> Result<CaBundle, CloudCaFileError> {
    let refuse = |problem: String| CloudCaFileError {
        path: path.to_owned(),
        problem,
    };
    let text = std::fs::read(path).map_err(|error| refuse(format!("it cannot be read: {error}")))?;
    CaBundle::from_pem(&text).map_err(|error| refuse(error.to_string()))
}

/// Runs all controllers until `stop`, then lets visits under way reach their end.
pub async fn run(
    settings: Settings,
    client: Client,
    metrics: Metrics,
    leadership: Leadership,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let cloud = cloud(&settings, &metrics)?.writing_while({
        let leadership = leadership.clone();
        move || leadership.holds_for(context::MARGIN)
    });
    let (scopes, inputs): (Vec<_>, Vec<_>) = namespaces(&settings).into_iter().map(Scope::new).unzip();
    let cluster = Cluster::new(scopes.clone());
    let gate = Gate::new(client.clone(), cloud);
    let concurrency = usize::from(settings.concurrency.get());
    let ctx = Arc::new(Context::new(client, settings, metrics, cluster, gate, leadership));

    let mut tasks = JoinSet::new();
    let permits = [(); 3].map(|()| Arc::new(Semaphore::new(concurrency)));
    for (scope, inputs) in scopes.into_iter().zip(inputs) {
        let namespace = scope.namespace.as_deref();
        let [projects, log_stores, trails] = &permits;
        start(
            &mut tasks,
            &ctx,
            namespace,
            inputs.projects,
            scope.projects,
            projects,
            &stop,
        );
        start(
            &mut tasks,
            &ctx,
            namespace,
            inputs.log_stores,
            scope.log_stores,
            log_stores,
            &stop,
        );
        start(
            &mut tasks,
            &ctx,
            namespace,
            inputs.trails,
            scope.trails,
            trails,
            &stop,
        );
    }
    tasks.spawn(ram_trail::poll::run(Arc::clone(&ctx), stop.clone()));
    while let Some(ended) = tasks.join_next().await {
        if !stop.is_cancelled() {
            return Err(RunError::Ended(ended.map_or_else(
                |error| error.to_string(),
                |()| "no reason given".to_owned(),
            )));
        }
    }
    Ok(())
}

fn cloud(settings: &Settings, metrics: &Metrics) -> Result<Cloud, RunError> {
    let transport = TransportOptions {
        cloud_endpoint: settings.cloud_endpoint.clone(),
        extra_ca: settings.cloud_ca_file.as_deref().map(read_cloud_ca).transpose()?,
        ..TransportOptions::default()
    };
    let sender = ReqwestSender::new(transport)?;
    let mut options = CloudOptions::new(settings.cluster_id.clone());
    options.network = settings.network;
    options.rates = PublishedRates {
        log_management: f64::from(settings.log_service_rate.get()),
        ..PublishedRates::default()
    };
    Ok(Cloud::new(options, Arc::new(sender), Arc::new(metrics.clone())))
}

/// The namespaces to watch; one `None` for all.
fn namespaces(settings: &Settings) -> Vec<Option<String>> {
    if settings.watch_namespaces.is_empty() {
        return vec![None];
    }
    settings.watch_namespaces.iter().cloned().map(Some).collect()
}

/// Starts the watch and the visits of one kind in one namespace, or in all.
fn start<K: Kind>(
    tasks: &mut JoinSet<()>,
    ctx: &Arc<Context>,
    namespace: Option<&str>,
    inputs: Inputs<K>,
    store: Store<K>,
    permits: &Arc<Semaphore>,
    stop: &CancellationToken,
) {
    let Inputs {
        writer,
        listed,
        queue,
    } = inputs;
    start_watch(tasks, ctx, namespace, writer, listed, stop);
    start_visits(tasks, ctx, queue, store, permits, stop);
}

/// Starts the watch of one kind in one namespace, or in all.
fn start_watch<K: Related>(
    tasks: &mut JoinSet<()>,
    ctx: &Arc<Context>,
    namespace: Option<&str>,
    writer: Writer<K>,
    listed: CancellationToken,
    stop: &CancellationToken,
) {
    let api: Api<DeserializeGuard<K>> = match namespace {
        Some(namespace) => Api::namespaced(ctx.client.clone(), namespace),
        None => Api::all(ctx.client.clone()),
    };
    let events = watcher(api, watcher::Config::default()).default_backoff();
    let ctx = Arc::clone(ctx);
    let stop = stop.clone();
    tasks.spawn(async move {
        let gone = |uid: &str, id: &ObjectId| {
            ctx.memory.forget(uid);
            ctx.names.forget(uid);
            if id.kind == KindName::AuditProject {
                ctx.gate.forget_unused(ctx.cluster.projects());
            }
            ctx.metrics.forget(id.kind.into(), &id.namespace, &id.name);
        };
        let unreadable = |poison: Unreadable| {
            let (namespace, name) = (poison.reference.namespace.as_deref(), poison.reference.name.as_deref());
            tracing::error!(kind = %K::KIND, namespace, name, why = poison.why, "this object cannot be read");
            let teller = ctx.teller.clone();
            tokio::spawn(async move {
                let text = format!(
                    "This object cannot be read and is left alone, and so is what it stands for in the cloud: {}. Correct it or delete it",
                    poison.why
                );
                let note = event::Note::warning(event::UNREADABLE, "Watch", text);
                teller.tell(&poison.reference, &note).await;
            });
        };
        tokio::select! {
            () = cluster::watch(events, writer, listed, ctx.cluster.clone(), gone, unreadable) => {}
            () = stop.cancelled() => {}
        }
    });
}

/// Starts the visits of one kind in one namespace, or in all; `permits` bounds how many run at once over all of them.
fn start_visits<K: Kind>(
    tasks: &mut JoinSet<()>,
    ctx: &Arc<Context>,
    queue: UnboundedReceiver<ObjectRef<K>>,
    store: Store<K>,
    permits: &Arc<Semaphore>,
    stop: &CancellationToken,
) {
    let cluster = ctx.cluster.clone();
    let queue = futures::stream::once(async move { cluster.ready().await })
        .flat_map(move |()| futures::stream::empty())
        .chain(queue)
        .map(Ok::<ObjectRef<K>, Infallible>)
        .take_until(stop.clone().cancelled_owned());
    let permits = Arc::clone(permits);
    let visits = applier(
        move |object: Arc<K>, ctx: Arc<Context>| {
            let permits = Arc::clone(&permits);
            async move {
                // Nobody closes the semaphore.
                let _permit = permits.acquire().await.ok();
                driver::reconcile(object, ctx).await
            }
            .boxed()
        },
        |_: Arc<K>, _: &Infallible, _: Arc<Context>| Action::requeue(Duration::from_secs(1)),
        Arc::clone(ctx),
        store,
        queue,
        Config::default(),
    );
    tasks.spawn(visits.for_each(|end| {
        if let Err(error) = end {
            // An object that is gone when its turn comes.
            tracing::debug!(%error, "no visit");
        }
        std::future::ready(())
    }));
}
