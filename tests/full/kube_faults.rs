//! Kube faults.
