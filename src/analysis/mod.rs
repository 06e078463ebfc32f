//! Pure functions from records to results: no I/O, no clock.
//!
//! [`RunData`] is what the log says; [`analyse`] computes a sheet of numbers for each cycle
//! and folds the complete ones into one for the run; [`records`] puts them into the log's
//! own words. The same log gives the same numbers, whoever analyses it and when.

mod baseline;
mod carbon;
mod data;
mod energy;
mod estimate;
mod flops;
mod integrate;
mod latency;
mod memory;
mod metrics_table;
mod peaks;
mod phases;
mod records;
mod samples;
mod sensors;
mod sheet;
mod statistics;
#[cfg(test)]
pub(crate) mod testing;
mod throughput;
mod uncertainty;
mod warnings;

#[cfg(test)]
mod tests;

use lem_record::{How, Warning};

pub use carbon::{WORLD_2019, country as carbon_country};
pub use data::{BaselineWindow, CycleData, RequestData, RunData, RunDataBuilder, Window};
pub use integrate::EnergyCurve;
pub use latency::RequestLatency;
pub use phases::{PhaseWindows, UPDATES_TO_RESOLVE};
pub use records::records;
pub use samples::{ColumnSamples, SourceSamples};
pub use sensors::{Boundary, Curve, Sensor};
pub use sheet::{Distribution, Entry, Fold, Reading, Sheet, as_quantity};
pub use throughput::Counts;
pub use uncertainty::Budget;
pub use warnings::CODES;

use baseline::Baselines;
use energy::Context;
use sheet::fold;

/// Of the formulas: it rises when the same log would give other numbers.
pub const VERSION: u32 = 1;

/// What one cycle gave.
#[derive(Clone, Debug)]
pub struct CycleAnalysis {
    pub index: u32,
    pub window: Window,
    /// False where the run ended within it: shown, but not counted.
    pub complete: bool,
    pub counts: Counts,
    pub sheet: Sheet,
}

impl CycleAnalysis {
    pub fn seconds(&self) -> f64 {
        self.window.seconds()
    }
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Analysis {
    pub version: u32,
    pub cycles: Vec<CycleAnalysis>,
    /// Folded from the complete cycles.
    pub run: Sheet,
    /// What the total energy is the sum of.
    pub boundary: Boundary,
    pub sensors: Vec<Sensor>,
    /// Those of the measurement and those of the analysis.
    pub warnings: Vec<Warning>,
}

impl Analysis {
    pub fn complete(&self) -> impl Iterator<Item = &CycleAnalysis> {
        self.cycles.iter().filter(|cycle| cycle.complete)
    }
}

/// Computes everything that the log allows; what it does not is absent with a reason.
pub fn analyse(data: &RunData) -> Analysis {
    let sensors = sensors::sensors(data);
    let boundary = sensors::boundary(&sensors);
    let baselines = Baselines::of(data, &sensors);
    let context = Context {
        data,
        sensors: &sensors,
        boundary: &boundary,
        baselines: &baselines,
    };
    let cycles: Vec<CycleAnalysis> = data
        .cycles
        .iter()
        .map(|cycle| one(&context, cycle))
        .collect();
    let mut run = {
        let sheets: Vec<&Sheet> = cycles
            .iter()
            .filter(|c| c.complete)
            .map(|c| &c.sheet)
            .collect();
        if sheets.is_empty() {
            nothing()
        } else {
            fold(&sheets)
        }
    };
    put_run(&context, &cycles, &mut run);
    let mut analysis = Analysis {
        version: VERSION,
        cycles,
        run,
        boundary,
        sensors,
        warnings: Vec::new(),
    };
    let own = warnings::of(data, &analysis.sensors, &baselines, &analysis);
    let before = data
        .warnings
        .iter()
        .filter(|w| !CODES.contains(&w.code.as_str()));
    for warning in before.cloned().chain(own) {
        if !analysis.warnings.contains(&warning) {
            analysis.warnings.push(warning);
        }
    }
    analysis
}

fn one(context: &Context<'_>, cycle: &CycleData) -> CycleAnalysis {
    let mut sheet = Sheet::default();
    let counts = Counts::of(cycle);
    let windows = PhaseWindows::of(cycle);
    throughput::put(cycle, &counts, &windows, &mut sheet);
    energy::put(context, cycle, &windows, &mut sheet);
    throughput::put_efficiency(cycle, &counts, &mut sheet);
    latency::put(context.data, cycle, &mut sheet);
    flops::put(context.data, cycle, &mut sheet);
    carbon::put(context.data, cycle, counts.output_tokens, &mut sheet);
    memory::put(context.data, cycle, &mut sheet);
    CycleAnalysis {
        index: cycle.index,
        window: cycle.window,
        complete: cycle.complete,
        counts,
        sheet,
    }
}

/// The sheet of a run without a finished cycle: everything absent, with the reason.
fn nothing() -> Sheet {
    let mut sheet = Sheet::default();
    let why = "no cycle was finished";
    for def in lem_record::catalogue::METRICS {
        let of_cycles = [
            "time.",
            "energy.",
            "power.",
            "throughput.",
            "flops.",
            "carbon.e",
            "memory.",
        ];
        let unmeasured = ["throughput.goodput", "flops.discrepancy", "energy.closure"];
        if def.kind == lem_record::Kind::Histogram {
            sheet.distribution(def.id, Err(why.into()));
        } else if of_cycles.iter().any(|p| def.id.starts_with(p)) && !unmeasured.contains(&def.id) {
            sheet.mean(def.id, Err(why.into()));
        }
    }
    sheet
}

/// What belongs to the run and not to a cycle.
fn put_run(context: &Context<'_>, cycles: &[CycleAnalysis], run: &mut Sheet) {
    let complete = cycles.iter().filter(|c| c.complete).count();
    run.count("run.cycles", complete as f64);
    // The uncertainty of the mean, not the mean of the uncertainties.
    let total = run.reading("energy.total");
    if let Some(entry) = run
        .entries
        .iter_mut()
        .find(|e| e.id == "energy.uncertainty")
        && let Ok(reading) = &mut entry.reading
    {
        let expanded = total.ok().and_then(|t| t.budget).and_then(|b| b.expanded());
        reading.value = expanded.map_or(f64::NAN, |u| u.expanded);
        reading.interval = None;
    }
    put_baselines(context, run);
    let intensity = carbon::intensity(context.data);
    run.mean("carbon.intensity", Ok(intensity));
    if let Some(ms) = context.data.config_f64("/measurement/interval_ms") {
        run.mean(
            "sampling.interval",
            Ok(Reading::new(ms / 1e3, How::Supplied)),
        );
    }
}

fn put_baselines(context: &Context<'_>, run: &mut Sheet) {
    let none = "no idle baseline was measured; --measure-baseline or measurement.baseline.enabled measures one";
    let baselines = context.baselines;
    let kinds = [
        ("loaded", &baselines.loaded),
        ("bare", &baselines.bare),
        ("after", &baselines.after),
    ];
    let how = context
        .boundary
        .total
        .first()
        .and_then(|i| context.sensors.get(*i))
        .map(|s| s.how);
    let how = how.unwrap_or(How::Measured);
    let gain = |watts: f64, i: usize| {
        uncertainty::gain(context.sensors.get(i).and_then(Sensor::gain), watts)
    };
    for (kind, idles) in kinds {
        let reading = baseline::of_boundary(idles, context.boundary).map(|(watts, _, u)| {
            let gains = context
                .boundary
                .total
                .iter()
                .filter_map(|i| gain(idles.get(*i)?.as_ref()?.watts, *i));
            let systematic = gains.reduce(|a, b| a + b);
            Reading::new(watts, how)
                .method(format!("mean idle power; {}", context.boundary.told))
                .budget(Budget {
                    systematic,
                    statistical: u,
                    shared: 0.0,
                })
        });
        run.mean("baseline.power", reading.ok_or_else(|| none.into()));
        run.with("lem.baseline.kind", kind);
    }
    let loaded = baseline::of_boundary(&baselines.loaded, context.boundary);
    let sd = loaded.map(|(_, sd, _)| Reading::new(sd, how));
    run.mean("baseline.power_stddev", sd.ok_or_else(|| none.into()));
    let window = context.data.baselines.iter().rfind(|b| b.kind == "loaded");
    let seconds = window.map(|b| Reading::new(b.window.seconds(), How::Measured));
    run.mean("baseline.duration", seconds.ok_or_else(|| none.into()));
    // Each sensor's own, where the run's flat keys tell sensors apart.
    let started = context.data.started.as_ref();
    if !started.is_some_and(|s| s.varying.iter().any(|v| v == "hw.id")) {
        return;
    }
    for (kind, idles) in kinds {
        for (i, (sensor, idle)) in context.sensors.iter().zip(idles).enumerate() {
            let Some(idle) = idle else { continue };
            let budget = Budget {
                systematic: gain(idle.watts, i),
                statistical: idle.u,
                shared: 0.0,
            };
            run.mean(
                "baseline.power",
                Ok(Reading::new(idle.watts, sensor.how).budget(budget)),
            );
            run.with("lem.baseline.kind", kind);
            run.with("hw.id", &sensor.id);
        }
    }
}
