use std::fmt;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lem_record::{ExportError, Secret};
use percent_encoding::percent_decode_str;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Identity, Method, Url};

use crate::{Auth, Config, Redactor, Remedies, Reply, Request, status, url_without_secrets};

/// A connection pool to one service, with its credentials.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    base: String,
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Duration,
    pub(crate) max_reply_bytes: usize,
    pub(crate) remedies: Remedies,
    pub(crate) redactor: Redactor,
}

impl Client {
    /// Reads the certificates that the configuration names; connects to nothing.
    pub fn new(config: Config) -> Result<Self, ExportError> {
        static PROVIDER: Once = Once::new();
        // refused only where the program has chosen one already, which then serves
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));

        let (base, from_url) = split_base(&config.base, &config.remedies)?;
        let auth = match &config.auth {
            Auth::None => from_url,
            given => given.clone(),
        };
        let mut redactor = Redactor::default();
        let headers = headers(&auth, &config.headers, &mut redactor)?;
        let builder = reqwest::Client::builder()
            .user_agent(&config.user_agent)
            .connect_timeout(config.connect_timeout)
            // a redirect would turn a POST into a GET and carry our headers to a stranger
            .redirect(reqwest::redirect::Policy::none());
        let http = with_tls(builder, &config)?.build().map_err(|error| {
            ExportError::give_up(
                format!("no HTTP client can be made: {error:#}"),
                "Check the certificates that the configuration of this sink names",
            )
        })?;
        Ok(Self {
            http,
            base,
            headers,
            timeout: config.timeout,
            max_reply_bytes: config.max_reply_bytes,
            remedies: config.remedies,
            redactor,
        })
    }

    /// The address without credentials and without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// `path` begins with `/`, is percent-encoded, and comes after the base.
    pub fn get(&self, path: &str) -> Request<'_> {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Request<'_> {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Request<'_> {
        self.request(Method::PUT, path)
    }

    pub fn request(&self, method: Method, path: &str) -> Request<'_> {
        Request::new(self, method, format!("{}{path}", self.base), true)
    }

    /// A request to an address that the service gave, without our credentials.
    pub fn elsewhere(&self, method: Method, url: &str) -> Request<'_> {
        Request::new(self, method, url.to_owned(), false)
    }

    /// What an answer that is no success means, by its status.
    pub fn error(&self, reply: &Reply) -> ExportError {
        status::classify(reply, &self.base, &self.remedies, &self.redactor)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

fn split_base(base: &str, remedies: &Remedies) -> Result<(String, Auth), ExportError> {
    let refuse = |why: &str| {
        let shown = url_without_secrets(base);
        ExportError::give_up(format!("the address {shown} {why}"), remedies.address)
    };
    let mut url =
        Url::parse(base.trim()).map_err(|error| refuse(&format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("begins with neither http:// nor https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse(
            "has a part after ? or #, which an address of a service has not",
        ));
    }
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let auth = match (url.username(), url.password()) {
        ("", None) => Auth::None,
        (user, password) => Auth::Basic {
            user: decode(user),
            password: Secret::new(decode(password.unwrap_or_default())),
        },
    };
    // an http URL has a host, so neither can fail
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok((url.as_str().trim_end_matches('/').to_owned(), auth))
}

fn headers(
    auth: &Auth,
    more: &[(String, Secret)],
    redactor: &mut Redactor,
) -> Result<HeaderMap, ExportError> {
    let mut headers = HeaderMap::new();
    let authorization = match auth {
        Auth::None => None,
        Auth::Basic { user, password } => {
            redactor.add(password.expose());
            let encoded = STANDARD.encode(format!("{user}:{}", password.expose()));
            redactor.add(&encoded);
            Some(format!("Basic {encoded}"))
        }
        Auth::Bearer(token) => {
            redactor.add(token.expose());
            Some(format!("Bearer {}", token.expose()))
        }
    };
    if let Some(text) = authorization {
        headers.insert(AUTHORIZATION, sensitive(&text, "the token")?);
    }
    for (name, value) in more {
        redactor.add(value.expose());
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            ExportError::give_up(
                format!("{name:?} is no name of an HTTP header"),
                "Correct it in the configuration of this sink",
            )
        })?;
        headers.insert(
            header,
            sensitive(value.expose(), &format!("the header {name}"))?,
        );
    }
    Ok(headers)
}

fn sensitive(value: &str, what: &str) -> Result<HeaderValue, ExportError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        ExportError::give_up(
            format!("{what} holds a character that no HTTP header can carry"),
            "Look for a line break or a space that was copied along with it",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn with_tls(
    mut builder: reqwest::ClientBuilder,
    config: &Config,
) -> Result<reqwest::ClientBuilder, ExportError> {
    let tls = &config.tls;
    if let Some(path) = &tls.ca_path {
        let certificates = Certificate::from_pem_bundle(&read(path)?);
        let certificates = certificates.ok().filter(|found| !found.is_empty());
        builder = builder.tls_certs_only(certificates.ok_or_else(|| not_pem(path, "certificate"))?);
    }
    if let Some(path) = &tls.client_cert_path {
        let what = "certificate with its private key";
        let mut pem = read(path)?;
        if let Some(key) = &config.client_key_path {
            pem.push(b'\n');
            pem.append(&mut read(key)?);
        }
        let identity = Identity::from_pem(&pem).map_err(|_| not_pem(path, what))?;
        builder = builder.identity(identity);
    }
    Ok(builder.tls_danger_accept_invalid_certs(tls.insecure))
}

fn read(path: &Path) -> Result<Vec<u8>, ExportError> {
    std::fs::read(path).map_err(|error| {
        ExportError::give_up(
            format!(
                "the certificate file {} cannot be read: {error}",
                path.display()
            ),
            "Correct its path in the configuration of this sink",
        )
    })
}

fn not_pem(path: &Path, what: &str) -> ExportError {
    ExportError::give_up(
        format!("the file {} holds no {what} in PEM form", path.display()),
        "Give one whose lines begin with -----BEGIN",
    )
}
