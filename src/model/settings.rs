use std::path::{Path, PathBuf};
use std::time::Duration;

use lem_record::Secret;

/// Where models and datasets come from and where they are kept.
#[derive(Clone, Debug)]
pub struct Options {
    pub hub: Hub,
    /// lem's own cache folder; absent where no home folder is known.
    pub cache: Option<PathBuf>,
    /// What `~` means.
    pub home: Option<PathBuf>,
    /// Expected SHA-256 of the model file, lower-case hexadecimal.
    pub sha256: Option<String>,
    /// The Python that has pip.
    pub python: String,
    /// The model's shape is enough: its weights will be random.
    pub shape_only: bool,
}

impl Options {
    /// From variables by name. Reads nothing else: `LEM_CACHE`, `XDG_CACHE_HOME`, `HOME`, `LEM_PYTHON`,
    /// and those of [`Hub::from`].
    pub fn from(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let home = get("HOME").map(PathBuf::from);
        let caches = caches(&get, home.as_deref());
        let cache = get("LEM_CACHE").map(|path| expand(&path, home.as_deref()));
        Self {
            hub: Hub::from(get),
            cache: cache.or_else(|| Some(caches?.join("lem"))),
            sha256: None,
            shape_only: false,
            python: get("LEM_PYTHON").unwrap_or_else(|| "python3".to_owned()),
            home,
        }
    }
}

/// How to reach the Hugging Face hub, by the names that its own tools use.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The folder with `models--…` and `datasets--…`; absent where no home folder is known.
    pub cache: Option<PathBuf>,
    pub token: Option<Secret>,
    /// A file with the token, for where `token` is absent.
    pub token_path: Option<PathBuf>,
    /// Without a slash at the end.
    pub endpoint: String,
    /// Only what is in the cache.
    pub offline: bool,
    pub patience: Patience,
}

impl Hub {
    /// `HF_HOME`, `HF_HUB_CACHE` (`HUGGINGFACE_HUB_CACHE`), `HF_TOKEN` (`HUGGING_FACE_HUB_TOKEN`),
    /// `HF_TOKEN_PATH`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` (`TRANSFORMERS_OFFLINE`), `XDG_CACHE_HOME`, `HOME`.
    pub fn from(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| get(name));
        let home = get("HOME").map(PathBuf::from);
        let path = |text: String| expand(&text, home.as_deref());
        let hf_home = get("HF_HOME")
            .map(path)
            .or_else(|| Some(caches(&get, home.as_deref())?.join("huggingface")));
        let cache = first(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
            .map(path)
            .or_else(|| Some(hf_home.as_ref()?.join("hub")));
        let token = first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]);
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Self {
            cache,
            token: token.map(|token| Secret::new(token.trim())),
            token_path: get("HF_TOKEN_PATH")
                .map(path)
                .or_else(|| Some(hf_home?.join("token"))),
            endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
                .iter()
                .any(|name| get(name).is_some_and(|value| is_true(&value))),
            patience: Patience::default(),
        }
    }
}

/// How often and how long the hub is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Tries in a row that bring nothing.
    pub tries: u32,
    /// Before the second try; doubles from there on.
    pub first_wait: Duration,
    /// A longer Retry-After ends it.
    pub longest_wait: Duration,
    /// For a connection, and for the next bytes of an answer.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 5,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(120),
            silence: Duration::from_secs(30),
        }
    }
}

/// The spellings that the hub's own client takes for yes.
fn is_true(value: &str) -> bool {
    matches!(
        value.trim().to_ascii_uppercase().as_str(),
        "1" | "ON" | "YES" | "TRUE"
    )
}

fn caches(get: &impl Fn(&str) -> Option<String>, home: Option<&Path>) -> Option<PathBuf> {
    get("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(home?.join(".cache")))
}

/// `~` and `~/…` with the home folder put in.
pub(super) fn expand(text: &str, home: Option<&Path>) -> PathBuf {
    let rest = match text.strip_prefix('~') {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    };
    match (rest, home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Hub, Options};

    fn with<'a>(vars: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn the_hub_s_own_variables_decide_as_they_do_in_its_client() {
        let hub = Hub::from(with(&[("HOME", "/h")]));
        assert_eq!(
            hub.cache.as_deref(),
            Some(Path::new("/h/.cache/huggingface/hub"))
        );
        assert_eq!(
            hub.token_path.as_deref(),
            Some(Path::new("/h/.cache/huggingface/token"))
        );
        assert_eq!(hub.endpoint, "https://huggingface.co");
        assert!(!hub.offline && hub.token.is_none());

        let hub = Hub::from(with(&[
            ("HOME", "/h"),
            ("XDG_CACHE_HOME", "/x"),
            ("HF_HOME", "~/hf"),
            ("HF_ENDPOINT", "https://mirror.example/"),
            ("TRANSFORMERS_OFFLINE", "yes"),
            ("HF_TOKEN", " hf_secret\n"),
        ]));
        assert_eq!(hub.cache.as_deref(), Some(Path::new("/h/hf/hub")));
        assert_eq!(hub.endpoint, "https://mirror.example");
        assert!(hub.offline);
        assert_eq!(
            hub.token.as_ref().map(|token| token.expose()),
            Some("hf_secret")
        );
        assert!(!format!("{hub:?}").contains("hf_secret"));

        let hub = Hub::from(with(&[("HF_HUB_CACHE", "/c"), ("HF_HUB_OFFLINE", "0")]));
        assert_eq!(hub.cache.as_deref(), Some(Path::new("/c")));
        assert!(!hub.offline);
        assert!(Hub::from(with(&[])).cache.is_none());
    }

    #[test]
    fn lem_s_cache_is_where_it_is_told_or_where_caches_are() {
        let at = |vars: &[(&str, &str)]| Options::from(with(vars)).cache;
        assert_eq!(
            at(&[("HOME", "/h")]).as_deref(),
            Some(Path::new("/h/.cache/lem"))
        );
        let vars = [("HOME", "/h"), ("XDG_CACHE_HOME", "/x")];
        assert_eq!(at(&vars).as_deref(), Some(Path::new("/x/lem")));
        let vars = [("HOME", "/h"), ("LEM_CACHE", "~/c"), ("XDG_CACHE_HOME", "")];
        assert_eq!(at(&vars).as_deref(), Some(Path::new("/h/c")));
        assert_eq!(at(&[]), None);
    }
}
