//! Commands of a script and what they do to a row.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::expression::{Columns, Expression, Kind, Reader, Value};
use super::lexer::{self, TokenKind};
use super::{RowError, ScriptError};
use crate::log_service::index::Index;
use crate::log_service::search::{self, Evaluator, Log, UnindexedKey};

/// Bigint fields of every log; kept by `project`.
const TIME_FIELDS: [&str; 2] = ["__time__", "__time_ns_part__"];

#[derive(Debug, Clone)]
enum Command {
    Where(Expression),
    Extend(Vec<(String, Expression)>),
    /// New name and old name.
    Project(Vec<(String, String)>),
    ProjectAway(Vec<String>),
    ProjectRename(Vec<(String, String)>),
}

/// A checked script.
#[derive(Debug, Clone)]
pub struct Script {
    search: search::Node,
    /// Searches of a script look at fields, whatever the store's index is.
    index: Index,
    commands: Vec<Command>,
}

/// A log going through a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `__time__`, epoch seconds.
    pub time: i64,
    /// `__topic__`.
    pub topic: String,
    /// `__source__`.
    pub source: String,
    /// All other fields, tags under `__tag__:<name>`.
    pub fields: Vec<(String, String)>,
}

struct Held(IndexMap<String, Value>);

impl Columns for Held {
    fn value(&self, name: &str) -> Value {
        self.0.get(name).cloned().unwrap_or(Value::Null)
    }
}

impl Script {
    /// Parses and checks a script.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let (first, rest) = search::split_analysis(text);
        refuse_calls(first)?;
        let search = search::parse_search(first).map_err(|error| ScriptError {
            message: error.message,
            position: error.position,
        })?;
        let mut commands = Vec::new();
        if let Some(rest) = rest {
            let offset = first.chars().count() + 1;
            let end = text.chars().count();
            let tokens = lexer::tokens(rest, offset)?;
            let mut reader = Reader::new(&tokens, end);
            let mut schema: BTreeMap<String, Kind> = TIME_FIELDS
                .iter()
                .map(|&name| (name.to_owned(), Kind::Bigint))
                .collect();
            loop {
                commands.push(command(&mut reader, &mut schema)?);
                if reader.peek().is_none() {
                    break;
                }
                reader.expect("|")?;
            }
        }
        Ok(Self {
            index: search_index(&search),
            search,
            commands,
        })
    }

    /// What becomes of a row; none if the script drops it.
    pub fn run(&self, row: &Row) -> Result<Option<Row>, RowError> {
        let log = Log {
            topic: &row.topic,
            source: &row.source,
            fields: &row.fields,
        };
        let evaluator = Evaluator::new(&self.search, &self.index, UnindexedKey::MatchesNothing)
            .map_err(|problem| RowError(problem.to_string()))?;
        if !evaluator.matches(log) {
            return Ok(None);
        }
        let mut held = Held(IndexMap::new());
        held.0.insert("__time__".to_owned(), Value::Integer(row.time));
        held.0
            .insert("__topic__".to_owned(), Value::Text(row.topic.clone()));
        held.0
            .insert("__source__".to_owned(), Value::Text(row.source.clone()));
        for (name, value) in &row.fields {
            held.0.insert(name.clone(), Value::Text(value.clone()));
        }
        for command in &self.commands {
            if !command.apply(&mut held)? {
                return Ok(None);
            }
        }
        let mut after = Row {
            time: row.time,
            topic: String::new(),
            source: String::new(),
            fields: Vec::new(),
        };
        for (name, value) in held.0 {
            match (name.as_str(), value) {
                ("__time__", Value::Integer(time)) => after.time = time,
                ("__topic__", value) => after.topic = value.into_field().unwrap_or_default(),
                ("__source__", value) => after.source = value.into_field().unwrap_or_default(),
                (_, value) => after.fields.extend(value.into_field().map(|value| (name, value))),
            }
        }
        Ok(Some(after))
    }

    /// Texts that the script's conditions accept: a filter that loses one of them has become narrower. `None` where
    /// there is no condition: everything passes.
    pub fn accepted(&self) -> Option<BTreeSet<String>> {
        let mut texts = BTreeSet::new();
        let filters = self
            .commands
            .iter()
            .any(|command| matches!(command, Command::Where(_)));
        if !filters && self.search == search::Node::All {
            return None;
        }
        for command in &self.commands {
            if let Command::Where(condition) = command {
                condition.accepted(&mut texts);
            }
        }
        Some(texts)
    }
}

impl Command {
    /// Whether the row goes on.
    fn apply(&self, row: &mut Held) -> Result<bool, RowError> {
        match self {
            Self::Where(condition) => return Ok(condition.truth(row)? == Some(true)),
            Self::Extend(columns) => {
                for (name, expression) in columns {
                    let value = expression.value(row)?;
                    row.0.insert(name.clone(), value);
                }
            }
            Self::Project(columns) => {
                let mut kept = IndexMap::new();
                for name in TIME_FIELDS {
                    kept.extend(
                        row.0
                            .get_key_value(name)
                            .map(|(name, value)| (name.clone(), value.clone())),
                    );
                }
                for (new, old) in columns {
                    kept.insert(new.clone(), row.value(old));
                }
                row.0 = kept;
            }
            Self::ProjectAway(names) => row.0.retain(|name, _| !names.contains(name)),
            Self::ProjectRename(pairs) => {
                let taken: Vec<(String, Value)> = pairs
                    .iter()
                    .filter_map(|(new, old)| row.0.shift_remove(old).map(|value| (new.clone(), value)))
                    .collect();
                row.0.extend(taken);
            }
        }
        Ok(true)
    }
}

fn command(reader: &mut Reader<'_>, schema: &mut BTreeMap<String, Kind>) -> Result<Command, ScriptError> {
    let problem = reader.unexpected("a command");
    let Some(TokenKind::Name(name)) = reader.take() else {
        return Err(problem);
    };
    match name.to_ascii_lowercase().as_str() {
        "where" => {
            let position = reader.position();
            let (condition, kind) = reader.typed(schema)?;
            if !matches!(kind, Kind::Boolean | Kind::Unknown) {
                return Err(ScriptError {
                    message: "where needs a condition".to_owned(),
                    position,
                });
            }
            Ok(Command::Where(condition))
        }
        "extend" => {
            let mut columns = Vec::new();
            loop {
                let name = reader.field()?;
                reader.expect("=")?;
                let (expression, kind) = reader.typed(schema)?;
                schema.insert(name.clone(), kind);
                columns.push((name, expression));
                if !reader.eat(",") {
                    return Ok(Command::Extend(columns));
                }
            }
        }
        "project" => {
            let mut columns = Vec::new();
            let mut kept: BTreeMap<String, Kind> = TIME_FIELDS
                .iter()
                .map(|&name| (name.to_owned(), Kind::Bigint))
                .collect();
            loop {
                let new = reader.field()?;
                let old = if reader.eat("=") {
                    reader.field()?
                } else {
                    new.clone()
                };
                kept.insert(new.clone(), schema.get(&old).copied().unwrap_or(Kind::Varchar));
                columns.push((new, old));
                if !reader.eat(",") {
                    *schema = kept;
                    return Ok(Command::Project(columns));
                }
            }
        }
        "project-away" => {
            let mut names = vec![reader.field()?];
            while reader.eat(",") {
                names.push(reader.field()?);
            }
            schema.retain(|name, _| !names.contains(name));
            Ok(Command::ProjectAway(names))
        }
        "project-rename" => {
            let mut pairs = Vec::new();
            loop {
                let new = reader.field()?;
                reader.expect("=")?;
                let old = reader.field()?;
                if let Some(kind) = schema.remove(&old) {
                    schema.insert(new.clone(), kind);
                }
                pairs.push((new, old));
                if !reader.eat(",") {
                    return Ok(Command::ProjectRename(pairs));
                }
            }
        }
        other => Err(ScriptError {
            message: format!("command {other} is not supported"),
            ..problem
        }),
    }
}

/// The older transformation language is made of calls (`e_keep(…)`), which a search could take for words.
fn refuse_calls(search: &str) -> Result<(), ScriptError> {
    let mut quoted = false;
    let mut word = String::new();
    for (position, letter) in search.chars().enumerate() {
        quoted ^= letter == '"';
        let keyword = ["and", "or", "not", "in"]
            .iter()
            .any(|keyword| word.eq_ignore_ascii_case(keyword));
        if letter == '(' && !quoted && !word.is_empty() && !keyword {
            return Err(ScriptError {
                message: format!("call of {word} is not supported"),
                position,
            });
        }
        if letter.is_alphanumeric() || letter == '_' {
            word.push(letter);
        } else {
            word.clear();
        }
    }
    Ok(())
}

/// An index with full text and every field that the search names, as text.
fn search_index(search: &search::Node) -> Index {
    const SEPARATORS: [&str; 30] = [
        " ", "\n", "\t", "\r", ",", ";", "[", "]", "{", "}", "(", ")", "&", "^", "*", "#", "@", "~", "=",
        "<", ">", "/", "\\", "?", ":", "'", "\"", "|", "!", "$",
    ];
    fn fields(node: &search::Node, into: &mut BTreeSet<String>) {
        match node {
            search::Node::All => {}
            search::Node::And(left, right) | search::Node::Or(left, right) => {
                fields(left, into);
                fields(right, into);
            }
            search::Node::Not(inner) => fields(inner, into),
            search::Node::Term(term) => into.extend(term.field.clone()),
        }
    }
    let mut names = BTreeSet::new();
    fields(search, &mut names);
    let keys: serde_json::Map<String, serde_json::Value> = names
        .into_iter()
        .map(|name| (name, serde_json::json!({"type": "text", "token": SEPARATORS})))
        .collect();
    let body = serde_json::json!({"line": {"token": SEPARATORS}, "keys": keys});
    Index::parse(&body, true, 0).expect("the configuration is well formed")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn row(fields: &[(&str, &str)]) -> Row {
        Row {
            time: 100,
            topic: "t".to_owned(),
            source: "s".to_owned(),
            fields: fields
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    fn sample() -> Row {
        row(&[
            (
                "event",
                r#"{"serviceName":"Ram","status":404,"ok":true,"user":{"name":"alice"},"a.b":"dot","list":["x"],"none":null}"#,
            ),
            ("level", "ERROR"),
            ("n", "7"),
            ("empty", ""),
            ("Odd.name", "odd"),
        ])
    }

    fn passes(condition: &str) -> bool {
        let script = Script::parse(&format!("* | where {condition}"))
            .unwrap_or_else(|error| panic!("{condition}: {error}"));
        script.run(&sample()).unwrap().is_some()
    }

    #[test]
    fn conditions_decide() {
        let table = [
            ("level = 'ERROR'", true),
            ("level == 'ERROR'", true),
            ("level = 'error'", false),
            ("Level = 'ERROR'", false),
            ("level != 'INFO'", true),
            ("level <> 'ERROR'", false),
            ("missing != 'x'", false),
            ("missing is null", true),
            ("level is not null", true),
            ("empty is null", false),
            ("\"Odd.name\" = 'odd'", true),
            ("level in ('INFO', 'ERROR')", true),
            ("level not in ('INFO')", true),
            ("missing not in ('INFO')", false),
            ("level not in ('INFO', null)", false),
            ("level like 'E%R'", true),
            ("level like 'E_ROR'", true),
            ("level like 'E'", false),
            ("level not like '%x%'", true),
            ("'50%' like '50!%' escape '!'", true),
            ("not level = 'INFO' and n = '7'", true),
            ("level = 'INFO' or level = 'ERROR' and n = '8'", false),
            ("(level = 'INFO' or level = 'ERROR') and n = '7'", true),
            ("cast(n as bigint) >= 7", true),
            ("cast(n as bigint) < 6.5", false),
            ("cast(n as double) = 7", true),
            ("try_cast(level as bigint) is null", true),
            ("cast(cast(n as bigint) as varchar) = '7'", true),
            ("json_extract_scalar(event, '$.serviceName') = 'Ram'", true),
            (
                "lower(json_extract_scalar(event, '$.serviceName')) in ('ram', 'sts')",
                true,
            ),
            ("upper(level) = 'ERROR'", true),
            ("json_extract_scalar(event, '$.user.name') = 'alice'", true),
            ("json_extract_scalar(event, '$.status') = '404'", true),
            ("json_extract_scalar(event, '$.ok') = 'true'", true),
            ("json_extract_scalar(event, '$[''a.b'']') = 'dot'", true),
            ("json_extract_scalar(event, '$.list[0]') = 'x'", true),
            ("json_extract_scalar(event, '$.user') is null", true),
            ("json_extract_scalar(event, '$.none') is null", true),
            ("json_extract_scalar(event, '$.ServiceName') is null", true),
            (
                "json_extract_scalar(json_extract(event, '$.user'), '$.name') = 'alice'",
                true,
            ),
            ("cast(json_extract(event, '$.status') as bigint) = 404", true),
            ("json_extract_scalar(level, '$.x') is null", true),
            ("coalesce(missing, level) = 'ERROR'", true),
            ("length(level) = 5", true),
            ("regexp_like(level, '^E.+R$')", true),
            ("regexp_like(missing, 'x') is null", true),
            ("__topic__ = 't' and __source__ = 's' and __time__ = 100", true),
            ("true", true),
            ("null", false),
            ("level = 'it''s'", false),
            ("n = '-7' or -1 < 0", true),
            ("LEVEL IS NULL AND NOT (level IN ('x'))", true),
        ];
        for (condition, wanted) in table {
            assert_eq!(passes(condition), wanted, "{condition}");
        }
    }

    #[test]
    fn a_failing_cast_is_told() {
        let script = Script::parse("* | where cast(level as bigint) > 1").unwrap();
        assert!(script.run(&sample()).is_err());
    }

    #[test]
    fn commands_shape_the_row() {
        let run = |script: &str| Script::parse(script).unwrap().run(&sample()).unwrap();
        let fields = |script: &str| {
            run(script)
                .unwrap()
                .fields
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(run("*").unwrap(), sample());
        assert_eq!(
            fields(
                "* | extend s = json_extract_scalar(event, '$.serviceName'), l = length(s) | project s, l"
            ),
            ["s=Ram", "l=3"]
        );
        assert_eq!(fields("* | project name=level, n"), ["name=ERROR", "n=7"]);
        assert_eq!(
            fields("* | project-away event, empty, level, \"Odd.name\""),
            ["n=7"]
        );
        assert_eq!(
            fields("* | project n, level | project-rename severity=level"),
            ["n=7", "severity=ERROR"]
        );
        assert_eq!(fields("* | extend gone = null | project n, gone"), ["n=7"]);
        assert_eq!(
            fields("* | project n -- a comment\n | extend b = 1 < 2"),
            ["n=7", "b=true"]
        );
        let projected = run("* | project n").unwrap();
        assert_eq!((projected.time, projected.topic.as_str()), (100, ""));
        assert_eq!(run("* | extend __time__ = 5").unwrap().time, 5);
        assert_eq!(run("level: error | where n = '7'"), Some(sample()));
        assert_eq!(run("level: info"), None);
        assert_eq!(run("* | where n = '7' | where level = 'x'"), None);
    }

    #[test]
    fn unsupported_and_ill_typed_scripts_are_refused_with_their_place() {
        let table = [
            ("* | stats c = count(*)", 4),
            ("* | where", 9),
            ("* |", 3),
            ("* | where level", 10),
            ("* | where cast(n as bigint) = '7'", 10),
            ("* | where n > 5", 10),
            ("* | where json_extract(event, '$.a') = 'x'", 10),
            ("* | where level = 'x", 18),
            ("* | where level = 'x')", 21),
            ("* | where (level = 'x'", 22),
            ("* | where concat(level, 'x') = 'x'", 10),
            ("* | where level = 'x' || 'y'", 22),
            ("* | where level between 'a' and 'b'", 16),
            ("* | where regexp_like(level, '(')", 10),
            ("* | where json_extract_scalar(event, 'a') = 'x'", 10),
            ("* | where json_extract_scalar(event, level) = 'x'", 10),
            ("* | where lower(level, n) = 'x'", 10),
            ("* | where coalesce() = 'x'", 10),
            ("* | where cast(n as date) = 'x'", 20),
            ("* | extend a 1", 13),
            ("* | project", 11),
            ("* | project and", 12),
            ("* | where n = 1x", 14),
            ("* | where n = '7' ; x", 18),
            ("a: | where n = '7'", 3),
            ("e_keep(e_search(\"a: b\"))", 6),
        ];
        for (script, position) in table {
            let error = Script::parse(script).expect_err(script);
            assert_eq!(error.position, position, "{script}: {error}");
        }
        let deep = format!("* | where {}true{}", "(".repeat(100), ")".repeat(100));
        assert!(Script::parse(&deep).is_err());
        let deep = format!("* | where {}true", "not ".repeat(100));
        assert!(Script::parse(&deep).is_err());
    }

    #[test]
    fn accepted_texts_show_how_wide_a_filter_is() {
        let accepted = |script: &str| Script::parse(script).unwrap().accepted();
        let wide = accepted(
            "* | where lower(json_extract_scalar(event, '$.serviceName')) in ('ram', 'sts') or n = '7'",
        )
        .unwrap();
        assert_eq!(
            wide.iter().map(String::as_str).collect::<Vec<_>>(),
            ["7", "ram", "sts"]
        );
        let narrow =
            accepted("* | where lower(json_extract_scalar(event, '$.serviceName')) in ('ram') or n = '7'")
                .unwrap();
        assert!(wide.is_superset(&narrow) && wide != narrow);
        assert_eq!(
            accepted("* | where n not in ('7') and n != '8'"),
            Some(BTreeSet::new())
        );
        assert_eq!(accepted("* | project n"), None);
    }

    /// A condition over three unknown, true or false columns, as a tree.
    #[derive(Debug, Clone)]
    enum Tree {
        Leaf(usize),
        Not(Box<Tree>),
        And(Box<Tree>, Box<Tree>),
        Or(Box<Tree>, Box<Tree>),
    }

    const LEAVES: [(&str, Option<bool>); 3] = [
        ("level = 'ERROR'", Some(true)),
        ("n = '8'", Some(false)),
        ("missing = 'x'", None),
    ];

    impl Tree {
        /// Kleene's logic, from its definition as minimum and maximum.
        fn truth(&self) -> Option<bool> {
            let rank = |truth: Option<bool>| match truth {
                Some(false) => 0,
                None => 1,
                Some(true) => 2,
            };
            match self {
                Self::Leaf(leaf) => LEAVES[*leaf].1,
                Self::Not(inner) => inner.truth().map(|truth| !truth),
                Self::And(left, right) => [left.truth(), right.truth()]
                    .into_iter()
                    .min_by_key(|truth| rank(*truth))
                    .unwrap(),
                Self::Or(left, right) => [left.truth(), right.truth()]
                    .into_iter()
                    .max_by_key(|truth| rank(*truth))
                    .unwrap(),
            }
        }

        /// Written with as few parentheses as the priorities allow: or 0, and 1, not 2.
        fn text(&self, around: u8) -> String {
            let (own, text) = match self {
                Self::Leaf(leaf) => (3, LEAVES[*leaf].0.to_owned()),
                Self::Not(inner) => (2, format!("not {}", inner.text(2))),
                Self::And(left, right) => (1, format!("{} and {}", left.text(1), right.text(1))),
                Self::Or(left, right) => (0, format!("{} or {}", left.text(0), right.text(0))),
            };
            if own < around { format!("({text})") } else { text }
        }
    }

    fn trees() -> impl Strategy<Value = Tree> {
        (0usize..3)
            .prop_map(Tree::Leaf)
            .prop_recursive(5, 24, 2, |inner| {
                prop_oneof![
                    inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
                    (inner.clone(), inner.clone()).prop_map(|(a, b)| Tree::And(Box::new(a), Box::new(b))),
                    (inner.clone(), inner).prop_map(|(a, b)| Tree::Or(Box::new(a), Box::new(b))),
                ]
            })
    }

    proptest! {
        #[test]
        fn priorities_and_unknowns_follow_sql(tree in trees()) {
            let text = tree.text(0);
            prop_assert_eq!(passes(&text), tree.truth() == Some(true), "{}", text);
            let unknown = format!("({text}) is null");
            prop_assert_eq!(passes(&unknown), tree.truth().is_none(), "{}", unknown);
        }

        #[test]
        fn no_script_panics(text in "\\PC{0,60}") {
            if let Ok(script) = Script::parse(&format!("* | where {text}")) {
                let _ = script.run(&sample());
            }
        }
    }
}
