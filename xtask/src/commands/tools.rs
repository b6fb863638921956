//! `cargo xtask tools`: everything that is built or installed once, now.

use std::process::ExitCode;

use anyhow::Result;
use xtask::assets::{self, Tool};
use xtask::python::Python;
use xtask::terminal::{self, Style};

/// Build or install everything the other commands need: control plane, kubectl, helm, Python SDKs
///
/// Each is made once and kept outside the checkout: in RAMTRAIL_CACHE, else XDG_CACHE_HOME/ramtrail, else
/// ~/.cache/ramtrail. KUBEBUILDER_ASSETS and TEST_ASSET_ETCD, TEST_ASSET_KUBE_APISERVER and so on come first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for tool in Tool::ALL {
        let path = assets::ensure(tool)?;
        rows.push(vec![
            terminal::paint(Style::Accent, tool.name()),
            path.display().to_string(),
        ]);
    }
    let python = Python::ensure()?;
    let program = python.command().get_program().to_string_lossy().into_owned();
    rows.push(vec![
        terminal::paint(Style::Accent, "python with the official SDKs"),
        program,
    ]);
    terminal::table(&rows);
    Ok(ExitCode::SUCCESS)
}
