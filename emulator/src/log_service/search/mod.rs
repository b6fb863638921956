//! The search language of Log Service: grammar and meaning. The analytic part after `|` is not its affair.

mod evaluator;
mod parser;

pub use evaluator::{Evaluator, FieldProblem, Log, UnindexedKey};
pub use parser::{
    MAX_TERMS, Node, Query, Range, SyntaxError, Term, Test, parse_query, parse_search, split_analysis,
};
