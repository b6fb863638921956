//! The operator itself under Argo CD, with the example Applications, on control planes of their own: it changes kinds and permissions
//! of the whole cluster. The Deployment has no replica, since no kubelet runs; the operator is a process with its ServiceAccount.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use xtask::assets::{self, Tool};
use xtask::kubectl::Kubectl;

use crate::argo::{Argo, NAMESPACE, Repository};
use crate::examples::example;
use crate::support::{DEADLINE, OPERATOR_NAMESPACE, WatchedPlane, World, api_server, merge, wait};
use crate::trail_support::{STORE, TRAIL, prepare, trail};
use crate::{STACK, manifest, reductions};
use ramtrail::aliyun::action_trail::TrailState;

const CRDS: [&str; 3] = [
    "auditlogstores.ramtrail.io",
    "auditprojects.ramtrail.io",
    "ramtrails.ramtrail.io",
];
/// What the chart makes besides the kinds and what a user would notice the loss of.
const OURS: [(&str, &str); 4] = [
    ("deployment", "ramtrail"),
    ("clusterrole", "ramtrail"),
    ("clusterrolebinding", "ramtrail"),
    ("validatingadmissionpolicy", "ramtrail-weaken"),
];
/// Applications of the examples.
const APPLICATIONS: [&str; 2] = ["ramtrail", "audit"];
/// The first version that was kept: every kind has changed since.
const EARLIEST: &str = "8d61254";
/// With which Argo CD is to sync audits; not the right to weaken them.
const SYNCER: &str = "argocd-sync";

/// How operator and stack came into the cluster before Argo CD did.
enum Way {
    /// `kubectl apply --server-side -f deploy/install.yaml`
    ServerSide,
    /// `kubectl apply -f deploy/install.yaml`
    ClientSide,
    /// `helm install` of this chart, and `kubectl apply`
    Helm(PathBuf),
}

/// An operator and a stack at rest in a cluster of their own. Processes are dropped before their API server.
struct Installed {
    world: World,
    argo: Argo,
    repository: Repository,
    control_plane: WatchedPlane,
}

impl Installed {
    fn new(way: &Way) -> Self {
        let control_plane = WatchedPlane::start();
        let kubectl = control_plane.kubectl();
        let manifest_file = root().join("deploy/install.yaml");
        match way {
            Way::ServerSide => drop(kubectl.apply_path(&manifest_file).unwrap()),
            Way::ClientSide => drop(kubectl.run(["apply", "-f", &text(&manifest_file)]).unwrap()),
            Way::Helm(chart) => install_with_helm(kubectl, chart),
        }
        kubectl.wait_for_crds(&CRDS, DEADLINE).unwrap();
        let client = wait(api_server::client(kubectl.kubeconfig()));
        let mut world = World::on(&(kubectl.clone(), client), "handover", &["--profile=hostile"]);
        prepare(&world);
        let stack: Vec<String> = STACK
            .iter()
            .map(|(kind, _)| {
                let namespace = json!({"metadata": {"namespace": world.namespace}});
                manifest(kind, &namespace).to_string()
            })
            .collect();
        let stack = stack.join("\n---\n");
        match way {
            Way::ServerSide => drop(kubectl.apply(&stack).unwrap()),
            _ => drop(kubectl.run_with_input(["apply", "-f", "-"], &stack).unwrap()),
        }
        world.start();
        for (kind, name) in STACK {
            world.settled(kind, name);
        }
        let repository = Repository::new();
        let chart = match way {
            Way::Helm(chart) => chart.clone(),
            _ => todays_chart(),
        };
        copy(&chart, &repository.path().join("charts/ramtrail"));
        for (kind, _) in STACK {
            repository.write(&audit_file(kind), &manifest(kind, &json!({})));
        }
        Self {
            argo: Argo::start(kubectl),
            world,
            repository,
            control_plane,
        }
    }

    fn kubectl(&self) -> &Kubectl {
        self.control_plane.kubectl()
    }

    /// The two example Applications take over what is there, as it is: nothing is made anew and the cloud is not touched.
    fn hand_over(&self) {
        let (before, since) = (self.identities(), self.world.now());
        let commit = self.repository.commit();
        let mut operator = example(
            "operator-application.yaml",
            &self.repository.url(),
            self.argo.server(),
        );
        merge(
            &mut operator,
            &json!({"spec": {"source": {"helm": {"valuesObject": values()}}}}),
        );
        self.kubectl().apply(&operator.to_string()).unwrap();
        let mut audit = example(
            "audit-application.yaml",
            &self.repository.url(),
            self.argo.server(),
        );
        audit["spec"]["destination"]["namespace"] = json!(self.world.namespace);
        // A retry of a refused sync is soon enough for a test.
        audit["spec"]["syncPolicy"]["retry"]["backoff"]["duration"] = json!("2s");
        self.kubectl().apply(&audit.to_string()).unwrap();
        for name in APPLICATIONS {
            self.argo.synced_and_healthy(name, &commit);
        }
        for name in APPLICATIONS {
            self.argo.refresh(name, "hard");
            self.argo.synced_and_healthy(name, &commit);
        }
        self.nothing_was_made_anew(&before);
        self.nothing_was_written(since);
    }

    /// UIDs of all that was there before are the same.
    fn nothing_was_made_anew(&self, before: &[(String, String)]) {
        let now = self.identities();
        for known in before.iter().filter(|(_, uid)| !uid.is_empty()) {
            assert!(now.contains(known), "{known:?} was made anew: {now:?}");
        }
    }

    fn nothing_was_written(&self, since: u64) {
        assert_eq!(
            self.world.writes(since),
            Vec::<String>::new(),
            "{}",
            self.world.report()
        );
    }

    /// What must not be made anew, each with its UID, which is empty for what is not there.
    fn identities(&self) -> Vec<(String, String)> {
        let uid = |namespace: &str, kind: &str, name: &str| {
            let output = ["--ignore-not-found", "-o", "jsonpath={.metadata.uid}"];
            let arguments = ["-n", namespace, "get", kind, name];
            let found = self.kubectl().run(arguments.iter().chain(&output)).unwrap();
            (format!("{kind}/{name}"), found)
        };
        let kinds = CRDS.iter().map(|name| uid(OPERATOR_NAMESPACE, "crd", name));
        let ours = OURS
            .iter()
            .map(|(kind, name)| uid(OPERATOR_NAMESPACE, kind, name));
        let stack = STACK
            .iter()
            .map(|(kind, name)| uid(&self.world.namespace, kind, name));
        kinds.chain(ours).chain(stack).collect()
    }

    /// The operator ran on after its permissions went with the Application; it ends, and what was refused meanwhile was meant.
    fn ends_without_permissions(&mut self) {
        self.world.kill();
        self.control_plane.refusals_were_meant();
    }

    /// The Applications go and leave everything: they have no finalizer any more.
    fn forget_applications(&self) {
        for name in APPLICATIONS {
            let free = r#"{"metadata":{"finalizers":null}}"#;
            let patch = ["-n", NAMESPACE, "patch", "application", name, "--type=merge"];
            self.kubectl().run(patch.into_iter().chain(["-p", free])).unwrap();
            self.kubectl()
                .run(["-n", NAMESPACE, "delete", "application", name])
                .unwrap();
        }
    }

    /// The stack as one Application with the operator has it: in a later wave.
    fn in_a_later_wave(&self, kind: &str) -> Value {
        let wave = json!({"metadata": {
            "namespace": self.world.namespace,
            "annotations": {"argocd.argoproj.io/sync-wave": "1"},
        }});
        manifest(kind, &wave)
    }

    /// Stack and operator are gone, the kinds stay, and the cloud has everything as it was.
    fn all_is_gone_but_the_kinds_and_the_cloud(&self) {
        for (kind, name) in STACK {
            self.world.gone(kind, name);
        }
        crate::argo::eventually("the operator is gone", || {
            let left = self.identities().into_iter().filter(|(_, uid)| !uid.is_empty());
            let left: Vec<String> = left
                .map(|(name, _)| name)
                .filter(|name| !name.starts_with("crd/"))
                .collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        });
        for name in CRDS {
            let crd = self.kubectl().json(["get", "crd", name]).unwrap();
            assert!(crd["metadata"]["deletionTimestamp"].is_null(), "{crd:#}");
        }
        assert_eq!(trail(&self.world).unwrap().state(), TrailState::Enable, "{TRAIL}");
        assert_eq!(reductions(&self.world), Vec::<String>::new());
    }
}

/// Installed by server-side apply, handed over, and pruned: a commit takes operator and stack out of the one Application that holds
/// both. The stack is in a later wave, so that it goes first, while the operator has its permissions.
#[test]
fn applied_server_side_handed_over_and_pruned_with_the_operator_by_one_commit() {
    let mut it = Installed::new(&Way::ServerSide);
    it.hand_over();
    it.control_plane.nothing_was_refused();
    it.forget_applications();
    // A chart that holds the operator's and the stack.
    copy(&todays_chart(), &it.repository.path().join("all"));
    for (kind, _) in STACK {
        let path = format!("all/templates/{}.yaml", kind.to_lowercase());
        it.repository.write(&path, &it.in_a_later_wave(kind));
    }
    // Argo CD does not prune an Application empty by itself.
    let kept = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kept"}, "data": {"why": "an Application needs something"},
    });
    it.repository.write("all/templates/kept.yaml", &kept);
    let commit = it.repository.commit();
    let (before, since) = (it.identities(), it.world.now());
    let source = json!({
        "repoURL": it.repository.url(), "path": "all", "targetRevision": "main",
        "helm": {"valuesObject": values()},
    });
    let changes = json!({"spec": {"syncPolicy": {"syncOptions": ["ServerSideApply=true"]}}});
    it.argo
        .application("ramtrail", &source, OPERATOR_NAMESPACE, &changes);
    it.argo.synced_and_healthy("ramtrail", &commit);
    it.nothing_was_made_anew(&before);
    it.nothing_was_written(since);

    for folder in ["all/templates", "all/crd-manifests"] {
        fs::remove_dir_all(it.repository.path().join(folder)).unwrap();
    }
    it.repository.write("all/templates/kept.yaml", &kept);
    let commit = it.repository.commit();
    it.argo.refresh("ramtrail", "normal");
    it.all_is_gone_but_the_kinds_and_the_cloud();
    // The pruning has come to its end, and what is left in Git is left in the cluster.
    let application = it.argo.synced_and_healthy("ramtrail", &commit);
    assert!(application["metadata"]["deletionTimestamp"].is_null());
    it.kubectl()
        .run(["-n", OPERATOR_NAMESPACE, "get", "configmap", "kept"])
        .unwrap();
    it.all_is_gone_but_the_kinds_and_the_cloud();
    it.ends_without_permissions();
}

/// Installed by `kubectl apply` and handed over; then Argo CD syncs as a ServiceAccount that may not weaken an audit.
#[test]
fn applied_client_side_handed_over_and_kept_from_weakening_by_impersonation() {
    let it = Installed::new(&Way::ClientSide);
    it.hand_over();
    let keep = |days: i64, what: &str| {
        let changes = json!({"spec": {"retentionDays": days}});
        it.repository
            .write(&audit_file("AuditLogStore"), &manifest("AuditLogStore", &changes));
        let commit = it.repository.commit();
        eprintln!("retention {days}: {what}");
        it.argo.refresh("audit", "normal");
        commit
    };
    let days = || it.world.object("AuditLogStore", STORE).unwrap().data["spec"]["retentionDays"].clone();
    let written = |since: u64, calls: &[&str]| {
        it.world.settled("AuditLogStore", STORE);
        assert_eq!(it.world.writes(since), calls, "{}", it.world.report());
    };

    // The project alone does nothing: without the switch Argo CD goes on as its controller, which may everything.
    allow_syncer(&it);
    let since = it.world.now();
    let commit = keep(29, "no switch, as the controller");
    it.argo.synced_and_healthy("audit", &commit);
    written(since, &["UpdateLogStore"]);

    let switch = json!({"data": {"application.sync.impersonation.enabled": "true"}});
    let arguments = [
        "-n",
        NAMESPACE,
        "patch",
        "configmap",
        "argocd-cm",
        "--type=merge",
        "-p",
    ];
    it.kubectl()
        .run(arguments.into_iter().chain([switch.to_string().as_str()]))
        .unwrap();
    let since = it.world.now();
    let commit = keep(60, "raised, as the ServiceAccount");
    it.argo.synced_and_healthy("audit", &commit);
    written(since, &["UpdateLogStore"]);

    let since = it.world.now();
    keep(10, "lowered, as the ServiceAccount");
    refused(&it, "spec.retentionDays lowered from 60 to 10");
    assert_eq!(days(), 60);
    it.world.resyncs("GetLogStore", 2);
    // What corrects a refused commit need not wait until Argo CD gives up the refused one.
    let commit = keep(60, "as it is");
    it.argo.synced_and_healthy("audit", &commit);
    it.repository.remove(&audit_file("AuditLogStore"));
    it.repository.commit();
    it.argo.refresh("audit", "normal");
    refused(&it, "(deletion)");
    let store = it.world.object("AuditLogStore", STORE).unwrap();
    assert!(store.metadata.deletion_timestamp.is_none());
    let commit = keep(10, "lowered again");
    refused(&it, "spec.retentionDays lowered from 60 to 10");
    written(since, &[]);

    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "break-glass", "namespace": it.world.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ramtrail-weaken"},
        "subjects": [{"kind": "ServiceAccount", "name": SYNCER, "namespace": it.world.namespace}],
    });
    it.kubectl().apply(&binding.to_string()).unwrap();
    it.argo.synced_and_healthy("audit", &commit);
    assert_eq!(days(), 10);
    written(since, &["UpdateLogStore"]);
}

/// Waits until a sync of the audit is refused by the policy because of this, with the way out.
fn refused(it: &Installed, because: &str) {
    let application = it.argo.until(
        "audit",
        &format!("the sync is refused: {because}"),
        |application| {
            let status = &application["status"];
            let said = status["operationState"].to_string();
            [because, "needs the verb weaken", "ramtrail-weaken"]
                .iter()
                .all(|words| said.contains(words))
                && status["sync"]["status"] == "OutOfSync"
        },
    );
    eprintln!("refused: {}", application["status"]["operationState"]["message"]);
}

/// The ServiceAccount, with what syncing an audit needs, named by the project of the Applications; the operator's goes on as the
/// controller.
fn allow_syncer(it: &Installed) {
    let namespace = &it.world.namespace;
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let kinds = ["auditprojects", "auditlogstores", "ramtrails"];
    let objects = [
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": SYNCER, "namespace": namespace},
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": SYNCER, "namespace": namespace},
            "rules": [
                {"apiGroups": ["ramtrail.io"], "resources": kinds, "verbs": verbs},
                // Argo CD looks whether it has to create the namespace.
                {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": SYNCER, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": SYNCER},
            "subjects": [{"kind": "ServiceAccount", "name": SYNCER, "namespace": namespace}],
        }),
    ];
    let objects: Vec<String> = objects.iter().map(Value::to_string).collect();
    it.kubectl().apply(&objects.join("\n---\n")).unwrap();
    let project = json!({"spec": {"destinationServiceAccounts": [
        {"server": it.argo.server(), "namespace": namespace, "defaultServiceAccount": SYNCER},
        {"server": "*", "namespace": "*", "defaultServiceAccount": format!("{NAMESPACE}:argocd-application-controller")},
    ]}});
    let arguments = [
        "-n",
        NAMESPACE,
        "patch",
        "appproject",
        "default",
        "--type=merge",
        "-p",
    ];
    it.kubectl()
        .run(arguments.into_iter().chain([project.to_string().as_str()]))
        .unwrap();
}

/// An earlier chart, installed by Helm and handed over, is upgraded by a commit; then operator and stack are deleted as one
/// Application, the stack first, while the operator has its permissions.
#[test]
fn installed_by_helm_handed_over_upgraded_and_deleted_with_the_operator() {
    let chart = root().join(xtask::earlier::FOLDER).join(EARLIEST).join("chart");
    let mut it = Installed::new(&Way::Helm(chart));
    it.hand_over();
    upgrade(&it);
    it.control_plane.nothing_was_refused();
    delete_as_one(&it);
    it.ends_without_permissions();
}

/// A new release with other definitions of the kinds: they change in their place, and the audit stays Healthy throughout.
fn upgrade(it: &Installed) {
    let (before, since) = (it.identities(), it.world.now());
    let folder = it.repository.path().join("charts/ramtrail");
    fs::remove_dir_all(&folder).unwrap();
    copy(&todays_chart(), &folder);
    let commit = it.repository.commit();
    let definitions = || CRDS.map(|name| it.kubectl().json(["get", "crd", name]).unwrap()["spec"].clone());
    let earlier = definitions();
    it.argo.refresh("ramtrail", "normal");
    it.argo.until("ramtrail", "it is upgraded", |application| {
        let audit = it.argo.get("audit");
        assert_eq!(audit["status"]["health"]["status"], "Healthy", "{audit:#}");
        let status = &application["status"];
        crate::argo::is_synced(application, &commit) && status["health"]["status"] == "Healthy"
    });
    for (was, is) in earlier.iter().zip(definitions()) {
        assert_ne!(*was, is, "the kind did not change");
    }
    it.argo.refresh("audit", "hard");
    it.argo.synced_and_healthy("audit", &commit);
    it.nothing_was_made_anew(&before);
    it.nothing_was_written(since);
}

fn delete_as_one(it: &Installed) {
    it.forget_applications();
    for (kind, _) in STACK {
        it.repository.write(&audit_file(kind), &it.in_a_later_wave(kind));
    }
    let commit = it.repository.commit();
    let chart = json!({
        "repoURL": it.repository.url(), "path": "charts/ramtrail", "targetRevision": "main",
        "helm": {"valuesObject": values()},
    });
    let audit = json!({"repoURL": it.repository.url(), "path": "audit", "targetRevision": "main"});
    let changes = json!({"spec": {
        "sources": [chart, audit],
        "syncPolicy": {"syncOptions": ["ServerSideApply=true"]},
    }});
    it.argo
        .application("ramtrail", &Value::Null, OPERATOR_NAMESPACE, &changes);
    it.argo
        .until("ramtrail", "both sources are Synced and Healthy", |application| {
            let status = &application["status"];
            status["sync"]["status"] == "Synced"
                && status["sync"]["revisions"] == json!([commit, commit])
                && status["health"]["status"] == "Healthy"
                && status["operationState"]["phase"] == "Succeeded"
        });
    it.argo.delete("ramtrail");
    it.all_is_gone_but_the_kinds_and_the_cloud();
}

/// Values that every install here has: the example's, and what this machine needs.
fn values() -> Value {
    json!({"clusterID": "prod-1", "replicaCount": 0})
}

fn install_with_helm(kubectl: &Kubectl, chart: &Path) {
    let home = kubectl.kubeconfig().with_file_name("helm");
    fs::create_dir_all(&home).unwrap();
    let file = home.join("values.json");
    fs::write(&file, values().to_string()).unwrap();
    let output = Command::new(assets::ensure(Tool::Helm).unwrap())
        .args(["--namespace", OPERATOR_NAMESPACE, "install", "ramtrail"])
        .arg(chart)
        .arg("--create-namespace")
        .arg("--values")
        .arg(&file)
        .env("KUBECONFIG", kubectl.kubeconfig())
        .env("HOME", &home)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn todays_chart() -> PathBuf {
    root().join("charts/ramtrail")
}

fn audit_file(kind: &str) -> String {
    format!("audit/{}.yaml", kind.to_lowercase())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let status = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(status.success());
}
