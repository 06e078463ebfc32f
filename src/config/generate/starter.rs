use crate::config::keys::{Field, Section, Shape, keys};
use crate::config::show::scalar;

/// What a newcomer edits; everything else follows below it as comments.
const HEAD: &str = include_str!("starter.yaml");

/// Columns that comments are wrapped at.
const WIDTH: usize = 88;

/// `lem config new`: a file that runs as it is, with every other key as a comment with
/// its default. Taking the `# ` away from a line makes it count.
pub fn starter() -> String {
    let mut out = String::from(HEAD);
    out.push_str("\n# ── Everything else, with its default. Remove the `# ` before a line to change it. ──\n");
    section(&keys().root, 0, true, &mut out);
    out
}

fn section(section: &Section, depth: usize, top: bool, out: &mut String) {
    for field in &section.fields {
        // Written out above.
        if top
            && HEAD
                .lines()
                .any(|line| line.starts_with(&format!("{}:", field.name)))
        {
            continue;
        }
        if top {
            out.push('\n');
        }
        let indent = "  ".repeat(depth);
        explain(field, &indent, out);
        match &field.shape {
            Shape::Section(inner) => {
                out.push_str(&format!("# {indent}{}:\n", field.name));
                self::section(inner, depth + 1, false, out);
            }
            _ => out.push_str(&format!(
                "# {indent}{}: {}\n",
                field.name,
                scalar(&field.default)
            )),
        }
    }
}

fn explain(field: &Field, indent: &str, out: &mut String) {
    let mut text = field.doc.clone();
    if let Shape::Choice(_) | Shape::Integer { .. } | Shape::Number(_) = field.shape {
        text.push_str(&format!(" ({})", field.shape));
    }
    let mut line = format!("## {indent}");
    for word in text.split_whitespace() {
        if line.chars().count() + word.chars().count() + 1 > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = format!("## {indent}");
        }
        line.push_str(word);
        line.push(' ');
    }
    out.push_str(line.trim_end());
    out.push('\n');
}
