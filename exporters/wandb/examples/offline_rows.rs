//! Writes history rows into an offline folder and says what that cost this process.
//!
//! ```text
//! offline_rows FOLDER [ROWS] [KEYS]
//! ```
//!
//! Rows (100,000) of as many metrics (10) go through the exporter as a run's samples
//! do; the values are made on the way, and their cost is in the numbers. Prints one
//! JSON object: rows, wall and CPU seconds, bytes written, peak memory.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lem_record::{
    Column, Envelope, Exporter, How, Record, RunContext, RunStarted, RunStatus, Samples, Stamp,
};
use lem_wandb::{Mode, WandbConfig, WandbExporter};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Of one record; ten of them are one batch.
const ROWS: usize = 200;
const RECORDS: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: offline_rows FOLDER [ROWS] [KEYS]";
    let folder = arguments.next().ok_or(usage)?;
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse());
    let (rows, keys): (usize, usize) = (number(100_000)?, number(10)?);
    // as on the delivery thread
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let measured = runtime.block_on(write(folder.as_ref(), rows, keys.max(1)))?;
    println!("{measured}");
    Ok(())
}

async fn write(folder: &Path, rows: usize, keys: usize) -> Result<Value, Box<dyn Error>> {
    let start = Stamp::now();
    let run_id = format!("rows-{}", std::process::id());
    let started = RunStarted {
        format: 1,
        producer: "lem".to_owned(),
        name: "rows".to_owned(),
        config: Value::Null,
        provenance: Default::default(),
        environment: Value::Null,
        tags: Default::default(),
        boot_id: None,
        pid: std::process::id(),
        sinks: Default::default(),
        varying: vec!["hw.id".to_owned()],
        sources: Value::Null,
        model: Value::Null,
    };
    let run = RunContext {
        run_id: run_id.clone(),
        folder: folder.to_owned(),
        started: Arc::new(started.clone()),
        started_at: start,
        live: None,
    };
    let mut exporter = WandbExporter::new(WandbConfig {
        mode: Some(Mode::Offline),
        dir: Some(folder.to_owned()),
        // what the official client is given has one list of metrics
        system_metrics: false,
        ..WandbConfig::default()
    })
    .map_err(|errors| format!("{errors:?}"))?;
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    exporter.open(&run, &Value::Null).await?;
    let record = |n, record| {
        let run = run_id.clone();
        Arc::new(Envelope {
            run,
            n,
            at: start,
            record,
        })
    };
    let mut batch = vec![record(0, Record::RunStarted(Box::new(started)))];
    let (mut n, mut row, mut accepted) = (1, 0, 0);
    while row < rows {
        while batch.len() < RECORDS && row < rows {
            let many = ROWS.min(rows - row);
            batch.push(record(n, Record::Samples(samples(start, row, many, keys))));
            n += 1;
            row += many;
        }
        accepted += exporter.write(&batch).await?.accepted;
        batch.clear();
    }
    let receipt = exporter
        .finish(RunStatus::Finished, Duration::from_secs(60))
        .await?;
    let place = receipt.look_at.ok_or("there is no folder")?;
    let data = Path::new(&place).join(format!("run-{run_id}.wandb"));
    Ok(json!({
        "rows": row,
        "accepted": accepted,
        "keys": keys,
        "wall_s": wall.elapsed().as_secs_f64(),
        "cpu_s": cpu_seconds() - cpu,
        "file_bytes": data.metadata()?.len(),
        "peak_rss_bytes": peak_bytes(),
        "folder": place,
    }))
}

/// Power of as many GPUs, a row each millisecond. `scripts/bench.py` makes the same.
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
