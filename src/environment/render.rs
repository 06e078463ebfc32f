//! `lem env`: the machine, and what of it can be measured, for people.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};
use lem_record::How;

use super::{Environment, Fact, Layer, advise};
use crate::config::Config;
use crate::meter::gpu::GpuFacts;
use crate::meter::{Absent, Inventory, Source};

const WIDTH: u16 = 100;
const GIB: f64 = (1u64 << 30) as f64;

/// Plain text, at most 100 columns wide.
pub fn render(environment: &Environment, inventory: &Inventory) -> String {
    let mut out = String::new();
    section(&mut out, "This machine", machine(environment));
    let by = |how: How| -> Vec<&Source> {
        let mut sources: Vec<_> = inventory.sources.iter().filter(|s| s.how == how).collect();
        sources.sort_by_key(|source| !source.gives_energy());
        sources
    };
    let rows = |sources: Vec<&Source>| sources.into_iter().map(source).collect();
    section(&mut out, "Measured", rows(by(How::Measured)));
    section(
        &mut out,
        "Modelled: a formula stands in for a sensor",
        rows(by(How::Modelled)),
    );
    section(
        &mut out,
        "Absent",
        inventory.absent.iter().map(absent).collect(),
    );
    let advice = advise(environment, inventory).into_iter().map(|advice| {
        let text = format!("{}\nTo do: {}", advice.finding, advice.remedy);
        [advice.about, text]
    });
    section(&mut out, "To measure more, or better", advice.collect());
    out
}

/// The GPUs of [`render`], alone.
pub fn render_gpus(environment: &Environment) -> String {
    let mut rows = machine(environment);
    rows.retain(|[name, _]| name.to_ascii_lowercase().starts_with("gpu"));
    let mut out = String::new();
    section(&mut out, "GPUs", rows);
    out
}

type Row = [String; 2];

fn section(out: &mut String, title: &str, rows: Vec<Row>) {
    if rows.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH);
    for row in rows {
        table.add_row(row);
    }
    let _ = writeln!(out, "{title}");
    for line in table.to_string().lines() {
        let _ = writeln!(out, " {}", line.trim_end());
    }
}

fn machine(environment: &Environment) -> Vec<Row> {
    let host = &environment.host;
    let cpu = &environment.cpu;
    let mut rows = Vec::new();
    let mut row = |name: &str, text: String| rows.push([name.to_owned(), text]);
    row(
        "host",
        joined(&[
            Some(host.hostname.clone()),
            host.machine.value().cloned(),
            host.user.value().map(|user| format!("user {user}")),
            host.time_zone.value().cloned(),
        ]),
    );
    row(
        "system",
        joined(&[
            host.os.value().cloned(),
            Some(host.kernel.clone()),
            Some(host.architecture.clone()),
            layer("container", &environment.container),
            layer("virtual machine", &environment.virtual_machine),
        ]),
    );
    row(
        "processor",
        joined(&[
            Some(shown(&cpu.model)),
            count(&cpu.sockets, "socket"),
            count(&cpu.cores, "core"),
            count(&cpu.threads, "thread"),
            host.cpu_limit
                .value()
                .map(|n| format!("limited to {n} of them")),
        ]),
    );
    row(
        "frequency",
        match &cpu.governor {
            Fact::Value(governor) => joined(&[
                Some(format!("governor {governor}")),
                cpu.frequency_driver.value().map(|d| format!("driver {d}")),
                cpu.energy_preference
                    .value()
                    .map(|p| format!("preference {p}")),
                range(cpu.frequency_min_hz.value(), cpu.frequency_max_hz.value()),
                cpu.turbo.value().map(|on| format!("turbo {}", on_off(*on))),
                cpu.smt.value().map(|on| format!("SMT {}", on_off(*on))),
            ]),
            Fact::Absent { reason } => format!("unknown: {reason}"),
        },
    );
    row(
        "memory",
        joined(&[
            Some(match &host.memory_bytes {
                Fact::Value(bytes) => gib(*bytes),
                Fact::Absent { reason } => format!("unknown: {reason}"),
            }),
            host.memory_limit_bytes
                .value()
                .map(|bytes| format!("limited to {}", gib(*bytes))),
        ]),
    );
    match &environment.gpus {
        Fact::Value(gpus) => {
            for gpu in gpus {
                row(&format!("gpu{}", gpu.index), graphics(gpu));
            }
        }
        Fact::Absent { reason } => row("GPU", format!("none: {reason}")),
    }
    if let Fact::Value(driver) = &environment.gpu_driver {
        let text = joined(&[
            Some(format!("NVIDIA {}", shown(&driver.driver))),
            Some(format!("CUDA up to {}", shown(&driver.cuda))),
        ]);
        row("GPU driver", text);
    }
    let lem = &environment.lem;
    row(
        "lem",
        joined(&[
            Some(lem.version.clone()),
            Some(format!("{} build", lem.profile)),
            lem.commit.value().map(|commit| format!("commit {commit}")),
            lem.candle
                .value()
                .map(|version| format!("candle {version}")),
            lem.rustc.value().cloned(),
        ]),
    );
    if let Fact::Value(git) = &environment.config_git {
        let text = joined(&[
            Some(format!("commit {}", git.commit)),
            git.branch.value().map(|branch| format!("branch {branch}")),
            git.dirty
                .value()
                .and_then(|d| d.then(|| "changed since".to_owned())),
            git.remote.value().cloned(),
        ]);
        row("configuration", text);
    }
    rows
}

fn graphics(gpu: &GpuFacts) -> String {
    let limit = match (
        gpu.power_limit_watts.value(),
        gpu.power_limit_default_watts.value(),
    ) {
        (Some(now), Some(default)) if now != default => {
            Some(format!("limited to {now:.0} W (default {default:.0} W)"))
        }
        (Some(now), _) => Some(format!("limit {now:.0} W")),
        (None, _) => None,
    };
    let state =
        |name: &str, fact: &Fact<bool>| fact.value().map(|on| format!("{name} {}", on_off(*on)));
    joined(&[
        Some(gpu.name.clone()),
        gpu.memory_bytes.value().map(|bytes| gib(*bytes)),
        limit,
        gpu.temperature_celsius
            .value()
            .map(|t| format!("{t:.0} °C")),
        state("persistence", &gpu.persistence),
        state("ECC", &gpu.ecc),
        state("MIG", &gpu.mig),
        gpu.compute_processes
            .value()
            .filter(|n| **n > 0)
            .map(|n| format!("{n} process{} on it", if *n == 1 { "" } else { "es" })),
    ])
}

fn source(source: &Source) -> Row {
    let name = match source.gives_energy() {
        true => format!("{} ({})", source.name, source.meter),
        false => source.name.clone(),
    };
    let sensor = match source.sensor.gain_relative {
        Some(gain) => format!(" (±{:.0} %)", gain * 100.0),
        None => String::new(),
    };
    let mut told = format!("{name}\n{}{sensor}", source.method);
    if let Some(ms) = resolves(source) {
        told += &format!("\ntells apart phases of {ms:.0} ms and more");
    }
    [source.id.clone(), told]
}

/// The shortest phase, milliseconds, that a measuring source tells from its neighbours,
/// where its rhythm is known.
fn resolves(source: &Source) -> Option<f64> {
    let sensor = &source.sensor;
    let known = [sensor.update_s, sensor.window_s];
    let known = known.into_iter().flatten().reduce(f64::max)?;
    // A driver that keeps its own samples is not held up by how often it is polled.
    let polled = match source.meter.as_str() {
        "nvml" => 0.0,
        _ => f64::from(Config::default().measurement.interval_ms) * 1e-3,
    };
    let known = known.max(polled);
    let measures = source.how == How::Measured && source.gives_energy();
    measures.then_some(crate::analysis::UPDATES_TO_RESOLVE * known * 1e3)
}

fn absent(absent: &Absent) -> Row {
    [
        absent.component.word().to_owned(),
        format!(
            "{}: {}\nTo do: {}",
            absent.what, absent.reason, absent.remedy
        ),
    ]
}

fn joined(parts: &[Option<String>]) -> String {
    let known: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
    known.join(", ")
}

fn shown(fact: &Fact<String>) -> String {
    fact.value()
        .cloned()
        .unwrap_or_else(|| "unknown".to_owned())
}

fn count(fact: &Fact<u32>, what: &str) -> Option<String> {
    fact.value()
        .map(|n| format!("{n} {what}{}", if *n == 1 { "" } else { "s" }))
}

fn range(low: Option<&u64>, high: Option<&u64>) -> Option<String> {
    let (low, high) = (low?, high?);
    Some(format!(
        "{:.1} to {:.1} GHz",
        *low as f64 * 1e-9,
        *high as f64 * 1e-9
    ))
}

fn layer(what: &str, layer: &Layer) -> Option<String> {
    let kind = layer.kind.as_deref().unwrap_or("unknown");
    layer.present.then(|| format!("{what} ({kind})"))
}

fn gib(bytes: u64) -> String {
    let gib = bytes as f64 / GIB;
    let digits = usize::from(gib < 100.0);
    format!("{gib:.digits$} GiB")
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::tree;
    use super::super::{Build, Inputs, collect_in};
    use super::*;
    use crate::meter::detect_in;
    use crate::meter::gpu::Gpus;
    use crate::meter::gpu::fake::FakeGpus;

    fn shown(files: &[(&str, &str)], gpus: &Gpus, vm: Option<&str>) -> String {
        let (_dir, root) = tree(files);
        let inputs = Inputs {
            user: Some("ada"),
            time_zone: Some("Europe/Vienna"),
            ..Inputs::default()
        };
        let mut environment = collect_in(&root, gpus, vm, &inputs);
        environment.host.hostname = "node7".into();
        environment.host.kernel = "Linux 6.1.0".into();
        environment.host.architecture = "x86_64".into();
        environment.lem = Build {
            version: "0.1.0".into(),
            commit: Fact::absent("a test"),
            profile: "release".into(),
            target: Fact::absent("a test"),
            rustc: Fact::Value("rustc 1.95.0".into()),
            candle: Fact::Value("0.11.0".into()),
        };
        let detected = detect_in(&root, gpus, &Config::default(), None);
        let text = render(&environment, &detected.inventory());
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
        text
    }

    #[test]
    fn a_virtual_machine_without_sensors() {
        let files = [
            (
                "proc/cpuinfo",
                "processor : 0\nmodel name : AMD EPYC\nphysical id : 0\ncore id : 0\nflags : fpu hypervisor\n",
            ),
            ("proc/meminfo", "MemTotal: 25165824 kB\n"),
            ("proc/stat", "cpu 1 2 3 4 5 6 7 8\n"),
            ("proc/self/status", "VmRSS: 1 kB\n"),
            ("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12\"\n"),
            (".dockerenv", ""),
        ];
        let gpus: Gpus =
            Err("there is no libnvidia-ml.so.1: the NVIDIA driver is not installed here".into());
        insta::assert_snapshot!(shown(&files, &gpus, Some("KVMKVMKVM")));
    }

    #[test]
    fn a_server_with_sensors() {
        let files = [
            (
                "proc/cpuinfo",
                "processor : 0\nmodel name : Intel(R) Xeon(R) Platinum 8480+\nphysical id : 0\ncore id : 0\n",
            ),
            ("proc/meminfo", "MemTotal: 1056964608 kB\n"),
            ("proc/stat", "cpu 1 2 3 4 5 6 7 8\n"),
            ("proc/self/status", "VmRSS: 1 kB\n"),
            ("sys/class/powercap/intel-rapl:0/name", "package-0"),
            ("sys/class/powercap/intel-rapl:0/energy_uj", "5"),
            (
                "sys/class/powercap/intel-rapl:0/max_energy_range_uj",
                "262143328850",
            ),
            ("sys/class/powercap/intel-rapl:0:0/name", "dram"),
            ("sys/class/powercap/intel-rapl:0:0/energy_uj", "5"),
            (
                "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj",
                "65712999613",
            ),
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                "performance",
            ),
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver",
                "intel_pstate",
            ),
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq",
                "800000",
            ),
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq",
                "3800000",
            ),
            ("sys/devices/system/cpu/intel_pstate/no_turbo", "0"),
            ("sys/devices/system/cpu/smt/active", "1"),
        ];
        insta::assert_snapshot!(shown(&files, &Ok(Arc::new(FakeGpus::h100(1))), None));
    }
}
