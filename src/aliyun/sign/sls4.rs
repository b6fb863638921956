//! `SLS4-HMAC-SHA256`, the fourth signature form of Log Service.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use super::{canonical_headers, encode, hmac_sha256, joined, sha256_hex};

/// The algorithm's name.
pub const ALGORITHM: &str = "SLS4-HMAC-SHA256";

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The path as sent.
    pub path: &'a str,
    /// The parameters, not encoded.
    pub query: &'a [(String, String)],
    /// The headers as sent, with `host`. Which of them are signed is decided here.
    pub headers: &'a [(String, String)],
    /// Lower-case hex SHA-256 of the body, also sent as `x-log-content-sha256`.
    pub payload_sha256: &'a str,
}

/// The time in the form of the header `x-log-date`.
pub fn format_date(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// `<date>/<region>/sls/aliyun_v4_request`.
pub fn scope(time: Timestamp, region: &str) -> String {
    format!("{}/{region}/sls/aliyun_v4_request", time.strftime("%Y%m%d"))
}

/// The request on the lines that are hashed. A parameter without a value stands as its bare name.
pub fn canonical_request(request: &Request<'_>) -> String {
    let Request {
        method,
        path,
        query,
        headers,
        payload_sha256,
    } = *request;
    let query = joined(query, |name, value| {
        if value.is_empty() {
            name.to_owned()
        } else {
            format!("{name}={}", encode(value))
        }
    });
    let signed: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| is_signed(&name.to_ascii_lowercase()))
        .cloned()
        .collect();
    let (lines, names) = canonical_headers(&signed);
    format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload_sha256}")
}

/// The server applies the same rule; the list of signed names is not sent.
fn is_signed(name: &str) -> bool {
    name == "host"
        || name == "content-type"
        || name.starts_with("x-acs-")
        || (name.starts_with("x-log-") && !name.starts_with("x-log-meta-"))
}

/// The text that the key is applied to.
pub fn string_to_sign(time: Timestamp, region: &str, canonical_request: &str) -> String {
    format!(
        "{ALGORITHM}\n{}\n{}\n{}",
        format_date(time),
        scope(time, region),
        sha256_hex(canonical_request.as_bytes())
    )
}

/// The day's key for a region.
pub fn signing_key(secret: &SecretString, time: Timestamp, region: &str) -> Zeroizing<[u8; 32]> {
    let start = Zeroizing::new(format!("aliyun_v4{}", secret.expose_secret()));
    let date = time.strftime("%Y%m%d").to_string();
    let mut key = Zeroizing::new(hmac_sha256(start.as_bytes(), date.as_bytes()));
    for step in [region, "sls", "aliyun_v4_request"] {
        key = Zeroizing::new(hmac_sha256(key.as_slice(), step.as_bytes()));
    }
    key
}

/// The value of the header `Authorization`.
pub fn authorization(
    access_key_id: &str,
    secret: &SecretString,
    time: Timestamp,
    region: &str,
    request: &Request<'_>,
) -> String {
    let text = string_to_sign(time, region, &canonical_request(request));
    let signature = hmac_sha256(signing_key(secret, time, region).as_slice(), text.as_bytes());
    format!(
        "{ALGORITHM} Credential={access_key_id}/{},Signature={}",
        scope(time, region),
        hex::encode(signature)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const BODY: &str = r#"{"logstoreName":"test-logstore","ttl":30,"shardCount":2}"#;
    const HOST: &str = "test-project.cn-hangzhou.log.aliyuncs.com";

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn time() -> Timestamp {
        "2025-08-05T06:00:00Z".parse().unwrap()
    }

    fn secret() -> SecretString {
        SecretString::from("testAccessKeySecret")
    }

    #[test]
    fn vector_d_with_a_body_is_reproduced_step_by_step() {
        let hash = sha256_hex(BODY.as_bytes());
        assert_eq!(
            hash,
            "3876654aad8889b3a26fa1d8f5a473887afb8202985d142d42f9df249ada7fe6"
        );
        let headers = pairs(&[
            ("Host", HOST),
            ("Content-Type", "application/json"),
            ("x-log-apiversion", "0.6.0"),
            ("x-log-bodyrawsize", "56"),
            ("x-log-content-sha256", &hash),
            ("x-log-date", "20250805T060000Z"),
            ("User-Agent", "not signed"),
        ]);
        let request = Request {
            method: "POST",
            path: "/logstores",
            query: &[],
            headers: &headers,
            payload_sha256: &hash,
        };
        let canonical = canonical_request(&request);
        assert_eq!(
            canonical,
            "POST\n/logstores\n\ncontent-type:application/json\n\
             host:test-project.cn-hangzhou.log.aliyuncs.com\nx-log-apiversion:0.6.0\nx-log-bodyrawsize:56\n\
             x-log-content-sha256:3876654aad8889b3a26fa1d8f5a473887afb8202985d142d42f9df249ada7fe6\n\
             x-log-date:20250805T060000Z\n\n\
             content-type;host;x-log-apiversion;x-log-bodyrawsize;x-log-content-sha256;x-log-date\n\
             3876654aad8889b3a26fa1d8f5a473887afb8202985d142d42f9df249ada7fe6"
        );
        assert_eq!(
            string_to_sign(time(), "cn-hangzhou", &canonical),
            "SLS4-HMAC-SHA256\n20250805T060000Z\n20250805/cn-hangzhou/sls/aliyun_v4_request\n\
             076a2182b28ae31c2bc3fae6a68a3dac7b65082639f71b24cdd228c2dd7e7dbe"
        );
        assert_eq!(
            hex::encode(signing_key(&secret(), time(), "cn-hangzhou").as_slice()),
            "5306868b629eb5cf0e7d1e1cf2d1475eccdf7e77cd9353fc9b4338f40a45bf1c"
        );
        assert_eq!(
            authorization("testAccessKeyId", &secret(), time(), "cn-hangzhou", &request),
            "SLS4-HMAC-SHA256 Credential=testAccessKeyId/20250805/cn-hangzhou/sls/aliyun_v4_request,\
             Signature=1f164e718167d09a91bf4f6ca96d9e95e96eb0984c7e2e4bb1dea381637ca238"
        );
    }

    #[test]
    fn vector_e_with_a_token_and_an_awkward_query_is_reproduced() {
        let headers = pairs(&[
            ("host", HOST),
            ("x-acs-security-token", "testSecurityToken"),
            ("x-log-apiversion", "0.6.0"),
            ("x-log-bodyrawsize", "0"),
            ("x-log-content-sha256", EMPTY),
            ("x-log-date", "20250805T060000Z"),
        ]);
        let query = pairs(&[
            ("offset", "0"),
            ("size", "100"),
            ("logstoreName", "a b/c~*"),
            ("empty", ""),
        ]);
        let request = Request {
            method: "GET",
            path: "/logstores",
            query: &query,
            headers: &headers,
            payload_sha256: EMPTY,
        };
        let canonical = canonical_request(&request);
        assert_eq!(
            canonical.lines().nth(2),
            Some("empty&logstoreName=a%20b%2Fc~%2A&offset=0&size=100")
        );
        assert!(canonical.contains(
            "\nhost;x-acs-security-token;x-log-apiversion;x-log-bodyrawsize;x-log-content-sha256;x-log-date\n"
        ));
        assert_eq!(
            sha256_hex(canonical.as_bytes()),
            "97adc7c05b8874bb334c30ad9bada00561c8f0a3de3bdf81a3c9278a861e8771"
        );
        assert!(
            authorization("testAccessKeyId", &secret(), time(), "cn-hangzhou", &request)
                .ends_with("Signature=14755a8a2034e931123452c7a8193fe60c60e76502c6d638f450b19eb1e3d799")
        );
    }

    #[test]
    fn headers_outside_the_rule_are_not_signed() {
        let headers = pairs(&[
            ("x-log-meta-a", "1"),
            ("date", "x"),
            ("X-Log-B", " 2 "),
            ("x-acs-c", "3"),
        ]);
        let request = Request {
            method: "GET",
            path: "/",
            query: &[],
            headers: &headers,
            payload_sha256: EMPTY,
        };
        assert_eq!(
            canonical_request(&request),
            format!("GET\n/\n\nx-acs-c:3\nx-log-b:2\n\nx-acs-c;x-log-b\n{EMPTY}")
        );
    }

    proptest! {
        #[test]
        fn the_order_of_parameters_and_headers_does_not_matter(
            mut query in prop::collection::vec(("[a-z]{1,6}", any::<String>()), 0..6),
            mut headers in prop::collection::vec(("x-log-[a-z]{1,6}", "[ -~]{0,20}"), 0..6),
        ) {
            let sign = |query: &[(String, String)], headers: &[(String, String)]| {
                canonical_request(&Request { method: "GET", path: "/", query, headers, payload_sha256: EMPTY })
            };
            let before = sign(&query, &headers);
            query.reverse();
            headers.reverse();
            prop_assert_eq!(before, sign(&query, &headers));
        }

        #[test]
        fn no_parameter_can_add_a_line(value in any::<String>()) {
            let query = vec![("query".to_owned(), value)];
            let request =
                Request { method: "GET", path: "/", query: &query, headers: &[], payload_sha256: EMPTY };
            prop_assert_eq!(canonical_request(&request).split('\n').count(), 6);
        }
    }
}
