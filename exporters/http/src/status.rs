use jiff::Timestamp;
use lem_record::ExportError;

use crate::{Redactor, Remedies, Reply, retry_after};

/// Statuses after which the same request may succeed later.
pub const fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// What to do after an answer that is no success, by its status alone.
pub(crate) fn classify(
    reply: &Reply,
    service: &str,
    remedies: &Remedies,
    redactor: &Redactor,
) -> ExportError {
    let status = reply.status;
    let said = redactor.clean(&reply.excerpt());
    let what = redactor.clean(&reply.what);
    let reason = format!("{service} answered {status} to {what}: {said}");
    if is_retryable(status) {
        let after = retry_after(&reply.headers, Timestamp::now());
        return ExportError::Retry { reason, after };
    }
    match status {
        401 | 403 => ExportError::give_up(reason, remedies.credentials),
        300..=399 => {
            let to = reply.header("location").unwrap_or("another address");
            let to = redactor.clean(&crate::url_without_secrets(to));
            ExportError::give_up(
                format!("{service} answers {what} with a redirect to {to}"),
                format!(
                    "{} (credentials are not carried along a redirect)",
                    remedies.address
                ),
            )
        }
        404 | 405 => ExportError::give_up(reason, remedies.address),
        407 => ExportError::give_up(reason, "Check the credentials in HTTPS_PROXY or HTTP_PROXY"),
        413 => ExportError::give_up(
            reason,
            "Raise the body size limit of the proxy before the service (1 MB is enough for all but files)",
        ),
        _ => ExportError::give_up(
            reason,
            "The service refuses this for good: if its version is supported, please report this",
        ),
    }
}
