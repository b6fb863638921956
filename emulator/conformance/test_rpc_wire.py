"""How the RPC services (ActionTrail, RAM, STS, ResourceManager) let requests in."""

import json
import uuid

import pytest
from alibabacloud_actiontrail20200706 import models as trail_models
from alibabacloud_ram20150501 import models as ram_models
from alibabacloud_tea_openapi import exceptions
from alibabacloud_tea_openapi.utils_models import GlobalParameters, OpenApiRequest, Params
from cloud import Config, Key, RamClient, ResourceManagerClient, StsClient, TrailClient, machine, refused
from darabonba.policy.retry import RetryCondition, RetryOptions
from darabonba.runtime import RuntimeOptions

SERVICE = "RPC signatures: ActionTrail, RAM, STS, ResourceManager SDKs"


@pytest.fixture(params=["acs3", "rpc-v1"])
def algorithm(request):
    """Both signature algorithms of the RPC SDKs."""
    return {"acs3": "ACS3-HMAC-SHA256", "rpc-v1": "v2"}[request.param]


def calls(key, algorithm, **settings):
    """One harmless call of each service."""
    settings["signature_algorithm"] = algorithm
    return {
        "actiontrail": lambda: key.trail(**settings).describe_trails(trail_models.DescribeTrailsRequest()),
        "ram": lambda: key.ram(**settings).list_users(ram_models.ListUsersRequest()),
        "sts": lambda: key.sts(**settings).get_caller_identity(),
        "resourcemanager": lambda: raw(key.resource_manager(**settings), "GetRole", "2020-03-31",
                                       RoleName="AliyunServiceRoleForActionTrail"),
    }


def raw(client, action, version, method="POST", body=None, **query):
    """Any operation through the SDK's own transport."""
    return client.call_api(
        Params(action=action, version=version, protocol="HTTPS", pathname="/", method=method, auth_type="AK",
               style="RPC", req_body_type="formData", body_type="json"),
        OpenApiRequest(query=query, body=body), RuntimeOptions())


EVERY_SERVICE = ["actiontrail", "ram", "sts", "resourcemanager"]


@pytest.fixture(params=EVERY_SERVICE)
def service(request):
    return request.param


def test_a_right_signature_is_accepted(cloud, account, service, algorithm):
    if service == "resourcemanager":
        with refused("EntityNotExist.Role", 404):
            calls(account, algorithm)[service]()
    else:
        answer = calls(account, algorithm)[service]()
        assert answer.status_code == 200
        shown = answer.body.request_id if cloud.assumed["rpc.request_id.header"] == "present" else None
        assert answer.headers.get("x-acs-request-id") == shown


@pytest.mark.parametrize("scheme", ["", "http://"], ids=["host", "url"])
def test_a_plain_address_serves_every_service(cloud, account, service, algorithm, scheme):
    """On a bare address the API version tells the services apart; some users write the scheme into it."""
    settings = {"signature_algorithm": algorithm}
    clients = {
        "actiontrail": TrailClient, "ram": RamClient, "sts": StsClient, "resourcemanager": ResourceManagerClient}
    client = clients[service](Config(
        access_key_id=account.id, access_key_secret=account.secret, protocol="http", region_id="cn-hangzhou",
        endpoint=scheme + cloud.endpoint, **settings))
    if service == "resourcemanager":
        with refused("EntityNotExist.Role", 404):
            raw(client, "GetRole", "2020-03-31", RoleName="AliyunServiceRoleForActionTrail")
    elif service == "actiontrail":
        assert client.describe_trails(trail_models.DescribeTrailsRequest()).body.trail_list == []
    elif service == "ram":
        assert client.list_users(ram_models.ListUsersRequest()).body.users.user == []
    else:
        assert client.get_caller_identity().body.account_id == account.uid


def test_a_wrong_secret_is_refused(cloud, account, service, algorithm):
    with refused("SignatureDoesNotMatch", cloud.answer("rpc.signature.status")):
        calls(Key(account.id, account.secret + "x"), algorithm)[service]()


def test_an_unknown_key_is_refused(cloud, account, service, algorithm):
    with refused("InvalidAccessKeyId.NotFound", cloud.answer("rpc.unknown_key.status")):
        calls(Key("LTAInobody", account.secret), algorithm)[service]()


@pytest.mark.parametrize("drift", [-20 * 60, 20 * 60])
def test_a_clock_that_is_off_by_twenty_minutes_is_refused(cloud, account, service, algorithm, drift):
    machine.clock = cloud.clock + drift
    with refused("InvalidTimeStamp.Expired", 400):
        calls(account, algorithm)[service]()


@pytest.mark.parametrize("drift", [-14 * 60, 14 * 60])
def test_a_clock_that_is_off_by_fourteen_minutes_is_accepted(cloud, account, algorithm, drift):
    machine.clock = cloud.clock + drift
    assert calls(account, algorithm)["sts"]().body.account_id == account.uid


def replaying(algorithm, nonce):
    """Settings that make the SDK use one nonce for every request."""
    if algorithm == "v2":
        return {"global_parameters": GlobalParameters(queries={"SignatureNonce": nonce})}
    return {"global_parameters": GlobalParameters(headers={"x-acs-signature-nonce": nonce})}


def test_a_nonce_is_good_for_one_request(cloud, account, service, algorithm):
    nonce = uuid.uuid4().hex
    call = calls(account, algorithm, **replaying(algorithm, nonce))[service]
    try:
        call()
    except exceptions.ClientException as error:
        assert (service, error.code) == ("resourcemanager", "EntityNotExist.Role")
    with refused("SignatureNonceUsed", 400):
        call()


def test_a_nonce_belongs_to_one_key(cloud, account, stranger, algorithm):
    nonce = uuid.uuid4().hex
    for key in (account, stranger):
        body = calls(key, algorithm, **replaying(algorithm, nonce))["sts"]().body
        assert body.account_id == key.uid


def test_a_nonce_is_forgotten_after_its_timestamp(cloud, account, algorithm):
    nonce = uuid.uuid4().hex
    call = calls(account, algorithm, **replaying(algorithm, nonce))["sts"]
    call()
    cloud.jump(31 * 60)
    assert call().body.account_id == account.uid


def test_a_refused_request_has_the_shape_that_clients_read(cloud, account, service):
    try:
        calls(Key(account.id, "wrong"), None)[service]()
    except exceptions.ClientException as error:
        data = error.data
    assert set(data) >= {"RequestId", "HostId", "Code", "Message", "Recommend"}
    assert data["HostId"].endswith(".aliyuncs.com")
    assert uuid.UUID(data["RequestId"]) and data["RequestId"] == data["RequestId"].upper()
    assert str(error_text(data)).startswith("http")
    assert "wrong" not in json.dumps(data)


def error_text(data):
    return data["Recommend"]


def test_an_unknown_operation_or_version_is_refused(account, algorithm):
    trail = account.trail(signature_algorithm=algorithm)
    with refused(("InvalidApi.NotFound", "InvalidAction"), 404):
        raw(trail, "NoSuchAction", "2020-07-06")
    with refused(("InvalidVersion", "InvalidApi.NotFound", "NoSuchVersion"), (400, 404)):
        raw(trail, "DescribeTrails", "1999-01-01")


def test_arguments_may_come_in_the_body(account, algorithm):
    """Terraform's way: a form body instead of the query."""
    ram = account.ram(signature_algorithm=algorithm)
    made = raw(ram, "CreateGroup", "2015-05-01", body={"GroupName": "by-form", "Comments": "a b/c~*+ 审计 &="})
    assert made["body"]["Group"]["GroupName"] == "by-form"
    found = ram.get_group(ram_models.GetGroupRequest(group_name="by-form")).body.group
    assert found.comments == "a b/c~*+ 审计 &="


def test_awkward_arguments_are_signed_alike(account, algorithm):
    ram = account.ram(signature_algorithm=algorithm)
    for number, text in enumerate(["a b/c~*", "x+y=z&w", "100%", "审计", "quote'\"", ""]):
        name = f"group-{number}"
        ram.create_group(ram_models.CreateGroupRequest(group_name=name, comments=text))
        found = ram.get_group(ram_models.GetGroupRequest(group_name=name)).body.group
        assert (found.comments or "") == text


def test_a_get_request_is_accepted_where_both_methods_are(account, algorithm):
    answer = raw(account.sts(signature_algorithm=algorithm), "GetCallerIdentity", "2015-04-01", method="GET")
    assert answer["body"]["AccountId"] == account.uid


def test_a_missing_argument_is_named(account, algorithm):
    ram = account.ram(signature_algorithm=algorithm)
    with refused("MissingUserName", 400):
        ram.get_user(ram_models.GetUserRequest())
    with refused("MissingGroupName", 400):
        ram.create_group(ram_models.CreateGroupRequest())
    with refused(("MissingName", "InvalidTrailNameException"), 400):
        account.trail(signature_algorithm=algorithm).start_logging(trail_models.StartLoggingRequest())


def test_a_throttled_call_tells_when_to_come_again(launch):
    own = launch()
    account = own.account()
    own.admin("POST", "faults", {
        "match": {"service": "Ram"}, "fault": {"kind": "throttle", "retryAfterMs": 1500}})
    with pytest.raises(exceptions.ThrottlingException) as caught:
        account.ram().list_users(ram_models.ListUsersRequest())
    assert caught.value.code == "Throttling.User" and caught.value.retry_after == 1500
    assert caught.value.status_code == own.answer("rpc.throttling.status")


def test_the_sdks_own_retry_signs_anew(launch):
    own = launch()
    account = own.account()
    own.admin("POST", "faults", {
        "match": {"service": "Sts"}, "fault": {"kind": "status", "status": 503, "code": "ServiceUnavailable"}})
    retrying = account.sts(retry_options=RetryOptions({
        "retryable": True,
        "retryCondition": [RetryCondition({
            "maxAttempts": 3, "backoff": {"policy": "Fixed", "period": 1}, "exception": ["ServerException"]})]}))
    assert retrying.get_caller_identity().body.account_id == account.uid
    own.admin("POST", "faults", {
        "match": {"service": "Sts"}, "fault": {"kind": "status", "status": 500, "code": "InternalError"}})
    with pytest.raises(exceptions.ServerException) as caught:
        account.sts().get_caller_identity()
    assert (caught.value.code, caught.value.status_code) == ("InternalError", 500)
