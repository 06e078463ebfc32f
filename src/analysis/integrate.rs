//! Energy over any window, from sampled power or from a cumulative counter.
//!
//! Both become one thing: a function E(t) of cumulative energy. Between two power
//! samples power is linear, so E is quadratic (the trapezoid rule, exact for every
//! piecewise-linear signal and at every edge); between two readings of a counter E is
//! linear. Beyond the outer samples the nearest power holds. The energy of a window is
//! E(end) − E(start), hence additive over any split.

use super::data::Window;

/// A sample this far outside a window's edge still stands for the edge: what an edge
/// read of a slow sensor may take, nanoseconds.
const EDGE_NS: u64 = 250_000_000;

#[derive(Clone, Debug)]
pub struct EnergyCurve {
    t_ns: Vec<u64>,
    /// Cumulative joules at each sample, from the first.
    joules: Vec<f64>,
    /// Power at each sample, watts; absent for a counter.
    watts: Option<Vec<f64>>,
}

impl EnergyCurve {
    /// From power samples in order of strictly increasing time. Two are needed.
    pub fn from_power(t_ns: Vec<u64>, watts: Vec<f64>) -> Option<Self> {
        if !usable(&t_ns, &watts) {
            return None;
        }
        let mut joules = Vec::with_capacity(t_ns.len());
        let mut sum = 0.0;
        joules.push(sum);
        for (t, w) in t_ns.windows(2).zip(watts.windows(2)) {
            if let ([t0, t1], [w0, w1]) = (t, w) {
                sum += 0.5 * (w0 + w1) * seconds(*t0, *t1);
                joules.push(sum);
            }
        }
        sum.is_finite().then_some(Self {
            t_ns,
            joules,
            watts: Some(watts),
        })
    }

    /// From readings of a cumulative counter, joules. One that goes back is no counter:
    /// the energy since is not known.
    pub fn from_counter(t_ns: Vec<u64>, joules: Vec<f64>) -> Option<Self> {
        (usable(&t_ns, &joules) && joules.is_sorted()).then_some(Self {
            t_ns,
            joules,
            watts: None,
        })
    }

    /// E(t), joules from an arbitrary zero.
    pub fn at(&self, t_ns: u64) -> f64 {
        let last = self.t_ns.len() - 1;
        // The segment that holds t, or the outermost one.
        let after = self.t_ns.partition_point(|t| *t <= t_ns);
        let i = after.saturating_sub(1).min(last - 1);
        let (t0, t1) = (self.t_ns[i], self.t_ns[i + 1]);
        let (e0, e1) = (self.joules[i], self.joules[i + 1]);
        let h = seconds(t0, t1);
        let dt = signed_seconds(t0, t_ns);
        match &self.watts {
            None => e0 + (e1 - e0) / h * dt,
            Some(watts) => {
                let (w0, w1) = (watts[i], watts[i + 1]);
                if dt < 0.0 {
                    e0 + w0 * dt
                } else if dt > h {
                    e1 + w1 * (dt - h)
                } else {
                    e0 + w0 * dt + 0.5 * (w1 - w0) / h * dt * dt
                }
            }
        }
    }

    /// Energy of a window, joules, whether or not samples cover it: see [`Self::covers`].
    pub fn between(&self, window: Window) -> f64 {
        self.at(window.end_ns) - self.at(window.start_ns)
    }

    /// Power at a time, watts; of a counter the difference quotient around it.
    pub fn power_at(&self, t_ns: u64) -> f64 {
        let last = self.t_ns.len() - 1;
        let after = self.t_ns.partition_point(|t| *t <= t_ns);
        let i = after.saturating_sub(1).min(last - 1);
        let (t0, t1) = (self.t_ns[i], self.t_ns[i + 1]);
        let h = seconds(t0, t1);
        match &self.watts {
            None => (self.joules[i + 1] - self.joules[i]) / h,
            Some(watts) => {
                let share = (signed_seconds(t0, t_ns) / h).clamp(0.0, 1.0);
                watts[i] + (watts[i + 1] - watts[i]) * share
            }
        }
    }

    /// Mean power of the samples in a stretch, watts; where there is none, that at its middle.
    pub fn level(&self, stretch: Window) -> f64 {
        let powers = self.powers(stretch);
        match powers.len() {
            0 => self.power_at(stretch.middle_ns()),
            n => powers.iter().sum::<f64>() / n as f64,
        }
    }

    pub fn is_counter(&self) -> bool {
        self.watts.is_none()
    }

    /// Whether samples really reach over the window: one near each edge, and two in all.
    pub fn covers(&self, window: Window) -> Result<(), String> {
        let slack = EDGE_NS.max(window.len_ns() / 10);
        let inside = self.inside(window, slack);
        let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
            return Err("no sample lies in it".into());
        };
        let head = first.saturating_sub(window.start_ns);
        let tail = window.end_ns.saturating_sub(*last);
        if inside.len() < 2 {
            return Err("only one sample lies in it".into());
        }
        if head > slack || tail > slack {
            return Err(format!(
                "samples cover only {:.1} of its {:.1} s",
                seconds(*first, *last),
                window.seconds()
            ));
        }
        Ok(())
    }

    /// Times of the samples in the window and, where given, as far beyond its edges.
    fn inside(&self, window: Window, slack: u64) -> &[u64] {
        let start = window.start_ns.saturating_sub(slack);
        let end = window.end_ns.saturating_add(slack);
        let from = self.t_ns.partition_point(|t| *t < start);
        let to = self.t_ns.partition_point(|t| *t <= end).max(from);
        &self.t_ns[from..to]
    }

    /// Times of the samples within the window.
    pub fn times(&self, window: Window) -> &[u64] {
        self.inside(window, 0)
    }

    /// Power samples of a window, watts; of a counter the difference quotients within it.
    pub fn powers(&self, window: Window) -> Vec<f64> {
        let from = self.t_ns.partition_point(|t| *t < window.start_ns);
        let to = self.t_ns.partition_point(|t| *t <= window.end_ns).max(from);
        match &self.watts {
            Some(watts) => watts[from..to].to_vec(),
            None => (from..to.saturating_sub(1))
                .map(|i| {
                    (self.joules[i + 1] - self.joules[i]) / seconds(self.t_ns[i], self.t_ns[i + 1])
                })
                .collect(),
        }
    }

    /// Median time between two samples of the window, seconds.
    pub fn spacing(&self, window: Window) -> Option<f64> {
        let times = self.inside(window, EDGE_NS);
        let mut gaps: Vec<u64> = times.windows(2).map(|t| t[1] - t[0]).collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).map(|gap| *gap as f64 / 1e9)
    }

    /// The gap between two samples that an instant of the window lies in, on average: ΣT²/ΣT,
    /// seconds. Above the median where samples come unevenly; a stretch that was lost counts as
    /// three usual gaps.
    pub fn gap_around(&self, window: Window) -> Option<f64> {
        let most = 3.0 * self.spacing(window)?;
        let gaps = self.inside(window, 0).windows(2);
        let (sum, squares) = gaps.fold((0.0, 0.0), |(sum, squares), t| {
            let gap = seconds(t[0], t[1]).min(most);
            (sum + gap, squares + gap * gap)
        });
        (sum > 0.0).then(|| squares / sum)
    }

    /// Longest time between two samples of the window, seconds.
    pub fn max_gap(&self, window: Window) -> Option<f64> {
        let times = self.inside(window, EDGE_NS);
        let gap = times.windows(2).map(|t| t[1] - t[0]).max()?;
        Some(gap as f64 / 1e9)
    }
}

fn usable(t_ns: &[u64], values: &[f64]) -> bool {
    t_ns.len() >= 2
        && t_ns.len() == values.len()
        && t_ns.is_sorted_by(|a, b| a < b)
        && values.iter().all(|v| v.is_finite())
}

fn seconds(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

fn signed_seconds(from_ns: u64, to_ns: u64) -> f64 {
    if to_ns >= from_ns {
        seconds(from_ns, to_ns)
    } else {
        -seconds(to_ns, from_ns)
    }
}
