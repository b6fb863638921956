//! Saved searches and dashboards: opaque JSON under a name (sls-api 4.7, 4.8).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::State;
use super::arguments::{Arguments, Members};
use super::errors::{bad, exceed_quota, parameter_invalid, post_body_invalid};
use crate::call::CallContext;
use crate::quota;
use crate::wire::{ApiError, Reply};

/// Longest configuration of a saved search, in bytes.
const MAX_SEARCH: usize = 65_535;
/// Charts on one dashboard.
const MAX_CHARTS: usize = 200;

fn search_not_exist() -> ApiError {
    ApiError::new(404, "SavedSearchNotExist", "specified savedsearch does not exist")
}

fn dashboard_not_exist() -> ApiError {
    ApiError::new(404, "DashboardNotExist", "specified dashboard does not exist")
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
    pub(super) fn create_search(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let project = self.project(cx, project)?;
        let body = given.object()?;
        check_search(&body)?;
        let name = body["savedsearchName"].as_str().unwrap_or_default().to_owned();
        if project.searches.contains_key(&name) {
            return Err(parameter_invalid("specified savedsearch already exists"));
        }
        if project.searches.len() as u64 >= cx.quotas.get(quota::SLS_SAVED_SEARCHES) {
            return Err(exceed_quota("savedsearch"));
        }
        project.searches.insert(name, Value::Object(body));
        Ok(Reply::empty())
    }

    pub(super) fn get_search(
        &mut self,
        cx: &CallContext<'_>,
        (project, name): (&str, &str),
    ) -> Result<Reply, ApiError> {
        let project = self.project(cx, project)?;
        project
            .searches
            .get(name)
            .map(Reply::json)
            .ok_or_else(search_not_exist)
    }

    pub(super) fn update_search(
        &mut self,
        cx: &CallContext<'_>,
        (project, name): (&str, &str),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let held = self
            .project(cx, project)?
            .searches
            .get_mut(name)
            .ok_or_else(search_not_exist)?;
        let body = named(given.object()?, "savedsearchName", name)?;
        check_search(&body)?;
        *held = Value::Object(body);
        Ok(Reply::empty())
    }

    pub(super) fn delete_search(
        &mut self,
        cx: &CallContext<'_>,
        (project, name): (&str, &str),
    ) -> Result<Reply, ApiError> {
        self.project(cx, project)?
            .searches
            .remove(name)
            .ok_or_else(search_not_exist)?;
        Ok(Reply::empty())
    }

    pub(super) fn list_searches(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let page = given.page(500, 500)?;
        let project = self.project(cx, project)?;
        let found = items(
            project.searches.values(),
            given,
            &["savedsearchName", "logstore"],
            &[
                "savedsearchName",
                "displayName",
                "logstore",
                "searchQuery",
                "topic",
            ],
        );
        let total = found.len();
        let shown = page.of(found);
        let names: Vec<&Value> = shown.iter().map(|item| &item["savedsearchName"]).collect();
        let answer =
            json!({"total": total, "count": shown.len(), "savedsearches": names, "savedsearchItems": shown});
        Ok(Reply::json(&answer))
    }

    pub(super) fn create_dashboard(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let project = self.project(cx, project)?;
        let body = given.object()?;
        check_dashboard(&body)?;
        let name = body["dashboardName"].as_str().unwrap_or_default().to_owned();
        if project.dashboards.contains_key(&name) {
            return Err(parameter_invalid("specified dashboard already exists"));
        }
        if project.dashboards.len() as u64 >= cx.quotas.get(quota::SLS_DASHBOARDS) {
            return Err(exceed_quota("dashboard"));
        }
        project.dashboards.insert(name, Value::Object(body));
        Ok(Reply::empty())
    }

    pub(super) fn get_dashboard(
        &mut self,
        cx: &CallContext<'_>,
        (project, name): (&str, &str),
    ) -> Result<Reply, ApiError> {
        let project = self.project(cx, project)?;
        project
            .dashboards
            .get(name)
            .map(Reply::json)
            .ok_or_else(dashboard_not_exist)
    }

    pub(super) fn update_dashboard(
        &mut self,
        cx: &CallContext<'_>,
        (project, name): (&str, &str),
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let held = self
            .project(cx, project)?
            .dashboards
            .get_mut(name)
            .ok_or_else(dashboard_not_exist)?;
        let body = named(given.object()?, "dashboardName", name)?;
        check_dashboard(&body)?;
        *held = Value::Object(body);
        Ok(Reply::empty())
    }

    pub(super) fn delete_dashboard(
        &mut self,
        cx: &CallContext<'_>,
        (project, name): (&str, &str),
    ) -> Result<Reply, ApiError> {
        let project = self.project(cx, project)?;
        project.dashboards.remove(name).ok_or_else(dashboard_not_exist)?;
        project.dashboard_tags.remove(name);
        Ok(Reply::empty())
    }

    pub(super) fn list_dashboards(
        &mut self,
        cx: &CallContext<'_>,
        project: &str,
        given: &Arguments,
    ) -> Result<Reply, ApiError> {
        let page = given.page(500, 500)?;
        let project = self.project(cx, project)?;
        let found = items(
            project.dashboards.values(),
            given,
            &["dashboardName", "displayName"],
            &["dashboardName", "displayName", "description"],
        );
        let total = found.len();
        let shown = page.of(found);
        let names: Vec<&Value> = shown.iter().map(|item| &item["dashboardName"]).collect();
        let answer =
            json!({"total": total, "count": shown.len(), "dashboards": names, "dashboardItems": shown});
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
            let check = if body.contains_key("dashboardName") {
                check_dashboard
            } else {
                check_search
            };
            check(body).err().map(|error| error.code)
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
