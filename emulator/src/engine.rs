//! The path of a call: identify, authenticate, meet faults, throttle, authorise, run, record, answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use crate::assumptions::{
    Assumptions, DeniedCode, DeniedDetail, MetaQps, MissingAuthorization, RpcRequestIdHeader,
    SecurityTokenStatus, SignatureStatus, SkewCode, ThrottlingStatus, UnknownKeyStatus,
};
use crate::auth::{self, Claim};
use crate::call::{CallContext, EventClass, Operation, Service};
use crate::clock::{Clock, http_date};
use crate::config::Config;
use crate::faults::{Kind, Met, Seen};
use crate::identity::{Caller, Principal};
use crate::journal::Row;
use crate::log_service::{self, LogCall, LogRequest};
use crate::protection;
use crate::quota::{self, Quota};
use crate::ram::KeyOwner;
use crate::ram::policy::ConditionFacts;
use crate::route::{Routes, Target, bare_host};
use crate::rpc::{self, RpcCall};
use crate::state::{SKEW, World};
use crate::wire::{ApiError, Inbound, Reply};
use crate::{actiontrail, admin, ram, sts};

/// Largest body of any call, in bytes.
pub const MAX_BODY: usize = 10_485_760;

/// A finished answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Bytes,
    /// How the body is sent.
    pub pace: Pace,
}

/// How a body is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// Whole.
    #[default]
    Whole,
    /// Byte by byte, with this pause before each.
    Slow(Duration),
    /// Half of it; then the connection is closed.
    Half,
}

/// What becomes of a connection's request.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// An answer.
    Answer(Answer),
    /// The connection is closed without one.
    Close,
}

/// One running emulator, without its sockets.
#[derive(Debug)]
pub struct Engine {
    /// How it was started.
    pub config: Config,
    /// Its clock.
    pub clock: Clock,
    routes: Routes,
    world: Mutex<World>,
    run_key: [u8; 32],
}

/// A recognised call with what its service needs to run it.
enum Identified {
    Log(Box<LogCall>),
    Rpc(Box<RpcCall>),
}

impl Identified {
    fn operation(&self) -> &Operation {
        match self {
            Self::Log(call) => &call.operation,
            Self::Rpc(call) => &call.operation,
        }
    }
}

/// Why a signature was not accepted, and whose key it seems to be.
struct AuthFailure {
    error: ApiError,
    presumed: Option<Box<Caller>>,
}

struct Prepared {
    service: Service,
    region: String,
    request_id: String,
    identified: Result<Identified, ApiError>,
    auth: Result<Caller, AuthFailure>,
    met: Vec<Met>,
}

impl Prepared {
    fn operation(&self) -> Option<&Operation> {
        self.identified.as_ref().ok().map(Identified::operation)
    }
}

impl Engine {
    /// A new emulator.
    pub fn new(config: Config) -> Self {
        let clock = Clock::default();
        let world = World::new(&config, clock.now());
        let mut run_key = [0; 32];
        // Without randomness the hashes are still only hashes; they are a guard, not a promise.
        if getrandom::fill(&mut run_key).is_err() {
            tracing::warn!("no system randomness: argument hashes use a fixed key");
        }
        Self {
            routes: Routes {
                default_region: config.default_region.clone(),
                base_host: config.base_host.clone(),
            },
            world: Mutex::new(world),
            clock,
            config,
            run_key,
        }
    }

    /// The world, for admin endpoints and tests in the same process.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no holder of the world panics")
    }

    /// Does background work that is due.
    pub fn tick(&self) {
        let now = self.clock.now();
        self.world().advance(now);
    }

    /// Moves the clock and does what became due.
    pub fn jump(&self, seconds: i64) {
        self.clock.jump(seconds);
        self.tick();
    }

    /// Answers one request. `gone` closes when the client has left.
    pub async fn handle(self: Arc<Self>, inbound: Inbound, mut gone: watch::Receiver<()>) -> Outcome {
        let target = match self.routes.target(&inbound) {
            Ok(Target::Admin) => return Outcome::Answer(admin::handle(&self, &inbound)),
            Ok(target) => target,
            Err(error) => {
                let id = self.world().ids.uuid();
                return Outcome::Answer(self.render_error(&error, None, &inbound, &id));
            }
        };
        let prepared = self.prepare(&inbound, target);
        if let Some(outcome) = self.faults_before(&inbound, &prepared, &mut gone).await {
            return outcome;
        }
        let met = prepared.met.clone();
        let mut answer = self.run(&inbound, &prepared);
        for fault in &met {
            match &fault.kind {
                Kind::DropAfter => return Outcome::Close,
                Kind::HoldAfter => self.hold(fault, &mut gone).await,
                Kind::Garbage => {
                    answer.status = 200;
                    answer.body = Bytes::from_static(b"<html><body>\xff\xfe not what you asked for");
                    set_header(&mut answer.headers, "content-type", "text/html");
                }
                Kind::Truncated => answer.pace = Pace::Half,
                Kind::SlowBody { ms } => answer.pace = Pace::Slow(Duration::from_millis(*ms)),
                Kind::Delay { .. }
                | Kind::DropBefore
                | Kind::HoldBefore
                | Kind::Status { .. }
                | Kind::Throttle { .. } => {}
            }
        }
        Outcome::Answer(answer)
    }

    /// The answer to a body that is too large; nothing else is looked at.
    pub fn too_large(&self, inbound: &Inbound, size: u64) -> Answer {
        let target = self.routes.target(inbound).ok();
        let message = format!("Body size {size} must little than {MAX_BODY}.");
        let error = ApiError::new(413, "PostBodyTooLarge", message);
        let id = self.world().ids.log_request();
        let service = match target {
            Some(Target::Rpc { service, .. }) => Some(service),
            Some(Target::Log { .. }) => Some(Service::LogService),
            _ => None,
        };
        self.render_error(&error, service, inbound, &id)
    }

    fn prepare(&self, inbound: &Inbound, target: Target) -> Prepared {
        let now = self.clock.now();
        let mut world = self.world();
        world.advance(now);
        let (service, region, identified, claim, request_id) = match target {
            Target::Log { project, region } => {
                let request = LogRequest {
                    inbound,
                    project: project.as_deref(),
                    region: &region,
                };
                let identified = log_service::identify(&request).map(|call| Identified::Log(Box::new(call)));
                let claim = log_claim(inbound, &world.assumptions);
                let id = world.ids.log_request();
                (Service::LogService, region, identified, claim, id)
            }
            Target::Rpc { service, region } => {
                let identified =
                    rpc::identify(service, &region, inbound).map(|call| Identified::Rpc(Box::new(call)));
                let claim = rpc_claim(inbound);
                let id = world.ids.uuid();
                (service, region, identified, claim, id)
            }
            Target::Admin => unreachable!("admin requests do not come here"),
        };
        let auth = claim
            .map_err(|error| AuthFailure {
                error,
                presumed: None,
            })
            .and_then(|claim| authenticate(&mut world, service, &claim, now));
        let operation = identified.as_ref().ok().map(Identified::operation);
        let caller = auth.as_ref().ok();
        let arn = caller.map(Caller::arn);
        let met = world.faults.meet(&Seen {
            service: service.name(),
            action: operation.map_or("Unknown", |operation| operation.name),
            is_write: operation.is_some_and(|operation| operation.is_write),
            account: caller.map(|caller| caller.account.as_str()),
            caller: arn.as_deref(),
            resources: operation.map_or(&[], |operation| operation.resources.as_slice()),
        });
        drop(world);
        Prepared {
            service,
            region,
            request_id,
            identified,
            auth,
            met,
        }
    }

    async fn faults_before(
        &self,
        inbound: &Inbound,
        prepared: &Prepared,
        gone: &mut watch::Receiver<()>,
    ) -> Option<Outcome> {
        for fault in &prepared.met {
            match &fault.kind {
                Kind::Delay { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
                Kind::HoldBefore => self.hold(fault, gone).await,
                Kind::DropBefore => {
                    let mut world = self.world();
                    self.journal(&mut world, inbound, prepared, 0, None, None);
                    return Some(Outcome::Close);
                }
                Kind::Status {
                    status,
                    code,
                    message,
                    retry_after_ms,
                } => {
                    let message = if message.is_empty() {
                        "A fault was injected."
                    } else {
                        message
                    };
                    let error = retry_after(ApiError::new(*status, code, message), *retry_after_ms);
                    return Some(Outcome::Answer(self.refuse(inbound, prepared, &error)));
                }
                Kind::Throttle { retry_after_ms } => {
                    let error = throttled(prepared.service, &self.world().assumptions);
                    let error = retry_after(error, *retry_after_ms);
                    return Some(Outcome::Answer(self.refuse(inbound, prepared, &error)));
                }
                Kind::DropAfter
                | Kind::HoldAfter
                | Kind::Garbage
                | Kind::Truncated
                | Kind::SlowBody { .. } => {}
            }
        }
        None
    }

    /// Waits until the fault is released or the client is gone.
    async fn hold(&self, fault: &Met, gone: &mut watch::Receiver<()>) {
        let released = fault.release.notified();
        tokio::pin!(released);
        released.as_mut().enable();
        self.world().faults.holding(fault.id, true);
        tokio::select! {
            () = released => {}
            () = client_gone(gone) => {}
        }
        self.world().faults.holding(fault.id, false);
    }

    /// Refuses a call that does not run, and says so in the journal.
    fn refuse(&self, inbound: &Inbound, prepared: &Prepared, error: &ApiError) -> Answer {
        let mut world = self.world();
        self.journal(
            &mut world,
            inbound,
            prepared,
            error.status,
            Some(&error.code),
            None,
        );
        drop(world);
        self.render_error(error, Some(prepared.service), inbound, &prepared.request_id)
    }

    fn run(&self, inbound: &Inbound, prepared: &Prepared) -> Answer {
        let now = self.clock.now();
        let mut world = self.world();
        world.advance(now);
        let account = prepared.auth.as_ref().ok().map(|caller| caller.account.clone());
        let watched = prepared
            .operation()
            .filter(|operation| operation.is_write && operation.class == EventClass::Management)
            .and(account.clone());
        let before = watched
            .as_deref()
            .map(|account| (world.facts(account), world.summary(account)));
        let trails_before = account
            .as_deref()
            .map(|account| world.trails.logging(account))
            .unwrap_or_default();
        let result = execute(&mut world, inbound, prepared, now);
        let moved = if let (Some(account), Some((facts, summary))) = (&watched, before) {
            let changed = summary != world.summary(account);
            Some((changed, protection::effects(&facts, &world.facts(account))))
        } else {
            let data_write = prepared.operation().is_some_and(|operation| operation.is_write);
            Some((data_write && result.is_ok(), Vec::new()))
        };
        let (status, code) = match &result {
            Ok(reply) => (reply.status, None),
            Err(error) => (error.status, Some(error.code.as_str())),
        };
        self.journal(&mut world, inbound, prepared, status, code, moved);
        record_event(&mut world, inbound, prepared, &result, &trails_before, now);
        world.advance(now);
        drop(world);
        match result {
            Ok(reply) => self.render(reply, prepared.service, &prepared.request_id),
            Err(error) => self.render_error(&error, Some(prepared.service), inbound, &prepared.request_id),
        }
    }

    fn journal(
        &self,
        world: &mut World,
        inbound: &Inbound,
        prepared: &Prepared,
        status: u16,
        error_code: Option<&str>,
        moved: Option<(bool, Vec<protection::Effect>)>,
    ) {
        let operation = prepared.operation();
        let caller = prepared.auth.as_ref().ok();
        let (changed, effects) = moved.unwrap_or_default();
        let resources = operation
            .map(|operation| operation.resources.clone())
            .unwrap_or_default();
        let account = caller.map(|caller| caller.account.clone());
        let row = Row {
            seq: world.journal.next_seq(),
            time: self.clock.now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            caller: caller.map(Caller::arn),
            service: prepared.service.name(),
            action: operation.map_or("Unknown", |operation| operation.name).to_owned(),
            is_write: operation.is_some_and(|operation| operation.is_write),
            resources: resources
                .into_iter()
                .map(|resource| resource.replace("{account}", account.as_deref().unwrap_or("-")))
                .collect(),
            account,
            region: prepared.region.clone(),
            request_id: prepared.request_id.clone(),
            user_agent: inbound.header("user-agent").unwrap_or_default().to_owned(),
            method: inbound.method.to_string(),
            status,
            error_code: error_code.map(str::to_owned),
            args_hash: self.args_hash(inbound, prepared),
            args: operation
                .map(|operation| operation.safe_args.clone())
                .unwrap_or_default(),
            changed: changed && status == 200,
            effects: if status == 200 { effects } else { Vec::new() },
            faults: prepared.met.iter().map(|met| met.id).collect(),
        };
        tracing::debug!(seq = row.seq, service = row.service, action = %row.action, status, "call");
        world.journal.push(row);
    }

    fn args_hash(&self, inbound: &Inbound, prepared: &Prepared) -> String {
        let arguments = if let Ok(Identified::Rpc(call)) = &prepared.identified {
            json!(call.params.business()).to_string()
        } else {
            let pairs: BTreeMap<String, String> = inbound.query_pairs().into_iter().collect();
            let body = auth::sha256_hex(&inbound.body);
            format!("{}\n{}\n{body}", inbound.path, json!(pairs))
        };
        let text = format!("{}\n{}\n{arguments}", inbound.method, bare_host(&inbound.host));
        hex::encode(auth::hmac_sha256(&self.run_key, text.as_bytes()))
    }

    fn render(&self, reply: Reply, service: Service, request_id: &str) -> Answer {
        let mut headers = reply.headers;
        if !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        self.common_headers(&mut headers, Some(service), request_id);
        Answer {
            status: reply.status,
            headers,
            body: reply.body,
            pace: Pace::Whole,
        }
    }

    fn render_error(
        &self,
        error: &ApiError,
        service: Option<Service>,
        inbound: &Inbound,
        id: &str,
    ) -> Answer {
        let body = if service == Some(Service::LogService) {
            json!({"errorCode": error.code, "errorMessage": error.message})
        } else {
            let mut body = json!({
                "RequestId": id,
                "HostId": bare_host(&inbound.host),
                "Code": error.code,
                "Message": error.message,
                "Recommend": format!("https://api.alibabacloud.com/troubleshoot?q={}", error.code),
            });
            if let Some(detail) = &error.detail {
                body["AccessDeniedDetail"] = (**detail).clone();
            }
            body
        };
        let mut headers = error.headers.clone();
        set_header(&mut headers, "content-type", "application/json");
        self.common_headers(&mut headers, service, id);
        Answer {
            status: error.status,
            headers,
            body: Bytes::from(body.to_string()),
            pace: Pace::Whole,
        }
    }

    fn common_headers(&self, headers: &mut Vec<(String, String)>, service: Option<Service>, id: &str) {
        headers.push(("date".to_owned(), http_date(self.clock.now())));
        headers.push(("server".to_owned(), "ramtrail-emulator".to_owned()));
        headers.push(("access-control-allow-origin".to_owned(), "*".to_owned()));
        if service == Some(Service::LogService) {
            headers.push(("x-log-requestid".to_owned(), id.to_owned()));
        } else if self.world().assumptions.get::<RpcRequestIdHeader>() == RpcRequestIdHeader::Present {
            headers.push(("x-acs-request-id".to_owned(), id.to_owned()));
        }
    }
}

/// Admits, authorises and runs a call.
fn execute(
    world: &mut World,
    inbound: &Inbound,
    prepared: &Prepared,
    now: Timestamp,
) -> Result<Reply, ApiError> {
    let caller = prepared.auth.as_ref().map_err(|failure| failure.error.clone())?;
    let identified = prepared.identified.as_ref().map_err(Clone::clone)?;
    let operation = identified.operation();
    admit(world, operation, caller, inbound, now)?;
    authorise(world, operation, caller, inbound, &prepared.region, now)?;
    match identified {
        Identified::Log(call) => {
            let cx = CallContext {
                caller,
                region: &prepared.region,
                now,
                request_id: &prepared.request_id,
                assumptions: &world.assumptions,
                quotas: &world.quotas,
                ram: &world.ram,
            };
            log_service::execute(LogCall::clone(call), &mut world.log, &cx)
        }
        Identified::Rpc(call) => match operation.service {
            Service::Sts => sts::execute(
                call,
                &mut world.ram,
                &mut world.ids,
                caller,
                &prepared.request_id,
                now,
            ),
            Service::Ram | Service::ResourceManager => {
                let mut cx = ram::api::Context {
                    state: &mut world.ram,
                    ids: &mut world.ids,
                    quotas: &world.quotas,
                    assumptions: &world.assumptions,
                    caller,
                    now,
                };
                ram::api::execute(call, &mut cx).map(|value| {
                    let event = ram::api::event_response(&value);
                    rpc::answer(&prepared.request_id, value).event(event)
                })
            }
            Service::ActionTrail => {
                let mut cx = actiontrail::Context {
                    caller,
                    region: &prepared.region,
                    now,
                    assumptions: &world.assumptions,
                    quotas: &world.quotas,
                    ram: &mut world.ram,
                    log: &mut world.log,
                };
                actiontrail::execute(call, &mut world.trails, &mut cx).map(|value| {
                    let event = value.clone();
                    rpc::answer(&prepared.request_id, value).event(event)
                })
            }
            Service::LogService => unreachable!("Log Service is no RPC service"),
        },
    }
}

/// Makes the call an event, whatever became of it.
fn record_event(
    world: &mut World,
    inbound: &Inbound,
    prepared: &Prepared,
    result: &Result<Reply, ApiError>,
    trails_before: &[String],
    now: Timestamp,
) {
    let caller = match &prepared.auth {
        Ok(caller) => Some(caller),
        Err(failure) => failure.presumed.as_deref(),
    };
    let Some(caller) = caller else { return };
    let Some(operation) = prepared
        .operation()
        .filter(|operation| operation.class == EventClass::Management)
    else {
        return;
    };
    let event = actiontrail::event::build(
        &actiontrail::event::Call {
            operation,
            caller,
            inbound,
            host: &bare_host(&inbound.host),
            region: &prepared.region,
            request_id: &prepared.request_id,
            key_created: world.ram.key(&caller.access_key_id).map(|key| key.created),
            result,
            now,
        },
        &world.assumptions,
        &mut world.ids,
    );
    let World {
        trails, assumptions, ..
    } = world;
    trails.record(&caller.account, event, trails_before, assumptions, now);
}

async fn client_gone(gone: &mut watch::Receiver<()>) {
    while gone.changed().await.is_ok() {}
}

fn set_header(headers: &mut Vec<(String, String)>, name: &str, value: &str) {
    headers.retain(|(known, _)| known != name);
    headers.push((name.to_owned(), value.to_owned()));
}

fn retry_after(error: ApiError, ms: Option<u64>) -> ApiError {
    match ms {
        Some(ms) => error.header("x-acs-retry-after", ms.to_string()),
        None => error,
    }
}

fn log_claim(inbound: &Inbound, assumptions: &Assumptions) -> Result<Claim, ApiError> {
    if inbound.header("authorization").is_none() {
        return Err(match assumptions.get::<MissingAuthorization>() {
            MissingAuthorization::Unauthorized => {
                ApiError::new(401, "Unauthorized", "The AccessKeyId is unauthorized.")
            }
            MissingAuthorization::MissAccessKeyId => ApiError::new(
                400,
                "MissAccessKeyId",
                "AccessKeyId does not exist in header when needed.",
            ),
        });
    }
    auth::log::claim(inbound)
}

fn rpc_claim(inbound: &Inbound) -> Result<Claim, ApiError> {
    if auth::acs3::applies(inbound) {
        return auth::acs3::claim(inbound);
    }
    let params = rpc::Params::read(inbound);
    let action = inbound.header("x-acs-action").or_else(|| params.get("Action"));
    if action == Some("AssumeRoleWithOIDC") && params.get("Signature").is_none() {
        return Err(ApiError::new(
            400,
            "UnsupportedOperation",
            "AssumeRoleWithOIDC is not emulated yet: no identity provider is known here.",
        ));
    }
    auth::rpc::claim(inbound, params.pairs())
}

/// Accepts or refuses a claim: key, token, clock, signature, nonce, in this order.
fn authenticate(
    world: &mut World,
    service: Service,
    claim: &Claim,
    now: Timestamp,
) -> Result<Caller, AuthFailure> {
    let log = service == Service::LogService;
    let id = &claim.access_key_id;
    let refuse = |error: ApiError, presumed: Option<Caller>| AuthFailure {
        error,
        presumed: presumed.map(Box::new),
    };
    let Some(key) = world.ram.key(id) else {
        let error = if log {
            ApiError::new(401, "Unauthorized", format!("AccessKeyId not found: {id}"))
        } else {
            let status = match world.assumptions.get::<UnknownKeyStatus>() {
                UnknownKeyStatus::NotFound => 404,
                UnknownKeyStatus::BadRequest => 400,
            };
            ApiError::new(
                status,
                "InvalidAccessKeyId.NotFound",
                "The specified access key is not found.",
            )
        };
        return Err(refuse(error, None));
    };
    let principal = match &key.owner {
        KeyOwner::Root => Some(Principal::Root),
        KeyOwner::User(name) => world
            .ram
            .find_account(&key.account)
            .and_then(|account| account.users.get(name))
            .map(|user| Principal::User {
                name: user.name.clone(),
                id: user.id.clone(),
            }),
        KeyOwner::Session {
            role,
            role_id,
            session,
            ..
        } => Some(Principal::AssumedRole {
            role: role.clone(),
            role_id: role_id.clone(),
            session: session.clone(),
        }),
    };
    let Some(principal) = principal else {
        return Err(refuse(
            ApiError::new(401, "Unauthorized", "The owner of the access key is gone."),
            None,
        ));
    };
    let caller = Caller {
        account: key.account.clone(),
        principal,
        access_key_id: id.clone(),
    };
    if let Err(error) = check_key(key, claim, service, now, &world.assumptions) {
        return Err(refuse(error, Some(caller)));
    }
    if !claim.proven_by(&key.secret) {
        let error = if log {
            ApiError::new(
                401,
                "SignatureNotMatch",
                format!("signature {} not match", claim.signature()),
            )
        } else {
            let status = match world.assumptions.get::<SignatureStatus>() {
                SignatureStatus::BadRequest => 400,
                SignatureStatus::Forbidden => 403,
            };
            ApiError::new(
                status,
                "SignatureDoesNotMatch",
                format!(
                    "The signature is not the one we calculated. server string to sign is:{}",
                    claim.expected_text()
                ),
            )
        };
        return Err(refuse(error, Some(caller)));
    }
    if let Some(nonce) = &claim.nonce
        && !world.take_nonce(id, nonce, now)
    {
        let error = ApiError::new(400, "SignatureNonceUsed", "The signature nonce was already used.");
        return Err(refuse(error, Some(caller)));
    }
    Ok(caller)
}

/// Everything about a key but its signature: active, token, clock.
fn check_key(
    key: &crate::ram::Key,
    claim: &Claim,
    service: Service,
    now: Timestamp,
    assumptions: &Assumptions,
) -> Result<(), ApiError> {
    let log = service == Service::LogService;
    let id = &claim.access_key_id;
    if !key.active {
        return Err(if log {
            ApiError::new(401, "Unauthorized", format!("AccessKeyId is disabled: {id}"))
        } else {
            ApiError::new(
                400,
                "InvalidAccessKeyId.Inactive",
                "The specified access key is inactive.",
            )
        });
    }
    let token_error = |code: &str, rpc: &str, log_text: &str| {
        if log {
            ApiError::new(401, "Unauthorized", log_text)
        } else {
            let status = match assumptions.get::<SecurityTokenStatus>() {
                SecurityTokenStatus::BadRequest => 400,
                SecurityTokenStatus::Forbidden => 403,
            };
            ApiError::new(status, code, rpc)
        }
    };
    match (&key.owner, claim.security_token.as_deref()) {
        (KeyOwner::Session { .. }, None) => {
            return Err(token_error(
                "MissingSecurityToken",
                "SecurityToken is mandatory for this action.",
                "The AccessKeyId is unauthorized.",
            ));
        }
        (KeyOwner::Session { token, expires, .. }, Some(given)) => {
            if given != token {
                return Err(token_error(
                    "InvalidSecurityToken.MismatchWithAccessKey",
                    "The security token does not belong to the access key.",
                    "The security token you provided is invalid.",
                ));
            }
            if now >= *expires {
                return Err(token_error(
                    "InvalidSecurityToken.Expired",
                    "The security token has expired.",
                    "The security token you provided has expired.",
                ));
            }
        }
        (_, Some(_)) => {
            return Err(token_error(
                "InvalidSecurityToken.MismatchWithAccessKey",
                "The security token does not belong to the access key.",
                "The security token you provided is invalid.",
            ));
        }
        (_, None) => {}
    }
    if now.duration_since(claim.time).abs() > SKEW {
        return Err(if log {
            let code = match assumptions.get::<SkewCode>() {
                SkewCode::Expired => "RequestTimeExpired",
                SkewCode::TooSkewed => "RequestTimeTooSkewed",
            };
            let message = format!(
                "Request time {} has been expired while server time is {}.",
                claim.time_text,
                http_date(now)
            );
            ApiError::new(400, code, message)
        } else {
            ApiError::new(
                400,
                "InvalidTimeStamp.Expired",
                "The time stamp is more than 15 minutes away from the server's time.",
            )
        });
    }
    Ok(())
}

fn throttled(service: Service, assumptions: &Assumptions) -> ApiError {
    if service == Service::LogService {
        return ApiError::new(
            403,
            "MetaOperationQpsLimitExceeded",
            "Qps limit for the meta operation is exceeded.",
        );
    }
    let status = match assumptions.get::<ThrottlingStatus>() {
        ThrottlingStatus::BadRequest => 400,
        ThrottlingStatus::TooManyRequests => 429,
        ThrottlingStatus::ServiceUnavailable => 503,
    };
    ApiError::new(
        status,
        "Throttling.User",
        "The request was denied due to user flow control.",
    )
}

/// Takes the call's token, or refuses it.
fn admit(
    world: &mut World,
    operation: &Operation,
    caller: &Caller,
    inbound: &Inbound,
    now: Timestamp,
) -> Result<(), ApiError> {
    let World {
        throttle,
        quotas,
        assumptions,
        ..
    } = world;
    let account = &caller.account;
    let mut per_second = |quota: Quota, limit: u64, name: &str| {
        let bucket = format!("{}/{name}", quota.name);
        if throttle.take(account, &bucket, limit, 1.0, now) {
            Ok(())
        } else {
            Err(throttled(operation.service, assumptions))
        }
    };
    match (operation.service, operation.class) {
        (Service::LogService, EventClass::Management) => {
            let limit = quotas
                .overridden(quota::SLS_META_QPS)
                .or(match assumptions.get::<MetaQps>() {
                    MetaQps::Ten => Some(quota::SLS_META_QPS.default),
                    MetaQps::Unlimited => None,
                });
            limit.map_or(Ok(()), |limit| per_second(quota::SLS_META_QPS, limit, ""))
        }
        (Service::LogService, EventClass::Data) => {
            let (quota, code, what) = if operation.is_write {
                (quota::SLS_WRITE_QPM, "WriteQuotaExceed", "write")
            } else {
                (quota::SLS_READ_QPM, "ReadQuotaExceed", "read")
            };
            let project = bare_host(&inbound.host);
            if throttle.take(
                account,
                &format!("{}/{project}", quota.name),
                quotas.get(quota),
                60.0,
                now,
            ) {
                Ok(())
            } else {
                Err(ApiError::new(
                    403,
                    code,
                    format!("Project {what} quota exceed: qps: {}", quotas.get(quota)),
                ))
            }
        }
        (Service::ActionTrail, _) => {
            let quota = match operation.name {
                "LookupEvents" | "GetGlobalEventsStorageRegion" => quota::LOOKUP_QPS,
                _ if operation.is_write => quota::TRAIL_WRITE_QPS,
                _ => quota::TRAIL_READ_QPS,
            };
            per_second(quota, quotas.get(quota), operation.name)
        }
        (Service::Ram | Service::ResourceManager, _) => {
            per_second(quota::RAM_QPS, quotas.get(quota::RAM_QPS), operation.name)
        }
        (Service::Sts, _) => per_second(quota::STS_QPS, quotas.get(quota::STS_QPS), operation.name),
    }
}

/// Asks RAM.
fn authorise(
    world: &World,
    operation: &Operation,
    caller: &Caller,
    inbound: &Inbound,
    region: &str,
    now: Timestamp,
) -> Result<(), ApiError> {
    if operation.action == "sts:GetCallerIdentity" {
        return Ok(());
    }
    let mut facts: ConditionFacts = operation.conditions.clone();
    facts.insert("acs:SourceIp".to_owned(), inbound.peer.ip().to_string());
    facts.insert("acs:SecureTransport".to_owned(), "false".to_owned());
    facts.insert("acs:CurrentTime".to_owned(), now.to_string());
    facts.insert("acs:RequestedRegion".to_owned(), region.to_owned());
    for resource in &operation.resources {
        let resource = resource.replace("{account}", &caller.account);
        if world.ram.permits(caller, &operation.action, &resource, &facts) {
            continue;
        }
        if operation.service == Service::LogService {
            return Err(ApiError::new(
                401,
                "Unauthorized",
                format!(
                    "denied by sts or ram, action: {}, resource: {resource}",
                    operation.action
                ),
            ));
        }
        let code = match world.assumptions.get::<DeniedCode>() {
            DeniedCode::NoPermission => "NoPermission",
            DeniedCode::ForbiddenRam => "Forbidden.RAM",
        };
        let mut error = ApiError::new(
            403,
            code,
            format!(
                "You are not authorized to do this action: {}, resource: {resource}.",
                operation.action
            ),
        );
        if world.assumptions.get::<DeniedDetail>() == DeniedDetail::Present {
            error.detail = Some(Box::new(json!({
                "AuthAction": operation.action,
                "AuthPrincipalOwnerId": caller.account,
                "AuthPrincipalDisplayName": caller.user_name(),
                "NoPermissionType": "ImplicitDeny",
            })));
        }
        return Err(error);
    }
    Ok(())
}
