//! Index configurations: what CreateIndex and UpdateIndex accept and GetIndex answers.
//!
//! Owns the rules of the configuration; reading logs with it is the search's affair.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::wire::ApiError;

/// Default of `max_text_len`, in bytes.
const DEFAULT_TEXT_LEN: u64 = 2048;
/// Allowed `max_text_len`, in bytes (sls-api 4.6).
const TEXT_LEN: std::ops::RangeInclusive<u64> = 64..=16384;

/// Type of an indexed field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Words.
    Text,
    /// Whole numbers.
    Long,
    /// Numbers.
    Double,
    /// JSON with indexed leaves.
    Json,
}

impl FieldType {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "long" => Some(Self::Long),
            "double" => Some(Self::Double),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// Name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Long => "long",
            Self::Double => "double",
            Self::Json => "json",
        }
    }
}

/// How text becomes words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analyzer {
    /// Characters that separate words.
    pub separators: BTreeSet<char>,
    /// Whether case counts.
    pub case_sensitive: bool,
    /// Whether each Chinese character is a word of its own.
    pub chinese: bool,
}

impl Analyzer {
    /// The words of `text` in order.
    pub fn words(&self, text: &str) -> Vec<String> {
        self.split(text, |_| false)
    }

    /// The words of a bare search word: `*` and `?` stay, as wildcards.
    pub fn patterns(&self, text: &str) -> Vec<String> {
        self.split(text, |letter| matches!(letter, '*' | '?'))
    }

    fn split(&self, text: &str, keep: impl Fn(char) -> bool) -> Vec<String> {
        let mut words = Vec::new();
        let mut word = String::new();
        for letter in text.chars() {
            if self.separators.contains(&letter) && !keep(letter) {
                push_word(&mut words, &mut word);
            } else if self.chinese && is_chinese(letter) {
                push_word(&mut words, &mut word);
                words.push(letter.to_string());
            } else if self.case_sensitive {
                word.push(letter);
            } else {
                word.extend(letter.to_lowercase());
            }
        }
        push_word(&mut words, &mut word);
        words
    }
}

fn push_word(words: &mut Vec<String>, word: &mut String) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

fn is_chinese(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

/// Full-text index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineIndex {
    /// How text becomes words.
    pub analyzer: Analyzer,
    /// Only these fields, if any are named.
    pub include: BTreeSet<String>,
    /// Not these fields.
    pub exclude: BTreeSet<String>,
}

/// Index of a leaf under a JSON field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafIndex {
    /// Never `Json`.
    pub kind: FieldType,
    /// Whether SQL may use it.
    pub doc_value: bool,
    /// Another name for it.
    pub alias: Option<String>,
}

/// Index of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyIndex {
    /// Type.
    pub kind: FieldType,
    /// How text becomes words (text and json).
    pub analyzer: Analyzer,
    /// Whether SQL may use it.
    pub doc_value: bool,
    /// Another name for it.
    pub alias: Option<String>,
    /// JSON: whether all text leaves are indexed.
    pub index_all: bool,
    /// JSON: depth to which `index_all` reaches; none is unlimited.
    pub max_depth: Option<u32>,
    /// JSON: typed leaves by path.
    pub leaves: BTreeMap<String, LeafIndex>,
}

/// A valid index configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Full text.
    pub line: Option<LineIndex>,
    /// Fields by name.
    pub keys: BTreeMap<String, KeyIndex>,
    /// The configuration as GetIndex answers it, without the fields that the service adds.
    config: Map<String, Value>,
    /// Last change, epoch seconds.
    pub modified: i64,
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "IndexInfoInvalid", message)
}

impl Index {
    /// Checks a request body. Unknown members are ignored; `doc_value_allowed` is false in query mode.
    pub fn parse(body: &Value, doc_value_allowed: bool, now: i64) -> Result<Self, ApiError> {
        const LACKING: &str = "required fields line/keys are lacking or of error format.";
        let object = body.as_object().ok_or_else(|| invalid(LACKING))?;
        let part = |name: &str| object.get(name).filter(|value| !value.is_null());
        if part("line").is_none() && part("keys").is_none() {
            return Err(invalid(LACKING));
        }
        let mut config = Map::new();
        let line = match part("line") {
            Some(value) => {
                let line = value.as_object().ok_or_else(|| invalid(LACKING))?;
                let (parsed, shown) = parse_line(line)?;
                config.insert("line".to_owned(), Value::Object(shown));
                Some(parsed)
            }
            None => None,
        };
        let mut keys = BTreeMap::new();
        if let Some(value) = part("keys") {
            let mut shown = Map::new();
            for (name, key) in value.as_object().ok_or_else(|| invalid(LACKING))? {
                let key = key.as_object().ok_or_else(|| invalid(LACKING))?;
                let (parsed, answer) = parse_key(name, key)?;
                let uses_doc_value = parsed.doc_value || parsed.leaves.values().any(|leaf| leaf.doc_value);
                if uses_doc_value && !doc_value_allowed {
                    return Err(invalid("logstore in query mode does not support doc_value."));
                }
                keys.insert(name.clone(), parsed);
                shown.insert(name.clone(), Value::Object(answer));
            }
            config.insert("keys".to_owned(), Value::Object(shown));
        }
        let text_len = match part("max_text_len") {
            None => DEFAULT_TEXT_LEN,
            Some(value) => value
                .as_u64()
                .filter(|length| TEXT_LEN.contains(length))
                .ok_or_else(|| invalid("max_text_len must be within range [64, 16384]"))?,
        };
        config.insert("max_text_len".to_owned(), json!(text_len));
        let log_reduce = part("log_reduce").and_then(Value::as_bool).unwrap_or(false);
        config.insert("log_reduce".to_owned(), json!(log_reduce));
        // Only one of the two lists is effective: the white one wins.
        for name in ["log_reduce_white_list", "log_reduce_black_list"] {
            if let Some(list) = part(name)
                .and_then(Value::as_array)
                .filter(|list| !list.is_empty())
            {
                config.insert(name.to_owned(), json!(list));
                break;
            }
        }
        if let Some(scan) = part("scan_index").and_then(Value::as_bool) {
            config.insert("scan_index".to_owned(), json!(scan));
        }
        Ok(Self {
            line,
            keys,
            config,
            modified: now,
        })
    }

    /// The answer of GetIndex; `ttl` is that of the store.
    pub fn answer(&self, ttl: u32) -> Value {
        let mut answer = self.config.clone();
        answer.insert("index_mode".to_owned(), json!("v2"));
        answer.insert("storage".to_owned(), json!("pg"));
        answer.insert("ttl".to_owned(), json!(ttl));
        answer.insert("lastModifyTime".to_owned(), json!(self.modified));
        Value::Object(answer)
    }

    /// The configuration without times, for comparisons.
    pub fn config(&self) -> Value {
        Value::Object(self.config.clone())
    }

    /// Everything it covers as one set: the larger, the more can be found.
    pub fn coverage(&self) -> BTreeSet<String> {
        let mut covered = BTreeSet::new();
        if let Some(line) = &self.line {
            covered.insert("line".to_owned());
            covered.extend(line.exclude.is_empty().then(|| "line/no-exclusions".to_owned()));
            covered.extend(line.include.is_empty().then(|| "line/all-fields".to_owned()));
        }
        for (name, key) in &self.keys {
            covered.insert(format!("key/{name}"));
            covered.insert(format!("key/{name}/type/{}", key.kind.name()));
            covered.extend(key.doc_value.then(|| format!("key/{name}/doc_value")));
            covered.extend(key.index_all.then(|| format!("key/{name}/index_all")));
            for (path, leaf) in &key.leaves {
                covered.insert(format!("key/{name}.{path}"));
                covered.insert(format!("key/{name}.{path}/type/{}", leaf.kind.name()));
                covered.extend(leaf.doc_value.then(|| format!("key/{name}.{path}/doc_value")));
            }
        }
        covered
    }
}

fn parse_line(line: &Map<String, Value>) -> Result<(LineIndex, Map<String, Value>), ApiError> {
    let (analyzer, mut shown) = parse_analyzer(line, "line")?;
    let include = names(line, "include_keys")?;
    let exclude = names(line, "exclude_keys")?;
    if !include.is_empty() && !exclude.is_empty() {
        return Err(invalid("include_keys and exclude_keys can not be both set."));
    }
    for (name, list) in [("include_keys", &include), ("exclude_keys", &exclude)] {
        if !list.is_empty() {
            shown.insert(name.to_owned(), json!(list));
        }
    }
    Ok((
        LineIndex {
            analyzer,
            include,
            exclude,
        },
        shown,
    ))
}

fn names(line: &Map<String, Value>, member: &str) -> Result<BTreeSet<String>, ApiError> {
    match line.get(member) {
        None | Some(Value::Null) => Ok(BTreeSet::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| invalid(format!("{member} must be a list of names."))),
        Some(_) => Err(invalid(format!("{member} must be a list of names."))),
    }
}

/// `token`, `caseSensitive` and `chn` of the line or of a text field.
fn parse_analyzer(part: &Map<String, Value>, name: &str) -> Result<(Analyzer, Map<String, Value>), ApiError> {
    let missing = || {
        invalid(format!(
            "required field token of {name} is lacking or of error format."
        ))
    };
    let list = part.get("token").and_then(Value::as_array).ok_or_else(missing)?;
    let tokens: Vec<&str> = list
        .iter()
        .map(Value::as_str)
        .collect::<Option<_>>()
        .ok_or_else(missing)?;
    let flag = |member: &str| part.get(member).and_then(Value::as_bool).unwrap_or(false);
    let analyzer = Analyzer {
        separators: tokens.iter().flat_map(|token| token.chars()).collect(),
        case_sensitive: flag("caseSensitive"),
        chinese: flag("chn"),
    };
    let mut shown = Map::new();
    shown.insert("token".to_owned(), json!(tokens));
    shown.insert("caseSensitive".to_owned(), json!(analyzer.case_sensitive));
    shown.insert("chn".to_owned(), json!(analyzer.chinese));
    Ok((analyzer, shown))
}

fn parse_key(name: &str, key: &Map<String, Value>) -> Result<(KeyIndex, Map<String, Value>), ApiError> {
    let kind = key
        .get("type")
        .and_then(Value::as_str)
        .ok_or_else(|| invalid("key config must has type."))?;
    let kind = FieldType::parse(kind)
        .ok_or_else(|| invalid(format!("type {kind} of key {name} is not supported.")))?;
    let textual = matches!(kind, FieldType::Text | FieldType::Json);
    let (analyzer, mut shown) = if textual {
        parse_analyzer(key, &format!("key {name}"))?
    } else {
        let plain = Analyzer {
            separators: BTreeSet::new(),
            case_sensitive: true,
            chinese: false,
        };
        (plain, Map::new())
    };
    let doc_value = key.get("doc_value").and_then(Value::as_bool).unwrap_or(false);
    let alias = key
        .get("alias")
        .and_then(Value::as_str)
        .filter(|alias| !alias.is_empty())
        .map(str::to_owned);
    shown.insert("type".to_owned(), json!(kind.name()));
    shown.insert("doc_value".to_owned(), json!(doc_value));
    shown.insert("alias".to_owned(), json!(alias.as_deref().unwrap_or("")));
    let mut parsed = KeyIndex {
        kind,
        analyzer,
        doc_value,
        alias,
        index_all: false,
        max_depth: None,
        leaves: BTreeMap::new(),
    };
    for extra in ["embedding", "vector_index"] {
        if let Some(value) = key.get(extra).filter(|value| !value.is_null()) {
            shown.insert(extra.to_owned(), value.clone());
        }
    }
    if kind == FieldType::Json {
        parsed.index_all = key.get("index_all").and_then(Value::as_bool).unwrap_or(false);
        let depth = key.get("max_depth").and_then(Value::as_i64).unwrap_or(-1);
        parsed.max_depth = u32::try_from(depth).ok();
        shown.insert("index_all".to_owned(), json!(parsed.index_all));
        shown.insert("max_depth".to_owned(), json!(depth));
        let (leaves, answer) = parse_leaves(name, key)?;
        parsed.leaves = leaves;
        shown.insert("json_keys".to_owned(), Value::Object(answer));
    }
    Ok((parsed, shown))
}

type Leaves = (BTreeMap<String, LeafIndex>, Map<String, Value>);

fn parse_leaves(name: &str, key: &Map<String, Value>) -> Result<Leaves, ApiError> {
    let mut leaves = BTreeMap::new();
    let mut shown = Map::new();
    let Some(value) = key.get("json_keys").filter(|value| !value.is_null()) else {
        return Ok((leaves, shown));
    };
    let malformed = || invalid(format!("json_keys of key {name} is of error format."));
    for (path, leaf) in value.as_object().ok_or_else(malformed)? {
        let leaf = leaf.as_object().ok_or_else(malformed)?;
        let kind = leaf
            .get("type")
            .and_then(Value::as_str)
            .ok_or_else(|| invalid("key config must has type."))?;
        let kind = FieldType::parse(kind)
            .filter(|kind| *kind != FieldType::Json)
            .ok_or_else(|| invalid(format!("type {kind} of key {name}.{path} is not supported.")))?;
        let doc_value = leaf.get("doc_value").and_then(Value::as_bool).unwrap_or(false);
        let alias = leaf
            .get("alias")
            .and_then(Value::as_str)
            .filter(|alias| !alias.is_empty());
        let mut answer = Map::new();
        answer.insert("type".to_owned(), json!(kind.name()));
        answer.insert("doc_value".to_owned(), json!(doc_value));
        answer.insert("alias".to_owned(), json!(alias.unwrap_or("")));
        shown.insert(path.clone(), Value::Object(answer));
        leaves.insert(
            path.clone(),
            LeafIndex {
                kind,
                doc_value,
                alias: alias.map(str::to_owned),
            },
        );
    }
    Ok((leaves, shown))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn line_or_keys_and_tokens_and_types_are_required() {
        let table = [
            (
                json!({}),
                "required fields line/keys are lacking or of error format.",
            ),
            (
                json!([]),
                "required fields line/keys are lacking or of error format.",
            ),
            (
                json!({"line": {}}),
                "required field token of line is lacking or of error format.",
            ),
            (
                json!({"line": {"token": "x"}}),
                "required field token of line is lacking or of error format.",
            ),
            (json!({"keys": {"a": {}}}), "key config must has type."),
            (
                json!({"keys": {"a": {"type": "date"}}}),
                "type date of key a is not supported.",
            ),
            (
                json!({"keys": {"a": {"type": "text"}}}),
                "required field token of key a is lacking or of error format.",
            ),
            (
                json!({"keys": {"a": {"type": "json", "token": [], "json_keys": {"b": {"type": "json"}}}}}),
                "type json of key a.b is not supported.",
            ),
            (
                json!({"line": {"token": [], "include_keys": ["a"], "exclude_keys": ["b"]}}),
                "include_keys and exclude_keys can not be both set.",
            ),
            (
                json!({"line": {"token": []}, "max_text_len": 63}),
                "max_text_len must be within range [64, 16384]",
            ),
        ];
        for (body, message) in table {
            let error = Index::parse(&body, true, 0).expect_err(message);
            assert_eq!(
                (error.status, error.code.as_str(), error.message.as_str()),
                (400, "IndexInfoInvalid", message)
            );
        }
    }

    #[test]
    fn the_answer_holds_defaults_and_what_the_service_adds() {
        let body =
            json!({"line": {"token": [" "]}, "keys": {"a": {"type": "long", "unknown": 1}}, "other": 2});
        let answer = Index::parse(&body, true, 77).unwrap().answer(30);
        assert_eq!(
            answer,
            json!({
                "line": {"token": [" "], "caseSensitive": false, "chn": false},
                "keys": {"a": {"type": "long", "doc_value": false, "alias": ""}},
                "max_text_len": 2048, "log_reduce": false, "index_mode": "v2", "storage": "pg",
                "ttl": 30, "lastModifyTime": 77,
            })
        );
    }

    #[test]
    fn doc_value_is_refused_where_it_is_not_allowed() {
        let body = json!({"keys": {"a": {"type": "long", "doc_value": true}}});
        assert!(Index::parse(&body, true, 0).is_ok());
        assert!(Index::parse(&body, false, 0).is_err());
    }

    #[test]
    fn coverage_shrinks_with_every_weakening() {
        let full = json!({"line": {"token": [" "]}, "keys": {"e": {"type": "json", "token": [" "], "index_all": true,
            "doc_value": true, "json_keys": {"n": {"type": "long", "doc_value": true}}}}});
        let covered = Index::parse(&full, true, 0).unwrap().coverage();
        let weaker = [
            json!({"keys": full["keys"]}),
            json!({"line": full["line"]}),
            json!({"line": {"token": [" "], "exclude_keys": ["e"]}, "keys": full["keys"]}),
            json!({"line": full["line"], "keys": {"e": {"type": "text", "token": [" "]}}}),
        ];
        for body in weaker {
            let less = Index::parse(&body, true, 0).unwrap().coverage();
            assert!(!less.is_superset(&covered), "{body}");
        }
    }

    #[test]
    fn words_follow_separators_case_and_chinese() {
        let analyzer = |case_sensitive, chinese| Analyzer {
            separators: " ,:".chars().collect(),
            case_sensitive,
            chinese,
        };
        assert_eq!(analyzer(false, false).words("A b,,C:d-e"), ["a", "b", "c", "d-e"]);
        assert_eq!(analyzer(true, false).words("A b"), ["A", "b"]);
        assert_eq!(analyzer(false, false).words("x审计y"), ["x审计y"]);
        assert_eq!(analyzer(false, true).words("x审计y"), ["x", "审", "计", "y"]);
        assert!(analyzer(false, false).words(" ,").is_empty());
    }
}
