//! HTTP as the services see it: one request, one answer, one error. No routing, no meaning.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

/// One request exactly as it came over the wire.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// Address of the caller.
    pub peer: SocketAddr,
    /// `Host` as received, with port if the client sent one.
    pub host: String,
    /// HTTP method.
    pub method: Method,
    /// Query as received, still escaped, without `?`; empty if there is none.
    pub query: String,
    /// Path as received, still escaped; begins with `/`.
    pub path: String,
    /// Body as received (still compressed).
    pub body: Bytes,
    /// Headers as received.
    pub headers: HeaderMap,
}

impl Inbound {
    /// A header's text, if present and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Decoded query parameters in the order of arrival; `+` is a space.
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        decode_pairs(&self.query)
    }
}

/// Splits `a=b&c` and decodes names and values; `+` is a space, a missing `=` an empty value.
pub fn decode_pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// An answer before the engine adds its common headers (`Date`, request id).
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers beside the common ones; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Bytes,
    /// What the ActionTrail event says under `responseElements`; no secrets.
    pub event_response: Option<serde_json::Value>,
}

impl Reply {
    /// 200 with an empty body.
    pub fn empty() -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: Bytes::new(),
            event_response: None,
        }
    }

    /// 200 with a JSON body.
    pub fn json(value: &serde_json::Value) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from(value.to_string()),
            event_response: None,
        }
    }

    /// 200 with bytes of the given content type.
    pub fn bytes(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
            event_response: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the event's `responseElements`.
    #[must_use]
    pub fn event(mut self, value: serde_json::Value) -> Self {
        self.event_response = Some(value);
        self
    }
}

/// A refusal in the service's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The service's error code.
    pub code: String,
    /// Text for a person; must not hold secrets.
    pub message: String,
    /// Headers to send with it (for example `x-acs-retry-after`).
    pub headers: Vec<(String, String)>,
    /// `AccessDeniedDetail` of RPC services.
    pub detail: Option<Box<serde_json::Value>>,
}

impl ApiError {
    /// An error with no extra headers.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            headers: Vec::new(),
            detail: None,
        }
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_with_plus_as_space_and_bare_names() {
        assert_eq!(
            decode_pairs("a=1+2&b=%2B%2f&c&&d="),
            vec![
                ("a".to_owned(), "1 2".to_owned()),
                ("b".to_owned(), "+/".to_owned()),
                ("c".to_owned(), String::new()),
                ("d".to_owned(), String::new()),
            ]
        );
    }
}
