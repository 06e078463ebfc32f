//! Times, tokens and rates of a cycle.

use lem_record::How;

use super::data::CycleData;
use super::latency::answered;
use super::phases::{self, PhaseWindows};
use super::sheet::{Obtained, Reading, Sheet};

/// What a cycle answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub answered: u64,
    pub failed: u64,
    /// Of answered requests.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Output tokens but each sequence's first, which belongs to prefill.
    pub decode_tokens: u64,
}

impl Counts {
    pub fn of(cycle: &CycleData) -> Self {
        let mut counts = Self {
            failed: cycle.failed,
            ..Self::default()
        };
        for request in &cycle.requests {
            if !answered(request) {
                continue;
            }
            let (input, output) = (
                request.timeline.input_tokens,
                request.timeline.output_tokens,
            );
            counts.answered += 1;
            counts.input_tokens = counts.input_tokens.saturating_add(input);
            counts.output_tokens = counts.output_tokens.saturating_add(output);
            counts.decode_tokens = counts
                .decode_tokens
                .saturating_add(output.saturating_sub(1));
        }
        if let Some(told) = &cycle.command.told {
            counts.input_tokens = told.input_tokens.unwrap_or(0);
            counts.output_tokens = told.output_tokens.unwrap_or(0);
        }
        if !cycle.complete {
            counts.failed = cycle.requests.len() as u64 - counts.answered;
        }
        counts
    }
}

fn time(seconds: f64) -> Reading {
    Reading::new(seconds, How::Measured)
}

/// Fills in a cycle's times, counts and rates.
pub fn put(
    cycle: &CycleData,
    counts: &Counts,
    windows: &Result<PhaseWindows, String>,
    sheet: &mut Sheet,
) {
    let duration = cycle.window.seconds();
    sheet.count("run.duration", duration);
    sheet.count("run.requests", counts.answered as f64);
    sheet.count("run.requests_failed", counts.failed as f64);
    sheet.count("tokens.input", counts.input_tokens as f64);
    sheet.count("tokens.output", counts.output_tokens as f64);
    sheet.count("sampling.samples", cycle.samples_missed as f64);
    sheet.with("lem.status", "missed");

    let phase = |seconds: fn(&PhaseWindows) -> f64| -> Obtained {
        windows
            .as_ref()
            .map(|w| time(seconds(w)))
            .map_err(Clone::clone)
    };
    let prefill = phase(|w| phases::seconds(&w.prefill));
    let decode = phase(|w| phases::seconds(&w.decode));
    let other = phase(|w| w.other_ns as f64 / 1e9);
    let whole = if cycle.complete {
        Ok(time(duration))
    } else {
        Err("the cycle was cut off".into())
    };
    let tokens = |count: u64| Ok(Reading::new(count as f64, How::Measured));
    sheet.per(
        "throughput.prefill",
        tokens(counts.input_tokens),
        prefill.clone(),
    );
    sheet.per(
        "throughput.decode",
        tokens(counts.decode_tokens),
        decode.clone(),
    );
    sheet.per(
        "throughput.total",
        tokens(counts.output_tokens),
        whole.clone(),
    );
    sheet.per("throughput.requests", tokens(counts.answered), whole);
    sheet.mean("time.prefill", prefill);
    sheet.mean("time.decode", decode);
    sheet.mean("time.other", other);
}

/// Fills in energy over work; the sheet must have the energies.
pub fn put_efficiency(cycle: &CycleData, counts: &Counts, sheet: &mut Sheet) {
    let total = sheet.reading("energy.total");
    let whole = if cycle.complete {
        total.clone()
    } else {
        Err("the cycle was cut off: not all that it worked on was finished".into())
    };
    let prefill = sheet.reading("energy.prefill");
    let (input, output) = (counts.input_tokens as f64, counts.output_tokens as f64);
    sheet.ratio(
        "energy.per_output_token",
        whole.clone(),
        output,
        "there is no output token",
    );
    sheet.ratio(
        "energy.per_input_token",
        prefill,
        input,
        "there is no input token",
    );
    let answered = counts.answered as f64;
    sheet.ratio(
        "energy.per_request",
        whole.clone(),
        answered,
        "no request was answered",
    );
    let tokens = Ok(Reading::new(output, How::Measured));
    sheet.per("efficiency.tokens_per_joule", tokens, whole);
    let expanded = total.and_then(|total| {
        let u = total
            .budget
            .and_then(|b| b.expanded())
            .ok_or("the total has no uncertainty")?;
        Ok(Reading::new(u.expanded, total.how).method("U = 2u of the total"))
    });
    sheet.mean("energy.uncertainty", expanded);
}
