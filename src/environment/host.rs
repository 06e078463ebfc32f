//! The host: names, system, memory, limits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fact, Inputs, Root};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    pub hostname: String,
    pub user: Fact<String>,
    /// `Debian GNU/Linux 12 (bookworm)`
    pub os: Fact<String>,
    /// `Linux 6.1.0-18-amd64`
    pub kernel: String,
    /// `x86_64`
    pub architecture: String,
    /// Manufacturer and product, as the firmware tells them.
    pub machine: Fact<String>,
    pub boot_id: Fact<String>,
    /// IANA name.
    pub time_zone: Fact<String>,
    /// Bytes of memory that the kernel manages.
    pub memory_bytes: Fact<u64>,
    /// Mean number of runnable tasks over the last minute: others at work disturb a measurement.
    pub load_average: Fact<f64>,
    /// Processors' worth of time that the control group may use.
    pub cpu_limit: Fact<f64>,
    /// Bytes of memory that the control group may use.
    pub memory_limit_bytes: Fact<u64>,
}

pub(super) fn collect(root: &Root, inputs: &Inputs<'_>) -> Host {
    let system = rustix::system::uname();
    let text = |bytes: &std::ffi::CStr| bytes.to_string_lossy().into_owned();
    let groups = ControlGroups::read(root);
    Host {
        hostname: text(system.nodename()),
        user: user(root, inputs.user),
        os: root
            .read("etc/os-release")
            .and_then(|text| os(&text))
            .into(),
        kernel: format!("{} {}", text(system.sysname()), text(system.release())),
        architecture: text(system.machine()),
        machine: machine(root).into(),
        boot_id: root.read("proc/sys/kernel/random/boot_id").into(),
        time_zone: time_zone(root, inputs.time_zone).into(),
        memory_bytes: memory_bytes(root).into(),
        load_average: root
            .read("proc/loadavg")
            .and_then(|text| {
                let first = text.split(' ').next().and_then(|word| word.parse().ok());
                first.ok_or_else(|| "/proc/loadavg does not start with a number".to_owned())
            })
            .into(),
        cpu_limit: groups.cpu_limit(root).into(),
        memory_limit_bytes: groups.memory_limit(root).into(),
    }
}

fn user(root: &Root, told: Option<&str>) -> Fact<String> {
    if let Some(name) = told.filter(|name| !name.is_empty()) {
        return Fact::Value(name.to_owned());
    }
    let id = rustix::process::getuid().as_raw().to_string();
    let name = root.read("etc/passwd").ok().and_then(|text| {
        let entry = text
            .lines()
            .find(|line| line.split(':').nth(2) == Some(&id))?;
        Some(entry.split(':').next()?.to_owned())
    });
    Fact::from_option(name, &format!("user {id} has no name in /etc/passwd"))
}

fn os(release: &str) -> Result<String, String> {
    release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .ok_or_else(|| "/etc/os-release has no PRETTY_NAME".to_owned())
}

fn machine(root: &Root) -> Result<String, String> {
    if let Ok(model) = root.read("proc/device-tree/model") {
        return Ok(model.trim_end_matches('\0').to_owned());
    }
    let product = root.read("sys/class/dmi/id/product_name")?;
    let maker = root.read("sys/class/dmi/id/sys_vendor").unwrap_or_default();
    Ok(format!("{maker} {product}").trim().to_owned())
}

fn time_zone(root: &Root, told: Option<&str>) -> Result<String, String> {
    if let Some(zone) = told
        .map(|zone| zone.trim_start_matches(':'))
        .filter(|z| !z.is_empty())
    {
        return Ok(zone.to_owned());
    }
    let link = root.path("etc/localtime");
    if let Ok(target) = std::fs::read_link(&link)
        && let Some((_, zone)) = target.to_string_lossy().split_once("zoneinfo/")
    {
        return Ok(zone.to_owned());
    }
    root.read("etc/timezone").map_err(|_| {
        "neither TZ, nor /etc/localtime as a link, nor /etc/timezone names it; the system's \
         default is UTC"
            .to_owned()
    })
}

pub(crate) fn memory_bytes(root: &Root) -> Result<u64, String> {
    let text = root.read("proc/meminfo")?;
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map(|kib| kib.saturating_mul(1024))
        .ok_or_else(|| "/proc/meminfo does not tell the size of the memory".to_owned())
}

/// The folders of this process's control groups, from the innermost outwards.
pub(super) struct ControlGroups {
    /// Version 2, where everything is in one tree.
    unified: Vec<String>,
}

const GROUPS: &str = "sys/fs/cgroup";

impl ControlGroups {
    pub fn read(root: &Root) -> Self {
        let text = root.read("proc/self/cgroup").unwrap_or_default();
        let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
        let mut unified = Vec::new();
        // A path with `..` lies outside of what this namespace shows.
        let mut path = own.filter(|path| !path.contains("..")).unwrap_or_default();
        while !path.is_empty() {
            unified.push(format!("{GROUPS}/{path}"));
            path = path.rsplit_once('/').map_or("", |(around, _)| around);
        }
        unified.push(GROUPS.to_owned());
        Self { unified }
    }

    /// The tightest limit of the file in any folder; `read` makes it a number.
    fn tightest(&self, root: &Root, file: &str, read: fn(&str) -> Option<f64>) -> Option<f64> {
        self.unified
            .iter()
            .filter_map(|folder| read(&root.read(format!("{folder}/{file}")).ok()?))
            .reduce(f64::min)
    }

    fn cpu_limit(&self, root: &Root) -> Result<f64, String> {
        let quota = |text: &str| {
            let (quota, period) = text.split_once(' ')?;
            let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
            (quota > 0.0 && period > 0.0).then_some(quota / period)
        };
        if let Some(limit) = self.tightest(root, "cpu.max", quota) {
            return Ok(limit);
        }
        // Version 1.
        let folder = format!("{GROUPS}/cpu");
        let quota = root.read(format!("{folder}/cpu.cfs_quota_us"));
        let period = root.read_u64(format!("{folder}/cpu.cfs_period_us"));
        match (quota.ok().and_then(|q| q.parse::<f64>().ok()), period) {
            (Some(quota), Ok(period)) if quota > 0.0 && period > 0 => Ok(quota / period as f64),
            _ => Err("no control group limits the processors".to_owned()),
        }
    }

    fn memory_limit(&self, root: &Root) -> Result<u64, String> {
        let none = || "no control group limits the memory".to_owned();
        let bytes = |text: &str| text.parse::<u64>().ok().map(|bytes| bytes as f64);
        if let Some(limit) = self.tightest(root, "memory.max", bytes) {
            return Ok(limit as u64);
        }
        let limit = root.read_u64(format!("{GROUPS}/memory/memory.limit_in_bytes"));
        // Version 1 says "none" with the largest number of pages.
        limit.ok().filter(|bytes| *bytes < 1 << 60).ok_or_else(none)
    }

    /// Seconds for which the group's tasks were held back by its limit.
    pub fn throttled_s(&self, root: &Root) -> Result<f64, String> {
        let innermost = self.unified.first().map_or(GROUPS, String::as_str);
        let text = root.read(format!("{innermost}/cpu.stat"))?;
        text.lines()
            .find_map(|line| line.strip_prefix("throttled_usec "))
            .and_then(|us| us.parse::<u64>().ok())
            .map(|us| us as f64 * 1e-6)
            .ok_or_else(|| "the control group does not count throttling".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::testing::tree;
    use super::*;

    #[test]
    fn the_tightest_limit_of_all_groups_counts() {
        let (_dir, root) = tree(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            (
                "sys/fs/cgroup/a/b/cpu.stat",
                "usage_usec 5\nthrottled_usec 2500000\n",
            ),
        ]);
        let groups = ControlGroups::read(&root);
        assert_eq!(groups.cpu_limit(&root), Ok(1.5));
        assert_eq!(groups.memory_limit(&root), Ok(1 << 30));
        assert_eq!(groups.throttled_s(&root), Ok(2.5));
    }

    #[test]
    fn version_one_and_no_limit_are_understood() {
        let (_dir, root) = tree(&[
            ("proc/self/cgroup", "4:memory:/x\n0::/../..\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ]);
        let groups = ControlGroups::read(&root);
        assert_eq!(groups.cpu_limit(&root), Ok(2.0));
        assert!(
            groups
                .memory_limit(&root)
                .is_err_and(|why| why.contains("no control group"))
        );
        let (_dir, empty) = tree(&[]);
        assert!(ControlGroups::read(&empty).cpu_limit(&empty).is_err());
    }

    #[test]
    fn names_come_from_where_they_are() {
        let (dir, root) = tree(&[
            (
                "etc/os-release",
                "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n",
            ),
            ("etc/passwd", "nobody:x:65534:65534::/:/bin/false\n"),
            ("sys/class/dmi/id/product_name", "PowerEdge XE9680\n"),
            ("sys/class/dmi/id/sys_vendor", "Dell Inc.\n"),
        ]);
        std::os::unix::fs::symlink(
            "/usr/share/zoneinfo/Europe/Vienna",
            dir.path().join("etc/localtime"),
        )
        .unwrap();
        let host = collect(&root, &Inputs::default());
        assert_eq!(host.os.value().unwrap(), "Debian GNU/Linux 12");
        assert_eq!(host.machine.value().unwrap(), "Dell Inc. PowerEdge XE9680");
        assert_eq!(host.time_zone.value().unwrap(), "Europe/Vienna");
        assert!(host.boot_id.value().is_none());
        let told = Inputs {
            user: Some("ada"),
            time_zone: Some(":Asia/Tokyo"),
            ..Inputs::default()
        };
        let host = collect(&root, &told);
        assert_eq!(host.user.value().unwrap(), "ada");
        assert_eq!(host.time_zone.value().unwrap(), "Asia/Tokyo");
    }
}
