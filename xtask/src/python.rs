//! Python environments, each made once from a list pinned with hashes: the official SDKs, and what the image is
//! built with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::assets::lock;
use crate::terminal;
use crate::workspace::{cache_dir, root};

/// A virtual environment that is complete.
#[derive(Clone, Debug)]
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// The environment for `emulator/conformance/requirements.txt`; makes it if it is not in the cache.
    ///
    /// # Errors
    /// Fails if Python 3 with `venv` is missing or a package cannot be installed.
    pub fn ensure() -> Result<Self> {
        Self::with(
            "emulator/conformance/requirements.txt",
            "the official Python SDKs",
        )
    }

    /// The environment for `tools/image/requirements.txt`; makes it if it is not in the cache.
    ///
    /// # Errors
    /// Fails as [`Python::ensure`].
    pub fn for_image() -> Result<Self> {
        Self::with("tools/image/requirements.txt", "what the image is built with")
    }

    /// The environment for a list of the checkout, whose packages are called `what` on the terminal.
    ///
    /// # Errors
    /// Fails if Python 3 with `venv` is missing or a package cannot be installed.
    fn with(requirements: &str, what: &str) -> Result<Self> {
        let requirements = root().join(requirements);
        let list =
            fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
        let version = version()?;
        let mut hash = Sha256::new();
        hash.update(version.as_bytes());
        hash.update(&list);
        let key = &hex::encode(hash.finalize())[..16];
        let cache = cache_dir()?;
        let dir = cache.join(format!("venv-{key}"));
        let environment = Self {
            program: dir.join("bin/python"),
        };
        // An environment cannot be moved after it was made, so a file says that it is complete.
        let complete = dir.join(".complete");
        if complete.is_file() {
            return Ok(environment);
        }
        fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
        let _lock = lock(&cache, "venv")?;
        if complete.is_file() {
            return Ok(environment);
        }
        terminal::progress(&format!("installing {what} (once)"), || {
            environment.install(&dir, &requirements)?;
            fs::write(&complete, version).with_context(|| format!("cannot write {}", complete.display()))
        })?;
        Ok(environment)
    }

    fn install(&self, dir: &Path, requirements: &Path) -> Result<()> {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(dir))
            .context("cannot make a Python environment (on Debian, the package python3-venv provides it)")?;
        let mut pip = Command::new(&self.program);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ]);
        run(pip.arg("--require-hashes").arg("-r").arg(requirements))
    }

    /// The folder of its programs.
    pub fn programs(&self) -> &Path {
        self.program.parent().unwrap_or(Path::new("."))
    }

    /// A command that runs this environment's interpreter, apart from the user's own Python settings.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for variable in ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"] {
            command.env_remove(variable);
        }
        // Byte code beside the sources would be litter in the checkout.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

fn version() -> Result<String> {
    let output = Command::new("python3")
        .args(["-c", "import sys; print(sys.version, sys.platform)"])
        .stdin(Stdio::null())
        .output()
        .context("python3 is missing: the official SDKs need Python 3.9 or newer")?;
    if !output.status.success() {
        bail!(
            "python3 does not work: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("cannot run python3")?;
    if !output.status.success() {
        bail!(
            "{} failed:\n{}{}",
            command.get_program().display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
