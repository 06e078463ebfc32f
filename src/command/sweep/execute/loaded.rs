//! What is loaded, and stays so while points share it.

use std::path::Path;

use lem_record::{Record, Warning};

use crate::command::run::prepare::{self, Prepared};
use crate::command::{Failure, say};
use crate::config::Resolved;
use crate::engine::Cancel;
use crate::sweep::plan::Point;

#[derive(Default)]
pub struct Loaded {
    now: Option<(String, Box<Prepared>)>,
    /// The idle power before the load, which holds for every point that shares it.
    bare: Vec<Record>,
    /// What was said of the machine when it was loaded, likewise.
    notes: Vec<Warning>,
}

impl Loaded {
    /// Loads for a point, or turns to it where its model is loaded.
    pub fn turn_to(
        &mut self,
        point: &Point,
        resolved: &Resolved,
        several: bool,
        engines: &Path,
        cancel: &Cancel,
    ) -> Result<&mut Prepared, Failure> {
        let fits = matches!(&self.now, Some((key, _)) if *key == point.load_key);
        if fits {
            if let Some((_, prepared)) = &mut self.now {
                prepared.turn_to(resolved)?;
                prepared.notes.extend(self.notes.iter().cloned());
            }
        } else {
            // Two models may not fit beside one another.
            self.unload();
            let mut prepared = prepare::prepare(resolved, cancel)?;
            self.bare = std::mem::take(&mut prepared.bare_baseline);
            let of_prompts = &prepared.workload.warnings;
            let others = prepared
                .notes
                .iter()
                .filter(|note| !of_prompts.contains(note));
            self.notes = others.cloned().collect();
            prepared.serves_several = several;
            if several {
                let folder = engines.join(point.load_key.get(..8).unwrap_or_default());
                if let Err(error) = prepared.engine.run_folder(&folder) {
                    say(&format!(
                        "warning: the engine's log could not be put into the sweep's folder: {error}"
                    ));
                }
            }
            self.now = Some((point.load_key.clone(), Box::new(prepared)));
        }
        match &mut self.now {
            Some((_, prepared)) => {
                prepared.bare_baseline.clone_from(&self.bare);
                Ok(prepared)
            }
            None => Err(Failure::failed(
                "nothing is loaded. Please report this as a fault of lem",
            )),
        }
    }

    pub fn unload(&mut self) {
        self.now = None;
        self.bare.clear();
        self.notes.clear();
    }
}
