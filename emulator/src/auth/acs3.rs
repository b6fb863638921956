//! RPC services, `ACS3-HMAC-SHA256`.

use super::{Claim, Proof, encode, rpc, sha256_hex};
use crate::wire::{ApiError, Inbound};

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// Whether the request is signed in this form.
pub fn applies(inbound: &Inbound) -> bool {
    inbound
        .header("authorization")
        .is_some_and(|text| text.starts_with("ACS3-"))
}

/// Reads the claim. The list of signed headers is the client's own; `host` and every `x-acs-*` header
/// present must be in it.
pub fn claim(inbound: &Inbound) -> Result<Claim, ApiError> {
    let incomplete = |message: &str| {
        ApiError::new(
            400,
            "IncompleteSignature",
            format!("The signature is incomplete: {message}."),
        )
    };
    let authorization = inbound.header("authorization").unwrap_or_default();
    let rest = authorization.strip_prefix(ALGORITHM).ok_or_else(|| {
        ApiError::new(
            400,
            "InvalidSignatureMethod",
            "This signature algorithm is not supported.",
        )
    })?;
    let (mut key, mut signed, mut signature) = (None, None, None);
    for part in rest.trim().split(',') {
        match part.trim().split_once('=') {
            Some(("Credential", value)) => key = Some(value),
            Some(("SignedHeaders", value)) => signed = Some(value),
            Some(("Signature", value)) => signature = Some(value),
            _ => return Err(incomplete("Authorization has an unknown part")),
        }
    }
    let key = key
        .filter(|key| !key.is_empty())
        .ok_or_else(|| incomplete("Credential is missing"))?;
    let signed = signed.ok_or_else(|| incomplete("SignedHeaders is missing"))?;
    let signature = signature.ok_or_else(|| incomplete("Signature is missing"))?;
    let mut names: Vec<&str> = signed.split(';').filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let present = inbound.headers.keys().map(http::HeaderName::as_str);
    for must in present.filter(|name| *name == "host" || name.starts_with("x-acs-")) {
        if !names.contains(&must) {
            return Err(incomplete(&format!("header {must} is not signed")));
        }
    }
    let time_text = inbound.header("x-acs-date").ok_or_else(|| {
        ApiError::new(
            400,
            "MissingTimestamp",
            "x-acs-date is mandatory for this action.",
        )
    })?;
    let time = rpc::parse_time(time_text)?;
    let nonce = inbound
        .header("x-acs-signature-nonce")
        .filter(|nonce| !nonce.is_empty())
        .ok_or_else(|| {
            ApiError::new(
                400,
                "MissingSignatureNonce",
                "x-acs-signature-nonce is mandatory for this action.",
            )
        })?;
    let payload = inbound
        .header("x-acs-content-sha256")
        .ok_or_else(|| incomplete("x-acs-content-sha256 is missing"))?;
    if payload != sha256_hex(&inbound.body) {
        return Err(ApiError::new(
            400,
            "SignatureDoesNotMatch",
            "x-acs-content-sha256 does not match the body of the request.",
        ));
    }
    let canonical = canonical_request(inbound, &names, payload);
    Ok(Claim {
        access_key_id: key.to_owned(),
        security_token: inbound.header("x-acs-security-token").map(str::to_owned),
        time,
        time_text: time_text.to_owned(),
        nonce: Some(nonce.to_owned()),
        proof: Proof::Hex {
            text: format!("{ALGORITHM}\n{}", sha256_hex(canonical.as_bytes())),
            signature: signature.to_owned(),
        },
    })
}

fn canonical_request(inbound: &Inbound, names: &[&str], payload: &str) -> String {
    let mut pairs = inbound.query_pairs();
    pairs.sort();
    let query: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    let headers: Vec<String> = names
        .iter()
        .map(|name| {
            let values: Vec<String> = inbound
                .headers
                .get_all(*name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
                .collect();
            format!("{name}:{}\n", values.join(","))
        })
        .collect();
    format!(
        "{}\n{}\n{}\n{}\n{}\n{payload}",
        inbound.method,
        inbound.path,
        query.join("&"),
        headers.concat(),
        names.join(";")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::Method;

    use super::super::testing::inbound;
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const DATE: &str = "2026-01-02T03:04:05Z";
    const NONCE: &str = "0123456789abcdef0123456789abcdef";
    const SECRET: &str = "exampleSecretKey0123456789abcdef";

    fn authorization(key: &str, signed: &str, signature: &str) -> String {
        format!("ACS3-HMAC-SHA256 Credential={key},SignedHeaders={signed},Signature={signature}")
    }

    fn vector_a() -> Inbound {
        inbound(
            Method::POST,
            "actiontrail.cn-hangzhou.aliyuncs.com",
            "/",
            "Name=ram-audit-01&EventRW=All&TrailRegion=All&IsOrganizationTrail=False&SlsProjectArn=acs%3Alog%3Acn-hangzhou%3A1234567890123456%3Aproject%2Fram+audit~1",
            &[
                ("x-acs-action", "CreateTrail"),
                ("x-acs-version", "2020-07-06"),
                ("x-acs-date", DATE),
                ("x-acs-signature-nonce", NONCE),
                ("x-acs-content-sha256", EMPTY),
                (
                    "authorization",
                    &authorization(
                        "LTAIexampleAccessKeyId01",
                        "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version",
                        "2a61b0e4b400df898d2df812720fef8633c37bd856162677c0269e8cb7b69225",
                    ),
                ),
            ],
            "",
        )
    }

    #[test]
    fn vector_a_query_with_space_and_tilde() {
        let claim = claim(&vector_a()).unwrap();
        assert_eq!(
            claim.expected_text(),
            "ACS3-HMAC-SHA256\ne706275916a7f077d27b541b367f9c4ccffca35ff764514a5c69de68f8d432e4"
        );
        assert!(claim.proven_by(SECRET));
        assert!(!claim.proven_by("x"));
        assert_eq!(claim.nonce.as_deref(), Some(NONCE));
    }

    #[test]
    fn vector_b_security_token() {
        let request = inbound(
            Method::POST,
            "ram.aliyuncs.com",
            "/",
            "GroupName=auditors",
            &[
                ("accept", "application/json"),
                ("x-acs-accesskey-id", "STS.exampleTempKeyId"),
                ("x-acs-security-token", "CAIStoken+/=example"),
                ("x-acs-action", "GetGroup"),
                ("x-acs-version", "2015-05-01"),
                ("x-acs-date", DATE),
                ("x-acs-signature-nonce", NONCE),
                ("x-acs-content-sha256", EMPTY),
                (
                    "authorization",
                    &authorization(
                        "STS.exampleTempKeyId",
                        "accept;host;x-acs-accesskey-id;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-security-token;x-acs-signature-nonce;x-acs-version",
                        "7a49749919162c3c5389b07c8fc34d70bab7460df3efbfa9c1b8c4cd04a181d0",
                    ),
                ),
            ],
            "",
        );
        let claim = claim(&request).unwrap();
        assert!(
            claim
                .expected_text()
                .ends_with("69969cd0608eded6af623105d48002d0276b706f96bace579161ee2dd0ce6c06")
        );
        assert!(claim.proven_by(SECRET));
        assert_eq!(claim.security_token.as_deref(), Some("CAIStoken+/=example"));
    }

    #[test]
    fn vector_c_form_body() {
        let body = "PolicyDocument=%7B%22Version%22%3A%221%22%2C%22Statement%22%3A%5B%5D%7D&PolicyName=p1";
        let request = inbound(
            Method::POST,
            "127.0.0.1:18080",
            "/",
            "",
            &[
                ("content-type", "application/x-www-form-urlencoded"),
                ("x-acs-action", "CreatePolicy"),
                ("x-acs-version", "2015-05-01"),
                ("x-acs-date", DATE),
                ("x-acs-signature-nonce", NONCE),
                (
                    "x-acs-content-sha256",
                    "7eb9d18733ab8393028520f1044b7d178c4cc2f01a26694f4166593bbb599196",
                ),
                (
                    "authorization",
                    &authorization(
                        "LTAIexampleAccessKeyId01",
                        "content-type;host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version",
                        "4ef534d5f9b6a18fc1474d3ec292cc7b7b392f69deb963e5de6775736f666a52",
                    ),
                ),
            ],
            body,
        );
        assert!(claim(&request).unwrap().proven_by(SECRET));
    }

    #[test]
    fn vector_d_published_sample() {
        let request = inbound(
            Method::POST,
            "ecs.cn-shanghai.aliyuncs.com",
            "/",
            "ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai",
            &[
                ("x-acs-action", "RunInstances"),
                ("x-acs-version", "2014-05-26"),
                ("x-acs-date", "2023-10-26T10:22:32Z"),
                ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
                ("x-acs-content-sha256", EMPTY),
                (
                    "authorization",
                    &authorization(
                        "YourAccessKeyId",
                        "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version",
                        "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0",
                    ),
                ),
            ],
            "",
        );
        assert!(claim(&request).unwrap().proven_by("YourAccessKeySecret"));
    }

    #[test]
    fn an_unsigned_acs_header_is_refused() {
        let mut request = vector_a();
        request
            .headers
            .insert("x-acs-security-token", "smuggled".parse().unwrap());
        assert_eq!(claim(&request).err().unwrap().code, "IncompleteSignature");
    }

    #[test]
    fn faults_have_their_codes() {
        let table: [(&'static str, Option<&str>, &str); 6] = [
            ("x-acs-date", None, "MissingTimestamp"),
            ("x-acs-date", Some("yesterday"), "InvalidTimeStamp.Format"),
            ("x-acs-signature-nonce", None, "MissingSignatureNonce"),
            ("x-acs-content-sha256", None, "IncompleteSignature"),
            ("x-acs-content-sha256", Some("00"), "SignatureDoesNotMatch"),
            (
                "authorization",
                Some("ACS3-HMAC-SM3 Credential=a"),
                "InvalidSignatureMethod",
            ),
        ];
        for (name, value, code) in table {
            let mut request = vector_a();
            request.headers.remove(name);
            if let Some(value) = value {
                request.headers.insert(name, value.parse().unwrap());
            }
            assert_eq!(claim(&request).err().expect(code).code, code);
        }
    }
}
