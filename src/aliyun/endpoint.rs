//! Owns the names that become hosts and paths, and the hosts themselves.
//!
//! Names are checked against patterns that no host syntax can slip through, so that whatever an object
//! in the cluster asks for, a call can only go to a host of the intended form. Nobody but this module
//! builds a host.

use std::fmt;
use std::str::FromStr;

use super::operation::Service;

/// Which of the cloud's networks the calls take.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Network {
    /// Public endpoints, reachable from everywhere.
    #[default]
    Public,
    /// From inside a VPC: Log Service by its intranet endpoint, ActionTrail and STS by their VPC ones.
    /// RAM and ResourceManager are global and stay public.
    Vpc,
    /// Log Service, which carries the data, by its intranet endpoint; everything else public.
    Internal,
}

impl FromStr for Network {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "public" => Ok(Self::Public),
            "vpc" => Ok(Self::Vpc),
            "internal" => Ok(Self::Internal),
            _ => Err(NameError {
                what: "network",
                rule: "public, vpc or internal",
                value: shorten(text),
            }),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Public => "public",
            Self::Vpc => "vpc",
            Self::Internal => "internal",
        })
    }
}

/// A name that does not fit its pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{value:?} is not a {what}: {rule}")]
pub struct NameError {
    /// What was expected.
    pub what: &'static str,
    /// The rule, for a person.
    pub rule: &'static str,
    /// What was given, cut to 80 characters; shown escaped.
    pub value: String,
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! checked_name {
    ($(#[$docs:meta])* $name:ident, $what:literal, $rule:literal, $accepts:expr) => {
        $(#[$docs])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(String);

        impl $name {
            /// Checks and takes the name.
            pub fn new(text: &str) -> Result<Self, NameError> {
                let accepts: fn(&str) -> bool = $accepts;
                if accepts(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { what: $what, rule: $rule, value: shorten(text) })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

checked_name! {
    /// A region id, for example `cn-hangzhou` or `cn-shanghai-finance-1`: groups of lower-case letters
    /// and digits joined by single hyphens, at least two groups, at most 40 characters. The suffixes
    /// that would turn a region's endpoint into another one (`-intranet`, `-share`, `-vpc`,
    /// `-internal`) are refused.
    Region, "region", "lower-case letters and digits in groups joined by '-', such as cn-hangzhou",
    |text| {
        let mut groups = text.split('-');
        text.len() <= 40
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && groups.clone().count() >= 2
            && groups.all(|group| !group.is_empty() && group.bytes().all(is_lower_or_digit))
            && !["-intranet", "-share", "-vpc", "-internal"].iter().any(|suffix| text.ends_with(suffix))
    }
}

checked_name! {
    /// A Log Service project name: 3 to 63 lower-case letters, digits and hyphens, letter or digit at
    /// both ends. It becomes a label of the host name.
    ProjectName, "project name", "3 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit",
    |text| {
        (3..=63).contains(&text.len()) && framed(text, |byte| is_lower_or_digit(byte) || byte == b'-')
    }
}

checked_name! {
    /// A log store name: 2 to 63 lower-case letters, digits, hyphens and underscores, letter or digit
    /// at both ends. It becomes a segment of the path.
    LogStoreName, "log store name", "2 to 63 of a-z, 0-9, '-' and '_', starting and ending with a letter or digit",
    |text| {
        (2..=63).contains(&text.len())
            && framed(text, |byte| is_lower_or_digit(byte) || byte == b'-' || byte == b'_')
    }
}

checked_name! {
    /// The name of a job of Log Service: 2 to 64 lower-case letters, digits, hyphens and underscores,
    /// letter or digit at both ends. It becomes a segment of the path.
    JobName, "job name", "2 to 64 of a-z, 0-9, '-' and '_', starting and ending with a letter or digit",
    |text| {
        (2..=64).contains(&text.len())
            && framed(text, |byte| is_lower_or_digit(byte) || byte == b'-' || byte == b'_')
    }
}

fn is_lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether all bytes are accepted and the outer two are letters or digits.
fn framed(text: &str, accepts: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().copied().all(accepts)
        && bytes.first().copied().is_some_and(is_lower_or_digit)
        && bytes.last().copied().is_some_and(is_lower_or_digit)
}

/// The host of a service seen from a network.
///
/// For Log Service this is the region's bare endpoint; [`project_host`] puts a project in front.
pub fn host(service: Service, region: &Region, network: Network) -> String {
    match (service, network) {
        (Service::LogService, Network::Public) => format!("{region}.log.aliyuncs.com"),
        (Service::LogService, Network::Vpc | Network::Internal) => {
            format!("{region}-intranet.log.aliyuncs.com")
        }
        (Service::ActionTrail, Network::Public | Network::Internal) => {
            format!("actiontrail.{region}.aliyuncs.com")
        }
        (Service::ActionTrail, Network::Vpc) => format!("actiontrail-vpc.{region}.aliyuncs.com"),
        // The global host: not every region has one of its own, and a missing one would look like a
        // region that does not exist.
        (Service::Sts, Network::Public | Network::Internal) => "sts.aliyuncs.com".to_owned(),
        (Service::Sts, Network::Vpc) => format!("sts-vpc.{region}.aliyuncs.com"),
        (Service::Ram, _) => "ram.aliyuncs.com".to_owned(),
        (Service::ResourceManager, _) => "resourcemanager.aliyuncs.com".to_owned(),
    }
}

/// The host that a call about one Log Service project goes to.
pub fn project_host(project: &ProjectName, region: &Region, network: Network) -> String {
    format!("{project}.{}", host(Service::LogService, region, network))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn region(text: &str) -> Region {
        Region::new(text).unwrap()
    }

    #[test]
    fn hosts_have_the_documented_forms() {
        let (public, vpc, internal) = (Network::Public, Network::Vpc, Network::Internal);
        let hangzhou = region("cn-hangzhou");
        let table = [
            (Service::LogService, public, "cn-hangzhou.log.aliyuncs.com"),
            (Service::LogService, vpc, "cn-hangzhou-intranet.log.aliyuncs.com"),
            (
                Service::LogService,
                internal,
                "cn-hangzhou-intranet.log.aliyuncs.com",
            ),
            (
                Service::ActionTrail,
                public,
                "actiontrail.cn-hangzhou.aliyuncs.com",
            ),
            (
                Service::ActionTrail,
                vpc,
                "actiontrail-vpc.cn-hangzhou.aliyuncs.com",
            ),
            (
                Service::ActionTrail,
                internal,
                "actiontrail.cn-hangzhou.aliyuncs.com",
            ),
            (Service::Sts, public, "sts.aliyuncs.com"),
            (Service::Sts, vpc, "sts-vpc.cn-hangzhou.aliyuncs.com"),
            (Service::Ram, vpc, "ram.aliyuncs.com"),
            (Service::ResourceManager, public, "resourcemanager.aliyuncs.com"),
        ];
        for (service, network, expected) in table {
            assert_eq!(host(service, &hangzhou, network), expected);
        }
        let project = ProjectName::new("ai-audit").unwrap();
        assert_eq!(
            project_host(&project, &hangzhou, public),
            "ai-audit.cn-hangzhou.log.aliyuncs.com"
        );
    }

    #[test]
    fn real_regions_are_accepted() {
        for name in [
            "cn-hangzhou",
            "cn-shanghai-finance-1",
            "cn-hongkong",
            "ap-southeast-1",
            "us-east-1",
            "na-south-1",
            "me-east-1",
            "cn-hangzhou-acdr-ut-3",
        ] {
            assert!(Region::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn regions_that_would_change_the_host_are_refused() {
        for name in [
            "",
            "cn",
            "cn-",
            "-cn-x",
            "cn--x",
            "CN-hangzhou",
            "cn-hangzhou-intranet",
            "cn-hangzhou-share",
            "cn-hangzhou-vpc",
            "cn-hangzhou-internal",
            "cn-hangzhou.evil.com",
            "cn-hangzhou/..",
            "cn-x@evil",
            "cn-x:80",
            "cn-x#",
            "cn-x?",
            "cn-x%2e",
            "cn-x\n",
            "cn-x\0",
            "cn-é",
            "1n-x",
        ] {
            assert!(Region::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn names_keep_to_their_lengths_and_ends() {
        assert!(ProjectName::new("abc").is_ok());
        assert!(ProjectName::new(&"a".repeat(63)).is_ok());
        for bad in [
            "ab",
            &"a".repeat(64),
            "-ab",
            "ab-",
            "a_b",
            "a.b",
            "aBc",
            "a b",
            "ab\n",
        ] {
            assert!(ProjectName::new(bad).is_err(), "{bad:?}");
        }
        assert!(LogStoreName::new("actiontrail_ram-audit").is_ok());
        for bad in ["a", "_ab", "ab_", "a/b", "a..b", "..", "a%2fb", "a?b"] {
            assert!(LogStoreName::new(bad).is_err(), "{bad:?}");
        }
        assert!(JobName::new(&"j".repeat(64)).is_ok());
        assert!(JobName::new(&"j".repeat(65)).is_err());
    }

    #[test]
    fn a_refused_name_is_shown_escaped_and_short() {
        let error = ProjectName::new(&format!("a\n{}", "x".repeat(500)))
            .unwrap_err()
            .to_string();
        assert!(error.len() < 250 && !error.contains('\n'), "{error}");
    }

    /// Anything, with characters that mean something in hosts and URLs made likely.
    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[a-z0-9-]{1,70}",
            "[a-z0-9@:/?#%.\\\\_\\[\\]\\r\\n\\t -]{1,70}",
            "cn-[a-z]{1,8}(-[0-9a-z]{1,6}){0,3}",
            "[a-z]{2}-[a-z]{3,9}[./@:#?%\\\\][a-z.]{1,20}",
        ]
    }

    proptest! {
        #[test]
        fn an_accepted_region_and_project_give_exactly_the_intended_host(
            region_text in hostile(), project_text in hostile()
        ) {
            if let Ok(region) = Region::new(&region_text) {
                for service in Service::ALL {
                    for network in [Network::Public, Network::Vpc, Network::Internal] {
                        let host = host(service, &region, network);
                        let url = reqwest::Url::parse(&format!("https://{host}/")).unwrap();
                        prop_assert_eq!(url.host_str().unwrap(), host.as_str());
                        prop_assert!(host.ends_with(".aliyuncs.com"));
                        prop_assert!(url.username().is_empty() && url.port().is_none());
                        prop_assert_eq!(url.path(), "/");
                    }
                }
                if let Ok(project) = ProjectName::new(&project_text) {
                    let url = format!("https://{}/", project_host(&project, &region, Network::Public));
                    let url = reqwest::Url::parse(&url).unwrap();
                    let expected = format!("{project_text}.{region_text}.log.aliyuncs.com");
                    prop_assert_eq!(url.host_str().unwrap(), expected.as_str());
                }
            }
        }

        #[test]
        fn an_accepted_log_store_name_stays_one_path_segment(text in hostile()) {
            if let Ok(name) = LogStoreName::new(&text) {
                let url = reqwest::Url::parse(&format!("https://h.example/logstores/{name}/index")).unwrap();
                prop_assert_eq!(url.path(), format!("/logstores/{text}/index"));
            }
        }
    }
}
