//! Who calls: accounts, principals and their ARNs. Knows nothing of keys or policies.

use serde::Serialize;

/// The account, principal and key behind a verified signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Account id (decimal text).
    pub account: String,
    /// Who within the account.
    pub principal: Principal,
    /// Access key id that signed the call; empty for the vendor's own services.
    pub access_key_id: String,
}

/// A principal of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Principal {
    /// The account itself.
    Root,
    /// A RAM user.
    User {
        /// User name.
        name: String,
        /// Numeric user id.
        id: String,
    },
    /// A session of a RAM role.
    AssumedRole {
        /// Role name.
        role: String,
        /// Numeric role id.
        role_id: String,
        /// Session name chosen by whoever assumed the role.
        session: String,
    },
    /// A cloud service acting in the account.
    System {
        /// Host name of the service.
        service: String,
    },
}

impl Caller {
    /// The caller's ARN as GetCallerIdentity spells it.
    pub fn arn(&self) -> String {
        let account = &self.account;
        match &self.principal {
            Principal::Root => format!("acs:ram::{account}:root"),
            Principal::User { name, .. } => format!("acs:ram::{account}:user/{name}"),
            Principal::AssumedRole { role, session, .. } => {
                format!("acs:ram::{account}:assumed-role/{role}/{session}")
            }
            Principal::System { service } => format!("acs:ram::{account}:system/{service}"),
        }
    }

    /// `userName` of an event.
    pub fn user_name(&self) -> String {
        match &self.principal {
            Principal::Root => "root".to_owned(),
            Principal::User { name, .. } => name.clone(),
            Principal::AssumedRole { role, session, .. } => format!("{role}:{session}"),
            Principal::System { service } => service.clone(),
        }
    }

    /// `principalId` of an event and of GetCallerIdentity.
    pub fn principal_id(&self) -> String {
        match &self.principal {
            Principal::Root => self.account.clone(),
            Principal::User { id, .. } => id.clone(),
            Principal::AssumedRole { role_id, session, .. } => format!("{role_id}:{session}"),
            Principal::System { service } => service.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(principal: Principal) -> Caller {
        Caller {
            account: "1234567890123456".into(),
            principal,
            access_key_id: "k".into(),
        }
    }

    #[test]
    fn arns_follow_the_principal() {
        let table = [
            (
                Principal::Root,
                "acs:ram::1234567890123456:root",
                "root",
                "1234567890123456",
            ),
            (
                Principal::User {
                    name: "alice".into(),
                    id: "2".into(),
                },
                "acs:ram::1234567890123456:user/alice",
                "alice",
                "2",
            ),
            (
                Principal::AssumedRole {
                    role: "r".into(),
                    role_id: "3".into(),
                    session: "s".into(),
                },
                "acs:ram::1234567890123456:assumed-role/r/s",
                "r:s",
                "3:s",
            ),
        ];
        for (principal, arn, name, id) in table {
            let caller = caller(principal);
            assert_eq!(caller.arn(), arn);
            assert_eq!(caller.user_name(), name);
            assert_eq!(caller.principal_id(), id);
        }
    }
}
