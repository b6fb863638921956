//! The seed's stack, end to end: any order, exact calls, silence in sync, events in both stores, and every call killed once with
//! its answer lost. The emulator is hostile, the API server real, the journal and the audit log are the judges.
#![allow(clippy::unwrap_used)]

mod support;
mod trail_support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use ramtrail::aliyun::{LogStoreName, ProjectName};
use serde_json::{Value, json};
use support::{ACCOUNT, CREDENTIALS, OPERATOR, OPERATOR_NAMESPACE, Row, SECRET, USER, World, api_server};
use trail_support::{CALLS, prepare, ram_as};
use xtask::canary;
use xtask::control_plane::{ControlPlane, Options, free_port};
use xtask::deployment::Manifest;
use xtask::grants;

const PROJECT: (&str, &str) = ("AuditProject", "ai-workload-audit-trail");
const STORE: (&str, &str) = ("AuditLogStore", "ai-workload-log-store");
const TRAIL: (&str, &str) = ("RamTrail", "ai-workload-ram-access");
/// Polls: one list of trails and one search a minute, and the due call. They are counted apart (decisions 10).
const POLLS: [&str; 3] = ["DescribeTrails", "GetLogsV2", "GetCallerIdentity"];

/// The specs of the committed example, by kind, with this test's Secret.
fn example() -> BTreeMap<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/ai-workload-audit-trail.yaml");
    let text = fs::read_to_string(path).unwrap();
    let mut specs = BTreeMap::new();
    for document in text.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).unwrap();
        let mut spec = object["spec"].clone();
        if spec.get("credentials").is_some() {
            spec["credentials"]["secretRef"]["name"] = json!(CREDENTIALS);
        }
        if let Some(kind) = object["kind"].as_str().filter(|kind| *kind != "Namespace") {
            specs.insert(kind.to_owned(), spec);
        }
    }
    assert_eq!(specs.len(), 3, "the example holds one object of each kind");
    specs
}

fn apply(world: &World, (kind, name): (&str, &str)) {
    world.apply(kind, name, &example()[kind]);
}

fn ready(world: &World) {
    for (kind, name) in [PROJECT, STORE, TRAIL] {
        world.settled(kind, name);
    }
}

/// Ready, with events seen to arrive: nothing is under way any more.
fn at_rest(world: &World) {
    ready(world);
    trail_support::deliver(world);
    world.condition(TRAIL.0, TRAIL.1, "Delivering", "True", "EventsArriving");
    ready(world);
}

fn changes(world: &World) -> Vec<String> {
    let mut calls = world.writes(0);
    calls.sort();
    calls
}

fn in_order(purpose: &str, order: [(&str, &str); 3]) {
    let mut world = World::new(purpose);
    prepare(&world);
    world.start();
    for object in order {
        apply(&world, object);
        // Seen, and waiting for what is not there yet.
        world.eventually("the first status is written", || {
            let conditions = world.conditions(object.0, object.1);
            if conditions.is_empty() {
                Err("no conditions".to_owned())
            } else {
                Ok(())
            }
        });
    }
    ready(&world);
    assert_eq!(changes(&world), CALLS, "{}", world.report());
    world.nothing_was_reduced();
}

macro_rules! orders {
    ($($name:ident: $first:ident, $second:ident, $third:ident;)*) => {$(
        #[test]
        fn $name() {
            in_order("order", [$first, $second, $third]);
        }
    )*};
}

orders! {
    project_store_trail_becomes_ready_with_eleven_calls: PROJECT, STORE, TRAIL;
    project_trail_store_becomes_ready_with_eleven_calls: PROJECT, TRAIL, STORE;
    store_project_trail_becomes_ready_with_eleven_calls: STORE, PROJECT, TRAIL;
    store_trail_project_becomes_ready_with_eleven_calls: STORE, TRAIL, PROJECT;
    trail_project_store_becomes_ready_with_eleven_calls: TRAIL, PROJECT, STORE;
    trail_store_project_becomes_ready_with_eleven_calls: TRAIL, STORE, PROJECT;
}

/// The only test that holds the Lease of the manifest's Role on the shared API server: `cargo xtask test` compares what the
/// operator may do there with what all tests together did.
#[test]
fn an_elected_leader_does_its_work_and_keeps_its_lease_with_the_rights_of_the_manifest() {
    let mut world = World::new("elected").option("--leader-elect=true");
    world.start();
    apply(&world, PROJECT);
    world.settled(PROJECT.0, PROJECT.1);
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), OPERATOR_NAMESPACE);
    let renewed = || {
        let lease = support::wait(leases.get("ramtrail")).unwrap();
        lease.spec.unwrap().renew_time.unwrap().0
    };
    let before = renewed();
    world.eventually("the lease is renewed", || {
        let now = renewed();
        if now > before {
            Ok(())
        } else {
            Err(format!("{now}"))
        }
    });
    world.stop();
    let spec = support::wait(leases.get("ramtrail")).unwrap().spec.unwrap();
    assert_eq!(spec.holder_identity.unwrap_or_default(), "", "it is given back");
}

#[test]
fn a_retention_of_the_trails_store_is_one_call_more() {
    let mut world = World::new("retention");
    prepare(&world);
    world.start();
    for (kind, name) in [PROJECT, STORE, TRAIL] {
        let mut spec = example()[kind].clone();
        if kind == TRAIL.0 {
            spec["store"] = json!({"retentionDays": 3650});
        }
        world.apply(kind, name, &spec);
    }
    ready(&world);
    assert_eq!(changes(&world), CALLS, "3650 is what ActionTrail sets");
    world.patch_spec(TRAIL.0, TRAIL.1, &json!({"store": {"retentionDays": 365}}));
    world.eventually("the retention is set", || {
        let made = changes(&world);
        let more = made.len() == CALLS.len() + 1 && made.contains(&"UpdateLogStore".to_owned());
        if more { Ok(()) } else { Err(format!("{made:?}")) }
    });
    ready(&world);
    assert_eq!(changes(&world).len(), CALLS.len() + 1);
}

/// In a cloud that shows everything at once: at most two reads for each call that changes something (decisions 10).
#[test]
fn creating_takes_at_most_two_reads_for_each_call() {
    let arguments = [
        "--profile=documented",
        "--assume=sls.etl.starts_itself=no",
        "--assume=actiontrail.linked_role=required",
    ];
    let mut world = World::with_emulator("reads", &arguments)
        .option("--resync-interval=10m")
        .option("--poll-interval=10m")
        .option("--claim-confirmation=10m");
    prepare(&world);
    world.start();
    // One after the other: a visit that looks whether something awaited is there by now is not counted.
    for (kind, name) in [PROJECT, STORE, TRAIL] {
        apply(&world, (kind, name));
        world.ready(kind, name);
    }
    assert_eq!(changes(&world), CALLS, "{}", world.report());
    let reads: Vec<String> = world
        .reads(0)
        .into_iter()
        .filter(|read| !["GetLogsV2", "GetCallerIdentity"].contains(&read.as_str()))
        .collect();
    assert!(
        reads.len() <= 2 * CALLS.len(),
        "{} reads: {reads:?}\n{}",
        reads.len(),
        world.report()
    );
}

/// A control plane of its own, because its audit log must hold this one stack alone.
#[test]
fn in_sync_nothing_is_written_anywhere_and_nine_reads_look() {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    });
    let control_plane = ControlPlane::start(&Options::new().audit_policy(&policy.to_string())).unwrap();
    let kubectl = control_plane.kubectl().clone();
    api_server::install(&kubectl);
    let cluster = support::give_rights(kubectl);
    let mut world = World::on(&cluster, "sync", &["--profile=hostile"]);
    prepare(&world);
    for object in [PROJECT, STORE, TRAIL] {
        apply(&world, object);
    }
    world.start();
    at_rest(&world);

    world.resyncs("GetTrailStatus", 2);
    let audit = || fs::read_to_string(control_plane.audit_log()).unwrap();
    let (since, before) = (world.now(), audit().lines().count());
    for action in ["GetTrailStatus", "GetIndex", "GetProject"] {
        world.resyncs(action, 4);
    }
    assert_eq!(world.writes(since), Vec::<String>::new());
    let refused: Vec<String> = world
        .journal(since)
        .iter()
        .filter(|row| row.is_ours() && row.is_write())
        .map(Row::to_string)
        .collect();
    assert_eq!(refused, Vec::<String>::new(), "no write was even tried");

    let reads = world.reads(since);
    let count = |action: &str| reads.iter().filter(|read| *read == action).count();
    // Each kind resyncs by its own timer, so the ends of the window may cut one visit of each kind: its reads may be
    // in without the one that counts the visit. An additional read in every visit would be more than that.
    let (projects, stores, trails) = (count("GetProject"), count("GetIndex"), count("GetTrailStatus"));
    assert!(projects.min(stores).min(trails) >= 4, "{reads:?}");
    let budget = [
        ("GetProject", projects),
        ("GetIndex", stores),
        ("GetTrailStatus", trails),
        ("GetETL", trails + 1),
        ("GetLogStore", stores + trails + 2),
        ("ListTagResources", projects + stores + trails + 3),
    ];
    for (action, most) in budget {
        assert!(
            count(action) <= most,
            "{action} more than {most} times: {reads:?}"
        );
    }
    let known = |read: &str| POLLS.contains(&read) || budget.iter().any(|(action, _)| *action == read);
    assert!(reads.iter().all(|read| known(read)), "{reads:?}");

    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:ramtrail");
    let written: Vec<String> = audit()
        .lines()
        .skip(before)
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["user"]["username"] == user.as_str())
        .filter(|event| !["get", "list", "watch"].contains(&event["verb"].as_str().unwrap_or_default()))
        .map(|event| format!("{} {}", event["verb"], event["requestURI"]))
        .collect();
    assert_eq!(written, Vec::<String>::new(), "the API server was written to");
    let heard = audit().lines().filter(|line| line.contains(&user)).count();
    assert!(heard > 0, "the audit log knows the operator");
    world.nothing_was_reduced();
}

#[test]
fn events_of_three_identities_arrive_in_both_stores() {
    let mut world = World::new("flow");
    prepare(&world);
    for object in [PROJECT, STORE, TRAIL] {
        apply(&world, object);
    }
    world.start();
    at_rest(&world);
    let people = ["alice", "bob", "carol"];
    for person in people {
        let key = format!("LTAI{person}00000000001");
        let statements = json!([{"Effect": "Allow", "Action": "ram:*", "Resource": "*"}]);
        world.add_user(&key, ACCOUNT, person, &statements);
        let group = format!("group-of-{person}");
        ram_as(&world, &key, SECRET, "CreateGroup", &[("GroupName", &group)]).unwrap();
        ram_as(&world, &key, SECRET, "GetGroup", &[("GroupName", &group)]).unwrap();
    }
    trail_support::deliver(&world);
    let own = LogStoreName::new("actiontrail_ai-workload-ram-access").unwrap();
    let copy = LogStoreName::new(STORE.1).unwrap();
    for store in [&own, &copy] {
        for person in people {
            for call in ["CreateGroup", "GetGroup"] {
                world.eventually(&format!("{call} of {person} in {store}"), || {
                    let search = format!("event.userIdentity.userName: {person} and event.eventName: {call}");
                    let found = trail_support::rows_in(&world, PROJECT.1, store, &search);
                    if found.is_empty() {
                        Err("no rows".to_owned())
                    } else {
                        Ok(())
                    }
                });
            }
        }
    }
    let others = trail_support::rows_in(
        &world,
        PROJECT.1,
        &copy,
        "not event.serviceName: Ram and not event.serviceName: Sts",
    );
    let foreign: Vec<_> = others
        .iter()
        .filter(|row| !row["event"].contains("ResourceManager"))
        .map(|row| &row["event"])
        .collect();
    assert!(foreign.is_empty(), "only RAM access is copied: {foreign:?}");
    let all = trail_support::rows_in(&world, PROJECT.1, &own, "not event.serviceName: Ram");
    assert!(!all.is_empty(), "the trail's own store holds everything");
    world.nothing_was_reduced();
}

/// SIGKILL while the answer to the nth call of an action is held back, then a new process: the same end state, one create per
/// name, nothing reduced.
fn killed_at(action: &str, nth: u64) {
    let mut world = World::new("killed");
    prepare(&world);
    let fault = json!({
        "match": {"action": action, "caller": USER, "nth": nth},
        "fault": {"kind": "hold-after"},
    });
    world.emulator.add_fault(&fault).unwrap();
    for object in [PROJECT, STORE, TRAIL] {
        apply(&world, object);
    }
    world.start();
    world.eventually(
        &format!("call {nth} of {action} was made and its answer is held"),
        || {
            let faults = world.emulator.get("faults").unwrap();
            let holding = faults["faults"][0]["holding"].as_u64().unwrap_or_default();
            if holding > 0 {
                Ok(())
            } else {
                Err(faults.to_string())
            }
        },
    );
    world.kill();
    world.emulator.remove_faults().unwrap();
    world.start();
    at_rest(&world);
    assert_eq!(changes(&world), CALLS, "{}", world.report());
    let creates: Vec<String> = world
        .journal(0)
        .iter()
        .filter(|row| row.is_ours() && row.status() == 200 && row.action().starts_with("Create"))
        .map(|row| row.action().to_owned())
        .collect();
    let mut once = creates.clone();
    once.sort();
    once.dedup();
    assert_eq!(creates.len(), once.len(), "one create per name: {creates:?}");
    world.nothing_was_reduced();
}

macro_rules! kills {
    ($($name:ident: $action:literal, $nth:literal;)*) => {$(
        #[test]
        fn $name() {
            killed_at($action, $nth);
        }
    )*};
}

// The hostile cloud refuses the first spelling of a mark, and a new trail before it is shown: those calls count here too.
kills! {
    killed_at_create_project: "CreateProject", 1;
    killed_at_the_first_mark: "TagResources", 1;
    killed_at_the_second_mark: "TagResources", 2;
    killed_at_the_third_mark: "TagResources", 3;
    killed_at_the_fourth_mark: "TagResources", 4;
    killed_at_create_log_store: "CreateLogStore", 1;
    killed_at_create_index: "CreateIndex", 1;
    killed_at_create_service_linked_role: "CreateServiceLinkedRole", 1;
    killed_at_create_trail: "CreateTrail", 1;
    killed_at_start_logging: "StartLogging", 1;
    killed_at_start_logging_again: "StartLogging", 2;
    killed_at_create_copy_job: "CreateETL", 1;
    killed_at_start_copy_job: "StartETL", 1;
}

/// The whole life under the eyes of a reader who looks for a few words, as every world's end does: logs at trace level, metrics, whole
/// objects, journal. At first with a user's keys, then with those of a session.
#[test]
fn secret_key_and_security_token_are_seen_nowhere() {
    let port = free_port().unwrap();
    let mut world = World::new("secret").option(&format!("--http-listen=127.0.0.1:{port}"));
    prepare(&world);
    for object in [PROJECT, STORE, TRAIL] {
        apply(&world, object);
    }
    // Errors of every sort pass by on the way, some echoing what was signed.
    for (action, code) in [
        ("CreateProject", "SignatureNotMatch"),
        ("CreateTrail", "SignatureDoesNotMatch"),
    ] {
        let message = format!("signature of {SECRET} not match");
        let fault = json!({
            "match": {"action": action, "caller": USER, "nth": 1},
            "fault": {"kind": "status", "status": 401, "code": code, "message": message},
        });
        world.emulator.add_fault(&fault).unwrap();
    }
    world.start();
    at_rest(&world);
    assert!(
        world.logs().contains("TRACE") || world.logs().contains("DEBUG"),
        "the log is detailed"
    );

    let session = session(&world);
    let text = |name: &str| session[name].as_str().unwrap().to_owned();
    let (secret, token) = (text("AccessKeySecret"), text("SecurityToken"));
    world.never_show(&secret);
    world.never_show(&token);
    let message = format!("string to sign: x-acs-security-token:{token} {secret}");
    let fault = json!({
        "match": {"action": "GetTrailStatus", "nth": 3},
        "fault": {"kind": "status", "status": 400, "code": "SignatureDoesNotMatch", "message": message},
    });
    world.emulator.add_fault(&fault).unwrap();
    world.write_session(CREDENTIALS, &text("AccessKeyId"), &secret, &token);
    let since = world.now();
    for action in ["GetTrailStatus", "GetIndex", "GetProject"] {
        world.eventually(&format!("{action} by the session"), || {
            let rows = world.journal(since);
            let by_session = |row: &&Row| {
                row.0["caller"]
                    .as_str()
                    .is_some_and(|who| who.contains("/audit-session"))
            };
            let found = rows
                .iter()
                .filter(by_session)
                .filter(|row| row.action() == action);
            // Beyond the echo of the fault.
            if found.count() > 4 {
                Ok(())
            } else {
                Err(world.report())
            }
        });
    }
    ready(&world);
    let told = world.metrics().expect("the operator tells its metrics");
    assert!(told.contains("ramtrail_trail_logging"), "{told}");
    world.delete(TRAIL.0, TRAIL.1);
    world.gone(TRAIL.0, TRAIL.1);
}

/// Keys of a session of a role that may do everything.
fn session(world: &World) -> Value {
    let trust = json!({"Version": "1", "Statement": [{
        "Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"RAM": [format!("acs:ram::{ACCOUNT}:root")]},
    }]});
    let role = [
        ("RoleName", "operator"),
        ("AssumeRolePolicyDocument", &trust.to_string()),
    ];
    trail_support::ram(world, "CreateRole", &role).unwrap();
    let policy = [
        ("PolicyType", "System"),
        ("PolicyName", "AdministratorAccess"),
        ("RoleName", "operator"),
    ];
    world.eventually("the role gets its policy", || {
        trail_support::ram(world, "AttachPolicyToRole", &policy)
    });
    let all = json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]);
    world.add_user("LTAIassumer00000000001", ACCOUNT, "assumer", &all);
    let arn = format!("acs:ram::{ACCOUNT}:role/operator");
    let asked = [("RoleArn", arn.as_str()), ("RoleSessionName", "audit-session")];
    let answer = world.eventually("the role is assumed", || {
        let sts = ("sts.cn-hangzhou.aliyuncs.com", "2015-04-01");
        trail_support::rpc(world, "LTAIassumer00000000001", SECRET, sts, "AssumeRole", &asked)
    });
    answer["Credentials"].clone()
}

/// Somebody shortens the retention of the store, and the operator sets it back.
fn tampered_and_healed(world: &World, days: i64) {
    let (project, name) = (
        ProjectName::new(PROJECT.1).unwrap(),
        LogStoreName::new(STORE.1).unwrap(),
    );
    let cloud = world.intruder().log_service;
    let store = || support::wait(cloud.get_log_store(&project, &name)).unwrap().value;
    let mut weak = store();
    let wanted = weak.retention_days();
    weak.set_retention_days(days);
    support::wait(cloud.update_log_store(&project, &name, &weak)).unwrap();
    world.eventually("the retention is set back", || {
        let found = store().retention_days();
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
    ready(world);
}

/// The Deployment and the rights of `deploy/overlays/namespaced` as they are rendered, on a control plane whose log holds every call:
/// the life of the stack needs all of them and no other.
#[test]
fn an_operator_of_one_namespace_needs_the_rights_of_its_manifest_and_no_others() {
    const NAMESPACE: &str = "audit";
    let policy = OPERATOR.audit_policy();
    let control_plane = ControlPlane::start(&Options::new().audit_policy(&policy)).unwrap();
    let kubectl = control_plane.kubectl().clone();
    api_server::install(&kubectl);
    let rendered = control_plane.dir().join("namespaced.yaml");
    let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/overlays/namespaced");
    let text = kubectl
        .run(["kustomize", &overlay.display().to_string()])
        .unwrap();
    fs::write(&rendered, &text).unwrap();
    let rights: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let manifest = Manifest::read(&kubectl, &rendered).unwrap();
    kubectl.run(["create", "namespace", NAMESPACE]).unwrap();
    kubectl.apply(&manifest.others()).unwrap();

    let client = support::wait(api_server::client(kubectl.kubeconfig()));
    let mut world = World::in_namespace(&(kubectl, client), NAMESPACE, &["--profile=hostile"]);
    prepare(&world);
    for object in [PROJECT, STORE, TRAIL] {
        apply(&world, object);
    }
    let replaced = [
        ("--cloud-endpoint", world.emulator.url()),
        ("--http-listen", "127.0.0.1:0".to_owned()),
        ("--resync-interval", "2s".to_owned()),
        ("--poll-interval", "1s".to_owned()),
        ("--claim-confirmation", "1s".to_owned()),
        ("--deletion-grace", "5s".to_owned()),
        ("--due-call-interval", "2s".to_owned()),
        ("--log-level", "ramtrail=trace,info".to_owned()),
    ];
    let replaced: Vec<(&str, &str)> = replaced
        .iter()
        .map(|(flag, value)| (*flag, value.as_str()))
        .collect();
    let options = manifest
        .process(world.kubeconfig(), &replaced, |_, _| Ok(None))
        .unwrap();
    world.start_as(&options);
    at_rest(&world);

    // Tampered with twice in the same way: the second time the Event is counted up.
    for days in [7, 7] {
        tampered_and_healed(&world, days);
    }
    // In a namespace that goes away Events are written where the operator lives.
    world.delete_namespace();
    for (kind, name) in [TRAIL, STORE, PROJECT] {
        world.delete(kind, name);
    }
    for (kind, name) in [TRAIL, STORE, PROJECT] {
        world.gone(kind, name);
    }
    world.stop();
    let log = fs::read_to_string(control_plane.audit_log()).unwrap();
    let usage = grants::usage(&rights, OPERATOR, &log).unwrap();
    assert!(usage.calls > 50, "{usage:#?}");
    assert_eq!(usage.denied, BTreeSet::new(), "{usage:#?}");
    assert_eq!(usage.unused, BTreeSet::new(), "{usage:#?}");
    let (found, seen) = canary::stored(&control_plane).unwrap();
    assert!(
        found.is_empty() && seen > 50,
        "{seen} objects, a secret in {found:?}"
    );
}
