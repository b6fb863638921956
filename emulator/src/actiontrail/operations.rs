//! The operations on trails.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::delivery::{self, Due};
use super::{Context, REGIONS, SERVICE, Settings, State, Status, Trail, lookup};
use crate::assumptions::{
    EventRwDefault, LinkedRole, StopFresh, StoreCreated, StoreRecreated, TrailVisible, UpdateOmitted,
};
use crate::clock::iso_seconds;
use crate::quota;
use crate::ram::policy::ConditionFacts;
use crate::rpc::{Params, RpcCall};
use crate::wire::ApiError;

fn bad(code: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(400, code, message)
}

/// Runs an operation; the answer lacks only its RequestId.
pub fn execute(call: &RpcCall, state: &mut State, cx: &mut Context<'_>) -> Result<Value, ApiError> {
    let params = &call.params;
    match call.operation.name {
        "CreateTrail" => create(params, state, cx),
        "UpdateTrail" => update(params, state, cx),
        "DeleteTrail" => delete(params, state, cx),
        "StartLogging" => switch(params, state, cx, true),
        "StopLogging" => switch(params, state, cx, false),
        "DescribeTrails" => describe(params, state, cx),
        "GetTrailStatus" => status(params, state, cx),
        "LookupEvents" => lookup::lookup(params, state, cx),
        "GetDataEventSelector" => {
            let trail = find(params.need("TrailName")?, state, cx, true)?;
            Ok(json!({
                "DataEventSelectors": "[]",
                "IsTrailAllRegion": false,
                "TrailArn": arn(trail, &cx.caller.account),
                "SlsDeliveryConfigs": [],
            }))
        }
        "ListDataEventServices" => Ok(json!({
            "Services": [
                {"ServiceName": "Oss", "EventNames": ["GetObject", "CopyObject", "AppendObject"]},
                {"ServiceName": "Cms", "EventNames": []},
            ],
        })),
        "GetGlobalEventsStorageRegion" => Ok(json!({"StorageRegion": lookup::STORAGE_REGION})),
        "DescribeRegions" => Ok(regions()),
        other => Err(ApiError::new(
            404,
            "InvalidAction",
            format!("{other} is not emulated."),
        )),
    }
}

fn regions() -> Value {
    let regions: Vec<Value> = REGIONS
        .iter()
        .map(|region| {
            json!({
                "RegionId": region,
                "RegionEndpoint": format!("actiontrail.{region}.aliyuncs.com"),
                "LocalName": region,
            })
        })
        .collect();
    json!({"Regions": {"Region": regions}})
}

/// Region, account and project of `acs:log:<region>:<uid>:project/<project>`.
pub(super) fn parse_project_arn(arn: &str) -> Option<(&str, &str, &str)> {
    let rest = arn.strip_prefix("acs:log:")?;
    let (region, rest) = rest.split_once(':')?;
    let (account, rest) = rest.split_once(':')?;
    let project = rest.strip_prefix("project/")?;
    (!region.is_empty() && !account.is_empty() && !project.is_empty() && !project.contains('/'))
        .then_some((region, account, project))
}

fn valid_name(name: &str) -> bool {
    (6..=36).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

fn default_event_rw(cx: &Context<'_>) -> &'static str {
    match cx.assumptions.get::<EventRwDefault>() {
        EventRwDefault::All => "All",
        EventRwDefault::Write => "Write",
    }
}

fn settings(params: &Params, cx: &Context<'_>, old: Option<&Settings>) -> Result<Settings, ApiError> {
    let old = old.filter(|_| cx.assumptions.get::<UpdateOmitted>() == UpdateOmitted::Kept);
    let take = |name: &str, old: Option<&String>, default: &str| {
        params
            .get(name)
            .or(old.map(String::as_str))
            .unwrap_or(default)
            .to_owned()
    };
    let settings = Settings {
        event_rw: take("EventRW", old.map(|old| &old.event_rw), default_event_rw(cx)),
        trail_region: take("TrailRegion", old.map(|old| &old.trail_region), "All"),
        sls_project_arn: take("SlsProjectArn", old.map(|old| &old.sls_project_arn), ""),
        sls_write_role_arn: take("SlsWriteRoleArn", old.map(|old| &old.sls_write_role_arn), ""),
        oss_bucket_name: take("OssBucketName", old.map(|old| &old.oss_bucket_name), ""),
        oss_key_prefix: take("OssKeyPrefix", old.map(|old| &old.oss_key_prefix), ""),
        oss_write_role_arn: take("OssWriteRoleArn", old.map(|old| &old.oss_write_role_arn), ""),
        max_compute_project_arn: take(
            "MaxComputeProjectArn",
            old.map(|old| &old.max_compute_project_arn),
            "",
        ),
        max_compute_write_role_arn: take(
            "MaxComputeWriteRoleArn",
            old.map(|old| &old.max_compute_write_role_arn),
            "",
        ),
    };
    check(&settings, cx)?;
    Ok(settings)
}

fn check(settings: &Settings, cx: &Context<'_>) -> Result<(), ApiError> {
    if !["All", "Read", "Write"].contains(&settings.event_rw.as_str()) {
        return Err(bad(
            "InvalidParameterValue",
            "EventRW must be All, Read or Write.",
        ));
    }
    if settings.trail_region != "All"
        && settings
            .trail_region
            .split(',')
            .any(|one| !REGIONS.contains(&one.trim()))
    {
        return Err(bad(
            "InvalidParameterValue",
            "TrailRegion must be All or the id of a region.",
        ));
    }
    let destinations = [
        &settings.sls_project_arn,
        &settings.oss_bucket_name,
        &settings.max_compute_project_arn,
    ];
    if destinations.iter().all(|destination| destination.is_empty()) {
        return Err(bad(
            "InvalidDeliveryConfigurationException",
            "At least one of OssBucketName, SlsProjectArn and MaxComputeProjectArn is needed.",
        ));
    }
    if !settings.oss_bucket_name.is_empty() && !(3..=63).contains(&settings.oss_bucket_name.len()) {
        return Err(bad(
            "InvalidParameterValue",
            "OssBucketName must be 3 to 63 characters.",
        ));
    }
    let prefix = &settings.oss_key_prefix;
    if !prefix.is_empty()
        && (!(6..=32).contains(&prefix.len())
            || !prefix.starts_with(|first: char| first.is_ascii_alphabetic()))
    {
        return Err(bad(
            "InvalidPrefixException",
            "OssKeyPrefix must be 6 to 32 and begin with a letter.",
        ));
    }
    if settings.sls_project_arn.is_empty() {
        return Ok(());
    }
    let (region, account, project) = parse_project_arn(&settings.sls_project_arn)
        .ok_or_else(|| bad("InvalidParameterValue", "SlsProjectArn has a wrong form."))?;
    if cx.log.project_owner(region, project) != Some(account) {
        return Err(bad(
            "SlsProjectDoesNotExistException",
            format!("The Log Service project {project} does not exist."),
        ));
    }
    if account != cx.caller.account && settings.sls_write_role_arn.is_empty() {
        return Err(ApiError::new(
            403,
            "InsufficientSlsPolicyException",
            "A project of another account needs a SlsWriteRoleArn of that account.",
        ));
    }
    if !settings.sls_write_role_arn.is_empty() && !cx.ram.role_exists(&settings.sls_write_role_arn) {
        return Err(ApiError::new(
            403,
            "InsufficientSlsPolicyException",
            "The role of SlsWriteRoleArn does not exist or may not write.",
        ));
    }
    Ok(())
}

/// Sees to the service-linked role before a trail is made.
fn linked_role(cx: &mut Context<'_>) -> Result<(), ApiError> {
    let account = &cx.caller.account;
    if cx.ram.has_linked_role(account, SERVICE) {
        return Ok(());
    }
    let facts = ConditionFacts::from([("ram:ServiceName".to_owned(), SERVICE.to_owned())]);
    let permitted = cx
        .ram
        .permits(cx.caller, "ram:CreateServiceLinkedRole", "*", &facts);
    match cx.assumptions.get::<LinkedRole>() {
        LinkedRole::CreatedIfPermitted if permitted => {
            cx.ram.create_linked_role(account, SERVICE, cx.now);
            Ok(())
        }
        LinkedRole::CreatedIfPermitted | LinkedRole::Required => Err(ApiError::new(
            403,
            "NeedServiceLinkedRole",
            format!("The role acs:ram::{account}:role/aliyunserviceroleforactiontrail is needed."),
        )),
    }
}

fn make_store(name: &str, state: &mut State, cx: &mut Context<'_>) -> Result<(), ApiError> {
    let account = cx.caller.account.clone();
    let Some(to) = state
        .trail_mut(&account, name)
        .and_then(|trail| trail.destination())
    else {
        return Ok(());
    };
    match cx.assumptions.get::<StoreCreated>() {
        StoreCreated::WithTrail => delivery::create_store(cx.log, &to, cx.now).map_err(|_| {
            bad(
                "CreateLogStoreError",
                "The log store of the trail could not be created.",
            )
        }),
        StoreCreated::AfterFiveSeconds => {
            state.queue.push(
                cx.now + SignedDuration::from_secs(5),
                &account,
                name,
                to,
                Due::Store,
            );
            Ok(())
        }
    }
}

fn create(params: &Params, state: &mut State, cx: &mut Context<'_>) -> Result<Value, ApiError> {
    let name = params.need("Name")?.to_owned();
    if !valid_name(&name) {
        return Err(bad(
            "InvalidTrailNameException",
            "A trail name has 6 to 36 of a-z, 0-9, - and _, and begins with a letter.",
        ));
    }
    let account = cx.caller.account.clone();
    let trails = state.trails.entry(account.clone()).or_default();
    if trails.contains_key(&name) {
        return Err(bad(
            "TrailAlreadyExistsException",
            format!("The trail {name} already exists."),
        ));
    }
    let settings = settings(params, cx, None)?;
    let is_organization = params.flag("IsOrganizationTrail")?.unwrap_or(false);
    if is_organization {
        return Err(bad(
            "NotAllowCreateOrganizationTrail",
            "Only the management account of a resource directory may create an organization trail.",
        ));
    }
    let limit = cx.quotas.get(quota::TRAILS);
    let in_region = trails
        .values()
        .filter(|trail| trail.home_region == cx.region)
        .count() as u64;
    if in_region >= limit {
        return Err(ApiError::new(
            403,
            "MaximumNumberOfTrailsExceededException",
            format!(
                "The region {} already has {limit} trails, the most it may have.",
                cx.region
            ),
        ));
    }
    if settings.sls_write_role_arn.is_empty() {
        linked_role(cx)?;
    }
    let visible_from = match cx.assumptions.get::<TrailVisible>() {
        TrailVisible::AtOnce => cx.now,
        TrailVisible::AfterThreeSeconds => cx.now + SignedDuration::from_secs(3),
    };
    let trail = Trail {
        name: name.clone(),
        home_region: cx.region.to_owned(),
        settings,
        is_organization,
        status: Status::Fresh,
        created: cx.now,
        updated: cx.now,
        visible_from,
        started: None,
        stopped: None,
        delivered: None,
        delivery_error: None,
        index_restored: None,
    };
    let answer = answer(&trail);
    trails.insert(name.clone(), trail);
    if let Err(error) = make_store(&name, state, cx) {
        state.trails.entry(account).or_default().remove(&name);
        return Err(error);
    }
    Ok(answer)
}

/// The fields that CreateTrail and UpdateTrail answer.
fn answer(trail: &Trail) -> Value {
    let mut value = settings_value(&trail.settings);
    value.insert("Name".to_owned(), json!(trail.name));
    value.insert("HomeRegion".to_owned(), json!(trail.home_region));
    Value::Object(value)
}

fn settings_value(settings: &Settings) -> Map<String, Value> {
    let Settings {
        event_rw,
        trail_region,
        sls_project_arn,
        sls_write_role_arn,
        oss_bucket_name,
        oss_key_prefix,
        oss_write_role_arn,
        max_compute_project_arn,
        max_compute_write_role_arn,
    } = settings;
    [
        ("EventRW", event_rw),
        ("TrailRegion", trail_region),
        ("SlsProjectArn", sls_project_arn),
        ("SlsWriteRoleArn", sls_write_role_arn),
        ("OssBucketName", oss_bucket_name),
        ("OssKeyPrefix", oss_key_prefix),
        ("OssWriteRoleArn", oss_write_role_arn),
        ("MaxComputeProjectArn", max_compute_project_arn),
        ("MaxComputeWriteRoleArn", max_compute_write_role_arn),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), json!(value)))
    .collect()
}

fn missing(name: &str) -> ApiError {
    ApiError::new(
        404,
        "TrailNotFoundException",
        format!("The trail {name} does not exist."),
    )
}

/// A trail that this region may see: its own, or with `shadows` any of the account.
fn find<'a>(name: &str, state: &'a State, cx: &Context<'_>, shadows: bool) -> Result<&'a Trail, ApiError> {
    state
        .trails
        .get(&cx.caller.account)
        .and_then(|trails| trails.get(name))
        .filter(|trail| trail.visible_from <= cx.now && (shadows || trail.home_region == cx.region))
        .ok_or_else(|| missing(name))
}

fn find_mut<'a>(name: &str, state: &'a mut State, cx: &Context<'_>) -> Result<&'a mut Trail, ApiError> {
    find(name, state, cx, false)?;
    state
        .trail_mut(&cx.caller.account, name)
        .ok_or_else(|| missing(name))
}

fn update(params: &Params, state: &mut State, cx: &mut Context<'_>) -> Result<Value, ApiError> {
    let name = params.need("Name")?.to_owned();
    let old = find(&name, state, cx, false)?.clone();
    let settings = settings(params, cx, Some(&old.settings))?;
    let moved = settings.sls_project_arn != old.settings.sls_project_arn;
    let trail = find_mut(&name, state, cx)?;
    if trail.settings != settings {
        trail.settings = settings;
        trail.updated = cx.now;
    }
    let answer = answer(trail);
    let recreate = match cx.assumptions.get::<StoreRecreated>() {
        StoreRecreated::OnUpdate => true,
        StoreRecreated::Never | StoreRecreated::OnDelivery => false,
    };
    if moved || recreate {
        make_store(&name, state, cx)?;
    }
    Ok(answer)
}

fn delete(params: &Params, state: &mut State, cx: &Context<'_>) -> Result<Value, ApiError> {
    let name = params.need("Name")?;
    find_mut(name, state, cx)?;
    if let Some(trails) = state.trails.get_mut(&cx.caller.account) {
        trails.remove(name);
    }
    Ok(json!({}))
}

fn switch(params: &Params, state: &mut State, cx: &Context<'_>, on: bool) -> Result<Value, ApiError> {
    let trail = find_mut(params.need("Name")?, state, cx)?;
    match (on, trail.status) {
        (true, Status::Fresh | Status::Disable) => {
            trail.status = Status::Enable;
            trail.started = Some(cx.now);
        }
        (false, Status::Enable) => {
            trail.status = Status::Disable;
            trail.stopped = Some(cx.now);
        }
        (false, Status::Fresh) => {
            if cx.assumptions.get::<StopFresh>() == StopFresh::Disables {
                trail.status = Status::Disable;
                trail.stopped = Some(cx.now);
            }
        }
        (true, Status::Enable) | (false, Status::Disable) => {}
    }
    Ok(json!({}))
}

fn arn(trail: &Trail, account: &str) -> String {
    format!(
        "acs:actiontrail:{}:{account}:trail/{}",
        trail.home_region, trail.name
    )
}

fn put_time(value: &mut Map<String, Value>, name: &str, time: Option<Timestamp>) {
    if let Some(time) = time {
        value.insert(name.to_owned(), json!(iso_seconds(time)));
    }
}

fn describe(params: &Params, state: &State, cx: &Context<'_>) -> Result<Value, ApiError> {
    let shadows = params.flag("IncludeShadowTrails")?.unwrap_or(false);
    // There is no resource directory here, so an organization adds nothing.
    params.flag("IncludeOrganizationTrail")?;
    let names: Option<Vec<&str>> = params
        .get("NameList")
        .map(|list| list.split(',').map(str::trim).collect());
    let trails: Vec<Value> = state
        .trails
        .get(&cx.caller.account)
        .into_iter()
        .flat_map(std::collections::BTreeMap::values)
        .filter(|trail| trail.visible_from <= cx.now)
        .filter(|trail| shadows || trail.home_region == cx.region)
        .filter(|trail| {
            names
                .as_ref()
                .is_none_or(|names| names.contains(&trail.name.as_str()))
        })
        .map(|trail| {
            let mut value = settings_value(&trail.settings);
            value.insert("Name".to_owned(), json!(trail.name));
            value.insert("HomeRegion".to_owned(), json!(trail.home_region));
            value.insert("Region".to_owned(), json!(cx.region));
            value.insert("Status".to_owned(), json!(trail.status.name()));
            value.insert("TrailArn".to_owned(), json!(arn(trail, &cx.caller.account)));
            value.insert("IsOrganizationTrail".to_owned(), json!(trail.is_organization));
            put_time(&mut value, "CreateTime", Some(trail.created));
            put_time(&mut value, "UpdateTime", Some(trail.updated));
            put_time(&mut value, "StartLoggingTime", trail.started);
            put_time(&mut value, "StopLoggingTime", trail.stopped);
            Value::Object(value)
        })
        .collect();
    Ok(json!({"TrailList": trails}))
}

fn status(params: &Params, state: &State, cx: &Context<'_>) -> Result<Value, ApiError> {
    params.flag("IsOrganizationTrail")?;
    let trail = find(params.need("Name")?, state, cx, true)?;
    let mut value = Map::new();
    value.insert("IsLogging".to_owned(), json!(trail.logs()));
    put_time(&mut value, "StartLoggingTime", trail.started);
    put_time(&mut value, "StopLoggingTime", trail.stopped);
    put_time(&mut value, "LatestDeliveryTime", trail.delivered);
    put_time(&mut value, "LatestDeliveryLogServiceTime", trail.delivered);
    if let Some(error) = &trail.delivery_error {
        value.insert("LatestDeliveryError".to_owned(), json!(error));
        value.insert("LatestDeliveryLogServiceError".to_owned(), json!(error));
    }
    let store = trail
        .destination()
        .is_some_and(|to| cx.log.store_exists(&to.region, &to.project, &to.store));
    value.insert("SlsLogStoreStatus".to_owned(), json!(store));
    value.insert(
        "OssBucketStatus".to_owned(),
        json!(!trail.settings.oss_bucket_name.is_empty()),
    );
    Ok(Value::Object(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for (name, good) in [
            ("abcdef", true),
            ("abcde", false),
            ("a-_123", true),
            ("1bcdef", false),
            ("Abcdef", false),
            ("abcdéf", false),
            ("a23456789012345678901234567890123456", true),
            ("a234567890123456789012345678901234567", false),
        ] {
            assert_eq!(valid_name(name), good, "{name}");
        }
    }

    #[test]
    fn project_arns_are_taken_apart() {
        assert_eq!(
            parse_project_arn("acs:log:cn-hangzhou:123:project/p1"),
            Some(("cn-hangzhou", "123", "p1"))
        );
        for bad in [
            "",
            "acs:log:cn-hangzhou:123:p1",
            "acs:log:::project/p",
            "acs:log:r:1:project/p/logstore/x",
        ] {
            assert_eq!(parse_project_arn(bad), None, "{bad}");
        }
    }
}
