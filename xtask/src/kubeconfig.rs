//! Kubeconfig files: one cluster, one user.
//!
//! Written as JSON, which every YAML reader accepts, so that no YAML library is needed to make them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::workspace::write_private;

/// Where the API server is and how it proves itself.
#[derive(Clone, Debug)]
pub struct Cluster(Value);

impl Cluster {
    /// A server whose certificate is signed by the authority in a PEM file.
    pub fn new(server: &str, ca_file: &Path) -> Self {
        Self(json!({ "server": server, "certificate-authority": ca_file }))
    }

    /// The cluster of the current context, from `kubectl config view --raw --minify --flatten -o json`.
    pub fn of_view(view: &Value) -> Result<Self> {
        let clusters = view["clusters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let [cluster] = clusters else {
            bail!(
                "expected one cluster in the current context, found {}",
                clusters.len()
            );
        };
        Ok(Self(cluster["cluster"].clone()))
    }

    /// The server's URL.
    pub fn server(&self) -> Result<&str> {
        self.0["server"]
            .as_str()
            .context("the kubeconfig names no server")
    }
}

/// Who speaks to the API server.
#[derive(Clone)]
pub enum User {
    /// The bearer of a token.
    Token(String),
    /// The bearer of the token that a file holds now, as a Pod is of the one that the kubelet writes and renews.
    TokenFile(PathBuf),
    /// An administrator (by token) who acts as somebody else: API server authorization is that of the other.
    Impersonated {
        /// The administrator's token.
        admin_token: String,
        /// Whose name to act under.
        name: String,
        /// The groups to act with.
        groups: Vec<String>,
    },
}

impl User {
    fn to_json(&self) -> Value {
        match self {
            Self::Token(token) => json!({ "token": token }),
            Self::TokenFile(path) => json!({ "tokenFile": path }),
            Self::Impersonated {
                admin_token,
                name,
                groups,
            } => {
                json!({ "token": admin_token, "as": name, "as-groups": groups })
            }
        }
    }
}

/// Writes a kubeconfig with these two, readable by its owner only.
pub fn write(path: &Path, cluster: &Cluster, user: &User) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "ramtrail", "cluster": cluster.0 }],
        "users": [{ "name": "user", "user": user.to_json() }],
        "contexts": [{ "name": "ramtrail", "context": { "cluster": "ramtrail", "user": "user" } }],
        "current-context": "ramtrail",
    });
    write_private(path, format!("{config:#}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn cluster_is_taken_over_and_the_user_replaced() {
        let view = json!({
            "clusters": [{ "name": "c", "cluster": { "server": "https://h:1", "certificate-authority-data": "QQ==" } }],
            "users": [{ "name": "u", "user": { "token": "secret" } }],
        });
        let cluster = Cluster::of_view(&view).unwrap();
        assert_eq!(cluster.server().unwrap(), "https://h:1");
        let dir = crate::temp_dir::TempDir::new("unit").unwrap();
        let path = dir.path().join("k");
        write(&path, &cluster, &User::Token("other".into())).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("QQ==") && text.contains("other") && !text.contains("secret"),
            "{text}"
        );
    }

    #[test]
    fn ambiguous_cluster_is_refused() {
        assert!(Cluster::of_view(&json!({})).is_err());
    }
}
