//! The few parts of a URL that are needed, and no more allowed.

use crate::TargetError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// From the slash on, without one at its end; may be empty.
    pub path: String,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let wrong = |why: &str| {
            // A user name or a password in the URL must not be shown.
            let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
            TargetError::new(
                format!("the server's address {shown:?} {why}"),
                "Write it as http://host:port or https://host, with a path if the API has one",
            )
        };
        let (scheme, rest) = text
            .trim()
            .split_once("://")
            .ok_or_else(|| wrong("has no http:// or https:// before it"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("is neither http nor https")),
        };
        if rest.contains(['?', '#']) {
            return Err(wrong("has a query or a fragment"));
        }
        if !rest.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("has characters that a URL does not have"));
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(wrong(
                "holds a user name; use the API key or a header instead",
            ));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6.split_once(']').ok_or_else(|| wrong("has an open ["))?;
                (host, after.strip_prefix(':'))
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() || (host.contains(':') && !authority.starts_with('[')) {
            return Err(wrong("has no host"));
        }
        let port = match port {
            None if tls => 443,
            None => 80,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(wrong("has a port that is none")),
            },
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// As it stands in a `Host` header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let url = Url::parse("https://[::1]:8443/api/").unwrap();
        assert_eq!(
            (url.tls, url.host.as_str(), url.port, url.path.as_str()),
            (true, "::1", 8443, "/api")
        );
        assert_eq!(url.authority(), "[::1]:8443");
        let url = Url::parse("http://localhost").unwrap();
        assert_eq!((url.port, url.authority().as_str()), (80, "localhost"));
    }

    #[test]
    fn refusals_show_no_password() {
        for text in [
            "localhost:8000",
            "ftp://x",
            "http://",
            "http://x:0",
            "http://x:y",
            "http://x/?q",
            "http://::1",
            "http://a b",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        let error = Url::parse("http://me:hunter2@host")
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
