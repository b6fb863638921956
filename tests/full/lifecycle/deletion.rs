//! The deletion matrix: every way in which access, things and objects may be missing when an object is deleted. Each deletion
//! ends, and deletes in the cloud what is ours and asked for, and nothing else.

use std::time::{Duration, Instant};

use kube::api::ListParams;
use ramtrail::aliyun::ProjectName;
use serde_json::{Value, json};

use crate::points::Point;
use crate::stack::{
    KINDS, Kind, POLICIES, Policy, all_calls, api, apply, apply_with_parents, attempts, changes,
    cloud_project, delete, deleted_by_somebody, expect, forge, gone, gone_after, lose_credentials,
    made_by_somebody, mark, object, only_these_reduced, origin, our_mark, settle, shown, somebodys_store,
    thing, writes,
};
use crate::support::{ACCOUNT, CREDENTIALS, KEY, OTHER_ACCOUNT, SECRET, World, wait};
use crate::trail_support::{self, PROJECT, STORE, TRAIL, copy_to};

/// What a cell does.
type Run = fn(Kind);

/// The grace of worlds in which a deletion has to wait for it.
const GRACE: Duration = Duration::from_secs(2);
/// The flag for it.
const SHORT: &str = "--deletion-grace=2s";
/// The flag of worlds in which a deletion may not need it: whoever waits for it hangs.
const LONG: &str = "--deletion-grace=1h";
/// Somebody's project in the same account; no point may touch it.
const BYSTANDER: &str = "somebodys-project";

/// What is left of the kind's thing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Left {
    /// It is deleted.
    Nothing,
    /// It is there, with its mark rewritten to released.
    Released,
    /// It is there, mark and all, as it was.
    Untouched,
}

/// One deletion: what was before, and the judgement after.
struct Deletion {
    world: World,
    kind: Kind,
    since: u64,
    marked: Option<String>,
    asked: Instant,
}

impl Deletion {
    /// A world in which the kind is settled.
    fn settled(kind: Kind, policy: Policy, grace: &str) -> World {
        let mut world = Self::prepared(grace);
        apply_with_parents(&world, kind, policy);
        world.start();
        settle(&world, kind);
        world
    }

    /// A world with a bystander.
    fn prepared(grace: &str) -> World {
        let world = World::new("deletion").option(grace);
        let name = ProjectName::new(BYSTANDER).unwrap();
        wait(world.intruder().log_service.create_project(&name, "not yours")).unwrap();
        world
    }

    /// Asks for the deletion of the kind's object.
    fn ask(world: World, kind: Kind) -> Self {
        let (since, marked) = (world.now(), mark(&world, kind));
        delete(&world, kind);
        Self {
            world,
            kind,
            since,
            marked,
            asked: Instant::now(),
        }
    }

    /// Waits for the end, which may not need the grace.
    fn goes(self, left: Left) {
        gone(&self.world, self.kind);
        self.judge(left);
    }

    /// Waits for the end, which comes with the grace and leaves everything.
    fn goes_with_the_grace(self) {
        gone_after(&self.world, self.kind, self.asked, GRACE);
        self.is_told("LeftInCloud");
        self.judge(Left::Untouched);
    }

    fn is_told(&self, reason: &str) {
        let note = self.world.event(reason);
        let name = self.kind.object().1;
        assert!(note.contains(name), "{reason} names what is left: {note}");
    }

    fn judge(&self, left: Left) {
        let Self { world, kind, .. } = self;
        let found = thing(world, *kind);
        let call = format!("{} {}", kind.delete(), resource(*kind));
        match left {
            Left::Nothing => {
                assert_eq!(found, None, "it is deleted\n{}", world.report());
                expect(world, "changes", &changes(world, self.since), &[&call]);
                only_these_reduced(world, &[&call]);
                self.is_told("Deleted");
            }
            Left::Released => {
                assert!(found.is_some(), "it is kept\n{}", world.report());
                let released = format!("released/{}", our_mark(world, *kind));
                assert_eq!(mark(world, *kind), Some(released), "{}", world.report());
                expect(world, "changes", &changes(world, self.since), &[]);
                only_these_reduced(world, &[]);
                self.is_told("Retained");
            }
            Left::Untouched => {
                assert!(found.is_some(), "it is kept\n{}", world.report());
                assert_eq!(mark(world, *kind), self.marked, "{}", world.report());
                expect(world, "writes", &writes(world, self.since), &[]);
                only_these_reduced(world, &[]);
            }
        }
        bystander_is_untouched(world);
    }
}

fn bystander_is_untouched(world: &World) {
    let found = cloud_project(world, ACCOUNT, BYSTANDER).expect("the bystander is there");
    assert_eq!(found["tags"], json!({}), "{found}");
    assert_eq!(found["description"], "not yours", "{found}");
}

fn resource(kind: Kind) -> String {
    match kind {
        Kind::Project => format!("project/{PROJECT}"),
        Kind::Store => format!("project/{PROJECT}/logstore/{STORE}"),
        Kind::Trail => format!("trail/{TRAIL}"),
    }
}

/// What a deletion that settles the cloud side leaves.
fn settled_by(policy: Policy) -> Left {
    match policy {
        Policy::Retain => Left::Released,
        Policy::Delete => Left::Nothing,
    }
}

/// The matrix.
pub fn points() -> Vec<Point> {
    let mut points = Vec::new();
    for kind in KINDS {
        for policy in POLICIES {
            for (name, cell) in CELLS {
                points.push(Point::new(
                    format!("deletion/{kind}/{policy}/{name}"),
                    move || cell(kind, policy),
                ));
            }
            for (name, lost) in LOSSES {
                points.push(Point::new(
                    format!("deletion/{kind}/{policy}/{name}"),
                    move || access_is_lost(kind, policy, *lost),
                ));
            }
            if kind != Kind::Project {
                points.push(Point::new(
                    format!("deletion/{kind}/{policy}/project-object-first"),
                    move || project_object_first(kind, policy),
                ));
                points.push(Point::new(
                    format!("deletion/{kind}/{policy}/project-gone-in-the-cloud"),
                    move || project_gone_in_the_cloud(kind, policy),
                ));
            }
        }
        let only_delete: [(&str, Run); 4] = [
            ("hung-cloud", hung_cloud),
            ("forbidden-after-gone", forbidden_after_gone),
            ("adopted", adopted),
            ("made-again-with-our-mark", made_again_with_our_mark),
        ];
        for (name, cell) in only_delete {
            points.push(Point::new(format!("deletion/{kind}/delete/{name}"), move || {
                cell(kind);
            }));
        }
    }
    points.extend(holdings());
    points.extend(orders());
    // What takes longest goes first.
    points.sort_by_key(|point| !point.is_called("hung-cloud"));
    points
}

type Cell = fn(Kind, Policy);

const CELLS: &[(&str, Cell)] = &[
    ("never-created", never_created),
    ("create-refused", create_refused),
    ("already-gone", already_gone),
    ("abandoned", abandoned),
    ("abandoned-without-access", abandoned_without_access),
    ("paused", paused),
    ("observed", observed),
    ("namespace", namespace),
    ("namespace-without-credentials", namespace_without_credentials),
    ("operator-uninstalled", operator_uninstalled),
    ("operator-reinstalled", operator_reinstalled),
];

/// How access is lost for good.
type Loss = fn(&World);

const LOSSES: &[(&str, Loss)] = &[
    ("credentials-first", lose_credentials),
    ("credentials-unlabelled", |world| {
        world.write_secret(CREDENTIALS, KEY, SECRET, false);
    }),
    ("wrong-secret", |world| {
        world.write_secret(CREDENTIALS, KEY, "anotherSecretThatIsNotRight0001", true);
    }),
    ("unknown-key", |world| {
        world.write_secret(CREDENTIALS, "LTAInobodysKey000000001", SECRET, true);
    }),
    ("other-account", |world| {
        let all = json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]);
        world.add_user("LTAIswappedKey000000001", OTHER_ACCOUNT, "swapped", &all);
        world.write_secret(CREDENTIALS, "LTAIswappedKey000000001", SECRET, true);
    }),
    ("no-permission", |world| {
        may_only(world, &json!({"Effect": "Deny", "Action": "*", "Resource": "*"}));
    }),
    ("read-only", |world| may_only(world, &reads_only())),
    ("unreachable", |world| {
        let fault = all_calls(&json!({"kind": "drop-before"}));
        world.emulator.add_fault(&fault).unwrap();
    }),
    ("unavailable", |world| {
        let fault = json!({"kind": "status", "status": 503, "code": "ServerBusy", "message": "busy"});
        world.emulator.add_fault(&all_calls(&fault)).unwrap();
    }),
    ("throttled", |world| {
        let fault = all_calls(&json!({"kind": "throttle"}));
        world.emulator.add_fault(&fault).unwrap();
    }),
];

fn reads_only() -> Value {
    let actions = [
        "log:Get*",
        "log:List*",
        "actiontrail:Get*",
        "actiontrail:Describe*",
    ];
    json!({"Effect": "Allow", "Action": actions, "Resource": "*"})
}

/// Other keys for the operator, of a user with this statement and nothing else.
fn may_only(world: &World, statement: &Value) {
    world.add_user("LTAIpoorKey000000000001", ACCOUNT, "poor", &json!([statement]));
    world.write_secret(CREDENTIALS, "LTAIpoorKey000000000001", SECRET, true);
}

/// Access is lost, then the object is deleted: it goes with the grace, and what it held is left and named.
fn access_is_lost(kind: Kind, policy: Policy, lost: Loss) {
    let world = Deletion::settled(kind, policy, SHORT);
    lost(&world);
    let deletion = Deletion::ask(world, kind);
    deletion.goes_with_the_grace();
}

/// There never were credentials: no call, no wait.
fn never_created(kind: Kind, policy: Policy) {
    let mut world = Deletion::prepared(LONG);
    lose_credentials(&world);
    apply_with_parents(&world, kind, policy);
    world.start();
    let (object, name) = Kind::Project.object();
    world.condition(object, name, "Stalled", "True", "CredentialsNotFound");
    let (object, name) = kind.object();
    world.eventually("the first status is written", || {
        if world.conditions(object, name).is_empty() {
            Err("no conditions".to_owned())
        } else {
            Ok(())
        }
    });
    let deletion = Deletion::ask(world, kind);
    gone(&deletion.world, kind);
    expect(&deletion.world, "writes", &attempts(&deletion.world, 0), &[]);
    assert_eq!(thing(&deletion.world, kind), None);
    bystander_is_untouched(&deletion.world);
}

/// Its creation was refused: nothing of ours exists, so nothing is waited for.
fn create_refused(kind: Kind, policy: Policy) {
    let mut world = Deletion::prepared(LONG);
    if kind != Kind::Project {
        apply(&world, Kind::Project, Policy::Retain);
        world.start();
        settle(&world, Kind::Project);
    }
    may_only(&world, &reads_only());
    apply(&world, kind, policy);
    if kind == Kind::Project {
        world.start();
    }
    let (object, name) = kind.object();
    world.condition(object, name, "Stalled", "True", "Denied");
    let deletion = Deletion::ask(world, kind);
    gone(&deletion.world, kind);
    assert_eq!(thing(&deletion.world, kind), None);
    expect(
        &deletion.world,
        "writes",
        &writes(&deletion.world, deletion.since),
        &[],
    );
    only_these_reduced(&deletion.world, &[]);
}

/// Somebody deleted it while no operator ran, and then the object was deleted.
fn already_gone(kind: Kind, policy: Policy) {
    let mut world = Deletion::settled(kind, policy, LONG);
    world.stop();
    deleted_by_somebody(&world, kind);
    let mut deletion = Deletion::ask(world, kind);
    deletion.world.start();
    gone(&deletion.world, kind);
    assert_eq!(thing(&deletion.world, kind), None);
    let world = &deletion.world;
    expect(world, "changes", &changes(world, deletion.since), &[]);
    only_these_reduced(world, &[]);
    bystander_is_untouched(world);
}

fn abandon(world: &World, kind: Kind) {
    let (object, name) = kind.object();
    world.annotate(object, name, "ramtrail.io/abandon", Some("true"));
}

fn abandoned(kind: Kind, policy: Policy) {
    let world = Deletion::settled(kind, policy, LONG);
    abandon(&world, kind);
    let deletion = Deletion::ask(world, kind);
    gone(&deletion.world, kind);
    deletion.is_told("LeftInCloud");
    deletion.judge(Left::Untouched);
}

/// The deletion waits, and the person decides not to.
fn abandoned_without_access(kind: Kind, policy: Policy) {
    let world = Deletion::settled(kind, policy, LONG);
    lose_credentials(&world);
    let deletion = Deletion::ask(world, kind);
    let (object, name) = kind.object();
    let world = &deletion.world;
    world.condition(object, name, "Stalled", "True", "CredentialsNotFound");
    abandon(world, kind);
    gone(world, kind);
    deletion.is_told("LeftInCloud");
    deletion.judge(Left::Untouched);
}

/// A paused object stays until it may go on, and then goes as its policy says.
fn paused(kind: Kind, policy: Policy) {
    let world = Deletion::settled(kind, policy, LONG);
    let (object_kind, name) = kind.object();
    world.annotate(object_kind, name, "ramtrail.io/paused", Some("true"));
    world.condition(object_kind, name, "Ready", "Unknown", "Paused");
    let deletion = Deletion::ask(world, kind);
    let world = &deletion.world;
    world.eventually("it says that it is being deleted and paused", || {
        let found = object(world, kind).ok_or("it went")?;
        let said = found.data["status"]["conditions"].to_string();
        said.contains("Being deleted and paused")
            .then_some(())
            .ok_or(said)
    });
    expect(world, "writes", &attempts(world, deletion.since), &[]);
    world.annotate(object_kind, name, "ramtrail.io/paused", None);
    deletion.goes(settled_by(policy));
}

/// What is only looked at is left as it is.
fn observed(kind: Kind, policy: Policy) {
    let world = Deletion::settled(kind, policy, LONG);
    let (object_kind, name) = kind.object();
    world.patch_spec(object_kind, name, &json!({"managementPolicy": "Observe"}));
    world.condition(object_kind, name, "Protected", "False", "ObserveOnly");
    let deletion = Deletion::ask(world, kind);
    deletion.goes(Left::Untouched);
}

/// The namespace goes, with everything in it in any order; how far the cloud side is settled depends on whether the Secret is
/// deleted first.
fn namespace(kind: Kind, policy: Policy) {
    let world = Deletion::settled(kind, policy, LONG);
    let since = world.now();
    world.delete_namespace();
    for kind in [kind, Kind::Project] {
        gone(&world, kind);
    }
    namespace_is_empty(&world);
    let deletions = changes(&world, since);
    let call = format!("{} {}", kind.delete(), resource(kind));
    if thing(&world, kind).is_none() {
        assert_eq!(policy, Policy::Delete, "{}", world.report());
        expect(&world, "changes", &deletions, &[&call]);
        only_these_reduced(&world, &[&call]);
    } else {
        expect(&world, "changes", &deletions, &[]);
        only_these_reduced(&world, &[]);
    }
    bystander_is_untouched(&world);
}

fn namespace_is_empty(world: &World) {
    for kind in KINDS {
        let all = wait(api(world, &world.namespace, kind).list(&ListParams::default())).unwrap();
        assert!(all.items.is_empty(), "{kind} objects are left");
    }
}

fn namespace_without_credentials(kind: Kind, policy: Policy) {
    let world = Deletion::settled(kind, policy, LONG);
    lose_credentials(&world);
    let (since, marked) = (world.now(), mark(&world, kind));
    world.delete_namespace();
    for kind in [kind, Kind::Project] {
        gone(&world, kind);
    }
    namespace_is_empty(&world);
    world.event("LeftInCloud");
    expect(&world, "writes", &attempts(&world, since), &[]);
    assert!(thing(&world, kind).is_some());
    assert_eq!(mark(&world, kind), marked);
    only_these_reduced(&world, &[]);
}

/// Without an operator a deleted object waits; the next operator finishes it.
fn operator_uninstalled(kind: Kind, policy: Policy) {
    let mut world = Deletion::settled(kind, policy, LONG);
    world.stop();
    let mut deletion = Deletion::ask(world, kind);
    let left = object(&deletion.world, kind).expect("its finalizer holds it");
    assert!(left.metadata.deletion_timestamp.is_some());
    deletion.world.start();
    deletion.goes(settled_by(policy));
}

/// An operator that comes back finds everything as it was, and writes nothing.
fn operator_reinstalled(kind: Kind, policy: Policy) {
    let mut world = Deletion::settled(kind, policy, LONG);
    world.stop();
    let before = object(&world, kind).unwrap();
    let since = world.now();
    world.start();
    world.resyncs(kind.read(), 3);
    expect(&world, "writes", &attempts(&world, since), &[]);
    let after = object(&world, kind).unwrap();
    assert_eq!(after.data["status"]["claim"], before.data["status"]["claim"]);
    assert_eq!(after.metadata.finalizers, before.metadata.finalizers);
    let deletion = Deletion::ask(world, kind);
    deletion.goes(settled_by(policy));
}

/// The AuditProject goes first, and its credentials with it: a child that is to be retained goes at once, one that is to be
/// deleted waits for it to come back, for the grace.
fn project_object_first(kind: Kind, policy: Policy) {
    let grace = if policy == Policy::Retain { LONG } else { SHORT };
    let world = Deletion::settled(kind, policy, grace);
    delete(&world, Kind::Project);
    gone(&world, Kind::Project);
    let deletion = Deletion::ask(world, kind);
    if policy == Policy::Retain {
        gone(&deletion.world, kind);
        deletion.is_told("LeftInCloud");
        deletion.judge(Left::Untouched);
    } else {
        deletion.goes_with_the_grace();
    }
}

/// Somebody deleted the project in the cloud: a store is gone with it, a trail is not, and nothing proves it ours any more.
fn project_gone_in_the_cloud(kind: Kind, policy: Policy) {
    let mut world = Deletion::settled(kind, policy, LONG);
    world.stop();
    deleted_by_somebody(&world, Kind::Project);
    let mut deletion = Deletion::ask(world, kind);
    deletion.world.start();
    gone(&deletion.world, kind);
    let world = &deletion.world;
    expect(world, "writes", &writes(world, deletion.since), &[]);
    only_these_reduced(world, &[]);
    assert_eq!(thing(world, kind).is_some(), kind == Kind::Trail);
    if kind == Kind::Trail {
        deletion.is_told("LeftInCloud");
    }
}

/// The cloud takes connections and never answers.
fn hung_cloud(kind: Kind) {
    let world = Deletion::settled(kind, Policy::Delete, SHORT);
    let fault = json!({"match": {"times": 0, "isWrite": false, "caller": crate::support::USER}, "fault": {"kind": "hold-before"}});
    world.emulator.add_fault(&fault).unwrap();
    let mut deletion = Deletion::ask(world, kind);
    // Each visit takes as long as its calls may: the deadline of this wait is two of them and more.
    let until = Instant::now() + Duration::from_secs(400);
    while object(&deletion.world, kind).is_some() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(500));
    }
    // What still waits for an answer would make an orderly end fail.
    deletion.world.kill();
    deletion.goes_with_the_grace();
}

/// The answer to the deletion is lost, and from then on the cloud says that we may not look.
fn forbidden_after_gone(kind: Kind) {
    let grace = if kind == Kind::Trail { SHORT } else { LONG };
    let world = Deletion::settled(kind, Policy::Delete, grace);
    let held = json!({"match": {"action": kind.delete(), "caller": crate::support::USER}, "fault": {"kind": "hold-after"}});
    world.emulator.add_fault(&held).unwrap();
    let deletion = Deletion::ask(world, kind);
    let world = &deletion.world;
    world.eventually("the deletion was made and its answer is held", || {
        let faults = world.emulator.get("faults").unwrap();
        (faults["faults"][0]["holding"] == 1)
            .then_some(())
            .ok_or(faults.to_string())
    });
    let refused = json!({"kind": "status", "status": 403, "code": "Unauthorized", "message": "denied by sts or ram, action: log:GetProject, resource: acs:log:cn-hangzhou:1234567890123456:project/ai-audit"});
    world.emulator.add_fault(&all_calls(&refused)).unwrap();
    gone(world, kind);
    assert_eq!(thing(world, kind), None);
    let call = format!("{} {}", kind.delete(), resource(kind));
    expect(world, "changes", &changes(world, deletion.since), &[&call]);
    only_these_reduced(world, &[&call]);
    bystander_is_untouched(world);
}

/// What was there before is never deleted, whatever the policy says.
fn adopted(kind: Kind) {
    let mut world = Deletion::prepared(LONG);
    if kind == Kind::Project {
        made_by_somebody(&world, kind);
    } else {
        apply(&world, Kind::Project, Policy::Retain);
    }
    world.start();
    if kind != Kind::Project {
        settle(&world, Kind::Project);
        made_by_somebody(&world, kind);
    }
    shown(&world, kind);
    apply(&world, kind, Policy::Delete);
    settle(&world, kind);
    assert_eq!(origin(&world, kind), "Adopted");
    let deletion = Deletion::ask(world, kind);
    deletion.goes(Left::Released);
}

/// Ours was deleted, and somebody made another one with our mark on it, while no operator ran.
fn made_again_with_our_mark(kind: Kind) {
    let mut world = Deletion::settled(kind, Policy::Delete, LONG);
    world.stop();
    let mark = our_mark(&world, kind);
    world.emulator.jump(Duration::from_secs(3600)).unwrap();
    deleted_by_somebody(&world, kind);
    made_by_somebody(&world, kind);
    forge(&world, kind, &mark);
    let mut deletion = Deletion::ask(world, kind);
    deletion.world.start();
    deletion.goes(Left::Released);
}

/// A project that holds what is not to go: it stays, released, and names what it holds.
fn holdings() -> Vec<Point> {
    let table: [(&str, &[Held]); 4] = [
        ("retained-store", &[Held::Retained]),
        ("foreign-store", &[Held::Foreign]),
        ("actiontrail-store", &[Held::OfATrail]),
        (
            "all-three-stores",
            &[Held::Retained, Held::Foreign, Held::OfATrail],
        ),
    ];
    table
        .into_iter()
        .map(|(name, held)| {
            Point::new(format!("deletion/project/delete/holds-{name}"), move || {
                project_holds(held);
            })
        })
        .collect()
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Held {
    Retained,
    Foreign,
    OfATrail,
}

fn project_holds(held: &[Held]) {
    let mut world = Deletion::prepared(LONG);
    apply(&world, Kind::Project, Policy::Delete);
    world.start();
    settle(&world, Kind::Project);
    let mut children = Vec::new();
    let mut names = Vec::new();
    for held in held {
        match held {
            Held::Retained => {
                apply(&world, Kind::Store, Policy::Retain);
                children.push(Kind::Store);
                names.push(STORE.to_owned());
            }
            Held::OfATrail => {
                apply(&world, Kind::Trail, Policy::Delete);
                children.push(Kind::Trail);
                names.push(format!("actiontrail_{TRAIL}"));
            }
            Held::Foreign => {
                somebodys_store(&world, "somebodys-logs");
                names.push("somebodys-logs".to_owned());
            }
        }
    }
    for child in &children {
        settle(&world, *child);
    }
    for child in &children {
        delete(&world, *child);
        gone(&world, *child);
    }
    let deletion = Deletion::ask(world, Kind::Project);
    gone(&deletion.world, Kind::Project);
    let world = &deletion.world;
    let note = world.event("ProjectLeftNotEmpty");
    for name in &names {
        assert!(note.contains(name.as_str()), "{name} in {note}");
        assert!(
            !thing(world, Kind::Project).unwrap()["stores"][name].is_null(),
            "{name} is there"
        );
    }
    let released = format!("released/{}", our_mark(world, Kind::Project));
    assert_eq!(mark(world, Kind::Project), Some(released));
    let of_the_trail = format!("DeleteTrail {}", resource(Kind::Trail));
    let expected: &[&str] = if held.contains(&Held::OfATrail) {
        &[&of_the_trail]
    } else {
        &[]
    };
    only_these_reduced(world, expected);
    bystander_is_untouched(world);
}

/// A stack and the order in which its objects are deleted.
#[derive(Clone, Debug)]
struct Order {
    policies: Vec<(Kind, Policy)>,
    kinds: Vec<Kind>,
    pace: Pace,
}

/// How the objects of a stack are deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pace {
    /// Each when the one before is gone.
    OneByOne,
    /// All while no operator runs.
    WhileDown,
    /// One request after the other, as `kubectl delete -f` with the project first in the file.
    Together,
}

/// All orders in which the objects of a stack are deleted, one after the other, all while no operator runs, and all within a
/// moment with the project first; with every policy each.
fn orders() -> Vec<Point> {
    let mut points = Vec::new();
    for kinds in [vec![Kind::Project, Kind::Store], KINDS.to_vec()] {
        for policies in all_policies(&kinds) {
            let named: Vec<String> = policies
                .iter()
                .map(|(kind, policy)| format!("{}{}", initial(kind), initial(policy)))
                .collect();
            let mut sequences: Vec<(String, Vec<Kind>, Pace)> = permutations(&kinds)
                .into_iter()
                .map(|order| {
                    let name: String = order.iter().map(initial).collect();
                    (name, order, Pace::OneByOne)
                })
                .collect();
            sequences.push(("at-once".to_owned(), kinds.clone(), Pace::WhileDown));
            sequences.push(("file-order".to_owned(), kinds.clone(), Pace::Together));
            for (name, kinds, pace) in sequences {
                let order = Order {
                    policies: policies.clone(),
                    kinds,
                    pace,
                };
                points.push(Point::new(
                    format!("deletion/stack/{}/{name}", named.join("-")),
                    move || stack_goes(&order),
                ));
            }
        }
    }
    points
}

fn initial(name: &impl ToString) -> char {
    name.to_string().chars().next().unwrap()
}

fn all_policies(kinds: &[Kind]) -> Vec<Vec<(Kind, Policy)>> {
    kinds.iter().fold(vec![Vec::new()], |all, kind| {
        all.iter()
            .flat_map(|before| {
                POLICIES.map(|policy| {
                    let mut more = before.clone();
                    more.push((*kind, policy));
                    more
                })
            })
            .collect()
    })
}

fn permutations(kinds: &[Kind]) -> Vec<Vec<Kind>> {
    if kinds.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in kinds.iter().enumerate() {
        let mut rest = kinds.to_vec();
        rest.remove(at);
        for mut order in permutations(&rest) {
            order.insert(0, *first);
            all.push(order);
        }
    }
    all
}

impl Order {
    fn policy(&self, kind: Kind) -> Policy {
        self.policies.iter().find(|(found, _)| *found == kind).unwrap().1
    }

    fn has_trail(&self) -> bool {
        self.kinds.contains(&Kind::Trail)
    }

    /// Whether the AuditProject was gone when this one was deleted.
    fn orphaned(&self, kind: Kind) -> bool {
        let position = |kind| self.kinds.iter().position(|found| *found == kind);
        self.pace == Pace::OneByOne && position(Kind::Project) < position(kind)
    }

    /// What is left of a child, where that is settled. Deleted all at once, a child that is retained may find its project gone.
    fn left(&self, kind: Kind) -> Option<Left> {
        match self.policy(kind) {
            _ if self.orphaned(kind) => Some(Left::Untouched),
            Policy::Delete => Some(Left::Nothing),
            Policy::Retain if self.pace != Pace::OneByOne => None,
            Policy::Retain => Some(Left::Released),
        }
    }

    /// The deletions that this order may make, in their order.
    fn deletions(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut kinds = self.kinds.clone();
        if self.pace != Pace::OneByOne {
            kinds.reverse();
        }
        for kind in kinds {
            if kind == Kind::Project {
                let empty = !self.has_trail() && self.left(Kind::Store) == Some(Left::Nothing);
                if self.policy(kind) == Policy::Delete && empty {
                    all.push(format!("DeleteProject {}", resource(kind)));
                }
            } else if self.left(kind) == Some(Left::Nothing) {
                if kind == Kind::Trail {
                    all.push(format!("DeleteETL project/{PROJECT}/job/ramtrail-{TRAIL}"));
                }
                all.push(format!("{} {}", kind.delete(), resource(kind)));
            }
        }
        all
    }
}

fn stack_goes(order: &Order) {
    // Only an orphan that is to be deleted needs the grace.
    let waits = order
        .kinds
        .iter()
        .any(|kind| *kind != Kind::Project && order.orphaned(*kind) && order.policy(*kind) == Policy::Delete);
    let mut world = Deletion::prepared(if waits { SHORT } else { LONG });
    trail_support::prepare(&world);
    for (kind, policy) in &order.policies {
        let (object, name) = kind.object();
        let mut changes = json!({"deletionPolicy": policy.as_str()});
        if *kind == Kind::Trail {
            changes["copyTo"] = copy_to();
        }
        world.apply(object, name, &kind.spec(&changes));
    }
    world.start();
    for (kind, _) in &order.policies {
        settle(&world, *kind);
    }
    let marks: Vec<Option<String>> = KINDS.iter().map(|kind| mark(&world, *kind)).collect();
    if order.pace == Pace::WhileDown {
        world.stop();
    }
    for kind in &order.kinds {
        delete(&world, *kind);
        if order.pace == Pace::OneByOne {
            gone(&world, *kind);
        }
    }
    if order.pace == Pace::WhileDown {
        world.start();
    }
    for kind in &order.kinds {
        gone(&world, *kind);
    }
    let deletions = order.deletions();
    let expected: Vec<&str> = deletions.iter().map(String::as_str).collect();
    only_these_reduced(&world, &expected);
    for (kind, before) in KINDS.into_iter().zip(marks).skip(1) {
        if !order.kinds.contains(&kind) {
            continue;
        }
        let found = thing(&world, kind);
        let ours = our_mark(&world, kind);
        match order.left(kind) {
            Some(Left::Nothing) => assert_eq!(found, None, "{kind}\n{}", world.report()),
            Some(Left::Released) => {
                assert_eq!(
                    mark(&world, kind),
                    Some(format!("released/{ours}")),
                    "{kind}\n{}",
                    world.report()
                );
            }
            Some(Left::Untouched) => assert_eq!(mark(&world, kind), before, "{kind}\n{}", world.report()),
            None => assert!(found.is_some(), "{kind}\n{}", world.report()),
        }
    }
    let project_goes = expected.iter().any(|call| call.starts_with("DeleteProject"));
    assert_eq!(thing(&world, Kind::Project).is_none(), project_goes);
    if order.policy(Kind::Project) == Policy::Delete && !project_goes {
        world.event("ProjectLeftNotEmpty");
    }
    bystander_is_untouched(&world);
}
