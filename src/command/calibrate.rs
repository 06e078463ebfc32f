//! `lem calibrate`: how the boards here tell their power.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::{Exit, Failure, Outcome, env, json, say, show, table};
use crate::calibrate::{self, Calibration, CommandLoad, CudaLoad, Field, Load, NoLoad};
use crate::cli::{CalibrateArgs, Format};
use crate::config::{Ecosystem, Environment};
use crate::meter::gpu::{self, GpuBackend};

/// For a command to reach its load before it is stopped.
const WARM_UP: Duration = Duration::from_secs(8);

/// What came of one board.
#[derive(Serialize)]
struct Told {
    calibration: Calibration,
    /// By field: why it could not be identified.
    unidentified: BTreeMap<&'static str, String>,
    file: String,
}

pub fn calibrate(args: &CalibrateArgs) -> Outcome {
    let ecosystem = Ecosystem::new(&Environment::of_process());
    let folder = env::calibrations(&ecosystem)?;
    let gpus = gpu::open(None).map_err(|reason| {
        Failure::failed(format!(
            "there is no GPU to calibrate: {reason}. See `lem env`"
        ))
    })?;
    let chosen = gpu::select(
        gpus.gpus(),
        ecosystem.get("CUDA_VISIBLE_DEVICES"),
        &args.gpu,
    );
    if let Some(unknown) = chosen.unknown.first() {
        return Err(Failure::usage(format!(
            "there is no GPU {unknown}. `lem env` lists those that are visible"
        )));
    }
    if chosen.chosen.is_empty() {
        return Err(Failure::failed(
            "no GPU is visible. Look at CUDA_VISIBLE_DEVICES",
        ));
    }
    let mut told = Vec::new();
    for position in chosen.chosen {
        told.push(one(args, gpus.as_ref(), position, &folder)?);
    }
    show(&match args.format {
        Format::Json => json(&told)?,
        Format::Table => told.iter().map(rendered).collect::<Vec<_>>().join("\n"),
    });
    Ok(Exit::Done)
}

fn one(
    args: &CalibrateArgs,
    gpus: &dyn GpuBackend,
    position: usize,
    folder: &Path,
) -> Result<Told, Failure> {
    let gpu = gpus
        .gpus()
        .get(position)
        .ok_or_else(|| Failure::failed("the GPU is gone. See `lem env`"))?;
    let named = format!("GPU {} ({})", gpu.index, gpu.name);
    if gpu.mig {
        return Err(Failure::failed(format!(
            "{named} is cut into instances (MIG), and its power is that of all of them. Calibrate it while MIG is off, or choose another with --gpu"
        )));
    }
    let others = gpus.processes(position).unwrap_or_default().len();
    if others > 0 {
        say(&format!(
            "warning: {others} other processes compute on {named}: they blur what is found. Stop them and calibrate again"
        ));
    }
    let mut load = load(args, gpus, position).map_err(|error| failed(&named, &error))?;
    say(&format!("Driving {named} for {} s", args.seconds));
    let wave = calibrate::record(gpus, position, load.as_mut(), f64::from(args.seconds))
        .map_err(|error| failed(&named, &error))?;
    drop(load);
    let mut fields = BTreeMap::new();
    let mut unidentified = BTreeMap::new();
    for field in Field::ALL {
        match calibrate::fit(&wave.readings(field), &wave.busy, field.longest_s()) {
            Ok(fit) => {
                fields.insert(field.as_str().to_owned(), fit);
            }
            Err(error) => {
                unidentified.insert(field.as_str(), error.to_string());
            }
        }
    }
    let calibration = Calibration {
        format: calibrate::FORMAT,
        uuid: gpu.uuid.clone(),
        name: gpu.name.clone(),
        driver: gpus.driver().driver.value().cloned().unwrap_or_default(),
        made_at: jiff::Timestamp::now().to_string(),
        fields,
    };
    if calibration.fields.is_empty() {
        let reasons: Vec<String> = unidentified
            .iter()
            .map(|(f, why)| format!("{f}: {why}"))
            .collect();
        return Err(Failure::failed(format!(
            "nothing could be identified on {named} ({}). Make sure that the load uses this GPU and that nothing else does",
            reasons.join("; ")
        )));
    }
    let path = calibrate::save(folder, &calibration)
        .map_err(|error| Failure::failed(error.to_string()))?;
    Ok(Told {
        calibration,
        unidentified,
        file: path.display().to_string(),
    })
}

fn load(
    args: &CalibrateArgs,
    gpus: &dyn GpuBackend,
    position: usize,
) -> Result<Box<dyn Load>, NoLoad> {
    if let Some((program, arguments)) = args.command.split_first() {
        say(&format!(
            "Starting {} and giving it {} s to reach its load",
            program.to_string_lossy(),
            WARM_UP.as_secs()
        ));
        return Ok(Box::new(CommandLoad::start(program, arguments, WARM_UP)?));
    }
    let bus = gpus.facts(position).pci_bus;
    let bus = bus.value().map_or("", String::as_str);
    Ok(Box::new(CudaLoad::open(bus)?))
}

fn failed(named: &str, error: &NoLoad) -> Failure {
    Failure::failed(format!(
        "{named} could not be driven: {error}. Give a command that keeps it busy: lem calibrate -- COMMAND"
    ))
}

fn rendered(told: &Told) -> String {
    let calibration = &told.calibration;
    let mut rows = table(&[
        "Reading",
        "Lag ms",
        "Window ms",
        "Shape",
        "Renewed ms",
        "Idle W",
        "Busy W",
        "Explained",
    ]);
    let ms = |seconds: f64| format!("{:.1}", seconds * 1e3);
    let pm = |seconds: f64, u: Option<f64>| match u {
        Some(u) => format!("{:.1} ± {:.1}", seconds * 1e3, u * 2e3),
        None => ms(seconds),
    };
    for (field, fit) in &calibration.fields {
        rows.add_row([
            field.clone(),
            pm(fit.lag_s, fit.u_lag_s),
            pm(fit.window_s, fit.u_window_s),
            fit.kernel.shape.as_str().to_owned(),
            ms(fit.update_s),
            format!("{:.0}", fit.idle_watts),
            format!("{:.0}", fit.busy_watts),
            format!("{:.1} %", fit.explained * 100.0),
        ]);
    }
    let mut text = format!(
        "{} ({}), driver {}\n{rows}\n",
        calibration.name, calibration.uuid, calibration.driver
    );
    for (field, why) in &told.unidentified {
        text.push_str(&format!("{field}: not identified: {why}\n"));
    }
    text.push_str(&format!(
        "Kept in {}; every later run on this board uses it.\n",
        told.file
    ));
    text
}
