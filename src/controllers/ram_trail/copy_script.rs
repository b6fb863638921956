//! The copy job as text: its name, its pipeline script, the owner in its description, and reading them back.
//!
//! Owns what the script looks like and what a script found in the cloud means. Must not decide what to do about it: that is
//! [`super::plan`].

use std::collections::BTreeSet;
use std::fmt;

/// Language of the script, as the job's configuration names it.
pub const LANG: &str = "SPL";
/// Dataset that a sink takes when the script names none.
pub const DATASET: &str = "__UNNAMED__";
/// How far before the newest copied event a job that is made again starts, in seconds: events may arrive out of order.
pub const OVERLAP_SECONDS: i64 = 300;

const HEAD: &str = "* | where lower(json_extract_scalar(event, '$.serviceName')) in (";
const OWNER_LABEL: &str = "ramtrail-owner=";

/// Name of the copy job of a trail. Trail names have 6 to 36 characters of `a-z 0-9 - _`, so the job's rule (2 to 64) holds.
pub fn job_name(trail_name: &str) -> String {
    format!("ramtrail-{trail_name}")
}

/// Name that people see for the job.
pub fn display_name(trail_name: &str) -> String {
    format!("ramtrail: RAM access of {trail_name}")
}

/// Description of the job: for people, and the owner for us.
pub fn description(owner: &str, target: &str) -> String {
    format!("Copies RAM access events into {target}. Kept by ramtrail; {OWNER_LABEL}{owner}")
}

/// The owner that a description names, with `released/` before it when it was let go.
pub fn owner_of(description: &str) -> Option<&str> {
    let (_, rest) = description.split_once(OWNER_LABEL)?;
    let owner = rest.split_whitespace().next().unwrap_or_default();
    (!owner.is_empty()).then_some(owner)
}

/// The script that passes the events of these services.
///
/// Service names are compared without regard to case, since their casing in events is not documented for every service. Names
/// are quoted with doubled quotes, so that no name can end the literal.
pub fn script(services: &BTreeSet<String>) -> String {
    let quoted: Vec<String> = services
        .iter()
        .map(|s| format!("'{}'", s.to_lowercase().replace('\'', "''")))
        .collect();
    format!("{HEAD}{})", quoted.join(", "))
}

/// What a script lets through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Filter {
    /// Every event.
    Everything,
    /// The events of these services, lower case.
    Services(BTreeSet<String>),
    /// Not a script that we write: what it lets through is not known.
    Unknown,
}

impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => formatter.write_str("every event"),
            Self::Services(names) => {
                formatter.write_str(&names.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
            }
            Self::Unknown => formatter.write_str("a script that ramtrail did not write"),
        }
    }
}

/// Reads a script back. Only blanks, and the case of its words, may differ from what [`script`] writes.
pub fn parse(text: &str) -> Filter {
    match tokens(text).as_deref() {
        Some([Token::Mark('*')]) => Filter::Everything,
        Some(found) => services_of(found).map_or(Filter::Unknown, Filter::Services),
        None => Filter::Unknown,
    }
}

fn services_of(found: &[Token]) -> Option<BTreeSet<String>> {
    let head = tokens(HEAD).expect("our own script has only known tokens");
    let mut rest = found.strip_prefix(head.as_slice())?;
    let mut names = BTreeSet::new();
    loop {
        let [Token::Text(name), separator, after @ ..] = rest else {
            return None;
        };
        // A name that is not lower case never equals the lowered left side: such a script passes less than it shows.
        if *name != name.to_lowercase() {
            return None;
        }
        names.insert(name.clone());
        match (separator, after) {
            (Token::Mark(','), _) => rest = after,
            (Token::Mark(')'), []) => return Some(names),
            _ => return None,
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

/// Words, quoted texts and marks; `None` for an open quote.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            continue;
        }
        if c == '\'' {
            let mut literal = String::new();
            loop {
                match chars.next()? {
                    '\'' if chars.peek() == Some(&'\'') => literal.push(chars.next()?),
                    '\'' => break,
                    other => literal.push(other),
                }
            }
            found.push(Token::Text(literal));
        } else if c.is_alphanumeric() || c == '_' {
            let mut word = String::from(c);
            while let Some(more) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                word.push(more);
            }
            // Words of the language have no case; `event` is a field and has one.
            let lower = word.to_lowercase();
            found.push(Token::Word(if lower == "event" { word } else { lower }));
        } else {
            found.push(Token::Mark(c));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn script_compares_service_names_without_case() {
        assert_eq!(
            script(&set(&["sts", "Ram"])),
            "* | where lower(json_extract_scalar(event, '$.serviceName')) in ('ram', 'sts')"
        );
    }

    #[test]
    fn a_quote_in_a_name_does_not_end_the_literal() {
        let text = script(&set(&["a') or ('1'='1"]));
        assert!(text.ends_with("in ('a'') or (''1''=''1')"));
        assert_eq!(parse(&text), Filter::Services(set(&["a') or ('1'='1"])));
    }

    #[test]
    fn scripts_of_others_are_unknown() {
        for text in [
            "",
            "* | where false",
            "* | where lower(json_extract_scalar(event, '$.serviceName')) in ()",
            "* | where lower(json_extract_scalar(event, '$.serviceName')) in ('ram') and false",
            "* | where lower(json_extract_scalar(event, '$.serviceName')) in ('ram'",
            "* | where lower(json_extract_scalar(event, '$.serviceName')) in ('Ram')",
            "* | where lower(json_extract_scalar(event, '$.eventName')) in ('ram')",
            "* | where lower(json_extract_scalar(Event, '$.serviceName')) in ('ram')",
            "* | where json_extract_scalar(event, '$.serviceName') in ('ram')",
            "* | where lower(json_extract_scalar(event, '$.serviceName')) not in ('ram')",
            "e_drop()",
        ] {
            assert_eq!(parse(text), Filter::Unknown, "{text}");
        }
    }

    #[test]
    fn blanks_and_case_of_words_do_not_matter() {
        let text = "*|WHERE  lower( json_extract_scalar(event,'$.serviceName') )\n IN ( 'ram','sts' )";
        assert_eq!(parse(text), Filter::Services(set(&["ram", "sts"])));
        assert_eq!(parse(" * "), Filter::Everything);
    }

    #[test]
    fn the_owner_is_read_from_the_description() {
        let owner = "prod-1/4545a189ee6593d75ecddcfea991ebf3";
        let text = description(owner, "ai-workload-log-store");
        assert_eq!(owner_of(&text), Some(owner));
        assert_eq!(owner_of("copies things"), None);
        assert_eq!(owner_of("ramtrail-owner="), None);
        assert_eq!(owner_of("x ramtrail-owner=released/a/b y"), Some("released/a/b"));
    }

    #[test]
    fn job_names_of_legal_trails_are_legal() {
        for trail in ["abcdef", &format!("a{}", "b_-9".repeat(8))] {
            let name = job_name(trail);
            assert!((2..=64).contains(&name.len()));
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
            );
        }
    }

    proptest! {
        #[test]
        fn every_script_of_ours_is_read_back(names in prop::collection::btree_set("[a-z0-9'\\\\ (),]{1,12}", 1..8)) {
            prop_assert_eq!(parse(&script(&names)), Filter::Services(names));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,80}") {
            let _ = parse(&text);
            let _ = owner_of(&text);
        }
    }
}
