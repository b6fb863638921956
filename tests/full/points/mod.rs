//! Runs enumerated points side by side: every point has an id, can be run alone, and a failing one says how.
#![allow(clippy::unwrap_used, dead_code)] // each test program uses its own part

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
    let seconds = Mutex::new(Vec::new());
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
                    seconds.lock().unwrap().push((took, point.id.clone()));
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
    let mut seconds = seconds.into_inner().unwrap();
    seconds.sort();
    let total: Duration = seconds.iter().map(|(took, _)| *took).sum();
    let slowest = seconds
        .last()
        .map(|(took, id)| format!("{id} {:.0} s", took.as_secs_f64()));
    let failures = failures.into_inner().unwrap();
    eprintln!(
        "{test}: {} of {} points passed ({all} enumerated) in {:.0} s; {:.0} s one by one, slowest {}",
        chosen.len() - failures.len(),
        chosen.len(),
        start.elapsed().as_secs_f64(),
        total.as_secs_f64(),
        slowest.unwrap_or_default()
    );
    let told: Vec<String> = failures
        .iter()
        .map(|(id, words)| {
            format!("=== {test} {id}\nreplay: RAMTRAIL_POINT='{id}' cargo test --test {program} {test} -- --nocapture\n{words}")
        })
        .collect();
    assert!(
        told.is_empty(),
        "{} of {} points failed\n{}",
        told.len(),
        chosen.len(),
        told.join("\n")
    );
}
