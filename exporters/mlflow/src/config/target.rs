use std::path::{Path, PathBuf};

use lem_http::url_without_secrets;
use percent_encoding::percent_decode_str;

use super::ConfigError;

/// What a tracking URI means.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// Base address of a tracking server, as given: it may hold a password.
    Server(String),
    /// Root folder of a file store.
    Files(PathBuf),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(base) => write!(f, "Server({})", shown(base)),
            Self::Files(root) => write!(f, "Files({})", root.display()),
        }
    }
}

/// A tracking URI without the secrets in it.
pub(super) fn shown(uri: &str) -> String {
    match uri.contains("://") {
        true => url_without_secrets(uri),
        false => uri.to_owned(),
    }
}

pub(super) fn parse(uri: Option<&str>) -> Result<Target, ConfigError> {
    let uri = uri.map(str::trim).unwrap_or("mlruns");
    let refuse =
        |problem: String, remedy: &str| Err(ConfigError::new("tracking_uri", problem, remedy));
    let scheme = uri
        .split_once(':')
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    let scheme = scheme.as_deref().filter(|s| {
        s.len() > 1
            && s.chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    });
    match scheme {
        Some("http" | "https") => Ok(Target::Server(uri.to_owned())),
        Some("file") => file_path(uri).map(Target::Files),
        _ if uri.is_empty() => refuse(
            "it is empty".into(),
            "Set it to http://HOST:5000 or to a folder, or leave it out for ./mlruns",
        ),
        Some(scheme) if scheme == "databricks" || scheme.starts_with("uc") => refuse(
            format!("{scheme} is not supported"),
            "Use the https:// address of the workspace with a token, or another tracking server",
        ),
        None if uri == "databricks" => refuse(
            "databricks is not supported".into(),
            "Use the https:// address of the workspace with a token, or another tracking server",
        ),
        Some(scheme) if is_database(scheme) => refuse(
            format!("{scheme}: is the server's own database, which only its server may write"),
            "Start a server on it, `mlflow server --backend-store-uri URI`, and set this to http://127.0.0.1:5000; or set a folder, and import it later with `mlflow migrate-filestore`",
        ),
        Some(scheme) if uri.contains("://") => refuse(
            format!("{scheme}:// is not a kind of tracking server"),
            "Use http://, https:// or a folder",
        ),
        _ => Ok(Target::Files(PathBuf::from(uri))),
    }
}

fn is_database(scheme: &str) -> bool {
    let name = scheme.split('+').next().unwrap_or(scheme);
    matches!(
        name,
        "sqlite" | "mysql" | "postgres" | "postgresql" | "mssql"
    )
}

/// The path of a `file:` URI of this machine.
pub(crate) fn file_path(uri: &str) -> Result<PathBuf, ConfigError> {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !host.is_empty() && host != "localhost" {
                return Err(ConfigError::new(
                    "tracking_uri",
                    format!("file://{host}/… is on another machine"),
                    "Write file:///PATH with three slashes for a folder of this one",
                ));
            }
            path
        }
    };
    let path = percent_decode_str(path).decode_utf8_lossy();
    if path.is_empty() || path.contains('\0') {
        return Err(ConfigError::new(
            "tracking_uri",
            "this file: URI has no path",
            "Write file:///PATH, or just the path",
        ));
    }
    Ok(Path::new(path.as_ref()).to_owned())
}
