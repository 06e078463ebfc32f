use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use lem_record::ExportError;

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The body is longer than the client reads.
    pub cut: bool,
    /// Method and path, for messages.
    pub what: String,
}

impl Reply {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON. An answer of another shape means that something else
    /// answers at this address, or a proxy stands before it.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ExportError> {
        if self.cut {
            return Err(ExportError::retry(format!(
                "the answer to {} is longer than {} bytes",
                self.what,
                self.body.len()
            )));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            ExportError::retry(format!(
                "the answer to {} is not what this service says ({error}): {}",
                self.what,
                self.excerpt()
            ))
        })
    }

    /// What the service says of itself, in one line of at most 300 characters.
    /// It may echo a credential: pass it through a [`Redactor`](crate::Redactor).
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(self.body.get(..4096).unwrap_or(&self.body));
        let said = serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|v| message(&v));
        let said = said.unwrap_or_else(|| match text.trim_start() {
            "" => "(no text)".to_owned(),
            html if html.starts_with('<') => title(html),
            other => other.to_owned(),
        });
        let mut line = String::new();
        for word in said.split_whitespace() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(word.chars().filter(|c| !c.is_control()));
            if line.len() > 300 {
                break;
            }
        }
        match line.char_indices().nth(300) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line,
        }
    }
}

/// The places where services put their message.
fn message(body: &Value) -> Option<String> {
    let places = [
        "/message",
        "/error/message",
        "/error",
        "/detail",
        "/errors/0/message",
        "/title",
    ];
    let found = places
        .iter()
        .find_map(|place| body.pointer(place)?.as_str());
    found.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn title(html: &str) -> String {
    let title = html
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"));
    match title {
        Some((title, _)) => format!("an HTML page, \"{}\"", title.trim()),
        None => "an HTML page".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::Reply;

    fn said(body: &str) -> String {
        let body = body.as_bytes().to_vec();
        Reply {
            status: 500,
            headers: Default::default(),
            body,
            cut: false,
            what: String::new(),
        }
        .excerpt()
    }

    #[test]
    fn the_message_is_found_wherever_it_stands() {
        assert_eq!(
            said(r#"{"error_code":"X","message":"no\n such run"}"#),
            "no such run"
        );
        assert_eq!(said(r#"{"error":{"message":"deep"}}"#), "deep");
        assert_eq!(
            said("<html><title> 502 Bad </title>"),
            "an HTML page, \"502 Bad\""
        );
        assert_eq!(said(""), "(no text)");
        assert_eq!(said(&"é".repeat(4000)).chars().count(), 301);
    }
}
