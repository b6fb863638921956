//! Owns what the shared machinery needs to know of a kind's objects, so that it is written once for all kinds.

use std::fmt;
use std::hash::Hash;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::v1alpha1::{
    AuditLogStore, AuditLogStoreStatus, AuditProject, AuditProjectStatus, Claim, DeletionPolicy,
    ManagementPolicy, PendingCreate, RamTrail, RamTrailStatus, Tamper,
};
use crate::api::{
    ABANDON_ANNOTATION, FINALIZER, PAUSED_ANNOTATION, RECONCILE_REQUESTED_ANNOTATION, condition,
};

/// The kinds, for references between objects.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KindName {
    /// AuditProject.
    AuditProject,
    /// AuditLogStore.
    AuditLogStore,
    /// RamTrail.
    RamTrail,
}

impl KindName {
    /// Every kind, in the order in which references point.
    pub const ALL: [Self; 3] = [Self::AuditProject, Self::AuditLogStore, Self::RamTrail];

    /// As the API writes it; also the label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuditProject => "AuditProject",
            Self::AuditLogStore => "AuditLogStore",
            Self::RamTrail => "RamTrail",
        }
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One object in this cluster.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectId {
    /// Kind.
    pub kind: KindName,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

/// What every status has.
pub trait Status:
    Clone + fmt::Debug + Default + DeserializeOwned + PartialEq + Send + Serialize + Sync + 'static
{
    /// Conditions.
    fn conditions(&self) -> &[Condition];
    /// Replaces the conditions.
    fn set_conditions(&mut self, conditions: Vec<Condition>);
    /// Generation that the newest visit looked at.
    fn observed_generation(&self) -> Option<i64>;
    /// Sets the generation that this visit looks at.
    fn set_observed_generation(&mut self, generation: Option<i64>);
    /// Generation that was converged last.
    fn applied_generation(&self) -> Option<i64>;
    /// Sets the generation that was converged.
    fn set_applied_generation(&mut self, generation: Option<i64>);
    /// Account of the credentials.
    fn account_id(&self) -> Option<&str>;
    /// Sets the account of the credentials.
    fn set_account_id(&mut self, account: Option<String>);
    /// Sets the effective management policy.
    fn set_management_policy(&mut self, policy: ManagementPolicy);
    /// The claim.
    fn claim(&self) -> Option<&Claim>;
    /// Replaces the claim.
    fn set_claim(&mut self, claim: Option<Claim>);
    /// The create call whose outcome is open.
    fn pending_create(&self) -> Option<&PendingCreate>;
    /// Replaces the open create call.
    fn set_pending_create(&mut self, pending: Option<PendingCreate>);
    /// The newest weakening from outside.
    fn last_tamper(&self) -> Option<&Tamper>;
    /// Replaces the newest weakening from outside.
    fn set_last_tamper(&mut self, tamper: Option<Tamper>);
    /// Replaces what Enforce would do.
    fn set_plan(&mut self, plan: Vec<String>);
}

/// What every kind has.
pub trait Managed:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + fmt::Debug
    + DeserializeOwned
    + Send
    + Serialize
    + Sync
    + 'static
{
    /// The kind.
    const KIND: KindName;
    /// Its status.
    type Status: Status;

    /// The status, if there is one yet.
    fn status(&self) -> Option<&Self::Status>;
    /// Replaces the status of this copy.
    fn set_status(&mut self, status: Self::Status);
    /// Name in the cloud.
    fn external_name(&self) -> &str;
    /// The object's own management policy.
    fn own_management_policy(&self) -> ManagementPolicy;
    /// What happens in the cloud when the object is deleted.
    fn deletion_policy(&self) -> DeletionPolicy;
    /// Name of the AuditProject that this object is or belongs to.
    fn project_object(&self) -> &str;

    /// Which object this is.
    fn id(&self) -> ObjectId {
        ObjectId {
            kind: Self::KIND,
            namespace: self.namespace().unwrap_or_default(),
            name: self.name_any(),
        }
    }

    /// Whether the annotation that pauses it is set.
    fn is_paused(&self) -> bool {
        annotated_true(self, PAUSED_ANNOTATION)
    }

    /// Whether the annotation that frees it without touching the cloud is set.
    fn is_abandoned(&self) -> bool {
        annotated_true(self, ABANDON_ANNOTATION)
    }

    /// Whether it is being deleted.
    fn is_deleting(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }

    /// Whether it carries our finalizer.
    fn has_finalizer(&self) -> bool {
        self.finalizers().iter().any(|name| name == FINALIZER)
    }

    /// Whether it holds something in the cloud, or may: a claim, or a create whose outcome is open.
    fn has_acquired(&self) -> bool {
        self.status()
            .is_some_and(|status| status.claim().is_some() || status.pending_create().is_some())
    }

    /// Whether its spec as it is was converged once: all that it asks for is done.
    fn is_applied(&self) -> bool {
        let applied = self.status().and_then(Status::applied_generation);
        applied.is_some() && applied == self.meta().generation
    }

    /// Whether its Ready condition is True.
    fn is_ready(&self) -> bool {
        self.status()
            .is_some_and(|status| condition::is_true(status.conditions(), condition::READY))
    }

    /// What of an object asks for a visit when it changes: not its status, which we write ourselves, nor its
    /// finalizers.
    fn visit_fingerprint(&self) -> u64 {
        let annotation = |key: &str| self.annotations().get(key).cloned();
        fingerprint(&(
            self.meta().uid.clone(),
            self.meta().generation,
            self.is_deleting(),
            annotation(PAUSED_ANNOTATION),
            annotation(ABANDON_ANNOTATION),
            annotation(RECONCILE_REQUESTED_ANNOTATION),
        ))
    }

    /// What of an object asks for a visit of those that refer to it, or compete with it, when it changes.
    fn relation_fingerprint(&self) -> u64 {
        let status = self.status();
        let ready = status
            .and_then(|s| condition::find(s.conditions(), condition::READY))
            .map(|c| c.status.clone());
        let claim = status
            .and_then(Status::claim)
            .map(|c| (c.external_name.clone(), c.create_time.clone()));
        fingerprint(&(
            self.visit_fingerprint(),
            ready,
            claim,
            status.and_then(Status::account_id).map(str::to_owned),
        ))
    }
}

/// The stricter of two policies.
pub fn stricter(a: ManagementPolicy, b: ManagementPolicy) -> ManagementPolicy {
    match (a, b) {
        (ManagementPolicy::Enforce, ManagementPolicy::Enforce) => ManagementPolicy::Enforce,
        _ => ManagementPolicy::Observe,
    }
}

fn annotated_true(object: &impl ResourceExt, key: &str) -> bool {
    object.annotations().get(key).is_some_and(|value| value == "true")
}

fn fingerprint(value: &impl Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

macro_rules! implement_status {
    ($($status:ty),*) => {$(
        impl Status for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
            fn set_conditions(&mut self, conditions: Vec<Condition>) {
                self.conditions = conditions;
            }
            fn observed_generation(&self) -> Option<i64> {
                self.observed_generation
            }
            fn set_observed_generation(&mut self, generation: Option<i64>) {
                self.observed_generation = generation;
            }
            fn applied_generation(&self) -> Option<i64> {
                self.applied_generation
            }
            fn set_applied_generation(&mut self, generation: Option<i64>) {
                self.applied_generation = generation;
            }
            fn account_id(&self) -> Option<&str> {
                self.account_id.as_deref()
            }
            fn set_account_id(&mut self, account: Option<String>) {
                self.account_id = account;
            }
            fn set_management_policy(&mut self, policy: ManagementPolicy) {
                self.management_policy = Some(policy);
            }
            fn claim(&self) -> Option<&Claim> {
                self.claim.as_ref()
            }
            fn set_claim(&mut self, claim: Option<Claim>) {
                self.claim = claim;
            }
            fn pending_create(&self) -> Option<&PendingCreate> {
                self.pending_create.as_ref()
            }
            fn set_pending_create(&mut self, pending: Option<PendingCreate>) {
                self.pending_create = pending;
            }
            fn last_tamper(&self) -> Option<&Tamper> {
                self.last_tamper.as_ref()
            }
            fn set_last_tamper(&mut self, tamper: Option<Tamper>) {
                self.last_tamper = tamper;
            }
            fn set_plan(&mut self, plan: Vec<String>) {
                self.plan = plan;
            }
        }
    )*};
}

implement_status!(AuditProjectStatus, AuditLogStoreStatus, RamTrailStatus);

macro_rules! implement_managed {
    ($($object:ident, $status:ty, $project:expr;)*) => {$(
        impl Managed for $object {
            const KIND: KindName = KindName::$object;
            type Status = $status;

            fn status(&self) -> Option<&Self::Status> {
                self.status.as_ref()
            }
            fn set_status(&mut self, status: Self::Status) {
                self.status = Some(status);
            }
            fn external_name(&self) -> &str {
                self.effective_name()
            }
            fn own_management_policy(&self) -> ManagementPolicy {
                self.spec.management_policy
            }
            fn deletion_policy(&self) -> DeletionPolicy {
                self.spec.deletion_policy
            }
            fn project_object(&self) -> &str {
                let project: fn(&Self) -> &str = $project;
                project(self)
            }
        }
    )*};
}

implement_managed! {
    AuditProject, AuditProjectStatus, |object| object.metadata.name.as_deref().unwrap_or_default();
    AuditLogStore, AuditLogStoreStatus, |object| &object.spec.project_ref.name;
    RamTrail, RamTrailStatus, |object| &object.spec.project_ref.name;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn store(metadata: &serde_json::Value, status: &serde_json::Value) -> AuditLogStore {
        serde_json::from_value(json!({
            "apiVersion": "ramtrail.io/v1alpha1", "kind": "AuditLogStore", "metadata": metadata,
            "spec": { "projectRef": { "name": "p" }, "retentionDays": 30 }, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn status_and_finalizers_ask_for_no_visit_of_the_object_itself() {
        let before = store(
            &json!({"name": "a", "namespace": "n", "generation": 1}),
            &json!({}),
        );
        let after = store(
            &json!({"name": "a", "namespace": "n", "generation": 1, "finalizers": [FINALIZER]}),
            &json!({"retentionDays": 3}),
        );
        assert_eq!(before.visit_fingerprint(), after.visit_fingerprint());
    }

    #[test]
    fn generation_deletion_and_our_annotations_ask_for_a_visit() {
        let before = store(
            &json!({"name": "a", "namespace": "n", "generation": 1}),
            &json!({}),
        );
        let changed = [
            json!({"name": "a", "namespace": "n", "generation": 2}),
            json!({"name": "a", "namespace": "n", "generation": 1, "deletionTimestamp": "2026-01-01T00:00:00Z"}),
            json!({"name": "a", "namespace": "n", "generation": 1, "annotations": {PAUSED_ANNOTATION: "true"}}),
            json!({"name": "a", "namespace": "n", "generation": 1, "annotations": {ABANDON_ANNOTATION: "true"}}),
            json!({"name": "a", "namespace": "n", "generation": 1, "annotations": {RECONCILE_REQUESTED_ANNOTATION: "1"}}),
        ];
        for metadata in changed {
            assert_ne!(
                before.visit_fingerprint(),
                store(&metadata, &json!({})).visit_fingerprint(),
                "{metadata}"
            );
        }
    }

    #[test]
    fn becoming_ready_asks_for_a_visit_of_those_that_refer_to_it() {
        let metadata = json!({"name": "a", "namespace": "n", "generation": 1});
        let ready = |status: &str| {
            json!({"conditions": [{"type": "Ready", "status": status, "reason": "Available", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
        };
        let (no, yes) = (
            store(&metadata, &ready("False")),
            store(&metadata, &ready("True")),
        );
        assert_ne!(no.relation_fingerprint(), yes.relation_fingerprint());
        assert_eq!(no.visit_fingerprint(), yes.visit_fingerprint());
    }

    #[test]
    fn observe_is_the_stricter_policy() {
        use ManagementPolicy::{Enforce, Observe};
        assert_eq!(stricter(Enforce, Enforce), Enforce);
        assert_eq!(stricter(Observe, Enforce), Observe);
        assert_eq!(stricter(Enforce, Observe), Observe);
    }
}
