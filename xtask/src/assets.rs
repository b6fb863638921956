//! kube-apiserver, kube-controller-manager, kubectl, etcd, helm, Argo CD and promtool: real programs, built once from
//! pinned Go modules into the cache, or taken from where the user has them.
//!
//! The modules under `tools/` hold nothing but `tool` directives, apart from the small cache server that Argo CD
//! wants. Argo CD is built with one word changed, so that it listens on loopback only. A finished set never changes: its folder is named after everything that went into it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::terminal;
use crate::workspace::{cache_dir, root, unique_suffix};

/// A program we build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The key-value store below the API server.
    Etcd,
    /// The Kubernetes API server.
    KubeApiserver,
    /// Namespace deletion, garbage collection and other controllers.
    KubeControllerManager,
    /// The Kubernetes command line.
    Kubectl,
    /// Renders the chart.
    Helm,
    /// Judges the workflow files.
    Actionlint,
    /// All programs of Argo CD in one; `ARGOCD_BINARY_NAME` chooses.
    ArgoCd,
    /// The cache of Argo CD: a small program of ours that talks the Redis protocol.
    Redis,
    /// The rule tester of Prometheus.
    Promtool,
}

impl Tool {
    /// The tools of a control plane and of the chart, the ones needed first in front. Those of Argo CD and promtool are
    /// built for their parts of the long tier only.
    pub const ALL: [Self; 5] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::Kubectl,
        Self::KubeControllerManager,
        Self::Helm,
    ];

    /// The program's file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::Actionlint => "actionlint",
            Self::ArgoCd => "argocd",
            Self::Redis => "redis",
            Self::Promtool => "promtool",
        }
    }

    /// The variable with which envtest users name this program.
    fn own_variable(self) -> &'static str {
        match self {
            Self::Etcd => "TEST_ASSET_ETCD",
            Self::KubeApiserver => "TEST_ASSET_KUBE_APISERVER",
            Self::KubeControllerManager => "TEST_ASSET_KUBE_CONTROLLER_MANAGER",
            Self::Kubectl => "TEST_ASSET_KUBECTL",
            Self::Helm => "TEST_ASSET_HELM",
            Self::Actionlint => "TEST_ASSET_ACTIONLINT",
            Self::ArgoCd => "TEST_ASSET_ARGOCD",
            Self::Redis => "TEST_ASSET_REDIS",
            Self::Promtool => "TEST_ASSET_PROMTOOL",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
            Self::Actionlint => "github.com/rhysd/actionlint/cmd/actionlint",
            Self::ArgoCd => "github.com/argoproj/argo-cd/v3/cmd",
            Self::Redis => "ramtrail.io/tools/redis",
            Self::Promtool => "github.com/prometheus/prometheus/cmd/promtool",
        }
    }

    /// Build tags. Discovery of targets is no part of testing rules, and brings the SDKs of two dozen clouds.
    fn tags(self) -> &'static str {
        match self {
            Self::Promtool => "remove_all_sd",
            _ => "",
        }
    }

    /// The Go module that pins the tool. Some have their own: they want other versions of the same modules.
    fn module_dir(self) -> &'static str {
        match self {
            Self::Helm => "tools/helm",
            Self::Actionlint => "tools/actionlint",
            Self::ArgoCd => "tools/argocd",
            Self::Redis => "tools/redis",
            Self::Promtool => "tools/prometheus",
            _ => "tools",
        }
    }
}

/// The path of a tool that runs; builds it if it is neither in the environment nor in the cache.
///
/// `TEST_ASSET_<NAME>` comes first, then `KUBEBUILDER_ASSETS/<name>` (as with envtest), then the cache.
///
/// # Errors
/// Fails if a variable names a file that is not there, if Go is missing or too old, or if the build fails.
pub fn ensure(tool: Tool) -> Result<PathBuf> {
    // Asked for with every kubectl: looked up once.
    static KNOWN: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    if let Some(path) = KNOWN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(tool.name())
    {
        return Ok(path.clone());
    }
    let path = find_or_build(tool)?;
    KNOWN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(tool.name(), path.clone());
    Ok(path)
}

fn find_or_build(tool: Tool) -> Result<PathBuf> {
    let own = env::var_os(tool.own_variable());
    let assets = env::var_os("KUBEBUILDER_ASSETS");
    if let Some(path) = from_environment(tool, own.as_deref(), assets.as_deref())? {
        return Ok(path);
    }
    let module = Module::read(tool.module_dir())?;
    let dir = cache_dir()?.join("tools").join(&module.key);
    let path = dir.join(tool.name());
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let _lock = lock(&dir, tool.name())?;
    if !path.is_file() {
        module.build(tool, &path)?;
    }
    Ok(path)
}

/// The source of Argo CD as its module has it: its CustomResourceDefinitions lie there.
///
/// # Errors
/// Fails if Go is missing or the module cannot be had.
pub fn argo_cd_source() -> Result<PathBuf> {
    Module::read(Tool::ArgoCd.module_dir())?.source_of(METRICS_ON_LOOPBACK.module)
}

/// The source of the Prometheus operator, for its CustomResourceDefinitions below `example/prometheus-operator-crd`. Nothing
/// of it is built.
///
/// # Errors
/// Fails if Go is missing or the module cannot be had.
pub fn prometheus_operator_source() -> Result<PathBuf> {
    Module::read("tools/prometheus-operator")?.source_of("github.com/prometheus-operator/prometheus-operator")
}

fn from_environment(tool: Tool, own: Option<&OsStr>, assets: Option<&OsStr>) -> Result<Option<PathBuf>> {
    if let Some(path) = own.filter(|p| !p.is_empty()).map(PathBuf::from) {
        if !path.is_file() {
            bail!(
                "{} names {}, which is not a file",
                tool.own_variable(),
                path.display()
            );
        }
        return Ok(Some(path));
    }
    // A set of envtest holds etcd, kube-apiserver and kubectl; what it lacks, we build.
    Ok(assets
        .map(|dir| Path::new(dir).join(tool.name()))
        .filter(|p| p.is_file()))
}

/// Waits for other builds of the same thing. The lock ends with the file handle, also when we are killed.
pub(crate) fn lock(dir: &Path, name: &str) -> Result<File> {
    let path = dir.join(format!(".{name}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        terminal::progress(&format!("waiting for {name}, which is being made"), || {
            file.lock()
                .with_context(|| format!("cannot lock {}", path.display()))
        })?;
    }
    Ok(file)
}

/// What the compiler may leave out, for it takes a seventh of a build: the linker drops it in any case, so that the program is the
/// same.
const WITHOUT_DEBUG_INFO: &str = "all=-dwarf=false";
/// Argo CD is most of all that is built, mostly waits, and shares no compiled package with the others, for it wants a compiler of its
/// own: not optimising it takes another quarter off its build.
const NOT_OPTIMISED: &str = "all=-dwarf=false -N -l";

/// How much the compiler's heap may grow before it is collected, in percent of what lives: by its default of 100 a fifth of the
/// time of a build goes into that.
const COMPILER_GARBAGE: &str = "400";

/// A few words of a module that must be others for our purpose.
#[derive(Debug)]
struct Patch {
    module: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

/// The application controller of Argo CD serves its metrics on every address of the machine, and has no option for another one.
/// What tests start must not be reached from outside.
const METRICS_ON_LOOPBACK: Patch = Patch {
    module: "github.com/argoproj/argo-cd/v3",
    file: "controller/appcontroller.go",
    from: r#""0.0.0.0:%d""#,
    to: r#""127.0.0.1:%d""#,
};
/// Most of Argo CD's module, and no part of the program.
const NOT_COPIED: &str = "docs";

/// A Go module with `tool` directives, and the flags its programs are built with.
#[derive(Debug)]
struct Module {
    dir: PathBuf,
    patch: Option<&'static Patch>,
    gcflags: &'static str,
    ldflags: String,
    key: String,
    /// The release of Go to build with, if the one that is installed is too old: Go fetches others as modules.
    toolchain: Option<String>,
}

impl Module {
    fn read(dir: &str) -> Result<Self> {
        let (gcflags, edit) = if dir == Tool::ArgoCd.module_dir() {
            (NOT_OPTIMISED, Some(&METRICS_ON_LOOPBACK))
        } else {
            (WITHOUT_DEBUG_INFO, None)
        };
        let dir = root().join(dir);
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        let mut go = go_version(&dir, None)?;
        let mut toolchain = None;
        if let Some(wanted) = directive(&go_mod, "go")
            && version_parts(&go) < version_parts(wanted)
        {
            let release = format!("go{wanted}");
            go = go_version(&dir, Some(&release)).with_context(|| {
                format!("Go {wanted} or newer is needed; this machine has {go}, and a newer one could not be fetched")
            })?;
            toolchain = Some(release);
        }
        let ldflags = ldflags(&go_mod);
        let mut hash = Sha256::new();
        for part in [
            go_mod.as_str(),
            &go_sum,
            &go,
            &ldflags,
            env::consts::OS,
            env::consts::ARCH,
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        if gcflags == NOT_OPTIMISED {
            hash.update(gcflags);
        }
        if let Some(edit) = edit {
            for part in [edit.module, edit.file, edit.from, edit.to] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        if dir.join("main.go").is_file() {
            hash.update(read("main.go")?);
        }
        let key = hex::encode(hash.finalize())[..16].to_owned();
        Ok(Self {
            dir,
            patch: edit,
            gcflags,
            ldflags,
            key,
            toolchain,
        })
    }

    /// Where Go has unpacked a module that this one requires; fetches it if need be.
    fn source_of(&self, module: &str) -> Result<PathBuf> {
        let output = go(&self.dir, self.toolchain.as_deref())
            .args(["mod", "download", "-json", module])
            .output()
            .context("cannot run go")?;
        let found: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("go mod download does not answer in JSON")?;
        match found["Dir"].as_str() {
            Some(dir) if output.status.success() => Ok(PathBuf::from(dir)),
            _ => bail!("the source of {module} cannot be had: {found}"),
        }
    }

    /// Copies the patched module into a folder, beside a go.mod that takes it from there, and returns that go.mod.
    fn patched(&self, edit: &Patch, work: &Path) -> Result<PathBuf> {
        let copy = work.join("source");
        // Left over by a build that was killed.
        let _ = fs::remove_dir_all(&copy);
        copy_folder(&self.source_of(edit.module)?, &copy, NOT_COPIED)?;
        let file = copy.join(edit.file);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        fs::write(&file, patched_text(edit, &text)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let mut go_mod = fs::read_to_string(self.dir.join("go.mod")).context("cannot read go.mod")?;
        let _ = writeln!(go_mod, "\nreplace {} => {}", edit.module, copy.display());
        let path = work.join("go.mod");
        fs::write(&path, go_mod).with_context(|| format!("cannot write {}", path.display()))?;
        fs::copy(self.dir.join("go.sum"), work.join("go.sum")).context("cannot copy go.sum")?;
        Ok(path)
    }

    fn build(&self, tool: Tool, path: &Path) -> Result<()> {
        let partial = path.with_file_name(format!(".{}.{}", tool.name(), unique_suffix()));
        // The same one each time: Go compiles a package again that lies elsewhere.
        let work = path.with_file_name(format!(".{}-patched", tool.name()));
        let built = terminal::progress(
            &format!("building {} from its Go module (once)", tool.name()),
            || {
                let mut command = go(&self.dir, self.toolchain.as_deref());
                command.arg("build");
                if let Some(edit) = self.patch {
                    command.arg("-modfile").arg(self.patched(edit, &work)?);
                }
                let output = command
                    .args(["-tags", tool.tags(), "-gcflags", self.gcflags])
                    .args(["-ldflags", &self.ldflags, "-o"])
                    .arg(&partial)
                    .arg(tool.package())
                    .output()
                    .context("cannot run go")?;
                if !output.status.success() {
                    bail!(
                        "go build {} failed:\n{}",
                        tool.package(),
                        String::from_utf8_lossy(&output.stderr)
                    );
                }
                fs::rename(&partial, path).with_context(|| format!("cannot create {}", path.display()))
            },
        );
        if built.is_err() {
            // What a failed build left is of no use to anyone.
            let _ = fs::remove_file(&partial);
        }
        let _ = fs::remove_dir_all(&work);
        built
    }
}

/// The file with the other words. They must be there once: a newer release may say it elsewhere.
fn patched_text(patch: &Patch, text: &str) -> Result<String> {
    let times = text.matches(patch.from).count();
    if times != 1 {
        bail!(
            "{} of {} has {} {times} times instead of once: see how it listens now",
            patch.file,
            patch.module,
            patch.from
        );
    }
    Ok(text.replacen(patch.from, patch.to, 1))
}

/// Copies a folder of plain files, as Go's cache of modules has them, but for one folder in it. The copies can be written.
fn copy_folder(from: &Path, to: &Path, but: &str) -> Result<()> {
    let read = || format!("cannot read {}", from.display());
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(read)? {
        let entry = entry.with_context(read)?;
        let target = to.join(entry.file_name());
        if entry.file_type().with_context(read)?.is_dir() {
            if entry.file_name() != but {
                copy_folder(&entry.path(), &target, but)?;
            }
        } else {
            let content =
                fs::read(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
            // Not fs::copy, which copies that nobody may write it, too.
            fs::write(&target, content).with_context(|| format!("cannot write {}", target.display()))?;
        }
    }
    Ok(())
}

/// Strips symbols and stamps the version: without it the API server reports v0.0.0 and clients cannot parse it.
fn ldflags(go_mod: &str) -> String {
    let mut flags = vec!["-s".to_owned(), "-w".to_owned()];
    if let Some(version) = required_version(go_mod, "k8s.io/kubernetes") {
        let parts = version_parts(version);
        let part = |i: usize| parts.get(i).copied().unwrap_or(0);
        for (variable, value) in [
            ("gitVersion", version),
            ("gitMajor", &part(0).to_string()),
            ("gitMinor", &part(1).to_string()),
            ("gitTreeState", "clean"),
            ("gitCommit", &"0".repeat(40)),
        ] {
            flags.push(format!("-X k8s.io/component-base/version.{variable}={value}"));
        }
    }
    flags.join(" ")
}

fn go(dir: &Path, toolchain: Option<&str>) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(dir)
        .env("CGO_ENABLED", "0")
        .env("GOGC", COMPILER_GARBAGE)
        .stdin(Stdio::null());
    if let Some(release) = toolchain {
        command.env("GOTOOLCHAIN", release);
    }
    command
}

fn go_version(dir: &Path, toolchain: Option<&str>) -> Result<String> {
    let hint = "the control plane is built from Go modules, which needs Go (https://go.dev/dl); or set \
                KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl";
    let output = go(dir, toolchain)
        .args(["env", "GOVERSION"])
        .output()
        .with_context(|| format!("go is missing: {hint}"))?;
    if !output.status.success() {
        bail!(
            "go does not work: {}\n{hint}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(version.strip_prefix("go").unwrap_or(&version).to_owned())
}

/// The value of a one-word directive of a go.mod, such as `go 1.26.0`.
fn directive<'a>(go_mod: &'a str, name: &str) -> Option<&'a str> {
    go_mod
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .map(str::trim)
}

fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line
            .trim()
            .strip_prefix("require ")
            .unwrap_or(line.trim())
            .split_whitespace();
        (words.next() == Some(module))
            .then(|| words.next())
            .flatten()
            .filter(|v| v.starts_with('v'))
    })
}

/// The numbers of a version: `v1.36.3` and `1.36.3-rc.1 X:flag` both begin 1, 36, 3.
fn version_parts(version: &str) -> Vec<u32> {
    let number = |part: &str| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    };
    version
        .trim_start_matches('v')
        .split('.')
        .take(3)
        .map(number)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const GO_MOD: &str = "module m\n\ngo 1.26.0\n\ntool (\n\tk8s.io/kubernetes/cmd/kubectl\n)\n\nrequire (\n\tk8s.io/kubernetes v1.36.3 // indirect\n)\n";

    #[test]
    fn versions_come_from_the_module_file() {
        assert_eq!(directive(GO_MOD, "go"), Some("1.26.0"));
        assert_eq!(required_version(GO_MOD, "k8s.io/kubernetes"), Some("v1.36.3"));
        assert_eq!(required_version(GO_MOD, "k8s.io/api"), None);
    }

    #[test]
    fn build_flags_carry_the_version() {
        let flags = ldflags(GO_MOD);
        assert!(flags.contains("version.gitVersion=v1.36.3"), "{flags}");
        assert!(flags.contains("version.gitMinor=36"), "{flags}");
        assert_eq!(ldflags("module m\n"), "-s -w");
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(version_parts("1.9.12") < version_parts("1.26.0"));
        assert!(version_parts("1.26.8 X:nodwarf5") > version_parts("1.26.0"));
        assert!(version_parts("1.27rc1") > version_parts("1.26.8"));
    }

    #[test]
    fn a_patch_fits_once_or_fails() {
        let patch = &METRICS_ON_LOOPBACK;
        let text = |words: &str| format!("a := Sprintf({words}, port)\n");
        assert_eq!(patched_text(patch, &text(patch.from)).unwrap(), text(patch.to));
        for other in [text(patch.to), text(patch.from).repeat(2)] {
            let said = patched_text(patch, &other).unwrap_err().to_string();
            assert!(said.contains(patch.file), "{said}");
        }
    }

    #[test]
    fn a_folder_is_copied_without_the_part_that_is_not_needed() {
        let dir = crate::temp_dir::TempDir::new("unit").unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for path in ["a.go", "b/c.go", "docs/d.md"] {
            let path = from.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            let mut permissions = fs::metadata(&path).unwrap().permissions();
            permissions.set_readonly(true);
            fs::set_permissions(&path, permissions).unwrap();
        }
        copy_folder(&from, &to, NOT_COPIED).unwrap();
        assert!(!to.join("docs").exists());
        for path in ["a.go", "b/c.go"] {
            fs::write(to.join(path), "y").unwrap();
        }
    }

    #[test]
    fn named_file_must_exist() {
        assert!(from_environment(Tool::Etcd, Some(OsStr::new("/no/such")), None).is_err());
        assert_eq!(
            from_environment(Tool::Etcd, Some(OsStr::new("")), None).unwrap(),
            None
        );
        assert_eq!(
            from_environment(Tool::Etcd, None, Some(OsStr::new("/no/such"))).unwrap(),
            None
        );
    }

    #[test]
    fn every_tool_is_pinned_by_its_module() {
        let others = [Tool::ArgoCd, Tool::Redis, Tool::Promtool];
        for tool in Tool::ALL.into_iter().chain(others) {
            let path = root().join(tool.module_dir()).join("go.mod");
            let go_mod = fs::read_to_string(&path).unwrap();
            assert!(
                go_mod.contains(tool.package()),
                "{} is not in {}",
                tool.package(),
                path.display()
            );
        }
    }
}
