//! What is to be seen of a run, on whatever paper.

use super::bands::ROOM;
use super::panels::{self, Panel, Series};
use super::tokens::{self, Tokens};
use super::words;
use crate::analysis::{Analysis, CycleData, PhaseWindows, RunData, Window};

/// Which time is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// From the first cycle to the last.
    #[default]
    Cycles,
    Cycle(u32),
    /// With the baselines and the warm-up.
    Run,
}

/// What is shown over it, from above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Power with phase bands and idle levels.
    Power,
    /// Each device beside the sum.
    Devices,
    Temperature,
    Utilization,
    Clock,
    Memory,
    /// Each output token of each request.
    Tokens,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub span: Span,
    pub what: Vec<What>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            span: Span::Cycles,
            what: vec![What::Power, What::Temperature, What::Tokens],
        }
    }
}

/// A level that power is compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Idle {
    /// `B0`, `B1`, `B1′`.
    pub name: &'static str,
    /// `bare idle`, …
    pub meaning: &'static str,
    pub watts: f64,
}

/// A stretch of time with a name: a cycle, a baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    pub name: String,
    pub window: Window,
    /// False for a cycle that was cut off.
    pub counted: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub title: String,
    /// Under the title: the numbers.
    pub facts: Vec<String>,
    /// Under the figure: how they were obtained.
    pub notes: Vec<String>,
    pub span: Window,
    /// Where the time axis has its zero.
    pub zero_ns: u64,
    pub time_label: String,
    /// The sum first.
    pub power: Vec<Series>,
    pub prefill: Vec<Window>,
    pub decode: Vec<Window>,
    pub cycles: Vec<Stretch>,
    /// Baselines and warm-up, where the span has them.
    pub around: Vec<Stretch>,
    pub idle: Vec<Idle>,
    /// While a clock was held down.
    pub throttled: Vec<Window>,
    pub panels: Vec<Panel>,
    pub tokens: Option<Tokens>,
}

impl Picture {
    pub fn of(data: &RunData, analysis: &Analysis, options: &Options) -> Result<Self, String> {
        let shown = shown(data, options.span)?;
        let span = span(data, &shown, options.span);
        let asked = |what| options.what.contains(&what);
        let power = match asked(What::Power) || asked(What::Devices) {
            true => panels::power(analysis, span, asked(What::Devices)),
            false => Vec::new(),
        };
        let panels: Vec<Panel> = options
            .what
            .iter()
            .filter_map(|what| panels::of(*what, data, span))
            .collect();
        let tokens = asked(What::Tokens)
            .then(|| tokens::of(shown.iter().flat_map(|c| &c.requests), span))
            .flatten();
        if power.is_empty() && panels.is_empty() && tokens.is_none() {
            return Err("the run has nothing of what is to be drawn in that time".into());
        }
        let (mut prefill, mut decode) = (Vec::new(), Vec::new());
        let mut untold = None;
        for cycle in &shown {
            match PhaseWindows::of(cycle) {
                Ok(phases) => {
                    prefill.extend(phases.prefill);
                    decode.extend(phases.decode);
                }
                Err(why) if cycle.complete => untold = Some(why),
                Err(_) => {}
            }
        }
        let zero_ns = shown
            .first()
            .map_or(span.start_ns, |cycle| cycle.window.start_ns);
        let time_label = match options.span {
            Span::Cycle(index) => format!("Time from the start of cycle {index} (s)"),
            Span::Cycles | Span::Run => "Time from the start of the first cycle (s)".to_owned(),
        };
        let one = match options.span {
            Span::Cycle(index) => Some(index),
            Span::Cycles | Span::Run => None,
        };
        let mut notes = words::notes(data, analysis, untold.as_deref());
        if prefill.len().max(decode.len()) > ROOM {
            let many =
                "Phases are too many to be drawn one by one: shades are their shares of the time.";
            notes.insert(0, many.to_owned());
        }
        Ok(Self {
            title: words::title(data, analysis),
            facts: words::facts(analysis, one),
            notes,
            span,
            zero_ns,
            time_label,
            power,
            prefill,
            decode,
            cycles: shown.iter().map(|cycle| stretch(cycle)).collect(),
            around: around(data, options.span),
            idle: idle(analysis),
            throttled: panels::throttled(data, span),
            panels,
            tokens,
        })
    }

    /// Seconds on the time axis.
    pub fn seconds(&self, t_ns: u64) -> f64 {
        match t_ns >= self.zero_ns {
            true => (t_ns - self.zero_ns) as f64 / 1e9,
            false => -((self.zero_ns - t_ns) as f64 / 1e9),
        }
    }
}

fn shown(data: &RunData, span: Span) -> Result<Vec<&CycleData>, String> {
    let cycles: Vec<&CycleData> = match span {
        Span::Cycle(index) => data.cycles.iter().filter(|c| c.index == index).collect(),
        Span::Cycles | Span::Run => data.cycles.iter().collect(),
    };
    match (span, cycles.is_empty()) {
        (_, false) => Ok(cycles),
        (Span::Cycle(index), true) => {
            let last = data.cycles.last().map(|c| c.index);
            Err(match last {
                Some(last) => format!("the run has no cycle {index}; its cycles are 0 to {last}"),
                None => "the run has no cycle".into(),
            })
        }
        (Span::Run, true) if !data.baselines.is_empty() => Ok(cycles),
        _ => Err("no cycle was measured; --whole shows what else there is".into()),
    }
}

/// The shown time, with a little air at both ends.
fn span(data: &RunData, shown: &[&CycleData], span: Span) -> Window {
    let mut windows: Vec<Window> = shown.iter().map(|cycle| cycle.window).collect();
    if span == Span::Run {
        windows.extend(data.baselines.iter().map(|b| b.window));
        windows.extend(&data.warmups);
    }
    let start = windows.iter().map(|w| w.start_ns).min().unwrap_or(0);
    let end = windows.iter().map(|w| w.end_ns).max().unwrap_or(0);
    let air = end.saturating_sub(start) / 80;
    Window::new(start.saturating_sub(air), end.saturating_add(air))
}

fn stretch(cycle: &CycleData) -> Stretch {
    Stretch {
        name: format!("cycle {}", cycle.index),
        window: cycle.window,
        counted: cycle.complete,
    }
}

fn around(data: &RunData, span: Span) -> Vec<Stretch> {
    if span != Span::Run {
        return Vec::new();
    }
    let named = |name: &str, window: Window| Stretch {
        name: name.to_owned(),
        window,
        counted: true,
    };
    let baselines = data.baselines.iter().map(|baseline| {
        let name = match baseline.kind.as_str() {
            "bare" => "B0",
            "loaded" => "B1",
            "after" => "B1′",
            other => other,
        };
        named(name, baseline.window)
    });
    let warmups = data.warmups.iter().map(|window| named("warm-up", *window));
    let mut all: Vec<Stretch> = baselines.chain(warmups).collect();
    all.sort_by_key(|stretch| stretch.window);
    all
}

fn idle(analysis: &Analysis) -> Vec<Idle> {
    let kinds = [
        ("bare", "B0", "bare idle"),
        ("loaded", "B1", "idle with the model loaded"),
        ("after", "B1′", "idle after the cycles"),
    ];
    let level = |(kind, name, meaning): (&str, &'static str, &'static str)| {
        // Each sensor's own level carries its name; the sum carries none.
        let entry = analysis.run.entries.iter().find(|e| {
            e.id == "baseline.power"
                && !e.attributes.contains_key("hw.id")
                && e.attributes
                    .get("lem.baseline.kind")
                    .is_some_and(|k| k == kind)
        })?;
        let watts = entry.reading.as_ref().ok()?.value;
        watts.is_finite().then_some(Idle {
            name,
            meaning,
            watts,
        })
    };
    kinds.into_iter().filter_map(level).collect()
}
