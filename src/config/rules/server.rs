//! Rules of backends that are servers, and of the traffic that they get.

use crate::config::model::{Backend, TrafficMode};

use super::{Clash, Facts, error, warning};

/// Fields of a request that lem sets: one of the configuration would contradict what is measured.
const OWN_FIELDS: [&str; 12] = [
    "model",
    "prompt",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "min_tokens",
    "ignore_eos",
    "n",
    "best_of",
    "echo",
];

/// Where the server comes from.
pub(super) fn source(facts: &Facts) -> Vec<Clash> {
    let config = facts.config;
    let server = &config.server;
    if !config.backend.is_server() {
        return Vec::new();
    }
    let Some(url) = &server.url else {
        let known = matches!(
            config.backend,
            Backend::Vllm | Backend::TensorrtLlm | Backend::Sglang | Backend::LlamaCpp
        );
        if known || !server.command.is_empty() {
            return Vec::new();
        }
        return vec![error(
            "missing",
            &["backend", "server.url"],
            format!(
                "the backend `{}` needs `server.url`: lem does not know how to launch such a server",
                config.backend.as_str()
            ),
            "Add the address of a running server, or the program to launch as `server.command`.",
        )];
    };
    let mut clashes = Vec::new();
    clashes.extend(address("server.url", url.expose()));
    let section = match config.backend {
        Backend::Vllm => Some("vllm"),
        Backend::TensorrtLlm => Some("tensorrt"),
        _ => None,
    };
    let launching = [
        "server.command",
        "server.args",
        "server.port",
        "server.ready_timeout_s",
        "server.iterations",
        "fp_precision",
        "load_format",
        "adapter",
    ];
    for key in launching.into_iter().chain(section) {
        if facts.given(key) {
            clashes.push(warning(
                "no-effect",
                &[key, "server.url"],
                format!("`{key}` has no effect: lem attaches to a server that somebody else started"),
                "Start the server so, and remove the key; or leave `server.url` out and let lem launch the server.",
            ));
        }
    }
    clashes
}

fn address(key: &'static str, url: &str) -> Option<Clash> {
    let wrong = match reqwest::Url::parse(url.trim()) {
        Err(_) => "is no address",
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            "begins with neither http:// nor https://"
        }
        Ok(url) if url.host_str().is_none() => "names no host",
        Ok(_) => return None,
    };
    Some(error(
        "invalid",
        &[key],
        format!("`{key}` {wrong}"),
        "Write it as `http://127.0.0.1:8000`.",
    ))
}

/// The key of a server never stands in the configuration.
pub(super) fn api_key(facts: &Facts) -> Vec<Clash> {
    let server = &facts.config.server;
    let mut clashes = Vec::new();
    if let Some(name) = &server.api_key_env {
        let head = name
            .chars()
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !head || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            clashes.push(error(
                "invalid",
                &["server.api_key_env"],
                "`server.api_key_env` is no name of a variable",
                "Put the key into an environment variable and write that variable's name here, never the key.",
            ));
        }
    }
    let secret = |argument: &String| {
        let name = argument.trim_start_matches('-');
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        argument.starts_with('-') && crate::config::redact::is_secret_name(name)
    };
    for (key, arguments) in [
        ("server.args", &server.args),
        ("server.command", &server.command),
    ] {
        // A file with the key in it is no key.
        if arguments.iter().any(secret) {
            clashes.push(error(
                "secret",
                &[key],
                format!("`{key}` gives a key or a token in clear text: it would be recorded with the run"),
                "Give it to the server by an environment variable (VLLM_API_KEY, LLAMA_API_KEY): a launched server has lem's own.",
            ));
        }
    }
    clashes
}

pub(super) fn extra_body(facts: &Facts) -> Vec<Clash> {
    let Some(body) = &facts.config.server.extra_body else {
        return Vec::new();
    };
    let Some(fields) = body.as_object() else {
        return vec![error(
            "invalid",
            &["server.extra_body"],
            "`server.extra_body` is no mapping of fields to values",
            "Write it as `{ top_a: 0.2 }`.",
        )];
    };
    OWN_FIELDS
        .iter()
        .filter(|own| fields.contains_key(**own))
        .map(|own| {
            error(
                "contradiction",
                &["server.extra_body"],
                format!("`server.extra_body` sets `{own}`, which lem sets itself"),
                "Remove it: lengths are `max_output_tokens` and `min_output_tokens`, the model is `server.model`, streaming is `streaming`.",
            )
        })
        .collect()
}

/// Keys that only some ways of sending read.
pub(super) fn schedule(facts: &Facts) -> Vec<Clash> {
    let config = facts.config;
    let traffic = &config.traffic;
    let mut clashes = Vec::new();
    if traffic.mode == TrafficMode::Ramp && traffic.ramp_to_qps.is_none() {
        clashes.push(error(
            "missing",
            &["traffic.mode", "traffic.ramp_to_qps"],
            "`traffic.mode: ramp` needs `traffic.ramp_to_qps`: the rate at the end",
            "Add it; `traffic.target_qps` is the rate at the beginning.",
        ));
    }
    let only = [
        ("traffic.burstiness", TrafficMode::Gamma),
        ("traffic.ramp_to_qps", TrafficMode::Ramp),
        ("traffic.turns", TrafficMode::Closed),
    ];
    for (key, mode) in only {
        if facts.given(key) && traffic.mode != mode {
            clashes.push(warning(
                "no-effect",
                &[key, "traffic.mode"],
                format!("`{key}` has no effect with this `traffic.mode`"),
                "Remove it, or choose the mode that it is for.",
            ));
        }
    }
    if facts.given("traffic.think_time_s") && traffic.turns <= 1 {
        clashes.push(warning(
            "no-effect",
            &["traffic.think_time_s", "traffic.turns"],
            "`traffic.think_time_s` has no effect: it is the pause before a conversation's next turn",
            "Set `traffic.turns` to 2 or more, or remove it.",
        ));
    }
    if !config.backend.is_server() {
        return clashes;
    }
    if facts.given("batching.batch_size") {
        clashes.push(warning(
            "no-effect",
            &["batching.batch_size", "backend"],
            "`batching.batch_size` has no effect on a server: it makes its batches itself",
            "Set `traffic.concurrency`: that many requests are under way at one time.",
        ));
    }
    if traffic.mode != TrafficMode::Closed && facts.given("traffic.concurrency") {
        clashes.push(warning(
            "no-effect",
            &["traffic.concurrency", "traffic.mode"],
            "`traffic.concurrency` has no effect on a schedule: requests are sent when they are due",
            "Remove it, or set `traffic.mode: closed`.",
        ));
    }
    clashes
}

/// Options of TensorRT-LLM's engine builder, which a server does not run.
pub(super) fn built_engine(facts: &Facts) -> Vec<Clash> {
    if facts.config.backend != Backend::TensorrtLlm {
        return Vec::new();
    }
    ["tensorrt.builder_opt_level", "tensorrt.kv_cache_type"]
        .into_iter()
        .filter(|key| facts.given(key))
        .map(|key| {
            warning(
                "no-effect",
                &[key],
                format!("`{key}` has no effect: it is an option of building an engine, and trtllm-serve takes none such"),
                "Build the engine with it and name its folder as `tensorrt.engine_path`, or remove it.",
            )
        })
        .collect()
}

/// A prefix that is longer than the prompt is none.
pub(super) fn shared_prefix(facts: &Facts) -> Vec<Clash> {
    let config = facts.config;
    let Some(prefix) = config.prompts.shared_prefix_tokens else {
        return Vec::new();
    };
    let shortest = match &config.prompts.input_tokens {
        Some(length) => super::bounds(length).0,
        None => config.max_input_tokens,
    };
    if prefix <= shortest {
        return Vec::new();
    }
    vec![error(
        "contradiction",
        &["prompts.shared_prefix_tokens", "prompts.input_tokens"],
        format!(
            "`prompts.shared_prefix_tokens` is {prefix}, but a prompt may have only {shortest} tokens"
        ),
        "The prefix is part of the prompt: lower it, or make the prompts longer.",
    )]
}
