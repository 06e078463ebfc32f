use std::path::Path;

use lem_record::{Check, CheckOutcome};
use rustix::fs::{Access, access};

use crate::WandbConfig;

/// Nothing is made to find out.
pub(super) fn check(root: &Path, config: &WandbConfig) -> Check {
    let mut check = Check::default();
    let there = root.ancestors().find(|folder| folder.exists());
    let there = there.unwrap_or(root);
    let shown = root.display();
    let outcome = match (
        there.is_dir(),
        access(there, Access::WRITE_OK | Access::EXEC_OK),
    ) {
        (true, Ok(())) => CheckOutcome::Ok {
            detail: format!("runs are written to {shown}"),
        },
        (true, Err(error)) => CheckOutcome::Failed {
            why: format!("{} cannot be written to ({error})", there.display()),
            remedy: REMEDY.to_owned(),
        },
        (false, _) => CheckOutcome::Failed {
            why: format!("{} is no folder", there.display()),
            remedy: REMEDY.to_owned(),
        },
    };
    check.push("folder", outcome);
    check.push(
        "credentials",
        CheckOutcome::Unknown {
            why: "offline: no server is asked until `wandb sync` uploads the run's folder"
                .to_owned(),
        },
    );
    if let Some(id) = &config.run_id {
        let why =
            format!("whether W&B has a run {id} already: `wandb sync` adds to one that it finds");
        check.push("run", CheckOutcome::Unknown { why });
    }
    check
}

pub(super) const REMEDY: &str = "Set WANDB_DIR to a folder that lem may write to";
