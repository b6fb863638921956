//! Cloud errors.
