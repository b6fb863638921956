//! Meaning of a search: which logs match under which index.
//!
//! A field that has an index of its own is searched with that index; the full-text index serves conditions
//! without a field. Nothing here looks at stores or times.

use std::collections::BTreeMap;

use serde_json::Value;

use super::parser::{Node, Term, Test};
use crate::log_service::index::{Analyzer, FieldType, Index, KeyIndex};

/// Separators for the reserved fields, which need no index.
const DEFAULT_SEPARATORS: &str = " \n\t\r,;[]{}()&^*#@~=<>/\\?:'\"";

/// A log as the search sees it.
#[derive(Debug, Clone, Copy)]
pub struct Log<'a> {
    /// `__topic__`.
    pub topic: &'a str,
    /// `__source__`.
    pub source: &'a str,
    /// Content fields, and tags under `__tag__:<name>`.
    pub fields: &'a [(String, String)],
}

/// What a condition on a field without index means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnindexedKey {
    /// The query is refused.
    Refused,
    /// The condition matches nothing.
    MatchesNothing,
}

/// A condition that the index cannot serve; the text is the service's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// No index on the field.
    #[error(
        "key ({0}) is not config as key value config,if symbol : is in your log,please wrap : with quotation mark \""
    )]
    NotIndexed(String),
    /// A number was asked of a field that is not indexed as one.
    #[error("key ({0}) is not config as numberic column")]
    NotNumeric(String),
}

/// What a condition on a field looks at.
enum Target<'a> {
    /// A reserved field; always searchable as text.
    Reserved,
    /// A field with its own index.
    Key(&'a str, &'a KeyIndex),
    /// A leaf of a JSON field.
    Leaf {
        key: &'a str,
        index: &'a KeyIndex,
        path: &'a str,
        kind: FieldType,
    },
}

/// What several conditions ask of one log, worked out once.
#[derive(Default)]
struct Memo<'a> {
    /// JSON fields.
    parsed: BTreeMap<&'a str, Option<Value>>,
    /// What the full-text index covers, in the case that it compares in.
    text: Option<String>,
    /// The words of that.
    words: Option<Vec<String>>,
}

/// A search bound to an index.
#[derive(Debug)]
pub struct Evaluator<'a> {
    search: &'a Node,
    index: &'a Index,
    reserved: Analyzer,
    unindexed: UnindexedKey,
}

impl<'a> Evaluator<'a> {
    /// Binds a search to an index; fails if a condition cannot be served by it.
    pub fn new(search: &'a Node, index: &'a Index, unindexed: UnindexedKey) -> Result<Self, FieldProblem> {
        let reserved = Analyzer {
            separators: DEFAULT_SEPARATORS.chars().collect(),
            case_sensitive: false,
            chinese: false,
        };
        let evaluator = Self {
            search,
            index,
            reserved,
            unindexed,
        };
        evaluator.check(search)?;
        Ok(evaluator)
    }

    fn check(&self, node: &Node) -> Result<(), FieldProblem> {
        match node {
            Node::And(left, right) | Node::Or(left, right) => {
                self.check(left)?;
                self.check(right)
            }
            Node::Not(inner) => self.check(inner),
            Node::Term(Term {
                field: Some(field),
                asks,
                ..
            }) => match self.target(field) {
                None if self.unindexed == UnindexedKey::Refused => {
                    Err(FieldProblem::NotIndexed(field.clone()))
                }
                Some(target) if matches!(asks, Test::Range(_)) && !target.numeric() => {
                    Err(FieldProblem::NotNumeric(field.clone()))
                }
                _ => Ok(()),
            },
            Node::All | Node::Term(Term { field: None, .. }) => Ok(()),
        }
    }

    /// Whether the log matches.
    pub fn matches(&self, log: Log<'_>) -> bool {
        self.node(self.search, log, &mut Memo::default())
    }

    fn node(&self, node: &'a Node, log: Log<'_>, memo: &mut Memo<'a>) -> bool {
        match node {
            Node::All => true,
            Node::And(left, right) => self.node(left, log, memo) && self.node(right, log, memo),
            Node::Or(left, right) => self.node(left, log, memo) || self.node(right, log, memo),
            Node::Not(inner) => !self.node(inner, log, memo),
            Node::Term(Term {
                field: None, asks, ..
            }) => self.full_text(asks, log, memo),
            Node::Term(Term {
                field: Some(field),
                asks,
                ..
            }) => self.field(field, asks, log, memo),
        }
    }

    fn full_text(&self, asks: &Test, log: Log<'_>, memo: &mut Memo<'a>) -> bool {
        let Some(line) = &self.index.line else {
            return false;
        };
        let searched = || {
            log.fields
                .iter()
                .filter(|(name, _)| !line.exclude.contains(name))
                .filter(|(name, _)| line.include.is_empty() || line.include.contains(name))
                .map(|(_, value)| value.as_str())
        };
        // Words may come from different fields, a phrase must stand in one.
        if matches!(asks, Test::Phrase(_)) {
            return searched().any(|value| text_matches(&line.analyzer, asks, value));
        }
        let text = memo.text.get_or_insert_with(|| {
            let text = searched().collect::<Vec<_>>().join("\n");
            if line.analyzer.case_sensitive {
                text
            } else {
                text.to_lowercase()
            }
        });
        if lacks(&line.analyzer, asks, text) {
            return false;
        }
        let words = memo
            .words
            .get_or_insert_with(|| searched().flat_map(|value| line.analyzer.words(value)).collect());
        words_match(&line.analyzer, asks, words)
    }

    fn field(&self, field: &'a str, asks: &Test, log: Log<'_>, memo: &mut Memo<'a>) -> bool {
        match self.target(field) {
            None => false,
            Some(Target::Reserved) => {
                let value = match field {
                    "__topic__" => Some(log.topic),
                    "__source__" => Some(log.source),
                    other => stored(log, other),
                };
                value.is_some_and(|value| text_matches(&self.reserved, asks, value))
            }
            Some(Target::Key(name, index)) => {
                let Some(value) = stored(log, name) else {
                    return false;
                };
                value_matches(index.kind, &index.analyzer, asks, value)
            }
            Some(Target::Leaf {
                key,
                index,
                path,
                kind,
            }) => {
                let document = memo
                    .parsed
                    .entry(key)
                    .or_insert_with(|| stored(log, key).and_then(|text| serde_json::from_str(text).ok()));
                let Some(leaf) = document.as_ref().and_then(|document| leaf(document, path)) else {
                    return false;
                };
                let text = match leaf {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                value_matches(kind, &index.analyzer, asks, &text)
            }
        }
    }

    fn target(&self, field: &'a str) -> Option<Target<'a>> {
        if let Some((name, key)) = self.index.keys.get_key_value(field) {
            return Some(Target::Key(name, key));
        }
        if matches!(field, "__topic__" | "__source__") || field.starts_with("__tag__:") {
            return Some(Target::Reserved);
        }
        for (name, key) in &self.index.keys {
            if key.alias.as_deref() == Some(field) {
                return Some(Target::Key(name, key));
            }
            if let Some((path, leaf)) = key
                .leaves
                .iter()
                .find(|(_, leaf)| leaf.alias.as_deref() == Some(field))
            {
                return Some(Target::Leaf {
                    key: name,
                    index: key,
                    path,
                    kind: leaf.kind,
                });
            }
        }
        // The longest indexed prefix wins: fields may have dots in their own names.
        let mut end = field.len();
        while let Some(dot) = field[..end].rfind('.') {
            let path = &field[dot + 1..];
            if let Some((name, key)) = self.index.keys.get_key_value(&field[..dot])
                && key.kind == FieldType::Json
                && !path.is_empty()
            {
                return Self::leaf_target(name, key, path);
            }
            end = dot;
        }
        None
    }

    fn leaf_target(name: &'a str, key: &'a KeyIndex, path: &'a str) -> Option<Target<'a>> {
        if let Some((path, leaf)) = key.leaves.get_key_value(path) {
            return Some(Target::Leaf {
                key: name,
                index: key,
                path,
                kind: leaf.kind,
            });
        }
        let depth = path.split('.').count();
        let reached = key
            .max_depth
            .is_none_or(|limit| usize::try_from(limit).is_ok_and(|limit| depth <= limit));
        (key.index_all && reached).then_some(Target::Leaf {
            key: name,
            index: key,
            path,
            kind: FieldType::Text,
        })
    }
}

impl Target<'_> {
    fn numeric(&self) -> bool {
        let kind = match self {
            Self::Reserved => FieldType::Text,
            Self::Key(_, key) => key.kind,
            Self::Leaf { kind, .. } => *kind,
        };
        matches!(kind, FieldType::Long | FieldType::Double)
    }
}

fn stored<'a>(log: Log<'a>, name: &str) -> Option<&'a str> {
    log.fields
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// The value at a dotted path; member names may have dots themselves, the longest name wins.
fn leaf<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let Value::Object(members) = value else {
        return None;
    };
    if let Some(found) = members.get(path) {
        return Some(found);
    }
    let mut end = path.len();
    while let Some(dot) = path[..end].rfind('.') {
        if let Some(found) = members
            .get(&path[..dot])
            .and_then(|inner| leaf(inner, &path[dot + 1..]))
        {
            return Some(found);
        }
        end = dot;
    }
    None
}

fn value_matches(kind: FieldType, analyzer: &Analyzer, asks: &Test, value: &str) -> bool {
    match kind {
        FieldType::Text | FieldType::Json => text_matches(analyzer, asks, value),
        FieldType::Long => value
            .trim()
            .parse::<i64>()
            .is_ok_and(|_| number_matches(asks, value)),
        FieldType::Double => number_matches(asks, value),
    }
}

fn number_matches(asks: &Test, value: &str) -> bool {
    let Ok(value) = value.trim().parse::<f64>() else {
        return false;
    };
    match asks {
        Test::Exists => true,
        Test::Range(range) => range.contains(value),
        Test::Word(text) | Test::Quoted(text) | Test::Phrase(text) => {
            text.trim().parse::<f64>().is_ok_and(|wanted| {
                super::parser::Range {
                    low: Some((wanted, true)),
                    high: Some((wanted, true)),
                }
                .contains(value)
            })
        }
    }
}

/// Whether the text, in the case that the analyzer compares in, cannot hold what is asked: a word stands in it as it is. Much
/// cheaper than its words. Where letters may change with their case in other ways it says no.
fn lacks(analyzer: &Analyzer, asks: &Test, text: &str) -> bool {
    let (Test::Word(wanted) | Test::Quoted(wanted)) = asks else {
        return false;
    };
    if !wanted.is_ascii() || (matches!(asks, Test::Word(_)) && wanted.contains(['*', '?'])) {
        return false;
    }
    analyzer.words(wanted).iter().any(|word| !text.contains(word))
}

fn text_matches(analyzer: &Analyzer, asks: &Test, value: &str) -> bool {
    match asks {
        Test::Exists => true,
        // `key: ""` finds fields that are there and empty.
        Test::Quoted(text) if text.is_empty() => value.is_empty(),
        Test::Phrase(text) => {
            let wanted = analyzer.words(text);
            !wanted.is_empty()
                && analyzer
                    .words(value)
                    .windows(wanted.len())
                    .any(|found| found == wanted)
        }
        _ => words_match(analyzer, asks, &analyzer.words(value)),
    }
}

fn words_match(analyzer: &Analyzer, asks: &Test, words: &[String]) -> bool {
    match asks {
        Test::Exists => true,
        Test::Word(text) => {
            let patterns = analyzer.patterns(text);
            !patterns.is_empty()
                && patterns
                    .iter()
                    .all(|pattern| words.iter().any(|word| glob(pattern, word)))
        }
        Test::Quoted(text) | Test::Phrase(text) => {
            let wanted = analyzer.words(text);
            !wanted.is_empty() && wanted.iter().all(|word| words.contains(word))
        }
        Test::Range(_) => false,
    }
}

/// `*` is any text, `?` one character.
fn glob(pattern: &str, word: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let word: Vec<char> = word.chars().collect();
    let (mut at, mut from) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while from < word.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at, from));
                at += 1;
            }
            Some(&letter) if letter == '?' || letter == word[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star, taken)) = retry else { return false };
                retry = Some((star, taken + 1));
                at = star + 1;
                from = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|&letter| letter == '*')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::log_service::search::parse_search;

    const TOKENS: &str = " \n\t\r,;[]{}()&^*#@~=<>/\\?:'\"";

    fn token() -> Vec<String> {
        TOKENS.chars().map(|letter| letter.to_string()).collect()
    }

    fn index() -> Index {
        let body = json!({
            "line": {"token": token()},
            "keys": {
                "event": {"type": "json", "token": token(), "index_all": true, "doc_value": true, "json_keys": {
                    "serviceName": {"type": "text"},
                    "status": {"type": "long", "alias": "event_status"},
                    "ratio": {"type": "double"},
                }},
                "closed": {"type": "json", "token": token(), "json_keys": {"a": {"type": "text"}}},
                "Case": {"type": "text", "token": token(), "caseSensitive": true, "alias": "renamed"},
                "n": {"type": "long"},
                "d": {"type": "double"},
            },
        });
        Index::parse(&body, true, 0).unwrap()
    }

    fn fields() -> Vec<(String, String)> {
        let event = json!({
            "serviceName": "Ram", "eventName": "CreateUser", "errorCode": "NoPermission.Denied", "status": 404,
            "ratio": 1.5, "flag": true, "nothing": null, "dotted.name": {"x": "deep"},
            "userIdentity": {"type": "ram-user", "userName": "alice"},
            "requestId": "7F1C2A30-0000-4000-8000-00000000A001", "list": ["one", "two"],
        });
        [
            ("event", event.to_string().as_str()),
            ("closed", r#"{"a":"yes","b":"no"}"#),
            ("Case", "Alpha beta gamma"),
            ("n", "42"),
            ("d", "-1.5"),
            ("empty", ""),
            ("__tag__:host", "node-1"),
            ("plain", "full text only 审计"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    fn matches(search: &str) -> bool {
        let (search, index, fields) = (parse_search(search).unwrap(), index(), fields());
        let log = Log {
            topic: "actiontrail_audit_event",
            source: "10.0.0.1",
            fields: &fields,
        };
        Evaluator::new(&search, &index, UnindexedKey::MatchesNothing)
            .unwrap()
            .matches(log)
    }

    #[test]
    fn conditions_match_by_index() {
        let table = [
            ("*", true),
            ("event.serviceName: Ram", true),
            ("event.serviceName: ram", true),
            ("event.servicename: Ram", false),
            ("event.serviceName: Ra", false),
            ("event.serviceName: Ra*", true),
            ("event.serviceName: R?m", true),
            ("event.serviceName: R?", false),
            ("event.eventName: CreateUser", true),
            ("event.eventName: Create*User", true),
            ("event.errorCode: NoPermission.*", true),
            ("event.errorCode: NoPermission", false),
            ("event.errorCode: \"NoPermission.Denied\"", true),
            ("\"event.userIdentity.type\": ram-user", true),
            ("event.userIdentity.type:\"ram-user\"", true),
            ("event.userIdentity.userName: bob", false),
            ("event.userIdentity: *", true),
            ("event.dotted.name.x: deep", true),
            ("event.flag: true", true),
            ("event.nothing: null", true),
            ("event.list: two", true),
            ("event.missing: *", false),
            ("not event.missing: *", true),
            ("event.status: 404", true),
            ("event.status >= 404", true),
            ("event.status > 404", false),
            ("event_status in [400 499]", true),
            ("event.ratio < 1.6", true),
            ("event.status: x", false),
            ("closed.a: yes", true),
            ("closed.b: no", false),
            ("Case: Alpha", true),
            ("Case: alpha", false),
            ("renamed: Alpha", true),
            ("case: Alpha", false),
            ("n: 42", true),
            ("n = 42", true),
            ("n != 41", true),
            ("n in (42 50]", false),
            ("d > -2", true),
            ("d: -1.50", true),
            ("empty: \"\"", false),
            ("__topic__: actiontrail_audit_event", true),
            ("__topic__: other", false),
            ("__source__: \"10.0.0.1\"", true),
            ("__tag__:host: node-1", true),
            ("7F1C2A30-0000-4000-8000-00000000A001", true),
            ("7f1c2a30-0000-4000-8000-00000000a001", true),
            ("7F1C2A30", false),
            ("7F1C2A30*", true),
            ("\"text full\"", true),
            ("#\"text full\"", false),
            ("#\"full text\"", true),
            ("Case: #\"beta gamma\"", true),
            ("Case: \"gamma beta\"", true),
            ("审计", true),
            ("审", false),
            ("full alice", true),
            ("full and not alice", false),
            ("nothere or event.serviceName: Ram", true),
            (
                "(event.serviceName: Sts or event.serviceName: Ram) and not n: 41",
                true,
            ),
            ("\",\"", false),
        ];
        for (search, wanted) in table {
            assert_eq!(matches(search), wanted, "{search}");
        }
    }

    #[test]
    fn conditions_that_the_index_cannot_serve_are_told() {
        let index = index();
        let problem = |search: &str, unindexed| {
            let search = parse_search(search).unwrap();
            Evaluator::new(&search, &index, unindexed)
                .err()
                .map(|problem| problem.to_string())
        };
        let told = problem("plain: x", UnindexedKey::Refused).unwrap();
        assert!(
            told.starts_with("key (plain) is not config as key value config"),
            "{told}"
        );
        assert!(problem("a or (b and not closed.b: no)", UnindexedKey::Refused).is_some());
        assert!(problem("event.any.thing: no", UnindexedKey::Refused).is_none());
        assert!(problem("plain: x", UnindexedKey::MatchesNothing).is_none());
        let told = problem("Case > 5", UnindexedKey::MatchesNothing).unwrap();
        assert_eq!(told, "key (Case) is not config as numberic column");
    }

    #[test]
    fn without_full_text_index_only_fields_are_found() {
        let index = Index::parse(&json!({"keys": {"n": {"type": "long"}}}), true, 0).unwrap();
        let fields = fields();
        let log = Log {
            topic: "",
            source: "",
            fields: &fields,
        };
        for (search, wanted) in [("full", false), ("n: 42", true), ("not full", true)] {
            let search = parse_search(search).unwrap();
            assert_eq!(
                Evaluator::new(&search, &index, UnindexedKey::Refused)
                    .unwrap()
                    .matches(log),
                wanted
            );
        }
    }

    #[test]
    fn excluded_fields_are_not_in_the_full_text() {
        let body = json!({"line": {"token": token(), "exclude_keys": ["plain"]}});
        let index = Index::parse(&body, true, 0).unwrap();
        let fields = fields();
        let log = Log {
            topic: "",
            source: "",
            fields: &fields,
        };
        let search = parse_search("only").unwrap();
        assert!(
            !Evaluator::new(&search, &index, UnindexedKey::Refused)
                .unwrap()
                .matches(log)
        );
    }

    #[test]
    fn depth_limits_index_all() {
        let body =
            json!({"keys": {"e": {"type": "json", "token": token(), "index_all": true, "max_depth": 1}}});
        let index = Index::parse(&body, true, 0).unwrap();
        let fields = vec![("e".to_owned(), r#"{"a":"x","b":{"c":"x"}}"#.to_owned())];
        let log = Log {
            topic: "",
            source: "",
            fields: &fields,
        };
        for (search, wanted) in [("e.a: x", true), ("e.b.c: x", false)] {
            let search = parse_search(search).unwrap();
            let evaluator = Evaluator::new(&search, &index, UnindexedKey::MatchesNothing).unwrap();
            assert_eq!(evaluator.matches(log), wanted, "{search:?}");
        }
    }

    /// The same question answered by plain recursion.
    fn slow_glob(pattern: &[char], word: &[char]) -> bool {
        match pattern.split_first() {
            None => word.is_empty(),
            Some(('*', rest)) => (0..=word.len()).any(|skip| slow_glob(rest, &word[skip..])),
            Some((letter, rest)) => word
                .split_first()
                .is_some_and(|(first, tail)| (letter == first || *letter == '?') && slow_glob(rest, tail)),
        }
    }

    proptest! {
        #[test]
        fn wildcards_agree_with_their_definition(pattern in "[ab*?]{0,6}", word in "[ab]{0,8}") {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&pattern, &word), slow_glob(&letters(&pattern), &letters(&word)));
        }

        #[test]
        fn a_condition_and_its_negation_split_all_logs(value in "[a-c ]{0,8}", word in "[a-c]") {
            let index = Index::parse(&json!({"line": {"token": [" "]}}), true, 0).unwrap();
            let fields = vec![("k".to_owned(), value)];
            let log = Log { topic: "", source: "", fields: &fields };
            let run = |text: String| {
                let search = parse_search(&text).unwrap();
                Evaluator::new(&search, &index, UnindexedKey::Refused).unwrap().matches(log)
            };
            prop_assert_ne!(run(word.clone()), run(format!("not {word}")));
        }
    }
}
