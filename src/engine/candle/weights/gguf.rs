//! Weights and shape from a GGUF file.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::{AttentionBias, Part, Plan, Role, Source};
use crate::config::{Precision, QuantizedWeights};
use crate::engine::EngineError;
use crate::engine::candle::gguf::{Block, Expect, GgmlType, Header, Storage, TensorInfo};
use crate::engine::candle::llama::{Rope, RopeScaling, Shape};
use crate::engine::candle::matrix::{Float, Matrix, Packed, Weights};

/// How to hold the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub quantized: QuantizedWeights,
    pub precision: Precision,
}

#[derive(Debug)]
pub struct GgufModel {
    path: PathBuf,
    file: File,
    pub header: Header,
    placement: Placement,
}

impl GgufModel {
    pub fn open(path: &Path, expect: Expect, placement: Placement) -> Result<Self, EngineError> {
        let cannot = |error: std::io::Error| {
            EngineError::new(
                format!("cannot read the model file {}: {error}", path.display()),
                "Check the path and its permissions",
            )
        };
        let file = File::open(path).map_err(cannot)?;
        let bytes = file.metadata().map_err(cannot)?.len();
        let header = Header::read(BufReader::new(&file), bytes, expect).map_err(|error| {
            EngineError::new(
                format!(
                    "{} is not a GGUF file that can be used: {error}",
                    path.display()
                ),
                "Download the file again, and compare its SHA-256 with the publisher's",
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            header,
            placement,
        })
    }

    fn error(&self, what: impl std::fmt::Display, remedy: &str) -> EngineError {
        EngineError::new(
            format!("the model {} cannot be used: {what}", self.path.display()),
            remedy,
        )
    }

    pub fn plan(&self) -> Result<Plan, EngineError> {
        let header = &self.header;
        let architecture = header.text("general.architecture").unwrap_or("unknown");
        // Whether the rotated pairs are neighbours is a convention of each architecture.
        let neighbours = match architecture {
            "llama" | "mistral" => true,
            "qwen2" => false,
            other => {
                return Err(self.error(
                    format!("its architecture is {other:?}"),
                    "The embedded engine runs llama, mistral and qwen2; serve others with \
                     llama.cpp or vLLM and set backend",
                ));
            }
        };
        if header
            .integer(&format!("{architecture}.expert_count"))
            .is_some_and(|experts| experts > 0)
        {
            return Err(self.error(
                "it is a mixture of experts",
                "Serve it with llama.cpp or vLLM and set backend",
            ));
        }
        if header
            .integer(&format!("{architecture}.attention.sliding_window"))
            .is_some_and(|window| window > 0)
        {
            return Err(self.error(
                "it attends through a sliding window",
                "Serve it with llama.cpp or vLLM and set backend",
            ));
        }
        let need = |key: &str| -> Result<usize, EngineError> {
            header
                .integer(&format!("{architecture}.{key}"))
                .and_then(|v| usize::try_from(v).ok())
                .ok_or_else(|| {
                    self.error(
                        format!("its header lacks {architecture}.{key}, or it is no whole number"),
                        "Convert or download the model anew",
                    )
                })
        };
        let embeddings = self.info("token_embd.weight")?;
        let hidden = need("embedding_length")?;
        let heads = need("attention.head_count")?;
        let head_size = need("attention.key_length").unwrap_or(hidden / heads.max(1));
        let shape = Shape {
            architecture: architecture.to_owned(),
            hidden,
            intermediate: need("feed_forward_length")?,
            layers: need("block_count")?,
            heads,
            kv_heads: need("attention.head_count_kv").unwrap_or(heads),
            head_size,
            vocabulary: embeddings
                .dimensions
                .get(1)
                .and_then(|&v| usize::try_from(v).ok())
                .unwrap_or(0),
            context: need("context_length")?,
            norm_epsilon: header
                .float(&format!("{architecture}.attention.layer_norm_rms_epsilon"))
                .unwrap_or(1e-5) as f32,
        };
        let rotated = need("rope.dimension_count").unwrap_or(head_size);
        let theta = header
            .float(&format!("{architecture}.rope.freq_base"))
            .unwrap_or(10_000.0);
        let scaling = self.scaling(architecture)?;
        let rope = Rope::new(head_size, rotated, theta, &scaling, neighbours)
            .and_then(|rope| shape.check(&rope).map(|()| rope))
            .map_err(|what| self.error(what, "Convert or download the model anew"))?;
        let has = |name: &str| header.tensors.contains_key(name);
        Ok(Plan {
            shape,
            rope,
            tied: !has("output.weight"),
            attention_bias: AttentionBias {
                query_key_value: has("blk.0.attn_q.bias"),
                output: has("blk.0.attn_output.bias"),
            },
            mlp_bias: has("blk.0.ffn_down.bias"),
            head_norm: false,
        })
    }

    fn scaling(&self, architecture: &str) -> Result<RopeScaling, EngineError> {
        let key = |name: &str| format!("{architecture}.rope.scaling.{name}");
        match self.header.text(&key("type")) {
            None | Some("none") => {}
            Some("linear") => {
                let factor = self.header.float(&key("factor")).unwrap_or(1.0);
                return Ok(RopeScaling::Linear { factor });
            }
            Some(other) => {
                return Err(self.error(
                    format!("its rotary scaling is of the type {other:?}"),
                    "The embedded engine knows linear and the factors of Llama 3; serve the model \
                     with llama.cpp and set backend",
                ));
            }
        }
        let Some(info) = self.header.tensors.get("rope_freqs.weight") else {
            return Ok(RopeScaling::None);
        };
        // Bounded by the shape's check of the head size only later, so bounded here too.
        if info.elements() > 1 << 16 {
            return Err(self.error("rope_freqs.weight is too large", "Download the model anew"));
        }
        Ok(RopeScaling::Factors(
            self.floats("rope_freqs.weight", info)?,
        ))
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, EngineError> {
        self.header.tensors.get(name).ok_or_else(|| {
            self.error(
                format!("the tensor {name} is missing"),
                "Convert or download the model anew",
            )
        })
    }

    fn raw(&self, name: &str, info: &TensorInfo) -> Result<Vec<u8>, EngineError> {
        let fail = |what: String| self.error(what, "Check the disk and the file");
        let bytes = usize::try_from(info.bytes)
            .map_err(|_| fail(format!("the tensor {name} does not fit in memory")))?;
        let mut raw = Vec::new();
        raw.try_reserve_exact(bytes)
            .map_err(|_| fail(format!("there is no memory for the tensor {name}")))?;
        raw.resize(bytes, 0);
        self.file
            .read_exact_at(&mut raw, info.offset)
            .map_err(|error| fail(format!("cannot read the tensor {name}: {error}")))?;
        Ok(raw)
    }

    fn floats(&self, name: &str, info: &TensorInfo) -> Result<Vec<f32>, EngineError> {
        let raw = self.raw(name, info)?;
        Ok(unpack(info.kind, &raw))
    }

    /// The tensor, if it has the shape that the model's numbers ask for.
    fn shaped(&self, name: &str, dimensions: &[usize]) -> Result<&TensorInfo, EngineError> {
        let info = self.info(name)?;
        let same = info
            .dimensions
            .iter()
            .map(|&d| d as usize)
            .eq(dimensions.iter().copied());
        if same {
            return Ok(info);
        }
        Err(self.error(
            format!(
                "the tensor {name} is {:?}, but the header's numbers ask for {dimensions:?}",
                info.dimensions
            ),
            "Convert or download the model anew",
        ))
    }

    /// Type of a role's tensor as stored, for random weights of the same kind.
    pub fn kind(&self, role: Role, n: usize, k: usize) -> Result<GgmlType, EngineError> {
        Ok(self
            .shaped(&format!("{}.weight", name(role)), &[k, n])?
            .kind)
    }

    pub fn is_quantised(&self) -> bool {
        let mut kinds = self.header.tensors.values().map(|info| info.kind.storage());
        kinds.any(|storage| matches!(storage, Storage::Quantised(_)))
    }

    /// Elements of each type over all matrices, for the summary.
    pub fn matrix_types(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.header
            .tensors
            .values()
            .filter(|info| info.dimensions.len() > 1)
            .map(|info| (info.kind.name(), info.elements()))
    }
}

impl Source for GgufModel {
    fn matrix(&mut self, role: Role, n: usize, k: usize) -> Result<Matrix, EngineError> {
        let name = format!("{}.weight", name(role));
        let info = self.shaped(&name, &[k, n])?;
        let raw = self.raw(&name, info)?;
        let weights = place(info.kind, n, k, &raw, self.placement)
            .map_err(|error| self.error(format!("{name}: {error}"), "Report this as a defect"))?;
        Ok(Matrix {
            weights,
            bias: None,
        })
    }

    fn bias(&mut self, role: Role, n: usize) -> Result<Vec<f32>, EngineError> {
        let name = format!("{}.bias", name(role));
        self.floats(&name, self.shaped(&name, &[n])?)
    }

    fn vector(&mut self, role: Role, n: usize) -> Result<Vec<f32>, EngineError> {
        let name = format!("{}.weight", name(role));
        self.floats(&name, self.shaped(&name, &[n])?)
    }
}

/// A matrix as stored, or unpacked.
fn place(
    kind: GgmlType,
    n: usize,
    k: usize,
    raw: &[u8],
    placement: Placement,
) -> Result<Weights, candle_core::Error> {
    let float = |precision| Float::new(n, k, unpack(kind, raw), precision).map(Weights::Float);
    match (kind.storage(), placement.precision) {
        (Storage::Quantised(quantised), _) if placement.quantized == QuantizedWeights::Native => {
            let (elements, bytes) = (kind.block_elements(), kind.block_bytes());
            Ok(Weights::Packed(Packed::new(
                &quantised, elements, bytes, n, k, raw,
            )))
        }
        (Storage::F16, Precision::Auto | Precision::Fp16) => Ok(Weights::Float(Float::from_f16(
            n,
            k,
            pairs(raw).map(f16::from_le_bytes).collect(),
        ))),
        (Storage::Bf16, Precision::Auto | Precision::Bf16) => Ok(Weights::Float(Float::from_bf16(
            n,
            k,
            pairs(raw).map(bf16::from_le_bytes).collect(),
        ))),
        (_, precision) => float(precision),
    }
}

fn pairs(raw: &[u8]) -> impl Iterator<Item = [u8; 2]> {
    raw.as_chunks::<2>().0.iter().copied()
}

/// All elements in `f32`.
fn unpack(kind: GgmlType, raw: &[u8]) -> Vec<f32> {
    match kind.storage() {
        Storage::F32 => raw
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
        Storage::F16 => pairs(raw).map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Storage::Bf16 => pairs(raw)
            .map(|b| bf16::from_le_bytes(b).to_f32())
            .collect(),
        Storage::Quantised(quantised) => {
            let elements = kind.block_elements();
            let mut out = Vec::with_capacity(raw.len() / kind.block_bytes() * elements);
            let mut block = Block::default();
            for bytes in raw.chunks_exact(kind.block_bytes()) {
                (quantised.decode)(bytes, &mut block);
                block.floats(&quantised, elements, &mut out);
            }
            out
        }
    }
}

/// The name of a role's tensor, without `.weight` or `.bias`.
fn name(role: Role) -> String {
    match role {
        Role::Embeddings => "token_embd".into(),
        Role::Head => "output".into(),
        Role::Norm => "output_norm".into(),
        Role::Layer(i, part) => {
            let part = match part {
                Part::AttentionNorm => "attn_norm",
                Part::Query => "attn_q",
                Part::Key => "attn_k",
                Part::Value => "attn_v",
                Part::Output => "attn_output",
                Part::MlpNorm => "ffn_norm",
                Part::Gate => "ffn_gate",
                Part::Up => "ffn_up",
                Part::Down => "ffn_down",
            };
            format!("blk.{i}.{part}")
        }
    }
}
