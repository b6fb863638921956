//! `RamTrail`: RAM access logging and its flow into an audit project, kept on and proved to deliver.
//!
//! A visit: references → access → who holds the name → observe → plan → apply → report. Creating takes the mark on the project,
//! the service-linked role where it is missing, CreateTrail, StartLogging, and, once ActionTrail has made its store, the copy job.
//!
//! | module | owns |
//! |---|---|
//! | [`model`] | what is wanted and what is seen, as plain values |
//! | [`plan`] | the steps; pure |
//! | [`observe`], [`apply`] | the calls |
//! | [`status`] | the conditions; pure |
//! | [`copy_script`] | the copy job as text |
//! | [`delivery`] | whether events arrive; pure |
//! | [`audit_event`] | reading delivered events |
//! | [`poll`] | the look at all trails each minute |
//! | [`memory`] | what one process remembers of a trail |
//! | [`tamper`] | how weakenings are told |

pub mod apply;
pub mod audit_event;
pub mod copy_script;
pub mod delivery;
pub mod memory;
pub mod model;
pub mod observe;
pub mod plan;
pub mod poll;
pub mod status;
pub mod tamper;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use self::apply::Hands;
use self::delivery::{Rules, Watch};
use self::memory::TrailMemory;
use self::model::{CopyBlocked, Job, Known, Observed, Obstacle, Store, Wanted, WantedCopy, trail_store};
use self::observe::Looked;
use self::plan::{Action, Decision, Plan};
use self::status::Facts;
use self::tamper::{Outcome, Scope};
use crate::aliyun::Class;
use crate::aliyun::log_service::Taggable;
use crate::api::condition::{DELIVERING, Status, find, reason};
use crate::api::v1alpha1::{AuditProject, Claim, CopyTo, DeletionPolicy, Origin, RamTrail, RamTrailStatus};
use crate::config::Settings;
use crate::controllers::access::{Access, CredentialId, allowed};
use crate::controllers::acquisition::{self, Found, Release};
use crate::controllers::audit_project::is_in_account;
use crate::controllers::driver::{Children, Kind};
use crate::controllers::event::{self, Note};
use crate::controllers::failure::Failure;
use crate::controllers::marks;
use crate::controllers::memory::lock;
use crate::controllers::name_index::{Declarer, ExternalName};
use crate::controllers::object::Managed;
use crate::controllers::ownership::{Mark, Spelling, describe_foreign, trail_key};
use crate::controllers::pass::{Pass, Report};
use crate::controllers::plan::describe;
use crate::telemetry::TamperAction;

/// How long after a create call was answered the trail may still not be shown.
const VISIBILITY: Duration = Duration::from_secs(120);
/// Longest delay until the next look while something is under way.
const LONGEST_SETTLING: u32 = 4;
/// How long a step may take to show before it counts as one that did not help.
const SETTLE: Duration = Duration::from_secs(60);

impl Kind for RamTrail {
    async fn visit(pass: &mut Pass<Self>) -> Result<Report, Failure> {
        let started = Instant::now();
        let project = project(pass)?;
        let access = pass.ctx.gate.open(&project, &pass.ctx.settings).await?;
        pass.uses(&access)?;
        identify(pass, &access);
        hold_name(pass, &access, &project)?;

        let wanted = wanted(pass, &access);
        let looked = match observe::whole(pass, &access, &wanted, job_matters(pass)).await {
            Ok(looked) => looked,
            Err(failure) => {
                protect_unseen(pass, &access, &wanted, started).await;
                return Err(failure);
            }
        };
        let known = known(pass, &access, &looked);
        let decision = plan::plan(&wanted, &looked.observed, &known);
        pass.observed();
        let plan = match decision {
            Decision::Converge(plan) => plan,
            Decision::Blocked(obstacle) => return blocked(pass, &obstacle, &looked),
        };
        note_seen(pass, &looked).await;
        follow(pass, &access, &looked);
        if pass.enforces() {
            let mut plan = plan;
            if let Some(wait) = enforce(pass, &access, &wanted, &looked, &known, &plan, started).await? {
                plan.waits.push(wait);
            }
            Ok(report(pass, &wanted, &looked, &plan))
        } else {
            observe_only(pass, &wanted, &looked.observed, &plan).await;
            Ok(report(pass, &wanted, &looked, &plan))
        }
    }

    async fn release(pass: &mut Pass<Self>) -> Result<(), Failure> {
        let delete = pass.object.spec.deletion_policy == DeletionPolicy::Delete;
        let project = match project_object(pass) {
            Err(_) if !delete => {
                let text = format!(
                    "Trail {} stays in the cloud with its mark and goes on recording: its AuditProject is gone, and its credentials with it",
                    pass.object.effective_name()
                );
                pass.tell(Note::warning(event::LEFT_IN_CLOUD, "Delete", text))
                    .await;
                return Ok(());
            }
            project => project?,
        };
        let access = pass.ctx.gate.open(&project, &pass.ctx.settings).await?;
        pass.uses(&access)?;
        release(pass, &access).await
    }

    fn children(_: &Pass<Self>) -> Children {
        Children::default()
    }

    fn cloud_side(pass: &Pass<Self>) -> Option<String> {
        let name = pass.object.effective_name();
        pass.object.has_acquired().then(|| {
            pass.status
                .trail_arn
                .clone()
                .unwrap_or_else(|| format!("trail {name}"))
        })
    }
}

fn project_object(pass: &Pass<RamTrail>) -> Result<Arc<AuditProject>, Failure> {
    let namespace = pass.id().namespace;
    let name = &pass.object.spec.project_ref.name;
    pass.ctx.cluster.project(&namespace, name).ok_or_else(|| {
        Failure::waiting(
            reason::PROJECT_NOT_FOUND,
            format!("There is no AuditProject {name} in namespace {namespace}"),
        )
    })
}

/// The project that is referred to. What is ours already is kept whatever the project's state; the first time the project must
/// be there.
fn project(pass: &Pass<RamTrail>) -> Result<Arc<AuditProject>, Failure> {
    let project = project_object(pass)?;
    let acquired = pass.status.claim.is_some() || pass.status.pending_create.is_some();
    if !acquired && pass.enforces() && (!project.is_ready() || project.is_deleting()) {
        return Err(Failure::waiting(
            reason::WAITING_FOR_PROJECT,
            format!("AuditProject {} is not Ready yet", project.name_any()),
        ));
    }
    Ok(project)
}

/// What follows from access and spec alone.
fn identify(pass: &mut Pass<RamTrail>, access: &Access) {
    let name = pass.object.effective_name().to_owned();
    pass.status.log_store_name = Some(trail_store(&name));
    pass.status.trail_name = Some(name);
    pass.status.project_name = Some(access.project.to_string());
}

/// Lets only one object of the cluster act on a trail; trail names are unique in an account.
fn hold_name(pass: &Pass<RamTrail>, access: &Access, project: &AuditProject) -> Result<(), Failure> {
    let me = &pass.object;
    let name = ExternalName::Trail {
        account: access.account.clone(),
        name: me.effective_name().to_owned(),
    };
    let cluster = &pass.ctx.cluster;
    let rivals: Vec<Declarer> = cluster
        .trails_named(me.effective_name())
        .iter()
        .filter(|other| other.uid() != me.uid())
        .filter(|other| {
            match other
                .status
                .as_ref()
                .and_then(|status| status.account_id.as_deref())
            {
                Some(account) => account == access.account,
                None => cluster
                    .project(
                        &other.namespace().unwrap_or_default(),
                        &other.spec.project_ref.name,
                    )
                    .is_some_and(|theirs| is_in_account(&theirs, project, &access.account)),
            }
        })
        .map(|other| Declarer::from(&**other))
        .collect();
    pass.hold_name(&name, &rivals, &format!("Trail {}", me.effective_name()))
}

fn wanted(pass: &Pass<RamTrail>, access: &Access) -> Wanted {
    let spec = &pass.object.spec;
    let (copy, copy_blocked) = match spec.copy_to.as_ref().map(|copy| wanted_copy(pass, access, copy)) {
        None => (None, None),
        Some(Ok(copy)) => (Some(copy), None),
        Some(Err(blocked)) => (None, Some(blocked)),
    };
    Wanted {
        trail_name: pass.object.effective_name().to_owned(),
        account_id: access.account.clone(),
        region: access.region().to_string(),
        project_arn: access.project_arn(),
        owner: pass.owner(),
        logging: spec.logging,
        events: spec.events,
        retention_days: spec.store.as_ref().and_then(|store| store.retention_days),
        copy,
        copy_blocked,
        adoption: spec.adoption_policy,
    }
}

fn wanted_copy(pass: &Pass<RamTrail>, access: &Access, copy: &CopyTo) -> Result<WantedCopy, CopyBlocked> {
    let namespace = pass.id().namespace;
    let name = &copy.log_store_ref.name;
    let blocked = |reason, message: String, stalls| {
        Err(CopyBlocked {
            obstacle: Obstacle::in_cluster(reason, message),
            stalls,
        })
    };
    let settings = &pass.ctx.settings;
    if access.credential == CredentialId::Operator && !settings.may_name_role(&copy.role_arn) {
        let text = format!(
            "spec.copyTo.roleARN: {} may not be used together with the operator's own identity: --identity-roles of the operator allows {}. \
             Name a role that is allowed, add this one to --identity-roles, or set spec.credentials.secretRef of the AuditProject",
            copy.role_arn,
            allowed(&settings.identity_roles)
        );
        return blocked(reason::IDENTITY_NOT_ALLOWED, text, true);
    }
    let Some(store) = pass.ctx.cluster.log_store(&namespace, name) else {
        let text = format!(
            "There is no AuditLogStore {name} in namespace {namespace}, into which events are to be copied"
        );
        return blocked(reason::LOG_STORE_NOT_FOUND, text, false);
    };
    if store.spec.project_ref != pass.object.spec.project_ref {
        let text = format!(
            "spec.copyTo.logStoreRef: AuditLogStore {name} lies in AuditProject {}, and the trail delivers into AuditProject {}. Refer to a \
             store of the same project",
            store.spec.project_ref.name, pass.object.spec.project_ref.name
        );
        return blocked(reason::REFERENCE_INVALID, text, true);
    }
    let copied = pass
        .status
        .applied
        .as_ref()
        .is_some_and(|applied| applied.copy.is_some());
    if !copied && (!store.is_ready() || store.is_deleting()) {
        let text = format!("AuditLogStore {name}, into which events are to be copied, is not Ready yet");
        return blocked(reason::WAITING_FOR_LOG_STORE, text, false);
    }
    let trail = pass.object.effective_name();
    let log_store = store.effective_name().to_owned();
    let services: BTreeSet<String> = copy.effective_services().into_iter().collect();
    Ok(WantedCopy {
        job_name: copy_script::job_name(trail),
        source: trail_store(trail),
        project: access.project.to_string(),
        endpoint: access.clients.log_service.endpoint(),
        services,
        role_arn: copy.role_arn.clone(),
        // A description may hold any character: the first spelling is right everywhere.
        description: copy_script::description(&pass.owner().mark(Spelling::Slash), &log_store),
        log_store,
    })
}

/// The time when the store into which events are copied was made, while its object is Ready.
fn copy_target(pass: &Pass<RamTrail>) -> Option<String> {
    let name = &pass.object.spec.copy_to.as_ref()?.log_store_ref.name;
    let store = pass.ctx.cluster.log_store(&pass.id().namespace, name)?;
    let status = store.status.as_ref().filter(|_| store.is_ready())?;
    status.data_since.clone()
}

/// Whether there is a copy job to look at, or one that may have to go.
fn job_matters(pass: &Pass<RamTrail>) -> bool {
    pass.object.spec.copy_to.is_some()
        || pass
            .status
            .applied
            .as_ref()
            .is_some_and(|applied| applied.copy.is_some())
}

fn max_lag(trail: &RamTrail) -> Duration {
    Duration::from_secs(u64::try_from(trail.max_lag_seconds()).unwrap_or_default())
}

fn known(pass: &Pass<RamTrail>, access: &Access, looked: &Looked) -> Known {
    let now = access.clients.cloud_now();
    let settle = SETTLE.min(pass.ctx.settings.poll_interval * 2);
    let target = copy_target(pass);
    let mut memory = lock(&pass.memory);
    let memory = memory.slot::<TrailMemory>();
    memory.copies_into(target.as_deref());
    let waits_for_store = looked.observed.store == Store::Missing
        && looked.observed.trail.as_ref().is_some_and(|trail| trail.on);
    if waits_for_store {
        memory.store_missing_since.get_or_insert(now);
    } else if looked.observed.store != Store::NotLooked {
        memory.store_missing_since = None;
        memory.store_repair = None;
    }
    Known {
        claim: pass.status.claim.clone(),
        pending: pass.status.pending_create.clone(),
        applied: pass.status.applied.clone(),
        store_seen: store_was_seen(&pass.status),
        now: now.as_second(),
        memory: memory.for_planning(settle, now, max_lag(&pass.object)),
    }
}

/// Nothing may be written.
fn blocked(pass: &mut Pass<RamTrail>, obstacle: &Obstacle, looked: &Looked) -> Result<Report, Failure> {
    if pass.enforces() {
        if pass.status.claim.is_some() {
            let statements = status::left_alone(obstacle, &looked.observed, pass.object.spec.logging);
            pass.state(&statements);
        }
        if obstacle.reason == reason::OWNED_BY_ANOTHER {
            // The other owner was faster while our claim was young.
            pass.status.claim = None;
            pass.status.applied = None;
        }
        return Err(Failure::stalled(obstacle.reason, obstacle.message.clone()));
    }
    pass.status.plan = vec![obstacle.message.chars().take(200).collect()];
    let mut report = Report::new(status::observe_blocked(obstacle, &looked.observed));
    report.converged = false;
    Ok(report)
}

/// What was seen goes into the status.
async fn note_seen(pass: &mut Pass<RamTrail>, looked: &Looked) {
    if let Some(trail) = &looked.observed.trail {
        pass.status.home_region = Some(trail.home_region.clone());
        pass.status.trail_arn = Some(trail.arn.clone()).filter(|arn| !arn.is_empty());
    }
    pass.status.copy_job_name = match &looked.observed.job {
        Job::Present(_) => Some(copy_script::job_name(pass.object.effective_name())),
        Job::Missing => None,
        Job::NotLooked => pass.status.copy_job_name.take().filter(|_| job_matters(pass)),
    };
    let Store::Present { days, created } = looked.observed.store else {
        return;
    };
    pass.status.retention_days = days;
    // A time that is not told says nothing.
    let Some(since) = apply::since(created) else {
        return;
    };
    let before = pass.status.data_since.replace(since.clone());
    if before.is_some_and(|before| before != since) {
        let store = trail_store(pass.object.effective_name());
        let text =
            format!("Log store {store} was deleted and made again: the events that it held before are lost");
        pass.tampered(TamperAction::Deleted, &text, false).await;
        // Kubernetes counts Events of one kind under the words of the first, and the loss must be read.
        pass.tell(Note::warning(event::CREATED_AGAIN, "LogStore", text))
            .await;
    }
}

/// Begins to follow delivery when the trail is on, forgets it when it is off, and what was due when its store cannot be searched.
fn follow(pass: &Pass<RamTrail>, access: &Access, looked: &Looked) {
    let now = access.clients.cloud_now().as_second();
    let on = looked.observed.trail.as_ref().is_some_and(|trail| trail.on);
    let searchable = looked.observed.index.is_fine() && looked.observed.store != Store::Missing;
    let restarted = find(&pass.status.conditions, DELIVERING)
        .is_some_and(|condition| condition.status != Status::Unknown.as_str());
    let mut memory = lock(&pass.memory);
    let memory = memory.slot::<TrailMemory>();
    if !on {
        memory.watch = None;
        memory.verdict = None;
        return;
    }
    let watch = memory.watch.get_or_insert_with(|| Watch::new(now, restarted));
    if !searchable {
        watch.interrupted(now);
        memory.verdict = None;
    }
}

/// Whether the trail's store was there once, by anything that was told of it.
fn store_was_seen(status: &RamTrailStatus) -> bool {
    status.data_since.is_some() || status.retention_days.is_some()
}

/// What delivery of a trail is measured by.
fn rules(trail: &RamTrail, settings: &Settings) -> Rules {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 4);
    Rules {
        max_lag: i64::from(trail.max_lag_seconds()),
        due_interval: seconds(settings.due_call_interval),
        poll: seconds(settings.poll_interval).max(1),
    }
}

async fn enforce(
    pass: &mut Pass<RamTrail>,
    access: &Access,
    wanted: &Wanted,
    looked: &Looked,
    known: &Known,
    plan: &Plan,
    started: Instant,
) -> Result<Option<Obstacle>, Failure> {
    let hands = Hands {
        access,
        wanted,
        looked,
        known,
    };
    let lost = looked.observed.trail.is_none() && pass.status.claim.is_some();
    let created_before = lock(&pass.memory).created_at;
    let result = take(pass, &hands, plan).await;
    note_applied(pass, looked);
    if lost && lock(&pass.memory).created_at != created_before {
        let text = format!(
            "Trail {} was gone and was created again: what happened in between is not recorded",
            wanted.trail_name
        );
        pass.tell(Note::warning(event::CREATED_AGAIN, "Create", text))
            .await;
    }
    let outcome = outcome_of(&result);
    tamper::tell(
        pass,
        wanted,
        &looked.observed,
        plan,
        Scope::Whole,
        outcome,
        started,
    )
    .await;
    match result {
        Ok(()) => {
            let applied = plan.applied(wanted, &looked.observed, pass.status.applied.as_ref(), true);
            pass.status.applied = Some(applied);
            note_applied(pass, looked);
            Ok(None)
        }
        Err(Failure::Waiting { reason, message, .. }) => Ok(Some(Obstacle::new(reason, message))),
        Err(failure) => {
            // What was seen is so, whatever became of the steps.
            let blind = blind_because(pass);
            let statements = status::failed(facts(pass, wanted, looked, plan, blind.as_deref()));
            pass.state(&statements);
            Err(failure)
        }
    }
}

/// Log Service does not answer, or may not be asked, and what only ActionTrail decides must not wait for that: a trail that is
/// proved to be the one of our confirmed claim is switched on, and records all that is declared. Nothing else is touched, and the
/// visit fails all the same.
async fn protect_unseen(pass: &mut Pass<RamTrail>, access: &Access, wanted: &Wanted, started: Instant) {
    let confirmed = pass
        .status
        .claim
        .as_ref()
        .filter(|claim| claim.confirmed == Some(true))
        .and_then(|claim| claim.create_time.clone());
    let Some(create_time) = confirmed.filter(|_| pass.enforces()) else {
        return;
    };
    let seen = match observe::trail_alone(pass, access, &wanted.trail_name).await {
        Ok(Some(seen)) if seen.create_time == create_time => seen,
        Ok(_) => return,
        Err(failure) => {
            tracing::debug!("the trail cannot be looked at either: {failure}");
            return;
        }
    };
    let looked = Looked::of_trail(seen);
    let known = known(pass, access, &looked);
    let Decision::Converge(plan) = plan::plan(wanted, &looked.observed, &known) else {
        return;
    };
    let plan = plan.only_protecting_the_trail();
    follow(pass, access, &looked);
    let hands = Hands {
        access,
        wanted,
        looked: &looked,
        known: &known,
    };
    let result = hands.take(pass, &plan.steps).await;
    if let Err(failure) = &result {
        tracing::warn!("the trail is not put right: {failure}");
    }
    let outcome = outcome_of(&result);
    tamper::tell(
        pass,
        wanted,
        &looked.observed,
        &plan,
        Scope::Trail,
        outcome,
        started,
    )
    .await;
    pass.seen = status::of_trail(Facts {
        failed: result.is_err(),
        ..facts(pass, wanted, &looked, &plan, None)
    });
}

/// What was sent or seen goes beside what was applied: where the copy begins, and the types of the index.
fn note_applied(pass: &mut Pass<RamTrail>, looked: &Looked) {
    let Some(applied) = &mut pass.status.applied else {
        return;
    };
    if let Some(copy) = &mut applied.copy
        && let Some(from) = lock(&pass.memory).slot::<TrailMemory>().job_from.take()
    {
        copy.from_time = Some(from);
    }
    if let Some(types) = &looked.index_types {
        applied.index_types.clone_from(types);
    }
}

fn outcome_of(result: &Result<(), Failure>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(Failure::Waiting { .. }) => Outcome::Waiting,
        Err(_) => Outcome::Failed,
    }
}

/// The mark first; once it was read back the trail is ours; then everything else.
async fn take(pass: &mut Pass<RamTrail>, hands: &Hands<'_>, plan: &Plan) -> Result<(), Failure> {
    let (marking, others) = match plan.steps.split_first() {
        Some((first, others)) if first.action == Action::WriteMark => (std::slice::from_ref(first), others),
        _ => (&[] as &[_], plan.steps.as_slice()),
    };
    hands.take(pass, marking).await?;
    if let (Some(origin), Some(trail)) = (plan.acquire, &hands.looked.observed.trail) {
        acquire(pass, origin, &trail.create_time).await;
    }
    hands.take(pass, others).await
}

async fn acquire(pass: &mut Pass<RamTrail>, origin: Origin, create_time: &str) {
    let name = pass.object.effective_name().to_owned();
    let confirmed = pass.status.claim.as_ref().and_then(|claim| claim.confirmed);
    let again = pass.status.claim.is_some();
    pass.acquired(Claim {
        origin,
        external_name: name.clone(),
        create_time: Some(create_time.to_owned()),
        confirmed,
    });
    if again {
        return;
    }
    let note = match origin {
        Origin::Created => Note::normal(event::CREATED, "Create", format!("Created trail {name}")),
        Origin::Adopted => Note::normal(
            event::ADOPTED,
            "Adopt",
            format!("Took over trail {name}, which existed"),
        ),
    };
    pass.tell(note).await;
}

async fn observe_only(pass: &mut Pass<RamTrail>, wanted: &Wanted, observed: &Observed, plan: &Plan) {
    pass.status.plan = describe(&plan.steps);
    tamper::tell_only(pass, wanted, observed, plan).await;
}

/// Why the trail's store cannot be searched, where a person must mend it.
fn blind_because(pass: &Pass<RamTrail>) -> Option<String> {
    lock(&pass.memory).slot::<TrailMemory>().blind_because.clone()
}

fn facts<'a>(
    pass: &'a Pass<RamTrail>,
    wanted: &'a Wanted,
    looked: &'a Looked,
    plan: &'a Plan,
    blind_because: Option<&'a str>,
) -> Facts<'a> {
    Facts {
        wanted,
        observed: &looked.observed,
        plan,
        policy: pass.policy,
        failed: false,
        verdict: lock(&pass.memory).slot::<TrailMemory>().verdict,
        blind_because,
        max_lag: pass.object.max_lag_seconds(),
        before: &pass.status.conditions,
    }
}

fn report(pass: &mut Pass<RamTrail>, wanted: &Wanted, looked: &Looked, plan: &Plan) -> Report {
    let blind = blind_because(pass);
    let statements = status::statements(&facts(pass, wanted, looked, plan, blind.as_deref()));
    let mut report = Report::new(statements);
    report.converged = plan.is_settled();
    let under_way = pass.enforces() && plan.is_under_way();
    let left = if pass.enforces() && looked.observed.mark == Mark::Ours {
        pass.confirm()
    } else {
        None
    };
    report.again_in(left).again_in(settling(pass, under_way))
}

/// How soon to look again while something is under way: each time in a row later.
fn settling(pass: &Pass<RamTrail>, under_way: bool) -> Option<Duration> {
    let mut memory = lock(&pass.memory);
    let memory = memory.slot::<TrailMemory>();
    if !under_way {
        memory.unsettled = 0;
        return None;
    }
    let delay = Duration::from_secs(1 << memory.unsettled.min(LONGEST_SETTLING));
    memory.unsettled += 1;
    Some(delay)
}

/// The object goes: free the trail, or delete it after a fresh proof that it is ours.
async fn release(pass: &mut Pass<RamTrail>, access: &Access) -> Result<(), Failure> {
    let name = pass.object.effective_name().to_owned();
    let owner = pass.owner();
    let key = trail_key(&name);
    let target = Taggable::Project(access.project.clone());
    let doing = format!("read the tags of project {}", access.project);
    let tags = match pass
        .read(doing, access.clients.log_service.list_tag_resources(&target))
        .await
    {
        // With the project its tags are gone: nothing proves that the trail is ours.
        Err(failure) if failure.class() == Some(Class::NotFound) => None,
        result => Some(result?),
    };
    let mark = owner.judge(tags.as_ref().and_then(|tags| tags.get(&key)).map(String::as_str));
    let trail = observe::described(pass, access, &name).await?;
    let found = trail.map(|trail| {
        let create_time = trail.create_time.map(|time: Timestamp| time.to_string());
        Found {
            create_times: trail.create_time.into_iter().collect(),
            create_time,
            foreign_owner: match (&mark, &tags) {
                (Mark::Foreign(text), Some(tags)) => describe_foreign(text, tags),
                _ => String::new(),
            },
            mark: mark.clone(),
        }
    });
    pass.observed();
    let delete = pass.object.spec.deletion_policy == DeletionPolicy::Delete;
    let release = acquisition::release(&pass.object, pass.status.claim.as_ref(), found.as_ref(), delete);
    let note = match release {
        Release::Nothing if found.is_none() => {
            if mark == Mark::Ours {
                unmark(pass, access, &key).await?;
            }
            return Ok(());
        }
        Release::Nothing => Note::warning(
            event::LEFT_IN_CLOUD,
            "Delete",
            format!(
                "Trail {name} is left in the cloud as it is: its mark on project {} is not ours",
                access.project
            ),
        ),
        Release::Free | Release::FreeInstead => {
            let doing = format!("mark trail {name} as released");
            marks::set(pass, access, &target, &doing, |spelling| {
                [(key.clone(), owner.released_mark(spelling))].into()
            })
            .await?;
            if release == Release::Free {
                Note::normal(
                    event::RETAINED,
                    "Delete",
                    format!("Trail {name} stays in the cloud and goes on recording, marked as released"),
                )
            } else {
                let text = format!(
                    "Trail {name} was not created by this object, so it is not deleted; it goes on recording, marked as released"
                );
                Note::warning(event::RETAINED, "Delete", text)
            }
        }
        Release::Delete => {
            delete_all(pass, access, &name, &key).await?;
            let text = format!(
                "Deleted trail {name}; its log store {} and the events in it stay",
                trail_store(&name)
            );
            Note::normal(event::DELETED, "Delete", text)
        }
    };
    pass.tell(note).await;
    Ok(())
}

/// The trail, its copy job and its mark; never a store of ActionTrail's.
async fn delete_all(
    pass: &mut Pass<RamTrail>,
    access: &Access,
    name: &str,
    key: &str,
) -> Result<(), Failure> {
    let job = observe::job(pass, access, name).await?;
    let owner = pass.owner();
    if job.is_some_and(|job| owner.judge(copy_script::owner_of(&job.description)) == Mark::Ours) {
        apply::delete_job(pass, access, name).await?;
    }
    let doing = format!("delete trail {name}");
    match pass
        .change(doing, access.clients.action_trail.delete_trail(name))
        .await
    {
        Err(failure) if failure.class() == Some(Class::NotFound) => {}
        result => drop(result?),
    }
    unmark(pass, access, key).await
}

async fn unmark(pass: &mut Pass<RamTrail>, access: &Access, key: &str) -> Result<(), Failure> {
    let target = Taggable::Project(access.project.clone());
    let doing = format!("remove the mark {key} from project {}", access.project);
    match pass
        .change(doing, access.clients.log_service.untag_resources(&target, &[key]))
        .await
    {
        Err(failure) if failure.class() == Some(Class::NotFound) => Ok(()),
        result => result.map(|_| ()),
    }
}
