//! The model test: the pure core of the three kinds (who owns what, what is planned, what is noted as applied) against a
//! model of the cloud and of the cluster, under crashes, lost and late calls, stale reads and other people's edits.
//!
//! What is real here: [`acquisition`](super::acquisition), the `plan` of each kind, `applied`, the marks, the objects and
//! their statuses. What is not: the kinds' visits talk to the cloud, so [`sim`], [`containers`] and [`trail`] make the same
//! calls in the same order by hand, as the modules' headers and `driver` describe it. Not in the model: retries within one
//! call, leadership, who holds a name in the cluster, delivery, and the poll's snapshots (every look reads the cloud).
//!
//! A run is a list of events drawn from a seed. After it nothing goes wrong any more: within [`sim::BOUND`] visits the
//! world must come to rest as wanted, and stay so. A failing run is shrunk and printed with the command that replays it.
//! `RAMTRAIL_MODEL_RUNS` sets the number of runs, `RAMTRAIL_MODEL_SEED` replays one, `RAMTRAIL_MODEL_JOURNAL=1` prints it.

#![allow(clippy::unwrap_used)]

mod containers;
mod sim;
mod trail;

use std::cell::{Cell, RefCell};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use self::sim::{BOUND, Scenario, Sim, Subject, scenarios};
use crate::controllers::object::{Managed, Status};

/// Runs of each kind in an ordinary test run.
const RUNS: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number")),
    )
}

/// What a run came to.
#[derive(Debug, Default)]
struct Outcome {
    visits: usize,
    mistakable: usize,
}

/// Plays a run to its end.
fn play<S: Subject>(scenario: &Scenario<S>, journal: &mut Vec<String>) -> Result<Outcome, String> {
    let mut sim = Sim::<S>::new(&scenario.first);
    let mut outcome = Outcome::default();
    let played = play_events(&mut sim, scenario, &mut outcome);
    outcome.mistakable = sim.mistakable;
    *journal = std::mem::take(&mut sim.journal);
    match (sim.breach, played) {
        (Some(breach), _) => Err(breach),
        (None, Err(problem)) => Err(problem),
        (None, Ok(())) => Ok(outcome),
    }
}

fn play_events<S: Subject>(
    sim: &mut Sim<S>,
    scenario: &Scenario<S>,
    outcome: &mut Outcome,
) -> Result<(), String> {
    for event in &scenario.events {
        sim.happens(event);
    }
    sim.say("--- nothing goes wrong any more");
    // What is under way lands, and what was changed is shown.
    sim.pass(100);
    if sim.object().is_some_and(Managed::is_deleting) {
        goes(sim)?;
    }
    sim.remake();
    outcome.visits = rests(sim)?;
    let object = sim.object().cloned().ok_or("the object is gone")?;
    S::at_rest(&object, sim.live())
        .map_err(|problem| format!("at rest, but {problem}: {:?} of {object:?}", sim.live()))?;
    if let Some(policy) = scenario.end {
        sim.delete(policy);
        goes(sim)?;
    }
    Ok(())
}

/// Visits until nothing is changed any more, and then some.
fn rests<S: Subject>(sim: &mut Sim<S>) -> Result<usize, String> {
    let mut visits = 0;
    let begin = sim.now;
    loop {
        let before = sim.changes();
        sim.visit(0);
        sim.pass(if sim.now < begin + 400 { 40 } else { 400 });
        if sim.changes() > before {
            visits += 1;
        } else if sim.now >= begin + S::PATIENCE {
            break;
        }
        if visits > BOUND {
            return Err(format!(
                "no rest after {BOUND} undisturbed visits that changed something"
            ));
        }
    }
    for pause in [5, 70, 500, 4000] {
        let before = (sim.changes(), sim.live().clone());
        sim.pass(pause);
        sim.visit(0);
        if (sim.changes(), sim.live().clone()) != before {
            return Err("the world came to rest and did not stay so".to_owned());
        }
    }
    Ok(visits)
}

/// Visits an object that is being deleted until it is gone.
fn goes<S: Subject>(sim: &mut Sim<S>) -> Result<(), String> {
    let held = sim
        .object()
        .and_then(|object| object.status().and_then(Status::claim).cloned());
    for _ in 0..BOUND {
        if sim.object().is_none() {
            return Ok(());
        }
        sim.visit(0);
        sim.pass(40);
    }
    Err(format!("it is not gone after {BOUND} visits; it held {held:?}"))
}

/// Plays all runs of a kind; a failing one is shrunk and shown.
fn check<S: Subject>() {
    let one = number("RAMTRAIL_MODEL_SEED");
    let runs = number("RAMTRAIL_MODEL_RUNS").unwrap_or(RUNS);
    let seeds = one.map_or(0..runs, |seed| seed..seed + 1);
    let (most, mistakable) = (Cell::new(0), Cell::new(0));
    for seed in seeds {
        let journal = RefCell::new(Vec::new());
        let result = runner(seed).run(&scenarios::<S>(), |scenario| {
            let outcome = play(&scenario, &mut journal.borrow_mut()).map_err(TestCaseError::fail)?;
            most.set(most.get().max(outcome.visits));
            mistakable.set(mistakable.get() + outcome.mistakable);
            Ok(())
        });
        if std::env::var_os("RAMTRAIL_MODEL_JOURNAL").is_some() {
            println!("{}", journal.borrow().join("\n"));
        }
        match result {
            Ok(()) => {}
            Err(TestError::Abort(reason)) => panic!("seed {seed}: no run could be drawn: {reason}"),
            Err(TestError::Fail(reason, smallest)) => {
                let mut journal = Vec::new();
                // It failed a moment ago, and nothing in it depends on chance.
                let again = play(&smallest, &mut journal);
                panic!(
                    "seed {seed}: {reason}\nreplay: RAMTRAIL_MODEL_SEED={seed} cargo test --lib {}\nthe smallest run that fails \
                     ({again:?}): {smallest:#?}\n--- its journal\n{}",
                    S::TEST,
                    journal.join("\n")
                );
            }
        }
    }
    println!(
        "{}: {runs} runs; at most {} visits to rest; {} times what others made could not be told from ours",
        S::TEST,
        most.get(),
        mistakable.get()
    );
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: 1,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

#[test]
fn a_project_comes_to_rest_as_wanted_and_stays_so() {
    check::<containers::Projects>();
}

#[test]
fn a_log_store_comes_to_rest_as_wanted_and_stays_so() {
    check::<containers::LogStores>();
}

#[test]
fn a_trail_comes_to_rest_as_wanted_and_stays_so() {
    check::<trail::Trails>();
}
