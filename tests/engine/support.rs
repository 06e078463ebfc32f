//! Small models made on the spot, and ways to run them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use lem::config::{LoadFormat, Precision, QuantizedWeights};
use lem::engine::candle::{CandleEngine, LoadOptions, load};
use lem::engine::{
    Cancel, Engine, EngineError, Event, EventSink, Request, Sampling, TokenIds, Work,
};
use lem::model::{ModelFiles, ModelFormat};
use lem_record::FinishReason;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

pub const END: u32 = 299;

pub fn options() -> LoadOptions {
    LoadOptions {
        threads: Some(2),
        quantized: QuantizedWeights::Native,
        precision: Precision::Auto,
        load_format: LoadFormat::Auto,
        seed: 1,
    }
}

/// As `scripts/golden/tiny.py` has it.
pub fn values(seed: u64, count: usize) -> Vec<f32> {
    (0..count as u64)
        .map(|i| {
            let mut x = i.wrapping_add(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            x ^= x >> 31;
            ((x >> 40) as f64 / f64::from(1 << 24) - 0.5) as f32
        })
        .collect()
}

/// The variants of `tests/data/tiny-golden.json`.
pub fn golden() -> Value {
    serde_json::from_str(include_str!("../data/tiny-golden.json")).unwrap()
}

pub fn tokens(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Weights of a variant by name, as the script fills them.
pub fn weights(variant: &Value) -> Weights {
    let shapes: BTreeMap<String, Vec<usize>> =
        serde_json::from_value(variant["shapes"].clone()).unwrap();
    shapes
        .into_iter()
        .zip(1..)
        .map(|((name, shape), seed)| {
            let norm = name.contains("norm");
            let values = values(seed, shape.iter().product())
                .into_iter()
                .map(|v| if norm { 1.0 + 0.5 * v } else { 0.6 * v })
                .collect();
            (name, (shape, values))
        })
        .collect()
}

/// A byte-level tokenizer of 300 words, the last of them the end of text.
pub fn tokenizer() -> Tokenizer {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut words: Vec<String> = alphabet.into_iter().map(String::from).collect();
    let merges = [("t", "h"), ("th", "e"), ("i", "n"), ("Ġ", "the")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()));
    words.extend(merges.iter().map(|(a, b)| format!("{a}{b}")));
    while words.len() < END as usize {
        words.push(format!("<|filler_{}|>", words.len()));
    }
    words.push("<|endoftext|>".into());
    let vocabulary: tokenizers::models::bpe::Vocab = words.into_iter().zip(0..).collect();
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary, merges.to_vec())
        .build()
        .unwrap();
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
        .with_decoder(Some(ByteLevel::default()));
    tokenizer
        .add_special_tokens([AddedToken::from("<|endoftext|>", true)])
        .unwrap();
    tokenizer
}

/// Writes a variant as transformers would, in the given type.
pub fn safetensors(folder: &Path, variant: &Value, dtype: Dtype) -> ModelFiles {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = weights(variant)
        .into_iter()
        .map(|(name, (shape, values))| {
            let bytes = match dtype {
                Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                Dtype::F16 => values
                    .iter()
                    .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
                    .collect(),
                _ => values
                    .iter()
                    .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
                    .collect(),
            };
            (name, shape, bytes)
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    let mut config = variant["config"].clone();
    config["eos_token_id"] = json!(END);
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let weights = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &weights).unwrap();
    tokenizer()
        .save(folder.join("tokenizer.json"), false)
        .unwrap();
    let template = "{% for m in messages %}[{{ m['role'].upper() }}] {{ m.content }}\n{% endfor %}\
                    {% if add_generation_prompt %}[MODEL]{% endif %}";
    std::fs::write(
        folder.join("tokenizer_config.json"),
        json!({"chat_template": template, "eos_token": "<|endoftext|>"}).to_string(),
    )
    .unwrap();
    ModelFiles {
        name: "tiny".into(),
        source: folder.display().to_string(),
        sha256: None,
        format: ModelFormat::Safetensors {
            config: folder.join("config.json"),
            weights: vec![weights],
            tokenizer: Some(folder.join("tokenizer.json")),
            tokenizer_config: Some(folder.join("tokenizer_config.json")),
            generation_config: None,
        },
    }
}

/// Writes a variant as a converter for llama.cpp would, matrices in the given type.
pub fn gguf(folder: &Path, variant: &Value, kind: GgmlDType) -> ModelFiles {
    let config = &variant["config"];
    let arch = match config["model_type"].as_str().unwrap() {
        "qwen2" => "qwen2",
        _ => "llama",
    };
    let number = |key: &str| {
        config[key]
            .as_u64()
            .map(|v| gguf_file::Value::U32(v as u32))
    };
    let heads = config["num_attention_heads"].as_u64().unwrap() as usize;
    let kv_heads = config["num_key_value_heads"].as_u64().unwrap() as usize;
    let mut tensors: Vec<(String, QTensor)> = weights(variant)
        .into_iter()
        .map(|(name, (shape, values))| {
            let values = match (arch, &name) {
                ("llama", n) if n.ends_with("q_proj.weight") => neighbours(&values, &shape, heads),
                ("llama", n) if n.ends_with("k_proj.weight") => {
                    neighbours(&values, &shape, kv_heads)
                }
                _ => values,
            };
            let matrix = shape.len() == 2;
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            let kind = if matrix { kind } else { GgmlDType::F32 };
            (gguf_name(&name), QTensor::quantize(&tensor, kind).unwrap())
        })
        .collect();
    if config["rope_scaling"]["rope_type"] == "llama3" {
        let factors = llama3_factors(config);
        let factors = Tensor::from_vec(factors.clone(), factors.len(), &Device::Cpu).unwrap();
        let factors = QTensor::quantize(&factors, GgmlDType::F32).unwrap();
        tensors.push(("rope_freqs.weight".into(), factors));
    }
    let tokenizer = tokenizer();
    let mut words = vec![String::new(); 300];
    for (word, id) in tokenizer.get_vocab(true) {
        words[id as usize] = word;
    }
    let texts = |texts: Vec<String>| {
        gguf_file::Value::Array(texts.into_iter().map(gguf_file::Value::String).collect())
    };
    let types = (0..300)
        .map(|i| gguf_file::Value::I32(if i == END { 3 } else { 1 }))
        .collect();
    let merges = ["t h", "th e", "i n", "Ġ the"].map(String::from).to_vec();
    let metadata = [
        (
            "general.architecture".into(),
            Some(gguf_file::Value::String(arch.into())),
        ),
        (format!("{arch}.block_count"), number("num_hidden_layers")),
        (
            format!("{arch}.context_length"),
            number("max_position_embeddings"),
        ),
        (format!("{arch}.embedding_length"), number("hidden_size")),
        (
            format!("{arch}.feed_forward_length"),
            number("intermediate_size"),
        ),
        (
            format!("{arch}.attention.head_count"),
            number("num_attention_heads"),
        ),
        (
            format!("{arch}.attention.head_count_kv"),
            number("num_key_value_heads"),
        ),
        (format!("{arch}.attention.key_length"), number("head_dim")),
        (
            format!("{arch}.rope.freq_base"),
            config["rope_theta"]
                .as_f64()
                .map(|v| gguf_file::Value::F32(v as f32)),
        ),
        (
            format!("{arch}.rope.scaling.type"),
            config["rope_scaling"]["rope_type"]
                .as_str()
                .filter(|t| *t == "linear")
                .map(|t| gguf_file::Value::String(t.into())),
        ),
        (
            format!("{arch}.rope.scaling.factor"),
            config["rope_scaling"]["factor"]
                .as_f64()
                .map(|v| gguf_file::Value::F32(v as f32)),
        ),
        (
            format!("{arch}.attention.layer_norm_rms_epsilon"),
            Some(gguf_file::Value::F32(1e-5)),
        ),
        (
            "tokenizer.ggml.model".into(),
            Some(gguf_file::Value::String("gpt2".into())),
        ),
        (
            "tokenizer.ggml.pre".into(),
            Some(gguf_file::Value::String("gpt-2".into())),
        ),
        ("tokenizer.ggml.tokens".into(), Some(texts(words))),
        ("tokenizer.ggml.merges".into(), Some(texts(merges))),
        (
            "tokenizer.ggml.token_type".into(),
            Some(gguf_file::Value::Array(types)),
        ),
        (
            "tokenizer.ggml.eos_token_id".into(),
            Some(gguf_file::Value::U32(END)),
        ),
    ];
    let metadata: Vec<(String, gguf_file::Value)> = metadata
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    let metadata: Vec<(&str, &gguf_file::Value)> =
        metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let path = folder.join("model.gguf");
    let mut file = std::fs::File::create(&path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
    gguf_files(&path)
}

pub fn gguf_files(path: &Path) -> ModelFiles {
    ModelFiles {
        name: "model".into(),
        source: path.display().to_string(),
        sha256: None,
        format: ModelFormat::Gguf(path.to_owned()),
    }
}

/// Turns halves of a head into neighbours, as converters of `llama` do.
fn neighbours(values: &[f32], shape: &[usize], heads: usize) -> Vec<f32> {
    let (rows, width) = (shape[0], shape[1]);
    let size = rows / heads;
    let mut out = vec![0.0; values.len()];
    for row in 0..rows {
        let (head, i) = (row / size, row % size);
        let to = head * size + i % (size / 2) * 2 + i / (size / 2);
        out[to * width..][..width].copy_from_slice(&values[row * width..][..width]);
    }
    out
}

/// What each rotary frequency is divided by: converters write Llama 3's scaling so.
fn llama3_factors(config: &Value) -> Vec<f32> {
    let scaling = |key: &str| config["rope_scaling"][key].as_f64().unwrap();
    let (factor, original) = (
        scaling("factor"),
        scaling("original_max_position_embeddings"),
    );
    let (low, high) = (scaling("low_freq_factor"), scaling("high_freq_factor"));
    let base = config["rope_theta"].as_f64().unwrap();
    let size =
        config["hidden_size"].as_f64().unwrap() / config["num_attention_heads"].as_f64().unwrap();
    (0..size as u32 / 2)
        .map(|i| {
            let turn = std::f64::consts::TAU * base.powf(f64::from(2 * i) / size);
            let smooth = ((original / turn - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
        })
        .collect()
}

fn gguf_name(name: &str) -> String {
    let mut name = name.replace("model.layers.", "blk.");
    for (from, to) in [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ] {
        name = name.replace(from, to);
    }
    name
}

/// A loaded variant in `f32`.
pub fn tiny(variant: &str) -> (TempDir, CandleEngine) {
    let folder = TempDir::new().unwrap();
    let files = safetensors(folder.path(), &golden()["variants"][variant], Dtype::F32);
    let engine = load(&files, &options()).unwrap();
    (folder, engine)
}

/// The model that `./test` provides, or why its tests are skipped.
pub fn real_model() -> Option<PathBuf> {
    let path = std::env::var_os("LEM_TEST_MODEL").map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: LEM_TEST_MODEL does not name SmolLM2-135M-Instruct.Q4_1.gguf");
    }
    path
}

#[derive(Default)]
pub struct Events {
    pub all: Vec<Event>,
    /// Cancels after so many tokens.
    pub cancel_after: Option<(usize, Cancel)>,
}

impl EventSink for Events {
    fn event(&mut self, event: Event) {
        self.all.push(event);
        if let Some((tokens, cancel)) = &self.cancel_after {
            let seen = self
                .all
                .iter()
                .filter(|e| matches!(e, Event::Tokens { .. }))
                .count();
            if seen >= *tokens {
                cancel.cancel();
            }
        }
    }
}

impl Events {
    pub fn tokens(&self, id: u64) -> Vec<u32> {
        self.all
            .iter()
            .filter_map(|event| match event {
                Event::Tokens {
                    request,
                    ids: TokenIds::One(token),
                    ..
                } if *request == id => Some(*token),
                _ => None,
            })
            .collect()
    }

    pub fn reason(&self, id: u64) -> Option<FinishReason> {
        self.all.iter().find_map(|event| match event {
            Event::Finished {
                request, reason, ..
            } if *request == id => Some(*reason),
            _ => None,
        })
    }

    pub fn failure(&self, id: u64) -> Option<&str> {
        self.all.iter().find_map(|event| match event {
            Event::Failed { request, error, .. } if *request == id => Some(error.as_str()),
            _ => None,
        })
    }
}

pub fn request(id: u64, tokens: &[u32], min: u32, max: u32) -> Request {
    Request {
        id,
        tokens: Arc::from(tokens),
        text: None,
        max_output_tokens: max,
        min_output_tokens: min,
    }
}

pub fn work(requests: Vec<Request>, batch_size: usize, sampling: Sampling) -> Work {
    Work {
        requests,
        batch_size,
        sampling,
        due_ns: Vec::new(),
    }
}

pub fn run(engine: &mut CandleEngine, work: &Work) -> Result<Events, EngineError> {
    let mut events = Events::default();
    engine.generate(work, &mut events, &Cancel::default())?;
    Ok(events)
}

/// Largest difference, and mean.
pub fn differences(a: &[f32], b: &Value) -> (f64, f64) {
    let b: Vec<f64> = serde_json::from_value(b.clone()).unwrap();
    assert_eq!(a.len(), b.len());
    let all: Vec<f64> = a
        .iter()
        .zip(&b)
        .map(|(a, b)| (f64::from(*a) - b).abs())
        .collect();
    let most = all.iter().copied().fold(0.0, f64::max);
    (most, all.iter().sum::<f64>() / all.len() as f64)
}
