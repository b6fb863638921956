"""The emulator's own endpoints: guarded, out of reach of API names, and a journal that can be trusted.

Everything that is journalled here is done by official SDKs.
"""

import concurrent.futures
import json
import time

import pytest
from aliyun.log import LogException
from alibabacloud_actiontrail20200706 import models as trail_models
from alibabacloud_ram20150501 import models as ram_models
from cloud import Key, refused
from identities import actiontrail_role, attach, document, policy, role, session_key, trust, user
from records import index, put

SERVICE = "Emulator: admin endpoints and journal"


# --- The guard ----------------------------------------------------------------------------------------

ENDPOINTS = [("GET", "journal"), ("GET", "clock"), ("POST", "clock"), ("POST", "faults"), ("GET", "faults"),
             ("POST", "identities"), ("POST", "events?account=1"), ("POST", "reset"), ("GET", "state?account=1"),
             ("GET", "assumptions"), ("POST", "assumptions"), ("GET", "quotas")]


@pytest.mark.parametrize("method, path", ENDPOINTS, ids=[f"{m} {p}" for m, p in ENDPOINTS])
def test_an_endpoint_wants_its_token(cloud, method, path):
    for token in (None, "wrong"):
        status, answer = cloud.admin_raw(method, path, {}, token)
        assert status == 403 and b"rows" not in answer


@pytest.mark.parametrize("host", ["cn-hangzhou.log.aliyuncs.com", "project.cn-hangzhou.log.aliyuncs.com",
                                  "actiontrail.cn-hangzhou.aliyuncs.com", "ram.aliyuncs.com", "sts.aliyuncs.com"])
def test_endpoints_do_not_exist_under_the_names_of_the_api(cloud, host):
    status, answer = cloud.admin_raw("GET", "journal", token=cloud._token, host=host)
    assert status in (400, 401, 403, 404, 405) and b"rows" not in answer
    before = cloud.admin("GET", "clock")["offsetSeconds"]
    status, _ = cloud.admin_raw("POST", "clock", {"jumpSeconds": 86400}, cloud._token, host)
    assert status != 200
    assert cloud.admin("GET", "clock")["offsetSeconds"] == before


def test_mistakes_are_told(cloud):
    for method, path, body in [("POST", "clock", {"jump": 1}), ("POST", "faults", {"fault": {"kind": "no-such"}}),
                               ("POST", "assumptions", {"id": "no.such", "behaviour": "x"}),
                               ("POST", "identities", {"accessKeyId": "", "accessKeySecret": "", "account": "x"})]:
        status, answer = cloud.admin_raw(method, path, body, cloud._token)
        assert status == 400 and json.loads(answer)["error"]


def test_the_profile_chooses_among_at_least_two_behaviours(cloud):
    entries = cloud.admin("GET", "assumptions")["assumptions"]
    assert len(entries) >= 20
    for entry in entries:
        assert len(entry["behaviours"]) >= 2
        assert entry["chosen"] == entry[cloud.profile] in entry["behaviours"]
    assert any(entry["documented"] != entry["hostile"] for entry in entries)


# --- Journal ------------------------------------------------------------------------------------------


class Journal:
    """Rows of one account since the object was made."""

    def __init__(self, cloud, account):
        self.cloud, self.account = cloud, account
        self.start = cloud.admin("GET", "journal")["lastSeq"]

    def rows(self, action=None):
        rows = self.cloud.admin("GET", f"journal?since={self.start}")["rows"]
        return [r for r in rows if r.get("account") == self.account.uid and action in (None, r["action"])]


@pytest.fixture
def journal(cloud, account):
    return Journal(cloud, account)


def test_every_call_is_a_row_with_what_its_caller_saw(cloud, account, journal):
    name = cloud.name("seen")
    log = account.log()
    log.set_user_agent("conformance/1.0 (case)")
    answer = log.create_project(name, "words that are not journalled")
    (row,) = journal.rows()
    assert (row["service"], row["action"], row["isWrite"], row["status"]) == ("Log", "CreateProject", True, 200)
    assert row["requestId"] == answer.get_request_id()
    assert row["caller"] == f"acs:ram::{account.uid}:root"
    assert (row["region"], row["method"]) == ("cn-hangzhou", "POST")
    assert row["userAgent"] == "conformance/1.0 (case)"
    assert row["resources"] == [f"acs:log:cn-hangzhou:{account.uid}:project/{name}"]
    assert row["changed"] is True and row["effects"]
    assert "words" not in json.dumps(row)


def test_a_refused_call_is_a_row_with_its_code_and_changes_nothing(cloud, account, journal):
    name = cloud.name("missing")
    with refused("ProjectNotExist", 404) as outcome:
        account.log().update_project(name, "x")
    (row,) = journal.rows()
    assert (row["status"], row["errorCode"], row["changed"], row["effects"]) == (404, "ProjectNotExist", False, [])
    assert row["isWrite"] is True and row["requestId"] == outcome.refusal.request_id


def test_numbers_only_grow(cloud, account, journal):
    for _ in range(3):
        account.sts().get_caller_identity()
    numbers = [row["seq"] for row in journal.rows()]
    assert len(numbers) == 3 and numbers == sorted(set(numbers)) and numbers[0] > journal.start


def directions(row):
    return {effect["field"]: effect["change"] for effect in row["effects"]}


def test_effects_tell_up_from_down_and_from_neither(cloud, account, project, journal):
    log = account.log()
    log.create_logstore(project, "store", ttl=30)
    cloud.settle()
    log.update_logstore(project, "store", ttl=60)
    log.update_logstore(project, "store", ttl=7)
    log.update_project(project, "other words")
    log.update_project(project, "other words")
    log.create_index(project, "store", index("id", "level"))
    cloud.settle()
    log.update_index(project, "store", index("id"))
    log.delete_index(project, "store")
    log.delete_logstore(project, "store")

    def changes(action):
        return [set(directions(row).values()) for row in journal.rows(action)]

    (made,) = changes("CreateLogStore")
    assert "up" in made and "down" not in made
    assert changes("UpdateLogStore") == [{"up"}, {"down"}]
    described = journal.rows("UpdateProject")
    assert [set(directions(row).values()) for row in described] == [{"same"}, set()]
    assert [row["changed"] for row in described] == [True, False]
    assert changes("CreateIndex") == [{"up"}]
    assert changes("UpdateIndex") == [{"down"}]
    assert "down" in changes("DeleteIndex")[0] and "up" not in changes("DeleteIndex")[0]
    assert "down" in changes("DeleteLogStore")[0] and "up" not in changes("DeleteLogStore")[0]


def test_effects_on_trails(cloud, account, project, journal):
    actiontrail_role(account)
    trail, arn = account.trail(), f"acs:log:cn-hangzhou:{account.uid}:project/{project}"
    trail.create_trail(trail_models.CreateTrailRequest(
        name="ram-audit", event_rw="All", trail_region="All", sls_project_arn=arn))
    cloud.settle()
    trail.start_logging(trail_models.StartLoggingRequest(name="ram-audit"))
    trail.start_logging(trail_models.StartLoggingRequest(name="ram-audit"))
    trail.update_trail(trail_models.UpdateTrailRequest(
        name="ram-audit", event_rw="Write", trail_region="All", sls_project_arn=arn))
    trail.stop_logging(trail_models.StopLoggingRequest(name="ram-audit"))
    trail.delete_trail(trail_models.DeleteTrailRequest(name="ram-audit"))

    def changes(action):
        return [set(directions(row).values()) for row in journal.rows(action)]

    (made,) = changes("CreateTrail")
    assert "up" in made and "down" not in made
    assert changes("StartLogging") == [{"up"}, set()]
    assert [row["changed"] for row in journal.rows("StartLogging")][0] is True
    assert changes("UpdateTrail") == [{"down"}]
    assert changes("StopLogging") == [{"down"}]
    assert "down" in changes("DeleteTrail")[0] and "up" not in changes("DeleteTrail")[0]


def test_writes_and_reads_are_told_apart_by_meaning_not_by_method(cloud, account, project, store, journal):
    log, now = account.log(), cloud.now()
    log.create_index(project, store, index("id"))
    cloud.settle()
    put(log, project, store, [(now, {"id": "1"})])
    log.get_log(project, store, now - 60, now + 60)
    log.list_shards(project, store)
    log.tag_project(project, a="b")
    list(log.get_project_tags(project))
    actiontrail_role(account)
    trail = account.trail()
    for call, request in ((trail.stop_logging, trail_models.StopLoggingRequest),
                          (trail.start_logging, trail_models.StartLoggingRequest)):
        with refused("TrailNotFoundException", 404):
            call(request(name="no-such-trail"))
    trail.describe_trails(trail_models.DescribeTrailsRequest())
    trail.lookup_events(trail_models.LookupEventsRequest())
    account.sts().get_caller_identity()
    account.ram().list_users(ram_models.ListUsersRequest())
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    found = {row["action"]: (row["method"], row["isWrite"]) for row in journal.rows()}
    expected = {
        "CreateIndex": ("POST", True), "ListShards": ("GET", False), "TagResources": ("POST", True),
        "ListTagResources": ("GET", False), "StopLogging": ("GET", True), "StartLogging": ("POST", True),
        "DescribeTrails": ("POST", False), "LookupEvents": ("POST", False), "ListUsers": ("POST", False),
        "CreateUser": ("POST", True), "CreateServiceLinkedRole": ("POST", True),
    }
    assert {action: found[action] for action in expected} == expected
    assert found["GetCallerIdentity"][1] is False
    reading = [value for action, value in found.items() if action.startswith(("GetLogs", "GetLogStoreLogs"))]
    assert reading == [("POST", False)]


def test_arguments_are_hashed_alike_for_like_calls(cloud, account, project, journal):
    log = account.log()
    log.update_project(project, "one")
    log.update_project(project, "one")
    log.update_project(project, "two")
    first, second, third = [row["argsHash"] for row in journal.rows("UpdateProject")]
    assert first == second != third
    assert "one" not in first and len(first) >= 32


def test_no_secret_enters_journal_state_or_logs(launch):
    own = launch()
    account = own.account()
    marked = Key("LTAImarkedkey", "marked-secret-7d1f")
    own.admin("POST", "identities", {"accessKeyId": marked.id, "accessKeySecret": marked.secret,
                                     "account": account.uid, "user": "marked", "policies": ["AdministratorAccess"]})
    with refused("SignatureNotMatch", 401):
        Key(marked.id, marked.secret + "-wrong").log().list_project()
    marked.log(auth="v1").list_project()
    marked.sts(signature_algorithm="v2").get_caller_identity()
    alice = user(account, "alice")
    policy(account, "sts", document("sts:*"))
    attach(account, "sts", user="alice")
    temporary = session_key(alice, role(account, "r", trust(RAM=[f"acs:ram::{account.uid}:root"])))
    temporary.sts().get_caller_identity()
    with refused("Unauthorized", 401):
        temporary.log().list_project()
    own.jump(3600)
    text = json.dumps([own.admin("GET", "journal"), own.admin("GET", f"state?account={account.uid}")]) + own.stderr()
    for secret in (account.secret, marked.secret, alice.secret, temporary.secret, temporary.token):
        assert secret not in text
    assert "CreateAccessKey" in text and "AssumeRole" in text


def test_an_identity_of_the_admin_endpoint_has_its_policies(cloud, account, project):
    reader = Key(f"LTAIreader{account.uid}", "reader-secret")
    cloud.admin("POST", "identities", {
        "accessKeyId": reader.id, "accessKeySecret": reader.secret, "account": account.uid, "user": "reader",
        "policies": ["AliyunLogReadOnlyAccess"]})
    assert reader.log().get_project(project).get_projectname() == project
    with refused("Unauthorized", 401):
        reader.log().delete_project(project)
    assert reader.sts().get_caller_identity().body.arn == f"acs:ram::{account.uid}:user/reader"


# --- Faults, events, reset ----------------------------------------------------------------------------


def fault(cloud, kind, account, **match):
    cloud.admin("POST", "faults", {"match": {"account": account.uid, **match}, "fault": kind})


def test_an_answer_can_be_lost_after_the_call_was_done(cloud, account, journal):
    fault(cloud, {"kind": "drop-after"}, account, action="CreateUser")
    with pytest.raises(Exception) as caught:
        account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    assert getattr(caught.value, "code", None) is None, "no answer, so no code"
    assert account.ram().get_user(ram_models.GetUserRequest(user_name="alice")).body.user.user_name == "alice"
    (row,) = journal.rows("CreateUser")
    assert row["status"] == 200 and row["changed"] is True and row["faults"]


def test_a_call_can_be_lost_before_it_is_done(cloud, account):
    fault(cloud, {"kind": "drop-before"}, account, action="CreateUser")
    with pytest.raises(Exception) as caught:
        account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    assert getattr(caught.value, "code", None) is None
    with refused("EntityNotExist.User", 404):
        account.ram().get_user(ram_models.GetUserRequest(user_name="alice"))


def has_user(account, name):
    return name in [u.user_name for u in account.ram().list_users(ram_models.ListUsersRequest()).body.users.user]


@pytest.mark.parametrize("kind, done_while_held", [("hold-before", False), ("hold-after", True)])
def test_a_call_can_be_held_before_or_after_it_is_done(cloud, account, journal, kind, done_while_held):
    fault(cloud, {"kind": kind}, account, action="CreateUser")
    request = ram_models.CreateUserRequest(user_name="alice")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(lambda: account.ram().create_user(request).body.user.user_name)
        try:
            if done_while_held:
                patience(lambda: has_user(account, "alice"))
            else:
                patience(lambda: any(f["holding"] for f in cloud.admin("GET", "faults")["faults"]))
                assert not has_user(account, "alice")
            assert not call.done()
        finally:
            cloud.admin("POST", "faults/release", {})
        assert call.result(30) == "alice"
    assert has_user(account, "alice")
    (row,) = journal.rows("CreateUser")
    assert row["status"] == 200 and row["faults"]


def test_a_call_can_be_slow(cloud, account):
    fault(cloud, {"kind": "delay", "ms": 300}, account, action="CreateUser")
    started = time.monotonic()
    account.ram().create_user(ram_models.CreateUserRequest(user_name="alice"))
    assert time.monotonic() - started >= 0.3


def patience(look):
    """Looks, on real time, until something is seen."""
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline, "never seen"
        time.sleep(0.01)


def test_the_nth_matching_call_is_met_and_no_other(cloud, account):
    fault(cloud, {"kind": "status", "status": 403, "code": "ShardReadQuotaExceed", "message": "slow down"}, account,
          action="ListProject", nth=2)
    log = account.log()
    assert log.list_project().get_total() == 0
    with refused("ShardReadQuotaExceed", 403, "slow down"):
        log.list_project()
    assert log.list_project().get_total() == 0


def test_log_services_throttling_looks_like_log_services(cloud, account):
    fault(cloud, {"kind": "throttle"}, account, service="Log")
    with refused(("MetaOperationQpsLimitExceeded", "ReadQuotaExceed", "WriteQuotaExceed"), 403):
        account.log().list_project()


def test_an_sdk_that_repeats_sees_a_server_error_as_a_delay(cloud, account):
    fault(cloud, {"kind": "status", "status": 500, "code": "InternalServerError"}, account, action="ListProject")
    assert account.log().list_project().get_total() == 0


def test_garbage_is_an_error_of_the_sdk_not_of_the_service(cloud, account):
    fault(cloud, {"kind": "garbage"}, account, action="ListProject")
    with pytest.raises(LogException) as caught:
        account.log().list_project()
    assert caught.value.get_error_code() in ("BadResponse", "InvalidResponse")


def test_a_body_that_breaks_off_is_no_answer(cloud, account, journal):
    fault(cloud, {"kind": "truncated"}, account, action="ListProject", times=0)
    with pytest.raises(LogException):
        account.log().list_project()
    assert {row["status"] for row in journal.rows("ListProject")} == {200}


def test_imported_events_are_looked_up(cloud, account):
    event = {"eventId": cloud.name("imported"), "eventName": "ConsoleSignin", "serviceName": "AasCustomer",
             "eventType": "ConsoleSignin", "eventRW": "Write", "eventSource": "account.aliyun.com",
             "eventTime": cloud.admin("GET", "clock")["now"], "acsRegion": "cn-hangzhou", "eventVersion": 1,
             "sourceIpAddress": "198.51.100.20", "userAgent": "a browser", "isGlobal": True,
             "userIdentity": {"type": "root-account", "accountId": account.uid, "principalId": account.uid,
                              "userName": "root"}}
    assert cloud.admin("POST", f"events?account={account.uid}", [event]) == {"imported": 1}
    cloud.jump(720)
    found = account.trail().lookup_events(trail_models.LookupEventsRequest(lookup_attribute=[
        trail_models.LookupEventsRequestLookupAttribute(key="EventName", value="ConsoleSignin")])).body.events
    assert [e["eventId"] for e in found] == [event["eventId"]]
    assert found[0]["sourceIpAddress"] == "198.51.100.20"


def test_a_reset_forgets_everything_but_the_first_keys(launch):
    own = launch()
    account = own.account()
    account.log().create_project(own.name("gone"), "")
    user(account, "alice")
    last = own.admin("GET", "journal")["lastSeq"]
    own.admin("POST", "reset")
    assert own.admin("GET", "journal")["rows"] == []
    assert own.admin("GET", "journal")["lastSeq"] >= last
    assert account.log().list_project().get_total() == 0
    assert account.ram().list_users(ram_models.ListUsersRequest()).body.users.user == []
