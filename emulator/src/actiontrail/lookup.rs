//! LookupEvents: what happened in an account, after a delay.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::event::Event;
use super::{Context, State};
use crate::assumptions::LookupGlobal;
use crate::clock::iso_seconds;
use crate::rpc::Params;
use crate::wire::ApiError;

/// The region that keeps events of global services, where they are not shown everywhere.
pub(super) const STORAGE_REGION: &str = "ap-southeast-1";

/// An event and when it can be looked up.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) event: Event,
    pub(super) visible_from: Timestamp,
}

const KEYS: &[&str] = &[
    "ServiceName",
    "EventName",
    "User",
    "EventId",
    "ResourceType",
    "ResourceName",
    "EventRW",
    "EventAccessKeyId",
    "SensitiveAction",
    "SourceIpAddress",
    "EventType",
    "RoleName",
];

fn invalid(code: &str, message: &str) -> ApiError {
    ApiError::new(400, code, message)
}

/// The requested window, checked.
fn window(params: &Params, now: Timestamp) -> Result<(Timestamp, Timestamp), ApiError> {
    let time = |name: &str, code: &str| {
        params
            .get(name)
            .map(|text| {
                text.parse::<Timestamp>()
                    .map_err(|_| invalid(code, "The time has a wrong format."))
            })
            .transpose()
    };
    let start = time("StartTime", "InvalidParameterStartTime")?;
    let end = time("EndTime", "InvalidParameterEndTime")?;
    let days = |count: i64| SignedDuration::from_hours(24 * count);
    let (start, end) = match (start, end) {
        (None, None) => return Ok((now - days(7), now)),
        (Some(start), Some(end)) => (start, end),
        (None, Some(_)) => return Err(invalid("InvalidParameterStartTime", "StartTime is missing.")),
        (Some(_), None) => return Err(invalid("InvalidParameterEndTime", "EndTime is missing.")),
    };
    if start > now {
        return Err(invalid(
            "InvalidParameterStartTimeExceedsCurrent",
            "StartTime must not be later than the current time.",
        ));
    }
    if start >= end {
        return Err(invalid(
            "InvalidTimeRangeException",
            "StartTime must be earlier than EndTime.",
        ));
    }
    if now.duration_since(start) > days(90) {
        return Err(invalid(
            "InvalidParameterStartTimeOutOfDate",
            "StartTime is more than 90 days back.",
        ));
    }
    if end.duration_since(start) > days(30) {
        return Err(invalid(
            "InvalidParameterDateOutOfRange",
            "The range is longer than 30 days.",
        ));
    }
    Ok((start, end))
}

/// Key and value pairs; of two with the same key the second counts.
fn attributes(params: &Params) -> Result<Vec<(String, String)>, ApiError> {
    let mut found: Vec<(String, String)> = Vec::new();
    for index in 1..=3 {
        let key = params.get(&format!("LookupAttribute.{index}.Key"));
        let value = params.get(&format!("LookupAttribute.{index}.Value"));
        let (key, value) = match (key, value) {
            (None, None) => continue,
            (Some(key), Some(value)) if index <= 2 && KEYS.contains(&key) => (key, value),
            _ => {
                return Err(invalid(
                    "InvalidLookupAttributesException",
                    "At most two lookup attributes, each a known key with a value.",
                ));
            }
        };
        found.retain(|(known, _)| known != key);
        found.push((key.to_owned(), value.to_owned()));
    }
    Ok(found)
}

fn matches(event: &Value, key: &str, wanted: &str) -> bool {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let listed = |pointer: &str| text(pointer).is_some_and(|list| list.split(';').any(|one| one == wanted));
    match key {
        "ServiceName" => text("/serviceName") == Some(wanted),
        "EventName" => text("/eventName") == Some(wanted),
        "User" => text("/userIdentity/userName") == Some(wanted),
        "EventId" => text("/eventId") == Some(wanted),
        "ResourceType" => listed("/resourceType"),
        "ResourceName" => listed("/resourceName"),
        "EventRW" => text("/eventRW") == Some(wanted),
        "EventAccessKeyId" => text("/userIdentity/accessKeyId") == Some(wanted),
        "SensitiveAction" => text("/eventAttributes/SensitiveAction") == Some(wanted),
        "SourceIpAddress" => text("/sourceIpAddress") == Some(wanted),
        "EventType" => text("/eventType") == Some(wanted),
        "RoleName" => {
            text("/userIdentity/type") == Some("assumed-role")
                && text("/userIdentity/userName").is_some_and(|name| name.split(':').next() == Some(wanted))
        }
        _ => false,
    }
}

/// LookupEvents.
pub(super) fn lookup(params: &Params, state: &State, cx: &Context<'_>) -> Result<Value, ApiError> {
    let (start, end) = window(params, cx.now)?;
    let attributes = attributes(params)?;
    let forward = match params.get("Direction") {
        None | Some("BACKWARD") => false,
        Some("FORWARD") => true,
        Some(_) => {
            return Err(invalid(
                "LookupEventsParameterError",
                "Direction must be FORWARD or BACKWARD.",
            ));
        }
    };
    let size = match params.get("MaxResults") {
        None => 20,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|size| (1..=50).contains(size))
            .ok_or_else(|| invalid("LookupEventsParameterError", "MaxResults must be 1 to 50."))?,
    };
    let after = params.get("NextToken").map(Place::read).transpose()?;
    // A later page looks through the window of the first one, which may have been "the last 7 days".
    let (start, end) = after
        .as_ref()
        .map_or((start, end), |place| (place.start, place.end));
    let here = |event: &Event| {
        event.region == cx.region
            || (event.is_global
                && match cx.assumptions.get::<LookupGlobal>() {
                    LookupGlobal::EveryRegion => true,
                    LookupGlobal::StorageRegion => cx.region == STORAGE_REGION,
                })
    };
    let mut found: Vec<((Timestamp, usize), &Event)> = state
        .events
        .get(&cx.caller.account)
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, stored)| stored.visible_from <= cx.now)
        .map(|(index, stored)| ((stored.event.time, index), &stored.event))
        .filter(|(_, event)| event.time >= start && event.time <= end && here(event))
        .filter(|(_, event)| {
            attributes
                .iter()
                .all(|(key, wanted)| matches(&event.value, key, wanted))
        })
        .filter(|(key, _)| {
            after.as_ref().is_none_or(|place| {
                if forward {
                    *key > place.last
                } else {
                    *key < place.last
                }
            })
        })
        .collect();
    found.sort_by_key(|(key, _)| *key);
    if !forward {
        found.reverse();
    }
    let more = found.len() > size;
    found.truncate(size);
    let page: Vec<&Value> = found.iter().map(|(_, event)| &event.value).collect();
    let mut answer = json!({"StartTime": iso_seconds(start), "EndTime": iso_seconds(end), "Events": page});
    if let Some((last, _)) = found.last().filter(|_| more) {
        let place = Place {
            start,
            end,
            last: *last,
        };
        answer["NextToken"] = json!(place.token());
    }
    Ok(answer)
}

/// Where a page ended: in which window, after which event. New events do not move it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    start: Timestamp,
    end: Timestamp,
    last: (Timestamp, usize),
}

impl Place {
    fn token(&self) -> String {
        hex::encode(json!([self.start, self.end, self.last.0, self.last.1]).to_string())
    }

    fn read(token: &str) -> Result<Self, ApiError> {
        hex::decode(token)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .map(|(start, end, time, index)| Self {
                start,
                end,
                last: (time, index),
            })
            .ok_or_else(|| invalid("InvalidNextToken", "The NextToken is not valid."))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::from_pairs(pairs)
    }

    #[test]
    fn windows_are_checked() {
        let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        let table = [
            (vec![], None),
            (
                vec![
                    ("StartTime", "2026-05-31T00:00:00Z"),
                    ("EndTime", "2026-06-01T00:00:00Z"),
                ],
                None,
            ),
            (
                vec![("StartTime", "2026-05-31T00:00:00Z")],
                Some("InvalidParameterEndTime"),
            ),
            (
                vec![("EndTime", "2026-05-31T00:00:00Z")],
                Some("InvalidParameterStartTime"),
            ),
            (
                vec![("StartTime", "x"), ("EndTime", "2026-06-01T00:00:00Z")],
                Some("InvalidParameterStartTime"),
            ),
            (
                vec![
                    ("StartTime", "2026-06-02T00:00:00Z"),
                    ("EndTime", "2026-06-03T00:00:00Z"),
                ],
                Some("InvalidParameterStartTimeExceedsCurrent"),
            ),
            (
                vec![
                    ("StartTime", "2026-05-31T00:00:00Z"),
                    ("EndTime", "2026-05-30T00:00:00Z"),
                ],
                Some("InvalidTimeRangeException"),
            ),
            (
                vec![
                    ("StartTime", "2026-01-01T00:00:00Z"),
                    ("EndTime", "2026-01-02T00:00:00Z"),
                ],
                Some("InvalidParameterStartTimeOutOfDate"),
            ),
            (
                vec![
                    ("StartTime", "2026-04-01T00:00:00Z"),
                    ("EndTime", "2026-05-30T00:00:00Z"),
                ],
                Some("InvalidParameterDateOutOfRange"),
            ),
        ];
        for (pairs, expected) in table {
            let found = window(&params(&pairs), now).err().map(|error| error.code);
            assert_eq!(found.as_deref(), expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_second_of_two_equal_keys_counts_and_unknown_keys_are_refused() {
        let twice = params(&[
            ("LookupAttribute.1.Key", "EventName"),
            ("LookupAttribute.1.Value", "A"),
            ("LookupAttribute.2.Key", "EventName"),
            ("LookupAttribute.2.Value", "B"),
        ]);
        assert_eq!(
            attributes(&twice).unwrap(),
            vec![("EventName".to_owned(), "B".to_owned())]
        );
        let unknown = params(&[
            ("LookupAttribute.1.Key", "Colour"),
            ("LookupAttribute.1.Value", "A"),
        ]);
        assert_eq!(
            attributes(&unknown).unwrap_err().code,
            "InvalidLookupAttributesException"
        );
    }

    #[test]
    fn tokens_are_read_back_and_others_refused() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let place = Place {
            start: at("2026-01-01T00:00:00Z"),
            end: at("2026-01-02T00:00:00.5Z"),
            last: (at("2026-01-01T12:00:00.123456789Z"), 7),
        };
        assert_eq!(Place::read(&place.token()).unwrap(), place);
        for token in ["", "at-5", "00", &hex::encode("[1]")] {
            assert_eq!(Place::read(token).unwrap_err().code, "InvalidNextToken");
        }
    }

    #[test]
    fn resource_lists_and_role_names_match_by_part() {
        let event = json!({
            "resourceType": "ACS::RAM::Role;ACS::RAM::User", "resourceName": "r;u",
            "userIdentity": {"type": "assumed-role", "userName": "trainer:job"},
        });
        assert!(matches(&event, "ResourceName", "u"));
        assert!(matches(&event, "ResourceType", "ACS::RAM::Role"));
        assert!(matches(&event, "RoleName", "trainer"));
        assert!(!matches(&event, "RoleName", "train"));
        assert!(!matches(&event, "EventName", "x"));
    }
}
