//! What a sensor carries over the edge of a phase, and how much of it is given back.
//!
//! A sensor that averages over a window W, read every T and interpolated in between, shows a
//! step of power not as a step but as a ramp around it. Seen at the right lag the ramp lies
//! evenly over both sides, and the energy it carries from the higher side to the lower is
//! ΔP·c, where c is half the mean absolute deviation of what the step is smeared with: W/8
//! for an average alone, T/6 for interpolation alone (on average over where the samples fall).
//! The mean absolute deviation of such kernels is 0.82 of their standard deviation within a few
//! hundredths, which gives the one formula for both together: c = 0.41·√(W²/12 + T²/6).
//! Where samples come unevenly an edge lies more often in a long gap: T is ΣT²/ΣT.
//! It is given back at each edge, from one phase to its neighbour, so that the sum stands.
//!
//! On an H100's sample ring (W = 20 ms, T = 22.7 ms: c = 4.5 ms) the light phases of 100 ms of a
//! square wave come out at 123.5 W with it and at 184 W without; their later level is 125 W.

use super::data::Window;
use super::integrate::EnergyCurve;

/// How a sensor smears a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blur {
    /// W: time over which one reading is averaged, seconds.
    window_s: f64,
    /// Time between two readings, seconds.
    update_s: f64,
    /// T: the time between the two readings around an edge, seconds.
    around_s: f64,
    counter: bool,
}

/// An edge between two phases as the sensor saw it, and the powers clear of it, watts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    pub before: f64,
    pub after: f64,
}

impl Edge {
    pub fn step(&self) -> f64 {
        self.after - self.before
    }
}

/// What the edges of one phase's windows come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Carried {
    /// To be added to the phase, joules.
    pub joules: f64,
    /// Standard uncertainty from where the samples fall on the edges, joules.
    pub random_j: f64,
    /// Σ (power at the end − power at the start), watts: what a lag that is wrong by a second
    /// would add.
    pub per_lag_w: f64,
}

impl Blur {
    pub fn of(curve: &EnergyCurve, seen: Window, window_s: Option<f64>, update_s: f64) -> Self {
        let sane = |s: f64| {
            if s.is_finite() {
                s.clamp(0.0, 10.0)
            } else {
                0.0
            }
        };
        let counter = curve.is_counter();
        Self {
            // A counter misses nothing between its readings: only its edges are interpolated.
            window_s: if counter {
                0.0
            } else {
                sane(window_s.unwrap_or(0.0))
            },
            update_s: sane(update_s),
            around_s: sane(curve.gap_around(seen).unwrap_or(update_s)),
            counter,
        }
    }

    /// c, seconds: a step of ΔP carries ΔP·c over the edge.
    pub fn carried_s(&self) -> f64 {
        0.41 * (self.window_s.powi(2) / 12.0 + self.around_s.powi(2) / 6.0).sqrt()
    }

    /// A phase shorter than this has no level of its own: an edge there is that between its
    /// neighbours.
    pub fn shortest_ns(&self) -> u64 {
        ns(self.carried_s())
    }

    /// From an edge to where power is clear of it, before and after, seconds. A real sensor
    /// rises and falls late rather than early.
    const fn clear_s(&self) -> (f64, f64) {
        match self.counter {
            true => (self.update_s, self.update_s),
            false => (0.6 * self.window_s, self.window_s),
        }
    }

    /// Edges of tiles that follow one another without gaps, as the sensor saw them: one more
    /// than there are tiles. The first and the last are the cycle's own.
    pub fn edges(&self, curve: &EnergyCurve, tiles: &[Window]) -> Vec<Edge> {
        let (before_s, after_s) = self.clear_s();
        let near = ns(1.5 * self.update_s);
        let before = |tile: Option<&Window>, at_ns: u64| {
            let to = at_ns.saturating_sub(ns(before_s));
            let from = to.saturating_sub(near);
            curve.level(match tile {
                None => Window::new(from, to),
                Some(tile) => clear(
                    tile,
                    from.max(tile.start_ns.saturating_add(ns(after_s))),
                    to,
                ),
            })
        };
        let after = |tile: Option<&Window>, at_ns: u64| {
            let from = at_ns.saturating_add(ns(after_s));
            let to = from.saturating_add(near);
            curve.level(match tile {
                None => Window::new(from, to),
                Some(tile) => clear(tile, from, to.min(tile.end_ns.saturating_sub(ns(before_s)))),
            })
        };
        let Some((first, last)) = tiles.first().zip(tiles.last()) else {
            return Vec::new();
        };
        let mut edges = Vec::with_capacity(tiles.len() + 1);
        let outer = |before: f64, after: f64| Edge { before, after };
        edges.push(outer(
            before(None, first.start_ns),
            after(Some(first), first.start_ns),
        ));
        for pair in tiles.windows(2) {
            if let [left, right] = pair {
                edges.push(Edge {
                    before: before(Some(left), left.end_ns),
                    after: after(Some(right), right.start_ns),
                });
            }
        }
        edges.push(outer(
            before(Some(last), last.end_ns),
            after(None, last.end_ns),
        ));
        edges
    }

    /// Of the tiles that `of` picks, by their place.
    pub fn carried(&self, edges: &[Edge], of: impl Fn(usize) -> bool) -> Carried {
        let mut sum = Carried::default();
        let mut squares = 0.0;
        for (index, pair) in edges.windows(2).enumerate() {
            let [start, end] = pair else { continue };
            if !of(index) {
                continue;
            }
            sum.joules += (start.step() - end.step()) * self.carried_s();
            squares += start.step().powi(2) + end.step().powi(2);
            let at = |edge: &Edge| 0.5 * (edge.before + edge.after);
            sum.per_lag_w += at(end) - at(start);
        }
        // What interpolation really carries depends on where the edge lies between two samples:
        // ΔP·a·(T − a)/T with a even from 0 to T, of standard deviation ΔP·T/√180.
        sum.random_j = squares.sqrt() * self.around_s / 180f64.sqrt();
        sum
    }
}

/// The clear stretch of a tile, or its middle where edges leave none.
fn clear(tile: &Window, from: u64, to: u64) -> Window {
    if from <= to {
        Window::new(from, to)
    } else {
        let middle = tile.middle_ns();
        Window::new(middle, middle)
    }
}

fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
