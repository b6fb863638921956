//! Arguments of a call as they came: query parameters, headers, body. Typed reading with the service's own
//! complaints; no rule of any single operation.

use std::net::IpAddr;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value};

use super::errors::{parameter_invalid, post_body_invalid};
use crate::wire::{ApiError, Inbound};

/// Largest body of any call, in bytes (sls-api 3).
const MAX_BODY: usize = 10_485_760;

/// What a request brought.
#[derive(Debug, Clone)]
pub(super) struct Arguments {
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
    peer: IpAddr,
}

impl Arguments {
    pub(super) fn of(inbound: &Inbound) -> Self {
        Self {
            query: inbound.query_pairs(),
            headers: inbound.headers.clone(),
            body: inbound.body.clone(),
            peer: inbound.peer.ip(),
        }
    }

    /// Where the call came from.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A query parameter.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// All query parameters in the order of arrival.
    pub(super) fn all_query(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A list filter: the Go SDK sends these as headers, everybody else in the query.
    pub(super) fn filter(&self, name: &str) -> Option<&str> {
        self.query(name)
            .or_else(|| self.header(name))
            .filter(|value| !value.is_empty())
    }

    /// `offset` and `size` of a list.
    pub(super) fn page(&self, default_size: usize, max_size: usize) -> Result<Page, ApiError> {
        let number = |name: &str, default: usize| match self.filter(name) {
            None => Ok(default),
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| parameter_invalid(format!("The parameter {name} is invalid: {text}"))),
        };
        let (offset, size) = (number("offset", 0)?, number("size", default_size)?);
        if size > max_size {
            return Err(parameter_invalid(format!(
                "The parameter size must be within range [0, {max_size}]"
            )));
        }
        Ok(Page { offset, size })
    }

    /// The body as a JSON object.
    pub(super) fn object(&self) -> Result<Map<String, Value>, ApiError> {
        if self.body.len() > MAX_BODY {
            let message = format!("Body size {} must little than {MAX_BODY}.", self.body.len());
            return Err(ApiError::new(413, "PostBodyTooLarge", message));
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(post_body_invalid("The body is not a json object.")),
            Err(_) => Err(parameter_invalid("The body is not valid json string.")),
        }
    }
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    offset: usize,
    size: usize,
}

impl Page {
    /// The items of this page.
    pub(super) fn of<T>(self, items: Vec<T>) -> Vec<T> {
        items.into_iter().skip(self.offset).take(self.size).collect()
    }
}

/// Typed members of a JSON object; a member of the wrong type is refused with the given code.
pub(super) struct Members<'a> {
    object: &'a Map<String, Value>,
    code: &'static str,
}

impl<'a> Members<'a> {
    pub(super) fn new(object: &'a Map<String, Value>, code: &'static str) -> Self {
        Self { object, code }
    }

    pub(super) fn refuse(&self, message: impl Into<String>) -> ApiError {
        super::errors::bad(self.code, message)
    }

    /// A member that is neither absent nor null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str) -> ApiError {
        self.refuse(format!("The parameter {name} is of error format."))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.get(name)
            .map(|value| value.as_str().ok_or_else(|| self.wrong(name)))
            .transpose()
    }

    pub(super) fn required_text(&self, name: &str) -> Result<&'a str, ApiError> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.refuse(format!("The parameter {name} is required.")))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.get(name)
            .map(|value| value.as_bool().ok_or_else(|| self.wrong(name)))
            .transpose()
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name)
            .map(|value| value.as_i64().ok_or_else(|| self.wrong(name)))
            .transpose()
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, ApiError> {
        self.get(name)
            .map(|value| value.as_object().ok_or_else(|| self.wrong(name)))
            .transpose()
    }
}
