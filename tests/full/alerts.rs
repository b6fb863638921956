//! Every alert of the chart fires when what it is about really happens, with the right labels and words, and nothing else does;
//! and nothing fires while all is well. Every expression of the dashboard finds what it shows.
//!
//! A scenario makes the trouble with the real operator and a cloud, and records `/metrics` before and during it. The recordings are
//! laid on an axis of hours, which `for` and ranges of the rules need, and Prometheus' own rule tester judges (`recording.rs` says
//! what stretching does to a value). The operator of the scenarios looks every two seconds and makes a call of its own every ten:
//! much faster than in production, so no rule may depend on the pace, only on shares, ages and whether something happened.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../trail_support/mod.rs"]
mod trail_support;

#[path = "alerts/dashboard.rs"]
mod dashboard;
#[path = "alerts/demo.rs"]
mod demo;
#[path = "alerts/recording.rs"]
mod recording;
#[path = "alerts/rules.rs"]
mod rules;
#[path = "alerts/scenarios.rs"]
mod scenarios;
#[path = "alerts/stage.rs"]
mod stage;

use std::collections::BTreeSet;

use recording::{Course, Recording, label};
use rules::{Case, Firing, alerts, firing, promtool};
use serde_json::json;
use stage::Stage;
use support::wait;
use trail_support::{apply_project, apply_store, apply_trail, project};
use xtask::workspace::root;

/// Scrapes of ten minutes.
const TEN_MINUTES: u32 = 20;

/// What a scenario made: the course of its metrics, when the trouble begins on it, and what must fire.
struct Played {
    course: Course,
    trouble: u32,
    fires: Vec<Firing>,
}

/// The healthy beginning of a scenario.
fn prelude(stage: &Stage) -> Course {
    let (first, second) = stage.healthy();
    let mut course = Course::new(&first);
    course.go_on(&first, &second, TEN_MINUTES);
    course
}

/// Trouble that lasts: what went on between two recordings goes on for 50 minutes.
fn lasting(mut course: Course, from: &Recording, to: &Recording, fires: Vec<Firing>) -> Played {
    let trouble = course.length();
    course.go_on(from, to, 5 * TEN_MINUTES);
    Played {
        course,
        trouble,
        fires,
    }
}

/// No alert fires at any time of a healthy course, and each expression of the dashboard finds what it shows at its end.
fn nothing_fires_and_the_dashboard_shows(course: Course) {
    let mut case = Case::new(course, 0, Vec::new());
    for (expression, shown) in dashboard::expressions() {
        case = case.series(&expression, shown == dashboard::Shown::Always);
    }
    case.judged().unwrap_or_else(|said| panic!("{said}"));
}

fn judge(alert: &str, played: Played) {
    let Played {
        course,
        trouble,
        fires,
    } = played;
    assert!(
        fires.iter().any(|firing| firing.alert() == alert),
        "the scenario of {alert} expects it"
    );
    let case = dashboard::under_trouble(alert).fold(Case::new(course, trouble, fires), |case, expression| {
        case.series(&expression, true)
    });
    if let Err(said) = case.judged() {
        panic!("{alert}:\n{said}");
    }
}

macro_rules! scenarios {
    ($($test:ident: $alert:literal, $play:path;)*) => {
        /// Alerts that have a scenario.
        const PLAYED: &[&str] = &[$($alert),*];

        $(
            #[test]
            fn $test() {
                judge($alert, $play());
            }
        )*
    };
}

scenarios! {
    operator_down_fires_when_the_operator_is_killed: "RamTrailOperatorDown", scenarios::operator_down;
    no_leader_fires_when_no_lease_can_be_had: "RamTrailNoLeader", scenarios::no_leader;
    not_logging_fires_when_a_stopped_trail_may_not_be_started: "RamTrailNotLogging", scenarios::not_logging;
    not_logging_fires_when_a_deleted_trail_may_not_be_made: "RamTrailNotLogging", scenarios::trail_deleted;
    delivery_lag_high_fires_when_events_come_late: "RamTrailDeliveryLagHigh", scenarios::late;
    canary_missed_fires_when_delivery_breaks: "RamTrailCanaryMissed", scenarios::broken;
    canary_missed_fires_when_delivery_broke_while_the_operator_was_away: "RamTrailCanaryMissed", scenarios::broken_before;
    tampered_fires_when_a_trail_is_stopped: "RamTrailTampered", scenarios::tampered;
    tampered_fires_when_a_trail_was_stopped_while_the_operator_was_away: "RamTrailTampered", scenarios::tampered_before;
    heal_slow_fires_when_starting_a_trail_fails_for_a_minute: "RamTrailHealSlow", scenarios::heal_slow;
    heal_slow_fires_when_the_retention_of_a_store_stays_reduced_for_a_minute: "RamTrailHealSlow", scenarios::heal_slow_of_store;
    heal_slow_fires_when_the_mark_of_a_project_stays_away_for_a_minute: "RamTrailHealSlow", scenarios::heal_slow_of_project;
    drift_loop_fires_when_two_managers_fight: "RamTrailDriftLoop", scenarios::drift_loop;
    objects_not_ready_fires_when_a_reference_leads_nowhere: "RamTrailObjectsNotReady", scenarios::not_ready_store;
    objects_stalled_fires_when_two_objects_want_one_project: "RamTrailObjectsStalled", scenarios::stalled;
    reconcile_errors_fires_when_log_service_answers_503: "RamTrailReconcileErrors", scenarios::errors;
    permission_denied_fires_when_a_permission_is_taken_away: "RamTrailPermissionDenied", scenarios::denied;
    throttled_fires_when_others_use_the_quota_up: "RamTrailThrottled", scenarios::throttled;
    clock_skew_fires_when_the_clocks_are_five_minutes_apart: "RamTrailClockSkew", scenarios::skew;
}

#[test]
fn every_alert_has_a_scenario_and_the_rule_file_is_sound() {
    let file = root().join("charts/ramtrail/files/alerts.yaml");
    promtool(&["check", "rules", "--lint-fatal", file.to_str().unwrap()]).unwrap();
    let alerts = alerts();
    let there: BTreeSet<&str> = alerts
        .iter()
        .map(|alert| alert["alert"].as_str().unwrap())
        .collect();
    let played: BTreeSet<&str> = PLAYED.iter().copied().collect();
    assert_eq!(played, there);
}

#[test]
fn nothing_fires_while_all_is_well_and_the_dashboard_shows_it() {
    let stage = Stage::stack("healthy", &[]);
    let (first, second) = stage.healthy();
    let mut course = Course::new(&first);
    course.go_on(&first, &second, 12 * TEN_MINUTES);
    nothing_fires_and_the_dashboard_shows(course);

    // The judge is one that can object.
    let mut course = Course::new(&first);
    course.go_on(&first, &second, 6 * TEN_MINUTES);
    let wrong = firing("RamTrailNoLeader", 30, &[], "No replica of ramtrail leads.");
    let said = Case::new(course, 0, vec![wrong]).judged().unwrap_err();
    assert!(said.contains("RamTrailNoLeader"), "{said}");
    let course = Course::new(&first);
    let said = Case::new(course, 0, Vec::new())
        .series("ramtrail_nothing", true)
        .judged()
        .unwrap_err();
    assert!(said.contains("ramtrail_nothing"), "{said}");
}

/// The operator's calls of its own are then all that there is to record, and half an hour lies between two of them.
#[test]
fn nothing_fires_in_a_quiet_account_where_own_calls_are_rare() {
    let stage = Stage::stack("rare", &["--due-call-interval=30m"]);
    let recording = stage.record_when("an own call was found", |now| {
        now.values("ramtrail_trail_canary_last_success_timestamp_seconds")
            .next()
            .is_some()
    });
    let interval = recording.sum("ramtrail_trail_canary_interval_seconds", "");
    let lag = recording.sum("ramtrail_trail_max_lag_seconds", "");
    assert!(interval > lag, "{interval} {lag}");
    let mut course = Course::new(&recording);
    for _ in 0..4 {
        // Half an hour, in which the newest event grows old; then the next one is as young as the first one was.
        course.go_on(&recording, &recording.unmoved(1.0), 3 * TEN_MINUTES - 1);
    }
    Case::new(course, 0, Vec::new())
        .judged()
        .unwrap_or_else(|said| panic!("{said}"));
    // Later than that it is told.
    let mut course = Course::new(&recording);
    let trouble = course.length();
    course.go_on(&recording, &recording.unmoved(1.0), 6 * TEN_MINUTES);
    let said = Case::new(course, trouble, Vec::new()).judged().unwrap_err();
    assert!(said.contains("RamTrailDeliveryLagHigh"), "{said}");
}

/// Such a trail records no reads: whether the operator's regular calls of its own arrive says nothing, and an account in which nobody
/// changes anything is quiet.
#[test]
fn nothing_fires_for_a_trail_of_writes_in_a_quiet_account() {
    let mut stage = Stage::new("writes", &[]);
    apply_project(&stage.world);
    apply_store(&stage.world);
    apply_trail(&stage.world, &json!({"events": "Write"}));
    stage.world.start();
    stage.settled();
    let intruder = stage.world.intruder();
    wait(
        intruder
            .log_service
            .update_project(&project(), "The last change for hours"),
    )
    .unwrap();
    let last_event = "ramtrail_trail_last_event_timestamp_seconds";
    let first = stage.record_when("the change was seen", |now| {
        now.values(last_event).next().is_some()
    });
    let first = stage.later(&first);
    let second = stage.later(&first);
    let moved = second.sum(last_event, "") - first.sum(last_event, "");
    assert!(moved < 0.5, "the account is quiet");
    let mut course = Course::new(&first);
    course.go_on(&first, &second, 12 * TEN_MINUTES);
    Case::new(course, 0, Vec::new())
        .judged()
        .unwrap_or_else(|said| panic!("{said}"));
}
