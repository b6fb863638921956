//! The command line and what it means: clap arguments in, validated [`Settings`] out.
//!
//! Owns every flag, its default and the sentence a person reads when a value is wrong. Reads no file and talks to nobody:
//! what comes from the cluster (the namespace, the cluster's id) is an argument of [`RunArgs::settings`].

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

pub use crate::aliyun::{CloudEndpoint, ClusterId, Network, Region};

const EXAMPLES: &str = "\
Examples:
  ramtrail run                                    in a Pod, or with the current kubeconfig
  ramtrail run --identity-namespaces=audit        objects in `audit` may use the operator's own credentials
  ramtrail crds | kubectl apply --server-side -f -
  ramtrail crds --out-dir crds
  ramtrail selftest --namespace=ramtrail-system   can the operator work here?
  ramtrail completion bash > /etc/bash_completion.d/ramtrail";

const RUN_EXAMPLES: &str = "\
Every flag can be set by the environment variable shown beside it. Durations are numbers with units: 500ms, 90s, 5m, 1h, 1h30m.
Credentials come from the Secrets that objects name, or, for namespaces in --identity-namespaces, from the environment:
ALIBABA_CLOUD_ACCESS_KEY_ID, ALIBABA_CLOUD_ACCESS_KEY_SECRET, ALIBABA_CLOUD_SECURITY_TOKEN.

Examples:
  ramtrail run --log-format=text --log-level=debug
  ramtrail run --watch-namespaces=audit,ml --network=vpc
  ramtrail run --cloud-endpoint=http://127.0.0.1:8790 --resync-interval=10s   against the emulator";

const SELFTEST_NOTES: &str = "\
Takes the flags and the environment of `ramtrail run` and changes nothing. Prints a line for each check, and ends with 1 if one failed.";

const IDENTITY: &str = "Identity and scope";
const CLOUD: &str = "Cloud";
const PACE: &str = "Pace";
const LEADERSHIP: &str = "Leader election";
const PROCESS: &str = "Process";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "ramtrail",
    version,
    about = "Declares, enforces and proves audit trails for AI workloads on Alibaba Cloud",
    after_help = EXAMPLES,
    max_term_width = 120
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator
    Run(Box<RunArgs>),
    /// Look whether the operator can work where it stands: API server, kinds, permissions, identity, clock
    Selftest(Box<SelftestArgs>),
    /// Print the CustomResourceDefinitions as YAML
    Crds(CrdsArgs),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Arguments of `ramtrail selftest`: those of the operator that is tested, and where to ask.
#[derive(Args, Clone, Debug)]
#[command(after_help = SELFTEST_NOTES)]
pub struct SelftestArgs {
    /// Those of `ramtrail run`.
    #[command(flatten)]
    pub run: RunArgs,

    /// Region at which the cloud is asked whose the operator's own credentials are
    #[arg(long, value_name = "REGION", env = "RAMTRAIL_REGION", default_value = "cn-hangzhou", value_parser = parse_region, help_heading = CLOUD)]
    pub region: Region,
}

/// Arguments of `ramtrail crds`.
#[derive(Args, Debug)]
pub struct CrdsArgs {
    /// Write one file per kind into this folder, instead of one stream to the standard output
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

/// Arguments of `ramtrail run`, each value checked by itself; [`RunArgs::check`] compares them with each other.
#[derive(Args, Clone, Debug)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// Name of this cluster in the marks on cloud resources: 1 to 40 of a-z, 0-9 and '-'. Keep it in Git: a cluster rebuilt under the same id
    /// owns its resources again [default: UID of the namespace kube-system]
    #[arg(long, value_name = "ID", env = "RAMTRAIL_CLUSTER_ID", value_parser = parse_cluster_id, help_heading = IDENTITY)]
    pub cluster_id: Option<ClusterId>,

    /// Namespace of the operator itself, for its lease and for events that fit nowhere else [default: POD_NAMESPACE, else the namespace of the
    /// service account or of the kubeconfig]
    #[arg(long, value_name = "NAMESPACE", env = "RAMTRAIL_NAMESPACE", value_parser = parse_namespace, help_heading = IDENTITY)]
    pub namespace: Option<String>,

    /// Namespaces whose objects may use the operator's own cloud credentials, separated by commas; all others must name a Secret [default: the
    /// operator's namespace]
    #[arg(
        long,
        value_name = "NAMESPACES",
        env = "RAMTRAIL_IDENTITY_NAMESPACES",
        value_delimiter = ',',
        value_parser = parse_namespace,
        help_heading = IDENTITY
    )]
    pub identity_namespaces: Option<Vec<String>>,

    /// Names of Log Service projects that may be managed with the operator's own credentials, separated by commas; `*` stands for any
    /// characters, `audit-*` for all that begin so. Nothing is allowed that is not listed
    #[arg(
        long,
        value_name = "PATTERNS",
        env = "RAMTRAIL_IDENTITY_PROJECTS",
        value_delimiter = ',',
        value_parser = parse_pattern,
        help_heading = IDENTITY
    )]
    pub identity_projects: Vec<Pattern>,

    /// ARNs of RAM roles that trails may name where the operator's own credentials are used, separated by commas; `*` stands for any
    /// characters. Nothing is allowed that is not listed
    #[arg(
        long,
        value_name = "PATTERNS",
        env = "RAMTRAIL_IDENTITY_ROLES",
        value_delimiter = ',',
        value_parser = parse_pattern,
        help_heading = IDENTITY
    )]
    pub identity_roles: Vec<Pattern>,

    /// Namespaces to look at, separated by commas [default: all]
    #[arg(
        long,
        value_name = "NAMESPACES",
        env = "RAMTRAIL_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_parser = parse_namespace,
        help_heading = IDENTITY
    )]
    pub watch_namespaces: Vec<String>,

    /// Dial this address for every cloud service instead of the real hosts: `https://HOST[:PORT]`, or http:// to a loopback address. The
    /// certificate must be for HOST, or for the real host if HOST is an IP address or localhost
    #[arg(long, value_name = "URL", env = "RAMTRAIL_CLOUD_ENDPOINT", help_heading = CLOUD)]
    pub cloud_endpoint: Option<CloudEndpoint>,

    /// File with certificates (PEM) of private authorities that are trusted for the cloud besides those of the system, which
    /// SSL_CERT_FILE replaces; read at the start
    #[arg(long, value_name = "PATH", env = "RAMTRAIL_CLOUD_CA_FILE", help_heading = CLOUD)]
    pub cloud_ca_file: Option<PathBuf>,

    /// Which endpoints of the cloud to use: public, vpc or internal
    #[arg(long, value_name = "NETWORK", env = "RAMTRAIL_NETWORK", default_value = "public", value_parser = parse_network, help_heading = CLOUD)]
    pub network: Network,

    /// Management calls a second to Log Service, per account
    #[arg(
        long,
        value_name = "CALLS",
        env = "RAMTRAIL_LOG_SERVICE_RATE",
        default_value = "10",
        value_parser = parse_positive,
        help_heading = CLOUD
    )]
    pub log_service_rate: NonZeroU32,

    /// How often every object is compared with the cloud, give or take a fifth
    #[arg(long, value_name = "DURATION", env = "RAMTRAIL_RESYNC_INTERVAL", default_value = "5m", value_parser = parse_duration, help_heading = PACE)]
    pub resync_interval: Duration,

    /// How often trails are looked at for tampering between resyncs
    #[arg(long, value_name = "DURATION", env = "RAMTRAIL_POLL_INTERVAL", default_value = "60s", value_parser = parse_duration, help_heading = PACE)]
    pub poll_interval: Duration,

    /// How often a call of our own is made that every trail must record: the proof of delivery
    #[arg(long, value_name = "DURATION", env = "RAMTRAIL_DUE_CALL_INTERVAL", default_value = "5m", value_parser = parse_duration, help_heading = PACE)]
    pub due_call_interval: Duration,

    /// How long a deleted object waits for usable credentials before it is freed and its cloud side left as it is
    #[arg(long, value_name = "DURATION", env = "RAMTRAIL_DELETION_GRACE", default_value = "10m", value_parser = parse_duration, help_heading = PACE)]
    pub deletion_grace: Duration,

    /// How long after the mark was written it is read once more before a claim is final
    #[arg(
        long,
        value_name = "DURATION",
        env = "RAMTRAIL_CLAIM_CONFIRMATION",
        default_value = "60s",
        value_parser = parse_duration,
        help_heading = PACE
    )]
    pub claim_confirmation: Duration,

    /// Objects of one kind that are worked on at the same time
    #[arg(
        long,
        value_name = "OBJECTS",
        env = "RAMTRAIL_CONCURRENCY",
        default_value = "16",
        value_parser = parse_concurrency,
        help_heading = PACE
    )]
    pub concurrency: NonZeroU16,

    /// Whether to hold a lease while working; without it nothing keeps two operators apart
    #[arg(
        long,
        value_name = "BOOL",
        env = "RAMTRAIL_LEADER_ELECT",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        help_heading = LEADERSHIP
    )]
    pub leader_elect: bool,

    /// Name of the lease, in the operator's namespace
    #[arg(
        long,
        value_name = "NAME",
        env = "RAMTRAIL_LEASE_NAME",
        default_value = "ramtrail",
        value_parser = parse_object_name,
        help_heading = LEADERSHIP
    )]
    pub lease_name: String,

    /// How long a lease that is not renewed keeps others out
    #[arg(long, value_name = "DURATION", env = "RAMTRAIL_LEASE_DURATION", default_value = "15s", value_parser = parse_duration, help_heading = LEADERSHIP)]
    pub lease_duration: Duration,

    /// How long the leader tries to renew before it stops working; shorter than --lease-duration
    #[arg(long, value_name = "DURATION", env = "RAMTRAIL_RENEW_DEADLINE", default_value = "10s", value_parser = parse_duration, help_heading = LEADERSHIP)]
    pub renew_deadline: Duration,

    /// Pause between attempts to get or to renew the lease; shorter than --renew-deadline
    #[arg(long, value_name = "DURATION", env = "RAMTRAIL_RETRY_PERIOD", default_value = "2s", value_parser = parse_duration, help_heading = LEADERSHIP)]
    pub retry_period: Duration,

    /// Address of /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS", env = "RAMTRAIL_HTTP_LISTEN", default_value = "127.0.0.1:8080", value_parser = parse_address, help_heading = PROCESS)]
    pub http_listen: SocketAddr,

    /// How long work under way may take to end after SIGTERM
    #[arg(long, value_name = "DURATION", env = "RAMTRAIL_SHUTDOWN_TIMEOUT", default_value = "20s", value_parser = parse_duration, help_heading = PROCESS)]
    pub shutdown_timeout: Duration,

    /// How log lines are written
    #[arg(long, value_name = "FORMAT", env = "RAMTRAIL_LOG_FORMAT", default_value = "text", help_heading = PROCESS)]
    pub log_format: LogFormat,

    /// Which log lines are written: error, warn, info, debug, trace, or directives such as `info,ramtrail=debug`
    #[arg(long, value_name = "FILTER", env = "RAMTRAIL_LOG_LEVEL", default_value = "info", value_parser = parse_log_level, help_heading = PROCESS)]
    pub log_level: String,
}

/// What controllers work with: every value parsed, checked and resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of this cluster in marks.
    pub cluster_id: ClusterId,
    /// The operator's own namespace.
    pub namespace: String,
    /// Namespaces whose objects may use the operator's own identity.
    pub identity_namespaces: BTreeSet<String>,
    /// Projects that may be managed with it.
    pub identity_projects: Vec<Pattern>,
    /// Roles that objects may name with it: ARNs.
    pub identity_roles: Vec<Pattern>,
    /// Namespaces to look at; empty means all.
    pub watch_namespaces: BTreeSet<String>,
    /// One address for all cloud services, for tests and gateways.
    pub cloud_endpoint: Option<CloudEndpoint>,
    /// File with the authorities that are trusted for the cloud besides those of the system.
    pub cloud_ca_file: Option<PathBuf>,
    /// Which endpoints of the cloud are used.
    pub network: Network,
    /// Management calls a second to Log Service, per account.
    pub log_service_rate: NonZeroU32,
    /// Time between two comparisons of an object with the cloud, before jitter.
    pub resync_interval: Duration,
    /// Time between two looks at trails.
    pub poll_interval: Duration,
    /// Time between two calls of our own that trails must record.
    pub due_call_interval: Duration,
    /// How long a deleted object waits for usable access.
    pub deletion_grace: Duration,
    /// Age of a mark at which it is read again before the claim is final.
    pub claim_confirmation: Duration,
    /// Objects of one kind that are worked on at the same time.
    pub concurrency: NonZeroU16,
}

impl Settings {
    /// The defaults of the command line.
    pub fn new(cluster_id: ClusterId, namespace: &str) -> Self {
        RunArgs::defaults().settings(cluster_id, namespace)
    }

    /// Whether objects of a namespace may use the operator's own identity.
    pub fn may_use_own_identity(&self, namespace: &str) -> bool {
        self.identity_namespaces.contains(namespace)
    }

    /// Whether a project of this name may be managed with the operator's own identity, where that may be used at all.
    pub fn may_manage_project(&self, name: &str) -> bool {
        self.identity_projects.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether an object may name this role where the operator's own identity is used.
    pub fn may_name_role(&self, arn: &str) -> bool {
        self.identity_roles.iter().any(|pattern| pattern.matches(arn))
    }

    /// Whether objects of a namespace are looked at.
    pub fn watches(&self, namespace: &str) -> bool {
        self.watch_namespaces.is_empty() || self.watch_namespaces.contains(namespace)
    }
}

/// An entry of an allow-list: a text in which `*` stands for any characters, also none. Letters in either case are the same, as
/// in names of RAM roles.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the whole text is what the pattern says.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.to_ascii_lowercase(), text.to_ascii_lowercase());
        let mut parts = pattern.split('*');
        let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
            return false;
        };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else {
            return rest.is_empty();
        };
        let mut rest = rest;
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The entries of a list that say something: an empty flag lists nothing.
fn listed(patterns: &[Pattern]) -> Vec<Pattern> {
    patterns
        .iter()
        .filter(|pattern| !pattern.is_empty())
        .cloned()
        .collect()
}

fn parse_pattern(text: &str) -> Result<Pattern, String> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("a pattern has no spaces: names and ARNs have none".to_owned());
    }
    Ok(Pattern::new(text))
}

/// How the lease is held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaseSettings {
    /// Name of the Lease object.
    pub name: String,
    /// How long a lease that is not renewed keeps others out.
    pub duration: Duration,
    /// How long the leader tries to renew before it gives up; shorter than `duration`.
    pub renew_deadline: Duration,
    /// Pause between attempts; shorter than `renew_deadline`.
    pub retry_period: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        RunArgs::defaults().lease()
    }
}

/// Values that are right by themselves and wrong together.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Of two durations the first must be the shorter one.
    #[error("{shorter} ({short:?}) must be shorter than {longer} ({long:?})")]
    NotShorter {
        /// Flag that must be shorter.
        shorter: &'static str,
        /// Its value.
        short: Duration,
        /// Flag that must be longer.
        longer: &'static str,
        /// Its value.
        long: Duration,
    },
    /// A Lease counts in whole seconds.
    #[error("--lease-duration ({0:?}) must be at least 1s, in whole seconds: a Lease counts in seconds")]
    LeaseNotInSeconds(Duration),
}

impl RunArgs {
    /// What `ramtrail run` without flags and without environment means.
    pub fn defaults() -> Self {
        Self {
            cluster_id: None,
            namespace: None,
            identity_namespaces: None,
            identity_projects: Vec::new(),
            identity_roles: Vec::new(),
            watch_namespaces: Vec::new(),
            cloud_endpoint: None,
            cloud_ca_file: None,
            network: Network::Public,
            log_service_rate: NonZeroU32::MIN.saturating_add(9),
            resync_interval: Duration::from_secs(300),
            poll_interval: Duration::from_secs(60),
            due_call_interval: Duration::from_secs(300),
            deletion_grace: Duration::from_secs(600),
            claim_confirmation: Duration::from_secs(60),
            concurrency: NonZeroU16::MIN.saturating_add(15),
            leader_elect: true,
            lease_name: "ramtrail".to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            shutdown_timeout: Duration::from_secs(20),
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
        }
    }

    /// Compares values with each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        let shorter = |shorter, short, longer, long| {
            if short < long {
                Ok(())
            } else {
                Err(ConfigError::NotShorter {
                    shorter,
                    short,
                    longer,
                    long,
                })
            }
        };
        if self.lease_duration.as_secs() == 0 || self.lease_duration.subsec_nanos() != 0 {
            return Err(ConfigError::LeaseNotInSeconds(self.lease_duration));
        }
        shorter(
            "--renew-deadline",
            self.renew_deadline,
            "--lease-duration",
            self.lease_duration,
        )?;
        shorter(
            "--retry-period",
            self.retry_period,
            "--renew-deadline",
            self.renew_deadline,
        )
    }

    /// What controllers work with, once the cluster has told its id and the namespace is known.
    pub fn settings(&self, cluster_id: ClusterId, namespace: &str) -> Settings {
        let identity_namespaces = match &self.identity_namespaces {
            Some(namespaces) => namespaces.iter().filter(|n| !n.is_empty()).cloned().collect(),
            None => BTreeSet::from([namespace.to_owned()]),
        };
        Settings {
            cluster_id,
            namespace: namespace.to_owned(),
            identity_namespaces,
            identity_projects: listed(&self.identity_projects),
            identity_roles: listed(&self.identity_roles),
            watch_namespaces: self
                .watch_namespaces
                .iter()
                .filter(|n| !n.is_empty())
                .cloned()
                .collect(),
            cloud_endpoint: self.cloud_endpoint.clone(),
            cloud_ca_file: self.cloud_ca_file.clone(),
            network: self.network,
            log_service_rate: self.log_service_rate,
            resync_interval: self.resync_interval,
            poll_interval: self.poll_interval,
            due_call_interval: self.due_call_interval,
            deletion_grace: self.deletion_grace,
            claim_confirmation: self.claim_confirmation,
            concurrency: self.concurrency,
        }
    }

    /// How the lease is held, if one is.
    pub fn lease(&self) -> LeaseSettings {
        LeaseSettings {
            name: self.lease_name.clone(),
            duration: self.lease_duration,
            renew_deadline: self.renew_deadline,
            retry_period: self.retry_period,
        }
    }
}

/// Reads `500ms`, `90s`, `5m`, `1h` and sequences such as `1h30m`; zero is refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write numbers with units ms, s, m or h, such as 500ms, 90s, 5m or 1h30m";
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return Err(FORM.to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| FORM.to_owned())?;
        let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at(letters);
        let part = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            _ => return Err(FORM.to_owned()),
        };
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or("the duration is too long")?;
        rest = after;
    }
    if total.is_zero() {
        return Err("the duration must be longer than zero".to_owned());
    }
    // Timers far beyond this cannot be meant, and sums with them could overflow.
    if total > Duration::from_secs(365 * 24 * 3600) {
        return Err("the duration is too long: at most 8760h".to_owned());
    }
    Ok(total)
}

fn parse_cluster_id(text: &str) -> Result<ClusterId, String> {
    text.parse()
        .map_err(|_| "a cluster id has 1 to 40 characters: a-z, 0-9 and '-'".to_owned())
}

fn parse_region(text: &str) -> Result<Region, String> {
    Region::new(text).map_err(|error| error.to_string())
}

fn parse_network(text: &str) -> Result<Network, String> {
    text.parse()
        .map_err(|_| "write public, vpc or internal".to_owned())
}

/// Empty items are let through, so that an empty variable means an empty list; [`RunArgs::settings`] drops them.
fn parse_namespace(text: &str) -> Result<String, String> {
    let legal = text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if legal {
        Ok(text.to_owned())
    } else {
        Err(
            "a namespace has at most 63 characters: a-z, 0-9 and '-', with a letter or digit at both ends"
                .to_owned(),
        )
    }
}

fn parse_object_name(text: &str) -> Result<String, String> {
    let legal = (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    if legal {
        Ok(text.to_owned())
    } else {
        Err(
            "a name has 1 to 253 characters: a-z, 0-9, '-' and '.', with a letter or digit at both ends"
                .to_owned(),
        )
    }
}

fn parse_positive(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .map_err(|_| "write a whole number from 1 to 4294967295".to_owned())
}

fn parse_concurrency(text: &str) -> Result<NonZeroU16, String> {
    text.parse()
        .map_err(|_| "write a whole number from 1 to 65535".to_owned())
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address and a port, such as 127.0.0.1:8080 or 0.0.0.0:8080".to_owned())
}

fn parse_log_level(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "{error}; write error, warn, info, debug, trace, or directives such as info,ramtrail=debug"
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;

    fn parse(args: &[&str]) -> Result<RunArgs, String> {
        match Cli::try_parse_from(["ramtrail", "run"].iter().chain(args)) {
            Ok(Cli {
                command: Command::Run(args),
            }) => Ok(*args),
            Ok(_) => unreachable!("run was given"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn id() -> ClusterId {
        "test".parse().unwrap()
    }

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_what_an_empty_command_line_means() {
        assert_eq!(
            format!("{:?}", parse(&[]).unwrap()),
            format!("{:?}", RunArgs::defaults())
        );
        RunArgs::defaults().check().unwrap();
    }

    #[test]
    fn every_flag_has_an_environment_variable_of_its_name_and_a_heading() {
        let cli = Cli::command();
        let run = cli.find_subcommand("run").unwrap();
        for arg in run.get_arguments().filter(|a| a.get_id() != "help") {
            let long = arg.get_long().unwrap();
            let wanted = format!("RAMTRAIL_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().unwrap().to_str().unwrap(), wanted);
            assert!(arg.get_help_heading().is_some(), "{long}");
        }
    }

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "5x",
            "5 m",
            "-5s",
            "1.5s",
            "5M",
            "0s",
            "99999999999999999999s",
            "18446744073709551615h",
            "9000h",
            "5s,",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused_with_the_flag_the_value_and_the_form() {
        for (args, wanted) in [
            (
                vec!["--resync-interval=5"],
                vec!["--resync-interval", "'5'", "90s"],
            ),
            (vec!["--cluster-id=A b"], vec!["--cluster-id", "'A b'", "a-z"]),
            (
                vec!["--network=moon"],
                vec!["--network", "'moon'", "public, vpc or internal"],
            ),
            (
                vec!["--cloud-endpoint=http://example.com"],
                vec!["--cloud-endpoint", "loopback"],
            ),
            (
                vec!["--watch-namespaces=a,B"],
                vec!["--watch-namespaces", "'B'", "a-z"],
            ),
            (
                vec!["--http-listen=localhost"],
                vec!["--http-listen", "'localhost'", "127.0.0.1:8080"],
            ),
            (
                vec!["--log-level=ramtrail=loud"],
                vec!["--log-level", "info,ramtrail=debug"],
            ),
            (
                vec!["--log-service-rate=0"],
                vec!["--log-service-rate", "'0'", "from 1"],
            ),
            (vec!["--concurrency=0"], vec!["--concurrency", "'0'", "from 1"]),
            (vec!["--lease-name=A"], vec!["--lease-name", "'A'", "253"]),
        ] {
            let error = parse(&args).unwrap_err();
            for part in wanted {
                assert!(error.contains(part), "{args:?}: {part:?} is not in {error}");
            }
        }
    }

    #[test]
    fn lease_times_must_nest() {
        let shorter = |args: &[&str]| parse(args).unwrap().check().unwrap_err().to_string();
        let error = shorter(&["--renew-deadline=15s"]);
        assert!(
            error.contains("--renew-deadline") && error.contains("--lease-duration"),
            "{error}"
        );
        let error = shorter(&["--retry-period=10s"]);
        assert!(
            error.contains("--retry-period") && error.contains("--renew-deadline"),
            "{error}"
        );
        let error = shorter(&["--lease-duration=1500ms"]);
        assert!(error.contains("whole seconds"), "{error}");
    }

    #[test]
    fn identity_is_denied_to_other_namespaces_by_default() {
        let settings = Settings::new(id(), "ramtrail-system");
        assert!(settings.may_use_own_identity("ramtrail-system"));
        assert!(!settings.may_use_own_identity("default"));
        assert!(settings.watches("anything"));
    }

    #[test]
    fn an_empty_identity_list_denies_all() {
        let settings = parse(&["--identity-namespaces="])
            .unwrap()
            .settings(id(), "ramtrail-system");
        assert!(settings.identity_namespaces.is_empty());
        assert!(!settings.may_use_own_identity("ramtrail-system"));
    }

    #[test]
    fn a_pattern_is_about_the_whole_text() {
        for (pattern, text) in [
            ("audit", "audit"),
            ("*", ""),
            ("*", "anything"),
            ("audit-*", "audit-"),
            ("audit-*", "audit-eu"),
            ("*-audit", "eu-audit"),
            ("a*b*c", "a-b-b-c"),
            ("a**b", "ab"),
            ("*aa", "aaa"),
            (
                "acs:ram::*:role/AliyunLogETLRole",
                "acs:ram::123:role/aliyunlogetlrole",
            ),
        ] {
            assert!(Pattern::new(pattern).matches(text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("audit", "audit-eu"),
            ("audit", "an-audit"),
            ("audit-*", "audi"),
            ("*-audit", "audit"),
            ("a*ba*a", "aba"),
            ("a*a", "a"),
            ("a.b", "axb"),
            ("acs:ram::123:role/*", "acs:ram::1234:role/x"),
        ] {
            assert!(!Pattern::new(pattern).matches(text), "{pattern} {text}");
        }
    }

    #[test]
    fn without_allow_lists_the_own_identity_may_do_nothing() {
        let settings = parse(&["--identity-projects=", "--identity-roles="])
            .unwrap()
            .settings(id(), "ns");
        assert!(!settings.may_manage_project("audit") && !settings.may_manage_project(""));
        assert!(!settings.may_name_role("acs:ram::1:role/r"));
        let settings = Settings::new(id(), "ns");
        assert!(!settings.may_manage_project("audit") && !settings.may_name_role("acs:ram::1:role/r"));
        let args = parse(&["--identity-projects=a-*,b", "--identity-roles=acs:ram::1:role/r"]).unwrap();
        let settings = args.settings(id(), "ns");
        assert!(settings.may_manage_project("a-x") && settings.may_manage_project("b"));
        assert!(!settings.may_manage_project("c") && settings.may_name_role("acs:ram::1:role/R"));
        assert!(parse(&["--identity-projects=a b"]).is_err());
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let args = parse(&["--watch-namespaces=b,a", "--identity-namespaces=x,y"]).unwrap();
        let settings = args.settings(id(), "ns");
        assert!(settings.watches("a") && settings.watches("b") && !settings.watches("c"));
        assert!(settings.may_use_own_identity("y") && !settings.may_use_own_identity("ns"));
    }

    #[test]
    fn leader_election_is_on_unless_switched_off() {
        assert!(parse(&[]).unwrap().leader_elect);
        assert!(parse(&["--leader-elect"]).unwrap().leader_elect);
        assert!(!parse(&["--leader-elect=false"]).unwrap().leader_elect);
    }
}
