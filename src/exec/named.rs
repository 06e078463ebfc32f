//! A command's cycle in the analysis: phases of any name, and numbers that a command
//! cannot have.

use std::collections::BTreeMap;

use lem_record::{How, Table};
use serde_json::json;

use super::result::{PhaseResult, phases};
use super::told::{Marked, Told};
use crate::analysis::{
    Analysis, Context, CycleData, Obtained, PhaseWindows, Reading, Sheet, phase_energy,
    sensor_energy, sum, union,
};

const NO_TOKENS: &str = "the command told no tokens; it can write `tokens N input` and `tokens N output` to $LEM_PHASES";
const NO_REQUESTS: &str = "a command's requests are not seen from outside";
const NO_MODEL: &str = "a command does not describe its model";
const NO_PHASES: &str =
    "the command marked no phase prefill or decode; it can write them to $LEM_PHASES";
const NO_LOADED: &str = "a command cannot be watched while it is loaded and idle; above the idle power before it is total_energy_above_bare_j, where --measure-baseline measured that";
const NO_FIRST: &str = "the command told no output tokens within its phases decode";

/// The attribute that names a phase.
pub const PHASE: &str = "lem.phase";

/// Phases by their names, in the order in which they first began.
fn by_name(marked: &[Marked]) -> Vec<(&str, Vec<&Marked>)> {
    let mut order: Vec<(&str, Vec<&Marked>)> = Vec::new();
    let mut index = BTreeMap::new();
    for phase in marked.iter().filter(|m| m.window.len_ns() > 0) {
        let at = *index.entry(phase.name.as_str()).or_insert_with(|| {
            order.push((phase.name.as_str(), Vec::new()));
            order.len() - 1
        });
        if let Some((_, phases)) = order.get_mut(at) {
            phases.push(phase);
        }
    }
    order
}

/// Fills in the phases of a command's cycle; the rest of the sheet must be there.
pub fn put(context: &Context<'_>, cycle: &CycleData, sheet: &mut Sheet) {
    let energies: Vec<_> = context
        .sensors
        .iter()
        .map(|sensor| sensor_energy(sensor, cycle.window))
        .collect();
    let marks = cycle.command.marked.iter();
    let cuts_ns: Vec<u64> = marks
        .flat_map(|m| [m.window.start_ns, m.window.end_ns])
        .collect();
    for (name, phases) in by_name(&cycle.command.marked) {
        let windows = union(phases.iter().map(|p| p.window).collect());
        let length_ns = windows.iter().map(|w| w.len_ns()).sum::<u64>();
        let seconds = length_ns as f64 / 1e9;
        let of_sensor = |i: usize| -> Obtained {
            let sensor = context.sensors.get(i).ok_or("there is no such sensor")?;
            let energy = energies.get(i).ok_or("there is no such sensor")?;
            let energy = energy.as_ref().map_err(Clone::clone)?;
            phase_energy(sensor, energy, cycle.window, &windows, &cuts_ns, name)
        };
        let energy = match context.boundary.total.is_empty() {
            true => sheet.reading("energy.total"),
            false => sum(context.boundary.total.iter().copied().map(of_sensor)),
        };
        let tokens = |of: fn(&Marked) -> u64| phases.iter().map(|p| of(p)).sum::<u64>();
        let (input, output) = (tokens(|p| p.input_tokens), tokens(|p| p.output_tokens));
        let measured = |value: f64| Ok(Reading::new(value, How::Measured));
        let mut put = |put: &dyn Fn(&mut Sheet)| {
            put(sheet);
            sheet.with(PHASE, name);
        };
        let count = phases.len() as f64;
        put(&|s| s.count("run.marked", count));
        put(&|s| s.mean("time.marked", measured(seconds)));
        put(&|s| s.mean("energy.marked", energy.clone()));
        put(&|s| s.ratio("energy.marked_each", energy.clone(), count, ""));
        put(&|s| s.ratio("power.marked", energy.clone(), seconds, ""));
        for (kind, count) in [("input", input), ("output", output)] {
            if count == 0 {
                continue;
            }
            sheet.count("tokens.marked", count as f64);
            sheet.with(PHASE, name);
            sheet.with("gen_ai.token.type", kind);
            sheet.ratio("energy.marked_per_token", energy.clone(), count as f64, "");
            sheet.with(PHASE, name);
            sheet.with("gen_ai.token.type", kind);
        }
    }
}

fn absent(sheet: &mut Sheet, id: &'static str, why: &str) {
    sheet.forget(id);
    sheet.mean(id, Err(why.to_owned()));
}

/// Takes back what follows from an engine's requests, and says of the rest why a command
/// lacks it.
pub fn reword(
    cycle: &CycleData,
    bare: bool,
    windows: &Result<PhaseWindows, String>,
    sheet: &mut Sheet,
) {
    let none = Told::default();
    let told = cycle.command.told.as_ref().unwrap_or(&none);
    for id in [
        "run.requests",
        "run.requests_failed",
        "throughput.requests",
        "energy.per_request",
    ] {
        absent(sheet, id, NO_REQUESTS);
    }
    for id in ["flops.estimated", "flops.rate", "flops.mfu", "flops.mbu"] {
        absent(sheet, id, NO_MODEL);
    }
    absent(sheet, "efficiency.flops_per_joule", NO_MODEL);
    sheet.with("lem.flops.source", "estimated");
    if told.input_tokens.is_none() {
        for id in [
            "tokens.input",
            "throughput.prefill",
            "energy.per_input_token",
        ] {
            absent(sheet, id, NO_TOKENS);
        }
    }
    if told.output_tokens.is_none() {
        for id in [
            "tokens.output",
            "throughput.total",
            "energy.per_output_token",
            "efficiency.tokens_per_joule",
            "cost.per_mtoken",
        ] {
            absent(sheet, id, NO_TOKENS);
        }
    }
    let decoded: u64 = cycle
        .command
        .marked
        .iter()
        .filter(|m| m.name == "decode")
        .map(|m| m.output_tokens)
        .sum();
    if decoded == 0 {
        absent(sheet, "throughput.decode", NO_FIRST);
    } else if windows.is_ok() {
        let time = sheet.reading("time.decode");
        sheet.forget("throughput.decode");
        let tokens = Ok(Reading::new(decoded as f64, How::Measured));
        sheet.per("throughput.decode", tokens, time);
    }
    sheet.forget("memory.process_peak");
    let peak = told.peak_memory_bytes.map(|bytes| {
        Reading::new(bytes as f64, How::Measured)
            .method("highest resident memory of the largest process of the command, as the kernel counts it")
    });
    sheet.peak(
        "memory.process_peak",
        peak.ok_or_else(|| match cycle.command.told {
            Some(_) => "the command took no more memory than lem had when it started it, which the kernel counts as the command's".into(),
            None => "the command's end was not seen".into(),
        }),
    );
    let unmarked = cycle.phases.is_empty();
    sheet.reasons(|id, why| {
        let why = if id.ends_with("_corrected") || id == "baseline.energy" || id == "baseline.ratio"
        {
            if unmarked && id != "energy.total_corrected" && !id.starts_with("baseline") {
                NO_PHASES
            } else if bare {
                NO_LOADED
            } else {
                return None;
            }
        } else if unmarked && why.starts_with("the engine does not tell where") {
            NO_PHASES
        } else if id.starts_with("latency.") || id == "tokens.per_request" {
            NO_REQUESTS
        } else {
            return None;
        };
        Some(why.to_owned())
    });
}

/// The table `phases`, where the command marked any.
pub fn table(analysis: &Analysis) -> Option<Table> {
    let rows: Vec<PhaseResult> = phases(&analysis.run);
    if rows.is_empty() {
        return None;
    }
    let columns = [
        "phase",
        "count",
        "seconds",
        "joules",
        "joules_uncertainty",
        "joules_each",
        "watts",
        "input_tokens",
        "output_tokens",
        "joules_per_output_token",
        "how",
        "resolvable",
        "reason",
    ];
    let row = |p: PhaseResult| {
        vec![
            json!(p.name),
            json!(p.count),
            json!(p.seconds),
            json!(p.energy_j.value),
            json!(p.energy_j.uncertainty.map(|u| u.expanded)),
            json!(p.energy_each_j.value),
            json!(p.power_w.value),
            json!(p.input_tokens),
            json!(p.output_tokens),
            json!(p.energy_per_output_token_j.as_ref().and_then(|q| q.value)),
            json!(p.energy_j.how.map(|how| how.as_str())),
            json!(p.resolvable),
            json!(p.energy_j.reason),
        ]
    };
    Some(Table {
        name: "phases".into(),
        columns: columns.map(str::to_owned).into(),
        rows: rows.into_iter().map(row).collect(),
    })
}
