//! The command line of a server that lem launches, from the configuration. Pure.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::config::{Backend, Config, LoadFormat, Precision, TrafficMode, Vllm};
use crate::engine::EngineError;
use crate::model::{ModelFiles, ModelFormat, ModelUri};

/// Slots of a llama.cpp server where a schedule says how many requests there are at one time.
const SLOTS: u32 = 8;
/// Room in a context beside the prompt and the answer: a template, a rounding.
const SPARE_TOKENS: u32 = 64;

/// What to start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pub program: String,
    pub arguments: Vec<String>,
    /// Variables beside those of this process.
    pub variables: Vec<(String, String)>,
    /// A file to write first, and the option before its path, where the server has one.
    pub options: Option<(&'static str, Value)>,
    /// A file to write first, and the variable that names it, where the server has one.
    pub logging: Option<(&'static str, Value)>,
    /// Arguments of which an older server may know nothing: it is started again without them.
    pub optional: Vec<&'static str>,
}

impl Line {
    /// As a shell would take it; what needs quotes has some.
    pub fn shown(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        let quoted = words.map(|word| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        });
        quoted.collect::<Vec<_>>().join(" ")
    }

    fn add(&mut self, flag: &str, value: impl ToString) {
        self.arguments.push(flag.to_owned());
        self.arguments.push(value.to_string());
    }

    fn add_some(&mut self, flag: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.add(flag, value);
        }
    }

    fn switch(&mut self, flag: &str, on: Option<bool>) {
        match on {
            Some(true) => self.arguments.push(format!("--{flag}")),
            Some(false) => self.arguments.push(format!("--no-{flag}")),
            None => {}
        }
    }
}

/// The command line. `files` are there where lem finds the model itself. Without `optional`
/// what an older server may not know is left out.
pub fn line(
    config: &Config,
    files: Option<&ModelFiles>,
    port: u16,
    optional: bool,
) -> Result<Line, EngineError> {
    let mut line = match config.backend {
        Backend::Vllm => vllm(config, port, optional)?,
        Backend::Sglang => sglang(config, port)?,
        Backend::TensorrtLlm => tensorrt(config, port)?,
        Backend::LlamaCpp => llama_cpp(config, files, port)?,
        // Only with a command of the user's.
        _ => Line {
            arguments: vec![
                "--host".into(),
                "127.0.0.1".into(),
                "--port".into(),
                port.to_string(),
            ],
            ..Line::default()
        },
    };
    if let Some((program, first)) = config.server.command.split_first() {
        line.program.clone_from(program);
        let mut arguments = first.to_vec();
        // The word that stands for serving is part of the command that was replaced.
        let verb = usize::from(line.arguments.first().is_some_and(|a| a == "serve"));
        arguments.extend(line.arguments.into_iter().skip(verb));
        line.arguments = arguments;
    }
    line.arguments.extend(config.server.args.iter().cloned());
    if !config.gpus.is_empty() {
        let gpus: Vec<String> = config.gpus.iter().map(u32::to_string).collect();
        // lem counts GPUs as the driver does.
        line.variables
            .push(("CUDA_DEVICE_ORDER".into(), "PCI_BUS_ID".into()));
        line.variables
            .push(("CUDA_VISIBLE_DEVICES".into(), gpus.join(",")));
    }
    Ok(line)
}

/// The model as the Python servers take it: a folder, or a name of the hub and its revision.
fn hub_model(config: &Config) -> Result<(String, Option<String>), EngineError> {
    let name = config.model_name.as_deref().unwrap_or_default();
    match ModelUri::parse(name, None, std::path::Path::exists)? {
        ModelUri::Local(path) => {
            let path: PathBuf = path.canonicalize().unwrap_or(path);
            Ok((path.display().to_string(), None))
        }
        ModelUri::Hub {
            repo,
            revision,
            file: None,
        } => Ok((repo.to_string(), revision)),
        ModelUri::Hub { file: Some(_), .. } | ModelUri::Pypi { .. } => Err(EngineError::new(
            format!(
                "{} takes a folder or a repository of the hub as model, not a single file",
                config.backend.as_str()
            ),
            "Name a repository as hf:org/name, or a folder; a GGUF file is for llama.cpp",
        )),
    }
}

const fn dtype(precision: Precision) -> Option<&'static str> {
    match precision {
        Precision::Auto => None,
        Precision::Fp32 => Some("float32"),
        Precision::Fp16 => Some("float16"),
        Precision::Bf16 => Some("bfloat16"),
    }
}

fn vllm(config: &Config, port: u16, optional: bool) -> Result<Line, EngineError> {
    let (model, revision) = hub_model(config)?;
    let mut line = Line {
        program: "vllm".into(),
        arguments: vec!["serve".into(), model],
        ..Line::default()
    };
    line.add("--host", "127.0.0.1");
    line.add("--port", port);
    line.add_some("--revision", revision);
    line.add_some("--dtype", dtype(config.fp_precision));
    if config.load_format == LoadFormat::Dummy {
        line.add("--load-format", "dummy");
    }
    line.add("--seed", config.random_seed);
    let vllm = &config.vllm;
    line.add_some("--max-num-seqs", vllm.max_num_seqs);
    line.add_some("--max-num-batched-tokens", vllm.max_num_batched_tokens);
    line.add_some("--gpu-memory-utilization", vllm.gpu_memory_utilization);
    line.add_some("--tensor-parallel-size", vllm.tensor_parallel_size);
    line.add_some("--pipeline-parallel-size", vllm.pipeline_parallel_size);
    line.switch("enable-prefix-caching", vllm.enable_prefix_caching);
    line.switch("enable-chunked-prefill", vllm.enable_chunked_prefill);
    line.add_some("--kv-cache-dtype", vllm.kv_cache_dtype.as_deref());
    line.add_some("--block-size", vllm.block_size);
    line.add_some("--max-model-len", vllm.max_model_len);
    line.switch("enforce-eager", vllm.enforce_eager);
    line.add_some("--quantization", vllm.quantization.as_deref());
    if let Some(speculative) = speculative(vllm) {
        line.add("--speculative-config", speculative);
    }
    lora(&mut line, vllm.lora.as_ref())?;
    if optional {
        line.optional = vec!["--enable-per-request-metrics"];
        if config.server.iterations {
            line.optional.push("--enable-logging-iteration-details");
            line.logging = Some(("VLLM_LOGGING_CONFIG_PATH", super::steps::logging()));
        }
        let optional = line.optional.iter().map(|flag| (*flag).to_owned());
        line.arguments.extend(optional);
    }
    Ok(line)
}

fn speculative(vllm: &Vllm) -> Option<Value> {
    let given = &vllm.speculative;
    let mut map = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    };
    put("method", given.method.clone().map(Value::from));
    put("model", given.model.clone().map(Value::from));
    put("num_speculative_tokens", given.num_tokens.map(Value::from));
    put(
        "prompt_lookup_min",
        given.prompt_lookup_min.map(Value::from),
    );
    put(
        "prompt_lookup_max",
        given.prompt_lookup_max.map(Value::from),
    );
    put(
        "draft_tensor_parallel_size",
        given.draft_tp_size.map(Value::from),
    );
    (!map.is_empty()).then_some(Value::Object(map))
}

fn lora(line: &mut Line, lora: Option<&Value>) -> Result<(), EngineError> {
    let Some(lora) = lora.filter(|lora| !lora.is_null()) else {
        return Ok(());
    };
    let wrong = || {
        EngineError::new(
            "vllm.lora is not understood",
            "Write it as { enabled: true, max_loras: 1, max_rank: 16, modules: { name: path } }",
        )
    };
    for (key, value) in lora.as_object().ok_or_else(wrong)? {
        match (key.as_str(), value) {
            ("enabled", Value::Bool(on)) => {
                if *on {
                    line.arguments.push("--enable-lora".into());
                }
            }
            ("max_loras", Value::Number(n)) => line.add("--max-loras", n),
            ("max_rank", Value::Number(n)) => line.add("--max-lora-rank", n),
            ("modules", Value::Object(modules)) => {
                line.arguments.push("--lora-modules".into());
                for (name, path) in modules {
                    let path = path.as_str().ok_or_else(wrong)?;
                    line.arguments.push(format!("{name}={path}"));
                }
            }
            _ => return Err(wrong()),
        }
    }
    Ok(())
}

fn sglang(config: &Config, port: u16) -> Result<Line, EngineError> {
    let (model, revision) = hub_model(config)?;
    let mut line = Line {
        program: "python3".into(),
        arguments: vec!["-m".into(), "sglang.launch_server".into()],
        ..Line::default()
    };
    line.add("--model-path", model);
    line.add("--host", "127.0.0.1");
    line.add("--port", port);
    line.add_some("--revision", revision);
    line.add_some("--dtype", dtype(config.fp_precision));
    if config.load_format == LoadFormat::Dummy {
        line.add("--load-format", "dummy");
    }
    line.add("--random-seed", config.random_seed);
    line.arguments.push("--enable-metrics".into());
    Ok(line)
}

fn tensorrt(config: &Config, port: u16) -> Result<Line, EngineError> {
    let tensorrt = &config.tensorrt;
    let (model, revision) = match &tensorrt.engine_path {
        Some(path) => (path.clone(), None),
        None => hub_model(config)?,
    };
    if let Some(revision) = revision {
        return Err(EngineError::new(
            format!("trtllm-serve takes no revision, and model_name asks for {revision}"),
            "Download that revision into a folder and name the folder",
        ));
    }
    let mut line = Line {
        program: "trtllm-serve".into(),
        arguments: vec!["serve".into(), model],
        ..Line::default()
    };
    line.add("--host", "127.0.0.1");
    line.add("--port", port);
    if tensorrt.engine_path.is_some() {
        line.add("--backend", "tensorrt");
    }
    line.add_some("--max_batch_size", tensorrt.max_batch_size);
    line.add_some("--tp_size", tensorrt.tp_size);
    line.add_some("--pp_size", tensorrt.pp_size);
    // What has no flag stands in a file; the first two make it tell its own times.
    let mut options = json!({ "return_perf_metrics": true, "enable_iter_perf_stats": true });
    let mut put = |name: &str, value: Value| {
        if let Some(map) = options.as_object_mut() {
            map.insert(name.to_owned(), value);
        }
    };
    put(
        "perf_metrics_max_requests",
        config.num_input_prompts.saturating_mul(2).into(),
    );
    if let Some(dtype) = dtype(config.fp_precision) {
        put("dtype", dtype.into());
    }
    if config.load_format == LoadFormat::Dummy {
        put("load_format", "dummy".into());
    }
    if let Some(on) = tensorrt.enable_chunked_context {
        put("enable_chunked_prefill", on.into());
    }
    if let Some(on) = tensorrt.enable_kv_cache_reuse {
        put("kv_cache_config", json!({ "enable_block_reuse": on }));
    }
    if let Some(algorithm) = &tensorrt.quantization {
        put(
            "quant_config",
            json!({ "quant_algo": algorithm.to_ascii_uppercase() }),
        );
    }
    if let Some(draft) = &tensorrt.draft_model {
        put(
            "speculative_config",
            json!({
                "decoding_type": "DraftTarget",
                "max_draft_len": tensorrt.num_draft_tokens.unwrap_or(4),
                "speculative_model_dir": draft,
            }),
        );
    }
    line.options = Some(("--extra_llm_api_options", options));
    Ok(line)
}

fn llama_cpp(config: &Config, files: Option<&ModelFiles>, port: u16) -> Result<Line, EngineError> {
    let gguf = match files.map(|files| &files.format) {
        Some(ModelFormat::Gguf(path)) => path,
        _ => {
            return Err(EngineError::new(
                "llama.cpp reads GGUF files, and this model is none",
                "Name a GGUF file (hf:org/name#file.gguf or a path), or choose another backend",
            ));
        }
    };
    if config.load_format == LoadFormat::Dummy || config.fp_precision != Precision::Auto {
        return Err(EngineError::new(
            "llama.cpp runs a model in the types that its file has",
            "Leave load_format and fp_precision out, or choose another file",
        ));
    }
    let slots = match config.traffic.mode {
        TrafficMode::Closed => config.traffic.concurrency,
        _ => SLOTS,
    };
    let each = config
        .max_input_tokens
        .saturating_add(config.max_output_tokens)
        .saturating_add(SPARE_TOKENS)
        .next_multiple_of(256);
    let mut line = Line {
        program: "llama-server".into(),
        ..Line::default()
    };
    line.add("-m", gguf.display());
    line.add("--host", "127.0.0.1");
    line.add("--port", port);
    line.add("--parallel", slots);
    // The context is that of all slots together.
    line.add("--ctx-size", each.saturating_mul(slots));
    line.add("--seed", config.random_seed);
    line.arguments.push("--metrics".into());
    line.arguments.push("--no-webui".into());
    Ok(line)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config(text: serde_json::Value) -> Config {
        serde_json::from_value(text).unwrap()
    }

    fn gguf() -> ModelFiles {
        ModelFiles {
            name: "m".into(),
            source: "/models/m.gguf".into(),
            sha256: None,
            format: ModelFormat::Gguf("/models/m.gguf".into()),
        }
    }

    #[test]
    fn vllm_gets_what_its_section_says() {
        let config = config(json!({
            "model_name": "hf:org/name@abc123", "backend": "vllm", "fp_precision": "bf16",
            "load_format": "dummy", "gpus": [1, 3],
            "vllm": {
                "max_num_seqs": 64, "enable_prefix_caching": false, "enforce_eager": true,
                "gpu_memory_utilization": 0.8,
                "speculative": {"method": "ngram", "num_tokens": 4, "prompt_lookup_max": 3},
                "lora": {"enabled": true, "max_rank": 16},
            },
            "server": {"iterations": true, "args": ["--max-model-len", "1024"]},
        }));
        let line = line(&config, None, 8101, true).unwrap();
        assert_eq!(
            line.shown(),
            "vllm serve org/name --host 127.0.0.1 --port 8101 --revision abc123 --dtype bfloat16 \
             --load-format dummy --seed 42 --max-num-seqs 64 --gpu-memory-utilization 0.8 \
             --no-enable-prefix-caching --enforce-eager \
             --speculative-config '{\"method\":\"ngram\",\"num_speculative_tokens\":4,\"prompt_lookup_max\":3}' \
             --enable-lora --max-lora-rank 16 --enable-per-request-metrics \
             --enable-logging-iteration-details --max-model-len 1024"
        );
        assert!(
            line.variables
                .contains(&("CUDA_VISIBLE_DEVICES".into(), "1,3".into()))
        );
    }

    #[test]
    fn a_command_of_the_users_takes_the_place_of_the_program() {
        let config = config(json!({
            "model_name": "hf:org/name", "backend": "vllm",
            "server": {"command": ["python", "-m", "vllm.entrypoints.cli.main", "serve"]},
        }));
        let line = line(&config, None, 1, false).unwrap();
        assert_eq!(
            line.shown(),
            "python -m vllm.entrypoints.cli.main serve org/name --host 127.0.0.1 --port 1 --seed 42"
        );
    }

    #[test]
    fn llama_cpp_has_a_slot_a_request_and_room_for_each() {
        let config = config(json!({
            "model_name": "m.gguf", "backend": "llama.cpp", "max_input_tokens": 100,
            "max_output_tokens": 50, "traffic": {"concurrency": 3},
        }));
        let line = line(&config, Some(&gguf()), 2, true).unwrap();
        assert_eq!(
            line.shown(),
            "llama-server -m /models/m.gguf --host 127.0.0.1 --port 2 --parallel 3 --ctx-size 768 \
             --seed 42 --metrics --no-webui"
        );
        assert!(super::line(&config, None, 2, true).is_err(), "no GGUF");
    }

    #[test]
    fn tensorrt_llm_has_a_file_for_what_has_no_flag() {
        let config = config(json!({
            "model_name": "hf:org/name", "backend": "tensorrt-llm",
            "tensorrt": {"tp_size": 2, "enable_kv_cache_reuse": false, "quantization": "fp8"},
        }));
        let line = line(&config, None, 9, true).unwrap();
        assert_eq!(
            line.shown(),
            "trtllm-serve serve org/name --host 127.0.0.1 --port 9 --tp_size 2"
        );
        let (flag, options) = line.options.unwrap();
        assert_eq!(flag, "--extra_llm_api_options");
        assert_eq!(options["kv_cache_config"]["enable_block_reuse"], false);
        assert_eq!(options["quant_config"]["quant_algo"], "FP8");
        assert_eq!(options["return_perf_metrics"], true);
    }

    #[test]
    fn what_cannot_be_given_on_is_refused() {
        for wrong in [
            json!({"model_name": "pypi:p==1#m.gguf", "backend": "vllm"}),
            json!({"model_name": "hf:o/n@rev", "backend": "tensorrt-llm"}),
            json!({"model_name": "hf:o/n", "backend": "vllm", "vllm": {"lora": {"rank": 3}}}),
        ] {
            assert!(
                line(&config(wrong.clone()), None, 1, true).is_err(),
                "{wrong}"
            );
        }
    }
}
