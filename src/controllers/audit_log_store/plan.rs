//! What an AuditLogStore asks of its store, compared with what was seen. Pure.

use serde_json::{Map, Value};

use crate::api::condition::reason;
use crate::api::v1alpha1::{AppliedLogStore, AuditLogStoreSpec, Origin};
use crate::controllers::acquisition::Decision;
use crate::controllers::failure::Failure;
use crate::controllers::index_preset;
use crate::controllers::ownership::{Mark, Owner, TAG_LIMIT};
use crate::controllers::plan::{Effect, Step};

/// Shards of a new store, unless the spec says otherwise.
const DEFAULT_SHARDS: i32 = 2;

/// A log store as it was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Retention in days; 3650 is for ever.
    pub retention_days: Option<i64>,
    /// Shards.
    pub shard_count: Option<i64>,
    /// Whether anybody may write without a signature.
    pub anonymous_writing: bool,
    /// Whether origin and arrival are added to each log.
    pub append_meta: bool,
    /// The index; `None` when there is none.
    pub index: Option<Map<String, Value>>,
    /// The text of the mark.
    pub mark: Option<String>,
    /// Tags on what carries the mark: the store, or its project.
    pub tag_count: usize,
}

/// What to do to a log store.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create it.
    Create {
        /// Retention in days.
        retention_days: i32,
        /// Shards.
        shard_count: i32,
        /// Whether origin and arrival are added to each log.
        append_meta: bool,
    },
    /// Set the mark.
    Mark,
    /// Change the configuration; everything else stays.
    Update {
        /// Retention in days, where it is to change.
        retention_days: Option<i32>,
        /// Whether writing without a signature is to be switched off.
        forbid_anonymous: bool,
    },
    /// Switch on or off that origin and arrival are added to each log. A step of its own: one may raise while the other lowers.
    AppendMeta(bool),
    /// Create the index.
    CreateIndex(Map<String, Value>),
    /// Replace the index with itself and what it lacks.
    UpdateIndex(Map<String, Value>),
}

/// A difference that is not put right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Excess {
    /// Condition reason.
    pub reason: &'static str,
    /// In words.
    pub text: String,
    /// Whether the store protects less with it.
    pub weakens: bool,
}

/// What is to be done, and what is only said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Steps.
    pub steps: Vec<Step<Action>>,
    /// Differences that stay.
    pub excess: Vec<Excess>,
}

/// What the plan is made from, besides what was seen.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The spec.
    pub spec: &'a AuditLogStoreSpec,
    /// Name of the store.
    pub name: &'a str,
    /// What was converged before.
    pub applied: Option<&'a AppliedLogStore>,
    /// Who we are.
    pub owner: &'a Owner,
}

/// The steps from what was seen to what is wanted.
///
/// # Errors
/// Stalled when taking the store over would reduce what it protects, or when there is no room for the mark.
pub fn plan(wanted: &Wanted<'_>, decision: &Decision, seen: Option<&Seen>) -> Result<Plan, Failure> {
    let Wanted {
        spec,
        name,
        applied,
        owner,
    } = *wanted;
    let mut plan = Plan::default();
    let Some(seen) = seen else {
        let retention_days = spec.retention_days;
        let shard_count = spec.shards.as_ref().map_or(DEFAULT_SHARDS, |shards| shards.count);
        let text = format!("create log store {name} with {retention_days} days and {shard_count} shards");
        plan.push(
            Effect::Create,
            "logStoreName",
            text,
            Action::Create {
                retention_days,
                shard_count,
                append_meta: spec.append_meta == Some(true),
            },
        );
        plan.push(Effect::Protect, "mark", mark_text(name, owner), Action::Mark);
        plan.push(
            Effect::Create,
            "index",
            format!("create the index of {name}"),
            Action::CreateIndex(index_preset::preset()),
        );
        return Ok(plan);
    };
    let contested = *decision == Decision::Contested;
    if *decision == Decision::Take(Origin::Adopted) {
        must_not_reduce(spec, name, seen)?;
    }
    if owner.judge(seen.mark.as_deref()) != Mark::Ours && !contested {
        if seen.mark.is_none() && seen.tag_count >= TAG_LIMIT {
            return Err(no_room(name));
        }
        plan.push(Effect::Protect, "mark", mark_text(name, owner), Action::Mark);
    }
    plan_update(&mut plan, wanted, seen, applied, contested);
    plan_append_meta(&mut plan, wanted, seen, decision);
    match &seen.index {
        None => {
            let text = format!("create the index of {name}");
            plan.push(
                Effect::Protect,
                "index",
                text,
                Action::CreateIndex(index_preset::preset()),
            );
        }
        Some(index) => {
            let typed = typed_before(applied, decision);
            let repair = index_preset::repair(index, typed);
            if !repair.missing.is_empty() {
                let text = format!("restore in the index of {name}: {}", shorten(&repair.missing));
                plan.push(Effect::Protect, "index", text, Action::UpdateIndex(repair.index));
            }
            if !repair.other_types.is_empty() {
                plan.excess.push(Excess {
                    reason: reason::EXCEEDS_SPEC,
                    text: format!(
                        "In log store {name} {}; a type is not replaced, because what is searched by it would be lost. Change it by hand if nobody \
                         needs it",
                        shorten(&repair.other_types)
                    ),
                    weakens: true,
                });
            }
        }
    }
    if let Some(shards) = &spec.shards
        && let Some(found) = seen.shard_count
        && found != i64::from(shards.count)
    {
        plan.excess.push(Excess {
            reason: reason::SHARD_COUNT_DIFFERS,
            text: format!(
                "{name} has {found} shard(s), spec.shards.count is {}; this version does not change the number of shards of a store",
                shards.count
            ),
            weakens: false,
        });
    }
    Ok(plan)
}

/// The keys of the index whose type is known to have been ours. What is taken over, or was made anew under the name, has
/// no such history.
pub fn typed_before<'a>(applied: Option<&'a AppliedLogStore>, decision: &Decision) -> &'a [String] {
    match decision {
        Decision::Keep | Decision::Contested => applied.map_or(&[], |applied| &applied.index_types),
        Decision::Create | Decision::CreateAgain | Decision::Take(_) => &[],
    }
}

fn plan_update(
    plan: &mut Plan,
    wanted: &Wanted<'_>,
    seen: &Seen,
    applied: Option<&AppliedLogStore>,
    contested: bool,
) {
    let Wanted { spec, name, .. } = *wanted;
    let target = spec.retention_days;
    let (mut effect, mut retention_days, mut parts) = (Effect::Protect, None, Vec::new());
    match seen.retention_days {
        Some(found) if found < i64::from(target) => {
            parts.push(format!(
                "raise the retention of {name} from {found} to {target} days"
            ));
            retention_days = Some(target);
        }
        Some(found) if found > i64::from(target) => {
            let fell = applied
                .and_then(|applied| applied.retention_days)
                .is_some_and(|before| target < before);
            if fell && !contested {
                effect = Effect::Reduce;
                parts.push(format!(
                    "lower the retention of {name} from {found} to {target} days, as the spec asks"
                ));
                retention_days = Some(target);
            } else {
                plan.excess.push(Excess {
                    reason: reason::EXCEEDS_SPEC,
                    text: format!(
                        "{name} keeps logs for {found} days, spec.retentionDays is {target}; nothing is reduced because of that. Set \
                         spec.retentionDays to {found}, and to {target} afterwards to lower it"
                    ),
                    weakens: false,
                });
            }
        }
        _ => {}
    }
    if seen.anonymous_writing {
        parts.push(format!("forbid writing to {name} without a signature"));
    }
    if !parts.is_empty() {
        let action = Action::Update {
            retention_days,
            forbid_anonymous: seen.anonymous_writing,
        };
        plan.push(effect, "retentionDays", parts.join(", "), action);
    }
}

fn plan_append_meta(plan: &mut Plan, wanted: &Wanted<'_>, seen: &Seen, decision: &Decision) {
    let Wanted {
        spec, name, applied, ..
    } = *wanted;
    match (spec.append_meta, seen.append_meta) {
        (Some(true), false) => {
            let text = format!("let {name} add origin and arrival to each log");
            plan.push(Effect::Protect, "appendMeta", text, Action::AppendMeta(true));
        }
        (Some(false), true) => {
            let fell = applied.and_then(|applied| applied.append_meta) == Some(true);
            if fell && *decision == Decision::Keep {
                let text =
                    format!("let {name} no longer add origin and arrival to each log, as the spec asks");
                plan.push(Effect::Reduce, "appendMeta", text, Action::AppendMeta(false));
            } else {
                plan.excess.push(Excess {
                    reason: reason::EXCEEDS_SPEC,
                    text: format!(
                        "{name} adds origin and arrival to each log, spec.appendMeta is false; nothing is reduced because of that. Set \
                         spec.appendMeta to true, and to false afterwards to switch it off"
                    ),
                    weakens: false,
                });
            }
        }
        _ => {}
    }
}

/// What an update is to change in a store as it is found right before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Update {
    /// Retention in days, where it is to change.
    pub retention_days: Option<i32>,
    /// Whether writing without a signature is to be switched off.
    pub forbid_anonymous: bool,
    /// Whether origin and arrival are to be added to each log, where it is to change.
    pub append_meta: Option<bool>,
}

impl Update {
    /// Whether there is nothing to send.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// The retention of the store after it.
    pub fn days_after(self, found: &Seen) -> Option<i64> {
        self.retention_days.map(i64::from).or(found.retention_days)
    }
}

/// What is left of a planned update, for a store that may have changed since: somebody raised it meanwhile, and only a planned
/// reduction lowers.
pub fn update_of(found: &Seen, retention_days: Option<i32>, effect: Effect) -> Update {
    let days = retention_days.filter(|target| {
        found.retention_days.is_none_or(|found| match effect {
            Effect::Reduce => found != i64::from(*target),
            _ => found < i64::from(*target),
        })
    });
    Update {
        retention_days: days,
        forbid_anonymous: found.anonymous_writing,
        append_meta: None,
    }
}

/// As [`update_of`], for a switch of what is added to each log.
pub fn append_meta_of(found: &Seen, on: bool) -> Update {
    Update {
        retention_days: None,
        forbid_anonymous: found.anonymous_writing,
        append_meta: (found.append_meta != on).then_some(on),
    }
}

impl Plan {
    fn push(&mut self, effect: Effect, field: &'static str, text: impl Into<String>, action: Action) {
        self.steps.push(Step::new(effect, field, text, action));
    }
}

fn mark_text(name: &str, owner: &Owner) -> String {
    format!("mark log store {name} as owned by {}", owner.object())
}

fn shorten(missing: &[String]) -> String {
    match missing {
        [] => String::new(),
        few if few.len() <= 3 => few.join(", "),
        many => format!("{} and {} more", many[..3].join(", "), many.len() - 3),
    }
}

/// Taking over never reduces: the spec must ask for at least what is there.
fn must_not_reduce(spec: &AuditLogStoreSpec, name: &str, seen: &Seen) -> Result<(), Failure> {
    let target = spec.retention_days;
    match seen.retention_days.filter(|found| *found > i64::from(target)) {
        None => Ok(()),
        Some(found) => Err(Failure::stalled(
            reason::ADOPTION_WOULD_REDUCE,
            format!(
                "Log store {name} exists and keeps logs for {found} days; spec.retentionDays is {target}, so taking it over would delete logs. \
                 Nothing is written. Set spec.retentionDays to {found}; once the store is taken over it can be lowered"
            ),
        )),
    }
}

fn no_room(name: &str) -> Failure {
    Failure::stalled(
        reason::TAG_LIMIT_EXCEEDED,
        format!(
            "There is no room for ramtrail's mark of {name}: Log Service allows {TAG_LIMIT} tags. Remove a tag"
        ),
    )
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
