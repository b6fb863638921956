//! Faults between the operator and the cloud, and answers that are not what they should be (`reliability.md` 1.3).

use serde_json::{Value, json};

use crate::matrix;
use crate::points::Point;
use crate::support::{ACCOUNT, CREDENTIALS, KEY, OTHER_ACCOUNT, SECRET, USER, World, wait};
use crate::trail_support::{
    KIND, PROJECT, STACK, TRAIL, apply_stack, prepare, settle_stack, stack_settled, trail,
};
use crate::{refuse, stack, well};

const CREATES: [&str; 5] = [
    "CreateProject",
    "CreateLogStore",
    "CreateIndex",
    "CreateTrail",
    "CreateETL",
];

fn every(world: &World, fault: &Value, nth: u64, times: u64) {
    let matching = json!({"caller": USER, "nth": nth, "times": times});
    world
        .emulator
        .add_fault(&json!({"match": matching, "fault": fault}))
        .unwrap();
}

/// Met by every call of the operator to Log Service's and ActionTrail's management, for a while, during the creation of the stack;
/// then gone: the same end state with one create per name, and silence.
fn creation_survives(fault: &Value) {
    let mut world = World::new("storm");
    prepare(&world);
    // Every second call of the first forty: enough gets through for the creation to be hit at each of its steps.
    for nth in (1..40).step_by(2) {
        every(&world, fault, nth, 1);
    }
    apply_stack(&world);
    world.start();
    world.eventually("the faults were met", || {
        let faults = world.emulator.get("faults").unwrap();
        let met = faults["faults"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|fault| fault["met"] == 1)
            .count();
        if met >= 20 { Ok(()) } else { Err(met.to_string()) }
    });
    world.emulator.remove_faults().unwrap();
    stack_settled(&world);
    for action in CREATES {
        let made = world
            .journal(0)
            .iter()
            .filter(|row| row.is_ours() && row.action() == action && row.is_change())
            .count();
        assert_eq!(made, 1, "{action} once\n{}", world.report());
    }
    quiet(&world);
}

/// In a settled stack, for a time that is longer than one visit: nothing is changed by it, and nothing is left of it.
fn sync_survives(fault: &Value) {
    let world = stack("faulty");
    settle_stack(&world);
    let since = world.now();
    every(&world, fault, 1, 60);
    world.eventually("the faults were met", || {
        let faults = world.emulator.get("faults").unwrap();
        let met = faults["faults"][0]["met"].as_u64().unwrap();
        if met >= 30 { Ok(()) } else { Err(met.to_string()) }
    });
    world.emulator.remove_faults().unwrap();
    for (kind, name) in STACK {
        well(&world, kind, name);
    }
    assert_eq!(world.writes(since), Vec::<String>::new(), "{}", world.report());
    world.condition(KIND, TRAIL, "Delivering", "True", "EventsArriving");
    quiet(&world);
}

fn quiet(world: &World) {
    world.resyncs("GetTrailStatus", 1);
    let since = world.now();
    world.resyncs("GetTrailStatus", 2);
    assert_eq!(world.writes(since), Vec::<String>::new(), "{}", world.report());
    world.nothing_was_reduced();
    world.secret_is_nowhere();
}

#[test]
fn storms_broken_bodies_and_lost_connections_are_survived() {
    let status = |status: u16, code: &str| json!({"kind": "status", "status": status, "code": code, "message": SECRET});
    let faults = [
        ("throttled", json!({"kind": "throttle"})),
        (
            "throttled-later",
            json!({"kind": "throttle", "retryAfterMs": 300}),
        ),
        ("throttled-400", status(400, "Throttling.User")),
        ("throttled-403", status(403, "MetaOperationQpsLimitExceeded")),
        ("status-500", status(500, "InternalError")),
        ("status-502", status(502, "")),
        ("status-503", status(503, "ServiceUnavailable")),
        ("garbage", json!({"kind": "garbage"})),
        ("truncated", json!({"kind": "truncated"})),
        ("slow-body", json!({"kind": "slow-body", "ms": 3})),
        ("delay", json!({"kind": "delay", "ms": 700})),
        ("drop-before", json!({"kind": "drop-before"})),
        ("drop-after", json!({"kind": "drop-after"})),
    ];
    let mut points = Vec::new();
    for (name, fault) in faults {
        let copy = fault.clone();
        points.push(Point::new(format!("create/{name}"), move || {
            creation_survives(&copy);
        }));
        points.push(Point::new(format!("sync/{name}"), move || sync_survives(&fault)));
    }
    matrix("storms_broken_bodies_and_lost_connections_are_survived").run(points);
}

/// The old key dies, a new version of the Secret comes: used without a restart, and the old key no more.
#[test]
fn keys_that_change_are_used_without_a_restart() {
    let world = stack("rotate");
    let new_key = "LTAIrotatedKey00001";
    let everything = json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]);
    world.add_user(new_key, ACCOUNT, USER, &everything);
    // A dead key, as the cloud tells it on each of its services.
    refuse(
        &world,
        None,
        404,
        "InvalidAccessKeyId.NotFound",
        "Specified access key is not found.",
    );
    for (kind, name) in STACK {
        world.condition(kind, name, "Stalled", "True", "CredentialsInvalid");
        world.condition(kind, name, "Ready", "Unknown", "CredentialsInvalid");
    }
    world.emulator.remove_faults().unwrap();
    world.write_secret(CREDENTIALS, new_key, SECRET, true);
    for (kind, name) in STACK {
        well(&world, kind, name);
    }
    world.resyncs("GetTrailStatus", 1);
    let since = world.now();
    world.resyncs("GetTrailStatus", 2);
    assert_eq!(world.writes(since), Vec::<String>::new());
    let asked = world
        .reads(0)
        .iter()
        .filter(|read| *read == "GetCallerIdentity")
        .count();
    assert!(asked >= 2, "whose keys they are is asked again");
    world.secret_is_nowhere();
}

/// The Secret now holds keys of another account: nothing is written there, nothing here, and both accounts are named.
#[test]
fn keys_of_another_account_are_refused_and_nothing_is_written() {
    let world = stack("swap");
    let key = "LTAIswappedKey00001";
    let everything = json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]);
    world.add_user(key, OTHER_ACCOUNT, "elsewhere", &everything);
    let since = world.now();
    world.write_secret(CREDENTIALS, key, SECRET, true);
    for (kind, name) in STACK {
        let stalled = world.condition(kind, name, "Stalled", "True", "AccountChanged");
        let message = stalled["message"].as_str().unwrap();
        assert!(
            message.contains(ACCOUNT)
                && message.contains(OTHER_ACCOUNT)
                && message.contains("Nothing is written"),
            "{message}"
        );
    }
    // Whatever is done behind our back meanwhile stays as it is: these keys are not for it.
    wait(world.intruder().action_trail.stop_logging(TRAIL)).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(5));
    let tried: Vec<String> = world
        .journal(since)
        .iter()
        .filter(|row| row.is_ours() && (row.is_write() || row.0["account"] == OTHER_ACCOUNT))
        .filter(|row| row.action() != "GetCallerIdentity")
        .map(ToString::to_string)
        .collect();
    assert_eq!(tried, Vec::<String>::new(), "{}", world.report());
    world.write_secret(CREDENTIALS, KEY, SECRET, true);
    for (kind, name) in STACK {
        well(&world, kind, name);
    }
    world.eventually("the trail is on again", || match trail(&world) {
        Some(trail) if trail.status.as_deref() == Some("Enable") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    world.nothing_was_reduced();
    world.secret_is_nowhere();
}

/// What the cloud says may be long, of another line, reversed, or meant for another reader.
#[test]
fn hostile_strings_of_the_cloud_stay_short_single_and_plain() {
    let test = "hostile_strings_of_the_cloud_stay_short_single_and_plain";
    let injected = "2026-01-01T00:00:00Z ERROR ramtrail: forged";
    let long = "x".repeat(300_000);
    let wide = "審".repeat(30_000);
    let cases = [
        ("lines", format!("one\r\n{injected}\ntwo")),
        (
            "escapes",
            format!("a\u{1b}[2J\u{1b}]0;title\u{7}b \u{0} {injected}"),
        ),
        ("reversed", "abc\u{202e}fed\u{2066}\u{feff}\u{200b}end".to_owned()),
        ("long", long),
        ("wide", wide),
        (
            "templates",
            "{{ .Values }} ${jndi:ldap://x} %s %n <script> ' \" \\".to_owned(),
        ),
        (
            "split-secret",
            format!("{}\u{200b}{}", &SECRET[..9], &SECRET[9..]),
        ),
        ("wrapped-secret", format!("{}\r{}", &SECRET[..9], &SECRET[9..])),
    ];
    let points = cases
        .into_iter()
        .map(|(name, text)| Point::new(name, move || hostile(&text)))
        .collect();
    matrix(test).run(points);
}

fn hostile(text: &str) {
    let world = stack("hostile");
    for (action, status, code) in [
        ("GetProject", 401, "SignatureNotMatch"),
        ("GetIndex", 400, "ParameterInvalid"),
        ("GetTrailStatus", 403, "NoPermission"),
    ] {
        refuse(&world, Some(action), status, code, text);
    }
    for (kind, name) in STACK {
        let told = world.eventually("an error is told", || {
            let conditions = world.conditions(kind, name);
            conditions
                .iter()
                .find(|c| c["type"] == "Stalled" && c["status"] == "True")
                .cloned()
                .ok_or(format!("{conditions:#?}"))
        });
        let message = told["message"].as_str().unwrap();
        assert!(message.len() <= 1024, "{} bytes", message.len());
        let bad = message.chars().find(|c| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        });
        assert_eq!(bad, None, "{message:?}");
    }
    // A code is a string of the cloud too.
    world.emulator.remove_faults().unwrap();
    for (kind, name) in STACK {
        well(&world, kind, name);
    }
    let short: String = text.chars().take(2000).collect();
    refuse(&world, Some("GetProject"), 400, &short, &short);
    let told = world.condition("AuditProject", PROJECT, "Synced", "Unknown", "Transient");
    let message = told["message"].as_str().unwrap();
    assert!(
        message.len() <= 1024 && !message.chars().any(char::is_control),
        "{message:?}"
    );
    world.emulator.remove_faults().unwrap();
    well(&world, "AuditProject", PROJECT);
    for line in world.logs().lines() {
        assert!(!line.starts_with("2026-01-01T00:00:00Z"), "{line}");
        assert!(
            line.len() < 16_384 && !line.contains('\u{1b}'),
            "{} bytes: {:.200}",
            line.len(),
            line
        );
    }
    let whole = format!("{} {:?}", world.logs(), world.events());
    assert!(!whole.contains(SECRET));
    world.secret_is_nowhere();
}
