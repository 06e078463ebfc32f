//! Flags of version 2, a row each.

use std::ffi::{OsStr, OsString};

/// One flag of some verbs.
pub(crate) struct Flag {
    /// The verbs that had it: `run` and `experiment` are one.
    pub verbs: &'static [&'static str],
    pub long: &'static str,
    pub short: Option<char>,
    pub takes_value: bool,
    pub now: Now,
}

#[derive(Clone, Copy)]
pub(crate) enum Now {
    /// This flag, with the same value.
    Flag(&'static str),
    /// `--set KEY=VALUE`.
    Set(&'static str),
    /// `--set` of exactly this, for a flag without a value.
    Fixed(&'static str),
    /// A dataset's name, which may be a short one of version 2.
    Dataset,
    /// These words in its place.
    Words(&'static str),
    /// The value, as an argument of its own.
    Argument,
    /// No effect, and why.
    Gone(&'static str),
    /// It would change what is measured: refused, and what to do.
    Refused(&'static str),
}

const RUN: &[&str] = &["run", "experiment"];
const RESULTS: &[&str] = &["results list", "results show"];

const fn flag(
    verbs: &'static [&'static str],
    long: &'static str,
    short: Option<char>,
    now: Now,
) -> Flag {
    Flag {
        verbs,
        long,
        short,
        takes_value: true,
        now,
    }
}

const fn switch(
    verbs: &'static [&'static str],
    long: &'static str,
    short: Option<char>,
    now: Now,
) -> Flag {
    Flag {
        verbs,
        long,
        short,
        takes_value: false,
        now,
    }
}

pub(crate) const FLAGS: &[Flag] = &[
    flag(RUN, "dataset", Some('d'), Now::Dataset),
    flag(RUN, "prompts", Some('p'), Now::Set("prompts.path")),
    flag(
        RUN,
        "sample-size",
        Some('n'),
        Now::Set("prompts.sample_size"),
    ),
    flag(RUN, "split", None, Now::Set("prompts.split")),
    flag(RUN, "column", None, Now::Set("prompts.column")),
    flag(RUN, "model", Some('m'), Now::Set("model_name")),
    flag(RUN, "backend", None, Now::Set("backend")),
    switch(RUN, "streaming", None, Now::Fixed("streaming=true")),
    flag(
        RUN,
        "streaming-warmup",
        None,
        Now::Set("streaming_warmup_requests"),
    ),
    flag(RUN, "max-tokens", None, Now::Set("max_output_tokens")),
    flag(RUN, "seed", None, Now::Set("random_seed")),
    flag(RUN, "cycles", Some('c'), Now::Flag("--cycles")),
    flag(RUN, "results-dir", Some('o'), Now::Flag("--output")),
    flag(
        RUN,
        "batch-size",
        Some('b'),
        Now::Set("batching.batch_size"),
    ),
    flag(RUN, "precision", None, Now::Set("fp_precision")),
    flag(RUN, "temperature", None, Now::Set("decoder.temperature")),
    flag(RUN, "gpu-list", None, Now::Set("gpus")),
    flag(
        RUN,
        "quantization",
        None,
        Now::Refused(
            "set `pytorch.load_in_4bit` or `pytorch.load_in_8bit` instead, or name a quantised model",
        ),
    ),
    flag(
        RUN,
        "num-processes",
        None,
        Now::Refused(
            "lem measures one process; a server shares a model between GPUs by its own options, and `lem results aggregate` brings several runs together",
        ),
    ),
    flag(
        RUN,
        "preset",
        None,
        Now::Refused(
            "its values belong into the configuration (`decoder.preset` has presets of the decoder); `lem config new` prints one to start from",
        ),
    ),
    switch(
        RUN,
        "no-aggregate",
        None,
        Now::Gone("a run is one result; there is nothing to aggregate"),
    ),
    switch(
        RUN,
        "fresh",
        None,
        Now::Gone("every `lem run` is a new one, unless `--resume` says otherwise"),
    ),
    switch(
        RUN,
        "yes",
        Some('y'),
        Now::Gone("lem asks nothing before it measures"),
    ),
    switch(
        RUN,
        "force",
        None,
        Now::Gone("a configuration that is wrong is refused; its errors say what to change"),
    ),
    switch(
        RUN,
        "verbose",
        None,
        Now::Gone("lem has no levels of verbosity"),
    ),
    switch(&["results show"], "json", None, Now::Words("--format json")),
    switch(
        &["results show"],
        "raw",
        None,
        Now::Gone("a run is one result; `records.jsonl` in its folder has everything raw"),
    ),
    flag(
        &["results show"],
        "results-dir",
        Some('o'),
        Now::Gone("name the run by its folder"),
    ),
    flag(&["results list"], "results-dir", Some('o'), Now::Argument),
    switch(
        &["results list"],
        "all",
        Some('a'),
        Now::Gone("every run is listed, also one that was killed"),
    ),
    switch(
        RESULTS,
        "verbose",
        None,
        Now::Gone("lem has no levels of verbosity"),
    ),
    flag(&["config new"], "output", Some('o'), Now::Argument),
    flag(
        &["config new"],
        "preset",
        None,
        Now::Gone("there is one to start from; `decoder.preset` has presets of the decoder"),
    ),
];

/// Short names of datasets, as version 2 had them built in: the Hub's name, subset, column.
pub(super) const DATASETS: &[(&str, &str, Option<&str>, &str)] = &[
    (
        "ai-energy-score",
        "AIEnergyScore/text_generation",
        None,
        "text",
    ),
    ("alpaca", "tatsu-lab/alpaca", None, "instruction"),
    ("gsm8k", "openai/gsm8k", Some("main"), "question"),
    ("mmlu", "cais/mmlu", Some("all"), "question"),
];

/// The row that a word spells, and the value that stands in the same word.
fn find<'a>(verb: &str, word: &'a str) -> Option<(&'static Flag, Option<&'a str>)> {
    let of = |flag: &&Flag| flag.verbs.contains(&verb);
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        return FLAGS
            .iter()
            .filter(of)
            .find(|flag| flag.long == name)
            .map(|flag| (flag, value));
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let letter = letters.next()?;
    let value = Some(letters.as_str()).filter(|value| !value.is_empty());
    let flag = FLAGS
        .iter()
        .filter(of)
        .find(|flag| flag.short == Some(letter))?;
    Some((
        flag,
        value.map(|value| value.strip_prefix('=').unwrap_or(value)),
    ))
}

/// A flag that version 3 has too, spelt the same, needs no translation.
fn unchanged(flag: &Flag, word: &str) -> bool {
    matches!(flag.now, Now::Flag(now) if word.split('=').next() == Some(now))
}

/// Whether a flag of version 2 is among them.
pub(super) fn any(verb: &str, rest: &[OsString]) -> bool {
    before_dashes(rest).any(|word| {
        let word = word.to_str().unwrap_or_default();
        find(verb, word).is_some_and(|(flag, _)| !unchanged(flag, word))
    })
}

fn before_dashes(rest: &[OsString]) -> impl Iterator<Item = &OsString> {
    rest.iter().take_while(|word| *word != OsStr::new("--"))
}

pub(super) fn translate(
    verb: &str,
    rest: &[OsString],
    notes: &mut Vec<String>,
) -> Result<Vec<OsString>, String> {
    let mut out = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        if word == OsStr::new("--") {
            out.push(word.clone());
            out.extend(words.by_ref().cloned());
            break;
        }
        let text = word.to_str().unwrap_or_default();
        let Some((flag, value)) = find(verb, text).filter(|(flag, _)| !unchanged(flag, text))
        else {
            out.push(word.clone());
            continue;
        };
        let old = format!("--{}", flag.long);
        let value = match (flag.takes_value, value) {
            (false, Some(value)) if text.starts_with("--") => {
                return Err(format!(
                    "`{old}` takes no value, and has {value}: leave it out"
                ));
            }
            (false, _) => OsString::new(),
            (true, Some(value)) => value.into(),
            (true, None) => words
                .next()
                .cloned()
                .ok_or_else(|| format!("`{old}` needs a value"))?,
        };
        let told = match flag.now {
            Now::Flag(now) => {
                out.extend([now.into(), value]);
                format!("`{now}`")
            }
            Now::Set(key) => {
                set(&mut out, key, &value);
                format!("`--set {key}=…`")
            }
            Now::Fixed(setting) => {
                out.extend(["--set".into(), setting.into()]);
                format!("`--set {setting}`")
            }
            Now::Dataset => {
                dataset(&mut out, &value);
                "`--set prompts.dataset=…`".to_owned()
            }
            Now::Words(now) => {
                out.extend(now.split(' ').map(OsString::from));
                format!("`{now}`")
            }
            Now::Argument => {
                out.push(value);
                "an argument without a flag".to_owned()
            }
            Now::Gone(why) => {
                notes.push(format!("`{old}` of version 2 has no effect: {why}"));
                continue;
            }
            Now::Refused(what) => return Err(format!("`{old}` of version 2 is gone: {what}")),
        };
        notes.push(format!(
            "`{old}` of version 2 is now {told}, and was taken as that"
        ));
    }
    Ok(out)
}

fn set(out: &mut Vec<OsString>, key: &str, value: &OsStr) {
    let mut setting = OsString::from(key);
    setting.push("=");
    // A list without its brackets, as version 2 took GPUs.
    if key == "gpus" && !value.to_string_lossy().starts_with('[') {
        setting.push("[");
        setting.push(value);
        setting.push("]");
    } else {
        setting.push(value);
    }
    out.extend([OsString::from("--set"), setting]);
}

fn dataset(out: &mut Vec<OsString>, value: &OsStr) {
    let known = DATASETS
        .iter()
        .find(|(short, ..)| value == OsStr::new(short));
    let Some((_, name, subset, column)) = known else {
        set(out, "prompts.dataset", value);
        return;
    };
    set(out, "prompts.dataset", OsStr::new(name));
    if let Some(subset) = subset {
        set(out, "prompts.subset", OsStr::new(subset));
    }
    set(out, "prompts.column", OsStr::new(column));
}
