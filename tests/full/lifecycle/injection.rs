//! Every string of every spec, tried as host, path, header, query and log injection. The strings are taken from the schemas of
//! the committed CustomResourceDefinitions, so that a new field is tried without anybody thinking of it.
//!
//! What the API server refuses is refused; what it takes goes to an operator behind a recorder. Then every request must be one
//! of ours in host, path, query names and headers, every line of the log must be one line, and a listener that the values
//! point to must have heard nobody.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use xtask::canary;

use crate::points::Point;
use crate::recorder::{Recorder, Sent, Silent};
use crate::stack::{KINDS, Kind, Operator, Policy, api, apply, conditions, only_these_reduced, put, says};
use crate::support::{ACCOUNT, SECRET, World, project_spec, store_spec, wait};
use crate::trail_support::{self, PROJECT, copy_to, trail_spec};

/// A step on the way to a string.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Member(String),
    Item,
    Key,
    Value,
}

/// A string of a spec.
#[derive(Clone, Debug)]
struct Field {
    kind: Kind,
    steps: Vec<Step>,
    /// The only values that there are, if the schema lists them.
    listed: Vec<String>,
}

impl Field {
    fn path(&self) -> String {
        let mut path = self.kind.object().0.to_owned();
        for step in &self.steps {
            match step {
                Step::Member(name) => path.extend([".", name.as_str()]),
                Step::Item => path += "[]",
                Step::Key => path += "{key}",
                Step::Value => path += "{value}",
            }
        }
        path
    }

    /// Puts a text where this string is.
    fn set(&self, spec: &mut Value, text: &str) {
        let mut at = spec;
        for (index, step) in self.steps.iter().enumerate() {
            let is_last = index + 1 == self.steps.len();
            at = match step {
                Step::Member(name) => &mut at[name.as_str()],
                Step::Item => {
                    *at = json!([null]);
                    &mut at[0]
                }
                Step::Key => {
                    *at = json!({text: "value"});
                    return;
                }
                Step::Value => {
                    *at = json!({"key": null});
                    &mut at["key"]
                }
            };
            if is_last {
                *at = json!(text);
            }
        }
    }
}

/// The matrix.
pub fn points() -> Vec<Point> {
    let mut points = Vec::new();
    for field in KINDS.into_iter().flat_map(fields) {
        // References reach the log as they are; there both ways of writing it are tried.
        let formats: &[&str] = if field.path().ends_with("Ref.name") {
            &["text", "json"]
        } else {
            &["text"]
        };
        for format in formats {
            let field = field.clone();
            points.push(Point::new(
                format!("injection/{}/{format}", field.path()),
                move || {
                    tried(&field, format);
                },
            ));
        }
    }
    points
}

/// All strings of a kind's spec, by the committed schema.
fn fields(kind: Kind) -> Vec<Field> {
    let (object, _) = kind.object();
    let file = format!("crds/{}s.ramtrail.io.yaml", object.to_lowercase());
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let crd: Value = serde_saphyr::from_str(&text).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    walk(schema, &mut Vec::new(), &mut found);
    assert!(found.len() >= 4, "{object} has strings");
    found
        .into_iter()
        .map(|(steps, listed)| Field { kind, steps, listed })
        .collect()
}

fn walk(schema: &Value, steps: &mut Vec<Step>, found: &mut Vec<(Vec<Step>, Vec<String>)>) {
    let mut below = |step: Step, schema: &Value| {
        steps.push(step);
        walk(schema, steps, found);
        steps.pop();
    };
    match schema["type"].as_str() {
        Some("object") => {
            for (name, member) in schema["properties"].as_object().into_iter().flatten() {
                below(Step::Member(name.clone()), member);
            }
            if schema["additionalProperties"].is_object() {
                below(Step::Key, &json!({"type": "string"}));
                below(Step::Value, &schema["additionalProperties"]);
            }
        }
        Some("array") => below(Step::Item, &schema["items"]),
        Some("string") => {
            let listed = schema["enum"].as_array().into_iter().flatten();
            let listed = listed
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect();
            found.push((steps.clone(), listed));
        }
        Some("integer" | "boolean" | "number") => {}
        other => panic!("a schema of type {other:?} at {steps:?} is tried by nobody"),
    }
}

/// Values that mean something to a URL, a header, a query language, a log or a terminal. `ADDRESS` is that of the listener.
const HOSTILE: &[&str] = &[
    "ADDRESS",
    "http://ADDRESS/",
    "//ADDRESS/",
    "x@ADDRESS",
    "@ADDRESS/",
    "ADDRESS#",
    "ADDRESS/?",
    "x.ADDRESS/",
    "cn-hangzhou.ADDRESS#",
    "evil.example.com",
    "evil.example.com:443",
    "../../../logstores",
    "..",
    "..%2f..%2fx",
    "a/b",
    "a\\b",
    "a?b=c&d=e",
    "a&Action=DeleteTrail&Name=x",
    "a;b",
    "a#b",
    "a%00b",
    "%0d%0aX-Injected: yes",
    "a\r\nX-Injected: yes\r\n\r\nGET / HTTP/1.1\r\nHost: ADDRESS\r\n\r\n",
    "a\n1999-01-01T00:00:00.000000Z  INFO ramtrail: FORGED",
    "a\"}\n{\"timestamp\":\"1999-01-01T00:00:00.000000Z\",\"level\":\"INFO\",\"message\":\"FORGED\"}",
    "a\r1999-01-01T00:00:00.000000Z  INFO ramtrail: FORGED",
    "a\u{2028}1999-01-01T00:00:00.000000Z  INFO ramtrail: FORGED",
    "a\u{85}FORGED",
    "a\u{0b}FORGED",
    "\u{1b}[2K\u{1b}[1AFORGED",
    "\u{9b}2KFORGED",
    "a\u{8}\u{8}FORGED",
    "a\u{0}b",
    "\u{202e}desrever",
    "\u{feff}a",
    "${jndi:ldap://ADDRESS/a}",
    "{{7*7}}",
    "{}",
    "%s%n",
    "$(touch /tmp/x)",
    "`id`",
    "' or '1'='1",
    "\" or 1=1 --",
    "* | delete",
    "x' | extend y = 'z",
    " ",
    "",
];

/// Values that are harmless to look at and may pass a pattern: words of the languages that they end up in, reserved names,
/// numbers, and what another part of the system would understand.
const WELL_FORMED: &[&str] = &[
    "localhost",
    "127-0-0-1",
    "xn--80ak6aa92e",
    "cn-evil-example-com",
    "xx-log-aliyuncs-com",
    "cn-hangzhou-log",
    "a--b",
    "a-",
    "not",
    "or",
    "and",
    "where",
    "extend",
    "true",
    "null",
    "0",
    "00000",
    "99999999999999999999",
    "logtail",
    "actiontrail_x",
    "actiontrail_ram-access",
    "innertrail_x",
    "released_x",
    "ramtrail-owner",
    "ramtrail-trail-x",
    "acs:x",
    "acs:ram::1:role/..",
    "acs:ram::1:role/.",
    "acs:ram::6543210987654321:role/ramtrail-copy",
    "UPPER",
    "Stopped",
    "Delete",
    "Always",
    "Read",
];

fn values(silent: &Silent) -> Vec<String> {
    let long = ["a".repeat(253), "a".repeat(5000), "é".repeat(128)];
    HOSTILE
        .iter()
        .chain(WELL_FORMED)
        .map(|value| value.replace("ADDRESS", &silent.address()))
        .chain(long)
        .collect()
}

/// A spec that is right, with everything in it that can be, for an object of this name.
fn base(kind: Kind, name: &str) -> Value {
    match kind {
        Kind::Project => {
            let mut spec = project_spec(name);
            spec["accountID"] = json!(ACCOUNT);
            spec["description"] = json!("words");
            spec["tags"] = json!({"team": "ml"});
            spec
        }
        Kind::Store => store_spec(PROJECT, name, 30),
        Kind::Trail => {
            let mut spec = trail_spec(&json!({"trailName": name, "copyTo": copy_to()}));
            spec["copyTo"]["services"] = json!(["Ram"]);
            spec
        }
    }
}

const HARMLESS: &str = "harmless";
/// Children whose marks fit on one project; those beyond are looked at and not written.
const ROOM: usize = 6;

/// What the API server takes of a kind for a string, besides the values that the schema lists.
fn taken(world: &World, field: &Field, silent: &Silent) -> Vec<(String, String)> {
    let mut taken = Vec::new();
    for value in values(silent) {
        let name = format!("tried-{}", taken.len());
        let mut spec = base(field.kind, &name);
        if field.kind != Kind::Project && taken.len() >= ROOM {
            spec["managementPolicy"] = json!("Observe");
        }
        field.set(&mut spec, &value);
        if put(world, &world.namespace, field.kind, &name, &spec).is_err() {
            continue;
        }
        if field.listed.is_empty() {
            taken.push((name, value));
        } else {
            assert!(field.listed.contains(&value), "{value:?} is not listed");
        }
    }
    taken
}

fn tried(field: &Field, format: &str) {
    let kind = field.kind;
    let world = World::new("inject");
    let (silent, recorder) = (Silent::start(), Recorder::start(world.emulator.listen()));
    let harmless = base(kind, HARMLESS);
    put(&world, &world.namespace, kind, HARMLESS, &harmless).expect("the base is right");
    let taken = taken(&world, field, &silent);
    if taken.is_empty() {
        // The schema is the whole defence, and no operator ever sees such a value.
        return;
    }
    for quota in ["actiontrail.trails", "actiontrail.write.qps", "sls.meta.qps"] {
        world
            .emulator
            .post("quotas", &json!({"name": quota, "value": 500}))
            .unwrap();
    }
    trail_support::prepare(&world);
    if kind != Kind::Project {
        apply(&world, Kind::Project, Policy::Retain);
    }
    if kind == Kind::Trail {
        apply(&world, Kind::Store, Policy::Retain);
    }
    let mut operator = Operator::new(&world);
    let watch = format!("--watch-namespaces={}", world.namespace);
    let format_flag = format!("--log-format={format}");
    operator.start(
        &recorder.url(),
        &[
            &watch,
            &format_flag,
            "--log-service-rate=200",
            "--resync-interval=5s",
            "--poll-interval=30s",
            "--due-call-interval=1m",
        ],
    );
    says(
        &world,
        &world.namespace,
        kind,
        HARMLESS,
        "Ready",
        "True",
        "Available",
    );
    for (name, value) in &taken {
        come_to_something(&world, kind, name, value);
    }
    operator.kill();
    assert_eq!(silent.heard(), 0, "somebody was led to {}", silent.address());
    requests_are_ours(&recorder.sent(), &silent, &taken);
    calls_are_ours(&world);
    log_is_whole(&operator.logs(), format);
    words_are_clean(&world);
    only_these_reduced(&world, &[]);
}

/// Waits until an object is Ready, or says why it is not.
fn come_to_something(world: &World, kind: Kind, name: &str, value: &str) {
    world.eventually(&format!("{name} with {value:?} has come to something"), || {
        let all = conditions(world, &world.namespace, kind, name);
        let said = all.iter().any(|c| {
            let (type_, status) = (c["type"].as_str().unwrap_or_default(), c["status"] == "True");
            let reason = c["reason"].as_str().unwrap_or_default();
            match type_ {
                "Ready" => status || reason.ends_with("NotFound") || reason == "PlanPending",
                "Stalled" => status,
                // A failed read that stays is told of here.
                "Synced" => {
                    !status
                        && !["Pending", "AwaitingVisibility"].contains(&reason)
                        && !reason.starts_with("Waiting")
                }
                _ => false,
            }
        });
        said.then_some(()).ok_or(format!("{all:#?}"))
    });
}

/// Headers that requests have.
const HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "authorization",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "host",
    "user-agent",
    "x-acs-action",
    "x-acs-content-sha256",
    "x-acs-date",
    "x-acs-security-token",
    "x-acs-signature-nonce",
    "x-acs-version",
    "x-log-apiversion",
    "x-log-bodyrawsize",
    "x-log-content-sha256",
    "x-log-date",
    "x-log-signaturemethod",
];

/// Names in queries.
const PARAMETERS: &[&str] = &[
    "EventRW",
    "IncludeShadowTrails",
    "IncludeOrganizationTrail",
    "Name",
    "NameList",
    "RoleName",
    "ServiceName",
    "SlsProjectArn",
    "SlsWriteRoleArn",
    "TrailRegion",
    "action",
    "from",
    "line",
    "offset",
    "query",
    "resourceId",
    "resourceType",
    "reverse",
    "size",
    "tags",
    "to",
    "type",
];

/// Literal segments of paths; all others are names.
const SEGMENTS: &[&str] = &[
    "",
    "etls",
    "index",
    "jobs",
    "logs",
    "logstores",
    "shards",
    "tags",
    "untag",
];

fn requests_are_ours(sent: &[Sent], silent: &Silent, taken: &[(String, String)]) {
    // What is not recorded is judged by nobody.
    let named = |request: &Sent| {
        String::from_utf8_lossy(&request.body).contains(HARMLESS) || request.target.contains(HARMLESS)
    };
    assert!(
        sent.iter().any(named),
        "the recorder saw the harmless object come: {sent:?}"
    );
    let is_plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    let mut strange = BTreeSet::new();
    for request in sent {
        // The key's id goes over the wire, its secret never: it only signs.
        let headers = request.headers.iter().map(|(_, value)| value.as_str());
        let body = String::from_utf8_lossy(&request.body);
        for text in headers.chain([request.target.as_str(), &body]) {
            assert!(!canary::is_in(text, [SECRET]), "the secret is in {request:?}");
        }
        let host = request.header("host");
        if !is_our_host(host) {
            strange.insert(format!("host {host}"));
        }
        for (name, value) in &request.headers {
            if !HEADERS.contains(&name.as_str()) || value.contains(&silent.address()) {
                strange.insert(format!("header {name}: {value}"));
            }
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let segments: Vec<&str> = path.split('/').collect();
        if segments.len() > 5 || !path.starts_with('/') {
            strange.insert(format!("path {path}"));
        }
        for segment in &segments {
            if !SEGMENTS.contains(segment) && !is_plain(segment) {
                strange.insert(format!("path {path}"));
            }
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let encoded = |b: u8| b.is_ascii_alphanumeric() || b"-_.~%+*".contains(&b);
            if !PARAMETERS.contains(&name) || !value.bytes().all(encoded) {
                strange.insert(format!("query {name}={value}"));
            }
        }
    }
    assert!(strange.is_empty(), "with {taken:?}: {strange:#?}");
}

/// `sts`, `ram`, `resourcemanager`, `actiontrail.REGION`, `[PROJECT.]REGION.log`, of the vendor.
fn is_our_host(host: &str) -> bool {
    let Some(rest) = host.strip_suffix(".aliyuncs.com") else {
        return false;
    };
    let labels: Vec<&str> = rest.split('.').collect();
    let plain = labels.iter().all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    });
    plain
        && matches!(
            labels.as_slice(),
            ["sts" | "ram" | "resourcemanager"] | ["actiontrail", _] | [_, "log"] | [_, _, "log"]
        )
}

/// What the cloud understood: known calls, of our account.
fn calls_are_ours(world: &World) {
    let strange: Vec<String> = world
        .journal(0)
        .iter()
        .filter(|row| row.is_ours())
        .filter(|row| row.action() == "Unknown" || row.0["account"] != ACCOUNT)
        .map(ToString::to_string)
        .collect();
    assert_eq!(strange, Vec::<String>::new());
}

/// Every line is one that the operator wrote, whole, and nothing in it moves a cursor.
fn log_is_whole(logs: &str, format: &str) {
    assert!(logs.lines().count() > 5, "the log is detailed: {logs}");
    for line in logs.split('\n').filter(|line| !line.is_empty()) {
        let is_whole = if format == "json" {
            serde_json::from_str::<Value>(line).is_ok_and(|entry| {
                entry["timestamp"]
                    .as_str()
                    .is_some_and(|time| !time.starts_with("1999"))
            })
        } else {
            let time = line.get(..27).unwrap_or_default();
            time.starts_with("20") && time.as_bytes()[10] == b'T' && time.ends_with('Z')
        };
        assert!(is_whole, "a line that is not the operator's own: {line:?}");
        assert!(
            !line.chars().any(char::is_control),
            "a control character: {line:?}"
        );
    }
}

/// What people read of objects and Events moves no cursor and begins no line either.
fn words_are_clean(world: &World) {
    for kind in KINDS {
        for object in wait(api(world, &world.namespace, kind).list(&ListParams::default())).unwrap() {
            for condition in object.data["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let message = condition["message"].as_str().unwrap_or_default();
                let name = object.name_any();
                assert!(
                    !message.chars().any(char::is_control),
                    "{kind} {name}: {message:?}"
                );
            }
        }
    }
    for (reason, note) in world.events() {
        assert!(!note.chars().any(char::is_control), "{reason}: {note:?}");
    }
}
