//! Owns whom the way to the cloud trusts besides the system: certificates of private authorities.
//!
//! It reads no file: where the text comes from, and how that is called, its caller says.

use std::fmt;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

/// Certificates of authorities that are trusted besides those of the system; never empty.
#[derive(Clone, Eq, PartialEq)]
pub struct CaBundle(Vec<CertificateDer<'static>>);

/// Why a text is no [`CaBundle`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CaBundleError {
    /// There is no certificate in it.
    #[error("it holds no certificate: each stands between BEGIN CERTIFICATE and END CERTIFICATE")]
    Empty,
    /// Its frame is broken.
    #[error("certificate {0} is not whole, or is no base64")]
    Form(usize),
    /// What the frame holds is no certificate of an authority.
    #[error("certificate {0} cannot be trusted: {1}")]
    Unusable(usize, String),
}

impl CaBundle {
    /// Reads one or more certificates in PEM form. Other sections, such as keys, are passed over, and so is text between them.
    pub fn from_pem(text: &[u8]) -> Result<Self, CaBundleError> {
        let mut certificates = Vec::new();
        let mut anchors = RootCertStore::empty();
        for section in CertificateDer::pem_slice_iter(text) {
            let number = certificates.len() + 1;
            let certificate = match section {
                Ok(certificate) => certificate,
                Err(pem::Error::NoItemsFound) => break,
                Err(_) => return Err(CaBundleError::Form(number)),
            };
            anchors
                .add(certificate.clone())
                .map_err(|error| CaBundleError::Unusable(number, error.to_string()))?;
            certificates.push(certificate);
        }
        if certificates.is_empty() {
            return Err(CaBundleError::Empty);
        }
        Ok(Self(certificates))
    }

    /// In the form of the HTTP client.
    pub(super) fn certificates(&self) -> Result<Vec<reqwest::Certificate>, reqwest::Error> {
        self.0
            .iter()
            .map(|certificate| reqwest::Certificate::from_der(certificate))
            .collect()
    }
}

impl fmt::Debug for CaBundle {
    /// How many there are; nobody reads their bytes.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CaBundle({} certificates)", self.0.len())
    }
}
