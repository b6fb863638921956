//! The Kubernetes command line as a library: what a person would type, with its errors kept.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::assets::{self, Tool};
use crate::kubeconfig::{self, Cluster, User};

/// kubectl, bound to one kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// Binds kubectl (built if needed) to a kubeconfig.
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        Ok(Self {
            program: assets::ensure(Tool::Kubectl)?,
            kubeconfig: kubeconfig.to_owned(),
        })
    }

    /// The kubeconfig this is bound to.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A command with the kubeconfig set, for callers that want the streams themselves.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        // Discovery is remembered per server and port; ports of throw-away servers come back with other
        // contents, so the memory lives and dies with the kubeconfig.
        command.env("KUBECACHEDIR", self.kubeconfig.with_extension("kubecache"));
        command
    }

    /// Runs kubectl and returns its output.
    ///
    /// # Errors
    /// A failing kubectl is an error with its own words.
    pub fn run<I, S>(&self, args: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command();
        command.args(args).stdin(Stdio::null());
        let output = command.output().context("cannot run kubectl")?;
        finish(&command, &output)
    }

    /// Runs kubectl with `input` on its standard input.
    pub fn run_with_input<I, S>(&self, args: I, input: &str) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command();
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run kubectl")?;
        let mut stdin = child.stdin.take().context("kubectl has no stdin")?;
        // Fed from a thread, so that neither side can block the other with a full pipe. kubectl may stop
        // reading early; what it says about that is worth more than the broken pipe.
        let output = thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input.as_bytes()));
            child.wait_with_output()
        });
        finish(&command, &output.context("cannot run kubectl")?)
    }

    /// Runs kubectl with `-o json` and reads its answer.
    pub fn json<I, S>(&self, args: I) -> Result<Value>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let args = args
            .into_iter()
            .map(|a| a.as_ref().to_owned())
            .chain(["-o".into(), "json".into()]);
        serde_json::from_str(&self.run(args)?).context("kubectl printed no JSON")
    }

    /// Applies a manifest given as text (YAML or JSON) by server-side apply, and returns what kubectl says.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.run_with_input(
            ["apply", "--server-side", "--force-conflicts", "-f", "-"],
            manifest,
        )
    }

    /// Applies a file or folder by server-side apply, and returns what kubectl says.
    pub fn apply_path(&self, path: &Path) -> Result<String> {
        let flags = ["apply", "--server-side", "--force-conflicts", "-f"].map(OsStr::new);
        self.run(flags.into_iter().chain([path.as_os_str()]))
    }

    /// Waits until CRDs (names such as `auditprojects.ramtrail.io`) are served.
    pub fn wait_for_crds(&self, names: &[&str], deadline: Duration) -> Result<()> {
        let names = names.iter().map(|name| format!("crd/{name}"));
        let timeout = format!("--timeout={}s", deadline.as_secs());
        self.run(
            ["wait".into(), "--for=condition=Established".into(), timeout]
                .into_iter()
                .chain(names),
        )?;
        Ok(())
    }

    /// A token of a ServiceAccount from the TokenRequest API, as a Pod would hold.
    pub fn service_account_token(&self, namespace: &str, name: &str, lifetime: Duration) -> Result<String> {
        let duration = format!("--duration={}s", lifetime.as_secs());
        Ok(self
            .run(["-n", namespace, "create", "token", name, &duration])?
            .trim()
            .to_owned())
    }

    /// A token of a ServiceAccount that is good only as long as a Secret of its namespace exists.
    pub fn token_bound_to_secret(&self, namespace: &str, name: &str, secret: &str) -> Result<String> {
        let bound = ["--bound-object-kind=Secret", "--bound-object-name", secret];
        let create = ["-n", namespace, "create", "token", name];
        Ok(self.run(create.iter().chain(&bound))?.trim().to_owned())
    }

    /// The cluster of the current context.
    pub fn cluster(&self) -> Result<Cluster> {
        Cluster::of_view(&self.json(["config", "view", "--raw", "--minify", "--flatten"])?)
    }

    /// Writes a kubeconfig with which one acts as this ServiceAccount, with its RBAC and no more.
    ///
    /// The token is good for a day.
    pub fn write_service_account_kubeconfig(&self, path: &Path, namespace: &str, name: &str) -> Result<()> {
        let token = self.service_account_token(namespace, name, Duration::from_secs(24 * 3600))?;
        kubeconfig::write(path, &self.cluster()?, &User::Token(token))
    }

    /// Writes a kubeconfig with which one acts as any user, by impersonation: what the API server allows is
    /// what RBAC gives that user and those groups.
    ///
    /// # Errors
    /// Needs a kubeconfig that identifies itself with a token.
    pub fn write_impersonating_kubeconfig(&self, path: &Path, user: &str, groups: &[&str]) -> Result<()> {
        let view = self.json(["config", "view", "--raw", "--minify", "--flatten"])?;
        let Some(admin_token) = view["users"][0]["user"]["token"].as_str() else {
            bail!("{} holds no token to impersonate with", self.kubeconfig.display());
        };
        let user = User::Impersonated {
            admin_token: admin_token.to_owned(),
            name: user.to_owned(),
            groups: groups.iter().map(|&g| g.to_owned()).collect(),
        };
        kubeconfig::write(path, &Cluster::of_view(&view)?, &user)
    }
}

fn finish(command: &Command, output: &Output) -> Result<String> {
    if !output.status.success() {
        let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        bail!(
            "kubectl {} failed ({}): {}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout.clone()).context("kubectl printed something that is not UTF-8")
}
