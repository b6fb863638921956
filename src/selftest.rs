//! `ramtrail selftest`: looks whether the operator can work where it stands, line by line. Changes nothing anywhere.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::header::DATE;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use kube::api::PostParams;
use kube::{Api, Client};

use ramtrail::aliyun::{
    Cloud, CloudOptions, CredentialError, NoObserver, ReqwestSender, Service, StaticCredentials,
    TransportOptions,
};
use ramtrail::api;
use ramtrail::config::{ClusterId, SelftestArgs};
use ramtrail::controllers;

use crate::startup;

/// For one question.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Clocks that differ by more are worth a word: certificates and logs suffer.
const SKEW_TOLD: SignedDuration = SignedDuration::from_secs(60);
/// Clocks that differ by more are refused by the cloud.
const SKEW_REFUSED: SignedDuration = SignedDuration::from_mins(15);

/// How a check went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Good,
    /// Works, and somebody should look.
    Warning,
    /// Not asked, since there is nothing to ask about.
    LeftOut,
    Failed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "ok",
            Self::Warning => "warn",
            Self::LeftOut => "skip",
            Self::Failed => "FAIL",
        })
    }
}

/// What was seen, a line each.
#[derive(Debug, Default)]
struct Report {
    failed: usize,
}

impl Report {
    fn line(&mut self, verdict: Verdict, subject: &str, text: &str) {
        if verdict == Verdict::Failed {
            self.failed += 1;
        }
        // What others say may span lines; a check is one.
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        println!("{verdict:<4}  {subject}: {text}");
    }

    fn result(&mut self, subject: &str, result: Result<String, String>) {
        match result {
            Ok(text) => self.line(Verdict::Good, subject, &text),
            Err(text) => self.line(Verdict::Failed, subject, &text),
        }
    }
}

/// Something that the operator must be allowed.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Right {
    group: &'static str,
    resource: String,
    verb: &'static str,
    /// Only the object of this name.
    name: Option<String>,
}

impl Right {
    fn new(group: &'static str, resource: impl Into<String>, verb: &'static str) -> Self {
        Self {
            group,
            resource: resource.into(),
            verb,
            name: None,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match &self.name {
            Some(name) => write!(f, " {name}"),
            None => Ok(()),
        }
    }
}

/// Plural names of our kinds.
fn kinds() -> Vec<String> {
    let crds = api::all_crds();
    crds.into_iter().map(|crd| crd.spec.names.plural).collect()
}

/// Rights in all namespaces that are looked at.
fn object_rights() -> Vec<Right> {
    let mut rights = Vec::new();
    for kind in kinds() {
        for verb in ["get", "list", "watch", "patch"] {
            rights.push(Right::new(api::GROUP, kind.clone(), verb));
        }
        rights.push(Right::new(api::GROUP, format!("{kind}/status"), "patch"));
    }
    rights.push(Right::new("", "secrets", "get"));
    for verb in ["create", "patch"] {
        rights.push(Right::new("events.k8s.io", "events", verb));
    }
    rights
}

/// Rights in the operator's own namespace.
fn own_rights(lease: &str) -> Vec<Right> {
    let mut rights = vec![Right::new("coordination.k8s.io", "leases", "create")];
    for verb in ["get", "update"] {
        let mut right = Right::new("coordination.k8s.io", "leases", verb);
        right.name = Some(lease.to_owned());
        rights.push(right);
    }
    rights.push(Right::new("events.k8s.io", "events", "create"));
    rights
}

/// Rights on what has no namespace.
fn cluster_rights() -> Vec<Right> {
    vec![Right::new("", "namespaces", "get")]
}

/// Runs all checks and prints a line for each; the code is a failure if one failed.
pub fn run(args: &SelftestArgs) -> anyhow::Result<ExitCode> {
    args.run.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut report = Report::default();
    runtime.block_on(async {
        match startup::client().await {
            Ok(client) => kubernetes(&client, args, &mut report).await,
            Err(error) => report.line(Verdict::Failed, "API server", &format!("{error:#}")),
        }
        cloud(args, &mut report).await;
    });
    if report.failed == 0 {
        println!("everything that was checked is well");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} failed", report.failed);
    Ok(ExitCode::FAILURE)
}

async fn kubernetes(client: &Client, args: &SelftestArgs, report: &mut Report) {
    let version = bounded(client.apiserver_version()).await;
    let reached = version.is_ok();
    let version = version.map(|v| format!("Kubernetes {} answers", v.git_version));
    report.result("API server", version);
    if !reached {
        return;
    }
    clock_of_the_api_server(client, report).await;
    report.result("kinds", served(client).await);
    let own = startup::own_namespace(&args.run, client);
    let watched: Vec<String> = args
        .run
        .watch_namespaces
        .iter()
        .filter(|name| !name.is_empty())
        .cloned()
        .collect();
    let mut places: Vec<(Option<String>, Vec<Right>)> = vec![
        (None, cluster_rights()),
        (Some(own), own_rights(&args.run.lease().name)),
    ];
    if watched.is_empty() {
        places.push((None, object_rights()));
    }
    places.extend(watched.into_iter().map(|name| (Some(name), object_rights())));
    let mut allowed = 0;
    for (namespace, rights) in places {
        for right in rights {
            let place = namespace
                .as_ref()
                .map_or_else(String::new, |name| format!(" in namespace {name}"));
            match may(client, namespace.as_deref(), &right).await {
                Ok(true) => allowed += 1,
                Ok(false) => report.line(
                    Verdict::Failed,
                    "permissions",
                    &format!("may not {right}{place}; apply the RBAC of the chart or of deploy/install.yaml"),
                ),
                Err(error) => report.line(
                    Verdict::Failed,
                    "permissions",
                    &format!("{right}{place}: {error}"),
                ),
            }
        }
    }
    report.line(
        Verdict::Good,
        "permissions",
        &format!("{allowed} allowed that are needed"),
    );
    match may(client, None, &Right::new("", "secrets", "list")).await {
        Ok(true) => report.line(
            Verdict::Warning,
            "permissions",
            "may list all Secrets, which the operator never does: grant less",
        ),
        Ok(false) => report.line(Verdict::Good, "permissions", "may not list Secrets"),
        Err(error) => report.line(Verdict::Failed, "permissions", &error),
    }
}

async fn clock_of_the_api_server(client: &Client, report: &mut Report) {
    let request = Request::get("/version").body(kube::client::Body::empty());
    let Ok(request) = request else { return };
    let sent = Timestamp::now();
    let Ok(answer) = bounded(client.send(request)).await else {
        return;
    };
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    match date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok()) {
        Some(date) => skew(report, "the API server", date.duration_since(sent)),
        None => report.line(Verdict::LeftOut, "clock", "the API server does not tell its time"),
    }
}

/// Tells how far another clock is ahead of ours.
fn skew(report: &mut Report, whose: &str, ahead: SignedDuration) {
    let by = ahead.abs();
    let seconds = by.as_secs();
    let (verdict, text) = if by <= SKEW_TOLD {
        (Verdict::Good, format!("within a minute of {whose}"))
    } else if by <= SKEW_REFUSED {
        (
            Verdict::Warning,
            format!("{seconds} s away from {whose}: mend the node's time service"),
        )
    } else {
        (
            Verdict::Failed,
            format!("{seconds} s away from {whose}: mend the node's time service"),
        )
    };
    report.line(verdict, "clock", &text);
}

/// Whether the API server serves each of our kinds, with its status.
async fn served(client: &Client) -> Result<String, String> {
    let version = format!("{}/v1alpha1", api::GROUP);
    let hint = "install the CustomResourceDefinitions: ramtrail crds | kubectl apply --server-side -f -";
    let found = bounded(client.list_api_group_resources(&version))
        .await
        .map_err(|error| format!("{version} is not served ({error}); {hint}"))?;
    let mut missing = Vec::new();
    for kind in kinds() {
        for name in [kind.clone(), format!("{kind}/status")] {
            if !found.resources.iter().any(|resource| resource.name == name) {
                missing.push(name);
            }
        }
    }
    if missing.is_empty() {
        Ok(format!("{} are served in {version}", kinds().join(", ")))
    } else {
        Err(format!("{} are not served; {hint}", missing.join(", ")))
    }
}

async fn may(client: &Client, namespace: Option<&str>, right: &Right) -> Result<bool, String> {
    let (resource, subresource) = right
        .resource
        .split_once('/')
        .map_or((right.resource.as_str(), None), |(r, s)| (r, Some(s)));
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(right.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.map(str::to_owned),
                verb: Some(right.verb.to_owned()),
                name: right.name.clone(),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = bounded(api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Whose the operator's own credentials are, if it has any.
async fn cloud(args: &SelftestArgs, report: &mut Report) {
    let source = match StaticCredentials::from_environment() {
        Ok(source) => source,
        Err(CredentialError::Missing { name, .. }) => {
            let text = format!("the environment has no {name}: objects must bring their own Secrets");
            report.line(Verdict::LeftOut, "identity", &text);
            return;
        }
        Err(error) => {
            report.line(Verdict::Failed, "identity", &error.to_string());
            return;
        }
    };
    match way_to_the_cloud(args) {
        Ok(way) => {
            let clients = way.clients(Arc::new(source), &args.region);
            match clients.sts.get_caller_identity().await {
                Ok(answer) => {
                    let identity = answer.into_value();
                    let who = identity.arn.unwrap_or_else(|| "an identity".to_owned());
                    let text = format!("{who} of account {}", identity.account_id);
                    report.line(Verdict::Good, "identity", &text);
                }
                Err(error) => report.line(Verdict::Failed, "identity", &error.to_string()),
            }
            if let Some(ahead) = way.clock().skew(Service::Sts) {
                skew(report, "the cloud", ahead);
            }
        }
        Err(error) => report.line(Verdict::Failed, "identity", &format!("{error:#}")),
    }
}

fn way_to_the_cloud(args: &SelftestArgs) -> anyhow::Result<Cloud> {
    let transport = TransportOptions {
        cloud_endpoint: args.run.cloud_endpoint.clone(),
        extra_ca: args
            .run
            .cloud_ca_file
            .as_deref()
            .map(controllers::read_cloud_ca)
            .transpose()?,
        ..TransportOptions::default()
    };
    let cluster = match &args.run.cluster_id {
        Some(id) => id.clone(),
        None => "selftest".parse::<ClusterId>()?,
    };
    let mut options = CloudOptions::new(cluster);
    options.network = args.run.network;
    Ok(Cloud::new(
        options,
        Arc::new(ReqwestSender::new(transport)?),
        Arc::new(NoObserver),
    ))
}

/// An answer in time, or why not in words.
async fn bounded<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(startup::words(&error)),
        Err(_) => Err(format!("no answer within {} s", CALL_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// The rules of a role of `deploy/install.yaml`, a line for each right.
    fn granted(kind: &str, name: &str) -> BTreeSet<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/install.yaml");
        let manifest = std::fs::read_to_string(path).unwrap();
        let role = manifest
            .split("\n---\n")
            .filter(|text| text.contains(&format!("kind: {kind}\n")) && text.contains("\nrules:"))
            .map(|text| serde_saphyr::from_str::<Value>(text).unwrap())
            .find(|role| role["metadata"]["name"] == name)
            .unwrap();
        let texts = |value: &Value| -> Vec<String> {
            let items = value.as_array().into_iter().flatten();
            items.map(|v| v.as_str().unwrap().to_owned()).collect()
        };
        let mut rights = BTreeSet::new();
        for rule in role["rules"].as_array().unwrap() {
            let names = texts(&rule["resourceNames"]);
            for (group, resource, verb) in texts(&rule["apiGroups"]).iter().flat_map(|group| {
                let resources = texts(&rule["resources"]);
                let verbs = texts(&rule["verbs"]);
                resources.into_iter().flat_map(move |r| {
                    verbs
                        .clone()
                        .into_iter()
                        .map(move |v| (group.clone(), r.clone(), v))
                })
            }) {
                rights.insert(format!("{verb} {group}/{resource} {names:?}"));
            }
        }
        rights
    }

    fn asked(rights: &[Right]) -> BTreeSet<String> {
        let line = |right: &Right| {
            let names: Vec<String> = right.name.iter().cloned().collect();
            format!("{} {}/{} {names:?}", right.verb, right.group, right.resource)
        };
        rights.iter().map(line).collect()
    }

    #[test]
    fn every_right_of_the_manifest_is_asked_for_and_no_other() {
        let mut cluster = cluster_rights();
        cluster.extend(object_rights());
        assert_eq!(asked(&cluster), granted("ClusterRole", "ramtrail"));
        assert_eq!(asked(&own_rights("ramtrail")), granted("Role", "ramtrail-own"));
    }

    #[test]
    fn a_clock_is_told_by_how_far_it_is_away() {
        let verdict = |seconds: i64| {
            let mut report = Report::default();
            skew(&mut report, "x", SignedDuration::from_secs(seconds));
            report.failed
        };
        assert_eq!((verdict(-59), verdict(800), verdict(-901)), (0, 0, 1));
    }
}
