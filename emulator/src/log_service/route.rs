//! Recognises an operation from method, path and query, and says what the engine must know of it.
//!
//! Looks at no state. Bodies are read here only for names that resources and events need; what is wrong with
//! a body is told by the operation itself, after the caller is known.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::arguments::Arguments;
use super::errors::{bad, invalid_method, parameter_invalid};
use super::{LogCall, LogRequest, tags};
use crate::call::{EventClass, Operation, Service};
use crate::wire::ApiError;

/// Body members that may stand in the journal as they are.
const PLAIN_MEMBERS: [&str; 12] = [
    "projectName",
    "logstoreName",
    "ttl",
    "shardCount",
    "hot_ttl",
    "infrequentAccessTTL",
    "mode",
    "dataRedundancyType",
    "resourceType",
    "savedsearchName",
    "dashboardName",
    "name",
];

/// An operation with the names from its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    CreateProject,
    GetProject,
    UpdateProject,
    DeleteProject,
    ListProject,
    DescribeRegions,
    ChangeResourceGroup,
    TagResources,
    UntagResources,
    ListTagResources,
    GetProjectPolicy,
    PutProjectPolicy,
    DeleteProjectPolicy,
    CreateLogStore,
    GetLogStore(String),
    UpdateLogStore(String),
    DeleteLogStore(String),
    ListLogStores,
    GetMetering(String),
    UpdateMetering(String),
    UpdateEncryption(String),
    ListShards(String),
    SplitShard(String, u32),
    MergeShard(String, u32),
    CreateIndex(String),
    GetIndex(String),
    UpdateIndex(String),
    DeleteIndex(String),
    PutLogs { store: String, hashed: bool },
    GetCursor(String, u32),
    GetCursorTime(String, u32),
    PullLogs(String, u32),
    GetLogs(String),
    GetLogsLegacy(String),
    GetHistograms(String),
    CreateSavedSearch,
    GetSavedSearch(String),
    UpdateSavedSearch(String),
    DeleteSavedSearch(String),
    ListSavedSearch,
    CreateDashboard,
    GetDashboard(String),
    UpdateDashboard(String),
    DeleteDashboard(String),
    ListDashboard,
    CreateJob,
    GetJob(String),
    UpdateJob(String),
    StartJob(String),
    StopJob(String),
    DeleteJob(String),
    ListJobs,
}

/// What the table says of an operation.
struct Spec {
    command: Command,
    name: &'static str,
    /// RAM action without prefix; mostly the operation's name.
    action: &'static str,
    is_write: bool,
    class: EventClass,
    /// Path of the resource ARN below the project; none is the project itself.
    below: Option<String>,
    /// Type and name for the event.
    resource: Option<(&'static str, String)>,
    /// Whether the project in the host is needed.
    in_project: bool,
}

impl Spec {
    fn read(command: Command, name: &'static str) -> Self {
        Self {
            command,
            name,
            action: name,
            is_write: false,
            class: EventClass::Management,
            below: None,
            resource: None,
            in_project: true,
        }
    }

    fn write(command: Command, name: &'static str) -> Self {
        Self {
            is_write: true,
            ..Self::read(command, name)
        }
    }

    fn action(self, action: &'static str) -> Self {
        Self { action, ..self }
    }

    fn data(self, action: &'static str) -> Self {
        Self {
            action,
            class: EventClass::Data,
            ..self
        }
    }

    /// The operation is about something in the project.
    fn on(self, kind: &'static str, event_type: &'static str, name: &str) -> Self {
        Self {
            below: Some(format!("{kind}/{name}")),
            resource: Some((event_type, name.to_owned())),
            ..self
        }
    }

    fn store(self, name: &str) -> Self {
        self.on("logstore", "ACS::SLS::LogStore", name)
    }

    fn dashboard(self, name: &str) -> Self {
        self.on("dashboard", "ACS::SLS::Dashboard", name)
    }

    fn search(self, name: &str) -> Self {
        self.on("savedsearch", "ACS::SLS::SavedSearch", name)
    }

    fn job(self, name: &str) -> Self {
        self.on("job", "ACS::SLS::Job", name)
    }

    fn anywhere(self) -> Self {
        Self {
            in_project: false,
            ..self
        }
    }
}

/// Recognises the operation of a request.
pub(super) fn identify(request: &LogRequest<'_>) -> Result<LogCall, ApiError> {
    let inbound = request.inbound;
    let given = Arguments::of(inbound);
    let body: Map<String, Value> = serde_json::from_slice(&inbound.body).unwrap_or_default();
    let segments: Vec<String> = inbound
        .path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let spec = route(inbound.method.as_str(), &segments, request.project, &given, &body)?
        .ok_or_else(|| invalid_method(&inbound.path))?;
    if spec.in_project && request.project.is_none() {
        return Err(bad(
            "InvalidHost",
            format!("{} needs the project in the host", spec.name),
        ));
    }
    let project = match spec.command {
        // The body's name counts, whatever host the call went to.
        Command::CreateProject => text(&body, "projectName").or(request.project.map(str::to_owned)),
        Command::ChangeResourceGroup => text(&body, "resourceId").or(request.project.map(str::to_owned)),
        _ => request.project.map(str::to_owned),
    };
    let operation = operation(&spec, request, project.as_deref(), &given, &body);
    Ok(LogCall {
        operation,
        command: spec.command,
        project: request.project.map(str::to_owned),
        given,
    })
}

fn text(body: &Map<String, Value>, member: &str) -> Option<String> {
    body.get(member)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn operation(
    spec: &Spec,
    request: &LogRequest<'_>,
    project: Option<&str>,
    given: &Arguments,
    body: &Map<String, Value>,
) -> Operation {
    let mut operation = Operation::new(Service::LogService, "log", spec.name, spec.is_write);
    operation.action = format!("log:{}", spec.action);
    operation.class = spec.class;
    let region = request.region;
    let arn = |path: String| format!("acs:log:{region}:{{account}}:{path}");
    operation.resources = match (&spec.command, project) {
        (Command::TagResources | Command::UntagResources, _) => {
            let kind = text(body, "resourceType").unwrap_or_default();
            ids(body.get("resourceId"))
                .iter()
                .map(|id| arn(tags::resource_path(&kind, id)))
                .collect()
        }
        (Command::ListTagResources, _) => {
            let kind = given.query("resourceType").unwrap_or_default();
            let list: Option<Value> = given
                .query("resourceId")
                .and_then(|text| serde_json::from_str(text).ok());
            ids(list.as_ref())
                .iter()
                .map(|id| arn(tags::resource_path(kind, id)))
                .collect()
        }
        // The permission reference has no finer resource for these two (actiontrail-ram-sts-api 4.4).
        (Command::CreateDashboard | Command::DeleteDashboard(_) | Command::DescribeRegions, _) => {
            vec!["*".to_owned()]
        }
        (Command::ListProject, _) | (_, None) => vec![arn("project/*".to_owned())],
        (_, Some(project)) => vec![arn(match &spec.below {
            Some(below) => format!("project/{project}/{below}"),
            None => format!("project/{project}"),
        })],
    };
    if operation.resources.is_empty() {
        operation.resources.push(arn("project/*".to_owned()));
    }
    operation.event_resource = match (&spec.resource, project) {
        (Some((kind, name)), _) => Some(((*kind).to_owned(), name.clone())),
        (None, Some(project)) => Some(("ACS::SLS::Project".to_owned(), project.to_owned())),
        (None, None) => None,
    };
    if spec.class == EventClass::Management {
        operation.event_request = event_request(request.project, given, body);
    }
    let mut safe = |name: &str, value: String| operation.safe_args.insert(name.to_owned(), value);
    safe("region", region.to_owned());
    if let Some(project) = project {
        safe("project", project.to_owned());
    }
    if let Some((_, name)) = &spec.resource {
        safe("resource", name.clone());
    }
    for name in PLAIN_MEMBERS {
        match body.get(name) {
            Some(Value::String(text)) => safe(name, text.clone()),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => safe(name, value.to_string()),
            _ => None,
        };
    }
    operation
}

fn ids(list: Option<&Value>) -> Vec<String> {
    match list {
        Some(Value::Array(ids)) => ids
            .iter()
            .filter_map(|id| id.as_str().map(str::to_owned))
            .collect(),
        Some(Value::String(id)) => vec![id.clone()],
        _ => Vec::new(),
    }
}

/// `requestParameters` of the event: the body's members and the query, secrets masked.
fn event_request(project: Option<&str>, given: &Arguments, body: &Map<String, Value>) -> Value {
    fn mask(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, member) in members.iter_mut() {
                    if name.to_ascii_lowercase().contains("secret") {
                        *member = json!("***");
                    } else {
                        mask(member);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(mask),
            _ => {}
        }
    }
    let mut request = Value::Object(body.clone());
    mask(&mut request);
    for (name, value) in given.all_query() {
        request[name] = json!(value);
    }
    if let Some(project) = project {
        request["Project"] = json!(project);
    }
    request
}

fn route(
    method: &str,
    segments: &[&str],
    project: Option<&str>,
    given: &Arguments,
    body: &Map<String, Value>,
) -> Result<Option<Spec>, ApiError> {
    use Command as C;

    let named = |member: &str| text(body, member).unwrap_or_else(|| "*".to_owned());
    Ok(Some(match (method, segments) {
        ("POST", []) => Spec::write(C::CreateProject, "CreateProject").anywhere(),
        ("GET", []) if project.is_some() => Spec::read(C::GetProject, "GetProject"),
        ("GET", []) => Spec::read(C::ListProject, "ListProject").anywhere(),
        ("PUT", []) => Spec::write(C::UpdateProject, "UpdateProject"),
        ("DELETE", []) => Spec::write(C::DeleteProject, "DeleteProject"),
        ("GET", ["regions"]) => Spec::read(C::DescribeRegions, "DescribeRegions").anywhere(),
        ("PUT", ["resourcegroup"]) => Spec::write(C::ChangeResourceGroup, "ChangeResourceGroup").anywhere(),
        ("POST", ["tag"]) => Spec::write(C::TagResources, "TagResources").anywhere(),
        ("POST", ["untag"]) => Spec::write(C::UntagResources, "UntagResources").anywhere(),
        ("GET", ["tags"]) => Spec::read(C::ListTagResources, "ListTagResources").anywhere(),
        ("GET", ["policy"]) => Spec::read(C::GetProjectPolicy, "GetProjectPolicy"),
        ("POST", ["policy"]) => Spec::write(C::PutProjectPolicy, "PutProjectPolicy"),
        ("DELETE", ["policy"]) => Spec::write(C::DeleteProjectPolicy, "DeleteProjectPolicy"),
        ("POST", ["logstores"]) => {
            Spec::write(C::CreateLogStore, "CreateLogStore").store(&named("logstoreName"))
        }
        ("GET", ["logstores"]) => Spec::read(C::ListLogStores, "ListLogStores").store("*"),
        (_, ["logstores", store, rest @ ..]) => return store_route(method, store, rest, given),
        ("POST", ["savedsearches"]) => {
            Spec::write(C::CreateSavedSearch, "CreateSavedSearch").search(&named("savedsearchName"))
        }
        ("GET", ["savedsearches"]) => Spec::read(C::ListSavedSearch, "ListSavedSearch").search("*"),
        ("GET", ["savedsearches", name]) => {
            Spec::read(C::GetSavedSearch((*name).to_owned()), "GetSavedSearch").search(name)
        }
        ("PUT", ["savedsearches", name]) => {
            Spec::write(C::UpdateSavedSearch((*name).to_owned()), "UpdateSavedSearch").search(name)
        }
        ("DELETE", ["savedsearches", name]) => {
            Spec::write(C::DeleteSavedSearch((*name).to_owned()), "DeleteSavedSearch").search(name)
        }
        ("POST", ["dashboards"]) => {
            Spec::write(C::CreateDashboard, "CreateDashboard").dashboard(&named("dashboardName"))
        }
        ("GET", ["dashboards"]) => Spec::read(C::ListDashboard, "ListDashboard").dashboard("*"),
        ("GET", ["dashboards", name]) => {
            Spec::read(C::GetDashboard((*name).to_owned()), "GetDashboard").dashboard(name)
        }
        ("PUT", ["dashboards", name]) => {
            Spec::write(C::UpdateDashboard((*name).to_owned()), "UpdateDashboard").dashboard(name)
        }
        ("DELETE", ["dashboards", name]) => {
            Spec::write(C::DeleteDashboard((*name).to_owned()), "DeleteDashboard").dashboard(name)
        }
        (_, ["etls", rest @ ..]) => return job_route(method, rest, true, given, &named("name")),
        (_, ["jobs", rest @ ..]) => return job_route(method, rest, false, given, &named("name")),
        _ => return Ok(None),
    }))
}

/// Both paths name the same jobs; operation and action are named after the path.
fn job_route(
    method: &str,
    rest: &[&str],
    etl: bool,
    given: &Arguments,
    new_name: &str,
) -> Result<Option<Spec>, ApiError> {
    use Command as C;

    let pick = |for_etl: &'static str, for_job: &'static str| if etl { for_etl } else { for_job };
    Ok(Some(match (method, rest) {
        ("POST", []) => Spec::write(C::CreateJob, pick("CreateETL", "CreateJob")).job(new_name),
        ("GET", []) => Spec::read(C::ListJobs, pick("ListETLs", "ListJobs")).job("*"),
        ("GET", [name]) => Spec::read(C::GetJob((*name).to_owned()), pick("GetETL", "GetJob")).job(name),
        ("DELETE", [name]) => {
            Spec::write(C::DeleteJob((*name).to_owned()), pick("DeleteETL", "DeleteJob")).job(name)
        }
        ("PUT", [name]) => match given
            .query("action")
            .unwrap_or_default()
            .to_ascii_uppercase()
            .as_str()
        {
            "" => Spec::write(C::UpdateJob((*name).to_owned()), pick("UpdateETL", "UpdateJob")).job(name),
            "START" => Spec::write(C::StartJob((*name).to_owned()), pick("StartETL", "StartJob")).job(name),
            "STOP" => Spec::write(C::StopJob((*name).to_owned()), pick("StopETL", "StopJob")).job(name),
            other => return Err(parameter_invalid(format!("The action is not supported: {other}"))),
        },
        _ => return Ok(None),
    }))
}

fn store_route(
    method: &str,
    store: &str,
    rest: &[&str],
    given: &Arguments,
) -> Result<Option<Spec>, ApiError> {
    use Command as C;

    let kind = given.query("type").unwrap_or_default();
    let name = || store.to_owned();
    let put = |hashed| {
        Spec::write(
            C::PutLogs {
                store: name(),
                hashed,
            },
            "PutLogs",
        )
        .data("PostLogStoreLogs")
    };
    let histograms = || Spec::read(C::GetHistograms(name()), "GetHistograms").data("GetLogStoreHistogram");
    let spec = match (method, rest) {
        ("GET", []) => match kind {
            "" => Spec::read(C::GetLogStore(name()), "GetLogStore"),
            "log" => Spec::read(C::GetLogsLegacy(name()), "GetLogs").data("GetLogStoreLogs"),
            "histogram" => histograms(),
            other => return Err(parameter_invalid(format!("The type is not supported: {other}"))),
        },
        ("PUT", []) => Spec::write(C::UpdateLogStore(name()), "UpdateLogStore"),
        ("DELETE", []) => Spec::write(C::DeleteLogStore(name()), "DeleteLogStore"),
        ("POST", [] | ["shards", "lb"]) => put(false),
        ("POST", ["shards", "route"]) => put(true),
        ("POST", ["logs"]) => Spec::read(C::GetLogs(name()), "GetLogsV2").data("GetLogStoreLogs"),
        ("POST", ["index"]) => Spec::write(C::CreateIndex(name()), "CreateIndex"),
        ("PUT", ["index"]) => Spec::write(C::UpdateIndex(name()), "UpdateIndex"),
        ("DELETE", ["index"]) => Spec::write(C::DeleteIndex(name()), "DeleteIndex"),
        ("GET", ["index"]) if kind == "histogram" => histograms(),
        ("GET", ["index"]) => Spec::read(C::GetIndex(name()), "GetIndex"),
        ("GET", ["meteringmode"]) => Spec::read(C::GetMetering(name()), "GetLogStoreMeteringMode"),
        ("PUT", ["meteringmode"]) => Spec::write(C::UpdateMetering(name()), "UpdateLogStoreMeteringMode"),
        ("PUT", ["encryption"]) => Spec::write(C::UpdateEncryption(name()), "UpdateLogStoreEncryption"),
        ("GET", ["shards"]) => Spec::read(C::ListShards(name()), "ListShards"),
        (_, ["shards", shard]) => {
            let Ok(shard) = shard.parse::<u32>() else {
                return Err(parameter_invalid("invalid shard id."));
            };
            match (method, kind, given.query("action").unwrap_or_default()) {
                ("GET", "cursor", _) => {
                    Spec::read(C::GetCursor(name(), shard), "GetCursor").data("GetCursorOrData")
                }
                ("GET", "cursor_time", _) => {
                    Spec::read(C::GetCursorTime(name(), shard), "GetCursorTime").data("GetCursorOrData")
                }
                ("GET", "log" | "logs", _) => {
                    Spec::read(C::PullLogs(name(), shard), "PullLogs").data("GetCursorOrData")
                }
                ("POST", _, "split") => {
                    Spec::write(C::SplitShard(name(), shard), "SplitShard").action("SplitShard")
                }
                ("POST", _, "merge") => {
                    Spec::write(C::MergeShard(name(), shard), "MergeShard").action("MergeShards")
                }
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(spec.store(store)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;
    use crate::wire::Inbound;

    fn call(method: &str, target: &str, project: Option<&str>, body: &str) -> Result<LogCall, ApiError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let inbound = Inbound {
            method: method.parse::<Method>().unwrap(),
            host: String::new(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            peer: "127.0.0.1:1".parse().unwrap(),
        };
        identify(&LogRequest {
            inbound: &inbound,
            project,
            region: "cn-hangzhou",
        })
    }

    /// Method, target, project in the host, operation, RAM action, resource below `project/`, and the kind: r
    /// or w for read and write, m or d for management and data.
    const OPERATIONS: &str = "
        POST /                                    -  CreateProject log:CreateProject p1 wm
        POST /                                    p2 CreateProject log:CreateProject p1 wm
        GET  /                                    -  ListProject log:ListProject * rm
        GET  /                                    p  GetProject log:GetProject p rm
        POST /tag                                 -  TagResources log:TagResources p/logstore/s wm
        POST /untag                               p  UntagResources log:UntagResources p/logstore/s wm
        GET  /tags?resourceType=project&resourceId=%5B%22p%22%5D - ListTagResources log:ListTagResources p rm
        POST /logstores                           p  CreateLogStore log:CreateLogStore p/logstore/s wm
        GET  /logstores                           p  ListLogStores log:ListLogStores p/logstore/* rm
        GET  /logstores/s                         p  GetLogStore log:GetLogStore p/logstore/s rm
        GET  /logstores/s?type=log                p  GetLogs log:GetLogStoreLogs p/logstore/s rd
        POST /logstores/s/logs                    p  GetLogsV2 log:GetLogStoreLogs p/logstore/s rd
        GET  /logstores/s?type=histogram          p  GetHistograms log:GetLogStoreHistogram p/logstore/s rd
        GET  /logstores/s/index?type=histogram    p  GetHistograms log:GetLogStoreHistogram p/logstore/s rd
        POST /logstores/s                         p  PutLogs log:PostLogStoreLogs p/logstore/s wd
        POST /logstores/s/shards/lb               p  PutLogs log:PostLogStoreLogs p/logstore/s wd
        POST /logstores/s/shards/route?key=00     p  PutLogs log:PostLogStoreLogs p/logstore/s wd
        GET  /logstores/s/shards/0?type=log       p  PullLogs log:GetCursorOrData p/logstore/s rd
        POST /logstores/s/shards/0?action=split   p  SplitShard log:SplitShard p/logstore/s wm
        POST /logstores/s/index                   p  CreateIndex log:CreateIndex p/logstore/s wm
        POST /etls                                p  CreateETL log:CreateETL p/job/j wm
        POST /jobs                                p  CreateJob log:CreateJob p/job/j wm
        PUT  /etls/j?action=START                 p  StartETL log:StartETL p/job/j wm
        PUT  /jobs/j                              p  UpdateJob log:UpdateJob p/job/j wm
        GET  /dashboards/d                        p  GetDashboard log:GetDashboard p/dashboard/d rm
    ";

    #[test]
    fn operations_have_their_action_resource_and_kind() {
        let body = r#"{"projectName":"p1","logstoreName":"s","name":"j","resourceType":"LogStore","resourceId":["p#s"]}"#;
        let lines: Vec<Vec<&str>> = OPERATIONS
            .lines()
            .map(|line| line.split_whitespace().collect())
            .filter(|words: &Vec<&str>| !words.is_empty())
            .collect();
        assert_eq!(lines.len(), 25);
        for words in lines {
            let [method, target, host, name, action, below, kind] = words[..] else {
                panic!("{words:?}")
            };
            let operation = call(method, target, (host != "-").then_some(host), body)
                .unwrap()
                .operation;
            let found = [operation.name, operation.action.as_str()];
            assert_eq!(found, [name, action], "{words:?}");
            let resource = format!("acs:log:cn-hangzhou:{{account}}:project/{below}");
            assert_eq!(operation.resources, [resource], "{words:?}");
            let class = if kind.ends_with('d') {
                EventClass::Data
            } else {
                EventClass::Management
            };
            assert_eq!(
                (operation.is_write, operation.class),
                (kind.starts_with('w'), class),
                "{words:?}"
            );
        }
        let all = call("DELETE", "/dashboards/d", Some("p"), "")
            .unwrap()
            .operation
            .resources;
        assert_eq!(all, ["*"]);
    }

    #[test]
    fn unknown_paths_are_invalid_methods_and_projects_are_needed() {
        let told = |result: Result<LogCall, ApiError>| result.map(|call| call.command).unwrap_err();
        let error = told(call("PATCH", "/", Some("p"), ""));
        assert_eq!((error.status, error.code.as_str()), (405, "InvalidMethod"));
        assert_eq!(told(call("GET", "/alerts", Some("p"), "")).status, 405);
        assert_eq!(told(call("GET", "/logstores", None, "")).code, "InvalidHost");
        assert_eq!(
            told(call("PUT", "/jobs/j?action=dance", Some("p"), "")).code,
            "ParameterInvalid"
        );
    }

    #[test]
    fn events_hold_the_arguments_without_secrets() {
        let body = r#"{"name":"j","configuration":{"accessKeySecret":"hidden","sinks":[{"accessKeySecret":"hidden"}]}}"#;
        let operation = call("POST", "/etls?x=1", Some("p"), body).unwrap().operation;
        let text = operation.event_request.to_string();
        assert!(!text.contains("hidden"), "{text}");
        assert_eq!(operation.event_request["x"], "1");
        assert_eq!(operation.event_request["Project"], "p");
        assert_eq!(
            operation.event_resource,
            Some(("ACS::SLS::Job".to_owned(), "j".to_owned()))
        );
        assert_eq!(operation.safe_args.get("name").map(String::as_str), Some("j"));
    }
}
