//! State of this process and of the processors: memory and load. No power.

use lem_record::{How, Stamp};

use super::file::{OpenFile, first_number};
use super::found::{Absent, Found, column};
use super::load::{LoadFile, Utilisation};
use super::{Component, Meter, SampleSink, Sensor, Source};
use crate::environment::{Root, why};

const LOAD: &str = "busy share of all processors since the reading before from /proc/stat";

/// Without `own_memory` the load of the processors alone.
pub(super) fn find(root: &Root, load: &Result<LoadFile, String>, own_memory: bool) -> Found {
    let status = OpenFile::open(&root.path("proc/self/status"))
        .map_err(|error| why("/proc/self/status", &error));
    let absent = |what: &str, reason: &String| {
        Absent::new(
            Component::State,
            what,
            reason,
            "lem needs a mounted /proc to see it",
        )
    };
    let mut found = Found::default();
    let mut columns = Vec::new();
    if !own_memory {
        // Nothing is missing.
    } else if let Err(reason) = &status {
        found.absent.push(absent("memory of this process", reason));
    } else {
        columns.push(column(
            "sample.process_memory",
            "process",
            Component::State,
            &[],
        ));
    }
    if let Err(reason) = load {
        found.absent.push(absent("load of the processors", reason));
    } else {
        columns.push(column(
            "sample.cpu_utilization",
            "process",
            Component::State,
            &[],
        ));
    }
    if columns.is_empty() {
        return found;
    }
    found.meter = Some(Box::new(ProcessMeter {
        sources: [Source {
            id: "process".into(),
            component: Component::State,
            name: match own_memory {
                true => "this process, and the load of all processors".into(),
                false => "the load of all processors".into(),
            },
            meter: "process".into(),
            how: How::Measured,
            method: match own_memory {
                true => format!("resident memory from /proc/self/status (VmRSS); {LOAD}"),
                false => LOAD.to_owned(),
            },
            device: None,
            columns,
            sensor: Sensor::default(),
        }],
        status: status.ok().filter(|_| own_memory),
        load: load.as_ref().ok().cloned(),
        utilisation: Utilisation::default(),
    }));
    found
}

#[derive(Debug)]
struct ProcessMeter {
    sources: [Source; 1],
    status: Option<OpenFile>,
    load: Option<LoadFile>,
    utilisation: Utilisation,
}

impl Meter for ProcessMeter {
    fn name(&self) -> &'static str {
        "process"
    }

    fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn read(&mut self, out: &mut dyn SampleSink) {
        let t_ns = Stamp::mono_ns();
        let mut values = [None; 2];
        let mut n = 0;
        let mut push = |value| {
            if let Some(slot) = values.get_mut(n) {
                *slot = value;
            }
            n += 1;
        };
        if let Some(status) = &self.status {
            let mut buffer = [0; 4096];
            let text = status.read(&mut buffer).ok();
            push(
                text.and_then(|text| bytes_of(text, b"VmRSS:"))
                    .map(|bytes| bytes as f64),
            );
        }
        if let Some(load) = &self.load {
            let jiffies = load.read();
            push(jiffies.ok().and_then(|now| self.utilisation.advance(now)));
        }
        out.row(0, t_ns, values.get(..n).unwrap_or_default());
    }
}

/// `VmRSS:     1488 kB`, in bytes.
fn bytes_of(status: &[u8], key: &[u8]) -> Option<u64> {
    let line = status
        .split(|b| *b == b'\n')
        .find_map(|line| line.strip_prefix(key))?;
    first_number(line)?.checked_mul(1024)
}

/// Highest resident memory of this process since it started or since [`reset_peak_memory`], bytes.
pub fn peak_memory_bytes() -> Result<u64, String> {
    let status = Root::system().read("proc/self/status")?;
    bytes_of(status.as_bytes(), b"VmHWM:")
        .ok_or_else(|| "/proc/self/status does not tell the peak (VmHWM)".to_owned())
}

/// Lets the peak count from now. Refused by some containers: then it counts from the start.
pub fn reset_peak_memory() -> Result<(), String> {
    std::fs::write("/proc/self/clear_refs", "5")
        .map_err(|error| format!("/proc/self/clear_refs could not be written: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::testing::Rows;
    use super::*;

    // One test, for they look at the same process.
    #[test]
    fn memory_load_and_peak_of_this_process_are_seen() {
        let root = Root::system();
        let mut found = find(&root, &LoadFile::open(&root), true);
        let meter = found.meter.as_mut().unwrap();
        let mut rows = Rows::default();
        meter.read(&mut rows);
        let held = vec![1u8; 256 << 20];
        let work = std::time::Instant::now();
        while work.elapsed().as_millis() < 60 {
            std::hint::black_box(&held);
        }
        meter.read(&mut rows);
        let memory = |row: usize| rows.values[row][0].unwrap();
        assert!(memory(0) > 1e6);
        assert!(memory(1) > f64::from(256 << 20), "{rows:?}");
        assert_eq!(
            rows.values[0][1], None,
            "no load before there is an interval"
        );
        assert!(rows.values[1][1].unwrap() > 0.1, "{rows:?}");

        let high = peak_memory_bytes().unwrap();
        assert!(high as f64 >= memory(1));
        drop(held);
        if reset_peak_memory().is_ok() {
            assert!(peak_memory_bytes().unwrap() < high);
        }
    }

    #[test]
    fn without_proc_both_are_absent_with_reasons() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let found = find(&root, &LoadFile::open(&root), true);
        assert!(found.meter.is_none());
        assert_eq!(found.absent.len(), 2);
        assert!(found.absent[0].reason.contains("there is no"));
    }
}
