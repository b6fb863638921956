//! Two processes and one Lease: the second goes on where the first ended, and one that was frozen writes nothing when it wakes.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;
use xtask::api_proxy::ApiProxy;
use xtask::operator::{OperatorOptions, OperatorProcess};
use xtask::process::Signal;
use xtask::temp_dir::TempDir;

use crate::stage::created_once;
use crate::support::{
    CLUSTER, DEADLINE, OPERATOR_NAMESPACE, Row, USER, World, shows_no_secret, tail_without_trace,
};
use crate::trail_support::{
    PROJECT, STORE, apply_project, apply_stack, apply_store, prepare, set_retention, settle_stack,
    until_retention,
};

/// There is one Lease in the operator's namespace, and the operator's rights name it.
static LEASE: Mutex<()> = Mutex::new(());
/// Twice what an idle machine needs: two replicas that lose their lease because the machine is busy show nothing.
const DURATION_MS: u64 = 12_000;
const RETRY_MS: u64 = 500;

/// A process of the operator behind a proxy of its own, which tells when it renewed.
struct Replica {
    operator: OperatorProcess,
    proxy: ApiProxy,
    _dir: TempDir,
}

impl Replica {
    fn start(world: &World) -> Self {
        let dir = TempDir::new("replica").unwrap();
        let path = |name: &str| -> PathBuf { dir.path().join(name) };
        world
            .kubectl
            .write_service_account_kubeconfig(&path("direct"), OPERATOR_NAMESPACE, "ramtrail")
            .unwrap();
        let proxy = ApiProxy::before(&path("direct")).unwrap();
        proxy.write_kubeconfig(&path("direct"), &path("through")).unwrap();
        let mut options = OperatorOptions::new(&path("through"));
        for argument in [
            &format!("--namespace={OPERATOR_NAMESPACE}"),
            &format!("--watch-namespaces={}", world.namespace),
            &format!("--cloud-endpoint={}", world.emulator.url()),
            &format!("--cluster-id={CLUSTER}"),
            "--leader-elect=true",
            "--lease-duration=12s",
            "--renew-deadline=9s",
            "--retry-period=500ms",
            "--resync-interval=2s",
            "--poll-interval=1s",
            "--claim-confirmation=1s",
            "--due-call-interval=2s",
            "--http-listen=127.0.0.1:0",
            "--log-level=ramtrail=trace,info",
        ] {
            options = options.arg(argument);
        }
        Self {
            operator: OperatorProcess::start(&options).unwrap(),
            proxy,
            _dir: dir,
        }
    }

    fn leads(&self) -> bool {
        self.operator.logs().contains("this process leads")
    }

    fn until_leads(&self, world: &World) {
        world.eventually("it leads", || {
            if self.leads() {
                Ok(())
            } else {
                Err(self.operator.log_tail(5))
            }
        });
    }

    /// The end of its lease by its own clock, at the latest: it counts from before it sent the write that we saw come.
    fn lease_ends(&self) -> u64 {
        let rows = self.proxy.journal(0);
        let renewed = rows
            .iter()
            .rev()
            .find(|row| row.call.resource == "leases" && row.is_done_write())
            .unwrap();
        renewed.arrived + DURATION_MS
    }

    /// Whether it is known to have made a call: it logs the id that the call carries, once it has an answer. A call that it sent and
    /// got no answer to is nobody's by this, so that only of the process that lives on can be said which calls it did not make.
    fn made(&self, row: &Row) -> bool {
        let agent = row.0["userAgent"].as_str().unwrap_or_default();
        let id = agent
            .split_once("call/")
            .and_then(|(_, rest)| rest.split(')').next());
        id.is_some_and(|id| self.operator.logs().contains(id))
    }
}

/// The world knows its own operator only: where replicas fail, they say for themselves how they ended.
impl Drop for Replica {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let tail = tail_without_trace(&self.operator.logs(), 30);
            eprintln!("--- replica {}\n{tail}", self.operator.pid());
        } else {
            shows_no_secret(&self.operator.logs());
        }
    }
}

fn alone() -> MutexGuard<'static, ()> {
    LEASE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn holding(world: &World) {
    world.eventually("a call is held", || {
        let faults = world.emulator.get("faults").unwrap();
        if faults["faults"][0]["holding"].as_u64() > Some(0) {
            Ok(())
        } else {
            Err(faults.to_string())
        }
    });
}

#[test]
fn a_killed_leader_is_followed_and_nothing_is_created_twice() {
    let _alone = alone();
    for action in ["CreateProject", "CreateLogStore", "CreateTrail"] {
        let world = World::new("fail-over");
        prepare(&world);
        apply_stack(&world);
        let fault =
            json!({"match": {"action": action, "caller": USER, "nth": 1}, "fault": {"kind": "hold-after"}});
        world.emulator.add_fault(&fault).unwrap();
        let mut first = Replica::start(&world);
        first.until_leads(&world);
        let second = Replica::start(&world);
        holding(&world);
        assert!(!second.leads());
        first.operator.kill().unwrap();
        let end = first.lease_ends();
        world.emulator.remove_faults().unwrap();
        second.until_leads(&world);
        settle_stack(&world);
        created_once(&world);
        // At work by the end of the lease, or a look and, for a machine that has other things to do, another lease later.
        let rows = world.journal(0);
        let times = rows.iter().filter(|row| row.is_ours()).map(milliseconds);
        let began = times.filter(|time| *time >= end).min().unwrap();
        eprintln!("{action}: at work {} ms after the lease's end", began - end);
        assert!(began <= end + RETRY_MS + DURATION_MS, "{began} {end}");
    }
}

/// The sharpest moment: frozen between the look that asks for a repair and the repair.
#[test]
fn a_leader_that_was_frozen_between_look_and_repair_writes_nothing_when_it_wakes() {
    let _alone = alone();
    let world = World::new("frozen-leader");
    apply_project(&world);
    apply_store(&world);
    let mut first = Replica::start(&world);
    first.until_leads(&world);
    world.settled("AuditProject", PROJECT);
    world.settled("AuditLogStore", STORE);
    let second = Replica::start(&world);
    set_retention(&world, 7);
    let fault = json!({
        "match": {"action": "GetLogStore", "caller": USER, "nth": 1},
        "fault": {"kind": "hold-after"},
    });
    world.emulator.add_fault(&fault).unwrap();
    // Either the answer that shows the weakening is held now, or it was repaired a moment before: then weaken it again.
    holding(&world);
    if world.count(0, "UpdateLogStore") > 0 {
        set_retention(&world, 7);
    }
    first.operator.signal(Signal::Stop).unwrap();
    let repaired = world.count(0, "UpdateLogStore");
    second.until_leads(&world);
    world.eventually("the new leader repairs", || {
        if world.count(0, "UpdateLogStore") > repaired {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    });
    until_retention(&world, 30);
    let since = world.now();
    // Something to do for whoever looks; and the answer that the frozen one waits for.
    set_retention(&world, 5);
    world.emulator.remove_faults().unwrap();
    first.operator.signal(Signal::Cont).unwrap();
    let status = first.operator.wait(DEADLINE).unwrap();
    assert!(
        !status.success(),
        "it says that it lost the lease: {}",
        first.operator.log_tail(10)
    );
    until_retention(&world, 30);
    all_by(&second, &world, |row| row.0["seq"].as_u64() > Some(since));
    // The method itself: calls of either process are told apart.
    let rows = world.journal(0);
    assert!(
        rows.iter()
            .any(|row| row.is_change() && first.made(row) && !second.made(row))
    );
    assert!(
        rows.iter()
            .any(|row| row.0["seq"].as_u64() > Some(since) && row.is_change() && second.made(row))
    );
    world.nothing_was_reduced();
}

/// Whatever was sent in this time and is not this process's, answered or not, is another's. What it has just sent shows in its log a
/// moment later.
fn all_by(replica: &Replica, world: &World, then: impl Fn(&Row) -> bool) {
    world.eventually("every write is the new leader's", || {
        let rows = world.journal(0);
        let ours = rows
            .iter()
            .filter(|row| row.is_ours() && row.is_write() && then(row));
        let late: Vec<String> = ours
            .filter(|row| !replica.made(row))
            .map(ToString::to_string)
            .collect();
        if late.is_empty() {
            Ok(())
        } else {
            Err(late.join("\n"))
        }
    });
}

/// The emulator's clock is the machine's as long as nobody moves it.
fn milliseconds(row: &Row) -> u64 {
    let time: k8s_openapi::jiff::Timestamp = row.0["time"].as_str().unwrap().parse().unwrap();
    u64::try_from(time.as_millisecond()).unwrap()
}

/// Cut off from the API server alone: it must stop by its own clock, before another one may begin.
#[test]
fn a_leader_that_cannot_renew_ends_before_its_lease_does() {
    let _alone = alone();
    let world = World::new("cut-off");
    apply_project(&world);
    apply_store(&world);
    let mut first = Replica::start(&world);
    first.until_leads(&world);
    world.settled("AuditLogStore", STORE);
    let second = Replica::start(&world);
    first.proxy.add(
        xtask::api_proxy::Matching::any().times(0),
        xtask::api_proxy::Fault::BlackHole,
    );
    set_retention(&world, 7);
    let status = first.operator.wait(DEADLINE).unwrap();
    assert!(!status.success());
    second.until_leads(&world);
    until_retention(&world, 30);
    let end = first.lease_ends();
    all_by(&second, &world, |row| milliseconds(row) > end);
    world.nothing_was_reduced();
}
