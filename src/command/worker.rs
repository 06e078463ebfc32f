//! `lem worker`: for who writes an engine in another language.

use super::{Exit, Failure, Outcome, json, say, settings, show, table};
use crate::cli::{Format, WorkerCheckArgs, WorkerVerb};
use crate::config::{Backend, Resolved};
use crate::engine::opens_files;
use crate::engine::worker::check::{Finding, Verdict};
use crate::engine::worker::{self, python};
use crate::model::{self, Options, Silent};

pub fn worker(verb: &WorkerVerb) -> Outcome {
    match verb {
        WorkerVerb::Check(args) => check(args),
        WorkerVerb::Show => {
            show(python::TRANSFORMERS);
            Ok(Exit::Done)
        }
    }
}

fn check(args: &WorkerCheckArgs) -> Outcome {
    let resolved = resolve(args)?;
    let config = &resolved.config;
    let files = opens_files(config)
        .then(|| {
            let name = config.model_name.as_deref().unwrap_or_default();
            let secret = |name: &str| {
                let secret = resolved.ecosystem.secret(name);
                secret.map(|value| value.expose().to_owned())
            };
            model::resolve(name, &Options::from(secret), &mut Silent)
        })
        .transpose()
        .map_err(|error| Failure::failed(error.to_string()))?;
    let findings = worker::check_configured(config, files.as_ref())
        .map_err(|error| Failure::usage(error.to_string()))?;
    show(&match args.format {
        Format::Json => json(&findings)?,
        Format::Table => told(&findings),
    });
    let failed = findings.iter().filter(|f| f.verdict == Verdict::Fail);
    Ok(match failed.count() {
        0 => Exit::Done,
        n => {
            say(&format!(
                "{n} of {} requirements do not hold",
                findings.len()
            ));
            Exit::Failed
        }
    })
}

/// The command is a worker whatever the configuration's backend, and needs no model.
fn resolve(args: &WorkerCheckArgs) -> Result<Resolved, Failure> {
    let mut sets = Vec::new();
    if args.config.is_none() {
        sets.push("model_name=check".to_owned());
    }
    sets.extend(args.set.iter().cloned());
    let mut resolved = settings::resolve(args.config.as_deref(), &sets, Vec::new())?;
    let config = &mut resolved.config;
    if !args.command.is_empty() {
        config.worker.command.clone_from(&args.command);
        config.backend = Backend::Worker;
    }
    if !matches!(config.backend, Backend::Worker | Backend::Transformers) {
        return Err(Failure::usage(format!(
            "there is no worker to check: the backend is {}. Write a command behind --, or set `backend` to worker or transformers",
            config.backend.as_str()
        )));
    }
    Ok(resolved)
}

fn told(findings: &[Finding]) -> String {
    let mut table = table(&["", "requirement", ""]);
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Skip => "skip",
        };
        table.add_row([verdict, finding.requirement, &finding.detail]);
    }
    let table = table.to_string();
    let lines = table.lines().map(str::trim_end);
    lines.collect::<Vec<_>>().join("\n")
}
