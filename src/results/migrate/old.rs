//! Reading a file of version 2 field by field: what is not there is absent, what is of
//! another type is absent and told.

use serde_json::Value;

use super::notes::{Notes, TYPE_UNEXPECTED, VALUE_IMPOSSIBLE};

/// No sum of such numbers overflows, and no quantity of version 2 is as large.
const LARGEST: f64 = 1e30;

/// A place in the file, which may hold nothing.
#[derive(Clone)]
pub(super) struct Old<'a> {
    value: Option<&'a Value>,
    path: String,
    notes: &'a Notes,
}

impl<'a> Old<'a> {
    pub fn new(value: &'a Value, notes: &'a Notes) -> Self {
        Self {
            value: Some(value).filter(|value| !value.is_null()),
            path: "legacy".to_owned(),
            notes,
        }
    }

    pub const fn notes(&self) -> &'a Notes {
        self.notes
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub const fn value(&self) -> Option<&'a Value> {
        self.value
    }

    pub const fn is_there(&self) -> bool {
        self.value.is_some()
    }

    fn unexpected(&self, expected: &str) {
        self.notes.push(
            &self.path,
            TYPE_UNEXPECTED,
            format!("{} is not {expected}", self.path),
        );
    }

    /// A dotted path below.
    pub fn at(&self, path: &str) -> Self {
        path.split('.').fold(self.clone(), |old, key| {
            let value = match old.value {
                None => None,
                Some(Value::Object(map)) => map.get(key).filter(|value| !value.is_null()),
                Some(_) => {
                    old.unexpected("an object");
                    None
                }
            };
            Self {
                value,
                path: format!("{}.{key}", old.path),
                notes: old.notes,
            }
        })
    }

    /// The items of a list; none where there is no list.
    pub fn items(&self) -> Vec<Self> {
        match self.value {
            Some(Value::Array(items)) => {
                let of = |(i, value): (usize, &'a Value)| Self {
                    value: Some(value).filter(|value| !value.is_null()),
                    path: format!("{}.{i}", self.path),
                    notes: self.notes,
                };
                items.iter().enumerate().map(of).collect()
            }
            None => Vec::new(),
            Some(_) => {
                self.unexpected("a list");
                Vec::new()
            }
        }
    }

    pub fn number(&self) -> Option<f64> {
        let value = self.value?;
        let Some(number) = value.as_f64() else {
            self.unexpected("a number");
            return None;
        };
        if number.abs() > LARGEST {
            self.impossible(number);
            return None;
        }
        Some(number)
    }

    /// A number that is not below 0.
    pub fn amount(&self) -> Option<f64> {
        let number = self.number()?;
        if number < 0.0 {
            self.impossible(number);
            return None;
        }
        // −0.0 is 0.
        Some(number.abs())
    }

    fn impossible(&self, number: f64) {
        self.notes.push(
            &self.path,
            VALUE_IMPOSSIBLE,
            format!("{} is {number}", self.path),
        );
    }

    /// A whole number that is not below 0.
    pub fn count(&self) -> Option<u64> {
        let number = self.amount()?;
        if number.fract() != 0.0 || number > 9e15 {
            self.unexpected("a whole number");
            return None;
        }
        Some(number as u64)
    }

    pub fn text(&self) -> Option<&'a str> {
        let text = self.value?.as_str();
        if text.is_none() {
            self.unexpected("text");
        }
        text
    }

    pub fn flag(&self) -> Option<bool> {
        let flag = self.value?.as_bool();
        if flag.is_none() {
            self.unexpected("true or false");
        }
        flag
    }

    /// The numbers of a list, however long: what is no number is told once.
    pub fn numbers(&self) -> Vec<f64> {
        let Some(value) = self.value else {
            return Vec::new();
        };
        let Some(items) = value.as_array() else {
            self.unexpected("a list of numbers");
            return Vec::new();
        };
        let numbers: Vec<f64> = items
            .iter()
            .filter_map(Value::as_f64)
            .filter(|number| number.abs() <= LARGEST)
            .collect();
        if numbers.len() < items.len() {
            self.unexpected("a list of numbers throughout");
        }
        numbers
    }
}
