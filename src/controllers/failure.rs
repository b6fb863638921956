//! Owns what a pass that did not reach its end says: the one table from failures to conditions, reasons and the
//! next visit, and the sentences that tell a person what to do.
//!
//! Pure. Only the driver turns a verdict into a status, an event and a delay.

use crate::aliyun::error::{Class, Error as CloudError, ErrorKind};
use crate::api::condition::{
    DELIVERING, LOGGING, PROTECTED, READY, RECONCILING, STALLED, SYNCED, Statement, Status, reason,
};

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A call to the cloud failed.
    #[error("{doing}: {error}")]
    Cloud {
        /// What the call was for, in words that follow "cannot": "read the project".
        doing: String,
        /// The failure.
        #[source]
        error: Box<CloudError>,
    },
    /// A call to the API server failed.
    #[error("the API server: {0}")]
    Kube(#[source] Box<kube::Error>),
    /// Something else must happen first, and will without a person.
    #[error("{message}")]
    Waiting {
        /// One of [`reason::ALL`].
        reason: &'static str,
        /// What is waited for.
        message: String,
        /// Whether it is worth looking again within seconds.
        soon: bool,
    },
    /// A person must act.
    #[error("{message}")]
    Stalled {
        /// One of [`reason::ALL`].
        reason: &'static str,
        /// What is so, and what to do.
        message: String,
    },
    /// The object changed under the pass: start again from what it is now.
    #[error("the object changed during the visit")]
    Outdated,
    /// This process does not lead, or no longer: it may not change anything.
    #[error("this process does not hold the lease")]
    NotLeading,
}

impl Failure {
    /// A failed call to the cloud.
    pub fn cloud(doing: impl Into<String>, error: CloudError) -> Self {
        Self::Cloud {
            doing: doing.into(),
            error: Box::new(error),
        }
    }

    /// A person must act.
    pub fn stalled(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Stalled {
            reason,
            message: message.into(),
        }
    }

    /// Something else must happen first; its change triggers a visit.
    pub fn waiting(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Waiting {
            reason,
            message: message.into(),
            soon: false,
        }
    }

    /// Something must become visible first; nothing but another look tells.
    pub fn waiting_soon(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Waiting {
            reason,
            message: message.into(),
            soon: true,
        }
    }

    /// The class of a failed call to the cloud.
    pub fn class(&self) -> Option<Class> {
        match self {
            Self::Cloud { error, .. } => Some(error.classify()),
            _ => None,
        }
    }

    /// Whether the failure means that the cloud cannot be used with this access: no credentials, refused ones,
    /// another account, no permission, or no way there.
    pub fn is_no_access(&self) -> bool {
        match self {
            Self::Cloud { error, .. } => matches!(
                error.classify(),
                Class::Transient
                    | Class::Throttled
                    | Class::ClockSkew
                    | Class::CredentialsExpired
                    | Class::CredentialsInvalid
                    | Class::Denied
                    | Class::Foreign
                    | Class::UnknownRegion
                    | Class::NotActivated
                    | Class::NotReady
                    | Class::InvalidSpec
                    | Class::Unknown
            ),
            Self::Stalled { .. } => true,
            Self::Waiting { reason, .. } => [
                reason::PROJECT_NOT_FOUND,
                reason::WAITING_FOR_PROJECT,
                reason::LOG_STORE_NOT_FOUND,
            ]
            .contains(reason),
            Self::Kube(_) | Self::Outdated | Self::NotLeading => false,
        }
    }

    /// Whether a deletion that fails so counts towards its grace: everything but what is awaited for moments, and what is
    /// no matter of the cloud.
    pub fn keeps_unsettled(&self) -> bool {
        matches!(self, Self::Cloud { .. }) || self.is_no_access()
    }

    /// Whether nothing is wrong: something is awaited, or the visit starts again or ends for reasons of its own.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Waiting { .. } | Self::Outdated | Self::NotLeading | Self::Kube(_)
        )
    }

    /// Whether the cloud certainly did nothing: it answered, and refused.
    pub fn is_definite(&self) -> bool {
        match self {
            Self::Cloud { error, .. } => {
                error.api().is_some() && !error.outcome_unknown && error.call.attempts <= 1
            }
            _ => false,
        }
    }

    /// Whether the cloud refused to show something: it may be gone as well.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.class(),
            Some(Class::Denied | Class::Foreign | Class::NotReady)
        )
    }

    /// Whether the failure may pass by itself within moments.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Cloud { error, .. } => {
                matches!(
                    error.classify(),
                    Class::Transient | Class::Throttled | Class::ClockSkew | Class::NotReady
                )
            }
            Self::Waiting { .. } | Self::Kube(_) | Self::Outdated | Self::NotLeading => true,
            Self::Stalled { .. } => false,
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.is_conflict() => Self::Outdated,
            _ => Self::Kube(Box::new(error)),
        }
    }
}

/// How far a pass had come when it failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Phase {
    /// It was still looking.
    #[default]
    Observing,
    /// It had seen all it needed and was changing something.
    Applying,
}

/// What is known about the object that failed, besides the failure.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// How far the pass had come.
    pub phase: Phase,
    /// Whether the object holds something in the cloud.
    pub acquired: bool,
    /// Failed passes in a row, this one included.
    pub failures: u32,
    /// Whether the last good observation is older than three resyncs.
    pub stale: bool,
    /// Whether its conditions tell of logging and delivery.
    pub logs: bool,
    /// Who calls the cloud, for "grant it to".
    pub caller: Option<&'a str>,
}

/// When to look again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Again {
    /// At once, from the newest state.
    Now,
    /// After a delay that grows with the failures in a row.
    Backoff,
    /// At the pace of the resync.
    Slowly,
}

/// What a failure means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// What conditions say. Empty: all stay.
    pub statements: Vec<Statement>,
    /// When to look again.
    pub again: Again,
    /// Reason, for the metric and the event.
    pub reason: &'static str,
    /// Whether a person must act.
    pub stalled: bool,
}

/// Judges a failure.
pub fn judge(failure: &Failure, circumstances: &Circumstances<'_>) -> Verdict {
    match failure {
        Failure::Outdated => Verdict {
            statements: vec![],
            again: Again::Now,
            reason: reason::UPDATING,
            stalled: false,
        },
        Failure::NotLeading => Verdict {
            statements: vec![],
            again: Again::Slowly,
            reason: reason::TRANSIENT,
            stalled: false,
        },
        // Nothing can be written when the API server does not answer; the same delay serves both.
        Failure::Kube(_) => passing(reason::TRANSIENT, &failure.to_string(), circumstances, false),
        Failure::Waiting {
            reason,
            message,
            soon,
        } => waiting(reason, message, *soon, circumstances),
        Failure::Stalled { reason, message } => stalled(reason, message, circumstances),
        Failure::Cloud { doing, error } => {
            let class = error.classify();
            let (reason, stalls) = reason_of(class);
            let message = explain(doing, error, class, circumstances.caller);
            if stalls {
                stalled(reason, &message, circumstances)
            } else {
                passing(reason, &message, circumstances, class.is_credentials())
            }
        }
    }
}

/// The reason a class gives, and whether a person must act.
fn reason_of(class: Class) -> (&'static str, bool) {
    match class {
        Class::Throttled => (reason::THROTTLED, false),
        Class::Transient | Class::Conflict | Class::NotFound | Class::Unknown => (reason::TRANSIENT, false),
        Class::ClockSkew => (reason::CLOCK_SKEW, false),
        Class::CredentialsExpired => (reason::CREDENTIALS_EXPIRED, false),
        Class::NotReady => (reason::AWAITING_VISIBILITY, false),
        Class::CredentialsInvalid => (reason::CREDENTIALS_INVALID, true),
        Class::Denied => (reason::DENIED, true),
        Class::Foreign => (reason::FOREIGN, true),
        Class::InvalidSpec | Class::NotActivated => (reason::INVALID_SPEC, true),
        Class::QuotaExceeded => (reason::QUOTA_EXCEEDED, true),
        Class::UnknownRegion => (reason::UNKNOWN_REGION, true),
        Class::AlreadyExists => (reason::NAME_TAKEN, true),
    }
}

/// What happened and what to do, in one or two sentences.
fn explain(doing: &str, error: &CloudError, class: Class, caller: Option<&str>) -> String {
    let said = match &error.kind {
        // Sentences of ours follow, with full stops of their own.
        ErrorKind::Api(api) => format!(
            "{} says {}: {}",
            api.service,
            api.code,
            api.message.trim_end_matches(['.', ' '])
        ),
        other => other.to_string(),
    };
    let request = error
        .request_id()
        .map(|id| format!("{REQUEST_ID}{id})"))
        .unwrap_or_default();
    let caller = caller.unwrap_or("the identity of the credentials in use");
    match class {
        // What RAM grants does not help against the policy that the project itself carries.
        Class::Denied if said.contains("project policy") => match error.permission() {
            Some(permission) => format!(
                "Cannot {doing}: {said}. It is about {} on {}. Let the project policy allow that to {caller}{request}",
                permission.action, permission.resource
            ),
            None => format!("Cannot {doing}: {said}. Let the project policy allow it to {caller}{request}"),
        },
        Class::Denied => match error.permission() {
            Some(permission) => format!(
                "Cannot {doing}: RAM does not allow {} on {}. Grant it to {caller}{request}",
                permission.action, permission.resource
            ),
            None => format!("Cannot {doing}: {said}. Grant the missing permission to {caller}{request}"),
        },
        Class::CredentialsInvalid => {
            format!("Cannot {doing}: {said}. Check the access key in the Secret or environment{request}")
        }
        Class::CredentialsExpired => {
            format!(
                "Cannot {doing}: {said}. Renew the temporary credentials in the Secret or environment{request}"
            )
        }
        Class::ClockSkew => {
            format!("Cannot {doing}: {said}. Check the clock of the node that the operator runs on{request}")
        }
        Class::Foreign => format!(
            "Cannot {doing}: it belongs to another account. Use credentials of that account, or another name{request}"
        ),
        Class::UnknownRegion => format!(
            "Cannot {doing}: {said}. No such host: check spec.region of the AuditProject, and --network of the operator"
        ),
        Class::QuotaExceeded => {
            format!(
                "Cannot {doing}: {said}. Delete what is no longer needed, or have the quota raised{request}"
            )
        }
        Class::NotActivated => {
            format!("Cannot {doing}: {said}. Activate the service in this account{request}")
        }
        Class::NotReady if error.code() == Some("ProjectForbidden") => format!(
            "Cannot {doing}: {said}. It is tried again: a project that was just made is usable after moments; if this lasts, see \
             whether payments of the account are overdue{request}"
        ),
        Class::InvalidSpec => format!("Cannot {doing}: {said}. Correct the spec{request}"),
        Class::Throttled
        | Class::Transient
        | Class::Conflict
        | Class::NotReady
        | Class::NotFound
        | Class::Unknown => {
            format!("Cannot {doing}: {said}. It is tried again{request}")
        }
        Class::AlreadyExists => format!("Cannot {doing}: {said}{request}"),
    }
}

/// Beginning of the part of a message that differs from call to call.
const REQUEST_ID: &str = " (request ";

/// A message without the request id: the same error keeps the id it was first seen with.
pub fn without_request_id(message: &str) -> &str {
    message.split(REQUEST_ID).next().unwrap_or(message)
}

/// Retried by itself. The first failure in a row changes nothing; keys are shown at once.
fn passing(reason: &'static str, message: &str, now: &Circumstances<'_>, at_once: bool) -> Verdict {
    let mut statements = Vec::new();
    if at_once || now.failures >= 2 {
        let (ready, synced) = match now.phase {
            Phase::Observing => (None, Status::Unknown),
            Phase::Applying => (Some(Status::False), Status::False),
        };
        statements.push(Statement::new(SYNCED, synced, reason, message));
        statements.push(Statement::new(RECONCILING, Status::True, reason, message));
        statements.push(Statement::new(STALLED, Status::False, reason::NOT_STALLED, ""));
        if let Some(ready) = ready.or((!now.acquired).then_some(Status::False)) {
            statements.push(Statement::new(READY, ready, reason, message));
        } else if at_once {
            statements.push(Statement::new(READY, Status::Unknown, reason, message));
            statements.push(Statement::new(PROTECTED, Status::Unknown, reason, message));
            statements.extend(unseen(now, message));
        } else if now.stale {
            statements.extend(stale(message));
            statements.extend(unseen(now, message));
        }
    }
    Verdict {
        statements,
        again: Again::Backoff,
        reason,
        stalled: false,
    }
}

fn stale(message: &str) -> [Statement; 2] {
    let text = format!("The last good look at the cloud is more than three resyncs old. {message}");
    [
        Statement::new(READY, Status::Unknown, reason::OBSERVATION_STALE, text.clone()),
        Statement::new(PROTECTED, Status::Unknown, reason::OBSERVATION_STALE, text),
    ]
}

/// What cannot be looked at is not known to log and to deliver.
fn unseen(now: &Circumstances<'_>, message: &str) -> Vec<Statement> {
    let types = if now.logs { &[LOGGING, DELIVERING][..] } else { &[] };
    types
        .iter()
        .map(|type_| Statement::new(type_, Status::Unknown, reason::NOT_OBSERVED, message))
        .collect()
}

fn stalled(reason: &'static str, message: &str, now: &Circumstances<'_>) -> Verdict {
    // What was acquired and cannot be looked at may well be as it should; what was not acquired is not there.
    let unknown = now.acquired && now.phase == Phase::Observing;
    let ready = if unknown { Status::Unknown } else { Status::False };
    let mut statements = vec![
        Statement::new(READY, ready, reason, message),
        Statement::new(SYNCED, ready, reason, message),
        Statement::new(RECONCILING, Status::False, reason::IDLE, ""),
        Statement::new(STALLED, Status::True, reason, message),
    ];
    if !now.acquired {
        statements.push(Statement::new(PROTECTED, Status::False, reason, message));
    } else if unknown {
        statements.push(Statement::new(PROTECTED, Status::Unknown, reason, message));
    }
    if now.phase == Phase::Observing {
        statements.extend(unseen(now, message));
    }
    Verdict {
        statements,
        // A Secret that comes later is not watched for; asking for it costs one read of the API server.
        again: if reason == reason::CREDENTIALS_NOT_FOUND {
            Again::Backoff
        } else {
            Again::Slowly
        },
        reason,
        stalled: true,
    }
}

fn waiting(reason: &'static str, message: &str, soon: bool, now: &Circumstances<'_>) -> Verdict {
    let ready = if now.acquired && now.phase == Phase::Observing {
        Status::Unknown
    } else {
        Status::False
    };
    let mut statements = vec![
        Statement::new(READY, ready, reason, message),
        Statement::new(SYNCED, Status::Unknown, reason, message),
        Statement::new(RECONCILING, Status::True, reason, message),
        Statement::new(STALLED, Status::False, reason::NOT_STALLED, ""),
    ];
    if !now.acquired {
        statements.push(Statement::new(PROTECTED, Status::False, reason, message));
    } else if now.stale && now.phase == Phase::Observing {
        let [_, protected] = stale(message);
        statements.push(protected);
        statements.extend(unseen(now, message));
    }
    Verdict {
        statements,
        again: if soon { Again::Backoff } else { Again::Slowly },
        reason,
        stalled: false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::aliyun::error::{ApiError, CallInfo};
    use crate::aliyun::operation::{Permission, Service};
    use k8s_openapi::jiff::Timestamp;

    fn cloud(class: Class) -> Failure {
        let api = ApiError {
            service: Service::LogService,
            action: "GetProject",
            status: 400,
            code: "SomeCode".into(),
            message: "some words".into(),
            request_id: Some("R1".into()),
            retry_after: None,
            class,
            permission: (class == Class::Denied).then(|| Permission {
                action: "log:GetProject".into(),
                resource: "acs:log:cn-hangzhou:1:project/p".into(),
            }),
        };
        let call = CallInfo {
            service: Service::LogService,
            action: "GetProject",
            call_id: "c".into(),
            request_id: Some("R1".into()),
            earlier_request_ids: vec![],
            attempts: 1,
            signed_at: Timestamp::UNIX_EPOCH,
            cloud_time: Timestamp::UNIX_EPOCH,
        };
        Failure::cloud(
            "read the project p",
            CloudError {
                kind: ErrorKind::Api(api),
                call: Box::new(call),
                outcome_unknown: false,
            },
        )
    }

    fn circumstances(phase: Phase, acquired: bool, failures: u32) -> Circumstances<'static> {
        Circumstances {
            phase,
            acquired,
            failures,
            stale: false,
            logs: true,
            caller: Some("acs:ram::1:user/operator"),
        }
    }

    fn said<'a>(verdict: &'a Verdict, type_: &str) -> Option<&'a Statement> {
        verdict.statements.iter().find(|s| s.type_ == type_)
    }

    #[test]
    fn one_failed_read_changes_no_condition() {
        for class in [
            Class::Transient,
            Class::Throttled,
            Class::ClockSkew,
            Class::NotReady,
            Class::Unknown,
        ] {
            let verdict = judge(&cloud(class), &circumstances(Phase::Observing, true, 1));
            assert_eq!(verdict.statements, [], "{class}");
            assert_eq!(verdict.again, Again::Backoff);
        }
    }

    #[test]
    fn the_second_failed_read_in_a_row_makes_synced_unknown_and_leaves_ready() {
        let verdict = judge(
            &cloud(Class::Transient),
            &circumstances(Phase::Observing, true, 2),
        );
        assert_eq!(said(&verdict, SYNCED).unwrap().status, Status::Unknown);
        assert_eq!(said(&verdict, SYNCED).unwrap().reason, reason::TRANSIENT);
        assert!(said(&verdict, READY).is_none());
    }

    #[test]
    fn an_old_observation_makes_ready_unknown() {
        let mut now = circumstances(Phase::Observing, true, 9);
        now.stale = true;
        let verdict = judge(&cloud(Class::Throttled), &now);
        let ready = said(&verdict, READY).unwrap();
        assert_eq!(
            (ready.status, ready.reason),
            (Status::Unknown, reason::OBSERVATION_STALE)
        );
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_said_to_log_deliver_or_be_protected() {
        let mut stale = circumstances(Phase::Observing, true, 9);
        stale.stale = true;
        let waiting = Failure::waiting(reason::PROJECT_NOT_FOUND, "w");
        let fresh = circumstances(Phase::Observing, true, 1);
        let unknown = [PROTECTED, LOGGING, DELIVERING];
        let table: [(&str, Failure, &Circumstances<'_>, &[&str]); 8] = [
            ("old observation", cloud(Class::Transient), &stale, &unknown),
            ("old observation, reference gone", waiting, &stale, &unknown),
            ("denied", cloud(Class::Denied), &fresh, &unknown),
            ("bad keys", cloud(Class::CredentialsInvalid), &fresh, &unknown),
            ("old keys", cloud(Class::CredentialsExpired), &fresh, &unknown),
            (
                "no Secret",
                Failure::stalled(reason::CREDENTIALS_NOT_FOUND, "s"),
                &fresh,
                &unknown,
            ),
            ("one failed read", cloud(Class::Transient), &fresh, &[]),
            (
                "a failed write after a look",
                cloud(Class::Denied),
                &circumstances(Phase::Applying, true, 1),
                &[],
            ),
        ];
        for (name, failure, now, expected) in table {
            let verdict = judge(&failure, now);
            let found: Vec<&str> = unknown
                .into_iter()
                .filter(|type_| said(&verdict, type_).is_some_and(|s| s.status == Status::Unknown))
                .collect();
            assert_eq!(found, expected, "{name}");
            // A kind without these conditions does not get them.
            let verdict = judge(&failure, &Circumstances { logs: false, ..*now });
            assert!(
                said(&verdict, LOGGING).is_none() && said(&verdict, DELIVERING).is_none(),
                "{name}"
            );
        }
    }

    #[test]
    fn whatever_the_cloud_answers_a_deletion_ends() {
        for class in Class::ALL {
            assert!(cloud(class).keeps_unsettled(), "{class}");
        }
        assert!(Failure::stalled(reason::INVALID_SPEC, "s").keeps_unsettled());
        assert!(Failure::waiting(reason::PROJECT_NOT_FOUND, "w").keeps_unsettled());
        for passing in [
            Failure::waiting_soon(reason::DELETING, "w"),
            Failure::Outdated,
            Failure::NotLeading,
        ] {
            assert!(!passing.keeps_unsettled(), "{passing}");
        }
    }

    #[test]
    fn keys_accounts_and_denials_show_at_once() {
        for (class, expected) in [
            (Class::CredentialsInvalid, reason::CREDENTIALS_INVALID),
            (Class::CredentialsExpired, reason::CREDENTIALS_EXPIRED),
            (Class::Denied, reason::DENIED),
            (Class::Foreign, reason::FOREIGN),
            (Class::UnknownRegion, reason::UNKNOWN_REGION),
        ] {
            for (acquired, status) in [(true, Status::Unknown), (false, Status::False)] {
                let verdict = judge(&cloud(class), &circumstances(Phase::Observing, acquired, 1));
                let ready = said(&verdict, READY).unwrap();
                assert_eq!((ready.status, ready.reason), (status, expected), "{class}");
            }
        }
    }

    #[test]
    fn a_failed_write_makes_ready_false() {
        let verdict = judge(
            &cloud(Class::QuotaExceeded),
            &circumstances(Phase::Applying, true, 1),
        );
        assert_eq!(said(&verdict, READY).unwrap().status, Status::False);
        assert_eq!(said(&verdict, STALLED).unwrap().status, Status::True);
        let verdict = judge(&cloud(Class::Transient), &circumstances(Phase::Applying, true, 2));
        assert_eq!(said(&verdict, READY).unwrap().status, Status::False);
        assert_eq!(said(&verdict, RECONCILING).unwrap().status, Status::True);
    }

    #[test]
    fn stalled_is_true_exactly_when_a_person_must_act() {
        for class in Class::ALL {
            let verdict = judge(&cloud(class), &circumstances(Phase::Applying, true, 2));
            let stalled = said(&verdict, STALLED).unwrap();
            assert_eq!(stalled.status == Status::True, verdict.stalled, "{class}");
            assert_eq!(verdict.again == Again::Slowly, verdict.stalled, "{class}");
            assert_ne!(
                said(&verdict, RECONCILING).unwrap().status == Status::True,
                verdict.stalled,
                "{class}: kstatus never says both"
            );
        }
    }

    #[test]
    fn a_denied_call_names_action_resource_and_who_needs_it() {
        let verdict = judge(&cloud(Class::Denied), &circumstances(Phase::Observing, false, 1));
        let message = &said(&verdict, STALLED).unwrap().message;
        for part in [
            "log:GetProject",
            "acs:log:cn-hangzhou:1:project/p",
            "Grant it to acs:ram::1:user/operator",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn the_next_step_fits_who_refused() {
        let Failure::Cloud { doing, mut error } = cloud(Class::Denied) else {
            panic!("a failed call");
        };
        let ErrorKind::Api(api) = &mut error.kind else {
            panic!("an answer");
        };
        api.message = "Access denied by project policy.".into();
        let message = explain(&doing, &error, Class::Denied, Some("acs:ram::1:user/operator"));
        assert!(
            message.contains("Let the project policy allow") && !message.contains("Grant"),
            "{message}"
        );
        let ErrorKind::Api(api) = &mut error.kind else {
            panic!("an answer");
        };
        api.code = "ProjectForbidden".into();
        let message = explain(&doing, &error, Class::NotReady, None);
        assert!(message.contains("overdue"), "{message}");
    }

    #[test]
    fn the_request_id_is_kept_apart_from_what_the_message_says() {
        let verdict = judge(&cloud(Class::Denied), &circumstances(Phase::Observing, false, 1));
        let message = &said(&verdict, STALLED).unwrap().message;
        assert!(message.ends_with("(request R1)"), "{message}");
        assert!(!without_request_id(message).contains("R1"));
    }

    #[test]
    fn what_is_waited_for_is_no_failure_of_a_person() {
        let verdict = judge(
            &Failure::waiting(reason::WAITING_FOR_PROJECT, "w"),
            &circumstances(Phase::Observing, false, 1),
        );
        assert_eq!(said(&verdict, READY).unwrap().reason, reason::WAITING_FOR_PROJECT);
        assert_eq!(said(&verdict, STALLED).unwrap().status, Status::False);
        assert_eq!(verdict.again, Again::Slowly);
        let soon = judge(
            &Failure::waiting_soon(reason::AWAITING_VISIBILITY, "w"),
            &circumstances(Phase::Applying, true, 1),
        );
        assert_eq!(soon.again, Again::Backoff);
    }
}
