//! Owns the one loop that every call runs through: budget, credential, clock, signature, sending, reading
//! the answer, deciding about another attempt.
//!
//! Every attempt is signed anew, with a new date and nonce. Reads and writes marked as idempotent are
//! repeated while that may help and time is left. Other writes are repeated only after a definite refusal;
//! when an attempt's outcome is not known the caller gets [`Error::outcome_unknown`] and must look first.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::budget::{Budget, Lane};
use super::clock::{CloudClock, parse_http_date};
use super::credential::{Credential, CredentialSource};
use super::endpoint::{self, Network, ProjectName, Region};
use super::error::{Answer, CallInfo, CallResult, Class, Error, ErrorKind, RawApiError, clean};
use super::observer::{Attempt, CallObserver};
use super::operation::{Effect, Operation, Permission, Service};
use super::sign::{self, acs3, sls4};
use super::transport::{HttpRequest, HttpResponse, HttpSend, TransportError, TransportFailure};
use super::user_agent::{ClusterId, user_agent};

/// How often and how long a call is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetryPolicy {
    /// Attempts at most, the first included.
    pub max_attempts: u32,
    /// Bound of the first delay; each further one is twice as long. The delay is drawn evenly from 0 to the bound.
    pub min_delay: Duration,
    /// Longest bound.
    pub max_delay: Duration,
    /// Time of one attempt, from sending to the end of the answer.
    pub attempt_timeout: Duration,
    /// Time of a whole call: waiting, attempts, delays.
    pub call_timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 4,
            min_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(15),
            call_timeout: Duration::from_secs(45),
        }
    }
}

/// A source of randomness: fills the buffer. Arguments of signing and of delays come from here.
pub type Randomness = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Whether a write may be sent now: asked right before each attempt is sent, after all waiting.
pub type WritePermit = Arc<dyn Fn() -> bool + Send + Sync>;

/// What all callers of a process share.
pub(super) struct Shared {
    pub(super) sender: Arc<dyn HttpSend>,
    pub(super) observer: Arc<dyn CallObserver>,
    pub(super) clock: CloudClock,
    pub(super) budget: Budget,
    pub(super) network: Network,
    pub(super) cluster_id: ClusterId,
    pub(super) retry: RetryPolicy,
    pub(super) random: Randomness,
}

/// Makes calls with one credential in one region. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    shared: Arc<Shared>,
    credentials: Arc<dyn CredentialSource>,
    region: Region,
    account: Option<Arc<str>>,
    lane: Lane,
    timeout: Duration,
    permit: Option<WritePermit>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Caller")
            .field("credentials", &self.credentials.describe())
            .field("region", &self.region)
            .field("account", &self.account)
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

/// One call, before it is signed.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) operation: &'static Operation,
    pub(super) method: Method,
    /// For Log Service: the project in front of the host.
    pub(super) project: Option<ProjectName>,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    /// For Log Service: the JSON body.
    pub(super) body: Option<Value>,
    /// The ARN of what is called, for the permission in messages.
    pub(super) resource: String,
}

/// A successful answer before it is read by its operation.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) headers: HeaderMap,
    /// The body; `Null` when it is empty.
    pub(super) json: Value,
}

impl Caller {
    pub(super) fn new(shared: Arc<Shared>, credentials: Arc<dyn CredentialSource>, region: Region) -> Self {
        let timeout = shared.retry.call_timeout;
        Self {
            shared,
            credentials,
            region,
            account: None,
            lane: Lane::Normal,
            timeout,
            permit: None,
        }
    }

    pub(super) fn with_permit(mut self, permit: Option<WritePermit>) -> Self {
        self.permit = permit;
        self
    }

    pub(super) fn with_account(mut self, account: &str) -> Self {
        self.account = Some(Arc::from(account));
        self
    }

    pub(super) fn with_lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    pub(super) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    /// The account for ARNs in messages; `*` while it is not known.
    pub(super) fn account(&self) -> &str {
        self.account.as_deref().unwrap_or("*")
    }

    pub(super) fn clock(&self) -> &CloudClock {
        &self.shared.clock
    }

    /// Makes the call and reads its answer. A success whose answer `read` refuses is
    /// [`ErrorKind::Undecodable`], and for writes an unknown outcome.
    pub(super) async fn call<T>(
        &self,
        call: Call,
        read: impl Fn(&Reply) -> Result<T, String> + Send,
    ) -> CallResult<T> {
        let mut id = [0; 12];
        (self.shared.random)(&mut id);
        let call_id = hex::encode(id);
        let operation = call.operation;
        let span = tracing::debug_span!(
            "cloud_call",
            service = operation.service.as_str(),
            action = operation.action,
            call_id = call_id.as_str(),
        );
        let mut run = Run {
            caller: self,
            call: &call,
            deadline: Instant::now() + self.timeout,
            info: CallInfo {
                service: operation.service,
                action: operation.action,
                call_id,
                request_id: None,
                earlier_request_ids: Vec::new(),
                attempts: 0,
                signed_at: self.clock().now(operation.service),
                cloud_time: self.clock().cloud_now(),
            },
            used: None,
        };
        run.finish(&read).instrument(span).await
    }
}

/// One call on its way through its attempts.
struct Run<'a> {
    caller: &'a Caller,
    call: &'a Call,
    deadline: Instant,
    info: CallInfo,
    /// The keys of the last attempt.
    used: Option<Credential>,
}

/// Reasons for one extra attempt that are only good once.
#[derive(Default)]
struct UsedUp {
    clock: bool,
    credential: bool,
}

impl Run<'_> {
    async fn finish<T>(&mut self, read: &(impl Fn(&Reply) -> Result<T, String> + Send)) -> CallResult<T> {
        let policy = self.caller.shared.retry;
        // The bounds come from backon; the delay is drawn from the whole range below each of them, so
        // that many callers who were refused together do not come back together.
        let mut bounds = backon::ExponentialBuilder::new()
            .with_min_delay(policy.min_delay)
            .with_max_delay(policy.max_delay)
            .without_max_times()
            .build();
        let mut used_up = UsedUp::default();
        let mut last: Option<Error> = None;
        loop {
            if let Err(kind) = self.wait_for_budget().await {
                // What the cloud said before tells more than that there was no time for another attempt.
                return Err(last.unwrap_or_else(|| self.error(kind)));
            }
            let started = Instant::now();
            let result = self.attempt(read).await;
            let duration = started.elapsed();
            let error = match result {
                Ok(value) => {
                    self.report(None, duration, false);
                    return Ok(Answer {
                        value,
                        call: self.info.clone(),
                    });
                }
                Err(kind) => self.error(kind),
            };
            let class = error.classify();
            let delay = self.delay_before_retry(&error, &mut used_up, &mut bounds).await;
            self.report(Some(class), duration, delay.is_some());
            tracing::debug!(
                attempt = self.info.attempts,
                class = class.as_str(),
                code = error.code().unwrap_or_default(),
                request_id = error.request_id().unwrap_or_default(),
                outcome_unknown = error.outcome_unknown,
                retry_in_ms = delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
                "attempt failed"
            );
            let Some(delay) = delay else { return Err(error) };
            tokio::time::sleep(delay).await;
            last = Some(error);
        }
    }

    /// How long to wait before another attempt; `None` when there is none.
    async fn delay_before_retry(
        &self,
        error: &Error,
        used_up: &mut UsedUp,
        bounds: &mut impl Iterator<Item = Duration>,
    ) -> Option<Duration> {
        let policy = &self.caller.shared.retry;
        if self.info.attempts >= policy.max_attempts || error.outcome_unknown {
            return None;
        }
        let delay = match error.classify() {
            // The answer that said so brought the right time along.
            Class::ClockSkew if !used_up.clock => {
                used_up.clock = true;
                Duration::ZERO
            }
            Class::CredentialsExpired if !used_up.credential => {
                used_up.credential = true;
                let now = self.caller.credentials.credential().await.ok()?;
                let renewed = self.used.as_ref().is_some_and(|used| !used.is_same(&now));
                renewed.then_some(Duration::ZERO)?
            }
            Class::Throttled | Class::Transient if !matches!(error.kind, ErrorKind::Budget) => {
                let bound = bounds.next().unwrap_or(policy.max_delay);
                let asked = error
                    .api()
                    .and_then(|error| error.retry_after)
                    .unwrap_or_default();
                asked + bound.mul_f64(self.fraction())
            }
            _ => return None,
        };
        (Instant::now() + delay < self.deadline).then_some(delay)
    }

    /// A number from 0 to 1.
    fn fraction(&self) -> f64 {
        let mut bytes = [0; 4];
        (self.caller.shared.random)(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }

    async fn wait_for_budget(&self) -> Result<(), ErrorKind> {
        let Caller {
            shared,
            credentials,
            account,
            lane,
            ..
        } = self.caller;
        let operation = self.call.operation;
        let scope = match account {
            Some(account) => account.to_string(),
            None => {
                credentials
                    .credential()
                    .await
                    .map_err(ErrorKind::Credential)?
                    .access_key_id
            }
        };
        let waited = shared
            .budget
            .acquire(&scope, operation.quota, *lane, self.deadline)
            .await
            .map_err(|_| ErrorKind::Budget)?;
        // Sending now would only time out, and leave a write in doubt.
        if Instant::now() >= self.deadline {
            return Err(ErrorKind::Budget);
        }
        if !waited.is_zero() {
            shared
                .observer
                .waited_for_budget(operation.service, operation.action, waited);
        }
        Ok(())
    }

    async fn attempt<T>(
        &mut self,
        read: &(impl Fn(&Reply) -> Result<T, String> + Send),
    ) -> Result<T, ErrorKind> {
        let shared = &self.caller.shared;
        let service = self.call.operation.service;
        let credential = self
            .caller
            .credentials
            .credential()
            .await
            .map_err(ErrorKind::Credential)?;
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        let signed_at = shared.clock.now(service);
        let request = self
            .signed(
                &credential,
                signed_at,
                shared.retry.attempt_timeout.min(remaining),
            )
            .map_err(ErrorKind::Transport)?;
        // Waiting for the budget, or between attempts, may have outlived what allowed the write.
        let permit = self.caller.permit.as_ref();
        if self.call.operation.is_write() && permit.is_some_and(|permit| !permit()) {
            return Err(ErrorKind::Withheld);
        }
        if let Some(previous) = self.info.request_id.take() {
            self.info.earlier_request_ids.push(previous);
        }
        self.info.attempts += 1;
        self.info.signed_at = signed_at;
        let sent = shared.clock.own_now();
        let response = shared.sender.send(request).await;
        self.used = Some(credential.clone());
        let response = response.map_err(ErrorKind::Transport)?;
        self.take_date(&response, sent);
        let reading = Reading {
            response,
            call: self.call,
            credential: &credential,
        };
        self.info.request_id = reading.request_id();
        let reply = reading.reply().map_err(|kind| *kind)?;
        read(&reply).map_err(|reason| ErrorKind::Undecodable {
            status: 200,
            excerpt: clean(&redacted(&credential, &reason), 200),
        })
    }

    /// Learns from the `Date` of any answer that a service itself gave.
    fn take_date(&mut self, response: &HttpResponse, sent: Timestamp) {
        let shared = &self.caller.shared;
        let service = self.call.operation.service;
        let received = shared.clock.own_now();
        let date = response
            .headers
            .get(header::DATE)
            .and_then(|date| date.to_str().ok())
            .and_then(parse_http_date);
        if let Some(date) = date
            && !response.status.is_server_error()
            && let Some(skew) = shared.clock.learn(service, date, sent, received)
        {
            shared.observer.clock_skew(service, skew.as_secs_f64());
            if !skew.is_zero() {
                tracing::debug!(
                    service = service.as_str(),
                    seconds = skew.as_secs_f64(),
                    "clock differs"
                );
            }
        }
        self.info.cloud_time = date.unwrap_or_else(|| shared.clock.cloud_now());
    }

    fn error(&self, kind: ErrorKind) -> Error {
        // A refused redirect or a foreign page never reached the service; everything else that is no
        // definite refusal may have.
        let reached = match &kind {
            ErrorKind::Api(error) => {
                // Failures inside of the cloud, such as ActionTrail's own calls to Log Service, may leave
                // half a change, whatever their status; a throttled call with status 503 does not. These
                // three codes are refusals before any change.
                let refusals = ["SignatureNonceUsed", "ParameterInvalid", "PostBodyInvalid"];
                error.class == Class::Transient && !refusals.contains(&error.code.as_str())
            }
            ErrorKind::Transport(error) => error.may_have_arrived(),
            ErrorKind::Undecodable { status, .. } => *status < 300 || *status >= 500,
            ErrorKind::Credential(_) | ErrorKind::Budget | ErrorKind::Withheld => false,
        };
        let outcome_unknown = reached && self.call.operation.effect == Effect::Write;
        Error {
            kind,
            call: Box::new(self.info.clone()),
            outcome_unknown,
        }
    }

    fn report(&self, class: Option<Class>, duration: Duration, retried: bool) {
        let operation = self.call.operation;
        self.caller.shared.observer.attempt_ended(&Attempt {
            service: operation.service,
            action: operation.action,
            write: operation.is_write(),
            class,
            duration,
            retried,
        });
    }

    fn signed(
        &self,
        credential: &Credential,
        now: Timestamp,
        timeout: Duration,
    ) -> Result<HttpRequest, TransportError> {
        let Caller { shared, region, .. } = self.caller;
        let Call {
            operation,
            method,
            project,
            path,
            query,
            body,
            ..
        } = self.call;
        let host = match project {
            Some(project) => endpoint::project_host(project, region, shared.network),
            None => endpoint::host(operation.service, region, shared.network),
        };
        let body = body
            .as_ref()
            .map(|json| Bytes::from(json.to_string()))
            .unwrap_or_default();
        let headers = match operation.service.rpc_version() {
            None => self.log_service_headers(credential, now, &host, &body),
            Some(version) => self.rpc_headers(credential, now, &host, version),
        };
        let unsendable = |detail: String| TransportError {
            host: host.clone(),
            failure: TransportFailure::Unsendable,
            detail,
        };
        let mut map = HeaderMap::with_capacity(headers.len() + 1);
        for (name, value) in headers {
            if name == "host" {
                continue;
            }
            let name = HeaderName::try_from(name).map_err(|error| unsendable(error.to_string()))?;
            let mut value = HeaderValue::try_from(value).map_err(|error| unsendable(error.to_string()))?;
            value.set_sensitive(name == header::AUTHORIZATION || name == "x-acs-security-token");
            map.insert(name, value);
        }
        let agent = user_agent(&shared.cluster_id, &self.info.call_id);
        let agent = HeaderValue::try_from(agent).map_err(|error| unsendable(error.to_string()))?;
        map.insert(header::USER_AGENT, agent);
        Ok(HttpRequest {
            method: method.clone(),
            host,
            path: path.clone(),
            query: sign::wire_query(query),
            headers: map,
            body,
            timeout,
        })
    }

    fn log_service_headers(
        &self,
        credential: &Credential,
        now: Timestamp,
        host: &str,
        body: &Bytes,
    ) -> Vec<(String, String)> {
        let hash = sign::sha256_hex(body);
        let mut headers = named(&[
            ("host", host),
            ("x-log-apiversion", "0.6.0"),
            ("x-log-bodyrawsize", &body.len().to_string()),
            ("x-log-content-sha256", &hash),
            ("x-log-date", &sls4::format_date(now)),
        ]);
        if !body.is_empty() {
            headers.extend(named(&[("content-type", "application/json")]));
        }
        if let Some(token) = &credential.security_token {
            headers.extend(named(&[("x-acs-security-token", token.expose_secret())]));
        }
        let request = sls4::Request {
            method: self.call.method.as_str(),
            path: &self.call.path,
            query: &self.call.query,
            headers: &headers,
            payload_sha256: &hash,
        };
        let region = self.caller.region.as_str();
        let authorization = sls4::authorization(
            &credential.access_key_id,
            &credential.secret,
            now,
            region,
            &request,
        );
        headers.extend(named(&[
            ("authorization", &authorization),
            ("accept", "application/json"),
        ]));
        headers
    }

    fn rpc_headers(
        &self,
        credential: &Credential,
        now: Timestamp,
        host: &str,
        version: &str,
    ) -> Vec<(String, String)> {
        let mut nonce = [0; 16];
        (self.caller.shared.random)(&mut nonce);
        let hash = sign::sha256_hex(&[]);
        let mut headers = named(&[
            ("host", host),
            ("x-acs-action", self.call.operation.action),
            ("x-acs-version", version),
            ("x-acs-date", &acs3::format_date(now)),
            ("x-acs-signature-nonce", &hex::encode(nonce)),
            ("x-acs-content-sha256", &hash),
        ]);
        if let Some(token) = &credential.security_token {
            headers.extend(named(&[
                ("x-acs-security-token", token.expose_secret()),
                ("x-acs-accesskey-id", &credential.access_key_id),
            ]));
        }
        let request = acs3::Request {
            method: self.call.method.as_str(),
            query: &self.call.query,
            headers: &headers,
            payload_sha256: &hash,
        };
        let authorization = acs3::authorization(&credential.access_key_id, &credential.secret, &request);
        headers.extend(named(&[
            ("authorization", &authorization),
            ("accept", "application/json"),
        ]));
        headers
    }
}

fn named(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// An answer being read.
struct Reading<'a> {
    response: HttpResponse,
    call: &'a Call,
    credential: &'a Credential,
}

impl Reading<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.response.headers.get(name)?.to_str().ok()
    }

    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.response.body).ok()
    }

    /// The cloud's id of the request: a header of Log Service, a header or a field of the others.
    fn request_id(&self) -> Option<String> {
        let id = self
            .header("x-log-requestid")
            .or_else(|| self.header("x-acs-request-id"))
            .map(str::to_owned)
            .or_else(|| field(&self.json()?, &["RequestId", "requestId"]))?;
        Some(clean(&redacted(self.credential, &id), 64)).filter(|id| !id.is_empty())
    }

    /// The answer of a success, or what went wrong.
    fn reply(self) -> Result<Reply, Box<ErrorKind>> {
        let status = self.response.status.as_u16();
        if status != 200 {
            return Err(Box::new(self.failure(status)));
        }
        let json = if self.response.body.iter().all(u8::is_ascii_whitespace) {
            Value::Null
        } else {
            self.json().ok_or_else(|| Box::new(self.undecodable(status)))?
        };
        Ok(Reply {
            headers: self.response.headers,
            json,
        })
    }

    fn failure(&self, status: u16) -> ErrorKind {
        let Some(raw) = self.raw_error(status) else {
            return self.undecodable(status);
        };
        let operation = self.call.operation;
        let needed = Permission {
            action: operation.ram_action.to_owned(),
            resource: self.call.resource.clone(),
        };
        ErrorKind::Api(raw.into_error(operation.service, operation.action, &needed))
    }

    fn raw_error(&self, status: u16) -> Option<RawApiError> {
        let json = self.json()?;
        let (code, message) = match self.call.operation.service {
            Service::LogService => (
                field(&json, &["errorCode", "ErrorCode"])?,
                field(&json, &["errorMessage", "ErrorMessage"]),
            ),
            _ => (
                field(&json, &["Code", "code"])?,
                field(&json, &["Message", "message"]),
            ),
        };
        let retry_after = self
            .header("x-acs-retry-after")
            .and_then(|milliseconds| milliseconds.trim().parse().ok())
            .map(Duration::from_millis);
        Some(RawApiError {
            status,
            code: redacted(self.credential, &code),
            message: redacted(self.credential, &message.unwrap_or_default()),
            request_id: self.request_id(),
            retry_after,
        })
    }

    fn undecodable(&self, status: u16) -> ErrorKind {
        // A page that is not the service's own may repeat the request's headers.
        let beginning = &self.response.body[..self.response.body.len().min(4096)];
        let text = redacted(self.credential, &String::from_utf8_lossy(beginning));
        let excerpt = match clean(&text, 160) {
            empty if empty.is_empty() => "empty body".to_owned(),
            text => text,
        };
        ErrorKind::Undecodable { status, excerpt }
    }
}

/// The text without the keys of this call, should anything repeat them. It is cleaned before: characters that are dropped later
/// must not stand within a key.
fn redacted(credential: &Credential, text: &str) -> String {
    let token = credential
        .security_token
        .as_ref()
        .map(ExposeSecret::expose_secret);
    [Some(credential.secret.expose_secret()), token]
        .into_iter()
        .flatten()
        .filter(|secret| secret.len() >= 4)
        .fold(clean(text, text.len()), |text, secret| {
            text.replace(secret, "<redacted>")
        })
}

/// The first of these fields that holds text.
fn field(json: &Value, names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| json.get(name)?.as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests;
