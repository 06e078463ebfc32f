//! Latencies of requests, from their timelines.
//!
//! With a schedule, time counts from when the request was due, so that a queue is not
//! hidden; else from when the engine took it up. Requests that failed have no latency.

use lem_record::{FinishReason, Histogram};

use super::data::{CycleData, RequestData, RunData};
use super::sheet::Sheet;
use super::statistics::{mean, percentile};

/// What one answered request tells, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RequestLatency {
    /// From due or taken up to the first token.
    pub ttft: Option<f64>,
    /// Mean time per output token after the first.
    pub tpot: Option<f64>,
    /// From due or taken up to the last token.
    pub e2e: Option<f64>,
    /// From due to taken up; absent without a schedule.
    pub queue: Option<f64>,
}

pub const fn answered(request: &RequestData) -> bool {
    matches!(
        request.timeline.finish,
        FinishReason::Stop | FinishReason::Length
    )
}

impl RequestLatency {
    /// TPOT = (E2E − TTFT)/(n − 1). Where the first event brought several tokens, they all
    /// came before the time that is divided, and only the others count.
    pub fn of(request: &RequestData) -> Self {
        let timeline = &request.timeline;
        let start = timeline.scheduled_ns.unwrap_or(request.window.start_ns);
        let since = |t: u64, from: u64| t.checked_sub(from).map(|ns| ns as f64 / 1e9);
        let (first, last) = (timeline.token_ns.first(), timeline.token_ns.last());
        let with_first = timeline.chunk_tokens.first().copied().unwrap_or(1);
        let after = timeline.output_tokens.saturating_sub(u64::from(with_first));
        let decode = first
            .zip(last)
            .and_then(|(first, last)| since(*last, *first));
        Self {
            ttft: first.and_then(|t| since(*t, start)),
            tpot: decode.filter(|_| after > 0).map(|s| s / after as f64),
            e2e: last.and_then(|t| since(*t, start)),
            queue: timeline
                .scheduled_ns
                .and_then(|due| since(request.window.start_ns, due)),
        }
    }
}

/// Gaps between the tokens of a request, seconds; none where their times are not true.
fn gaps(request: &RequestData) -> impl Iterator<Item = f64> {
    let true_times = request.timeline.true_token_times;
    let times = if true_times {
        request.timeline.token_ns.as_slice()
    } else {
        &[]
    };
    times
        .windows(2)
        .map(|t| t[1].saturating_sub(t[0]) as f64 / 1e9)
}

/// Fills in a cycle's latencies and lengths.
pub fn put(data: &RunData, cycle: &CycleData, sheet: &mut Sheet) {
    let requests: Vec<&RequestData> = cycle.requests.iter().filter(|r| answered(r)).collect();
    let latencies: Vec<RequestLatency> = requests.iter().map(|r| RequestLatency::of(r)).collect();
    let all = |pick: fn(&RequestLatency) -> Option<f64>, none: &str| {
        let values: Vec<f64> = latencies.iter().filter_map(pick).collect();
        some(
            values,
            if requests.is_empty() {
                "no request was answered"
            } else {
                none
            },
        )
    };
    let at = sheet.distributions.len();
    sheet.distribution(
        "latency.ttft",
        all(|l| l.ttft, "no request has an output token"),
    );
    let single = "no request has a second output token";
    sheet.distribution("latency.tpot", all(|l| l.tpot, single));
    sheet.distribution(
        "latency.e2e",
        all(|l| l.e2e, "no request has an output token"),
    );
    let itl: Vec<f64> = requests.iter().flat_map(|r| gaps(r)).collect();
    let untrue = requests.iter().any(|r| !r.timeline.true_token_times);
    let why = if untrue {
        "the engine sends tokens in chunks: the gaps between single tokens were not seen"
    } else {
        single
    };
    sheet.distribution("latency.itl", some(itl, why));
    attribute(sheet, at + 3, "lem.itl.source", "token");
    let due = "the requests had no schedule: none waited in a queue of ours";
    let queue = if super::served::is(data) {
        Err("a server's queue is latency.engine_queue, where it tells it; client.lag is the client's own".into())
    } else {
        all(|l| l.queue, due)
    };
    sheet.distribution("latency.queue", queue);
    for (kind, count) in [
        (
            "input",
            (|r| r.timeline.input_tokens) as fn(&RequestData) -> u64,
        ),
        ("output", |r| r.timeline.output_tokens),
    ] {
        let values = requests.iter().map(|r| count(r) as f64).collect();
        sheet.distribution(
            "tokens.per_request",
            some(values, "no request was answered"),
        );
        attribute(
            sheet,
            sheet.distributions.len() - 1,
            "gen_ai.token.type",
            kind,
        );
    }
    for index in at..sheet.distributions.len() {
        gen_ai(data, sheet, index);
    }
}

pub(super) fn some(values: Vec<f64>, none: &str) -> Result<Vec<f64>, String> {
    if values.is_empty() {
        Err(none.into())
    } else {
        Ok(values)
    }
}

fn attribute(sheet: &mut Sheet, index: usize, name: &str, value: &str) {
    if let Some(distribution) = sheet.distributions.get_mut(index) {
        distribution.attributes.insert(name.into(), value.into());
    }
}

/// What the OpenTelemetry conventions for generative AI ask of these histograms.
fn gen_ai(data: &RunData, sheet: &mut Sheet, index: usize) {
    let Some(distribution) = sheet.distributions.get(index) else {
        return;
    };
    let wanted = lem_record::catalogue::find(distribution.id).map_or(&[][..], |d| d.attributes);
    if !wanted.contains(&"gen_ai.operation.name") {
        return;
    }
    let chat = data
        .config("/prompts/chat_template")
        .and_then(serde_json::Value::as_bool);
    let operation = if chat == Some(true) {
        "chat"
    } else {
        "text_completion"
    };
    attribute(sheet, index, "gen_ai.operation.name", operation);
    let provider = data.config_str("/backend").unwrap_or("unknown");
    attribute(sheet, index, "gen_ai.provider.name", provider);
    if let Some(model) = data.config_str("/model_name") {
        attribute(sheet, index, "gen_ai.request.model", model);
    }
}

/// Upper bounds of a metric's buckets: those of the OpenTelemetry conventions; time per
/// token goes on below 10 ms, because engines are faster than that.
pub fn bounds(id: &str) -> &'static [f64] {
    const OPERATION: &[f64] = &[
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    ];
    const FIRST_TOKEN: &[f64] = &[
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    const PER_TOKEN: &[f64] = &[
        0.0005, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4,
        0.5, 0.75, 1.0, 2.5,
    ];
    const TOKENS: &[f64] = &[
        1.0,
        4.0,
        16.0,
        64.0,
        256.0,
        1024.0,
        4096.0,
        16_384.0,
        65_536.0,
        262_144.0,
        1_048_576.0,
        4_194_304.0,
        16_777_216.0,
        67_108_864.0,
    ];
    match id {
        "latency.ttft" | "latency.queue" | "latency.answer" | "client.lag" => FIRST_TOKEN,
        "latency.engine_queue" | "latency.engine_prefill" => FIRST_TOKEN,
        "latency.engine_ttft" | "latency.ttft_outside" => FIRST_TOKEN,
        "latency.tpot" | "latency.itl" => PER_TOKEN,
        "tokens.per_request" => TOKENS,
        _ => OPERATION,
    }
}

/// A histogram of finite values; `None` where there are none.
pub fn histogram(bounds: &[f64], values: &[f64]) -> Option<Histogram> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let mut counts = vec![0u64; bounds.len() + 1];
    for value in &sorted {
        // A value on a bound belongs below it.
        let bucket = bounds.partition_point(|bound| bound < value);
        if let Some(count) = counts.get_mut(bucket) {
            *count += 1;
        }
    }
    let sum: f64 = sorted.iter().sum();
    Some(Histogram {
        bounds: bounds.to_vec(),
        counts,
        count: sorted.len() as u64,
        sum,
        min: *sorted.first()?,
        max: *sorted.last()?,
        mean: mean(&sorted)?,
        p50: percentile(&sorted, 0.5)?,
        p90: percentile(&sorted, 0.9)?,
        p99: percentile(&sorted, 0.99)?,
    })
    .filter(|h| h.sum.is_finite())
}
