//! Ids and secrets in the services' forms. Deterministic: the same run gives the same ids.

use sha2::{Digest, Sha256};

/// Source of ids; each call gives a new one.
#[derive(Debug, Clone)]
pub struct Ids {
    seed: u64,
    count: u64,
}

impl Ids {
    /// A source; other seeds give other ids.
    pub fn new(seed: u64) -> Self {
        Self { seed, count: 0 }
    }

    fn next(&mut self, purpose: &str) -> String {
        self.count += 1;
        hex::encode(Sha256::digest(format!("{purpose}/{}/{}", self.seed, self.count)))
    }

    /// Upper-case UUID: request ids of RPC services.
    pub fn uuid(&mut self) -> String {
        let hex = self.next("uuid").to_uppercase();
        format!(
            "{}-{}-5{}-A{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[13..16],
            &hex[17..20],
            &hex[20..32]
        )
    }

    /// 24 upper-case hex characters: request ids of Log Service.
    pub fn log_request(&mut self) -> String {
        self.next("log").to_uppercase()[..24].to_owned()
    }

    /// Id of a user's access key.
    pub fn access_key(&mut self) -> String {
        format!("LTAI5t{}", &self.next("key")[..18])
    }

    /// Id of a session's access key.
    pub fn session_key(&mut self) -> String {
        format!("STS.NT{}", &self.next("session")[..22])
    }

    /// A secret of 30 characters.
    pub fn secret(&mut self) -> String {
        self.next("secret")[..30].to_owned()
    }

    /// A security token.
    pub fn token(&mut self) -> String {
        format!("CAIS{}{}", self.next("token"), self.next("token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_forms_and_do_not_repeat() {
        let mut ids = Ids::new(0);
        let uuid = ids.uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.to_uppercase(), uuid);
        assert_ne!(uuid, ids.uuid());
        let log = ids.log_request();
        assert_eq!(log.len(), 24);
        assert!(
            log.bytes()
                .all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte))
        );
        assert!(ids.session_key().starts_with("STS."));
        assert_eq!(Ids::new(7).uuid(), Ids::new(7).uuid());
        assert_ne!(Ids::new(7).uuid(), Ids::new(8).uuid());
    }
}
