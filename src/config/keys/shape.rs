use std::fmt;

use regex::Regex;
use serde_json::Value;

/// What a value may be.
#[derive(Clone, Debug)]
pub enum Shape {
    Section(Section),
    /// Free names, all with values of one shape.
    Map(Box<Shape>),
    List(Box<Shape>),
    Text {
        pattern: Option<Regex>,
    },
    Integer {
        min: i128,
        max: i128,
    },
    Number(Range),
    Boolean,
    Choice(Vec<Choice>),
    /// A section whose form depends on one of its keys.
    Tagged {
        tag: String,
        variants: Vec<Variant>,
    },
    OneOf(Vec<Shape>),
    /// Passed on unread.
    Any,
}

#[derive(Clone, Debug, Default)]
pub struct Section {
    pub doc: String,
    pub fields: Vec<Field>,
    /// Takes keys that it does not know.
    pub open: bool,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub doc: String,
    pub shape: Shape,
    pub default: Value,
    pub required: bool,
}

#[derive(Clone, Debug)]
pub struct Choice {
    pub value: String,
    pub doc: String,
}

#[derive(Clone, Debug)]
pub struct Variant {
    /// The tag's value.
    pub name: String,
    pub section: Section,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    pub min: Option<f64>,
    pub above: Option<f64>,
    pub max: Option<f64>,
}

impl Range {
    pub fn holds(&self, value: f64) -> bool {
        value.is_finite()
            && self.min.is_none_or(|min| value >= min)
            && self.above.is_none_or(|above| value > above)
            && self.max.is_none_or(|max| value <= max)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.above, self.max) {
            (Some(min), _, Some(max)) => write!(f, "from {min} to {max}"),
            (_, Some(above), Some(max)) => write!(f, "above {above}, up to {max}"),
            (Some(min), _, None) => write!(f, "{min} or more"),
            (_, Some(above), None) => write!(f, "above {above}"),
            (None, None, Some(max)) => write!(f, "up to {max}"),
            (None, None, None) => Ok(()),
        }
    }
}

impl Section {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Shape {
    /// Whether a later layer adds to it, key by key, instead of replacing it.
    pub fn merges(&self) -> bool {
        matches!(self, Self::Section(_) | Self::Map(_) | Self::Any)
    }

    /// The shape of the value below this key.
    pub fn below(&self, key: &str) -> &Shape {
        match self {
            Self::Section(section) => section.field(key).map_or(&Self::Any, |field| &field.shape),
            Self::Map(inner) => inner,
            _ => &Self::Any,
        }
    }

    /// Whether what a variable or `--set` gives is taken as it stands.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text { .. } | Self::Choice(_))
    }
}

/// In words, as an error or a table says what is expected.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Section(_) | Self::Map(_) => f.write_str("a section of keys and values"),
            Self::List(inner) => match &**inner {
                Self::Text { .. } => f.write_str("a list of texts"),
                Self::Integer { .. } => f.write_str("a list of whole numbers"),
                other => write!(f, "a list, each of it {other}"),
            },
            Self::Text { pattern: None } => f.write_str("text"),
            Self::Text {
                pattern: Some(pattern),
            } => write!(f, "text that matches `{pattern}`"),
            Self::Integer { min, max } if *max >= i128::from(u32::MAX) => {
                write!(f, "a whole number, {min} or more")
            }
            Self::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Number(range) => {
                let range = range.to_string();
                if range.is_empty() {
                    f.write_str("a number")
                } else {
                    write!(f, "a number {range}")
                }
            }
            Self::Boolean => f.write_str("`true` or `false`"),
            Self::Choice(choices) => {
                let names: Vec<&str> = choices.iter().map(|c| c.value.as_str()).collect();
                f.write_str(&crate::config::suggest::any_of(&names))
            }
            Self::Tagged { tag, variants } => {
                let names: Vec<&str> = variants.iter().map(|v| v.name.as_str()).collect();
                write!(
                    f,
                    "a section whose `{tag}` is {}",
                    crate::config::suggest::any_of(&names)
                )
            }
            Self::OneOf(shapes) => {
                for (n, shape) in shapes.iter().enumerate() {
                    if n > 0 {
                        f.write_str(", or ")?;
                    }
                    write!(f, "{shape}")?;
                }
                Ok(())
            }
            Self::Any => f.write_str("any value"),
        }
    }
}
