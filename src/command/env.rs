//! `lem env`: what this machine is and what can be measured on it.

use std::path::PathBuf;

use super::{Exit, Failure, Outcome, show};
use crate::cli::{EnvArgs, Format};
use crate::config::{Config, Ecosystem, Environment};
use crate::environment::{self, Inputs};
use crate::meter::{self, Outside};
use crate::model::Options;

pub fn env(args: &EnvArgs) -> Outcome {
    let ecosystem = Ecosystem::new(&Environment::of_process());
    let environment = environment::collect(&inputs(&ecosystem));
    let detected = meter::detect(&Config::default(), &outside(&ecosystem));
    let inventory = detected.inventory();
    show(&match args.format {
        Format::Table => environment::render(&environment, &inventory),
        Format::Json => {
            let all = serde_json::json!({ "environment": environment, "measurable": inventory,
                "advice": environment::advise(&environment, &inventory) });
            serde_json::to_string_pretty(&all).map_err(|error| {
                Failure::failed(format!("the environment cannot be shown: {error}"))
            })?
        }
    });
    Ok(Exit::Done)
}

/// What the environment's variables say of this machine.
pub fn inputs(ecosystem: &Ecosystem) -> Inputs<'_> {
    Inputs {
        user: ecosystem.get("USER").or_else(|| ecosystem.get("LOGNAME")),
        time_zone: ecosystem.get("TZ"),
        kubernetes: ecosystem.get("KUBERNETES_SERVICE_HOST").is_some(),
        visible_gpus: ecosystem.get("CUDA_VISIBLE_DEVICES"),
        config_folder: None,
    }
}

/// What the environment's variables say that the meters depend on.
pub fn outside(ecosystem: &Ecosystem) -> Outside {
    Outside {
        visible_gpus: ecosystem.get("CUDA_VISIBLE_DEVICES").map(str::to_owned),
        calibrations: calibrations(ecosystem).ok(),
    }
}

/// Where calibrations lie: in lem's own cache.
pub fn calibrations(ecosystem: &Ecosystem) -> Result<PathBuf, Failure> {
    let options = Options::from(|name| ecosystem.get(name).map(str::to_owned));
    let cache = options.cache.ok_or_else(|| {
        Failure::usage("there is no folder for calibrations: neither LEM_CACHE, XDG_CACHE_HOME nor HOME is set. Set one of them")
    })?;
    Ok(cache.join("calibration"))
}
