//! The command blocks of the documentation, run as they stand.
//!
//! Each page gets a control plane and an emulated cloud of its own. There is no node: as soon as a page has installed the
//! operator, the process that its Deployment describes is started beside it. `python3` is an interpreter with the official SDKs,
//! for which the names of the cloud lead to the emulator. Where the page shows what a block prints, it has to print that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use xtask::assets::{self, Tool};
use xtask::book::{self, Block, Page};
use xtask::control_plane::{ControlPlane, Options, command_in, free_port};
use xtask::deployment::Manifest;
use xtask::emulator::EmulatorProcess;
use xtask::kubectl::Kubectl;
use xtask::operator::OperatorProcess;
use xtask::python::Python;
use xtask::temp_dir::TempDir;
use xtask::terminal::{self, Style};
use xtask::workspace::{binary, random_hex, root};

use super::demo::sdk::Sdk;

/// The account of the examples.
const ACCOUNT: &str = "1234567890123456";
const REGION: &str = "cn-hangzhou";
const NAMESPACE: &str = super::generate::NAMESPACE;
/// Bounds a failure only, in seconds.
const DEADLINE: &str = "300";

/// Runs the blocks of all pages, or of one, and says how many there were.
pub(crate) fn run(only: Option<&str>) -> Result<String> {
    let (mut ran, mut left_out, mut shown) = (0, 0, 0);
    for page in book::pages()? {
        if only.is_some_and(|only| page.path != Path::new(only)) {
            continue;
        }
        let (run, not): (Vec<Block>, Vec<Block>) = page
            .blocks()
            .into_iter()
            .filter(|block| block.language == "sh")
            .partition(Block::runs);
        left_out += not.len();
        if run.is_empty() {
            continue;
        }
        terminal::heading(&page.path.display().to_string());
        ran += page_run(&page, &run)?;
        shown += run.iter().filter(|block| block.shows.is_some()).count();
    }
    if ran == 0 {
        bail!("no block ran");
    }
    Ok(format!(
        "{ran} command blocks ran, {shown} of them printed what the page shows; {left_out} are marked as not run"
    ))
}

fn page_run(page: &Page, blocks: &[Block]) -> Result<usize> {
    let mut stand = Stand::new()?;
    for block in blocks {
        let place = format!("{}:{}", page.path.display(), block.line);
        let start = Instant::now();
        if let Err(error) = stand.block(block) {
            if let Some(operator) = &stand.operator {
                println!("the end of the operator's log:\n{}", operator.log_tail(15));
            }
            return Err(error.context(format!(
                "{place} failed; again: cargo xtask docs --run --page {}",
                page.path.display()
            )));
        }
        let first = block.text.lines().next().unwrap_or_default();
        terminal::table(&[vec![
            terminal::paint(Style::Good, "ran"),
            place,
            terminal::elapsed(start.elapsed()),
            first.to_owned(),
        ]]);
    }
    Ok(blocks.len())
}

struct Stand {
    operator: Option<OperatorProcess>,
    emulator: EmulatorProcess,
    python: Python,
    _sdk: Sdk,
    /// The operator's key.
    key: (String, String),
    /// The account's own, for what sets the stage.
    root_key: (String, String),
    dir: TempDir,
    control_plane: ControlPlane,
}

impl Stand {
    fn new() -> Result<Self> {
        let control_plane = ControlPlane::start(&Options::new().controller_manager())?;
        let (id, secret) = (format!("LTAI{}", random_hex(10)?), random_hex(15)?);
        let flag = format!("{id}:{secret}:{ACCOUNT}");
        let emulator = EmulatorProcess::start(&["--profile", "documented", "--access-key", &flag])?;
        let python = Python::ensure()?;
        let mut sdk = Sdk::start(&python, emulator.listen())?;
        sdk.must::<Value>(&json!({ "do": "root", "id": id, "secret": secret, "region": REGION }))?;
        let policy = |path: &str| -> Result<Value> {
            let text =
                fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))?;
            serde_json::from_str(&text).with_context(|| format!("in {path}"))
        };
        let user = json!({ "do": "user", "name": "ramtrail-operator", "document": policy("deploy/ram-policy.json")? });
        let key: Value = sdk.must(&user)?;
        let text = |name: &str| {
            key[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("no {name}"))
        };
        let key = (text("accessKeyId")?, text("accessKeySecret")?);
        let role = json!({
            "do": "role", "name": "ramtrail-copy", "service": "log.aliyuncs.com",
            "document": policy("deploy/copy-role-policy.json")?,
        });
        sdk.must::<Value>(&role)?;
        Ok(Self {
            operator: None,
            emulator,
            python,
            _sdk: sdk,
            key,
            root_key: (id, secret),
            dir: TempDir::new("docs")?,
            control_plane,
        })
    }

    fn block(&mut self, block: &Block) -> Result<()> {
        let text = &block.text;
        let mut command = self.command()?;
        // The group of `timeout` gets the signal, so that nothing of a block stays.
        let output = command
            .args([DEADLINE, "sh", "-eu", "-c", text])
            .output()
            .context("cannot run timeout")?;
        if !output.status.success() {
            bail!(
                "{}\n{text}{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        block.check(&String::from_utf8_lossy(&output.stdout))?;
        self.follow_deployment()
    }

    fn command(&self) -> Result<Command> {
        let mut command = command_in(&self.control_plane, "timeout")?;
        let mut folders = Vec::new();
        for program in [assets::ensure(Tool::Helm)?, binary("ramtrail")?] {
            folders.extend(program.parent().map(Path::to_owned));
        }
        folders.push(self.python.programs().to_owned());
        let path = command
            .get_envs()
            .find(|(key, _)| *key == "PATH")
            .and_then(|(_, value)| value)
            .context("a command without PATH")?
            .to_owned();
        let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path)))
            .context("PATH cannot be extended")?;
        let work = self.dir.path();
        command
            .env("PATH", path)
            .env("HOME", work)
            // No command of a page may look for the real cloud.
            .env("RAMTRAIL_CLOUD_ENDPOINT", self.emulator.url())
            .env("RAMTRAIL_DOCS_CLOUD", self.emulator.listen())
            // Its sitecustomize.py leads names of the cloud there.
            .env("PYTHONPATH", root().join("xtask/docs"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("RAMTRAIL_DOCS_ROOT_KEY_ID", &self.root_key.0)
            .env("RAMTRAIL_DOCS_ROOT_KEY_SECRET", &self.root_key.1)
            .env("ALIBABA_CLOUD_ACCESS_KEY_ID", &self.key.0)
            .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", &self.key.1)
            .current_dir(root());
        Ok(command)
    }

    /// Starts the operator when a page has installed it, and ends it when the page has removed it.
    fn follow_deployment(&mut self) -> Result<()> {
        let kubectl = self.control_plane.kubectl();
        let found = kubectl.run([
            "-n",
            NAMESPACE,
            "get",
            "deployment",
            "ramtrail",
            "--ignore-not-found",
            "-o",
            "json",
        ])?;
        match (&mut self.operator, found.trim().is_empty()) {
            (None, false) => {
                let path = self.dir.path().join("deployment.json");
                fs::write(&path, &found).context("cannot write the Deployment")?;
                self.operator = Some(start(kubectl, &path, &self.emulator, self.dir.path())?);
            }
            (Some(operator), true) => {
                operator.stop(Duration::from_secs(60))?;
                self.operator = None;
            }
            (Some(operator), false) => operator.must_run()?,
            (None, true) => {}
        }
        Ok(())
    }
}

fn start(kubectl: &Kubectl, path: &Path, emulator: &EmulatorProcess, dir: &Path) -> Result<OperatorProcess> {
    let manifest = Manifest::read(kubectl, path)?;
    let kubeconfig: PathBuf = dir.join("operator.kubeconfig");
    kubectl.write_service_account_kubeconfig(
        &kubeconfig,
        manifest.namespace()?,
        manifest.service_account()?,
    )?;
    let endpoint = emulator.url();
    let listen = format!("127.0.0.1:{}", free_port()?);
    let replaced = [
        ("--cloud-endpoint", endpoint.as_str()),
        ("--http-listen", listen.as_str()),
        ("--resync-interval", "10s"),
        ("--poll-interval", "3s"),
        ("--due-call-interval", "5s"),
        ("--claim-confirmation", "3s"),
    ];
    let options = manifest.process(&kubeconfig, &replaced, |_, _| Ok(None))?;
    let mut operator = OperatorProcess::start(&options)?;
    operator.must_run()?;
    Ok(operator)
}
