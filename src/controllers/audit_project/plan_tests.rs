#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn owner() -> Owner {
    Owner::new("prod", "AuditProject", "n", "p")
}

fn spec(tags: &[(&str, &str)], description: Option<&str>) -> AuditProjectSpec {
    AuditProjectSpec {
        region: "cn-hangzhou".into(),
        description: description.map(str::to_owned),
        tags: tags
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ..AuditProjectSpec::default()
    }
}

fn seen(tags: &[(&str, &str)], marked: bool) -> Seen {
    let mut all: BTreeMap<String, String> = tags
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    if marked {
        all.extend(own_marks(&owner(), Spelling::Slash));
    }
    Seen {
        description: String::new(),
        create_time: Some("t".into()),
        tags: all,
    }
}

fn plan_of(
    spec: &AuditProjectSpec,
    applied: Option<&AppliedProject>,
    decision: &Decision,
    seen: Option<&Seen>,
) -> Result<Vec<Step<Action>>, Failure> {
    let owner = owner();
    plan(
        &Wanted {
            spec,
            name: "p",
            applied,
            owner: &owner,
            spelling: Spelling::Slash,
        },
        decision,
        seen,
    )
}

fn actions(steps: Vec<Step<Action>>) -> Vec<Action> {
    steps.into_iter().map(|step| step.action).collect()
}

#[test]
fn a_missing_project_is_created_and_then_tagged_in_one_call() {
    let spec = spec(&[("team", "ml")], Some("words"));
    for decision in [Decision::Create, Decision::CreateAgain] {
        let steps = actions(plan_of(&spec, None, &decision, None).unwrap());
        assert_eq!(
            steps,
            [
                Action::Create,
                Action::Tag {
                    marks: true,
                    tags: BTreeMap::from([("team".into(), "ml".into())])
                }
            ]
        );
    }
}

#[test]
fn a_project_as_wanted_needs_nothing() {
    let spec = spec(&[("team", "ml")], Some(""));
    let seen = seen(&[("team", "ml"), ("others", "x")], true);
    assert_eq!(plan_of(&spec, None, &Decision::Keep, Some(&seen)).unwrap(), []);
}

#[test]
fn a_lost_mark_is_protection_and_a_changed_tag_is_not() {
    let wanted = spec(&[("team", "ml")], None);
    let steps = plan_of(
        &wanted,
        None,
        &Decision::Keep,
        Some(&seen(&[("team", "ml")], false)),
    )
    .unwrap();
    assert_eq!(
        (steps[0].effect, &steps[0].action),
        (
            Effect::Protect,
            &Action::Tag {
                marks: true,
                tags: BTreeMap::new()
            }
        )
    );
    let steps = plan_of(
        &wanted,
        None,
        &Decision::Keep,
        Some(&seen(&[("team", "x")], true)),
    )
    .unwrap();
    assert_eq!(steps[0].effect, Effect::Neutral);
}

#[test]
fn only_tags_that_this_object_set_are_pruned() {
    let applied = AppliedProject {
        tag_keys: vec!["old".into(), "gone".into()],
        description: None,
    };
    let seen = seen(&[("old", "1"), ("others", "2")], true);
    let steps = actions(plan_of(&spec(&[], None), Some(&applied), &Decision::Keep, Some(&seen)).unwrap());
    assert_eq!(steps, [Action::Untag(vec!["old".into()])]);
}

#[test]
fn an_unset_description_is_left_as_found() {
    let mut found = seen(&[], true);
    found.description = "somebody's".into();
    assert_eq!(
        plan_of(&spec(&[], None), None, &Decision::Keep, Some(&found)).unwrap(),
        []
    );
    let steps = actions(plan_of(&spec(&[], Some("ours")), None, &Decision::Keep, Some(&found)).unwrap());
    assert_eq!(steps, [Action::Describe("ours".into())]);
}

#[test]
fn a_contested_project_is_not_written_to() {
    let steps = plan_of(
        &spec(&[("a", "b")], Some("x")),
        None,
        &Decision::Contested,
        Some(&seen(&[], false)),
    );
    assert_eq!(steps.unwrap(), []);
}

#[test]
fn marks_and_tags_share_the_limit() {
    let tags: Vec<(String, String)> = (0..19).map(|i| (format!("k{i}"), "v".to_owned())).collect();
    let mut found = seen(&[], false);
    found.tags = tags.into_iter().collect();
    let failure = plan_of(
        &spec(&[], None),
        None,
        &Decision::Take(Origin::Adopted),
        Some(&found),
    )
    .unwrap_err();
    assert!(matches!(
        failure,
        Failure::Stalled {
            reason: reason::TAG_LIMIT_EXCEEDED,
            ..
        }
    ));
    found.tags.remove("k0");
    assert!(
        plan_of(
            &spec(&[], None),
            None,
            &Decision::Take(Origin::Adopted),
            Some(&found)
        )
        .is_ok()
    );
}

#[test]
fn nothing_a_project_needs_ever_reduces() {
    // Projects have no field that could: a new one must be thought about here.
    let AuditProjectSpec {
        region: _,
        project_name: _,
        account_id: _,
        description: _,
        tags: _,
        credentials: _,
        management_policy: _,
        adoption_policy: _,
        deletion_policy: _,
    } = spec(&[], None);
}

/// What the steps make of a project.
fn apply(seen: Option<Seen>, steps: &[Step<Action>], spec: &AuditProjectSpec) -> Seen {
    let mut now = seen.unwrap_or_default();
    for step in steps {
        match &step.action {
            Action::Create => {
                now = Seen {
                    description: spec.description.clone().unwrap_or_default(),
                    create_time: Some("new".into()),
                    tags: BTreeMap::new(),
                };
            }
            Action::Tag { marks, tags } => {
                if *marks {
                    now.tags.extend(own_marks(&owner(), Spelling::Slash));
                }
                now.tags.extend(tags.clone());
            }
            Action::Untag(keys) => now.tags.retain(|key, _| !keys.contains(key)),
            Action::Describe(text) => now.description.clone_from(text),
        }
    }
    now
}

fn tags() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("[a-f]", "[xyz]", 0..6)
}

proptest! {
    #[test]
    fn after_its_own_plan_nothing_is_left_to_do(
        wanted in tags(),
        found in proptest::option::of((tags(), "[ab]{0,2}", 0..3)),
        applied in proptest::collection::vec("[a-f]", 0..4),
        description in proptest::option::of("[ab]{0,2}"),
        taken in any::<bool>(),
    ) {
        let spec = AuditProjectSpec {
            region: "cn-hangzhou".into(), tags: wanted, description, ..AuditProjectSpec::default()
        };
        let found = found.map(|(tags, description, mark)| {
            let mut seen = Seen { description, create_time: Some("t".into()), tags };
            match mark {
                0 => seen.tags.extend(own_marks(&owner(), Spelling::Slash)),
                1 => drop(seen.tags.insert(OWNER_KEY.into(), "scribble".into())),
                _ => {}
            }
            seen
        });
        let decision = match (&found, taken) {
            (None, _) => Decision::Create,
            (Some(_), true) => Decision::Take(Origin::Adopted),
            (Some(_), false) => Decision::Keep,
        };
        let before = AppliedProject { tag_keys: applied, description: None };
        let steps = plan_of(&spec, Some(&before), &decision, found.as_ref()).unwrap();
        prop_assert!(steps.iter().all(|step| step.effect != Effect::Reduce));
        let after = apply(found.clone(), &steps, &spec);
        let again = super::applied(&spec);
        prop_assert_eq!(plan_of(&spec, Some(&again), &Decision::Keep, Some(&after)).unwrap(), vec![]);
        // Nothing of others is lost.
        for (key, value) in found.iter().flat_map(|seen| &seen.tags) {
            if !spec.tags.contains_key(key) && !before.tag_keys.contains(key) && !key.starts_with(KEY_PREFIX) {
                prop_assert_eq!(after.tags.get(key), Some(value));
            }
        }
    }
}
