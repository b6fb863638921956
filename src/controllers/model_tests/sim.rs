//! The world of the model: a clock, a cloud that shows its changes late, an API server with versions, and an operator
//! process that can die between any two calls.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use proptest::prelude::*;

use crate::aliyun::error::{ApiError, CallInfo, Error as CloudError, ErrorKind};
use crate::aliyun::{Class, Service};
use crate::api::FINALIZER;
use crate::api::v1alpha1::{Claim, DeletionPolicy, PendingCreate};
use crate::controllers::acquisition::{self, Decision};
use crate::controllers::failure::Failure;
use crate::controllers::memory::Doubt;
use crate::controllers::object::{Managed, Status};
use crate::controllers::ownership::Owner;
use crate::controllers::pass::second;

/// Account of everything.
pub const ACCOUNT: &str = "1234567890123456";
/// Longest time, in seconds, until everybody sees a change of the cloud.
pub const LAG: i64 = 20;
/// How long a create that succeeded is waited for, as the kinds have it.
const VISIBILITY: i64 = 120;
/// How long a create that was refused because the name is taken is not sent again.
const ASK_AGAIN: i64 = 30;
/// How long something must be missing, as the visit has it.
const GONE: i64 = 5;
/// Until a claim is final.
const CONFIRMATION: i64 = 60;
/// The clock's zero.
const EPOCH: i64 = 1_780_000_000;
/// Visits that change something within which the world comes to rest once nothing goes wrong any more.
pub const BOUND: usize = 16;

/// Who made a thing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Maker {
    Us,
    Others,
}

/// What somebody wrote where a mark lies.
#[derive(Clone, Copy, Debug)]
pub enum MarkText {
    None,
    Scribble,
    OtherCluster,
    OtherObject,
    Forged,
    Released,
}

impl MarkText {
    /// As a tag; `kind` is the kind whose object we are.
    pub fn text(self, owner: &Owner) -> Option<String> {
        use crate::controllers::ownership::Spelling::Slash;
        Some(match self {
            Self::None => return None,
            Self::Scribble => "scribble".to_owned(),
            Self::OtherCluster => Owner::new("other", "AuditProject", "x", "y").mark(Slash),
            Self::OtherObject => Owner::new(owner.cluster_id(), "AuditProject", "x", "y").mark(Slash),
            Self::Forged => owner.mark(Slash),
            Self::Released => owner.released_mark(Slash),
        })
    }
}

/// Any mark.
pub fn marks() -> impl Strategy<Value = MarkText> {
    prop_oneof![
        3 => Just(MarkText::None),
        1 => Just(MarkText::Scribble),
        2 => Just(MarkText::OtherCluster),
        1 => Just(MarkText::OtherObject),
        1 => Just(MarkText::Forged),
        1 => Just(MarkText::Released),
    ]
}

/// A kind in the model: what its cloud side is, what others do to it, and its visit in the order of its calls.
pub trait Subject: Clone + Debug + Sized + 'static {
    type Object: Managed;
    type Cloud: Clone + Debug + Default + PartialEq + 'static;
    /// What others do in the cloud.
    type Edit: Clone + Debug + 'static;
    /// What the user does to the spec.
    type Wish: Clone + Debug + 'static;
    /// What a process of the operator remembers besides the common things.
    type Memory: Default;
    /// Name of the test, for the command that replays a run.
    const TEST: &'static str;
    /// Within this many seconds everything that was created is shown or counts as lost, and claims become final.
    const PATIENCE: i64 = 200;

    fn object() -> Self::Object;
    fn edits() -> BoxedStrategy<Self::Edit>;
    fn wishes() -> BoxedStrategy<Self::Wish>;
    fn edit(cloud: &mut Self::Cloud, now: i64, edit: &Self::Edit);
    fn wish(object: &mut Self::Object, wish: &Self::Wish);
    fn set_deletion_policy(object: &mut Self::Object, policy: DeletionPolicy);
    /// What the cloud does by itself.
    fn tick(_: &mut Self::Cloud, _: i64) {}
    /// Who made the thing under our name, and when.
    fn thing(cloud: &Self::Cloud) -> Option<(Maker, i64)>;
    fn visit(sim: &mut Sim<Self>, pass: &mut Pass<Self>) -> Result<(), Halt>;
    fn release(sim: &mut Sim<Self>, pass: &mut Pass<Self>) -> Result<(), Halt>;
    /// Fields that hold less after than before.
    fn losses(before: &Self::Cloud, after: &Self::Cloud) -> Vec<&'static str>;
    /// Whether the wanted value of a field fell from one version of the object to another.
    fn fell(field: &str, before: &Self::Object, after: &Self::Object) -> bool;
    /// Fields of the spec that can fall, and whether the cloud holds just what is wanted there.
    fn held(object: &Self::Object, cloud: &Self::Cloud) -> Vec<(&'static str, bool)>;
    /// Whether everything is as wanted, or may not be so for a reason that lies in the cloud.
    fn at_rest(object: &Self::Object, cloud: &Self::Cloud) -> Result<(), String>;
    /// Whether a field may be reduced although no wanted value fell: what the cloud makes by itself counts as wanted until the
    /// field was first seen as the spec has it (`was_settled`).
    fn falls_by_default(_: &str, _was_settled: bool, _: &Self::Object) -> bool {
        false
    }
}

/// What goes wrong at one call.
#[derive(Clone, Debug)]
pub enum Fault<E> {
    /// The process dies before the call is sent.
    DiesBefore,
    /// The process dies after the call took effect.
    DiesAfter,
    /// The call takes effect, the answer is lost.
    AnswerLost,
    /// The call is lost, and nobody knows that.
    CallLost,
    /// The process dies, and the call takes effect this many seconds later.
    DiesAndLands(i64),
    /// Nobody knows what became of the call, and it takes effect this many seconds later.
    Lands(i64),
    /// The call is refused.
    Refused,
    /// It takes this many seconds.
    Late(i64),
    /// Somebody changes the cloud just before.
    Meanwhile(E),
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Event<S: Subject> {
    /// The operator visits the object; faults by the number of the call, seconds by which each read is old, and by how
    /// many versions the watch is behind.
    Visit {
        faults: Vec<(usize, Fault<S::Edit>)>,
        stale: Vec<i64>,
        behind: usize,
    },
    /// Others change the cloud.
    Edit(S::Edit),
    /// The user changes the spec.
    Wish(S::Wish),
    /// Time passes.
    Wait(i64),
    /// The process starts anew.
    Restart,
    /// The user deletes the object.
    Delete(DeletionPolicy),
    /// The user makes it again.
    Remake,
}

/// A run: what happens, and how the object is deleted at the end.
#[derive(Clone, Debug)]
pub struct Scenario<S: Subject> {
    /// What the user changes in the spec before applying it.
    pub first: Vec<S::Wish>,
    pub events: Vec<Event<S>>,
    pub end: Option<DeletionPolicy>,
}

fn policies() -> impl Strategy<Value = DeletionPolicy> {
    prop_oneof![Just(DeletionPolicy::Retain), Just(DeletionPolicy::Delete)]
}

fn faults<S: Subject>() -> impl Strategy<Value = Fault<S::Edit>> {
    prop_oneof![
        1 => Just(Fault::DiesBefore),
        2 => Just(Fault::DiesAfter),
        2 => Just(Fault::AnswerLost),
        1 => Just(Fault::CallLost),
        1 => (1..60_i64).prop_map(Fault::DiesAndLands),
        1 => (1..60_i64).prop_map(Fault::Lands),
        1 => Just(Fault::Refused),
        1 => (1..300_i64).prop_map(Fault::Late),
        3 => S::edits().prop_map(Fault::Meanwhile),
    ]
}

fn events<S: Subject>() -> impl Strategy<Value = Event<S>> {
    let visit = (
        prop::collection::vec((0..14_usize, faults::<S>()), 0..3),
        prop::collection::vec(0..=LAG, 0..6),
        prop_oneof![3 => Just(0), 1 => 1..3_usize],
    )
        .prop_map(|(faults, stale, behind)| Event::Visit {
            faults,
            stale,
            behind,
        });
    prop_oneof![
        12 => visit,
        4 => S::edits().prop_map(Event::Edit),
        3 => S::wishes().prop_map(Event::Wish),
        4 => prop_oneof![1..30_i64, 30..300_i64, 300..4000_i64].prop_map(Event::Wait),
        1 => Just(Event::Restart),
        1 => policies().prop_map(Event::Delete),
        1 => Just(Event::Remake),
    ]
}

/// Any run.
pub fn scenarios<S: Subject>() -> impl Strategy<Value = Scenario<S>> {
    (
        prop::collection::vec(S::wishes(), 0..3),
        prop::collection::vec(events::<S>(), 1..50),
        prop::option::of(policies()),
    )
        .prop_map(|(first, events, end)| Scenario { first, events, end })
}

/// Why a call, and with it a visit, came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Halt {
    /// The process is dead.
    Died,
    /// The object changed under the visit.
    Outdated,
    /// Something must become visible first.
    Waiting,
    /// A person must act.
    Stalled(&'static str),
    /// Nobody knows what became of a call.
    Doubt,
    /// The cloud refused.
    Refused(Code),
}

/// What the cloud said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Code {
    Exists,
    Missing,
    Denied,
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Stalled { reason, .. } => Self::Stalled(reason),
            Failure::Waiting { .. } => Self::Waiting,
            Failure::Outdated => Self::Outdated,
            other => panic!("pure code made {other}"),
        }
    }
}

/// What one process of the operator remembers of the object.
pub struct Process<M> {
    pub created_at: Option<i64>,
    /// When a create was refused because the name is taken.
    pub taken_at: Option<i64>,
    pub missing_since: Option<i64>,
    pub claimed_at: Option<i64>,
    pub kind: M,
    doubt: Doubt,
    written: Option<usize>,
    /// The version that the watch has shown.
    listed: usize,
}

impl<M: Default> Process<M> {
    fn new(listed: usize) -> Self {
        Self {
            created_at: None,
            taken_at: None,
            missing_since: None,
            claimed_at: None,
            kind: M::default(),
            doubt: Doubt::default(),
            written: None,
            listed,
        }
    }
}

/// One visit: the copy of the object that it works with, and the status on its way.
pub struct Pass<S: Subject> {
    pub object: S::Object,
    pub status: <S::Object as Managed>::Status,
    saved: <S::Object as Managed>::Status,
    /// The version whose spec this is.
    opened: usize,
    /// The newest version that is known.
    version: usize,
}

type Change<C> = Box<dyn FnOnce(&mut C, i64) -> Result<(), Code>>;

/// A call on its way that the cloud takes late.
struct Landing<S: Subject> {
    what: String,
    call: Change<S::Cloud>,
    sender: Sender<S>,
}

/// What a call was sent from, by which is judged whether it may take away what it takes.
struct Sender<S: Subject> {
    object: S::Object,
    /// The version whose spec it follows.
    opened: usize,
    /// Since which version a wanted value counts as fallen, by field.
    settled: BTreeMap<&'static str, usize>,
    first: usize,
    /// The cloud as the sender could know it at best: what was raised later, until the call landed, it takes away unknowing. The
    /// cloud compares nothing, so that alone is forgiven.
    basis: S::Cloud,
}

/// The world.
pub struct Sim<S: Subject> {
    pub now: i64,
    pub process: Process<S::Memory>,
    /// The first thing that must not have happened.
    pub breach: Option<String>,
    pub journal: Vec<String>,
    /// Things of others that were made within the time of a noted create of ours and carried no mark: nothing tells
    /// them from ours.
    pub mistakable: usize,
    cloud: Vec<(i64, S::Cloud)>,
    landings: Vec<(i64, Landing<S>)>,
    /// All versions of the object, oldest first; nothing where it was gone.
    copies: Vec<Option<S::Object>>,
    /// Since which version a wanted value counts as fallen, by field.
    settled: BTreeMap<&'static str, usize>,
    notes: Vec<PendingCreate>,
    uid: usize,
    changes: usize,
    faults: BTreeMap<usize, Fault<S::Edit>>,
    stale: Vec<i64>,
    calls: usize,
    /// When the visit began.
    began: i64,
    start: Instant,
}

impl<S: Subject> Sim<S> {
    pub fn new(first: &[S::Wish]) -> Self {
        let mut sim = Self {
            now: 0,
            process: Process::new(0),
            breach: None,
            journal: Vec::new(),
            mistakable: 0,
            cloud: vec![(i64::MIN / 2, S::Cloud::default())],
            landings: Vec::new(),
            copies: Vec::new(),
            settled: BTreeMap::new(),
            notes: Vec::new(),
            uid: 0,
            changes: 0,
            faults: BTreeMap::new(),
            stale: Vec::new(),
            calls: 0,
            began: 0,
            start: Instant::now(),
        };
        let mut object = S::object();
        for wish in first {
            S::wish(&mut object, wish);
        }
        sim.make(object);
        sim.process = Process::new(0);
        sim
    }

    /// The cloud as it is.
    pub fn live(&self) -> &S::Cloud {
        &self.cloud.last().expect("the cloud has a beginning").1
    }

    /// The object as the API server has it.
    pub fn object(&self) -> Option<&S::Object> {
        self.copies.last().and_then(Option::as_ref)
    }

    /// Changes of the cloud and of Kubernetes that the operator made.
    pub fn changes(&self) -> usize {
        self.changes
    }

    pub fn owner() -> Owner {
        let object = S::object();
        Owner::new(
            "prod",
            S::Object::KIND.as_str(),
            &object.namespace().unwrap_or_default(),
            &object.name_any(),
        )
    }

    /// The model's clock as the process has it.
    fn instant(&self) -> Instant {
        self.start + Duration::from_secs(self.now.unsigned_abs())
    }

    /// A point in time as the cloud tells it.
    pub fn time(second: i64) -> Timestamp {
        Timestamp::from_second(EPOCH + second).expect("the model's clock stays within centuries")
    }

    pub fn breach(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.say(format!("BREACH {what}"));
        self.breach.get_or_insert(what);
    }

    pub fn say(&mut self, text: impl Into<String>) {
        self.journal.push(format!("{:>6} {}", self.now, text.into()));
    }

    // ---- what others do ----

    pub fn happens(&mut self, event: &Event<S>) {
        match event {
            Event::Visit {
                faults,
                stale,
                behind,
            } => {
                self.faults = faults.iter().cloned().collect();
                self.stale.clone_from(stale);
                self.visit(*behind);
                self.faults.clear();
                self.stale.clear();
            }
            Event::Edit(edit) => self.edit(edit),
            Event::Wish(wish) => {
                let Some(mut object) = self.object().cloned().filter(|object| !object.is_deleting()) else {
                    return;
                };
                S::wish(&mut object, wish);
                self.say(format!("user: {wish:?}"));
                self.store(Some(object));
            }
            Event::Wait(seconds) => self.pass(*seconds),
            Event::Restart => self.die(),
            Event::Delete(policy) => self.delete(*policy),
            Event::Remake => self.remake(),
        }
    }

    fn edit(&mut self, edit: &S::Edit) {
        let mut next = self.live().clone();
        S::edit(&mut next, self.now, edit);
        self.say(format!("others: {edit:?}"));
        self.show(next);
    }

    pub fn delete(&mut self, policy: DeletionPolicy) {
        let Some(mut object) = self.object().cloned().filter(|object| !object.is_deleting()) else {
            return;
        };
        self.say(format!("user: deletes it, {policy:?}"));
        S::set_deletion_policy(&mut object, policy);
        if object.has_finalizer() {
            object.meta_mut().deletion_timestamp = Some(Time(Self::time(self.now)));
            self.store(Some(object));
        } else {
            self.store(None);
        }
    }

    /// Makes the object again where it is gone, with the spec that it had.
    pub fn remake(&mut self) {
        if self.object().is_some() {
            return;
        }
        let last = self.copies.iter().rev().flatten().next().cloned();
        let mut object = last.unwrap_or_else(S::object);
        object.set_status(Default::default());
        object.meta_mut().deletion_timestamp = None;
        object.meta_mut().finalizers = None;
        self.say("user: makes it again");
        self.make(object);
    }

    fn make(&mut self, mut object: S::Object) {
        self.uid += 1;
        object.meta_mut().uid = Some(self.uid.to_string());
        self.store(Some(object));
        self.settled.clear();
        self.notes.clear();
        self.process = Process::new(self.copies.len() - 1);
    }

    fn store(&mut self, object: Option<S::Object>) {
        self.copies.push(object);
    }

    /// Time passes: what is under way lands, and the cloud does what it does by itself.
    pub fn pass(&mut self, seconds: i64) {
        let until = self.now + seconds;
        while self.now < until {
            let due = self.landings.iter().map(|(due, _)| *due).min();
            self.now = due.map_or(until, |due| due.clamp(self.now + 1, until));
            let (landed, flying) = std::mem::take(&mut self.landings)
                .into_iter()
                .partition(|(due, _)| *due <= self.now);
            self.landings = flying;
            for (_, landing) in landed {
                let before = self.live().clone();
                let mut next = before.clone();
                let result = (landing.call)(&mut next, self.now);
                self.say(format!("{} lands late: {result:?}", landing.what));
                if result.is_ok() {
                    self.judge_losses(&landing.what, &landing.sender, &before, &next);
                    self.show(next);
                }
            }
            let mut next = self.live().clone();
            S::tick(&mut next, self.now);
            self.show(next);
        }
    }

    fn show(&mut self, next: S::Cloud) {
        if next != *self.live() {
            self.cloud.push((self.now, next));
        }
    }

    pub fn die(&mut self) {
        self.say("the operator starts anew");
        self.process = Process::new(self.copies.len().saturating_sub(1));
    }

    // ---- calls of the operator ----

    fn meets(&mut self) -> Option<Fault<S::Edit>> {
        self.calls += 1;
        let met = self.faults.remove(&(self.calls - 1));
        if let Some(fault) = &met {
            self.say(format!("fault: {fault:?}"));
        }
        if let Some(Fault::Late(seconds)) = met {
            self.pass(seconds);
            return None;
        }
        if let Some(Fault::Meanwhile(edit)) = &met {
            self.edit(edit);
            return None;
        }
        met
    }

    /// A read of the cloud, as old as it happens to be.
    pub fn look(&mut self, what: &str) -> Result<S::Cloud, Halt> {
        let met = self.meets();
        self.pass(1);
        let age = if self.stale.is_empty() {
            0
        } else {
            self.stale.remove(0)
        };
        self.say(format!("looks at {what}, {age} s old"));
        match met {
            None => {}
            Some(Fault::DiesBefore | Fault::DiesAfter | Fault::DiesAndLands(_)) => return Err(Halt::Died),
            Some(Fault::Refused) => return Err(Halt::Refused(Code::Denied)),
            Some(_) => return Err(Halt::Doubt),
        }
        let seen = self.cloud.iter().rev().find(|(at, _)| *at <= self.now - age);
        Ok(seen.unwrap_or(&self.cloud[0]).1.clone())
    }

    /// A change of the cloud.
    pub fn change(
        &mut self,
        pass: &Pass<S>,
        what: &str,
        call: impl FnOnce(&mut S::Cloud, i64) -> Result<(), Code> + 'static,
    ) -> Result<(), Halt> {
        self.send(pass, what, true, None, call)
    }

    /// A change that sends a whole setting, merged from what was read right before: `basis`.
    pub fn put(
        &mut self,
        pass: &Pass<S>,
        what: &str,
        basis: S::Cloud,
        call: impl FnOnce(&mut S::Cloud, i64) -> Result<(), Code> + 'static,
    ) -> Result<(), Halt> {
        self.send(pass, what, true, Some(basis), call)
    }

    /// A deletion: like a change, but never late, since what a late one hits nobody can foresee.
    pub fn remove(
        &mut self,
        pass: &Pass<S>,
        what: &str,
        call: impl FnOnce(&mut S::Cloud, i64) -> Result<(), Code> + 'static,
    ) -> Result<(), Halt> {
        self.send(pass, what, false, None, call)
    }

    fn send(
        &mut self,
        pass: &Pass<S>,
        what: &str,
        may_be_late: bool,
        basis: Option<S::Cloud>,
        call: impl FnOnce(&mut S::Cloud, i64) -> Result<(), Code> + 'static,
    ) -> Result<(), Halt> {
        let met = self.meets();
        self.pass(1);
        match met {
            Some(Fault::DiesBefore) => return Err(Halt::Died),
            Some(Fault::CallLost) => return Err(Halt::Doubt),
            Some(Fault::Refused) => return Err(Halt::Refused(Code::Denied)),
            // A deletion is never late here: what a late one hits nobody can foresee.
            _ => {}
        }
        // What sends no setting whole takes away nothing that it does not name: it is judged by what every look could show.
        let sender = Sender {
            object: pass.object.clone(),
            opened: pass.opened,
            settled: self.settled.clone(),
            first: self.first(),
            basis: basis.unwrap_or_else(|| self.shown_to_all()),
        };
        match met {
            Some(Fault::Lands(seconds) | Fault::DiesAndLands(seconds)) if may_be_late => {
                let landing = Landing {
                    what: what.to_owned(),
                    call: Box::new(call),
                    sender,
                };
                self.landings.push((self.now + seconds, landing));
                return Err(if matches!(met, Some(Fault::Lands(_))) {
                    Halt::Doubt
                } else {
                    Halt::Died
                });
            }
            _ => {}
        }
        let before = self.live().clone();
        let mut next = before.clone();
        let result = call(&mut next, self.now);
        self.say(format!("sends {what}: {result:?}"));
        if result.is_ok() {
            self.changes += 1;
            self.judge_losses(what, &sender, &before, &next);
            if let (Some(deleted), None) = (S::thing(&before), S::thing(&next)) {
                self.must_be_ours(what, deleted);
            }
            if let (Some(before), Some(after)) = (S::thing(&before), S::thing(&next))
                && before != after
            {
                self.breach(format!("{what} made it a second time"));
            }
            self.show(next);
        }
        match met {
            Some(Fault::DiesAfter | Fault::DiesAndLands(_)) => Err(Halt::Died),
            Some(Fault::AnswerLost | Fault::Lands(_)) => Err(Halt::Doubt),
            _ => result.map_err(Halt::Refused),
        }
    }

    /// The cloud as every look that is over by now was able to show it.
    fn shown_to_all(&self) -> S::Cloud {
        let seen = self.cloud.iter().rev().find(|(at, _)| *at <= self.now - LAG - 4);
        seen.unwrap_or(&self.cloud[0]).1.clone()
    }

    /// Fails the run if a call took away what the spec did not take away, apart from what its sender could not know of.
    fn judge_losses(&mut self, what: &str, sender: &Sender<S>, before: &S::Cloud, next: &S::Cloud) {
        let known = S::losses(&sender.basis, next);
        let mut losses = S::losses(before, next);
        losses.retain(|field| known.contains(field) && !sender.object.is_deleting());
        for field in losses {
            let since = sender.settled.get(field).copied().unwrap_or(sender.first);
            let fell = self.copies[since.min(sender.opened)..=sender.opened]
                .iter()
                .flatten()
                .any(|earlier| S::fell(field, earlier, &sender.object));
            let was_settled = sender.settled.contains_key(field);
            if !fell && !S::falls_by_default(field, was_settled, &sender.object) {
                self.breach(format!(
                    "{what} reduced {field}, and its wanted value did not fall"
                ));
            }
        }
    }

    /// The first version of the object that is there now.
    fn first(&self) -> usize {
        self.copies
            .iter()
            .rposition(Option::is_none)
            .map_or(0, |gone| (gone + 1).min(self.copies.len() - 1))
    }

    // ---- a visit, in the order of the driver and of `Pass` ----

    /// Visits the object as a watch shows it that is so many versions behind.
    pub fn visit(&mut self, behind: usize) {
        self.calls = 0;
        let mut behind = behind;
        for _ in 0..4 {
            let Some(mut pass) = self.open(behind) else {
                return;
            };
            self.say("VISIT");
            self.began = self.now;
            match self.visit_once(&mut pass) {
                Ok(()) => return,
                Err(Halt::Outdated) => behind = 0,
                Err(Halt::Died) => return self.die(),
                Err(halt) => {
                    self.say(format!("the visit ends: {halt:?}"));
                    if self.save(&mut pass) == Err(Halt::Died) {
                        self.die();
                    }
                    return;
                }
            }
        }
    }

    /// The newest copy there is: the watch's, unless our own newest write has not come through it yet.
    fn open(&mut self, behind: usize) -> Option<Pass<S>> {
        let newest = self.copies.len() - 1;
        // A watch falls behind, and never goes back.
        let watched = newest.saturating_sub(behind).max(self.process.listed);
        self.process.listed = watched;
        let version = if self.process.written.is_some_and(|written| watched < written) {
            newest
        } else {
            watched
        };
        let object = self.copies[version].clone()?;
        // A copy of an object that had the name before is answered with nothing.
        if object.uid() != self.object()?.uid() {
            return None;
        }
        let status = object.status().cloned().unwrap_or_default();
        Some(Pass {
            saved: status.clone(),
            status,
            object,
            opened: version,
            version,
        })
    }

    fn visit_once(&mut self, pass: &mut Pass<S>) -> Result<(), Halt> {
        if pass.object.is_deleting() {
            return self.deletes(pass);
        }
        if pass.status.account_id().is_none() {
            pass.status.set_account_id(Some(ACCOUNT.to_owned()));
            self.save(pass)?;
        }
        if !pass.object.has_finalizer() {
            self.write(pass, |live, _| {
                live.finalizers_mut().push(FINALIZER.to_owned());
            })?;
            pass.object.finalizers_mut().push(FINALIZER.to_owned());
        }
        S::visit(self, pass)?;
        self.save(pass)?;
        let version = pass.opened;
        for (field, held) in S::held(&pass.object, &self.live().clone()) {
            if held {
                self.settled.insert(field, version);
            }
        }
        Ok(())
    }

    fn deletes(&mut self, pass: &mut Pass<S>) -> Result<(), Halt> {
        if !pass.object.has_finalizer() {
            return Ok(());
        }
        if pass.status.claim().is_some() || pass.status.pending_create().is_some() {
            S::release(self, pass)?;
        }
        self.write(pass, |live, _| live.finalizers_mut().clear())
    }

    /// A write to the API server, only onto the version that we know.
    fn write(
        &mut self,
        pass: &mut Pass<S>,
        change: impl FnOnce(&mut S::Object, &Pass<S>),
    ) -> Result<(), Halt> {
        let met = self.meets();
        self.pass(1);
        match met {
            Some(Fault::DiesBefore | Fault::DiesAndLands(_)) => return Err(Halt::Died),
            Some(Fault::CallLost | Fault::Refused | Fault::Lands(_)) => return Err(Halt::Doubt),
            _ => {}
        }
        let newest = self.copies.len() - 1;
        let Some(mut live) = self
            .object()
            .cloned()
            .filter(|live| newest == pass.version && live.uid() == pass.object.uid())
        else {
            self.say("the API server: conflict");
            return Err(Halt::Outdated);
        };
        change(&mut live, pass);
        self.changes += 1;
        self.say(format!(
            "writes the object: claim {:?}, pending {:?}, finalizers {:?}",
            live.status().and_then(Status::claim),
            live.status().and_then(Status::pending_create),
            live.finalizers()
        ));
        let gone = live.is_deleting() && live.finalizers().is_empty();
        self.store(Some(live).filter(|_| !gone));
        match met {
            Some(Fault::DiesAfter) => Err(Halt::Died),
            Some(Fault::AnswerLost) => Err(Halt::Doubt),
            _ => {
                pass.version = self.copies.len() - 1;
                self.process.written = Some(pass.version);
                Ok(())
            }
        }
    }

    fn write_status(&mut self, pass: &mut Pass<S>) -> Result<(), Halt> {
        self.write(pass, |live, pass| live.set_status(pass.status.clone()))?;
        pass.saved = pass.status.clone();
        Ok(())
    }

    /// Writes the status if it differs; an object that changed at the same moment is no obstacle.
    fn save(&mut self, pass: &mut Pass<S>) -> Result<(), Halt> {
        if pass.saved == pass.status {
            return Ok(());
        }
        for _ in 0..3 {
            match self.write_status(pass) {
                Err(Halt::Outdated) => {
                    if self.object().and_then(ResourceExt::uid) != pass.object.uid() {
                        return Err(Halt::Outdated);
                    }
                    pass.version = self.copies.len() - 1;
                }
                done => return done,
            }
        }
        self.write_status(pass)
    }

    /// A project or a store that was just created, or was missing once only, is not created again.
    pub fn may_create(&mut self, decision: &Decision) -> Result<(), Halt> {
        if self
            .process
            .created_at
            .is_some_and(|at| self.now - at < VISIBILITY)
        {
            return Err(Halt::Waiting);
        }
        if self.is_taken() {
            return Err(Halt::Waiting);
        }
        if *decision == Decision::CreateAgain {
            let before = self.process.missing_since;
            self.process.missing_since.get_or_insert(self.now);
            if before.is_none_or(|since| self.now - since < GONE) {
                return Err(Halt::Waiting);
            }
        }
        Ok(())
    }

    /// Whether a create was refused a moment ago because the name is taken.
    pub fn is_taken(&self) -> bool {
        self.process.taken_at.is_some_and(|at| self.now - at < ASK_AGAIN)
    }

    /// Whether a trail that was just created is still waited for.
    pub fn awaits_creation(&self) -> bool {
        self.process
            .created_at
            .is_some_and(|at| self.now - at < VISIBILITY)
    }

    /// Notes a create in the status, unless a fresh note is there.
    pub fn note_create(&mut self, pass: &mut Pass<S>) -> Result<(), Halt> {
        let now = Self::time(self.now);
        let fresh = pass
            .status
            .pending_create()
            .is_some_and(|open| acquisition::is_fresh(open, now));
        if fresh {
            return Ok(());
        }
        let note = PendingCreate {
            account_id: ACCOUNT.to_owned(),
            name: pass.object.external_name().to_owned(),
            cloud_time: second(now),
        };
        self.notes.push(note.clone());
        pass.status.set_pending_create(Some(note));
        self.write_status(pass)
    }

    /// Sends a create call that was noted.
    pub fn send_create(
        &mut self,
        pass: &Pass<S>,
        what: &str,
        call: impl FnOnce(&mut S::Cloud, i64) -> Result<(), Code> + 'static,
    ) -> Result<(), Halt> {
        let visible = S::thing(self.live()).is_some_and(|(_, created)| created + LAG < self.began);
        if visible {
            self.breach(format!("{what} although every look of this visit showed it"));
        }
        self.change(pass, what, call)
    }

    /// Creates a project or a store.
    pub fn create(
        &mut self,
        pass: &mut Pass<S>,
        what: &str,
        call: impl FnOnce(&mut S::Cloud, i64) -> Result<(), Code> + 'static,
    ) -> Result<(), Halt> {
        let now = self.instant();
        self.process
            .doubt
            .begin(pass.status.pending_create().is_some(), now);
        self.note_create(pass)?;
        let result = self.send_create(pass, what, call);
        let now = self.instant();
        match result {
            Ok(()) => self.process.created_at = Some(self.now),
            Err(halt @ (Halt::Refused(_) | Halt::Doubt)) => {
                let failure = failure(halt == Halt::Doubt);
                if self.process.doubt.is_settled_by(&failure, now) {
                    pass.status.set_pending_create(None);
                }
            }
            Err(_) => {}
        }
        result
    }

    /// The thing is ours from now on.
    pub fn acquired(&mut self, pass: &mut Pass<S>, claim: Claim) {
        use crate::api::v1alpha1::Origin;
        if claim.origin == Origin::Created
            && let Some((Maker::Others, created)) = S::thing(self.live())
            && claim.create_time.as_deref() == Some(&second(Self::time(created)))
        {
            let times = [Self::time(created)];
            let mistakable = self
                .notes
                .iter()
                .any(|note| acquisition::is_from(note, ACCOUNT, &note.name, &times));
            if mistakable {
                self.mistakable += 1;
            } else {
                self.breach("what others made is claimed as created by us");
            }
        }
        pass.status.set_claim(Some(claim));
        pass.status.set_pending_create(None);
        self.process.claimed_at = Some(self.now);
        self.process.created_at = None;
        self.process.taken_at = None;
        self.process.missing_since = None;
    }

    /// Makes an unconfirmed claim final.
    pub fn confirm(&mut self, pass: &mut Pass<S>) {
        let Some(claim) = pass
            .status
            .claim()
            .filter(|claim| claim.confirmed != Some(true))
            .cloned()
        else {
            return;
        };
        let since = *self.process.claimed_at.get_or_insert(self.now);
        if self.now - since >= CONFIRMATION {
            pass.status.set_claim(Some(Claim {
                confirmed: Some(true),
                ..claim
            }));
        }
    }

    /// Fails the run if what was deleted is not ours, unless nothing could have told.
    fn must_be_ours(&mut self, what: &str, deleted: (Maker, i64)) {
        let (Maker::Others, created) = deleted else { return };
        let times = [Self::time(created)];
        let mistakable = self
            .notes
            .iter()
            .any(|note| acquisition::is_from(note, ACCOUNT, &note.name, &times));
        // Somebody put it in the place of ours so late that no look could show it.
        let unseen = self.now - created <= LAG + 3;
        if !mistakable && !unseen {
            self.breach(format!("{what} deleted what others made"));
        }
    }
}

/// A call that was refused, or one of which nobody knows what became.
fn failure(doubtful: bool) -> Failure {
    let call = CallInfo {
        service: Service::LogService,
        action: "a call",
        call_id: String::new(),
        request_id: None,
        earlier_request_ids: Vec::new(),
        attempts: 1,
        signed_at: Timestamp::UNIX_EPOCH,
        cloud_time: Timestamp::UNIX_EPOCH,
    };
    let refusal = ApiError {
        service: Service::LogService,
        action: "a call",
        status: if doubtful { 500 } else { 400 },
        code: String::new(),
        message: String::new(),
        request_id: None,
        retry_after: None,
        class: if doubtful { Class::Transient } else { Class::Denied },
        permission: None,
    };
    let error = CloudError {
        kind: ErrorKind::Api(refusal),
        call: Box::new(call),
        outcome_unknown: doubtful,
    };
    Failure::cloud("call", error)
}
