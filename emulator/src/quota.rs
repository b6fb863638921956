//! Limits and rates, each with a name for `--quota NAME=N`.

use std::collections::BTreeMap;

/// A named limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Name on the command line.
    pub name: &'static str,
    /// Value from the documents (or an assumption).
    pub default: u64,
    /// What it limits.
    pub text: &'static str,
}

macro_rules! quotas {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $default:literal, $text:literal;)*) => {
        $($(#[$doc])* #[doc = $text] pub const $id: Quota = Quota { name: $name, default: $default, text: $text };)*
        /// All limits, in the order of the documentation.
        pub const ALL: &[Quota] = &[$($id),*];
    };
}

quotas! {
    SLS_PROJECTS = "sls.projects", 150, "Log Service projects per account";
    SLS_LOGSTORES = "sls.logstores", 200, "log stores per project";
    SLS_SHARDS = "sls.shards", 400, "shards per project";
    SLS_DASHBOARDS = "sls.dashboards", 100, "dashboards per project";
    SLS_SAVED_SEARCHES = "sls.savedsearches", 100, "saved searches per project";
    SLS_JOBS = "sls.jobs", 100, "jobs of one type per project";
    SLS_TAGS = "sls.tags", 20, "tags per resource";
    SLS_META_QPS = "sls.meta.qps", 10, "Log Service management calls per second and account (assumed)";
    SLS_WRITE_QPM = "sls.write.qpm", 600_000, "PutLogs calls per minute and project";
    SLS_READ_QPM = "sls.read.qpm", 600_000, "log reads per minute and project";
    TRAILS = "actiontrail.trails", 5, "trails per account and home region";
    TRAIL_WRITE_QPS = "actiontrail.write.qps", 5, "each ActionTrail write per second and account";
    TRAIL_READ_QPS = "actiontrail.read.qps", 100, "each ActionTrail read per second and account";
    LOOKUP_QPS = "actiontrail.lookup.qps", 10, "LookupEvents per second and account";
    RAM_QPS = "ram.qps", 100, "RAM and ResourceManager calls per second, account and operation (assumed)";
    STS_QPS = "sts.qps", 100, "STS calls per second, account and operation (assumed)";
    RAM_GROUPS = "ram.groups", 300, "RAM groups per account";
    RAM_USERS = "ram.users", 5000, "RAM users per account";
    RAM_ROLES = "ram.roles", 1000, "RAM roles per account";
    RAM_POLICIES = "ram.policies", 1500, "custom policies per account";
    RAM_POLICY_VERSIONS = "ram.policy.versions", 5, "versions of one custom policy";
    RAM_USER_GROUPS = "ram.user.groups", 10, "groups of one user";
    RAM_ACCESS_KEYS = "ram.user.accesskeys", 2, "access keys of one user";
    RAM_ATTACHED_SYSTEM = "ram.attached.system", 20, "system policies attached to one user, group or role";
    RAM_ATTACHED_CUSTOM = "ram.attached.custom", 10, "custom policies attached to one user, group or role";
}

/// The limits in force.
#[derive(Debug, Clone, Default)]
pub struct Quotas {
    overrides: BTreeMap<&'static str, u64>,
}

impl Quotas {
    /// The value of a limit.
    pub fn get(&self, quota: Quota) -> u64 {
        self.overrides.get(quota.name).copied().unwrap_or(quota.default)
    }

    /// The value set by name, if any.
    pub fn overridden(&self, quota: Quota) -> Option<u64> {
        self.overrides.get(quota.name).copied()
    }

    /// Sets a limit by name; false if there is none of that name.
    pub fn set(&mut self, name: &str, value: u64) -> bool {
        let Some(quota) = ALL.iter().find(|quota| quota.name == name) else {
            return false;
        };
        self.overrides.insert(quota.name, value);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_its_default_until_set_and_unknown_names_are_refused() {
        let mut quotas = Quotas::default();
        assert_eq!(quotas.get(TRAILS), 5);
        assert!(quotas.set("actiontrail.trails", 1));
        assert_eq!(quotas.get(TRAILS), 1);
        assert!(!quotas.set("actiontrail.trail", 1));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(|quota| quota.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
