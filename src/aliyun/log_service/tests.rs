#![allow(clippy::unwrap_used)]

use http::HeaderMap;

use super::*;

fn reply(json: Value) -> Reply {
    Reply {
        headers: HeaderMap::new(),
        json,
    }
}

#[test]
fn an_update_of_a_log_store_loses_no_field_that_it_does_not_know() {
    let answered = json!({
        "logstoreName": "ai-log", "ttl": 30, "shardCount": 2, "autoSplit": true, "maxSplitShard": 64,
        "enable_tracking": false, "appendMeta": true, "telemetryType": "None", "hot_ttl": 7,
        "infrequentAccessTTL": 30, "mode": "standard", "productType": "acs-product",
        "encrypt_conf": { "enable": true, "encrypt_type": "default", "novel": [1, null] },
        "novelField": { "deep": [{ "kept": true }] },
        "createTime": 1_754_373_600, "lastModifyTime": 1_754_373_601,
    });
    let mut store: LogStore = serde_json::from_value(answered.clone()).unwrap();
    assert_eq!(store.name(), Some("ai-log"));
    assert_eq!((store.retention_days(), store.shard_count()), (Some(30), Some(2)));
    assert_eq!(store.create_time(), Some("2025-08-05T06:00:00Z".parse().unwrap()));
    assert_eq!(store.mode(), Some("standard"));
    store.set_retention_days(180);
    let mut expected = answered;
    expected["ttl"] = json!(180);
    let fields = expected.as_object_mut().unwrap();
    fields.remove("createTime");
    fields.remove("lastModifyTime");
    assert_eq!(store.update_body(), expected);
}

#[test]
fn storage_tiers_that_are_not_set_are_not_sent() {
    for unset in [json!(-1), json!(0), json!("-1"), json!(null)] {
        let store: LogStore =
            serde_json::from_value(json!({ "ttl": 30, "hot_ttl": unset, "infrequentAccessTTL": unset }))
                .unwrap();
        assert_eq!(store.update_body(), json!({ "ttl": 30 }));
    }
}

#[test]
fn numbers_and_booleans_of_a_log_store_may_be_text() {
    let store: LogStore = serde_json::from_value(
        json!({ "ttl": "30", "shardCount": "2", "enable_tracking": "True", "appendMeta": "true" }),
    )
    .unwrap();
    assert_eq!((store.retention_days(), store.shard_count()), (Some(30), Some(2)));
    assert!(store.anonymous_writing());
    assert!(store.append_meta());
    assert!(!LogStore::default().anonymous_writing());
    assert!(!LogStore::default().append_meta());
}

#[test]
fn a_project_is_read_with_missing_and_odd_fields() {
    let project: Project = serde_json::from_value(json!({
        "projectName": "p", "owner": "", "createTime": "2025-08-05 14:00:00", "quota": { "shard": 400 },
        "recycleBinEnabled": "true", "description": null,
    }))
    .unwrap();
    assert_eq!(
        (project.project_name.as_str(), project.description.as_str()),
        ("p", "")
    );
    assert_eq!(project.recycle_bin_enabled, Some(true));
    assert_eq!(project.create_time_candidates().len(), 2);
    assert!(Project::default().create_time_candidates().is_empty());
}

#[test]
fn rows_are_text_and_completeness_is_never_assumed() {
    let data = json!([{ "__time__": "1754373600", "n": 7, "b": true, "o": { "a": 1 }, "none": null }]);
    let rows = read_rows(&reply(
        json!({ "meta": { "progress": "Complete" }, "data": data }),
    ))
    .unwrap();
    assert!(rows.complete);
    let row = &rows.rows[0];
    assert_eq!(
        (row["n"].as_str(), row["b"].as_str(), row["o"].as_str()),
        ("7", "true", r#"{"a":1}"#)
    );
    assert!(!row.contains_key("none"));
    let incomplete = [
        json!({ "meta": { "progress": "Incomplete" }, "data": [] }),
        json!({ "meta": {}, "data": [] }),
        json!({ "data": [] }),
    ];
    for answer in incomplete {
        assert!(!read_rows(&reply(answer)).unwrap().complete);
    }
}

#[test]
fn an_answer_without_rows_is_not_an_empty_answer() {
    for answer in [
        json!(null),
        json!({}),
        json!([]),
        json!({ "data": "x" }),
        json!({ "data": [1] }),
    ] {
        assert!(read_rows(&reply(answer)).is_err());
    }
}

#[test]
fn a_job_keeps_what_it_does_not_know() {
    let answered = json!({
        "logstore": "actiontrail_t", "roleArn": "acs:ram::1:role/r", "script": "* | where a=1", "lang": "SPL",
        "fromTime": 0, "toTime": 0, "parameters": { "x": "y" }, "version": 2,
        "sinks": [{
            "name": "s", "project": "p", "logstore": "l", "endpoint": "cn-x-intranet.log.aliyuncs.com",
            "roleArn": "acs:ram::1:role/w", "datasets": ["__UNNAMED__"],
        }],
    });
    let job: EtlJob =
        serde_json::from_value(json!({ "name": "j", "status": "RUNNING", "configuration": answered }))
            .unwrap();
    assert_eq!(job.status.as_deref(), Some("RUNNING"));
    let definition = EtlDefinition {
        display_name: "j".to_owned(),
        description: "d".to_owned(),
        configuration: job.configuration,
    };
    assert_eq!(
        Value::Object(definition.body()),
        json!({ "displayName": "j", "description": "d", "configuration": answered })
    );
}

#[test]
fn the_page_of_another_server_is_no_answer_to_a_write() {
    assert!(done(&reply(Value::Null)).is_ok());
    assert!(done(&reply(json!({}))).is_ok());
    assert!(done(&reply(json!(["x"]))).is_err());
}

#[test]
fn only_read_write_shards_count() {
    let shards: Vec<Shard> = serde_json::from_value(json!([
        { "shardID": 0, "status": "readwrite", "inclusiveBeginKey": "00", "exclusiveEndKey": "ff", "createTime": 1 },
        { "shardID": "1", "status": "readonly" },
    ]))
    .unwrap();
    assert_eq!(shards.iter().filter(|shard| shard.is_writable()).count(), 1);
    assert_eq!(shards[1].shard_id, Some(1));
}
