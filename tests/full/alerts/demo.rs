//! The demo of the README as Prometheus would have seen it: nothing fires while all is well, and its attack is told of.

use std::fs;
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use xtask::temp_dir::TempDir;
use xtask::workspace::{root, target};

use crate::recording::{Course, Recording};
use crate::rules::{Case, firing};
use crate::{TEN_MINUTES, nothing_fires_and_the_dashboard_shows};

#[test]
fn nothing_fires_in_the_healthy_demo_and_its_attack_is_told() {
    let dir = TempDir::new("recorded").unwrap();
    let said = Command::new(target().join("debug/xtask"))
        .args(["demo", "--once", "--record"])
        .arg(dir.path())
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{text}");
    let recorded = |name: &str| {
        let path = dir.path().join(name);
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        let at = written.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        Recording::at(&fs::read_to_string(&path).unwrap(), 1, at)
    };
    let [delivering, healthy, repaired, afterwards] =
        ["delivering", "healthy", "repaired", "afterwards"].map(recorded);

    // What went on in it goes on for two hours.
    let mut course = Course::new(&delivering);
    course.go_on(&delivering, &healthy, 12 * TEN_MINUTES);
    nothing_fires_and_the_dashboard_shows(course);

    let tampers = "ramtrail_tamper_events_total";
    assert!(repaired.sum(tampers, "") > healthy.sum(tampers, ""));
    let mut course = Course::new(&delivering);
    course.go_on(&delivering, &healthy, TEN_MINUTES);
    let trouble = course.length();
    course.go_on(&repaired, &afterwards, TEN_MINUTES);
    let told = firing(
        "RamTrailTampered",
        3,
        &[("kind", "RamTrail"), ("action", "LoggingStopped")],
        "Somebody weakened an audit from outside: RamTrail, LoggingStopped.",
    );
    Case::new(course, trouble, vec![told])
        .judged()
        .unwrap_or_else(|said| panic!("{said}"));
}
