//! The hub's client against a scripted hub: what is fetched, what is sent where, and
//! what is said when it goes wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lem::config::Config;
use lem::model::{ModelFormat, Options, Patience, Progress, Silent, resolve};
use lem_record::Secret;
use lem_testkit::{FakeServer, Fault, Request, Response, Rule};
use serde_json::json;
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_verysecret";

type Files = BTreeMap<String, Vec<u8>>;

/// A hub with one repository, and the other host that it sends for large files.
struct Hub {
    server: FakeServer,
    cdn: FakeServer,
    folder: tempfile::TempDir,
}

/// Files above this are large: named by SHA-256 and served elsewhere.
const LARGE: usize = 1000;

impl Hub {
    fn new(files: &[(&str, &[u8])]) -> Self {
        Self::with_card(files, json!(null))
    }

    fn with_card(files: &[(&str, &[u8])], card: serde_json::Value) -> Self {
        let owned = |(name, bytes): &(&str, &[u8])| ((*name).to_owned(), bytes.to_vec());
        let files: Arc<Files> = Arc::new(files.iter().map(owned).collect());
        let blobs = Arc::clone(&files);
        let cdn = FakeServer::start(move |request| {
            let wanted = request.path.trim_start_matches('/');
            match blobs.values().find(|bytes| sha(bytes) == wanted) {
                Some(bytes) => body(request, bytes),
                None => Response::new(404),
            }
        });
        let elsewhere = cdn.url();
        let server = FakeServer::start(move |request| answer(request, &files, &card, &elsewhere));
        Self {
            server,
            cdn,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn options(&self) -> Options {
        let mut options = Options::from(|name| match name {
            "HF_ENDPOINT" => Some(self.server.url()),
            "HF_HOME" => Some(self.at("hf").display().to_string()),
            "LEM_CACHE" => Some(self.at("lem").display().to_string()),
            _ => None,
        });
        options.hub.token = Some(Secret::new(TOKEN));
        options.hub.patience = Patience {
            tries: 3,
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(1500),
            silence: Duration::from_secs(10),
        };
        options
    }

    fn offline(&self) -> Options {
        let mut options = self.options();
        options.hub.offline = true;
        options
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn repo(&self, path: &str) -> PathBuf {
        self.at("hf/hub/models--org--m").join(path)
    }

    fn resolve(&self, name: &str) -> Result<ModelFormat, String> {
        let files =
            resolve(name, &self.options(), &mut Silent).map_err(|error| error.to_string())?;
        Ok(files.format)
    }

    fn refused(&self, name: &str) -> String {
        let error = self.resolve(name).unwrap_err();
        assert!(!error.contains(TOKEN), "{error}");
        error
    }

    fn gets(&self) -> usize {
        self.server
            .requests()
            .iter()
            .filter(|request| request.method == "GET")
            .count()
            + self.cdn.request_count()
    }
}

fn sha(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn answer(request: &Request, files: &Files, card: &serde_json::Value, cdn: &str) -> Response {
    let path = request.decoded_path();
    if path.starts_with("/api/") {
        let known = path.ends_with("/org/m/revision/main")
            || path.ends_with(&format!("/revision/{COMMIT}"));
        if !known {
            return Response::new(404).header("x-error-code", "RevisionNotFound");
        }
        let siblings: Vec<_> = files
            .keys()
            .map(|name| json!({"rfilename": name}))
            .collect();
        return Response::json(
            200,
            &json!({"sha": COMMIT, "siblings": siblings, "cardData": card}),
        );
    }
    let Some((_, rest)) = path.split_once("/resolve/") else {
        return Response::new(404);
    };
    let Some(("main" | COMMIT, name)) = rest.split_once('/') else {
        return Response::new(404).header("x-error-code", "RevisionNotFound");
    };
    let Some(bytes) = files.get(name) else {
        return Response::new(404).header("x-error-code", "EntryNotFound");
    };
    if bytes.len() > LARGE {
        return Response::new(302)
            .header("location", format!("{cdn}/{}", sha(bytes)))
            .header("x-repo-commit", COMMIT)
            .header("x-linked-etag", format!("\"{}\"", sha(bytes)))
            .header("x-linked-size", bytes.len().to_string());
    }
    // a Git hash has 40 digits
    let etag = sha(bytes)[..40].to_owned();
    body(request, bytes)
        .header("x-repo-commit", COMMIT)
        .header("etag", format!("W/\"{etag}\""))
}

fn body(request: &Request, bytes: &[u8]) -> Response {
    let from = request.header("range").and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });
    match from {
        None => Response::bytes(200, bytes),
        Some(from) if from >= bytes.len() => Response::new(416),
        Some(from) => Response::bytes(206, &bytes[from..]).header(
            "content-range",
            format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()),
        ),
    }
}

fn gguf() -> Vec<u8> {
    (0..50_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect()
}

fn one_gguf() -> (Hub, Vec<u8>) {
    let bytes = gguf();
    (
        Hub::new(&[("README.md", b"# m"), ("m.Q4.gguf", &bytes)]),
        bytes,
    )
}

fn read(format: &ModelFormat) -> Vec<u8> {
    match format {
        ModelFormat::Gguf(path) => fs::read(path).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[derive(Default)]
struct Told {
    messages: Vec<String>,
    total: Option<u64>,
    done: u64,
}

impl Progress for Told {
    fn total(&mut self, bytes: Option<u64>) {
        self.total = bytes;
        self.done = 0;
    }
    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
    }
    fn message(&mut self, text: &str) {
        self.messages.push(text.to_owned());
    }
}

#[test]
fn a_fresh_download_lies_as_the_hub_s_own_tools_expect_it() {
    let (hub, bytes) = one_gguf();
    let mut told = Told::default();
    let files = resolve("org/m", &hub.options(), &mut told).unwrap();
    assert_eq!(read(&files.format), bytes);
    assert_eq!(files.source, format!("hf:org/m@{COMMIT}"));
    assert_eq!(files.sha256, Some(sha(&bytes)));
    assert_eq!(
        (told.total, told.done),
        (Some(bytes.len() as u64), bytes.len() as u64)
    );

    assert_eq!(fs::read_to_string(hub.repo("refs/main")).unwrap(), COMMIT);
    let link = fs::read_link(hub.repo(&format!("snapshots/{COMMIT}/m.Q4.gguf"))).unwrap();
    assert_eq!(link, Path::new(&format!("../../blobs/{}", sha(&bytes))));
    let blobs: Vec<_> = fs::read_dir(hub.repo("blobs")).unwrap().collect();
    assert_eq!(
        blobs.len(),
        1,
        "nothing incomplete is left, and no file that is not needed"
    );

    // again: the hub is asked what main is, and nothing is fetched
    hub.server.clear_requests();
    hub.cdn.clear_requests();
    hub.resolve("org/m").unwrap();
    assert_eq!(hub.gets(), 1);
    // a commit never changes: nobody is asked
    hub.server.clear_requests();
    hub.resolve(&format!("hf:org/m@{COMMIT}#m.Q4.gguf"))
        .unwrap();
    assert_eq!(hub.gets(), 0);
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let (hub, _) = one_gguf();
    hub.resolve("org/m").unwrap();
    let bearer = format!("Bearer {TOKEN}");
    for request in hub.server.requests() {
        assert_eq!(
            request.header("authorization"),
            Some(bearer.as_str()),
            "{request:?}"
        );
    }
    let elsewhere = hub.cdn.requests();
    assert_eq!(elsewhere.len(), 1);
    assert_eq!(elsewhere[0].header("authorization"), None);
    let shown = format!("{:?}", hub.options());
    assert!(!shown.contains(TOKEN));
}

#[test]
fn a_token_may_lie_in_a_file() {
    let (hub, _) = one_gguf();
    fs::create_dir_all(hub.at("hf")).unwrap();
    fs::write(hub.at("hf/token"), "hf_fromfile\n").unwrap();
    let mut options = hub.options();
    options.hub.token = None;
    resolve("org/m", &options, &mut Silent).unwrap();
    assert_eq!(
        hub.server.requests()[0].header("authorization"),
        Some("Bearer hf_fromfile")
    );
}

#[test]
fn what_broke_off_goes_on_where_it_was() {
    let (hub, bytes) = one_gguf();
    hub.cdn
        .script(Rule::new(Fault::TruncateBody(30_000)).times(1));
    assert_eq!(read(&hub.resolve("org/m").unwrap()), bytes);
    let ranges: Vec<_> = hub
        .cdn
        .requests()
        .iter()
        .map(|request| request.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, [None, Some("bytes=30000-".to_owned())]);
}

#[test]
fn another_run_goes_on_where_a_dead_one_was() {
    let (hub, bytes) = one_gguf();
    hub.cdn
        .script(Rule::new(Fault::TruncateBody(30_000)).times(1));
    hub.cdn.script(Rule::new(Fault::Close));
    let error = hub.refused("org/m");
    assert!(error.contains("HTTPS_PROXY"), "{error}");
    let incomplete = hub.repo(&format!("blobs/{}.incomplete", sha(&bytes)));
    assert_eq!(fs::metadata(&incomplete).unwrap().len(), 30_000);

    hub.cdn.clear_script();
    hub.cdn.clear_requests();
    assert_eq!(read(&hub.resolve("org/m").unwrap()), bytes);
    assert_eq!(hub.cdn.requests()[0].header("range"), Some("bytes=30000-"));
    assert!(!incomplete.exists());
}

#[test]
fn a_server_that_cannot_resume_is_asked_for_everything() {
    let (hub, bytes) = one_gguf();
    let incomplete = hub.repo(&format!("blobs/{}.incomplete", sha(&bytes)));
    fs::create_dir_all(incomplete.parent().unwrap()).unwrap();
    for (left, fault) in [
        (&bytes[..100], Some(Response::bytes(200, bytes.clone()))),
        // what another program left: more than the whole, or rubbish of which only the hash tells
        (&[0; 300_000][..], None),
    ] {
        fs::write(&incomplete, left).unwrap();
        hub.cdn.clear_script();
        if let Some(answer) = fault {
            hub.cdn.script(Rule::new(Fault::Answer(answer)).times(1));
        }
        assert_eq!(read(&hub.resolve("org/m").unwrap()), bytes);
        fs::remove_file(hub.repo(&format!("blobs/{}", sha(&bytes)))).unwrap();
    }
}

#[test]
fn altered_bytes_are_refused_and_not_kept() {
    let (hub, bytes) = one_gguf();
    let mut wrong = bytes.clone();
    wrong[77] ^= 1;
    hub.cdn
        .script(Rule::new(Fault::Answer(Response::bytes(200, wrong.clone()))).times(1));
    let error = hub.refused("org/m");
    assert!(
        error.contains(&sha(&bytes)) && error.contains(&sha(&wrong)),
        "{error}"
    );
    assert!(!hub.repo(&format!("snapshots/{COMMIT}/m.Q4.gguf")).exists());
    assert_eq!(fs::read_dir(hub.repo("blobs")).unwrap().count(), 0);
    assert_eq!(
        read(&hub.resolve("org/m").unwrap()),
        bytes,
        "the next run fetches it anew"
    );
}

#[test]
fn a_size_that_is_not_as_announced_is_refused() {
    let (hub, bytes) = one_gguf();
    let long = [bytes.as_slice(), b"more"].concat();
    hub.cdn
        .script(Rule::new(Fault::Answer(Response::bytes(200, long))));
    assert!(hub.refused("org/m").contains("more than the 200000 bytes"));
    hub.cdn.clear_script();
    hub.cdn.script(Rule::new(Fault::Answer(Response::bytes(
        200,
        &bytes[..100],
    ))));
    assert!(
        hub.refused("org/m")
            .contains("broke off at 100 of 200000 bytes")
    );
}

#[test]
fn offline_only_the_cache_is_read() {
    let (hub, bytes) = one_gguf();
    let error = resolve("org/m", &hub.offline(), &mut Silent)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("HF_HUB_OFFLINE") && error.contains("not in the cache"),
        "{error}"
    );
    assert_eq!(hub.server.request_count(), 0);

    hub.resolve("org/m").unwrap();
    hub.server.clear_requests();
    let files = resolve("org/m", &hub.offline(), &mut Silent).unwrap();
    assert_eq!(read(&files.format), bytes);
    assert_eq!(files.source, format!("hf:org/m@{COMMIT}"));
    assert_eq!(hub.server.request_count(), 0);

    // a cache that only the hub's own tools have filled, without lem's memory of listings
    fs::remove_dir_all(hub.at("lem")).unwrap();
    assert_eq!(
        read(
            &resolve("org/m", &hub.offline(), &mut Silent)
                .unwrap()
                .format
        ),
        bytes
    );
}

#[test]
fn a_hub_that_is_down_does_not_matter_once_all_is_here() {
    let (hub, bytes) = one_gguf();
    hub.resolve("org/m").unwrap();
    hub.server.go_down();
    let mut told = Told::default();
    let files = resolve("org/m", &hub.options(), &mut told).unwrap();
    assert_eq!(read(&files.format), bytes);
    assert!(
        told.messages
            .iter()
            .any(|message| message.contains("using what is in the cache"))
    );
    assert!(hub.refused("org/other").contains("could not be asked"));
}

#[test]
fn no_access_is_explained() {
    let (hub, _) = one_gguf();
    let says = |response: Response| {
        hub.server.clear_script();
        hub.server.script(Rule::new(Fault::Answer(response)));
        hub.refused("org/m")
    };
    let gated = says(Response::new(403).header("x-error-code", "GatedRepo"));
    assert!(
        gated.contains("gated") && gated.contains("HF_TOKEN"),
        "{gated}"
    );
    let refused = says(Response::new(401).header("x-error-code", "RepoNotFound"));
    assert!(
        refused.contains("token") && refused.contains("HF_TOKEN"),
        "{refused}"
    );
    let missing = says(Response::new(404).header("x-error-code", "RepoNotFound"));
    assert!(
        missing.contains("does not have the model org/m"),
        "{missing}"
    );
    let echo = Response::new(400).header("x-error-message", "bad things happened");
    assert!(says(echo).contains("bad things happened"));

    let mut options = hub.options();
    options.hub.token = None;
    hub.server.clear_script();
    hub.server
        .script(Rule::new(Fault::Answer(Response::new(401))));
    let error = resolve("org/m", &options, &mut Silent)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("private or gated") && error.contains("HF_TOKEN"),
        "{error}"
    );
    hub.server.clear_script();
    assert!(hub.refused("org/m@nosuch").contains("revision"));
    assert!(hub.refused("org/m#nosuch.gguf").contains("m.Q4.gguf"));
}

#[test]
fn a_busy_hub_is_asked_again_when_it_says() {
    let (hub, bytes) = one_gguf();
    let busy = Response::new(429).header("retry-after", "1");
    hub.server.script(Rule::new(Fault::Answer(busy)).times(1));
    hub.server
        .script(Rule::new(Fault::Answer(Response::new(503))).times(1));
    let start = Instant::now();
    assert_eq!(read(&hub.resolve("org/m").unwrap()), bytes);
    assert!(start.elapsed() >= Duration::from_secs(1));

    let later = Response::new(429).header("retry-after", "3000");
    hub.server.script(Rule::new(Fault::Answer(later)));
    let error = hub.refused("org/m");
    assert!(error.contains("429") && error.contains("3000 s"), "{error}");
}

#[test]
fn what_no_hub_would_answer_is_an_error() {
    let (hub, bytes) = one_gguf();
    let says = |path: &str, response: Response| {
        hub.server.clear_script();
        hub.server
            .script(Rule::new(Fault::Answer(response)).path(path));
        hub.refused("org/m")
    };
    assert!(says("/api/", Response::text(200, "<html>")).contains("no such answer"));
    assert!(
        says("/api/", Response::json(200, &json!({"sha": "../../x"}))).contains("without a commit")
    );
    let loops = Response::new(302).header("location", "/api/models/org/m/revision/main");
    assert!(says("/api/", loops).contains("in a circle"));
    let away = Response::new(302).header("location", "file:///etc/passwd");
    assert!(says("/api/", away).contains("not safe"));
    let etag = Response::bytes(200, "x").header("etag", "\"../../../x\"");
    assert!(says("/resolve/", etag).contains("name no file"));
    assert!(says("/resolve/", Response::bytes(200, "x")).contains("no etag"));
    let other = Response::bytes(200, "x")
        .header("etag", "\"a\"")
        .header("x-repo-commit", "b");
    assert!(says("/resolve/", other).contains("another commit"));
    hub.server.clear_script();
    hub.server.script(Rule::new(Fault::Garbage(
        b"\0\x01nonsense\r\n\r\n".to_vec(),
    )));
    assert!(hub.refused("org/m").contains("could not be asked"));
    hub.server.clear_script();
    assert_eq!(read(&hub.resolve("org/m").unwrap()), bytes);
}

#[test]
fn files_of_a_listing_cannot_lead_out_of_the_cache() {
    let hub = Hub::new(&[("../../../evil.gguf", b"GGUF"), ("/abs.gguf", b"GGUF")]);
    assert!(hub.refused("org/m").contains("holds no model"));
    assert!(!hub.at("evil.gguf").exists());
}

#[test]
fn two_at_once_fetch_once() {
    let (hub, bytes) = one_gguf();
    hub.cdn.script(Rule::new(Fault::SlowBody {
        piece: 20_000,
        pause: Duration::from_millis(20),
    }));
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| read(&hub.resolve("org/m").unwrap())))
            .collect();
        for run in runs {
            assert_eq!(run.join().unwrap(), bytes);
        }
    });
    assert_eq!(hub.cdn.request_count(), 1);
}

#[test]
fn a_model_in_shards_is_fetched_whole_and_nothing_else() {
    let index = json!({"weight_map": {"a": "m-00002-of-00002.safetensors", "b": "m-00001-of-00002.safetensors"}});
    let hub = Hub::new(&[
        ("README.md", b"# m"),
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("generation_config.json", b"{}"),
        ("pytorch_model.bin", b"pickle"),
        ("model.safetensors.index.json", index.to_string().as_bytes()),
        ("m-00001-of-00002.safetensors", &[1; 2000]),
        ("m-00002-of-00002.safetensors", &[2; 2000]),
    ]);
    let files = resolve("org/m", &hub.options(), &mut Silent).unwrap();
    assert_eq!(files.sha256, None, "of two files there is no one hash");
    let ModelFormat::Safetensors {
        config,
        weights,
        tokenizer,
        tokenizer_config,
        generation_config,
    } = files.format
    else {
        panic!("no safetensors")
    };
    assert!(config.ends_with("config.json") && tokenizer.is_some() && generation_config.is_some());
    assert_eq!(tokenizer_config, None);
    let first: Vec<u8> = weights
        .iter()
        .map(|path| fs::read(path).unwrap()[0])
        .collect();
    assert_eq!(first, [1, 2]);
    assert!(
        !hub.server
            .requests()
            .iter()
            .any(|request| request.path.contains("pytorch"))
    );

    let mut pinned = hub.options();
    pinned.sha256 = Some("0".repeat(64));
    let error = resolve("org/m", &pinned, &mut Silent)
        .unwrap_err()
        .to_string();
    assert!(error.contains("2 files"), "{error}");
}

fn dataset(hub: &Hub, more: serde_json::Value, options: &Options) -> Result<String, String> {
    let mut config = json!({"prompts": {"type": "huggingface", "dataset": "org/m"}});
    for (key, value) in more.as_object().unwrap() {
        config["prompts"][key] = value.clone();
    }
    config["num_input_prompts"] = json!(2);
    let config: Config = serde_json::from_value(config).unwrap();
    let _ = hub;
    let gathered = lem::workload::gather(&config, options, &mut Silent);
    gathered
        .map(|gathered| format!("{gathered:?}"))
        .map_err(|error| error.to_string())
}

#[test]
fn of_a_dataset_only_the_files_that_are_needed_are_fetched() {
    let shard = |from: u32| {
        let rows = (from..from + 3).map(|n| format!("{{\"text\": \"SECRET{n}\"}}\n"));
        rows.collect::<String>()
    };
    let (one, two) = (shard(0), shard(3));
    let hub = Hub::new(&[
        ("README.md", b"# d"),
        ("data/train-00000-of-00002.jsonl", one.as_bytes()),
        ("data/train-00001-of-00002.jsonl", two.as_bytes()),
        ("data/test-00000-of-00001.jsonl", b"{}"),
    ]);
    let got = dataset(&hub, json!({}), &hub.options()).unwrap();
    assert!(
        got.contains("2 texts") && got.contains(COMMIT) && !got.contains("SECRET"),
        "{got}"
    );
    let fetched = |part: &str| {
        hub.server
            .requests()
            .iter()
            .any(|request| request.path.contains(part))
    };
    assert!(
        fetched("/datasets/org/m/resolve/") && fetched("train-00000") && !fetched("train-00001")
    );
    assert!(hub.at("hf/hub/datasets--org--m/refs/main").exists());

    // offline, what was not fetched is missed, and not mistaken for not there
    dataset(&hub, json!({}), &hub.offline()).unwrap();
    let error = dataset(&hub, json!({"shuffle": true}), &hub.offline()).unwrap_err();
    assert!(
        error.contains("train-00001-of-00002.jsonl") && error.contains("OFFLINE"),
        "{error}"
    );
    assert!(
        dataset(&hub, json!({"shuffle": true}), &hub.options())
            .unwrap()
            .contains("2 texts")
    );
    assert!(fetched("train-00001"));

    let error = dataset(&hub, json!({"split": "dev"}), &hub.options()).unwrap_err();
    assert!(error.contains("among test, train"), "{error}");
    let error = dataset(&hub, json!({"split": "test"}), &hub.options()).unwrap_err();
    assert!(
        error.contains("line 1") && error.contains("none of prompt"),
        "{error}"
    );
}

#[test]
fn a_dataset_of_another_format_is_read_in_the_hub_s_conversion() {
    let hub = Hub::new(&[("data.csv", b"a,b")]);
    let converted = parquet_file(&["one", "two"]);
    let etag = sha(&converted);
    let listing = json!({"sha": COMMIT.replace('0', "f"), "siblings": [{"rfilename": "default/train/0000.parquet"}]});
    hub.server.script(
        Rule::new(Fault::Answer(Response::json(200, &listing))).matching(|request| {
            request
                .decoded_path()
                .ends_with("/revision/refs/convert/parquet")
        }),
    );
    let file = Response::bytes(200, converted).header("etag", format!("\"{etag}\""));
    hub.server
        .script(Rule::new(Fault::Answer(file)).path("0000.parquet"));
    assert!(
        dataset(&hub, json!({}), &hub.options())
            .unwrap()
            .contains("2 texts")
    );
    // the slashes of a revision are part of its name
    assert!(
        hub.server
            .requests()
            .iter()
            .any(|request| request.path.ends_with("refs%2Fconvert%2Fparquet"))
    );
    assert!(
        hub.at("hf/hub/datasets--org--m/refs/refs/convert/parquet")
            .is_file()
    );

    hub.server.clear_script();
    let other = dataset(&hub, json!({"revision": COMMIT}), &hub.options()).unwrap_err();
    assert!(other.contains("no Parquet or JSONL"), "{other}");
}

fn parquet_file(texts: &[&str]) -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::writer::SerializedFileWriter;
    let schema = "message schema { required binary text (UTF8); }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
    let mut rows = writer.next_row_group().unwrap();
    let mut column = rows.next_column().unwrap().unwrap();
    let values: Vec<ByteArray> = texts.iter().map(|&text| text.into()).collect();
    column
        .typed::<ByteArrayType>()
        .write_batch(&values, None, None)
        .unwrap();
    column.close().unwrap();
    rows.close().unwrap();
    writer.into_inner().unwrap()
}

/// Both directions, with the hub's own client: each finds what the other fetched.
#[test]
fn the_cache_is_shared_with_the_hub_s_own_client() {
    let Ok(python) = std::env::var("LEM_TEST_HF_PYTHON") else {
        eprintln!("skipped: LEM_TEST_HF_PYTHON does not name a Python that has huggingface_hub");
        return;
    };
    let (hub, bytes) = one_gguf();
    let theirs = |home: &Path, offline: bool| {
        let script = "from huggingface_hub import hf_hub_download\n\
                      for name in ['README.md', 'm.Q4.gguf']: print(hf_hub_download('org/m', name))";
        let mut command = std::process::Command::new(&python);
        command
            .args(["-c", script])
            .env("HF_HOME", home)
            .env("HF_ENDPOINT", hub.server.url());
        command
            .env("HF_HUB_OFFLINE", if offline { "1" } else { "0" })
            .env_remove("HF_TOKEN");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
            said,
        )
    };
    let ours = |home: &Path, offline: bool| {
        let mut options = hub.options();
        options.hub.cache = Some(home.join("hub"));
        options.hub.offline = offline;
        options.cache = None;
        resolve("org/m", &options, &mut Silent).map(|files| files.format)
    };

    let home = hub.at("theirs");
    let (done, paths, said) = theirs(&home, false);
    assert!(done, "{said}");
    let format = ours(&home, true).unwrap();
    assert_eq!(read(&format), bytes);
    let ModelFormat::Gguf(path) = &format else {
        panic!("no GGUF")
    };
    assert_eq!(paths.lines().last(), path.to_str());

    let home = hub.at("ours");
    let format = ours(&home, false).unwrap();
    let (done, _, said) = theirs(&home, true);
    assert!(
        !done && said.contains("README.md"),
        "it looked and missed what we did not fetch: {said}"
    );
    let client = hub.options();
    let mut client = Options {
        cache: None,
        ..client
    };
    client.hub.cache = Some(home.join("hub"));
    let client = lem::model::hub::HubClient::new(&client).unwrap();
    let repo = lem::model::hub::Repo {
        kind: lem::model::hub::RepoKind::Model,
        name: lem::model::RepoName::parse("org/m").unwrap(),
    };
    client
        .file(&repo, COMMIT, "README.md", &mut Silent)
        .unwrap();
    let (done, paths, said) = theirs(&home, true);
    assert!(done, "{said}");
    let ModelFormat::Gguf(path) = &format else {
        panic!("no GGUF")
    };
    assert_eq!(paths.lines().last(), path.to_str());
}
