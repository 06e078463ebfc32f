//! How exactly a run knows one of its numbers, and whether that is enough to stop.

use super::sheet::Sheet;

/// Half the width of the 95 % interval over cycles, as a share of the value. `Err` says why
/// there is none.
pub fn relative_half_width(run: &Sheet, id: &str) -> Result<f64, String> {
    let (value, interval) = match run.distributions.iter().find(|d| d.id == id) {
        Some(distribution) => {
            let histogram = distribution.histogram()?;
            (Some(histogram.mean), distribution.interval())
        }
        None => {
            let reading = run.reading(id)?;
            (Some(reading.value), reading.interval)
        }
    };
    let interval = interval.ok_or("it has no interval over cycles")?;
    let value = value
        .filter(|v| *v != 0.0)
        .ok_or("it is 0, and nothing is a share of that")?;
    Ok((interval.high - interval.low) / 2.0 / value.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::sheet::{Reading, fold};
    use lem_record::How;

    #[test]
    fn it_is_half_the_interval_over_the_value() {
        let sheets: Vec<Sheet> = [10.0, 10.4, 9.7]
            .iter()
            .map(|joules| {
                let mut sheet = Sheet::default();
                sheet.mean("energy.total", Ok(Reading::new(*joules, How::Measured)));
                sheet
            })
            .collect();
        let run = fold(&sheets.iter().collect::<Vec<_>>());
        // scipy.stats.t.interval(0.95, 2, 10.0333, 0.20276): ± 0.87240.
        let told = relative_half_width(&run, "energy.total");
        assert!(told.is_ok_and(|w| (w - 0.872_40 / 10.033_33).abs() < 1e-5));
        assert!(relative_half_width(&run, "energy.prefill").is_err());
        let one = fold(&[&sheets[0]]);
        assert!(relative_half_width(&one, "energy.total").is_err());
    }
}
