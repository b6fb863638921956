//! Logs in shards: what was written when, cursors, expiry. No search.

use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::assumptions::IndexReach;
use super::errors::{bad, parameter_invalid, post_body_invalid};
use super::index::Index;
use super::shards::parse_key;
use super::store::{LogStore, VENDOR_PREFIX};
use super::wire::{Compression, LogContent, LogGroup, LogGroupList, LogTag, WireLog, decode_group};
use super::{State, arguments::Arguments};
use crate::call::CallContext;
use crate::wire::{ApiError, Reply};

/// Logs in one write at most (sls-api 4.12).
const MAX_LOGS: usize = 40_960;
/// A log may be this much older or newer than the present, in seconds.
const OLDEST: i64 = 7 * 86_400;
const NEWEST: i64 = 15 * 60;
/// Groups that one PullLogs answers at most.
const MAX_PULL: usize = 1000;

/// One log as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredLog {
    /// `__time__`, epoch seconds.
    pub(super) time: i64,
    pub(super) nanos: Option<u32>,
    /// Content fields, then tags as `__tag__:<name>`.
    pub(super) fields: Vec<(String, String)>,
}

/// Logs that were written together.
#[derive(Debug, Clone)]
pub(super) struct StoredGroup {
    /// When the service received them, epoch seconds.
    pub(super) received: i64,
    pub(super) topic: String,
    pub(super) source: String,
    pub(super) logs: Vec<StoredLog>,
    /// The index that was there when they came.
    pub(super) index: Option<Arc<Index>>,
}

/// The groups of one shard; a cursor is a group's number since the shard began.
#[derive(Debug, Default)]
pub(super) struct ShardData {
    expired: u64,
    groups: VecDeque<StoredGroup>,
}

impl ShardData {
    /// Cursor of the oldest group.
    pub(super) fn begin(&self) -> u64 {
        self.expired
    }

    /// Cursor after the newest group.
    pub(super) fn end(&self) -> u64 {
        self.expired + self.groups.len() as u64
    }

    /// The group at a cursor.
    pub(super) fn at(&self, cursor: u64) -> Option<&StoredGroup> {
        self.groups
            .get(usize::try_from(cursor.checked_sub(self.expired)?).ok()?)
    }

    /// Cursor of the first group received at `time` or later.
    pub(super) fn since(&self, time: i64) -> u64 {
        let before = self
            .groups
            .iter()
            .take_while(|group| group.received < time)
            .count();
        self.expired + before as u64
    }

    /// All groups, oldest first.
    pub(super) fn groups(&self) -> impl Iterator<Item = &StoredGroup> {
        self.groups.iter()
    }

    fn push(&mut self, group: StoredGroup) {
        self.groups.push_back(group);
    }

    fn expire(&mut self, before: i64) {
        while self.groups.front().is_some_and(|group| group.received < before) {
            self.groups.pop_front();
            self.expired += 1;
        }
    }
}

impl LogStore {
    /// Appends a group to the shard of `key`, or to the next shard in turn.
    pub(super) fn append(&mut self, key: Option<u128>, mut group: StoredGroup) {
        let shard = match key {
            Some(key) => self.shards.holding(key),
            None => self.shards.balanced(self.writes),
        };
        self.writes += 1;
        group.index.clone_from(&self.index);
        self.data.entry(shard).or_default().push(group);
    }

    /// Drops what is older than the store keeps; 3650 days keep for ever.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if self.settings.ttl < 3650 {
            let before = now.as_second() - i64::from(self.settings.ttl) * 86_400;
            for data in self.data.values_mut() {
                data.expire(before);
            }
        }
    }

    /// All groups with the index that finds them.
    pub(super) fn searchable(&self, reach: IndexReach) -> impl Iterator<Item = (&StoredGroup, &Arc<Index>)> {
        self.data
            .values()
            .flat_map(ShardData::groups)
            .filter_map(move |group| {
                let index = match reach {
                    IndexReach::NewLogs => group.index.as_ref(),
                    IndexReach::AllLogs => self.index.as_ref(),
                };
                index.map(|index| (group, index))
            })
    }

    fn shard_data(&self, shard: u32) -> Result<Option<&ShardData>, ApiError> {
        if self.shards.get(shard).is_none() {
            return Err(bad("ShardNotExist", format!("shard {shard} does not exist")));
        }
        Ok(self.data.get(&shard))
    }
}

impl StoredGroup {
    /// What a store with `appendMeta` adds: where the write came from and when it arrived. A sender's own tags of these names do not
    /// stand beside them.
    fn append_meta(&mut self, client_ip: &str) {
        let added = [
            ("__tag__:__client_ip__", client_ip.to_owned()),
            ("__tag__:__receive_time__", self.received.to_string()),
        ];
        for log in &mut self.logs {
            log.fields
                .retain(|(name, _)| added.iter().all(|(own, _)| own != name));
            log.fields.extend(
                added
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.clone())),
            );
        }
    }
}

fn stored_group(group: LogGroup, now: Timestamp) -> Result<StoredGroup, ApiError> {
    if group.logs.len() > MAX_LOGS {
        return Err(post_body_invalid(format!("logs must little than {MAX_LOGS}")));
    }
    let tags: Vec<(String, String)> = group
        .tags
        .into_iter()
        .map(|tag| (format!("__tag__:{}", tag.key), tag.value))
        .collect();
    let present = now.as_second();
    let mut logs = Vec::with_capacity(group.logs.len());
    for log in group.logs {
        let time = i64::from(log.time);
        if time < present - OLDEST || time > present + NEWEST {
            return Err(post_body_invalid("The post data time is out of range"));
        }
        let mut fields: Vec<(String, String)> = log
            .contents
            .into_iter()
            .map(|content| (content.key, String::from_utf8_lossy(&content.value).into_owned()))
            .collect();
        fields.extend(tags.iter().cloned());
        logs.push(StoredLog {
            time,
            nanos: log.time_ns,
            fields,
        });
    }
    Ok(StoredGroup {
        received: present,
        topic: group.topic.unwrap_or_default(),
        source: group.source.unwrap_or_default(),
        logs,
        index: None,
    })
}

fn wire_group(group: &StoredGroup) -> LogGroup {
    let tag_of = |name: &str| name.strip_prefix("__tag__:").map(str::to_owned);
    let mut tags: Vec<LogTag> = Vec::new();
    let logs = group
        .logs
        .iter()
        .map(|log| WireLog {
            time: u32::try_from(log.time).unwrap_or_default(),
            contents: log
                .fields
                .iter()
                .filter(|(key, _)| tag_of(key).is_none())
                .map(|(key, value)| LogContent {
                    key: key.clone(),
                    value: value.clone().into_bytes(),
                })
                .collect(),
            time_ns: log.nanos,
        })
        .collect();
    if let Some(log) = group.logs.first() {
        for (key, value) in &log.fields {
            tags.extend(tag_of(key).map(|key| LogTag {
                key,
                value: value.clone(),
            }));
        }
    }
    LogGroup {
        logs,
        category: None,
        topic: Some(group.topic.clone()),
        source: Some(group.source.clone()),
        machine_uuid: None,
        tags,
    }
}

/// The list as the OpenAPI SDK's JSON model spells it.
fn json_list(list: &LogGroupList) -> Value {
    let groups: Vec<Value> = list
        .groups
        .iter()
        .map(|group| {
            let logs: Vec<Value> = group
                .logs
                .iter()
                .map(|log| {
                    let contents: Vec<Value> = log
                        .contents
                        .iter()
                        .map(
                            |field| json!({"Key": field.key, "Value": String::from_utf8_lossy(&field.value)}),
                        )
                        .collect();
                    json!({"Time": log.time, "TimeNs": log.time_ns, "Contents": contents})
                })
                .collect();
            let tags: Vec<Value> = group
                .tags
                .iter()
                .map(|tag| json!({"Key": tag.key, "Value": tag.value}))
                .collect();
            json!({"Topic": group.topic, "Source": group.source, "LogItems": logs, "LogTags": tags})
        })
        .collect();
    json!({"logGroupList": groups})
}

fn encode_cursor(cursor: u64) -> String {
    STANDARD.encode(cursor.to_string())
}

fn decode_cursor(text: &str) -> Result<u64, ApiError> {
    STANDARD
        .decode(text.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| bad("InvalidCursor", format!("Cursor {text} is invalid")))
}

impl State {
    pub(super) fn put_logs(
        &mut self,
        cx: &CallContext<'_>,
        (project, name): (&str, &str),
        hashed: bool,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, name)?;
        if store.vendor || name.starts_with(VENDOR_PREFIX) {
            let message = format!("denied by sts or ram, logstore {name} accepts logs of ActionTrail only");
            return Err(ApiError::new(401, "Unauthorized", message));
        }
        let key = match given.query("key") {
            Some(text) if hashed => Some(
                parse_key(text).ok_or_else(|| bad("InvalidKey", format!("hash key {text} is invalid")))?,
            ),
            None if hashed => return Err(bad("InvalidKey", "hash key is required")),
            _ => None,
        };
        let body = given.body();
        let group = match given.header("x-log-compresstype").filter(|kind| !kind.is_empty()) {
            None => decode_group(body)?,
            Some(kind) => {
                let compression = Compression::parse(kind).ok_or_else(|| {
                    bad(
                        "InvalidCompressType",
                        format!("compress type {kind} is not supported"),
                    )
                })?;
                let size = given
                    .header("x-log-bodyrawsize")
                    .ok_or_else(|| bad("MissingBodyRawSize", "x-log-bodyrawsize is required"))?;
                let size = size.parse().map_err(|_| {
                    bad(
                        "InvalidBodyRawSize",
                        format!("x-log-bodyrawsize {size} is invalid"),
                    )
                })?;
                decode_group(&compression.restore(body, size)?)?
            }
        };
        let mut group = stored_group(group, cx.now)?;
        if store.settings.append_meta {
            group.append_meta(&given.peer().to_string());
        }
        if !group.logs.is_empty() {
            store.append(key, group);
        }
        Ok(Reply::empty())
    }

    pub(super) fn get_cursor(
        &mut self,
        cx: &CallContext<'_>,
        (project, store, shard): (&str, &str, u32),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        let data = store.shard_data(shard)?;
        let (begin, end) = data.map_or((0, 0), |data| (data.begin(), data.end()));
        let cursor = match given.query("from").unwrap_or_default() {
            "begin" => begin,
            "end" => end,
            time => {
                let time = time
                    .parse()
                    .map_err(|_| parameter_invalid(format!("The parameter from is invalid: {time}")))?;
                data.map_or(0, |data| data.since(time))
            }
        };
        Ok(Reply::json(&json!({"cursor": encode_cursor(cursor)})))
    }

    pub(super) fn get_cursor_time(
        &mut self,
        cx: &CallContext<'_>,
        (project, store, shard): (&str, &str, u32),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        let data = store.shard_data(shard)?;
        let cursor = decode_cursor(given.query("cursor").unwrap_or_default())?;
        let (begin, end) = data.map_or((0, 0), |data| (data.begin(), data.end()));
        if cursor < begin || cursor > end {
            return Err(bad("InvalidCursor", format!("Cursor {cursor} is out of range")));
        }
        let time = data
            .and_then(|data| data.at(cursor))
            .map_or(cx.now.as_second(), |group| group.received);
        Ok(Reply::json(&json!({"cursor_time": time})))
    }

    pub(super) fn pull_logs(
        &mut self,
        cx: &CallContext<'_>,
        (project, store, shard): (&str, &str, u32),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        let data = store.shard_data(shard)?;
        if given.query("query").is_some_and(|query| !query.is_empty()) {
            return Err(parameter_invalid("PullLogs with a query is not emulated."));
        }
        let (begin, end) = data.map_or((0, 0), |data| (data.begin(), data.end()));
        let cursor = decode_cursor(given.query("cursor").unwrap_or_default())?;
        if cursor > end {
            return Err(bad("InvalidCursor", format!("Cursor {cursor} is out of range")));
        }
        let from = cursor.max(begin);
        let until = match given.query("end_cursor").filter(|cursor| !cursor.is_empty()) {
            Some(text) => decode_cursor(text)?.min(end).max(from),
            None => end,
        };
        let count = match given.query("count").filter(|count| !count.is_empty()) {
            Some(text) => text
                .parse::<usize>()
                .ok()
                .filter(|count| (1..=MAX_PULL).contains(count))
                .ok_or_else(|| parameter_invalid(format!("The parameter count is invalid: {text}")))?,
            None => MAX_PULL,
        };
        let next = until.min(from + count as u64);
        let groups = (from..next)
            .filter_map(|at| data.and_then(|data| data.at(at)))
            .map(wire_group)
            .collect();
        Ok(pull_reply(&LogGroupList { groups }, next, given))
    }
}

/// Official SDKs of the OpenAPI family read JSON here, all others protobuf.
fn pull_reply(list: &LogGroupList, next: u64, given: &Arguments) -> Reply {
    use prost::Message as _;

    let wants_json = given
        .header("accept")
        .is_some_and(|kinds| kinds.contains("json") && !kinds.contains("protobuf"));
    let (content_type, raw) = if wants_json {
        ("application/json", json_list(list).to_string().into_bytes())
    } else {
        ("application/x-protobuf", list.encode_to_vec())
    };
    // An empty list announces size 0 and is not compressed; as JSON it still has to be read.
    let compression = given
        .header("accept-encoding")
        .and_then(|kinds| kinds.split(',').find_map(Compression::parse))
        .filter(|_| !list.groups.is_empty());
    let size = if list.groups.is_empty() && !wants_json {
        0
    } else {
        raw.len()
    };
    let body = compression.map_or_else(|| raw.clone(), |compression| compression.compress(&raw));
    let mut reply = Reply::bytes(content_type, body)
        .header("x-log-count", list.groups.len().to_string())
        .header("x-log-cursor", encode_cursor(next))
        .header("x-log-bodyrawsize", size.to_string());
    if let Some(compression) = compression {
        reply = reply.header("x-log-compresstype", compression.name());
    }
    reply
}
