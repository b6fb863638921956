//! The API reference of the documentation, made from the CustomResourceDefinitions.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

/// The page, from the definitions as YAML, in the order given.
///
/// # Errors
/// Fails if a definition is no YAML of the expected form, or if a field has no description.
pub fn page(definitions: &[&str]) -> Result<String> {
    let mut out = String::from(
        "# API reference\n\n<!-- Made by `cargo xtask generate` from crds/; changes belong to src/api. -->\n\n\
         Made from the CustomResourceDefinitions; `kubectl explain rt.spec --recursive` says the same. Fields under `spec` are yours,\n\
         fields under `status` are the operator's. A field that is neither required nor has a default may be left out; the\n\
         description says what that means.\n",
    );
    for text in definitions {
        let crd: Value = serde_saphyr::from_str(text).context("a definition is no YAML")?;
        kind(&mut out, &crd).with_context(|| format!("in {}", crd["metadata"]["name"]))?;
    }
    Ok(out)
}

fn kind(out: &mut String, crd: &Value) -> Result<()> {
    let names = &crd["spec"]["names"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let short: Vec<String> = array(&names["shortNames"]).iter().map(word).collect();
    for version in array(&crd["spec"]["versions"]) {
        let schema = &version["schema"]["openAPIV3Schema"];
        write!(
            out,
            "\n## {}\n\n{}\n\n`{}/{}`, {}, plural `{}`, short `{}`.\n",
            word(&names["kind"]),
            one_line(&schema["description"])?,
            word(&crd["spec"]["group"]),
            word(&version["name"]),
            word(&crd["spec"]["scope"]).to_lowercase(),
            word(&names["plural"]),
            short.join("`, `"),
        )?;
        for part in ["spec", "status"] {
            write!(
                out,
                "\n### {} {part}\n\n| field | type | default | what |\n|---|---|---|---|\n",
                word(&names["kind"])
            )?;
            rows(out, &schema["properties"][part], "")?;
        }
        let mut found = Vec::new();
        rules(&mut found, schema, "");
        if !found.is_empty() {
            write!(
                out,
                "\n### {} rules\n\nChecked by the API server when an object is written:\n\n",
                word(&names["kind"])
            )?;
            for rule in found {
                writeln!(out, "- {rule}")?;
            }
        }
        write!(
            out,
            "\n### {} columns\n\n| column | shown | what |\n|---|---|---|\n",
            word(&names["kind"])
        )?;
        for column in array(&version["additionalPrinterColumns"]) {
            let shown = if column["priority"].as_i64().unwrap_or(0) > 0 {
                "with `-o wide`"
            } else {
                "always"
            };
            writeln!(
                out,
                "| {} | {shown} | {} |",
                word(&column["name"]),
                one_line(&column["description"])?
            )?;
        }
    }
    Ok(())
}

/// One row for each field below `schema`, depth first.
fn rows(out: &mut String, schema: &Value, above: &str) -> Result<()> {
    let required: Vec<&str> = array(&schema["required"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (name, field) in properties {
        let path = format!("{above}{name}");
        let default = match &field["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let what = one_line(&field["description"]).with_context(|| path.clone())?;
        writeln!(out, "| `{path}` | {} | {default} | {what} |", type_of(field))?;
        // Conditions have a page of their own.
        if path == "conditions" {
            continue;
        }
        rows(out, field, &format!("{path}."))?;
        rows(out, &field["items"], &format!("{path}[]."))?;
    }
    Ok(())
}

fn type_of(field: &Value) -> String {
    let choices: Vec<String> = array(&field["enum"])
        .iter()
        .filter_map(Value::as_str)
        .map(|choice| format!("`{choice}`"))
        .collect();
    if !choices.is_empty() {
        return choices.join(", ");
    }
    let mut text = match field["type"].as_str().unwrap_or_default() {
        "array" => format!("list of {}", type_of(&field["items"])),
        "object" if field.get("additionalProperties").is_some() => {
            format!("map to {}", type_of(&field["additionalProperties"]))
        }
        other => other.to_owned(),
    };
    let bounds = |least: &str, most: &str| match (field[least].as_i64(), field[most].as_i64()) {
        (None, None) => None,
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
    };
    for (least, most, unit) in [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " keys"),
    ] {
        if let Some(bounds) = bounds(least, most) {
            let _ = write!(text, ", {bounds}{unit}");
        }
    }
    text
}

/// Messages of the rules below `schema`, each with the field it is about.
fn rules(found: &mut Vec<String>, schema: &Value, path: &str) {
    for rule in array(&schema["x-kubernetes-validations"]) {
        let at = rule["fieldPath"].as_str().unwrap_or_default();
        let field = format!("{path}{at}");
        let message = cell(rule["message"].as_str().unwrap_or_default());
        found.push(format!("`{}`: {message}", field.trim_start_matches('.')));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        rules(found, field, &format!("{path}.{name}"));
    }
    if schema["items"].is_object() {
        rules(found, &schema["items"], &format!("{path}[]"));
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn one_line(description: &Value) -> Result<String> {
    Ok(cell(description.as_str().context("there is no description")?))
}

/// Bars end a cell, and tags outside of code are HTML.
fn cell(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut out = String::new();
    for (index, part) in joined.split('`').enumerate() {
        if index > 0 {
            out.push('`');
        }
        let part = part.replace('|', "\\|");
        out.push_str(&if index % 2 == 0 {
            part.replace('<', "&lt;")
        } else {
            part
        });
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const CRD: &str = "
metadata: {name: things.example}
spec:
  group: example
  scope: Namespaced
  names: {kind: Thing, plural: things, shortNames: [th]}
  versions:
  - name: v1
    additionalPrinterColumns: [{name: Ready, description: Whether it is, priority: 1}]
    schema:
      openAPIV3Schema:
        description: A thing.
        properties:
          spec:
            description: Wanted.
            required: [name]
            properties:
              name: {type: string, description: \"Name | `a|<b>` <c>.\", minLength: 1, maxLength: 9}
              mode: {type: string, enum: [A, B], default: A, description: Mode.}
              parts:
                type: array
                maxItems: 3
                description: Parts.
                items:
                  type: object
                  properties: {size: {type: integer, minimum: 2, description: Size.}}
                x-kubernetes-validations: [{message: no more}]
          status:
            description: Found.
            properties: {}
";

    #[test]
    fn fields_have_rows_with_types_bounds_and_defaults() {
        let text = page(&[CRD]).unwrap();
        for row in [
            "| `name` | string, 1 to 9 characters | required | Name \\| `a\\|<b>` &lt;c>. |",
            "| `mode` | `A`, `B` | `A` | Mode. |",
            "| `parts` | list of object, at most 3 items |  | Parts. |",
            "| `parts[].size` | integer, at least 2 |  | Size. |",
            "- `spec.parts`: no more",
            "| Ready | with `-o wide` | Whether it is |",
        ] {
            assert!(text.contains(row), "{row} in {text}");
        }
    }

    #[test]
    fn a_field_without_a_description_is_an_error() {
        let silent = CRD.replace("description: Size.", "format: int32");
        let error = format!("{:#}", page(&[&silent]).unwrap_err());
        assert!(error.contains("parts[].size"), "{error}");
    }
}
