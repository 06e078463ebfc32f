//! The readable end of a measured command.

use std::fmt::Write as _;

use lem_record::Quantity;

use super::result::{CommandResult, PhaseResult};
use crate::results::RunResult;
use crate::results::figures::{figure, plain, si};
use crate::results::show::{Absent, exports, put, quantity_row, right, table, warnings, wrapped};

/// The whole report, ending with a line break.
pub fn render(result: &RunResult, command: &CommandResult) -> String {
    let mut out = String::new();
    head(result, command, &mut out);
    if result.num_cycles > 0 {
        energy(result, &mut out);
    }
    if !result.marked_phases.is_empty() {
        phases(&result.marked_phases, &mut out);
    }
    warnings(result, &mut out);
    exports(result, &mut out);
    out
}

fn head(result: &RunResult, command: &CommandResult, out: &mut String) {
    let _ = writeln!(
        out,
        "{} ({}), {}",
        result.name,
        result.run_id,
        result.status.as_str()
    );
    let words = std::iter::once(&command.program).chain(&command.arguments);
    let line: Vec<String> = words.map(|w| w.escape_debug().to_string()).collect();
    let line = line.join(" ");
    let cut: String = line.chars().take(300).collect();
    wrapped(out, &cut, "", "    ");
    let mut facts = Vec::new();
    match (command.exit_code, command.signal) {
        (Some(code), _) => facts.push(format!("exit code {code}")),
        (None, Some(signal)) => facts.push(format!("ended by signal {signal}")),
        (None, None) => {}
    }
    if let Some(seconds) = result.numbers.duration_s {
        facts.push(format!("{} s", figure(seconds)));
    }
    if let Some(seconds) = command.cpu_seconds {
        facts.push(format!("{} s of processor time", plain(Some(seconds))));
    }
    if let Some(bytes) = command.peak_memory_bytes {
        facts.push(format!("{} of memory", si(Some(bytes as f64), "B")));
    }
    let _ = writeln!(out, "{}", facts.join(", "));
}

fn energy(result: &RunResult, out: &mut String) {
    let n = &result.numbers;
    let mut table = table(&["", "value", "± U (k=2)", "95 % interval", "how"]);
    let mut absent = Absent::default();
    let rows: [(&str, &Quantity, &str); 9] = [
        ("Total", &n.total_energy_j, "J"),
        ("  GPU", &n.energy_components.gpu, "J"),
        ("  CPU", &n.energy_components.cpu, "J"),
        ("  Memory", &n.energy_components.memory, "J"),
        ("Above idle", &n.total_energy_above_bare_j, "J"),
        ("Mean power", &n.power.mean_w, "W"),
        ("Peak power", &n.power.peak_w, "W"),
        ("CO2e", &n.carbon.emissions_g, "g"),
        ("Cost", &n.cost.total_usd, "USD"),
    ];
    // What nobody asked for is not missed.
    let tokens =
        (n.tokens.output > 0).then_some(("Per output token", &n.energy_per_output_token_j, "J"));
    for (title, quantity, of) in rows.into_iter().chain(tokens) {
        if quantity.value.is_none() {
            absent.note(title.trim(), quantity.reason.as_ref());
        }
        table.add_row(quantity_row(title, quantity, of));
    }
    right(&mut table, &[0, 4]);
    put(
        out,
        &format!("Energy of the command; {}", result.producer.energy_boundary),
        &table,
    );
    absent.put(out);
}

fn phases(phases: &[PhaseResult], out: &mut String) {
    let mut table = table(&[
        "phase",
        "n",
        "time s",
        "J",
        "± U (k=2)",
        "J each",
        "W",
        "tokens",
        "J/token",
    ]);
    let mut absent = Absent::default();
    for phase in phases {
        if !phase.resolvable {
            absent.note(&phase.name, phase.energy_j.reason.as_ref());
        }
        let u = phase.energy_j.uncertainty;
        // Where both were told, output is what a step is for.
        let (tokens, each) = match phase.output_tokens {
            Some(n) => (Some(n), &phase.energy_per_output_token_j),
            None => (phase.input_tokens, &phase.energy_per_input_token_j),
        };
        table.add_row([
            phase.name.clone(),
            phase.count.to_string(),
            plain(Some(phase.seconds)),
            plain(phase.energy_j.value),
            u.map_or_else(String::new, |u| figure(u.expanded)),
            plain(phase.energy_each_j.value),
            plain(phase.power_w.value),
            tokens.map_or_else(|| "–".into(), |n| n.to_string()),
            plain(each.as_ref().and_then(|q| q.value)),
        ]);
    }
    right(&mut table, &[0]);
    put(out, "Phases that the command marked", &table);
    absent.put(out);
}
