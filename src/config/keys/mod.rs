//! Every key that the configuration has, derived from the model's JSON Schema: the one
//! table behind validation, the variables' names, `docs/config.md` and `lem config new`.

mod compile;
mod shape;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

pub use shape::{Choice, Field, Section, Shape, Variant};

use super::model::Config;
use super::tree::join;

/// What a variable that sets a key begins with.
pub const PREFIX: &str = "LEM_";

#[derive(Debug)]
pub struct Keys {
    pub root: Section,
    /// One a key, in the order of the model. A key that takes several forms is one row.
    pub rows: Vec<Row>,
    /// Where each last segment of a path occurs.
    by_name: BTreeMap<String, Vec<usize>>,
}

/// A key.
#[derive(Debug)]
pub struct Row {
    /// Dotted path.
    pub path: String,
    /// The variable that sets it.
    pub variable: String,
    pub field: Field,
}

/// The table, made once.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let schema = schemars::schema_for!(Config).to_value();
        Keys::new(compile::root(&schema))
    })
}

/// A path that was resolved against the table.
pub(crate) struct Target {
    pub path: Vec<String>,
    /// [`Shape::Any`] where no key is.
    pub shape: Shape,
    pub known: bool,
}

impl Target {
    pub fn segments(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }
}

impl Keys {
    fn new(root: Section) -> Self {
        let mut rows = Vec::new();
        collect(&root, "", &mut rows);
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (n, row) in rows.iter().enumerate() {
            let name = row.path.rsplit('.').next().unwrap_or(&row.path);
            by_name.entry(name.to_owned()).or_default().push(n);
        }
        Self {
            root,
            rows,
            by_name,
        }
    }

    pub fn row(&self, path: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.path == path)
    }

    /// Paths of the keys whose last segment is this name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &str> {
        self.by_name
            .get(name)
            .into_iter()
            .flatten()
            .filter_map(|n| self.rows.get(*n))
            .map(|row| row.path.as_str())
    }

    /// Resolves `a.b.c`, as in `--set`. Below a section of free names the rest is one name.
    pub(crate) fn resolve_path(&self, dotted: &str) -> Target {
        let segments: Vec<&str> = dotted.split('.').collect();
        self.resolve(&segments, ".", |name, segment| name == segment)
    }

    /// Resolves `LEM_A__B__C`; `None` where no key has this variable.
    pub(crate) fn resolve_variable(&self, variable: &str) -> Option<Target> {
        let lower = variable.strip_prefix(PREFIX)?.to_lowercase();
        let segments: Vec<&str> = lower.split("__").collect();
        let target = self.resolve(&segments, "__", |name, segment| plain(name) == segment);
        (target.known && target.path.iter().all(|name| !name.is_empty())).then_some(target)
    }

    fn resolve(
        &self,
        segments: &[&str],
        separator: &str,
        same: impl Fn(&str, &str) -> bool,
    ) -> Target {
        let mut shape = Shape::Section(self.root.clone());
        let mut path = Vec::new();
        let mut known = true;
        for (n, segment) in segments.iter().enumerate() {
            let next = match &shape {
                Shape::Section(section) => {
                    match section.fields.iter().find(|f| same(&f.name, segment)) {
                        Some(field) => {
                            path.push(field.name.clone());
                            field.shape.clone()
                        }
                        None => {
                            known &= section.open;
                            path.push((*segment).to_owned());
                            Shape::Any
                        }
                    }
                }
                Shape::Map(inner) => {
                    path.push(segments.get(n..).unwrap_or_default().join(separator));
                    return Target {
                        path,
                        shape: (**inner).clone(),
                        known,
                    };
                }
                other => {
                    known &= matches!(other, Shape::Any | Shape::Tagged { .. } | Shape::OneOf(_));
                    path.push((*segment).to_owned());
                    Shape::Any
                }
            };
            shape = next;
        }
        Target { path, shape, known }
    }
}

/// As a name stands within a variable's.
fn plain(name: &str) -> String {
    name.to_lowercase().replace(['-', '.'], "_")
}

/// The variable of a dotted path: `batching.batch_size` is `LEM_BATCHING__BATCH_SIZE`.
pub fn variable_of(path: &str) -> String {
    let parts: Vec<String> = path
        .split('.')
        .map(|name| plain(name).to_uppercase())
        .collect();
    format!("{PREFIX}{}", parts.join("__"))
}

fn collect(section: &Section, path: &str, rows: &mut Vec<Row>) {
    for field in &section.fields {
        let path = join(path, &field.name);
        match &field.shape {
            Shape::Section(inner) => collect(inner, &path, rows),
            _ => rows.push(Row {
                variable: variable_of(&path),
                path,
                field: field.clone(),
            }),
        }
    }
}

/// A default as YAML shows it on one line.
pub fn shown_default(value: &Value) -> String {
    match value {
        Value::Null => "left out".into(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Shape, keys, variable_of};

    #[test]
    fn every_key_is_understood_and_documented() {
        let free: Vec<&str> = keys()
            .rows
            .iter()
            .filter(|row| matches!(row.field.shape, Shape::Any))
            .map(|row| row.path.as_str())
            .collect();
        assert_eq!(
            free,
            [
                "pytorch.torch_compile",
                "pytorch.beam_search",
                "pytorch.assisted_generation",
                "vllm.lora",
                "server.extra_body",
                "worker.options"
            ],
            "a shape that the table does not understand takes anything"
        );
        for row in &keys().rows {
            assert!(!row.field.doc.is_empty(), "{} says nothing", row.path);
        }
        assert!(keys().rows.len() > 100);
    }

    #[test]
    fn every_variable_leads_back_to_its_key() {
        let mut seen = BTreeSet::new();
        for row in &keys().rows {
            assert!(seen.insert(&row.variable), "{} is twice", row.variable);
            let target = keys().resolve_variable(&row.variable).expect("resolves");
            assert_eq!(target.path.join("."), row.path);
        }
        assert_eq!(
            variable_of("integrations.remote-write.enabled"),
            "LEM_INTEGRATIONS__REMOTE_WRITE__ENABLED"
        );
        assert!(keys().resolve_variable("LEM_BATCHING__BATCH_SZE").is_none());
        assert!(keys().resolve_variable("LEM_").is_none());
    }

    #[test]
    fn below_free_names_the_rest_is_one_name() {
        let target = keys().resolve_path("tags.a.b");
        assert_eq!(target.path, ["tags", "a.b"]);
        assert!(matches!(target.shape, Shape::Text { .. }));
        let target = keys()
            .resolve_variable("LEM_TAGS__GIT__SHA")
            .expect("resolves");
        assert_eq!(target.path, ["tags", "git__sha"]);
    }
}
