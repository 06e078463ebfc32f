//! What is to be varied: from the command line, from the configuration's section `sweep`, or
//! from both.

use serde_json::Value;

use super::conditions::Condition;
use super::split::{pair, split};
use super::vary::{Factor, MOST_POINTS, Settings, plain, product, same, too_many};
use super::{SweepError, shown};
use crate::config::{Sweep, redact, typed};

/// The flags as they were typed.
#[derive(Clone, Debug, Default)]
pub struct Given<'a> {
    pub vary: &'a [String],
    pub zip: &'a [String],
    pub point: &'a [String],
    pub skip: &'a [String],
}

/// The points of one configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    pub factors: Vec<Factor>,
    pub listed: Vec<Settings>,
    pub skip: Vec<Condition>,
}

/// Keys that a point must not change: they are the sweep's own, or no property of a run.
const NOT_VARIED: &[(&str, &str)] = &[
    ("sweep", "it is the sweep itself"),
    (
        "io",
        "a sweep keeps its runs in one folder; choose it with --output",
    ),
    (
        "integrations",
        "all points go to the same sinks, or they could not be shown together",
    ),
];

impl Definition {
    /// The flags. All that is wrong with them is told at once.
    pub fn of_flags(given: &Given<'_>) -> Result<Self, Vec<SweepError>> {
        let mut errors = Vec::new();
        let mut definition = Self::default();
        for text in given.vary {
            match varied(text, "--vary") {
                Ok((key, values)) => definition.factors.push(single(key, values)),
                Err(error) => errors.push(error),
            }
        }
        for text in given.zip {
            let words = split(text, char::is_whitespace);
            let group = words.and_then(|words| {
                let words = words.into_iter().filter(|word| !word.is_empty());
                words.map(|word| varied(word, "--zip")).collect()
            });
            match group.and_then(zipped) {
                Ok(factor) => definition.factors.push(factor),
                Err(error) => errors.push(error),
            }
        }
        for text in given.point {
            match listed(text) {
                Ok(settings) => definition.listed.push(settings),
                Err(error) => errors.push(error),
            }
        }
        for text in given.skip {
            match Condition::parse(text) {
                Ok(condition) => definition.skip.push(condition),
                Err(error) => errors.push(error),
            }
        }
        errors.extend(definition.wrong());
        none_wrong(definition, errors)
    }

    /// The section `sweep` of a configuration.
    pub fn of_section(section: &Sweep) -> Result<Self, Vec<SweepError>> {
        let mut errors = Vec::new();
        let mut definition = Self::default();
        for (key, values) in &section.vary {
            match values.is_empty() {
                true => errors.push(no_values(key)),
                false => definition.factors.push(single(key.clone(), values.clone())),
            }
        }
        for group in &section.zip {
            let columns = group.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            match zipped(columns) {
                Ok(factor) => definition.factors.push(factor),
                Err(error) => errors.push(error),
            }
        }
        for point in &section.points {
            let settings = point.iter().map(|(k, v)| (k.clone(), v.clone()));
            definition.listed.push(settings.collect());
        }
        for text in &section.skip {
            match Condition::parse(text) {
                Ok(condition) => definition.skip.push(condition),
                Err(error) => errors.push(error),
            }
        }
        errors.extend(definition.wrong());
        none_wrong(definition, errors)
    }

    /// The flags over the section: a factor of the same keys replaces the section's.
    pub fn over(mut self, flags: &Self) -> Result<Self, Vec<SweepError>> {
        let sorted = |factor: &Factor| {
            let mut keys = factor.keys.clone();
            keys.sort();
            keys
        };
        for factor in &flags.factors {
            let same = |own: &&mut Factor| sorted(own) == sorted(factor);
            match self.factors.iter_mut().find(same) {
                Some(own) => own.clone_from(factor),
                None => self.factors.push(factor.clone()),
            }
        }
        self.listed.extend(flags.listed.iter().cloned());
        self.skip.extend(flags.skip.iter().cloned());
        let errors = self.wrong();
        none_wrong(self, errors)
    }

    pub fn varies(&self) -> bool {
        !self.factors.is_empty() || !self.listed.is_empty()
    }

    /// Every point: the combinations, then those that are listed and not among them. Without
    /// anything that varies, the configuration itself.
    pub fn points(&self) -> Result<Vec<Settings>, SweepError> {
        let mut points = match self.factors.is_empty() && !self.listed.is_empty() {
            true => Vec::new(),
            false => product(&self.factors)?,
        };
        for listed in &self.listed {
            if !points.iter().any(|point| same(point, listed)) {
                points.push(listed.clone());
            }
        }
        if points.len() > MOST_POINTS {
            return Err(too_many(&points.len().to_string()));
        }
        Ok(points)
    }

    /// The points for which no condition holds; keys that a point does not set have the values
    /// of `tree`.
    pub fn kept(&self, tree: &Value) -> Result<Vec<Settings>, SweepError> {
        let mut kept = Vec::new();
        for settings in self.points()? {
            let look_up = |key: &str| {
                let set = settings.iter().find(|(name, _)| name == key);
                set.map(|(_, value)| value.clone())
                    .or_else(|| of_tree(tree, key).cloned())
            };
            let mut skipped = false;
            for condition in &self.skip {
                skipped |= condition.holds(&look_up)?;
            }
            if !skipped {
                kept.push(settings);
            }
        }
        Ok(kept)
    }

    fn wrong(&self) -> Vec<SweepError> {
        let mut errors = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for key in self.factors.iter().flat_map(|factor| &factor.keys) {
            if seen.contains(&key.as_str()) {
                errors.push(SweepError::new(
                    format!("{} is varied twice", shown(key)),
                    "Give all its values at one place",
                ));
            }
            seen.push(key);
            errors.extend(refused(key));
        }
        let of_factors = self.factors.iter().flat_map(|factor| {
            let rows = factor.rows.iter();
            rows.flat_map(|row| factor.keys.iter().zip(row))
        });
        let of_points = self
            .listed
            .iter()
            .flatten()
            .map(|(key, value)| (key, value));
        for (key, value) in of_factors.chain(of_points) {
            errors.extend(secret(key, value));
        }
        for factor in &self.factors {
            for (n, row) in factor.rows.iter().enumerate() {
                if factor.rows.iter().take(n).any(|before| before == row) {
                    let values: Vec<String> = row.iter().map(plain).collect();
                    errors.push(SweepError::new(
                        format!(
                            "{} has the value {} twice",
                            shown(&factor.keys.join(" and ")),
                            shown(&values.join(", "))
                        ),
                        "Name each value once; more measurements of a point are more cycles (--cycles)",
                    ));
                }
            }
        }
        for settings in &self.listed {
            for (n, (key, _)) in settings.iter().enumerate() {
                errors.extend(refused(key));
                if settings.iter().take(n).any(|(before, _)| before == key) {
                    errors.push(SweepError::new(
                        format!("a point sets {} twice", shown(key)),
                        "Set it once",
                    ));
                }
            }
        }
        errors
    }
}

/// A value by its dotted path; names of free sections may have dots themselves.
fn of_tree<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(value) = tree.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    of_tree(tree.get(first)?, rest)
}

fn none_wrong<T>(made: T, errors: Vec<SweepError>) -> Result<T, Vec<SweepError>> {
    match errors.is_empty() {
        true => Ok(made),
        false => Err(errors),
    }
}

fn refused(key: &str) -> Option<SweepError> {
    let below = |section: &str| {
        key == section
            || key
                .strip_prefix(section)
                .is_some_and(|rest| rest.starts_with('.'))
    };
    if let Some((_, why)) = NOT_VARIED.iter().find(|(section, _)| below(section)) {
        return Some(SweepError::new(
            format!("{} cannot be varied: {why}", shown(key)),
            "Set it once, in the configuration or with --set",
        ));
    }
    redact::is_secret_name(key).then(|| {
        SweepError::new(
            format!("{} cannot be varied: it holds a secret", shown(key)),
            "Secrets are never written into a plan: set it by a variable",
        )
    })
}

/// A value that may not be shown, in its place: a password in an address, a header.
fn secret(key: &str, value: &Value) -> Option<SweepError> {
    let nested = key.rsplit('.').fold(value.clone(), |inner, name| {
        Value::Object(std::iter::once((name.to_owned(), inner)).collect())
    });
    (redact::value("", &nested) != nested).then(|| {
        SweepError::new(
            format!("a value of {} holds a secret", shown(key)),
            "Secrets are never written into a plan: set what is secret by a variable, and vary the rest",
        )
    })
}

fn single(key: String, values: Vec<Value>) -> Factor {
    Factor {
        keys: vec![key],
        rows: values.into_iter().map(|value| vec![value]).collect(),
    }
}

fn zipped(columns: Vec<(String, Vec<Value>)>) -> Result<Factor, SweepError> {
    let count = columns.first().map_or(0, |(_, values)| values.len());
    if columns.len() < 2 {
        return Err(SweepError::new(
            "a group of --zip has fewer than two keys",
            "Name keys that go together: --zip 'batching.batch_size=1,8 max_output_tokens=256,32'; a key alone is --vary's",
        ));
    }
    if columns.iter().any(|(_, values)| values.len() != count) || count == 0 {
        let counts: Vec<String> = columns
            .iter()
            .map(|(key, values)| format!("{key} has {}", values.len()))
            .collect();
        return Err(SweepError::new(
            format!(
                "the keys of a group of --zip have different numbers of values: {}",
                counts.join(", ")
            ),
            "Give each the same number: the first go together, the second, and so on",
        ));
    }
    let keys = columns.iter().map(|(key, _)| key.clone()).collect();
    let row = |n: usize| {
        let values = columns.iter().filter_map(|(_, values)| values.get(n));
        values.cloned().collect()
    };
    Ok(Factor {
        keys,
        rows: (0..count).map(row).collect(),
    })
}

/// `KEY=VALUE,VALUE`.
fn varied(text: &str, flag: &str) -> Result<(String, Vec<Value>), SweepError> {
    let (key, rest) = pair(text, flag)?;
    let values = split(rest, |c| c == ',')?;
    if values.iter().any(|value| value.is_empty()) {
        return Err(no_values(key));
    }
    let values = values.into_iter().map(|value| meant(key, value));
    Ok((key.to_owned(), values.collect::<Result<_, _>>()?))
}

/// `KEY=VALUE,KEY=VALUE`.
fn listed(text: &str) -> Result<Settings, SweepError> {
    let pairs = split(text, |c| c == ',')?;
    let setting = |text| {
        let (key, value) = pair(text, "--point")?;
        if value.is_empty() {
            return Err(no_values(key));
        }
        Ok((key.to_owned(), meant(key, value)?))
    };
    pairs.into_iter().map(setting).collect()
}

/// As `--set` would take it.
fn meant(key: &str, text: &str) -> Result<Value, SweepError> {
    typed(key, text).map_err(|told| {
        SweepError::new(
            format!("{} is no value: {told}", shown(&format!("{key}={text}"))),
            "Quote text that is to be taken as it stands",
        )
    })
}

fn no_values(key: &str) -> SweepError {
    SweepError::new(
        format!("{} has no value, or an empty one", shown(key)),
        "Give its values with commas between them: --vary batching.batch_size=1,2,4; an empty text is \"\"",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn what_a_condition_names_is_left_out_and_nothing_else(
            a in prop::collection::btree_set(0_i64..8, 1..6),
            b in prop::collection::btree_set(0_i64..8, 1..6),
            c in 0_i64..8, x in 0_i64..8, y in 0_i64..8,
        ) {
            let listed = |values: &std::collections::BTreeSet<i64>| {
                values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            };
            let vary = [format!("tags.a={}", listed(&a)), format!("num_cycles={}", listed(&b))];
            let skip = [
                format!("num_cycles > {x} and random_seed <= {y}"),
                "tags.a == '3'".to_owned(),
            ];
            let definition = Definition::of_flags(&Given {
                vary: &vary, skip: &skip, ..Given::default()
            }).unwrap();
            let kept = definition.kept(&json!({"random_seed": c})).unwrap();
            let expected: Vec<(String, i64)> = a.iter()
                .flat_map(|a| b.iter().map(move |b| (a.to_string(), *b)))
                .filter(|(a, b)| !(*b > x && c <= y) && a != "3")
                .collect();
            let found: Vec<(String, i64)> = kept.iter()
                .map(|point| (plain(&point[0].1), point[1].1.as_i64().unwrap()))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn keys_of_free_sections_may_have_dots() {
        let tree = json!({"tags": {"git.sha": "x"}, "a": {"b": 1}});
        assert_eq!(of_tree(&tree, "tags.git.sha"), Some(&json!("x")));
        assert_eq!(of_tree(&tree, "a.b"), Some(&json!(1)));
        assert_eq!(of_tree(&tree, "a.c"), None);
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    fn flags(vary: &[&str], zip: &[&str], point: &[&str]) -> Result<Definition, Vec<SweepError>> {
        let (vary, zip, point) = (strings(vary), strings(zip), strings(point));
        Definition::of_flags(&Given {
            vary: &vary,
            zip: &zip,
            point: &point,
            skip: &[],
        })
    }

    #[test]
    fn values_get_the_types_of_their_keys() {
        let definition = flags(
            &["batching.batch_size=1,2", "model_name=007,'a,b',null"],
            &["streaming=true,false notes=yes,no"],
            &["gpus=[0,1],max_output_tokens=8"],
        )
        .unwrap();
        let rows = |n: usize| json!(definition.factors[n].rows);
        assert_eq!(rows(0), json!([[1], [2]]));
        assert_eq!(rows(1), json!([["007"], ["a,b"], [null]]));
        assert_eq!(rows(2), json!([[true, "yes"], [false, "no"]]));
        assert_eq!(
            definition.listed,
            [vec![
                ("gpus".to_owned(), json!([0, 1])),
                ("max_output_tokens".to_owned(), json!(8))
            ]]
        );
        assert_eq!(definition.points().unwrap().len(), 2 * 3 * 2 + 1);
    }

    #[test]
    fn a_listed_point_that_is_a_combination_is_no_second_one() {
        let definition = flags(
            &["num_cycles=1,2", "random_seed=3"],
            &[],
            &["random_seed=3,num_cycles=2", "num_cycles=9"],
        );
        assert_eq!(definition.unwrap().points().unwrap().len(), 3);
        let only = flags(&[], &[], &["num_cycles=9"]).unwrap();
        assert_eq!(only.points().unwrap().len(), 1);
        assert_eq!(Definition::default().points().unwrap(), [vec![]]);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let errors = flags(
            &[
                "num_cycles=1,1",
                "num_cycles=3",
                "x",
                "a=",
                "io.results_dir=a,b",
                "integrations.mlflow.enabled=true,false",
                "server.api_key=a,b",
                "a='",
            ],
            &["a=1 b=1,2", "a=1"],
            &["a=1,a=2", ""],
        )
        .unwrap_err();
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let all = told.join("\n");
        for part in [
            "the value `1` twice",
            "`num_cycles` is varied twice",
            "--vary `x` is not KEY=",
            "`a` has no value",
            "`io.results_dir` cannot be varied",
            "`integrations.mlflow.enabled` cannot be varied",
            "holds a secret",
            "closing",
            "a has 1, b has 2",
            "fewer than two keys",
            "a point sets `a` twice",
            "--point `` is not KEY=",
        ] {
            assert!(all.contains(part), "{part} is missing in\n{all}");
        }
    }

    #[test]
    fn flags_replace_the_factor_of_the_same_keys() {
        let section: Sweep = serde_json::from_value(json!({
            "vary": {"batching.batch_size": [1, 2], "num_cycles": [3, 4]},
            "zip": [{"max_input_tokens": [8, 16], "max_output_tokens": [4, 8]}],
            "points": [{"batching.batch_size": 64}],
            "skip": ["num_cycles == 4"],
        }))
        .unwrap();
        let section = Definition::of_section(&section).unwrap();
        assert_eq!(section.points().unwrap().len(), 9);
        let over = flags(
            &["batching.batch_size=8"],
            &["max_output_tokens=1,2,3 max_input_tokens=1,2,3"],
            &[],
        )
        .unwrap();
        let both = section.clone().over(&over).unwrap();
        assert_eq!(both.points().unwrap().len(), 2 * 3 + 1);
        let torn = flags(&["max_input_tokens=1"], &[], &[]).unwrap();
        let errors = section.over(&torn).unwrap_err();
        assert!(errors[0].what.contains("varied twice"), "{errors:?}");
    }
}
