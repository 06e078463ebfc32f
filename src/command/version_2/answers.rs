//! What version 2's listing verbs print.

use super::super::{env, table};
use super::flags::DATASETS;
use crate::config::{Ecosystem, Environment, decoder_presets};
use crate::environment;

pub(super) fn gpus() -> String {
    let ecosystem = Ecosystem::new(&Environment::of_process());
    environment::render_gpus(&environment::collect(&env::inputs(&ecosystem)))
}

pub(super) fn datasets() -> String {
    let mut rows = table(&[
        "Short name",
        "prompts.dataset",
        "prompts.subset",
        "prompts.column",
    ]);
    for (short, name, subset, column) in DATASETS {
        rows.add_row([*short, *name, subset.unwrap_or(""), *column]);
    }
    plain(&rows)
}

pub(super) fn presets() -> String {
    let mut rows = table(&[
        "decoder.preset",
        "Sets, where the configuration leaves it out",
    ]);
    for (name, values) in decoder_presets() {
        let values: Vec<String> = values
            .iter()
            .map(|(key, value)| format!("decoder.{key}: {value}"))
            .collect();
        rows.add_row([name.to_owned(), values.join(", ")]);
    }
    plain(&rows)
}

fn plain(table: &comfy_table::Table) -> String {
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}
