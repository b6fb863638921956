//! AuditProject on a real API server, with the emulator in its hostile profile: what a user sees, what the cloud gets.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::ByteString;
use ramtrail::aliyun::ProjectName;
use ramtrail::aliyun::log_service::Taggable;
use ramtrail::api::v1alpha1::{AuditProject, Origin};
use serde_json::{Value, json};
use support::{
    ACCOUNT, CREDENTIALS, KEY, OPERATOR_NAMESPACE, OTHER_ACCOUNT, REGION, SECRET, World, project_spec, wait,
};
use xtask::kubeconfig::{self, User};
use xtask::kubectl::Kubectl;
use xtask::temp_dir::TempDir;

const KIND: &str = "AuditProject";
/// The project of the tests; each world has a cloud of its own.
const NAME: &str = "ai-audit";

fn project() -> ProjectName {
    ProjectName::new(NAME).unwrap()
}

fn with(mut spec: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn tags(world: &World) -> BTreeMap<String, String> {
    let target = Taggable::Project(project());
    wait(world.intruder().log_service.list_tag_resources(&target))
        .unwrap()
        .value
}

fn set_tag(world: &World, key: &str, value: &str) {
    let target = Taggable::Project(project());
    let tags = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    wait(world.intruder().log_service.tag_resources(&target, &tags)).unwrap();
}

/// Waits until the project of an intruder is shown.
fn made_by_intruder(world: &World, description: &str) {
    wait(
        world
            .intruder()
            .log_service
            .create_project(&project(), description),
    )
    .unwrap();
    world.eventually("the project is shown", || {
        wait(world.intruder().log_service.get_project(&project()))
            .map(drop)
            .map_err(|error| error.to_string())
    });
}

fn exists(world: &World) -> bool {
    wait(world.intruder().log_service.get_project(&project())).is_ok()
}

#[test]
fn a_project_is_created_with_two_calls_and_then_left_alone() {
    let mut world = World::new("create");
    let spec = with(
        project_spec(NAME),
        &json!({"description": "words", "tags": {"team": "ml"}}),
    );
    world.apply(KIND, "trail", &spec);
    world.start();
    world.settled(KIND, "trail");

    assert_eq!(
        world.writes(0),
        ["CreateProject", "TagResources"],
        "{}",
        world.report()
    );
    let object: AuditProject = world.get("trail");
    let status = object.status.unwrap();
    assert_eq!(status.account_id.as_deref(), Some(ACCOUNT));
    assert_eq!(status.project_name.as_deref(), Some(NAME));
    assert_eq!(
        status.arn.unwrap(),
        format!("acs:log:{REGION}:{ACCOUNT}:project/{NAME}")
    );
    assert_eq!(
        status.endpoint.unwrap(),
        format!("{NAME}.{REGION}.log.aliyuncs.com")
    );
    assert_eq!(status.claim.unwrap().origin, Origin::Created);
    assert_eq!(status.pending_create, None);
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.applied_generation, Some(1));
    let found = wait(world.intruder().log_service.get_project(&project()))
        .unwrap()
        .value;
    assert_eq!(found.description, "words");
    assert_eq!(tags(&world).get("team").map(String::as_str), Some("ml"));
    assert!(tags(&world)["ramtrail-object"].contains("trail"));
    assert!(world.event("Created").contains(NAME));

    // In sync: nothing is written anywhere, and two reads look. The first visit may have begun before.
    world.resyncs("GetProject", 1);
    let (since, versions) = (world.now(), world.versions());
    world.resyncs("GetProject", 3);
    assert_eq!(world.writes(since), Vec::<String>::new());
    assert_eq!(world.versions(), versions);
    let reads = world.reads(since);
    let looks = reads.iter().filter(|read| *read == "GetProject").count();
    let listed = reads.iter().filter(|read| *read == "ListTagResources").count();
    assert!(listed <= looks + 1 && looks + listed == reads.len(), "{reads:?}");
    world.nothing_was_reduced();
}

#[test]
fn the_first_status_is_written_before_the_cloud_answers() {
    let mut world = World::new("first");
    world
        .emulator
        .add_fault(&json!({"match": {"action": "GetCallerIdentity"}, "fault": {"kind": "hold-before"}}))
        .unwrap();
    world.apply(KIND, "trail", &project_spec(NAME));
    world.start();
    world.condition(KIND, "trail", "Ready", "Unknown", "Pending");
    world.condition(KIND, "trail", "Reconciling", "True", "Pending");
    world.emulator.release(None).unwrap();
    world.ready(KIND, "trail");
}

#[test]
fn description_and_tags_follow_the_spec_and_tags_of_others_stay() {
    let mut world = World::new("update");
    world.apply(
        KIND,
        "trail",
        &with(project_spec(NAME), &json!({"tags": {"a": "1", "b": "1"}})),
    );
    world.start();
    world.settled(KIND, "trail");
    set_tag(&world, "others", "x");
    let since = world.now();
    world.apply(
        KIND,
        "trail",
        &with(
            project_spec(NAME),
            &json!({"tags": {"b": "2", "c": "3"}, "description": "new"}),
        ),
    );
    world.until("trail", "generation 2 is applied", |object: &AuditProject| {
        object.status.as_ref().and_then(|s| s.applied_generation) == Some(2)
    });
    let now = tags(&world);
    assert_eq!(now.get("a"), None, "a left the spec");
    assert_eq!(
        (now["b"].as_str(), now["c"].as_str(), now["others"].as_str()),
        ("2", "3", "x")
    );
    let mut writes = world.writes(since);
    writes.sort();
    assert_eq!(writes, ["TagResources", "UntagResources", "UpdateProject"]);
    world.nothing_was_reduced();
}

#[test]
fn a_removed_or_scribbled_mark_is_put_back_and_told() {
    let mut world = World::new("tamper");
    world.apply(KIND, "trail", &project_spec(NAME));
    world.start();
    world.settled(KIND, "trail");
    let marked = tags(&world)["ramtrail-owner"].clone();
    set_tag(&world, "ramtrail-owner", "scribble");
    world.eventually("the mark is ours again", || {
        match tags(&world).get("ramtrail-owner") {
            Some(mark) if *mark == marked => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let note = world.event("TamperRepaired");
    assert!(note.contains("mark") && note.contains("scribble"), "{note}");
    let object = world.until("trail", "lastTamper is told", |object: &AuditProject| {
        object.status.as_ref().is_some_and(|s| s.last_tamper.is_some())
    });
    let tamper = object.status.unwrap().last_tamper.unwrap();
    assert!(tamper.repaired && tamper.what.contains("scribble"), "{tamper:?}");

    let target = Taggable::Project(project());
    wait(
        world
            .intruder()
            .log_service
            .untag_resources(&target, &["ramtrail-owner"]),
    )
    .unwrap();
    world.eventually("the mark is back", || {
        tags(&world)
            .contains_key("ramtrail-owner")
            .then_some(())
            .ok_or("no mark".to_owned())
    });
    world.nothing_was_reduced();
}

#[test]
fn the_mark_of_another_cluster_is_reported_and_never_repaired() {
    let mut world = World::new("contest");
    world.apply(KIND, "trail", &project_spec(NAME));
    world.start();
    world.settled(KIND, "trail");
    let since = world.now();
    let foreign = format!("other-cluster_{}", "a".repeat(32));
    set_tag(&world, "ramtrail-owner", &foreign);
    let stalled = world.condition(KIND, "trail", "Stalled", "True", "OwnedByAnother");
    assert!(
        stalled["message"].as_str().unwrap().contains(&foreign),
        "{stalled}"
    );
    world.condition(KIND, "trail", "Protected", "False", "Tampered");
    world.resyncs("GetProject", 2);
    assert_eq!(world.writes(since), Vec::<String>::new());
    assert_eq!(tags(&world)["ramtrail-owner"], foreign);
}

#[test]
fn a_deleted_project_is_created_again_and_that_is_said() {
    let mut world = World::new("again");
    world.apply(KIND, "trail", &project_spec(NAME));
    world.start();
    world.settled(KIND, "trail");
    let before: AuditProject = world.get("trail");
    world.emulator.jump(std::time::Duration::from_secs(3600)).unwrap();
    wait(world.intruder().log_service.delete_project(&project())).unwrap();
    assert!(world.event("CreatedAgain").contains("lost"));
    let old = before.status.as_ref().unwrap().data_since.clone();
    world.until("trail", "dataSince has moved", |object: &AuditProject| {
        object
            .status
            .as_ref()
            .is_some_and(|status| status.data_since != old)
    });
    world.settled(KIND, "trail");
    let after: AuditProject = world.get("trail");
    let (before, after) = (before.status.unwrap(), after.status.unwrap());
    assert_ne!(before.data_since, after.data_since);
    assert_eq!(after.claim.unwrap().origin, Origin::Created);
    assert!(after.last_tamper.unwrap().what.contains("deleted"));
    assert_eq!(world.count(0, "CreateProject"), 2);
}

#[test]
fn the_adoption_matrix_of_what_exists() {
    let foreign = format!("other-cluster_{}", "a".repeat(32));
    for (mark, policy, taken) in [
        (None, "IfUnowned", Ok(())),
        (None, "Always", Ok(())),
        (None, "Never", Err("AdoptionForbidden")),
        (Some(foreign.as_str()), "IfUnowned", Err("OwnedByAnother")),
        (Some(foreign.as_str()), "Never", Err("OwnedByAnother")),
        (Some(foreign.as_str()), "Always", Ok(())),
    ] {
        let mut world = World::new("adopt");
        made_by_intruder(&world, "theirs");
        if let Some(mark) = mark {
            set_tag(&world, "ramtrail-owner", mark);
        }
        let before = tags(&world);
        world.apply(
            KIND,
            "trail",
            &with(project_spec(NAME), &json!({"adoptionPolicy": policy})),
        );
        world.start();
        if let Err(reason) = taken {
            let stalled = world.condition(KIND, "trail", "Stalled", "True", reason);
            if let Some(mark) = mark {
                let message = stalled["message"].as_str().unwrap();
                assert!(
                    message.contains(mark) && message.contains("AuditProject/"),
                    "{message}"
                );
            }
            assert_eq!(world.writes(0), Vec::<String>::new(), "{mark:?} {policy}");
            assert_eq!(tags(&world), before);
        } else {
            world.settled(KIND, "trail");
            let object: AuditProject = world.get("trail");
            assert_eq!(
                object.status.unwrap().claim.unwrap().origin,
                Origin::Adopted,
                "{mark:?} {policy}"
            );
            assert_eq!(world.writes(0), ["TagResources"], "{mark:?} {policy}");
            let found = wait(world.intruder().log_service.get_project(&project()))
                .unwrap()
                .value;
            assert_eq!(
                found.description, "theirs",
                "an unset description is left as found"
            );
        }
    }
}

#[test]
fn a_name_taken_in_another_account_says_both_causes() {
    let mut world = World::with_emulator("taken", &["--profile=documented"]);
    wait(world.stranger().log_service.create_project(&project(), "")).unwrap();
    world.apply(KIND, "trail", &project_spec(NAME));
    world.start();
    let stalled = world.eventually("NameTaken or Foreign", || {
        let object: AuditProject = world.get("trail");
        let status = object.status.unwrap_or_default();
        let found = status
            .conditions
            .into_iter()
            .find(|c| c.type_ == "Stalled" && c.status == "True");
        found.ok_or_else(|| "not stalled".to_owned())
    });
    assert_eq!(stalled.reason, "NameTaken", "{}", stalled.message);
    assert!(stalled.message.contains("another account") && stalled.message.contains("another region"));
    world.delete(KIND, "trail");
    world.gone(KIND, "trail");
}

#[test]
fn retain_releases_the_mark_and_the_same_owner_takes_it_again() {
    let mut world = World::new("retain");
    world.apply(KIND, "trail", &project_spec(NAME));
    world.start();
    world.settled(KIND, "trail");
    world.delete(KIND, "trail");
    world.gone(KIND, "trail");
    assert!(exists(&world));
    assert!(
        tags(&world)["ramtrail-owner"].starts_with("released"),
        "{:?}",
        tags(&world)
    );
    assert!(world.event("Retained").contains(NAME));

    // Another owner may not, the same one may.
    world.apply(KIND, "other", &project_spec(NAME));
    world.condition(KIND, "other", "Stalled", "True", "OwnedByAnother");
    world.delete(KIND, "other");
    world.gone(KIND, "other");
    world.apply(
        KIND,
        "trail",
        &with(project_spec(NAME), &json!({"deletionPolicy": "Delete"})),
    );
    world.settled(KIND, "trail");
    let object: AuditProject = world.get("trail");
    assert_eq!(object.status.unwrap().claim.unwrap().origin, Origin::Adopted);

    // What was adopted is never deleted.
    world.delete(KIND, "trail");
    world.gone(KIND, "trail");
    assert!(exists(&world));
    assert_eq!(world.count(0, "DeleteProject"), 0);
}

#[test]
fn delete_deletes_what_it_created_when_it_is_empty() {
    let mut world = World::new("delete");
    world.apply(
        KIND,
        "trail",
        &with(project_spec(NAME), &json!({"deletionPolicy": "Delete"})),
    );
    world.start();
    world.settled(KIND, "trail");
    world.delete(KIND, "trail");
    world.gone(KIND, "trail");
    assert!(!exists(&world));
    assert!(world.event("Deleted").contains(NAME));
    assert_eq!(world.count(0, "DeleteProject"), 1);
}

#[test]
fn a_project_that_holds_a_log_store_is_left() {
    let mut world = World::new("filled");
    world.apply(
        KIND,
        "trail",
        &with(project_spec(NAME), &json!({"deletionPolicy": "Delete"})),
    );
    world.start();
    world.settled(KIND, "trail");
    let store = ramtrail::aliyun::log_service::NewLogStore {
        name: ramtrail::aliyun::LogStoreName::new("somebodys").unwrap(),
        retention_days: 1,
        shard_count: 1,
        append_meta: false,
    };
    wait(world.intruder().log_service.create_log_store(&project(), &store)).unwrap();
    world.delete(KIND, "trail");
    world.gone(KIND, "trail");
    assert!(exists(&world));
    assert!(world.event("ProjectLeftNotEmpty").contains("somebodys"));
    assert_eq!(world.count(0, "DeleteProject"), 0);
}

#[test]
fn a_replaced_project_is_not_deleted() {
    let mut world = World::new("replaced").option("--resync-interval=10m");
    world.apply(
        KIND,
        "trail",
        &with(project_spec(NAME), &json!({"deletionPolicy": "Delete"})),
    );
    world.start();
    world.ready(KIND, "trail");
    let mark = tags(&world)["ramtrail-owner"].clone();
    world.emulator.jump(std::time::Duration::from_secs(3600)).unwrap();
    wait(world.intruder().log_service.delete_project(&project())).unwrap();
    made_by_intruder(&world, "another");
    set_tag(&world, "ramtrail-owner", &mark);
    world.delete(KIND, "trail");
    world.gone(KIND, "trail");
    assert!(exists(&world), "its creation time is not the claim's");
}

#[test]
fn missing_credentials_say_what_to_create_and_are_picked_up() {
    let mut world = World::new("secret");
    let spec = with(
        project_spec(NAME),
        &json!({"credentials": {"secretRef": {"name": "later"}}}),
    );
    world.apply(KIND, "trail", &spec);
    world.start();
    let stalled = world.condition(KIND, "trail", "Stalled", "True", "CredentialsNotFound");
    let message = stalled["message"].as_str().unwrap();
    assert!(
        message.contains("later") && message.contains("ALIBABA_CLOUD_ACCESS_KEY_ID"),
        "{message}"
    );
    assert_eq!(world.journal(0).len(), 0, "nothing is called without credentials");

    world.write_secret("later", KEY, SECRET, false);
    world.eventually("the missing label is named", || {
        let object: AuditProject = world.get("trail");
        let conditions = object.status.unwrap().conditions;
        let found = conditions
            .iter()
            .find(|c| c.type_ == "Stalled")
            .map(|c| c.message.clone())
            .unwrap_or_default();
        if found.contains("ramtrail.io/credentials=true") {
            Ok(())
        } else {
            Err(found)
        }
    });
    assert_eq!(world.journal(0).len(), 0);

    world.write_secret("later", KEY, SECRET, true);
    world.ready(KIND, "trail");
}

/// What somebody may put into a Secret by mistake or on purpose: what is wrong is said with the name of the key, the value is shown
/// nowhere, and objects beside go on.
#[test]
fn a_secret_that_holds_no_keys_is_told_by_the_name_of_what_is_wrong() {
    const ID: &str = "ALIBABA_CLOUD_ACCESS_KEY_ID";
    const KEY_SECRET: &str = "ALIBABA_CLOUD_ACCESS_KEY_SECRET";
    const TOKEN: &str = "ALIBABA_CLOUD_SECURITY_TOKEN";
    let marked = |before: &[u8], after: &[u8]| [before, SECRET.as_bytes(), after].concat();
    let huge = [SECRET.as_bytes(), &vec![b'a'; 900_000]].concat();
    let values: [(&str, Vec<u8>, &str); 8] = [
        ("empty", Vec::new(), ""),
        ("blank", b" \r\n\t ".to_vec(), ""),
        ("huge", huge, "it is longer than any key"),
        ("bytes", marked(b"\xff\xfe\x80", b"\xc0"), "it is not text"),
        (
            "lines",
            marked(b"a\r\nx-acs-security-token: ", b"\r\n\r\nGET /"),
            "it holds blanks",
        ),
        ("escape", marked(b"\x1b[2K", b""), "it holds blanks"),
        ("zero", marked(b"a\0", b""), "it holds blanks"),
        ("letters", marked("é\u{2028}".as_bytes(), b""), "it holds blanks"),
    ];
    let world_data = |data: [(&str, &[u8]); 3]| {
        let data: BTreeMap<&str, ByteString> = data
            .into_iter()
            .map(|(name, value)| (name, ByteString(value.to_vec())))
            .collect();
        json!({"metadata": {"labels": {"ramtrail.io/credentials": "true"}}, "data": data})
    };
    let spec = |name: &str| {
        let changes =
            json!({"projectName": format!("ai-{name}"), "credentials": {"secretRef": {"name": name}}});
        with(project_spec(NAME), &changes)
    };
    let mut world = World::new("hostile-secret");
    let mut wrong = Vec::new();
    for (value_name, value, words) in &values {
        for (key_name, key) in [("id", ID), ("secret", KEY_SECRET), ("token", TOKEN)] {
            // A token that is not there is none: those keys would be usable.
            if key == TOKEN && words.is_empty() {
                continue;
            }
            let name = format!("{value_name}-{key_name}");
            let data = [
                (ID, KEY.as_bytes()),
                (KEY_SECRET, SECRET.as_bytes()),
                (TOKEN, b"".as_slice()),
            ];
            let data = data.map(|(k, v)| (k, if k == key { value.as_slice() } else { v }));
            world.apply_secret(&name, &world_data(data));
            world.apply(KIND, &name, &spec(&name));
            wrong.push((name, key, *words));
        }
    }
    world.apply(KIND, "good", &project_spec("ai-good"));
    world.start();
    for (name, key, words) in &wrong {
        let stalled = world.condition(KIND, name, "Stalled", "True", "CredentialsNotFound");
        let message = stalled["message"].as_str().unwrap();
        assert!(
            message.contains(key) && message.contains(words),
            "{name}: {message}"
        );
        assert!(message.contains(name.as_str()), "{message}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
        let length = message.len();
        assert!(length < 500, "{length} characters");
    }
    world.settled(KIND, "good");
    let callers = world.journal(0);
    let projects = callers
        .iter()
        .filter(|row| row.action() == "CreateProject" && row.is_ours());
    assert_eq!(
        projects.count(),
        1,
        "only usable keys are used: {}",
        world.report()
    );
    // Mended, it is used.
    world.write_secret("lines-secret", KEY, SECRET, true);
    world.settled(KIND, "lines-secret");
}

/// A volume with a token as the kubelet projects it: what is read is a link into a folder that a link names, and only that link is
/// swapped.
struct Projected {
    folder: PathBuf,
    writes: usize,
}

impl Projected {
    fn new(folder: &Path) -> Self {
        std::fs::create_dir(folder).unwrap();
        symlink("..data/token", folder.join("token")).unwrap();
        Self {
            folder: folder.to_owned(),
            writes: 0,
        }
    }

    fn write(&mut self, token: &str) {
        let at = |name: &str| self.folder.join(name);
        let name = |number: usize| format!("..2026_{number}");
        self.writes += 1;
        let new = name(self.writes);
        std::fs::create_dir(at(&new)).unwrap();
        std::fs::write(at(&new).join("token"), token).unwrap();
        symlink(&new, at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        if self.writes > 1 {
            std::fs::remove_dir_all(at(&name(self.writes - 1))).unwrap();
        }
    }
}

#[test]
fn a_token_that_the_kubelet_renews_is_taken_up_without_a_restart() {
    let world = World::new("token");
    let dir = TempDir::new("token").unwrap();
    let at = |name: &str| dir.path().join(name);
    // A token that ends with a Secret, since none may be made to end with the clock in less than ten minutes.
    let kubectl = &world.kubectl.clone();
    let secret = world.namespace.clone();
    let in_system = ["-n", OPERATOR_NAMESPACE];
    let create = ["create", "secret", "generic", &secret];
    kubectl.run(in_system.iter().chain(&create)).unwrap();
    let first = kubectl
        .token_bound_to_secret(OPERATOR_NAMESPACE, "ramtrail", &secret)
        .unwrap();
    let mut volume = Projected::new(&at("volume"));
    volume.write(&first);
    let kubeconfig = at("kubeconfig");
    let user = User::TokenFile(at("volume").join("token"));
    kubeconfig::write(&kubeconfig, &kubectl.cluster().unwrap(), &user).unwrap();
    let mut world = world.acting_by(&kubeconfig);
    world.never_show(&first);
    world.apply(KIND, "trail", &project_spec(NAME));
    world.start();
    world.settled(KIND, "trail");

    let delete = ["delete", "secret", &secret];
    kubectl.run(in_system.iter().chain(&delete)).unwrap();
    // The API server remembers a token that was good for some seconds.
    let old = Kubectl::new(&kubeconfig).unwrap();
    world.eventually("the first token is refused", || {
        match old.run(["get", "--raw", "/apis"]) {
            Ok(_) => Err("not yet".to_owned()),
            Err(_) => Ok(()),
        }
    });
    world.patch_spec(KIND, "trail", &json!({"description": "later"}));
    world.eventually("the operator is refused too", || {
        let logs = world.logs();
        if logs.contains("Unauthorized") {
            Ok(())
        } else {
            Err(logs)
        }
    });

    let second = kubectl
        .service_account_token(OPERATOR_NAMESPACE, "ramtrail", Duration::from_secs(3600))
        .unwrap();
    world.never_show(&second);
    volume.write(&second);
    world.settled(KIND, "trail");
    let found = wait(world.intruder().log_service.get_project(&project()))
        .unwrap()
        .value;
    assert_eq!(found.description, "later");
    assert_eq!(
        world.logs().matches("ramtrail starts").count(),
        1,
        "it was not restarted"
    );
    assert_eq!(world.count(0, "CreateProject"), 1);
}

#[test]
fn the_operators_own_identity_is_denied_by_default() {
    let mut world = World::new("identity");
    world.apply(KIND, "trail", &json!({"region": REGION, "projectName": NAME}));
    world.start();
    let stalled = world.condition(KIND, "trail", "Stalled", "True", "IdentityNotAllowed");
    assert!(
        stalled["message"]
            .as_str()
            .unwrap()
            .contains("--identity-namespaces")
    );
    assert_eq!(world.journal(0).len(), 0);
}

#[test]
fn a_denied_call_names_action_resource_and_who_needs_it_and_recovers() {
    let mut world = World::new("denied");
    let allowed =
        json!([{"Effect": "Allow", "Action": ["log:GetProject", "log:ListTagResources"], "Resource": "*"}]);
    world.add_user("LTAIreaderKey0000000001", ACCOUNT, "reader", &allowed);
    world.write_secret(CREDENTIALS, "LTAIreaderKey0000000001", SECRET, true);
    world.apply(KIND, "trail", &project_spec(NAME));
    world.start();
    let stalled = world.condition(KIND, "trail", "Stalled", "True", "Denied");
    let message = stalled["message"].as_str().unwrap();
    for part in [
        "log:CreateProject",
        &format!("project/{NAME}"),
        "Grant it to",
        "user/reader",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    // Each attempt is noted before it is sent, and the note is taken back when it is refused; nothing else is written.
    let said = world.conditions(KIND, "trail");
    world.resyncs("GetProject", 2);
    assert_eq!(
        world.conditions(KIND, "trail"),
        said,
        "the same error is said once"
    );
    let all = json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]);
    world.add_user("LTAIreaderKey0000000001", ACCOUNT, "reader", &all);
    world.ready(KIND, "trail");
}

#[test]
fn credentials_of_another_account_write_nothing() {
    let mut world = World::new("account");
    world.apply(KIND, "trail", &project_spec(NAME));
    world.start();
    world.settled(KIND, "trail");
    let all = json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]);
    world.add_user("LTAIswappedKey000000001", OTHER_ACCOUNT, "swapped", &all);
    let since = world.now();
    world.write_secret(CREDENTIALS, "LTAIswappedKey000000001", SECRET, true);
    let stalled = world.condition(KIND, "trail", "Stalled", "True", "AccountChanged");
    let message = stalled["message"].as_str().unwrap();
    assert!(
        message.contains(ACCOUNT) && message.contains(OTHER_ACCOUNT),
        "{message}"
    );
    let foreign: Vec<String> = world
        .journal(since)
        .iter()
        .filter(|row| row.0["account"] == OTHER_ACCOUNT && row.is_ours())
        .map(|row| row.action().to_owned())
        .collect();
    assert!(
        foreign.iter().all(|action| action == "GetCallerIdentity"),
        "{foreign:?}"
    );
    assert_eq!(world.writes(since), Vec::<String>::new());
    world.write_secret(CREDENTIALS, KEY, SECRET, true);
    world.ready(KIND, "trail");
}

#[test]
fn a_pinned_account_is_checked_before_anything_else() {
    let mut world = World::new("pin");
    world.apply(
        KIND,
        "trail",
        &with(project_spec(NAME), &json!({"accountID": OTHER_ACCOUNT})),
    );
    world.start();
    world.condition(KIND, "trail", "Stalled", "True", "AccountChanged");
    assert!(
        world
            .journal(0)
            .iter()
            .all(|row| row.action() == "GetCallerIdentity")
    );
}

#[test]
fn duplicates_wait_for_the_oldest_and_take_over_when_it_goes() {
    let mut world = World::new("duplicate");
    world.apply(KIND, "first", &project_spec(NAME));
    world.start();
    world.settled(KIND, "first");
    world.apply(KIND, "second", &project_spec(NAME));
    let stalled = world.condition(KIND, "second", "Stalled", "True", "DuplicateOf");
    assert!(stalled["message"].as_str().unwrap().contains("/first"));
    let since = world.now();
    world.resyncs("GetProject", 1);
    assert_eq!(world.writes(since), Vec::<String>::new());
    world.apply(
        KIND,
        "second",
        &with(project_spec(NAME), &json!({"adoptionPolicy": "Always"})),
    );
    world.delete(KIND, "first");
    world.gone(KIND, "first");
    world.settled(KIND, "second");
    assert_eq!(world.count(0, "CreateProject"), 1);
}

#[test]
fn a_paused_object_is_left_alone_and_says_so() {
    let mut world = World::new("pause");
    world.apply(KIND, "trail", &project_spec(NAME));
    world.start();
    world.settled(KIND, "trail");
    world.annotate(KIND, "trail", "ramtrail.io/paused", Some("true"));
    world.condition(KIND, "trail", "Ready", "Unknown", "Paused");
    world.condition(KIND, "trail", "Protected", "False", "Paused");
    let since = world.now();
    set_tag(&world, "ramtrail-owner", "scribble");
    world.patch_spec(KIND, "trail", &json!({"description": "while paused"}));
    world.until("trail", "the new generation is seen", |object: &AuditProject| {
        object.status.as_ref().and_then(|s| s.observed_generation) == object.metadata.generation
    });
    assert_eq!(world.writes(since), Vec::<String>::new());
    assert_eq!(world.reads(since), Vec::<String>::new());
    world.annotate(KIND, "trail", "ramtrail.io/paused", None);
    world.ready(KIND, "trail");
    world.eventually("the mark is back", || {
        (tags(&world)["ramtrail-owner"] != "scribble")
            .then_some(())
            .ok_or("scribble".to_owned())
    });
}

#[test]
fn observe_looks_and_writes_nothing() {
    let mut world = World::new("observe");
    world.apply(
        KIND,
        "trail",
        &with(project_spec(NAME), &json!({"managementPolicy": "Observe"})),
    );
    world.start();
    world.condition(KIND, "trail", "Synced", "False", "PlanPending");
    world.condition(KIND, "trail", "Ready", "False", "PlanPending");
    world.condition(KIND, "trail", "Protected", "False", "ObserveOnly");
    let object: AuditProject = world.get("trail");
    assert_eq!(object.metadata.finalizers, None);
    let status = object.status.unwrap();
    assert!(status.plan[0].contains("create project"), "{:?}", status.plan);
    made_by_intruder(&world, "");
    world.condition(KIND, "trail", "Ready", "True", "Available");
    assert_eq!(world.writes(0), Vec::<String>::new());
    world.delete(KIND, "trail");
    world.gone(KIND, "trail");
    assert_eq!(world.writes(0), Vec::<String>::new());
}

#[test]
fn abandon_frees_at_once_and_says_what_is_left() {
    let mut world = World::new("abandon").option("--deletion-grace=1h");
    world.apply(
        KIND,
        "trail",
        &with(project_spec(NAME), &json!({"deletionPolicy": "Delete"})),
    );
    world.start();
    world.settled(KIND, "trail");
    world.write_secret(CREDENTIALS, KEY, SECRET, false);
    world.delete(KIND, "trail");
    world.condition(KIND, "trail", "Stalled", "True", "CredentialsNotFound");
    world.annotate(KIND, "trail", "ramtrail.io/abandon", Some("true"));
    world.gone(KIND, "trail");
    assert!(exists(&world));
    let note = world.event("LeftInCloud");
    assert!(note.contains(&format!("project/{NAME}")), "{note}");
}

#[test]
fn without_access_a_deletion_ends_after_the_grace() {
    let mut world = World::new("grace").option("--deletion-grace=2s");
    world.apply(
        KIND,
        "trail",
        &with(project_spec(NAME), &json!({"deletionPolicy": "Delete"})),
    );
    world.start();
    world.settled(KIND, "trail");
    world.write_secret(CREDENTIALS, KEY, SECRET, false);
    world.delete(KIND, "trail");
    world.gone(KIND, "trail");
    assert!(exists(&world));
    assert!(world.event("LeftInCloud").contains(NAME));
}

#[test]
fn a_namespace_goes_although_its_credentials_went_first() {
    let mut world = World::new("namespace").option("--deletion-grace=1h");
    world.apply(
        KIND,
        "trail",
        &with(project_spec(NAME), &json!({"deletionPolicy": "Delete"})),
    );
    world.start();
    world.settled(KIND, "trail");
    world.write_secret(CREDENTIALS, KEY, SECRET, false);
    world.delete_namespace();
    world.gone(KIND, "trail");
    assert!(
        world.event("LeftInCloud").contains(NAME),
        "told in the operator's namespace"
    );
}

#[test]
fn what_was_never_created_goes_at_once() {
    let mut world = World::new("never").option("--deletion-grace=1h");
    let spec = with(
        project_spec(NAME),
        &json!({"credentials": {"secretRef": {"name": "nowhere"}}, "deletionPolicy": "Delete"}),
    );
    world.apply(KIND, "trail", &spec);
    world.start();
    world.condition(KIND, "trail", "Stalled", "True", "CredentialsNotFound");
    world.delete(KIND, "trail");
    world.gone(KIND, "trail");
    assert_eq!(world.journal(0).len(), 0);
}

#[test]
fn one_unavailable_answer_changes_no_condition() {
    let mut world = World::new("once");
    world.apply(KIND, "trail", &project_spec(NAME));
    world.start();
    world.settled(KIND, "trail");
    world.resyncs("GetProject", 1);
    let versions = world.versions();
    let fault = json!({"match": {"action": "GetProject", "times": 4},
        "fault": {"kind": "status", "status": 503, "code": "ServerBusy", "message": "busy"}});
    world.emulator.add_fault(&fault).unwrap();
    world.resyncs("GetProject", 6);
    assert_eq!(world.versions(), versions);
    let fault = json!({"match": {"action": "GetProject", "times": 0},
        "fault": {"kind": "status", "status": 503, "code": "ServerBusy", "message": "busy"}});
    world.emulator.add_fault(&fault).unwrap();
    world.condition(KIND, "trail", "Synced", "Unknown", "Transient");
    world.condition(KIND, "trail", "Ready", "Unknown", "ObservationStale");
    world.emulator.remove_faults().unwrap();
    world.ready(KIND, "trail");
    world.condition(KIND, "trail", "Synced", "True", "UpToDate");
}

/// The operator dies by SIGKILL while the answer to its n-th change is held back: the change has happened, and nobody
/// told it. The next one must end where an undisturbed one ends, with one successful create.
#[test]
fn a_lost_answer_and_a_killed_operator_end_the_same() {
    let spec = with(
        project_spec(NAME),
        &json!({"description": "words", "tags": {"team": "ml"}}),
    );
    for action in ["CreateProject", "TagResources"] {
        let mut world = World::new("crash");
        let fault =
            json!({"match": {"action": action, "caller": support::USER}, "fault": {"kind": "hold-after"}});
        world.emulator.add_fault(&fault).unwrap();
        world.apply(KIND, "trail", &spec);
        world.start();
        world.eventually(&format!("{action} is held"), || {
            let faults = world.emulator.get("faults").unwrap();
            if faults["faults"][0]["holding"] == 1 {
                Ok(())
            } else {
                Err(faults.to_string())
            }
        });
        world.kill();
        world.emulator.remove_faults().unwrap();
        world.start();
        world.settled(KIND, "trail");
        assert_eq!(world.count(0, "CreateProject"), 1, "{action}\n{}", world.report());
        let object: AuditProject = world.get("trail");
        let status = object.status.unwrap();
        assert_eq!(status.claim.unwrap().origin, Origin::Created, "{action}");
        assert_eq!(status.pending_create, None, "{action}");
        let now = tags(&world);
        assert_eq!(now["team"], "ml", "{action}");
        assert!(
            now["ramtrail-owner"].starts_with(support::CLUSTER),
            "{action}: {now:?}"
        );
        world.nothing_was_reduced();
    }
}
