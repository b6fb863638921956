//! AuditLogStore on a real API server, with the emulator in its hostile profile: what a user sees, what the cloud gets.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use ramtrail::aliyun::log_service::{LogStore, NewLogStore, Taggable};
use ramtrail::aliyun::{LogStoreName, ProjectName};
use ramtrail::api::v1alpha1::{AuditLogStore, Origin};
use serde_json::{Map, Value, json};
use support::{ACCOUNT, CREDENTIALS, KEY, REGION, SECRET, World, project_spec, store_spec, wait};

const PROJECT: &str = "AuditProject";
const KIND: &str = "AuditLogStore";
const PROJECT_NAME: &str = "ai-audit";
const NAME: &str = "ai-store";

fn project() -> ProjectName {
    ProjectName::new(PROJECT_NAME).unwrap()
}

fn name() -> LogStoreName {
    LogStoreName::new(NAME).unwrap()
}

fn with(mut spec: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn spec(days: i32) -> Value {
    store_spec("trail", NAME, days)
}

/// A world with the project applied; both objects of the tests are called `trail` and `store`.
fn world(purpose: &str) -> World {
    let world = World::new(purpose);
    world.apply(PROJECT, "trail", &project_spec(PROJECT_NAME));
    world
}

fn found(world: &World) -> Option<LogStore> {
    wait(world.intruder().log_service.get_log_store(&project(), &name()))
        .ok()
        .map(|answer| answer.value)
}

fn index(world: &World) -> Map<String, Value> {
    wait(world.intruder().log_service.get_index(&project(), &name()))
        .unwrap()
        .value
}

/// Somebody else changes the store's configuration.
fn change(world: &World, change: impl FnOnce(&mut LogStore)) {
    let mut store = found(world).unwrap();
    change(&mut store);
    let cloud = world.intruder().log_service;
    wait(cloud.update_log_store(&project(), &name(), &store)).unwrap();
}

fn set_retention(world: &World, days: i64) {
    change(world, |store| store.set_retention_days(days));
}

fn project_tags(world: &World) -> BTreeMap<String, String> {
    wait(
        world
            .intruder()
            .log_service
            .list_tag_resources(&Taggable::Project(project())),
    )
    .unwrap()
    .value
}

/// The mark of the store: on itself, or on its project where stores carry no tags.
fn mark(world: &World) -> Option<String> {
    let on_store = Taggable::LogStore(project(), name());
    let own = wait(world.intruder().log_service.list_tag_resources(&on_store)).ok();
    own.and_then(|answer| answer.value.get("ramtrail-owner").cloned())
        .or_else(|| {
            project_tags(world)
                .get(&format!("ramtrail-store-{NAME}"))
                .cloned()
        })
}

fn until_retention(world: &World, days: i64) {
    world.eventually(&format!("the store keeps logs for {days} days"), || {
        let now = found(world).and_then(|store| store.retention_days());
        if now == Some(days) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    });
}

/// Makes project and store as somebody else, and waits until both are shown.
fn made_by_intruder(world: &World, days: i64) {
    let cloud = world.intruder().log_service;
    wait(cloud.create_project(&project(), "")).unwrap();
    world.eventually("the project is shown", || {
        wait(cloud.get_project(&project()))
            .map(drop)
            .map_err(|error| error.to_string())
    });
    let store = NewLogStore {
        name: name(),
        retention_days: days,
        shard_count: 2,
        append_meta: false,
    };
    wait(cloud.create_log_store(&project(), &store)).unwrap();
    world.eventually("the store is shown", || {
        found(world).map(drop).ok_or("no store".to_owned())
    });
}

#[test]
fn a_store_is_created_with_three_calls_and_then_left_alone() {
    for profile in ["documented", "hostile"] {
        let mut world = World::with_emulator("create", &[&format!("--profile={profile}")]);
        world.apply(PROJECT, "trail", &project_spec(PROJECT_NAME));
        world.start();
        world.settled(PROJECT, "trail");
        let since = world.now();
        world.apply(KIND, "store", &spec(30));
        world.settled(KIND, "store");
        let report = world.report();
        assert_eq!(
            world.writes(since),
            ["CreateLogStore", "TagResources", "CreateIndex"],
            "{report}"
        );

        let object: AuditLogStore = world.get("store");
        let status = object.status.unwrap();
        assert_eq!(status.account_id.as_deref(), Some(ACCOUNT));
        assert_eq!(status.log_store_name.as_deref(), Some(NAME));
        assert_eq!(status.project_name.as_deref(), Some(PROJECT_NAME));
        assert_eq!(
            status.arn.unwrap(),
            format!("acs:log:{REGION}:{ACCOUNT}:project/{PROJECT_NAME}/logstore/{NAME}")
        );
        assert_eq!((status.retention_days, status.shard_count), (Some(30), Some(2)));
        assert_eq!(status.claim.unwrap().origin, Origin::Created);
        assert_eq!(status.pending_create, None);
        assert!(status.data_since.is_some());
        assert!(index(&world)["keys"]["event"]["json_keys"]["eventName"]["doc_value"] == true);
        assert!(index(&world).contains_key("line"));
        assert!(!found(&world).unwrap().anonymous_writing());

        // In sync: nothing is written anywhere, and at most five reads look at both.
        world.resyncs("GetIndex", 1);
        let (since, versions) = (world.now(), world.versions());
        world.resyncs("GetIndex", 3);
        assert_eq!(world.writes(since), Vec::<String>::new(), "{}", world.report());
        assert_eq!(world.versions(), versions);
        let reads = world.reads(since);
        for (action, most) in [("GetLogStore", 4), ("GetIndex", 4)] {
            assert!(
                reads.iter().filter(|read| *read == action).count() <= most,
                "{reads:?}"
            );
        }
        assert!(reads.iter().all(|read| {
            ["GetProject", "ListTagResources", "GetLogStore", "GetIndex"].contains(&read.as_str())
        }));
        world.nothing_was_reduced();
    }
}

#[test]
fn objects_may_be_applied_in_any_order() {
    let mut world = World::new("order");
    world.apply(KIND, "store", &spec(30));
    world.start();
    let waiting = world.condition(KIND, "store", "Ready", "False", "ProjectNotFound");
    assert!(waiting["message"].as_str().unwrap().contains("trail"));
    world.condition(KIND, "store", "Stalled", "False", "NotStalled");
    assert_eq!(world.journal(0).len(), 0);
    world.apply(PROJECT, "trail", &project_spec(PROJECT_NAME));
    world.ready(KIND, "store");
    world.ready(PROJECT, "trail");
}

#[test]
fn a_store_waits_for_a_project_that_cannot_be_had_and_says_why() {
    let mut world = World::new("wait");
    let spec_of_project = with(
        project_spec(PROJECT_NAME),
        &json!({"managementPolicy": "Enforce", "adoptionPolicy": "Never"}),
    );
    let cloud = world.intruder().log_service;
    wait(cloud.create_project(&project(), "")).unwrap();
    world.eventually("the project is shown", || {
        wait(cloud.get_project(&project()))
            .map(drop)
            .map_err(|error| error.to_string())
    });
    world.apply(PROJECT, "trail", &spec_of_project);
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.condition(PROJECT, "trail", "Stalled", "True", "AdoptionForbidden");
    let message = world.eventually("the store says what its project lacks", || {
        let object: AuditLogStore = world.get("store");
        let conditions = object.status.unwrap_or_default().conditions;
        let ready = conditions
            .into_iter()
            .find(|c| c.type_ == "Ready" && c.reason == "WaitingForProject");
        ready
            .filter(|c| c.message.contains("AdoptionForbidden"))
            .map(|c| c.message)
            .ok_or("not yet".to_owned())
    });
    assert!(message.contains("trail"));
    assert_eq!(world.writes(0), Vec::<String>::new());
}

#[test]
fn retention_follows_the_spec_both_ways() {
    let mut world = world("follow");
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(KIND, "store");
    let since = world.now();
    world.patch_spec(KIND, "store", &json!({"retentionDays": 60}));
    until_retention(&world, 60);
    world.patch_spec(KIND, "store", &json!({"retentionDays": 45}));
    until_retention(&world, 45);
    world.eventually("the status tells 45", || {
        let object: AuditLogStore = world.get("store");
        let days = object.status.unwrap().retention_days;
        if days == Some(45) {
            Ok(())
        } else {
            Err(format!("{days:?}"))
        }
    });
    let down: Vec<bool> = world
        .journal(since)
        .iter()
        .filter(|row| row.is_ours() && row.is_change())
        .map(support::Row::reduces)
        .collect();
    assert_eq!(
        down,
        [false, true],
        "the oracle sees the reduction that the spec asked for"
    );
    assert_eq!(world.writes(since), ["UpdateLogStore", "UpdateLogStore"]);
    let object: AuditLogStore = world.get("store");
    assert_eq!(
        object.status.unwrap().last_tamper,
        None,
        "the spec is no tampering"
    );
    assert!(
        !world
            .events()
            .iter()
            .any(|(reason, _)| reason == "TamperRepaired")
    );
}

#[test]
fn retention_lowered_from_outside_is_raised_again_and_told() {
    let mut world = world("lowered");
    world.apply(KIND, "store", &spec(90));
    world.start();
    world.settled(KIND, "store");
    set_retention(&world, 7);
    until_retention(&world, 90);
    let note = world.event("TamperRepaired");
    assert!(note.contains("90") && note.contains('7'), "{note}");
    world.ready(KIND, "store");
    world.nothing_was_reduced();
}

#[test]
fn each_change_from_outside_can_be_read_in_an_event_of_its_own() {
    let mut world = world("told");
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(KIND, "store");
    let events = || -> Vec<(String, i32)> {
        let api: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
        let repaired = wait(api.list(&ListParams::default())).unwrap();
        repaired
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some("TamperRepaired"))
            .map(|event| {
                (
                    event.note.unwrap_or_default(),
                    event.series.map_or(1, |series| series.count),
                )
            })
            .collect()
    };
    let told = |text: &str, times: i32| {
        world.eventually(&format!("{text} is told {times} time(s)"), || {
            let all = events();
            let found: Vec<_> = all.iter().filter(|(note, _)| note.contains(text)).collect();
            match found.as_slice() {
                [(_, count)] if *count == times => Ok(()),
                _ => Err(format!("{all:?}")),
            }
        });
    };
    for (days, times) in [(7, 1), (5, 1), (7, 2)] {
        set_retention(&world, days);
        until_retention(&world, 30);
        told(&format!("from 30 to {days} days"), times);
    }
    assert_eq!(events().len(), 2, "{:?}", events());
}

#[test]
fn retention_raised_from_outside_is_reported_and_never_lowered() {
    let mut world = world("raised");
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(KIND, "store");
    let since = world.now();
    set_retention(&world, 365);
    let synced = world.condition(KIND, "store", "Synced", "False", "ExceedsSpec");
    assert!(synced["message"].as_str().unwrap().contains("365"));
    world.condition(KIND, "store", "Ready", "True", "Available");
    // A change of something else is no reason either.
    world.patch_spec(KIND, "store", &json!({"deletionPolicy": "Delete"}));
    world.resyncs("GetLogStore", 3);
    assert_eq!(world.writes(since), Vec::<String>::new());
    // The way out that the message names.
    world.patch_spec(KIND, "store", &json!({"retentionDays": 365}));
    world.condition(KIND, "store", "Synced", "True", "UpToDate");
    world.nothing_was_reduced();
    world.patch_spec(KIND, "store", &json!({"retentionDays": 30}));
    until_retention(&world, 30);
}

#[test]
fn fields_that_the_operator_does_not_know_survive_its_updates() {
    let mut world = world("fields");
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(KIND, "store");
    change(&world, |store| {
        store.fields_mut().insert("autoSplit".into(), json!(true));
        store.fields_mut().insert("maxSplitShard".into(), json!(16));
        store.fields_mut().insert("appendMeta".into(), json!(true));
        store.fields_mut().insert("hot_ttl".into(), json!(15));
    });
    world.patch_spec(KIND, "store", &json!({"retentionDays": 60}));
    until_retention(&world, 60);
    let now = found(&world).unwrap();
    assert_eq!(now.fields()["autoSplit"], json!(true));
    assert_eq!(now.fields()["maxSplitShard"], json!(16));
    assert_eq!(now.fields()["appendMeta"], json!(true));
    assert_eq!(now.fields()["hot_ttl"], json!(15));
    assert_eq!(now.shard_count(), Some(2));
}

#[test]
fn a_removed_or_narrowed_index_is_restored_and_keys_of_others_stay() {
    let mut world = world("index");
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(KIND, "store");
    let cloud = world.intruder().log_service;
    let mut weak = index(&world);
    weak["keys"]["team"] = json!({"type": "text", "token": [","], "doc_value": true});
    weak["keys"]["event"]["json_keys"]
        .as_object_mut()
        .unwrap()
        .remove("eventName");
    weak.remove("line");
    wait(cloud.update_index(&project(), &name(), &weak)).unwrap();
    world.eventually("the index is whole", || {
        let now = index(&world);
        if now.contains_key("line") && now["keys"]["event"]["json_keys"]["eventName"]["doc_value"] == true {
            Ok(())
        } else {
            Err(Value::Object(now).to_string())
        }
    });
    assert_eq!(index(&world)["keys"]["team"]["doc_value"], true);
    let note = world.event("TamperRepaired");
    assert!(note.contains("index"), "{note}");
    world.nothing_was_reduced();
}

#[test]
fn a_type_of_the_index_is_put_back_if_it_was_ours_and_left_if_it_never_was() {
    let mut world = World::new("types");
    // A store that existed, with a type of its owner's in its index.
    made_by_intruder(&world, 30);
    let cloud = world.intruder().log_service;
    let mut theirs = ramtrail::controllers::index_preset::preset();
    theirs["keys"]["event"]["json_keys"]["vpcId"]["type"] = json!("long");
    wait(cloud.create_index(&project(), &name(), &theirs)).unwrap();
    world.apply(PROJECT, "trail", &project_spec(PROJECT_NAME));
    world.apply(KIND, "store", &spec(30));
    world.start();
    let left = world.condition(KIND, "store", "Synced", "False", "ExceedsSpec");
    assert!(
        left["message"]
            .as_str()
            .unwrap()
            .contains("event.vpcId has type long"),
        "{left}"
    );
    world.until("store", "the types are noted", |object: &AuditLogStore| {
        let applied = object.status.as_ref().and_then(|status| status.applied.as_ref());
        applied.is_some_and(|applied| applied.index_types.contains(&"event.errorCode".to_owned()))
    });
    let mut weak = index(&world);
    weak["keys"]["event"]["json_keys"]["errorCode"]["type"] = json!("long");
    wait(cloud.update_index(&project(), &name(), &weak)).unwrap();
    let note = world.event("TamperRepaired");
    assert!(note.contains("event.errorCode (found long)"), "{note}");
    world.eventually("the type is back", || {
        let leaves = index(&world)["keys"]["event"]["json_keys"].clone();
        match (
            leaves["errorCode"]["type"].as_str(),
            leaves["vpcId"]["type"].as_str(),
        ) {
            (Some("text"), Some("long")) => Ok(()),
            found => Err(format!("{found:?}")),
        }
    });
    world.resyncs("GetIndex", 2);
    assert_eq!(
        world.count(0, "UpdateIndex"),
        1,
        "one repair, and the type of others stays"
    );
}

#[test]
fn writing_without_a_signature_is_switched_off() {
    let mut world = world("tracking");
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(KIND, "store");
    change(&world, |store| store.set_anonymous_writing(true));
    world.eventually("it is off", || {
        if found(&world).unwrap().anonymous_writing() {
            Err("on".to_owned())
        } else {
            Ok(())
        }
    });
}

fn set_append_meta(world: &World, on: bool) {
    change(world, |store| store.set_append_meta(on));
}

fn until_append_meta(world: &World, on: bool) {
    world.eventually(&format!("appendMeta is {on}"), || {
        let now = found(world).unwrap().append_meta();
        if now == on { Ok(()) } else { Err(now.to_string()) }
    });
}

#[test]
fn origin_and_arrival_are_added_as_the_spec_says_and_kept_on() {
    let mut world = world("append-meta");
    world.apply(KIND, "store", &with(spec(30), &json!({"appendMeta": true})));
    world.start();
    world.settled(KIND, "store");
    assert!(found(&world).unwrap().append_meta(), "from its creation");
    assert_eq!(world.count(0, "UpdateLogStore"), 0, "{}", world.report());

    set_append_meta(&world, false);
    until_append_meta(&world, true);
    let note = world.event("TamperRepaired");
    assert!(note.contains("no longer added origin and arrival"), "{note}");

    world.patch_spec(KIND, "store", &json!({"appendMeta": false}));
    until_append_meta(&world, false);
    world.settled(KIND, "store");
    // What somebody switches on later stays, and it is said.
    let since = world.now();
    set_append_meta(&world, true);
    let synced = world.condition(KIND, "store", "Synced", "False", "ExceedsSpec");
    assert!(
        synced["message"].as_str().unwrap().contains("spec.appendMeta"),
        "{synced}"
    );
    world.resyncs("GetLogStore", 2);
    assert_eq!(world.writes(since), Vec::<String>::new(), "{}", world.report());
}

#[test]
fn a_deleted_store_is_created_again_and_that_is_said() {
    let mut world = world("again");
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(KIND, "store");
    let before: AuditLogStore = world.get("store");
    world.emulator.jump(Duration::from_secs(3600)).unwrap();
    wait(world.intruder().log_service.delete_log_store(&project(), &name())).unwrap();
    assert!(world.event("CreatedAgain").contains("lost"));
    let old = before.status.as_ref().unwrap().data_since.clone();
    world.until("store", "dataSince has moved", |object: &AuditLogStore| {
        object
            .status
            .as_ref()
            .is_some_and(|status| status.data_since != old)
    });
    world.settled(KIND, "store");
    let after: AuditLogStore = world.get("store");
    assert_ne!(
        before.status.unwrap().data_since,
        after.status.as_ref().unwrap().data_since
    );
    assert!(
        after
            .status
            .unwrap()
            .last_tamper
            .unwrap()
            .what
            .contains("deleted")
    );
    assert!(index(&world).contains_key("keys"));
}

#[test]
fn taking_over_keeps_what_is_there_and_never_reduces() {
    let mut world = World::new("adopt");
    made_by_intruder(&world, 90);
    world.apply(PROJECT, "trail", &project_spec(PROJECT_NAME));
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.ready(PROJECT, "trail");
    let stalled = world.condition(KIND, "store", "Stalled", "True", "AdoptionWouldReduce");
    let message = stalled["message"].as_str().unwrap();
    assert!(
        message.contains("spec.retentionDays") && message.contains("90"),
        "{message}"
    );
    assert_eq!(mark(&world), None, "not even the mark is written");
    let since = world.now();
    world.patch_spec(KIND, "store", &json!({"retentionDays": 90}));
    world.settled(KIND, "store");
    let mut writes = world.writes(since);
    writes.sort();
    assert_eq!(writes, ["CreateIndex", "TagResources"]);
    let object: AuditLogStore = world.get("store");
    assert_eq!(object.status.unwrap().claim.unwrap().origin, Origin::Adopted);
    world.nothing_was_reduced();
    world.patch_spec(KIND, "store", &json!({"retentionDays": 30}));
    until_retention(&world, 30);
}

#[test]
fn a_store_that_is_not_shown_once_is_neither_created_again_nor_taken_for_created() {
    let mut world = World::new("unseen");
    made_by_intruder(&world, 30);
    world.apply(PROJECT, "trail", &project_spec(PROJECT_NAME));
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(KIND, "store");
    let since = world.now();
    let fault = json!({"match": {"action": "GetLogStore", "caller": support::USER, "times": 1},
        "fault": {"kind": "status", "status": 404, "code": "LogStoreNotExist", "message": "not there"}});
    world.emulator.add_fault(&fault).unwrap();
    world.resyncs("GetLogStore", 4);
    world.ready(KIND, "store");
    assert_eq!(world.writes(since), Vec::<String>::new());
    let object: AuditLogStore = world.get("store");
    assert_eq!(object.status.unwrap().claim.unwrap().origin, Origin::Adopted);
}

#[test]
fn what_a_person_makes_after_a_refused_create_is_not_taken_for_ours() {
    let mut world = World::new("refused");
    let refusal = json!({"match": {"action": "CreateLogStore", "caller": support::USER, "times": 0},
        "fault": {"kind": "status", "status": 403, "code": "ProjectQuotaExceed", "message": "quota"}});
    world.emulator.add_fault(&refusal).unwrap();
    world.apply(PROJECT, "trail", &project_spec(PROJECT_NAME));
    world.apply(
        KIND,
        "store",
        &with(spec(30), &json!({"adoptionPolicy": "Never"})),
    );
    world.start();
    world.condition(KIND, "store", "Stalled", "True", "QuotaExceeded");
    let object: AuditLogStore = world.get("store");
    assert_eq!(object.status.unwrap().pending_create, None);
    let new = NewLogStore {
        name: name(),
        retention_days: 7,
        shard_count: 2,
        append_meta: false,
    };
    wait(world.intruder().log_service.create_log_store(&project(), &new)).unwrap();
    world.condition(KIND, "store", "Stalled", "True", "AdoptionForbidden");
    assert_eq!(found(&world).unwrap().retention_days(), Some(7));
}

#[test]
fn a_weakening_that_cannot_be_put_right_is_said_in_protected() {
    let mut world = world("held");
    world.apply(KIND, "store", &spec(90));
    world.start();
    world.settled(KIND, "store");
    let refusal = json!({"match": {"action": "UpdateLogStore", "caller": support::USER, "times": 0},
        "fault": {"kind": "status", "status": 503, "code": "ServerBusy", "message": "busy"}});
    world.emulator.add_fault(&refusal).unwrap();
    set_retention(&world, 7);
    let weak = world.condition(KIND, "store", "Protected", "False", "Tampered");
    assert!(
        weak["message"].as_str().unwrap().contains("from 90 to 7 days"),
        "{weak}"
    );
    assert!(world.event("TamperFound").contains("from 90 to 7 days"));
    world.emulator.remove_faults().unwrap();
    world.condition(KIND, "store", "Protected", "True", "Protected");
    until_retention(&world, 90);
    let object: AuditLogStore = world.get("store");
    assert!(object.status.unwrap().last_tamper.unwrap().repaired);
    world.nothing_was_reduced();
}

#[test]
fn never_takes_over_nothing() {
    let mut world = World::new("never");
    made_by_intruder(&world, 7);
    world.apply(PROJECT, "trail", &project_spec(PROJECT_NAME));
    world.apply(
        KIND,
        "store",
        &with(spec(30), &json!({"adoptionPolicy": "Never"})),
    );
    world.start();
    world.condition(KIND, "store", "Stalled", "True", "AdoptionForbidden");
    assert_eq!(found(&world).unwrap().retention_days(), Some(7));
}

#[test]
fn another_number_of_shards_is_reported() {
    let mut world = World::new("shards");
    made_by_intruder(&world, 30);
    world.apply(PROJECT, "trail", &project_spec(PROJECT_NAME));
    world.apply(KIND, "store", &with(spec(30), &json!({"shards": {"count": 4}})));
    world.start();
    world.condition(KIND, "store", "Synced", "False", "ShardCountDiffers");
    world.condition(KIND, "store", "Ready", "True", "Available");
}

#[test]
fn duplicates_of_a_store_wait_for_the_oldest() {
    let mut world = world("duplicate");
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(KIND, "store");
    world.apply(KIND, "twin", &spec(60));
    let stalled = world.condition(KIND, "twin", "Stalled", "True", "DuplicateOf");
    assert!(stalled["message"].as_str().unwrap().contains("/store"));
    assert_eq!(found(&world).unwrap().retention_days(), Some(30));
}

#[test]
fn observe_lists_the_plan_and_writes_nothing() {
    let mut world = World::new("observe");
    made_by_intruder(&world, 7);
    world.apply(
        PROJECT,
        "trail",
        &with(
            project_spec(PROJECT_NAME),
            &json!({"managementPolicy": "Observe"}),
        ),
    );
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.condition(KIND, "store", "Synced", "False", "PlanPending");
    world.condition(KIND, "store", "Ready", "True", "Available");
    world.condition(KIND, "store", "Protected", "False", "ObserveOnly");
    let object: AuditLogStore = world.get("store");
    assert_eq!(
        object.metadata.finalizers, None,
        "the project's policy is the stricter one"
    );
    let plan = object.status.unwrap().plan.join("\n");
    for part in ["mark", "from 7 to 30", "index"] {
        assert!(plan.contains(part), "{part} in {plan}");
    }
    world.resyncs("GetLogStore", 2);
    assert_eq!(world.writes(0), Vec::<String>::new());
}

#[test]
fn retain_releases_the_mark_and_keeps_store_and_logs() {
    let mut world = world("retain");
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(KIND, "store");
    world.delete(KIND, "store");
    world.gone(KIND, "store");
    assert!(found(&world).is_some());
    let mark = mark(&world).unwrap();
    assert!(mark.starts_with("released"), "{mark}");
    world.apply(KIND, "store", &spec(30));
    world.settled(KIND, "store");
    let object: AuditLogStore = world.get("store");
    assert_eq!(object.status.unwrap().claim.unwrap().origin, Origin::Adopted);
}

#[test]
fn delete_deletes_the_stack_children_first() {
    let mut world = World::new("delete");
    let policy = json!({"deletionPolicy": "Delete"});
    world.apply(PROJECT, "trail", &with(project_spec(PROJECT_NAME), &policy));
    world.apply(KIND, "store", &with(spec(30), &policy));
    world.start();
    world.settled(PROJECT, "trail");
    world.settled(KIND, "store");
    // The parent is deleted first and waits for its child.
    world.delete(KIND, "store");
    world.delete(PROJECT, "trail");
    world.gone(KIND, "store");
    world.gone(PROJECT, "trail");
    assert!(wait(world.intruder().log_service.get_project(&project())).is_err());
    let deleted: Vec<String> = world
        .writes(0)
        .into_iter()
        .filter(|action| action.starts_with("Delete"))
        .collect();
    assert_eq!(deleted, ["DeleteLogStore", "DeleteProject"]);
}

#[test]
fn a_retained_store_keeps_its_project() {
    let mut world = World::new("keep");
    world.apply(
        PROJECT,
        "trail",
        &with(project_spec(PROJECT_NAME), &json!({"deletionPolicy": "Delete"})),
    );
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(PROJECT, "trail");
    world.settled(KIND, "store");
    world.delete(PROJECT, "trail");
    world.delete(KIND, "store");
    world.gone(PROJECT, "trail");
    world.gone(KIND, "store");
    assert!(found(&world).is_some());
    assert!(world.event("ProjectLeftNotEmpty").contains(NAME));
}

#[test]
fn a_store_goes_although_project_and_credentials_went_first() {
    let mut world = world("orphan").option("--deletion-grace=2s");
    world.apply(
        KIND,
        "store",
        &with(spec(30), &json!({"deletionPolicy": "Delete"})),
    );
    world.start();
    world.settled(PROJECT, "trail");
    world.settled(KIND, "store");
    world.delete(PROJECT, "trail");
    world.gone(PROJECT, "trail");
    world.write_secret(CREDENTIALS, KEY, SECRET, false);
    world.delete(KIND, "store");
    world.gone(KIND, "store");
    assert!(found(&world).is_some());
    assert!(world.event("LeftInCloud").contains(NAME));
}

#[test]
fn a_store_that_is_gone_in_the_cloud_is_let_go() {
    let mut world = world("vanished").option("--resync-interval=10m");
    world.apply(
        KIND,
        "store",
        &with(spec(30), &json!({"deletionPolicy": "Delete"})),
    );
    world.start();
    world.ready(PROJECT, "trail");
    world.ready(KIND, "store");
    wait(world.intruder().log_service.delete_project(&project())).unwrap();
    world.delete(KIND, "store");
    world.gone(KIND, "store");
    world.delete(PROJECT, "trail");
    world.gone(PROJECT, "trail");
}

/// The operator dies by SIGKILL while the answer to one of its changes is held back.
#[test]
fn a_lost_answer_and_a_killed_operator_end_the_same() {
    for action in ["CreateLogStore", "TagResources", "CreateIndex"] {
        let mut world = world("crash");
        world.start();
        world.settled(PROJECT, "trail");
        let fault = json!({"match": {"action": action, "isWrite": true, "caller": support::USER}, "fault": {"kind": "hold-after"}});
        world.emulator.add_fault(&fault).unwrap();
        world.apply(KIND, "store", &spec(30));
        world.eventually(&format!("{action} is held"), || {
            let faults = world.emulator.get("faults").unwrap();
            if faults["faults"][0]["holding"] == 1 {
                Ok(())
            } else {
                Err(faults.to_string())
            }
        });
        world.kill();
        world.emulator.remove_faults().unwrap();
        world.start();
        world.settled(KIND, "store");
        assert_eq!(
            world.count(0, "CreateLogStore"),
            1,
            "{action}\n{}",
            world.report()
        );
        assert_eq!(world.count(0, "CreateIndex"), 1, "{action}\n{}", world.report());
        let object: AuditLogStore = world.get("store");
        let status = object.status.unwrap();
        assert_eq!(status.claim.unwrap().origin, Origin::Created, "{action}");
        assert_eq!(status.pending_create, None, "{action}");
        assert_eq!(status.last_tamper, None, "{action}");
        world.nothing_was_reduced();
    }
}

#[test]
fn a_slow_cloud_is_waited_for_and_nothing_is_created_twice() {
    let mut world = world("slow");
    let fault = json!({"match": {"service": "Log", "times": 0}, "fault": {"kind": "delay", "ms": 300}});
    world.emulator.add_fault(&fault).unwrap();
    world.apply(KIND, "store", &spec(30));
    world.start();
    world.settled(KIND, "store");
    assert_eq!(
        (world.count(0, "CreateProject"), world.count(0, "CreateLogStore")),
        (1, 1)
    );
}
