use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lem_record::{Artifact, ArtifactKind};
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use sha2::Sha512;

use super::text::{clean, word};

/// A W&B artifact with one file: what `CreateArtifact` and the manifest say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactSpec {
    /// Of its collection. Versions of it are those of one run and path.
    pub name: String,
    /// `result`, `config`, …
    pub kind: &'static str,
    pub description: String,
    /// JSON text.
    pub metadata: String,
    /// 128 characters, from the run and the content: a second try is the same artifact.
    pub client_id: String,
    /// 128 characters, from the run and the path.
    pub sequence_client_id: String,
    pub entry: Entry,
}

/// A file in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: String,
    pub size: u64,
    /// MD5, as base64.
    pub md5: String,
}

impl Entry {
    pub fn new(path: &str, size: u64, md5: [u8; 16]) -> Self {
        Self {
            path: clean(path),
            size,
            md5: STANDARD.encode(md5),
        }
    }
}

/// The digest of a manifest: MD5, hexadecimal, of a fixed line and then a line
/// `path:base64 MD5` for each file, sorted by path.
pub fn digest_of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> String {
    let mut sorted: Vec<&Entry> = entries.into_iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hash = Md5::new();
    hash.update("wandb-artifact-manifest-v1\n");
    for entry in sorted {
        hash.update(format!("{}:{}\n", entry.path, entry.md5));
    }
    hex::encode(hash.finalize())
}

impl ArtifactSpec {
    /// `run` is the id at W&B; the size and the MD5 are those of the file as it is.
    pub fn new(run: &str, artifact: &Artifact, size: u64, md5: [u8; 16]) -> Self {
        let kind = kind(artifact.artifact);
        let file = artifact.path.rsplit('/').next().unwrap_or_default();
        let entry = Entry::new(file, size, md5);
        // the whole path makes two files of one name two collections
        let stem = artifact.path.strip_prefix("artifacts/");
        let stem = stem.unwrap_or(&artifact.path).replace('/', ".");
        let metadata = BTreeMap::from([
            ("lem.path", clean(&artifact.path)),
            ("sha256", artifact.sha256.clone()),
        ]);
        let id = |of: &[&str]| {
            let mut hash = Sha512::new();
            for part in of {
                hash.update(part.as_bytes());
                hash.update([0]);
            }
            hex::encode(hash.finalize())
        };
        Self {
            name: format!("run-{}-{}", word(run, 48), word(&stem, 64)),
            kind,
            description: format!("{} of a run of lem", clean(&artifact.path)),
            metadata: json!(metadata).to_string(),
            client_id: id(&["client", run, &artifact.path, &entry.md5]),
            sequence_client_id: id(&["sequence", run, &artifact.path]),
            entry,
        }
    }

    pub fn digest(&self) -> String {
        digest_of([&self.entry])
    }

    /// `birth` is the id of the artifact, where there is one yet.
    pub fn manifest(&self, birth: Option<&str>) -> Value {
        let mut entry = json!({"digest": self.entry.md5, "size": self.entry.size});
        if let (Some(fields), Some(birth)) = (entry.as_object_mut(), birth) {
            fields.insert("birthArtifactID".to_owned(), json!(birth));
            fields.insert("skip_cache".to_owned(), json!(false));
        }
        let mut contents = serde_json::Map::new();
        contents.insert(self.entry.path.clone(), entry);
        json!({
            "version": 1,
            "storagePolicy": "wandb-storage-policy-v1",
            "storagePolicyConfig": {"storageLayout": "V2"},
            "contents": contents,
        })
    }
}

const fn kind(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Config => "config",
        ArtifactKind::Result => "result",
        ArtifactKind::Series => "series",
        ArtifactKind::Profile => "profile",
        ArtifactKind::Evaluation => "evaluation",
        ArtifactKind::Plot => "plot",
        ArtifactKind::Log => "log",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Entry, digest_of};

    /// The values are those of `wandb.Artifact` 0.31.0 for the same files.
    #[test]
    fn the_digest_is_the_official_one() {
        let entry = |path: &str, bytes: &[u8]| {
            use md5::Digest as _;
            Entry::new(path, bytes.len() as u64, md5::Md5::digest(bytes).into())
        };
        assert_eq!(entry("res.json", b"{}\n").md5, OFFICIAL_MD5);
        assert_eq!(digest_of([&entry("res.json", b"{}\n")]), OFFICIAL_ONE);
        let two = [entry("b/z.txt", b"z"), entry("a.txt", b"a")];
        assert_eq!(digest_of(&two), OFFICIAL_TWO);
    }

    const OFFICIAL_MD5: &str = "ioBVTJHZ/KisuC8CPeAvEQ==";
    const OFFICIAL_ONE: &str = "09a281ab61fb82e4fc96545b2d2543f7";
    const OFFICIAL_TWO: &str = "bc7e427f6066f5d52731c22397ffbf22";
}
