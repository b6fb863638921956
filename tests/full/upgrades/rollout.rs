//! Up and down under live objects: the cloud is not touched, no object is lost, and none ceases to be Ready.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::release::{Installation, earlier};
use crate::support::World;
use crate::trail_support::{STACK, apply_stack, settle_stack};
use crate::{Version, chart, identities, mutating};

/// Visits to each object after which a version is judged.
const VISITS: usize = 3;
/// Set, the objects that an earlier version stored become its test data.
const KEEP: &str = "RAMTRAIL_KEEP_OBJECTS";

#[test]
fn an_upgrade_and_a_rollback_change_nothing_in_the_cloud_and_lose_no_object() {
    for version in Version::all() {
        let mut it = Installation::of(&version.chart(), "upgrade", &json!({}));
        apply_stack(&it.world);
        let options = earlier(&version, it.operator());
        it.world.start_as(&options);
        settle_stack(&it.world);
        keep(&version, &it.world);
        let (before, kinds, installed) = (identities(&it.world), it.kinds(), it.installed());
        let since = it.world.now();
        for step in ["upgrade", "rollback", "second upgrade"] {
            let from = it.world.now();
            let back = step == "rollback";
            if back {
                it.helm.rollback();
                assert_eq!(it.installed(), installed, "what the upgrade added is gone again");
            } else {
                it.helm.upgrade(&chart());
                assert!(it.installed().is_superset(&installed), "{:?}", it.installed());
            }
            let options = it.operator();
            it.world
                .roll_to(&if back { earlier(&version, options) } else { options });
            visited(&it.world);
            let ours = it.world.journal(from);
            eprintln!(
                "{}, {step}: {} calls of the operator, {} of them mutating",
                version.name,
                ours.iter().filter(|row| row.is_ours()).count(),
                mutating(&it.world, from).len()
            );
            let calls = mutating(&it.world, since);
            assert_eq!(calls, Vec::<String>::new(), "{step}\n{}", it.world.report());
            assert_eq!(identities(&it.world), before, "{step}\n{}", it.world.report());
            assert_eq!(it.kinds(), kinds, "{step}: a kind was made anew");
        }
        it.world.secret_is_nowhere();
    }
}

/// Values of a chart that has no names for what came later must not be taken as a whole; those of one that has them may.
#[test]
fn an_upgrade_that_reuses_values_without_the_names_of_today_is_refused_and_changes_nothing() {
    let mut refused = 0;
    for version in Version::all() {
        let it = Installation::of(&version.chart(), "reuse", &json!({}));
        let installed = it.installed();
        let path = chart().display().to_string();
        let said = it.helm.run(&["upgrade", "ramtrail", &path, "--reuse-values"]);
        let deployed = it.helm.run(&["list", "--deployed", "--output", "json"]).unwrap();
        let deployed: Value = serde_json::from_str(&deployed).unwrap();
        if value_names(&chart()).is_subset(&value_names(&version.chart())) {
            said.unwrap();
            assert_eq!(deployed[0]["revision"], "2", "{deployed}");
            assert!(it.installed().is_superset(&installed));
        } else {
            assert!(said.is_err(), "{said:?}");
            assert_eq!(deployed[0]["revision"], "1", "{deployed}");
            assert_eq!(it.installed(), installed);
            refused += 1;
        }
        // The way that the documentation names.
        it.helm.upgrade(&chart());
    }
    // One was kept that lacks them; unless the environment chose another.
    assert!(refused > 0 || Version::is_chosen(), "no such version was tried");
}

/// The names that a chart's values have at the top.
fn value_names(chart: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(chart.join("values.yaml")).unwrap();
    let values: Map<String, Value> = serde_saphyr::from_str(&text).unwrap();
    values.keys().cloned().collect()
}

/// Each object was looked at some times more, and all are well.
fn visited(world: &World) {
    for action in ["GetProject", "GetLogStore", "GetTrailStatus"] {
        world.resyncs(action, VISITS);
    }
    settle_stack(world);
}

/// Keeps what this version stored, when the environment asks for it.
fn keep(version: &Version, world: &World) {
    if std::env::var_os(KEEP).is_none_or(|value| value != "1") {
        return;
    }
    let objects: Vec<Value> = STACK
        .iter()
        .map(|(kind, name)| {
            let object = world.object(kind, name).unwrap();
            json!({
                "apiVersion": "ramtrail.io/v1alpha1",
                "kind": kind,
                "metadata": {"name": name, "finalizers": object.metadata.finalizers},
                "spec": object.data["spec"],
                "status": object.data["status"],
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&objects).unwrap();
    fs::write(version.objects_file(), text + "\n").unwrap();
}
