//! `cargo xtask release`: everything that a release publishes, made under `target/dist`.

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
use xtask::terminal::{self, Style};
use xtask::workspace::{cargo, root, target};

/// Make what a release publishes under target/dist: archive, completions, man pages, chart, CRDs, manifest, SBOM, checksums
///
/// Nothing is published from here: the release workflow signs and uploads what this makes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Publish nothing; the only way there is
    #[arg(long, required = true)]
    dry_run: bool,
    /// Profile of the binary; `dev` is quick and only shows that all is made
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let version = version()?;
    let dist = root().join("target/dist");
    if dist.exists() {
        fs::remove_dir_all(&dist).with_context(|| format!("cannot remove {}", dist.display()))?;
    }
    let binary = build(&args.profile)?;
    let said = output(Command::new(&binary).arg("--version"))?;
    if said.trim() != format!("ramtrail {version}") {
        bail!("the binary says {}, expected version {version}", said.trim());
    }
    let name = format!("ramtrail-{version}-{}", host()?);
    let stage = dist.join(&name);
    for folder in ["completions", "man"] {
        create(&stage.join(folder))?;
    }
    copy(&binary, &stage.join("ramtrail"))?;
    for file in ["LICENSE", "README.md", "SECURITY.md", "CHANGELOG.md"] {
        copy(&root().join(file), &stage.join(file))?;
    }
    for (shell, file) in [
        ("bash", "ramtrail.bash"),
        ("zsh", "_ramtrail"),
        ("fish", "ramtrail.fish"),
    ] {
        let script = output(Command::new(&binary).args(["completion", shell]))?;
        write(&stage.join("completions").join(file), &script)?;
    }
    let mut man = cargo();
    man.args([
        "run",
        "--quiet",
        "--package",
        "ramtrail",
        "--example",
        "man",
        "--",
    ])
    .arg(stage.join("man"));
    output(&mut man)?;
    // The same content gives the same bytes.
    output(
        Command::new("tar")
            .args([
                "--sort=name",
                "--mtime=@0",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
            ])
            .args(["--use-compress-program=gzip -n", "-C"])
            .arg(&dist)
            .arg("-cf")
            .arg(dist.join(format!("{name}.tar.gz")))
            .arg(&name),
    )?;
    fs::remove_dir_all(&stage).context("cannot remove the folder of the archive")?;
    output(
        Command::new(assets::ensure(Tool::Helm)?)
            .args(["package", "charts/ramtrail", "--destination"])
            .arg(&dist)
            .current_dir(root()),
    )?;
    write(
        &dist.join("crds.yaml"),
        &output(Command::new(&binary).arg("crds"))?,
    )?;
    copy(&root().join("deploy/install.yaml"), &dist.join("install.yaml"))?;
    write(&dist.join("ramtrail.cdx.json"), &bill()?)?;
    checksums(&dist)?;
    terminal::table(&listed(&dist)?);
    println!(
        "{}",
        terminal::paint(Style::Good, format!("version {version} in target/dist"))
    );
    Ok(ExitCode::SUCCESS)
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

fn build(profile: &str) -> Result<PathBuf> {
    let mut command = cargo();
    command.args([
        "build",
        "--locked",
        "--package",
        "ramtrail",
        "--bin",
        "ramtrail",
        "--profile",
        profile,
    ]);
    if !command.status().context("cannot run cargo")?.success() {
        bail!("ramtrail does not build");
    }
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target().join(folder).join("ramtrail"))
}

/// The platform that cargo builds for.
fn host() -> Result<String> {
    let text = output(cargo().arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("cargo tells no host")
}

fn bill() -> Result<String> {
    let platform = host()?;
    let metadata = output(cargo().args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        &platform,
    ]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata printed no JSON")?;
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let bill = sbom::cyclonedx(&metadata, &lock, "ramtrail")?;
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// `SHA256SUMS`, as `sha256sum --check` reads it.
fn checksums(dist: &Path) -> Result<()> {
    let mut text = String::new();
    for path in files(dist)? {
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(text, "{}  {name}", hex::encode(Sha256::digest(&content)))?;
    }
    write(&dist.join("SHA256SUMS"), &text)
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
    #[test]
    fn crate_chart_and_image_have_one_version() {
        super::version()
            .map_err(|error| format!("{error:#}"))
            .expect("one version");
    }
}
