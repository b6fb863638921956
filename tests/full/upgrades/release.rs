//! A release of the chart, by real Helm on a control plane of its own, and the processes that its Deployment describes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use xtask::assets::{self, Tool};
use xtask::deployment::Manifest;
use xtask::kubectl::Kubectl;
use xtask::operator::OperatorOptions;
use xtask::temp_dir::TempDir;

use crate::Version;
use crate::support::{CLUSTER, DEADLINE, OPERATOR_NAMESPACE, WatchedPlane, World, api_server, merge, wait};
use crate::trail_support::prepare;

/// Name of the release.
pub const RELEASE: &str = "ramtrail";
/// Our kinds.
pub const CRDS: [&str; 3] = [
    "auditlogstores.ramtrail.io",
    "auditprojects.ramtrail.io",
    "ramtrails.ramtrail.io",
];
/// Names a program of the version whose chart is installed.
const OLD_OPERATOR: &str = "RAMTRAIL_OLD_OPERATOR";

/// Helm, bound to a cluster.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    kubectl: Kubectl,
    dir: TempDir,
}

impl Helm {
    pub fn new(kubectl: &Kubectl) -> Self {
        Self {
            program: assets::ensure(Tool::Helm).unwrap(),
            kubectl: kubectl.clone(),
            dir: TempDir::new("helm").unwrap(),
        }
    }

    /// Runs Helm in the operator's namespace; a failure is what it says.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let home = self.dir.path();
        let output = Command::new(&self.program)
            .args(["--namespace", OPERATOR_NAMESPACE])
            .args(arguments)
            .env("KUBECONFIG", self.kubectl.kubeconfig())
            .env("HOME", home)
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .output()
            .unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(said(&output.stdout))
        } else {
            Err(said(&output.stderr))
        }
    }

    /// A file with values of ours: a quick pace, and logs that name each call.
    fn values(&self, changes: &Value) -> String {
        let mut values = json!({
            "clusterID": CLUSTER,
            "resyncInterval": "2s",
            "pollInterval": "1s",
            "logging": {"level": "ramtrail=trace,info"},
        });
        merge(&mut values, changes);
        let path = self.dir.path().join("values.json");
        fs::write(&path, values.to_string()).unwrap();
        path.display().to_string()
    }

    /// Installs a chart with our values and these.
    pub fn install(&self, chart: &Path, changes: &Value) {
        let (chart, values) = (chart.display().to_string(), self.values(changes));
        self.run(&[
            "install",
            RELEASE,
            &chart,
            "--create-namespace",
            "--values",
            &values,
        ])
        .unwrap();
        self.kubectl.wait_for_crds(&CRDS, DEADLINE).unwrap();
    }

    /// Upgrades to a chart as the documentation says: values that somebody set stay, others become the new chart's.
    pub fn upgrade(&self, chart: &Path) {
        let chart = chart.display().to_string();
        self.run(&["upgrade", RELEASE, &chart, "--reset-then-reuse-values"])
            .unwrap();
        self.kubectl.wait_for_crds(&CRDS, DEADLINE).unwrap();
    }

    /// Goes back to the revision before.
    pub fn rollback(&self) {
        self.run(&["rollback", RELEASE]).unwrap();
        self.kubectl.wait_for_crds(&CRDS, DEADLINE).unwrap();
    }

    pub fn uninstall(&self) {
        self.run(&["uninstall", RELEASE]).unwrap();
    }
}

/// An installed release, and a world around it. Fields are dropped in this order: processes before their API server.
pub struct Installation {
    pub world: World,
    pub helm: Helm,
    kubeconfig: PathBuf,
    pub control_plane: WatchedPlane,
}

impl Installation {
    /// A chart on a control plane of its own; no operator runs yet.
    pub fn of(chart: &Path, purpose: &str, values: &Value) -> Self {
        let control_plane = WatchedPlane::start();
        let kubectl = control_plane.kubectl().clone();
        let helm = Helm::new(&kubectl);
        helm.install(chart, values);
        let client = wait(api_server::client(kubectl.kubeconfig()));
        let world = World::on(&(kubectl, client), purpose, &["--profile=hostile"]);
        prepare(&world);
        let kubeconfig = control_plane.dir().join("release.kubeconfig");
        Self {
            world,
            helm,
            kubeconfig,
            control_plane,
        }
    }

    /// The Deployment as Helm left it.
    pub fn deployment(&self) -> Manifest {
        let arguments = ["-n", OPERATOR_NAMESPACE, "get", "deployment", RELEASE];
        Manifest::from_objects(vec![self.world.kubectl.json(arguments).unwrap()]).unwrap()
    }

    /// A kubeconfig of the ServiceAccount as it is now: one that was made anew does not know the tokens of the one before.
    pub fn kubeconfig(&self, path: &Path) {
        let deployment = self.deployment();
        self.world
            .kubectl
            .write_service_account_kubeconfig(
                path,
                deployment.namespace().unwrap(),
                deployment.service_account().unwrap(),
            )
            .unwrap();
    }

    /// The process that a Pod of the Deployment would hold now.
    pub fn operator(&self) -> OperatorOptions {
        self.kubeconfig(&self.kubeconfig);
        self.operator_with(&self.kubeconfig)
    }

    /// The same with another kubeconfig.
    pub fn operator_with(&self, kubeconfig: &Path) -> OperatorOptions {
        // Where the cloud is, the port, and waiting times that not every chart has a value for.
        let replaced = [
            ("--cloud-endpoint", self.world.emulator.url()),
            ("--http-listen", "127.0.0.1:0".to_owned()),
            ("--claim-confirmation", "1s".to_owned()),
            ("--deletion-grace", "5s".to_owned()),
            ("--due-call-interval", "2s".to_owned()),
        ];
        let replaced: Vec<(&str, &str)> = replaced
            .iter()
            .map(|(flag, value)| (*flag, value.as_str()))
            .collect();
        self.deployment()
            .process(kubeconfig, &replaced, |_, _| Ok(None))
            .unwrap()
    }

    /// What the release has in the cluster besides the kinds: kind and name of all that carries its label.
    pub fn installed(&self) -> BTreeSet<String> {
        let kinds = "deployments,services,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,\
                     validatingadmissionpolicies,validatingadmissionpolicybindings,networkpolicies,\
                     poddisruptionbudgets,configmaps";
        let label = format!("app.kubernetes.io/instance={RELEASE}");
        let found = self
            .world
            .kubectl
            .run(["get", kinds, "--all-namespaces", "-l", &label, "-o", "name"])
            .unwrap();
        found.lines().map(str::to_owned).collect()
    }

    /// UIDs of the kinds: none was made anew.
    pub fn kinds(&self) -> Vec<String> {
        CRDS.iter()
            .map(|name| {
                let output = ["get", "crd", name, "-o", "jsonpath={.metadata.uid}"];
                self.world.kubectl.run(output).unwrap()
            })
            .collect()
    }
}

/// The operator of an earlier version: the program that the environment names, else the one that `cargo xtask tools
/// earlier-operators` made, else today's.
pub fn earlier(version: &Version, options: OperatorOptions) -> OperatorOptions {
    let named = std::env::var_os(OLD_OPERATOR)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    if let Some(path) = named.or_else(|| xtask::earlier::built(&version.name)) {
        eprintln!("{}: its own operator runs", version.name);
        options.program(&path)
    } else {
        eprintln!("{}: today's operator stands for its own", version.name);
        options
    }
}
