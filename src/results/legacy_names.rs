//! Field names of version 2's result files, and where their numbers are now: one table for
//! the migration's counts, for docs/migration.md, and for old names that somebody types.

/// One field of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldField {
    /// Dotted path within a raw, an aggregated or a multi-cycle result; what stands in a
    /// `process_results` or `cycle_results` has the path that it has by itself. A path
    /// without a row of its own has that of the section it stands in.
    pub old: &'static str,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The value as it was told is there now, perhaps in another unit.
    Moved {
        to: &'static str,
        note: &'static str,
    },
    /// What stands there now was computed anew, from what the note says.
    Recomputed {
        to: &'static str,
        note: &'static str,
    },
    /// There is no such field: a migrated file keeps the value under `legacy`.
    Kept { why: &'static str },
}

impl OldField {
    /// Dotted path in a result of version 3.
    pub const fn new_path(&self) -> Option<&'static str> {
        match self.fate {
            Fate::Moved { to, .. } | Fate::Recomputed { to, .. } => Some(to),
            Fate::Kept { .. } => None,
        }
    }

    /// What is to be known of it, in a sentence without its full stop.
    pub const fn note(&self) -> &'static str {
        match self.fate {
            Fate::Moved { note, .. } | Fate::Recomputed { note, .. } | Fate::Kept { why: note } => {
                note
            }
        }
    }
}

const fn moved(old: &'static str, to: &'static str, note: &'static str) -> OldField {
    let fate = Fate::Moved { to, note };
    OldField { old, fate }
}

const fn anew(old: &'static str, to: &'static str, note: &'static str) -> OldField {
    let fate = Fate::Recomputed { to, note };
    OldField { old, fate }
}

const fn kept(old: &'static str, why: &'static str) -> OldField {
    let fate = Fate::Kept { why };
    OldField { old, fate }
}

const ZONE: &str = "version 2 wrote local time without its zone; `--zone` gives it";
const PHASES: &str = "a sum over all processes or a mean of rates is no property of the system";
const SPREAD: &str = "from the cycles, with Student's t (BCa bootstrap from 15 cycles)";
const DEVIATION: &str = "from the cycles";
const POOLED: &str = "from the raw values of all processes together, by linear interpolation";
const ESTIMATE: &str = "2·P·(input + output tokens), whatever the method was called";
const SHOWN: &str = "version 3 has no such figure";
const NO_TIMES: &str = "the samples have no times";

/// Every field of version 2 that is known, in the order of its files.
pub const FIELDS: &[OldField] = &[
    kept(
        "schema_version",
        "version 2's numbers do not order its files; `migration.told_version` repeats it",
    ),
    moved(
        "experiment_id",
        "run_id",
        "within the id of the migrated run",
    ),
    moved("backend", "backend", "as version 2 named it"),
    moved("backend_version", "environment.backend_version", ""),
    moved("process_index", "environment.processes", ""),
    moved("gpu_id", "environment.processes", ""),
    moved("gpu_name", "environment.processes", ""),
    moved(
        "gpu_is_mig",
        "environment.processes",
        "the energy is that of the whole GPU",
    ),
    moved("gpu_mig_profile", "environment.processes", ""),
    moved("energy_measurement_warning", "warnings", ""),
    moved(
        "energy_tracking_failed",
        "total_energy_j",
        "where it is true, energies are absent",
    ),
    moved("config_name", "name", ""),
    moved("model_name", "model_name", ""),
    moved("timestamps.start", "started", ZONE),
    moved("timestamps.end", "ended", ZONE),
    kept(
        "timestamps.duration_sec",
        "it includes loading the model, which the energy does not; `duration_s` is the inference alone",
    ),
    moved("start_time", "started", ZONE),
    moved("end_time", "ended", ZONE),
    kept(
        "total_duration_sec",
        "it includes loading the model and the gaps between cycles",
    ),
    // Tokens and time.
    anew(
        "inference_metrics.total_tokens",
        "tokens.output",
        "input and output are counted apart: `tokens.input` is beside it",
    ),
    moved(
        "inference_metrics.input_tokens",
        "tokens.input",
        "summed over processes and cycles",
    ),
    moved(
        "inference_metrics.output_tokens",
        "tokens.output",
        "summed over processes and cycles",
    ),
    moved(
        "inference_metrics.inference_time_sec",
        "duration_s",
        "of several processes the longest",
    ),
    anew(
        "inference_metrics.tokens_per_second",
        "throughput.total_tokens_per_sec",
        "output tokens only; early files counted output tokens, later ones input and output",
    ),
    kept(
        "inference_metrics.latency_per_token_ms",
        "it is the inverse of a rate, not a latency; `latency.tpot_ms` is a request's",
    ),
    moved(
        "inference_metrics.time_to_first_token_ms",
        "latency.ttft_ms.mean",
        "where there are no raw values",
    ),
    anew(
        "inference_metrics.latency_measurements.ttft_ms",
        "latency.ttft_ms",
        POOLED,
    ),
    anew(
        "inference_metrics.latency_measurements.itl_full_ms",
        "latency.itl_ms",
        "all gaps, from engines that were seen token by token; else absent",
    ),
    kept(
        "inference_metrics.latency_measurements.itl_trimmed_ms",
        "version 3 leaves no gap out",
    ),
    moved(
        "inference_metrics.latency_measurements.request_count",
        "requests.answered",
        "",
    ),
    kept(
        "inference_metrics.latency_measurements.total_output_tokens",
        "it counts the streamed requests only",
    ),
    kept(
        "inference_metrics.latency_measurements.excluded_tokens",
        "version 3 leaves no gap out",
    ),
    kept(
        "inference_metrics.latency_measurements.streaming_mode",
        SHOWN,
    ),
    kept(
        "inference_metrics.latency_measurements.warmup_requests_excluded",
        "their energy is in the total, their tokens are not",
    ),
    kept(
        "inference_metrics.latency_measurements.measurement_mode",
        "it decides whether `latency.itl_ms` is there",
    ),
    anew("per_request_latencies_ms", "latency.e2e_ms", POOLED),
    // Energy.
    moved(
        "energy_metrics.total_energy_j",
        "total_energy_j",
        "an object with `value`, `how`, `method` and `reason`; all zeros are absent",
    ),
    moved(
        "energy_metrics.gpu_energy_j",
        "energy_components.gpu",
        "0 is absent",
    ),
    moved(
        "energy_metrics.cpu_energy_j",
        "energy_components.cpu",
        "0 is absent",
    ),
    moved(
        "energy_metrics.ram_energy_j",
        "energy_components.memory",
        "0 is absent",
    ),
    kept(
        "energy_metrics.gpu_power_w",
        "one reading of the tracker, neither a mean nor a peak",
    ),
    kept(
        "energy_metrics.cpu_power_w",
        "one reading of the tracker, neither a mean nor a peak",
    ),
    kept("energy_metrics.duration_sec", "0 on every measured run"),
    moved(
        "energy_metrics.emissions_kg_co2",
        "carbon.emissions_g",
        "× 1000",
    ),
    anew(
        "energy_metrics.energy_per_token_j",
        "energy_per_output_token_j",
        "total energy over output tokens; it was 0 on every measured run",
    ),
    // Computation and memory.
    moved("compute_metrics.flops_total", "flops.estimated", ESTIMATE),
    kept("compute_metrics.flops_per_token", ESTIMATE),
    anew(
        "compute_metrics.flops_per_second",
        "flops.rate",
        "estimated FLOPs over time",
    ),
    moved(
        "compute_metrics.peak_memory_mb",
        "memory.gpu_peak_bytes",
        "× 2^20; 0 is absent",
    ),
    kept(
        "compute_metrics.model_memory_mb",
        "0 where it was not measured",
    ),
    kept(
        "compute_metrics.flops_method",
        "the formula was the same whatever it says",
    ),
    kept(
        "compute_metrics.flops_confidence",
        "the formula was the same whatever it says",
    ),
    kept(
        "compute_metrics.compute_precision",
        "as configured, not as computed",
    ),
    // Configuration.
    moved(
        "effective_config",
        "config",
        "with the new names of its keys",
    ),
    moved("cli_overrides", "provenance", "as what was set by a flag"),
    moved("config_warnings", "warnings", ""),
    moved(
        "parameter_provenance",
        "provenance",
        "of an aggregate: from its first process",
    ),
    kept("preset_chain", SHOWN),
    kept("cycle_run_info", SHOWN),
    // Extended metrics.
    moved(
        "extended_metrics.tpot_ms",
        "latency.tpot_ms.mean",
        "one figure for the whole run",
    ),
    kept(
        "extended_metrics.token_efficiency_index",
        "an index without a unit; `efficiency.tokens_per_joule` has one",
    ),
    kept("extended_metrics.memory", "0 where it was not measured"),
    kept("extended_metrics.gpu_utilisation", NO_TIMES),
    kept("extended_metrics.batch", SHOWN),
    kept("extended_metrics.kv_cache", SHOWN),
    moved(
        "extended_metrics.request_latency.e2e_latency_mean_ms",
        "latency.e2e_ms.mean",
        "where there are no raw values",
    ),
    moved(
        "extended_metrics.request_latency.e2e_latency_median_ms",
        "latency.e2e_ms.p50",
        "where there are no raw values",
    ),
    kept(
        "extended_metrics.request_latency.e2e_latency_p95_ms",
        "version 3 has the 90th and the 99th percentile",
    ),
    moved(
        "extended_metrics.request_latency.e2e_latency_p99_ms",
        "latency.e2e_ms.p99",
        "where there are no raw values",
    ),
    moved(
        "extended_metrics.request_latency.e2e_latency_samples",
        "latency.e2e_ms.count",
        "where there are no raw values",
    ),
    kept("gpu_utilisation_samples", NO_TIMES),
    // Aggregates.
    kept("aggregation", "what it verified is in the notes"),
    anew(
        "total_tokens",
        "tokens.output",
        "input and output are counted apart: `tokens.input` is beside it",
    ),
    moved(
        "total_energy_j",
        "total_energy_j",
        "an object with `value`, `how`, `method` and `reason`; of several processes it over-counts",
    ),
    anew("total_inference_time_sec", "duration_s", PHASES),
    anew(
        "avg_tokens_per_second",
        "throughput.total_tokens_per_sec",
        PHASES,
    ),
    anew(
        "avg_energy_per_token_j",
        "energy_per_output_token_j",
        "total energy over output tokens, not over all tokens",
    ),
    moved("total_flops", "flops.estimated", ESTIMATE),
    anew("latency_stats.ttft_mean_ms", "latency.ttft_ms.mean", POOLED),
    anew(
        "latency_stats.ttft_median_ms",
        "latency.ttft_ms.p50",
        POOLED,
    ),
    kept(
        "latency_stats.ttft_p95_ms",
        "version 3 has the 90th and the 99th percentile",
    ),
    anew("latency_stats.ttft_p99_ms", "latency.ttft_ms.p99", POOLED),
    anew("latency_stats.ttft_min_ms", "latency.ttft_ms.min", POOLED),
    anew("latency_stats.ttft_max_ms", "latency.ttft_ms.max", POOLED),
    anew(
        "latency_stats.ttft_samples",
        "latency.ttft_ms.count",
        POOLED,
    ),
    anew(
        "latency_stats.itl_full_mean_ms",
        "latency.itl_ms.mean",
        POOLED,
    ),
    anew(
        "latency_stats.itl_full_p99_ms",
        "latency.itl_ms.p99",
        POOLED,
    ),
    kept(
        "latency_stats",
        "of trimmed gaps; version 3 leaves no gap out",
    ),
    // Cycles.
    anew("num_cycles", "num_cycles", "the cycles that the file holds"),
    anew(
        "statistics.num_cycles",
        "num_cycles",
        "the cycles that the file holds",
    ),
    anew("statistics.energy_mean_j", "total_energy_j", DEVIATION),
    anew(
        "statistics.energy_std_j",
        "cycle_statistics.energy.total.stddev",
        DEVIATION,
    ),
    anew(
        "statistics.energy_ci_95_lower",
        "total_energy_j.interval.low",
        SPREAD,
    ),
    anew(
        "statistics.energy_ci_95_upper",
        "total_energy_j.interval.high",
        SPREAD,
    ),
    anew(
        "statistics.energy_cv",
        "cycle_statistics.energy.total.cv",
        DEVIATION,
    ),
    anew(
        "statistics.throughput_mean_tps",
        "throughput.total_tokens_per_sec",
        "all output tokens over the time of all cycles",
    ),
    anew(
        "statistics.throughput_std_tps",
        "cycle_statistics.throughput.total.stddev",
        DEVIATION,
    ),
    anew(
        "statistics.throughput_ci_95_lower",
        "intervals.throughput.total_tokens_per_sec.low",
        SPREAD,
    ),
    anew(
        "statistics.throughput_ci_95_upper",
        "intervals.throughput.total_tokens_per_sec.high",
        SPREAD,
    ),
    anew(
        "statistics.throughput_cv",
        "cycle_statistics.throughput.total.cv",
        DEVIATION,
    ),
    anew(
        "statistics.efficiency_mean_tpj",
        "efficiency.tokens_per_joule",
        "output tokens over gross joules",
    ),
    anew(
        "statistics.efficiency_std_tpj",
        "cycle_statistics.efficiency.tokens_per_joule.stddev",
        DEVIATION,
    ),
    kept(
        "statistics.latency_mean_ms",
        "it is the inverse of a rate, not a latency",
    ),
    kept(
        "statistics.latency_std_ms",
        "it is the inverse of a rate, not a latency",
    ),
    moved("cycle_metadata.cycle_id", "cycles.cycle", ""),
    moved(
        "cycle_metadata.timestamp",
        "cycles.start_s",
        "seconds from the first cycle's",
    ),
    kept("cycle_metadata", SHOWN),
    // Version 2's normalised metrics, which no file of it holds.
    anew(
        "tokens_per_joule",
        "efficiency.tokens_per_joule",
        "output tokens over gross joules",
    ),
    anew(
        "tokens_per_second_per_watt",
        "efficiency.tokens_per_joule",
        "the same number by another name",
    ),
    anew(
        "theoretical_flops",
        "flops.estimated",
        "from the architecture",
    ),
    kept("effective_flops", "factors by precision measure nothing"),
    kept(
        "tokens_per_effective_pflop",
        "factors by precision measure nothing",
    ),
];

impl OldField {
    /// Whether the new field has the very value, in the same unit: what was compared with
    /// the old one can be compared with it. A note tells of a difference, but for these.
    pub fn is_same(&self) -> bool {
        const NO_DIFFERENCE: &[&str] = &["", "as version 2 named it", "0 is absent"];
        const OF_ANOTHER_KIND: &[&str] =
            &["warnings", "provenance", "config", "environment.processes"];
        match self.fate {
            Fate::Moved { to, note } => {
                NO_DIFFERENCE.contains(&note) && !OF_ANOTHER_KIND.contains(&to)
            }
            Fate::Recomputed { .. } | Fate::Kept { .. } => false,
        }
    }
}

/// The row of a field by its path without the indices of lists.
pub fn exact(path: &str) -> Option<&'static OldField> {
    FIELDS.iter().find(|row| row.old == path)
}

/// The field of version 2 that a person means: by its whole path, or by its last name
/// where only one field ends so. Ask only for what is no name of version 3.
pub fn lookup(name: &str) -> Option<&'static OldField> {
    if let Some(exact) = exact(name) {
        return Some(exact);
    }
    let mut ending = FIELDS
        .iter()
        .filter(|row| row.old.rsplit('.').next() == Some(name));
    match (ending.next(), ending.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The note for somebody who typed a field of version 2: the new path to use in its place,
/// where there is one, and the sentence to say.
pub fn deprecation(name: &str) -> Option<(Option<&'static str>, String)> {
    let field = lookup(name)?;
    let old = field.old;
    let note = match field.note() {
        "" => String::new(),
        note => format!(" ({note})"),
    };
    let said = match field.new_path() {
        Some(new) if new == old => return None,
        Some(new) => {
            format!("`{old}` of version 2 is now `{new}`{note}. docs/migration.md has all names")
        }
        None => format!(
            "`{old}` of version 2 has no successor{note}. A migrated file keeps it under `legacy`; docs/migration.md has all names"
        ),
    };
    Some((field.new_path(), said))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_field_stands_there_twice() {
        let names: BTreeSet<&str> = FIELDS.iter().map(|row| row.old).collect();
        assert_eq!(names.len(), FIELDS.len());
    }

    #[test]
    fn every_new_path_is_one_of_the_schema() {
        let schema: serde_json::Value =
            serde_json::from_str(&crate::results::schema_json()).unwrap();
        for row in FIELDS {
            let Some(path) = row.new_path() else { continue };
            assert!(stands(&schema, &schema, path), "{} → {path}", row.old);
        }
    }

    /// Follows a path through the schema; what is below a free value is free.
    fn stands(root: &serde_json::Value, at: &serde_json::Value, path: &str) -> bool {
        let mut at = at;
        while let Some(target) = at["$ref"].as_str() {
            at = root.pointer(target.trim_start_matches('#')).unwrap();
        }
        if let Some(choices) = at["anyOf"].as_array() {
            return choices.iter().any(|choice| stands(root, choice, path));
        }
        if at["items"].is_object() && !path.is_empty() {
            return stands(root, &at["items"], path);
        }
        if path.is_empty() || (at["properties"].is_null() && at["type"] != "null") {
            return true;
        }
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        at["properties"]
            .get(name)
            .is_some_and(|next| stands(root, next, rest))
    }

    #[test]
    fn an_old_name_is_found_whole_and_by_its_end() {
        assert_eq!(
            lookup("inference_metrics.tokens_per_second")
                .unwrap()
                .new_path(),
            Some("throughput.total_tokens_per_sec")
        );
        assert_eq!(
            lookup("flops_total").unwrap().new_path(),
            Some("flops.estimated")
        );
        assert!(lookup("duration_sec").is_none(), "two fields end so");
        let (new, said) = deprecation("peak_memory_mb").unwrap();
        assert_eq!(new, Some("memory.gpu_peak_bytes"));
        assert!(said.contains("`memory.gpu_peak_bytes` (× 2^20"), "{said}");
        assert!(
            deprecation("total_energy_j").is_none(),
            "it is called so still"
        );
    }
}
