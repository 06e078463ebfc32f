//! The readable end of a run: what it cost, how each number was obtained, what to mind.
//!
//! Plain text of at most 100 columns, without colour, so that a log file and a terminal
//! show the same.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use lem_record::Quantity;

use super::figures::{figure, percent, plain, range, si, unit};
use super::v3::{CycleResult, Distribution, Numbers, RunResult};

const WIDTH: u16 = 100;
/// More cycles than this are summed up, not listed.
const MAX_CYCLES: usize = 12;

/// The whole report, ending with a line break.
pub fn render(result: &RunResult) -> String {
    if let Some(command) = &result.command {
        return crate::exec::show::render(result, command);
    }
    let mut out = String::new();
    head(result, &mut out);
    if !result.cycles.is_empty() {
        cycles(result, &mut out);
    }
    // Without a finished cycle all below is absent for one reason, which a warning tells.
    if result.num_cycles > 0 {
        speed(result, &mut out);
        latency(&result.numbers, &mut out);
        energy(result, &mut out);
        other(result, &mut out);
        super::show_engine::put(&result.numbers, &mut out);
    }
    warnings(result, &mut out);
    exports(result, &mut out);
    out
}

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_style(TableComponent::HeaderLines, '─')
        .set_style(TableComponent::MiddleHeaderIntersections, '─')
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .force_no_tty()
        .set_header(header.to_vec());
    table
}

/// All columns but the named ones are numbers.
pub(crate) fn right(table: &mut Table, except: &[usize]) {
    for (index, column) in table.column_iter_mut().enumerate() {
        if !except.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

pub(crate) fn put(out: &mut String, title: &str, table: &Table) {
    let _ = write!(out, "\n{title}\n");
    for line in table.to_string().lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn head(result: &RunResult, out: &mut String) {
    let _ = writeln!(
        out,
        "{} ({}), {}",
        result.name,
        result.run_id,
        result.status.as_str()
    );
    let model = result.model_name.as_deref().unwrap_or("no model");
    let engine = result.model.as_ref().map(|m| {
        let weights = m
            .weight_type
            .as_deref()
            .unwrap_or("weights of unknown type");
        // `candle 0.11.0` needs no second «candle».
        let named = m.engine_version.starts_with(&m.engine);
        let name = if named { "" } else { m.engine.as_str() };
        let engine = format!("{name} {}", m.engine_version);
        format!(", {weights}, {} on {}", engine.trim(), m.device)
    });
    let _ = writeln!(out, "{model}{}", engine.unwrap_or_default());
    if let Some(reason) = &result.status_reason {
        let _ = writeln!(out, "{reason}");
    }
}

fn cycles(result: &RunResult, out: &mut String) {
    let mut table = table(&[
        "cycle",
        "time s",
        "prefill ms",
        "decode ms",
        "in tok/s",
        "out tok/s",
        "TTFT ms",
        "TPOT ms",
        "J",
        "J/token",
    ]);
    for cycle in result.cycles.iter().take(MAX_CYCLES) {
        table.add_row(cycle_row(cycle));
    }
    right(&mut table, &[]);
    put(out, "Cycles", &table);
    if let Some(more) = result
        .cycles
        .len()
        .checked_sub(MAX_CYCLES)
        .filter(|n| *n > 0)
    {
        let _ = writeln!(out, "… and {more} more in result.json");
    }
}

fn cycle_row(cycle: &CycleResult) -> Vec<String> {
    let n = &cycle.numbers;
    let name = if cycle.complete {
        (cycle.cycle + 1).to_string()
    } else {
        format!("{} (cut off)", cycle.cycle + 1)
    };
    vec![
        name,
        plain(n.duration_s),
        plain(n.prefill_time_ms),
        plain(n.decode_time_ms),
        plain(n.prefill_tokens_per_sec),
        plain(n.decode_tokens_per_sec),
        plain(n.latency.ttft_ms.mean),
        plain(n.latency.tpot_ms.mean),
        plain(n.total_energy_j.value),
        plain(n.energy_per_output_token_j.value),
    ]
}

fn speed(result: &RunResult, out: &mut String) {
    let n = &result.numbers;
    let mut table = table(&["", "mean", "95 % interval"]);
    let mut absent = Absent::default();
    for (title, path, value, of) in [
        ("Prefill time", "prefill_time_ms", n.prefill_time_ms, "ms"),
        ("Decode time", "decode_time_ms", n.decode_time_ms, "ms"),
        ("Other time", "other_time_ms", n.other_time_ms, "ms"),
        (
            "Prefill",
            "prefill_tokens_per_sec",
            n.prefill_tokens_per_sec,
            "tokens/s",
        ),
        (
            "Decode",
            "decode_tokens_per_sec",
            n.decode_tokens_per_sec,
            "tokens/s",
        ),
        (
            "Output, all in all",
            "throughput.total_tokens_per_sec",
            n.throughput.total_tokens_per_sec,
            "tokens/s",
        ),
    ] {
        let interval = result.intervals.get(path);
        absent.note(title, n.absent.get(path));
        table.add_row([title.to_owned(), unit(value, of), range(interval)]);
    }
    right(&mut table, &[0]);
    put(
        out,
        &format!("Time in a cycle and speed ({} cycles)", result.num_cycles),
        &table,
    );
    absent.put(out);
}

fn latency(n: &Numbers, out: &mut String) {
    let mut table = table(&["", "mean", "p50", "p90", "p99", "n"]);
    let mut absent = Absent::default();
    let mut row = |title: &str, path: &str, d: &Distribution| {
        absent.note(title, n.absent.get(path));
        let count = if d.count == 0 {
            "–".into()
        } else {
            d.count.to_string()
        };
        table.add_row([
            title.to_owned(),
            unit(d.mean, "ms"),
            unit(d.p50, "ms"),
            unit(d.p90, "ms"),
            unit(d.p99, "ms"),
            count,
        ]);
    };
    row("TTFT", "latency.ttft_ms", &n.latency.ttft_ms);
    row("ITL", "latency.itl_ms", &n.latency.itl_ms);
    row("TPOT", "latency.tpot_ms", &n.latency.tpot_ms);
    row("E2E", "latency.e2e_ms", &n.latency.e2e_ms);
    right(&mut table, &[0]);
    put(out, "Latency of requests", &table);
    absent.put(out);
}

fn energy(result: &RunResult, out: &mut String) {
    let n = &result.numbers;
    let mut table = table(&["", "value", "± U (k=2)", "95 % interval", "how"]);
    let mut absent = Absent::default();
    let rows: [(&str, &Quantity, &str); 14] = [
        ("Total", &n.total_energy_j, "J"),
        ("  GPU", &n.energy_components.gpu, "J"),
        ("  CPU", &n.energy_components.cpu, "J"),
        ("  Memory", &n.energy_components.memory, "J"),
        ("  Prefill", &n.prefill_energy_j, "J"),
        ("  Decode", &n.decode_energy_j, "J"),
        ("  Other", &n.other_energy_j, "J"),
        ("Above idle", &n.total_energy_corrected_j, "J"),
        ("Per output token", &n.energy_per_output_token_j, "J"),
        ("Per request", &n.energy_per_request_j, "J"),
        ("Mean power", &n.power.mean_w, "W"),
        ("Idle power", &result.baseline_power_w, "W"),
        ("CO2e", &n.carbon.emissions_g, "g"),
        ("Cost", &n.cost.total_usd, "USD"),
    ];
    for (title, quantity, of) in rows {
        if quantity.value.is_none() {
            absent.note(title.trim(), quantity.reason.as_ref());
        }
        table.add_row(quantity_row(title, quantity, of));
        // Two baselines are seldom measured: without both there is nothing to say of it.
        if title == "Idle power" && result.baseline.parking_w.value.is_some() {
            table.add_row(quantity_row("  Parking", &result.baseline.parking_w, "W"));
        }
    }
    right(&mut table, &[0, 4]);
    put(
        out,
        &format!("Energy of a cycle; {}", result.producer.energy_boundary),
        &table,
    );
    absent.put(out);
    compared(result, out);
}

/// How the phases' energies compare by the estimators that were run, where there were several.
fn compared(result: &RunResult, out: &mut String) {
    let Some(chosen) = &result.phase_estimates.method else {
        return;
    };
    for estimate in result
        .phase_estimates
        .estimates
        .iter()
        .filter(|e| e.method != *chosen)
    {
        let told = match (estimate.prefill_difference, estimate.decode_difference) {
            (Some(prefill), Some(decode)) => format!(
                "prefill {:+.1} %, decode {:+.1} %",
                prefill * 100.0,
                decode * 100.0
            ),
            _ => {
                let reasons = [&estimate.prefill_energy_j, &estimate.decode_energy_j];
                let reason = reasons.iter().find_map(|q| q.reason.clone());
                reason.unwrap_or_else(|| "nothing".into())
            }
        };
        let note = estimate
            .note
            .as_ref()
            .map_or_else(String::new, |n| format!(" ({n})"));
        wrapped(
            out,
            &format!("Phases by {chosen}; by {}: {told}{note}", estimate.method),
            " – ",
            "   ",
        );
    }
}

/// Why numbers of a table are not there, each reason once.
#[derive(Default)]
pub(crate) struct Absent(Vec<(String, Vec<String>)>);

impl Absent {
    pub(crate) fn note(&mut self, title: &str, reason: Option<&String>) {
        let Some(reason) = reason else { return };
        match self.0.iter_mut().find(|(known, _)| known == reason) {
            Some((_, titles)) => titles.push(title.to_owned()),
            None => self.0.push((reason.clone(), vec![title.to_owned()])),
        }
    }

    pub(crate) fn put(self, out: &mut String) {
        for (reason, titles) in self.0 {
            wrapped(
                out,
                &format!("{}: {reason}", titles.join(", ")),
                " – ",
                "   ",
            );
        }
    }
}

pub(crate) fn quantity_row(title: &str, q: &Quantity, of: &str) -> [String; 5] {
    let u = q
        .uncertainty
        .map_or_else(String::new, |u| figure(u.expanded));
    let how = q.how.map_or("absent", |how| how.as_str());
    [
        title.to_owned(),
        unit(q.value, of),
        u,
        range(q.interval.as_ref()),
        how.to_owned(),
    ]
}

fn other(result: &RunResult, out: &mut String) {
    let n = &result.numbers;
    let mut table = table(&["", "value", ""]);
    let say = |q: &Quantity| {
        q.reason
            .clone()
            .or_else(|| q.method.clone())
            .unwrap_or_default()
    };
    let flops = &n.flops;
    let labelled = |q: &Quantity| {
        let how = q
            .how
            .map_or_else(String::new, |how| format!("{}: ", how.as_str()));
        format!("{how}{}", say(q))
    };
    table.add_row([
        "FLOPs of a cycle".into(),
        si(flops.estimated.value, "FLOP"),
        labelled(&flops.estimated),
    ]);
    table.add_row(["MFU".into(), percent(flops.mfu.value), say(&flops.mfu)]);
    table.add_row(["MBU".into(), percent(flops.mbu.value), say(&flops.mbu)]);
    let absent = |path: &str| n.absent.get(path).cloned().unwrap_or_default();
    let bytes = |b: Option<u64>| si(b.map(|b| b as f64), "B");
    table.add_row([
        "Peak memory, process".into(),
        bytes(n.memory.process_peak_bytes),
        absent("memory.process_peak_bytes"),
    ]);
    table.add_row([
        "Peak memory, GPU".into(),
        bytes(n.memory.gpu_peak_bytes),
        absent("memory.gpu_peak_bytes"),
    ]);
    let tokens = format!("{} in, {} out", n.tokens.input, n.tokens.output);
    let failed = if n.requests.failed > 0 {
        format!(", {} failed", n.requests.failed)
    } else {
        String::new()
    };
    table.add_row([
        "Tokens".into(),
        tokens,
        format!("{} requests{failed}", n.requests.answered),
    ]);
    right(&mut table, &[0, 2]);
    put(out, "Compute and memory", &table);
}

pub(crate) fn warnings(result: &RunResult, out: &mut String) {
    if result.warnings.is_empty() {
        return;
    }
    let _ = write!(out, "\nWarnings\n");
    for warning in &result.warnings {
        wrapped(
            out,
            &format!("{}.", warning.message.trim_end_matches('.')),
            "  ! ",
            "    ",
        );
        wrapped(
            out,
            &format!("{}.", warning.remedy.trim_end_matches('.')),
            "    → ",
            "      ",
        );
    }
}

/// Where the run is, and what each sink received.
pub(crate) fn exports(result: &RunResult, out: &mut String) {
    match &result.migration {
        Some(migration) => {
            let (shape, source) = (migration.shape.as_str(), &migration.source);
            let _ = write!(out, "\nMigrated from version 2 ({shape}): {source}\n");
        }
        None => {
            let _ = write!(out, "\nRun folder: {}\n", result.run_dir);
        }
    }
    for export in &result.exports {
        let text = |name: &str| export.get(name).and_then(serde_json::Value::as_str);
        let Some(sink) = text("sink") else { continue };
        let state = text("state").unwrap_or("unknown").replace('_', " ");
        let count = |name: &str| {
            export
                .get(name)
                .and_then(serde_json::Value::as_u64)
                .unwrap_or(0)
        };
        let mut line = format!("{sink}: {state}");
        for (name, what) in [
            ("accepted", "accepted"),
            ("rejected", "rejected"),
            ("owed", "records owed"),
        ] {
            if count(name) > 0 {
                let _ = write!(line, ", {} {what}", count(name));
            }
        }
        let look_at = export
            .pointer("/receipt/look_at")
            .and_then(serde_json::Value::as_str);
        if let Some(place) = look_at.or(text("destination")) {
            let _ = write!(line, ", see {place}");
        }
        wrapped(out, &line, "", "    ");
        for more in [text("reason"), text("remedy")].into_iter().flatten() {
            wrapped(out, more, "    → ", "      ");
        }
    }
}

pub(crate) fn wrapped(out: &mut String, text: &str, first: &str, then: &str) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > usize::from(WIDTH) {
            let _ = writeln!(out, "{line}");
            then.clone_into(&mut line);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    let _ = writeln!(out, "{line}");
}
