//! Whether the measured GPUs are ours alone: before the work is loaded, and after it.

use lem_record::Warning;

use crate::config::{Backend, Config};
use crate::environment::Root;
use crate::meter::Outside;
use crate::meter::gpu::{self, Neighbour};

/// What was on the GPUs before the run.
pub struct Shared {
    visible: Option<String>,
    wanted: Vec<u32>,
    before: Vec<Neighbour>,
}

impl Shared {
    /// `None` where no GPU is measured: the embedded engine uses none.
    pub fn of_run(config: &Config, outside: &Outside) -> Option<Self> {
        let unused = config.backend == Backend::Candle && config.gpus.is_empty();
        (!unused).then(|| Self::look(config, outside))
    }

    pub fn look(config: &Config, outside: &Outside) -> Self {
        let mut shared = Self {
            visible: outside.visible_gpus.clone(),
            wanted: config.gpus.clone(),
            before: Vec::new(),
        };
        shared.before = shared.neighbours(false);
        shared
    }

    fn neighbours(&self, ours_may_be_hidden: bool) -> Vec<Neighbour> {
        let visible = self.visible.as_deref();
        let gpus = gpu::open(None);
        gpu::neighbours(
            &gpus,
            &Root::system(),
            visible,
            &self.wanted,
            ours_may_be_hidden,
        )
    }

    /// `attached`: a server that was there before is what is measured.
    pub fn before(&self, attached: bool) -> Option<Warning> {
        let remedy = if attached {
            "The server that you measure is one of them. Stop the others, and measure again"
        } else {
            "Stop them, or choose another GPU with `gpus` or CUDA_VISIBLE_DEVICES, and measure again"
        };
        warning(&self.before, "before the run began", remedy)
    }

    /// What came while the run went on, and is still there.
    pub fn after(&self) -> Option<Warning> {
        let mut came = self.neighbours(true);
        came.retain(|neighbour| !self.before.iter().any(|b| b.pid == neighbour.pid));
        warning(&came, "when the run ended", "Stop them, and measure again")
    }
}

fn warning(neighbours: &[Neighbour], when: &str, remedy: &str) -> Option<Warning> {
    if neighbours.is_empty() {
        return None;
    }
    let named: Vec<String> = neighbours
        .iter()
        .take(8)
        .map(|n| {
            let name = n.name.as_deref().unwrap_or("not visible from here");
            format!("process {} ({name}) on GPU {}", n.pid, n.gpu)
        })
        .collect();
    let more = neighbours.len().saturating_sub(named.len());
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(Warning {
        code: "gpu.shared".into(),
        message: format!(
            "Others computed on the measured GPUs {when}: {}{more}. Their energy is counted with the run's",
            named.join(", ")
        ),
        remedy: remedy.into(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_others_are_named_up_to_a_number() {
        let of = |pid| Neighbour {
            gpu: 0,
            pid,
            name: (pid == 1).then(|| "miner".to_owned()),
        };
        let all: Vec<_> = (1..=10).map(of).collect();
        let told = warning(&all, "before", "Stop them").unwrap();
        assert!(
            told.message
                .contains("process 1 (miner) on GPU 0, process 2 (not visible")
        );
        assert!(told.message.contains("and 2 more"), "{}", told.message);
        assert!(warning(&[], "before", "").is_none());
    }
}
