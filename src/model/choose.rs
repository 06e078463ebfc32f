//! Which files of a folder or repository make up the model.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::engine::EngineError;

use super::ModelFormat;
use super::disk::read_small;
use super::uri::safe_relative;

/// A folder or repository whose files are asked for one by one.
pub(crate) trait Store {
    /// As it may be shown.
    fn what(&self) -> String;
    fn names(&self) -> &[String];
    /// The file's path here, fetched where it must be.
    fn get(&mut self, name: &str) -> Result<PathBuf, EngineError>;
}

/// Finds the model's files and gets them: the named one, else safetensors with
/// their `config.json`, else the only GGUF. Where only the shape is wanted
/// (`load_format: dummy`), a `config.json` is enough and no weights are fetched.
pub(crate) fn collect(
    store: &mut dyn Store,
    file: Option<&str>,
    shape_only: bool,
) -> Result<ModelFormat, EngineError> {
    if shape_only && file.is_none() && store.names().iter().any(|name| name == "config.json") {
        return safetensors(store, &[]);
    }
    match choose(store, file)? {
        Choice::Gguf(name) => Ok(ModelFormat::Gguf(store.get(&name)?)),
        Choice::Weights(names) => safetensors(store, &names),
        Choice::Index(name) => {
            let index = store.get(&name)?;
            let names = shards(&read_small(&index, 64 << 20)?).map_err(|why| {
                EngineError::new(
                    format!(
                        "{name} of {} is no index of safetensors: {why}",
                        store.what()
                    ),
                    "Fetch the model again, or name one file of weights with #file",
                )
            })?;
            safetensors(store, &names)
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Gguf(String),
    Index(String),
    Weights(Vec<String>),
}

fn choose(store: &dyn Store, file: Option<&str>) -> Result<Choice, EngineError> {
    let names = store.names();
    if let Some(file) = file {
        if !names.iter().any(|name| name == file) {
            return Err(EngineError::new(
                format!("{} has no file {file:?}", store.what()),
                candidates(names, &[".gguf", ".safetensors"]),
            ));
        }
        return match file.rsplit('.').next() {
            Some("gguf") => gguf(store, file),
            Some("safetensors") => Ok(Choice::Weights(vec![file.to_owned()])),
            _ => Err(EngineError::new(
                format!("{file:?} is neither a GGUF nor a safetensors file"),
                candidates(names, &[".gguf", ".safetensors"]),
            )),
        };
    }
    let here = |name: &str| names.iter().any(|other| other == name);
    let top = |end: &'static str| {
        names
            .iter()
            .filter(move |name| !name.contains('/') && name.ends_with(end))
    };
    if here("model.safetensors.index.json") {
        return Ok(Choice::Index("model.safetensors.index.json".to_owned()));
    }
    if here("model.safetensors") {
        return Ok(Choice::Weights(vec!["model.safetensors".to_owned()]));
    }
    let weights: Vec<String> = top(".safetensors")
        .filter(|name| !name.starts_with("adapter"))
        .cloned()
        .collect();
    if here("config.json")
        && (weights.len() == 1 || (!weights.is_empty() && weights.iter().all(|name| is_part(name))))
    {
        return Ok(Choice::Weights(weights));
    }
    let ggufs: Vec<&String> = top(".gguf").collect();
    match ggufs.as_slice() {
        [only] => gguf(store, only),
        [] if names
            .iter()
            .any(|name| name.ends_with(".bin") || name.ends_with(".pth")) =>
        {
            Err(EngineError::new(
                format!(
                    "{} has its weights only as pickled Python objects",
                    store.what()
                ),
                "Such files can run code when they are read, so lem does not. Use a safetensors or GGUF version of the model",
            ))
        }
        [] => Err(EngineError::new(
            format!(
                "{} holds no model that lem reads: neither safetensors with a config.json, nor GGUF",
                store.what()
            ),
            candidates(names, &[".gguf", ".safetensors"]),
        )),
        _ => Err(EngineError::new(
            format!("{} has {} GGUF files", store.what(), ggufs.len()),
            candidates(names, &[".gguf"]),
        )),
    }
}

fn gguf(store: &dyn Store, name: &str) -> Result<Choice, EngineError> {
    if is_part(name) {
        return Err(EngineError::new(
            format!(
                "{name} of {} is one part of a GGUF that was split",
                store.what()
            ),
            "Join the parts with `llama-gguf-split --merge` and give the path of the result, or choose another file",
        ));
    }
    Ok(Choice::Gguf(name.to_owned()))
}

/// `…-00001-of-00003.…`
fn is_part(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    stem.rsplit_once("-of-")
        .is_some_and(|(head, of)| digits(of) && head.rsplit('-').next().is_some_and(digits))
}

fn safetensors(store: &mut dyn Store, names: &[String]) -> Result<ModelFormat, EngineError> {
    if !store.names().iter().any(|name| name == "config.json") {
        return Err(EngineError::new(
            format!(
                "{} has no config.json, which says what shape the weights have",
                store.what()
            ),
            "Put the model's config.json beside its weights",
        ));
    }
    if let Some(missing) = names.iter().find(|name| !store.names().contains(name)) {
        return Err(EngineError::new(
            format!("{} is incomplete: {missing} is missing", store.what()),
            "Fetch the model again",
        ));
    }
    // small files first: what is wrong with them is known before gigabytes are fetched
    let config = store.get("config.json")?;
    let mut optional = |name: &str| {
        let there = store.names().iter().any(|other| other == name);
        there.then(|| store.get(name)).transpose()
    };
    let tokenizer = optional("tokenizer.json")?;
    let tokenizer_config = optional("tokenizer_config.json")?;
    let generation_config = optional("generation_config.json")?;
    let weights = names
        .iter()
        .map(|name| store.get(name))
        .collect::<Result<_, _>>()?;
    Ok(ModelFormat::Safetensors {
        config,
        weights,
        tokenizer,
        tokenizer_config,
        generation_config,
    })
}

/// The files that an index names, each once, in order.
fn shards(index: &[u8]) -> Result<Vec<String>, String> {
    let index: Value = serde_json::from_slice(index).map_err(|error| error.to_string())?;
    let map = index
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or("it has no weight_map")?;
    let mut names = BTreeSet::new();
    for file in map.values() {
        let name = file.as_str().ok_or("a file name in it is no text")?;
        if safe_relative(name).is_none() || !name.ends_with(".safetensors") {
            return Err(format!("it names the file {name:?}"));
        }
        names.insert(name.to_owned());
    }
    if names.is_empty() {
        return Err("it names no file".to_owned());
    }
    Ok(names.into_iter().collect())
}

/// `Choose one with #file: …`
pub(crate) fn candidates(names: &[String], ends: &[&str]) -> String {
    const SHOWN: usize = 12;
    let mut fit: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| ends.iter().any(|end| name.ends_with(end)))
        .collect();
    fit.sort_unstable();
    if fit.is_empty() {
        return format!("There is no file that ends with {}", ends.join(" or "));
    }
    let more = fit.len().saturating_sub(SHOWN);
    let mut text = format!(
        "Name one of its files after a #: {}",
        fit.iter()
            .take(SHOWN)
            .copied()
            .collect::<Vec<_>>()
            .join(", ")
    );
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Choice, EngineError, Store, choose, is_part, shards};

    struct Names(Vec<String>);

    impl Store for Names {
        fn what(&self) -> String {
            "the folder".to_owned()
        }
        fn names(&self) -> &[String] {
            &self.0
        }
        fn get(&mut self, name: &str) -> Result<PathBuf, EngineError> {
            Ok(PathBuf::from(name))
        }
    }

    fn chosen(names: &[&str], file: Option<&str>) -> Result<Choice, String> {
        let store = Names(names.iter().map(|&name| name.to_owned()).collect());
        choose(&store, file).map_err(|error| error.to_string())
    }

    #[test]
    fn the_model_is_found_among_the_files() {
        let index = "model.safetensors.index.json";
        let weights = |name: &str| Ok(Choice::Weights(vec![name.to_owned()]));
        let gguf = |name: &str| Ok(Choice::Gguf(name.to_owned()));
        assert_eq!(
            chosen(&["config.json", index, "a.gguf"], None),
            Ok(Choice::Index(index.into()))
        );
        assert_eq!(
            chosen(&["config.json", "model.safetensors"], None),
            weights("model.safetensors")
        );
        assert_eq!(
            chosen(
                &["config.json", "x.safetensors", "adapter_model.safetensors"],
                None
            ),
            weights("x.safetensors")
        );
        assert_eq!(
            chosen(&["README.md", "a.Q4.gguf", "sub/b.gguf"], None),
            gguf("a.Q4.gguf")
        );
        assert_eq!(
            chosen(&["a.gguf", "sub/b.gguf"], Some("sub/b.gguf")),
            gguf("sub/b.gguf")
        );
    }

    #[test]
    fn what_cannot_be_chosen_is_explained() {
        let error = |names: &[&str], file| chosen(names, file).unwrap_err();
        assert!(error(&["a.gguf", "b.gguf"], None).contains("#: a.gguf, b.gguf"));
        assert!(error(&["config.json", "pytorch_model.bin"], None).contains("pickled"));
        assert!(error(&["README.md"], None).contains("neither"));
        assert!(error(&["a.gguf"], Some("b.gguf")).contains("a.gguf"));
        assert!(error(&["m-00001-of-00002.gguf"], None).contains("merge"));
        assert!(error(&["a.txt"], Some("a.txt")).contains("neither"));
        assert!(is_part("model-00002-of-00010.safetensors") && !is_part("a-of-b.gguf"));
    }

    #[test]
    fn an_index_is_read_with_suspicion() {
        let good = br#"{"weight_map":{"a":"m-2.safetensors","b":"m-1.safetensors","c":"m-2.safetensors"}}"#;
        assert_eq!(
            shards(good).unwrap(),
            ["m-1.safetensors", "m-2.safetensors"]
        );
        for bad in [
            &b""[..],
            b"{}",
            br#"{"weight_map":{}}"#,
            br#"{"weight_map":{"a":1}}"#,
            br#"{"weight_map":{"a":"../../etc/passwd"}}"#,
            br#"{"weight_map":{"a":"/x.safetensors"}}"#,
        ] {
            shards(bad).unwrap_err();
        }
    }
}
