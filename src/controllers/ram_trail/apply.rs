//! Takes the steps of a plan, in order. Decides nothing but how an answer is understood.

use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::copy_script::{self, Filter};
use super::memory::TrailMemory;
use super::model::{ALL_REGIONS, Job, JobState, Known, Observed, Store, Wanted};
use super::observe::{self, Looked};
use super::plan::{self, Action, JobSettings, Settings};
use crate::aliyun::action_trail::{EventRw, TrailSettings};
use crate::aliyun::log_service::{EtlConfiguration, EtlDefinition, EtlSink, LogQuery, LogStore, Taggable};
use crate::aliyun::{CallInfo, Class, LogStoreName};
use crate::api::condition::reason;
use crate::api::v1alpha1::{EventSelection, Origin, RamTrail};
use crate::controllers::access::Access;
use crate::controllers::acquisition;
use crate::controllers::event::{self, Note};
use crate::controllers::failure::Failure;
use crate::controllers::index_preset;
use crate::controllers::marks;
use crate::controllers::memory::lock;
use crate::controllers::ownership::{TAG_LIMIT, tags_over_limit, trail_key};
use crate::controllers::pass::Pass;
use crate::controllers::plan::{Effect, Step};

/// The service whose linked role ActionTrail delivers with.
const SERVICE: &str = "actiontrail.aliyuncs.com";
/// How far back the newest copied event is looked for, in seconds: as far as logs are ever kept.
const LOOK_BACK: i64 = 3650 * 24 * 3600;

/// Most services that a search names: Log Service allows 30 words.
const SEARCHED_SERVICES: usize = 20;

/// What one visit changes with.
pub struct Hands<'a> {
    /// The way to the cloud.
    pub access: &'a Access,
    /// What is wanted.
    pub wanted: &'a Wanted,
    /// What was seen.
    pub looked: &'a Looked,
    /// What else the plan was made from.
    pub known: &'a Known,
}

impl Hands<'_> {
    /// Takes all steps.
    pub async fn take(&self, pass: &mut Pass<RamTrail>, steps: &[Step<Action>]) -> Result<(), Failure> {
        let mut on = self.looked.observed.trail.as_ref().is_some_and(|trail| trail.on);
        for step in steps {
            let call = self.step(pass, step).await?;
            if matches!(step.effect, Effect::Neutral | Effect::Reduce) {
                let text = format!("Did, as the spec asks: {}", step.text);
                pass.tell(Note::normal(event::UPDATED, "Update", text)).await;
            }
            if let (true, Some(call)) = (on, &call) {
                self.note_due(pass, call);
            }
            on |= step.action == Action::StartLogging;
        }
        Ok(())
    }

    /// A write of ours on a trail that is on is recorded by it, unless it records reads only.
    fn note_due(&self, pass: &Pass<RamTrail>, call: &CallInfo) {
        let events = self.looked.observed.trail.as_ref().and_then(|trail| trail.events);
        let Some(id) = call
            .request_id
            .clone()
            .filter(|_| events == Some(EventSelection::Write))
        else {
            return;
        };
        if let Some(watch) = &mut lock(&pass.memory).slot::<TrailMemory>().watch {
            watch.note_due(vec![id], call.cloud_time.as_second());
        }
    }

    async fn step(
        &self,
        pass: &mut Pass<RamTrail>,
        step: &Step<Action>,
    ) -> Result<Option<CallInfo>, Failure> {
        let name = self.wanted.trail_name.as_str();
        let trails = self.access.clients.protective().action_trail;
        match &step.action {
            Action::WriteMark => self.write_mark(pass).await.map(|()| None),
            Action::CreateRole => create_role(pass, self.access).await.map(|()| None),
            Action::CreateTrail => self.create_trail(pass).await.map(|()| None),
            Action::UpdateTrail(_) => self.update_trail(pass, step.effect).await,
            Action::StartLogging => {
                trail_changes(pass);
                let call = trails.start_logging(name);
                match pass.change(format!("switch trail {name} on"), call).await {
                    Ok(answer) => Ok(Some(answer.call)),
                    Err(failure) if failure.class() == Some(Class::NotFound) => Err(self.invisible()),
                    Err(failure) => Err(failure),
                }
            }
            Action::StopLogging => {
                trail_changes(pass);
                let call = self.access.clients.action_trail.stop_logging(name);
                pass.change(format!("switch trail {name} off"), call)
                    .await
                    .map(|answer| Some(answer.call))
            }
            Action::SetRetention(days) => self.set_retention(pass, *days, step.effect).await,
            Action::RestoreIndex => self.restore_index(pass).await.map(Some),
            Action::CreateJob(settings) => self.create_job(pass, settings).await.map(Some),
            Action::UpdateJob(settings) => self.update_job(pass, settings, step.effect).await,
            Action::StartJob => self.start_job(pass).await,
            Action::DeleteJob => delete_job(pass, self.access, name).await.map(|()| None),
        }
    }

    fn invisible(&self) -> Failure {
        Failure::waiting_soon(
            reason::AWAITING_VISIBILITY,
            format!(
                "Trail {} was created and is not shown by ActionTrail yet",
                self.wanted.trail_name
            ),
        )
    }

    /// Sends the settings. They go whole and the cloud does not compare, so the trail is read anew right before, and what is
    /// to be sent is decided anew: what somebody widened since the visit looked stays wide.
    async fn update_trail(
        &self,
        pass: &mut Pass<RamTrail>,
        planned: Effect,
    ) -> Result<Option<CallInfo>, Failure> {
        let name = self.wanted.trail_name.as_str();
        let seen = self.looked.observed.trail.as_ref();
        let fresh = observe::described(pass, self.access, name)
            .await?
            .map(|trail| observe::model_of(&trail, seen.is_some_and(|seen| seen.on)));
        if fresh.as_ref().map(|trail| &trail.create_time) != seen.map(|seen| &seen.create_time) {
            return Err(self.invisible());
        }
        let observed = Observed {
            trail: fresh,
            ..self.looked.observed.clone()
        };
        let again = self.plan_again(&observed, planned, |action| {
            matches!(action, Action::UpdateTrail(_))
        })?;
        let Some(Action::UpdateTrail(settings)) = again else {
            return Ok(None);
        };
        trail_changes(pass);
        let settings = cloud_settings(&settings);
        let trails = self.access.clients.protective().action_trail;
        let call = trails.update_trail(name, &settings);
        let result = pass.change(format!("update trail {name}"), call).await;
        if self.looked.observed.store == Store::Missing && was_tried(&result) {
            lock(&pass.memory).slot::<TrailMemory>().store_repair = Some(Instant::now());
        }
        result.map(|answer| Some(answer.call))
    }

    /// The step that is left of a planned one for what was read anew; nothing when somebody else was faster.
    fn plan_again(
        &self,
        observed: &Observed,
        planned: Effect,
        is_it: impl Fn(&Action) -> bool,
    ) -> Result<Option<Action>, Failure> {
        plan::again(self.wanted, observed, self.known, planned, is_it).map_err(|_| self.moved())
    }

    /// Something changed so much while the visit looked that only another look tells what is to be done.
    fn moved(&self) -> Failure {
        Failure::waiting_soon(
            reason::UPDATING,
            format!(
                "Trail {} was changed by somebody else at the same moment; it is looked at once more",
                self.wanted.trail_name
            ),
        )
    }

    async fn write_mark(&self, pass: &mut Pass<RamTrail>) -> Result<(), Failure> {
        let key = trail_key(&self.wanted.trail_name);
        if tags_over_limit(&self.looked.tags, [key.as_str()]) > 0 {
            return Err(Failure::stalled(
                reason::TAG_LIMIT_EXCEEDED,
                format!(
                    "Project {} carries {} tags, Log Service allows {TAG_LIMIT}, and the mark of the trail needs one more. Remove a tag \
                     from the project",
                    self.access.project,
                    self.looked.tags.len()
                ),
            ));
        }
        let target = Taggable::Project(self.access.project.clone());
        let doing = format!(
            "mark project {} for trail {}",
            self.access.project, self.wanted.trail_name
        );
        let owner = &self.wanted.owner;
        marks::set(pass, self.access, &target, &doing, |spelling| {
            [(key.clone(), owner.mark(spelling))].into()
        })
        .await?;
        let tags = observe::tags(pass, self.access).await?;
        marks::must_be_ours(owner, &tags, &key, &format!("trail {}", self.wanted.trail_name))
    }

    /// Notes the create in the status, then creates. A trail that exists already without being shown is waited for.
    async fn create_trail(&self, pass: &mut Pass<RamTrail>) -> Result<(), Failure> {
        let name = self.wanted.trail_name.as_str();
        let created = lock(&pass.memory).created_at;
        if created.is_some_and(|at| at.elapsed() < super::VISIBILITY) {
            return Err(self.invisible());
        }
        if lock(&pass.memory).is_taken(Instant::now()) {
            return Err(self.taken());
        }
        let open = pass.status.pending_create.clone();
        let now = self.access.clients.cloud_now();
        if !open.as_ref().is_some_and(|open| acquisition::is_fresh(open, now)) {
            pass.begin_create(self.access).await?;
        }
        let settings = TrailSettings {
            event_rw: cloud_events(self.wanted.events),
            trail_region: ALL_REGIONS.to_owned(),
            ..TrailSettings::into_project(&self.wanted.project_arn)
        };
        trail_changes(pass);
        let trails = self.access.clients.protective().action_trail;
        let doing = format!("create trail {name}");
        let mut result = pass.change(&doing, trails.create_trail(name, &settings)).await;
        if result.as_ref().is_err_and(needs_role) {
            create_role(pass, self.access).await?;
            result = pass.change(&doing, trails.create_trail(name, &settings)).await;
        }
        match result {
            Ok(_) => {
                lock(&pass.memory).created_at = Some(Instant::now());
                Ok(())
            }
            Err(failure) if failure.class() == Some(Class::AlreadyExists) => {
                if open.is_none() {
                    pass.status.pending_create = None;
                }
                lock(&pass.memory).taken_at = Some(Instant::now());
                Err(self.taken())
            }
            Err(failure) => {
                if open.is_none() && failure.is_definite() {
                    pass.status.pending_create = None;
                }
                Err(failure)
            }
        }
    }

    /// ActionTrail refused to create the trail because it exists, and shows none.
    fn taken(&self) -> Failure {
        Failure::waiting_soon(
            reason::AWAITING_VISIBILITY,
            format!(
                "Trail {} exists, as ActionTrail said when it was to be created, and is not shown by it yet",
                self.wanted.trail_name
            ),
        )
    }

    /// Sends the store's configuration with another retention, as the store is now: what somebody raised since the visit
    /// looked is lowered only where the spec asks for it.
    async fn set_retention(
        &self,
        pass: &mut Pass<RamTrail>,
        days: i32,
        planned: Effect,
    ) -> Result<Option<CallInfo>, Failure> {
        let name = observe::store_name(&self.wanted.trail_name)?;
        let (project, log_service) = (&self.access.project, self.access.clients.protective().log_service);
        let doing = format!("read log store {name}");
        let mut store = match pass.read(doing, log_service.get_log_store(project, &name)).await {
            Ok(store) => store,
            Err(failure) if failure.class() == Some(Class::NotFound) => return Err(self.store_gone(&name)),
            Err(failure) => return Err(failure),
        };
        let seen = self.looked.store.as_ref().and_then(LogStore::create_time);
        if store.create_time() != seen {
            return Err(self.moved());
        }
        let kept = store.retention_days();
        if kept.is_some_and(|kept| {
            kept == i64::from(days) || (planned != Effect::Reduce && kept > i64::from(days))
        }) {
            return Ok(None);
        }
        store.set_retention_days(i64::from(days));
        let call = log_service.update_log_store(project, &name, &store);
        let doing = format!("set the retention of log store {name} to {days} days");
        Ok(Some(pass.change(doing, call).await?.call))
    }

    fn store_gone(&self, name: &LogStoreName) -> Failure {
        Failure::waiting_soon(
            reason::WAITING_FOR_TRAIL_STORE,
            format!(
                "Log store {name} of trail {} is not there",
                self.wanted.trail_name
            ),
        )
    }

    async fn restore_index(&self, pass: &mut Pass<RamTrail>) -> Result<CallInfo, Failure> {
        let name = observe::store_name(&self.wanted.trail_name)?;
        let (project, log_service) = (&self.access.project, self.access.clients.protective().log_service);
        let doing = format!("read the index of log store {name}");
        let found = match pass.read(doing, log_service.get_index(project, &name)).await {
            Ok(found) => Some(found),
            Err(failure) if failure.class() == Some(Class::NotFound) => None,
            Err(failure) => return Err(failure),
        };
        let doing = format!("restore the index of log store {name}");
        let answer = match found {
            None => match pass
                .change(
                    doing,
                    log_service.create_index(project, &name, &index_preset::preset()),
                )
                .await
            {
                // ActionTrail, or a call of ours whose answer was lost, was faster: the next look compares it.
                Err(failure) if failure.class() == Some(Class::AlreadyExists) => {
                    return Err(Failure::waiting_soon(
                        reason::AWAITING_VISIBILITY,
                        format!("The index of log store {name} exists and is not shown yet"),
                    ));
                }
                done => done,
            },
            Some(found) => {
                let index = index_preset::repair(&found, observe::typed(&pass.status)).index;
                pass.change(doing, log_service.update_index(project, &name, &index))
                    .await
            }
        };
        Ok(answer?.call)
    }

    async fn create_job(
        &self,
        pass: &mut Pass<RamTrail>,
        settings: &JobSettings,
    ) -> Result<CallInfo, Failure> {
        let name = observe::job_name(&self.wanted.trail_name)?;
        let from_time = self.start_of_copy(pass, settings).await?;
        let definition = definition(
            &self.wanted.trail_name,
            settings,
            &EtlConfiguration::default(),
            from_time,
        );
        let log_service = self.access.clients.protective().log_service;
        let call = log_service.create_etl(&self.access.project, &name, &definition);
        match pass.change(format!("create copy job {name}"), call).await {
            Ok(answer) => {
                lock(&pass.memory).slot::<TrailMemory>().job_from = Some(from_time);
                Ok(answer.call)
            }
            // The answer of our own create was lost, or the job is not shown yet.
            Err(failure) if failure.class() == Some(Class::AlreadyExists) => Err(Failure::waiting_soon(
                reason::AWAITING_VISIBILITY,
                format!("Copy job {name} exists and is not shown by Log Service yet"),
            )),
            Err(failure) => Err(failure),
        }
    }

    /// Where a new job begins. Before the first one nothing was copied: with everything, when the trail is ours; with now,
    /// when it had a life before us. A job that is made again begins a little before the newest copied event, or with
    /// everything when nothing was copied: an event twice is better than none.
    async fn start_of_copy(&self, pass: &mut Pass<RamTrail>, settings: &JobSettings) -> Result<i64, Failure> {
        let now = self.access.clients.cloud_now().as_second();
        let first = pass
            .status
            .applied
            .as_ref()
            .is_none_or(|applied| applied.copy.is_none());
        if first {
            let created = pass
                .status
                .claim
                .as_ref()
                .is_some_and(|claim| claim.origin == Origin::Created);
            return Ok(if created {
                0
            } else {
                now - copy_script::OVERLAP_SECONDS
            });
        }
        let Some(sink) = settings.sinks.first() else {
            return Ok(0);
        };
        let Ok(name) = LogStoreName::new(&sink.log_store) else {
            return Ok(0);
        };
        let query = LogQuery {
            from: now - LOOK_BACK,
            to: now + copy_script::OVERLAP_SECONDS,
            query: copied_rows(&settings.filter),
            line: 1,
            offset: 0,
            reverse: true,
        };
        let doing = format!("find the newest copied event in log store {name}");
        let rows = match pass
            .read(
                doing,
                self.access
                    .clients
                    .log_service
                    .get_logs(&self.access.project, &name, &query),
            )
            .await
        {
            Ok(rows) => rows,
            Err(failure) if failure.class() == Some(Class::NotFound) => return Ok(0),
            Err(failure) => return Err(failure),
        };
        let newest = rows
            .rows
            .iter()
            .filter_map(|row| row.get("__time__")?.parse::<i64>().ok())
            .max();
        let seen = lock(&pass.memory).slot::<TrailMemory>().job_seen;
        Ok(start_again(newest, seen))
    }

    /// Sends the configuration of the job, decided anew from the job as it is now.
    async fn update_job(
        &self,
        pass: &mut Pass<RamTrail>,
        settings: &JobSettings,
        planned: Effect,
    ) -> Result<Option<CallInfo>, Failure> {
        let name = observe::job_name(&self.wanted.trail_name)?;
        // A search may take long, so it comes before the last look.
        let start = match settings.from_time {
            Some(_) => None,
            None => Some(self.start_of_copy(pass, settings).await?),
        };
        let Some((settings, before)) = self.job_to_send(pass, planned).await? else {
            return Ok(None);
        };
        let from_time = match settings.from_time.or(start) {
            Some(from_time) => from_time,
            None => self.start_of_copy(pass, &settings).await?,
        };
        let definition = definition(&self.wanted.trail_name, &settings, &before, from_time);
        let log_service = self.access.clients.protective().log_service;
        let call = log_service.update_etl(&self.access.project, &name, &definition);
        let answer = pass.change(format!("update copy job {name}"), call).await?;
        lock(&pass.memory).slot::<TrailMemory>().job_from = Some(from_time);
        Ok(Some(answer.call))
    }

    /// The configuration that is left to be sent for the job as it is now, and the one that it has.
    async fn job_to_send(
        &self,
        pass: &mut Pass<RamTrail>,
        planned: Effect,
    ) -> Result<Option<(JobSettings, EtlConfiguration)>, Failure> {
        let Some(job) = observe::job(pass, self.access, &self.wanted.trail_name).await? else {
            return Err(self.moved());
        };
        let observed = Observed {
            job: Job::Present(observe::found_of(&job)),
            ..self.looked.observed.clone()
        };
        let again = self.plan_again(&observed, planned, |action| {
            matches!(action, Action::UpdateJob(_))
        })?;
        Ok(match again {
            Some(Action::UpdateJob(settings)) => Some((settings, job.configuration)),
            _ => None,
        })
    }

    /// Starts the job, unless it runs by itself.
    async fn start_job(&self, pass: &mut Pass<RamTrail>) -> Result<Option<CallInfo>, Failure> {
        let name = observe::job_name(&self.wanted.trail_name)?;
        let Some(job) = observe::job(pass, self.access, &self.wanted.trail_name).await? else {
            return Err(Failure::waiting_soon(
                reason::AWAITING_VISIBILITY,
                format!("Copy job {name} was created and is not shown by Log Service yet"),
            ));
        };
        match observe::found_of(&job).state {
            JobState::Running => return Ok(None),
            JobState::Stopped | JobState::Failed => {}
        }
        let failed = observe::found_of(&job).state == JobState::Failed;
        let log_service = self.access.clients.protective().log_service;
        let call = log_service.start_etl(&self.access.project, &name);
        let result = pass.change(format!("start copy job {name}"), call).await;
        if failed && was_tried(&result) {
            let target = super::copy_target(pass);
            let mut memory = lock(&pass.memory);
            let memory = memory.slot::<TrailMemory>();
            memory.job_start = Some(Instant::now());
            memory.job_start_into = target;
        }
        match result {
            Ok(answer) => Ok(Some(answer.call)),
            // It may run all the same: by itself, or by a call of ours whose answer was lost.
            Err(failure @ Failure::Cloud { .. }) => {
                match observe::job(pass, self.access, &self.wanted.trail_name).await {
                    Ok(Some(job)) if observe::found_of(&job).state == JobState::Running => Ok(None),
                    _ => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        }
    }
}

/// The search for events that the job copied. Others may write into its target too: a look at the wrong row would begin too late.
fn copied_rows(filter: &Filter) -> String {
    match filter {
        Filter::Services(services) if (1..=SEARCHED_SERVICES).contains(&services.len()) => {
            let services: Vec<String> = services
                .iter()
                .map(|service| format!("event.serviceName: {service}"))
                .collect();
            services.join(" or ")
        }
        _ => "event: *".to_owned(),
    }
}

/// Where a job that is made again begins: before the newest copied event, and before it was last seen at work, since a row in
/// the target may come from anywhere.
fn start_again(newest: Option<i64>, seen: Option<i64>) -> i64 {
    let Some(newest) = newest else { return 0 };
    let start = seen.map_or(newest, |seen| newest.min(seen));
    (start - copy_script::OVERLAP_SECONDS).max(0)
}

/// Whether a call may have taken effect: it was answered so, or what became of it is not known. A refusal is no try.
fn was_tried<T>(result: &Result<T, Failure>) -> bool {
    match result {
        Ok(_) => true,
        Err(Failure::Cloud { error, .. }) => error.api().is_none() || error.outcome_unknown,
        Err(_) => false,
    }
}

/// From now on looks that began earlier are not believed.
fn trail_changes(pass: &Pass<RamTrail>) {
    lock(&pass.memory).slot::<TrailMemory>().changed = Some(Instant::now());
}

fn needs_role(failure: &Failure) -> bool {
    matches!(failure, Failure::Cloud { error, .. } if error.code() == Some("NeedServiceLinkedRole"))
}

async fn create_role(pass: &mut Pass<RamTrail>, access: &Access) -> Result<(), Failure> {
    let call = access.clients.protective().resource_manager;
    let doing = "create the service-linked role of ActionTrail";
    match pass.change(doing, call.create_service_linked_role(SERVICE)).await {
        Ok(_) => Ok(()),
        Err(failure) => match failure.class() {
            Some(Class::AlreadyExists) => Ok(()),
            Some(Class::Denied) => Err(Failure::stalled(
                reason::SERVICE_LINKED_ROLE_MISSING,
                format!(
                    "ActionTrail delivers through the role AliyunServiceRoleForActionTrail, which is missing, and RAM does not allow {} to \
                     create it. Grant it ram:CreateServiceLinkedRole with the condition ram:ServiceName = {SERVICE}, or create the role by \
                     hand: aliyun resourcemanager CreateServiceLinkedRole --ServiceName {SERVICE}",
                    access.caller()
                ),
            )),
            _ => Err(failure),
        },
    }
}

/// Deletes the copy job of a trail.
pub async fn delete_job(pass: &mut Pass<RamTrail>, access: &Access, trail: &str) -> Result<(), Failure> {
    let name = observe::job_name(trail)?;
    let call = access.clients.log_service.delete_etl(&access.project, &name);
    match pass.change(format!("delete copy job {name}"), call).await {
        Err(failure) if failure.class() == Some(Class::NotFound) => Ok(()),
        result => result.map(|_| ()),
    }
}

fn cloud_events(events: EventSelection) -> EventRw {
    match events {
        EventSelection::All => EventRw::All,
        EventSelection::Write => EventRw::Write,
        EventSelection::Read => EventRw::Read,
    }
}

fn cloud_settings(settings: &Settings) -> TrailSettings {
    let Settings {
        events,
        trail_region,
        project_arn,
        write_role_arn,
        others,
    } = settings;
    TrailSettings {
        event_rw: cloud_events(*events),
        trail_region: trail_region.clone(),
        sls_project_arn: Some(project_arn.clone()).filter(|arn| !arn.is_empty()),
        sls_write_role_arn: write_role_arn.clone(),
        oss_bucket_name: others.oss_bucket.clone(),
        oss_key_prefix: others.oss_prefix.clone(),
        oss_write_role_arn: others.oss_role_arn.clone(),
        max_compute_project_arn: others.max_compute_project_arn.clone(),
        max_compute_write_role_arn: others.max_compute_role_arn.clone(),
    }
}

/// The job as it is sent: what it was, with our settings in it. Fields that we do not know stay as they were.
fn definition(
    trail: &str,
    settings: &JobSettings,
    before: &EtlConfiguration,
    from_time: i64,
) -> EtlDefinition {
    let JobSettings {
        description,
        source,
        role_arn,
        filter,
        from_time: _,
        sinks,
    } = settings;
    let script = match filter {
        Filter::Everything => "*".to_owned(),
        Filter::Services(services) => copy_script::script(services),
        // Plans never ask for it; what was there stays.
        Filter::Unknown => before.script.clone(),
    };
    let sinks = sinks.iter().map(|sink| {
        let known = before
            .sinks
            .iter()
            .find(|known| known.project == sink.project && known.logstore == sink.log_store);
        let mut other = known.map(|known| known.other.clone()).unwrap_or_default();
        other.entry("datasets").or_insert_with(|| json!(sink.datasets));
        EtlSink {
            name: sink.name.clone(),
            project: sink.project.clone(),
            logstore: sink.log_store.clone(),
            endpoint: Some(sink.endpoint.clone()).filter(|endpoint| !endpoint.is_empty()),
            role_arn: sink.role_arn.clone(),
            other,
        }
    });
    EtlDefinition {
        display_name: copy_script::display_name(trail),
        description: description.clone(),
        configuration: EtlConfiguration {
            logstore: source.clone(),
            role_arn: role_arn.clone(),
            script,
            lang: Some(copy_script::LANG.to_owned()),
            from_time: Some(from_time),
            to_time: Some(0),
            sinks: sinks.collect(),
            other: before.other.clone(),
        },
    }
}

/// The time of a store's creation as statuses write it.
pub fn since(created: i64) -> Option<String> {
    (created > 0)
        .then(|| Timestamp::from_second(created).ok().map(|time| time.to_string()))
        .flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::controllers::ram_trail::model::Sink;

    fn settings() -> JobSettings {
        JobSettings {
            description: "d".to_owned(),
            source: "actiontrail_x".to_owned(),
            role_arn: "r".to_owned(),
            filter: Filter::Services(["ram".to_owned()].into()),
            from_time: None,
            sinks: vec![Sink {
                name: "ramtrail".to_owned(),
                project: "p".to_owned(),
                log_store: "l".to_owned(),
                endpoint: "e".to_owned(),
                role_arn: "r".to_owned(),
                datasets: vec![copy_script::DATASET.to_owned()],
            }],
        }
    }

    #[test]
    fn a_job_made_again_begins_no_later_than_it_was_seen_at_work() {
        assert_eq!(start_again(None, Some(5000)), 0);
        assert_eq!(start_again(Some(9000), None), 8700);
        assert_eq!(start_again(Some(9000), Some(5000)), 4700);
        assert_eq!(start_again(Some(5000), Some(9000)), 4700);
        assert_eq!(start_again(Some(100), None), 0);
        assert_eq!(copied_rows(&settings().filter), "event.serviceName: ram");
    }

    #[test]
    fn an_update_of_a_job_keeps_what_we_do_not_know() {
        let before: EtlConfiguration = serde_json::from_value(json!({
            "parameters": {"k": "v"},
            "sinks": [{"name": "s", "project": "p", "logstore": "l", "extra": 1, "datasets": ["__UNNAMED__"]}],
        }))
        .unwrap();
        let sent = serde_json::to_value(definition("x", &settings(), &before, 7).configuration).unwrap();
        assert_eq!(sent["parameters"]["k"], "v");
        assert_eq!(sent["sinks"][0]["extra"], 1);
        assert_eq!(
            (&sent["fromTime"], &sent["toTime"], &sent["lang"]),
            (&json!(7), &json!(0), &json!("SPL"))
        );
    }

    #[test]
    fn a_new_job_has_its_dataset_and_script() {
        let sent =
            serde_json::to_value(definition("x", &settings(), &EtlConfiguration::default(), 0).configuration)
                .unwrap();
        assert_eq!(sent["sinks"][0]["datasets"], json!(["__UNNAMED__"]));
        assert!(sent["script"].as_str().unwrap().ends_with("in ('ram')"));
    }
}
