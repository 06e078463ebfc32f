//! What the person at the terminal sees while a run goes on.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::enough::Enough;
use crate::measurement::{CycleDone, Observer};

/// A bar on a terminal, lines elsewhere. It is drawn between the measured windows
/// and never in one, so that looking costs nothing.
pub struct Progress<'a> {
    bar: Option<ProgressBar>,
    /// No lines: somebody else tells what was done.
    silent: bool,
    between: Box<dyn FnMut()>,
    enough: Option<&'a mut Enough>,
    /// Cycles that are finished, once one was.
    pub done: Option<u32>,
}

impl<'a> Progress<'a> {
    /// `between` is called when records are on disk and nothing is measured; `enough` says
    /// whether to stop.
    pub fn new(between: impl FnMut() + 'static, enough: Option<&'a mut Enough>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {elapsed}  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style)
        });
        Self {
            bar,
            silent: false,
            between: Box::new(between),
            enough,
            done: None,
        }
    }

    /// Tells by the bar alone, where there is one.
    pub fn silent(self, silent: bool) -> Self {
        Self { silent, ..self }
    }

    pub fn say(&self, text: &str) {
        if self.silent {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| super::super::say(text)),
            None => super::super::say(text),
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Progress<'_> {
    fn stage(&mut self, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(what.to_owned());
                bar.tick();
            }
            None => self.say(what),
        }
    }

    fn warmup_round(&mut self, round: u32, _most: u32) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("Warming up, round {}", round + 1));
            bar.tick();
        }
    }

    fn cycle_starts(&mut self, cycle: u32, of: u32) {
        if let Some(bar) = &self.bar {
            bar.set_length(u64::from(of));
            bar.set_position(u64::from(cycle));
            bar.set_message(format!("Measuring cycle {} of {of}", cycle + 1));
            bar.tick();
        }
    }

    fn cycle_done(&mut self, done: &CycleDone) {
        if done.complete {
            self.done = Some(done.cycle + 1);
        }
        let failed = match done.failed {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        self.say(&format!(
            "Cycle {}: {} requests{failed}, {} tokens in {:.1} s",
            done.cycle + 1,
            done.requests,
            done.output_tokens,
            done.seconds
        ));
        if let Some(bar) = &self.bar {
            bar.set_position(u64::from(done.cycle) + 1);
        }
    }

    fn enough(&mut self, done: u32) -> bool {
        self.enough.as_mut().is_none_or(|enough| enough.look(done))
    }

    fn between_cycles(&mut self) {
        (self.between)();
    }
}

/// A bar for bytes: downloads and hashes, before anything is measured.
pub struct ByteBar(Option<ProgressBar>);

impl ByteBar {
    pub fn new() -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg} {bar:24} {bytes}/{total_bytes} {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(0).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }
}

impl crate::model::Progress for ByteBar {
    fn total(&mut self, bytes: Option<u64>) {
        if let Some(bar) = &self.0 {
            bar.reset();
            bar.set_length(bytes.unwrap_or(0));
        }
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    fn message(&mut self, text: &str) {
        match &self.0 {
            Some(bar) => bar.set_message(text.to_owned()),
            None => super::super::say(text),
        }
    }
}

impl Drop for ByteBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
