//! The stack is created while a plan of faults is carried out: the same calls as without, each once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::json;
use xtask::api_proxy::{Fault, Matching, Planned};

use crate::stage::{created_once, world};
use crate::trail_support::{apply_stack, settle_stack};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    about: String,
    faults: Vec<Planned>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/full/plans")
}

fn run(path: &Path) {
    let plan: Plan = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    eprintln!(
        "plan: {}\nreplay: RAMTRAIL_FAULT_PLAN={} cargo test --test kube_faults the_plan_of_the_environment",
        plan.about,
        path.display()
    );
    let mut world = world("plan");
    let ids = world.proxy().add_plan(&plan.faults);
    apply_stack(&world);
    world.start();
    settle_stack(&world);
    // A fault that nothing meets proves nothing.
    for (id, planned) in ids.into_iter().zip(&plan.faults) {
        world.eventually(&format!("the fault is met: {}", json!(planned)), || {
            let progress = world.proxy().progress(id);
            // What was seen but not reached by its number may still come with the resyncs.
            if progress.met >= planned.matching.times.clamp(1, 3) {
                Ok(())
            } else {
                Err(format!("{progress:?}"))
            }
        });
    }
    world.proxy().clear();
    settle_stack(&world);
    created_once(&world);
}

macro_rules! plans {
    ($($name:ident: $file:literal;)*) => {
        $(
            #[test]
            fn $name() {
                run(&folder().join(concat!($file, ".json")));
            }
        )*

        #[test]
        fn no_plan_is_forgotten() {
            let known: BTreeSet<String> = [$($file),*].iter().map(|name| format!("{name}.json")).collect();
            let found: BTreeSet<String> = fs::read_dir(folder())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(found, known);
        }
    };
}

plans! {
    writes_that_do_not_arrive: "drop-before-writes";
    writes_whose_answers_are_lost: "lost-answers";
    requests_that_are_never_answered: "unanswered";
    conflicts_of_finalizers_and_status: "conflicts";
    a_storm_of_403: "storm-403";
    a_storm_of_429: "storm-429";
    a_storm_of_500: "storm-500";
    a_storm_of_503: "storm-503";
    compacted_watches: "compaction";
    slow_and_truncated_answers: "bad-bodies";
    late_and_broken_watches: "late-watches";
}

#[test]
fn the_plan_of_the_environment() {
    if let Some(path) = std::env::var_os("RAMTRAIL_FAULT_PLAN").filter(|path| !path.is_empty()) {
        run(Path::new(&path));
    }
}

/// `SplitMix64`: good enough to choose, the same everywhere.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

fn seed() -> u64 {
    std::env::var("RAMTRAIL_FAULT_SEED")
        .ok()
        .filter(|seed| !seed.is_empty())
        .map_or_else(
            || {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| u64::from(since.subsec_nanos()))
            },
            |seed| seed.parse().unwrap(),
        )
}

fn random_fault(dice: &mut Dice) -> Planned {
    let fault = match dice.throw(8) {
        0 => Fault::DropBefore,
        1 => Fault::DropAfter,
        2 => Fault::status(409, "Conflict"),
        3 => Fault::status(500, "InternalError"),
        4 => Fault::status(503, "ServiceUnavailable"),
        5 => Fault::Truncated,
        6 => Fault::Delay { ms: dice.throw(2000) },
        _ => Fault::Cut,
    };
    let matching = if fault == Fault::Cut {
        Matching::watches()
    } else {
        Matching::write()
    };
    Planned {
        matching: matching.nth(1 + dice.throw(25)).times(1 + dice.throw(3)),
        fault,
    }
}

/// Faults and SIGKILLs at random moments; the seed tells them all but the machine's pace.
#[test]
fn random_faults_and_restarts() {
    let seed = seed();
    eprintln!("replay: RAMTRAIL_FAULT_SEED={seed} cargo test --test kube_faults random");
    let mut dice = Dice(seed);
    let plan: Vec<Planned> = (0..12).map(|_| random_fault(&mut dice)).collect();
    eprintln!("{}", json!({"about": format!("seed {seed}"), "faults": plan}));
    let mut world = world("random");
    world.proxy().add_plan(&plan);
    apply_stack(&world);
    world.start();
    for _ in 0..8 {
        // Chosen by how far it has come, not by the clock alone: a number of requests, then a blink.
        let goal = world.proxy().now() + 1 + dice.throw(12);
        world.eventually(&format!("request {goal}"), || {
            let now = world.proxy().now();
            if now >= goal {
                Ok(())
            } else {
                Err(format!("{now}"))
            }
        });
        std::thread::sleep(Duration::from_millis(dice.throw(60)));
        world.kill();
        world.start();
    }
    world.proxy().clear();
    settle_stack(&world);
    created_once(&world);
}
