//! Projects: create, get, update, delete, list, policy, resource group, regions (sls-api 4.1, 4.3).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Members};
use super::assumptions::{NameScope, Owner, ProjectVisible, TimeZone};
use super::errors::{
    foreign_project, parameter_invalid, project_already_exist, project_forbidden, project_not_exist,
    project_quota_exceed,
};
use super::job::Job;
use super::store::LogStore;
use super::{State, names};
use crate::call::CallContext;
use crate::quota;
use crate::wire::{ApiError, Reply};

/// How long a new project or log store stays invisible where an assumption says so.
pub(super) const VISIBILITY_LAG: SignedDuration = SignedDuration::from_secs(3);
/// The resource group of projects that name none.
const DEFAULT_RESOURCE_GROUP: &str = "rg-default";
/// Regions that DescribeRegions answers; calls to other regions work all the same.
const REGIONS: &[(&str, &str)] = &[
    ("cn-hangzhou", "China (Hangzhou)"),
    ("cn-shanghai", "China (Shanghai)"),
    ("cn-beijing", "China (Beijing)"),
    ("cn-shenzhen", "China (Shenzhen)"),
    ("cn-hongkong", "China (Hong Kong)"),
    ("ap-southeast-1", "Singapore"),
    ("ap-northeast-1", "Japan (Tokyo)"),
    ("eu-central-1", "Germany (Frankfurt)"),
    ("us-east-1", "US (Virginia)"),
    ("us-west-1", "US (Silicon Valley)"),
];

/// A project with everything in it.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) name: String,
    pub(super) account: String,
    pub(super) region: String,
    pub(super) description: String,
    pub(super) redundancy: String,
    pub(super) resource_group: String,
    pub(super) recycle_bin: bool,
    pub(super) created: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) policy: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) stores: BTreeMap<String, LogStore>,
    pub(super) dashboards: BTreeMap<String, Value>,
    pub(super) dashboard_tags: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) searches: BTreeMap<String, Value>,
    pub(super) jobs: BTreeMap<String, Job>,
}

impl Project {
    fn answer(&self, cx: &CallContext<'_>, with_quota: bool) -> Value {
        let time = |time: Timestamp| {
            let shift = match cx.assumptions.get::<TimeZone>() {
                TimeZone::Utc => SignedDuration::ZERO,
                TimeZone::Utc8 => SignedDuration::from_hours(8),
            };
            (time + shift).strftime("%Y-%m-%d %H:%M:%S").to_string()
        };
        let owner = match cx.assumptions.get::<Owner>() {
            Owner::Account => self.account.as_str(),
            Owner::Empty => "",
        };
        let mut answer = json!({
            "projectName": self.name,
            "description": self.description,
            "status": "Normal",
            "region": self.region,
            "owner": owner,
            "createTime": time(self.created),
            "lastModifyTime": time(self.modified),
            "dataRedundancyType": self.redundancy,
            "resourceGroupId": self.resource_group,
            "recycleBinEnabled": self.recycle_bin,
            "internetEndpoint": format!("{}.log.aliyuncs.com", self.region),
            "internalEndpoint": format!("{}-intranet.log.aliyuncs.com", self.region),
            "location": "",
        });
        if with_quota {
            let limit = |limit| cx.quotas.get(limit);
            answer["quota"] = json!({
                "logstore": limit(quota::SLS_LOGSTORES),
                "shard": limit(quota::SLS_SHARDS),
                "config": 200,
                "machineGroup": 200,
                "dashboard": limit(quota::SLS_DASHBOARDS),
                "chart": 200,
                "domain": 100,
                "savedsearch": limit(quota::SLS_SAVED_SEARCHES),
                "ETL": limit(quota::SLS_JOBS),
                "export": limit(quota::SLS_JOBS),
                "ingestion": limit(quota::SLS_JOBS),
                "alert": limit(quota::SLS_JOBS),
                "report": limit(quota::SLS_JOBS),
                "scheduledSQL": limit(quota::SLS_JOBS),
                "writeSizePerMin": 107_374_182_400_i64,
                "writeQpsPerMin": limit(quota::SLS_WRITE_QPM),
                "readQpsPerMin": limit(quota::SLS_READ_QPM),
            });
        }
        answer
    }

    fn visible(&self, cx: &CallContext<'_>) -> bool {
        match cx.assumptions.get::<ProjectVisible>() {
            ProjectVisible::AtOnce => true,
            ProjectVisible::NotExist | ProjectVisible::Forbidden => cx.now >= self.created + VISIBILITY_LAG,
        }
    }

    /// A log store of the project, if it can be seen.
    pub(super) fn store(&mut self, name: &str, cx: &CallContext<'_>) -> Result<&mut LogStore, ApiError> {
        self.stores
            .get_mut(name)
            .filter(|store| store.visible(cx))
            .ok_or_else(|| super::errors::store_not_exist(name))
    }
}

impl State {
    fn key(region: &str, name: &str) -> (String, String) {
        (region.to_owned(), name.to_owned())
    }

    /// A project of the called region that belongs to the caller and can be seen.
    pub(super) fn project(&mut self, cx: &CallContext<'_>, name: &str) -> Result<&mut Project, ApiError> {
        let project = self
            .projects
            .get_mut(&Self::key(cx.region, name))
            .ok_or_else(|| project_not_exist(name))?;
        if project.account != cx.caller.account {
            return Err(foreign_project());
        }
        if !project.visible(cx) {
            return Err(match cx.assumptions.get::<ProjectVisible>() {
                ProjectVisible::Forbidden => project_forbidden(name),
                ProjectVisible::AtOnce | ProjectVisible::NotExist => project_not_exist(name),
            });
        }
        Ok(project)
    }

    pub(super) fn create_project(
        &mut self,
        cx: &CallContext<'_>,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let body = given.object()?;
        let members = Members::new(&body, "ParameterInvalid");
        let name = members.required_text("projectName")?;
        let description = members.text("description")?.unwrap_or_default();
        let redundancy = members
            .text("dataRedundancyType")?
            .filter(|kind| !kind.is_empty())
            .unwrap_or("LRS");
        let resource_group = members.text("resourceGroupId")?.filter(|group| !group.is_empty());
        let recycle_bin = members.flag("recycleBinEnabled")?.unwrap_or(false);
        names::check_project(name)?;
        names::check_description(description)?;
        if !matches!(redundancy, "LRS" | "ZRS") {
            return Err(parameter_invalid(format!(
                "The dataRedundancyType is not supported: {redundancy}"
            )));
        }
        let taken = match cx.assumptions.get::<NameScope>() {
            NameScope::Global => self.projects.keys().any(|(_, other)| other == name),
            NameScope::PerRegion => self.projects.contains_key(&Self::key(cx.region, name)),
        };
        if taken || name == "logtail" {
            return Err(project_already_exist(name));
        }
        let owned = self
            .projects
            .values()
            .filter(|project| project.account == cx.caller.account)
            .count();
        if owned as u64 >= cx.quotas.get(quota::SLS_PROJECTS) {
            return Err(project_quota_exceed());
        }
        let project = Project {
            name: name.to_owned(),
            account: cx.caller.account.clone(),
            region: cx.region.to_owned(),
            description: description.to_owned(),
            redundancy: redundancy.to_owned(),
            resource_group: resource_group.unwrap_or(DEFAULT_RESOURCE_GROUP).to_owned(),
            recycle_bin,
            created: cx.now,
            modified: cx.now,
            policy: None,
            tags: BTreeMap::new(),
            stores: BTreeMap::new(),
            dashboards: BTreeMap::new(),
            dashboard_tags: BTreeMap::new(),
            searches: BTreeMap::new(),
            jobs: BTreeMap::new(),
        };
        self.projects.insert(Self::key(cx.region, name), project);
        Ok(Reply::empty())
    }

    pub(super) fn get_project(&mut self, cx: &CallContext<'_>, name: &str) -> Result<Reply, ApiError> {
        Ok(Reply::json(&self.project(cx, name)?.answer(cx, true)))
    }

    pub(super) fn update_project(
        &mut self,
        cx: &CallContext<'_>,
        name: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let project = self.project(cx, name)?;
        let body = given.object()?;
        let members = Members::new(&body, "ParameterInvalid");
        let description = members.text("description")?.unwrap_or_default();
        names::check_description(description)?;
        let recycle_bin = members.flag("recycleBinEnabled")?;
        description.clone_into(&mut project.description);
        project.recycle_bin = recycle_bin.unwrap_or(project.recycle_bin);
        project.modified = cx.now;
        Ok(Reply::empty())
    }

    pub(super) fn delete_project(&mut self, cx: &CallContext<'_>, name: &str) -> Result<Reply, ApiError> {
        self.project(cx, name)?;
        self.projects.remove(&Self::key(cx.region, name));
        Ok(Reply::empty())
    }

    pub(super) fn list_projects(
        &mut self,
        cx: &CallContext<'_>,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let page = given.page(100, 500)?;
        let with_quota = given
            .query("fetchQuota")
            .is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
        let contains =
            |text: &str, filter: &str| given.filter(filter).is_none_or(|wanted| text.contains(wanted));
        let found: Vec<&Project> = self
            .projects
            .values()
            .filter(|project| project.region == cx.region && project.account == cx.caller.account)
            .filter(|project| project.visible(cx))
            .filter(|project| contains(&project.name, "projectName"))
            .filter(|project| contains(&project.description, "description"))
            .filter(|project| {
                given
                    .filter("resourceGroupId")
                    .is_none_or(|group| project.resource_group == group)
            })
            .collect();
        let total = found.len();
        let projects: Vec<Value> = page
            .of(found)
            .into_iter()
            .map(|project| project.answer(cx, with_quota))
            .collect();
        Ok(Reply::json(
            &json!({"count": projects.len(), "total": total, "projects": projects}),
        ))
    }

    pub(super) fn change_resource_group(
        &mut self,
        cx: &CallContext<'_>,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let body = given.object()?;
        let members = Members::new(&body, "ParameterInvalid");
        let kind = members.text("resourceType")?.unwrap_or("PROJECT");
        if !kind.eq_ignore_ascii_case("project") {
            return Err(parameter_invalid(format!(
                "The resource type is not supported: {kind}"
            )));
        }
        let group = members.required_text("resourceGroupId")?;
        let project = self.project(cx, members.required_text("resourceId")?)?;
        group.clone_into(&mut project.resource_group);
        project.modified = cx.now;
        Ok(Reply::empty())
    }

    pub(super) fn get_policy(&mut self, cx: &CallContext<'_>, name: &str) -> Result<Reply, ApiError> {
        let project = self.project(cx, name)?;
        Ok(Reply::bytes(
            "application/json",
            project.policy.clone().unwrap_or_default(),
        ))
    }

    pub(super) fn put_policy(
        &mut self,
        cx: &CallContext<'_>,
        name: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let project = self.project(cx, name)?;
        let text = std::str::from_utf8(given.body()).map_err(|_| parameter_invalid("invalid policy"))?;
        if serde_json::from_str::<Map<String, Value>>(text).is_err() {
            return Err(parameter_invalid("The policy is not valid json."));
        }
        project.policy = Some(text.to_owned());
        Ok(Reply::empty())
    }

    pub(super) fn delete_policy(&mut self, cx: &CallContext<'_>, name: &str) -> Result<Reply, ApiError> {
        self.project(cx, name)?.policy = None;
        Ok(Reply::empty())
    }
}

/// DescribeRegions.
pub(super) fn describe_regions() -> Reply {
    let regions: Vec<Value> = REGIONS
        .iter()
        .map(|(region, name)| {
            json!({
                "region": region,
                "localName": name,
                "internetEndpoint": format!("{region}.log.aliyuncs.com"),
                "intranetEndpoint": format!("{region}-intranet.log.aliyuncs.com"),
                "internalEndpoint": format!("{region}-internal.log.aliyuncs.com"),
                "dataRedundancyType": ["LRS", "ZRS"],
            })
        })
        .collect();
    Reply::json(&json!({"regions": regions}))
}
