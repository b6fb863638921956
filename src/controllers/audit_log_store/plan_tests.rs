#![allow(clippy::unwrap_used)]

use super::*;
use crate::api::v1alpha1::Shards;
use crate::controllers::ownership::Spelling;
use proptest::prelude::*;
use serde_json::json;

fn owner() -> Owner {
    Owner::new("prod", "AuditLogStore", "n", "s")
}

fn spec(days: i32) -> AuditLogStoreSpec {
    AuditLogStoreSpec {
        retention_days: days,
        ..AuditLogStoreSpec::default()
    }
}

fn seen(days: i64) -> Seen {
    Seen {
        retention_days: Some(days),
        shard_count: Some(2),
        anonymous_writing: false,
        append_meta: false,
        index: Some(index_preset::preset()),
        mark: Some(owner().mark(Spelling::Slash)),
        tag_count: 2,
    }
}

fn plan_of(
    spec: &AuditLogStoreSpec,
    applied: Option<i32>,
    decision: &Decision,
    seen: Option<&Seen>,
) -> Result<Plan, Failure> {
    let owner = owner();
    let applied = applied.map(|days| AppliedLogStore {
        retention_days: Some(days),
        ..AppliedLogStore::default()
    });
    plan(
        &Wanted {
            spec,
            name: "s",
            applied: applied.as_ref(),
            owner: &owner,
        },
        decision,
        seen,
    )
}

fn retention(plan: &Plan) -> Option<(Effect, i32)> {
    plan.steps.iter().find_map(|step| match step.action {
        Action::Update {
            retention_days: Some(days),
            ..
        } => Some((step.effect, days)),
        _ => None,
    })
}

#[test]
fn a_missing_store_is_created_marked_and_indexed_in_this_order() {
    let plan = plan_of(&spec(30), None, &Decision::Create, None).unwrap();
    let actions: Vec<Action> = plan.steps.into_iter().map(|step| step.action).collect();
    assert_eq!(
        actions,
        [
            Action::Create {
                retention_days: 30,
                shard_count: 2,
                append_meta: false,
            },
            Action::Mark,
            Action::CreateIndex(index_preset::preset())
        ]
    );
    let mut wanted = spec(30);
    wanted.shards = Some(Shards { count: 4 });
    let plan = plan_of(&wanted, None, &Decision::CreateAgain, None).unwrap();
    assert_eq!(
        plan.steps[0].action,
        Action::Create {
            retention_days: 30,
            shard_count: 4,
            append_meta: false,
        }
    );
    wanted.append_meta = Some(true);
    let plan = plan_of(&wanted, None, &Decision::Create, None).unwrap();
    assert!(matches!(
        plan.steps[0].action,
        Action::Create {
            append_meta: true,
            ..
        }
    ));
}

#[test]
fn a_store_as_wanted_needs_nothing() {
    assert_eq!(
        plan_of(&spec(30), Some(30), &Decision::Keep, Some(&seen(30))).unwrap(),
        Plan::default()
    );
}

#[test]
fn retention_goes_up_by_itself_and_down_only_when_its_wanted_value_fell() {
    use Effect::{Protect, Reduce};
    // (found, wanted, applied) → what is done.
    let table = [
        (10, 30, Some(30), Some((Protect, 30))),
        (30, 60, Some(30), Some((Protect, 60))),
        (10, 30, None, Some((Protect, 30))),
        (60, 30, Some(30), None),
        (60, 30, None, None),
        (60, 30, Some(20), None),
        (60, 30, Some(60), Some((Reduce, 30))),
        (90, 30, Some(60), Some((Reduce, 30))),
        (3650, 30, Some(31), Some((Reduce, 30))),
        (10, 30, Some(60), Some((Protect, 30))),
        (30, 30, Some(60), None),
    ];
    for (found, wanted, applied, expected) in table {
        let plan = plan_of(&spec(wanted), applied, &Decision::Keep, Some(&seen(found))).unwrap();
        assert_eq!(
            retention(&plan),
            expected,
            "found {found}, wanted {wanted}, applied {applied:?}"
        );
        let exceeds = found > i64::from(wanted) && expected.is_none();
        assert_eq!(
            plan.excess.iter().any(|e| e.reason == reason::EXCEEDS_SPEC),
            exceeds,
            "found {found}, wanted {wanted}"
        );
    }
}

#[test]
fn taking_over_never_reduces_and_names_the_field() {
    let take = Decision::Take(Origin::Adopted);
    let failure = plan_of(&spec(30), None, &take, Some(&seen(90))).unwrap_err();
    assert!(matches!(
        failure,
        Failure::Stalled {
            reason: reason::ADOPTION_WOULD_REDUCE,
            ..
        }
    ));
    assert!(failure.to_string().contains("spec.retentionDays") && failure.to_string().contains("90"));
    for days in [30, 90] {
        let mut found = seen(30);
        found.mark = None;
        let plan = plan_of(&spec(days), None, &take, Some(&found)).unwrap();
        assert_eq!(plan.steps[0].action, Action::Mark, "the mark comes first");
    }
    // What it kept before an outsider deleted it does not allow less.
    assert!(plan_of(&spec(30), Some(60), &take, Some(&seen(90))).is_err());
}

#[test]
fn a_contested_store_is_protected_and_nothing_else() {
    let mut found = seen(10);
    found.mark = Some(Owner::new("other", "AuditLogStore", "n", "s").mark(Spelling::Slash));
    found.index = None;
    let plan = plan_of(&spec(30), Some(30), &Decision::Contested, Some(&found)).unwrap();
    assert!(
        plan.steps
            .iter()
            .all(|step| step.effect == Effect::Protect && step.action != Action::Mark)
    );
    assert_eq!(plan.steps.len(), 2);
    let plan = plan_of(&spec(30), Some(60), &Decision::Contested, Some(&seen(60))).unwrap();
    assert_eq!(retention(&plan), None, "no reduction while two claim it");
}

#[test]
fn writing_without_a_signature_is_switched_off() {
    let mut found = seen(30);
    found.anonymous_writing = true;
    let plan = plan_of(&spec(30), Some(30), &Decision::Keep, Some(&found)).unwrap();
    assert_eq!(
        plan.steps[0].action,
        Action::Update {
            retention_days: None,
            forbid_anonymous: true
        }
    );
}

#[test]
fn origin_and_arrival_are_switched_on_by_the_spec_and_off_only_when_it_fell() {
    use Decision::{Contested, Keep};
    use Effect::{Protect, Reduce};
    let adopted = Decision::Take(Origin::Adopted);
    // (wanted, found, applied, decision) → (what is done, what is only said).
    let table = [
        (None, false, None, &Keep, None, false),
        (None, true, Some(true), &Keep, None, false),
        (Some(true), true, None, &Keep, None, false),
        (Some(true), false, None, &Keep, Some((Protect, true)), false),
        (
            Some(true),
            false,
            Some(false),
            &Keep,
            Some((Protect, true)),
            false,
        ),
        (
            Some(true),
            false,
            Some(true),
            &Contested,
            Some((Protect, true)),
            false,
        ),
        (Some(true), false, None, &adopted, Some((Protect, true)), false),
        (Some(false), false, Some(true), &Keep, None, false),
        (Some(false), true, None, &Keep, None, true),
        (Some(false), true, Some(false), &Keep, None, true),
        (Some(false), true, Some(true), &Keep, Some((Reduce, false)), false),
        (Some(false), true, Some(true), &Contested, None, true),
        (Some(false), true, Some(true), &adopted, None, true),
    ];
    let owner = owner();
    for (wanted, found, before, decision, done, said) in table {
        let mut spec = spec(30);
        spec.append_meta = wanted;
        let mut seen = seen(30);
        seen.append_meta = found;
        let applied = AppliedLogStore {
            retention_days: Some(30),
            append_meta: before,
            ..AppliedLogStore::default()
        };
        let case = format!("wanted {wanted:?}, found {found}, applied {before:?}, {decision:?}");
        let wanted = Wanted {
            spec: &spec,
            name: "s",
            applied: Some(&applied),
            owner: &owner,
        };
        let plan = plan(&wanted, decision, Some(&seen)).unwrap();
        let steps: Vec<_> = plan
            .steps
            .iter()
            .map(|step| match step.action {
                Action::AppendMeta(on) => (step.effect, on),
                ref other => panic!("{case}: {other:?}"),
            })
            .collect();
        assert_eq!(steps, Vec::from_iter(done), "{case}");
        assert_eq!(!plan.excess.is_empty(), said, "{case}");
    }
    // What is as it should be by now is not sent, and nothing else goes with it.
    let update = append_meta_of(&seen(365), true);
    assert_eq!((update.retention_days, update.append_meta), (None, Some(true)));
    assert!(append_meta_of(&seen(365), false).is_nothing());
}

#[test]
fn a_weakened_index_is_restored_and_keys_of_others_stay() {
    let mut found = seen(30);
    let index = found.index.as_mut().unwrap();
    index["keys"]["team"] = json!({"type": "text"});
    index["keys"]["event"]["json_keys"]
        .as_object_mut()
        .unwrap()
        .remove("eventName");
    let plan = plan_of(&spec(30), Some(30), &Decision::Keep, Some(&found)).unwrap();
    let Action::UpdateIndex(restored) = &plan.steps[0].action else {
        panic!("{plan:?}")
    };
    assert_eq!(restored["keys"]["team"], json!({"type": "text"}));
    assert!(plan.steps[0].text.contains("event.eventName"));
}

#[test]
fn another_number_of_shards_is_said_and_left() {
    let mut wanted = spec(30);
    wanted.shards = Some(Shards { count: 4 });
    let plan = plan_of(&wanted, Some(30), &Decision::Keep, Some(&seen(30))).unwrap();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.excess[0].reason, reason::SHARD_COUNT_DIFFERS);
    assert_eq!(
        plan_of(&spec(30), Some(30), &Decision::Keep, Some(&seen(30)))
            .unwrap()
            .excess,
        []
    );
}

#[test]
fn a_mark_needs_room() {
    let mut found = seen(30);
    (found.mark, found.tag_count) = (None, 20);
    let failure = plan_of(&spec(30), None, &Decision::Keep, Some(&found)).unwrap_err();
    assert!(matches!(
        failure,
        Failure::Stalled {
            reason: reason::TAG_LIMIT_EXCEEDED,
            ..
        }
    ));
}

#[test]
fn a_type_of_the_index_that_is_not_ours_is_said_and_left() {
    let mut found = seen(30);
    let index = found.index.as_mut().unwrap();
    index["keys"]["event"]["json_keys"]["errorCode"]["type"] = json!("long");
    for decision in [Decision::Take(Origin::Adopted), Decision::Keep] {
        let plan = plan_of(&spec(30), Some(30), &decision, Some(&found)).unwrap();
        assert_eq!(plan.steps, vec![]);
        let [excess] = plan.excess.as_slice() else {
            panic!("{:?}", plan.excess);
        };
        assert!(
            excess.weakens && excess.text.contains("event.errorCode has type long"),
            "{excess:?}"
        );
    }
}

#[test]
fn a_type_of_the_index_that_was_ours_is_put_back_unless_the_store_is_another_one() {
    let mut found = seen(30);
    let applied = AppliedLogStore {
        retention_days: Some(30),
        index_types: index_preset::typed_keys(found.index.as_ref().unwrap()),
        ..AppliedLogStore::default()
    };
    let index = found.index.as_mut().unwrap();
    index["keys"]["event"]["json_keys"]["errorCode"]["type"] = json!("long");
    let (spec, owner) = (spec(30), owner());
    let plan = |decision: &Decision| {
        let wanted = Wanted {
            spec: &spec,
            name: "s",
            applied: Some(&applied),
            owner: &owner,
        };
        plan(&wanted, decision, Some(&found)).unwrap()
    };
    let kept = plan(&Decision::Keep);
    assert_eq!(kept.excess, []);
    let [step] = kept.steps.as_slice() else {
        panic!("{kept:?}")
    };
    assert_eq!(step.effect, Effect::Protect);
    assert_eq!(step.action, Action::UpdateIndex(index_preset::preset()));
    for decision in [Decision::Take(Origin::Adopted), Decision::Take(Origin::Created)] {
        let taken = plan(&decision);
        assert_eq!(taken.steps, []);
        assert_eq!(taken.excess.len(), 1, "{decision:?}");
    }
}

/// What the steps make of a store.
fn apply(seen: Option<Seen>, steps: &[Step<Action>]) -> Seen {
    let mut now = seen.unwrap_or_default();
    for step in steps {
        match &step.action {
            Action::Create {
                retention_days,
                shard_count,
                append_meta,
            } => {
                now = Seen {
                    retention_days: Some((*retention_days).into()),
                    shard_count: Some((*shard_count).into()),
                    append_meta: *append_meta,
                    ..Seen::default()
                };
            }
            Action::Mark => now.mark = Some(owner().mark(Spelling::Slash)),
            Action::Update {
                retention_days,
                forbid_anonymous,
            } => {
                if let Some(days) = retention_days {
                    now.retention_days = Some((*days).into());
                }
                now.anonymous_writing &= !forbid_anonymous;
            }
            Action::AppendMeta(on) => now.append_meta = *on,
            Action::CreateIndex(index) | Action::UpdateIndex(index) => now.index = Some(index.clone()),
        }
    }
    now
}

fn stores() -> impl Strategy<Value = Seen> {
    let index = prop_oneof![
        Just(None),
        Just(Some(index_preset::preset())),
        Just(Some(
            json!({"line": {"token": [","]}}).as_object().unwrap().clone()
        )),
        Just(Some(
            json!({"keys": {"other": {"type": "long"}}})
                .as_object()
                .unwrap()
                .clone()
        )),
    ];
    (
        proptest::option::of(1i64..100),
        1i64..4,
        any::<bool>(),
        any::<bool>(),
        index,
        0..3,
    )
        .prop_map(
            |(retention_days, shards, anonymous_writing, append_meta, index, mark)| Seen {
                retention_days,
                shard_count: Some(shards),
                anonymous_writing,
                append_meta,
                index,
                mark: match mark {
                    0 => Some(owner().mark(Spelling::Slash)),
                    1 => Some("scribble".into()),
                    _ => None,
                },
                tag_count: 0,
            },
        )
}

proptest! {
    #[test]
    fn after_its_own_plan_nothing_is_left_and_nothing_fell_without_cause(
        found in proptest::option::of(stores()),
        wanted in 1i32..100,
        applied in proptest::option::of(1i32..100),
        append_meta in proptest::option::of(any::<bool>()),
        kind in 0..4,
    ) {
        let decision = match (&found, kind) {
            (None, _) => Decision::Create,
            (Some(_), 0) => Decision::Take(Origin::Adopted),
            (Some(_), 1) => Decision::Take(Origin::Created),
            (Some(_), 2) => Decision::Contested,
            (Some(_), _) => Decision::Keep,
        };
        let mut spec = spec(wanted);
        spec.append_meta = append_meta;
        let Ok(plan) = plan_of(&spec, applied, &decision, found.as_ref()) else {
            prop_assert_eq!(decision, Decision::Take(Origin::Adopted));
            return Ok(());
        };
        let after = apply(found.clone(), &plan.steps);
        let fell = applied.is_some_and(|before| wanted < before);
        if let Some(found) = &found {
            let (before, now) = (found.retention_days.unwrap_or(0), after.retention_days.unwrap_or(0));
            prop_assert!(now >= before || fell, "{before} to {now} days with nothing fallen");
            prop_assert!(after.append_meta >= found.append_meta, "switched off although the spec never asked for it before");
            prop_assert!(fell || plan.steps.iter().all(|step| step.effect != Effect::Reduce));
            if let Some(index) = &found.index {
                let keys = index.get("keys").and_then(Value::as_object);
                for name in keys.into_iter().flat_map(Map::keys) {
                    prop_assert!(after.index.as_ref().unwrap()["keys"].get(name).is_some());
                }
            }
        }
        let next = if decision == Decision::Contested { Decision::Contested } else { Decision::Keep };
        let again = plan_of(&spec, Some(wanted), &next, Some(&after)).unwrap();
        prop_assert_eq!(again.steps, vec![]);
    }
}

#[test]
fn an_update_lowers_nothing_that_was_raised_since_it_was_planned() {
    let (days, nothing) = (Some(60), Update::default());
    let sent = Update {
        retention_days: days,
        ..nothing
    };
    for (found, effect, wanted) in [
        (30, Effect::Protect, sent),
        (60, Effect::Protect, nothing),
        (365, Effect::Protect, nothing),
        (365, Effect::Reduce, sent),
        (60, Effect::Reduce, nothing),
        (30, Effect::Reduce, sent),
    ] {
        assert_eq!(
            update_of(&seen(found), days, effect),
            wanted,
            "{found} {effect:?}"
        );
    }
    // An update about anonymous writing alone leaves the days as they are by now.
    let mut open = seen(365);
    open.anonymous_writing = true;
    let forbid = update_of(&open, None, Effect::Protect);
    assert_eq!(
        (forbid.forbid_anonymous, forbid.days_after(&open)),
        (true, Some(365))
    );
    assert!(update_of(&seen(365), None, Effect::Protect).is_nothing());
}
