//! The life of projects, stores and trails among others: every way to be deleted, every owner a thing may have, every tenant who
//! tries what is not his. Each matrix is a table of points; `RAMTRAIL_POINT=<id>` runs one alone, `RAMTRAIL_POINT=<prefix>/` those
//! below it. The journal of the hostile emulator is the judge.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../trail_support/mod.rs"]
mod trail_support;

#[path = "points/mod.rs"]
mod points;

#[path = "lifecycle/deletion.rs"]
mod deletion;
#[path = "lifecycle/injection.rs"]
mod injection;
#[path = "lifecycle/ownership.rs"]
mod ownership;
#[path = "lifecycle/recorder.rs"]
mod recorder;
#[path = "lifecycle/stack.rs"]
mod stack;
#[path = "lifecycle/tenancy.rs"]
mod tenancy;

use points::{Matrix, Point};

/// Points of the tests of this program share their worlds, and a share of them is enough where one is asked for.
fn run(prefix: &str, test: &str, points: Vec<Point>) {
    let matrix = Matrix {
        program: "lifecycle_matrix",
        test,
        prefix,
        is_shared: true,
    };
    matrix.run(points);
}

#[test]
fn every_deletion_ends_and_deletes_only_what_is_ours() {
    run(
        "deletion",
        "every_deletion_ends_and_deletes_only_what_is_ours",
        deletion::points(),
    );
}

#[test]
fn nobody_gets_and_nobody_loses_what_is_anothers() {
    run(
        "ownership",
        "nobody_gets_and_nobody_loses_what_is_anothers",
        ownership::points(),
    );
}

#[test]
fn a_tenant_reaches_nothing_that_is_not_his() {
    run(
        "tenancy",
        "a_tenant_reaches_nothing_that_is_not_his",
        tenancy::points(),
    );
}

#[test]
fn no_string_of_a_spec_leaves_its_place() {
    run(
        "injection",
        "no_string_of_a_spec_leaves_its_place",
        injection::points(),
    );
}
