//! Presets: names for several values at once.

use serde_json::{Value, json};

use super::place::Place;
use super::tree::{Entry, Node};

/// What each preset of the decoder sets, where the configuration leaves it out.
pub(crate) fn decoder(name: &str) -> Option<Vec<(&'static str, Value)>> {
    Some(match name {
        "deterministic" => vec![("temperature", json!(0.0)), ("do_sample", json!(false))],
        "standard" => vec![
            ("temperature", json!(1.0)),
            ("do_sample", json!(true)),
            ("top_p", json!(0.95)),
            ("top_k", json!(50)),
        ],
        "creative" => vec![
            ("temperature", json!(0.8)),
            ("do_sample", json!(true)),
            ("top_p", json!(0.9)),
            ("repetition_penalty", json!(1.1)),
        ],
        "factual" => vec![
            ("temperature", json!(0.3)),
            ("do_sample", json!(true)),
            ("top_k", json!(10)),
        ],
        _ => return None,
    })
}

pub(crate) const DECODER_NAMES: [&str; 4] = ["deterministic", "standard", "creative", "factual"];

/// Every preset of the decoder, with what it sets.
pub(crate) fn decoders() -> impl Iterator<Item = (&'static str, Vec<(&'static str, Value)>)> {
    DECODER_NAMES
        .into_iter()
        .map(|name| (name, decoder(name).unwrap_or_default()))
}

pub(crate) fn apply(tree: &mut Node) {
    let Some(name) = tree
        .get(&["decoder", "preset"])
        .and_then(|node| Some(node.as_scalar()?.text.clone()))
    else {
        return;
    };
    for (key, value) in decoder(&name).unwrap_or_default() {
        if tree
            .get(&["decoder", key])
            .is_some_and(|node| !node.is_null())
        {
            continue;
        }
        let place = Place::Preset(name.clone());
        let text = value.to_string();
        let entry = Entry {
            key: place.clone(),
            node: Node::scalar(value, &text, place),
        };
        tree.put(&["decoder", key], entry);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::{DECODER_NAMES, decoder};
    use crate::config::keys::{Shape, keys};

    #[test]
    fn every_preset_of_the_model_is_defined() {
        let row = keys().row("decoder.preset").expect("is a key");
        let Shape::Choice(choices) = &row.field.shape else {
            panic!("{:?}", row.field.shape);
        };
        let names: Vec<&str> = choices.iter().map(|c| c.value.as_str()).collect();
        assert_eq!(names, DECODER_NAMES);
        for name in names {
            for (key, _) in decoder(name).expect("is defined") {
                assert!(keys().row(&format!("decoder.{key}")).is_some(), "{key}");
            }
        }
    }
}
