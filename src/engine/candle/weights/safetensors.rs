//! Weights from safetensors files, and the shape from `config.json`.
//!
//! Tensors are read one at a time to where they stay, not mapped: a mapped file that
//! another process cuts short kills this one.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;
use serde_json::Value;

use super::{AttentionBias, Part, Plan, Role, Source};
use crate::config::Precision;
use crate::engine::EngineError;
use crate::engine::candle::files::read_json;
use crate::engine::candle::llama::{Rope, RopeScaling, Shape};
use crate::engine::candle::matrix::{Float, Matrix, Weights};

/// What the format itself allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// `config.json` of transformers, as far as the family needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct SafetensorsShape {
    #[serde(default)]
    architectures: Vec<String>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    /// Up to transformers 4.
    rope_scaling: Option<Value>,
    /// From transformers 5 on, with `rope_theta` inside.
    rope_parameters: Option<Value>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    sliding_window: Option<Value>,
    use_sliding_window: Option<bool>,
    hidden_act: Option<String>,
    quantization_config: Option<Value>,
    #[serde(alias = "dtype")]
    torch_dtype: Option<String>,
    /// One id or a list.
    pub eos_token_id: Option<Value>,
}

impl SafetensorsShape {
    pub fn read(path: &Path) -> Result<Self, EngineError> {
        read_json(path)
    }

    /// The type that `torch_dtype` names.
    pub fn precision(&self) -> Precision {
        match self.torch_dtype.as_deref() {
            Some("float16") => Precision::Fp16,
            Some("bfloat16") => Precision::Bf16,
            _ => Precision::Fp32,
        }
    }

    pub fn plan(&self, path: &Path) -> Result<Plan, EngineError> {
        let error = |what: String, remedy: &str| {
            EngineError::new(
                format!("the model of {} cannot be used: {what}", path.display()),
                remedy,
            )
        };
        let elsewhere = "Serve it with vLLM and set backend";
        let class = self.architectures.first().map_or("", String::as_str);
        let (architecture, bias) = match class {
            "LlamaForCausalLM" => ("llama", self.attention_bias),
            "MistralForCausalLM" => ("mistral", false),
            "Qwen2ForCausalLM" => ("qwen2", true),
            "Qwen3ForCausalLM" => ("qwen3", self.attention_bias),
            other => {
                return Err(error(
                    format!("its architecture is {other:?}"),
                    "LlamaForCausalLM, MistralForCausalLM and Qwen2ForCausalLM run here, and \
                     Qwen3ForCausalLM with backend: torch; serve others with vLLM and set backend",
                ));
            }
        };
        let window = self.sliding_window.as_ref().is_some_and(|w| !w.is_null());
        if window && self.use_sliding_window.unwrap_or(true) {
            return Err(error(
                "it attends through a sliding window".into(),
                elsewhere,
            ));
        }
        if self
            .quantization_config
            .as_ref()
            .is_some_and(|q| !q.is_null())
        {
            return Err(error(
                "its safetensors weights are quantised".into(),
                "Use the unquantised model, a GGUF file, or vLLM",
            ));
        }
        if self.hidden_act.as_deref().is_some_and(|act| act != "silu") {
            return Err(error(
                format!("it activates with {:?}", self.hidden_act),
                elsewhere,
            ));
        }
        let shape = Shape {
            architecture: architecture.to_owned(),
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            kv_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_size: self
                .head_dim
                .unwrap_or(self.hidden_size / self.num_attention_heads.max(1)),
            vocabulary: self.vocab_size,
            context: self.max_position_embeddings,
            norm_epsilon: self.rms_norm_eps as f32,
        };
        let (theta, scaling) = self.rope().map_err(|what| error(what, elsewhere))?;
        let rope = Rope::new(shape.head_size, shape.head_size, theta, &scaling, false)
            .and_then(|rope| shape.check(&rope).map(|()| rope))
            .map_err(|what| error(what, "Check config.json"))?;
        Ok(Plan {
            shape,
            rope,
            tied: self.tie_word_embeddings,
            attention_bias: AttentionBias {
                query_key_value: bias,
                output: bias && matches!(architecture, "llama" | "qwen3"),
            },
            mlp_bias: self.mlp_bias,
            head_norm: architecture == "qwen3",
        })
    }

    fn rope(&self) -> Result<(f64, RopeScaling), String> {
        let parameters = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        let get = |key: &str| parameters.and_then(|p| p.get(key));
        let number = |key: &str| -> Result<f64, String> {
            get(key)
                .and_then(Value::as_f64)
                .ok_or_else(|| format!("its rotary scaling lacks the number {key}"))
        };
        let theta = get("rope_theta")
            .and_then(Value::as_f64)
            .or(self.rope_theta);
        let kind = get("rope_type")
            .or_else(|| get("type"))
            .and_then(Value::as_str);
        let scaling = match kind {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear {
                factor: number("factor")?,
            },
            Some("llama3") => RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_context: number("original_max_position_embeddings")?,
            },
            Some(other) => return Err(format!("its rotary scaling is of the type {other:?}")),
        };
        Ok((theta.unwrap_or(10_000.0), scaling))
    }
}

#[derive(Debug)]
pub struct SafetensorsModel {
    files: Vec<(PathBuf, File)>,
    tensors: HashMap<String, Entry>,
    precision: Precision,
}

#[derive(Clone, Debug)]
struct Entry {
    file: usize,
    info: TensorInfo,
    /// Of the data, from the file's start.
    data: u64,
}

impl SafetensorsModel {
    /// Opens the files and reads their headers. `Auto` keeps each tensor's own type.
    pub fn open(paths: &[PathBuf], precision: Precision) -> Result<Self, EngineError> {
        let mut this = Self {
            files: Vec::new(),
            tensors: HashMap::new(),
            precision,
        };
        for path in paths {
            this.add(path)?;
        }
        Ok(this)
    }

    fn add(&mut self, path: &Path) -> Result<(), EngineError> {
        let broken = |what: String| {
            EngineError::new(
                format!(
                    "{} is not a safetensors file that can be used: {what}",
                    path.display()
                ),
                "Download the file again, and compare its SHA-256 with the publisher's",
            )
        };
        let file = File::open(path).map_err(|e| broken(e.to_string()))?;
        let bytes = file.metadata().map_err(|e| broken(e.to_string()))?.len();
        let mut length = [0; 8];
        file.read_exact_at(&mut length, 0)
            .map_err(|e| broken(e.to_string()))?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES || header_bytes + 8 > bytes {
            return Err(broken(format!(
                "its header claims {header_bytes} bytes of {bytes}"
            )));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact_at(&mut header, 8)
            .map_err(|e| broken(e.to_string()))?;
        // Checks that the tensors tile the data without gap or overlap, and fit their types.
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| broken(error.to_string()))?;
        if header_bytes + 8 + metadata.data_len() as u64 != bytes {
            return Err(broken(
                "its tensors and its length disagree: it is cut off".into(),
            ));
        }
        let index = self.files.len();
        for (name, info) in metadata.tensors() {
            let entry = Entry {
                file: index,
                info: info.clone(),
                data: header_bytes + 8,
            };
            if self.tensors.insert(name.clone(), entry).is_some() {
                return Err(broken(format!("the tensor {name} is in two files")));
            }
        }
        self.files.push((path.to_owned(), file));
        Ok(())
    }

    /// The type that a tensor is stored in.
    #[allow(dead_code, reason = "the torch engine takes one type for all")]
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|entry| entry.info.dtype)
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn error(&self, what: String) -> EngineError {
        let file = self
            .files
            .first()
            .map_or(Path::new("the model"), |(path, _)| path);
        EngineError::new(
            format!("the model of {} cannot be used: {what}", file.display()),
            "Check that config.json and the weights belong together",
        )
    }

    pub fn raw(&self, name: &str, shape: &[usize]) -> Result<(Dtype, Vec<u8>), EngineError> {
        let entry = self
            .tensors
            .get(name)
            .ok_or_else(|| self.error(format!("the tensor {name} is missing")))?;
        if entry.info.shape != shape {
            return Err(self.error(format!(
                "the tensor {name} is {:?}, but config.json asks for {shape:?}",
                entry.info.shape
            )));
        }
        let (from, to) = entry.info.data_offsets;
        let mut raw = Vec::new();
        raw.try_reserve_exact(to - from)
            .map_err(|_| self.error(format!("there is no memory for the tensor {name}")))?;
        raw.resize(to - from, 0);
        let (_, file) = &self.files[entry.file];
        file.read_exact_at(&mut raw, entry.data + from as u64)
            .map_err(|error| self.error(format!("cannot read the tensor {name}: {error}")))?;
        Ok((entry.info.dtype, raw))
    }

    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        let (dtype, raw) = self.raw(name, shape)?;
        unpack(dtype, &raw).ok_or_else(|| self.unusable(name, dtype))
    }

    fn unusable(&self, name: &str, dtype: Dtype) -> EngineError {
        self.error(format!(
            "the tensor {name} has the type {dtype:?}; the embedded engine reads F32, F16 and BF16"
        ))
    }
}

impl Source for SafetensorsModel {
    fn matrix(&mut self, role: Role, n: usize, k: usize) -> Result<Matrix, EngineError> {
        let name = format!("{}.weight", name(role));
        let (dtype, raw) = self.raw(&name, &[n, k])?;
        let float = match (dtype, self.precision) {
            (Dtype::F16, Precision::Auto | Precision::Fp16) => Ok(Float::from_f16(
                n,
                k,
                pairs(&raw).map(f16::from_le_bytes).collect(),
            )),
            (Dtype::BF16, Precision::Auto | Precision::Bf16) => Ok(Float::from_bf16(
                n,
                k,
                pairs(&raw).map(bf16::from_le_bytes).collect(),
            )),
            (dtype, precision) => {
                let values = unpack(dtype, &raw).ok_or_else(|| self.unusable(&name, dtype))?;
                Float::new(n, k, values, precision)
            }
        };
        let float = float.map_err(|error| self.error(format!("{name}: {error}")))?;
        Ok(Matrix {
            weights: Weights::Float(float),
            bias: None,
        })
    }

    fn bias(&mut self, role: Role, n: usize) -> Result<Vec<f32>, EngineError> {
        self.floats(&format!("{}.bias", name(role)), &[n])
    }

    fn vector(&mut self, role: Role, n: usize) -> Result<Vec<f32>, EngineError> {
        self.floats(&format!("{}.weight", name(role)), &[n])
    }
}

fn pairs(raw: &[u8]) -> impl Iterator<Item = [u8; 2]> {
    raw.as_chunks::<2>().0.iter().copied()
}

fn unpack(dtype: Dtype, raw: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => raw
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
        Dtype::F16 => pairs(raw).map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => pairs(raw)
            .map(|b| bf16::from_le_bytes(b).to_f32())
            .collect(),
        _ => return None,
    })
}

/// The name of a role's tensor, without `.weight` or `.bias`.
pub fn name(role: Role) -> String {
    match role {
        Role::Embeddings => "model.embed_tokens".into(),
        Role::Head => "lm_head".into(),
        Role::Norm => "model.norm".into(),
        Role::Layer(i, part) => {
            let part = match part {
                Part::AttentionNorm => "input_layernorm",
                Part::Query => "self_attn.q_proj",
                Part::Key => "self_attn.k_proj",
                Part::Value => "self_attn.v_proj",
                Part::Output => "self_attn.o_proj",
                Part::MlpNorm => "post_attention_layernorm",
                Part::Gate => "mlp.gate_proj",
                Part::Up => "mlp.up_proj",
                Part::Down => "mlp.down_proj",
            };
            format!("model.layers.{i}.{part}")
        }
    }
}
