//! What stands in for a sensor: processor and memory, by formula.
//!
//! The processor's source has two columns. `sample.power` is the mean since the reading
//! before. `sample.energy` is the integral of the same steps from the run's start: between
//! any two rows it is exact, where a trapezoid over the powers would cut the corners.

mod dimms;
mod formula;
mod tdp;

use lem_record::{How, Stamp};

use self::formula::{GAIN_RELATIVE, cpu_constant_w, cpu_w, memory_w};
use super::found::{Absent, Found, Ids, column};
use super::load::{LoadFile, Utilisation};
use super::{Component, Meter, SampleSink, Sensor, Source};
use crate::config::PowerModel;
use crate::environment::{CpuInfo, Root};

/// The load of a shorter time is too coarse: the kernel counts it in steps of 10 ms.
const SHORTEST_LOAD_NS: u64 = 50_000_000;
/// After a longer time without a reading, the mean power of it says nothing of now.
const LONGEST_MEAN_S: f64 = 2.0;

pub(super) struct Wanted {
    pub cpu: bool,
    pub memory: bool,
    /// Time between two readings, seconds.
    pub interval_s: f64,
}

pub(super) fn find(
    root: &Root,
    config: &PowerModel,
    wanted: &Wanted,
    load: &Result<LoadFile, String>,
    ids: &mut Ids,
) -> Found {
    let mut found = Found::default();
    let mut meter = ModelledMeter::default();
    if wanted.cpu {
        let (source, model) = cpu(root, config, wanted, load, ids);
        meter.sources.push(source);
        meter.models.push(model);
    }
    if wanted.memory {
        match dimms::count(root, config.memory_modules) {
            Ok(modules) => {
                let (source, model) = memory(&modules, ids);
                meter.sources.push(source);
                meter.models.push(model);
            }
            Err(reason) => found.absent.push(Absent::new(
                Component::Memory,
                "power of the memory",
                reason,
                "set power_model.memory_modules to the number of modules",
            )),
        }
    }
    if !meter.sources.is_empty() {
        found.meter = Some(Box::new(meter));
    }
    found
}

fn cpu(
    root: &Root,
    config: &PowerModel,
    wanted: &Wanted,
    load: &Result<LoadFile, String>,
    ids: &mut Ids,
) -> (Source, Model) {
    let info = CpuInfo::read(root).unwrap_or_default();
    let (tdp_w, told_by) = thermal_design_power(config.cpu_tdp_w, &info);
    let id = ids.next(Component::Cpu);
    let guest = match info.hypervisor {
        true => "; in a virtual machine this is the load of the guest alone",
        false => "",
    };
    let (method, model) = match load {
        Ok(load) => (
            format!(
                "CodeCarbon's model: TDP · (0.1 + 0.9 · u³), u the busy share of all processors \
                 (/proc/stat){guest}; TDP {tdp_w:.1} W: {told_by}"
            ),
            Model::Load {
                tdp_w,
                load: load.clone(),
                utilisation: Utilisation::default(),
                state: LoadState::default(),
            },
        ),
        Err(reason) => (
            format!(
                "CodeCarbon's constant: 0.5 · TDP, for the load is not known ({reason}); \
                 TDP {tdp_w:.1} W: {told_by}"
            ),
            Model::Constant(cpu_constant_w(tdp_w)),
        ),
    };
    let mut columns = vec![column("sample.power", &id, Component::Cpu, &[])];
    let mut sensor = Sensor {
        gain_relative: Some(GAIN_RELATIVE),
        ..Sensor::default()
    };
    if matches!(model, Model::Load { .. }) {
        columns.push(column("sample.energy", &id, Component::Cpu, &[]));
        sensor.window_s = Some(wanted.interval_s);
        sensor.update_s = Some(wanted.interval_s);
        // The mean of an interval is that of its middle.
        sensor.lag_s = Some(wanted.interval_s / 2.0);
    }
    let source = Source {
        columns,
        id,
        component: Component::Cpu,
        name: info.model.unwrap_or_else(|| "processors".into()),
        meter: "modelled".into(),
        how: How::Modelled,
        method,
        device: None,
        sensor,
    };
    (source, model)
}

/// Watts of the processors together, and who says so.
fn thermal_design_power(configured: Option<f64>, info: &CpuInfo) -> (f64, String) {
    if let Some(watts) = configured {
        return (watts, "the configuration (power_model.cpu_tdp_w)".into());
    }
    let sockets = info.sockets.unwrap_or(1);
    let name = info.model.as_deref().unwrap_or("unnamed");
    let Some(known) = tdp::find(name) else {
        let watts = tdp::UNKNOWN_W * f64::from(sockets);
        let told_by = format!(
            "{} W a socket for the processor \"{name}\", which is not in the table",
            tdp::UNKNOWN_W
        );
        return (watts, told_by);
    };
    let all = known.watts * f64::from(sockets);
    // Two threads a core: so many the guest would see, had it the whole processors.
    let whole = f64::from(known.cores) * 2.0 * f64::from(sockets);
    let part = f64::from(info.threads) / whole;
    if info.hypervisor && info.threads > 0 && part < 1.0 {
        let told_by = format!(
            "of the manufacturer's {} W for \"{name}\", the share of {} of its {whole} threads \
             that this virtual machine has",
            all, info.threads
        );
        return (all * part, told_by);
    }
    (
        all,
        format!("the manufacturer's, for {sockets} × \"{name}\""),
    )
}

fn memory(modules: &dimms::Modules, ids: &mut Ids) -> (Source, Model) {
    let watts = memory_w(modules.count);
    let id = ids.next(Component::Memory);
    let source = Source {
        columns: vec![column("sample.power", &id, Component::Memory, &[])],
        id,
        component: Component::Memory,
        name: format!("{} memory modules", modules.count),
        meter: "modelled".into(),
        how: How::Modelled,
        method: format!(
            "CodeCarbon's model by modules (5 W each up to 4, 4.5 to 8, 4 to 16, then 3.5, at \
             least 10 W): {watts} W for {}; their number is from {}",
            modules.count, modules.told_by
        ),
        device: None,
        sensor: Sensor {
            gain_relative: Some(GAIN_RELATIVE),
            ..Sensor::default()
        },
    };
    (source, Model::Constant(watts))
}

#[derive(Debug, Default)]
struct ModelledMeter {
    sources: Vec<Source>,
    models: Vec<Model>,
}

#[derive(Debug)]
enum Model {
    Constant(f64),
    Load {
        tdp_w: f64,
        load: LoadFile,
        utilisation: Utilisation,
        state: LoadState,
    },
}

#[derive(Debug, Default)]
struct LoadState {
    /// The last row.
    last_ns: Option<u64>,
    /// When the load was last taken.
    load_ns: Option<u64>,
    power_w: Option<f64>,
    energy_j: f64,
}

impl Meter for ModelledMeter {
    fn name(&self) -> &'static str {
        "modelled"
    }

    fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn read(&mut self, out: &mut dyn SampleSink) {
        for (index, model) in self.models.iter_mut().enumerate() {
            match model {
                Model::Constant(watts) => out.row(index, Stamp::mono_ns(), &[Some(*watts)]),
                Model::Load {
                    tdp_w,
                    load,
                    utilisation,
                    state,
                } => {
                    let now = Stamp::mono_ns();
                    let utilised = match state.load_is_due(now) {
                        true => match load.read() {
                            Ok(jiffies) => utilisation.advance(jiffies),
                            Err(why) => {
                                out.missed(index, &why);
                                continue;
                            }
                        },
                        false => None,
                    };
                    let power = utilised.map(|u| cpu_w(*tdp_w, u));
                    let [power, energy] = state.advance(now, power);
                    out.row(index, now, &[power, energy]);
                }
            }
        }
    }
}

impl LoadState {
    fn load_is_due(&mut self, now_ns: u64) -> bool {
        let due = self
            .load_ns
            .is_none_or(|t| now_ns.saturating_sub(t) >= SHORTEST_LOAD_NS);
        if due {
            self.load_ns = Some(now_ns);
        }
        due
    }

    /// Power and energy of the row now; `power` is new, or the one before still holds.
    fn advance(&mut self, now_ns: u64, power: Option<f64>) -> [Option<f64>; 2] {
        self.power_w = power.or(self.power_w);
        let last = self.last_ns.replace(now_ns);
        let elapsed_s = last.map_or(0.0, |t| now_ns.saturating_sub(t) as f64 * 1e-9);
        if let Some(watts) = self.power_w {
            self.energy_j += watts * elapsed_s;
        }
        let told = self.power_w.filter(|_| elapsed_s <= LONGEST_MEAN_S);
        [told, Some(self.energy_j)]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::testing::Rows;
    use super::*;

    fn machine(root: &Path, model: &str, threads: u32, hypervisor: bool, stat: &str) {
        fs::create_dir_all(root.join("proc")).unwrap();
        let flags = if hypervisor { "fpu hypervisor" } else { "fpu" };
        let cpus: String = (0..threads)
            .map(|i| {
                format!(
                    "processor\t: {i}\nmodel name\t: {model}\nphysical id\t: 0\n\
                     core id\t\t: {i}\nflags\t\t: {flags}\n\n"
                )
            })
            .collect();
        fs::write(root.join("proc/cpuinfo"), cpus).unwrap();
        fs::write(root.join("proc/stat"), stat).unwrap();
        fs::write(root.join("proc/meminfo"), "MemTotal: 16000000 kB\n").unwrap();
    }

    fn found(root: &Root, config: &PowerModel) -> Found {
        let wanted = Wanted {
            cpu: true,
            memory: true,
            interval_s: 0.1,
        };
        find(
            root,
            config,
            &wanted,
            &LoadFile::open(root),
            &mut Ids::default(),
        )
    }

    #[test]
    fn the_load_of_the_interval_makes_the_power_and_the_energy_its_integral() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        machine(
            dir.path(),
            "AMD EPYC 7763 64-Core Processor",
            128,
            false,
            "cpu 0 0 0 1000 0\n",
        );
        let mut found = found(&root, &PowerModel::default());
        let meter = found.meter.as_mut().unwrap();
        let cpu = &meter.sources()[0];
        assert_eq!((cpu.id.as_str(), cpu.how), ("cpu0", How::Modelled));
        assert!(
            cpu.method.contains("280.0 W") && !cpu.method.contains("virtual"),
            "{}",
            cpu.method
        );
        assert_eq!(cpu.sensor.gain_relative, Some(0.5));

        let mut rows = Rows::default();
        meter.read(&mut rows);
        assert_eq!(
            rows.values[0],
            [None, Some(0.0)],
            "nothing is known of the time before"
        );
        assert_eq!(rows.values[1], [Some(10.0)], "two modules of 8 GiB");
        std::thread::sleep(std::time::Duration::from_millis(60));
        // Half busy since.
        fs::write(dir.path().join("proc/stat"), "cpu 500 0 0 1500 0\n").unwrap();
        meter.read(&mut rows);
        let half = 280.0 * (0.1 + 0.9 * 0.125);
        let row = rows.values[2].clone();
        assert!((row[0].unwrap() - half).abs() < 1e-9, "{row:?}");
        let elapsed = (rows.t_ns[2] - rows.t_ns[0]) as f64 * 1e-9;
        assert!((row[1].unwrap() - half * elapsed).abs() < 1e-9, "{row:?}");
        // At once again: the load is held, and the energy goes on.
        meter.read(&mut rows);
        let next = &rows.values[4];
        assert_eq!(next[0], row[0]);
        assert!(next[1] > row[1]);
    }

    #[test]
    fn a_virtual_machine_has_its_share_and_says_whose_load_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        machine(
            dir.path(),
            "Intel(R) Xeon(R) Platinum 8480+",
            16,
            true,
            "cpu 0 0 0 10 0\n",
        );
        let found = found(&root, &PowerModel::default());
        let method = &found.meter.as_ref().unwrap().sources()[0].method;
        assert!(
            method.contains("load of the guest") && method.contains("TDP 50.0 W"),
            "{method}"
        );
    }

    #[test]
    fn the_configuration_comes_first_and_the_unknown_last() {
        let mut info = CpuInfo {
            model: Some("AMD EPYC".into()),
            sockets: Some(2),
            ..CpuInfo::default()
        };
        assert_eq!(thermal_design_power(None, &info).0, 170.0);
        info.model = Some("AMD EPYC 7763 64-Core Processor".into());
        assert_eq!(thermal_design_power(None, &info).0, 560.0);
        let (watts, by) = thermal_design_power(Some(65.0), &info);
        assert_eq!(watts, 65.0);
        assert!(by.contains("cpu_tdp_w"));
    }

    #[test]
    fn without_the_load_half_of_the_power_is_assumed_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        machine(dir.path(), "AMD EPYC", 4, false, "");
        let mut found = found(&root, &PowerModel::default());
        let meter = found.meter.as_mut().unwrap();
        assert!(meter.sources()[0].method.contains("0.5 · TDP"));
        assert_eq!(meter.sources()[0].columns.len(), 1);
        let mut rows = Rows::default();
        meter.read(&mut rows);
        assert_eq!(rows.values[0], [Some(42.5)]);
    }

    #[test]
    fn after_a_pause_no_power_is_told_but_the_energy_goes_on() {
        let mut state = LoadState::default();
        let second = 1_000_000_000;
        state.advance(second, Some(10.0));
        assert_eq!(
            state.advance(2 * second, Some(20.0)),
            [Some(20.0), Some(20.0)]
        );
        assert_eq!(state.advance(12 * second, Some(10.0)), [None, Some(120.0)]);
    }

    proptest! {
        #[test]
        fn energy_is_the_sum_of_the_steps_and_never_falls(
            steps in prop::collection::vec((1u64..5_000_000_000, prop::option::of(0.0f64..500.0)), 1..50),
        ) {
            let mut state = LoadState::default();
            state.advance(0, Some(100.0));
            let (mut t, mut watts, mut truth, mut last) = (0u64, 100.0, 0.0, 0.0);
            for (step, power) in steps {
                t += step;
                watts = power.unwrap_or(watts);
                truth += watts * step as f64 * 1e-9;
                let energy = state.advance(t, power)[1].unwrap();
                prop_assert!((energy - truth).abs() < 1e-6 * truth.max(1.0));
                prop_assert!(energy >= last);
                last = energy;
            }
        }
    }
}
