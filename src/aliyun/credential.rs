//! Owns what a call is signed with and where that comes from.
//!
//! A source is asked before every attempt of every call, so a source that renews itself needs no
//! other hook. Nothing here may print, compare in the open or hand on a secret: [`Credential`] has a
//! redacting `Debug` and its secrets are overwritten in memory when they are dropped.

use std::fmt;

use futures::future::BoxFuture;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

/// Name of the access key id, as environment variable and as key of a Secret's data.
pub const ACCESS_KEY_ID: &str = "ALIBABA_CLOUD_ACCESS_KEY_ID";
/// Name of the access key secret, as environment variable and as key of a Secret's data.
pub const ACCESS_KEY_SECRET: &str = "ALIBABA_CLOUD_ACCESS_KEY_SECRET";
/// Name of the optional security token, as environment variable and as key of a Secret's data.
pub const SECURITY_TOKEN: &str = "ALIBABA_CLOUD_SECURITY_TOKEN";

/// Longest accepted access key id or secret, and a bound for tokens; real ones are far shorter.
const MAX_LENGTH: usize = 8192;

/// One set of keys, valid until `expiry`.
#[derive(Clone)]
pub struct Credential {
    /// The access key id. Not secret: the cloud writes it into audit events.
    pub access_key_id: String,
    /// The access key secret.
    pub secret: SecretString,
    /// The security token of temporary keys.
    pub security_token: Option<SecretString>,
    /// When the keys stop working; `None` for keys without an end.
    pub expiry: Option<Timestamp>,
}

impl Credential {
    /// Long-lived keys.
    pub fn new(access_key_id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret: SecretString::from(secret.into()),
            security_token: None,
            expiry: None,
        }
    }

    /// The same keys with the token that temporary keys come with.
    #[must_use]
    pub fn with_security_token(mut self, token: impl Into<String>) -> Self {
        self.security_token = Some(SecretString::from(token.into()));
        self
    }

    /// Whether both are the same keys. Used to tell whether asking the source again gave something new.
    pub fn is_same(&self, other: &Self) -> bool {
        let token = |credential: &Self| {
            credential
                .security_token
                .as_ref()
                .map(|token| token.expose_secret().to_owned())
        };
        self.access_key_id == other.access_key_id
            && self.secret.expose_secret() == other.secret.expose_secret()
            && token(self) == token(other)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("access_key_id", &self.access_key_id)
            .field("secret", &"<redacted>")
            .field(
                "security_token",
                &self.security_token.as_ref().map(|_| "<redacted>"),
            )
            .field("expiry", &self.expiry)
            .finish()
    }
}

/// Why there are no keys. The text names the place that was looked at and never a value found there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CredentialError {
    /// A required name is absent or empty.
    #[error("{place} has no {name}: set it to the {what} of the identity that manages the audit trail")]
    Missing {
        /// Where was looked, for a person.
        place: String,
        /// The name that is not there.
        name: &'static str,
        /// What belongs there.
        what: &'static str,
    },
    /// A value cannot be a key: it is no text, too long, or holds blanks or control characters.
    #[error("{name} in {place} is not usable: {reason}")]
    Malformed {
        /// Where was looked, for a person.
        place: String,
        /// The name whose value is wrong.
        name: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The source could not be reached or answered with an error.
    #[error("{place}: {reason}")]
    Unavailable {
        /// Which source, for a person.
        place: String,
        /// What happened, without secrets.
        reason: String,
    },
}

/// Something that gives keys. Asked before every attempt; must answer from memory while its keys are good.
pub trait CredentialSource: fmt::Debug + Send + Sync {
    /// The keys to use now.
    fn credential(&self) -> BoxFuture<'_, Result<Credential, CredentialError>>;

    /// What this source is, for messages: no secret, no access key.
    fn describe(&self) -> String;
}

/// Keys read once, from the environment or from a Secret.
///
/// Changing the environment of a process takes a restart; for a changed Secret the caller makes a new
/// value, since only the caller knows when a Secret changed.
#[derive(Clone, Debug)]
pub struct StaticCredentials {
    place: String,
    credential: Credential,
}

impl StaticCredentials {
    /// Keys that are at hand; `place` says for messages where they came from.
    pub fn new(place: impl Into<String>, credential: Credential) -> Self {
        Self {
            place: place.into(),
            credential,
        }
    }

    /// Keys from the process environment: [`ACCESS_KEY_ID`], [`ACCESS_KEY_SECRET`], [`SECURITY_TOKEN`].
    pub fn from_environment() -> Result<Self, CredentialError> {
        Self::from_lookup("the environment", |name| {
            std::env::var_os(name).map(std::ffi::OsString::into_encoded_bytes)
        })
    }

    /// Keys from the data of a Secret, by the same three names. `place` names the Secret for messages.
    pub fn from_secret_data<'a>(
        place: impl Into<String>,
        data: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<Self, CredentialError> {
        Self::from_lookup(place, |name| data(name).map(<[u8]>::to_vec))
    }

    fn from_lookup(
        place: impl Into<String>,
        lookup: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, CredentialError> {
        let place = place.into();
        let read = |name: &'static str| match lookup(name) {
            None => Ok(None),
            Some(bytes) => clean(&place, name, bytes),
        };
        let require = |name: &'static str, what: &'static str| {
            read(name)?.ok_or_else(|| CredentialError::Missing {
                place: place.clone(),
                name,
                what,
            })
        };
        let mut credential = Credential::new(
            require(ACCESS_KEY_ID, "access key id")?,
            require(ACCESS_KEY_SECRET, "access key secret")?,
        );
        if let Some(token) = read(SECURITY_TOKEN)? {
            credential = credential.with_security_token(token);
        }
        Ok(Self { place, credential })
    }
}

impl CredentialSource for StaticCredentials {
    fn credential(&self) -> BoxFuture<'_, Result<Credential, CredentialError>> {
        Box::pin(std::future::ready(Ok(self.credential.clone())))
    }

    fn describe(&self) -> String {
        self.place.clone()
    }
}

/// The value as text without the line end that editors and `echo` leave; `None` when nothing remains.
fn clean(place: &str, name: &'static str, bytes: Vec<u8>) -> Result<Option<String>, CredentialError> {
    let malformed = |reason| CredentialError::Malformed {
        place: place.to_owned(),
        name,
        reason,
    };
    let text = String::from_utf8(bytes).map_err(|_| malformed("it is not text"))?;
    let text = text.trim();
    if text.len() > MAX_LENGTH {
        return Err(malformed("it is longer than any key"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed(
            "it holds blanks, control characters or letters outside ASCII",
        ));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    fn from(data: &[(&str, &[u8])]) -> Result<StaticCredentials, CredentialError> {
        let data: BTreeMap<&str, &[u8]> = data.iter().copied().collect();
        StaticCredentials::from_secret_data("Secret audit/keys", |name| data.get(name).copied())
    }

    #[test]
    fn debug_shows_neither_secret_nor_token() {
        let credential = Credential::new("LTAIvisible", "hidden-secret").with_security_token("hidden-token");
        let shown = format!(
            "{credential:?} {:?}",
            StaticCredentials::new("here", credential.clone())
        );
        assert!(shown.contains("LTAIvisible"));
        assert!(!shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn trailing_line_ends_are_not_part_of_a_key() {
        let source = from(&[(ACCESS_KEY_ID, b"LTAI1\n"), (ACCESS_KEY_SECRET, b" s3cret\r\n")]).unwrap();
        assert_eq!(source.credential.access_key_id, "LTAI1");
        assert_eq!(source.credential.secret.expose_secret(), "s3cret");
        assert!(source.credential.security_token.is_none());
    }

    #[test]
    fn a_missing_name_is_named_with_its_place() {
        let error = from(&[(ACCESS_KEY_ID, b"LTAI1")]).unwrap_err().to_string();
        assert!(error.contains("Secret audit/keys"), "{error}");
        assert!(
            error.contains("has no ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_value_counts_as_missing() {
        let error = from(&[(ACCESS_KEY_ID, b" \n"), (ACCESS_KEY_SECRET, b"s")]).unwrap_err();
        assert!(matches!(
            error,
            CredentialError::Missing {
                name: ACCESS_KEY_ID,
                ..
            }
        ));
    }

    #[test]
    fn a_value_that_could_break_a_header_is_refused_without_being_shown() {
        for bad in [
            &b"hid\r\nden"[..],
            b"hid den",
            b"hid\xff",
            "hidé".as_bytes(),
            b"hid\0",
        ] {
            let error = from(&[(ACCESS_KEY_ID, b"LTAI1"), (ACCESS_KEY_SECRET, bad)]).unwrap_err();
            assert!(matches!(
                error,
                CredentialError::Malformed {
                    name: ACCESS_KEY_SECRET,
                    ..
                }
            ));
            assert!(!error.to_string().contains("hid"), "{error}");
        }
    }

    #[test]
    fn a_new_token_makes_other_keys() {
        let one = Credential::new("a", "b").with_security_token("1");
        assert!(one.is_same(&one.clone()));
        assert!(!one.is_same(&Credential::new("a", "b").with_security_token("2")));
        assert!(!one.is_same(&Credential::new("a", "b")));
    }
}
