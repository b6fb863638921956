//! Faults between the operator and the API server, class by class. The judge is the cloud: what is there afterwards, and how many
//! calls of the operator changed it, by the emulator's journal.
//!
//! Plans are files in `tests/full/plans`; `RAMTRAIL_FAULT_PLAN=<file> cargo test --test kube_faults the_plan_of_the_environment`
//! runs any other one. `RAMTRAIL_FAULT_SEED=<number> cargo test --test kube_faults random` runs random faults and restarts again.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../trail_support/mod.rs"]
mod trail_support;

#[path = "kube/leader.rs"]
mod leader;
#[path = "kube/objects.rs"]
mod objects;
#[path = "kube/plans.rs"]
mod plans;
#[path = "kube/proxy.rs"]
mod proxy;
#[path = "kube/server.rs"]
mod server;
#[path = "kube/stage.rs"]
mod stage;
#[path = "kube/stale.rs"]
mod stale;
#[path = "kube/watches.rs"]
mod watches;

/// Waits longest of all, about five minutes, and is called so that the runner, who goes by the alphabet, begins with it.
#[test]
fn a_frozen_watch_is_given_up_without_help() {
    watches::a_frozen_watch_is_given_up_without_help();
}
