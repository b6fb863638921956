//! The Log Service client: projects, tags, log stores, shards, indexes, log queries, data transformation.

use std::collections::BTreeMap;

use http::Method;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::endpoint::{JobName, LogStoreName, ProjectName};
use super::error::{Answer, CallInfo, CallResult, Error, ErrorKind};
use super::operation::{Effect, Operation, Quota, Service};
use super::retry::{Call, Caller, Reply};
use super::tolerant;

macro_rules! operations {
    ($($name:ident, $action:literal, $effect:ident, $quota:ident, $ram:literal;)*) => {$(
        static $name: Operation = Operation {
            service: Service::LogService,
            action: $action,
            effect: Effect::$effect,
            quota: Quota::$quota,
            ram_action: concat!("log:", $ram),
        };
    )*};
}

operations! {
    GET_PROJECT, "GetProject", Read, LogManagement, "GetProject";
    CREATE_PROJECT, "CreateProject", Write, LogManagement, "CreateProject";
    UPDATE_PROJECT, "UpdateProject", Write, LogManagement, "UpdateProject";
    DELETE_PROJECT, "DeleteProject", Write, LogManagement, "DeleteProject";
    // Setting the same tags again changes nothing.
    TAG_RESOURCES, "TagResources", IdempotentWrite, LogManagement, "TagResources";
    UNTAG_RESOURCES, "UntagResources", Write, LogManagement, "UntagResources";
    LIST_TAG_RESOURCES, "ListTagResources", Read, LogManagement, "ListTagResources";
    LIST_LOG_STORES, "ListLogStores", Read, LogManagement, "ListLogStores";
    GET_LOG_STORE, "GetLogStore", Read, LogManagement, "GetLogStore";
    CREATE_LOG_STORE, "CreateLogStore", Write, LogManagement, "CreateLogStore";
    UPDATE_LOG_STORE, "UpdateLogStore", Write, LogManagement, "UpdateLogStore";
    DELETE_LOG_STORE, "DeleteLogStore", Write, LogManagement, "DeleteLogStore";
    LIST_SHARDS, "ListShards", Read, LogManagement, "ListShards";
    GET_INDEX, "GetIndex", Read, LogManagement, "GetIndex";
    CREATE_INDEX, "CreateIndex", Write, LogManagement, "CreateIndex";
    UPDATE_INDEX, "UpdateIndex", Write, LogManagement, "UpdateIndex";
    GET_LOGS, "GetLogs", Read, LogData, "GetLogStoreLogs";
    GET_ETL, "GetETL", Read, LogManagement, "GetETL";
    CREATE_ETL, "CreateETL", Write, LogManagement, "CreateETL";
    UPDATE_ETL, "UpdateETL", Write, LogManagement, "UpdateETL";
    DELETE_ETL, "DeleteETL", Write, LogManagement, "DeleteETL";
    START_ETL, "StartETL", Write, LogManagement, "StartETL";
    STOP_ETL, "StopETL", Write, LogManagement, "StopETL";
}

/// Log stores asked for per page: as many as a project may have unless its limit was raised.
const PAGE: usize = 200;

/// Pages read of one list at most: more than any quota allows, and an end for a server that never ends.
const MAX_PAGES: usize = 200;

/// The Log Service client.
#[derive(Clone, Debug)]
pub struct LogService {
    caller: Caller,
}

/// A project.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Project {
    /// The name.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub project_name: String,
    /// The description; empty when there is none.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub description: String,
    /// `Normal` or `Disable`.
    #[serde(deserialize_with = "tolerant::text")]
    pub status: Option<String>,
    /// The region.
    #[serde(deserialize_with = "tolerant::text")]
    pub region: Option<String>,
    /// The account; the documented example is empty text.
    #[serde(deserialize_with = "tolerant::text")]
    pub owner: Option<String>,
    /// When it was made, as the cloud says it; see [`Project::create_time_candidates`].
    #[serde(deserialize_with = "tolerant::text")]
    pub create_time: Option<String>,
    /// When it was changed last, as the cloud says it.
    #[serde(deserialize_with = "tolerant::text")]
    pub last_modify_time: Option<String>,
    /// `LRS` or `ZRS`.
    #[serde(deserialize_with = "tolerant::text")]
    pub data_redundancy_type: Option<String>,
    /// The resource group.
    #[serde(deserialize_with = "tolerant::text")]
    pub resource_group_id: Option<String>,
    /// Whether deleted log stores can be brought back.
    #[serde(deserialize_with = "tolerant::boolean")]
    pub recycle_bin_enabled: Option<bool>,
}

impl Project {
    /// The times that `createTime` may stand for. Text without a zone gives two: read as UTC, then as UTC+8.
    pub fn create_time_candidates(&self) -> Vec<Timestamp> {
        self.create_time
            .as_deref()
            .map(tolerant::time_candidates)
            .unwrap_or_default()
    }
}

/// What is tagged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Taggable {
    /// A project.
    Project(ProjectName),
    /// A log store. Documents disagree whether the cloud takes tags on these.
    LogStore(ProjectName, LogStoreName),
}

impl Taggable {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Project(_) => "project",
            Self::LogStore(..) => "logstore",
        }
    }

    fn id(&self) -> String {
        match self {
            Self::Project(project) => project.to_string(),
            Self::LogStore(project, store) => format!("{project}#{store}"),
        }
    }

    fn arn_path(&self) -> String {
        match self {
            Self::Project(project) => format!("project/{project}"),
            Self::LogStore(project, store) => format!("project/{project}/logstore/{store}"),
        }
    }
}

/// A log store to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewLogStore {
    /// Its name.
    pub name: LogStoreName,
    /// Days that logs are kept, 1 to 3650; 3650 keeps them for ever.
    pub retention_days: i64,
    /// Shards.
    pub shard_count: i64,
    /// Whether the public address of the sender and the time of arrival are added to each log.
    pub append_meta: bool,
}

/// A log store: every field that the cloud sent, known or not, so that an update, which replaces the
/// whole configuration, loses none of them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct LogStore {
    fields: Map<String, Value>,
}

impl LogStore {
    /// The name.
    pub fn name(&self) -> Option<&str> {
        self.fields.get("logstoreName").and_then(Value::as_str)
    }

    /// Days that logs are kept; 3650 is for ever.
    pub fn retention_days(&self) -> Option<i64> {
        self.integer("ttl")
    }

    /// Sets the days that logs are kept.
    pub fn set_retention_days(&mut self, days: i64) {
        self.fields.insert("ttl".to_owned(), json!(days));
    }

    /// The number of shards.
    pub fn shard_count(&self) -> Option<i64> {
        self.integer("shardCount")
    }

    /// Whether anybody may write without a signature.
    pub fn anonymous_writing(&self) -> bool {
        self.flag("enable_tracking")
    }

    /// Sets whether anybody may write without a signature.
    pub fn set_anonymous_writing(&mut self, allowed: bool) {
        self.fields.insert("enable_tracking".to_owned(), json!(allowed));
    }

    /// Whether the public address of the sender and the time of arrival are added to each log.
    pub fn append_meta(&self) -> bool {
        self.flag("appendMeta")
    }

    /// Sets whether the public address of the sender and the time of arrival are added to each log.
    pub fn set_append_meta(&mut self, added: bool) {
        self.fields.insert("appendMeta".to_owned(), json!(added));
    }

    /// `standard`, `query` or the legacy `lite`.
    pub fn mode(&self) -> Option<&str> {
        self.fields.get("mode").and_then(Value::as_str)
    }

    /// When it was made.
    pub fn create_time(&self) -> Option<Timestamp> {
        self.integer("createTime")
            .filter(|seconds| *seconds > 0)
            .and_then(|s| Timestamp::from_second(s).ok())
    }

    /// Every field as it came.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// Every field, to be changed before an update.
    pub fn fields_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.fields
    }

    fn integer(&self, name: &str) -> Option<i64> {
        self.fields.get(name).and_then(tolerant::as_integer)
    }

    /// Absent is false.
    fn flag(&self, name: &str) -> bool {
        self.fields
            .get(name)
            .and_then(tolerant::as_boolean)
            .unwrap_or(false)
    }

    /// The body of an update that keeps everything: without the two times, which only the cloud sets, and
    /// without storage tiers that are not set (shown as -1 or 0, refused when sent).
    fn update_body(&self) -> Value {
        let mut fields = self.fields.clone();
        fields.retain(|name, value| match name.as_str() {
            "createTime" | "lastModifyTime" => false,
            "hot_ttl" | "infrequentAccessTTL" => tolerant::as_integer(value).is_some_and(|days| days > 0),
            _ => true,
        });
        Value::Object(fields)
    }
}

/// One shard.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub struct Shard {
    /// Its number.
    #[serde(rename = "shardID", deserialize_with = "tolerant::integer")]
    pub shard_id: Option<i64>,
    /// `readwrite`, or `readonly` after a split or merge.
    #[serde(deserialize_with = "tolerant::text")]
    pub status: Option<String>,
    /// First hash key.
    #[serde(rename = "inclusiveBeginKey", deserialize_with = "tolerant::text")]
    pub inclusive_begin_key: Option<String>,
    /// Hash key after the last.
    #[serde(rename = "exclusiveEndKey", deserialize_with = "tolerant::text")]
    pub exclusive_end_key: Option<String>,
}

impl Shard {
    /// Whether it takes writes: only these count.
    pub fn is_writable(&self) -> bool {
        self.status.as_deref() == Some("readwrite")
    }
}

/// A question to a log store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogQuery {
    /// Start, in seconds since 1970, included.
    pub from: i64,
    /// End, in seconds since 1970, not included.
    pub to: i64,
    /// The search text; `*` for all.
    pub query: String,
    /// Rows at most, 0 to 100.
    pub line: u32,
    /// Rows to skip.
    pub offset: u64,
    /// Newest first.
    pub reverse: bool,
}

impl LogQuery {
    /// The 100 newest rows of a time range that match.
    pub fn newest(from: Timestamp, to: Timestamp, query: impl Into<String>) -> Self {
        Self {
            from: from.as_second(),
            to: to.as_second(),
            query: query.into(),
            line: 100,
            offset: 0,
            reverse: true,
        }
    }
}

/// What a log store answered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogRows {
    /// Whether everything in the range was searched. While it is not, absence proves nothing: ask again.
    pub complete: bool,
    /// The rows, all values as text, with `__time__`, `__source__` and `__topic__`.
    pub rows: Vec<BTreeMap<String, String>>,
}

/// A data-transformation job.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct EtlJob {
    /// The name.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub name: String,
    /// The name shown in the console.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub display_name: String,
    /// The description.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub description: String,
    /// `RUNNING`, `STOPPING`, `STOPPED`, `SUCCEEDED`, `FAILED`, `STARTING` or `RESTARTING`.
    #[serde(deserialize_with = "tolerant::text")]
    pub status: Option<String>,
    /// What it does.
    pub configuration: EtlConfiguration,
    /// When it was made.
    #[serde(deserialize_with = "tolerant::time")]
    pub create_time: Option<Timestamp>,
    /// When it was changed last.
    #[serde(deserialize_with = "tolerant::time")]
    pub last_modified_time: Option<Timestamp>,
}

/// What a data-transformation job does. Fields we do not know are kept for updates.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EtlConfiguration {
    /// The source log store.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub logstore: String,
    /// The role that reads the source.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub role_arn: String,
    /// The script.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub script: String,
    /// The script's language, `SPL`.
    #[serde(deserialize_with = "tolerant::text", skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// Where to start, in seconds since 1970; 0 for the earliest log.
    #[serde(
        deserialize_with = "tolerant::integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub from_time: Option<i64>,
    /// Where to end, in seconds since 1970; 0 for never.
    #[serde(
        deserialize_with = "tolerant::integer",
        skip_serializing_if = "Option::is_none"
    )]
    pub to_time: Option<i64>,
    /// Where to write.
    pub sinks: Vec<EtlSink>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A destination of a data-transformation job. Fields we do not know are kept for updates.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EtlSink {
    /// Its name within the job.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub name: String,
    /// The project.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub project: String,
    /// The log store.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub logstore: String,
    /// The endpoint of the project's region.
    #[serde(deserialize_with = "tolerant::text", skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The role that writes.
    #[serde(deserialize_with = "tolerant::text_or_empty")]
    pub role_arn: String,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A data-transformation job as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct EtlDefinition {
    /// The name shown in the console.
    pub display_name: String,
    /// The description.
    pub description: String,
    /// What it does.
    pub configuration: EtlConfiguration,
}

impl LogService {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }

    /// The endpoint name of this client's region, as a data-transformation job's sink takes it.
    pub fn endpoint(&self) -> String {
        super::endpoint::host(Service::LogService, self.caller.region(), super::Network::Vpc)
    }

    /// One project. A project of another region looks like one that does not exist.
    pub async fn get_project(&self, project: &ProjectName) -> CallResult<Project> {
        self.read_as(self.of_project(&GET_PROJECT, Method::GET, project, "/"))
            .await
    }

    /// Makes a project in the client's region.
    pub async fn create_project(&self, project: &ProjectName, description: &str) -> CallResult<()> {
        let mut call = self.of_project(&CREATE_PROJECT, Method::POST, project, "/");
        // The project's own host need not resolve before there is a project.
        call.project = None;
        call.body = Some(json!({ "projectName": project.as_str(), "description": description }));
        self.caller.call(call, done).await
    }

    /// Sets a project's description.
    pub async fn update_project(&self, project: &ProjectName, description: &str) -> CallResult<()> {
        let mut call = self.of_project(&UPDATE_PROJECT, Method::PUT, project, "/");
        call.body = Some(json!({ "description": description }));
        self.caller.call(call, done).await
    }

    /// Removes a project with everything in it. It does not come back.
    pub async fn delete_project(&self, project: &ProjectName) -> CallResult<()> {
        self.caller
            .call(
                self.of_project(&DELETE_PROJECT, Method::DELETE, project, "/"),
                done,
            )
            .await
    }

    /// Sets tags, at most 20; others stay.
    pub async fn tag_resources(&self, target: &Taggable, tags: &BTreeMap<String, String>) -> CallResult<()> {
        let tags: Vec<Value> = tags
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect();
        let body = json!({ "resourceType": target.kind(), "resourceId": [target.id()], "tags": tags });
        let mut call = self.bare(&TAG_RESOURCES, Method::POST, "/tag", &target.arn_path());
        call.body = Some(body);
        self.caller.call(call, done).await
    }

    /// Removes tags by their keys, at most 20. Without keys nothing is sent to remove anything.
    pub async fn untag_resources(&self, target: &Taggable, keys: &[&str]) -> CallResult<()> {
        let body = json!({ "resourceType": target.kind(), "resourceId": [target.id()], "tags": keys });
        let mut call = self.bare(&UNTAG_RESOURCES, Method::POST, "/untag", &target.arn_path());
        call.body = Some(body);
        self.caller.call(call, done).await
    }

    /// All tags of one thing.
    pub async fn list_tag_resources(&self, target: &Taggable) -> CallResult<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        let mut token = String::new();
        for page in 1.. {
            let mut call = self.bare(&LIST_TAG_RESOURCES, Method::GET, "/tags", &target.arn_path());
            call.query = vec![
                ("resourceType".to_owned(), target.kind().to_owned()),
                ("resourceId".to_owned(), json!([target.id()]).to_string()),
            ];
            if !token.is_empty() {
                call.query.push(("nextToken".to_owned(), token.clone()));
            }
            let answer = self.read_as::<TagPage>(call).await?;
            let TagPage {
                next_token,
                tag_resources,
            } = answer.value;
            let next = next_token.unwrap_or_default();
            let of_target = tag_resources.unwrap_or_default().into_iter();
            all.extend(of_target.filter_map(|tag| Some((tag.tag_key?, tag.tag_value.unwrap_or_default()))));
            if next.is_empty() || next == token {
                return Ok(Answer {
                    value: all,
                    call: answer.call,
                });
            }
            if page == MAX_PAGES {
                return Err(endless(answer.call));
            }
            token = next;
        }
        unreachable!("the loop only ends by returning")
    }

    /// The names of all log stores of a project.
    pub async fn list_log_stores(&self, project: &ProjectName) -> CallResult<Vec<String>> {
        let mut all: Vec<String> = Vec::new();
        for page_number in 1.. {
            let mut call = self.of_project(&LIST_LOG_STORES, Method::GET, project, "/logstores");
            call.resource.push_str("/logstore/*");
            call.query = vec![
                ("offset".to_owned(), all.len().to_string()),
                ("size".to_owned(), PAGE.to_string()),
            ];
            let answer = self.read_as::<LogStorePage>(call).await?;
            let LogStorePage { total, logstores } = answer.value;
            let page = logstores.unwrap_or_default();
            let last = page.is_empty();
            all.extend(page);
            let total = total.and_then(|total| usize::try_from(total).ok());
            if last || total.is_some_and(|total| all.len() >= total) {
                return Ok(Answer {
                    value: all,
                    call: answer.call,
                });
            }
            if page_number == MAX_PAGES {
                return Err(endless(answer.call));
            }
        }
        unreachable!("the loop only ends by returning")
    }

    /// One log store.
    pub async fn get_log_store(&self, project: &ProjectName, store: &LogStoreName) -> CallResult<LogStore> {
        self.read_as(self.of_store(&GET_LOG_STORE, Method::GET, project, store, ""))
            .await
    }

    /// Makes a log store.
    pub async fn create_log_store(&self, project: &ProjectName, store: &NewLogStore) -> CallResult<()> {
        let NewLogStore {
            name,
            retention_days,
            shard_count,
            append_meta,
        } = store;
        let mut call = self.of_store(&CREATE_LOG_STORE, Method::POST, project, name, "");
        "/logstores".clone_into(&mut call.path);
        call.body = Some(json!({
            "logstoreName": name.as_str(),
            "ttl": retention_days,
            "shardCount": shard_count,
            "autoSplit": false,
            "enable_tracking": false,
            "appendMeta": append_meta,
        }));
        self.caller.call(call, done).await
    }

    /// Replaces a log store's whole configuration: read it, change what is to change, send it back.
    pub async fn update_log_store(
        &self,
        project: &ProjectName,
        name: &LogStoreName,
        store: &LogStore,
    ) -> CallResult<()> {
        let mut call = self.of_store(&UPDATE_LOG_STORE, Method::PUT, project, name, "");
        call.body = Some(store.update_body());
        self.caller.call(call, done).await
    }

    /// Removes a log store with its logs.
    pub async fn delete_log_store(&self, project: &ProjectName, store: &LogStoreName) -> CallResult<()> {
        self.caller
            .call(
                self.of_store(&DELETE_LOG_STORE, Method::DELETE, project, store, ""),
                done,
            )
            .await
    }

    /// All shards, read-only ones too.
    pub async fn list_shards(&self, project: &ProjectName, store: &LogStoreName) -> CallResult<Vec<Shard>> {
        self.read_as(self.of_store(&LIST_SHARDS, Method::GET, project, store, "/shards"))
            .await
    }

    /// The whole index configuration. A store without index answers [`super::Class::NotFound`].
    pub async fn get_index(
        &self,
        project: &ProjectName,
        store: &LogStoreName,
    ) -> CallResult<Map<String, Value>> {
        self.read_as(self.of_store(&GET_INDEX, Method::GET, project, store, "/index"))
            .await
    }

    /// Makes the index of a store that has none.
    pub async fn create_index(
        &self,
        project: &ProjectName,
        store: &LogStoreName,
        index: &Map<String, Value>,
    ) -> CallResult<()> {
        let mut call = self.of_store(&CREATE_INDEX, Method::POST, project, store, "/index");
        call.body = Some(Value::Object(index.clone()));
        self.caller.call(call, done).await
    }

    /// Replaces the whole index configuration: read it, change what is to change, send it back. The fields
    /// that only the cloud sets (`index_mode`, `storage`, `lastModifyTime`) are left out here.
    pub async fn update_index(
        &self,
        project: &ProjectName,
        store: &LogStoreName,
        index: &Map<String, Value>,
    ) -> CallResult<()> {
        let mut body = index.clone();
        body.retain(|name, _| !["index_mode", "storage", "lastModifyTime"].contains(&name.as_str()));
        let mut call = self.of_store(&UPDATE_INDEX, Method::PUT, project, store, "/index");
        call.body = Some(Value::Object(body));
        self.caller.call(call, done).await
    }

    /// Searches a store, by the v3 form of GetLogs.
    pub async fn get_logs(
        &self,
        project: &ProjectName,
        store: &LogStoreName,
        query: &LogQuery,
    ) -> CallResult<LogRows> {
        let LogQuery {
            from,
            to,
            query,
            line,
            offset,
            reverse,
        } = query;
        let mut call = self.of_store(&GET_LOGS, Method::POST, project, store, "/logs");
        call.body = Some(json!({
            "from": from, "to": to, "query": query, "topic": "",
            "line": line, "offset": offset, "reverse": reverse,
        }));
        self.caller.call(call, read_rows).await
    }

    /// One data-transformation job.
    pub async fn get_etl(&self, project: &ProjectName, job: &JobName) -> CallResult<EtlJob> {
        self.read_as(self.of_job(&GET_ETL, Method::GET, project, job, None))
            .await
    }

    /// Makes a data-transformation job.
    pub async fn create_etl(
        &self,
        project: &ProjectName,
        job: &JobName,
        definition: &EtlDefinition,
    ) -> CallResult<()> {
        let mut call = self.of_job(&CREATE_ETL, Method::POST, project, job, None);
        "/etls".clone_into(&mut call.path);
        let mut body = definition.body();
        body.insert("name".to_owned(), json!(job.as_str()));
        call.body = Some(Value::Object(body));
        self.caller.call(call, done).await
    }

    /// Replaces a data-transformation job's definition.
    pub async fn update_etl(
        &self,
        project: &ProjectName,
        job: &JobName,
        definition: &EtlDefinition,
    ) -> CallResult<()> {
        let mut call = self.of_job(&UPDATE_ETL, Method::PUT, project, job, None);
        call.body = Some(Value::Object(definition.body()));
        self.caller.call(call, done).await
    }

    /// Starts a data-transformation job.
    pub async fn start_etl(&self, project: &ProjectName, job: &JobName) -> CallResult<()> {
        self.caller
            .call(
                self.of_job(&START_ETL, Method::PUT, project, job, Some("START")),
                done,
            )
            .await
    }

    /// Stops a data-transformation job.
    pub async fn stop_etl(&self, project: &ProjectName, job: &JobName) -> CallResult<()> {
        self.caller
            .call(
                self.of_job(&STOP_ETL, Method::PUT, project, job, Some("STOP")),
                done,
            )
            .await
    }

    /// Removes a data-transformation job.
    pub async fn delete_etl(&self, project: &ProjectName, job: &JobName) -> CallResult<()> {
        self.caller
            .call(self.of_job(&DELETE_ETL, Method::DELETE, project, job, None), done)
            .await
    }

    async fn read_as<T: DeserializeOwned>(&self, call: Call) -> CallResult<T> {
        self.caller
            .call(call, |reply| {
                T::deserialize(&reply.json).map_err(|e| e.to_string())
            })
            .await
    }

    /// A call to the region's own host.
    fn bare(&self, operation: &'static Operation, method: Method, path: &str, arn_path: &str) -> Call {
        let (region, account) = (self.caller.region(), self.caller.account());
        Call {
            operation,
            method,
            project: None,
            path: path.to_owned(),
            query: Vec::new(),
            body: None,
            resource: format!("acs:log:{region}:{account}:{arn_path}"),
        }
    }

    fn of_project(
        &self,
        operation: &'static Operation,
        method: Method,
        project: &ProjectName,
        path: &str,
    ) -> Call {
        let call = self.bare(operation, method, path, &format!("project/{project}"));
        Call {
            project: Some(project.clone()),
            ..call
        }
    }

    fn of_store(
        &self,
        operation: &'static Operation,
        method: Method,
        project: &ProjectName,
        store: &LogStoreName,
        below: &str,
    ) -> Call {
        let mut call = self.of_project(operation, method, project, &format!("/logstores/{store}{below}"));
        call.resource = format!("{}/logstore/{store}", call.resource);
        call
    }

    fn of_job(
        &self,
        operation: &'static Operation,
        method: Method,
        project: &ProjectName,
        job: &JobName,
        action: Option<&str>,
    ) -> Call {
        let mut call = self.of_project(operation, method, project, &format!("/etls/{job}"));
        call.query
            .extend(action.map(|action| ("action".to_owned(), action.to_owned())));
        // No source names the ARN of these jobs; other jobs of Log Service have this form.
        call.resource = format!("{}/job/{job}", call.resource);
        call
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TagPage {
    #[serde(deserialize_with = "tolerant::text")]
    next_token: Option<String>,
    tag_resources: Option<Vec<Tag>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Tag {
    #[serde(deserialize_with = "tolerant::text")]
    tag_key: Option<String>,
    #[serde(deserialize_with = "tolerant::text")]
    tag_value: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LogStorePage {
    #[serde(deserialize_with = "tolerant::integer")]
    total: Option<i64>,
    logstores: Option<Vec<String>>,
}

impl EtlDefinition {
    fn body(&self) -> Map<String, Value> {
        let Self {
            display_name,
            description,
            configuration,
        } = self;
        let configuration =
            serde_json::to_value(configuration).expect("the configuration has text keys and plain values");
        Map::from_iter([
            ("displayName".to_owned(), json!(display_name)),
            ("description".to_owned(), json!(description)),
            ("configuration".to_owned(), configuration),
        ])
    }
}

/// Log Service's writes answer with nothing, or with an object that says nothing more; split and merge,
/// which answer with more, are not here.
fn done(reply: &Reply) -> Result<(), String> {
    match &reply.json {
        Value::Null | Value::Object(_) => Ok(()),
        _ => Err("the answer is neither empty nor an object".to_owned()),
    }
}

/// Rows as the v3 form sends them, `{meta, data}`.
fn read_rows(reply: &Reply) -> Result<LogRows, String> {
    let progress = reply
        .json
        .pointer("/meta/progress")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let progress = progress.or_else(|| {
        reply
            .headers
            .get("x-log-progress")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    });
    let data = match reply.json.get("data") {
        Some(Value::Array(rows)) => rows.as_slice(),
        None | Some(Value::Null) if progress.is_some() => &[],
        _ => return Err("the answer holds no rows".to_owned()),
    };
    let rows = data.iter().map(|row| {
        let fields = row
            .as_object()
            .ok_or_else(|| "a row is not an object".to_owned())?;
        Ok(fields
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), row_text(value)?)))
            .collect())
    });
    Ok(LogRows {
        // An answer that does not say is not taken for a complete one: proofs rest on it.
        complete: progress.is_some_and(|progress| progress.eq_ignore_ascii_case("complete")),
        rows: rows.collect::<Result<_, String>>()?,
    })
}

/// A value as text; values that are objects as their JSON.
fn row_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Array(_) | Value::Object(_) => Some(value.to_string()),
        plain => tolerant::as_text(plain),
    }
}

/// The error for a list whose pages do not end.
fn endless(call: CallInfo) -> Error {
    let kind = ErrorKind::Undecodable {
        status: 200,
        excerpt: "the list does not end".to_owned(),
    };
    Error {
        kind,
        call: Box::new(call),
        outcome_unknown: false,
    }
}

#[cfg(test)]
mod tests;
