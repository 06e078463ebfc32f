//! The table. `lem metrics` prints it; `docs/metrics.md` is generated from it.

use super::{Kind, Kind::*, MetricDef, Unit};

#[allow(clippy::too_many_arguments)] // a row of a table
const fn m(
    id: &'static str,
    unit: Unit,
    kind: Kind,
    key_stem: &'static str,
    key_unit: &'static str,
    otel: &'static str,
    fixed: &'static [(&'static str, &'static str)],
    attributes: &'static [&'static str],
    help: &'static str,
) -> MetricDef {
    MetricDef {
        id,
        unit,
        kind,
        key_stem,
        key_unit,
        otel,
        fixed,
        attributes,
        help,
    }
}

#[rustfmt::skip] // one metric a line
pub const METRICS: &[MetricDef] = &[
    // the run
    m("run.duration", "s", Gauge, "run/duration", "seconds", "lem.run.duration", &[], &[], "Wall time of the measured cycles together."),
    m("run.cycles", "{cycle}", Gauge, "run/cycles", "", "lem.run.cycles", &[], &[], "Measured cycles that were finished."),
    m("run.requests", "{request}", Counter, "run/requests", "", "lem.run.requests", &[("lem.status", "ok")], &[], "Requests that were answered."),
    m("run.requests_failed", "{request}", Counter, "run/requests_failed", "", "lem.run.requests", &[("lem.status", "failed")], &[], "Requests that failed or were cancelled."),
    m("run.info", "", Gauge, "run/info", "", "lem.run.info", &[], &["lem.run.name", "lem.backend", "gen_ai.request.model", "lem.precision", "lem.version"], "Always 1; what was run stands in the attributes."),
    m("run.completed", "s", Gauge, "run/completed_timestamp", "seconds", "lem.run.completed.timestamp", &[], &["lem.status"], "Unix time at which the run ended."),
    m("run.marked", "{phase}", Gauge, "run/phase_{lem.phase}", "", "lem.marked.phases", &[], &["lem.phase"], "How often a phase that a command marked occurred."),
    // the run while it goes on; for live sinks only
    m("live.progress", "1", Gauge, "live/progress", "ratio", "lem.run.progress", &[], &[], "Answered requests of all measured cycles, over those planned."),
    m("live.cycle", "{cycle}", Gauge, "live/cycle", "", "lem.run.cycle", &[], &[], "The cycle that is being measured, from 0."),
    m("live.phase", "", UpDown, "live/phase_{lem.phase}", "", "lem.run.phase", &[], &["lem.phase"], "1 for what the run is doing now (loading, warmup, baseline, prefill, decode, other, ended), else 0."),
    m("live.output_tokens", "{token}", Counter, "live/output_tokens", "", "lem.run.output_tokens", &[], &[], "Output tokens so far, warm-up included."),
    // time by phase; the three sum to the cycle
    m("time.prefill", "s", Gauge, "time/prefill", "seconds", "lem.phase.duration", &[("lem.phase", "prefill")], &[], "Wall time in a cycle up to each sequence's first token; the mean over cycles."),
    m("time.decode", "s", Gauge, "time/decode", "seconds", "lem.phase.duration", &[("lem.phase", "decode")], &[], "Wall time in a cycle after the first token; the mean over cycles."),
    m("time.other", "s", Gauge, "time/other", "seconds", "lem.phase.duration", &[("lem.phase", "other")], &[], "Wall time in a cycle neither prefill nor decode: tokenising, scheduling, gaps between batches; the mean over cycles."),
    m("time.marked", "s", Gauge, "time/phase_{lem.phase}", "seconds", "lem.marked.duration", &[], &["lem.phase"], "Wall time of a phase that a command marked, all its occurrences together."),
    // energy
    m("energy.prefill", "J", Gauge, "energy/prefill", "joules", "lem.phase.energy", &[("lem.phase", "prefill")], &[], "Gross energy of the prefill phase, idle included; the mean over cycles."),
    m("energy.decode", "J", Gauge, "energy/decode", "joules", "lem.phase.energy", &[("lem.phase", "decode")], &[], "Gross energy of the decode phase, idle included; the mean over cycles."),
    m("energy.other", "J", Gauge, "energy/other", "joules", "lem.phase.energy", &[("lem.phase", "other")], &[], "Gross energy of the other phase, idle included; the mean over cycles."),
    m("energy.prefill_corrected", "J", Gauge, "energy/prefill_corrected", "joules", "lem.phase.energy.corrected", &[("lem.phase", "prefill")], &[], "Energy of the prefill phase above the loaded-idle baseline. May be negative: it is not clamped."),
    m("energy.decode_corrected", "J", Gauge, "energy/decode_corrected", "joules", "lem.phase.energy.corrected", &[("lem.phase", "decode")], &[], "Energy of the decode phase above the loaded-idle baseline. May be negative: it is not clamped."),
    m("energy.other_corrected", "J", Gauge, "energy/other_corrected", "joules", "lem.phase.energy.corrected", &[("lem.phase", "other")], &[], "Energy of the other phase above the loaded-idle baseline. May be negative: it is not clamped."),
    m("energy.total", "J", Gauge, "energy/total", "joules", "lem.run.energy", &[], &[], "Gross energy of a cycle, summed over the measured components (modelled ones only where none is measured); the mean over cycles."),
    m("energy.total_corrected", "J", Gauge, "energy/total_corrected", "joules", "lem.run.energy.corrected", &[], &[], "Gross energy minus loaded-idle power times time."),
    m("energy.total_above_bare", "J", Gauge, "energy/total_above_bare", "joules", "lem.run.energy.above_bare", &[], &[], "Gross energy minus bare-idle power times time: with parking."),
    m("energy.closure", "1", Gauge, "energy/closure", "ratio", "lem.run.energy.closure", &[], &["hw.id"], "Integral of sampled power over the energy counter of the same sensor; 1 is agreement."),
    m("energy.delay_product", "J.s", Gauge, "energy/delay_product", "joule_seconds", "lem.run.energy_delay", &[], &[], "Energy times duration of a cycle."),
    m("energy.gpu", "J", Gauge, "energy/gpu", "joules", "lem.component.energy", &[("hw.type", "gpu")], &[], "Gross energy of the gpu component in a cycle; the mean over cycles."),
    m("energy.cpu", "J", Gauge, "energy/cpu", "joules", "lem.component.energy", &[("hw.type", "cpu")], &[], "Gross energy of the cpu component in a cycle; the mean over cycles."),
    m("energy.memory", "J", Gauge, "energy/memory", "joules", "lem.component.energy", &[("hw.type", "memory")], &[], "Gross energy of the memory component in a cycle; the mean over cycles."),
    m("energy.uncertainty", "J", Gauge, "energy/uncertainty", "joules", "lem.run.energy.uncertainty", &[], &[], "Expanded uncertainty U = 2u of the total."),
    m("energy.per_output_token", "J/{token}", Gauge, "energy/per_output_token", "joules", "lem.run.energy.per_output_token", &[], &[], "Gross total over output tokens."),
    m("energy.per_input_token", "J/{token}", Gauge, "energy/per_input_token", "joules", "lem.run.energy.per_input_token", &[], &[], "Gross prefill energy over input tokens."),
    m("energy.per_request", "J/{request}", Gauge, "energy/per_request", "joules", "lem.run.energy.per_request", &[], &[], "Gross total over answered requests."),
    m("energy.marked", "J", Gauge, "energy/phase_{lem.phase}", "joules", "lem.marked.energy", &[], &["lem.phase"], "Gross energy of a phase that a command marked, all its occurrences together."),
    m("energy.marked_each", "J", Gauge, "energy/phase_{lem.phase}_each", "joules", "lem.marked.energy.each", &[], &["lem.phase"], "Gross energy of one occurrence of a phase that a command marked; the mean."),
    m("energy.marked_per_token", "J/{token}", Gauge, "energy/phase_{lem.phase}_per_{gen_ai.token.type}_token", "joules", "lem.marked.energy.per_token", &[], &["lem.phase", "gen_ai.token.type"], "Gross energy of a phase that a command marked, over the tokens told within it."),
    // efficiency
    m("efficiency.tokens_per_joule", "{token_per_joule}", Gauge, "efficiency/tokens", "per_joule", "lem.efficiency.tokens_per_joule", &[], &[], "Output tokens over gross total energy."),
    m("efficiency.flops_per_joule", "{FLOP_per_joule}", Gauge, "efficiency/flops", "per_joule", "lem.efficiency.flops_per_joule", &[], &["lem.flops.source"], "Floating-point operations over gross total energy."),
    // idle baseline
    m("baseline.power", "W", Gauge, "baseline/{lem.baseline.kind}_power", "watts", "lem.baseline.power", &[], &["hw.id", "lem.baseline.kind"], "Idle power: bare (before the engine), loaded (weights in memory), after (loaded, after the run)."),
    m("baseline.parking", "W", Gauge, "baseline/parking_power", "watts", "lem.baseline.parking.power", &[], &[], "Loaded minus bare idle power: what the loaded model costs while it waits."),
    m("baseline.power_stddev", "W", Gauge, "baseline/power_stddev", "watts", "lem.baseline.power.stddev", &[], &["hw.id"], "Standard deviation of the idle power samples."),
    m("baseline.energy", "J", Gauge, "baseline/energy", "joules", "lem.baseline.energy", &[], &[], "Loaded-idle power times the duration of a cycle."),
    m("baseline.duration", "s", Gauge, "baseline/duration", "seconds", "lem.baseline.duration", &[], &[], "How long the idle power was observed."),
    m("baseline.ratio", "1", Gauge, "baseline/ratio", "", "lem.baseline.ratio", &[], &[], "Idle energy over gross energy."),
    // power
    m("power.prefill", "W", Gauge, "power/prefill", "watts", "lem.phase.power", &[("lem.phase", "prefill")], &[], "Mean power in the prefill phase."),
    m("power.decode", "W", Gauge, "power/decode", "watts", "lem.phase.power", &[("lem.phase", "decode")], &[], "Mean power in the decode phase."),
    m("power.marked", "W", Gauge, "power/phase_{lem.phase}", "watts", "lem.marked.power", &[], &["lem.phase"], "Mean power in a phase that a command marked."),
    m("power.mean", "W", Gauge, "power/mean", "watts", "lem.run.power.mean", &[], &[], "Mean power over the measured cycles."),
    m("power.peak", "W", Gauge, "power/peak", "watts", "lem.run.power.peak", &[], &[], "Highest sampled power, all components together."),
    // latency
    m("latency.e2e", "s", Histogram, "latency/e2e_{q}", "seconds", "gen_ai.client.operation.duration", &[], &["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"], "From sending (or the scheduled time) to the last token."),
    m("latency.ttft", "s", Histogram, "latency/ttft_{q}", "seconds", "gen_ai.server.time_to_first_token", &[], &["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"], "Time to first token."),
    m("latency.tpot", "s", Histogram, "latency/tpot_{q}", "seconds", "gen_ai.server.time_per_output_token", &[], &["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"], "A request's mean time per output token after the first."),
    m("latency.itl", "s", Histogram, "latency/itl_{q}", "seconds", "lem.inter_token.latency", &[], &["lem.itl.source"], "Each gap between two output tokens of a request."),
    m("latency.queue", "s", Histogram, "latency/queue_{q}", "seconds", "lem.queue.duration", &[], &[], "Time that a request waited before its first work."),
    // tokens and throughput
    m("tokens.input", "{token}", Counter, "tokens/input", "", "lem.tokens", &[("gen_ai.token.type", "input")], &[], "Input tokens of the measured cycles together."),
    m("tokens.output", "{token}", Counter, "tokens/output", "", "lem.tokens", &[("gen_ai.token.type", "output")], &[], "Output tokens of the measured cycles together."),
    m("tokens.marked", "{token}", Gauge, "tokens/phase_{lem.phase}_{gen_ai.token.type}", "", "lem.marked.tokens", &[], &["lem.phase", "gen_ai.token.type"], "Tokens told within a phase that a command marked."),
    m("tokens.per_request", "{token}", Histogram, "tokens/per_request_{gen_ai.token.type}_{q}", "", "gen_ai.client.token.usage", &[], &["gen_ai.token.type", "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"], "Tokens of one request."),
    m("throughput.prefill", "{token}/s", Gauge, "throughput/prefill", "tokens_per_second", "lem.phase.throughput.tokens", &[("lem.phase", "prefill")], &[], "Input tokens over prefill time."),
    m("throughput.decode", "{token}/s", Gauge, "throughput/decode", "tokens_per_second", "lem.phase.throughput.tokens", &[("lem.phase", "decode")], &[], "Output tokens but each sequence's first, over decode time."),
    m("throughput.total", "{token}/s", Gauge, "throughput/total", "tokens_per_second", "lem.run.throughput.tokens", &[], &[], "Output tokens over the whole time of the cycles."),
    m("throughput.goodput", "{request}/s", Gauge, "throughput/goodput", "requests_per_second", "lem.run.goodput", &[], &[], "Requests that met the latency objectives, over time."),
    m("throughput.requests", "{request}/s", Gauge, "throughput/requests", "per_second", "lem.run.throughput.requests", &[], &[], "Answered requests over time."),
    // sampled series
    m("sample.power", "W", Gauge, "sample/{hw.id}_power", "watts", "hw.power", &[], &["hw.id", "hw.type"], "Power of one source."),
    m("sample.power_instant", "W", Gauge, "sample/{hw.id}_power_instant", "watts", "lem.gpu.power.instant", &[], &["hw.id"], "Power as the GPU's instantaneous field tells it; beside sample.power where that comes from the driver's sample ring."),
    m("sample.power_average", "W", Gauge, "sample/{hw.id}_power_average", "watts", "lem.gpu.power.average", &[], &["hw.id"], "Power as the GPU's averaged field tells it (over one second on most)."),
    m("sample.memory_power", "W", Gauge, "sample/{hw.id}_memory_power", "watts", "lem.gpu.memory.power", &[], &["hw.id"], "Power of the GPU's memory, averaged; part of sample.power, never added to it."),
    m("sample.energy", "J", Counter, "sample/{hw.id}_energy", "joules", "hw.energy", &[], &["hw.id", "hw.type", "lem.energy.from"], "Energy counter of one source, from the run's start."),
    m("sample.gpu_utilization", "1", Gauge, "sample/{hw.id}_utilization", "ratio", "hw.gpu.utilization", &[], &["hw.id", "hw.gpu.task"], "Share of time in which a kernel ran."),
    m("sample.sm_activity", "1", Gauge, "sample/{hw.id}_sm_activity", "ratio", "lem.gpu.activity", &[("lem.gpu.unit", "sm")], &["hw.id"], "Activity of the SM units."),
    m("sample.tensor_activity", "1", Gauge, "sample/{hw.id}_tensor_activity", "ratio", "lem.gpu.activity", &[("lem.gpu.unit", "tensor")], &["hw.id"], "Activity of the tensor units."),
    m("sample.dram_activity", "1", Gauge, "sample/{hw.id}_dram_activity", "ratio", "lem.gpu.activity", &[("lem.gpu.unit", "dram")], &["hw.id"], "Activity of the DRAM units."),
    m("sample.cpu_utilization", "1", Gauge, "sample/cpu_utilization", "ratio", "lem.cpu.utilization", &[], &[], "Busy share of all processors."),
    m("sample.process_memory", "By", UpDown, "sample/process_memory", "bytes", "process.memory.usage", &[], &[], "Resident memory of the engine's process."),
    m("sample.gpu_memory_used", "By", UpDown, "sample/{hw.id}_memory_used", "bytes", "hw.gpu.memory.usage", &[], &["hw.id"], "GPU memory in use."),
    m("sample.gpu_memory_limit", "By", UpDown, "sample/{hw.id}_memory_limit", "bytes", "hw.gpu.memory.limit", &[], &["hw.id"], "GPU memory in all."),
    m("sample.temperature", "Cel", Gauge, "sample/{hw.id}_temperature", "celsius", "hw.temperature", &[], &["hw.id", "hw.sensor_location"], "Temperature."),
    m("sample.clock", "Hz", Gauge, "sample/{hw.id}_{lem.clock}_clock", "hertz", "lem.gpu.clock", &[], &["hw.id", "lem.clock"], "Clock frequency (sm, memory)."),
    m("sample.performance_state", "", UpDown, "sample/{hw.id}_performance_state", "", "lem.gpu.performance_state", &[], &["hw.id"], "Performance state: 0 is full speed, up to 15."),
    m("sample.power_limit", "W", Gauge, "sample/{hw.id}_power_limit", "watts", "lem.gpu.power.limit", &[], &["hw.id"], "Enforced power limit."),
    m("sample.throttled", "", UpDown, "sample/{hw.id}_throttled_{lem.throttle.reason}", "", "lem.gpu.throttled", &[], &["hw.id", "lem.throttle.reason"], "1 while the clock is held down for this reason, else 0."),
    m("throttle.time", "s", Counter, "throttle/{lem.throttle.reason}", "seconds", "lem.gpu.throttle.duration", &[], &["hw.id", "lem.throttle.reason"], "Time for which the clock was held down; in a result within the measured cycles."),
    m("monitor.cpu", "s", Counter, "monitor/cpu", "seconds", "lem.monitor.cpu", &[], &[], "Processor time that lem monitor took since it started."),
    // memory
    m("memory.gpu_peak", "By", Gauge, "memory/gpu_peak", "bytes", "lem.gpu.memory.peak", &[], &["hw.id"], "Highest GPU memory use."),
    m("memory.process_peak", "By", Gauge, "memory/process_peak", "bytes", "lem.process.memory.peak", &[], &[], "Highest resident memory of the engine's process."),
    // sampling
    m("sampling.interval", "s", Gauge, "sampling/interval", "seconds", "lem.sampling.interval", &[("lem.sampling.kind", "set")], &[], "Interval at which sensors are polled, as set."),
    m("sampling.max_gap", "s", Gauge, "sampling/max_gap", "seconds", "lem.sampling.interval", &[("lem.sampling.kind", "max_gap")], &[], "Longest time between two samples of a measured cycle."),
    m("sampling.samples", "{sample}", Counter, "sampling/samples_{lem.status}", "", "lem.sampling.samples", &[], &["lem.status"], "Samples taken (ok) and missed."),
    // compute
    m("flops.estimated", "{FLOP}", Gauge, "flops/estimated", "", "lem.flops.estimated", &[], &[], "Floating-point operations of a cycle, from the architecture."),
    m("flops.measured", "{FLOP}", Gauge, "flops/measured", "", "lem.flops.measured", &[], &[], "Floating-point operations of a cycle, from a profiler."),
    m("flops.discrepancy", "1", Gauge, "flops/discrepancy", "ratio", "lem.flops.discrepancy", &[], &[], "(estimated - measured) / measured."),
    m("flops.rate", "{FLOP}/s", Gauge, "flops/flops", "per_second", "lem.run.throughput.flops", &[], &[], "Floating-point operations over time."),
    m("flops.mfu", "1", Gauge, "flops/mfu", "ratio", "lem.flops.mfu", &[], &[], "Model FLOPs utilisation: rate over the dense peak of the compute type."),
    m("flops.mbu", "1", Gauge, "flops/mbu", "ratio", "lem.flops.mbu", &[], &[], "Model bandwidth utilisation: weight and cache bytes over TPOT, over the peak bandwidth."),
    // quality
    m("quality.perplexity", "{perplexity}", Gauge, "quality/perplexity_{lem.quality.source}", "", "lem.quality.perplexity", &[], &["lem.quality.source"], "Perplexity on a text."),
    m("quality.samples", "{sample}", Gauge, "quality/samples", "", "lem.quality.samples", &[], &[], "Samples that were scored."),
    m("quality.score", "{score}", Gauge, "quality/{lem.quality.metric}", "", "lem.quality.score", &[], &["lem.quality.metric"], "A score that the user supplied."),
    // carbon and cost
    m("carbon.emissions", "g", Gauge, "carbon/emissions", "grams", "lem.carbon.emissions", &[], &[], "CO2-equivalent of a cycle's energy, with PUE."),
    m("carbon.intensity", "{g_per_kWh}", Gauge, "carbon/grams_per_kwh", "", "lem.carbon.grams_per_kwh", &[], &[], "Carbon intensity of the grid that was assumed."),
    m("cost.total", "{USD}", Gauge, "cost/{lem.cost.kind}", "usd", "lem.cost.usd", &[], &["lem.cost.kind"], "Cost in US dollars."),
    m("cost.per_mtoken", "{USD}", Gauge, "cost/usd_per_million_tokens", "", "lem.cost.usd_per_million_tokens", &[], &[], "Cost of a million output tokens."),
    // export
    m("export.failures", "{failure}", Counter, "export/failures", "", "lem.export.failures", &[], &["lem.sink"], "Sends that failed."),
    m("export.owed", "{record}", Gauge, "export/owed", "", "lem.export.owed", &[], &["lem.sink"], "Records that a sink has not acknowledged yet."),
    m("export.live_requests", "{request}", Counter, "export/live_requests", "", "lem.export.live.requests", &[], &["lem.sink"], "Scrapes answered, and live batches sent, while the run was measured."),
    m("export.live_cpu", "s", Counter, "export/live_cpu", "seconds", "lem.export.live.cpu", &[], &["lem.sink"], "Processor time that live sinks took."),
];
