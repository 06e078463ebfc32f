//! Who gets to see the page, and in which form.

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName,
    HeaderValue, VARY, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};

use super::accept;
use super::auth::Auth;
use super::page::Page;
use super::served::Served;

pub(super) struct Site {
    pub page: Page,
    pub served: Arc<Served>,
    pub auth: Auth,
}

const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

impl Site {
    pub fn answer<B>(&self, request: &Request<B>) -> Response<Answer> {
        if !self.auth.admits(header(request, &AUTHORIZATION)) {
            let mut response = answer(StatusCode::UNAUTHORIZED, PLAIN, "Who are you?\n");
            let realm = HeaderValue::from_static("Basic realm=\"lem\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, realm);
            return response;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET it.\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        match request.uri().path() {
            "/metrics" => self.metrics(request),
            "/-/healthy" | "/-/ready" => answer(StatusCode::OK, PLAIN, "lem is healthy.\n"),
            "/" => answer(StatusCode::OK, HTML, self.front()),
            _ => answer(
                StatusCode::NOT_FOUND,
                PLAIN,
                "There are /metrics and /-/healthy.\n",
            ),
        }
    }

    fn metrics<B>(&self, request: &Request<B>) -> Response<Answer> {
        let format = accept::format(header(request, &ACCEPT));
        let rendered = self.page.render(format);
        let mut body = Bytes::from(rendered.text);
        // while the run is measured its processor has better things to do
        let zip = rendered.last && accept::gzip(header(request, &ACCEPT_ENCODING));
        let zipped = zip.then(|| gzip(&body)).flatten();
        let is_zipped = zipped.is_some();
        body = zipped.unwrap_or(body);
        let mut response = answer(StatusCode::OK, format.content_type(), body);
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if is_zipped {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if request.method() == Method::GET {
            self.served.scraped(Instant::now());
            let whole = rendered.last.then(|| Arc::clone(&self.served));
            response.body_mut().whole = whole;
        }
        response
    }

    fn front(&self) -> String {
        let run = self.page.run();
        format!(
            "<!doctype html><html lang=\"en\"><title>lem</title><h1>lem</h1>\
             <p>Run {} ({})</p><p><a href=\"/metrics\">Metrics</a></p></html>\n",
            escape(&run.started.name),
            escape(&run.run_id)
        )
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(200) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

fn header<'r, B>(request: &'r Request<B>, name: &HeaderName) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Answer> {
    let body = Answer {
        bytes: body.into(),
        whole: None,
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// A body that says so when it was taken.
pub(super) struct Answer {
    bytes: Bytes,
    /// Whom to tell that the whole summary was taken.
    whole: Option<Arc<Served>>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(served) = self.whole.take() {
            served.told_whole();
        }
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
