//! Every device once, from the readings of all processes that it served.
//!
//! Two processes on one GPU read the same sensor. At any moment the readings of one of them
//! are taken, of the one whose cycle goes on longest, so that the series of a device is
//! pieced together and never added up. What both read at the same time is compared.

use std::collections::{BTreeMap, HashMap};

use super::part::Part;
use super::types::Device;
use crate::analysis::{ColumnSamples, EnergyCurve, SourceSamples, Window, union};
use crate::meter::{Component, Source};

/// The sources of all parts, each device's once.
pub struct Merged {
    pub sources: Vec<Source>,
    pub samples: BTreeMap<String, SourceSamples>,
    /// When at least one of its processes was in a cycle.
    pub read_in: BTreeMap<String, Vec<Window>>,
    pub devices: Vec<Device>,
    /// By part, what its sources are called here.
    pub names: Vec<BTreeMap<String, String>>,
}

/// One source of one part.
struct Reader<'a> {
    part: usize,
    source: &'a Source,
    samples: &'a SourceSamples,
    windows: Vec<Window>,
}

/// What makes two sources the same: the device, and what part of the machine it is. What is
/// read of it is not: one process may read a counter, another only the power.
type Key = (String, Component);

const POWER: &str = "sample.power";
const ENERGY: &str = "sample.energy";

fn key(part: &Part, source: &Source) -> Key {
    let device = source.device.as_deref().unwrap_or(&source.id);
    // A GPU's UUID is one in the world; a path, and a model of a processor, one on its machine.
    let global = device.starts_with("GPU-") || device.starts_with("MIG-");
    if global {
        return (device.to_owned(), source.component);
    }
    let boot = part.boot().or(part.host()).map(str::to_owned);
    let place = boot.unwrap_or_else(|| part.folder.display().to_string());
    (
        format!("{place}/{device}/{}", source.name),
        source.component,
    )
}

/// How good what is read is for an energy: a counter misses nothing between two readings.
fn richness(samples: &SourceSamples) -> u8 {
    let has = |metric: &str| samples.column(metric).is_some();
    2 * u8::from(has(ENERGY)) + u8::from(has(POWER))
}

/// Readers of unequal columns as readers of equal ones. Where only some read a counter, the
/// energy of the others is the integral of their power; what only some have besides is left out.
fn alike(readers: &[Reader<'_>]) -> Option<Vec<SourceSamples>> {
    let all = |metric: &str| {
        let mut has = readers.iter().map(|r| r.samples.column(metric).is_some());
        has.clone().all(|has| has) || !has.any(|has| has)
    };
    if all(ENERGY) && all(POWER) {
        return None;
    }
    let common = |column: &ColumnSamples| match column.metric.as_str() {
        POWER => all(POWER),
        _ => true,
    };
    let one = |reader: &Reader<'_>| {
        let mut samples = reader.samples.clone();
        let template = samples.column(POWER).cloned();
        if samples.column(ENERGY).is_none()
            && !all(ENERGY)
            && let (Some(curve), Some(column)) = (curve(&samples), template)
        {
            let values = samples.t_ns.iter().map(|t| curve.at(*t)).collect();
            samples.columns.push(ColumnSamples {
                metric: ENERGY.into(),
                values,
                ..column
            });
        }
        samples.columns.retain(common);
        samples
    };
    Some(readers.iter().map(one).collect())
}

pub fn merge(parts: &[Part]) -> Merged {
    let mut order: Vec<Key> = Vec::new();
    let mut groups: HashMap<Key, Vec<Reader<'_>>> = HashMap::new();
    for (index, part) in parts.iter().enumerate() {
        for source in &part.data.sources {
            // The state of a process is no part of what they have in common.
            let Some(samples) = part
                .data
                .samples
                .get(&source.id)
                .filter(|_| source.component != Component::State)
            else {
                continue;
            };
            let key = key(part, source);
            let readers = groups.entry(key.clone()).or_default();
            if readers.is_empty() {
                order.push(key);
            }
            let reader = Reader {
                part: index,
                source,
                samples,
                windows: part.windows(),
            };
            // Of two sources of one part that read the same, the one that reads more.
            match readers.iter_mut().find(|reader| reader.part == index) {
                Some(known) if richness(samples) > richness(known.samples) => *known = reader,
                Some(_) => {}
                None => readers.push(reader),
            }
        }
    }
    let mut merged = Merged {
        sources: Vec::new(),
        samples: BTreeMap::new(),
        read_in: BTreeMap::new(),
        devices: Vec::new(),
        names: vec![BTreeMap::new(); parts.len()],
    };
    for key in order {
        if let Some(readers) = groups.get(&key) {
            one(parts, readers, &mut merged);
        }
    }
    merged
}

fn one(parts: &[Part], readers: &[Reader<'_>], merged: &mut Merged) {
    // The first of those that read most.
    let richest = readers
        .iter()
        .rev()
        .max_by_key(|reader| richness(reader.samples));
    let Some(first) = richest else { return };
    let alike = alike(readers);
    let taken = |id: &str| merged.sources.iter().any(|s| s.id == id);
    let own = &first.source.id;
    let id = std::iter::once(own.clone())
        .chain((2..).map(|n| format!("{own}-{n}")))
        .find(|id| !taken(id))
        .unwrap_or_else(|| own.clone());
    let read_in = union(
        readers
            .iter()
            .flat_map(|r| r.windows.iter().copied())
            .collect(),
    );
    let mut source = first.source.clone();
    source.id.clone_from(&id);
    for reader in readers {
        if let Some(names) = merged.names.get_mut(reader.part) {
            names.insert(reader.source.id.clone(), id.clone());
        }
    }
    let part = parts.get(first.part);
    merged.devices.push(Device {
        id: id.clone(),
        name: source.name.clone(),
        device: source.device.clone(),
        host: part.and_then(Part::host).map(str::to_owned),
        component: source.component,
        runs: readers
            .iter()
            .filter_map(|r| parts.get(r.part))
            .map(|p| p.id().to_owned())
            .collect(),
        seconds: read_in.iter().map(Window::seconds).sum(),
        difference: difference(readers),
    });
    let samples = match readers {
        [alone] => alone.samples.clone(),
        several => {
            let pieces = cover(several);
            match &alike {
                None => stitch(several, &pieces),
                Some(alike) => {
                    let equal = several.iter().zip(alike).map(|(reader, samples)| Reader {
                        samples,
                        windows: reader.windows.clone(),
                        ..*reader
                    });
                    stitch(&equal.collect::<Vec<_>>(), &pieces)
                }
            }
        }
    };
    // What is told of the source is what is there.
    source.columns.retain(|column| {
        !matches!(column.metric.as_str(), POWER | ENERGY)
            || samples.column(&column.metric).is_some()
    });
    merged.samples.insert(id.clone(), samples);
    merged.read_in.insert(id, read_in);
    merged.sources.push(source);
}

/// A stretch that is taken from one reader.
struct Piece {
    window: Window,
    reader: usize,
}

/// The union of all windows, cut so that each piece lies in a cycle of one reader: of those
/// that are in a cycle, the one that reads most, and of these the one that stays in it longest.
fn cover(readers: &[Reader<'_>]) -> Vec<Piece> {
    let all: Vec<(Window, usize)> = readers
        .iter()
        .enumerate()
        .flat_map(|(n, r)| r.windows.iter().map(move |w| (*w, n)))
        .collect();
    let mut pieces = Vec::new();
    for stretch in union(all.iter().map(|(w, _)| *w).collect()) {
        let mut at = stretch.start_ns;
        while at < stretch.end_ns {
            let going_on = all
                .iter()
                .filter(|(w, _)| w.start_ns <= at && at < w.end_ns);
            let Some((window, reader)) = going_on.max_by_key(|(w, n)| {
                let richness = readers.get(*n).map_or(0, |r| richness(r.samples));
                (richness, w.end_ns)
            }) else {
                break;
            };
            pieces.push(Piece {
                window: Window::new(at, window.end_ns),
                reader: *reader,
            });
            at = window.end_ns;
        }
    }
    pieces
}

/// One series from pieces of several. A cumulative counter starts anywhere: it goes on where
/// the piece before ended.
fn stitch(readers: &[Reader<'_>], pieces: &[Piece]) -> SourceSamples {
    let mut stitched = SourceSamples::default();
    let mut lifts: BTreeMap<String, f64> = BTreeMap::new();
    for (n, piece) in pieces.iter().enumerate() {
        let Some(reader) = readers.get(piece.reader) else {
            continue;
        };
        let before = n.checked_sub(1).and_then(|n| pieces.get(n));
        let joint = before.filter(|b| b.window.end_ns == piece.window.start_ns);
        let goes_on = pieces
            .get(n + 1)
            .is_some_and(|next| next.window.start_ns == piece.window.end_ns);
        let rows = rows(reader.samples, piece.window, joint.is_some(), goes_on);
        for column in &reader.samples.columns {
            if column.metric != "sample.energy" {
                continue;
            }
            let points = |r: &Reader<'_>| {
                let (t, joules) = r.samples.points("sample.energy");
                EnergyCurve::from_counter(t, joules)
            };
            let here = points(reader);
            let lift = match (joint, &here) {
                (Some(before), Some(here)) => {
                    let there = readers.get(before.reader).and_then(points);
                    let at = piece.window.start_ns;
                    let known = lifts.get("sample.energy").copied().unwrap_or(0.0);
                    there.map(|there| known + there.at(at) - here.at(at))
                }
                _ => {
                    // Nobody counts what lies between: it goes on from the last value.
                    let last = stitched.column("sample.energy");
                    let last =
                        last.and_then(|c| c.values.iter().rev().copied().find(|v| v.is_finite()));
                    let values = column.values.get(rows.clone()).unwrap_or_default();
                    let first = values.iter().copied().find(|v| v.is_finite());
                    last.zip(first).map(|(last, first)| last - first)
                }
            };
            lifts.insert(column.metric.clone(), lift.unwrap_or(0.0));
        }
        append(&mut stitched, reader.samples, rows, &lifts);
    }
    stitched
}

/// The rows of a piece. Where no other goes on with it, the nearest row beyond either edge
/// belongs to it, as the edge's value lies between the two.
fn rows(
    samples: &SourceSamples,
    window: Window,
    joins: bool,
    goes_on: bool,
) -> std::ops::Range<usize> {
    let inside = samples.rows(window.start_ns, window.end_ns);
    let from = if joins {
        inside.start
    } else {
        inside.start.saturating_sub(1)
    };
    let to = if goes_on {
        // The next piece has the row at the joint.
        samples.t_ns.partition_point(|t| *t < window.end_ns)
    } else {
        (inside.end + 1).min(samples.t_ns.len())
    };
    from..to.max(from)
}

fn append(
    into: &mut SourceSamples,
    from: &SourceSamples,
    rows: std::ops::Range<usize>,
    lifts: &BTreeMap<String, f64>,
) {
    let last = into.t_ns.last().copied();
    let times = from.t_ns.get(rows.clone()).unwrap_or_default();
    // Edges of neighbours may lie across each other: time never goes back.
    let skip = times.partition_point(|t| last.is_some_and(|last| *t <= last));
    let rows = (rows.start + skip)..rows.end;
    let before = into.t_ns.len();
    into.t_ns
        .extend(from.t_ns.get(rows.clone()).unwrap_or_default());
    for column in &from.columns {
        let same =
            |c: &ColumnSamples| c.metric == column.metric && c.attributes == column.attributes;
        let index = into.columns.iter().position(same).unwrap_or_else(|| {
            into.columns.push(ColumnSamples {
                values: vec![f64::NAN; before],
                ..column.clone()
            });
            into.columns.len() - 1
        });
        let lift = lifts.get(&column.metric).copied().unwrap_or(0.0);
        if let Some(kept) = into.columns.get_mut(index) {
            let values = column.values.get(rows.clone()).unwrap_or_default();
            kept.values.extend(values.iter().map(|v| v + lift));
        }
    }
    for column in &mut into.columns {
        column.values.resize(into.t_ns.len(), f64::NAN);
    }
}

/// The largest difference between the energies that two readers found in the time that both
/// were in a cycle, as a share of the larger.
fn difference(readers: &[Reader<'_>]) -> Option<f64> {
    let mut largest: Option<f64> = None;
    for (n, a) in readers.iter().enumerate() {
        for b in readers.iter().skip(n + 1) {
            let common: Vec<Window> = a
                .windows
                .iter()
                .flat_map(|w| b.windows.iter().filter_map(|v| w.clip(v)))
                .collect();
            let energy = |reader: &Reader<'_>| {
                let curve = curve(reader.samples)?;
                let covered = common.iter().filter(|w| curve.covers(**w).is_ok());
                Some(covered.map(|w| curve.between(*w)).sum::<f64>())
            };
            let Some((x, y)) = energy(a).zip(energy(b)) else {
                continue;
            };
            let larger = x.abs().max(y.abs());
            if larger > 0.0 {
                let share = (x - y).abs() / larger;
                largest = Some(largest.map_or(share, |l| l.max(share)));
            }
        }
    }
    largest
}

fn curve(samples: &SourceSamples) -> Option<EnergyCurve> {
    let (t, watts) = samples.points("sample.power");
    EnergyCurve::from_power(t, watts).or_else(|| {
        let (t, joules) = samples.points("sample.energy");
        EnergyCurve::from_counter(t, joules)
    })
}
