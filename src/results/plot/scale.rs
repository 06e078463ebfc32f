//! Axes: from numbers to places, with ticks where people expect them.

/// A linear axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub low: f64,
    pub high: f64,
    /// Distance of two ticks.
    pub step: f64,
    /// Places on the page of `low` and `high`.
    from: f64,
    to: f64,
}

impl Scale {
    /// An axis that ends at ticks, about `ticks` of them.
    pub fn around(low: f64, high: f64, ticks: usize, from: f64, to: f64) -> Self {
        let (low, high) = widened(low, high);
        let step = step(high - low, ticks);
        Self {
            low: (low / step + 1e-9).floor() * step,
            high: (high / step - 1e-9).ceil() * step,
            step,
            from,
            to,
        }
    }

    /// An axis that ends where the data do.
    pub fn exact(low: f64, high: f64, ticks: usize, from: f64, to: f64) -> Self {
        let (low, high) = widened(low, high);
        Self {
            low,
            high,
            step: step(high - low, ticks),
            from,
            to,
        }
    }

    pub fn place(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        self.from + (self.to - self.from) * share
    }

    /// As [`Scale::place`], kept within the axis.
    pub fn within(&self, value: f64) -> f64 {
        self.place(value.clamp(self.low, self.high))
    }

    pub fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step - 1e-6).ceil();
        let last = (self.high / self.step + 1e-6).floor();
        let count = (last - first).clamp(-1.0, 100.0) as i64 + 1;
        (0..count).map(|i| (first + i as f64) * self.step).collect()
    }

    /// A tick's value, with as many decimals as its neighbours need.
    pub fn label(&self, value: f64) -> String {
        let decimals = (-self.step.log10().floor()).clamp(0.0, 9.0) as usize;
        // 2.5 has a decimal more than its magnitude.
        let more = (self.step * 10f64.powi(decimals as i32)).fract().abs() > 1e-6;
        let decimals = decimals + usize::from(more);
        let text = format!("{value:.decimals$}");
        // Minus zero is zero; a minus is longer than a hyphen.
        if text.trim_start_matches(['-', '0', '.']).is_empty() {
            return text.trim_start_matches('-').to_owned();
        }
        text.replace('-', "−")
    }
}

/// What is no range, or none with an extent, becomes one.
fn widened(low: f64, high: f64) -> (f64, f64) {
    let (low, high) = match (low.is_finite(), high.is_finite()) {
        (true, true) => (low.min(high), low.max(high)),
        (true, false) | (false, true) => {
            let one = if low.is_finite() { low } else { high };
            (one, one)
        }
        (false, false) => (0.0, 1.0),
    };
    let least = 1e-9 * low.abs().max(high.abs()).max(1e-3);
    if high - low > least {
        (low, high)
    } else {
        let half = (0.05 * low.abs()).max(0.5);
        (low - half, high + half)
    }
}

/// 1, 2, 2.5 or 5 times a power of ten, so that there are about `ticks` of them.
fn step(range: f64, ticks: usize) -> f64 {
    let raw = range / ticks.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .find(|f| f * power >= raw * 0.999)
        .unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Scale;

    fn labels(scale: &Scale) -> Vec<String> {
        scale.ticks().iter().map(|t| scale.label(*t)).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        let power = Scale::around(0.0, 693.0, 5, 100.0, 0.0);
        assert_eq!(labels(&power), ["0", "200", "400", "600", "800"]);
        assert_eq!((power.place(0.0), power.place(800.0)), (100.0, 0.0));
        let time = Scale::exact(-0.02, 0.97, 5, 0.0, 1.0);
        assert_eq!(labels(&time), ["0.0", "0.2", "0.4", "0.6", "0.8"]);
        let quarter = Scale::around(0.0, 10.0, 4, 0.0, 1.0);
        assert_eq!(labels(&quarter), ["0.0", "2.5", "5.0", "7.5", "10.0"]);
        let below = Scale::around(-3.0, 3.0, 3, 0.0, 1.0);
        assert_eq!(labels(&below), ["−4", "−2", "0", "2", "4"]);
    }

    proptest! {
        #[test]
        fn any_range_has_few_ticks_and_a_place_for_every_value(
            low in prop::num::f64::ANY, high in prop::num::f64::ANY, ticks in 1usize..12,
        ) {
            // Beyond this no sensor and no clock goes.
            prop_assume!([low, high].iter().all(|v| !v.is_finite() || v.abs() < 1e18));
            for scale in [
                Scale::around(low, high, ticks, 0.0, 100.0),
                Scale::exact(low, high, ticks, 0.0, 100.0),
            ] {
                prop_assert!(scale.low < scale.high);
                prop_assert!(scale.ticks().len() <= 2 * ticks + 3);
                for value in [low, high].into_iter().filter(|v| v.is_finite()) {
                    let place = scale.place(value);
                    prop_assert!((-1.0..=101.0).contains(&place), "{place} {scale:?}");
                }
            }
        }
    }
}
