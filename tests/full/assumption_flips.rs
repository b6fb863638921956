//! Assumption flips.
