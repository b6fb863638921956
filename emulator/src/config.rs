//! How an emulator is started.

use std::net::SocketAddr;
use std::str::FromStr;

use crate::assumptions::{Assumptions, Profile};
use crate::quota::Quotas;

/// A key that exists from the start.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Key id.
    pub id: String,
    /// Secret.
    pub secret: String,
    /// Account id, digits.
    pub account: String,
    /// RAM user; none is the account's own key.
    pub user: Option<String>,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .field("account", &self.account)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A text that is not `ID:SECRET:ACCOUNT[/USER]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an access key is written ID:SECRET:ACCOUNT or ID:SECRET:ACCOUNT/USER, with a numeric account")]
pub struct AccessKeyError;

impl FromStr for AccessKey {
    type Err = AccessKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, rest) = text.split_once(':').ok_or(AccessKeyError)?;
        let (secret, owner) = rest.rsplit_once(':').ok_or(AccessKeyError)?;
        let (account, user) = match owner.split_once('/') {
            Some((account, user)) => (account, Some(user)),
            None => (owner, None),
        };
        let numeric = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
        if id.is_empty() || secret.is_empty() || !numeric || user.is_some_and(str::is_empty) {
            return Err(AccessKeyError);
        }
        Ok(Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            account: account.to_owned(),
            user: user.map(str::to_owned),
        })
    }
}

/// How an emulator is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// Loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Keys that exist from the start and after a reset.
    pub access_keys: Vec<AccessKey>,
    /// Limits.
    pub quotas: Quotas,
    /// Chosen behaviours.
    pub assumptions: Assumptions,
    /// Region of hosts that name none.
    pub default_region: String,
    /// Further base host.
    pub base_host: Option<String>,
    /// Token of the admin endpoints.
    pub admin_token: String,
    /// Seed of ids.
    pub seed: u64,
}

impl Config {
    /// A free loopback port, no keys, the documented profile.
    pub fn new(admin_token: impl Into<String>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            access_keys: Vec::new(),
            quotas: Quotas::default(),
            assumptions: Assumptions::profile(Profile::Documented),
            default_region: "cn-hangzhou".to_owned(),
            base_host: None,
            admin_token: admin_token.into(),
            seed: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_read_with_and_without_a_user() {
        let root: AccessKey = "id:se:cret:123".parse().unwrap();
        assert_eq!(
            (root.secret.as_str(), root.account.as_str(), root.user),
            ("se:cret", "123", None)
        );
        let user: AccessKey = "id:secret:123/alice".parse().unwrap();
        assert_eq!(user.user.as_deref(), Some("alice"));
        for bad in ["", "id", "id:secret", "id:secret:abc", ":s:1", "i::1", "i:s:1/"] {
            assert!(bad.parse::<AccessKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let key: AccessKey = "id:marked:123".parse().unwrap();
        assert!(!format!("{key:?}").contains("marked"));
    }
}
