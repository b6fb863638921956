//! `cargo xtask demo`: the whole job in front of one's eyes.
//!
//! Nothing here is acted: every line that claims something was read from the API server, from the emulated cloud
//! by an official SDK, or from the cloud's journal; every time was measured.

mod conditions;
mod people;
pub(crate) mod sdk;
mod seed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use xtask::assets::{self, Tool};
use xtask::control_plane::{ControlPlane, Options, free_port};
use xtask::deployment::Manifest;
use xtask::emulator::EmulatorProcess;
use xtask::kubectl::Kubectl;
use xtask::operator::OperatorProcess;
use xtask::python::Python;
use xtask::temp_dir::TempDir;
use xtask::terminal::{self, Style};
use xtask::wait::{self, Probe};
use xtask::workspace::{cargo, random_hex, root, write_private};

use conditions::Watch;
use sdk::Sdk;
use seed::Seed;

const INSTALL: &str = "deploy/install.yaml";
const EXAMPLE: &str = "deploy/examples/ai-workload-audit-trail.yaml";
/// The RAM policy that the documentation asks users to give the operator.
const OPERATOR_POLICY: &str = "deploy/ram-policy.json";
/// The RAM user whose key the operator holds.
const OPERATOR_USER: &str = "ramtrail-operator";

/// Bounds a failure only; what is shown is the time a thing took.
const DEADLINE: Duration = Duration::from_secs(180);

/// Show the whole job on a real kube-apiserver and an emulated Alibaba Cloud
///
/// Installs deploy/install.yaml, runs the operator under its own ServiceAccount, applies the example, lets
/// three identities call the cloud, shows where their events arrive, switches the trail off as an attacker
/// would and shows the repair. Stays up until Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End when everything was seen; fail if something was not
    #[arg(long)]
    once: bool,
    /// Use this cluster instead of a throw-away one; deploy/install.yaml stays in it
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Keep what the operator's /metrics said, before the attack and after it, as files of this folder
    #[arg(long, value_name = "FOLDER", hide = true)]
    record: Option<PathBuf>,
}

/// Everything that runs.
struct Stage {
    operator: OperatorProcess,
    /// Where it tells its metrics.
    metrics: String,
    sdk: Sdk,
    emulator: EmulatorProcess,
    kubectl: Kubectl,
    seed: Seed,
    /// Holds the kubeconfigs.
    _dir: TempDir,
    // Last, so that it ends last.
    _control_plane: Option<ControlPlane>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    println!(
        "{}",
        terminal::paint(Style::Bold, "ramtrail: an audit trail, declared, kept and proved")
    );
    build()?;
    let start = Instant::now();
    let mut stage = set_up(args)?;
    if let Err(error) = tell(&mut stage, args.record.as_deref()) {
        // What the operator says of it is gone with its folder.
        terminal::heading("The end of the operator's log");
        terminal::line(&stage.operator.log_tail(20).replace('\n', "\n  "));
        return Err(error);
    }
    terminal::heading(&terminal::paint(Style::Good, "Everything above was observed."));
    terminal::line(&format!(
        "The whole run took {}.",
        terminal::elapsed(start.elapsed())
    ));
    if !args.once {
        stay(&mut stage, args.kubeconfig.is_some())?;
    }
    if args.kubeconfig.is_some() {
        clean_up(&mut stage)?;
    }
    stage.operator.stop(Duration::from_secs(30))?;
    Ok(ExitCode::SUCCESS)
}

/// The story, once the stage is set.
fn tell(stage: &mut Stage, record: Option<&Path>) -> Result<()> {
    let keep = |name: &str, text: &str| match record {
        Some(folder) => {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        }
        None => Ok(()),
    };
    apply_example(stage)?;
    let delivering = stage.metrics()?;
    keep("delivering", &delivering)?;
    let calls = people::call_the_cloud(stage)?;
    people::follow_the_events(stage, &calls)?;
    show_table(stage)?;
    if record.is_some() {
        keep("healthy", &proved_again(stage, &delivering)?)?;
    }
    people::attack(stage)?;
    if record.is_some() {
        // The next look at the trail says so.
        let text = metrics_when(stage, "the trail is seen to log again", |text| {
            let logs = value(text, "ramtrail_trail_logging{");
            logs.first().is_some_and(|logs| *logs > 0.5)
        })?;
        keep("repaired", &text)?;
        keep("afterwards", &proved_again(stage, &text)?)?;
    }
    Ok(())
}

impl Stage {
    /// What the operator's `/metrics` says.
    fn metrics(&self) -> Result<String> {
        let answer = ureq::get(&self.metrics).call();
        let mut answer = answer.with_context(|| format!("{} does not answer", self.metrics))?;
        Ok(answer.body_mut().read_to_string()?)
    }
}

/// The metrics once delivery was proved again since these, and an event seen: from two that are the same nobody could tell that
/// things go on.
fn proved_again(stage: &Stage, before: &str) -> Result<String> {
    let moments = |text: &str| {
        let proof = value(text, "ramtrail_trail_canary_last_success_timestamp_seconds{");
        let event = value(text, "ramtrail_trail_last_event_timestamp_seconds{");
        [proof, event].concat()
    };
    let before = moments(before);
    metrics_when(stage, "delivery is proved again", |text| {
        let now = moments(text);
        now.len() == before.len() && now.iter().zip(&before).all(|(now, was)| now > was)
    })
}

/// The values of the series that begin so.
fn value(text: &str, series: &str) -> Vec<f64> {
    let lines = text.lines().filter(|line| line.starts_with(series));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect()
}

fn metrics_when(stage: &Stage, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
    wait::until(what, DEADLINE, Duration::from_millis(500), || {
        let text = stage.metrics()?;
        Ok(if wanted(&text) {
            Probe::Done(text)
        } else {
            Probe::Pending("the metrics do not say so yet".to_owned())
        })
    })
}

/// With cargo's own progress: the first build takes minutes.
fn build() -> Result<()> {
    terminal::heading("Operator and emulator are built");
    let status = cargo()
        .args(["build", "--workspace", "--bins"])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("ramtrail does not build");
    }
    Ok(())
}

fn set_up(args: &Args) -> Result<Stage> {
    let python = Python::ensure()?;
    terminal::heading("The stage");
    let dir = TempDir::new("demo")?;
    let (control_plane, kubectl) = cluster(args.kubeconfig.as_deref(), dir.path())?;
    let manifest = install(&kubectl)?;
    let seed = Seed::read(&kubectl, &root().join(EXAMPLE))?;

    let start = Instant::now();
    let (id, secret) = (format!("LTAI{}", random_hex(10)?), random_hex(15)?);
    let flag = format!("{id}:{secret}:{}", seed.account);
    let emulator = EmulatorProcess::start(&["--profile", "documented", "--access-key", &flag])?;
    let mut sdk = Sdk::start(&python, emulator.listen())?;
    let key = json!({ "do": "root", "id": id, "secret": secret, "region": seed.region });
    sdk.must::<Value>(&key)?;
    let cloud = format!(
        "an emulated Alibaba Cloud at {}, account {}",
        emulator.listen(),
        seed.account
    );
    step(start, &cloud);

    let start = Instant::now();
    let listen = format!("127.0.0.1:{}", free_port()?);
    let operator = start_operator(&kubectl, &manifest, &emulator, &listen, dir.path())?;
    step(
        start,
        "the operator, started as its Deployment says, with its own ServiceAccount's token",
    );
    Ok(Stage {
        operator,
        metrics: format!("http://{listen}/metrics"),
        sdk,
        emulator,
        kubectl,
        seed,
        _dir: dir,
        _control_plane: control_plane,
    })
}

/// A throw-away control plane, or the user's, reached by a copy of the kubeconfig.
fn cluster(kubeconfig: Option<&Path>, dir: &Path) -> Result<(Option<ControlPlane>, Kubectl)> {
    let start = Instant::now();
    let copy = dir.join("admin.kubeconfig");
    let Some(path) = kubeconfig else {
        let control_plane = ControlPlane::start(&Options::new().controller_manager())?;
        fs::copy(control_plane.kubeconfig(), &copy).context("cannot copy the kubeconfig")?;
        let kubectl = Kubectl::new(&copy)?;
        let version = server_version(&kubectl)?;
        step(
            start,
            &format!(
                "kube-apiserver {version} and etcd, real, at {}",
                control_plane.server()
            ),
        );
        return Ok((Some(control_plane), kubectl));
    };
    let theirs = Kubectl::new(path)?.run(["config", "view", "--raw", "--minify", "--flatten"])?;
    write_private(&copy, theirs.as_bytes())?;
    let kubectl = Kubectl::new(&copy)?;
    step(
        start,
        &format!(
            "your kube-apiserver {} at {}",
            server_version(&kubectl)?,
            kubectl.cluster()?.server()?
        ),
    );
    Ok((None, kubectl))
}

fn server_version(kubectl: &Kubectl) -> Result<String> {
    let version = kubectl.json(["version"])?;
    Ok(version["serverVersion"]["gitVersion"]
        .as_str()
        .context("the API server tells no version")?
        .to_owned())
}

/// Installs what `deploy/install.yaml` holds, apart from the Deployment.
fn install(kubectl: &Kubectl) -> Result<Manifest> {
    let start = Instant::now();
    let manifest = Manifest::read(kubectl, &root().join(INSTALL))?;
    let objects = kubectl.apply(&manifest.others())?.lines().count();
    kubectl.wait_for_crds(&manifest.names("CustomResourceDefinition"), DEADLINE)?;
    step(
        start,
        &format!("{INSTALL}: {objects} objects applied, the Deployment left out (there is no node)"),
    );
    Ok(manifest)
}

/// Starts the process that the Deployment describes.
fn start_operator(
    kubectl: &Kubectl,
    manifest: &Manifest,
    emulator: &EmulatorProcess,
    listen: &str,
    dir: &Path,
) -> Result<OperatorProcess> {
    let namespace = manifest.namespace()?;
    let kubeconfig = dir.join("operator.kubeconfig");
    kubectl.write_service_account_kubeconfig(&kubeconfig, namespace, manifest.service_account()?)?;
    let endpoint = emulator.url();
    let replaced = [
        ("--cloud-endpoint", endpoint.as_str()),
        ("--http-listen", listen),
        ("--log-format", "text"),
        ("--resync-interval", "20s"),
        ("--poll-interval", "3s"),
        ("--due-call-interval", "5s"),
    ];
    let secret = |name: &str, key: &str| read_secret(kubectl, namespace, name, key);
    let options = manifest.process(&kubeconfig, &replaced, secret)?;
    let mut operator = OperatorProcess::start(&options)?;
    operator.must_run()?;
    let flags: Vec<String> = replaced
        .iter()
        .map(|(flag, value)| format!("{flag}={value}"))
        .collect();
    for flags in flags.chunks(4) {
        step_remark(&flags.join(" "));
    }
    Ok(operator)
}

fn read_secret(kubectl: &Kubectl, namespace: &str, name: &str, key: &str) -> Result<Option<String>> {
    let template =
        format!("-o=go-template={{{{ with index .data {key:?} }}}}{{{{ . | base64decode }}}}{{{{ end }}}}");
    let args = [
        "-n",
        namespace,
        "get",
        "secret",
        name,
        "--ignore-not-found",
        &template,
    ];
    let value = kubectl.run(args)?;
    Ok(Some(value).filter(|value| !value.is_empty()))
}

/// Takes the example away while the operator is there to let it go.
fn clean_up(stage: &mut Stage) -> Result<()> {
    let start = Instant::now();
    let Stage {
        operator, kubectl, ..
    } = stage;
    operator.must_run()?;
    let timeout = format!("--timeout={}s", DEADLINE.as_secs());
    kubectl.run([
        "delete",
        "--ignore-not-found",
        &timeout,
        "-f",
        &root().join(EXAMPLE).display().to_string(),
    ])?;
    step(start, "the example is deleted from your cluster");
    Ok(())
}

/// The key that the example's project refers to: that of a RAM user with the operator's policy and nothing else.
fn give_credentials(stage: &mut Stage) -> Result<()> {
    let Stage {
        sdk, kubectl, seed, ..
    } = stage;
    let policy = fs::read_to_string(root().join(OPERATOR_POLICY))
        .with_context(|| format!("cannot read {OPERATOR_POLICY}"))?;
    let policy: Value = serde_json::from_str(&policy).with_context(|| format!("in {OPERATOR_POLICY}"))?;
    let key: people::Key = sdk.must(&json!({ "do": "user", "name": OPERATOR_USER, "document": policy }))?;
    let store = |name: &str| format!("acs:log:*:*:project/{}/logstore/{name}", seed.project_name);
    let copying = json!({
        "Version": "1",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["log:GetCursorOrData", "log:PullLogs"],
                "Resource": store(&seed.trail_store()),
            },
            { "Effect": "Allow", "Action": "log:PostLogStoreLogs", "Resource": store(&seed.user_store) },
        ],
    });
    let role = json!({
        "do": "role",
        "name": seed.copy_role,
        "service": "log.aliyuncs.com",
        "document": copying,
    });
    sdk.must::<Value>(&role)?;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": seed.namespace } },
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "namespace": seed.namespace,
                    "name": seed.secret,
                    "labels": { "ramtrail.io/credentials": "true" },
                },
                "stringData": {
                    "ALIBABA_CLOUD_ACCESS_KEY_ID": key.access_key_id,
                    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": key.access_key_secret,
                },
            },
        ],
    });
    kubectl.apply(&secret.to_string())?;
    let secret = format!("{}/{}", seed.namespace, seed.secret);
    terminal::table(&[
        vec![
            format!("RAM user {OPERATOR_USER}"),
            dim(&format!("with {OPERATOR_POLICY}; its key is in Secret {secret}")),
        ],
        vec![
            format!("RAM role {}", seed.copy_role),
            dim("may read the trail's store and write the example's store"),
        ],
    ]);
    Ok(())
}

fn apply_example(stage: &mut Stage) -> Result<()> {
    terminal::heading("The example");
    give_credentials(stage)?;
    let Stage {
        operator,
        kubectl,
        seed,
        ..
    } = stage;
    // What an earlier run said of them would be taken for this run's word.
    let present = kubectl.run(["get", "aproj,als,rt", "-n", &seed.namespace, "-o", "name"])?;
    if !present.is_empty() {
        bail!(
            "namespace {} holds objects already, delete them first: {}",
            seed.namespace,
            present.trim()
        );
    }
    shown(&format!("kubectl apply --server-side -f {EXAMPLE}"));
    for line in kubectl.apply_path(&root().join(EXAMPLE))?.lines() {
        terminal::line(&dim(line));
    }
    println!();
    let watch = Watch {
        kubectl,
        seed,
        start: Instant::now(),
    };
    let trail = [seed.trail.clone()];
    watch.until_true(&seed.objects, "Ready", || operator.must_run())?;
    watch.until_true(&trail, "Logging", || operator.must_run())?;
    watch.until_true(&trail, "Delivering", || operator.must_run())
}

fn show_table(stage: &Stage) -> Result<()> {
    let Stage { kubectl, seed, .. } = stage;
    terminal::heading("What kubectl says");
    shown(&format!("kubectl get aproj,als,rt -n {}", seed.namespace));
    let answer = kubectl.run(["get", "aproj,als,rt", "-n", &seed.namespace])?;
    for line in answer.lines() {
        terminal::line(line);
    }
    Ok(())
}

fn stay(stage: &mut Stage, is_their_cluster: bool) -> Result<()> {
    let Stage {
        operator,
        metrics,
        emulator,
        kubectl,
        seed,
        ..
    } = stage;
    terminal::heading("It stays up until Ctrl-C. Have a look:");
    let rows = [
        (
            "talk to the cluster",
            format!("export KUBECONFIG={}", kubectl.kubeconfig().display()),
        ),
        (
            "the resources",
            format!("kubectl get aproj,als,rt -n {}", seed.namespace),
        ),
        (
            "one in full",
            format!("kubectl describe rt -n {} {}", seed.namespace, seed.trail.name),
        ),
        (
            "the operator's log",
            format!("tail -f {}", operator.log_file().display()),
        ),
        ("the operator's metrics", metrics.clone()),
        ("the cloud", emulator.url()),
        (
            "kubectl, if you have none",
            assets::ensure(Tool::Kubectl)?.display().to_string(),
        ),
    ];
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(what, how)| vec![what.to_owned(), terminal::paint(Style::Accent, how)])
        .collect();
    terminal::table(&rows);
    if is_their_cluster {
        // Nobody lets go of the objects once the operator is gone.
        terminal::line("Before Ctrl-C, delete the example:");
        shown(&format!("kubectl delete -f {EXAMPLE}"));
    }
    loop {
        operator.must_run()?;
        emulator.must_run()?;
        thread::sleep(Duration::from_secs(1));
    }
}

/// A command as one would type it.
fn shown(command: &str) {
    terminal::line(&format!(
        "{} {}",
        dim("$"),
        terminal::paint(Style::Accent, command)
    ));
}

/// Secondary text.
fn dim(text: &str) -> String {
    terminal::paint(Style::Dim, text)
}

/// A remark under a step.
fn step_remark(text: &str) {
    terminal::line(&terminal::paint(Style::Dim, format!("{:>7}  {text}", "")));
}

/// Something that is done, and how long it took.
fn step(start: Instant, what: &str) {
    let time = terminal::paint(Style::Dim, format!("{:>7}", terminal::elapsed(start.elapsed())));
    terminal::line(&format!("{time}  {what}"));
}
