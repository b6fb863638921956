//! `cargo xtask image`: the container image for both platforms, without a daemon, the same bytes every time.
//!
//! Binaries are static (musl) and hold the list of their dependencies. The C parts are compiled by Zig's compiler, which
//! builds for both platforms on either; it, its cargo command and the authorities of Mozilla are PyPI packages pinned by
//! hash, as the image's content must not depend on the machine. buildah puts the Dockerfile's last stage together.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use xtask::crates::{self, Program};
use xtask::process::output;
use xtask::python::Python;
use xtask::temp_dir::TempDir;
use xtask::terminal::{self, Style};
use xtask::workspace::{cargo, root, target};

/// Where the authorities are in the image: the first place where the TLS library looks on Linux.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Build the container image (linux/amd64, linux/arm64) without a daemon, into target/dist
///
/// The static binaries are built with packages that are pinned by hash and installed once; the image is put together by
/// buildah, which must be there. The same commit gives the same digest.
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
    /// The commit that the image's label names; without it, that of the checkout
    #[arg(long, value_name = "COMMIT")]
    revision: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Platform {
    Amd64,
    Arm64,
}

impl Platform {
    const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The name that images use.
    fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The name that Rust uses.
    fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let platforms = if args.platforms.is_empty() {
        Platform::ALL.to_vec()
    } else {
        args.platforms.clone()
    };
    if let Some(folder) = &args.rootfs {
        rootfs(folder, &platforms, &target().join("image"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let version = env!("CARGO_PKG_VERSION");
    let dist = root().join("target/dist");
    fs::create_dir_all(&dist).with_context(|| format!("cannot create {}", dist.display()))?;
    let archive = dist.join(format!("ramtrail-{version}-image.tar"));
    let buildah = Buildah::find()?;
    let revision = match &args.revision {
        Some(revision) => revision.clone(),
        None => head()?,
    };
    let digest = image(&buildah, &platforms, &revision, &target().join("image"), &archive)?;
    if args.twice {
        // Another folder, nothing of the first build in it.
        let second = TempDir::new("image")?;
        let again = second.path().join("again.tar");
        let other = image(
            &buildah,
            &platforms,
            &revision,
            &second.path().join("target"),
            &again,
        )?;
        if digest != other {
            bail!("two builds differ: {digest} and {other}");
        }
    }
    let mut rows = Vec::new();
    for platform in &platforms {
        let binary = target()
            .join("image/rootfs")
            .join(platform.architecture())
            .join("ramtrail");
        let size = fs::metadata(&binary)?.len();
        let name = format!("linux/{}", platform.architecture());
        rows.push(vec![name, format!("{} KiB", size.div_ceil(1024))]);
    }
    let size = fs::metadata(&archive)?.len();
    rows.push(vec!["archive".to_owned(), format!("{} KiB", size.div_ceil(1024))]);
    terminal::table(&rows);
    let seen = if args.twice { ", built twice" } else { "" };
    let line = format!("{digest}{seen}\n{}", archive.display());
    println!("{}", terminal::paint(Style::Good, line));
    Ok(ExitCode::SUCCESS)
}

/// Makes the image below `work` and writes it as an OCI archive.
///
/// Gives the digest of its index, which names those of all platforms.
fn image(
    buildah: &Buildah,
    platforms: &[Platform],
    revision: &str,
    work: &Path,
    archive: &Path,
) -> Result<String> {
    let context = work.join("rootfs");
    rootfs(&context, platforms, work)?;
    let storage = TempDir::new("buildah")?;
    let list = "ramtrail";
    let build = |arguments: &[OsString]| buildah.run(storage.path(), arguments);
    build(&words(&["manifest", "create", list]))?;
    // The Dockerfile reads `/rootfs/<architecture>/` of its first stage.
    let mut stage = OsString::from("--build-context=build=");
    stage.push(work);
    for platform in platforms {
        let name = format!("--platform=linux/{}", platform.architecture());
        let mut arguments = words(&["bud", "--isolation=chroot", "--no-cache", "--timestamp=0", &name]);
        arguments.push(stage.clone());
        arguments.extend(words(&[
            &format!("--build-arg=VERSION={}", env!("CARGO_PKG_VERSION")),
            &format!("--build-arg=REVISION={revision}"),
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
    let mut place = OsString::from("oci-archive:");
    place.push(archive);
    push.push(place);
    // It would add to an archive that is there.
    if archive.exists() {
        fs::remove_file(archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    }
    build(&push)?;
    let digest = fs::read_to_string(&digests).context("buildah wrote no digest")?;
    Ok(digest.trim().to_owned())
}

/// The files of the image, a folder for each platform.
fn rootfs(folder: &Path, platforms: &[Platform], work: &Path) -> Result<()> {
    let python = Python::with("tools/image/requirements.txt", "what the image is built with")?;
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
        let program = files.join("ramtrail");
        fs::copy(&binary, &program).with_context(|| format!("cannot write {}", program.display()))?;
    }
    Ok(())
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

fn head() -> Result<String> {
    let text = output(
        Command::new("git")
            .args(["rev-parse", "HEAD"])
            .current_dir(root()),
    )
    .context("cannot tell the commit; name it with --revision")?;
    Ok(text.trim().to_owned())
}

/// The program that puts images together.
struct Buildah {
    program: PathBuf,
}

impl Buildah {
    fn find() -> Result<Self> {
        let program = PathBuf::from("buildah");
        output(Command::new(&program).arg("--version")).context(
            "buildah is missing: install it (Debian's package buildah), or build the Dockerfile with another tool",
        )?;
        Ok(Self { program })
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
