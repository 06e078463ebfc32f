//! The formulas of CodeCarbon (mlco2/codecarbon, 3.x) for machines without sensors.

/// Half-width of the error that is stated for every modelled power, as a fraction of it.
///
/// The formulas know neither frequency, voltage nor instruction mix: at the same load a
/// processor draws from half to one and a half times what they say.
pub(super) const GAIN_RELATIVE: f64 = 0.5;

/// Watts of processors of this thermal design power at the utilisation `u` (0 to 1):
/// P = TDP · (0.1 + 0.9 · u³).
pub(super) fn cpu_w(tdp_w: f64, utilisation: f64) -> f64 {
    let u = utilisation.clamp(0.0, 1.0);
    tdp_w * (0.1 + 0.9 * u.powi(3))
}

/// Watts where the load cannot be read: half of the thermal design power.
pub(super) fn cpu_constant_w(tdp_w: f64) -> f64 {
    0.5 * tdp_w
}

/// Watts of so many memory modules: 5 each for the first four, 4.5 each up to eight, 4 each
/// up to sixteen, 3.5 each beyond; at least 10.
pub(super) fn memory_w(modules: u32) -> f64 {
    let n = f64::from(modules);
    let watts = match modules {
        ..=4 => 5.0 * n,
        5..=8 => 20.0 + 4.5 * (n - 4.0),
        9..=16 => 38.0 + 4.0 * (n - 8.0),
        _ => 70.0 + 3.5 * (n - 16.0),
    };
    watts.max(10.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_power_is_continuous_and_has_a_floor() {
        for (modules, watts) in [
            (0, 10.0),
            (1, 10.0),
            (2, 10.0),
            (4, 20.0),
            (5, 24.5),
            (8, 38.0),
            (9, 42.0),
            (16, 70.0),
            (17, 73.5),
            (32, 126.0),
        ] {
            assert_eq!(memory_w(modules), watts, "{modules}");
        }
    }

    #[test]
    fn processor_power_at_known_loads() {
        assert_eq!(cpu_w(200.0, 0.0), 20.0);
        assert!((cpu_w(200.0, 1.0) - 200.0).abs() < 1e-9);
        assert!((cpu_w(200.0, 0.5) - 42.5).abs() < 1e-9);
        assert_eq!(cpu_constant_w(85.0), 42.5);
    }

    proptest! {
        #[test]
        fn processor_power_stays_between_a_tenth_and_all_of_it(tdp in 0.1f64..1e4, u in -1.0f64..2.0) {
            let watts = cpu_w(tdp, u);
            prop_assert!(watts >= 0.1 * tdp * (1.0 - 1e-12) && watts <= tdp * (1.0 + 1e-12));
        }

        #[test]
        fn more_load_and_more_modules_never_draw_less(a in 0.0f64..1.0, b in 0.0f64..1.0, n in 0u32..1024) {
            prop_assert!(cpu_w(100.0, a.min(b)) <= cpu_w(100.0, a.max(b)));
            prop_assert!(memory_w(n) <= memory_w(n + 1));
        }
    }
}
