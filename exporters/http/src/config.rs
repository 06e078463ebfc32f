use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lem_record::Secret;

/// How to reach one service.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http://` or `https://`, with the path prefix that all requests share. A
    /// `user:password@` in it becomes Basic authentication where `auth` is `None`.
    pub base: String,
    pub auth: Auth,
    /// Sent with every request. Their values are taken for secrets.
    pub headers: Vec<(String, Secret)>,
    /// For a whole request, its answer included; a file gets more, by its size.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    pub tls: Tls,
    /// PEM file of our private key, where it is apart from `tls.client_cert_path`.
    pub client_key_path: Option<PathBuf>,
    pub user_agent: String,
    /// An answer is read up to here.
    pub max_reply_bytes: usize,
    pub remedies: Remedies,
}

impl Config {
    pub fn new(base: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            auth: Auth::None,
            headers: Vec::new(),
            timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(10),
            tls: Tls::default(),
            client_key_path: None,
            user_agent: concat!("lem/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_reply_bytes: 32 << 20,
            remedies: Remedies::default(),
        }
    }
}

#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    #[default]
    None,
    Basic {
        user: String,
        password: Secret,
    },
    Bearer(Secret),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic(***)",
            Self::Bearer(_) => "Bearer(***)",
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_path: Option<PathBuf>,
    /// PEM file of our certificate with its private key.
    pub client_cert_path: Option<PathBuf>,
    /// Trust whoever answers.
    pub insecure: bool,
}

/// What a user of this service should do: parts of sentences that the errors end with.
#[derive(Clone, Copy, Debug)]
pub struct Remedies {
    /// After a 401 or 403: `Set MLFLOW_TRACKING_TOKEN …`.
    pub credentials: &'static str,
    /// After a wrong address: `Check MLFLOW_TRACKING_URI`.
    pub address: &'static str,
    /// After a certificate that is not trusted.
    pub certificate: &'static str,
}

impl Default for Remedies {
    fn default() -> Self {
        Self {
            credentials: "Check the credentials of this sink in the configuration",
            address: "Check the address of this sink in the configuration",
            certificate: "Give the authority's certificate in the configuration of this sink",
        }
    }
}
