//! `cargo xtask cluster`: a throw-away control plane for one command.

use std::process::ExitCode;

use anyhow::{Context, Result};
use xtask::control_plane::{ControlPlane, Options, command_in};
use xtask::terminal::{self, Style};

/// Run a command with KUBECONFIG of a throw-away control plane (etcd and kube-apiserver, no nodes)
///
/// Without a command, the control plane stays up until Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave kube-controller-manager out: faster, but namespaces cannot be deleted
    #[arg(long)]
    bare: bool,
    /// The command and its arguments; kubectl is on its PATH
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let options = if args.bare {
        Options::new()
    } else {
        Options::new().controller_manager()
    };
    let control_plane = terminal::progress("starting a control plane", || ControlPlane::start(&options))?;
    let Some((program, rest)) = args.command.split_first() else {
        let kubeconfig = control_plane.kubeconfig().display();
        println!(
            "{}",
            terminal::paint(Style::Accent, format!("export KUBECONFIG={kubeconfig}"))
        );
        terminal::note("  Ctrl-C ends it and removes everything");
        loop {
            std::thread::park();
        }
    };
    let status = command_in(&control_plane, program)?
        .args(rest)
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    Ok(ExitCode::from(code))
}
