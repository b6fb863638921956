//! Owns what a failed call is: the cloud's answer cleaned for people, and the one table that says what
//! a failure means. Codes decide, not statuses, since the documents disagree on those and Log Service
//! throttles with 400 and 403; only where one code stands for several things its message is read too.
//!
//! No text from the cloud leaves here as it came: control characters go, the length is bounded, and for
//! signature and credential codes the text is replaced, because it may repeat what was signed.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::credential::CredentialError;
use super::operation::{Permission, Service};
use super::transport::TransportError;

/// Longest message kept from the cloud, in characters.
pub const MESSAGE_LIMIT: usize = 512;

/// What a failure means for whoever asked.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// The thing asked for does not exist.
    NotFound,
    /// The thing to be made exists, here or (project names) elsewhere.
    AlreadyExists,
    /// Too many calls; later is fine.
    Throttled,
    /// The cloud or the way to it failed; later may be fine.
    Transient,
    /// The cloud rejects our clock.
    ClockSkew,
    /// Temporary keys ran out.
    CredentialsExpired,
    /// The keys are wrong, disabled or absent.
    CredentialsInvalid,
    /// The identity lacks a permission; [`ApiError::permission`] says which.
    Denied,
    /// The thing belongs to another account.
    Foreign,
    /// The cloud refuses the values asked for.
    InvalidSpec,
    /// A limit on how many may exist is reached.
    QuotaExceeded,
    /// Something that the call builds on is not there yet, or not usable yet.
    NotReady,
    /// The host does not resolve: no such region.
    UnknownRegion,
    /// What is to be deleted is still in use.
    Conflict,
    /// The account has not activated the service.
    NotActivated,
    /// Nothing is known about this failure.
    Unknown,
}

impl Class {
    /// Every class, for tables and metrics.
    pub const ALL: [Self; 16] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::Throttled,
        Self::Transient,
        Self::ClockSkew,
        Self::CredentialsExpired,
        Self::CredentialsInvalid,
        Self::Denied,
        Self::Foreign,
        Self::InvalidSpec,
        Self::QuotaExceeded,
        Self::NotReady,
        Self::UnknownRegion,
        Self::Conflict,
        Self::NotActivated,
        Self::Unknown,
    ];

    /// The name in CamelCase, fit for a condition reason or a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Throttled => "Throttled",
            Self::Transient => "Transient",
            Self::ClockSkew => "ClockSkew",
            Self::CredentialsExpired => "CredentialsExpired",
            Self::CredentialsInvalid => "CredentialsInvalid",
            Self::Denied => "Denied",
            Self::Foreign => "Foreign",
            Self::InvalidSpec => "InvalidSpec",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::NotReady => "NotReady",
            Self::UnknownRegion => "UnknownRegion",
            Self::Conflict => "Conflict",
            Self::NotActivated => "NotActivated",
            Self::Unknown => "Unknown",
        }
    }

    /// Whether the keys are the trouble: shown at once, not after a second failure.
    pub const fn is_credentials(self) -> bool {
        matches!(self, Self::CredentialsExpired | Self::CredentialsInvalid)
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Throttled
                | Self::Transient
                | Self::ClockSkew
                | Self::CredentialsExpired
                | Self::NotReady
                | Self::Conflict
        )
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What is known about one call besides its result. Comes with every answer and every error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallInfo {
    /// The service called.
    pub service: Service,
    /// The API's own name of the action.
    pub action: &'static str,
    /// Our id of the call, also in its User-Agent and so in its audit event; the same for all attempts.
    pub call_id: String,
    /// The cloud's id of the last attempt, when it answered.
    pub request_id: Option<String>,
    /// The cloud's ids of the attempts before.
    pub earlier_request_ids: Vec<String>,
    /// How many attempts were sent.
    pub attempts: u32,
    /// The time the last attempt was signed with, by the cloud's clock as known then.
    pub signed_at: Timestamp,
    /// The cloud's time at the answer: its `Date` header, else our best knowledge.
    pub cloud_time: Timestamp,
}

/// A value from the cloud, with what is known about the call that brought it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// The call. For lists read in pages: the last one.
    pub call: CallInfo,
}

impl<T> Answer<T> {
    /// The value without the call.
    pub fn into_value(self) -> T {
        self.value
    }

    /// The same call with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            value: change(self.value),
            call: self.call,
        }
    }
}

/// What every operation returns.
pub type CallResult<T> = Result<Answer<T>, Error>;

/// An error the cloud answered with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiError {
    /// The service that answered.
    pub service: Service,
    /// The API action that failed.
    pub action: &'static str,
    /// The HTTP status. Never decides anything while the code is known.
    pub status: u16,
    /// The cloud's code, cleaned.
    pub code: String,
    /// The cloud's message, cleaned and cut; our own words for signature and credential codes.
    pub message: String,
    /// The cloud's id of the request.
    pub request_id: Option<String>,
    /// How long the cloud asked to wait.
    pub retry_after: Option<Duration>,
    /// What it means.
    pub class: Class,
    /// For [`Class::Denied`]: the permission that would help, by the cloud's message, else by the call.
    pub permission: Option<Permission>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            action,
            code,
            message,
            permission,
            ..
        } = self;
        write!(formatter, "{service}:{action} failed with {code}: {message}")?;
        if let Some(permission) = permission {
            write!(formatter, " ({permission})")?;
        }
        Ok(())
    }
}

/// How a call failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ErrorKind {
    /// The cloud answered with an error.
    #[error("{0}")]
    Api(ApiError),
    /// There was no whole answer.
    #[error("{0}")]
    Transport(TransportError),
    /// The answer is not what this service answers.
    #[error("the answer with status {status} cannot be understood: {excerpt}")]
    Undecodable {
        /// The HTTP status.
        status: u16,
        /// What is wrong, or the beginning of the body, cleaned.
        excerpt: String,
    },
    /// There were no keys to sign with.
    #[error("{0}")]
    Credential(CredentialError),
    /// The call's time would have passed while waiting for its share of the rate. Nothing was sent.
    #[error("no share of the call rate became free in time")]
    Budget,
    /// Whoever answers for the process's writes withheld this one at the moment of sending. Nothing was sent.
    #[error("this process may not change anything now")]
    Withheld,
}

/// A failed call.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind}")]
pub struct Error {
    /// How it failed.
    pub kind: ErrorKind,
    /// The call.
    pub call: Box<CallInfo>,
    /// The call may have changed the cloud although it failed: its answer was lost, or the cloud broke
    /// while handling it. It was not repeated; look at the present state before deciding anything.
    pub outcome_unknown: bool,
}

impl Error {
    /// What the failure means.
    pub fn classify(&self) -> Class {
        match &self.kind {
            ErrorKind::Api(error) => error.class,
            ErrorKind::Transport(error) => error.class(),
            ErrorKind::Undecodable { status: 429, .. } | ErrorKind::Budget => Class::Throttled,
            ErrorKind::Undecodable {
                status: 200 | 500.., ..
            }
            | ErrorKind::Credential(CredentialError::Unavailable { .. }) => Class::Transient,
            ErrorKind::Undecodable { .. } | ErrorKind::Withheld => Class::Unknown,
            ErrorKind::Credential(_) => Class::CredentialsInvalid,
        }
    }

    /// The cloud's answer, if it gave one.
    pub fn api(&self) -> Option<&ApiError> {
        match &self.kind {
            ErrorKind::Api(error) => Some(error),
            _ => None,
        }
    }

    /// The cloud's code, if it gave one.
    pub fn code(&self) -> Option<&str> {
        self.api().map(|error| error.code.as_str())
    }

    /// The cloud's id of the failed request.
    pub fn request_id(&self) -> Option<&str> {
        self.call.request_id.as_deref()
    }

    /// The permission that would help, when the call was denied.
    pub fn permission(&self) -> Option<&Permission> {
        self.api().and_then(|error| error.permission.as_ref())
    }

    /// Whether the failure is of this class.
    pub fn is(&self, class: Class) -> bool {
        self.classify() == class
    }
}

/// What an error answer says, before it is cleaned.
#[derive(Clone, Debug, Default)]
pub(super) struct RawApiError {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) request_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

impl RawApiError {
    /// Classifies by the raw text, then keeps only what may be shown. `needed` is the permission that
    /// the call takes, for when the message does not say.
    pub(super) fn into_error(self, service: Service, action: &'static str, needed: &Permission) -> ApiError {
        let Self {
            status,
            code,
            message,
            request_id,
            retry_after,
        } = self;
        let class = classify(service, status, &code, &message);
        let permission =
            (class == Class::Denied).then(|| permission_in(&message).unwrap_or_else(|| needed.clone()));
        let message = match own_words(class, &code) {
            Some(words) => words.to_owned(),
            None => clean(&message, MESSAGE_LIMIT),
        };
        ApiError {
            service,
            action,
            status,
            code: clean(&code, 128),
            message,
            request_id,
            retry_after,
            class,
            permission,
        }
    }
}

/// Our own sentence where the cloud's may repeat the string that was signed, a token or a key.
fn own_words(class: Class, code: &str) -> Option<&'static str> {
    match class {
        Class::CredentialsExpired => Some("the security token has expired"),
        Class::CredentialsInvalid if is_signature_code(code) => {
            Some("the signature does not match: the access key secret is wrong")
        }
        Class::CredentialsInvalid => {
            Some("the access key is unknown, disabled, incomplete or not accepted here")
        }
        Class::ClockSkew => Some("the request's time is outside of the 15 minutes that the cloud accepts"),
        _ if is_signature_code(code) => Some("the signature or its headers were not accepted"),
        _ => None,
    }
}

/// Whether the code is about the signature; its message may hold the string to sign.
fn is_signature_code(code: &str) -> bool {
    code.contains("Signature") || code.contains("Authorization")
}

/// What a code means. The tables follow the published lists and what live tests of official SDKs saw.
pub fn classify(service: Service, status: u16, code: &str, message: &str) -> Class {
    let by_service = match service {
        Service::LogService => log_service_class(code, message),
        Service::ActionTrail => action_trail_class(code),
        Service::Ram | Service::Sts | Service::ResourceManager => identity_class(code),
    };
    by_service
        .or_else(|| gateway_class(code))
        .unwrap_or(match status {
            429 => Class::Throttled,
            500.. => Class::Transient,
            _ => Class::Unknown,
        })
}

fn log_service_class(code: &str, message: &str) -> Option<Class> {
    Some(match code {
        "ProjectNotExist"
        | "LogStoreNotExist"
        | "IndexConfigNotExist"
        | "JobNotExist"
        | "SavedSearchNotExist"
        | "DashboardNotExist"
        | "ChartNotExist"
        | "LoggingNotExist"
        | "PolicyNotExist"
        | "MachineGroupNotExist"
        | "ConfigNotExist"
        | "ResourceNotExist"
        | "ShardNotExist"
        | "AppNotExist" => Class::NotFound,
        "ProjectAlreadyExist" | "LogStoreAlreadyExist" | "IndexAlreadyExist" | "JobAlreadyExist" => {
            Class::AlreadyExists
        }
        "ProjectForbidden" | "LogStoreWithoutShard" => Class::NotReady,
        "ProjectQuotaExceed" | "ExceedQuota" => Class::QuotaExceeded,
        "MetaOperationQpsLimitExceeded"
        | "WriteQuotaExceed"
        | "ReadQuotaExceed"
        | "ShardWriteQuotaExceed"
        | "ShardReadQuotaExceed" => Class::Throttled,
        "RequestTimeExpired" | "RequestTimeTooSkewed" => Class::ClockSkew,
        "InternalServerError" | "RequestTimeout" | "ServerBusy" => Class::Transient,
        "InvalidAccessKeyId" if says(message, "has not opened") => Class::NotActivated,
        "InvalidAccessKeyId" | "SignatureNotMatch" | "MissAccessKeyId" | "MissingAuthorization" => {
            Class::CredentialsInvalid
        }
        "SecurityTokenExpired" | "SecurityToken.Expired" => Class::CredentialsExpired,
        "Unauthorized" => unauthorized_class(message),
        // These three have no code of their own.
        "ParameterInvalid" if says(message, "already exist") => Class::AlreadyExists,
        "ParameterInvalid" if says(message, "index is not created") => Class::NotFound,
        "ParameterInvalid" | "PostBodyInvalid"
            if says(message, "restarting") || says(message, "is starting") || says(message, "stopping") =>
        {
            Class::Transient
        }
        // A malformed Authorization header, in its documented words.
        "ParameterInvalid" if says(message, "extend authorization") => Class::CredentialsInvalid,
        "ParameterInvalid"
        | "PostBodyInvalid"
        | "PostBodyTooLarge"
        | "LogStoreInfoInvalid"
        | "IndexInfoInvalid"
        | "NotSupported"
        | "InvalidDashboardName"
        | "InvalidTimeRange"
        | "InvalidQueryString"
        | "InvalidOffset"
        | "InvalidLine"
        | "InvalidReverse"
        | "InvalidTimestamp"
        | "InvalidEncoding"
        | "InvalidKey"
        | "PostBodyUncompressError" => Class::InvalidSpec,
        _ if says(message, "job ") && says(message, "already exist") => Class::AlreadyExists,
        _ => return None,
    })
}

/// Log Service's 401 `Unauthorized` stands for many things; its messages tell them apart. No match means
/// that the keys are not accepted.
fn unauthorized_class(message: &str) -> Class {
    const TABLE: [(&str, Class); 6] = [
        ("denied by sts or ram", Class::Denied),
        ("denied by project policy", Class::Denied),
        ("access denied", Class::Denied),
        ("does not belong to you", Class::Foreign),
        (
            "security token you provided has expired",
            Class::CredentialsExpired,
        ),
        ("token has expired", Class::CredentialsExpired),
    ];
    TABLE
        .iter()
        .find(|(part, _)| says(message, part))
        .map_or(Class::CredentialsInvalid, |(_, class)| *class)
}

fn action_trail_class(code: &str) -> Option<Class> {
    Some(match code {
        "TrailNotFoundException" | "DeliveryHistoryJobNotFound" | "ServiceTrailNotExist" => Class::NotFound,
        "TrailAlreadyExistsException" => Class::AlreadyExists,
        "MaximumNumberOfTrailsExceededException"
        | "MaximumNumberOfOrganizationTrailExceeded"
        | "MaximumNumberOfDeliveryHistoryJobsExceededException" => Class::QuotaExceeded,
        "SlsProjectDoesNotExistException"
        | "SlsLogStoreDoesNotExistException"
        | "BucketDoesNotExistException"
        | "NeedServiceLinkedRole" => Class::NotReady,
        "InsufficientSlsPolicyException"
        | "InsufficientBucketPolicyException"
        | "NeedSlsRamAuthorize"
        | "NeedOssRamAuthorize" => Class::Denied,
        "ForbiddenDeleteTrail" => Class::Conflict,
        // ActionTrail's own calls to Log Service failed.
        "CreateLogStoreError" | "LogServiceException" => Class::Transient,
        "InvalidTrailNameException"
        | "InvalidDeliveryConfigurationException"
        | "InvalidParameterCombination"
        | "InvalidQueryParameter"
        | "InvalidPrefixException"
        | "RepeatOssBucket"
        | "NotAllowCreateOrganizationTrail"
        | "NotSupportDeliveryHistoryJob"
        | "TrailNotValid"
        | "InvalidTimeRangeException"
        | "InvalidLookupAttributesException"
        | "LookupEventsParameterError"
        | "InvalidNextToken"
        | "InvalidAcceptLanguage"
        | "InsightTypeNotValid"
        | "InsightTypeNotAvailable" => Class::InvalidSpec,
        _ if code.starts_with("InvalidParameter") => Class::InvalidSpec,
        _ => return None,
    })
}

fn identity_class(code: &str) -> Option<Class> {
    Some(match code {
        "MalformedPolicyDocument" => Class::InvalidSpec,
        _ if code.starts_with("EntityNotExist.") => Class::NotFound,
        _ if code.starts_with("EntityAlreadyExists.") => Class::AlreadyExists,
        _ if code.starts_with("LimitExceeded.") => Class::QuotaExceeded,
        _ if code.starts_with("DeleteConflict.") => Class::Conflict,
        _ if code.starts_with("InvalidParameter.") => Class::InvalidSpec,
        _ => return None,
    })
}

/// Codes that the gateway before any service gives.
fn gateway_class(code: &str) -> Option<Class> {
    Some(match code {
        "InvalidTimeStamp.Expired" | "IllegalTimestamp" => Class::ClockSkew,
        "SignatureNonceUsed" => Class::Transient,
        "SignatureDoesNotMatch" | "IncompleteSignature" => Class::CredentialsInvalid,
        "InvalidSecurityToken.Expired" => Class::CredentialsExpired,
        "NoPermission" | "AccessForbidden" | "NotAuthorized" => Class::Denied,
        "ServiceUnavailable" | "InternalError" | "InternalFailure" | "InternalServerError" => {
            Class::Transient
        }
        _ if code.contains("Throttling") => Class::Throttled,
        _ if code.starts_with("InvalidAccessKeyId")
            || code.starts_with("InvalidSecurityToken")
            || code == "MissingSecurityToken" =>
        {
            Class::CredentialsInvalid
        }
        _ if code.starts_with("Forbidden") || code.starts_with("NoPermission.") => Class::Denied,
        "InvalidParameter.Format" => Class::InvalidSpec,
        _ => return None,
    })
}

fn says(message: &str, lower_case_part: &str) -> bool {
    message.to_ascii_lowercase().contains(lower_case_part)
}

/// The permission that Log Service names in `... action: log:X, resource: acs:log:...`.
fn permission_in(message: &str) -> Option<Permission> {
    let value_of = |name: &str| {
        let rest = &message[message.find(name)? + name.len()..];
        let value: String = rest
            .trim_start()
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || ":/_-*.#".contains(*c))
            .take(256)
            .collect();
        let value = value.trim_end_matches('.').to_owned();
        value.contains(':').then_some(value)
    };
    Some(Permission {
        action: value_of("action:")?,
        resource: value_of("resource:")?,
    })
}

/// The text on one line, without characters that move a terminal's cursor or reorder text, at most
/// `limit` characters long.
pub fn clean(text: &str, limit: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(limit * 4));
    let mut kept = 0;
    for character in text.trim().chars() {
        let character = match character {
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' => continue,
            control if control.is_control() => ' ',
            other => other,
        };
        if character == ' ' && (cleaned.is_empty() || cleaned.ends_with(' ')) {
            continue;
        }
        if kept == limit {
            cleaned.push('…');
            break;
        }
        cleaned.push(character);
        kept += 1;
    }
    cleaned
}

#[cfg(test)]
mod tests;
