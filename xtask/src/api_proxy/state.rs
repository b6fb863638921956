//! What a proxy knows: faults in force, open streams, and the journal of requests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::watch;

use super::call::Call;
use super::fault::{Fault, Matching, Planned};

/// One request, as the journal has it. Times are milliseconds since 1970.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Number, from 1.
    pub seq: u64,
    /// What was asked for.
    #[serde(flatten)]
    pub call: Call,
    /// When it came.
    pub arrived: u64,
    /// When it was passed on to the API server; nothing if it never was.
    pub forwarded: Option<u64>,
    /// HTTP status: the API server's, or that of the fault.
    pub status: Option<u16>,
    /// The fault it met.
    pub fault: Option<&'static str>,
}

impl Row {
    /// Whether the API server carried it out and it was a write.
    pub fn is_done_write(&self) -> bool {
        self.call.is_write
            && self.forwarded.is_some()
            && self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call {
            verb,
            resource,
            subresource,
            namespace,
            name,
            is_write,
            about,
        } = &self.call;
        write!(
            f,
            "{:>4} {} {} {verb} {resource}/{subresource} {namespace}/{name} {} {}{} {}",
            self.seq,
            self.arrived,
            if *is_write { "W" } else { "r" },
            self.status.unwrap_or_default(),
            if self.forwarded.is_some() {
                ""
            } else {
                "not forwarded "
            },
            self.fault.unwrap_or_default(),
            about.join(",")
        )
    }
}

#[derive(Debug)]
struct Armed {
    id: u64,
    planned: Planned,
    seen: u64,
    met: u64,
    holding: u64,
    releases: u64,
}

impl Armed {
    /// Counts a request; whether it is one of those to be met.
    fn counts(&mut self, call: &Call) -> bool {
        let Matching { nth, times, .. } = self.planned.matching;
        if !self.planned.matching.covers(call) || self.planned.fault.is_of_streams() && call.verb != "watch" {
            return false;
        }
        self.seen += 1;
        self.seen >= nth && (times == 0 || self.seen < nth + times)
    }
}

/// How far a fault has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Requests that matched.
    pub seen: u64,
    /// Requests that were met.
    pub met: u64,
    /// Requests that wait at present.
    pub holding: u64,
}

/// A fault that met a request.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub id: u64,
    pub fault: Fault,
}

/// What is to be done with the bytes of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Flow,
    Frozen,
    Cut,
}

#[derive(Debug)]
struct Stream {
    call: Call,
    row: u64,
    /// The fault that freezes it.
    frozen_by: Option<u64>,
    cut: bool,
}

#[derive(Debug, Default)]
struct Inner {
    armed: Vec<Armed>,
    last_fault: u64,
    streams: BTreeMap<u64, Stream>,
    last_stream: u64,
    rows: Vec<Row>,
}

/// Shared by the proxy's handle and its tasks.
#[derive(Debug)]
pub(super) struct State {
    inner: Mutex<Inner>,
    /// Rings whenever faults change.
    changed: watch::Sender<u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            changed: watch::channel(0).0,
        }
    }
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn add(&self, planned: Planned) -> u64 {
        let mut inner = self.inner();
        let inner = &mut *inner;
        inner.last_fault += 1;
        let mut armed = Armed {
            id: inner.last_fault,
            planned,
            seen: 0,
            met: 0,
            holding: 0,
            releases: 0,
        };
        if armed.planned.fault.is_of_streams() {
            for stream in inner.streams.values_mut() {
                if armed.counts(&stream.call) {
                    armed.met += 1;
                    if armed.planned.fault == Fault::Cut {
                        stream.cut = true;
                    } else {
                        stream.frozen_by = Some(armed.id);
                    }
                    if let Some(row) = row(&mut inner.rows, stream.row) {
                        row.fault = Some(armed.planned.fault.name());
                    }
                }
            }
        }
        let id = armed.id;
        inner.armed.push(armed);
        self.ring();
        id
    }

    /// Removes one fault, or all.
    pub(super) fn remove(&self, id: Option<u64>) {
        self.inner()
            .armed
            .retain(|armed| id.is_some_and(|id| id != armed.id));
        self.ring();
    }

    pub(super) fn release(&self, id: u64) {
        for armed in self.inner().armed.iter_mut().filter(|armed| armed.id == id) {
            armed.releases += 1;
        }
        self.ring();
    }

    pub(super) fn progress(&self, id: u64) -> Option<Progress> {
        let inner = self.inner();
        let armed = inner.armed.iter().find(|armed| armed.id == id)?;
        Some(Progress {
            seen: armed.seen,
            met: armed.met,
            holding: armed.holding,
        })
    }

    /// Notes a request and finds the fault it meets: the first of those in force. All count it.
    pub(super) fn arrived(&self, call: Call) -> (u64, Option<Met>) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let mut met = None;
        for armed in &mut inner.armed {
            if armed.counts(&call) && met.is_none() {
                armed.met += 1;
                met = Some(Met {
                    id: armed.id,
                    fault: armed.planned.fault.clone(),
                });
            }
        }
        let seq = inner.rows.len() as u64 + 1;
        inner.rows.push(Row {
            seq,
            call,
            arrived: now(),
            forwarded: None,
            status: None,
            fault: met.as_ref().map(|met| met.fault.name()),
        });
        (seq, met)
    }

    pub(super) fn forwarded(&self, seq: u64) {
        if let Some(row) = row(&mut self.inner().rows, seq) {
            row.forwarded = Some(now());
        }
    }

    pub(super) fn answered(&self, seq: u64, status: u16) {
        if let Some(row) = row(&mut self.inner().rows, seq) {
            row.status = Some(status);
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.inner().rows.last().map_or(0, |row| row.seq)
    }

    pub(super) fn steps_of_writes(&self) -> usize {
        let inner = self.inner();
        let writes = inner.rows.iter().filter(|row| row.call.is_write);
        writes
            .map(|row| 1 + usize::from(row.forwarded.is_some()) + usize::from(row.status.is_some()))
            .sum()
    }

    pub(super) fn rows(&self, since: u64) -> Vec<Row> {
        let inner = self.inner();
        inner.rows.iter().filter(|row| row.seq > since).cloned().collect()
    }

    /// The releases of a fault so far, while a request starts to wait for another one.
    pub(super) fn begin_hold(&self, id: u64) -> Option<u64> {
        let mut inner = self.inner();
        let armed = inner.armed.iter_mut().find(|armed| armed.id == id)?;
        armed.holding += 1;
        Some(armed.releases)
    }

    pub(super) fn is_held(&self, id: u64, since: u64) -> bool {
        self.inner()
            .armed
            .iter()
            .any(|armed| armed.id == id && armed.releases == since)
    }

    pub(super) fn end_hold(&self, id: u64) {
        for armed in self.inner().armed.iter_mut().filter(|armed| armed.id == id) {
            armed.holding -= 1;
        }
    }

    pub(super) fn open_stream(&self, seq: u64, met: Option<&Met>) -> u64 {
        let mut inner = self.inner();
        inner.last_stream += 1;
        let id = inner.last_stream;
        let call = row(&mut inner.rows, seq)
            .map(|row| row.call.clone())
            .unwrap_or_default();
        let by = |fault: &Fault| met.filter(|met| met.fault == *fault).map(|met| met.id);
        let stream = Stream {
            call,
            row: seq,
            frozen_by: by(&Fault::Freeze),
            cut: by(&Fault::Cut).is_some(),
        };
        inner.streams.insert(id, stream);
        id
    }

    pub(super) fn fate(&self, id: u64) -> Fate {
        let inner = self.inner();
        let Some(stream) = inner.streams.get(&id) else {
            return Fate::Cut;
        };
        let frozen = stream
            .frozen_by
            .is_some_and(|by| inner.armed.iter().any(|armed| armed.id == by));
        match (stream.cut, frozen) {
            (true, _) => Fate::Cut,
            (false, true) => Fate::Frozen,
            (false, false) => Fate::Flow,
        }
    }

    pub(super) fn close_stream(&self, id: u64) {
        self.inner().streams.remove(&id);
    }

    pub(super) fn open_streams(&self) -> Vec<Call> {
        self.inner()
            .streams
            .values()
            .map(|stream| stream.call.clone())
            .collect()
    }
}

fn row(rows: &mut [Row], seq: u64) -> Option<&mut Row> {
    rows.get_mut(usize::try_from(seq.checked_sub(1)?).ok()?)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
