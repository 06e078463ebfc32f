use super::{GENERATED, cell};
use crate::config::keys::{Field, Section, Shape, keys, shown_default, variable_of};
use crate::config::legacy::{Fate, ROWS, VALUES};
use crate::config::presets;
use crate::config::show::scalar;
use crate::config::tree::join;

const INTRODUCTION: &str = "\
# Configuration

A configuration is a YAML file: `lem run config.yaml`. `lem config new` prints one to start
from, `lem config validate` checks one, `lem config show --origin` prints it as resolved and
says where each value came from. Editors complete and check it with the first line
`# yaml-language-server: $schema=schema.json` ([configs/schema.json](../configs/schema.json)).

Layers, the later beating the earlier: the default; the file that `_extends` names, and what
that extends; the file; the variables of other tools ([env.md](env.md)); `LEM_…` variables;
`--set KEY=VALUE` in order; flags. Sections are merged key by key, lists are replaced, and
`null` takes a key back to its default.

- `_extends: base.yaml` adds to another file. One parent, relative to this file.
- `--set batching.batch_size=4` sets a key by its dotted path. The value is YAML
  (`--set gpus=[0,1]`); where the key takes text, it is taken as it stands.
- A variable spells the path with two underscores: `LEM_BATCHING__BATCH_SIZE=4`. An empty
  variable counts as unset.
- Paths in values are relative to the folder that lem runs in.
- Secrets have no key: they come from the variables of the service that they belong to.
";

/// `docs/config.md`.
pub fn config_md() -> String {
    let mut out = format!("{GENERATED}\n{INTRODUCTION}\n## General\n\n");
    let root = &keys().root;
    table(root, "", &mut out);
    sections(root, "", &mut out);
    drawn(&mut out);
    decoder_presets(&mut out);
    version_2(&mut out);
    out
}

fn sections(section: &Section, path: &str, out: &mut String) {
    for field in &section.fields {
        let Shape::Section(inner) = &field.shape else {
            continue;
        };
        let path = join(path, &field.name);
        out.push_str(&format!("\n## `{path}`\n\n{}\n\n", field.doc));
        table(inner, &path, out);
        if inner.open {
            out.push_str("\nOther keys are kept as they are.\n");
        }
        sections(inner, &path, out);
    }
}

fn table(section: &Section, path: &str, out: &mut String) {
    let fields: Vec<&Field> = section
        .fields
        .iter()
        .filter(|field| !matches!(field.shape, Shape::Section(_)))
        .collect();
    if fields.is_empty() {
        return;
    }
    out.push_str("| Key | Value | Default | Variable | |\n|---|---|---|---|---|\n");
    for field in fields {
        let path = join(path, &field.name);
        out.push_str(&format!(
            "| `{path}` | {} | {} | `{}` | {} |\n",
            cell(&field.shape.to_string()),
            cell(&shown_default(&field.default)),
            variable_of(&path),
            cell(&meaning(field)),
        ));
    }
}

/// The text of a key, and of each of its choices.
fn meaning(field: &Field) -> String {
    let mut text = field.doc.clone();
    if let Shape::Choice(choices) = &field.shape {
        for choice in choices.iter().filter(|choice| !choice.doc.is_empty()) {
            let doc = choice.doc.trim_end_matches('.');
            text.push_str(&format!(" `{}`: {doc}.", choice.value));
        }
    }
    text
}

fn drawn(out: &mut String) {
    let lengths = keys().row("prompts.input_tokens");
    let Some(Shape::OneOf(shapes)) = lengths.map(|row| &row.field.shape) else {
        return;
    };
    for shape in shapes {
        let Shape::Tagged { tag, variants } = shape else {
            continue;
        };
        out.push_str(&format!(
            "\n## Lengths that are drawn\n\n`prompts.input_tokens` and `prompts.output_tokens` \
             take a number, or a section with one of these as `{tag}`:\n\n"
        ));
        for variant in variants {
            let needs: Vec<String> = variant
                .section
                .fields
                .iter()
                .map(|field| format!("`{}`", field.name))
                .collect();
            out.push_str(&format!(
                "- `{}` with {}: {}\n",
                variant.name,
                needs.join(", "),
                variant.section.doc
            ));
        }
    }
}

fn decoder_presets(out: &mut String) {
    out.push_str(
        "\n## Presets of the decoder\n\n`decoder.preset` sets these where they are left out:\n\n",
    );
    for name in presets::DECODER_NAMES {
        let values: Vec<String> = presets::decoder(name)
            .unwrap_or_default()
            .iter()
            .map(|(key, value)| format!("`{key}: {}`", scalar(value)))
            .collect();
        out.push_str(&format!("- `{name}`: {}\n", values.join(", ")));
    }
}

fn version_2(out: &mut String) {
    out.push_str(
        "\n## Files of version 2\n\nThey load. Each old key is noted with its new place:\n\n",
    );
    version_2_keys(out);
}

/// The table of version 2's keys, for docs/migration.md too.
pub(crate) fn version_2_keys(out: &mut String) {
    out.push_str("| Version 2 | Now |\n|---|---|\n");
    for row in ROWS {
        let now = match row.fate {
            Fate::Moved(to) => format!("`{}`", to.join("` and `")),
            Fate::Gone(why) => format!("no effect: {why}"),
        };
        out.push_str(&format!("| `{}` | {} |\n", row.old, cell(&now)));
    }
    for (path, old, new) in VALUES {
        out.push_str(&format!("| `{path}: {old}` | `{path}: {new}` |\n"));
    }
}
