//! What a release publishes, made as a release makes it, by a builder whose umask is strict: the archives, the bills of materials
//! and the image, whose own binary then does the operator's work.
//!
//! `RAMTRAIL_PLATFORMS=amd64` leaves the other platform out, `RAMTRAIL_TWICE=1` makes everything twice.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../tls_server/mod.rs"]
mod tls_server;
#[path = "../trail_support/mod.rs"]
mod trail_support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::World;
use tls_server::{ALL, Authority, authority, for_names, signed, tls_server};
use trail_support::{CALLS, apply_stack, prepare, settle};
use xtask::process::output;
use xtask::temp_dir::TempDir;
use xtask::workspace::{root, target};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";
/// Where the image of this test says that it is.
const REPOSITORY: &str = "registry.example/team/ramtrail";
const REVISION: &str = "0123456789012345678901234567890123456789";

/// Platforms and the machine that their programs name (`e_machine` of ELF).
fn platforms() -> Vec<(&'static str, u16)> {
    let chosen = std::env::var("RAMTRAIL_PLATFORMS").unwrap_or_default();
    let all = [("amd64", 62), ("arm64", 183)];
    let names: Vec<&str> = chosen.split(',').filter(|name| !name.is_empty()).collect();
    let kept = all
        .into_iter()
        .filter(|(name, _)| names.is_empty() || names.contains(name));
    kept.collect()
}

/// The platform whose programs run here.
fn own_platform() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

/// The folder with everything, made once.
fn dist() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        // The lowest priority: what runs beside it mostly waits, and must not wait for this.
        let mut make = Command::new("nice");
        make.args(["-n", "19", "sh", "-c", "umask 077 && exec \"$@\"", "release"])
            .arg(target().join("debug/xtask"))
            .args(["release", "--dry-run", "--image"])
            .args(["--repository", REPOSITORY, "--revision", REVISION])
            .current_dir(root())
            .stdin(Stdio::null());
        for (name, _) in platforms() {
            make.args(["--platform", name]);
        }
        if std::env::var_os("RAMTRAIL_TWICE").is_some_and(|value| value == "1") {
            make.arg("--twice");
        }
        assert!(make.status().unwrap().success(), "a release cannot be made");
        root().join("target/dist")
    })
}

/// The image, unpacked: its files' folder by platform, with what the archive says of each.
struct Unpacked {
    dir: TempDir,
    index: Value,
    /// Manifest, configuration and the layer's list by platform.
    images: BTreeMap<String, (Value, Value, String)>,
}

fn unpacked() -> &'static Unpacked {
    static UNPACKED: OnceLock<Unpacked> = OnceLock::new();
    UNPACKED.get_or_init(|| {
        let dir = TempDir::new("image").unwrap();
        let layout = dir.path().join("layout");
        fs::create_dir(&layout).unwrap();
        let archive = dist().join(format!("ramtrail-{VERSION}-image.tar"));
        output(
            Command::new("tar")
                .arg("-xf")
                .arg(&archive)
                .arg("-C")
                .arg(&layout),
        )
        .unwrap();
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"]
                .as_str()
                .unwrap()
                .strip_prefix("sha256:")
                .unwrap();
            let path = layout.join("blobs/sha256").join(digest);
            assert_eq!(hex::encode(Sha256::digest(fs::read(&path).unwrap())), digest);
            path
        };
        let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let index = read(&layout.join("index.json"));
        let list = read(&blob(&index["manifests"][0]));
        let mut images = BTreeMap::new();
        for entry in list["manifests"].as_array().unwrap() {
            let platform = &entry["platform"];
            assert_eq!(platform["os"], "linux");
            let name = platform["architecture"].as_str().unwrap().to_owned();
            let manifest = read(&blob(entry));
            let config = read(&blob(&manifest["config"]));
            let layers = manifest["layers"].as_array().unwrap();
            assert_eq!(layers.len(), 1, "{manifest:#}");
            let layer = blob(&layers[0]);
            let files = dir.path().join("rootfs").join(&name);
            fs::create_dir_all(&files).unwrap();
            output(
                Command::new("tar")
                    .args(["--numeric-owner", "--same-permissions", "-xzf"])
                    .arg(&layer)
                    .arg("-C")
                    .arg(&files),
            )
            .unwrap();
            let mut list = Command::new("tar");
            list.args(["--numeric-owner", "--full-time", "--utc", "-tvzf"])
                .arg(&layer);
            images.insert(name, (manifest, config, output(&mut list).unwrap()));
        }
        Unpacked { dir, index, images }
    })
}

impl Unpacked {
    /// The files of the platform whose programs run here.
    fn own(&self) -> PathBuf {
        self.dir.path().join("rootfs").join(own_platform())
    }
}

/// The image's own binary with nothing around it but the image's own files, as the user that the image names.
fn in_the_image(files: &Path) -> Command {
    let mut command = Command::new("unshare");
    if output(Command::new("id").arg("-u")).unwrap().trim() == "0" {
        command = Command::new("chroot");
        command.arg("--userspec=65532:65532");
    } else {
        command.args(["--user", "--map-root-user", "chroot"]);
    }
    command
        .arg(files)
        .arg("/ramtrail")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

#[test]
fn the_image_is_two_files_of_nobody_and_runs_as_a_number() {
    let unpacked = unpacked();
    let expected: BTreeSet<&str> = platforms().into_iter().map(|(name, _)| name).collect();
    let found: BTreeSet<&str> = unpacked.images.keys().map(String::as_str).collect();
    assert_eq!(found, expected);
    for (name, (_, config, list)) in &unpacked.images {
        let run = &config["config"];
        assert_eq!(run["User"], "65532:65532", "{config:#}");
        assert_eq!(run["Entrypoint"], json!(["/ramtrail"]));
        assert_eq!(run["Cmd"], json!(["run"]));
        let labels = run["Labels"].as_object().unwrap();
        assert_eq!(labels["org.opencontainers.image.version"], VERSION);
        assert_eq!(labels["org.opencontainers.image.revision"], REVISION);
        assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
        for label in labels.keys() {
            assert!(
                label.starts_with("org.opencontainers.image."),
                "{label} depends on the builder"
            );
        }
        assert_eq!(config["architecture"], json!(name));
        assert_eq!(config["created"], "1970-01-01T00:00:00Z");

        // Mode, owner, date and path of each entry.
        let mut entries = BTreeMap::new();
        for line in list.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [mode, owner, _, date, time, path] = words[..] else {
                panic!("{line}");
            };
            assert_eq!((owner, date, time), ("0/0", "1970-01-01", "00:00:00"), "{line}");
            entries.insert(
                path.trim_start_matches("./").trim_matches('/').to_owned(),
                mode.to_owned(),
            );
        }
        entries.remove("");
        let wanted = [
            ("etc", "drwxr-xr-x"),
            ("etc/ssl", "drwxr-xr-x"),
            ("etc/ssl/certs", "drwxr-xr-x"),
            (AUTHORITIES, "-rw-r--r--"),
            ("ramtrail", "-rwxr-xr-x"),
        ];
        assert_eq!(
            entries,
            wanted.map(|(p, m)| (p.to_owned(), m.to_owned())).into(),
            "{list}"
        );
    }
}

#[test]
fn the_archive_names_the_image_where_it_is_going_to_be() {
    let name = &unpacked().index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
    assert_eq!(*name, json!(format!("{REPOSITORY}:{VERSION}")));
    let said = fs::read_to_string(dist().join(format!("ramtrail-{VERSION}-image.digest"))).unwrap();
    assert_eq!(said.trim(), unpacked().index["manifests"][0]["digest"]);
    let manifest = fs::read_to_string(dist().join("install.yaml")).unwrap();
    assert!(manifest.contains(&format!("image: \"{REPOSITORY}:{VERSION}\"")));
    let chart = dist().join(format!("ramtrail-{VERSION}.tgz"));
    let mut values = Command::new("tar");
    values.arg("-xzOf").arg(&chart).arg("ramtrail/values.yaml");
    let values: Value = serde_saphyr::from_str(&output(&mut values).unwrap()).unwrap();
    assert_eq!(values["image"]["repository"], REPOSITORY);
}

#[test]
fn programs_of_both_platforms_are_static() {
    for (name, machine) in platforms() {
        let path = unpacked().dir.path().join("rootfs").join(name).join("ramtrail");
        let program = fs::read(&path).unwrap();
        let word = |at: usize| u16::from_le_bytes([program[at], program[at + 1]]);
        assert_eq!(&program[..4], b"\x7fELF");
        assert_eq!(word(18), machine, "{name}");
        let (offset, size, number) = (
            usize::try_from(u64::from_le_bytes(program[32..40].try_into().unwrap())).unwrap(),
            usize::from(word(54)),
            usize::from(word(56)),
        );
        for header in 0..number {
            let at = offset + header * size;
            let kind = u32::from_le_bytes(program[at..at + 4].try_into().unwrap());
            assert_ne!(kind, 3, "{name}: PT_INTERP, which asks for a loader");
        }
        // 20 MB are the budget.
        assert!(
            program.len() < 20 * 1024 * 1024,
            "{name}: {} bytes",
            program.len()
        );
    }
}

#[test]
fn the_images_own_binary_tells_its_version_and_kinds() {
    let files = unpacked().own();
    let said = output(in_the_image(&files).arg("--version")).unwrap();
    assert_eq!(said.trim(), format!("ramtrail {VERSION}"));
    let kinds = output(in_the_image(&files).arg("crds")).unwrap();
    assert_eq!(kinds, fs::read_to_string(dist().join("crds.yaml")).unwrap());
    for entry in fs::read_dir(root().join("crds")).unwrap() {
        let kind = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(kinds.contains(kind.trim_start_matches("---\n").trim()));
    }
}

/// The self-test of the image's own binary against a server of this authority, with these files around it.
fn selftest(files: &Path, ours: &Authority) -> String {
    let host = ["sts.cn-hangzhou.aliyuncs.com", "sts.aliyuncs.com"];
    let body = r#"{"AccountId": "1234567890123456", "Arn": "acs:ram::1234567890123456:user/tester", "RequestId": "R",
        "IdentityType": "RAMUser", "PrincipalId": "1", "UserId": "1"}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let (port, _seen) = tls_server(signed(&for_names(&host), ours), ALL, answer);
    let answer = in_the_image(files)
        .args(["selftest", "--namespace=ramtrail-system"])
        .arg(format!("--cloud-endpoint=https://127.0.0.1:{port}"))
        .env("ALIBABA_CLOUD_ACCESS_KEY_ID", "LTAIselftestKey0000001")
        .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secretOfTheSelftest001")
        .output()
        .unwrap();
    String::from_utf8_lossy(&answer.stdout).into_owned() + &String::from_utf8_lossy(&answer.stderr)
}

#[test]
fn the_authorities_of_the_image_are_those_that_its_binary_trusts() {
    let dir = TempDir::new("authorities").unwrap();
    let files = dir.path().join("files");
    let copy = |to: &Path| output(Command::new("cp").arg("-a").arg(unpacked().own()).arg(to)).unwrap();
    copy(&files);
    // The folder of a test is private; the image's user must reach what is below.
    output(Command::new("chmod").arg("755").arg(dir.path())).unwrap();
    let ours = authority("of this test");
    let said = selftest(&files, &ours);
    assert!(said.contains("FAIL  identity: "), "{said}");
    assert!(
        said.contains("no trusted authority issued the server's certificate"),
        "{said}"
    );
    // Mozilla's list with one more, and then that one alone: it is this file that is read.
    let list = fs::read_to_string(files.join(AUTHORITIES)).unwrap();
    assert!(list.matches("BEGIN CERTIFICATE").count() > 100);
    for text in [format!("{list}\n{}", ours.pem()), ours.pem()] {
        fs::write(files.join(AUTHORITIES), text).unwrap();
        let said = selftest(&files, &ours);
        let good = "ok    identity: acs:ram::1234567890123456:user/tester of account 1234567890123456";
        assert!(said.contains(good), "{said}");
    }
}

/// The stack of the seed by the image's own binary: created with the exact calls, its deletion waited for.
#[test]
fn the_images_own_binary_serves_the_api_server() {
    let program = unpacked().own().join("ramtrail");
    let mut world = World::new("image");
    prepare(&world);
    world.start_program(&program);
    apply_stack(&world);
    settle(&world);
    let mut writes = world.writes(0);
    writes.sort();
    assert_eq!(writes, CALLS, "{}", world.report());
    let running = fs::read_link(format!("/proc/{}/exe", world.operator_pid())).unwrap();
    assert_eq!(running, program);
}

#[test]
fn checksums_name_every_file_of_the_release_and_no_other() {
    let sums = fs::read_to_string(dist().join("SHA256SUMS")).unwrap();
    let mut named = BTreeSet::new();
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").unwrap();
        let content = fs::read(dist().join(name)).unwrap();
        assert_eq!(hex::encode(Sha256::digest(&content)), sum, "{name}");
        named.insert(name.to_owned());
    }
    let entries = fs::read_dir(dist()).unwrap();
    let mut files: BTreeSet<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.remove("SHA256SUMS");
    assert_eq!(named, files);
    let mut wanted: BTreeSet<String> = ["crds.yaml", "install.yaml"].map(str::to_owned).into();
    wanted.extend([
        format!("ramtrail-{VERSION}.tgz"),
        format!("ramtrail-{VERSION}-image.tar"),
        format!("ramtrail-{VERSION}-image.digest"),
    ]);
    for (name, _) in platforms() {
        wanted.insert(format!("ramtrail-{VERSION}-linux-{name}.tar.gz"));
        wanted.insert(format!("ramtrail-{VERSION}-linux-{name}.cdx.json"));
    }
    assert_eq!(named, wanted);
}

#[test]
fn archives_hold_the_images_binary_completions_and_man_pages() {
    for (name, _) in platforms() {
        let folder = format!("ramtrail-{VERSION}-linux-{name}");
        let archive = dist().join(format!("{folder}.tar.gz"));
        let mut list = Command::new("tar");
        list.args(["--numeric-owner", "--full-time", "--utc", "-tvzf"])
            .arg(&archive);
        let list = output(&mut list).unwrap();
        for (mode, file) in [
            ("-rwxr-xr-x", "ramtrail"),
            ("-rw-r--r--", "LICENSE"),
            ("-rw-r--r--", "completions/ramtrail.bash"),
            ("-rw-r--r--", "completions/_ramtrail"),
            ("-rw-r--r--", "completions/ramtrail.fish"),
            ("-rw-r--r--", "man/ramtrail.1"),
        ] {
            let end = format!(" {folder}/{file}");
            let line = list.lines().find(|line| line.ends_with(&end));
            let line = line.unwrap_or_else(|| panic!("no {file} in\n{list}"));
            assert!(line.starts_with(mode), "{line}");
            assert!(
                line.contains(" 0/0 ") && line.contains(" 1970-01-01 00:00:00 "),
                "{line}"
            );
        }
        let mut program = Command::new("tar");
        program
            .arg("-xzOf")
            .arg(&archive)
            .arg(format!("{folder}/ramtrail"));
        let program = program.output().unwrap().stdout;
        let image = unpacked().dir.path().join("rootfs").join(name).join("ramtrail");
        assert!(
            program == fs::read(image).unwrap(),
            "{name}: another binary than the image's"
        );
    }
}

/// Finds the list that the binary carries (zlib), and prints its packages.
const LISTED: &str = r"
import json, struct, sys, zlib
data = open(sys.argv[1], 'rb').read()
offset, = struct.unpack_from('<Q', data, 40)
size, number, names = struct.unpack_from('<HHH', data, 58)
sections = [struct.unpack_from('<IIQQQQ', data, offset + i * size) for i in range(number)]
start = sections[names][4]
for name, _, _, _, at, length in sections:
    if data[start + name:].split(b'\0', 1)[0] == b'.dep-v0':
        for package in json.loads(zlib.decompress(data[at:at + length]))['packages']:
            print(package['name'], package['version'])
";

#[test]
fn the_bill_of_materials_is_what_the_binary_itself_lists() {
    for (name, _) in platforms() {
        let program = unpacked().dir.path().join("rootfs").join(name).join("ramtrail");
        let listed = output(Command::new("python3").args(["-c", LISTED]).arg(&program)).unwrap();
        let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
        let path = dist().join(format!("ramtrail-{VERSION}-linux-{name}.cdx.json"));
        let bill: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let component = |c: &Value| format!("{} {}", text(&c["name"]), text(&c["version"]));
        let mut named: BTreeSet<String> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(component)
            .collect();
        named.insert(component(&bill["metadata"]["component"]));
        assert!(listed.len() > 100, "{listed:?}");
        assert_eq!(listed, named, "{name}");
    }
}
