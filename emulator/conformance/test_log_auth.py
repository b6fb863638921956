"""Who is let in to Log Service: signatures, keys, clocks, limits."""

import json
import urllib.error
import urllib.request

import pytest
from aliyun.log import LogClient
from alibabacloud_sls20201230 import models as sls_models
from alibabacloud_sls20201230.client import Client as SlsClient
from alibabacloud_tea_openapi.utils_models import Config
from cloud import Key, machine, refused

SERVICE = "Log Service: signatures and limits (both SDKs)"

EVERY_SIGNATURE = ["sha1", "sha256", "v4", "v4-openapi"]


def listing(key, signature):
    """Lists projects with one of the four ways that the SDKs sign."""
    if signature == "sha1":
        return key.log(auth="v1").list_project().get_total()
    if signature == "v4":
        return key.log(auth="v4").list_project().get_total()
    sls = key.sls(auth="v1" if signature == "sha256" else "v4")
    return sls.list_project(sls_models.ListProjectRequest()).body.total


@pytest.fixture(params=EVERY_SIGNATURE)
def signature(request):
    return request.param


def test_a_right_signature_is_accepted(account, signature):
    assert listing(account, signature) == 0


def test_a_wrong_secret_is_refused(account, signature):
    with refused("SignatureNotMatch", 401, "signature"):
        listing(Key(account.id, account.secret + "x"), signature)


def test_an_unknown_key_is_refused_by_name(account, signature):
    with refused(("Unauthorized", "InvalidAccessKeyId"), 401, "LTAInobody"):
        listing(Key("LTAInobody", account.secret), signature)


@pytest.mark.parametrize("drift", [-20 * 60, 20 * 60])
def test_a_clock_that_is_off_by_twenty_minutes_is_refused(cloud, account, signature, drift):
    machine.clock = cloud.clock + drift
    with refused(cloud.answer("sls.skew.code"), 400, "server time"):
        listing(account, signature)


@pytest.mark.parametrize("drift", [-14 * 60, 14 * 60])
def test_a_clock_that_is_off_by_fourteen_minutes_is_accepted(cloud, account, signature, drift):
    machine.clock = cloud.clock + drift
    assert listing(account, signature) == 0


def test_awkward_arguments_are_signed_alike(cloud, account, project, signature):
    """Spaces, reserved characters and other scripts in the query."""
    for text in ("a b/c~*", "x+y=z&w", "100%", "审计", "quote'\""):
        if signature in ("sha1", "v4"):
            log = account.log(auth="v1" if signature == "sha1" else "v4")
            assert log.list_logstore(project, logstore_name_pattern=text).get_total() == 0
        else:
            sls = account.sls(auth="v1" if signature == "sha256" else "v4")
            assert sls.list_log_stores(project, sls_models.ListLogStoresRequest(logstore_name=text)).body.total == 0


@pytest.mark.parametrize("auth", ["v1", "v4"])
def test_local_names_serve_like_the_real_ones(cloud, account, auth):
    """An endpoint of the emulator's own, as in a developer's configuration; the project is its prefix."""
    port = cloud.address[1]
    log = LogClient(f"http://localhost:{port}", account.id, account.secret, source="192.0.2.1",
                    auth_version=auth, region="cn-hangzhou")
    name = cloud.name("local")
    log.create_project(name, "by a local name")
    cloud.settle()
    assert log.get_project(name).get_description() == "by a local name"
    sls = SlsClient(Config(access_key_id=account.id, access_key_secret=account.secret, protocol="http",
                           endpoint=f"localhost:{port}", region_id="cn-hangzhou", signature_version=auth))
    assert sls.get_project(name, sls_models.GetProjectRequest()).body.description == "by a local name"
    assert account.log().get_project(name).get_region() == "cn-hangzhou"


# --- Requests that no SDK makes -----------------------------------------------------------------------


@pytest.fixture
def signed(account):
    """Method, body and headers of a request that the Log SDK signed, caught before it is sent."""

    def catch(auth, call):
        log, caught = account.log(auth=auth), []

        def transport(method, url, params, body, headers):
            caught.append((method, body, dict(headers)))
            return 200, b"{}", {}

        log._getHttpResponse = transport
        try:
            call(log)
        except KeyError:
            pass  # an empty answer is no answer to a read
        return caught[0]

    return catch


def send(cloud, method, path, host, headers, body=None):
    """Sends a request as it is; returns status, error code, request id."""
    request = urllib.request.Request(f"http://{cloud.endpoint}{path}", data=body, method=method)
    for name, value in headers.items():
        if name.lower() != "content-length":
            request.add_header(name, value)
    request.add_unredirected_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, None, answer.headers["x-log-requestid"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["errorCode"], error.headers["x-log-requestid"]


@pytest.mark.parametrize("auth", ["v1", "v4"])
def test_a_body_changed_on_the_way_is_refused(cloud, account, project, signed, auth):
    method, body, headers = signed(auth, lambda log: log.update_project(project, "honest"))
    host = headers["Host"]
    status, code, request_id = send(cloud, method, "/", host, headers, body.replace(b"honest", b"forged"))
    assert (status, code) in [(401, "SignatureNotMatch"), (400, "InvalidDigest"), (400, "ParameterInvalid"),
                              (400, "PostBodyInvalid"), (400, "Content-MD5NotMatch")]
    assert request_id
    assert account.log().get_project(project).get_description() == "made for a conformance case"
    assert send(cloud, method, "/", host, headers, body)[0] == 200
    cloud.settle()
    assert account.log().get_project(project).get_description() == "honest"


@pytest.mark.parametrize("auth", ["v1", "v4"])
def test_another_project_cannot_be_put_under_a_signature(cloud, account, project, signed, auth):
    """v4 signs the host; v1 does not, so the account decides there."""
    other = cloud.name("other")
    account.log().create_project(other, "untouched")
    cloud.settle()
    method, body, headers = signed(auth, lambda log: log.update_project(project, "moved"))
    host = headers["Host"].replace(project, other)
    status, code, _ = send(cloud, method, "/", host, {**headers, "Host": host}, body)
    if auth == "v4":
        assert (status, code) == (401, "SignatureNotMatch")
    else:
        assert status == 200


@pytest.mark.parametrize("authorization, codes", [
    (None, None),
    ("LOG nonsense", ("ParameterInvalid",)),
    ("Basic abc", ("ParameterInvalid", "Unauthorized")),
    ("SLS4-HMAC-SHA256 Credential=nonsense,Signature=00", ("ParameterInvalid", "Unauthorized")),
])
def test_a_malformed_or_absent_authorization_is_refused(cloud, signed, authorization, codes):
    _, _, headers = signed("v1", lambda log: log.get_project("project"))
    headers = {k: v for k, v in headers.items() if k != "Authorization"}
    if authorization:
        headers["Authorization"] = authorization
    status, code, request_id = send(cloud, "GET", "/", headers["Host"], headers)
    codes = codes or (cloud.answer("sls.auth.missing"),)
    assert status in (400, 401) and code in codes and request_id


def test_an_operation_that_does_not_exist_is_refused(cloud, account, signed):
    _, _, headers = signed("v1", lambda log: log.get_project("project"))
    status, code, _ = send(cloud, "PATCH", "/no/such/thing", headers["Host"], headers)
    assert (status, code) in [(405, "InvalidMethod"), (401, "SignatureNotMatch"), (404, "InvalidMethod")]


# --- Limits -------------------------------------------------------------------------------------------


def test_management_calls_have_a_rate_per_account(launch):
    slow = launch(quotas={"sls.meta.qps": 10})
    account, other = slow.account(), slow.account()
    log = account.log()
    with refused("MetaOperationQpsLimitExceeded", 403, "Qps limit for the meta operation is exceeded"):
        for _ in range(200):
            log.list_project()
    assert other.log().list_project().get_total() == 0
    slow.jump(5)
    assert log.list_project().get_total() == 0


def test_an_account_has_room_for_so_many_projects(launch):
    small = launch(quotas={"sls.projects": 2})
    account = small.account()
    log = account.log()
    for name in ("one", "two"):
        log.create_project(small.name(name), "")
    with refused("ProjectQuotaExceed", (400, 403)):
        log.create_project(small.name("three"), "")
    small.account().log().create_project(small.name("others"), "")
