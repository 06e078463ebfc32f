//! Peaks of memory, and how many samples there were.

use lem_record::How;

use super::data::{CycleData, RunData};
use super::sheet::{Reading, Sheet};

/// Fills in a cycle's peaks.
pub fn put(data: &RunData, cycle: &CycleData, sheet: &mut Sheet) {
    let window = cycle.window;
    let mut taken = 0;
    let mut process: Option<f64> = None;
    let mut gpus = 0;
    for (source, samples) in &data.samples {
        let rows = samples.rows(window.start_ns, window.end_ns);
        taken += rows.len();
        let highest = |metric: &str| {
            let values = samples.column(metric)?.values.get(rows.clone())?;
            values
                .iter()
                .copied()
                .filter(|v| v.is_finite())
                .reduce(f64::max)
        };
        if let Some(bytes) = highest("sample.process_memory") {
            process = Some(process.map_or(bytes, |p| p.max(bytes)));
        }
        if let Some(bytes) = highest("sample.gpu_memory_used") {
            gpus += 1;
            let reading = Reading::new(bytes, How::Measured).method("highest of the samples");
            sheet.peak("memory.gpu_peak", Ok(reading));
            sheet.with("hw.id", source);
        }
    }
    if gpus == 0 {
        sheet.peak("memory.gpu_peak", Err("no GPU's memory was sampled".into()));
    }
    let reading = process.map(|bytes| {
        Reading::new(bytes, How::Measured).method("highest of the samples of resident memory")
    });
    let reading = if super::served::is(data) {
        // What was sampled is this process: the client.
        Err("the model is in the server's process, which was not watched".into())
    } else {
        reading.ok_or_else(|| "the engine's process was not sampled".into())
    };
    sheet.peak("memory.process_peak", reading);
    sheet.count("sampling.samples", taken as f64);
    sheet.with("lem.status", "ok");
}
