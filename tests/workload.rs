//! From a configuration to requests, with an engine whose tokens are bytes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use lem::config::Config;
use lem::engine::{Cancel, Capabilities, Engine, EngineError, EventSink, ModelDescription, Work};
use lem::model::{Options, Silent};
use lem::workload::{Workload, build};
use serde_json::{Value, json};

/// A token a byte; 256 and 257 open and close a user's turn.
struct Bytes {
    description: ModelDescription,
    tokenizer: bool,
}

impl Default for Bytes {
    fn default() -> Self {
        let description = ModelDescription {
            vocabulary: Some(258),
            context_length: Some(2048),
            ..ModelDescription::default()
        };
        Self {
            description,
            tokenizer: true,
        }
    }
}

impl Engine for Bytes {
    fn describe(&self) -> &ModelDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn encode(&self, text: &str, chat: bool) -> Result<Vec<u32>, EngineError> {
        let bytes = text.bytes().map(u32::from);
        Ok(if chat {
            [256].into_iter().chain(bytes).chain([257]).collect()
        } else {
            bytes.collect()
        })
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, EngineError> {
        if !self.tokenizer {
            return Err(EngineError::new("No tokenizer", "Get one"));
        }
        let mut bytes = Vec::new();
        for &token in tokens {
            match u8::try_from(token) {
                Ok(byte) => bytes.push(byte),
                Err(_) => bytes.extend_from_slice(b"<|turn|>"),
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn generate(&mut self, _: &Work, _: &mut dyn EventSink, _: &Cancel) -> Result<(), EngineError> {
        Err(EngineError::new("Not needed here", "Use another engine"))
    }

    fn score(&mut self, _: &[u32]) -> Result<Vec<f32>, EngineError> {
        Err(EngineError::new("Not needed here", "Use another engine"))
    }
}

fn options() -> Options {
    Options::from(|_| None)
}

fn built_with(engine: &Bytes, config: Value) -> Result<Workload, String> {
    let config: Config = serde_json::from_value(config).unwrap();
    build(&config, engine, &options(), &mut Silent).map_err(|error| error.to_string())
}

fn built(config: Value) -> Workload {
    built_with(&Bytes::default(), config).unwrap()
}

fn refused(config: Value) -> String {
    built_with(&Bytes::default(), config).unwrap_err()
}

fn lengths(workload: &Workload) -> Vec<usize> {
    workload
        .requests
        .iter()
        .map(|request| request.tokens.len())
        .collect()
}

fn codes(workload: &Workload) -> Vec<&str> {
    workload
        .warnings
        .iter()
        .map(|warning| warning.code.as_str())
        .collect()
}

fn profile(workload: &Workload) -> Value {
    serde_json::from_str(&workload.dataset.profile).unwrap()
}

#[test]
fn synthetic_prompts_have_exact_lengths_and_no_special_tokens() {
    let config = json!({
        "num_input_prompts": 20,
        "prompts": {"input_tokens": {"distribution": "uniform", "min": 5, "max": 50}, "output_tokens": 7},
    });
    let one = built(config.clone());
    assert!(lengths(&one).iter().all(|n| (5..=50).contains(n)));
    assert!(
        one.requests
            .iter()
            .all(|r| r.tokens.iter().all(|&token| token < 256))
    );
    assert!(
        one.requests
            .iter()
            .all(|r| (r.min_output_tokens, r.max_output_tokens) == (7, 7))
    );
    assert!(one.warnings.is_empty(), "{:?}", one.warnings);
    assert_eq!(
        one,
        built(config.clone()),
        "the same seed, the same workload"
    );

    let mut other = config.clone();
    other["random_seed"] = json!(43);
    let other = built(other);
    assert_ne!(one.requests, other.requests);
    assert_ne!(one.dataset.digest, other.dataset.digest);

    // more prompts do not change those before
    let mut more = config;
    more["num_input_prompts"] = json!(30);
    assert_eq!(one.requests, built(more).requests[..20]);
}

#[test]
fn a_length_left_out_is_the_longest_allowed() {
    let workload = built(
        json!({"num_input_prompts": 2, "max_input_tokens": 33, "max_output_tokens": 9, "min_output_tokens": 3}),
    );
    assert_eq!(lengths(&workload), [33, 33]);
    assert!(
        workload
            .requests
            .iter()
            .all(|r| (r.min_output_tokens, r.max_output_tokens) == (3, 9))
    );
}

#[test]
fn without_a_tokenizer_synthetic_prompts_still_work_and_say_so() {
    let engine = Bytes {
        tokenizer: false,
        ..Bytes::default()
    };
    let workload = built_with(
        &engine,
        json!({"num_input_prompts": 2, "max_input_tokens": 8}),
    )
    .unwrap();
    assert_eq!(lengths(&workload), [8, 8]);
    assert_eq!(codes(&workload), ["prompts.special_tokens"]);
    let mut engine = Bytes::default();
    engine.description.vocabulary = None;
    let error = built_with(&engine, json!({})).unwrap_err();
    assert!(
        error.contains("vocabulary") && error.contains("prompts.texts"),
        "{error}"
    );
}

#[test]
fn texts_are_cut_repeated_and_told_of() {
    let workload = built(json!({
        "num_input_prompts": 5,
        "max_input_tokens": 4,
        "prompts": {"texts": ["abc", "abcdefgh"]},
    }));
    assert_eq!(lengths(&workload), [3, 4, 3, 4, 3]);
    assert_eq!(workload.requests[1].text.as_deref(), Some("abcd"));
    assert_eq!(codes(&workload), ["prompts.repeated", "prompts.cut"]);
    assert!(
        workload.warnings[1].message.contains("1 of 2 prompts"),
        "{:?}",
        workload.warnings
    );
    assert_eq!(profile(&workload)["num_rows"], 5);
    assert_eq!(profile(&workload)["distinct_prompts"], 2);
    assert_eq!(profile(&workload)["input_tokens"], 17);
    let ids: Vec<u64> = workload.requests.iter().map(|request| request.id).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
}

#[test]
fn a_cut_within_a_character_has_no_text() {
    let workload =
        built(json!({"num_input_prompts": 1, "max_input_tokens": 2, "prompts": {"texts": ["aé"]}}));
    assert_eq!(lengths(&workload), [2]);
    assert_eq!(workload.requests[0].text, None);
}

#[test]
fn in_a_chat_template_the_text_is_cut_and_the_template_is_whole() {
    let prompts = json!({"texts": ["äöüß and so on, and on"], "chat_template": true});
    for limit in 2..30_usize {
        let workload =
            built(json!({"num_input_prompts": 1, "max_input_tokens": limit, "prompts": prompts}));
        let tokens = &workload.requests[0].tokens;
        assert!(
            tokens.len() <= limit && (tokens.len() + 1 >= limit.min(28)),
            "{limit}: {tokens:?}"
        );
        assert_eq!((tokens[0], tokens[tokens.len() - 1]), (256, 257));
        let text = workload.requests[0].text.as_deref().unwrap();
        assert!("äöüß and so on, and on".starts_with(text));
    }
    let error = refused(json!({"num_input_prompts": 1, "max_input_tokens": 1, "prompts": prompts}));
    assert!(error.contains("template alone takes 2"), "{error}");
}

#[test]
fn a_book_is_cut_like_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("book.txt");
    fs::write(&path, "long ".repeat(1_000_000)).unwrap();
    let workload =
        built(json!({"num_input_prompts": 1, "max_input_tokens": 12, "prompts": {"path": path}}));
    assert_eq!(workload.requests[0].text.as_deref(), Some("long long lo"));
}

#[test]
fn sorted_batches_go_from_short_to_long_and_keep_their_numbers() {
    let workload = built(json!({
        "num_input_prompts": 4,
        "prompts": {"texts": ["ccc", "a", "bb", "d"]},
        "batching": {"batch_size": 2, "strategy": "sorted_static"},
    }));
    let ids: Vec<u64> = workload.requests.iter().map(|request| request.id).collect();
    assert_eq!(ids, [1, 3, 2, 0]);
    assert_eq!(workload.work().batch_size, 2);
}

#[test]
fn lengths_above_the_longest_allowed_are_capped_and_told_of() {
    let workload = built(json!({
        "num_input_prompts": 2, "max_input_tokens": 10, "max_output_tokens": 5,
        "prompts": {"input_tokens": 100, "output_tokens": 50},
    }));
    assert_eq!(lengths(&workload), [10, 10]);
    assert_eq!(workload.requests[0].min_output_tokens, 5);
    assert_eq!(codes(&workload), ["prompts.capped", "prompts.capped"]);
    let long = built(json!({"num_input_prompts": 2, "max_input_tokens": 2048}));
    assert_eq!(codes(&long), ["prompts.context"]);
}

#[test]
fn what_cannot_be_is_refused() {
    assert!(refused(json!({"min_output_tokens": 5, "max_output_tokens": 4})).contains("above"));
    assert!(refused(json!({"prompts": {"input_tokens": 0}})).contains("0 tokens"));
    let backwards = json!({"distribution": "uniform", "min": 5, "max": 4});
    assert!(
        refused(json!({"prompts": {"output_tokens": backwards}})).contains("prompts.output_tokens")
    );
    assert!(refused(json!({"prompts": {"type": "file"}})).contains("prompts.path"));
    assert!(refused(json!({"prompts": {"type": "inline"}})).contains("no prompt"));
    assert!(refused(json!({"prompts": {"texts": [" "]}})).contains("no prompt"));
    assert!(refused(json!({"prompts": {"dataset": "../x"}})).contains("org/name"));
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.txt");
    fs::write(&empty, "\n\n").unwrap();
    assert!(refused(json!({"prompts": {"path": empty}})).contains("holds no prompt"));
}

#[test]
fn a_file_is_sampled_the_same_way_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.jsonl");
    let rows: String = (0..100)
        .map(|n| format!("{{\"q\": {{\"de\": \"Frage {n}\"}}}}\n"))
        .collect();
    fs::write(&path, rows).unwrap();
    let config = |seed: u64| {
        json!({
            "num_input_prompts": 10,
            "prompts": {"path": path, "column": "q.de", "shuffle": true, "sample_size": 50, "seed": seed},
        })
    };
    let one = built(config(1));
    assert_eq!(one.dataset, built(config(1)).dataset);
    assert_ne!(one.dataset.digest, built(config(2)).dataset.digest);
    let number = |text: &str| text.strip_prefix("Frage ").unwrap().parse::<u32>().unwrap();
    assert!(
        one.requests
            .iter()
            .all(|r| number(r.text.as_deref().unwrap()) < 50)
    );
}

#[test]
fn what_is_told_of_the_prompts_is_no_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("private.txt");
    fs::write(&path, "my PASSWORD\nanother PASSWORD\n").unwrap();
    let workload = built(json!({"num_input_prompts": 2, "prompts": {"path": path}}));
    let told = format!(
        "{workload:?}{}",
        serde_json::to_string(&workload.dataset).unwrap()
    );
    assert!(!told.contains("PASSWORD"), "{told}");
    let dataset = &workload.dataset;
    assert_eq!(
        (dataset.name.as_str(), dataset.source_type.as_str()),
        ("private", "local")
    );
    assert!(dataset.digest.len() <= 36);
    for text in [&dataset.source, &dataset.schema, &dataset.profile] {
        serde_json::from_str::<Value>(text).unwrap();
    }
    // the digest is of these texts in this order: an independent computation
    let texts = ["my PASSWORD", "another PASSWORD"];
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    use sha2::Digest;
    let whole = hex::encode(sha2::Sha256::digest(&bytes));
    assert_eq!(dataset.digest, whole[..32]);
}
