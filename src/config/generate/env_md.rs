use super::{GENERATED, cell};
use crate::config::ecosystem::{Owner, VARIABLES};
use crate::config::environment::NOT_KEYS;
use crate::config::keys::keys;

/// `docs/env.md`.
pub fn env_md() -> String {
    let mut out = format!(
        "{GENERATED}\n\
         # Environment variables\n\n\
         A variable beats the configuration's file and loses to `--set` and flags. An empty one\n\
         counts as unset. A variable that begins with `LEM_` and is none of these is warned about.\n\n\
         ## Of other tools\n"
    );
    for owner in Owner::ALL {
        out.push_str(&format!(
            "\n### {}\n\n| Variable | Sets | |\n|---|---|---|\n",
            owner.title()
        ));
        for variable in VARIABLES.iter().filter(|v| v.owner == owner) {
            let sets = variable.key.map_or(String::new(), |key| format!("`{key}`"));
            out.push_str(&format!(
                "| `{}` | {sets} | {} |\n",
                variable.name,
                cell(variable.doc)
            ));
        }
    }
    out.push_str("\n## Of lem\n\n| Variable | |\n|---|---|\n");
    for (name, doc) in NOT_KEYS {
        out.push_str(&format!("| `{name}` | {} |\n", cell(doc)));
    }
    out.push_str(
        "\n## Keys\n\nEvery key of the configuration ([config.md](config.md)). The value is \
         YAML; where the key takes text, it is taken as it stands.\n\n\
         | Variable | Key | Value |\n|---|---|---|\n",
    );
    for row in &keys().rows {
        out.push_str(&format!(
            "| `{}` | `{}` | {} |\n",
            row.variable,
            row.path,
            cell(&row.field.shape.to_string())
        ));
    }
    out
}
