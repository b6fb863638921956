"""Trails and LookupEvents through alibabacloud-actiontrail20200706."""

import re

import pytest
from alibabacloud_actiontrail20200706 import models as m
from alibabacloud_ram20150501 import models as ram_models
from cloud import LOOKUP, refused
from identities import actiontrail_role, user

SERVICE = "ActionTrail: alibabacloud-actiontrail20200706"

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def arn(account, project, region="cn-hangzhou"):
    return f"acs:log:{region}:{account.uid}:project/{project}"


@pytest.fixture(params=[None, "v2"], ids=["acs3", "rpc-v1"])
def trail(request, account):
    """The SDK with both signature algorithms it offers."""
    return account.trail(signature_algorithm=request.param)


@pytest.fixture
def target(account, project):
    """A destination: the project, with the role that ActionTrail writes by."""
    actiontrail_role(account)
    return arn(account, project)


def create(trail, name="ram-audit", target=None, **more):
    return trail.create_trail(m.CreateTrailRequest(
        name=name, event_rw=more.pop("event_rw", "All"), sls_project_arn=target, **more)).body


def describe(trail, name="ram-audit", **more):
    found = trail.describe_trails(m.DescribeTrailsRequest(name_list=name, **more)).body.trail_list
    return found[0] if found else None


# --- Life ---------------------------------------------------------------------------------------------


def test_a_new_trail_is_fresh_and_is_read_back(cloud, trail, target, account):
    made = create(trail, target=target, trail_region="All")
    assert (made.name, made.event_rw, made.home_region) == ("ram-audit", "All", "cn-hangzhou")
    assert (made.sls_project_arn, made.trail_region) == (target, "All")
    assert re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", made.request_id)
    cloud.settle()
    found = describe(trail)
    assert (found.name, found.status, found.event_rw) == ("ram-audit", "Fresh", "All")
    assert (found.home_region, found.trail_region) == ("cn-hangzhou", "All")
    assert found.trail_arn == f"acs:actiontrail:cn-hangzhou:{account.uid}:trail/ram-audit"
    assert found.sls_project_arn == target
    assert found.is_organization_trail is False
    assert ISO.fullmatch(found.create_time) and ISO.fullmatch(found.update_time)
    assert not found.start_logging_time and not found.stop_logging_time


def test_a_trail_is_switched_on_and_off_and_on(cloud, trail, target):
    create(trail, target=target)
    cloud.settle()
    trail.start_logging(m.StartLoggingRequest(name="ram-audit"))
    cloud.settle()
    on = describe(trail)
    assert on.status == "Enable" and ISO.fullmatch(on.start_logging_time)
    trail.stop_logging(m.StopLoggingRequest(name="ram-audit"))
    cloud.settle()
    off = describe(trail)
    assert off.status == "Disable" and ISO.fullmatch(off.stop_logging_time)
    assert off.stop_logging_time >= off.start_logging_time
    trail.start_logging(m.StartLoggingRequest(name="ram-audit"))
    cloud.settle()
    assert describe(trail).status == "Enable"


def test_the_status_of_a_trail_follows_its_switch(cloud, trail, target):
    create(trail, target=target)
    cloud.settle()

    def status():
        return trail.get_trail_status(m.GetTrailStatusRequest(name="ram-audit")).body

    fresh = status()
    assert (fresh.is_logging, fresh.start_logging_time, fresh.latest_delivery_log_service_time) == (False, None, None)
    trail.start_logging(m.StartLoggingRequest(name="ram-audit"))
    cloud.settle()
    on = status()
    assert on.is_logging is True and ISO.fullmatch(on.start_logging_time)
    assert on.sls_log_store_status is True
    assert not on.latest_delivery_log_service_error
    trail.stop_logging(m.StopLoggingRequest(name="ram-audit"))
    cloud.settle()
    off = status()
    assert off.is_logging is False and ISO.fullmatch(off.stop_logging_time)


def test_an_update_keeps_name_home_and_switch(cloud, account, trail, target):
    create(trail, target=target, event_rw="Write")
    cloud.settle()
    trail.start_logging(m.StartLoggingRequest(name="ram-audit"))
    cloud.settle()
    other = cloud.name("other")
    account.log().create_project(other, "")
    cloud.settle()
    answer = trail.update_trail(m.UpdateTrailRequest(
        name="ram-audit", event_rw="All", trail_region="cn-hangzhou", sls_project_arn=arn(account, other))).body
    assert (answer.event_rw, answer.home_region) == ("All", "cn-hangzhou")
    cloud.settle()
    found = describe(trail)
    assert (found.event_rw, found.trail_region) == ("All", "cn-hangzhou")
    assert found.sls_project_arn == arn(account, other)
    assert found.status == "Enable"
    assert found.update_time >= found.create_time


def test_a_deleted_trail_is_gone_and_its_name_is_free(cloud, trail, target):
    create(trail, target=target)
    cloud.settle()
    trail.delete_trail(m.DeleteTrailRequest(name="ram-audit"))
    cloud.settle()
    assert describe(trail) is None
    create(trail, target=target)
    cloud.settle()
    assert describe(trail).status == "Fresh"


def test_deleting_a_trail_leaves_store_and_project(cloud, account, trail, target, project):
    create(trail, target=target)
    log = account.log()
    cloud.eventually(lambda: "actiontrail_ram-audit" in log.list_logstore(project).get_logstores())
    trail.delete_trail(m.DeleteTrailRequest(name="ram-audit"))
    cloud.settle()
    assert log.list_logstore(project).get_logstores() == ["actiontrail_ram-audit"]
    assert log.get_project(project).get_status() == "Normal"


def test_a_trail_makes_its_store_with_index_and_dashboard(cloud, account, trail, target, project):
    create(trail, target=target)
    log = account.log()
    cloud.eventually(lambda: "actiontrail_ram-audit" in log.list_logstore(project).get_logstores())
    cloud.settle()
    store = log.get_logstore(project, "actiontrail_ram-audit")
    assert store.get_ttl() == 3650
    index = log.get_index_config(project, "actiontrail_ram-audit").get_index_config()
    assert index.line_config is not None
    assert index.key_config_list["event"].index_type == "json"
    assert "actiontrail_ram-audit_audit_center_cn" in log.list_dashboard(project).get_entities()


# --- Describe -----------------------------------------------------------------------------------------


def test_describing_a_missing_name_gives_an_empty_list(trail):
    answer = trail.describe_trails(m.DescribeTrailsRequest(name_list="no-such-trail")).body
    assert answer.trail_list == [] and answer.request_id


def test_describe_takes_several_names_or_none(cloud, trail, target):
    for name in ("trail-one", "trail-two", "trail-three"):
        create(trail, name, target)
    cloud.settle()

    def names(wanted):
        found = trail.describe_trails(m.DescribeTrailsRequest(name_list=wanted)).body.trail_list
        return sorted(t.name for t in found)

    assert names("trail-one,trail-three") == ["trail-one", "trail-three"]
    assert names("trail-two,no-such-trail") == ["trail-two"]
    assert names(None) == ["trail-one", "trail-three", "trail-two"]


def test_a_trail_shows_in_other_regions_only_as_a_shadow(cloud, account, trail, target):
    create(trail, target=target)
    cloud.settle()
    abroad = account.trail(region="ap-southeast-1")
    assert describe(abroad) is None
    shadow = describe(abroad, include_shadow_trails=True)
    assert (shadow.name, shadow.home_region) == ("ram-audit", "cn-hangzhou")


def test_trails_of_other_accounts_are_invisible(cloud, trail, target, stranger):
    create(trail, target=target)
    cloud.settle()
    assert describe(stranger.trail(), include_shadow_trails=True) is None
    with refused("TrailNotFoundException", 404):
        stranger.trail().stop_logging(m.StopLoggingRequest(name="ram-audit"))
    assert describe(trail).status == "Fresh"


# --- Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["delete_trail", "start_logging", "stop_logging", "get_trail_status", "update_trail"])
def test_a_missing_trail_is_refused(trail, call):
    request = getattr(m, "".join(part.title() for part in call.split("_")) + "Request")(name="no-such-trail")
    with refused("TrailNotFoundException", 404):
        getattr(trail, call)(request)


@pytest.mark.parametrize("name", ["short", "Upper-case", "0digit-first", "x" * 37, "with space", "dot.dot"])
def test_bad_trail_names_are_refused(cloud, account, target, name):
    with refused("InvalidTrailNameException", 400):
        create(account.trail(), name, target)


@pytest.mark.parametrize("name", ["sixsix", "x" * 36, "with_under-score"])
def test_good_trail_names_are_taken(cloud, account, target, name):
    create(account.trail(), name, target)
    cloud.settle()
    assert describe(account.trail(), name).name == name


def test_a_second_trail_of_one_name_is_refused_in_every_region(cloud, account, trail, target):
    create(trail, target=target)
    cloud.settle()
    with refused("TrailAlreadyExistsException", 400):
        create(trail, target=target)
    with refused("TrailAlreadyExistsException", 400):
        create(account.trail(region="cn-shanghai"), target=target)


def test_a_trail_needs_a_destination(account, trail):
    actiontrail_role(account)
    with refused("InvalidDeliveryConfigurationException", 400):
        create(trail)


def test_a_destination_must_exist(cloud, account, trail):
    actiontrail_role(account)
    with refused("SlsProjectDoesNotExistException", 400):
        create(trail, target=arn(account, cloud.name("missing")))


@pytest.mark.parametrize("field, value", [("event_rw", "Sometimes"), ("sls_project_arn", "acs:oss:*:1:bucket")])
def test_values_out_of_range_are_refused(cloud, account, target, field, value):
    request = m.CreateTrailRequest(name="ram-audit", event_rw="All", sls_project_arn=target)
    setattr(request, field, value)
    with refused(("InvalidParameterValue", "InvalidParameterCombination", "SlsProjectDoesNotExistException"), 400):
        account.trail().create_trail(request)
    assert describe(account.trail()) is None


def test_a_sixth_trail_of_a_region_is_refused_and_another_region_has_room(cloud, account, target):
    trail = account.trail()
    for n in range(5):
        create(trail, f"trail-{n}", target)
    with refused("MaximumNumberOfTrailsExceededException", 403, "5"):
        create(trail, "trail-5", target)
    create(account.trail(region="cn-shanghai"), "trail-6", target)
    cloud.settle()
    assert len(trail.describe_trails(m.DescribeTrailsRequest()).body.trail_list) == 5


def test_without_its_role_a_trail_is_refused_to_who_may_not_make_it(cloud, account, project):
    """The caller may create trails, but not service-linked roles."""
    from identities import attach, document, policy

    alice = user(account, "alice")
    policy(account, "trails", document("actiontrail:*"))
    attach(account, "trails", user="alice")
    with refused("NeedServiceLinkedRole", 403, "aliyunserviceroleforactiontrail"):
        create(alice.trail(), target=arn(account, project))
    actiontrail_role(account)
    create(alice.trail(), target=arn(account, project))
    cloud.settle()
    assert describe(alice.trail()).status == "Fresh"


def test_an_unknown_action_and_a_wrong_method_are_refused(account):
    from alibabacloud_tea_openapi.utils_models import OpenApiRequest, Params
    from darabonba.runtime import RuntimeOptions

    def call(action, method):
        account.trail().call_api(
            Params(action=action, version="2020-07-06", protocol="HTTPS", pathname="/", method=method,
                   auth_type="AK", style="RPC", req_body_type="formData", body_type="json"),
            OpenApiRequest(query={"Name": "ram-audit"}), RuntimeOptions())

    with refused(("InvalidApi.NotFound", "InvalidAction"), 404):
        call("CreateTrial", "POST")
    with refused("UnsupportedHTTPMethod", (400, 403)):
        call("StopLogging", "POST")


def test_regions_are_described(trail):
    regions = trail.describe_regions(m.DescribeRegionsRequest()).body.regions.region
    by_id = {r.region_id: r for r in regions}
    assert by_id["cn-hangzhou"].region_endpoint == "actiontrail.cn-hangzhou.aliyuncs.com"
    assert {"ap-southeast-1", "eu-central-1", "us-east-1"} <= set(by_id)


def test_a_destination_of_another_account_needs_its_role(cloud, account, stranger, trail):
    theirs = cloud.name("theirs")
    stranger.log().create_project(theirs, "")
    cloud.settle()
    actiontrail_role(account)
    with refused(("SlsProjectDoesNotExistException", "InsufficientSlsPolicyException", "InvalidParameterValue"),
                 (400, 403)):
        create(trail, target=arn(stranger, theirs))
    assert describe(trail) is None
    assert stranger.log().list_logstore(theirs).get_total() == 0


def test_a_destination_may_lie_in_another_region(cloud, account, trail):
    actiontrail_role(account)
    abroad, name = account.log(region="ap-southeast-1"), cloud.name("abroad")
    abroad.create_project(name, "")
    cloud.settle()
    create(trail, target=arn(account, name, "ap-southeast-1"))
    cloud.eventually(lambda: abroad.list_logstore(name).get_logstores() == ["actiontrail_ram-audit"])
    with refused("SlsProjectDoesNotExistException", 400):
        create(trail, "other-trail", target=arn(account, name, "cn-hangzhou"))


@pytest.mark.parametrize("change, code", [
    ({"event_rw": "Sometimes"}, "InvalidParameterValue"),
    ({"sls_project_arn": "acs:log:cn-hangzhou:{uid}:project/no-such-project-at-all"}, "SlsProjectDoesNotExistException"),
])
def test_a_refused_update_changes_nothing(cloud, account, target, change, code):
    trail = account.trail()
    create(trail, target=target)
    cloud.settle()
    values = {"event_rw": "All", "sls_project_arn": target, "trail_region": "All",
              **{k: v.format(uid=account.uid) for k, v in change.items()}}
    with refused(code, 400):
        trail.update_trail(m.UpdateTrailRequest(name="ram-audit", **values))
    found = describe(trail)
    assert (found.event_rw, found.sls_project_arn) == ("All", target)


def test_start_and_stop_may_be_repeated(cloud, trail, target):
    create(trail, target=target)
    cloud.settle()
    for _ in range(2):
        trail.start_logging(m.StartLoggingRequest(name="ram-audit"))
    cloud.settle()
    first = describe(trail)
    assert first.status == "Enable"
    for _ in range(2):
        trail.stop_logging(m.StopLoggingRequest(name="ram-audit"))
    cloud.settle()
    assert describe(trail).status == "Disable"
    assert describe(trail).start_logging_time == first.start_logging_time


# --- LookupEvents -------------------------------------------------------------------------------------


def iso(seconds):
    from cloud import REAL_DATETIME
    import datetime

    return REAL_DATETIME.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def history(cloud, account):
    """Six RAM writes and one refusal, shown by LookupEvents."""
    ram, start = account.ram(), cloud.now() - 5
    for n in range(6):
        ram.create_group(ram_models.CreateGroupRequest(group_name=f"group-{n}"))
    with refused("EntityAlreadyExists.Group", 409):
        ram.create_group(ram_models.CreateGroupRequest(group_name="group-0"))
    cloud.jump(LOOKUP)
    return start


def lookup(trail, *attributes, **more):
    return trail.lookup_events(m.LookupEventsRequest(
        lookup_attribute=[m.LookupEventsRequestLookupAttribute(key=k, value=v) for k, v in attributes] or None,
        **more)).body


def test_a_call_is_looked_up_with_caller_arguments_and_outcome(cloud, account, trail, history):
    found = lookup(trail, ("EventName", "CreateGroup"), max_results="50").events
    assert len(found) == 7
    event = next(e for e in found if e["requestParameters"].get("GroupName") == "group-3")
    assert (event["serviceName"], event["eventSource"]) == ("Ram", "ram.aliyuncs.com")
    assert (event["eventRW"], event["eventType"], event["apiVersion"]) == ("Write", "ApiCall", "2015-05-01")
    assert event["userIdentity"]["type"] == "root-account"
    assert event["userIdentity"]["accountId"] == account.uid == event["recipientAccountId"]
    assert event["userIdentity"]["accessKeyId"] == account.id
    assert event["sourceIpAddress"] == "127.0.0.1"
    assert event["userAgent"].startswith("AlibabaCloud")
    assert ISO.fullmatch(event["eventTime"]) and event["eventId"] and event["requestId"]
    assert not event.get("errorCode")
    failed = [e for e in found if e.get("errorCode")]
    assert [e["errorCode"] for e in failed] == ["EntityAlreadyExists.Group"]
    assert account.secret not in str(found)


def test_events_come_newest_first_or_oldest_first_in_pages(cloud, trail, history):
    def pages(direction):
        names, token = [], None
        while True:
            page = lookup(trail, ("EventName", "CreateGroup"), max_results="3", direction=direction, next_token=token)
            assert len(page.events) <= 3
            names += [e["eventTime"] for e in page.events]
            token = page.next_token
            if not token:
                return names

    backward, forward = pages(None), pages("FORWARD")
    assert len(backward) == len(forward) == 7
    assert backward == sorted(backward, reverse=True)
    assert forward == sorted(forward)


@pytest.mark.parametrize("attribute, count", [
    (("ServiceName", "Ram"), 7), (("ServiceName", "ram"), 0), (("EventRW", "Write"), 7),
    (("User", "root"), 7), (("User", "nobody"), 0), (("ResourceName", "group-4"), 1),
    (("EventType", "ApiCall"), 7), (("SourceIpAddress", "127.0.0.1"), 7), (("SourceIpAddress", "192.0.2.1"), 0),
], ids=lambda v: "=".join(v) if isinstance(v, tuple) else "")
def test_an_attribute_narrows_exactly(cloud, account, history, attribute, count):
    assert len(lookup(account.trail(), ("EventName", "CreateGroup"), attribute).events) == count


def test_one_event_is_found_by_its_id_and_by_key(cloud, account, trail, history):
    some = lookup(trail, ("EventName", "CreateGroup")).events[0]
    (one,) = lookup(trail, ("EventId", some["eventId"])).events
    assert one["eventId"] == some["eventId"]
    assert lookup(trail, ("EventAccessKeyId", account.id), ("EventName", "CreateGroup")).events
    assert lookup(trail, ("EventAccessKeyId", "LTAIother"), ("EventName", "CreateGroup")).events == []


def test_a_time_range_narrows(cloud, trail, history):
    inside = lookup(trail, ("EventName", "CreateGroup"), start_time=iso(history), end_time=iso(cloud.now()))
    assert len(inside.events) == 7
    before = lookup(trail, ("EventName", "CreateGroup"), start_time=iso(history - 3600), end_time=iso(history - 60))
    assert before.events == [] and not before.next_token


DAY = 86400


@pytest.mark.parametrize("start, end, code", [
    (-31 * DAY, 0, "InvalidParameterDateOutOfRange"),
    (-91 * DAY, -89 * DAY, "InvalidParameterStartTimeOutOfDate"),
    (3600, 7200, "InvalidParameterStartTimeExceedsCurrent"),
    (0, -3600, ("InvalidTimeRangeException", "InvalidParameterStartTime", "InvalidParameterEndTime",
                "InvalidParameterCombination")),
], ids=["wide", "old", "future", "backward"])
def test_bad_time_ranges_are_refused(cloud, account, start, end, code):
    with refused(code, 400):
        lookup(account.trail(), start_time=iso(cloud.now() + start), end_time=iso(cloud.now() + end))


def test_malformed_lookups_are_refused(cloud, account):
    trail = account.trail()
    with refused("InvalidLookupAttributesException", 400):
        lookup(trail, ("Color", "blue"))
    with refused("InvalidNextToken", 400):
        lookup(trail, next_token="not-a-token")
    with refused(("InvalidParameterStartTime", "InvalidParameterValue"), 400):
        lookup(trail, start_time="yesterday", end_time=iso(cloud.now()))
    for count in ("0", "51", "many"):
        with refused(("InvalidQueryParameter", "InvalidParameterValue", "LookupEventsParameterError"), 400):
            lookup(trail, max_results=count)


def test_events_of_a_regional_service_are_seen_in_their_region(cloud, account, project):
    cloud.jump(LOOKUP)
    here = lookup(account.trail(), ("EventName", "CreateProject")).events
    assert [e["acsRegion"] for e in here] == ["cn-hangzhou"]
    assert lookup(account.trail(region="cn-shanghai"), ("EventName", "CreateProject")).events == []


def test_global_events_are_seen_in_every_region_or_in_their_storage_region(cloud, account, history):
    storage = account.trail().get_global_events_storage_region().body.storage_region
    seen = {region: len(lookup(account.trail(region=region), ("EventName", "CreateGroup")).events)
            for region in ("cn-shanghai", storage)}
    everywhere = cloud.assumed["actiontrail.lookup.global"] == "every_region"
    assert seen == {"cn-shanghai": 7 if everywhere else 0, storage: 7}
    abroad = lookup(account.trail(region=storage), ("EventName", "CreateGroup")).events
    assert {e.get("isGlobal") for e in abroad} == {True}


def test_lookups_show_one_account(cloud, account, stranger, history):
    assert lookup(stranger.trail(), ("EventName", "CreateGroup")).events == []


def test_pages_stay_apart_while_new_events_arrive(cloud, account, trail, history):
    first = lookup(trail, ("EventName", "CreateGroup"), max_results="4")
    for n in range(3):
        account.ram().create_group(ram_models.CreateGroupRequest(group_name=f"later-{n}"))
    cloud.jump(LOOKUP)
    second = lookup(trail, ("EventName", "CreateGroup"), max_results="4", next_token=first.next_token)
    ids = [e["eventId"] for e in first.events + second.events]
    assert len(ids) == len(set(ids)) == 7


def test_of_two_values_for_one_key_the_second_counts(cloud, trail, history):
    found = lookup(trail, ("ResourceName", "group-1"), ("ResourceName", "group-2")).events
    assert {e["requestParameters"]["GroupName"] for e in found} == {"group-2"}


def test_without_times_the_last_seven_days_are_looked_up(cloud, trail, history):
    cloud.jump(8 * DAY)
    assert lookup(trail, ("EventName", "CreateGroup")).events == []
    older = lookup(trail, ("EventName", "CreateGroup"), start_time=iso(history - 60), end_time=iso(cloud.now()))
    assert len(older.events) == 7


# --- Delivery-history jobs and data events -------------------------------------------------------------


def test_a_trail_without_data_events_says_so(cloud, trail, target, account):
    create(trail, target=target)
    cloud.settle()
    answer = trail.get_data_event_selector(m.GetDataEventSelectorRequest(trail_name="ram-audit")).body
    assert answer.trail_arn == f"acs:actiontrail:cn-hangzhou:{account.uid}:trail/ram-audit"
    assert answer.data_event_selectors in (None, "", "[]") and not answer.sls_delivery_configs
    with refused("TrailNotFoundException", 404):
        trail.get_data_event_selector(m.GetDataEventSelectorRequest(trail_name="no-such-trail"))


def test_rates_are_limited_per_account(launch):
    slow = launch(quotas={"actiontrail.write.qps": 5})
    account, other = slow.account(), slow.account()
    with refused("Throttling.User", slow.answer("rpc.throttling.status"), "flow control"):
        for _ in range(100):
            try:
                account.trail().stop_logging(m.StopLoggingRequest(name="no-such-trail"))
            except Exception as error:
                if getattr(error, "code", "") != "TrailNotFoundException":
                    raise
    with refused("TrailNotFoundException", 404):
        other.trail().stop_logging(m.StopLoggingRequest(name="no-such-trail"))
    slow.jump(5)
    with refused("TrailNotFoundException", 404):
        account.trail().stop_logging(m.StopLoggingRequest(name="no-such-trail"))
