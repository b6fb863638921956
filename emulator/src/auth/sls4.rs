//! Log Service, `SLS4-HMAC-SHA256`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::log::{bad, malformed};
use super::{Claim, Proof, encode, sha256_hex};
use crate::wire::{ApiError, Inbound};

const ALGORITHM: &str = "SLS4-HMAC-SHA256";

/// Reads the claim; the list of signed headers is recomputed, as the header does not carry it.
pub(super) fn claim(inbound: &Inbound, authorization: &str) -> Result<Claim, ApiError> {
    let refused = || malformed(authorization);
    let rest = authorization
        .strip_prefix(ALGORITHM)
        .ok_or_else(refused)?
        .trim_start();
    let (credential, signature) = rest.split_once(',').ok_or_else(refused)?;
    let credential = credential
        .trim()
        .strip_prefix("Credential=")
        .ok_or_else(refused)?;
    let signature = signature.trim().strip_prefix("Signature=").ok_or_else(refused)?;
    let mut parts = credential.split('/');
    let (Some(key), Some(date), Some(region), Some(product), Some(request), None) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(refused());
    };
    if product != "sls" || request != "aliyun_v4_request" {
        return Err(refused());
    }
    let time_text = inbound
        .header("x-log-date")
        .ok_or_else(|| bad("MissingDate", "x-log-date does not exist in header when needed."))?;
    let time = parse_time(time_text).ok_or_else(|| {
        bad(
            "InvalidRequestTime",
            format!("x-log-date {time_text} is not in the form YYYYMMDDTHHMMSSZ."),
        )
    })?;
    if !time_text.starts_with(date) {
        return Err(bad(
            "ParameterInvalid",
            "The date of the credential differs from x-log-date.",
        ));
    }
    let payload = inbound.header("x-log-content-sha256").ok_or_else(|| {
        bad(
            "ParameterInvalid",
            "x-log-content-sha256 does not exist in header when needed.",
        )
    })?;
    let actual = sha256_hex(&inbound.body);
    if payload != actual {
        return Err(bad(
            "ParameterInvalid",
            format!("x-log-content-sha256 {payload} does not match the body, it is {actual}."),
        ));
    }
    let scope = format!("{date}/{region}/sls/aliyun_v4_request");
    let canonical = canonical_request(inbound, payload);
    Ok(Claim {
        access_key_id: key.to_owned(),
        security_token: inbound.header("x-acs-security-token").map(str::to_owned),
        time,
        time_text: time_text.to_owned(),
        nonce: None,
        proof: Proof::Derived {
            scope: scope.split('/').map(str::to_owned).collect(),
            text: format!(
                "{ALGORITHM}\n{time_text}\n{scope}\n{}",
                sha256_hex(canonical.as_bytes())
            ),
            signature: signature.to_owned(),
        },
    })
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let civil: DateTime = strtime::parse("%Y%m%dT%H%M%SZ", text).ok()?.to_datetime().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn canonical_request(inbound: &Inbound, payload: &str) -> String {
    let mut pairs = inbound.query_pairs();
    pairs.sort();
    let query: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| {
            if value.is_empty() {
                name
            } else {
                format!("{name}={}", encode(&value))
            }
        })
        .collect();
    let mut headers: Vec<(&str, String)> = inbound
        .headers
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            name == "content-type"
                || name == "host"
                || (name.starts_with("x-log-") && !name.starts_with("x-log-meta-"))
                || name.starts_with("x-acs-")
        })
        .map(|(name, value)| {
            (
                name.as_str(),
                String::from_utf8_lossy(value.as_bytes()).trim().to_owned(),
            )
        })
        .collect();
    headers.sort();
    let lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    format!(
        "{}\n{}\n{}\n{}\n{}\n{payload}",
        inbound.method,
        inbound.path,
        query.join("&"),
        lines.concat(),
        names.join(";")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::Method;

    use super::super::log;
    use super::super::testing::inbound;
    use super::*;

    const HOST: &str = "test-project.cn-hangzhou.log.aliyuncs.com";
    const BODY: &str = r#"{"logstoreName":"test-logstore","ttl":30,"shardCount":2}"#;
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const BODY_HASH: &str = "3876654aad8889b3a26fa1d8f5a473887afb8202985d142d42f9df249ada7fe6";

    fn vector_d() -> Inbound {
        inbound(
            Method::POST,
            HOST,
            "/logstores",
            "",
            &[
                (
                    "authorization",
                    "SLS4-HMAC-SHA256 Credential=testAccessKeyId/20250805/cn-hangzhou/sls/aliyun_v4_request,Signature=1f164e718167d09a91bf4f6ca96d9e95e96eb0984c7e2e4bb1dea381637ca238",
                ),
                ("content-type", "application/json"),
                ("x-log-apiversion", "0.6.0"),
                ("x-log-bodyrawsize", "56"),
                ("x-log-content-sha256", BODY_HASH),
                ("x-log-date", "20250805T060000Z"),
            ],
            BODY,
        )
    }

    #[test]
    fn vector_d_post_with_body() {
        let claim = log::claim(&vector_d()).unwrap();
        assert_eq!(
            claim.expected_text(),
            "SLS4-HMAC-SHA256\n20250805T060000Z\n20250805/cn-hangzhou/sls/aliyun_v4_request\n\
             076a2182b28ae31c2bc3fae6a68a3dac7b65082639f71b24cdd228c2dd7e7dbe"
        );
        assert!(claim.proven_by("testAccessKeySecret"));
        assert!(!claim.proven_by("other"));
        assert_eq!(claim.time.to_string(), "2025-08-05T06:00:00Z");
    }

    #[test]
    fn vector_e_get_with_token_and_awkward_query() {
        let request = inbound(
            Method::GET,
            HOST,
            "/logstores",
            "offset=0&size=100&logstoreName=a%20b%2Fc~%2A&empty=",
            &[
                (
                    "authorization",
                    "SLS4-HMAC-SHA256 Credential=testAccessKeyId/20250805/cn-hangzhou/sls/aliyun_v4_request,Signature=14755a8a2034e931123452c7a8193fe60c60e76502c6d638f450b19eb1e3d799",
                ),
                ("x-acs-security-token", "testSecurityToken"),
                ("x-log-apiversion", "0.6.0"),
                ("x-log-bodyrawsize", "0"),
                ("x-log-content-sha256", EMPTY),
                ("x-log-date", "20250805T060000Z"),
            ],
            "",
        );
        assert_eq!(
            sha256_hex(canonical_request(&request, EMPTY).as_bytes()),
            "97adc7c05b8874bb334c30ad9bada00561c8f0a3de3bdf81a3c9278a861e8771"
        );
        assert!(log::claim(&request).unwrap().proven_by("testAccessKeySecret"));
    }

    #[test]
    fn the_host_is_signed_exactly_as_received() {
        let mut request = vector_d();
        request
            .headers
            .insert("host", format!("{HOST}:8080").parse().unwrap());
        assert!(!log::claim(&request).unwrap().proven_by("testAccessKeySecret"));
    }

    #[test]
    fn a_changed_body_is_seen_before_the_signature() {
        let mut request = vector_d();
        request.body = "{}".into();
        let error = log::claim(&request).err().unwrap();
        assert_eq!(error.code, "ParameterInvalid");
        assert!(error.message.contains("x-log-content-sha256"));
    }
}
