//! Simple Log Service: projects, tags, log stores, indexes, jobs, logs and queries.
//!
//! The seam types below are shared with the engine; see the crate's documentation.

mod arguments;
pub mod assumptions;
mod data;
mod documents;
mod errors;
mod facts;
pub mod index;
mod job;
mod names;
mod project;
mod query;
mod route;
pub mod search;
pub mod shards;
pub mod spl;
mod store;
mod tags;
#[cfg(test)]
mod tests;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::arguments::Arguments;
use self::data::{StoredGroup, StoredLog};
use self::documents::Family;
use self::index::Index;
use self::project::Project;
use self::route::Command;
use self::store::{LogStore, Settings};
use crate::call::{CallContext, Operation, Tick};
use crate::wire::{ApiError, Inbound, Reply};

/// A request routed to Log Service.
#[derive(Debug, Clone, Copy)]
pub struct LogRequest<'a> {
    /// The request.
    pub inbound: &'a Inbound,
    /// Project from the host prefix.
    pub project: Option<&'a str>,
    /// Region of the endpoint.
    pub region: &'a str,
}

/// An identified call with its parsed arguments.
#[derive(Debug, Clone)]
pub struct LogCall {
    /// What the engine needs.
    pub operation: Operation,
    command: Command,
    /// Project from the host.
    project: Option<String>,
    given: Arguments,
}

/// All projects of all accounts, by region and name.
#[derive(Debug, Default)]
pub struct State {
    projects: BTreeMap<(String, String), Project>,
}

/// Why a vendor's door did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VendorError {
    /// No such project (in that region).
    ProjectNotExist,
    /// No such log store.
    LogStoreNotExist,
}

/// A log store that ActionTrail makes for itself.
#[derive(Debug, Clone)]
pub struct VendorStore {
    /// Days, 3650 = permanent.
    pub ttl: u32,
    /// Shards.
    pub shards: u32,
    /// Index configuration as CreateIndex takes it.
    pub index: Value,
    /// Dashboard to make beside it, if any.
    pub dashboard: Option<String>,
}

/// A log that ActionTrail writes.
#[derive(Debug, Clone)]
pub struct VendorLog {
    /// `__time__`, epoch seconds.
    pub time: i64,
    /// `__topic__`.
    pub topic: String,
    /// `__source__`.
    pub source: String,
    /// Fields.
    pub contents: Vec<(String, String)>,
}

/// Recognises the operation and parses its arguments from the request alone.
pub fn identify(request: &LogRequest<'_>) -> Result<LogCall, ApiError> {
    route::identify(request)
}

/// Runs an identified call.
#[allow(clippy::too_many_lines)] // one line per operation
pub fn execute(call: LogCall, state: &mut State, cx: &CallContext<'_>) -> Result<Reply, ApiError> {
    let LogCall {
        command,
        project,
        given,
        operation: _,
    } = call;
    let given = &given;
    // Operations that need a project are recognised only with one.
    let project = project.as_deref().unwrap_or_default();
    match &command {
        Command::CreateProject => state.create_project(cx, given),
        Command::GetProject => state.get_project(cx, project),
        Command::UpdateProject => state.update_project(cx, project, given),
        Command::DeleteProject => state.delete_project(cx, project),
        Command::ListProject => state.list_projects(cx, given),
        Command::DescribeRegions => Ok(project::describe_regions()),
        Command::ChangeResourceGroup => state.change_resource_group(cx, given),
        Command::TagResources => state.tag_resources(cx, given),
        Command::UntagResources => state.untag_resources(cx, given),
        Command::ListTagResources => state.list_tag_resources(cx, given),
        Command::GetProjectPolicy => state.get_policy(cx, project),
        Command::PutProjectPolicy => state.put_policy(cx, project, given),
        Command::DeleteProjectPolicy => state.delete_policy(cx, project),
        Command::CreateLogStore => state.create_store(cx, project, given),
        Command::GetLogStore(store) => state.get_store(cx, project, store),
        Command::UpdateLogStore(store) => state.update_store(cx, project, store, given),
        Command::DeleteLogStore(store) => state.delete_store(cx, project, store),
        Command::ListLogStores => state.list_stores(cx, project, given),
        Command::GetMetering(store) => state.get_metering(cx, project, store),
        Command::UpdateMetering(store) => state.update_metering(cx, project, store, given),
        Command::UpdateEncryption(store) => state.update_encryption(cx, project, store, given),
        Command::ListShards(store) => state.list_shards(cx, project, store),
        Command::SplitShard(store, shard) => state.split_shard(cx, (project, store, *shard), given),
        Command::MergeShard(store, shard) => state.merge_shard(cx, (project, store, *shard)),
        Command::CreateIndex(store) => state.create_index(cx, (project, store), given),
        Command::GetIndex(store) => state.get_index(cx, (project, store)),
        Command::UpdateIndex(store) => state.update_index(cx, (project, store), given),
        Command::DeleteIndex(store) => state.delete_index(cx, (project, store)),
        Command::PutLogs { store, hashed } => state.put_logs(cx, (project, store), *hashed, given),
        Command::GetCursor(store, shard) => state.get_cursor(cx, (project, store, *shard), given),
        Command::GetCursorTime(store, shard) => state.get_cursor_time(cx, (project, store, *shard), given),
        Command::PullLogs(store, shard) => state.pull_logs(cx, (project, store, *shard), given),
        Command::GetLogs(store) => state.get_logs(cx, (project, store), given),
        Command::GetLogsLegacy(store) => state.get_logs_legacy(cx, (project, store), given),
        Command::GetHistograms(store) => state.get_histograms(cx, (project, store), given),
        Command::CreateSavedSearch => state.create_document(cx, project, Family::Search, given),
        Command::GetSavedSearch(name) => state.get_document(cx, (project, Family::Search, name)),
        Command::UpdateSavedSearch(name) => state.update_document(cx, (project, Family::Search, name), given),
        Command::DeleteSavedSearch(name) => state.delete_document(cx, (project, Family::Search, name)),
        Command::ListSavedSearch => state.list_documents(cx, project, Family::Search, given),
        Command::CreateDashboard => state.create_document(cx, project, Family::Dashboard, given),
        Command::GetDashboard(name) => state.get_document(cx, (project, Family::Dashboard, name)),
        Command::UpdateDashboard(name) => {
            state.update_document(cx, (project, Family::Dashboard, name), given)
        }
        Command::DeleteDashboard(name) => state.delete_document(cx, (project, Family::Dashboard, name)),
        Command::ListDashboard => state.list_documents(cx, project, Family::Dashboard, given),
        Command::CreateJob => state.create_job(cx, project, given),
        Command::GetJob(name) => state.get_job(cx, (project, name)),
        Command::UpdateJob(name) => state.update_job(cx, (project, name), given),
        Command::StartJob(name) => state.start_job(cx, (project, name)),
        Command::StopJob(name) => state.stop_job(cx, (project, name)),
        Command::DeleteJob(name) => state.delete_job(cx, (project, name)),
        Command::ListJobs => state.list_jobs(cx, project, given),
    }
}

impl State {
    /// Does background work up to `tick.now`.
    pub fn advance(&mut self, tick: &Tick<'_>) {
        self.run_jobs(tick);
        for project in self.projects.values_mut() {
            for store in project.stores.values_mut() {
                store.expire(tick.now);
            }
        }
    }

    fn found(&self, region: &str, project: &str) -> Option<&Project> {
        self.projects.get(&(region.to_owned(), project.to_owned()))
    }

    fn found_mut(&mut self, region: &str, project: &str) -> Option<&mut Project> {
        self.projects.get_mut(&(region.to_owned(), project.to_owned()))
    }

    /// Account that owns a project of a region.
    pub fn project_owner(&self, region: &str, project: &str) -> Option<&str> {
        self.found(region, project)
            .map(|project| project.account.as_str())
    }

    /// Whether a log store exists.
    pub fn store_exists(&self, region: &str, project: &str, store: &str) -> bool {
        self.found(region, project)
            .is_some_and(|project| project.stores.contains_key(store))
    }

    /// Makes a vendor's log store with its index and dashboard; leaves an existing one as it is.
    ///
    /// # Panics
    /// If the index configuration is not valid: it is the caller's constant.
    pub fn vendor_create_store(
        &mut self,
        region: &str,
        project: &str,
        store: &str,
        spec: &VendorStore,
        now: Timestamp,
    ) -> Result<(), VendorError> {
        let project = self
            .found_mut(region, project)
            .ok_or(VendorError::ProjectNotExist)?;
        if project.stores.contains_key(store) {
            return Ok(());
        }
        let mut made = LogStore::new(store, Settings::vendor(spec.ttl), spec.shards, now, true);
        made.index = Some(Arc::new(vendor_index(&spec.index, now)));
        project.stores.insert(store.to_owned(), made);
        if let Some(name) = &spec.dashboard {
            project.dashboards.entry(name.clone()).or_insert_with(|| {
                json!({"dashboardName": name, "displayName": name, "description": "", "attribute": {}, "charts": []})
            });
        }
        Ok(())
    }

    /// Appends logs to a vendor's log store; `received` is the time on the emulator's clock.
    pub fn vendor_append(
        &mut self,
        region: &str,
        project: &str,
        store: &str,
        logs: Vec<VendorLog>,
        received: Timestamp,
    ) -> Result<(), VendorError> {
        let project = self
            .found_mut(region, project)
            .ok_or(VendorError::ProjectNotExist)?;
        let store = project
            .stores
            .get_mut(store)
            .ok_or(VendorError::LogStoreNotExist)?;
        let mut groups: Vec<StoredGroup> = Vec::new();
        for log in logs {
            let stored = StoredLog {
                time: log.time,
                nanos: None,
                fields: log.contents,
            };
            match groups.last_mut() {
                Some(group) if group.topic == log.topic && group.source == log.source => {
                    group.logs.push(stored);
                }
                _ => groups.push(StoredGroup {
                    received: received.as_second(),
                    topic: log.topic,
                    source: log.source,
                    logs: vec![stored],
                    index: None,
                }),
            }
        }
        for group in groups {
            store.append(None, group);
        }
        Ok(())
    }

    /// Puts the vendor's index back over whatever is there.
    ///
    /// # Panics
    /// If the index configuration is not valid: it is the caller's constant.
    pub fn vendor_restore_index(
        &mut self,
        region: &str,
        project: &str,
        store: &str,
        index: &Value,
        now: Timestamp,
    ) -> Result<(), VendorError> {
        let project = self
            .found_mut(region, project)
            .ok_or(VendorError::ProjectNotExist)?;
        let store = project
            .stores
            .get_mut(store)
            .ok_or(VendorError::LogStoreNotExist)?;
        store.index = Some(Arc::new(vendor_index(index, now)));
        Ok(())
    }
}

fn vendor_index(index: &Value, now: Timestamp) -> Index {
    Index::parse(index, true, now.as_second()).expect("the vendor's index configuration is well formed")
}
