//! `AuditLogStore`: a log store of our own in an audit project.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::common::{
    AdoptionPolicy, Claim, DeletionPolicy, LocalReference, ManagementPolicy, PendingCreate, Tamper,
    conditions_schema,
};

/// Desired state of a log store. It gets the index of the ActionTrail preset: full text, and `event` as JSON with its leaf fields.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "ramtrail.io",
    version = "v1alpha1",
    kind = "AuditLogStore",
    plural = "auditlogstores",
    singular = "auditlogstore",
    shortname = "als",
    category = "audit",
    category = "alibaba",
    namespaced,
    status = "AuditLogStoreStatus",
    derive = "PartialEq",
    doc = "A log store for audit events in an AuditProject, created or adopted, with its index, kept as declared.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether what the spec asks for holds"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, description = "Why it is or is not Ready"),
    printcolumn(name = "Store", type_ = "string", json_path = ".status.logStoreName", description = "Name of the log store"),
    printcolumn(name = "Retention", type_ = "integer", json_path = ".status.retentionDays", description = "Retention as found, in days; 3650 is permanent"),
    printcolumn(name = "Shards", type_ = "integer", json_path = ".status.shardCount", description = "Shards as found"),
    printcolumn(name = "Since", type_ = "string", json_path = ".status.dataSince", description = "Since when the store holds data"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Age of this object"),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, description = "Ready in words", priority = 1),
    validation = Rule::new("(has(self.spec.logStoreName) ? self.spec.logStoreName : self.metadata.name) == (has(oldSelf.spec.logStoreName) ? oldSelf.spec.logStoreName : oldSelf.metadata.name)")
        .message("spec.logStoreName cannot be changed: a log store cannot be renamed. Create another AuditLogStore with the new name")
        .field_path(".spec.logStoreName").reason(Reason::FieldValueForbidden),
    validation = Rule::new("(has(self.spec.logStoreName) ? self.spec.logStoreName : self.metadata.name).matches('^[a-z0-9][a-z0-9_-]{0,61}[a-z0-9]$')")
        .message("spec.logStoreName, or metadata.name when it is not set, must be 2 to 63 characters: lower-case letters, digits, '-' and '_', starting and ending with a letter or digit. Set spec.logStoreName to such a name")
        .field_path(".spec.logStoreName"),
    validation = Rule::new("!(has(self.spec.logStoreName) ? self.spec.logStoreName : self.metadata.name).matches('^(actiontrail|innertrail|insights)_')")
        .message("spec.logStoreName may not start with 'actiontrail_', 'innertrail_' or 'insights_': ActionTrail makes and writes those stores itself. To set the retention of a trail's own store use spec.store of the RamTrail")
        .field_path(".spec.logStoreName")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.shards) == has(oldSelf.shards) && (!has(self.shards) || self.shards.count == oldSelf.shards.count)")
    .message("spec.shards.count cannot be changed in this version: splitting and merging shards is not converged yet. Keep the value, or split the shards in Log Service by hand")
    .field_path(".shards").reason(Reason::FieldValueForbidden))]
pub struct AuditLogStoreSpec {
    /// The AuditProject in which the store lies. Cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.projectRef cannot be changed: a log store stays in its project. Create another AuditLogStore")
        .reason(Reason::FieldValueForbidden))]
    pub project_ref: LocalReference,

    /// Name of the log store, 2 to 63 characters: lower-case letters, digits, `-`, `_`; starts and ends with a letter or digit;
    /// not starting with `actiontrail_`, `innertrail_` or `insights_`. Default: metadata.name. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 63))]
    pub log_store_name: Option<String>,

    /// Retention of the logs in days, 1 to 3650; 3650 keeps them for ever. Lowering it deletes older logs in Log Service.
    #[schemars(range(min = 1, max = 3650))]
    pub retention_days: i32,

    /// Shards of the store. Unset: 2 when the store is created, left as found when it is adopted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<Shards>,

    /// Whether Log Service adds to each log the public address that it came from and the time at which it arrived, which tells
    /// forged times. true: switched on and kept on. false: switched off when it was true in this spec before. Unset: left as found,
    /// off in a new store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append_meta: Option<bool>,

    /// Enforce: converge and keep. Observe: only look. The stricter of this and the project's holds.
    #[serde(default)]
    pub management_policy: ManagementPolicy,

    /// What to do when the store exists already. IfUnowned: take it over when nobody's ramtrail mark is on it. Always: take it
    /// over from another owner too. Never: manage only what this object created.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,

    /// What happens to the store and its logs when this object is deleted. Retain: both stay. Delete: both are deleted if this
    /// object created the store.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Shards of a log store. One shard takes about 5 MB of writes a second.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shards {
    /// Number of shards at creation, 1 to 10. Cannot be changed in this version.
    #[schemars(range(min = 1, max = 10))]
    pub count: i32,
}

/// Observed state of an AuditLogStore.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditLogStoreStatus {
    /// Generation of the spec that the newest visit looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Generation of the spec that was last converged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_generation: Option<i64>,
    /// Ready, Synced, Reconciling, Stalled, Protected; their meanings and reasons are listed in the documentation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// Account of the credentials in use.
    #[serde(rename = "accountID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub account_id: Option<String>,
    /// Effective name of the log store.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub log_store_name: Option<String>,
    /// Name of the project in Log Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub project_name: Option<String>,
    /// Resource name in Alibaba Cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub arn: Option<String>,
    /// Effective management policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub management_policy: Option<ManagementPolicy>,
    /// Retention as found, in days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<i32>,
    /// Shards as found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_count: Option<i32>,
    /// The claim on the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// A create call whose outcome is not settled yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_create: Option<PendingCreate>,
    /// What was converged last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedLogStore>,
    /// Since when the store holds data: its own creation time. It moves when the store was deleted and made again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub data_since: Option<String>,
    /// The newest weakening from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_tamper: Option<Tamper>,
    /// With Observe: what Enforce would do, at most 30 steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 30), inner(length(max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub plan: Vec<String>,
}

/// What was last converged for a log store: a reduction is made only when the wanted value fell below this, and what was
/// there then and is gone now was taken away from outside.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedLogStore {
    /// Retention in days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<i32>,
    /// Whether origin and arrival of each log were to be added; absent when the spec left it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append_meta: Option<bool>,
    /// Keys of the index whose type was the one that ramtrail gives them: another type later is a change from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub index_types: Vec<String>,
}

impl AuditLogStore {
    /// Name of the store in Log Service: `spec.logStoreName`, else `metadata.name`.
    pub fn effective_name(&self) -> &str {
        self.spec
            .log_store_name
            .as_deref()
            .or(self.metadata.name.as_deref())
            .unwrap_or_default()
    }
}
