//! The whole life of the seed's stack under every single flip of the emulator's register of open questions: create, silence,
//! tampering and repair, a lost store, update, silence, delete. The journal judges: no reducing call, one create per name.
//!
//! `RAMTRAIL_POINT=ID=BEHAVIOUR` runs one flip; `RAMTRAIL_TEST_PROFILE=documented` flips away from the other profile.
#![allow(clippy::unwrap_used)]

#[path = "points/mod.rs"]
mod points;
#[path = "../support/mod.rs"]
mod support;
#[path = "../trail_support/mod.rs"]
mod trail_support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use points::{Matrix, Point};
use ramtrail::aliyun::LogStoreName;
use ramtrail::aliyun::action_trail::{EventRw, TrailSettings, TrailState};
use ramtrail::aliyun::log_service::LogStore;
use ramtrail::api::v1alpha1::RamTrail;
use serde_json::{Value, json};
use support::{Row, World, wait};
use trail_support::{
    CALLS, KIND, PROJECT, STORE, TRAIL, apply_project, apply_store, apply_trail, copy_to, deliver, job,
    prepare, project, rows, settle_stack, stack_settled, store, trail, trail_store, until_trail,
};

const NEVER_MADE_AGAIN: (&str, &str) = ("actiontrail.store.recreated", "never");

/// One open question as the register has it; read by this test alone, with no type of the emulator.
#[derive(Clone, Debug, Default)]
struct Question {
    id: String,
    behaviours: Vec<String>,
    documented: String,
    hostile: String,
}

fn register() -> Vec<Question> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("emulator/assumptions.toml");
    let text = fs::read_to_string(path).unwrap();
    let mut questions: Vec<Question> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if line == "[[assumption]]" {
            questions.push(Question::default());
        } else if let Some((key, value)) = line.split_once(" = ") {
            // Strings and lists of strings are written as in JSON.
            let value: Value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{error}: {line}"));
            let text = || value.as_str().unwrap().to_owned();
            let question = questions.last_mut().expect("a table begins before its keys");
            match key {
                "id" => question.id = text(),
                "documented" => question.documented = text(),
                "hostile" => question.hostile = text(),
                "behaviours" => {
                    let names = value.as_array().unwrap().iter();
                    question.behaviours = names.map(|name| name.as_str().unwrap().to_owned()).collect();
                }
                _ => {}
            }
        } else {
            assert!(line.is_empty(), "the register has a line of another form: {line}");
        }
    }
    for question in &questions {
        let known = [&question.documented, &question.hostile];
        assert!(
            question.behaviours.len() >= 2 && known.iter().all(|name| question.behaviours.contains(name)),
            "{question:?}"
        );
    }
    questions
}

fn profile() -> String {
    std::env::var("RAMTRAIL_TEST_PROFILE")
        .ok()
        .filter(|profile| !profile.is_empty())
        .unwrap_or_else(|| "hostile".to_owned())
}

/// How one life's cloud behaves.
#[derive(Clone, Debug)]
struct Cloud {
    profile: String,
    flip: Option<(String, String)>,
    questions: Vec<Question>,
}

impl Cloud {
    fn of_profile(question: &Question, profile: &str) -> String {
        match profile {
            "documented" => question.documented.clone(),
            "hostile" => question.hostile.clone(),
            other => panic!("{other} is no profile"),
        }
    }

    fn behaves(&self, id: &str) -> String {
        match &self.flip {
            Some((flipped, behaviour)) if flipped == id => behaviour.clone(),
            _ => {
                let question = self.questions.iter().find(|question| question.id == id);
                Self::of_profile(
                    question.unwrap_or_else(|| panic!("no question {id}")),
                    &self.profile,
                )
            }
        }
    }

    /// The mutating calls that creation takes in such a cloud.
    fn calls(&self) -> Vec<&'static str> {
        let mut calls = CALLS.to_vec();
        if self.behaves("sls.etl.starts_itself") == "yes" {
            calls.retain(|made| *made != "StartETL");
        }
        calls
    }
}

#[test]
fn the_stack_lives_its_whole_life_under_every_single_flip() {
    let (questions, profile) = (register(), profile());
    let cloud = |flip: Option<(String, String)>| Cloud {
        profile: profile.clone(),
        flip,
        questions: questions.clone(),
    };
    let mut points = vec![cloud(None)];
    for question in &questions {
        let usual = Cloud::of_profile(question, &profile);
        let others = question.behaviours.iter().filter(|other| **other != usual);
        points.extend(others.map(|other| cloud(Some((question.id.clone(), other.clone())))));
    }
    let behaviours: usize = questions.iter().map(|question| question.behaviours.len()).sum();
    assert!(
        questions.len() >= 47,
        "the register shrank to {}",
        questions.len()
    );
    assert_eq!(
        points.len(),
        1 + behaviours - questions.len(),
        "the profile itself, and every behaviour that is not the profile's"
    );
    let mut points: Vec<Point> = points
        .into_iter()
        .map(|cloud| {
            let id = cloud
                .flip
                .as_ref()
                .map_or("unflipped".to_owned(), |(id, behaviour)| {
                    format!("{id}={behaviour}")
                });
            Point::new(id, move || live(&cloud))
        })
        .collect();
    // The longest wait of all goes first: nothing else is left to run beside it at the end.
    points.sort_by_key(|point| point.id != format!("{}={}", NEVER_MADE_AGAIN.0, NEVER_MADE_AGAIN.1));
    let matrix = Matrix {
        program: "assumption_flips",
        test: "the_stack_lives_its_whole_life_under_every_single_flip",
        prefix: "",
        is_shared: false,
    };
    matrix.run(points);
}

fn live(cloud: &Cloud) {
    let mut arguments = vec![format!("--profile={}", cloud.profile)];
    arguments.extend(
        cloud
            .flip
            .iter()
            .map(|(id, behaviour)| format!("--assume={id}={behaviour}")),
    );
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut world = World::with_emulator("flip", &arguments)
        .option("--claim-confirmation=500ms")
        .option("--due-call-interval=5s")
        .option("--log-service-rate=16")
        .option("--log-level=info");
    prepare(&world);
    create(&mut world, cloud);
    in_sync_nothing_is_tried(&world);
    tampering_is_put_right(&world);
    a_lost_store_comes_back_or_the_way_to_it_is_said(&world, cloud);
    update(&world);
    in_sync_nothing_is_tried(&world);
    world.nothing_was_reduced();
    delete(&world);
    assert_eq!(creates(&world), [1, 1, 1, 1, 2], "{}", world.report());
    world.secret_is_nowhere();
}

/// Successful creates over the whole life: project, store, index, trail, and the job with its one repair.
fn creates(world: &World) -> [usize; 5] {
    [
        "CreateProject",
        "CreateLogStore",
        "CreateIndex",
        "CreateTrail",
        "CreateETL",
    ]
    .map(|action| world.count(0, action))
}

/// What the user asks for in the end; `store` says what ActionTrail sets by itself, so that lowering it is a weakening.
fn spec(more: &serde_json::Value) -> serde_json::Value {
    let mut spec = json!({"copyTo": copy_to(), "store": {"retentionDays": 3650}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn create(world: &mut World, cloud: &Cloud) {
    apply_project(world);
    apply_store(world);
    apply_trail(world, &spec(&json!({})));
    world.start();
    settle_stack(world);
    let mut made = world.writes(0);
    made.sort();
    assert_eq!(made, cloud.calls(), "{}", world.report());
    assert_eq!(creates(world), [1; 5], "one create per name\n{}", world.report());
    assert_eq!(trail(world).unwrap().state(), TrailState::Enable);
    // Of the copy only what was delivered since it runs can be told: the due calls of Sts.
    let copy = LogStoreName::new(STORE).unwrap();
    world.eventually("events are copied", || {
        if rows(world, &copy, "event.serviceName: Sts").is_empty() {
            deliver(world);
            Err("no rows".to_owned())
        } else {
            Ok(())
        }
    });
}

/// Two whole looks at everything: no write succeeds, and none is tried.
fn in_sync_nothing_is_tried(world: &World) {
    stack_settled(world);
    // What a visit before found may still be under way: from the next look on there is nothing left.
    world.resyncs("GetTrailStatus", 1);
    let since = world.now();
    for action in ["GetTrailStatus", "GetIndex", "GetProject"] {
        looks(world, since, action, 2);
    }
    let tried: Vec<String> = world
        .journal(since)
        .iter()
        .filter(|row| row.is_ours() && row.is_write())
        .map(Row::to_string)
        .collect();
    assert_eq!(tried, Vec::<String>::new(), "{}", world.report());
}

fn looks(world: &World, since: u64, action: &str, count: usize) {
    world.eventually(&format!("{count} looks by {action}"), || {
        let seen = world.reads(since).iter().filter(|read| *read == action).count();
        if seen >= count {
            Ok(())
        } else {
            Err(seen.to_string())
        }
    });
}

fn tampering_is_put_right(world: &World) {
    let intruder = world.intruder();
    wait(intruder.action_trail.stop_logging(TRAIL)).unwrap();
    until_trail(world, "the stopped trail is on again", |trail| {
        trail.state() == TrailState::Enable
    });
    told(world, "logging: found off");

    let settings = trail(world).unwrap().settings().unwrap();
    let narrowed = TrailSettings {
        event_rw: EventRw::Write,
        ..settings
    };
    let since = world.now();
    wait(intruder.action_trail.update_trail(TRAIL, &narrowed)).unwrap();
    lower(world, &trail_store(), 7);
    lower(world, &LogStoreName::new(STORE).unwrap(), 5);
    until_trail(world, "the narrowed trail records everything again", |trail| {
        trail.events() == Some(EventRw::All)
    });
    retention(world, &trail_store(), 3650);
    retention(world, &LogStoreName::new(STORE).unwrap(), 30);
    stack_settled(world);
    assert!(world.count(since, "UpdateTrail") >= 1);
    assert!(
        world.count(since, "UpdateLogStore") >= 2,
        "one for each store\n{}",
        world.report()
    );

    let log = &intruder.log_service;
    world.eventually("somebody deletes the job", || {
        wait(log.delete_etl(&project(), &job()))
            .map(drop)
            .map_err(|error| error.to_string())
    });
    world.eventually("the deleted job runs again", || {
        let found =
            look_again_later(wait(log.get_etl(&project(), &job())).map_err(|error| error.to_string()))?;
        look_again_later(match found.value.status.as_deref() {
            Some("RUNNING") => Ok(()),
            other => Err(format!("{other:?}")),
        })
    });
    told(world, "found none");
    world.nothing_was_reduced();
}

/// Our own looks share the account's rate with the operator's: not so many that they are what it waits for.
fn look_again_later<T>(outcome: Result<T, String>) -> Result<T, String> {
    if outcome.is_err() {
        std::thread::sleep(Duration::from_millis(400));
    }
    outcome
}

fn found_store(world: &World, name: &LogStoreName) -> Result<LogStore, String> {
    wait(world.intruder().log_service.get_log_store(&project(), name))
        .map(|answer| answer.value)
        .map_err(|error| error.to_string())
}

fn lower(world: &World, name: &LogStoreName, days: i64) {
    let mut lowered = found_store(world, name).unwrap();
    lowered.set_retention_days(days);
    wait(
        world
            .intruder()
            .log_service
            .update_log_store(&project(), name, &lowered),
    )
    .unwrap();
}

fn retention(world: &World, name: &LogStoreName, days: i64) {
    world.eventually(
        &format!("store {name} keeps events for {days} days"),
        || match found_store(world, name)?.retention_days() {
            Some(found) if found == days => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

/// The status tells of the weakening and that it was put right, and all is well again.
fn told(world: &World, what: &str) {
    world.until(
        TRAIL,
        &format!("lastTamper tells that {what} was put right"),
        |object: &RamTrail| {
            let tamper = object
                .status
                .as_ref()
                .and_then(|status| status.last_tamper.as_ref());
            tamper.is_some_and(|tamper| tamper.repaired && tamper.what.contains(what))
        },
    );
    stack_settled(world);
}

/// Decisions 20: our UpdateTrail, or the next delivery, brings the trail's store back; else the manual step is said, and it helps.
fn a_lost_store_comes_back_or_the_way_to_it_is_said(world: &World, cloud: &Cloud) {
    let since = world.now();
    wait(
        world
            .intruder()
            .log_service
            .delete_log_store(&project(), &trail_store()),
    )
    .unwrap();
    looks(world, since, "GetTrailStatus", 1);
    if cloud.behaves(NEVER_MADE_AGAIN.0) == NEVER_MADE_AGAIN.1 {
        for (type_, status) in [("Stalled", "True"), ("Ready", "False")] {
            let said = world.condition(KIND, TRAIL, type_, status, "DeliveryBroken");
            let message = said["message"].as_str().unwrap();
            assert!(
                message.contains(trail_store().as_str())
                    && message.contains("does not make it again")
                    && message.contains(&format!("In the console of ActionTrail open trail {TRAIL}")),
                "the manual step: {message}"
            );
        }
        let asked = world.count(since, "UpdateTrail");
        assert!(asked >= 1, "ActionTrail was asked first\n{}", world.report());
        assert!(found_store(world, &trail_store()).is_err());
        // The step that the message asks for, by hand.
        world.emulator.assume(NEVER_MADE_AGAIN.0, "on_update").unwrap();
        let settings = trail(world).unwrap().settings().unwrap();
        wait(world.intruder().action_trail.update_trail(TRAIL, &settings)).unwrap();
    }
    world.eventually("the trail's store is back", || {
        if found_store(world, &trail_store()).is_ok() {
            return Ok(());
        }
        // Where a delivery brings it back, one must come: the due calls do.
        world.emulator.jump(Duration::from_secs(20)).unwrap();
        look_again_later(Err("not yet".to_owned()))
    });
    stack_settled(world);
    world.eventually("the loss is told", || {
        let events = world.events();
        let told = events
            .iter()
            .any(|(_, note)| note.contains("the events that it held before are lost"));
        if told { Ok(()) } else { Err(format!("{events:?}")) }
    });
    let made = world.count(0, "CreateLogStore");
    assert_eq!(made, 1, "only ActionTrail makes that store\n{}", world.report());
    deliver(world);
    world.condition(KIND, TRAIL, "Delivering", "True", "EventsArriving");
    retention(world, &trail_store(), 3650);
    world.nothing_was_reduced();
}

fn update(world: &World) {
    world.patch_spec("AuditProject", PROJECT, &json!({"description": "other words"}));
    world.patch_spec("AuditLogStore", STORE, &json!({"retentionDays": 60}));
    let services = [
        "Ram",
        "Ims",
        "Sts",
        "AasSub",
        "AasCustomer",
        "ResourceManager",
        "Ecs",
    ];
    world.patch_spec(KIND, TRAIL, &json!({"copyTo": {"services": services}}));
    retention(world, &LogStoreName::new(STORE).unwrap(), 60);
    world.eventually("the project has its new description", || {
        let found = wait(world.intruder().log_service.get_project(&project())).map_err(|e| e.to_string())?;
        look_again_later(if found.value.description == "other words" {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        })
    });
    world.eventually("the job copies one service more", || {
        let found =
            wait(world.intruder().log_service.get_etl(&project(), &job())).map_err(|e| e.to_string())?;
        let script = found.value.configuration.script;
        look_again_later(if script.contains("'ecs'") && script.contains("'sts'") {
            Ok(())
        } else {
            Err(script)
        })
    });
    assert_eq!(store(world).retention_days(), Some(3650));
}

fn delete(world: &World) {
    for (kind, name) in [("AuditProject", PROJECT), ("AuditLogStore", STORE), (KIND, TRAIL)] {
        world.patch_spec(kind, name, &json!({"deletionPolicy": "Delete"}));
    }
    stack_settled(world);
    let since = world.now();
    let children = [("AuditLogStore", STORE), (KIND, TRAIL)];
    for (kind, name) in children {
        world.delete(kind, name);
    }
    for (kind, name) in children {
        world.gone(kind, name);
    }
    world.delete("AuditProject", PROJECT);
    world.gone("AuditProject", PROJECT);
    assert_eq!(trail(world), None, "{}", world.report());
    let log = world.intruder().log_service;
    assert!(wait(log.get_etl(&project(), &job())).is_err());
    assert!(
        found_store(world, &LogStoreName::new(STORE).unwrap()).is_err(),
        "{}",
        world.report()
    );
    assert_eq!(
        found_store(world, &trail_store()).unwrap().retention_days(),
        Some(3650),
        "the events stay"
    );
    let note = world.event("ProjectLeftNotEmpty");
    assert!(note.contains(trail_store().as_str()), "{note}");
    let allowed = ["DeleteTrail", "DeleteETL", "DeleteLogStore", "UntagResources"];
    for row in world.journal(since) {
        assert!(
            !row.is_ours() || !row.reduces() || allowed.contains(&row.action()),
            "{row}\n{}",
            world.report()
        );
    }
    let left = world.state(support::ACCOUNT).to_string();
    assert!(
        !left.contains("ramtrail-trail-"),
        "the trail's mark is gone: {left}"
    );
}
