//! What went wrong below HTTP, in words.

use std::error::Error;
use std::io;

use lem_record::ExportError;

use crate::Remedies;

/// `service` is the address as it may be shown.
pub(crate) fn explain(
    error: &reqwest::Error,
    service: &str,
    seconds: f64,
    remedies: &Remedies,
) -> ExportError {
    if let Some(tls) = find::<rustls::Error>(error, &|_| true) {
        return explain_tls(tls, service, remedies);
    }
    if error.is_timeout() {
        let step = if error.is_connect() {
            "no connection to"
        } else {
            "no answer from"
        };
        return ExportError::retry(format!("{step} {service} within {seconds:.0} s"));
    }
    if error.is_dns() {
        return ExportError::retry(format!("the host name of {service} cannot be resolved"));
    }
    if error.is_builder() {
        return ExportError::give_up(
            format!(
                "a request to {service} cannot be made: {}",
                innermost(error)
            ),
            remedies.address,
        );
    }
    let io = find::<io::Error>(error, &|e| e.kind() != io::ErrorKind::Other).map(io::Error::kind);
    ExportError::retry(match io {
        Some(io::ErrorKind::ConnectionRefused) => {
            format!("nothing listens at {service} (connection refused)")
        }
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            format!("there is no route to {service}")
        }
        Some(io::ErrorKind::UnexpectedEof) if error.is_connect() => {
            format!("{service} broke off the TLS handshake")
        }
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof,
        ) => format!("{service} closed the connection before it answered"),
        _ if error.is_connect() => format!("no connection to {service}: {}", innermost(error)),
        _ => format!("{service} gave no whole answer: {}", innermost(error)),
    })
}

fn explain_tls(error: &rustls::Error, service: &str, remedies: &Remedies) -> ExportError {
    match error {
        rustls::Error::InvalidCertificate(why) => ExportError::give_up(
            format!("the certificate of {service} is not trusted: {why}"),
            remedies.certificate,
        ),
        rustls::Error::InvalidMessage(_) => ExportError::give_up(
            format!("{service} does not speak TLS"),
            format!("{} (is it http:// rather than https://?)", remedies.address),
        ),
        other => ExportError::give_up(
            format!("no TLS connection to {service}: {other}"),
            remedies.certificate,
        ),
    }
}

/// The first error of a type in a chain that is `wanted`. An `io::Error` hides the
/// one that it wraps from `source`, so that one is looked into as well.
fn find<'a, T: Error + 'static>(
    error: &'a (dyn Error + 'static),
    wanted: &dyn Fn(&T) -> bool,
) -> Option<&'a T> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<T>().filter(|found| wanted(found)) {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|inner| find::<T>(inner, wanted)) {
            return Some(found);
        }
        at = error.source();
    }
    None
}

fn innermost(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(error) = at {
        text = error.to_string();
        at = error.source();
    }
    text
}
