//! Log stores: settings with their arithmetic, shards, index, metering (sls-api 4.4 to 4.6).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Members};
use super::assumptions::{IndexAbsentStatus, ModeToQuery, PutOmitted, PutShardCount, StoreVisible};
use super::data::ShardData;
use super::errors::{
    bad, not_supported, parameter_invalid, project_quota_exceed, store_already_exists, store_info_invalid,
};
use super::index::Index;
use super::project::{Project, VISIBILITY_LAG};
use super::shards::{Shard, Shards, parse_key};
use super::{State, names};
use crate::call::CallContext;
use crate::quota;
use crate::wire::{ApiError, Reply};

/// Allowed `ttl`, in days; 3650 keeps for ever.
const TTL: std::ops::RangeInclusive<i64> = 1..=3650;
/// Allowed `shardCount` of CreateLogStore.
const SHARD_COUNT: std::ops::RangeInclusive<i64> = 1..=10;
/// Allowed `maxSplitShard`.
const MAX_SPLIT: std::ops::RangeInclusive<i64> = 1..=256;
/// Least days in the hot, infrequent-access and archive tiers.
const LEAST_HOT: i64 = 7;
const LEAST_INFREQUENT: i64 = 30;
const LEAST_ARCHIVE: i64 = 60;
/// Prefix of log stores that only ActionTrail writes.
pub(super) const VENDOR_PREFIX: &str = "actiontrail_";

/// What a user may choose of a log store.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    pub(super) ttl: u32,
    pub(super) hot_ttl: Option<u32>,
    pub(super) infrequent_ttl: Option<u32>,
    pub(super) auto_split: bool,
    pub(super) max_split: u32,
    pub(super) tracking: bool,
    pub(super) append_meta: bool,
    pub(super) telemetry: String,
    pub(super) mode: String,
    pub(super) encryption: Option<Value>,
    pub(super) resource_group: Option<String>,
    pub(super) processor: Option<String>,
    pub(super) enable_modify: bool,
    pub(super) sharding_policy: Option<Value>,
}

impl Settings {
    fn fresh() -> Self {
        Self {
            ttl: 0,
            hot_ttl: None,
            infrequent_ttl: None,
            auto_split: false,
            max_split: 0,
            tracking: false,
            append_meta: false,
            telemetry: String::new(),
            mode: "standard".to_owned(),
            encryption: None,
            resource_group: None,
            processor: None,
            enable_modify: false,
            sharding_policy: None,
        }
    }

    /// The settings of a store that ActionTrail makes.
    pub(super) fn vendor(ttl: u32) -> Self {
        Self { ttl, ..Self::fresh() }
    }

    /// Reads a body over `base`: members that are left out keep the base's value.
    fn read(mut self, members: &Members<'_>) -> Result<Self, ApiError> {
        let ttl = members.integer("ttl")?.filter(|ttl| TTL.contains(ttl));
        self.ttl = days(ttl.ok_or_else(|| store_info_invalid("ttl value is out of range"))?);
        if let Some(hot) = members.integer("hot_ttl")? {
            self.hot_ttl = if hot == -1 {
                None
            } else {
                Some(tier("hot_ttl value is out of range", hot)?)
            };
        }
        if let Some(infrequent) = members.integer("infrequentAccessTTL")? {
            self.infrequent_ttl = match infrequent {
                -1 => None,
                other => Some(tier("infrequentAccessTTL must large than 30", other)?),
            };
        }
        self.check_tiers()?;
        self.auto_split = members.flag("autoSplit")?.unwrap_or(self.auto_split);
        if let Some(most) = members.integer("maxSplitShard")? {
            if (self.auto_split || most != 0) && !MAX_SPLIT.contains(&most) {
                return Err(store_info_invalid("maxSplitShard must be within range [1, 256]"));
            }
            self.max_split = days(most);
        }
        if self.auto_split && self.max_split == 0 {
            return Err(store_info_invalid("maxSplitShard must be within range [1, 256]"));
        }
        self.tracking = members.flag("enable_tracking")?.unwrap_or(self.tracking);
        self.append_meta = members.flag("appendMeta")?.unwrap_or(self.append_meta);
        self.enable_modify = members.flag("enableModify")?.unwrap_or(self.enable_modify);
        if let Some(kind) = members.text("telemetryType")? {
            if !matches!(kind, "" | "None" | "Metrics" | "Event") {
                return Err(store_info_invalid(format!(
                    "telemetryType {kind} is not supported"
                )));
            }
            self.telemetry = if kind == "None" {
                String::new()
            } else {
                kind.to_owned()
            };
        }
        if let Some(mode) = members.text("mode")?.filter(|mode| !mode.is_empty()) {
            if !matches!(mode, "standard" | "query" | "lite") {
                return Err(store_info_invalid(format!("mode {mode} is not supported")));
            }
            mode.clone_into(&mut self.mode);
        }
        if let Some(encryption) = members.object("encrypt_conf")? {
            self.encryption = Some(read_encryption(encryption, self.encryption.as_ref())?);
        }
        for (name, field) in [
            ("processorId", &mut self.processor),
            ("resourceGroupId", &mut self.resource_group),
        ] {
            if let Some(text) = members.text(name)?.filter(|text| !text.is_empty()) {
                *field = Some(text.to_owned());
            }
        }
        if let Some(policy) = members.object("shardingPolicy")? {
            self.sharding_policy = Some(Value::Object(policy.clone()));
        }
        Ok(self)
    }

    /// Hot, infrequent access and archive must fit into `ttl`, each with its least length.
    fn check_tiers(&self) -> Result<(), ApiError> {
        let ttl = i64::from(self.ttl);
        let hot = self.hot_ttl.map(i64::from);
        if hot.is_some_and(|hot| !(LEAST_HOT..=ttl).contains(&hot)) {
            return Err(store_info_invalid("hot_ttl value is out of range"));
        }
        let Some(infrequent) = self.infrequent_ttl.map(i64::from) else {
            return Ok(());
        };
        if infrequent < LEAST_INFREQUENT {
            return Err(store_info_invalid("infrequentAccessTTL must large than 30"));
        }
        let Some(hot) = hot else {
            return Err(store_info_invalid("hot_ttl is required by infrequentAccessTTL"));
        };
        let archive = ttl - hot - infrequent;
        if archive < 0 {
            return Err(store_info_invalid("ttl value is out of range"));
        }
        if archive != 0 && archive < LEAST_ARCHIVE {
            return Err(store_info_invalid("archiveTTL must large than 60"));
        }
        Ok(())
    }
}

/// A checked, non-negative number of days or shards.
fn days(value: i64) -> u32 {
    u32::try_from(value).expect("checked against a range of small numbers")
}

fn tier(message: &str, value: i64) -> Result<u32, ApiError> {
    u32::try_from(value).map_err(|_| store_info_invalid(message))
}

/// After the first setting only `enable` may change.
fn read_encryption(given: &Map<String, Value>, before: Option<&Value>) -> Result<Value, ApiError> {
    let enable = given.get("enable").and_then(Value::as_bool).unwrap_or(false);
    if let Some(before) = before {
        let mut after = before.clone();
        after["enable"] = json!(enable);
        return Ok(after);
    }
    let kind = given
        .get("encrypt_type")
        .and_then(Value::as_str)
        .unwrap_or("default");
    let known = [
        "default", "sm4", "m4", "sm4_ecb", "sm4_cbc", "sm4_gcm", "aes_ecb", "aes_cbc", "aes_cfb", "aes_ofb",
        "aes_gcm",
    ];
    if !known.contains(&kind) {
        return Err(store_info_invalid(format!(
            "encrypt_type {kind} is not supported"
        )));
    }
    let mut after = json!({"enable": enable, "encrypt_type": kind});
    if let Some(key) = given.get("user_cmk_info").filter(|key| key.is_object()) {
        after["user_cmk_info"] = key.clone();
    }
    Ok(after)
}

/// A log store with its logs.
#[derive(Debug)]
pub(super) struct LogStore {
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) shards: Shards,
    pub(super) data: BTreeMap<u32, ShardData>,
    /// Writes so far; spreads those without a key over the shards.
    pub(super) writes: u64,
    pub(super) index: Option<Arc<Index>>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) metering: String,
    pub(super) created: Timestamp,
    pub(super) modified: Timestamp,
    /// Whether ActionTrail made it.
    pub(super) vendor: bool,
}

impl LogStore {
    pub(super) fn new(name: &str, settings: Settings, shards: u32, now: Timestamp, vendor: bool) -> Self {
        Self {
            name: name.to_owned(),
            settings,
            shards: Shards::new(shards, now.as_second()),
            data: BTreeMap::new(),
            writes: 0,
            index: None,
            tags: BTreeMap::new(),
            metering: "ChargeByFunction".to_owned(),
            created: now,
            modified: now,
            vendor,
        }
    }

    pub(super) fn visible(&self, cx: &CallContext<'_>) -> bool {
        self.vendor
            || match cx.assumptions.get::<StoreVisible>() {
                StoreVisible::AtOnce => true,
                StoreVisible::NotExist => cx.now >= self.created + VISIBILITY_LAG,
            }
    }

    fn answer(&self) -> Value {
        let settings = &self.settings;
        let mut answer = json!({
            "logstoreName": self.name,
            "ttl": settings.ttl,
            "shardCount": self.shards.writable(),
            "autoSplit": settings.auto_split,
            "maxSplitShard": settings.max_split,
            "enable_tracking": settings.tracking,
            "appendMeta": settings.append_meta,
            "telemetryType": settings.telemetry,
            "mode": settings.mode,
            "enableModify": settings.enable_modify,
            "resourceGroupId": settings.resource_group.as_deref().unwrap_or(""),
            "productType": if self.vendor { "actiontrail" } else { "" },
            "createTime": self.created.as_second(),
            "lastModifyTime": self.modified.as_second(),
        });
        let optional = [
            ("hot_ttl", settings.hot_ttl.map(|days| json!(days))),
            (
                "infrequentAccessTTL",
                settings.infrequent_ttl.map(|days| json!(days)),
            ),
            ("encrypt_conf", settings.encryption.clone()),
            ("processorId", settings.processor.as_ref().map(|id| json!(id))),
            ("shardingPolicy", settings.sharding_policy.clone()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                answer[name] = value;
            }
        }
        answer
    }

    fn doc_value_allowed(&self) -> bool {
        self.settings.mode == "standard"
    }
}

impl Project {
    fn shard_total(&self) -> usize {
        self.stores.values().map(|store| store.shards.writable()).sum()
    }
}

impl State {
    pub(super) fn create_store(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let project = self.project(cx, project)?;
        let body = given.object()?;
        let members = Members::new(&body, "LogStoreInfoInvalid");
        let name = members.required_text("logstoreName")?;
        names::check_store(name)?;
        let shards = members
            .integer("shardCount")?
            .filter(|count| SHARD_COUNT.contains(count))
            .ok_or_else(|| store_info_invalid("shardCount must be within range [1, 10]"))?;
        let settings = Settings::fresh().read(&members)?;
        if project.stores.contains_key(name) {
            return Err(store_already_exists(name));
        }
        let shards = days(shards);
        if project.stores.len() as u64 >= cx.quotas.get(quota::SLS_LOGSTORES)
            || project.shard_total() as u64 + u64::from(shards) > cx.quotas.get(quota::SLS_SHARDS)
        {
            return Err(project_quota_exceed());
        }
        project.stores.insert(
            name.to_owned(),
            LogStore::new(name, settings, shards, cx.now, false),
        );
        Ok(Reply::empty())
    }

    pub(super) fn store(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        store: &str,
    ) -> Result<&mut LogStore, ApiError> {
        self.project(cx, project)?.store(store, cx)
    }

    pub(super) fn get_store(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        store: &str,
    ) -> Result<Reply, ApiError> {
        Ok(Reply::json(&self.store(cx, project, store)?.answer()))
    }

    pub(super) fn update_store(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        name: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, name)?;
        let body = given.object()?;
        let members = Members::new(&body, "LogStoreInfoInvalid");
        if members.text("logstoreName")?.is_some_and(|other| other != name) {
            return Err(store_info_invalid(format!(
                "logstore name {name} can not be changed"
            )));
        }
        if let Some(count) = members.integer("shardCount")? {
            let same = usize::try_from(count).is_ok_and(|count| count == store.shards.writable());
            if !same && cx.assumptions.get::<PutShardCount>() == PutShardCount::Refused {
                return Err(parameter_invalid(
                    "invalid shard count,you can only modify shardCount by split& merge shard.",
                ));
            }
        }
        let before = &store.settings;
        let base = match cx.assumptions.get::<PutOmitted>() {
            PutOmitted::Keep => before.clone(),
            // The infrequent-access tier and what cannot be changed are kept either way.
            PutOmitted::Reset => Settings {
                hot_ttl: before.hot_ttl.filter(|_| before.infrequent_ttl.is_some()),
                auto_split: false,
                max_split: 0,
                tracking: false,
                append_meta: false,
                ..before.clone()
            },
        };
        let after = base.read(&members)?;
        if after.telemetry != before.telemetry {
            return Err(not_supported("telemetryType can not be changed"));
        }
        let mode_change = match (before.mode.as_str(), after.mode.as_str()) {
            (old, new) if old == new => true,
            (_, "standard") => true,
            ("standard", "query") => cx.assumptions.get::<ModeToQuery>() == ModeToQuery::Accepted,
            _ => false,
        };
        if !mode_change {
            return Err(not_supported(format!(
                "mode can not be changed to {}",
                after.mode
            )));
        }
        store.settings = after;
        store.modified = cx.now;
        Ok(Reply::empty())
    }

    pub(super) fn delete_store(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        name: &str,
    ) -> Result<Reply, ApiError> {
        let project = self.project(cx, project)?;
        project.store(name, cx)?;
        project.stores.remove(name);
        Ok(Reply::empty())
    }

    pub(super) fn list_stores(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let page = given.page(200, 500)?;
        let project = self.project(cx, project)?;
        let found: Vec<&str> = project
            .stores
            .values()
            .filter(|store| store.visible(cx))
            .filter(|store| {
                given
                    .filter("logstoreName")
                    .is_none_or(|part| store.name.contains(part))
            })
            .filter(|store| {
                given
                    .filter("mode")
                    .is_none_or(|mode| store.settings.mode == mode)
            })
            .filter(|store| {
                given
                    .filter("telemetryType")
                    .is_none_or(|kind| store.settings.telemetry == if kind == "None" { "" } else { kind })
            })
            .map(|store| store.name.as_str())
            .collect();
        let total = found.len();
        let names = page.of(found);
        Ok(Reply::json(
            &json!({"count": names.len(), "total": total, "logstores": names}),
        ))
    }

    pub(super) fn get_metering(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        store: &str,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        Ok(Reply::json(&json!({"meteringMode": store.metering})))
    }

    pub(super) fn update_metering(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        store: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        let body = given.object()?;
        let mode = Members::new(&body, "ParameterInvalid").required_text("meteringMode")?;
        if !matches!(mode, "ChargeByFunction" | "ChargeByDataIngest") {
            return Err(parameter_invalid(format!("meteringMode {mode} is not supported")));
        }
        mode.clone_into(&mut store.metering);
        Ok(Reply::empty())
    }

    pub(super) fn update_encryption(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        store: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        let body = given.object()?;
        let members = Members::new(&body, "ParameterInvalid");
        let mut plain = Map::new();
        plain.insert(
            "enable".to_owned(),
            json!(members.flag("enable")?.unwrap_or(false)),
        );
        if let Some(kind) = members.text("encryptType")? {
            plain.insert("encrypt_type".to_owned(), json!(kind));
        }
        if let Some(key) = members.object("userCmkInfo")? {
            let part = |name: &str| key.get(name).cloned().unwrap_or(Value::Null);
            let info =
                json!({"cmk_key_id": part("keyId"), "arn": part("roleArn"), "region_id": part("regionId")});
            plain.insert("user_cmk_info".to_owned(), info);
        }
        store.settings.encryption = Some(read_encryption(&plain, store.settings.encryption.as_ref())?);
        store.modified = cx.now;
        Ok(Reply::empty())
    }

    pub(super) fn list_shards(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        store: &str,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        Ok(Reply::json(
            &store.shards.all().iter().map(Shard::answer).collect(),
        ))
    }

    pub(super) fn split_shard(
        &mut self,
        cx: &CallContext<'_>,
        (project, store, shard): (&str, &str, u32),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let limit = cx.quotas.get(quota::SLS_SHARDS);
        let project = self.project(cx, project)?;
        let total = project.shard_total() as u64;
        let store = project.store(store, cx)?;
        let key = match given.query("key").filter(|key| !key.is_empty()) {
            None => None,
            Some(text) => Some(parse_key(text).ok_or_else(|| parameter_invalid("invalid mid hash."))?),
        };
        let count = match given.query("shardCount").filter(|count| !count.is_empty()) {
            None => 2,
            Some(text) => text
                .parse::<u32>()
                .ok()
                .filter(|count| (2..=100).contains(count))
                .ok_or_else(|| parameter_invalid("invalid shard count."))?,
        };
        if total + u64::from(count) - 1 > limit {
            return Err(project_quota_exceed());
        }
        let changed = store.shards.split(shard, key, count, cx.now.as_second())?;
        Ok(Reply::json(&changed.iter().map(Shard::answer).collect()))
    }

    pub(super) fn merge_shard(
        &mut self,
        cx: &CallContext<'_>,
        (project, store, shard): (&str, &str, u32),
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        let changed = store.shards.merge(shard, cx.now.as_second())?;
        Ok(Reply::json(&changed.iter().map(Shard::answer).collect()))
    }

    pub(super) fn create_index(
        &mut self,
        cx: &CallContext<'_>,
        (project, store): (&str, &str),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        if store.index.is_some() {
            return Err(bad("IndexAlreadyExist", "Logstore index is already created."));
        }
        let body = Value::Object(given.object()?);
        store.index = Some(Arc::new(Index::parse(
            &body,
            store.doc_value_allowed(),
            cx.now.as_second(),
        )?));
        Ok(Reply::empty())
    }

    pub(super) fn update_index(
        &mut self,
        cx: &CallContext<'_>,
        (project, store): (&str, &str),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        if store.index.is_none() {
            return Err(parameter_invalid("log store index is not created."));
        }
        let body = Value::Object(given.object()?);
        store.index = Some(Arc::new(Index::parse(
            &body,
            store.doc_value_allowed(),
            cx.now.as_second(),
        )?));
        Ok(Reply::empty())
    }

    pub(super) fn get_index(
        &mut self,
        cx: &CallContext<'_>,
        (project, store): (&str, &str),
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        match &store.index {
            Some(index) => Ok(Reply::json(&index.answer(store.settings.ttl))),
            None => Err(index_absent(cx, "index config doesn't exist.")),
        }
    }

    pub(super) fn delete_index(
        &mut self,
        cx: &CallContext<'_>,
        (project, store): (&str, &str),
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        if store.index.take().is_none() {
            return Err(parameter_invalid("log store index is not created."));
        }
        Ok(Reply::empty())
    }
}

/// IndexConfigNotExist with the status that is assumed.
pub(super) fn index_absent(cx: &CallContext<'_>, message: &str) -> ApiError {
    let status = match cx.assumptions.get::<IndexAbsentStatus>() {
        IndexAbsentStatus::BadRequest => 400,
        IndexAbsentStatus::NotFound => 404,
    };
    ApiError::new(status, "IndexConfigNotExist", message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(body: &Value) -> Result<Settings, ApiError> {
        Settings::fresh().read(&Members::new(body.as_object().unwrap(), "LogStoreInfoInvalid"))
    }

    #[test]
    fn days_add_up() {
        let out = "ttl value is out of range";
        let hot = "hot_ttl value is out of range";
        let table = [
            (json!({"ttl": 1}), None),
            (json!({"ttl": 3650}), None),
            (json!({}), Some(out)),
            (json!({"ttl": 0}), Some(out)),
            (json!({"ttl": 3651}), Some(out)),
            (json!({"ttl": 30, "hot_ttl": 7}), None),
            (json!({"ttl": 30, "hot_ttl": -1}), None),
            (json!({"ttl": 30, "hot_ttl": 6}), Some(hot)),
            (json!({"ttl": 30, "hot_ttl": 31}), Some(hot)),
            (
                json!({"ttl": 90, "hot_ttl": 10, "infrequentAccessTTL": 20}),
                Some("infrequentAccessTTL must large than 30"),
            ),
            (
                json!({"ttl": 90, "hot_ttl": 10, "infrequentAccessTTL": 0}),
                Some("infrequentAccessTTL must large than 30"),
            ),
            (
                json!({"ttl": 80, "hot_ttl": 10, "infrequentAccessTTL": 30}),
                Some("archiveTTL must large than 60"),
            ),
            (
                json!({"ttl": 100, "hot_ttl": 10, "infrequentAccessTTL": 30}),
                None,
            ),
            (json!({"ttl": 40, "hot_ttl": 10, "infrequentAccessTTL": 30}), None),
            (
                json!({"ttl": 39, "hot_ttl": 10, "infrequentAccessTTL": 30}),
                Some(out),
            ),
            (json!({"ttl": 30, "maxSplitShard": 0}), None),
            (
                json!({"ttl": 30, "maxSplitShard": 257}),
                Some("maxSplitShard must be within range [1, 256]"),
            ),
            (
                json!({"ttl": 30, "autoSplit": true}),
                Some("maxSplitShard must be within range [1, 256]"),
            ),
            (json!({"ttl": 30, "autoSplit": true, "maxSplitShard": 256}), None),
            (
                json!({"ttl": 30, "mode": "fast"}),
                Some("mode fast is not supported"),
            ),
            (
                json!({"ttl": "30"}),
                Some("The parameter ttl is of error format."),
            ),
            (
                json!({"ttl": 30, "encrypt_conf": {"enable": true, "encrypt_type": "rot13"}}),
                Some("encrypt_type rot13 is not supported"),
            ),
        ];
        for (body, wanted) in table {
            let told = read(&body).err().map(|error| (error.code, error.message));
            let wanted = wanted.map(|message| ("LogStoreInfoInvalid".to_owned(), message.to_owned()));
            assert_eq!(told, wanted, "{body}");
        }
    }

    #[test]
    fn encryption_keeps_its_kind_and_key_once_set() {
        let first = read_encryption(
            json!({"enable": true, "encrypt_type": "sm4"})
                .as_object()
                .unwrap(),
            None,
        )
        .unwrap();
        let off = json!({"enable": false, "encrypt_type": "default"});
        let second = read_encryption(off.as_object().unwrap(), Some(&first)).unwrap();
        assert_eq!(second, json!({"enable": false, "encrypt_type": "sm4"}));
    }
}
