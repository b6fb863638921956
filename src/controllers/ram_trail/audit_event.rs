//! Reads delivered events, tolerantly, and tells which of them ask for a look at a trail.
//!
//! What is read here only ever triggers a visit: a forged or misread event costs one look and decides nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::aliyun::action_trail::TrailEvent;

/// The field of a row in a trail's store.
const EVENT: &str = "event";

/// Services whose writes can weaken a trail, lower case; Log Service's own name in events is not documented.
const SERVICES: [&str; 4] = ["actiontrail", "sls", "log", "logservice"];

/// The event in a row: as JSON text, or as columns `event.x.y`.
pub fn of_row(row: &BTreeMap<String, String>) -> Option<TrailEvent> {
    let object = match row.get(EVENT) {
        Some(text) => serde_json::from_str::<Map<String, Value>>(text).ok()?,
        None => unflatten(row)?,
    };
    serde_json::from_value(lower_camel(Value::Object(object))).ok()
}

/// Columns `event.x.y` as one object.
fn unflatten(row: &BTreeMap<String, String>) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    for (column, value) in row {
        let Some(path) = column.strip_prefix("event.") else {
            continue;
        };
        let mut place = &mut object;
        let (parents, leaf) = path.rsplit_once('.').unwrap_or(("", path));
        for parent in parents.split('.').filter(|part| !part.is_empty()) {
            let entry = place.entry(parent).or_insert_with(|| Value::Object(Map::new()));
            if !entry.is_object() {
                *entry = Value::Object(Map::new());
            }
            place = entry.as_object_mut()?;
        }
        place.insert(leaf.to_owned(), Value::String(value.clone()));
    }
    (!object.is_empty()).then_some(object)
}

/// The known keys with a lower first letter, on the levels that are read; absent values in all their spellings left out.
fn lower_camel(value: Value) -> Value {
    let Value::Object(object) = value else {
        return value;
    };
    let mut lowered = Map::new();
    for (key, value) in object {
        if matches!(&value, Value::String(text) if text.is_empty() || text == "null" || text == "-")
            || value.is_null()
        {
            continue;
        }
        let mut letters = key.chars();
        let key: String = letters
            .next()
            .into_iter()
            .flat_map(char::to_lowercase)
            .chain(letters)
            .collect();
        let value = if key == "userIdentity" {
            lower_camel(value)
        } else {
            value
        };
        lowered.insert(key, value);
    }
    Value::Object(lowered)
}

/// Whether an event may have changed the trail, its project, its stores or its delivery role. `names`: what belongs to the
/// trail; an event on something that is named otherwise is no concern, one that names nothing is.
pub fn concerns(event: &TrailEvent, text: &str, names: &[&str]) -> bool {
    if is_read(event) || event.error_code.as_deref().is_some_and(is_error) {
        return false;
    }
    let service = event.service_name.as_deref().unwrap_or_default().to_lowercase();
    let of_service = SERVICES.contains(&service.as_str());
    let role = text.to_lowercase().contains("serviceroleforactiontrail");
    let of_trail = names.iter().any(|name| text.contains(name));
    role || (of_service && (of_trail || event.resource_name.is_none()))
}

/// Whether an event changes an index.
pub fn is_about_index(event: &TrailEvent) -> bool {
    event
        .event_name
        .as_deref()
        .is_some_and(|name| name.to_lowercase().contains("index"))
}

fn is_read(event: &TrailEvent) -> bool {
    match event.event_rw.as_deref() {
        Some(rw) => rw.eq_ignore_ascii_case("read"),
        None => event.event_name.as_deref().is_some_and(|name| {
            ["Get", "List", "Describe", "Lookup"]
                .iter()
                .any(|verb| name.starts_with(verb))
        }),
    }
}

fn is_error(code: &str) -> bool {
    !code.trim_matches('"').eq_ignore_ascii_case("success")
}

/// The search for writes that may weaken a trail.
pub fn foreign_writes() -> String {
    let services: Vec<String> = SERVICES
        .iter()
        .map(|service| format!("event.serviceName: {service}"))
        .collect();
    format!(
        "(({} or ServiceRoleForActionTrail*) and event.eventRW: Write)",
        services.join(" or ")
    )
}

/// The search for events with any of these ids.
pub fn with_ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = ids
        .into_iter()
        .map(|id| format!("\"{}\"", id.replace(['"', '\\'], "")))
        .collect();
    quoted.join(" or ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn row(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
        fields
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn events_are_read_in_every_form() {
        for fields in [
            vec![(
                "event",
                r#"{"eventName":"StopLogging","eventRW":"Write","userIdentity":{"userName":"eve"}}"#,
            )],
            vec![(
                "event",
                r#"{"EventName":"StopLogging","EventRW":"Write","UserIdentity":{"UserName":"eve"}}"#,
            )],
            vec![
                ("event.eventName", "StopLogging"),
                ("event.eventRW", "Write"),
                ("event.userIdentity.userName", "eve"),
            ],
        ] {
            let event = of_row(&row(&fields)).unwrap();
            assert_eq!(event.event_name.as_deref(), Some("StopLogging"), "{fields:?}");
            assert_eq!(event.event_rw.as_deref(), Some("Write"));
            assert_eq!(event.user_identity.user_name.as_deref(), Some("eve"));
        }
        assert!(of_row(&row(&[("message", "hello")])).is_none());
        assert!(of_row(&row(&[("event", "not json")])).is_none());
    }

    #[test]
    fn absent_values_are_absent_in_all_spellings() {
        for absent in [r#""""#, "null", r#""null""#, r#""-""#] {
            let event = of_row(&row(&[(
                "event",
                &format!(r#"{{"eventName":"X","errorCode":{absent}}}"#),
            )]))
            .unwrap();
            assert_eq!(event.error_code, None, "{absent}");
        }
    }

    #[test]
    fn only_successful_writes_on_what_belongs_to_the_trail_concern_it() {
        let cases = [
            (
                r#"{"serviceName":"Actiontrail","eventName":"StopLogging","eventRW":"Write","resourceName":"ram-access"}"#,
                true,
            ),
            (
                r#"{"serviceName":"Actiontrail","eventName":"StopLogging","resourceName":"ram-access"}"#,
                true,
            ),
            (
                r#"{"serviceName":"Actiontrail","eventName":"StopLogging","eventRW":"Write"}"#,
                true,
            ),
            (
                r#"{"serviceName":"Actiontrail","eventName":"StopLogging","eventRW":"Write","resourceName":"other"}"#,
                false,
            ),
            (
                r#"{"serviceName":"Actiontrail","eventName":"DescribeTrails","eventRW":"Read"}"#,
                false,
            ),
            (
                r#"{"serviceName":"Actiontrail","eventName":"DescribeTrails"}"#,
                false,
            ),
            (
                r#"{"serviceName":"Log","eventName":"UpdateIndex","eventRW":"Write","resourceName":"audit"}"#,
                true,
            ),
            (
                r#"{"serviceName":"Sls","eventName":"DeleteLogStore","eventRW":"Write","errorCode":"Unauthorized","resourceName":"audit"}"#,
                false,
            ),
            (
                r#"{"serviceName":"ResourceManager","eventName":"DeleteServiceLinkedRole","eventRW":"Write","resourceName":"AliyunServiceRoleForActionTrail"}"#,
                true,
            ),
            (
                r#"{"serviceName":"Ram","eventName":"CreateUser","eventRW":"Write","resourceName":"audit"}"#,
                false,
            ),
        ];
        for (text, expected) in cases {
            let event = of_row(&row(&[("event", text)])).unwrap();
            assert_eq!(
                concerns(&event, text, &["ram-access", "audit"]),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn searches_hold_quoted_ids_only() {
        assert_eq!(with_ids(["A-1", "b"]), r#""A-1" or "b""#);
        assert_eq!(with_ids(["x\" or *"]), r#""x or *""#);
        assert!(foreign_writes().contains("event.serviceName: actiontrail"));
    }

    proptest! {
        #[test]
        fn any_row_is_read_without_panic(key in "event(\\.[a-zA-Z.]{0,12})?", value in ".{0,60}") {
            let _ = of_row(&row(&[(key.as_str(), value.as_str())]));
        }
    }
}
