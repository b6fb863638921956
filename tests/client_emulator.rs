//! Every operation of the cloud clients against the emulator as a process: its life, its errors and what they
//! are taken for. The emulator shares nothing with the clients and is itself judged by official SDKs.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use ramtrail::aliyun::action_trail::{EventLookup, EventRw, LookupKey, TrailSettings, TrailState};
use ramtrail::aliyun::log_service::{
    EtlConfiguration, EtlDefinition, EtlSink, LogQuery, NewLogStore, Taggable,
};
use ramtrail::aliyun::ram::ACTION_TRAIL_ROLE;
use ramtrail::aliyun::resource_manager::ACTION_TRAIL_SERVICE;
use ramtrail::aliyun::sign::{self, acs3};
use ramtrail::aliyun::{
    Class, Cloud, CloudClients, CloudOptions, ClusterId, Credential, Error, ErrorKind, JobName, LogStoreName,
    NoObserver, ProjectName, PublishedRates, Region, ReqwestSender, RetryPolicy, Service, StaticCredentials,
    TransportFailure, TransportOptions,
};
use serde_json::{Value, json};
use xtask::emulator::EmulatorProcess;

const ACCOUNT: &str = "1234567890123456";
const OTHER_ACCOUNT: &str = "6543210987654321";
const KEY: (&str, &str) = ("LTAIclientTestKey000001", "client-test-secret-000000000001");
const OTHER_KEY: (&str, &str) = ("LTAIclientTestKey000002", "client-test-secret-000000000002");

/// The emulator and the way to it.
struct Stage {
    emulator: EmulatorProcess,
    cloud: Cloud,
    clients: CloudClients,
}

impl Stage {
    fn start(args: &[&str]) -> Self {
        logs();
        let keys = [
            format!("{}:{}:{ACCOUNT}", KEY.0, KEY.1),
            format!("{}:{}:{OTHER_ACCOUNT}", OTHER_KEY.0, OTHER_KEY.1),
        ];
        let mut all = vec!["--access-key", keys[0].as_str(), "--access-key", keys[1].as_str()];
        all.extend(args);
        let emulator = EmulatorProcess::start(&all).unwrap();
        let cloud = cloud(&emulator);
        let clients = clients(&cloud, KEY.0, KEY.1).with_account(ACCOUNT);
        Self {
            emulator,
            cloud,
            clients,
        }
    }

    fn with_key(&self, key: (&str, &str)) -> CloudClients {
        clients(&self.cloud, key.0, key.1)
    }

    /// A RAM user of the account with these policy documents.
    fn user(&self, id: &str, documents: &[Value]) -> CloudClients {
        let secret = "client-test-user-secret-0001";
        let identity = json!({
            "accessKeyId": id, "accessKeySecret": secret, "account": ACCOUNT, "user": id.to_lowercase(),
            "policyDocuments": documents,
        });
        self.emulator.post("identities", &identity).unwrap();
        clients(&self.cloud, id, secret).with_account(ACCOUNT)
    }

    /// A role that Log Service may assume and that may do anything there; its ARN. Our clients have no call that
    /// makes roles, so these two are made by hand, with our signature.
    async fn role_for_log_service(&self, name: &str) -> String {
        let trust = json!({ "Version": "1", "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": { "Service": ["log.aliyuncs.com"] },
        }] });
        self.ram_call(
            "CreateRole",
            &[
                ("RoleName", name),
                ("AssumeRolePolicyDocument", &trust.to_string()),
            ],
        )
        .await;
        let policy = ("PolicyName", "AliyunLogFullAccess");
        self.ram_call(
            "AttachPolicyToRole",
            &[("RoleName", name), ("PolicyType", "System"), policy],
        )
        .await;
        self.clients.ram.get_role(name).await.unwrap().value.arn.unwrap()
    }

    async fn ram_call(&self, action: &str, parameters: &[(&str, &str)]) {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let (query, hash) = (pairs(parameters), sign::sha256_hex(&[]));
        let headers = pairs(&[
            ("host", "ram.aliyuncs.com"),
            ("x-acs-action", action),
            ("x-acs-version", "2015-05-01"),
            ("x-acs-date", &acs3::format_date(jiff::Timestamp::now())),
            ("x-acs-signature-nonce", &format!("{action}-by-hand")),
            ("x-acs-content-sha256", &hash),
        ]);
        let request = acs3::Request {
            method: "POST",
            query: &query,
            headers: &headers,
            payload_sha256: &hash,
        };
        let authorization = acs3::authorization(KEY.0, &KEY.1.into(), &request);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/?{}", self.emulator.url(), sign::wire_query(&query));
        let request = headers.iter().fold(client.post(url), |request, (name, value)| {
            request.header(name, value)
        });
        let answer = request
            .header("authorization", authorization)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{action}: {}", answer.text().await.unwrap());
    }

    fn fault(&self, action: &str, fault: &Value) {
        let fault = json!({ "fault": fault, "match": { "action": action, "nth": 1, "times": 1 } });
        self.emulator.post("faults", &fault).unwrap();
    }

    /// The journal's rows of one action.
    fn journal(&self, action: &str) -> Vec<Value> {
        let journal = self.emulator.get("journal").unwrap();
        let rows = journal["rows"].as_array().unwrap();
        rows.iter()
            .filter(|row| row["action"] == action)
            .cloned()
            .collect()
    }

    /// A project with a store, ready to use.
    async fn project_with_store(&self) -> (ProjectName, LogStoreName) {
        let (project, store) = (project("ai-workload-audit-trail"), store("ai-workload-log-store"));
        let log = &self.clients.log_service;
        log.create_project(&project, "test").await.unwrap();
        settled("the project is visible", async || log.get_project(&project).await).await;
        let new = NewLogStore {
            name: store.clone(),
            retention_days: 30,
            shard_count: 2,
            append_meta: false,
        };
        log.create_log_store(&project, &new).await.unwrap();
        settled("the store is visible", async || {
            log.get_log_store(&project, &store).await
        })
        .await;
        (project, store)
    }

    fn project_arn(&self, project: &ProjectName) -> String {
        format!("acs:log:{}:{ACCOUNT}:project/{project}", self.clients.region())
    }
}

fn cloud(emulator: &EmulatorProcess) -> Cloud {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint = Some(emulator.url().parse().unwrap());
    let transport = TransportOptions {
        cloud_endpoint: endpoint,
        ..TransportOptions::default()
    };
    let mut options = CloudOptions::new(ClusterId::new("client-test").unwrap());
    // The emulator's quotas are the judge here, not our share of them.
    let rate = 10_000.0;
    options.rates = PublishedRates {
        log_management: rate,
        action_trail_write: rate,
        action_trail_read: rate,
        lookup_events: rate,
        ram: rate,
        resource_manager: rate,
        sts: rate,
    };
    // Longer than the second after which every quota is free again.
    options.retry = RetryPolicy {
        max_attempts: 12,
        ..RetryPolicy::default()
    };
    Cloud::new(
        options,
        Arc::new(ReqwestSender::new(transport).unwrap()),
        Arc::new(NoObserver),
    )
}

fn clients(cloud: &Cloud, id: &str, secret: &str) -> CloudClients {
    let keys = StaticCredentials::new("test", Credential::new(id, secret));
    cloud.clients(Arc::new(keys), &Region::new("cn-hangzhou").unwrap())
}

fn project(name: &str) -> ProjectName {
    ProjectName::new(name).unwrap()
}

fn store(name: &str) -> LogStoreName {
    LogStoreName::new(name).unwrap()
}

fn job(name: &str) -> JobName {
    JobName::new(name).unwrap()
}

/// The answer of a call once it succeeds. What was just made may not be seen at once, and what was just changed
/// may not be changed again at once; every other failure is one.
async fn settled<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T, Error>) -> T {
    let mut last = None;
    for _ in 0..600 {
        match call().await {
            Ok(value) => return value,
            Err(error) => {
                let pending = [Class::NotFound, Class::NotReady, Class::Transient];
                assert!(pending.contains(&error.classify()), "{what}: {error:?}");
                last = Some(error);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: {last:?}")
}

/// Repeats until a condition holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it never came true that {what}")
}

#[track_caller]
fn assert_class<T: std::fmt::Debug>(result: Result<T, Error>, class: Class) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.classify(), class, "{error:?}");
    error
}

/// Whether everything that was sent is there; the cloud may add defaults.
#[track_caller]
fn assert_contains(found: &Value, sent: &Value) {
    match (found, sent) {
        (Value::Object(found), Value::Object(sent)) => {
            for (name, value) in sent {
                assert_contains(found.get(name).unwrap_or(&Value::Null), value);
            }
        }
        _ => assert_eq!(found, sent),
    }
}

const PROFILES: [&[&str]; 2] = [&[], &["--profile", "hostile"]];

#[tokio::test]
async fn a_project_lives_from_create_to_delete() {
    for profile in PROFILES {
        let stage = Stage::start(profile);
        let log = &stage.clients.log_service;
        let name = project("ai-workload-audit-trail");
        assert_class(log.get_project(&name).await, Class::NotFound);
        let before = stage.clients.cloud_now();
        let created = log
            .create_project(&name, "Project to store AI workload audit trails")
            .await
            .unwrap();
        assert!(created.call.request_id.is_some());
        assert_class(log.create_project(&name, "again").await, Class::AlreadyExists);
        let found = settled("the project is visible", async || log.get_project(&name).await)
            .await
            .value;
        assert_eq!(found.project_name, name.as_str());
        assert_eq!(found.description, "Project to store AI workload audit trails");
        assert_eq!(found.region.as_deref(), Some("cn-hangzhou"));
        let near =
            |time: &jiff::Timestamp| time.duration_since(before).abs() < SignedDuration::from_secs(120);
        let candidates = found.create_time_candidates();
        assert!(candidates.iter().any(near), "{candidates:?} {before}");
        log.update_project(&name, "other words é \" \\ 中").await.unwrap();
        assert_eq!(
            log.get_project(&name).await.unwrap().value.description,
            "other words é \" \\ 中"
        );
        assert_class(
            log.update_project(&name, &"x".repeat(2000)).await,
            Class::InvalidSpec,
        );
        log.delete_project(&name).await.unwrap();
        assert_class(log.get_project(&name).await, Class::NotFound);
        assert_class(log.delete_project(&name).await, Class::NotFound);
    }
}

#[tokio::test]
async fn tags_of_a_project_are_set_read_and_removed() {
    for profile in PROFILES {
        let stage = Stage::start(profile);
        let log = &stage.clients.log_service;
        let (name, store_name) = stage.project_with_store().await;
        let target = Taggable::Project(name);
        assert!(log.list_tag_resources(&target).await.unwrap().value.is_empty());
        let tags: BTreeMap<String, String> = (0..15)
            .map(|n| (format!("key-{n}"), format!("value {n} é=&+%")))
            .collect();
        log.tag_resources(&target, &tags).await.unwrap();
        assert_eq!(log.list_tag_resources(&target).await.unwrap().value, tags);
        log.tag_resources(&target, &[("key-0".to_owned(), "new".to_owned())].into())
            .await
            .unwrap();
        log.untag_resources(&target, &["key-1", "no-such-key"])
            .await
            .unwrap();
        let mut expected = tags;
        expected.insert("key-0".to_owned(), "new".to_owned());
        expected.remove("key-1");
        assert_eq!(log.list_tag_resources(&target).await.unwrap().value, expected);
        log.untag_resources(&target, &[]).await.unwrap();
        assert_eq!(
            log.list_tag_resources(&target).await.unwrap().value,
            expected,
            "no keys remove nothing"
        );

        let missing = Taggable::Project(project("no-such-project"));
        assert_class(
            log.tag_resources(&missing, &[("k".to_owned(), "v".to_owned())].into())
                .await,
            Class::NotFound,
        );
        let Taggable::Project(name) = target else {
            unreachable!()
        };
        let of_store = Taggable::LogStore(name, store_name);
        let mark: BTreeMap<String, String> = [("k".to_owned(), "v".to_owned())].into();
        match log.tag_resources(&of_store, &mark).await {
            Ok(_) => assert_eq!(log.list_tag_resources(&of_store).await.unwrap().value, mark),
            Err(error) => assert_eq!(error.classify(), Class::InvalidSpec, "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_log_store_lives_from_create_to_delete() {
    for profile in PROFILES {
        let stage = Stage::start(profile);
        let log = &stage.clients.log_service;
        let (project, name) = stage.project_with_store().await;
        let new = NewLogStore {
            name: name.clone(),
            retention_days: 30,
            shard_count: 2,
            append_meta: false,
        };
        assert_class(log.create_log_store(&project, &new).await, Class::AlreadyExists);
        let mut found = log.get_log_store(&project, &name).await.unwrap().value;
        assert_eq!((found.retention_days(), found.shard_count()), (Some(30), Some(2)));
        assert_eq!(found.name(), Some(name.as_str()));
        assert!(!found.anonymous_writing());
        assert!(found.create_time().is_some());
        let shards = log.list_shards(&project, &name).await.unwrap().value;
        assert_eq!(shards.iter().filter(|shard| shard.is_writable()).count(), 2);

        found.set_retention_days(180);
        log.update_log_store(&project, &name, &found).await.unwrap();
        let updated = log.get_log_store(&project, &name).await.unwrap().value;
        assert_eq!(updated.retention_days(), Some(180));
        let volatile = ["ttl", "lastModifyTime"];
        for (field, value) in found
            .fields()
            .iter()
            .filter(|(field, _)| !volatile.contains(&field.as_str()))
        {
            assert_eq!(
                updated.fields().get(field),
                Some(value),
                "{field} did not survive the update"
            );
        }
        found.set_retention_days(5000);
        assert_class(
            log.update_log_store(&project, &name, &found).await,
            Class::InvalidSpec,
        );

        log.delete_log_store(&project, &name).await.unwrap();
        assert_class(log.get_log_store(&project, &name).await, Class::NotFound);
        assert_class(log.delete_log_store(&project, &name).await, Class::NotFound);
        assert_class(log.list_shards(&project, &name).await, Class::NotFound);
    }
}

#[tokio::test]
async fn all_pages_of_log_stores_are_read() {
    let stage = Stage::start(&[
        "--quota",
        "sls.meta.qps=100000",
        "--quota",
        "sls.logstores=2000",
        "--quota",
        "sls.shards=4000",
    ]);
    let log = &stage.clients.log_service;
    let (project, first) = stage.project_with_store().await;
    let mut expected = vec![first.to_string()];
    for number in 0..205 {
        let new = NewLogStore {
            name: store(&format!("store-{number}")),
            retention_days: 1,
            shard_count: 1,
            append_meta: false,
        };
        log.create_log_store(&project, &new).await.unwrap();
        expected.push(new.name.to_string());
    }
    let mut names = log.list_log_stores(&project).await.unwrap().value;
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    assert_class(
        log.list_log_stores(&ProjectName::new("no-such-project").unwrap())
            .await,
        Class::NotFound,
    );
}

#[tokio::test]
async fn an_index_is_made_and_changed_without_losing_keys() {
    for profile in PROFILES {
        let stage = Stage::start(profile);
        let log = &stage.clients.log_service;
        let (project, name) = stage.project_with_store().await;
        assert_class(log.get_index(&project, &name).await, Class::NotFound);
        let text = json!({ "type": "text", "token": [",", " "], "caseSensitive": false, "chn": false, "doc_value": true });
        let Value::Object(index) = json!({
            "line": { "token": [",", " ", "\n"], "caseSensitive": false, "chn": false },
            "keys": { "event": { "type": "json", "token": [",", " "], "doc_value": true, "index_all": true,
                                  "max_depth": -1, "json_keys": { "eventName": { "type": "text", "doc_value": true } } },
                      "a": text },
        }) else {
            unreachable!()
        };
        assert_class(log.update_index(&project, &name, &index).await, Class::NotFound);
        log.create_index(&project, &name, &index).await.unwrap();
        assert_class(
            log.create_index(&project, &name, &index).await,
            Class::AlreadyExists,
        );
        let mut found = log.get_index(&project, &name).await.unwrap().value;
        assert_contains(&found["keys"], &index["keys"]);
        found["keys"]["b"] = text;
        log.update_index(&project, &name, &found).await.unwrap();
        let updated = log.get_index(&project, &name).await.unwrap().value;
        assert_contains(&updated["keys"], &found["keys"]);
        assert_contains(&updated["line"], &index["line"]);
    }
}

#[tokio::test]
async fn a_data_transformation_lives_from_create_to_delete() {
    for profile in PROFILES {
        let stage = Stage::start(profile);
        let log = &stage.clients.log_service;
        let (project, source) = stage.project_with_store().await;
        let copy = store("ai-copy");
        let new = NewLogStore {
            name: copy.clone(),
            retention_days: 30,
            shard_count: 1,
            append_meta: false,
        };
        log.create_log_store(&project, &new).await.unwrap();
        settled("the copy is visible", async || {
            log.get_log_store(&project, &copy).await
        })
        .await;
        let name = job("ramtrail-ram-audit");
        let role = stage.role_for_log_service("copies-logs").await;
        let mut definition = EtlDefinition {
            display_name: "ramtrail-ram-audit".to_owned(),
            description: "owner".to_owned(),
            configuration: EtlConfiguration {
                logstore: source.to_string(),
                role_arn: role.clone(),
                script: "* | where json_extract_scalar(event, '$.serviceName') in ('Ram', 'Sts')".to_owned(),
                lang: Some("SPL".to_owned()),
                from_time: Some(0),
                to_time: Some(0),
                sinks: vec![EtlSink {
                    name: "copy".to_owned(),
                    project: project.to_string(),
                    logstore: copy.to_string(),
                    endpoint: Some(log.endpoint()),
                    role_arn: role,
                    other: serde_json::Map::from_iter([("datasets".to_owned(), json!(["__UNNAMED__"]))]),
                }],
                other: serde_json::Map::from_iter([("parameters".to_owned(), json!({}))]),
            },
        };
        assert_class(log.get_etl(&project, &name).await, Class::NotFound);
        log.create_etl(&project, &name, &definition).await.unwrap();
        assert_class(
            log.create_etl(&project, &name, &definition).await,
            Class::AlreadyExists,
        );
        let found = log.get_etl(&project, &name).await.unwrap().value;
        assert_eq!(
            (found.name.as_str(), found.description.as_str()),
            (name.as_str(), "owner")
        );
        assert_eq!(found.configuration.script, definition.configuration.script);
        assert_eq!(found.configuration.sinks, definition.configuration.sinks);

        started(&stage, &project, &name).await;
        definition.description = "other words".to_owned();
        settled("the update is taken", async || {
            log.update_etl(&project, &name, &definition).await
        })
        .await;
        assert_eq!(
            log.get_etl(&project, &name).await.unwrap().value.description,
            "other words"
        );
        started(&stage, &project, &name).await;
        settled("the job can be stopped", async || {
            log.stop_etl(&project, &name).await
        })
        .await;
        until("the job stops", async || {
            status(&stage, &project, &name).await == "STOPPED"
        })
        .await;
        log.delete_etl(&project, &name).await.unwrap();
        assert_class(log.get_etl(&project, &name).await, Class::NotFound);
        assert_class(log.delete_etl(&project, &name).await, Class::NotFound);
    }
}

async fn status(stage: &Stage, project: &ProjectName, job: &JobName) -> String {
    let job = stage
        .clients
        .log_service
        .get_etl(project, job)
        .await
        .unwrap()
        .value;
    job.status.unwrap_or_default()
}

/// Waits until the job runs, starting it where that takes a call.
async fn started(stage: &Stage, project: &ProjectName, name: &JobName) {
    until("the job runs", async || {
        let now = status(stage, project, name).await;
        if now == "STOPPED" {
            stage.clients.log_service.start_etl(project, name).await.unwrap();
        }
        now == "RUNNING"
    })
    .await;
}

#[tokio::test]
async fn a_trail_lives_from_create_to_delete() {
    for profile in PROFILES {
        let stage = Stage::start(profile);
        let (project, _) = stage.project_with_store().await;
        let trails = &stage.clients.action_trail;
        let name = "ram-audit";
        let settings = TrailSettings::into_project(stage.project_arn(&project));
        assert!(
            trails
                .describe_trails(&[name], true)
                .await
                .unwrap()
                .value
                .is_empty()
        );
        assert_class(trails.get_trail_status(name).await, Class::NotFound);
        assert_class(trails.start_logging(name).await, Class::NotFound);
        ensure_role(&stage).await;
        settled("the trail is made", async || {
            trails.create_trail(name, &settings).await
        })
        .await;
        assert_class(trails.create_trail(name, &settings).await, Class::AlreadyExists);
        until("the trail is visible", async || {
            trails.describe_trails(&[name], true).await.unwrap().value.len() == 1
        })
        .await;
        let found = trails.describe_trails(&[], true).await.unwrap().value.remove(0);
        assert_eq!((found.name.as_str(), found.state()), (name, TrailState::Fresh));
        assert_eq!(found.events(), Some(EventRw::All));
        assert_eq!(found.home_region.as_deref(), Some("cn-hangzhou"));
        let mut echoed = found.settings().unwrap();
        assert_eq!(echoed.sls_project_arn, settings.sls_project_arn);
        assert_eq!(
            trails.get_trail_status(name).await.unwrap().value.is_logging,
            Some(false)
        );

        trails.start_logging(name).await.unwrap();
        trails.start_logging(name).await.unwrap();
        let status = trails.get_trail_status(name).await.unwrap().value;
        assert_eq!(status.is_logging, Some(true));
        assert!(status.start_logging_time.is_some());
        echoed.event_rw = EventRw::Write;
        trails.update_trail(name, &echoed).await.unwrap();
        let updated = trails
            .describe_trails(&[name], false)
            .await
            .unwrap()
            .value
            .remove(0);
        assert_eq!(
            (updated.events(), updated.state()),
            (Some(EventRw::Write), TrailState::Enable)
        );
        assert_eq!(updated.sls_project_arn, settings.sls_project_arn);
        trails.stop_logging(name).await.unwrap();
        assert_eq!(
            trails.describe_trails(&[name], false).await.unwrap().value[0].state(),
            TrailState::Disable
        );

        trails.delete_trail(name).await.unwrap();
        assert!(
            trails
                .describe_trails(&[name], true)
                .await
                .unwrap()
                .value
                .is_empty()
        );
        assert_class(trails.delete_trail(name).await, Class::NotFound);
        assert_class(trails.update_trail(name, &echoed).await, Class::NotFound);
        assert_class(trails.stop_logging(name).await, Class::NotFound);
        assert_class(trails.create_trail("BAD", &settings).await, Class::InvalidSpec);
        let nowhere =
            TrailSettings::into_project(stage.project_arn(&ProjectName::new("no-such-project").unwrap()));
        assert_class(
            trails.create_trail("ram-audit-2", &nowhere).await,
            Class::NotReady,
        );
    }
}

/// Makes the service-linked role, as an operator does on the way to a trail.
async fn ensure_role(stage: &Stage) {
    match stage.clients.ram.get_role(ACTION_TRAIL_ROLE).await {
        Ok(_) => {}
        Err(error) => {
            assert_eq!(error.classify(), Class::NotFound, "{error:?}");
            stage
                .clients
                .resource_manager
                .create_service_linked_role(ACTION_TRAIL_SERVICE)
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn the_service_linked_role_is_made_once() {
    let stage = Stage::start(&[]);
    let (ram, manager) = (&stage.clients.ram, &stage.clients.resource_manager);
    assert_class(ram.get_role(ACTION_TRAIL_ROLE).await, Class::NotFound);
    let made = manager
        .create_service_linked_role(ACTION_TRAIL_SERVICE)
        .await
        .unwrap()
        .value;
    assert_eq!(made.role_name, ACTION_TRAIL_ROLE);
    let found = ram.get_role(ACTION_TRAIL_ROLE).await.unwrap().value;
    assert_eq!(found.arn, made.arn);
    assert_class(
        manager.create_service_linked_role(ACTION_TRAIL_SERVICE).await,
        Class::AlreadyExists,
    );
    assert_class(
        manager.create_service_linked_role("nothing.aliyuncs.com").await,
        Class::NotFound,
    );
}

#[tokio::test]
async fn the_identity_behind_keys_is_told() {
    let stage = Stage::start(&[]);
    let root = stage.clients.sts.get_caller_identity().await.unwrap().value;
    assert_eq!(root.account_id, ACCOUNT);
    assert_eq!(root.identity_type.as_deref(), Some("Account"));
    let other = stage
        .with_key(OTHER_KEY)
        .sts
        .get_caller_identity()
        .await
        .unwrap()
        .value;
    assert_eq!(other.account_id, OTHER_ACCOUNT);
    // It takes no permission.
    let user = stage
        .user("LTAIclientTestUser00001", &[])
        .sts
        .get_caller_identity()
        .await
        .unwrap()
        .value;
    assert_eq!(user.identity_type.as_deref(), Some("RAMUser"));
    assert_eq!(user.account_id, ACCOUNT);
}

#[tokio::test]
async fn our_own_calls_come_back_as_events_with_their_ids() {
    let stage = Stage::start(&[]);
    let (project, _) = stage.project_with_store().await;
    let (log, trails) = (&stage.clients.log_service, &stage.clients.action_trail);
    ensure_role(&stage).await;
    trails
        .create_trail(
            "ram-audit",
            &TrailSettings::into_project(stage.project_arn(&project)),
        )
        .await
        .unwrap();
    trails.start_logging("ram-audit").await.unwrap();
    let call = stage.clients.sts.get_caller_identity().await.unwrap().call;
    let request_id = call.request_id.clone().unwrap();
    let trail_store = store("actiontrail_ram-audit");
    until("the call is delivered", async || {
        let now = stage.clients.cloud_now();
        let hour = SignedDuration::from_hours(1);
        let query = LogQuery::newest(now - hour, now + hour, format!("\"{request_id}\""));
        // Before there is an index every search is an error.
        let Ok(answer) = log.get_logs(&project, &trail_store, &query).await else {
            return false;
        };
        let events = answer
            .value
            .rows
            .iter()
            .filter_map(|row| ramtrail::aliyun::action_trail::TrailEvent::parse(row.get("event")?));
        let mut ours = events.filter(|event| event.request_id.as_deref() == Some(&request_id));
        answer.value.complete
            && ours.any(|event| {
                let agent = event.user_agent.unwrap_or_default();
                ramtrail::aliyun::user_agent::parse(&agent) == Some(("client-test", call.call_id.as_str()))
            })
    })
    .await;

    let mut lookup = EventLookup {
        attributes: vec![(LookupKey::EventName, "CreateTrail".to_owned())],
        max_results: Some(1),
        ..EventLookup::default()
    };
    until("the lookup shows the trail's creation", async || {
        let page = trails.lookup_events(&lookup).await.unwrap().value;
        page.events
            .iter()
            .any(|event| event.event_name.as_deref() == Some("CreateTrail"))
    })
    .await;
    lookup.attributes.clear();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let page = trails.lookup_events(&lookup).await.unwrap().value;
        assert_eq!(page.events.len(), 1);
        assert!(seen.insert(page.events[0].event_id.clone()), "a page came twice");
        lookup.next_token = page.next_token;
        assert!(lookup.next_token.is_some());
    }
    let now = stage.clients.cloud_now();
    let bad = EventLookup {
        window: Some((now, now - SignedDuration::from_hours(1))),
        ..EventLookup::default()
    };
    assert_class(trails.lookup_events(&bad).await, Class::InvalidSpec);
    // Nobody but ActionTrail writes there, but the owner may keep it shorter.
    let mut found = log.get_log_store(&project, &trail_store).await.unwrap().value;
    assert_eq!(found.retention_days(), Some(3650));
    found.set_retention_days(365);
    log.update_log_store(&project, &trail_store, &found)
        .await
        .unwrap();
    let query = LogQuery::newest(now, now - SignedDuration::from_hours(1), "*");
    assert_class(
        log.get_logs(&project, &trail_store, &query).await,
        Class::InvalidSpec,
    );
}

#[tokio::test]
async fn wrong_keys_are_told_from_missing_permissions_and_foreign_projects() {
    for profile in PROFILES {
        let stage = Stage::start(profile);
        let (name, _) = stage.project_with_store().await;
        let wrong = ["wrong-secret-wrong-secret-1", "LTAInobodyKnowsThisKey01"];
        for (key, what) in [((KEY.0, wrong[0]), "secret"), ((wrong[1], KEY.1), "key")] {
            let clients = stage.with_key(key);
            let errors = [
                assert_class(
                    clients.log_service.get_project(&name).await,
                    Class::CredentialsInvalid,
                ),
                assert_class(
                    clients.action_trail.describe_trails(&[], true).await,
                    Class::CredentialsInvalid,
                ),
                assert_class(clients.sts.get_caller_identity().await, Class::CredentialsInvalid),
                assert_class(
                    clients.ram.get_role(ACTION_TRAIL_ROLE).await,
                    Class::CredentialsInvalid,
                ),
            ];
            for error in errors {
                assert_eq!(error.call.attempts, 1, "a wrong {what} does not become right");
                assert!(error.request_id().is_some(), "{error:?}");
                assert!(!format!("{error:?}").contains(wrong[0]), "{error:?}");
            }
        }
        assert_class(
            stage.with_key(OTHER_KEY).log_service.get_project(&name).await,
            Class::Foreign,
        );
        assert_class(
            stage
                .with_key(OTHER_KEY)
                .log_service
                .create_project(&name, "mine")
                .await,
            Class::AlreadyExists,
        );

        let user = stage.user("LTAIclientTestUser00002", &[]);
        let denials = [
            (
                assert_class(user.log_service.get_project(&name).await, Class::Denied),
                "log:GetProject",
            ),
            (
                assert_class(
                    user.log_service.create_project(&project("my-own"), "").await,
                    Class::Denied,
                ),
                "log:CreateProject",
            ),
            (
                assert_class(user.action_trail.describe_trails(&[], true).await, Class::Denied),
                "actiontrail:DescribeTrails",
            ),
            (
                assert_class(user.action_trail.start_logging("ram-audit").await, Class::Denied),
                "actiontrail:StartLogging",
            ),
            (
                assert_class(user.ram.get_role(ACTION_TRAIL_ROLE).await, Class::Denied),
                "ram:GetRole",
            ),
            (
                assert_class(
                    user.resource_manager
                        .create_service_linked_role(ACTION_TRAIL_SERVICE)
                        .await,
                    Class::Denied,
                ),
                "ram:CreateServiceLinkedRole",
            ),
        ];
        for (error, action) in denials {
            let permission = error.permission().unwrap();
            assert_eq!(permission.action, action, "{error:?}");
            assert!(
                permission.resource == "*" || permission.resource.contains(ACCOUNT),
                "{error:?}"
            );
            assert!(!error.outcome_unknown);
        }
    }
}

/// Each operation, allowed exactly what our tables say it takes, and nothing else.
// Two lists of all operations.
#[allow(clippy::too_many_lines)]
#[tokio::test]
async fn the_permissions_that_we_name_are_enough() {
    let stage = Stage::start(&["--quota", "sls.meta.qps=100000"]);
    let (name, store_name) = stage.project_with_store().await;
    let unprivileged = stage.user("LTAIclientTestUser00003", &[]);
    let log = &unprivileged.log_service;
    let target = Taggable::Project(name.clone());
    let none = serde_json::Map::new();
    let job = job("ramtrail-x");
    let etl = EtlDefinition {
        display_name: "x".to_owned(),
        description: String::new(),
        configuration: EtlConfiguration {
            logstore: store_name.to_string(),
            ..EtlConfiguration::default()
        },
    };
    let query = LogQuery::newest(stage.clients.cloud_now(), stage.clients.cloud_now(), "*");
    let trails = &unprivileged.action_trail;
    let settings = TrailSettings::into_project(stage.project_arn(&name));
    let new = NewLogStore {
        name: store("ai-new"),
        retention_days: 1,
        shard_count: 1,
        append_meta: false,
    };
    let tags: BTreeMap<String, String> = [("k".to_owned(), "v".to_owned())].into();
    let denied = [
        log.get_project(&name).await.map(drop),
        log.update_project(&name, "d").await.map(drop),
        log.delete_project(&name).await.map(drop),
        log.tag_resources(&target, &tags).await.map(drop),
        log.untag_resources(&target, &["k"]).await.map(drop),
        log.list_tag_resources(&target).await.map(drop),
        log.list_log_stores(&name).await.map(drop),
        log.get_log_store(&name, &store_name).await.map(drop),
        log.create_log_store(&name, &new).await.map(drop),
        log.update_log_store(
            &name,
            &store_name,
            &ramtrail::aliyun::log_service::LogStore::default(),
        )
        .await
        .map(drop),
        log.delete_log_store(&name, &store_name).await.map(drop),
        log.list_shards(&name, &store_name).await.map(drop),
        log.get_index(&name, &store_name).await.map(drop),
        log.create_index(&name, &store_name, &none).await.map(drop),
        log.update_index(&name, &store_name, &none).await.map(drop),
        log.get_logs(&name, &store_name, &query).await.map(drop),
        log.get_etl(&name, &job).await.map(drop),
        log.create_etl(&name, &job, &etl).await.map(drop),
        log.update_etl(&name, &job, &etl).await.map(drop),
        log.start_etl(&name, &job).await.map(drop),
        log.stop_etl(&name, &job).await.map(drop),
        log.delete_etl(&name, &job).await.map(drop),
        trails.create_trail("ram-audit", &settings).await.map(drop),
        trails.update_trail("ram-audit", &settings).await.map(drop),
        trails.delete_trail("ram-audit").await.map(drop),
        trails.start_logging("ram-audit").await.map(drop),
        trails.stop_logging("ram-audit").await.map(drop),
        trails.describe_trails(&[], true).await.map(drop),
        trails.get_trail_status("ram-audit").await.map(drop),
        trails.lookup_events(&EventLookup::default()).await.map(drop),
        unprivileged.ram.get_role(ACTION_TRAIL_ROLE).await.map(drop),
        unprivileged
            .resource_manager
            .create_service_linked_role(ACTION_TRAIL_SERVICE)
            .await
            .map(drop),
    ];
    let mut statements = Vec::new();
    for result in denied {
        let error = assert_class(result, Class::Denied);
        let permission = error.permission().unwrap();
        statements.push(json!({
            "Effect": "Allow", "Action": permission.action, "Resource": permission.resource,
        }));
    }
    let policy = json!({ "Version": "1", "Statement": statements });
    let allowed = stage.user("LTAIclientTestUser00004", &[policy]);
    let log = &allowed.log_service;
    let trails = &allowed.action_trail;
    let not_denied = [
        log.get_project(&name).await.map(drop),
        log.update_project(&name, "d").await.map(drop),
        log.tag_resources(&target, &tags).await.map(drop),
        log.list_tag_resources(&target).await.map(drop),
        log.untag_resources(&target, &["k"]).await.map(drop),
        log.list_log_stores(&name).await.map(drop),
        log.create_log_store(&name, &new).await.map(drop),
        log.get_log_store(&name, &store_name).await.map(drop),
        log.list_shards(&name, &store_name).await.map(drop),
        log.get_index(&name, &store_name).await.map(drop),
        log.create_index(&name, &store_name, &none).await.map(drop),
        log.update_index(&name, &store_name, &none).await.map(drop),
        log.get_logs(&name, &store_name, &query).await.map(drop),
        log.get_etl(&name, &job).await.map(drop),
        log.create_etl(&name, &job, &etl).await.map(drop),
        log.update_etl(&name, &job, &etl).await.map(drop),
        log.start_etl(&name, &job).await.map(drop),
        log.stop_etl(&name, &job).await.map(drop),
        log.delete_etl(&name, &job).await.map(drop),
        allowed.ram.get_role(ACTION_TRAIL_ROLE).await.map(drop),
        allowed
            .resource_manager
            .create_service_linked_role(ACTION_TRAIL_SERVICE)
            .await
            .map(drop),
        trails.create_trail("ram-audit", &settings).await.map(drop),
        trails.update_trail("ram-audit", &settings).await.map(drop),
        trails.start_logging("ram-audit").await.map(drop),
        trails.get_trail_status("ram-audit").await.map(drop),
        trails.describe_trails(&[], true).await.map(drop),
        trails.lookup_events(&EventLookup::default()).await.map(drop),
        trails.stop_logging("ram-audit").await.map(drop),
        trails.delete_trail("ram-audit").await.map(drop),
        log.delete_log_store(&name, &store_name).await.map(drop),
        log.delete_project(&name).await.map(drop),
    ];
    for error in not_denied.into_iter().filter_map(Result::err) {
        assert_ne!(error.classify(), Class::Denied, "{error:?}");
    }
}

#[tokio::test]
async fn after_a_jump_of_the_clouds_clock_each_service_refuses_once() {
    for profile in PROFILES {
        let stage = Stage::start(profile);
        let (name, _) = stage.project_with_store().await;
        for (number, seconds) in [(0, 7200), (1, 86400)] {
            stage
                .emulator
                .post("clock", &json!({ "jumpSeconds": seconds }))
                .unwrap();
            let calls = [
                stage.clients.log_service.get_project(&name).await.unwrap().call,
                stage
                    .clients
                    .action_trail
                    .describe_trails(&[], true)
                    .await
                    .unwrap()
                    .call,
                stage.clients.sts.get_caller_identity().await.unwrap().call,
            ];
            assert_eq!(calls[0].attempts, 2, "{calls:?}");
            assert!(calls.iter().all(|call| call.attempts <= 2), "{calls:?}");
            let again = stage.clients.log_service.get_project(&name).await.unwrap().call;
            assert_eq!(again.attempts, 1);
            let skew = stage.cloud.clock().skew(Service::LogService).unwrap().as_secs();
            let expected = if number == 0 { 7200 } else { 7200 + 86400 };
            assert!((skew - expected).abs() < 60, "{skew}");
            let ahead = stage
                .clients
                .cloud_now()
                .duration_since(jiff::Timestamp::now())
                .as_secs();
            assert!((ahead - expected).abs() < 60, "{ahead}");
        }
    }
}

#[tokio::test]
async fn calls_beyond_a_quota_are_taken_later() {
    for profile in PROFILES {
        let mut args = vec!["--quota", "sls.meta.qps=3", "--quota", "actiontrail.read.qps=3"];
        args.extend(profile);
        let stage = Stage::start(&args);
        let (name, _) = stage.project_with_store().await;
        let mut attempts = 0;
        for _ in 0..5 {
            attempts += stage
                .clients
                .log_service
                .get_project(&name)
                .await
                .unwrap()
                .call
                .attempts;
            attempts += stage
                .clients
                .action_trail
                .describe_trails(&[], true)
                .await
                .unwrap()
                .call
                .attempts;
        }
        assert!(attempts > 10, "the quota was never met");
    }
}

#[tokio::test]
async fn a_throttled_call_without_time_left_is_throttled() {
    let stage = Stage::start(&[]);
    let always =
        json!({ "fault": { "kind": "throttle" }, "match": { "action": "GetProject", "nth": 1, "times": 0 } });
    stage.emulator.post("faults", &always).unwrap();
    // Enough for an answer of a busy machine, and for more than one.
    let clients = stage.clients.with_timeout(Duration::from_secs(5));
    let name = project("no-such-project");
    assert_class(clients.log_service.get_project(&name).await, Class::Throttled);
    assert!(stage.journal("GetProject").len() > 1, "it was tried again");
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_done_once_and_said_to_be_unknown() {
    let stage = Stage::start(&[]);
    let log = &stage.clients.log_service;
    let name = project("ai-workload-audit-trail");
    stage.fault("CreateProject", &json!({ "kind": "drop-after" }));
    let error = assert_class(log.create_project(&name, "d").await, Class::Transient);
    assert!(error.outcome_unknown);
    assert!(matches!(&error.kind, ErrorKind::Transport(lost) if lost.failure == TransportFailure::Broken));
    log.get_project(&name).await.unwrap();
    assert_eq!(stage.journal("CreateProject").len(), 1, "it was sent once");
}

#[tokio::test]
async fn a_create_that_broke_inside_of_the_cloud_is_not_repeated() {
    let stage = Stage::start(&[]);
    stage.fault("CreateProject", &json!({ "kind": "status", "status": 500 }));
    let error = stage
        .clients
        .log_service
        .create_project(&project("ai-audit"), "d")
        .await
        .unwrap_err();
    assert!(error.outcome_unknown, "{error:?}");
    assert_eq!(error.classify(), Class::Transient);
    assert_eq!(error.call.attempts, 1);
}

#[tokio::test]
async fn a_read_goes_through_every_single_fault() {
    let stage = Stage::start(&[]);
    let (name, _) = stage.project_with_store().await;
    let faults = [
        json!({ "kind": "drop-before" }),
        json!({ "kind": "drop-after" }),
        json!({ "kind": "status", "status": 500 }),
        json!({ "kind": "status", "status": 503 }),
        json!({ "kind": "throttle" }),
        json!({ "kind": "garbage" }),
        json!({ "kind": "truncated" }),
    ];
    for fault in faults {
        stage.fault("GetProject", &fault);
        let call = stage.clients.log_service.get_project(&name).await.unwrap().call;
        assert_eq!(call.attempts, 2, "{fault}");
        stage.fault("DescribeTrails", &fault);
        let call = stage
            .clients
            .action_trail
            .describe_trails(&[], true)
            .await
            .unwrap()
            .call;
        assert_eq!(call.attempts, 2, "{fault}");
    }
}

#[tokio::test]
async fn a_hanging_cloud_costs_a_call_its_own_time_only() {
    let stage = Stage::start(&[]);
    stage.fault("GetCallerIdentity", &json!({ "kind": "delay", "ms": 60_000 }));
    let clients = stage.clients.with_timeout(Duration::from_millis(300));
    let error = assert_class(clients.sts.get_caller_identity().await, Class::Transient);
    assert!(matches!(&error.kind, ErrorKind::Transport(late) if late.failure == TransportFailure::Timeout));
    // Meanwhile others are served.
    stage.with_key(OTHER_KEY).sts.get_caller_identity().await.unwrap();
}

/// Everything that this process logs, at every level.
fn logs() -> &'static Captured {
    static LOGS: std::sync::OnceLock<Captured> = std::sync::OnceLock::new();
    LOGS.get_or_init(|| {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        captured
    })
}

/// A log in memory.
#[derive(Clone, Default)]
struct Captured(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_token_or_signature_is_logged_at_any_level() {
    let stage = Stage::start(&[]);
    let (name, store) = stage.project_with_store().await;
    stage
        .clients
        .log_service
        .get_log_store(&name, &store)
        .await
        .unwrap();
    assert_class(
        stage
            .with_key((KEY.0, "marked-wrong-secret"))
            .sts
            .get_caller_identity()
            .await,
        Class::CredentialsInvalid,
    );
    let keys = Credential::new("STS.markedKey", "marked-sts-secret").with_security_token("marked-token");
    let keys = Arc::new(StaticCredentials::new("test", keys));
    let temporary = stage.cloud.clients(keys, stage.clients.region());
    let errors = [
        assert_class(
            temporary.sts.get_caller_identity().await,
            Class::CredentialsInvalid,
        ),
        assert_class(
            temporary.log_service.get_project(&name).await,
            Class::CredentialsInvalid,
        ),
    ];
    // What other tests logged so far is looked through too.
    let logged = String::from_utf8(logs().0.lock().unwrap().clone()).unwrap();
    assert!(
        logged.contains("cloud_call") && logged.contains("GetCallerIdentity"),
        "nothing was captured: {logged}"
    );
    let everything = format!("{logged} {errors:?}");
    for secret in [
        KEY.1,
        "marked-wrong-secret",
        "marked-sts-secret",
        "marked-token",
        "Signature=",
        "Credential=",
    ] {
        assert!(!everything.contains(secret), "{secret}");
    }
}
