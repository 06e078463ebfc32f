//! A table of results in every format: for a terminal, for programs, for a paper.

mod text;

pub use text::escaped;

use serde_json::{Map, Value};

use super::figures::figure;
use super::query::plain;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum GridFormat {
    /// Columns for a terminal
    #[default]
    Table,
    /// One JSON array, an object a row
    Json,
    /// Comma-separated values, every digit
    Csv,
    /// A table for a README or an issue
    Markdown,
    /// A table for a paper; needs the package booktabs
    Latex,
}

/// A table; numbers are kept as they are, and rounded where people read them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

impl Grid {
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.iter().map(|c| (*c).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub fn render(&self, format: GridFormat) -> String {
        match format {
            GridFormat::Table => text::table(self),
            GridFormat::Json => self.json(),
            GridFormat::Csv => text::csv(self),
            GridFormat::Markdown => text::markdown(self),
            GridFormat::Latex => text::latex(self),
        }
    }

    /// The rows as objects; what is absent is `null`.
    pub fn objects(&self) -> Vec<Value> {
        let object = |row: &Vec<Value>| {
            let cells = self.columns.iter().cloned().zip(row.iter().cloned());
            Value::Object(cells.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    fn json(&self) -> String {
        serde_json::to_string_pretty(&self.objects()).unwrap_or_default()
    }

    /// Whether a column holds numbers, and nothing else.
    fn numeric(&self, column: usize) -> bool {
        let mut cells = self
            .rows
            .iter()
            .filter_map(|row| row.get(column))
            .filter(|v| !v.is_null());
        let mut any = false;
        cells.all(|cell| {
            any = true;
            cell.is_number()
        }) && any
    }
}

/// A cell as people read it: whole numbers whole, others with four figures, nothing for
/// what is absent.
fn cell(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() => figure(value),
            _ => number.to_string(),
        },
        other => plain(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Grid, GridFormat};

    fn grid() -> Grid {
        let mut grid = Grid::new("Runs", &["name", "energy_j"]);
        grid.rows
            .push(vec![json!("50% of a_b & \"c\", d|e"), json!(12.345_678)]);
        grid.rows.push(vec![json!("two\nlines <b>"), Value::Null]);
        grid
    }

    #[test]
    fn csv_keeps_every_digit_and_quotes_what_it_must() {
        let text = grid().render(GridFormat::Csv);
        assert_eq!(
            text,
            "name,energy_j\r\n\"50% of a_b & \"\"c\"\", d|e\",12.345678\r\n\"two\nlines <b>\",\r\n"
        );
    }

    #[test]
    fn latex_escapes_and_has_rules() {
        let text = grid().render(GridFormat::Latex);
        assert!(
            text.contains("\\begin{tabular}{lr}") && text.contains("\\toprule"),
            "{text}"
        );
        assert!(
            text.contains("50\\% of a\\_b \\& \"c\", d|e & 12.35 \\\\"),
            "{text}"
        );
        assert!(
            text.contains("two lines \\textless{}b\\textgreater{} & -- \\\\"),
            "{text}"
        );
        let mut hostile = Grid::new("", &["x"]);
        hostile
            .rows
            .push(vec![json!("\\input{/etc/passwd} $x^2$ ~ #1 {}")]);
        let text = hostile.render(GridFormat::Latex);
        assert!(
            text.contains("\\textbackslash{}input\\{/etc/passwd\\} \\$x\\textasciicircum{}2\\$ \\textasciitilde{} \\#1 \\{\\}"),
            "{text}"
        );
    }

    #[test]
    fn no_text_is_a_formula_or_an_argument_or_a_command() {
        let mut grid = Grid::new("", &["a", "b"]);
        for text in ["=1+1", "+1", "-1", "@x", "[2cm]", "*", "a\u{1b}[31m"] {
            grid.rows.push(vec![json!(text), json!(-1.5)]);
        }
        let csv = grid.render(GridFormat::Csv);
        for line in [
            "'=1+1,-1.5",
            "'+1,-1.5",
            "'-1,-1.5",
            "'@x,-1.5",
            "a [31m,-1.5",
        ] {
            assert!(csv.lines().any(|l| l == line), "{line}: {csv}");
        }
        let tex = grid.render(GridFormat::Latex);
        assert!(tex.contains("{[}2cm] & "), "{tex}");
        assert!(tex.contains("{*} & "), "{tex}");
    }

    #[test]
    fn markdown_cannot_be_broken_out_of() {
        let text = grid().render(GridFormat::Markdown);
        assert!(
            text.contains("d\\|e") && text.contains("&lt;b&gt;"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(
            text.lines().nth(1).is_some_and(|l| l == "| --- | ---: |"),
            "{text}"
        );
    }

    #[test]
    fn json_has_null_where_nothing_is() {
        let text = grid().render(GridFormat::Json);
        let rows: Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(rows.pointer("/1/energy_j"), Some(&Value::Null));
        assert_eq!(rows.pointer("/0/energy_j"), Some(&json!(12.345_678)));
    }

    #[test]
    fn an_empty_table_is_one_in_every_format() {
        let empty = Grid::new("Runs", &["a", "b"]);
        for format in [
            GridFormat::Table,
            GridFormat::Json,
            GridFormat::Csv,
            GridFormat::Markdown,
            GridFormat::Latex,
        ] {
            assert!(!empty.render(format).is_empty(), "{format:?}");
        }
    }
}
