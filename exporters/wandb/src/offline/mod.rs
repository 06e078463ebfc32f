//! Runs in folders that the official `wandb sync` uploads.
//!
//! ```text
//! wandb/offline-run-20250615_150640-ID/
//!   run-ID.wandb      what happened: a header, then records in blocks of 32 KiB
//!   files/            wandb-metadata.json, media/table/…
//!   artifacts/        contents of artifacts, by their SHA-256
//!   lem.json          whose folder it is, and how far it was when it was finished
//! ```
//!
//! A batch is appended to the `.wandb` file by one write, and synced before it counts as
//! delivered. The cursor knows the length that was reached, so that a batch that comes
//! again, or what a crash left half-written, is cut off first: the file then holds the
//! same bytes as if nothing had happened. Nothing is written twice, and what `wandb sync`
//! finds is whole at every moment but those of the write itself.
//!
//! `wandb sync` appends its lines to what the run has at W&B, so that a second sync of
//! the same folder doubles them. It leaves a mark behind ([`folder::Folder::is_uploaded`]),
//! and after that nothing is added here.

mod blocks;
mod check;
mod exporter;
mod folder;
mod messages;
mod records;

pub(crate) use exporter::OfflineExporter;
