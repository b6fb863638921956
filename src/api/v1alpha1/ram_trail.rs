//! `RamTrail`: RAM access logging and its flow into an audit project.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{
    AdoptionPolicy, Claim, DeletionPolicy, LocalReference, ManagementPolicy, PendingCreate, Tamper,
    conditions_schema,
};

/// Desired state of a trail: ActionTrail records the account's calls and delivers them into the project.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "ramtrail.io",
    version = "v1alpha1",
    kind = "RamTrail",
    plural = "ramtrails",
    singular = "ramtrail",
    shortname = "rt",
    category = "audit",
    category = "alibaba",
    namespaced,
    status = "RamTrailStatus",
    derive = "PartialEq",
    doc = "RAM access logging: an ActionTrail trail that is switched on, kept on, and proved to deliver into an AuditProject.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether what the spec asks for holds"),
    printcolumn(name = "Logging", type_ = "string", json_path = r#".status.conditions[?(@.type=="Logging")].status"#, description = "Whether the trail is switched on"),
    printcolumn(name = "Delivering", type_ = "string", json_path = r#".status.conditions[?(@.type=="Delivering")].status"#, description = "Whether events arrive"),
    printcolumn(name = "Events", type_ = "string", json_path = ".spec.events", description = "Which events are recorded"),
    printcolumn(name = "Trail", type_ = "string", json_path = ".status.trailName", description = "Name of the trail"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Age of this object"),
    printcolumn(name = "Region", type_ = "string", json_path = ".status.homeRegion", description = "Home region of the trail", priority = 1),
    printcolumn(name = "Tampered", type_ = "string", json_path = ".status.lastTamper.time", description = "When the newest weakening from outside was found", priority = 1),
    printcolumn(name = "Policy", type_ = "string", json_path = ".status.managementPolicy", description = "Effective management policy", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, description = "Ready in words", priority = 1),
    validation = Rule::new("(has(self.spec.trailName) ? self.spec.trailName : self.metadata.name) == (has(oldSelf.spec.trailName) ? oldSelf.spec.trailName : oldSelf.metadata.name)")
        .message("spec.trailName cannot be changed: a trail cannot be renamed. Create another RamTrail with the new name")
        .field_path(".spec.trailName").reason(Reason::FieldValueForbidden),
    validation = Rule::new("(has(self.spec.trailName) ? self.spec.trailName : self.metadata.name).matches('^[a-z][a-z0-9_-]{5,35}$')")
        .message("spec.trailName, or metadata.name when it is not set, must be 6 to 36 characters: lower-case letters, digits, '-' and '_', starting with a letter. Set spec.trailName to such a name")
        .field_path(".spec.trailName")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.copyTo) || !has(oldSelf.copyTo) || self.copyTo.logStoreRef == oldSelf.copyTo.logStoreRef")
    .message("spec.copyTo.logStoreRef cannot be changed: events already copied would be split over two stores. Remove copyTo, apply, then add it with the new store")
    .field_path(".copyTo").reason(Reason::FieldValueForbidden))]
pub struct RamTrailSpec {
    /// The AuditProject into which the trail delivers. Cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.projectRef cannot be changed: the events delivered so far would stay behind. Create another RamTrail")
        .reason(Reason::FieldValueForbidden))]
    pub project_ref: LocalReference,

    /// Name of the trail, 6 to 36 characters: starts with a lower-case letter, then lower-case letters, digits, `-`, `_`; unique
    /// in the account. Default: metadata.name. Cannot be changed. ActionTrail delivers into the store `actiontrail_<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 6, max = 36))]
    pub trail_name: Option<String>,

    /// Enabled: the trail records and is switched on again when somebody stops it. Stopped: it records nothing.
    #[serde(default)]
    pub logging: Logging,

    /// Which events are recorded: All, or only Write or only Read ones. RAM access logging needs All: AssumeRole and the reading
    /// of secrets may be Read events.
    #[serde(default)]
    pub events: EventSelection,

    /// Settings of the trail's own store, which ActionTrail makes and only ActionTrail writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<TrailStore>,

    /// Copies matching events into an AuditLogStore with a data-transformation job. Unset: no copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_to: Option<CopyTo>,

    /// When delivery counts as broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,

    /// Enforce: converge and keep. Observe: only look. The stricter of this and the project's holds.
    #[serde(default)]
    pub management_policy: ManagementPolicy,

    /// What to do when the trail exists already. IfUnowned: take it over when nobody's ramtrail mark is on the project for it.
    /// Always: take it over even from another owner, and that owner's copy job with it. Never: manage only what this object
    /// created. Taking over never reduces what the trail protects.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,

    /// What happens to the trail when this object is deleted. Retain: it goes on recording. Delete: it is deleted if this object
    /// created it; the events delivered so far stay either way.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Whether the trail records.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Logging {
    /// It records, and is switched on again when somebody stops it.
    #[default]
    Enabled,
    /// It records nothing.
    Stopped,
}

/// Which events the trail records.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum EventSelection {
    /// Reads and writes.
    #[default]
    All,
    /// Only writes.
    Write,
    /// Only reads.
    Read,
}

/// Settings of the store `actiontrail_<trail>`.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrailStore {
    /// Retention in days, 1 to 3650; 3650 keeps the events for ever, as ActionTrail sets it. Unset: left as found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub retention_days: Option<i32>,
}

/// A copy of matching events into a store of our own.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyTo {
    /// The AuditLogStore that receives the events; it must lie in the same AuditProject. Cannot be changed while copyTo is set.
    pub log_store_ref: LocalReference,

    /// Service names of the events to copy, compared without regard to case; at most 64. Default: Ram, Ims, Sts, AasSub,
    /// AasCustomer, ResourceManager, which together are RAM access.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub services: Vec<String>,

    /// RAM role that the copy job uses to read the trail's store and to write the other, for example
    /// `acs:ram::1234567890123456:role/ramtrail-copy`. Log Service has no default role for such jobs.
    #[serde(rename = "roleARN")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^acs:ram::[0-9]+:role/[A-Za-z0-9._-]+$")
    )]
    pub role_arn: String,
}

/// When delivery counts as broken.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Longest time in seconds between a recorded call and its event in the trail's store, 60 to 86400. Default: 900.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 86400))]
    pub max_lag_seconds: Option<i32>,
}

/// Observed state of a RamTrail.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RamTrailStatus {
    /// Generation of the spec that the newest visit looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Generation of the spec that was last converged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_generation: Option<i64>,
    /// Ready, Synced, Reconciling, Stalled, Protected, Logging, Delivering; meanings and reasons are in the documentation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// Account of the credentials in use.
    #[serde(rename = "accountID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub account_id: Option<String>,
    /// Effective name of the trail.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub trail_name: Option<String>,
    /// Home region of the trail.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub home_region: Option<String>,
    /// Resource name of the trail in Alibaba Cloud.
    #[serde(rename = "trailARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub trail_arn: Option<String>,
    /// The store into which ActionTrail delivers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub log_store_name: Option<String>,
    /// Name of the project in Log Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub project_name: Option<String>,
    /// Retention of the trail's store as found, in days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<i32>,
    /// Name of the copy job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub copy_job_name: Option<String>,
    /// Effective management policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub management_policy: Option<ManagementPolicy>,
    /// The claim on the trail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// A create call whose outcome is not settled yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_create: Option<PendingCreate>,
    /// What was converged last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedTrail>,
    /// Since when the trail's store holds data: its own creation time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub data_since: Option<String>,
    /// The newest weakening from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_tamper: Option<Tamper>,
    /// Weakenings that were told as not put right, until a visit sees them put right or the spec asks for something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub unrepaired: Vec<Unrepaired>,
    /// With Observe: what Enforce would do, at most 30 steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 30), inner(length(max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub plan: Vec<String>,
}

/// What was last converged for a trail: a reduction is made only when that field's wanted value fell since.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedTrail {
    /// Logging switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// Event selection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<EventSelection>,
    /// Retention of the trail's store in days, when the spec sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_retention_days: Option<i32>,
    /// The copy, when the spec asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<AppliedCopy>,
    /// Keys of the index of the trail's store that had the type of ramtrail's preset when it was last seen whole: another type
    /// later is a change from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub index_types: Vec<String>,
}

/// A weakening that is not put right yet.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unrepaired {
    /// What it is about, such as logging, events, copy.
    #[schemars(length(max = 64))]
    pub field: String,
    /// What was found, in words.
    #[schemars(length(max = 1024))]
    pub what: String,
    /// What was declared then: a weakening of something else than is declared now is told no more.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub declared: String,
}

/// What was last converged for a copy job.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedCopy {
    /// Log store that receives the events.
    #[schemars(length(max = 64))]
    pub log_store_name: String,
    /// Service names, lower case, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub services: Vec<String>,
    /// Role of the job.
    #[serde(rename = "roleARN")]
    #[schemars(length(max = 256))]
    pub role_arn: String,
    /// From when the job copies, in seconds: a later beginning is a change from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_time: Option<i64>,
}

impl RamTrail {
    /// Name of the trail: `spec.trailName`, else `metadata.name`.
    pub fn effective_name(&self) -> &str {
        self.spec
            .trail_name
            .as_deref()
            .or(self.metadata.name.as_deref())
            .unwrap_or_default()
    }

    /// Longest accepted lag of delivery in seconds.
    pub fn max_lag_seconds(&self) -> i32 {
        self.spec
            .delivery
            .as_ref()
            .and_then(|d| d.max_lag_seconds)
            .unwrap_or(Delivery::DEFAULT_MAX_LAG_SECONDS)
    }
}

impl Delivery {
    /// ActionTrail delivers within about a minute and promises ten: a quarter of an hour is late by any measure.
    pub const DEFAULT_MAX_LAG_SECONDS: i32 = 900;
}

impl CopyTo {
    /// Services whose events are RAM access, when the spec names none.
    pub const DEFAULT_SERVICES: [&'static str; 6] =
        ["Ram", "Ims", "Sts", "AasSub", "AasCustomer", "ResourceManager"];

    /// Service names in force: the spec's, else the default set; lower case, sorted, each once.
    pub fn effective_services(&self) -> Vec<String> {
        let mut names: Vec<String> = if self.services.is_empty() {
            Self::DEFAULT_SERVICES.iter().map(|s| s.to_lowercase()).collect()
        } else {
            self.services.iter().map(|s| s.to_lowercase()).collect()
        };
        names.sort();
        names.dedup();
        names
    }
}
