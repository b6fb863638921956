//! Trails in the model: the trail, its mark on the project, its role, the store that ActionTrail makes, and its copy job.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::sim::{ACCOUNT, Code, Halt, Maker, MarkText, Pass, Sim, Subject, marks};
use crate::api::v1alpha1::{
    AdoptionPolicy, Claim, CopyTo, DeletionPolicy, EventSelection, LocalReference, Logging, Origin, RamTrail,
    TrailStore,
};
use crate::controllers::acquisition::{self, Found, Release};
use crate::controllers::ownership::{Mark, Owner, Spelling};
use crate::controllers::plan::{Effect, Step};
use crate::controllers::ram_trail::copy_script::{self, Filter};
use crate::controllers::ram_trail::model::{
    ALL_REGIONS, Attempt, Index, Job, JobFound, JobState, Known, Memory, Observed, OtherDestinations,
    PERMANENT_DAYS, Role, Store, Trail, Wanted, WantedCopy, service_linked_role_arn,
};
use crate::controllers::ram_trail::plan::{self, Action, Decision, JobSettings, Plan};

const NAME: &str = "ram-access";
const PROJECT: &str = "acs:log:cn-hangzhou:1234567890123456:project/audit";
const ROLE: &str = "acs:ram::1234567890123456:role/copy";
/// Until a step that may not help counts as one that did not, and until it may be taken again.
const SETTLE: i64 = 60;
const PATIENCE: i64 = 60;
const MAX_LAG: i64 = 900;
/// How long ActionTrail takes to make its store.
const STORE: i64 = 10;

/// Trails.
#[derive(Clone, Debug)]
pub struct Trails;

#[derive(Clone, Debug, PartialEq)]
pub struct Cloud {
    mark: Option<String>,
    trail: Option<(Maker, i64, Trail)>,
    role: bool,
    store: Option<(i64, i32)>,
    store_due: Option<i64>,
    index: Index,
    job: Option<JobFound>,
}

impl Default for Cloud {
    fn default() -> Self {
        Self {
            mark: None,
            trail: None,
            role: false,
            store: None,
            store_due: None,
            index: Index::Fine,
            job: None,
        }
    }
}

/// What one process remembers of a trail.
#[derive(Debug, Default)]
pub struct Remembered {
    store_repair: Option<i64>,
    job_start: Option<i64>,
    store_missing_since: Option<i64>,
}

#[derive(Clone, Debug)]
pub enum Edit {
    Mark(MarkText),
    DeleteTrail,
    MakeTrail(EventSelection, bool),
    Events(Option<EventSelection>),
    Switch(bool),
    Region,
    Redirect,
    DeliveryRole,
    Bucket,
    DeleteStore,
    Days(i32),
    Index(Index),
    DeleteRole,
    DeleteJob,
    JobState(JobState),
    JobFilter(Filter),
    JobTarget,
    JobSecondTarget,
    JobEnd,
    JobDescription(bool),
}

#[derive(Clone, Debug)]
pub enum Wish {
    Logging(Logging),
    Events(EventSelection),
    Days(Option<i32>),
    Copy(Option<(&'static str, BTreeSet<String>)>),
    Adoption(AdoptionPolicy),
}

fn any_events() -> impl Strategy<Value = EventSelection> {
    prop_oneof![
        2 => Just(EventSelection::All),
        1 => Just(EventSelection::Write),
        1 => Just(EventSelection::Read),
    ]
}

fn any_days() -> impl Strategy<Value = i32> {
    prop_oneof![Just(7), Just(30), Just(365), Just(PERMANENT_DAYS)]
}

fn any_services() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set(prop_oneof!["ram", "sts", "ims"], 1..4)
}

fn covers(wide: EventSelection, narrow: EventSelection) -> bool {
    wide == EventSelection::All || wide == narrow
}

fn wanted(object: &RamTrail) -> Wanted {
    let owner = Sim::<Trails>::owner();
    let spec = &object.spec;
    let copy = spec.copy_to.as_ref().map(|copy| {
        let log_store = copy.log_store_ref.name.clone();
        WantedCopy {
            job_name: copy_script::job_name(NAME),
            source: format!("actiontrail_{NAME}"),
            project: "audit".to_owned(),
            endpoint: "cn-hangzhou.log.aliyuncs.com".to_owned(),
            services: copy.effective_services().into_iter().collect(),
            role_arn: copy.role_arn.clone(),
            description: copy_script::description(&owner.mark(Spelling::Slash), &log_store),
            log_store,
        }
    });
    Wanted {
        trail_name: NAME.to_owned(),
        account_id: ACCOUNT.to_owned(),
        region: "cn-hangzhou".to_owned(),
        project_arn: PROJECT.to_owned(),
        owner,
        logging: spec.logging,
        events: spec.events,
        retention_days: spec.store.as_ref().and_then(|store| store.retention_days),
        copy,
        copy_blocked: None,
        adoption: spec.adoption_policy,
    }
}

fn new_trail(now: i64, events: EventSelection, on: bool) -> Trail {
    Trail {
        home_region: "cn-hangzhou".to_owned(),
        arn: String::new(),
        create_time: Sim::<Trails>::time(now).to_string(),
        on,
        events: Some(events),
        trail_region: ALL_REGIONS.to_owned(),
        project_arn: PROJECT.to_owned(),
        write_role_arn: String::new(),
        others: OtherDestinations::default(),
        organization: false,
    }
}

fn job_of(settings: JobSettings, state: JobState) -> JobFound {
    JobFound {
        description: settings.description,
        state,
        source: settings.source,
        role_arn: settings.role_arn,
        filter: settings.filter,
        lang: copy_script::LANG.to_owned(),
        from_time: settings.from_time.unwrap_or_default(),
        to_time: 0,
        sinks: settings.sinks,
    }
}

/// ActionTrail makes its store when the trail is switched on, and when its settings are sent while it is on.
fn ask_for_store(cloud: &mut Cloud, now: i64) {
    let on = cloud.trail.as_ref().is_some_and(|(_, _, trail)| trail.on);
    if on && cloud.store.is_none() {
        cloud.store_due.get_or_insert(now + STORE);
    }
}

/// Whether a call may have taken effect.
fn was_tried(result: Result<(), Halt>) -> bool {
    matches!(result, Ok(()) | Err(Halt::Doubt))
}

/// What one look at everything showed, and what else was known.
struct Looked {
    observed: Observed,
    known: Known,
    store: Option<(i64, i32)>,
}

impl Trails {
    fn observe(sim: &mut Sim<Self>, pass: &Pass<Self>) -> Result<Looked, Halt> {
        let owner = Sim::<Self>::owner();
        let mark = owner.judge(sim.look("the tags")?.mark.as_deref());
        let held = pass.status.claim.is_some();
        let may_exist = held || pass.status.pending_create.is_some();
        let mut trail = sim.look("the trail")?.trail;
        if trail.is_some() || may_exist {
            let status = sim.look("the status of the trail")?.trail;
            match (&mut trail, status) {
                (Some((_, _, trail)), Some((_, _, status))) => trail.on = status.on,
                (None, None) => {}
                _ => return Err(Halt::Waiting),
            }
        }
        let trail = trail.map(|(_, _, trail)| trail);
        let mut observed = Observed {
            mark,
            trail,
            role: Role::NotLooked,
            store: Store::NotLooked,
            index: Index::Fine,
            job: Job::NotLooked,
        };
        let mut store = None;
        if observed.trail.is_some() || held {
            store = sim.look("the store")?.store;
            observed.store = store.map_or(Store::Missing, |(created, days)| Store::Present {
                days: Some(days),
                created,
            });
        }
        let through_role = observed.trail.as_ref().is_none_or(|trail| {
            trail.write_role_arn.is_empty()
                || trail
                    .write_role_arn
                    .eq_ignore_ascii_case(&service_linked_role_arn(ACCOUNT))
        });
        // Without its role a trail has delivery errors.
        let troubled = !sim.live().role;
        if observed.trail.is_none() || (store.is_some() && troubled && through_role) {
            observed.role = if sim.look("the role")?.role {
                Role::Present
            } else {
                Role::Missing
            };
        }
        let copied = pass
            .status
            .applied
            .as_ref()
            .is_some_and(|applied| applied.copy.is_some());
        if store.is_some() && (pass.object.spec.copy_to.is_some() || copied) {
            observed.job = sim.look("the job")?.job.map_or(Job::Missing, Job::Present);
        }
        // The poll's searches make an index suspect that does not find events.
        if store.is_some() && sim.live().index != Index::Fine {
            observed.index = sim.look("the index")?.index;
        }
        let known = Known::default();
        Ok(Looked {
            observed,
            known,
            store,
        })
    }

    fn known(sim: &mut Sim<Self>, pass: &Pass<Self>, observed: &Observed) -> Known {
        let now = sim.now;
        let memory = &mut sim.process.kind;
        if observed.store == Store::Missing && observed.trail.as_ref().is_some_and(|trail| trail.on) {
            memory.store_missing_since.get_or_insert(now);
        } else {
            memory.store_missing_since = None;
            memory.store_repair = None;
        }
        let attempt = |since: Option<i64>| match since.map(|since| now - since) {
            Some(elapsed) if elapsed < SETTLE => Attempt::Waiting,
            Some(elapsed) if elapsed < SETTLE * PATIENCE => Attempt::Failed,
            _ => Attempt::Open,
        };
        // What the two structs hold besides does not bear on this model.
        #[allow(clippy::needless_update)]
        Known {
            claim: pass.status.claim.clone(),
            pending: pass.status.pending_create.clone(),
            applied: pass.status.applied.clone(),
            store_seen: pass.status.data_since.is_some() || pass.status.retention_days.is_some(),
            memory: Memory {
                store_repair: attempt(memory.store_repair),
                job_start: attempt(memory.job_start),
                store_overdue: memory
                    .store_missing_since
                    .is_some_and(|since| now - since > MAX_LAG),
                ..Memory::default()
            },
            ..Known::default()
        }
    }

    fn take(
        sim: &mut Sim<Self>,
        pass: &mut Pass<Self>,
        wanted: &Wanted,
        looked: &Looked,
        plan: &Plan,
    ) -> Result<(), Halt> {
        let (marking, others) = match plan.steps.split_first() {
            Some((first, others)) if first.action == Action::WriteMark => {
                (std::slice::from_ref(first), others)
            }
            _ => (&[] as &[Step<Action>], plan.steps.as_slice()),
        };
        for step in marking {
            Self::step(sim, pass, wanted, looked, step)?;
        }
        if let (Some(origin), Some(trail)) = (plan.acquire, &looked.observed.trail) {
            let claim = Claim {
                origin,
                external_name: NAME.to_owned(),
                create_time: Some(trail.create_time.clone()),
                confirmed: pass.status.claim.as_ref().and_then(|claim| claim.confirmed),
            };
            sim.acquired(pass, claim);
        }
        for step in others {
            Self::step(sim, pass, wanted, looked, step)?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_lines)] // an arm for each action
    fn step(
        sim: &mut Sim<Self>,
        pass: &mut Pass<Self>,
        wanted: &Wanted,
        looked: &Looked,
        step: &Step<Action>,
    ) -> Result<(), Halt> {
        let (what, planned) = (step.action.call(), step.effect);
        match step.action.clone() {
            Action::WriteMark => {
                let mark = wanted.owner.mark(Spelling::Slash);
                sim.change(pass, what, move |cloud, _| {
                    cloud.mark = Some(mark);
                    Ok(())
                })?;
                match wanted.owner.judge(sim.look("the tags")?.mark.as_deref()) {
                    Mark::Ours => Ok(()),
                    Mark::Foreign(_) => Err(Halt::Stalled("OwnedByAnother")),
                    Mark::Unowned | Mark::ReleasedByUs => Err(Halt::Waiting),
                }
            }
            Action::CreateRole => Self::create_role(sim, pass),
            Action::CreateTrail => Self::create(sim, pass, wanted.events),
            Action::UpdateTrail(_) => {
                let basis = sim.look("the trail once more")?;
                let seen = looked.observed.trail.as_ref();
                let fresh = basis.trail.as_ref().map(|(_, _, trail)| Trail {
                    on: seen.is_some_and(|seen| seen.on),
                    ..trail.clone()
                });
                if fresh.as_ref().map(|trail| &trail.create_time) != seen.map(|seen| &seen.create_time) {
                    return Err(Halt::Waiting);
                }
                let observed = Observed {
                    trail: fresh,
                    ..looked.observed.clone()
                };
                let again = plan::again(wanted, &observed, &looked.known, planned, |action| {
                    matches!(action, Action::UpdateTrail(_))
                });
                let Some(Action::UpdateTrail(settings)) = again.map_err(|_| Halt::Waiting)? else {
                    return Ok(());
                };
                let result = sim.put(pass, what, basis, move |cloud, now| {
                    let (_, _, trail) = cloud.trail.as_mut().ok_or(Code::Missing)?;
                    trail.events = Some(settings.events);
                    trail.trail_region = settings.trail_region;
                    trail.project_arn = settings.project_arn;
                    trail.write_role_arn = settings.write_role_arn.unwrap_or_default();
                    trail.others = settings.others;
                    ask_for_store(cloud, now);
                    Ok(())
                });
                if looked.store.is_none() && was_tried(result) {
                    sim.process.kind.store_repair = Some(sim.now);
                }
                result
            }
            Action::StartLogging => {
                let result = sim.change(pass, what, |cloud, now| {
                    cloud.trail.as_mut().ok_or(Code::Missing)?.2.on = true;
                    ask_for_store(cloud, now);
                    Ok(())
                });
                match result {
                    Err(Halt::Refused(Code::Missing)) => Err(Halt::Waiting),
                    result => result,
                }
            }
            Action::StopLogging => sim.change(pass, what, |cloud, _| {
                cloud.trail.as_mut().ok_or(Code::Missing)?.2.on = false;
                Ok(())
            }),
            Action::SetRetention(days) => {
                let basis = sim.look("the store once more")?;
                let (created, kept) = basis.store.ok_or(Halt::Waiting)?;
                if looked.store.is_none_or(|(seen, _)| seen != created) {
                    return Err(Halt::Waiting);
                }
                if kept == days || (planned != Effect::Reduce && kept > days) {
                    return Ok(());
                }
                sim.put(pass, what, basis, move |cloud, _| {
                    cloud.store.as_mut().ok_or(Code::Missing)?.1 = days;
                    Ok(())
                })
            }
            Action::RestoreIndex => {
                sim.look("the index")?;
                sim.change(pass, what, |cloud, _| {
                    cloud.index = Index::Fine;
                    Ok(())
                })
            }
            Action::CreateJob(settings) => {
                let result = sim.change(pass, what, move |cloud, _| {
                    if cloud.job.is_some() {
                        return Err(Code::Exists);
                    }
                    cloud.job = Some(job_of(settings, JobState::Stopped));
                    Ok(())
                });
                match result {
                    Err(Halt::Refused(Code::Exists)) => Err(Halt::Waiting),
                    result => result,
                }
            }
            Action::UpdateJob(_) => {
                let basis = sim.look("the job once more")?;
                let observed = Observed {
                    job: Job::Present(basis.job.clone().ok_or(Halt::Waiting)?),
                    ..looked.observed.clone()
                };
                let again = plan::again(wanted, &observed, &looked.known, planned, |action| {
                    matches!(action, Action::UpdateJob(_))
                });
                let Some(Action::UpdateJob(settings)) = again.map_err(|_| Halt::Waiting)? else {
                    return Ok(());
                };
                sim.put(pass, what, basis, move |cloud, _| {
                    let job = cloud.job.as_mut().ok_or(Code::Missing)?;
                    *job = job_of(settings, job.state);
                    Ok(())
                })
            }
            Action::StartJob => {
                let state = sim.look("the job")?.job.ok_or(Halt::Waiting)?.state;
                if state == JobState::Running {
                    return Ok(());
                }
                let result = sim.change(pass, what, |cloud, _| {
                    cloud.job.as_mut().ok_or(Code::Missing)?.state = JobState::Running;
                    Ok(())
                });
                if state == JobState::Failed && was_tried(result) {
                    sim.process.kind.job_start = Some(sim.now);
                }
                result
            }
            Action::DeleteJob => Self::delete_job(sim, pass),
        }
    }

    fn create_role(sim: &mut Sim<Self>, pass: &Pass<Self>) -> Result<(), Halt> {
        sim.change(pass, "CreateServiceLinkedRole", |cloud, _| {
            cloud.role = true;
            Ok(())
        })
    }

    fn delete_job(sim: &mut Sim<Self>, pass: &Pass<Self>) -> Result<(), Halt> {
        let result = sim.remove(pass, "DeleteETL", |cloud, _| {
            cloud.job.take().map(drop).ok_or(Code::Missing)
        });
        match result {
            Err(Halt::Refused(Code::Missing)) => Ok(()),
            result => result,
        }
    }

    fn create(sim: &mut Sim<Self>, pass: &mut Pass<Self>, events: EventSelection) -> Result<(), Halt> {
        if sim.awaits_creation() || sim.is_taken() {
            return Err(Halt::Waiting);
        }
        let first = pass.status.pending_create.is_none();
        sim.note_create(pass)?;
        let call = move |cloud: &mut Cloud, now: i64| {
            if cloud.trail.is_some() {
                return Err(Code::Exists);
            }
            if !cloud.role {
                return Err(Code::Denied);
            }
            cloud.trail = Some((Maker::Us, now, new_trail(now, events, false)));
            Ok(())
        };
        let mut result = sim.send_create(pass, "CreateTrail", call);
        if result == Err(Halt::Refused(Code::Denied)) && !sim.live().role {
            Self::create_role(sim, pass)?;
            result = sim.send_create(pass, "CreateTrail", call);
        }
        match result {
            Ok(()) => {
                sim.process.created_at = Some(sim.now);
                Ok(())
            }
            Err(Halt::Refused(code)) => {
                if first {
                    pass.status.pending_create = None;
                }
                Err(if code == Code::Exists {
                    sim.process.taken_at = Some(sim.now);
                    Halt::Waiting
                } else {
                    Halt::Refused(code)
                })
            }
            Err(halt) => Err(halt),
        }
    }
}

impl Subject for Trails {
    type Object = RamTrail;
    type Cloud = Cloud;
    type Edit = Edit;
    type Wish = Wish;
    type Memory = Remembered;
    // A store that was never seen is waited for as long as a delivery may take, and a step that failed is left alone for
    // an hour.
    const PATIENCE: i64 = MAX_LAG + SETTLE * PATIENCE + 200;
    const TEST: &'static str = "a_trail_comes_to_rest_as_wanted_and_stays_so";

    fn object() -> RamTrail {
        serde_json::from_value(json!({
            "apiVersion": "ramtrail.io/v1alpha1", "kind": "RamTrail", "metadata": {"name": NAME, "namespace": "n"},
            "spec": {
                "projectRef": {"name": "audit"},
                "copyTo": {"logStoreRef": {"name": "events"}, "services": ["ram", "sts"], "roleARN": ROLE},
            },
        }))
        .unwrap()
    }

    fn edits() -> BoxedStrategy<Edit> {
        let filters = prop_oneof![
            2 => any_services().prop_map(Filter::Services),
            1 => Just(Filter::Everything),
            1 => Just(Filter::Unknown),
        ];
        let states = prop_oneof![
            Just(JobState::Stopped),
            Just(JobState::Failed),
            Just(JobState::Running)
        ];
        let indexes = prop_oneof![Just(Index::Missing), Just(Index::Incomplete)];
        prop_oneof![
            4 => marks().prop_map(Edit::Mark),
            3 => Just(Edit::DeleteTrail),
            3 => (any_events(), any::<bool>()).prop_map(|(events, on)| Edit::MakeTrail(events, on)),
            3 => prop::option::weighted(0.8, any_events()).prop_map(Edit::Events),
            3 => any::<bool>().prop_map(Edit::Switch),
            1 => Just(Edit::Region),
            1 => Just(Edit::Redirect),
            1 => Just(Edit::DeliveryRole),
            1 => Just(Edit::Bucket),
            2 => Just(Edit::DeleteStore),
            3 => any_days().prop_map(Edit::Days),
            1 => indexes.prop_map(Edit::Index),
            1 => Just(Edit::DeleteRole),
            2 => Just(Edit::DeleteJob),
            2 => states.prop_map(Edit::JobState),
            3 => filters.prop_map(Edit::JobFilter),
            1 => Just(Edit::JobTarget),
            1 => Just(Edit::JobSecondTarget),
            1 => Just(Edit::JobEnd),
            1 => any::<bool>().prop_map(Edit::JobDescription),
        ]
        .boxed()
    }

    fn wishes() -> BoxedStrategy<Wish> {
        let logging = prop_oneof![Just(Logging::Enabled), Just(Logging::Stopped)];
        let targets = prop_oneof![3 => Just("events"), 1 => Just("others")];
        let adoptions = prop_oneof![
            2 => Just(AdoptionPolicy::IfUnowned),
            1 => Just(AdoptionPolicy::Always),
            1 => Just(AdoptionPolicy::Never),
        ];
        prop_oneof![
            2 => logging.prop_map(Wish::Logging),
            2 => any_events().prop_map(Wish::Events),
            2 => prop::option::of(any_days()).prop_map(Wish::Days),
            2 => prop::option::weighted(0.8, (targets, any_services())).prop_map(Wish::Copy),
            1 => adoptions.prop_map(Wish::Adoption),
        ]
        .boxed()
    }

    fn edit(cloud: &mut Cloud, now: i64, edit: &Edit) {
        let owner = Sim::<Self>::owner();
        match edit {
            Edit::Mark(mark) => cloud.mark = mark.text(&owner),
            Edit::DeleteTrail => cloud.trail = None,
            Edit::MakeTrail(events, on) if cloud.trail.is_none() => {
                cloud.trail = Some((Maker::Others, now, new_trail(now, *events, *on)));
                ask_for_store(cloud, now);
            }
            Edit::DeleteStore => (cloud.store, cloud.store_due) = (None, None),
            Edit::Days(days) => {
                if let Some(store) = &mut cloud.store {
                    store.1 = *days;
                }
            }
            Edit::Index(index) => cloud.index = *index,
            Edit::DeleteRole => cloud.role = false,
            Edit::DeleteJob => cloud.job = None,
            _ => {}
        }
        if let Some((_, _, trail)) = &mut cloud.trail {
            match edit {
                Edit::Events(events) => trail.events = *events,
                Edit::Switch(on) => trail.on = *on,
                Edit::Region => "cn-hangzhou".clone_into(&mut trail.trail_region),
                Edit::Redirect => "acs:log:cn-beijing:1:project/x".clone_into(&mut trail.project_arn),
                Edit::DeliveryRole => "acs:ram::1:role/evil".clone_into(&mut trail.write_role_arn),
                Edit::Bucket => trail.others.oss_bucket = Some("bucket".to_owned()),
                _ => {}
            }
        }
        if let Edit::Switch(true) = edit {
            ask_for_store(cloud, now);
        }
        if let Some(job) = &mut cloud.job {
            match edit {
                Edit::JobState(state) => job.state = *state,
                Edit::JobFilter(filter) => job.filter = filter.clone(),
                Edit::JobTarget => "elsewhere".clone_into(&mut job.sinks[0].log_store),
                Edit::JobSecondTarget => {
                    let mut second = job.sinks[0].clone();
                    "second".clone_into(&mut second.name);
                    "second".clone_into(&mut second.log_store);
                    if !job.sinks.contains(&second) {
                        job.sinks.push(second);
                    }
                }
                Edit::JobEnd => job.to_time = 99,
                Edit::JobDescription(true) => "changed".clone_into(&mut job.description),
                Edit::JobDescription(false) => {
                    let other = Owner::new("other", "RamTrail", "x", "y").mark(Spelling::Slash);
                    job.description = copy_script::description(&other, "events");
                }
                _ => {}
            }
        }
    }

    fn wish(object: &mut RamTrail, wish: &Wish) {
        let spec = &mut object.spec;
        match wish {
            Wish::Logging(logging) => spec.logging = *logging,
            Wish::Events(events) => spec.events = *events,
            Wish::Days(days) => {
                spec.store = days.map(|days| TrailStore {
                    retention_days: Some(days),
                });
            }
            Wish::Copy(None) => spec.copy_to = None,
            Wish::Copy(Some((target, services))) => {
                // Its target cannot be changed while there is a copy.
                let target = spec
                    .copy_to
                    .as_ref()
                    .map_or((*target).to_owned(), |copy| copy.log_store_ref.name.clone());
                spec.copy_to = Some(CopyTo {
                    log_store_ref: LocalReference { name: target },
                    services: services.iter().cloned().collect(),
                    role_arn: ROLE.to_owned(),
                });
            }
            Wish::Adoption(policy) => spec.adoption_policy = *policy,
        }
    }

    fn set_deletion_policy(object: &mut RamTrail, policy: DeletionPolicy) {
        object.spec.deletion_policy = policy;
    }

    fn tick(cloud: &mut Cloud, now: i64) {
        if cloud.store_due.is_some_and(|due| due <= now) {
            cloud.store_due = None;
            if cloud.store.is_none() && cloud.trail.is_some() {
                cloud.store = Some((now, PERMANENT_DAYS));
                cloud.index = Index::Fine;
            }
        }
    }

    fn thing(cloud: &Cloud) -> Option<(Maker, i64)> {
        cloud.trail.as_ref().map(|(maker, created, _)| (*maker, *created))
    }

    fn visit(sim: &mut Sim<Self>, pass: &mut Pass<Self>) -> Result<(), Halt> {
        let wanted = wanted(&pass.object);
        let looked = Self::observe(sim, pass)?;
        let known = Self::known(sim, pass, &looked.observed);
        let looked = Looked { known, ..looked };
        let plan = match plan::plan(&wanted, &looked.observed, &looked.known) {
            Decision::Converge(plan) => plan,
            Decision::Blocked(obstacle) => {
                if obstacle.reason == crate::api::condition::reason::OWNED_BY_ANOTHER {
                    pass.status.claim = None;
                    pass.status.applied = None;
                }
                return Err(Halt::Stalled(obstacle.reason));
            }
        };
        let texts: Vec<&str> = plan.steps.iter().map(|step| step.text.as_str()).collect();
        sim.say(format!("plans {texts:?}, acquires {:?}", plan.acquire));
        if let Some((created, days)) = looked.store {
            pass.status.retention_days = Some(days);
            pass.status.data_since = Some(Sim::<Self>::time(created).to_string());
        }
        match Self::take(sim, pass, &wanted, &looked, &plan) {
            Ok(()) => {
                let applied = plan.applied(&wanted, &looked.observed, pass.status.applied.as_ref(), true);
                pass.status.applied = Some(applied);
            }
            Err(Halt::Waiting) => {}
            Err(halt) => return Err(halt),
        }
        if looked.observed.mark == Mark::Ours {
            sim.confirm(pass);
        }
        Ok(())
    }

    fn release(sim: &mut Sim<Self>, pass: &mut Pass<Self>) -> Result<(), Halt> {
        let owner = Sim::<Self>::owner();
        let mark = owner.judge(sim.look("the tags")?.mark.as_deref());
        let trail = sim.look("the trail")?.trail;
        let found = trail.map(|(_, created, trail)| Found {
            create_time: Some(trail.create_time),
            create_times: vec![Sim::<Self>::time(created)],
            mark: mark.clone(),
            foreign_owner: String::new(),
        });
        let delete = pass.object.spec.deletion_policy == DeletionPolicy::Delete;
        let claim = pass.status.claim.clone();
        match acquisition::release(&pass.object, claim.as_ref(), found.as_ref(), delete) {
            Release::Nothing if found.is_none() && mark == Mark::Ours => {
                sim.remove(pass, "UntagResources", |cloud, _| {
                    cloud.mark = None;
                    Ok(())
                })
            }
            Release::Nothing => Ok(()),
            Release::Free | Release::FreeInstead => {
                let released = owner.released_mark(Spelling::Slash);
                sim.change(pass, "TagResources as released", move |cloud, _| {
                    cloud.mark = Some(released);
                    Ok(())
                })
            }
            Release::Delete => {
                let job = sim.look("the job")?.job;
                if job.is_some_and(|job| owner.judge(copy_script::owner_of(&job.description)) == Mark::Ours) {
                    Self::delete_job(sim, pass)?;
                }
                let deleted = sim.remove(pass, "DeleteTrail", |cloud, _| {
                    cloud.trail.take().map(drop).ok_or(Code::Missing)
                });
                match deleted {
                    Err(Halt::Refused(Code::Missing)) => {}
                    result => result?,
                }
                sim.remove(pass, "UntagResources", |cloud, _| {
                    cloud.mark = None;
                    Ok(())
                })
            }
        }
    }

    fn losses(before: &Cloud, after: &Cloud) -> Vec<&'static str> {
        let mut lost = Vec::new();
        if before.role && !after.role {
            lost.push("role");
        }
        if let (Some((_, _, before)), Some((_, _, after))) = (&before.trail, &after.trail) {
            let narrower = match (before.events, after.events) {
                (Some(before), Some(after)) => !covers(after, before),
                // What is not known may be everything.
                (None, after) => after != Some(EventSelection::All),
                (Some(_), None) => true,
            };
            for (field, fell) in [
                ("events", before.events != after.events && narrower),
                ("logging", before.on && !after.on),
                (
                    "regions",
                    before.trail_region == ALL_REGIONS && after.trail_region != ALL_REGIONS,
                ),
                (
                    "destination",
                    before.project_arn == PROJECT && after.project_arn != PROJECT,
                ),
                ("others", before.others != after.others),
            ] {
                if fell {
                    lost.push(field);
                }
            }
        }
        if let (Some((_, before)), Some((_, after))) = (before.store, after.store)
            && after < before
        {
            lost.push("retention");
        }
        match (&before.job, &after.job) {
            (Some(_), None) => lost.push("copy"),
            (Some(before), Some(after)) => {
                let targets = |job: &JobFound| -> BTreeSet<String> {
                    job.sinks.iter().map(|sink| sink.log_store.clone()).collect()
                };
                let narrower = match (&before.filter, &after.filter) {
                    (Filter::Everything, after) => *after != Filter::Everything,
                    (Filter::Services(before), Filter::Services(after)) => !before.is_subset(after),
                    _ => false,
                };
                let stopped = before.state == JobState::Running && after.state != JobState::Running;
                if narrower || stopped || !targets(before).is_subset(&targets(after)) {
                    lost.push("copy");
                }
            }
            _ => {}
        }
        lost
    }

    fn fell(field: &str, before: &RamTrail, after: &RamTrail) -> bool {
        let (before, after) = (wanted(before), wanted(after));
        match field {
            "events" => !covers(after.events, before.events),
            "logging" => before.logging == Logging::Enabled && after.logging == Logging::Stopped,
            "retention" => after
                .retention_days
                .is_some_and(|days| days < before.retention_days.unwrap_or(PERMANENT_DAYS)),
            "copy" => before.copy.is_some_and(|before| {
                after.copy.is_none_or(|after| {
                    after.log_store != before.log_store || !before.services.is_subset(&after.services)
                })
            }),
            _ => false,
        }
    }

    fn held(object: &RamTrail, cloud: &Cloud) -> Vec<(&'static str, bool)> {
        let wanted = wanted(object);
        let trail = cloud.trail.as_ref().map(|(_, _, trail)| trail);
        let copied = match (&wanted.copy, &cloud.job) {
            (None, None) => true,
            (Some(copy), Some(job)) => {
                job.filter == Filter::Services(copy.services.clone())
                    && job.sinks.len() == 1
                    && job.sinks[0].log_store == copy.log_store
            }
            _ => false,
        };
        vec![
            (
                "events",
                trail.is_some_and(|trail| trail.events == Some(wanted.events)),
            ),
            (
                "logging",
                trail.is_some_and(|trail| trail.on == (wanted.logging == Logging::Enabled)),
            ),
            (
                "retention",
                cloud
                    .store
                    .is_some_and(|(_, days)| wanted.retention_days.is_none_or(|wanted| wanted == days)),
            ),
            ("copy", copied),
        ]
    }

    /// ActionTrail makes its store with days that nobody asked for: the first smaller value counts as fallen, once the
    /// trail is ours.
    fn falls_by_default(field: &str, was_settled: bool, object: &RamTrail) -> bool {
        field == "retention"
            && !was_settled
            && wanted(object)
                .retention_days
                .is_some_and(|days| days < PERMANENT_DAYS)
            && object.status.as_ref().is_some_and(|status| {
                status.applied.is_some()
                    || status
                        .claim
                        .as_ref()
                        .is_none_or(|claim| claim.origin == Origin::Created)
            })
    }

    fn at_rest(object: &RamTrail, cloud: &Cloud) -> Result<(), String> {
        let wanted = wanted(object);
        let Some((_, _, trail)) = &cloud.trail else {
            let mark = wanted.owner.judge(cloud.mark.as_deref());
            return if mark.is_foreign() {
                Ok(())
            } else {
                Err("there is no trail".to_owned())
            };
        };
        let status = object.status.as_ref();
        let claim = status.and_then(|status| status.claim.as_ref());
        let mark = wanted.owner.judge(cloud.mark.as_deref());
        if may_be_left(&wanted, claim, trail, cloud, &mark) {
            return Ok(());
        }
        let elsewhere = matches!(&mark, Mark::Foreign(text)
            if Owner::cluster_of(text).is_some_and(|cluster| cluster != wanted.owner.cluster_id()));
        if claim.is_none_or(|claim| claim.create_time.as_ref() != Some(&trail.create_time)) {
            return Err("it is not claimed".to_owned());
        }
        if !elsewhere && (mark != Mark::Ours || claim.is_none_or(|claim| claim.confirmed != Some(true))) {
            return Err("it is not marked and confirmed".to_owned());
        }
        let wrong = [
            (
                "events",
                trail.events.is_none_or(|found| !covers(found, wanted.events)),
            ),
            ("logging", wanted.logging == Logging::Enabled && !trail.on),
            ("regions", trail.trail_region != ALL_REGIONS),
            ("destination", trail.project_arn != PROJECT),
            ("store", trail.on && cloud.store.is_none()),
            (
                "retention",
                matches!((cloud.store, wanted.retention_days), (Some((_, found)), Some(days)) if found < days),
            ),
            ("index", cloud.store.is_some() && cloud.index != Index::Fine),
            (
                "role",
                cloud.store.is_some() && trail.write_role_arn.is_empty() && !cloud.role,
            ),
        ];
        if let Some((field, _)) = wrong.iter().find(|(_, wrong)| *wrong) {
            return Err(format!("{field} is not as wanted"));
        }
        let Some(copy) = wanted.copy.as_ref().filter(|_| cloud.store.is_some()) else {
            return Ok(());
        };
        let Some(job) = &cloud.job else {
            return Err("there is no copy job".to_owned());
        };
        let job_mark = wanted.owner.judge(copy_script::owner_of(&job.description));
        let copied = status
            .and_then(|status| status.applied.as_ref())
            .is_some_and(|applied| applied.copy.is_some());
        let of_another_cluster = matches!(&job_mark, Mark::Foreign(text)
            if Owner::cluster_of(text).is_some_and(|cluster| cluster != wanted.owner.cluster_id()));
        let is_its_job = match &job_mark {
            Mark::Ours => true,
            _ if copied => !of_another_cluster,
            other => wanted.adoption == AdoptionPolicy::Always && other.is_foreign(),
        };
        if !is_its_job {
            return Ok(());
        }
        let passes = match &job.filter {
            Filter::Everything => true,
            Filter::Services(passed) => copy.services.is_subset(passed),
            Filter::Unknown => false,
        };
        let reaches = job.sinks.iter().any(|sink| sink.log_store == copy.log_store);
        if !passes || !reaches || job.state != JobState::Running || job.to_time != 0 || job_mark != Mark::Ours
        {
            return Err("the copy job is not as wanted".to_owned());
        }
        Ok(())
    }
}

/// Whether a trail is rightly left as it is.
fn may_be_left(wanted: &Wanted, claim: Option<&Claim>, trail: &Trail, cloud: &Cloud, mark: &Mark) -> bool {
    let never = wanted.adoption == AdoptionPolicy::Never;
    match claim {
        Some(claim) if claim.create_time.as_ref() == Some(&trail.create_time) => false,
        Some(_) => never,
        None => {
            let narrower = trail.events.is_some_and(|found| !covers(wanted.events, found));
            let stopped = trail.on && wanted.logging == Logging::Stopped;
            let elsewhere = !trail.project_arn.is_empty() && trail.project_arn != wanted.project_arn;
            let shorter = matches!((wanted.retention_days, cloud.store), (Some(days), Some((_, found))) if days < found);
            let anothers = mark.is_foreign() && wanted.adoption != AdoptionPolicy::Always;
            anothers || (never && *mark != Mark::Ours) || narrower || stopped || elsewhere || shorter
        }
    }
}
