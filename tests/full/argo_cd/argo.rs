//! Argo CD as plain processes against a real API server: its cache, repo server, application controller and ApplicationSet
//! controller, with the configuration that its own install manifests have and our health checks laid over it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xtask::assets::{self, Tool};
use xtask::control_plane::free_port;
use xtask::kubectl::Kubectl;
use xtask::process::{Spec, Supervised};
use xtask::temp_dir::TempDir;

use crate::support::{DEADLINE, api_server, merge};

/// Namespace of Argo CD itself and of its Applications.
pub const NAMESPACE: &str = "argocd";
/// Bounds a failure only: a sync goes through several processes.
pub const SYNC_DEADLINE: Duration = Duration::from_secs(240);
/// Ports that its programs serve, each of which has a flag.
pub const PORTS: usize = 7;
const STEP: Duration = Duration::from_millis(200);
const CONTROLLER: &str = "argocd-application-controller";

/// A running Argo CD.
pub struct Argo {
    kubectl: Kubectl,
    server: String,
    processes: Arc<Mutex<Vec<Supervised>>>,
    controller_log: PathBuf,
    _dir: Arc<TempDir>,
}

impl Argo {
    /// Installs and starts Argo CD on a cluster, and waits until its processes answer.
    pub fn start(kubectl: &Kubectl) -> Self {
        let dir = TempDir::new("argocd").unwrap();
        let source = assets::argo_cd_source().unwrap();
        install(kubectl, &source);
        let server = kubectl.cluster().unwrap().server().unwrap().to_owned();
        add_cluster(kubectl, &server);
        let kubeconfig = dir.path().join("argocd.kubeconfig");
        kubectl
            .write_service_account_kubeconfig(&kubeconfig, NAMESPACE, CONTROLLER)
            .unwrap();
        let path = programs(dir.path());
        let ports: Vec<u16> = (0..PORTS).map(|_| free_port().unwrap()).collect();
        let [
            redis,
            repo,
            repo_metrics,
            metrics,
            set_metrics,
            set_probe,
            set_webhook,
        ] = ports[..]
        else {
            unreachable!("seven ports")
        };
        let redis_at = format!("--redis=127.0.0.1:{redis}");
        let repo_at = format!("--argocd-repo-server=127.0.0.1:{repo}");
        let specs = [
            Spec::new("redis", assets::ensure(Tool::Redis).unwrap(), dir.path())
                .args([format!("--port={redis}")]),
            argo_program(dir.path(), &path, "argocd-repo-server").args([
                "--disable-tls",
                "--client-ca-path=",
                "--address=127.0.0.1",
                "--metrics-address=127.0.0.1",
                &format!("--port={repo}"),
                &format!("--metrics-port={repo_metrics}"),
                &redis_at,
            ]),
            argo_program(dir.path(), &path, CONTROLLER)
                // What applies objects tells each dry run; the rest of the program has a flag of its own.
                .env("ARGOCD_LOG_LEVEL", "debug")
                .args([
                    &format!("--kubeconfig={}", kubeconfig.display()),
                    &format!("--namespace={NAMESPACE}"),
                    &format!("--repo-server=127.0.0.1:{repo}"),
                    "--repo-server-plaintext",
                    &format!("--metrics-port={metrics}"),
                    &redis_at,
                    // Nothing is refreshed unless something happened: every refresh has a cause that a test can name.
                    "--app-resync=0",
                    "--app-resync-jitter=0",
                    // The health of each object, with its message, in the Application.
                    "--persist-resource-health",
                ]),
            argo_program(dir.path(), &path, "argocd-applicationset-controller")
                // One part of it reads the variable, another the flag.
                .env("KUBECONFIG", &kubeconfig)
                .args([
                    &format!("--kubeconfig={}", kubeconfig.display()),
                    &format!("--namespace={NAMESPACE}"),
                    &repo_at,
                    "--repo-server-plaintext",
                    "--enable-leader-election=false",
                    &format!("--metrics-addr=127.0.0.1:{set_metrics}"),
                    &format!("--probe-addr=127.0.0.1:{set_probe}"),
                    &format!("--webhook-addr=127.0.0.1:{set_webhook}"),
                ]),
        ];
        let mut processes = Vec::new();
        for spec in &specs {
            processes.push(Supervised::start(spec).unwrap());
        }
        let controller_log = processes[2].log_file().to_owned();
        Self {
            kubectl: kubectl.clone(),
            server,
            processes: Arc::new(Mutex::new(processes)),
            controller_log,
            _dir: Arc::new(dir),
        }
    }

    /// An Application of this source, synced by itself, with pruning and self-heal, whose deletion takes its objects along.
    pub fn application(&self, name: &str, source: &Value, namespace: &str, changes: &Value) {
        let mut application = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {
                "name": name, "namespace": NAMESPACE,
                "finalizers": ["resources-finalizer.argocd.argoproj.io"],
            },
            "spec": {
                "project": "default",
                "source": source,
                "destination": {"server": self.server, "namespace": namespace},
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}},
            },
        });
        merge(&mut application, changes);
        // With several sources there is no single one.
        if application["spec"]["source"].is_null() {
            application["spec"].as_object_mut().unwrap().remove("source");
        }
        self.kubectl.apply(&application.to_string()).unwrap();
    }

    /// The server as Applications name it.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What a webhook of a Git server does: asks Argo CD to look at the repository.
    pub fn refresh(&self, name: &str, how: &str) {
        let annotation = format!("argocd.argoproj.io/refresh={how}");
        let arguments = ["-n", NAMESPACE, "annotate", "--overwrite", "application", name];
        self.kubectl
            .run(arguments.into_iter().chain([annotation.as_str()]))
            .unwrap();
        self.until(name, "it is refreshed", |application| {
            application["metadata"]["annotations"]["argocd.argoproj.io/refresh"].is_null()
        });
    }

    /// The Application as it is now.
    pub fn get(&self, name: &str) -> Value {
        self.kubectl
            .json(["-n", NAMESPACE, "get", "application", name])
            .unwrap()
    }

    /// Whether there is such an Application.
    pub fn exists(&self, name: &str) -> bool {
        let found = self
            .kubectl
            .run(["-n", NAMESPACE, "get", "application", name, "--ignore-not-found"]);
        !found.unwrap().trim().is_empty()
    }

    /// Waits until an Application is as wanted.
    pub fn until(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            self.must_run();
            let application = self.get(name);
            if wanted(&application) {
                return application;
            }
            assert!(
                start.elapsed() < SYNC_DEADLINE,
                "expected of Application {name}: {what}\n--- is\n{:#}\n--- Argo CD says\n{}",
                application["status"],
                self.log_tail(name)
            );
            std::thread::sleep(STEP);
        }
    }

    /// Waits until it is Synced with the commit and Healthy.
    pub fn synced_and_healthy(&self, name: &str, commit: &str) -> Value {
        self.until(name, &format!("Synced to {commit} and Healthy"), |application| {
            is_synced(application, commit) && application["status"]["health"]["status"] == "Healthy"
        })
    }

    /// Waits until Argo CD gives an object of an Application this health, and returns the message.
    pub fn health_of(&self, name: &str, kind: &str, health: &str) -> String {
        self.health_says(name, kind, health, "")
    }

    /// Waits until Argo CD gives an object this health with a message that holds these words.
    ///
    /// Argo CD looks again by itself when the health changes, not when only the message does: then it is asked to.
    pub fn health_says(&self, name: &str, kind: &str, health: &str, words: &str) -> String {
        let application = self.until(name, &format!("{kind} is {health}: {words}"), |application| {
            let is = &resource(application, kind)["health"];
            let says = is["message"].as_str().unwrap_or_default().contains(words);
            if is["status"] == health && !says {
                self.refresh(name, "normal");
            }
            is["status"] == health && says
        });
        resource(&application, kind)["health"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Asks for the deletion of an Application, in the foreground, and waits until it is gone.
    pub fn delete(&self, name: &str) {
        let arguments = ["-n", NAMESPACE, "delete", "application", name, "--wait=false"];
        self.kubectl
            .run(arguments.into_iter().chain(["--cascade=foreground"]))
            .unwrap();
        let start = Instant::now();
        while self.exists(name) {
            self.must_run();
            assert!(
                start.elapsed() < SYNC_DEADLINE,
                "Application {name} is not gone\n{:#}\n--- Argo CD says\n{}",
                self.get(name),
                self.log_tail(name)
            );
            std::thread::sleep(STEP);
        }
    }

    /// How often the controller has refreshed an Application, by its own log.
    pub fn refreshes(&self, name: &str) -> Vec<String> {
        self.lines(name)
            .into_iter()
            .filter(|line| line.contains("Refreshing app status"))
            .collect()
    }

    /// How often the controller has asked the API server what a server-side apply would make of an object in this namespace.
    pub fn server_dry_runs(&self, namespace: &str) -> usize {
        let log = fs::read_to_string(&self.controller_log).unwrap();
        let of_it = format!("namespace: {namespace}\"");
        log.lines()
            .filter(|line| line.contains("\"dry-run\":\"server\"") && line.contains(&of_it))
            .count()
    }

    /// Fails unless every socket on which a process of Argo CD listens is on loopback; how many there are.
    pub fn listens_on_loopback_only(&self) -> usize {
        let sockets: Vec<(String, String)> = self
            .processes
            .lock()
            .unwrap()
            .iter()
            .flat_map(|process| listening(process.pid()))
            .collect();
        for (table, address) in &sockets {
            // As the kernel writes 127.0.0.1, ::1 and ::ffff:127.0.0.1, each word in the machine's own order.
            let words: Vec<u32> = (0..address.len() / 8)
                .map(|word| u32::from_str_radix(&address[word * 8..][..8], 16).unwrap())
                .map(|word| u32::from_be_bytes(word.to_ne_bytes()))
                .collect();
            let loopback = match words[..] {
                [v4] | [0, 0, 0xffff, v4] => v4 >> 24 == 127,
                [0, 0, 0, 1] => true,
                _ => false,
            };
            assert!(loopback, "{address} in {table}");
        }
        sockets.len()
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let log = fs::read_to_string(&self.controller_log).unwrap();
        let of_it = [
            format!("\"application\":\"{NAMESPACE}/{name}\""),
            format!("\"application\":\"{name}\""),
        ];
        log.lines()
            .filter(|line| of_it.iter().any(|mark| line.contains(mark)))
            .map(str::to_owned)
            .collect()
    }

    fn log_tail(&self, name: &str) -> String {
        let lines = self.lines(name);
        let mut said = lines[lines.len().saturating_sub(40)..].join("\n");
        for process in self.processes.lock().unwrap().iter().skip(1) {
            said.push_str("\n---\n");
            said.push_str(&process.log_tail(15));
        }
        said
    }

    fn must_run(&self) {
        for process in self.processes.lock().unwrap().iter_mut() {
            process.must_run().unwrap();
        }
    }
}

/// The addresses on which a process listens, as `/proc/net` has them: table and address.
fn listening(pid: u32) -> Vec<(String, String)> {
    let folder = format!("/proc/{pid}/fd");
    let inodes: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|target| {
            let target = target.to_string_lossy();
            let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let path = format!("/proc/{pid}/net/{table}");
        for line in fs::read_to_string(&path).unwrap().lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (words[1], words[3], words[9]);
            // 0A is LISTEN.
            if state == "0A" && inodes.iter().any(|own| own == inode) {
                let address = local.split(':').next().unwrap();
                found.push((path.clone(), address.to_owned()));
            }
        }
    }
    found
}

/// Whether an Application is in sync with a commit and no operation is under way.
pub fn is_synced(application: &Value, commit: &str) -> bool {
    let status = &application["status"];
    status["sync"]["status"] == "Synced"
        && status["sync"]["revision"] == commit
        && status["operationState"]["phase"] == "Succeeded"
        && application["operation"].is_null()
}

/// What an Application says of its only object of a kind.
pub fn resource<'a>(application: &'a Value, kind: &str) -> &'a Value {
    static NOTHING: Value = Value::Null;
    application["status"]["resources"]
        .as_array()
        .and_then(|all| all.iter().find(|resource| resource["kind"] == kind))
        .unwrap_or(&NOTHING)
}

/// The snippet that users lay over their `argocd-cm`.
pub fn snippet() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/argocd/argocd-cm.yaml")
}

/// The objects that the install manifests of Argo CD have, as far as our programs look at them.
fn install(kubectl: &Kubectl, source: &Path) {
    kubectl
        .run([
            "apply".into(),
            "--server-side".into(),
            format!(
                "--filename={}",
                source.join("manifests/crds/application-crd.yaml").display()
            ),
            format!(
                "--filename={}",
                source.join("manifests/crds/appproject-crd.yaml").display()
            ),
            format!(
                "--filename={}",
                source.join("manifests/crds/applicationset-crd.yaml").display()
            ),
        ])
        .unwrap();
    // kubectl does not wait for conditions of an object that has none yet.
    eventually("the kinds of Argo CD are served", || {
        kubectl
            .wait_for_crds(
                &[
                    "applications.argoproj.io",
                    "appprojects.argoproj.io",
                    "applicationsets.argoproj.io",
                ],
                api_server::DEADLINE,
            )
            .map_err(|error| error.to_string())
    });
    let object = |kind: &str, name: &str| {
        json!({
            "apiVersion": "v1", "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "argocd"}},
        })
    };
    let mut secret = object("Secret", "argocd-secret");
    secret["stringData"] = json!({"server.secretkey": "keyOfTheTest"});
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        secret,
        object("ServiceAccount", CONTROLLER),
        // As `manifests/install.yaml` of Argo CD gives it.
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": CONTROLLER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": CONTROLLER, "namespace": NAMESPACE}],
        }),
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject",
            "metadata": {"name": "default", "namespace": NAMESPACE},
            "spec": {
                "sourceRepos": ["*"], "destinations": [{"namespace": "*", "server": "*"}],
                "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
            },
        }),
    ];
    for name in [
        "argocd-cmd-params-cm",
        "argocd-gpg-keys-cm",
        "argocd-rbac-cm",
        "argocd-ssh-known-hosts-cm",
        "argocd-tls-certs-cm",
    ] {
        objects.push(object("ConfigMap", name));
    }
    let objects: Vec<String> = objects.iter().map(Value::to_string).collect();
    kubectl.apply(&objects.join("\n---\n")).unwrap();
    kubectl
        .run([
            "-n".to_owned(),
            NAMESPACE.to_owned(),
            "apply".to_owned(),
            format!(
                "--filename={}",
                source.join("manifests/base/config/argocd-cm.yaml").display()
            ),
        ])
        .unwrap();
    // As the head of the snippet says.
    kubectl
        .run([
            "--namespace".to_owned(),
            NAMESPACE.to_owned(),
            "patch".to_owned(),
            "configmap".to_owned(),
            "argocd-cm".to_owned(),
            "--type=merge".to_owned(),
            format!("--patch-file={}", snippet().display()),
        ])
        .unwrap();
}

/// Tells Argo CD of the cluster, as `argocd cluster add` does.
fn add_cluster(kubectl: &Kubectl, server: &str) {
    let view = kubectl
        .json(["config", "view", "--raw", "--minify", "--flatten"])
        .unwrap();
    let token = kubectl
        .service_account_token(NAMESPACE, CONTROLLER, Duration::from_secs(24 * 3600))
        .unwrap();
    let config = json!({
        "bearerToken": token,
        "tlsClientConfig": {"caData": view["clusters"][0]["cluster"]["certificate-authority-data"]},
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": "cluster-of-the-test", "namespace": NAMESPACE,
            "labels": {"argocd.argoproj.io/secret-type": "cluster"},
        },
        "stringData": {"name": "test", "server": server, "config": config.to_string()},
    });
    kubectl.apply(&secret.to_string()).unwrap();
}

/// A folder for PATH with what the repo server calls.
fn programs(dir: &Path) -> PathBuf {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).unwrap();
    symlink(assets::ensure(Tool::Helm).unwrap(), bin.join("helm")).unwrap();
    for (name, text) in [
        ("git-verify-wrapper.sh", "#!/bin/sh\nexit 0\n"),
        ("git-ask-pass.sh", "#!/bin/sh\nexit 1\n"),
    ] {
        let path = bin.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    bin
}

fn argo_program(dir: &Path, bin: &Path, name: &str) -> Spec {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths([bin.to_owned()].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut spec = Spec::new(name, assets::ensure(Tool::ArgoCd).unwrap(), dir)
        .env("ARGOCD_BINARY_NAME", name)
        .env("PATH", path)
        .env("ARGOCD_GPG_ENABLED", "false")
        .env("ARGOCD_CONTROLLER_SHARD", "0")
        .env("HOME", dir);
    for (variable, folder) in [
        ("ARGOCD_GNUPGHOME", "gnupg"),
        ("ARGOCD_GPG_DATA_PATH", "gpg"),
        ("ARGOCD_TLS_DATA_PATH", "tls"),
        ("ARGOCD_SSH_DATA_PATH", "ssh"),
        ("ARGOCD_PLUGINSOCKFILEPATH", "plugins"),
        ("TMPDIR", "tmp"),
    ] {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder).unwrap();
        spec = spec.env(variable, folder);
    }
    for variable in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        spec = spec.env_remove(variable);
    }
    spec
}

/// What Argo CD's own offline checker says of an object: health and message.
pub fn judged(object: &Path) -> (String, String) {
    let output = Command::new(assets::ensure(Tool::ArgoCd).unwrap())
        .args(["admin", "settings", "resource-overrides", "health"])
        .arg(object)
        .arg("--argocd-cm-path")
        .arg(snippet())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let after = |label: &str| {
        said.lines()
            .find_map(|line| line.strip_prefix(label))
            .unwrap_or_else(|| panic!("no {label} in {said}"))
            .trim()
            .to_owned()
    };
    (after("STATUS:"), after("MESSAGE:"))
}

/// A Git repository on this machine.
pub struct Repository {
    dir: TempDir,
}

impl Repository {
    /// An empty one.
    pub fn new() -> Self {
        let dir = TempDir::new("repository").unwrap();
        let repository = Self { dir };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("file://{}", self.dir.path().display())
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a manifest.
    pub fn write(&self, path: &str, object: &Value) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, serde_json::to_string_pretty(object).unwrap()).unwrap();
    }

    /// Takes a file away.
    pub fn remove(&self, path: &str) {
        fs::remove_file(self.dir.path().join(path)).unwrap();
    }

    /// Commits all there is and returns the commit's id.
    pub fn commit(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.dir.path())
            .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
            .args(["-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Waits a while for something that is no Application.
pub fn eventually(what: &str, mut probe: impl FnMut() -> Result<(), String>) {
    let start = Instant::now();
    while let Err(seen) = probe() {
        assert!(start.elapsed() < DEADLINE, "expected: {what}\n{seen}");
        std::thread::sleep(STEP);
    }
}
