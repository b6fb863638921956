"""STS through alibabacloud-sts20150401: who calls, assumed roles, and what their keys may do."""

import datetime

import pytest
from alibabacloud_actiontrail20200706 import models as trail_models
from alibabacloud_ram20150501 import models as ram_models
from alibabacloud_sls20201230 import models as sls_models
from cloud import REAL_DATETIME, Key, refused
from identities import assume, attach, document, policy, role, session_key, trust, user

SERVICE = "STS: alibabacloud-sts20150401"


@pytest.fixture(params=[{}, {"signature_algorithm": "v2"}, {"signature_algorithm": "ACS3-HMAC-SHA256"}],
                ids=["default", "rpc-v1", "acs3"])
def signing(request):
    """Every way the SDK can be told to sign."""
    return request.param


@pytest.fixture
def reader(account):
    """A role that every identity of the account may assume, allowed to read Log Service."""
    arn = role(account, "reader", trust(RAM=[f"acs:ram::{account.uid}:root"]), session=7200)
    attach(account, "AliyunLogReadOnlyAccess", role="reader", kind="System")
    return arn


@pytest.fixture
def alice(account):
    """A RAM user who may assume roles."""
    key = user(account, "alice")
    policy(account, "assume", document("sts:AssumeRole"))
    attach(account, "assume", user="alice")
    return key


def test_the_account_itself_is_named(account, signing):
    body = account.sts(**signing).get_caller_identity().body
    assert (body.identity_type, body.account_id) == ("Account", account.uid)
    assert body.arn == f"acs:ram::{account.uid}:root"
    assert body.principal_id == account.uid
    assert not body.role_id and len(body.request_id) == 36


def test_a_user_is_named_and_needs_no_grant(account, signing):
    key = user(account, "bob")
    known = account.ram().get_user(ram_models.GetUserRequest(user_name="bob")).body.user
    body = key.sts(**signing).get_caller_identity().body
    assert (body.identity_type, body.account_id) == ("RAMUser", account.uid)
    assert body.arn == f"acs:ram::{account.uid}:user/bob"
    assert body.user_id == known.user_id == body.principal_id


def test_an_assumed_role_is_named(account, alice, reader, signing):
    known = account.ram().get_role(ram_models.GetRoleRequest(role_name="reader")).body.role
    body = session_key(alice, reader, "job-17").sts(**signing).get_caller_identity().body
    assert (body.identity_type, body.account_id) == ("AssumedRoleUser", account.uid)
    assert body.arn == f"acs:ram::{account.uid}:assumed-role/reader/job-17"
    assert body.role_id == known.role_id
    assert body.principal_id == f"{known.role_id}:job-17"


@pytest.mark.parametrize("endpoint", ["sts.aliyuncs.com", "sts.cn-hangzhou.aliyuncs.com",
                                      "sts-vpc.cn-hangzhou.aliyuncs.com"])
def test_every_endpoint_of_the_service_answers(account, endpoint):
    assert account.sts(endpoint=endpoint).get_caller_identity().body.account_id == account.uid


def test_a_plain_address_answers_like_the_named_endpoint(cloud, account, signing):
    body = account.sts(endpoint=cloud.endpoint, **signing).get_caller_identity().body
    assert body.account_id == account.uid


def test_assuming_a_role_gives_a_key_that_lasts_as_long_as_asked(cloud, account, alice, reader):
    body = assume(alice, reader, "job-17", duration_seconds=1800)
    assert body.credentials.access_key_id.startswith("STS.")
    assert body.assumed_role_user.arn == f"acs:ram::{account.uid}:role/reader/job-17"
    assert body.assumed_role_user.assumed_role_id.endswith(":job-17")
    ends = REAL_DATETIME.strptime(body.credentials.expiration, "%Y-%m-%dT%H:%M:%SZ")
    left = ends.replace(tzinfo=datetime.timezone.utc).timestamp() - cloud.now()
    assert 1700 <= left <= 1801


def test_an_assumed_role_reads_but_does_not_write(cloud, account, alice, reader, project):
    key = session_key(alice, reader)
    for auth in ("v1", "v4"):
        assert key.log(auth=auth).get_project(project).get_projectname() == project
        with refused("Unauthorized", 401, "denied by sts or ram"):
            key.log(auth=auth).delete_project(project)
    for auth in ("v1", "v4"):
        found = key.sls(auth=auth).get_project(project, sls_models.GetProjectRequest()).body
        assert found.project_name == project
    with refused(cloud.answer("rpc.denied.code"), 403):
        key.trail().describe_trails(trail_models.DescribeTrailsRequest())


def test_an_assumed_role_uses_actiontrail_when_allowed(cloud, account, alice, reader):
    policy(account, "trails", document("actiontrail:DescribeTrails"))
    attach(account, "trails", role="reader")
    for algorithm in (None, "v2"):
        client = session_key(alice, reader).trail(signature_algorithm=algorithm)
        assert client.describe_trails(trail_models.DescribeTrailsRequest()).body.trail_list == []


def test_a_session_policy_narrows_the_role(cloud, account, alice, reader, project):
    narrow = session_key(alice, reader, policy=document("log:ListProject"))
    assert project in [p["projectName"] for p in narrow.log().list_project().get_projects()]
    with refused("Unauthorized", 401, "denied"):
        narrow.log().get_project(project)


def test_the_account_itself_assumes_no_role(account, reader):
    with refused("NoPermission", 403):
        assume(account, reader)


def test_a_user_without_grant_assumes_no_role(cloud, account, reader):
    with refused(cloud.answer("rpc.denied.code"), 403):
        assume(user(account, "bob"), reader)


def test_a_role_is_assumed_only_by_whom_it_trusts(account, alice, stranger):
    arn = role(account, "theirs", trust(RAM=[f"acs:ram::{stranger.uid}:root"]))
    with refused("NoPermission", 403):
        assume(alice, arn)
    carol = user(stranger, "carol")
    policy(stranger, "assume", document(
        "sts:AssumeRole", resource=f"acs:ram:*:{account.uid}:role/theirs"))
    attach(stranger, "assume", user="carol")
    body = session_key(carol, arn).sts().get_caller_identity().body
    assert body.account_id == account.uid
    assert body.arn == f"acs:ram::{account.uid}:assumed-role/theirs/session"


def test_malformed_requests_to_assume_a_role_are_refused(account, alice, reader):
    with refused("EntityNotExist.Role", 404):
        assume(alice, f"acs:ram::{account.uid}:role/nobody")
    with refused("InvalidParameter.RoleArn", 400):
        assume(alice, "reader")
    for session in ("x", "x" * 65, "with space"):
        with refused("InvalidParameter.RoleSessionName", 400):
            assume(alice, reader, session)
    for seconds in (899, 7201):
        with refused("InvalidParameter.DurationSeconds", 400):
            assume(alice, reader, duration_seconds=seconds)
    with refused("InvalidParameter.PolicyGrammar", 400):
        assume(alice, reader, policy="{")
    with refused("InvalidParameter.PolicySize", 400):
        assume(alice, reader, policy=document("log:" + "A" * 2048))


def test_an_expired_token_is_refused_by_every_service(cloud, alice, reader, project):
    key = session_key(alice, reader, duration_seconds=900)
    assert key.log().get_project(project).get_projectname() == project
    cloud.jump(901)
    with refused("InvalidSecurityToken.Expired", cloud.answer("rpc.security_token.status")):
        key.sts().get_caller_identity()
    with refused("InvalidSecurityToken.Expired", cloud.answer("rpc.security_token.status")):
        key.trail().describe_trails(trail_models.DescribeTrailsRequest())
    with refused("Unauthorized", 401, "token you provided has expired"):
        key.log().get_project(project)


def test_a_token_belongs_to_its_key(cloud, account, alice, reader, signing):
    first, second = session_key(alice, reader), session_key(alice, reader)
    with refused("InvalidSecurityToken.MismatchWithAccessKey", cloud.answer("rpc.security_token.status")):
        Key(first.id, first.secret, second.token).sts(**signing).get_caller_identity()
    with refused(("InvalidSecurityToken.Malformed", "InvalidSecurityToken.MismatchWithAccessKey"), cloud.answer("rpc.security_token.status")):
        Key(first.id, first.secret, "no-token").sts(**signing).get_caller_identity()
    with refused("MissingSecurityToken", cloud.answer("rpc.security_token.status")):
        Key(first.id, first.secret).sts(**signing).get_caller_identity()


def test_a_token_with_another_secret_is_refused(cloud, alice, reader, signing):
    key = session_key(alice, reader)
    with refused("SignatureDoesNotMatch", cloud.answer("rpc.signature.status")):
        Key(key.id, "wrong" * 6, key.token).sts(**signing).get_caller_identity()
    with refused("SignatureNotMatch", 401):
        Key(key.id, "wrong" * 6, key.token).log().list_project()


def test_a_deleted_role_takes_its_sessions_along(cloud, account, alice):
    arn = role(account, "short-lived", trust(RAM=[f"acs:ram::{account.uid}:root"]))
    key = session_key(alice, arn)
    account.ram().delete_role(ram_models.DeleteRoleRequest(role_name="short-lived"))
    with refused((cloud.answer("rpc.denied.code"), "InvalidAccessKeyId.NotFound", "InvalidSecurityToken.Expired"),
                 (400, 403, 404)):
        key.trail().describe_trails(trail_models.DescribeTrailsRequest())
