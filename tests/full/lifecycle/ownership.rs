//! The ownership matrix: whose a thing may be when an object comes to it, what marks may be forged, removed and replaced
//! afterwards, and who else may be at work: other clusters, clones, rebuilt clusters, duplicates.

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::points::Point;
use crate::stack::{
    KINDS, Kind, Operator, Policy, api, apply, apply_with_parents, attempts, changes, cloud_project, delete,
    expect, forge, gone, made_by_somebody, mark, mark_of, object, only_these_reduced, origin, our_mark, put,
    says, second_namespace, settle, shown, thing, trail_of, unmark, write_secret, writes,
};
use crate::support::{
    ACCOUNT, CLUSTER, CREDENTIALS, KEY, OTHER_ACCOUNT, REGION, SECRET, World, project_spec, wait,
};
use crate::trail_support::{PROJECT, STORE, TRAIL, trail_spec};

/// What a cell does.
type Run = fn(Kind);

const OTHER_CLUSTER: &str = "other-cluster";
/// Whoever waits for the grace hangs.
const LONG: &str = "--deletion-grace=1h";

/// The matrix.
pub fn points() -> Vec<Point> {
    let mut points = Vec::new();
    for kind in KINDS {
        for found in FOUND {
            for adoption in ADOPTIONS {
                points.push(Point::new(
                    format!("ownership/{kind}/found-{}/{adoption}", found.name()),
                    move || acquisition(kind, found, adoption),
                ));
            }
        }
        points.push(Point::new(
            format!("ownership/{kind}/found-in-another-account"),
            move || in_another_account(kind),
        ));
        for change in CHANGES {
            points.push(Point::new(
                format!("ownership/{kind}/mark-{}/running", change.name()),
                move || mark_changes(kind, change),
            ));
            points.push(Point::new(
                format!("ownership/{kind}/mark-{}/while-down", change.name()),
                move || mark_changes_while_down(kind, change),
            ));
        }
        let cells: [(&str, Run); 8] = [
            (
                "mark-of-another-cluster/before-confirmation",
                mark_before_confirmation,
            ),
            ("two-clusters", two_clusters),
            ("rebuilt-cluster", rebuilt_cluster),
            ("restored-clone/other-cluster-id", clone_with_another_id),
            ("restored-clone/same-cluster-id", clone_with_the_same_id),
            ("duplicate/same-namespace", duplicate_in_the_namespace),
            ("duplicate/other-namespace", duplicate_in_another_namespace),
            ("handover/deleted", handover_of_what_is_deleted),
        ];
        for (name, cell) in cells {
            points.push(Point::new(format!("ownership/{kind}/{name}"), move || cell(kind)));
        }
        for adoption in ["IfUnowned", "Always"] {
            points.push(Point::new(
                format!("ownership/{kind}/handover/retained/{adoption}"),
                move || handover_of_what_is_retained(kind, adoption),
            ));
        }
    }
    points
}

const ADOPTIONS: [&str; 3] = ["IfUnowned", "Always", "Never"];

/// Whose something is that was there before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    Nobodys,
    OtherObjects,
    OtherNamespaces,
    OtherKinds,
    OtherClusters,
    Scribbled,
    ReleasedByUs,
    ReleasedByAnother,
    /// A rebuilt cluster's, or a forged mark.
    Ours,
}

const FOUND: [Found; 9] = [
    Found::Nobodys,
    Found::OtherObjects,
    Found::OtherNamespaces,
    Found::OtherKinds,
    Found::OtherClusters,
    Found::Scribbled,
    Found::ReleasedByUs,
    Found::ReleasedByAnother,
    Found::Ours,
];

impl Found {
    fn name(self) -> &'static str {
        match self {
            Self::Nobodys => "nobodys",
            Self::OtherObjects => "another-objects",
            Self::OtherNamespaces => "another-namespaces",
            Self::OtherKinds => "another-kinds",
            Self::OtherClusters => "another-clusters",
            Self::Scribbled => "scribbled",
            Self::ReleasedByUs => "released-by-us",
            Self::ReleasedByAnother => "released-by-another",
            Self::Ours => "ours",
        }
    }

    fn mark(self, world: &World, kind: Kind) -> Option<String> {
        let (namespace, name) = (world.namespace.as_str(), kind.object().1);
        let other_kind = if kind == Kind::Store {
            Kind::Trail
        } else {
            Kind::Store
        };
        let ours = our_mark(world, kind);
        match self {
            Self::Nobodys => None,
            Self::OtherObjects => Some(mark_of(CLUSTER, kind, namespace, "another-object")),
            Self::OtherNamespaces => Some(mark_of(CLUSTER, kind, "another-namespace", name)),
            Self::OtherKinds => Some(mark_of(CLUSTER, other_kind, namespace, name)),
            Self::OtherClusters => Some(mark_of(OTHER_CLUSTER, kind, namespace, name)),
            Self::Scribbled => Some("somebody".to_owned()),
            Self::ReleasedByUs => Some(format!("released/{ours}")),
            Self::ReleasedByAnother => Some(format!(
                "released/{}",
                mark_of(OTHER_CLUSTER, kind, namespace, name)
            )),
            Self::Ours => Some(ours),
        }
    }

    /// What decisions 5 and 8 say of it: taken over, or the reason why not.
    fn expected(self, adoption: &str) -> Result<(), &'static str> {
        match (self, adoption) {
            (Self::Ours, _) | (_, "Always") | (Self::Nobodys | Self::ReleasedByUs, "IfUnowned") => Ok(()),
            (Self::Nobodys | Self::ReleasedByUs, _) => Err("AdoptionForbidden"),
            _ => Err("OwnedByAnother"),
        }
    }
}

/// A world with an operator in which the kind's thing was made by somebody, and what it lies in is ours.
fn with_somebodys(kind: Kind) -> World {
    let mut world = World::new("ownership").option(LONG);
    if kind != Kind::Project {
        apply(&world, Kind::Project, Policy::Retain);
    }
    world.start();
    if kind != Kind::Project {
        settle(&world, Kind::Project);
    }
    made_by_somebody(&world, kind);
    shown(&world, kind);
    world
}

/// Applies the kind with a way to adopt, to be deleted in the cloud with its object.
fn apply_adopting(world: &World, kind: Kind, adoption: &str) {
    let (object, name) = kind.object();
    let changes = json!({"adoptionPolicy": adoption, "deletionPolicy": "Delete"});
    world.apply(object, name, &kind.spec(&changes));
}

fn acquisition(kind: Kind, found: Found, adoption: &str) {
    let world = with_somebodys(kind);
    let theirs = found.mark(&world, kind);
    if let Some(mark) = &theirs {
        forge(&world, kind, mark);
    }
    let (before, since) = (thing(&world, kind), world.now());
    apply_adopting(&world, kind, adoption);
    let (object_kind, name) = kind.object();
    match found.expected(adoption) {
        Ok(()) => {
            settle(&world, kind);
            assert_eq!(origin(&world, kind), "Adopted", "{}", world.report());
            assert_eq!(mark(&world, kind), Some(our_mark(&world, kind)));
            // A store of somebody's has no index; nothing else is missing.
            let expected: &[&str] = if kind == Kind::Store {
                &["CreateIndex project/ai-audit/logstore/ai-logs"]
            } else {
                &[]
            };
            expect(&world, "changes", &changes(&world, since), expected);
            let released = format!("released/{}", our_mark(&world, kind));
            delete(&world, kind);
            gone(&world, kind);
            assert_eq!(mark(&world, kind), Some(released), "{}", world.report());
            assert!(thing(&world, kind).is_some());
        }
        Err(reason) => {
            let stalled = world.condition(object_kind, name, "Stalled", "True", reason);
            if reason == "OwnedByAnother" {
                names_both(&world, kind, &stalled);
            }
            world.resyncs("GetProject", 2);
            expect(&world, "writes", &attempts(&world, since), &[]);
            delete(&world, kind);
            gone(&world, kind);
            expect(&world, "writes", &attempts(&world, since), &[]);
            assert_eq!(thing(&world, kind), before);
            assert_eq!(mark(&world, kind), theirs);
        }
    }
    only_these_reduced(&world, &[]);
}

/// Stalled/OwnedByAnother names the other owner and us.
fn names_both(world: &World, kind: Kind, stalled: &Value) {
    let message = stalled["message"].as_str().unwrap().replace('_', "/");
    let theirs = mark(world, kind).unwrap();
    assert!(message.contains(&theirs), "{theirs} in {message}");
    let (object, name) = kind.object();
    let us = format!("{object}/{}/{name}", world.namespace);
    assert!(message.contains(&us), "{us} in {message}");
}

/// The name is taken in another account. Project names are shared by all; trail names are not; stores lie in projects.
fn in_another_account(kind: Kind) {
    let mut world = World::with_emulator("ownership", &["--profile=documented"]).option(LONG);
    let stranger = world.stranger();
    let project = crate::stack::project_name();
    if kind == Kind::Trail {
        let theirs = ramtrail::aliyun::ProjectName::new("strangers-audit").unwrap();
        wait(stranger.log_service.create_project(&theirs, "theirs")).unwrap();
        wait(
            stranger
                .resource_manager
                .create_service_linked_role("actiontrail.aliyuncs.com"),
        )
        .ok();
        let settings = ramtrail::aliyun::action_trail::TrailSettings::into_project(format!(
            "acs:log:{REGION}:{OTHER_ACCOUNT}:project/strangers-audit"
        ));
        wait(stranger.action_trail.create_trail(TRAIL, &settings)).unwrap();
    } else {
        wait(stranger.log_service.create_project(&project, "theirs")).unwrap();
    }
    let before = (
        cloud_project(&world, OTHER_ACCOUNT, PROJECT),
        trail_of(&world, OTHER_ACCOUNT),
    );
    apply_with_parents(&world, kind, Policy::Delete);
    world.start();
    let (object, name) = kind.object();
    if kind == Kind::Trail {
        settle(&world, kind);
        assert_eq!(origin(&world, kind), "Created");
    } else {
        let (project_object, project_name) = Kind::Project.object();
        world.condition(project_object, project_name, "Stalled", "True", "NameTaken");
        if kind == Kind::Store {
            world.condition(object, name, "Ready", "False", "WaitingForProject");
        }
        assert_eq!(writes(&world, 0), Vec::<String>::new());
    }
    delete(&world, kind);
    gone(&world, kind);
    let after = (
        cloud_project(&world, OTHER_ACCOUNT, PROJECT),
        trail_of(&world, OTHER_ACCOUNT),
    );
    assert_eq!(after, before, "what is another account's is as it was");
    let of_others: Vec<String> = world
        .journal(0)
        .iter()
        .filter(|row| row.is_ours() && row.0["account"] == OTHER_ACCOUNT)
        .map(ToString::to_string)
        .collect();
    assert_eq!(of_others, Vec::<String>::new());
}

/// What becomes of a mark after acquisition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    Removed,
    Replaced(Found),
}

const CHANGES: [Change; 7] = [
    Change::Removed,
    Change::Replaced(Found::Scribbled),
    Change::Replaced(Found::OtherObjects),
    Change::Replaced(Found::OtherNamespaces),
    Change::Replaced(Found::ReleasedByUs),
    Change::Replaced(Found::OtherClusters),
    Change::Replaced(Found::ReleasedByAnother),
];

impl Change {
    fn name(self) -> String {
        match self {
            Self::Removed => "removed".to_owned(),
            Self::Replaced(found) => format!("replaced-{}", found.name()),
        }
    }

    fn make(self, world: &World, kind: Kind) {
        match self {
            Self::Removed => unmark(world, kind),
            Self::Replaced(found) => forge(world, kind, &found.mark(world, kind).unwrap()),
        }
    }

    /// Two clusters never undo each other's marks.
    fn is_another_clusters(self) -> bool {
        matches!(
            self,
            Self::Replaced(Found::OtherClusters | Found::ReleasedByAnother)
        )
    }
}

/// A world in which the kind is settled, to be deleted in the cloud with its object.
fn settled(kind: Kind) -> World {
    let mut world = World::new("ownership").option(LONG);
    apply_with_parents(&world, kind, Policy::Delete);
    world.start();
    settle(&world, kind);
    world
}

fn call_of(kind: Kind) -> String {
    match kind {
        Kind::Project => format!("DeleteProject project/{PROJECT}"),
        Kind::Store => format!("DeleteLogStore project/{PROJECT}/logstore/{STORE}"),
        Kind::Trail => format!("DeleteTrail trail/{TRAIL}"),
    }
}

/// Deletes the object, which is ours by its mark, and with it the thing.
fn goes_with_its_thing(world: &World, kind: Kind) {
    delete(world, kind);
    gone(world, kind);
    assert_eq!(thing(world, kind), None, "{}", world.report());
    only_these_reduced(world, &[&call_of(kind)]);
}

/// Deletes the object, and nothing else.
fn goes_and_leaves(world: &World, kind: Kind) {
    let (since, before) = (world.now(), mark(world, kind));
    delete(world, kind);
    gone(world, kind);
    assert!(thing(world, kind).is_some(), "{}", world.report());
    assert_eq!(mark(world, kind), before, "{}", world.report());
    expect(world, "writes", &attempts(world, since), &[]);
    only_these_reduced(world, &[]);
}

fn mark_changes(kind: Kind, change: Change) {
    let world = settled(kind);
    let since = world.now();
    change.make(&world, kind);
    let (object, name) = kind.object();
    if change.is_another_clusters() {
        let stalled = world.condition(object, name, "Stalled", "True", "OwnedByAnother");
        let theirs = mark(&world, kind).unwrap();
        let message = stalled["message"].as_str().unwrap().replace('_', "/");
        assert!(message.contains(&theirs), "{theirs} in {message}");
        world.condition(object, name, "Protected", "False", "Tampered");
        world.resyncs(kind.read(), 2);
        expect(&world, "writes", &attempts(&world, since), &[]);
        goes_and_leaves(&world, kind);
        world.event("LeftInCloud");
        return;
    }
    world.eventually("the mark is put back", || match mark(&world, kind) {
        Some(mark) if mark == our_mark(&world, kind) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(world.event("TamperRepaired").contains("mark"));
    settle(&world, kind);
    assert_eq!(origin(&world, kind), "Created", "{}", world.report());
    goes_with_its_thing(&world, kind);
}

/// Only a fresh mark of ours lets anything be deleted.
fn mark_changes_while_down(kind: Kind, change: Change) {
    let mut world = settled(kind);
    world.stop();
    change.make(&world, kind);
    let (since, before) = (world.now(), mark(&world, kind));
    delete(&world, kind);
    world.start();
    gone(&world, kind);
    assert!(thing(&world, kind).is_some(), "{}", world.report());
    assert_eq!(mark(&world, kind), before, "{}", world.report());
    expect(&world, "writes", &attempts(&world, since), &[]);
    world.event("LeftInCloud");
    only_these_reduced(&world, &[]);
}

/// Another cluster's mark that is seen before the claim is final wins (decisions 3).
fn mark_before_confirmation(kind: Kind) {
    let mut world = World::new("ownership")
        .option(LONG)
        .option("--claim-confirmation=1h");
    apply_with_parents(&world, kind, Policy::Delete);
    world.start();
    let (object_kind, name) = kind.object();
    world.ready(object_kind, name);
    let theirs = Found::OtherClusters.mark(&world, kind).unwrap();
    forge(&world, kind, &theirs);
    let since = world.now();
    let stalled = world.condition(object_kind, name, "Stalled", "True", "OwnedByAnother");
    names_both(&world, kind, &stalled);
    world.resyncs("GetProject", 2);
    expect(&world, "writes", &attempts(&world, since), &[]);
    goes_and_leaves(&world, kind);
}

/// Another cluster: a namespace of the same API server, and an operator with another id on the same cloud.
struct Rival {
    world: World,
    operator: Operator,
}

impl Rival {
    /// Its namespace; the operator is not started yet.
    fn new() -> Self {
        let world = World::new("rival");
        let operator = Operator::new(&world);
        Self { world, operator }
    }

    /// Starts its operator on the cloud of another world.
    fn start(&mut self, cloud: &World) {
        let watch = format!("--watch-namespaces={}", self.world.namespace);
        let cluster = format!("--cluster-id={OTHER_CLUSTER}");
        self.operator.start(&cloud.emulator.url(), &[&watch, &cluster]);
    }
}

/// The two conditions that say which cluster won: Ready, and why not.
fn standing(world: &World, kind: Kind) -> (bool, String) {
    let (object, name) = kind.object();
    let conditions = world.conditions(object, name);
    let find = |type_: &str| {
        conditions
            .iter()
            .find(|condition| condition["type"] == type_)
            .cloned()
            .unwrap_or_default()
    };
    let stalled = find("Stalled");
    let reason = if stalled["status"] == "True" {
        stalled["reason"].as_str().unwrap_or_default().to_owned()
    } else {
        String::new()
    };
    (find("Ready")["status"] == "True", reason)
}

/// Two clusters declare one name at the same moment: one gets it, the other says so, and neither undoes what the other did.
fn two_clusters(kind: Kind) {
    let mut world = World::new("ownership").option(LONG);
    let mut rival = Rival::new();
    let mut theirs = project_spec(PROJECT);
    match kind {
        Kind::Project => {}
        // Stores meet within one project, which the other cluster has taken over by its own decision.
        Kind::Store => theirs["adoptionPolicy"] = json!("Always"),
        // Trails meet in the account.
        Kind::Trail => theirs = project_spec("others-audit"),
    }
    if kind != Kind::Project {
        apply(&world, Kind::Project, Policy::Retain);
        world.start();
        settle(&world, Kind::Project);
        rival.world.apply("AuditProject", PROJECT, &theirs);
        rival.start(&world);
        settle(&rival.world, Kind::Project);
    }
    apply(&world, kind, Policy::Delete);
    apply(&rival.world, kind, Policy::Delete);
    if kind == Kind::Project {
        world.start();
        rival.start(&world);
    }
    let losing = ["OwnedByAnother", "NameTaken", "AdoptionWouldReduce"];
    let won = world.eventually("one cluster has it, the other says who", || {
        let (a, b) = (standing(&world, kind), standing(&rival.world, kind));
        match (a.0, b.0) {
            (true, false) if losing.contains(&b.1.as_str()) => Ok(true),
            (false, true) if losing.contains(&a.1.as_str()) => Ok(false),
            _ => Err(format!("{a:?} {b:?}")),
        }
    });
    let (winner, loser) = if won {
        (&world, &rival.world)
    } else {
        (&rival.world, &world)
    };
    // Its project may be the other's by now.
    let (object, name) = kind.object();
    winner.settled(object, name);
    let creates = world.count(0, kind.create());
    assert_eq!(creates, 1, "one successful create\n{}", world.report());
    // Whoever marks it first has it. To have created it may claim only who did.
    let done = format!("action=\"{}\"", kind.create());
    let logs = if won { world.logs() } else { rival.operator.logs() };
    let won_by_create = logs
        .lines()
        .any(|line| line.contains(": done") && line.contains(&done));
    let expected = if won_by_create { "Created" } else { "Adopted" };
    assert_eq!(origin(winner, kind), expected, "{}", world.report());
    let since = world.now();
    world.resyncs("GetProject", 4);
    expect(&world, "writes at rest", &attempts(&world, since), &[]);
    // The loser goes without touching it.
    delete(loser, kind);
    gone(loser, kind);
    assert!(thing(&world, kind).is_some(), "{}", world.report());
    assert!(standing(winner, kind).0, "{}", world.report());
    only_these_reduced(&world, &[]);
    rival.operator.kill();
}

/// Takes an object away as the loss of a cluster does, finalizers and all, and returns it.
fn lost(world: &World, kind: Kind) -> DynamicObject {
    let api = api(world, &world.namespace, kind);
    let name = kind.object().1;
    let before = wait(api.get(name)).unwrap();
    let bare = json!({"metadata": {"finalizers": null}});
    wait(api.patch(name, &PatchParams::default(), &Patch::Merge(&bare))).unwrap();
    wait(api.delete(name, &DeleteParams::default())).unwrap();
    gone(world, kind);
    before
}

/// The same cluster id, the same objects, and nothing that is remembered: everything is taken back, as adopted.
fn rebuilt_cluster(kind: Kind) {
    let mut world = settled(kind);
    world.stop();
    lost(&world, kind);
    if kind != Kind::Project {
        lost(&world, Kind::Project);
        apply(&world, Kind::Project, Policy::Retain);
    }
    let since = world.now();
    // A mark of ours is enough, also where nothing may be taken over.
    apply_adopting(&world, kind, "Never");
    world.start();
    settle(&world, kind);
    assert_eq!(origin(&world, kind), "Adopted", "{}", world.report());
    expect(&world, "writes", &attempts(&world, since), &[]);
    delete(&world, kind);
    gone(&world, kind);
    let released = format!("released/{}", our_mark(&world, kind));
    assert_eq!(mark(&world, kind), Some(released), "{}", world.report());
    assert!(thing(&world, kind).is_some());
    only_these_reduced(&world, &[]);
}

/// The same objects under another cluster id, claims and all: the first cluster's things are looked at and left.
fn clone_with_another_id(kind: Kind) {
    let mut world = settled(kind);
    let before = mark(&world, kind);
    world.restart_with(&[LONG, "--cluster-id=clone"]);
    let since = world.now();
    let (object_kind, name) = kind.object();
    world.condition(object_kind, name, "Stalled", "True", "OwnedByAnother");
    world.resyncs(kind.read(), 2);
    expect(&world, "writes", &attempts(&world, since), &[]);
    assert_eq!(mark(&world, kind), before);
    goes_and_leaves(&world, kind);
    world.event("LeftInCloud");
}

/// A backup with its status: the objects have other UIDs, and everything else goes on.
fn clone_with_the_same_id(kind: Kind) {
    let mut world = settled(kind);
    world.stop();
    let kinds = if kind == Kind::Project {
        vec![kind]
    } else {
        vec![kind, Kind::Project]
    };
    let uid = object(&world, kind).unwrap().metadata.uid;
    for kind in kinds {
        let backup = lost(&world, kind);
        restore(&world, kind, backup);
    }
    assert_ne!(object(&world, kind).unwrap().metadata.uid, uid);
    let since = world.now();
    world.start();
    world.resyncs(kind.read(), 3);
    settle(&world, kind);
    expect(&world, "writes", &attempts(&world, since), &[]);
    assert_eq!(origin(&world, kind), "Created");
    goes_with_its_thing(&world, kind);
}

fn restore(world: &World, kind: Kind, mut backup: DynamicObject) {
    let api = api(world, &world.namespace, kind);
    let meta = &mut backup.metadata;
    (meta.uid, meta.resource_version, meta.creation_timestamp) = (None, None, None);
    (meta.managed_fields, meta.generation) = (None, None);
    let status = json!({"status": backup.data["status"]});
    wait(api.create(&PostParams::default(), &backup)).unwrap();
    let name = kind.object().1;
    wait(api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))).unwrap();
}

/// Another object with the same external name.
const DUPLICATE: &str = "duplicate";

/// Applies a duplicate in a namespace. Its trail delivers into a project of its own, where it has to.
fn apply_duplicate(world: &World, namespace: &str, kind: Kind, changes: &Value) {
    let mut spec = match kind {
        Kind::Trail if namespace != world.namespace => {
            let mut spec = trail_spec(&json!({}));
            spec["projectRef"]["name"] = json!("second-project");
            spec
        }
        _ => kind.spec(&json!({})),
    };
    if kind == Kind::Store {
        spec["logStoreName"] = json!(STORE);
    }
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    put(world, namespace, kind, DUPLICATE, &spec).unwrap();
}

/// Waits until a condition of the duplicate is True with a reason.
fn duplicate_says(world: &World, namespace: &str, kind: Kind, type_: &str, reason: &str) {
    says(world, namespace, kind, DUPLICATE, type_, "True", reason);
}

fn duplicate_goes(world: &World, namespace: &str, kind: Kind) {
    let api = api(world, namespace, kind);
    wait(api.delete(DUPLICATE, &DeleteParams::default())).unwrap();
    world.eventually("the duplicate is gone", || {
        wait(api.get_opt(DUPLICATE))
            .unwrap()
            .map_or(Ok(()), |object| Err(format!("{:#}", object.data)))
    });
}

fn duplicate_in_the_namespace(kind: Kind) {
    let world = settled(kind);
    let namespace = world.namespace.clone();
    duplicate_is_refused(&world, &namespace, kind);
}

fn duplicate_in_another_namespace(kind: Kind) {
    let second = second_namespace();
    let mut world = World::new("ownership")
        .option(LONG)
        .option(&format!("--watch-namespaces={second}"));
    apply_with_parents(&world, kind, Policy::Delete);
    write_secret(&world, &second, CREDENTIALS, KEY, SECRET);
    world.start();
    settle(&world, kind);
    match kind {
        Kind::Project => {}
        Kind::Store => put(&world, &second, Kind::Project, PROJECT, &project_spec(PROJECT)).unwrap(),
        Kind::Trail => {
            let name = "second-project";
            put(&world, &second, Kind::Project, name, &project_spec(name)).unwrap();
        }
    }
    duplicate_is_refused(&world, &second, kind);
}

/// The younger object gets nothing, and its deletion takes nothing.
fn duplicate_is_refused(world: &World, namespace: &str, kind: Kind) {
    let (before, marked) = (thing(world, kind), mark(world, kind));
    apply_duplicate(
        world,
        namespace,
        kind,
        &json!({"deletionPolicy": "Delete", "adoptionPolicy": "Always"}),
    );
    duplicate_says(world, namespace, kind, "Stalled", "DuplicateOf");
    duplicate_goes(world, namespace, kind);
    world.resyncs(kind.read(), 2);
    assert_eq!(thing(world, kind), before);
    assert_eq!(mark(world, kind), marked);
    settle(world, kind);
    assert_eq!(world.count(0, kind.delete()), 0, "{}", world.report());
    only_these_reduced(world, &[]);
}

/// Holds a call of the operator before it runs.
fn hold(world: &World, action: &str) {
    let fault = json!({"match": {"action": action, "caller": crate::support::USER}, "fault": {"kind": "hold-before"}});
    world.emulator.add_fault(&fault).unwrap();
}

fn until_held(world: &World) {
    world.eventually("the call is held", || {
        let faults = world.emulator.get("faults").unwrap();
        (faults["faults"][0]["holding"] == 1)
            .then_some(())
            .ok_or(faults.to_string())
    });
}

/// The holder is being deleted, and its thing with it: the next one waits, then makes its own.
fn handover_of_what_is_deleted(kind: Kind) {
    let world = settled(kind);
    let namespace = world.namespace.clone();
    apply_duplicate(&world, &namespace, kind, &json!({"deletionPolicy": "Retain"}));
    duplicate_says(&world, &namespace, kind, "Stalled", "DuplicateOf");
    hold(&world, kind.delete());
    delete(&world, kind);
    until_held(&world);
    duplicate_says(&world, &namespace, kind, "Reconciling", "WaitingForOwner");
    assert_eq!(world.count(0, kind.create()), 1, "{}", world.report());
    world.emulator.remove_faults().unwrap();
    gone(&world, kind);
    let next = settled_duplicate(&world, &namespace, kind);
    assert_eq!(next["status"]["claim"]["origin"], "Created", "{}", world.report());
    assert_eq!(world.count(0, kind.create()), 2, "{}", world.report());
    let theirs = mark_of(CLUSTER, kind, &namespace, DUPLICATE);
    assert_eq!(mark(&world, kind), Some(theirs));
    only_these_reduced(&world, &[&call_of(kind)]);
}

fn settled_duplicate(world: &World, namespace: &str, kind: Kind) -> Value {
    let api = api(world, namespace, kind);
    world.eventually("the duplicate has it", || {
        let object = wait(api.get(DUPLICATE)).map_err(|error| error.to_string())?;
        let claim = &object.data["status"]["claim"];
        let text = format!("{:#}", object.data);
        (claim["confirmed"] == true).then_some(object.data).ok_or(text)
    })
}

/// The holder is being deleted and its thing stays: released, it is another owner's still.
fn handover_of_what_is_retained(kind: Kind, adoption: &str) {
    let mut world = World::new("ownership").option(LONG);
    apply_with_parents(&world, kind, Policy::Retain);
    world.start();
    settle(&world, kind);
    let namespace = world.namespace.clone();
    apply_duplicate(
        &world,
        &namespace,
        kind,
        &json!({"deletionPolicy": "Delete", "adoptionPolicy": adoption}),
    );
    duplicate_says(&world, &namespace, kind, "Stalled", "DuplicateOf");
    hold(&world, "TagResources");
    delete(&world, kind);
    until_held(&world);
    duplicate_says(&world, &namespace, kind, "Reconciling", "WaitingForOwner");
    world.emulator.remove_faults().unwrap();
    gone(&world, kind);
    if adoption == "Always" {
        let next = settled_duplicate(&world, &namespace, kind);
        assert_eq!(next["status"]["claim"]["origin"], "Adopted", "{}", world.report());
        let theirs = mark_of(CLUSTER, kind, &namespace, DUPLICATE);
        assert_eq!(mark(&world, kind), Some(theirs));
    } else {
        duplicate_says(&world, &namespace, kind, "Stalled", "OwnedByAnother");
        assert_eq!(
            mark(&world, kind),
            Some(format!("released/{}", our_mark(&world, kind)))
        );
    }
    duplicate_goes(&world, &namespace, kind);
    assert!(thing(&world, kind).is_some());
    assert_eq!(world.count(0, kind.create()), 1, "{}", world.report());
    only_these_reduced(&world, &[]);
    assert_eq!(cloud_project(&world, ACCOUNT, "second-project"), None);
}
