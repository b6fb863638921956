//! The leader changes while the release does: two replicas with the chart's own times of the lease, each process behind a proxy that
//! tells what it asked of the Lease.

use std::path::PathBuf;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use xtask::api_proxy::{ApiProxy, Row};
use xtask::operator::{OperatorOptions, OperatorProcess};
use xtask::process::Signal;
use xtask::temp_dir::TempDir;

use crate::release::{Installation, RELEASE, earlier};
use crate::support::{self, DEADLINE, OPERATOR_NAMESPACE, USER, World, wait};
use crate::trail_support::{
    STACK, STORE, TRAIL, apply_stack, cloud_now, set_retention, settle_stack, until_retention, until_trail,
};
use crate::{Version, chart, identities, mutating};
use ramtrail::aliyun::action_trail::TrailState;

/// The times of both charts.
const LEASE_SECONDS: u64 = 15;
const RETRY_SECONDS: u64 = 2;
/// How long after its last renewal a leader that was killed is followed, at the latest.
const FOLLOWED_WITHIN_MS: u64 = (2 * LEASE_SECONDS + RETRY_SECONDS) * 1000;

impl Drop for Replica {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- a replica at the failure\n{}", self.operator.log_tail(60));
        }
    }
}

/// One of several processes of the operator.
struct Replica {
    operator: OperatorProcess,
    proxy: ApiProxy,
    _dir: TempDir,
}

impl Replica {
    /// A Pod of the Deployment as it is now.
    fn start(it: &Installation, program: impl Fn(OperatorOptions) -> OperatorOptions) -> Self {
        let dir = TempDir::new("replica").unwrap();
        let path = |name: &str| -> PathBuf { dir.path().join(name) };
        it.kubeconfig(&path("direct"));
        let proxy = ApiProxy::before(&path("direct")).unwrap();
        proxy.write_kubeconfig(&path("direct"), &path("through")).unwrap();
        let options = program(it.operator_with(&path("through")));
        Self {
            operator: OperatorProcess::start(&options).unwrap(),
            proxy,
            _dir: dir,
        }
    }

    /// As [`Replica::start`], once it knows that another one leads.
    fn standby(it: &Installation, program: impl Fn(OperatorOptions) -> OperatorOptions) -> Self {
        let replica = Self::start(it, program);
        replica.until_logs(&it.world, "another process leads");
        replica
    }

    fn leads(&self) -> bool {
        self.operator.logs().contains("this process leads")
    }

    fn until_logs(&self, world: &World, what: &str) {
        world.eventually(what, || {
            if self.operator.logs().contains(what) {
                Ok(())
            } else {
                Err(self.operator.log_tail(5))
            }
        });
    }

    fn until_leads(&self, world: &World) {
        self.until_logs(world, "this process leads");
    }

    /// What it asked of the Lease.
    fn lease_rows(&self) -> Vec<Row> {
        let rows = self.proxy.journal(0);
        rows.into_iter()
            .filter(|row| row.call.resource == "leases")
            .collect()
    }

    /// When its newest write of the Lease came.
    fn last_renewal(&self) -> u64 {
        let rows = self.lease_rows();
        rows.iter().rfind(|row| row.is_done_write()).unwrap().arrived
    }

    /// When its first write of the Lease came: the one that took it.
    fn took(&self) -> u64 {
        let rows = self.lease_rows();
        rows.iter().find(|row| row.is_done_write()).unwrap().arrived
    }

    /// How often it looked at the Lease between these times.
    fn looks(&self, from: u64, to: u64) -> usize {
        self.lease_rows()
            .iter()
            .filter(|row| !row.call.is_write && row.arrived > from && row.arrived < to)
            .count()
    }

    /// Whether it is known to have made a call: it logs the id that the call carries, once it has an answer. A call that it sent and
    /// got no answer to is nobody's by this, so that only of the process that lives on can be said which calls it did not make.
    fn made(&self, row: &support::Row) -> bool {
        let agent = row.0["userAgent"].as_str().unwrap_or_default();
        let id = agent
            .split_once("call/")
            .and_then(|(_, rest)| rest.split(')').next());
        id.is_some_and(|id| self.operator.logs().contains(id))
    }

    /// When it first called the cloud as the leader, by the machine's clock, from which the cloud's is apart by what tests moved it.
    fn began(&self, world: &World) -> u64 {
        let ahead = cloud_now(world).as_millisecond() - Timestamp::now().as_millisecond();
        world.eventually("it is at work", || {
            let rows = world.journal(0);
            let times = rows
                .iter()
                .filter(|row| row.is_ours())
                .map(|row| milliseconds(&row.0["time"]).checked_add_signed(-ahead).unwrap());
            // Who led before had ended by then.
            let took = self.took();
            times
                .filter(|time| *time >= took)
                .min()
                .ok_or_else(|| self.operator.log_tail(5))
        })
    }
}

fn same(options: OperatorOptions) -> OperatorOptions {
    options
}

fn two_replicas(version: &Version, purpose: &str) -> Installation {
    let it = Installation::of(&version.chart(), purpose, &json!({"replicaCount": 2}));
    let duration = format!("--lease-duration={LEASE_SECONDS}s");
    let retry = format!("--retry-period={RETRY_SECONDS}s");
    let options = format!("{:?}", it.operator());
    assert!(
        options.contains(&duration) && options.contains(&retry),
        "{options}"
    );
    apply_stack(&it.world);
    it
}

fn holder(world: &World) -> Value {
    let arguments = ["-n", OPERATOR_NAMESPACE, "get", "lease", RELEASE];
    world.kubectl.json(arguments).unwrap()["spec"].clone()
}

fn milliseconds(text: &Value) -> u64 {
    let time: Timestamp = text.as_str().unwrap().parse().unwrap();
    u64::try_from(time.as_millisecond()).unwrap()
}

/// Old and new Pods side by side, as a Deployment of two replicas is rolled: the standby first, then the leader. And then a leader
/// that is killed.
#[test]
fn two_replicas_are_rolled_and_killed_and_the_next_leads_within_the_lease() {
    for version in Version::all() {
        let it = two_replicas(&version, "rolling");
        let mut old_leader = Replica::start(&it, |options| earlier(&version, options));
        old_leader.until_leads(&it.world);
        let mut old_standby = Replica::standby(&it, |options| earlier(&version, options));
        settle_stack(&it.world);
        let (before, since) = (identities(&it.world), it.world.now());

        it.helm.upgrade(&chart());
        let first = Replica::standby(&it, same);
        assert!(old_standby.operator.stop(DEADLINE).unwrap().success());
        let second = Replica::standby(&it, same);
        assert!(old_leader.operator.stop(DEADLINE).unwrap().success());
        it.world.eventually("a new process leads", || {
            if first.leads() || second.leads() {
                Ok(())
            } else {
                Err(first.operator.log_tail(5))
            }
        });
        let (mut leader, heir) = if first.leads() {
            (first, second)
        } else {
            (second, first)
        };
        // Given back, so that nobody waited for it to run out: no more looks than fit into the lease.
        let (released, took) = (old_leader.last_renewal(), leader.took());
        let looks = leader.looks(released, took);
        eprintln!(
            "{}: handed over after {} ms, {looks} looks",
            version.name,
            took - released
        );
        assert!(looks <= 2, "{looks} looks at a lease that was given back");
        // However busy the machine: the trail was without an operator for less than the lease lasts.
        let gap = leader.began(&it.world) - released;
        assert!(gap <= LEASE_SECONDS * 1000, "at work only after {gap} ms");
        settle_stack(&it.world);
        let calls = mutating(&it.world, since);
        assert_eq!(calls, Vec::<String>::new(), "{}", it.world.report());
        assert_eq!(identities(&it.world), before, "{}", it.world.report());

        leader.operator.kill().unwrap();
        let left = holder(&it.world);
        wait(it.world.intruder().action_trail.stop_logging(TRAIL)).unwrap();
        heir.until_leads(&it.world);
        let (renewed, took) = (leader.last_renewal(), heir.took());
        let looks = heir.looks(renewed, took);
        eprintln!(
            "{}: followed a killed leader after {} ms, {looks} looks",
            version.name,
            took - renewed
        );
        // Never earlier than the lease lasts; and counted in its own looks, each a pause of one retry, it took the lease at the first
        // one after that, whatever the speed of the machine: the first look may miss the last renewal by a moment.
        assert!(took >= renewed + LEASE_SECONDS * 1000, "{renewed} {took}");
        assert!(
            looks <= usize::try_from(LEASE_SECONDS / RETRY_SECONDS).unwrap() + 3,
            "{looks} looks"
        );
        let lease = holder(&it.world);
        assert_eq!(lease["leaseTransitions"], 2, "{lease}");
        assert!(
            milliseconds(&lease["acquireTime"]) >= renewed + LEASE_SECONDS * 1000,
            "{lease}"
        );
        until_trail(&it.world, "the next leader heals", |trail| {
            trail.state() == TrailState::Enable
        });
        // By the processes' own notes in the Lease, and by the heir's first call: the lease, a look, and once more the lease for a
        // machine that has other things to do.
        let gap = milliseconds(&lease["acquireTime"]) - milliseconds(&left["renewTime"]);
        let idle = heir.began(&it.world) - renewed;
        eprintln!(
            "{}: by the Lease after {gap} ms, at work after {idle} ms",
            version.name
        );
        assert!(
            gap.max(idle) <= FOLLOWED_WITHIN_MS,
            "{gap} ms, at work after {idle} ms"
        );
        settle_stack(&it.world);
        it.world.nothing_was_reduced();
    }
}

/// The leader of the earlier version is frozen between its look and its repair, and wakes when the new version leads.
#[test]
fn an_earlier_leader_that_was_frozen_during_the_upgrade_makes_no_mutating_call_when_it_wakes() {
    for version in Version::all() {
        let it = two_replicas(&version, "frozen");
        let mut frozen = Replica::start(&it, |options| earlier(&version, options));
        frozen.until_leads(&it.world);
        settle_stack(&it.world);
        it.helm.upgrade(&chart());
        let heir = Replica::standby(&it, same);
        set_retention(&it.world, 7);
        let fault = json!({
            "match": {"action": "GetLogStore", "resource": STORE, "caller": USER, "nth": 1},
            "fault": {"kind": "hold-after"},
        });
        it.world.emulator.add_fault(&fault).unwrap();
        it.world.eventually("an answer is held", || {
            let faults = it.world.emulator.get("faults").unwrap();
            if faults["faults"][0]["holding"].as_u64() > Some(0) {
                Ok(())
            } else {
                Err(faults.to_string())
            }
        });
        // Either the answer that shows the weakening is held, or it was repaired a moment before: then weaken it again.
        if it.world.count(0, "UpdateLogStore") > 0 {
            set_retention(&it.world, 7);
        }
        frozen.operator.signal(Signal::Stop).unwrap();
        heir.until_leads(&it.world);
        until_retention(&it.world, 30);
        // Something to do for whoever looks; and the answer that the frozen one waits for.
        set_retention(&it.world, 5);
        let woken = it.world.now();
        it.world.emulator.remove_faults().unwrap();
        frozen.operator.signal(Signal::Cont).unwrap();
        let status = frozen.operator.wait(DEADLINE).unwrap();
        assert!(!status.success(), "{}", frozen.operator.log_tail(10));
        until_retention(&it.world, 30);
        // Whatever was sent since and is not the heir's, answered or not; what the heir has just sent shows in its log a moment later.
        it.world.eventually("since then every write is the heir's", || {
            let rows = it.world.journal(woken);
            let late = rows
                .iter()
                .filter(|row| row.is_ours() && row.is_write() && !heir.made(row));
            let late: Vec<String> = late.map(ToString::to_string).collect();
            if late.is_empty() {
                Ok(())
            } else {
                Err(late.join("\n"))
            }
        });
        // The method itself: calls of either process are told apart.
        let rows = it.world.journal(0);
        assert!(
            rows.iter()
                .any(|row| row.is_change() && frozen.made(row) && !heir.made(row))
        );
        let since = |row: &support::Row| row.0["seq"].as_u64() > Some(woken);
        assert!(
            rows.iter()
                .any(|row| since(row) && row.is_change() && heir.made(row))
        );
        for (kind, name) in STACK {
            it.world.settled(kind, name);
        }
        it.world.nothing_was_reduced();
    }
}
