//! Torch's own profiler: which operators ran, and how many floating-point operations they
//! made.
//!
//! torch counts an operator by a formula over the shapes of its inputs, for products, sums
//! and convolutions. Two things are added here by the same kind of formula: attention,
//! which it counts as nothing where one kernel does it all, and the product that adds to
//! its output in place, whose name it does not know.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use super::TorchEngine;
use super::shim::{self, ProfiledEvent};
use crate::engine::{
    Cancel, EngineError, Event, EventSink, Profile, ProfiledKernel, ProfiledOperator, Work,
};

const ATTENTION: &str = "aten::scaled_dot_product_attention";
const MEMORY: &str = "[memory]";

pub(super) fn profile(
    engine: &mut TorchEngine,
    work: &Work,
    trace: &Path,
    cancel: &Cancel,
) -> Result<Profile, EngineError> {
    let path = CString::new(trace.as_os_str().as_bytes()).map_err(|_| {
        EngineError::new(
            format!("{} cannot be a file's path", trace.display()),
            "Choose another folder with --output",
        )
    })?;
    // A replayed graph launches kernels, but no operators.
    let graphs = std::mem::replace(&mut engine.cuda_graphs, false);
    let cuda = engine.place.is_cuda();
    let place = engine.place;
    let out = shim::profiled(cuda, Some(&path), || {
        let begun = Instant::now();
        super::generate::generate(engine, work, &mut Nobody, cancel)?;
        place.synchronize()?;
        Ok(begun.elapsed().as_secs_f64())
    });
    engine.cuda_graphs = graphs;
    let (seconds, events) = out?;
    Ok(Profile {
        seconds,
        ..summarised(events)
    })
}

/// Nobody listens to a profiled round.
struct Nobody;

impl EventSink for Nobody {
    fn event(&mut self, _: Event) {}
}

#[derive(Default)]
struct Sum {
    calls: u64,
    total_ns: u64,
    own_ns: u64,
    flops: f64,
}

fn summarised(mut events: Vec<ProfiledEvent>) -> Profile {
    // An operator before those within it.
    events.sort_by_key(|e| (e.start_ns, std::cmp::Reverse(e.duration_ns)));
    let mut operators: BTreeMap<String, Sum> = BTreeMap::new();
    let mut kernels: HashMap<String, (u64, u64)> = HashMap::new();
    let (mut flops, mut attention_flops) = (0.0, 0.0);
    // Ends and names of the operators that are open, the innermost last.
    let mut open: Vec<(u64, String)> = Vec::new();
    let (mut held, mut most) = (0_i64, 0_i64);
    for event in &events {
        if event.name == MEMORY {
            held = held.saturating_add(event.bytes);
            most = most.max(held);
            continue;
        }
        if event.on_device {
            let kernel = kernels.entry(event.name.clone()).or_default();
            kernel.0 += 1;
            kernel.1 += event.duration_ns;
            continue;
        }
        // Launches and waits of the runtime are told too; they are no operators.
        if !event.name.contains("::") {
            continue;
        }
        let end = event.start_ns + event.duration_ns;
        while open
            .last()
            .is_some_and(|(open_until, _)| *open_until <= event.start_ns)
        {
            open.pop();
        }
        if let Some((_, outer)) = open.last()
            && let Some(outer) = operators.get_mut(outer)
        {
            outer.own_ns = outer.own_ns.saturating_sub(event.duration_ns);
        }
        let within_attention = open.iter().any(|(_, name)| name == ATTENTION);
        let counted = if within_attention {
            // Whatever attention is made of is counted as attention.
            0.0
        } else if event.name == ATTENTION {
            let of_attention = attention(event);
            attention_flops += of_attention;
            of_attention
        } else if event.name == "aten::addmm_" {
            product(event)
        } else {
            event.flops as f64
        };
        flops += counted;
        let sum = operators.entry(event.name.clone()).or_default();
        sum.calls += 1;
        sum.total_ns += event.duration_ns;
        sum.own_ns += event.duration_ns;
        sum.flops += counted;
        open.push((end, event.name.clone()));
    }
    let seconds = |ns: u64| ns as f64 / 1e9;
    let mut operators: Vec<ProfiledOperator> = operators
        .into_iter()
        .map(|(name, sum)| ProfiledOperator {
            name,
            calls: sum.calls,
            total_s: seconds(sum.total_ns),
            own_s: seconds(sum.own_ns),
            flops: sum.flops,
        })
        .collect();
    operators.sort_by(|a, b| b.own_s.total_cmp(&a.own_s));
    let mut kernels: Vec<ProfiledKernel> = kernels
        .into_iter()
        .map(|(name, (calls, ns))| ProfiledKernel {
            name,
            calls,
            seconds: seconds(ns),
        })
        .collect();
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then(a.name.cmp(&b.name)));
    Profile {
        seconds: 0.0,
        profiler: format!("torch's profiler, libtorch {}", shim::version()),
        flops,
        attention_flops,
        operators,
        kernels,
        peak_bytes: u64::try_from(most).ok().filter(|&bytes| bytes > 0),
    }
}

/// 4 · batch · heads · queries · keys · head size; half of it where the queries see only
/// what is before them.
fn attention(event: &ProfiledEvent) -> f64 {
    let [Some(queries), Some(keys)] = [0, 1].map(|i| event.shapes.get(i)) else {
        return 0.0;
    };
    let Some(&seen) = keys.iter().rev().nth(1) else {
        return 0.0;
    };
    let size: f64 = queries.iter().map(|&n| n as f64).product();
    // query, key, value, mask, dropout, causal, …
    let causal = event.inputs.as_bytes().get(5) == Some(&b'T');
    4.0 * size * seen as f64 * if causal { 0.5 } else { 1.0 }
}

/// Of an output that adds the product of two matrices to itself.
fn product(event: &ProfiledEvent) -> f64 {
    match (
        event.shapes.get(1).map(Vec::as_slice),
        event.shapes.get(2).map(Vec::as_slice),
    ) {
        (Some(&[m, k]), Some(&[_, n])) => 2.0 * m as f64 * k as f64 * n as f64,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, start_ns: u64, duration_ns: u64, flops: u64) -> ProfiledEvent {
        ProfiledEvent {
            name: name.into(),
            start_ns,
            duration_ns,
            flops,
            ..ProfiledEvent::default()
        }
    }

    #[test]
    fn attention_counts_once_and_half_where_it_is_causal() {
        let causal = ProfiledEvent {
            shapes: vec![vec![2, 8, 10, 64], vec![2, 4, 10, 64], vec![2, 4, 10, 64]],
            inputs: "....\u{2e}T.F".into(),
            ..event(ATTENTION, 0, 100, 0)
        };
        let step = ProfiledEvent {
            shapes: vec![vec![2, 4, 2, 64], vec![2, 4, 11, 64]],
            inputs: ".....F.F".into(),
            ..event(ATTENTION, 200, 10, 0)
        };
        let profile = summarised(vec![
            // What the plain implementation makes of it.
            event("aten::bmm", 10, 20, 999),
            causal,
            step,
        ]);
        let prompt = 4.0 * 2.0 * 8.0 * 10.0 * 64.0 * 10.0 / 2.0;
        let one = 4.0 * 2.0 * 4.0 * 2.0 * 64.0 * 11.0;
        assert_eq!(profile.attention_flops, prompt + one);
        assert_eq!(profile.flops, prompt + one);
    }

    #[test]
    fn operators_within_others_take_their_time_from_them() {
        let adding = ProfiledEvent {
            shapes: vec![vec![3, 5], vec![3, 4], vec![4, 5]],
            ..event("aten::addmm_", 100, 50, 0)
        };
        let kernel = ProfiledEvent {
            on_device: true,
            ..event("gemm", 5, 7, 0)
        };
        let profile = summarised(vec![
            event("aten::matmul", 0, 80, 0),
            event("aten::mm", 10, 60, 1000),
            adding,
            kernel,
            event("cudaLaunchKernel", 20, 5, 0),
        ]);
        assert_eq!(profile.flops, 1000.0 + 2.0 * 3.0 * 4.0 * 5.0);
        let own = |name: &str| {
            let found = profile.operators.iter().find(|o| o.name == name).unwrap();
            (found.own_s * 1e9).round()
        };
        assert_eq!(own("aten::matmul"), 20.0);
        assert_eq!(own("aten::mm"), 60.0);
        assert_eq!(profile.operators.len(), 3);
        assert_eq!(profile.kernels.len(), 1);
    }

    #[test]
    fn memory_is_followed_to_its_peak() {
        let memory = |start_ns, bytes| ProfiledEvent {
            bytes,
            ..event(MEMORY, start_ns, 0, 0)
        };
        let profile = summarised(vec![
            memory(3, -100),
            memory(1, 100),
            memory(2, 50),
            memory(4, 20),
        ]);
        assert_eq!(profile.peak_bytes, Some(150));
    }
}
