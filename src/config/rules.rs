//! What one key means for another: each rule reads the configuration and says what does
//! not go together. Pure; one list, all of it run.

mod server;
mod worker;

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Findings, Severity};
use super::model::{Config, Distribution, Length, LoadFormat, PromptsKind, TrafficMode, WandbMode};
use super::place::Place;

/// A configuration, with where its values came from.
pub(crate) struct Facts<'a> {
    pub config: &'a Config,
    pub places: &'a BTreeMap<String, Place>,
}

impl Facts<'_> {
    /// Where the key, or the first one below it, was written.
    pub fn place(&self, key: &str) -> Option<&Place> {
        self.written(key).next().or_else(|| self.places.get(key))
    }

    /// Whether somebody wrote it: not a default, not a preset.
    pub fn given(&self, key: &str) -> bool {
        self.written(key).next().is_some()
    }

    /// Where somebody wrote the key, or one below it.
    fn written(&self, key: &str) -> impl Iterator<Item = &Place> {
        let below = format!("{key}.");
        let inside = self
            .places
            .range(below.clone()..)
            .take_while(move |(path, _)| path.starts_with(&below));
        self.places
            .get_key_value(key)
            .into_iter()
            .chain(inside)
            .map(|(_, place)| place)
            .filter(|place| !matches!(place, Place::Default | Place::Preset(_)))
    }
}

/// What a rule found: the keys that take part, the first one to blame.
struct Clash {
    severity: Severity,
    code: &'static str,
    keys: Vec<String>,
    message: String,
    remedy: String,
}

type Rule = fn(&Facts) -> Vec<Clash>;

const RULES: &[Rule] = &[
    model_name,
    output_lengths,
    drawn_lengths,
    warmup_rounds,
    until,
    prompts_source,
    prompts_unused,
    dummy_weights,
    batch_larger_than_work,
    greedy,
    traffic,
    worker::command,
    worker::token_by_token,
    worker::sum,
    server::source,
    server::api_key,
    server::extra_body,
    server::schedule,
    server::built_engine,
    server::shared_prefix,
    gpus,
    carbon_zone,
    files_sink,
    prometheus_endpoint,
    prometheus_sinks,
    wandb_disabled,
];

/// Runs every rule; what touches a key that is wrong already is not told.
pub(crate) fn check(facts: &Facts, wrong: &BTreeSet<String>, findings: &mut Findings) {
    for clash in RULES.iter().flat_map(|rule| rule(facts)) {
        if clash.keys.iter().any(|key| wrong.contains(key)) {
            continue;
        }
        let mut places = clash
            .keys
            .iter()
            .filter_map(|key| Some((key, facts.place(key)?)))
            .filter(|(_, place)| !matches!(place, Place::Default));
        let (blamed, place) = match places.next() {
            Some((key, place)) => (key.as_str(), place.clone()),
            None => (
                clash.keys.first().map_or("", String::as_str),
                Place::Default,
            ),
        };
        let mut finding = Finding::new(
            clash.severity,
            clash.code,
            &place,
            clash.message,
            clash.remedy,
        )
        .at(blamed);
        for (key, place) in places {
            finding = finding.related(format!("`{key}` is set here"), place);
        }
        findings.push(finding);
    }
}

fn clash(
    severity: Severity,
    code: &'static str,
    keys: &[&str],
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Clash {
    Clash {
        severity,
        code,
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        message: message.into(),
        remedy: remedy.into(),
    }
}

fn error(
    code: &'static str,
    keys: &[&str],
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Clash {
    clash(Severity::Error, code, keys, message, remedy)
}

fn warning(
    code: &'static str,
    keys: &[&str],
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Clash {
    clash(Severity::Warning, code, keys, message, remedy)
}

fn model_name(facts: &Facts) -> Vec<Clash> {
    let named = facts.config.model_name.as_deref().unwrap_or_default();
    if !named.trim().is_empty() {
        return Vec::new();
    }
    vec![error(
        "missing",
        &["model_name"],
        "`model_name` is missing: there is no default model",
        "Name a model: `model_name: hf:org/name`, a folder or a file; \
         `lem config new` prints a configuration to start from.",
    )]
}

fn output_lengths(facts: &Facts) -> Vec<Clash> {
    let (min, max) = (
        facts.config.min_output_tokens,
        facts.config.max_output_tokens,
    );
    if min <= max {
        return Vec::new();
    }
    vec![error(
        "contradiction",
        &["min_output_tokens", "max_output_tokens"],
        format!("`min_output_tokens` is {min}, more than `max_output_tokens`, which is {max}"),
        "Lower the one or raise the other; equal, they make the length exact.",
    )]
}

fn until(facts: &Facts) -> Vec<Clash> {
    let config = facts.config;
    let until = &config.measurement.until;
    let Some(metric) = &until.metric else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    if lem_record::catalogue::find(metric).is_none() {
        wrong.push(error(
            "unknown-metric",
            &["measurement.until.metric"],
            format!("there is no metric `{metric}`"),
            "Take an id of docs/metrics.md (`lem metrics`), such as `energy.per_output_token`.",
        ));
    }
    if until.max_cycles < config.num_cycles {
        wrong.push(error(
            "contradiction",
            &["measurement.until.max_cycles", "num_cycles"],
            format!(
                "`measurement.until.max_cycles` is {}, fewer than `num_cycles`, which is {}",
                until.max_cycles, config.num_cycles
            ),
            "Raise the one or lower the other: `num_cycles` are the fewest.",
        ));
    }
    if config.num_cycles < 2 {
        wrong.push(error(
            "contradiction",
            &["num_cycles", "measurement.until.metric"],
            "a single cycle has no interval that `measurement.until` could look at".to_owned(),
            "Set `num_cycles` to 3 or more.",
        ));
    }
    wrong
}

fn warmup_rounds(facts: &Facts) -> Vec<Clash> {
    let warmup = &facts.config.measurement.warmup;
    if warmup.min_rounds <= warmup.max_rounds {
        return Vec::new();
    }
    vec![error(
        "contradiction",
        &[
            "measurement.warmup.min_rounds",
            "measurement.warmup.max_rounds",
        ],
        format!(
            "`measurement.warmup.min_rounds` is {}, more than `max_rounds`, which is {}",
            warmup.min_rounds, warmup.max_rounds
        ),
        "Lower the one or raise the other; equal, they make the number exact.",
    )]
}

fn bounds(length: &Length) -> (u32, u32) {
    match *length {
        Length::Fixed(tokens) => (tokens, tokens),
        Length::Drawn(
            Distribution::Uniform { min, max }
            | Distribution::Normal { min, max, .. }
            | Distribution::Lognormal { min, max, .. },
        ) => (min, max),
    }
}

fn carbon_zone(facts: &Facts) -> Vec<Clash> {
    let Some(zone) = facts.config.carbon.zone.as_deref() else {
        return Vec::new();
    };
    if crate::analysis::carbon_country(zone).is_some() {
        return Vec::new();
    }
    vec![error(
        "unknown",
        &["carbon.zone"],
        format!("`carbon.zone` is `{zone}`, which is no country of the table of intensities"),
        "Give a code of ISO 3166-1 with two or three letters (`DE`, `USA`); for a region, \
         an hour or a contract set `carbon.intensity_g_per_kwh` and `carbon.source`.",
    )]
}

fn drawn_lengths(facts: &Facts) -> Vec<Clash> {
    let config = facts.config;
    let mut clashes = Vec::new();
    let lengths = [
        (
            "prompts.input_tokens",
            &config.prompts.input_tokens,
            "max_input_tokens",
            config.max_input_tokens,
        ),
        (
            "prompts.output_tokens",
            &config.prompts.output_tokens,
            "max_output_tokens",
            config.max_output_tokens,
        ),
    ];
    for (key, length, limit_key, limit) in lengths {
        let Some(length) = length else { continue };
        let (min, max) = bounds(length);
        if min > max {
            clashes.push(error(
                "contradiction",
                &[key],
                format!("`{key}` goes from {min} to {max}: `min` is more than `max`"),
                "Exchange the two.",
            ));
        } else if let Length::Drawn(
            Distribution::Normal { mean, .. } | Distribution::Lognormal { mean, .. },
        ) = length
            && !(f64::from(min)..=f64::from(max)).contains(mean)
        {
            clashes.push(error(
                "contradiction",
                &[key],
                format!("the mean of `{key}`, {mean}, is not between its `min` {min} and `max` {max}"),
                "Lengths outside are drawn again, and few would be inside: move the bounds around the mean.",
            ));
        }
        if max > limit {
            clashes.push(error(
                "contradiction",
                &[key, limit_key],
                format!("`{key}` asks for up to {max} tokens, but `{limit_key}` is {limit}"),
                format!("Raise `{limit_key}` to {max}, or ask for less."),
            ));
        }
    }
    if let Some(length) = &config.prompts.output_tokens
        && bounds(length).0 < config.min_output_tokens
    {
        clashes.push(error(
            "contradiction",
            &["prompts.output_tokens", "min_output_tokens"],
            format!(
                "`prompts.output_tokens` asks for as few as {} tokens, but `min_output_tokens` is {}",
                bounds(length).0,
                config.min_output_tokens
            ),
            "Leave `min_output_tokens` out: `prompts.output_tokens` is exact already.",
        ));
    }
    clashes
}

/// The key that each kind of prompts needs.
const SOURCES: [(PromptsKind, &str, &str); 3] = [
    (PromptsKind::Inline, "inline", "prompts.texts"),
    (PromptsKind::File, "file", "prompts.path"),
    (PromptsKind::Huggingface, "huggingface", "prompts.dataset"),
];

fn has_source(config: &Config, kind: PromptsKind) -> bool {
    let prompts = &config.prompts;
    match kind {
        PromptsKind::Inline => !prompts.texts.is_empty(),
        PromptsKind::File => prompts.path.is_some(),
        PromptsKind::Huggingface => prompts.dataset.is_some(),
        PromptsKind::Synthetic => true,
    }
}

fn prompts_source(facts: &Facts) -> Vec<Clash> {
    let config = facts.config;
    let there: Vec<&str> = SOURCES
        .iter()
        .filter(|(kind, ..)| has_source(config, *kind))
        .map(|(.., key)| *key)
        .collect();
    let Some(kind) = config.prompts.kind else {
        if there.len() < 2 {
            return Vec::new();
        }
        return vec![error(
            "contradiction",
            &there,
            format!(
                "the prompts come from more than one source: {}",
                there
                    .iter()
                    .map(|key| format!("`{key}`"))
                    .collect::<Vec<_>>()
                    .join(" and ")
            ),
            "Keep one of them, or say with `prompts.type` which one is meant.",
        )];
    };
    let mut clashes = Vec::new();
    for (needed, name, key) in SOURCES {
        if kind == needed && !has_source(config, kind) {
            clashes.push(error(
                "missing",
                &["prompts.type", key],
                format!("`prompts.type: {name}` needs `{key}`"),
                format!("Add `{key}`, or leave `prompts.type` out."),
            ));
        } else if kind != needed && there.contains(&key) {
            clashes.push(warning(
                "no-effect",
                &[key, "prompts.type"],
                format!("`{key}` has no effect: `prompts.type` chooses another source"),
                "Remove one of the two.",
            ));
        }
    }
    clashes
}

/// The kind that the prompts have, said or not.
fn kind(config: &Config) -> PromptsKind {
    config.prompts.kind.unwrap_or_else(|| {
        SOURCES
            .iter()
            .map(|(kind, ..)| *kind)
            .find(|kind| has_source(config, *kind))
            .unwrap_or(PromptsKind::Synthetic)
    })
}

fn prompts_unused(facts: &Facts) -> Vec<Clash> {
    use PromptsKind::{File, Huggingface, Inline, Synthetic};
    let kind = kind(facts.config);
    let only_for: [(&str, &[PromptsKind], &str); 7] = [
        (
            "prompts.shared_prefix_tokens",
            &[Synthetic],
            "synthetic prompts; of others the beginning is what it is",
        ),
        ("prompts.subset", &[Huggingface], "a dataset of the hub"),
        ("prompts.split", &[Huggingface], "a dataset of the hub"),
        ("prompts.revision", &[Huggingface], "a dataset of the hub"),
        (
            "prompts.column",
            &[File, Huggingface],
            "a file or a dataset",
        ),
        (
            "prompts.sample_size",
            &[File, Huggingface],
            "a file or a dataset",
        ),
        (
            "prompts.chat_template",
            &[Inline, File, Huggingface],
            "prompts that are text; synthetic prompts are tokens of an exact number",
        ),
    ];
    only_for
        .into_iter()
        .filter(|(key, kinds, _)| facts.given(key) && !kinds.contains(&kind))
        .filter(|(key, ..)| *key != "prompts.chat_template" || facts.config.prompts.chat_template)
        .map(|(key, _, what)| {
            let name = match kind {
                Inline => "inline",
                File => "file",
                Huggingface => "huggingface",
                Synthetic => "synthetic",
            };
            warning(
                "no-effect",
                &[key],
                format!("`{key}` has no effect on {name} prompts: it is for {what}"),
                "Remove it, or choose the prompts that it is for.",
            )
        })
        .collect()
}

fn dummy_weights(facts: &Facts) -> Vec<Clash> {
    let config = facts.config;
    if !(config.quality.enabled && config.load_format == LoadFormat::Dummy) {
        return Vec::new();
    }
    vec![error(
        "contradiction",
        &["quality.enabled", "load_format"],
        "the quality of random weights cannot be measured: `load_format` is `dummy`",
        "Set `quality.enabled: false`, or load the model's own weights.",
    )]
}

fn batch_larger_than_work(facts: &Facts) -> Vec<Clash> {
    let (batch, prompts) = (
        facts.config.batching.batch_size,
        facts.config.num_input_prompts,
    );
    if batch <= prompts || facts.config.backend.is_server() {
        return Vec::new();
    }
    vec![warning(
        "no-effect",
        &["batching.batch_size", "num_input_prompts"],
        format!(
            "`batching.batch_size` is {batch}, but a cycle has only {prompts} prompts: \
             no batch will be full"
        ),
        format!("Raise `num_input_prompts` to {batch} or a multiple of it."),
    )]
}

fn greedy(facts: &Facts) -> Vec<Clash> {
    let decoder = &facts.config.decoder;
    if decoder.do_sample == Some(true)
        && decoder.temperature == 0.0
        && facts.given("decoder.do_sample")
    {
        return vec![warning(
            "contradiction",
            &["decoder.do_sample", "decoder.temperature"],
            "`decoder.do_sample` is true, but the temperature is 0: decoding is greedy",
            "Set `decoder.temperature` above 0, or `decoder.do_sample: false`.",
        )];
    }
    let off = decoder.do_sample == Some(false) || decoder.temperature == 0.0;
    ["decoder.temperature", "decoder.top_k", "decoder.top_p"]
        .into_iter()
        .filter(|key| off && facts.given(key))
        // Writing 0 is saying greedy.
        .filter(|key| *key != "decoder.temperature" || decoder.temperature > 0.0)
        .map(|key| {
            clash(
                Severity::Note,
                "no-effect",
                &[key],
                format!("`{key}` has no effect: decoding is greedy"),
                "Remove it, or sample: `decoder.do_sample: true` with a temperature above 0.",
            )
        })
        .collect()
}

fn traffic(facts: &Facts) -> Vec<Clash> {
    let traffic = &facts.config.traffic;
    let needed = match traffic.mode {
        TrafficMode::Closed => None,
        TrafficMode::Trace => Some(("traffic.trace", traffic.trace.is_some())),
        _ => Some(("traffic.target_qps", traffic.target_qps.is_some())),
    };
    let mut clashes = Vec::new();
    if let Some((key, false)) = needed {
        clashes.push(error(
            "missing",
            &["traffic.mode", key],
            format!("`traffic.mode` needs `{key}`"),
            format!("Add `{key}`, or set `traffic.mode: closed`."),
        ));
    }
    for key in ["traffic.target_qps", "traffic.trace"] {
        if facts.given(key) && needed.is_none_or(|(needed, _)| needed != key) {
            clashes.push(warning(
                "no-effect",
                &[key, "traffic.mode"],
                format!("`{key}` has no effect with this `traffic.mode`"),
                "Remove it, or choose the mode that it is for.",
            ));
        }
    }
    clashes
}

fn gpus(facts: &Facts) -> Vec<Clash> {
    let gpus = &facts.config.gpus;
    let apart: BTreeSet<u32> = gpus.iter().copied().collect();
    if apart.len() == gpus.len() {
        return Vec::new();
    }
    let apart: Vec<u32> = apart.into_iter().collect();
    vec![error(
        "contradiction",
        &["gpus"],
        "`gpus` names a GPU twice",
        format!("Write `gpus: {apart:?}`."),
    )]
}

fn wandb_disabled(facts: &Facts) -> Vec<Clash> {
    let wandb = &facts.config.integrations.wandb;
    if !wandb.enabled || wandb.mode != Some(WandbMode::Disabled) {
        return Vec::new();
    }
    vec![warning(
        "no-effect",
        &["integrations.wandb.mode", "integrations.wandb.enabled"],
        "`integrations.wandb.mode` is `disabled`: nothing goes to W&B",
        "Set WANDB_MODE to `online` or `offline`, or do not enable the sink.",
    )]
}

fn files_sink(facts: &Facts) -> Vec<Clash> {
    let files = &facts.config.integrations.files;
    if !files.enabled || files.path.is_some() {
        return Vec::new();
    }
    vec![error(
        "missing",
        &["integrations.files.enabled", "integrations.files.path"],
        "`integrations.files` needs `integrations.files.path`: where the copies go",
        "Add the path of a folder.",
    )]
}

/// Beyond this machine anybody might read, or listen.
fn prometheus_endpoint(facts: &Facts) -> Vec<Clash> {
    let on = &facts.config.integrations.prometheus;
    let linger = "integrations.prometheus.linger_s";
    if !on.enabled {
        let idle = facts.given(linger).then(|| {
            warning(
                "no-effect",
                &[linger, "integrations.prometheus.enabled"],
                format!("`{linger}` has no effect: there is no scrape endpoint that could wait"),
                "Give --prometheus, or set `integrations.prometheus.enabled`.",
            )
        });
        return idle.into_iter().collect();
    }
    let address = on.address.as_deref().unwrap_or_default();
    let beyond = address
        .parse::<std::net::SocketAddr>()
        .is_ok_and(|address| !address.ip().is_loopback());
    let key = "integrations.prometheus.address";
    match (beyond, &on.username, &on.tls.cert) {
        (true, None, _) => vec![warning(
            "exposed",
            &[key, "integrations.prometheus.username"],
            format!("whoever reaches {address} can read the run's numbers"),
            "Set `integrations.prometheus.username` and LEM_PROMETHEUS_PASSWORD, or listen on 127.0.0.1.",
        )],
        (true, Some(_), None) => vec![warning(
            "exposed",
            &[key, "integrations.prometheus.tls.cert"],
            format!("the password goes to {address} in clear text"),
            "Set `integrations.prometheus.tls.cert` and `.key`, or listen on 127.0.0.1.",
        )],
        _ => Vec::new(),
    }
}

/// Where the sinks of Prometheus go has no default.
fn prometheus_sinks(facts: &Facts) -> Vec<Clash> {
    let on = &facts.config.integrations;
    let needs = [
        (
            on.pushgateway.enabled && on.pushgateway.url.is_none(),
            [
                "integrations.pushgateway.enabled",
                "integrations.pushgateway.url",
            ],
            "where the numbers are pushed to",
            "Add the address of the Pushgateway, for example `http://127.0.0.1:9091`.",
        ),
        (
            on.remote_write.enabled && on.remote_write.url.is_none(),
            [
                "integrations.remote-write.enabled",
                "integrations.remote-write.url",
            ],
            "where the samples are written to",
            "Add the receiver's address, for example `http://127.0.0.1:9090/api/v1/write`.",
        ),
        (
            on.textfile.enabled && on.textfile.path.is_none(),
            [
                "integrations.textfile.enabled",
                "integrations.textfile.path",
            ],
            "where the file goes",
            "Add the folder that node_exporter was given as `--collector.textfile.directory`.",
        ),
    ];
    let missing = needs.into_iter().filter(|(missing, ..)| *missing);
    missing
        .map(|(_, keys, what, remedy)| {
            let [_, key] = keys;
            let section = key.rsplit_once('.').map_or(key, |(section, _)| section);
            error(
                "missing",
                &keys,
                format!("`{section}` needs `{key}`: {what}"),
                remedy,
            )
        })
        .collect()
}
