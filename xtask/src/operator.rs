//! The operator as a process: its binary with the arguments and environment a Pod would have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;

use crate::process::{Signal, Spec, Supervised};
use crate::temp_dir::TempDir;
use crate::workspace::binary;

/// Names a binary to run instead of the checkout's: that of an image, or of an earlier version.
pub const OPERATOR_BINARY: &str = "TEST_OPERATOR_BINARY";

/// A running operator. Dropping it kills the process.
#[derive(Debug)]
pub struct OperatorProcess {
    process: Supervised,
    dir: TempDir,
}

/// Arguments and environment of an operator.
#[derive(Clone, Debug, Default)]
pub struct OperatorOptions {
    program: Option<PathBuf>,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl OperatorOptions {
    /// `ramtrail run` that acts with this kubeconfig.
    pub fn new(kubeconfig: &Path) -> Self {
        Self::default()
            .arg("run")
            .env("KUBECONFIG", &kubeconfig.display().to_string())
    }

    /// Another program than `target/debug/ramtrail`, such as that of an earlier version.
    #[must_use]
    pub fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// Adds an argument, such as `--resync-interval=2s`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets the credentials the operator finds in its environment.
    #[must_use]
    pub fn credentials(self, access_key_id: &str, access_key_secret: &str) -> Self {
        self.env("ALIBABA_CLOUD_ACCESS_KEY_ID", access_key_id)
            .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", access_key_secret)
    }
}

/// The binary that [`OPERATOR_BINARY`] names, else `target/debug/ramtrail`.
///
/// # Errors
/// Fails if there is none.
pub fn program() -> Result<PathBuf> {
    let chosen = std::env::var_os(OPERATOR_BINARY).filter(|path| !path.is_empty());
    chosen.map_or_else(|| binary("ramtrail"), |path| Ok(PathBuf::from(path)))
}

impl OperatorProcess {
    /// Starts the program that the options name, else the binary that [`OPERATOR_BINARY`] names, else `target/debug/ramtrail`.
    ///
    /// Settings of the operator in our own environment (`RAMTRAIL_*`, credentials, `KUBECONFIG`) do not reach
    /// it, only what the options say.
    pub fn start(options: &OperatorOptions) -> Result<Self> {
        let dir = TempDir::new("operator")?;
        let program = match &options.program {
            Some(path) => path.clone(),
            None => program()?,
        };
        let mut spec = Spec::new("ramtrail", program, dir.path()).args(&options.args);
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("RAMTRAIL_") || name.starts_with("ALIBABA_CLOUD_") || name == "KUBECONFIG" {
                spec = spec.env_remove(&key);
            }
        }
        for (key, value) in &options.env {
            spec = spec.env(key, value);
        }
        Ok(Self {
            process: Supervised::start(&spec)?,
            dir,
        })
    }

    /// The operator's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Everything it has written to stdout and stderr so far, stdout first.
    pub fn logs(&self) -> String {
        [self.process.out_file(), self.process.log_file()]
            .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned())
            .concat()
    }

    /// The end of its logs.
    pub fn log_tail(&self, lines: usize) -> String {
        let logs = self.logs();
        let all: Vec<&str> = logs.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// The file with its stdout.
    pub fn out_file(&self) -> &Path {
        self.process.out_file()
    }

    /// The file with its stderr.
    pub fn log_file(&self) -> &Path {
        self.process.log_file()
    }

    /// Its folder, which goes away with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Sends a signal; [`Signal::Stop`] freezes it, as a long pause would.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Fails, with the end of its log, if it has ended.
    pub fn must_run(&mut self) -> Result<()> {
        self.process.must_run()
    }

    /// The exit status if it has ended; a death by signal N is code 128 + N.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Waits for the end.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.process.wait(deadline)
    }

    /// SIGTERM, then waits; SIGKILL after the deadline.
    pub fn stop(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.process.stop(deadline)
    }

    /// SIGKILL, then waits for the end.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill()
    }
}
