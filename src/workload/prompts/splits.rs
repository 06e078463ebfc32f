//! Which files of a dataset hold a split. Pure: names in, names out.

use std::collections::BTreeSet;

use glob::{MatchOptions, Pattern};
use serde_json::Value;

use crate::model::hub::Listing;

use super::file::Format;

#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub subset: Option<&'a str>,
    pub split: &'a str,
}

/// The files, or why there are none.
type Found = Result<Vec<String>, String>;

/// By the `configs` at the top of the dataset's README; `None` where it has none.
pub(super) fn declared(listing: &Listing, wanted: Wanted<'_>) -> Option<Found> {
    let configs = listing.card.get("configs")?.as_array()?;
    let with_files: Vec<(&str, &Value)> = configs
        .iter()
        .filter_map(|config| {
            Some((
                config.get("config_name")?.as_str()?,
                config.get("data_files")?,
            ))
        })
        .collect();
    if with_files.is_empty() {
        return None;
    }
    let names: Vec<&str> = with_files.iter().map(|(name, _)| *name).collect();
    let marked = || {
        let default = |config: &&Value| config.get("default") == Some(&Value::Bool(true));
        configs.iter().find(default)?.get("config_name")?.as_str()
    };
    let subset = match pick(&names, wanted.subset.or_else(marked)) {
        Ok(subset) => subset,
        Err(why) => return Some(Err(why)),
    };
    let (_, data_files) = with_files.iter().find(|(name, _)| *name == subset)?;
    let mut splits = BTreeSet::new();
    let mut patterns = Vec::new();
    for (split, pattern) in splits_of(data_files) {
        splits.insert(split);
        if split == wanted.split {
            patterns.push(pattern);
        }
    }
    if patterns.is_empty() {
        return Some(Err(format!(
            "there is no split {:?} among {}",
            wanted.split,
            join(splits)
        )));
    }
    let files: Vec<String> = patterns
        .iter()
        .flat_map(|pattern| matching(&listing.files, pattern))
        .collect();
    Some(readable(files))
}

/// `data_files` is a pattern, a list of patterns (all of the split `train`), or a list
/// of objects with `split` and `path`.
fn splits_of(data_files: &Value) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let items = match data_files {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    for item in items {
        let (split, path) = match item {
            Value::String(_) => ("train", item),
            _ => match (item.get("split").and_then(Value::as_str), item.get("path")) {
                (split, Some(path)) => (split.unwrap_or("train"), path),
                _ => continue,
            },
        };
        match path {
            Value::Array(paths) => found.extend(
                paths
                    .iter()
                    .filter_map(|path| Some((split, path.as_str()?))),
            ),
            path => found.extend(path.as_str().map(|path| (split, path))),
        }
    }
    found
}

fn matching(files: &[String], pattern: &str) -> Vec<String> {
    let options = MatchOptions {
        require_literal_separator: true,
        ..MatchOptions::default()
    };
    match Pattern::new(pattern.trim_start_matches("./")) {
        Ok(pattern) => files
            .iter()
            .filter(|file| pattern.matches_with(file, options))
            .cloned()
            .collect(),
        Err(_) => Vec::new(),
    }
}

/// By the words in the files' names, as the hub's own tools guess them.
pub(super) fn by_name(files: &[String], wanted: Wanted<'_>) -> Found {
    let data: Vec<&String> = files
        .iter()
        .filter(|file| {
            Format::of(file).is_some_and(|format| format != Format::Text) && !is_about(file)
        })
        .filter(|file| {
            wanted
                .subset
                .is_none_or(|subset| file.split(['/', '.']).any(|part| part == subset))
        })
        .collect();
    if data.is_empty() {
        return Err(match wanted.subset {
            Some(subset) => format!("there is no Parquet or JSONL file of the subset {subset:?}"),
            None => "there is no Parquet or JSONL file".to_owned(),
        });
    }
    let of: Vec<(&String, Option<&str>)> = data
        .iter()
        .map(|file| (*file, split_in(file, wanted.split)))
        .collect();
    if of.iter().all(|(_, split)| split.is_none()) && wanted.split == "train" {
        return readable(data.into_iter().cloned().collect());
    }
    let files: Vec<String> = of
        .iter()
        .filter(|(_, split)| *split == Some(wanted.split))
        .map(|(file, _)| (*file).clone())
        .collect();
    if files.is_empty() {
        let splits: BTreeSet<&str> = of.iter().filter_map(|(_, split)| *split).collect();
        return Err(format!(
            "there is no split {:?} among {}",
            wanted.split,
            join(splits)
        ));
    }
    // folders of the same split: which of them is meant cannot be guessed
    let tops: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| Some(file.split_once('/')?.0))
        .filter(|top| split_in(top, wanted.split).is_none() && *top != "data")
        .collect();
    if wanted.subset.is_none() && tops.len() > 1 {
        return Err(format!("prompts.subset must say which of {}", join(tops)));
    }
    readable(files)
}

/// Files beside the data that end like data.
fn is_about(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    [
        "dataset_info",
        "dataset_dict",
        "state.",
        "config",
        "metadata.json",
        "package",
    ]
    .iter()
    .any(|about| name.starts_with(about))
        || file.starts_with('.')
}

/// The split that a file's name tells, by its usual words or by the wanted one itself.
fn split_in<'a>(file: &str, wanted: &'a str) -> Option<&'a str> {
    const WORDS: [(&str, &[&str]); 3] = [
        ("train", &["train", "training"]),
        ("validation", &["validation", "valid", "dev", "val"]),
        ("test", &["test", "testing", "eval", "evaluation"]),
    ];
    let lower = file.to_lowercase();
    let has = |word: &str| {
        lower.match_indices(word).any(|(at, _)| {
            let before = lower.get(..at).and_then(|text| text.chars().next_back());
            let after = lower
                .get(at + word.len()..)
                .and_then(|text| text.chars().next());
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        })
    };
    let usual = WORDS.iter().find(|(split, _)| *split == wanted);
    let own = match usual {
        Some((_, words)) => words.iter().any(|word| has(word)),
        None => has(&wanted.to_lowercase()),
    };
    if own {
        return Some(wanted);
    }
    WORDS
        .iter()
        .find(|(_, words)| words.iter().any(|word| has(word)))
        .map(|(split, _)| *split)
}

/// `<subset>/<split>/0000.parquet`
pub(super) fn in_conversion(files: &[String], wanted: Wanted<'_>) -> Found {
    let parts = |file: &'_ str| -> Option<(String, String)> {
        let mut parts = file.split('/');
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    };
    let parquet = || files.iter().filter(|file| file.ends_with(".parquet"));
    let subsets: BTreeSet<String> = parquet().filter_map(|file| Some(parts(file)?.0)).collect();
    let names: Vec<&str> = subsets.iter().map(String::as_str).collect();
    let subset = pick(&names, wanted.subset)?;
    // `partial-train`: the beginning of a very large one
    let is_split =
        |split: &str| split == wanted.split || split.strip_prefix("partial-") == Some(wanted.split);
    let files: Vec<String> = parquet()
        .filter(|file| parts(file).is_some_and(|(of, split)| of == subset && is_split(&split)))
        .cloned()
        .collect();
    if files.is_empty() {
        let splits: BTreeSet<String> = parquet()
            .filter_map(|file| parts(file))
            .filter(|(of, _)| of == subset)
            .map(|(_, split)| split)
            .collect();
        return Err(format!(
            "there is no split {:?} among {}",
            wanted.split,
            splits.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    Ok(files)
}

/// The subset that is meant: the wanted one, the default one, the only one.
fn pick<'a>(names: &[&'a str], wanted: Option<&str>) -> Result<&'a str, String> {
    let has = |wanted: &str| names.iter().find(|name| **name == wanted).copied();
    match wanted {
        Some(wanted) => has(wanted).ok_or_else(|| {
            format!(
                "there is no subset {wanted:?} among {}",
                join(names.iter().copied().collect())
            )
        }),
        None => match names {
            [only] => Ok(only),
            _ => has("default").ok_or_else(|| {
                format!(
                    "prompts.subset must say which of {}",
                    join(names.iter().copied().collect())
                )
            }),
        },
    }
}

/// The files of one format that lem reads, Parquet before JSON before text, in order.
fn readable(files: Vec<String>) -> Found {
    for format in [Format::Parquet, Format::Json, Format::Text] {
        let mut fit: Vec<String> = files
            .iter()
            .filter(|file| Format::of(file) == Some(format))
            .cloned()
            .collect();
        fit.sort_unstable();
        fit.dedup();
        if !fit.is_empty() {
            return Ok(fit);
        }
    }
    Err(format!(
        "its files end otherwise: {}",
        files.iter().take(5).cloned().collect::<Vec<_>>().join(", ")
    ))
}

fn join(names: BTreeSet<&str>) -> String {
    const SHOWN: usize = 30;
    if names.is_empty() {
        return "none".to_owned();
    }
    let more = names.len().saturating_sub(SHOWN);
    let mut text = names.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Listing, Wanted, by_name, declared, in_conversion};

    fn owned(files: &[&str]) -> Vec<String> {
        files.iter().map(|&file| file.to_owned()).collect()
    }

    fn named(files: &[&str], subset: Option<&str>, split: &str) -> Result<Vec<String>, String> {
        by_name(&owned(files), Wanted { subset, split })
    }

    #[test]
    fn a_split_is_told_by_the_names_of_its_files() {
        let files = [
            "README.md",
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/test-00000-of-00001.parquet",
        ];
        assert_eq!(named(&files, None, "train").unwrap(), owned(&files[1..3]));
        assert_eq!(named(&files, None, "test").unwrap(), owned(&files[3..]));
        assert!(
            named(&files, None, "validation")
                .unwrap_err()
                .contains("among test, train")
        );
        assert_eq!(
            named(&["dev.jsonl", "constraint.jsonl"], None, "validation").unwrap(),
            ["dev.jsonl"]
        );
        assert_eq!(
            named(
                &["train_sft/a.parquet", "train_gen/a.parquet"],
                None,
                "train_sft"
            )
            .unwrap(),
            ["train_sft/a.parquet"]
        );
        assert_eq!(
            named(&["questions.jsonl", "dataset_infos.json"], None, "train").unwrap(),
            ["questions.jsonl"]
        );
        assert_eq!(
            named(&["a/train.jsonl", "b/train.jsonl"], Some("b"), "train").unwrap(),
            ["b/train.jsonl"]
        );
        assert!(
            named(&["a/train.jsonl", "b/train.jsonl"], None, "train")
                .unwrap_err()
                .contains("which of a, b")
        );
        assert!(
            named(&["a.csv"], None, "train")
                .unwrap_err()
                .contains("no Parquet")
        );
    }

    #[test]
    fn what_the_readme_declares_comes_first() {
        let listing = Listing {
            commit: String::new(),
            files: owned(&[
                "x/train-0.parquet",
                "x/test-0.parquet",
                "y/part-1.jsonl",
                "y/part-0.jsonl",
                "z.csv",
            ]),
            card: json!({"configs": [
                {"config_name": "x", "data_files": [
                    {"split": "train", "path": "x/train-*"},
                    {"split": "test", "path": ["x/test-*"]},
                ]},
                {"config_name": "y", "data_files": "y/*.jsonl"},
                {"config_name": "z", "data_files": "z.csv"},
            ]}),
        };
        let found = |subset, split| declared(&listing, Wanted { subset, split }).unwrap();
        assert_eq!(found(Some("x"), "test").unwrap(), ["x/test-0.parquet"]);
        assert_eq!(
            found(Some("y"), "train").unwrap(),
            ["y/part-0.jsonl", "y/part-1.jsonl"]
        );
        assert!(
            found(None, "train")
                .unwrap_err()
                .contains("which of x, y, z")
        );
        assert!(
            found(Some("w"), "train")
                .unwrap_err()
                .contains("among x, y, z")
        );
        assert!(
            found(Some("x"), "dev")
                .unwrap_err()
                .contains("among test, train")
        );
        assert!(found(Some("z"), "train").unwrap_err().contains("z.csv"));
    }

    #[test]
    fn the_conversion_has_a_folder_a_subset_and_a_split() {
        let files = owned(&[
            "default/train/0000.parquet",
            "default/test/0000.parquet",
            "big/partial-train/0000.parquet",
        ]);
        let found = |subset, split| in_conversion(&files, Wanted { subset, split });
        assert_eq!(
            found(None, "train").unwrap(),
            ["default/train/0000.parquet"]
        );
        assert_eq!(
            found(Some("big"), "train").unwrap(),
            ["big/partial-train/0000.parquet"]
        );
        assert!(
            found(None, "dev")
                .unwrap_err()
                .contains("among test, train")
        );
    }
}
