//! The judge: Prometheus' own rule tester, with the alerts of the chart as they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use xtask::assets::{self, Tool};
use xtask::temp_dir::TempDir;
use xtask::workspace::root;

use crate::recording::{Course, SCRAPE};

/// The alerts of the chart.
pub fn alerts() -> Vec<Value> {
    let text = fs::read_to_string(root().join("charts/ramtrail/files/alerts.yaml")).unwrap();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    file["groups"][0]["rules"].as_array().unwrap().clone()
}

fn alert(name: &str) -> Value {
    let found = alerts().into_iter().find(|alert| alert["alert"] == name);
    found.unwrap_or_else(|| panic!("there is no alert {name}"))
}

/// An alert that must fire.
#[derive(Clone, Debug)]
pub struct Firing {
    alert: &'static str,
    minutes: u32,
    labels: BTreeMap<String, String>,
    summary: String,
}

/// An alert that fires so many minutes after the beginning of the trouble, with its own labels and its summary.
pub fn firing(
    alert: &'static str,
    minutes: u32,
    labels: &[(&str, &str)],
    summary: impl Into<String>,
) -> Firing {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Firing {
        alert,
        minutes,
        labels: labels.iter().map(own).collect(),
        summary: summary.into(),
    }
}

impl Firing {
    /// Name of the alert.
    pub fn alert(&self) -> &'static str {
        self.alert
    }
}

/// What the tester is asked about one course.
pub struct Case {
    course: Course,
    trouble: u32,
    expected: Vec<Firing>,
    expressions: Vec<Value>,
}

impl Case {
    /// A course in which the trouble begins here.
    pub fn new(course: Course, trouble: u32, expected: Vec<Firing>) -> Self {
        Self {
            course,
            trouble,
            expected,
            expressions: Vec::new(),
        }
    }

    /// This expression gives at least one series at the end of the course, or none.
    pub fn series(mut self, expression: &str, any: bool) -> Self {
        let samples = if any {
            json!([{"labels": "{}", "value": 1}])
        } else {
            json!([])
        };
        self.expressions.push(json!({
            "expr": format!("count({expression}) > bool 0"),
            "eval_time": seconds(self.course.length() - SCRAPE),
            "exp_samples": samples,
        }));
        self
    }

    fn file(&self) -> Value {
        let end = self.course.length() - SCRAPE;
        let mut tests: BTreeMap<(u32, &str), Vec<Value>> = BTreeMap::new();
        for firing in &self.expected {
            let rule = alert(firing.alert);
            let mut labels = json!(firing.labels);
            labels["severity"] = rule["labels"]["severity"].clone();
            let at = self.trouble + firing.minutes * 60;
            assert!(at <= end, "{} is asked about after the end", firing.alert);
            tests.entry((at, firing.alert)).or_default().push(json!({
                "exp_labels": labels,
                "exp_annotations": {"summary": firing.summary, "description": rule["annotations"]["description"]},
            }));
        }
        let alert_tests: Vec<Value> = tests
            .into_iter()
            .map(|((at, name), expected)| json!({"eval_time": seconds(at), "alertname": name, "exp_alerts": expected}))
            .collect();
        let names: Vec<&str> = self.expected.iter().map(Firing::alert).collect();
        let fired = |others: &str, until: u32| {
            json!({
                "expr": format!(
                    "count by (alertname) (count_over_time(ALERTS{{alertstate=\"firing\"{others}}}[{}]))",
                    seconds(until + 1)
                ),
                "eval_time": seconds(until),
                "exp_samples": [],
            })
        };
        let others = format!(",alertname!~\"{}\"", names.join("|"));
        let mut expressions = self.expressions.clone();
        // Nothing before the trouble, and at no time anything but what is expected.
        expressions.push(fired("", self.trouble.saturating_sub(SCRAPE)));
        expressions.push(fired(&others, end));
        let series: Vec<Value> = self
            .course
            .series()
            .into_iter()
            .map(|(series, values)| json!({"series": series, "values": values}))
            .collect();
        #[allow(clippy::cast_possible_truncation)] // whole seconds
        let start = Timestamp::from_second(self.course.start() as i64).unwrap();
        json!({
            "rule_files": [root().join("charts/ramtrail/files/alerts.yaml")],
            "evaluation_interval": seconds(SCRAPE),
            "tests": [{
                "interval": seconds(SCRAPE),
                "start_timestamp": start.to_string(),
                "input_series": series,
                "alert_rule_test": alert_tests,
                "promql_expr_test": expressions,
            }],
        })
    }

    /// Asks the tester; its words if it objects.
    pub fn judged(&self) -> Result<(), String> {
        let dir = TempDir::new("rules").unwrap();
        let path = dir.path().join("test.yaml");
        // JSON is YAML.
        fs::write(&path, self.file().to_string()).unwrap();
        promtool(&["test", "rules", path.to_str().unwrap()])
    }
}

/// Runs promtool; what it said if it fails.
pub fn promtool(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(assets::ensure(Tool::Promtool).unwrap())
        .args(arguments)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let mut said = String::new();
    for part in [&output.stdout, &output.stderr] {
        write!(said, "{}", String::from_utf8_lossy(part)).unwrap();
    }
    Err(said)
}

fn seconds(count: u32) -> String {
    format!("{count}s")
}
