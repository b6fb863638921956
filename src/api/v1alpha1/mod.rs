//! Version `v1alpha1`.

mod audit_log_store;
mod audit_project;
mod common;
mod ram_trail;

pub use audit_log_store::{AppliedLogStore, AuditLogStore, AuditLogStoreSpec, AuditLogStoreStatus, Shards};
pub use audit_project::{AppliedProject, AuditProject, AuditProjectSpec, AuditProjectStatus};
pub use common::{
    AdoptionPolicy, Claim, Credentials, DeletionPolicy, LocalReference, ManagementPolicy, Origin,
    PendingCreate, Tamper,
};
pub use ram_trail::{
    AppliedCopy, AppliedTrail, CopyTo, Delivery, EventSelection, Logging, RamTrail, RamTrailSpec,
    RamTrailStatus, TrailStore, Unrepaired,
};
