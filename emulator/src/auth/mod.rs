//! Signatures: what a request claims about its signer, and whether a secret proves it.
//!
//! Pure: no key store, no clock. [`Claim::proven_by`] recomputes every form that a real service accepts.

pub mod acs3;
pub mod log;
pub mod rpc;
pub mod sls4;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What RFC 3986 leaves alone: letters, digits, `-`, `_`, `.`, `~`.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Percent-encodes all but the unreserved characters, with upper-case hex.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

pub(crate) fn sha256_hex(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

pub(crate) fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn hmac_sha1(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// Hash below an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// Who a request says signed it, when, and the proof.
#[derive(Clone)]
pub struct Claim {
    /// Access key id.
    pub access_key_id: String,
    /// Security token, if one was sent.
    pub security_token: Option<String>,
    /// Time of signing as claimed.
    pub time: Timestamp,
    /// The time as written, for messages.
    pub time_text: String,
    /// Nonce, where the form has one.
    pub nonce: Option<String>,
    /// Signature and what it signs.
    pub proof: Proof,
}

/// A signature with the text it should be over.
#[derive(Clone)]
pub enum Proof {
    /// Base64 HMAC over any of several texts (forms that official signers really use).
    Base64 {
        /// Hash.
        hash: Hash,
        /// Appended to the secret.
        key_suffix: &'static str,
        /// Texts, the usual one first.
        texts: Vec<String>,
        /// As sent.
        signature: String,
    },
    /// Hex HMAC-SHA256 with the secret as key.
    Hex {
        /// String to sign.
        text: String,
        /// As sent.
        signature: String,
    },
    /// Hex HMAC-SHA256 with a derived key.
    Derived {
        /// `aliyun_v4` + secret is hashed over these in turn.
        scope: Vec<String>,
        /// String to sign.
        text: String,
        /// As sent.
        signature: String,
    },
}

impl Claim {
    /// Whether `secret` made the signature.
    pub fn proven_by(&self, secret: &str) -> bool {
        match &self.proof {
            Proof::Base64 {
                hash,
                key_suffix,
                texts,
                signature,
            } => {
                let key = format!("{secret}{key_suffix}");
                texts.iter().any(|text| {
                    let mac = match hash {
                        Hash::Sha1 => hmac_sha1(key.as_bytes(), text.as_bytes()),
                        Hash::Sha256 => hmac_sha256(key.as_bytes(), text.as_bytes()),
                    };
                    STANDARD.encode(mac) == *signature
                })
            }
            Proof::Hex { text, signature } => {
                hex::encode(hmac_sha256(secret.as_bytes(), text.as_bytes())) == *signature
            }
            Proof::Derived {
                scope,
                text,
                signature,
            } => {
                let key = scope
                    .iter()
                    .fold(format!("aliyun_v4{secret}").into_bytes(), |key, part| {
                        hmac_sha256(&key, part.as_bytes())
                    });
                hex::encode(hmac_sha256(&key, text.as_bytes())) == *signature
            }
        }
    }

    /// The text that the service says it expected to be signed.
    pub fn expected_text(&self) -> &str {
        match &self.proof {
            Proof::Base64 { texts, .. } => texts.first().map_or("", String::as_str),
            Proof::Hex { text, .. } | Proof::Derived { text, .. } => text,
        }
    }

    /// The signature as sent.
    pub fn signature(&self) -> &str {
        match &self.proof {
            Proof::Base64 { signature, .. }
            | Proof::Hex { signature, .. }
            | Proof::Derived { signature, .. } => signature,
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue, Method};

    use crate::wire::Inbound;

    /// A request for signature vectors.
    pub(crate) fn inbound(
        method: Method,
        host: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Inbound {
        let mut map = HeaderMap::new();
        map.insert("host", HeaderValue::from_str(host).unwrap());
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        Inbound {
            method,
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: map,
            body: Bytes::copy_from_slice(body.as_bytes()),
            peer: "127.0.0.1:1".parse().unwrap(),
        }
    }
}
