//! Writes the man pages of `ramtrail` into a folder: `cargo run --example man -- FOLDER`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use ramtrail::config::Cli;

fn main() -> anyhow::Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).context("name a folder")?.into();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), &folder).context("cannot write the man pages")
}
