//! Open questions of Log Service.

use crate::assumption;
use crate::assumptions::Declared;

assumption! {
    /// Where a project's name must be unique.
    pub enum NameScope("sls.project.name_scope") {
        /// Over all regions and accounts.
        Global = "global",
        /// Within a region, over all accounts.
        PerRegion = "per_region",
    }
    /// Zone of a project's times, which carry none.
    pub enum TimeZone("sls.project.time_zone") {
        /// UTC.
        Utc = "utc",
        /// UTC+8.
        Utc8 = "utc8",
    }
    /// `owner` of a project.
    pub enum Owner("sls.project.owner") {
        /// The account id.
        Account = "account",
        /// Empty text.
        Empty = "empty",
    }
    /// What a project answers just after CreateProject.
    pub enum ProjectVisible("sls.project.visible") {
        /// Itself.
        AtOnce = "at_once",
        /// ProjectNotExist for 3 seconds.
        NotExist = "not_exist_3s",
        /// ProjectForbidden for 3 seconds.
        Forbidden = "forbidden_3s",
    }
    /// What a log store answers just after CreateLogStore.
    pub enum StoreVisible("sls.logstore.visible") {
        /// Itself.
        AtOnce = "at_once",
        /// LogStoreNotExist for 3 seconds.
        NotExist = "not_exist_3s",
    }
    /// Whether log stores can be tagged.
    pub enum StoreTags("sls.tag.logstore") {
        /// They can.
        Supported = "supported",
        /// ParameterInvalid.
        Unsupported = "unsupported",
    }
    /// Whether a tag's value may hold a slash.
    pub enum ValueSlash("sls.tag.value_slash") {
        /// It may.
        Allowed = "allowed",
        /// ParameterInvalid.
        Rejected = "rejected",
    }
    /// What UpdateLogStore does to optional members that are left out.
    pub enum PutOmitted("sls.logstore.put_omitted") {
        /// They keep their value.
        Keep = "keep",
        /// They go back to the default.
        Reset = "reset",
    }
    /// What UpdateLogStore does with another shardCount.
    pub enum PutShardCount("sls.logstore.put_shard_count") {
        /// Nothing.
        Ignored = "ignored",
        /// ParameterInvalid.
        Refused = "refused",
    }
    /// Whether a standard log store can become one in query mode.
    pub enum ModeToQuery("sls.logstore.mode_to_query") {
        /// NotSupported.
        NotSupported = "not_supported",
        /// It can.
        Accepted = "accepted",
    }
    /// Status of IndexConfigNotExist.
    pub enum IndexAbsentStatus("sls.index.absent_status") {
        /// 400.
        BadRequest = "400",
        /// 404.
        NotFound = "404",
    }
    /// Whether an index finds logs that came before it.
    pub enum IndexReach("sls.index.reach") {
        /// Only logs that came after it.
        NewLogs = "new_logs",
        /// All logs, as if they were reindexed.
        AllLogs = "all_logs",
    }
    /// A search condition on a field without index.
    pub enum UnindexedCondition("sls.search.unindexed_key") {
        /// ParameterInvalid.
        Refused = "refused",
        /// It matches nothing.
        MatchesNothing = "matches_nothing",
    }
    /// Whether a data-transformation job runs once it is created.
    pub enum StartsItself("sls.etl.starts_itself") {
        /// It does.
        Yes = "yes",
        /// It waits for START.
        No = "no",
    }
    /// START for a job that runs.
    pub enum StartRunning("sls.etl.start_running") {
        /// 200, nothing happens.
        Accepted = "accepted",
        /// ParameterInvalid.
        Refused = "refused",
    }
    /// Error code of a second job of one name.
    pub enum DuplicateJob("sls.job.duplicate_code") {
        /// JobAlreadyExist.
        JobAlreadyExist = "JobAlreadyExist",
        /// ParameterInvalid.
        ParameterInvalid = "ParameterInvalid",
    }
    /// A job whose role is missing or lacks a permission.
    pub enum JobDenied("sls.etl.denied") {
        /// Its status becomes FAILED.
        Fails = "failed",
        /// It stays RUNNING and copies nothing until the role is right.
        StaysRunning = "stays_running",
    }
}

/// Everything declared here.
pub fn registered() -> Vec<Declared> {
    vec![
        Declared::of::<NameScope>(),
        Declared::of::<TimeZone>(),
        Declared::of::<Owner>(),
        Declared::of::<ProjectVisible>(),
        Declared::of::<StoreVisible>(),
        Declared::of::<StoreTags>(),
        Declared::of::<ValueSlash>(),
        Declared::of::<PutOmitted>(),
        Declared::of::<PutShardCount>(),
        Declared::of::<ModeToQuery>(),
        Declared::of::<IndexAbsentStatus>(),
        Declared::of::<IndexReach>(),
        Declared::of::<UnindexedCondition>(),
        Declared::of::<StartsItself>(),
        Declared::of::<StartRunning>(),
        Declared::of::<DuplicateJob>(),
        Declared::of::<JobDenied>(),
    ]
}
