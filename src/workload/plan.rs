//! From the configuration to the requests.

use std::sync::Arc;

use lem_record::Warning;

use crate::config::{BatchingStrategy, Config, Length};
use crate::engine::{Engine, EngineError, Request};
use crate::model::{Options, Progress};

use super::cut::encode;
use super::dataset::{describe, digest, digest_of_tokens, warning};
use super::prompts::{Gathered, Source, gather};
use super::seed::{Purpose, rng};
use super::{Workload, arrivals, lengths, sampling, synthetic, words};

/// Gathers the prompts and makes requests of them.
pub fn build(
    config: &Config,
    engine: &dyn Engine,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Workload, EngineError> {
    build_from(config, gather(config, options, progress)?, engine)
}

/// Makes requests of prompts that were gathered before the model was loaded.
pub fn build_from(
    config: &Config,
    gathered: Gathered,
    engine: &dyn Engine,
) -> Result<Workload, EngineError> {
    let count = config.num_input_prompts as usize;
    let seed = config.prompts.seed.unwrap_or(config.random_seed);
    let mut warnings = Vec::new();

    let limits = inputs(config, count, seed, &mut warnings)?;
    let outputs = outputs(config, count, seed, &mut warnings)?;
    let Gathered {
        source,
        texts,
        skipped,
    } = gathered;
    let Prompts {
        prompts,
        digest,
        distinct,
    } = match source {
        Source::Synthetic { .. } if config.backend.is_server() || !engine.tokenizes() => {
            of_words(config, engine, &limits, seed, &mut warnings)?
        }
        Source::Synthetic { .. } => synthesize(config, engine, &limits, seed, &mut warnings)?,
        _ if !engine.tokenizes() => as_text(config, &texts, count, &mut warnings),
        _ => tokenize(config, engine, &texts, &limits, &mut warnings)?,
    };

    let mut requests: Vec<Request> = prompts
        .into_iter()
        .zip(&outputs)
        .zip(0..)
        .map(|(((tokens, text), output), id)| Request {
            id,
            tokens,
            text,
            max_output_tokens: output.max,
            min_output_tokens: output.min,
        })
        .collect();
    warn_of_context(engine, &requests, &mut warnings);
    if config.batching.strategy == BatchingStrategy::SortedStatic {
        requests.sort_by_key(|request| request.tokens.len()); // stable
    }
    Ok(Workload {
        dataset: describe(&source, digest, &requests, distinct, skipped),
        requests,
        sampling: sampling::sampling(&config.decoder, config.random_seed),
        batch_size: if config.backend.is_server() {
            config.traffic.concurrency as usize
        } else {
            config.batching.batch_size as usize
        },
        due_ns: arrivals::due(config, count)?,
        warnings,
    })
}

type Prompt = (Arc<[u32]>, Option<Arc<str>>);

struct Prompts {
    prompts: Vec<Prompt>,
    digest: String,
    distinct: usize,
}

fn synthesize(
    config: &Config,
    engine: &dyn Engine,
    lengths: &[u32],
    seed: u64,
    warnings: &mut Vec<Warning>,
) -> Result<Prompts, EngineError> {
    let (prompts, told_apart) = synthetic::prompts(engine, lengths, shared_prefix(config), seed)?;
    if !told_apart {
        warnings.push(warning(
            "prompts.special_tokens",
            "The synthetic prompts may hold special tokens: without a tokenizer they cannot be told apart".into(),
            "Nothing, where only speed and energy are of interest; else use a model with its tokenizer",
        ));
    }
    if config.prompts.chat_template {
        warnings.push(warning(
            "prompts.chat_template",
            "prompts.chat_template has no effect on synthetic prompts".into(),
            "Leave it out, or use prompts that are text",
        ));
    }
    let digest = digest_of_tokens(&prompts);
    let distinct = prompts.len();
    let prompts = prompts
        .into_iter()
        .map(|tokens| (tokens.into(), None))
        .collect();
    Ok(Prompts {
        prompts,
        digest,
        distinct,
    })
}

fn shared_prefix(config: &Config) -> u32 {
    config.prompts.shared_prefix_tokens.unwrap_or(0)
}

/// Synthetic prompts for an engine elsewhere: words of a text. With its tokenizer their lengths are
/// exact; without one a word stands for a token, and the answer tells how many there were.
fn of_words(
    config: &Config,
    engine: &dyn Engine,
    lengths: &[u32],
    seed: u64,
    warnings: &mut Vec<Warning>,
) -> Result<Prompts, EngineError> {
    let texts = words::texts(lengths, shared_prefix(config), seed);
    if !engine.tokenizes() {
        warnings.push(warning(
            "prompts.approximate",
            "The server has no tokenizer that can be asked: a synthetic prompt has about as many tokens as words were asked for".into(),
            "See input_tokens of the requests, which are the server's own count",
        ));
        let digest = digest(texts.iter().map(|text| text.as_bytes()));
        let distinct = texts.len();
        let prompts = texts
            .into_iter()
            .map(|text| (Arc::from([]), Some(text)))
            .collect();
        return Ok(Prompts {
            prompts,
            digest,
            distinct,
        });
    }
    let mut prompts: Vec<Prompt> = Vec::with_capacity(texts.len());
    for (text, &length) in texts.iter().zip(lengths) {
        let encoded = encode(engine, text, false, length as usize)?;
        if encoded.tokens.len() < length as usize {
            return Err(EngineError::new(
                format!(
                    "A synthetic prompt of {length} tokens came out at {}: the server's tokenizer joins words",
                    encoded.tokens.len()
                ),
                "Use prompts.texts or prompts.path with texts of the length that you want",
            ));
        }
        prompts.push((encoded.tokens.into(), encoded.text));
    }
    let tokens: Vec<Vec<u32>> = prompts.iter().map(|(tokens, _)| tokens.to_vec()).collect();
    Ok(Prompts {
        digest: digest_of_tokens(&tokens),
        distinct: prompts.len(),
        prompts,
    })
}

/// Prompts whose tokens nobody here can count: whole, as they are.
fn as_text(
    config: &Config,
    texts: &[Arc<str>],
    count: usize,
    warnings: &mut Vec<Warning>,
) -> Prompts {
    let distinct = texts.len().min(count);
    if texts.len() < count {
        warnings.push(repeated(texts.len(), count));
    }
    warnings.push(warning(
        "prompts.uncut",
        format!(
            "The server has no tokenizer that can be asked: prompts are sent whole, whatever max_input_tokens ({}) says",
            config.max_input_tokens
        ),
        "See input_tokens of the requests, which are the server's own count",
    ));
    let prompts = texts.iter().cycle().take(count);
    let used = texts.get(..distinct).unwrap_or(texts);
    Prompts {
        prompts: prompts
            .map(|text| (Arc::from([]), Some(Arc::clone(text))))
            .collect(),
        digest: digest(used.iter().map(|text| text.as_bytes())),
        distinct,
    }
}

fn repeated(texts: usize, count: usize) -> Warning {
    warning(
        "prompts.repeated",
        format!("There are {texts} prompts for {count} requests: they are repeated in order"),
        "Give more prompts, or set num_input_prompts lower; a server that caches prefixes answers repeated prompts faster",
    )
}

fn tokenize(
    config: &Config,
    engine: &dyn Engine,
    texts: &[Arc<str>],
    limits: &[u32],
    warnings: &mut Vec<Warning>,
) -> Result<Prompts, EngineError> {
    let (count, distinct) = (limits.len(), texts.len().min(limits.len()));
    if texts.len() < count {
        warnings.push(repeated(texts.len(), count));
    }
    let mut shortened = 0;
    let mut prompts: Vec<Prompt> = Vec::with_capacity(count);
    for (i, (text, &limit)) in texts.iter().cycle().zip(limits).enumerate() {
        // a repeated prompt with the same limit needs no second look
        if let Some((tokens, text)) = i
            .checked_sub(texts.len())
            .and_then(|before| prompts.get(before))
            && config.prompts.input_tokens.is_none()
        {
            prompts.push((Arc::clone(tokens), text.clone()));
            continue;
        }
        let encoded = encode(engine, text, config.prompts.chat_template, limit as usize)?;
        if encoded.tokens.is_empty() {
            return Err(EngineError::new(
                format!("Prompt {} has no tokens", i + 1),
                "Leave it out: the model's tokenizer makes nothing of it",
            ));
        }
        shortened += u32::from(encoded.cut);
        prompts.push((encoded.tokens.into(), encoded.text));
    }
    if shortened > 0 && config.prompts.input_tokens.is_none() {
        warnings.push(warning(
            "prompts.cut",
            format!(
                "{shortened} of {distinct} prompts were longer than max_input_tokens ({}) and lost their ends",
                config.max_input_tokens
            ),
            "Raise max_input_tokens to have them whole",
        ));
    }
    let used = texts.get(..distinct).unwrap_or(texts);
    let digest = digest(used.iter().map(|text| text.as_bytes()));
    Ok(Prompts {
        prompts,
        digest,
        distinct,
    })
}

/// The longest that each prompt may be; for synthetic prompts, how long it is.
fn inputs(
    config: &Config,
    count: usize,
    seed: u64,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<u32>, EngineError> {
    let Some(length) = &config.prompts.input_tokens else {
        return Ok(vec![config.max_input_tokens; count]);
    };
    let lengths = drawn(
        "prompts.input_tokens",
        length,
        count,
        seed,
        Purpose::InputLengths,
    )?;
    Ok(cap(
        lengths,
        config.max_input_tokens,
        "prompts.input_tokens",
        "max_input_tokens",
        warnings,
    ))
}

#[derive(Clone, Copy)]
struct Output {
    min: u32,
    max: u32,
}

fn outputs(
    config: &Config,
    count: usize,
    seed: u64,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Output>, EngineError> {
    let most = config.max_output_tokens;
    let Some(length) = &config.prompts.output_tokens else {
        let min = config.min_output_tokens;
        if min > most {
            return Err(EngineError::new(
                format!("min_output_tokens ({min}) is above max_output_tokens ({most})"),
                "Correct one of them",
            ));
        }
        return Ok(vec![Output { min, max: most }; count]);
    };
    let lengths = drawn(
        "prompts.output_tokens",
        length,
        count,
        seed,
        Purpose::OutputLengths,
    )?;
    let lengths = cap(
        lengths,
        most,
        "prompts.output_tokens",
        "max_output_tokens",
        warnings,
    );
    Ok(lengths
        .into_iter()
        .map(|n| Output { min: n, max: n })
        .collect())
}

fn drawn(
    key: &str,
    length: &Length,
    count: usize,
    seed: u64,
    purpose: Purpose,
) -> Result<Vec<u32>, EngineError> {
    let wrong =
        |why: String| EngineError::new(format!("{key} cannot be drawn: {why}"), "Correct it");
    let lengths = lengths::draw(length, count, &mut rng(seed, purpose)).map_err(wrong)?;
    if lengths.contains(&0) {
        return Err(wrong("a length of 0 tokens is none".to_owned()));
    }
    Ok(lengths)
}

fn cap(
    mut lengths: Vec<u32>,
    most: u32,
    key: &str,
    cap_key: &str,
    warnings: &mut Vec<Warning>,
) -> Vec<u32> {
    let over = lengths.iter().filter(|&&length| length > most).count();
    if over > 0 {
        warnings.push(warning(
            "prompts.capped",
            format!("{over} of {} lengths of {key} were above {cap_key} ({most}) and are {most} instead", lengths.len()),
            &format!("Raise {cap_key}, or lower {key}"),
        ));
        lengths
            .iter_mut()
            .for_each(|length| *length = (*length).min(most));
    }
    lengths
}

fn warn_of_context(engine: &dyn Engine, requests: &[Request], warnings: &mut Vec<Warning>) {
    let Some(context) = engine.describe().context_length else {
        return;
    };
    let needs =
        |request: &Request| request.tokens.len() as u64 + u64::from(request.max_output_tokens);
    let over = requests
        .iter()
        .filter(|request| needs(request) > u64::from(context))
        .count();
    if over > 0 {
        warnings.push(warning(
            "prompts.context",
            format!(
                "{over} of {} requests may need more than the {context} tokens that the model was made for",
                requests.len()
            ),
            "Lower max_input_tokens or max_output_tokens: their sum should stay below it",
        ));
    }
}
