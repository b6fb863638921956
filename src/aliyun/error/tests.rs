#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const LOG: Service = Service::LogService;
const TRAIL: Service = Service::ActionTrail;
const RAM: Service = Service::Ram;

/// Every code of the Log Service sheet, with the status and message that it is documented with.
#[test]
// A table of the whole sheet.
#[allow(clippy::too_many_lines)]
fn log_service_codes_mean_what_the_sheet_says() {
    let table = [
        (
            400,
            "ProjectAlreadyExist",
            "Project p already exist",
            Class::AlreadyExists,
        ),
        (
            404,
            "ProjectNotExist",
            "The Project does not exist : p",
            Class::NotFound,
        ),
        (
            403,
            "ProjectForbidden",
            "Project p has been forbidden.",
            Class::NotReady,
        ),
        (
            400,
            "LogStoreAlreadyExist",
            "logstore l already exists",
            Class::AlreadyExists,
        ),
        (
            404,
            "LogStoreNotExist",
            "logstore l does not exist",
            Class::NotFound,
        ),
        (
            400,
            "LogStoreInfoInvalid",
            "ttl value is out of range",
            Class::InvalidSpec,
        ),
        (
            400,
            "ProjectQuotaExceed",
            "Project Quota Exceed.",
            Class::QuotaExceeded,
        ),
        (
            400,
            "ParameterInvalid",
            "The body is not valid json string.",
            Class::InvalidSpec,
        ),
        (
            400,
            "ParameterInvalid",
            "Invalid project description: 'x'",
            Class::InvalidSpec,
        ),
        (
            400,
            "ParameterInvalid",
            "log store index is not created.",
            Class::NotFound,
        ),
        (
            400,
            "ParameterInvalid",
            "specified dashboard already exists",
            Class::AlreadyExists,
        ),
        (
            400,
            "ParameterInvalid",
            "Job j already exists",
            Class::AlreadyExists,
        ),
        (400, "ParameterInvalid", "The job is RESTARTING", Class::Transient),
        (
            400,
            "JobUnheardOf",
            "Job ramtrail-x already exists",
            Class::AlreadyExists,
        ),
        (
            400,
            "PostBodyInvalid",
            "tag key value pair count exceed",
            Class::InvalidSpec,
        ),
        (400, "NotSupported", "mode change", Class::InvalidSpec),
        (
            400,
            "IndexAlreadyExist",
            "Logstore index is already created.",
            Class::AlreadyExists,
        ),
        (
            400,
            "IndexInfoInvalid",
            "required fields line/keys are lacking",
            Class::InvalidSpec,
        ),
        (
            400,
            "IndexConfigNotExist",
            "index config doesn't exist.",
            Class::NotFound,
        ),
        (
            404,
            "IndexConfigNotExist",
            "logstore without index config",
            Class::NotFound,
        ),
        (400, "LogStoreWithoutShard", "", Class::NotReady),
        (400, "ShardNotExist", "", Class::NotFound),
        (404, "SavedSearchNotExist", "", Class::NotFound),
        (404, "DashboardNotExist", "", Class::NotFound),
        (404, "ChartNotExist", "", Class::NotFound),
        (400, "InvalidDashboardName", "", Class::InvalidSpec),
        (
            400,
            "ExceedQuota",
            "savedsearch quota exceed",
            Class::QuotaExceeded,
        ),
        (404, "JobNotExist", "", Class::NotFound),
        (404, "LoggingNotExist", "", Class::NotFound),
        (404, "PolicyNotExist", "", Class::NotFound),
        (404, "MachineGroupNotExist", "", Class::NotFound),
        (404, "ConfigNotExist", "", Class::NotFound),
        (404, "ResourceNotExist", "", Class::NotFound),
        (
            405,
            "InvalidMethod",
            "invalid request method : /path",
            Class::Unknown,
        ),
        (400, "InvalidTimeRange", "", Class::InvalidSpec),
        (400, "InvalidQueryString", "", Class::InvalidSpec),
        (400, "InvalidOffset", "", Class::InvalidSpec),
        (400, "InvalidLine", "", Class::InvalidSpec),
        (400, "InvalidReverse", "", Class::InvalidSpec),
        (400, "InvalidTimestamp", "", Class::InvalidSpec),
        (400, "InvalidEncoding", "", Class::InvalidSpec),
        (400, "InvalidKey", "", Class::InvalidSpec),
        (400, "PostBodyUncompressError", "", Class::InvalidSpec),
        (
            413,
            "PostBodyTooLarge",
            "Body size 1 must little than 10485760.",
            Class::InvalidSpec,
        ),
        (
            403,
            "WriteQuotaExceed",
            "Project write quota exceed: qps: 1",
            Class::Throttled,
        ),
        (403, "ReadQuotaExceed", "", Class::Throttled),
        (403, "ShardWriteQuotaExceed", "", Class::Throttled),
        (403, "ShardReadQuotaExceed", "", Class::Throttled),
        (
            403,
            "MetaOperationQpsLimitExceeded",
            "Qps limit for the meta operation is exceeded.",
            Class::Throttled,
        ),
        (400, "MissingHost", "", Class::Unknown),
        (400, "InvalidSignatureMethod", "", Class::Unknown),
        (411, "MissingContentLength", "", Class::Unknown),
        (500, "InternalServerError", "", Class::Transient),
        (500, "RequestTimeout", "", Class::Transient),
        (503, "ServerBusy", "", Class::Transient),
        (
            400,
            "RequestTimeExpired",
            "Request time X has been expired while server time is Y.",
            Class::ClockSkew,
        ),
        (400, "RequestTimeTooSkewed", "", Class::ClockSkew),
        (400, "InvalidRequestTime", "", Class::Unknown),
        (
            401,
            "SignatureNotMatch",
            "signature x not matched",
            Class::CredentialsInvalid,
        ),
        (
            401,
            "InvalidAccessKeyId",
            "The access key id you provided is invalid.",
            Class::CredentialsInvalid,
        ),
        (
            401,
            "InvalidAccessKeyId",
            "Your SLS service has not opened.",
            Class::NotActivated,
        ),
        (400, "MissAccessKeyId", "", Class::CredentialsInvalid),
        (
            400,
            "ParameterInvalid",
            "Http extend authorization : x pair is invalid.",
            Class::CredentialsInvalid,
        ),
        (401, "SecurityTokenExpired", "", Class::CredentialsExpired),
        (401, "SecurityToken.Expired", "", Class::CredentialsExpired),
    ];
    for (status, code, message, class) in table {
        assert_eq!(
            classify(LOG, status, code, message),
            class,
            "{status} {code} {message}"
        );
    }
}

#[test]
fn log_service_unauthorized_is_told_apart_by_its_message() {
    let table = [
        (
            "denied by sts or ram, action: log:GetProject, resource: acs:log:x",
            Class::Denied,
        ),
        ("Access denied by project policy.", Class::Denied),
        ("The project does not belong to you.", Class::Foreign),
        (
            "The security token you provided has expired.",
            Class::CredentialsExpired,
        ),
        ("AccessKeyId not found: LTAI1", Class::CredentialsInvalid),
        ("AccessKeyId is disabled: LTAI1", Class::CredentialsInvalid),
        ("The AccessKeyId is unauthorized.", Class::CredentialsInvalid),
        ("something never seen before", Class::CredentialsInvalid),
        ("", Class::CredentialsInvalid),
    ];
    for (message, class) in table {
        assert_eq!(classify(LOG, 401, "Unauthorized", message), class, "{message}");
    }
}

#[test]
fn action_trail_codes_mean_what_the_sheet_says() {
    let table = [
        ("TrailNotFoundException", Class::NotFound),
        ("TrailAlreadyExistsException", Class::AlreadyExists),
        ("InvalidTrailNameException", Class::InvalidSpec),
        ("SlsProjectDoesNotExistException", Class::NotReady),
        ("SlsLogStoreDoesNotExistException", Class::NotReady),
        ("BucketDoesNotExistException", Class::NotReady),
        ("NeedServiceLinkedRole", Class::NotReady),
        ("InvalidDeliveryConfigurationException", Class::InvalidSpec),
        ("InvalidParameterValue", Class::InvalidSpec),
        ("InvalidParameterCombination", Class::InvalidSpec),
        ("InvalidParameterStartTime", Class::InvalidSpec),
        ("InvalidParameterEndTime", Class::InvalidSpec),
        ("InvalidParameterDateOutOfRange", Class::InvalidSpec),
        ("InvalidQueryParameter", Class::InvalidSpec),
        ("InvalidPrefixException", Class::InvalidSpec),
        ("InvalidTimeRangeException", Class::InvalidSpec),
        ("InvalidLookupAttributesException", Class::InvalidSpec),
        ("LookupEventsParameterError", Class::InvalidSpec),
        ("InvalidNextToken", Class::InvalidSpec),
        ("RepeatOssBucket", Class::InvalidSpec),
        ("TrailNotValid", Class::InvalidSpec),
        ("NotAllowCreateOrganizationTrail", Class::InvalidSpec),
        ("CreateLogStoreError", Class::Transient),
        ("LogServiceException", Class::Transient),
        ("ForbiddenDeleteTrail", Class::Conflict),
        ("MaximumNumberOfTrailsExceededException", Class::QuotaExceeded),
        ("MaximumNumberOfOrganizationTrailExceeded", Class::QuotaExceeded),
        (
            "MaximumNumberOfDeliveryHistoryJobsExceededException",
            Class::QuotaExceeded,
        ),
        ("InsufficientSlsPolicyException", Class::Denied),
        ("InsufficientBucketPolicyException", Class::Denied),
        ("NeedSlsRamAuthorize", Class::Denied),
        ("NeedOssRamAuthorize", Class::Denied),
        ("NoPermission", Class::Denied),
        ("DeliveryHistoryJobNotFound", Class::NotFound),
        ("InternalError", Class::Transient),
        ("InternalFailure", Class::Transient),
        ("InternalServerError", Class::Transient),
        ("ServiceUnavailable", Class::Transient),
        ("InvalidAction", Class::Unknown),
    ];
    // The documents disagree on statuses: the class must not depend on them.
    for status in [400, 403, 404, 409] {
        for (code, class) in table {
            assert_eq!(
                classify(TRAIL, status, code, "whatever"),
                class,
                "{status} {code}"
            );
        }
    }
}

#[test]
fn gateway_codes_mean_the_same_for_every_rpc_service() {
    let table = [
        ("InvalidTimeStamp.Expired", Class::ClockSkew),
        ("IllegalTimestamp", Class::ClockSkew),
        ("SignatureNonceUsed", Class::Transient),
        ("SignatureDoesNotMatch", Class::CredentialsInvalid),
        ("IncompleteSignature", Class::CredentialsInvalid),
        ("InvalidAccessKeyId.NotFound", Class::CredentialsInvalid),
        ("InvalidAccessKeyId.Inactive", Class::CredentialsInvalid),
        ("InvalidSecurityToken.Expired", Class::CredentialsExpired),
        ("InvalidSecurityToken.Malformed", Class::CredentialsInvalid),
        (
            "InvalidSecurityToken.MismatchWithAccessKey",
            Class::CredentialsInvalid,
        ),
        ("MissingSecurityToken", Class::CredentialsInvalid),
        ("Throttling", Class::Throttled),
        ("Throttling.User", Class::Throttled),
        ("Throttling.Api", Class::Throttled),
        ("Rejected.Throttling", Class::Throttled),
        ("Forbidden.RAM", Class::Denied),
        ("NoPermission", Class::Denied),
        ("InvalidParameter.Format", Class::InvalidSpec),
        ("InvalidApi.NotFound", Class::Unknown),
        ("InvalidProduct.NotFound", Class::Unknown),
        ("UnsupportedHTTPMethod", Class::Unknown),
        ("InvalidTimeStamp.Format", Class::Unknown),
        ("ServiceUnavailable", Class::Transient),
    ];
    for service in [TRAIL, RAM, Service::Sts, Service::ResourceManager] {
        for status in [400, 403, 404] {
            for (code, class) in table {
                assert_eq!(
                    classify(service, status, code, ""),
                    class,
                    "{service} {status} {code}"
                );
            }
        }
    }
}

#[test]
fn identity_codes_mean_what_the_sheet_says() {
    let table = [
        ("EntityNotExist.Role", Class::NotFound),
        ("EntityNotExist.Group.Policy", Class::NotFound),
        ("EntityNotExist.Service", Class::NotFound),
        ("EntityAlreadyExists.Role", Class::AlreadyExists),
        ("EntityAlreadyExists.User.Group", Class::AlreadyExists),
        ("LimitExceeded.Role", Class::QuotaExceeded),
        ("LimitExceeded.Policy.Version", Class::QuotaExceeded),
        ("DeleteConflict.Group.User", Class::Conflict),
        ("InvalidParameter.RoleName.InvalidChars", Class::InvalidSpec),
        ("InvalidParameter.DurationSeconds", Class::InvalidSpec),
        ("MalformedPolicyDocument", Class::InvalidSpec),
    ];
    for (code, class) in table {
        assert_eq!(classify(RAM, 400, code, ""), class, "{code}");
        assert_eq!(classify(Service::ResourceManager, 409, code, ""), class, "{code}");
    }
}

#[test]
fn an_unknown_code_is_judged_by_its_status() {
    for service in Service::ALL {
        assert_eq!(classify(service, 500, "Novel", ""), Class::Transient);
        assert_eq!(classify(service, 503, "Novel", ""), Class::Transient);
        assert_eq!(classify(service, 429, "Novel", ""), Class::Throttled);
        assert_eq!(classify(service, 404, "Novel", ""), Class::Unknown);
        assert_eq!(classify(service, 403, "Novel", ""), Class::Unknown);
    }
}

fn needed() -> Permission {
    Permission {
        action: "log:CreateProject".to_owned(),
        resource: "acs:log:cn-x:*:project/p".to_owned(),
    }
}

fn api_error(service: Service, code: &str, message: &str) -> ApiError {
    let raw = RawApiError {
        status: 401,
        code: code.to_owned(),
        message: message.to_owned(),
        ..RawApiError::default()
    };
    raw.into_error(service, "CreateProject", &needed())
}

#[test]
fn a_denial_names_the_permission_of_its_message() {
    let message = "denied by sts or ram, action: log:CreateLogStore, \
                   resource: acs:log:cn-hangzhou:1234567890123456:project/p/logstore/l.";
    let error = api_error(LOG, "Unauthorized", message);
    let permission = error.permission.clone().unwrap();
    assert_eq!(permission.action, "log:CreateLogStore");
    assert_eq!(
        permission.resource,
        "acs:log:cn-hangzhou:1234567890123456:project/p/logstore/l"
    );
    assert!(
        error
            .to_string()
            .contains("allow log:CreateLogStore on acs:log:cn-hangzhou:"),
        "{error}"
    );
}

#[test]
fn a_denial_without_details_names_the_permission_of_the_call() {
    let denials = [
        (LOG, "Unauthorized", "Access denied by project policy."),
        (LOG, "Unauthorized", "denied by sts or ram, action: , resource: "),
        (TRAIL, "NoPermission", "You are not authorized."),
        (RAM, "Forbidden.RAM", ""),
    ];
    for (service, code, message) in denials {
        assert_eq!(
            api_error(service, code, message).permission,
            Some(needed()),
            "{code}"
        );
    }
    assert_eq!(api_error(LOG, "ProjectNotExist", "x").permission, None);
}

#[test]
fn texts_about_signatures_and_credentials_are_not_copied() {
    let leaking =
        "not matched: POST\nhost:x\nx-acs-security-token:TOPSECRET server string to sign is TOPSECRET";
    let cases = [
        (LOG, "SignatureNotMatch"),
        (LOG, "Unauthorized"),
        (LOG, "InvalidAccessKeyId"),
        (LOG, "InvalidSignatureMethod"),
        (LOG, "RequestTimeExpired"),
        (TRAIL, "SignatureDoesNotMatch"),
        (TRAIL, "IncompleteSignature"),
        (TRAIL, "InvalidSecurityToken.Expired"),
        (TRAIL, "InvalidSecurityToken.Malformed"),
        (TRAIL, "InvalidTimeStamp.Expired"),
        (TRAIL, "SignatureNonceUsed"),
        (RAM, "InvalidAccessKeyId.NotFound"),
    ];
    for (service, code) in cases {
        let error = api_error(service, code, leaking);
        assert!(!error.to_string().contains("TOPSECRET"), "{code}: {error}");
        assert!(!format!("{error:?}").contains("TOPSECRET"), "{code}");
        assert!(!error.message.is_empty());
    }
}

#[test]
fn a_long_message_is_cut_at_a_character() {
    let error = api_error(LOG, "ParameterInvalid", &"é".repeat(5000));
    assert_eq!(error.message.chars().count(), MESSAGE_LIMIT + 1);
    assert!(error.message.ends_with('…'));
}

#[test]
fn characters_that_reorder_text_or_move_a_cursor_go() {
    assert_eq!(
        clean("a\r\nb\u{1b}[31mc\u{202e}d\u{0}\u{2028}e\u{feff}", 100),
        "a b [31mcd e"
    );
}

#[test]
fn class_names_are_distinct_and_camel_case() {
    let names: std::collections::BTreeSet<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
    assert_eq!(names.len(), Class::ALL.len());
    assert!(
        names
            .iter()
            .all(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
    );
}

proptest! {
    #[test]
    fn any_cleaned_text_is_one_line_and_bounded(text in any::<String>(), limit in 1_usize..600) {
        let cleaned = clean(&text, limit);
        prop_assert!(cleaned.chars().count() <= limit + 1);
        prop_assert!(!cleaned.chars().any(char::is_control));
    }

    #[test]
    fn any_answer_can_be_classified_and_shown(
        code in any::<String>(), message in any::<String>(), status in 100_u16..600
    ) {
        for service in Service::ALL {
            let raw = RawApiError { status, code: code.clone(), message: message.clone(), ..RawApiError::default() };
            let shown = raw.into_error(service, "X", &needed()).to_string();
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }

    #[test]
    fn hostile_denials_do_not_panic(text in "(action:|resource:|[a-z:/é *.\u{202e}])*") {
        permission_in(&text);
    }
}
