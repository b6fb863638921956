//! Owns what is written down of a stage and compared: the operator's writes, and how everything looks in the end.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::support::{ACCOUNT, Row, World};

/// A sort of write.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Write {
    /// A mutating call.
    Cloud {
        /// Its action.
        action: String,
    },
    /// A write to the API server.
    Kubernetes {
        /// As RBAC names it.
        verb: String,
        /// Plural name.
        resource: String,
        /// Such as `status`.
        subresource: String,
    },
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cloud { action } => f.write_str(action),
            Self::Kubernetes {
                verb,
                resource,
                subresource,
            } if subresource.is_empty() => write!(f, "{verb}:{resource}"),
            Self::Kubernetes {
                verb,
                resource,
                subresource,
            } => write!(f, "{verb}:{resource}.{subresource}"),
        }
    }
}

/// Where a stage began in both journals.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    cloud: u64,
    kubernetes: u64,
}

impl Since {
    /// Now.
    pub fn now(world: &World) -> Self {
        Self {
            cloud: world.now(),
            kubernetes: world.proxy().now(),
        }
    }
}

/// What a stage did and left.
#[derive(Clone, Debug)]
pub struct Record {
    /// Writes by sort, tried ones too.
    pub writes: BTreeMap<Write, u64>,
    /// Successful creates: action and resource.
    pub creates: Vec<String>,
    /// Calls that changed something: action and resource.
    pub changes: Vec<String>,
    /// Calls that took protection away: action and what.
    pub reductions: Vec<String>,
    /// Cloud and objects, without what differs by nature.
    pub end: Value,
    /// Every write, for people.
    pub lines: Vec<String>,
}

impl Record {
    /// Reads both journals and looks at everything.
    pub fn take(world: &World, since: Since, objects: &[(&str, &str)]) -> Self {
        let ours: Vec<Row> = world
            .journal(since.cloud)
            .into_iter()
            .filter(|row| row.is_ours() && row.is_write())
            .collect();
        let asked: Vec<_> = world
            .proxy()
            .journal(since.kubernetes)
            .into_iter()
            .filter(|row| row.call.is_write)
            .collect();
        let mut writes = BTreeMap::new();
        let mut lines = Vec::new();
        for row in &ours {
            let action = row.action().to_owned();
            *writes.entry(Write::Cloud { action }).or_default() += 1;
            lines.push(format!(
                "{} {}{}",
                row.0["status"],
                named(row),
                if row.is_change() { " *" } else { "" }
            ));
        }
        for row in &asked {
            let call = &row.call;
            let write = Write::Kubernetes {
                verb: call.verb.clone(),
                resource: call.resource.clone(),
                subresource: call.subresource.clone(),
            };
            lines.push(format!(
                "{} {write} {}",
                row.status.unwrap_or_default(),
                call.name.split('.').next().unwrap_or_default()
            ));
            *writes.entry(write).or_default() += 1;
        }
        let effective = || ours.iter().filter(|row| row.is_change());
        let mut creates: Vec<String> = effective()
            .filter(|row| row.action().starts_with("Create"))
            .map(named)
            .collect();
        let mut changes: Vec<String> = effective().map(named).collect();
        let mut reductions: Vec<String> = ours.iter().flat_map(reduced).collect();
        creates.sort();
        changes.sort();
        reductions.sort();
        Self {
            writes,
            creates,
            changes,
            reductions,
            end: end(world, objects),
            lines,
        }
    }
}

/// Action and the thing it is about.
fn named(row: &Row) -> String {
    let thing = row.0["resources"][0]
        .as_str()
        .and_then(|arn| arn.rsplit(':').next())
        .unwrap_or_default();
    let args = &row.0["args"];
    let more = ["logstoreName", "name", "Name", "ServiceName"]
        .iter()
        .find_map(|key| args[key].as_str())
        .unwrap_or_default();
    format!("{} {thing} {more}", row.action())
}

fn reduced(row: &Row) -> Vec<String> {
    row.0["effects"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|effect| effect["change"] == "down")
        .map(|effect| format!("{} {}", row.action(), effect["field"]))
        .collect()
}

/// The cloud and the objects as they are now, without times, marks and what else differs between two worlds.
pub fn end(world: &World, objects: &[(&str, &str)]) -> Value {
    let mut all = Map::new();
    for (kind, name) in objects {
        let object = world.object(kind, name).map(|object| {
            json!({
                "finalizers": object.metadata.finalizers,
                "deleting": object.metadata.deletion_timestamp.is_some(),
                "status": object.data["status"],
            })
        });
        all.insert(format!("{kind}/{name}"), object.unwrap_or(Value::Null));
    }
    all.insert("cloud".to_owned(), world.state(ACCOUNT));
    let mut end = Value::Object(all);
    even_out(&mut end, &world.namespace);
    end
}

fn even_out(value: &mut Value, namespace: &str) {
    match value {
        Value::Object(map) => {
            map.remove("lastTransitionTime");
            for value in map.values_mut() {
                even_out(value, namespace);
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|value| even_out(value, namespace)),
        Value::Number(number) if number.as_u64().is_some_and(|number| number > 1_000_000_000) => {
            *value = json!("<time>");
        }
        Value::String(text) => {
            let mut words = text.replace(namespace, "<namespace>");
            if is_time(&words) {
                "<time>".clone_into(&mut words);
            }
            words = without_marks(&words);
            *text = words;
        }
        _ => {}
    }
}

/// Marks hold a hash of the object's identity; it is as long as no other word here.
fn without_marks(text: &str) -> String {
    let hexadecimal = |c: char| c.is_ascii_hexdigit();
    let mut words = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(hexadecimal) {
        let (before, from) = rest.split_at(start);
        let length = from.find(|c| !hexadecimal(c)).unwrap_or(from.len());
        let (run, after) = from.split_at(length);
        words += before;
        words += if length == 32 { "<mark>" } else { run };
        rest = after;
    }
    words + rest
}

/// Both `2026-11-22T23:54:28Z` and `2026-11-22 23:54:28`.
fn is_time(text: &str) -> bool {
    let form: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    ["0000-00-00T00:00:00", "0000-00-00 00:00:00"]
        .iter()
        .any(|time| form.starts_with(time))
}

/// Where two values differ: path, expected, found.
pub fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    compare("", expected, found, &mut all);
    all
}

fn compare(path: &str, expected: &Value, found: &Value, all: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                compare(
                    &format!("{path}/{key}"),
                    expected.get(key).unwrap_or(&Value::Null),
                    found.get(key).unwrap_or(&Value::Null),
                    all,
                );
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}/{index}"), one, other, all);
            }
        }
        (one, other) if one != other => all.push(format!("{path}: expected {one}, found {other}")),
        _ => {}
    }
}

/// Two lists side by side.
pub fn side_by_side(left: (&str, &[String]), right: (&str, &[String])) -> String {
    const WIDTH: usize = 84;
    let mut lines = vec![format!("{:WIDTH$} | {}", left.0, right.0)];
    for index in 0..left.1.len().max(right.1.len()) {
        let of = |lines: &[String]| -> String {
            lines
                .get(index)
                .map_or("", String::as_str)
                .chars()
                .take(WIDTH)
                .collect()
        };
        lines.push(format!("{:WIDTH$} | {}", of(left.1), of(right.1)));
    }
    lines.join("\n")
}
