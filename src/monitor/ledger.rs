//! From present readings to what is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lem_record::{Attributes, Board, How, Kind, Live, Present, catalogue};

const POWER: &str = "sample.power";
const ENERGY: &str = "sample.energy";
/// Set where energy is no counter of the sensor's, but the integral of its power as it was read.
const FROM: &str = "lem.energy.from";

/// A reading that is older than so many intervals, and than [`OLDEST`], is not shown.
const OLD_INTERVALS: u32 = 5;
/// Some readings come every five seconds only.
const OLDEST: Duration = Duration::from_secs(15);
/// Over a longer time without a reading power is not integrated.
const GAP_INTERVALS: u32 = 3;

type Key = (String, Attributes);

/// Keeps what must not be forgotten between two readings.
#[derive(Debug)]
pub struct Ledger {
    board: Arc<Board>,
    old_ns: u64,
    gap_ns: u64,
    shown: BTreeMap<Key, Shown>,
    /// Counters by the sensors' own, and such as are made of power.
    counters: BTreeMap<Key, Counter>,
    made: BTreeMap<Key, Made>,
    /// The devices whose power or energy is read; a device that is lost stays.
    devices: BTreeSet<String>,
}

#[derive(Debug)]
struct Shown {
    live: Arc<Live>,
    t_ns: u64,
    on: bool,
}

/// A counter that goes on where the sensor's begins anew.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    total: f64,
    last: Option<f64>,
}

impl Counter {
    fn advance(&mut self, raw: f64) -> f64 {
        // One that fell was reset: what it counted since is not known.
        if let Some(last) = self.last
            && raw >= last
        {
            self.total += raw - last;
        }
        self.last = Some(raw);
        self.total
    }
}

/// The other side of a sensor that tells only power, or only energy.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    /// Of the last reading that was taken: its time and value.
    last: Option<(u64, f64)>,
    total: f64,
}

impl Ledger {
    /// `interval` is the time between two readings.
    pub fn new(board: Arc<Board>, interval: Duration) -> Self {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            board,
            old_ns: ns(OLDEST.max(interval * OLD_INTERVALS)),
            gap_ns: ns(interval * GAP_INTERVALS),
            shown: BTreeMap::new(),
            counters: BTreeMap::new(),
            made: BTreeMap::new(),
            devices: BTreeSet::new(),
        }
    }

    /// Takes in what the sensors say at this time.
    pub fn take(&mut self, now: &[Present], now_ns: u64) {
        let fresh = |p: &&Present| now_ns.saturating_sub(p.t_ns) <= self.old_ns;
        let now: Vec<&Present> = now.iter().filter(fresh).collect();
        let ids = |metric: &str| -> BTreeSet<&str> {
            let of = now.iter().filter(|p| p.metric == metric);
            of.filter_map(|p| p.attributes.get("hw.id"))
                .map(String::as_str)
                .collect()
        };
        let (powered, counting) = (ids(POWER), ids(ENERGY));
        for present in &now {
            let id = present.attributes.get("hw.id").map_or("", String::as_str);
            let key = (present.metric.clone(), present.attributes.clone());
            let counts = catalogue::find(&present.metric).is_some_and(|d| d.kind == Kind::Counter);
            let value = if counts {
                self.counters.entry(key).or_default().advance(present.value)
            } else {
                present.value
            };
            self.show(
                &present.metric,
                &present.attributes,
                present.how,
                value,
                present.t_ns,
            );
            match present.metric.as_str() {
                POWER if !counting.contains(id) => self.integrate(present),
                ENERGY if !powered.contains(id) => self.differentiate(present),
                _ => {}
            }
        }
        self.devices
            .extend(powered.union(&counting).map(|id| (*id).to_owned()));
        for shown in self.shown.values_mut() {
            if shown.on && now_ns.saturating_sub(shown.t_ns) > self.old_ns {
                shown.live.clear();
                shown.on = false;
            }
        }
    }

    /// Energy from power: the trapezoid, and nothing over a gap.
    fn integrate(&mut self, power: &Present) {
        let mut attributes = power.attributes.clone();
        attributes.insert(FROM.to_owned(), "power".to_owned());
        let key = (ENERGY.to_owned(), attributes.clone());
        let made = self.made.entry(key).or_default();
        if let Some((t_ns, watts)) = made.last {
            let passed = power.t_ns.saturating_sub(t_ns);
            if passed == 0 {
                return;
            }
            if passed <= self.gap_ns {
                made.total += 0.5 * (watts + power.value) * passed as f64 * 1e-9;
            }
        }
        made.last = Some((power.t_ns, power.value));
        let total = made.total;
        self.show(ENERGY, &attributes, power.how, total, power.t_ns);
    }

    /// Mean power since the reading before, from a counter.
    fn differentiate(&mut self, energy: &Present) {
        let key = (POWER.to_owned(), energy.attributes.clone());
        let made = self.made.entry(key).or_default();
        let before = made.last.filter(|(t_ns, joules)| {
            let passed = energy.t_ns.saturating_sub(*t_ns);
            passed > 0 && passed <= self.gap_ns && energy.value >= *joules
        });
        if made.last.is_some_and(|(t_ns, _)| t_ns == energy.t_ns) {
            return;
        }
        made.last = Some((energy.t_ns, energy.value));
        if let Some((t_ns, joules)) = before {
            let watts = (energy.value - joules) / ((energy.t_ns - t_ns) as f64 * 1e-9);
            self.show(POWER, &energy.attributes, energy.how, watts, energy.t_ns);
        }
    }

    fn show(&mut self, metric: &str, attributes: &Attributes, how: How, value: f64, t_ns: u64) {
        let key = (metric.to_owned(), attributes.clone());
        let board = &self.board;
        let shown = self.shown.entry(key).or_insert_with(|| Shown {
            live: board.series(metric, attributes, how),
            t_ns: 0,
            on: false,
        });
        shown.live.set(value, t_ns);
        shown.t_ns = t_ns;
        shown.on = true;
    }

    /// The sensors begin anew, or the machine slept: nothing is added up over it.
    pub fn gap(&mut self) {
        for counter in self.counters.values_mut() {
            counter.last = None;
        }
        for made in self.made.values_mut() {
            made.last = None;
        }
    }

    /// Devices that gave power or energy once and are not shown now.
    pub fn lost(&self) -> Vec<&str> {
        let on = |id: &String| {
            self.shown.iter().any(|((metric, attributes), shown)| {
                shown.on
                    && matches!(metric.as_str(), POWER | ENERGY)
                    && attributes.get("hw.id") == Some(id)
            })
        };
        let lost = self.devices.iter().filter(|id| !on(id));
        lost.map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn present(metric: &str, id: &str, value: f64, t_ns: u64) -> Present {
        Present {
            metric: metric.into(),
            attributes: Attributes::from([("hw.id".into(), id.into())]),
            how: How::Measured,
            value,
            t_ns,
        }
    }

    fn ledger() -> (Arc<Board>, Ledger) {
        let board = Arc::<Board>::default();
        let ledger = Ledger::new(Arc::clone(&board), Duration::from_secs(1));
        (board, ledger)
    }

    fn value(board: &Board, metric: &str) -> Option<(f64, How)> {
        let now = board.now();
        now.iter()
            .find(|p| p.metric == metric)
            .map(|p| (p.value, p.how))
    }

    #[test]
    fn power_alone_is_integrated_and_labelled_and_a_gap_is_not() {
        let (board, mut ledger) = ledger();
        for (t, watts) in [(1, 10.0), (2, 20.0), (3, 20.0), (60, 100.0), (61, 100.0)] {
            ledger.take(&[present(POWER, "m0", watts, t * S)], t * S);
        }
        // 15 + 20, then 57 s without a reading, then 100.
        assert_eq!(value(&board, ENERGY), Some((135.0, How::Measured)));
        assert!(
            board
                .now()
                .iter()
                .any(|p| p.attributes.get(FROM).is_some_and(|f| f == "power"))
        );
        assert_eq!(value(&board, POWER), Some((100.0, How::Measured)));
    }

    #[test]
    fn the_same_reading_seen_twice_counts_once() {
        let (board, mut ledger) = ledger();
        for now in 1..5 {
            ledger.take(&[present(POWER, "m0", 10.0, S)], now * S);
        }
        ledger.take(&[present(POWER, "m0", 10.0, 2 * S)], 5 * S);
        assert_eq!(value(&board, ENERGY).unwrap().0, 10.0);
    }

    #[test]
    fn a_counter_alone_gives_power() {
        let (board, mut ledger) = ledger();
        ledger.take(&[present(ENERGY, "c0", 5.0, S)], S);
        assert_eq!(value(&board, POWER), None);
        ledger.take(&[present(ENERGY, "c0", 35.0, 2 * S)], 2 * S);
        assert_eq!(value(&board, POWER), Some((30.0, How::Measured)));
        assert_eq!(value(&board, ENERGY), Some((30.0, How::Measured)));
    }

    #[test]
    fn counters_go_on_over_resets_and_gaps() {
        let (board, mut ledger) = ledger();
        let mut read = |joules: f64, t: u64| {
            ledger.take(
                &[
                    present(ENERGY, "g", joules, t * S),
                    present(POWER, "g", 1.0, t * S),
                ],
                t * S,
            );
            if t == 4 {
                ledger.gap();
            }
        };
        for (joules, t) in [
            (100.0, 1),
            (150.0, 2),
            (10.0, 3),
            (30.0, 4),
            (9000.0, 5),
            (9001.0, 6),
        ] {
            read(joules, t);
        }
        assert_eq!(value(&board, ENERGY).unwrap().0, 50.0 + 20.0 + 1.0);
    }

    #[test]
    fn what_is_old_is_not_shown_and_its_device_is_lost() {
        let (board, mut ledger) = ledger();
        ledger.take(
            &[
                present(POWER, "gpu0", 300.0, S),
                present("sample.temperature", "gpu0", 40.0, S),
            ],
            S,
        );
        assert!(ledger.lost().is_empty());
        // The board of the sampler goes on showing what it was told last.
        let stale = [
            present(POWER, "gpu0", 300.0, S),
            present(POWER, "cpu0", 5.0, 30 * S),
        ];
        ledger.take(&stale, 30 * S);
        assert_eq!(ledger.lost(), ["gpu0"]);
        assert!(board.now().iter().all(|p| p.attributes["hw.id"] == "cpu0"));
        let back = [
            present(POWER, "gpu0", 200.0, 31 * S),
            present(POWER, "cpu0", 5.0, 31 * S),
        ];
        ledger.take(&back, 31 * S);
        assert!(ledger.lost().is_empty());
        let energy = board.now();
        let energy = energy
            .iter()
            .find(|p| p.metric == ENERGY && p.attributes["hw.id"] == "gpu0");
        assert_eq!(
            energy.unwrap().value,
            0.0,
            "nothing is known of the time between"
        );
    }

    proptest! {
        #[test]
        fn no_counter_ever_falls(raw in prop::collection::vec((0.0..1e9f64, any::<bool>()), 1..50)) {
            let (board, mut ledger) = ledger();
            let mut last = 0.0;
            for (t, (joules, gap)) in raw.into_iter().enumerate() {
                let t = t as u64 * S;
                if gap {
                    ledger.gap();
                }
                ledger.take(&[present(ENERGY, "g", joules, t)], t);
                let now = value(&board, ENERGY).unwrap().0;
                prop_assert!(now >= last);
                last = now;
            }
        }
    }
}
