//! The binary: its one line of output, its refusals, its end.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use serde_json::Value;

fn emulator() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ramtrail-emulator"));
    command.env_remove("RAMTRAIL_EMULATOR_ADMIN_TOKEN");
    command
}

#[test]
fn it_says_where_it_listens_and_ends_at_sigterm() {
    let folder = std::env::temp_dir().join(format!("ramtrail-emulator-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let port_file = folder.join("port");
    let mut child = emulator()
        .args([
            "--listen",
            "127.0.0.1:0",
            "--access-key",
            "id:marked-secret:1",
            "--port-file",
        ])
        .arg(&port_file)
        .env("RUST_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let listen = ready["listen"].as_str().unwrap();
    assert!(listen.starts_with("127.0.0.1:"));
    assert_eq!(ready["adminToken"].as_str().unwrap().len(), 32);
    while !port_file.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(listen.ends_with(&std::fs::read_to_string(&port_file).unwrap()));
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(rest.is_empty(), "one line only: {rest}");
    let mut logs = String::new();
    child.stderr.take().unwrap().read_to_string(&mut logs).unwrap();
    assert!(logs.contains("listening") && !logs.contains("marked-secret"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [
        &["--listen", "0.0.0.0:0"][..],
        &["--quota", "no.such=1"],
        &["--quota", "sts.qps"],
        &["--assume", "no.such=x"],
        &["--assume", "actiontrail.delivery.delay=soon"],
        &["--access-key", "id:secret"],
        &["--profile", "friendly"],
    ] {
        let output = emulator().args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn lists_name_every_limit_and_assumption() {
    let output = emulator().arg("--list-quotas").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("actiontrail.trails"));
    let output = emulator().arg("--list-assumptions").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("actiontrail.delivery.delay: 1s | 60s"));
}
