//! The energy of one request: its share of its cycle's phases.
//!
//! Requests of a batch run together, and no sensor tells them apart. So this is a rule, and
//! what it gives is modelled also where the total was measured: prefill is shared by input
//! tokens, decode by output tokens after the first, what is neither by heads. Requests that
//! failed have their share too, so that the shares of a cycle sum to its total.

use super::data::RequestData;

/// Energies that are shared out, joules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phases {
    pub prefill: f64,
    pub decode: f64,
    pub other: f64,
}

/// One a request, joules.
pub fn of(requests: &[RequestData], phases: Phases) -> Vec<f64> {
    let input = |r: &RequestData| r.timeline.input_tokens as f64;
    let decoded = |r: &RequestData| r.timeline.output_tokens.saturating_sub(1) as f64;
    let (inputs, outputs): (f64, f64) = requests
        .iter()
        .fold((0.0, 0.0), |sum, r| (sum.0 + input(r), sum.1 + decoded(r)));
    let heads = requests.len() as f64;
    let share = |part: f64, whole: f64| {
        if whole > 0.0 {
            part / whole
        } else {
            1.0 / heads
        }
    };
    requests
        .iter()
        .map(|r| {
            phases.prefill * share(input(r), inputs)
                + phases.decode * share(decoded(r), outputs)
                + phases.other / heads
        })
        .collect()
}
