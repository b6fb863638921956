//! The emulator's binary: arguments, logs, signals. No logic.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use ramtrail_emulator::assumptions::{Assumptions, Profile, register};
use ramtrail_emulator::config::{AccessKey, Config};
use ramtrail_emulator::quota::{self, Quotas};
use ramtrail_emulator::server::Emulator;
use tracing_subscriber::EnvFilter;

/// Emulates Alibaba Cloud Log Service, ActionTrail, RAM, STS and ResourceManager on one loopback port.
///
/// Everything is kept in memory. When it listens it prints one line of JSON on standard output:
/// {"listen":"127.0.0.1:PORT","adminToken":"…"}; logs go to standard error (RUST_LOG sets the level).
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Point official SDKs at it with endpoint 127.0.0.1:PORT and plain http, or resolve *.aliyuncs.com to it.\nSee the README for the admin endpoints below /_emulator/."
)]
struct Arguments {
    /// Loopback address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Access key that exists from the start; without USER it is the account's own (root) key, with USER
    /// the user is made with AdministratorAccess. Repeatable
    #[arg(long = "access-key", value_name = "ID:SECRET:ACCOUNT[/USER]")]
    access_keys: Vec<AccessKey>,

    /// Sets a limit; --list-quotas shows the names. Repeatable
    #[arg(long = "quota", value_name = "NAME=N")]
    quotas: Vec<String>,

    /// Behaviours where the sources settle nothing: what the documents suggest, or what hurts most
    #[arg(long, value_enum, default_value = "documented")]
    profile: ProfileName,

    /// Overrides one behaviour; --list-assumptions shows ids and behaviours. Repeatable
    #[arg(long = "assume", value_name = "ID=BEHAVIOUR")]
    assume: Vec<String>,

    /// Region of hosts that name none
    #[arg(long, default_value = "cn-hangzhou")]
    region: String,

    /// Further host suffix: <project>.SUFFIX and SUFFIX are served like localhost
    #[arg(long, value_name = "SUFFIX")]
    base_host: Option<String>,

    /// Token that admin endpoints want in the header x-emulator-token; random if not given
    #[arg(
        long,
        env = "RAMTRAIL_EMULATOR_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    admin_token: Option<String>,

    /// Seed of request ids and made keys
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// File to write the port to once it listens
    #[arg(long, value_name = "PATH")]
    port_file: Option<PathBuf>,

    /// Lists all limits and ends
    #[arg(long)]
    list_quotas: bool,

    /// Lists all assumptions and ends
    #[arg(long)]
    list_assumptions: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProfileName {
    Documented,
    Hostile,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.list_quotas || arguments.list_assumptions {
        return list(&arguments);
    }
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(run(arguments))
}

fn list(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if arguments.list_quotas {
        for quota in quota::ALL {
            writeln!(out, "{:<28} {:>8}  {}", quota.name, quota.default, quota.text)?;
        }
    }
    if arguments.list_assumptions {
        for entry in register() {
            writeln!(
                out,
                "{}: {} (documented {}, hostile {})",
                entry.id,
                entry.behaviours.join(" | "),
                entry.documented,
                entry.hostile
            )?;
            writeln!(out, "    {} [{}]", entry.text, entry.source)?;
        }
    }
    Ok(())
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let port_file = arguments.port_file.clone();
    let config = config(arguments)?;
    let token = config.admin_token.clone();
    let emulator = Emulator::start(config).await?;
    let line = serde_json::json!({"listen": emulator.address.to_string(), "adminToken": token});
    writeln!(std::io::stdout().lock(), "{line}").context("cannot say where it listens")?;
    if let Some(path) = &port_file {
        // Written beside and moved, so that a reader never sees half a number.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, emulator.address.port().to_string())
            .and_then(|()| std::fs::rename(&partial, path))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    tracing::info!(listen = %emulator.address, "listening");
    ended().await?;
    tracing::info!("stopping");
    emulator.stop().await;
    Ok(())
}

fn config(arguments: Arguments) -> anyhow::Result<Config> {
    let profile = match arguments.profile {
        ProfileName::Documented => Profile::Documented,
        ProfileName::Hostile => Profile::Hostile,
    };
    let mut assumptions = Assumptions::profile(profile);
    for text in &arguments.assume {
        let (id, behaviour) = text
            .split_once('=')
            .with_context(|| format!("--assume {text}: ID=BEHAVIOUR is expected"))?;
        assumptions
            .choose(id, behaviour)
            .with_context(|| format!("--assume {text}"))?;
    }
    let mut quotas = Quotas::default();
    for text in &arguments.quotas {
        let (name, value) = text
            .split_once('=')
            .with_context(|| format!("--quota {text}: NAME=N is expected"))?;
        let value = value.parse().with_context(|| format!("--quota {text}"))?;
        if !quotas.set(name, value) {
            bail!("--quota {text}: there is no such limit; --list-quotas shows them");
        }
    }
    let admin_token = match arguments.admin_token {
        Some(token) if !token.is_empty() => token,
        _ => random_token()?,
    };
    Ok(Config {
        listen: arguments.listen,
        access_keys: arguments.access_keys,
        quotas,
        assumptions,
        default_region: arguments.region,
        base_host: arguments.base_host.map(|host| host.to_ascii_lowercase()),
        admin_token,
        seed: arguments.seed,
    })
}

fn random_token() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no system randomness: {error}"))?;
    Ok(hex::encode(bytes))
}

/// Waits for SIGTERM or SIGINT.
async fn ended() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("cannot wait for signals")?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        result = tokio::signal::ctrl_c() => result.context("cannot wait for signals"),
    }
}
