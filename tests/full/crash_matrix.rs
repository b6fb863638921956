//! The operator is killed at every write that it makes, to the cloud and to Kubernetes, while the seed's stack is created, updated
//! and deleted, and started again: the end is that of a run nobody disturbed, each name is created once, nothing is reduced.
//!
//! The points come from undisturbed reference runs, not from a list. `RAMTRAIL_POINT=<id>` runs one alone, `<id>,<id>` several in
//! one world, `<prefix>/` all that begin so; `RAMTRAIL_WORLDS` says how many worlds there are at a time.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../trail_support/mod.rs"]
mod trail_support;

#[path = "points/mod.rs"]
mod points;

#[path = "crash/kill.rs"]
mod kill;
#[path = "crash/life.rs"]
mod life;
#[path = "crash/record.rs"]
mod record;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kill::{Kill, Side};
use life::{Failure, Life, Profile, Stage, Walk};
use points::{Failed, Matrix, asked_for, is_asked_for, words, worlds};
use record::{Record, Write};

/// How often a write of the reference run may fail to come before it is given up: what waits for the clock varies.
const ATTEMPTS: u32 = 6;
/// Of so many points one may be given up. How many writes of a status or Events a stage has depends on what is seen together, and
/// on a busy machine the references may have had one that never comes again. A call to the cloud always comes.
const GIVEN_UP_OF: usize = 50;

type References = BTreeMap<(Profile, Stage), Vec<Record>>;

/// A kill, where it belongs, and how often it was tried in vain.
#[derive(Clone, Debug)]
struct Point {
    profile: Profile,
    stage: Stage,
    kill: Kill,
    attempts: u32,
}

impl Point {
    /// Whether a stage may go by without the write.
    fn may_stay_away(&self) -> bool {
        matches!(self.kill.write, Write::Kubernetes { .. })
    }

    fn id(&self) -> String {
        format!("{}/{}/{}", self.stage, self.kill, self.profile)
    }
}

/// What one world goes through: at most one kill in each stage.
struct Trip {
    profile: Profile,
    life: Life,
    points: Vec<Point>,
}

#[test]
fn a_kill_at_any_write_changes_nothing_in_the_end() {
    let chosen = asked_for();
    let start = Instant::now();
    let references = references(chosen.as_deref());
    let all = enumerate(&references);
    let counted = count(&all);
    eprintln!(
        "crash matrix: {} points from {} references in {:.0} s: {counted:?}",
        all.len(),
        references.values().map(Vec::len).sum::<usize>(),
        start.elapsed().as_secs_f64()
    );
    if chosen.is_none() {
        for (group, least) in LEAST {
            let found = counted.get(*group).copied().unwrap_or_default();
            assert!(found >= *least, "{group}: {found} points, {least} expected");
        }
    }
    let total = all.len();
    let points: Vec<Point> = all
        .into_iter()
        .filter(|point| match &chosen {
            Some(asked) => is_asked_for(&point.id(), asked),
            None => xtask::share::runs(&point.id()).unwrap(),
        })
        .collect();
    assert!(!points.is_empty(), "no point is called {chosen:?}");
    let chosen = points.len();
    let mut outcome = run(plan(points), &references);
    eprintln!(
        "crash matrix: {} points came again, {} given up: {:?}",
        outcome.again,
        outcome.given_up.len(),
        outcome.given_up
    );
    let too_many = outcome.given_up.len() > chosen / GIVEN_UP_OF;
    if too_many {
        outcome.failures.extend(outcome.given_up.iter().map(|id| Failed {
            id: id.clone(),
            replay: id.clone(),
            words: format!("never reached in {ATTEMPTS} runs, and too many are not"),
        }));
    }
    let tried = if too_many {
        chosen
    } else {
        chosen - outcome.given_up.len()
    };
    let matrix = Matrix {
        program: "crash_matrix",
        test: "a_kill_at_any_write_changes_nothing_in_the_end",
        prefix: "",
        is_shared: true,
    };
    matrix.tell(total, tried, start, outcome.times, &outcome.failures);
}

/// So many points there are at least of a stage and profile: fewer is a hole in the enumeration. The calls to the cloud are the same
/// in every reference run; how many writes of a status there are depends on what is seen together.
const LEAST: &[(&str, usize)] = &[
    ("create/documented", 64),
    ("create/hostile", 80),
    ("update/documented", 24),
    ("update/hostile", 24),
    ("narrow/documented", 16),
    ("narrow/hostile", 16),
    ("widen/documented", 14),
    ("widen/hostile", 14),
    ("delete/documented", 32),
    ("delete/hostile", 32),
    ("retain/documented", 24),
    ("retain/hostile", 24),
    ("delete-bare/documented", 28),
    ("delete-bare/hostile", 28),
];

fn count(points: &[Point]) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for point in points {
        *counted
            .entry(format!("{}/{}", point.stage, point.profile))
            .or_default() += 1;
    }
    counted
}

/// Lives of every sort that nobody disturbs, each twice where all points run: what differs between them is no reference.
fn references(chosen: Option<&str>) -> References {
    let mut jobs = Vec::new();
    for profile in Profile::ALL {
        for life in Life::ALL {
            let wanted = chosen.is_none_or(|ids| {
                ids.split(',').any(|id| {
                    (id.ends_with('/') || id.ends_with(&profile.to_string()))
                        && life
                            .stages()
                            .iter()
                            .any(|stage| id.starts_with(&format!("{stage}/")))
                })
            });
            if wanted {
                // One point alone is compared with one run.
                let runs = if chosen.is_some() { 1 } else { 2 };
                jobs.extend(std::iter::repeat_n((profile, life), runs));
            }
        }
    }
    let (jobs, done) = (Mutex::new(jobs), Mutex::new(References::new()));
    std::thread::scope(|scope| {
        for _ in 0..worlds() {
            scope.spawn(|| {
                loop {
                    let Some((profile, life)) = jobs.lock().unwrap().pop() else {
                        return;
                    };
                    let mut walk = Walk::begin(profile, life);
                    for stage in life.stages() {
                        let record = match walk.pass(*stage, None, &[]) {
                            Ok(record) => record,
                            Err(failure) => panic!("{failure:?}"),
                        };
                        let mut done = done.lock().unwrap();
                        done.entry((profile, *stage)).or_default().push(record);
                    }
                }
            });
        }
    });
    let references = done.into_inner().unwrap();
    for ((profile, stage), records) in &references {
        let first = &records[0];
        for other in &records[1..] {
            let mut differ = record::differences(&first.end, &other.end);
            for (what, one, two) in [
                ("creates", &first.creates, &other.creates),
                ("changes", &first.changes, &other.changes),
                ("reductions", &first.reductions, &other.reductions),
            ] {
                if one != two {
                    differ.push(format!("{what}: {one:?}, {two:?}"));
                }
            }
            assert!(
                differ.is_empty(),
                "two undisturbed runs of {stage}/{profile} differ\n{}\n{}",
                differ.join("\n"),
                record::side_by_side(("one", &first.lines), ("the other", &other.lines))
            );
        }
        let reduces = !first.reductions.is_empty();
        assert!(
            stage.may_reduce() || !reduces,
            "{stage}/{profile}: {:?}",
            first.reductions
        );
    }
    references
}

/// Every write that all references of a stage have, on every side.
fn enumerate(references: &References) -> Vec<Point> {
    let mut points = Vec::new();
    for ((profile, stage), records) in references {
        if *stage == Stage::CreateBare {
            continue;
        }
        for write in records[0].writes.keys() {
            let least = records
                .iter()
                .map(|record| record.writes.get(write).copied().unwrap_or_default())
                .min()
                .unwrap_or_default();
            let sides: &[Side] = match write {
                Write::Cloud { .. } => &Side::CLOUD,
                Write::Kubernetes { .. } => &Side::KUBERNETES,
            };
            for nth in 1..=least {
                points.extend(sides.iter().map(|side| Point {
                    profile: *profile,
                    stage: *stage,
                    kill: Kill {
                        write: write.clone(),
                        nth,
                        side: *side,
                    },
                    attempts: 0,
                }));
            }
        }
    }
    points
}

/// Puts points of different stages into one world, as many as there are.
fn plan(points: Vec<Point>) -> VecDeque<Trip> {
    let mut queues: BTreeMap<(Profile, Stage), VecDeque<Point>> = BTreeMap::new();
    for point in points {
        queues
            .entry((point.profile, point.stage))
            .or_default()
            .push_back(point);
    }
    let mut trips = VecDeque::new();
    loop {
        let longest = queues
            .iter()
            .max_by_key(|(_, queue)| queue.len())
            .filter(|(_, queue)| !queue.is_empty())
            .map(|((profile, _), _)| *profile);
        let Some(profile) = longest else {
            return trips;
        };
        let waiting = |life: Life| {
            let last = life.stages().last().copied().unwrap();
            let here = |stage: Stage| queues.get(&(profile, stage)).map_or(0, VecDeque::len);
            let any = life.stages().iter().any(|stage| here(*stage) > 0);
            (any, here(last))
        };
        let life = Life::ALL
            .into_iter()
            .filter(|life| waiting(*life).0)
            .max_by_key(|life| waiting(*life).1)
            .unwrap();
        let points = life
            .stages()
            .iter()
            .filter_map(|stage| queues.get_mut(&(profile, *stage))?.pop_front())
            .collect();
        trips.push_back(Trip {
            profile,
            life,
            points,
        });
    }
}

#[derive(Default)]
struct Outcome {
    again: usize,
    given_up: Vec<String>,
    times: Vec<(Duration, String)>,
    failures: Vec<Failed>,
}

fn run(trips: VecDeque<Trip>, references: &References) -> Outcome {
    let threads = worlds().min(trips.len());
    let (trips, outcome) = (Mutex::new(trips), Mutex::new(Outcome::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(trip) = trips.lock().unwrap().pop_front() else {
                        return;
                    };
                    if let Some(rest) = travel(trip, references, &outcome) {
                        trips.lock().unwrap().push_back(rest);
                    }
                }
            });
        }
    });
    outcome.into_inner().unwrap()
}

/// Goes through the stages until nothing is left or something went wrong; gives what was not tried.
fn travel(trip: Trip, references: &References, outcome: &Mutex<Outcome>) -> Option<Trip> {
    let Trip {
        profile,
        life,
        points,
    } = trip;
    let mut left: VecDeque<Point> = points.into();
    let mut before: Vec<String> = Vec::new();
    let began = catch_unwind(|| Walk::begin(profile, life));
    let mut walk = match began {
        Ok(walk) => walk,
        Err(payload) => {
            let told = format!("no world: {}", words(&*payload));
            let all = left.iter().map(|point| Failed {
                id: point.id(),
                replay: point.id(),
                words: told.clone(),
            });
            outcome.lock().unwrap().failures.extend(all);
            return None;
        }
    };
    for stage in life.stages() {
        if left.is_empty() {
            break;
        }
        let point = left
            .front()
            .is_some_and(|point| point.stage == *stage)
            .then(|| left.pop_front())
            .flatten();
        let expected = &references[&(profile, *stage)];
        let start = Instant::now();
        let kill = point.as_ref().map(|point| &point.kill);
        let passed = catch_unwind(AssertUnwindSafe(|| walk.pass(*stage, kill, expected)));
        let took = start.elapsed();
        let passed = passed.unwrap_or_else(|payload| Err(Failure::Wrong(words(&*payload))));
        let mut outcome = outcome.lock().unwrap();
        let id = point
            .as_ref()
            .map_or_else(|| format!("{stage}/undisturbed/{profile}"), Point::id);
        match passed {
            Ok(_) => {
                if point.is_some() {
                    outcome.times.push((took, id.clone()));
                    before.push(id.clone());
                    eprintln!("passed {id} in {:.1} s", took.as_secs_f64());
                }
            }
            Err(Failure::NotReached) if point.as_ref().is_some_and(|point| point.attempts + 1 < ATTEMPTS) => {
                outcome.again += 1;
                let mut point = point?;
                point.attempts += 1;
                left.push_front(point);
                return Some(Trip {
                    profile,
                    life,
                    points: left.into(),
                });
            }
            Err(Failure::NotReached) if point.as_ref().is_some_and(Point::may_stay_away) => {
                outcome.given_up.push(id);
                let points: Vec<Point> = left.into();
                return (!points.is_empty()).then_some(Trip {
                    profile,
                    life,
                    points,
                });
            }
            Err(failure) => {
                let told = match failure {
                    Failure::NotReached => format!("never reached in {ATTEMPTS} runs"),
                    Failure::Wrong(told) => told,
                };
                before.push(id.clone());
                eprintln!("FAILED {id}\n{told}");
                outcome.failures.push(Failed {
                    id,
                    replay: before.join(","),
                    words: told,
                });
                let points: Vec<Point> = left.into();
                return (!points.is_empty()).then_some(Trip {
                    profile,
                    life,
                    points,
                });
            }
        }
    }
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| walk.finish())) {
        outcome.lock().unwrap().failures.push(Failed {
            id: before.last().cloned().unwrap_or_default(),
            replay: before.join(","),
            words: format!("after the last stage: {}", words(&*payload)),
        });
    }
    None
}
