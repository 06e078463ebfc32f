//! The sampler's thread, and the watchdog that replaces it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use lem_record::Stamp;
use rustix::time::{ClockId, clock_gettime};

use super::buffer::Staging;
use super::control::{Command, Shared};

/// Another thread has taken over.
struct Outdated;

enum Work {
    Command(Command),
    Tick { edges: bool },
}

#[derive(Clone, Copy)]
enum Reading {
    Begin,
    Rhythm,
    Edges,
    /// What sensors tell late of the time before this.
    Settle(u64),
}

pub(super) fn spawn(shared: &Arc<Shared>, generation: u64) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("lem-sampler".into())
        .spawn(move || Sampling::new(&shared, generation).run())
        .map(drop)
}

/// Gives up threads that hang in a meter. Sleeps for good while there is nothing to watch.
pub(super) fn watch(shared: &Arc<Shared>) {
    let limit_ns = u64::try_from(shared.blocked_after.as_nanos()).unwrap_or(u64::MAX);
    let look = (shared.blocked_after / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
    let mut control = shared.lock();
    loop {
        if control.quit {
            return;
        }
        if !control.open && control.command.is_none() {
            control = shared
                .watch
                .wait(control)
                .unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let busy = control.busy;
        if let Some((index, since)) = busy
            && Stamp::mono_ns().saturating_sub(since) > limit_ns
        {
            if let Some(slot) = shared.slots.get(index) {
                let after = shared.blocked_after.as_secs_f64();
                let reason = format!("the {} meter did not answer within {after} s", slot.name);
                let _ = slot.dead.set(reason);
            }
            control.busy = None;
            control.generation += 1;
            if let Err(error) = spawn(shared, control.generation) {
                control.failure = Some(format!(
                    "the sampler hung, and the system refused another thread: {error}"
                ));
                control.open = false;
                shared.done.notify_all();
            }
        }
        control = shared
            .watch
            .wait_timeout(control, look)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

struct Sampling<'a> {
    shared: &'a Shared,
    generation: u64,
    staging: Staging,
    cpu_ns: u64,
}

impl<'a> Sampling<'a> {
    fn new(shared: &'a Shared, generation: u64) -> Self {
        Self {
            shared,
            generation,
            staging: Staging::with_capacity(),
            cpu_ns: thread_cpu_ns(),
        }
    }

    fn run(mut self) {
        while let Some(work) = self.next() {
            let done = match work {
                Work::Command(command) => self.obey(command),
                Work::Tick { edges } => self.tick(edges),
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// Waits for the next thing to do; `None`: there is nothing more.
    fn next(&self) -> Option<Work> {
        let shared = self.shared;
        let mut control = shared.lock();
        loop {
            if control.quit || control.generation != self.generation {
                return None;
            }
            if let Some(command) = control.command {
                return Some(Work::Command(command));
            }
            if !control.open {
                control = shared
                    .wake
                    .wait(control)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let due = control.due_ns(shared.interval_ns);
            let now = Stamp::mono_ns();
            if now >= due {
                let edges = control.tick(now, shared.interval_ns);
                return Some(Work::Tick { edges });
            }
            control = shared
                .wake
                .wait_timeout(control, Duration::from_nanos(due - now))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn tick(&mut self, edges: bool) -> Result<(), Outdated> {
        self.read_all(Reading::Rhythm)?;
        if edges {
            self.read_all(Reading::Edges)?;
        }
        self.account(|_| ())
    }

    /// The expensive readings lie outside the quick ones, so that what takes long does not
    /// stand between the quick ones and what is measured.
    fn obey(&mut self, command: Command) -> Result<(), Outdated> {
        let now = match command {
            Command::Begin => {
                for slot in &self.shared.slots {
                    slot.buffers().clear();
                }
                self.read_all(Reading::Begin)?;
                self.read_all(Reading::Edges)?;
                let now = Stamp::mono_ns();
                self.read_all(Reading::Rhythm)?;
                now
            }
            Command::End | Command::Segment => {
                let now = Stamp::mono_ns();
                self.read_all(Reading::Rhythm)?;
                self.read_all(Reading::Edges)?;
                self.read_all(Reading::Settle(Stamp::mono_ns()))?;
                now
            }
        };
        if matches!(command, Command::End) {
            self.shared
                .slots
                .iter()
                .for_each(|slot| slot.buffers().show_nothing());
        }
        self.account(|control| {
            match command {
                Command::Begin => control.begin(now),
                Command::End => {
                    control.edge(now);
                    control.open = false;
                }
                Command::Segment => control.edge(now),
            }
            control.command = None;
        })?;
        self.shared.done.notify_all();
        Ok(())
    }

    fn read_all(&mut self, reading: Reading) -> Result<(), Outdated> {
        let shared = self.shared;
        for (index, slot) in shared.slots.iter().enumerate() {
            if let Some(reason) = slot.dead.get() {
                if matches!(reading, Reading::Rhythm) {
                    slot.buffers().miss_all(reason);
                }
                continue;
            }
            self.mark(Some(index))?;
            self.staging.clear();
            let staging = &mut self.staging;
            // Whatever a meter leaves half done, it is never used again after a panic.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut meter = slot.meter.lock().unwrap_or_else(PoisonError::into_inner);
                match reading {
                    Reading::Begin => meter.begin(),
                    Reading::Rhythm => meter.read(staging),
                    Reading::Edges => meter.read_edges(staging),
                    Reading::Settle(end_ns) => meter.settle(end_ns, staging),
                }
            }));
            self.mark(None)?;
            let mut buffers = slot.buffers();
            buffers.absorb(&mut self.staging);
            if let Err(panic) = outcome {
                let reason = format!("the {} meter panicked: {}", slot.name, message(&*panic));
                buffers.miss_all(&reason);
                let _ = slot.dead.set(reason);
            }
        }
        Ok(())
    }

    /// Tells the watchdog which meter is being read.
    fn mark(&self, slot: Option<usize>) -> Result<(), Outdated> {
        let mut control = self.shared.lock();
        if control.generation != self.generation {
            return Err(Outdated);
        }
        control.busy = slot.map(|slot| (slot, Stamp::mono_ns()));
        Ok(())
    }

    fn account(&mut self, then: impl FnOnce(&mut super::control::Control)) -> Result<(), Outdated> {
        let cpu_ns = thread_cpu_ns();
        let spent = cpu_ns.saturating_sub(self.cpu_ns);
        self.cpu_ns = cpu_ns;
        let mut control = self.shared.lock();
        if control.generation != self.generation {
            return Err(Outdated);
        }
        then(&mut control);
        control.stats.cpu_ns += spent;
        Ok(())
    }
}

fn thread_cpu_ns() -> u64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    let ns = t
        .tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(t.tv_nsec);
    u64::try_from(ns).unwrap_or(0)
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
