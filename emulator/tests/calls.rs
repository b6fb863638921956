//! Calls, faults, journal and clock over real sockets.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::Read;
use std::time::{Duration, Instant};

use ramtrail_emulator::assumptions::Profile;
use ramtrail_emulator::config::Config;
use ramtrail_emulator::server::{Emulator, StartError};
use serde_json::{Value, json};
use support::{ACCOUNT, Cloud, KEY, SECRET, TOKEN, admin_request, eventually, rpc_request_at};

const STS: &str = "sts.aliyuncs.com";
const STS_VERSION: &str = "2015-04-01";

fn documented() -> Cloud {
    Cloud::start(Profile::Documented, &[])
}

#[test]
fn only_loopback_is_served() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut config = Config::new("t");
    config.listen = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(
        runtime.block_on(Emulator::start(config)),
        Err(StartError::NotLoopback(_))
    ));
}

#[test]
fn a_signed_call_is_answered_and_journalled_without_secrets() {
    let cloud = documented();
    let answer = cloud.sts("GetCallerIdentity", &[]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["Arn"], format!("acs:ram::{ACCOUNT}:user/operator"));
    assert!(answer.head.contains("date: ") && answer.head.contains("x-acs-request-id: "));
    let rows = cloud.rows("GetCallerIdentity");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["account"], ACCOUNT);
    assert_eq!(rows[0]["caller"], format!("acs:ram::{ACCOUNT}:user/operator"));
    assert_eq!(rows[0]["isWrite"], false);
    assert_eq!(rows[0]["userAgent"], "support/1.0");
    assert_eq!(rows[0]["requestId"], answer.json()["RequestId"]);
    let journal = cloud.admin("GET", "journal", &Value::Null).to_string();
    assert!(!journal.contains(SECRET) && !journal.contains("Signature"));
}

#[test]
fn a_replayed_request_is_refused_and_a_late_one_too() {
    let cloud = documented();
    let request = cloud.rpc_request(STS, STS_VERSION, "GetCallerIdentity", &[]);
    assert_eq!(cloud.exchange(&request).unwrap().status, 200);
    assert_eq!(cloud.exchange(&request).unwrap().code(), "SignatureNonceUsed");
    let late = cloud.rpc_request(STS, STS_VERSION, "GetCallerIdentity", &[]);
    cloud.jump(16 * 60);
    assert_eq!(cloud.exchange(&late).unwrap().code(), "InvalidTimeStamp.Expired");
    let early = cloud.log_request("GET", "", "/", &Value::Null);
    cloud.jump(-32 * 60);
    assert_eq!(cloud.exchange(&early).unwrap().code(), "RequestTimeExpired");
    assert_eq!(cloud.sts("GetCallerIdentity", &[]).status, 200);
}

#[test]
fn unknown_keys_and_wrong_secrets_are_told_apart() {
    let cloud = documented();
    let with = |key: &str, secret: &str, nonce: &str| {
        let request = rpc_request_at(
            STS,
            STS_VERSION,
            "GetCallerIdentity",
            &[],
            cloud.now(),
            nonce,
            key,
            secret,
        );
        cloud.exchange(&request).unwrap()
    };
    assert_eq!(with("nobody", SECRET, "a").code(), "InvalidAccessKeyId.NotFound");
    assert_eq!(with(KEY, "wrong", "b").code(), "SignatureDoesNotMatch");
    // The failed attempts are rows without a caller.
    assert!(
        cloud
            .rows("GetCallerIdentity")
            .iter()
            .all(|row| row.get("caller").is_none())
    );
}

#[test]
fn admin_endpoints_want_the_token_and_are_no_part_of_the_cloud() {
    let cloud = documented();
    for path in [
        "journal",
        "faults",
        "clock",
        "assumptions",
        "quotas",
        "state?account=1",
    ] {
        let wrong = cloud
            .exchange(&admin_request("GET", path, &Value::Null, "no", "localhost"))
            .unwrap();
        assert_eq!(wrong.status, 403, "{path}");
        let cloud_name = cloud
            .exchange(&admin_request(
                "GET",
                path,
                &Value::Null,
                TOKEN,
                "cn-hangzhou.log.aliyuncs.com",
            ))
            .unwrap();
        assert_eq!(cloud_name.status, 401, "{path}");
    }
}

#[test]
fn a_held_call_runs_when_it_is_released() {
    let cloud = documented();
    let id = cloud.fault(&json!({"action": "CreateGroup"}), &json!({"kind": "hold-before"}));
    let request = cloud.rpc_request(
        "ram.aliyuncs.com",
        "2015-05-01",
        "CreateGroup",
        &[("GroupName", "g1")],
    );
    let mut stream = cloud.connect(&request);
    eventually("the call is held", || {
        cloud.admin("GET", "faults", &Value::Null)["faults"][0]["holding"] == 1
    });
    assert!(cloud.rows("CreateGroup").is_empty());
    assert_eq!(
        cloud.ram("GetGroup", &[("GroupName", "g1")]).code(),
        "EntityNotExist.Group"
    );
    cloud.admin("POST", "faults/release", &json!({"id": id}));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(cloud.ram("GetGroup", &[("GroupName", "g1")]).status, 200);
}

#[test]
fn a_held_call_still_commits_when_its_client_is_dead() {
    let cloud = documented();
    cloud.fault(&json!({"action": "CreateGroup"}), &json!({"kind": "hold-before"}));
    let request = cloud.rpc_request(
        "ram.aliyuncs.com",
        "2015-05-01",
        "CreateGroup",
        &[("GroupName", "g1")],
    );
    let stream = cloud.connect(&request);
    eventually("the call is held", || {
        cloud.admin("GET", "faults", &Value::Null)["faults"][0]["holding"] == 1
    });
    assert_eq!(
        cloud.ram("GetGroup", &[("GroupName", "g1")]).code(),
        "EntityNotExist.Group"
    );
    drop(stream);
    eventually("the call commits", || {
        cloud.ram("GetGroup", &[("GroupName", "g1")]).status == 200
    });
    assert_eq!(cloud.rows("CreateGroup").len(), 1);
}

#[test]
fn a_held_answer_belongs_to_a_call_that_has_run() {
    let cloud = documented();
    let id = cloud.fault(&json!({"action": "CreateGroup"}), &json!({"kind": "hold-after"}));
    let request = cloud.rpc_request(
        "ram.aliyuncs.com",
        "2015-05-01",
        "CreateGroup",
        &[("GroupName", "g1")],
    );
    let mut stream = cloud.connect(&request);
    eventually("the call has run", || {
        cloud.ram("GetGroup", &[("GroupName", "g1")]).status == 200
    });
    eventually("its answer is held", || {
        cloud.admin("GET", "faults", &Value::Null)["faults"][0]["holding"] == 1
    });
    // Removing a fault releases what it holds.
    cloud.admin("DELETE", &format!("faults?id={id}"), &Value::Null);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"));
}

#[test]
fn dropped_calls_differ_in_whether_they_ran() {
    let cloud = documented();
    let create = |name: &str| {
        cloud.rpc(
            "ram.aliyuncs.com",
            "2015-05-01",
            "CreateGroup",
            &[("GroupName", name)],
        )
    };
    cloud.fault(&json!({"action": "CreateGroup"}), &json!({"kind": "drop-before"}));
    assert!(create("g1").is_none());
    assert_eq!(cloud.ram("GetGroup", &[("GroupName", "g1")]).status, 404);
    cloud.admin("DELETE", "faults", &Value::Null);
    cloud.fault(&json!({"action": "CreateGroup"}), &json!({"kind": "drop-after"}));
    assert!(create("g2").is_none());
    assert_eq!(cloud.ram("GetGroup", &[("GroupName", "g2")]).status, 200);
    let rows = cloud.rows("CreateGroup");
    assert_eq!(
        (rows[0]["status"].as_u64(), rows[0]["changed"].as_bool()),
        (Some(0), Some(false))
    );
    assert_eq!(
        (rows[1]["status"].as_u64(), rows[1]["changed"].as_bool()),
        (Some(200), Some(true))
    );
}

#[test]
fn answers_can_be_late_slow_garbled_cut_off_throttled_or_refused() {
    let cloud = documented();
    let call = || cloud.sts("GetCallerIdentity", &[]);
    let fault = |fault: Value| {
        cloud.admin("DELETE", "faults", &Value::Null);
        cloud.fault(&json!({"service": "Sts"}), &fault);
    };
    fault(json!({"kind": "delay", "ms": 120}));
    let start = Instant::now();
    assert_eq!(call().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(120));
    fault(json!({"kind": "slow-body", "ms": 2}));
    let start = Instant::now();
    let slow = call();
    assert_eq!(slow.json()["AccountId"], ACCOUNT);
    assert!(start.elapsed() >= Duration::from_millis(2 * slow.body.len() as u64));
    fault(json!({"kind": "garbage"}));
    let garbage = call();
    assert_eq!((garbage.status, garbage.json()), (200, Value::Null));
    fault(json!({"kind": "truncated"}));
    let cut = call();
    let announced: usize = cut
        .head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap();
    assert_eq!((cut.status, cut.json()), (200, Value::Null));
    assert!(!cut.body.is_empty() && cut.body.len() < announced, "{announced}");
    fault(json!({"kind": "throttle", "retryAfterMs": 1500}));
    let throttled = call();
    assert_eq!(throttled.code(), "Throttling.User");
    assert!(throttled.head.contains("x-acs-retry-after: 1500"));
    fault(json!({"kind": "status", "status": 503, "code": "ServiceUnavailable"}));
    let refused = call();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "ServiceUnavailable")
    );
    assert_eq!(call().status, 200);
}

#[test]
fn a_body_above_the_limit_is_refused_before_anything_else() {
    let cloud = documented();
    let request =
        b"POST / HTTP/1.1\r\nHost: p.cn-hangzhou.log.aliyuncs.com\r\nContent-Length: 10485761\r\n\r\n";
    let mut stream = cloud.connect(request);
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn quotas_and_assumptions_change_while_running_and_return_with_a_reset() {
    let cloud = documented();
    cloud.admin("POST", "quotas", &json!({"name": "sts.qps", "value": 0}));
    assert_eq!(cloud.sts("GetCallerIdentity", &[]).code(), "Throttling.User");
    cloud.admin(
        "POST",
        "assumptions",
        &json!({"id": "rpc.throttling.status", "behaviour": "503"}),
    );
    assert_eq!(cloud.sts("GetCallerIdentity", &[]).status, 503);
    let before = cloud.admin("GET", "journal", &Value::Null)["lastSeq"]
        .as_u64()
        .unwrap();
    cloud.ram("CreateGroup", &[("GroupName", "g1")]);
    cloud.admin("POST", "reset", &Value::Null);
    let journal = cloud.admin("GET", "journal", &Value::Null);
    assert!(journal["rows"].as_array().unwrap().is_empty() && journal["lastSeq"].as_u64().unwrap() > before);
    assert_eq!(cloud.ram("GetGroup", &[("GroupName", "g1")]).status, 404);
    assert_eq!(cloud.sts("GetCallerIdentity", &[]).status, 200);
}

#[test]
fn identities_have_the_policies_they_are_given() {
    let cloud = documented();
    let denied_document = json!({"Version": "1", "Statement": [
        {"Effect": "Allow", "Action": "actiontrail:DescribeTrails", "Resource": "*"}]});
    cloud.admin(
        "POST",
        "identities",
        &json!({"accessKeyId": "LTAIlow", "accessKeySecret": "s", "account": ACCOUNT, "user": "low",
                "policyDocuments": [denied_document]}),
    );
    let call = |action: &str, params: &[(&str, &str)], nonce: &str| {
        let host = "actiontrail.cn-hangzhou.aliyuncs.com";
        let request = rpc_request_at(
            host,
            "2020-07-06",
            action,
            params,
            cloud.now(),
            nonce,
            "LTAIlow",
            "s",
        );
        cloud.exchange(&request).unwrap()
    };
    assert_eq!(call("DescribeTrails", &[], "n1").status, 200);
    let denied = call("DeleteTrail", &[("Name", "abcdef")], "n2");
    assert_eq!((denied.status, denied.code().as_str()), (403, "NoPermission"));
    assert!(
        denied.json()["Message"]
            .as_str()
            .unwrap()
            .contains("actiontrail:DeleteTrail")
    );
    assert_eq!(cloud.rows("DeleteTrail")[0]["errorCode"], "NoPermission");
}
