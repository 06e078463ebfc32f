//! The Hugging Face hub and its cache.
//!
//! Files lie where the hub's own tools put and look for them, so that nothing is
//! fetched twice by two programs:
//!
//! ```text
//! <cache>/models--org--name/refs/main                     a commit
//!                           snapshots/<commit>/<path>     a link to …
//!                           blobs/<etag>                  … the bytes; <etag>.incomplete while fetched
//! <cache>/.locks/models--org--name/<etag>.lock
//! ```

mod client;
mod download;
mod http;
mod layout;
mod said;

use crate::engine::EngineError;

use super::choose::{Store, collect};
use super::uri::RepoName;
use super::{ModelFormat, Options, Progress};

pub use client::{HubClient, Listing};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepoKind {
    Model,
    Dataset,
}

impl RepoKind {
    /// As in the API's paths and in the names of the cache's folders.
    const fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    const fn singular(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        }
    }
}

/// A repository of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo {
    pub kind: RepoKind,
    pub name: RepoName,
}

impl std::fmt::Display for Repo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the {} {}", self.kind.singular(), self.name)
    }
}

/// The files of a model of the hub, and the commit that they are of.
pub(super) fn model(
    name: &RepoName,
    revision: Option<&str>,
    file: Option<&str>,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<(ModelFormat, String), EngineError> {
    let client = HubClient::new(options)?;
    let repo = Repo {
        kind: RepoKind::Model,
        name: name.clone(),
    };
    let listing = client.list(&repo, revision, progress)?;
    let mut store = Remote {
        client: &client,
        repo: &repo,
        listing: &listing,
        progress,
    };
    let format = collect(&mut store, file, options.shape_only)?;
    Ok((format, listing.commit))
}

struct Remote<'a> {
    client: &'a HubClient,
    repo: &'a Repo,
    listing: &'a Listing,
    progress: &'a mut dyn Progress,
}

impl Store for Remote<'_> {
    fn what(&self) -> String {
        self.repo.to_string()
    }

    fn names(&self) -> &[String] {
        &self.listing.files
    }

    fn get(&mut self, name: &str) -> Result<std::path::PathBuf, EngineError> {
        self.client
            .file(self.repo, &self.listing.commit, name, self.progress)
    }
}
