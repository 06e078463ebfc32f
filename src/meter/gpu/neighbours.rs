//! Other processes that compute on the GPUs that are measured: their joules look like ours.

use super::{Gpus, select};
use crate::environment::Root;

/// A process that is not of this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// As `nvidia-smi` counts.
    pub gpu: u32,
    pub pid: u32,
    /// Absent where it is not visible from here, as in a container.
    pub name: Option<String>,
}

/// Processes on the chosen GPUs that are not this one and not begun by it. One that cannot be
/// seen from here counts while `ours_may_be_hidden` is false: in a container a process of ours
/// has another number out there.
pub fn neighbours(
    gpus: &Gpus,
    root: &Root,
    visible: Option<&str>,
    wanted: &[u32],
    ours_may_be_hidden: bool,
) -> Vec<Neighbour> {
    let Ok(backend) = gpus else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for position in select(backend.gpus(), visible, wanted).chosen {
        let Some(gpu) = backend.gpus().get(position) else {
            continue;
        };
        for pid in backend.processes(position).unwrap_or_default() {
            let name = name(root, pid);
            if (name.is_none() && ours_may_be_hidden) || is_ours(root, pid) {
                continue;
            }
            found.push(Neighbour {
                gpu: gpu.index,
                pid,
                name,
            });
        }
    }
    found
}

fn name(root: &Root, pid: u32) -> Option<String> {
    let comm = root.read(format!("proc/{pid}/comm")).ok()?;
    let name: String = comm
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(64)
        .collect();
    (!name.is_empty()).then_some(name)
}

/// Whether a process is this one or descends from it.
fn is_ours(root: &Root, pid: u32) -> bool {
    let own = std::process::id();
    let mut pid = pid;
    // Deeper than this is no tree of processes but a loop.
    for _ in 0..256 {
        if pid == own {
            return true;
        }
        match parent(root, pid) {
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

fn parent(root: &Root, pid: u32) -> Option<u32> {
    let status = root.read(format!("proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::super::fake::FakeGpus;
    use super::*;

    #[test]
    fn processes_of_others_are_named_and_ours_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let own = std::process::id();
        for (pid, parent, comm) in [
            (4_000_001, 1, "miner\n"),
            (4_000_002, own, "python3\n"),
            (4_000_003, 4_000_002, "worker\n"),
        ] {
            let folder = scratch.path().join(format!("proc/{pid}"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("comm"), comm).unwrap();
            std::fs::write(
                folder.join("status"),
                format!("Name:\tx\nPPid:\t{parent}\n"),
            )
            .unwrap();
        }
        let fake = FakeGpus::h100(2);
        *fake.processes.lock().unwrap() = vec![own, 4_000_001, 4_000_002, 4_000_003, 4_000_009];
        let gpus: Gpus = Ok(Arc::new(fake));
        let root = Root::at(scratch.path());
        let of = |hidden| neighbours(&gpus, &root, None, &[1], hidden);
        let miner = Neighbour {
            gpu: 1,
            pid: 4_000_001,
            name: Some("miner".into()),
        };
        let unseen = Neighbour {
            gpu: 1,
            pid: 4_000_009,
            name: None,
        };
        assert_eq!(of(true), std::slice::from_ref(&miner));
        assert_eq!(of(false), [miner, unseen]);
        assert!(neighbours(&Err("none".into()), &root, None, &[], false).is_empty());
    }
}
