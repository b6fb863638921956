"""Every open question of the real services: an SDK user sees each behaviour that the emulator offers for it.

A case starts an emulator of its own with one behaviour chosen over the profile. The last case holds this list and
the emulator's register equal, so that no question stands there with behaviours nobody can tell apart.
"""

import json

import pytest
from aliyun.log import IndexConfig, LogException
from aliyun.log.index_config import IndexKeyConfig, IndexLineConfig
from alibabacloud_actiontrail20200706 import models as trail_models
from alibabacloud_ram20150501 import models as ram_models
from alibabacloud_sls20201230 import models as sls_models
from alibabacloud_tea_openapi.exceptions import ClientException
from cloud import LOOKUP, Key, machine, refused
from identities import actiontrail_role, attach, document, etl_role, policy, role, session_key, trust, user
from records import index, pulled, put

SERVICE = "Open questions: every behaviour seen by an SDK"

TRAIL, STORE = "ram-audit", "actiontrail_ram-audit"

#: Behaviours by question; cases are made from it.
QUESTIONS = {}


def question(name, *behaviours):
    """A case for each behaviour of an open question."""
    QUESTIONS[name] = behaviours

    def mark(case):
        return pytest.mark.parametrize(
            "own, behaviour", [((name, b), b) for b in behaviours], indirect=["own"],
            ids=[f"{name}={b}" for b in behaviours])(case)

    return mark


@pytest.fixture
def own(request, launch):
    """An emulator with the case's behaviour."""
    name, behaviour = request.param
    return launch(assume={name: behaviour})


class Stage:
    """An account with a project and its clients."""

    def __init__(self, own, trail=False, on=False, **settings):
        self.cloud, self.account = own, own.account()
        self.log, self.project = self.account.log(), own.name("stage")
        self.log.create_project(self.project, "")
        own.jump(60)
        self.arn = f"acs:log:cn-hangzhou:{self.account.uid}:project/{self.project}"
        if trail:
            actiontrail_role(self.account)
            self.trail = self.account.trail()
            self.created = self.trail.create_trail(trail_models.CreateTrailRequest(
                name=TRAIL, sls_project_arn=self.arn, **{"event_rw": "All", "trail_region": "All", **settings}))
            own.jump(60)
            if on:
                self.trail.start_logging(trail_models.StartLoggingRequest(name=TRAIL))
                own.jump(60)

    def stores(self):
        return self.log.list_logstore(self.project).get_logstores()

    def describe(self):
        found = self.trail.describe_trails(trail_models.DescribeTrailsRequest(name_list=TRAIL)).body.trail_list
        return found[0] if found else None

    def rows(self, name=None):
        rows = pulled(self.log, self.project, STORE)
        return [r for r in rows if name in (None, json.loads(r["event"])["eventName"])]

    def events(self, name=None):
        return [json.loads(r["event"]) for r in self.rows(name)]

    def store(self, name="store", **settings):
        self.log.create_logstore(self.project, name, **settings)
        self.cloud.jump(60)
        return name


def group(account, name):
    account.ram().create_group(ram_models.CreateGroupRequest(group_name=name))


# --- ActionTrail: delivery ----------------------------------------------------------------------------


@question("actiontrail.delivery.delay", "1s", "60s")
def test_delivery_delay(own, behaviour):
    stage = Stage(own, trail=True, on=True)
    group(stage.account, "g")
    own.jump(10)
    assert bool(stage.events("CreateGroup")) is (behaviour == "1s")
    own.jump(60)
    assert stage.events("CreateGroup")


@question("actiontrail.delivery.duplicates", "never", "every_third")
def test_delivery_duplicates(own, behaviour):
    stage = Stage(own, trail=True, on=True)
    for number in range(9):
        group(stage.account, f"g{number}")
    own.jump(300)
    ids = [e["eventId"] for e in stage.events("CreateGroup")]
    assert len(set(ids)) == 9
    assert (len(ids) == 9) is (behaviour == "never")


@question("actiontrail.delivery.order", "in_order", "swapped")
def test_delivery_order(own, behaviour):
    own.admin("POST", "assumptions", {"id": "actiontrail.delivery.duplicates", "behaviour": "never"})
    stage = Stage(own, trail=True, on=True)
    for number in range(8):
        group(stage.account, f"g{number}")
    own.jump(300)
    pages = []
    for shard in stage.log.list_shards(stage.project, STORE).get_shards_info():
        start = stage.log.get_begin_cursor(stage.project, STORE, shard["shardID"]).get_cursor()
        rows = stage.log.pull_logs(stage.project, STORE, shard["shardID"], start).get_flatten_logs_json()
        events = [json.loads(row["event"]) for row in rows]
        names = [e["requestParameters"]["GroupName"] for e in events if e["eventName"] == "CreateGroup"]
        pages.append(list(dict.fromkeys(names)))
    assert sorted(name for page in pages for name in page) == [f"g{n}" for n in range(8)]
    assert all(page == sorted(page) for page in pages) is (behaviour == "in_order")


@question("actiontrail.delivery.source", "service_name", "empty")
def test_delivery_source(own, behaviour):
    stage = Stage(own, trail=True, on=True)
    group(stage.account, "g")
    own.jump(300)
    sources = {row["__source__"] for row in stage.rows("CreateGroup")}
    assert sources == ({""} if behaviour == "empty" else {"actiontrail_internal"})


@question("actiontrail.stop.event", "delivered", "not_delivered")
def test_stop_event(own, behaviour):
    stage = Stage(own, trail=True, on=True)
    stage.trail.stop_logging(trail_models.StopLoggingRequest(name=TRAIL))
    own.jump(300)
    assert bool(stage.events("StopLogging")) is (behaviour == "delivered")


@question("actiontrail.event.version", "number", "text")
def test_event_version(own, behaviour):
    stage = Stage(own, trail=True, on=True)
    group(stage.account, "g")
    own.jump(300)
    assert stage.events("CreateGroup")[0]["eventVersion"] == (1 if behaviour == "number" else "1")


@question("actiontrail.event.id", "request_id", "own_uuid")
def test_event_id(own, behaviour):
    stage = Stage(own, trail=True, on=True)
    seen = stage.account.sts().get_caller_identity().body.request_id
    own.jump(300)
    (event,) = {e["eventId"]: e for e in stage.events("GetCallerIdentity")}.values()
    assert event["requestId"] == seen
    assert (event["eventId"] == seen) is (behaviour == "request_id")


@question("actiontrail.event.assume_role", "write", "read")
def test_event_of_assume_role(own, behaviour):
    stage = Stage(own, trail=True, on=True)
    alice = user(stage.account, "alice")
    policy(stage.account, "sts", document("sts:*"))
    attach(stage.account, "sts", user="alice")
    session_key(alice, role(stage.account, "r", trust(RAM=[f"acs:ram::{stage.account.uid}:root"])))
    own.jump(300)
    assert {e["eventRW"].lower() for e in stage.events("AssumeRole")} == {behaviour}


@question("actiontrail.event.log_service", "sls", "log")
def test_event_of_log_service(own, behaviour):
    stage = Stage(own, trail=True, on=True)
    stage.store()
    own.jump(300)
    assert {e["serviceName"].lower() for e in stage.events("CreateLogStore")} == {behaviour}


@question("actiontrail.lookup.delay", "1s", "10m")
def test_lookup_delay(own, behaviour):
    account = own.account()
    group(account, "g")
    attribute = trail_models.LookupEventsRequestLookupAttribute(key="EventName", value="CreateGroup")
    request = trail_models.LookupEventsRequest(lookup_attribute=[attribute])
    own.jump(60)
    assert len(account.trail().lookup_events(request).body.events) == (1 if behaviour == "1s" else 0)
    own.jump(600)
    assert len(account.trail().lookup_events(request).body.events) == 1


@question("actiontrail.lookup.global", "every_region", "storage_region")
def test_lookup_of_global_events(own, behaviour):
    account = own.account()
    group(account, "g")
    own.jump(LOOKUP)
    attribute = trail_models.LookupEventsRequestLookupAttribute(key="EventName", value="CreateGroup")
    request = trail_models.LookupEventsRequest(lookup_attribute=[attribute])
    seen = {region: len(account.trail(region=region).lookup_events(request).body.events)
            for region in ("eu-central-1", "ap-southeast-1")}
    assert seen == {"eu-central-1": 1 if behaviour == "every_region" else 0, "ap-southeast-1": 1}


# --- ActionTrail: trails and their stores --------------------------------------------------------------


@question("actiontrail.create.visible", "at_once", "after_3s")
def test_trail_visible(own, behaviour):
    stage = Stage(own)
    actiontrail_role(stage.account)
    stage.trail = stage.account.trail()
    stage.trail.create_trail(trail_models.CreateTrailRequest(name=TRAIL, event_rw="All", sls_project_arn=stage.arn))
    assert (stage.describe() is not None) is (behaviour == "at_once")
    own.jump(4)
    assert stage.describe().status == "Fresh"


@question("actiontrail.store.created", "with_trail", "after_5s")
def test_store_created(own, behaviour):
    stage = Stage(own)
    actiontrail_role(stage.account)
    stage.account.trail().create_trail(trail_models.CreateTrailRequest(
        name=TRAIL, event_rw="All", sls_project_arn=stage.arn))
    assert (stage.stores() == [STORE]) is (behaviour == "with_trail")
    own.jump(10)
    assert stage.stores() == [STORE]


@question("actiontrail.store.recreated", "never", "on_update", "on_delivery")
def test_store_recreated(own, behaviour):
    stage = Stage(own, trail=True, on=True)
    own.jump(300)
    stage.log.delete_logstore(stage.project, STORE)
    own.jump(300)
    group(stage.account, "g")
    own.jump(300)
    assert (stage.stores() == [STORE]) is (behaviour == "on_delivery")
    stage.trail.update_trail(trail_models.UpdateTrailRequest(
        name=TRAIL, event_rw="All", trail_region="All", sls_project_arn=stage.arn))
    own.jump(60)
    assert (stage.stores() == [STORE]) is (behaviour != "never")


@question("actiontrail.index.restored", "kept", "restored")
def test_index_restored(own, behaviour):
    stage = Stage(own, trail=True, on=True)
    own.jump(300)
    before = sorted(stage.log.get_index_config(stage.project, STORE).get_index_config().key_config_list)
    stage.log.update_index(stage.project, STORE, index("mine"))
    own.jump(60)
    for number in range(3):
        group(stage.account, f"g{number}")
        own.jump(120)
    after = sorted(stage.log.get_index_config(stage.project, STORE).get_index_config().key_config_list)
    assert (after == before) is (behaviour == "restored")


@question("actiontrail.update.omitted", "kept", "cleared")
def test_update_omitted(own, behaviour):
    stage = Stage(own, trail=True, trail_region="cn-hangzhou")
    stage.trail.update_trail(trail_models.UpdateTrailRequest(
        name=TRAIL, event_rw="Write", sls_project_arn=stage.arn))
    own.jump(60)
    found = stage.describe()
    assert found.event_rw == "Write"
    assert found.trail_region == ("cn-hangzhou" if behaviour == "kept" else "All")


@question("actiontrail.event_rw.default", "all", "write")
def test_event_rw_default(own, behaviour):
    stage = Stage(own, trail=True, event_rw=None)
    assert stage.describe().event_rw.lower() == behaviour
    assert stage.created.body.event_rw.lower() == behaviour


@question("actiontrail.stop.fresh", "stays_fresh", "disables")
def test_stop_of_a_fresh_trail(own, behaviour):
    stage = Stage(own, trail=True)
    stage.trail.stop_logging(trail_models.StopLoggingRequest(name=TRAIL))
    own.jump(60)
    assert stage.describe().status == ("Fresh" if behaviour == "stays_fresh" else "Disable")


@question("actiontrail.linked_role", "created_if_permitted", "required")
def test_linked_role(own, behaviour):
    stage = Stage(own)
    request = trail_models.CreateTrailRequest(name=TRAIL, event_rw="All", sls_project_arn=stage.arn)
    linked = ram_models.GetRoleRequest(role_name="AliyunServiceRoleForActionTrail")
    if behaviour == "created_if_permitted":
        stage.account.trail().create_trail(request)
        assert stage.account.ram().get_role(linked).body.role.role_name == "AliyunServiceRoleForActionTrail"
    else:
        with refused("NeedServiceLinkedRole", 403, "aliyunserviceroleforactiontrail"):
            stage.account.trail().create_trail(request)
        with refused("EntityNotExist.Role", 404):
            stage.account.ram().get_role(linked)


# --- RPC and RAM --------------------------------------------------------------------------------------


@question("rpc.security_token.status", "400", "403")
def test_security_token_status(own, behaviour):
    account = own.account()
    alice = user(account, "alice")
    policy(account, "sts", document("sts:*"))
    attach(account, "sts", user="alice")
    key = session_key(alice, role(account, "r", trust(RAM=[f"acs:ram::{account.uid}:root"])))
    with refused("MissingSecurityToken", int(behaviour)):
        Key(key.id, key.secret).sts().get_caller_identity()


@question("rpc.signature.status", "400", "403")
def test_signature_status(own, behaviour):
    with refused("SignatureDoesNotMatch", int(behaviour)):
        Key(own.account().id, "wrong").sts().get_caller_identity()


@question("rpc.unknown_key.status", "404", "400")
def test_unknown_key_status(own, behaviour):
    with refused("InvalidAccessKeyId.NotFound", int(behaviour)):
        Key("LTAInobody", "wrong").sts().get_caller_identity()


@question("rpc.throttling.status", "400", "429", "503")
def test_throttling_status(own, behaviour):
    account = own.account()
    own.admin("POST", "faults", {"match": {"service": "Ram"}, "fault": {"kind": "throttle"}})
    with refused("Throttling.User", int(behaviour)):
        account.ram().list_users(ram_models.ListUsersRequest())


@question("rpc.denied.code", "no_permission", "forbidden_ram")
def test_denied_code(own, behaviour):
    alice = user(own.account(), "alice")
    with refused({"no_permission": "NoPermission", "forbidden_ram": "Forbidden.RAM"}[behaviour], 403):
        alice.ram().list_users(ram_models.ListUsersRequest())


@question("rpc.denied.detail", "absent", "present")
def test_denied_detail(own, behaviour):
    alice = user(own.account(), "alice")
    with pytest.raises(ClientException) as caught:
        alice.ram().list_users(ram_models.ListUsersRequest())
    assert bool(caught.value.access_denied_detail) is (behaviour == "present")
    assert "ram:ListUsers" in caught.value.message


@question("rpc.request_id.header", "present", "absent")
def test_request_id_header(own, behaviour):
    answer = own.account().sts().get_caller_identity()
    assert ("x-acs-request-id" in answer.headers) is (behaviour == "present")
    assert answer.body.request_id


@question("ram.create.visible", "at_once", "after_1s")
def test_ram_visible(own, behaviour):
    account = own.account()
    ram = account.ram()
    policy(account, "p", document("log:*"))
    ram.create_user(ram_models.CreateUserRequest(user_name="alice"))
    if behaviour == "at_once":
        attach(account, "p", user="alice")
    else:
        with refused("EntityNotExist.User", 404):
            attach(account, "p", user="alice")
        own.jump(2)
        attach(account, "p", user="alice")
    held = ram.list_policies_for_user(ram_models.ListPoliciesForUserRequest(user_name="alice")).body.policies.policy
    assert [p.policy_name for p in held] == ["p"]


# --- Log Service --------------------------------------------------------------------------------------


@question("sls.meta.qps", "10", "unlimited")
def test_meta_qps(own, behaviour):
    log, limited = own.account().log(), False
    try:
        for _ in range(200):
            log.list_project()
    except LogException as error:
        assert (error.get_error_code(), error.get_resp_status()) == ("MetaOperationQpsLimitExceeded", 403)
        limited = True
    assert limited is (behaviour == "10")


@question("sls.auth.missing", "unauthorized", "miss_access_key_id")
def test_missing_authorization(own, behaviour):
    """The Log SDK with an empty secret sends no Authorization."""
    with refused({"unauthorized": "Unauthorized", "miss_access_key_id": "MissAccessKeyId"}[behaviour], (400, 401)):
        Key("nobody", "").log(auth="v1").list_project()


@question("sls.skew.code", "request_time_expired", "request_time_too_skewed")
def test_skew_code(own, behaviour):
    log = own.account().log()
    machine.clock = 3600
    with refused({"request_time_expired": "RequestTimeExpired",
                  "request_time_too_skewed": "RequestTimeTooSkewed"}[behaviour], 400):
        log.list_project()


@question("sls.project.name_scope", "global", "per_region")
def test_project_name_scope(own, behaviour):
    account, name = own.account(), own.name("scoped")
    account.log().create_project(name, "here")
    abroad = account.log(region="ap-southeast-1")
    if behaviour == "global":
        with refused("ProjectAlreadyExist", 400):
            abroad.create_project(name, "there")
    else:
        abroad.create_project(name, "there")
        own.jump(60)
        assert abroad.get_project(name).get_description() == "there"


@question("sls.project.time_zone", "utc", "utc8")
def test_project_time_zone(own, behaviour):
    from datetime import datetime, timezone

    log, name = own.account().log(), own.name("zoned")
    log.create_project(name, "")
    created = own.now()
    own.jump(60)
    shown = datetime.strptime(log.get_project(name).get_create_time(), "%Y-%m-%d %H:%M:%S")
    shown = shown.replace(tzinfo=timezone.utc).timestamp()
    assert abs(shown - created - (0 if behaviour == "utc" else 8 * 3600)) < 60


@question("sls.project.owner", "account", "empty")
def test_project_owner(own, behaviour):
    stage = Stage(own)
    assert stage.log.get_project(stage.project).get_owner() == (stage.account.uid if behaviour == "account" else "")


@question("sls.project.visible", "at_once", "not_exist_3s", "forbidden_3s")
def test_project_visible(own, behaviour):
    log, name = own.account().log(), own.name("young")
    log.create_project(name, "")
    if behaviour != "at_once":
        with refused(*{"not_exist_3s": ("ProjectNotExist", 404), "forbidden_3s": ("ProjectForbidden", 403)}[behaviour]):
            log.get_project(name)
        own.jump(4)
    assert log.get_project(name).get_projectname() == name


@question("sls.logstore.visible", "at_once", "not_exist_3s")
def test_logstore_visible(own, behaviour):
    stage = Stage(own)
    stage.log.create_logstore(stage.project, "store")
    if behaviour != "at_once":
        with refused("LogStoreNotExist", 404, "store"):
            stage.log.get_logstore(stage.project, "store")
        own.jump(4)
    assert stage.log.get_logstore(stage.project, "store").logstore_name == "store"


@question("sls.tag.logstore", "supported", "unsupported")
def test_tags_of_log_stores(own, behaviour):
    stage = Stage(own)
    stage.store()
    resource = f"{stage.project}#store"
    if behaviour == "unsupported":
        with refused("ParameterInvalid", 400, "not supported"):
            stage.log.tag_resources("logstore", resource, owner="x")
        return
    stage.log.tag_resources("logstore", resource, owner="x")
    own.jump(60)
    found = [t for page in stage.log.list_tag_resources("logstore", resource) for t in page.get_tags()]
    assert [(t.get_tag_key(), t.get_tag_value()) for t in found] == [("owner", "x")]


@question("sls.tag.value_slash", "allowed", "rejected")
def test_slash_in_a_tag_value(own, behaviour):
    stage = Stage(own)
    if behaviour == "rejected":
        with refused(("ParameterInvalid", "PostBodyInvalid"), 400):
            stage.log.tag_project(stage.project, owner="a/b")
        return
    stage.log.tag_project(stage.project, owner="a/b")
    own.jump(60)
    assert [page.get_tags() for page in stage.log.get_project_tags(stage.project)] == [{"owner": "a/b"}]


@question("sls.logstore.put_omitted", "keep", "reset")
def test_update_of_a_store_that_omits(own, behaviour):
    stage = Stage(own)
    stage.store(append_meta=True, ttl=100, hot_ttl=10)
    stage.account.sls().update_log_store(stage.project, "store", sls_models.UpdateLogStoreRequest(
        logstore_name="store", ttl=100))
    own.jump(60)
    found = stage.log.get_logstore(stage.project, "store")
    assert found.append_meta is (behaviour == "keep")
    assert (found.get_hot_ttl() == 10) is (behaviour == "keep")


@question("sls.logstore.put_shard_count", "ignored", "refused")
def test_update_of_the_shard_count(own, behaviour):
    stage = Stage(own)
    stage.store()
    request = sls_models.UpdateLogStoreRequest(logstore_name="store", ttl=30, shard_count=5)
    if behaviour == "refused":
        with refused("ParameterInvalid", 400, "shard"):
            stage.account.sls().update_log_store(stage.project, "store", request)
    else:
        stage.account.sls().update_log_store(stage.project, "store", request)
    own.jump(60)
    assert stage.log.get_logstore(stage.project, "store").get_shard_count() == 2


@question("sls.logstore.mode_to_query", "not_supported", "accepted")
def test_mode_to_query(own, behaviour):
    stage = Stage(own)
    stage.store()
    if behaviour == "not_supported":
        with refused("NotSupported", 400):
            stage.log.update_logstore(stage.project, "store", mode="query")
    else:
        stage.log.update_logstore(stage.project, "store", mode="query")
    own.jump(60)
    assert stage.log.get_logstore(stage.project, "store").mode == (
        "standard" if behaviour == "not_supported" else "query")


@question("sls.index.absent_status", "400", "404")
def test_status_of_an_absent_index(own, behaviour):
    stage = Stage(own)
    stage.store()
    with refused("IndexConfigNotExist", int(behaviour)):
        stage.log.get_index_config(stage.project, "store")


@question("sls.index.reach", "new_logs", "all_logs")
def test_reach_of_an_index(own, behaviour):
    stage, at = Stage(own), own.now()
    stage.store()
    put(stage.log, stage.project, "store", [(at, {"id": "before"})])
    own.jump(60)
    stage.log.create_index(stage.project, "store", index("id"))
    own.jump(120)
    found = stage.log.get_log(stage.project, "store", at - 60, at + 60).get_count()
    assert found == (0 if behaviour == "new_logs" else 1)


@question("sls.search.unindexed_key", "refused", "matches_nothing")
def test_search_on_a_key_without_index(own, behaviour):
    stage = Stage(own)
    stage.store()
    stage.log.create_index(stage.project, "store", IndexConfig(
        line_config=IndexLineConfig([" "]), key_config_list={"id": IndexKeyConfig([" "])}))
    own.jump(120)
    at = own.now()
    put(stage.log, stage.project, "store", [(at, {"id": "1", "other": "x"})])
    own.jump(60)
    if behaviour == "refused":
        with refused("ParameterInvalid", 400, "other"):
            stage.log.get_log(stage.project, "store", at - 60, at + 60, query="other: x")
    else:
        assert stage.log.get_log(stage.project, "store", at - 60, at + 60, query="other: x").get_count() == 0
    assert stage.log.get_log(stage.project, "store", at - 60, at + 60, query="id: 1").get_count() == 1


def copying(stage, script="*", arn=None):
    arn = arn or etl_role(stage.account)
    stage.log.create_etl(stage.project, "copy", {
        "version": 2, "logstore": "store", "lang": "SPL", "script": script, "roleArn": arn, "fromTime": 0, "toTime": 0,
        "parameters": {}, "sinks": [{"name": "out", "project": stage.project, "logstore": "sink", "roleArn": arn,
                                     "endpoint": "cn-hangzhou-intranet.log.aliyuncs.com",
                                     "datasets": ["__UNNAMED__"]}]}, {"type": "Resident"}, "copy")
    stage.cloud.jump(120)


def job_status(stage):
    return stage.log.get_etl(stage.project, "copy").get_etl()["status"]


def run(stage):
    if job_status(stage) == "STOPPED":
        stage.log.start_etl(stage.project, "copy")
        stage.cloud.jump(60)


@question("sls.etl.starts_itself", "yes", "no")
def test_job_starts_itself(own, behaviour):
    stage = Stage(own)
    stage.store(), stage.store("sink")
    copying(stage)
    assert job_status(stage) == ("RUNNING" if behaviour == "yes" else "STOPPED")


@question("sls.etl.start_running", "accepted", "refused")
def test_start_of_a_running_job(own, behaviour):
    stage = Stage(own)
    stage.store(), stage.store("sink")
    copying(stage)
    run(stage)
    if behaviour == "refused":
        with refused("ParameterInvalid", 400):
            stage.log.start_etl(stage.project, "copy")
    else:
        stage.log.start_etl(stage.project, "copy")
    own.jump(60)
    assert job_status(stage) == "RUNNING"


@question("sls.etl.denied", "failed", "stays_running")
def test_job_without_permission(own, behaviour):
    stage = Stage(own)
    stage.store(), stage.store("sink")
    arn = role(stage.account, "empty", trust(Service=["log.aliyuncs.com"]))
    copying(stage, arn=arn)
    run(stage)
    put(stage.log, stage.project, "store", [(own.now(), {"id": "1"})])
    own.jump(300)
    assert job_status(stage) == ("FAILED" if behaviour == "failed" else "RUNNING")
    assert pulled(stage.log, stage.project, "sink") == []


@question("sls.job.duplicate_code", "JobAlreadyExist", "ParameterInvalid")
def test_second_job_of_one_name(own, behaviour):
    stage = Stage(own)
    stage.store(), stage.store("sink")
    arn = etl_role(stage.account)
    copying(stage, arn=arn)
    with refused(behaviour, 400, "already exists"):
        copying(stage, arn=arn)


# --- The register -------------------------------------------------------------------------------------


def test_every_question_of_the_register_has_its_cases(cloud):
    register = {entry["id"]: tuple(entry["behaviours"]) for entry in cloud.admin("GET", "assumptions")["assumptions"]}
    assert register == QUESTIONS
