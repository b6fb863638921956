//! Tags of projects, log stores and dashboards (sls-api 4.2).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Members};
use super::assumptions::{StoreTags, ValueSlash};
use super::errors::{bad, exceed_quota, parameter_invalid, post_body_invalid, store_not_exist};
use super::{State, names};
use crate::call::CallContext;
use crate::quota;
use crate::wire::{ApiError, Reply};

/// Tags in one call at most.
const TAGS_PER_CALL: usize = 20;
/// Tags in one page of ListTagResources.
const PAGE: usize = 50;

/// Kinds of resources that take tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Project,
    LogStore,
    Dashboard,
    MachineGroup,
    LogtailConfig,
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "project" => Some(Self::Project),
            "logstore" => Some(Self::LogStore),
            "dashboard" => Some(Self::Dashboard),
            "machinegroup" => Some(Self::MachineGroup),
            "logtailconfig" => Some(Self::LogtailConfig),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::LogStore => "logstore",
            Self::Dashboard => "dashboard",
            Self::MachineGroup => "machinegroup",
            Self::LogtailConfig => "logtailconfig",
        }
    }
}

/// Resource ARN of a tagged resource below `acs:log:<region>:<account>:`.
pub(super) fn resource_path(kind: &str, id: &str) -> String {
    match (Kind::parse(kind), id.split_once('#')) {
        (Some(Kind::Project) | None, _) | (_, None) => format!("project/{id}"),
        (Some(kind), Some((project, name))) => format!("project/{project}/{}/{name}", kind.name()),
    }
}

fn kind(text: &str, cx: &CallContext<'_>) -> Result<Kind, ApiError> {
    Kind::parse(text)
        .filter(|kind| *kind != Kind::LogStore || cx.assumptions.get::<StoreTags>() == StoreTags::Supported)
        .ok_or_else(|| parameter_invalid(format!("The resource type is not supported: {text}")))
}

fn single_id<'a>(members: &Members<'a>) -> Result<&'a str, ApiError> {
    match members.get("resourceId") {
        Some(Value::Array(ids)) => match ids.as_slice() {
            [Value::String(id)] => Ok(id),
            _ => Err(post_body_invalid("resourceId must hold one id")),
        },
        Some(Value::String(id)) => Ok(id),
        _ => Err(post_body_invalid("resourceId must hold one id")),
    }
}

impl State {
    /// The tags of one resource.
    fn tags_of(
        &mut self,
        cx: &CallContext<'_>,
        kind: Kind,
        id: &str,
    ) -> Result<&mut BTreeMap<String, String>, ApiError> {
        if kind == Kind::Project {
            return Ok(&mut self.project(cx, id)?.tags);
        }
        let (project, name) = id
            .split_once('#')
            .ok_or_else(|| parameter_invalid(format!("The resource id is invalid: {id}")))?;
        let project = self.project(cx, project)?;
        match kind {
            Kind::LogStore => {
                project.store(name, cx)?;
                project
                    .stores
                    .get_mut(name)
                    .map(|store| &mut store.tags)
                    .ok_or_else(|| store_not_exist(name))
            }
            Kind::Dashboard if project.dashboards.contains_key(name) => {
                Ok(project.dashboard_tags.entry(name.to_owned()).or_default())
            }
            Kind::Dashboard => Err(ApiError::new(
                404,
                "DashboardNotExist",
                "specified dashboard does not exist",
            )),
            Kind::MachineGroup => Err(ApiError::new(
                404,
                "MachineGroupNotExist",
                format!("MachineGroup {name} does not exist"),
            )),
            Kind::LogtailConfig | Kind::Project => Err(ApiError::new(
                404,
                "ConfigNotExist",
                format!("config {name} does not exist"),
            )),
        }
    }

    pub(super) fn tag_resources(
        &mut self,
        cx: &CallContext<'_>,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let body = given.object()?;
        let members = Members::new(&body, "PostBodyInvalid");
        let kind = kind(members.required_text("resourceType")?, cx)?;
        let id = single_id(&members)?;
        let pairs = pairs(members.get("tags"))?;
        if pairs.is_empty() || pairs.len() > TAGS_PER_CALL {
            return Err(post_body_invalid(
                "request tag key value pair size must little than 20",
            ));
        }
        let slash = cx.assumptions.get::<ValueSlash>() == ValueSlash::Allowed;
        for (key, value) in &pairs {
            names::check_tag(key, value, slash)?;
        }
        let tags = self.tags_of(cx, kind, id)?;
        let mut after = tags.clone();
        after.extend(pairs);
        if after.len() as u64 > cx.quotas.get(quota::SLS_TAGS) {
            return Err(exceed_quota("tag"));
        }
        *tags = after;
        Ok(Reply::empty())
    }

    pub(super) fn untag_resources(
        &mut self,
        cx: &CallContext<'_>,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let body = given.object()?;
        let members = Members::new(&body, "PostBodyInvalid");
        let kind = kind(members.required_text("resourceType")?, cx)?;
        let id = single_id(&members)?;
        let keys: Option<Vec<String>> = match members.get("tags") {
            None => None,
            Some(Value::Array(keys)) => Some(
                keys.iter()
                    .map(|key| key.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(|| post_body_invalid("tags must be a list of keys"))?,
            ),
            Some(_) => return Err(post_body_invalid("tags must be a list of keys")),
        };
        if keys.as_ref().is_some_and(|keys| keys.len() > TAGS_PER_CALL) {
            return Err(post_body_invalid("tag key value pair count exceed"));
        }
        // A request without any list clears everything, as one with `all` does.
        let all = members.flag("all")?.unwrap_or(keys.is_none());
        let tags = self.tags_of(cx, kind, id)?;
        if all {
            tags.clear();
        } else {
            for key in keys.unwrap_or_default() {
                tags.remove(&key);
            }
        }
        Ok(Reply::empty())
    }

    pub(super) fn list_tag_resources(
        &mut self,
        cx: &CallContext<'_>,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let kind = kind(given.query("resourceType").unwrap_or_default(), cx)?;
        let list = |name: &str| -> Result<Vec<Value>, ApiError> {
            match given.query(name).filter(|text| !text.is_empty()) {
                None => Ok(Vec::new()),
                Some(text) => serde_json::from_str(text)
                    .map_err(|_| parameter_invalid(format!("The parameter {name} is invalid: {text}"))),
            }
        };
        let ids = list("resourceId")?;
        let wanted: Vec<(String, String)> = pairs(Some(&Value::Array(list("tags")?)))?;
        if ids.is_empty() && wanted.is_empty() {
            return Err(parameter_invalid("The parameter resourceId or tags is required."));
        }
        let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
        if ids.is_empty() {
            found = self.all_tagged(cx, kind);
        }
        for id in ids {
            let id = id
                .as_str()
                .ok_or_else(|| parameter_invalid("The parameter resourceId is invalid"))?;
            found.push((id.to_owned(), self.tags_of(cx, kind, id)?.clone()));
        }
        found.retain(|(_, tags)| {
            wanted.iter().all(|(key, value)| {
                tags.get(key)
                    .is_some_and(|held| value.is_empty() || held == value)
            })
        });
        let mut rows: Vec<Value> = Vec::new();
        for (id, tags) in &found {
            for (key, value) in tags {
                rows.push(
                    json!({"resourceType": kind.name(), "resourceId": id, "tagKey": key, "tagValue": value}),
                );
            }
        }
        let start = match given.query("nextToken").filter(|token| !token.is_empty()) {
            None => 0,
            Some(token) => {
                parse_token(token).ok_or_else(|| parameter_invalid("The nextToken is invalid."))?
            }
        };
        let end = (start + PAGE).min(rows.len());
        let next = if end < rows.len() {
            STANDARD.encode(end.to_string())
        } else {
            String::new()
        };
        let page: Vec<Value> = rows.into_iter().skip(start).take(PAGE).collect();
        Ok(Reply::json(&json!({"nextToken": next, "tagResources": page})))
    }

    fn all_tagged(&self, cx: &CallContext<'_>, kind: Kind) -> Vec<(String, BTreeMap<String, String>)> {
        let own = self
            .projects
            .values()
            .filter(|project| project.region == cx.region && project.account == cx.caller.account);
        let mut found = Vec::new();
        for project in own {
            let id = |name: &str| format!("{}#{name}", project.name);
            match kind {
                Kind::Project => found.push((project.name.clone(), project.tags.clone())),
                Kind::LogStore => {
                    found.extend(
                        project
                            .stores
                            .iter()
                            .map(|(name, store)| (id(name), store.tags.clone())),
                    );
                }
                Kind::Dashboard => {
                    found.extend(
                        project
                            .dashboard_tags
                            .iter()
                            .map(|(name, tags)| (id(name), tags.clone())),
                    );
                }
                Kind::MachineGroup | Kind::LogtailConfig => {}
            }
        }
        found
    }
}

fn parse_token(token: &str) -> Option<usize> {
    String::from_utf8(STANDARD.decode(token).ok()?).ok()?.parse().ok()
}

/// `[{"key", "value"}]`; a key may stand once.
fn pairs(list: Option<&Value>) -> Result<Vec<(String, String)>, ApiError> {
    let malformed = || post_body_invalid("tags must be a list of keys and values");
    let Some(list) = list else { return Ok(Vec::new()) };
    let mut pairs = Vec::new();
    for tag in list.as_array().ok_or_else(malformed)? {
        let tag: &Map<String, Value> = tag.as_object().ok_or_else(malformed)?;
        let key = tag.get("key").and_then(Value::as_str).ok_or_else(malformed)?;
        let value = match tag.get("value") {
            None | Some(Value::Null) => "",
            Some(value) => value.as_str().ok_or_else(malformed)?,
        };
        if pairs.iter().any(|(known, _)| known == key) {
            return Err(bad(
                "ParameterInvalid",
                format!("The tag key is duplicated: {key}"),
            ));
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}
