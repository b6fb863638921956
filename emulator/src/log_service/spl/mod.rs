//! A real subset of SPL, the pipeline language of data-transformation jobs.
//!
//! `<search> | where … | extend a = … | project a, b | project-away a | project-rename new = old`. A script is
//! parsed and type-checked as a whole before it runs: log fields are varchar, `__time__` is bigint, numbers
//! need a cast. Nothing here knows jobs or stores.

mod expression;
mod lexer;
mod pipeline;

pub use expression::{Kind, Value};
pub use pipeline::{Row, Script};

/// Why a script is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SPL error at position {position}: {message}")]
pub struct ScriptError {
    /// What is wrong.
    pub message: String,
    /// Offset in characters from the start of the script, from 0.
    pub position: usize,
}

/// A row that a script could not work on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RowError(pub String);
