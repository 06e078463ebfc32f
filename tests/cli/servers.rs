//! Backends that are servers: a real llama.cpp, launched and attached to, and a scripted one for
//! what a real one does not show.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lem_testkit::{FakeServer, Fault, Response, Rule};
use serde_json::{Value, json};

use crate::support::{Bench, of_kind, records, run_dir, stderr};

/// A result, or what was printed instead.
fn result(out: &Output, code: i32) -> Value {
    assert_eq!(out.status.code(), Some(code), "{}", stderr(out));
    serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(out)))
}

fn lem(bench: &Bench, config: &str, variables: &[(&str, &str)]) -> Output {
    std::fs::write(bench.path().join("served.yaml"), config).unwrap();
    bench.verb(&["run", "served.yaml", "--format", "json"], variables)
}

/// Timelines of the requests of measured cycles, in order of their ids.
fn timelines(run: &Path) -> Vec<Value> {
    let records = records(run);
    let mut found: Vec<Value> = of_kind(&records, "span")
        .filter(|span| span["span"] == "request" && !span["cycle"].is_null())
        .map(|span| {
            let mut timeline = span["request"].clone();
            timeline["cycle"] = span["cycle"].clone();
            timeline
        })
        .collect();
    found.sort_by_key(|t| (t["cycle"].as_u64(), t["id"].as_u64()));
    found
}

fn counts(run: &Path) -> Vec<(u64, u64)> {
    let count = |t: &Value, key: &str| t[key].as_u64().unwrap();
    let all = timelines(run);
    all.iter()
        .map(|t| (count(t, "input_tokens"), count(t, "output_tokens")))
        .collect()
}

fn warnings(run: &Path) -> Vec<String> {
    let records = records(run);
    of_kind(&records, "warning")
        .map(|w| w["code"].as_str().unwrap().to_owned())
        .collect()
}

fn metric(run: &Path, id: &str) -> Value {
    let records = records(run);
    of_kind(&records, "metric")
        .find(|m| m["id"] == id && m["cycle"].is_null())
        .unwrap_or_else(|| panic!("no {id}"))
        .clone()
}

// ---- a real llama.cpp ----

struct Llama {
    server: PathBuf,
    model: PathBuf,
}

fn llama() -> Option<Llama> {
    let path = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.exists())
    };
    match (path("LEM_TEST_LLAMA_SERVER"), path("LEM_TEST_MODEL")) {
        (Some(server), Some(model)) => Some(Llama { server, model }),
        _ => {
            eprintln!(
                "skipped: LEM_TEST_LLAMA_SERVER and LEM_TEST_MODEL name no files; scripts/llama-server builds the server, ./test sets both"
            );
            None
        }
    }
}

const WORK: &str = "\
num_input_prompts: 4
num_cycles: 2
max_input_tokens: 64
max_output_tokens: 12
min_output_tokens: 12
prompts:
  texts:
    - The capital of France is
    - Once upon a time
    - 'def fibonacci(n):'
    - Water boils at a temperature of
measurement: { interval_ms: 20, warmup: { min_rounds: 1, max_rounds: 1 } }
";

impl Llama {
    fn config(&self, server: &str, more: &str) -> String {
        format!(
            "model_name: {}\nbackend: llama.cpp\nserver: {server}\n{WORK}{more}",
            self.model.display()
        )
    }

    fn launched(&self, more: &str) -> String {
        let server = format!(
            "{{ command: [{}], args: [-t, '1'] }}",
            self.server.display()
        );
        self.config(&server, more)
    }
}

/// A server of the test's own, with what lem would start.
struct Running {
    child: Child,
    url: String,
}

impl Running {
    fn start(llama: &Llama) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = Command::new(&llama.server);
        command
            .arg("-m")
            .arg(&llama.model)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["-t", "1", "-c", "1024", "--parallel", "2", "--metrics"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let running = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        };
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            assert!(Instant::now() < end, "llama.cpp does not start");
            let connected = std::net::TcpStream::connect(("127.0.0.1", port));
            if connected.is_ok() && healthy(port) {
                return running;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn healthy(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let ask = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    let longest = Some(Duration::from_secs(10));
    stream.set_read_timeout(longest).unwrap();
    stream.write_all(ask).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_launched_and_an_attached_llama_cpp_count_as_the_embedded_engine_does() {
    let Some(llama) = llama() else { return };
    let bench = Bench::new();

    let embedded = format!("model_name: {}\n{WORK}", llama.model.display());
    let embedded = result(&lem(&bench, &embedded, &[]), 0);
    let expected = counts(&run_dir(&embedded));
    assert_eq!(expected.len(), 8);
    assert!(
        expected
            .iter()
            .all(|(input, output)| *input > 2 && *output == 12)
    );

    let launched = result(&lem(&bench, &llama.launched(""), &[]), 0);
    let run = run_dir(&launched);
    assert_eq!(counts(&run), expected, "launched");
    // One request at a time: its first token parts the phases, and each token has its own time.
    for timeline in timelines(&run) {
        assert_eq!(timeline["true_token_times"], true, "{timeline}");
        assert_eq!(timeline["token_ns"].as_array().unwrap().len(), 12);
        assert!(timeline["engine"]["prefill_s"].as_f64().unwrap() > 0.0);
        assert_eq!(timeline["engine"]["cached_tokens"], 0, "{timeline}");
    }
    for id in [
        "time.prefill",
        "time.decode",
        "energy.prefill",
        "energy.decode",
    ] {
        assert!(
            metric(&run, id)["value"]["number"].as_f64().unwrap() > 0.0,
            "{id}"
        );
    }
    // What the server says of itself agrees with what came over the wire.
    let said = |id: &str| metric(&run, id)["value"]["number"].as_f64().unwrap();
    assert_eq!(said("engine.output_tokens"), 48.0);
    let input: u64 = expected.iter().map(|(input, _)| input).sum();
    assert_eq!(said("engine.input_tokens"), input as f64 / 2.0);
    assert_eq!(metric(&run, "engine.output_tokens")["how"], "reported");
    let busy = said("engine.prefill_busy") + said("engine.decode_busy");
    let cycle = metric(&run, "run.duration")["value"]["number"]
        .as_f64()
        .unwrap()
        / 2.0;
    assert!(busy > 0.0 && busy < cycle * 1.05, "{busy} of {cycle}");
    // Its log is an artifact, and it is gone.
    let log = std::fs::read_to_string(run.join("artifacts/server.log")).unwrap();
    assert!(log.starts_with("$ ") && log.contains("listening"), "{log}");
    let all = records(&run);
    assert!(of_kind(&all, "artifact").any(|a| a["path"] == "artifacts/server.log"));
    let started = of_kind(&all, "run_started").next().unwrap().clone();
    let port = started["model"]["launch"].as_str().unwrap();
    let port = port
        .split("--port ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(!healthy(port.parse().unwrap()), "the server lives on");
    let left = std::fs::read_dir(bench.path().join("lem-runs")).unwrap();
    let hidden = left.filter(|e| {
        let name = e.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".server")
    });
    assert_eq!(hidden.count(), 0);

    let running = Running::start(&llama);
    let server = format!("{{ url: '{}' }}", running.url);
    let more = "traffic: { concurrency: 2, slo: { ttft_ms: 60000 } }\n";
    let attached = result(&lem(&bench, &llama.config(&server, more), &[]), 0);
    let run = run_dir(&attached);
    assert_eq!(counts(&run), expected, "attached");
    let good = metric(&run, "throughput.goodput")["value"]["number"]
        .as_f64()
        .unwrap();
    assert!(good > 0.0);
    let prefill = metric(&run, "time.prefill");
    assert!(
        prefill["value"]["absent"].is_string(),
        "two at a time: {prefill}"
    );
    assert!(
        healthy(running.url.rsplit(':').next().unwrap().parse().unwrap()),
        "it is not ours to stop"
    );
}

#[test]
fn a_schedule_is_kept_and_latency_counts_from_it() {
    let Some(llama) = llama() else { return };
    let bench = Bench::new();
    let running = Running::start(&llama);
    let server = format!("{{ url: '{}' }}", running.url);
    // Far more than it can do: a queue builds up.
    let more = "traffic: { mode: constant, target_qps: 200 }\nnum_input_prompts: 24\n";
    let config = llama
        .config(&server, more)
        .replace("num_input_prompts: 4\n", "");
    let out = result(&lem(&bench, &config, &[]), 0);
    let run = run_dir(&out);
    let all = timelines(&run);
    assert_eq!(all.len(), 48);
    let due: Vec<u64> = all
        .iter()
        .take(24)
        .map(|t| t["scheduled_ns"].as_u64().unwrap())
        .collect();
    let gaps: Vec<u64> = due.windows(2).map(|d| d[1] - d[0]).collect();
    assert!(
        gaps.iter().all(|gap| gap.abs_diff(5_000_000) < 10),
        "{gaps:?}"
    );
    let ttft = metric(&run, "latency.ttft");
    let ttft = &ttft["value"]["histogram"];
    assert!(
        ttft["p99"].as_f64().unwrap() > 2.0 * ttft["min"].as_f64().unwrap(),
        "the queue is in it: {ttft}"
    );
    assert!(
        metric(&run, "client.lag")["value"]["histogram"]["p50"]
            .as_f64()
            .unwrap()
            < 0.05
    );
}

#[test]
fn a_server_that_is_killed_in_mid_run_leaves_a_record_and_what_was_finished() {
    let Some(llama) = llama() else { return };
    let bench = Bench::new();
    let config = llama
        .launched("")
        .replace("num_cycles: 2", "num_cycles: 50")
        .replace("_tokens: 12", "_tokens: 40");
    std::fs::write(bench.path().join("served.yaml"), config).unwrap();
    let mut command = bench.lem();
    let mut lem = command
        .args(["run", "served.yaml", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Wait for a finished cycle, then take the server away.
    let end = Instant::now() + Duration::from_secs(180);
    let finished = || {
        let runs = bench.runs();
        runs.first().is_some_and(|run| {
            let text = std::fs::read_to_string(run.join("records.jsonl")).unwrap_or_default();
            text.contains("\"cycle_finished\"")
        })
    };
    while !finished() {
        assert!(lem.try_wait().unwrap().is_none(), "lem ended by itself");
        assert!(Instant::now() < end, "no cycle was finished");
        std::thread::sleep(Duration::from_millis(20));
    }
    let server = child_of(lem.id());
    let kill = Command::new("kill")
        .args(["-9", &server.to_string()])
        .status();
    assert!(kill.unwrap().success());
    let out = lem.wait_with_output().unwrap();
    let shown = result(&out, 1);
    assert!(stderr(&out).contains("signal 9"), "{}", stderr(&out));
    assert_eq!(shown["status"], "failed");
    let run = run_dir(&shown);
    let all = records(&run);
    let end = of_kind(&all, "run_finished").last().unwrap().clone();
    let reason = end["reason"].as_str().unwrap();
    assert!(
        reason.contains("The server ended") && reason.contains("artifacts/server.log"),
        "{reason}"
    );
    let complete = of_kind(&all, "cycle_finished").count();
    assert!((1..50).contains(&complete));
    assert!(warnings(&run).contains(&"cycles.partial".to_owned()));
    // Nothing that did not come is counted.
    for timeline in timelines(&run).iter().filter(|t| t["finish"] == "error") {
        assert!(timeline["output_tokens"].as_u64().unwrap() <= 40);
        assert!(timeline["error"].is_string());
    }
}

/// The first child of a process, by the kernel's list.
fn child_of(parent: u32) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let children = tasks.filter_map(|task| {
        let path = task.ok()?.path().join("children");
        let text = std::fs::read_to_string(path).ok()?;
        text.split_whitespace().next()?.parse().ok()
    });
    children.into_iter().next().expect("a server")
}

#[test]
fn a_server_that_cannot_start_ends_with_its_last_lines() {
    let Some(llama) = llama() else { return };
    let bench = Bench::new();
    let config = llama
        .launched("")
        .replace("args: [", "args: [--no-such-option, ");
    let out = lem(&bench, &config, &[]);
    assert_eq!(out.status.code(), Some(1));
    let told = stderr(&out);
    assert!(
        told.contains("no-such-option") && told.contains("exit code"),
        "{told}"
    );
    assert!(bench.runs().is_empty(), "no run without a server");
}

// ---- a scripted server ----

/// An answer of `tokens` tokens, one a chunk, with usage at the end.
fn stream(tokens: u32) -> Response {
    let mut body = String::from(
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
    );
    for i in 0..tokens {
        body += &format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"w{i} \"}}}}]}}\n\n"
        );
    }
    body += "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n";
    body += &format!(
        "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":5,\"completion_tokens\":{tokens},\"total_tokens\":{}}}}}\n\ndata: [DONE]\n\n",
        tokens + 5
    );
    Response::bytes(200, body).header("content-type", "text/event-stream")
}

fn fake() -> FakeServer {
    FakeServer::start(|request| match request.path.as_str() {
        "/v1/models" => Response::json(200, &json!({ "data": [{ "id": "fake-1" }] })),
        "/v1/chat/completions" => stream(6),
        _ => Response::new(404),
    })
}

fn asking(server: &FakeServer, more: &str) -> String {
    format!(
        "model_name: fake-1\nbackend: openai\nserver: {{ url: '{}', {more} }}\n\
         num_input_prompts: 4\nnum_cycles: 2\nmax_output_tokens: 6\nmin_output_tokens: 6\n\
         prompts: {{ texts: [one, two, three, four] }}\ntraffic: {{ concurrency: 2 }}\n\
         measurement: {{ interval_ms: 20, warmup: {{ min_rounds: 1, max_rounds: 1 }} }}\n",
        server.url()
    )
}

#[test]
fn what_the_server_counts_is_what_is_counted() {
    let server = fake();
    let bench = Bench::new();
    let out = lem(
        &bench,
        &asking(&server, ""),
        &[("OPENAI_API_KEY", "hunter2-key")],
    );
    let run = run_dir(&result(&out, 0));
    assert_eq!(counts(&run), [(5, 6); 8]);
    let asked = server.requests();
    let chats: Vec<_> = asked
        .iter()
        .filter(|r| r.path == "/v1/chat/completions")
        .collect();
    assert_eq!(chats.len(), 2 + 8, "warm-up and two cycles");
    for chat in &chats {
        let body: Value = serde_json::from_slice(&chat.body).unwrap();
        assert_eq!(body["model"], "fake-1");
        assert_eq!(body["max_tokens"], 6);
        assert_eq!(body["messages"][0]["role"], "user");
        assert!(
            body.get("ignore_eos").is_none(),
            "unknown fields are not for everybody"
        );
    }
    assert!(warnings(&run).contains(&"prompts.uncut".to_owned()));
    // The key goes to the server and nowhere else.
    let key = chats[0].header("authorization");
    assert_eq!(key, Some("Bearer hunter2-key"));
    for entry in std::fs::read_dir(&run)
        .unwrap()
        .chain(std::fs::read_dir(run.join("artifacts")).unwrap())
    {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap_or_default();
        assert!(
            !String::from_utf8_lossy(&text).contains("hunter2"),
            "{}",
            path.display()
        );
    }
    assert!(!stderr(&out).contains("hunter2"));
}

struct Trouble {
    name: &'static str,
    fault: Fault,
    server: &'static str,
    told: &'static str,
}

/// What a server does wrong, to every request, and what the user reads.
fn troubles() -> Vec<Trouble> {
    let answer = |status: u16, message: &str| {
        let body = json!({ "error": { "message": message } });
        Fault::Answer(Response::json(status, &body))
    };
    let of = |name, fault, server, told| Trouble {
        name,
        fault,
        server,
        told,
    };
    vec![
        of("401", answer(401, "bad key"), "", "401"),
        of(
            "404 model",
            answer(404, "The model fake-1 does not exist"),
            "",
            "does not exist",
        ),
        of(
            "429",
            Fault::Answer(Response::text(429, "slow down").header("retry-after", "7")),
            "",
            "retry after 7 s",
        ),
        of("500", answer(500, "CUDA error"), "", "CUDA error"),
        of(
            "breaks",
            Fault::TruncateBody(200),
            "",
            "middle of the answer",
        ),
        of("closes", Fault::Close, "", "Not one of"),
        of(
            "stalls",
            Fault::Hang,
            "stall_timeout_s: 0.5",
            "nothing came for",
        ),
        of(
            "garbage",
            Fault::Garbage(b"\x00\x01 what?\r\n\r\n".to_vec()),
            "",
            "makes no sense",
        ),
        of(
            "never ends",
            Fault::SlowBody {
                piece: 1,
                pause: Duration::from_millis(20),
            },
            "request_timeout_s: 1",
            "not finished after",
        ),
        of(
            "says an error in the stream",
            Fault::Answer(
                Response::bytes(200, "data: {\"error\":{\"message\":\"out of blocks\"}}\n\n")
                    .header("content-type", "text/event-stream"),
            ),
            "",
            "out of blocks",
        ),
    ]
}

#[test]
fn each_trouble_ends_in_a_record_that_says_what_it_was() {
    for trouble in troubles() {
        let server = fake();
        server.script(Rule::new(trouble.fault).path("/v1/chat"));
        let bench = Bench::new();
        let out = lem(&bench, &asking(&server, trouble.server), &[]);
        let shown = result(&out, 1);
        let told = stderr(&out);
        assert!(told.contains(trouble.told), "{}: {told}", trouble.name);
        assert_eq!(shown["status"], "failed", "{}", trouble.name);
        let run = run_dir(&shown);
        assert!(
            timelines(&run).is_empty(),
            "{}: nothing was measured",
            trouble.name
        );
        let all = records(&run);
        let end = of_kind(&all, "run_finished").last().unwrap();
        assert!(
            end["reason"].as_str().unwrap().contains(trouble.told),
            "{}: {end}",
            trouble.name
        );
    }
}

#[test]
fn a_part_that_fails_is_told_and_the_rest_counts() {
    let server = fake();
    // Two in warm-up, then the first of the first cycle.
    let fault = Fault::TruncateBody(250);
    server.script(Rule::new(fault).path("/v1/chat").skip(2).times(1));
    let bench = Bench::new();
    let run = run_dir(&result(&lem(&bench, &asking(&server, ""), &[]), 0));
    let all = timelines(&run);
    let failed: Vec<&Value> = all.iter().filter(|t| t["finish"] == "error").collect();
    assert_eq!((all.len(), failed.len()), (8, 1));
    assert!(
        failed[0]["error"]
            .as_str()
            .unwrap()
            .contains("middle of the answer")
    );
    assert!(failed[0]["output_tokens"].as_u64().unwrap() < 6);
    let answered = metric(&run, "run.requests")["value"]["number"].as_f64();
    assert_eq!(answered, Some(7.0));
    assert_eq!(
        metric(&run, "tokens.output")["value"]["number"].as_f64(),
        Some(42.0)
    );
    assert!(warnings(&run).contains(&"requests.failed".to_owned()));
}

#[test]
fn a_server_that_is_not_there_or_says_no_is_told_before_anything_is_measured() {
    let bench = Bench::new();
    let server = fake();
    let url = server.url();
    server.go_down();
    let out = lem(&bench, &asking(&server, ""), &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        stderr(&out).contains(&url) && stderr(&out).contains("server.url"),
        "{}",
        stderr(&out)
    );

    server.come_up();
    server.script(Rule::new(Fault::Answer(Response::text(401, "key please"))).path("/v1/models"));
    let out = lem(&bench, &asking(&server, ""), &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        stderr(&out).contains("server.api_key_env"),
        "{}",
        stderr(&out)
    );
    server.clear_script();

    let out = lem(&bench, &asking(&server, "model: other"), &[]);
    assert!(
        stderr(&out).contains("no model other; it has fake-1"),
        "{}",
        stderr(&out)
    );
    let out = lem(
        &bench,
        &asking(&server, "api_key_env: NOT_SET_ANYWHERE"),
        &[],
    );
    assert!(
        stderr(&out).contains("NOT_SET_ANYWHERE"),
        "{}",
        stderr(&out)
    );
    assert!(bench.runs().is_empty());
}

#[test]
fn a_configuration_of_a_server_that_cannot_be_is_refused_with_all_reasons() {
    let bench = Bench::new();
    let config = "\
model_name: m
backend: openai
server:
  api_key_env: sk-hunter2-is-no-name
  args: [--api-key, hunter2]
  extra_body: { stream: false, messages: [] }
traffic: { mode: ramp, target_qps: 2 }
";
    let out = lem(&bench, config, &[]);
    assert_eq!(out.status.code(), Some(2));
    let told = stderr(&out);
    for part in [
        "server.url",
        "server.api_key_env",
        "server.args",
        "`stream`",
        "`messages`",
        "traffic.ramp_to_qps",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
}
