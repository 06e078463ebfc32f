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
