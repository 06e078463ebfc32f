//! What a power sensor makes of a step of power.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The mean of a window.
    Window,
    /// Exponential, of first order.
    LowPass,
}

impl Shape {
    pub const ALL: [Self; 2] = [Self::Window, Self::LowPass];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::LowPass => "low-pass",
        }
    }
}

/// A delay, and then a mean over a window or a low-pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    pub shape: Shape,
    /// Seconds before anything is seen of a step.
    pub delay_s: f64,
    /// Length of the window, or time constant of the low-pass, seconds.
    pub width_s: f64,
}

impl Kernel {
    /// How much of a step is seen `s` seconds after it, 0 to 1.
    pub fn response(&self, s: f64) -> f64 {
        let s = s - self.delay_s;
        if s <= 0.0 {
            return 0.0;
        }
        match self.shape {
            Shape::Window => (s / self.width_s).min(1.0),
            Shape::LowPass => 1.0 - (-s / self.width_s).exp(),
        }
    }

    /// How far the middle of what is seen lies back, seconds.
    pub fn lag_s(&self) -> f64 {
        self.delay_s
            + match self.shape {
                Shape::Window => self.width_s / 2.0,
                Shape::LowPass => self.width_s,
            }
    }

    /// Standard deviation of the times that a reading is made of, seconds.
    pub fn deviation_s(&self) -> f64 {
        match self.shape {
            Shape::Window => self.width_s / 12f64.sqrt(),
            Shape::LowPass => self.width_s,
        }
    }

    /// The window of the same deviation, seconds.
    pub fn window_s(&self) -> f64 {
        self.deviation_s() * 12f64.sqrt()
    }

    /// What lies longer back is seen by less than a thousandth, seconds.
    pub fn memory_s(&self) -> f64 {
        self.delay_s
            + match self.shape {
                Shape::Window => self.width_s,
                Shape::LowPass => 7.0 * self.width_s,
            }
    }

    /// Usable: finite, and no longer than any sensor's.
    pub fn is_sane(&self) -> bool {
        self.delay_s.is_finite()
            && self.delay_s.abs() < 10.0
            && self.width_s.is_finite()
            && (1e-6..10.0).contains(&self.width_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The response's mean and deviation, numerically, are what the formulas say.
    #[test]
    fn lag_and_deviation_are_those_of_the_response() {
        for shape in Shape::ALL {
            let kernel = Kernel {
                shape,
                delay_s: 0.005,
                width_s: 0.02,
            };
            let step = 1e-5;
            let (mut mean, mut square) = (0.0, 0.0);
            for i in 0..40_000 {
                let t = (f64::from(i) + 0.5) * step;
                let share = kernel.response(t + step / 2.0) - kernel.response(t - step / 2.0);
                mean += share * t;
                square += share * t * t;
            }
            assert!((mean - kernel.lag_s()).abs() < 1e-4, "{shape:?} {mean}");
            let deviation = (square - mean * mean).sqrt();
            assert!(
                (deviation - kernel.deviation_s()).abs() < 1e-4,
                "{shape:?} {deviation}"
            );
            assert!(kernel.response(kernel.memory_s()) > 0.999);
            assert_eq!(kernel.response(0.0), 0.0);
        }
    }
}
