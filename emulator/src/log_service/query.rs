//! Queries over stored logs: GetLogs in its two forms and GetHistograms (sls-api 4.11).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::State;
use super::arguments::Arguments;
use super::assumptions::{IndexReach, UnindexedCondition};
use super::data::{StoredGroup, StoredLog};
use super::errors::{bad, parameter_invalid};
use super::index::Index;
use super::search::{self, Evaluator, Log, Node, Query, Test, UnindexedKey};
use super::store::{LogStore, index_absent};
use crate::call::CallContext;
use crate::wire::{ApiError, Reply};

/// Rows of one answer at most; larger wishes are cut.
const MAX_LINES: usize = 100;
/// Intervals of a histogram that names none.
const INTERVALS: i64 = 60;

/// The parameters of a query, from the query string or from a JSON body.
struct Wanted {
    from: i64,
    to: i64,
    query: Query,
    topic: Option<String>,
    offset: usize,
    line: usize,
    reverse: bool,
}

/// A parameter as text, whatever JSON type it came in.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

impl Wanted {
    fn read(parameter: impl Fn(&str) -> Option<String>) -> Result<Self, ApiError> {
        let given = |name: &str| parameter(name).filter(|text| !text.is_empty());
        let time = |name: &str| {
            given(name)
                .and_then(|text| text.parse::<i64>().ok())
                .filter(|time| *time > 0)
                .ok_or_else(|| parameter_invalid(format!("The parameter {name} must be a positive integer")))
        };
        let number = |name: &str, code: &str, default: usize| match given(name) {
            None => Ok(default),
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| bad(code, format!("The parameter {name} is invalid: {text}"))),
        };
        let (from, to) = (time("from")?, time("to")?);
        if from >= to {
            return Err(bad(
                "InvalidTimeRange",
                "The time range is invalid: from must be less than to",
            ));
        }
        let reverse = match given("reverse").map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                return Err(bad(
                    "InvalidReverse",
                    format!("The parameter reverse is invalid: {other}"),
                ));
            }
        };
        let text = parameter("query").unwrap_or_default();
        let query = search::parse_query(&text)
            .map_err(|error| parameter_invalid(format!("ParseError: {error}, query: {text}")))?;
        if query.analysis.is_some() {
            return Err(parameter_invalid(
                "This emulator does not run SQL yet: the analytic statement after '|' is not supported",
            ));
        }
        Ok(Self {
            from,
            to,
            query,
            topic: given("topic"),
            offset: number("offset", "InvalidOffset", 0)?,
            line: number("line", "InvalidLine", MAX_LINES)?.min(MAX_LINES),
            reverse,
        })
    }
}

/// A log that matches, with its group.
type Hit<'a> = (&'a StoredGroup, &'a StoredLog);

struct Found<'a> {
    hits: Vec<Hit<'a>>,
    looked_at: usize,
}

fn find<'a>(cx: &CallContext<'_>, store: &'a LogStore, wanted: &Wanted) -> Result<Found<'a>, ApiError> {
    let Some(current) = &store.index else {
        return Err(index_absent(cx, "logstore without index config"));
    };
    let unindexed = match cx.assumptions.get::<UnindexedCondition>() {
        UnindexedCondition::Refused => UnindexedKey::Refused,
        UnindexedCondition::MatchesNothing => UnindexedKey::MatchesNothing,
    };
    let search = &wanted.query.search;
    Evaluator::new(search, current, unindexed).map_err(|problem| parameter_invalid(problem.to_string()))?;
    let mut found = Found {
        hits: Vec::new(),
        looked_at: 0,
    };
    // Logs are found by the index of their time; most share one.
    let mut bound: Option<(&Arc<Index>, Evaluator<'_>)> = None;
    for (group, index) in store.searchable(cx.assumptions.get::<IndexReach>()) {
        if wanted.topic.as_deref().is_some_and(|topic| topic != group.topic) {
            continue;
        }
        if !bound.as_ref().is_some_and(|(held, _)| Arc::ptr_eq(held, index)) {
            bound = Evaluator::new(search, index, UnindexedKey::MatchesNothing)
                .ok()
                .map(|evaluator| (index, evaluator));
        }
        // An older index in which a numeric condition meets a text field finds nothing.
        let Some((_, evaluator)) = &bound else { continue };
        for log in group
            .logs
            .iter()
            .filter(|log| (wanted.from..wanted.to).contains(&log.time))
        {
            found.looked_at += 1;
            if evaluator.matches(Log {
                topic: &group.topic,
                source: &group.source,
                fields: &log.fields,
            }) {
                found.hits.push((group, log));
            }
        }
    }
    found
        .hits
        .sort_by_key(|(group, log)| (log.time, log.nanos, group.received));
    if wanted.reverse {
        found.hits.reverse();
    }
    Ok(found)
}

fn row((group, log): Hit<'_>) -> Value {
    let mut row = Map::new();
    for (name, value) in &log.fields {
        row.insert(name.clone(), json!(value));
    }
    row.insert("__time__".to_owned(), json!(log.time.to_string()));
    row.insert("__topic__".to_owned(), json!(group.topic));
    row.insert("__source__".to_owned(), json!(group.source));
    if let Some(nanos) = log.nanos {
        row.insert("__time_ns_part__".to_owned(), json!(nanos.to_string()));
    }
    Value::Object(row)
}

/// Words of the search with their fields, for highlighting.
fn terms(node: &Node, into: &mut Vec<Value>) {
    match node {
        Node::All | Node::Not(_) => {}
        Node::And(left, right) | Node::Or(left, right) => {
            terms(left, into);
            terms(right, into);
        }
        Node::Term(term) => {
            let word = match &term.asks {
                Test::Word(text) | Test::Quoted(text) | Test::Phrase(text) => text.as_str(),
                Test::Exists | Test::Range(_) => return,
            };
            into.push(json!({"key": term.field.as_deref().unwrap_or(""), "term": word}));
        }
    }
}

fn keys(rows: &[Value]) -> BTreeSet<&str> {
    rows.iter()
        .filter_map(Value::as_object)
        .flat_map(|row| row.keys().map(String::as_str))
        .collect()
}

impl State {
    /// `POST /logstores/{l}/logs`: everything in the body.
    pub(super) fn get_logs(
        &mut self,
        cx: &CallContext<'_>,
        (project, store): (&str, &str),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        let body = given.object()?;
        let wanted = Wanted::read(|name| body.get(name).and_then(text_of))?;
        let found = find(cx, store, &wanted)?;
        let looked_at = found.looked_at;
        let rows: Vec<Value> = found
            .hits
            .into_iter()
            .skip(wanted.offset)
            .take(wanted.line)
            .map(row)
            .collect();
        let mut words = Vec::new();
        terms(&wanted.query.search, &mut words);
        let answer = json!({
            "meta": {
                "progress": "Complete",
                "count": rows.len(),
                "hasSQL": false,
                "aggQuery": "",
                "whereQuery": wanted.query.search_text,
                "processedRows": looked_at,
                "processedBytes": 0,
                "elapsedMillisecond": 1,
                "cpuSec": 0.0,
                "cpuCores": 0,
                "limited": 0,
                "keys": keys(&rows),
                "columnTypes": [],
                "terms": words,
                "mode": 0,
                "isAccurate": true,
                "scanBytes": 0,
                "highlights": [],
                "powerSql": false,
                "insertedSQL": "",
                "telementryType": "None",
            },
            "data": rows,
        });
        Ok(Reply::json(&answer))
    }

    /// `GET /logstores/{l}?type=log`: an array of rows, the rest in headers.
    pub(super) fn get_logs_legacy(
        &mut self,
        cx: &CallContext<'_>,
        (project, store): (&str, &str),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        let wanted = Wanted::read(|name| given.query(name).map(str::to_owned))?;
        let found = find(cx, store, &wanted)?;
        let looked_at = found.looked_at;
        let rows: Vec<Value> = found
            .hits
            .into_iter()
            .skip(wanted.offset)
            .take(wanted.line)
            .map(row)
            .collect();
        let mut words = Vec::new();
        terms(&wanted.query.search, &mut words);
        let info = json!({"keys": keys(&rows), "terms": words, "columnTypes": [], "limited": "0", "mode": 0});
        let count = rows.len();
        Ok(Reply::json(&Value::Array(rows))
            .header("x-log-progress", "Complete")
            .header("x-log-count", count.to_string())
            .header("x-log-processed-rows", looked_at.to_string())
            .header("x-log-elapsed-millisecond", "1")
            .header("x-log-has-sql", "false")
            .header("x-log-agg-query", "")
            .header("x-log-where-query", header_text(&wanted.query.search_text))
            .header("x-log-cpu-sec", "0")
            .header("x-log-cpu-cores", "0")
            .header("x-log-query-info", header_text(&info.to_string())))
    }

    pub(super) fn get_histograms(
        &mut self,
        cx: &CallContext<'_>,
        (project, store): (&str, &str),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let store = self.store(cx, project, store)?;
        let wanted = Wanted::read(|name| given.query(name).map(str::to_owned))?;
        let interval = match given.query("interval").filter(|text| !text.is_empty()) {
            None => ((wanted.to - wanted.from) / INTERVALS).max(1),
            Some(text) => text
                .parse()
                .ok()
                .filter(|seconds| *seconds > 0)
                .ok_or_else(|| parameter_invalid(format!("The parameter interval is invalid: {text}")))?,
        };
        if (wanted.to - wanted.from) / interval > 10_000 {
            return Err(parameter_invalid(
                "The parameter interval is too small for the time range",
            ));
        }
        let found = find(cx, store, &wanted)?;
        let mut bars = Vec::new();
        let mut from = wanted.from;
        while from < wanted.to {
            let to = (from + interval).min(wanted.to);
            let count = found
                .hits
                .iter()
                .filter(|(_, log)| (from..to).contains(&log.time))
                .count();
            bars.push(json!({"from": from, "to": to, "count": count, "progress": "Complete"}));
            from = to;
        }
        Ok(Reply::json(&Value::Array(bars))
            .header("x-log-progress", "Complete")
            .header("x-log-count", found.hits.len().to_string()))
    }
}

/// Header values are visible ASCII; everything else is escaped as JSON does.
fn header_text(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            ' '..='~' => letter.to_string(),
            other => format!("\\u{:04x}", u32::from(other)),
        })
        .collect()
}
