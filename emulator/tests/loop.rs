//! The closed loop: calls become events, trails deliver them, settings have effects in the journal.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use ramtrail_emulator::assumptions::Profile;
use serde_json::{Value, json};
use support::{ACCOUNT, Cloud};

const PROJECT: &str = "audit-project";
const TRAIL: &str = "ram-audit";

fn documented(assume: &[(&str, &str)]) -> Cloud {
    let cloud = Cloud::start(Profile::Documented, assume);
    cloud.logging_trail(PROJECT, TRAIL);
    cloud
}

fn effects(row: &Value) -> Vec<(String, String)> {
    row["effects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|effect| {
            (
                effect["field"].as_str().unwrap().to_owned(),
                effect["change"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

fn effect(field: &str, change: &str) -> (String, String) {
    (format!("trail/{TRAIL}{field}"), change.to_owned())
}

#[test]
fn a_call_is_in_the_trails_store_and_in_lookups() {
    let cloud = documented(&[]);
    let answer = cloud.sts("GetCallerIdentity", &[]);
    let id = answer.json()["RequestId"].as_str().unwrap().to_owned();
    cloud.jump(5);
    let events = cloud.delivered(PROJECT, TRAIL);
    let event = events
        .iter()
        .find(|event| event["requestId"] == id.as_str())
        .expect("delivered");
    assert_eq!(event["userIdentity"]["userName"], "operator");
    assert_eq!(event["sourceIpAddress"], "127.0.0.1");
    assert_eq!(event["eventRW"], "Read");
    let found = cloud.trail(
        "LookupEvents",
        &[
            ("LookupAttribute.1.Key", "EventName"),
            ("LookupAttribute.1.Value", "GetCallerIdentity"),
        ],
    );
    assert_eq!(found.json()["Events"][0]["requestId"], id.as_str());
    // Reading logs is a data call: no event, so looking does not change what is looked at.
    assert!(
        !cloud
            .delivered_names(PROJECT, TRAIL)
            .iter()
            .any(|name| name.contains("GetLog"))
    );
}

#[test]
fn a_denied_call_is_an_event_too() {
    let cloud = documented(&[]);
    assert_eq!(
        cloud.trail("DeleteTrail", &[("Name", "no-such-trail")]).status,
        404
    );
    cloud.jump(5);
    let events = cloud.delivered(PROJECT, TRAIL);
    let event = events
        .iter()
        .find(|event| event["eventName"] == "DeleteTrail")
        .expect("delivered");
    assert_eq!(event["errorCode"], "TrailNotFoundException");
}

#[test]
fn a_trail_delivers_only_what_it_covers() {
    let cloud = documented(&[]);
    let update = |rw: &str| {
        let arn = format!("acs:log:cn-hangzhou:{ACCOUNT}:project/{PROJECT}");
        let answer = cloud.trail(
            "UpdateTrail",
            &[
                ("Name", TRAIL),
                ("EventRW", rw),
                ("TrailRegion", "All"),
                ("SlsProjectArn", &arn),
            ],
        );
        assert_eq!(answer.status, 200);
    };
    update("Write");
    cloud.sts("GetCallerIdentity", &[]);
    cloud.ram("CreateGroup", &[("GroupName", "g1")]);
    cloud.jump(5);
    let names = cloud.delivered_names(PROJECT, TRAIL);
    assert!(names.contains(&"CreateGroup".to_owned()));
    assert!(!names.contains(&"GetCallerIdentity".to_owned()));
    let rows = cloud.rows("UpdateTrail");
    assert_eq!(effects(&rows[0]), [effect("/events", "down")]);
    update("All");
    assert_eq!(effects(&cloud.rows("UpdateTrail")[1]), [effect("/events", "up")]);
    update("All");
    assert_eq!(cloud.rows("UpdateTrail")[2]["changed"], false);
}

#[test]
fn a_stopped_trail_delivers_nothing_more() {
    for (behaviour, has_stop) in [("delivered", true), ("not_delivered", false)] {
        let cloud = documented(&[("actiontrail.stop.event", behaviour)]);
        assert_eq!(cloud.trail("StopLogging", &[("Name", TRAIL)]).status, 200);
        cloud.ram("CreateGroup", &[("GroupName", "after")]);
        cloud.jump(5);
        let names = cloud.delivered_names(PROJECT, TRAIL);
        assert_eq!(names.contains(&"StopLogging".to_owned()), has_stop, "{behaviour}");
        assert!(!names.contains(&"CreateGroup".to_owned()));
        assert_eq!(
            effects(&cloud.rows("StopLogging")[0]),
            [effect("/logging", "down")]
        );
        assert_eq!(cloud.trail("StopLogging", &[("Name", TRAIL)]).status, 200);
        assert_eq!(cloud.rows("StopLogging")[1]["changed"], false);
    }
}

#[test]
fn a_deleted_store_stops_delivery_unless_it_is_made_again() {
    for (behaviour, on_delivery, on_update) in [
        ("never", false, false),
        ("on_delivery", true, true),
        ("on_update", false, true),
    ] {
        let cloud = documented(&[("actiontrail.store.recreated", behaviour)]);
        let status = || cloud.trail("GetTrailStatus", &[("Name", TRAIL)]).json();
        cloud.jump(5);
        assert_eq!(status()["SlsLogStoreStatus"], true);
        assert!(status().get("LatestDeliveryLogServiceTime").is_some());
        let path = format!("/logstores/actiontrail_{TRAIL}");
        assert_eq!(cloud.log("DELETE", PROJECT, &path, &Value::Null).status, 200);
        assert!(
            effects(&cloud.rows("DeleteLogStore")[0])
                .iter()
                .all(|(_, change)| change == "down")
        );
        cloud.sts("GetCallerIdentity", &[]);
        cloud.jump(5);
        assert_eq!(status()["SlsLogStoreStatus"], on_delivery, "{behaviour}");
        assert_eq!(
            status().get("LatestDeliveryLogServiceError").is_none(),
            on_delivery,
            "{behaviour}"
        );
        cloud.trail("UpdateTrail", &[("Name", TRAIL), ("EventRW", "All")]);
        cloud.jump(5);
        assert_eq!(status()["SlsLogStoreStatus"], on_update, "{behaviour}");
    }
}

#[test]
fn a_missing_role_stops_delivery_and_creation() {
    let cloud = documented(&[("actiontrail.linked_role", "required")]);
    cloud.jump(5);
    let delete = cloud.ram("DeleteRole", &[("RoleName", "AliyunServiceRoleForActionTrail")]);
    assert_eq!(delete.status, 200);
    cloud.jump(5);
    let status = cloud.trail("GetTrailStatus", &[("Name", TRAIL)]).json();
    assert!(
        status["LatestDeliveryLogServiceError"]
            .as_str()
            .unwrap()
            .contains("role")
    );
    let arn = format!("acs:log:cn-hangzhou:{ACCOUNT}:project/{PROJECT}");
    let create = cloud.trail(
        "CreateTrail",
        &[("Name", "second-trail"), ("SlsProjectArn", &arn)],
    );
    assert_eq!(create.code(), "NeedServiceLinkedRole");
}

#[test]
fn the_hostile_profile_delivers_late_twice_and_out_of_order() {
    let cloud = Cloud::start(Profile::Hostile, &[("sls.project.visible", "at_once")]);
    cloud.logging_trail(PROJECT, TRAIL);
    for n in 0..6 {
        cloud.ram("CreateGroup", &[("GroupName", &format!("g{n}"))]);
    }
    let groups = || {
        cloud
            .delivered_names(PROJECT, TRAIL)
            .into_iter()
            .filter(|name| name == "CreateGroup")
            .count()
    };
    cloud.jump(30);
    assert_eq!(groups(), 0);
    cloud.jump(60);
    assert_eq!(groups(), 8, "six groups, every third event twice");
    let lookup = || {
        let found = cloud.trail(
            "LookupEvents",
            &[
                ("LookupAttribute.1.Key", "EventName"),
                ("LookupAttribute.1.Value", "CreateGroup"),
            ],
        );
        found.json()["Events"].as_array().unwrap().len()
    };
    assert_eq!(lookup(), 0, "lookups lag ten minutes");
    cloud.jump(600);
    let abroad = cloud
        .rpc(
            "actiontrail.ap-southeast-1.aliyuncs.com",
            "2020-07-06",
            "LookupEvents",
            &[
                ("LookupAttribute.1.Key", "EventName"),
                ("LookupAttribute.1.Value", "CreateGroup"),
            ],
        )
        .unwrap();
    assert_eq!(abroad.json()["Events"].as_array().unwrap().len(), 6);
}

#[test]
fn a_new_trail_is_seen_late_and_is_still_there() {
    let cloud = Cloud::start(Profile::Documented, &[("actiontrail.create.visible", "after_3s")]);
    cloud.log(
        "POST",
        "",
        "/",
        &json!({"projectName": PROJECT, "description": ""}),
    );
    let arn = format!("acs:log:cn-hangzhou:{ACCOUNT}:project/{PROJECT}");
    let create = || cloud.trail("CreateTrail", &[("Name", TRAIL), ("SlsProjectArn", &arn)]);
    let described = || {
        cloud.trail("DescribeTrails", &[]).json()["TrailList"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(create().status, 200);
    assert_eq!(described(), 0);
    assert_eq!(
        cloud.trail("StartLogging", &[("Name", TRAIL)]).code(),
        "TrailNotFoundException"
    );
    assert_eq!(create().code(), "TrailAlreadyExistsException");
    cloud.jump(4);
    assert_eq!(described(), 1);
    assert_eq!(
        cloud
            .rows("CreateTrail")
            .iter()
            .filter(|row| row["changed"] == true)
            .count(),
        1
    );
    assert!(cloud.state()["trails"].as_array().unwrap().len() == 1);
}

#[test]
fn imported_events_are_delivered_and_looked_up() {
    let cloud = documented(&[]);
    let event = json!({"eventId": "imported-1", "eventName": "ConsoleSignin", "serviceName": "AasSub",
        "eventTime": cloud.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "eventRW": "Write",
        "acsRegion": "cn-hangzhou"});
    let path = format!("events?account={ACCOUNT}");
    assert_eq!(cloud.admin("POST", &path, &json!([event]))["imported"], 1);
    cloud.jump(5);
    assert!(
        cloud
            .delivered(PROJECT, TRAIL)
            .iter()
            .any(|event| event["eventId"] == "imported-1")
    );
}

#[test]
fn deliveries_are_made_without_anyone_calling() {
    let cloud = documented(&[]);
    cloud.sts("GetCallerIdentity", &[]);
    // Only real time passes here: the emulator's own timer has to do it.
    support::eventually("the event is delivered", || {
        cloud
            .delivered_names(PROJECT, TRAIL)
            .contains(&"GetCallerIdentity".to_owned())
    });
}

#[test]
fn another_accounts_project_is_written_with_a_role_of_that_account() {
    const OTHER: &str = "2000000000000002";
    let mut cloud = documented(&[]);
    let own = cloud.key.clone();
    cloud.admin(
        "POST",
        "identities",
        &json!({"accessKeyId": "LTAIarchive", "accessKeySecret": "s", "account": OTHER}),
    );
    cloud.key = ("LTAIarchive".to_owned(), "s".to_owned());
    cloud.log(
        "POST",
        "",
        "/",
        &json!({"projectName": "archive", "description": ""}),
    );
    let trust = json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Service": [format!("{ACCOUNT}@actiontrail.aliyuncs.com")]}}]});
    let role = [
        ("RoleName", "delivery"),
        ("AssumeRolePolicyDocument", &trust.to_string()),
    ];
    assert_eq!(cloud.ram("CreateRole", &role).status, 200);
    let archive = cloud.key.clone();
    cloud.key = own.clone();
    let arn = format!("acs:log:cn-hangzhou:{OTHER}:project/archive");
    let name = ("Name", "far-trail");
    let without = cloud.trail("CreateTrail", &[name, ("SlsProjectArn", &arn)]);
    assert_eq!(without.code(), "InsufficientSlsPolicyException");
    let role_arn = format!("acs:ram::{OTHER}:role/delivery");
    let with = cloud.trail(
        "CreateTrail",
        &[name, ("SlsProjectArn", &arn), ("SlsWriteRoleArn", &role_arn)],
    );
    assert_eq!(with.status, 200, "{with:?}");
    assert_eq!(cloud.trail("StartLogging", &[name]).status, 200);
    cloud.sts("GetCallerIdentity", &[]);
    cloud.jump(5);
    cloud.key = archive;
    let events = cloud.delivered("archive", "far-trail");
    assert!(
        events
            .iter()
            .any(|event| event["eventName"] == "GetCallerIdentity" && event["recipientAccountId"] == ACCOUNT)
    );
    // The other account's own calls are not in it.
    assert!(events.iter().all(|event| event["eventName"] != "CreateRole"));
    assert_eq!(cloud.ram("DeleteRole", &[("RoleName", "delivery")]).status, 200);
    cloud.key = own;
    cloud.sts("GetCallerIdentity", &[]);
    cloud.jump(5);
    let status = cloud.trail("GetTrailStatus", &[name]).json();
    assert!(
        status["LatestDeliveryLogServiceError"]
            .as_str()
            .unwrap()
            .contains("delivery")
    );
}
