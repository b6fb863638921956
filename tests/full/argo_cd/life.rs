//! The life of a stack that Argo CD owns: first sync, edits, idle time, pruning, moving, deletion.

use serde_json::{Value, json};
use xtask::process::Signal;

use crate::argo::is_synced;
use crate::support::{CREDENTIALS, KEY, SECRET, World, api_server, wait};
use crate::trail_support::{
    CALLS, PROJECT, STORE, TRAIL, deliver, project, rows, settle, trail, trail_store,
};
use crate::{STACK, Stage, manifest, path, reductions};
use ramtrail::aliyun::LogStoreName;
use ramtrail::aliyun::action_trail::TrailState;

/// A way in which Argo CD applies objects and compares what is in Git with what is in the cluster.
struct Strategy {
    name: &'static str,
    /// What the Application says of it.
    changes: &'static str,
    /// Whether the API server is asked to compare, by a server-side apply as a dry run.
    asks_server: bool,
}

/// Argo CD 3.6 takes the server's comparison for whatever is applied server-side; the structured-merge diff of before is no more.
const STRATEGIES: [Strategy; 4] = [
    Strategy {
        name: "legacy",
        changes: "{}",
        asks_server: false,
    },
    Strategy {
        name: "server-side-apply",
        changes: r#"{"spec": {"syncPolicy": {"syncOptions": ["ServerSideApply=true"]}}}"#,
        asks_server: true,
    },
    Strategy {
        name: "server-side-apply-legacy-diff",
        changes: r#"{
            "metadata": {"annotations": {"argocd.argoproj.io/compare-options": "ServerSideDiff=false"}},
            "spec": {"syncPolicy": {"syncOptions": ["ServerSideApply=true"]}}
        }"#,
        asks_server: false,
    },
    Strategy {
        name: "server-side-diff",
        changes: r#"{"metadata": {"annotations": {"argocd.argoproj.io/compare-options": "ServerSideDiff=true"}}}"#,
        asks_server: true,
    },
];

/// Fresh sync to Synced and Healthy, the cloud as after `kubectl apply`, and no comparison that finds a difference afterwards.
fn first_sync(name: &str) {
    let strategy = STRATEGIES.iter().find(|strategy| strategy.name == name).unwrap();
    let mut stage = Stage::new(name);
    stage.world.start();
    let commit = stage.repository.commit();
    stage.apply(&serde_json::from_str(strategy.changes).unwrap());
    let application = stage.argo.synced_and_healthy(&stage.name, &commit);
    stage.settled();
    let mut writes = stage.world.writes(0);
    writes.sort();
    assert_eq!(writes, CALLS, "{}", stage.world.report());
    assert_eq!(syncs(&application), 1, "{application:#}");
    let before = stage.argo.server_dry_runs(&stage.world.namespace);
    // Whatever status, defaults and finalizers were written meanwhile, nothing is out of sync; self-heal would show as a sync.
    let ways = ["normal", "hard", "normal"];
    for how in ways {
        stage.argo.refresh(&stage.name, how);
        let application = stage.argo.get(&stage.name);
        assert!(is_synced(&application, &commit), "{application:#}");
        assert_eq!(
            application["status"]["health"]["status"], "Healthy",
            "{application:#}"
        );
        assert_eq!(syncs(&application), 1, "{application:#}");
    }
    // That it was this way of comparing: the server was asked for each object each time, or never.
    let asked = stage.argo.server_dry_runs(&stage.world.namespace) - before;
    eprintln!("{name}: {asked} dry runs in {} refreshes", ways.len());
    if strategy.asks_server {
        assert!(asked >= STACK.len() * ways.len(), "{asked}");
    } else {
        assert_eq!(asked, 0);
    }
    assert_eq!(reductions(&stage.world), Vec::<String>::new());
}

/// How many syncs have changed something, as the Application remembers.
fn syncs(application: &Value) -> usize {
    application["status"]["history"].as_array().map_or(0, Vec::len)
}

#[test]
fn fresh_sync_is_synced_and_healthy_under_the_legacy_diff() {
    first_sync("legacy");
}

#[test]
fn fresh_sync_is_synced_and_healthy_under_server_side_apply() {
    first_sync("server-side-apply");
}

#[test]
fn fresh_sync_is_synced_and_healthy_under_server_side_apply_with_the_legacy_diff() {
    first_sync("server-side-apply-legacy-diff");
}

#[test]
fn fresh_sync_is_synced_and_healthy_under_the_server_side_diff() {
    first_sync("server-side-diff");
}

/// Ten idle minutes by the operator's defaults are 2 resyncs, 10 polls and 2 proofs of delivery. Here are many more of each, in
/// less time, and Argo CD is not made to look even once.
#[test]
fn idle_time_causes_no_refresh() {
    let stage = Stage::healthy("idle");
    stage.settled();
    settle(&stage.world);
    // Argo CD looks at the last changes of its own making.
    let mut before = stage.argo.refreshes(&stage.name).len();
    let mut quiet = 0;
    while quiet < 5 {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let now = stage.argo.refreshes(&stage.name).len();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
    assert!(before > 0, "refreshes show in the log");
    let since = stage.world.now();
    let versions = stage.world.versions();
    let application = stage.argo.get(&stage.name);
    for _ in 0..PROOFS {
        proof_of_delivery(&stage.world);
    }
    let looks = |action: &str| stage.world.count(since, action);
    stage.world.eventually("the operator looks again and again", || {
        let seen = (looks("GetTrailStatus"), looks("GetLogStore"), looks("GetProject"));
        if seen.0 >= 30 && seen.1 >= 20 && seen.2 >= 10 {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    assert_eq!(stage.world.writes(since), Vec::<String>::new());
    let refreshes = stage.argo.refreshes(&stage.name);
    eprintln!(
        "idle: {PROOFS} proofs of delivery, {} looks at the trail, {} at a store, {} at the project; {} refreshes",
        looks("GetTrailStatus"),
        looks("GetLogStore"),
        looks("GetProject"),
        refreshes.len() - before
    );
    assert_eq!(refreshes.len(), before, "{:#?}", &refreshes[before..]);
    let now = stage.argo.get(&stage.name);
    assert!(
        application["status"]["reconciledAt"].is_string(),
        "{application:#}"
    );
    assert_eq!(
        now["status"]["reconciledAt"],
        application["status"]["reconciledAt"]
    );
    assert_eq!(
        now["metadata"]["resourceVersion"],
        application["metadata"]["resourceVersion"]
    );
    // Even without Argo CD's default of ignoring status there would be nothing to see.
    assert_eq!(stage.world.versions(), versions);
    // And it does look when there is something: a note on one object.
    stage
        .world
        .annotate("RamTrail", TRAIL, "example.com/note", Some("looked at"));
    stage.world.eventually("a change causes a refresh", || {
        let now = stage.argo.refreshes(&stage.name).len();
        if now > before {
            Ok(())
        } else {
            Err(now.to_string())
        }
    });
}

/// Many more than ten minutes hold.
const PROOFS: usize = 10;

/// The operator makes the call that the trail must record, and finds it in the trail's store.
fn proof_of_delivery(world: &World) {
    let since = world.now();
    let id = world.eventually("a call is due", || {
        let rows = world.journal(since);
        let due = rows
            .iter()
            .find(|row| row.is_ours() && row.status() == 200 && row.action() == "GetCallerIdentity");
        due.and_then(|row| row.0["requestId"].as_str())
            .map(str::to_owned)
            .ok_or_else(|| world.report())
    });
    deliver(world);
    world.eventually("the trail has recorded it", || {
        if rows(world, &trail_store(), &id).is_empty() {
            Err(id.clone())
        } else {
            Ok(())
        }
    });
    let there = world.now();
    world.eventually("the operator searches the trail's store", || {
        let reads = world.reads(there);
        if reads.iter().any(|read| read.starts_with("GetLogs")) {
            Ok(())
        } else {
            Err(format!("{reads:?}"))
        }
    });
}

/// An edit is Progressing until the operator has brought it about, and Healthy then.
#[test]
fn an_edit_is_progressing_and_then_healthy() {
    let mut stage = Stage::healthy("edit");
    stage.settled();
    let since = stage.world.now();
    stage.world.signal(Signal::Stop);
    let commit = stage.push("AuditLogStore", &json!({"spec": {"retentionDays": 60}}));
    let said = stage.argo.health_of(&stage.name, "AuditLogStore", "Progressing");
    assert_eq!(said, "Waiting for the operator to look at this generation");
    stage.world.signal(Signal::Cont);
    stage.argo.synced_and_healthy(&stage.name, &commit);
    assert_eq!(retention(&stage.world), Some(60));
    assert_eq!(
        stage.world.writes(since),
        ["UpdateLogStore"],
        "{}",
        stage.world.report()
    );
}

/// What somebody changes in the cluster is put back by Argo CD, what somebody changes in the cloud by the operator.
#[test]
fn self_heal_and_repair_do_not_fight() {
    let stage = Stage::healthy("heal");
    stage.settled();
    stage
        .world
        .patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 90}));
    stage.world.eventually("Argo CD puts the spec back", || {
        let spec = &stage.world.object("AuditLogStore", STORE).unwrap().data["spec"];
        if spec["retentionDays"] == 30 {
            Ok(())
        } else {
            Err(spec.to_string())
        }
    });
    let since = stage.world.now();
    wait(stage.world.intruder().action_trail.stop_logging(TRAIL)).unwrap();
    stage.world.eventually("the operator switches the trail on", || {
        let calls = stage.world.writes(since);
        if calls.iter().any(|call| call == "StartLogging") {
            Ok(())
        } else {
            Err(format!("{calls:?}"))
        }
    });
    stage.settled();
    stage.argo.health_of(&stage.name, "RamTrail", "Healthy");
}

/// A trail that leaves Git leaves the cluster, and stays on in the cloud: Retain is the default.
#[test]
fn a_pruned_object_goes_and_its_trail_stays() {
    let stage = Stage::healthy("prune");
    stage.settled();
    stage.repository.remove(&path("RamTrail"));
    let commit = stage.push_what_is_there();
    stage.world.gone("RamTrail", TRAIL);
    stage.argo.synced_and_healthy(&stage.name, &commit);
    assert_eq!(trail(&stage.world).unwrap().state(), TrailState::Enable);
    assert_eq!(reductions(&stage.world), Vec::<String>::new());
}

/// The Application is deleted in the foreground: every object goes, none is stuck, and the cloud keeps everything.
#[test]
fn deletion_in_the_foreground_leaves_no_object_behind() {
    let stage = Stage::healthy("delete");
    stage.settled();
    stage.argo.delete(&stage.name);
    for (kind, name) in STACK {
        assert!(
            stage.world.object(kind, name).is_none(),
            "{kind} {name} is still there"
        );
    }
    assert_eq!(trail(&stage.world).unwrap().state(), TrailState::Enable);
    assert_eq!(retention(&stage.world), Some(30));
    assert_eq!(reductions(&stage.world), Vec::<String>::new());
    // Applied again it is the same stack again, with no creation in the cloud.
    let since = stage.world.now();
    stage.apply(&json!({}));
    let commit = stage.repository.commit();
    stage.argo.refresh(&stage.name, "normal");
    stage.argo.synced_and_healthy(&stage.name, &commit);
    let created = stage.world.writes(since);
    assert!(
        !created.iter().any(|call| call.starts_with("Create")),
        "{created:?}"
    );
}

/// The whole stack moves to another namespace in one commit: with leave to take over, the new objects wait until the old ones
/// are gone, and take what those release, the copy job with its trail.
#[test]
fn a_stack_moves_between_namespaces() {
    let mut stage = Stage::new("move");
    let other = api_server::namespace(&stage.world.kubectl, "moved");
    write_secret(&stage, &other);
    let watch = format!("--watch-namespaces={other}");
    stage.world = stage.world.option(&watch);
    stage.world.start();
    let commit = stage.repository.commit();
    stage.apply(&json!({}));
    stage.argo.synced_and_healthy(&stage.name, &commit);
    stage.settled();
    let since = stage.world.now();
    for (kind, _) in STACK {
        let moved = json!({"metadata": {"namespace": other}, "spec": {"adoptionPolicy": "Always"}});
        stage.repository.write(&path(kind), &manifest(kind, &moved));
    }
    let commit = stage.push_what_is_there();
    for (kind, name) in STACK {
        stage.world.gone(kind, name);
    }
    let application = stage
        .argo
        .until(&stage.name, "Synced and Healthy", |application| {
            let status = &application["status"];
            status["sync"]["status"] == "Synced"
                && status["sync"]["revision"] == commit.as_str()
                && status["health"]["status"] == "Healthy"
        });
    let resources = application["status"]["resources"].as_array().unwrap();
    assert_eq!(resources.len(), STACK.len(), "{application:#}");
    for resource in resources {
        assert_eq!(resource["namespace"], other.as_str(), "{application:#}");
    }
    let calls = stage.world.writes(since);
    let made = |call: &String| call.starts_with("Create") || call.starts_with("Delete");
    assert!(!calls.iter().any(made), "{calls:?}");
    assert_eq!(reductions(&stage.world), Vec::<String>::new());
    assert_eq!(trail(&stage.world).unwrap().state(), TrailState::Enable);
    stage.argo.delete(&stage.name);
}

/// The Secret with the operator's keys, in another namespace.
pub fn write_secret(stage: &Stage, namespace: &str) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": CREDENTIALS, "namespace": namespace, "labels": {"ramtrail.io/credentials": "true"}},
        "stringData": {"ALIBABA_CLOUD_ACCESS_KEY_ID": KEY, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET},
    });
    stage.world.kubectl.apply(&secret.to_string()).unwrap();
}

/// Without leave to take over, the moved project says whose it was and what to write.
#[test]
fn a_move_without_leave_is_degraded_and_says_what_to_do() {
    let mut stage = Stage::new("stay");
    for (kind, _) in &STACK[1..] {
        stage.repository.remove(&path(kind));
    }
    let other = api_server::namespace(&stage.world.kubectl, "stayed");
    write_secret(&stage, &other);
    let watch = format!("--watch-namespaces={other}");
    stage.world = stage.world.option(&watch);
    stage.world.start();
    let commit = stage.repository.commit();
    stage.apply(&json!({}));
    stage.argo.synced_and_healthy(&stage.name, &commit);
    stage.world.settled("AuditProject", PROJECT);
    stage.push("AuditProject", &json!({"metadata": {"namespace": other}}));
    stage.world.gone("AuditProject", PROJECT);
    let said = stage.argo.health_of(&stage.name, "AuditProject", "Degraded");
    assert!(said.contains("adoptionPolicy"), "{said}");
    let commit = stage.push(
        "AuditProject",
        &json!({"metadata": {"namespace": other}, "spec": {"adoptionPolicy": "Always"}}),
    );
    stage.argo.synced_and_healthy(&stage.name, &commit);
    assert_eq!(reductions(&stage.world), Vec::<String>::new());
}

/// Days that the stack's store keeps logs, as the cloud has it.
fn retention(world: &World) -> Option<i64> {
    let name = LogStoreName::new(STORE).unwrap();
    wait(world.intruder().log_service.get_log_store(&project(), &name))
        .unwrap()
        .value
        .retention_days()
}
