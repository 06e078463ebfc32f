//! `lem engines`: which engines this build and this machine can run, and why not the others.

use super::{Exit, Outcome, json, settings, show, table};
use crate::cli::{EnginesArgs, Format};
use crate::engine::list::{self, Machine, Row};

pub fn engines(args: &EnginesArgs) -> Outcome {
    let resolved = settings::resolve_without_model(args.config.as_deref(), &args.set, Vec::new())?;
    let machine = Machine::look(
        resolved.ecosystem.get("PATH"),
        &resolved.config,
        !args.no_python,
    );
    let rows = list::rows(&machine, &resolved.config);
    show(&match args.format {
        Format::Json => json(&serde_json::json!({ "gpus": machine.gpus, "engines": rows }))?,
        Format::Table => told(&machine, &rows),
    });
    Ok(Exit::Done)
}

fn told(machine: &Machine, rows: &[Row]) -> String {
    let mut table = table(&["backend", "", "what there is, or what is missing"]);
    for row in rows {
        let mut text = row.detail.clone();
        if let Some(remedy) = &row.remedy {
            text = format!("{text}. {remedy}");
        }
        table.add_row([row.backend, row.state.as_str(), &text]);
    }
    let table = table.to_string();
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    let gpus = match machine.gpus {
        0 => "No NVIDIA GPU: engines run on the processor.".to_owned(),
        1 => "1 NVIDIA GPU.".to_owned(),
        n => format!("{n} NVIDIA GPUs."),
    };
    format!(
        "{}\n\n{gpus} Whether a model runs on one of them: lem run CONFIG.",
        lines.join("\n")
    )
}
