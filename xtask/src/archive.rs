//! Archives that are the same bytes for the same content, whoever makes them, where and when.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::output;

/// Packs these files and folders of `folder` with tar; an archive whose name ends in `.gz` is compressed.
///
/// # Errors
/// Fails if GNU tar or gzip is missing, or with tar's own words.
pub fn pack(archive: &Path, folder: &Path, names: &[&str]) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--mtime=@0", "--mode=u=rwX,go=rX"])
        .args(["--owner=0", "--group=0", "--numeric-owner", "--format=gnu"]);
    if archive.extension().is_some_and(|extension| extension == "gz") {
        tar.arg("--use-compress-program=gzip -n");
    }
    tar.arg("-C").arg(folder).arg("-cf").arg(archive).args(names);
    output(&mut tar)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::temp_dir::TempDir;

    #[test]
    fn neither_order_nor_mode_nor_time_of_the_files_shows() {
        let dir = TempDir::new("archive").unwrap();
        let pack_of = |name: &str, files: [&str; 2], mode: u32, days: u64| {
            let folder = dir.path().join(name);
            fs::create_dir_all(folder.join("all")).unwrap();
            for file in files {
                let path = folder.join("all").join(file);
                fs::write(&path, file).unwrap();
                let then = SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
                fs::File::options()
                    .append(true)
                    .open(&path)
                    .unwrap()
                    .set_modified(then)
                    .unwrap();
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            }
            let archive = dir.path().join(format!("{name}.tar.gz"));
            pack(&archive, &folder, &["all"]).unwrap();
            fs::read(archive).unwrap()
        };
        let one = pack_of("one", ["a", "b"], 0o600, 1);
        assert_eq!(one, pack_of("two", ["b", "a"], 0o664, 2));
        assert_ne!(one, pack_of("three", ["b", "c"], 0o664, 1));
    }
}
