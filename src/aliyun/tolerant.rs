//! Owns reading of JSON as the cloud really sends it: numbers as text, text as numbers, `null` or nothing
//! where a value was documented. A field that cannot be understood is absent, it never spoils the answer.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Text, also from a number or a boolean; absent for everything else.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(as_text(&Value::deserialize(deserializer)?))
}

/// Text as [`text`], empty when absent.
pub(super) fn text_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer).map(Option::unwrap_or_default)
}

/// An integer, also from text.
pub(super) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(as_integer(&Value::deserialize(deserializer)?))
}

/// A boolean, also from text in any case.
pub(super) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(as_boolean(&Value::deserialize(deserializer)?))
}

/// A time from RFC 3339 text or epoch seconds.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(as_text(&Value::deserialize(deserializer)?).and_then(|text| parse_time(&text)))
}

pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(boolean) => Some(boolean.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

pub(super) fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            // 30.0 is 30; anything with a fraction is no integer.
            let float = number
                .as_f64()
                .filter(|float| float.fract() == 0.0 && float.abs() < 9e15)?;
            format!("{float:.0}").parse().ok()
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

pub(super) fn as_boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(boolean) => Some(*boolean),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A time that says its zone: RFC 3339, or epoch seconds.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(0) => None,
        Ok(seconds) => Timestamp::from_second(seconds).ok(),
        Err(_) => text.parse().ok(),
    }
}

/// All times that a project's `createTime` may stand for: one for epoch seconds and RFC 3339; for
/// `YYYY-MM-DD HH:MM:SS`, which carries no zone, first as UTC and then as UTC+8.
pub(super) fn time_candidates(text: &str) -> Vec<Timestamp> {
    if let Some(time) = parse_time(text) {
        return vec![time];
    }
    let Ok(local) = DateTime::strptime("%Y-%m-%d %H:%M:%S", text.trim()) else {
        return Vec::new();
    };
    [Offset::UTC, Offset::constant(8)]
        .into_iter()
        .filter_map(|offset| TimeZone::fixed(offset).to_timestamp(local).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Loose {
        #[serde(deserialize_with = "text")]
        text: Option<String>,
        #[serde(deserialize_with = "integer")]
        integer: Option<i64>,
        #[serde(deserialize_with = "boolean")]
        boolean: Option<bool>,
        #[serde(deserialize_with = "time")]
        time: Option<Timestamp>,
    }

    #[test]
    fn values_of_the_wrong_kind_are_understood_or_absent() {
        let read = |json| serde_json::from_value::<Loose>(json).unwrap();
        let loose = read(json!({"text": 7, "integer": "30", "boolean": "True", "time": "1754373600"}));
        assert_eq!(loose.text.as_deref(), Some("7"));
        assert_eq!(loose.integer, Some(30));
        assert_eq!(loose.boolean, Some(true));
        assert_eq!(loose.time, Some("2025-08-05T06:00:00Z".parse().unwrap()));
        let odd = json!({"text": {}, "integer": "x", "boolean": 1, "time": "soon", "more": [1]});
        assert_eq!(read(odd), Loose::default());
        let nothing = json!({"text": null, "integer": null, "boolean": null, "time": null});
        assert_eq!(read(nothing), Loose::default());
        assert_eq!(read(json!({})), Loose::default());
    }

    #[test]
    fn integers_are_exact_or_absent() {
        assert_eq!(as_integer(&json!(30.0)), Some(30));
        assert_eq!(as_integer(&json!(30.5)), None);
        assert_eq!(as_integer(&json!(1e300)), None);
        assert_eq!(as_integer(&json!(-1)), Some(-1));
    }

    #[test]
    fn a_time_without_zone_has_two_candidates() {
        let candidates = time_candidates("2025-08-05 14:00:00");
        assert_eq!(candidates[0], "2025-08-05T14:00:00Z".parse().unwrap());
        assert_eq!(candidates[1], "2025-08-05T06:00:00Z".parse().unwrap());
        assert_eq!(candidates.len(), 2);
    }

    #[test]
    fn times_with_a_meaning_of_their_own_have_one_candidate() {
        let expected: Timestamp = "2025-08-05T06:00:00Z".parse().unwrap();
        assert_eq!(time_candidates("1754373600"), [expected]);
        assert_eq!(time_candidates("2025-08-05T06:00:00Z"), [expected]);
        assert!(time_candidates("").is_empty());
        assert!(time_candidates("0").is_empty());
        assert!(time_candidates("2025-13-45 99:00:00").is_empty());
    }
}
