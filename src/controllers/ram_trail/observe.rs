//! Looks at a trail and at what it needs. Decides nothing.
//!
//! In sync a visit makes four reads: the project's tags, the trail's status, its store, its copy job. The trail's settings come
//! from the poll where its look is young enough.

use std::collections::BTreeMap;
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;

use super::copy_script;
use super::delivery::Channel;
use super::memory::{Snapshot, TrailMemory};
use super::model::{
    Index, Job, JobFound, JobState, Observed, OtherDestinations, Role, SERVICE_LINKED_ROLE, Sink, Store,
    Trail, Wanted, parse_event_rw, service_linked_role_arn, skips, trail_store,
};
use super::tamper;
use crate::aliyun::action_trail::{Trail as CloudTrail, TrailState, TrailStatus};
use crate::aliyun::log_service::{EtlJob, LogStore, Taggable};
use crate::aliyun::{Class, JobName, LogStoreName, NameError};
use crate::api::condition::reason;
use crate::api::v1alpha1::{RamTrail, RamTrailStatus};
use crate::controllers::access::Access;
use crate::controllers::failure::Failure;
use crate::controllers::index_preset;
use crate::controllers::memory::lock;
use crate::controllers::ownership::{Mark, trail_key};
use crate::controllers::pass::Pass;

/// The key under which ActionTrail delivers an event.
const EVENT: &str = "event";
/// A look of the poll may be this many polls old.
const SNAPSHOT_POLLS: u32 = 2;

/// Everything that was seen: what plans are made from, and the answers that updates are merged into.
#[derive(Clone, Debug)]
pub struct Looked {
    /// What plans are made from.
    pub observed: Observed,
    /// The project's tags.
    pub tags: BTreeMap<String, String>,
    /// The trail's store, whole.
    pub store: Option<LogStore>,
    /// The copy job, whole.
    pub job: Option<EtlJob>,
    /// Keys of the index whose types are to be kept, where it was seen whole.
    pub index_types: Option<Vec<String>>,
}

/// The trail's settings and status, when it exists.
pub struct Seen {
    /// Settings.
    pub trail: CloudTrail,
    /// Status.
    pub status: TrailStatus,
}

impl Looked {
    /// A look at nothing but the trail. Its mark was not read: only steps that need no mark may come of it.
    pub fn of_trail(trail: Trail) -> Self {
        Self {
            observed: Observed {
                mark: Mark::Ours,
                trail: Some(trail),
                role: Role::NotLooked,
                store: Store::NotLooked,
                index: Index::NotLooked,
                job: Job::NotLooked,
            },
            tags: BTreeMap::new(),
            store: None,
            job: None,
            index_types: None,
        }
    }
}

/// The trail as ActionTrail tells of it; Log Service is not asked.
pub async fn trail_alone(
    pass: &mut Pass<RamTrail>,
    access: &Access,
    name: &str,
) -> Result<Option<Trail>, Failure> {
    let seen = trail(pass, access, name).await?;
    Ok(seen.map(|seen| model_of(&seen.trail, is_on(&seen))))
}

/// Looks at everything that a visit needs. `job`: whether the copy job matters.
pub async fn whole(
    pass: &mut Pass<RamTrail>,
    access: &Access,
    wanted: &Wanted,
    job: bool,
) -> Result<Looked, Failure> {
    let tags = tags(pass, access).await?;
    let seen = trail(pass, access, &wanted.trail_name).await?;
    let mut looked = Looked {
        observed: Observed {
            mark: wanted
                .owner
                .judge(tags.get(&trail_key(&wanted.trail_name)).map(String::as_str)),
            trail: seen.as_ref().map(|seen| model_of(&seen.trail, is_on(seen))),
            role: Role::NotLooked,
            store: Store::NotLooked,
            index: Index::NotLooked,
            job: Job::NotLooked,
        },
        tags,
        store: None,
        job: None,
        index_types: None,
    };
    let held = pass.status.claim.is_some();
    if seen.is_some() || held {
        store(pass, access, wanted, &mut looked).await?;
    }
    let present = looked.store.is_some();
    let channel = seen.as_ref().map(|seen| channel_of(&seen.status));
    lock(&pass.memory).slot::<TrailMemory>().channel = channel;
    // Without the role nothing is created and nothing delivered; otherwise nobody needs to ask.
    let troubled = channel.is_some_and(|channel| channel.failing || !channel.reachable);
    let through_role = looked.observed.trail.as_ref().is_none_or(|trail| {
        let role = service_linked_role_arn(&wanted.account_id);
        trail.write_role_arn.is_empty() || trail.write_role_arn.eq_ignore_ascii_case(&role)
    });
    let open = |field| tamper::is_open(&pass.status, field);
    if seen.is_none() || (present && troubled && through_role) || open("role") {
        looked.observed.role = role(pass, access).await?;
    }
    if present && job {
        copy_job(pass, access, &wanted.trail_name, &mut looked).await?;
    }
    if present && index_matters(pass) {
        index(pass, access, &wanted.trail_name, &mut looked).await?;
    }
    Ok(looked)
}

/// The tags of the project.
pub async fn tags(pass: &Pass<RamTrail>, access: &Access) -> Result<BTreeMap<String, String>, Failure> {
    let target = Taggable::Project(access.project.clone());
    let doing = format!("read the tags of project {}", access.project);
    match pass
        .read(doing, access.clients.log_service.list_tag_resources(&target))
        .await
    {
        Err(failure) if failure.class() == Some(Class::NotFound) => Err(Failure::waiting_soon(
            reason::WAITING_FOR_PROJECT,
            format!(
                "Project {} is not in Log Service, or not shown everywhere yet",
                access.project
            ),
        )),
        result => result,
    }
}

/// The trail with its status; `None` when two different calls say that there is none.
pub async fn trail(pass: &mut Pass<RamTrail>, access: &Access, name: &str) -> Result<Option<Seen>, Failure> {
    let may_exist = pass.status.claim.is_some() || pass.status.pending_create.is_some();
    let age = pass.ctx.settings.poll_interval * SNAPSHOT_POLLS;
    let polled = lock(&pass.memory)
        .slot::<TrailMemory>()
        .fresh_snapshot(age)
        .map(|snapshot| snapshot.trail.clone());
    let from_poll = polled.is_some();
    let mut listed = match polled {
        Some(trail) => trail,
        None => described(pass, access, name).await?,
    };
    if listed.is_none() && !may_exist {
        return Ok(None);
    }
    let mut status = status(pass, access, name).await?;
    if from_poll && listed.is_some() != status.is_some() {
        listed = described(pass, access, name).await?;
        status = self::status(pass, access, name).await?;
    }
    match (listed, status) {
        (Some(trail), Some(status)) => Ok(Some(Seen { trail, status })),
        (None, None) => Ok(None),
        _ => Err(Failure::waiting_soon(
            reason::AWAITING_VISIBILITY,
            format!("ActionTrail does not agree with itself yet whether trail {name} exists"),
        )),
    }
}

/// The trail's settings by a call of this visit.
pub async fn described(
    pass: &mut Pass<RamTrail>,
    access: &Access,
    name: &str,
) -> Result<Option<CloudTrail>, Failure> {
    let at = Instant::now();
    let doing = format!("read trail {name}");
    let trails = pass
        .read(doing, access.clients.action_trail.describe_trails(&[name], true))
        .await?;
    let trail = pick(&trails, name).cloned();
    lock(&pass.memory).slot::<TrailMemory>().take_snapshot(Snapshot {
        at,
        trail: trail.clone(),
    });
    Ok(trail)
}

/// The trail of this name in a list; the account's own before an organization's.
pub fn pick<'a>(trails: &'a [CloudTrail], name: &str) -> Option<&'a CloudTrail> {
    let of_name = || trails.iter().filter(|trail| trail.name == name);
    of_name()
        .find(|trail| trail.is_organization_trail != Some(true))
        .or_else(|| of_name().next())
}

async fn status(pass: &Pass<RamTrail>, access: &Access, name: &str) -> Result<Option<TrailStatus>, Failure> {
    let doing = format!("read the status of trail {name}");
    match pass
        .read(doing, access.clients.action_trail.get_trail_status(name))
        .await
    {
        Ok(status) => Ok(Some(status)),
        Err(failure) if failure.class() == Some(Class::NotFound) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn is_on(seen: &Seen) -> bool {
    seen.status
        .is_logging
        .unwrap_or_else(|| seen.trail.state() == TrailState::Enable)
}

/// A trail as plans see it.
pub fn model_of(trail: &CloudTrail, on: bool) -> Trail {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Trail {
        home_region: trail
            .home_region
            .clone()
            .or_else(|| trail.region.clone())
            .unwrap_or_default(),
        arn: text(&trail.trail_arn),
        create_time: trail.create_time.map(|time| time.to_string()).unwrap_or_default(),
        on,
        events: trail.event_rw.as_deref().and_then(parse_event_rw),
        trail_region: text(&trail.trail_region),
        project_arn: text(&trail.sls_project_arn),
        write_role_arn: text(&trail.sls_write_role_arn),
        others: OtherDestinations {
            oss_bucket: trail.oss_bucket_name.clone(),
            oss_prefix: trail.oss_key_prefix.clone(),
            oss_role_arn: trail.oss_write_role_arn.clone(),
            max_compute_project_arn: trail.max_compute_project_arn.clone(),
            max_compute_role_arn: trail.max_compute_write_role_arn.clone(),
        },
        organization: trail.is_organization_trail == Some(true),
    }
}

fn channel_of(status: &TrailStatus) -> Channel {
    Channel {
        reachable: status.sls_log_store_status == Some(true),
        failing: status.latest_delivery_log_service_error.is_some(),
    }
}

async fn role(pass: &Pass<RamTrail>, access: &Access) -> Result<Role, Failure> {
    let doing = "read the service-linked role of ActionTrail";
    match pass
        .read(doing, access.clients.ram.get_role(SERVICE_LINKED_ROLE))
        .await
    {
        Ok(_) => Ok(Role::Present),
        Err(failure) => match failure.class() {
            Some(Class::NotFound) => Ok(Role::Missing),
            // Reading roles is a comfort: ActionTrail itself says when the role is missing.
            Some(Class::Denied) => Ok(Role::NotLooked),
            _ => Err(failure),
        },
    }
}

/// The checked name of a trail's store.
pub fn store_name(trail: &str) -> Result<LogStoreName, Failure> {
    LogStoreName::new(&trail_store(trail)).map_err(|error| bad_name(&error))
}

/// The checked name of a trail's copy job.
pub fn job_name(trail: &str) -> Result<JobName, Failure> {
    JobName::new(&copy_script::job_name(trail)).map_err(|error| bad_name(&error))
}

fn bad_name(error: &NameError) -> Failure {
    Failure::stalled(reason::INVALID_SPEC, format!("spec.trailName: {error}"))
}

async fn store(
    pass: &Pass<RamTrail>,
    access: &Access,
    wanted: &Wanted,
    looked: &mut Looked,
) -> Result<(), Failure> {
    let name = store_name(&wanted.trail_name)?;
    let doing = format!("read log store {name}");
    match pass
        .read(
            doing,
            access.clients.log_service.get_log_store(&access.project, &name),
        )
        .await
    {
        Ok(store) => {
            looked.observed.store = Store::Present {
                days: store.retention_days().and_then(|days| i32::try_from(days).ok()),
                created: store.create_time().map_or(0, Timestamp::as_second),
            };
            looked.store = Some(store);
            Ok(())
        }
        Err(failure) if failure.class() == Some(Class::NotFound) => {
            looked.observed.store = Store::Missing;
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

async fn copy_job(
    pass: &Pass<RamTrail>,
    access: &Access,
    trail: &str,
    looked: &mut Looked,
) -> Result<(), Failure> {
    let at = access.clients.cloud_now().as_second();
    let found = job(pass, access, trail).await?;
    let from_before = pass
        .status
        .applied
        .as_ref()
        .and_then(|applied| applied.copy.as_ref()?.from_time);
    if let Some(job) = found.as_ref().map(found_of) {
        let mut memory = lock(&pass.memory);
        let memory = memory.slot::<TrailMemory>();
        // A job whose beginning was moved past what it was seen to copy is not at work as it should be.
        let moved = skips(job.from_time, from_before, memory.job_seen, at);
        if job.state == JobState::Running && !moved {
            memory.job_seen = Some(at);
        }
    }
    looked.observed.job = found
        .as_ref()
        .map_or(Job::Missing, |job| Job::Present(found_of(job)));
    looked.job = found;
    Ok(())
}

/// The copy job of a trail.
pub async fn job(pass: &Pass<RamTrail>, access: &Access, trail: &str) -> Result<Option<EtlJob>, Failure> {
    let name = job_name(trail)?;
    let doing = format!("read copy job {name}");
    match pass
        .read(doing, access.clients.log_service.get_etl(&access.project, &name))
        .await
    {
        Ok(job) => Ok(Some(job)),
        Err(failure) if failure.class() == Some(Class::NotFound) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// A job as plans see it.
pub fn found_of(job: &EtlJob) -> JobFound {
    let configuration = &job.configuration;
    JobFound {
        description: job.description.clone(),
        state: job
            .status
            .as_deref()
            .map_or(JobState::Running, JobState::from_word),
        source: configuration.logstore.clone(),
        role_arn: configuration.role_arn.clone(),
        filter: copy_script::parse(&configuration.script),
        lang: configuration.lang.clone().unwrap_or_default(),
        from_time: configuration.from_time.unwrap_or_default(),
        to_time: configuration.to_time.unwrap_or_default(),
        sinks: configuration
            .sinks
            .iter()
            .map(|sink| Sink {
                name: sink.name.clone(),
                project: sink.project.clone(),
                log_store: sink.logstore.clone(),
                endpoint: sink.endpoint.clone().unwrap_or_default(),
                role_arn: sink.role_arn.clone(),
                datasets: sink
                    .other
                    .get("datasets")
                    .and_then(serde_json::Value::as_array)
                    .map(|all| {
                        all.iter()
                            .filter_map(|name| name.as_str().map(str::to_owned))
                            .collect()
                    })
                    .unwrap_or_default(),
            })
            .collect(),
    }
}

/// Whether the index has to be looked at: something speaks against it, or this process has not seen it yet.
fn index_matters(pass: &Pass<RamTrail>) -> bool {
    let status = &pass.status;
    let held = status.applied.is_some()
        && status
            .claim
            .as_ref()
            .is_some_and(|claim| claim.confirmed == Some(true));
    let mut memory = lock(&pass.memory);
    let memory = memory.slot::<TrailMemory>();
    memory.index_suspect || tamper::is_open(status, "index") || (held && !memory.index_looked)
}

/// Whether events can be found by the index of the trail's store. ActionTrail makes that index and may put it back at any time,
/// so only what finding needs is asked for: the full text of all fields, and `event`, with the type that it had.
async fn index(
    pass: &Pass<RamTrail>,
    access: &Access,
    trail: &str,
    looked: &mut Looked,
) -> Result<(), Failure> {
    let name = store_name(trail)?;
    let doing = format!("read the index of log store {name}");
    let call = access.clients.log_service.get_index(&access.project, &name);
    looked.observed.index = match pass.read(doing, call).await {
        Ok(index) => {
            let judged = judge_index(&index, typed(&pass.status));
            if judged == Index::Fine {
                looked.index_types = Some(kept_types(&index));
            }
            judged
        }
        Err(failure) if failure.class() == Some(Class::NotFound) => Index::Missing,
        Err(failure) => return Err(failure),
    };
    let mut memory = lock(&pass.memory);
    let memory = memory.slot::<TrailMemory>();
    memory.index_looked = true;
    if looked.observed.index == Index::Fine {
        memory.index_suspect = false;
    }
    Ok(())
}

/// Keys of the index whose types are noted. Only that of `event`: how ActionTrail types the leaves is its own matter.
fn kept_types(index: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    let mut typed = index_preset::typed_keys(index);
    typed.retain(|key| key == EVENT);
    typed
}

/// The types that were noted.
pub fn typed(status: &RamTrailStatus) -> &[String] {
    status
        .applied
        .as_ref()
        .map(|applied| applied.index_types.as_slice())
        .unwrap_or_default()
}

fn judge_index(index: &serde_json::Map<String, serde_json::Value>, typed: &[String]) -> Index {
    let narrowed = |line: &serde_json::Value| {
        ["include_keys", "exclude_keys"].iter().any(|name| {
            line.get(name)
                .and_then(serde_json::Value::as_array)
                .is_some_and(|keys| !keys.is_empty())
        })
    };
    let full_text = index
        .get("line")
        .is_some_and(|line| line.is_object() && !narrowed(line));
    let event = index.get("keys").and_then(|keys| keys.get(EVENT)).is_some();
    if !full_text || !event {
        Index::Incomplete
    } else if !kept_types(index).is_empty() {
        Index::Fine
    } else if typed.iter().any(|key| key == EVENT) {
        Index::Retyped
    } else {
        Index::OtherType
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn the_accounts_own_trail_comes_before_an_organizations() {
        let trail = |name: &str, organization| CloudTrail {
            name: name.to_owned(),
            is_organization_trail: Some(organization),
            ..CloudTrail::default()
        };
        let trails = [trail("a", true), trail("b", false), trail("a", false)];
        assert_eq!(pick(&trails, "a").unwrap().is_organization_trail, Some(false));
        assert_eq!(pick(&trails[..1], "a").unwrap().is_organization_trail, Some(true));
        assert!(pick(&trails, "c").is_none());
    }

    #[test]
    fn an_index_is_fine_when_events_can_be_found_by_it() {
        let judged = |value: serde_json::Value| judge_index(value.as_object().unwrap(), &[]);
        let event = json!({"event": {"type": "json"}});
        assert_eq!(
            judged(json!({"line": {"token": [","]}, "keys": event})),
            Index::Fine
        );
        assert_eq!(
            judged(json!({"line": {"token": [","], "include_keys": []}, "keys": event})),
            Index::Fine
        );
        assert_eq!(
            judged(json!({"line": {"token": [","], "include_keys": ["x"]}, "keys": event})),
            Index::Incomplete
        );
        assert_eq!(judged(json!({"keys": event})), Index::Incomplete);
        assert_eq!(
            judged(json!({"line": {"token": [","]}, "keys": {}})),
            Index::Incomplete
        );
    }

    #[test]
    fn a_type_that_was_seen_before_is_missed_and_one_that_never_was_is_not() {
        let judged = |type_: &str, typed: &[String]| {
            let index = json!({"line": {"token": [","]}, "keys": {"event": {"type": type_}}});
            judge_index(index.as_object().unwrap(), typed)
        };
        let noted = [EVENT.to_owned()];
        assert_eq!(judged("json", &[]), Index::Fine);
        assert_eq!(judged("json", &noted), Index::Fine);
        assert_eq!(judged("text", &[]), Index::OtherType);
        assert_eq!(judged("text", &noted), Index::Retyped);
    }

    #[test]
    fn a_job_is_read_with_its_sinks() {
        let job: EtlJob = serde_json::from_value(json!({
            "name": "ramtrail-x", "description": "d", "status": "STOPPED",
            "configuration": {
                "logstore": "actiontrail_x", "roleArn": "r", "lang": "SPL", "fromTime": 5, "toTime": 0, "script": "*",
                "sinks": [{"name": "s", "project": "p", "logstore": "l", "endpoint": "e", "roleArn": "r2",
                           "datasets": ["__UNNAMED__"]}],
            },
        }))
        .unwrap();
        let found = found_of(&job);
        assert_eq!(
            (found.state, found.from_time, found.filter),
            (JobState::Stopped, 5, copy_script::Filter::Everything)
        );
        assert_eq!(found.sinks[0].datasets, ["__UNNAMED__"]);
    }
}
