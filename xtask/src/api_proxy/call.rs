//! What a request to the API server asks for, read off its method, path and body.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request as faults and the journal see it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// As RBAC names it: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    /// Plural name, such as `ramtrails`; empty for a path that is no resource.
    pub resource: String,
    /// Such as `status`; empty for the object itself.
    pub subresource: String,
    /// Namespace; empty for all or none.
    pub namespace: String,
    /// Name of the object; of a create, the one in its body.
    pub name: String,
    /// Whether it may change something.
    pub is_write: bool,
    /// What a write is about: the keys of its body below `metadata`, `status` or `spec`, sorted.
    pub about: Vec<String>,
}

impl Call {
    /// Reads a request.
    pub fn of(method: &str, path: &str, query: &str, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let rest = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            other => ("", other),
        };
        let part = |index: usize| rest.get(index).copied().unwrap_or_default();
        let watches = query
            .split('&')
            .any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch="));
        let named = !part(1).is_empty();
        let verb = match method {
            "GET" | "HEAD" if watches => "watch",
            "GET" | "HEAD" if named || rest.is_empty() => "get",
            "GET" | "HEAD" => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if named => "delete",
            "DELETE" => "deletecollection",
            other => other,
        };
        let name = if named {
            part(1)
        } else {
            body["metadata"]["name"].as_str().unwrap_or_default()
        };
        Self {
            verb: verb.to_owned(),
            resource: part(0).to_owned(),
            subresource: part(2).to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            is_write: !matches!(verb, "get" | "list" | "watch"),
            about: about(&body),
        }
    }
}

/// Keys that only identify or guard a write say nothing about it.
fn about(body: &Value) -> Vec<String> {
    let mut all: Vec<String> = ["metadata", "status", "spec"]
        .iter()
        .filter_map(|part| Some((part, body.get(part)?.as_object()?)))
        .flat_map(|(part, keys)| keys.keys().map(move |key| format!("{part}.{key}")))
        .filter(|key| {
            !matches!(
                key.as_str(),
                "metadata.name" | "metadata.namespace" | "metadata.uid" | "metadata.resourceVersion"
            )
        })
        .collect();
    // A JSON patch is a list of operations.
    for operation in body.as_array().into_iter().flatten() {
        if let Some(path) = operation["path"].as_str() {
            all.push(path.trim_start_matches('/').replace('/', "."));
        }
    }
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, path: &str, query: &str, body: &str) -> (String, String, String, String, String) {
        let call = Call::of(method, path, query, body.as_bytes());
        (
            call.verb,
            call.resource,
            call.subresource,
            call.namespace,
            call.name,
        )
    }

    fn own<const N: usize>(parts: [&str; N]) -> [String; N] {
        parts.map(str::to_owned)
    }

    #[test]
    fn paths_of_every_sort_are_read() {
        let base = "/apis/ramtrail.io/v1alpha1";
        let table = [
            (
                "GET",
                format!("{base}/namespaces/n/ramtrails"),
                "limit=5",
                "",
                ["list", "ramtrails", "", "n", ""],
            ),
            (
                "GET",
                format!("{base}/ramtrails"),
                "a=1&watch=true",
                "",
                ["watch", "ramtrails", "", "", ""],
            ),
            (
                "GET",
                format!("{base}/namespaces/n/ramtrails/a"),
                "",
                "",
                ["get", "ramtrails", "", "n", "a"],
            ),
            (
                "PATCH",
                format!("{base}/namespaces/n/ramtrails/a/status"),
                "",
                "{}",
                ["patch", "ramtrails", "status", "n", "a"],
            ),
            (
                "GET",
                "/api/v1/namespaces/n".to_owned(),
                "",
                "",
                ["get", "namespaces", "", "", "n"],
            ),
            (
                "GET",
                "/api/v1/namespaces/n/secrets/s".to_owned(),
                "",
                "",
                ["get", "secrets", "", "n", "s"],
            ),
            (
                "POST",
                "/apis/coordination.k8s.io/v1/namespaces/n/leases".to_owned(),
                "",
                r#"{"metadata":{"name":"l"}}"#,
                ["create", "leases", "", "n", "l"],
            ),
            ("GET", "/readyz".to_owned(), "", "", ["get", "", "", "", ""]),
        ];
        for (method, path, query, body, expected) in table {
            let found: [String; 5] = read(method, &path, query, body).into();
            assert_eq!(found, own(expected), "{method} {path}?{query}");
        }
    }

    #[test]
    fn a_write_says_what_it_is_about() {
        let body = br#"{"metadata":{"finalizers":["f"],"resourceVersion":"1"},"status":{"claim":{}}}"#;
        let call = Call::of("PATCH", "/apis/g/v/namespaces/n/ramtrails/a", "", body);
        assert!(call.is_write);
        assert_eq!(call.about, ["metadata.finalizers", "status.claim"]);
        let list = br#"[{"op":"remove","path":"/metadata/finalizers/0"}]"#;
        let call = Call::of("PATCH", "/apis/g/v/namespaces/n/ramtrails/a", "", list);
        assert_eq!(call.about, ["metadata.finalizers.0"]);
    }
}
