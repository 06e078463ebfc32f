//! Power as it was, from power as a calibrated sensor showed it.
//!
//! A calibrated sensor's answer to a step of power is known ([`Kernel`]). The cycle is laid out
//! in pieces of constant power that begin and end with its phases; a long phase is cut into
//! many. Each reading is then the sum of the pieces' powers, each as far as the sensor shows it
//! at that moment; the powers follow by least squares, and the energy of a phase is the sum
//! over its pieces. Nothing is carried over an edge, so there is nothing to give back.
//!
//! On an H100 (low-pass of 13 ms, a sample in 20 ms) phases of 60 ms between 122 and 378 W come
//! out within 1 % on average, where integration alone is off by 15 and 47 %.

use super::banded::Banded;
use super::data::Window;
use super::integrate::EnergyCurve;
use super::uncertainty::effective_samples;
use crate::meter::Kernel;

/// A piece has at least so many readings: fewer do not tell its power from its neighbours'.
const READINGS: f64 = 3.0;
/// Pieces of a long phase are at most twice the least.
const STRETCH: f64 = 2.0;
/// More pieces than this within the sensor's memory are not told apart.
const WIDEST: usize = 48;
/// Where the pieces are more than this, memory is the limit.
const MOST_PIECES: u64 = 2_000_000;
/// Edges closer than this, in updates, are one: no reading tells what lies between them.
const APART: f64 = 0.5;
/// Holds neighbouring pieces together where the readings leave them open, in readings. Far
/// too little to be seen where they do not.
const PULL: f64 = 1e-4;

#[derive(Clone, Debug)]
pub struct Deconvolved {
    /// Edges of the pieces, one more than there are pieces.
    edges_ns: Vec<u64>,
    watts: Vec<f64>,
    normal: Banded,
    /// Times of the readings and what the pieces leave of them.
    residuals: Vec<(u64, f64)>,
}

/// The shortest phase that can be told from its neighbours, on average, seconds.
pub fn shortest_s(kernel: &Kernel, update_s: f64) -> f64 {
    (READINGS * update_s).max(2.0 * kernel.deviation_s())
}

impl Deconvolved {
    /// `edges_ns` are the times at which the load may change, in order. `None` where the
    /// readings do not carry it.
    pub fn of(
        curve: &EnergyCurve,
        kernel: &Kernel,
        edges_ns: &[u64],
        update_s: f64,
    ) -> Option<Self> {
        let piece_s = shortest_s(kernel, update_s);
        if !(kernel.is_sane() && piece_s.is_finite() && piece_s > 0.0) {
            return None;
        }
        let mut edges_ns = pieces(&merged(edges_ns, ns(APART * update_s)), ns(piece_s))?;
        // Readings near the ends show what was before and after, too.
        let (first, last) = (*edges_ns.first()?, *edges_ns.last()?);
        let (first, last) = (
            first.saturating_sub(ns(piece_s)),
            last.saturating_add(ns(piece_s)),
        );
        edges_ns.insert(0, first);
        edges_ns.push(last);
        let span = Window::new(first, last);
        let readings: Vec<(u64, f64)> = curve
            .times(span)
            .iter()
            .copied()
            .zip(curve.powers(span))
            .collect();
        let n = edges_ns.len() - 1;
        let rows: Vec<(usize, Vec<f64>)> = readings
            .iter()
            .map(|(t, _)| row(kernel, &edges_ns, *t))
            .collect();
        let width = rows.iter().map(|(_, shares)| shares.len()).max()?.max(2);
        if width > WIDEST || readings.len() < 3 {
            return None;
        }
        let mut normal = Banded::zero(n, width);
        let mut right = vec![0.0; n];
        for ((from, shares), (_, watts)) in rows.iter().zip(&readings) {
            for (i, a) in shares.iter().enumerate() {
                if let Some(sum) = right.get_mut(from + i) {
                    *sum += a * watts;
                }
                for (j, b) in shares.iter().enumerate().skip(i) {
                    normal.add(from + i, from + j, a * b);
                }
            }
        }
        for i in 0..n - 1 {
            normal.add(i, i, PULL);
            normal.add(i + 1, i + 1, PULL);
            normal.add(i, i + 1, -PULL);
        }
        let normal = normal.factored()?;
        let watts = normal.solve(&right);
        let residuals = rows
            .iter()
            .zip(&readings)
            .map(|((from, shares), (t, seen))| {
                let shown: f64 = shares
                    .iter()
                    .zip(watts.iter().skip(*from))
                    .map(|(a, w)| a * w)
                    .sum();
                (*t, seen - shown)
            })
            .collect();
        Some(Self {
            edges_ns,
            watts,
            normal,
            residuals,
        })
    }

    /// Joules of windows that begin and end with pieces, and their standard uncertainty from
    /// what the readings leave open.
    pub fn energy(&self, windows: &[Window]) -> (f64, f64) {
        let mut seconds = vec![0.0; self.watts.len()];
        let mut left = Vec::new();
        for window in windows {
            let from = self.edges_ns.partition_point(|e| *e <= window.start_ns);
            let first = from.saturating_sub(1);
            let pieces = self.edges_ns.windows(2).zip(&mut seconds).skip(first);
            for (piece, seconds) in pieces.take_while(|(piece, _)| piece[0] < window.end_ns) {
                let end = piece[1].min(window.end_ns);
                let inside = end.saturating_sub(piece[0].max(window.start_ns));
                *seconds += inside as f64 * 1e-9;
            }
            let first = self
                .residuals
                .partition_point(|(t, _)| *t < window.start_ns);
            let last = self.residuals.partition_point(|(t, _)| *t <= window.end_ns);
            left.extend(
                self.residuals
                    .get(first..last)
                    .unwrap_or_default()
                    .iter()
                    .map(|r| r.1),
            );
        }
        let joules = seconds.iter().zip(&self.watts).map(|(s, w)| s * w).sum();
        let solved = self.normal.solve(&seconds);
        let variance: f64 = seconds.iter().zip(&solved).map(|(a, b)| a * b).sum();
        // Two readings in three are used up by the pieces' powers, at worst.
        let n = left.len().max(1) as f64;
        let squares: f64 = left.iter().map(|r| r * r).sum();
        let noise = squares / n * READINGS / (READINGS - 1.0) * n / effective_samples(&left);
        (joules, (variance.max(0.0) * noise).sqrt())
    }
}

/// Edges that lie together become one in their middle.
fn merged(edges_ns: &[u64], apart_ns: u64) -> Vec<u64> {
    let mut groups: Vec<(u64, u64)> = Vec::with_capacity(edges_ns.len());
    for edge in edges_ns {
        match groups.last_mut() {
            Some((first, last)) if *edge - *first < apart_ns => *last = *edge,
            _ => groups.push((*edge, *edge)),
        }
    }
    groups.iter().map(|(a, b)| a + (b - a) / 2).collect()
}

/// Edges of the pieces: every edge of the load, and between two as many as leave each piece
/// at least `least_ns` long.
fn pieces(edges_ns: &[u64], least_ns: u64) -> Option<Vec<u64>> {
    let mut edges = vec![*edges_ns.first()?];
    for end in edges_ns {
        let from = *edges.last()?;
        let length = end.saturating_sub(from);
        if length == 0 {
            continue;
        }
        let n = (length as f64 / (STRETCH * least_ns as f64))
            .ceil()
            .max(1.0) as u64;
        if edges.len() as u64 + n > MOST_PIECES {
            return None;
        }
        let at = |i: u64| from + (u128::from(length) * u128::from(i) / u128::from(n)) as u64;
        edges.extend((1..=n).map(at));
    }
    (edges.len() > 1).then_some(edges)
}

/// How much of each piece's power a reading shows: the first piece, and the shares from there.
/// What the sensor remembers from before is told of the oldest piece that it remembers at all.
fn row(kernel: &Kernel, edges_ns: &[u64], t_ns: u64) -> (usize, Vec<f64>) {
    let n = edges_ns.len() - 1;
    let since = |edge: u64| (t_ns as f64 - edge as f64) * 1e-9;
    let remembered = t_ns.saturating_sub(ns(kernel.memory_s()));
    let from = edges_ns.partition_point(|e| *e <= remembered);
    let from = from.saturating_sub(1).min(n - 1);
    let mut shares = Vec::new();
    let mut shown = 1.0; // by everything up to now
    for i in from..n {
        let next = if i + 1 < n {
            kernel.response(since(edges_ns[i + 1]))
        } else {
            0.0
        };
        shares.push(shown - next);
        shown = next;
        if shown <= 0.0 {
            break;
        }
    }
    (from, shares)
}

fn ns(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e9) as u64
}

/// A deconvolution, and what it would be were the sensor a little other than calibrated.
#[derive(Clone, Debug)]
pub struct Calibrated {
    base: Deconvolved,
    /// With a wider sensor, and with a later one.
    others: Vec<Deconvolved>,
}

/// Relative standard uncertainty of a calibrated width: two calibrations of one board in a row
/// were 4 % apart, and no sensor is quite of either shape.
const WIDTH_RELATIVE: f64 = 0.1;
/// Standard uncertainty of a calibrated delay, in updates.
const DELAY_UPDATES: f64 = 0.05;

/// Energy of a phase's windows.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub joules: f64,
    /// Standard uncertainty from what the readings leave open.
    pub random_j: f64,
    /// Standard uncertainty from what is known of the sensor: common to all windows.
    pub common_j: f64,
}

impl Calibrated {
    pub fn of(
        curve: &EnergyCurve,
        kernel: &Kernel,
        edges_ns: &[u64],
        update_s: f64,
    ) -> Option<Self> {
        let with = |kernel: Kernel| Deconvolved::of(curve, &kernel, edges_ns, update_s);
        let wider = Kernel {
            width_s: kernel.width_s * (1.0 + WIDTH_RELATIVE),
            ..*kernel
        };
        let later = Kernel {
            delay_s: kernel.delay_s + DELAY_UPDATES * update_s,
            ..*kernel
        };
        Some(Self {
            base: with(*kernel)?,
            others: vec![with(wider)?, with(later)?],
        })
    }

    pub fn energy(&self, windows: &[Window]) -> Share {
        let (joules, random_j) = self.base.energy(windows);
        let apart = |other: &Deconvolved| other.energy(windows).0 - joules;
        Share {
            joules,
            random_j,
            common_j: self.others.iter().map(apart).fold(0.0, f64::hypot),
        }
    }
}
