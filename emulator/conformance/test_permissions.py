"""What RAM policies allow and deny, seen through each service's own SDK."""

import pytest
from alibabacloud_actiontrail20200706 import models as trail_models
from alibabacloud_ram20150501 import models as ram_models
from alibabacloud_sls20201230 import models as sls_models
from cloud import Key, refused
from identities import attach, document, policy, user
from records import index, put

SERVICE = "RAM policies: effect on every service"

#: Log Service's refusal of a caller without permission: code and status.
DENIED = ("Unauthorized", 401)


@pytest.fixture
def alice(account):
    """A RAM user without any policy."""
    return user(account, "alice")


def allow(account, *actions, resource="*", name="given", **more):
    policy(account, name, document(*actions, resource=resource, **more))
    attach(account, name, user="alice")


def test_a_user_without_policy_is_denied_everywhere(cloud, account, alice, project):
    with refused(*DENIED, says="action: log:GetProject"):
        alice.log().get_project(project)
    with refused(*DENIED, says=f"acs:log:cn-hangzhou:{account.uid}:project/{project}"):
        alice.log(auth="v1").get_project(project)
    with refused(*DENIED):
        alice.sls().list_project(sls_models.ListProjectRequest())
    with refused(cloud.answer("rpc.denied.code"), 403):
        alice.trail().describe_trails(trail_models.DescribeTrailsRequest())
    with refused(cloud.answer("rpc.denied.code"), 403):
        alice.ram().list_users(ram_models.ListUsersRequest())
    assert alice.sts().get_caller_identity().body.arn.endswith(":user/alice")


def test_a_denied_user_learns_nothing_of_what_exists(cloud, alice, project):
    for name in (project, cloud.name("missing")):
        with refused(("Unauthorized", "ProjectNotExist"), (401, 404)):
            alice.log().get_project(name)


def test_a_granted_action_works_and_others_do_not(cloud, account, alice, project):
    allow(account, "log:GetProject")
    assert alice.log().get_project(project).get_projectname() == project
    with refused(*DENIED):
        alice.log().update_project(project, "mine")
    with refused(*DENIED):
        alice.log().create_logstore(project, "store")


@pytest.mark.parametrize("resource, granted", [
    ("*", True),
    ("acs:log:*:*:project/{project}", True),
    ("acs:log:cn-hangzhou:{uid}:project/{project}", True),
    ("acs:log:*:*:project/proj*", True),
    ("acs:log:cn-shanghai:*:project/{project}", False),
    ("acs:log:*:1:project/{project}", False),
    ("acs:log:*:*:project/other", False),
    ("acs:ram:*:*:project/{project}", False),
])
def test_a_resource_limits_a_grant(cloud, account, alice, project, resource, granted):
    allow(account, "log:GetProject", resource=resource.format(project=project, uid=account.uid))
    if granted:
        assert alice.log().get_project(project).get_projectname() == project
    else:
        with refused(*DENIED):
            alice.log().get_project(project)


@pytest.mark.parametrize("action, granted", [
    ("log:*", True), ("log:Get*", True), ("LOG:getproject", True), ("*", True), ("log:GetProj?ct", True),
    ("log:List*", False), ("ram:*", False),
])
def test_action_patterns(cloud, account, alice, project, action, granted):
    allow(account, action)
    if granted:
        assert alice.log().get_project(project).get_projectname() == project
    else:
        with refused(*DENIED):
            alice.log().get_project(project)


def test_a_denial_beats_every_grant(cloud, account, alice, project):
    attach(account, "AdministratorAccess", user="alice", kind="System")
    assert alice.log().get_project(project).get_projectname() == project
    allow(account, "log:DeleteProject", effect="Deny")
    with refused(*DENIED):
        alice.log().delete_project(project)
    assert alice.log().get_project(project).get_projectname() == project


def test_a_group_hands_its_policies_to_its_members(cloud, account, alice, project):
    ram = account.ram()
    ram.create_group(ram_models.CreateGroupRequest(group_name="auditors"))
    attach(account, "AliyunLogReadOnlyAccess", group="auditors", kind="System")
    with refused(*DENIED):
        alice.log().get_project(project)
    ram.add_user_to_group(ram_models.AddUserToGroupRequest(user_name="alice", group_name="auditors"))
    assert alice.log().get_project(project).get_projectname() == project
    ram.remove_user_from_group(ram_models.RemoveUserFromGroupRequest(user_name="alice", group_name="auditors"))
    with refused(*DENIED):
        alice.log().get_project(project)


def test_the_default_version_of_a_policy_is_the_one_in_force(cloud, account, alice, project):
    ram = account.ram()
    allow(account, "log:GetProject")
    ram.create_policy_version(ram_models.CreatePolicyVersionRequest(
        policy_name="given", policy_document=document("log:ListProject")))
    assert alice.log().get_project(project).get_projectname() == project
    ram.set_default_policy_version(ram_models.SetDefaultPolicyVersionRequest(policy_name="given", version_id="v2"))
    with refused(*DENIED):
        alice.log().get_project(project)
    assert project in [p["projectName"] for p in alice.log().list_project().get_projects()]


def test_a_detached_policy_grants_nothing(cloud, account, alice):
    allow(account, "actiontrail:DescribeTrails")
    assert alice.trail().describe_trails(trail_models.DescribeTrailsRequest()).body.trail_list == []
    account.ram().detach_policy_from_user(ram_models.DetachPolicyFromUserRequest(
        policy_type="Custom", policy_name="given", user_name="alice"))
    with refused(cloud.answer("rpc.denied.code"), 403):
        alice.trail().describe_trails(trail_models.DescribeTrailsRequest())


def test_an_actiontrail_grant_may_name_one_trail(cloud, account, alice):
    allow(account, "actiontrail:GetTrailStatus",
          resource=f"acs:actiontrail:cn-hangzhou:{account.uid}:trail/ram-audit")
    with refused("TrailNotFoundException", 404):
        alice.trail().get_trail_status(trail_models.GetTrailStatusRequest(name="ram-audit"))
    with refused(cloud.answer("rpc.denied.code"), 403):
        alice.trail().get_trail_status(trail_models.GetTrailStatusRequest(name="other-trail"))


def test_adding_a_member_needs_both_user_and_group(cloud, account, alice):
    ram = account.ram()
    for group in ("open", "shut"):
        ram.create_group(ram_models.CreateGroupRequest(group_name=group))
    allow(account, "ram:AddUserToGroup", resource=[
        f"acs:ram:*:{account.uid}:group/open", f"acs:ram:*:{account.uid}:user/alice"])
    alice.ram().add_user_to_group(ram_models.AddUserToGroupRequest(user_name="alice", group_name="open"))
    with refused(cloud.answer("rpc.denied.code"), 403):
        alice.ram().add_user_to_group(ram_models.AddUserToGroupRequest(user_name="alice", group_name="shut"))


def test_writing_and_reading_logs_are_granted_apart(cloud, account, alice, project, store):
    account.log().create_index(project, store, index("id"))
    cloud.settle()
    one = f"acs:log:*:*:project/{project}/logstore/{store}"
    allow(account, "log:PostLogStoreLogs", resource=one)
    put(alice.log(), project, store, [(cloud.now(), {"id": "1"})])
    cloud.settle()
    with refused(*DENIED, says="log:GetLogStoreLogs"):
        alice.log().get_log(project, store, cloud.now() - 600, cloud.now() + 600)
    allow(account, "log:GetLogStoreLogs", resource=one, name="reading")
    assert alice.log().get_log(project, store, cloud.now() - 600, cloud.now() + 600).get_count() == 1
    with refused(*DENIED, says="log:GetCursorOrData"):
        alice.log().get_begin_cursor(project, store, 0)


def test_a_condition_on_the_callers_address(cloud, account, alice, project):
    allow(account, "log:GetProject", condition={"IpAddress": {"acs:SourceIp": ["127.0.0.0/8"]}})
    assert alice.log().get_project(project).get_projectname() == project
    policy(account, "elsewhere", document(
        "log:ListProject", condition={"IpAddress": {"acs:SourceIp": ["192.0.2.0/24"]}}))
    attach(account, "elsewhere", user="alice")
    with refused(*DENIED):
        alice.log().list_project()


def test_a_condition_on_the_service_of_a_linked_role(account, alice):
    from alibabacloud_resourcemanager20200331 import models as manager_models

    allow(account, "ram:CreateServiceLinkedRole",
          condition={"StringEquals": {"ram:ServiceName": "actiontrail.aliyuncs.com"}})
    made = alice.resource_manager().create_service_linked_role(
        manager_models.CreateServiceLinkedRoleRequest(service_name="actiontrail.aliyuncs.com")).body.role
    assert made.role_name == "AliyunServiceRoleForActionTrail"


def test_a_disabled_key_stops_working_and_works_again(cloud, account, alice, project):
    ram = account.ram()
    attach(account, "AdministratorAccess", user="alice", kind="System")
    assert alice.log().get_project(project).get_projectname() == project

    def switch(status):
        ram.update_access_key(ram_models.UpdateAccessKeyRequest(
            user_name="alice", user_access_key_id=alice.id, status=status))

    switch("Inactive")
    (listed,) = ram.list_access_keys(ram_models.ListAccessKeysRequest(user_name="alice")).body.access_keys.access_key
    assert listed.status == "Inactive"
    for auth in ("v1", "v4"):
        with refused(("Unauthorized", "InvalidAccessKeyId"), 401):
            alice.log(auth=auth).get_project(project)
    with refused("InvalidAccessKeyId.Inactive", (400, 403)):
        alice.trail().describe_trails(trail_models.DescribeTrailsRequest())
    with refused("InvalidAccessKeyId.Inactive", (400, 403)):
        alice.sts(signature_algorithm="v2").get_caller_identity()
    switch("Active")
    assert alice.log().get_project(project).get_projectname() == project


def test_a_deleted_key_is_unknown(cloud, account, alice):
    account.ram().delete_access_key(ram_models.DeleteAccessKeyRequest(user_name="alice", user_access_key_id=alice.id))
    with refused("InvalidAccessKeyId.NotFound", cloud.answer("rpc.unknown_key.status")):
        alice.sts().get_caller_identity()
    with refused(("Unauthorized", "InvalidAccessKeyId"), 401):
        alice.log().list_project()


def test_a_second_key_of_a_user_is_the_same_user(account, alice):
    made = account.ram().create_access_key(ram_models.CreateAccessKeyRequest(user_name="alice")).body.access_key
    second = Key(made.access_key_id, made.access_key_secret)
    assert second.sts().get_caller_identity().body.arn == alice.sts().get_caller_identity().body.arn
