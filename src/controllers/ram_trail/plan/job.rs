//! The part of a plan that is about the copy job.

use std::collections::BTreeSet;

use super::{Action, Course, Field, JobSettings, Plan, found_want};
use crate::api::condition::reason;
use crate::api::v1alpha1::{AdoptionPolicy, AppliedCopy};
use crate::controllers::ownership::{Mark, Owner};
use crate::controllers::plan::Effect;
use crate::controllers::ram_trail::copy_script::{self, Filter};
use crate::controllers::ram_trail::model::{
    Attempt, CopyBlocked, Job, JobFound, JobState, Known, Obstacle, Sink, Wanted, WantedCopy, skips,
};

pub(super) fn converge(wanted: &Wanted, job: &Job, known: &Known, plan: &mut Plan) {
    if let Some(CopyBlocked { obstacle, stalls }) = &wanted.copy_blocked {
        plan.open.insert(Field::Copy);
        plan.hold_up(obstacle.clone(), *stalls);
        return;
    }
    let applied = known.applied.as_ref().and_then(|applied| applied.copy.as_ref());
    match (&wanted.copy, job) {
        (Some(_), Job::NotLooked) => {
            plan.open.insert(Field::Copy);
        }
        (None, Job::NotLooked | Job::Missing) => {}
        (None, Job::Present(found)) => {
            let ours = copy_script::owner_of(&found.description).map(|owner| wanted.owner.judge(Some(owner)));
            if applied.is_some() && ours == Some(Mark::Ours) {
                plan.open.insert(Field::Copy);
                plan.step(Action::DeleteJob, Effect::Reduce, "copyTo left the spec");
            }
        }
        (Some(copy), Job::Missing) => {
            plan.open.insert(Field::Copy);
            let text = format!("copy job {}: found none", copy.job_name);
            if applied.is_some() {
                plan.found("copy", text.clone());
            }
            plan.step(Action::CreateJob(new_job(copy)), Effect::Create, text);
            plan.step(
                Action::StartJob,
                Effect::Create,
                format!("copy job {}: a new job may stand still", copy.job_name),
            );
        }
        (Some(copy), Job::Present(found)) => converge_present_job(wanted, copy, found, known, plan),
    }
}

fn new_job(copy: &WantedCopy) -> JobSettings {
    JobSettings {
        description: copy.description.clone(),
        source: copy.source.clone(),
        role_arn: copy.role_arn.clone(),
        filter: Filter::Services(copy.services.clone()),
        from_time: None,
        sinks: vec![wanted_sink(copy)],
    }
}

pub(super) fn wanted_sink(copy: &WantedCopy) -> Sink {
    Sink {
        name: "ramtrail".to_owned(),
        project: copy.project.clone(),
        log_store: copy.log_store.clone(),
        endpoint: copy.endpoint.clone(),
        role_arn: copy.role_arn.clone(),
        datasets: vec![copy_script::DATASET.to_owned()],
    }
}

/// How a job differs from what is wanted.
#[derive(Default)]
struct Differences {
    /// What somebody weakened.
    weakened: Vec<String>,
    /// What the spec changed without taking anything away.
    changed: Vec<String>,
    /// What the spec took away.
    reduced: Vec<String>,
    /// Where the job does more than wanted.
    exceeds: Vec<String>,
}

impl Differences {
    fn effect(&self) -> Option<Effect> {
        if !self.reduced.is_empty() {
            Some(Effect::Reduce)
        } else if !self.weakened.is_empty() {
            Some(Effect::Protect)
        } else {
            (!self.changed.is_empty()).then_some(Effect::Neutral)
        }
    }

    fn note(&mut self, course: Course, text: String) {
        match course {
            Course::Same => {}
            Course::Raise => self.weakened.push(text),
            Course::Lower => self.reduced.push(text),
            Course::Keep => self.exceeds.push(text),
        }
    }
}

fn converge_present_job(
    wanted: &Wanted,
    copy: &WantedCopy,
    found: &JobFound,
    known: &Known,
    plan: &mut Plan,
) {
    let applied = known.applied.as_ref().and_then(|applied| applied.copy.as_ref());
    let owner = copy_script::owner_of(&found.description);
    let mark = wanted.owner.judge(owner);
    if !is_restorable(wanted, &mark, applied.is_some()) {
        let whose = owner.map_or_else(
            || "ramtrail did not make it".to_owned(),
            |owner| format!("is marked as {owner}"),
        );
        let way = if mark.is_foreign() && applied.is_none() {
            ", or set spec.adoptionPolicy to Always to take it over"
        } else {
            ""
        };
        let text = format!(
            "a data-transformation job {} exists and {whose}. Delete or rename that job{way}; the trail itself is kept",
            copy.job_name
        );
        plan.open.insert(Field::Copy);
        plan.stalls.push(Obstacle::new(reason::OWNED_BY_ANOTHER, text));
        return;
    }
    let mut differences = Differences::default();
    if mark != Mark::Ours {
        if applied.is_some() {
            let text = "its description no longer names its owner";
            differences.weakened.push(text.to_owned());
        } else {
            let text = "its description names the owner before us";
            differences.changed.push(text.to_owned());
        }
    }
    let filter = filter_to_send(copy, found, applied, &mut differences);
    compare_source(copy, found, applied, &mut differences);
    let from_before = applied.and_then(|applied| applied.from_time);
    let skips = skips(found.from_time, from_before, known.memory.job_seen, known.now);
    if skips {
        differences.weakened.push(format!(
            "start: found {}, by which events are left out",
            found.from_time
        ));
    }
    let sinks = sinks_to_send(copy, found, applied, &mut differences);
    plan.exceeds.append(&mut differences.exceeds);
    if let Some(effect) = differences.effect() {
        let settings = JobSettings {
            description: copy.description.clone(),
            source: copy.source.clone(),
            role_arn: copy.role_arn.clone(),
            filter,
            from_time: Some(found.from_time).filter(|_| !skips),
            sinks,
        };
        plan.open.insert(Field::Copy);
        let Differences {
            weakened,
            changed,
            reduced,
            exceeds: _,
        } = differences;
        if !weakened.is_empty() && applied.is_some_and(|applied| unchanged_spec(copy, applied)) {
            plan.found(
                "copy",
                format!("copy job {}: {}", copy.job_name, weakened.join("; ")),
            );
        }
        let why = [weakened, changed, reduced].concat().join("; ");
        plan.step(
            Action::UpdateJob(settings),
            effect,
            format!("copy job {}: {why}", copy.job_name),
        );
    }
    converge_job_state(copy, found.state, applied.is_some(), known, plan);
}

/// Whether a job with this mark is ours, was before somebody changed its description, or comes with a trail that we took over
/// from another. Where we hold one already, another cluster's mark on it is not touched.
fn is_restorable(wanted: &Wanted, mark: &Mark, held: bool) -> bool {
    match mark {
        Mark::Ours => true,
        Mark::ReleasedByUs | Mark::Unowned => held,
        Mark::Foreign(_) if !held => wanted.adoption == AdoptionPolicy::Always,
        Mark::Foreign(text) => {
            Owner::cluster_of(text).is_none_or(|cluster| cluster == wanted.owner.cluster_id())
        }
    }
}

fn compare_source(
    copy: &WantedCopy,
    found: &JobFound,
    applied: Option<&AppliedCopy>,
    differences: &mut Differences,
) {
    for (field, found, want) in [
        ("source", found.source.as_str(), copy.source.as_str()),
        ("language", found.lang.as_str(), copy_script::LANG),
        ("end", &found.to_time.to_string(), "0"),
    ] {
        if found != want {
            differences.weakened.push(found_want(field, found, want));
        }
    }
    if found.role_arn != copy.role_arn {
        let text = found_want("role", &found.role_arn, &copy.role_arn);
        if applied.is_some_and(|applied| applied.role_arn == found.role_arn) {
            differences.changed.push(text);
        } else {
            differences.weakened.push(text);
        }
    }
}

/// Where the job shall write: into our target, and into what somebody added beside it.
fn sinks_to_send(
    copy: &WantedCopy,
    found: &JobFound,
    applied: Option<&AppliedCopy>,
    differences: &mut Differences,
) -> Vec<Sink> {
    let mut sinks = found.sinks.clone();
    let targets: Vec<&str> = found.sinks.iter().map(|sink| sink.log_store.as_str()).collect();
    let text = found_want("target", targets.join(", "), &copy.log_store);
    // Of the targets beside ours only the one that the spec itself asked for before may go.
    let left = applied
        .map(|applied| applied.log_store_name.as_str())
        .filter(|left| *left != copy.log_store);
    sinks.retain(|sink| sink.project != copy.project || Some(sink.log_store.as_str()) != left);
    if sinks.len() < found.sinks.len() {
        differences.reduced.push(text.clone());
    }
    let others = sinks.len();
    let ours = |sink: &&mut Sink| sink.project == copy.project && sink.log_store == copy.log_store;
    let Some(sink) = sinks.iter_mut().find(ours) else {
        if differences.reduced.last() != Some(&text) {
            differences.weakened.push(text);
        }
        if others > 0 {
            differences.exceeds.push(format!(
                "copyTo: the job writes to {others} other targets, want none"
            ));
        }
        let mut sink = wanted_sink(copy);
        sink.name = free_name(&sink.name, &sinks);
        sinks.push(sink);
        return sinks;
    };
    if sink.role_arn != copy.role_arn && sink.role_arn != found.role_arn {
        differences
            .weakened
            .push(found_want("role of the target", &sink.role_arn, &copy.role_arn));
    }
    if !sink.endpoint.eq_ignore_ascii_case(&copy.endpoint) {
        differences.weakened.push(found_want(
            "endpoint of the target",
            &sink.endpoint,
            &copy.endpoint,
        ));
    }
    sink.role_arn.clone_from(&copy.role_arn);
    sink.endpoint.clone_from(&copy.endpoint);
    if sinks.len() > 1 {
        differences.exceeds.push(format!(
            "copyTo: the job writes to {} targets, want one",
            sinks.len()
        ));
    }
    sinks
}

/// A name that none of the sinks has.
fn free_name(base: &str, sinks: &[Sink]) -> String {
    let taken = |name: &String| sinks.iter().any(|sink| sink.name == *name);
    // One more name than there are sinks: one of them is free.
    std::iter::once(base.to_owned())
        .chain((2..=sinks.len() + 1).map(|number| format!("{base}-{number}")))
        .find(|name| !taken(name))
        .unwrap_or_else(|| base.to_owned())
}

fn unchanged_spec(copy: &WantedCopy, applied: &AppliedCopy) -> bool {
    applied.log_store_name == copy.log_store
        && applied.role_arn == copy.role_arn
        && copy.services.iter().eq(applied.services.iter())
}

/// What the job shall pass: all wanted ones, and those found beyond them that the spec never asked for.
fn filter_to_send(
    copy: &WantedCopy,
    found: &JobFound,
    applied: Option<&AppliedCopy>,
    differences: &mut Differences,
) -> Filter {
    let want = Filter::Services(copy.services.clone());
    let text = found_want("services", &found.filter, &want);
    let passed = match &found.filter {
        Filter::Services(passed) => passed,
        Filter::Everything => {
            differences.note(Course::Keep, format!("copyTo.{text}"));
            return Filter::Everything;
        }
        Filter::Unknown => {
            differences.note(Course::Raise, text);
            return want;
        }
    };
    let applied = applied
        .map(|applied| applied.services.as_slice())
        .unwrap_or_default();
    let (fallen, extra): (BTreeSet<String>, BTreeSet<String>) = passed
        .difference(&copy.services)
        .cloned()
        .partition(|service| applied.contains(service));
    if !copy.services.is_subset(passed) {
        differences.note(Course::Raise, text.clone());
    }
    if !fallen.is_empty() {
        differences.note(Course::Lower, text.clone());
    }
    if !extra.is_empty() {
        differences.note(Course::Keep, format!("copyTo.{text}"));
    }
    Filter::Services(copy.services.union(&extra).cloned().collect())
}

fn converge_job_state(copy: &WantedCopy, state: JobState, held: bool, known: &Known, plan: &mut Plan) {
    let name = &copy.job_name;
    match state {
        JobState::Running => {}
        JobState::Stopped => {
            if held {
                plan.found("copy", format!("copy job {name}: found stopped, want running"));
            }
            let effect = if held { Effect::Protect } else { Effect::Create };
            plan.step(Action::StartJob, effect, format!("copy job {name}: found stopped, want running"));
        }
        JobState::Failed => match known.memory.job_start {
            Attempt::Open => plan.step(Action::StartJob, Effect::Protect, format!("copy job {name}: found failed, want running")),
            Attempt::Waiting => plan.waits.push(Obstacle::new(
                reason::COPY_JOB_FAILED,
                format!("copy job {name} failed and was started again"),
            )),
            Attempt::Failed => plan.stalls.push(Obstacle::new(
                reason::COPY_JOB_FAILED,
                format!(
                    "copy job {name} fails each time it is started. Check that role {} may read the trail's store \
                     (log:GetCursorOrData, log:PullLogs) and write {} (log:PostLogStoreLogs); the job's own log in Log Service \
                     says more",
                    copy.role_arn, copy.log_store
                ),
            )),
        },
    }
}
