//! A target made ready: addresses, the head of each request, TLS.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection};
use rustls_platform_verifier::Verifier;

use crate::redact::Redactor;
use crate::url::Url;
use crate::{Api, Failure, Secret, Target, TargetError};

#[derive(Debug)]
pub struct Wire {
    pub host: String,
    /// All that the name stands for, or why there is none.
    addresses: Result<Vec<SocketAddr>, Failure>,
    /// The head of a request up to the value of its Content-Length.
    head: Vec<u8>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub redactor: Redactor,
}

impl Wire {
    /// Everything but the name's lookup is checked here without touching the world.
    pub fn new(target: &Target) -> Result<Self, TargetError> {
        let url = Url::parse(&target.base_url)?;
        if target.model.is_none() && !matches!(target.api, Api::LlamaCpp | Api::Tgi) {
            return Err(TargetError::new(
                "no model is named for the server",
                "Give the name under which the server serves it (see its /v1/models)",
            ));
        }
        crate::body::check_extra(&target.extra_body)?;
        let head = head(target, &url)?;
        let tls = if url.tls {
            Some(tls(target, &url)?)
        } else {
            None
        };
        let secrets = target.headers.iter().map(|(_, secret)| secret.clone());
        Ok(Self {
            addresses: resolve(&url),
            host: url.host,
            head,
            tls,
            redactor: Redactor::new(secrets.chain(target.api_key.clone())),
        })
    }

    pub fn addresses(&self) -> Result<&[SocketAddr], Failure> {
        self.addresses
            .as_ref()
            .map(Vec::as_slice)
            .map_err(Clone::clone)
    }

    /// The bytes of one request.
    pub fn request(&self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.head.len() + body.len() + 24);
        out.extend_from_slice(&self.head);
        out.extend_from_slice(body.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(body);
        out
    }

    /// A session's start, where the target wants TLS.
    pub fn session(&self) -> Result<Option<Box<ClientConnection>>, Failure> {
        let Some((config, name)) = &self.tls else {
            return Ok(None);
        };
        let mut session = ClientConnection::new(Arc::clone(config), name.clone())
            .map_err(|why| self.tls_failure(&why))?;
        session.set_buffer_limit(None);
        Ok(Some(Box::new(session)))
    }

    pub fn tls_failure(&self, why: &rustls::Error) -> Failure {
        Failure::Tls {
            host: self.host.clone(),
            why: why.to_string(),
        }
    }
}

fn resolve(url: &Url) -> Result<Vec<SocketAddr>, Failure> {
    let fail = |why: String| Failure::Dns {
        host: url.host.clone(),
        why,
    };
    let found: Vec<SocketAddr> = (url.host.as_str(), url.port)
        .to_socket_addrs()
        .map_err(|why| fail(why.to_string()))?
        .collect();
    if found.is_empty() {
        return Err(fail("the name service knows it without one".to_owned()));
    }
    Ok(found)
}

fn head(target: &Target, url: &Url) -> Result<Vec<u8>, TargetError> {
    let path = target
        .path
        .as_deref()
        .unwrap_or(target.api.path(target.stream));
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(TargetError::new(
            format!("the path {path:?} of the API is none"),
            "Start it with a slash and write special characters as %XX",
        ));
    }
    let mut base = url.path.as_str();
    if path.starts_with("/v1/") {
        base = base.strip_suffix("/v1").unwrap_or(base);
    }
    let accept = if target.stream {
        "text/event-stream, application/x-ndjson, application/json"
    } else {
        "application/json"
    };
    let mut head = format!(
        "POST {base}{path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: lem/{}\r\nAccept: {accept}\r\nAccept-Encoding: identity\r\nContent-Type: application/json\r\n",
        url.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    if let Some(key) = &target.api_key {
        header(&mut head, "Authorization", key, "Bearer ")?;
    }
    for (name, value) in &target.headers {
        header(&mut head, name, value, "")?;
    }
    head.push_str("Content-Length: ");
    Ok(head.into_bytes())
}

fn header(head: &mut String, name: &str, value: &Secret, before: &str) -> Result<(), TargetError> {
    const OURS: [&str; 6] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "content-type",
    ];
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(TargetError::new(
            format!("{name:?} is no name of an HTTP header"),
            "Use letters, digits and hyphens",
        ));
    }
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err(TargetError::new(
            format!("the header {name} cannot be set"),
            "Leave it out: it follows from the request itself",
        ));
    }
    let value = value.expose().trim();
    if value.is_empty()
        || !value
            .bytes()
            .all(|b| (b' '..0x7f).contains(&b) || b == b'\t')
    {
        return Err(TargetError::new(
            format!(
                "the value of the header {name} is empty or has characters that a header cannot hold"
            ),
            "Check for a line break or a non-ASCII character, e.g. at the end of the file that it was read from",
        ));
    }
    head.push_str(&format!("{name}: {before}{value}\r\n"));
    Ok(())
}

fn tls(
    target: &Target,
    url: &Url,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), TargetError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let cannot = |why: String| {
        TargetError::new(
            format!("TLS cannot be set up: {why}"),
            "Check the machine's store of certificates, or give the authority's file",
        )
    };
    let mut extra = Vec::new();
    if let Some(pem) = &target.tls.extra_roots_pem {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            extra.push(certificate.map_err(|why| cannot(format!("{why:?}")))?);
        }
        if extra.is_empty() {
            return Err(cannot(
                "the authority's file holds no certificate".to_owned(),
            ));
        }
    }
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider))
        .map_err(|why| cannot(why.to_string()))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| cannot(why.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(url.host.clone()).map_err(|why| {
        TargetError::new(
            format!(
                "{:?} is no name that a certificate can hold: {why}",
                url.host
            ),
            "Use the host name in the server's certificate",
        )
    })?;
    Ok((Arc::new(config), name))
}
