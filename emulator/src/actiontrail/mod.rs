//! ActionTrail 2020-07-06: trails, their state, the events they deliver and that LookupEvents shows.
//!
//! Owns events. Writes into Log Service only through the vendor's doors.

mod delivery;
pub mod event;
mod lookup;
mod operations;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::assumptions::Assumptions;
use crate::identity::Caller;
use crate::protection::{Fact, Facts};
use crate::quota::Quotas;
use crate::rpc::{Action, Params, any_resource};
use crate::{log_service, ram};

pub use operations::execute;

use event::Event;

/// Service whose linked role writes into trails' log stores.
pub const SERVICE: &str = "actiontrail.aliyuncs.com";

/// Regions with an ActionTrail endpoint.
pub const REGIONS: &[&str] = &[
    "cn-hangzhou",
    "cn-shanghai",
    "cn-beijing",
    "cn-shenzhen",
    "cn-qingdao",
    "cn-zhangjiakou",
    "cn-huhehaote",
    "cn-wulanchabu",
    "cn-chengdu",
    "cn-guangzhou",
    "cn-heyuan",
    "cn-nanjing",
    "cn-hongkong",
    "cn-shanghai-finance-1",
    "ap-southeast-1",
    "ap-southeast-3",
    "ap-southeast-5",
    "ap-southeast-7",
    "ap-northeast-1",
    "ap-northeast-2",
    "us-east-1",
    "us-west-1",
    "na-south-1",
    "eu-central-1",
    "eu-west-1",
    "me-east-1",
];

fn all_trails(_: &Params, region: &str) -> Vec<String> {
    vec![format!("acs:actiontrail:{region}:{{account}}:trail/*")]
}

fn named_trail(params: &Params, region: &str) -> Vec<String> {
    let name = params
        .get("Name")
        .or_else(|| params.get("TrailName"))
        .unwrap_or_default();
    vec![format!("acs:actiontrail:{region}:{{account}}:trail/{name}")]
}

const TRAIL: Option<(&str, &str)> = Some(("ACS::ActionTrail::Trail", "Name"));

const fn action(
    name: &'static str,
    write: bool,
    resources: crate::rpc::Resources,
    event_resource: Option<(&'static str, &'static str)>,
) -> Action {
    Action {
        name,
        write,
        prefix: "actiontrail",
        resources,
        event_resource,
    }
}

/// Operations, with the emulator's own judgement of what is a write.
pub const ACTIONS: &[Action] = &[
    action("CreateTrail", true, all_trails, TRAIL),
    action("UpdateTrail", true, named_trail, TRAIL),
    action("DeleteTrail", true, named_trail, TRAIL),
    action("StartLogging", true, named_trail, TRAIL),
    action("StopLogging", true, named_trail, TRAIL),
    action("DescribeTrails", false, all_trails, None),
    action("GetTrailStatus", false, named_trail, TRAIL),
    action("LookupEvents", false, any_resource, None),
    action("DescribeRegions", false, any_resource, None),
    action("GetDataEventSelector", false, any_resource, None),
    action("ListDataEventServices", false, any_resource, None),
    action("GetGlobalEventsStorageRegion", false, any_resource, None),
];

/// What an operation may touch beside the trails.
#[derive(Debug)]
pub struct Context<'a> {
    /// Caller.
    pub caller: &'a Caller,
    /// Region of the endpoint: home region of what is created.
    pub region: &'a str,
    /// Time.
    pub now: Timestamp,
    /// Chosen behaviours.
    pub assumptions: &'a Assumptions,
    /// Limits.
    pub quotas: &'a Quotas,
    /// RAM, for the service-linked role.
    pub ram: &'a mut ram::State,
    /// Log Service, for the trail's log store.
    pub log: &'a mut log_service::State,
}

/// A trail's switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Created, never started.
    Fresh,
    /// Logging.
    Enable,
    /// Stopped.
    Disable,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Fresh => "Fresh",
            Self::Enable => "Enable",
            Self::Disable => "Disable",
        }
    }
}

/// The settings that CreateTrail and UpdateTrail take.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    event_rw: String,
    trail_region: String,
    sls_project_arn: String,
    sls_write_role_arn: String,
    oss_bucket_name: String,
    oss_key_prefix: String,
    oss_write_role_arn: String,
    max_compute_project_arn: String,
    max_compute_write_role_arn: String,
}

#[derive(Debug, Clone)]
struct Trail {
    name: String,
    home_region: String,
    settings: Settings,
    is_organization: bool,
    status: Status,
    created: Timestamp,
    updated: Timestamp,
    visible_from: Timestamp,
    started: Option<Timestamp>,
    stopped: Option<Timestamp>,
    delivered: Option<Timestamp>,
    delivery_error: Option<String>,
    index_restored: Option<Timestamp>,
}

/// Where a trail delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Destination {
    region: String,
    project: String,
    store: String,
}

impl Trail {
    fn logs(&self) -> bool {
        self.status == Status::Enable
    }

    fn destination(&self) -> Option<Destination> {
        let (region, _, project) = operations::parse_project_arn(&self.settings.sls_project_arn)?;
        Some(Destination {
            region: region.to_owned(),
            project: project.to_owned(),
            store: format!("actiontrail_{}", self.name),
        })
    }

    fn covers(&self, event: &Event) -> bool {
        let rw = match self.settings.event_rw.as_str() {
            "Write" => event.is_write,
            "Read" => !event.is_write,
            _ => true,
        };
        let region = self.settings.trail_region == "All"
            || event.is_global
            || self
                .settings
                .trail_region
                .split(',')
                .any(|region| region.trim() == event.region);
        rw && region
    }

    fn facts(&self, facts: &mut Facts) {
        let Self { name, settings, .. } = self;
        let field = |field: &str| format!("trail/{name}{field}");
        let members = |items: &[&str]| -> Fact {
            Fact::Members(items.iter().map(|&item| item.to_owned()).collect::<BTreeSet<_>>())
        };
        facts.insert(field(""), Fact::Present);
        facts.insert(field("/logging"), Fact::Amount(i64::from(self.logs())));
        let events: &[&str] = match settings.event_rw.as_str() {
            "Write" => &["Write"],
            "Read" => &["Read"],
            _ => &["Read", "Write"],
        };
        facts.insert(field("/events"), members(events));
        let regions = if settings.trail_region == "All" {
            let mut all = REGIONS.to_vec();
            all.push("later regions");
            members(&all)
        } else {
            members(
                &settings
                    .trail_region
                    .split(',')
                    .map(str::trim)
                    .collect::<Vec<_>>(),
            )
        };
        facts.insert(field("/region"), regions);
        for (name, value) in [
            ("/destination/sls", &settings.sls_project_arn),
            ("/destination/oss", &settings.oss_bucket_name),
            ("/destination/maxcompute", &settings.max_compute_project_arn),
        ] {
            if !value.is_empty() {
                facts.insert(field(name), Fact::Kept(value.clone()));
            }
        }
        facts.insert(
            field("/roles"),
            Fact::Neutral(format!(
                "{} {} {}",
                settings.sls_write_role_arn, settings.oss_write_role_arn, settings.max_compute_write_role_arn
            )),
        );
    }
}

/// Trails and events of all accounts, and what is on its way.
#[derive(Debug, Default)]
pub struct State {
    trails: BTreeMap<String, BTreeMap<String, Trail>>,
    events: BTreeMap<String, Vec<lookup::Stored>>,
    queue: delivery::Queue,
}

impl State {
    fn trail_mut(&mut self, account: &str, name: &str) -> Option<&mut Trail> {
        self.trails.get_mut(account)?.get_mut(name)
    }

    /// Names of the trails that log.
    pub fn logging(&self, account: &str) -> Vec<String> {
        self.trails
            .get(account)
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(|trail| trail.logs())
            .map(|trail| trail.name.clone())
            .collect()
    }

    /// What protects the audit of an account.
    pub fn facts(&self, account: &str, facts: &mut Facts) {
        for trail in self.trails.get(account).into_iter().flat_map(BTreeMap::values) {
            trail.facts(facts);
        }
    }

    /// All managed settings of an account's trails.
    pub fn summary(&self, account: &str) -> Value {
        let trails: Vec<Value> = self
            .trails
            .get(account)
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(|trail| {
                let Settings {
                    event_rw,
                    trail_region,
                    sls_project_arn,
                    sls_write_role_arn,
                    oss_bucket_name,
                    oss_key_prefix,
                    oss_write_role_arn,
                    max_compute_project_arn,
                    max_compute_write_role_arn,
                } = &trail.settings;
                json!({
                    "name": trail.name,
                    "homeRegion": trail.home_region,
                    "status": trail.status.name(),
                    "eventRW": event_rw,
                    "trailRegion": trail_region,
                    "slsProjectArn": sls_project_arn,
                    "slsWriteRoleArn": sls_write_role_arn,
                    "ossBucketName": oss_bucket_name,
                    "ossKeyPrefix": oss_key_prefix,
                    "ossWriteRoleArn": oss_write_role_arn,
                    "maxComputeProjectArn": max_compute_project_arn,
                    "maxComputeWriteRoleArn": max_compute_write_role_arn,
                    "isOrganizationTrail": trail.is_organization,
                })
            })
            .collect();
        Value::Array(trails)
    }
}
