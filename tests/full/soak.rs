//! Soak, with the clock of resyncs, polls and credential rotations shortened by flags. Nothing may grow, and little may be
//! throttled. Two cores cannot do both at once, so it is done twice: broad, churn over 20 accounts with 5 stacks each, one of
//! which stops answering and may not slow the others; and long, 30 hours' worth of resyncs and polls of 2 accounts with 5 stacks
//! each, with more rotations than such a time has.
//!
//! `RAMTRAIL_SOAK_MINUTES` sets how long each runs (at least; 4 by default), `RAMTRAIL_SOAK_SEED` what happens. How many hours' worth came
//! to pass is counted from what the operator did, printed and demanded: what a machine cannot keep up with is not claimed.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../trail_support/mod.rs"]
mod trail_support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use ramtrail::aliyun::log_service::Taggable;
use ramtrail::aliyun::{
    Cloud, CloudClients, CloudOptions, Credential, LogStoreName, NoObserver, ProjectName, PublishedRates,
    Region, ReqwestSender, StaticCredentials, TransportOptions,
};
use ramtrail::api::v1alpha1::{AuditLogStore, AuditProject, RamTrail};
use serde_json::json;
use support::{OPERATOR_NAMESPACE, REGION, World, wait};
use trail_support::ram_as;
use xtask::control_plane::free_port;

/// ActionTrail allows as many trails per account and region.
const STACKS: usize = 5;
const SECRET: &str = "secretOfAnAccount00000001";
const ROLE: &str = "ramtrail-copy";

/// Seconds between resyncs and between polls by the operator's defaults.
const DEFAULTS: (f64, f64) = (300.0, 60.0);
/// How long a copy job that failed each time it was started is left alone, in polls.
const JOB_PATIENCE: u32 = 2 * 60;

/// A soak.
#[derive(Clone, Copy, Debug)]
struct Plan {
    purpose: &'static str,
    accounts: usize,
    resync: Duration,
    poll: Duration,
    /// Things that happen in each round.
    churn: usize,
    /// Whether one account stops answering.
    silence: bool,
    /// As many hours' worth of resyncs and of polls must come to pass.
    hours: f64,
}

const BROAD: Plan = Plan {
    purpose: "broad",
    accounts: 20,
    resync: Duration::from_secs(6),
    poll: Duration::from_secs(2),
    churn: 4,
    silence: true,
    hours: 0.5,
};

const LONG: Plan = Plan {
    purpose: "long",
    accounts: 2,
    resync: Duration::from_millis(400),
    poll: Duration::from_millis(100),
    churn: 1,
    silence: false,
    hours: 30.0,
};
/// How much faster than by default calls may be made, on both sides: time passes faster too.
const RATE: u64 = 100;

/// How many times as long as it is set to a soak may run until enough came to pass.
const PATIENCE: u32 = 3;

/// What may grow in the second half, as a part of the mean, by the line through all samples of that half.
const GROWTH: f64 = 0.10;
/// Share of calls that may be throttled.
const THROTTLED: f64 = 0.05;
/// How many times longer than before others may take to heal while one account does not answer, and how many seconds
/// besides.
const SLOWER: (f64, f64) = (2.0, 1.5);
/// Events that one change by users or others may bring about: a store that is lost is told by three objects.
const EVENTS_PER_CHANGE: f64 = 4.0;
/// Events that may be about one object.
const EVENTS_PER_OBJECT: usize = 40;

/// Numbers that look random and are the same for one seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % bound
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .filter(|text| !text.is_empty())
        .map_or(default, |text| text.parse().unwrap())
}

fn account(index: usize) -> String {
    format!("20000000000000{index:02}")
}

fn stack(account: usize, stack: usize) -> String {
    format!("soak-{account:02}-{stack}")
}

fn secret_name(account: usize) -> String {
    format!("account-{account:02}")
}

/// Key of an account's operator after so many rotations.
fn key(account: usize, rotation: usize) -> String {
    format!("LTAIsoak{account:02}r{rotation:05}")
}

fn admin_key(account: usize) -> String {
    format!("LTAIsoakAdmin{account:02}")
}

/// The world of the soak: accounts with keys and roles, and everything that reads and disturbs it.
struct Soak {
    world: World,
    metrics: String,
    admins: Vec<CloudClients>,
    accounts: usize,
    rotations: Vec<usize>,
    dice: Dice,
    done: BTreeMap<&'static str, usize>,
    heals: usize,
}

impl Soak {
    fn start(plan: Plan) -> Self {
        let accounts = plan.accounts;
        let quota = |name: &str, value: u64| format!("--quota={name}={}", value * RATE);
        let quotas = [
            quota("sls.meta.qps", 10),
            quota("actiontrail.write.qps", 5),
            quota("actiontrail.read.qps", 100),
            quota("ram.qps", 100),
            quota("sts.qps", 100),
        ];
        let mut arguments = vec!["--profile=documented"];
        arguments.extend(quotas.iter().map(String::as_str));
        let port = free_port().unwrap();
        let mut world = World::with_emulator("soak", &arguments)
            .option(&format!("--http-listen=127.0.0.1:{port}"))
            .option(&format!("--resync-interval={}ms", plan.resync.as_millis()))
            .option(&format!("--poll-interval={}ms", plan.poll.as_millis()))
            .option("--leader-elect=true")
            .option("--lease-duration=6s")
            .option("--renew-deadline=4s")
            .option("--retry-period=1s")
            .option("--due-call-interval=10s")
            .option(&format!("--log-service-rate={}", 10 * RATE))
            .option("--log-level=warn");
        for account in 0..accounts {
            give_keys(&world, account);
        }
        let admins = (0..accounts).map(|account| clients(&world, account)).collect();
        world.start();
        let seed = number("RAMTRAIL_SOAK_SEED", 1);
        println!("soak: seed {seed}");
        Self {
            world,
            metrics: format!("http://127.0.0.1:{port}/metrics"),
            admins,
            accounts,
            rotations: vec![0; accounts],
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            done: BTreeMap::new(),
            heals: 0,
        }
    }

    /// Applies the stack; again, where something of it was deleted.
    fn apply(&self, account: usize, number: usize, days: i32) {
        let name = stack(account, number);
        let credentials = json!({"secretRef": {"name": secret_name(account)}});
        let project = json!({"region": REGION, "projectName": name, "credentials": credentials});
        self.world.apply("AuditProject", &name, &project);
        let store = json!({
            "projectRef": {"name": name}, "logStoreName": "events", "retentionDays": days, "deletionPolicy": "Delete",
        });
        self.world.apply("AuditLogStore", &name, &store);
        let role = format!("acs:ram::{}:role/{ROLE}", self::account(account));
        let trail = json!({
            "projectRef": {"name": name}, "trailName": name, "deletionPolicy": "Delete", "events": "Write",
            "copyTo": {"logStoreRef": {"name": name}, "roleARN": role},
        });
        self.world.apply("RamTrail", &name, &trail);
    }

    /// Waits until every object of an account, or of all, is Ready.
    fn all_ready(&self, within: Duration) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let waiting = self.not_ready();
            if waiting.is_empty() {
                return Ok(());
            }
            if start.elapsed() > within {
                return Err(format!("{} are not Ready: {waiting:?}", waiting.len()));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn not_ready(&self) -> Vec<String> {
        let ready = |conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]| {
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        let namespace = &self.world.namespace;
        let mut waiting = Vec::new();
        macro_rules! look {
            ($kind:ty) => {
                let api: Api<$kind> = Api::namespaced(self.world.client.clone(), namespace);
                for object in wait(api.list(&ListParams::default())).unwrap() {
                    let status = object.status.as_ref();
                    if !status.is_some_and(|status| ready(&status.conditions)) {
                        waiting.push(format!(
                            "{} {}: {}",
                            stringify!($kind),
                            object.metadata.name.clone().unwrap_or_default(),
                            status.map_or_else(String::new, |status| support::reason_of(
                                &status.conditions,
                                "Ready"
                            )),
                        ));
                    }
                }
            };
        }
        look!(AuditProject);
        look!(AuditLogStore);
        look!(RamTrail);
        waiting
    }

    /// One thing that users, rotations or intruders do.
    fn churn(&mut self, spare: Option<usize>) {
        let account = self.dice.below(self.accounts);
        // The first stack of each account is measured and left alone; so is the account that does not answer.
        let number = 1 + self.dice.below(STACKS - 1);
        if Some(account) == spare {
            return;
        }
        let name = stack(account, number);
        let what = match self.dice.below(9) {
            0 => {
                let days = [30, 60, 90][self.dice.below(3)];
                self.world
                    .patch_spec("AuditLogStore", &name, &json!({"retentionDays": days}));
                "spec"
            }
            1 => {
                let text = ["one", "two", "three"][self.dice.below(3)];
                self.world
                    .patch_spec("AuditProject", &name, &json!({"description": text}));
                "spec"
            }
            2 => {
                self.rotate(account);
                "rotation"
            }
            3 => {
                self.remake("AuditLogStore", account, number);
                "remake"
            }
            4 => {
                self.remake("RamTrail", account, number);
                "remake"
            }
            5 => {
                wait(self.admins[account].action_trail.stop_logging(&name)).ok();
                "tamper"
            }
            6 => {
                let project = ProjectName::new(&name).unwrap();
                let target = Taggable::Project(project);
                let keys = ["ramtrail-owner"];
                wait(self.admins[account].log_service.untag_resources(&target, &keys)).ok();
                "tamper"
            }
            7 => {
                self.shorten(account, &name);
                "tamper"
            }
            _ => {
                let project = ProjectName::new(&name).unwrap();
                let store = LogStoreName::new("events").unwrap();
                wait(
                    self.admins[account]
                        .log_service
                        .delete_log_store(&project, &store),
                )
                .ok();
                "loss"
            }
        };
        *self.done.entry(what).or_default() += 1;
    }

    /// Somebody lowers the retention of a store.
    fn shorten(&self, account: usize, name: &str) {
        let project = ProjectName::new(name).unwrap();
        let name = LogStoreName::new("events").unwrap();
        let log_service = &self.admins[account].log_service;
        if let Ok(found) = wait(log_service.get_log_store(&project, &name)) {
            let mut store = found.value;
            store.set_retention_days(7);
            wait(log_service.update_log_store(&project, &name, &store)).ok();
        }
    }

    /// The user deletes an object with its cloud side, and makes it again at once.
    fn remake(&self, kind: &str, account: usize, number: usize) {
        let name = stack(account, number);
        self.world.delete(kind, &name);
        let gone = Instant::now();
        // The operator does it; a busy one is not waited for, since the next apply only changes the dying object.
        while self.exists(kind, &name) && gone.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(100));
        }
        self.apply(account, number, 30);
    }

    fn exists(&self, kind: &str, name: &str) -> bool {
        let client = self.world.client.clone();
        let namespace = &self.world.namespace;
        if kind == "RamTrail" {
            wait(Api::<RamTrail>::namespaced(client, namespace).get_opt(name))
                .unwrap()
                .is_some()
        } else {
            wait(Api::<AuditLogStore>::namespaced(client, namespace).get_opt(name))
                .unwrap()
                .is_some()
        }
    }

    /// New keys for an account; the old ones stay valid for a while, as in a careful rotation.
    fn rotate(&mut self, account: usize) {
        self.rotations[account] += 1;
        let new = key(account, self.rotations[account]);
        self.world
            .emulator
            .add_identity(&json!({
                "accessKeyId": new, "accessKeySecret": SECRET, "account": self::account(account), "user": "operator",
            }))
            .unwrap();
        self.world.write_secret(&secret_name(account), &new, SECRET, true);
    }

    /// Switches the first trail of an account off and tells after how many seconds it is on again.
    fn heal(&mut self, account: usize) -> f64 {
        self.heals += 1;
        let name = stack(account, 0);
        let trails = &self.admins[account].action_trail;
        wait(trails.stop_logging(&name)).unwrap();
        let start = Instant::now();
        loop {
            let on = wait(trails.get_trail_status(&name))
                .unwrap()
                .value
                .is_logging
                .unwrap_or_default();
            if on {
                return start.elapsed().as_secs_f64();
            }
            assert!(
                start.elapsed() < Duration::from_secs(90),
                "trail {name} was not healed\n{}",
                self.world.emulator.log_tail(5)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The figures that may not grow.
    fn sample(&self) -> BTreeMap<&'static str, f64> {
        let text = ureq::get(&self.metrics)
            .call()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap();
        let value = |name: &str| sum(&text, name);
        let client = &self.world.client;
        let namespace = &self.world.namespace;
        let list = ListParams::default();
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let leases: Api<Lease> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        BTreeMap::from([
            ("rss MiB", value("process_resident_memory_bytes") / 1_048_576.0),
            ("files", value("process_open_fds")),
            ("threads", f64::from(self.threads())),
            ("tasks", value("ramtrail_tasks")),
            ("Secrets", wait(secrets.list(&list)).unwrap().items.len() as f64),
            ("Leases", wait(leases.list(&list)).unwrap().items.len() as f64),
            (
                "Events",
                self.events_of_the_living(&wait(events.list(&list)).unwrap().items) as f64,
            ),
            ("changes", (self.done.values().sum::<usize>() + self.heals) as f64),
            ("calls", value("ramtrail_cloud_requests_total")),
            ("throttled", value("ramtrail_cloud_throttled_total")),
        ])
    }

    fn threads(&self) -> u32 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.world.operator_pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Threads:"));
        line.unwrap().trim().parse().unwrap()
    }

    /// Events about objects that are there. Those about objects that are gone are the API server's to expire.
    fn events_of_the_living(&self, events: &[Event]) -> usize {
        let mut living: Vec<String> = Vec::new();
        let client = &self.world.client;
        let namespace = &self.world.namespace;
        macro_rules! look {
            ($kind:ty) => {
                let api: Api<$kind> = Api::namespaced(client.clone(), namespace);
                let all = wait(api.list_metadata(&ListParams::default())).unwrap();
                living.extend(all.into_iter().filter_map(|object| object.metadata.uid));
            };
        }
        look!(AuditProject);
        look!(AuditLogStore);
        look!(RamTrail);
        events
            .iter()
            .filter(|event| {
                let about = event.regarding.as_ref().and_then(|about| about.uid.as_ref());
                about.is_some_and(|uid| living.contains(uid))
            })
            .count()
    }
}

/// The sum of a metric over its labels.
fn sum(text: &str, name: &str) -> f64 {
    text.lines()
        .filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .fold(0.0, |sum, value| sum + value)
}

/// Keys of an account's operator and administrator, and the role of its copy jobs.
fn give_keys(world: &World, number: usize) {
    for (key, user, policies) in [
        (key(number, 0), "operator", json!(["AdministratorAccess"])),
        (admin_key(number), "administrator", json!(["AdministratorAccess"])),
    ] {
        world
            .emulator
            .add_identity(&json!({
                "accessKeyId": key, "accessKeySecret": SECRET, "account": account(number), "user": user, "policies": policies,
            }))
            .unwrap();
    }
    world.write_secret(&secret_name(number), &key(number, 0), SECRET, true);
    let trust = json!({"Version": "1", "Statement": [
        {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": ["log.aliyuncs.com"]}},
    ]});
    let administrator = admin_key(number);
    let role = [
        ("RoleName", ROLE),
        ("AssumeRolePolicyDocument", &trust.to_string()),
    ];
    ram_as(world, &administrator, SECRET, "CreateRole", &role).unwrap();
    let policy = [
        ("PolicyType", "System"),
        ("PolicyName", "AliyunLogFullAccess"),
        ("RoleName", ROLE),
    ];
    ram_as(world, &administrator, SECRET, "AttachPolicyToRole", &policy).unwrap();
}

/// The cloud as an account's administrator sees it.
fn clients(world: &World, number: usize) -> CloudClients {
    let transport = TransportOptions {
        cloud_endpoint: Some(world.emulator.url().parse().unwrap()),
        ..TransportOptions::default()
    };
    let mut options = CloudOptions::new("intruder".parse().unwrap());
    options.rates = PublishedRates {
        log_management: 1000.0,
        ..options.rates
    };
    let cloud = wait(async {
        Cloud::new(
            options,
            Arc::new(ReqwestSender::new(transport).unwrap()),
            Arc::new(NoObserver),
        )
    });
    let source = StaticCredentials::new("the soak", Credential::new(admin_key(number), SECRET));
    cloud.clients(Arc::new(source), &Region::new(REGION).unwrap())
}

/// Growth by the line of least squares through samples of (seconds, value), over the time that they span.
fn growth(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (time, value) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let spread: f64 = samples.iter().map(|(at, _)| (at - time).powi(2)).sum();
    let together: f64 = samples
        .iter()
        .map(|(at, found)| (at - time) * (found - value))
        .sum();
    if spread == 0.0 {
        return 0.0;
    }
    let span = samples.last().unwrap().0 - samples[0].0;
    together / spread * span
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The judge, apart from the run, so that it can be seen to fail.
fn grows(name: &str, samples: &[(f64, f64)], changes: f64) -> Result<String, String> {
    let half = &samples[samples.len() / 2..];
    let mean = half.iter().map(|(_, value)| value).sum::<f64>() / half.len() as f64;
    let grown = growth(half);
    let bound = match name {
        // Things of which there must be as many at the end as in the middle.
        "Secrets" | "Leases" => 0.5,
        // What happens is told; what does not, is not.
        "Events" => EVENTS_PER_CHANGE * changes,
        "threads" => (GROWTH * mean).max(4.0),
        // Connections come and go with each host, and each call that is held has one, and a task.
        "files" | "tasks" => (GROWTH * mean).max(16.0),
        _ => GROWTH * mean,
    };
    let minutes = (half.last().unwrap().0 - half[0].0) / 60.0;
    let text = format!(
        "{name}: {:.1} at first, {:.1} at last, slope {:+.2} a minute over the second half ({grown:+.1} in all, bound {bound:.1})",
        samples[0].1,
        samples.last().unwrap().1,
        grown / minutes.max(1e-9),
    );
    if grown > bound { Err(text) } else { Ok(text) }
}

/// What grew, was throttled or was slowed, beyond the bounds.
fn judge(
    soak: &Soak,
    samples: &BTreeMap<&'static str, Vec<(f64, f64)>>,
    (before, during): (&[f64], &[f64]),
) -> Vec<String> {
    let mut problems = Vec::new();
    let done = &samples["changes"];
    let changes = done.last().unwrap().1 - done[done.len() / 2].1;
    for name in [
        "rss MiB", "files", "threads", "tasks", "Secrets", "Leases", "Events",
    ] {
        match grows(name, &samples[name], changes) {
            Ok(text) => println!("soak: {text}"),
            Err(text) => problems.push(text),
        }
    }
    let last = |name: &str| samples[name].last().unwrap().1;
    let share = last("throttled") / last("calls").max(1.0);
    println!(
        "soak: {:.0} calls, {:.2} % throttled (bound {:.0} %)",
        last("calls"),
        share * 100.0,
        THROTTLED * 100.0
    );
    if share > THROTTLED {
        problems.push(format!("{:.1} % of the calls were throttled", share * 100.0));
    }
    let objects = 3 * soak.accounts * STACKS;
    if last("Events") > (EVENTS_PER_OBJECT * objects) as f64 {
        problems.push(format!("{} Events about {objects} objects", last("Events")));
    }
    if during.is_empty() {
        return problems;
    }
    let (usual, with_silent) = (middle(before.to_vec()), middle(during.to_vec()));
    println!(
        "soak: the middle heal time of others is {usual:.2} s ({} samples), and {with_silent:.2} s ({}) while one account does not \
         answer (bound {:.2} s)",
        before.len(),
        during.len(),
        usual * SLOWER.0 + SLOWER.1
    );
    if with_silent > usual * SLOWER.0 + SLOWER.1 {
        problems.push("an account that does not answer slows the others".to_owned());
    }
    problems
}

#[test]
fn the_judge_of_growth_sees_a_leak_and_no_leak_in_noise() {
    let series = |leak: f64| -> Vec<(f64, f64)> {
        (0..60)
            .map(|at| {
                let noise = f64::from((at * 7) % 5) - 2.0;
                (f64::from(at) * 4.0, 100.0 + noise + leak * f64::from(at))
            })
            .collect()
    };
    assert!(grows("rss MiB", &series(0.0), 0.0).is_ok());
    assert!(grows("rss MiB", &series(-1.0), 0.0).is_ok());
    assert!(grows("rss MiB", &series(1.0), 0.0).is_err());
    assert!(grows("Events", &series(1.0), 1.0).is_err() && grows("Events", &series(1.0), 20.0).is_ok());
    assert!(grows("Secrets", &series(0.1), 0.0).is_err());
    assert!((growth(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) - 4.0).abs() < 1e-9);
    assert!((sum("a 1\na{b=\"c\"} 2\nab 7\n", "a") - 3.0).abs() < 1e-9);
}

#[test]
fn churn_over_many_accounts_lets_nothing_grow_and_no_account_slows_another() {
    soak(BROAD);
}

#[test]
fn thirty_hours_of_resyncs_polls_and_rotations_let_nothing_grow() {
    soak(LONG);
}

/// How often something happened so far, by the operator's own count.
fn counts(soak: &Soak) -> (f64, f64) {
    let text = ureq::get(&soak.metrics)
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    let polls: f64 = text
        .lines()
        .filter(|line| line.starts_with("ramtrail_cloud_requests_total{"))
        .filter(|line| line.contains("action=\"DescribeTrails\"") && line.contains("code=\"ok\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    (sum(&text, "ramtrail_reconciles_total"), polls)
}

/// How many hours' worth of resyncs of each object, and of polls of each account, came to pass since a count.
fn worth(soak: &Soak, (visits_before, polls_before): (f64, f64)) -> (f64, f64) {
    let (visits, polls) = counts(soak);
    let each = (visits - visits_before) / (3 * soak.accounts * STACKS) as f64;
    // One poll asks for all trails of an account.
    let polled = (polls - polls_before) / soak.accounts as f64;
    (each * DEFAULTS.0 / 3600.0, polled * DEFAULTS.1 / 3600.0)
}

fn lease(soak: &Soak) -> Lease {
    let leases: Api<Lease> = Api::namespaced(soak.world.client.clone(), OPERATOR_NAMESPACE);
    let all = wait(leases.list(&ListParams::default())).unwrap().items;
    let newest = all
        .into_iter()
        .max_by_key(|lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone()));
    newest.expect("the operator holds a lease")
}

fn soak(plan: Plan) {
    static ONE: Mutex<()> = Mutex::new(());
    // Each wants the machine for itself.
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let minutes = number("RAMTRAIL_SOAK_MINUTES", 4);
    let mut soak = Soak::start(plan);
    let setting_up = Instant::now();
    for account in 0..soak.accounts {
        for number in 0..STACKS {
            soak.apply(account, number, 30);
        }
    }
    soak.all_ready(Duration::from_secs(300)).unwrap();
    let purpose = plan.purpose;
    println!(
        "soak, {purpose}: {} objects Ready after {:.0} s",
        3 * soak.accounts * STACKS,
        setting_up.elapsed().as_secs_f64()
    );

    // The last account stops answering after a third: growth is judged over the second half, in which all is alike.
    let silent = plan.silence.then(|| soak.accounts - 1);
    let healed = silent.unwrap_or(soak.accounts);
    let start = Instant::now();
    let whole = Duration::from_secs(60 * minutes);
    let mut samples: BTreeMap<&'static str, Vec<(f64, f64)>> = BTreeMap::new();
    let (mut before, mut during) = (Vec::new(), Vec::new());
    let mut is_silent = false;
    let counted = counts(&soak);
    let wanted = plan.hours * minutes as f64 / 4.0;
    // A slow machine needs longer for the same.
    let too_little = |soak: &Soak| {
        let (resyncs, polled) = worth(soak, counted);
        resyncs < wanted || polled < wanted
    };
    let lease_before = lease(&soak);
    let mut probe = 0;
    while start.elapsed() < whole || (start.elapsed() < PATIENCE * whole && too_little(&soak)) {
        if let Some(silent) = silent.filter(|_| !is_silent && start.elapsed() > whole / 3) {
            is_silent = true;
            let fault = json!({
                "match": {"account": account(silent), "caller": "user/operator", "times": 0},
                "fault": {"kind": "hold-before"},
            });
            soak.world.emulator.add_fault(&fault).unwrap();
        }
        for _ in 0..plan.churn {
            soak.churn(silent);
        }
        let heal = soak.heal(probe % healed);
        probe += 1;
        if is_silent { &mut during } else { &mut before }.push(heal);
        for (name, value) in soak.sample() {
            samples
                .entry(name)
                .or_default()
                .push((start.elapsed().as_secs_f64(), value));
        }
    }
    let churned = start.elapsed().as_secs_f64();
    let (resyncs, polled) = worth(&soak, counted);
    let lease_after = lease(&soak);
    soak.world.emulator.remove_faults().unwrap();

    let mut problems = judge(&soak, &samples, (&before, &during));
    println!(
        "soak, {purpose}: {:?} in {churned:.0} s: {resyncs:.1} hours' worth of resyncs, {polled:.1} of polls; {} rotations",
        soak.done,
        soak.rotations.iter().sum::<usize>()
    );
    // A soak in which nothing happens shows nothing.
    if resyncs < wanted || polled < wanted {
        problems.push(format!(
            "{wanted:.1} hours' worth of resyncs and of polls were to come to pass, and {resyncs:.1} and {polled:.1} did"
        ));
    }
    let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
    let held = |lease: &Lease| {
        let spec = lease.spec.as_ref();
        (
            lease.metadata.uid.clone(),
            spec.and_then(|spec| spec.lease_transitions),
        )
    };
    if renewed(&lease_after) <= renewed(&lease_before) || held(&lease_after) != held(&lease_before) {
        problems.push(format!(
            "the lease was not kept: {lease_before:?}, then {lease_after:?}"
        ));
    }
    for account in 0..soak.accounts {
        for number in 0..STACKS {
            soak.apply(account, number, 30);
        }
    }
    if let Err(waiting) = soak.all_ready(plan.poll * JOB_PATIENCE + Duration::from_secs(60)) {
        problems.push(format!("after the churn: {waiting}"));
    }
    assert!(problems.is_empty(), "{problems:#?}");
}
