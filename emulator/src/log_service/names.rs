//! Rules for names, descriptions and tags (sls-api 4.1, 4.2, 5). Pure.

use super::errors::{parameter_invalid, store_info_invalid};
use crate::wire::ApiError;

/// Longest description of a project, in characters: 512 pass and 518 fail in tests against the service.
const MAX_DESCRIPTION: usize = 512;
/// Longest tag key and value, in characters.
const MAX_TAG: usize = 128;

fn plain(text: &str, extra: &[char]) -> bool {
    let alphanumeric = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    text.chars()
        .all(|letter| alphanumeric(letter) || extra.contains(&letter))
        && text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
}

/// 3-63 of `a-z0-9-`, first and last a letter or digit.
pub(super) fn check_project(name: &str) -> Result<(), ApiError> {
    if (3..=63).contains(&name.len()) && plain(name, &['-']) {
        Ok(())
    } else {
        Err(parameter_invalid(format!("project name {name} is invalid")))
    }
}

/// 2-63 of `a-z0-9-_`, first and last a letter or digit.
pub(super) fn check_store(name: &str) -> Result<(), ApiError> {
    if (2..=63).contains(&name.len()) && plain(name, &['-', '_']) {
        Ok(())
    } else {
        Err(store_info_invalid(format!("logstore name {name} is invalid")))
    }
}

/// Whether a job's name is 2-64 of `a-z0-9-_`.
pub(super) fn is_job(name: &str) -> bool {
    (2..=64).contains(&name.len()) && plain(name, &['-', '_'])
}

/// At most 512 characters.
pub(super) fn check_description(text: &str) -> Result<(), ApiError> {
    if text.chars().count() <= MAX_DESCRIPTION {
        Ok(())
    } else {
        Err(parameter_invalid(format!(
            "Invalid project description: '{text}'"
        )))
    }
}

/// Key and value 1-128, no URLs, no reserved key; a slash in the value only where `slash_allowed`.
pub(super) fn check_tag(key: &str, value: &str, slash_allowed: bool) -> Result<(), ApiError> {
    let length = |text: &str| (1..=MAX_TAG).contains(&text.chars().count());
    let url = |text: &str| text.contains("http://") || text.contains("https://");
    let lower = key.to_ascii_lowercase();
    if !length(key) || url(key) || lower.starts_with("acs:") || lower.starts_with("aliyun") {
        return Err(parameter_invalid(format!("The tag key is invalid: {key}")));
    }
    if !length(value) || url(value) || (!slash_allowed && value.contains('/')) {
        return Err(parameter_invalid(format!("The tag value is invalid: {value}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_length_alphabet_and_ends() {
        let projects = [
            ("abc", true),
            ("ab", false),
            ("a-1", true),
            ("-ab", false),
            ("ab-", false),
            ("aBc", false),
            ("a_b", false),
            ("a.b", false),
        ];
        for (name, good) in projects {
            assert_eq!(check_project(name).is_ok(), good, "{name}");
        }
        assert!(check_project(&"a".repeat(63)).is_ok());
        assert!(check_project(&"a".repeat(64)).is_err());
        for (name, good) in [
            ("ab", true),
            ("a", false),
            ("a_b-c", true),
            ("_ab", false),
            ("ab_", false),
        ] {
            assert_eq!(check_store(name).is_ok(), good, "{name}");
        }
        let error = check_store("A").expect_err("upper case");
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("LogStoreInfoInvalid", "logstore name A is invalid")
        );
        assert!(is_job("ramtrail-x") && !is_job("X") && !is_job(&"a".repeat(65)));
    }

    #[test]
    fn descriptions_are_counted_in_characters() {
        assert!(check_description("").is_ok());
        assert!(check_description(&"审".repeat(512)).is_ok());
        let error = check_description(&"a".repeat(513)).expect_err("too long");
        assert!(error.message.starts_with("Invalid project description: 'a"));
    }

    #[test]
    fn tags_keep_their_rules() {
        let long = "x".repeat(129);
        let table = [
            ("k", "v", true),
            ("k", "", false),
            ("", "v", false),
            ("acs:k", "v", false),
            ("Aliyunk", "v", false),
            ("k", "http://v", false),
            ("k", long.as_str(), false),
            (long.as_str(), "v", false),
            ("k", "a/b", true),
        ];
        for (key, value, good) in table {
            assert_eq!(check_tag(key, value, true).is_ok(), good, "{key}={value}");
        }
        assert!(check_tag("k", "a/b", false).is_err());
    }
}
