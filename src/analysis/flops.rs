//! Floating-point operations from the architecture, and how well the hardware was used.
//!
//! Dense decoder, forward pass, a multiplication with its addition being two:
//! a prompt of S tokens takes 2·N·S + 2·L·n_h·d_h·S², and a token at context t takes
//! 2·N + 4·L·n_h·d_h·t, where N counts the parameters that take part in a token's pass.
//! Grouped key and value heads change N, not the attention term. The first output token
//! comes out of the prompt's pass, so n output tokens take n − 1 passes more; and engines
//! take the logits of a prompt's last token alone, so that the output matrix, where its
//! size is known, is counted once a prompt. Where the architecture is not known:
//! 2·parameters a token, and the method says so.

use lem_record::How;

use super::data::{CycleData, RunData};
use super::latency::{RequestLatency, answered};
use super::peaks::{self, Peak};
use super::sheet::{Obtained, Reading, Sheet};
use crate::engine::ModelDescription;
use crate::meter::Component;

/// What one pass costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Parameters in a token's pass.
    pub parameters: f64,
    /// Of these the output matrix, where its size is known.
    pub output: f64,
    /// L·n_h·d_h; `None` where the attention is not known.
    pub attention: Option<f64>,
    pub method: &'static str,
}

impl Cost {
    pub fn of(model: &ModelDescription) -> Option<Self> {
        let parameters = model.active_parameters.or(model.parameters)?;
        let head = model
            .head_size
            .or_else(|| model.hidden_size?.checked_div(model.attention_heads?));
        let attention = model
            .layers
            .zip(model.attention_heads)
            .zip(head)
            .map(|((l, h), d)| f64::from(l) * f64::from(h) * f64::from(d));
        let output = model
            .vocabulary
            .zip(model.hidden_size)
            .map_or(0.0, |(v, h)| f64::from(v) * f64::from(h))
            .min(parameters as f64);
        let method = match (attention.is_some(), model.active_parameters.is_some()) {
            (true, true) => "architecture with attention: 2·N_active + 4·L·n_h·d_h·t a token",
            (true, false) => "architecture with attention, N being all parameters",
            (false, true) => "2·active parameters a token, attention not known",
            (false, false) => "2·parameters a token",
        };
        Some(Self {
            parameters: parameters as f64,
            output,
            attention,
            method,
        })
    }

    /// Of a request with S input and n output tokens.
    pub fn request(&self, input: u64, output: u64) -> f64 {
        let (s, steps) = (input as f64, output.saturating_sub(1) as f64);
        let a = self.attention.unwrap_or(0.0);
        let logits = 2.0 * self.output * (s - 1.0).max(0.0);
        let prefill = 2.0 * self.parameters * s - logits + 2.0 * a * s * s;
        // Contexts S+1 … S+steps.
        let contexts = steps * s + steps * (steps + 1.0) / 2.0;
        prefill + 2.0 * self.parameters * steps + 4.0 * a * contexts
    }
}

/// Fills in a cycle's FLOPs; the sheet must have the energies and times.
pub fn put(data: &RunData, cycle: &CycleData, sheet: &mut Sheet) {
    let requests = cycle.requests.iter().filter(|r| answered(r));
    let cost = data.model.as_ref().and_then(Cost::of);
    let flops: Obtained = match cost {
        _ if !cycle.complete => Err("the cycle was cut off".into()),
        None => Err("the engine does not tell the model's number of parameters".into()),
        Some(cost) => {
            let of = |r: &super::data::RequestData| {
                cost.request(r.timeline.input_tokens, r.timeline.output_tokens)
            };
            Ok(Reading::new(requests.map(of).sum(), How::Estimated).method(cost.method))
        }
    };
    let seconds = cycle.window.seconds();
    let rate = flops.clone().map(|f| f.scaled(1.0 / seconds));
    sheet.per(
        "efficiency.flops_per_joule",
        flops.clone(),
        sheet.reading("energy.total"),
    );
    sheet.with("lem.flops.source", "estimated");
    let peak = peak(data);
    sheet.mean(
        "flops.mfu",
        utilisation(rate, peak.as_ref().map(|(p, n)| (p.flops, *n))),
    );
    let bytes = bytes_per_second(data, cycle);
    sheet.mean(
        "flops.mbu",
        utilisation(bytes, peak.as_ref().map(|(p, n)| (Some(p.bytes), *n))),
    );
    sheet.ratio(
        "flops.rate",
        flops.clone(),
        seconds,
        "the cycle has no duration",
    );
    sheet.mean("flops.estimated", flops.clone());
    match profiled(data) {
        None => {
            let profiler =
                "no profiler counted them; profiling.enabled is for engines that have one";
            sheet.mean("flops.measured", Err(profiler.into()));
        }
        Some((counted, estimated, whole)) => {
            // What was profiled is a cycle or a part of one: the estimate tells how large.
            let ratio = counted / estimated;
            let method = if whole {
                "operators counted by the engine's profiler, attention from its shapes"
            } else {
                "operators of a part of the cycle, counted by the engine's profiler; scaled to the cycle by the estimate"
            };
            let measured =
                flops.map(|f| Reading::new(f.value * ratio, How::Reported).method(method));
            let discrepancy = Reading::new(1.0 / ratio - 1.0, How::Reported).method(method);
            sheet.mean("flops.discrepancy", measured.clone().map(|_| discrepancy));
            sheet.mean("flops.measured", measured);
        }
    }
}

/// FLOPs that a profiler counted, the estimate of the same work, and whether that work
/// was a whole cycle.
fn profiled(data: &RunData) -> Option<(f64, f64, bool)> {
    let table = data.profile.as_ref()?;
    let value = |what: &str| {
        let row = table
            .rows
            .iter()
            .find(|row| row.first().is_some_and(|w| w == what))?;
        row.get(1)
    };
    let number = |what: &str| value(what)?.as_f64().filter(|v| v.is_finite() && *v > 0.0);
    let whole = value("work").is_some_and(|w| w == "a whole cycle");
    Some((number("flops")?, number("estimated flops")?, whole))
}

fn utilisation(rate: Obtained, peak: Result<(Option<f64>, usize), &String>) -> Obtained {
    let (peak, devices) = peak.map_err(Clone::clone)?;
    let peak = peak.ok_or("the hardware has no published peak for the type it computes in")?;
    let rate = rate?;
    let mut share = rate.scaled(1.0 / (peak * devices as f64));
    share.method = share
        .method
        .map(|m| format!("{m}; over the published dense peak"));
    Ok(share)
}

/// The peak of the GPUs that the engine ran on, and how many there are.
fn peak(data: &RunData) -> Result<(Peak, usize), String> {
    let model = data
        .model
        .as_ref()
        .ok_or("the engine does not describe itself")?;
    if model.device.to_ascii_lowercase().starts_with("cpu") {
        return Err("the engine runs on a CPU, whose peak is not known".into());
    }
    let mut names: Vec<(&str, &str)> = data
        .sources
        .iter()
        .filter(|s| s.component == Component::Gpu)
        .map(|s| (s.device.as_deref().unwrap_or(&s.id), s.name.as_str()))
        .collect();
    names.sort_unstable();
    names.dedup_by_key(|(device, _)| *device);
    let (_, name) = names.first().ok_or("no GPU was seen")?;
    if names.iter().any(|(_, other)| other != name) {
        return Err("the GPUs are not all alike".into());
    }
    let compute = model.compute_type.as_deref().unwrap_or("");
    let peak = peaks::find(name, compute)
        .ok_or_else(|| format!("the peak of {name} is not in lem's table"))?;
    Ok((peak, names.len()))
}

/// (weight bytes + bytes of the caches read in a step) / TPOT. The caches are those of the
/// sequences that decode together, at their mean length.
fn bytes_per_second(data: &RunData, cycle: &CycleData) -> Obtained {
    let model = data
        .model
        .as_ref()
        .ok_or("the engine does not describe itself")?;
    let weights = model
        .weight_bytes
        .ok_or("the engine does not tell the weights' bytes")?;
    let cache = model
        .kv_bytes_per_token
        .ok_or("the engine does not tell the cache's bytes")?;
    let windows = super::phases::PhaseWindows::of(cycle)?;
    let decoding = super::phases::seconds(&windows.decode);
    let (mut busy, mut token_seconds, mut tpots) = (0.0, 0.0, Vec::new());
    for request in cycle.requests.iter().filter(|r| answered(r)) {
        let latency = RequestLatency::of(request);
        let (Some(tpot), Some(e2e), Some(ttft)) = (latency.tpot, latency.e2e, latency.ttft) else {
            continue;
        };
        let context = request.timeline.input_tokens as f64
            + request.timeline.output_tokens.saturating_sub(1) as f64 / 2.0;
        tpots.push(tpot);
        busy += e2e - ttft;
        token_seconds += (e2e - ttft) * context;
    }
    let tpot = super::statistics::mean(&tpots).filter(|t| *t > 0.0 && decoding > 0.0);
    let tpot = tpot.ok_or("no request has a second output token")?;
    let cached = if busy > 0.0 {
        token_seconds / decoding * cache as f64
    } else {
        0.0
    };
    let rate = (weights as f64 + cached) / tpot;
    Ok(Reading::new(rate, How::Estimated).method("(weight bytes + cache bytes) / TPOT"))
}
