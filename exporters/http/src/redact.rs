use std::fmt;

use lem_record::Secret;
use reqwest::Url;

/// Words in a query parameter's name that make its value a secret.
const SECRET_NAMES: &[&str] = &[
    "token",
    "key",
    "secret",
    "password",
    "passwd",
    "pwd",
    "signature",
    "sig",
    "credential",
    "auth",
];

/// Takes a client's own credentials out of a text, such as an answer that echoes them.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Vec<Secret>,
}

impl Redactor {
    /// Shorter ones would be found in every other word.
    const SHORTEST: usize = 3;

    pub fn add(&mut self, secret: &str) {
        if secret.len() >= Self::SHORTEST {
            self.secrets.push(Secret::new(secret));
        }
    }

    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret.expose()) {
                text = text.replace(secret.expose(), "***");
            }
        }
        text
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

/// An address as it may be shown: without user, password, fragment and the values
/// of parameters that look like credentials. What is no URL is not shown at all.
pub fn url_without_secrets(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return "(not a URL)".to_owned();
    };
    // both fail only for URLs without a host, which have no user either
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    if url.query().is_some() {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let lower = name.to_ascii_lowercase();
                let secret = SECRET_NAMES.iter().any(|word| lower.contains(word));
                let value = if secret {
                    "***".into()
                } else {
                    value.into_owned()
                };
                (name.into_owned(), value)
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::{Redactor, url_without_secrets};

    #[test]
    fn an_address_is_shown_without_what_is_secret_in_it() {
        let shown = url_without_secrets(
            "https://ann:hunter2@ml.example/x?api_key=k1&X-Amz-Signature=s1&page=2#tok",
        );
        assert_eq!(
            shown,
            "https://ml.example/x?api_key=***&X-Amz-Signature=***&page=2"
        );
        assert_eq!(url_without_secrets("hunter2"), "(not a URL)");
    }

    #[test]
    fn an_echoed_credential_is_taken_out() {
        let mut redactor = Redactor::default();
        redactor.add("hunter2");
        redactor.add("");
        assert_eq!(redactor.clean("bad token hunter2!"), "bad token ***!");
        assert!(!format!("{redactor:?}").contains("hunter2"));
    }
}
