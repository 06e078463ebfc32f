use std::path::{Path, PathBuf};

use lem_record::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::engine::EngineError;
use crate::model::disk::{read_small, replace};
use crate::model::uri::{is_revision, safe_relative};
use crate::model::{Options, Progress};

use super::http::{Ask, Fault, Http};
use super::layout::{Layout, is_commit};
use super::{Repo, RepoKind};

/// An answer of the API is some megabytes for the largest repositories.
const MOST_API_BYTES: usize = 64 << 20;

/// What the hub leaves as it is in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Speaks to one hub and keeps its cache. Calls block; not to be used within a runtime.
#[derive(Debug)]
pub struct HubClient {
    pub(super) http: Http,
    pub(super) runtime: Runtime,
    pub(super) cache: PathBuf,
    pub(super) own_cache: Option<PathBuf>,
    endpoint: String,
    offline: bool,
}

/// The files of one commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// 40 hexadecimal digits.
    pub commit: String,
    pub files: Vec<String>,
    /// The metadata at the top of the repository's README, as the hub read it.
    #[serde(default)]
    pub card: Value,
}

impl HubClient {
    pub fn new(options: &Options) -> Result<Self, EngineError> {
        let hub = &options.hub;
        let Some(cache) = hub.cache.clone() else {
            return Err(EngineError::new(
                "There is no folder for what is fetched from the hub: no home folder is known",
                "Set HF_HOME to a folder",
            ));
        };
        let token = hub
            .token
            .clone()
            .or_else(|| read_token(hub.token_path.as_deref()?));
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                EngineError::new(
                    format!("The network cannot be used: {error}"),
                    "Check the limits on threads and open files (ulimit -a)",
                )
            })?;
        Ok(Self {
            http: Http::new(hub, token)?,
            runtime,
            cache,
            own_cache: options.cache.clone(),
            endpoint: hub.endpoint.clone(),
            offline: hub.offline,
        })
    }

    pub fn offline(&self) -> bool {
        self.offline
    }

    /// What a revision (`main` where left out) is at the moment. Where the hub is
    /// not reached, or not to be asked: what it was when it was last asked for.
    pub fn list(
        &self,
        repo: &Repo,
        revision: Option<&str>,
        progress: &mut dyn Progress,
    ) -> Result<Listing, EngineError> {
        let revision = revision.unwrap_or("main");
        if !is_revision(revision) {
            return Err(EngineError::new(
                format!("{revision:?} is no revision of {repo}"),
                "Give a branch, a tag or a commit",
            ));
        }
        // a commit never changes
        if is_commit(revision)
            && let Some(known) = self.kept(repo, revision)
        {
            return Ok(known);
        }
        if self.offline {
            return self.cached(repo, revision).ok_or_else(|| {
                EngineError::new(
                    format!(
                        "{repo} at {revision} is not in the cache {}, and the hub is not to be asked (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE)",
                        self.cache.display()
                    ),
                    "Run once without that variable, or give the path of the files",
                )
            });
        }
        match self.ask_for(repo, revision, progress) {
            Ok(listing) => {
                let layout = self.layout(repo);
                if !is_commit(revision) {
                    layout.set_commit_of(revision, &listing.commit)?;
                }
                self.keep(repo, &listing);
                Ok(listing)
            }
            Err(Fault::Unreachable(error)) => {
                let Some(cached) = self.cached(repo, revision) else {
                    return Err(error);
                };
                progress.message(&format!(
                    "{}; using what is in the cache: {repo} at {}",
                    error.what, cached.commit
                ));
                Ok(cached)
            }
            Err(Fault::Refused(error)) => Err(error),
        }
    }

    fn ask_for(
        &self,
        repo: &Repo,
        revision: &str,
        progress: &mut dyn Progress,
    ) -> Result<Listing, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            sha: String,
            #[serde(default)]
            siblings: Vec<Sibling>,
            #[serde(default, rename = "cardData")]
            card: Value,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }

        let url = format!(
            "{}/api/{}/{}/revision/{}",
            self.endpoint,
            repo.kind.plural(),
            repo.name,
            utf8_percent_encode(revision, PATH)
        );
        let what = format!("{repo} at {revision}");
        let ask = Ask {
            what: &what,
            url: &url,
            from: 0,
            head: false,
        };
        let bytes = self.runtime.block_on(async {
            let mut response = self.http.ask(ask, progress).await?;
            let mut bytes = Vec::new();
            loop {
                match response.chunk().await {
                    Ok(Some(chunk)) if bytes.len() + chunk.len() <= MOST_API_BYTES => {
                        bytes.extend_from_slice(&chunk);
                    }
                    Ok(Some(_)) => return Err(self.nonsense(&what, "a very long answer").into()),
                    Ok(None) => return Ok(bytes),
                    Err(_) => return Err(self.nonsense(&what, "half an answer").into()),
                }
            }
        });
        let bytes: Vec<u8> = bytes.map_err(|fault: Fault| fault)?;
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|error| {
            self.nonsense(&what, &format!("no such answer as the hub gives: {error}"))
        })?;
        if !is_commit(&answer.sha) {
            return Err(self.nonsense(&what, "an answer without a commit").into());
        }
        let names = answer.siblings.into_iter().map(|sibling| sibling.rfilename);
        let mut files: Vec<String> = names.filter(|name| safe_relative(name).is_some()).collect();
        files.sort_unstable();
        Ok(Listing {
            commit: answer.sha,
            files,
            card: answer.card,
        })
    }

    pub(super) fn nonsense(&self, what: &str, got: &str) -> EngineError {
        EngineError::new(
            format!("{} was asked for {what} and gave {got}", self.http.host()),
            "Try again; check HF_ENDPOINT if you set it",
        )
    }

    /// A file of a commit: from the cache, else fetched into it.
    pub fn file(
        &self,
        repo: &Repo,
        commit: &str,
        path: &str,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, EngineError> {
        if safe_relative(path).is_none() || !is_commit(commit) {
            return Err(EngineError::new(
                format!("{path:?} is no file of {repo}"),
                "Check the name of the file",
            ));
        }
        let layout = self.layout(repo);
        let here = layout.snapshot(commit).join(path);
        if here.is_file() {
            return Ok(here);
        }
        if self.offline {
            return Err(EngineError::new(
                format!(
                    "{path} of {repo} is not in the cache, and the hub is not to be asked (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE)"
                ),
                "Run once without that variable",
            ));
        }
        self.fetch(repo, &layout, commit, path, progress)
    }

    pub(super) fn file_url(&self, repo: &Repo, commit: &str, path: &str) -> String {
        let kind = match repo.kind {
            RepoKind::Model => "",
            RepoKind::Dataset => "datasets/",
        };
        let path: Vec<String> = path
            .split('/')
            .map(|part| utf8_percent_encode(part, PATH).to_string())
            .collect();
        format!(
            "{}/{kind}{}/resolve/{commit}/{}",
            self.endpoint,
            repo.name,
            path.join("/")
        )
    }

    fn layout(&self, repo: &Repo) -> Layout {
        Layout::new(&self.cache, repo)
    }

    fn cached(&self, repo: &Repo, revision: &str) -> Option<Listing> {
        let layout = self.layout(repo);
        let commit = match is_commit(revision) {
            true => revision.to_owned(),
            false => layout.commit_of(revision)?,
        };
        self.kept(repo, &commit).or_else(|| {
            // fetched by another program: what is there is all that is known
            let files = layout.files(&commit);
            (!files.is_empty()).then_some(Listing {
                commit,
                files,
                card: Value::Null,
            })
        })
    }

    /// A snapshot in the cache may be of a few files only. To tell "is not there"
    /// from "was not fetched", whole listings are kept in lem's own cache.
    fn listing_path(&self, repo: &Repo, commit: &str) -> Option<PathBuf> {
        let name = repo.name.as_str().replace('/', "--");
        let folder = format!("{}--{name}", repo.kind.plural());
        Some(
            self.own_cache
                .as_ref()?
                .join("hub")
                .join(folder)
                .join(format!("{commit}.json")),
        )
    }

    fn keep(&self, repo: &Repo, listing: &Listing) {
        if let Some(path) = self.listing_path(repo, &listing.commit)
            && let Ok(bytes) = serde_json::to_vec(listing)
        {
            let _ = replace(&path, &bytes); // without it the snapshot serves
        }
    }

    fn kept(&self, repo: &Repo, commit: &str) -> Option<Listing> {
        let path = self.listing_path(repo, commit)?;
        let bytes = read_small(&path, MOST_API_BYTES as u64).ok()?;
        let listing: Listing = serde_json::from_slice(&bytes).ok()?;
        let sound = listing.commit == commit
            && listing
                .files
                .iter()
                .all(|name| safe_relative(name).is_some());
        sound.then_some(listing)
    }
}

fn read_token(path: &Path) -> Option<Secret> {
    let text = String::from_utf8(read_small(path, 4096).ok()?).ok()?;
    let token = text.trim();
    (!token.is_empty()).then(|| Secret::new(token))
}
