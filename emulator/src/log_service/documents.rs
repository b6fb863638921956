//! Saved searches and dashboards: opaque JSON under a name (sls-api 4.7, 4.8).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::State;
use super::arguments::{Arguments, Members};
use super::errors::{bad, exceed_quota, parameter_invalid, post_body_invalid};
use super::project::Project;
use crate::call::CallContext;
use crate::quota::{self, Quota};
use crate::wire::{ApiError, Reply};

/// Longest configuration of a saved search, in bytes.
const MAX_SEARCH: usize = 65_535;
/// Charts on one dashboard.
const MAX_CHARTS: usize = 200;

/// Saved searches and dashboards live the same life; what they differ in is said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Saved searches (4.7).
    Search,
    /// Dashboards (4.8).
    Dashboard,
}

impl Family {
    /// As messages and the list's members begin.
    fn word(self) -> &'static str {
        match self {
            Self::Search => "savedsearch",
            Self::Dashboard => "dashboard",
        }
    }

    /// Member with the name.
    fn name_member(self) -> &'static str {
        match self {
            Self::Search => "savedsearchName",
            Self::Dashboard => "dashboardName",
        }
    }

    /// List of the names.
    fn names_member(self) -> &'static str {
        match self {
            Self::Search => "savedsearches",
            Self::Dashboard => "dashboards",
        }
    }

    /// List of the summaries.
    fn items_member(self) -> &'static str {
        match self {
            Self::Search => "savedsearchItems",
            Self::Dashboard => "dashboardItems",
        }
    }

    /// Members by parts of which a list is filtered.
    fn filters(self) -> &'static [&'static str] {
        match self {
            Self::Search => &["savedsearchName", "logstore"],
            Self::Dashboard => &["dashboardName", "displayName"],
        }
    }

    /// Members that a list shows.
    fn shown(self) -> &'static [&'static str] {
        match self {
            Self::Search => &[
                "savedsearchName",
                "displayName",
                "logstore",
                "searchQuery",
                "topic",
            ],
            Self::Dashboard => &["dashboardName", "displayName", "description"],
        }
    }

    fn quota(self) -> Quota {
        match self {
            Self::Search => quota::SLS_SAVED_SEARCHES,
            Self::Dashboard => quota::SLS_DASHBOARDS,
        }
    }

    fn missing(self) -> ApiError {
        let code = match self {
            Self::Search => "SavedSearchNotExist",
            Self::Dashboard => "DashboardNotExist",
        };
        ApiError::new(404, code, format!("specified {} does not exist", self.word()))
    }

    fn check(self, body: &Map<String, Value>) -> Result<(), ApiError> {
        match self {
            Self::Search => check_search(body),
            Self::Dashboard => check_dashboard(body),
        }
    }

    fn held(self, project: &mut Project) -> &mut BTreeMap<String, Value> {
        match self {
            Self::Search => &mut project.searches,
            Self::Dashboard => &mut project.dashboards,
        }
    }
}

fn check_search(body: &Map<String, Value>) -> Result<(), ApiError> {
    let members = Members::new(body, "PostBodyInvalid");
    let name = members.required_text("savedsearchName")?;
    if !(3..=63).contains(&name.chars().count()) {
        return Err(parameter_invalid(format!("savedsearch name {name} is invalid")));
    }
    members.required_text("logstore")?;
    members.required_text("displayName")?;
    members.text("searchQuery")?;
    members.text("topic")?;
    if Value::Object(body.clone()).to_string().len() > MAX_SEARCH {
        return Err(post_body_invalid("The savedsearch configuration is too long."));
    }
    Ok(())
}

fn check_dashboard(body: &Map<String, Value>) -> Result<(), ApiError> {
    let members = Members::new(body, "PostBodyInvalid");
    let name = members.text("dashboardName")?.unwrap_or_default();
    if !(2..=128).contains(&name.chars().count()) {
        return Err(bad(
            "InvalidDashboardName",
            format!("dashboard name {name} is invalid"),
        ));
    }
    let Some(charts) = members.get("charts") else {
        return Ok(());
    };
    let charts = charts
        .as_array()
        .ok_or_else(|| post_body_invalid("charts must be a list"))?;
    if charts.len() > MAX_CHARTS {
        return Err(bad("ExceedQuota", "You have too many charts in your dashboard"));
    }
    let mut titles = BTreeSet::new();
    for chart in charts {
        let title = chart
            .get("title")
            .and_then(Value::as_str)
            .ok_or_else(|| post_body_invalid("title of a chart is required"))?;
        if !titles.insert(title) {
            return Err(post_body_invalid(format!("Duplicate chart title: {title}")));
        }
    }
    Ok(())
}

/// The name in the body must be the one in the path, if it is there at all.
fn named(mut body: Map<String, Value>, member: &str, name: &str) -> Result<Map<String, Value>, ApiError> {
    match body.get(member).and_then(Value::as_str) {
        Some(other) if other != name => Err(parameter_invalid(format!("{member} {other} is not {name}"))),
        _ => {
            body.insert(member.to_owned(), json!(name));
            Ok(body)
        }
    }
}

fn items<'a>(
    held: impl Iterator<Item = &'a Value>,
    given: &Arguments,
    filters: &[&str],
    members: &[&str],
) -> Vec<Value> {
    held.filter(|item| {
        filters.iter().all(|&name| {
            let text = item.get(name).and_then(Value::as_str).unwrap_or_default();
            given.filter(name).is_none_or(|part| text.contains(part))
        })
    })
    .map(|item| {
        let shown = members.iter().map(|&name| {
            (
                name.to_owned(),
                item.get(name).cloned().unwrap_or_else(|| json!("")),
            )
        });
        Value::Object(shown.collect())
    })
    .collect()
}

impl State {
    pub(super) fn create_document(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        family: Family,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let held = family.held(self.project(cx, project)?);
        let body = given.object()?;
        family.check(&body)?;
        let name = body[family.name_member()].as_str().unwrap_or_default().to_owned();
        if held.contains_key(&name) {
            return Err(parameter_invalid(format!(
                "specified {} already exists",
                family.word()
            )));
        }
        if held.len() as u64 >= cx.quotas.get(family.quota()) {
            return Err(exceed_quota(family.word()));
        }
        held.insert(name, Value::Object(body));
        Ok(Reply::empty())
    }

    pub(super) fn get_document(
        &mut self,
        cx: &CallContext<'_>,
        (project, family, name): (&str, Family, &str),
    ) -> Result<Reply, ApiError> {
        let held = family.held(self.project(cx, project)?);
        held.get(name).map(Reply::json).ok_or_else(|| family.missing())
    }

    pub(super) fn update_document(
        &mut self,
        cx: &CallContext<'_>,
        (project, family, name): (&str, Family, &str),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let held = family
            .held(self.project(cx, project)?)
            .get_mut(name)
            .ok_or_else(|| family.missing())?;
        let body = named(given.object()?, family.name_member(), name)?;
        family.check(&body)?;
        *held = Value::Object(body);
        Ok(Reply::empty())
    }

    pub(super) fn delete_document(
        &mut self,
        cx: &CallContext<'_>,
        (project, family, name): (&str, Family, &str),
    ) -> Result<Reply, ApiError> {
        let project = self.project(cx, project)?;
        family
            .held(project)
            .remove(name)
            .ok_or_else(|| family.missing())?;
        // Of the two only dashboards carry tags.
        if family == Family::Dashboard {
            project.dashboard_tags.remove(name);
        }
        Ok(Reply::empty())
    }

    pub(super) fn list_documents(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        family: Family,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let page = given.page(500, 500)?;
        let held = family.held(self.project(cx, project)?);
        let found = items(held.values(), given, family.filters(), family.shown());
        let total = found.len();
        let shown = page.of(found);
        let names: Vec<&Value> = shown.iter().map(|item| &item[family.name_member()]).collect();
        let answer = json!({
            "total": total,
            "count": shown.len(),
            family.names_member(): names,
            family.items_member(): shown,
        });
        Ok(Reply::json(&answer))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn dashboards_and_searches_keep_their_rules() {
        let refused = |body: Value| {
            let body = body.as_object().unwrap();
            let family = if body.contains_key("dashboardName") {
                Family::Dashboard
            } else {
                Family::Search
            };
            family.check(body).err().map(|error| error.code)
        };
        let chart = json!({"title": "t", "type": "table", "action": {}});
        let table = [
            (json!({"dashboardName": "ab", "charts": [chart]}), None),
            (json!({"dashboardName": "a"}), Some("InvalidDashboardName")),
            (
                json!({"dashboardName": "a".repeat(129)}),
                Some("InvalidDashboardName"),
            ),
            (
                json!({"dashboardName": "ab", "charts": [chart, chart]}),
                Some("PostBodyInvalid"),
            ),
            (
                json!({"savedsearchName": "abc", "displayName": "d", "logstore": "l", "searchQuery": ""}),
                None,
            ),
            (
                json!({"savedsearchName": "ab", "displayName": "d", "logstore": "l"}),
                Some("ParameterInvalid"),
            ),
            (
                json!({"savedsearchName": "abc", "logstore": "l"}),
                Some("PostBodyInvalid"),
            ),
            (
                json!({"savedsearchName": "abc", "displayName": "d", "logstore": "l", "searchQuery": "x".repeat(65_535)}),
                Some("PostBodyInvalid"),
            ),
        ];
        for (body, wanted) in table {
            let shown: String = body.to_string().chars().take(80).collect();
            assert_eq!(refused(body).as_deref(), wanted, "{shown}");
        }
    }
}
