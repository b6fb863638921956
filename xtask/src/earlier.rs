//! The operator as it was in earlier versions: those whose chart and objects are kept as test data, built from this repository's
//! history.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::assets::lock;
use crate::temp_dir::TempDir;
use crate::terminal;
use crate::workspace::{cache_dir, cargo, root, unique_suffix};

/// Where the test data of the earlier versions lies in the checkout, each in a folder with the name of its commit or tag.
pub const FOLDER: &str = "tests/data/upgrades";

/// The versions that are kept, by name, in order.
///
/// # Errors
/// Fails if the test data cannot be read.
pub fn versions() -> Result<Vec<String>> {
    let folder = root().join(FOLDER);
    let read = || format!("cannot read {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(read)? {
        names.push(
            entry
                .with_context(read)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    names.sort();
    Ok(names)
}

/// The operator of a version, if [`ensure_all`] has made it on this machine.
#[must_use]
pub fn built(version: &str) -> Option<PathBuf> {
    let path = program(&folder().ok()?, version);
    path.is_file().then_some(path)
}

/// Builds the operator of each version that is kept and not built yet; the folder with all of them.
///
/// # Errors
/// Fails if the history is not there, as in a shallow clone, or if a build fails.
pub fn ensure_all() -> Result<PathBuf> {
    let dir = folder()?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let _lock = lock(&dir, "earlier-operators")?;
    // One for all: they share most of their crates.
    let target = TempDir::new("earlier")?;
    for version in versions()? {
        let path = program(&dir, &version);
        if !path.is_file() {
            terminal::progress(&format!("building the operator of {version} (once)"), || {
                build(&version, target.path(), &path)
            })?;
        }
    }
    Ok(dir)
}

fn folder() -> Result<PathBuf> {
    Ok(cache_dir()?.join("earlier-operators"))
}

fn program(dir: &Path, version: &str) -> PathBuf {
    dir.join(format!("ramtrail-{version}{}", env::consts::EXE_SUFFIX))
}

fn build(version: &str, target: &Path, path: &Path) -> Result<()> {
    let source = TempDir::new("earlier-source")?;
    unpack(version, source.path())?;
    let output = cargo()
        .current_dir(source.path())
        .args([
            "build",
            "--locked",
            "--package=ramtrail",
            "--bin=ramtrail",
            "--target-dir",
        ])
        .arg(target)
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!(
            "cargo build of {version} failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let made = target
        .join("debug")
        .join(format!("ramtrail{}", env::consts::EXE_SUFFIX));
    let partial = path.with_file_name(format!(".{version}.{}", unique_suffix()));
    fs::copy(&made, &partial)
        .and_then(|_| fs::rename(&partial, path))
        .with_context(|| format!("cannot create {}", path.display()))
}

/// The checkout as it was, without a trace in the repository.
fn unpack(version: &str, into: &Path) -> Result<()> {
    let archive = into.join("source.tar");
    let output = Command::new("git")
        .current_dir(root())
        .args(["archive", "--format=tar", "--output"])
        .arg(&archive)
        .arg(version)
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!(
            "the commit {version} is not in this clone, which must be a full one (git fetch --unshallow): {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let output = Command::new("tar")
        .current_dir(into)
        .args(["-x", "-f"])
        .arg(&archive)
        .output()
        .context("cannot run tar")?;
    if !output.status.success() {
        bail!("tar failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_lies_there_is_named_in_order() {
        let versions = versions().unwrap();
        assert!(!versions.is_empty());
        assert!(versions.is_sorted());
        for version in versions {
            assert!(
                root().join(FOLDER).join(&version).join("chart").is_dir(),
                "{version}"
            );
        }
    }

    #[test]
    fn a_commit_that_is_not_there_is_named() {
        let dir = TempDir::new("unit").unwrap();
        let missing = "0".repeat(40);
        let said = unpack(&missing, dir.path()).unwrap_err().to_string();
        assert!(said.contains(&missing) && said.contains("full one"), "{said}");
    }
}
