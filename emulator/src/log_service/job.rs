//! Data-transformation jobs: one set of objects behind `/etls` and `/jobs` of type ETL (sls-api 4.10a), and
//! the runner that copies logs with them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Members};
use super::assumptions::{DuplicateJob, JobDenied, StartRunning, StartsItself};
use super::data::{StoredGroup, StoredLog};
use super::errors::{bad, exceed_quota, parameter_invalid};
use super::spl::{Row, Script};
use super::store::{LogStore, VENDOR_PREFIX};
use super::{State, names};
use crate::call::{CallContext, Tick};
use crate::identity::{Caller, Principal};
use crate::quota;
use crate::ram;
use crate::ram::policy::{ConditionFacts, Document, DocumentKind};
use crate::wire::{ApiError, Reply};

/// Service that runs the jobs and must be trusted by their roles.
const SERVICE: &str = "log.aliyuncs.com";
/// The output of a script that names none.
const DEFAULT_DATASET: &str = "__UNNAMED__";
/// How long a job stays in its passing states.
const STARTING: SignedDuration = SignedDuration::from_secs(1);
const RESTARTING: SignedDuration = SignedDuration::from_secs(2);

/// State of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Starting,
    Running,
    Restarting,
    Stopping,
    Stopped,
    Succeeded,
    Failed,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Restarting => "RESTARTING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }

    /// Whether the job works or is about to.
    pub(super) fn is_on(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Restarting)
    }
}

/// Where a job writes.
#[derive(Debug, Clone)]
pub(super) struct Sink {
    pub(super) project: String,
    pub(super) store: String,
    pub(super) region: Option<String>,
    pub(super) role: String,
    default_output: bool,
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub(super) struct Configuration {
    pub(super) source: String,
    pub(super) role: String,
    pub(super) script_text: String,
    pub(super) script: Script,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) sinks: Vec<Sink>,
    /// As it came, without secrets.
    shown: Map<String, Value>,
}

/// A job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) name: String,
    display_name: String,
    pub(super) description: String,
    pub(super) configuration: Configuration,
    schedule: Value,
    created: Timestamp,
    modified: Timestamp,
    pub(super) status: Status,
    /// When a passing state ends.
    due: Option<Timestamp>,
    /// Next cursor by shard of the source.
    cursors: BTreeMap<u32, u64>,
}

impl Job {
    fn answer(&self) -> Value {
        json!({
            "name": self.name,
            "type": "ETL",
            "displayName": self.display_name,
            "description": self.description,
            "configuration": self.configuration.shown,
            "schedule": self.schedule,
            "scheduleId": format!("{:x}", md5_of(&self.name)),
            "createTime": self.created.as_second(),
            "lastModifiedTime": self.modified.as_second(),
            "status": self.status.name(),
        })
    }

    /// Managed settings: no times, and only whether it is on.
    pub(super) fn summary(&self) -> Value {
        json!({
            "displayName": self.display_name,
            "description": self.description,
            "configuration": self.configuration.shown,
            "schedule": self.schedule,
            "on": self.status.is_on(),
        })
    }

    fn begin(&mut self, status: Status, now: Timestamp) {
        self.status = status;
        self.due = match status {
            Status::Starting | Status::Stopping => Some(now + STARTING),
            Status::Restarting => Some(now + RESTARTING),
            _ => None,
        };
    }

    fn pass(&mut self, now: Timestamp) {
        if self.due.is_some_and(|due| now >= due) {
            self.due = None;
            self.status = if self.status == Status::Stopping {
                Status::Stopped
            } else {
                Status::Running
            };
        }
    }
}

/// A stable number for ids; not a secret.
fn md5_of(text: &str) -> u128 {
    use md5::Digest as _;
    u128::from_be_bytes(md5::Md5::digest(text.as_bytes()).into())
}

fn not_exist(name: &str) -> ApiError {
    ApiError::new(404, "JobNotExist", format!("Job {name} does not exist"))
}

fn region_of(endpoint: &str) -> Option<String> {
    let host = endpoint
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let label = host
        .strip_suffix(".log.aliyuncs.com")
        .or_else(|| host.strip_suffix(".sls.aliyuncs.com"))?;
    let plain = ["-intranet", "-share", "-vpc", "-internal"]
        .iter()
        .find_map(|kind| label.strip_suffix(kind));
    Some(plain.unwrap_or(label).to_owned())
}

impl Configuration {
    fn parse(given: &Map<String, Value>) -> Result<Self, ApiError> {
        let members = Members::new(given, "ParameterInvalid");
        let text = members.required_text("script")?;
        let lang = members.text("lang")?.unwrap_or_default();
        if !lang.eq_ignore_ascii_case("spl") {
            return Err(parameter_invalid(format!(
                "The script language is not supported: '{lang}'. This emulator runs lang SPL only."
            )));
        }
        let script = Script::parse(text).map_err(|error| parameter_invalid(error.to_string()))?;
        let (from, to) = (
            members.integer("fromTime")?.unwrap_or(0),
            members.integer("toTime")?.unwrap_or(0),
        );
        if from < 0 || to < 0 || (to != 0 && to <= from) {
            return Err(parameter_invalid(
                "The parameters fromTime and toTime are invalid.",
            ));
        }
        let sinks = members
            .get("sinks")
            .and_then(Value::as_array)
            .filter(|sinks| !sinks.is_empty())
            .ok_or_else(|| parameter_invalid("The parameter sinks is required."))?;
        let sinks = sinks.iter().map(parse_sink).collect::<Result<_, _>>()?;
        let mut shown = given.clone();
        shown.remove("accessKeySecret");
        for sink in shown
            .get_mut("sinks")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(sink) = sink.as_object_mut() {
                sink.remove("accessKeySecret");
            }
        }
        Ok(Self {
            source: members.required_text("logstore")?.to_owned(),
            role: members.required_text("roleArn")?.to_owned(),
            script_text: text.to_owned(),
            script,
            from,
            to,
            sinks,
            shown,
        })
    }
}

fn parse_sink(sink: &Value) -> Result<Sink, ApiError> {
    let sink = sink
        .as_object()
        .ok_or_else(|| parameter_invalid("The parameter sinks is of error format."))?;
    let members = Members::new(sink, "ParameterInvalid");
    members.required_text("name")?;
    let datasets = members.get("datasets").and_then(Value::as_array);
    Ok(Sink {
        project: members.required_text("project")?.to_owned(),
        store: members.required_text("logstore")?.to_owned(),
        region: members.text("endpoint")?.and_then(region_of),
        role: members.required_text("roleArn")?.to_owned(),
        default_output: datasets
            .is_none_or(|names| names.is_empty() || names.iter().any(|name| name == DEFAULT_DATASET)),
    })
}

impl State {
    pub(super) fn create_job(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let project = self.project(cx, project)?;
        let body = given.object()?;
        let members = Members::new(&body, "ParameterInvalid");
        if let Some(kind) = members.text("type")?.filter(|kind| *kind != "ETL") {
            return Err(parameter_invalid(format!(
                "The job type is not supported: {kind}"
            )));
        }
        let name = members.required_text("name")?;
        if !names::is_job(name) {
            return Err(parameter_invalid(format!("job name {name} is invalid")));
        }
        let display_name = members.required_text("displayName")?;
        let configuration = members
            .object("configuration")?
            .ok_or_else(|| parameter_invalid("The parameter configuration is required."))?;
        let configuration = Configuration::parse(configuration)?;
        if project.jobs.contains_key(name) {
            let code = match cx.assumptions.get::<DuplicateJob>() {
                DuplicateJob::JobAlreadyExist => "JobAlreadyExist",
                DuplicateJob::ParameterInvalid => "ParameterInvalid",
            };
            return Err(bad(code, format!("Job {name} already exists")));
        }
        if project.jobs.len() as u64 >= cx.quotas.get(quota::SLS_JOBS) {
            return Err(exceed_quota("ETL"));
        }
        let mut job = Job {
            name: name.to_owned(),
            display_name: display_name.to_owned(),
            description: members.text("description")?.unwrap_or_default().to_owned(),
            configuration,
            schedule: members
                .get("schedule")
                .cloned()
                .unwrap_or_else(|| json!({"type": "Resident"})),
            created: cx.now,
            modified: cx.now,
            status: Status::Stopped,
            due: None,
            cursors: BTreeMap::new(),
        };
        if cx.assumptions.get::<StartsItself>() == StartsItself::Yes {
            job.begin(Status::Starting, cx.now);
        }
        project.jobs.insert(job.name.clone(), job);
        Ok(Reply::empty())
    }

    fn job(&mut self, cx: &CallContext<'_>, (project, name): (&str, &str)) -> Result<&mut Job, ApiError> {
        self.project(cx, project)?
            .jobs
            .get_mut(name)
            .ok_or_else(|| not_exist(name))
    }

    pub(super) fn get_job(&mut self, cx: &CallContext<'_>, path: (&str, &str)) -> Result<Reply, ApiError> {
        Ok(Reply::json(&self.job(cx, path)?.answer()))
    }

    pub(super) fn update_job(
        &mut self,
        cx: &CallContext<'_>,
        path: (&str, &str),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let job = self.job(cx, path)?;
        settled(job)?;
        let body = given.object()?;
        let members = Members::new(&body, "ParameterInvalid");
        if let Some(kind) = members.text("type")?.filter(|kind| *kind != "ETL") {
            return Err(parameter_invalid(format!(
                "The job type is not supported: {kind}"
            )));
        }
        let display_name = members.required_text("displayName")?;
        let configuration = members
            .object("configuration")?
            .ok_or_else(|| parameter_invalid("The parameter configuration is required."))?;
        let configuration = Configuration::parse(configuration)?;
        let description = members.text("description")?.unwrap_or_default();
        let before = &job.configuration;
        if before.source != configuration.source || before.from != configuration.from {
            job.cursors.clear();
        }
        display_name.clone_into(&mut job.display_name);
        description.clone_into(&mut job.description);
        job.configuration = configuration;
        if let Some(schedule) = members.get("schedule") {
            job.schedule.clone_from(schedule);
        }
        job.modified = cx.now;
        if job.status.is_on() {
            job.begin(Status::Restarting, cx.now);
        }
        Ok(Reply::empty())
    }

    pub(super) fn start_job(&mut self, cx: &CallContext<'_>, path: (&str, &str)) -> Result<Reply, ApiError> {
        let job = self.job(cx, path)?;
        settled(job)?;
        if job.status.is_on() {
            return match cx.assumptions.get::<StartRunning>() {
                StartRunning::Accepted => Ok(Reply::empty()),
                StartRunning::Refused => Err(parameter_invalid("The job to start has already started")),
            };
        }
        job.begin(Status::Starting, cx.now);
        job.modified = cx.now;
        Ok(Reply::empty())
    }

    pub(super) fn stop_job(&mut self, cx: &CallContext<'_>, path: (&str, &str)) -> Result<Reply, ApiError> {
        let job = self.job(cx, path)?;
        settled(job)?;
        if job.status.is_on() {
            job.begin(Status::Stopping, cx.now);
            job.modified = cx.now;
        }
        Ok(Reply::empty())
    }

    pub(super) fn delete_job(&mut self, cx: &CallContext<'_>, path: (&str, &str)) -> Result<Reply, ApiError> {
        self.job(cx, path)?;
        self.project(cx, path.0)?.jobs.remove(path.1);
        Ok(Reply::empty())
    }

    pub(super) fn list_jobs(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let page = given.page(100, 500)?;
        let project = self.project(cx, project)?;
        let etl = given.filter("jobType").is_none_or(|kind| kind == "ETL");
        let found: Vec<Value> = project
            .jobs
            .values()
            .filter(|_| etl)
            .filter(|job| {
                given
                    .filter("logstore")
                    .is_none_or(|store| job.configuration.source == store)
            })
            .filter(|job| given.filter("jobName").is_none_or(|part| job.name.contains(part)))
            .map(Job::answer)
            .collect();
        let total = found.len();
        let results = page.of(found);
        Ok(Reply::json(
            &json!({"total": total, "count": results.len(), "results": results}),
        ))
    }

    /// Runs all jobs up to `tick.now`.
    pub(super) fn run_jobs(&mut self, tick: &Tick<'_>) {
        let mut running = Vec::new();
        for (key, project) in &mut self.projects {
            for job in project.jobs.values_mut() {
                job.pass(tick.now);
                if job.status == Status::Running {
                    running.push((key.clone(), job.name.clone()));
                }
            }
        }
        for (key, name) in running {
            self.run_job(&key, &name, tick);
        }
    }

    fn run_job(&mut self, key: &(String, String), name: &str, tick: &Tick<'_>) {
        let outcome = self.transform(key, name, tick);
        let Some(job) = self
            .projects
            .get_mut(key)
            .and_then(|project| project.jobs.get_mut(name))
        else {
            return;
        };
        match outcome {
            Ok(Work {
                cursors,
                outputs,
                sinks,
            }) => {
                job.cursors = cursors;
                if job.configuration.to != 0 && tick.now.as_second() >= job.configuration.to {
                    job.status = Status::Succeeded;
                }
                for sink in sinks {
                    let store = self
                        .projects
                        .get_mut(&sink.0)
                        .and_then(|project| project.stores.get_mut(&sink.1));
                    if let Some(store) = store {
                        for group in &outputs {
                            store.append(None, group.clone());
                        }
                    }
                }
            }
            Err(Blocked) => match tick.assumptions.get::<JobDenied>() {
                JobDenied::Fails => job.status = Status::Failed,
                JobDenied::StaysRunning => {}
            },
        }
    }

    /// What a job has to write now; changes nothing.
    fn transform(&self, key: &(String, String), name: &str, tick: &Tick<'_>) -> Result<Work, Blocked> {
        let project = self.projects.get(key).ok_or(Blocked)?;
        let job = project.jobs.get(name).ok_or(Blocked)?;
        let configuration = &job.configuration;
        let source = project.stores.get(&configuration.source).ok_or(Blocked)?;
        let resource = |region: &str, account: &str, project: &str, store: &str| {
            format!("acs:log:{region}:{account}:project/{project}/logstore/{store}")
        };
        let source_arn = resource(&key.0, &project.account, &key.1, &configuration.source);
        allowed(
            tick.ram,
            &configuration.role,
            &project.account,
            "log:GetCursorOrData",
            &source_arn,
        )?;
        let mut sinks = Vec::new();
        for sink in configuration.sinks.iter().filter(|sink| sink.default_output) {
            let region = sink.region.clone().unwrap_or_else(|| key.0.clone());
            let sink_key = (region, sink.project.clone());
            let target = self.projects.get(&sink_key).ok_or(Blocked)?;
            let store: &LogStore = target.stores.get(&sink.store).ok_or(Blocked)?;
            if store.vendor || sink.store.starts_with(VENDOR_PREFIX) {
                return Err(Blocked);
            }
            let arn = resource(&sink_key.0, &target.account, &sink.project, &sink.store);
            allowed(
                tick.ram,
                &sink.role,
                &target.account,
                "log:PostLogStoreLogs",
                &arn,
            )?;
            sinks.push((sink_key, sink.store.clone()));
        }
        let mut cursors = job.cursors.clone();
        let mut outputs = Vec::new();
        for (shard, data) in &source.data {
            let cursor = cursors.entry(*shard).or_insert_with(|| data.begin());
            for at in (*cursor).max(data.begin())..data.end() {
                let Some(group) = data.at(at) else { continue };
                let in_time = group.received >= configuration.from
                    && (configuration.to == 0 || group.received < configuration.to);
                if in_time {
                    transform_group(&configuration.script, group, tick.now, &mut outputs);
                }
            }
            *cursor = data.end();
        }
        Ok(Work {
            cursors,
            outputs,
            sinks,
        })
    }
}

/// A job cannot work: a role, store or project is missing or refuses.
struct Blocked;

struct Work {
    cursors: BTreeMap<u32, u64>,
    outputs: Vec<StoredGroup>,
    sinks: Vec<((String, String), String)>,
}

/// A job takes no order while it restarts or stops.
fn settled(job: &Job) -> Result<(), ApiError> {
    if matches!(job.status, Status::Restarting | Status::Stopping) {
        let (name, status) = (&job.name, job.status.name());
        return Err(parameter_invalid(format!(
            "The job {name} is {status}, please try again later"
        )));
    }
    Ok(())
}

/// Whether a role exists, trusts Log Service, and may do `action` on `resource` of its own account.
fn allowed(ram: &ram::State, role: &str, account: &str, action: &str, resource: &str) -> Result<(), Blocked> {
    let (owner, found) = ram.role_by_arn(role).ok_or(Blocked)?;
    let facts = ConditionFacts::new();
    let trusted = Document::parse(&found.trust, DocumentKind::Trust)
        .is_ok_and(|trust| trust.trusts("sts:AssumeRole", "Service", &[SERVICE.to_owned()], &facts));
    let caller = Caller {
        account: owner.to_owned(),
        principal: Principal::AssumedRole {
            role: found.name.clone(),
            role_id: found.id.clone(),
            session: "etl".to_owned(),
        },
        access_key_id: String::new(),
    };
    if owner == account && trusted && ram.permits(&caller, action, resource, &facts) {
        Ok(())
    } else {
        Err(Blocked)
    }
}

/// Rows that the script cannot work on are dropped, as the service does.
fn transform_group(script: &Script, group: &StoredGroup, now: Timestamp, outputs: &mut Vec<StoredGroup>) {
    for log in &group.logs {
        let row = Row {
            time: log.time,
            topic: group.topic.clone(),
            source: group.source.clone(),
            fields: log.fields.clone(),
        };
        let Ok(Some(row)) = script.run(&row) else { continue };
        let stored = StoredLog {
            time: row.time,
            nanos: log.nanos,
            fields: row.fields,
        };
        match outputs.last_mut() {
            Some(last) if last.topic == row.topic && last.source == row.source && last.logs.len() < 1000 => {
                last.logs.push(stored);
            }
            _ => outputs.push(StoredGroup {
                received: now.as_second(),
                topic: row.topic,
                source: row.source,
                logs: vec![stored],
                index: None,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn configuration() -> Value {
        json!({
            "logstore": "in", "roleArn": "acs:ram::1:role/r", "script": "* | where a = 'x'", "lang": "SPL",
            "fromTime": 0, "toTime": 0, "accessKeySecret": "hidden",
            "sinks": [{"name": "s", "project": "p", "logstore": "out", "roleArn": "acs:ram::1:role/r",
                "endpoint": "https://cn-hangzhou-intranet.log.aliyuncs.com", "datasets": ["__UNNAMED__"],
                "accessKeySecret": "hidden"}],
        })
    }

    #[test]
    fn a_configuration_is_checked_and_kept_without_secrets() {
        let parsed = Configuration::parse(configuration().as_object().unwrap()).unwrap();
        assert_eq!(parsed.sinks[0].region.as_deref(), Some("cn-hangzhou"));
        assert!(parsed.sinks[0].default_output);
        assert!(!Value::Object(parsed.shown).to_string().contains("hidden"));
        let broken = [
            ("logstore", json!(null)),
            ("roleArn", json!("")),
            ("script", json!("* | where")),
            ("script", json!("e_keep(true)")),
            ("lang", json!(null)),
            ("toTime", json!(-1)),
            ("fromTime", json!("now")),
            ("sinks", json!([])),
            ("sinks", json!([{"name": "s"}])),
        ];
        for (member, value) in broken {
            let mut body = configuration();
            body[member] = value.clone();
            let error = Configuration::parse(body.as_object().unwrap()).unwrap_err();
            assert_eq!(
                (error.status, error.code.as_str()),
                (400, "ParameterInvalid"),
                "{member} {value}"
            );
        }
    }
}
