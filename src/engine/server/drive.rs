//! From work to the client's plan, and from the client's events to the engine's.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use lem_client as client;
use lem_record::{EngineTold, FinishReason};
use serde_json::{Map, Value};

use super::kind::{self, Kind};
use super::times;
use crate::config::{Config, TrafficMode};
use crate::engine::{Event, EventSink, Phase, Request, Sampling, TokenIds, Told, Work};

/// So many requests in a row that do not even reach the server mean that it is gone.
const GONE: u32 = 8;

/// What every request of a piece of work has in its body beside prompt and lengths.
pub fn body(
    config: &Config,
    kind: &Kind,
    api: client::Api,
    sampling: &Sampling,
    salt: &str,
) -> Map<String, Value> {
    let mut body = Map::new();
    let mut options = Map::new();
    // Ollama has sampling in a section of its own; the client puts TGI's into one.
    let nested = match api {
        client::Api::OllamaGenerate | client::Api::OllamaChat => Some("options"),
        _ => None,
    };
    let all = nested.is_some() || api == client::Api::Tgi;
    {
        let fields = if nested.is_some() {
            &mut options
        } else {
            &mut body
        };
        let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        match api {
            // It refuses a temperature of 0: without sampling it is greedy.
            client::Api::Tgi if sampling.temperature == 0.0 => put("do_sample", false.into()),
            client::Api::Tgi => {
                put("do_sample", true.into());
                put("temperature", sampling.temperature.into());
            }
            _ => put("temperature", sampling.temperature.into()),
        }
        if sampling.temperature > 0.0 {
            if let Some(p) = sampling.top_p {
                put("top_p", p.into());
            }
            let top_k = if all { Some("top_k") } else { kind.top_k };
            if let Some((name, k)) = top_k.zip(sampling.top_k) {
                put(name, k.into());
            }
        }
        let penalty = match api {
            client::Api::Tgi => Some("repetition_penalty"),
            client::Api::OllamaGenerate | client::Api::OllamaChat => Some("repeat_penalty"),
            _ => kind.repetition_penalty,
        };
        if let Some(name) = penalty.filter(|_| sampling.repetition_penalty != 1.0) {
            put(name, sampling.repetition_penalty.into());
        }
        put("seed", sampling.seed.into());
    }
    if let Some(section) = nested {
        body.insert(section.to_owned(), Value::Object(options));
    }
    for (name, value) in kind.asks {
        let value = match value {
            kind::Value::Bool(on) => (*on).into(),
            kind::Value::Salt => salt.into(),
        };
        body.insert((*name).to_owned(), value);
    }
    // The user's own word is the last.
    let own = config.server.extra_body.as_ref().and_then(Value::as_object);
    for (name, value) in own.into_iter().flatten() {
        match (body.get_mut(name), value) {
            (Some(Value::Object(known)), Value::Object(new)) => known.extend(new.clone()),
            _ => drop(body.insert(name.clone(), value.clone())),
        }
    }
    body
}

/// The work as a plan. `text` gives the text of a request that has none.
pub fn plan(
    config: &Config,
    work: &Work,
    tokens: bool,
    mut text: impl FnMut(&Request) -> Arc<str>,
) -> client::Plan {
    let turns = (config.traffic.turns as usize).max(1);
    let jobs = work.requests.iter().enumerate().map(|(index, request)| {
        // A conversation goes on from an answer, which is a text.
        let prompt = if tokens && turns == 1 && !request.tokens.is_empty() {
            client::Prompt::Tokens(Arc::clone(&request.tokens))
        } else {
            client::Prompt::Text(request.text.clone().unwrap_or_else(|| text(request)))
        };
        let mut job = client::Job::new(prompt, request.max_output_tokens);
        job.min_tokens = request.min_output_tokens;
        job.due = Duration::from_nanos(work.due_ns.get(index).copied().unwrap_or(0));
        if index % turns > 0 {
            job.after = Some(client::After {
                job: index - 1,
                think: Duration::try_from_secs_f64(config.traffic.think_time_s).unwrap_or_default(),
            });
        }
        job
    });
    let load = if !work.due_ns.is_empty() {
        client::Load::Open
    } else if turns > 1 {
        client::Load::Users {
            users: work.batch_size.max(1),
        }
    } else {
        client::Load::Closed {
            concurrency: work.batch_size.max(1),
        }
    };
    let mut plan = client::Plan::new(jobs.collect(), load);
    let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX);
    plan.limits.idle = seconds(config.server.stall_timeout_s);
    plan.limits.total = seconds(config.server.request_timeout_s);
    plan.preconnect = work.batch_size.min(work.requests.len());
    plan
}

/// Whether one request is under way at a time: then its first token parts prefill from decode
/// for the whole server, if nobody else uses it.
pub fn one_at_a_time(config: &Config) -> bool {
    config.traffic.mode == TrafficMode::Closed
        && config.traffic.concurrency == 1
        && config.traffic.turns <= 1
        && config.streaming
}

/// Sums of a piece of work that are not a single request's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub answered: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
    pub chunks: u64,
    /// Chunks that came together with the one before.
    pub bunched: u64,
    /// Answered requests of which nobody told the number of tokens.
    pub uncounted: u64,
    pub input_tokens: u64,
    /// Of the prompts, by the server's own count; `None` where it does not tell.
    pub cached_tokens: Option<u64>,
}

/// Takes the client's events and gives them on.
pub struct Sink<'a> {
    events: &'a mut dyn EventSink,
    requests: &'a [Request],
    state: Vec<State>,
    /// Tell phases: one request at a time.
    phases: bool,
    /// The requests had a schedule.
    scheduled: bool,
    unreached: u32,
    /// Set when the server is gone: the rest need not be tried.
    gone: &'a Cell<bool>,
    pub tally: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    reasoned: bool,
    answered: bool,
    decoding: bool,
    engine: EngineTold,
}

impl<'a> Sink<'a> {
    pub fn new(
        events: &'a mut dyn EventSink,
        requests: &'a [Request],
        phases: bool,
        scheduled: bool,
        gone: &'a Cell<bool>,
    ) -> Self {
        Self {
            events,
            requests,
            state: vec![State::default(); requests.len()],
            phases,
            scheduled,
            unreached: 0,
            gone,
            tally: Tally::default(),
        }
    }

    fn phase(&mut self, phase: Option<Phase>, at_ns: u64) {
        if self.phases {
            self.events.event(Event::Phase { phase, at_ns });
        }
    }

    fn told(&mut self, index: usize, request: u64, summary: &client::Summary) {
        let mut engine = self.state.get(index).map(|s| s.engine).unwrap_or_default();
        engine.cached_tokens = engine.cached_tokens.or(summary.usage.cached_tokens);
        // Chunks that told their tokens were told on as that many; of the others only the sum
        // can be right.
        let one_token_each =
            matches!(summary.gaps, client::Gaps::True | client::Gaps::Likely) && summary.streamed;
        let told = Told {
            input_tokens: summary.usage.prompt_tokens,
            output_tokens: summary.output_tokens,
            one_token_each,
            engine,
        };
        self.tally.chunks += summary.chunks;
        self.tally.bunched += summary.same_read;
        self.tally.input_tokens += told.input_tokens.unwrap_or(0);
        if let Some(cached) = engine.cached_tokens {
            *self.tally.cached_tokens.get_or_insert(0) += cached;
        }
        self.events.event(Event::Told {
            request,
            told: Box::new(told),
        });
    }
}

impl client::EventSink for Sink<'_> {
    fn event(&mut self, event: client::Event<'_>) {
        let (index, at_ns) = place(&event);
        let Some((id, most)) = self
            .requests
            .get(index)
            .map(|r| (r.id, r.max_output_tokens))
        else {
            return;
        };
        match event {
            client::Event::Sent { due_ns, .. } => {
                self.unreached = 0;
                if self.scheduled {
                    self.events.event(Event::Due {
                        request: id,
                        at_ns: due_ns,
                    });
                }
                self.events.event(Event::Started { request: id, at_ns });
                self.phase(Some(Phase::Prefill), at_ns);
            }
            client::Event::FirstByte { .. }
            | client::Event::Empty { .. }
            | client::Event::Usage { .. } => {}
            client::Event::Tokens { tokens, part, .. } => {
                let state = self.state.get_mut(index).map(|state| {
                    let before = *state;
                    state.decoding = true;
                    state.reasoned |= !part.is_answer();
                    state.answered |= part.is_answer();
                    before
                });
                let before = state.unwrap_or_default();
                if before.reasoned && !before.answered && part.is_answer() {
                    self.events.event(Event::Answer { request: id, at_ns });
                }
                let ids = match tokens {
                    client::Tokens::Ids([one]) => TokenIds::One(*one),
                    client::Tokens::Ids(ids) => TokenIds::Many(ids.to_vec()),
                    client::Tokens::Count(count) => TokenIds::Count(count),
                    client::Tokens::Unknown => TokenIds::Count(1),
                };
                self.events.event(Event::Tokens {
                    request: id,
                    ids,
                    at_ns,
                });
                if !before.decoding {
                    self.phase(Some(Phase::Decode), at_ns);
                }
            }
            client::Event::Timings { json, .. } => {
                if let Some(state) = self.state.get_mut(index) {
                    state.engine = times::join(state.engine, times::told(json));
                }
            }
            client::Event::Finished { summary, .. } => {
                self.tally.answered += 1;
                self.tally.uncounted += u64::from(summary.output_tokens.is_none());
                self.told(index, id, summary);
                let full = summary.output_tokens == Some(u64::from(most));
                let reason = match summary.finish_reason.as_deref() {
                    Some("length" | "limit" | "max_tokens") => FinishReason::Length,
                    None if full => FinishReason::Length,
                    _ => FinishReason::Stop,
                };
                self.phase(None, at_ns);
                self.events.event(Event::Finished {
                    request: id,
                    reason,
                    at_ns,
                });
            }
            client::Event::Failed {
                failure, summary, ..
            } => {
                self.told(index, id, summary);
                self.phase(None, at_ns);
                // One that was cancelled is closed as that, with all that is open.
                if *failure == client::Failure::Cancelled {
                    return;
                }
                let unreached = matches!(
                    failure.kind(),
                    "refused" | "unreachable" | "dns" | "connect_timeout"
                );
                self.unreached = if unreached { self.unreached + 1 } else { 0 };
                if self.unreached >= GONE {
                    self.gone.set(true);
                }
                self.tally.failed += 1;
                let error = failure.to_string();
                self.tally
                    .first_failure
                    .get_or_insert_with(|| error.clone());
                self.events.event(Event::Failed {
                    request: id,
                    error,
                    at_ns,
                });
            }
        }
    }
}

/// Which job, and when.
const fn place(event: &client::Event<'_>) -> (usize, u64) {
    match event {
        client::Event::Sent { request, at_ns, .. }
        | client::Event::FirstByte { request, at_ns }
        | client::Event::Empty { request, at_ns }
        | client::Event::Tokens { request, at_ns, .. }
        | client::Event::Usage { request, at_ns, .. }
        | client::Event::Timings { request, at_ns, .. }
        | client::Event::Finished { request, at_ns, .. }
        | client::Event::Failed { request, at_ns, .. } => (*request, *at_ns),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use lem_client::EventSink as _;
    use serde_json::json;

    use super::*;
    use crate::config::Backend;

    #[derive(Default)]
    struct Kept(Vec<Event>);

    impl EventSink for Kept {
        fn event(&mut self, event: Event) {
            self.0.push(event);
        }
    }

    fn request() -> Request {
        Request {
            id: 7,
            tokens: Arc::from([1, 2, 3]),
            text: Some("abc".into()),
            max_output_tokens: 4,
            min_output_tokens: 4,
        }
    }

    fn config(text: Value) -> Config {
        serde_json::from_value(text).unwrap()
    }

    fn tokens(at_ns: u64, tokens: client::Tokens<'_>, part: client::Part) -> client::Event<'_> {
        client::Event::Tokens {
            request: 0,
            at_ns,
            tokens,
            part,
            text: "x",
            same_read: false,
        }
    }

    #[test]
    fn one_request_becomes_phases_tokens_and_what_was_told() {
        let (requests, gone) = ([request()], Cell::new(false));
        let mut kept = Kept::default();
        let mut sink = Sink::new(&mut kept, &requests, true, true, &gone);
        let sent = client::Event::Sent {
            request: 0,
            at_ns: 10,
            due_ns: 5,
            connect_ns: None,
            attempt: 1,
        };
        sink.event(sent);
        sink.event(client::Event::Empty {
            request: 0,
            at_ns: 15,
        });
        sink.event(tokens(20, client::Tokens::Unknown, client::Part::Reasoning));
        sink.event(tokens(
            30,
            client::Tokens::Ids(&[4, 5]),
            client::Part::Answer,
        ));
        sink.event(client::Event::Timings {
            request: 0,
            at_ns: 31,
            json: r#"{"timings":{"prompt_ms":9.0,"cache_n":1}}"#,
        });
        let summary = client::Summary {
            output_tokens: Some(4),
            chunks: 2,
            finish_reason: Some("length".into()),
            streamed: true,
            usage: client::Usage {
                prompt_tokens: Some(3),
                ..client::Usage::default()
            },
            ..client::Summary::default()
        };
        sink.event(client::Event::Finished {
            request: 0,
            at_ns: 40,
            summary: &summary,
        });
        assert_eq!(sink.tally.cached_tokens, Some(1));
        let told: Vec<_> = kept
            .0
            .iter()
            .map(|e| {
                format!("{e:?}")
                    .split([' ', '('])
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(
            told,
            [
                "Due", "Started", "Phase", "Tokens", "Phase", "Answer", "Tokens", "Told", "Phase",
                "Finished"
            ]
        );
        let Some(Event::Told { told, .. }) = kept.0.get(7) else {
            panic!()
        };
        assert_eq!((told.input_tokens, told.output_tokens), (Some(3), Some(4)));
        assert!(!told.one_token_each, "nobody said so");
        assert_eq!(told.engine.prefill_s, Some(9e-3));
    }

    #[test]
    fn a_server_that_is_gone_is_not_tried_for_ever() {
        let requests: Vec<Request> = (0..20).map(|id| Request { id, ..request() }).collect();
        let gone = Cell::new(false);
        let mut kept = Kept::default();
        let mut sink = Sink::new(&mut kept, &requests, false, false, &gone);
        let failure = client::Failure::Refused {
            address: "127.0.0.1:1".into(),
        };
        let summary = client::Summary::default();
        for request in 0..7 {
            sink.event(client::Event::Failed {
                request,
                at_ns: 1,
                failure: &failure,
                summary: &summary,
            });
        }
        assert!(!gone.get());
        sink.event(client::Event::Failed {
            request: 7,
            at_ns: 1,
            failure: &failure,
            summary: &summary,
        });
        assert!(gone.get());
        assert_eq!((sink.tally.failed, sink.tally.answered), (8, 0));
    }

    #[test]
    fn each_server_gets_the_fields_that_it_knows() {
        let sampling = Sampling {
            temperature: 0.5,
            top_k: Some(9),
            repetition_penalty: 1.2,
            ..Sampling::default()
        };
        let of = |backend: Backend, config: &Config| {
            let kind = Kind::of(backend).unwrap();
            Value::Object(body(config, kind, kind.api, &sampling, "salt"))
        };
        let plain = config(json!({}));
        assert_eq!(
            of(Backend::Vllm, &plain),
            json!({"temperature": 0.5, "top_k": 9, "repetition_penalty": 1.2, "seed": 42, "cache_salt": "salt"})
        );
        assert_eq!(
            of(Backend::TensorrtLlm, &plain),
            json!({"temperature": 0.5, "top_k": 9, "repetition_penalty": 1.2, "seed": 42}),
            "unknown fields are refused there"
        );
        assert_eq!(
            of(Backend::Openai, &plain),
            json!({"temperature": 0.5, "seed": 42})
        );
        assert_eq!(
            of(Backend::Ollama, &plain),
            json!({"options": {"temperature": 0.5, "top_k": 9, "repeat_penalty": 1.2, "seed": 42}})
        );
        let own = config(json!({"server": {"extra_body": {"cache_prompt": true, "min_p": 0.1}}}));
        let llama = of(Backend::LlamaCpp, &own);
        assert_eq!(
            (&llama["cache_prompt"], &llama["min_p"]),
            (&json!(true), &json!(0.1))
        );
    }

    #[test]
    fn conversations_go_on_from_their_answers() {
        let config =
            config(json!({"traffic": {"turns": 2, "think_time_s": 1.5, "concurrency": 3}}));
        let work = Work {
            requests: vec![request(), request(), request(), request()],
            batch_size: 3,
            sampling: Sampling::default(),
            due_ns: Vec::new(),
        };
        let plan = plan(&config, &work, true, |_| unreachable!());
        let after: Vec<_> = plan
            .jobs
            .iter()
            .map(|job| job.after.map(|a| a.job))
            .collect();
        assert_eq!(after, [None, Some(0), None, Some(2)]);
        assert!(matches!(plan.jobs[0].prompt, client::Prompt::Text(_)));
        assert_eq!(plan.load, client::Load::Users { users: 3 });
    }
}
