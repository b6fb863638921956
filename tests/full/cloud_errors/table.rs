//! The table: what each error of the sheets must say. Written from the sheets, with no look at the operator's own.
#![allow(clippy::too_many_lines)] // a table is as long as the sheets

/// Which call of the stack gets the error.
#[derive(Clone, Copy, Debug)]
pub enum On {
    /// A read of a settled object of this kind.
    Look(&'static str),
    /// The creation of a new object of this kind.
    Make(&'static str),
    /// A change of the project.
    Change,
    /// A change of the store's retention.
    Resize,
    /// A repair of the trail.
    Repair,
    /// The first call with keys: whose are they?
    Keys,
}

/// A condition: type, status, reason.
pub type Says = (&'static str, &'static str, &'static str);

/// One line.
#[derive(Clone, Debug)]
pub struct Case {
    pub on: On,
    pub action: &'static str,
    pub status: u16,
    pub code: &'static str,
    pub message: &'static str,
    pub says: Vec<Says>,
    /// What the messages of these conditions hold.
    pub words: &'static [&'static str],
}

impl Case {
    /// The id: call, status, code, and the first words where one code means several things.
    pub fn id(&self) -> String {
        let words: String = self
            .message
            .chars()
            .take(24)
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        format!("{}/{}/{}/{words}", self.action, self.status, self.code)
    }
}

const PROJECT: &str = "AuditProject";
const STORE: &str = "AuditLogStore";
const TRAIL: &str = "RamTrail";

const KEYS: &[&str] = &["Check the access key in the Secret or environment"];
const EXPIRED: &[&str] = &["Renew the temporary credentials"];
const CLOCK: &[&str] = &["Check the clock of the node"];
const AGAIN: &[&str] = &["It is tried again"];
const SPEC: &[&str] = &["Correct the spec"];
const QUOTA: &[&str] = &["have the quota raised"];

/// What is retried, at a look: Ready stays, Synced is not known.
fn passing(reason: &'static str) -> Vec<Says> {
    vec![("Synced", "Unknown", reason), ("Reconciling", "True", reason)]
}

/// What is retried, at a write.
fn unmade(reason: &'static str) -> Vec<Says> {
    vec![("Ready", "False", reason), ("Reconciling", "True", reason)]
}

/// What a person must mend, seen while looking at what is ours: it may well be as it should.
fn blind(reason: &'static str) -> Vec<Says> {
    vec![
        ("Stalled", "True", reason),
        ("Ready", "Unknown", reason),
        ("Synced", "Unknown", reason),
        ("Protected", "Unknown", reason),
    ]
}

/// What a person must mend before it can be made or changed.
fn stopped(reason: &'static str) -> Vec<Says> {
    vec![
        ("Stalled", "True", reason),
        ("Ready", "False", reason),
        ("Synced", "False", reason),
    ]
}

/// Temporary keys that ran out: renewed by whoever writes the Secret; shown at once, and no person is called.
fn expired() -> Vec<Says> {
    vec![
        ("Ready", "Unknown", "CredentialsExpired"),
        ("Synced", "Unknown", "CredentialsExpired"),
        ("Reconciling", "True", "CredentialsExpired"),
    ]
}

struct Table(Vec<Case>);

impl Table {
    #[allow(clippy::too_many_arguments)] // one line of a table
    fn line(
        &mut self,
        on: On,
        action: &'static str,
        status: u16,
        code: &'static str,
        message: &'static str,
        says: Vec<Says>,
        words: &'static [&'static str],
    ) {
        self.0.push(Case {
            on,
            action,
            status,
            code,
            message,
            says,
            words,
        });
    }
}

/// All lines.
pub fn cases() -> Vec<Case> {
    let mut table = Table(Vec::new());
    log_service(&mut table);
    log_service_writes(&mut table);
    gateway(&mut table);
    action_trail(&mut table);
    identity(&mut table);
    table.0
}

/// sls-api 2.5 and 3, on reads.
fn log_service(t: &mut Table) {
    let look = |t: &mut Table, status, code, message, says, words| {
        t.line(
            On::Look(PROJECT),
            "GetProject",
            status,
            code,
            message,
            says,
            words,
        );
    };
    look(
        t,
        401,
        "Unauthorized",
        "denied by sts or ram, action: log:GetProject, resource: acs:log:cn-hangzhou:1234567890123456:project/ai-audit",
        blind("Denied"),
        &[
            "log:GetProject",
            "acs:log:cn-hangzhou:{account}:project/ai-audit",
            "Grant it to acs:ram::{account}:user/ramtrail-operator",
        ],
    );
    // Nothing that RAM grants helps against a project's own policy.
    look(
        t,
        401,
        "Unauthorized",
        "Access denied by project policy.",
        blind("Denied"),
        &[
            "project policy",
            "log:GetProject",
            "acs:log:cn-hangzhou:{account}:project/ai-audit",
        ],
    );
    look(
        t,
        401,
        "Unauthorized",
        "The project does not belong to you.",
        blind("Foreign"),
        &["belongs to another account", "Use credentials of that account"],
    );
    look(
        t,
        401,
        "Unauthorized",
        "The security token you provided has expired.",
        expired(),
        EXPIRED,
    );
    for (code, message) in [
        ("Unauthorized", "AccessKeyId not found: LTAIx"),
        ("Unauthorized", "AccessKeyId is disabled: LTAIx"),
        ("Unauthorized", "The AccessKeyId is unauthorized."),
        ("InvalidAccessKeyId", "The access key id you provided is invalid"),
        ("SignatureNotMatch", "signature abc not match"),
    ] {
        look(t, 401, code, message, blind("CredentialsInvalid"), KEYS);
    }
    for code in ["SecurityTokenExpired", "SecurityToken.Expired"] {
        look(t, 401, code, "token", expired(), EXPIRED);
    }
    look(
        t,
        400,
        "MissAccessKeyId",
        "no access key id",
        blind("CredentialsInvalid"),
        KEYS,
    );
    look(
        t,
        400,
        "ParameterInvalid",
        "Http extend authorization : x pair is invalid.",
        blind("CredentialsInvalid"),
        KEYS,
    );
    for code in ["RequestTimeExpired", "RequestTimeTooSkewed"] {
        look(
            t,
            400,
            code,
            "Request time X has been expired while server time is Y.",
            passing("ClockSkew"),
            CLOCK,
        );
    }
    look(
        t,
        403,
        "ProjectForbidden",
        "Project ai-audit has been forbidden.",
        passing("AwaitingVisibility"),
        &["has been forbidden", "overdue"],
    );
    for status in [400, 403, 429, 503] {
        look(
            t,
            status,
            "MetaOperationQpsLimitExceeded",
            "Qps limit for the meta operation is exceeded.",
            passing("Throttled"),
            AGAIN,
        );
    }
    for (status, code) in [
        (403, "ReadQuotaExceed"),
        (400, "ReadQuotaExceed"),
        (403, "WriteQuotaExceed"),
        (400, "WriteQuotaExceed"),
        (403, "ShardReadQuotaExceed"),
        (403, "ShardWriteQuotaExceed"),
    ] {
        look(
            t,
            status,
            code,
            "Project read quota exceed: qps: 1",
            passing("Throttled"),
            AGAIN,
        );
    }
    for (status, code) in [
        (500, "InternalServerError"),
        (500, "RequestTimeout"),
        (503, "ServerBusy"),
        (502, "SomethingNew"),
        // About the form of a request: nothing that a person or a later time mends, so the code must be told.
        (400, "InvalidRequestTime"),
        (400, "InvalidDateFormat"),
        (405, "InvalidMethod"),
        (400, "MissingHost"),
        (400, "InvalidHost"),
        (400, "MissingDate"),
        (400, "MissingAPIVersion"),
        (400, "InvalidAPIVersion"),
        (400, "MissingSignatureMethod"),
        (400, "InvalidSignatureMethod"),
        (400, "MissingContentType"),
        (400, "InvalidContentType"),
        (400, "MissingBodyRawSize"),
        (400, "InvalidBodyRawSize"),
        (400, "InvalidCompressType"),
        (411, "MissingContentLength"),
        (418, "NeverHeardOf"),
    ] {
        let words: &'static [&'static str] = match code {
            "InternalServerError" => &["InternalServerError", "It is tried again"],
            "InvalidHost" => &["InvalidHost"],
            "NeverHeardOf" => &["NeverHeardOf", "some words"],
            _ => AGAIN,
        };
        look(t, status, code, "some words", passing("Transient"), words);
    }
    t.line(
        On::Look(STORE),
        "GetLogStore",
        403,
        "ProjectForbidden",
        "Project ai-audit has been forbidden.",
        passing("AwaitingVisibility"),
        &["overdue"],
    );
    t.line(
        On::Look(STORE),
        "GetIndex",
        401,
        "Unauthorized",
        "denied by sts or ram, action: log:GetIndex, resource: acs:log:cn-hangzhou:1234567890123456:project/ai-audit/logstore/ai-logs",
        blind("Denied"),
        &["log:GetIndex", "project/ai-audit/logstore/ai-logs", "Grant it to"],
    );
}

/// sls-api 3, on writes.
fn log_service_writes(t: &mut Table) {
    let (make_project, make_store) = (On::Make(PROJECT), On::Make(STORE));
    t.line(
        make_project,
        "CreateProject",
        400,
        "ProjectAlreadyExist",
        "Project p already exist",
        stopped("NameTaken"),
        &[
            "another account",
            "another region",
            "Set spec.projectName to another name",
        ],
    );
    for (on, action) in [(make_project, "CreateProject"), (make_store, "CreateLogStore")] {
        t.line(
            on,
            action,
            400,
            "ProjectQuotaExceed",
            "Project Quota Exceed.",
            stopped("QuotaExceeded"),
            QUOTA,
        );
        t.line(
            on,
            action,
            403,
            "MetaOperationQpsLimitExceeded",
            "Qps limit for the meta operation is exceeded.",
            unmade("Throttled"),
            AGAIN,
        );
        t.line(
            on,
            action,
            400,
            "PostBodyInvalid",
            "The body is not valid json string.",
            stopped("InvalidSpec"),
            SPEC,
        );
        t.line(
            on,
            action,
            413,
            "PostBodyTooLarge",
            "Body size 99999999 must little than 10485760.",
            stopped("InvalidSpec"),
            SPEC,
        );
        t.line(
            on,
            action,
            500,
            "InternalServerError",
            "broken",
            unmade("Transient"),
            AGAIN,
        );
    }
    t.line(
        make_project,
        "CreateProject",
        400,
        "ParameterInvalid",
        "Invalid project description: 'x'",
        stopped("InvalidSpec"),
        &["Invalid project description", "Correct the spec"],
    );
    t.line(
        make_store,
        "CreateLogStore",
        400,
        "LogStoreInfoInvalid",
        "ttl value is out of range",
        stopped("InvalidSpec"),
        &["ttl value is out of range", "Correct the spec"],
    );
    t.line(
        make_store,
        "CreateLogStore",
        400,
        "LogStoreAlreadyExist",
        "logstore x already exists",
        vec![("Ready", "False", "AwaitingVisibility")],
        &["exists and is not shown"],
    );
    t.line(
        make_store,
        "CreateIndex",
        400,
        "IndexInfoInvalid",
        "required fields line/keys are lacking or of error format.",
        stopped("InvalidSpec"),
        SPEC,
    );
    t.line(
        make_store,
        "CreateIndex",
        400,
        "IndexAlreadyExist",
        "Logstore index is already created.",
        vec![("Ready", "False", "AwaitingVisibility")],
        &["exists and is not shown"],
    );
    t.line(
        make_store,
        "CreateIndex",
        404,
        "LogStoreNotExist",
        "logstore x does not exist",
        vec![("Ready", "False", "AwaitingVisibility")],
        &["{name}"],
    );
    t.line(
        make_store,
        "CreateLogStore",
        404,
        "ProjectNotExist",
        "The Project does not exist : ai-audit",
        vec![("Ready", "False", "AwaitingVisibility")],
        &["ai-audit"],
    );
    t.line(
        On::Change,
        "UpdateProject",
        400,
        "ParameterInvalid",
        "Invalid project description: 'x'",
        stopped("InvalidSpec"),
        &["Invalid project description", "Correct the spec"],
    );
    t.line(
        On::Change,
        "UpdateProject",
        401,
        "Unauthorized",
        "denied by sts or ram, action: log:UpdateProject, resource: acs:log:cn-hangzhou:1234567890123456:project/ai-audit",
        stopped("Denied"),
        &["log:UpdateProject", "project/ai-audit", "Grant it to"],
    );
    for (code, message) in [
        ("LogStoreInfoInvalid", "ttl value is out of range"),
        ("NotSupported", "mode change is not supported"),
    ] {
        t.line(
            On::Resize,
            "UpdateLogStore",
            400,
            code,
            message,
            stopped("InvalidSpec"),
            SPEC,
        );
    }
    t.line(
        On::Resize,
        "UpdateLogStore",
        403,
        "WriteQuotaExceed",
        "Project write quota exceed: qps: 1",
        unmade("Throttled"),
        AGAIN,
    );
}

/// actiontrail-ram-sts-api 2.2: what the gateway answers before any product.
fn gateway(t: &mut Table) {
    let look = |t: &mut Table, status, code, says, words| {
        t.line(
            On::Look(TRAIL),
            "GetTrailStatus",
            status,
            code,
            "some words",
            says,
            words,
        );
    };
    look(t, 400, "InvalidTimeStamp.Expired", passing("ClockSkew"), CLOCK);
    look(t, 400, "SignatureNonceUsed", passing("Transient"), AGAIN);
    for (status, code) in [
        (400, "SignatureDoesNotMatch"),
        (403, "SignatureDoesNotMatch"),
        (404, "InvalidAccessKeyId.NotFound"),
        (400, "InvalidAccessKeyId.NotFound"),
        (400, "InvalidAccessKeyId.Inactive"),
        (403, "InvalidAccessKeyId.Inactive"),
        (400, "InvalidSecurityToken.Malformed"),
        (400, "InvalidSecurityToken.MismatchWithAccessKey"),
        (400, "MissingSecurityToken"),
        (400, "IncompleteSignature"),
    ] {
        look(t, status, code, blind("CredentialsInvalid"), KEYS);
    }
    for status in [400, 403] {
        look(t, status, "InvalidSecurityToken.Expired", expired(), EXPIRED);
    }
    for (status, code) in [
        (400, "Throttling"),
        (400, "Throttling.User"),
        (429, "Throttling.User"),
        (503, "Throttling.User"),
        (400, "Throttling.Api"),
    ] {
        look(t, status, code, passing("Throttled"), AGAIN);
    }
    for code in ["Forbidden.RAM", "NoPermission"] {
        look(
            t,
            403,
            code,
            blind("Denied"),
            &[
                "actiontrail:GetTrailStatus",
                "trail/ram-access",
                "Grant it to acs:ram::{account}:user/ramtrail-operator",
            ],
        );
    }
    for (status, code) in [
        (500, "InternalError"),
        (500, "InternalFailure"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (404, "InvalidApi.NotFound"),
        (404, "InvalidProduct.NotFound"),
        (404, "InvalidAction"),
        (400, "UnsupportedHTTPMethod"),
        (403, "UnsupportedHTTPMethod"),
        (400, "MissingName"),
        (400, "InvalidSignatureMethod"),
        (400, "InvalidTimeStamp.Format"),
    ] {
        look(t, status, code, passing("Transient"), AGAIN);
    }
}

/// actiontrail-ram-sts-api 2.3, on the calls that the operator makes.
fn action_trail(t: &mut Table) {
    let make = On::Make(TRAIL);
    for (code, message) in [
        ("InvalidTrailNameException", "the name is invalid"),
        ("InvalidDeliveryConfigurationException", "no destination"),
        ("InvalidParameterValue", "a value is wrong"),
        ("InvalidParameterCombination", "two values do not go together"),
        ("InvalidQueryParameter", "a value is wrong"),
        ("InvalidPrefixException", "the prefix is wrong"),
        ("RepeatOssBucket", "the bucket is in use"),
        ("TrailNotValid", "the trail is not valid"),
        ("NotAllowCreateOrganizationTrail", "not the management account"),
    ] {
        t.line(
            make,
            "CreateTrail",
            400,
            code,
            message,
            stopped("InvalidSpec"),
            SPEC,
        );
    }
    t.line(
        make,
        "CreateTrail",
        403,
        "MaximumNumberOfTrailsExceededException",
        "The maximum number of trails of this region is 5.",
        stopped("QuotaExceeded"),
        QUOTA,
    );
    t.line(
        make,
        "CreateTrail",
        400,
        "TrailAlreadyExistsException",
        "The trail exists.",
        vec![("Ready", "False", "AwaitingVisibility")],
        &["{name}"],
    );
    for (status, code) in [
        (400, "SlsProjectDoesNotExistException"),
        (404, "SlsLogStoreDoesNotExistException"),
    ] {
        t.line(
            make,
            "CreateTrail",
            status,
            code,
            "The project does not exist.",
            vec![("Ready", "False", "AwaitingVisibility")],
            AGAIN,
        );
    }
    for (status, code) in [
        (400, "CreateLogStoreError"),
        (400, "LogServiceException"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
    ] {
        t.line(
            make,
            "CreateTrail",
            status,
            code,
            "some words",
            unmade("Transient"),
            AGAIN,
        );
    }
    for code in [
        "InsufficientSlsPolicyException",
        "NeedSlsRamAuthorize",
        "NoPermission",
    ] {
        t.line(
            make,
            "CreateTrail",
            403,
            code,
            "the role may not write",
            stopped("Denied"),
            &["Cannot create trail {name}"],
        );
    }
    t.line(
        make,
        "CreateTrail",
        403,
        "NeedServiceLinkedRole",
        "acs:ram::1234567890123456:role/aliyunserviceroleforactiontrail is needed",
        vec![("Ready", "False", "AwaitingVisibility")],
        AGAIN,
    );
    t.line(
        On::Repair,
        "StartLogging",
        403,
        "NoPermission",
        "you may not",
        // Ready says what a person must do, Logging what is the matter.
        vec![
            ("Stalled", "True", "Denied"),
            ("Ready", "False", "Denied"),
            ("Synced", "False", "Denied"),
            ("Logging", "False", "LoggingOff"),
        ],
        &[],
    );
    t.line(
        On::Repair,
        "StartLogging",
        400,
        "Throttling.User",
        "too many",
        vec![
            ("Reconciling", "True", "Throttled"),
            ("Logging", "False", "LoggingOff"),
        ],
        &[],
    );
    t.line(
        On::Repair,
        "StartLogging",
        403,
        "InsufficientBucketPolicyException",
        "the bucket's policy",
        vec![("Stalled", "True", "Denied"), ("Logging", "False", "LoggingOff")],
        &[],
    );
}

/// actiontrail-ram-sts-api 2.2 and 2.4: whose keys these are, which is asked first.
fn identity(t: &mut Table) {
    let keys = |t: &mut Table, status, code, says, words| {
        t.line(
            On::Keys,
            "GetCallerIdentity",
            status,
            code,
            "some words",
            says,
            words,
        );
    };
    keys(t, 403, "SignatureDoesNotMatch", blind("CredentialsInvalid"), KEYS);
    keys(
        t,
        404,
        "InvalidAccessKeyId.NotFound",
        blind("CredentialsInvalid"),
        KEYS,
    );
    keys(t, 400, "InvalidSecurityToken.Expired", expired(), EXPIRED);
    keys(t, 400, "Throttling.User", passing("Throttled"), AGAIN);
    keys(t, 503, "ServiceUnavailable", passing("Transient"), AGAIN);
    keys(t, 400, "InvalidTimeStamp.Expired", passing("ClockSkew"), CLOCK);
    keys(
        t,
        403,
        "NoPermission",
        blind("Denied"),
        &["sts:GetCallerIdentity", "Grant it to"],
    );
}

/// RAM action, API action, and the kind that first needs it.
pub const DENIED: &[(&str, &str, &str)] = &[
    ("log:GetProject", "GetProject", PROJECT),
    ("log:CreateProject", "CreateProject", PROJECT),
    ("log:TagResources", "TagResources", PROJECT),
    ("log:ListTagResources", "ListTagResources", PROJECT),
    ("log:GetLogStore", "GetLogStore", STORE),
    ("log:CreateLogStore", "CreateLogStore", STORE),
    ("log:GetIndex", "GetIndex", STORE),
    ("log:CreateIndex", "CreateIndex", STORE),
    ("log:GetETL", "GetETL", TRAIL),
    ("log:CreateETL", "CreateETL", TRAIL),
    ("log:StartETL", "StartETL", TRAIL),
    ("actiontrail:DescribeTrails", "DescribeTrails", TRAIL),
    ("actiontrail:GetTrailStatus", "GetTrailStatus", TRAIL),
    ("actiontrail:CreateTrail", "CreateTrail", TRAIL),
    ("actiontrail:StartLogging", "StartLogging", TRAIL),
    ("ram:CreateServiceLinkedRole", "CreateServiceLinkedRole", TRAIL),
];
