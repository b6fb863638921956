//! `cargo xtask tools`: what is built or installed once, now.

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use xtask::assets::Tool;
use xtask::needs::Need;
use xtask::terminal::{self, Style};

/// Build or install what the other commands need: control plane, kubectl, helm, Python SDKs
///
/// Each is made once and kept outside the checkout: in RAMTRAIL_CACHE, else XDG_CACHE_HOME/ramtrail, else
/// ~/.cache/ramtrail. `earlier-operators` builds the operator of earlier versions from the history, and the part
/// `upgrades` of the tests runs them from then on. KUBEBUILDER_ASSETS and TEST_ASSET_ETCD, TEST_ASSET_KUBE_APISERVER and so on come first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these, in this order, such as `kubectl` or `argocd` [default: what demo and test need]
    #[arg(value_name = "NAME")]
    needs: Vec<Need>,
    /// Begin nothing more once standard input is closed: whoever started this has left
    #[arg(long, hide = true)]
    while_wanted: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let wanted = Arc::new(AtomicBool::new(true));
    if args.while_wanted {
        let wanted = Arc::clone(&wanted);
        std::thread::spawn(move || {
            // The end, or a failure: nobody is there.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            wanted.store(false, Ordering::Relaxed);
        });
    }
    let needs: Vec<Need> = if args.needs.is_empty() {
        let tools = Tool::ALL.into_iter().map(Need::Tool);
        tools.chain([Need::Sdks]).collect()
    } else {
        args.needs.clone()
    };
    let mut rows = Vec::new();
    for need in needs {
        if !wanted.load(Ordering::Relaxed) {
            break;
        }
        let path = need.meet()?;
        rows.push(vec![
            terminal::paint(Style::Accent, need.name()),
            path.display().to_string(),
        ]);
    }
    terminal::table(&rows);
    Ok(ExitCode::SUCCESS)
}
