//! `cargo xtask image`: the container image for both platforms, without a daemon, the same bytes every time.
//!
//! Binaries are static (musl) and hold the list of their dependencies. The C parts are compiled by Zig's compiler, which
//! builds for both platforms on either; it, its cargo command and the authorities of Mozilla are PyPI packages pinned by
//! hash, as the image's content must not depend on the machine. buildah puts the Dockerfile's last stage together. What is
//! left that the bytes depend on is the release of Rust: the Dockerfile names it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use xtask::archive;
use xtask::crates::{self, Program};
use xtask::needs::Need;
use xtask::process::output;
use xtask::python::Python;
use xtask::temp_dir::TempDir;
use xtask::terminal::{self, Style};
use xtask::workspace::{cargo, root, target};

/// Where the authorities are in the image: the first place where the TLS library looks on Linux.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// The image's name where nobody gives another: what a cluster on this machine is told to run.
pub(crate) const LOCAL_NAME: &str = "localhost/ramtrail";

/// Build the container image (linux/amd64, linux/arm64) without a daemon, into target/dist
///
/// The static binaries are built with packages that are pinned by hash and installed once; the image is put together by
/// buildah, which must be there. The same commit and the same release of Rust give the same digest.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this platform (may be repeated)
    #[arg(long = "platform", value_name = "ARCHITECTURE")]
    platforms: Vec<Platform>,
    /// Only make the image's files in a folder, one folder within for each platform; needs no buildah
    #[arg(long, value_name = "FOLDER")]
    rootfs: Option<PathBuf>,
    /// Build everything twice, in different folders, and fail unless the digests are equal
    #[arg(long, conflicts_with = "rootfs")]
    twice: bool,
    /// The name that the archive gives the image, without the tag
    #[arg(long, value_name = "NAME", default_value = LOCAL_NAME)]
    repository: String,
    /// The commit that the image's label names; without it, that of the checkout
    #[arg(long, value_name = "COMMIT")]
    revision: Option<String>,
}

/// A platform that the image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Platform {
    Amd64,
    Arm64,
}

impl Platform {
    const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Those that were named, all if none was.
    pub(crate) fn chosen(named: &[Self]) -> Vec<Self> {
        if named.is_empty() {
            Self::ALL.to_vec()
        } else {
            named.to_vec()
        }
    }

    /// The name that images use.
    pub(crate) fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The name that Rust uses.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let platforms = Platform::chosen(&args.platforms);
    let work = target().join("image");
    if let Some(folder) = &args.rootfs {
        rootfs(folder, &platforms, &work)?;
        return Ok(ExitCode::SUCCESS);
    }
    let dist = root().join("target/dist");
    fs::create_dir_all(&dist).with_context(|| format!("cannot create {}", dist.display()))?;
    let path = dist.join(archive_name());
    let image = Image {
        buildah: Buildah::find()?,
        name: format!("{}:{}", args.repository, env!("CARGO_PKG_VERSION")),
        revision: revision(args.revision.as_deref())?,
        platforms,
    };
    let digest = image.make(&work, &path)?;
    if args.twice {
        // Another folder, nothing of the first build in it.
        let second = TempDir::new("image")?;
        let other = image.make(&second.path().join("target"), &second.path().join("again.tar"))?;
        if digest != other {
            bail!("two builds differ: {digest} and {other}");
        }
    }
    let mut rows = Vec::new();
    for platform in &image.platforms {
        let size = fs::metadata(program(&work, *platform))?.len();
        let name = format!("linux/{}", platform.architecture());
        rows.push(vec![name, format!("{} KiB", size.div_ceil(1024))]);
    }
    let size = fs::metadata(&path)?.len();
    rows.push(vec!["archive".to_owned(), format!("{} KiB", size.div_ceil(1024))]);
    terminal::table(&rows);
    let seen = if args.twice { ", built twice" } else { "" };
    let line = format!("{} {digest}{seen}\n{}", image.name, path.display());
    println!("{}", terminal::paint(Style::Good, line));
    Ok(ExitCode::SUCCESS)
}

/// The file that holds the image of all platforms.
pub(crate) fn archive_name() -> String {
    format!("ramtrail-{}-image.tar", env!("CARGO_PKG_VERSION"))
}

/// The operator's binary for a platform, once its files were made below `work`.
pub(crate) fn program(work: &Path, platform: Platform) -> PathBuf {
    work.join("rootfs").join(platform.architecture()).join("ramtrail")
}

/// What goes into an image besides its files.
pub(crate) struct Image {
    pub(crate) buildah: Buildah,
    /// Name and tag.
    pub(crate) name: String,
    /// The commit.
    pub(crate) revision: String,
    pub(crate) platforms: Vec<Platform>,
}

impl Image {
    fn make(&self, work: &Path, archive: &Path) -> Result<String> {
        rootfs(&work.join("rootfs"), &self.platforms, work)?;
        self.pack(work, archive)
    }

    /// Writes the files below `work` as an OCI archive.
    ///
    /// Gives the digest of its index, which names those of all platforms.
    pub(crate) fn pack(&self, work: &Path, archive: &Path) -> Result<String> {
        let storage = TempDir::new("buildah")?;
        let list = "ramtrail";
        let build = |arguments: &[OsString]| self.buildah.run(storage.path(), arguments);
        build(&words(&["manifest", "create", list]))?;
        // The Dockerfile reads `/rootfs/<architecture>/` of its first stage.
        let mut stage = OsString::from("--build-context=build=");
        stage.push(work);
        for platform in &self.platforms {
            let name = format!("--platform=linux/{}", platform.architecture());
            let mut arguments = words(&["bud", "--isolation=chroot", "--no-cache", &name]);
            // Neither the time nor buildah's own version is in it.
            arguments.extend(words(&["--timestamp=0", "--identity-label=false"]));
            arguments.push(stage.clone());
            arguments.extend(words(&[
                &format!("--build-arg=VERSION={}", env!("CARGO_PKG_VERSION")),
                &format!("--build-arg=REVISION={}", self.revision),
                &format!("--manifest={list}"),
                "--file",
            ]));
            arguments.push(root().join("Dockerfile").into());
            // Nothing of the checkout is read: all comes from the stage.
            arguments.push(work.into());
            build(&arguments)?;
        }
        let digests = storage.path().join("digest");
        let mut push = words(&["manifest", "push", "--quiet", "--all", "--digestfile"]);
        push.push(digests.clone().into());
        push.push(list.into());
        // An archive of buildah's own making has the times of its making in it.
        let layout = storage.path().join("layout");
        let mut place = OsString::from("oci:");
        place.push(&layout);
        place.push(":");
        place.push(&self.name);
        push.push(place);
        build(&push)?;
        archive::pack(archive, &layout, &["blobs", "index.json", "oci-layout"])?;
        let digest = fs::read_to_string(&digests).context("buildah wrote no digest")?;
        Ok(digest.trim().to_owned())
    }
}

/// The files of the image, a folder for each platform.
///
/// What the builder's umask is does not show: whoever runs the image is neither their owner nor of their group.
pub(crate) fn rootfs(folder: &Path, platforms: &[Platform], work: &Path) -> Result<()> {
    tell_rust()?;
    let python = Python::for_image()?;
    let authorities = authorities(&python)?;
    for platform in platforms {
        let binary = static_binary(&python, *platform, work)?;
        let files = folder.join(platform.architecture());
        if files.exists() {
            fs::remove_dir_all(&files).with_context(|| format!("cannot remove {}", files.display()))?;
        }
        let place = files.join(AUTHORITIES);
        let certs = place.parent().context("a file without a folder")?;
        fs::create_dir_all(certs).with_context(|| format!("cannot create {}", certs.display()))?;
        fs::write(&place, &authorities).with_context(|| format!("cannot write {}", place.display()))?;
        set_mode(&place, 0o644)?;
        let program = files.join("ramtrail");
        fs::copy(&binary, &program).with_context(|| format!("cannot write {}", program.display()))?;
        set_mode(&program, 0o755)?;
        for below in certs.ancestors().take_while(|path| path.starts_with(&files)) {
            set_mode(below, 0o755)?;
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// Says so if another release of Rust is at work than the one that releases are built with: the bytes will be others.
fn tell_rust() -> Result<()> {
    let wanted = rust_of_releases()?;
    let said = output(Command::new("rustc").arg("--version").current_dir(root()))?;
    let used = said.split_whitespace().nth(1).unwrap_or_default();
    if used != wanted {
        let text = format!("  Rust {used} is used; releases are built with {wanted} and have other digests");
        terminal::note(&text);
    }
    Ok(())
}

/// The Dockerfile's `ARG RUST=...`.
fn rust_of_releases() -> Result<String> {
    let text = fs::read_to_string(root().join("Dockerfile")).context("cannot read the Dockerfile")?;
    let found = text.lines().find_map(|line| line.strip_prefix("ARG RUST="));
    found
        .map(str::to_owned)
        .context("the Dockerfile does not say ARG RUST=")
}

/// Mozilla's list, as the pinned package holds it.
fn authorities(python: &Python) -> Result<Vec<u8>> {
    let path = output(
        python
            .command()
            .args(["-c", "import certifi; print(certifi.where())"]),
    )?;
    let path = path.trim();
    fs::read(path).with_context(|| format!("cannot read {path}"))
}

fn static_binary(python: &Python, platform: Platform, work: &Path) -> Result<PathBuf> {
    let triple = platform.triple();
    let auditable = crates::ensure(Program::CargoAuditable)?;
    has_target(triple)?;
    let target = work.join("target");
    terminal::heading(&format!("The static binary for {triple}"));
    let mut path = OsString::from(python.programs());
    for more in [
        auditable.parent().map(Path::as_os_str).map(OsString::from),
        env::var_os("PATH"),
    ] {
        path.push(":");
        path.push(more.unwrap_or_default());
    }
    let mut command = cargo();
    command
        .args(["auditable", "zigbuild", "--locked", "--release"])
        .args(["--package", "ramtrail", "--bin", "ramtrail", "--target", triple])
        .arg("--target-dir")
        .arg(&target)
        .env("PATH", path)
        // No path of this machine is in it.
        .env("CARGO_ENCODED_RUSTFLAGS", remap(&target)?)
        .env(
            "CFLAGS",
            format!("-ffile-prefix-map={}=cargo", cargo_home()?.display()),
        )
        .env("SOURCE_DATE_EPOCH", "0");
    if !command.status().context("cannot run cargo")?.success() {
        bail!("ramtrail does not build for {triple}");
    }
    let binary = target.join(triple).join("release/ramtrail");
    let content = fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
    inspect(&content).with_context(|| format!("the binary for {triple}"))?;
    Ok(binary)
}

fn remap(target: &Path) -> Result<OsString> {
    let mut flags = OsString::new();
    for (from, to) in [
        (target.to_owned(), "target"),
        (cargo_home()?, "cargo"),
        (root().to_owned(), "ramtrail"),
    ] {
        if !flags.is_empty() {
            flags.push("\u{1f}");
        }
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    Ok(flags)
}

fn cargo_home() -> Result<PathBuf> {
    let set = env::var_os("CARGO_HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    set.or_else(home).context("neither CARGO_HOME nor HOME is set")
}

/// Whether it is what the image promises: no interpreter, a list of dependencies, no folder of ours.
fn inspect(binary: &[u8]) -> Result<()> {
    let holds = |text: &[u8]| binary.windows(text.len()).any(|window| window == text);
    if holds(b"/lib/ld-") || holds(b"/lib64/ld-") {
        bail!("is not static");
    }
    if !holds(b".dep-v0") {
        bail!("does not list its dependencies");
    }
    for folder in [cargo_home()?, root().to_owned()] {
        let folder = folder.display().to_string();
        if holds(format!("{folder}/").as_bytes()) {
            bail!("names the folder {folder}");
        }
    }
    Ok(())
}

/// The standard library for a platform comes by rustup.
fn has_target(triple: &str) -> Result<()> {
    let sysroot = output(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(root()),
    )?;
    let library = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(triple)
        .join("lib");
    if library.is_dir() {
        return Ok(());
    }
    terminal::progress(
        &format!("installing the standard library for {triple} (once)"),
        || {
            output(
                Command::new("rustup")
                    .args(["target", "add", triple])
                    .current_dir(root()),
            )
            .with_context(|| {
                format!("the standard library for {triple} is missing, and rustup could not add it")
            })?;
            Ok(())
        },
    )
}

/// The commit that was named, else that of the checkout.
pub(crate) fn revision(named: Option<&str>) -> Result<String> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let text = output(
        Command::new("git")
            .args(["rev-parse", "HEAD"])
            .current_dir(root()),
    )
    .context("cannot tell the commit; name it with --revision")?;
    Ok(text.trim().to_owned())
}

/// The program that puts images together.
pub(crate) struct Buildah {
    program: PathBuf,
}

impl Buildah {
    pub(crate) fn find() -> Result<Self> {
        Ok(Self {
            program: Need::Buildah.meet()?,
        })
    }

    /// With a storage of its own, so that nothing of the user's is read or left behind.
    fn run(&self, storage: &Path, arguments: &[OsString]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(storage.join("root"));
        command.arg("--runroot").arg(storage.join("run"));
        command.args(["--storage-driver", "vfs"]).args(arguments);
        output(&mut command)
    }
}

fn words(texts: &[&str]) -> Vec<OsString> {
    texts.iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn releases_are_built_with_one_release_of_rust_wherever_it_is_named() {
        let release = rust_of_releases().unwrap();
        assert_eq!(release.split('.').count(), 3, "{release} names no single release");
        let workflow = fs::read_to_string(root().join(".github/workflows/release.yaml")).unwrap();
        let installs: Vec<&str> = workflow
            .lines()
            .filter(|line| line.contains("rustup toolchain install"))
            .collect();
        assert!(!installs.is_empty());
        for line in installs {
            assert!(line.contains(&format!("install {release} ")), "{line}");
        }
    }
}
