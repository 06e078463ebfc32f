//! Delivers metric points to an MLflow server and says what that cost this process.
//!
//! ```text
//! million URI [POINTS] [KEYS]
//! ```
//!
//! Points (1,000,000) of as many keys (10) go through the exporter as a run's samples
//! do; the points are made on the way, and their cost is in the numbers. Prints one
//! JSON object: points, wall and CPU seconds, peak memory.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lem_mlflow::{MlflowConfig, MlflowExporter};
use lem_record::{
    Column, Envelope, Exporter, How, Record, RunContext, RunStarted, RunStatus, Samples, Stamp,
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Of one record; ten of them are one batch.
const ROWS: usize = 200;
const RECORDS: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments
        .next()
        .ok_or("usage: million URI [POINTS] [KEYS]")?;
    let points: usize = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let keys: usize = arguments.next().map_or(Ok(10), |text| text.parse())?;
    // as on the delivery thread
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let measured = runtime.block_on(deliver(&uri, points, keys.max(1)))?;
    println!("{measured}");
    Ok(())
}

async fn deliver(uri: &str, points: usize, keys: usize) -> Result<Value, Box<dyn Error>> {
    let start = Stamp::now();
    let run_id = format!("million-{}-{}", std::process::id(), start.unix_ns);
    let started = Arc::new(started());
    let run = RunContext {
        run_id: run_id.clone(),
        folder: std::env::temp_dir(),
        started: Arc::clone(&started),
        started_at: start,
        live: None,
    };
    let config = MlflowConfig {
        tracking_uri: Some(uri.to_owned()),
        experiment_name: Some("million".to_owned()),
        log_system_metrics: false,
        ..MlflowConfig::default()
    };
    let mut exporter = MlflowExporter::new(config).map_err(|errors| format!("{errors:?}"))?;
    exporter.open(&run, &Value::Null).await?;

    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let (mut sent, mut accepted, mut n, mut row) = (0, 0, 0, 0);
    while sent < points {
        let mut batch = Vec::with_capacity(RECORDS);
        while batch.len() < RECORDS && sent < points {
            let rows = ROWS.min((points - sent).div_ceil(keys));
            batch.push(Arc::new(Envelope {
                run: run_id.clone(),
                n,
                at: start,
                record: Record::Samples(samples(start, row, rows, keys)),
            }));
            n += 1;
            row += rows;
            sent += rows * keys;
        }
        accepted += exporter.write(&batch).await?.accepted;
    }
    let receipt = exporter
        .finish(RunStatus::Finished, Duration::from_secs(60))
        .await?;
    Ok(json!({
        "points": sent,
        "accepted": accepted,
        "keys": keys,
        "wall_s": wall.elapsed().as_secs_f64(),
        "cpu_s": cpu_seconds() - cpu,
        "peak_rss_bytes": peak_bytes(),
        "run_id": receipt.details["run_id"],
    }))
}

fn started() -> RunStarted {
    RunStarted {
        format: 1,
        producer: "lem".to_owned(),
        name: "million".to_owned(),
        config: Value::Null,
        provenance: Default::default(),
        environment: Value::Null,
        tags: Default::default(),
        boot_id: None,
        pid: std::process::id(),
        sinks: Default::default(),
        varying: Vec::new(),
        sources: Value::Null,
        model: Value::Null,
    }
}

/// Power of as many GPUs, a row each millisecond.
fn samples(start: Stamp, first: usize, rows: usize, keys: usize) -> Samples {
    let times = (first..first + rows).map(|row| start.mono_ns + row as u64 * 1_000_000);
    let column = |gpu: usize| Column {
        metric: "sample.power".to_owned(),
        attributes: [("hw.id".to_owned(), format!("gpu{gpu}"))].into(),
        how: How::Measured,
        values: (first..first + rows)
            .map(|row| Some(100.0 + ((row * 7919 + gpu * 104_729) % 100_003) as f64 / 1000.0))
            .collect(),
    };
    Samples {
        source: "gpus".to_owned(),
        t_ns: times.collect(),
        columns: (0..keys).map(column).collect(),
    }
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
