//! What of Log Service protects an audit, as comparable facts, and all managed settings as one value.

use serde_json::{Map, Value, json};

use super::State;
use super::project::Project;
use super::store::LogStore;
use crate::protection::{Fact, Facts};

/// Tags whose key begins so say who owns a resource; all others are the user's own affair.
const MARK_PREFIX: &str = "ramtrail-";

fn tag_facts<'a>(path: &str, tags: impl IntoIterator<Item = (&'a String, &'a String)>, facts: &mut Facts) {
    for (key, value) in tags {
        let fact = if key.starts_with(MARK_PREFIX) {
            Fact::Kept(value.clone())
        } else {
            Fact::Neutral(value.clone())
        };
        facts.insert(format!("{path}/tag/{key}"), fact);
    }
}

fn store_facts(path: &str, store: &LogStore, facts: &mut Facts) {
    let settings = &store.settings;
    let ttl = i64::from(settings.ttl);
    let hot = settings.hot_ttl.map_or(ttl, i64::from);
    let warm = settings.infrequent_ttl.map_or(ttl, |days| hot + i64::from(days));
    let amount = |name: &str, value: i64| (format!("{path}/{name}"), Fact::Amount(value));
    facts.insert(path.to_owned(), Fact::Present);
    facts.extend([
        amount("ttl", ttl),
        amount("hotDays", hot),
        amount("hotAndInfrequentDays", warm),
        amount("noAnonymousWrites", i64::from(!settings.tracking)),
        amount("appendMeta", i64::from(settings.append_meta)),
        amount(
            "encrypted",
            i64::from(
                settings
                    .encryption
                    .as_ref()
                    .is_some_and(|conf| conf["enable"] == true),
            ),
        ),
        (
            format!("{path}/shards"),
            Fact::Neutral(store.shards.writable().to_string()),
        ),
        (format!("{path}/mode"), Fact::Neutral(settings.mode.clone())),
    ]);
    if let Some(index) = &store.index {
        facts.insert(format!("{path}/index"), Fact::Members(index.coverage()));
    }
    tag_facts(path, &store.tags, facts);
}

fn project_facts(project: &Project, facts: &mut Facts) {
    let path = format!("project/{}/{}", project.region, project.name);
    facts.insert(path.clone(), Fact::Present);
    facts.insert(
        format!("{path}/description"),
        Fact::Neutral(project.description.clone()),
    );
    facts.insert(
        format!("{path}/resourceGroup"),
        Fact::Neutral(project.resource_group.clone()),
    );
    facts.insert(
        format!("{path}/recycleBin"),
        Fact::Amount(i64::from(project.recycle_bin)),
    );
    if let Some(policy) = &project.policy {
        facts.insert(format!("{path}/policy"), Fact::Kept(policy.clone()));
    }
    tag_facts(&path, &project.tags, facts);
    for store in project.stores.values() {
        store_facts(&format!("{path}/store/{}", store.name), store, facts);
    }
    for (name, search) in &project.searches {
        facts.insert(
            format!("{path}/savedSearch/{name}"),
            Fact::Kept(search.to_string()),
        );
    }
    for (name, dashboard) in &project.dashboards {
        facts.insert(
            format!("{path}/dashboard/{name}"),
            Fact::Kept(dashboard.to_string()),
        );
    }
    for (name, tags) in &project.dashboard_tags {
        tag_facts(&format!("{path}/dashboard/{name}"), tags, facts);
    }
    for job in project.jobs.values() {
        let path = format!("{path}/job/{}", job.name);
        let configuration = &job.configuration;
        facts.insert(path.clone(), Fact::Present);
        facts.insert(format!("{path}/on"), Fact::Amount(i64::from(job.status.is_on())));
        facts.insert(
            format!("{path}/accepts"),
            Fact::Passed(configuration.script.accepted()),
        );
        facts.insert(
            format!("{path}/script"),
            Fact::Neutral(configuration.script_text.clone()),
        );
        facts.insert(format!("{path}/source"), Fact::Kept(configuration.source.clone()));
        facts.insert(format!("{path}/role"), Fact::Kept(configuration.role.clone()));
        facts.insert(
            format!("{path}/description"),
            Fact::Neutral(job.description.clone()),
        );
        // A job without end covers more than one with any end.
        let until = if configuration.to == 0 {
            i64::MAX
        } else {
            configuration.to
        };
        facts.insert(format!("{path}/until"), Fact::Amount(until));
        for sink in &configuration.sinks {
            let target = format!("{}/{}", sink.project, sink.store);
            facts.insert(format!("{path}/sink/{target}"), Fact::Kept(sink.role.clone()));
        }
    }
}

fn store_summary(store: &LogStore) -> Value {
    let settings = &store.settings;
    json!({
        "ttl": settings.ttl,
        "hotTtl": settings.hot_ttl,
        "infrequentAccessTtl": settings.infrequent_ttl,
        "autoSplit": settings.auto_split,
        "maxSplitShard": settings.max_split,
        "tracking": settings.tracking,
        "appendMeta": settings.append_meta,
        "telemetryType": settings.telemetry,
        "mode": settings.mode,
        "encryption": settings.encryption,
        "resourceGroup": settings.resource_group,
        "processor": settings.processor,
        "enableModify": settings.enable_modify,
        "shardingPolicy": settings.sharding_policy,
        "metering": store.metering,
        "shards": store.shards.all().iter().map(|shard| (shard.id, shard.writable)).collect::<Vec<_>>(),
        "index": store.index.as_ref().map(|index| index.config()),
        "tags": store.tags,
        "vendor": store.vendor,
        "createTime": store.created.as_second(),
    })
}

impl State {
    /// Writes what protects the audit of `account`.
    pub fn facts(&self, account: &str, facts: &mut Facts) {
        for project in self
            .projects
            .values()
            .filter(|project| project.account == account)
        {
            project_facts(project, facts);
        }
    }

    /// All managed settings of `account`: no logs, no modification times.
    pub fn summary(&self, account: &str) -> Value {
        let mut all = Map::new();
        for project in self
            .projects
            .values()
            .filter(|project| project.account == account)
        {
            let stores: Map<String, Value> = project
                .stores
                .iter()
                .map(|(name, store)| (name.clone(), store_summary(store)))
                .collect();
            let jobs: Map<String, Value> = project
                .jobs
                .iter()
                .map(|(name, job)| (name.clone(), job.summary()))
                .collect();
            let summary = json!({
                "description": project.description,
                "redundancy": project.redundancy,
                "resourceGroup": project.resource_group,
                "recycleBin": project.recycle_bin,
                "policy": project.policy,
                "tags": project.tags,
                "stores": stores,
                "dashboards": project.dashboards,
                "dashboardTags": project.dashboard_tags,
                "savedSearches": project.searches,
                "jobs": jobs,
                "createTime": project.created.as_second(),
            });
            all.insert(format!("{}/{}", project.region, project.name), summary);
        }
        Value::Object(all)
    }
}
