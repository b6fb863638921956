#![allow(clippy::unwrap_used)]

//! The loop against senders that play the cloud's faults.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use http::StatusCode;

use super::*;
use crate::aliyun::action_trail::TrailSettings;
use crate::aliyun::credential::{CredentialError, StaticCredentials};
use crate::aliyun::log_service::Taggable;
use crate::aliyun::{Cloud, CloudClients, CloudOptions, PublishedRates};

/// One planned answer.
type Step = Result<HttpResponse, TransportFailure>;

/// Answers from a plan and keeps what was sent.
#[derive(Debug, Default)]
struct Script {
    steps: Mutex<VecDeque<Step>>,
    sent: Mutex<Vec<HttpRequest>>,
}

impl HttpSend for Script {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let step = self.steps.lock().unwrap().pop_front();
        let host = request.host.clone();
        self.sent.lock().unwrap().push(request);
        let step = step.expect("a call more than was planned");
        Box::pin(std::future::ready(step.map_err(|failure| TransportError {
            host,
            failure,
            detail: "planned".to_owned(),
        })))
    }
}

#[derive(Default)]
struct Counting {
    attempts: Mutex<Vec<(Option<Class>, bool)>>,
    skews: AtomicUsize,
}

impl CallObserver for Counting {
    fn attempt_ended(&self, attempt: &Attempt) {
        self.attempts
            .lock()
            .unwrap()
            .push((attempt.class, attempt.retried));
    }

    fn clock_skew(&self, _service: Service, _seconds: f64) {
        self.skews.fetch_add(1, Ordering::Relaxed);
    }
}

// A step may also be a failure.
#[allow(clippy::unnecessary_wraps)]
fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Step {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::try_from(*value).unwrap(),
        );
    }
    let status = StatusCode::from_u16(status).unwrap();
    Ok(HttpResponse {
        status,
        headers: map,
        body: Bytes::copy_from_slice(body.as_bytes()),
    })
}

fn log_error(status: u16, code: &str, message: &str) -> Step {
    let body = serde_json::json!({ "errorCode": code, "errorMessage": message }).to_string();
    response(status, &[("x-log-requestid", "65A1")], &body)
}

fn rpc_error(status: u16, code: &str) -> Step {
    let body = serde_json::json!({ "Code": code, "Message": "text", "RequestId": "R-1" }).to_string();
    response(status, &[], &body)
}

fn project() -> ProjectName {
    ProjectName::new("ai-audit").unwrap()
}

const PROJECT_BODY: &str = r#"{"projectName":"ai-audit","description":"d"}"#;

struct Stage {
    script: Arc<Script>,
    observer: Arc<Counting>,
    cloud: Cloud,
    clients: CloudClients,
}

impl Stage {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let credential = Credential::new("LTAI1", "very-secret-key");
        Self::with(
            steps,
            Arc::new(StaticCredentials::new("test", credential)),
            RetryPolicy {
                min_delay: Duration::from_millis(1),
                max_delay: Duration::from_millis(2),
                ..RetryPolicy::default()
            },
        )
    }

    fn with(
        steps: impl IntoIterator<Item = Step>,
        credentials: Arc<dyn CredentialSource>,
        retry: RetryPolicy,
    ) -> Self {
        let script = Arc::new(Script {
            steps: Mutex::new(steps.into_iter().collect()),
            ..Script::default()
        });
        let observer = Arc::new(Counting::default());
        let mut options = CloudOptions::new(ClusterId::new("test-cluster").unwrap());
        options.retry = retry;
        let rate = 10_000.0;
        options.rates = PublishedRates {
            log_management: rate,
            action_trail_write: rate,
            action_trail_read: rate,
            sts: rate,
            ..PublishedRates::default()
        };
        let clock = CloudClock::new(|| "2026-01-02T03:04:05Z".parse().unwrap());
        let cloud = Cloud::with_clock(
            options,
            Arc::clone(&script) as _,
            Arc::clone(&observer) as _,
            clock,
        );
        let clients = cloud.clients(credentials, &Region::new("cn-hangzhou").unwrap());
        Self {
            script,
            observer,
            cloud,
            clients,
        }
    }

    fn sent(&self) -> Vec<HttpRequest> {
        self.script.sent.lock().unwrap().clone()
    }

    fn header(&self, attempt: usize, name: &str) -> String {
        self.sent()[attempt].headers[name].to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_call_is_sent_as_the_sheet_says() {
    let stage = Stage::new([response(200, &[("x-log-requestid", "AB12")], PROJECT_BODY)]);
    let answer = stage.clients.log_service.get_project(&project()).await.unwrap();
    assert_eq!(answer.value.project_name, "ai-audit");
    assert_eq!(answer.call.request_id.as_deref(), Some("AB12"));
    assert_eq!(answer.call.attempts, 1);
    let sent = &stage.sent()[0];
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("GET", "/"));
    assert_eq!(sent.host, "ai-audit.cn-hangzhou.log.aliyuncs.com");
    assert_eq!(stage.header(0, "x-log-date"), "20260102T030405Z");
    assert_eq!(stage.header(0, "x-log-bodyrawsize"), "0");
    assert!(!sent.headers.contains_key("content-type"), "there is no body");
    assert!(stage.header(0, "authorization").starts_with(
        "SLS4-HMAC-SHA256 Credential=LTAI1/20260102/cn-hangzhou/sls/aliyun_v4_request,Signature="
    ));
    let agent = stage.header(0, "user-agent");
    let expected = format!("(test-cluster; call/{})", answer.call.call_id);
    assert!(agent.ends_with(&expected), "{agent}");
    assert!(sent.headers["authorization"].is_sensitive());
}

#[tokio::test]
async fn a_read_is_repeated_with_a_new_signature_until_it_succeeds() {
    let stage = Stage::new([
        Err(TransportFailure::Broken),
        log_error(500, "InternalServerError", "x"),
        log_error(403, "MetaOperationQpsLimitExceeded", "x"),
        response(200, &[("x-log-requestid", "LAST")], PROJECT_BODY),
    ]);
    let answer = stage.clients.log_service.get_project(&project()).await.unwrap();
    assert_eq!(answer.call.attempts, 4);
    assert_eq!(answer.call.earlier_request_ids, ["65A1", "65A1"]);
    assert_eq!(answer.call.request_id.as_deref(), Some("LAST"));
    let attempts = stage.observer.attempts.lock().unwrap().clone();
    assert_eq!(
        attempts,
        [
            (Some(Class::Transient), true),
            (Some(Class::Transient), true),
            (Some(Class::Throttled), true),
            (None, false)
        ]
    );
}

#[tokio::test]
async fn attempts_end_at_the_policys_number() {
    let steps: Vec<Step> = (0..4).map(|_| rpc_error(503, "ServiceUnavailable")).collect();
    let stage = Stage::new(steps);
    let error = stage
        .clients
        .action_trail
        .describe_trails(&[], true)
        .await
        .unwrap_err();
    assert_eq!(error.classify(), Class::Transient);
    assert_eq!(error.call.attempts, 4);
    assert_eq!(stage.sent().len(), 4);
}

#[tokio::test]
async fn every_rpc_attempt_has_a_nonce_of_its_own() {
    let stage = Stage::new([
        rpc_error(400, "SignatureNonceUsed"),
        rpc_error(400, "Throttling.User"),
        response(200, &[("x-acs-request-id", "R-3")], r#"{"RequestId":"R-3"}"#),
    ]);
    let answer = stage
        .clients
        .action_trail
        .create_trail("ram-audit", &settings())
        .await
        .unwrap();
    assert_eq!(
        answer.call.attempts, 3,
        "a definite refusal of a write is repeated"
    );
    let nonces: BTreeSet<String> = (0..3).map(|n| stage.header(n, "x-acs-signature-nonce")).collect();
    let signatures: BTreeSet<String> = (0..3).map(|n| stage.header(n, "authorization")).collect();
    let agents: BTreeSet<String> = (0..3).map(|n| stage.header(n, "user-agent")).collect();
    assert_eq!((nonces.len(), signatures.len(), agents.len()), (3, 3, 1));
}

fn settings() -> TrailSettings {
    TrailSettings::into_project("acs:log:cn-hangzhou:1:project/p")
}

#[tokio::test]
async fn a_write_whose_outcome_is_unknown_is_not_repeated() {
    let unknown = [
        Err(TransportFailure::Broken),
        Err(TransportFailure::Timeout),
        Err(TransportFailure::BodyTooLarge),
        rpc_error(500, "InternalError"),
        rpc_error(503, "ServiceUnavailable"),
        rpc_error(400, "CreateLogStoreError"),
        response(502, &[], "<html>bad gateway</html>"),
        response(200, &[], "<html>welcome to the captive portal</html>"),
        response(200, &[], ""),
        response(204, &[], ""),
    ];
    for step in unknown {
        let shown = format!("{step:?}");
        let stage = Stage::new([step]);
        let error = stage
            .clients
            .action_trail
            .create_trail("ram-audit", &settings())
            .await
            .unwrap_err();
        assert!(error.outcome_unknown, "{shown}");
        assert_eq!(stage.sent().len(), 1, "{shown}");
        assert!(!error.call.call_id.is_empty());
    }
}

#[tokio::test]
async fn a_write_that_was_surely_not_done_is_a_plain_error() {
    for (step, class) in [
        (
            rpc_error(400, "TrailAlreadyExistsException"),
            Class::AlreadyExists,
        ),
        (rpc_error(403, "NoPermission"), Class::Denied),
        (Err(TransportFailure::UnknownHost), Class::UnknownRegion),
        (response(403, &[], "<html>proxy says no</html>"), Class::Unknown),
        (
            response(302, &[("location", "https://evil.example/")], ""),
            Class::Unknown,
        ),
    ] {
        let stage = Stage::new([step]);
        let error = stage
            .clients
            .action_trail
            .create_trail("ram-audit", &settings())
            .await
            .unwrap_err();
        assert_eq!(error.classify(), class);
        assert!(!error.outcome_unknown, "{class}");
        assert_eq!(stage.sent().len(), 1);
    }
}

#[tokio::test]
async fn a_write_that_never_left_is_repeated() {
    let stage = Stage::new([
        Err(TransportFailure::Connect),
        response(200, &[], r#"{"RequestId":"R"}"#),
    ]);
    stage
        .clients
        .action_trail
        .create_trail("ram-audit", &settings())
        .await
        .unwrap();
    assert_eq!(stage.sent().len(), 2);
}

#[tokio::test]
async fn a_throttled_write_is_repeated_whatever_its_status() {
    for status in [400, 403, 429, 503] {
        let stage = Stage::new([
            rpc_error(status, "Throttling.User"),
            response(200, &[], r#"{"RequestId":"R"}"#),
        ]);
        let answer = stage
            .clients
            .action_trail
            .create_trail("ram-audit", &settings())
            .await
            .unwrap();
        assert_eq!(answer.call.attempts, 2, "{status}");
    }
}

#[tokio::test]
async fn an_idempotent_write_is_repeated_like_a_read() {
    let stage = Stage::new([
        Err(TransportFailure::Timeout),
        rpc_error(500, "InternalError"),
        response(200, &[], r#"{"RequestId":"R"}"#),
    ]);
    stage
        .clients
        .action_trail
        .start_logging("ram-audit")
        .await
        .unwrap();
    let stage = Stage::new([Err(TransportFailure::Broken), response(200, &[], "")]);
    let tags = [("ramtrail-owner".to_owned(), "x".to_owned())].into();
    stage
        .clients
        .log_service
        .tag_resources(&Taggable::Project(project()), &tags)
        .await
        .unwrap();
    assert_eq!(stage.sent().len(), 2);
}

#[tokio::test]
async fn a_skewed_clock_is_learned_from_the_refusal_and_used_at_once() {
    let date = ("date", "Sat, 03 Jan 2026 03:04:05 GMT");
    let body = r#"{"errorCode":"RequestTimeExpired","errorMessage":"Request time X has been expired"}"#;
    let stage = Stage::new([
        response(400, &[date], body),
        response(200, &[date], PROJECT_BODY),
        response(200, &[date], PROJECT_BODY),
    ]);
    let answer = stage.clients.log_service.get_project(&project()).await.unwrap();
    assert_eq!(answer.call.attempts, 2);
    assert_eq!(stage.header(0, "x-log-date"), "20260102T030405Z");
    assert!(stage.header(1, "x-log-date").starts_with("20260103T0304"));
    assert_eq!(answer.call.cloud_time, "2026-01-03T03:04:05Z".parse().unwrap());
    // The next call needs no second refusal, and ages follow.
    stage.clients.log_service.get_project(&project()).await.unwrap();
    assert!(stage.header(2, "x-log-date").starts_with("20260103T0304"));
    assert!(stage.clients.cloud_now() >= "2026-01-03T03:04:05Z".parse().unwrap());
    assert_eq!(stage.observer.skews.load(Ordering::Relaxed), 1);
    assert!(stage.cloud.clock().skew(Service::LogService).is_some());
}

#[tokio::test]
async fn a_clock_that_stays_wrong_is_reported_after_one_repetition() {
    let refuse = || rpc_error(400, "InvalidTimeStamp.Expired");
    let stage = Stage::new([refuse(), refuse()]);
    let error = stage.clients.sts.get_caller_identity().await.unwrap_err();
    assert_eq!(error.classify(), Class::ClockSkew);
    assert_eq!(stage.sent().len(), 2);
}

/// Gives other keys each time it is asked after the first change.
#[derive(Debug)]
struct Rotating {
    tokens: Mutex<VecDeque<&'static str>>,
}

impl CredentialSource for Rotating {
    fn credential(&self) -> BoxFuture<'_, Result<Credential, CredentialError>> {
        let mut tokens = self.tokens.lock().unwrap();
        let token = if tokens.len() > 1 {
            tokens.pop_front().unwrap()
        } else {
            tokens[0]
        };
        Box::pin(std::future::ready(Ok(
            Credential::new("STS.1", "s3cret").with_security_token(token)
        )))
    }

    fn describe(&self) -> String {
        "rotating".to_owned()
    }
}

#[tokio::test]
async fn an_expired_token_is_replaced_once_when_the_source_has_another() {
    let ok = response(200, &[], r#"{"AccountId":"1","RequestId":"R"}"#);
    // Asked: budget, first attempt, after the refusal, budget, second attempt.
    let tokens = Mutex::new(["old", "old", "new"].into());
    let stage = Stage::with(
        [rpc_error(400, "InvalidSecurityToken.Expired"), ok],
        Arc::new(Rotating { tokens }),
        RetryPolicy::default(),
    );
    let identity = stage.clients.sts.get_caller_identity().await.unwrap().value;
    assert_eq!(identity.account_id, "1");
    assert_eq!(stage.header(0, "x-acs-security-token"), "old");
    assert_eq!(stage.header(1, "x-acs-security-token"), "new");
    assert_eq!(stage.header(1, "x-acs-accesskey-id"), "STS.1");
}

#[tokio::test]
async fn an_expired_token_without_another_is_reported_at_once() {
    let stage = Stage::with(
        [rpc_error(400, "InvalidSecurityToken.Expired")],
        Arc::new(Rotating {
            tokens: Mutex::new(["same"].into()),
        }),
        RetryPolicy::default(),
    );
    let error = stage.clients.sts.get_caller_identity().await.unwrap_err();
    assert_eq!(error.classify(), Class::CredentialsExpired);
    assert_eq!(stage.sent().len(), 1);
}

#[tokio::test]
async fn the_wait_that_the_cloud_asks_for_is_kept_or_the_call_ends() {
    let throttled = |wait: &str| {
        response(
            400,
            &[("x-acs-retry-after", wait)],
            r#"{"Code":"Throttling.User","Message":"m"}"#,
        )
    };
    let stage = Stage::new([throttled("30"), response(200, &[], r#"{"TrailList":[]}"#)]);
    let before = std::time::Instant::now();
    stage
        .clients
        .action_trail
        .describe_trails(&[], false)
        .await
        .unwrap();
    assert!(before.elapsed() >= Duration::from_millis(30));
    // A wait beyond the call's own time is left to the caller.
    let stage = Stage::new([throttled("3600000")]);
    let error = stage
        .clients
        .action_trail
        .describe_trails(&[], false)
        .await
        .unwrap_err();
    assert_eq!(error.api().unwrap().retry_after, Some(Duration::from_hours(1)));
    assert_eq!(error.classify(), Class::Throttled);
}

#[tokio::test]
async fn nothing_is_sent_without_keys() {
    #[derive(Debug)]
    struct Broken;
    impl CredentialSource for Broken {
        fn credential(&self) -> BoxFuture<'_, Result<Credential, CredentialError>> {
            let error = CredentialError::Missing {
                place: "here".to_owned(),
                name: "X",
                what: "key",
            };
            Box::pin(std::future::ready(Err(error)))
        }
        fn describe(&self) -> String {
            "broken".to_owned()
        }
    }
    let stage = Stage::with([], Arc::new(Broken), RetryPolicy::default());
    let error = stage.clients.sts.get_caller_identity().await.unwrap_err();
    assert_eq!(error.classify(), Class::CredentialsInvalid);
    assert!(!error.outcome_unknown);
}

#[tokio::test]
async fn a_call_without_budget_in_its_time_is_throttled_and_not_sent() {
    let stage = Stage::new([response(200, &[], PROJECT_BODY)]);
    let mut options = CloudOptions::new(ClusterId::new("c").unwrap());
    options.rates.log_management = 0.02;
    let cloud = Cloud::new(
        options,
        Arc::clone(&stage.script) as _,
        Arc::clone(&stage.observer) as _,
    );
    let keys = StaticCredentials::new("test", Credential::new("a", "bbbb"));
    let clients = cloud.clients(Arc::new(keys), &Region::new("cn-hangzhou").unwrap());
    let clients = clients.with_timeout(Duration::from_millis(50));
    clients.log_service.get_project(&project()).await.unwrap();
    let error = clients.log_service.get_project(&project()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Budget);
    assert_eq!(error.classify(), Class::Throttled);
    assert!(!error.outcome_unknown);
    assert_eq!(stage.sent().len(), 1);
}

#[tokio::test]
async fn secrets_repeated_by_the_cloud_do_not_come_through() {
    let whole = "unexpected header very-secret-key in request";
    let split = "unexpected header very-\u{200b}secret\u{feff}-key in request";
    for step in [
        log_error(400, "ParameterInvalid", whole),
        log_error(400, "ParameterInvalid", split),
        log_error(400, "very-secret-key", whole),
        response(403, &[], whole),
        response(403, &[], split),
        response(403, &[("x-log-requestid", "very-secret-key")], whole),
    ] {
        let stage = Stage::new([step]);
        let error = stage
            .clients
            .log_service
            .create_project(&project(), "d")
            .await
            .unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("very-secret-key"),
            "{error}"
        );
        assert!(error.to_string().contains("<redacted>"), "{error}");
    }
}

#[tokio::test]
async fn a_denied_call_says_what_to_allow() {
    let stage = Stage::new([log_error(401, "Unauthorized", "Access denied by project policy.")]);
    let clients = stage.clients.with_account("1234567890123456");
    let error = clients
        .log_service
        .create_project(&project(), "d")
        .await
        .unwrap_err();
    assert_eq!(
        error.permission().unwrap().to_string(),
        "allow log:CreateProject on acs:log:cn-hangzhou:1234567890123456:project/ai-audit"
    );
}

#[test]
fn debug_of_requests_and_callers_shows_no_secret() {
    let stage = Stage::new([]);
    let shown = format!("{:?} {:?}", stage.clients, stage.cloud);
    assert!(!shown.contains("very-secret-key"), "{shown}");
}

#[tokio::test]
async fn without_time_for_another_attempt_the_clouds_own_error_is_given() {
    let stage = Stage::new([rpc_error(503, "ServiceUnavailable")]);
    let mut options = CloudOptions::new(ClusterId::new("c").unwrap());
    options.rates.sts = 0.02;
    options.retry.max_delay = Duration::from_millis(1);
    options.retry.min_delay = Duration::from_millis(1);
    let cloud = Cloud::new(
        options,
        Arc::clone(&stage.script) as _,
        Arc::clone(&stage.observer) as _,
    );
    let keys = StaticCredentials::new("test", Credential::new("a", "bbbb"));
    let clients = cloud.clients(Arc::new(keys), &Region::new("cn-hangzhou").unwrap());
    let error = clients.sts.get_caller_identity().await.unwrap_err();
    assert_eq!(error.code(), Some("ServiceUnavailable"));
    assert_eq!(stage.sent().len(), 1);
}

#[tokio::test]
async fn a_call_whose_time_is_over_is_not_sent() {
    let stage = Stage::new([]);
    let clients = stage.clients.with_timeout(Duration::ZERO);
    let error = clients
        .action_trail
        .create_trail("ram-audit", &settings())
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Budget);
    assert!(!error.outcome_unknown, "nothing was sent");
}

#[tokio::test]
async fn a_write_that_may_no_longer_be_sent_is_withheld_at_every_attempt() {
    // The permit ends between the first attempt and its repetition.
    let stage = Stage::new([rpc_error(400, "Throttling"), response(200, &[], PROJECT_BODY)]);
    let left = Arc::new(AtomicUsize::new(1));
    let permit = Arc::clone(&left);
    let cloud = stage.cloud.clone().writing_while(move || {
        permit
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
    });
    let keys = StaticCredentials::new("test", Credential::new("a", "bbbb"));
    let clients = cloud.clients(Arc::new(keys), &Region::new("cn-hangzhou").unwrap());
    let error = clients
        .action_trail
        .create_trail("ram-audit", &settings())
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Withheld);
    assert!(!error.outcome_unknown);
    assert_eq!(stage.sent().len(), 1, "only the attempt that was allowed");
    clients.log_service.get_project(&project()).await.unwrap();
    assert_eq!(stage.sent().len(), 2, "reads need no permit");
}
