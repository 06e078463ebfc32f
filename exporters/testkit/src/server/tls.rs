use std::fmt;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What a port that should speak TLS speaks.
#[derive(Clone)]
pub enum Tls {
    /// Plain HTTP.
    Missing,
    /// TLS, with a certificate that nobody signed.
    SelfSigned(SelfSigned),
}

/// A certificate for `localhost` and 127.0.0.1, and its key.
#[derive(Clone)]
pub struct SelfSigned {
    acceptor: TlsAcceptor,
    pem: String,
}

impl Tls {
    /// With a new certificate.
    ///
    /// # Panics
    /// Where none can be made.
    pub fn self_signed() -> Self {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .expect("a certificate with its key");
        Self::SelfSigned(SelfSigned {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            pem: made.cert.pem(),
        })
    }

    /// The certificate, for a client that is to trust it.
    pub fn pem(&self) -> Option<&str> {
        match self {
            Self::Missing => None,
            Self::SelfSigned(made) => Some(&made.pem),
        }
    }

    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        match self {
            Self::Missing => None,
            Self::SelfSigned(made) => Some(made.acceptor.clone()),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no TLS",
            Self::SelfSigned(_) => "a self-signed certificate",
        })
    }
}
