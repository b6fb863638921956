//! A small world for one test: a namespace on the real API server, an emulator of its own, and the operator as a
//! process under its own ServiceAccount. What fails prints the object, the operator's log and the emulator's journal.
#![allow(clippy::unwrap_used, dead_code)] // each test program uses its own part

#[path = "../api_server/mod.rs"]
pub mod api_server;

use std::fmt::Debug;
use std::fs;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client, Resource, ResourceExt};
use ramtrail::aliyun::{
    Cloud, CloudClients, CloudOptions, Credential, NoObserver, PublishedRates, Region, ReqwestSender,
    StaticCredentials, TransportOptions,
};
use ramtrail::api::condition::{self, READY};
use ramtrail::api::v1alpha1::{AuditLogStore, AuditProject, RamTrail};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use xtask::api_proxy::ApiProxy;
use xtask::canary;
use xtask::control_plane::{ControlPlane, Options};
use xtask::emulator::EmulatorProcess;
use xtask::grants::{self, Account};
use xtask::kubectl::Kubectl;
use xtask::operator::{OperatorOptions, OperatorProcess};
use xtask::process::Signal;
use xtask::temp_dir::TempDir;

/// Bounds a failure only: the machine may be busy building.
pub const DEADLINE: Duration = Duration::from_secs(300);
/// Between looks for a condition: the longer it has been waited for, the less a look more tells.
const STEPS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));

/// The account of the operator's keys.
pub const ACCOUNT: &str = "1234567890123456";
/// Another one.
pub const OTHER_ACCOUNT: &str = "6543210987654321";
/// The user whose keys the operator has.
pub const USER: &str = "ramtrail-operator";
/// The user who does things behind its back.
pub const INTRUDER: &str = "intruder";
/// The operator's secret; it must never be seen again. At the end of every world it is looked for wherever people or programs read.
pub const SECRET: &str = canary::SECRET;
/// The operator's key.
pub const KEY: &str = "LTAIoperatorKey0000001";
/// Region of everything.
pub const REGION: &str = "cn-hangzhou";
/// Name of the Secret with the operator's keys.
pub const CREDENTIALS: &str = "cloud-credentials";
/// Namespace in which the operator itself would run.
pub const OPERATOR_NAMESPACE: &str = "ramtrail-system";
/// The cluster's name in marks.
pub const CLUSTER: &str = "test-cluster";

const INTRUDER_KEY: &str = "LTAIintruderKey0000001";
const STRANGER_KEY: &str = "LTAIstrangerKey0000001";
const OTHER_SECRET: &str = "secretOfTheOthers0000001";

/// One runtime for all tests of a program: clients outlive single tests.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        rustls::crypto::ring::default_provider().install_default().ok();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    })
}

/// Waits for a future, not for ever: a call that nobody answers must fail its test, not hold the whole run.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    runtime()
        .block_on(async { tokio::time::timeout(DEADLINE, future).await })
        .unwrap_or_else(|_| panic!("a call of the test had no answer within {DEADLINE:?}"))
}

/// What a test program sets up once: kinds, the operator's own namespace, ServiceAccount and rights, and what it says who it is by.
/// Running kubectl for each world would cost more than many a test.
fn cluster() -> &'static ((Kubectl, Client), String) {
    static READY: OnceLock<((Kubectl, Client), String)> = OnceLock::new();
    READY.get_or_init(|| {
        let cluster = give_rights(api_server::kubectl());
        let kubeconfig = operator_kubeconfig(&cluster.0);
        (cluster, kubeconfig)
    })
}

/// A kubeconfig of the operator's ServiceAccount, good for a day.
fn operator_kubeconfig(kubectl: &Kubectl) -> String {
    let dir = TempDir::new("identity").unwrap();
    let path = dir.path().join("operator.kubeconfig");
    kubectl
        .write_service_account_kubeconfig(&path, OPERATOR_NAMESPACE, "ramtrail")
        .unwrap();
    fs::read_to_string(path).unwrap()
}

/// The operator's own namespace, ServiceAccount and rights on a cluster where our kinds are installed.
pub fn give_rights(kubectl: Kubectl) -> (Kubectl, Client) {
    let rights: String = install_manifest()
        .split("\n---\n")
        .filter(|document| {
            let kind = document.lines().find_map(|line| line.strip_prefix("kind: "));
            !matches!(kind, None | Some("CustomResourceDefinition" | "Deployment"))
        })
        .fold(String::new(), |all, document| all + "---\n" + document + "\n");
    kubectl.apply(&rights).unwrap();
    let client = wait(api_server::client(kubectl.kubeconfig()));
    (kubectl, client)
}

/// The operator's account, as the manifest and the chart name it.
pub const OPERATOR: Account<'static> = Account {
    namespace: OPERATOR_NAMESPACE,
    name: "ramtrail",
};

/// A control plane of its own for a test, whose log holds each call of the operator. It ends with the proof that the operator was
/// refused nothing, as the shared one does.
pub struct WatchedPlane {
    plane: ControlPlane,
    watch: grants::Watch,
}

impl WatchedPlane {
    /// Starts it with its controllers.
    pub fn start() -> Self {
        let options = Options::new()
            .controller_manager()
            .audit_policy(&OPERATOR.audit_policy());
        let plane = ControlPlane::start(&options).unwrap();
        let rights: Vec<Value> = serde_saphyr::from_multiple(&install_manifest()).unwrap();
        let watch = grants::Watch::new(&plane.audit_log(), &rights, OPERATOR).unwrap();
        Self { plane, watch }
    }

    /// For a test that took rights away from an operator that ran: what was refused since the last look was meant.
    pub fn refusals_were_meant(&mut self) {
        self.watch.look().unwrap();
    }

    /// Fails if the operator was refused anything since the last look, or never called.
    pub fn nothing_was_refused(&mut self) {
        let usage = self.looked();
        assert!(usage.unused.len() < usage.granted, "no operator called");
    }

    /// Starts the API server again. While it comes up it answers before it has read the roles, and refuses what it will allow:
    /// only that is meant.
    pub fn restart_apiserver(&mut self) {
        self.looked();
        self.plane.restart_apiserver().unwrap();
        self.refusals_were_meant();
    }

    fn looked(&mut self) -> grants::Usage {
        let usage = self.watch.look().unwrap();
        assert!(
            usage.denied.is_empty(),
            "the operator was refused what it may not do: {:#?}",
            usage.denied
        );
        usage
    }
}

impl Deref for WatchedPlane {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.plane
    }
}

impl DerefMut for WatchedPlane {
    fn deref_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }
}

impl Drop for WatchedPlane {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Of an upgrade that Helm refuses, for one, no operator ever hears.
            self.looked();
        }
    }
}

fn install_manifest() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/install.yaml")).unwrap()
}

/// A namespace of its own for a world.
fn make_namespace(client: &Client, purpose: &str) -> String {
    let name = api_server::namespace_name(purpose);
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let object: Namespace = serde_json::from_value(object).unwrap();
    wait(Api::all(client.clone()).create(&PostParams::default(), &object)).unwrap();
    name
}

/// A namespace, an emulator and, once started, an operator.
pub struct World {
    /// Namespace of this test.
    pub namespace: String,
    /// The cloud.
    pub emulator: EmulatorProcess,
    /// The API server, as administrator.
    pub client: Client,
    /// kubectl as administrator.
    pub kubectl: Kubectl,
    operator: Option<OperatorProcess>,
    options: Vec<String>,
    logs_before: String,
    /// What must be nowhere.
    secrets: Vec<String>,
    kubeconfig: PathBuf,
    proxy: Option<ApiProxy>,
    dir: TempDir,
}

/// The last lines of an operator's log, as a failure shows them.
pub fn tail_without_trace(logs: &str, lines: usize) -> String {
    let told: Vec<&str> = logs.lines().filter(|line| !line.contains("TRACE")).collect();
    told[told.len().saturating_sub(lines)..].join("\n")
}

/// Fails if an operator beside that of a world, which looks for itself, logged the secret.
pub fn shows_no_secret(logs: &str) {
    assert!(!canary::is_in(logs, [SECRET]), "a secret is in the log");
}

impl World {
    /// A world with the hostile emulator; the operator is not started yet.
    ///
    /// `RAMTRAIL_TEST_PROFILE=documented` takes the other profile, `RAMTRAIL_TEST_ASSUME=ID=BEHAVIOUR` flips one
    /// assumption.
    pub fn new(purpose: &str) -> Self {
        let chosen = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let profile = chosen("RAMTRAIL_TEST_PROFILE").unwrap_or_else(|| "hostile".to_owned());
        let mut arguments = vec![format!("--profile={profile}")];
        arguments.extend(chosen("RAMTRAIL_TEST_ASSUME").map(|flip| format!("--assume={flip}")));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self::with_emulator(purpose, &arguments)
    }

    /// A world with an emulator of these arguments.
    pub fn with_emulator(purpose: &str, arguments: &[&str]) -> Self {
        let (cluster, identity) = cluster();
        let namespace = make_namespace(&cluster.1, purpose);
        Self::with_identity(cluster, identity, namespace, arguments)
    }

    /// A world on another cluster than the shared one; see [`give_rights`].
    pub fn on(cluster: &(Kubectl, Client), purpose: &str, arguments: &[&str]) -> Self {
        let namespace = make_namespace(&cluster.1, purpose);
        Self::in_namespace(cluster, &namespace, arguments)
    }

    /// A world on another cluster than the shared one, in a namespace that is there.
    pub fn in_namespace(cluster: &(Kubectl, Client), namespace: &str, arguments: &[&str]) -> Self {
        let identity = operator_kubeconfig(&cluster.0);
        Self::with_identity(cluster, &identity, namespace.to_owned(), arguments)
    }

    fn with_identity(
        (kubectl, client): &(Kubectl, Client),
        identity: &str,
        namespace: String,
        arguments: &[&str],
    ) -> Self {
        let dir = TempDir::new("world").unwrap();
        let kubeconfig = dir.path().join("operator.kubeconfig");
        fs::write(&kubeconfig, identity).unwrap();
        let keys = [
            format!("--access-key={KEY}:{SECRET}:{ACCOUNT}/{USER}"),
            format!("--access-key={INTRUDER_KEY}:{OTHER_SECRET}:{ACCOUNT}/{INTRUDER}"),
            format!("--access-key={STRANGER_KEY}:{OTHER_SECRET}:{OTHER_ACCOUNT}/stranger"),
        ];
        let all: Vec<&str> = arguments
            .iter()
            .copied()
            .chain(keys.iter().map(String::as_str))
            .collect();
        let emulator = EmulatorProcess::start(&all).unwrap();
        let world = Self {
            namespace,
            emulator,
            client: client.clone(),
            kubectl: kubectl.clone(),
            operator: None,
            options: Vec::new(),
            logs_before: String::new(),
            secrets: vec![SECRET.to_owned()],
            kubeconfig,
            proxy: None,
            dir,
        };
        world.write_secret(CREDENTIALS, KEY, SECRET, true);
        world
    }

    /// Adds an argument of the operator; a later one of the same flag wins nothing: give each once.
    #[must_use]
    pub fn option(mut self, argument: &str) -> Self {
        self.options.push(argument.to_owned());
        self
    }

    /// Puts a proxy between the operator and the API server; before the start. See [`World::proxy`].
    #[must_use]
    pub fn behind_proxy(mut self) -> Self {
        let proxy = ApiProxy::before(&self.kubeconfig).unwrap();
        let through = self.dir.path().join("proxy.kubeconfig");
        proxy.write_kubeconfig(&self.kubeconfig, &through).unwrap();
        self.kubeconfig = through;
        self.proxy = Some(proxy);
        self
    }

    /// Lets the operator speak to the API server by another kubeconfig; before the start.
    #[must_use]
    pub fn acting_by(mut self, kubeconfig: &Path) -> Self {
        kubeconfig.clone_into(&mut self.kubeconfig);
        self
    }

    /// By what the operator speaks to the API server.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The proxy before the API server.
    pub fn proxy(&self) -> &ApiProxy {
        self.proxy.as_ref().unwrap()
    }

    /// Starts the operator, or starts it again.
    pub fn start(&mut self) {
        self.operator = Some(OperatorProcess::start(&self.arguments()).unwrap());
    }

    /// The same with another binary than the checkout's.
    pub fn start_program(&mut self, program: &Path) {
        let options = self.arguments().program(program);
        self.operator = Some(OperatorProcess::start(&options).unwrap());
    }

    fn arguments(&self) -> OperatorOptions {
        let defaults = [
            "--resync-interval=2s",
            "--poll-interval=1s",
            "--claim-confirmation=1s",
            "--deletion-grace=5s",
            "--due-call-interval=2s",
            "--http-listen=127.0.0.1:0",
            "--leader-elect=false",
            "--log-level=ramtrail=trace,info",
        ];
        let mut options = OperatorOptions::new(&self.kubeconfig)
            .arg(format!("--namespace={OPERATOR_NAMESPACE}"))
            .arg(format!("--watch-namespaces={}", self.namespace))
            .arg(format!("--cloud-endpoint={}", self.emulator.url()));
        let named = |flag: &str| self.options.iter().any(|option| option.starts_with(flag));
        if !named("--cluster-id=") {
            options = options.arg(format!("--cluster-id={CLUSTER}"));
        }
        for default in defaults {
            if !named(&default[..=default.find('=').unwrap()]) {
                options = options.arg(default);
            }
        }
        for option in &self.options {
            options = options.arg(option);
        }
        options
    }

    /// Starts the operator with exactly these arguments and this environment.
    pub fn start_as(&mut self, options: &OperatorOptions) {
        self.operator = Some(OperatorProcess::start(options).unwrap());
    }

    /// Replaces the operator as a rolling update does: the next one starts and waits for the lease, then this one is asked to end.
    pub fn roll_to(&mut self, options: &OperatorOptions) {
        let next = OperatorProcess::start(options).unwrap();
        self.eventually("the next operator waits for the lease", || {
            let logs = next.logs();
            if logs.contains("another process leads") {
                Ok(())
            } else {
                Err(logs)
            }
        });
        self.stop();
        self.operator = Some(next);
    }

    /// Starts the operator with other options from now on.
    pub fn restart_with(&mut self, options: &[&str]) {
        self.kill();
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self.start();
    }

    /// Ends the operator as the kernel would: no chance to tidy up.
    pub fn kill(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            operator.kill().unwrap();
            self.logs_before.push_str(&operator.logs());
        }
    }

    /// Asks the operator to end and waits for it.
    pub fn stop(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            let status = operator.stop(DEADLINE).unwrap();
            assert!(status.success(), "{status}\n{}", operator.logs());
            self.logs_before.push_str(&operator.logs());
        }
    }

    /// Process id of the operator.
    pub fn operator_pid(&self) -> u32 {
        self.operator.as_ref().unwrap().pid()
    }

    /// Freezes the operator or lets it go on.
    pub fn signal(&mut self, signal: Signal) {
        self.operator.as_mut().unwrap().signal(signal).unwrap();
    }

    /// Everything that operators of this world have logged.
    pub fn logs(&self) -> String {
        let now = self
            .operator
            .as_ref()
            .map(OperatorProcess::logs)
            .unwrap_or_default();
        format!("{}{now}", self.logs_before)
    }

    /// Writes a Secret with keys, labelled or not.
    pub fn write_secret(&self, name: &str, key: &str, secret: &str, labelled: bool) {
        let labels = if labelled {
            json!({"ramtrail.io/credentials": "true"})
        } else {
            json!({})
        };
        self.apply_secret(
            name,
            &json!({
                "metadata": {"labels": labels},
                "stringData": {"ALIBABA_CLOUD_ACCESS_KEY_ID": key, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret},
            }),
        );
    }

    /// Writes a Secret with the keys of a session.
    pub fn write_session(&self, name: &str, key: &str, secret: &str, token: &str) {
        let data = json!({
            "ALIBABA_CLOUD_ACCESS_KEY_ID": key,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret,
            "ALIBABA_CLOUD_SECURITY_TOKEN": token,
        });
        self.apply_secret(
            name,
            &json!({"metadata": {"labels": {"ramtrail.io/credentials": "true"}}, "stringData": data}),
        );
    }

    /// Applies a Secret with whatever it is to hold; its name is filled in.
    pub fn apply_secret(&self, name: &str, rest: &Value) {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": self.namespace},
        });
        merge(&mut object, rest);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        wait(api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object))).unwrap();
    }

    /// Looks for this text, too, in the end.
    pub fn never_show(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    /// Makes keys for a user of an account with these statements and nothing else.
    pub fn add_user(&self, key: &str, account: &str, user: &str, statements: &Value) {
        self.emulator
            .add_identity(&json!({
                "accessKeyId": key, "accessKeySecret": SECRET, "account": account, "user": user,
                "policies": [], "policyDocuments": [{"Version": "1", "Statement": statements}],
            }))
            .unwrap();
    }

    /// Applies an object of ours: kind, name, spec.
    pub fn apply(&self, kind: &str, name: &str, spec: &Value) {
        self.apply_object(kind, name, &json!({"spec": spec}));
    }

    /// Applies an object of ours with whatever else; metadata is filled in.
    pub fn apply_object(&self, kind: &str, name: &str, rest: &Value) {
        let mut object = json!({
            "apiVersion": "ramtrail.io/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
        });
        merge(&mut object, rest);
        let parameters = PatchParams::apply("test").force();
        wait(
            self.dynamic(kind)
                .patch(name, &parameters, &Patch::Apply(&object)),
        )
        .unwrap_or_else(|error| panic!("{error}: {object}"));
    }

    /// Sets or removes an annotation.
    pub fn annotate(&self, kind: &str, name: &str, key: &str, value: Option<&str>) {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        wait(
            self.dynamic(kind)
                .patch(name, &PatchParams::default(), &Patch::Merge(&patch)),
        )
        .unwrap();
    }

    /// Changes the spec by a merge patch.
    pub fn patch_spec(&self, kind: &str, name: &str, spec: &Value) {
        let patch = json!({"spec": spec});
        wait(
            self.dynamic(kind)
                .patch(name, &PatchParams::default(), &Patch::Merge(&patch)),
        )
        .unwrap();
    }

    /// Asks for the deletion of an object and returns at once.
    pub fn delete(&self, kind: &str, name: &str) {
        wait(self.dynamic(kind).delete(name, &DeleteParams::background())).unwrap();
    }

    /// Deletes the namespace and returns at once.
    pub fn delete_namespace(&self) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        wait(api.delete(&self.namespace, &DeleteParams::background())).unwrap();
    }

    /// Waits until an object is gone.
    pub fn gone(&self, kind: &str, name: &str) {
        self.eventually(&format!("{kind}/{name} is gone"), || {
            let found = wait(self.dynamic(kind).get_opt(name)).unwrap();
            found.map_or(Ok(()), |object| {
                Err(format!("{:?} {}", object.metadata, object.data))
            })
        });
    }

    /// An object of ours as it is now, if it is there.
    pub fn object(&self, kind: &str, name: &str) -> Option<DynamicObject> {
        wait(self.dynamic(kind).get_opt(name)).unwrap()
    }

    fn dynamic(&self, kind: &str) -> Api<DynamicObject> {
        let resource = match kind {
            "AuditProject" => ApiResource::erase::<AuditProject>(&()),
            "AuditLogStore" => ApiResource::erase::<AuditLogStore>(&()),
            "RamTrail" => ApiResource::erase::<RamTrail>(&()),
            other => panic!("{other} is no kind of ours"),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// An object as it is now.
    pub fn get<K>(&self, name: &str) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        wait(Api::<K>::namespaced(self.client.clone(), &self.namespace).get(name)).unwrap()
    }

    /// Waits until an object is as wanted.
    pub fn until<K>(&self, name: &str, what: &str, wanted: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        self.eventually(&format!("{} {name}: {what}", K::kind(&())), || {
            match wait(api.get_opt(name)) {
                Ok(Some(object)) if wanted(&object) => Ok(object),
                other => Err(format!("{other:#?}")),
            }
        })
    }

    /// Waits until a condition of an object has a status and a reason.
    pub fn condition(&self, kind: &str, name: &str, type_: &str, status: &str, reason: &str) -> Value {
        let api = self.dynamic(kind);
        self.eventually(&format!("{kind} {name}: {type_} is {status}/{reason}"), || {
            let object = wait(api.get(name)).map_err(|error| error.to_string())?;
            let conditions = object.data["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let found = conditions.iter().find(|c| c["type"] == type_);
            match found {
                Some(c) if c["status"] == status && c["reason"] == reason => Ok(c.clone()),
                _ => Err(format!("{:#}", object.data)),
            }
        })
    }

    /// The conditions of an object as they are now.
    pub fn conditions(&self, kind: &str, name: &str) -> Vec<Value> {
        let object = wait(self.dynamic(kind).get(name)).unwrap();
        object.data["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// Waits until an object is Ready.
    pub fn ready(&self, kind: &str, name: &str) {
        self.condition(kind, name, READY, "True", "Available");
    }

    /// Waits until an object is Ready and its claim is confirmed: nothing is left to do.
    pub fn settled(&self, kind: &str, name: &str) {
        let api = self.dynamic(kind);
        self.eventually(&format!("{kind} {name} is Ready and its claim confirmed"), || {
            let object = wait(api.get(name)).map_err(|error| error.to_string())?;
            let status = &object.data["status"];
            let ready = status["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|c| c["type"] == READY && c["status"] == "True"));
            let observed = status["observedGeneration"].as_i64() == object.metadata.generation;
            if ready && observed && status["claim"]["confirmed"] == true {
                Ok(())
            } else {
                Err(format!("{:#}", object.data))
            }
        });
    }

    /// Waits until something holds; a failure prints everything there is to know.
    pub fn eventually<T>(&self, what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
        let start = Instant::now();
        loop {
            match probe() {
                Ok(found) => return found,
                Err(seen) if start.elapsed() > DEADLINE => {
                    panic!(
                        "expected within {DEADLINE:?}: {what}\n--- last seen\n{seen}\n{}",
                        self.report()
                    )
                }
                Err(_) => std::thread::sleep((start.elapsed() / 8).clamp(STEPS.0, STEPS.1)),
            }
        }
    }

    /// The operator's log and the journal.
    pub fn report(&self) -> String {
        let tail = tail_without_trace(&self.logs(), 60);
        let rows: Vec<String> = self.journal(0).iter().map(Row::to_string).collect();
        let rows = rows[rows.len().saturating_sub(40)..].join("\n");
        let asked: Vec<xtask::api_proxy::Row> =
            self.proxy.iter().flat_map(|proxy| proxy.journal(0)).collect();
        let told = |rows: &[xtask::api_proxy::Row]| -> String {
            let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
            lines.join("\n")
        };
        let unanswered: Vec<_> = asked.iter().filter(|row| row.status.is_none()).cloned().collect();
        format!(
            "--- not answered by the API server, if behind the proxy\n{}\n--- operator\n{tail}\n--- API server, if behind the proxy\n{}\n--- journal\n{rows}\n--- emulator\n{}",
            told(&unanswered),
            told(&asked[asked.len().saturating_sub(40)..]),
            self.emulator.log_tail(20)
        )
    }

    /// The journal after a row.
    pub fn journal(&self, since: u64) -> Vec<Row> {
        self.emulator
            .journal(since)
            .unwrap()
            .0
            .into_iter()
            .map(Row)
            .collect()
    }

    /// The number of the newest row.
    pub fn now(&self) -> u64 {
        self.emulator.last_row().unwrap()
    }

    /// The operator's mutating calls that changed something, after a row: what decisions 9 counts.
    pub fn writes(&self, since: u64) -> Vec<String> {
        self.journal(since)
            .iter()
            .filter(|row| row.is_ours() && row.is_change())
            .map(|row| row.action().to_owned())
            .collect()
    }

    /// The operator's successful calls of an action, after a row.
    pub fn count(&self, since: u64, action: &str) -> usize {
        self.journal(since)
            .iter()
            .filter(|row| row.is_ours() && row.status() == 200 && row.action() == action)
            .count()
    }

    /// The operator's reads after a row.
    pub fn reads(&self, since: u64) -> Vec<String> {
        self.journal(since)
            .iter()
            .filter(|row| row.is_ours() && !row.is_write())
            .map(|row| row.action().to_owned())
            .collect()
    }

    /// Fails if any call of the operator reduced what protects the audit.
    pub fn nothing_was_reduced(&self) {
        let reducing: Vec<String> = self
            .journal(0)
            .iter()
            .filter(|row| row.is_ours() && row.reduces())
            .map(Row::to_string)
            .collect();
        assert_eq!(reducing, Vec::<String>::new(), "{}", self.report());
    }

    /// Waits until an object was looked at so many times more, by reads of this action.
    pub fn resyncs(&self, action: &str, count: usize) {
        let since = self.now();
        self.eventually(&format!("{count} more calls of {action}"), || {
            let seen = self.reads(since).iter().filter(|read| *read == action).count();
            if seen >= count {
                Ok(())
            } else {
                Err(format!("{seen}"))
            }
        });
    }

    /// What an account holds, as the emulator sums it up.
    pub fn state(&self, account: &str) -> Value {
        self.emulator.state(account).unwrap()
    }

    /// The cloud as somebody else in the same account sees it.
    pub fn intruder(&self) -> CloudClients {
        self.clients(INTRUDER_KEY)
    }

    /// The cloud as somebody in another account sees it.
    pub fn stranger(&self) -> CloudClients {
        self.clients(STRANGER_KEY)
    }

    fn clients(&self, key: &str) -> CloudClients {
        let endpoint = self.emulator.url().parse().unwrap();
        let transport = TransportOptions {
            cloud_endpoint: Some(endpoint),
            ..TransportOptions::default()
        };
        let mut options = CloudOptions::new("intruder".parse().unwrap());
        options.rates = PublishedRates {
            log_management: 1000.0,
            ..options.rates
        };
        let cloud = wait(async {
            Cloud::new(
                options,
                Arc::new(ReqwestSender::new(transport).unwrap()),
                Arc::new(NoObserver),
            )
        });
        let source = StaticCredentials::new("a test", Credential::new(key, OTHER_SECRET));
        cloud.clients(Arc::new(source), &Region::new(REGION).unwrap())
    }

    /// Events about objects of this namespace, wherever they were written: (reason, note).
    pub fn events(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for namespace in [&self.namespace, OPERATOR_NAMESPACE] {
            let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
            for event in wait(api.list(&ListParams::default())).unwrap() {
                let about = event.regarding.and_then(|regarding| regarding.namespace);
                if about.as_deref() == Some(self.namespace.as_str()) {
                    all.push((event.reason.unwrap_or_default(), event.note.unwrap_or_default()));
                }
            }
        }
        all
    }

    /// Waits for an Event with this reason and returns its note.
    pub fn event(&self, reason: &str) -> String {
        self.eventually(&format!("an Event {reason}"), || {
            let events = self.events();
            events
                .iter()
                .find(|(found, _)| found == reason)
                .map(|(_, note)| note.clone())
                .ok_or(format!("{events:?}"))
        })
    }

    /// The resourceVersions of all our objects of this namespace.
    pub fn versions(&self) -> Vec<String> {
        ["AuditProject", "AuditLogStore", "RamTrail"]
            .iter()
            .flat_map(|kind| wait(self.dynamic(kind).list(&ListParams::default())).unwrap())
            .map(|object| format!("{} {:?}", object.name_any(), object.metadata.resource_version))
            .collect()
    }

    /// What the operator's metrics say now; nothing if no operator runs that answers.
    pub fn metrics(&self) -> Option<String> {
        let logs = self.operator.as_ref()?.logs();
        let line = logs.lines().find(|line| line.contains(SERVED))?;
        let address = line.split("127.0.0.1:").nth(1)?;
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .proxy(None)
            .build()
            .into();
        let mut answer = agent
            .get(format!("http://127.0.0.1:{port}/metrics"))
            .call()
            .ok()?;
        answer.body_mut().read_to_string().ok()
    }

    /// Fails if a secret is anywhere that people or programs can read: logs, metrics, the journal of the cloud, and whole objects
    /// with their managed fields: ours, Events, Leases. Every world ends with it.
    pub fn secret_is_nowhere(&self) {
        let mut texts = vec![
            ("the log".to_owned(), self.logs()),
            ("the metrics".to_owned(), self.metrics().unwrap_or_default()),
        ];
        // That of a soak is too long to be fetched as a whole, and holds no more sorts of rows than others.
        let since = self.now().saturating_sub(JOURNAL_ROWS);
        let journal = self.emulator.journal(since).unwrap().0;
        texts.push(("the journal".to_owned(), Value::Array(journal).to_string()));
        let objects = ["AuditProject", "AuditLogStore", "RamTrail"].map(|kind| self.dynamic(kind));
        let other = |resource: &ApiResource, namespace: &str| {
            Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, resource)
        };
        let (events, leases) = (ApiResource::erase::<Event>(&()), ApiResource::erase::<Lease>(&()));
        let others = [
            other(&events, &self.namespace),
            other(&events, OPERATOR_NAMESPACE),
            other(&leases, OPERATOR_NAMESPACE),
        ];
        for api in objects.into_iter().chain(others) {
            match wait(api.list(&ListParams::default())) {
                Ok(list) => texts.extend(list.into_iter().map(|object| {
                    let json = serde_json::to_string(&object).unwrap();
                    (format!("{} {}", api.resource_url(), object.name_any()), json)
                })),
                // The kind was taken away, and its objects with it.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => panic!("{}: {error}", api.resource_url()),
            }
        }
        let secrets = || self.secrets.iter().map(String::as_str);
        for (place, text) in texts {
            assert!(!canary::is_in(&text, secrets()), "a secret is in {place}");
        }
    }
}

/// Rows of the cloud's journal that are looked through for a secret.
const JOURNAL_ROWS: u64 = 5000;
/// What an operator says before the address of its metrics.
const SERVED: &str = "probes and metrics are served";

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic here would end the whole program, with all that runs beside.
            let report = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.report()));
            let report = report.unwrap_or_else(|_| "the emulator does not answer".to_owned());
            eprintln!("--- world {} at the failure\n{report}", self.namespace);
        } else {
            self.secret_is_nowhere();
        }
    }
}

/// One call, as the emulator's journal has it.
#[derive(Clone, Debug)]
pub struct Row(pub Value);

impl Row {
    /// The API action.
    pub fn action(&self) -> &str {
        self.0["action"].as_str().unwrap_or_default()
    }

    /// HTTP status; 0 for a call that was dropped.
    pub fn status(&self) -> u64 {
        self.0["status"].as_u64().unwrap_or_default()
    }

    /// Whether the emulator's own table calls it a write.
    pub fn is_write(&self) -> bool {
        self.0["isWrite"] == true
    }

    /// A write that was answered 200 and changed something.
    pub fn is_change(&self) -> bool {
        self.is_write() && self.status() == 200 && self.0["changed"] == true
    }

    /// Whether the operator made it.
    pub fn is_ours(&self) -> bool {
        self.0["userAgent"]
            .as_str()
            .is_some_and(|agent| agent.starts_with("ramtrail/") && !agent.contains("(intruder;"))
    }

    /// Whether it reduced what protects the audit.
    pub fn reduces(&self) -> bool {
        self.0["effects"]
            .as_array()
            .is_some_and(|all| all.iter().any(|effect| effect["change"] == "down"))
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = &self.0;
        let who = if self.is_ours() { "operator" } else { "other" };
        write!(
            f,
            "{:>4} {} {who:8} {} {} {} {}{} args {} effects {}",
            row["seq"],
            row["time"].as_str().unwrap_or_default(),
            if self.is_write() { "W" } else { "r" },
            self.action(),
            self.status(),
            row["errorCode"].as_str().unwrap_or_default(),
            if row["changed"] == true { " changed" } else { "" },
            row["args"],
            row["effects"],
        )
    }
}

/// Lays `over` over `base`, objects into objects.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// The spec of an AuditProject with the test's credentials.
pub fn project_spec(name: &str) -> Value {
    json!({"region": REGION, "projectName": name, "credentials": {"secretRef": {"name": CREDENTIALS}}})
}

/// The spec of an AuditLogStore.
pub fn store_spec(project: &str, name: &str, days: i32) -> Value {
    json!({"projectRef": {"name": project}, "logStoreName": name, "retentionDays": days})
}

/// The value of a condition, for assertions on objects that are at hand.
pub fn reason_of(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    type_: &str,
) -> String {
    condition::find(conditions, type_)
        .map(|c| format!("{}/{}", c.status, c.reason))
        .unwrap_or_default()
}
