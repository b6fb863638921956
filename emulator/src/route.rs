//! Which service a request is for: by host name, and on a bare address by the API version it names.

use crate::call::Service;
use crate::wire::{ApiError, Inbound, decode_pairs};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Log Service.
    Log {
        /// Project from the host prefix.
        project: Option<String>,
        /// Region of the endpoint.
        region: String,
    },
    /// An RPC service.
    Rpc {
        /// Which one.
        service: Service,
        /// Region of the endpoint; the default one for global endpoints.
        region: String,
    },
    /// The emulator itself.
    Admin,
}

/// What routing depends on.
#[derive(Debug, Clone)]
pub struct Routes {
    /// Region where the host names none.
    pub default_region: String,
    /// Further base host: `<project>.<base>` and `<base>`.
    pub base_host: Option<String>,
}

/// The API name space that admin endpoints must never live in.
const CLOUD: &str = "aliyuncs.com";

/// Host name without scheme, path and port, in lower case.
pub fn bare_host(host: &str) -> String {
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    host.to_ascii_lowercase()
}

impl Routes {
    /// Routes one request.
    pub fn target(&self, inbound: &Inbound) -> Result<Target, ApiError> {
        let host = bare_host(&inbound.host);
        if let Some(name) = host.strip_suffix(&format!(".{CLOUD}")) {
            return self.cloud(name, &host);
        }
        if inbound.path.starts_with("/_emulator/") {
            return Ok(Target::Admin);
        }
        let mut bases = vec!["127.0.0.1", "localhost", "[::1]"];
        bases.extend(self.base_host.as_deref());
        for base in bases {
            if host == base {
                return self.bare(inbound);
            }
            if let Some(project) = host.strip_suffix(&format!(".{base}")) {
                // Below a base, the vendor's own names may stand in full: `ram.localhost`, `p.cn-x.log.localhost`.
                if let Ok(target) = self.cloud(project, &host) {
                    return Ok(target);
                }
                return Ok(self.log(Some(project), None));
            }
        }
        if host.is_empty() {
            return Err(ApiError::new(
                400,
                "MissingHost",
                "Host does not exist in header when needed.",
            ));
        }
        Err(ApiError::new(
            400,
            "InvalidHost",
            format!("The host {host} is not known here."),
        ))
    }

    fn log(&self, project: Option<&str>, region: Option<&str>) -> Target {
        Target::Log {
            project: project.map(str::to_owned),
            region: region.unwrap_or(&self.default_region).to_owned(),
        }
    }

    fn rpc(&self, service: Service, region: Option<&str>) -> Target {
        Target::Rpc {
            service,
            region: region.unwrap_or(&self.default_region).to_owned(),
        }
    }

    fn cloud(&self, name: &str, host: &str) -> Result<Target, ApiError> {
        let labels: Vec<&str> = name.split('.').collect();
        let global = |service| Ok(self.rpc(service, None));
        match labels.as_slice() {
            ["ram"] => global(Service::Ram),
            ["resourcemanager"] => global(Service::ResourceManager),
            ["sts"] => global(Service::Sts),
            ["sts" | "sts-vpc", region] => Ok(self.rpc(Service::Sts, Some(region))),
            ["actiontrail"] => global(Service::ActionTrail),
            ["actiontrail" | "actiontrail-vpc", region] => Ok(self.rpc(Service::ActionTrail, Some(region))),
            ["log-global"] => Ok(self.log(None, None)),
            [project, "log-global"] => Ok(self.log(Some(project), None)),
            [region, "log" | "sls"] => Ok(self.log(None, Some(log_region(region)))),
            [project, region, "log" | "sls"] => Ok(self.log(Some(project), Some(log_region(region)))),
            _ => Err(ApiError::new(
                404,
                "InvalidProduct.NotFound",
                format!("The host {host} is not emulated."),
            )),
        }
    }

    fn bare(&self, inbound: &Inbound) -> Result<Target, ApiError> {
        let mut params = inbound.query_pairs();
        if inbound
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
        {
            params.extend(decode_pairs(&String::from_utf8_lossy(&inbound.body)));
        }
        let param = |name: &str| {
            params
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        let version = inbound.header("x-acs-version").or_else(|| param("Version"));
        let action = inbound.header("x-acs-action").or_else(|| param("Action"));
        match (version, action) {
            (None, None) => Ok(self.log(None, None)),
            (Some("2020-07-06"), _) => Ok(self.rpc(Service::ActionTrail, None)),
            (Some("2015-05-01"), _) => Ok(self.rpc(Service::Ram, None)),
            (Some("2015-04-01"), _) => Ok(self.rpc(Service::Sts, None)),
            (Some("2020-03-31"), _) => Ok(self.rpc(Service::ResourceManager, None)),
            _ => Err(ApiError::new(
                404,
                "InvalidApi.NotFound",
                "The API version is missing or not emulated.",
            )),
        }
    }
}

/// Region of a Log Service host label.
fn log_region(label: &str) -> &str {
    ["-intranet", "-share", "-vpc", "-internal"]
        .iter()
        .find_map(|suffix| label.strip_suffix(suffix))
        .unwrap_or(label)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::Method;

    use super::*;
    use crate::auth::testing::inbound;

    fn routes() -> Routes {
        Routes {
            default_region: "cn-hangzhou".into(),
            base_host: Some("emu.test".into()),
        }
    }

    fn log(project: Option<&str>, region: &str) -> Target {
        Target::Log {
            project: project.map(str::to_owned),
            region: region.to_owned(),
        }
    }

    fn rpc(service: Service, region: &str) -> Target {
        Target::Rpc {
            service,
            region: region.to_owned(),
        }
    }

    #[test]
    fn hosts_name_service_project_and_region() {
        let table = [
            ("p1.cn-shanghai.log.aliyuncs.com", log(Some("p1"), "cn-shanghai")),
            ("cn-shanghai.log.aliyuncs.com", log(None, "cn-shanghai")),
            (
                "p1.cn-shanghai-intranet.log.aliyuncs.com:80",
                log(Some("p1"), "cn-shanghai"),
            ),
            (
                "p1.cn-hangzhou-corp.sls.aliyuncs.com",
                log(Some("p1"), "cn-hangzhou-corp"),
            ),
            ("zhangbei-corp-share.log.aliyuncs.com", log(None, "zhangbei-corp")),
            (
                "http://p1.cn-shanghai.log.aliyuncs.com:8080/x",
                log(Some("p1"), "cn-shanghai"),
            ),
            ("p1.localhost:8080", log(Some("p1"), "cn-hangzhou")),
            ("p1.127.0.0.1", log(Some("p1"), "cn-hangzhou")),
            ("p1.emu.test:99", log(Some("p1"), "cn-hangzhou")),
            ("127.0.0.1:8080", log(None, "cn-hangzhou")),
            ("p1.log-global.aliyuncs.com", log(Some("p1"), "cn-hangzhou")),
            ("ram.aliyuncs.com", rpc(Service::Ram, "cn-hangzhou")),
            ("sts.aliyuncs.com", rpc(Service::Sts, "cn-hangzhou")),
            ("sts.cn-beijing.aliyuncs.com", rpc(Service::Sts, "cn-beijing")),
            ("sts-vpc.cn-beijing.aliyuncs.com", rpc(Service::Sts, "cn-beijing")),
            (
                "actiontrail.us-east-1.aliyuncs.com",
                rpc(Service::ActionTrail, "us-east-1"),
            ),
            (
                "actiontrail-vpc.us-east-1.aliyuncs.com",
                rpc(Service::ActionTrail, "us-east-1"),
            ),
            (
                "resourcemanager.aliyuncs.com",
                rpc(Service::ResourceManager, "cn-hangzhou"),
            ),
            ("ram.localhost:1", rpc(Service::Ram, "cn-hangzhou")),
        ];
        for (host, expected) in table {
            let request = inbound(Method::GET, "x", "/", "", &[], "");
            let request = Inbound {
                host: host.to_owned(),
                ..request
            };
            assert_eq!(routes().target(&request).unwrap(), expected, "{host}");
        }
    }

    #[test]
    fn a_bare_address_goes_by_version() {
        let table = [
            ("2020-07-06", Service::ActionTrail),
            ("2015-05-01", Service::Ram),
            ("2015-04-01", Service::Sts),
            ("2020-03-31", Service::ResourceManager),
        ];
        for (version, service) in table {
            let by_header = inbound(
                Method::POST,
                "127.0.0.1:1",
                "/",
                "",
                &[("x-acs-version", version), ("x-acs-action", "A")],
                "",
            );
            assert_eq!(routes().target(&by_header).unwrap(), rpc(service, "cn-hangzhou"));
            let query = format!("Action=A&Version={version}");
            let by_query = inbound(Method::POST, "localhost:1", "/", &query, &[], "");
            assert_eq!(routes().target(&by_query).unwrap(), rpc(service, "cn-hangzhou"));
            let by_form = inbound(
                Method::POST,
                "localhost:1",
                "/",
                "",
                &[("content-type", "application/x-www-form-urlencoded")],
                &query,
            );
            assert_eq!(routes().target(&by_form).unwrap(), rpc(service, "cn-hangzhou"));
        }
    }

    #[test]
    fn admin_paths_exist_only_outside_the_cloud_names() {
        let admin = inbound(Method::GET, "127.0.0.1:1", "/_emulator/journal", "", &[], "");
        assert_eq!(routes().target(&admin).unwrap(), Target::Admin);
        let cloud = inbound(
            Method::GET,
            "cn-hangzhou.log.aliyuncs.com",
            "/_emulator/journal",
            "",
            &[],
            "",
        );
        assert_eq!(routes().target(&cloud).unwrap(), log(None, "cn-hangzhou"));
    }

    #[test]
    fn unknown_hosts_are_refused() {
        for host in ["", "example.com", "ecs.aliyuncs.com"] {
            let request = inbound(Method::GET, "x", "/", "", &[], "");
            assert!(
                routes()
                    .target(&Inbound {
                        host: host.to_owned(),
                        ..request
                    })
                    .is_err(),
                "{host}"
            );
        }
    }
}
