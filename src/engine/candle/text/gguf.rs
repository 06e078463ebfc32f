//! The tokenizer that a GGUF file carries.

use std::collections::BTreeSet;

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::{Template, Text};
use crate::engine::EngineError;
use crate::engine::candle::gguf::Header;

/// How a text is cut before pairs are merged: `tokenizer.ggml.pre`.
struct Cut {
    names: &'static [&'static str],
    /// Each digit alone.
    digits: bool,
    /// In place of GPT-2's own.
    regex: Option<&'static str>,
    /// Unicode composed first.
    compose: bool,
    /// A whole word of the vocabulary is taken without merging.
    ignore_merges: bool,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

static CUTS: [Cut; 4] = [
    Cut {
        names: &["gpt-2", "phi-2", "olmo"],
        digits: false,
        regex: None,
        compose: false,
        ignore_merges: false,
    },
    Cut {
        names: &["smollm", "starcoder", "refact", "codeshell", "command-r"],
        digits: true,
        regex: None,
        compose: false,
        ignore_merges: false,
    },
    Cut {
        names: &["llama-bpe", "llama3", "llama-v3", "smaug-bpe"],
        digits: false,
        regex: Some(LLAMA3),
        compose: false,
        ignore_merges: true,
    },
    Cut {
        names: &["qwen2", "deepseek-r1-qwen"],
        digits: false,
        regex: Some(QWEN2),
        compose: true,
        ignore_merges: false,
    },
];

/// Tokens that end an answer, whatever the file calls its end-of-text token.
const ENDS: [&str; 8] = [
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
];

/// Values of `tokenizer.ggml.token_type`.
const UNKNOWN: f64 = 2.0;
const CONTROL: f64 = 3.0;
const USER_DEFINED: f64 = 4.0;

pub fn from_gguf(header: &Header, file: &str) -> Result<Text, EngineError> {
    let error = |what: String| {
        EngineError::new(
            format!("the tokenizer in {file} cannot be used: {what}"),
            "Use a GGUF file with a byte-level BPE tokenizer (Llama 3, Qwen 2, SmolLM), \
             the safetensors model, or llama.cpp with backend",
        )
    };
    let missing = |key: &str| error(format!("{key} is missing or of the wrong type"));
    match header.text("tokenizer.ggml.model") {
        Some("gpt2") => {}
        Some("llama") => {
            return Err(error(
                "it is a SentencePiece tokenizer, which is not read yet".into(),
            ));
        }
        Some(other) => return Err(error(format!("it is of the type {other:?}"))),
        None => return Err(missing("tokenizer.ggml.model")),
    }
    let pre = header.text("tokenizer.ggml.pre").unwrap_or("gpt-2");
    let cut = CUTS
        .iter()
        .find(|cut| cut.names.contains(&pre))
        .ok_or_else(|| error(format!("its way of cutting text, {pre:?}, is not known")))?;
    let words = header
        .texts("tokenizer.ggml.tokens")
        .ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
    let merges = header
        .texts("tokenizer.ggml.merges")
        .ok_or_else(|| missing("tokenizer.ggml.merges"))?;

    let vocabulary: Vocab = words.iter().cloned().zip(0..).collect();
    let merges = merges
        .iter()
        .map(|merge| {
            merge
                .split_once(' ')
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .ok_or_else(|| error(format!("{merge:?} is not a merge of two")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .ignore_merges(cut.ignore_merges)
        .build()
        .map_err(|e| error(e.to_string()))?;

    let mut tokenizer = Tokenizer::new(bpe);
    if cut.compose {
        tokenizer
            .with_normalizer(Some(NFC))
            .map_err(|e| error(e.to_string()))?;
    }
    tokenizer
        .with_pre_tokenizer(Some(pre_tokenizer(cut).map_err(&error)?))
        .with_decoder(Some(ByteLevel::default()));
    let types = header
        .numbers("tokenizer.ggml.token_type")
        .unwrap_or_default();
    let of_type = |wanted: &'static [f64]| {
        words
            .iter()
            .zip(types)
            .filter(|(_, kind)| wanted.contains(kind))
            .map(|(word, _)| word.clone())
    };
    tokenizer
        .add_special_tokens(of_type(&[UNKNOWN, CONTROL]).map(|w| AddedToken::from(w, true)))
        .and_then(|_| {
            tokenizer.add_tokens(
                of_type(&[USER_DEFINED]).map(|w| AddedToken::from(w, false).normalized(false)),
            )
        })
        .map_err(|e| error(e.to_string()))?;

    let id = |key: &str| {
        let id = header.integer(&format!("tokenizer.ggml.{key}_token_id"))?;
        u32::try_from(id)
            .ok()
            .filter(|&id| (id as usize) < words.len())
    };
    let word = |id: Option<u32>| id.map_or_else(String::new, |id| words[id as usize].clone());
    let (bos, eos) = (id("bos"), id("eos"));
    // llama.cpp adds it where a Llama 3 file does not say.
    let adds = |key: &str| header.bool(&format!("tokenizer.ggml.add_{key}_token"));
    let add_bos = bos.filter(|_| adds("bos").unwrap_or(cut.regex == Some(LLAMA3)));
    let add_eos = eos.filter(|_| adds("eos").unwrap_or(false));
    if add_bos.is_some() || add_eos.is_some() {
        let single: Vec<String> = [
            add_bos.map(|b| word(Some(b))),
            Some("$A".into()),
            add_eos.map(|e| word(Some(e))),
        ]
        .into_iter()
        .flatten()
        .collect();
        let special: Vec<(String, u32)> = [add_bos, add_eos]
            .into_iter()
            .flatten()
            .map(|id| (word(Some(id)), id))
            .collect();
        let processor = TemplateProcessing::builder()
            .try_single(single)
            .map_err(&error)?
            .special_tokens(special)
            .build()
            .map_err(|e| error(e.to_string()))?;
        tokenizer.with_post_processor(Some(processor));
    }

    let mut ends: BTreeSet<u32> = eos.into_iter().chain(id("eot")).chain(id("eom")).collect();
    for (word, (id, kind)) in words.iter().zip((0..).zip(types)) {
        if *kind == CONTROL && ENDS.contains(&word.as_str()) {
            ends.insert(id);
        }
    }
    let template = header
        .text("tokenizer.chat_template")
        .map(|source| Template::new(source.to_owned(), word(bos), word(eos)));
    Ok(Text {
        tokenizer,
        template,
        end_of_text: ends.into_iter().collect(),
    })
}

fn pre_tokenizer(cut: &Cut) -> Result<PreTokenizerWrapper, String> {
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    if cut.digits {
        steps.push(Digits::new(true).into());
    }
    if let Some(regex) = cut.regex {
        let pattern = SplitPattern::Regex(regex.into());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| error.to_string())?;
        steps.push(split.into());
    }
    steps.push(ByteLevel::new(false, true, cut.regex.is_none()).into());
    Ok(Sequence::new(steps).into())
}
