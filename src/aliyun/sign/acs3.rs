//! `ACS3-HMAC-SHA256`, the third signature form of the RPC services.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{canonical_headers, hmac_sha256, sha256_hex, wire_query};

/// The algorithm's name.
pub const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method, in upper case. The path is always `/`.
    pub method: &'a str,
    /// The parameters, not encoded.
    pub query: &'a [(String, String)],
    /// The headers to sign, with `host`; all of them are.
    pub headers: &'a [(String, String)],
    /// Lower-case hex SHA-256 of the body, also sent as `x-acs-content-sha256`.
    pub payload_sha256: &'a str,
}

/// The time in the form of the header `x-acs-date`.
pub fn format_date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The request on the lines that are hashed, and the names of the signed headers.
pub fn canonical_request(request: &Request<'_>) -> (String, String) {
    let Request {
        method,
        query,
        headers,
        payload_sha256,
    } = *request;
    let (lines, names) = canonical_headers(headers);
    let canonical = format!(
        "{method}\n/\n{}\n{lines}\n{names}\n{payload_sha256}",
        wire_query(query)
    );
    (canonical, names)
}

/// The text that the secret is applied to.
pub fn string_to_sign(canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{}", sha256_hex(canonical_request.as_bytes()))
}

/// The value of the header `Authorization`.
pub fn authorization(access_key_id: &str, secret: &SecretString, request: &Request<'_>) -> String {
    let (canonical, names) = canonical_request(request);
    let signature = hmac_sha256(
        secret.expose_secret().as_bytes(),
        string_to_sign(&canonical).as_bytes(),
    );
    format!(
        "{ALGORITHM} Credential={access_key_id},SignedHeaders={names},Signature={}",
        hex::encode(signature)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const KEY_ID: &str = "LTAIexampleAccessKeyId01";
    const SECRET: &str = "exampleSecretKey0123456789abcdef";
    const NONCE: &str = "0123456789abcdef0123456789abcdef";

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// The six headers that every vector has.
    fn headers(host: &str, action: &str, version: &str, hash: &str) -> Vec<(String, String)> {
        pairs(&[
            ("host", host),
            ("x-acs-action", action),
            ("x-acs-version", version),
            (
                "x-acs-date",
                &format_date("2026-01-02T03:04:05Z".parse().unwrap()),
            ),
            ("x-acs-signature-nonce", NONCE),
            ("x-acs-content-sha256", hash),
        ])
    }

    #[test]
    fn vector_a_with_parameters_is_reproduced_step_by_step() {
        let query = pairs(&[
            ("Name", "ram-audit-01"),
            ("EventRW", "All"),
            ("TrailRegion", "All"),
            ("IsOrganizationTrail", "False"),
            (
                "SlsProjectArn",
                "acs:log:cn-hangzhou:1234567890123456:project/ram audit~1",
            ),
        ]);
        let headers = headers(
            "actiontrail.cn-hangzhou.aliyuncs.com",
            "CreateTrail",
            "2020-07-06",
            EMPTY,
        );
        let request = Request {
            method: "POST",
            query: &query,
            headers: &headers,
            payload_sha256: EMPTY,
        };
        let (canonical, names) = canonical_request(&request);
        assert_eq!(
            canonical,
            "POST\n/\n\
             EventRW=All&IsOrganizationTrail=False&Name=ram-audit-01&SlsProjectArn=acs%3Alog%3Acn-hangzhou%3A\
             1234567890123456%3Aproject%2Fram%20audit~1&TrailRegion=All\n\
             host:actiontrail.cn-hangzhou.aliyuncs.com\n\
             x-acs-action:CreateTrail\n\
             x-acs-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
             x-acs-date:2026-01-02T03:04:05Z\n\
             x-acs-signature-nonce:0123456789abcdef0123456789abcdef\n\
             x-acs-version:2020-07-06\n\n\
             host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version\n\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            names,
            "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version"
        );
        assert_eq!(
            string_to_sign(&canonical),
            "ACS3-HMAC-SHA256\ne706275916a7f077d27b541b367f9c4ccffca35ff764514a5c69de68f8d432e4"
        );
        assert_eq!(
            authorization(KEY_ID, &SecretString::from(SECRET), &request),
            format!(
                "ACS3-HMAC-SHA256 Credential={KEY_ID},SignedHeaders={names},\
                 Signature=2a61b0e4b400df898d2df812720fef8633c37bd856162677c0269e8cb7b69225"
            )
        );
    }

    #[test]
    fn vector_b_with_a_security_token_is_reproduced() {
        let query = pairs(&[("GroupName", "auditors")]);
        let mut headers = headers("ram.aliyuncs.com", "GetGroup", "2015-05-01", EMPTY);
        headers.extend(pairs(&[
            ("accept", "application/json"),
            ("x-acs-accesskey-id", "STS.exampleTempKeyId"),
            ("x-acs-security-token", "CAIStoken+/=example"),
        ]));
        let request = Request {
            method: "POST",
            query: &query,
            headers: &headers,
            payload_sha256: EMPTY,
        };
        let (canonical, names) = canonical_request(&request);
        assert_eq!(
            names,
            "accept;host;x-acs-accesskey-id;x-acs-action;x-acs-content-sha256;x-acs-date;\
             x-acs-security-token;x-acs-signature-nonce;x-acs-version"
        );
        assert_eq!(
            sha256_hex(canonical.as_bytes()),
            "69969cd0608eded6af623105d48002d0276b706f96bace579161ee2dd0ce6c06"
        );
        assert!(
            authorization("STS.exampleTempKeyId", &SecretString::from(SECRET), &request)
                .ends_with("Signature=7a49749919162c3c5389b07c8fc34d70bab7460df3efbfa9c1b8c4cd04a181d0")
        );
    }

    #[test]
    fn vector_c_with_a_form_body_and_a_port_is_reproduced() {
        let body = "PolicyDocument=%7B%22Version%22%3A%221%22%2C%22Statement%22%3A%5B%5D%7D&PolicyName=p1";
        let hash = sha256_hex(body.as_bytes());
        assert_eq!(
            hash,
            "7eb9d18733ab8393028520f1044b7d178c4cc2f01a26694f4166593bbb599196"
        );
        let mut headers = headers("127.0.0.1:18080", "CreatePolicy", "2015-05-01", &hash);
        headers.extend(pairs(&[("content-type", "application/x-www-form-urlencoded")]));
        let request = Request {
            method: "POST",
            query: &[],
            headers: &headers,
            payload_sha256: &hash,
        };
        let (canonical, names) = canonical_request(&request);
        assert_eq!(
            names,
            "content-type;host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;\
             x-acs-version"
        );
        assert_eq!(
            sha256_hex(canonical.as_bytes()),
            "38272347b64555a585ef8df9eeee64346d453a81df1340e4bba07cb26a32c9a0"
        );
        assert!(
            authorization(KEY_ID, &SecretString::from(SECRET), &request)
                .ends_with("Signature=4ef534d5f9b6a18fc1474d3ec292cc7b7b392f69deb963e5de6775736f666a52")
        );
    }

    #[test]
    fn vector_d_of_the_official_page_is_reproduced() {
        let query = pairs(&[
            ("ImageId", "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd"),
            ("RegionId", "cn-shanghai"),
        ]);
        let headers = pairs(&[
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            ("x-acs-version", "2014-05-26"),
            (
                "x-acs-date",
                &format_date("2023-10-26T10:22:32Z".parse().unwrap()),
            ),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("x-acs-content-sha256", EMPTY),
        ]);
        let request = Request {
            method: "POST",
            query: &query,
            headers: &headers,
            payload_sha256: EMPTY,
        };
        assert!(
            authorization(
                "YourAccessKeyId",
                &SecretString::from("YourAccessKeySecret"),
                &request
            )
            .ends_with("Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0")
        );
    }

    proptest! {
        #[test]
        fn no_parameter_can_add_a_line_and_order_does_not_matter(
            mut query in prop::collection::vec(("[A-Za-z.0-9]{1,8}", any::<String>()), 0..6)
        ) {
            let sign = |query: &[(String, String)]| {
                canonical_request(&Request { method: "POST", query, headers: &[], payload_sha256: EMPTY }).0
            };
            let before = sign(&query);
            prop_assert_eq!(before.split('\n').count(), 6);
            query.reverse();
            prop_assert_eq!(before, sign(&query));
        }
    }
}
