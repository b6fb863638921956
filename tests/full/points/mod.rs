//! Runs enumerated points side by side: every point has an id, can be run alone, and a failing one says how.
#![allow(clippy::unwrap_used, dead_code)] // each test program uses its own part

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A point: its id and what it does. It fails by a panic.
pub struct Point {
    /// Names the point in output and in `RAMTRAIL_POINT`.
    pub id: String,
    run: Box<dyn Fn() + Send + Sync>,
}

impl Point {
    /// A point.
    pub fn new(id: impl Into<String>, run: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            id: id.into(),
            run: Box::new(run),
        }
    }
}

/// Worlds at a time; they wait far more than they work. `RAMTRAIL_WORLDS` takes another number.
fn worlds() -> usize {
    std::env::var("RAMTRAIL_WORLDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(6)
}

/// The one point that was asked for, if any.
pub fn asked_for() -> Option<String> {
    std::env::var("RAMTRAIL_POINT").ok().filter(|id| !id.is_empty())
}

fn words(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no words".to_owned())
}

/// Runs cases of one kind in worlds that are used again as long as nothing fails in them: a world costs more than a case.
/// `last` is asked of each world in the end.
pub fn run_in_worlds<C: Sync, W>(
    program: &str,
    test: &str,
    cases: Vec<(String, C)>,
    make: impl Fn() -> W + Sync,
    case: impl Fn(&W, &C) + Sync,
    last: impl Fn(&W) + Sync,
) {
    let all = cases.len();
    let chosen: Vec<(String, C)> = match asked_for() {
        Some(id) => cases.into_iter().filter(|(found, _)| *found == id).collect(),
        None => cases,
    };
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let start = Instant::now();
    let last = &last;
    let work = || {
        let mut world: Option<W> = None;
        let mut seen = Vec::new();
        let finish = |world: Option<W>, seen: &[String]| {
            let Some(world) = world else { return };
            let outcome = catch_unwind(AssertUnwindSafe(move || last(&world)));
            if let Err(payload) = outcome {
                let words = format!("after {seen:?}: {}", words(&*payload));
                failures
                    .lock()
                    .unwrap()
                    .push((seen.last().cloned().unwrap_or_default(), words));
            }
        };
        while let Some((id, point)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            let given = world.take();
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let world = given.unwrap_or_else(&make);
                case(&world, point);
                world
            }));
            let mark = if outcome.is_ok() { "passed" } else { "FAILED" };
            eprintln!("{mark} {test} {id} in {:.1} s", began.elapsed().as_secs_f64());
            seen.push(id.clone());
            match outcome {
                Ok(used) => world = Some(used),
                Err(payload) => {
                    seen.clear();
                    failures.lock().unwrap().push((id.clone(), words(&*payload)));
                }
            }
            if seen.len() >= CASES_IN_A_WORLD {
                finish(world.take(), &seen);
                seen.clear();
            }
        }
        finish(world.take(), &seen);
    };
    std::thread::scope(|scope| {
        for _ in 0..worlds().min(chosen.len()) {
            scope.spawn(work);
        }
    });
    tell(
        program,
        test,
        all,
        chosen.len(),
        start,
        &failures.into_inner().unwrap(),
    );
}

/// The emulator's stores grow with a world's age, and with them its searches.
const CASES_IN_A_WORLD: usize = 6;

fn tell(program: &str, test: &str, all: usize, chosen: usize, start: Instant, failures: &[(String, String)]) {
    eprintln!(
        "{test}: {} of {chosen} points passed ({all} enumerated) in {:.0} s",
        chosen.saturating_sub(failures.len()),
        start.elapsed().as_secs_f64(),
    );
    // A line for each point in the form of the test runner's own, so that whoever reads only those knows which one it was.
    for (id, _) in failures {
        eprintln!("test {test}::{id} ... FAILED");
    }
    let told: Vec<String> = failures
        .iter()
        .map(|(id, words)| {
            format!("=== {test} {id}\nreplay: RAMTRAIL_POINT='{id}' cargo test --test {program} {test} -- --nocapture\n{words}")
        })
        .collect();
    // Reports are long: what matters most comes last, where it is found.
    let short: Vec<String> = failures
        .iter()
        .map(|(id, words)| {
            let first: String = words.lines().take(2).collect::<Vec<_>>().join(" ");
            format!("{id}: {}", first.chars().take(400).collect::<String>())
        })
        .collect();
    assert!(
        told.is_empty(),
        "{}\n{} of {chosen} points failed\n{}",
        told.join("\n"),
        told.len(),
        short.join("\n")
    );
}

/// Runs all points of a test, or the one of `RAMTRAIL_POINT` if this test has it, and fails with every failure.
pub fn run(program: &str, test: &str, points: Vec<Point>) {
    let all = points.len();
    let mut ids: Vec<&str> = points.iter().map(|point| point.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "every point has an id of its own");
    let chosen: Vec<Point> = match asked_for() {
        Some(id) => points.into_iter().filter(|point| point.id == id).collect(),
        None => points,
    };
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..worlds().min(chosen.len()) {
            scope.spawn(|| {
                while let Some(point) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let outcome = catch_unwind(AssertUnwindSafe(|| (point.run)()));
                    let took = began.elapsed();
                    let mark = if outcome.is_ok() { "passed" } else { "FAILED" };
                    eprintln!("{mark} {test} {} in {:.1} s", point.id, took.as_secs_f64());
                    if let Err(payload) = outcome {
                        failures
                            .lock()
                            .unwrap()
                            .push((point.id.clone(), words(&*payload)));
                    }
                }
            });
        }
    });
    tell(
        program,
        test,
        all,
        chosen.len(),
        start,
        &failures.into_inner().unwrap(),
    );
}
