//! `cargo xtask`: the development commands of ramtrail.

mod commands;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::terminal::{self, Style};

/// Development commands of ramtrail.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Test(commands::test::Args),
    Demo(commands::demo::Args),
    Generate(commands::generate::Args),
    Cluster(commands::cluster::Args),
    Docs(commands::docs::Args),
    Image(commands::image::Args),
    Release(commands::release::Args),
    Tools(commands::tools::Args),
}

fn run(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Test(args) => Ok(commands::test::run(args)),
        Command::Demo(args) => commands::demo::run(args),
        Command::Generate(args) => commands::generate::run(args),
        Command::Cluster(args) => commands::cluster::run(args),
        Command::Docs(args) => commands::docs::run(args),
        Command::Image(args) => commands::image::run(args),
        Command::Release(args) => commands::release::run(args),
        Command::Tools(args) => commands::tools::run(args),
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            terminal::note(&format!("{} {error:#}", terminal::paint(Style::Bad, "error:")));
            ExitCode::FAILURE
        }
    }
}
