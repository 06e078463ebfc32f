//! The head of an HTTP/1.1 answer, and how its body is framed.

use std::time::Duration;

use crate::Failure;
use crate::chunked::Decoder;

const HEADERS: usize = 128;

/// What of a head matters here.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    pub framing: Framing,
    /// The connection may be used again once the body has ended.
    pub keep_alive: bool,
    pub content: Content,
    pub retry_after: Option<Duration>,
    pub location: Option<String>,
}

#[derive(Debug)]
pub enum Framing {
    /// This many bytes still to come.
    Length(u64),
    Chunked(Decoder),
    /// Until the server closes the connection.
    ToEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    EventStream,
    JsonLines,
    Json,
    Html,
    Other,
}

/// Reads a head from the start of `bytes`; `None`: it is not complete yet. Interim answers
/// (1xx) before it are skipped. With the head come its length in bytes.
pub fn read(mut bytes: &[u8]) -> Result<Option<(Head, usize)>, Failure> {
    let mut skipped = 0;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Failure::Garbage {
                    what: format!("its HTTP head has more than {HEADERS} lines"),
                });
            }
            Err(why) => {
                return Err(Failure::Garbage {
                    what: format!("it does not begin as HTTP does ({why})"),
                });
            }
        };
        let status = response.code.unwrap_or(0);
        if (100..200).contains(&status) && status != 101 {
            bytes = &bytes[length..];
            skipped += length;
            continue;
        }
        let head = understand(status, response.version == Some(1), response.headers)?;
        return Ok(Some((head, skipped + length)));
    }
}

fn understand(
    status: u16,
    http_1_1: bool,
    headers: &[httparse::Header<'_>],
) -> Result<Head, Failure> {
    let mut head = Head {
        status,
        framing: Framing::ToEnd,
        keep_alive: http_1_1,
        content: Content::Other,
        retry_after: None,
        location: None,
    };
    let mut length: Option<u64> = None;
    let mut codings = String::new();
    for header in headers {
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let given: u64 = value
                .parse()
                .map_err(|_| garbage(format!("Content-Length is {:?}", shorten(value))))?;
            if length.is_some_and(|before| before != given) {
                return Err(garbage("it has two different lengths"));
            }
            length = Some(given);
        } else if is("transfer-encoding") {
            if !codings.is_empty() {
                codings.push(',');
            }
            codings.push_str(value);
        } else if is("connection") {
            for word in value.split(',').map(str::trim) {
                if word.eq_ignore_ascii_case("close") {
                    head.keep_alive = false;
                } else if word.eq_ignore_ascii_case("keep-alive") {
                    head.keep_alive = true;
                }
            }
        } else if is("content-type") {
            head.content = content(value);
        } else if is("content-encoding") && !value.eq_ignore_ascii_case("identity") {
            return Err(garbage(format!(
                "it is compressed ({:?}), though that was not asked for",
                shorten(value)
            )));
        } else if is("retry-after") {
            head.retry_after = value.parse().ok().map(Duration::from_secs);
        } else if is("retry-after-ms") {
            head.retry_after = value.parse().ok().map(Duration::from_millis);
        } else if is("location") {
            head.location = Some(shorten(value));
        }
    }
    if status == 204 || status == 304 {
        head.framing = Framing::Length(0);
    } else if !codings.is_empty() {
        if !codings.trim().eq_ignore_ascii_case("chunked") {
            return Err(garbage(format!(
                "its transfer coding is {:?}, though only chunked was to be expected",
                shorten(&codings)
            )));
        }
        head.framing = Framing::Chunked(Decoder::new());
    } else if let Some(length) = length {
        head.framing = Framing::Length(length);
    } else {
        head.keep_alive = false;
    }
    Ok(head)
}

fn content(value: &str) -> Content {
    let kind = value.split(';').next().unwrap_or("").trim();
    match kind.to_ascii_lowercase().as_str() {
        "text/event-stream" => Content::EventStream,
        "application/x-ndjson" | "application/jsonl" | "application/jsonlines" => {
            Content::JsonLines
        }
        "application/json" => Content::Json,
        "text/html" => Content::Html,
        _ => Content::Other,
    }
}

fn garbage(what: impl Into<String>) -> Failure {
    Failure::Garbage { what: what.into() }
}

/// For an error's text.
pub fn shorten(text: &str) -> String {
    const MOST: usize = 300;
    let text = text.trim();
    if text.len() <= MOST {
        return text.to_owned();
    }
    let end = (0..=MOST).rev().find(|i| text.is_char_boundary(*i));
    format!("{}…", &text[..end.unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        let (head, length) = read(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len());
        head
    }

    #[test]
    fn framing_and_reuse() {
        let h = head(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\n",
        );
        assert!(matches!(h.framing, Framing::Chunked(_)) && h.keep_alive);
        assert_eq!((h.status, h.content), (200, Content::EventStream));
        let h = head(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\nConnection: x, close\r\n\r\n",
        );
        assert!(matches!(h.framing, Framing::Length(5)) && !h.keep_alive);
        let h = head("HTTP/1.0 200 OK\r\n\r\n");
        assert!(matches!(h.framing, Framing::ToEnd) && !h.keep_alive);
        let h = head("HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(h.retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn what_is_not_http_or_lies_is_refused() {
        for text in [
            "SSH-2.0-OpenSSH_9.6\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
        ] {
            assert!(
                matches!(read(text.as_bytes()), Err(Failure::Garbage { .. })),
                "{text:?}"
            );
        }
        assert!(read(b"HTTP/1.1 200 OK\r\nConte").unwrap().is_none());
    }
}
