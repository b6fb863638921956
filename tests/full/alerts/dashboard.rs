//! The expressions of the Grafana dashboard, as Grafana sends them.

use std::fs;

use serde_json::Value;
use xtask::workspace::root;

/// When an expression has something to show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// While all is well.
    Always,
    /// Only in trouble: these series begin with their first increase. The scenario of this alert has them.
    InTrouble(&'static str),
}

/// Metrics whose series are not there from the start, with the alert whose scenario has them.
const IN_TROUBLE: [(&str, &str); 5] = [
    ("ramtrail_drift_repaired_total", "RamTrailDriftLoop"),
    ("ramtrail_drift_detected_total", "RamTrailDriftLoop"),
    ("ramtrail_cloud_throttled_total", "RamTrailThrottled"),
    ("ramtrail_cloud_denied_total", "RamTrailPermissionDenied"),
    ("ramtrail_reconcile_errors_total", "RamTrailReconcileErrors"),
];

/// All of them, with what Grafana puts in for its variables when all is chosen.
pub fn expressions() -> Vec<(String, Shown)> {
    let text = fs::read_to_string(root().join("charts/ramtrail/files/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut found: Vec<String> = targets
        .map(|target| {
            let expression = target["expr"].as_str().unwrap();
            expression.replace("$namespace", ".*").replace("$kind", ".*")
        })
        .collect();
    // A variable asks for the values of a label of a metric.
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(definition) = variable["definition"].as_str() {
            let inside = definition
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'))
                .unwrap();
            let (metric, label) = inside.split_once(", ").unwrap();
            found.push(format!("{metric}{{{label}!=\"\"}}"));
        }
    }
    assert!(found.len() > 25, "{found:?}");
    found
        .into_iter()
        .map(|expression| {
            assert!(!expression.contains('$'), "{expression}");
            let trouble = IN_TROUBLE.iter().find(|(metric, _)| expression.contains(metric));
            let shown = trouble.map_or(Shown::Always, |(_, alert)| Shown::InTrouble(alert));
            (expression, shown)
        })
        .collect()
}

/// Expressions that show something in the scenario of an alert and not before.
pub fn under_trouble(alert: &str) -> impl Iterator<Item = String> {
    expressions()
        .into_iter()
        .filter(move |(_, shown)| matches!(shown, Shown::InTrouble(of) if *of == alert))
        .map(|(expression, _)| expression)
}
