//! The operator as a process: its command line, and its life on a real API server under its own ServiceAccount.
#![allow(clippy::unwrap_used)]

mod api_server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use xtask::canary;
use xtask::control_plane::{ControlPlane, Options, free_port};
use xtask::emulator::EmulatorProcess;
use xtask::kubectl::Kubectl;
use xtask::operator::{self, OperatorOptions, OperatorProcess};
use xtask::process::Signal;
use xtask::temp_dir::TempDir;
use xtask::wait::{self, Probe};

use api_server::DEADLINE;

const NAMESPACE: &str = "ramtrail-system";
const STEP: Duration = Duration::from_millis(50);

fn ramtrail(args: &[&str]) -> Output {
    let mut command = Command::new(operator::program().unwrap());
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("RAMTRAIL_") {
            command.env_remove(key);
        }
    }
    command.args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn install_manifest() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/install.yaml")).unwrap()
}

/// The documents of `deploy/install.yaml` of these kinds, or of all others.
fn documents(wanted: impl Fn(&str) -> bool) -> String {
    let manifest = install_manifest();
    let documents = manifest.split("\n---\n").filter(|document| {
        let kind = document.lines().find_map(|line| line.strip_prefix("kind: "));
        kind.is_some_and(&wanted)
    });
    let documents: Vec<&str> = documents.collect();
    documents.join("\n---\n")
}

#[test]
fn help_shows_examples_and_every_flag_under_a_heading() {
    let help = ramtrail(&["--help"]);
    assert!(help.status.success());
    for part in [
        "run",
        "crds",
        "completion",
        "Examples:",
        "kubectl apply --server-side",
    ] {
        assert!(out(&help).contains(part), "{part} in {}", out(&help));
    }
    let help = out(&ramtrail(&["run", "--help"]));
    for part in [
        "Identity and scope:",
        "Cloud:",
        "Pace:",
        "Leader election:",
        "Process:",
        "--cluster-id",
        "[env: RAMTRAIL_RESYNC_INTERVAL=]",
        "[default: 5m]",
        "Examples:",
        "1h30m",
    ] {
        assert!(help.contains(part), "{part} in {help}");
    }
    assert!(out(&ramtrail(&["--version"])).starts_with(concat!("ramtrail ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn wrong_usage_ends_with_code_two_and_says_what_is_right() {
    for (args, words) in [
        (vec!["run", "--resync-interval=5"], "--resync-interval"),
        (vec!["run", "--no-such-flag"], "--no-such-flag"),
        (vec!["fly"], "fly"),
        (vec![], "Usage:"),
    ] {
        let output = ramtrail(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(err(&output).contains(words), "{args:?}: {}", err(&output));
    }
    let output = ramtrail(&["run", "--renew-deadline=20s"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("--renew-deadline (20s) must be shorter than --lease-duration (15s)"),
        "{}",
        err(&output)
    );
}

#[test]
fn crds_go_to_the_standard_output_or_into_a_folder() {
    let stream = out(&ramtrail(&["crds"]));
    assert_eq!(stream.matches("\nkind: CustomResourceDefinition\n").count(), 3);
    assert_eq!(stream, out(&ramtrail(&["crds"])), "the same each time");
    let dir = TempDir::new("crds").unwrap();
    let folder = dir.path().join("new");
    assert!(
        ramtrail(&["crds", "--out-dir", folder.to_str().unwrap()])
            .status
            .success()
    );
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 3);
    let texts: String = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    assert_eq!(texts.len(), stream.len());
}

#[test]
fn completion_is_printed_for_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ramtrail(&["completion", shell]);
        assert!(
            script.status.success() && out(&script).contains("ramtrail"),
            "{shell}"
        );
    }
}

/// An operator and where it answers.
struct Operator {
    process: OperatorProcess,
    url: String,
}

impl Operator {
    fn start(options: OperatorOptions) -> Self {
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let options = options.arg(format!("--http-listen={address}"));
        Self {
            process: OperatorProcess::start(&options).unwrap(),
            url: format!("http://{address}"),
        }
    }

    /// Code and body, if it answers.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE))
            .build()
            .into();
        let mut answer = agent.get(format!("{}{path}", self.url)).call().ok()?;
        Some((answer.status().as_u16(), answer.body_mut().read_to_string().ok()?))
    }

    /// Waits until `/readyz` answers with this code and these words.
    fn wait_ready(&mut self, code: u16, words: &str) {
        wait::until(&format!("/readyz says {code} {words}"), DEADLINE, STEP, || {
            self.process.must_run()?;
            Ok(match self.get("/readyz") {
                Some((found, body)) if found == code && body.contains(words) => Probe::Done(()),
                other => Probe::Pending(format!("{other:?}")),
            })
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.last_words()));
    }

    fn ended_with(&mut self, code: i32) {
        let status = self.process.wait(DEADLINE).unwrap();
        assert_eq!(status.code(), Some(code), "{}", self.last_words());
    }

    fn last_words(&self) -> String {
        let logs = self.process.logs();
        // What the libraries say at trace level would bury it.
        let noise = [r#""level":"TRACE""#, r#""level":"DEBUG""#];
        let lines: Vec<&str> = logs
            .lines()
            .filter(|line| !noise.iter().any(|n| line.contains(n)))
            .collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// The holder of the operator's lease; empty if nobody holds it.
fn holder(kubectl: &Kubectl, namespace: &str) -> String {
    kubectl
        .run([
            "-n",
            namespace,
            "get",
            "lease",
            "ramtrail",
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ])
        .unwrap_or_default()
}

#[test]
fn without_a_way_to_a_cluster_it_says_how_to_give_one() {
    let options = OperatorOptions::default()
        .arg("run")
        .env("KUBECONFIG", "/no/such/file")
        .env("HOME", "/nonexistent");
    let mut operator = Operator::start(options);
    operator.ended_with(1);
    let logs = operator.process.logs();
    assert!(logs.contains("set KUBECONFIG"), "{logs}");
}

#[test]
fn an_address_that_is_taken_is_named_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let options = OperatorOptions::default()
        .arg("run")
        .arg(format!("--http-listen={address}"));
    let mut process = OperatorProcess::start(&options).unwrap();
    assert_eq!(process.wait(DEADLINE).unwrap().code(), Some(1));
    let logs = process.logs();
    assert!(
        logs.contains(&address.to_string()) && logs.contains("--http-listen"),
        "{logs}"
    );
}

#[test]
fn an_api_server_that_is_not_there_is_waited_for() {
    let dir = TempDir::new("unreachable").unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    let port = free_port().unwrap();
    let text = format!(
        r#"{{"apiVersion":"v1","kind":"Config","current-context":"c",
            "clusters":[{{"name":"c","cluster":{{"server":"http://127.0.0.1:{port}"}}}}],
            "users":[{{"name":"u","user":{{}}}}],
            "contexts":[{{"name":"c","context":{{"cluster":"c","user":"u"}}}}]}}"#
    );
    fs::write(&kubeconfig, text).unwrap();
    let mut operator = Operator::start(OperatorOptions::new(&kubeconfig));
    operator.wait_ready(503, "the Kubernetes API server cannot be asked: ");
    operator.wait_ready(503, "Connection refused");
    assert_eq!(operator.get("/healthz").unwrap().0, 200, "waiting is no illness");
    assert_eq!(
        operator.process.stop(DEADLINE).unwrap().code(),
        Some(0),
        "{}",
        operator.process.logs()
    );
}

/// One story, because each step needs what the one before left: an API server of its own, at first without our kinds.
#[allow(clippy::too_many_lines)]
#[test]
fn life_under_its_own_service_account() {
    let audit_policy = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: Metadata
  omitStages: [RequestReceived]
  users: ["system:serviceaccount:ramtrail-system:ramtrail"]
- level: None
"#;
    let control_plane = ControlPlane::start(&Options::new().audit_policy(audit_policy)).unwrap();
    let kubectl = control_plane.kubectl();
    kubectl
        .apply(&documents(|kind| {
            !["CustomResourceDefinition", "Deployment"].contains(&kind)
        }))
        .unwrap();
    let kubeconfig = control_plane.dir().join("operator.kubeconfig");
    kubectl
        .write_service_account_kubeconfig(&kubeconfig, NAMESPACE, "ramtrail")
        .unwrap();
    let marks = ["LTAImarkedKeyId0000000", canary::SECRET, canary::TOKEN];
    let options = || {
        OperatorOptions::new(&kubeconfig)
            .arg(format!("--namespace={NAMESPACE}"))
            .arg("--log-format=json")
            .arg("--log-level=trace")
            // Nothing answers there: no call may leave the machine.
            .arg("--cloud-endpoint=http://127.0.0.1:9")
            .arg("--lease-duration=6s")
            .arg("--renew-deadline=5s")
            .arg("--retry-period=200ms")
            .credentials(marks[0], marks[1])
            .env("ALIBABA_CLOUD_SECURITY_TOKEN", marks[2])
    };

    // The kinds are missing: it waits and says how to install them.
    let mut first = Operator::start(options());
    first.wait_ready(503, "ramtrail crds | kubectl apply --server-side -f -");
    assert!(
        first
            .process
            .logs()
            .contains("auditprojects.ramtrail.io is missing")
    );
    assert_eq!(first.get("/healthz").unwrap(), (200, "ok\n".to_owned()));
    kubectl
        .apply(&documents(|kind| kind == "CustomResourceDefinition"))
        .unwrap();
    first.wait_ready(200, "working");

    // It leads, and says so.
    let leader = holder(kubectl, NAMESPACE);
    assert!(!leader.is_empty());
    let (code, metrics) = first.get("/metrics").unwrap();
    assert_eq!(code, 200);
    for line in [
        "ramtrail_leader 1",
        "ramtrail_build_info{version=",
        "process_resident_memory_bytes ",
        "# EOF",
    ] {
        assert!(
            metrics.lines().any(|l| l.starts_with(line)),
            "{line} in {metrics}"
        );
    }

    // A second one waits for the lease and is ready all the same.
    let mut second = Operator::start(options());
    second.wait_ready(200, "standby");
    assert!(
        second
            .get("/metrics")
            .unwrap()
            .1
            .contains("\nramtrail_leader 0\n")
    );

    // It works: an object without credentials says so. Nothing was ever refused to the service account.
    kubectl.run(["create", "namespace", "audit"]).unwrap();
    let object = "{apiVersion: ramtrail.io/v1alpha1, kind: AuditProject, metadata: {name: a-project, namespace: audit}, \
                  spec: {region: cn-hangzhou, credentials: {secretRef: {name: none}}}}";
    kubectl.apply(object).unwrap();
    wait_for_reason(kubectl, "CredentialsNotFound", &first);
    assert_eq!(refused(&control_plane), Vec::<String>::new());

    // SIGTERM: it ends well, gives the lease back, and the other takes it before it could have run out.
    let status = first.process.stop(DEADLINE).unwrap();
    assert_eq!(status.code(), Some(0), "{}", first.last_words());
    assert!(first.process.logs().contains("the lease is released"));
    second.wait_ready(200, "working");
    assert_ne!(holder(kubectl, NAMESPACE), leader);

    // A leader that was frozen finds its lease taken, and ends without doing anything more.
    let mut third = Operator::start(options());
    third.wait_ready(200, "standby");
    second.process.signal(Signal::Stop).unwrap();
    third.wait_ready(200, "working");
    second.process.signal(Signal::Cont).unwrap();
    second.ended_with(1);
    let logs = second.process.logs();
    assert!(logs.contains("leadership is lost"), "{logs}");
    third.process.must_run().unwrap();

    // No log line and no metric holds a key, at the most talkative level.
    for process in [&first, &second, &third] {
        let logs = process.process.logs();
        assert!(logs.lines().count() > 10);
        for mark in marks {
            assert!(!canary::is_in(&logs, [mark]), "a secret is in the log");
        }
        for line in logs.lines() {
            let parsed: Result<Value, _> = serde_json::from_str(line);
            assert!(
                parsed.is_ok() || line.starts_with("ramtrail: "),
                "not a JSON line: {line}"
            );
        }
    }
    assert!(
        marks
            .iter()
            .all(|mark| !third.get("/metrics").unwrap().1.contains(mark))
    );
    assert_eq!(refused(&control_plane), Vec::<String>::new());
    let (found, seen) = canary::stored(&control_plane).unwrap();
    assert!(
        found.is_empty() && seen > 50,
        "{seen} objects, a secret in {found:?}"
    );
}

fn wait_for_reason(kubectl: &Kubectl, wanted: &str, operator: &Operator) {
    let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].reason}"#;
    wait::until(&format!("Ready says {wanted}"), DEADLINE, STEP, || {
        let reason = kubectl.run(["-n", "audit", "get", "aproj", "a-project", "-o", path])?;
        Ok(if reason == wanted {
            Probe::Done(())
        } else {
            Probe::Pending(reason)
        })
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", operator.last_words()));
}

/// What the API server refused to the operator's service account, apart from asking for kinds that were not there yet.
fn refused(control_plane: &ControlPlane) -> Vec<String> {
    let log = fs::read_to_string(control_plane.audit_log()).unwrap();
    let events = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| event["responseStatus"]["code"] == 403)
        .map(|event| format!("{} {}", event["verb"], event["requestURI"]))
        .collect()
}

/// Runs the self-test with this kubeconfig, these arguments and this environment.
fn selftest(kubeconfig: &Path, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(operator::program().unwrap());
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("RAMTRAIL_") || name.starts_with("ALIBABA_CLOUD_") {
            command.env_remove(key);
        }
    }
    command
        .env("KUBECONFIG", kubeconfig)
        .envs(env.iter().copied())
        .args(["selftest", "--namespace", NAMESPACE])
        .args(args);
    let output = command.output().unwrap();
    (output.status.code(), out(&output) + &err(&output))
}

#[test]
fn the_selftest_tells_what_is_well_and_what_is_missing() {
    let kubectl = api_server::kubectl();
    kubectl
        .apply(&documents(|kind| {
            !matches!(kind, "CustomResourceDefinition" | "Deployment")
        }))
        .unwrap();
    let dir = TempDir::new("selftest").unwrap();
    let kubeconfig = |name: &str, namespace: &str, account: &str| {
        let path = dir.path().join(name);
        kubectl
            .write_service_account_kubeconfig(&path, namespace, account)
            .unwrap();
        path
    };
    let operator = kubeconfig("operator", NAMESPACE, "ramtrail");
    let (code, text) = selftest(&operator, &[], &[]);
    for line in [
        "ok    API server: Kubernetes v",
        "ok    clock: within a minute of the API server",
        "ok    kinds: auditprojects, auditlogstores, ramtrails are served in ramtrail.io/v1alpha1",
        "ok    permissions: 23 allowed that are needed",
        "ok    permissions: may not list Secrets",
        "skip  identity: the environment has no ALIBABA_CLOUD_ACCESS_KEY_ID",
        "everything that was checked is well",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert_eq!(code, Some(0), "{text}");

    let emulator = EmulatorProcess::start(&[
        "--profile=documented",
        "--access-key=LTAIselftestKey0000001:secretOfTheSelftest001:1234567890123456/tester",
    ])
    .unwrap();
    let endpoint = format!("--cloud-endpoint={}", emulator.url());
    let keys = |secret| {
        [
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", "LTAIselftestKey0000001"),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret),
        ]
    };
    let (code, text) = selftest(&operator, &[&endpoint], &keys("secretOfTheSelftest001"));
    for line in [
        "ok    identity: acs:ram::1234567890123456:user/tester of account 1234567890123456",
        "ok    clock: within a minute of the cloud",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert_eq!(code, Some(0), "{text}");
    let (rows, _) = emulator.journal(0).unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["action"] == "GetCallerIdentity"));

    let (code, text) = selftest(&operator, &[&endpoint], &keys("markedAnotherSecret001"));
    assert!(text.contains("FAIL  identity: "), "{text}");
    assert!(!text.contains("markedAnotherSecret001"), "{text}");
    assert_eq!(code, Some(1), "{text}");

    // An hour away: the client finds its way, and the node's clock is wrong all the same.
    let hour = serde_json::json!({ "jumpSeconds": 3600 });
    emulator.admin("POST", "clock", Some(&hour)).unwrap();
    let (code, text) = selftest(&operator, &[&endpoint], &keys("secretOfTheSelftest001"));
    assert!(
        text.contains("FAIL  clock: 36") || text.contains("FAIL  clock: 35"),
        "{text}"
    );
    assert_eq!(code, Some(1), "{text}");

    let namespace = api_server::namespace(&kubectl, "selftest");
    kubectl
        .run(["-n", &namespace, "create", "serviceaccount", "nobody"])
        .unwrap();
    let nobody = kubeconfig("nobody", &namespace, "nobody");
    let (code, text) = selftest(&nobody, &["--watch-namespaces", &namespace], &[]);
    for line in [
        format!("FAIL  permissions: may not patch auditprojects/status.ramtrail.io in namespace {namespace}"),
        format!(
            "FAIL  permissions: may not get leases.coordination.k8s.io ramtrail in namespace {NAMESPACE}"
        ),
        "FAIL  permissions: may not get namespaces".to_owned(),
        "23 failed".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert_eq!(code, Some(1), "{text}");

    let (code, text) = selftest(Path::new("/no/such/file"), &[], &[("HOME", "/nonexistent")]);
    assert!(text.contains("FAIL  API server: "), "{text}");
    assert_eq!(code, Some(1), "{text}");
}

/// On a control plane of its own, where nobody installs our kinds.
#[test]
fn the_selftest_misses_kinds_that_are_not_served() {
    let control_plane = ControlPlane::start(&Options::new()).unwrap();
    let (code, text) = selftest(control_plane.kubeconfig(), &[], &[]);
    assert!(
        text.contains("FAIL  kinds: ramtrail.io/v1alpha1 is not served"),
        "{text}"
    );
    assert!(text.contains("ramtrail crds | kubectl apply"), "{text}");
    // The administrator may do more than the operator should.
    assert!(text.contains("warn  permissions: may list all Secrets"), "{text}");
    assert_eq!(code, Some(1), "{text}");
}
