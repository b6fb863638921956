//! Temporary folders that go away with us, also when we are killed.

use std::env;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::workspace::unique_suffix;

/// Waits for our end, then removes the folder; tries again while dying processes still write into it.
const JANITOR: &str = r#"
read -r _
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" && exit 0; sleep 1; done
"#;

/// A private folder under the system's temporary folder, removed with everything in it when dropped.
///
/// Set `RAMTRAIL_KEEP=1` to keep it, for reading logs after a failure.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
    /// A shell that reads a pipe only we hold: it sees our end even if we are killed.
    janitor: Option<Child>,
}

impl TempDir {
    /// Makes a new folder.
    pub fn new(purpose: &str) -> Result<Self> {
        let path = env::temp_dir().join(format!("ramtrail-{purpose}-{}", unique_suffix()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        let keep = env::var_os("RAMTRAIL_KEEP").is_some_and(|v| !v.is_empty() && v != "0");
        let janitor = if keep { None } else { Some(start_janitor(&path)?) };
        Ok(Self { path, janitor })
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn start_janitor(path: &Path) -> Result<Child> {
    let mut command = Command::new("sh");
    // A group of its own: Ctrl-C must end us, not the one who cleans up after us.
    command
        .args(["-c", JANITOR, "janitor"])
        .arg(path)
        .process_group(0);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().context("cannot start a shell")
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Some(janitor) = &mut self.janitor {
            // Best effort; what remains is under the system's temporary folder.
            let _ = fs::remove_dir_all(&self.path);
            janitor.stdin = None;
            let _ = janitor.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::workspace::write_private;

    #[test]
    fn temporary_folder_is_private_and_goes_away() {
        let dir = TempDir::new("unit").unwrap();
        let path = dir.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        write_private(&path.join("key"), b"x").unwrap();
        assert_eq!(
            fs::metadata(path.join("key")).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let kept = dir.janitor.is_none();
        drop(dir);
        assert_eq!(path.exists(), kept);
    }
}
