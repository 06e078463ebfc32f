//! How long a scrape takes, and what it costs the process that measures.
//!
//! ```text
//! cargo run --release -p lem-prometheus --example scrape [SCRAPES] [GPUS]
//! ```
//!
//! A run with every metric of the catalogue on eight GPUs is scraped 500 times while it
//! goes on and as often when its summary is there, over loopback, each time over a
//! connection of its own. Prints one JSON object: for each kind of page its bytes, the
//! median, the 99th percentile and the longest answer in ms, the processor time that
//! one took, and the ratio of the 99th percentile to the limit of 5 ms. `nothing` is a
//! page of one line: what this machine takes for any answer.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use lem_prometheus::scrape::{PrometheusConfig, PrometheusExporter};
use lem_record::catalogue::METRICS;
use lem_record::{
    Attributes, Board, Envelope, Exporter, Histogram, How, Interval, Kind, Metric, MetricDef,
    MetricValue, Record, RunContext, RunStarted, Stamp,
};
use serde_json::{Value, json};

const LIMIT_MS: f64 = 5.0;
const OPEN: &str = "application/openmetrics-text;version=1.0.0";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |or: usize| arguments.next().map_or(Ok(or), |text| text.parse());
    let (scrapes, gpus): (usize, usize) = (next(500)?, next(8)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    println!("{}", runtime.block_on(measure(scrapes.max(1), gpus))?);
    Ok(())
}

async fn measure(scrapes: usize, gpus: usize) -> Result<Value, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let board = Arc::new(Board::default());
    let started_at = Stamp::now();
    let started = Arc::new(started());
    let envelope = |n: u64, record: Record| Envelope {
        run: "benchmark".into(),
        n,
        at: started_at,
        record,
    };
    let first = envelope(0, Record::RunStarted(Box::new((*started).clone())));
    std::fs::write(folder.path().join("records.jsonl"), first.encode()? + "\n")?;
    let run = RunContext {
        run_id: "benchmark".into(),
        folder: folder.path().to_owned(),
        started,
        started_at,
        live: Some(Arc::clone(&board)),
    };
    let mut exporter = PrometheusExporter::new(PrometheusConfig {
        address: "127.0.0.1:0".into(),
        linger_s: Some(0.0),
        ..PrometheusConfig::default()
    })
    .map_err(|errors| format!("{errors:?}"))?;
    exporter.open(&run, &Value::Null).await?;
    let address = exporter.listens_at().ok_or("it does not listen")?;
    let live = |def: &&MetricDef| def.id.starts_with("sample.") || def.id.starts_with("live.");
    for def in METRICS.iter().filter(live) {
        for own in attributes(def, gpus) {
            board
                .series(def.id, &own, How::Measured)
                .set(123.456, started_at.mono_ns);
        }
    }
    let mut pages = BTreeMap::new();
    // what the machine takes for any answer at all
    pages.insert("nothing", ask(address, "/-/healthy", scrapes, "")?);
    pages.insert("live", ask(address, "/metrics", scrapes, "")?);

    let summary = METRICS.iter().filter(|def| !live(def));
    let records = summary.flat_map(|def| {
        let each = attributes(def, gpus);
        each.into_iter()
            .map(|own| metric(def, own, started_at.mono_ns))
    });
    let records: Vec<_> = (1..)
        .zip(records)
        .map(|(n, record)| Arc::new(envelope(n, record)))
        .collect();
    exporter.write(&records).await?;
    let receipt = exporter.finish(
        lem_record::RunStatus::Finished,
        std::time::Duration::from_secs(5),
    );
    receipt.await?;
    pages.insert("summary", ask(address, "/metrics", scrapes, "")?);
    pages.insert(
        "summary_open_metrics",
        ask(address, "/metrics", scrapes, &format!("Accept: {OPEN}\r\n"))?,
    );
    pages.insert(
        "summary_gzip",
        ask(address, "/metrics", scrapes, "Accept-Encoding: gzip\r\n")?,
    );
    // all of them
    let receipt = exporter.finish(
        lem_record::RunStatus::Finished,
        std::time::Duration::from_secs(5),
    );
    let receipt = receipt.await?;
    let cpu = receipt.details["cpu_seconds"]
        .as_f64()
        .ok_or("no processor time")?;
    Ok(json!({
        "scrapes_of_each": scrapes,
        "gpus": gpus,
        "limit_ms": LIMIT_MS,
        "pages": pages,
        "cpu_ms_a_scrape": cpu * 1e3 / (scrapes as f64 * pages.len() as f64),
    }))
}

fn ask(
    address: SocketAddr,
    path: &str,
    times: usize,
    headers: &str,
) -> Result<Value, Box<dyn Error>> {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    let mut took = Vec::with_capacity(times);
    let mut bytes = 0;
    for _ in 0..times {
        let start = Instant::now();
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err("the endpoint refuses".into());
        }
        bytes = answer.len();
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| {
        took.get(((took.len() - 1) as f64 * share) as usize)
            .copied()
    };
    let p99 = at(0.99).unwrap_or(f64::NAN);
    Ok(json!({
        "bytes": bytes,
        "median_ms": at(0.5),
        "p99_ms": p99,
        "longest_ms": at(1.0),
        "p99_over_limit": p99 / LIMIT_MS,
    }))
}

/// One a GPU where the metric is of a device.
fn attributes(def: &MetricDef, gpus: usize) -> Vec<Attributes> {
    let one = |gpu: usize| {
        let value = |name: &str| match name {
            "hw.id" => format!("gpu{gpu}"),
            "gen_ai.request.model" => "HuggingFaceTB/SmolLM2-135M-Instruct".into(),
            other => format!("a value of {other}"),
        };
        def.attributes
            .iter()
            .map(|name| ((*name).to_owned(), value(name)))
            .collect()
    };
    let devices = if def.attributes.contains(&"hw.id") {
        gpus
    } else {
        1
    };
    (0..devices).map(one).collect()
}

fn metric(def: &MetricDef, attributes: Attributes, t_ns: u64) -> Record {
    let bounds: Vec<f64> = (0..20).map(|n| 0.001 * 1.7_f64.powi(n)).collect();
    let value = match def.kind {
        Kind::Histogram => MetricValue::Histogram(Box::new(Histogram {
            counts: vec![17; bounds.len() + 1],
            bounds,
            count: 357,
            sum: 123.456,
            min: 0.1,
            max: 9.9,
            mean: 1.1,
            p50: 1.0,
            p90: 2.0,
            p99: 3.0,
        })),
        Kind::Gauge | Kind::Counter | Kind::UpDown => MetricValue::Number(123.456_789),
    };
    Record::Metric(Metric {
        id: def.id.into(),
        attributes,
        value,
        t_ns,
        cycle: None,
        how: How::Measured,
        uncertainty: None,
        interval: Some(Interval {
            low: 120.123,
            high: 126.789,
            level: 0.95,
        }),
        method: None,
    })
}

fn started() -> RunStarted {
    RunStarted {
        format: 1,
        producer: "lem 0.1.0".into(),
        name: "benchmark".into(),
        config: json!({"model_name": "HuggingFaceTB/SmolLM2-135M-Instruct", "backend": "candle"}),
        provenance: BTreeMap::new(),
        environment: Value::Null,
        tags: BTreeMap::new(),
        boot_id: None,
        pid: std::process::id(),
        sinks: BTreeMap::new(),
        varying: vec!["hw.id".into()],
        sources: Value::Null,
        model: Value::Null,
    }
}
