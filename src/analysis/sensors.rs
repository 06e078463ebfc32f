//! The power sensors of a run, and which of them the total is made of.

use lem_record::How;

use super::data::{RunData, Window};
use super::integrate::EnergyCurve;
use crate::meter::{Component, Source};

/// What is known of one sensor's timing and gain, as [`crate::meter::Sensor`] has it.
type Spec = crate::meter::Sensor;

/// One curve of a sensor, with what is known of it.
#[derive(Clone, Debug)]
pub struct Curve {
    pub curve: EnergyCurve,
    pub spec: Spec,
}

/// One sensor: its power, its counter, or both, also where two sources bring them (a
/// counter that is read apart because reading it is slow).
#[derive(Clone, Debug)]
pub struct Sensor {
    pub id: String,
    pub component: Component,
    pub how: How,
    /// Formula, or sensor and field.
    pub method: String,
    /// As people know the device.
    pub name: String,
    pub power: Option<Curve>,
    pub counter: Option<Curve>,
    /// What of it could not be used, and why.
    pub trouble: Option<String>,
    /// UUID or path of the device.
    pub device: Option<String>,
    /// When it was read, where that was not throughout: see [`RunData::read_in`].
    pub read_in: Option<Vec<Window>>,
    /// Which columns its sources describe, read or not.
    powered: bool,
    counting: bool,
}

impl Sensor {
    /// Whether a source is another part of this sensor: the same device under the same
    /// name, and it has what this one lacks. Two powers of one chip are two rails.
    fn is_of(&self, source: &Source) -> bool {
        let has = |id: &str| source.columns.iter().any(|c| c.metric == id);
        self.device.is_some()
            && self.device == source.device
            && self.component == source.component
            && self.name == source.name
            && !(has("sample.power") && self.powered)
            && !(has("sample.energy") && self.counting)
    }

    pub fn gain(&self) -> Option<f64> {
        let known = |curve: &Option<Curve>| curve.as_ref()?.spec.gain_relative;
        known(&self.counter).or_else(|| known(&self.power))
    }

    /// The parts of a window in which it was read.
    pub fn within(&self, window: Window) -> Vec<Window> {
        match &self.read_in {
            None => vec![window],
            Some(read_in) => read_in.iter().filter_map(|w| w.clip(&window)).collect(),
        }
    }

    /// Whether it was read at a time.
    pub fn read_at(&self, t_ns: u64) -> bool {
        let holds = |w: &Window| w.start_ns <= t_ns && t_ns <= w.end_ns;
        self.read_in
            .as_ref()
            .is_none_or(|read_in| read_in.iter().any(holds))
    }

    fn reads(&self) -> bool {
        self.power.is_some() || self.counter.is_some()
    }
}

/// Every power sensor that was described.
pub fn sensors(data: &RunData) -> Vec<Sensor> {
    let mut sensors: Vec<Sensor> = Vec::new();
    for source in &data.sources {
        let measures = |id: &str| source.columns.iter().any(|c| c.metric == id);
        let powered = measures("sample.power") || measures("sample.energy");
        if source.component == Component::State || !powered {
            continue;
        }
        let known = sensors.iter().position(|sensor| sensor.is_of(source));
        let index = known.unwrap_or_else(|| {
            sensors.push(Sensor {
                id: source.id.clone(),
                component: source.component,
                how: source.how,
                method: source.method.clone(),
                name: source.name.clone(),
                power: None,
                counter: None,
                trouble: None,
                device: source.device.clone(),
                read_in: data.read_in.get(&source.id).cloned(),
                powered: false,
                counting: false,
            });
            sensors.len() - 1
        });
        if let Some(sensor) = sensors.get_mut(index) {
            sensor.powered |= measures("sample.power");
            sensor.counting |= measures("sample.energy");
            read(data, source, sensor);
        }
    }
    sensors
}

fn read(data: &RunData, source: &Source, sensor: &mut Sensor) {
    let Some(samples) = data.samples.get(&source.id) else {
        sensor
            .trouble
            .get_or_insert_with(|| format!("the source {} gave no samples", source.id));
        return;
    };
    let spec = source.sensor;
    if let Some(column) = samples.column("sample.power") {
        sensor.how = column.how;
        let (t_ns, watts) = samples.points("sample.power");
        let curve = EnergyCurve::from_power(t_ns, watts).map(|curve| Curve { curve, spec });
        sensor.power = sensor.power.take().or(curve);
    }
    if let Some(column) = samples.column("sample.energy") {
        let (t_ns, joules) = samples.points("sample.energy");
        let fell = !joules.is_sorted();
        let curve = EnergyCurve::from_counter(t_ns, joules).map(|curve| Curve { curve, spec });
        if sensor.power.is_none() {
            sensor.how = column.how;
        }
        if fell {
            sensor.trouble = Some(format!(
                "the energy counter of {} went backwards",
                source.id
            ));
        }
        sensor.counter = sensor.counter.take().or(curve);
    }
    if sensor.reads() {
        return;
    }
    sensor
        .trouble
        .get_or_insert_with(|| format!("the source {} gave fewer than two samples", source.id));
}

/// What a total is the sum of.
#[derive(Clone, Debug, Default)]
pub struct Boundary {
    /// Indices of the sensors of each component that has any.
    pub components: Vec<(Component, Vec<usize>)>,
    /// Indices of the sensors that the total sums.
    pub total: Vec<usize>,
    /// The boundary in words.
    pub told: String,
}

pub const fn word(component: Component) -> &'static str {
    match component {
        Component::Gpu => "gpu",
        Component::Cpu => "cpu",
        Component::Memory => "memory",
        Component::Module => "module",
        Component::State => "state",
    }
}

/// A component is what its sensors measure; a model counts only where no sensor is. The
/// total sums the measured components, and the modelled ones only where none is measured:
/// measured and modelled joules are never added. A module's sensor covers the others and
/// counts only where it is alone.
pub fn boundary(sensors: &[Sensor]) -> Boundary {
    let parts = [
        Component::Gpu,
        Component::Cpu,
        Component::Memory,
        Component::Module,
    ];
    let mut components = Vec::new();
    for component in parts {
        let all: Vec<usize> = (0..sensors.len())
            .filter(|i| {
                sensors
                    .get(*i)
                    .is_some_and(|s| s.component == component && s.reads())
            })
            .collect();
        let measured: Vec<usize> = all
            .iter()
            .copied()
            .filter(|i| !modelled(sensors, *i))
            .collect();
        let chosen = if measured.is_empty() { all } else { measured };
        if !chosen.is_empty() {
            components.push((component, chosen));
        }
    }
    let is_measured = |chosen: &[usize]| chosen.first().is_some_and(|i| !modelled(sensors, *i));
    let any_measured = components.iter().any(|(_, chosen)| is_measured(chosen));
    let mut counted: Vec<&(Component, Vec<usize>)> = components
        .iter()
        .filter(|(_, chosen)| is_measured(chosen) == any_measured)
        .collect();
    if counted.len() > 1 {
        counted.retain(|(component, _)| *component != Component::Module);
    }
    let names = |of: &[&(Component, Vec<usize>)]| {
        let names: Vec<&str> = of.iter().map(|(component, _)| word(*component)).collect();
        names.join(", ")
    };
    let left: Vec<&(Component, Vec<usize>)> = components
        .iter()
        .filter(|(component, _)| !counted.iter().any(|(c, _)| c == component))
        .collect();
    let mut told = if counted.is_empty() {
        "no power source".into()
    } else if any_measured {
        format!("measured: {}", names(&counted))
    } else {
        format!("modelled: {}", names(&counted))
    };
    if !left.is_empty() {
        told = format!("{told} (not added: {})", names(&left));
    }
    Boundary {
        total: counted
            .iter()
            .flat_map(|(_, chosen)| chosen.clone())
            .collect(),
        components,
        told,
    }
}

fn modelled(sensors: &[Sensor], index: usize) -> bool {
    sensors.get(index).is_none_or(|s| s.how != How::Measured)
}
