//! `cargo xtask test`: every check of the repository, in named and timed parts.
//!
//! Output of the tools is streamed as it comes; the table at the end repeats their own closing lines.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use xtask::control_plane::{ControlPlane, Options, TEST_KUBECONFIG};
use xtask::python::Python;
use xtask::terminal::{self, Style};
use xtask::workspace::{binary, cargo, root};

use super::generate;

/// Run the checks: formatting, lints, licences, unit and API-server tests, SDK conformance, manifests
///
/// All parts run even if one fails; a table at the end says how each went. Tests of the Rust workspace run
/// once, against one shared kube-apiserver.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also run the long tier: full crash and deletion matrices, every assumption flipped, Argo CD
    #[arg(long)]
    full: bool,
    /// Run only this part (may be repeated)
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Part {
    /// rustfmt finds nothing to change
    Fmt,
    /// clippy finds nothing on any target
    Clippy,
    /// Bans, licences and sources of dependencies (needs cargo-deny; left out where it is missing)
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
}

impl Part {
    /// What runs without `--only`, cheap things first.
    const PLAIN: [Self; 7] = [
        Self::Fmt,
        Self::Clippy,
        Self::Deny,
        Self::Build,
        Self::Tests,
        Self::Conformance,
        Self::Manifests,
    ];

    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it needs the binaries and test programs.
    fn needs_build(self) -> bool {
        match self {
            Self::Fmt | Self::Clippy | Self::Deny => false,
            Self::Build
            | Self::Tests
            | Self::Unit
            | Self::ApiServer
            | Self::Conformance
            | Self::Manifests => true,
        }
    }

    fn run(self) -> Result<Outcome> {
        match self {
            Self::Fmt => step(cargo().args(["fmt", "--all", "--check"]), "formatted"),
            Self::Clippy => {
                let args = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
                step(cargo().args(args), "no warnings")
            }
            Self::Deny => deny(),
            Self::Build => Ok(Outcome::Passed("built".to_owned())),
            Self::Tests => rust_tests(&["--workspace"], true),
            Self::Unit => rust_tests(&["--workspace", "--lib", "--bins"], false),
            Self::ApiServer => rust_tests(&["--package", "ramtrail", "--test", "*"], true),
            Self::Conformance => conformance(),
            Self::Manifests => manifests(),
        }
    }
}

#[derive(Debug)]
enum Outcome {
    Passed(String),
    LeftOut(String),
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let only: BTreeSet<Part> = args.only.iter().copied().collect();
    let mut parts: Vec<Part> = Part::PLAIN.to_vec();
    if !only.is_empty() {
        parts = only.into_iter().collect();
    }
    let start = Instant::now();
    let mut results = Vec::new();
    let mut built: Option<bool> = None;
    for part in parts {
        terminal::heading(&format!(
            "{} {}",
            terminal::paint(Style::Accent, "==>"),
            part.name()
        ));
        let start = Instant::now();
        let result = if part.needs_build() {
            build(&mut built)
        } else {
            Ok(())
        };
        let result = result.and_then(|()| part.run());
        if let Err(error) = &result {
            println!("{} {error:#}", terminal::paint(Style::Bad, "failed:"));
        }
        results.push((part, result, start.elapsed()));
    }
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
    if args.full {
        // Said, not counted: a tier without tests proves nothing.
        terminal::line(&terminal::paint(
            Style::Warn,
            "--full: the long tier holds no tests yet; nothing of it ran",
        ));
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

fn row(part: Part, result: &Result<Outcome>, time: Duration) -> Vec<String> {
    let (verdict, said) = match result {
        Ok(Outcome::Passed(said)) => (terminal::paint(Style::Good, "passed"), said.clone()),
        Ok(Outcome::LeftOut(why)) => (terminal::paint(Style::Warn, "left out"), why.clone()),
        Err(error) => (terminal::paint(Style::Bad, "FAILED"), error.to_string()),
    };
    let said = said.lines().next().unwrap_or_default().to_owned();
    vec![part.name(), verdict, terminal::elapsed(time), said]
}

fn step(command: &mut Command, passed: &str) -> Result<Outcome> {
    let line = shown(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {line}"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(Outcome::Passed(passed.to_owned()))
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

fn deny() -> Result<Outcome> {
    let found = cargo()
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !found.is_ok_and(|status| status.success()) {
        println!("cargo-deny is not installed: bans, licences and sources are not checked here");
        return Ok(Outcome::LeftOut("cargo-deny is not installed".to_owned()));
    }
    step(
        cargo().args(["deny", "check", "bans", "licenses", "sources"]),
        "bans, licences, sources",
    )
}

/// Builds once per run: test programs, and the binaries that tests start.
fn build(built: &mut Option<bool>) -> Result<()> {
    match built {
        Some(true) => return Ok(()),
        Some(false) => bail!("not run, since the build failed"),
        None => *built = Some(false),
    }
    // Builds the binaries as well, with the features the test programs use: nothing is compiled twice.
    step(cargo().args(["test", "--workspace", "--no-run"]), "built")?;
    for name in ["ramtrail", "ramtrail-emulator"] {
        binary(name)?;
    }
    *built = Some(true);
    Ok(())
}

/// Tests of one program that run at a time. Tests of the operator mostly wait for it, so more of them than cores
/// go side by side; beyond this the API server itself becomes the bottleneck of two cores.
const TEST_THREADS: &str = "4";

fn rust_tests(selection: &[&str], api_server: bool) -> Result<Outcome> {
    let mut command = cargo();
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        command.env("RUST_TEST_THREADS", TEST_THREADS);
    }
    command.arg("test").args(selection).arg("--no-fail-fast");
    if terminal::colour() {
        command.args(["--color", "always", "--", "--color", "always"]);
    }
    let control_plane = if api_server {
        let options = Options::new().controller_manager();
        Some(terminal::progress(
            "starting the API server that all tests share",
            || ControlPlane::start(&options),
        )?)
    } else {
        None
    };
    if let Some(control_plane) = &control_plane {
        command.env(TEST_KUBECONFIG, control_plane.kubeconfig());
    }
    let mut totals = Totals::default();
    let success = stream(&mut command, |line| totals.read(line))?;
    let said = totals.to_string();
    println!("{said}");
    if !success {
        let failures = totals.failures.iter().map(|name| format!("\n  {name}"));
        bail!("{said}{}", failures.collect::<String>());
    }
    if totals.passed == 0 {
        bail!("no test ran");
    }
    Ok(Outcome::Passed(said))
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

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            programs,
            passed,
            failed,
            ignored,
            failures: _,
        } = self;
        write!(
            f,
            "{passed} passed; {failed} failed; {ignored} ignored; in {programs} test programs"
        )
    }
}

/// Runs a command, passes its standard output on line by line, and shows each line to `see`.
fn stream(command: &mut Command, mut see: impl FnMut(&str)) -> Result<bool> {
    let line = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {line}"))?;
    let stdout = child.stdout.take().context("the child has no stdout")?;
    let mut out = std::io::stdout();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read what a test prints")?;
        let line = String::from_utf8_lossy(&line);
        writeln!(out, "{line}").context("cannot write to standard output")?;
        see(&line);
    }
    Ok(child.wait()?.success())
}

fn conformance() -> Result<Outcome> {
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
    let success = stream(&mut command, |line| {
        let line = terminal::plain(line);
        if !line.trim().is_empty() {
            line.trim().trim_matches('=').trim().clone_into(&mut closing);
        }
    })?;
    // pytest fails as well if it finds no test.
    if !success {
        return Err(anyhow!("{closing}"));
    }
    Ok(Outcome::Passed(closing))
}

fn manifests() -> Result<Outcome> {
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
    Ok(Outcome::Passed("generated files are up to date".to_owned()))
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
            }
        );
    }

    #[test]
    fn every_line_is_seen_and_failure_is_told() {
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        let success = stream(command.args(["-c", "printf 'a\\nb'; exit 3"]), |l| {
            seen.push(l.to_owned());
        });
        assert!(!success.unwrap());
        assert_eq!(seen, ["a", "b"]);
    }

    #[test]
    fn parts_have_names_to_type() {
        assert_eq!(Part::ApiServer.name(), "api-server");
    }
}
