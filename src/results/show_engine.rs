//! What the engine says of itself, for the report of a run: queueing, cache hits,
//! preemption, speculation, and how well the client kept up.

use lem_record::{Quantity, catalogue};

use super::figures::{percent, si, unit};
use super::show::{Absent, put as put_table, right, table};
use super::v3::{Distribution, Numbers};

/// Nothing where the engine says nothing.
pub fn put(numbers: &Numbers, out: &mut String) {
    let mut absent = Absent::default();
    let present: Vec<(&String, &Quantity)> = numbers
        .engine
        .iter()
        .filter(|(id, quantity)| {
            if quantity.value.is_none() {
                absent.note(id, quantity.reason.as_ref());
            }
            quantity.value.is_some()
        })
        .collect();
    if !present.is_empty() {
        let mut table = table(&["", "mean of a cycle", "how", "what"]);
        for (id, quantity) in present {
            let how = quantity.how.map_or("", |how| how.as_str());
            table.add_row([
                (*id).clone(),
                number(id, quantity.value),
                how.to_owned(),
                help(id),
            ]);
        }
        right(&mut table, &[0, 2, 3]);
        put_table(out, "What the engine says", &table);
    }
    absent.put(out);
    let times: Vec<(&String, &Distribution)> = numbers
        .engine_latency
        .iter()
        .filter(|(_, d)| d.count > 0)
        .collect();
    if times.is_empty() {
        return;
    }
    let mut table = table(&["", "mean", "p50", "p90", "p99", "n"]);
    for (id, d) in times {
        let ms = |value: Option<f64>| unit(value, "ms");
        table.add_row([
            (*id).clone(),
            ms(d.mean),
            ms(d.p50),
            ms(d.p90),
            ms(d.p99),
            d.count.to_string(),
        ]);
    }
    right(&mut table, &[0]);
    put_table(
        out,
        "Times of requests as the engine tells them, and the client's own",
        &table,
    );
}

/// The first part of its help: up to the first comma or full stop.
fn help(id: &str) -> String {
    let help = catalogue::find(id).map_or("", |def| def.help);
    help.split([',', '.', ':'])
        .next()
        .unwrap_or(help)
        .to_owned()
}

fn number(id: &str, value: Option<f64>) -> String {
    match catalogue::find(id).map_or("", |def| def.unit) {
        "1" => percent(value),
        "s" => unit(value.map(|s| s * 1e3), "ms"),
        "{token}" => si(value, "tokens"),
        "{request}/s" => unit(value, "requests/s"),
        _ => unit(value, "").trim_end().to_owned(),
    }
}
