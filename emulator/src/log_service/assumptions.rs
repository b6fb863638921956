//! Open questions of Log Service.

use crate::assumptions::Declared;

/// Everything declared here.
pub fn registered() -> Vec<Declared> {
    Vec::new()
}
