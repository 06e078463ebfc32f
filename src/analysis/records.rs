//! The analysis in the log's own words.

use lem_record::{
    Attributes, FinishReason, How, Metric, MetricValue, Record, RunStatus, Table, catalogue,
};
use serde_json::{Value, json};

use super::data::{CycleData, RunData};
use super::latency::{RequestLatency, answered};
use super::sheet::{Sheet, as_quantity};
use super::{Analysis, CODES, shares};

/// A table of requests longer than this is of no use to a reader; the log has them all.
const MAX_REQUEST_ROWS: usize = 10_000;

/// Every metric, table and warning of the analysis, in the order in which the log should
/// have them. Set the status of a run that is about to end first
/// ([`RunData::with_status`]): without one nothing says that it was completed.
pub fn records(data: &RunData, analysis: &Analysis) -> Vec<Record> {
    let mut out = Vec::new();
    for cycle in &analysis.cycles {
        if cycle.complete {
            sheet(
                &cycle.sheet,
                data,
                cycle.window.end_ns,
                Some(cycle.index),
                &mut out,
            );
        }
    }
    let end = analysis.complete().map(|c| c.window.end_ns).max();
    let end = end
        .or_else(|| data.last_at.map(|at| at.mono_ns))
        .unwrap_or(0);
    sheet(&analysis.run, data, end, None, &mut out);
    out.push(info(data, end));
    out.extend(completed(data, end));
    out.push(Record::Table(super::metrics_table::table(&out)));
    out.push(Record::Table(cycles(analysis)));
    out.push(Record::Table(requests(data, analysis)));
    out.extend(phase_methods(analysis).map(Record::Table));
    out.extend(throttling(analysis).map(Record::Table));
    out.extend(crate::exec::table(analysis).map(Record::Table));
    let own = analysis
        .warnings
        .iter()
        .filter(|w| CODES.contains(&w.code.as_str()));
    // A log that was analysed before has them already.
    let new = own.filter(|w| !data.warnings.contains(w));
    out.extend(new.cloned().map(Record::Warning));
    out
}

fn sheet(sheet: &Sheet, data: &RunData, t_ns: u64, cycle: Option<u32>, out: &mut Vec<Record>) {
    let varies = |name: &str| {
        data.started
            .as_ref()
            .is_some_and(|s| s.varying.iter().any(|v| v == name))
    };
    let mut seen = std::collections::BTreeSet::new();
    for entry in &sheet.entries {
        let placed = catalogue::find(entry.id).is_some_and(|d| d.key_stem.contains("{hw.id}"));
        let apart = placed || varies("hw.id");
        // Without their sensor's name several values would have one flat key.
        if entry.attributes.contains_key("hw.id") && !apart {
            let mut others = entry.attributes.clone();
            others.remove("hw.id");
            if !seen.insert((entry.id, others)) {
                continue;
            }
        }
        let quantity = as_quantity(&entry.reading);
        let value = match quantity.value {
            Some(value) => MetricValue::Number(value),
            None => MetricValue::Absent(quantity.reason.unwrap_or_default()),
        };
        out.push(Record::Metric(Metric {
            id: entry.id.into(),
            attributes: entry.attributes.clone(),
            value,
            t_ns,
            cycle,
            how: quantity.how.unwrap_or(How::Measured),
            uncertainty: quantity.uncertainty,
            interval: quantity.interval,
            method: quantity.method,
        }));
    }
    for distribution in &sheet.distributions {
        let value = match distribution.histogram() {
            Ok(histogram) => MetricValue::Histogram(Box::new(histogram)),
            Err(why) => MetricValue::Absent(why),
        };
        out.push(Record::Metric(Metric {
            id: distribution.id.into(),
            attributes: distribution.attributes.clone(),
            value,
            t_ns,
            cycle,
            how: distribution.how,
            uncertainty: None,
            interval: distribution.interval(),
            method: None,
        }));
    }
}

fn plain(id: &str, attributes: Attributes, value: f64, t_ns: u64) -> Record {
    Record::Metric(Metric {
        id: id.into(),
        attributes,
        value: MetricValue::Number(value),
        t_ns,
        cycle: None,
        how: How::Measured,
        uncertainty: None,
        interval: None,
        method: None,
    })
}

fn info(data: &RunData, t_ns: u64) -> Record {
    let started = data.started.as_ref();
    let version = started.map_or("", |s| s.producer.split_whitespace().last().unwrap_or(""));
    let model = data.model.as_ref();
    let precision = model.and_then(|m| m.weight_type.as_deref());
    let facts = [
        ("lem.run.name", started.map(|s| s.name.as_str())),
        ("lem.backend", data.config_str("/backend")),
        ("gen_ai.request.model", data.config_str("/model_name")),
        (
            "lem.precision",
            precision.or_else(|| data.config_str("/fp_precision")),
        ),
        ("lem.version", Some(version)),
    ];
    let attributes = facts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    plain("run.info", attributes, 1.0, t_ns)
}

fn completed(data: &RunData, t_ns: u64) -> Option<Record> {
    let status: RunStatus = data.status?;
    let unix_ns = data.last_at?.unix_ns;
    let attributes = Attributes::from([("lem.status".into(), status.as_str().into())]);
    Some(plain(
        "run.completed",
        attributes,
        unix_ns as f64 / 1e9,
        t_ns,
    ))
}

/// Columns of the table of cycles: name with unit, and the catalogue id.
pub const CYCLE_COLUMNS: &[(&str, &str)] = &[
    ("duration_seconds", "run.duration"),
    ("requests", "run.requests"),
    ("requests_failed", "run.requests_failed"),
    ("input_tokens", "tokens.input"),
    ("output_tokens", "tokens.output"),
    ("prefill_seconds", "time.prefill"),
    ("decode_seconds", "time.decode"),
    ("other_seconds", "time.other"),
    ("prefill_tokens_per_second", "throughput.prefill"),
    ("decode_tokens_per_second", "throughput.decode"),
    ("total_joules", "energy.total"),
    ("total_uncertainty_joules", "energy.uncertainty"),
    ("total_corrected_joules", "energy.total_corrected"),
    ("prefill_joules", "energy.prefill"),
    ("decode_joules", "energy.decode"),
    ("other_joules", "energy.other"),
    ("gpu_joules", "energy.gpu"),
    ("cpu_joules", "energy.cpu"),
    ("memory_joules", "energy.memory"),
    ("joules_per_output_token", "energy.per_output_token"),
    ("mean_watts", "power.mean"),
    ("peak_watts", "power.peak"),
    ("estimated_flops", "flops.estimated"),
    ("emissions_grams", "carbon.emissions"),
];

fn cycles(analysis: &Analysis) -> Table {
    let mut columns = vec!["cycle".to_owned(), "complete".into(), "how".into()];
    columns.extend(CYCLE_COLUMNS.iter().map(|(name, _)| (*name).to_owned()));
    columns.push("throttled_seconds".into());
    let rows = analysis.cycles.iter().map(|cycle| {
        let how = cycle
            .sheet
            .reading("energy.total")
            .ok()
            .map(|r| r.how.as_str());
        let mut row = vec![json!(cycle.index), json!(cycle.complete), json!(how)];
        row.extend(
            CYCLE_COLUMNS
                .iter()
                .map(|(_, id)| json!(cycle.sheet.value(id))),
        );
        row.push(json!(cycle.throttled_s()));
        row
    });
    Table {
        name: "cycles".into(),
        columns,
        rows: rows.collect(),
    }
}

/// Every estimate of the phases' energies, where there is more than the cycles' own.
fn phase_methods(analysis: &Analysis) -> Option<Table> {
    let phases = &analysis.phases;
    (phases.estimates.len() > 1).then_some(())?;
    let columns = [
        "method",
        "phase",
        "joules",
        "uncertainty_joules",
        "corrected_joules",
        "chosen",
        "difference_ratio",
        "note",
    ];
    let differences = phases.differences();
    let mut rows = Vec::new();
    for (index, estimate) in phases.estimates.iter().enumerate() {
        for (phase, gross, corrected) in [
            ("prefill", &estimate.prefill, &estimate.prefill_corrected),
            ("decode", &estimate.decode, &estimate.decode_corrected),
        ] {
            let told = as_quantity(gross);
            let difference = differences
                .iter()
                .find(|d| d.method == estimate.method && d.phase == phase);
            rows.push(vec![
                json!(estimate.method.as_str()),
                json!(phase),
                json!(told.value),
                json!(told.uncertainty.map(|u| u.expanded)),
                json!(as_quantity(corrected).value),
                json!(phases.chosen == Some(index)),
                json!(difference.map(|d| d.relative)),
                json!(told.reason.as_ref().or(estimate.note.as_ref())),
            ]);
        }
    }
    Some(Table {
        name: "phase_methods".into(),
        columns: columns.map(str::to_owned).into(),
        rows,
    })
}

/// What held the clocks down in which cycle, where anything did.
fn throttling(analysis: &Analysis) -> Option<Table> {
    let columns = [
        "cycle",
        "source",
        "reason",
        "seconds",
        "cycle_seconds",
        "by",
    ];
    let mut rows = Vec::new();
    for cycle in &analysis.cycles {
        for one in cycle.throttled.iter().flatten().filter(|t| t.seconds > 0.0) {
            rows.push(vec![
                json!(cycle.index),
                json!(one.source),
                json!(one.reason),
                json!(one.seconds),
                json!(cycle.seconds()),
                json!(if one.counted { "driver" } else { "polled" }),
            ]);
        }
    }
    (!rows.is_empty()).then(|| Table {
        name: "throttling".into(),
        columns: columns.map(str::to_owned).into(),
        rows,
    })
}

/// Each request's share of its cycle's energy, by the cycle's own phases or, where those are
/// not told, by the run's; none where neither is.
fn shares(cycle: &CycleData, analysis: &Analysis) -> Option<Vec<f64>> {
    let own = analysis.cycles.iter().find(|c| c.index == cycle.index)?;
    let of = |sheet: &Sheet| {
        Some(shares::Phases {
            prefill: sheet.value("energy.prefill")?,
            decode: sheet.value("energy.decode")?,
            other: sheet.value("energy.other")?,
        })
    };
    let phases = of(&own.sheet).or_else(|| of(&analysis.run))?;
    Some(shares::of(&cycle.requests, phases))
}

/// What a server tells of each request itself.
const ENGINE_COLUMNS: [&str; 5] = [
    "engine_queue_seconds",
    "engine_prefill_seconds",
    "engine_decode_seconds",
    "engine_ttft_seconds",
    "cached_tokens",
];

fn requests(data: &RunData, analysis: &Analysis) -> Table {
    let columns = [
        "cycle",
        "request",
        "start_seconds",
        "input_tokens",
        "output_tokens",
        "ttft_seconds",
        "tpot_seconds",
        "e2e_seconds",
        "finish",
        // A rule shares it out: see `shares`.
        "modelled_joules",
    ];
    let served = super::served::is(data);
    let of_engine: &[&str] = if served { &ENGINE_COLUMNS } else { &[] };
    let zero = data.cycles.first().map_or(0, |c| c.window.start_ns);
    let of_cycle = |cycle: &CycleData| -> Vec<Vec<Value>> {
        let shares = shares(cycle, analysis);
        let row = |(index, r): (usize, &super::RequestData)| {
            let latency = if answered(r) {
                RequestLatency::of(r)
            } else {
                RequestLatency::default()
            };
            let mut row = vec![
                json!(cycle.index),
                json!(r.timeline.id),
                json!(r.window.start_ns.saturating_sub(zero) as f64 / 1e9),
                json!(r.timeline.input_tokens),
                json!(r.timeline.output_tokens),
                json!(latency.ttft),
                json!(latency.tpot),
                json!(latency.e2e),
                json!(finish(r.timeline.finish)),
                json!(
                    shares
                        .as_ref()
                        .and_then(|all| all.get(index))
                        .filter(|j| j.is_finite())
                ),
            ];
            if served {
                let told = r.timeline.engine;
                let seconds = [told.queue_s, told.prefill_s, told.decode_s, told.ttft_s];
                row.extend(seconds.map(|s| json!(s)));
                row.push(json!(told.cached_tokens));
            }
            row
        };
        cycle
            .requests
            .iter()
            .enumerate()
            .take(MAX_REQUEST_ROWS)
            .map(row)
            .collect()
    };
    Table {
        name: "requests".into(),
        columns: columns
            .iter()
            .chain(of_engine)
            .map(|name| (*name).to_owned())
            .collect(),
        rows: data
            .complete_cycles()
            .flat_map(of_cycle)
            .take(MAX_REQUEST_ROWS)
            .collect(),
    }
}

const fn finish(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
        FinishReason::Error => "error",
    }
}
