//! The figure's words: what was measured, the numbers with their uncertainty, and how they
//! were obtained.

use lem_record::How;

use crate::analysis::{Analysis, Reading, RunData, Sheet};

/// Names from outside are not longer than this in a figure.
const LONGEST: usize = 80;

/// Model, type of its weights, engine, device.
pub fn title(data: &RunData, analysis: &Analysis) -> String {
    let model = data.model.as_ref();
    let name = data.config_str("/model_name");
    let name = name.or_else(|| model.map(|m| m.name.as_str()));
    // A measured command has no model, but a name.
    let command = data.started.as_ref().filter(|_| data.is_command());
    let name = name.or_else(|| command.map(|s| s.name.as_str()));
    let mut parts: Vec<String> = vec![name.unwrap_or("no model").to_owned()];
    if let Some(model) = model {
        parts.extend(model.weight_type.clone());
        let named = model.engine_version.starts_with(&model.engine);
        parts.push(match named {
            true => model.engine_version.clone(),
            false => format!("{} {}", model.engine, model.engine_version),
        });
    }
    let mut devices: Vec<(String, usize)> = Vec::new();
    for i in &analysis.boundary.total {
        let Some(sensor) = analysis.sensors.get(*i) else {
            continue;
        };
        match devices.iter_mut().find(|(name, _)| *name == sensor.name) {
            Some((_, count)) => *count += 1,
            None => devices.push((sensor.name.clone(), 1)),
        }
    }
    parts.extend(
        devices
            .into_iter()
            .take(2)
            .map(|(name, count)| match count {
                1 => name,
                n => format!("{n} × {name}"),
            }),
    );
    let parts: Vec<String> = parts.iter().map(|part| cut(part)).collect();
    parts.join(" · ")
}

fn cut(text: &str) -> String {
    shortened(text, LONGEST)
}

/// Without control characters; what is too long ends after a word.
fn shortened(text: &str, longest: usize) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).collect();
    if shown.chars().count() <= longest {
        return shown;
    }
    let cut: String = shown.chars().take(longest - 1).collect();
    let whole = cut
        .rsplit_once(' ')
        .map_or(cut.as_str(), |(words, _)| words);
    format!("{whole}…")
}

/// The numbers: of one cycle, or of the run's mean cycle.
pub fn facts(analysis: &Analysis, cycle: Option<u32>) -> Vec<String> {
    let complete = analysis.complete().count();
    let one = cycle.and_then(|index| analysis.cycles.iter().find(|c| c.index == index));
    let sheet: &Sheet = one.map_or(&analysis.run, |c| &c.sheet);
    let whose = match cycle {
        Some(index) => format!("Energy of cycle {index}"),
        None => "Energy of a cycle".to_owned(),
    };
    let mut facts = Vec::new();
    match sheet.reading("energy.total") {
        Ok(total) => {
            let mut told = format!("{whose}: {}", measured(&total, "J"));
            if let Some(u) = total.budget.and_then(|b| b.expanded()) {
                let parts = [("gain", u.systematic), ("statistical", u.statistical)];
                let parts: Vec<String> = parts
                    .iter()
                    .filter_map(|(name, u)| Some(format!("{name} {} J", figures(u.as_ref()?))))
                    .collect();
                told += &format!(" (k = 2; standard uncertainties: {})", parts.join(", "));
            }
            told += &format!("; {}", analysis.boundary.told);
            if cycle.is_none()
                && let Some(interval) = total.interval
            {
                told += &format!(
                    "; {complete} cycles, {:.0}\u{a0}% interval of the mean {} to {} J",
                    interval.level * 100.0,
                    like(interval.low, interval.high - interval.low),
                    like(interval.high, interval.high - interval.low),
                );
            }
            facts.push(told);
        }
        Err(why) => facts.push(format!("{whose}: not known, {why}")),
    }
    let mut line = Vec::new();
    for (name, energy, power) in [
        ("prefill", "energy.prefill", "power.prefill"),
        ("decode", "energy.decode", "power.decode"),
    ] {
        match sheet.reading(energy) {
            Ok(reading) => {
                let mut told = format!("{name} {}", measured(&reading, "J"));
                if let Ok(power) = sheet.reading(power) {
                    told += &format!(" at {}", measured(&power, "W"));
                }
                line.push(told);
            }
            Err(why) if why.starts_with("not resolvable") => {
                line.push(format!("{name} not resolvable"));
            }
            Err(_) => {}
        }
    }
    if let Ok(above) = sheet.reading("energy.total_corrected") {
        line.push(format!("above loaded idle {}", measured(&above, "J")));
    }
    if let Ok(token) = sheet.reading("energy.per_output_token") {
        line.push(format!("{} an output token", measured(&token, "J")));
    }
    if let Some(first) = line.first_mut() {
        let mut chars = first.chars();
        let capital = chars.next().map(char::to_uppercase);
        *first = capital.into_iter().flatten().chain(chars).collect();
        facts.push(line.join("; "));
    }
    facts
}

/// How the picture's numbers were obtained, and of which run.
pub fn notes(data: &RunData, analysis: &Analysis, untold: Option<&str>) -> Vec<String> {
    let mut notes = Vec::new();
    for i in &analysis.boundary.total {
        let Some(sensor) = analysis.sensors.get(*i) else {
            continue;
        };
        let kind = match sensor.how {
            How::Measured => "measured",
            _ => "modelled, not measured",
        };
        let curve = sensor.power.as_ref().or(sensor.counter.as_ref());
        let lag = curve.and_then(|c| c.spec.lag_s).filter(|lag| *lag > 0.0);
        let lag = lag.map_or_else(String::new, |lag| {
            format!("; drawn {:.0} ms earlier, by the sensor’s lag", lag * 1e3)
        });
        let spacing = curve.zip(data.cycles.first());
        let spacing = spacing.and_then(|(c, cycle)| c.curve.spacing(cycle.window));
        let spacing = spacing.map_or_else(String::new, |s| {
            format!(", a sample every {:.0} ms", s * 1e3)
        });
        let method = shortened(&sensor.method, 200);
        let note = format!("{kind}: {method}{spacing}{lag}.");
        match notes.iter_mut().find(|(_, known)| *known == note) {
            Some((ids, _)) => *ids = format!("{ids}, {}", sensor.id),
            None => notes.push((sensor.id.clone(), note)),
        }
    }
    let mut notes: Vec<String> = notes
        .into_iter()
        .take(4)
        .map(|(ids, note)| format!("Power of {ids} {note}"))
        .collect();
    notes.extend(untold.map(|why| format!("No phase bands: {why}.")));
    let started = data.started_at.and_then(|at| {
        jiff::Timestamp::from_nanosecond(i128::from(at.unix_ns))
            .ok()
            .map(|time| format!(", {time:.0}"))
    });
    let producer = data.started.as_ref().map_or("lem", |s| s.producer.as_str());
    notes.push(format!(
        "Run {}{}; {}, analysis {}.",
        cut(&data.run_id),
        started.unwrap_or_default(),
        cut(producer),
        analysis.version
    ));
    notes
}

/// `168.3 ± 9.7 J`: the uncertainty with two figures, the value with as many decimals.
fn measured(reading: &Reading, unit: &str) -> String {
    let expanded = reading.budget.and_then(|b| b.expanded());
    match expanded.map(|u| u.expanded).filter(|u| *u > 0.0) {
        Some(u) => format!("{} ± {} {unit}", like(reading.value, u), figures(&u)),
        None => format!("{} {unit}", super::super::figures::figure(reading.value)),
    }
}

/// Decimals so that a number shows two figures.
fn decimals(of: f64) -> i32 {
    // Rounded first: 0.0996 shows as 0.10.
    let rounded: f64 = format!("{of:.1e}").parse().unwrap_or(of);
    match rounded.abs() > 0.0 && rounded.is_finite() {
        true => 1 - rounded.abs().log10().floor() as i32,
        false => 1,
    }
}

/// A value with the decimals that a number of this size shows.
fn like(value: f64, size: f64) -> String {
    let decimals = decimals(size);
    let places = decimals.clamp(0, 9) as usize;
    let rounded = match decimals < 0 {
        true => {
            let unit = 10f64.powi(-decimals);
            (value / unit).round() * unit
        }
        false => value,
    };
    format!("{rounded:.places$}").replace('-', "−")
}

fn figures(value: &f64) -> String {
    match *value == 0.0 {
        true => "0".into(),
        false => like(*value, *value),
    }
}

#[cfg(test)]
mod tests {
    use lem_record::How;

    use super::{figures, like, measured};
    use crate::analysis::{Budget, Reading};

    #[test]
    fn an_uncertainty_has_two_figures_and_its_value_the_same_decimals() {
        let reading = |value: f64, u: f64| {
            let budget = Budget {
                systematic: None,
                statistical: u / 2.0,
                shared: 0.0,
            };
            Reading::new(value, How::Measured).budget(budget)
        };
        assert_eq!(measured(&reading(168.34, 9.72), "J"), "168.3 ± 9.7 J");
        assert_eq!(measured(&reading(-0.0123, 0.0996), "J"), "−0.01 ± 0.10 J");
        assert_eq!(
            measured(&reading(123_456.0, 1_234.0), "J"),
            "123500 ± 1200 J"
        );
        let unknown = Reading::new(12.345, How::Modelled);
        assert_eq!(measured(&unknown, "J"), "12.35 J");
        assert_eq!((figures(&0.0), like(5.0, 0.0)), ("0".into(), "5.0".into()));
    }
}
