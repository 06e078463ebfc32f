//! What the result holds of a command.

use lem_record::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::arguments::Described;
use super::named::PHASE;
use super::{DESCRIBED, Told};
use crate::analysis::{Entry, RunData, Sheet, as_quantity};

/// The command that `lem exec` measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandResult {
    /// As it was typed.
    pub program: String,
    /// What looks like a secret is `***`.
    pub arguments: Vec<String>,
    /// `null` where a signal ended it, or its end was not seen.
    pub exit_code: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// Processor time of it and of its children that were waited for, seconds.
    pub cpu_seconds: Option<f64>,
    /// Highest resident memory of the largest of these processes.
    pub peak_memory_bytes: Option<u64>,
    /// Phase marks that it sent.
    pub marks: MarkCounts,
}

/// Lines that came through `$LEM_PHASES`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MarkCounts {
    /// Lines that were understood.
    pub accepted: u64,
    /// Lines that were not; the warnings say why.
    pub refused: u64,
    /// Times that were taken on arrival, because the line had none.
    pub by_arrival: u64,
}

/// A phase of any name that a command marked: all its occurrences together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseResult {
    /// As it was marked.
    pub name: String,
    /// How often it occurred.
    pub count: u64,
    /// Wall time of all occurrences, overlaps counted once.
    pub seconds: f64,
    /// Whether the sensors tell it from its neighbours; where not, `energy_j` says why.
    pub resolvable: bool,
    /// Gross energy of all occurrences, joules.
    pub energy_j: Quantity,
    /// Mean of one occurrence, joules.
    pub energy_each_j: Quantity,
    /// Mean power, watts.
    pub power_w: Quantity,
    /// Input tokens that were told within it.
    pub input_tokens: Option<u64>,
    /// Output tokens that were told within it.
    pub output_tokens: Option<u64>,
    /// Gross energy over these input tokens, joules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_per_input_token_j: Option<Quantity>,
    /// Gross energy over these output tokens, joules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_per_output_token_j: Option<Quantity>,
}

/// The command of a run; `None` where the run is an engine's.
pub fn command(data: &RunData) -> Option<CommandResult> {
    let environment = &data.started.as_ref()?.environment;
    let described = environment.get(DESCRIBED)?;
    let described: Described = serde_json::from_value(described.clone()).unwrap_or_default();
    let told = data.cycles.iter().find_map(|c| c.command.told.clone());
    let told: Told = told.unwrap_or_default();
    Some(CommandResult {
        program: described.program,
        arguments: described.arguments,
        exit_code: told.exit_code,
        signal: told.signal,
        cpu_seconds: told.cpu_seconds,
        peak_memory_bytes: told.peak_memory_bytes,
        marks: MarkCounts {
            accepted: told.marks,
            refused: told.marks_refused,
            by_arrival: told.marks_by_arrival,
        },
    })
}

/// The phases of a sheet, in its order.
pub fn phases(sheet: &Sheet) -> Vec<PhaseResult> {
    let name = |entry: &Entry| entry.attributes.get(PHASE).cloned();
    let counts = sheet.entries.iter().filter(|e| e.id == "run.marked");
    let phase = |count: &Entry| {
        let phase = name(count)?;
        let entry = |id: &str, kind: Option<&str>| {
            sheet.entries.iter().find(|e| {
                let of_kind = e.attributes.get("gen_ai.token.type").map(String::as_str);
                e.id == id && name(e).as_ref() == Some(&phase) && of_kind == kind
            })
        };
        let quantity = |id: &str, kind: Option<&str>| Some(as_quantity(&entry(id, kind)?.reading));
        let told = |id: &str| {
            quantity(id, None).unwrap_or_else(|| Quantity::absent("it was not computed"))
        };
        let tokens = |kind: &str| {
            let value = quantity("tokens.marked", Some(kind))?.value?;
            Some(value as u64)
        };
        let energy_j = told("energy.marked");
        Some(PhaseResult {
            count: count.reading.as_ref().map_or(0, |r| r.value as u64),
            seconds: told("time.marked").value.unwrap_or(0.0),
            resolvable: energy_j.value.is_some(),
            energy_each_j: told("energy.marked_each"),
            power_w: told("power.marked"),
            input_tokens: tokens("input"),
            output_tokens: tokens("output"),
            energy_per_input_token_j: quantity("energy.marked_per_token", Some("input")),
            energy_per_output_token_j: quantity("energy.marked_per_token", Some("output")),
            energy_j,
            name: phase,
        })
    };
    counts.filter_map(phase).collect()
}
