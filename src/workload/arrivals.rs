//! When each request of a cycle is due, by the configuration's schedule.

use std::io::Read as _;
use std::time::Duration;

use lem_client::Arrivals;

use crate::config::{Config, TrafficMode};
use crate::engine::EngineError;

/// A trace of ten million arrivals has about this much text.
const MOST_BYTES: u64 = 256 << 20;

/// Nanoseconds after a cycle's start, one a request, in order; empty for closed traffic. Every
/// cycle has the same schedule.
pub(super) fn due(config: &Config, count: usize) -> Result<Vec<u64>, EngineError> {
    let traffic = &config.traffic;
    let rate = traffic.target_qps.unwrap_or(1.0);
    let arrivals = match traffic.mode {
        TrafficMode::Closed => return Ok(Vec::new()),
        TrafficMode::Constant => Arrivals::Constant { rate },
        TrafficMode::Poisson => Arrivals::Poisson { rate },
        TrafficMode::Gamma => Arrivals::Gamma {
            rate,
            shape: traffic.burstiness.unwrap_or(1.0),
        },
        TrafficMode::Ramp => {
            let to = traffic.ramp_to_qps.unwrap_or(rate);
            // As long as the requests take at the mean rate: the last one is due at the end.
            let over = 2.0 * count as f64 / (rate + to);
            Arrivals::Ramp {
                from: rate,
                to,
                over: Duration::try_from_secs_f64(over).unwrap_or(Duration::MAX),
                poisson: false,
            }
        }
        TrafficMode::Trace => trace(traffic.trace.as_deref().unwrap_or_default())?,
    };
    let seed = traffic.seed.unwrap_or(config.random_seed);
    let due = arrivals.due(count, seed).map_err(|error| {
        EngineError::new(
            format!("The schedule cannot be made: {error}"),
            "Correct the section traffic",
        )
    })?;
    let ns = |due: Duration| u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
    Ok(due.into_iter().map(ns).collect())
}

fn trace(path: &str) -> Result<Arrivals, EngineError> {
    let wrong = |why: String| {
        EngineError::new(
            format!("The trace {path} cannot be used: {why}"),
            "Give a file with one time in seconds a line as traffic.trace",
        )
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut file = file.take(MOST_BYTES + 1);
    file.read_to_string(&mut text)
        .map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(wrong(format!("it has more than {MOST_BYTES} bytes")));
    }
    Arrivals::trace(&text).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(traffic: Value) -> Config {
        serde_json::from_value(json!({ "traffic": traffic })).unwrap()
    }

    #[test]
    fn each_mode_gives_ascending_times_of_its_rate() {
        assert!(due(&config(json!({})), 9).unwrap().is_empty());
        for traffic in [
            json!({"mode": "constant", "target_qps": 50}),
            json!({"mode": "poisson", "target_qps": 50}),
            json!({"mode": "gamma", "target_qps": 50, "burstiness": 0.5}),
            json!({"mode": "ramp", "target_qps": 20, "ramp_to_qps": 80}),
        ] {
            let due = due(&config(traffic.clone()), 1000).unwrap();
            assert_eq!(due.len(), 1000);
            assert!(due.is_sorted(), "{traffic}");
            let seconds = *due.last().unwrap() as f64 / 1e9;
            assert!((15.0..26.0).contains(&seconds), "{traffic}: {seconds}");
        }
    }

    #[test]
    fn a_trace_is_a_file_and_one_that_is_none_says_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "time\n10.0\n10.5\n12\n").unwrap();
        let path = file.path().to_str().unwrap();
        let of = |path: &str| due(&config(json!({"mode": "trace", "trace": path})), 3);
        assert_eq!(of(path).unwrap(), [0, 500_000_000, 2_000_000_000]);
        std::fs::write(file.path(), "soon\nlater\n").unwrap();
        assert!(of(path).unwrap_err().to_string().contains("traffic.trace"));
        assert!(of("/no/such/trace").is_err());
    }
}
