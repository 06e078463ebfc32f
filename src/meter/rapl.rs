//! RAPL counters through the kernel's powercap interface (Intel, and AMD since Linux 5.8).
//!
//! Packages and DRAM are read. A package contains its cores and graphics, and `psys`
//! contains the package: these are never summed with it, and are read only where there
//! is nothing else. What is recorded is the counter; power is derived from it in the
//! analysis.

use std::io;

use lem_record::{How, Stamp};

use super::counter::Counter;
use super::file::OpenFile;
use super::found::{Absent, Found, Ids, column};
use super::{Component, Meter, SampleSink, Sensor, Source};
use crate::environment::{Root, why};

const FOLDER: &str = "sys/class/powercap";

/// Reading more often costs more than it tells: up to half of the time at 1 kHz.
const SHORTEST_NS: u64 = 90_000_000;
/// Two readings this close together are one.
const SAME_NS: u64 = 1_000_000;

const REMEDY_PERMISSION: &str = "let this user read the counters until the next boot with \
    `sudo chmod -R a+r /sys/class/powercap/intel-rapl*/`, for good with a udev rule, or give lem \
    the capability CAP_DAC_READ_SEARCH; in a container, mount /sys/class/powercap";

struct Zone {
    /// `intel-rapl:0:1`
    id: String,
    /// `package-0`, `dram`, `core`, …
    name: String,
    /// Name of the zone around it.
    parent: Option<String>,
}

impl Zone {
    fn label(&self) -> String {
        match &self.parent {
            Some(parent) => format!("{parent} {}", self.name),
            None => self.name.clone(),
        }
    }
}

pub(super) fn find(root: &Root, ids: &mut Ids) -> Found {
    let zones = zones(root);
    let mut found = Found::default();
    let mut meter = RaplMeter::default();
    for (component, zones) in choose(&zones) {
        for zone in zones {
            match open(root, zone, component, ids) {
                Ok((source, reader)) => {
                    meter.sources.push(source);
                    meter.readers.push(reader);
                }
                Err(absent) => found.absent.push(absent),
            }
        }
    }
    if zones.is_empty() {
        found.absent.push(Absent::new(
            Component::Cpu,
            "energy counters of the processor (RAPL)",
            format!(
                "{} has no RAPL domain",
                root.shown(FOLDER)
            ),
            "load the kernel module intel_rapl_msr; a virtual machine has none: measure on the host",
        ));
    }
    if !meter.sources.is_empty() {
        found.meter = Some(Box::new(meter));
    }
    found
}

fn zones(root: &Root) -> Vec<Zone> {
    let mut zones: Vec<Zone> = Vec::new();
    // By name `intel-rapl:…` comes before `intel-rapl-mmio:…`, the same packages once more.
    let mut ids: Vec<String> = root
        .names(FOLDER)
        .into_iter()
        .filter(|id| id.starts_with("intel-rapl") && id.contains(':'))
        .collect();
    ids.sort_by_key(|id| id.starts_with("intel-rapl-mmio"));
    for id in ids {
        let Ok(name) = root.read(format!("{FOLDER}/{id}/name")) else {
            continue;
        };
        let around = id.rsplit_once(':').map(|(around, _)| around.to_owned());
        let parent = around.and_then(|around| {
            let zone = zones.iter().find(|zone| zone.id == around)?;
            Some(zone.name.clone())
        });
        let twice = zones.iter().any(|z| z.name == name && z.parent == parent);
        if !twice {
            zones.push(Zone { id, name, parent });
        }
    }
    zones
}

/// The domains to read: they never contain one another.
fn choose(zones: &[Zone]) -> Vec<(Component, Vec<&Zone>)> {
    let named = |wanted: fn(&str) -> bool| -> Vec<&Zone> {
        zones.iter().filter(|zone| wanted(&zone.name)).collect()
    };
    let packages = named(|name| name.starts_with("package"));
    if packages.is_empty() {
        let cores = named(|name| name == "core");
        let platform = named(|name| name == "psys");
        return match (platform.is_empty(), cores.is_empty()) {
            // The platform contains cores and memory.
            (false, _) => vec![(Component::Module, platform)],
            (true, false) => vec![
                (Component::Cpu, cores),
                (Component::Memory, named(|name| name == "dram")),
            ],
            (true, true) => vec![(Component::Memory, named(|name| name == "dram"))],
        };
    }
    vec![
        (Component::Cpu, packages),
        (Component::Memory, named(|name| name == "dram")),
    ]
}

fn open(
    root: &Root,
    zone: &Zone,
    component: Component,
    ids: &mut Ids,
) -> Result<(Source, Reader), Absent> {
    let folder = format!("{FOLDER}/{}", zone.id);
    let file = format!("{folder}/energy_uj");
    let path = root.shown(&file);
    let label = zone.label();
    let file = OpenFile::open(&root.path(&file)).map_err(|error| {
        let what = format!("energy counter of {label} (RAPL)");
        match error.kind() {
            io::ErrorKind::PermissionDenied => Absent::new(
                component,
                what,
                format!("{}: since Linux 5.10 only root may", why(&path, &error)),
                REMEDY_PERMISSION,
            ),
            _ => Absent::new(
                component,
                what,
                why(&path, &error),
                "look at the kernel's log for `rapl`; another kernel may help",
            ),
        }
    })?;
    let range_uj = root.read_u64(format!("{folder}/max_energy_range_uj")).ok();
    let id = ids.next(component);
    let source = Source {
        columns: vec![column("sample.energy", &id, component, &[])],
        id,
        component,
        name: label,
        meter: "rapl".into(),
        how: How::Measured,
        method: match range_uj {
            Some(_) => "RAPL energy counter (powercap energy_uj), wrap-around undone".into(),
            None => "RAPL energy counter (powercap energy_uj); the kernel does not tell its \
                     range, so a wrap-around is a missed sample"
                .into(),
        },
        device: Some(path),
        sensor: Sensor {
            update_s: Some(0.001),
            ..Sensor::default()
        },
    };
    let reader = Reader {
        file,
        counter: Counter::new(range_uj),
    };
    Ok((source, reader))
}

#[derive(Debug, Default)]
struct RaplMeter {
    sources: Vec<Source>,
    readers: Vec<Reader>,
    last_ns: u64,
}

#[derive(Debug)]
struct Reader {
    file: OpenFile,
    counter: Counter,
}

impl RaplMeter {
    fn read_unless_within(&mut self, shortest_ns: u64, out: &mut dyn SampleSink) {
        let now = Stamp::mono_ns();
        if self.last_ns != 0 && now.saturating_sub(self.last_ns) < shortest_ns {
            return;
        }
        self.last_ns = now;
        for (index, reader) in self.readers.iter_mut().enumerate() {
            match reader.file.read_u64() {
                Ok(raw_uj) => {
                    let t_ns = Stamp::mono_ns();
                    match reader.counter.advance(raw_uj, t_ns) {
                        Ok(joules) => out.row(index, t_ns, &[Some(joules)]),
                        Err(_) => out.missed(index, "the energy counter started again"),
                    }
                }
                Err(error) => out.missed(index, &format!("the counter could not be read: {error}")),
            }
        }
    }
}

impl Meter for RaplMeter {
    fn name(&self) -> &'static str {
        "rapl"
    }

    fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn read(&mut self, out: &mut dyn SampleSink) {
        self.read_unless_within(SHORTEST_NS, out);
    }

    fn read_edges(&mut self, out: &mut dyn SampleSink) {
        self.read_unless_within(SAME_NS, out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::path::Path;

    use super::super::testing::Rows;
    use super::*;

    fn zone(root: &Path, id: &str, name: &str, uj: &str, range: Option<&str>) {
        let folder = root.join(FOLDER).join(id);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("name"), format!("{name}\n")).unwrap();
        fs::write(folder.join("energy_uj"), uj).unwrap();
        if let Some(range) = range {
            fs::write(folder.join("max_energy_range_uj"), range).unwrap();
        }
    }

    const RANGE: Option<&str> = Some("262143328850\n");

    fn found(root: &Path) -> Found {
        find(&Root::at(root), &mut Ids::default())
    }

    fn read(meter: &mut dyn Meter) -> Rows {
        let mut rows = Rows::default();
        std::thread::sleep(std::time::Duration::from_millis(2));
        meter.read_edges(&mut rows);
        rows
    }

    #[test]
    fn packages_and_dram_are_read_and_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (id, name) in [
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl:1:0", "dram"),
            ("intel-rapl:2", "psys"),
            ("intel-rapl-mmio:0", "package-0"),
        ] {
            zone(root, id, name, "1000000\n", RANGE);
        }
        // The control type itself has no name and no counter.
        fs::create_dir_all(root.join(FOLDER).join("intel-rapl")).unwrap();
        let meter = found(root).meter.unwrap();
        let told: Vec<_> = meter
            .sources()
            .iter()
            .map(|s| (s.id.as_str(), s.name.as_str(), s.component))
            .collect();
        assert_eq!(
            told,
            [
                ("cpu0", "package-0", Component::Cpu),
                ("cpu1", "package-1", Component::Cpu),
                ("memory0", "package-0 dram", Component::Memory),
                ("memory1", "package-1 dram", Component::Memory),
            ]
        );
        let column = &meter.sources()[2].columns[0];
        assert_eq!(column.metric, "sample.energy");
        assert_eq!(column.attributes["hw.id"], "memory0");
        assert_eq!(column.attributes["hw.type"], "memory");
    }

    #[test]
    fn amd_has_a_package_with_a_core_domain() {
        let dir = tempfile::tempdir().unwrap();
        zone(
            dir.path(),
            "intel-rapl:0",
            "package-0",
            "5\n",
            Some("65532610987\n"),
        );
        zone(
            dir.path(),
            "intel-rapl:0:0",
            "core",
            "5\n",
            Some("65532610987\n"),
        );
        let found = found(dir.path());
        assert_eq!(found.meter.unwrap().sources().len(), 1);
        assert!(found.absent.is_empty());
    }

    #[test]
    fn cores_or_the_platform_are_read_only_where_they_are_alone() {
        let dir = tempfile::tempdir().unwrap();
        zone(dir.path(), "intel-rapl:0", "core", "5\n", RANGE);
        let sources = found(dir.path()).meter.unwrap().sources().to_vec();
        assert_eq!((sources.len(), sources[0].component), (1, Component::Cpu));
        zone(dir.path(), "intel-rapl:1", "psys", "5\n", RANGE);
        let sources = found(dir.path()).meter.unwrap().sources().to_vec();
        assert_eq!(
            (sources.len(), sources[0].component),
            (1, Component::Module)
        );
    }

    #[test]
    fn the_counter_is_followed_over_wraps_and_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        zone(root, "intel-rapl:0", "package-0", "262143000000\n", RANGE);
        let mut meter = found(root).meter.unwrap();
        let mut next = |uj: &str| {
            let file = root.join(FOLDER).join("intel-rapl:0/energy_uj");
            // In place: the meter keeps the file open.
            fs::write(file, uj).unwrap();
            read(&mut *meter)
        };
        assert_eq!(next("262143000000\n").values, [[Some(0.0)]]);
        let wrapped = next("171150\n").values[0][0].unwrap();
        assert!((wrapped - 0.5).abs() < 1e-9, "{wrapped}");
        let before = next("90000171150\n").values[0][0].unwrap();
        let restarted = next("7\n");
        assert!(restarted.values.is_empty());
        assert!(restarted.missed[0].1.contains("started again"));
        let after = next("2000007\n").values[0][0].unwrap();
        assert!((after - before - 2.0).abs() < 1e-6);
        assert!(
            next("not a number\n").missed[0]
                .1
                .contains("could not be read")
        );
        assert!(next("").missed[0].1.contains("could not be read"));
    }

    #[test]
    fn a_counter_without_its_range_is_read_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        zone(dir.path(), "intel-rapl:0", "package-0", "100\n", None);
        let mut meter = found(dir.path()).meter.unwrap();
        assert!(
            meter.sources()[0]
                .method
                .contains("does not tell its range")
        );
        assert_eq!(read(&mut *meter).values, [[Some(0.0)]]);
    }

    #[test]
    fn the_rhythm_is_at_most_ten_a_second_but_an_edge_is_always_read() {
        let dir = tempfile::tempdir().unwrap();
        zone(dir.path(), "intel-rapl:0", "package-0", "100\n", RANGE);
        let mut meter = found(dir.path()).meter.unwrap();
        let mut rows = Rows::default();
        for _ in 0..5 {
            meter.read(&mut rows);
        }
        assert_eq!(rows.values.len(), 1);
        std::thread::sleep(std::time::Duration::from_millis(2));
        meter.read_edges(&mut rows);
        assert_eq!(rows.values.len(), 2);
    }

    #[test]
    fn what_is_missing_or_denied_is_absent_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let none = found(dir.path());
        assert!(none.meter.is_none());
        assert!(none.absent[0].reason.contains("no RAPL domain"));

        let path = "/sys/class/powercap/intel-rapl:0/energy_uj";
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(why(path, &denied).contains("permission to read /sys"));

        zone(dir.path(), "intel-rapl:0", "package-0", "100\n", RANGE);
        let file = dir.path().join(FOLDER).join("intel-rapl:0/energy_uj");
        super::super::testing::deny(&file, || {
            let found = found(dir.path());
            assert!(found.meter.is_none());
            let absent = &found.absent[0];
            assert!(absent.reason.contains("only root may"), "{absent:?}");
            assert!(absent.remedy.contains("chmod"), "{absent:?}");
        });
    }
}
