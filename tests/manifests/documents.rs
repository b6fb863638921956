//! The documentation against the code: reasons, conditions, events, flags, commands, permissions, alerts, examples.

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

#[test]
fn every_alert_has_a_runbook_under_its_name() {
    let file: Value = serde_saphyr::from_str(&read("charts/ramtrail/files/alerts.yaml")).unwrap();
    let rules = file["groups"][0]["rules"].as_array().unwrap();
    let page = read("docs/alerts.md");
    let rows = table(&page, "| alert | severity |");
    let mut told: Vec<(String, String)> = Vec::new();
    for row in &rows {
        let name = row[0].trim_start_matches('[').split(']').next().unwrap();
        assert_eq!(row[0], format!("[{name}](#{})", name.to_lowercase()));
        told.push((name.to_owned(), row[1].to_owned()));
        let section = page
            .split_once(&format!("\n## {name}\n"))
            .unwrap_or_else(|| panic!("no section {name}"))
            .1;
        let section = section.split("\n## ").next().unwrap();
        assert!(section.contains("\n1. "), "{name} has no step");
    }
    let known: Vec<(String, String)> = rules
        .iter()
        .map(|rule| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&rule["alert"]), text(&rule["labels"]["severity"]))
        })
        .collect();
    assert_eq!(told, known);
    assert_eq!(page.matches("\n## ").count(), known.len());
}

#[test]
fn every_kind_has_a_page_whose_example_the_api_server_takes() {
    let kubectl = super::api_server::kubectl();
    let namespace = super::api_server::namespace(&kubectl, "docs");
    let mut kinds = BTreeSet::new();
    for page in book::pages().unwrap() {
        for block in page.blocks().iter().filter(|block| block.language == "yaml") {
            let Ok(object) = serde_saphyr::from_str::<Value>(&block.text) else {
                continue;
            };
            let Some(kind) = object["kind"]
                .as_str()
                .filter(|_| object["apiVersion"] == "ramtrail.io/v1alpha1")
            else {
                continue;
            };
            kinds.insert(kind.to_owned());
            let moved = block
                .text
                .replace("namespace: audit", &format!("namespace: {namespace}"));
            let args = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
            kubectl
                .run_with_input(args, &moved)
                .unwrap_or_else(|error| panic!("{}:{}: {error:#}", page.path.display(), block.line));
        }
    }
    let known: BTreeSet<String> = ramtrail::api::all_crds()
        .into_iter()
        .map(|crd| crd.spec.names.kind)
        .collect();
    assert_eq!(kinds, known);
}
