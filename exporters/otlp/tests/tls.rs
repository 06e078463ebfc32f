//! TLS with certificates of both sides, over both protocols: a terminator with a
//! certificate of its own stands before a receiver without TLS.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;
mod real;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fake::Fake;
use lem_otlp::{OtlpConfig, OtlpExporter, Protocol};
use lem_record::{ExportError, Exporter};
use lem_testkit::golden;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use real::{Collector, deliver, named};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

struct Papers {
    folder: tempfile::TempDir,
}

impl Papers {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("ca.pem", &issuer.pem());
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            put(&format!("{name}.pem"), &certificate.pem());
            put(&format!("{name}.key"), &key.serialize_pem());
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Listens with TLS, demands a client's certificate, and passes on what is in it.
async fn terminator(papers: &Papers, alpn: &[u8], on_to: SocketAddr) -> u16 {
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&papers.path("ca.pem")) {
        roots.add(certificate).unwrap();
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .unwrap();
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            certificates(&papers.path("server.pem")),
            PrivateKeyDer::from_pem_file(papers.path("server.key")).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut inside) = acceptor.accept(stream).await else {
                    return;
                };
                let mut outside = TcpStream::connect(on_to).await.unwrap();
                let _ = copy_bidirectional(&mut inside, &mut outside).await;
            });
        }
    });
    port
}

fn config(papers: &Papers, protocol: Protocol, port: u16) -> OtlpConfig {
    let mut config = OtlpConfig::default();
    let transport = &mut config.transport;
    transport.endpoint = Some(format!("https://localhost:{port}"));
    transport.protocol = Some(protocol);
    transport.certificate = Some(papers.path("ca.pem"));
    transport.client_certificate = Some(papers.path("client.pem"));
    transport.client_key = Some(papers.path("client.key"));
    config
}

async fn refused(config: OtlpConfig) -> ExportError {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let mut exporter = OtlpExporter::new(config).unwrap();
    exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap();
    exporter.write(&golden.envelopes).await.unwrap_err()
}

/// What is wrong with the certificates is told, with the variable to set.
async fn wrong_papers(papers: &Papers, protocol: Protocol, port: u16) {
    let mut stranger = config(papers, protocol, port);
    stranger.transport.certificate = None;
    let error = refused(stranger).await;
    let ExportError::GiveUp { reason, remedy } = &error else {
        panic!("{error:?}");
    };
    assert!(reason.contains("not trusted"), "{reason}");
    assert!(
        remedy.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        "{remedy}"
    );

    let mut anonymous = config(papers, protocol, port);
    anonymous.transport.client_certificate = None;
    anonymous.transport.client_key = None;
    refused(anonymous).await;

    let mut lost = config(papers, protocol, port);
    lost.transport.client_key = Some(papers.path("nothing.key"));
    let errors = OtlpExporter::new(lost).unwrap_err();
    assert!(errors[0].to_string().contains("nothing.key"), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http() {
    let papers = Papers::new();
    let fake = Fake::start();
    let port = terminator(&papers, b"http/1.1", fake.server.addr()).await;
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let mut exporter = OtlpExporter::new(config(&papers, Protocol::Http, port)).unwrap();
    deliver(&mut exporter, &golden).await;
    assert!(fake.facts().len() > 700);
    wrong_papers(&papers, Protocol::Http, port).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc() {
    let Some(rotel) = named("LEM_TEST_ROTEL", "rotel-agent") else {
        return;
    };
    let papers = Papers::new();
    let fake = Fake::start();
    let collector = Collector::start(&rotel, &fake.server.url());
    let inside = SocketAddr::from(([127, 0, 0, 1], collector.grpc));
    let port = terminator(&papers, b"h2", inside).await;
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let mut exporter = OtlpExporter::new(config(&papers, Protocol::Grpc, port)).unwrap();
    let (written, _) = deliver(&mut exporter, &golden).await;
    assert!(written.iter().map(|w| w.accepted).sum::<u64>() > 700);
    wrong_papers(&papers, Protocol::Grpc, port).await;
}
