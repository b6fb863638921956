//! Owns the running of a matrix: its points side by side, each alone on demand, each failure with the command that replays it.
//!
//! Knows nothing of clouds or operators. `RAMTRAIL_POINT` picks one point by its id, or all below a prefix that ends with
//! `/`; `RAMTRAIL_WORLDS` says how many run at a time.

use std::any::Any;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Worlds at a time, over all matrices of the program: they wait more than they work.
const WORLDS: usize = 12;

/// One cell of a matrix.
pub struct Point {
    id: String,
    run: Box<dyn Fn() + Send + Sync>,
}

impl Point {
    /// A cell; it fails by panicking.
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
        let mut free = self
            .freed
            .wait_while(self.free.lock().unwrap(), |free| *free == 0)
            .unwrap();
        *free -= 1;
        drop(free);
        let result = run();
        *self.free.lock().unwrap() += 1;
        self.freed.notify_one();
        result
    }
}

fn worlds() -> usize {
    let chosen = std::env::var("RAMTRAIL_WORLDS").ok();
    chosen
        .and_then(|text| text.parse().ok())
        .filter(|worlds| *worlds > 0)
        .unwrap_or(WORLDS)
}

/// The point, or the beginning of points, that was asked for.
fn chosen() -> Option<String> {
    std::env::var("RAMTRAIL_POINT").ok().filter(|id| !id.is_empty())
}

fn is_chosen(id: &str, chosen: &str) -> bool {
    id == chosen || (chosen.ends_with('/') && id.starts_with(chosen))
}

/// Runs the points of a matrix. Its name is the first part of the id of each.
///
/// Fails with the ids of all points that failed, and if a point of this matrix was asked for that does not exist.
pub fn run(matrix: &str, mut points: Vec<Point>) {
    let mut ids: Vec<&str> = points.iter().map(|point| point.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), points.len(), "each point has an id of its own");
    assert!(ids.iter().all(|id| id.split('/').next() == Some(matrix)));
    let enumerated = points.len();
    if let Some(chosen) = chosen() {
        if chosen.split('/').next() != Some(matrix) {
            return;
        }
        points.retain(|point| is_chosen(&point.id, &chosen));
        assert!(!points.is_empty(), "there is no point {chosen}");
    } else {
        points.retain(|point| xtask::share::runs(&point.id).unwrap());
    }
    let started = Instant::now();
    let (next, failed, times) = (AtomicUsize::new(0), Mutex::new(vec![]), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        for _ in 0..worlds().min(points.len()) {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (outcome, took) = Places::shared().within(|| {
                        let began = Instant::now();
                        (catch_unwind(AssertUnwindSafe(&point.run)), began.elapsed())
                    });
                    times.lock().unwrap().push((took, point.id.clone()));
                    if let Err(panic) = outcome {
                        // As the test runner says it, for whoever reads only such lines.
                        eprintln!("test {} ... FAILED", point.id);
                        failed
                            .lock()
                            .unwrap()
                            .push(format!("{}\n{}", replay(&point.id), words(&*panic)));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    tell(
        matrix,
        (points.len(), enumerated),
        failed.len(),
        started.elapsed(),
        times.into_inner().unwrap(),
    );
    assert!(
        failed.is_empty(),
        "{} of {} points failed\n\n{}",
        failed.len(),
        points.len(),
        failed.join("\n\n")
    );
}

fn replay(id: &str) -> String {
    format!("=== {id}\nreplay: RAMTRAIL_POINT={id} cargo test --test lifecycle_matrix")
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

/// The figures, also of a run that passed: the test harness holds back what is printed the usual way.
fn tell(
    matrix: &str,
    (points, enumerated): (usize, usize),
    failed: usize,
    took: Duration,
    mut times: Vec<(Duration, String)>,
) {
    times.sort_unstable_by(|a, b| b.cmp(a));
    let sum: f64 = times.iter().map(|(took, _)| took.as_secs_f64()).sum();
    let slowest: Vec<String> = times
        .iter()
        .take(5)
        .map(|(took, id)| format!("{id} {:.0} s", took.as_secs_f64()))
        .collect();
    writeln!(
        std::io::stderr(),
        "{matrix}: {} of {points} points passed ({enumerated} enumerated) in {:.0} s, {sum:.0} s one by one; slowest: {}",
        points - failed,
        took.as_secs_f64(),
        slowest.join(", ")
    )
    .ok();
}
