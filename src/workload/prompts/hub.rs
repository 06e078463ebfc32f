//! Prompts in a dataset of the hub.

use crate::config::Prompts;
use crate::engine::EngineError;
use crate::model::hub::{HubClient, Listing, Repo, RepoKind};
use crate::model::{Options, Progress, RepoName};

use super::choose::Chooser;
use super::column::Column;
use super::file::{Format, read_as};
use super::splits::{Wanted, by_name, declared, in_conversion};

/// Where the hub keeps its own conversion of datasets that are in another format.
const CONVERTED: &str = "refs/convert/parquet";

/// Offers the rows of a split, fetching only as many of its files as are needed.
/// Returns the commit that they are of.
pub(super) fn read(
    dataset: &str,
    prompts: &Prompts,
    options: &Options,
    column: &mut Column,
    chooser: &mut Chooser,
    progress: &mut dyn Progress,
) -> Result<String, EngineError> {
    let name =
        RepoName::parse(dataset.strip_prefix("hf:").unwrap_or(dataset)).ok_or_else(|| {
            EngineError::new(
                format!("{dataset:?} is no name of a dataset of the hub"),
                "Give org/name in prompts.dataset, and the revision in prompts.revision",
            )
        })?;
    let client = HubClient::new(options)?;
    let repo = Repo {
        kind: RepoKind::Dataset,
        name,
    };
    let wanted = Wanted {
        subset: prompts.subset.as_deref(),
        split: &prompts.split,
    };
    let (listing, files) = find(&client, &repo, prompts, wanted, progress)?;
    for file in files {
        let Some(format) = Format::of(&file) else {
            continue;
        };
        let path = client.file(&repo, &listing.commit, &file, progress)?;
        // the name in the cache says more than that of the blob it links to
        if read_as(format, &path, column, chooser)?.is_break() {
            break;
        }
    }
    Ok(listing.commit)
}

fn find(
    client: &HubClient,
    repo: &Repo,
    prompts: &Prompts,
    wanted: Wanted<'_>,
    progress: &mut dyn Progress,
) -> Result<(Listing, Vec<String>), EngineError> {
    let own = client.list(repo, prompts.revision.as_deref(), progress)?;
    let why = match declared(&own, wanted).unwrap_or_else(|| by_name(&own.files, wanted)) {
        Ok(files) => return Ok((own, files)),
        Err(why) => why,
    };
    let refuse = || {
        EngineError::new(
            format!("{repo} at {} has no data that lem reads: {why}", own.commit),
            "Check prompts.split, prompts.subset and prompts.revision; lem reads Parquet, JSONL and text",
        )
    };
    // the conversion is of the newest commit only
    if prompts
        .revision
        .as_deref()
        .is_some_and(|revision| revision != "main")
    {
        return Err(refuse());
    }
    let Ok(converted) = client.list(repo, Some(CONVERTED), progress) else {
        return Err(refuse());
    };
    match in_conversion(&converted.files, wanted) {
        Ok(files) => {
            progress.message(&format!("{repo}: using the hub's conversion to Parquet"));
            Ok((converted, files))
        }
        Err(other) => Err(EngineError::new(
            format!(
                "{repo} has no data that lem reads: {why}; and in its conversion to Parquet, {other}"
            ),
            "Check prompts.split and prompts.subset",
        )),
    }
}
