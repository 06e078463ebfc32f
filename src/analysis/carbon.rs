//! Carbon and cost of a cycle: gCO2e = kWh·PUE·intensity; USD = kWh·PUE·price +
//! hours·GPU price.
//!
//! Their uncertainty is that of the energy alone: a yearly mean of a country is not the
//! grid of this hour, and nobody tells how far off it is.

mod table;

use lem_record::How;

use super::data::{CycleData, RunData};
use super::sheet::{Obtained, Reading, Sheet};
use crate::meter::Component;

pub use table::find as country;

/// Grams of CO2-equivalent a kWh: the world's average of 2019, where nothing better is known.
pub const WORLD_2019: f64 = 475.0;
const JOULES_PER_KWH: f64 = 3.6e6;

/// The intensity that is used, as a reading that says where it comes from: what the
/// configuration says, else the zone's of the table, else the world's.
pub fn intensity(data: &RunData) -> Reading {
    if let Some(grams) = data.config_f64("/carbon/intensity_g_per_kwh") {
        let source = data
            .config_str("/carbon/source")
            .unwrap_or("the configuration");
        return Reading::new(grams, How::Supplied).method(source);
    }
    let zone = data.config_str("/carbon/zone");
    if let Some(country) = zone.and_then(table::find) {
        let told = format!(
            "{}, mean of {} ({})",
            country.name,
            country.year,
            table::SOURCE
        );
        return Reading::new(country.grams, How::Estimated).method(told);
    }
    // A zone of a newer table is not silently the world.
    let world = "IEA, the world's average of 2019";
    let told = match zone {
        Some(zone) => format!("{world}; the zone {zone} is not in the table"),
        None => format!("{world}; carbon.zone names a country"),
    };
    Reading::new(WORLD_2019, How::Estimated).method(told)
}

/// Fills in a cycle's carbon and cost; the sheet must have the energies.
pub fn put(data: &RunData, cycle: &CycleData, output_tokens: u64, sheet: &mut Sheet) {
    let pue = data.config_f64("/carbon/pue").unwrap_or(1.0);
    let total = sheet.reading("energy.total");
    let intensity = intensity(data);
    let kwh: Obtained = total.map(|total| {
        let mut kwh = total.scaled(pue / JOULES_PER_KWH);
        // The grid and the building are a model, however the joules were obtained.
        kwh.how = kwh.how.max(How::Estimated);
        kwh
    });
    let grams = kwh.clone().map(|kwh| {
        let source = intensity.method.as_deref().unwrap_or_default();
        kwh.scaled(intensity.value).method(format!(
            "kWh × PUE {pue} × {} g/kWh ({source})",
            intensity.value
        ))
    });
    sheet.mean("carbon.emissions", grams);

    let energy_price = data.config_f64("/cost/usd_per_kwh");
    let gpu_price = data.config_f64("/cost/usd_per_gpu_hour");
    let unpriced = "no price is given; cost.usd_per_kwh or cost.usd_per_gpu_hour gives one";
    let energy: Obtained = match energy_price {
        Some(price) => kwh.map(|kwh| kwh.scaled(price).method("kWh × PUE × price")),
        None => Err(unpriced.into()),
    };
    let gpus = gpus(data);
    let time: Obtained = match gpu_price {
        Some(_) if gpus == 0 => Err("there is no GPU to pay for".into()),
        Some(price) => {
            let usd = cycle.window.seconds() / 3600.0 * gpus as f64 * price;
            Ok(Reading::new(usd, How::Measured).method("hours × GPUs × price"))
        }
        None => Err(unpriced.into()),
    };
    let total = match (&energy, &time) {
        (Ok(energy), Ok(time)) => {
            let mut total = energy.clone();
            total.value += time.value;
            Ok(total.method("kWh × PUE × price + hours × GPUs × price"))
        }
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one.clone()),
        (Err(why), Err(_)) => Err(why.clone()),
    };
    let tokens = output_tokens as f64 / 1e6;
    sheet.ratio(
        "cost.per_mtoken",
        total.clone(),
        tokens,
        "there is no output token",
    );
    for (kind, cost) in [("energy", energy), ("gpu", time), ("total", total)] {
        sheet.mean("cost.total", cost);
        sheet.with("lem.cost.kind", kind);
    }
}

fn gpus(data: &RunData) -> usize {
    let of_gpu = data
        .sources
        .iter()
        .filter(|s| s.component == Component::Gpu);
    let mut devices: Vec<&str> = of_gpu
        .map(|s| s.device.as_deref().unwrap_or(&s.id))
        .collect();
    devices.sort_unstable();
    devices.dedup();
    devices.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use lem_record::How;
    use serde_json::{Value, json};

    use super::super::analyse;
    use super::super::data::RunData;
    use super::super::testing::{T0, TestLog};

    /// The modelled machine at 60 W for a second, with this under `carbon` and `cost`.
    fn run(carbon: Value, cost: Value) -> super::super::Sheet {
        let mut log = TestLog::modelled();
        log.cycle(0, T0, 50.0);
        let mut data = RunData::from_log(&log.envelopes);
        let mut started = data.started.clone().unwrap();
        started.config["carbon"] = carbon;
        started.config["cost"] = cost;
        data.started = Some(started);
        analyse(&data).run
    }

    #[test]
    fn the_intensity_is_the_one_that_is_given_else_the_zone_s_else_the_world_s() {
        let of = |carbon: Value| {
            let sheet = run(carbon, Value::Null);
            let intensity = sheet.reading("carbon.intensity").unwrap();
            let grams = sheet.reading("carbon.emissions").unwrap();
            assert_eq!(grams.how, How::Estimated);
            (intensity, grams)
        };
        let joules = 60.0;
        let (given, _) = of(
            json!({"pue": 1.0, "zone": "DE", "intensity_g_per_kwh": 12.5, "source": "my contract"}),
        );
        assert_eq!((given.value, given.how), (12.5, How::Supplied));
        assert_eq!(given.method.as_deref(), Some("my contract"));
        let (zone, grams) = of(json!({"pue": 1.5, "zone": "deu"}));
        assert_eq!((zone.value, zone.how), (380.95, How::Estimated));
        let told = zone.method.unwrap();
        assert!(
            told.contains("Germany, mean of 2023") && told.contains("CC BY 4.0"),
            "{told}"
        );
        let expected = joules / 3.6e6 * 1.5 * 380.95;
        assert!(
            (grams.value - expected).abs() < 1e-9 * expected,
            "{}",
            grams.value
        );
        // As uncertain, in proportion, as the energy, and no less.
        let energy = run(json!({}), Value::Null).reading("energy.total").unwrap();
        let share = |r: &super::Reading| r.budget.unwrap().standard() / r.value;
        assert!((share(&grams) - share(&energy)).abs() < 1e-12);
        let (world, _) = of(json!({"pue": 1.0}));
        assert_eq!(
            (world.value, world.how),
            (super::WORLD_2019, How::Estimated)
        );
        let (unknown, _) = of(json!({"pue": 1.0, "zone": "XX"}));
        assert_eq!(unknown.value, super::WORLD_2019);
        assert!(unknown.method.unwrap().contains("XX is not in the table"));
    }

    #[test]
    fn cost_is_energy_at_its_price_and_absent_without_one() {
        let priced = run(
            json!({"pue": 2.0}),
            json!({"usd_per_kwh": 0.5, "usd_per_gpu_hour": 3.0}),
        );
        // There is no GPU: only the energy costs.
        let total = priced
            .entries
            .iter()
            .rfind(|e| e.id == "cost.total")
            .unwrap();
        let expected = 60.0 / 3.6e6 * 2.0 * 0.5;
        let value = total.reading.as_ref().unwrap().value;
        assert!((value - expected).abs() < 1e-9 * expected, "{value}");
        let free = run(json!({}), json!({}));
        assert!(
            free.reading("cost.per_mtoken")
                .unwrap_err()
                .contains("no price is given")
        );
    }
}
