//! What of a status the served definition of its kind does not know, because that is older than this operator: after a rollback
//! of the definitions, or where they are applied apart from the operator.
//!
//! Server-side apply refuses an object with a field that is not declared, all of it. Without the fields that the API server names,
//! the status is what an operator of the definition's own version would have written.

use serde_json::Value;

/// The end of each of the API server's complaints.
const COMPLAINT: &str = ": field not declared in schema";
/// What guards a creation or says whose a thing is: without a place to keep it nothing may be written at all.
const INDISPENSABLE: [&str; 2] = ["pendingCreate", "claim"];

/// Removes from an object what a refusal names below its status, and gives the paths that it removed. None if the refusal is
/// about anything else too.
pub fn remove(object: &mut Value, refusal: &str) -> Vec<String> {
    let complaints: Vec<&str> = refusal.split(COMPLAINT).collect();
    let [named @ .., _] = complaints.as_slice() else {
        return Vec::new();
    };
    let paths: Vec<&str> = named
        .iter()
        .filter_map(|text| text.rsplit(char::is_whitespace).next())
        .collect();
    let may_go = |path: &&str| {
        let mut steps = steps(path);
        steps.first().is_some_and(|first| first == "status")
            && steps.len() > 1
            && !INDISPENSABLE.contains(&steps.remove(1).as_str())
    };
    if !paths.iter().all(may_go) {
        return Vec::new();
    }
    let mut removed: Vec<String> = paths
        .into_iter()
        .filter(|path| take(object, &steps(path)))
        .map(str::to_owned)
        .collect();
    removed.dedup();
    removed
}

/// The names in a path such as `.status.unrepaired[0].what`, without which item of a list is meant.
fn steps(path: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut within = 0_u32;
    for c in path.chars() {
        match c {
            '[' => within += 1,
            ']' => within = within.saturating_sub(1),
            _ if within > 0 => {}
            '.' => steps.push(String::new()),
            _ => {
                if let Some(step) = steps.last_mut() {
                    step.push(c);
                }
            }
        }
    }
    steps
}

/// Takes a field away, out of all items where it is in a list; whether it was there.
fn take(value: &mut Value, steps: &[String]) -> bool {
    match (value, steps) {
        // All of them, not only the first that has it.
        (Value::Array(items), _) => {
            items
                .iter_mut()
                .filter_map(|item| take(item, steps).then_some(()))
                .count()
                > 0
        }
        (Value::Object(fields), [name]) => fields.remove(name).is_some(),
        (Value::Object(fields), [name, rest @ ..]) => {
            fields.get_mut(name).is_some_and(|field| take(field, rest))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ONE: &str = "failed to create typed patch object (n/t; ramtrail.io/v1alpha1, Kind=RamTrail): \
                       .status.applied.copy.fromTime: field not declared in schema";

    #[test]
    fn the_one_field_that_is_named_goes_and_the_rest_stays() {
        let mut object =
            json!({"status": {"applied": {"copy": {"fromTime": 1, "services": []}}, "claim": {}}});
        assert_eq!(remove(&mut object, ONE), [".status.applied.copy.fromTime"]);
        assert_eq!(
            object,
            json!({"status": {"applied": {"copy": {"services": []}}, "claim": {}}})
        );
        assert_eq!(
            remove(&mut object, ONE),
            Vec::<String>::new(),
            "nothing is left to try"
        );
    }

    #[test]
    fn several_fields_go_at_once_also_out_of_lists() {
        let refusal = "failed to create typed patch object (n/t; g, Kind=K): errors:\n  \
                       .status.indexTypes: field not declared in schema\n  \
                       .status.unrepaired[0].what: field not declared in schema\n  \
                       .status.conditions[type=\"Ready\"].since: field not declared in schema";
        let mut object = json!({"status": {
            "indexTypes": ["a"], "unrepaired": [{"field": "f", "what": "w"}, {"what": "v"}],
            "conditions": [{"type": "Ready", "since": 1}],
        }});
        assert_eq!(remove(&mut object, refusal).len(), 3);
        let kept = json!({"status": {"unrepaired": [{"field": "f"}, {}], "conditions": [{"type": "Ready"}]}});
        assert_eq!(object, kept);
    }

    #[test]
    fn what_guards_a_creation_is_never_left_out() {
        for field in ["pendingCreate.time", "claim", "claim.origin"] {
            let refusal = format!("x: errors:\n .status.a{COMPLAINT}\n .status.{field}{COMPLAINT}");
            let mut object =
                json!({"status": {"a": 1, "pendingCreate": {"time": 1}, "claim": {"origin": 1}}});
            let before = object.clone();
            assert_eq!(remove(&mut object, &refusal), Vec::<String>::new(), "{field}");
            assert_eq!(object, before, "{field}");
        }
    }

    #[test]
    fn other_refusals_and_other_parts_of_the_object_take_nothing_away() {
        let refusals = [
            "the server is down",
            ".spec.a: field not declared in schema",
            ".status: field not declared in schema",
        ];
        for refusal in refusals {
            let mut object = json!({"spec": {"a": 1}, "status": {"a": 1}});
            let before = object.clone();
            assert_eq!(remove(&mut object, refusal), Vec::<String>::new(), "{refusal}");
            assert_eq!(object, before);
        }
    }
}
