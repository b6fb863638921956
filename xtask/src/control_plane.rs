//! A real control plane: etcd and kube-apiserver, and kube-controller-manager where wanted, as processes in a
//! temporary folder.
//!
//! Listens on 127.0.0.1 only (etcd on a unix socket), authorizes by RBAC, and goes away with us, also when we
//! are killed. There are no nodes: nothing runs Pods.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::assets::{self, Tool};
use crate::kubeconfig::{self, Cluster, User};
use crate::kubectl::Kubectl;
use crate::process::{Spec, Supervised};
use crate::temp_dir::TempDir;
use crate::wait::{self, Probe};
use crate::workspace::{random_hex, write_private};

/// Names the kubeconfig of a running API server that test programs share instead of each starting one.
pub const TEST_KUBECONFIG: &str = "RAMTRAIL_TEST_KUBECONFIG";

/// Generous: a cold start takes some seconds, on a machine that is busy building many more.
const START_DEADLINE: Duration = Duration::from_secs(180);

/// What a control plane is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    controller_manager: bool,
    audit_policy: Option<String>,
    apiserver_args: Vec<String>,
}

impl Options {
    /// etcd and kube-apiserver, nothing else.
    pub fn new() -> Self {
        Self::default()
    }

    /// With kube-controller-manager: namespaces can be deleted and owned objects are collected.
    #[must_use]
    pub fn controller_manager(mut self) -> Self {
        self.controller_manager = true;
        self
    }

    /// With an audit log under this policy (YAML or JSON); see [`ControlPlane::audit_log`].
    #[must_use]
    pub fn audit_policy(mut self, policy: &str) -> Self {
        self.audit_policy = Some(policy.to_owned());
        self
    }

    /// With a further flag of kube-apiserver.
    #[must_use]
    pub fn apiserver_arg(mut self, arg: &str) -> Self {
        self.apiserver_args.push(arg.to_owned());
        self
    }
}

/// A running control plane. Dropping it stops everything and removes its folder.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields are dropped in this order: clients before servers, processes before their folder.
    controller_manager: Option<Supervised>,
    apiserver: Supervised,
    etcd: Supervised,
    kubectl: Kubectl,
    server: String,
    admin_token: String,
    apiserver_spec: Spec,
    dir: TempDir,
}

impl ControlPlane {
    /// Starts a control plane and waits until `/readyz` says ok.
    ///
    /// # Errors
    /// Fails if a tool cannot be built, or with the end of the log of the process that did not come up.
    pub fn start(options: &Options) -> Result<Self> {
        let tools = Tools {
            etcd: assets::ensure(Tool::Etcd)?,
            apiserver: assets::ensure(Tool::KubeApiserver)?,
            controller_manager: options
                .controller_manager
                .then(|| assets::ensure(Tool::KubeControllerManager))
                .transpose()?,
        };
        // A port that was free a moment ago may be taken when the server binds it. That is the only failure
        // another attempt can help, and it is told from others by the server's own words.
        let mut attempt = 0;
        loop {
            attempt += 1;
            match Self::try_start(options, &tools) {
                Err(error) if attempt < 5 && format!("{error:#}").contains("address already in use") => {}
                other => return other,
            }
        }
    }

    fn try_start(options: &Options, tools: &Tools) -> Result<Self> {
        let dir = TempDir::new("cp")?;
        let etcd = start_etcd(&tools.etcd, dir.path())?;
        let port = free_port()?;
        let server = format!("https://127.0.0.1:{port}");
        let admin_token = random_hex(24)?;
        let apiserver_spec = apiserver_spec(options, &tools.apiserver, dir.path(), port, &admin_token)?;
        let mut apiserver = Supervised::start(&apiserver_spec)?;
        let ca_file = wait_for_certificate(&mut apiserver, dir.path())?;
        let kubeconfig = dir.path().join("admin.kubeconfig");
        let cluster = Cluster::new(&server, &ca_file);
        kubeconfig::write(&kubeconfig, &cluster, &User::Token(admin_token.clone()))?;
        let kubectl = Kubectl::new(&kubeconfig)?;
        let mut control_plane = Self {
            controller_manager: None,
            apiserver,
            etcd,
            kubectl,
            server,
            admin_token,
            apiserver_spec,
            dir,
        };
        control_plane.wait_until_ready()?;
        if let Some(program) = &tools.controller_manager {
            let spec = controller_manager_spec(program, control_plane.dir.path(), &ca_file, &kubeconfig);
            control_plane.controller_manager = Some(Supervised::start(&spec)?);
        }
        Ok(control_plane)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let Self {
            apiserver,
            etcd,
            kubectl,
            ..
        } = self;
        wait::until(
            "/readyz of kube-apiserver says ok",
            START_DEADLINE,
            Duration::from_millis(100),
            || {
                etcd.must_run()?;
                apiserver.must_run()?;
                Ok(
                    match kubectl.run(["get", "--raw=/readyz", "--request-timeout=5s"]) {
                        Ok(answer) if answer.trim() == "ok" => Probe::Done(()),
                        Ok(answer) => Probe::Pending(answer),
                        Err(error) => Probe::Pending(format!("{error:#}")),
                    },
                )
            },
        )
    }

    /// The API server's URL.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The administrator's bearer token (`system:masters`).
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// The PEM file with the authority that signed the API server's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        self.kubectl.kubeconfig()
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The folder of this control plane: logs, and room for a test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The audit log, one JSON event a line, if a policy was given.
    pub fn audit_log(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    /// Shows key and value of everything that the API server has stored now, a page at a time.
    ///
    /// # Errors
    /// Fails if etcd does not answer.
    pub fn for_each_stored(&self, mut see: impl FnMut(&str, &[u8])) -> Result<()> {
        let end = STANDARD.encode("/registry0");
        let mut from = b"/registry/".to_vec();
        loop {
            let asked = json!({ "key": STANDARD.encode(&from), "range_end": end, "limit": "100" });
            let page = ask_etcd(&self.dir.path().join("client:0"), "/v3/kv/range", &asked)?;
            let entries = page["kvs"].as_array().map(Vec::as_slice).unwrap_or_default();
            for entry in entries {
                let bytes = |name: &str| {
                    let text = entry[name].as_str().unwrap_or_default();
                    STANDARD.decode(text).context("etcd's answer is no Base64")
                };
                let key = bytes("key")?;
                see(&String::from_utf8_lossy(&key), &bytes("value")?);
                // The least key behind this one.
                from = [key.as_slice(), b"\0"].concat();
            }
            if entries.is_empty() || page["more"] != true {
                return Ok(());
            }
        }
    }

    /// The API server's process, to be frozen or killed by a test.
    pub fn apiserver(&mut self) -> &mut Supervised {
        &mut self.apiserver
    }

    /// Starts the API server again on the same port and data after it was killed.
    pub fn restart_apiserver(&mut self) -> Result<()> {
        self.apiserver.kill()?;
        self.apiserver = Supervised::start(&self.apiserver_spec)?;
        self.wait_until_ready()
    }

    /// kubectl as the administrator of a control plane that the whole test program shares.
    ///
    /// The one that `RAMTRAIL_TEST_KUBECONFIG` names, else one of our own (with controller manager), started
    /// by the first caller. Tests keep apart by namespaces of their own.
    ///
    /// # Errors
    /// Every caller gets the error of a start that failed.
    pub fn shared() -> Result<Kubectl> {
        static OWN: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
        if let Some(path) = std::env::var_os(TEST_KUBECONFIG).filter(|p| !p.is_empty()) {
            let path = PathBuf::from(path);
            if !path.is_file() {
                bail!("{TEST_KUBECONFIG} names {}, which is not a file", path.display());
            }
            return Kubectl::new(&path);
        }
        let own = OWN.get_or_init(|| {
            Self::start(&Options::new().controller_manager()).map_err(|error| format!("{error:#}"))
        });
        own.as_ref()
            .map(|control_plane| control_plane.kubectl.clone())
            .map_err(|error| anyhow!("{error}"))
    }
}

struct Tools {
    etcd: PathBuf,
    apiserver: PathBuf,
    controller_manager: Option<PathBuf>,
}

fn start_etcd(program: &Path, dir: &Path) -> Result<Supervised> {
    // etcd insists on host:port; for a unix socket that is the name of a file in its working folder.
    let spec = Spec::new("etcd", program, dir).args([
        "--name=ramtrail",
        "--data-dir=etcd",
        "--listen-client-urls=unix://client:0",
        "--advertise-client-urls=unix://client:0",
        "--listen-peer-urls=unix://peer:0",
        "--initial-advertise-peer-urls=unix://peer:0",
        "--initial-cluster=ramtrail=unix://peer:0",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]);
    let mut etcd = Supervised::start(&spec)?;
    let socket = dir.join("client:0");
    wait::until(
        "etcd opens its socket",
        START_DEADLINE,
        Duration::from_millis(20),
        || {
            etcd.must_run()?;
            Ok(if socket.exists() {
                Probe::Done(())
            } else {
                Probe::Pending("no socket".to_owned())
            })
        },
    )?;
    Ok(etcd)
}

/// Asks etcd over its socket. HTTP 1.0, which ends an answer by closing: no client library speaks over such a socket.
fn ask_etcd(socket: &Path, path: &str, body: &Value) -> Result<Value> {
    let failed = || format!("cannot ask etcd for {path}");
    let mut stream = UnixStream::connect(socket).with_context(failed)?;
    stream
        .set_read_timeout(Some(START_DEADLINE))
        .with_context(failed)?;
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: etcd\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all([head, body].concat().as_bytes())
        .with_context(failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(failed)?;
    let answer = String::from_utf8(answer).with_context(failed)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => {
            serde_json::from_str(body).with_context(failed)
        }
        _ => bail!("{}: {}", failed(), answer.lines().next().unwrap_or("no answer")),
    }
}

fn apiserver_spec(options: &Options, program: &Path, dir: &Path, port: u16, token: &str) -> Result<Spec> {
    let tokens = dir.join("tokens.csv");
    write_private(
        &tokens,
        format!("{token},admin,admin,\"system:masters\"\n").as_bytes(),
    )?;
    let at = |name: &str| dir.join(name).display().to_string();
    // The server makes its own certificate and key at the first start; the key signs the tokens of service
    // accounts as well, so nobody has to make keys.
    let key = at("certs/apiserver.key");
    let mut args = vec![
        format!("--etcd-servers=unix://{}", at("client:0")),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        // No address of the machine is used, so that this works without a network, and nothing is published
        // as the endpoint of the service `kubernetes`.
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--cert-dir={}", at("certs")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={key}"),
        format!("--service-account-signing-key-file={key}"),
        "--authorization-mode=RBAC".to_owned(),
        format!("--token-auth-file={}", tokens.display()),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--allow-privileged=false".to_owned(),
    ];
    if let Some(policy) = &options.audit_policy {
        let path = dir.join("audit-policy.yaml");
        fs::write(&path, policy).with_context(|| format!("cannot write {}", path.display()))?;
        args.push(format!("--audit-policy-file={}", path.display()));
        args.push(format!("--audit-log-path={}", at("audit.log")));
        // Events are on disk when the call is answered: a test may read them at once.
        args.push("--audit-log-mode=blocking".to_owned());
        // In MiB: one file holds all.
        args.push("--audit-log-maxsize=4096".to_owned());
    }
    args.extend(options.apiserver_args.iter().cloned());
    // Memory is there and the cores are what everybody waits for: a heap that is collected less often saves a part of them.
    Ok(Spec::new("kube-apiserver", program, dir)
        .args(args)
        .env("GOGC", "400"))
}

/// Waits until the server has made its certificate, and writes the authority that signed it to `ca.crt`.
fn wait_for_certificate(apiserver: &mut Supervised, dir: &Path) -> Result<PathBuf> {
    let chain = dir.join("certs/apiserver.crt");
    let authority = wait::until(
        "kube-apiserver makes its certificate",
        START_DEADLINE,
        Duration::from_millis(20),
        || {
            apiserver.must_run()?;
            Ok(
                match fs::read_to_string(&chain).ok().as_deref().and_then(last_of_chain) {
                    Some(authority) => Probe::Done(authority.to_owned()),
                    None => Probe::Pending("no certificate".to_owned()),
                },
            )
        },
    )?;
    let path = dir.join("ca.crt");
    fs::write(&path, authority).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The second certificate of a chain of two, if it is there as a whole.
fn last_of_chain(chain: &str) -> Option<&str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut starts = chain.match_indices(BEGIN);
    let (start, _) = starts.nth(1)?;
    let end = chain[start..].find(END)? + start + END.len();
    chain.get(start..=end)
}

fn controller_manager_spec(program: &Path, dir: &Path, ca_file: &Path, kubeconfig: &Path) -> Spec {
    Spec::new("kube-controller-manager", program, dir).args([
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--root-ca-file={}", ca_file.display()),
        format!(
            "--service-account-private-key-file={}",
            dir.join("certs/apiserver.key").display()
        ),
        "--controllers=namespace-controller,garbage-collector-controller,serviceaccount-controller,\
         root-ca-certificate-publisher-controller,deployment-controller,replicaset-controller,job-controller,\
         clusterrole-aggregation-controller"
            .to_owned(),
        "--use-service-account-credentials=false".to_owned(),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        // Tests wait for these two; the defaults spare a large cluster, not a small one.
        "--namespace-sync-period=5s".to_owned(),
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ])
}

/// A port of 127.0.0.1 that nobody listens on now.
///
/// Taken from below the range from which systems give ports to outgoing connections, so that only another
/// server could take it before ours does.
///
/// # Errors
/// Fails if hundreds of ports in a row are taken.
pub fn free_port() -> Result<u16> {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.subsec_nanos());
    let seed = nanos ^ std::process::id().wrapping_mul(2_654_435_761);
    (0..500u32)
        .filter_map(|i| u16::try_from(20_000 + seed.wrapping_add(i * 7) % 12_000).ok())
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .context("no free port on 127.0.0.1")
}

/// Runs a command with `KUBECONFIG` of this control plane, kubectl's folder in front of `PATH`.
pub fn command_in(control_plane: &ControlPlane, program: &str) -> Result<Command> {
    let mut command = Command::new(program);
    command.env("KUBECONFIG", control_plane.kubeconfig());
    let kubectl = assets::ensure(Tool::Kubectl)?;
    let folder = kubectl.parent().context("kubectl lies in no folder")?.to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&path)))
        .context("PATH cannot be extended")?;
    command.env("PATH", path);
    Ok(command)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn authority_is_the_second_certificate_once_it_is_complete() {
        let one = "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n";
        let two = "-----BEGIN CERTIFICATE-----\nB\n-----END CERTIFICATE-----\n";
        assert_eq!(last_of_chain(&format!("{one}{two}")), Some(two));
        assert_eq!(last_of_chain(one), None);
        assert_eq!(
            last_of_chain(&format!("{one}-----BEGIN CERTIFICATE-----\nB\n")),
            None
        );
    }

    #[test]
    fn free_ports_can_be_bound() {
        TcpListener::bind(("127.0.0.1", free_port().unwrap())).unwrap();
    }
}
