//! Calls through the seam, as the engine makes them: every assumption with each of its behaviours, the
//! vendor's doors, jobs with their roles, and the facts that a call moves.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::SignedDuration;
use prost::Message as _;

use super::wire::{LogContent, LogGroup, LogGroupList, LogTag, WireLog};
use super::*;
use crate::assumptions::{Assumptions, Profile};
use crate::identity::{Caller, Principal};
use crate::protection::{Change, Facts, effects};
use crate::quota::Quotas;
use crate::ram;

const ACCOUNT: &str = "1000000000000001";
const OTHER: &str = "1000000000000002";
const ROLE: &str = "acs:ram::1000000000000001:role/copier";

/// The engine's part: who calls, when, and with which choices.
struct World {
    state: State,
    ram: ram::State,
    assumptions: Assumptions,
    quotas: Quotas,
    now: Timestamp,
    account: &'static str,
    region: &'static str,
}

struct Answer {
    body: Value,
    raw: Bytes,
    headers: BTreeMap<String, String>,
}

impl World {
    fn new() -> Self {
        Self {
            state: State::default(),
            ram: ram::State::default(),
            assumptions: Assumptions::profile(Profile::Documented),
            quotas: Quotas::default(),
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
            account: ACCOUNT,
            region: "cn-hangzhou",
        }
    }

    fn with(choices: &[(&str, &str)]) -> Self {
        let mut world = Self::new();
        for (id, behaviour) in choices {
            world.assumptions.choose(id, behaviour).unwrap();
        }
        world
    }

    /// A world with project `pr1`, and the store `s1` with a full-text index.
    fn with_store(choices: &[(&str, &str)]) -> Self {
        let mut world = Self::with(choices);
        world.ok(
            "POST",
            "/",
            None,
            &json!({"projectName": "pr1", "description": "d"}),
        );
        world.wait(5);
        world.ok(
            "POST",
            "/logstores",
            Some("pr1"),
            &json!({"logstoreName": "s1", "ttl": 30, "shardCount": 2}),
        );
        world.wait(5);
        world.ok(
            "POST",
            "/logstores/s1/index",
            Some("pr1"),
            &json!({"line": {"token": [" ", "\"", ":", ","]}}),
        );
        world
    }

    fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        let tick = Tick {
            now: self.now,
            assumptions: &self.assumptions,
            ram: &self.ram,
        };
        self.state.advance(&tick);
    }

    fn send(
        &mut self,
        method: &str,
        target: &str,
        project: Option<&str>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    value.parse::<HeaderValue>().unwrap(),
                )
            })
            .collect();
        let inbound = Inbound {
            method: method.parse::<Method>().unwrap(),
            path: path.to_owned(),
            query: query.to_owned(),
            body: Bytes::copy_from_slice(body),
            headers,
            host: String::new(),
            peer: "127.0.0.1:9".parse().unwrap(),
        };
        let call = identify(&LogRequest {
            inbound: &inbound,
            project,
            region: self.region,
        })?;
        let caller = Caller {
            account: self.account.to_owned(),
            principal: Principal::Root,
            access_key_id: "k".to_owned(),
        };
        let cx = CallContext {
            caller: &caller,
            region: self.region,
            now: self.now,
            request_id: "R",
            assumptions: &self.assumptions,
            quotas: &self.quotas,
            ram: &self.ram,
        };
        let reply = execute(call, &mut self.state, &cx)?;
        assert_eq!(reply.status, 200);
        Ok(Answer {
            body: serde_json::from_slice(&reply.body).unwrap_or(Value::Null),
            raw: reply.body,
            headers: reply.headers.into_iter().collect(),
        })
    }

    fn json(
        &mut self,
        method: &str,
        target: &str,
        project: Option<&str>,
        body: &Value,
    ) -> Result<Answer, ApiError> {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(method, target, project, &[], text.as_bytes())
    }

    #[track_caller]
    fn ok(&mut self, method: &str, target: &str, project: Option<&str>, body: &Value) -> Value {
        self.json(method, target, project, body)
            .unwrap_or_else(|error| panic!("{method} {target}: {error}"))
            .body
    }

    #[track_caller]
    fn get(&mut self, target: &str, project: Option<&str>) -> Value {
        self.ok("GET", target, project, &Value::Null)
    }

    /// Status and code of a refusal.
    #[track_caller]
    fn refused(&mut self, method: &str, target: &str, project: Option<&str>, body: &Value) -> (u16, String) {
        match self.json(method, target, project, body) {
            Ok(answer) => panic!("{method} {target} was accepted: {}", answer.body),
            Err(error) => (error.status, error.code),
        }
    }

    fn facts(&self) -> Facts {
        let mut facts = Facts::new();
        self.state.facts(ACCOUNT, &mut facts);
        facts
    }

    /// Runs a call and tells what it moved, leaving out what went up as its consequence.
    fn moved(&mut self, method: &str, target: &str, body: &Value) -> Vec<(String, Change)> {
        let before = self.facts();
        self.ok(method, target, Some("pr1"), body);
        effects(&before, &self.facts())
            .into_iter()
            .map(|effect| (effect.field, effect.change))
            .collect()
    }

    fn put(&mut self, store: &str, topic: &str, logs: &[&[(&str, &str)]]) -> Result<Answer, ApiError> {
        let body = group(self.now, topic, logs).encode_to_vec();
        self.send(
            "POST",
            &format!("/logstores/{store}/shards/lb"),
            Some("pr1"),
            &[],
            &body,
        )
    }

    /// Rows of a query over the last and next hour.
    fn rows(&mut self, store: &str, query: &str) -> Vec<Value> {
        let now = self.now.as_second();
        let body = json!({"from": now - 3600, "to": now + 3600, "query": query});
        let answer = self.ok("POST", &format!("/logstores/{store}/logs"), Some("pr1"), &body);
        assert_eq!(answer["meta"]["count"], answer["data"].as_array().unwrap().len());
        answer["data"].as_array().unwrap().clone()
    }

    /// A role that Log Service may assume, with a policy document.
    fn role(&mut self, name: &str, policy: &Value) {
        let trust = json!({"Version": "1", "Statement": [{"Action": "sts:AssumeRole", "Effect": "Allow",
            "Principal": {"Service": ["log.aliyuncs.com"]}}]});
        let reference = ram::PolicyRef {
            kind: ram::PolicyKind::Custom,
            name: format!("{name}-policy"),
        };
        let policy = ram::Policy {
            name: reference.name.clone(),
            description: String::new(),
            versions: vec![ram::PolicyVersion {
                number: 1,
                document: policy.to_string(),
                created: self.now,
            }],
            default_version: 1,
            next_version: 2,
            created: self.now,
            updated: self.now,
        };
        let role = ram::Role {
            id: "300000000000000001".to_owned(),
            name: name.to_owned(),
            description: String::new(),
            trust: trust.to_string(),
            max_session: 3600,
            linked_service: None,
            created: self.now,
            updated: self.now,
            attached: ram::Attachments::from([(reference, self.now)]),
        };
        let account = self.ram.account(ACCOUNT);
        account.policies.insert(policy.name.clone(), policy);
        account.roles.insert(name.to_lowercase(), role);
    }

    fn copier(&mut self) {
        self.role(
            "copier",
            &json!({"Version": "1", "Statement": [
                {"Effect": "Allow", "Action": ["log:GetCursorOrData"], "Resource": "acs:log:*:*:project/pr1/logstore/s1"},
                {"Effect": "Allow", "Action": ["log:PostLogStoreLogs"], "Resource": "acs:log:*:*:project/pr1/logstore/s2"},
            ]}),
        );
    }

    fn status(&mut self) -> String {
        self.get("/etls/copy", Some("pr1"))["status"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

fn group(now: Timestamp, topic: &str, logs: &[&[(&str, &str)]]) -> LogGroup {
    LogGroup {
        logs: logs
            .iter()
            .map(|fields| WireLog {
                time: u32::try_from(now.as_second()).unwrap(),
                contents: fields
                    .iter()
                    .map(|(key, value)| LogContent {
                        key: (*key).to_owned(),
                        value: value.as_bytes().to_vec(),
                    })
                    .collect(),
                time_ns: None,
            })
            .collect(),
        category: None,
        topic: Some(topic.to_owned()),
        source: Some("src".to_owned()),
        machine_uuid: None,
        tags: vec![LogTag {
            key: "host".to_owned(),
            value: "node".to_owned(),
        }],
    }
}

fn job(script: &str) -> Value {
    json!({
        "name": "copy", "displayName": "Copy", "description": "mine",
        "configuration": {
            "logstore": "s1", "roleArn": ROLE, "script": script, "lang": "SPL", "fromTime": 0, "toTime": 0,
            "sinks": [{"name": "out", "project": "pr1", "logstore": "s2", "roleArn": ROLE,
                "endpoint": "cn-hangzhou.log.aliyuncs.com", "datasets": ["__UNNAMED__"]}],
        },
    })
}

#[test]
fn a_project_is_what_was_created_and_gone_when_deleted() {
    let mut world = World::new();
    world.ok(
        "POST",
        "/",
        Some("pr1"),
        &json!({"projectName": "pr1", "description": "text", "recycleBinEnabled": true}),
    );
    let project = world.get("/", Some("pr1"));
    assert_eq!(project["createTime"], "2026-01-02 03:04:05");
    assert_eq!(project["owner"], ACCOUNT);
    assert_eq!(project["recycleBinEnabled"], true);
    assert_eq!(project["quota"]["shard"], 400);
    assert_eq!(
        world.refused("POST", "/", None, &json!({"projectName": "pr1"})),
        (400, "ProjectAlreadyExist".into())
    );
    assert_eq!(
        world
            .refused("POST", "/", None, &json!({"projectName": "logtail"}))
            .1,
        "ProjectAlreadyExist"
    );
    world.ok("DELETE", "/", Some("pr1"), &Value::Null);
    assert_eq!(
        world.refused("GET", "/", Some("pr1"), &Value::Null),
        (404, "ProjectNotExist".into())
    );
    world.ok("POST", "/", None, &json!({"projectName": "pr1"}));
}

#[test]
fn a_project_belongs_to_one_account_and_is_seen_in_one_region() {
    for (scope, free_elsewhere) in [("global", false), ("per_region", true)] {
        let mut world = World::with(&[("sls.project.name_scope", scope)]);
        world.ok("POST", "/", None, &json!({"projectName": "pr1"}));
        world.account = OTHER;
        assert_eq!(
            world.refused("GET", "/", Some("pr1"), &Value::Null),
            (401, "Unauthorized".into())
        );
        assert_eq!(world.refused("DELETE", "/", Some("pr1"), &Value::Null).0, 401);
        assert_eq!(
            world.refused("POST", "/", None, &json!({"projectName": "pr1"})).1,
            "ProjectAlreadyExist"
        );
        world.region = "cn-beijing";
        assert_eq!(
            world.refused("GET", "/", Some("pr1"), &Value::Null).1,
            "ProjectNotExist"
        );
        let elsewhere = world.json("POST", "/", None, &json!({"projectName": "pr1"}));
        assert_eq!(elsewhere.is_ok(), free_elsewhere, "{scope}");
    }
}

#[test]
fn times_of_projects_have_the_assumed_zone_and_owner() {
    let mut world = World::with(&[("sls.project.time_zone", "utc8"), ("sls.project.owner", "empty")]);
    world.ok("POST", "/", None, &json!({"projectName": "pr1"}));
    let project = world.get("/", Some("pr1"));
    assert_eq!(
        (project["createTime"].as_str(), project["owner"].as_str()),
        (Some("2026-01-02 11:04:05"), Some(""))
    );
}

#[test]
fn new_projects_and_stores_may_be_invisible_for_three_seconds() {
    for (behaviour, told) in [
        ("not_exist_3s", (404, "ProjectNotExist")),
        ("forbidden_3s", (403, "ProjectForbidden")),
    ] {
        let mut world = World::with(&[
            ("sls.project.visible", behaviour),
            ("sls.logstore.visible", "not_exist_3s"),
        ]);
        world.ok("POST", "/", None, &json!({"projectName": "pr1"}));
        let tag =
            json!({"resourceType": "project", "resourceId": ["pr1"], "tags": [{"key": "k", "value": "v"}]});
        for (method, target, project, body) in [
            ("GET", "/", Some("pr1"), &Value::Null),
            ("POST", "/tag", None, &tag),
        ] {
            assert_eq!(
                world.refused(method, target, project, body),
                (told.0, told.1.to_owned())
            );
        }
        assert_eq!(world.get("/", None)["total"], 0);
        assert_eq!(
            world.refused("POST", "/", None, &json!({"projectName": "pr1"})).1,
            "ProjectAlreadyExist"
        );
        world.wait(3);
        world.get("/", Some("pr1"));
        let store = json!({"logstoreName": "s1", "ttl": 1, "shardCount": 1});
        world.ok("POST", "/logstores", Some("pr1"), &store);
        assert_eq!(
            world.refused("GET", "/logstores/s1", Some("pr1"), &Value::Null).1,
            "LogStoreNotExist"
        );
        assert_eq!(
            world.refused("POST", "/logstores", Some("pr1"), &store).1,
            "LogStoreAlreadyExist"
        );
        world.wait(3);
        world.get("/logstores/s1", Some("pr1"));
    }
}

#[test]
fn quotas_are_hit() {
    let mut world = World::new();
    for (name, value) in [
        ("sls.projects", 1),
        ("sls.logstores", 1),
        ("sls.shards", 3),
        ("sls.savedsearches", 0),
    ] {
        assert!(world.quotas.set(name, value));
    }
    world.ok("POST", "/", None, &json!({"projectName": "pr1"}));
    let exceeded = (400, "ProjectQuotaExceed".to_owned());
    assert_eq!(
        world.refused("POST", "/", None, &json!({"projectName": "pr2"})),
        exceeded
    );
    let store = |name: &str, shards: u32| json!({"logstoreName": name, "ttl": 1, "shardCount": shards});
    assert_eq!(
        world.refused("POST", "/logstores", Some("pr1"), &store("s1", 4)),
        exceeded
    );
    world.ok("POST", "/logstores", Some("pr1"), &store("s1", 3));
    assert_eq!(
        world.refused("POST", "/logstores", Some("pr1"), &store("s2", 1)),
        exceeded
    );
    let split = world.refused(
        "POST",
        "/logstores/s1/shards/0?action=split",
        Some("pr1"),
        &Value::Null,
    );
    assert_eq!(split, exceeded);
    let search = json!({"savedsearchName": "abc", "displayName": "d", "logstore": "s1", "searchQuery": "*"});
    assert_eq!(
        world.refused("POST", "/savedsearches", Some("pr1"), &search).1,
        "ExceedQuota"
    );
}

#[test]
fn tags_live_on_projects_and_where_supported_on_stores() {
    let mut world = World::with_store(&[]);
    let tag = |kind: &str, id: &str, value: &str| json!({"resourceType": kind, "resourceId": [id], "tags": [{"key": "k", "value": value}]});
    world.ok("POST", "/tag", None, &tag("PROJECT", "pr1", "a/b"));
    world.ok("POST", "/tag", Some("pr1"), &tag("logstore", "pr1#s1", "v"));
    let held = world.get(
        "/tags?resourceType=logstore&resourceId=%5B%22pr1%23s1%22%5D&tags=%5B%5D",
        None,
    );
    let row = json!({"resourceType": "logstore", "resourceId": "pr1#s1", "tagKey": "k", "tagValue": "v"});
    assert_eq!(held, json!({"nextToken": "", "tagResources": [row]}));
    let by_tag = world.get(
        "/tags?resourceType=project&tags=%5B%7B%22key%22%3A%22k%22%2C%22value%22%3A%22a%2Fb%22%7D%5D",
        None,
    );
    assert_eq!(by_tag["tagResources"].as_array().unwrap().len(), 1);
    assert_eq!(
        world.refused("POST", "/tag", None, &tag("project", "pr9", "v")).1,
        "ProjectNotExist"
    );
    assert_eq!(
        world
            .refused("POST", "/tag", None, &tag("logstore", "pr1#s9", "v"))
            .1,
        "LogStoreNotExist"
    );
    assert_eq!(
        world
            .refused("POST", "/tag", None, &tag("alert", "pr1#s1", "v"))
            .1,
        "ParameterInvalid"
    );
    world.ok(
        "POST",
        "/untag",
        None,
        &json!({"resourceType": "project", "resourceId": ["pr1"], "tags": []}),
    );
    assert_eq!(
        world.get("/tags?resourceType=project&resourceId=%5B%22pr1%22%5D", None)["tagResources"][0]["tagKey"],
        "k"
    );
    world.ok(
        "POST",
        "/untag",
        None,
        &json!({"resourceType": "project", "resourceId": ["pr1"], "tags": ["k"]}),
    );
    assert_eq!(
        world.get("/tags?resourceType=project&resourceId=%5B%22pr1%22%5D", None)["tagResources"],
        json!([])
    );

    let mut strict = World::with_store(&[
        ("sls.tag.logstore", "unsupported"),
        ("sls.tag.value_slash", "rejected"),
    ]);
    assert_eq!(
        strict
            .refused("POST", "/tag", None, &tag("logstore", "pr1#s1", "v"))
            .1,
        "ParameterInvalid"
    );
    assert_eq!(
        strict
            .refused("POST", "/tag", None, &tag("project", "pr1", "a/b"))
            .1,
        "ParameterInvalid"
    );
}

#[test]
fn many_tags_come_in_pages_and_twenty_fit_on_a_resource() {
    let mut world = World::new();
    for number in 0..4 {
        let name = format!("proj-{number}");
        world.ok("POST", "/", None, &json!({"projectName": name}));
        let tags: Vec<Value> = (0..20)
            .map(|key| json!({"key": format!("k{key:02}"), "value": "v"}))
            .collect();
        world.ok(
            "POST",
            "/tag",
            None,
            &json!({"resourceType": "project", "resourceId": [name], "tags": tags}),
        );
        let more =
            json!({"resourceType": "project", "resourceId": [name], "tags": [{"key": "more", "value": "v"}]});
        assert_eq!(world.refused("POST", "/tag", None, &more).1, "ExceedQuota");
    }
    let ids = "%5B%22proj-0%22%2C%22proj-1%22%2C%22proj-2%22%2C%22proj-3%22%5D";
    let mut seen = std::collections::BTreeSet::new();
    let mut token = String::new();
    let mut pages = 0;
    loop {
        let page = world.get(
            &format!("/tags?resourceType=project&resourceId={ids}&nextToken={token}"),
            None,
        );
        for row in page["tagResources"].as_array().unwrap() {
            assert!(seen.insert(row.to_string()), "{row} came twice");
        }
        pages += 1;
        token = page["nextToken"].as_str().unwrap().replace('=', "%3D");
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((seen.len(), pages), (80, 2));
}

#[test]
fn an_update_keeps_or_resets_what_it_leaves_out() {
    for (behaviour, tracking) in [("keep", true), ("reset", false)] {
        let mut world = World::with_store(&[("sls.logstore.put_omitted", behaviour)]);
        let full = json!({"logstoreName": "s1", "ttl": 200, "enable_tracking": true, "appendMeta": true,
            "autoSplit": true, "maxSplitShard": 8, "hot_ttl": 10, "infrequentAccessTTL": 60, "shardCount": 9});
        world.ok("PUT", "/logstores/s1", Some("pr1"), &full);
        world.ok("PUT", "/logstores/s1", Some("pr1"), &json!({"ttl": 201}));
        let store = world.get("/logstores/s1", Some("pr1"));
        assert_eq!(
            (store["ttl"].as_i64(), store["shardCount"].as_i64()),
            (Some(201), Some(2))
        );
        assert_eq!(store["enable_tracking"], tracking, "{behaviour}");
        assert_eq!(store["appendMeta"], tracking);
        assert_eq!(store["infrequentAccessTTL"], 60);
        assert_eq!(
            world.refused("PUT", "/logstores/s1", Some("pr1"), &json!({})).1,
            "LogStoreInfoInvalid"
        );
    }
}

#[test]
fn shard_count_and_mode_of_an_update_follow_the_assumption() {
    let mut world = World::with_store(&[("sls.logstore.put_shard_count", "refused")]);
    let update = |count: u32| json!({"ttl": 30, "shardCount": count});
    assert_eq!(
        world.refused("PUT", "/logstores/s1", Some("pr1"), &update(3)).1,
        "ParameterInvalid"
    );
    world.ok("PUT", "/logstores/s1", Some("pr1"), &update(2));
    let query = json!({"ttl": 30, "mode": "query"});
    assert_eq!(
        world.refused("PUT", "/logstores/s1", Some("pr1"), &query).1,
        "NotSupported"
    );
    let mut world = World::with_store(&[("sls.logstore.mode_to_query", "accepted")]);
    world.ok("PUT", "/logstores/s1", Some("pr1"), &query);
    let index = json!({"keys": {"n": {"type": "long", "doc_value": true}}});
    assert_eq!(
        world.refused("PUT", "/logstores/s1/index", Some("pr1"), &index).1,
        "IndexInfoInvalid"
    );
    let metrics = json!({"ttl": 30, "telemetryType": "Metrics"});
    assert_eq!(
        world.refused("PUT", "/logstores/s1", Some("pr1"), &metrics).1,
        "NotSupported"
    );
}

#[test]
fn an_index_finds_only_what_came_after_it() {
    let mut world = World::with_store(&[]);
    world.put("s1", "t", &[&[("msg", "first")]]).unwrap();
    let keys = json!({"keys": {"msg": {"type": "text", "token": [" "]}}});
    world.ok("PUT", "/logstores/s1/index", Some("pr1"), &keys);
    world.put("s1", "t", &[&[("msg", "second")]]).unwrap();
    assert_eq!(world.rows("s1", "*").len(), 2);
    assert_eq!(world.rows("s1", "msg: first").len(), 0);
    assert_eq!(world.rows("s1", "first").len(), 1);
    assert_eq!(world.rows("s1", "msg: second").len(), 1);
    assert_eq!(world.rows("s1", "second").len(), 0);
    world.assumptions.choose("sls.index.reach", "all_logs").unwrap();
    assert_eq!(world.rows("s1", "msg: first").len(), 1);
    world.assumptions.choose("sls.index.reach", "new_logs").unwrap();
    world.ok("DELETE", "/logstores/s1/index", Some("pr1"), &Value::Null);
    world.put("s1", "t", &[&[("msg", "third")]]).unwrap();
    let body = json!({"from": 1, "to": 2, "query": ""});
    assert_eq!(
        world.refused("POST", "/logstores/s1/logs", Some("pr1"), &body),
        (400, "IndexConfigNotExist".into())
    );
    world
        .assumptions
        .choose("sls.index.absent_status", "404")
        .unwrap();
    assert_eq!(
        world
            .refused("GET", "/logstores/s1/index", Some("pr1"), &Value::Null)
            .0,
        404
    );
    world.ok("POST", "/logstores/s1/index", Some("pr1"), &keys);
    assert_eq!(
        world.rows("s1", "*").len(),
        2,
        "the third log came while there was no index"
    );
}

#[test]
fn queries_are_checked_and_cut() {
    let mut world = World::with_store(&[]);
    for number in 0..120 {
        world
            .put("s1", "t", &[&[("msg", format!("row {number}").as_str())]])
            .unwrap();
    }
    let now = world.now.as_second();
    let mut ask = |more: Value| {
        let mut body = json!({"from": now - 10, "to": now + 10, "query": "row"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        world.json("POST", "/logstores/s1/logs", Some("pr1"), &body)
    };
    assert_eq!(ask(json!({"line": 1000})).unwrap().body["meta"]["count"], 100);
    assert_eq!(
        ask(json!({"line": 50, "offset": 100})).unwrap().body["meta"]["count"],
        20
    );
    assert_eq!(ask(json!({"topic": "other"})).unwrap().body["meta"]["count"], 0);
    assert_eq!(
        ask(json!({"to": now})).unwrap().body["meta"]["count"],
        0,
        "the end is not part of the range"
    );
    assert_eq!(
        ask(json!({"from": now.to_string(), "line": "7"})).unwrap().body["meta"]["count"],
        7
    );
    let table = [
        (json!({"from": now + 10}), "InvalidTimeRange"),
        (json!({"from": "x"}), "ParameterInvalid"),
        (json!({"line": -1}), "InvalidLine"),
        (json!({"offset": "x"}), "InvalidOffset"),
        (json!({"reverse": "maybe"}), "InvalidReverse"),
        (json!({"query": "a and"}), "ParameterInvalid"),
        (json!({"query": "* | select 1"}), "ParameterInvalid"),
        (json!({"query": "nokey: x"}), "ParameterInvalid"),
    ];
    for (more, code) in table {
        assert_eq!(ask(more.clone()).err().unwrap().code, code, "{more}");
    }
    world
        .assumptions
        .choose("sls.search.unindexed_key", "matches_nothing")
        .unwrap();
    assert_eq!(world.rows("s1", "nokey: x").len(), 0);
}

#[test]
fn the_legacy_query_and_histograms_answer_in_headers() {
    let mut world = World::with_store(&[]);
    world
        .put("s1", "t", &[&[("msg", "one")], &[("msg", "two")]])
        .unwrap();
    let now = world.now.as_second();
    let range = format!("from={}&to={}", now - 60, now + 60);
    let answer = world
        .json(
            "GET",
            &format!("/logstores/s1?type=log&{range}&query=one"),
            Some("pr1"),
            &Value::Null,
        )
        .unwrap();
    let row = json!([{"__source__": "src", "__tag__:host": "node", "__time__": now.to_string(), "__topic__": "t", "msg": "one"}]);
    assert_eq!(answer.body, row);
    assert_eq!(answer.headers["x-log-progress"], "Complete");
    assert_eq!(answer.headers["x-log-count"], "1");
    for path in ["/logstores/s1", "/logstores/s1/index"] {
        let target = format!("{path}?type=histogram&{range}&query=*&interval=60");
        let answer = world.json("GET", &target, Some("pr1"), &Value::Null).unwrap();
        let counts: Vec<i64> = answer
            .body
            .as_array()
            .unwrap()
            .iter()
            .map(|bar| bar["count"].as_i64().unwrap())
            .collect();
        assert_eq!(counts, [0, 2]);
        assert_eq!(answer.headers["x-log-count"], "2");
    }
}

#[test]
fn logs_are_pulled_by_cursor() {
    let mut world = World::with_store(&[]);
    let body = group(world.now, "t", &[&[("msg", "a")]]).encode_to_vec();
    let low = "0".repeat(32);
    for _ in 0..3 {
        world
            .send(
                "POST",
                &format!("/logstores/s1/shards/route?key={low}"),
                Some("pr1"),
                &[],
                &body,
            )
            .unwrap();
    }
    let cursor = |world: &mut World, from: &str| {
        world.get(
            &format!("/logstores/s1/shards/0?type=cursor&from={from}"),
            Some("pr1"),
        )["cursor"]
            .as_str()
            .unwrap()
            .replace('=', "%3D")
    };
    let (begin, end) = (cursor(&mut world, "begin"), cursor(&mut world, "end"));
    assert_eq!(cursor(&mut world, "1"), begin);
    assert_eq!(cursor(&mut world, "4000000000"), end);
    let pull = |world: &mut World, cursor: &str, headers: &[(&str, &str)]| {
        let target = format!("/logstores/s1/shards/0?type=log&cursor={cursor}&count=2");
        world.send("GET", &target, Some("pr1"), headers, b"").unwrap()
    };
    let first = pull(&mut world, &begin, &[("accept-encoding", "lz4")]);
    let size: usize = first.headers["x-log-bodyrawsize"].parse().unwrap();
    let raw = wire::Compression::Lz4.restore(&first.raw, size).unwrap();
    let list = LogGroupList::decode(raw.as_slice()).unwrap();
    assert_eq!(list.groups.len(), 2);
    assert_eq!(list.groups[0], wire::decode_group(&body).unwrap());
    let next = first.headers["x-log-cursor"].replace('=', "%3D");
    let second = pull(&mut world, &next, &[]);
    assert_eq!(second.headers["x-log-count"], "1");
    let nothing = pull(&mut world, &end, &[]);
    assert_eq!(
        (
            nothing.headers["x-log-count"].as_str(),
            nothing.headers["x-log-bodyrawsize"].as_str()
        ),
        ("0", "0")
    );
    let json = pull(&mut world, &begin, &[("accept", "application/json")]).body;
    assert_eq!(
        json["logGroupList"][0]["LogItems"][0]["Contents"][0],
        json!({"Key": "msg", "Value": "a"})
    );
    for target in [
        "/logstores/s1/shards/9?type=cursor&from=begin",
        "/logstores/s1/shards/0?type=log&cursor=x",
    ] {
        assert_eq!(world.refused("GET", target, Some("pr1"), &Value::Null).0, 400);
    }
}

#[test]
fn logs_out_of_time_and_broken_bodies_are_refused() {
    let mut world = World::with_store(&[]);
    for (shift, fine) in [
        (-7 * 86_400, true),
        (-7 * 86_400 - 1, false),
        (900, true),
        (901, false),
    ] {
        let at = world.now + SignedDuration::from_secs(shift);
        let body = group(at, "t", &[&[("msg", "a")]]).encode_to_vec();
        let result = world.send("POST", "/logstores/s1", Some("pr1"), &[], &body);
        assert_eq!(
            result.err().map(|error| error.code),
            (!fine).then(|| "PostBodyInvalid".to_owned()),
            "{shift}"
        );
    }
    let codes = [
        (vec![("x-log-compresstype", "lz4")], "MissingBodyRawSize"),
        (
            vec![("x-log-compresstype", "lz4"), ("x-log-bodyrawsize", "x")],
            "InvalidBodyRawSize",
        ),
        (
            vec![("x-log-compresstype", "snappy"), ("x-log-bodyrawsize", "1")],
            "InvalidCompressType",
        ),
        (
            vec![("x-log-compresstype", "zstd"), ("x-log-bodyrawsize", "1")],
            "PostBodyUncompressError",
        ),
        (vec![], "PostBodyInvalid"),
    ];
    for (headers, code) in codes {
        let error = world
            .send(
                "POST",
                "/logstores/s1/shards/lb",
                Some("pr1"),
                &headers,
                b"\xff\xff",
            )
            .err()
            .unwrap();
        assert_eq!(error.code, code);
    }
    let error = world
        .send("POST", "/logstores/s1/shards/route?key=zz", Some("pr1"), &[], b"")
        .err()
        .unwrap();
    assert_eq!(error.code, "InvalidKey");
}

#[test]
fn logs_go_when_their_store_no_longer_keeps_them() {
    let mut world = World::with_store(&[]);
    world.ok("PUT", "/logstores/s1", Some("pr1"), &json!({"ttl": 1}));
    world.put("s1", "t", &[&[("msg", "old")]]).unwrap();
    let from = world.now.as_second() - 10;
    world.wait(86_401);
    world.put("s1", "t", &[&[("msg", "new")]]).unwrap();
    let body = json!({"from": from, "to": from + 200_000, "query": "*"});
    let answer = world.ok("POST", "/logstores/s1/logs", Some("pr1"), &body);
    assert_eq!(answer["meta"]["count"], 1);
    assert_eq!(answer["data"][0]["msg"], "new");
}

fn vendor_spec() -> VendorStore {
    VendorStore {
        ttl: 3650,
        shards: 2,
        index: json!({
            "line": {"token": [" ", "\"", ":", ","]},
            "keys": {"event": {"type": "json", "token": [" ", "\""], "index_all": true, "doc_value": true}},
        }),
        dashboard: Some("actiontrail_t_audit_center_cn".to_owned()),
    }
}

#[test]
fn a_vendors_store_is_written_by_the_vendor_only() {
    let mut world = World::with_store(&[]);
    let spec = vendor_spec();
    let (region, name) = (world.region, "actiontrail_t");
    let missing = world
        .state
        .vendor_create_store(region, "pr9", name, &spec, world.now);
    assert_eq!(missing, Err(VendorError::ProjectNotExist));
    world
        .state
        .vendor_create_store(region, "pr1", name, &spec, world.now)
        .unwrap();
    assert!(world.state.store_exists(region, "pr1", name));
    assert_eq!(world.state.project_owner(region, "pr1"), Some(ACCOUNT));
    world.get("/dashboards/actiontrail_t_audit_center_cn", Some("pr1"));
    let event = json!({"serviceName": "Ram", "requestId": "7F1C2A30-0000"}).to_string();
    let log = VendorLog {
        time: world.now.as_second(),
        topic: "actiontrail_audit_event".to_owned(),
        source: String::new(),
        contents: vec![("event".to_owned(), event)],
    };
    world
        .state
        .vendor_append(region, "pr1", name, vec![log.clone(), log], world.now)
        .unwrap();
    assert_eq!(
        world.rows(name, "event.serviceName: Ram and 7F1C2A30-0000").len(),
        2
    );
    assert_eq!(world.rows(name, "__topic__: actiontrail_audit_event").len(), 2);
    assert_eq!(
        world
            .put(name, "t", &[&[("a", "b")]])
            .err()
            .map(|error| error.status),
        Some(401)
    );

    // The owner may change days and index; making it again changes nothing; the index can be put back.
    world.ok(
        "PUT",
        &format!("/logstores/{name}"),
        Some("pr1"),
        &json!({"ttl": 90}),
    );
    world.ok(
        "PUT",
        &format!("/logstores/{name}/index"),
        Some("pr1"),
        &json!({"line": {"token": [" "]}}),
    );
    world
        .state
        .vendor_create_store(region, "pr1", name, &spec, world.now)
        .unwrap();
    assert_eq!(world.get(&format!("/logstores/{name}"), Some("pr1"))["ttl"], 90);
    assert!(
        world
            .get(&format!("/logstores/{name}/index"), Some("pr1"))
            .get("keys")
            .is_none()
    );
    world
        .state
        .vendor_restore_index(region, "pr1", name, &spec.index, world.now)
        .unwrap();
    assert_eq!(
        world.get(&format!("/logstores/{name}/index"), Some("pr1"))["keys"]["event"]["index_all"],
        true
    );
}

/// A world with a second store, ready for the job `copy` from `s1` to `s2`.
fn copying(choices: &[(&str, &str)]) -> World {
    let mut world = World::with_store(choices);
    world.ok(
        "POST",
        "/logstores",
        Some("pr1"),
        &json!({"logstoreName": "s2", "ttl": 30, "shardCount": 1}),
    );
    world.wait(5);
    world.ok(
        "POST",
        "/logstores/s2/index",
        Some("pr1"),
        &json!({"line": {"token": [" "]}}),
    );
    world
}

#[test]
fn a_job_copies_what_matches_once() {
    let mut world = copying(&[]);
    world.copier();
    world
        .put("s1", "t", &[&[("level", "ERROR")], &[("level", "INFO")]])
        .unwrap();
    world.ok(
        "POST",
        "/etls",
        Some("pr1"),
        &job("* | where level = 'ERROR' | extend copied = 'yes'"),
    );
    assert_eq!(world.status(), "STARTING");
    assert_eq!(world.rows("s2", "*").len(), 0);
    world.wait(1);
    assert_eq!(world.status(), "RUNNING");
    world.wait(1);
    let rows = world.rows("s2", "*");
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["level"], &rows[0]["copied"]),
        (&json!("ERROR"), &json!("yes"))
    );
    assert_eq!(
        (&rows[0]["__topic__"], &rows[0]["__tag__:host"]),
        (&json!("t"), &json!("node"))
    );
    world.put("s1", "t", &[&[("level", "ERROR")]]).unwrap();
    world.wait(1);
    world.wait(1);
    assert_eq!(world.rows("s2", "*").len(), 2);

    world.ok("PUT", "/jobs/copy?action=STOP", Some("pr1"), &Value::Null);
    assert_eq!(world.status(), "STOPPING");
    assert_eq!(
        world
            .refused("PUT", "/jobs/copy?action=START", Some("pr1"), &Value::Null)
            .0,
        400
    );
    world.wait(1);
    assert_eq!(world.status(), "STOPPED");
    world.put("s1", "t", &[&[("level", "ERROR")]]).unwrap();
    world.wait(1);
    assert_eq!(world.rows("s2", "*").len(), 2);
    world.ok("PUT", "/etls/copy?action=START", Some("pr1"), &Value::Null);
    world.wait(1);
    world.wait(1);
    assert_eq!(world.rows("s2", "*").len(), 3, "it goes on where it stopped");

    world.ok("PUT", "/etls/copy", Some("pr1"), &job("* | where level = 'INFO'"));
    assert_eq!(world.status(), "RESTARTING");
    let again = job("*");
    assert_eq!(
        world.refused("PUT", "/etls/copy", Some("pr1"), &again),
        (400, "ParameterInvalid".into())
    );
    world.wait(2);
    assert_eq!(world.status(), "RUNNING");
    assert_eq!(world.rows("s2", "*").len(), 3, "what was read is not read again");
    assert_eq!(world.get("/jobs?jobType=ETL", Some("pr1"))["total"], 1);
    assert_eq!(world.get("/etls?logstore=s2", Some("pr1"))["total"], 0);
    world.ok("DELETE", "/jobs/copy", Some("pr1"), &Value::Null);
    assert_eq!(
        world.refused("GET", "/etls/copy", Some("pr1"), &Value::Null),
        (404, "JobNotExist".into())
    );
}

#[test]
fn a_job_has_a_beginning_and_may_have_an_end() {
    let mut world = copying(&[]);
    world.copier();
    world.put("s1", "t", &[&[("n", "early")]]).unwrap();
    world.wait(10);
    let mut bounded = job("*");
    bounded["configuration"]["fromTime"] = json!(world.now.as_second());
    bounded["configuration"]["toTime"] = json!(world.now.as_second() + 10);
    world.put("s1", "t", &[&[("n", "within")]]).unwrap();
    world.ok("POST", "/etls", Some("pr1"), &bounded);
    world.wait(10);
    world.put("s1", "t", &[&[("n", "late")]]).unwrap();
    world.wait(1);
    assert_eq!(world.status(), "SUCCEEDED");
    let rows = world.rows("s2", "*");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["n"], "within");
}

/// Makes a job impossible.
type Break = fn(&mut World);

#[test]
fn a_job_needs_its_roles_stores_and_permissions() {
    let breaks: [(&str, Break); 5] = [
        ("no role", |_| {}),
        ("no permission on the source", |world| {
            let post = json!({"Effect": "Allow", "Action": "log:PostLogStoreLogs", "Resource": "*"});
            world.role("copier", &json!({"Version": "1", "Statement": [post]}));
        }),
        ("no permission on the sink", |world| {
            let read = json!({"Effect": "Allow", "Action": "log:GetCursorOrData", "Resource": "*"});
            world.role("copier", &json!({"Version": "1", "Statement": [read]}));
        }),
        ("another service is trusted", |world| {
            world.copier();
            let role = world.ram.account(ACCOUNT).roles.get_mut("copier").unwrap();
            role.trust = role.trust.replace("log.aliyuncs.com", "ecs.aliyuncs.com");
        }),
        ("no sink", |world| {
            world.copier();
            world.ok("DELETE", "/logstores/s2", Some("pr1"), &Value::Null);
        }),
    ];
    for (behaviour, status) in [("failed", "FAILED"), ("stays_running", "RUNNING")] {
        for (name, prepare) in breaks {
            let mut world = copying(&[("sls.etl.denied", behaviour)]);
            prepare(&mut world);
            world.put("s1", "t", &[&[("a", "b")]]).unwrap();
            world.ok("POST", "/etls", Some("pr1"), &job("*"));
            world.wait(1);
            world.wait(1);
            assert_eq!(world.status(), status, "{name}");
            if name == "no sink" {
                continue;
            }
            assert_eq!(world.rows("s2", "*").len(), 0, "{name}");
            // Once the role is right nothing is lost; a failed job has to be started.
            world.copier();
            if behaviour == "failed" {
                world.ok("PUT", "/etls/copy?action=START", Some("pr1"), &Value::Null);
            }
            world.wait(1);
            world.wait(1);
            assert_eq!(
                (world.status().as_str(), world.rows("s2", "*").len()),
                ("RUNNING", 1),
                "{name}"
            );
        }
    }
}

#[test]
fn creating_and_starting_jobs_follows_the_assumptions() {
    let mut world = copying(&[
        ("sls.etl.starts_itself", "no"),
        ("sls.etl.start_running", "refused"),
    ]);
    world.copier();
    world.ok("POST", "/jobs", Some("pr1"), &job("*"));
    world.wait(5);
    assert_eq!(world.status(), "STOPPED");
    world.ok("PUT", "/etls/copy?action=START", Some("pr1"), &Value::Null);
    world.wait(1);
    assert_eq!(world.status(), "RUNNING");
    assert_eq!(
        world
            .refused("PUT", "/etls/copy?action=START", Some("pr1"), &Value::Null)
            .1,
        "ParameterInvalid"
    );
    assert_eq!(
        world.refused("POST", "/etls", Some("pr1"), &job("*")).1,
        "JobAlreadyExist"
    );
    world
        .assumptions
        .choose("sls.job.duplicate_code", "ParameterInvalid")
        .unwrap();
    assert_eq!(
        world.refused("POST", "/etls", Some("pr1"), &job("*")).1,
        "ParameterInvalid"
    );
    world
        .assumptions
        .choose("sls.etl.start_running", "accepted")
        .unwrap();
    world.ok("PUT", "/etls/copy?action=START", Some("pr1"), &Value::Null);
    let mut alert = job("*");
    alert["name"] = json!("other");
    alert["type"] = json!("Alert");
    assert_eq!(
        world.refused("POST", "/jobs", Some("pr1"), &alert).1,
        "ParameterInvalid"
    );
}

#[test]
fn calls_move_the_facts_they_should() {
    let mut world = copying(&[]);
    world.copier();
    let store = "project/cn-hangzhou/pr1/store/s1";
    let field = |name: &str| format!("{store}/{name}");
    let one = |name: String, change| vec![(name, change)];
    assert_eq!(
        world.moved("PUT", "/logstores/s1", &json!({"ttl": 29})),
        ["hotAndInfrequentDays", "hotDays", "ttl"].map(|name| (field(name), Change::Down))
    );
    assert_eq!(world.moved("PUT", "/logstores/s1", &json!({"ttl": 29})), []);
    assert_eq!(
        world.moved(
            "PUT",
            "/logstores/s1",
            &json!({"ttl": 29, "enable_tracking": true})
        ),
        one(field("noAnonymousWrites"), Change::Down)
    );
    let keys = json!({"line": {"token": [" "]}, "keys": {"n": {"type": "long"}}});
    assert_eq!(
        world.moved("PUT", "/logstores/s1/index", &keys),
        one(field("index"), Change::Up)
    );
    assert_eq!(
        world.moved("PUT", "/logstores/s1/index", &json!({"line": {"token": [" "]}})),
        one(field("index"), Change::Down)
    );
    assert_eq!(
        world.moved("DELETE", "/logstores/s1/index", &Value::Null),
        one(field("index"), Change::Down)
    );
    let tag = |key: &str| json!({"resourceType": "project", "resourceId": ["pr1"], "tags": [{"key": key, "value": "v"}]});
    let untag = |key: &str| json!({"resourceType": "project", "resourceId": ["pr1"], "tags": [key]});
    let mark = || "project/cn-hangzhou/pr1/tag/ramtrail-owner".to_owned();
    assert_eq!(
        world.moved("POST", "/tag", &tag("ramtrail-owner")),
        one(mark(), Change::Up)
    );
    assert_eq!(
        world.moved("POST", "/untag", &untag("ramtrail-owner")),
        one(mark(), Change::Down)
    );
    assert_eq!(world.moved("POST", "/tag", &tag("team")), []);
    assert_eq!(world.moved("POST", "/untag", &untag("team")), []);
    world.ok("POST", "/etls", Some("pr1"), &job("* | where a in ('x', 'y')"));
    world.wait(1);
    let narrower = world.moved("PUT", "/etls/copy", &job("* | where a in ('x')"));
    let path = "project/cn-hangzhou/pr1/job/copy";
    assert_eq!(
        narrower,
        [
            (format!("{path}/accepts"), Change::Down),
            (format!("{path}/script"), Change::Same)
        ]
    );
    world.wait(2);
    let all = world.moved("PUT", "/etls/copy", &job("*"));
    assert_eq!(
        all,
        [
            (format!("{path}/accepts"), Change::Up),
            (format!("{path}/script"), Change::Same)
        ]
    );
    world.wait(2);
    let some = world.moved("PUT", "/etls/copy", &job("* | where a in ('x')"));
    assert_eq!(some[0], (format!("{path}/accepts"), Change::Down));
    world.wait(2);
    assert_eq!(
        world.moved("PUT", "/etls/copy?action=STOP", &Value::Null),
        one(format!("{path}/on"), Change::Down)
    );
    let gone = world.moved("DELETE", "/logstores/s1", &Value::Null);
    assert!(gone.contains(&(store.to_owned(), Change::Down)));
    assert!(
        world
            .moved("PUT", "/", &json!({"description": "other"}))
            .iter()
            .all(|(_, change)| *change == Change::Same)
    );
}

#[test]
fn the_summary_holds_settings_but_no_logs_and_no_secrets() {
    let mut world = copying(&[]);
    let mut with_secret = job("*");
    with_secret["configuration"]["accessKeySecret"] = json!("hidden");
    world.ok("POST", "/etls", Some("pr1"), &with_secret);
    let before = world.state.summary(ACCOUNT);
    world.put("s1", "t", &[&[("msg", "text")]]).unwrap();
    assert_eq!(world.state.summary(ACCOUNT), before);
    assert!(!before.to_string().contains("hidden"));
    world.ok("PUT", "/logstores/s1", Some("pr1"), &json!({"ttl": 31}));
    assert_ne!(world.state.summary(ACCOUNT), before);
    assert_eq!(world.state.summary(OTHER), json!({}));
}
