//! A sink that does as it is told, and an other end that survives it.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lem_delivery::Policy;
use lem_record::{
    Check, Envelope, ExportError, Exporter, Receipt, Record, Rejected, RunContext, RunStatus,
    Warning, Written,
};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Open,
    Write,
    Finish,
}

/// How a call goes.
#[derive(Clone, Debug)]
pub enum Act {
    Work,
    /// Does it, and loses the answer.
    WorkThenHang,
    /// Takes only so many records.
    Take(usize),
    Reject,
    Retry(Option<Duration>),
    GiveUp,
    Hang,
    /// As a sink that waits for its reader.
    Wait(Duration),
    /// Holds its thread, as no good sink does.
    Block(Duration),
    Panic,
}

/// One call, as the other end saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub call: Call,
    pub at: Instant,
    pub numbers: Vec<u64>,
}

#[derive(Default)]
pub struct World {
    pub kept: BTreeMap<u64, Envelope>,
    pub seen: Vec<Seen>,
    pub status: Option<RunStatus>,
    /// The last record that it took.
    pub through: u64,
}

pub type Script = dyn Fn(Call, usize) -> Act + Send + Sync;

/// The exporter. `script` is asked with the call and how many such calls there were.
#[derive(Clone)]
pub struct Probe {
    pub name: &'static str,
    pub world: Arc<Mutex<World>>,
    pub waits: Duration,
    pub script: Arc<Script>,
    pub forgets: bool,
}

impl Probe {
    pub fn new(
        name: &'static str,
        script: impl Fn(Call, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            world: Arc::default(),
            waits: Duration::ZERO,
            script: Arc::new(script),
            forgets: false,
        }
    }

    /// The other end keeps the numbers of the records only.
    pub fn forgetful(self) -> Self {
        Self {
            forgets: true,
            ..self
        }
    }

    pub fn good(name: &'static str) -> Self {
        Self::new(name, |_, _| Act::Work)
    }

    /// The same other end, reached by a sink that behaves otherwise.
    pub fn with(&self, script: impl Fn(Call, usize) -> Act + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            ..self.clone()
        }
    }

    pub fn boxed(&self) -> Box<dyn Exporter> {
        Box::new(self.clone())
    }

    pub fn calls(&self, call: Call) -> Vec<Seen> {
        let world = self.world.lock().unwrap();
        world
            .seen
            .iter()
            .filter(|seen| seen.call == call)
            .cloned()
            .collect()
    }

    pub fn kept(&self) -> Vec<u64> {
        self.world.lock().unwrap().kept.keys().copied().collect()
    }

    pub fn wait_for(&self, what: &str, ready: impl Fn(&World) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !ready(&self.world.lock().unwrap()) {
            assert!(Instant::now() < end, "{}: {what} never came", self.name);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    async fn act(&self, call: Call, batch: &[Arc<Envelope>]) -> Result<Act, ExportError> {
        let act = {
            let mut world = self.world.lock().unwrap();
            let before = world.seen.iter().filter(|seen| seen.call == call).count();
            let numbers = batch.iter().map(|envelope| envelope.n).collect();
            world.seen.push(Seen {
                call,
                at: Instant::now(),
                numbers,
            });
            (self.script)(call, before)
        };
        match act {
            Act::Hang => std::future::pending().await,
            Act::Wait(time) => tokio::time::sleep(time).await,
            Act::Block(time) => std::thread::sleep(time),
            Act::Panic => panic!("a scripted panic with s3cret"),
            Act::Retry(after) => {
                return Err(ExportError::Retry {
                    reason: "scripted trouble".into(),
                    after,
                });
            }
            Act::GiveUp => return Err(ExportError::give_up("scripted refusal", "Do as told")),
            Act::Work | Act::WorkThenHang | Act::Take(_) | Act::Reject => {}
        }
        Ok(act)
    }
}

#[async_trait]
impl Exporter for Probe {
    fn name(&self) -> &'static str {
        self.name
    }

    fn destination(&self) -> String {
        format!("memory:{}", self.name)
    }

    async fn check(&self) -> Check {
        Check::default()
    }

    async fn open(&mut self, _: &RunContext, _: &Value) -> Result<(), ExportError> {
        self.act(Call::Open, &[]).await.map(drop)
    }

    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError> {
        let act = self.act(Call::Write, batch).await?;
        let take = if let Act::Take(n) = act {
            n
        } else {
            batch.len()
        };
        let batch = &batch[..take.min(batch.len())];
        for envelope in batch.iter().filter(|_| !self.forgets) {
            self.world
                .lock()
                .unwrap()
                .kept
                .insert(envelope.n, (**envelope).clone());
        }
        if matches!(act, Act::WorkThenHang) {
            std::future::pending::<()>().await;
        }
        let through = batch.last().map_or(0, |envelope| envelope.n);
        self.world.lock().unwrap().through = through;
        let rejected = match act {
            Act::Reject => vec![Rejected {
                n: through,
                reason: "scripted".into(),
            }],
            _ => Vec::new(),
        };
        Ok(Written {
            through,
            rejected,
            accepted: batch.len() as u64,
        })
    }

    async fn finish(&mut self, status: RunStatus, _: Duration) -> Result<Receipt, ExportError> {
        self.act(Call::Finish, &[]).await?;
        self.world.lock().unwrap().status = Some(status);
        Ok(Receipt {
            look_at: Some("memory:here".into()),
            details: Value::Null,
        })
    }

    fn waits(&self, _: &RunContext) -> Duration {
        self.waits
    }

    fn state(&self) -> Value {
        json!({"remote": self.name})
    }
}

pub fn quick() -> Policy {
    Policy {
        batch_records: 10,
        call_timeout: Duration::from_secs(5),
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(20),
        ..Policy::default()
    }
}

pub fn warning(text: impl Into<String>) -> Record {
    Record::Warning(Warning {
        code: "c".into(),
        message: text.into(),
        remedy: String::new(),
    })
}
