//! Secrets that tests mark, and the search for them where nobody may ever read them.

use std::collections::BTreeSet;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::control_plane::ControlPlane;

/// The access key secret of the operators under test.
pub const SECRET: &str = "markedSecretOfTheOperator00001";
/// A security token of theirs.
pub const TOKEN: &str = "markedTokenOfTheOperator000001";

/// Where the API server keeps Secrets: the one place where they belong.
const SECRETS: &str = "/registry/secrets/";

/// The forms in which a secret gives itself away: as it is, in Base64 wherever it begins in what was encoded, and as Rust shows bytes.
pub fn forms(secret: &str) -> Vec<String> {
    let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
    let mut forms = vec![secret.to_owned(), bytes.join(", ")];
    for before in 0..3 {
        let text = STANDARD_NO_PAD.encode([&vec![0; before], secret.as_bytes()].concat());
        // The letters at both ends also depend on what stands beside the secret.
        let first = (before * 8).div_ceil(6);
        let last = (before + secret.len()) * 8 / 6;
        forms.extend(text.get(first..last).map(str::to_owned));
    }
    forms
}

/// Whether a text holds one of the secrets in any of its forms.
pub fn is_in<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> bool {
    secrets
        .into_iter()
        .any(|secret| forms(secret).iter().any(|form| text.contains(form)))
}

/// The keys of all that an API server has stored, besides Secrets, that hold [`SECRET`] or [`TOKEN`]; and how many were looked at.
///
/// # Errors
/// Fails if the store does not answer.
pub fn stored(control_plane: &ControlPlane) -> Result<(BTreeSet<String>, usize)> {
    let forms = [SECRET, TOKEN].map(forms).concat();
    let (mut found, mut seen) = (BTreeSet::new(), 0);
    control_plane.for_each_stored(|key, value| {
        if key.starts_with(SECRETS) {
            return;
        }
        seen += 1;
        // Kinds of our own are stored as JSON, others in a binary form in which texts stand as they are.
        let value = String::from_utf8_lossy(value);
        if forms
            .iter()
            .any(|form| value.contains(form) || key.contains(form))
        {
            found.insert(key.to_owned());
        }
    })?;
    Ok((found, seen))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form() {
        assert!(!is_in("nothing", [SECRET, TOKEN]));
        assert!(is_in(&format!("key={SECRET}&"), [SECRET]));
        assert!(is_in(&format!("{:?}", SECRET.as_bytes()), [SECRET]));
        for before in 0..7 {
            for after in 0..4 {
                let text = format!("{}{SECRET}{}", "x".repeat(before), "y".repeat(after));
                let encoded = STANDARD.encode(text);
                assert!(is_in(&encoded, [SECRET]), "{before} {after} {encoded}");
                assert!(!is_in(&encoded, [TOKEN]));
            }
        }
    }
}
