//! Where things are: the checkout, the binaries cargo built, and the cache outside the checkout.
//!
//! Owns paths only; it starts nothing and downloads nothing.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// The root of the checkout.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The folder for everything that is expensive to make and does not belong to the checkout.
///
/// `RAMTRAIL_CACHE`, else `XDG_CACHE_HOME/ramtrail`, else `~/.cache/ramtrail`.
pub fn cache_dir() -> Result<PathBuf> {
    cache_dir_from(
        env::var_os("RAMTRAIL_CACHE"),
        env::var_os("XDG_CACHE_HOME"),
        env::var_os("HOME"),
    )
}

fn cache_dir_from(own: Option<OsString>, xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    let set = |value: Option<OsString>| value.filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = if let Some(dir) = set(own) {
        dir
    } else if let Some(dir) = set(xdg) {
        dir.join("ramtrail")
    } else if let Some(home) = set(home) {
        home.join(".cache/ramtrail")
    } else {
        bail!("no place for the cache: set RAMTRAIL_CACHE to a folder outside the checkout");
    };
    if dir.is_relative() {
        bail!("the cache folder {} must be an absolute path", dir.display());
    }
    Ok(dir)
}

/// The folder into which cargo builds.
pub fn target() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    root().join(target)
}

/// A binary of this workspace as `cargo build` leaves it in the debug profile.
///
/// # Errors
/// Fails with the command to run if it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = target().join("debug").join(name);
    if !path.is_file() {
        bail!(
            "{} is not built: run `cargo build --workspace --bins` first",
            path.display()
        );
    }
    Ok(path)
}

/// A cargo command that behaves as if a person had typed it.
///
/// `cargo run` and `cargo test` describe the package they run in the environment. Build scripts watch some
/// of those variables, so a nested cargo that inherited them would build crates again for nothing.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (key, _) in env::vars_os() {
        let Some(name) = key.to_str() else { continue };
        let describes_package = name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_BIN_EXE_")
            || matches!(
                name,
                "CARGO_MANIFEST_DIR"
                    | "CARGO_MANIFEST_PATH"
                    | "CARGO_CRATE_NAME"
                    | "CARGO_BIN_NAME"
                    | "CARGO_PRIMARY_PACKAGE"
                    | "OUT_DIR"
            );
        if describes_package {
            command.env_remove(&key);
        }
    }
    command.current_dir(root());
    command
}

/// The same command, which takes of the processors what others leave.
pub fn at_low_priority(command: &Command) -> Command {
    let mut low = Command::new("nice");
    low.args(["-n", "19"])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        low.current_dir(dir);
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => low.env(key, value),
            None => low.env_remove(key),
        };
    }
    low
}

/// A name part that no other folder of this machine has, now.
pub(crate) fn unique_suffix() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos());
    format!(
        "{}-{:x}-{}",
        std::process::id(),
        nanos,
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}

/// This many random bytes as hex digits, good for a secret.
pub fn random_hex(bytes: usize) -> Result<String> {
    use std::io::Read;
    let mut buffer = vec![0u8; bytes];
    let mut source = fs::File::open("/dev/urandom").context("cannot read /dev/urandom")?;
    source
        .read_exact(&mut buffer)
        .context("cannot read /dev/urandom")?;
    Ok(hex::encode(buffer))
}

/// Writes a file that only its owner can read: tokens and keys go through here.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(content)
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn own_variable_comes_before_xdg_and_home() {
        let os = |s: &str| Some(OsString::from(s));
        assert_eq!(
            cache_dir_from(os("/a"), os("/b"), os("/c")).unwrap(),
            Path::new("/a")
        );
        assert_eq!(
            cache_dir_from(None, os("/b"), os("/c")).unwrap(),
            Path::new("/b/ramtrail")
        );
        assert_eq!(
            cache_dir_from(os(""), None, os("/c")).unwrap(),
            Path::new("/c/.cache/ramtrail")
        );
    }

    #[test]
    fn relative_or_unknown_cache_is_refused() {
        assert!(cache_dir_from(Some("x".into()), None, None).is_err());
        assert!(cache_dir_from(None, None, None).is_err());
    }
}
