//! Sinks that say everything at once, when the run has ended.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lem_record::{
    Check, Envelope, ExportError, Exporter, Receipt, Record, Rejected, RunContext, RunStatus,
    Written,
};
use serde_json::Value;

/// What such a sink says, and where to. It reads the run from the run's own log
/// ([`crate::log`]), so that it is complete whoever delivered the earlier records.
#[async_trait]
pub trait Ending: Send + Sync {
    fn name(&self) -> &'static str;
    fn destination(&self) -> String;
    async fn check(&self) -> Check;
    /// What of a record will not be told, and why.
    fn refuses(&self, run: &RunContext, envelope: &Envelope) -> Vec<String>;
    /// Says it; again, it replaces what was said before.
    async fn tell(&self, run: &RunContext) -> Result<Told, ExportError>;
}

#[derive(Clone, Debug)]
pub struct Told {
    pub points: u64,
    pub receipt: Receipt,
    /// What the other end does not take, and why.
    pub left_out: Vec<String>,
}

/// A sink that says everything at once, when the run has ended.
#[derive(Debug)]
pub struct AtEnd<E> {
    ending: E,
    run: Option<RunContext>,
    told: Option<Told>,
}

impl<E: Ending> AtEnd<E> {
    pub(crate) const fn new(ending: E) -> Self {
        Self {
            ending,
            run: None,
            told: None,
        }
    }

    fn run(&self) -> Result<&RunContext, ExportError> {
        self.run
            .as_ref()
            .ok_or_else(|| ExportError::retry("the run is not open"))
    }
}

#[async_trait]
impl<E: Ending> Exporter for AtEnd<E> {
    fn name(&self) -> &'static str {
        self.ending.name()
    }

    fn destination(&self) -> String {
        self.ending.destination()
    }

    async fn check(&self) -> Check {
        self.ending.check().await
    }

    async fn open(&mut self, run: &RunContext, _: &Value) -> Result<(), ExportError> {
        self.run = Some(run.clone());
        self.told = None;
        Ok(())
    }

    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError> {
        let run = self.run()?;
        let refused = batch.iter().flat_map(|envelope| {
            let n = envelope.n;
            let reasons = self.ending.refuses(run, envelope).into_iter();
            reasons.map(move |reason| Rejected { n, reason })
        });
        let mut rejected: Vec<Rejected> = refused.collect();
        let ended = |envelope: &&Arc<Envelope>| matches!(envelope.record, Record::RunFinished(_));
        let mut accepted = 0;
        if let Some(end) = batch.iter().find(ended) {
            let told = self.ending.tell(run).await?;
            accepted = told.points;
            let left_out = told.left_out.iter().cloned();
            rejected.extend(left_out.map(|reason| Rejected { n: end.n, reason }));
            self.told = Some(told);
        }
        Ok(Written {
            through: batch.last().map_or(0, |envelope| envelope.n),
            rejected,
            accepted,
        })
    }

    async fn finish(&mut self, _: RunStatus, deadline: Duration) -> Result<Receipt, ExportError> {
        if let Some(told) = &self.told {
            return Ok(told.receipt.clone());
        }
        let telling = tokio::time::timeout(deadline, self.ending.tell(self.run()?));
        let late = |_| {
            let seconds = deadline.as_secs_f64();
            ExportError::retry(format!("no time was left to finish ({seconds:.1} s)"))
        };
        let told = telling.await.map_err(late)??;
        Ok(self.told.insert(told).receipt.clone())
    }

    fn state(&self) -> Value {
        Value::Null // the run's log and the other end say all there is to know
    }
}

/// Reads and encodes on a thread where it may wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExportError> + Send + 'static,
) -> Result<T, ExportError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(ExportError::retry("the thread that reads the log stopped")))
}
