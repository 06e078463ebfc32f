//! What is known of a run on a server beyond what every engine tells: the server's own times
//! and counters, the client's lag, and which requests met their objectives.

use lem_record::{How, Table, catalogue};
use serde_json::Value;

use super::data::{CycleData, RequestData, RunData};
use super::latency::{RequestLatency, answered, some};
use super::sheet::{Obtained, Reading, Sheet};
use super::throughput::Counts;
use crate::config::Backend;

/// Of cycle, metric, value, how, source, reason.
pub const TABLE: &str = "engine_metrics";
/// No cycle tells more than this; a damaged log may.
const MOST_ROWS: usize = 100_000;

/// One quantity of one cycle, as it was told.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineSaid {
    pub cycle: u32,
    /// Of the catalogue.
    pub id: &'static str,
    pub value: Result<f64, String>,
    pub how: How,
    /// The server's own name for it.
    pub source: String,
}

/// Rows that do not read are passed over: the log may be of another version.
pub fn read(table: &Table) -> impl Iterator<Item = EngineSaid> {
    let rows = table.rows.iter().take(MOST_ROWS);
    rows.filter_map(|row| {
        let [cycle, id, value, how, source, reason] = row.as_slice() else {
            return None;
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Some(EngineSaid {
            cycle: u32::try_from(cycle.as_u64()?).ok()?,
            id: catalogue::find(id.as_str()?)?.id,
            value: match value.as_f64().filter(|v| v.is_finite()) {
                Some(value) => Ok(value),
                None => Err(text(reason)),
            },
            how: if how == "measured" {
                How::Measured
            } else {
                How::Reported
            },
            source: text(source),
        })
    })
    .collect::<Vec<_>>()
    .into_iter()
}

/// Whether a server answered.
pub fn is(data: &RunData) -> bool {
    let backend = data.config("/backend").cloned();
    let backend = backend.and_then(|b| serde_json::from_value::<Backend>(b).ok());
    backend.is_some_and(Backend::is_server)
}

/// Fills in a cycle's numbers. Of an engine in this process there are none but the goodput.
pub fn put(data: &RunData, cycle: &CycleData, counts: &Counts, sheet: &mut Sheet) {
    goodput(data, cycle, counts, sheet);
    if !is(data) {
        return;
    }
    distributions(cycle, sheet);
    for said in data.engine.iter().filter(|said| said.cycle == cycle.index) {
        let reading = said
            .value
            .clone()
            .map(|value| Reading::new(value, said.how).method(said.source.clone()));
        sheet.mean(said.id, reading);
    }
    sheet.reasons(|_, why| {
        why.starts_with("the engine does not tell where").then(|| {
            format!("{why}: requests run together. With traffic.concurrency 1 the first token parts them; a vLLM that lem launches with server.iterations tells its steps")
        })
    });
}

/// Times that a request has beside those of every engine.
fn distributions(cycle: &CycleData, sheet: &mut Sheet) {
    let requests: Vec<&RequestData> = cycle.requests.iter().filter(|r| answered(r)).collect();
    let mut put = |id: &'static str, how: How, of: fn(&RequestData) -> Option<f64>, none: &str| {
        let values = requests.iter().filter_map(|r| of(r)).collect();
        sheet.distribution(id, some(values, none));
        if let Some(last) = sheet.distributions.last_mut() {
            last.how = how;
        }
    };
    let untold = "the server does not tell it for each request";
    put(
        "latency.engine_queue",
        How::Reported,
        |r| r.timeline.engine.queue_s,
        untold,
    );
    put(
        "latency.engine_prefill",
        How::Reported,
        |r| r.timeline.engine.prefill_s,
        untold,
    );
    put(
        "latency.engine_decode",
        How::Reported,
        |r| r.timeline.engine.decode_s,
        untold,
    );
    put("latency.engine_ttft", How::Reported, engine_ttft, untold);
    put("latency.ttft_outside", How::Measured, outside, untold);
    put(
        "latency.answer",
        How::Measured,
        |r| {
            let from = r.timeline.scheduled_ns.unwrap_or(r.window.start_ns);
            seconds(from, r.timeline.answer_ns?)
        },
        "no request had tokens of reasoning before its answer: latency.ttft says it",
    );
    put(
        "client.lag",
        How::Measured,
        |r| seconds(r.timeline.scheduled_ns?, r.window.start_ns),
        "the requests had no schedule that the client could be late for",
    );
}

fn seconds(from_ns: u64, to_ns: u64) -> Option<f64> {
    to_ns.checked_sub(from_ns).map(|ns| ns as f64 / 1e9)
}

/// As the engine tells it, or the sum of its parts where it tells both.
fn engine_ttft(request: &RequestData) -> Option<f64> {
    let told = request.timeline.engine;
    told.ttft_s
        .or_else(|| Some(told.queue_s? + told.prefill_s?))
}

/// From sending to the first token, less what the engine accounts for. Where it tells the work
/// alone and no queue, its queue is in here.
fn outside(request: &RequestData) -> Option<f64> {
    let first = *request.timeline.token_ns.first()?;
    let seen = seconds(request.window.start_ns, first)?;
    let told = request.timeline.engine;
    Some(seen - engine_ttft(request).or(told.prefill_s)?)
}

/// Requests that met every objective, over time.
fn goodput(data: &RunData, cycle: &CycleData, counts: &Counts, sheet: &mut Sheet) {
    let objective = |name: &str| {
        data.config_f64(&format!("/traffic/slo/{name}"))
            .map(|ms| ms / 1e3)
    };
    let (ttft, tpot, e2e) = (
        objective("ttft_ms"),
        objective("tpot_ms"),
        objective("e2e_ms"),
    );
    if ttft.is_none() && tpot.is_none() && e2e.is_none() {
        return;
    }
    // A number that is not there met nothing; a single token has no time per token to miss.
    let met = |value: Option<f64>, most: Option<f64>| {
        most.is_none_or(|most| value.is_some_and(|value| value <= most))
    };
    let good = cycle
        .requests
        .iter()
        .filter(|r| answered(r))
        .filter(|request| {
            let latency = RequestLatency::of(request);
            let single = request.timeline.output_tokens <= 1;
            met(latency.ttft, ttft) && (single || met(latency.tpot, tpot)) && met(latency.e2e, e2e)
        });
    let good = good.count() as f64;
    let told = [("TTFT", ttft), ("TPOT", tpot), ("E2E", e2e)];
    let told = told
        .iter()
        .filter_map(|(name, most)| most.map(|most| format!("{name} up to {} ms", most * 1e3)));
    let method = format!(
        "{good:.0} of {} requests had {}",
        counts.answered + counts.failed,
        told.collect::<Vec<_>>().join(", ")
    );
    let time: Obtained = if cycle.complete {
        Ok(Reading::new(cycle.window.seconds(), How::Measured))
    } else {
        Err("the cycle was cut off".into())
    };
    let good = Reading::new(good, How::Measured).method(method);
    sheet.per("throughput.goodput", Ok(good), time);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use lem_record::{EngineTold, FinishReason, RequestTimeline, RunStarted};
    use serde_json::json;

    use super::*;
    use crate::analysis::data::Window;

    fn request(ttft_ms: u64, tokens: u64) -> RequestData {
        let ms = |n: u64| 1_000_000_000 + n * 1_000_000;
        RequestData {
            window: Window::new(ms(5), ms(1000)),
            timeline: RequestTimeline {
                id: 0,
                input_tokens: 4,
                output_tokens: tokens,
                scheduled_ns: Some(ms(0)),
                token_ns: (0..tokens).map(|i| ms(ttft_ms + i * 10)).collect(),
                chunk_tokens: Vec::new(),
                true_token_times: true,
                answer_ns: None,
                engine: EngineTold {
                    queue_s: Some(0.002),
                    prefill_s: Some(0.030),
                    ..EngineTold::default()
                },
                finish: FinishReason::Length,
                error: None,
            },
        }
    }

    fn data(config: Value) -> RunData {
        let started: RunStarted = serde_json::from_value(json!({
            "format": 1, "producer": "lem", "name": "x", "config": config, "provenance": {},
            "environment": {}, "tags": {}, "boot_id": null, "pid": 1, "sinks": {},
        }))
        .unwrap();
        RunData {
            started: Some(Box::new(started)),
            ..RunData::default()
        }
    }

    fn cycle(requests: Vec<RequestData>) -> CycleData {
        CycleData {
            index: 0,
            window: Window::new(1_000_000_000, 3_000_000_000),
            complete: true,
            phases: Vec::new(),
            requests,
            failed: 0,
            samples_missed: 0,
            command: Default::default(),
        }
    }

    #[test]
    fn goodput_counts_those_that_met_all_objectives() {
        let data =
            data(json!({"backend": "vllm", "traffic": {"slo": {"ttft_ms": 50, "tpot_ms": 11}}}));
        let cycle = cycle(vec![request(40, 5), request(60, 5), request(40, 1)]);
        let mut sheet = Sheet::default();
        put(&data, &cycle, &Counts::of(&cycle), &mut sheet);
        assert_eq!(
            sheet.value("throughput.goodput"),
            Some(1.0),
            "two within two seconds"
        );
    }

    #[test]
    fn client_and_engine_times_stand_beside_each_other() {
        let data = data(json!({"backend": "vllm"}));
        let cycle = cycle(vec![request(50, 3)]);
        let mut sheet = Sheet::default();
        put(&data, &cycle, &Counts::of(&cycle), &mut sheet);
        let mean = |id: &str| sheet.histogram(id).map(|h| (h.mean * 1e3).round());
        assert_eq!(mean("latency.engine_ttft"), Ok(32.0));
        assert_eq!(
            mean("latency.ttft_outside"),
            Ok(13.0),
            "45 ms from sending, 32 told"
        );
        assert_eq!(mean("client.lag"), Ok(5.0));
        assert!(mean("latency.answer").is_err());
        assert!(sheet.entries.is_empty(), "no objectives, no goodput");
    }

    #[test]
    fn what_the_engine_said_is_read_and_odd_rows_are_not() {
        let table = Table {
            name: TABLE.into(),
            columns: Vec::new(),
            rows: serde_json::from_value(json!([
                [0, "engine.steps", 7, "reported", "x_total", null],
                [0, "engine.queue", null, "reported", "y", "not told"],
                [0, "no.such.metric", 1, "reported", "", null],
                ["0", "engine.steps", 1, "reported", "", null],
                [1],
            ]))
            .unwrap(),
        };
        let mut data = data(json!({"backend": "llama.cpp"}));
        data.engine = read(&table).collect();
        assert_eq!(data.engine.len(), 2);
        let mut sheet = Sheet::default();
        let cycle = cycle(Vec::new());
        put(&data, &cycle, &Counts::of(&cycle), &mut sheet);
        assert_eq!(sheet.value("engine.steps"), Some(7.0));
        assert_eq!(sheet.reading("engine.queue").unwrap_err(), "not told");
    }
}
