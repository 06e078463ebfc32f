//! A tiny model, and the binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder to work in: a model of two layers (shape only, random weights) and a
/// configuration that measures it in well under a second.
pub struct Bench {
    pub dir: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let model = dir.path().join("tiny");
        std::fs::create_dir(&model).unwrap();
        let shape = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256,
            "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": true, "torch_dtype": "float32", "hidden_act": "silu",
            "bos_token_id": 1, "eos_token_id": 2,
        });
        std::fs::write(model.join("config.json"), shape.to_string()).unwrap();
        let config = "\
model_name: tiny
load_format: dummy
num_input_prompts: 4
num_cycles: 3
max_input_tokens: 64
max_output_tokens: 16
prompts: { type: synthetic, input_tokens: 16, output_tokens: 16 }
batching: { batch_size: 2 }
measurement: { interval_ms: 5, warmup: { min_rounds: 1, max_rounds: 1 } }
";
        std::fs::write(dir.path().join("tiny.yaml"), config).unwrap();
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The binary in this folder, with an environment of nothing but what is needed.
    pub fn lem(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lem"));
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("NO_PROXY", "127.0.0.1");
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = self.lem();
        command
            .args(["run", "tiny.yaml", "--format", "json"])
            .args(args);
        command.output().unwrap()
    }

    /// Any verb, with variables set.
    pub fn verb(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.lem();
        command.args(args).envs(variables.iter().copied());
        command.output().unwrap()
    }

    /// Runs, expects an exit code, and gives the result.
    pub fn result(&self, args: &[&str], code: i32) -> Value {
        let out = self.run(args);
        assert_eq!(out.status.code(), Some(code), "{}", stderr(&out));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    pub fn show(&self, run: &Path) -> Value {
        let out = self
            .lem()
            .args(["results", "show", "--format", "json"])
            .arg(run)
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// The folders of runs that stand there.
    pub fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.path().join("lem-runs")) else {
            return Vec::new();
        };
        let mut runs: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
            .collect();
        runs.sort();
        runs
    }
}

pub fn run_dir(result: &Value) -> PathBuf {
    PathBuf::from(result["run_dir"].as_str().unwrap())
}

pub fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// Every record of a run's log, as plain JSON: read without any of lem's own code.
pub fn records(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("records.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn of_kind<'a>(records: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    records
        .iter()
        .filter(move |r| r["kind"] == kind)
        .map(|r| &r["data"])
}
