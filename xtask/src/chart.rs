//! The README of a Helm chart, made from its `values.yaml`: keys, defaults, and the comments above them.
//!
//! A comment belongs to the key below it; `## Title` begins a section. A key without a comment either stands above
//! documented keys or belongs to the default of the documented key that holds it; any other is an error.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One documented key.
#[derive(Debug, PartialEq)]
struct Row {
    path: String,
    /// Absent where keys below it have rows of their own.
    default: Option<String>,
    text: String,
}

#[derive(Debug)]
struct Key {
    path: Vec<String>,
    comment: String,
    section: usize,
}

/// `charts/ramtrail/README.md`, from the chart's definition, values and alerts.
///
/// # Errors
/// Fails if a file is no YAML of the expected form, or if a key of the values is not documented.
pub fn readme(chart: &str, values: &str, alerts: &str) -> Result<String> {
    let chart: Value = serde_saphyr::from_str(chart).context("Chart.yaml is no YAML")?;
    let alerts: Value = serde_saphyr::from_str(alerts).context("alerts.yaml is no YAML")?;
    let text = |key: &str| chart[key].as_str().unwrap_or_default();
    let mut out = format!(
        "# {}\n\n<!-- Made by `cargo xtask generate` from Chart.yaml, values.yaml and files/alerts.yaml; changes belong there. -->\n\n\
         {}. Kubernetes `{}`.\n\n\
         ```sh\nhelm install ramtrail charts/ramtrail --namespace ramtrail-system --create-namespace \\\n  \
         --set image.repository=registry.example/ramtrail --set clusterID=prod-1\n```\n\n",
        text("name"),
        text("description"),
        text("kubeVersion"),
    );
    out.push_str(
        "No image is published yet: build one with `cargo xtask image` and put its name there.\n\n\
         Being allowed to change our kinds is not enough to weaken an audit: that also takes the verb `weaken`, which the API \
         server\nchecks (`breakGlass`). Bind the ClusterRole `<full name>-weaken` to whoever needs it, for as long as they need \
         it:\n\n<!-- set-up:\n```sh\nkubectl create namespace audit\n```\n-->\n\n\
         ```sh\nkubectl -n audit create rolebinding break-glass --clusterrole=ramtrail-weaken --user=alice\n```\n\n\
         ## Values\n",
    );
    for (title, rows) in sections(values)? {
        write!(out, "\n### {title}\n\n| key | default | what |\n|---|---|---|\n")?;
        for row in rows {
            let default = row
                .default
                .map_or_else(String::new, |d| format!("`{}`", cell(&d)));
            writeln!(out, "| `{}` | {default} | {} |", row.path, cell(&row.text))?;
        }
    }
    out.push_str("\n## Alerts\n\n| alert | severity | when |\n|---|---|---|\n");
    for rule in alerts["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
    {
        let part =
            |value: &Value| -> Result<String> { Ok(cell(value.as_str().context("an alert lacks a text")?)) };
        let (name, severity) = (part(&rule["alert"])?, part(&rule["labels"]["severity"])?);
        writeln!(out, "| `{name}` | {severity} | `{}` |", part(&rule["expr"])?)?;
    }
    Ok(out)
}

fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|")
}

fn sections(values: &str) -> Result<Vec<(String, Vec<Row>)>> {
    let parsed: Value = serde_saphyr::from_str(values).context("values.yaml is no YAML")?;
    let (titles, keys) = keys(values)?;
    let mut sections: Vec<(String, Vec<Row>)> = titles.into_iter().map(|title| (title, Vec::new())).collect();
    for key in &keys {
        let is_above = |other: &Key| other.path.len() > key.path.len() && other.path.starts_with(&key.path);
        let has_documented = keys
            .iter()
            .any(|other| is_above(other) && !other.comment.is_empty());
        let is_inside = keys.iter().any(|other| {
            !other.comment.is_empty()
                && key.path.len() > other.path.len()
                && key.path.starts_with(&other.path)
                && !keys.iter().any(|third| {
                    !third.comment.is_empty()
                        && third.path.len() > other.path.len()
                        && third.path.starts_with(&other.path)
                })
        });
        let path = key.path.join(".");
        if key.comment.is_empty() {
            if !has_documented && !is_inside {
                bail!("values.yaml says nothing about {path}");
            }
            continue;
        }
        let value = key.path.iter().fold(&parsed, |value, part| &value[part]);
        sections[key.section].1.push(Row {
            path,
            default: (!has_documented).then(|| value.to_string()),
            text: key.comment.clone(),
        });
    }
    Ok(sections)
}

/// Titles of sections, and every key of a mapping in the order of the file.
fn keys(values: &str) -> Result<(Vec<String>, Vec<Key>)> {
    let mut titles = Vec::new();
    let mut keys: Vec<Key> = Vec::new();
    // Keys above the present line, with their indentation.
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut comment = String::new();
    for line in values.lines() {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        if let Some(title) = line.strip_prefix("## ") {
            titles.push(title.to_owned());
            comment.clear();
        } else if let Some(text) = body.strip_prefix('#') {
            let gap = if comment.is_empty() { "" } else { " " };
            comment = format!("{comment}{gap}{}", text.trim());
        } else if body.is_empty() {
            comment.clear();
        } else if let Some((name, _)) = body.split_once(':').filter(|(name, _)| is_key(name)) {
            above.retain(|(depth, _)| *depth < indent);
            above.push((indent, name.to_owned()));
            keys.push(Key {
                path: above.iter().map(|(_, name)| name.clone()).collect(),
                comment: std::mem::take(&mut comment),
                section: titles
                    .len()
                    .checked_sub(1)
                    .with_context(|| format!("{name} stands before the first section"))?,
            });
        }
    }
    Ok((titles, keys))
}

/// Items of lists begin with `-` and are no keys.
fn is_key(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const VALUES: &str = "# About the file.\n\n## First\n\n# A | B.\na: \"\"\ngroup:\n  # Inner,\n  # in two lines.\n  b: 1\n\n\
                          ## Second\n\n# A map.\nmap:\n  a: q\n  list:\n    - z\n# With parts.\nparts:\n  # One.\n  one: null\n";

    #[test]
    fn comments_become_rows_with_the_default_below_them() {
        let sections = sections(VALUES).unwrap();
        let row = |path: &str, default: Option<&str>, text: &str| Row {
            path: path.to_owned(),
            default: default.map(str::to_owned),
            text: text.to_owned(),
        };
        assert_eq!(
            sections[0].1,
            [
                row("a", Some("\"\""), "A | B."),
                row("group.b", Some("1"), "Inner, in two lines.")
            ]
        );
        assert_eq!(
            sections[1].1,
            [
                row("map", Some(r#"{"a":"q","list":["z"]}"#), "A map."),
                row("parts", None, "With parts."),
                row("parts.one", Some("null"), "One."),
            ]
        );
    }

    #[test]
    fn a_key_without_a_comment_is_an_error() {
        for silent in ["## S\na: 1\n", "## S\n# Known.\nb:\n  # One.\n  c: 1\n  d: 2\n"] {
            let error = sections(silent).unwrap_err().to_string();
            assert!(error.contains("says nothing about"), "{error}");
        }
    }

    #[test]
    fn bars_do_not_end_a_cell() {
        let text = readme("name: n\n", VALUES, "groups: []\n").unwrap();
        assert!(text.contains("| `a` | `\"\"` | A \\| B. |"), "{text}");
    }
}
