//! run → cycle → request → prefill and decode; and the phases of each cycle.

use lem_record::{
    Envelope, FinishReason, Metric, MetricValue, RequestTimeline, RunFinished, RunStatus, Span,
    SpanKind,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind as OtlpKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, Status};

use super::attributes::{limit, list, number, text, whole, yes};
use super::pack::Item;
use super::state::{Cycle, Joules, State};
use super::{Plan, Scope, ids};

/// A span before its limits.
struct Draft {
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    kind: OtlpKind,
    /// Monotonic.
    start_ns: u64,
    end_ns: u64,
    attributes: Vec<KeyValue>,
    events: Vec<(u64, &'static str)>,
    status: Option<Status>,
}

impl Draft {
    fn new(id: Vec<u8>, parent: Vec<u8>, name: impl Into<String>, times: (u64, u64)) -> Self {
        Self {
            id,
            parent,
            name: name.into(),
            kind: OtlpKind::Internal,
            start_ns: times.0,
            end_ns: times.1.max(times.0),
            attributes: Vec::new(),
            events: Vec::new(),
            status: None,
        }
    }

    fn put(self, scope: &Scope<'_>, n: u64, plan: &mut Plan) {
        plan.state.last_ns = plan.state.last_ns.max(self.end_ns);
        let limits = &scope.config.limits;
        let (attributes, dropped) =
            limit(self.attributes, limits.span_attributes, limits.span_value);
        let dropped_events = self.events.len().saturating_sub(limits.span_events);
        let events = self.events.into_iter().take(limits.span_events);
        let start = scope.nanos(self.start_ns);
        let span = otlp::Span {
            trace_id: ids::trace(scope.run_id),
            span_id: self.id,
            parent_span_id: self.parent,
            // sampled
            flags: 1,
            name: self.name,
            kind: self.kind as i32,
            start_time_unix_nano: start,
            end_time_unix_nano: scope.nanos(self.end_ns).max(start),
            attributes,
            dropped_attributes_count: dropped,
            events: events
                .map(|(t_ns, name)| Event {
                    time_unix_nano: scope.nanos(t_ns),
                    name: name.to_owned(),
                    ..Event::default()
                })
                .collect(),
            dropped_events_count: u32::try_from(dropped_events).unwrap_or(u32::MAX),
            status: self.status,
            ..otlp::Span::default()
        };
        plan.push(n, 1, Item::Span(span));
    }
}

fn failed(message: &str) -> Status {
    Status {
        message: message.chars().take(1000).collect(),
        code: StatusCode::Error as i32,
    }
}

pub(super) fn span(scope: &Scope<'_>, n: u64, span: &Span, plan: &mut Plan) {
    if span.span == SpanKind::Cycle
        && let Some(cycle) = span.cycle
    {
        let cycle = Cycle {
            cycle,
            start_ns: span.start_ns,
            end_ns: span.end_ns,
        };
        plan.state.last_ns = plan.state.last_ns.max(span.end_ns);
        let known = plan.state.cycles.iter().any(|c| c.cycle == cycle.cycle);
        // its joules come with the analysis
        match plan.state.cycles.len() < State::MOST_CYCLES && !known {
            true => plan.state.cycles.push(cycle),
            false => cycle_span(scope, n, &cycle, plan),
        }
        return;
    }
    let parent = match span.cycle {
        Some(cycle) => ids::cycle_span(scope.run_id, cycle),
        None => ids::run_span(scope.run_id),
    };
    let id = ids::span(scope.run_id, &format!("record {n}"));
    let name = match span.span {
        SpanKind::Baseline => format!("baseline {}", span.name),
        SpanKind::Warmup => format!("warmup {}", span.name),
        SpanKind::Cycle | SpanKind::Phase | SpanKind::Request => span.name.clone(),
    };
    let mut draft = Draft::new(id, parent, name, (span.start_ns, span.end_ns));
    let own = span.attributes.iter().map(|(k, v)| text(k, v));
    draft.attributes.extend(own);
    if span.span == SpanKind::Phase {
        draft.attributes.push(text("lem.phase", &span.name));
    }
    if let Some(cycle) = span.cycle {
        draft.attributes.push(whole("lem.cycle", u64::from(cycle)));
    }
    match &span.request {
        Some(timeline) => request(scope, n, draft, timeline, plan),
        None => draft.put(scope, n, plan),
    }
}

/// By the conventions for generative AI: no prompt, no answer.
fn request(
    scope: &Scope<'_>,
    n: u64,
    mut draft: Draft,
    timeline: &RequestTimeline,
    plan: &mut Plan,
) {
    let chat = scope.started.config.pointer("/prompts/chat_template");
    let operation = match chat.and_then(serde_json::Value::as_bool) {
        Some(true) => "chat",
        _ => "text_completion",
    };
    let model = scope.config_str("/model_name");
    draft.name = match model {
        Some(model) => format!("{operation} {model}"),
        None => operation.to_owned(),
    };
    draft.kind = OtlpKind::Client;
    let provider = scope.config_str("/backend").unwrap_or("unknown");
    let finish = match timeline.finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
        FinishReason::Error => "error",
    };
    let first = timeline.token_ns.first().copied();
    let clamp = |t_ns: u64| t_ns.clamp(draft.start_ns, draft.end_ns);
    let (start_ns, end_ns) = (draft.start_ns, draft.end_ns);
    let prefill = first.map(|first| (start_ns, clamp(first)));
    let decode = first
        .zip(timeline.token_ns.last().copied())
        .map(|(first, last)| (clamp(first), clamp(last)))
        .filter(|_| timeline.token_ns.len() > 1);
    draft.attributes.extend([
        text("gen_ai.operation.name", operation),
        text("gen_ai.provider.name", provider),
    ]);
    if let Some(model) = model {
        draft.attributes.push(text("gen_ai.request.model", model));
    }
    draft.attributes.extend([
        whole("gen_ai.usage.input_tokens", timeline.input_tokens),
        whole("gen_ai.usage.output_tokens", timeline.output_tokens),
        list("gen_ai.response.finish_reasons", &[finish]),
        whole("lem.request.id", timeline.id),
        yes("lem.request.true_token_times", timeline.true_token_times),
    ]);
    if let Some(first) = first {
        // from when it was due, as the metric has it
        let from = timeline.scheduled_ns.unwrap_or(start_ns);
        let seconds = first.saturating_sub(from) as f64 / 1e9;
        draft
            .attributes
            .push(number("lem.request.time_to_first_token", seconds));
    }
    let told = timeline.engine;
    for (name, seconds) in [
        ("lem.request.engine.queue", told.queue_s),
        ("lem.request.engine.prefill", told.prefill_s),
        ("lem.request.engine.decode", told.decode_s),
        ("lem.request.engine.time_to_first_token", told.ttft_s),
    ] {
        if let Some(seconds) = seconds {
            draft.attributes.push(number(name, seconds));
        }
    }
    if let Some(cached) = told.cached_tokens {
        draft
            .attributes
            .push(whole("gen_ai.usage.cache_read.input_tokens", cached));
    }
    if let Some(answer) = timeline.answer_ns {
        draft
            .events
            .push((answer, "lem.request.first_answer_token"));
    }
    if let Some(due) = timeline.scheduled_ns {
        draft.events.push((due, "lem.request.due"));
    }
    if matches!(
        timeline.finish,
        FinishReason::Cancelled | FinishReason::Error
    ) {
        draft.attributes.push(text("error.type", finish));
        draft.status = Some(failed(timeline.error.as_deref().unwrap_or(finish)));
    }
    let id = draft.id.clone();
    let cycle = draft
        .attributes
        .iter()
        .find(|attribute| attribute.key == "lem.cycle")
        .cloned();
    draft.end_ns = end_ns;
    draft.put(scope, n, plan);
    let tokens = [timeline.input_tokens, timeline.output_tokens];
    for ((phase, times), tokens) in [("prefill", prefill), ("decode", decode)]
        .into_iter()
        .zip(tokens)
    {
        let Some(times) = times else { continue };
        let own = ids::span(scope.run_id, &format!("record {n} {phase}"));
        let mut child = Draft::new(own, id.clone(), phase, times);
        child.attributes.push(text("lem.phase", phase));
        child.attributes.extend(cycle.clone());
        child.attributes.push(whole("lem.request.tokens", tokens));
        child.put(scope, n, plan);
    }
}

/// Keeps the joules of a cycle or of the run for its span.
pub(super) fn joules(scope: &Scope<'_>, metric: &Metric, plan: &mut Plan) {
    const WANTED: [&str; 13] = [
        "energy.total",
        "energy.total_corrected",
        "energy.prefill",
        "energy.decode",
        "energy.other",
        "energy.prefill_corrected",
        "energy.decode_corrected",
        "energy.other_corrected",
        "energy.gpu",
        "energy.cpu",
        "energy.memory",
        "energy.uncertainty",
        "energy.per_output_token",
    ];
    let MetricValue::Number(value) = metric.value else {
        return;
    };
    if !(scope.traced() && WANTED.contains(&metric.id.as_str()) && value.is_finite()) {
        return;
    }
    let of = match metric.cycle {
        Some(cycle) if !plan.state.cycles.iter().any(|c| c.cycle == cycle) => return,
        Some(cycle) => cycle.to_string(),
        None => String::new(),
    };
    let joules = Joules {
        value,
        how: metric.how,
    };
    let kept = plan.state.joules.entry(of).or_default();
    kept.insert(metric.id.clone(), joules);
}

fn with_joules(state: &State, of: &str, attributes: &mut Vec<KeyValue>) {
    let Some(joules) = state.joules.get(of) else {
        return;
    };
    for (id, joules) in joules {
        attributes.push(number(format!("lem.{id}"), joules.value));
    }
    // measured and modelled joules must not look alike
    let mut hows: Vec<_> = joules.values().map(|joules| joules.how).collect();
    hows.sort_unstable();
    hows.dedup();
    let hows: Vec<&str> = hows.iter().map(|how| how.as_str()).collect();
    attributes.push(text("lem.how", hows.join(", ")));
}

fn cycle_span(scope: &Scope<'_>, n: u64, cycle: &Cycle, plan: &mut Plan) {
    let number = cycle.cycle;
    let mut draft = Draft::new(
        ids::cycle_span(scope.run_id, number),
        ids::run_span(scope.run_id),
        format!("cycle {number}"),
        (cycle.start_ns, cycle.end_ns),
    );
    draft.attributes.push(whole("lem.cycle", u64::from(number)));
    with_joules(&plan.state, &number.to_string(), &mut draft.attributes);
    draft.put(scope, n, plan);
}

/// The spans that waited for the end.
pub(super) fn run(scope: &Scope<'_>, envelope: &Envelope, finished: &RunFinished, plan: &mut Plan) {
    let n = envelope.n;
    for cycle in std::mem::take(&mut plan.state.cycles) {
        cycle_span(scope, n, &cycle, plan);
    }
    let seen = plan.state.last_ns.max(scope.started_at.mono_ns);
    let end_ns = match finished.status {
        // another process wrote the end, later and perhaps after another boot
        RunStatus::Killed => seen,
        _ => envelope.at.mono_ns.max(seen),
    };
    let mut draft = Draft::new(
        ids::run_span(scope.run_id),
        Vec::new(),
        "lem run",
        (scope.started_at.mono_ns, end_ns),
    );
    draft.attributes = about(scope);
    draft
        .attributes
        .push(text("lem.status", finished.status.as_str()));
    with_joules(&plan.state, "", &mut draft.attributes);
    plan.state.joules.clear();
    if finished.status != RunStatus::Finished {
        let why = finished.reason.as_deref();
        draft.status = Some(failed(why.unwrap_or(finished.status.as_str())));
        let status = finished.status.as_str();
        draft.attributes.push(text("error.type", status));
    }
    draft.put(scope, n, plan);
}

/// What was run. Of the tags, those that name a person or a path stay here.
pub(super) fn about(scope: &Scope<'_>) -> Vec<KeyValue> {
    let mut about = vec![
        text("lem.run.id", scope.run_id),
        text("lem.run.name", &scope.started.name),
    ];
    if let Some(backend) = scope.config_str("/backend") {
        about.push(text("lem.backend", backend));
    }
    if let Some(model) = scope.config_str("/model_name") {
        about.push(text("gen_ai.request.model", model));
    }
    for (name, value) in &scope.started.tags {
        let name = match name.as_str() {
            "user" | "source" | "backend" | "model" | "" => continue,
            "git.commit" => "vcs.ref.head.revision".to_owned(),
            "git.branch" => "vcs.ref.head.name".to_owned(),
            "git.remote" => "vcs.repository.url.full".to_owned(),
            other => format!("lem.tag.{other}"),
        };
        about.push(text(name, value));
    }
    about
}
