//! Fixtures with fields removed, renamed and retyped at random: no loss, no panic, no
//! number that cannot be.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

#[derive(Clone, Debug)]
enum Change {
    Remove,
    Rename,
    Replace(Value),
    Repeat,
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        any::<i64>().prop_map(Value::from),
        Just(json!(0.0)),
        Just(json!(-1.0)),
        Just(json!(u64::MAX)),
        Just(json!(f64::MAX)),
        Just(json!(f64::MIN_POSITIVE)),
        "[ -~]{0,12}".prop_map(Value::from),
        Just(json!("true_streaming")),
        Just(json!([])),
        Just(json!({})),
        Just(json!([null, 1.5, "x", {"a": []}])),
        Just(json!({"value": {"deep": [1]}})),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Remove),
        Just(Change::Rename),
        any_value().prop_map(Change::Replace),
        Just(Change::Repeat),
    ]
}

/// Changes the n-th place, counted through the tree.
fn apply(value: &mut Value, at: &mut usize, change: &Change) -> bool {
    match value {
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            for key in keys {
                if *at == 0 {
                    let_change_map(map, &key, change);
                    return true;
                }
                *at -= 1;
                if apply(&mut map[&key], at, change) {
                    return true;
                }
            }
            false
        }
        Value::Array(items) => {
            for index in 0..items.len() {
                if *at == 0 {
                    match change {
                        Change::Remove | Change::Rename => drop(items.remove(index)),
                        Change::Replace(new) => items[index] = new.clone(),
                        Change::Repeat => items.push(items[index].clone()),
                    }
                    return true;
                }
                *at -= 1;
                if apply(&mut items[index], at, change) {
                    return true;
                }
            }
            false
        }
        _ => false,
    }
}

fn let_change_map(map: &mut Map<String, Value>, key: &str, change: &Change) {
    match change {
        Change::Remove => drop(map.remove(key)),
        Change::Rename => {
            let value = map.remove(key).unwrap_or_default();
            map.insert(format!("{key}_of_old"), value);
        }
        Change::Replace(new) => drop(map.insert(key.to_owned(), new.clone())),
        Change::Repeat => {
            let value = map[key].clone();
            map.insert(format!("{key}_again"), value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_and_nothing_panics(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 1..24),
    ) {
        let names = names();
        let mut value = fixture(which.get::<String>(&names));
        for (at, change) in &changes {
            // As many places as the largest fixture has.
            let mut at = at.index(1200);
            apply(&mut value, &mut at, change);
        }
        match migrate(value.to_string().as_bytes(), "m.json", &Options::default()) {
            Ok(result) => sound(&result, &value),
            // What told its shape may be gone.
            Err(refused) => prop_assert_eq!(refused.why, Why::Foreign, "{}", refused),
        }
    }

    #[test]
    fn torn_and_spoilt_bytes_are_refused_or_read(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        spoilt in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let names = names();
        let mut bytes = bytes(which.get::<String>(&names));
        match spoilt {
            None => {
                bytes.truncate(cut.index(bytes.len()));
                let whole = serde_json::from_slice::<Value>(&bytes).is_ok();
                let refused = migrate(&bytes, "t.json", &Options::default());
                prop_assert!(whole || refused.is_err_and(|refused| refused.why == Why::Torn));
            }
            Some((at, byte)) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if let Ok(result) = migrate(&bytes, "s.json", &Options::default()) {
                    assert_valid(&result);
                }
            }
        }
    }
}
