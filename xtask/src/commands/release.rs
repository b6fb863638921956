//! `cargo xtask release`: everything that a release publishes, made under `target/dist`.
//!
//! The binaries are those of the image. The same commit, release of Rust and name of the image give the same bytes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sha2::{Digest, Sha256};
use xtask::assets::{self, Tool};
use xtask::process::output;
use xtask::sbom;
use xtask::temp_dir::TempDir;
use xtask::terminal::{self, Style};
use xtask::workspace::{binary, cargo, root, target};

use super::generate;
use super::image::{self, Buildah, Image, Platform};

/// Make what a release publishes under target/dist: archives, completions, man pages, chart, CRDs, manifest, SBOMs, checksums
///
/// Nothing is published from here: the release workflow signs and uploads what this makes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Publish nothing; the only way there is
    #[arg(long)]
    dry_run: bool,
    /// Make the container image too, which needs buildah
    #[arg(long)]
    image: bool,
    /// Where the image is going to be: chart, manifest and image name it
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// Only this platform (may be repeated)
    #[arg(long = "platform", value_name = "ARCHITECTURE")]
    platforms: Vec<Platform>,
    /// Make everything twice, in different folders, and fail unless all of it is equal
    #[arg(long)]
    twice: bool,
    /// The commit that the image's label names; without it, that of the checkout
    #[arg(long, value_name = "COMMIT")]
    revision: Option<String>,
}

/// The checksums of all other files.
const CHECKSUMS: &str = "SHA256SUMS";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !args.dry_run {
        bail!(
            "nothing is published from a checkout: give --dry-run to make what is published; \
             .github/workflows/release.yaml signs and publishes it"
        );
    }
    let version = version()?;
    let platforms = Platform::chosen(&args.platforms);
    let image = if args.image {
        let repository = args.repository.as_deref().unwrap_or(image::LOCAL_NAME);
        Some(Image {
            buildah: Buildah::find()?,
            name: format!("{repository}:{version}"),
            revision: image::revision(args.revision.as_deref())?,
            platforms: platforms.clone(),
        })
    } else {
        None
    };
    let release = Release {
        version,
        platforms,
        repository: args.repository.as_deref(),
        image,
    };
    let dist = root().join("target/dist");
    // Whole or not at all: what an earlier run left goes once the new files are there.
    let partial = root().join("target/dist.partial");
    remove(&partial)?;
    create(&partial)?;
    release.make(&partial, &target().join("image"))?;
    if args.twice {
        let second = TempDir::new("release")?;
        let again = second.path().join("dist");
        create(&again)?;
        release.make(&again, &second.path().join("target"))?;
        let read = |folder: &Path| fs::read_to_string(folder.join(CHECKSUMS));
        let (one, other) = (read(&partial)?, read(&again)?);
        let differing: Vec<&str> = one
            .lines()
            .filter(|line| !other.lines().any(|l| l == *line))
            .collect();
        if one != other {
            bail!("made twice, these differ:\n{}", differing.join("\n"));
        }
    }
    remove(&dist)?;
    fs::rename(&partial, &dist).with_context(|| format!("cannot make {}", dist.display()))?;
    terminal::table(&listed(&dist)?);
    let seen = if args.twice { ", made twice" } else { "" };
    println!(
        "{}",
        terminal::paint(
            Style::Good,
            format!("version {} in target/dist{seen}", release.version)
        )
    );
    Ok(ExitCode::SUCCESS)
}

/// What is made.
struct Release<'a> {
    version: String,
    platforms: Vec<Platform>,
    repository: Option<&'a str>,
    image: Option<Image>,
}

impl Release<'_> {
    /// Makes all files in the folder `dist`, the binaries below `work`.
    fn make(&self, dist: &Path, work: &Path) -> Result<()> {
        let version = &self.version;
        image::rootfs(&work.join("rootfs"), &self.platforms, work)?;
        let pages = TempDir::new("pages")?;
        let own = pages_and_completions(pages.path())?;
        let said = output(Command::new(&own).arg("--version"))?;
        if said.trim() != format!("ramtrail {version}") {
            bail!("the binary says {}, expected version {version}", said.trim());
        }
        for platform in &self.platforms {
            let name = format!("ramtrail-{version}-linux-{}", platform.architecture());
            pack(dist, &name, &image::program(work, *platform), pages.path())?;
            let bill = bill(platform.triple())?;
            write(&dist.join(format!("{name}.cdx.json")), &bill)?;
        }
        self.chart(dist)?;
        write(&dist.join("crds.yaml"), &output(Command::new(&own).arg("crds"))?)?;
        write(
            &dist.join("install.yaml"),
            &generate::install_manifest(self.repository)?,
        )?;
        if let Some(image) = &self.image {
            let path = dist.join(image::archive_name());
            let digest = image.pack(work, &path)?;
            write(&path.with_extension("digest"), &(digest + "\n"))?;
        }
        checksums(dist)
    }

    /// The chart's package, which names the image where it is going to be.
    fn chart(&self, dist: &Path) -> Result<()> {
        let stage = TempDir::new("chart")?;
        let copy = stage.path().join("ramtrail");
        output(
            Command::new("cp")
                .arg("-R")
                .arg(root().join("charts/ramtrail"))
                .arg(&copy),
        )?;
        if let Some(repository) = self.repository {
            let path = copy.join("values.yaml");
            let values = fs::read_to_string(&path).context("cannot read the chart's values")?;
            write(&path, &with_repository(&values, repository)?)?;
        }
        output(
            Command::new(assets::ensure(Tool::Helm)?)
                .arg("package")
                .arg(&copy)
                .arg("--destination")
                .arg(dist)
                // Else each file has the time of its checkout.
                .env("SOURCE_DATE_EPOCH", "0"),
        )?;
        Ok(())
    }
}

/// The chart's values with another repository of the image.
fn with_repository(values: &str, repository: &str) -> Result<String> {
    let line = "\n  repository: ramtrail\n";
    if values.matches(line).count() != 1 {
        bail!("the chart's values do not name the image's repository as expected");
    }
    Ok(values.replace(line, &format!("\n  repository: {repository}\n")))
}

/// Completions and man pages, which are the same on every platform; gives the binary that wrote them.
fn pages_and_completions(folder: &Path) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--locked", "--package", "ramtrail"]);
    build.args(["--bin", "ramtrail", "--example", "man"]);
    if !build.status().context("cannot run cargo")?.success() {
        bail!("ramtrail does not build");
    }
    let own = binary("ramtrail")?;
    let (completions, man) = (folder.join("completions"), folder.join("man"));
    create(&completions)?;
    create(&man)?;
    for (shell, file) in [
        ("bash", "ramtrail.bash"),
        ("zsh", "_ramtrail"),
        ("fish", "ramtrail.fish"),
    ] {
        let script = output(Command::new(&own).args(["completion", shell]))?;
        write(&completions.join(file), &script)?;
    }
    output(Command::new(binary("examples/man")?).arg(&man))?;
    Ok(own)
}

/// One platform's archive: the binary, what to read, and what `pages` holds. The same content gives the same bytes.
fn pack(dist: &Path, name: &str, program: &Path, pages: &Path) -> Result<()> {
    let stage = TempDir::new("archive")?;
    let folder = stage.path().join(name);
    create(&folder)?;
    output(Command::new("cp").arg("-R").arg(pages.join(".")).arg(&folder))?;
    copy(program, &folder.join("ramtrail"))?;
    for file in ["LICENSE", "README.md", "SECURITY.md", "CHANGELOG.md"] {
        copy(&root().join(file), &folder.join(file))?;
    }
    xtask::archive::pack(&dist.join(format!("{name}.tar.gz")), stage.path(), &[name])
}

/// The one version of crate, chart, application and image.
fn version() -> Result<String> {
    let read =
        |path: &str| fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"));
    let chart: Value =
        serde_saphyr::from_str(&read("charts/ramtrail/Chart.yaml")?).context("in Chart.yaml")?;
    let own = env!("CARGO_PKG_VERSION");
    for key in ["version", "appVersion"] {
        if chart[key] != own {
            bail!("{key} of the chart is {}, the crate has {own}", chart[key]);
        }
    }
    let manifest = read("deploy/install.yaml")?;
    let image = format!("image: \"ramtrail:{own}\"");
    if !manifest.contains(&image) {
        bail!("deploy/install.yaml does not hold {image}: run `cargo xtask generate`");
    }
    Ok(own.to_owned())
}

/// What is linked or run at build time for a target.
fn bill(target: &str) -> Result<String> {
    let metadata = output(cargo().args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        target,
    ]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata printed no JSON")?;
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let bill = sbom::cyclonedx(&metadata, &lock, "ramtrail")?;
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// [`CHECKSUMS`], as `sha256sum --check` reads it.
fn checksums(dist: &Path) -> Result<()> {
    let mut text = String::new();
    for path in files(dist)? {
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(text, "{}  {name}", hex::encode(Sha256::digest(&content)))?;
    }
    write(&dist.join(CHECKSUMS), &text)
}

fn files(dist: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dist).with_context(|| format!("cannot read {}", dist.display()))? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}

fn listed(dist: &Path) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for path in files(dist)? {
        let size = fs::metadata(&path)?.len();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        rows.push(vec![name, format!("{} KiB", size.div_ceil(1024))]);
    }
    Ok(rows)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn crate_chart_and_image_have_one_version() {
        version().map_err(|error| format!("{error:#}")).unwrap();
    }

    #[test]
    fn the_published_chart_names_the_published_image_and_nothing_else_changes() {
        let values = fs::read_to_string(root().join("charts/ramtrail/values.yaml")).unwrap();
        let changed = with_repository(&values, "registry.example/ramtrail").unwrap();
        let differing: Vec<(&str, &str)> = values
            .lines()
            .zip(changed.lines())
            .filter(|(one, other)| one != other)
            .collect();
        assert_eq!(
            differing,
            [(
                "  repository: ramtrail",
                "  repository: registry.example/ramtrail"
            )]
        );
        assert!(with_repository("image: {}\n", "r").is_err());
    }
}
