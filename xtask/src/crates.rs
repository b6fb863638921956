//! Programs from crates.io that checks need: one pinned version of each, built once into the cache.
//!
//! What a user has installed under the same name is not used: a check must say the same everywhere.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::assets::lock;
use crate::temp_dir::TempDir;
use crate::terminal;
use crate::workspace::{cache_dir, cargo, unique_suffix};

/// A program that `cargo install` builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Writes the list of dependencies into a binary.
    CargoAuditable,
    /// Bans, licences and sources of dependencies.
    CargoDeny,
    /// Builds the documentation.
    Mdbook,
}

impl Program {
    /// The crate, which is also the file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CargoAuditable => "cargo-auditable",
            Self::CargoDeny => "cargo-deny",
            Self::Mdbook => "mdbook",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::CargoAuditable => "0.7.7",
            Self::CargoDeny => "0.20.2",
            Self::Mdbook => "0.5.4",
        }
    }

    fn features(self) -> &'static [&'static str] {
        match self {
            Self::CargoAuditable => &[],
            // Nothing is fetched over the network by it.
            Self::CargoDeny => &["--no-default-features"],
            // Nothing is served or watched.
            Self::Mdbook => &["--no-default-features", "--features", "search"],
        }
    }
}

/// The path of a program; builds it if it is not in the cache.
///
/// # Errors
/// Fails with cargo's own words if the build fails.
pub fn ensure(program: Program) -> Result<PathBuf> {
    let (name, version) = (program.name(), program.version());
    let dir = cache_dir()?.join("crates");
    let home = dir.join(format!("{name}-{version}"));
    let path = home
        .join("bin")
        .join(format!("{name}{}", env::consts::EXE_SUFFIX));
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let _lock = lock(&dir, name)?;
    if path.is_file() {
        return Ok(path);
    }
    let partial = dir.join(format!(".{name}.{}", unique_suffix()));
    let built = terminal::progress(
        &format!("building {name} {version} from its crate (once)"),
        || {
            let target = TempDir::new("crate")?;
            let output = cargo()
                .args(["install", name, "--version", version, "--locked", "--root"])
                .arg(&partial)
                .arg("--target-dir")
                .arg(target.path())
                .args(program.features())
                // It works for seconds: its build should not take many minutes.
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
                .stdin(Stdio::null())
                .output()
                .context("cannot run cargo")?;
            if !output.status.success() {
                bail!(
                    "cargo install {name} failed:\n{}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            fs::rename(&partial, &home).with_context(|| format!("cannot create {}", home.display()))
        },
    );
    if built.is_err() {
        // What a failed build left is of no use to anyone.
        let _ = fs::remove_dir_all(&partial);
    }
    built.map(|()| path)
}
