//! Owns the User-Agent: it is written into every audit event of our own calls, which makes a call
//! recognisable even when its answer was lost.

use std::fmt;
use std::str::FromStr;

use super::endpoint::NameError;

/// The id of this installation: 1 to 40 of `a-z`, `0-9` and `-`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ClusterId(String);

impl ClusterId {
    /// Checks and takes the id.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let fits = (1..=40).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError {
                what: "cluster id",
                rule: "1 to 40 of a-z, 0-9 and '-'",
                value: text.chars().take(80).collect(),
            })
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The header for one call: `ramtrail/<version> (<clusterID>; call/<id>)`.
pub fn user_agent(cluster_id: &ClusterId, call_id: &str) -> String {
    format!(
        "ramtrail/{} ({cluster_id}; call/{call_id})",
        env!("CARGO_PKG_VERSION")
    )
}

/// The cluster id and call id in a User-Agent made by [`user_agent`], whatever the version.
///
/// Anybody can send such a header: it proves nothing, it only points to a call to compare with.
pub fn parse(header: &str) -> Option<(&str, &str)> {
    let inner = header
        .strip_prefix("ramtrail/")?
        .split_once(" (")?
        .1
        .strip_suffix(')')?;
    inner.split_once("; call/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn header_carries_version_cluster_and_call() {
        let header = user_agent(&ClusterId::new("prod-1").unwrap(), "0a1b");
        assert_eq!(
            header,
            format!("ramtrail/{} (prod-1; call/0a1b)", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(parse(&header), Some(("prod-1", "0a1b")));
        assert_eq!(parse("ramtrail/9.9.9 (x; call/1)"), Some(("x", "1")));
    }

    #[test]
    fn other_headers_are_not_ours() {
        for header in [
            "",
            "aliyun-sdk",
            "ramtrail/0.1.0",
            "ramtrail/0.1.0 (x)",
            "ramtrail/0.1.0 (x; call/1",
        ] {
            assert_eq!(parse(header), None, "{header:?}");
        }
    }

    #[test]
    fn cluster_ids_cannot_break_a_header() {
        for bad in ["", "A", "a b", "a;b", "a)", "a\r\nb", &"a".repeat(41)] {
            assert!(ClusterId::new(bad).is_err(), "{bad:?}");
        }
    }
}
