//! Owns what the points of all matrices share: the kinds and their things, how a stack comes up, what the cloud holds by its
//! own account, and the judgements on the journal.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use ramtrail::aliyun::action_trail::TrailSettings;
use ramtrail::aliyun::log_service::{NewLogStore, Taggable};
use ramtrail::aliyun::{LogStoreName, ProjectName};
use ramtrail::api::v1alpha1::{AuditLogStore, AuditProject, RamTrail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use xtask::operator::{OperatorOptions, OperatorProcess};
use xtask::temp_dir::TempDir;

use crate::support::{
    ACCOUNT, CLUSTER, CREDENTIALS, OPERATOR_NAMESPACE, REGION, Row, World, api_server, project_spec,
    shows_no_secret, store_spec, wait,
};
use crate::trail_support::{PROJECT, STORE, TRAIL, trail_spec};

/// A kind under test. The object and the thing in the cloud have the same name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Project,
    Store,
    Trail,
}

/// All three.
pub const KINDS: [Kind; 3] = [Kind::Project, Kind::Store, Kind::Trail];

impl Kind {
    /// Kind and name of the object.
    pub fn object(self) -> (&'static str, &'static str) {
        match self {
            Self::Project => ("AuditProject", PROJECT),
            Self::Store => ("AuditLogStore", STORE),
            Self::Trail => ("RamTrail", TRAIL),
        }
    }

    /// The call that creates its thing.
    pub fn create(self) -> &'static str {
        match self {
            Self::Project => "CreateProject",
            Self::Store => "CreateLogStore",
            Self::Trail => "CreateTrail",
        }
    }

    /// The call that deletes its thing.
    pub fn delete(self) -> &'static str {
        match self {
            Self::Project => "DeleteProject",
            Self::Store => "DeleteLogStore",
            Self::Trail => "DeleteTrail",
        }
    }

    /// A read that each visit makes once.
    pub fn read(self) -> &'static str {
        match self {
            Self::Project => "GetProject",
            Self::Store => "GetIndex",
            Self::Trail => "GetTrailStatus",
        }
    }

    /// The spec, with changes.
    pub fn spec(self, changes: &Value) -> Value {
        let mut spec = match self {
            Self::Project => project_spec(PROJECT),
            Self::Store => store_spec(PROJECT, STORE, 30),
            Self::Trail => trail_spec(&json!({})),
        };
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Project => "project",
            Self::Store => "store",
            Self::Trail => "trail",
        })
    }
}

/// `deletionPolicy`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    Retain,
    Delete,
}

/// Both.
pub const POLICIES: [Policy; 2] = [Policy::Retain, Policy::Delete];

impl Policy {
    /// As a spec says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retain => "Retain",
            Self::Delete => "Delete",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().to_lowercase())
    }
}

/// Applies an object with a deletion policy.
pub fn apply(world: &World, kind: Kind, policy: Policy) {
    let (object, name) = kind.object();
    world.apply(
        object,
        name,
        &kind.spec(&json!({"deletionPolicy": policy.as_str()})),
    );
}

/// Applies what `kind` needs, retained, and the kind itself.
pub fn apply_with_parents(world: &World, kind: Kind, policy: Policy) {
    if kind != Kind::Project {
        apply(world, Kind::Project, Policy::Retain);
    }
    apply(world, kind, policy);
}

/// Waits until the kind, and what it needs, have nothing left to do.
pub fn settle(world: &World, kind: Kind) {
    for kind in [Kind::Project, kind] {
        let (object, name) = kind.object();
        world.settled(object, name);
    }
}

/// Asks for the deletion of a kind's object.
pub fn delete(world: &World, kind: Kind) {
    let (object, name) = kind.object();
    world.delete(object, name);
}

/// Waits until a kind's object is gone.
pub fn gone(world: &World, kind: Kind) {
    let (object, name) = kind.object();
    world.gone(object, name);
}

/// Waits until a kind's object is gone, and fails if it went before the grace was over.
pub fn gone_after(world: &World, kind: Kind, asked: Instant, grace: Duration) {
    gone(world, kind);
    assert!(
        asked.elapsed() >= grace,
        "the object went after {:?} although its cloud side was not settled\n{}",
        asked.elapsed(),
        world.report()
    );
}

/// The kind's things of any world, as the API server has them.
pub fn api(world: &World, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    let resource = match kind {
        Kind::Project => ApiResource::erase::<AuditProject>(&()),
        Kind::Store => ApiResource::erase::<AuditLogStore>(&()),
        Kind::Trail => ApiResource::erase::<RamTrail>(&()),
    };
    Api::namespaced_with(world.client.clone(), namespace, &resource)
}

/// The object as it is now, if it is there.
pub fn object(world: &World, kind: Kind) -> Option<DynamicObject> {
    wait(api(world, &world.namespace, kind).get_opt(kind.object().1)).unwrap()
}

/// `status.claim.origin` as it is now.
pub fn origin(world: &World, kind: Kind) -> String {
    let found = object(world, kind).unwrap();
    found.data["status"]["claim"]["origin"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Deletes the Secret with the keys.
pub fn lose_credentials(world: &World) {
    let api: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    wait(api.delete(CREDENTIALS, &DeleteParams::default())).unwrap();
}

/// What the emulator itself says that a project of an account holds.
pub fn cloud_project(world: &World, account: &str, project: &str) -> Option<Value> {
    world.state(account)["log"]
        .get(format!("{REGION}/{project}"))
        .cloned()
}

/// What the emulator itself says of the kind's thing.
pub fn thing(world: &World, kind: Kind) -> Option<Value> {
    match kind {
        Kind::Project => cloud_project(world, ACCOUNT, PROJECT),
        Kind::Store => cloud_project(world, ACCOUNT, PROJECT)?["stores"]
            .get(STORE)
            .cloned(),
        Kind::Trail => trail_of(world, ACCOUNT),
    }
}

/// The trail of an account, as the emulator itself says.
pub fn trail_of(world: &World, account: &str) -> Option<Value> {
    let trails = world.state(account)["trails"].clone();
    let trails = trails.as_array().cloned().unwrap_or_default();
    trails.into_iter().find(|trail| trail["name"] == TRAIL)
}

/// The mark of the kind's thing, wherever it lies, with its separators as `/`.
pub fn mark(world: &World, kind: Kind) -> Option<String> {
    let project = cloud_project(world, ACCOUNT, PROJECT)?;
    let tags = &project["tags"];
    let found = match kind {
        Kind::Project => &tags["ramtrail-owner"],
        Kind::Trail => &tags[format!("ramtrail-trail-{TRAIL}")],
        Kind::Store => {
            let own = &project["stores"][STORE]["tags"]["ramtrail-owner"];
            if own.is_string() {
                own
            } else {
                &tags[format!("ramtrail-store-{STORE}")]
            }
        }
    };
    found.as_str().map(|mark| mark.replace('_', "/"))
}

/// The mark that an object of a cluster has to write (decisions 4), worked out here once more.
pub fn mark_of(cluster: &str, kind: Kind, namespace: &str, name: &str) -> String {
    let digest = Sha256::digest(format!("{}/{namespace}/{name}", kind.object().0).as_bytes());
    let digest = hex::encode(&digest[..16]);
    format!("{cluster}/{digest}")
}

/// The mark of this world's object.
pub fn our_mark(world: &World, kind: Kind) -> String {
    mark_of(CLUSTER, kind, &world.namespace, kind.object().1)
}

/// Writes a mark as somebody else in the account would, in the spelling that the cloud takes.
pub fn forge(world: &World, kind: Kind, mark: &str) {
    let key = mark_key(world, kind);
    let target = mark_target(world, kind);
    let written = [mark.to_owned(), mark.replace('/', "_")].into_iter().any(|text| {
        let tags = BTreeMap::from([(key.clone(), text)]);
        wait(world.intruder().log_service.tag_resources(&target, &tags)).is_ok()
    });
    assert!(written, "nobody could write the mark {mark}");
}

/// Removes the mark as somebody else would.
pub fn unmark(world: &World, kind: Kind) {
    let (key, target) = (mark_key(world, kind), mark_target(world, kind));
    wait(world.intruder().log_service.untag_resources(&target, &[&key])).unwrap();
}

/// Whether this cloud lets log stores carry tags.
fn stores_carry_tags(world: &World) -> bool {
    let assumptions = world.emulator.get("assumptions").unwrap();
    let all = assumptions["assumptions"].as_array().unwrap();
    let found = all
        .iter()
        .find(|entry| entry["id"] == "sls.tag.logstore")
        .unwrap();
    found["chosen"] == "supported"
}

fn mark_key(world: &World, kind: Kind) -> String {
    match kind {
        Kind::Trail => format!("ramtrail-trail-{TRAIL}"),
        Kind::Store if !stores_carry_tags(world) => format!("ramtrail-store-{STORE}"),
        Kind::Project | Kind::Store => "ramtrail-owner".to_owned(),
    }
}

fn mark_target(world: &World, kind: Kind) -> Taggable {
    if kind == Kind::Store && stores_carry_tags(world) {
        Taggable::LogStore(project_name(), LogStoreName::new(STORE).unwrap())
    } else {
        Taggable::Project(project_name())
    }
}

/// Name of the project in the cloud.
pub fn project_name() -> ProjectName {
    ProjectName::new(PROJECT).unwrap()
}

/// Makes the kind's thing, and what it lies in, as somebody else in the account.
pub fn made_by_somebody(world: &World, kind: Kind) {
    match kind {
        Kind::Project => {
            wait(
                world
                    .intruder()
                    .log_service
                    .create_project(&project_name(), "theirs"),
            )
            .unwrap();
            shown(world, Kind::Project);
        }
        Kind::Store => somebodys_store(world, STORE),
        Kind::Trail => somebodys_trail(world, &project_arn()),
    }
}

/// A store that somebody else makes in the project.
pub fn somebodys_store(world: &World, name: &str) {
    let new = NewLogStore {
        name: LogStoreName::new(name).unwrap(),
        retention_days: 30,
        shard_count: 2,
        append_meta: false,
    };
    world.eventually("somebody makes a store", || {
        wait(
            world
                .intruder()
                .log_service
                .create_log_store(&project_name(), &new),
        )
        .map_err(|error| error.to_string())
    });
    world.eventually("the store is shown", || {
        wait(
            world
                .intruder()
                .log_service
                .get_log_store(&project_name(), &new.name),
        )
        .map(drop)
        .map_err(|error| error.to_string())
    });
}

/// ARN of the project.
pub fn project_arn() -> String {
    format!("acs:log:{REGION}:{ACCOUNT}:project/{PROJECT}")
}

/// A trail that somebody else makes and switches on.
pub fn somebodys_trail(world: &World, destination: &str) {
    let cloud = world.intruder();
    // It may be there already.
    wait(
        cloud
            .resource_manager
            .create_service_linked_role("actiontrail.aliyuncs.com"),
    )
    .ok();
    world.eventually("somebody makes a trail", || {
        wait(
            cloud
                .action_trail
                .create_trail(TRAIL, &TrailSettings::into_project(destination)),
        )
        .map_err(|error| error.to_string())
    });
    world.eventually("the trail is switched on", || {
        wait(cloud.action_trail.start_logging(TRAIL)).map_err(|error| error.to_string())
    });
}

/// Waits until everybody sees the kind's thing.
pub fn shown(world: &World, kind: Kind) {
    let cloud = world.intruder();
    world.eventually("it is shown", || {
        let seen = match kind {
            Kind::Project => wait(cloud.log_service.get_project(&project_name())).map(drop),
            Kind::Store => {
                let name = LogStoreName::new(STORE).unwrap();
                wait(cloud.log_service.get_log_store(&project_name(), &name)).map(drop)
            }
            Kind::Trail => wait(cloud.action_trail.get_trail_status(TRAIL)).map(drop),
        };
        seen.map_err(|error| error.to_string())
    });
}

/// Deletes the kind's thing as somebody else would.
pub fn deleted_by_somebody(world: &World, kind: Kind) {
    let cloud = world.intruder();
    world.eventually("somebody deletes it", || {
        let done = match kind {
            Kind::Project => wait(cloud.log_service.delete_project(&project_name())).map(drop),
            Kind::Store => {
                let name = LogStoreName::new(STORE).unwrap();
                wait(cloud.log_service.delete_log_store(&project_name(), &name)).map(drop)
            }
            Kind::Trail => wait(cloud.action_trail.delete_trail(TRAIL)).map(drop),
        };
        done.map_err(|error| error.to_string())
    });
}

/// A fault on all calls of the operator.
pub fn all_calls(fault: &Value) -> Value {
    json!({"match": {"times": 0, "caller": crate::support::USER}, "fault": fault})
}

/// The operator's calls that changed something after a row, marks apart: action and resource.
pub fn changes(world: &World, since: u64) -> Vec<String> {
    world
        .journal(since)
        .iter()
        .filter(|row| row.is_ours() && row.is_change())
        .filter(|row| !["TagResources", "UntagResources"].contains(&row.action()))
        .map(named)
        .collect()
}

/// All calls of the operator that changed something after a row.
pub fn writes(world: &World, since: u64) -> Vec<String> {
    world
        .journal(since)
        .iter()
        .filter(|row| row.is_ours() && row.is_change())
        .map(named)
        .collect()
}

/// Writes of the operator after a row, whatever was answered.
pub fn attempts(world: &World, since: u64) -> Vec<String> {
    world
        .journal(since)
        .iter()
        .filter(|row| row.is_ours() && row.is_write())
        .map(named)
        .collect()
}

fn named(row: &Row) -> String {
    let resource = row.0["resources"][0].as_str().unwrap_or_default();
    let short = resource.rsplit(':').next().unwrap_or_default();
    format!("{} {short}", row.action())
}

/// Fails unless the calls are these, and prints both beside the journal.
pub fn expect(world: &World, what: &str, got: &[String], expected: &[&str]) {
    assert!(
        got == expected,
        "{what}\n     got: {got:?}\nexpected: {expected:?}\n{}",
        world.report()
    );
}

/// The whole journal's judgement: no call reduced anything but the deletions that were asked for, and the operator's secret is
/// nowhere. A mark that is removed after what it stood for is gone reduces nothing.
pub fn only_these_reduced(world: &World, deletions: &[&str]) {
    let journal = world.journal(0);
    let reducing: Vec<String> = journal
        .iter()
        .enumerate()
        .filter(|(_, row)| {
            row.is_ours() && (row.reduces() || (row.is_change() && row.action().starts_with("Delete")))
        })
        .filter(|(at, row)| !is_tidying(&journal[..*at], row))
        .map(|(_, row)| named(row))
        .collect();
    expect(world, "calls that reduce or delete", &reducing, deletions);
}

/// Whether a call only removed the mark of a store or a trail that was deleted before, by whomever.
fn is_tidying(before: &[Row], row: &Row) -> bool {
    let was_deleted = |kind: Kind| {
        before
            .iter()
            .any(|row| row.is_change() && row.action() == kind.delete())
    };
    row.action() == "UntagResources"
        && row.0["effects"].as_array().is_some_and(|effects| {
            effects.iter().all(|effect| {
                let field = effect["field"].as_str().unwrap_or_default();
                (field.ends_with(&format!("/tag/ramtrail-store-{STORE}")) && was_deleted(Kind::Store))
                    || (field.ends_with(&format!("/tag/ramtrail-trail-{TRAIL}")) && was_deleted(Kind::Trail))
            })
        })
}

/// An operator that a world does not start itself: another cluster's, one with an identity of its own, or one behind a recorder.
pub struct Operator {
    process: Option<OperatorProcess>,
    kubeconfig: PathBuf,
    keys: Option<(String, String)>,
    logs_before: String,
    _dir: TempDir,
}

impl Operator {
    /// Not started yet.
    pub fn new(world: &World) -> Self {
        let dir = TempDir::new("operator").unwrap();
        let kubeconfig = dir.path().join("kubeconfig");
        world
            .kubectl
            .write_service_account_kubeconfig(&kubeconfig, OPERATOR_NAMESPACE, "ramtrail")
            .unwrap();
        Self {
            process: None,
            kubeconfig,
            keys: None,
            logs_before: String::new(),
            _dir: dir,
        }
    }

    /// With keys of its own in its environment.
    pub fn with_identity(mut self, key: &str, secret: &str) -> Self {
        self.keys = Some((key.to_owned(), secret.to_owned()));
        self
    }

    /// Starts it, or starts it again, on a cloud, with these flags besides those of all tests; a flag given here wins.
    pub fn start(&mut self, cloud: &str, flags: &[&str]) {
        self.kill();
        let defaults = [
            "--namespace=ramtrail-system",
            "--cluster-id=test-cluster",
            "--leader-elect=false",
            "--resync-interval=2s",
            "--poll-interval=1s",
            "--claim-confirmation=1s",
            "--due-call-interval=2s",
            "--deletion-grace=1h",
            "--http-listen=127.0.0.1:0",
            "--log-level=ramtrail=trace,info",
        ];
        let is_given = |default: &str| {
            let flag = &default[..=default.find('=').unwrap()];
            flags.iter().any(|given| given.starts_with(flag))
        };
        let mut options = OperatorOptions::new(&self.kubeconfig).arg(format!("--cloud-endpoint={cloud}"));
        for flag in defaults.iter().filter(|default| !is_given(default)).chain(flags) {
            options = options.arg(*flag);
        }
        if let Some((key, secret)) = &self.keys {
            options = options.credentials(key, secret);
        }
        self.process = Some(OperatorProcess::start(&options).unwrap());
    }

    /// Ends it as the kernel would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            self.logs_before.push_str(&process.logs());
        }
    }

    /// Everything it has logged.
    pub fn logs(&self) -> String {
        let now = self
            .process
            .as_ref()
            .map(OperatorProcess::logs)
            .unwrap_or_default();
        format!("{}{now}", self.logs_before)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let tail = crate::support::tail_without_trace(&self.logs(), 60);
            eprintln!("--- the operator at the failure\n{tail}");
        } else {
            shows_no_secret(&self.logs());
        }
    }
}

/// A namespace besides that of a world.
pub fn second_namespace() -> String {
    api_server::namespace(&api_server::kubectl(), "second")
}

/// Puts keys into a Secret of another namespace.
pub fn write_secret(world: &World, namespace: &str, name: &str, key: &str, secret: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {"ramtrail.io/credentials": "true"}},
        "stringData": {"ALIBABA_CLOUD_ACCESS_KEY_ID": key, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret},
    });
    world.kubectl.apply(&object.to_string()).unwrap();
}

/// Applies an object in any namespace.
///
/// # Errors
/// What the API server says against it.
pub fn put(world: &World, namespace: &str, kind: Kind, name: &str, spec: &Value) -> Result<(), String> {
    let object = json!({
        "apiVersion": "ramtrail.io/v1alpha1", "kind": kind.object().0,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    });
    let parameters = PatchParams::apply("test").force();
    wait(api(world, namespace, kind).patch(name, &parameters, &Patch::Apply(&object)))
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The conditions of an object in any namespace.
pub fn conditions(world: &World, namespace: &str, kind: Kind, name: &str) -> Vec<Value> {
    let found = wait(api(world, namespace, kind).get_opt(name)).unwrap();
    found
        .and_then(|object| object.data["status"]["conditions"].as_array().cloned())
        .unwrap_or_default()
}

/// Waits until an object in any namespace says something.
pub fn says(
    world: &World,
    namespace: &str,
    kind: Kind,
    name: &str,
    type_: &str,
    status: &str,
    reason: &str,
) -> String {
    world.eventually(
        &format!("{kind} {namespace}/{name}: {type_} is {status}/{reason}"),
        || {
            let all = conditions(world, namespace, kind, name);
            all.iter()
                .find(|c| c["type"] == type_ && c["status"] == status && c["reason"] == reason)
                .map(|c| c["message"].as_str().unwrap_or_default().to_owned())
                .ok_or(format!("{all:#?}"))
        },
    )
}
