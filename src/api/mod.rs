//! The Kubernetes API of ramtrail: group, versions, kinds, conditions.
//!
//! This module owns everything that a user writes in YAML or reads back from `kubectl get`. It knows nothing of the
//! cloud (`crate::aliyun`) and nothing of how objects are reconciled (`crate::controllers`).

pub mod condition;
pub mod v1alpha1;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// API group of all kinds.
pub const GROUP: &str = "ramtrail.io";
/// Finalizer of every kind: held from before the first cloud write until the cloud side is settled.
pub const FINALIZER: &str = "ramtrail.io/finalizer";
/// Field manager of every server-side apply that the operator makes.
pub const FIELD_MANAGER: &str = "ramtrail";
/// Annotation: `"true"` stops every visit that could change anything; conditions say Paused.
pub const PAUSED_ANNOTATION: &str = "ramtrail.io/paused";
/// Annotation: `"true"` on an object being deleted frees it at once and leaves the cloud side as it is.
pub const ABANDON_ANNOTATION: &str = "ramtrail.io/abandon";
/// Annotation: any new value asks for a visit now.
pub const RECONCILE_REQUESTED_ANNOTATION: &str = "ramtrail.io/reconcile-requested-at";
/// Label that a Secret must carry with the value `"true"` before the operator uses it as credentials.
pub const CREDENTIALS_LABEL: &str = "ramtrail.io/credentials";

/// Every CustomResourceDefinition of this version, in the order in which references point.
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    vec![
        v1alpha1::AuditProject::crd(),
        v1alpha1::AuditLogStore::crd(),
        v1alpha1::RamTrail::crd(),
    ]
}
