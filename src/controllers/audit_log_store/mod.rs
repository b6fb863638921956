//! `AuditLogStore`: a log store of our own in an AuditProject, created or adopted, with its index, kept as declared.
//!
//! A visit: project → access → who holds the name → observe → whose is it → plan → apply → report. Three mutating
//! calls create a store: CreateLogStore, TagResources with the mark, CreateIndex.

mod observe;
pub(super) mod plan;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;

use self::observe::{MarkPlace, Observed, invisible};
use self::plan::{Action, Plan, Seen, Update, Wanted};
use crate::aliyun::log_service::{NewLogStore, Taggable};
use crate::aliyun::{Class, LogStoreName};
use crate::api::condition::{self, reason};
use crate::api::v1alpha1::{AppliedLogStore, AuditLogStore, AuditProject, Claim, DeletionPolicy, Origin};
use crate::controllers::access::Access;
use crate::controllers::acquisition::{self, Decision, Release};
use crate::controllers::audit_project::is_in_account;
use crate::controllers::driver::{Children, Kind};
use crate::controllers::event::{self, Note};
use crate::controllers::failure::Failure;
use crate::controllers::index_preset;
use crate::controllers::marks;
use crate::controllers::memory::lock;
use crate::controllers::name_index::{Declarer, ExternalName};
use crate::controllers::object::Managed;
use crate::controllers::ownership::{Mark, Owner, store_key};
use crate::controllers::pass::{Pass, Report};
use crate::controllers::plan::{Effect, Step};
use crate::telemetry::TamperAction;

/// How long after a create call was answered the store may still not be shown.
const VISIBILITY: Duration = Duration::from_secs(120);
/// When the result of a change is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl Kind for AuditLogStore {
    async fn visit(pass: &mut Pass<Self>) -> Result<Report, Failure> {
        let project = project_of(pass)?;
        let access = pass.ctx.gate.open(&project, &pass.ctx.settings).await?;
        pass.uses(&access)?;
        let name = identify(pass, &access)?;
        hold_name(pass, &project, &access)?;
        if pass.enforces() {
            must_be_acquired(&project, pass.status.claim.is_some())?;
        }

        let owner = pass.owner();
        let observed = observe::whole(pass, &access, &name).await?;
        let mark = observed
            .as_ref()
            .and_then(|observed| observed.seen.mark.as_deref());
        pass.ctx.learn_spelling(&owner, mark);
        let found = observed.as_ref().map(|observed| observed.found(&owner));
        let decision = pass.decide(&access, &owner, pass.object.spec.adoption_policy, found.as_ref())?;
        let plan = make_plan(pass, &owner, &decision, observed.as_ref())?;
        if !pass.enforces() {
            pass.observed();
            return Ok(status::observe_only(pass, observed.as_ref(), &decision, &plan));
        }
        match &observed {
            None => may_create(pass, &project, &name, &decision)?,
            Some(_) => pass.is_there(),
        }
        pass.observed();
        enforce(
            pass,
            Target {
                access: &access,
                name: &name,
                owner: &owner,
            },
            observed,
            &decision,
            plan,
        )
        .await
    }

    async fn release(pass: &mut Pass<Self>) -> Result<(), Failure> {
        let delete = pass.object.spec.deletion_policy == DeletionPolicy::Delete;
        let project = match project_of(pass) {
            Ok(project) => project,
            // Nothing is lost by leaving it, and nobody is left who could say with which credentials.
            Err(_) if !delete => {
                let text = format!(
                    "Log store {} stays in the cloud with its mark: its AuditProject is gone, and its credentials with it",
                    pass.object.effective_name()
                );
                pass.tell(Note::warning(event::LEFT_IN_CLOUD, "Delete", text))
                    .await;
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let access = pass.ctx.gate.open(&project, &pass.ctx.settings).await?;
        pass.uses(&access)?;
        let name = identify(pass, &access)?;
        let owner = pass.owner();
        let observed = match observe::marked(pass, &access, &name).await {
            // What we have asked to be deleted and may no longer see is gone.
            Err(failure) if delete_was_sent(pass) && failure.is_refusal() => None,
            result => result?,
        };
        let found = observed.as_ref().map(|observed| observed.found(&owner));
        pass.observed();
        let claim = pass
            .object
            .status
            .as_ref()
            .and_then(|status| status.claim.as_ref());
        let target = Target {
            access: &access,
            name: &name,
            owner: &owner,
        };
        match acquisition::release(&pass.object, claim, found.as_ref(), delete) {
            Release::Nothing if found.is_none() => unmark_project(pass, target).await,
            Release::Nothing => {
                let text = format!(
                    "Log store {name} is left in the cloud as it is: it does not carry the mark of this object"
                );
                pass.tell(Note::warning(event::LEFT_IN_CLOUD, "Delete", text))
                    .await;
                Ok(())
            }
            Release::Free => {
                free(pass, target).await?;
                let text = format!("Log store {name} and its logs stay in the cloud, marked as released");
                pass.tell(Note::normal(event::RETAINED, "Delete", text)).await;
                Ok(())
            }
            Release::FreeInstead => {
                free(pass, target).await?;
                let text = format!(
                    "Log store {name} was not created by this object, so it is not deleted; it stays, marked as released"
                );
                pass.tell(Note::warning(event::RETAINED, "Delete", text)).await;
                Ok(())
            }
            Release::Delete => delete_store(pass, target).await,
        }
    }

    fn children(pass: &Pass<Self>) -> Children {
        let id = pass.id();
        let mut children = Children::default();
        let trails = pass.ctx.cluster.trails_into(&id.namespace, &id.name);
        children.add(trails.iter().map(|trail| &**trail));
        children
    }

    fn cloud_side(pass: &Pass<Self>) -> Option<String> {
        let name = pass.object.effective_name();
        let arn = pass.status.arn.clone();
        pass.object
            .has_acquired()
            .then(|| arn.unwrap_or_else(|| format!("log store {name}")))
    }
}

/// What is acted on, and as whom.
#[derive(Clone, Copy)]
struct Target<'a> {
    access: &'a Access,
    name: &'a LogStoreName,
    owner: &'a Owner,
}

/// The AuditProject that is referred to.
fn project_of(pass: &Pass<AuditLogStore>) -> Result<Arc<AuditProject>, Failure> {
    let (namespace, name) = (pass.id().namespace, &pass.object.spec.project_ref.name);
    pass.ctx.cluster.project(&namespace, name).ok_or_else(|| {
        Failure::waiting(
            reason::PROJECT_NOT_FOUND,
            format!("There is no AuditProject {name} in namespace {namespace}. Create it, or correct spec.projectRef"),
        )
    })
}

/// Waits until the project is there; what was acquired before is looked after in any case.
fn must_be_acquired(project: &AuditProject, acquired: bool) -> Result<(), Failure> {
    let status = project.status.as_ref();
    if acquired || status.is_some_and(|status| status.claim.is_some()) {
        return Ok(());
    }
    let why = status
        .and_then(|status| condition::find(&status.conditions, condition::READY))
        .map_or_else(String::new, |ready| {
            format!(" ({}: {})", ready.reason, ready.message)
        });
    Err(Failure::waiting(
        reason::WAITING_FOR_PROJECT,
        format!("AuditProject {} is not ready yet{why}", project.name_any()),
    ))
}

/// What follows from access and spec alone.
fn identify(pass: &mut Pass<AuditLogStore>, access: &Access) -> Result<LogStoreName, Failure> {
    let name = LogStoreName::new(pass.object.effective_name())
        .map_err(|error| Failure::stalled(reason::INVALID_SPEC, format!("spec.logStoreName: {error}")))?;
    if pass
        .status
        .project_name
        .as_deref()
        .is_some_and(|before| before != access.project.as_str())
    {
        // The AuditProject was made again with another name: what was claimed lies elsewhere.
        pass.status.claim = None;
        pass.status.pending_create = None;
        pass.status.applied = None;
    }
    pass.status.log_store_name = Some(name.to_string());
    pass.status.project_name = Some(access.project.to_string());
    pass.status.arn = Some(format!("{}/logstore/{name}", access.project_arn()));
    Ok(name)
}

/// Lets only one object of the cluster act on a store.
fn hold_name(pass: &Pass<AuditLogStore>, project: &AuditProject, access: &Access) -> Result<(), Failure> {
    let name = ExternalName::LogStore {
        account: access.account.clone(),
        project: access.project.to_string(),
        name: pass.object.effective_name().to_owned(),
    };
    let me = &pass.object;
    let cluster = &pass.ctx.cluster;
    let rivals: Vec<Declarer> = cluster
        .log_stores_named(me.effective_name())
        .iter()
        .filter(|other| other.uid() != me.uid())
        .filter(|other| {
            cluster
                .project(
                    &other.namespace().unwrap_or_default(),
                    &other.spec.project_ref.name,
                )
                .is_some_and(|theirs| {
                    theirs.effective_name() == project.effective_name()
                        && is_in_account(&theirs, project, &access.account)
                })
        })
        .map(|other| Declarer::from(&**other))
        .collect();
    let what = format!("Log store {} of project {}", me.effective_name(), access.project);
    pass.hold_name(&name, &rivals, &what)
}

fn make_plan(
    pass: &Pass<AuditLogStore>,
    owner: &Owner,
    decision: &Decision,
    observed: Option<&Observed>,
) -> Result<Plan, Failure> {
    let wanted = Wanted {
        spec: &pass.object.spec,
        name: pass.object.effective_name(),
        applied: pass.status.applied.as_ref(),
        owner,
    };
    plan::plan(&wanted, decision, observed.map(|observed| &observed.seen))
}

/// A store that we have just created and that is not shown yet is not created again; nothing is created in a project
/// that goes.
fn may_create(
    pass: &Pass<AuditLogStore>,
    project: &AuditProject,
    name: &LogStoreName,
    decision: &Decision,
) -> Result<(), Failure> {
    if project.is_deleting() {
        return Err(Failure::waiting(
            reason::WAITING_FOR_PROJECT,
            format!("AuditProject {} is being deleted", project.name_any()),
        ));
    }
    let created = lock(&pass.memory).created_at;
    if created.is_some_and(|at| at.elapsed() < VISIBILITY) {
        return Err(invisible(name));
    }
    if lock(&pass.memory).is_taken(Instant::now()) {
        return Err(taken(name));
    }
    if *decision == Decision::CreateAgain && !pass.is_gone() {
        return Err(Failure::waiting_soon(
            reason::AWAITING_VISIBILITY,
            format!("Log store {name} is not shown; it is looked for once more before it is created again"),
        ));
    }
    Ok(())
}

/// Brings about what is planned. What was found weakened is said to be so when it cannot be put right.
async fn enforce(
    pass: &mut Pass<AuditLogStore>,
    target: Target<'_>,
    observed: Option<Observed>,
    decision: &Decision,
    plan: Plan,
) -> Result<Report, Failure> {
    let found = Instant::now();
    let drift = drifted(pass, decision, &plan, observed.as_ref(), target.owner);
    let result = converge(pass, target, observed, decision, plan, &drift).await;
    pass.time_repair(!drift.is_empty(), found, result.is_ok());
    if let Err(failure) = &result {
        if !drift.is_empty() {
            pass.state(&status::weakened(&drift));
        }
        // While something must become visible first, it is neither put right nor not.
        if !failure.is_passing() {
            tell_drift(pass, &drift, false).await;
        }
    }
    result
}

async fn converge(
    pass: &mut Pass<AuditLogStore>,
    target: Target<'_>,
    mut observed: Option<Observed>,
    decision: &Decision,
    plan: Plan,
    drift: &[Drift],
) -> Result<Report, Failure> {
    let Plan { mut steps, excess } = plan;
    if let Some(Action::Create {
        retention_days,
        shard_count,
        append_meta,
    }) = steps.first().map(|step| step.action.clone())
    {
        steps.remove(0);
        let new = NewLogStore {
            name: target.name.clone(),
            retention_days: retention_days.into(),
            shard_count: shard_count.into(),
            append_meta,
        };
        observed = Some(create(pass, target, &new).await?);
    }
    let Some(mut observed) = observed else {
        // The plan of a store that is missing begins with its creation.
        return Err(invisible(target.name));
    };
    // The mark comes first, and only when it was read back the store is ours.
    if let Some(position) = steps.iter().position(|step| step.action == Action::Mark) {
        steps.remove(position);
        mark(pass, target, &mut observed).await?;
    }
    let origin = match decision {
        Decision::Create | Decision::CreateAgain => Some(Origin::Created),
        Decision::Take(origin) => Some(*origin),
        Decision::Keep | Decision::Contested => None,
    };
    if let Some(origin) = origin {
        acquire(pass, &observed, origin, target.owner).await;
    }
    for step in &steps {
        apply(pass, target, &mut observed, step, decision).await?;
    }
    tell_changes(pass, &steps, decision, drift).await;
    tell_drift(pass, drift, true).await;
    show(pass, &observed);
    if *decision != Decision::Contested {
        pass.status.applied = Some(AppliedLogStore {
            retention_days: Some(pass.object.spec.retention_days),
            append_meta: pass.object.spec.append_meta,
            index_types: observed
                .seen
                .index
                .as_ref()
                .map(index_preset::typed_keys)
                .unwrap_or_default(),
        });
    }
    let left = if *decision == Decision::Contested {
        None
    } else {
        pass.confirm()
    };
    let found = observed.found(target.owner);
    // What was changed is looked at, not taken for done.
    let look = changed(decision, &steps).then_some(LOOK_AGAIN);
    Ok(
        status::enforced(pass, &found, decision, &excess, !drift.is_empty())
            .again_in(left)
            .again_in(look),
    )
}

/// Whether a store that was ours already was changed, mark apart, which is read back at once.
fn changed(decision: &Decision, steps: &[Step<Action>]) -> bool {
    matches!(decision, Decision::Keep | Decision::Contested) && !steps.is_empty()
}

/// What was found, for status and metrics.
fn show(pass: &mut Pass<AuditLogStore>, observed: &Observed) {
    let days = observed
        .seen
        .retention_days
        .and_then(|days| i32::try_from(days).ok());
    pass.status.retention_days = days;
    pass.status.shard_count = observed
        .seen
        .shard_count
        .and_then(|count| i32::try_from(count).ok());
    pass.status.data_since = observed.create_time.map(crate::controllers::pass::second);
    let id = pass.id();
    pass.ctx
        .metrics
        .set_log_store_retention(&id.namespace, &id.name, days);
}

/// Something that was changed from outside.
#[derive(Debug)]
struct Drift {
    action: TamperAction,
    field: &'static str,
    text: String,
}

/// What was changed from outside since the store was converged.
fn drifted(
    pass: &Pass<AuditLogStore>,
    decision: &Decision,
    plan: &Plan,
    observed: Option<&Observed>,
    owner: &Owner,
) -> Vec<Drift> {
    let name = pass.object.effective_name();
    let deleted = |text: String| Drift {
        action: TamperAction::Deleted,
        field: "logStoreName",
        text,
    };
    match decision {
        Decision::CreateAgain => {
            return vec![deleted(format!(
                "log store {name} was deleted; a new one was created, and its logs are lost"
            ))];
        }
        // Ours, and shown only now.
        Decision::Take(Origin::Created) if pass.status.claim.is_some() => {
            return vec![deleted(format!(
                "log store {name} was deleted; a new one was created, and its logs are lost"
            ))];
        }
        Decision::Take(Origin::Adopted) if pass.status.claim.is_some() => {
            return vec![deleted(format!(
                "log store {name} was deleted and another one was made under its name"
            ))];
        }
        Decision::Keep | Decision::Contested => {}
        Decision::Create | Decision::Take(_) => return Vec::new(),
    }
    // Before the first convergence nothing was there that could have been changed.
    let (Some(applied), Some(observed)) = (pass.status.applied.as_ref(), observed) else {
        return Vec::new();
    };
    let mut drift = Vec::new();
    let mut found_changed = |action, field, text| drift.push(Drift { action, field, text });
    for step in plan.steps.iter().filter(|step| step.effect == Effect::Protect) {
        match &step.action {
            Action::Mark => {
                let text = match observed.found(owner).mark {
                    Mark::Foreign(mark) => format!("the mark on log store {name} was changed to {mark}"),
                    Mark::ReleasedByUs => format!("the mark on log store {name} was changed to released"),
                    _ => format!("the mark on log store {name} was removed"),
                };
                found_changed(TamperAction::MarkChanged, step.field, text);
            }
            Action::Update {
                retention_days,
                forbid_anonymous,
            } => {
                let found = observed.seen.retention_days.unwrap_or_default();
                let before = applied.retention_days.unwrap_or_default();
                // Below what was converged: not because the spec rose.
                if retention_days.is_some() && found < i64::from(before) {
                    let text = format!(
                        "the retention of log store {name} was lowered from {before} to {found} days"
                    );
                    found_changed(TamperAction::RetentionReduced, step.field, text);
                }
                if *forbid_anonymous {
                    let text = format!("writing to log store {name} without a signature was allowed");
                    found_changed(TamperAction::Other, "anonymousWriting", text);
                }
            }
            // Switched on for the first time, nothing was taken away.
            Action::AppendMeta(_) if applied.append_meta != Some(true) => {}
            Action::AppendMeta(_) => {
                let text = format!("log store {name} no longer added origin and arrival to each log");
                found_changed(TamperAction::Other, step.field, text);
            }
            Action::CreateIndex(_) => {
                let text = format!("the index of log store {name} was removed");
                found_changed(TamperAction::IndexReduced, step.field, text);
            }
            Action::UpdateIndex(_) => {
                let lacks = step.text.split_once(": ").map_or("", |(_, lacks)| lacks);
                let text = format!("the index of log store {name} lacked {lacks}");
                found_changed(TamperAction::IndexReduced, step.field, text);
            }
            Action::Create { .. } => {}
        }
    }
    drift
}

async fn tell_drift(pass: &mut Pass<AuditLogStore>, drift: &[Drift], repaired: bool) {
    for Drift { action, field, text } in drift {
        pass.ctx.metrics.drift_detected(AuditLogStore::KIND.into(), field);
        if repaired {
            pass.ctx.metrics.drift_repaired(AuditLogStore::KIND.into(), field);
        }
        pass.tampered(*action, text, repaired).await;
    }
}

/// Changes that the spec asked for.
async fn tell_changes(
    pass: &Pass<AuditLogStore>,
    steps: &[Step<Action>],
    decision: &Decision,
    drift: &[Drift],
) {
    if *decision != Decision::Keep {
        return;
    }
    for step in steps
        .iter()
        .filter(|step| matches!(step.action, Action::Update { .. } | Action::AppendMeta(_)))
    {
        if !drift.iter().any(|drift| drift.field == step.field) {
            pass.tell(Note::normal(
                event::UPDATED,
                "Update",
                format!("Did: {}", step.text),
            ))
            .await;
        }
    }
}

/// Creates the store and reads it. One that exists and was not shown is judged by the next visit, with its mark and its
/// creation time: it may be what an earlier call of ours made, and it may be another's.
async fn create(
    pass: &mut Pass<AuditLogStore>,
    target: Target<'_>,
    new: &NewLogStore,
) -> Result<Observed, Failure> {
    let Target { access, name, .. } = target;
    let log_service = access.clients.protective().log_service;
    let doing = format!("create log store {name} in project {}", access.project);
    let call = log_service.create_log_store(&access.project, new);
    match pass.create(access, doing, call).await {
        // A store name is taken within its project only, so it will be shown.
        Err(failure) if failure.class() == Some(Class::AlreadyExists) => {
            lock(&pass.memory).taken_at = Some(Instant::now());
            return Err(taken(name));
        }
        Err(failure) if failure.class() == Some(Class::NotFound) => {
            return Err(Failure::waiting_soon(
                reason::AWAITING_VISIBILITY,
                format!(
                    "Project {} is not shown everywhere by Log Service yet",
                    access.project
                ),
            ));
        }
        result => drop(result?),
    }
    observe::store(pass, access, name)
        .await?
        .ok_or_else(|| invisible(name))
}

/// Log Service refused a create because the store exists, and shows none.
fn taken(name: &LogStoreName) -> Failure {
    Failure::waiting_soon(
        reason::AWAITING_VISIBILITY,
        format!("Log store {name} exists and is not shown by Log Service yet"),
    )
}

/// Writes the mark and reads it back.
async fn mark(
    pass: &mut Pass<AuditLogStore>,
    target: Target<'_>,
    observed: &mut Observed,
) -> Result<(), Failure> {
    let Target { access, name, owner } = target;
    if pass.ctx.log_store_tags().is_none() {
        // One look tells where marks lie; a write there would be refused.
        observe::marks(pass, access, name).await?;
    }
    let place = MarkPlace::new(pass, access, name);
    write_mark(pass, target, &place, false).await?;
    let (tags, key) = observe::marks(pass, access, name).await?;
    observed.take_tags(tags, &key);
    marks::must_be_ours(owner, &observed.tags, &key, &format!("log store {name}"))
}

/// Sets the mark where it lies, as ours or as released.
async fn write_mark(
    pass: &mut Pass<AuditLogStore>,
    target: Target<'_>,
    place: &MarkPlace,
    released: bool,
) -> Result<(), Failure> {
    let Target { access, name, owner } = target;
    let doing = format!("mark log store {name} of project {}", access.project);
    let result = marks::set(pass, access, &place.target, &doing, |spelling| {
        if released {
            return [(place.key.clone(), owner.released_mark(spelling))].into();
        }
        if place.on_project {
            return [(place.key.clone(), owner.mark(spelling))].into();
        }
        marks::own_marks(owner, spelling)
    });
    match result.await {
        // It was there a moment ago.
        Err(failure) if failure.class() == Some(Class::NotFound) => Err(invisible(name)),
        result => result,
    }
}

async fn apply(
    pass: &mut Pass<AuditLogStore>,
    target: Target<'_>,
    observed: &mut Observed,
    step: &Step<Action>,
    decision: &Decision,
) -> Result<(), Failure> {
    let Target { access, name, .. } = target;
    let project = &access.project;
    let log_service = access.clients.protective().log_service;
    let result = match &step.action {
        // Both are done before.
        Action::Create { .. } | Action::Mark => Ok(()),
        Action::Update { retention_days, .. } => {
            update(pass, target, observed, |found| {
                plan::update_of(found, *retention_days, step.effect)
            })
            .await
        }
        Action::AppendMeta(on) => {
            update(pass, target, observed, |found| plan::append_meta_of(found, *on)).await
        }
        Action::CreateIndex(index) => {
            let doing = format!("create the index of log store {name} of project {project}");
            match pass
                .change(doing, log_service.create_index(project, name, index))
                .await
            {
                // Somebody, or a call of ours whose answer was lost, was faster: the next look compares it.
                Err(failure) if failure.class() == Some(Class::AlreadyExists) => {
                    return Err(Failure::waiting_soon(
                        reason::AWAITING_VISIBILITY,
                        format!("The index of log store {name} exists and is not shown yet"),
                    ));
                }
                done => done.map(|_| observed.seen.index = Some(index.clone())),
            }
        }
        Action::UpdateIndex(_) => restore_index(pass, target, observed, decision).await,
    };
    match result {
        Err(failure) if failure.class() == Some(Class::NotFound) => Err(invisible(name)),
        result => result,
    }
}

/// Sends the configuration. It goes whole and the cloud does not compare, so it is read anew right before: what somebody raised
/// since the visit looked stays raised.
async fn update(
    pass: &mut Pass<AuditLogStore>,
    target: Target<'_>,
    observed: &mut Observed,
    left: impl FnOnce(&Seen) -> Update,
) -> Result<(), Failure> {
    let Target { access, name, .. } = target;
    let Some(fresh) = observe::store(pass, access, name)
        .await?
        .filter(|fresh| fresh.create_time == observed.create_time)
    else {
        return Err(invisible(name));
    };
    let now = left(&fresh.seen);
    observed.seen.retention_days = now.days_after(&fresh.seen);
    observed.seen.anonymous_writing = false;
    observed.seen.append_meta = now.append_meta.unwrap_or(fresh.seen.append_meta);
    observed.store = fresh.store;
    if let Some(days) = now.retention_days {
        observed.store.set_retention_days(days.into());
    }
    if now.forbid_anonymous {
        observed.store.set_anonymous_writing(false);
    }
    if let Some(on) = now.append_meta {
        observed.store.set_append_meta(on);
    }
    if now.is_nothing() {
        return Ok(());
    }
    let doing = format!("update log store {name} of project {}", access.project);
    let log_service = access.clients.protective().log_service;
    let call = log_service.update_log_store(&access.project, name, &observed.store);
    pass.change(doing, call).await.map(|_| ())
}

/// Sends the index with what it lacks, as it is now.
async fn restore_index(
    pass: &mut Pass<AuditLogStore>,
    target: Target<'_>,
    observed: &mut Observed,
    decision: &Decision,
) -> Result<(), Failure> {
    let Target { access, name, .. } = target;
    let project = &access.project;
    let log_service = access.clients.protective().log_service;
    let doing = format!("read the index of log store {name} of project {project}");
    let fresh = pass.read(doing, log_service.get_index(project, name)).await?;
    let typed = plan::typed_before(pass.status.applied.as_ref(), decision);
    let repair = index_preset::repair(&fresh, typed);
    if !repair.missing.is_empty() {
        let doing = format!("restore the index of log store {name} of project {project}");
        pass.change(doing, log_service.update_index(project, name, &repair.index))
            .await?;
    }
    observed.seen.index = Some(repair.index);
    Ok(())
}

async fn acquire(pass: &mut Pass<AuditLogStore>, observed: &Observed, origin: Origin, owner: &Owner) {
    let name = pass.object.effective_name().to_owned();
    let again = pass.status.claim.is_some();
    pass.acquired(Claim {
        origin,
        external_name: name.clone(),
        create_time: observed.found(owner).create_time,
        confirmed: None,
    });
    let note = match origin {
        Origin::Created if again => {
            let text = format!("Log store {name} was gone and was created again: its logs are lost");
            Note::warning(event::CREATED_AGAIN, "Create", text)
        }
        Origin::Created => Note::normal(event::CREATED, "Create", format!("Created log store {name}")),
        Origin::Adopted => Note::normal(
            event::ADOPTED,
            "Adopt",
            format!("Took over log store {name}, which existed"),
        ),
    };
    pass.tell(note).await;
}

/// Rewrites the mark so that it says: this was ours, and we let it go.
async fn free(pass: &mut Pass<AuditLogStore>, target: Target<'_>) -> Result<(), Failure> {
    let place = MarkPlace::new(pass, target.access, target.name);
    write_mark(pass, target, &place, true).await
}

async fn delete_store(pass: &mut Pass<AuditLogStore>, target: Target<'_>) -> Result<(), Failure> {
    let Target { access, name, .. } = target;
    lock(&pass.memory).slot::<Released>().delete_sent = true;
    let doing = format!("delete log store {name} of project {}", access.project);
    match pass
        .change(
            doing,
            access.clients.log_service.delete_log_store(&access.project, name),
        )
        .await
    {
        Err(failure) if failure.class() == Some(Class::NotFound) => {}
        result => drop(result?),
    }
    if MarkPlace::new(pass, access, name).on_project {
        unmark(pass, target).await?;
    }
    pass.tell(Note::normal(
        event::DELETED,
        "Delete",
        format!("Deleted log store {name} with its logs"),
    ))
    .await;
    Ok(())
}

/// Removes the mark that lies on the project because stores cannot be tagged.
async fn unmark(pass: &mut Pass<AuditLogStore>, target: Target<'_>) -> Result<(), Failure> {
    let Target { access, name, .. } = target;
    let doing = format!(
        "remove the mark of log store {name} from project {}",
        access.project
    );
    let log_service = access.clients.log_service.clone();
    let place = Taggable::Project(access.project.clone());
    match pass
        .change(
            doing,
            log_service.untag_resources(&place, &[&store_key(name.as_str())]),
        )
        .await
    {
        Err(failure) if failure.class() == Some(Class::NotFound) => Ok(()),
        result => result.map(|_| ()),
    }
}

/// The store is gone. An operator that ended between its deletion and the removal of its mark left the mark on the project, and
/// the next one does not know whether stores can be tagged.
async fn unmark_project(pass: &mut Pass<AuditLogStore>, target: Target<'_>) -> Result<(), Failure> {
    let Target { access, name, owner } = target;
    let doing = format!("read the tags of project {}", access.project);
    let place = Taggable::Project(access.project.clone());
    let tags = match pass
        .read(doing, access.clients.log_service.list_tag_resources(&place))
        .await
    {
        // With the project its tags are gone; what may not be seen keeps no object from going.
        Err(failure) if failure.class() == Some(Class::NotFound) || failure.is_refusal() => return Ok(()),
        result => result?,
    };
    let mark = tags.get(&store_key(name.as_str())).map(String::as_str);
    if owner.judge(mark) == Mark::Ours {
        unmark(pass, target).await?;
    }
    Ok(())
}

/// What is remembered of a deletion.
#[derive(Debug, Default)]
struct Released {
    delete_sent: bool,
}

fn delete_was_sent(pass: &Pass<AuditLogStore>) -> bool {
    lock(&pass.memory).slot::<Released>().delete_sent
}
