//! What `/metrics` said at a moment, and how recordings become a course of hours for the rule tester.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::SystemTime;

/// Seconds between two scrapes of the course; the interval of the chart's ServiceMonitor.
pub const SCRAPE: u32 = 30;

/// When the newest events were made that were found in a trail's store.
const EVENTS: [&str; 2] = [
    "ramtrail_trail_last_event_timestamp_seconds",
    "ramtrail_trail_canary_last_success_timestamp_seconds",
];

/// How a value moves on while nothing new happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Counters and everything of histograms: only growth means something.
    Counter,
    /// A moment, in seconds since the epoch: only its age means something.
    Time,
    /// Anything else.
    Gauge,
}

/// One answer of `/metrics`.
#[derive(Clone, Debug)]
pub struct Recording {
    at: f64,
    samples: BTreeMap<String, (Kind, f64)>,
}

impl Recording {
    /// Reads an exposition that was scraped just now from the Pod of this number.
    pub fn new(text: &str, pod: u32) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Self::at(text, pod, now.as_secs_f64())
    }

    /// The same, scraped then: in seconds since the epoch.
    pub fn at(text: &str, pod: u32, at: f64) -> Self {
        let mut types = BTreeMap::new();
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                if let Some((family, type_)) = comment
                    .strip_prefix("TYPE ")
                    .and_then(|rest| rest.split_once(' '))
                {
                    types.insert(family.to_owned(), type_.to_owned());
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap();
            let kind = kind(name, &types);
            samples.insert(scraped(name, labels, pod), (kind, value.parse().unwrap()));
        }
        assert!(samples.len() > 50, "{text}");
        Self { at, samples }
    }

    /// Values of a metric, each with its series.
    pub fn values<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        self.samples
            .iter()
            .filter(move |(series, _)| series.split('{').next() == Some(metric))
            .map(|(series, (_, value))| (series.as_str(), *value))
    }

    /// The same answer, with every event in the trails' stores so many seconds older.
    pub fn with_older_events(mut self, seconds: f64) -> Self {
        for (series, (_, value)) in &mut self.samples {
            let name = series.split('{').next();
            if EVENTS.map(Some).contains(&name) {
                *value -= seconds;
            }
        }
        self
    }

    /// What would have been answered so many seconds later, had nothing happened at all.
    pub fn unmoved(&self, seconds: f64) -> Self {
        let mut later = self.clone();
        later.at += seconds;
        later
    }

    /// The sum over all series of a metric that contain this text.
    pub fn sum(&self, metric: &str, containing: &str) -> f64 {
        self.values(metric)
            .filter(|(series, _)| series.contains(containing))
            .map(|(_, value)| value)
            .sum()
    }
}

/// The value of a label in a series as it is written.
pub fn label<'a>(series: &'a str, name: &str) -> &'a str {
    let (_, rest) = series.split_once(&format!("{name}=\"")).unwrap();
    rest.split('"').next().unwrap()
}

fn kind(name: &str, types: &BTreeMap<String, String>) -> Kind {
    if name.ends_with("_timestamp_seconds") || name.ends_with("_start_time_seconds") {
        return Kind::Time;
    }
    let grows = ["_total", "_bucket", "_sum", "_count"].iter().any(|suffix| {
        name.strip_suffix(suffix)
            .and_then(|family| types.get(family))
            .is_some_and(|type_| type_ == "counter" || type_ == "histogram")
    });
    if grows { Kind::Counter } else { Kind::Gauge }
}

/// The series as Prometheus stores it: with the labels of the target. The chart's monitors honour the labels of the metric.
fn scraped(name: &str, labels: &str, pod: u32) -> String {
    let mut all = labels.to_owned();
    for (label, value) in [
        ("job", "ramtrail".to_owned()),
        ("namespace", "ramtrail-system".to_owned()),
        ("pod", format!("ramtrail-{pod}")),
        ("instance", format!("10.0.0.{pod}:8080")),
    ] {
        let known = format!(",{labels}").contains(&format!(",{label}=\""));
        if !known {
            let comma = if all.is_empty() { "" } else { "," };
            write!(all, "{comma}{label}=\"{value}\"").unwrap();
        }
    }
    format!("{name}{{{all}}}")
}

/// Hours as a Prometheus would have seen them, made of recordings of seconds.
///
/// The axis begins at the real time of the first recording, and a scrape comes every [`SCRAPE`] seconds. A recording that lies
/// later on the axis than it was made keeps its meaning: a counter has grown as much as it grew between the recordings, and a
/// moment keeps its age, for `time()` of a rule is the time of the axis.
#[derive(Debug)]
pub struct Course {
    start: f64,
    scrapes: Vec<BTreeMap<String, f64>>,
    /// Counters: what was recorded last, and what it became on the axis.
    counters: BTreeMap<String, (f64, f64)>,
}

impl Course {
    /// Begins with this recording.
    pub fn new(first: &Recording) -> Self {
        let mut course = Self {
            start: first.at.floor(),
            scrapes: Vec::new(),
            counters: BTreeMap::new(),
        };
        course.hold(first, 1);
        course
    }

    /// Nothing moves: so many scrapes find what was recorded.
    pub fn hold(&mut self, recording: &Recording, scrapes: u32) {
        let began = self.now();
        for _ in 0..scrapes {
            let values = self.lay(recording, |kind, recorded, _| match kind {
                Kind::Time => recorded + began - recording.at,
                Kind::Counter | Kind::Gauge => recorded,
            });
            self.scrapes.push(values);
        }
    }

    /// What went on between two recordings goes on: counters grow at the pace that they had, a moment that moved keeps its
    /// age, and one that stood still grows old.
    pub fn go_on(&mut self, from: &Recording, to: &Recording, scrapes: u32) {
        assert!(to.at > from.at);
        self.hold(from, 1);
        let began = self.now();
        for scrape in 0..scrapes {
            let passed = f64::from(scrape * SCRAPE);
            let values = self.lay(to, |kind, recorded, series| {
                let before = from.samples.get(series).map(|(_, value)| *value);
                match kind {
                    Kind::Gauge => recorded,
                    Kind::Counter => {
                        let grown = recorded - before.unwrap_or(recorded);
                        recorded + grown / (to.at - from.at) * passed
                    }
                    Kind::Time => {
                        let moves = before.is_some_and(|before| before < recorded);
                        recorded + began - to.at + if moves { passed } else { 0.0 }
                    }
                }
            });
            self.scrapes.push(values);
        }
        // What comes next is counted from here.
        let last = self.scrapes.last().unwrap();
        for (series, (_, laid)) in &mut self.counters {
            *laid = last.get(series).copied().unwrap_or(*laid);
        }
    }

    /// Nothing answers.
    pub fn gone(&mut self, scrapes: u32) {
        for _ in 0..scrapes {
            self.scrapes.push(BTreeMap::new());
        }
    }

    /// Where the next scrape will be, in seconds from the start.
    pub fn length(&self) -> u32 {
        u32::try_from(self.scrapes.len()).unwrap() * SCRAPE
    }

    /// The real time at which the axis begins, in seconds since the epoch.
    pub fn start(&self) -> f64 {
        self.start
    }

    fn now(&self) -> f64 {
        self.start + f64::from(self.length())
    }

    /// One scrape: `value` says what a sample is here; counters are carried on from what they became before.
    fn lay(
        &mut self,
        recording: &Recording,
        value: impl Fn(Kind, f64, &str) -> f64,
    ) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        for (series, (kind, recorded)) in &recording.samples {
            let here = value(*kind, *recorded, series);
            let laid = if *kind == Kind::Counter {
                let (before, laid) = self
                    .counters
                    .entry(series.clone())
                    .or_insert((*recorded, *recorded));
                *laid += *recorded - *before;
                *before = *recorded;
                *laid + (here - *recorded)
            } else {
                here
            };
            values.insert(series.clone(), laid);
        }
        values
    }

    /// Input series of the rule tester: name and values.
    pub fn series(&self) -> Vec<(String, String)> {
        let all: BTreeSet<&String> = self.scrapes.iter().flat_map(BTreeMap::keys).collect();
        all.into_iter()
            .map(|series| {
                let mut values = String::new();
                let mut there = false;
                for scrape in &self.scrapes {
                    match scrape.get(series) {
                        Some(value) => write!(values, "{value} ").unwrap(),
                        // As Prometheus does when a target or a series is there no longer.
                        None if there => values.push_str("stale "),
                        None => values.push_str("_ "),
                    }
                    there = scrape.contains_key(series);
                }
                (series.clone(), values.trim_end().to_owned())
            })
            .collect()
    }
}
