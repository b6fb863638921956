//! Parts that several kinds share.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the operator may change the cloud for this object.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ManagementPolicy {
    /// Converge the cloud to the spec and keep it so.
    #[default]
    Enforce,
    /// Only look: no change in the cloud, no finalizer; `status.plan` lists what Enforce would do.
    Observe,
}

/// What to do with something that exists in the cloud before the object does.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum AdoptionPolicy {
    /// Take it over when no ramtrail mark is on it.
    #[default]
    IfUnowned,
    /// Take it over even from another owner.
    Always,
    /// Never take over: only what this object created is managed.
    Never,
}

/// What happens in the cloud when the object is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DeletionPolicy {
    /// Leave it: audit data outlives the object.
    #[default]
    Retain,
    /// Delete it, if this object created it and still owns it.
    Delete,
}

/// Name of another object in the same namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// Name of the object, in the namespace of this object. 1 to 253 characters: lower case letters, digits, `-` and `.`, where
    /// each part between dots begins and ends with a letter or digit.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

/// Where the credentials for Alibaba Cloud come from.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Secret in the same namespace with the keys ALIBABA_CLOUD_ACCESS_KEY_ID, ALIBABA_CLOUD_ACCESS_KEY_SECRET and, for
    /// temporary credentials, ALIBABA_CLOUD_SECURITY_TOKEN. It must carry the label `ramtrail.io/credentials: "true"`.
    pub secret_ref: LocalReference,
}

/// How the operator came to manage something.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Origin {
    /// This object created it.
    Created,
    /// It was there before.
    Adopted,
}

/// The claim of this object on one thing in the cloud, decided once at acquisition.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Created or Adopted. Only what was created can be deleted again.
    pub origin: Origin,
    /// Name in the cloud.
    #[schemars(length(max = 64))]
    pub external_name: String,
    /// Creation time as the cloud told it when the claim was made; another value later means that it was re-made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub create_time: Option<String>,
    /// Whether the mark was read back a second time, a minute after it was written. Absent until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<bool>,
}

/// A create call that was about to be sent: written before the call, so that a lost answer is known as ours.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingCreate {
    /// Account in which it was to be created.
    #[serde(rename = "accountID")]
    #[schemars(length(max = 64))]
    pub account_id: String,
    /// Name in the cloud.
    #[schemars(length(max = 64))]
    pub name: String,
    /// Time by the cloud's clock when the call was about to be sent, RFC 3339 in UTC.
    #[schemars(length(max = 64))]
    pub cloud_time: String,
}

/// The newest change from outside that weakened the audit and was found.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tamper {
    /// When it was found, by the cloud's clock, RFC 3339 in UTC.
    #[schemars(length(max = 64))]
    pub time: String,
    /// What was found, in words: field, found value, wanted value.
    #[schemars(length(max = 1024))]
    pub what: String,
    /// Whether the operator has put it right.
    pub repaired: bool,
}

/// Conditions with the bounds that Kubernetes gives them in its own kinds, as a map by type, so that each can be applied and
/// waited for by itself.
pub(super) fn conditions_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "description": "One fact about this object.",
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {
                    "description": "Which fact, in CamelCase.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
                "status": {
                    "description": "Whether it holds: True, False, or Unknown when it cannot be told.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Why, as a word for programs; all of them are in the documentation.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "What is so and what to do about it, for people.",
                    "type": "string",
                    "maxLength": 32768,
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string",
                    "format": "date-time",
                },
                "observedGeneration": {
                    "description": "Generation of the spec that this was said of.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
            },
        },
    })
}
