//! `cargo xtask docs`: the book, its links, and the commands in it.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use xtask::book;
use xtask::crates::{self, Program};
use xtask::terminal::{self, Style};
use xtask::workspace::root;

use super::docs_commands;

/// Build the documentation into target/book and check every link; works offline once mdbook is in the cache
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run the command blocks instead, each page on a control plane and an emulated cloud of its own
    #[arg(long)]
    run: bool,
    /// With --run: only this page, such as docs/quick-start.md
    #[arg(long, value_name = "PATH", requires = "run")]
    page: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.run {
        let said = docs_commands::run(args.page.as_deref())?;
        terminal::line(&said);
        return Ok(ExitCode::SUCCESS);
    }
    terminal::line(&check()?);
    terminal::line(&build()?);
    println!("{}", terminal::paint(Style::Accent, "target/book/index.html"));
    Ok(ExitCode::SUCCESS)
}

/// Checks the sources: links, anchors, paths, fences.
pub(crate) fn check() -> Result<String> {
    let problems = book::problems()?;
    for problem in &problems {
        println!("{} {problem}", terminal::paint(Style::Bad, "wrong"));
    }
    if !problems.is_empty() {
        bail!("{} mistakes in the documentation", problems.len());
    }
    let pages = book::pages()?;
    let blocks = pages.iter().map(|page| page.blocks().len()).sum::<usize>();
    Ok(format!(
        "{} documents, {blocks} blocks: every link leads somewhere",
        pages.len()
    ))
}

/// Builds the book and follows the links of what came out.
pub(crate) fn build() -> Result<String> {
    let mdbook = crates::ensure(Program::Mdbook)?;
    let output = Command::new(mdbook)
        .arg("build")
        .current_dir(root())
        .output()
        .context("cannot run mdbook")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || said.contains("WARN") || said.contains("ERROR") {
        bail!("mdbook build: {said}");
    }
    let broken = book::broken_links(&root().join("target/book"))?;
    if !broken.is_empty() {
        bail!("the book has broken links:\n{}", broken.join("\n"));
    }
    Ok("the book is built; every link in it leads somewhere".to_owned())
}
