//! Lifecycle matrix.
