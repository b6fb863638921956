//! Owns the two signature forms that we send. Everything here is pure: time and nonce are arguments,
//! nothing is read from the environment, and the vectors of the vendor's own signers pin each step.

pub mod acs3;
pub mod sls4;

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Percent-encodes by RFC 3986: letters, digits, `-`, `_`, `.` and `~` stay, every other byte of the
/// UTF-8 form becomes `%XX` in upper case.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A query as it goes over the wire: sorted by name, names and values encoded, `name=` for an empty value.
pub fn wire_query(parameters: &[(String, String)]) -> String {
    joined(parameters, |name, value| {
        format!("{}={}", encode(name), encode(value))
    })
}

/// SHA-256 of the bytes, in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// One canonical text per parameter, sorted by name and value, joined with `&`.
fn joined(parameters: &[(String, String)], one: impl Fn(&str, &str) -> String) -> String {
    let mut sorted: Vec<&(String, String)> = parameters.iter().collect();
    sorted.sort();
    let texts: Vec<String> = sorted.into_iter().map(|(name, value)| one(name, value)).collect();
    texts.join("&")
}

/// `name:value` lines sorted by lower-case name, each ended by LF, and the names joined by `;`.
fn canonical_headers(headers: &[(String, String)]) -> (String, String) {
    let mut sorted: Vec<(String, &str)> = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    sorted.sort();
    let mut lines = String::new();
    for (name, value) in &sorted {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{name}:{value}");
    }
    let names: Vec<&str> = sorted.iter().map(|(name, _)| name.as_str()).collect();
    (lines, names.join(";"))
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// The encoding once more, by the words of the RFC and without a library.
    fn encode_again(text: &str) -> String {
        let mut encoded = String::new();
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    encoded.push(char::from(byte));
                }
                other => {
                    const DIGITS: [char; 16] = [
                        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
                    ];
                    encoded.push('%');
                    encoded.push(DIGITS[usize::from(other >> 4)]);
                    encoded.push(DIGITS[usize::from(other & 15)]);
                }
            }
        }
        encoded
    }

    proptest! {
        #[test]
        fn any_text_is_encoded_as_a_second_encoder_does(text in any::<String>()) {
            prop_assert_eq!(encode(&text), encode_again(&text));
        }

        #[test]
        fn any_encoded_text_decodes_to_itself(text in any::<String>()) {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte)));
            let decoded = percent_encoding::percent_decode_str(&encoded).decode_utf8().unwrap().into_owned();
            prop_assert_eq!(decoded, text);
        }

        #[test]
        fn the_wire_query_parses_back_to_the_same_parameters(
            parameters in prop::collection::vec(("[A-Za-z.0-9]{1,12}", any::<String>()), 0..8)
        ) {
            let query = wire_query(&parameters);
            let url = reqwest::Url::parse(&format!("https://h.example/?{query}")).unwrap();
            let mut parsed: Vec<(String, String)> =
                url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            let mut expected = parameters;
            expected.sort();
            parsed.sort();
            prop_assert_eq!(parsed, expected);
            // The URL type must send what was signed, not a form of its own.
            prop_assert_eq!(url.query().unwrap_or_default(), query);
        }
    }

    #[test]
    fn reserved_characters_are_encoded_in_upper_case() {
        assert_eq!(encode("a b/c~*"), "a%20b%2Fc~%2A");
        assert_eq!(encode("é\n+%"), "%C3%A9%0A%2B%25");
    }
}
