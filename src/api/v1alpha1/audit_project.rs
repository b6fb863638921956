//! `AuditProject`: the Log Service project that holds audit data.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::common::{
    AdoptionPolicy, Claim, Credentials, DeletionPolicy, ManagementPolicy, PendingCreate, Tamper,
    conditions_schema,
};

/// Desired state of a Log Service project. Region, account and credentials are inherited by everything that refers to it.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "ramtrail.io",
    version = "v1alpha1",
    kind = "AuditProject",
    plural = "auditprojects",
    singular = "auditproject",
    shortname = "aproj",
    category = "audit",
    category = "alibaba",
    namespaced,
    status = "AuditProjectStatus",
    derive = "PartialEq",
    doc = "A Log Service project that holds audit data, created or adopted, kept as declared.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether what the spec asks for holds"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, description = "Why it is or is not Ready"),
    printcolumn(name = "Project", type_ = "string", json_path = ".status.projectName", description = "Name of the project in Log Service"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region", description = "Region of the project"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Age of this object"),
    printcolumn(name = "Account", type_ = "string", json_path = ".status.accountID", description = "Account that owns the project", priority = 1),
    printcolumn(name = "Policy", type_ = "string", json_path = ".status.managementPolicy", description = "Effective management policy", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, description = "Ready in words", priority = 1),
    validation = Rule::new("(has(self.spec.projectName) ? self.spec.projectName : self.metadata.name) == (has(oldSelf.spec.projectName) ? oldSelf.spec.projectName : oldSelf.metadata.name)")
        .message("spec.projectName cannot be changed: a Log Service project cannot be renamed. Create another AuditProject with the new name")
        .field_path(".spec.projectName").reason(Reason::FieldValueForbidden),
    validation = Rule::new("(has(self.spec.projectName) ? self.spec.projectName : self.metadata.name).matches('^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$')")
        .message("spec.projectName, or metadata.name when it is not set, must be 3 to 63 characters: lower-case letters, digits and '-', starting and ending with a letter or digit. Set spec.projectName to such a name")
        .field_path(".spec.projectName"),
    validation = Rule::new("(has(self.spec.projectName) ? self.spec.projectName : self.metadata.name) != 'logtail'")
        .message("spec.projectName: 'logtail' is reserved by Log Service. Choose another name")
        .field_path(".spec.projectName")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.accountID) || (has(self.accountID) && self.accountID == oldSelf.accountID)")
    .message("spec.accountID may be added once and cannot be changed or removed. Create another AuditProject for another account")
    .field_path(".accountID").reason(Reason::FieldValueForbidden))]
pub struct AuditProjectSpec {
    /// Region of the project, for example `cn-hangzhou`. 4 to 40 characters. Cannot be changed.
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2}(-[a-z0-9]+){1,6}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.region cannot be changed: a Log Service project stays in its region. Create another AuditProject in the new region")
        .reason(Reason::FieldValueForbidden),
        validation = Rule::new("!['-intranet', '-share', '-vpc', '-internal'].exists(s, self.endsWith(s))")
        .message("spec.region is a region's id, such as 'cn-hangzhou', without '-intranet', '-share', '-vpc' or '-internal'. Which network is used is a setting of the operator (--network)"))]
    pub region: String,

    /// Name of the project in Log Service, 3 to 63 characters: lower-case letters, digits, `-`; starts and ends with a
    /// letter or digit. Default: metadata.name. Cannot be changed. Log Service shares project names between all accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 63))]
    pub project_name: Option<String>,

    /// Account in which the project must lie (the number that GetCallerIdentity tells). When set, credentials of any other
    /// account are refused before the first write. May be added once, never changed. Default: the account of the credentials.
    #[serde(rename = "accountID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 5, max = 20), regex(pattern = r"^[0-9]+$"))]
    pub account_id: Option<String>,

    /// Description of the project, at most 512 characters. Unset: left as found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,

    /// Tags on the project, at most 16: Log Service allows 20 and ramtrail keeps its own marks among them. Keys have 1 to 128
    /// characters and may not start with `acs:`, `aliyun` or `ramtrail-`, nor contain `http://` or `https://`; values have 1
    /// to 128 characters. Tags that leave the spec are removed; tags set by others stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), schema_with = "tags_schema")]
    #[x_kube(validation = Rule::new("self.all(k, size(k) >= 1 && size(k) <= 128 && !k.startsWith('acs:') && !k.startsWith('aliyun') && !k.contains('http://') && !k.contains('https://'))")
        .message("spec.tags: keys must have 1 to 128 characters, may not start with 'acs:' or 'aliyun', and may not contain 'http://' or 'https://'. Rename the key"),
        validation = Rule::new("self.all(k, !k.startsWith('ramtrail-'))")
        .message("spec.tags: keys that start with 'ramtrail-' are kept for ramtrail's own marks. Rename the key"),
        validation = Rule::new("self.all(k, !self[k].contains('http://') && !self[k].contains('https://'))")
        .message("spec.tags: values may not contain 'http://' or 'https://'. Write the value without the scheme"))]
    pub tags: BTreeMap<String, String>,

    /// Credentials for Alibaba Cloud. Default: the operator's own identity, where this namespace may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,

    /// Enforce: converge and keep. Observe: only look. Objects that refer to this project are held to the stricter of the two.
    #[serde(default)]
    pub management_policy: ManagementPolicy,

    /// What to do when the project exists already. IfUnowned: take it over when nobody's ramtrail mark is on it. Always: take it
    /// over from another owner too. Never: manage only what this object created.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,

    /// What happens to the project when this object is deleted. Retain: it stays. Delete: it is deleted if this object created
    /// it and it holds no log store.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Keys and values are bounded so that the API server can estimate the cost of the rules on them.
fn tags_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string", "minLength": 1, "maxLength": 128 },
    })
}

/// Observed state of an AuditProject.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditProjectStatus {
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
    /// Effective name of the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub project_name: Option<String>,
    /// Resource name in Alibaba Cloud, for example `acs:log:cn-hangzhou:1234567890123456:project/my-project`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub arn: Option<String>,
    /// Host at which the project answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub endpoint: Option<String>,
    /// Effective management policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub management_policy: Option<ManagementPolicy>,
    /// The claim on the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// A create call whose outcome is not settled yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_create: Option<PendingCreate>,
    /// What was converged last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedProject>,
    /// Since when the project holds data: its own creation time. It moves when the project was deleted and made again.
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

/// What was last converged for a project, to know what has left the spec since.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedProject {
    /// Keys of the user's tags that this object set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tag_keys: Vec<String>,
    /// Description that this object set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
}

impl AuditProject {
    /// Name of the project in Log Service: `spec.projectName`, else `metadata.name`.
    pub fn effective_name(&self) -> &str {
        self.spec
            .project_name
            .as_deref()
            .or(self.metadata.name.as_deref())
            .unwrap_or_default()
    }
}
