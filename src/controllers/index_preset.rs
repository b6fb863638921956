//! Owns the index that a log store with ActionTrail events needs, and the rule by which it is kept.
//!
//! Pure. The preset searches every word and makes the leaves of `event` searchable and countable by name. Keeping it
//! only adds: keys, types, options and words of others stay, and fields we do not know stay as they are. The one thing
//! that is replaced is a type that was the preset's when the index was last converged: who changed it took something away.

use serde_json::{Map, Value, json};

/// Characters that separate words: the list that the vendor's own SDK sets by default. `-` and `.` are not among them,
/// so that names and addresses stay whole.
const TOKENS: [&str; 27] = [
    " ", "\n", "\t", "\r", ",", ";", "[", "]", "{", "}", "(", ")", "&", "^", "*", "#", "@", "~", "=", "<",
    ">", "/", "\\", "?", ":", "'", "\"",
];

/// Leaves of `event` that are searched and counted by name. All are text: ids and codes too, so that nothing is lost to
/// a number that does not fit.
const LEAVES: [&str; 28] = [
    "acsRegion",
    "additionalEventData.isMFAChecked",
    "additionalEventData.loginAccount",
    "apiVersion",
    "errorCode",
    "errorMessage",
    "eventCategory",
    "eventId",
    "eventName",
    "eventRW",
    "eventSource",
    "eventTime",
    "eventType",
    "eventVersion",
    "recipientAccountId",
    "requestId",
    "resourceName",
    "resourceType",
    "serviceName",
    "sourceIpAddress",
    "userAgent",
    "userIdentity.accessKeyId",
    "userIdentity.accountId",
    "userIdentity.principalId",
    "userIdentity.sessionContext.attributes.mfaAuthenticated",
    "userIdentity.type",
    "userIdentity.userName",
    "vpcId",
];

/// The key under which ActionTrail delivers an event.
const EVENT: &str = "event";

/// The index of a new store.
pub fn preset() -> Map<String, Value> {
    let mut index = Map::new();
    index.insert("line".to_owned(), line());
    index.insert("keys".to_owned(), json!({ EVENT: event_key() }));
    index
}

fn line() -> Value {
    json!({ "token": tokens(), "caseSensitive": false, "chn": false })
}

fn event_key() -> Value {
    let leaves: Map<String, Value> = LEAVES
        .iter()
        .map(|leaf| ((*leaf).to_owned(), leaf_key()))
        .collect();
    json!({
        "type": "json", "token": tokens(), "caseSensitive": false, "chn": false, "doc_value": true, "index_all": true,
        "max_depth": -1, "json_keys": leaves,
    })
}

fn leaf_key() -> Value {
    json!({ "type": "text", "doc_value": true })
}

fn tokens() -> Value {
    TOKENS.iter().copied().collect()
}

/// What an index lacks of the preset, and the index with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repair {
    /// What is lacking, in words; empty: nothing.
    pub missing: Vec<String>,
    /// What has another type than the preset's and is not known to have had that, in words. Such a type is not replaced:
    /// what is searched by it would be lost.
    pub other_types: Vec<String>,
    /// The index as found, with what was lacking.
    pub index: Map<String, Value>,
}

/// Compares an index with the preset. What others put in stays.
///
/// `typed` is what [`typed_keys`] told when this index was last converged: a key among them whose type is another one now
/// was changed since, and gets its type back. It must be empty while something is taken over.
pub fn repair(found: &Map<String, Value>, typed: &[String]) -> Repair {
    let mut repair = Repair {
        index: found.clone(),
        ..Repair::default()
    };
    repair_line(&mut repair.index, &mut repair.missing);
    repair_event(&mut repair, typed);
    repair
}

/// The keys of the preset that have the preset's type in this index, to be noted as converged: `event`, and its leaves as
/// `event.eventName`. At most one for each key of the preset.
pub fn typed_keys(index: &Map<String, Value>) -> Vec<String> {
    let Some(event) = index
        .get("keys")
        .and_then(|keys| keys.get(EVENT))
        .filter(|event| type_of(event) == Some("json"))
    else {
        return Vec::new();
    };
    let leaf = |name: &str| event.get("json_keys")?.get(name);
    let leaves = LEAVES
        .iter()
        .filter(|name| leaf(name).and_then(type_of) == Some("text"))
        .map(|name| path_of(name));
    std::iter::once(EVENT.to_owned()).chain(leaves).collect()
}

fn type_of(key: &Value) -> Option<&str> {
    key.get("type")?.as_str()
}

/// How a leaf is named in words and in [`typed_keys`].
fn path_of(leaf: &str) -> String {
    format!("{EVENT}.{leaf}")
}

/// What is wrong with the type of a key, and the type put there. Tells whether the key has the wanted type now.
fn repair_type(
    key: &mut Map<String, Value>,
    path: &str,
    wanted: &str,
    typed: &[String],
    missing: &mut Vec<String>,
    other_types: &mut Vec<String>,
) -> bool {
    match key.get("type").and_then(Value::as_str) {
        Some(found) if found == wanted => return true,
        Some(found) if !typed.iter().any(|typed| typed == path) => {
            other_types.push(format!(
                "the index key {path} has type {found} in place of {wanted}"
            ));
            return false;
        }
        Some(found) => missing.push(format!(
            "the type {wanted} of the index key {path} (found {found})"
        )),
        None => missing.push(format!("the type {wanted} of the index key {path}")),
    }
    key.insert("type".to_owned(), json!(wanted));
    true
}

fn repair_line(index: &mut Map<String, Value>, missing: &mut Vec<String>) {
    let Some(found) = index.get_mut("line").and_then(Value::as_object_mut) else {
        index.insert("line".to_owned(), line());
        missing.push("the full-text index".to_owned());
        return;
    };
    for narrowing in ["include_keys", "exclude_keys"] {
        if found
            .get(narrowing)
            .and_then(Value::as_array)
            .is_some_and(|keys| !keys.is_empty())
        {
            found.remove(narrowing);
            missing.push(format!(
                "the full-text index of all fields (line.{narrowing} narrows it)"
            ));
        }
    }
    repair_words("line", found, missing);
}

fn repair_event(repair: &mut Repair, typed: &[String]) {
    let Repair {
        missing,
        other_types,
        index,
    } = repair;
    let Some(keys) = object_in(index, "keys") else {
        return;
    };
    let Some(event) = keys.get_mut(EVENT).and_then(Value::as_object_mut) else {
        keys.insert(EVENT.to_owned(), event_key());
        missing.push("the index key event".to_owned());
        return;
    };
    // Another type has no leaves and no levels, and not every one has words.
    if !repair_type(event, EVENT, "json", typed, missing, other_types) {
        return;
    }
    for option in ["index_all", "doc_value"] {
        if !is_true(event.get(option)) {
            event.insert(option.to_owned(), json!(true));
            missing.push(format!("{option} of the index key event"));
        }
    }
    // Absent means all levels.
    if event
        .get("max_depth")
        .and_then(Value::as_i64)
        .is_some_and(|depth| depth >= 0)
    {
        event.insert("max_depth".to_owned(), json!(-1));
        missing.push("all levels of the index key event (max_depth limits them)".to_owned());
    }
    repair_words("event", event, missing);
    repair_leaves(event, typed, missing, other_types);
}

fn repair_leaves(
    event: &mut Map<String, Value>,
    typed: &[String],
    missing: &mut Vec<String>,
    other_types: &mut Vec<String>,
) {
    let Some(leaves) = object_in(event, "json_keys") else {
        return;
    };
    for name in LEAVES {
        let path = path_of(name);
        let Some(leaf) = leaves.get_mut(name).and_then(Value::as_object_mut) else {
            leaves.insert(name.to_owned(), leaf_key());
            missing.push(format!("the index key {path}"));
            continue;
        };
        repair_type(leaf, &path, "text", typed, missing, other_types);
        if !is_true(leaf.get("doc_value")) {
            leaf.insert("doc_value".to_owned(), json!(true));
            missing.push(format!("doc_value of the index key {path}"));
        }
    }
}

/// The object under a name; an empty one takes the place of anything else.
fn object_in<'a>(parent: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    if !parent.get(name).is_some_and(Value::is_object) {
        parent.insert(name.to_owned(), json!({}));
    }
    parent.get_mut(name).and_then(Value::as_object_mut)
}

/// Words: separated at least where the preset separates them, found in any case.
fn repair_words(what: &str, part: &mut Map<String, Value>, missing: &mut Vec<String>) {
    let mut found: Vec<Value> = part
        .get("token")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let lacking: Vec<Value> = tokens()
        .as_array()
        .into_iter()
        .flatten()
        .filter(|token| !found.contains(token))
        .cloned()
        .collect();
    if !lacking.is_empty() {
        missing.push(format!("{} word separators of {what}", lacking.len()));
        found.extend(lacking);
        part.insert("token".to_owned(), Value::Array(found));
    }
    if is_true(part.get("caseSensitive")) {
        part.insert("caseSensitive".to_owned(), json!(false));
        missing.push(format!("search in any case of {what}"));
    }
}

/// Booleans come as JSON booleans, or as text.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(value)) => value.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn at<'a>(index: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(index.get(*first)?, |value, key| value.get(*key))
    }

    #[test]
    fn the_preset_lacks_nothing() {
        let Repair {
            missing,
            other_types,
            index,
        } = repair(&preset(), &[]);
        assert_eq!(missing, Vec::<String>::new());
        assert_eq!(other_types, Vec::<String>::new());
        assert_eq!(index, preset());
    }

    #[test]
    fn what_the_vendor_adds_or_reorders_is_no_difference() {
        let mut index = preset();
        index.insert("index_mode".into(), json!("v2"));
        index.insert("storage".into(), json!("pg"));
        index.insert("log_reduce".into(), json!(false));
        let line = index["line"].as_object_mut().unwrap();
        line["token"].as_array_mut().unwrap().reverse();
        line.remove("chn");
        line.remove("caseSensitive");
        index["keys"][EVENT].as_object_mut().unwrap().remove("max_depth");
        index["keys"][EVENT]["alias"] = json!("");
        assert_eq!(repair(&index, &[]).missing, Vec::<String>::new());
    }

    #[test]
    fn keys_and_options_of_others_stay() {
        let mut index = preset();
        index.insert("max_text_len".into(), json!(16384));
        index["keys"]["team"] = json!({"type": "text", "token": [","]});
        index["keys"][EVENT]["json_keys"]["extra"] = json!({"type": "long"});
        index["keys"][EVENT]["json_keys"]
            .as_object_mut()
            .unwrap()
            .remove("eventName");
        let repaired = repair(&index, &[]).index;
        assert_eq!(at(&repaired, &["max_text_len"]), Some(&json!(16384)));
        assert_eq!(at(&repaired, &["keys", "team", "token"]), Some(&json!([","])));
        assert_eq!(
            at(&repaired, &["keys", EVENT, "json_keys", "extra", "type"]),
            Some(&json!("long"))
        );
        assert_eq!(
            at(&repaired, &["keys", EVENT, "json_keys", "eventName", "doc_value"]),
            Some(&json!(true))
        );
    }

    #[test]
    fn each_weakening_is_named_and_put_right() {
        type Weaken = fn(&mut Map<String, Value>);
        let table: [(Weaken, &str); 11] = [
            (|i| drop(i.remove("line")), "full-text"),
            (|i| drop(i.remove("keys")), "key event"),
            (
                |i| drop(i["keys"].as_object_mut().unwrap().remove(EVENT)),
                "key event",
            ),
            (|i| i["line"]["include_keys"] = json!(["a"]), "include_keys"),
            (|i| i["line"]["caseSensitive"] = json!(true), "any case of line"),
            (|i| i["line"]["token"] = json!([" "]), "word separators of line"),
            (
                |i| drop(i["keys"][EVENT].as_object_mut().unwrap().remove("type")),
                "type json",
            ),
            (|i| i["keys"][EVENT]["index_all"] = json!(false), "index_all"),
            (|i| i["keys"][EVENT]["max_depth"] = json!(1), "max_depth"),
            (
                |i| i["keys"][EVENT]["json_keys"]["eventName"]["doc_value"] = json!(false),
                "doc_value of the index key event.eventName",
            ),
            (
                |i| {
                    drop(
                        i["keys"][EVENT]["json_keys"]["serviceName"]
                            .as_object_mut()
                            .unwrap()
                            .remove("type"),
                    );
                },
                "type text of the index key event.serviceName",
            ),
        ];
        for (weaken, named) in table {
            let mut index = preset();
            weaken(&mut index);
            let Repair { missing, index, .. } = repair(&index, &[]);
            assert!(missing.iter().any(|m| m.contains(named)), "{named}: {missing:?}");
            assert_eq!(repair(&index, &[]).missing, Vec::<String>::new(), "{named}");
        }
    }

    #[test]
    fn a_type_that_is_there_is_named_and_never_replaced() {
        let mut index = preset();
        index["keys"][EVENT]["json_keys"]["errorCode"]["type"] = json!("long");
        index["keys"][EVENT]["json_keys"]["errorCode"]["doc_value"] = json!(false);
        let repaired = repair(&index, &[]);
        assert_eq!(
            repaired.other_types,
            ["the index key event.errorCode has type long in place of text"]
        );
        assert_eq!(repaired.missing, ["doc_value of the index key event.errorCode"]);
        let leaf = ["keys", EVENT, "json_keys", "errorCode"];
        assert_eq!(
            at(&repaired.index, &leaf),
            Some(&json!({"type": "long", "doc_value": true}))
        );

        let mut index = preset();
        index["keys"][EVENT] = json!({"type": "text", "token": [","]});
        let repaired = repair(&index, &[]);
        assert_eq!(
            repaired.other_types,
            ["the index key event has type text in place of json"]
        );
        assert_eq!((repaired.missing.len(), &repaired.index), (0, &index));
    }

    #[test]
    fn a_type_that_was_ours_when_converged_is_put_back() {
        let mut index = preset();
        index["keys"][EVENT]["json_keys"]["vpcId"]["type"] = json!("long");
        let typed = typed_keys(&index);
        assert_eq!(typed.len(), LEAVES.len());
        assert!(typed.contains(&"event".to_owned()) && !typed.contains(&"event.vpcId".to_owned()));

        index["keys"][EVENT]["json_keys"]["errorCode"]["type"] = json!("long");
        let repaired = repair(&index, &typed);
        assert_eq!(
            repaired.missing,
            ["the type text of the index key event.errorCode (found long)"]
        );
        assert_eq!(
            repaired.other_types,
            ["the index key event.vpcId has type long in place of text"]
        );
        let leaf = |name| at(&repaired.index, &["keys", EVENT, "json_keys", name, "type"]);
        assert_eq!(
            (leaf("errorCode"), leaf("vpcId")),
            (Some(&json!("text")), Some(&json!("long")))
        );
    }

    #[test]
    fn an_event_key_that_was_json_becomes_json_again_with_all_its_leaves() {
        let mut index = preset();
        let typed = typed_keys(&index);
        index["keys"][EVENT] = json!({"type": "text", "token": [","], "alias": "e"});
        let repaired = repair(&index, &typed);
        assert_eq!(repaired.other_types, Vec::<String>::new());
        assert!(
            repaired.missing[0].contains("type json of the index key event (found text)"),
            "{:?}",
            repaired.missing
        );
        assert_eq!(typed_keys(&repaired.index), typed);
        assert_eq!(at(&repaired.index, &["keys", EVENT, "alias"]), Some(&json!("e")));
        assert_eq!(typed_keys(&index), Vec::<String>::new());
    }

    /// Any JSON, shaped like an index often enough.
    fn indexes() -> impl Strategy<Value = Map<String, Value>> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2i64..5).prop_map(Value::from),
            "(json|text|long|true)".prop_map(Value::from),
            proptest::collection::vec("[ ,;a]", 0..3).prop_map(Value::from),
        ];
        let key = "(line|keys|event|json_keys|eventName|token|type|doc_value|index_all|max_depth|caseSensitive|include_keys|other)";
        let tree = scalar.prop_recursive(4, 40, 6, move |inner| {
            proptest::collection::btree_map(key, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        });
        proptest::collection::btree_map(key, tree, 0..6).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_repaired_index_lacks_nothing_and_has_lost_no_key_of_others(index in indexes()) {
            let repaired = repair(&index, &[]);
            prop_assert_eq!(repair(&repaired.index, &[]).missing, Vec::<String>::new());
            for (name, value) in &index {
                if !["line", "keys"].contains(&name.as_str()) {
                    prop_assert_eq!(repaired.index.get(name), Some(value));
                }
            }
            let types = |index: &Map<String, Value>| -> Vec<Option<String>> {
                let event = at(index, &["keys", EVENT]);
                let leaf = |name: &str| event.and_then(|event| event.get("json_keys")?.get(name));
                std::iter::once(event)
                    .chain(LEAVES.iter().map(|name| leaf(name)))
                    .map(|key| key?.get("type")?.as_str().map(str::to_owned))
                    .collect()
            };
            for (before, after) in types(&index).into_iter().zip(types(&repaired.index)) {
                prop_assert!(before.is_none() || before == after);
            }
            if let Some(keys) = index.get("keys").and_then(Value::as_object) {
                for (name, value) in keys.iter().filter(|(name, _)| *name != EVENT) {
                    prop_assert_eq!(at(&repaired.index, &["keys", name.as_str()]), Some(value));
                }
            }
            if repaired.missing.is_empty() {
                prop_assert_eq!(repaired.index.get("line"), index.get("line"));
            }
            // What was once typed as the preset is, is so again, whatever was made of it.
            let typed = typed_keys(&preset());
            let restored = repair(&index, &typed);
            prop_assert_eq!(restored.other_types, Vec::<String>::new());
            prop_assert_eq!(typed_keys(&restored.index), typed.clone());
            prop_assert_eq!(repair(&restored.index, &typed).missing, Vec::<String>::new());
        }
    }
}
