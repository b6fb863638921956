//! Child processes that cannot outlive us, even if we are killed with SIGKILL.
//!
//! Every child runs under a few lines of `sh` that read signal names from a pipe only we hold. The kernel
//! closes the pipe when we die, however that happens, and the shell then kills its child. Signals go through
//! the same pipe, so that they are sent by the child's own parent and never to a recycled process id.
//!
//! Owns starting, signalling and waiting; knows nothing of what runs.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Arguments: file for stdout, file for stderr, program, its arguments.
/// Descriptor 3 is our end of the pipe: a shell gives `/dev/null` to what it starts in the background.
const SUPERVISOR: &str = r#"
out=$1; err=$2; shift 2
exec 3<&0
"$@" </dev/null >>"$out" 2>>"$err" 3<&- &
child=$!
echo "$child"
exec >/dev/null
{
    while read -r signal <&3; do kill -s "$signal" "$child"; done
    kill -s KILL "$child"
} 2>/dev/null &
watcher=$!
exec 3<&-
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// A signal for [`Supervised::signal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ask for a graceful end.
    Term,
    /// End at once.
    Kill,
    /// Freeze.
    Stop,
    /// Go on after [`Signal::Stop`].
    Cont,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
        }
    }
}

/// What to start.
#[derive(Debug)]
pub struct Spec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    env_remove: Vec<OsString>,
    current_dir: PathBuf,
}

impl Spec {
    /// A program that runs in `dir` and logs there to `<name>.out` (stdout) and `<name>.log` (stderr).
    pub fn new(name: &str, program: impl Into<PathBuf>, dir: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            env_remove: Vec::new(),
            current_dir: dir.to_owned(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Takes an environment variable away.
    #[must_use]
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.env_remove.push(key.as_ref().to_owned());
        self
    }
}

/// A running child. Dropping it kills the child with SIGKILL and waits for the end.
#[derive(Debug)]
pub struct Supervised {
    name: String,
    supervisor: Child,
    pipe: Option<ChildStdin>,
    pid: u32,
    out_file: PathBuf,
    log_file: PathBuf,
}

impl Supervised {
    /// Starts a child. Its files are appended to, so that a restart keeps the earlier log.
    pub fn start(spec: &Spec) -> Result<Self> {
        let Spec {
            name,
            program,
            args,
            env,
            env_remove,
            current_dir,
        } = spec;
        let out_file = current_dir.join(format!("{name}.out"));
        let log_file = current_dir.join(format!("{name}.log"));
        let mut command = Command::new("sh");
        command
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(&out_file)
            .arg(&log_file)
            .arg(program)
            .args(args);
        for key in env_remove {
            command.env_remove(key);
        }
        command
            .envs(env.iter().map(|(k, v)| (k, v)))
            .current_dir(current_dir);
        // Ctrl-C in a terminal goes to the whole foreground group: a group of its own lets us decide the
        // order in which things end.
        command.process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut supervisor = command
            .spawn()
            .with_context(|| format!("cannot start a shell for {name}"))?;
        let pipe = supervisor.stdin.take();
        let stdout = supervisor.stdout.take().context("the shell has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .with_context(|| format!("cannot start {name}"))?;
        let Ok(pid) = line.trim().parse() else {
            bail!("cannot start {name}: the shell did not report a process id");
        };
        Ok(Self {
            name: name.clone(),
            supervisor,
            pipe,
            pid,
            out_file,
            log_file,
        })
    }

    /// The child's process id (not the shell's).
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file with the child's stdout.
    pub fn out_file(&self) -> &Path {
        &self.out_file
    }

    /// The file with the child's stderr.
    pub fn log_file(&self) -> &Path {
        &self.log_file
    }

    /// The last lines of stderr, for error messages.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(&self.log_file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Sends a signal. A child that has ended already is no error.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        match pipe.write_all(format!("{}\n", signal.name()).as_bytes()) {
            // The shell ended between the check and the write.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.with_context(|| format!("cannot signal {}", self.name)),
        }
    }

    /// The exit status if the child has ended. A death by signal N shows as code 128 + N, as in a shell.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.supervisor
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Fails if the child still runs at the deadline; it is left running.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() >= deadline {
                bail!("{} still runs after {} s", self.name, deadline.as_secs());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks for a graceful end and waits for it; kills after the deadline.
    pub fn stop(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::Term)?;
        match self.wait(deadline) {
            Ok(status) => Ok(status),
            Err(_) => self.kill(),
        }
    }

    /// Kills with SIGKILL and waits.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::Kill)?;
        self.wait(Duration::from_secs(30))
    }

    /// Fails, with the end of its log, if the child has ended.
    pub fn must_run(&mut self) -> Result<()> {
        if let Some(status) = self.try_wait()? {
            bail!(
                "{} ended with {status}; its last lines:\n{}",
                self.name,
                self.log_tail(15)
            );
        }
        Ok(())
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // Closing the pipe makes the shell kill the child. Nothing better can be done with an error here.
        self.pipe = None;
        let _ = self.supervisor.wait();
    }
}

/// Runs a command to its end and gives what it printed to stdout.
///
/// # Errors
/// Fails with the end of its stderr if it fails, or if it cannot be started.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed something that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::temp_dir::TempDir;

    fn is_alive(pid: u32) -> bool {
        let mut shell = Command::new("sh");
        shell.args(["-c", "kill -0 \"$1\" 2>/dev/null", "sh", &pid.to_string()]);
        shell.status().unwrap().success()
    }

    fn gone(pid: u32) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if !is_alive(pid) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn sleeper(dir: &TempDir) -> Supervised {
        Supervised::start(&Spec::new("sleeper", "sleep", dir.path()).args(["1000"])).unwrap()
    }

    #[test]
    fn exit_status_and_output_are_the_childs() {
        let dir = TempDir::new("unit").unwrap();
        let spec = Spec::new("echo", "sh", dir.path())
            .args(["-c", "echo \"$WORD\"; echo bad >&2; exit 7"])
            .env("WORD", "a b");
        let mut child = Supervised::start(&spec).unwrap();
        assert_eq!(child.wait(Duration::from_secs(30)).unwrap().code(), Some(7));
        assert_eq!(fs::read_to_string(child.out_file()).unwrap(), "a b\n");
        assert_eq!(child.log_tail(5), "bad");
        let error = child.must_run().unwrap_err().to_string();
        assert!(error.contains("bad"), "{error}");
    }

    #[test]
    fn dropped_child_is_killed() {
        let dir = TempDir::new("unit").unwrap();
        let child = sleeper(&dir);
        let pid = child.pid();
        assert!(is_alive(pid));
        drop(child);
        assert!(gone(pid));
    }

    #[test]
    fn term_ends_a_child_and_signals_after_the_end_are_ignored() {
        let dir = TempDir::new("unit").unwrap();
        let mut child = sleeper(&dir);
        let status = child.stop(Duration::from_secs(30)).unwrap();
        assert_eq!(status.code(), Some(128 + 15));
        child.signal(Signal::Kill).unwrap();
    }

    #[test]
    fn frozen_child_can_still_be_killed() {
        let dir = TempDir::new("unit").unwrap();
        let mut child = sleeper(&dir);
        child.signal(Signal::Stop).unwrap();
        assert_eq!(child.kill().unwrap().code(), Some(128 + 9));
    }

    #[test]
    fn program_that_does_not_exist_ends_with_a_reason() {
        let dir = TempDir::new("unit").unwrap();
        let mut child = Supervised::start(&Spec::new("none", "/no/such/program", dir.path())).unwrap();
        assert!(!child.wait(Duration::from_secs(30)).unwrap().success());
        assert!(
            child.log_tail(3).contains("/no/such/program"),
            "{}",
            child.log_tail(3)
        );
    }
}
