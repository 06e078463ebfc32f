use serde_json::json;

use super::Series;
use crate::limits;

/// A body of `runs/log-batch`.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    pub bytes: Vec<u8>,
    /// How many points or pairs it holds.
    pub count: u64,
    /// The first record that it tells of; 0 where that is not known.
    pub n: u64,
    /// Where in `bytes` each point or pair begins.
    starts: Vec<usize>,
}

impl Body {
    /// Two bodies of half as much each, for a server that finds this one too large; none
    /// where it holds one thing only.
    pub fn halves(&self) -> Option<[Self; 2]> {
        let (first, second) = self.starts.split_at(self.starts.len() / 2);
        let (&head, &cut) = (first.first()?, second.first()?);
        let part = |starts: &[usize], to: usize| {
            let from = starts.first().copied().unwrap_or(to);
            let mut bytes = self.bytes.get(..head)?.to_vec();
            bytes.extend_from_slice(self.bytes.get(from..to)?);
            bytes.extend_from_slice(END);
            Some(Self {
                bytes,
                count: starts.len() as u64,
                n: self.n,
                starts: starts.iter().map(|start| start - from + head).collect(),
            })
        };
        // without the comma between them, and without the end
        let end = self.bytes.len() - END.len();
        Some([part(first, cut - 1)?, part(second, end)?])
    }

    /// The key of its first point or pair.
    pub fn first_key(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Keyed {
            key: String,
        }
        let entry = self.starts.first().and_then(|&at| self.bytes.get(at..));
        let mut entries =
            serde_json::Deserializer::from_slice(entry.unwrap_or_default()).into_iter::<Keyed>();
        match entries.next() {
            Some(Ok(entry)) => entry.key,
            _ => String::new(),
        }
    }
}

/// What comes after the last point or pair.
const END: &[u8] = b"]}";

/// The points as bodies, each within MLflow's limits. One body at a time is in
/// memory, and no point allocates.
pub fn metric_bodies<'p>(run: &str, series: &'p [Series<'p>]) -> impl Iterator<Item = Body> + 'p {
    let head = format!("{{\"run_id\":{},\"metrics\":[", json!(run)).into_bytes();
    // {"key":…,"value": once a series
    let heads: Vec<Vec<u8>> = series
        .iter()
        .map(|series| format!("{{\"key\":{},\"value\":", json!(series.key)).into_bytes())
        .collect();
    let mut at = (0, 0);
    let mut size = 4096;
    std::iter::from_fn(move || {
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&head);
        let (mut starts, mut n) = (Vec::new(), 0);
        while let (Some(series), Some(head)) = (series.get(at.0), heads.get(at.0)) {
            if at.1 >= series.len() {
                at = (at.0 + 1, 0);
                continue;
            }
            if starts.len() == limits::METRICS_PER_BATCH || bytes.len() >= limits::BODY_BYTES {
                break;
            }
            if let Some(point) = series.point(at.1) {
                if starts.is_empty() {
                    n = series.n;
                } else {
                    bytes.push(b',');
                }
                starts.push(bytes.len());
                write_point(&mut bytes, head, point);
            }
            at.1 += 1;
        }
        bytes.extend_from_slice(END);
        size = size.max(bytes.len() + 64);
        (!starts.is_empty()).then_some(Body {
            bytes,
            count: starts.len() as u64,
            n,
            starts,
        })
    })
}

fn write_point(out: &mut Vec<u8>, head: &[u8], (value, time, step): (f64, i64, i64)) {
    out.extend_from_slice(head);
    // writing to memory does not fail, and a finite number always has a form
    let _ = serde_json::to_writer(&mut *out, &value);
    out.extend_from_slice(b",\"timestamp\":");
    let _ = serde_json::to_writer(&mut *out, &time);
    out.extend_from_slice(b",\"step\":");
    let _ = serde_json::to_writer(&mut *out, &step);
    out.push(b'}');
}

/// Params or tags (`field`) as bodies, each within MLflow's limits.
pub fn pair_bodies<K: AsRef<str>, V: AsRef<str>>(
    run: &str,
    field: &str,
    pairs: impl IntoIterator<Item = (K, V)>,
) -> Vec<Body> {
    let most = match field {
        "tags" => limits::TAGS_PER_BATCH,
        _ => limits::PARAMS_PER_BATCH,
    };
    let head = format!("{{\"run_id\":{},\"{field}\":[", json!(run));
    let mut bodies: Vec<Body> = Vec::new();
    for (key, value) in pairs {
        let pair = json!({"key": key.as_ref(), "value": value.as_ref()}).to_string();
        let fits = |body: &&mut Body| {
            (body.count as usize) < most && body.bytes.len() + pair.len() < limits::BODY_BYTES
        };
        match bodies.last_mut().filter(fits) {
            Some(body) => {
                body.bytes.push(b',');
                body.starts.push(body.bytes.len());
                body.bytes.extend_from_slice(pair.as_bytes());
                body.count += 1;
            }
            None => {
                let bytes = format!("{head}{pair}").into_bytes();
                bodies.push(Body {
                    bytes,
                    count: 1,
                    n: 0,
                    starts: vec![head.len()],
                });
            }
        }
    }
    for body in &mut bodies {
        body.bytes.extend_from_slice(END);
    }
    bodies
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::{Series, Values};
    use super::{metric_bodies, pair_bodies};

    proptest! {
        /// Whatever the lengths and the gaps, every finite point is in some body once, in order.
        #[test]
        fn no_point_is_lost_at_the_edges(lengths in proptest::collection::vec(0_usize..2100, 1..6), gap in 1_usize..7) {
            let values: Vec<Vec<Option<f64>>> = lengths
                .iter()
                .map(|&len| (0..len).map(|i| match i % gap {
                    1 => None,
                    2 => Some(f64::NAN),
                    3 => Some(f64::INFINITY),
                    _ => Some(i as f64 / 3.0),
                }).collect())
                .collect();
            let series: Vec<Series<'_>> = values
                .iter()
                .enumerate()
                .map(|(n, values)| Series {
                    n: n as u64,
                    key: format!("k{n}"),
                    scale: 1.0,
                    values: Values::Many(values),
                    times: (0..values.len() as i64).map(|i| (i + 5, i)).collect::<Arc<[_]>>(),
                })
                .collect();
            let mut seen = Vec::new();
            for body in metric_bodies("r", &series) {
                prop_assert!(body.count <= 1000 && body.bytes.len() < 1_000_000);
                let whole: Value = serde_json::from_slice(&body.bytes).unwrap();
                let parts = body.halves().map_or_else(|| vec![body.bytes], |halves| halves.map(|half| half.bytes).into());
                let parts = parts.iter().map(|part| serde_json::from_slice::<Value>(part).unwrap());
                let points: Vec<Value> = parts.flat_map(|part| part["metrics"].as_array().unwrap().clone()).collect();
                prop_assert_eq!(whole["metrics"].as_array().unwrap(), &points);
                for metric in &points {
                    seen.push((
                        metric["key"].as_str().unwrap().to_owned(),
                        metric["value"].as_f64().unwrap(),
                        metric["timestamp"].as_i64().unwrap(),
                        metric["step"].as_i64().unwrap(),
                    ));
                }
            }
            let expected: Vec<_> = series
                .iter()
                .flat_map(|s| s.points().map(|(v, t, step)| (s.key.clone(), v, t, step)))
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_body_is_halved_down_to_its_single_entries() {
        let pairs = ["a", "b\"},{", "c"].map(|key| (key, "v"));
        let mut waiting = pair_bodies("r", "tags", pairs);
        let mut keys = Vec::new();
        while let Some(body) = waiting.pop() {
            match body.halves() {
                Some([first, second]) => waiting.extend([second, first]),
                None => {
                    let whole: Value = serde_json::from_slice(&body.bytes).unwrap();
                    assert_eq!((body.count, &whole["run_id"]), (1, &"r".into()));
                    assert_eq!(whole["tags"][0]["key"], body.first_key());
                    keys.push(body.first_key());
                }
            }
        }
        assert_eq!(keys, ["a", "b\"},{", "c"]);
    }

    #[test]
    fn params_are_split_by_number_and_by_size() {
        let small: Vec<_> = (0..250)
            .map(|i| (format!("k{i}"), "v".to_owned()))
            .collect();
        let counts: Vec<u64> = pair_bodies("r", "params", small)
            .iter()
            .map(|body| body.count)
            .collect();
        assert_eq!(counts, [100, 100, 50]);
        // a control character takes six bytes
        let large: Vec<_> = (0..100)
            .map(|i| (format!("k{i}"), "\u{1}".repeat(6000)))
            .collect();
        let bodies = pair_bodies("r", "params", large);
        assert!(bodies.len() > 3 && bodies.iter().all(|body| body.bytes.len() < 1_000_000));
        assert_eq!(bodies.iter().map(|body| body.count).sum::<u64>(), 100);
    }
}
