//! The process: arguments, logging, clients, lease, signals. What it does with objects is in `ramtrail::controllers`.

mod pace;
mod patience;
mod selftest;
mod startup;

use std::future::{Future, pending};
use std::io::Write as _;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{CommandFactory as _, Parser as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use ramtrail::api;
use ramtrail::config::{Cli, Command, CrdsArgs, RunArgs, Settings};
use ramtrail::controllers::{self, RunError};
use ramtrail::lease::{Candidate, Leadership, unique_identity};
use ramtrail::telemetry::http::{self, Health, Phase};
use ramtrail::telemetry::{Metrics, init_logging};

fn main() -> ExitCode {
    // Both HTTP clients of the process take the provider from here; without one they panic.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("ramtrail: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let result = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Selftest(args) => match selftest::run(&args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Crds(args) => print_crds(&args),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ramtrail", &mut std::io::stdout());
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ramtrail: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_crds(args: &CrdsArgs) -> anyhow::Result<()> {
    let manifests = api::manifests().context("cannot write the CustomResourceDefinitions as YAML")?;
    let Some(folder) = &args.out_dir else {
        let mut out = std::io::stdout().lock();
        for (_, text) in manifests {
            match out.write_all(text.as_bytes()) {
                // `| head` is no failure.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
                other => other.context("cannot write to the standard output")?,
            }
        }
        return Ok(());
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (file, text) in manifests {
        write_if_changed(&folder.join(file), &text)?;
    }
    Ok(())
}

/// Leaves the time of files that are right already, for tools that look at it.
fn write_if_changed(path: &Path, text: &str) -> anyhow::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn run(args: &RunArgs) -> anyhow::Result<()> {
    args.check()?;
    // The leader reads it again; a mistake in it should not wait until then.
    if let Some(path) = &args.cloud_ca_file {
        controllers::read_cloud_ca(path)?;
    }
    init_logging(args.log_format, &args.log_level).map_err(|error| anyhow!(error))?;
    // The work is waiting for others; two threads are plenty and keep the memory small.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(operate(args));
    // Whatever still runs has lost its right to: nothing is waited for.
    runtime.shutdown_background();
    if let Err(error) = &result {
        tracing::error!(error = format!("{error:#}"), "ending");
    }
    result
}

async fn operate(args: &RunArgs) -> anyhow::Result<()> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ramtrail starts");
    let stop = CancellationToken::new();
    watch_signals(stop.clone())?;

    let health = Health::default();
    let metrics = Metrics::new();
    let listener = TcpListener::bind(args.http_listen)
        .await
        .with_context(|| format!("cannot listen on {} (--http-listen)", args.http_listen))?;
    // With port 0 nobody could know otherwise.
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "probes and metrics are served");
    }
    // Probes are answered until the very end, also while work under way is being finished.
    let server_stop = CancellationToken::new();
    let _stops_server = server_stop.clone().drop_guard();
    tokio::spawn(http::serve(
        listener,
        health.clone(),
        metrics.clone(),
        server_stop.cancelled_owned(),
    ));

    let client = startup::client().await?;
    let settings = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        settings = startup::prepare(args, &client, &health) => settings?,
    };
    tracing::info!(
        cluster_id = %settings.cluster_id,
        namespace = settings.namespace,
        identity_namespaces = ?settings.identity_namespaces,
        identity_projects = ?settings.identity_projects,
        identity_roles = ?settings.identity_roles,
        watch_namespaces = ?settings.watch_namespaces,
        network = %settings.network,
        cloud_endpoint = settings.cloud_endpoint.as_ref().map(tracing::field::display),
        "settings"
    );

    if !args.leader_elect {
        return Box::pin(lead(args, settings, client, &health, metrics, None, stop)).await;
    }
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "ramtrail".to_owned());
    let mut candidate = Candidate::new(
        client.clone(),
        &settings.namespace,
        args.lease(),
        unique_identity(&host),
    );
    health.set(
        Phase::Standby,
        format!("waiting for the lease {}", args.lease_name),
    );
    let acquired = tokio::select! {
        () = stop.cancelled() => false,
        () = candidate.acquire() => true,
    };
    if acquired {
        return Box::pin(lead(
            args,
            settings,
            client,
            &health,
            metrics,
            Some(candidate),
            stop,
        ))
        .await;
    }
    release(&mut candidate).await;
    Ok(())
}

/// Runs the controllers until the process is told to stop, or may not lead any longer.
async fn lead(
    args: &RunArgs,
    settings: Settings,
    client: kube::Client,
    health: &Health,
    metrics: Metrics,
    mut candidate: Option<Candidate>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let leadership = candidate
        .as_ref()
        .map_or_else(Leadership::unlimited, Candidate::leadership);
    metrics.set_leader(true);
    health.set(Phase::Working, "");
    let work = CancellationToken::new();
    let ended = {
        let controllers = controllers::run(settings, client, metrics.clone(), leadership, work.clone());
        let lost = async {
            match &mut candidate {
                Some(candidate) => candidate.hold().await,
                None => pending().await,
            }
        };
        let overdue = drained_too_late(&stop, &work, health, args.shutdown_timeout);
        until_nothing_runs(controllers, lost, overdue, &work).await
    };
    metrics.set_leader(false);
    // A lease that was lost, or under which something may still run, is not given back: it runs out by itself. Visits run
    // on when a controller breaks off.
    ended?;
    if let Some(candidate) = &mut candidate {
        release(candidate).await;
    }
    if stop.is_cancelled() {
        tracing::info!("ramtrail ends");
        Ok(())
    } else {
        Err(anyhow!("the controllers ended although nobody asked them to"))
    }
}

/// Waits for the controllers. Only when this is well nothing runs under the lease any more.
async fn until_nothing_runs<L: std::fmt::Display>(
    controllers: impl Future<Output = Result<(), RunError>>,
    lost: impl Future<Output = L>,
    overdue: impl Future<Output = ()>,
    work: &CancellationToken,
) -> anyhow::Result<()> {
    let (controllers, lost, overdue) = (pin!(controllers), pin!(lost), pin!(overdue));
    tokio::select! {
        biased;
        lost = lost => {
            work.cancel();
            Err(anyhow!("{lost}").context("leadership is lost; another process may work now"))
        }
        () = overdue => Err(anyhow!("work under way did not end within its time (--shutdown-timeout)")),
        result = controllers => result.context("the controllers failed"),
    }
}

/// Passes the wish to stop on to the controllers, and returns when they have had their time.
async fn drained_too_late(
    stop: &CancellationToken,
    work: &CancellationToken,
    health: &Health,
    allowed: Duration,
) {
    stop.cancelled().await;
    health.set(Phase::Stopping, "finishing work under way");
    work.cancel();
    tokio::time::sleep(allowed).await;
}

async fn release(candidate: &mut Candidate) {
    let released = bounded(Duration::from_secs(5), candidate.release()).await;
    match released {
        Some(Ok(())) => tracing::info!("the lease is released"),
        Some(Err(error)) => tracing::warn!(%error, "the lease was not released; it runs out by itself"),
        None => tracing::warn!("the lease was not released in time; it runs out by itself"),
    }
}

async fn bounded<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}

/// Cancels `stop` at the first SIGTERM or SIGINT; a second one ends the process at once.
fn watch_signals(stop: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping; a second signal ends at once");
        stop.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("second signal: ending at once");
        std::process::exit(130);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What keeps the lease from being given back, if anything does.
    async fn outcome(
        controllers: impl Future<Output = Result<(), RunError>>,
        lost: impl Future<Output = &'static str>,
        overdue: impl Future<Output = ()>,
    ) -> (Option<String>, bool) {
        let work = CancellationToken::new();
        let ended = until_nothing_runs(controllers, lost, overdue, &work).await;
        (ended.err().map(|error| format!("{error:#}")), work.is_cancelled())
    }

    #[tokio::test]
    async fn the_lease_is_given_back_only_when_the_controllers_came_to_their_end() {
        let well = || async { Ok(()) };
        assert_eq!(outcome(well(), pending(), pending()).await, (None, false));

        let broke_off = async { Err(RunError::Ended("a watch".to_owned())) };
        let (why, _) = outcome(broke_off, pending(), pending()).await;
        assert!(
            why.as_deref()
                .is_some_and(|why| why.contains("a controller ended unasked: a watch")),
            "visits run on: {why:?}"
        );

        let (why, _) = outcome(pending(), pending(), async {}).await;
        assert!(
            why.as_deref()
                .is_some_and(|why| why.contains("--shutdown-timeout")),
            "{why:?}"
        );

        // Even at the same moment.
        let (why, cancelled) = outcome(well(), async { "not renewed" }, pending()).await;
        assert!(
            cancelled
                && why
                    .as_deref()
                    .is_some_and(|why| why.contains("leadership is lost") && why.contains("not renewed")),
            "{why:?}"
        );
    }
}
