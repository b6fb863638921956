"""RAM through alibabacloud-ram20150501: users, keys, groups, policies, roles."""

import json
import re

import pytest
from alibabacloud_ram20150501 import models as m
from cloud import refused
from identities import attach, document, policy, role, trust, user

SERVICE = "RAM: alibabacloud-ram20150501"

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(params=[None, "v2"], ids=["acs3", "rpc-v1"])
def ram(request, account):
    """The SDK with both signature algorithms it offers."""
    return account.ram(signature_algorithm=request.param)


# --- Users and keys -----------------------------------------------------------------------------------


def test_a_user_is_created_read_changed_and_deleted(ram):
    made = ram.create_user(m.CreateUserRequest(
        user_name="alice", display_name="Alice A.", comments="an auditor", email="alice@example.com")).body
    assert re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", made.request_id)
    assert (made.user.user_name, made.user.display_name, made.user.comments) == ("alice", "Alice A.", "an auditor")
    assert made.user.user_id.isdigit() and ISO.fullmatch(made.user.create_date)
    found = ram.get_user(m.GetUserRequest(user_name="alice")).body.user
    assert (found.user_id, found.email) == (made.user.user_id, "alice@example.com")
    changed = ram.update_user(m.UpdateUserRequest(
        user_name="alice", new_user_name="alicia", new_comments="left")).body.user
    assert (changed.user_name, changed.comments, changed.user_id) == ("alicia", "left", made.user.user_id)
    with refused("EntityNotExist.User", 404):
        ram.get_user(m.GetUserRequest(user_name="alice"))
    ram.delete_user(m.DeleteUserRequest(user_name="alicia"))
    with refused("EntityNotExist.User", 404):
        ram.get_user(m.GetUserRequest(user_name="alicia"))


def test_a_second_user_of_one_name_is_refused(ram):
    ram.create_user(m.CreateUserRequest(user_name="alice"))
    with refused("EntityAlreadyExists.User", 409):
        ram.create_user(m.CreateUserRequest(user_name="alice"))


@pytest.mark.parametrize("name", ["with space", "x" * 65, "a/b"])
def test_bad_user_names_are_refused(account, name):
    with refused(("InvalidParameter.UserName.InvalidChars", "InvalidParameter.UserName.Length"), 400):
        account.ram().create_user(m.CreateUserRequest(user_name=name))


def test_users_are_listed_in_pages(ram):
    names = [f"user-{n}" for n in range(5)]
    for name in names:
        ram.create_user(m.CreateUserRequest(user_name=name))
    seen, marker, truncated = [], None, []
    while True:
        page = ram.list_users(m.ListUsersRequest(marker=marker, max_items=2)).body
        assert len(page.users.user) <= 2
        seen += [u.user_name for u in page.users.user]
        truncated.append(page.is_truncated)
        if not page.is_truncated:
            assert page.marker is None
            break
        marker = page.marker
    assert (sorted(seen), truncated) == (names, [True, True, False])


def test_access_keys_are_shown_once_and_listed_without_secret(ram):
    ram.create_user(m.CreateUserRequest(user_name="alice"))
    made = ram.create_access_key(m.CreateAccessKeyRequest(user_name="alice")).body.access_key
    assert made.access_key_id.startswith("LTAI") and len(made.access_key_secret) >= 30
    assert made.status == "Active"
    answer = ram.list_access_keys(m.ListAccessKeysRequest(user_name="alice")).body
    (listed,) = answer.access_keys.access_key
    assert (listed.access_key_id, listed.status) == (made.access_key_id, "Active")
    assert made.access_key_secret not in json.dumps(answer.to_map())


def test_a_user_has_at_most_two_access_keys(ram):
    ram.create_user(m.CreateUserRequest(user_name="alice"))
    keys = [ram.create_access_key(m.CreateAccessKeyRequest(user_name="alice")).body.access_key for _ in range(2)]
    assert keys[0].access_key_id != keys[1].access_key_id
    with refused("LimitExceeded.User.AccessKey", 409):
        ram.create_access_key(m.CreateAccessKeyRequest(user_name="alice"))
    ram.delete_access_key(m.DeleteAccessKeyRequest(user_name="alice", user_access_key_id=keys[0].access_key_id))
    left = ram.list_access_keys(m.ListAccessKeysRequest(user_name="alice")).body.access_keys.access_key
    assert [k.access_key_id for k in left] == [keys[1].access_key_id]


def test_a_user_with_a_key_cannot_be_deleted(ram):
    ram.create_user(m.CreateUserRequest(user_name="alice"))
    ram.create_access_key(m.CreateAccessKeyRequest(user_name="alice"))
    with refused("DeleteConflict.User.AccessKey", 409):
        ram.delete_user(m.DeleteUserRequest(user_name="alice"))


def test_unknown_users_and_keys_are_refused(ram):
    with refused("EntityNotExist.User", 404):
        ram.create_access_key(m.CreateAccessKeyRequest(user_name="nobody"))
    with refused("EntityNotExist.User", 404):
        ram.delete_user(m.DeleteUserRequest(user_name="nobody"))
    ram.create_user(m.CreateUserRequest(user_name="alice"))
    with refused("EntityNotExist.User.AccessKey", 404):
        ram.delete_access_key(m.DeleteAccessKeyRequest(user_name="alice", user_access_key_id="LTAInone"))


# --- Groups -------------------------------------------------------------------------------------------


def test_a_group_is_created_read_changed_and_deleted(ram):
    made = ram.create_group(m.CreateGroupRequest(group_name="auditors", comments="read only")).body.group
    assert made.group_id.startswith("g-")
    assert (made.group_name, made.comments) == ("auditors", "read only")
    changed = ram.update_group(m.UpdateGroupRequest(
        group_name="auditors", new_group_name="readers", new_comments="")).body.group
    assert changed.group_name == "readers"
    found = ram.get_group(m.GetGroupRequest(group_name="readers")).body.group
    assert found.group_id == made.group_id
    ram.delete_group(m.DeleteGroupRequest(group_name="readers"))
    with refused("EntityNotExist.Group", 404):
        ram.get_group(m.GetGroupRequest(group_name="readers"))


def test_group_refusals(ram):
    ram.create_group(m.CreateGroupRequest(group_name="auditors"))
    with refused("EntityAlreadyExists.Group", 409):
        ram.create_group(m.CreateGroupRequest(group_name="auditors"))
    with refused("InvalidParameter.GroupName.InvalidChars", 400):
        ram.create_group(m.CreateGroupRequest(group_name="no spaces"))
    with refused("InvalidParameter.GroupName.Length", 400):
        ram.create_group(m.CreateGroupRequest(group_name="g" * 65))
    with refused("EntityNotExist.Group", 404):
        ram.delete_group(m.DeleteGroupRequest(group_name="nobody"))


def test_members_come_and_go(ram):
    ram.create_group(m.CreateGroupRequest(group_name="auditors"))
    ram.create_user(m.CreateUserRequest(user_name="alice"))
    ram.add_user_to_group(m.AddUserToGroupRequest(user_name="alice", group_name="auditors"))
    with refused("EntityAlreadyExists.User.Group", 409):
        ram.add_user_to_group(m.AddUserToGroupRequest(user_name="alice", group_name="auditors"))
    members = ram.list_users_for_group(m.ListUsersForGroupRequest(group_name="auditors")).body
    assert [u.user_name for u in members.users.user] == ["alice"]
    assert ISO.fullmatch(members.users.user[0].join_date) and members.is_truncated is False
    groups = ram.list_groups_for_user(m.ListGroupsForUserRequest(user_name="alice")).body.groups.group
    assert [g.group_name for g in groups] == ["auditors"]
    with refused("DeleteConflict.Group.User", 409):
        ram.delete_group(m.DeleteGroupRequest(group_name="auditors"))
    ram.remove_user_from_group(m.RemoveUserFromGroupRequest(user_name="alice", group_name="auditors"))
    with refused("EntityNotExist.User.Group", 404):
        ram.remove_user_from_group(m.RemoveUserFromGroupRequest(user_name="alice", group_name="auditors"))
    ram.delete_group(m.DeleteGroupRequest(group_name="auditors"))


def test_groups_are_listed_in_pages(ram):
    for n in range(3):
        ram.create_group(m.CreateGroupRequest(group_name=f"group-{n}"))
    first = ram.list_groups(m.ListGroupsRequest(max_items=2)).body
    second = ram.list_groups(m.ListGroupsRequest(max_items=2, marker=first.marker)).body
    assert (first.is_truncated, second.is_truncated, second.marker) == (True, False, None)
    assert sorted(g.group_name for page in (first, second) for g in page.groups.group) == [
        "group-0", "group-1", "group-2"]


def test_a_user_is_in_at_most_ten_groups(account):
    ram = account.ram()
    ram.create_user(m.CreateUserRequest(user_name="alice"))
    for n in range(11):
        ram.create_group(m.CreateGroupRequest(group_name=f"group-{n}"))
    for n in range(10):
        ram.add_user_to_group(m.AddUserToGroupRequest(user_name="alice", group_name=f"group-{n}"))
    with refused("LimitExceeded.User.Group", 409):
        ram.add_user_to_group(m.AddUserToGroupRequest(user_name="alice", group_name="group-10"))


# --- Policies -----------------------------------------------------------------------------------------


def test_a_policy_is_read_back_with_its_document(ram):
    text = document("log:Get*", "log:List*", resource="acs:log:*:*:project/p1")
    made = ram.create_policy(m.CreatePolicyRequest(
        policy_name="readers", policy_document=text, description="reads logs")).body.policy
    assert (made.policy_name, made.policy_type, made.default_version) == ("readers", "Custom", "v1")
    found = ram.get_policy(m.GetPolicyRequest(policy_name="readers", policy_type="Custom")).body
    assert json.loads(found.default_policy_version.policy_document) == json.loads(text)
    assert (found.default_policy_version.version_id, found.default_policy_version.is_default_version) == ("v1", True)
    assert (found.policy.attachment_count, found.policy.description) == (0, "reads logs")


def test_policy_versions_are_counted_on_and_one_is_in_force(ram):
    ram.create_policy(m.CreatePolicyRequest(policy_name="p", policy_document=document("log:GetProject")))
    second = ram.create_policy_version(m.CreatePolicyVersionRequest(
        policy_name="p", policy_document=document("log:ListProject"), set_as_default=True)).body.policy_version
    assert (second.version_id, second.is_default_version) == ("v2", True)
    third = ram.create_policy_version(m.CreatePolicyVersionRequest(
        policy_name="p", policy_document=document("log:DeleteProject"))).body.policy_version
    assert (third.version_id, third.is_default_version) == ("v3", False)
    listed = ram.list_policy_versions(m.ListPolicyVersionsRequest(policy_type="Custom", policy_name="p"))
    assert {v.version_id: v.is_default_version for v in listed.body.policy_versions.policy_version} == {
        "v1": False, "v2": True, "v3": False}
    with refused("DeleteConflict.Policy.Version.Default", 409):
        ram.delete_policy_version(m.DeletePolicyVersionRequest(policy_name="p", version_id="v2"))
    ram.set_default_policy_version(m.SetDefaultPolicyVersionRequest(policy_name="p", version_id="v1"))
    one = ram.get_policy_version(m.GetPolicyVersionRequest(
        policy_type="Custom", policy_name="p", version_id="v2")).body.policy_version
    assert (one.is_default_version, json.loads(one.policy_document)["Statement"][0]["Action"]) == (
        False, ["log:ListProject"])
    ram.delete_policy_version(m.DeletePolicyVersionRequest(policy_name="p", version_id="v3"))
    fourth = ram.create_policy_version(m.CreatePolicyVersionRequest(
        policy_name="p", policy_document=document("log:GetIndex"))).body.policy_version
    assert fourth.version_id == "v4", "ids are never used again"
    with refused("EntityNotExist.Policy.Version", 404):
        ram.get_policy_version(m.GetPolicyVersionRequest(policy_type="Custom", policy_name="p", version_id="v3"))


def test_a_sixth_version_is_refused_or_rotates_the_oldest_away(ram):
    ram.create_policy(m.CreatePolicyRequest(policy_name="p", policy_document=document("log:A")))
    for n in range(4):
        ram.create_policy_version(m.CreatePolicyVersionRequest(policy_name="p", policy_document=document(f"log:B{n}")))
    with refused("LimitExceeded.Policy.Version", 409):
        ram.create_policy_version(m.CreatePolicyVersionRequest(policy_name="p", policy_document=document("log:C")))
    ram.create_policy_version(m.CreatePolicyVersionRequest(
        policy_name="p", policy_document=document("log:C"),
        rotate_strategy="DeleteOldestNonDefaultVersionWhenLimitExceeded"))
    listed = ram.list_policy_versions(m.ListPolicyVersionsRequest(policy_type="Custom", policy_name="p"))
    assert sorted(v.version_id for v in listed.body.policy_versions.policy_version) == ["v1", "v3", "v4", "v5", "v6"]


@pytest.mark.parametrize("text", ["not json", "{}", '{"Version":"1","Statement":[{"Effect":"Perhaps"}]}',
                                  '{"Version":"1","Statement":[{"Effect":"Allow","Resource":"*"}]}'])
def test_a_document_that_is_no_policy_is_refused(account, text):
    with refused("MalformedPolicyDocument", (400, 409)):
        account.ram().create_policy(m.CreatePolicyRequest(policy_name="p", policy_document=text))


def test_policy_names_and_lengths_are_checked(account):
    ram = account.ram()
    with refused("InvalidParameter.PolicyName.InvalidChars", 400):
        ram.create_policy(m.CreatePolicyRequest(policy_name="under_score", policy_document=document("log:A")))
    with refused("InvalidParameter.PolicyName.Length", 400):
        ram.create_policy(m.CreatePolicyRequest(policy_name="p" * 129, policy_document=document("log:A")))
    with refused("InvalidParameter.PolicyDocument.Length", 400):
        ram.create_policy(m.CreatePolicyRequest(policy_name="p", policy_document=document("log:" + "A" * 6200)))
    ram.create_policy(m.CreatePolicyRequest(policy_name="p", policy_document=document("log:A")))
    with refused("EntityAlreadyExists.Policy", 409):
        ram.create_policy(m.CreatePolicyRequest(policy_name="p", policy_document=document("log:A")))
    with refused("EntityNotExist.Policy", 404):
        ram.get_policy(m.GetPolicyRequest(policy_name="q", policy_type="Custom"))


def test_system_policies_exist_and_belong_to_nobody(ram):
    found = ram.get_policy(m.GetPolicyRequest(policy_name="AliyunLogReadOnlyAccess", policy_type="System")).body
    assert found.policy.policy_type == "System"
    actions = {a for s in json.loads(found.default_policy_version.policy_document)["Statement"]
               for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    assert {"log:Get*", "log:List*"} <= actions
    with refused("EntityNotExist.Policy", 404):
        ram.get_policy(m.GetPolicyRequest(policy_name="AliyunLogReadOnlyAccess", policy_type="Custom"))


def test_attachments_are_listed_from_both_ends(account, ram):
    user(account, "alice")
    ram.create_group(m.CreateGroupRequest(group_name="auditors"))
    role(account, "reader", trust(RAM=[f"acs:ram::{account.uid}:root"]))
    policy(account, "p", document("log:Get*"))
    attach(account, "p", user="alice", group="auditors", role="reader")
    entities = ram.list_entities_for_policy(m.ListEntitiesForPolicyRequest(
        policy_type="Custom", policy_name="p")).body
    assert [u.user_name for u in entities.users.user] == ["alice"]
    assert [g.group_name for g in entities.groups.group] == ["auditors"]
    assert [r.role_name for r in entities.roles.role] == ["reader"]
    for listed in (
        ram.list_policies_for_user(m.ListPoliciesForUserRequest(user_name="alice")),
        ram.list_policies_for_group(m.ListPoliciesForGroupRequest(group_name="auditors")),
        ram.list_policies_for_role(m.ListPoliciesForRoleRequest(role_name="reader")),
    ):
        (one,) = listed.body.policies.policy
        assert (one.policy_name, one.policy_type, one.default_version) == ("p", "Custom", "v1")
    found = ram.get_policy(m.GetPolicyRequest(policy_name="p", policy_type="Custom")).body.policy
    assert found.attachment_count == 3


def test_attaching_twice_and_detaching_what_is_not_attached_are_refused(account, ram):
    user(account, "alice")
    ram.create_group(m.CreateGroupRequest(group_name="auditors"))
    policy(account, "p", document("log:Get*"))
    attach(account, "p", user="alice", group="auditors")
    with refused("EntityAlreadyExists.User.Policy", 409):
        attach(account, "p", user="alice")
    with refused("EntityAlreadyExists.Group.Policy", 409):
        attach(account, "p", group="auditors")
    with refused("EntityNotExist.Policy", 404):
        attach(account, "q", group="auditors")
    with refused("EntityNotExist.Group", 404):
        attach(account, "p", group="nobody")
    ram.detach_policy_from_group(m.DetachPolicyFromGroupRequest(
        policy_type="Custom", policy_name="p", group_name="auditors"))
    with refused("EntityNotExist.Group.Policy", 404):
        ram.detach_policy_from_group(m.DetachPolicyFromGroupRequest(
            policy_type="Custom", policy_name="p", group_name="auditors"))


def test_what_is_attached_or_has_versions_is_not_deleted(account, ram):
    ram.create_group(m.CreateGroupRequest(group_name="auditors"))
    policy(account, "p", document("log:Get*"))
    attach(account, "p", group="auditors")
    with refused("DeleteConflict.Policy.Group", 409):
        ram.delete_policy(m.DeletePolicyRequest(policy_name="p"))
    with refused("DeleteConflict.Group.Policy", 409):
        ram.delete_group(m.DeleteGroupRequest(group_name="auditors"))
    ram.detach_policy_from_group(m.DetachPolicyFromGroupRequest(
        policy_type="Custom", policy_name="p", group_name="auditors"))
    ram.create_policy_version(m.CreatePolicyVersionRequest(policy_name="p", policy_document=document("log:B")))
    with refused("DeleteConflict.Policy.Version", 409):
        ram.delete_policy(m.DeletePolicyRequest(policy_name="p"))
    ram.delete_policy_version(m.DeletePolicyVersionRequest(policy_name="p", version_id="v2"))
    ram.delete_policy(m.DeletePolicyRequest(policy_name="p"))
    with refused("EntityNotExist.Policy", 404):
        ram.get_policy(m.GetPolicyRequest(policy_name="p", policy_type="Custom"))


def test_policies_are_listed_by_type_in_pages(ram):
    for n in range(3):
        ram.create_policy(m.CreatePolicyRequest(policy_name=f"p{n}", policy_document=document("log:A")))
    first = ram.list_policies(m.ListPoliciesRequest(policy_type="Custom", max_items=2)).body
    second = ram.list_policies(m.ListPoliciesRequest(policy_type="Custom", max_items=2, marker=first.marker)).body
    assert (first.is_truncated, second.is_truncated) == (True, False)
    assert sorted(p.policy_name for page in (first, second) for p in page.policies.policy) == ["p0", "p1", "p2"]
    system = ram.list_policies(m.ListPoliciesRequest(policy_type="System")).body.policies.policy
    assert "AliyunLogReadOnlyAccess" in {p.policy_name for p in system}


# --- Roles --------------------------------------------------------------------------------------------


def test_a_role_is_created_read_and_deleted(account, ram):
    trusted = trust(RAM=[f"acs:ram::{account.uid}:root"])
    made = ram.create_role(m.CreateRoleRequest(
        role_name="reader", assume_role_policy_document=trusted, description="reads",
        max_session_duration=7200)).body.role
    assert made.arn == f"acs:ram::{account.uid}:role/reader"
    assert (made.role_name, made.max_session_duration) == ("reader", 7200)
    found = ram.get_role(m.GetRoleRequest(role_name="reader")).body.role
    assert json.loads(found.assume_role_policy_document) == json.loads(trusted)
    assert (found.role_id, found.description) == (made.role_id, "reads")
    with refused("EntityAlreadyExists.Role", 409):
        ram.create_role(m.CreateRoleRequest(role_name="reader", assume_role_policy_document=trusted))
    policy(account, "p", document("log:Get*"))
    attach(account, "p", role="reader")
    with refused("DeleteConflict.Role.Policy", 409):
        ram.delete_role(m.DeleteRoleRequest(role_name="reader"))
    ram.detach_policy_from_role(m.DetachPolicyFromRoleRequest(
        policy_type="Custom", policy_name="p", role_name="reader"))
    ram.delete_role(m.DeleteRoleRequest(role_name="reader"))
    with refused("EntityNotExist.Role", 404):
        ram.get_role(m.GetRoleRequest(role_name="reader"))


def test_roles_are_listed_in_pages(account, ram):
    for n in range(3):
        role(account, f"role-{n}", trust(RAM=[f"acs:ram::{account.uid}:root"]))
    first = ram.list_roles(m.ListRolesRequest(max_items=2)).body
    second = ram.list_roles(m.ListRolesRequest(max_items=2, marker=first.marker)).body
    assert (first.is_truncated, second.is_truncated) == (True, False)
    assert sorted(r.role_name for page in (first, second) for r in page.roles.role) == ["role-0", "role-1", "role-2"]


def test_a_role_needs_a_trust_policy_and_a_session_length_in_range(account):
    ram = account.ram()
    with refused("MalformedPolicyDocument", (400, 409)):
        ram.create_role(m.CreateRoleRequest(role_name="r", assume_role_policy_document="{}"))
    for seconds in (3599, 43201):
        with refused("InvalidParameter.MaxSessionDuration", 400):
            ram.create_role(m.CreateRoleRequest(
                role_name="r", assume_role_policy_document=trust(Service=["log.aliyuncs.com"]),
                max_session_duration=seconds))


def test_accounts_do_not_see_each_other(account, stranger):
    user(account, "alice")
    with refused("EntityNotExist.User", 404):
        stranger.ram().get_user(m.GetUserRequest(user_name="alice"))
    assert stranger.ram().list_users(m.ListUsersRequest()).body.users.user == []
