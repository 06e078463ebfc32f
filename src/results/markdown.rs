//! A run in Markdown, for the page that a CI service shows of a step.
//!
//! Names come from configurations, models and servers, and may hold anything: what is
//! shown of them is text, whatever it says.

use std::fmt::Write as _;

use lem_delivery::{DeliveryState, Outcome};
use lem_record::Quantity;

use super::figures::{range, unit};
use super::v3::{Numbers, RunResult};

/// Of a name, and of a sentence.
const MOST_NAME: usize = 120;
const MOST_TEXT: usize = 400;
const MOST_WARNINGS: usize = 10;

/// The run's headline numbers, what became of its deliveries, its warnings.
pub fn run(result: &RunResult) -> String {
    let mut out = String::new();
    let name = text(&result.name, MOST_NAME);
    let _ = writeln!(out, "### {name}: {}\n", result.status.as_str());
    head(result, &mut out);
    if result.num_cycles > 0 {
        numbers(result, &mut out);
    }
    let exports: Vec<Outcome> = result
        .exports
        .iter()
        .filter_map(|export| serde_json::from_value(export.clone()).ok())
        .collect();
    deliveries(&result.run_id, &exports, &mut out);
    warnings(result, &mut out);
    out
}

/// Deliveries of several runs: the run, then what became of it in each sink.
pub fn exports(runs: &[(&str, &[Outcome])]) -> String {
    let mut out = String::from("### Deliveries\n\n");
    for (run, outcomes) in runs {
        if !outcomes.is_empty() {
            let _ = writeln!(out, "{}\n", text(run, MOST_NAME));
        }
        deliveries(run, outcomes, &mut out);
    }
    out
}

fn head(result: &RunResult, out: &mut String) {
    let model = result.model_name.as_deref().unwrap_or("no model");
    let backend = result.backend.as_deref().unwrap_or("no engine");
    let cycles = match result.num_cycles {
        1 => "1 cycle".to_owned(),
        n => format!("{n} cycles"),
    };
    let _ = writeln!(
        out,
        "{} on {}, {cycles}; run {}\n",
        text(model, MOST_NAME),
        text(backend, MOST_NAME),
        text(&result.run_id, MOST_NAME)
    );
    if let Some(reason) = &result.status_reason {
        let _ = writeln!(out, "{}\n", text(reason, MOST_TEXT));
    }
}

fn numbers(result: &RunResult, out: &mut String) {
    let n = &result.numbers;
    let _ = writeln!(
        out,
        "| | value | 95 % interval | how |\n|---|---:|---:|---|"
    );
    let quantities: [(&str, &Quantity, &str); 8] = [
        ("Energy of a cycle", &n.total_energy_j, "J"),
        ("– prefill", &n.prefill_energy_j, "J"),
        ("– decode", &n.decode_energy_j, "J"),
        ("– above idle", &n.total_energy_corrected_j, "J"),
        ("Energy per output token", &n.energy_per_output_token_j, "J"),
        ("Mean power", &n.power.mean_w, "W"),
        ("CO2e of a cycle", &n.carbon.emissions_g, "g"),
        ("Cost of a cycle", &n.cost.total_usd, "USD"),
    ];
    for (title, quantity, of) in quantities {
        let how = match (&quantity.how, &quantity.reason) {
            (Some(how), _) if quantity.value.is_some() => how.as_str().to_owned(),
            (_, Some(reason)) => text(reason, MOST_NAME),
            _ => "absent".to_owned(),
        };
        let interval = range(quantity.interval.as_ref());
        let _ = writeln!(
            out,
            "| {title} | {} | {interval} | {how} |",
            unit(quantity.value, of)
        );
    }
    for (title, value, of, path) in plain(n) {
        let interval = range(result.intervals.get(path));
        let _ = writeln!(out, "| {title} | {} | {interval} | |", unit(value, of));
    }
    let boundary = text(&result.producer.energy_boundary, MOST_TEXT);
    let _ = writeln!(out, "\nEnergy: {boundary}.\n");
}

fn plain(n: &Numbers) -> [(&'static str, Option<f64>, &'static str, &'static str); 6] {
    [
        (
            "Prefill",
            n.prefill_tokens_per_sec,
            "tokens/s",
            "prefill_tokens_per_sec",
        ),
        (
            "Decode",
            n.decode_tokens_per_sec,
            "tokens/s",
            "decode_tokens_per_sec",
        ),
        (
            "TTFT, mean",
            n.latency.ttft_ms.mean,
            "ms",
            "latency.ttft_ms.mean",
        ),
        ("TTFT, p99", n.latency.ttft_ms.p99, "ms", ""),
        (
            "TPOT, mean",
            n.latency.tpot_ms.mean,
            "ms",
            "latency.tpot_ms.mean",
        ),
        ("E2E, p99", n.latency.e2e_ms.p99, "ms", ""),
    ]
}

fn deliveries(run: &str, outcomes: &[Outcome], out: &mut String) {
    if outcomes.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "| sink | delivery | accepted | refused | owed | see |\n|---|---|---:|---:|---:|---|"
    );
    for outcome in outcomes {
        let look_at = outcome.receipt.as_ref().and_then(|r| r.look_at.as_deref());
        let place = look_at.map_or_else(|| text(&outcome.destination, MOST_NAME), link);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {place} |",
            text(&outcome.sink, MOST_NAME),
            state(outcome.state),
            outcome.accepted,
            outcome.rejected,
            outcome.owed,
        );
    }
    let late: Vec<&Outcome> = outcomes.iter().filter(|o| !o.complete()).collect();
    if late.is_empty() {
        let _ = writeln!(out, "\nEvery delivery is complete.\n");
        return;
    }
    let _ = writeln!(
        out,
        "\n**{} of {} deliveries incomplete.** The run is kept; `lem export --pending` delivers the rest.\n",
        late.len(),
        outcomes.len()
    );
    for outcome in late {
        let why = outcome.reason.as_deref().unwrap_or("the time was up");
        let remedy = outcome.remedy.as_deref().unwrap_or_default();
        // Of the run's own folder it speaks only where it must: the runner's is gone by then.
        let remedy = if remedy.starts_with("lem export ") {
            String::new()
        } else {
            format!(". {}", text(remedy, MOST_TEXT))
        };
        let _ = writeln!(
            out,
            "- {} ({}): {}{}",
            text(&outcome.sink, MOST_NAME),
            text(run, MOST_NAME),
            text(why, MOST_TEXT),
            remedy.trim_end_matches([' ', '.'])
        );
    }
    out.push('\n');
}

/// As a person says it.
pub fn state(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Delivered => "delivered",
        DeliveryState::Delivering => "still delivering",
        DeliveryState::Owing => "owed",
        DeliveryState::GaveUp => "given up",
    }
}

fn warnings(result: &RunResult, out: &mut String) {
    if result.warnings.is_empty() {
        return;
    }
    let count = result.warnings.len();
    let _ = writeln!(
        out,
        "<details><summary>{count} {}</summary>\n",
        if count == 1 { "warning" } else { "warnings" }
    );
    for warning in result.warnings.iter().take(MOST_WARNINGS) {
        let _ = writeln!(
            out,
            "- {}. {}.",
            text(warning.message.trim_end_matches('.'), MOST_TEXT),
            text(warning.remedy.trim_end_matches('.'), MOST_TEXT)
        );
    }
    if count > MOST_WARNINGS {
        let _ = writeln!(out, "- and {} more in result.json", count - MOST_WARNINGS);
    }
    let _ = writeln!(out, "\n</details>\n");
}

/// Text that is nothing but text: one line, so long at most, and every character that
/// Markdown or HTML could take for structure as an entity.
fn text(any: &str, most: usize) -> String {
    let words: String = any
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !turns_text(*c))
        .take(4 * most)
        .collect();
    let line = words.split(' ').filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    let mut out = String::new();
    for (place, c) in line.chars().enumerate() {
        if place == most {
            out.push('…');
            break;
        }
        if c.is_ascii_punctuation() && !matches!(c, '-' | ',' | '/' | '%' | '=' | ';') {
            let _ = write!(out, "&#{};", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that change the direction of what stands around them, or are not seen.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// An address of the web as a link, anything else as text.
fn link(place: &str) -> String {
    let web = ["https://", "http://"].iter().any(|s| place.starts_with(s));
    let shown = text(place, MOST_NAME);
    if !web || place.len() > 2000 {
        return shown;
    }
    let mut address = String::new();
    for byte in place.bytes() {
        // What may stand in an address, but for what ends one in Markdown.
        if byte.is_ascii_alphanumeric() || b"-._~:/?#@!$&'*+,;=%".contains(&byte) {
            address.push(char::from(byte));
        } else {
            let _ = write!(address, "%{byte:02X}");
        }
    }
    format!("[{shown}](<{address}>)")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::{link, text};

    #[test]
    fn structure_becomes_text() {
        for (hostile, shown) in [
            ("plain-name, 100 %", "plain-name, 100 %"),
            ("a|b\n# c", "a&#124;b &#35; c"),
            ("<img src=x>", "&#60;img src=x&#62;"),
            ("[x](javascript:y)", "&#91;x&#93;&#40;javascript&#58;y&#41;"),
            ("`@team` **b**", "&#96;&#64;team&#96; &#42;&#42;b&#42;&#42;"),
            ("evil\u{202e}txt.exe\0", "eviltxt&#46;exe"),
            ("  ", ""),
        ] {
            assert_eq!(text(hostile, 100), shown);
        }
        assert_eq!(text(&"ab".repeat(9), 4), "abab…");
    }

    #[test]
    fn only_the_web_is_linked() {
        assert_eq!(
            link("http://h:5000/#/runs/1"),
            "[http&#58;//h&#58;5000/&#35;/runs/1](<http://h:5000/#/runs/1>)"
        );
        assert_eq!(link("javascript:x"), "javascript&#58;x");
        assert!(link("https://h/>) <b>").ends_with("](<https://h/%3E%29%20%3Cb%3E>)"));
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_cell(any in "\\PC{0,300}|.{0,300}") {
            let shown = text(&any, 50);
            prop_assert!(shown.chars().count() <= 50 * 6 + 1);
            for structure in ['\n', '\r', '|', '<', '>', '`', '[', ']', '*', '_', '\\', '@', '!', '(', ')', '"', '~', '$'] {
                prop_assert!(!shown.contains(structure), "{shown}");
            }
        }
    }
}
