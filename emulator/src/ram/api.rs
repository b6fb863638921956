//! Operations of RAM 2015-05-01 and of ResourceManager 2020-03-31.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::policy::{Document, DocumentKind, SYSTEM_POLICIES, system_policy};
use super::{
    Account, Attachments, Group, Key, KeyOwner, LINKED_ROLES, Policy, PolicyKind, PolicyRef, PolicyVersion,
    Role, State, User,
};
use crate::assumptions::{Assumptions, RamVisible};
use crate::clock::iso_seconds;
use crate::identity::{Caller, Principal};
use crate::ids::Ids;
use crate::quota::{self, Quota, Quotas};
use crate::rpc::{Action, Params, Resources, RpcCall};
use crate::wire::ApiError;

// ---- Action tables -----------------------------------------------------------------------------------

fn arn(kind: &str, name: &str) -> String {
    format!("acs:ram:*:{{account}}:{kind}/{name}")
}

fn named(params: &Params, kind: &str, param: &str) -> String {
    arn(kind, params.get(param).unwrap_or("*"))
}

fn policy_arn(params: &Params) -> String {
    let name = params.get("PolicyName").unwrap_or("*");
    if params.get("PolicyType") == Some("System") {
        format!("acs:ram:*:system:policy/{name}")
    } else {
        arn("policy", name)
    }
}

fn all_users(_: &Params, _: &str) -> Vec<String> {
    vec![arn("user", "*")]
}
fn all_groups(_: &Params, _: &str) -> Vec<String> {
    vec![arn("group", "*")]
}
fn all_policies(_: &Params, _: &str) -> Vec<String> {
    vec![arn("policy", "*")]
}
fn all_roles(_: &Params, _: &str) -> Vec<String> {
    vec![arn("role", "*")]
}
fn user(params: &Params, _: &str) -> Vec<String> {
    vec![named(params, "user", "UserName")]
}
fn group(params: &Params, _: &str) -> Vec<String> {
    vec![named(params, "group", "GroupName")]
}
fn policy(params: &Params, _: &str) -> Vec<String> {
    vec![policy_arn(params)]
}
fn role(params: &Params, _: &str) -> Vec<String> {
    vec![named(params, "role", "RoleName")]
}
fn user_group(params: &Params, _: &str) -> Vec<String> {
    vec![
        named(params, "user", "UserName"),
        named(params, "group", "GroupName"),
    ]
}
fn user_policy(params: &Params, _: &str) -> Vec<String> {
    vec![named(params, "user", "UserName"), policy_arn(params)]
}
fn group_policy(params: &Params, _: &str) -> Vec<String> {
    vec![named(params, "group", "GroupName"), policy_arn(params)]
}
fn role_policy(params: &Params, _: &str) -> Vec<String> {
    vec![named(params, "role", "RoleName"), policy_arn(params)]
}

type EventResource = Option<(&'static str, &'static str)>;

const USER: EventResource = Some(("ACS::RAM::User", "UserName"));
const GROUP: EventResource = Some(("ACS::RAM::Group", "GroupName"));
const POLICY: EventResource = Some(("ACS::RAM::Policy", "PolicyName"));
const ROLE: EventResource = Some(("ACS::RAM::Role", "RoleName"));
const ACCESS_KEY: EventResource = Some(("ACS::RAM::AccessKey", "UserAccessKeyId"));

const fn read(name: &'static str, resources: Resources, event_resource: EventResource) -> Action {
    Action {
        name,
        write: false,
        prefix: "ram",
        resources,
        event_resource,
    }
}

const fn write(name: &'static str, resources: Resources, event_resource: EventResource) -> Action {
    Action {
        name,
        write: true,
        prefix: "ram",
        resources,
        event_resource,
    }
}

/// Operations of RAM, with the emulator's own judgement of what is a write.
pub const ACTIONS: &[Action] = &[
    write("CreateUser", all_users, USER),
    read("GetUser", user, USER),
    write("UpdateUser", user, USER),
    write("DeleteUser", user, USER),
    read("ListUsers", all_users, None),
    write("CreateAccessKey", user, USER),
    write("UpdateAccessKey", user, ACCESS_KEY),
    write("DeleteAccessKey", user, ACCESS_KEY),
    read("ListAccessKeys", user, USER),
    write("CreateGroup", all_groups, GROUP),
    read("GetGroup", group, GROUP),
    write("UpdateGroup", group, GROUP),
    write("DeleteGroup", group, GROUP),
    read("ListGroups", all_groups, None),
    write("AddUserToGroup", user_group, GROUP),
    write("RemoveUserFromGroup", user_group, GROUP),
    read("ListUsersForGroup", group, GROUP),
    read("ListGroupsForUser", user, USER),
    write("CreatePolicy", all_policies, POLICY),
    read("GetPolicy", policy, POLICY),
    write("DeletePolicy", policy, POLICY),
    write("UpdatePolicyDescription", policy, POLICY),
    read("ListPolicies", all_policies, None),
    write("CreatePolicyVersion", policy, POLICY),
    read("GetPolicyVersion", policy, POLICY),
    write("DeletePolicyVersion", policy, POLICY),
    read("ListPolicyVersions", policy, POLICY),
    write("SetDefaultPolicyVersion", policy, POLICY),
    read("ListEntitiesForPolicy", policy, POLICY),
    write("AttachPolicyToUser", user_policy, POLICY),
    write("DetachPolicyFromUser", user_policy, POLICY),
    read("ListPoliciesForUser", user, USER),
    write("AttachPolicyToGroup", group_policy, POLICY),
    write("DetachPolicyFromGroup", group_policy, POLICY),
    read("ListPoliciesForGroup", group, GROUP),
    write("AttachPolicyToRole", role_policy, POLICY),
    write("DetachPolicyFromRole", role_policy, POLICY),
    read("ListPoliciesForRole", role, ROLE),
    write("CreateRole", all_roles, ROLE),
    read("GetRole", role, ROLE),
    write("UpdateRole", role, ROLE),
    write("DeleteRole", role, ROLE),
    read("ListRoles", all_roles, None),
    write("CreateServiceLinkedRole", crate::rpc::any_resource, None),
];

/// Operations of ResourceManager.
pub const RESOURCE_MANAGER_ACTIONS: &[Action] = &[
    write("CreateServiceLinkedRole", crate::rpc::any_resource, None),
    read("GetRole", role, ROLE),
];

// ---- Running -----------------------------------------------------------------------------------------

/// What an operation works with.
#[derive(Debug)]
pub struct Context<'a> {
    /// RAM.
    pub state: &'a mut State,
    /// Source of ids.
    pub ids: &'a mut Ids,
    /// Limits.
    pub quotas: &'a Quotas,
    /// Chosen behaviours.
    pub assumptions: &'a Assumptions,
    /// Caller.
    pub caller: &'a Caller,
    /// Time.
    pub now: Timestamp,
}

type Answered = Result<Value, ApiError>;

/// Runs an operation; the answer lacks only its RequestId.
pub fn execute(call: &RpcCall, cx: &mut Context<'_>) -> Answered {
    let params = &call.params;
    match call.operation.name {
        "CreateUser" => create_user(params, cx),
        "GetUser" => Ok(json!({"User": user_value(find_user(params, cx)?, true)})),
        "UpdateUser" => update_user(params, cx),
        "DeleteUser" => delete_user(params, cx),
        "ListUsers" => list_users(params, cx),
        "CreateAccessKey" => create_access_key(params, cx),
        "UpdateAccessKey" => update_access_key(params, cx),
        "DeleteAccessKey" => delete_access_key(params, cx),
        "ListAccessKeys" => list_access_keys(params, cx),
        "CreateGroup" => create_group(params, cx),
        "GetGroup" => Ok(json!({"Group": group_value(find_group(params, cx)?)})),
        "UpdateGroup" => update_group(params, cx),
        "DeleteGroup" => delete_group(params, cx),
        "ListGroups" => list_groups(params, cx),
        "AddUserToGroup" => add_member(params, cx),
        "RemoveUserFromGroup" => remove_member(params, cx),
        "ListUsersForGroup" => list_members(params, cx),
        "ListGroupsForUser" => list_groups_of_user(params, cx),
        "CreatePolicy" => create_policy(params, cx),
        "GetPolicy" => get_policy(params, cx),
        "DeletePolicy" => delete_policy(params, cx),
        "UpdatePolicyDescription" => update_policy_description(params, cx),
        "ListPolicies" => list_policies(params, cx),
        "CreatePolicyVersion" => create_policy_version(params, cx),
        "GetPolicyVersion" => get_policy_version(params, cx),
        "DeletePolicyVersion" => delete_policy_version(params, cx),
        "ListPolicyVersions" => list_policy_versions(params, cx),
        "SetDefaultPolicyVersion" => set_default_version(params, cx),
        "ListEntitiesForPolicy" => list_entities(params, cx),
        "AttachPolicyToUser" => attach(params, cx, Holder::User, true),
        "DetachPolicyFromUser" => attach(params, cx, Holder::User, false),
        "ListPoliciesForUser" => list_attached(params, cx, Holder::User),
        "AttachPolicyToGroup" => attach(params, cx, Holder::Group, true),
        "DetachPolicyFromGroup" => attach(params, cx, Holder::Group, false),
        "ListPoliciesForGroup" => list_attached(params, cx, Holder::Group),
        "AttachPolicyToRole" => attach(params, cx, Holder::Role, true),
        "DetachPolicyFromRole" => attach(params, cx, Holder::Role, false),
        "ListPoliciesForRole" => list_attached(params, cx, Holder::Role),
        "CreateRole" => create_role(params, cx),
        "GetRole" => get_role(params, cx),
        "UpdateRole" => update_role(params, cx),
        "DeleteRole" => delete_role(params, cx),
        "ListRoles" => list_roles(params, cx),
        "CreateServiceLinkedRole" => create_linked_role(params, cx),
        other => Err(ApiError::new(
            404,
            "InvalidApi.NotFound",
            format!("{other} is not emulated."),
        )),
    }
}

/// What an event may show of an answer: the secret of a key is masked.
pub fn event_response(answer: &Value) -> Value {
    let mut shown = answer.clone();
    if let Some(secret) = shown.pointer_mut("/AccessKey/AccessKeySecret") {
        *secret = json!("***");
    }
    shown
}

fn not_exist(kind: &str, name: &str) -> ApiError {
    ApiError::new(
        404,
        format!("EntityNotExist.{kind}"),
        format!("The {kind} {name} does not exist."),
    )
}

fn exists(kind: &str, name: &str) -> ApiError {
    ApiError::new(
        409,
        format!("EntityAlreadyExists.{kind}"),
        format!("The {kind} {name} already exists."),
    )
}

fn conflict(kind: &str, message: &str) -> ApiError {
    ApiError::new(409, format!("DeleteConflict.{kind}"), message)
}

fn limit(kind: &str, quotas: &Quotas, quota: Quota, present: usize) -> Result<(), ApiError> {
    let most = quotas.get(quota);
    if (present as u64) < most {
        return Ok(());
    }
    Err(ApiError::new(
        409,
        format!("LimitExceeded.{kind}"),
        format!("There may be {most} at most."),
    ))
}

/// A name of 1 to `most` letters, digits and the characters of `more`.
fn name<'a>(params: &'a Params, field: &str, most: usize, more: &[u8]) -> Result<&'a str, ApiError> {
    let name = params.need(field)?;
    if name.chars().count() > most {
        return Err(invalid(
            field,
            "Length",
            &format!("{field} must be 1 to {most} characters."),
        ));
    }
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    {
        return Err(invalid(
            field,
            "InvalidChars",
            &format!("{field} has characters that are not allowed."),
        ));
    }
    Ok(name)
}

fn invalid(field: &str, what: &str, message: &str) -> ApiError {
    ApiError::new(400, format!("InvalidParameter.{field}.{what}"), message)
}

fn text(params: &Params, field: &str, most: usize) -> Result<Option<String>, ApiError> {
    match params.raw(field) {
        Some(text) if text.chars().count() > most => Err(invalid(
            field,
            "Length",
            &format!("{field} must have at most {most} characters."),
        )),
        other => Ok(other.map(str::to_owned)),
    }
}

/// One page of a list: items after the marker, wrapped, with IsTruncated and Marker.
fn page<T>(
    params: &Params,
    items: Vec<(String, T)>,
    most: usize,
    wrap: (&str, &str),
    show: impl Fn(T) -> Value,
) -> Answered {
    let size = match params.number("MaxItems")? {
        None => 100,
        Some(size) if (1..=most as u64).contains(&size) => usize::try_from(size).unwrap_or(most),
        Some(_) => {
            return Err(ApiError::new(
                400,
                "InvalidParameter.MaxItems",
                format!("MaxItems must be 1 to {most}."),
            ));
        }
    };
    let after = match params.get("Marker") {
        None => None,
        Some(marker) => Some(
            hex::decode(marker)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| ApiError::new(400, "InvalidParameter.Marker", "The Marker is not valid."))?,
        ),
    };
    let rest: Vec<(String, T)> = items
        .into_iter()
        .filter(|(key, _)| after.as_ref().is_none_or(|after| key > after))
        .collect();
    let truncated = rest.len() > size;
    let marker = truncated.then(|| hex::encode(&rest[size - 1].0));
    let shown: Vec<Value> = rest.into_iter().take(size).map(|(_, item)| show(item)).collect();
    let mut answer = json!({(wrap.0): {(wrap.1): shown}, "IsTruncated": truncated});
    if let Some(marker) = marker {
        answer["Marker"] = json!(marker);
    }
    Ok(answer)
}

fn account<'a>(cx: &'a mut Context<'_>) -> &'a mut Account {
    cx.state.account(&cx.caller.account)
}

/// Whether a thing just made is seen by calls that connect it with others.
fn settled(created: Timestamp, cx: &Context<'_>) -> bool {
    match cx.assumptions.get::<RamVisible>() {
        RamVisible::AtOnce => true,
        RamVisible::AfterOneSecond => cx.now.duration_since(created) >= SignedDuration::from_secs(1),
    }
}

// ---- Users and keys ----------------------------------------------------------------------------------

fn find_user<'a>(params: &Params, cx: &'a mut Context<'_>) -> Result<&'a mut User, ApiError> {
    let name = params.need("UserName")?;
    account(cx)
        .users
        .get_mut(name)
        .ok_or_else(|| not_exist("User", name))
}

fn user_value(user: &User, with_update: bool) -> Value {
    let mut value = json!({
        "UserId": user.id,
        "UserName": user.name,
        "DisplayName": user.display_name,
        "Comments": user.comments,
        "MobilePhone": user.mobile_phone,
        "Email": user.email,
        "CreateDate": iso_seconds(user.created),
    });
    if with_update {
        value["UpdateDate"] = json!(iso_seconds(user.updated));
    }
    value
}

fn create_user(params: &Params, cx: &mut Context<'_>) -> Answered {
    let name = name(params, "UserName", 64, b".-_@")?.to_owned();
    let comments = text(params, "Comments", 128)?.unwrap_or_default();
    let display_name = text(params, "DisplayName", 128)?.unwrap_or_else(|| name.clone());
    if account(cx).users.contains_key(&name) {
        return Err(exists("User", &name));
    }
    let count = account(cx).users.len();
    limit("User", cx.quotas, quota::RAM_USERS, count)?;
    let (now, owner) = (cx.now, cx.caller.account.clone());
    cx.state.ensure_user(&owner, &name, now);
    let user = account(cx)
        .users
        .get_mut(&name)
        .ok_or_else(|| not_exist("User", &name))?;
    user.display_name = display_name;
    user.comments = comments;
    params
        .get("MobilePhone")
        .unwrap_or_default()
        .clone_into(&mut user.mobile_phone);
    params
        .get("Email")
        .unwrap_or_default()
        .clone_into(&mut user.email);
    Ok(json!({"User": user_value(user, false)}))
}

fn update_user(params: &Params, cx: &mut Context<'_>) -> Answered {
    let old = find_user(params, cx)?.name.clone();
    let new = match params.get("NewUserName") {
        None => old.clone(),
        Some(_) => name(params, "NewUserName", 64, b".-_@")?.to_owned(),
    };
    let comments = text(params, "NewComments", 128)?;
    let display_name = text(params, "NewDisplayName", 128)?;
    if new != old && account(cx).users.contains_key(&new) {
        return Err(exists("User", &new));
    }
    let now = cx.now;
    let owner = cx.caller.account.clone();
    let account = account(cx);
    let mut user = account
        .users
        .remove(&old)
        .ok_or_else(|| not_exist("User", &old))?;
    user.name.clone_from(&new);
    user.updated = now;
    for (field, value) in [
        (&mut user.comments, comments),
        (&mut user.display_name, display_name),
        (
            &mut user.mobile_phone,
            params.raw("NewMobilePhone").map(str::to_owned),
        ),
        (&mut user.email, params.raw("NewEmail").map(str::to_owned)),
    ] {
        if let Some(value) = value {
            *field = value;
        }
    }
    let shown = user_value(&user, true);
    account.users.insert(new.clone(), user);
    for group in account.groups.values_mut() {
        if let Some(joined) = group.members.remove(&old) {
            group.members.insert(new.clone(), joined);
        }
    }
    cx.state.rename_key_owner(&owner, &old, &new);
    Ok(json!({"User": shown}))
}

fn delete_user(params: &Params, cx: &mut Context<'_>) -> Answered {
    let user = find_user(params, cx)?;
    let (name, attached) = (user.name.clone(), !user.attached.is_empty());
    if !cx.state.user_keys(&cx.caller.account, &name).is_empty() {
        return Err(conflict("User.AccessKey", "The user has access keys."));
    }
    if account(cx)
        .groups
        .values()
        .any(|group| group.members.contains_key(&name))
    {
        return Err(conflict("User.Group", "The user is a member of groups."));
    }
    if attached {
        return Err(conflict("User.Policy", "Policies are attached to the user."));
    }
    account(cx).users.remove(&name);
    Ok(json!({}))
}

fn list_users(params: &Params, cx: &mut Context<'_>) -> Answered {
    let users: Vec<_> = account(cx)
        .users
        .iter()
        .map(|(name, user)| (name.clone(), user))
        .collect();
    page(params, users, 1000, ("Users", "User"), |user| {
        user_value(user, true)
    })
}

/// The user whose keys are meant: the named one, else the caller.
fn key_user(params: &Params, cx: &mut Context<'_>) -> Result<String, ApiError> {
    match (params.get("UserName"), &cx.caller.principal) {
        (Some(_), _) => Ok(find_user(params, cx)?.name.clone()),
        (None, Principal::User { name, .. }) => Ok(name.clone()),
        (None, _) => params.need("UserName").map(str::to_owned),
    }
}

fn create_access_key(params: &Params, cx: &mut Context<'_>) -> Answered {
    let user = key_user(params, cx)?;
    let owner = &cx.caller.account;
    limit(
        "User.AccessKey",
        cx.quotas,
        quota::RAM_ACCESS_KEYS,
        cx.state.user_keys(owner, &user).len(),
    )?;
    let (id, secret) = (cx.ids.access_key(), cx.ids.secret());
    let key = Key {
        secret: secret.clone(),
        account: owner.clone(),
        owner: KeyOwner::User(user),
        active: true,
        created: cx.now,
    };
    cx.state.put_key(&id, key);
    Ok(json!({"AccessKey": {
        "AccessKeyId": id,
        "AccessKeySecret": secret,
        "Status": "Active",
        "CreateDate": iso_seconds(cx.now),
    }}))
}

fn update_access_key(params: &Params, cx: &mut Context<'_>) -> Answered {
    let user = key_user(params, cx)?;
    let id = params.need("UserAccessKeyId")?;
    let active = match params.need("Status")? {
        "Active" => true,
        "Inactive" => false,
        _ => {
            return Err(ApiError::new(
                400,
                "InvalidParameter.Status",
                "Status must be Active or Inactive.",
            ));
        }
    };
    let key = cx
        .state
        .user_key_mut(&cx.caller.account, &user, id)
        .ok_or_else(|| not_exist("User.AccessKey", id))?;
    key.active = active;
    Ok(json!({}))
}

fn delete_access_key(params: &Params, cx: &mut Context<'_>) -> Answered {
    let user = key_user(params, cx)?;
    let id = params.need("UserAccessKeyId")?;
    cx.state
        .user_key_mut(&cx.caller.account, &user, id)
        .ok_or_else(|| not_exist("User.AccessKey", id))?;
    cx.state.remove_key(id);
    Ok(json!({}))
}

fn list_access_keys(params: &Params, cx: &mut Context<'_>) -> Answered {
    let user = key_user(params, cx)?;
    let keys: Vec<Value> = cx
        .state
        .user_keys(&cx.caller.account, &user)
        .into_iter()
        .map(|(id, key)| {
            json!({
                "AccessKeyId": id,
                "Status": if key.active { "Active" } else { "Inactive" },
                "CreateDate": iso_seconds(key.created),
            })
        })
        .collect();
    Ok(json!({"AccessKeys": {"AccessKey": keys}}))
}

// ---- Groups ------------------------------------------------------------------------------------------

fn find_group<'a>(params: &Params, cx: &'a mut Context<'_>) -> Result<&'a mut Group, ApiError> {
    let name = params.need("GroupName")?;
    account(cx)
        .groups
        .get_mut(name)
        .ok_or_else(|| not_exist("Group", name))
}

fn group_value(group: &Group) -> Value {
    json!({
        "GroupId": group.id,
        "GroupName": group.name,
        "Comments": group.comments,
        "CreateDate": iso_seconds(group.created),
        "UpdateDate": iso_seconds(group.updated),
    })
}

fn create_group(params: &Params, cx: &mut Context<'_>) -> Answered {
    let name = name(params, "GroupName", 64, b".-_")?.to_owned();
    let comments = text(params, "Comments", 128)?.unwrap_or_default();
    if account(cx).groups.contains_key(&name) {
        return Err(exists("Group", &name));
    }
    let count = account(cx).groups.len();
    limit("Group", cx.quotas, quota::RAM_GROUPS, count)?;
    let group = Group {
        id: format!("g-{:016}", cx.state.next_number()),
        name: name.clone(),
        comments,
        created: cx.now,
        updated: cx.now,
        members: BTreeMap::new(),
        attached: Attachments::new(),
    };
    let shown = group_value(&group);
    account(cx).groups.insert(name, group);
    Ok(json!({"Group": shown}))
}

fn update_group(params: &Params, cx: &mut Context<'_>) -> Answered {
    let old = find_group(params, cx)?.name.clone();
    let new = match params.get("NewGroupName") {
        None => old.clone(),
        Some(_) => name(params, "NewGroupName", 64, b".-_")?.to_owned(),
    };
    let comments = text(params, "NewComments", 128)?;
    if new != old && account(cx).groups.contains_key(&new) {
        return Err(exists("Group", &new));
    }
    let now = cx.now;
    let account = account(cx);
    let mut group = account
        .groups
        .remove(&old)
        .ok_or_else(|| not_exist("Group", &old))?;
    group.name.clone_from(&new);
    group.updated = now;
    if let Some(comments) = comments {
        group.comments = comments;
    }
    let shown = group_value(&group);
    account.groups.insert(new, group);
    Ok(json!({"Group": shown}))
}

fn delete_group(params: &Params, cx: &mut Context<'_>) -> Answered {
    let group = find_group(params, cx)?;
    if !group.members.is_empty() {
        return Err(conflict("Group.User", "The group has members."));
    }
    if !group.attached.is_empty() {
        return Err(conflict("Group.Policy", "Policies are attached to the group."));
    }
    let name = group.name.clone();
    account(cx).groups.remove(&name);
    Ok(json!({}))
}

fn list_groups(params: &Params, cx: &mut Context<'_>) -> Answered {
    let groups: Vec<_> = account(cx)
        .groups
        .iter()
        .map(|(name, group)| (name.clone(), group))
        .collect();
    page(params, groups, 100, ("Groups", "Group"), group_value)
}

fn add_member(params: &Params, cx: &mut Context<'_>) -> Answered {
    let user = find_user(params, cx)?;
    let (user, user_created) = (user.name.clone(), user.created);
    let group_created = find_group(params, cx)?.created;
    if !settled(user_created, cx) {
        return Err(not_exist("User", &user));
    }
    if !settled(group_created, cx) {
        return Err(not_exist("Group", params.need("GroupName")?));
    }
    if find_group(params, cx)?.members.contains_key(&user) {
        return Err(exists("User.Group", &user));
    }
    let count = account(cx)
        .groups
        .values()
        .filter(|group| group.members.contains_key(&user))
        .count();
    limit("User.Group", cx.quotas, quota::RAM_USER_GROUPS, count)?;
    let now = cx.now;
    find_group(params, cx)?.members.insert(user, now);
    Ok(json!({}))
}

fn remove_member(params: &Params, cx: &mut Context<'_>) -> Answered {
    let user = find_user(params, cx)?.name.clone();
    find_group(params, cx)?
        .members
        .remove(&user)
        .ok_or_else(|| not_exist("User.Group", &user))?;
    Ok(json!({}))
}

fn list_members(params: &Params, cx: &mut Context<'_>) -> Answered {
    let members = find_group(params, cx)?.members.clone();
    let account = account(cx);
    let members: Vec<_> = members
        .into_iter()
        .filter_map(|(name, joined)| account.users.get(&name).map(|user| (name, (user, joined))))
        .collect();
    page(
        params,
        members,
        1000,
        ("Users", "User"),
        |(user, joined)| json!({"UserName": user.name, "DisplayName": user.display_name, "JoinDate": iso_seconds(joined)}),
    )
}

fn list_groups_of_user(params: &Params, cx: &mut Context<'_>) -> Answered {
    let user = find_user(params, cx)?.name.clone();
    let groups: Vec<Value> = account(cx)
        .groups
        .values()
        .filter_map(|group| {
            let joined = group.members.get(&user)?;
            Some(json!({
                "GroupId": group.id,
                "GroupName": group.name,
                "Comments": group.comments,
                "JoinDate": iso_seconds(*joined),
            }))
        })
        .collect();
    Ok(json!({"Groups": {"Group": groups}}))
}

// ---- Policies ----------------------------------------------------------------------------------------

fn find_policy<'a>(params: &Params, cx: &'a mut Context<'_>) -> Result<&'a mut Policy, ApiError> {
    let name = params.need("PolicyName")?;
    account(cx)
        .policies
        .get_mut(name)
        .ok_or_else(|| not_exist("Policy", name))
}

fn policy_kind(params: &Params) -> Result<PolicyKind, ApiError> {
    match params.need("PolicyType")? {
        "System" => Ok(PolicyKind::System),
        "Custom" => Ok(PolicyKind::Custom),
        _ => Err(ApiError::new(
            400,
            "InvalidParameter.PolicyType",
            "PolicyType must be System or Custom.",
        )),
    }
}

/// The policy that type and name mean; it exists.
fn policy_ref(params: &Params, cx: &mut Context<'_>) -> Result<PolicyRef, ApiError> {
    let kind = policy_kind(params)?;
    let name = params.need("PolicyName")?.to_owned();
    let found = PolicyRef { kind, name };
    if cx.state.document(&cx.caller.account, &found).is_none() {
        return Err(not_exist("Policy", &found.name));
    }
    Ok(found)
}

fn document(params: &Params, field: &str, kind: DocumentKind) -> Result<String, ApiError> {
    let text = params.need(field)?;
    if text.chars().count() > 6144 {
        return Err(invalid(
            field,
            "Length",
            &format!("{field} must have at most 6144 characters."),
        ));
    }
    Document::parse(text, kind).map_err(|reason| {
        ApiError::new(
            400,
            "MalformedPolicyDocument",
            format!("The policy document is not valid: {reason}."),
        )
    })?;
    Ok(text.to_owned())
}

fn version_value(policy: &Policy, version: &PolicyVersion, with_document: bool) -> Value {
    let mut value = json!({
        "VersionId": format!("v{}", version.number),
        "IsDefaultVersion": version.number == policy.default_version,
        "CreateDate": iso_seconds(version.created),
    });
    if with_document {
        value["PolicyDocument"] = json!(version.document);
    }
    value
}

fn policy_value(policy: &Policy) -> Value {
    json!({
        "PolicyName": policy.name,
        "PolicyType": "Custom",
        "Description": policy.description,
        "DefaultVersion": format!("v{}", policy.default_version),
        "CreateDate": iso_seconds(policy.created),
        "UpdateDate": iso_seconds(policy.updated),
    })
}

/// Since when the vendor's policies exist.
const SYSTEM_DATE: &str = "2015-09-07T00:00:00Z";

fn system_value(name: &str) -> Value {
    json!({
        "PolicyName": name,
        "PolicyType": "System",
        "Description": "",
        "DefaultVersion": "v1",
        "CreateDate": SYSTEM_DATE,
        "UpdateDate": SYSTEM_DATE,
    })
}

fn create_policy(params: &Params, cx: &mut Context<'_>) -> Answered {
    let name = name(params, "PolicyName", 128, b"-")?.to_owned();
    let document = document(params, "PolicyDocument", DocumentKind::Permission)?;
    let description = text(params, "Description", 1024)?.unwrap_or_default();
    if account(cx)
        .policies
        .keys()
        .any(|known| known.eq_ignore_ascii_case(&name))
    {
        return Err(exists("Policy", &name));
    }
    let count = account(cx).policies.len();
    limit("Policy", cx.quotas, quota::RAM_POLICIES, count)?;
    let (now, owner) = (cx.now, cx.caller.account.clone());
    cx.state.put_policy(&owner, &name, &document, now);
    let policy = find_policy(params, cx)?;
    policy.description = description;
    Ok(json!({"Policy": policy_value(policy)}))
}

fn attachment_count(account: &Account, policy: &PolicyRef) -> usize {
    account
        .users
        .values()
        .filter(|user| user.attached.contains_key(policy))
        .count()
        + account
            .groups
            .values()
            .filter(|group| group.attached.contains_key(policy))
            .count()
        + account
            .roles
            .values()
            .filter(|role| role.attached.contains_key(policy))
            .count()
}

fn get_policy(params: &Params, cx: &mut Context<'_>) -> Answered {
    let found = policy_ref(params, cx)?;
    let count = attachment_count(account(cx), &found);
    let (mut policy, version) = match found.kind {
        PolicyKind::System => (
            system_value(&found.name),
            json!({
                "VersionId": "v1",
                "IsDefaultVersion": true,
                "PolicyDocument": system_policy(&found.name),
                "CreateDate": SYSTEM_DATE,
            }),
        ),
        PolicyKind::Custom => {
            let policy = find_policy(params, cx)?;
            let version = policy
                .versions
                .iter()
                .find(|version| version.number == policy.default_version)
                .map(|version| version_value(policy, version, true));
            (policy_value(policy), json!(version))
        }
    };
    policy["AttachmentCount"] = json!(count);
    Ok(json!({"Policy": policy, "DefaultPolicyVersion": version}))
}

fn delete_policy(params: &Params, cx: &mut Context<'_>) -> Answered {
    let policy = find_policy(params, cx)?;
    let (name, versions) = (policy.name.clone(), policy.versions.len());
    let cascading = params.flag("CascadingDelete")?.unwrap_or(false);
    let held = PolicyRef {
        kind: PolicyKind::Custom,
        name: name.clone(),
    };
    let account = account(cx);
    if cascading {
        for user in account.users.values_mut() {
            user.attached.remove(&held);
        }
        for group in account.groups.values_mut() {
            group.attached.remove(&held);
        }
        for role in account.roles.values_mut() {
            role.attached.remove(&held);
        }
    } else {
        for (kind, holds) in [
            (
                "Policy.User",
                account
                    .users
                    .values()
                    .any(|user| user.attached.contains_key(&held)),
            ),
            (
                "Policy.Group",
                account
                    .groups
                    .values()
                    .any(|group| group.attached.contains_key(&held)),
            ),
            (
                "Policy.Role",
                account
                    .roles
                    .values()
                    .any(|role| role.attached.contains_key(&held)),
            ),
        ] {
            if holds {
                return Err(conflict(kind, "The policy is attached."));
            }
        }
        if versions > 1 {
            return Err(conflict(
                "Policy.Version",
                "The policy has more than its default version.",
            ));
        }
    }
    account.policies.remove(&name);
    Ok(json!({}))
}

fn update_policy_description(params: &Params, cx: &mut Context<'_>) -> Answered {
    let description = text(params, "NewDescription", 1024)?.unwrap_or_default();
    let now = cx.now;
    let policy = find_policy(params, cx)?;
    policy.description = description;
    policy.updated = now;
    Ok(json!({"Policy": policy_value(policy)}))
}

fn list_policies(params: &Params, cx: &mut Context<'_>) -> Answered {
    let kind = params
        .get("PolicyType")
        .map(|_| policy_kind(params))
        .transpose()?;
    let account = account(cx);
    let mut policies: Vec<(String, (PolicyRef, Value))> = Vec::new();
    if kind != Some(PolicyKind::System) {
        policies.extend(account.policies.values().map(|policy| {
            let held = PolicyRef {
                kind: PolicyKind::Custom,
                name: policy.name.clone(),
            };
            (format!("Custom/{}", policy.name), (held, policy_value(policy)))
        }));
    }
    if kind != Some(PolicyKind::Custom) {
        policies.extend(SYSTEM_POLICIES.iter().map(|(name, _)| {
            let held = PolicyRef {
                kind: PolicyKind::System,
                name: (*name).to_owned(),
            };
            (format!("System/{name}"), (held, system_value(name)))
        }));
    }
    policies.sort_by(|left, right| left.0.cmp(&right.0));
    page(
        params,
        policies,
        1000,
        ("Policies", "Policy"),
        |(held, mut value)| {
            value["AttachmentCount"] = json!(attachment_count(account, &held));
            value
        },
    )
}

fn create_policy_version(params: &Params, cx: &mut Context<'_>) -> Answered {
    let document = document(params, "PolicyDocument", DocumentKind::Permission)?;
    let as_default = params.flag("SetAsDefault")?.unwrap_or(false);
    let rotate = match params.get("RotateStrategy") {
        None | Some("None") => false,
        Some("DeleteOldestNonDefaultVersionWhenLimitExceeded") => true,
        Some(_) => {
            return Err(ApiError::new(
                400,
                "InvalidParameter.RotateStrategy",
                "RotateStrategy is not known.",
            ));
        }
    };
    let (now, most) = (cx.now, cx.quotas.get(quota::RAM_POLICY_VERSIONS));
    let policy = find_policy(params, cx)?;
    if policy.versions.len() as u64 >= most {
        let oldest = policy
            .versions
            .iter()
            .position(|version| version.number != policy.default_version)
            .filter(|_| rotate);
        match oldest {
            Some(index) => {
                policy.versions.remove(index);
            }
            None => {
                return Err(ApiError::new(
                    409,
                    "LimitExceeded.Policy.Version",
                    format!("A policy may have {most} versions at most."),
                ));
            }
        }
    }
    let version = PolicyVersion {
        number: policy.next_version,
        document,
        created: now,
    };
    policy.next_version += 1;
    policy.updated = now;
    if as_default {
        policy.default_version = version.number;
    }
    policy.versions.push(version.clone());
    Ok(json!({"PolicyVersion": version_value(policy, &version, true)}))
}

fn version_number(params: &Params) -> Result<u64, ApiError> {
    let id = params.need("VersionId")?;
    id.strip_prefix('v')
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| not_exist("Policy.Version", id))
}

fn get_policy_version(params: &Params, cx: &mut Context<'_>) -> Answered {
    let found = policy_ref(params, cx)?;
    let number = version_number(params)?;
    if found.kind == PolicyKind::System {
        if number != 1 {
            return Err(not_exist("Policy.Version", "of that id"));
        }
        return Ok(json!({"PolicyVersion": {
            "VersionId": "v1",
            "IsDefaultVersion": true,
            "PolicyDocument": system_policy(&found.name),
            "CreateDate": SYSTEM_DATE,
        }}));
    }
    let policy = find_policy(params, cx)?;
    let version = policy
        .versions
        .iter()
        .find(|version| version.number == number)
        .ok_or_else(|| not_exist("Policy.Version", "of that id"))?;
    Ok(json!({"PolicyVersion": version_value(policy, version, true)}))
}

fn delete_policy_version(params: &Params, cx: &mut Context<'_>) -> Answered {
    let number = version_number(params)?;
    let policy = find_policy(params, cx)?;
    let index = policy
        .versions
        .iter()
        .position(|version| version.number == number)
        .ok_or_else(|| not_exist("Policy.Version", "of that id"))?;
    if number == policy.default_version {
        return Err(conflict(
            "Policy.Version.Default",
            "The default version cannot be deleted.",
        ));
    }
    policy.versions.remove(index);
    Ok(json!({}))
}

fn list_policy_versions(params: &Params, cx: &mut Context<'_>) -> Answered {
    let found = policy_ref(params, cx)?;
    let versions: Vec<Value> = match found.kind {
        PolicyKind::System => {
            vec![json!({"VersionId": "v1", "IsDefaultVersion": true, "CreateDate": SYSTEM_DATE})]
        }
        PolicyKind::Custom => {
            let policy = find_policy(params, cx)?;
            policy
                .versions
                .iter()
                .map(|version| version_value(policy, version, true))
                .collect()
        }
    };
    Ok(json!({"PolicyVersions": {"PolicyVersion": versions}}))
}

fn set_default_version(params: &Params, cx: &mut Context<'_>) -> Answered {
    let number = version_number(params)?;
    let now = cx.now;
    let policy = find_policy(params, cx)?;
    if !policy.versions.iter().any(|version| version.number == number) {
        return Err(not_exist("Policy.Version", "of that id"));
    }
    policy.default_version = number;
    policy.updated = now;
    Ok(json!({}))
}

fn list_entities(params: &Params, cx: &mut Context<'_>) -> Answered {
    let held = policy_ref(params, cx)?;
    let owner = cx.caller.account.clone();
    let account = account(cx);
    let users: Vec<Value> = account
        .users
        .values()
        .filter_map(|user| {
            let since = user.attached.get(&held)?;
            Some(json!({
                "UserId": user.id,
                "UserName": user.name,
                "DisplayName": user.display_name,
                "AttachDate": iso_seconds(*since),
            }))
        })
        .collect();
    let groups: Vec<Value> = account
        .groups
        .values()
        .filter_map(|group| {
            let since = group.attached.get(&held)?;
            Some(json!({
                "GroupName": group.name,
                "Comments": group.comments,
                "AttachDate": iso_seconds(*since),
            }))
        })
        .collect();
    let roles: Vec<Value> = account
        .roles
        .values()
        .filter_map(|role| {
            let since = role.attached.get(&held)?;
            Some(json!({
                "RoleId": role.id,
                "RoleName": role.name,
                "Arn": role_arn(&owner, role),
                "Description": role.description,
                "AttachDate": iso_seconds(*since),
            }))
        })
        .collect();
    Ok(json!({"Users": {"User": users}, "Groups": {"Group": groups}, "Roles": {"Role": roles}}))
}

/// What a policy is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    User,
    Group,
    Role,
}

impl Holder {
    fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
            Self::Role => "Role",
        }
    }

    /// Its attachments and when it was made.
    fn find<'a>(
        self,
        params: &Params,
        cx: &'a mut Context<'_>,
    ) -> Result<(&'a mut Attachments, Timestamp), ApiError> {
        match self {
            Self::User => find_user(params, cx).map(|user| (&mut user.attached, user.created)),
            Self::Group => find_group(params, cx).map(|group| (&mut group.attached, group.created)),
            Self::Role => find_role(params, cx).map(|role| (&mut role.attached, role.created)),
        }
    }
}

fn attach(params: &Params, cx: &mut Context<'_>, holder: Holder, add: bool) -> Answered {
    let policy = policy_ref(params, cx)?;
    let created = holder.find(params, cx)?.1;
    if add && !settled(created, cx) {
        return Err(not_exist(holder.name(), "just made"));
    }
    let (now, quotas) = (cx.now, cx.quotas);
    let (attached, _) = holder.find(params, cx)?;
    let code = format!("{}.Policy", holder.name());
    if add {
        if attached.contains_key(&policy) {
            return Err(exists(&code, &policy.name));
        }
        let quota = match policy.kind {
            PolicyKind::System => quota::RAM_ATTACHED_SYSTEM,
            PolicyKind::Custom => quota::RAM_ATTACHED_CUSTOM,
        };
        let count = attached.keys().filter(|known| known.kind == policy.kind).count();
        limit(&code, quotas, quota, count)?;
        attached.insert(policy, now);
    } else if attached.remove(&policy).is_none() {
        return Err(not_exist(&code, &policy.name));
    }
    Ok(json!({}))
}

fn list_attached(params: &Params, cx: &mut Context<'_>, holder: Holder) -> Answered {
    let attached = holder.find(params, cx)?.0.clone();
    let account = account(cx);
    let policies: Vec<Value> = attached
        .iter()
        .map(|(policy, since)| {
            let custom = account
                .policies
                .get(&policy.name)
                .filter(|_| policy.kind == PolicyKind::Custom);
            json!({
                "PolicyName": policy.name,
                "PolicyType": policy.kind.name(),
                "DefaultVersion": format!("v{}", custom.map_or(1, |policy| policy.default_version)),
                "Description": custom.map_or("", |policy| policy.description.as_str()),
                "AttachDate": iso_seconds(*since),
            })
        })
        .collect();
    Ok(json!({"Policies": {"Policy": policies}}))
}

// ---- Roles -------------------------------------------------------------------------------------------

fn role_arn(account: &str, role: &Role) -> String {
    format!("acs:ram::{account}:role/{}", role.name.to_lowercase())
}

fn find_role<'a>(params: &Params, cx: &'a mut Context<'_>) -> Result<&'a mut Role, ApiError> {
    let name = params.need("RoleName")?;
    account(cx)
        .roles
        .get_mut(&name.to_lowercase())
        .ok_or_else(|| not_exist("Role", name))
}

fn role_value(account: &str, role: &Role, with_trust: bool) -> Value {
    let mut value = json!({
        "RoleId": role.id,
        "RoleName": role.name,
        "Arn": role_arn(account, role),
        "Description": role.description,
        "MaxSessionDuration": role.max_session,
        "CreateDate": iso_seconds(role.created),
        "UpdateDate": iso_seconds(role.updated),
    });
    if with_trust {
        value["AssumeRolePolicyDocument"] = json!(role.trust);
        value["IsServiceLinkedRole"] = json!(role.linked_service.is_some());
        value["RolePrincipalName"] = json!(format!(
            "{}@role.{account}.onaliyunservice.com",
            role.name.to_lowercase()
        ));
    }
    value
}

fn max_session(params: &Params, field: &str) -> Result<Option<u64>, ApiError> {
    match params.number(field)? {
        Some(seconds) if !(3600..=43200).contains(&seconds) => Err(ApiError::new(
            400,
            "InvalidParameter.MaxSessionDuration",
            "MaxSessionDuration must be 3600 to 43200 seconds.",
        )),
        other => Ok(other),
    }
}

fn create_role(params: &Params, cx: &mut Context<'_>) -> Answered {
    let name = name(params, "RoleName", 64, b".-")?.to_owned();
    let trust = document(params, "AssumeRolePolicyDocument", DocumentKind::Trust)?;
    let description = text(params, "Description", 1024)?.unwrap_or_default();
    let max_session = max_session(params, "MaxSessionDuration")?.unwrap_or(3600);
    if account(cx).roles.contains_key(&name.to_lowercase()) {
        return Err(exists("Role", &name));
    }
    let count = account(cx).roles.len();
    limit("Role", cx.quotas, quota::RAM_ROLES, count)?;
    let role = Role {
        id: cx.state.next_role_id(),
        name: name.clone(),
        description,
        trust,
        max_session,
        linked_service: None,
        created: cx.now,
        updated: cx.now,
        attached: Attachments::new(),
    };
    let shown = role_value(&cx.caller.account, &role, true);
    account(cx).roles.insert(name.to_lowercase(), role);
    Ok(json!({"Role": shown}))
}

fn get_role(params: &Params, cx: &mut Context<'_>) -> Answered {
    let owner = cx.caller.account.clone();
    Ok(json!({"Role": role_value(&owner, find_role(params, cx)?, true)}))
}

fn update_role(params: &Params, cx: &mut Context<'_>) -> Answered {
    let trust = params
        .get("NewAssumeRolePolicyDocument")
        .map(|_| document(params, "NewAssumeRolePolicyDocument", DocumentKind::Trust))
        .transpose()?;
    let max_session = max_session(params, "NewMaxSessionDuration")?;
    let description = text(params, "NewDescription", 1024)?;
    let (now, owner) = (cx.now, cx.caller.account.clone());
    let role = find_role(params, cx)?;
    if role.linked_service.is_some() {
        return Err(ApiError::new(
            400,
            "NotSupport.ServiceLinkedRole",
            "A service-linked role cannot be changed.",
        ));
    }
    if let Some(trust) = trust {
        role.trust = trust;
    }
    if let Some(seconds) = max_session {
        role.max_session = seconds;
    }
    if let Some(description) = description {
        role.description = description;
    }
    role.updated = now;
    Ok(json!({"Role": role_value(&owner, role, true)}))
}

fn delete_role(params: &Params, cx: &mut Context<'_>) -> Answered {
    let role = find_role(params, cx)?;
    // Whoever may delete roles may delete a linked one here too: tests take it away as an attacker would.
    if role.linked_service.is_none() && !role.attached.is_empty() {
        return Err(conflict("Role.Policy", "Policies are attached to the role."));
    }
    let key = role.name.to_lowercase();
    account(cx).roles.remove(&key);
    Ok(json!({}))
}

fn list_roles(params: &Params, cx: &mut Context<'_>) -> Answered {
    let owner = cx.caller.account.clone();
    let roles: Vec<_> = account(cx)
        .roles
        .iter()
        .map(|(key, role)| (key.clone(), role))
        .collect();
    page(params, roles, 1000, ("Roles", "Role"), |role| {
        role_value(&owner, role, false)
    })
}

fn create_linked_role(params: &Params, cx: &mut Context<'_>) -> Answered {
    let service = params.need("ServiceName")?;
    let (service, role, _) = LINKED_ROLES
        .iter()
        .find(|(known, _, _)| *known == service)
        .ok_or_else(|| not_exist("Service", service))?;
    let owner = cx.caller.account.clone();
    let made = cx
        .state
        .create_linked_role(&owner, service, cx.now)
        .ok_or_else(|| exists("Role", role))?;
    Ok(json!({"Role": role_value(&owner, &made, true)}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pages_follow_their_marker_to_the_end() {
        let items = || (0..5).map(|n| (format!("k{n}"), n)).collect::<Vec<_>>();
        let get = |pairs: &[(&str, &str)]| {
            page(&Params::from_pairs(pairs), items(), 100, ("Xs", "X"), |n| {
                json!(n)
            })
            .unwrap()
        };
        let first = get(&[("MaxItems", "2")]);
        assert_eq!(first["Xs"]["X"], json!([0, 1]));
        assert_eq!(first["IsTruncated"], true);
        let marker = first["Marker"].as_str().unwrap().to_owned();
        let second = get(&[("MaxItems", "3"), ("Marker", &marker)]);
        assert_eq!(second["Xs"]["X"], json!([2, 3, 4]));
        assert_eq!(second["IsTruncated"], false);
        assert!(second.get("Marker").is_none());
        let error = page(
            &Params::from_pairs(&[("MaxItems", "0")]),
            items(),
            100,
            ("Xs", "X"),
            |n| json!(n),
        );
        assert_eq!(error.unwrap_err().code, "InvalidParameter.MaxItems");
    }

    #[test]
    fn names_are_checked_by_length_and_characters() {
        let check = |value: &str| {
            name(
                &Params::from_pairs(&[("GroupName", value)]),
                "GroupName",
                8,
                b".-_",
            )
            .err()
            .map(|error| error.code)
        };
        assert_eq!(check("a.b-c_1"), None);
        assert_eq!(
            check("a b").as_deref(),
            Some("InvalidParameter.GroupName.InvalidChars")
        );
        assert_eq!(
            check("abcdefghi").as_deref(),
            Some("InvalidParameter.GroupName.Length")
        );
        assert_eq!(check("").as_deref(), Some("MissingGroupName"));
    }

    #[test]
    fn an_event_never_shows_a_keys_secret() {
        let answer = json!({"AccessKey": {"AccessKeyId": "LTAI", "AccessKeySecret": "marked"}});
        let event = event_response(&answer);
        assert!(!event.to_string().contains("marked"));
        assert_eq!(event["AccessKey"]["AccessKeyId"], "LTAI");
    }
}
