//! `cargo xtask demo`: the whole job in front of one's eyes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

/// Show the whole job on a real kube-apiserver and the emulator
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End when everything was seen, with failure if something was not
    #[arg(long)]
    once: bool,
    /// Use this cluster instead of a throw-away one
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Args {
        once: _,
        kubeconfig: _,
    } = args;
    bail!("the operator cannot run yet");
}
