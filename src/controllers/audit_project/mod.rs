//! `AuditProject`: a Log Service project, created or adopted, kept as declared.
//!
//! A visit: access → who holds the name → observe → whose is it → plan → apply → report. Two mutating calls create a
//! project: CreateProject, and TagResources with the marks and the user's tags.

mod observe;
pub(super) mod plan;
mod status;

use std::time::{Duration, Instant};

use kube::ResourceExt;

use self::observe::Observed;
use self::plan::{Action, Wanted};
use crate::aliyun::Class;
use crate::aliyun::endpoint::project_host;
use crate::aliyun::log_service::Taggable;
use crate::api::condition::reason;
use crate::api::v1alpha1::{AuditProject, Claim, DeletionPolicy, Origin};
use crate::controllers::access::Access;
use crate::controllers::acquisition::{self, Decision, Release};
use crate::controllers::driver::{Children, Kind};
use crate::controllers::event::{self, Note};
use crate::controllers::failure::Failure;
use crate::controllers::marks;
use crate::controllers::memory::lock;
use crate::controllers::name_index::{Declarer, ExternalName};
use crate::controllers::object::Managed;
use crate::controllers::ownership::{Mark, OWNER_KEY, Owner};
use crate::controllers::pass::{Pass, Report};
use crate::controllers::plan::{Effect, Step, describe};
use crate::telemetry::TamperAction;

/// How long after a create call was answered the project may still not be shown.
const VISIBILITY: Duration = Duration::from_secs(120);

/// How long a project must have looked empty before it is deleted.
const EMPTY: Duration = Duration::from_secs(5);

impl Kind for AuditProject {
    async fn visit(pass: &mut Pass<Self>) -> Result<Report, Failure> {
        let access = pass.ctx.gate.open(&pass.object, &pass.ctx.settings).await?;
        pass.uses(&access)?;
        identify(pass, &access);
        hold_name(pass, &access)?;

        let owner = pass.owner();
        let observed = match observe::whole(pass, &access).await {
            Err(failure) if failure.class() == Some(Class::Foreign) && pass.status.claim.is_none() => {
                return Err(name_taken(&access));
            }
            result => result?,
        };
        let mark = observed
            .as_ref()
            .and_then(|observed| observed.seen.tags.get(OWNER_KEY));
        pass.ctx.learn_spelling(&owner, mark.map(String::as_str));
        let found = observed.as_ref().map(|observed| observed.found(&owner));
        let decision = pass.decide(&access, &owner, pass.object.spec.adoption_policy, found.as_ref())?;
        let steps = make_plan(pass, &owner, &decision, observed.as_ref())?;
        if !pass.enforces() {
            pass.observed();
            return Ok(status::observe_only(pass, observed.as_ref(), &decision, &steps));
        }
        match &observed {
            None => may_create(pass, &access, &decision)?,
            Some(_) => pass.is_there(),
        }
        pass.observed();
        enforce(pass, &access, &owner, observed, decision, steps).await
    }

    async fn release(pass: &mut Pass<Self>) -> Result<(), Failure> {
        let access = pass.ctx.gate.open(&pass.object, &pass.ctx.settings).await?;
        pass.uses(&access)?;
        let owner = pass.owner();
        let observed = match observe::whole(pass, &access).await {
            // What we have asked to be deleted and may no longer see is gone.
            Err(failure) if delete_was_sent(pass) && failure.is_refusal() => None,
            result => result?,
        };
        let found = observed.as_ref().map(|observed| observed.found(&owner));
        let delete = pass.object.spec.deletion_policy == DeletionPolicy::Delete;
        pass.observed();
        match acquisition::release(
            &pass.object,
            pass.object.status.as_ref().and_then(|s| s.claim.as_ref()),
            found.as_ref(),
            delete,
        ) {
            Release::Nothing if found.is_none() => Ok(()),
            Release::Nothing => {
                let text = format!(
                    "Project {} is left in the cloud as it is: it does not carry the mark of this object",
                    access.project
                );
                pass.tell(Note::warning(event::LEFT_IN_CLOUD, "Delete", text))
                    .await;
                Ok(())
            }
            Release::Free => {
                free(pass, &access, &owner).await?;
                let text = format!(
                    "Project {} stays in the cloud, marked as released",
                    access.project
                );
                pass.tell(Note::normal(event::RETAINED, "Delete", text)).await;
                Ok(())
            }
            Release::FreeInstead => {
                free(pass, &access, &owner).await?;
                let text = format!(
                    "Project {} was not created by this object, so it is not deleted; it stays, marked as released",
                    access.project
                );
                pass.tell(Note::warning(event::RETAINED, "Delete", text)).await;
                Ok(())
            }
            Release::Delete => delete_if_empty(pass, &access, &owner).await,
        }
    }

    fn children(pass: &Pass<Self>) -> Children {
        let id = pass.id();
        let cluster = &pass.ctx.cluster;
        let mut children = Children::default();
        children.add(
            cluster
                .log_stores_of(&id.namespace, &id.name)
                .iter()
                .map(|child| &**child),
        );
        children.add(
            cluster
                .trails_of(&id.namespace, &id.name)
                .iter()
                .map(|child| &**child),
        );
        children
    }

    fn cloud_side(pass: &Pass<Self>) -> Option<String> {
        let status = &pass.status;
        let name = pass.object.effective_name();
        pass.object
            .has_acquired()
            .then(|| status.arn.clone().unwrap_or_else(|| format!("project {name}")))
    }
}

/// What follows from access and spec alone.
fn identify(pass: &mut Pass<AuditProject>, access: &Access) {
    pass.status.project_name = Some(access.project.to_string());
    pass.status.arn = Some(access.project_arn());
    pass.status.endpoint = Some(project_host(
        &access.project,
        access.region(),
        pass.ctx.settings.network,
    ));
}

/// Lets only one object of the cluster act on a project.
fn hold_name(pass: &Pass<AuditProject>, access: &Access) -> Result<(), Failure> {
    let name = ExternalName::Project {
        account: access.account.clone(),
        name: access.project.to_string(),
    };
    let me = &pass.object;
    let rivals: Vec<Declarer> = pass
        .ctx
        .cluster
        .projects_named(me.effective_name())
        .iter()
        .filter(|other| other.uid() != me.uid() && is_in_account(other, me, &access.account))
        .map(|other| Declarer::from(&**other))
        .collect();
    pass.hold_name(&name, &rivals, &format!("Project {}", access.project))
}

/// Whether another object works in this account, as far as it is known: by its status or pin, or because it uses the
/// same credentials as `me`.
pub fn is_in_account(other: &AuditProject, me: &AuditProject, account: &str) -> bool {
    let known = other
        .status
        .as_ref()
        .and_then(|s| s.account_id.as_deref())
        .or(other.spec.account_id.as_deref());
    known.map_or_else(
        || match (&other.spec.credentials, &me.spec.credentials) {
            (None, None) => true,
            (Some(a), Some(b)) => other.namespace() == me.namespace() && a == b,
            _ => false,
        },
        |known| known == account,
    )
}

fn make_plan(
    pass: &Pass<AuditProject>,
    owner: &Owner,
    decision: &Decision,
    observed: Option<&Observed>,
) -> Result<Vec<Step<Action>>, Failure> {
    let wanted = Wanted {
        spec: &pass.object.spec,
        name: pass.object.effective_name(),
        applied: pass.status.applied.as_ref(),
        owner,
        spelling: pass.ctx.spelling(),
    };
    plan::plan(&wanted, decision, observed.map(|observed| &observed.seen))
}

/// A project that we have just created and that is not shown yet is not created again.
fn may_create(pass: &Pass<AuditProject>, access: &Access, decision: &Decision) -> Result<(), Failure> {
    let created = lock(&pass.memory).created_at;
    if created.is_some_and(|at| at.elapsed() < VISIBILITY) {
        return Err(invisible(access));
    }
    if *decision == Decision::CreateAgain && !pass.is_gone() {
        return Err(Failure::waiting_soon(
            reason::AWAITING_VISIBILITY,
            format!(
                "Project {} is not shown; it is looked for once more before it is created again",
                access.project
            ),
        ));
    }
    Ok(())
}

fn invisible(access: &Access) -> Failure {
    Failure::waiting_soon(
        reason::AWAITING_VISIBILITY,
        format!(
            "Project {} was created, or may have been, and is not shown by Log Service yet",
            access.project
        ),
    )
}

/// Brings about what is planned. What was found weakened is said to be so when it cannot be put right.
async fn enforce(
    pass: &mut Pass<AuditProject>,
    access: &Access,
    owner: &Owner,
    observed: Option<Observed>,
    decision: Decision,
    steps: Vec<Step<Action>>,
) -> Result<Report, Failure> {
    let found = Instant::now();
    let drift = drifted(pass, &decision, &steps, observed.as_ref(), owner);
    let result = converge(pass, access, owner, observed, decision, steps, &drift).await;
    let weakened = drift.iter().any(|drift| drift.tamper.is_some());
    pass.time_repair(weakened, found, result.is_ok());
    if let Err(failure) = &result {
        pass.state(&status::weakened(&drift));
        // While something must become visible first, it is neither put right nor not.
        if !failure.is_passing() {
            tell_drift(pass, &drift, false).await;
        }
    }
    result
}

async fn converge(
    pass: &mut Pass<AuditProject>,
    access: &Access,
    owner: &Owner,
    mut observed: Option<Observed>,
    decision: Decision,
    mut steps: Vec<Step<Action>>,
    drift: &[Drift],
) -> Result<Report, Failure> {
    let lost = decision == Decision::CreateAgain;
    if steps.first().is_some_and(|step| step.action == Action::Create) {
        steps.remove(0);
        observed = Some(create(pass, access).await?);
    }
    let Some(mut observed) = observed else {
        // The plan of a project that is missing begins with its creation.
        return Err(invisible(access));
    };
    let origin = plan::origin(&decision);
    // The mark comes first, and only when it was read back the project is ours.
    let marking = steps
        .iter()
        .position(|step| matches!(step.action, Action::Tag { marks: true, .. }));
    if let Some(position) = marking {
        let step = steps.remove(position);
        apply(pass, access, owner, &step.action).await?;
        observed.seen.tags = observe::tags(pass, access).await?;
        marks::must_be_ours(
            owner,
            &observed.seen.tags,
            OWNER_KEY,
            &format!("project {}", access.project),
        )?;
    }
    if let Some(origin) = origin {
        acquire(pass, &observed, origin, lost).await;
    }
    for step in &steps {
        apply(pass, access, owner, &step.action).await?;
    }
    tell_changes(pass, &steps, &decision, drift).await;
    tell_drift(pass, drift, true).await;
    pass.status.data_since.clone_from(&observed.seen.create_time);
    if decision != Decision::Contested {
        pass.status.applied = Some(plan::applied(&pass.object.spec));
    }
    let left = if decision == Decision::Contested {
        None
    } else {
        pass.confirm()
    };
    Ok(status::enforced(pass, &observed.found(owner), &decision, !drift.is_empty()).again_in(left))
}

/// What was changed from outside since this generation was converged.
fn drifted(
    pass: &Pass<AuditProject>,
    decision: &Decision,
    steps: &[Step<Action>],
    observed: Option<&Observed>,
    owner: &Owner,
) -> Vec<Drift> {
    let mut drift = Vec::new();
    let name = pass.object.effective_name();
    if *decision == Decision::CreateAgain {
        drift.push(Drift {
            tamper: Some(TamperAction::Deleted),
            field: "projectName",
            text: recreated(name),
        });
    }
    if matches!(decision, Decision::Take(_)) && pass.status.claim.is_some() {
        let text = if decision == &Decision::Take(Origin::Created) {
            // Ours, and shown only now.
            recreated(name)
        } else {
            format!("project {name} was deleted and another one was made under its name")
        };
        drift.push(Drift {
            tamper: Some(TamperAction::Deleted),
            field: "projectName",
            text,
        });
    }
    // Before the first convergence nothing was there that could have been changed.
    if *decision != Decision::Keep || pass.status.applied.is_none() {
        return drift;
    }
    let converged = pass.status.applied_generation == pass.object.metadata.generation;
    for step in steps {
        if step.effect == Effect::Protect {
            let found = observed.map(|observed| observed.found(owner).mark);
            let text = match found {
                Some(Mark::Foreign(mark)) => format!("the mark on project {name} was changed to {mark}"),
                Some(Mark::ReleasedByUs) => format!("the mark on project {name} was changed to released"),
                _ => format!("the mark on project {name} was removed"),
            };
            drift.push(Drift {
                tamper: Some(TamperAction::MarkChanged),
                field: step.field,
                text,
            });
        } else if converged {
            drift.push(Drift {
                tamper: None,
                field: step.field,
                text: step.text.clone(),
            });
        }
    }
    drift
}

fn recreated(name: &str) -> String {
    format!("project {name} was deleted; what it held is lost")
}

#[derive(Debug)]
struct Drift {
    tamper: Option<TamperAction>,
    field: &'static str,
    text: String,
}

async fn tell_drift(pass: &mut Pass<AuditProject>, drift: &[Drift], repaired: bool) {
    for Drift { tamper, field, text } in drift {
        pass.ctx.metrics.drift_detected(AuditProject::KIND.into(), field);
        if repaired {
            pass.ctx.metrics.drift_repaired(AuditProject::KIND.into(), field);
        }
        if let Some(action) = tamper {
            pass.tampered(*action, text, repaired).await;
        }
    }
}

/// Changes that the spec asked for.
async fn tell_changes(
    pass: &Pass<AuditProject>,
    steps: &[Step<Action>],
    decision: &Decision,
    drift: &[Drift],
) {
    if *decision != Decision::Keep {
        return;
    }
    for step in steps
        .iter()
        .filter(|step| matches!(step.effect, Effect::Neutral | Effect::Reduce))
    {
        if !drift.iter().any(|drift| drift.text == step.text) {
            let text = format!("Did: {}", step.text);
            pass.tell(Note::normal(event::UPDATED, "Update", text)).await;
        }
    }
}

/// Creates the project and reads it. One that exists and was not shown is judged by the next visit, with its mark and
/// its creation time.
async fn create(pass: &mut Pass<AuditProject>, access: &Access) -> Result<Observed, Failure> {
    let open = pass.status.pending_create.clone();
    let now = access.clients.cloud_now();
    let description = pass.object.spec.description.clone().unwrap_or_default();
    let log_service = access.clients.protective().log_service;
    let doing = format!("create project {}", access.project);
    let call = log_service.create_project(&access.project, &description);
    match pass.create(access, doing, call).await {
        Err(failure) if failure.class() == Some(Class::AlreadyExists) => {
            // An earlier call of ours may have made it a moment ago.
            let ours = open.is_some_and(|open| acquisition::may_be_invisible(&open, now));
            if !ours {
                return Err(name_taken(access));
            }
            lock(&pass.memory).created_at = Some(Instant::now());
            return Err(invisible(access));
        }
        result => drop(result?),
    }
    observe::project(pass, access)
        .await?
        .ok_or_else(|| invisible(access))
}

fn name_taken(access: &Access) -> Failure {
    Failure::stalled(
        reason::NAME_TAKEN,
        format!(
            "The project name {} is taken, and no such project is visible in region {} to account {}: it belongs to another account, or lies \
             in another region of this one. Set spec.projectName to another name, or spec.region to the region of the project",
            access.project,
            access.region(),
            access.account
        ),
    )
}

async fn apply(
    pass: &mut Pass<AuditProject>,
    access: &Access,
    owner: &Owner,
    action: &Action,
) -> Result<(), Failure> {
    let project = &access.project;
    let target = Taggable::Project(project.clone());
    let log_service = access.clients.log_service.clone();
    let result = match action {
        Action::Create => return Ok(()),
        Action::Tag { marks: true, tags } => {
            marks::set(
                pass,
                access,
                &target,
                &format!("mark project {project}"),
                |spelling| {
                    let mut all = marks::own_marks(owner, spelling);
                    all.extend(tags.clone());
                    all
                },
            )
            .await
        }
        Action::Tag { marks: false, tags } => {
            let call = log_service.tag_resources(&target, tags);
            pass.change(format!("set tags on project {project}"), call)
                .await
                .map(|_| ())
        }
        Action::Untag(keys) => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let call = log_service.untag_resources(&target, &keys);
            pass.change(format!("remove tags from project {project}"), call)
                .await
                .map(|_| ())
        }
        Action::Describe(text) => {
            let call = log_service.update_project(project, text);
            pass.change(format!("set the description of project {project}"), call)
                .await
                .map(|_| ())
        }
    };
    match result {
        // It was there a moment ago.
        Err(failure) if failure.class() == Some(Class::NotFound) => Err(invisible(access)),
        result => result,
    }
}

async fn acquire(pass: &mut Pass<AuditProject>, observed: &Observed, origin: Origin, lost: bool) {
    let name = pass.object.effective_name().to_owned();
    let again = pass.status.claim.is_some();
    pass.acquired(Claim {
        origin,
        external_name: name.clone(),
        create_time: observed.seen.create_time.clone(),
        confirmed: None,
    });
    let note = match origin {
        Origin::Created if lost || again => {
            let text = format!("Project {name} was gone and was created again: what it held is lost");
            Note::warning(event::CREATED_AGAIN, "Create", text)
        }
        Origin::Created => Note::normal(event::CREATED, "Create", format!("Created project {name}")),
        Origin::Adopted => Note::normal(
            event::ADOPTED,
            "Adopt",
            format!("Took over project {name}, which existed"),
        ),
    };
    pass.tell(note).await;
}

/// Rewrites the mark so that it says: this was ours, and we let it go.
async fn free(pass: &mut Pass<AuditProject>, access: &Access, owner: &Owner) -> Result<(), Failure> {
    let target = Taggable::Project(access.project.clone());
    let doing = format!("mark project {} as released", access.project);
    let released = marks::set(pass, access, &target, &doing, |spelling| {
        std::collections::BTreeMap::from([(OWNER_KEY.to_owned(), owner.released_mark(spelling))])
    });
    match released.await {
        Err(failure) if failure.class() == Some(Class::NotFound) => Ok(()),
        result => result,
    }
}

async fn delete_if_empty(
    pass: &mut Pass<AuditProject>,
    access: &Access,
    owner: &Owner,
) -> Result<(), Failure> {
    let doing = format!("list the log stores of project {}", access.project);
    let stores = match pass
        .read(doing, access.clients.log_service.list_log_stores(&access.project))
        .await
    {
        Err(failure) if failure.class() == Some(Class::NotFound) => return Ok(()),
        result => result?,
    };
    if !stores.is_empty() {
        lock(&pass.memory).slot::<Released>().empty_since = None;
        free(pass, access, owner).await?;
        let named: Vec<&str> = stores.iter().take(5).map(String::as_str).collect();
        let text = format!(
            "Project {} is left in the cloud: it holds {} log store(s) ({}). Delete them by hand if their logs are no longer needed, then \
             the project",
            access.project,
            stores.len(),
            named.join(", ")
        );
        pass.tell(Note::warning(event::PROJECT_LEFT_NOT_EMPTY, "Delete", text))
            .await;
        return Ok(());
    }
    if !seen_empty_twice(pass) {
        return Err(Failure::waiting_soon(
            reason::DELETING,
            format!(
                "Project {} looks empty; it is looked at once more before it is deleted",
                access.project
            ),
        ));
    }
    lock(&pass.memory).slot::<Released>().delete_sent = true;
    let doing = format!("delete project {}", access.project);
    match pass
        .change(doing, access.clients.log_service.delete_project(&access.project))
        .await
    {
        Err(failure) if failure.class() == Some(Class::NotFound) => {}
        result => drop(result?),
    }
    pass.tell(Note::normal(
        event::DELETED,
        "Delete",
        format!("Deleted project {}", access.project),
    ))
    .await;
    Ok(())
}

/// What is remembered of a deletion.
#[derive(Debug, Default)]
struct Released {
    delete_sent: bool,
    empty_since: Option<Instant>,
}

/// Whether the project was seen empty before, long enough ago: a store that was just made is not listed at once.
fn seen_empty_twice(pass: &Pass<AuditProject>) -> bool {
    let mut memory = lock(&pass.memory);
    let since = *memory
        .slot::<Released>()
        .empty_since
        .get_or_insert_with(Instant::now);
    since.elapsed() >= EMPTY
}

fn delete_was_sent(pass: &Pass<AuditProject>) -> bool {
    lock(&pass.memory).slot::<Released>().delete_sent
}

/// The plan as `status.plan` lists it.
fn plan_lines(decision: &Decision, steps: &[Step<Action>], name: &str) -> Vec<String> {
    let mut lines = describe(steps);
    if matches!(decision, Decision::Take(_)) && lines.is_empty() {
        lines.push(format!("take over project {name}"));
    }
    lines
}
