//! Owns the stages that a stack goes through, how each begins, when it has come to rest, and what one world goes through with a
//! kill in some of its stages.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kill::Kill;
use crate::record::{Record, Since, differences, end, side_by_side};
use crate::support::{Row, World, project_spec, store_spec};
use crate::trail_support::{PROJECT, STORE, TRAIL, copy_to, deliver, prepare, trail_spec};

/// Bounds a failure only: longer than a visit may take before the operator gives it up by itself.
const DEADLINE: Duration = Duration::from_secs(400);
/// Nothing written for so long is rest: longer than resyncs and retries here.
const QUIET: Duration = Duration::from_millis(3500);
/// What a stage still waits for after so long is told.
const SLOW: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(150);
/// Without news, objects are looked at again after so long: all worlds share two cores and one API server.
const LOOK: Duration = Duration::from_secs(2);
/// Longer than a poll, so that what one jump of the clock brought is seen before the next.
const NUDGE: Duration = Duration::from_secs(3);

const ALL: [(&str, &str); 3] = [
    ("AuditProject", PROJECT),
    ("AuditLogStore", STORE),
    ("RamTrail", TRAIL),
];

/// What is asked of the operator.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// The seed's stack is applied, then the operator starts.
    Create,
    /// Specs change: description, tags, retention up, more services.
    Update,
    /// The trail is to record less and then nothing: only writes, switched off, its store kept shorter.
    Narrow,
    /// All of that is taken back.
    Widen,
    /// All is deleted, with deletionPolicy Delete. The project stays, for ActionTrail's store lies in it.
    Delete,
    /// All is deleted, with deletionPolicy Retain.
    Retain,
    /// Project and store are created, with nothing else.
    CreateBare,
    /// They are deleted: the project goes too.
    DeleteBare,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Narrow => "narrow",
            Self::Widen => "widen",
            Self::Delete => "delete",
            Self::Retain => "retain",
            Self::CreateBare => "create-bare",
            Self::DeleteBare => "delete-bare",
        })
    }
}

impl Stage {
    /// The user asks for less protection or none.
    pub fn may_reduce(self) -> bool {
        !matches!(self, Self::Create | Self::CreateBare | Self::Update | Self::Widen)
    }

    /// In the end nothing is there any more.
    fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::Retain | Self::DeleteBare)
    }
}

/// The stages of one world.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Life {
    /// Changes, and ends with deletionPolicy Delete.
    Deleted,
    /// Is narrowed and widened, and does not end.
    Turned,
    /// Ends with deletionPolicy Retain.
    Retained,
    /// Without a trail.
    Bare,
}

impl Life {
    /// All.
    pub const ALL: [Self; 4] = [Self::Deleted, Self::Turned, Self::Retained, Self::Bare];

    /// In order.
    pub fn stages(self) -> &'static [Stage] {
        match self {
            Self::Deleted => &[Stage::Create, Stage::Update, Stage::Delete],
            Self::Turned => &[Stage::Create, Stage::Narrow, Stage::Widen],
            Self::Retained => &[Stage::Create, Stage::Retain],
            Self::Bare => &[Stage::CreateBare, Stage::DeleteBare],
        }
    }

    fn policy(self) -> &'static str {
        match self {
            Self::Deleted | Self::Turned | Self::Bare => "Delete",
            Self::Retained => "Retain",
        }
    }

    fn objects(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Deleted | Self::Turned | Self::Retained => &ALL,
            Self::Bare => &ALL[..2],
        }
    }
}

/// The emulator's answers to open questions.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Profile {
    /// What the documents suggest.
    Documented,
    /// What hurts most.
    Hostile,
}

impl Profile {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Documented, Self::Hostile];
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Documented => "documented",
            Self::Hostile => "hostile",
        })
    }
}

/// Why a stage is no proof.
#[derive(Clone, Debug)]
pub enum Failure {
    /// It came to rest without the write at which the operator was to be killed.
    NotReached,
    /// What went wrong, with both journals.
    Wrong(String),
}

/// A world on its way through a life.
pub struct Walk {
    world: World,
    life: Life,
    looked: Cell<Option<Look>>,
}

/// What was seen of the objects in this stage, and when.
#[derive(Clone, Copy)]
struct Look {
    /// Only the operator writes to the objects while a stage is waited for, and it does so through the proxy.
    news: usize,
    at: Instant,
    done: bool,
}

impl Walk {
    /// A world in which nothing was asked for yet.
    pub fn begin(profile: Profile, life: Life) -> Self {
        let world = World::with_emulator("crash", &[&format!("--profile={profile}")])
            .option("--log-level=info")
            .option("--resync-interval=2s")
            .option("--poll-interval=2s")
            .option("--claim-confirmation=300ms")
            .option("--deletion-grace=5s")
            .option("--due-call-interval=5s")
            .behind_proxy();
        prepare(&world);
        Self {
            world,
            life,
            looked: Cell::new(None),
        }
    }

    /// Goes through one stage. With a kill it must end as the references did; without, it is one.
    pub fn pass(
        &mut self,
        stage: Stage,
        kill: Option<&Kill>,
        references: &[Record],
    ) -> Result<Record, Failure> {
        let since = Since::now(&self.world);
        self.looked.set(None);
        let armed = kill.map(|kill| kill.arm(&self.world));
        self.ask(stage);
        if let Some(armed) = armed {
            let mut rest = Rest::default();
            let start = Instant::now();
            while !armed.is_met(&self.world) {
                if rest.lasts(self, stage) {
                    return Err(Failure::NotReached);
                }
                if start.elapsed() > DEADLINE {
                    return Err(self.wrong("neither the point nor rest was reached", since, references));
                }
                std::thread::sleep(STEP);
            }
            armed.strike(&mut self.world);
            self.world.start();
        }
        match references.first() {
            None => self.come_to_rest(stage, since),
            Some(reference) => self.end_as(stage, since, reference, references),
        }
    }

    fn ask(&mut self, stage: Stage) {
        let policy = json!(self.life.policy());
        match stage {
            Stage::Create | Stage::CreateBare => {
                for (kind, name) in self.life.objects() {
                    let mut spec = match *kind {
                        "AuditProject" => project_spec(PROJECT),
                        "AuditLogStore" => store_spec(PROJECT, STORE, 30),
                        _ => trail_spec(&json!({"copyTo": copy_to()})),
                    };
                    spec["deletionPolicy"] = policy.clone();
                    self.world.apply(kind, name, &spec);
                }
                self.world.start();
            }
            Stage::Update => {
                let services = [
                    "Ram",
                    "Ims",
                    "Sts",
                    "AasSub",
                    "AasCustomer",
                    "ResourceManager",
                    "Kms",
                ];
                let changes = [
                    json!({"description": "changed", "tags": {"team": "audit"}}),
                    json!({"retentionDays": 90}),
                    json!({"copyTo": {"services": services}}),
                ];
                for ((kind, name), change) in self.life.objects().iter().zip(changes) {
                    self.world.patch_spec(kind, name, &change);
                }
            }
            Stage::Narrow | Stage::Widen => {
                let change = if stage == Stage::Narrow {
                    json!({"events": "Write", "logging": "Stopped", "store": {"retentionDays": 365}})
                } else {
                    json!({"events": "All", "logging": "Enabled", "store": {"retentionDays": 3650}})
                };
                self.world.patch_spec("RamTrail", TRAIL, &change);
            }
            Stage::Delete | Stage::Retain | Stage::DeleteBare => {
                for (kind, name) in self.life.objects().iter().rev() {
                    self.world.delete(kind, name);
                }
            }
        }
    }

    /// Everything that was asked for is reported as done, as far as there are news to look at.
    fn is_done(&self, stage: Stage) -> bool {
        let news = self.world.proxy().steps_of_writes();
        if let Some(known) = self.looked.get()
            && known.news == news
            && known.at.elapsed() < LOOK
        {
            return known.done;
        }
        let done = self.looks_done(stage);
        self.looked.set(Some(Look {
            news,
            at: Instant::now(),
            done,
        }));
        done
    }

    fn looks_done(&self, stage: Stage) -> bool {
        let mut settled = true;
        for (kind, name) in self.life.objects() {
            let object = self.world.object(kind, name);
            settled &= if stage.deletes() {
                object.is_none()
            } else {
                object.is_some_and(|object| {
                    let generation = json!(object.metadata.generation);
                    is_settled(&object.data["status"], &generation, stage)
                })
            };
        }
        settled
    }

    /// Lets the cloud's clock go on once all that waits is the delivery of events.
    fn nudge(&self, stage: Stage) {
        let waits = |name: &str| {
            let object = self.world.object("RamTrail", name);
            object.is_some_and(|object| {
                let status = &object.data["status"];
                condition(status, "Ready") == "True"
                    && !is_delivering(status, &json!(object.metadata.generation))
            })
        };
        if self.life != Life::Bare
            && matches!(stage, Stage::Create | Stage::Update | Stage::Widen)
            && waits(TRAIL)
        {
            deliver(&self.world);
        }
    }

    fn come_to_rest(&self, stage: Stage, since: Since) -> Result<Record, Failure> {
        let mut rest = Rest::default();
        let start = Instant::now();
        while !rest.lasts(self, stage) {
            if start.elapsed() > DEADLINE {
                return Err(self.wrong("the reference run does not come to rest", since, &[]));
            }
            std::thread::sleep(STEP);
        }
        Ok(Record::take(&self.world, since, self.life.objects()))
    }

    fn end_as(
        &self,
        stage: Stage,
        since: Since,
        reference: &Record,
        references: &[Record],
    ) -> Result<Record, Failure> {
        let start = Instant::now();
        let mut nudged = Instant::now();
        let mut told = false;
        loop {
            let done = self.is_done(stage);
            if done || (!told && start.elapsed() > SLOW) {
                let differ = differences(&reference.end, &end(&self.world, self.life.objects()));
                if done && differ.is_empty() {
                    break;
                }
                // What still differs is in the cloud, which has no news to wait for.
                std::thread::sleep(STEP * 2);
                if start.elapsed() > SLOW && !told {
                    told = true;
                    eprintln!("{stage} waits long, done {done}: {}", differ.join("; "));
                }
            }
            if start.elapsed() > DEADLINE {
                let differ = differences(&reference.end, &end(&self.world, self.life.objects()));
                let words = format!("another end than the reference's:\n{}", differ.join("\n"));
                return Err(self.wrong(&words, since, references));
            }
            if nudged.elapsed() > NUDGE {
                self.nudge(stage);
                nudged = Instant::now();
            }
            std::thread::sleep(STEP);
        }
        let record = Record::take(&self.world, since, self.life.objects());
        let judgements = [
            ("successful creates", &reference.creates, &record.creates),
            ("changing calls", &reference.changes, &record.changes),
            ("reductions", &reference.reductions, &record.reductions),
        ];
        for (what, expected, found) in judgements {
            if expected != found {
                let words = format!(
                    "other {what}:\nmissing {:?}\nsurplus {:?}",
                    without(expected, found),
                    without(found, expected)
                );
                return Err(self.wrong(&words, since, references));
            }
        }
        Ok(record)
    }

    fn wrong(&self, words: &str, since: Since, references: &[Record]) -> Failure {
        let record = Record::take(&self.world, since, self.life.objects());
        let expected = references.first().map(|reference| reference.lines.as_slice());
        Failure::Wrong(format!(
            "{words}\n{}\n{}",
            side_by_side(
                (
                    "reference: status, write, * changed",
                    expected.unwrap_or_default()
                ),
                ("found", &record.lines)
            ),
            self.world.report()
        ))
    }

    /// The last look: a secret that got out is a failure of the whole life.
    pub fn finish(&self) {
        self.world.secret_is_nowhere();
    }
}

/// What is left of a list when all of another is taken out, each as often as it is there.
fn without<'a>(list: &'a [String], taken: &[String]) -> Vec<&'a str> {
    let mut left: Vec<&str> = list.iter().map(String::as_str).collect();
    for text in taken {
        if let Some(index) = left.iter().position(|found| *found == text) {
            left.remove(index);
        }
    }
    left
}

fn condition<'a>(status: &'a Value, type_: &str) -> &'a str {
    status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == type_)
        .and_then(|condition| condition["status"].as_str())
        .unwrap_or_default()
}

/// A newer event proves it for a newer spec.
fn is_delivering(status: &Value, generation: &Value) -> bool {
    let all = status["conditions"].as_array().into_iter().flatten();
    all.into_iter()
        .filter(|condition| condition["type"] == "Delivering")
        .any(|condition| condition["status"] == "True" && condition["observedGeneration"] == *generation)
}

fn is_settled(status: &Value, generation: &Value, stage: Stage) -> bool {
    condition(status, "Ready") == "True"
        && condition(status, "Synced") == "True"
        && condition(status, "Reconciling") == "False"
        && status["observedGeneration"] == *generation
        && status["appliedGeneration"] == *generation
        && status["claim"]["confirmed"] == true
        // What is switched off delivers nothing.
        && (stage == Stage::Narrow || ["", "True"].contains(&condition(status, "Delivering")))
}

/// Rest: done, and nothing written for a while.
#[derive(Default)]
struct Rest {
    cloud: u64,
    kubernetes: u64,
    since: Option<Instant>,
    nudged: Option<Instant>,
}

impl Rest {
    fn lasts(&mut self, walk: &Walk, stage: Stage) -> bool {
        if self.nudged.is_none_or(|nudged| nudged.elapsed() > NUDGE) {
            walk.nudge(stage);
            self.nudged = Some(Instant::now());
        }
        // What was written shows only once all is done: the cloud is asked for its journal no sooner.
        if !walk.is_done(stage) || self.is_written(&walk.world) {
            self.since = None;
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() > QUIET
    }

    fn is_written(&mut self, world: &World) -> bool {
        let calls = world.journal(self.cloud);
        let requests = world.proxy().journal(self.kubernetes);
        let number = |row: &Row| row.0["seq"].as_u64().unwrap();
        self.cloud = calls.last().map_or(self.cloud, number);
        self.kubernetes = requests.last().map_or(self.kubernetes, |row| row.seq);
        calls.iter().any(|row| row.is_ours() && row.is_write())
            || requests.iter().any(|row| row.call.is_write)
    }
}
