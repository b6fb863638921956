//! The real API server that a test program shares, with our CustomResourceDefinitions installed.
#![allow(clippy::unwrap_used, dead_code)] // each test program uses its own part

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use xtask::control_plane::ControlPlane;
use xtask::kubectl::Kubectl;
use xtask::wait::Probe;

/// Bounds a failure only.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// kubectl as the administrator; the kinds are served.
pub fn kubectl() -> Kubectl {
    static READY: OnceLock<Kubectl> = OnceLock::new();
    READY
        .get_or_init(|| {
            let kubectl = bare_kubectl();
            let kinds = install(&kubectl);
            // Short names are known to kubectl once discovery tells them, and kubectl remembers an earlier answer.
            xtask::wait::until(
                "discovery tells our kinds",
                DEADLINE,
                Duration::from_millis(100),
                || {
                    let seen = kubectl.run([
                        "api-resources",
                        "--api-group=ramtrail.io",
                        "--cached=false",
                        "--no-headers",
                    ])?;
                    Ok(if seen.lines().count() == kinds {
                        Probe::Done(())
                    } else {
                        Probe::Pending(seen)
                    })
                },
            )
            .unwrap();
            kubectl
        })
        .clone()
}

/// Installs our kinds, which are served when it returns, and tells how many there are.
pub fn install(kubectl: &Kubectl) -> usize {
    let manifests: String = ramtrail::api::manifests()
        .unwrap()
        .into_iter()
        .map(|(_, yaml)| yaml)
        .collect();
    kubectl.apply(&manifests).unwrap();
    let names: Vec<String> = ramtrail::api::all_crds()
        .into_iter()
        .filter_map(|crd| crd.metadata.name)
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    kubectl.wait_for_crds(&names, DEADLINE).unwrap();
    names.len()
}

/// kubectl as the administrator, whatever is installed.
pub fn bare_kubectl() -> Kubectl {
    ControlPlane::shared().unwrap()
}

/// A client that acts as a kubeconfig says.
pub async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.proxy_url = None;
    config.read_timeout = Some(DEADLINE);
    Client::try_from(config).unwrap()
}

/// The name of a namespace that nobody else has.
pub fn namespace_name(purpose: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!(
        "{purpose}-{}-{}",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}

/// A namespace of its own for a test; it goes away with the control plane.
pub fn namespace(kubectl: &Kubectl, purpose: &str) -> String {
    let name = namespace_name(purpose);
    kubectl.run(["create", "namespace", &name]).unwrap();
    name
}
