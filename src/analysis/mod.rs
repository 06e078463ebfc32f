//! Pure functions from records to results: no I/O, no clock.
//!
//! [`RunData`] is what the log says; [`analyse`] computes a sheet of numbers for each cycle
//! and folds the complete ones into one for the run; [`records`] puts them into the log's
//! own words. The same log gives the same numbers, whoever analyses it and when.

mod banded;
mod baseline;
mod blur;
mod carbon;
mod data;
mod deconvolve;
mod energy;
mod estimate;
mod estimators;
mod flops;
mod integrate;
mod latency;
mod ledger;
mod memory;
mod metrics_table;
pub mod outliers;
mod peaks;
mod phases;
pub mod precision;
mod records;
mod samples;
mod sensors;
mod served;
mod shares;
mod sheet;
pub mod statistics;
#[cfg(test)]
pub(crate) mod testing;
mod throttle;
mod throughput;
mod uncertainty;
mod warnings;

#[cfg(test)]
mod tests;

use lem_record::{How, Warning};

pub use baseline::CACHED_COLUMNS;
pub use carbon::{WORLD_2019, country as carbon_country};
pub use data::{
    BaselineWindow, CycleData, RequestData, RoundsData, RunData, RunDataBuilder, Window,
};
pub use data::{CACHED_BASELINES, PROFILE};
pub use estimators::slope::line;
pub use estimators::{Difference, PhaseEstimate, PhaseEstimates};
pub use flops::Cost as FlopsCost;
pub use integrate::EnergyCurve;
pub use latency::RequestLatency;
pub use phases::{PhaseWindows, UPDATES_TO_RESOLVE};
pub use records::CYCLE_COLUMNS;
pub use records::records;
pub use samples::{ColumnSamples, SourceSamples};
pub use sensors::{Boundary, Curve, Sensor};
pub use served::EngineSaid;
pub use sheet::{Distribution, Entry, Fold, Obtained, Reading, Sheet, as_quantity};
pub use statistics::t_quantile;
pub use throttle::Throttled;
pub use throughput::Counts;
pub use uncertainty::Budget;
pub use warnings::CODES;

pub(crate) use energy::Context;
pub(crate) use estimate::{phase_energy, sensor_energy};
pub(crate) use latency::answered;
pub(crate) use phases::union;
pub(crate) use sheet::sum;

use baseline::{Baselines, Cached, Idle};
use sheet::fold;

/// Of the formulas: it rises when the same log would give other numbers.
pub const VERSION: u32 = 2;

/// What one cycle gave.
#[derive(Clone, Debug)]
pub struct CycleAnalysis {
    pub index: u32,
    pub window: Window,
    /// False where the run ended within it: shown, but not counted.
    pub complete: bool,
    pub counts: Counts,
    /// What held the clocks down in it; `Err` says why that is not known.
    pub throttled: Result<Vec<Throttled>, String>,
    pub sheet: Sheet,
}

impl CycleAnalysis {
    pub fn seconds(&self) -> f64 {
        self.window.seconds()
    }

    /// How long something held the clocks down; `None` where no device tells.
    pub fn throttled_s(&self) -> Option<f64> {
        self.throttled
            .as_ref()
            .ok()
            .map(|all| throttle::longest(all))
    }
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Analysis {
    pub version: u32,
    pub cycles: Vec<CycleAnalysis>,
    /// Folded from the complete cycles.
    pub run: Sheet,
    /// The phases' energies by every estimator that applies.
    pub phases: PhaseEstimates,
    /// What the total energy is the sum of.
    pub boundary: Boundary,
    pub sensors: Vec<Sensor>,
    /// Idle powers that this run measured itself, of single sensors.
    pub idles: Vec<IdlePower>,
    /// Those of the measurement and those of the analysis.
    pub warnings: Vec<Warning>,
}

/// Idle power of one sensor, as a later run may use it.
#[derive(Clone, Debug, PartialEq)]
pub struct IdlePower {
    /// `bare` or `loaded`.
    pub kind: &'static str,
    /// The source's id.
    pub source: String,
    /// Watts: mean, standard deviation of the samples, standard uncertainty of the mean.
    pub watts: f64,
    pub stddev: f64,
    pub uncertainty: f64,
}

/// Those of measured sensors that stood still.
fn idles(baselines: &Baselines, sensors: &[Sensor]) -> Vec<IdlePower> {
    let kinds = [("bare", &baselines.bare), ("loaded", &baselines.loaded)];
    let mut found = Vec::new();
    for (kind, idles) in kinds {
        for (sensor, idle) in sensors.iter().zip(idles) {
            let Some(idle) = idle else { continue };
            let good = idle.cached.is_none() && warnings::unsteady(idle).is_none();
            if good && sensor.how == How::Measured {
                found.push(IdlePower {
                    kind,
                    source: sensor.id.clone(),
                    watts: idle.watts,
                    stddev: idle.sd,
                    uncertainty: idle.u,
                });
            }
        }
    }
    found
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
    let phases = if cycles.iter().any(|c| c.complete) {
        estimators::put(&context, &cycles, &mut run)
    } else {
        PhaseEstimates::default()
    };
    put_run(&context, &cycles, &mut run);
    let mut analysis = Analysis {
        version: VERSION,
        cycles,
        run,
        phases,
        boundary,
        idles: idles(&baselines, &sensors),
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
    served::put(context.data, cycle, &counts, &mut sheet);
    ledger::put(context, cycle, &mut sheet);
    flops::put(context.data, cycle, &mut sheet);
    carbon::put(context.data, cycle, counts.output_tokens, &mut sheet);
    memory::put(context.data, cycle, &mut sheet);
    let throttled = throttle::of(context.data, cycle.window);
    throttle::put(&throttled, &mut sheet);
    if context.data.is_command() {
        let bare = context.data.baselines.iter().any(|b| b.kind == "bare");
        crate::exec::reword(cycle, bare, &windows, &mut sheet);
        crate::exec::put(context, cycle, &mut sheet);
    }
    CycleAnalysis {
        index: cycle.index,
        window: cycle.window,
        complete: cycle.complete,
        counts,
        throttled,
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
        // Each is of a phase that a command names.
        let named = def.id.contains(".marked");
        if def.kind == lem_record::Kind::Histogram {
            sheet.distribution(def.id, Err(why.into()));
        } else if of_cycles.iter().any(|p| def.id.starts_with(p))
            && !unmeasured.contains(&def.id)
            && !named
        {
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
            let from = match cached_of(idles, context.boundary) {
                Some(cached) => format!(
                    "cached baseline, measured {:.1} h ago by run {}",
                    cached.age_h, cached.run
                ),
                None => "mean idle power".into(),
            };
            Reading::new(watts, how)
                .method(format!("{from}; {}", context.boundary.told))
                .budget(Budget {
                    systematic,
                    statistical: u,
                    shared: 0.0,
                })
        });
        run.mean("baseline.power", reading.ok_or_else(|| none.into()));
        run.with("lem.baseline.kind", kind);
    }
    run.mean("baseline.parking", parking(context, how));
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

/// The cached one among the idle powers that a boundary's is made of.
fn cached_of<'a>(idles: &'a [Option<Idle>], boundary: &Boundary) -> Option<&'a Cached> {
    let of = |i: &usize| idles.get(*i)?.as_ref()?.cached.as_ref();
    boundary.total.iter().find_map(of)
}

/// B1 − B0: what the loaded model costs while it waits.
fn parking(context: &Context<'_>, how: How) -> Obtained {
    let none =
        "both the bare and the loaded idle power are needed; --measure-baseline measures them";
    let baselines = context.baselines;
    let of = |idles: &[Option<Idle>]| baseline::of_boundary(idles, context.boundary);
    let (loaded, bare) = of(&baselines.loaded).zip(of(&baselines.bare)).ok_or(none)?;
    let differences = context.boundary.total.iter().filter_map(|i| {
        let of = |idles: &[Option<Idle>]| Some(idles.get(*i)?.as_ref()?.watts);
        let watts = of(&baselines.loaded)? - of(&baselines.bare)?;
        uncertainty::gain(context.sensors.get(*i).and_then(Sensor::gain), watts)
    });
    Ok(Reading::new(loaded.0 - bare.0, how)
        .method("loaded minus bare idle power")
        .budget(Budget {
            systematic: differences.reduce(|a, b| a + b),
            statistical: loaded.2.hypot(bare.2),
            shared: 0.0,
        }))
}
