//! RPC services, signature version 1.0 (HMAC-SHA1 over all parameters).

use jiff::Timestamp;

use super::{Claim, Hash, Proof, encode};
use crate::wire::{ApiError, Inbound};

/// Parses `2026-01-02T03:04:05Z`.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, ApiError> {
    if text.len() == 20
        && text.ends_with('Z')
        && let Ok(time) = text.parse()
    {
        return Ok(time);
    }
    Err(ApiError::new(
        400,
        "InvalidTimeStamp.Format",
        "The time stamp is not in the form YYYY-MM-DDThh:mm:ssZ.",
    ))
}

/// Reads the claim from the merged parameters of query and form.
pub fn claim(inbound: &Inbound, params: &[(String, String)]) -> Result<Claim, ApiError> {
    let get = |name: &str| {
        params
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let need = |name: &str| {
        get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            ApiError::new(
                400,
                format!("Missing{name}"),
                format!("{name} is mandatory for this action."),
            )
        })
    };
    let access_key_id = need("AccessKeyId")?;
    let signature = need("Signature")?;
    if need("SignatureMethod")? != "HMAC-SHA1" {
        return Err(ApiError::new(
            400,
            "InvalidSignatureMethod",
            "The signature method must be HMAC-SHA1.",
        ));
    }
    if need("SignatureVersion")? != "1.0" {
        return Err(ApiError::new(
            400,
            "InvalidParameter.Format",
            "SignatureVersion must be 1.0.",
        ));
    }
    let nonce = need("SignatureNonce")?;
    let time_text = need("Timestamp")?;
    let time = parse_time(time_text)?;
    let mut signed: Vec<&(String, String)> = params.iter().filter(|(name, _)| name != "Signature").collect();
    signed.sort();
    let canonical: Vec<String> = signed
        .into_iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    Ok(Claim {
        access_key_id: access_key_id.to_owned(),
        security_token: get("SecurityToken")
            .filter(|token| !token.is_empty())
            .map(str::to_owned),
        time,
        time_text: time_text.to_owned(),
        nonce: Some(nonce.to_owned()),
        proof: Proof::Base64 {
            hash: Hash::Sha1,
            key_suffix: "&",
            texts: vec![format!("{}&%2F&{}", inbound.method, encode(&canonical.join("&")))],
            signature: signature.to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::Method;

    use super::super::testing::inbound;
    use super::*;

    const SECRET: &str = "exampleSecretKey0123456789abcdef";

    fn params(signature: &str) -> Vec<(String, String)> {
        [
            ("Action", "DescribeTrails"),
            ("Version", "2020-07-06"),
            ("Format", "json"),
            ("NameList", "ram-audit-01,tr~2 *x"),
            ("AccessKeyId", "LTAIexampleAccessKeyId01"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureVersion", "1.0"),
            ("SignatureNonce", "0123456789abcdef0123456789abcdef"),
            ("Timestamp", "2026-01-02T03:04:05Z"),
            ("Signature", signature),
        ]
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    fn request(method: Method) -> Inbound {
        inbound(method, "actiontrail.cn-hangzhou.aliyuncs.com", "/", "", &[], "")
    }

    #[test]
    fn vector_by_post() {
        let claim = claim(&request(Method::POST), &params("4n53O80ZAffOcrTUTca2TuVeQJI=")).unwrap();
        assert_eq!(
            claim.expected_text(),
            "POST&%2F&AccessKeyId%3DLTAIexampleAccessKeyId01%26Action%3DDescribeTrails%26Format%3Djson%26NameList%3Dram-audit-01%252Ctr~2%2520%252Ax%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D0123456789abcdef0123456789abcdef%26SignatureVersion%3D1.0%26Timestamp%3D2026-01-02T03%253A04%253A05Z%26Version%3D2020-07-06"
        );
        assert!(claim.proven_by(SECRET));
        assert!(!claim.proven_by("x"));
    }

    #[test]
    fn vector_by_get() {
        let claim = claim(&request(Method::GET), &params("W+31LOGXTU+Jq9MrOBSr6N7H6Mk=")).unwrap();
        assert!(claim.proven_by(SECRET));
    }

    #[test]
    fn vector_with_an_empty_signature_type() {
        let mut params = params("wht7yw77ncMCDEg6S2SJErcqco4=");
        params.push(("SignatureType".to_owned(), String::new()));
        assert!(claim(&request(Method::POST), &params).unwrap().proven_by(SECRET));
    }

    #[test]
    fn missing_parameters_are_named() {
        for name in [
            "AccessKeyId",
            "Signature",
            "SignatureMethod",
            "SignatureVersion",
            "SignatureNonce",
            "Timestamp",
        ] {
            let params: Vec<_> = params("x")
                .into_iter()
                .filter(|(known, _)| known != name)
                .collect();
            let error = claim(&request(Method::POST), &params).err().unwrap();
            assert_eq!(error.code, format!("Missing{name}"));
        }
    }
}
