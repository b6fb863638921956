//! What must be there before anything can work: the API server, its CustomResourceDefinitions, the cluster's id.
//!
//! Each wait goes on until it succeeds, says in the log and at `/readyz` what it waits for, and how a person can help.

use std::error::Error as _;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::client::ClientBuilder;
use kube::config::Kubeconfig;
use kube::{Api, Client, Config, CustomResourceExt, Resource};
use serde::de::DeserializeOwned;

use ramtrail::api::v1alpha1::{AuditLogStore, AuditProject, RamTrail};
use ramtrail::config::{ClusterId, RunArgs, Settings};
use ramtrail::telemetry::http::{Health, Phase};

use crate::pace::WatchPace;
use crate::patience::Patience;

/// A watch on a quiet cluster hears nothing for as long as it lasts, which is a little less than this.
const READ_TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For one question at start.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_secs(2);

/// A client from the Pod's service account, or from the kubeconfig.
pub async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer().await.map_err(|error| {
        anyhow!(error).context(
            "no way to reach a Kubernetes API server: run in a Pod with a service account, or set KUBECONFIG",
        )
    })?;
    config.read_timeout = Some(READ_TIMEOUT);
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // HTTPS_PROXY is meant for the way to the cloud: only a kubeconfig that names a proxy sends the API server's traffic there.
    if !kubeconfig_names_proxy() {
        config.proxy_url = None;
    }
    let builder = ClientBuilder::try_from(config).context("cannot make a Kubernetes client")?;
    Ok(builder
        .with_layer(&WatchPace::default())
        .with_layer(&Patience::default())
        .build())
}

fn kubeconfig_names_proxy() -> bool {
    Kubeconfig::read().is_ok_and(|kubeconfig| {
        let context = kubeconfig.current_context.as_deref();
        let context = kubeconfig
            .contexts
            .iter()
            .find(|c| Some(c.name.as_str()) == context);
        let cluster = context
            .and_then(|c| c.context.as_ref())
            .map(|c| c.cluster.as_str());
        let cluster = kubeconfig
            .clusters
            .iter()
            .find(|c| Some(c.name.as_str()) == cluster);
        cluster
            .and_then(|c| c.cluster.as_ref())
            .is_some_and(|c| c.proxy_url.is_some())
    })
}

/// Waits for what is needed and resolves the settings with it.
pub async fn prepare(args: &RunArgs, client: &Client, health: &Health) -> anyhow::Result<Settings> {
    let namespace = own_namespace(args, client);
    let cluster_id = match &args.cluster_id {
        Some(id) => id.clone(),
        None => persist(health, || cluster_id(client)).await,
    };
    let settings = args.settings(cluster_id, &namespace);
    persist(health, || served::<AuditProject>(client, &settings)).await;
    persist(health, || served::<AuditLogStore>(client, &settings)).await;
    persist(health, || served::<RamTrail>(client, &settings)).await;
    Ok(settings)
}

/// The operator's own namespace.
pub fn own_namespace(args: &RunArgs, client: &Client) -> String {
    args.namespace
        .clone()
        .or_else(|| std::env::var("POD_NAMESPACE").ok().filter(|n| !n.is_empty()))
        .unwrap_or_else(|| client.default_namespace().to_owned())
}

/// Asks until the answer is good; says what is wrong whenever that changes.
async fn persist<T>(health: &Health, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    loop {
        let problem = match tokio::time::timeout(CALL_TIMEOUT, ask()).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(problem)) => problem,
            Err(_) => format!("the Kubernetes API server did not answer within {CALL_TIMEOUT:?}"),
        };
        if problem != last {
            tracing::warn!("waiting: {problem}");
            health.set(Phase::Starting, problem.clone());
            last = problem;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn cluster_id(client: &Client) -> Result<ClusterId, String> {
    let hint = "set --cluster-id, or allow get on the namespace kube-system";
    let namespace = Api::<Namespace>::all(client.clone())
        .get("kube-system")
        .await
        .map_err(|error| match &error {
            kube::Error::Api(_) => format!(
                "the UID of the namespace kube-system cannot be read: {}; {hint}",
                words(&error)
            ),
            // Nothing would go better with an id.
            _ => format!("the Kubernetes API server cannot be asked: {}", words(&error)),
        })?;
    let uid = namespace.metadata.uid.unwrap_or_default();
    uid.parse()
        .map_err(|error| format!("the UID of the namespace kube-system is no cluster id: {error}; {hint}"))
}

/// Whether the API server serves a kind and lets us list it.
async fn served<K>(client: &Client, settings: &Settings) -> Result<(), String>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + CustomResourceExt
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<kube::core::PartialObjectMeta<K>> = match settings.watch_namespaces.first() {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let crd = K::crd_name();
    match api.list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        // A kind that nobody serves is answered without a Status: only the code tells.
        Err(kube::Error::Api(status)) if status.code == 404 => Err(format!(
            "the CustomResourceDefinition {crd} is missing; install it: ramtrail crds | kubectl apply --server-side -f -"
        )),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Err(format!(
            "this service account may not list {crd}; apply the RBAC of deploy/install.yaml ({})",
            status.message
        )),
        Err(error) => Err(format!("{crd} cannot be listed: {}", words(&error))),
    }
}

/// An error in one line, with the causes that it does not tell by itself: only the last of them says that a certificate is wrong.
pub fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}
