//! The documentation against the code: reasons, conditions, events, flags, commands, permissions, alerts, examples.

#[path = "documents/searches.rs"]
mod searches;

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use ramtrail::api::condition::{self, reason};
use ramtrail::config::Cli;
use serde_json::Value;
use xtask::book;

use super::{ram_actions, read};

/// The rows of the table with this head, as cells.
fn table<'a>(page: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let rows = page
        .split_once(head)
        .unwrap_or_else(|| panic!("no table {head}"))
        .1;
    let rows = rows.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// Spans of code in a text.
fn spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_reason_and_condition_is_explained_and_no_other() {
    let page = read("docs/conditions.md");
    let rows = table(&page, "| reason | meaning | what to do |");
    let told: Vec<(&str, &str)> = rows.iter().map(|row| (spans(row[0])[0], row[1])).collect();
    let known: Vec<(&str, &str)> = reason::ALL
        .iter()
        .copied()
        .zip(reason::MEANINGS.iter().map(|meaning| meaning.trim()))
        .collect();
    assert_eq!(told, known, "docs/conditions.md, reasons");
    let rows = table(&page, "| condition | True means |");
    let told: Vec<&str> = rows.iter().map(|row| spans(row[0])[0]).collect();
    let known = [
        condition::READY,
        condition::SYNCED,
        condition::RECONCILING,
        condition::STALLED,
        condition::PROTECTED,
        condition::LOGGING,
        condition::DELIVERING,
    ];
    assert_eq!(told, known, "docs/conditions.md, conditions");
}

#[test]
fn every_event_is_explained_and_no_other() {
    let source = read("src/controllers/event.rs");
    let mut known = BTreeSet::new();
    for line in source.lines().filter(|line| line.starts_with("pub const ")) {
        if let Some(text) = line.split('"').nth(1) {
            known.insert(text.to_owned());
        } else if line.contains("reason::") {
            let name = line.rsplit("reason::").next().unwrap().trim_end_matches(';');
            known.insert(match name {
                "PROJECT_LEFT_NOT_EMPTY" => reason::PROJECT_LEFT_NOT_EMPTY.to_owned(),
                "LEFT_IN_CLOUD" => reason::LEFT_IN_CLOUD.to_owned(),
                other => panic!("an Event of reason {other}: name it here"),
            });
        }
    }
    let page = read("docs/conditions.md");
    let events = page.split_once("\n## Events\n").unwrap().1;
    let rows = table(events, "| reason | meaning |");
    let told: BTreeSet<String> = rows.iter().map(|row| spans(row[0])[0].to_owned()).collect();
    assert!(known.len() > 8, "{known:?}");
    assert_eq!(told, known);
}

#[test]
fn every_flag_and_command_is_explained() {
    let page = read("docs/configuration.md");
    let cli = Cli::command();
    let run = cli.find_subcommand("run").unwrap();
    for flag in run.get_arguments().filter_map(|a| a.get_long()) {
        assert!(
            flag == "help" || page.contains(&format!("`--{flag}`")),
            "--{flag}"
        );
    }
    for command in cli.get_subcommands().map(clap::Command::get_name) {
        assert!(page.contains(&format!("`ramtrail {command}")), "{command}");
    }
    for row in table(&page, "| flag | default | what |") {
        for flag in spans(row[0]) {
            let name = flag.trim_start_matches("--");
            assert!(
                run.get_arguments().any(|a| a.get_long() == Some(name)),
                "{flag} is no flag"
            );
        }
    }
}

#[test]
fn every_permission_is_explained_and_no_other() {
    let page = read("docs/permissions.md");
    let told: Vec<String> = table(&page, "| RAM action | for | may be left out |")
        .iter()
        .flat_map(|row| spans(row[0]))
        .map(str::to_owned)
        .collect();
    let unique: BTreeSet<String> = told.iter().cloned().collect();
    assert_eq!(told.len(), unique.len(), "an action stands twice");
    assert_eq!(unique, ram_actions());
}

/// The parts of a runbook, in their order.
const LABELS: [&str; 4] = ["Meaning", "Impact", "Diagnosis", "Mitigation"];

#[test]
fn every_alert_has_a_runbook_under_its_name() {
    let file: Value = serde_saphyr::from_str(&read("charts/ramtrail/files/alerts.yaml")).unwrap();
    let rules = file["groups"][0]["rules"].as_array().unwrap();
    let page = read("docs/alerts.md");
    let metrics = read("docs/metrics.md");
    let told: Vec<(String, String, String)> = table(&page, "| alert | severity | for |")
        .iter()
        .map(|row| {
            let name = row[0].trim_start_matches('[').split(']').next().unwrap();
            assert_eq!(row[0], format!("[{name}](#{})", name.to_lowercase()));
            (name.to_owned(), row[1].to_owned(), row[2].to_owned())
        })
        .collect();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let known: Vec<(String, String, String)> = rules
        .iter()
        .map(|rule| {
            // Without `for` it fires at the first evaluation.
            let lasts = rule["for"].as_str().unwrap_or("0s").to_owned();
            (text(&rule["alert"]), text(&rule["labels"]["severity"]), lasts)
        })
        .collect();
    assert_eq!(told, known);
    assert_eq!(page.matches("\n## ").count(), known.len());
    for (rule, (name, severity, lasts)) in rules.iter().zip(&known) {
        let section = page
            .split_once(&format!("\n## {name}\n"))
            .unwrap_or_else(|| panic!("no section {name}"))
            .1;
        let section = section.split("\n## ").next().unwrap();
        assert!(
            section.starts_with(&format!("\nSeverity {severity}, `for: {lasts}`.\n")),
            "{name}: {section}"
        );
        let mut rest = section;
        let mut parts = Vec::new();
        for label in LABELS {
            let (before, after) = rest
                .split_once(&format!("\n**{label}.**"))
                .unwrap_or_else(|| panic!("{name} has no **{label}.** after what must stand before it"));
            parts.push(before);
            rest = after;
        }
        parts.push(rest);
        for (label, part) in LABELS.iter().zip(&parts[1..]) {
            assert!(part.trim().len() > 40, "{name}, {label}: {part}");
        }
        assert!(
            parts[3].contains("kubectl") || parts[3].contains("ramtrail_"),
            "{name}: nothing to look at"
        );
        // What it is made of is named, and exists.
        for metric in spans(section)
            .into_iter()
            .filter(|span| span.starts_with("ramtrail_"))
        {
            let metric = metric.split(['{', '[']).next().unwrap();
            assert!(
                metrics.contains(&format!("`{metric}`")),
                "{name}: {metric} is no metric"
            );
        }
        let expression = text(&rule["expr"]);
        let named = spans(parts[1])
            .iter()
            .any(|span| span.starts_with("ramtrail_") && expression.contains(span));
        assert!(named, "{name}: Meaning names no metric of its expression");
    }
}

/// What Kubernetes may not take: others' objects, and parts that belong into an object.
fn is_ours(object: &Value) -> bool {
    object["apiVersion"]
        .as_str()
        .is_some_and(|version| version.starts_with("ramtrail.io/"))
}

#[test]
fn every_kind_has_a_page_whose_example_the_api_server_takes() {
    let kubectl = super::api_server::kubectl();
    let namespace = super::api_server::namespace(&kubectl, "docs");
    let kinds_of_ours: BTreeSet<String> = ramtrail::api::all_crds()
        .into_iter()
        .map(|crd| crd.spec.names.kind)
        .collect();
    let mut kinds = BTreeSet::new();
    let mut places = BTreeSet::new();
    for page in book::pages().unwrap() {
        for block in page.blocks().iter().filter(|block| block.language == "yaml") {
            let place = format!("{}:{}", page.path.display(), block.line);
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(&block.text).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert!(!documents.is_empty(), "{place}: nothing in it");
            for mut object in documents {
                // A part of an object has neither; with one of them alone the other is forgotten.
                let (version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
                assert_eq!(version.is_some(), kind.is_some(), "{place}: {object}");
                let kind = kind.unwrap_or_default().to_owned();
                assert_eq!(
                    is_ours(&object),
                    kinds_of_ours.contains(&kind),
                    "{place}: {object}"
                );
                if !is_ours(&object) {
                    continue;
                }
                object["metadata"]["namespace"] = namespace.as_str().into();
                let args = [
                    "apply",
                    "--server-side",
                    "--dry-run=server",
                    "--validate=strict",
                    "-f",
                    "-",
                ];
                kubectl
                    .run_with_input(args, &object.to_string())
                    .unwrap_or_else(|error| panic!("{place}: {kind}: {error:#}"));
                places.insert((page.path.display().to_string(), kind.clone()));
                kinds.insert(kind);
            }
        }
    }
    assert_eq!(kinds, kinds_of_ours);
    let in_readme = kinds_of_ours
        .iter()
        .map(|kind| ("README.md".to_owned(), kind.clone()));
    assert!(
        in_readme.collect::<BTreeSet<_>>().is_subset(&places),
        "{places:?}"
    );
}
