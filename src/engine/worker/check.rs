//! Tries a worker against the protocol: each requirement, whether it holds, and why not.

mod seen;

use std::time::{Duration, Instant};

use lem_record::{FinishReason, Stamp};
use serde::Serialize;
use serde_json::json;

use self::seen::{Seen, Watch, prompt, work};
use super::connection::Connection;
use super::ledger::Ledger;
use super::protocol::{
    self, Can, Decoded, Encode, Encoded, Generate, Load, Loaded, Nothing, Scored, Tokens,
};
use super::{Launch, Patience, check_scores};
use crate::engine::{Cancel, EngineError, ModelDescription, Phase, Work};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Fail,
    /// The worker says that it cannot, and need not.
    Skip,
}

#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub requirement: &'static str,
    pub verdict: Verdict,
    /// Why it fails or is skipped; what was seen, where it holds.
    pub detail: String,
}

/// What every generation is asked for.
const LENGTH: u32 = 8;
/// Long enough that a cancellation comes in the middle.
const LONG: u32 = 100_000;

const REQUIREMENTS: [&str; 15] = [
    "starts and says hello",
    "its clock is ours",
    "loads the model",
    "describes the model",
    "encodes and decodes text",
    "generates the exact length",
    "counts and times can be",
    "phases are ordered and hold the tokens",
    "a batch of requests all finish",
    "each call is a new one",
    "stops when cancelled",
    "scores tokens",
    "answers nonsense with an error",
    "writes only messages to standard output",
    "ends by itself when unloaded",
];

struct Trial {
    connection: Connection,
    patience: Patience,
    can: Can,
    description: ModelDescription,
    findings: Vec<Finding>,
}

/// All requirements in order. After one without which nothing goes on, the rest is skipped.
pub fn check(launch: Launch, load: &Load, mut patience: Patience) -> Vec<Finding> {
    // Eight tokens: a worker that takes longer never ends.
    patience.whole = Some(patience.answer.saturating_mul(5));
    let mut findings = Vec::new();
    let begun = Connection::start(launch).and_then(|mut connection| {
        let hello = connection.hello(patience.load)?;
        Ok((connection, format!("{} {}", hello.name, hello.version)))
    });
    match begun {
        Err(error) => findings.push(failed(0, &error.to_string())),
        Ok((connection, name)) => {
            findings.push(passed(0, name.trim()));
            let mut trial = Trial {
                connection,
                patience,
                can: Can::default(),
                description: ModelDescription::default(),
                findings,
            };
            trial.run(load);
            findings = trial.findings;
        }
    }
    for left in REQUIREMENTS.iter().skip(findings.len()) {
        findings.push(Finding {
            requirement: left,
            verdict: Verdict::Skip,
            detail: "not tried after the failure before".into(),
        });
    }
    findings
}

fn finding(index: usize, verdict: Verdict, detail: &str) -> Finding {
    Finding {
        requirement: REQUIREMENTS.get(index).copied().unwrap_or_default(),
        verdict,
        detail: detail.trim().to_owned(),
    }
}

fn passed(index: usize, detail: &str) -> Finding {
    finding(index, Verdict::Pass, detail)
}

fn failed(index: usize, detail: &str) -> Finding {
    finding(index, Verdict::Fail, detail)
}

/// What a step found: what was seen, or `Err` of why it was not done or went wrong.
enum Step {
    Pass(String),
    Skip(&'static str),
}

type Tried = Result<Step, EngineError>;

/// An error of the check's own: it has no remedy but the protocol.
fn wrong(what: impl Into<String>) -> EngineError {
    EngineError::new(what, "docs/worker-protocol.md says how it should be")
}

impl Trial {
    fn run(&mut self, load: &Load) {
        let steps: [fn(&mut Self, &Load) -> Tried; 14] = [
            Self::clock,
            Self::load,
            Self::describe,
            Self::text,
            Self::length,
            Self::counts,
            Self::phases,
            Self::batch,
            Self::again,
            Self::cancel,
            Self::score,
            Self::nonsense,
            Self::clean,
            Self::unload,
        ];
        for (step, index) in steps.into_iter().zip(1..) {
            let needed = index <= 3;
            match step(self, load) {
                Ok(Step::Pass(seen)) => self.findings.push(passed(index, &seen)),
                Ok(Step::Skip(why)) => self.findings.push(finding(index, Verdict::Skip, why)),
                Err(error) => {
                    // What it advises otherwise is this very check.
                    let advised = error.remedy == super::WRONG;
                    let told = if advised {
                        error.what
                    } else {
                        error.to_string()
                    };
                    self.findings.push(failed(index, &told));
                    // One that was ended answers no more.
                    if needed || self.connection.is_over() {
                        return;
                    }
                }
            }
        }
    }

    fn clock(&mut self, _: &Load) -> Tried {
        let bounds = self.connection.check_clock(self.patience.answer)?;
        let us = |ns: i64| ns as f64 / 1e3;
        Ok(Step::Pass(format!(
            "within {:.0} to +{:.0} µs",
            us(bounds.low_ns),
            us(bounds.high_ns)
        )))
    }

    fn load(&mut self, load: &Load) -> Tried {
        let began = Instant::now();
        let loaded: Loaded = self.connection.ask("load", load, self.patience.load)?;
        self.can = loaded.can;
        let words = [
            (self.can.true_token_times, "true token times"),
            (self.can.phase_boundaries, "phase boundaries"),
            (self.can.encode, "encode"),
            (self.can.score, "score"),
            (self.can.cancel, "cancel"),
            (self.can.profile, "profile"),
        ];
        let words: Vec<&str> = words.iter().filter(|w| w.0).map(|w| w.1).collect();
        Ok(Step::Pass(format!(
            "in {:.1} s; it can: {}",
            began.elapsed().as_secs_f64(),
            if words.is_empty() {
                "nothing of what is optional".into()
            } else {
                words.join(", ")
            }
        )))
    }

    fn describe(&mut self, _: &Load) -> Tried {
        let answer = self.patience.answer;
        self.description = self.connection.ask("describe", &Nothing {}, answer)?;
        let d = &self.description;
        if d.vocabulary.is_none_or(|size| size == 0) {
            return Err(wrong("it does not tell the size of the vocabulary"));
        }
        let missing: Vec<&str> = [
            (d.parameters.is_none(), "parameters"),
            (d.active_parameters.is_none(), "active_parameters"),
            (d.layers.is_none(), "layers"),
            (d.hidden_size.is_none(), "hidden_size"),
            (d.attention_heads.is_none(), "attention_heads"),
            (d.weight_bytes.is_none(), "weight_bytes"),
        ]
        .iter()
        .filter(|(missing, _)| *missing)
        .map(|(_, name)| *name)
        .collect();
        Ok(Step::Pass(if missing.is_empty() {
            "all that FLOPs and bytes are computed from".into()
        } else {
            format!(
                "without {}: no FLOPs or bytes are computed",
                missing.join(", ")
            )
        }))
    }

    fn text(&mut self, _: &Load) -> Tried {
        if !self.can.encode {
            return Ok(Step::Skip("it does not: prompts are synthetic"));
        }
        let text = "The sky is blue.";
        let answer = self.patience.answer;
        let ask = Encode { text, chat: false };
        let tokens = self
            .connection
            .ask::<Encoded>("encode", &ask, answer)?
            .tokens;
        if tokens.is_empty() {
            return Err(wrong(format!("{text:?} has no tokens")));
        }
        let ask = Tokens { tokens: &tokens };
        let back = self.connection.ask::<Decoded>("decode", &ask, answer)?.text;
        if back.trim() != text {
            return Err(wrong(format!("{text:?} came back as {back:?}")));
        }
        Ok(Step::Pass(format!(
            "{} tokens there and back",
            tokens.len()
        )))
    }

    fn length(&mut self, _: &Load) -> Tried {
        let seen = self.generation(&work(1, LENGTH, 1), &Cancel::default())?;
        seen.check(1, LENGTH)?;
        Ok(Step::Pass(format!("{LENGTH} tokens of {LENGTH}")))
    }

    fn counts(&mut self, _: &Load) -> Tried {
        // The ledger has looked at everything: here at what a worker usually gets wrong.
        let seen = self.generation(&work(2, 1, 2), &Cancel::default())?;
        seen.check(2, 1)?;
        Ok(Step::Pass(
            "each between the question and its arrival, in order".into(),
        ))
    }

    fn phases(&mut self, _: &Load) -> Tried {
        if !self.can.phase_boundaries {
            return Ok(Step::Skip(
                "it tells no phases: energy is not split by them",
            ));
        }
        let seen = self.generation(&work(1, LENGTH, 1), &Cancel::default())?;
        let order: Vec<Option<Phase>> = seen.phases;
        if order != [Some(Phase::Prefill), Some(Phase::Decode), None] {
            return Err(wrong(format!(
                "one request went through the phases {order:?}, where prefill, decode and none are due"
            )));
        }
        if seen.tokens_in_prefill != 1 {
            return Err(wrong(format!(
                "{} tokens came in prefill: the first of each request belongs there, and no other",
                seen.tokens_in_prefill
            )));
        }
        Ok(Step::Pass(
            "prefill with the first token, decode, none".into(),
        ))
    }

    fn batch(&mut self, _: &Load) -> Tried {
        let seen = self.generation(&work(5, LENGTH, 2), &Cancel::default())?;
        seen.check(5, LENGTH)?;
        Ok(Step::Pass("5 requests in batches of 2".into()))
    }

    fn again(&mut self, _: &Load) -> Tried {
        let work = work(1, LENGTH, 1);
        let first = self.generation(&work, &Cancel::default())?;
        let second = self.generation(&work, &Cancel::default())?;
        if first.ids == second.ids {
            return Ok(Step::Pass("the same greedy tokens twice".into()));
        }
        Ok(Step::Pass(
            "of the same length; other tokens, though greedy".into(),
        ))
    }

    fn cancel(&mut self, _: &Load) -> Tried {
        if !self.can.cancel {
            return Ok(Step::Skip("it cannot: when interrupted it is ended"));
        }
        let mut long = work(1, LONG, 1);
        let context = self.description.context_length.unwrap_or(LONG);
        for request in &mut long.requests {
            request.min_output_tokens = context.saturating_sub(32).min(LONG);
            request.max_output_tokens = request.min_output_tokens;
        }
        let cancel = Cancel::default();
        let began = Instant::now();
        let soon = cancel.clone();
        let mut cancelled = None;
        let seen = self.generation_until(&long, &cancel, |tokens| {
            if tokens >= 3 && cancelled.is_none() {
                soon.cancel();
                cancelled = Some(Instant::now());
            }
        })?;
        let Some(cancelled) = cancelled else {
            return Err(wrong("it ended before it could be cancelled"));
        };
        let took = cancelled.elapsed();
        if seen.ended != [FinishReason::Cancelled] {
            return Err(wrong(format!(
                "a cancelled request ended as {:?} after {:.1} s",
                seen.ended,
                began.elapsed().as_secs_f64()
            )));
        }
        Ok(Step::Pass(format!(
            "{:.0} ms after it was asked",
            took.as_secs_f64() * 1e3
        )))
    }

    fn score(&mut self, _: &Load) -> Tried {
        if !self.can.score {
            return Ok(Step::Skip("it cannot: no perplexity"));
        }
        let tokens = prompt();
        let ask = Tokens { tokens: &tokens };
        let scored: Scored = self.connection.ask("score", &ask, self.patience.answer)?;
        check_scores(tokens.len(), &scored.logprobs).map_err(wrong)?;
        let sum: f32 = scored.logprobs.iter().sum();
        Ok(Step::Pass(format!(
            "{} log-probabilities, whose sum is {sum:.2}",
            scored.logprobs.len()
        )))
    }

    fn nonsense(&mut self, _: &Load) -> Tried {
        let id = self
            .connection
            .send("no such word", &json!({"new": [1, 2]}))?;
        let until = Instant::now() + self.patience.answer;
        while Instant::now() < until {
            let Some((said, _)) = self
                .connection
                .next("answer nonsense", Duration::from_millis(50))?
            else {
                continue;
            };
            return match said.error {
                Some(fault) if said.id == Some(id) && !fault.what.trim().is_empty() => {
                    // And is still there.
                    let answer = self.patience.answer;
                    self.connection
                        .ask::<protocol::Pong>("ping", &Nothing {}, answer)?;
                    Ok(Step::Pass(super::reader::shown(fault.what.as_bytes())))
                }
                _ => Err(wrong(
                    "a word that does not exist was not answered with an error that says what",
                )),
            };
        }
        Err(wrong("a word that does not exist got no answer"))
    }

    fn clean(&mut self, _: &Load) -> Tried {
        match self.connection.rubbish.first() {
            None => Ok(Step::Pass(String::new())),
            Some(first) => Err(wrong(format!(
                "{} lines are no messages; the first: {first}",
                self.connection.rubbish.len()
            ))),
        }
    }

    fn unload(&mut self, _: &Load) -> Tried {
        match self.connection.unload(self.patience.stop) {
            Some(status) if status.success() => Ok(Step::Pass("exit code 0".into())),
            Some(status) => Err(wrong(format!(
                "it ended with {}",
                super::process::told(status)
            ))),
            None => Err(wrong(format!(
                "it went on for {} s and had to be ended",
                self.patience.stop.as_secs_f64()
            ))),
        }
    }

    fn generation(&mut self, work: &Work, cancel: &Cancel) -> Result<Seen, EngineError> {
        self.generation_until(work, cancel, |_| {})
    }

    fn generation_until(
        &mut self,
        work: &Work,
        cancel: &Cancel,
        tell: impl FnMut(u64),
    ) -> Result<Seen, EngineError> {
        let mut seen = Watch {
            seen: Seen::default(),
            phase: None,
            tell,
        };
        let mut ledger = Ledger::new(work, self.can, Stamp::mono_ns());
        let id = self.connection.send("generate", &Generate::of(work))?;
        super::follow::follow(
            &mut self.connection,
            super::follow::Asked {
                id,
                verb: "generate",
            },
            self.can,
            self.patience,
            &mut ledger,
            &mut seen,
            cancel,
        )?;
        Ok(seen.seen)
    }
}
