//! The dependency tree as `Cargo.lock` pins it: one TLS implementation, one provider for it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

/// Every package of a lock file with its versions.
fn packages(lock: &str) -> BTreeMap<String, Vec<String>> {
    let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for block in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let prefix = format!("{key} = \"");
            block
                .lines()
                .find_map(|line| line.strip_prefix(&prefix)?.strip_suffix('"'))
                .map(str::to_owned)
        };
        packages
            .entry(value("name").unwrap())
            .or_default()
            .push(value("version").unwrap());
    }
    packages
}

/// What speaks against the one TLS implementation that is settled on: rustls with ring.
fn objections(packages: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    const OTHERS: [&str; 11] = [
        "aws-lc-fips-sys",
        "aws-lc-rs",
        "aws-lc-sys",
        "boring",
        "boring-sys",
        "native-tls",
        "openssl",
        "openssl-src",
        "openssl-sys",
        "rustls-openssl",
        "wolfssl-sys",
    ];
    let mut objections: Vec<String> = OTHERS
        .iter()
        .filter(|name| packages.contains_key(**name))
        .map(|name| format!("{name} brings a second TLS implementation or provider"))
        .collect();
    for single in ["rustls", "ring", "rustls-webpki"] {
        match packages.get(single).map(Vec::as_slice) {
            Some([_]) => {}
            Some(versions) => {
                objections.push(format!("{single} is there in versions {}", versions.join(", ")));
            }
            None => objections.push(format!("{single} is gone: how does TLS work now?")),
        }
    }
    objections
}

#[test]
fn there_is_one_tls_implementation_with_one_provider() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let packages = packages(&lock);
    assert!(
        packages.len() > 100,
        "the lock file was not understood: {} packages",
        packages.len()
    );
    assert_eq!(objections(&packages), Vec::<String>::new());
}

#[test]
fn a_second_one_would_be_seen() {
    let package =
        |name: &str, version: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\n");
    let good = [
        package("rustls", "0.23.1"),
        package("ring", "0.17.1"),
        package("rustls-webpki", "0.103.1"),
    ]
    .concat();
    assert_eq!(objections(&packages(&good)), Vec::<String>::new());
    for bad in ["aws-lc-rs", "openssl-sys", "native-tls"] {
        assert_eq!(
            objections(&packages(&(good.clone() + &package(bad, "1.0.0")))).len(),
            1,
            "{bad}"
        );
    }
    assert_eq!(
        objections(&packages(&(good.clone() + &package("rustls", "0.24.0")))).len(),
        1
    );
    assert_eq!(objections(&packages("")).len(), 3);
}
