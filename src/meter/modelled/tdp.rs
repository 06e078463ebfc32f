//! Thermal design power of processors by name.

/// For a processor that is not in the table, watts a socket (CodeCarbon's default).
pub(super) const UNKNOWN_W: f64 = 85.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Known {
    pub watts: f64,
    /// Cores of the whole processor.
    pub cores: u32,
}

/// Model words, watts and cores, from the manufacturers' specification pages (Intel's "TDP" or
/// "processor base power", AMD's "default TDP"). Cloud providers' own models are not published.
#[rustfmt::skip]
const TABLE: &[(&str, f64, u32)] = &[
    // Intel Xeon, 6th to 4th generation
    ("Platinum 8592+", 350.0, 64), ("Platinum 8580", 350.0, 60), ("Platinum 8570", 350.0, 56),
    ("Platinum 8568Y+", 350.0, 48), ("Platinum 8562Y+", 300.0, 32), ("Platinum 8558", 330.0, 48),
    ("Platinum 8490H", 350.0, 60), ("Platinum 8480+", 350.0, 56), ("Platinum 8480C", 350.0, 56),
    ("Platinum 8481C", 350.0, 56), ("Platinum 8470", 350.0, 52), ("Platinum 8468", 350.0, 48),
    ("Platinum 8468V", 330.0, 48), ("Platinum 8462Y+", 300.0, 32), ("Platinum 8460Y+", 300.0, 40),
    ("Platinum 8452Y", 300.0, 36), ("Gold 6448Y", 225.0, 32), ("Gold 6442Y", 225.0, 24),
    ("Gold 6438Y+", 205.0, 32), ("Gold 6430", 270.0, 32),
    // 3rd
    ("Platinum 8380", 270.0, 40), ("Platinum 8368", 270.0, 38), ("Platinum 8360Y", 250.0, 36),
    ("Platinum 8358", 250.0, 32), ("Gold 6354", 205.0, 18), ("Gold 6348", 235.0, 28),
    ("Gold 6342", 230.0, 24), ("Gold 6338", 205.0, 32), ("Gold 6330", 205.0, 28),
    ("Gold 6326", 185.0, 16),
    // 2nd and 1st
    ("Platinum 8280", 205.0, 28), ("Platinum 8268", 205.0, 24), ("Platinum 8260", 165.0, 24),
    ("Platinum 8180", 205.0, 28), ("Platinum 8168", 205.0, 24), ("Platinum 8160", 150.0, 24),
    ("Gold 6248R", 205.0, 24), ("Gold 6248", 150.0, 20), ("Gold 6240", 150.0, 18),
    ("Gold 6230", 125.0, 20), ("Gold 6226R", 150.0, 16), ("Gold 6154", 200.0, 18),
    ("Gold 6148", 150.0, 20), ("Gold 6130", 125.0, 16),
    // E5
    ("E5-2699 v4", 145.0, 22), ("E5-2698 v4", 135.0, 20), ("E5-2690 v4", 135.0, 14),
    ("E5-2680 v4", 120.0, 14), ("E5-2650 v4", 105.0, 12), ("E5-2630 v4", 85.0, 10),
    ("E5-2620 v4", 85.0, 8), ("E5-2680 v3", 120.0, 12),
    // AMD EPYC
    ("EPYC 9965", 500.0, 192), ("EPYC 9755", 500.0, 128), ("EPYC 9655", 400.0, 96),
    ("EPYC 9575F", 400.0, 64), ("EPYC 9754", 360.0, 128), ("EPYC 9684X", 400.0, 96),
    ("EPYC 9654", 360.0, 96), ("EPYC 9554", 360.0, 64), ("EPYC 9534", 280.0, 64),
    ("EPYC 9474F", 360.0, 48), ("EPYC 9454", 290.0, 48), ("EPYC 9354", 280.0, 32),
    ("EPYC 9334", 210.0, 32), ("EPYC 7763", 280.0, 64), ("EPYC 7713", 225.0, 64),
    ("EPYC 7643", 225.0, 48), ("EPYC 7543", 225.0, 32), ("EPYC 7513", 200.0, 32),
    ("EPYC 7443", 200.0, 24), ("EPYC 7413", 180.0, 24), ("EPYC 7H12", 280.0, 64),
    ("EPYC 7742", 225.0, 64), ("EPYC 7702", 200.0, 64), ("EPYC 7662", 225.0, 64),
    ("EPYC 7642", 225.0, 48), ("EPYC 7552", 200.0, 48), ("EPYC 7542", 225.0, 32),
    ("EPYC 7502", 180.0, 32), ("EPYC 7452", 155.0, 32), ("EPYC 7402", 180.0, 24),
    ("EPYC 7352", 155.0, 24), ("EPYC 7302", 155.0, 16), ("EPYC 7601", 180.0, 32),
    ("EPYC 7551", 180.0, 32),
    // AMD desktop and workstation
    ("Ryzen Threadripper PRO 7995WX", 350.0, 96), ("Ryzen Threadripper PRO 7975WX", 350.0, 32),
    ("Ryzen Threadripper PRO 5995WX", 280.0, 64), ("Ryzen Threadripper PRO 5975WX", 280.0, 32),
    ("Ryzen Threadripper PRO 5965WX", 280.0, 24), ("Ryzen Threadripper 3990X", 280.0, 64),
    ("Ryzen Threadripper 3970X", 280.0, 32), ("Ryzen 9 9950X", 170.0, 16),
    ("Ryzen 9 9900X", 120.0, 12), ("Ryzen 7 9700X", 65.0, 8), ("Ryzen 9 7950X", 170.0, 16),
    ("Ryzen 9 7900X", 170.0, 12), ("Ryzen 7 7700X", 105.0, 8), ("Ryzen 5 7600X", 105.0, 6),
    ("Ryzen 9 5950X", 105.0, 16), ("Ryzen 9 5900X", 105.0, 12), ("Ryzen 7 5800X", 105.0, 8),
    ("Ryzen 5 5600X", 65.0, 6), ("Ryzen 9 3950X", 105.0, 16), ("Ryzen 9 3900X", 105.0, 12),
    ("Ryzen 7 3700X", 65.0, 8), ("Ryzen 5 3600", 65.0, 6),
    // Intel desktop
    ("i9-14900K", 125.0, 24), ("i9-13900K", 125.0, 24), ("i9-12900K", 125.0, 16),
    ("i7-13700K", 125.0, 16), ("i7-12700K", 125.0, 12), ("i5-13600K", 125.0, 14),
    ("i5-12600K", 125.0, 10), ("i9-10900K", 125.0, 10), ("i7-10700K", 125.0, 8),
    ("i9-9900K", 95.0, 8), ("i7-9700K", 95.0, 8), ("i7-8700K", 95.0, 6),
];

/// The processor whose model words all stand in the name, one after the other.
pub(super) fn find(name: &str) -> Option<Known> {
    let plain = name.replace("(R)", " ").replace("(TM)", " ");
    let words: Vec<&str> = plain.split_whitespace().collect();
    let (_, watts, cores) = TABLE.iter().find(|(model, _, _)| {
        let model: Vec<&str> = model.split(' ').collect();
        words.windows(model.len()).any(|part| part == model)
    })?;
    Some(Known {
        watts: *watts,
        cores: *cores,
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn names_as_the_kernel_tells_them_are_found() {
        for (name, watts) in [
            ("Intel(R) Xeon(R) Platinum 8480+", 350.0),
            ("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", 150.0),
            ("Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz", 205.0),
            ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 120.0),
            ("AMD EPYC 7763 64-Core Processor", 280.0),
            ("AMD Ryzen 9 5950X 16-Core Processor", 105.0),
            ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", 95.0),
            ("13th Gen Intel(R) Core(TM) i9-13900K", 125.0),
        ] {
            assert_eq!(find(name).map(|known| known.watts), Some(watts), "{name}");
        }
    }

    #[test]
    fn another_model_of_the_same_family_is_not_guessed() {
        for name in [
            "AMD EPYC",
            "AMD EPYC 7R13 Processor",
            "Intel(R) Xeon(R) CPU @ 2.20GHz",
            "Intel(R) Xeon(R) Platinum 8480",
            "AMD Ryzen 5 3600X 6-Core Processor",
            "",
        ] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
