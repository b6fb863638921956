//! Installed from the chart of an earlier version, with live objects; upgraded to today's, rolled back, uninstalled in either order,
//! handed over from process to process: by real Helm on a real API server, with the emulator's journal as the judge.
//!
//! `tests/data/upgrades/` holds what earlier versions were: their chart, their examples, the objects that their operator stored. The
//! process under an earlier chart has that chart's arguments and permissions. It is the operator of that version once
//! `cargo xtask tools earlier-operators` has built it from the history, and today's else; `RAMTRAIL_OLD_OPERATOR` names another
//! program of a version (`RAMTRAIL_VERSION`), and with `RAMTRAIL_KEEP_OBJECTS=1` the objects that it stores become test data.
//!
//! One test again: `cargo test --test upgrades NAME`.
#![allow(clippy::unwrap_used)]

#[path = "upgrades/kinds.rs"]
mod kinds;
#[path = "upgrades/leader.rs"]
mod leader;
#[path = "upgrades/release.rs"]
mod release;
#[path = "upgrades/rollout.rs"]
mod rollout;
#[path = "../support/mod.rs"]
mod support;
#[path = "../trail_support/mod.rs"]
mod trail_support;
#[path = "upgrades/uninstall.rs"]
mod uninstall;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use support::World;
use trail_support::STACK;

/// Names the one earlier version to try.
const VERSION: &str = "RAMTRAIL_VERSION";

/// An earlier version, as its test data has it.
struct Version {
    name: String,
    folder: PathBuf,
}

impl Version {
    /// Whether the environment names the one to try.
    fn is_chosen() -> bool {
        std::env::var_os(VERSION).is_some_and(|name| !name.is_empty())
    }

    /// All that were kept.
    fn all() -> Vec<Self> {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(xtask::earlier::FOLDER);
        let only = std::env::var(VERSION).ok().filter(|name| !name.is_empty());
        let mut all: Vec<Self> = fs::read_dir(&kept)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|folder| Self {
                name: folder.file_name().unwrap().to_string_lossy().into_owned(),
                folder,
            })
            .filter(|version| only.as_ref().is_none_or(|only| *only == version.name))
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        assert!(!all.is_empty(), "no earlier version in {}", kept.display());
        all
    }

    fn chart(&self) -> PathBuf {
        self.folder.join("chart")
    }

    fn examples(&self) -> PathBuf {
        self.folder.join("examples")
    }

    fn objects_file(&self) -> PathBuf {
        self.folder.join("objects.json")
    }

    /// The objects that the operator of this version stored, with their status.
    fn objects(&self) -> Vec<Value> {
        serde_json::from_str(&fs::read_to_string(self.objects_file()).unwrap()).unwrap()
    }
}

/// Today's chart.
fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/ramtrail")
}

/// Today's examples.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples")
}

/// Every call of the operator to the cloud, after a row, that could change something, whatever its answer was.
fn mutating(world: &World, since: u64) -> Vec<String> {
    world
        .journal(since)
        .iter()
        .filter(|row| row.is_ours() && row.is_write())
        .map(ToString::to_string)
        .collect()
}

/// What must be the same before and after: who the objects are, what is asked of them, and since when they are Ready.
fn identities(world: &World) -> Vec<Value> {
    STACK
        .iter()
        .map(|(kind, name)| {
            let object = world.object(kind, name).unwrap();
            let conditions = object.data["status"]["conditions"].as_array().unwrap();
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
            json!({
                "kind": kind,
                "uid": object.metadata.uid,
                "generation": object.metadata.generation,
                "finalizers": object.metadata.finalizers,
                "spec": object.data["spec"],
                "claim": object.data["status"]["claim"],
                "ready": [&ready.unwrap()["status"], &ready.unwrap()["lastTransitionTime"]],
            })
        })
        .collect()
}
