//! The commit of the configuration's folder.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fact, Root};

/// A repository on a slow disk must not hold a run.
const PATIENCE: Duration = Duration::from_secs(2);
const MOST_BYTES: u64 = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Git {
    pub commit: String,
    pub branch: Fact<String>,
    /// URL of `origin`, without credentials.
    pub remote: Fact<String>,
    /// Files that git tracks differ from the commit.
    pub dirty: Fact<bool>,
}

pub(super) fn collect(folder: &Path) -> Fact<Git> {
    collect_with("git", folder)
}

fn collect_with(program: &str, folder: &Path) -> Fact<Git> {
    let commit = match run(program, folder, &["rev-parse", "--verify", "HEAD"]) {
        Ok(commit) => commit,
        // No git here, or it refuses another user's folder: the files tell most of it.
        Err(why_git) => {
            return match by_hand(folder, &why_git) {
                Ok(git) => Fact::Value(git),
                Err(why) => Fact::absent(why),
            };
        }
    };
    let branch = run(program, folder, &["symbolic-ref", "--short", "-q", "HEAD"])
        .map_err(|_| "no branch is checked out (detached HEAD)".to_owned());
    let remote = run(program, folder, &["config", "--get", "remote.origin.url"])
        .map(|url| without_credentials(&url))
        .map_err(|_| "there is no remote `origin`".to_owned());
    let dirty = run(
        program,
        folder,
        &[
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--ignore-submodules=dirty",
        ],
    )
    .map(|files| !files.is_empty());
    Fact::Value(Git {
        commit,
        branch: branch.into(),
        remote: remote.into(),
        dirty: dirty.into(),
    })
}

/// What git prints, trimmed. Its own locks and the repository's hooks are left alone.
fn run(program: &str, folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut child = Command::new(program)
        .arg("--no-optional-locks")
        .args(["-c", "core.fsmonitor=false", "-C"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "git is not installed".to_owned(),
            _ => format!("git could not be started: {error}"),
        })?;
    let stdout = child.stdout.take();
    // Reads beside us, so that a full pipe does not hold git; more than enough is not read.
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(stdout) = stdout {
            let _ = stdout.take(MOST_BYTES).read_to_end(&mut text);
        }
        text
    });
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "git did not answer within {} s",
                    PATIENCE.as_secs()
                ));
            }
        }
    };
    let text = reader.join().unwrap_or_default();
    // Cut short, git ends by the broken pipe: what was read still tells that there is something.
    if !status.success() && text.is_empty() {
        return Err("git says that this is not a repository that it may read".to_owned());
    }
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

fn by_hand(folder: &Path, why_git: &str) -> Result<Git, String> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let dot_git = folder
        .ancestors()
        .map(|ancestor| ancestor.join(".git"))
        .find(|path| path.exists())
        .ok_or_else(|| format!("{} is in no git repository", folder.display()))?;
    let own = match dot_git.is_dir() {
        true => Root::at(&dot_git),
        // A worktree or submodule: `gitdir: PATH`.
        false => {
            let text = Root::at("").read(&dot_git)?;
            let path = text.strip_prefix("gitdir:").unwrap_or_default().trim();
            Root::at(dot_git.parent().unwrap_or(&folder).join(path))
        }
    };
    let common = match own.read("commondir") {
        Ok(path) => Root::at(own.path(PathBuf::from(path))),
        Err(_) => own.clone(),
    };
    let head = own.read("HEAD")?;
    let reference = head.strip_prefix("ref:").map(str::trim);
    let commit = match reference {
        None => Some(head.clone()),
        Some(reference) if reference.contains("..") => None,
        Some(reference) => own
            .read(reference)
            .or_else(|_| common.read(reference))
            .ok()
            .or_else(|| packed(&common.read("packed-refs").ok()?, reference)),
    };
    let commit = commit
        .filter(|id| id.len() >= 40 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or_else(|| format!("{} has no commit yet", dot_git.display()))?;
    let branch = reference.and_then(|r| r.strip_prefix("refs/heads/"));
    let remote = common.read("config").ok().and_then(|text| origin(&text));
    Ok(Git {
        commit,
        branch: Fact::from_option(
            branch.map(str::to_owned),
            "no branch is checked out (detached HEAD)",
        ),
        remote: Fact::from_option(
            remote.map(|url| without_credentials(&url)),
            "there is no remote `origin`",
        ),
        dirty: Fact::absent(why_git),
    })
}

fn packed(refs: &str, reference: &str) -> Option<String> {
    refs.lines().find_map(|line| {
        let (id, name) = line.split_once(' ')?;
        (name == reference).then(|| id.to_owned())
    })
}

fn origin(config: &str) -> Option<String> {
    let mut in_origin = false;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            in_origin = line == "[remote \"origin\"]";
        } else if in_origin
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "url"
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

/// A remote's URL without what lets one in: user and password, and what follows `?` or `#`.
/// The user of an `ssh` remote stays, for it is no secret (`git@…`).
pub(super) fn without_credentials(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    let (user, host) = match rest.split_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, rest),
    };
    let host_end = host.split(['?', '#']).next().unwrap_or_default();
    // A password with these in it, unescaped, can end anywhere.
    if host_end.contains('@') || user.is_some_and(|user| user.contains(['?', '#', '/'])) {
        return "not shown: it cannot be told from its password".to_owned();
    }
    let host = host_end;
    let ssh = matches!(scheme, None | Some("ssh" | "git+ssh" | "ssh+git"));
    let user = user.filter(|user| ssh && !user.contains(':'));
    let scheme = scheme.map(|s| format!("{s}://")).unwrap_or_default();
    let user = user.map(|u| format!("{u}@")).unwrap_or_default();
    format!("{scheme}{user}{host}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn git(folder: &Path, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=T", "-c", "user.email=t@example.org", "-C"])
            .arg(folder)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn repository() -> (tempfile::TempDir, PathBuf, String) {
        let dir = tempfile::tempdir().unwrap();
        let configs = dir.path().join("configs");
        fs::create_dir(&configs).unwrap();
        fs::write(configs.join("a.yaml"), "a: 1\n").unwrap();
        git(dir.path(), &["init", "-q", "-b", "trunk"]);
        git(dir.path(), &["add", "."]);
        git(dir.path(), &["commit", "-q", "-m", "first"]);
        git(
            dir.path(),
            &[
                "remote",
                "add",
                "origin",
                "https://ada:s3cret@example.org/team/repo.git",
            ],
        );
        let commit = git(dir.path(), &["rev-parse", "HEAD"]);
        (dir, configs, commit)
    }

    #[test]
    fn commit_branch_remote_and_changes_are_told_without_secrets() {
        let (_dir, configs, commit) = repository();
        let told = collect(&configs);
        let git_facts = told.value().unwrap();
        assert_eq!(git_facts.commit, commit);
        assert_eq!(git_facts.branch, Fact::Value("trunk".into()));
        assert_eq!(
            git_facts.remote,
            Fact::Value("https://example.org/team/repo.git".into())
        );
        assert_eq!(git_facts.dirty, Fact::Value(false));
        assert!(!serde_json::to_string(&told).unwrap().contains("s3cret"));
        fs::write(configs.join("a.yaml"), "a: 2\n").unwrap();
        assert_eq!(collect(&configs).value().unwrap().dirty, Fact::Value(true));
        git(&configs, &["checkout", "-q", "--detach"]);
        assert!(collect(&configs).value().unwrap().branch.value().is_none());
    }

    #[test]
    fn without_the_program_the_files_tell() {
        let (dir, configs, commit) = repository();
        let by_files = |folder: &Path| collect_with("no-such-git", folder);
        let told = by_files(&configs);
        let first = told.value().unwrap();
        assert_eq!(first.commit, commit);
        assert_eq!(first.branch, Fact::Value("trunk".into()));
        assert_eq!(
            first.remote,
            Fact::Value("https://example.org/team/repo.git".into())
        );
        assert_eq!(first.dirty, Fact::absent("git is not installed"));
        git(dir.path(), &["pack-refs", "--all"]);
        assert_eq!(by_files(&configs).value().unwrap().commit, commit);
        let tree = tempfile::tempdir().unwrap();
        let tree = tree.path().join("w");
        git(
            dir.path(),
            &[
                "worktree",
                "add",
                "-q",
                "-b",
                "side",
                tree.to_str().unwrap(),
            ],
        );
        let side = by_files(&tree);
        assert_eq!(side.value().unwrap().commit, commit);
        assert_eq!(side.value().unwrap().branch, Fact::Value("side".into()));
    }

    #[test]
    fn no_repository_no_commit_and_no_folder_have_reasons() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(collect(dir.path()), Fact::Absent { .. }));
        assert!(matches!(
            collect(Path::new("/no/such/folder")),
            Fact::Absent { .. }
        ));
        git(dir.path(), &["init", "-q"]);
        let Fact::Absent { reason } = collect(dir.path()) else {
            panic!("there is no commit")
        };
        assert!(reason.contains("no commit yet"), "{reason}");
        fs::write(dir.path().join(".git/HEAD"), "ref: ../../../etc/passwd").unwrap();
        assert!(collect_with("no-such-git", dir.path()).value().is_none());
    }

    #[test]
    fn remotes_are_known_by_their_host() {
        for (url, told) in [
            ("git@github.com:org/repo.git", "git@github.com:org/repo.git"),
            ("ssh://git@host:22/x", "ssh://git@host:22/x"),
            ("ssh://me:pw@host/x", "ssh://host/x"),
            ("https://token@host/x", "https://host/x"),
            ("https://u:p@host/x?access_token=t@u#f", "https://host/x"),
            ("https://host/x?access_token=t", "https://host/x"),
            ("/srv/git/x.git", "/srv/git/x.git"),
            ("u:p@host:x", "host:x"),
            (
                "https://u:p@ss@host/x",
                "not shown: it cannot be told from its password",
            ),
            (
                "https://u:p/w@host/x",
                "not shown: it cannot be told from its password",
            ),
        ] {
            assert_eq!(without_credentials(url), told);
        }
    }

    proptest! {
        #[test]
        fn a_password_never_shows(
            scheme in "(https?|ssh|git|ftp)",
            user in "[a-z]{1,8}",
            password in "[!-~]{0,12}",
        ) {
            let url = format!("{scheme}://{user}:SECRET{password}@host/path");
            prop_assert!(!without_credentials(&url).contains("SECRET"));
            let url = format!("{scheme}://{user}:{password}SECRET@host/path");
            prop_assert!(!without_credentials(&url).contains("SECRET"));
        }
    }
}
