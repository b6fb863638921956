//! The look at all trails between visits: finds what somebody changed, makes the calls that must be recorded, and looks for them.
//!
//! Each round makes one DescribeTrails per credential and region and one search per trail; it writes nothing anywhere. What it
//! finds it leaves in the trail's memory and asks for a visit: only visits decide and change. A round starts its looks and
//! waits for none of them: an account that does not answer delays itself only.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::audit_event;
use super::delivery::{Search, Verdict, Watch};
use super::memory::{Snapshot, TrailMemory};
use super::model::{parse_event_rw, trail_store};
use super::observe::{pick, store_name};
use super::{rules, store_was_seen};
use crate::aliyun::action_trail::{Trail, TrailState};
use crate::aliyun::log_service::{LogQuery, LogRows};
use crate::aliyun::user_agent;
use crate::aliyun::{Class, Error};
use crate::api::condition::STALLED;
use crate::api::v1alpha1::{EventSelection, RamTrail};
use crate::controllers::access::{Access, CredentialId};
use crate::controllers::context::Context;
use crate::controllers::failure::{Circumstances, Failure, Phase, judge, without_request_id};
use crate::controllers::memory::{ObjectMemory, lock};
use crate::controllers::object::Managed;
use crate::telemetry::TrailFigures;

/// Looks that are taken side by side, of those that answered the last time and of the others.
const CONCURRENCY: usize = 8;
/// How long a round waits for the accesses that it needs. What takes longer is ready for a later one.
const HEAD_START: Duration = Duration::from_secs(1);
/// Calls that one group makes one after another in a round, at most.
const CALLS_IN_ROUND: u32 = 4;
/// Shortest time for a call, however short the rounds.
const SHORTEST_CALL: Duration = Duration::from_secs(2);
/// Rows of one search, the API's maximum.
const ROWS: u32 = 100;
/// How far a search reaches into the future, in seconds: clocks differ.
const AHEAD: i64 = 60;

/// Looks at all trails each poll interval until `stop`.
pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(ctx.settings.poll_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let poller = Arc::new(Poller {
        ctx,
        called: Mutex::default(),
    });
    let mut opened = Looks::default();
    let mut looks = Looks::default();
    for number in 0.. {
        let round = async {
            ticks.tick().await;
            poller.round(number, &mut opened, &mut looks).await;
        };
        tokio::select! {
            () = round => {}
            () = stop.cancelled() => return,
        }
    }
}

/// What is under way, by what it concerns: nothing is started twice, and what did not answer the last time takes no place
/// of what did. Dropped, it ends all.
struct Looks<K> {
    running: JoinSet<()>,
    state: Arc<Mutex<LookState<K>>>,
    answering: Arc<Semaphore>,
    silent: Arc<Semaphore>,
}

#[derive(Debug)]
struct LookState<K> {
    under_way: HashSet<K>,
    silent: HashSet<K>,
}

impl<K> Default for Looks<K> {
    fn default() -> Self {
        Self {
            running: JoinSet::new(),
            state: Arc::new(Mutex::new(LookState {
                under_way: HashSet::new(),
                silent: HashSet::new(),
            })),
            answering: Arc::new(Semaphore::new(CONCURRENCY)),
            silent: Arc::new(Semaphore::new(CONCURRENCY)),
        }
    }
}

/// Takes a look off the list of those under way, also when it panics.
struct UnderWay<K: Eq + Hash>(Arc<Mutex<LookState<K>>>, K);

impl<K: Eq + Hash> Drop for UnderWay<K> {
    fn drop(&mut self) {
        lock(&self.0).under_way.remove(&self.1);
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Looks<K> {
    /// Starts a look that tells whether it was answered, unless the one before is still under way.
    fn start(&mut self, key: K, look: impl Future<Output = bool> + Send + 'static) {
        while let Some(ended) = self.running.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a look at trails broke off");
            }
        }
        let lane = {
            let mut state = lock(&self.state);
            if !state.under_way.insert(key.clone()) {
                return;
            }
            if state.silent.contains(&key) {
                self.silent.clone()
            } else {
                self.answering.clone()
            }
        };
        let under_way = UnderWay(self.state.clone(), key);
        self.running.spawn(async move {
            let Ok(_place) = lane.acquire().await else { return };
            let answered = look.await;
            let mut state = lock(&under_way.0);
            if answered {
                state.silent.remove(&under_way.1);
            } else {
                state.silent.insert(under_way.1.clone());
            }
        });
    }

    /// Forgets what no longer exists.
    fn retain(&mut self, exists: impl Fn(&K) -> bool) {
        lock(&self.state).silent.retain(exists);
    }

    /// Waits until nothing is under way any more.
    async fn ended(&mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

/// A project, by namespace and name.
type Place = (String, String);

/// Trails that one list shows: credential and region.
type GroupKey = (CredentialId, String);

struct Poller {
    ctx: Arc<Context>,
    /// When the newest due call was made with which credentials.
    called: Mutex<HashMap<CredentialId, Instant>>,
}

/// A trail with the way to it.
struct Member {
    trail: Arc<RamTrail>,
    access: Access,
    memory: Arc<Mutex<ObjectMemory>>,
}

/// A call of ours that trails of this account must record.
#[derive(Clone, Debug)]
struct DueCall {
    id: String,
    sent: i64,
}

/// The due call of each credential in one round: made once, whichever group needs it first, and looked for by all of them.
type RoundCalls = HashMap<CredentialId, OnceCell<Option<DueCall>>>;

impl Poller {
    async fn round(self: &Arc<Self>, number: u64, opened: &mut Looks<Place>, looks: &mut Looks<GroupKey>) {
        let groups = self.groups(opened).await;
        let members = || groups.values().flatten();
        let calls: Arc<RoundCalls> = Arc::new(
            members()
                .map(|member| (member.access.credential.clone(), OnceCell::new()))
                .collect(),
        );
        // What was not called for long is due anyway.
        let kept = self.ctx.settings.due_call_interval;
        lock(&self.called)
            .retain(|credential, called| calls.contains_key(credential) || called.elapsed() < kept);
        looks.retain(|key| groups.contains_key(key));
        for (key, group) in groups {
            let (poller, calls) = (self.clone(), calls.clone());
            looks.start(key, async move { poller.look_at(group, number, &calls).await });
        }
    }

    /// All trails whose access is open, by credential and region. Each project's access is opened once.
    async fn groups(self: &Arc<Self>, opened: &mut Looks<Place>) -> HashMap<GroupKey, Vec<Member>> {
        let place = |trail: &RamTrail| {
            (
                trail.namespace().unwrap_or_default(),
                trail.spec.project_ref.name.clone(),
            )
        };
        let trails: Vec<Arc<RamTrail>> = self
            .ctx
            .cluster
            .trails()
            .filter(|trail| !trail.is_paused() && !trail.is_deleting())
            .collect();
        let places: BTreeSet<Place> = trails.iter().map(|trail| place(trail)).collect();
        opened.retain(|place| places.contains(place));
        let projects: Arc<Mutex<HashMap<Place, Access>>> = Arc::default();
        for place in places {
            let (poller, projects) = (self.clone(), projects.clone());
            opened.start(place.clone(), async move {
                let access = tokio::time::timeout(poller.call_time(), poller.open(&place)).await;
                let in_time = access.is_ok();
                if let Some(access) = access.ok().flatten() {
                    lock(&projects).insert(place, access);
                }
                in_time
            });
        }
        // A tenant whose access hangs delays nobody else by more than this.
        let _ = tokio::time::timeout(HEAD_START, opened.ended()).await;
        let projects = std::mem::take(&mut *lock(&projects));
        let mut groups: HashMap<GroupKey, Vec<Member>> = HashMap::new();
        for trail in trails {
            let Some(access) = projects.get(&place(&trail)).cloned() else {
                continue;
            };
            let memory = self.ctx.memory.of(&trail.uid().unwrap_or_default());
            let key = (access.credential.clone(), access.region().to_string());
            groups.entry(key).or_default().push(Member {
                trail,
                access,
                memory,
            });
        }
        groups
    }

    /// How long one call of a round may take. The round is that of all tenants.
    fn call_time(&self) -> Duration {
        (self.ctx.settings.poll_interval / CALLS_IN_ROUND).max(SHORTEST_CALL)
    }

    async fn open(&self, (namespace, name): &(String, String)) -> Option<Access> {
        let project = self.ctx.cluster.project(namespace, name)?;
        match self.ctx.gate.open(&project, &self.ctx.settings).await {
            Ok(mut access) => {
                access.clients = access.clients.with_timeout(self.call_time());
                Some(access)
            }
            Err(failure) => {
                // The visits of the objects say so to people.
                tracing::debug!(namespace, project = name, "no poll: {failure}");
                None
            }
        }
    }

    /// Looks at the trails of a group. Tells whether the account answered.
    async fn look_at(&self, group: Vec<Member>, round: u64, calls: &RoundCalls) -> bool {
        let Some(first) = group.first() else { return true };
        let described = self.describe(&group, &first.access).await;
        let call = match calls.get(&first.access.credential) {
            Some(call) => {
                let due = self.is_call_due(&group, &first.access);
                once_a_round(call, due, self.due_call(&first.access)).await
            }
            None => None,
        };
        let (call, described) = (call.as_ref(), described.as_ref());
        futures::stream::iter(&group)
            .for_each_concurrent(CONCURRENCY, |member| async move {
                follow(member, call, described);
                self.search(member, round).await;
            })
            .await;
        described.is_some()
    }

    /// One list of all trails for the whole group: what differs from the look before asks for a visit. Gives the id and time of
    /// the call, which is a read that a trail of reads must record.
    async fn describe(&self, group: &[Member], access: &Access) -> Option<DueCall> {
        let at = Instant::now();
        let answer = match access.clients.action_trail.describe_trails(&[], true).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "cannot list the trails");
                return None;
            }
        };
        for Member { trail, memory, .. } in group {
            let listed = pick(&answer.value, trail.effective_name()).cloned();
            let mut memory = lock(memory);
            let memory = memory.slot::<TrailMemory>();
            if memory.take_snapshot(Snapshot { at, trail: listed }) {
                memory.tampered_at.get_or_insert(at);
                tracing::info!(trail = trail.effective_name(), "the trail changed; visiting it");
                self.ctx.cluster.trigger(&trail.id());
            }
        }
        let sent = answer.call.signed_at.as_second();
        answer.call.request_id.map(|id| DueCall { id, sent })
    }

    /// Whether a call is due by these credentials, or a trail of the group was given none yet.
    fn is_call_due(&self, group: &[Member], access: &Access) -> bool {
        let recording: Vec<&Member> = group
            .iter()
            .filter(|member| is_on(member))
            .filter(|member| matches!(records(member), Some(EventSelection::All | EventSelection::Read)))
            .collect();
        let waiting = recording.iter().any(|member| needs_a_call(member));
        let due = lock(&self.called)
            .get(&access.credential)
            .is_none_or(|called| called.elapsed() >= self.ctx.settings.due_call_interval);
        !recording.is_empty() && (due || waiting)
    }

    /// GetCallerIdentity: it needs no grant, and ActionTrail records it.
    async fn due_call(&self, access: &Access) -> Option<DueCall> {
        match access.clients.sts.get_caller_identity().await {
            Ok(answer) if answer.value.account_id == access.account => {
                lock(&self.called).insert(access.credential.clone(), Instant::now());
                let sent = answer.call.signed_at.as_second();
                answer.call.request_id.map(|id| DueCall { id, sent })
            }
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, "the due call failed");
                None
            }
        }
    }

    /// Looks into the trail's store for calls of ours, and for writes of others that may weaken the trail.
    async fn search(&self, member: &Member, round: u64) {
        let Member {
            trail,
            access,
            memory,
        } = member;
        let seen_before = trail.status.as_ref().is_some_and(store_was_seen);
        if !seen_before && is_on(member) {
            // A first event that does not come is not awaited for ever.
            let now = access.clients.cloud_now();
            self.judge(member, lock(memory).slot::<TrailMemory>(), now);
        }
        if !seen_before || !is_on(member) {
            self.figures(member);
            return;
        }
        let Ok(store) = store_name(trail.effective_name()) else {
            return;
        };
        let rules = rules(trail, &self.ctx.settings);
        let now = access.clients.cloud_now();
        let (ids, from) = {
            let mut memory = lock(memory);
            match &memory.slot::<TrailMemory>().watch {
                Some(watch) => (watch.ids_to_search(), watch.search_from(now.as_second())),
                None => return,
            }
        };
        let from = from.min(now.as_second() - rules.max_lag);
        let mut query = audit_event::foreign_writes();
        if !ids.is_empty() {
            query = format!(
                "{query} or {}",
                audit_event::with_ids(ids.iter().map(String::as_str))
            );
        }
        let clients = &access.clients.log_service;
        let asked = |query: String| LogQuery {
            from,
            to: now.as_second() + AHEAD,
            query,
            line: ROWS,
            offset: 0,
            reverse: true,
        };
        let mut result = clients
            .get_logs(&access.project, &store, &asked(query))
            .await
            .map(|answer| answer.value);
        if let Ok(rows) = &mut result {
            self.foreign(member, rows);
            let crowded = rows.rows.len() >= ROWS as usize && found_in(rows, &ids).len() < ids.len();
            if crowded && !ids.is_empty() {
                // Others' writes fill the answer: absence shows only in a search for our own calls.
                let query = audit_event::with_ids(ids.iter().map(String::as_str));
                result = clients
                    .get_logs(&access.project, &store, &asked(query))
                    .await
                    .map(|answer| answer.value);
            }
        }
        match result {
            Ok(rows) => self.found(member, &rows, &ids, round, now),
            Err(error) => self.blind(member, error, now),
        }
        self.figures(member);
    }

    fn found(&self, member: &Member, rows: &LogRows, ids: &BTreeSet<String>, round: u64, now: Timestamp) {
        let rules = rules(&member.trail, &self.ctx.settings);
        let found = found_in(rows, ids);
        let mut memory = lock(&member.memory);
        let memory = memory.slot::<TrailMemory>();
        let newest = rows
            .rows
            .iter()
            .filter_map(|row| row.get("__time__")?.parse().ok())
            .max();
        if let Some(newest) = newest.and_then(|second| Timestamp::from_second(second).ok()) {
            memory.last_event = memory.last_event.max(Some(newest));
        }
        let Some(watch) = &mut memory.watch else { return };
        let search = Search {
            round,
            at: now.as_second(),
            complete: rows.complete,
            searched: ids,
            found: &found,
        };
        watch.note_search(&search, rules);
        memory.blind_because = None;
        let missing = watch.has_misses();
        self.judge(member, memory, now);
        if missing && !memory.index_suspect {
            // Before an absence is believed the index is looked at.
            memory.index_suspect = true;
            self.ctx.cluster.trigger(&member.trail.id());
        }
    }

    fn blind(&self, member: &Member, error: Error, now: Timestamp) {
        tracing::debug!(%error, trail = member.trail.effective_name(), "cannot search the trail's store");
        let mut memory = lock(&member.memory);
        let memory = memory.slot::<TrailMemory>();
        if error.is(Class::NotFound) {
            let index = error.code() == Some("IndexConfigNotExist");
            let news = if index {
                !memory.index_suspect
            } else {
                memory.store_missing_since.is_none()
            };
            memory.index_suspect |= index;
            if let Some(watch) = &mut memory.watch {
                watch.interrupted(now.as_second());
            }
            if news {
                self.ctx.cluster.trigger(&member.trail.id());
            }
        } else {
            // Our searches are well formed: one that is refused speaks against the index.
            if error.is(Class::InvalidSpec) && !memory.index_suspect {
                memory.index_suspect = true;
                self.ctx.cluster.trigger(&member.trail.id());
            }
            if let Some(watch) = &mut memory.watch {
                watch.note_blind();
            }
        }
        let told = memory.verdict;
        self.judge(member, memory, now);
        let help = for_people(member, error);
        if memory.blind_because != help {
            memory.blind_because = help;
            if memory.verdict == told && told == Some(Verdict::Unknown) {
                self.ctx.cluster.trigger(&member.trail.id());
            }
        }
    }

    /// Draws the verdict; a new one asks for a visit, which says it.
    fn judge(&self, member: &Member, memory: &mut TrailMemory, now: Timestamp) {
        let Some(watch) = &memory.watch else { return };
        let rules = rules(&member.trail, &self.ctx.settings);
        let verdict = watch.judge(now.as_second(), rules, memory.channel);
        if memory.verdict != Some(verdict) {
            memory.verdict = Some(verdict);
            if verdict != Verdict::AsBefore {
                self.ctx.cluster.trigger(&member.trail.id());
            }
        }
    }

    /// Writes of others that concern the trail ask for a visit, once each.
    fn foreign(&self, member: &Member, rows: &LogRows) {
        let trail = &member.trail;
        let store = trail_store(trail.effective_name());
        let names = [
            trail.effective_name(),
            member.access.project.as_str(),
            store.as_str(),
        ];
        let mut news = false;
        for row in &rows.rows {
            let Some(event) = audit_event::of_row(row) else {
                continue;
            };
            let text = row.get("event").map(String::as_str).unwrap_or_default();
            let own = event
                .request_id
                .as_deref()
                .is_some_and(|id| self.ctx.ledger.knows(id))
                || event
                    .user_agent
                    .as_deref()
                    .and_then(user_agent::parse)
                    .is_some_and(|(_, call)| self.ctx.ledger.knows(call));
            let id = event
                .event_id
                .as_deref()
                .or(event.request_id.as_deref())
                .unwrap_or_default();
            if own || id.is_empty() || !audit_event::concerns(&event, text, &names) {
                continue;
            }
            let mut memory = lock(&member.memory);
            let memory = memory.slot::<TrailMemory>();
            if memory.is_news(id) {
                memory.index_suspect |= audit_event::is_about_index(&event);
                // The visit must not believe a look from before the write.
                memory.changed = Some(Instant::now());
                news = true;
            }
        }
        if news {
            tracing::info!(
                trail = trail.effective_name(),
                "somebody wrote to what belongs to the trail; visiting it"
            );
            self.ctx.cluster.trigger(&trail.id());
        }
    }

    fn figures(&self, member: &Member) {
        let id = member.trail.id();
        // A trail of writes records none of the regular calls: no time between them, so that nobody waits for one.
        let regular = matches!(records(member), Some(EventSelection::All | EventSelection::Read));
        let mut memory = lock(&member.memory);
        let memory = memory.slot::<TrailMemory>();
        let logging = memory
            .snapshot
            .as_ref()
            .map(|s| s.trail.as_ref().is_some_and(|t| t.state() == TrailState::Enable));
        let newest = memory.watch.as_ref().map(Watch::proved_until);
        let lag = u64::try_from(member.trail.max_lag_seconds()).unwrap_or_default();
        let figures = TrailFigures {
            logging,
            last_event: memory.last_event,
            max_lag: Some(Duration::from_secs(lag)),
            due_call_last_success: newest.and_then(|newest| Timestamp::from_second(newest).ok()),
            due_call_interval: regular.then_some(self.ctx.settings.due_call_interval),
        };
        self.ctx.metrics.set_trail(&id.namespace, &id.name, &figures);
    }
}

/// The call of this round: made if it is due and nobody made it yet, taken over if somebody did.
async fn once_a_round(
    call: &OnceCell<Option<DueCall>>,
    due: bool,
    make: impl Future<Output = Option<DueCall>>,
) -> Option<DueCall> {
    if due {
        call.get_or_init(|| make).await.clone()
    } else {
        call.get().cloned().flatten()
    }
}

/// Gives the trail the call that it must record, if it is on and can be searched; forgets everything if it is off.
fn follow(member: &Member, call: Option<&DueCall>, described: Option<&DueCall>) {
    let (known, on, records) = (knows_state(member), is_on(member), records(member));
    let mut memory = lock(&member.memory);
    let memory = memory.slot::<TrailMemory>();
    if known && !on {
        // A trail that is switched on again is followed anew.
        memory.watch = None;
        memory.verdict = None;
        return;
    }
    let suspect = memory.index_suspect;
    let (Some(watch), Some(call)) = (&mut memory.watch, call.filter(|_| !suspect)) else {
        return;
    };
    let mut ids = vec![call.id.clone()];
    match records {
        Some(EventSelection::All) => {}
        // Whether GetCallerIdentity counts as a read is documented nowhere; that DescribeTrails is one is certain.
        Some(EventSelection::Read) => ids.extend(described.map(|call| call.id.clone())),
        Some(EventSelection::Write) | None => return,
    }
    watch.note_due(ids, call.sent);
}

/// The newest look at the trail, as far as there is one.
fn newest<T>(member: &Member, read: impl Fn(Option<&Trail>) -> T) -> Option<T> {
    let mut memory = lock(&member.memory);
    memory
        .slot::<TrailMemory>()
        .snapshot
        .as_ref()
        .map(|snapshot| read(snapshot.trail.as_ref()))
}

fn needs_a_call(member: &Member) -> bool {
    let mut memory = lock(&member.memory);
    let memory = memory.slot::<TrailMemory>();
    !memory.index_suspect && memory.watch.as_ref().is_some_and(Watch::needs_a_call)
}

fn knows_state(member: &Member) -> bool {
    newest(member, |_| ()).is_some()
}

fn is_on(member: &Member) -> bool {
    newest(member, |trail| {
        trail.is_some_and(|trail| trail.state() == TrailState::Enable)
    })
    .unwrap_or(false)
}

fn records(member: &Member) -> Option<EventSelection> {
    newest(member, |trail| {
        trail.and_then(|trail| parse_event_rw(trail.event_rw.as_deref()?))
    })
    .flatten()
}

/// Why the trail's store cannot be searched, where a person must mend it. No request id: it would differ each time.
fn for_people(member: &Member, error: Error) -> Option<String> {
    let doing = format!("search log store {}", trail_store(member.trail.effective_name()));
    why_blind(doing, error, &member.access.caller())
}

fn why_blind(doing: String, error: Error, caller: &str) -> Option<String> {
    let circumstances = Circumstances {
        phase: Phase::Observing,
        acquired: true,
        failures: 1,
        stale: false,
        caller: Some(caller),
        logs: true,
    };
    let verdict = judge(&Failure::cloud(doing, error), &circumstances);
    verdict
        .statements
        .iter()
        .find(|statement| verdict.stalled && statement.type_ == STALLED)
        .map(|statement| without_request_id(&statement.message).to_owned())
}

/// Which of the ids stand in the rows.
fn found_in(rows: &LogRows, ids: &BTreeSet<String>) -> BTreeSet<String> {
    ids.iter()
        .filter(|id| {
            rows.rows
                .iter()
                .any(|row| row.values().any(|value| value.contains(*id)))
        })
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aliyun::error::{ApiError, CallInfo, ErrorKind};
    use crate::aliyun::operation::{Permission, Service};

    #[tokio::test]
    async fn a_call_that_one_region_made_is_looked_for_in_the_other() {
        let call = OnceCell::new();
        let make = |id: &str| {
            let id = id.to_owned();
            async move { Some(DueCall { id, sent: 1 }) }
        };
        let id = |call: Option<DueCall>| call.map(|call| call.id);
        assert_eq!(id(once_a_round(&call, false, make("none")).await), None);
        assert_eq!(
            id(once_a_round(&call, true, make("a")).await).as_deref(),
            Some("a")
        );
        // Made a moment ago, so no longer due; and due in both at once.
        assert_eq!(
            id(once_a_round(&call, false, make("b")).await).as_deref(),
            Some("a")
        );
        assert_eq!(
            id(once_a_round(&call, true, make("c")).await).as_deref(),
            Some("a")
        );
    }

    /// Starts the looks of one more round, and lets those that can end do so.
    async fn one_round(
        looks: &mut Looks<String>,
        hung: usize,
        healthy: usize,
        ends: &Arc<Mutex<Vec<String>>>,
    ) {
        for i in 0..hung {
            looks.start(format!("hung-{i}"), std::future::pending());
        }
        for i in 0..healthy {
            let (name, ends) = (format!("healthy-{i}"), ends.clone());
            looks.start(name.clone(), async move {
                lock(&ends).push(name);
                true
            });
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn looks_that_hang_delay_no_other_and_are_not_started_twice() {
        let mut looks = Looks::default();
        let ends = Arc::default();
        for round in 1..=5 {
            one_round(&mut looks, CONCURRENCY - 1, 20, &ends).await;
            assert_eq!(lock(&ends).len(), 20 * round);
        }
        assert_eq!(lock(&looks.state).under_way.len(), CONCURRENCY - 1);
    }

    #[tokio::test]
    async fn accounts_that_did_not_answer_take_no_place_of_those_that_do() {
        let mut looks = Looks::default();
        let (hung, ends) = (CONCURRENCY * 3, Arc::default());
        // They break off once: from then on they are known.
        for i in 0..hung {
            looks.start(format!("hung-{i}"), async { false });
        }
        looks.ended().await;
        for round in 1..=5 {
            one_round(&mut looks, hung, 20, &ends).await;
            assert_eq!(lock(&ends).len(), 20 * round);
        }
        looks.retain(|key| !key.starts_with("hung"));
        assert!(lock(&looks.state).silent.is_empty());
    }

    #[tokio::test]
    async fn a_look_that_breaks_off_is_taken_again() {
        let mut looks = Looks::default();
        looks.start("a".to_owned(), async { panic!("on purpose") });
        looks.ended().await;
        let ends = Arc::new(Mutex::new(0));
        let seen = ends.clone();
        looks.start("a".to_owned(), async move {
            *lock(&seen) += 1;
            true
        });
        looks.ended().await;
        assert_eq!(*lock(&ends), 1);
    }

    #[test]
    fn a_denied_search_says_what_to_grant_and_a_passing_error_says_nothing() {
        let why = |class| {
            let api = ApiError {
                service: Service::LogService,
                action: "GetLogsV2",
                status: 401,
                code: "Unauthorized".into(),
                message: "denied".into(),
                request_id: Some("R1".into()),
                retry_after: None,
                class,
                permission: Some(Permission {
                    action: "log:GetLogStoreLogs".into(),
                    resource: "acs:log:cn-hangzhou:1:project/p/logstore/s".into(),
                }),
            };
            let call = CallInfo {
                service: Service::LogService,
                action: "GetLogsV2",
                call_id: "c".into(),
                request_id: Some("R1".into()),
                earlier_request_ids: vec![],
                attempts: 1,
                signed_at: Timestamp::UNIX_EPOCH,
                cloud_time: Timestamp::UNIX_EPOCH,
            };
            let error = Error {
                kind: ErrorKind::Api(api),
                call: Box::new(call),
                outcome_unknown: false,
            };
            why_blind("search log store s".to_owned(), error, "user/operator")
        };
        let text = why(Class::Denied).unwrap_or_default();
        assert!(
            text.contains("log:GetLogStoreLogs") && text.contains("logstore/s") && !text.contains("R1"),
            "{text}"
        );
        assert_eq!(why(Class::Transient), None);
    }

    #[test]
    fn ids_are_found_as_text_in_any_column() {
        let ids: BTreeSet<String> = ["A-1".to_owned(), "B-2".to_owned()].into();
        let row = [("event".to_owned(), r#"{"requestId":"A-1"}"#.to_owned())].into();
        let rows = LogRows {
            complete: true,
            rows: vec![row],
        };
        assert_eq!(found_in(&rows, &ids), ["A-1".to_owned()].into());
    }
}
