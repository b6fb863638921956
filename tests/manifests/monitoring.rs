//! Monitors, alerts and dashboard: their shape, and that they ask only for metrics that there are.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{named, objects, of_kind, read, template};

fn rendered(set: &str) -> Vec<Value> {
    let path = format!("charts/ramtrail/ci/{set}-values.yaml");
    objects(&template(&["--values", &path]).unwrap())
}

/// Names of metrics that the documentation lists, which another test compares with what is exported.
fn documented() -> BTreeSet<String> {
    let text = read("docs/metrics.md");
    let mut names = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').collect();
        for name in cells[1].split('`').skip(1).step_by(2) {
            if cells[2].trim() == "histogram" {
                names.extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")));
            } else {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// Names of our metrics and of the process in an expression.
fn metrics(expression: &str) -> Vec<&str> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("ramtrail_") || word.starts_with("process_"))
        .collect()
}

fn assert_documented(place: &str, expression: &str) {
    let documented = documented();
    let used = metrics(expression);
    assert!(!used.is_empty(), "{place} asks for nothing of ours: {expression}");
    for metric in used {
        assert!(
            documented.contains(metric),
            "{place} asks for {metric}, which is not exported"
        );
    }
    let count = |c| expression.matches(c).count();
    assert_eq!(
        (count('('), count('{')),
        (count(')'), count('}')),
        "{place}: {expression}"
    );
}

fn alerts() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&read("charts/ramtrail/files/alerts.yaml")).unwrap();
    file["groups"][0]["rules"].as_array().unwrap().clone()
}

#[test]
fn alerts_ask_only_for_metrics_that_there_are() {
    let alerts = alerts();
    let mut names = BTreeSet::new();
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        assert_documented(name, alert["expr"].as_str().unwrap());
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}");
        for key in ["summary", "description"] {
            assert!(
                alert["annotations"][key].as_str().unwrap().len() > 20,
                "{name}: {key}"
            );
        }
    }
    assert!(alerts.len() >= 14, "{names:?}");
    assert!(!documented().contains("ramtrail_nothing"));
}

#[test]
fn the_rule_holds_every_alert_but_those_switched_off_each_with_its_runbook() {
    let objects = rendered("monitoring");
    let rule = named(&objects, "PrometheusRule", "ramtrail");
    assert_eq!(rule["apiVersion"], "monitoring.coreos.com/v1");
    assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");
    let groups = rule["spec"]["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1);
    let rules = groups[0]["rules"].as_array().unwrap();
    let mut expected = alerts();
    expected.retain(|alert| alert["alert"] != "RamTrailDriftLoop");
    assert_eq!(rules.len(), expected.len());
    for (rule, alert) in rules.iter().zip(&expected) {
        let mut alert = alert.clone();
        alert["labels"]["team"] = json!("audit");
        let name = alert["alert"].as_str().unwrap();
        alert["annotations"]["runbook_url"] = json!(format!("https://runbooks.example/ramtrail/{name}"));
        assert_eq!(rule, &alert);
    }
    // One page for all, such as docs/alerts.md.
    let paged = objects_with(&[
        "--set=metrics.prometheusRule.enabled=true",
        "--set=metrics.prometheusRule.runbookURL=https://docs.example/alerts.html#",
    ]);
    let rule = named(&paged, "PrometheusRule", "ramtrail");
    for rule in rule["spec"]["groups"][0]["rules"].as_array().unwrap() {
        let name = rule["alert"].as_str().unwrap().to_lowercase();
        assert_eq!(
            rule["annotations"]["runbook_url"],
            format!("https://docs.example/alerts.html#{name}")
        );
    }
    // Without a place for runbooks there is no link to nowhere.
    let plain = objects_with(&["--set=metrics.prometheusRule.enabled=true"]);
    let rule = named(&plain, "PrometheusRule", "ramtrail");
    assert_eq!(rule["spec"]["groups"][0]["rules"], json!(alerts()));
}

fn objects_with(more: &[&str]) -> Vec<Value> {
    objects(&template(more).unwrap())
}

#[test]
fn monitors_find_the_port_and_keep_the_labels_of_objects() {
    let objects = rendered("monitoring");
    let service = named(&objects, "Service", "ramtrail");
    let deployment = named(&objects, "Deployment", "ramtrail");
    let template = &deployment["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    assert_eq!(
        service["spec"]["ports"][0]["targetPort"],
        container["ports"][0]["name"]
    );
    assert_eq!(service["spec"]["ports"][0]["port"], 9090);
    let covers = |selector: &Value, labels: &Value| {
        let selector = selector.as_object().unwrap();
        !selector.is_empty() && selector.iter().all(|(key, value)| &labels[key] == value)
    };
    assert!(covers(
        &service["spec"]["selector"],
        &template["metadata"]["labels"]
    ));
    let monitor = named(&objects, "ServiceMonitor", "ramtrail");
    assert!(covers(
        &monitor["spec"]["selector"]["matchLabels"],
        &service["metadata"]["labels"]
    ));
    let expected = json!([{
        "port": service["spec"]["ports"][0]["name"], "path": "/metrics", "honorLabels": true,
        "interval": "30s", "scrapeTimeout": "10s",
        "metricRelabelings": [{ "action": "drop", "sourceLabels": ["__name__"], "regex": "process_.*" }],
    }]);
    assert_eq!(monitor["spec"]["endpoints"], expected);

    let objects = rendered("pod-monitor");
    assert!(of_kind(&objects, "Service").is_empty() && of_kind(&objects, "ServiceMonitor").is_empty());
    let monitor = named(&objects, "PodMonitor", "ramtrail");
    assert!(covers(
        &monitor["spec"]["selector"]["matchLabels"],
        &template["metadata"]["labels"]
    ));
    let expected = json!([{
        "port": container["ports"][0]["name"], "path": "/metrics", "honorLabels": true,
        "relabelings": [{ "targetLabel": "cluster", "replacement": "prod-1" }],
    }]);
    assert_eq!(monitor["spec"]["podMetricsEndpoints"], expected);
}

#[test]
fn the_dashboard_asks_only_for_metrics_that_there_are() {
    let objects = rendered("monitoring");
    let config_map = named(&objects, "ConfigMap", "ramtrail-dashboard");
    assert_eq!(config_map["metadata"]["namespace"], "monitoring");
    assert_eq!(config_map["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard: Value =
        serde_json::from_str(config_map["data"]["ramtrail.json"].as_str().unwrap()).unwrap();
    let file: Value = serde_json::from_str(&read("charts/ramtrail/files/dashboard.json")).unwrap();
    assert_eq!(dashboard, file);
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut expressions = 0;
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()));
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_documented(title, target["expr"].as_str().unwrap());
            expressions += 1;
        }
        let place = &panel["gridPos"];
        assert!(
            place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24,
            "{title}"
        );
    }
    assert!(expressions > 25, "{expressions}");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "query" {
            assert_documented("a variable", variable["definition"].as_str().unwrap());
        }
    }
}
