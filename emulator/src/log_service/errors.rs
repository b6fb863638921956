//! The refusals of Log Service with their codes and messages (sls-api 3), one constructor each.

use crate::wire::ApiError;

/// Builds a 400 of the given code.
pub(super) fn bad(code: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(400, code, message)
}

/// 400 ParameterInvalid.
pub(super) fn parameter_invalid(message: impl Into<String>) -> ApiError {
    bad("ParameterInvalid", message)
}

/// 400 PostBodyInvalid.
pub(super) fn post_body_invalid(message: impl Into<String>) -> ApiError {
    bad("PostBodyInvalid", message)
}

/// 400 LogStoreInfoInvalid.
pub(super) fn store_info_invalid(message: impl Into<String>) -> ApiError {
    bad("LogStoreInfoInvalid", message)
}

/// 400 NotSupported.
pub(super) fn not_supported(message: impl Into<String>) -> ApiError {
    bad("NotSupported", message)
}

/// 404 ProjectNotExist.
pub(super) fn project_not_exist(project: &str) -> ApiError {
    ApiError::new(
        404,
        "ProjectNotExist",
        format!("The Project does not exist : {project}"),
    )
}

/// 400 ProjectAlreadyExist.
pub(super) fn project_already_exist(project: &str) -> ApiError {
    bad("ProjectAlreadyExist", format!("Project {project} already exist"))
}

/// 403 ProjectForbidden.
pub(super) fn project_forbidden(project: &str) -> ApiError {
    ApiError::new(
        403,
        "ProjectForbidden",
        format!("Project {project} has been forbidden."),
    )
}

/// 401 Unauthorized for a project of another account.
pub(super) fn foreign_project() -> ApiError {
    ApiError::new(401, "Unauthorized", "The project does not belong to you.")
}

/// 404 LogStoreNotExist.
pub(super) fn store_not_exist(store: &str) -> ApiError {
    ApiError::new(
        404,
        "LogStoreNotExist",
        format!("logstore {store} does not exist"),
    )
}

/// 400 LogStoreAlreadyExist.
pub(super) fn store_already_exists(store: &str) -> ApiError {
    bad("LogStoreAlreadyExist", format!("logstore {store} already exists"))
}

/// 400 ProjectQuotaExceed.
pub(super) fn project_quota_exceed() -> ApiError {
    bad("ProjectQuotaExceed", "Project Quota Exceed.")
}

/// 400 ExceedQuota.
pub(super) fn exceed_quota(what: &str) -> ApiError {
    bad("ExceedQuota", format!("{what} quota exceed"))
}

/// 405 InvalidMethod.
pub(super) fn invalid_method(path: &str) -> ApiError {
    ApiError::new(405, "InvalidMethod", format!("invalid request method : {path}"))
}
