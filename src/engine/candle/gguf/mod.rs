//! Reads the header of a GGUF file without trusting it.
//!
//! A file of a model comes from a stranger. Every count and length is held against
//! what is left of the file and against a limit before anything is allocated, every
//! tensor against the file's end and its neighbours; what the reader keeps is at most
//! a small multiple of the header's own bytes. The format is described in
//! `docs/gguf.md` of ggml.

mod quant;
mod reader;

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

pub use quant::{Block, Codes, GgmlType, MAX_BLOCK, Quantised, Storage};
use reader::Reader;

/// Little-endian `GGUF`.
const MAGIC: [u8; 4] = *b"GGUF";
/// A header of a model with a vocabulary of 256 thousand takes about 20 MB.
const MAX_HEADER_BYTES: u64 = 512 << 20;
/// Chat templates and merges are short; a longer text is not a text.
const MAX_TEXT_BYTES: u64 = 16 << 20;
const MAX_NAME_BYTES: u64 = 1 << 10;
/// Elements of all arrays together: a vocabulary, its types, scores and merges.
const MAX_ARRAY_ELEMENTS: u64 = 8 << 20;
const MAX_ENTRIES: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 20;
const MAX_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {what}")]
pub struct GgufError {
    pub at: u64,
    pub what: String,
}

/// A metadata value. Integers of every width are one, so are both float widths.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<f64>),
}

/// A tensor's place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub kind: GgmlType,
    /// Fastest-changing first, as in the file: a matrix is `[inputs, outputs]`.
    pub dimensions: Vec<u64>,
    /// From the file's start.
    pub offset: u64,
    pub bytes: u64,
}

impl TensorInfo {
    /// Cannot overflow: the product was checked when the header was read.
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().product()
    }
}

/// A header that was found consistent.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub version: u32,
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// Whether the tensors' data must be there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    WholeFile,
    /// For random weights: the data may be cut off.
    HeaderOnly,
}

impl Header {
    /// Reads from the start of a file that is `file_bytes` long.
    pub fn read(source: impl Read, file_bytes: u64, expect: Expect) -> Result<Self, GgufError> {
        let mut reader = Reader::new(source, file_bytes.min(MAX_HEADER_BYTES));
        let version = preamble(&mut reader)?;
        let tensor_count = reader.u64("the number of tensors")?;
        let entry_count = reader.u64("the number of metadata entries")?;
        reader.limit("tensors", tensor_count, MAX_TENSORS, 8 + 4 + 8 + 4 + 8)?;
        reader.limit("metadata entries", entry_count, MAX_ENTRIES, 8 + 4 + 1)?;

        let mut metadata = BTreeMap::new();
        let mut elements_left = MAX_ARRAY_ELEMENTS;
        for _ in 0..entry_count {
            let key = reader.text(MAX_NAME_BYTES, "a metadata key")?;
            let kind = reader.u32("a metadata type")?;
            let value = value(&mut reader, kind, &key, &mut elements_left)?;
            if let Some(value) = value
                && metadata.insert(key.clone(), value).is_some()
            {
                return Err(reader.error(format!("metadata key {key:?} appears twice")));
            }
        }

        let mut tensors = Vec::new();
        let mut names = HashSet::new();
        for _ in 0..tensor_count {
            let name = reader.text(MAX_NAME_BYTES, "a tensor's name")?;
            let info = tensor(&mut reader, &name)?;
            if !names.insert(name.clone()) {
                return Err(reader.error(format!("tensor {name:?} appears twice")));
            }
            tensors.push((name, info));
        }

        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Integer(a)) if (8..=65_536).contains(a) && a.count_ones() == 1 => *a as u64,
            Some(other) => {
                return Err(reader.error(format!(
                    "general.alignment is {other:?}, not a power of two from 8 to 65536"
                )));
            }
        };
        let data_start = reader.at().next_multiple_of(alignment);
        place(&mut tensors, data_start, alignment, file_bytes, expect)?;
        Ok(Self {
            version,
            metadata,
            tensors: tensors.into_iter().collect(),
        })
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.metadata.get(key) {
            Some(Value::Texts(texts)) => Some(texts),
            _ => None,
        }
    }

    pub fn numbers(&self, key: &str) -> Option<&[f64]> {
        match self.metadata.get(key) {
            Some(Value::Numbers(numbers)) => Some(numbers),
            _ => None,
        }
    }

    pub fn integer(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key) {
            Some(Value::Integer(value)) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    pub fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key) {
            Some(Value::Float(value)) => Some(*value),
            Some(Value::Integer(value)) => Some(*value as f64),
            _ => None,
        }
    }

    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key) {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }
}

fn preamble<R: Read>(reader: &mut Reader<R>) -> Result<u32, GgufError> {
    if reader.array::<4>("the magic")? != MAGIC {
        return Err(GgufError {
            at: 0,
            what: "the file does not begin with GGUF".into(),
        });
    }
    let version = reader.u32("the version")?;
    match version {
        2 | 3 => Ok(version),
        1 => Err(reader.error("version 1 of GGUF is not supported (convert the file anew)")),
        v if (1..=3).contains(&v.swap_bytes()) => {
            Err(reader.error("the file is big-endian, which is not supported"))
        }
        v => Err(reader.error(format!("version {v} of GGUF is not known (2 and 3 are)"))),
    }
}

fn value<R: Read>(
    reader: &mut Reader<R>,
    kind: u32,
    key: &str,
    elements_left: &mut u64,
) -> Result<Option<Value>, GgufError> {
    Ok(Some(match kind {
        8 => Value::Text(reader.text(MAX_TEXT_BYTES, key)?),
        9 => {
            let kind = reader.u32("an array's type")?;
            let count = reader.u64("an array's length")?;
            if kind == 9 {
                return Err(
                    reader.error(format!("{key} is an array of arrays, which nothing uses"))
                );
            }
            let least = if kind == 8 {
                8
            } else {
                scalar_bytes(reader, kind)?
            };
            reader.limit(key, count, *elements_left, least)?;
            *elements_left -= count;
            if kind == 8 {
                // Not reserved ahead: the count is a claim until the texts were read.
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(reader.text(MAX_TEXT_BYTES, key)?);
                }
                Value::Texts(texts)
            } else {
                let mut numbers = Vec::new();
                for _ in 0..count {
                    numbers.push(match scalar(reader, kind, key)? {
                        Value::Integer(v) => v as f64,
                        Value::Float(v) => v,
                        Value::Bool(v) => f64::from(u8::from(v)),
                        _ => return Ok(None),
                    });
                }
                Value::Numbers(numbers)
            }
        }
        kind => scalar(reader, kind, key)?,
    }))
}

fn scalar_bytes<R: Read>(reader: &Reader<R>, kind: u32) -> Result<u64, GgufError> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        kind => Err(reader.error(format!("metadata type {kind} is not known"))),
    }
}

fn scalar<R: Read>(reader: &mut Reader<R>, kind: u32, key: &str) -> Result<Value, GgufError> {
    Ok(match kind {
        0 => Value::Integer(u8::from_le_bytes(reader.array(key)?).into()),
        1 => Value::Integer(i8::from_le_bytes(reader.array(key)?).into()),
        2 => Value::Integer(u16::from_le_bytes(reader.array(key)?).into()),
        3 => Value::Integer(i16::from_le_bytes(reader.array(key)?).into()),
        4 => Value::Integer(u32::from_le_bytes(reader.array(key)?).into()),
        5 => Value::Integer(i32::from_le_bytes(reader.array(key)?).into()),
        6 => Value::Float(f32::from_le_bytes(reader.array(key)?).into()),
        7 => match reader.array::<1>(key)? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [b] => return Err(reader.error(format!("{key} is neither true nor false but {b}"))),
        },
        10 => Value::Integer(u64::from_le_bytes(reader.array(key)?).into()),
        11 => Value::Integer(i64::from_le_bytes(reader.array(key)?).into()),
        12 => Value::Float(f64::from_le_bytes(reader.array(key)?)),
        kind => return Err(reader.error(format!("{key} has the unknown type {kind}"))),
    })
}

/// The offset is still counted from the start of the data.
fn tensor<R: Read>(reader: &mut Reader<R>, name: &str) -> Result<TensorInfo, GgufError> {
    let count = reader.u32("a tensor's number of dimensions")?;
    if count == 0 || count > MAX_DIMENSIONS {
        return Err(reader.error(format!(
            "tensor {name:?} has {count} dimensions, not 1 to 4"
        )));
    }
    let mut dimensions = Vec::with_capacity(4);
    let mut elements = 1_u64;
    for _ in 0..count {
        let dimension = reader.u64("a tensor's dimension")?;
        elements = elements
            .checked_mul(dimension)
            .filter(|&e| e > 0 && e <= i64::MAX as u64 / 8)
            .ok_or_else(|| reader.error(format!("tensor {name:?} has an impossible size")))?;
        dimensions.push(dimension);
    }
    let id = reader.u32("a tensor's type")?;
    let Some(kind) = GgmlType::from_id(id) else {
        return Err(reader.error(format!(
            "tensor {name:?} has the type {id}, which is not supported \
             (supported: {})",
            GgmlType::names()
        )));
    };
    let per_block = kind.block_elements() as u64;
    if !dimensions[0].is_multiple_of(per_block) {
        return Err(reader.error(format!(
            "tensor {name:?} has rows of {} elements, not a multiple of {per_block}",
            dimensions[0]
        )));
    }
    let offset = reader.u64("a tensor's offset")?;
    Ok(TensorInfo {
        kind,
        dimensions,
        offset,
        bytes: elements / per_block * kind.block_bytes() as u64,
    })
}

/// Turns offsets into places in the file, and refuses those outside of it or overlapping.
fn place(
    tensors: &mut [(String, TensorInfo)],
    data_start: u64,
    alignment: u64,
    file_bytes: u64,
    expect: Expect,
) -> Result<(), GgufError> {
    tensors.sort_by_key(|(_, info)| info.offset);
    let mut free_from = data_start;
    for (name, info) in tensors {
        let fail = |what: String| GgufError {
            at: data_start,
            what: format!("tensor {name:?} {what}"),
        };
        if !info.offset.is_multiple_of(alignment) {
            return Err(fail(format!("is not aligned to {alignment} bytes")));
        }
        let end = data_start
            .checked_add(info.offset)
            .and_then(|start| {
                info.offset = start;
                start.checked_add(info.bytes)
            })
            .ok_or_else(|| fail("has an impossible offset".into()))?;
        if info.offset < free_from {
            return Err(fail("overlaps the tensor before it".into()));
        }
        if end > file_bytes && expect == Expect::WholeFile {
            return Err(fail(format!(
                "ends at byte {end}, but the file has only {file_bytes}: the file is cut off"
            )));
        }
        free_from = end;
    }
    Ok(())
}
