"""The loop: calls become events, trails deliver them to Log Service, jobs copy them on.

Every step is done and seen through official SDKs.
"""

import json

import pytest
from alibabacloud_actiontrail20200706 import models as m
from alibabacloud_ram20150501 import models as ram_models
from cloud import DELIVERY, refused
from identities import actiontrail_role, attach, document, etl_role, policy, role, session_key, trust, user
from records import index, pulled, put

SERVICE = "ActionTrail delivery: all SDKs together"

TRAIL, STORE = "ram-audit", "actiontrail_ram-audit"


@pytest.fixture
def logging_trail(cloud, account, project):
    """A trail that is on; returns the ActionTrail client."""
    actiontrail_role(account)
    trail = account.trail()
    trail.create_trail(m.CreateTrailRequest(
        name=TRAIL, event_rw="All", trail_region="All",
        sls_project_arn=f"acs:log:cn-hangzhou:{account.uid}:project/{project}"))
    cloud.settle()
    trail.start_logging(m.StartLoggingRequest(name=TRAIL))
    cloud.eventually(lambda: STORE in account.log().list_logstore(project).get_logstores())
    cloud.settle()
    return trail


def events(account, project, store=STORE):
    """Events of a store by event id (a delivery may come twice)."""
    found = {}
    for row in pulled(account.log(), project, store):
        event = json.loads(row["event"])
        found[event["eventId"]] = event
    return list(found.values())


def named(account, project, name, store=STORE):
    return [e for e in events(account, project, store) if e["eventName"] == name]


def test_a_ram_call_arrives_in_the_trails_store(cloud, account, project, logging_trail):
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    (event,) = cloud.eventually(lambda: named(account, project, "CreateUser"))
    assert (event["serviceName"], event["eventRW"]) == ("Ram", "Write")
    assert event["userIdentity"]["type"] == "root-account"
    assert event["requestParameters"]["UserName"] == "alice"
    assert event["resourceName"] == "alice" and event["resourceType"] == "ACS::RAM::User"
    assert event["sourceIpAddress"] == "127.0.0.1"


def test_a_delivered_row_has_topic_time_and_one_field(cloud, account, project, logging_trail):
    before = cloud.now()
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    cloud.eventually(lambda: named(account, project, "CreateUser"))
    row = next(r for r in pulled(account.log(), project, STORE) if '"CreateUser"' in r["event"])
    assert row["__topic__"] == "actiontrail_audit_event"
    assert [key for key in row if not key.startswith("__")] == ["event"]
    assert abs(row["__time__"] - before) <= 900


def test_the_request_id_a_caller_saw_is_the_events(cloud, account, project, logging_trail):
    seen = account.sts().get_caller_identity().body.request_id
    (event,) = cloud.eventually(lambda: [
        e for e in named(account, project, "GetCallerIdentity") if e["requestId"] == seen])
    assert (event["serviceName"], event["eventRW"]) == ("Sts", "Read")


def test_events_are_searched_in_the_trails_store(cloud, account, project, logging_trail):
    at = cloud.now()
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    with refused("EntityAlreadyExists.User", 409):
        account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    log = account.log()

    def search(query):
        answer = log.get_log(project, STORE, at - 900, cloud.now() + 900, query=query)
        return {json.loads(row.get_contents()["event"])["eventId"] for row in answer.get_logs()}

    cloud.eventually(lambda: len(search("event.eventName: CreateUser")) == 2)
    assert len(search("event.serviceName: Ram and event.eventRW: Write and event.eventName: CreateUser")) == 2
    assert len(search('"event.eventName": CreateUser and event.errorCode: *')) == 1
    assert len(search("event.eventName: CreateUser and event.userIdentity.userName: root")) == 2
    assert search("event.eventName: CreateUser and event.userIdentity.type: ram-user") == set()


def test_the_three_kinds_of_caller_are_told_apart(cloud, account, project, logging_trail):
    alice = user(account, "alice")
    policy(account, "sts-only", document("sts:AssumeRole"))
    attach(account, "sts-only", user="alice")
    arn = role(account, "trainer", trust(RAM=[f"acs:ram::{account.uid}:root"]))
    temporary = session_key(alice, arn, "job-17")
    seen = [key.sts().get_caller_identity().body.request_id for key in (account, alice, temporary)]

    def arrived():
        found = {e["requestId"]: e["userIdentity"] for e in named(account, project, "GetCallerIdentity")}
        return [found[i] for i in seen] if set(seen) <= set(found) else None

    root, person, session = cloud.eventually(arrived)
    assert (root["type"], root["userName"]) == ("root-account", "root")
    assert (person["type"], person["userName"], person["accessKeyId"]) == ("ram-user", "alice", alice.id)
    assert (session["type"], session["userName"]) == ("assumed-role", "trainer:job-17")
    assert session["accessKeyId"] == temporary.id
    assert session["principalId"].endswith(":job-17")


def test_no_secret_is_in_any_event(cloud, account, project, logging_trail):
    alice = user(account, "alice")
    policy(account, "sts-only", document("sts:AssumeRole"))
    attach(account, "sts-only", user="alice")
    arn = role(account, "trainer", trust(RAM=[f"acs:ram::{account.uid}:root"]))
    temporary = session_key(alice, arn)
    cloud.eventually(lambda: named(account, project, "AssumeRole") and named(account, project, "CreateAccessKey"))
    text = json.dumps(events(account, project))
    for secret in (account.secret, alice.secret, temporary.secret, temporary.token):
        assert secret not in text


def test_a_refused_call_arrives_with_its_error(cloud, account, project, logging_trail):
    alice = user(account, "alice")
    with refused(cloud.answer("rpc.denied.code"), 403):
        alice.ram().create_user(ram_models.CreateUserRequest(user_name="mallory"))
    (event,) = cloud.eventually(lambda: [
        e for e in named(account, project, "CreateUser") if e["requestParameters"].get("UserName") == "mallory"])
    assert event["errorCode"] == cloud.answer("rpc.denied.code")
    assert event["userIdentity"]["userName"] == "alice"


def test_log_services_own_management_calls_are_events(cloud, account, project, logging_trail):
    account.log().create_logstore(project, "another")
    (event,) = cloud.eventually(lambda: named(account, project, "CreateLogStore"))
    assert event["serviceName"].lower() == cloud.assumed["actiontrail.event.log_service"]
    assert "another" in json.dumps(event)


def test_reading_and_writing_logs_is_no_event(cloud, account, project, logging_trail):
    log = account.log()
    log.create_logstore(project, "another")
    cloud.settle()
    log.create_index(project, "another", index("id"))
    cloud.settle()
    put(log, project, "another", [(cloud.now(), {"id": "1"})])
    log.get_log(project, "another", cloud.now() - 60, cloud.now() + 60)
    account.ram().create_user(ram_models.CreateUserRequest(user_name="marker"))
    cloud.eventually(lambda: named(account, project, "CreateUser"))
    cloud.jump(DELIVERY)
    assert not {e["eventName"] for e in events(account, project)} & {
        "PostLogStoreLogs", "PutLogs", "GetLogStoreLogs", "GetLogsV2", "GetLogs"}


def test_nothing_arrives_while_the_trail_is_off(cloud, account, project, logging_trail):
    account.ram().create_user(ram_models.CreateUserRequest(user_name="while-on"))
    cloud.eventually(lambda: named(account, project, "CreateUser"))
    logging_trail.stop_logging(m.StopLoggingRequest(name=TRAIL))
    cloud.settle()
    account.ram().create_user(ram_models.CreateUserRequest(user_name="while-off"))
    cloud.jump(2 * DELIVERY)
    users = {e["requestParameters"]["UserName"] for e in named(account, project, "CreateUser")}
    assert users == {"while-on"}
    logging_trail.start_logging(m.StartLoggingRequest(name=TRAIL))
    cloud.settle()
    account.ram().create_user(ram_models.CreateUserRequest(user_name="on-again"))
    cloud.eventually(lambda: {e["requestParameters"]["UserName"]
                              for e in named(account, project, "CreateUser")} == {"while-on", "on-again"})


def test_a_write_trail_holds_no_reads(cloud, account, project, logging_trail):
    logging_trail.update_trail(m.UpdateTrailRequest(
        name=TRAIL, event_rw="Write", trail_region="All",
        sls_project_arn=f"acs:log:cn-hangzhou:{account.uid}:project/{project}"))
    cloud.settle()
    account.ram().list_users(ram_models.ListUsersRequest())
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    cloud.eventually(lambda: named(account, project, "CreateUser"))
    cloud.jump(DELIVERY)
    assert named(account, project, "ListUsers") == []


def test_a_trail_of_one_region_misses_the_others(cloud, account, project, logging_trail):
    logging_trail.update_trail(m.UpdateTrailRequest(
        name=TRAIL, event_rw="All", trail_region="cn-hangzhou",
        sls_project_arn=f"acs:log:cn-hangzhou:{account.uid}:project/{project}"))
    cloud.settle()
    here, there = cloud.name("here"), cloud.name("there")
    account.log(region="cn-shanghai").create_project(there, "")
    account.log().create_project(here, "")
    cloud.eventually(lambda: here in json.dumps(named(account, project, "CreateProject")))
    cloud.jump(DELIVERY)
    assert there not in json.dumps(named(account, project, "CreateProject"))


def test_a_users_write_into_the_trails_store_is_refused(cloud, account, project, logging_trail):
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    cloud.eventually(lambda: named(account, project, "CreateUser"))
    with refused(("Unauthorized", "ParameterInvalid", "NotSupported"), (400, 401, 403)):
        put(account.log(), project, STORE, [(cloud.now(), {"event": '{"eventName":"Forged"}'})])
    cloud.settle()
    assert "Forged" not in json.dumps(pulled(account.log(), project, STORE))


def test_the_status_tells_of_the_latest_delivery(cloud, account, project, logging_trail):
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    cloud.eventually(lambda: named(account, project, "CreateUser"))
    status = logging_trail.get_trail_status(m.GetTrailStatusRequest(name=TRAIL)).body
    assert status.is_logging is True and status.sls_log_store_status is True
    assert status.latest_delivery_log_service_time >= status.start_logging_time
    assert not status.latest_delivery_log_service_error


def test_a_deleted_store_is_seen_in_the_status(cloud, account, project, logging_trail):
    account.log().delete_logstore(project, STORE)
    cloud.settle()

    def broken():
        account.ram().list_users(ram_models.ListUsersRequest())
        status = logging_trail.get_trail_status(m.GetTrailStatusRequest(name=TRAIL)).body
        return status.sls_log_store_status is False

    cloud.eventually(broken)


def test_a_deleted_project_is_told_as_an_error(cloud, account, project, logging_trail):
    account.log().delete_project(project)
    cloud.settle()

    def broken():
        account.ram().list_users(ram_models.ListUsersRequest())
        status = logging_trail.get_trail_status(m.GetTrailStatusRequest(name=TRAIL)).body
        return status if status.latest_delivery_log_service_error else None

    status = cloud.eventually(broken)
    assert "ProjectNotExist" in status.latest_delivery_log_service_error
    assert (status.is_logging, status.sls_log_store_status) == (True, False)


def test_a_trail_with_a_role_of_its_own_delivers_without_the_linked_one(cloud, account, project):
    arn = role(account, "writer", trust(Service=["actiontrail.aliyuncs.com"]))
    attach(account, "AliyunActionTrailDeliveryPolicy", role="writer", kind="System")
    trail = account.trail()
    trail.create_trail(m.CreateTrailRequest(
        name=TRAIL, event_rw="All", trail_region="All", sls_write_role_arn=arn,
        sls_project_arn=f"acs:log:cn-hangzhou:{account.uid}:project/{project}"))
    cloud.settle()
    trail.start_logging(m.StartLoggingRequest(name=TRAIL))
    cloud.eventually(lambda: STORE in account.log().list_logstore(project).get_logstores())
    cloud.settle()
    with refused("EntityNotExist.Role", 404):
        account.ram().get_role(ram_models.GetRoleRequest(role_name="AliyunServiceRoleForActionTrail"))
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    assert cloud.eventually(lambda: named(account, project, "CreateUser"))


def test_a_trail_delivers_into_another_region(cloud, account):
    actiontrail_role(account)
    abroad, name = account.log(region="ap-southeast-1"), cloud.name("abroad")
    abroad.create_project(name, "")
    cloud.settle()
    trail = account.trail()
    trail.create_trail(m.CreateTrailRequest(
        name=TRAIL, event_rw="All", trail_region="All",
        sls_project_arn=f"acs:log:ap-southeast-1:{account.uid}:project/{name}"))
    cloud.settle()
    trail.start_logging(m.StartLoggingRequest(name=TRAIL))
    cloud.eventually(lambda: STORE in abroad.list_logstore(name).get_logstores())
    cloud.settle()
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    cloud.eventually(lambda: any('"CreateUser"' in row["event"] for row in pulled(abroad, name, STORE)))


def test_two_trails_each_deliver_their_copy(cloud, account, project, logging_trail):
    logging_trail.create_trail(m.CreateTrailRequest(
        name="second-trail", event_rw="Write", trail_region="All",
        sls_project_arn=f"acs:log:cn-hangzhou:{account.uid}:project/{project}"))
    cloud.settle()
    logging_trail.start_logging(m.StartLoggingRequest(name="second-trail"))
    cloud.eventually(lambda: "actiontrail_second-trail" in account.log().list_logstore(project).get_logstores())
    cloud.settle()
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    cloud.eventually(lambda: named(account, project, "CreateUser"))
    cloud.eventually(lambda: named(account, project, "CreateUser", "actiontrail_second-trail"))


def test_another_accounts_calls_do_not_arrive(cloud, account, project, stranger, logging_trail):
    stranger.ram().create_user(ram_models.CreateUserRequest(user_name="foreign"))
    account.ram().create_user(ram_models.CreateUserRequest(user_name="own"))
    cloud.eventually(lambda: named(account, project, "CreateUser"))
    cloud.jump(DELIVERY)
    assert [e["requestParameters"]["UserName"] for e in named(account, project, "CreateUser")] == ["own"]


def test_a_job_copies_matching_events_into_another_store(cloud, account, project, logging_trail):
    log = account.log()
    arn = etl_role(account)
    log.create_logstore(project, "ai-workload-log-store", ttl=30, shard_count=2)
    cloud.settle()
    script = ("* | where lower(json_extract_scalar(event, '$.serviceName')) in "
              "('ram', 'ims', 'sts', 'aassub', 'aascustomer', 'resourcemanager')")
    log.create_etl(project, "ramtrail-ram-audit", {
        "version": 2, "logstore": STORE, "lang": "SPL", "script": script, "roleArn": arn, "fromTime": 0, "toTime": 0,
        "parameters": {}, "sinks": [{
            "name": "out", "project": project, "logstore": "ai-workload-log-store", "roleArn": arn,
            "endpoint": "cn-hangzhou-intranet.log.aliyuncs.com", "datasets": ["__UNNAMED__"]}],
    }, {"type": "Resident"}, "copy")
    cloud.settle()
    if log.get_etl(project, "ramtrail-ram-audit").get_etl()["status"] == "STOPPED":
        log.start_etl(project, "ramtrail-ram-audit")
    account.log().create_project(cloud.name("noise"), "")
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    account.sts().get_caller_identity()
    copy = "ai-workload-log-store"
    cloud.eventually(lambda: named(account, project, "CreateUser", copy)
                     and named(account, project, "GetCallerIdentity", copy))
    cloud.eventually(lambda: [e for e in named(account, project, "CreateProject")
                              if "noise" in json.dumps(e)])
    cloud.jump(DELIVERY)
    services = {e["serviceName"] for e in events(account, project, copy)}
    assert {"Ram", "Sts"} <= services <= {"Ram", "Sts", "ResourceManager"}
    original = named(account, project, "CreateUser")[0]
    assert named(account, project, "CreateUser", copy)[0] == original
    row = next(r for r in pulled(log, project, copy) if '"CreateUser"' in r["event"])
    assert row["__topic__"] == "actiontrail_audit_event"


def test_a_job_without_a_role_that_may_write_copies_nothing(cloud, account, project, logging_trail):
    log = account.log()
    arn = role(account, "etl", trust(Service=["log.aliyuncs.com"]))
    log.create_logstore(project, "sink")
    cloud.settle()
    log.create_etl(project, "copy", {
        "version": 2, "logstore": STORE, "lang": "SPL", "script": "*", "roleArn": arn, "fromTime": 0, "toTime": 0,
        "parameters": {}, "sinks": [{
            "name": "out", "project": project, "logstore": "sink", "roleArn": arn,
            "endpoint": "cn-hangzhou-intranet.log.aliyuncs.com", "datasets": ["__UNNAMED__"]}],
    }, {"type": "Resident"}, "copy")
    cloud.settle()
    if log.get_etl(project, "copy").get_etl()["status"] == "STOPPED":
        log.start_etl(project, "copy")
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    cloud.eventually(lambda: named(account, project, "CreateUser"))
    cloud.jump(DELIVERY)
    assert pulled(log, project, "sink") == []
    if not cloud.hostile:
        assert log.get_etl(project, "copy").get_etl()["status"] == "FAILED"
