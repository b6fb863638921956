//! `cargo xtask test`: every check of the repository, in named and timed parts.
//!
//! Output of the tools is streamed as it comes; the table at the end repeats their own closing lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use serde_json::Value;
use xtask::ahead::Ahead;
use xtask::assets::{self, Tool};
use xtask::canary;
use xtask::control_plane::{ControlPlane, Options, TEST_KUBECONFIG};
use xtask::crates::{self, Program};
use xtask::grants::{Account, Usage, Watch};
use xtask::needs::Need;
use xtask::python::Python;
use xtask::share::{self, Share};
use xtask::terminal::{self, Style};
use xtask::workspace::{at_low_priority, binary, cargo, root};

use super::{docs, docs_commands, generate};

/// Run the checks: formatting, lints, licences, unit and API-server tests, SDK conformance, manifests
///
/// All parts run even if one fails; a table at the end says how each went. Tests of the Rust workspace run
/// once, against one shared kube-apiserver. The long tier (`--full`) enumerates what can go wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The ordinary parts, then the long tier: crashes, faults, deletions, errors, assumptions, model, soak
    #[arg(long, conflicts_with = "only")]
    full: bool,
    /// Only the long tier
    #[arg(long, conflicts_with_all = ["only", "full"])]
    long: bool,
    /// Run only this part (may be repeated)
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// How much of the matrices of the long tier: `1/3` is a third of their points, chosen by the seed
    #[arg(long, value_name = "N/M", default_value_t = Share::WHOLE, env = share::SHARE)]
    share: Share,
    /// Chooses the points of a share; without it the commit's id
    #[arg(long, value_name = "TEXT", env = share::SEED)]
    seed: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Part {
    /// rustfmt finds nothing to change
    Fmt,
    /// clippy finds nothing on any target
    Clippy,
    /// Bans, licences and sources of dependencies
    Deny,
    /// Binaries and test programs are built
    Build,
    /// All tests of the Rust workspace, in one run: unit, emulator, API server
    Tests,
    /// Only unit tests (contained in `tests`)
    Unit,
    /// Only tests of the operator against kube-apiserver (contained in `tests`)
    ApiServer,
    /// The official SDKs drive the emulator, in both profiles
    Conformance,
    /// CRDs and rendered manifests are what the code and the chart say
    Manifests,
    /// actionlint finds nothing in the workflow files
    Workflows,
    /// Links, anchors and paths of the documentation
    Docs,
    /// Long tier: 10,000 random histories of the pure core against a model of cloud and cluster
    Model,
    /// Long tier: the book is built, the command blocks of the documentation run
    DocsCommands,
    /// Long tier: the operator killed at every write to the cloud and to Kubernetes, and started again
    Crash,
    /// Long tier: deletion, ownership and tenancy in all their combinations
    Lifecycle,
    /// Long tier: every error of the cloud at every call gives its reason and heals
    CloudErrors,
    /// Long tier: the life of the stack under every single flip of an assumption about the cloud
    Flips,
    /// Long tier: faults between operator and API server, fail-over, hostile objects, the clock
    KubeFaults,
    /// Long tier: every alert fires when its trouble really happens, and nothing else does, by Prometheus' rule tester
    Alerts,
    /// Long tier: the chart of an earlier version upgraded and rolled back under live objects, uninstalled, handed over
    Upgrades,
    /// Long tier: real Argo CD syncs, judges, prunes, moves and deletes our objects from a Git repository
    ArgoCd,
    /// Long tier: what a release publishes is made, and its image's own binary does the work
    Image,
    /// Long tier: churn over many accounts; nothing grows, nobody slows another
    Soak,
}

impl Part {
    /// What runs without `--only`, cheap things first.
    const PLAIN: [Self; 9] = [
        Self::Fmt,
        Self::Clippy,
        Self::Deny,
        Self::Build,
        Self::Tests,
        Self::Conformance,
        Self::Manifests,
        Self::Workflows,
        Self::Docs,
    ];
    /// The long tier.
    const LONG: [Self; 12] = [
        Self::Model,
        Self::DocsCommands,
        Self::Crash,
        Self::Lifecycle,
        Self::CloudErrors,
        Self::Flips,
        Self::KubeFaults,
        Self::Alerts,
        Self::Upgrades,
        Self::ArgoCd,
        Self::Image,
        Self::Soak,
    ];
    /// Parts that wait for the clock much of the time: those of one row run side by side, as far as they are chosen.
    const SIDE_BY_SIDE: [&[Self]; 3] = [
        &[Self::Lifecycle, Self::CloudErrors],
        &[Self::Flips, Self::KubeFaults, Self::Alerts],
        &[Self::Upgrades, Self::ArgoCd, Self::Image],
    ];

    /// Runs behind all parts that come after it: it never waits, and at the lowest priority takes what they leave.
    const BEHIND: Self = Self::Model;

    /// The parts in order, those that run side by side together.
    fn groups(parts: &[Self]) -> Vec<Vec<Self>> {
        let row = |part: &Self| Self::SIDE_BY_SIDE.iter().position(|row| row.contains(part));
        parts
            .chunk_by(|one, other| row(one).is_some() && row(one) == row(other))
            .map(<[Self]>::to_vec)
            .collect()
    }

    fn chosen(args: &Args) -> Vec<Self> {
        let only: BTreeSet<Self> = args.only.iter().copied().collect();
        match (only.is_empty(), args.full, args.long) {
            (false, _, _) => only.into_iter().collect(),
            (true, true, _) => Self::PLAIN.into_iter().chain(Self::LONG).collect(),
            (true, false, true) => Self::LONG.to_vec(),
            (true, false, false) => Self::PLAIN.to_vec(),
        }
    }

    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Its test program of the long tier.
    fn program(self) -> Option<&'static str> {
        match self {
            Self::Crash => Some("crash_matrix"),
            Self::KubeFaults => Some("kube_faults"),
            Self::Lifecycle => Some("lifecycle_matrix"),
            Self::CloudErrors => Some("cloud_errors"),
            Self::Flips => Some("assumption_flips"),
            Self::Alerts => Some("alerts"),
            Self::Soak => Some("soak"),
            Self::Upgrades => Some("upgrades"),
            Self::ArgoCd => Some("argo_cd"),
            Self::Image => Some("image"),
            _ => None,
        }
    }

    /// Whether its operators act on the API server that all parts share.
    fn shares_control_plane(self) -> bool {
        matches!(self, Self::Tests | Self::ApiServer) || self.program().is_some()
    }

    /// Whether it needs the binaries and test programs.
    fn needs_build(self) -> bool {
        !matches!(
            self,
            Self::Fmt | Self::Clippy | Self::Deny | Self::Workflows | Self::Docs | Self::Model
        )
    }

    fn run(self, shared: &mut Shared) -> Result<Said> {
        match self {
            Self::Fmt => step(cargo().args(["fmt", "--all", "--check"]), "formatted"),
            Self::Clippy => {
                let args = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
                step(cargo().args(args), "no warnings")?;
                // "All" leaves out what a plain `cargo test` leaves out.
                let long = Self::LONG.iter().filter_map(|part| part.program());
                let programs = long.flat_map(|program| ["--test", program]);
                let mut command = cargo();
                command
                    .arg("clippy")
                    .args(programs)
                    .args(["--", "-D", "warnings"]);
                step(&mut command, "no warnings")
            }
            Self::Deny => deny(),
            Self::Build => Ok("built".to_owned()),
            Self::Tests => rust_tests(&["--workspace"], Some(shared)),
            Self::Unit => rust_tests(&["--workspace", "--lib", "--bins"], None),
            Self::ApiServer => rust_tests(&["--package", "ramtrail", "--test", "*"], Some(shared)),
            Self::Conformance => conformance(),
            Self::Manifests => manifests(),
            Self::Workflows => workflows(),
            Self::Docs => docs::check(),
            Self::DocsCommands => {
                docs::build()?;
                docs_commands::run(None)
            }
            Self::Model
            | Self::Crash
            | Self::KubeFaults
            | Self::Lifecycle
            | Self::CloudErrors
            | Self::Flips
            | Self::Alerts
            | Self::Upgrades
            | Self::ArgoCd
            | Self::Image
            | Self::Soak => counted(&mut self.prepared(shared)?, ""),
        }
    }

    /// What it needs besides the workspace and what it builds at once by itself.
    fn needs(self) -> Vec<Need> {
        let own: &[Need] = match self {
            Self::Tests => &[Need::Tool(Tool::Helm), Need::Sdks],
            Self::Conformance => return vec![Need::Sdks],
            Self::Manifests => return vec![Need::Tool(Tool::Helm)],
            Self::Workflows => return vec![Need::Tool(Tool::Actionlint)],
            Self::DocsCommands => &[Need::Tool(Tool::Helm), Need::Sdks, Need::Program(Program::Mdbook)],
            Self::Upgrades => &[Need::Tool(Tool::Helm)],
            Self::ArgoCd => &[
                Need::Tool(Tool::ArgoCd),
                Need::Tool(Tool::Redis),
                Need::Tool(Tool::Helm),
            ],
            Self::Alerts => &[Need::Tool(Tool::Promtool), Need::Sdks],
            Self::Image => &[
                Need::Tool(Tool::Helm),
                Need::Program(Program::CargoAuditable),
                Need::ImageTools,
            ],
            _ => &[],
        };
        let plane: &[Need] = if self.shares_control_plane() || self == Self::DocsCommands {
            &Need::CONTROL_PLANE
        } else {
            &[]
        };
        [plane, own].concat()
    }

    /// Its tests, once everything that they need is there: not made in the middle of a test.
    fn prepared(self, shared: &mut Shared) -> Result<Command> {
        for need in self.needs() {
            need.meet()?;
        }
        let mut command = cargo();
        command
            .env(share::SHARE, shared.share.to_string())
            .env(share::SEED, &shared.seed);
        let Some(program) = self.program() else {
            // The model test with many more histories than an ordinary run has.
            if std::env::var_os("RAMTRAIL_MODEL_RUNS").is_none() {
                command.env("RAMTRAIL_MODEL_RUNS", MODEL_RUNS);
            }
            let args = [
                "test",
                "--package",
                "ramtrail",
                "--lib",
                "model",
                "--",
                "--nocapture",
            ];
            command.args(args);
            return Ok(at_low_priority(&command));
        };
        if std::env::var_os("RUST_TEST_THREADS").is_none() {
            let threads = if self == Self::KubeFaults {
                FAULT_THREADS
            } else {
                LONG_THREADS
            };
            command.env("RUST_TEST_THREADS", threads);
        }
        command
            .env(TEST_KUBECONFIG, shared.control_plane()?.kubeconfig())
            .args(["test", "--package", "ramtrail", "--test", program, "--"])
            .arg("--nocapture");
        Ok(command)
    }
}

/// What became of a part, and how long it took.
type Ended = (Part, Result<Said>, Duration);

/// A part whose tests run beside other work, what they print behind its name.
struct Running {
    part: Part,
    thread: JoinHandle<(Result<Said>, Duration)>,
}

impl Running {
    fn start(part: Part, tests: Result<Command>, width: usize) -> Self {
        let prefix = format!("{:width$} | ", part.name());
        let prefix = terminal::paint(Style::Accent, &prefix);
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let result = tests.and_then(|mut tests| counted(&mut tests, &prefix));
            (result, start.elapsed())
        });
        Self { part, thread }
    }

    fn ended(self) -> Ended {
        match self.thread.join() {
            Ok((result, took)) => (self.part, result, took),
            Err(_) => (self.part, Err(anyhow!("its thread panicked")), Duration::ZERO),
        }
    }
}

/// Runs parts side by side.
fn side_by_side(parts: &[Part], shared: &mut Shared) -> Vec<Ended> {
    let names = parts.iter().map(|part| part.name().len());
    let width = names.max().unwrap_or_default();
    let mut ready = Vec::new();
    for part in parts {
        let tests = shared.build().and_then(|()| part.prepared(shared));
        ready.push((*part, tests));
    }
    let running: Vec<_> = ready
        .into_iter()
        .map(|(part, tests)| Running::start(part, tests, width))
        .collect();
    running.into_iter().map(Running::ended).collect()
}

/// What the parts of one run have in common.
struct Shared {
    parts: Vec<Part>,
    share: Share,
    seed: String,
    built: Option<bool>,
    control_plane: Option<ControlPlane>,
    /// What the operators of the tests were allowed and refused there.
    watch: Option<Watch>,
}

impl Shared {
    /// The API server of all parts of this run, started by the first that needs it.
    fn control_plane(&mut self) -> Result<&ControlPlane> {
        if self.control_plane.is_none() {
            let options = Options::new()
                .controller_manager()
                .audit_policy(&OPERATOR.audit_policy());
            // A cold cache makes them first, each with a progress line of its own.
            for need in Need::CONTROL_PLANE {
                need.meet()?;
            }
            let started = terminal::progress("starting the API server that all tests share", || {
                ControlPlane::start(&options)
            })?;
            self.control_plane = Some(started);
        }
        self.control_plane.as_ref().context("just started")
    }

    /// Builds if one of these parts needs it.
    fn build_for(&mut self, parts: &[Part]) -> Result<()> {
        if parts.iter().any(|part| part.needs_build()) {
            self.build()
        } else {
            Ok(())
        }
    }

    /// Builds once per run: test programs, and the binaries that tests start.
    fn build(&mut self) -> Result<()> {
        match self.built {
            Some(true) => return Ok(()),
            Some(false) => bail!("not run, since the build failed"),
            None => self.built = Some(false),
        }
        let programs: Vec<&str> = self.parts.iter().filter_map(|part| part.program()).collect();
        let plain = self
            .parts
            .iter()
            .any(|part| part.needs_build() && part.program().is_none());
        if plain {
            // Builds the binaries as well, with the features the test programs use: nothing is compiled twice.
            step(cargo().args(["test", "--workspace", "--no-run"]), "built")?;
        }
        if !programs.is_empty() {
            if !plain {
                step(cargo().args(["build", "--workspace", "--bins"]), "built")?;
            }
            let mut command = cargo();
            command.args(["test", "--package", "ramtrail", "--no-run"]);
            for program in programs {
                command.args(["--test", program]);
            }
            step(&mut command, "built")?;
        }
        for name in ["ramtrail", "ramtrail-emulator"] {
            binary(name)?;
        }
        self.built = Some(true);
        Ok(())
    }
}

/// What chooses the points of a share where nobody says: the commit, so that every commit tries others.
fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(root())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let id = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!id.is_empty()).then_some(id)
}

/// What the table says of a part that passed.
type Said = String;

/// Runs the parts in order, and tells of each failure when it happens.
fn all(parts: &[Part], shared: &mut Shared) -> Vec<Ended> {
    let mut results = Vec::new();
    let mut behind = None;
    for group in Part::groups(parts) {
        let names: Vec<String> = group.iter().map(|part| part.name()).collect();
        terminal::heading(&format!(
            "{} {}",
            terminal::paint(Style::Accent, "==>"),
            names.join(", ")
        ));
        let start = Instant::now();
        let ended = if group == [Part::BEHIND] {
            // Compiled first where others are: later it would hold up their build.
            let built = shared.build_for(parts);
            let tests = built.and_then(|()| Part::BEHIND.prepared(shared));
            behind = Some(Running::start(Part::BEHIND, tests, 0));
            continue;
        } else if let [part] = group[..] {
            let result = shared.build_for(&group).and_then(|()| part.run(shared));
            vec![(part, result, start.elapsed())]
        } else {
            side_by_side(&group, shared)
        };
        let ended = judged(ended, shared);
        ended.iter().for_each(tell_failure);
        results.extend(ended);
    }
    if let Some(behind) = behind {
        let ended = behind.ended();
        tell_failure(&ended);
        results.push(ended);
    }
    results
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let parts = Part::chosen(args);
    let mut shared = Shared {
        parts: parts.clone(),
        share: args.share,
        seed: args
            .seed
            .clone()
            .or_else(commit)
            .unwrap_or_else(|| "0".to_owned()),
        built: None,
        control_plane: None,
        watch: None,
    };
    // Told at once: an hour later it would cost the whole run.
    if parts.contains(&Part::Image)
        && let Err(error) = Need::Buildah.meet()
    {
        let text = format!("the part image cannot run, and none of the others was begun: {error:#}");
        terminal::line(&terminal::paint(Style::Bad, text));
        return ExitCode::FAILURE;
    }
    let has_matrix = parts.iter().any(|part| part.program().is_some());
    let told = format!(
        "{} of the matrices, seed {}; the same again: --share {} --seed {}",
        if args.share.is_whole() {
            "the whole".to_owned()
        } else {
            args.share.to_string()
        },
        shared.seed,
        args.share,
        shared.seed
    );
    if has_matrix {
        terminal::line(&told);
    }
    let start = Instant::now();
    let mut needs: Vec<Need> = Vec::new();
    for need in parts.iter().flat_map(|part| part.needs()) {
        if !needs.contains(&need) {
            needs.push(need);
        }
    }
    let ahead = Ahead::start(&needs);
    let results = all(&parts, &mut shared);
    drop(ahead);
    terminal::heading("summary");
    let rows: Vec<_> = results
        .iter()
        .map(|(part, result, time)| row(*part, result, *time))
        .collect();
    terminal::table(&rows);
    // The table holds the first line; what else there is names the tests that failed.
    for error in results.iter().filter_map(|(_, result, _)| result.as_ref().err()) {
        error
            .to_string()
            .lines()
            .skip(1)
            .for_each(|line| terminal::line(&terminal::paint(Style::Bad, line)));
    }
    if has_matrix {
        terminal::line(&told);
    }
    let failed = results.iter().filter(|(_, result, _)| result.is_err()).count();
    let total = terminal::elapsed(start.elapsed());
    if failed == 0 {
        terminal::line(&format!(
            "{} in {total}",
            terminal::paint(Style::Good, "all parts passed")
        ));
        return ExitCode::SUCCESS;
    }
    let verdict = format!("{failed} of {} parts failed", results.len());
    terminal::line(&format!("{} in {total}", terminal::paint(Style::Bad, verdict)));
    ExitCode::FAILURE
}

fn tell_failure((part, result, _): &Ended) {
    if let Err(error) = result {
        let failed = format!("{} failed:", part.name());
        println!("{} {error:#}", terminal::paint(Style::Bad, &failed));
    }
}

fn row(part: Part, result: &Result<Said>, time: Duration) -> Vec<String> {
    let (verdict, said) = match result {
        Ok(said) => (terminal::paint(Style::Good, "passed"), said.clone()),
        Err(error) => (terminal::paint(Style::Bad, "FAILED"), error.to_string()),
    };
    let said = said.lines().next().unwrap_or_default().to_owned();
    vec![part.name(), verdict, terminal::elapsed(time), said]
}

fn step(command: &mut Command, passed: &str) -> Result<Said> {
    let line = shown(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {line}"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(passed.to_owned())
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default();
    let args = command.get_args().map(std::ffi::OsStr::to_string_lossy);
    [program.into()]
        .into_iter()
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

fn deny() -> Result<Said> {
    let program = crates::ensure(Program::CargoDeny)?;
    // It reads the crates of every platform; a build has fetched those of this one only. Nothing is fetched twice.
    step(cargo().args(["fetch", "--locked"]), "fetched")?;
    step(
        Command::new(program)
            .args(["--offline", "check", "bans", "licenses", "sources"])
            .current_dir(root()),
        "bans, licences, sources",
    )
}

/// Programs that are on some machines and not on others (shellcheck) are not asked.
fn workflows() -> Result<Said> {
    let folder = root().join(".github/workflows");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        files.push(entry?.path());
    }
    files.sort();
    let said = format!("{} workflow files", files.len());
    let program = assets::ensure(Tool::Actionlint)?;
    step(
        Command::new(program)
            .args(["-no-color", "-shellcheck=", "-pyflakes="])
            .args(files),
        &said,
    )
}

/// Tests of one program that run at a time. Tests of the operator mostly wait for it, so more of them than cores
/// go side by side; beyond this the API server itself becomes the bottleneck of two cores.
const TEST_THREADS: &str = "9";

/// The same of the long tier, whose tests each keep an operator in trouble and busy, or start an API server of their own.
const LONG_THREADS: &str = "6";

/// The same of the faults between operator and API server, where most of the time both wait for the other.
const FAULT_THREADS: &str = "10";

/// Histories of the model test in the long tier.
const MODEL_RUNS: &str = "10000";

fn rust_tests(selection: &[&str], shared: Option<&mut Shared>) -> Result<Said> {
    let mut command = cargo();
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        command.env("RUST_TEST_THREADS", TEST_THREADS);
    }
    command.arg("test").args(selection).arg("--no-fail-fast");
    if terminal::colour() {
        command.args(["--color", "always", "--", "--color", "always"]);
    }
    if let Some(shared) = shared {
        command.env(TEST_KUBECONFIG, shared.control_plane()?.kubeconfig());
    }
    counted(&mut command, "")
}

/// Whom the tests' operators are to the API server.
const OPERATOR: Account<'static> = Account {
    namespace: "ramtrail-system",
    name: "ramtrail",
};

/// After parts with the rights of `deploy/install.yaml`: none was missing. After all tests of the workspace: none was for nothing.
fn permissions(parts: &[Part], shared: &mut Shared) -> Result<Option<String>> {
    let Some(control_plane) = &shared.control_plane else {
        return Ok(None);
    };
    let watch = match &mut shared.watch {
        Some(watch) => watch,
        none => {
            let manifest =
                fs::read_to_string(root().join("deploy/install.yaml")).context("cannot read the manifest")?;
            let manifest: Vec<Value> =
                serde_saphyr::from_multiple(&manifest).context("in deploy/install.yaml")?;
            none.insert(Watch::new(&control_plane.audit_log(), &manifest, OPERATOR)?)
        }
    };
    let usage = watch.look()?;
    let told = |texts: &BTreeSet<String>| {
        let lines: Vec<&str> = texts.iter().map(String::as_str).collect();
        format!("\n  {}", lines.join("\n  "))
    };
    if !usage.denied.is_empty() {
        bail!(
            "the operator was refused what it may not do:{}",
            told(&usage.denied)
        );
    }
    let Usage {
        granted,
        calls,
        unused,
        ..
    } = usage;
    if !parts.contains(&Part::Tests) {
        return Ok(Some(format!("0 denied in {calls} calls")));
    }
    if !unused.is_empty() {
        bail!("the operator never used what it may do:{}", told(&unused));
    }
    Ok(Some(format!(
        "{granted} verbs granted, {granted} used, 0 denied in {calls} calls"
    )))
}

/// Fails if the API server has stored a marked secret anywhere but in Secrets: in status, Events, annotations, managed fields, leases.
fn stored_secrets(shared: &Shared) -> Result<Option<String>> {
    let Some(control_plane) = &shared.control_plane else {
        return Ok(None);
    };
    let (found, seen) = canary::stored(control_plane)?;
    if !found.is_empty() {
        let found: Vec<String> = found.into_iter().collect();
        bail!("a marked secret is stored in:\n  {}", found.join("\n  "));
    }
    Ok(Some(format!("no secret in {seen} stored objects")))
}

/// Judges what the operator was refused while parts ran and what it left behind, and lets those that passed say so. Of parts that
/// ran side by side all are to blame: the log tells the object, not the program.
fn judged(mut ended: Vec<Ended>, shared: &mut Shared) -> Vec<Ended> {
    let parts: Vec<Part> = ended.iter().map(|(part, ..)| *part).collect();
    if !parts.iter().any(|part| part.shares_control_plane()) {
        return ended;
    }
    let judgement = permissions(&parts, shared).and_then(|permissions| {
        let said = [permissions, stored_secrets(shared)?];
        Ok(said.into_iter().flatten().collect::<Vec<_>>().join("; "))
    });
    for (part, result, _) in &mut ended {
        if !part.shares_control_plane() {
            continue;
        }
        match (&mut *result, &judgement) {
            (Ok(said), Ok(judgement)) => *said = format!("{said}; {judgement}"),
            (Ok(_), Err(error)) => *result = Err(anyhow!("{error:#}")),
            // What was refused may be why the tests failed.
            (Err(failed), Err(error)) => *result = Err(anyhow!("{failed}\n  {error:#}")),
            (Err(_), Ok(_)) => {}
        }
    }
    ended
}

/// Runs tests, passes on what they say behind `prefix`, and sums up how they ended.
fn counted(command: &mut Command, prefix: &str) -> Result<Said> {
    let mut totals = Totals::default();
    let success = stream(command, prefix, |line| totals.read(line))?;
    let said = totals.to_string();
    println!("{prefix}{said}");
    if !success {
        bail!("{said}{}", totals.told());
    }
    if totals.passed == 0 {
        bail!("no test ran");
    }
    Ok(said)
}

/// Sum of the closing lines of all test programs of one run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    programs: u32,
    passed: u32,
    failed: u32,
    ignored: u32,
    /// Names of the tests that failed.
    failures: Vec<String>,
    /// Why: what a point says of itself, and where a test panicked with its first words.
    reasons: BTreeMap<String, String>,
    /// The test whose first words the next line has.
    panicking: Option<String>,
    /// Points of matrices: passed, tried.
    points: (u32, u32),
}

impl Totals {
    /// Reads a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; ...` or `test name ... FAILED`.
    fn read(&mut self, line: &str) {
        let line = terminal::plain(line);
        let failure = line
            .trim()
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"));
        self.failures.extend(failure.map(str::to_owned));
        self.read_reason(&line);
        if let Some((passed, tried)) = points(&line) {
            self.points.0 += passed;
            self.points.1 += tried;
        }
        let Some(counts) = line.trim().strip_prefix("test result: ") else {
            return;
        };
        self.programs += 1;
        let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u32>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// The thread, which the runner calls as the test, and the place in `thread 'name' (7) panicked at file.rs:1:2:`.
fn panic(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.trim().strip_prefix("thread '")?.split_once('\'')?;
    let (_, place) = rest.split_once(" panicked at ")?;
    Some((name, place.trim_end_matches(':')))
}

/// The numbers of a line such as `creation: 40 of 41 points passed in 12 s`.
fn points(line: &str) -> Option<(u32, u32)> {
    let (before, _) = line.split_once(" points passed")?;
    let (before, tried) = before.rsplit_once(" of ")?;
    let passed = before.rsplit(' ').next()?;
    Some((passed.parse().ok()?, tried.parse().ok()?))
}

impl Totals {
    /// Lines such as `why creation::store: it was deleted`, and the two lines a panic begins with.
    fn read_reason(&mut self, line: &str) {
        if let Some(name) = self.panicking.take() {
            let words: String = line.trim().chars().take(400).collect();
            self.reasons
                .entry(name)
                .and_modify(|reason| *reason = format!("{reason}: {words}"));
        }
        if let Some((name, reason)) = line.strip_prefix("why ").and_then(|rest| rest.split_once(": ")) {
            self.reasons.insert(name.to_owned(), reason.to_owned());
        } else if let Some((name, place)) = panic(line) {
            self.reasons.insert(name.to_owned(), place.to_owned());
            self.panicking = Some(name.to_owned());
        }
    }

    /// The tests that failed, a line each, with the reason if it was told.
    fn told(&self) -> String {
        self.failures
            .iter()
            .map(|name| match self.reasons.get(name) {
                Some(reason) => format!("\n  {name}\n    {reason}"),
                None => format!("\n  {name}"),
            })
            .collect()
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            programs,
            passed,
            failed,
            ignored,
            points: (right, tried),
            ..
        } = self;
        write!(f, "{passed} passed; {failed} failed; {ignored} ignored; ")?;
        if *tried > 0 {
            write!(f, "{right} of {tried} points; ")?;
        }
        let s = if *programs == 1 { "" } else { "s" };
        write!(f, "in {programs} test program{s}")
    }
}

/// Runs a command, passes on what it prints line by line behind `prefix`, and shows each line to `see`.
fn stream(command: &mut Command, prefix: &str, mut see: impl FnMut(&str)) -> Result<bool> {
    let line = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {line}"))?;
    let stdout = child.stdout.take().context("the child has no stdout")?;
    let stderr = child.stderr.take().context("the child has no stderr")?;
    let (lines, printed) = mpsc::channel::<String>();
    // Points of matrices are told on standard error, tests on standard output: both are counted.
    std::thread::scope(|scope| -> Result<()> {
        let more = lines.clone();
        scope.spawn(move || pass_on(stdout, std::io::stdout(), prefix, &lines));
        scope.spawn(move || pass_on(stderr, std::io::stderr(), prefix, &more));
        for line in printed {
            see(&line);
        }
        Ok(())
    })?;
    Ok(child.wait()?.success())
}

/// Copies lines as they come. A reader of ours who has left must not end the work.
fn pass_on(from: impl Read, mut to: impl Write, prefix: &str, lines: &mpsc::Sender<String>) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let _ = to.write_all(format!("{prefix}{line}\n").as_bytes());
        let _ = lines.send(line);
    }
}

fn conformance() -> Result<Said> {
    let python = Python::ensure()?;
    let mut command = python.command();
    command
        .args(["-m", "pytest", "-q"])
        .arg(root().join("emulator/conformance"))
        .current_dir(root());
    if terminal::colour() {
        command.arg("--color=yes");
    }
    command.env("RAMTRAIL_EMULATOR_BIN", binary("ramtrail-emulator")?);
    let mut closing = String::new();
    let success = stream(&mut command, "", |line| {
        let line = terminal::plain(line);
        if !line.trim().is_empty() {
            line.trim().trim_matches('=').trim().clone_into(&mut closing);
        }
    })?;
    // pytest fails as well if it finds no test.
    if !success {
        return Err(anyhow!("{closing}"));
    }
    Ok(closing)
}

fn manifests() -> Result<Said> {
    let differing = generate::differing()?;
    for path in &differing {
        println!("{} {}", terminal::paint(Style::Bad, "differs"), path.display());
    }
    if !differing.is_empty() {
        bail!(
            "{} generated files are out of date: run `cargo xtask generate`",
            differing.len()
        );
    }
    Ok("generated files are up to date".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn closing_lines_are_summed_up_whatever_their_colour() {
        let mut totals = Totals::default();
        totals.read("running 2 tests");
        totals.read("test a::b ... FAILED");
        totals.read("test a::c ... ok");
        totals.read("creation: 40 of 41 points passed (41 enumerated) in 12 s");
        totals.read("test result: \x1b[32mok\x1b[0m. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        totals.read("test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s");
        assert_eq!(
            totals,
            Totals {
                programs: 2,
                passed: 3,
                failed: 3,
                ignored: 1,
                failures: vec!["a::b".to_owned()],
                points: (40, 41),
                ..Totals::default()
            }
        );
    }

    #[test]
    fn failures_are_told_with_their_reasons() {
        let mut totals = Totals::default();
        totals.read("thread 'a::b' (17) panicked at tests/a.rs:3:5:");
        totals.read("expected: a store");
        totals.read("note: run with `RUST_BACKTRACE=1`");
        totals.read("thread '<unnamed>' panicked at tests/a.rs:3:5:");
        totals.read("test a::b ... FAILED");
        totals.read("test deletion::project/late ... FAILED");
        totals.read("why deletion::project/late: other changes: expected one");
        totals.read("test a::silent ... FAILED");
        assert_eq!(
            totals.told(),
            "\n  a::b\n    tests/a.rs:3:5: expected: a store\
             \n  deletion::project/late\n    other changes: expected one\
             \n  a::silent"
        );
    }

    #[test]
    fn every_line_is_seen_and_failure_is_told() {
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        let success = stream(
            command.args(["-c", "printf 'a\\nb'; echo c >&2; exit 3"]),
            "",
            |l| {
                seen.push(l.to_owned());
            },
        );
        assert!(!success.unwrap());
        seen.sort();
        assert_eq!(seen, ["a", "b", "c"]);
    }

    #[test]
    fn only_neighbours_of_one_row_run_side_by_side() {
        use Part::{Alerts, ArgoCd, Crash, KubeFaults, Soak, Upgrades};
        let groups = Part::groups(&[Crash, KubeFaults, Alerts, Upgrades, ArgoCd, Soak]);
        assert_eq!(
            groups,
            [
                vec![Crash],
                vec![KubeFaults, Alerts],
                vec![Upgrades, ArgoCd],
                vec![Soak]
            ]
        );
        assert_eq!(Part::groups(&[KubeFaults, Upgrades]).len(), 2);
        assert_eq!(
            Part::groups(&[Part::Flips, Alerts]).len(),
            1,
            "kube-faults, between them, was not chosen"
        );
        assert_eq!(Part::groups(&Part::PLAIN).len(), Part::PLAIN.len());
        let together = Part::groups(&Part::LONG)
            .into_iter()
            .filter(|group| group.len() > 1);
        assert_eq!(
            together.count(),
            Part::SIDE_BY_SIDE.len(),
            "the rows are neighbours in the long tier"
        );
        assert_eq!(
            Part::groups(&Part::LONG).first(),
            Some(&vec![Part::BEHIND]),
            "it begins before all that it runs behind"
        );
    }

    #[test]
    fn parts_have_names_to_type() {
        assert_eq!(Part::ApiServer.name(), "api-server");
        assert_eq!(Part::KubeFaults.name(), "kube-faults");
    }

    #[test]
    fn every_program_of_the_long_tier_is_a_part() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let mut listed: Vec<&str> = manifest
            .split("[[test]]")
            .skip(1)
            .filter(|table| table.contains("tests/full/"))
            .filter_map(|table| table.split('"').nth(1))
            .collect();
        let mut known: Vec<&str> = Part::LONG.iter().filter_map(|part| part.program()).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
    }
}
