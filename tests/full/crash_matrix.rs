//! Crash matrix.
