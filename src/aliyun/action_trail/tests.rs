#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn trail(json: Value) -> Trail {
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_trail_is_read_and_its_settings_echo_every_destination() {
    let trail = trail(json!({
        "Name": "ram-audit", "Status": "Enable", "HomeRegion": "cn-hangzhou", "TrailRegion": "All",
        "EventRW": "all", "SlsProjectArn": "acs:log:cn-x:1:project/p", "SlsWriteRoleArn": "acs:ram::1:role/r",
        "OssBucketName": "b", "OssKeyPrefix": "prefix", "OssWriteRoleArn": "", "MaxComputeProjectArn": "m",
        "MaxComputeWriteRoleArn": "w", "IsOrganizationTrail": "False", "CreateTime": "2025-08-05T06:00:00Z",
        "StopLoggingTime": "", "Novel": 1,
    }));
    assert_eq!(trail.state(), TrailState::Enable);
    assert_eq!(trail.is_organization_trail, Some(false));
    assert_eq!(trail.create_time, Some("2025-08-05T06:00:00Z".parse().unwrap()));
    assert_eq!(trail.stop_logging_time, None);
    let settings = trail.settings().unwrap();
    assert_eq!(
        settings,
        TrailSettings {
            event_rw: EventRw::All,
            trail_region: "All".to_owned(),
            sls_project_arn: Some("acs:log:cn-x:1:project/p".to_owned()),
            sls_write_role_arn: Some("acs:ram::1:role/r".to_owned()),
            oss_bucket_name: Some("b".to_owned()),
            oss_key_prefix: Some("prefix".to_owned()),
            oss_write_role_arn: None,
            max_compute_project_arn: Some("m".to_owned()),
            max_compute_write_role_arn: Some("w".to_owned()),
        }
    );
}

#[test]
fn words_that_were_not_documented_are_not_guessed() {
    let trail = trail(json!({ "Name": "t", "Status": "Paused", "EventRW": "Most" }));
    assert_eq!(trail.state(), TrailState::Other("Paused".to_owned()));
    assert_eq!(trail.events(), None);
    assert_eq!(
        trail.settings(),
        None,
        "an update would have to invent what to record"
    );
}

#[test]
fn a_trail_that_never_delivered_has_no_times_and_no_error() {
    let status: TrailStatus = serde_json::from_value(json!({
        "IsLogging": "true", "SlsLogStoreStatus": true, "LatestDeliveryLogServiceError": "",
        "LatestDeliveryLogServiceTime": "",
    }))
    .unwrap();
    assert_eq!(
        (status.is_logging, status.sls_log_store_status),
        (Some(true), Some(true))
    );
    assert_eq!(status.latest_delivery_log_service_error, None);
    assert_eq!(status.latest_delivery_log_service_time, None);
}

#[test]
fn an_event_is_read_from_text_as_from_an_object() {
    let json = json!({
        "eventId": "E-1", "eventVersion": 1, "eventName": "StopLogging", "eventTime": "2026-01-02T03:04:05Z",
        "serviceName": "Actiontrail", "eventRW": "Write", "requestId": "R-1", "errorCode": "",
        "userIdentity": { "type": "ram-user", "principalId": 200_000_000, "userName": "mallory" },
        "requestParameters": { "Name": "ram-audit", "a.b": [1] }, "userAgent": "x", "novel": {},
    });
    for form in [json.clone(), Value::String(json.to_string())] {
        let event = event(form).unwrap();
        assert_eq!(event.event_name.as_deref(), Some("StopLogging"));
        assert_eq!(event.error_code, None, "empty text is success");
        assert_eq!(event.user_identity.principal_id.as_deref(), Some("200000000"));
        assert_eq!(event.request_parameters["Name"], "ram-audit");
    }
}

#[test]
fn odd_parts_do_not_spoil_an_event() {
    let event =
        TrailEvent::parse(r#"{"eventId":"E","userIdentity":"none","requestParameters":null}"#).unwrap();
    assert_eq!(event.user_identity, UserIdentity::default());
    assert!(event.request_parameters.is_empty());
    assert_eq!(TrailEvent::parse("not json"), None);
}

#[test]
fn what_is_not_set_is_not_sent() {
    let parameters = format!("{:?}", TrailSettings::into_project("arn").parameters("ram-audit"));
    assert!(
        parameters.contains("EventRW") && parameters.contains("SlsProjectArn"),
        "{parameters}"
    );
    assert!(
        !parameters.contains("Oss") && !parameters.contains("WriteRole"),
        "{parameters}"
    );
}
