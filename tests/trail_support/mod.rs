//! What the tests of trails add to a world: the copy role, the seed's objects, other people's calls and a look into stores.
#![allow(clippy::unwrap_used, dead_code)] // each test program uses its own part

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use ramtrail::aliyun::action_trail::Trail;
use ramtrail::aliyun::log_service::{LogQuery, LogStore, Taggable};
use ramtrail::aliyun::sign::{acs3, wire_query};
use ramtrail::aliyun::{JobName, LogStoreName, ProjectName};
use serde_json::{Value, json};

use crate::support::{ACCOUNT, World, project_spec, store_spec, wait};

/// Project of the tests; each world has a cloud of its own.
pub const PROJECT: &str = "ai-audit";
/// Trail of the tests.
pub const TRAIL: &str = "ram-access";
/// Store that the copy job writes.
pub const STORE: &str = "ai-logs";
/// Role of the copy job.
pub const COPY_ROLE: &str = "ramtrail-copy";
/// Kind under test.
pub const KIND: &str = "RamTrail";
/// The objects of the stack: kind and name.
pub const STACK: [(&str, &str); 3] = [("AuditProject", PROJECT), ("AuditLogStore", STORE), (KIND, TRAIL)];
/// What the cloud is asked to change for the whole stack, sorted (decisions 9): project 2, store 3, trail 3, role 1, copy job 2.
pub const CALLS: [&str; 11] = [
    "CreateETL",
    "CreateIndex",
    "CreateLogStore",
    "CreateProject",
    "CreateServiceLinkedRole",
    "CreateTrail",
    "StartETL",
    "StartLogging",
    "TagResources",
    "TagResources",
    "TagResources",
];

const ADMIN_KEY: &str = "LTAIadminKey00000001";
const ADMIN_SECRET: &str = "secretOfTheAdministrator001";
/// SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The store that ActionTrail makes.
pub fn trail_store() -> LogStoreName {
    LogStoreName::new(&format!("actiontrail_{TRAIL}")).unwrap()
}

/// The project.
pub fn project() -> ProjectName {
    ProjectName::new(PROJECT).unwrap()
}

/// The copy job.
pub fn job() -> JobName {
    JobName::new(&format!("ramtrail-{TRAIL}")).unwrap()
}

/// ARN of the copy role.
pub fn copy_role_arn() -> String {
    format!("acs:ram::{ACCOUNT}:role/{COPY_ROLE}")
}

/// The spec of the trail, with changes.
pub fn trail_spec(changes: &Value) -> Value {
    let mut spec = json!({"projectRef": {"name": PROJECT}, "trailName": TRAIL});
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

/// A copy of everything that is RAM access.
pub fn copy_to() -> Value {
    json!({"logStoreRef": {"name": STORE}, "roleARN": copy_role_arn()})
}

/// A world with a hostile cloud in which the copy role exists.
pub fn world(purpose: &str) -> World {
    let world = World::new(purpose);
    prepare(&world);
    world
}

/// Makes the role that copy jobs work as, and an administrator's key.
pub fn prepare(world: &World) {
    world
        .emulator
        .add_identity(&json!({
            "accessKeyId": ADMIN_KEY, "accessKeySecret": ADMIN_SECRET, "account": ACCOUNT, "user": "administrator",
            "policies": ["AdministratorAccess"],
        }))
        .unwrap();
    create_role(world, COPY_ROLE, "log.aliyuncs.com");
}

/// Applies the project.
pub fn apply_project(world: &World) {
    world.apply("AuditProject", PROJECT, &project_spec(PROJECT));
}

/// Applies the store.
pub fn apply_store(world: &World) {
    world.apply("AuditLogStore", STORE, &store_spec(PROJECT, STORE, 30));
}

/// Applies the trail.
pub fn apply_trail(world: &World, changes: &Value) {
    world.apply(KIND, TRAIL, &trail_spec(changes));
}

/// Applies the whole stack: project, store, and a trail that is copied into the store.
pub fn apply_stack(world: &World) {
    apply_project(world);
    apply_store(world);
    apply_trail(world, &json!({"copyTo": copy_to()}));
}

/// A role that a service of the cloud may take, with all rights on Log Service.
pub fn create_role(world: &World, name: &str, service: &str) {
    let trust = json!({"Version": "1", "Statement": [
        {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": [service]}},
    ]});
    ram(
        world,
        "CreateRole",
        &[
            ("RoleName", name),
            ("AssumeRolePolicyDocument", &trust.to_string()),
        ],
    )
    .unwrap();
    let policy = [
        ("PolicyType", "System"),
        ("PolicyName", "AliyunLogFullAccess"),
        ("RoleName", name),
    ];
    // The cloud may show what was just made a moment later.
    world.eventually("the role gets its policy", || {
        ram(world, "AttachPolicyToRole", &policy)
    });
}

/// Takes a role of [`create_role`] away: whatever works as it does no more.
pub fn take_role_away(world: &World, name: &str) {
    let policy = [
        ("PolicyType", "System"),
        ("PolicyName", "AliyunLogFullAccess"),
        ("RoleName", name),
    ];
    ram(world, "DetachPolicyFromRole", &policy).unwrap();
    ram(world, "DeleteRole", &[("RoleName", name)]).unwrap();
}

/// A call of the administrator to RAM.
pub fn ram(world: &World, action: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
    ram_as(world, ADMIN_KEY, ADMIN_SECRET, action, parameters)
}

/// A call of anybody to RAM.
pub fn ram_as(
    world: &World,
    key: &str,
    secret: &str,
    action: &str,
    parameters: &[(&str, &str)],
) -> Result<Value, String> {
    rpc(
        world,
        key,
        secret,
        ("ram.aliyuncs.com", "2015-05-01"),
        action,
        parameters,
    )
}

/// A signed call to an RPC service.
pub fn rpc(
    world: &World,
    key: &str,
    secret: &str,
    (host, version): (&str, &str),
    action: &str,
    parameters: &[(&str, &str)],
) -> Result<Value, String> {
    let own = |text: &str| text.to_owned();
    let now = cloud_now(world);
    let nonce =
        format!("{}-{}", std::process::id(), world.now()) + &Timestamp::now().as_nanosecond().to_string();
    let query: Vec<(String, String)> = parameters
        .iter()
        .map(|(name, value)| (own(name), own(value)))
        .collect();
    let headers: Vec<(String, String)> = [
        ("host", host),
        ("x-acs-action", action),
        ("x-acs-content-sha256", EMPTY),
        ("x-acs-date", &acs3::format_date(now)),
        ("x-acs-signature-nonce", &nonce),
        ("x-acs-version", version),
    ]
    .map(|(name, value)| (own(name), own(value)))
    .to_vec();
    let request = acs3::Request {
        method: "POST",
        query: &query,
        headers: &headers,
        payload_sha256: EMPTY,
    };
    let authorization = acs3::authorization(key, &secrecy::SecretString::from(own(secret)), &request);
    let url = format!("{}/?{}", world.emulator.url(), wire_query(&query));
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let mut call = agent
        .post(&url)
        .header("authorization", &authorization)
        .header("user-agent", "somebody/1.0");
    for (name, value) in &headers {
        call = call.header(name, value);
    }
    let mut answer = call.send_empty().map_err(|error| error.to_string())?;
    let text = answer
        .body_mut()
        .read_to_string()
        .map_err(|error| error.to_string())?;
    if answer.status().is_success() {
        Ok(serde_json::from_str(&text).unwrap_or_default())
    } else {
        Err(text)
    }
}

/// The cloud's clock.
pub fn cloud_now(world: &World) -> Timestamp {
    let clock = world.emulator.get("clock").unwrap();
    Timestamp::from_millisecond(clock["epochMillis"].as_i64().unwrap()).unwrap()
}

/// Lets a minute of the cloud's time pass, and what was under way arrive.
pub fn deliver(world: &World) {
    world.emulator.jump(Duration::from_secs(70)).unwrap();
}

/// The trail as an administrator sees it.
pub fn trail(world: &World) -> Option<Trail> {
    let trails = wait(world.intruder().action_trail.describe_trails(&[TRAIL], true))
        .unwrap()
        .value;
    trails.into_iter().find(|trail| trail.name == TRAIL)
}

/// Waits until the trail is as wanted.
pub fn until_trail(world: &World, what: &str, wanted: impl Fn(&Trail) -> bool) -> Trail {
    world.eventually(what, || match trail(world) {
        Some(trail) if wanted(&trail) => Ok(trail),
        other => Err(format!("{other:?}")),
    })
}

/// The trail's own store.
pub fn store(world: &World) -> LogStore {
    wait(
        world
            .intruder()
            .log_service
            .get_log_store(&project(), &trail_store()),
    )
    .unwrap()
    .value
}

/// Waits until the store's retention in the cloud is this.
pub fn until_retention(world: &World, days: i64) {
    world.eventually(&format!("the store keeps {days} days"), || {
        let name = LogStoreName::new(STORE).unwrap();
        let found = wait(world.intruder().log_service.get_log_store(&project(), &name));
        match found {
            Ok(answer) if answer.value.retention_days() == Some(days) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Somebody else sets the store's retention.
pub fn set_retention(world: &World, days: i64) {
    let name = LogStoreName::new(STORE).unwrap();
    let cloud = world.intruder().log_service;
    let mut store = wait(cloud.get_log_store(&project(), &name)).unwrap().value;
    store.set_retention_days(days);
    wait(cloud.update_log_store(&project(), &name, &store)).unwrap();
}

/// The tags of the project.
pub fn tags(world: &World) -> BTreeMap<String, String> {
    wait(
        world
            .intruder()
            .log_service
            .list_tag_resources(&Taggable::Project(project())),
    )
    .unwrap()
    .value
}

/// Rows of a store of the project that match a search, over all time.
pub fn rows(world: &World, store: &LogStoreName, search: &str) -> Vec<BTreeMap<String, String>> {
    rows_in(world, PROJECT, store, search)
}

/// Rows of a store of any project that match a search, over all time.
pub fn rows_in(
    world: &World,
    project: &str,
    store: &LogStoreName,
    search: &str,
) -> Vec<BTreeMap<String, String>> {
    let query = LogQuery {
        from: 1,
        to: cloud_now(world).as_second() + 3600,
        query: search.to_owned(),
        line: 100,
        offset: 0,
        reverse: true,
    };
    let project = ProjectName::new(project).unwrap();
    wait(world.intruder().log_service.get_logs(&project, store, &query))
        .map(|answer| answer.value.rows)
        .unwrap_or_default()
}

/// Waits until the trail is Ready, its claim confirmed, and its delivery proved.
pub fn settle(world: &World) {
    world.settled(KIND, TRAIL);
    deliver(world);
    world.condition(KIND, TRAIL, "Delivering", "True", "EventsArriving");
    world.settled(KIND, TRAIL);
}

/// Waits until each object of the stack is as its spec says.
pub fn stack_settled(world: &World) {
    for (kind, name) in STACK {
        world.settled(kind, name);
    }
}

/// Waits until the whole stack is as its specs say, and its delivery proved.
pub fn settle_stack(world: &World) {
    stack_settled(world);
    deliver(world);
    world.condition(KIND, TRAIL, "Delivering", "True", "EventsArriving");
    stack_settled(world);
}
