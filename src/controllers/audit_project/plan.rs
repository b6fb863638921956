//! What an AuditProject asks of its project, compared with what was seen. Pure.

use std::collections::BTreeMap;

use crate::api::condition::reason;
use crate::api::v1alpha1::{AppliedProject, AuditProjectSpec, Origin};
use crate::controllers::acquisition::Decision;
use crate::controllers::failure::Failure;
use crate::controllers::marks::own_marks;
use crate::controllers::ownership::{
    KEY_PREFIX, Mark, OWNER_KEY, Owner, Spelling, TAG_LIMIT, tags_over_limit,
};
use crate::controllers::plan::{Effect, Step};

/// A project as it was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Description; empty when there is none.
    pub description: String,
    /// Creation time as the cloud says it.
    pub create_time: Option<String>,
    /// All tags, ours included.
    pub tags: BTreeMap<String, String>,
}

/// What to do to a project.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create it.
    Create,
    /// Set the marks, where `marks`, and these tags.
    Tag {
        /// Whether the marks are among what is set.
        marks: bool,
        /// The user's tags that are added or changed.
        tags: BTreeMap<String, String>,
    },
    /// Remove the user's tags with these keys.
    Untag(Vec<String>),
    /// Set the description.
    Describe(String),
}

/// What the plan is made from, besides what was seen.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The spec.
    pub spec: &'a AuditProjectSpec,
    /// Name of the project.
    pub name: &'a str,
    /// What was converged before.
    pub applied: Option<&'a AppliedProject>,
    /// Who we are.
    pub owner: &'a Owner,
    /// How marks are written.
    pub spelling: Spelling,
}

/// The steps from what was seen to what is wanted.
///
/// # Errors
/// Stalled when there is no room for the tags.
pub fn plan(
    wanted: &Wanted<'_>,
    decision: &Decision,
    seen: Option<&Seen>,
) -> Result<Vec<Step<Action>>, Failure> {
    let Wanted {
        spec,
        name,
        applied,
        owner,
        spelling,
    } = *wanted;
    let nothing = Seen::default();
    let mut steps = Vec::new();
    if matches!(decision, Decision::Create | Decision::CreateAgain) {
        let text = format!("create project {name} in {}", spec.region);
        steps.push(Step::new(Effect::Create, "projectName", text, Action::Create));
    }
    let seen = seen.unwrap_or(&nothing);
    // While somebody else claims the project too, only what protects is done, and for a project nothing else is.
    if *decision == Decision::Contested {
        return Ok(steps);
    }
    let marked = owner.judge(seen.tags.get(OWNER_KEY).map(String::as_str)) == Mark::Ours;
    let tags: BTreeMap<String, String> = spec
        .tags
        .iter()
        .filter(|(key, value)| seen.tags.get(*key) != Some(*value) && !key.starts_with(KEY_PREFIX))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !marked || !tags.is_empty() {
        let marks = own_marks(owner, spelling);
        let keys = tags
            .keys()
            .chain(marks.keys().filter(|_| !marked))
            .map(String::as_str);
        let over = tags_over_limit(&seen.tags, keys);
        if over > 0 {
            return Err(no_room(name, over));
        }
        let (effect, text) = if marked {
            let keys: Vec<&str> = tags.keys().map(String::as_str).collect();
            (
                Effect::Neutral,
                format!("set tags {} on project {name}", keys.join(", ")),
            )
        } else {
            (
                Effect::Protect,
                format!("mark project {name} as owned by {}", owner.object()),
            )
        };
        steps.push(Step::new(
            effect,
            "tags",
            text,
            Action::Tag { marks: !marked, tags },
        ));
    }
    let left: Vec<String> = applied
        .into_iter()
        .flat_map(|applied| &applied.tag_keys)
        .filter(|key| {
            !spec.tags.contains_key(*key) && seen.tags.contains_key(*key) && !key.starts_with(KEY_PREFIX)
        })
        .cloned()
        .collect();
    if !left.is_empty() {
        let text = format!("remove tags {} from project {name}", left.join(", "));
        steps.push(Step::new(Effect::Neutral, "tags", text, Action::Untag(left)));
    }
    // A project that is created gets its description with the call.
    let created = matches!(decision, Decision::Create | Decision::CreateAgain);
    if let Some(description) = spec
        .description
        .as_deref()
        .filter(|text| !created && *text != seen.description)
    {
        let text = format!("set the description of project {name}");
        steps.push(Step::new(
            Effect::Neutral,
            "description",
            text,
            Action::Describe(description.to_owned()),
        ));
    }
    Ok(steps)
}

fn no_room(name: &str, over: usize) -> Failure {
    Failure::stalled(
        reason::TAG_LIMIT_EXCEEDED,
        format!(
            "Project {name} would carry {over} more than the {TAG_LIMIT} tags that Log Service allows, ramtrail's marks included. Remove \
             tags from spec.tags or from the project"
        ),
    )
}

/// What is remembered as converged.
pub fn applied(spec: &AuditProjectSpec) -> AppliedProject {
    AppliedProject {
        tag_keys: spec.tags.keys().cloned().collect(),
        description: spec.description.clone(),
    }
}

/// How the acquisition that a decision makes came about.
pub fn origin(decision: &Decision) -> Option<Origin> {
    match decision {
        Decision::Create | Decision::CreateAgain => Some(Origin::Created),
        Decision::Take(origin) => Some(*origin),
        Decision::Keep | Decision::Contested => None,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
