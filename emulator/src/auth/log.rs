//! Log Service, `LOG <key>:<signature>` with HMAC-SHA1 or HMAC-SHA256.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use md5::{Digest, Md5};

use super::{Claim, Hash, Proof, sls4};
use crate::wire::{ApiError, Inbound};

/// Reads either form of a Log Service signature.
pub fn claim(inbound: &Inbound) -> Result<Claim, ApiError> {
    let Some(authorization) = inbound.header("authorization") else {
        return Err(ApiError::new(
            401,
            "Unauthorized",
            "The request carries no Authorization header.",
        ));
    };
    match inbound.header("x-log-apiversion") {
        None => {
            return Err(bad(
                "MissingAPIVersion",
                "x-log-apiversion does not exist in header when needed.",
            ));
        }
        Some("0.6.0" | "0.4.0") => {}
        Some(other) => {
            return Err(bad(
                "InvalidAPIVersion",
                format!("version {other} is not supported"),
            ));
        }
    }
    check_md5(inbound)?;
    if authorization.starts_with("SLS4-HMAC-SHA256") {
        sls4::claim(inbound, authorization)
    } else if let Some(rest) = authorization.strip_prefix("LOG ") {
        v1(inbound, rest)
    } else {
        Err(malformed(authorization))
    }
}

pub(super) fn bad(code: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(400, code, message)
}

pub(super) fn malformed(authorization: &str) -> ApiError {
    let shown: String = authorization.chars().take(64).collect();
    bad(
        "ParameterInvalid",
        format!("Http extend authorization : {shown} pair is invalid."),
    )
}

fn check_md5(inbound: &Inbound) -> Result<(), ApiError> {
    let Some(given) = inbound.header("content-md5").filter(|text| !text.is_empty()) else {
        return Ok(());
    };
    let actual = hex::encode_upper(Md5::digest(&inbound.body));
    if given.eq_ignore_ascii_case(&actual) {
        Ok(())
    } else {
        Err(bad(
            "ParameterInvalid",
            format!("Content-MD5 {given} does not match the body, it is {actual}."),
        ))
    }
}

/// Parses an RFC 1123 date, also with a wrong weekday or a one-digit day.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    let (_, rest) = text.split_once(", ")?;
    let broken = strtime::parse("%d %b %Y %H:%M:%S GMT", rest).ok()?;
    let civil: DateTime = broken.to_datetime().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn v1(inbound: &Inbound, credential: &str) -> Result<Claim, ApiError> {
    let (access_key_id, signature) = credential
        .split_once(':')
        .filter(|(key, signature)| !key.is_empty() && !signature.is_empty())
        .ok_or_else(|| malformed(credential))?;
    let hash = match inbound
        .header("x-log-signaturemethod")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None => {
            return Err(bad(
                "MissingSignatureMethod",
                "x-log-signaturemethod does not exist in header when needed.",
            ));
        }
        Some("hmac-sha1") => Hash::Sha1,
        Some("hmac-sha256") => Hash::Sha256,
        Some(other) => {
            return Err(bad(
                "InvalidSignatureMethod",
                format!("signature method {other} is not supported."),
            ));
        }
    };
    let date = inbound
        .header("date")
        .ok_or_else(|| bad("MissingDate", "Date does not exist in header when needed."))?;
    let time_text = inbound.header("x-log-date").unwrap_or(date);
    let time = parse_http_date(time_text).ok_or_else(|| {
        bad(
            "InvalidRequestTime",
            format!("Date header {time_text} is not in RFC1123 form."),
        )
    })?;
    Ok(Claim {
        access_key_id: access_key_id.to_owned(),
        security_token: inbound.header("x-acs-security-token").map(str::to_owned),
        time,
        time_text: time_text.to_owned(),
        nonce: None,
        proof: Proof::Base64 {
            hash,
            key_suffix: "",
            texts: texts(inbound, date),
            signature: signature.to_owned(),
        },
    })
}

/// All canonical texts that official signers produce for this request: path escaped or raw, a query key
/// without value as `key=` or `key`, `x-log-meta-*` signed or not.
fn texts(inbound: &Inbound, date: &str) -> Vec<String> {
    let raw_path = percent_encoding::percent_decode_str(&inbound.path)
        .decode_utf8_lossy()
        .into_owned();
    let mut paths = vec![inbound.path.clone()];
    if raw_path != inbound.path {
        paths.push(raw_path);
    }
    let mut queries = vec![canonical_query(inbound, true)];
    let bare = canonical_query(inbound, false);
    if bare != queries[0] {
        queries.push(bare);
    }
    let mut headers = vec![canonical_headers(inbound, false)];
    let with_meta = canonical_headers(inbound, true);
    if with_meta != headers[0] {
        headers.push(with_meta);
    }
    let md5 = inbound.header("content-md5").unwrap_or("");
    let content_type = inbound.header("content-type").unwrap_or("");
    let mut texts = Vec::new();
    for headers in &headers {
        for path in &paths {
            for query in &queries {
                texts.push(format!(
                    "{}\n{md5}\n{content_type}\n{date}\n{headers}{path}{query}",
                    inbound.method
                ));
            }
        }
    }
    texts
}

fn canonical_query(inbound: &Inbound, keep_equals: bool) -> String {
    let mut pairs = inbound.query_pairs();
    if pairs.is_empty() {
        return String::new();
    }
    pairs.sort();
    let joined: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| {
            if value.is_empty() && !keep_equals {
                name
            } else {
                format!("{name}={value}")
            }
        })
        .collect();
    format!("?{}", joined.join("&"))
}

fn canonical_headers(inbound: &Inbound, with_meta: bool) -> String {
    let mut lines: Vec<String> = inbound
        .headers
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            (name.starts_with("x-log-") || name.starts_with("x-acs-"))
                && name != "x-log-date"
                && (with_meta || !name.starts_with("x-log-meta-"))
        })
        .map(|(name, value)| format!("{name}:{}\n", String::from_utf8_lossy(value.as_bytes()).trim()))
        .collect();
    lines.sort();
    lines.concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::Method;

    use super::super::testing::inbound;
    use super::*;

    const HOST: &str = "test-project.cn-hangzhou.log.aliyuncs.com";
    const DATE: &str = "Tue, 05 Aug 2025 06:00:00 GMT";
    const BODY: &str = r#"{"logstoreName":"test-logstore","ttl":30,"shardCount":2}"#;

    fn post(method: &str, authorization: &str) -> Inbound {
        inbound(
            Method::POST,
            HOST,
            "/logstores",
            "",
            &[
                ("authorization", authorization),
                ("content-md5", "5A068CAFD52FDA850829A9B0EF69F8F5"),
                ("content-type", "application/json"),
                ("date", DATE),
                ("x-log-apiversion", "0.6.0"),
                ("x-log-bodyrawsize", "56"),
                ("x-log-signaturemethod", method),
            ],
            BODY,
        )
    }

    #[test]
    fn vector_a_sha1_with_body() {
        let request = post("hmac-sha1", "LOG testAccessKeyId:1YUAWS2v7huFZXvci2SK7hJ6R/Q=");
        let claim = claim(&request).unwrap();
        assert_eq!(
            claim.expected_text(),
            "POST\n5A068CAFD52FDA850829A9B0EF69F8F5\napplication/json\nTue, 05 Aug 2025 06:00:00 GMT\n\
             x-log-apiversion:0.6.0\nx-log-bodyrawsize:56\nx-log-signaturemethod:hmac-sha1\n/logstores"
        );
        assert!(claim.proven_by("testAccessKeySecret"));
        assert!(!claim.proven_by("testAccessKeySecreT"));
        assert_eq!(claim.time.to_string(), "2025-08-05T06:00:00Z");
    }

    #[test]
    fn vector_b_sha1_get_with_token_and_query() {
        let request = inbound(
            Method::GET,
            HOST,
            "/logstores",
            "size=100&offset=0&logstoreName=a%20b%2Fc",
            &[
                (
                    "authorization",
                    "LOG testAccessKeyId:T7Xd4uPUtHbJV7mhi/WMP7vZx6c=",
                ),
                ("date", DATE),
                ("x-acs-security-token", "testSecurityToken"),
                ("x-log-apiversion", "0.6.0"),
                ("x-log-bodyrawsize", "0"),
                ("x-log-signaturemethod", "hmac-sha1"),
            ],
            "",
        );
        let claim = claim(&request).unwrap();
        assert_eq!(
            claim.expected_text(),
            "GET\n\n\nTue, 05 Aug 2025 06:00:00 GMT\nx-acs-security-token:testSecurityToken\n\
             x-log-apiversion:0.6.0\nx-log-bodyrawsize:0\nx-log-signaturemethod:hmac-sha1\n\
             /logstores?logstoreName=a b/c&offset=0&size=100"
        );
        assert!(claim.proven_by("testAccessKeySecret"));
        assert_eq!(claim.security_token.as_deref(), Some("testSecurityToken"));
    }

    #[test]
    fn vector_c_sha256() {
        let request = post(
            "hmac-sha256",
            "LOG testAccessKeyId:BHaiB6B70+93D2MoMi746xUchRE7cCyMdRILpNTiC1E=",
        );
        assert!(claim(&request).unwrap().proven_by("testAccessKeySecret"));
    }

    #[test]
    fn vector_f_published_unit_test_with_wrong_weekday() {
        let request = inbound(
            Method::GET,
            "p.cn-hangzhou.log.aliyuncs.com",
            "/logstores",
            "",
            &[
                (
                    "authorization",
                    "LOG mockAccessKeyID:Rwm6cTKzoti4HWoe+GKcb6Kv07E=",
                ),
                ("date", "Mon, 3 Jan 2010 08:33:47 GMT"),
                ("x-log-apiversion", "0.6.0"),
                ("x-log-bodyrawsize", "0"),
                ("x-log-signaturemethod", "hmac-sha1"),
            ],
            "",
        );
        let claim = claim(&request).unwrap();
        assert!(claim.proven_by("mockAccessKeySecret"));
        assert_eq!(claim.time.to_string(), "2010-01-03T08:33:47Z");
    }

    #[test]
    fn log_date_sets_the_clock_but_is_not_signed() {
        let mut request = post("hmac-sha1", "LOG testAccessKeyId:1YUAWS2v7huFZXvci2SK7hJ6R/Q=");
        request
            .headers
            .insert("x-log-date", "Tue, 05 Aug 2025 07:00:00 GMT".parse().unwrap());
        let claim = claim(&request).unwrap();
        assert!(claim.proven_by("testAccessKeySecret"));
        assert_eq!(claim.time.to_string(), "2025-08-05T07:00:00Z");
    }

    #[test]
    fn header_faults_have_their_codes() {
        let good = post("hmac-sha1", "LOG a:b");
        let without = |name: &str| {
            let mut request = good.clone();
            request.headers.remove(name);
            request
        };
        let with = |name: &'static str, value: &str| {
            let mut request = good.clone();
            request.headers.insert(name, value.parse().unwrap());
            request
        };
        let table = [
            (without("authorization"), 401, "Unauthorized"),
            (without("x-log-apiversion"), 400, "MissingAPIVersion"),
            (with("x-log-apiversion", "9"), 400, "InvalidAPIVersion"),
            (without("x-log-signaturemethod"), 400, "MissingSignatureMethod"),
            (
                with("x-log-signaturemethod", "hmac-md5"),
                400,
                "InvalidSignatureMethod",
            ),
            (without("date"), 400, "MissingDate"),
            (with("date", "2025-08-05"), 400, "InvalidRequestTime"),
            (with("authorization", "LOG broken"), 400, "ParameterInvalid"),
            (with("authorization", "Basic x"), 400, "ParameterInvalid"),
            (with("content-md5", "00"), 400, "ParameterInvalid"),
        ];
        for (request, status, code) in table {
            let error = claim(&request).err().expect(code);
            assert_eq!((error.status, error.code.as_str()), (status, code));
        }
    }
}
