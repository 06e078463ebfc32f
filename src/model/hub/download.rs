//! One file from the hub into its cache: resumed where it broke off, checked before it counts.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap};

use crate::engine::EngineError;
use crate::model::disk::{cannot, lock, make_parent, need_space};
use crate::model::{Progress, verify};

use super::Repo;
use super::client::HubClient;
use super::http::{Ask, innermost};
use super::layout::{Layout, blob_name};
use super::said::UNREACHABLE;

/// However much each of them brings.
const MOST_CONNECTIONS: u32 = 100;

/// What the hub says of a file.
#[derive(Debug, PartialEq, Eq)]
struct Meta {
    etag: String,
    size: u64,
}

impl Meta {
    /// `X-Linked-…` is about the file; the plain headers may be about a redirect.
    fn of(headers: &HeaderMap) -> Result<Self, &'static str> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let etag = text("x-linked-etag")
            .or_else(|| text(ETAG.as_str()))
            .ok_or("no etag")?;
        let size = text("x-linked-size").or_else(|| text(CONTENT_LENGTH.as_str()));
        Ok(Self {
            etag: blob_name(etag)
                .ok_or("an etag that can name no file")?
                .to_owned(),
            size: size.and_then(|size| size.parse().ok()).ok_or("no size")?,
        })
    }

    /// Large files are named by their SHA-256, small ones by a Git hash.
    fn sha256(&self) -> Option<&str> {
        let hex = self.etag.len() == 64 && self.etag.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then_some(self.etag.as_str())
    }
}

impl HubClient {
    pub(super) fn fetch(
        &self,
        repo: &Repo,
        layout: &Layout,
        commit: &str,
        path: &str,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, EngineError> {
        let what = format!("{path} of {repo}");
        let url = self.file_url(repo, commit, path);
        let meta = self.meta(&what, &url, commit, progress)?;
        let blob = layout.blob(&meta.etag);
        if !is_whole(&blob, meta.size) {
            let _lock = lock(&layout.lock(&meta.etag), progress)?;
            // another process may have fetched it while we waited
            if !is_whole(&blob, meta.size) {
                let incomplete = layout.incomplete(&meta.etag);
                make_parent(&incomplete)?;
                progress.message(&format!("Fetching {what}"));
                self.transfer(&what, &url, &meta, &incomplete, progress)?;
                self.accept(&what, &meta, &incomplete, &blob, progress)?;
            }
        }
        layout.link(commit, path, &meta.etag)
    }

    fn meta(
        &self,
        what: &str,
        url: &str,
        commit: &str,
        progress: &mut dyn Progress,
    ) -> Result<Meta, EngineError> {
        let ask = Ask {
            what,
            url,
            from: 0,
            head: true,
        };
        let response = self.runtime.block_on(self.http.ask(ask, progress))?;
        let of = response
            .headers()
            .get("x-repo-commit")
            .and_then(|value| value.to_str().ok());
        if of.is_some_and(|of| of != commit) {
            return Err(self.nonsense(what, "that of another commit"));
        }
        Meta::of(response.headers())
            .map_err(|why| self.nonsense(what, &format!("an answer with {why}")))
    }

    /// Appends to the incomplete file until it has its size.
    fn transfer(
        &self,
        what: &str,
        url: &str,
        meta: &Meta,
        incomplete: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), EngineError> {
        let failed = |error: &io::Error| cannot("written", incomplete, error);
        let open = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(incomplete);
        let mut file = open.map_err(|error| failed(&error))?;
        let mut have = file
            .seek(SeekFrom::End(0))
            .map_err(|error| failed(&error))?;
        if have > meta.size {
            have = restart(&mut file).map_err(|error| failed(&error))?;
        }
        need_space(incomplete.parent().unwrap_or(incomplete), meta.size - have)?;
        progress.total(Some(meta.size));
        progress.advance(have);

        let mut fruitless = 0;
        let mut connections = 0;
        while have < meta.size {
            connections += 1;
            let before = have;
            let broke = self.runtime.block_on(async {
                let ask = Ask {
                    what,
                    url,
                    from: have,
                    head: false,
                };
                let mut response = self.http.ask(ask, progress).await?;
                let goes_on = response.status() == StatusCode::PARTIAL_CONTENT
                    && starts_at(response.headers(), have);
                if have > 0 && !goes_on {
                    // the server does not resume: once more from the start
                    have = restart(&mut file).map_err(|error| failed(&error))?;
                    progress.total(Some(meta.size));
                }
                if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                    return Ok(Some("it cannot go on where it broke off".to_owned()));
                }
                loop {
                    match response.chunk().await {
                        Ok(Some(chunk)) => {
                            if have + chunk.len() as u64 > meta.size {
                                restart(&mut file).map_err(|error| failed(&error))?;
                                return Err(self.nonsense(
                                    what,
                                    &format!("more than the {} bytes that it announced", meta.size),
                                ));
                            }
                            file.write_all(&chunk).map_err(|error| failed(&error))?;
                            have += chunk.len() as u64;
                            progress.advance(chunk.len() as u64);
                        }
                        Ok(None) if have == meta.size => return Ok(None),
                        Ok(None) => return Ok(Some("the answer ended early".to_owned())),
                        Err(error) => return Ok(Some(innermost(&error))),
                    }
                }
            })?;
            let Some(broke) = broke else { break };
            fruitless = if have > before { 0 } else { fruitless + 1 };
            if fruitless >= self.http.patience().tries || connections >= MOST_CONNECTIONS {
                return Err(EngineError::new(
                    format!(
                        "{what} broke off at {have} of {} bytes, again and again: {broke}",
                        meta.size
                    ),
                    format!("Run again to go on from there. {UNREACHABLE}"),
                ));
            }
            progress.message(&format!(
                "{what} broke off ({broke}): going on at {have} bytes"
            ));
            std::thread::sleep(self.http.backoff(fruitless.max(1)));
        }
        file.sync_all().map_err(|error| failed(&error))
    }

    /// Makes a whole file count, if it is the right one.
    fn accept(
        &self,
        what: &str,
        meta: &Meta,
        incomplete: &Path,
        blob: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), EngineError> {
        if let Some(expected) = meta.sha256() {
            progress.message(&format!("Checking {what}"));
            let actual = verify::hash(incomplete, meta.size, progress)?;
            if let Err(error) = verify::compare(
                incomplete,
                expected,
                &actual,
                "It was deleted. Run again; if that happens again, something on the way to the hub changes what passes",
            ) {
                // resuming it would never come right
                let _ = fs::remove_file(incomplete);
                return Err(error);
            }
        }
        fs::rename(incomplete, blob).map_err(|error| cannot("written", blob, &error))?;
        if let Some(sha256) = meta.sha256() {
            verify::note(blob, self.own_cache.as_deref(), sha256);
        }
        Ok(())
    }
}

fn is_whole(blob: &Path, size: u64) -> bool {
    fs::metadata(blob).is_ok_and(|meta| meta.is_file() && meta.len() == size)
}

fn restart(file: &mut File) -> io::Result<u64> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))
}

/// `Content-Range: bytes 5-9/10`
fn starts_at(headers: &HeaderMap, at: u64) -> bool {
    headers
        .get(CONTENT_RANGE)
        .and_then(|value| {
            value
                .to_str()
                .ok()?
                .trim()
                .strip_prefix("bytes ")?
                .split_once('-')
        })
        .is_some_and(|(start, _)| start.trim().parse() == Ok(at))
}
