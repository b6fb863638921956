//! `cargo xtask generate`: files that are made from others and committed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use xtask::argo_cd;
use xtask::assets::{self, Tool};
use xtask::chart;
use xtask::process::output;
use xtask::reference;
use xtask::temp_dir::TempDir;
use xtask::terminal::{self, Style};
use xtask::workspace::{binary, cargo, root};

/// The namespace of `deploy/install.yaml`.
pub(crate) const NAMESPACE: &str = "ramtrail-system";

/// Write the generated files: CRDs (crds/ and the chart's copies), what deploy/ has of the chart, the chart's README,
/// docs/reference.md, health checks for Argo CD
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail and name the files that differ from what would be written
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let status = cargo()
        .args(["build", "--quiet", "--package", "ramtrail", "--bins"])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("ramtrail does not build");
    }
    let differing = if args.check { differing()? } else { write()? };
    let verb = if args.check { "differs" } else { "written" };
    let style = if args.check { Style::Bad } else { Style::Good };
    for path in &differing {
        println!("  {} {}", terminal::paint(style, verb), path.display());
    }
    if args.check && !differing.is_empty() {
        bail!("generated files are out of date: run `cargo xtask generate` and commit the result");
    }
    if differing.is_empty() {
        println!("  all generated files are up to date");
    }
    Ok(ExitCode::SUCCESS)
}

/// The files that are not what would be generated, by the binary that is built now.
pub(crate) fn differing() -> Result<Vec<PathBuf>> {
    let crds = crds()?;
    let mut paths = changed(&crds);
    paths.extend(leftovers(&crds)?);
    paths.extend(changed(&manifests()?));
    paths.extend(changed(&readme()?));
    paths.extend(changed(&reference_page(&crds)?));
    paths.extend(changed(&health_checks()?));
    Ok(paths)
}

fn write() -> Result<Vec<PathBuf>> {
    let crds = crds()?;
    let mut written = write_changed(&crds)?;
    for path in leftovers(&crds)? {
        fs::remove_file(root().join(&path)).with_context(|| format!("cannot remove {}", path.display()))?;
        written.push(path);
    }
    // Rendered only now, since the chart renders the copies just written.
    written.extend(write_changed(&manifests()?)?);
    written.extend(write_changed(&readme()?)?);
    written.extend(write_changed(&reference_page(&crds)?)?);
    written.extend(write_changed(&health_checks()?)?);
    Ok(written)
}

/// Contents by path in the checkout.
type Files = BTreeMap<PathBuf, String>;

fn changed(files: &Files) -> Vec<PathBuf> {
    let is_same =
        |path: &Path, content: &str| fs::read_to_string(root().join(path)).is_ok_and(|f| f == content);
    files
        .iter()
        .filter(|(path, content)| !is_same(path, content))
        .map(|(path, _)| path.clone())
        .collect()
}

fn write_changed(files: &Files) -> Result<Vec<PathBuf>> {
    let paths = changed(files);
    for path in &paths {
        let full = root().join(path);
        if let Some(folder) = full.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(&full, &files[path]).with_context(|| format!("cannot write {}", full.display()))?;
    }
    Ok(paths)
}

/// YAML files in the folders of the CRDs that no kind stands behind any more.
fn leftovers(files: &Files) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in crd_folders() {
        let Ok(entries) = fs::read_dir(root().join(&folder)) else {
            continue;
        };
        for entry in entries {
            let path = folder.join(entry?.file_name());
            if path.extension().is_some_and(|e| e == "yaml") && !files.contains_key(&path) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn chart_folder() -> Option<PathBuf> {
    let chart = PathBuf::from("charts/ramtrail");
    root().join(&chart).join("Chart.yaml").is_file().then_some(chart)
}

fn crd_folders() -> Vec<PathBuf> {
    let copies = chart_folder().map(|chart| chart.join("crd-manifests"));
    [PathBuf::from("crds")].into_iter().chain(copies).collect()
}

fn crds() -> Result<Files> {
    let out = TempDir::new("crds")?;
    output(
        Command::new(binary("ramtrail")?)
            .args(["crds", "--out-dir"])
            .arg(out.path()),
    )?;
    let mut files = Files::new();
    for entry in fs::read_dir(out.path()).context("cannot read what `ramtrail crds` wrote")? {
        let entry = entry?;
        let content = fs::read_to_string(entry.path()).context("cannot read what `ramtrail crds` wrote")?;
        for folder in crd_folders() {
            files.insert(folder.join(entry.file_name()), content.clone());
        }
    }
    if files.is_empty() {
        bail!("`ramtrail crds` wrote no CRD");
    }
    Ok(files)
}

/// What files made from the chart begin with.
const HEAD: &str = "# Made from charts/ramtrail by `cargo xtask generate`; changes belong there.\n";

/// The chart with its default values: as one file, and as the resources that kustomizations are made of.
fn manifests() -> Result<Files> {
    if chart_folder().is_none() {
        return Ok(Files::new());
    }
    let operator = format!("{}{}", before_rendered(), render(&["--set=crds.enabled=false"])?);
    let crds = format!("{HEAD}{}", render(&["--show-only=templates/crds.yaml"])?);
    Ok(Files::from([
        (PathBuf::from("deploy/install.yaml"), install_manifest(None)?),
        (PathBuf::from("deploy/base/ramtrail.yaml"), operator),
        (PathBuf::from("deploy/crds/crds.yaml"), crds),
    ]))
}

/// `deploy/install.yaml`, with the image in another repository if one is named.
pub(crate) fn install_manifest(repository: Option<&str>) -> Result<String> {
    let set = repository.map(|name| format!("--set-string=image.repository={name}"));
    let more: Vec<&str> = set.iter().map(String::as_str).collect();
    Ok(format!("{}{}", before_rendered(), render(&more)?))
}

fn before_rendered() -> String {
    format!("{HEAD}---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n")
}

fn render(more: &[&str]) -> Result<String> {
    let mut command = Command::new(assets::ensure(Tool::Helm)?);
    command
        .current_dir(root())
        .args(["template", "ramtrail", "charts/ramtrail"])
        .args(["--namespace", NAMESPACE, "--skip-tests"])
        .args(more);
    output(&mut command)
}

/// The chart's README, from the comments of its values.
fn readme() -> Result<Files> {
    let Some(folder) = chart_folder() else {
        return Ok(Files::new());
    };
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(root().join(&path)).with_context(|| format!("cannot read {}", path.display()))
    };
    let text = chart::readme(
        &read("Chart.yaml")?,
        &read("values.yaml")?,
        &read("files/alerts.yaml")?,
    )?;
    Ok(Files::from([(folder.join("README.md"), text)]))
}

/// The API reference, in the order in which references point.
fn reference_page(crds: &Files) -> Result<Files> {
    let mut definitions = Vec::new();
    for kind in ["auditprojects", "auditlogstores", "ramtrails"] {
        let path = PathBuf::from(format!("crds/{kind}.ramtrail.io.yaml"));
        definitions.push(
            crds.get(&path)
                .with_context(|| format!("no {}", path.display()))?
                .as_str(),
        );
    }
    let kinds = crds.keys().filter(|path| path.starts_with("crds")).count();
    if kinds != definitions.len() {
        bail!("the API reference lists {} kinds of {kinds}", definitions.len());
    }
    let page = reference::page(&definitions)?;
    Ok(Files::from([(PathBuf::from("docs/reference.md"), page)]))
}

/// The health checks for Argo CD, from their one script.
fn health_checks() -> Result<Files> {
    let path = Path::new(argo_cd::FOLDER).join("health.lua");
    let script =
        fs::read_to_string(root().join(&path)).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(argo_cd::health_checks(&script))
}
