//! Every metric of the operator, typed: a caller can only report what is listed here, and labels come from closed sets.
//!
//! Names, types and labels are a contract with dashboards and alerts. Objects are labelled by namespace and name only
//! where there is one series each; the actor of a tampering, an address or an event id never becomes a label.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, text,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::aliyun::error::Class;
use crate::aliyun::observer::{Attempt, CallObserver};
use crate::aliyun::operation::Service;
use crate::api::condition::{self, Status, reason};

/// Gauge of a number that need not be whole.
type FloatGauge = Gauge<f64, AtomicU64>;

/// The kinds, as label `kind`.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Kind {
    /// AuditProject.
    AuditProject,
    /// AuditLogStore.
    AuditLogStore,
    /// RamTrail.
    RamTrail,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::AuditProject, Self::AuditLogStore, Self::RamTrail];
}

/// How a visit to an object ended, as label `result`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// All is as wanted; the next visit is the resync.
    Ok,
    /// Something is awaited; another visit is planned.
    Requeue,
    /// It failed.
    Error,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Requeue, Self::Error];
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Ok => "ok",
            Self::Requeue => "requeue",
            Self::Error => "error",
        })
    }
}

/// What somebody outside did to weaken the audit, as label `action`.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum TamperAction {
    /// The trail was switched off.
    LoggingStopped,
    /// The trail records fewer events, or fewer regions.
    EventsNarrowed,
    /// The trail delivers elsewhere, or nowhere.
    TrailRedirected,
    /// The trail, the store or the project was deleted.
    Deleted,
    /// The store keeps logs for fewer days.
    RetentionReduced,
    /// The index of the store was removed or narrowed.
    IndexReduced,
    /// The job that copies events was removed, stopped or narrowed.
    CopyReduced,
    /// The mark of ownership was removed or changed.
    MarkChanged,
    /// Anything else that weakens.
    Other,
}

impl TamperAction {
    /// Every action; all of them have a series from the start, so that the first tampering shows as an increase.
    pub const ALL: [Self; 9] = [
        Self::LoggingStopped,
        Self::EventsNarrowed,
        Self::TrailRedirected,
        Self::Deleted,
        Self::RetentionReduced,
        Self::IndexReduced,
        Self::CopyReduced,
        Self::MarkChanged,
        Self::Other,
    ];
}

/// What is known of one trail; `None` removes the series, because a number that nobody observed must not look observed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrailFigures {
    /// Whether the trail is switched on.
    pub logging: Option<bool>,
    /// Time of the newest event seen in the trail's store.
    pub last_event: Option<Timestamp>,
    /// Longest accepted lag.
    pub max_lag: Option<Duration>,
    /// Time of the newest call of our own that was found in the trail's store; at first, when they began to be looked for.
    pub due_call_last_success: Option<Timestamp>,
    /// Time between two such calls; none if the trail records no regular ones.
    pub due_call_interval: Option<Duration>,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BuildLabels {
    version: &'static str,
    revision: &'static str,
}

/// Who builds a release names the revision; a build from a working copy has none worth naming.
const BUILD: BuildLabels = BuildLabels {
    version: env!("CARGO_PKG_VERSION"),
    revision: match option_env!("RAMTRAIL_REVISION") {
        Some(revision) => revision,
        None => "unknown",
    },
};

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KindLabels {
    kind: Kind,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabels {
    kind: Kind,
    result: Outcome,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabels {
    kind: Kind,
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ObjectsLabels {
    kind: Kind,
    condition: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ObjectLabels {
    namespace: String,
    name: String,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TamperLabels {
    kind: Kind,
    action: TamperAction,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct FieldLabels {
    kind: Kind,
    field: &'static str,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CallLabels {
    service: &'static str,
    action: &'static str,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CodeLabels {
    service: &'static str,
    action: &'static str,
    code: &'static str,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ServiceLabels {
    service: &'static str,
}

macro_rules! buckets {
    ($($(#[$docs:meta])* $name:ident = $bounds:expr;)*) => {
        $(
            $(#[$docs])*
            #[derive(Clone, Copy, Debug, Default)]
            struct $name;

            impl MetricConstructor<Histogram> for $name {
                fn new_metric(&self) -> Histogram {
                    Histogram::new($bounds)
                }
            }
        )*
    };
}

buckets! {
    /// Seconds of a visit, which may be a few reads or a whole creation with its retries.
    VisitBuckets = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
    /// Seconds of one attempt of one call.
    CallBuckets = [0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
    /// Seconds from finding a tampering to having it put right; ninety are promised.
    HealBuckets = [1.0, 5.0, 10.0, 30.0, 60.0, 90.0, 180.0, 600.0, 3600.0];
}

/// A family of histograms whose bounds its type names.
#[derive(Clone, Debug)]
struct Histograms<L, B>(Family<L, Histogram, B>);

impl<L: Clone + std::hash::Hash + Eq, B: Default + Clone> Default for Histograms<L, B> {
    fn default() -> Self {
        Self(Family::new_with_constructor(B::default()))
    }
}

/// Seconds in a day; retention is counted in days everywhere but in metrics.
const DAY_SECONDS: f64 = 86_400.0;

/// The conditions that are counted; the index is that of [`ObjectState`].
const COUNTED: [&str; 7] = [
    condition::READY,
    condition::SYNCED,
    condition::RECONCILING,
    condition::STALLED,
    condition::PROTECTED,
    condition::LOGGING,
    condition::DELIVERING,
];

/// Status of each counted condition of one object: a few bytes, because there may be ten thousand objects.
type ObjectState = [Option<Status>; COUNTED.len()];

/// All metrics of the process. Cheap to clone; every clone reports to the same registry.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
    registry: Arc<Registry>,
}

#[derive(Debug, Default)]
struct Inner {
    build_info: Family<BuildLabels, Gauge>,
    reconciles: Family<OutcomeLabels, Counter>,
    reconcile_duration: Histograms<KindLabels, VisitBuckets>,
    reconcile_errors: Family<ReasonLabels, Counter>,
    objects: Family<ObjectsLabels, Gauge>,
    object_states: Mutex<HashMap<(Kind, ObjectLabels), ObjectState>>,
    trail_logging: Family<ObjectLabels, Gauge>,
    trail_last_event: Family<ObjectLabels, FloatGauge>,
    trail_max_lag: Family<ObjectLabels, FloatGauge>,
    trail_canary_last_success: Family<ObjectLabels, FloatGauge>,
    trail_canary_interval: Family<ObjectLabels, FloatGauge>,
    tamper_events: Family<TamperLabels, Counter>,
    tamper_heal_duration: Histograms<KindLabels, HealBuckets>,
    drift_detected: Family<FieldLabels, Counter>,
    drift_repaired: Family<FieldLabels, Counter>,
    logstore_retention: Family<ObjectLabels, FloatGauge>,
    cloud_requests: Family<CodeLabels, Counter>,
    cloud_request_duration: Histograms<CallLabels, CallBuckets>,
    cloud_throttled: Family<CallLabels, Counter>,
    cloud_denied: Family<CallLabels, Counter>,
    cloud_budget_wait: Family<CallLabels, Counter<f64, AtomicU64>>,
    clock_skew: Family<ServiceLabels, FloatGauge>,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry of its own, with the series that must exist before anything happens set to zero.
    pub fn new() -> Self {
        let inner = Inner::default();
        let mut registry = Registry::default();
        let own = registry.sub_registry_with_prefix("ramtrail");
        inner.register(own);
        inner.register_cloud(own);
        // The names of process metrics are shared by all programs: no prefix of ours.
        registry.register_collector(Box::new(Process::new()));
        inner.start_at_zero();
        Self {
            inner: Arc::new(inner),
            registry: Arc::new(registry),
        }
    }

    /// The exposition of everything, in OpenMetrics text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A visit to an object ended.
    pub fn reconciled(&self, kind: Kind, result: Outcome, duration: Duration) {
        self.inner
            .reconciles
            .get_or_create(&OutcomeLabels { kind, result })
            .inc();
        self.inner
            .reconcile_duration
            .0
            .get_or_create(&KindLabels { kind })
            .observe(duration.as_secs_f64());
    }

    /// A visit failed for this reason, one of [`reason::ALL`]; anything else counts as `Other`.
    pub fn reconcile_failed(&self, kind: Kind, reason: &str) {
        let reason = reason::ALL
            .iter()
            .find(|known| **known == reason)
            .copied()
            .unwrap_or("Other");
        self.inner
            .reconcile_errors
            .get_or_create(&ReasonLabels { kind, reason })
            .inc();
    }

    /// The conditions that an object has now; replaces what was said of it before.
    pub fn set_conditions(&self, kind: Kind, namespace: &str, name: &str, conditions: &[Condition]) {
        let state =
            COUNTED.map(|type_| condition::find(conditions, type_).and_then(|c| status_of(&c.status)));
        self.replace_state(kind, namespace, name, Some(state));
    }

    /// An object is gone: it is counted no more, and its own series end.
    pub fn forget(&self, kind: Kind, namespace: &str, name: &str) {
        self.replace_state(kind, namespace, name, None);
        let labels = object(namespace, name);
        match kind {
            Kind::AuditProject => {}
            Kind::AuditLogStore => {
                self.inner.logstore_retention.remove(&labels);
            }
            Kind::RamTrail => self.set_trail(namespace, name, &TrailFigures::default()),
        }
    }

    /// What is known of a trail now; replaces what was said of it before.
    pub fn set_trail(&self, namespace: &str, name: &str, figures: &TrailFigures) {
        let TrailFigures {
            logging,
            last_event,
            max_lag,
            due_call_last_success,
            due_call_interval,
        } = *figures;
        let labels = object(namespace, name);
        match logging {
            Some(on) => {
                self.inner.trail_logging.get_or_create(&labels).set(i64::from(on));
            }
            None => {
                self.inner.trail_logging.remove(&labels);
            }
        }
        let time = |time: Option<Timestamp>| time.map(|t| t.as_duration().as_secs_f64());
        let span = |span: Option<Duration>| span.map(|s| s.as_secs_f64());
        set_or_remove(&self.inner.trail_last_event, &labels, time(last_event));
        set_or_remove(&self.inner.trail_max_lag, &labels, span(max_lag));
        set_or_remove(
            &self.inner.trail_canary_last_success,
            &labels,
            time(due_call_last_success),
        );
        set_or_remove(
            &self.inner.trail_canary_interval,
            &labels,
            span(due_call_interval),
        );
    }

    /// Retention of a log store as found, in days; `None` when it is not known.
    pub fn set_log_store_retention(&self, namespace: &str, name: &str, days: Option<i32>) {
        let seconds = days.map(|days| f64::from(days) * DAY_SECONDS);
        set_or_remove(&self.inner.logstore_retention, &object(namespace, name), seconds);
    }

    /// A weakening from outside was found.
    pub fn tampered(&self, kind: Kind, action: TamperAction) {
        self.inner
            .tamper_events
            .get_or_create(&TamperLabels { kind, action })
            .inc();
    }

    /// A weakening was put right, this long after it was found.
    pub fn healed(&self, kind: Kind, after: Duration) {
        self.inner
            .tamper_heal_duration
            .0
            .get_or_create(&KindLabels { kind })
            .observe(after.as_secs_f64());
    }

    /// A field differs from the spec. `field` is its path in the spec, without the name of any object.
    pub fn drift_detected(&self, kind: Kind, field: &'static str) {
        self.inner
            .drift_detected
            .get_or_create(&FieldLabels { kind, field })
            .inc();
    }

    /// A field that differed was put right.
    pub fn drift_repaired(&self, kind: Kind, field: &'static str) {
        self.inner
            .drift_repaired
            .get_or_create(&FieldLabels { kind, field })
            .inc();
    }

    /// Whether this process holds the lease.
    pub fn set_leader(&self, leads: bool) {
        self.inner.leader.set(i64::from(leads));
    }

    fn replace_state(&self, kind: Kind, namespace: &str, name: &str, new: Option<ObjectState>) {
        let key = (kind, object(namespace, name));
        // The counts are changed under the lock, so that two visits cannot leave them wrong.
        let mut states = self
            .inner
            .object_states
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let old = match new {
            Some(new) => states.insert(key, new),
            None => states.remove(&key),
        };
        let absent = [None; COUNTED.len()];
        let changes = old.unwrap_or(absent).into_iter().zip(new.unwrap_or(absent));
        for (condition, (old, new)) in COUNTED.into_iter().zip(changes) {
            if old == new {
                continue;
            }
            let series = |status: Status| ObjectsLabels {
                kind,
                condition,
                status: status.as_str(),
            };
            if let Some(old) = old {
                self.inner.objects.get_or_create(&series(old)).dec();
            }
            if let Some(new) = new {
                self.inner.objects.get_or_create(&series(new)).inc();
            }
        }
    }
}

impl Inner {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "reconciles",
            "Visits to objects that have ended, by result",
            self.reconciles.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of visits to objects",
            Unit::Seconds,
            self.reconcile_duration.0.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Visits that failed, by the reason that the conditions give",
            self.reconcile_errors.clone(),
        );
        registry.register(
            "objects",
            "Objects by the status of a condition",
            self.objects.clone(),
        );
        registry.register(
            "trail_logging",
            "Whether the trail is switched on (1) or off (0)",
            self.trail_logging.clone(),
        );
        registry.register_with_unit(
            "trail_last_event_timestamp",
            "Time of the newest event seen in the trail's store, since the epoch",
            Unit::Seconds,
            self.trail_last_event.clone(),
        );
        registry.register_with_unit(
            "trail_max_lag",
            "Longest accepted time between a call and its event in the trail's store",
            Unit::Seconds,
            self.trail_max_lag.clone(),
        );
        registry.register_with_unit(
            "trail_canary_last_success_timestamp",
            "Time of the newest call of the operator's own that was found in the trail's store, or when the search for them began, since the epoch",
            Unit::Seconds,
            self.trail_canary_last_success.clone(),
        );
        registry.register_with_unit(
            "trail_canary_interval",
            "Time between two calls of the operator's own that the trail must record",
            Unit::Seconds,
            self.trail_canary_interval.clone(),
        );
        registry.register(
            "tamper_events",
            "Changes from outside that weakened the audit and were found",
            self.tamper_events.clone(),
        );
        registry.register_with_unit(
            "tamper_heal_duration",
            "Time from finding a weakening to having it put right",
            Unit::Seconds,
            self.tamper_heal_duration.0.clone(),
        );
        registry.register(
            "drift_detected",
            "Fields found to differ from the spec",
            self.drift_detected.clone(),
        );
        registry.register(
            "drift_repaired",
            "Fields that differed from the spec and were put right",
            self.drift_repaired.clone(),
        );
        registry.register_with_unit(
            "logstore_retention",
            "Retention of the log store as found",
            Unit::Seconds,
            self.logstore_retention.clone(),
        );
        registry.register(
            "leader",
            "Whether this process holds the lease (1) or not (0)",
            self.leader.clone(),
        );
        registry.register(
            "build_info",
            "Version of the program, always 1",
            self.build_info.clone(),
        );
    }

    fn register_cloud(&self, registry: &mut Registry) {
        registry.register(
            "cloud_requests",
            "Attempts of calls to the cloud, by class of failure, or ok",
            self.cloud_requests.clone(),
        );
        registry.register_with_unit(
            "cloud_request_duration",
            "Duration of attempts of calls to the cloud",
            Unit::Seconds,
            self.cloud_request_duration.0.clone(),
        );
        registry.register(
            "cloud_throttled",
            "Attempts that the cloud refused because there were too many",
            self.cloud_throttled.clone(),
        );
        registry.register(
            "cloud_denied",
            "Attempts that the cloud refused because a permission is missing",
            self.cloud_denied.clone(),
        );
        registry.register_with_unit(
            "cloud_budget_wait",
            "Time that calls waited for their share of the rate",
            Unit::Seconds,
            self.cloud_budget_wait.clone(),
        );
        registry.register_with_unit(
            "clock_skew",
            "How far the cloud's clock is ahead of ours",
            Unit::Seconds,
            self.clock_skew.clone(),
        );
    }

    fn start_at_zero(&self) {
        self.build_info.get_or_create(&BUILD).set(1);
        for kind in Kind::ALL {
            for result in Outcome::ALL {
                drop(self.reconciles.get_or_create(&OutcomeLabels { kind, result }));
            }
            drop(self.reconcile_duration.0.get_or_create(&KindLabels { kind }));
            drop(self.tamper_heal_duration.0.get_or_create(&KindLabels { kind }));
            for action in TamperAction::ALL {
                drop(self.tamper_events.get_or_create(&TamperLabels { kind, action }));
            }
        }
    }
}

impl CallObserver for Metrics {
    fn attempt_ended(&self, attempt: &Attempt) {
        let Attempt {
            service,
            action,
            write: _,
            class,
            duration,
            retried: _,
        } = *attempt;
        let service = service.as_str();
        let call = CallLabels { service, action };
        let code = class.map_or("ok", Class::as_str);
        self.inner
            .cloud_requests
            .get_or_create(&CodeLabels {
                service,
                action,
                code,
            })
            .inc();
        self.inner
            .cloud_request_duration
            .0
            .get_or_create(&call)
            .observe(duration.as_secs_f64());
        match class {
            Some(Class::Throttled) => {
                self.inner.cloud_throttled.get_or_create(&call).inc();
            }
            Some(Class::Denied) => {
                self.inner.cloud_denied.get_or_create(&call).inc();
            }
            _ => {}
        }
    }

    fn waited_for_budget(&self, service: Service, action: &'static str, waited: Duration) {
        let call = CallLabels {
            service: service.as_str(),
            action,
        };
        self.inner
            .cloud_budget_wait
            .get_or_create(&call)
            .inc_by(waited.as_secs_f64());
    }

    fn clock_skew(&self, service: Service, seconds: f64) {
        self.inner
            .clock_skew
            .get_or_create(&ServiceLabels {
                service: service.as_str(),
            })
            .set(seconds);
    }
}

fn object(namespace: &str, name: &str) -> ObjectLabels {
    ObjectLabels {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn status_of(text: &str) -> Option<Status> {
    [Status::True, Status::False, Status::Unknown]
        .into_iter()
        .find(|status| status.as_str() == text)
}

fn set_or_remove(family: &Family<ObjectLabels, FloatGauge>, labels: &ObjectLabels, value: Option<f64>) {
    match value {
        Some(value) => {
            family.get_or_create(labels).set(value);
        }
        None => {
            family.remove(labels);
        }
    }
}

/// What the kernel knows of this process, read when it is asked for. Absent where there is no `/proc`.
#[derive(Debug)]
struct Process {
    started: Timestamp,
}

impl Process {
    fn new() -> Self {
        Self {
            started: Timestamp::now(),
        }
    }

    /// Resident memory in bytes.
    fn resident_bytes() -> Option<i64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    }

    /// CPU time of all threads so far, in seconds.
    fn cpu_seconds() -> Option<f64> {
        // Nanoseconds on the CPU come first; ticks of /proc/self/stat would need the clock's rate, which is not readable.
        let tasks = std::fs::read_dir("/proc/self/task").ok()?;
        let nanoseconds: u64 = tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .sum();
        Some(Duration::from_nanos(nanoseconds).as_secs_f64())
    }

    fn open_files() -> Option<i64> {
        i64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let started = self.started.as_duration().as_secs_f64();
        gauge(
            "process_start_time_seconds",
            "Start of the process, since the epoch",
            started,
        )?;
        if let Some(bytes) = Self::resident_bytes() {
            #[allow(clippy::cast_precision_loss)] // exact up to 9 PB
            gauge("process_resident_memory_bytes", "Resident memory", bytes as f64)?;
        }
        if let Some(files) = Self::open_files() {
            #[allow(clippy::cast_precision_loss)] // exact up to 9e15 files
            gauge("process_open_fds", "Open file descriptors", files as f64)?;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            #[allow(clippy::cast_precision_loss)] // exact up to 9e15 tasks
            gauge(
                "ramtrail_tasks",
                "Tasks of the runtime that have not ended",
                runtime.metrics().num_alive_tasks() as f64,
            )?;
        }
        if let Some(seconds) = Self::cpu_seconds() {
            let counter = ConstCounter::new(seconds);
            let descriptor = encoder.encode_descriptor(
                "process_cpu_seconds",
                "CPU time of the threads that live",
                None,
                counter.metric_type(),
            )?;
            counter.encode(descriptor)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use condition::{Statement, merge};

    fn has(metrics: &Metrics, line: &str) -> bool {
        metrics.encode().unwrap().lines().any(|l| l == line)
    }

    #[track_caller]
    fn assert_line(metrics: &Metrics, line: &str) {
        let text = metrics.encode().unwrap();
        let name = line.split(['{', ' ']).next().unwrap();
        let near: Vec<&str> = text.lines().filter(|l| l.contains(name)).collect();
        assert!(text.lines().any(|l| l == line), "no line {line}; near: {near:#?}");
    }

    fn conditions(ready: Status) -> Vec<Condition> {
        merge(
            &[],
            &[Statement::new(condition::READY, ready, reason::AVAILABLE, "")],
            None,
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn names_of_metrics_are_those_that_dashboards_use() {
        let metrics = Metrics::new();
        metrics.reconciled(Kind::RamTrail, Outcome::Ok, Duration::from_secs(2));
        metrics.reconcile_failed(Kind::RamTrail, reason::DENIED);
        metrics.set_conditions(Kind::RamTrail, "audit", "t", &conditions(Status::True));
        metrics.set_trail(
            "audit",
            "t",
            &TrailFigures {
                logging: Some(true),
                last_event: Some(Timestamp::from_second(1_000).unwrap()),
                max_lag: Some(Duration::from_secs(900)),
                due_call_last_success: Some(Timestamp::from_second(2_000).unwrap()),
                due_call_interval: Some(Duration::from_secs(300)),
            },
        );
        metrics.set_log_store_retention("audit", "s", Some(30));
        metrics.tampered(Kind::RamTrail, TamperAction::LoggingStopped);
        metrics.healed(Kind::RamTrail, Duration::from_secs(3));
        metrics.drift_detected(Kind::AuditProject, "spec.description");
        metrics.drift_repaired(Kind::AuditProject, "spec.description");
        metrics.set_leader(true);
        let attempt = |class| Attempt {
            service: Service::Sts,
            action: "GetCallerIdentity",
            write: false,
            class,
            duration: Duration::from_millis(20),
            retried: false,
        };
        metrics.attempt_ended(&attempt(None));
        metrics.attempt_ended(&attempt(Some(Class::Throttled)));
        metrics.attempt_ended(&attempt(Some(Class::Denied)));
        CallObserver::clock_skew(&metrics, Service::Sts, -2.5);
        for line in [
            concat!(
                r#"ramtrail_build_info{version=""#,
                env!("CARGO_PKG_VERSION"),
                r#"",revision="unknown"} 1"#
            ),
            r#"ramtrail_reconciles_total{kind="RamTrail",result="ok"} 1"#,
            r#"ramtrail_reconcile_duration_seconds_count{kind="RamTrail"} 1"#,
            r#"ramtrail_reconcile_errors_total{kind="RamTrail",reason="Denied"} 1"#,
            r#"ramtrail_objects{kind="RamTrail",condition="Ready",status="True"} 1"#,
            r#"ramtrail_trail_logging{namespace="audit",name="t"} 1"#,
            r#"ramtrail_trail_last_event_timestamp_seconds{namespace="audit",name="t"} 1000.0"#,
            r#"ramtrail_trail_max_lag_seconds{namespace="audit",name="t"} 900.0"#,
            r#"ramtrail_trail_canary_last_success_timestamp_seconds{namespace="audit",name="t"} 2000.0"#,
            r#"ramtrail_trail_canary_interval_seconds{namespace="audit",name="t"} 300.0"#,
            r#"ramtrail_tamper_events_total{kind="RamTrail",action="LoggingStopped"} 1"#,
            r#"ramtrail_tamper_heal_duration_seconds_count{kind="RamTrail"} 1"#,
            r#"ramtrail_drift_detected_total{kind="AuditProject",field="spec.description"} 1"#,
            r#"ramtrail_drift_repaired_total{kind="AuditProject",field="spec.description"} 1"#,
            r#"ramtrail_logstore_retention_seconds{namespace="audit",name="s"} 2592000.0"#,
            r#"ramtrail_cloud_requests_total{service="sts",action="GetCallerIdentity",code="ok"} 1"#,
            r#"ramtrail_cloud_requests_total{service="sts",action="GetCallerIdentity",code="Denied"} 1"#,
            r#"ramtrail_cloud_request_duration_seconds_count{service="sts",action="GetCallerIdentity"} 3"#,
            r#"ramtrail_cloud_throttled_total{service="sts",action="GetCallerIdentity"} 1"#,
            r#"ramtrail_cloud_denied_total{service="sts",action="GetCallerIdentity"} 1"#,
            r#"ramtrail_clock_skew_seconds{service="sts"} -2.5"#,
            "ramtrail_leader 1",
        ] {
            assert_line(&metrics, line);
        }
    }

    #[test]
    fn process_metrics_have_their_shared_names() {
        let text = Metrics::new().encode().unwrap();
        for name in [
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
        ] {
            let value = text
                .lines()
                .find_map(|l| l.strip_prefix(name)?.trim().parse::<f64>().ok());
            assert!(value.is_some_and(|v| v > 0.0), "{name}: {value:?}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn tampering_has_a_series_before_the_first_one() {
        let metrics = Metrics::new();
        for kind in Kind::ALL {
            for action in TamperAction::ALL {
                let line =
                    format!(r#"ramtrail_tamper_events_total{{kind="{kind:?}",action="{action:?}"}} 0"#);
                assert_line(&metrics, &line);
            }
        }
    }

    #[test]
    fn objects_are_counted_by_their_newest_conditions() {
        let metrics = Metrics::new();
        let line = |status: &str, n: u32| {
            format!(r#"ramtrail_objects{{kind="AuditProject",condition="Ready",status="{status}"}} {n}"#)
        };
        for name in ["a", "b"] {
            metrics.set_conditions(Kind::AuditProject, "ns", name, &conditions(Status::False));
        }
        assert_line(&metrics, &line("False", 2));
        metrics.set_conditions(Kind::AuditProject, "ns", "a", &conditions(Status::True));
        metrics.set_conditions(Kind::AuditProject, "ns", "a", &conditions(Status::True));
        assert_line(&metrics, &line("False", 1));
        assert_line(&metrics, &line("True", 1));
        metrics.forget(Kind::AuditProject, "ns", "a");
        metrics.forget(Kind::AuditProject, "ns", "a");
        assert_line(&metrics, &line("True", 0));
        assert_line(&metrics, &line("False", 1));
    }

    #[test]
    fn a_forgotten_object_has_no_series_of_its_own() {
        let metrics = Metrics::new();
        metrics.set_trail(
            "ns",
            "t",
            &TrailFigures {
                logging: Some(false),
                ..TrailFigures::default()
            },
        );
        metrics.set_log_store_retention("ns", "s", Some(1));
        assert!(has(
            &metrics,
            r#"ramtrail_trail_logging{namespace="ns",name="t"} 0"#
        ));
        metrics.forget(Kind::RamTrail, "ns", "t");
        metrics.forget(Kind::AuditLogStore, "ns", "s");
        assert!(!metrics.encode().unwrap().contains(r#"namespace="ns""#));
    }

    #[test]
    fn a_reason_that_is_no_constant_becomes_other() {
        let metrics = Metrics::new();
        metrics.reconcile_failed(Kind::RamTrail, "LTAI-some-text");
        assert_line(
            &metrics,
            r#"ramtrail_reconcile_errors_total{kind="RamTrail",reason="Other"} 1"#,
        );
    }
}
