//! Power and energy sensors of the kernel's hwmon class, for the drivers in the table.

mod table;

use std::io;

use lem_record::{How, Stamp};

use self::table::{DRIVERS, Driver, Quantity, matches};
use super::counter::Counter;
use super::file::OpenFile;
use super::found::{Absent, Found, Ids, column};
use super::{Component, Meter, SampleSink, Sensor, Source};
use crate::environment::{Root, why};

const FOLDER: &str = "sys/class/hwmon";

/// Sensors of the components in `measured` are left alone: another meter has them already.
pub(super) fn find(root: &Root, measured: &[Component], ids: &mut Ids) -> Found {
    let mut found = Found::default();
    let mut meter = HwmonMeter::default();
    for chip in root.names(FOLDER) {
        let folder = format!("{FOLDER}/{chip}");
        let Ok(name) = root.read(format!("{folder}/name")) else {
            continue;
        };
        let Some(driver) = DRIVERS.iter().find(|driver| driver.name == name) else {
            continue;
        };
        let mut sensors = sensors(root, &folder, driver);
        if let (Some((file, meaning)), Some(sensor)) = (driver.needs, sensors.first())
            && !root.exists(format!("{folder}/{file}"))
        {
            found.absent.push(Absent::new(
                sensor.component,
                format!("power of {name} ({chip})"),
                format!("there is no {file} beside it: {meaning}"),
                "none is needed: the processor is measured or modelled as a whole",
            ));
            continue;
        }
        without_totals(&mut sensors);
        sensors.retain(|sensor| !measured.contains(&sensor.component));
        for sensor in sensors {
            match sensor.open(root, &folder, driver, ids) {
                Ok((source, reader)) => {
                    meter.sources.push(source);
                    meter.readers.push(reader);
                }
                Err(absent) => found.absent.push(absent),
            }
        }
    }
    if !meter.sources.is_empty() {
        found.meter = Some(Box::new(meter));
    }
    found
}

struct SensorFile {
    component: Component,
    label: String,
    /// Names in the chip's folder.
    files: Vec<String>,
}

fn sensors(root: &Root, folder: &str, driver: &Driver) -> Vec<SensorFile> {
    let names = root.names(folder);
    let mut found: Vec<(usize, SensorFile)> = Vec::new();
    for name in &names {
        let (files, label_files) = match driver.quantity {
            Quantity::Power => {
                let Some(n) = number(name, "power", &["_input", "_average"]) else {
                    continue;
                };
                // Where both are there, the reading of now is preferred.
                let input = format!("power{n}_input");
                if *name != input && names.contains(&input) {
                    continue;
                }
                let labels = [
                    format!("power{n}_label"),
                    format!("device/power{n}_oem_info"),
                ];
                (vec![name.clone()], labels.to_vec())
            }
            Quantity::Energy => {
                let Some(n) = number(name, "energy", &["_input"]) else {
                    continue;
                };
                (vec![name.clone()], vec![format!("energy{n}_label")])
            }
            Quantity::VoltsTimesAmps => {
                let Some(n) = number(name, "curr", &["_input"]) else {
                    continue;
                };
                let volts = format!("in{n}_input");
                (vec![volts, name.clone()], vec![format!("in{n}_label")])
            }
        };
        let label = label_files
            .iter()
            .find_map(|file| root.read(format!("{folder}/{file}")).ok())
            .unwrap_or_default();
        let meant = driver.labels.iter().enumerate();
        if let Some((rank, (_, component))) =
            meant.into_iter().find(|(_, (p, _))| matches(p, &label))
        {
            found.push((
                rank,
                SensorFile {
                    component: *component,
                    label,
                    files,
                },
            ));
        }
    }
    if driver.first_only {
        found.sort_by_key(|(rank, _)| *rank);
        found.truncate(1);
    }
    found.into_iter().map(|(_, sensor)| sensor).collect()
}

/// `3` of `power3_input`.
fn number(name: &str, prefix: &str, suffixes: &[&str]) -> Option<u32> {
    let rest = name.strip_prefix(prefix)?;
    let digits = suffixes.iter().find_map(|s| rest.strip_suffix(s))?;
    digits.parse().ok()
}

/// The input of a board contains its rails: it stands only where no rail is a component.
fn without_totals(sensors: &mut Vec<SensorFile>) {
    if sensors.iter().any(|s| s.component != Component::Module) {
        sensors.retain(|s| s.component != Component::Module);
    }
}

impl SensorFile {
    fn open(
        &self,
        root: &Root,
        folder: &str,
        driver: &Driver,
        ids: &mut Ids,
    ) -> Result<(Source, Reader), Absent> {
        let label = match self.label.as_str() {
            "" => driver.name.to_owned(),
            label => format!("{} {label}", driver.name),
        };
        let open = |file: &String| {
            let file = format!("{folder}/{file}");
            let path = root.shown(&file);
            OpenFile::open(&root.path(&file)).map_err(|error| {
                let remedy = match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        format!("let this user read it: `sudo chmod a+r {path}`, or a udev rule")
                    }
                    _ => "look at the kernel's log; the device may be asleep or gone".to_owned(),
                };
                Absent::new(
                    self.component,
                    format!("power of {label}"),
                    why(&path, &error),
                    remedy,
                )
            })
        };
        let files: Vec<OpenFile> = self.files.iter().map(open).collect::<Result<_, _>>()?;
        let metric = match driver.quantity {
            Quantity::Energy => "sample.energy",
            Quantity::Power | Quantity::VoltsTimesAmps => "sample.power",
        };
        let id = ids.next(self.component);
        let source = Source {
            columns: vec![column(metric, &id, self.component, &[])],
            id,
            component: self.component,
            name: label,
            meter: "hwmon".into(),
            how: How::Measured,
            method: format!(
                "hwmon {} {}: {}",
                driver.name,
                self.files.join(" · "),
                driver.note
            ),
            device: Some(root.shown(folder)),
            sensor: Sensor::default(),
        };
        let reader = Reader {
            files,
            counter: (driver.quantity == Quantity::Energy).then(|| Counter::new(None)),
        };
        Ok((source, reader))
    }
}

#[derive(Debug, Default)]
struct HwmonMeter {
    sources: Vec<Source>,
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Reader {
    /// One file of microwatts or microjoules, or two whose product is microwatts.
    files: Vec<OpenFile>,
    counter: Option<Counter>,
}

impl Reader {
    fn read(&mut self) -> Result<(u64, f64), String> {
        let mut product: u64 = 1;
        for file in &self.files {
            let value = file
                .read_u64()
                .map_err(|error| format!("the sensor could not be read: {error}"))?;
            product = product
                .checked_mul(value)
                .ok_or("the sensor gave a number that is too large")?;
        }
        let t_ns = Stamp::mono_ns();
        let value = match &mut self.counter {
            Some(counter) => counter
                .advance(product, t_ns)
                .map_err(|_| "the energy counter started again")?,
            None => product as f64 * 1e-6,
        };
        Ok((t_ns, value))
    }
}

impl Meter for HwmonMeter {
    fn name(&self) -> &'static str {
        "hwmon"
    }

    fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn read(&mut self, out: &mut dyn SampleSink) {
        for (index, reader) in self.readers.iter_mut().enumerate() {
            match reader.read() {
                Ok((t_ns, value)) => out.row(index, t_ns, &[Some(value)]),
                Err(why) => out.missed(index, &why),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::path::{Path, PathBuf};

    use super::super::testing::{Rows, deny};
    use super::*;

    fn chip(root: &Path, n: u32, files: &[(&str, &str)]) -> PathBuf {
        let folder = root.join(FOLDER).join(format!("hwmon{n}"));
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn found(root: &Path, measured: &[Component]) -> Found {
        find(&Root::at(root), measured, &mut Ids::default())
    }

    fn told(found: &Found) -> Vec<(String, String, Component)> {
        let sources = found.meter.as_ref().map_or(&[][..], |m| m.sources());
        sources
            .iter()
            .map(|s| (s.id.clone(), s.name.clone(), s.component))
            .collect()
    }

    fn values(found: &mut Found) -> Vec<Vec<Option<f64>>> {
        let mut rows = Rows::default();
        found.meter.as_mut().unwrap().read(&mut rows);
        assert!(rows.missed.is_empty(), "{rows:?}");
        rows.values
    }

    #[test]
    fn a_graphics_card_is_read_in_watts() {
        let dir = tempfile::tempdir().unwrap();
        chip(
            dir.path(),
            3,
            &[
                ("name", "amdgpu\n"),
                ("power1_average", "9000000\n"),
                ("power1_input", "35000000\n"),
                ("power1_cap", "303000000\n"),
                ("power1_label", "PPT\n"),
                ("temp1_input", "45000\n"),
            ],
        );
        let mut found = found(dir.path(), &[Component::Cpu]);
        assert_eq!(
            told(&found),
            [("gpu0".into(), "amdgpu PPT".into(), Component::Gpu)]
        );
        assert_eq!(values(&mut found), [[Some(35.0)]]);
    }

    #[test]
    fn an_integrated_gpu_is_not_counted_beside_its_processor() {
        let dir = tempfile::tempdir().unwrap();
        chip(
            dir.path(),
            0,
            &[("name", "amdgpu\n"), ("power1_input", "15000000\n")],
        );
        let found = found(dir.path(), &[]);
        assert!(found.meter.is_none());
        assert!(found.absent[0].reason.contains("whole processor"));
    }

    #[test]
    fn rails_of_a_board_are_components_and_their_sum_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        chip(
            dir.path(),
            0,
            &[
                ("name", "ina3221\n"),
                ("in1_label", "VDD_GPU_SOC\n"),
                ("in1_input", "19000\n"),
                ("curr1_input", "500\n"),
                ("in2_label", "VDD_CPU_CV\n"),
                ("in2_input", "19000\n"),
                ("curr2_input", "100\n"),
                ("in3_label", "VIN_SYS_5V0\n"),
                ("in3_input", "5000\n"),
                ("curr3_input", "900\n"),
                ("in7_label", "sum of shunt voltages\n"),
                ("in7_input", "3\n"),
            ],
        );
        let mut both = found(dir.path(), &[]);
        let components: Vec<_> = told(&both).into_iter().map(|(id, _, c)| (id, c)).collect();
        assert_eq!(
            components,
            [
                ("gpu0".into(), Component::Gpu),
                ("cpu0".into(), Component::Cpu)
            ]
        );
        assert_eq!(values(&mut both), [[Some(9.5)], [Some(1.9)]]);

        let dir = tempfile::tempdir().unwrap();
        chip(
            dir.path(),
            0,
            &[
                ("name", "ina3221\n"),
                ("in1_label", "VDD_IN\n"),
                ("in1_input", "5000\n"),
                ("curr1_input", "1000\n"),
                ("in2_label", "VDD_CPU_GPU_CV\n"),
                ("in2_input", "5000\n"),
                ("curr2_input", "400\n"),
            ],
        );
        let mut module = found(dir.path(), &[]);
        assert_eq!(told(&module)[0].2, Component::Module);
        assert_eq!(values(&mut module), [[Some(5.0)]]);
    }

    #[test]
    fn counters_count_from_the_start_and_restarts_are_missed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = chip(
            dir.path(),
            1,
            &[
                ("name", "amd_energy\n"),
                ("energy1_input", "7\n"),
                ("energy1_label", "Ecore000\n"),
                ("energy2_input", "5000000\n"),
                ("energy2_label", "Esocket0\n"),
            ],
        );
        let mut found = found(dir.path(), &[]);
        assert_eq!(told(&found).len(), 1, "cores are part of the socket");
        assert_eq!(values(&mut found), [[Some(0.0)]]);
        fs::write(folder.join("energy2_input"), "6500000\n").unwrap();
        assert_eq!(values(&mut found), [[Some(1.5)]]);
        fs::write(folder.join("energy2_input"), "1\n").unwrap();
        let mut rows = Rows::default();
        found.meter.unwrap().read(&mut rows);
        assert!(rows.missed[0].1.contains("started again"));
    }

    #[test]
    fn of_sensors_that_contain_one_another_the_widest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        chip(
            dir.path(),
            0,
            &[
                ("name", "xe\n"),
                ("energy1_label", "pkg\n"),
                ("energy1_input", "1\n"),
                ("energy2_label", "card\n"),
                ("energy2_input", "1\n"),
            ],
        );
        assert_eq!(told(&found(dir.path(), &[]))[0].1, "xe card");
    }

    #[test]
    fn grace_is_told_by_its_oem_info_and_a_chassis_is_not_a_component() {
        let dir = tempfile::tempdir().unwrap();
        chip(
            dir.path(),
            0,
            &[
                ("name", "power_meter\n"),
                ("power1_average", "80000000\n"),
                ("device/power1_oem_info", "Grace Power Socket 0\n"),
            ],
        );
        chip(
            dir.path(),
            1,
            &[("name", "power_meter\n"), ("power1_average", "400000000\n")],
        );
        let mut found = found(dir.path(), &[]);
        assert_eq!(told(&found).len(), 1);
        assert_eq!(values(&mut found), [[Some(80.0)]]);
    }

    #[test]
    fn what_another_meter_measures_is_not_measured_again() {
        let dir = tempfile::tempdir().unwrap();
        chip(
            dir.path(),
            0,
            &[
                ("name", "zenpower\n"),
                ("power1_label", "SVI2_P_Core\n"),
                ("power1_input", "1\n"),
            ],
        );
        assert!(found(dir.path(), &[Component::Cpu]).meter.is_none());
        assert!(found(dir.path(), &[Component::Gpu]).meter.is_some());
    }

    #[test]
    fn a_sensor_that_may_not_be_read_is_absent_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let folder = chip(
            dir.path(),
            0,
            &[
                ("name", "amdgpu\n"),
                ("power1_input", "1\n"),
                ("power1_cap", "1\n"),
            ],
        );
        deny(&folder.join("power1_input"), || {
            let found = found(dir.path(), &[]);
            assert!(found.meter.is_none());
            assert!(found.absent[0].reason.contains("is denied"));
            assert!(found.absent[0].remedy.contains("chmod a+r"));
        });
    }

    #[test]
    fn nonsense_in_a_sensor_is_a_missed_sample() {
        let dir = tempfile::tempdir().unwrap();
        let huge = u64::MAX.to_string();
        chip(
            dir.path(),
            0,
            &[
                ("name", "ina3221\n"),
                ("in1_label", "CPU\n"),
                ("in1_input", &huge),
                ("curr1_input", &huge),
                ("in2_label", "GPU\n"),
                ("in2_input", "-5\n"),
                ("curr2_input", "4\n"),
                ("curr_input", "4\n"),
                ("power99999999999_input", "4\n"),
            ],
        );
        let mut rows = Rows::default();
        found(dir.path(), &[]).meter.unwrap().read(&mut rows);
        assert_eq!((rows.values.len(), rows.missed.len()), (0, 2), "{rows:?}");
    }
}
