use std::path::Path;
use std::sync::Arc;

use lem_record::ExportError;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::ServerTls;

/// None where the endpoint is to be plain HTTP.
pub(super) fn load(files: &ServerTls) -> Result<Option<Arc<ServerConfig>>, ExportError> {
    let (Some(cert), Some(key)) = (&files.cert, &files.key) else {
        return Ok(None);
    };
    let wrong = |what: &str, path: &Path, why: String| {
        ExportError::give_up(
            format!("the {what} in {} cannot be used: {why}", path.display()),
            "Set integrations.prometheus.tls.cert and .key to the PEM files of a certificate and its key",
        )
    };
    let certificates = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong("certificate", cert, error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("certificate", cert, "there is none in it".into()));
    }
    // not the error's own text: it might quote the file
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|_| wrong("private key", key, "there is no readable key in it".into()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("certificate", cert, error.to_string()))?;
    let mut config = config
        .with_no_client_auth()
        .with_single_cert(certificates, secret)
        .map_err(|error| wrong("certificate", cert, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}
