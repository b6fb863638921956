//! The tenancy matrix: what one namespace may not do with the operator's identity, with another's Secrets and objects, with
//! another's account.

use serde_json::{Value, json};

use crate::points::Point;
use crate::stack::{
    Kind, Operator, Policy, apply, apply_with_parents, attempts, cloud_project, conditions, expect, gone,
    object, project_name, put, says, second_namespace, settle, trail_of, write_secret,
};
use crate::support::{
    ACCOUNT, CREDENTIALS, KEY, OPERATOR_NAMESPACE, OTHER_ACCOUNT, REGION, SECRET, World, project_spec,
    store_spec, wait,
};
use crate::trail_support::{PROJECT, STORE, TRAIL, copy_to, trail_spec};

/// The matrix.
pub fn points() -> Vec<Point> {
    let mut points = Vec::new();
    for (name, flag) in DENYING {
        points.push(Point::new(format!("tenancy/identity/{name}"), move || {
            identity_is_denied(flag);
        }));
    }
    for (name, label) in LABELS {
        points.push(Point::new(format!("tenancy/secret/label-{name}"), move || {
            secret_is_not_meant_for_us(*label);
        }));
    }
    for reference in [Kind::Project, Kind::Store, Kind::Trail] {
        points.push(Point::new(
            format!("tenancy/path-in-a-reference/{reference}"),
            move || references_stay_in_the_namespace(reference),
        ));
    }
    for (name, flag) in OTHER_PROJECTS {
        points.push(Point::new(
            format!("tenancy/identity/project-{name}"),
            move || {
                project_is_not_listed(flag);
            },
        ));
    }
    let cells: [(&str, fn()); 10] = [
        ("identity/allowed", identity_is_allowed),
        ("identity/taken-away", identity_is_taken_away),
        ("identity/role-not-listed", role_is_not_listed),
        ("identity/children-elsewhere", children_elsewhere_do_not_inherit),
        ("secret/of-another-namespace", secrets_stay_in_their_namespace),
        ("watch-list", what_is_not_watched_is_left_alone),
        ("accounts/one-secret-name", two_accounts_with_one_secret_name),
        ("accounts/anothers-key-id", a_key_id_is_no_key),
        ("accounts/anothers-trail", another_accounts_trail),
        ("accounts/pinned", a_pin_holds_for_children_too),
    ];
    points.extend(
        cells
            .into_iter()
            .map(|(name, cell)| Point::new(format!("tenancy/{name}"), cell)),
    );
    points
}

/// Ways to list namespaces that do not list this one; `NS` stands for it.
const DENYING: &[(&str, &str)] = &[
    ("default", ""),
    ("nobody-listed", "--identity-namespaces="),
    ("another-listed", "--identity-namespaces=another"),
    ("a-longer-name-listed", "--identity-namespaces=NS-x"),
    ("a-beginning-listed", "--identity-namespaces=tenan"),
];

/// Lets the operator's identity manage whatever it may; said where something else is under test.
const ANY_PROJECT: &str = "--identity-projects=*";

/// Ways to list projects that do not list this one; `NAME` stands for it.
const OTHER_PROJECTS: &[(&str, &str)] = &[
    ("default", ""),
    ("nothing-listed", "--identity-projects="),
    ("another-listed", "--identity-projects=another"),
    ("a-longer-name-listed", "--identity-projects=NAME-*"),
    ("a-part-listed", "--identity-projects=another,*NAME-x,x-NAME*"),
];

fn no_credentials(project: &str) -> Value {
    json!({"region": REGION, "projectName": project})
}

fn watch(namespaces: &[&str]) -> String {
    format!("--watch-namespaces={}", namespaces.join(","))
}

/// An operator with an identity that could do everything.
fn mighty(world: &World) -> Operator {
    Operator::new(world).with_identity(KEY, SECRET)
}

fn identity_is_denied(flag: &str) {
    let world = World::new("tenant");
    let flag = flag.replace("NS", &world.namespace);
    let watched = watch(&[&world.namespace]);
    let mut flags = vec![watched.as_str()];
    flags.extend(Some(flag.as_str()).filter(|flag| !flag.is_empty()));
    let mut operator = mighty(&world);
    operator.start(&world.emulator.url(), &flags);
    let (object_kind, name) = Kind::Project.object();
    world.apply(object_kind, name, &no_credentials(PROJECT));
    apply(&world, Kind::Store, Policy::Delete);
    apply(&world, Kind::Trail, Policy::Delete);
    let stalled = world.condition(object_kind, name, "Stalled", "True", "IdentityNotAllowed");
    let message = stalled["message"].as_str().unwrap();
    assert!(
        message.contains(&world.namespace) && message.contains("--identity-namespaces"),
        "{message}"
    );
    let (store, name) = Kind::Store.object();
    world.condition(store, name, "Stalled", "True", "IdentityNotAllowed");
    for kind in [Kind::Trail, Kind::Store, Kind::Project] {
        let (object_kind, name) = kind.object();
        world.delete(object_kind, name);
        gone(&world, kind);
    }
    assert_eq!(world.journal(0).len(), 0, "{}", world.report());
}

/// The other side of the same coin, so that the denials mean something.
fn identity_is_allowed() {
    let world = World::new("tenant");
    let (watched, listed) = (
        watch(&[&world.namespace]),
        format!("--identity-namespaces={}", world.namespace),
    );
    let mut operator = mighty(&world);
    operator.start(&world.emulator.url(), &[&watched, &listed, ANY_PROJECT]);
    let (object_kind, name) = Kind::Project.object();
    world.apply(object_kind, name, &no_credentials(PROJECT));
    settle(&world, Kind::Project);
    assert!(!operator.logs().contains(SECRET));
}

/// The namespace may use the identity, but not for this project: nothing is asked of the cloud.
fn project_is_not_listed(flag: &str) {
    let world = World::new("tenant");
    let flag = flag.replace("NAME", PROJECT);
    let (watched, listed) = (
        watch(&[&world.namespace]),
        format!("--identity-namespaces={}", world.namespace),
    );
    let mut flags = vec![watched.as_str(), &listed];
    flags.extend(Some(flag.as_str()).filter(|flag| !flag.is_empty()));
    let mut operator = mighty(&world);
    operator.start(&world.emulator.url(), &flags);
    let (object_kind, name) = Kind::Project.object();
    world.apply(object_kind, name, &no_credentials(PROJECT));
    apply(&world, Kind::Store, Policy::Delete);
    let stalled = world.condition(object_kind, name, "Stalled", "True", "IdentityNotAllowed");
    let message = stalled["message"].as_str().unwrap();
    assert!(
        message.contains(PROJECT) && message.contains("--identity-projects"),
        "{message}"
    );
    let (store, name) = Kind::Store.object();
    world.condition(store, name, "Stalled", "True", "IdentityNotAllowed");
    for kind in [Kind::Store, Kind::Project] {
        let (object_kind, name) = kind.object();
        world.delete(object_kind, name);
        gone(&world, kind);
    }
    assert_eq!(world.journal(0).len(), 0, "{}", world.report());
}

/// Whoever names the role of a copy could let it write elsewhere: a role that is not listed is not handed on, the trail records all
/// the same, and the role is used as soon as it is listed.
fn role_is_not_listed() {
    let world = World::new("tenant");
    let (watched, listed) = (
        watch(&[&world.namespace]),
        format!("--identity-namespaces={}", world.namespace),
    );
    let copy = copy_to();
    let role = copy["roleARN"].as_str().unwrap().to_owned();
    let flags = [watched.as_str(), listed.as_str(), ANY_PROJECT];
    let others = format!("--identity-roles={role}-x,acs:ram::*:role/another");
    let mut operator = mighty(&world);
    operator.start(&world.emulator.url(), &[&flags[..], &[others.as_str()]].concat());
    let (object_kind, name) = Kind::Project.object();
    world.apply(object_kind, name, &no_credentials(PROJECT));
    apply(&world, Kind::Store, Policy::Retain);
    let (trail, trail_name) = Kind::Trail.object();
    world.apply(trail, trail_name, &trail_spec(&json!({"copyTo": copy})));
    let stalled = world.condition(trail, trail_name, "Stalled", "True", "IdentityNotAllowed");
    let message = stalled["message"].as_str().unwrap();
    assert!(
        message.contains(&role) && message.contains("--identity-roles"),
        "{message}"
    );
    world.eventually("the trail records", || {
        let found = trail_of(&world, ACCOUNT);
        match found.as_ref().and_then(|trail| trail["status"].as_str()) {
            Some("Enable") => Ok(()),
            _ => Err(format!("{found:?}")),
        }
    });
    assert_eq!(world.count(0, "CreateETL"), 0, "{}", world.report());
    operator.kill();
    let role = format!("--identity-roles={role}");
    operator.start(&world.emulator.url(), &[&flags[..], &[role.as_str()]].concat());
    settle(&world, Kind::Trail);
    assert_eq!(world.count(0, "CreateETL"), 1, "{}", world.report());
    assert!(!operator.logs().contains(SECRET));
}

/// A namespace that is no longer listed loses the identity at once, and its objects keep what they have until then.
fn identity_is_taken_away() {
    let world = World::new("tenant");
    let watched = watch(&[&world.namespace]);
    let listed = format!("--identity-namespaces={}", world.namespace);
    let mut operator = mighty(&world);
    operator.start(&world.emulator.url(), &[&watched, &listed, ANY_PROJECT]);
    let (object_kind, name) = Kind::Project.object();
    let mut spec = no_credentials(PROJECT);
    spec["deletionPolicy"] = json!("Delete");
    world.apply(object_kind, name, &spec);
    settle(&world, Kind::Project);
    operator.kill();
    let since = world.now();
    operator.start(&world.emulator.url(), &[&watched, "--deletion-grace=2s"]);
    world.condition(object_kind, name, "Stalled", "True", "IdentityNotAllowed");
    world.delete(object_kind, name);
    gone(&world, Kind::Project);
    assert_eq!(world.journal(since).len(), 0, "{}", world.report());
    assert!(cloud_project(&world, ACCOUNT, PROJECT).is_some());
}

/// Objects of one namespace cannot refer to a project of another, so they inherit nothing from it.
fn children_elsewhere_do_not_inherit() {
    let world = World::new("tenant");
    let second = second_namespace();
    let watched = watch(&[&world.namespace, &second]);
    let listed = format!("--identity-namespaces={}", world.namespace);
    let mut operator = mighty(&world);
    operator.start(&world.emulator.url(), &[&watched, &listed, ANY_PROJECT]);
    let (object_kind, name) = Kind::Project.object();
    world.apply(object_kind, name, &no_credentials(PROJECT));
    settle(&world, Kind::Project);
    let since = world.now();
    put(
        &world,
        &second,
        Kind::Store,
        STORE,
        &store_spec(PROJECT, STORE, 30),
    )
    .unwrap();
    put(&world, &second, Kind::Trail, TRAIL, &trail_spec(&json!({}))).unwrap();
    for (kind, name) in [(Kind::Store, STORE), (Kind::Trail, TRAIL)] {
        says(&world, &second, kind, name, "Ready", "False", "ProjectNotFound");
    }
    // Also not by a project of their own with the same name.
    put(&world, &second, Kind::Project, PROJECT, &no_credentials(PROJECT)).unwrap();
    says(
        &world,
        &second,
        Kind::Project,
        PROJECT,
        "Stalled",
        "True",
        "IdentityNotAllowed",
    );
    says(
        &world,
        &second,
        Kind::Store,
        STORE,
        "Stalled",
        "True",
        "IdentityNotAllowed",
    );
    world.resyncs("GetProject", 2);
    expect(&world, "writes", &attempts(&world, since), &[]);
}

/// Values of the label that do not mean yes.
const LABELS: &[(&str, Option<&str>)] = &[
    ("missing", None),
    ("empty", Some("")),
    ("false", Some("false")),
    ("other-case", Some("True")),
    ("yes", Some("yes")),
];

fn secret_is_not_meant_for_us(label: Option<&str>) {
    let mut world = World::new("tenant").option("--deletion-grace=1h");
    let labels = label.map_or(json!({}), |label| json!({"ramtrail.io/credentials": label}));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "somebodys", "namespace": world.namespace, "labels": labels},
        "stringData": {"ALIBABA_CLOUD_ACCESS_KEY_ID": KEY, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET},
    });
    world.kubectl.apply(&secret.to_string()).unwrap();
    let (object_kind, name) = Kind::Project.object();
    let mut spec = project_spec(PROJECT);
    spec["credentials"]["secretRef"]["name"] = json!("somebodys");
    world.apply(object_kind, name, &spec);
    apply(&world, Kind::Store, Policy::Delete);
    world.start();
    let stalled = world.condition(object_kind, name, "Stalled", "True", "CredentialsNotFound");
    assert!(
        stalled["message"].as_str().unwrap().contains("lacks the label"),
        "{stalled}"
    );
    world.delete(object_kind, name);
    gone(&world, Kind::Project);
    assert_eq!(world.journal(0).len(), 0, "{}", world.report());
}

/// Names that would mean something else as a part of a path or of a query: `NS` and `NAME` are what they aim at.
const PATHS: [&str; 16] = [
    "NS/NAME",
    "../NS/NAME",
    "../../NS/RESOURCE/NAME",
    "..%2f..%2fNS%2fRESOURCE%2fNAME",
    "%2e%2e/%2e%2e/NS/RESOURCE/NAME",
    "/NAME",
    "//NAME",
    "./NAME",
    "NAME/",
    "NAME/.",
    "NAME?x=y",
    "NAME?fieldSelector=metadata.name%3DNAME",
    "NAME#fragment",
    "NAME%00",
    ".",
    "..",
];

fn aimed(path: &str, namespace: &str, resource: &str, name: &str) -> String {
    path.replace("NS", namespace)
        .replace("RESOURCE", resource)
        .replace("NAME", name)
}

/// A Secret is read in the namespace of the object, under exactly the name that is given.
fn secrets_stay_in_their_namespace() {
    let mut world = World::new("tenant").option("--deletion-grace=1h");
    let second = second_namespace();
    write_secret(&world, &second, "theirs", KEY, SECRET);
    let mut accepted = 0;
    let names = PATHS
        .iter()
        .map(|path| aimed(path, &second, "secrets", "theirs"))
        .chain(
            PATHS
                .iter()
                .map(|path| aimed(path, &world.namespace, "secrets", CREDENTIALS)),
        )
        .chain(["theirs".to_owned()]);
    let mut objects = Vec::new();
    for (index, name) in names.enumerate() {
        let object = format!("aims-{index}");
        let mut spec = project_spec(&object);
        spec["credentials"]["secretRef"]["name"] = json!(name);
        if put(&world, &world.namespace, Kind::Project, &object, &spec).is_ok() {
            accepted += 1;
            objects.push((object, name));
        }
    }
    assert!(
        accepted > 0,
        "the plain name of another namespace's Secret is a legal value"
    );
    world.start();
    for (object, name) in objects {
        let told = world.eventually(&format!("{name} is not found"), || {
            let all = conditions(&world, &world.namespace, Kind::Project, &object);
            all.iter()
                .find(|c| c["type"] == "Ready" && c["reason"] != "Pending")
                .cloned()
                .ok_or(format!("{all:?}"))
        });
        assert_ne!(told["status"], "True", "{name}: {told}");
    }
    assert_eq!(
        world.journal(0).len(),
        0,
        "nobody's keys were used\n{}",
        world.report()
    );
}

/// References to objects stay in the namespace too, whatever they look like.
fn references_stay_in_the_namespace(reference: Kind) {
    let second = second_namespace();
    let mut world = World::new("tenant")
        .option("--deletion-grace=1h")
        .option(&format!("--watch-namespaces={second}"));
    write_secret(&world, &second, CREDENTIALS, KEY, SECRET);
    put(&world, &second, Kind::Project, PROJECT, &project_spec(PROJECT)).unwrap();
    put(
        &world,
        &second,
        Kind::Store,
        STORE,
        &store_spec(PROJECT, STORE, 30),
    )
    .unwrap();
    world.start();
    let ready = |kind, name| says(&world, &second, kind, name, "Ready", "True", "Available");
    ready(Kind::Project, PROJECT);
    ready(Kind::Store, STORE);
    if reference == Kind::Trail {
        // The trail's own project is there; the store that it aims at is not.
        put(
            &world,
            &world.namespace,
            Kind::Project,
            "own-project",
            &project_spec("own-project"),
        )
        .unwrap();
        says(
            &world,
            &world.namespace,
            Kind::Project,
            "own-project",
            "Ready",
            "True",
            "Available",
        );
    }
    let since = world.now();
    let mut objects = Vec::new();
    for (index, path) in PATHS.iter().chain(&["NAME"]).enumerate() {
        let object = format!("aims-at-{index}");
        let (kind, spec) = match reference {
            Kind::Project => {
                let name = aimed(path, &second, "auditprojects", PROJECT);
                (
                    Kind::Store,
                    json!({"projectRef": {"name": name}, "retentionDays": 30}),
                )
            }
            Kind::Store => {
                let name = aimed(path, &second, "auditprojects", PROJECT);
                (Kind::Trail, json!({"projectRef": {"name": name}}))
            }
            Kind::Trail => {
                let name = aimed(path, &second, "auditlogstores", STORE);
                let copy =
                    json!({"logStoreRef": {"name": name}, "roleARN": format!("acs:ram::{ACCOUNT}:role/x")});
                (
                    Kind::Trail,
                    json!({"projectRef": {"name": "own-project"}, "managementPolicy": "Observe", "copyTo": copy}),
                )
            }
        };
        if put(&world, &world.namespace, kind, &object, &spec).is_ok() {
            objects.push((kind, object, spec));
        }
    }
    assert!(!objects.is_empty());
    for (kind, object, spec) in objects {
        world.eventually(&format!("{spec} finds nothing"), || {
            let all = conditions(&world, &world.namespace, kind, &object);
            let text = Value::Array(all).to_string();
            let missing = if reference == Kind::Trail {
                text.contains("There is no AuditLogStore") || text.contains("LogStoreNotFound")
            } else {
                text.contains("ProjectNotFound")
            };
            missing.then_some(()).ok_or(text)
        });
    }
    expect(&world, "writes", &attempts(&world, since), &[]);
}

/// An object of a namespace that is not watched gets nothing: no finalizer, no status, no call.
fn what_is_not_watched_is_left_alone() {
    let mut world = World::new("tenant");
    let second = second_namespace();
    write_secret(&world, &second, CREDENTIALS, KEY, SECRET);
    put(
        &world,
        &second,
        Kind::Project,
        "unwatched",
        &project_spec("unwatched"),
    )
    .unwrap();
    apply(&world, Kind::Project, Policy::Retain);
    world.start();
    settle(&world, Kind::Project);
    world.resyncs("GetProject", 2);
    let found = wait(crate::stack::api(&world, &second, Kind::Project).get("unwatched")).unwrap();
    assert_eq!(found.metadata.finalizers, None);
    assert!(found.data["status"].is_null(), "{}", found.data);
    assert_eq!(cloud_project(&world, ACCOUNT, "unwatched"), None);
    assert!(!world.logs().contains(&second), "nothing of it is even named");
}

fn everything() -> Value {
    json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}])
}

/// Two tenants of two accounts call their Secrets alike: each works in its own account only.
fn two_accounts_with_one_secret_name() {
    let second = second_namespace();
    let mut world = World::new("tenant").option(&format!("--watch-namespaces={second}"));
    world.add_user("LTAIsecondKey0000000001", OTHER_ACCOUNT, "second", &everything());
    write_secret(&world, &second, CREDENTIALS, "LTAIsecondKey0000000001", SECRET);
    apply(&world, Kind::Project, Policy::Retain);
    put(
        &world,
        &second,
        Kind::Project,
        "second-audit",
        &project_spec("second-audit"),
    )
    .unwrap();
    put(
        &world,
        &second,
        Kind::Trail,
        TRAIL,
        &json!({"projectRef": {"name": "second-audit"}}),
    )
    .unwrap();
    apply(&world, Kind::Trail, Policy::Retain);
    world.start();
    settle(&world, Kind::Trail);
    says(
        &world,
        &second,
        Kind::Project,
        "second-audit",
        "Ready",
        "True",
        "Available",
    );
    says(&world, &second, Kind::Trail, TRAIL, "Ready", "True", "Available");
    for (account, theirs, others) in [
        (ACCOUNT, PROJECT, "second-audit"),
        (OTHER_ACCOUNT, "second-audit", PROJECT),
    ] {
        assert!(cloud_project(&world, account, theirs).is_some());
        assert_eq!(cloud_project(&world, account, others), None);
        let trail = trail_of(&world, account).expect("each has a trail of this name");
        let arn = trail["slsProjectArn"].as_str().unwrap();
        assert!(arn.contains(account) && arn.ends_with(theirs), "{trail}");
        let strayed: Vec<String> = world
            .journal(0)
            .iter()
            .filter(|row| row.is_ours() && row.0["account"] == account)
            .filter(|row| {
                row.0["resources"]
                    .to_string()
                    .contains(&format!("project/{others}"))
            })
            .map(ToString::to_string)
            .collect();
        assert_eq!(strayed, Vec::<String>::new());
    }
}

/// Knowing another's key id gives nothing.
fn a_key_id_is_no_key() {
    let second = second_namespace();
    let mut world = World::new("tenant").option(&format!("--watch-namespaces={second}"));
    write_secret(&world, &second, CREDENTIALS, KEY, "guessedSecret0000000000000001");
    apply(&world, Kind::Project, Policy::Retain);
    world.start();
    settle(&world, Kind::Project);
    put(&world, &second, Kind::Project, PROJECT, &project_spec(PROJECT)).unwrap();
    let since = world.now();
    let told = says(
        &world,
        &second,
        Kind::Project,
        PROJECT,
        "Stalled",
        "True",
        "CredentialsInvalid",
    );
    assert!(!told.contains("guessedSecret"), "{told}");
    world.resyncs("GetProject", 2);
    expect(&world, "writes", &attempts(&world, since), &[]);
    // The holder of the right ones is not disturbed.
    settle(&world, Kind::Project);
    assert!(!world.logs().contains("guessedSecret"));
}

/// A tenant cannot reach a trail, a project or a store of another account by naming it.
fn another_accounts_trail() {
    let second = second_namespace();
    let mut world = World::with_emulator("tenant", &["--profile=documented"])
        .option("--deletion-grace=1h")
        .option(&format!("--watch-namespaces={second}"));
    world.add_user("LTAIsecondKey0000000001", OTHER_ACCOUNT, "second", &everything());
    write_secret(&world, &second, CREDENTIALS, "LTAIsecondKey0000000001", SECRET);
    apply_with_parents(&world, Kind::Trail, Policy::Retain);
    apply(&world, Kind::Store, Policy::Retain);
    world.start();
    for kind in [Kind::Store, Kind::Trail] {
        settle(&world, kind);
    }
    let before = (cloud_project(&world, ACCOUNT, PROJECT), trail_of(&world, ACCOUNT));
    let always = |mut spec: Value| {
        spec["adoptionPolicy"] = json!("Always");
        spec["deletionPolicy"] = json!("Delete");
        spec
    };
    put(
        &world,
        &second,
        Kind::Project,
        PROJECT,
        &always(project_spec(PROJECT)),
    )
    .unwrap();
    put(
        &world,
        &second,
        Kind::Store,
        STORE,
        &always(store_spec(PROJECT, STORE, 1)),
    )
    .unwrap();
    put(
        &world,
        &second,
        Kind::Trail,
        TRAIL,
        &always(trail_spec(&json!({"logging": "Stopped", "events": "Read"}))),
    )
    .unwrap();
    let since = world.now();
    says(
        &world,
        &second,
        Kind::Project,
        PROJECT,
        "Stalled",
        "True",
        "NameTaken",
    );
    for (kind, name) in [(Kind::Store, STORE), (Kind::Trail, TRAIL)] {
        says(&world, &second, kind, name, "Ready", "False", "WaitingForProject");
    }
    let changed: Vec<String> = world
        .journal(since)
        .iter()
        .filter(|row| row.is_ours() && row.is_change() && row.0["account"] == OTHER_ACCOUNT)
        .map(ToString::to_string)
        .collect();
    assert_eq!(changed, Vec::<String>::new(), "{}", world.report());
    assert_eq!(
        (cloud_project(&world, ACCOUNT, PROJECT), trail_of(&world, ACCOUNT)),
        before
    );
    world.nothing_was_reduced();
}

/// Credentials of another account than the pinned one do nothing, for the project and for what refers to it.
fn a_pin_holds_for_children_too() {
    let mut world = World::new("tenant").option("--deletion-grace=1h");
    let (object_kind, name) = Kind::Project.object();
    let mut spec = project_spec(PROJECT);
    spec["accountID"] = json!(OTHER_ACCOUNT);
    world.apply(object_kind, name, &spec);
    apply(&world, Kind::Store, Policy::Delete);
    apply(&world, Kind::Trail, Policy::Delete);
    world.start();
    world.condition(object_kind, name, "Stalled", "True", "AccountChanged");
    let (store, name) = Kind::Store.object();
    world.condition(store, name, "Stalled", "True", "AccountChanged");
    for kind in [Kind::Trail, Kind::Store, Kind::Project] {
        let (object_kind, name) = kind.object();
        world.delete(object_kind, name);
        gone(&world, kind);
        assert!(object(&world, kind).is_none());
    }
    let calls: Vec<String> = world
        .journal(0)
        .iter()
        .filter(|row| row.is_ours() && row.action() != "GetCallerIdentity")
        .map(ToString::to_string)
        .collect();
    assert_eq!(calls, Vec::<String>::new());
    assert!(wait(world.intruder().log_service.get_project(&project_name())).is_err());
    assert_ne!(world.namespace, OPERATOR_NAMESPACE);
}
