//! Every error of the cloud that the sheets list for these kinds' calls, with the reason, the words and the next step that it must
//! give, and recovery without a restart; and the classes of faults between operator and cloud: storms, 5xx, bodies that are slow,
//! cut, garbage or lost, keys that change, accounts that are swapped, strings that lie, clocks that are off.
//!
//! The table is written from the sheets, not from the operator. Each error body repeats the operator's secret.
//! `RAMTRAIL_POINT=ID` runs one point of the test that has it.
#![allow(clippy::unwrap_used)]

#[path = "points/mod.rs"]
mod points;
#[path = "../support/mod.rs"]
mod support;
#[path = "../trail_support/mod.rs"]
mod trail_support;

#[path = "cloud_errors/clock.rs"]
mod clock;
#[path = "cloud_errors/faults.rs"]
mod faults;
#[path = "cloud_errors/table.rs"]
mod table;

use std::sync::atomic::{AtomicU32, Ordering};

use points::{Matrix, Point};
use serde_json::{Value, json};
use support::{ACCOUNT, CREDENTIALS, SECRET, USER, World, project_spec, store_spec};
use table::{Case, On};
use trail_support::{
    KIND, PROJECT, STACK, STORE, TRAIL, apply_project, apply_stack, apply_store, apply_trail, copy_to,
    prepare, settle_stack, stack_settled,
};

/// Every call of the operator to this action is answered so until faults are removed.
fn refuse(world: &World, action: Option<&str>, status: u16, code: &str, message: &str) -> u64 {
    let mut matching = json!({"caller": USER, "times": 0});
    if let Some(action) = action {
        matching["action"] = json!(action);
    }
    let fault = json!({"kind": "status", "status": status, "code": code, "message": message});
    world
        .emulator
        .add_fault(&json!({"match": matching, "fault": fault}))
        .unwrap()
}

/// The seed's stack, settled.
fn stack(purpose: &str) -> World {
    let mut world = World::new(purpose);
    prepare(&world);
    apply_stack(&world);
    world.start();
    stack_settled(&world);
    world
}

/// Ready, in sync, nothing left for a person: what an error said before is gone.
fn well(world: &World, kind: &str, name: &str) {
    world.eventually(&format!("{kind} {name} is well again"), || {
        let conditions = world.conditions(kind, name);
        let is = |type_: &str, status: &str| {
            conditions
                .iter()
                .any(|c| c["type"] == type_ && c["status"] == status)
        };
        if is("Ready", "True") && is("Synced", "True") && is("Stalled", "False") && is("Reconciling", "False")
        {
            Ok(())
        } else {
            Err(format!("{conditions:#?}"))
        }
    });
}

/// Texts and statuses of conditions, without times.
fn said(world: &World) -> Vec<String> {
    STACK
        .iter()
        .flat_map(|(kind, name)| {
            world.conditions(kind, name).into_iter().map(move |c| {
                format!(
                    "{kind} {}={}/{} since {}: {}",
                    c["type"], c["status"], c["reason"], c["lastTransitionTime"], c["message"]
                )
            })
        })
        .collect()
}

fn matrix(test: &str) -> Matrix<'_> {
    Matrix {
        program: "cloud_errors",
        test,
        prefix: "",
        is_shared: false,
    }
}

#[test]
fn every_error_gives_its_reason_words_and_next_step_and_heals_without_a_restart() {
    let test = "every_error_gives_its_reason_words_and_next_step_and_heals_without_a_restart";
    let cases = table::cases();
    assert!(cases.len() >= 100, "the table shrank to {}", cases.len());
    let mut ids: Vec<String> = cases.iter().map(Case::id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), cases.len(), "every line has an id of its own");
    matrix(test).run_in_worlds(
        cases.into_iter().map(|case| (case.id(), case)).collect(),
        || stack("errors"),
        check,
        |world| {
            assert_eq!(uncalled_for(&world), Vec::<String>::new(), "{}", world.report());
            world.secret_is_nowhere();
        },
    );
}

/// Reducing calls of the operator, but for those that delete what a line of the table made, with its mark, as the line asks.
fn uncalled_for(world: &World) -> Vec<String> {
    let asked_for = |row: &&support::Row| {
        let only_of_lines = row.0["effects"].as_array().is_some_and(|all| {
            let field = |effect: &Value| effect["field"].as_str().unwrap_or_default().to_owned();
            all.iter().all(|effect| {
                let field = field(effect);
                field.starts_with("trail/made-") || field.contains("/tag/ramtrail-trail-made-")
            })
        });
        ["DeleteTrail", "UntagResources"].contains(&row.action()) && only_of_lines
    };
    world
        .journal(0)
        .iter()
        .filter(|row| row.is_ours() && row.reduces() && !asked_for(row))
        .map(ToString::to_string)
        .collect()
}

/// Brings the error about; what kind and name of object it meets.
fn meet(world: &World, case: &Case) -> (&'static str, String) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // The body repeats what must not be seen again.
    let message = format!("{} [{SECRET}]", case.message);
    let fault = |action: &str| refuse(world, Some(action), case.status, case.code, &message);
    match case.on {
        On::Look(kind) => {
            fault(case.action);
            let name = match kind {
                "AuditProject" => PROJECT,
                "AuditLogStore" => STORE,
                _ => TRAIL,
            };
            (kind, name.to_owned())
        }
        On::Make(kind) => {
            fault(case.action);
            let name = format!("made-{number}");
            match kind {
                "AuditProject" => world.apply(kind, &name, &project_spec(&name)),
                "AuditLogStore" => world.apply(kind, &name, &store_spec(PROJECT, &name, 30)),
                _ => world.apply(
                    kind,
                    &name,
                    &json!({"projectRef": {"name": PROJECT}, "deletionPolicy": "Delete"}),
                ),
            }
            (kind, name)
        }
        On::Change => {
            fault(case.action);
            let text = format!("words {number}");
            world.patch_spec("AuditProject", PROJECT, &json!({"description": text}));
            ("AuditProject", PROJECT.to_owned())
        }
        On::Resize => {
            fault(case.action);
            let days = 40 + number;
            world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": days}));
            ("AuditLogStore", STORE.to_owned())
        }
        On::Repair => {
            support::wait(world.intruder().action_trail.stop_logging(TRAIL)).unwrap();
            fault(case.action);
            (KIND, TRAIL.to_owned())
        }
        On::Keys => {
            fault(case.action);
            // Another version of the same keys: whose they are is asked anew.
            world.write_secret(CREDENTIALS, support::KEY, SECRET, true);
            world
                .kubectl
                .run([
                    "-n",
                    &world.namespace,
                    "annotate",
                    "secret",
                    CREDENTIALS,
                    &format!("touched={number}"),
                    "--overwrite",
                ])
                .unwrap();
            ("AuditProject", PROJECT.to_owned())
        }
    }
}

fn check(world: &World, case: &Case) {
    let (kind, name) = meet(world, case);
    for (type_, status, reason) in &case.says {
        let parts: Vec<String> = case
            .words
            .iter()
            .map(|part| part.replace("{account}", ACCOUNT).replace("{name}", &name))
            .collect();
        let what = format!("{}: {type_} is {status}/{reason} and says {parts:?}", case.id());
        // What was waited for before may give the same reason in other words.
        let told = world.eventually(&what, || {
            let conditions = world.conditions(kind, &name);
            let found = conditions.iter().find(|c| c["type"] == *type_);
            let told = found.and_then(|c| c["message"].as_str()).unwrap_or_default();
            let fits = found.is_some_and(|c| c["status"] == *status && c["reason"] == *reason);
            if fits && parts.iter().all(|part| told.contains(part)) {
                Ok(told.to_owned())
            } else {
                Err(format!("{conditions:#?}"))
            }
        });
        assert!(!told.contains(SECRET), "{told}");
    }
    let stalled = case.says.iter().any(|(type_, ..)| *type_ == "Stalled");
    let conditions = world.conditions(kind, &name);
    let really = conditions
        .iter()
        .any(|c| c["type"] == "Stalled" && c["status"] == "True");
    assert_eq!(
        really,
        stalled,
        "{}: Stalled exactly if a person must act: {conditions:#?}",
        case.id()
    );
    world.emulator.remove_faults().unwrap();
    well(world, kind, &name);
    if let On::Make(_) = case.on {
        world.settled(kind, &name);
        world.delete(kind, &name);
        world.gone(kind, &name);
    }
}

/// Design 2: one 503 never turns a thousand objects red.
#[test]
fn one_503_for_every_operation_changes_no_condition() {
    let world = stack("one503");
    settle_stack(&world);
    world.resyncs("GetTrailStatus", 2);
    let (before, versions, since) = (said(&world), world.versions(), world.now());
    let mut met = Vec::new();
    for action in [
        "DescribeTrails",
        "GetCallerIdentity",
        "GetETL",
        "GetIndex",
        "GetLogStore",
        "GetLogsV2",
        "GetProject",
        "GetTrailStatus",
        "ListTagResources",
    ] {
        let fault = json!({
            "match": {"caller": USER, "action": action, "times": 1},
            "fault": {"kind": "status", "status": 503, "code": "ServiceUnavailable", "message": SECRET},
        });
        met.push((action, world.emulator.add_fault(&fault).unwrap()));
    }
    world.eventually("every operation was refused once", || {
        let listed = world.emulator.get("faults").unwrap();
        let open: Vec<&str> = met
            .iter()
            .filter(|(_, id)| {
                let fault = listed["faults"].as_array().unwrap();
                !fault.iter().any(|fault| fault["id"] == *id && fault["met"] == 1)
            })
            .map(|(action, _)| *action)
            .collect();
        if open.is_empty() {
            Ok(())
        } else {
            Err(format!("{open:?}"))
        }
    });
    world.resyncs("GetTrailStatus", 2);
    assert_eq!(said(&world), before);
    assert_eq!(world.versions(), versions, "not even the status was written");
    assert_eq!(world.writes(since), Vec::<String>::new());
    world.secret_is_nowhere();
}

/// Real denials by RAM, one for each action that the stack takes: the message names it, the resource that the cloud judged, and
/// who needs it; a grant is enough.
#[test]
fn a_denied_call_names_action_resource_and_caller_and_a_grant_heals_it() {
    let test = "a_denied_call_names_action_resource_and_caller_and_a_grant_heals_it";
    let points = table::DENIED
        .iter()
        .map(|(ram_action, action, kind)| Point::new(*ram_action, move || denied(ram_action, action, kind)))
        .collect();
    matrix(test).run(points);
}

fn denied(ram_action: &str, action: &str, kind: &str) {
    let mut world = World::new("denied");
    prepare(&world);
    let statements = json!([
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": ram_action, "Resource": "*"},
    ]);
    let key = "LTAInarrowKey000001";
    world.add_user(key, ACCOUNT, "narrow", &statements);
    world.write_secret(CREDENTIALS, key, SECRET, true);
    apply_project(&world);
    apply_store(&world);
    apply_trail(
        &world,
        &json!({"copyTo": copy_to(), "store": {"retentionDays": 3650}}),
    );
    world.start();
    let name = match kind {
        "AuditProject" => PROJECT,
        "AuditLogStore" => STORE,
        _ => TRAIL,
    };
    let reason = if ram_action == "ram:CreateServiceLinkedRole" {
        "ServiceLinkedRoleMissing"
    } else {
        "Denied"
    };
    let told = world.condition(kind, name, "Stalled", "True", reason);
    let message = told["message"].as_str().unwrap();
    let refused: Vec<Value> = world
        .journal(0)
        .iter()
        .filter(|row| row.is_ours() && row.action() == action && [401, 403].contains(&row.status()))
        .map(|row| row.0["resources"].clone())
        .collect();
    assert!(!refused.is_empty(), "{action} was refused\n{}", world.report());
    assert!(
        message.contains(ram_action) && message.contains("user/narrow"),
        "{message}"
    );
    if reason == "Denied" {
        let judged = refused.iter().filter_map(Value::as_array).flatten();
        let named = judged.filter_map(Value::as_str).any(|arn| message.contains(arn));
        assert!(
            named && message.contains("Grant it to"),
            "one of {refused:?}: {message}"
        );
    }
    assert_eq!(
        world.count(0, action),
        0,
        "the action was denied from the beginning\n{}",
        world.report()
    );
    world.write_secret(CREDENTIALS, support::KEY, SECRET, true);
    stack_settled(&world);
    well(&world, kind, name);
    world.nothing_was_reduced();
    world.secret_is_nowhere();
}
