//! STS 2015-04-01: who am I, and sessions of roles.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::clock::iso_seconds;
use crate::identity::{Caller, Principal};
use crate::ids::Ids;
use crate::ram::policy::{ConditionFacts, Document, DocumentKind};
use crate::ram::{self, Key, KeyOwner};
use crate::rpc::{self, Action, Params, RpcCall, any_resource};
use crate::wire::{ApiError, Reply};

/// Operations. AssumeRole is marked a read here: it changes no managed setting. What its event says is an
/// assumption of its own.
pub const ACTIONS: &[Action] = &[
    Action {
        name: "GetCallerIdentity",
        write: false,
        prefix: "sts",
        resources: any_resource,
        event_resource: None,
    },
    Action {
        name: "AssumeRole",
        write: false,
        prefix: "sts",
        resources: role_resource,
        event_resource: Some(("ACS::RAM::Role", "RoleArn")),
    },
    Action {
        name: "AssumeRoleWithOIDC",
        write: false,
        prefix: "sts",
        resources: role_resource,
        event_resource: Some(("ACS::RAM::Role", "RoleArn")),
    },
];

fn role_resource(params: &Params, _: &str) -> Vec<String> {
    let arn = params.get("RoleArn").unwrap_or_default();
    // The policy form carries a region part: acs:ram:*:<uid>:role/<name>.
    match arn.strip_prefix("acs:ram::") {
        Some(rest) => vec![format!("acs:ram:*:{rest}")],
        None => vec!["*".to_owned()],
    }
}

/// Runs an operation.
pub fn execute(
    call: &RpcCall,
    ram: &mut ram::State,
    ids: &mut Ids,
    caller: &Caller,
    request_id: &str,
    now: Timestamp,
) -> Result<Reply, ApiError> {
    match call.operation.name {
        "GetCallerIdentity" => Ok(caller_identity(caller, request_id)),
        "AssumeRole" => assume_role(&call.params, ram, ids, caller, request_id, now),
        _ => Err(ApiError::new(
            400,
            "UnsupportedOperation",
            "AssumeRoleWithOIDC is not emulated yet: no identity provider is known here.",
        )),
    }
}

fn caller_identity(caller: &Caller, request_id: &str) -> Reply {
    let mut answer = json!({
        "AccountId": caller.account,
        "Arn": caller.arn(),
        "PrincipalId": caller.principal_id(),
    });
    let (kind, extra) = match &caller.principal {
        Principal::Root => ("Account", Some(("UserId", caller.account.clone()))),
        Principal::User { id, .. } => ("RAMUser", Some(("UserId", id.clone()))),
        Principal::AssumedRole { role_id, .. } => ("AssumedRoleUser", Some(("RoleId", role_id.clone()))),
        Principal::System { .. } => ("Service", None),
    };
    answer["IdentityType"] = json!(kind);
    if let Some((name, value)) = extra {
        answer[name] = json!(value);
    }
    rpc::answer(request_id, answer)
}

/// What AssumeRole asks for, checked.
struct Wanted {
    arn: String,
    session: String,
    policy: Option<String>,
    facts: ConditionFacts,
}

fn wanted(params: &Params) -> Result<Wanted, ApiError> {
    let arn = params.need("RoleArn")?.to_owned();
    let session = params.need("RoleSessionName")?.to_owned();
    if !(2..=64).contains(&session.len())
        || !session
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".@_-".contains(&byte))
    {
        let message = "RoleSessionName must be 2 to 64 of letters, digits and . @ - _.";
        return Err(invalid("RoleSessionName", message));
    }
    if !arn.starts_with("acs:ram::") || !arn.contains(":role/") {
        return Err(invalid("RoleArn", "RoleArn has a wrong form."));
    }
    let mut facts = ConditionFacts::new();
    if let Some(external) = params.get("ExternalId") {
        if !(2..=1224).contains(&external.len()) {
            return Err(invalid("ExternalId", "ExternalId must be 2 to 1224 characters."));
        }
        facts.insert("sts:ExternalId".to_owned(), external.to_owned());
    }
    let policy = params.get("Policy").map(str::to_owned);
    if let Some(policy) = &policy {
        if policy.len() > 2048 {
            let message = "Policy must not be longer than 2048 characters.";
            return Err(invalid("PolicySize", message));
        }
        Document::parse(policy, DocumentKind::Permission)
            .map_err(|reason| invalid("PolicyGrammar", &format!("Policy is not valid: {reason}.")))?;
    }
    Ok(Wanted {
        arn,
        session,
        policy,
        facts,
    })
}

fn invalid(field: &str, message: &str) -> ApiError {
    ApiError::new(400, format!("InvalidParameter.{field}"), message)
}

fn assume_role(
    params: &Params,
    ram: &mut ram::State,
    ids: &mut Ids,
    caller: &Caller,
    request_id: &str,
    now: Timestamp,
) -> Result<Reply, ApiError> {
    let Wanted {
        arn,
        session,
        policy,
        facts,
    } = wanted(params)?;
    let (account, role) = ram
        .role_by_arn(&arn)
        .ok_or_else(|| ApiError::new(404, "EntityNotExist.Role", "The specified role does not exist."))?;
    let (account, role) = (account.to_owned(), role.clone());
    let duration = params.number("DurationSeconds")?.unwrap_or(3600);
    if duration < 900 || duration > role.max_session {
        let message = format!("DurationSeconds must be 900 to {}.", role.max_session);
        return Err(invalid("DurationSeconds", &message));
    }
    let trusted = Document::parse(&role.trust, DocumentKind::Trust)
        .is_ok_and(|trust| trust.trusts("sts:AssumeRole", "RAM", &ram::State::trust_names(caller), &facts));
    if caller.principal == Principal::Root || !trusted {
        return Err(ApiError::new(
            403,
            "NoPermission",
            "You are not authorized to do this action. You should be authorized by RAM.",
        ));
    }
    let expires = now + SignedDuration::from_secs(i64::try_from(duration).unwrap_or(3600));
    let (key_id, secret, token) = (ids.session_key(), ids.secret(), ids.token());
    let user = json!({
        "Arn": format!("acs:ram::{account}:role/{}/{session}", role.name.to_lowercase()),
        "AssumedRoleId": format!("{}:{session}", role.id),
    });
    let answer = |secret: &str, token: &str| {
        json!({
            "AssumedRoleUser": user,
            "Credentials": {
                "AccessKeyId": key_id,
                "AccessKeySecret": secret,
                "SecurityToken": token,
                "Expiration": iso_seconds(expires),
            },
        })
    };
    let reply = rpc::answer(request_id, answer(&secret, &token)).event(answer("***", "***"));
    let owner = KeyOwner::Session {
        role: role.name,
        role_id: role.id,
        session,
        token,
        expires,
        policy,
    };
    let key = Key {
        secret,
        account,
        owner,
        active: true,
        created: now,
    };
    ram.put_key(&key_id, key);
    Ok(reply)
}
