//! From factors to points.

use serde_json::Value;

use super::SweepError;

/// More points than these are no sweep that anybody waits for.
pub const MOST_POINTS: usize = 10_000;

/// Keys that take their values together: one key is `--vary`, several are `--zip`.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    pub keys: Vec<String>,
    /// Each with a value a key.
    pub rows: Vec<Vec<Value>>,
}

/// What a point sets, in the order of the factors.
pub type Settings = Vec<(String, Value)>;

/// Every combination of the factors' rows, the last factor the fastest.
pub fn product(factors: &[Factor]) -> Result<Vec<Settings>, SweepError> {
    let size = factors
        .iter()
        .try_fold(1_usize, |size, factor| size.checked_mul(factor.rows.len()))
        .filter(|size| *size <= MOST_POINTS);
    if size.is_none() {
        let sizes: Vec<String> = factors.iter().map(|f| f.rows.len().to_string()).collect();
        return Err(too_many(&sizes.join(" × ")));
    }
    let mut points: Vec<Settings> = vec![Vec::new()];
    for factor in factors {
        let mut next = Vec::with_capacity(points.len() * factor.rows.len());
        for point in &points {
            for row in &factor.rows {
                let mut point = point.clone();
                point.extend(factor.keys.iter().cloned().zip(row.iter().cloned()));
                next.push(point);
            }
        }
        points = next;
    }
    Ok(points)
}

pub fn too_many(how_many: &str) -> SweepError {
    SweepError::new(
        format!("the sweep has {how_many} points, more than {MOST_POINTS}"),
        "Vary fewer keys at once, let values go together with --zip, or list points with --point",
    )
}

/// Whether two points set the same, in whatever order.
pub fn same(a: &Settings, b: &Settings) -> bool {
    a.len() == b.len() && a.iter().all(|pair| b.contains(pair))
}

/// As a person and a run's name have it: `batching.batch_size=4, max_output_tokens=64`.
pub fn told(settings: &Settings) -> String {
    let pairs: Vec<String> = settings
        .iter()
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    pairs.join(", ")
}

/// Text without quotes, anything else as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn factors() -> impl Strategy<Value = Vec<Factor>> {
        let size = (1_usize..4, 1_usize..5);
        prop::collection::vec(size, 0..5).prop_map(|sizes| {
            let mut factors = Vec::new();
            for (f, (keys, rows)) in sizes.into_iter().enumerate() {
                let names = (0..keys).map(|k| format!("f{f}.k{k}")).collect();
                let row = |r: usize| (0..keys).map(|k| json!(r * 10 + k)).collect();
                factors.push(Factor {
                    keys: names,
                    rows: (0..rows).map(row).collect(),
                });
            }
            factors
        })
    }

    proptest! {
        #[test]
        fn a_product_has_every_combination_once(factors in factors()) {
            let points = product(&factors).unwrap();
            let size: usize = factors.iter().map(|f| f.rows.len()).product();
            prop_assert_eq!(points.len(), size);
            for (n, point) in points.iter().enumerate() {
                prop_assert_eq!(point.len(), factors.iter().map(|f| f.keys.len()).sum::<usize>());
                for other in points.iter().skip(n + 1) {
                    prop_assert!(!same(point, other));
                }
                // What is zipped stays together.
                for factor in &factors {
                    let row: Vec<_> = factor.keys.iter()
                        .map(|key| point.iter().find(|(k, _)| k == key).unwrap().1.clone())
                        .collect();
                    prop_assert!(factor.rows.contains(&row));
                }
            }
            prop_assert_eq!(points, product(&factors).unwrap());
        }
    }

    #[test]
    fn too_many_are_refused_before_they_are_made() {
        let factor = |f: usize| Factor {
            keys: vec![format!("k{f}")],
            rows: (0..100).map(|v| vec![json!(v)]).collect(),
        };
        let huge: Vec<Factor> = (0..40).map(factor).collect();
        let error = product(&huge).unwrap_err();
        assert!(error.what.contains("100 × 100"), "{error}");
        assert_eq!(product(&huge[..2]).unwrap().len(), 10_000);
    }

    #[test]
    fn the_last_factor_is_the_fastest() {
        let of = |key: &str, values: &[i64]| Factor {
            keys: vec![key.into()],
            rows: values.iter().map(|v| vec![json!(v)]).collect(),
        };
        let points = product(&[of("a", &[1, 2]), of("b", &[3, 4])]).unwrap();
        let told: Vec<String> = points.iter().map(told).collect();
        assert_eq!(told, ["a=1, b=3", "a=1, b=4", "a=2, b=3", "a=2, b=4"]);
    }
}
