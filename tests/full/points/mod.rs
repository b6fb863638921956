//! Owns the running of enumerated points: side by side, each alone on demand, each failure with its reason and the command that
//! replays it.
//!
//! Knows nothing of clouds or operators. `RAMTRAIL_POINT` picks one point by its id, `<id>,<id>` several, `<prefix>/` all that begin
//! so; `RAMTRAIL_WORLDS` says how many run at a time.
#![allow(clippy::unwrap_used, dead_code)] // each test program uses its own part

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Worlds at a time, over all tests of a program: they wait more than they work.
const WORLDS: usize = 12;
/// The emulator's stores grow with a world's age, and with them its searches.
const CASES_IN_A_WORLD: usize = 6;

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

    /// Whether the last part of its id is this.
    pub fn is_called(&self, name: &str) -> bool {
        self.id.rsplit('/').next() == Some(name)
    }
}

/// A point that failed.
pub struct Failed {
    /// The point.
    pub id: String,
    /// What `RAMTRAIL_POINT` is to be for the same again.
    pub replay: String,
    /// What was seen; the first lines say most.
    pub words: String,
}

impl Failed {
    fn alone(id: &str, payload: &(dyn Any + Send)) -> Self {
        Self {
            id: id.to_owned(),
            replay: id.to_owned(),
            words: words(payload),
        }
    }
}

/// What a panic said.
pub fn words(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}

/// Worlds at a time: [`WORLDS`] or what was asked for.
pub fn worlds() -> usize {
    std::env::var("RAMTRAIL_WORLDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|worlds| *worlds > 0)
        .unwrap_or(WORLDS)
}

/// The points that were asked for, if any were.
pub fn asked_for() -> Option<String> {
    std::env::var("RAMTRAIL_POINT").ok().filter(|id| !id.is_empty())
}

/// Whether a point is among those that were asked for.
pub fn is_asked_for(id: &str, asked: &str) -> bool {
    asked
        .split(',')
        .any(|one| id == one || (one.ends_with('/') && id.starts_with(one)))
}

/// Places for worlds.
struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Places {
    fn shared() -> &'static Self {
        static PLACES: OnceLock<Places> = OnceLock::new();
        PLACES.get_or_init(|| Self {
            free: Mutex::new(worlds()),
            freed: Condvar::new(),
        })
    }

    fn within<T>(&self, run: impl FnOnce() -> T) -> T {
        let free = self.free.lock().unwrap();
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap();
        *free -= 1;
        drop(free);
        let result = run();
        *self.free.lock().unwrap() += 1;
        self.freed.notify_one();
        result
    }
}

/// The points of one test.
pub struct Matrix<'a> {
    /// The test program, as `cargo test --test` takes it.
    pub program: &'a str,
    /// The test function.
    pub test: &'a str,
    /// First part of the id of each point, empty where they have none in common: whoever asks for one that begins so and is not
    /// there is told.
    pub prefix: &'a str,
    /// Whether a share of the points runs where `cargo xtask test --share` says so.
    pub is_shared: bool,
}

impl Matrix<'_> {
    /// Runs all points, or those of `RAMTRAIL_POINT` that this test has, and fails with every failure.
    pub fn run(&self, points: Vec<Point>) {
        let start = Instant::now();
        let all = points.len();
        let points = self.chosen(points, |point| &point.id);
        let (next, seen) = (AtomicUsize::new(0), Mutex::new(Seen::default()));
        std::thread::scope(|scope| {
            for _ in 0..worlds().min(points.len()) {
                scope.spawn(|| {
                    while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let (outcome, took) = Places::shared().within(|| {
                            let began = Instant::now();
                            let outcome = catch_unwind(AssertUnwindSafe(|| (point.run)()));
                            (outcome, began.elapsed())
                        });
                        self.ended(&seen, &point.id, took, outcome.err().as_deref());
                    }
                });
            }
        });
        let seen = seen.into_inner().unwrap();
        self.tell(all, points.len(), start, seen.times, &seen.failures);
    }

    /// Runs cases of one kind in worlds that are used again as long as nothing fails in them: a world costs more than a case.
    /// `last` is asked of each world in the end.
    pub fn run_in_worlds<C: Sync, W>(
        &self,
        cases: Vec<(String, C)>,
        make: impl Fn() -> W + Sync,
        case: impl Fn(&W, &C) + Sync,
        last: impl Fn(W) + Sync,
    ) {
        let start = Instant::now();
        let all = cases.len();
        let cases = self.chosen(cases, |(id, _)| id);
        let (next, seen) = (AtomicUsize::new(0), Mutex::new(Seen::default()));
        // The cases of one world; whether there may be more.
        let live = || {
            let mut world: Option<W> = None;
            let mut lived: Vec<&str> = Vec::new();
            while lived.len() < CASES_IN_A_WORLD
                && let Some((id, given)) = cases.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let began = Instant::now();
                let used = world.take();
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    let world = used.unwrap_or_else(&make);
                    case(&world, given);
                    world
                }));
                let took = began.elapsed();
                lived.push(id);
                match outcome {
                    Ok(used) => {
                        world = Some(used);
                        self.ended(&seen, id, took, None);
                    }
                    Err(payload) => {
                        self.ended(&seen, id, took, Some(&*payload));
                        return true;
                    }
                }
            }
            let Some(world) = world else { return false };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| last(world))) {
                let id = lived.last().copied().unwrap_or_default();
                seen.lock().unwrap().failures.push(Failed {
                    id: id.to_owned(),
                    replay: lived.join(","),
                    words: format!("after the last case: {}", words(&*payload)),
                });
            }
            true
        };
        std::thread::scope(|scope| {
            for _ in 0..worlds().min(cases.len()) {
                scope.spawn(|| while Places::shared().within(live) {});
            }
        });
        let seen = seen.into_inner().unwrap();
        self.tell(all, cases.len(), start, seen.times, &seen.failures);
    }

    fn chosen<T>(&self, points: Vec<T>, id: impl Fn(&T) -> &String) -> Vec<T> {
        let mut ids: Vec<&String> = points.iter().map(&id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), points.len(), "every point has an id of its own");
        let begins = |id: &str| id.split('/').next() == Some(self.prefix);
        assert!(self.prefix.is_empty() || ids.iter().all(|id| begins(id)));
        let asked = asked_for();
        let is_chosen = |point: &T| match &asked {
            Some(asked) => is_asked_for(id(point), asked),
            None => !self.is_shared || xtask::share::runs(id(point)).unwrap(),
        };
        let chosen: Vec<T> = points.into_iter().filter(is_chosen).collect();
        if let Some(asked) = asked
            && chosen.is_empty()
        {
            assert!(!asked.split(',').any(begins), "there is no point {asked}");
            eprintln!("{} has no point called {asked}", self.test);
        }
        chosen
    }

    fn ended(&self, seen: &Mutex<Seen>, id: &str, took: Duration, panic: Option<&(dyn Any + Send)>) {
        let mark = if panic.is_none() { "passed" } else { "FAILED" };
        eprintln!("{mark} {} {id} in {:.1} s", self.test, took.as_secs_f64());
        let mut seen = seen.lock().unwrap();
        seen.times.push((took, id.to_owned()));
        seen.failures
            .extend(panic.map(|payload| Failed::alone(id, payload)));
    }

    /// Says how all points went, in the words `cargo xtask test` counts, and fails if one failed.
    pub fn tell(
        &self,
        all: usize,
        chosen: usize,
        start: Instant,
        mut times: Vec<(Duration, String)>,
        failures: &[Failed],
    ) {
        let Self { program, test, .. } = self;
        times.sort_unstable_by(|a, b| b.cmp(a));
        let slowest: Vec<String> = times
            .iter()
            .take(3)
            .map(|(took, id)| format!("{id} {:.0} s", took.as_secs_f64()))
            .collect();
        eprintln!(
            "{test}: {} of {chosen} points passed ({all} enumerated) in {:.0} s, {:.0} s one by one; slowest: {}",
            chosen.saturating_sub(failures.len()),
            start.elapsed().as_secs_f64(),
            times.iter().map(|(took, _)| took.as_secs_f64()).sum::<f64>(),
            slowest.join(", ")
        );
        // A line for each point in the form of the test runner's own, so that whoever reads only those knows which one it was,
        // and one with the reason: the runner's table repeats both.
        for Failed { id, words, .. } in failures {
            let first: String = words.lines().take(3).collect::<Vec<_>>().join(" ");
            eprintln!("test {test}::{id} ... FAILED");
            eprintln!(
                "why {test}::{id}: {}",
                first.chars().take(400).collect::<String>()
            );
        }
        let told: Vec<String> = failures
            .iter()
            .map(|Failed { id, replay, words }| {
                format!("=== {test} {id}\nreplay: RAMTRAIL_POINT='{replay}' cargo test --test {program} {test} -- --nocapture\n{words}")
            })
            .collect();
        assert!(
            told.is_empty(),
            "{}\n{} of {chosen} points failed",
            told.join("\n"),
            told.len(),
        );
    }
}

#[derive(Default)]
struct Seen {
    times: Vec<(Duration, String)>,
    failures: Vec<Failed>,
}
