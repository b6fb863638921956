"""Service-linked roles through alibabacloud-resourcemanager20200331 (and RAM's own form of the call)."""

import json

import pytest
from alibabacloud_ram20150501 import models as ram_models
from alibabacloud_resourcemanager20200331 import models as m
from cloud import refused
from identities import assume, attach, document, policy, user

SERVICE = "ResourceManager: alibabacloud-resourcemanager20200331"


@pytest.fixture(params=[None, "v2"], ids=["acs3", "rpc-v1"])
def manager(request, account):
    """The SDK with both signature algorithms it offers."""
    return account.resource_manager(signature_algorithm=request.param)


def create(manager, service="actiontrail.aliyuncs.com"):
    return manager.create_service_linked_role(m.CreateServiceLinkedRoleRequest(service_name=service)).body.role


def test_the_role_of_actiontrail_is_made_once(account, manager):
    made = create(manager)
    assert made.role_name == "AliyunServiceRoleForActionTrail"
    assert made.arn == f"acs:ram::{account.uid}:role/aliyunserviceroleforactiontrail"
    assert made.is_service_linked_role is True or str(made.is_service_linked_role).lower() == "true"
    assert "actiontrail.aliyuncs.com" in made.assume_role_policy_document
    with refused("EntityAlreadyExists.Role", 409):
        create(manager)


def test_ram_knows_the_role_and_its_policy(account, manager):
    with refused("EntityNotExist.Role", 404):
        account.ram().get_role(ram_models.GetRoleRequest(role_name="AliyunServiceRoleForActionTrail"))
    made = create(manager)
    found = account.ram().get_role(ram_models.GetRoleRequest(role_name="AliyunServiceRoleForActionTrail")).body.role
    assert (found.role_id, found.arn) == (made.role_id, made.arn)
    trusted = json.loads(found.assume_role_policy_document)["Statement"][0]["Principal"]
    assert trusted == {"Service": ["actiontrail.aliyuncs.com"]}
    (held,) = account.ram().list_policies_for_role(ram_models.ListPoliciesForRoleRequest(
        role_name="AliyunServiceRoleForActionTrail")).body.policies.policy
    assert (held.policy_name, held.policy_type) == ("AliyunServiceRolePolicyForActionTrail", "System")


def test_both_products_read_the_same_role(account, manager):
    made = create(manager)
    found = manager.get_role(m.GetRoleRequest(role_name="AliyunServiceRoleForActionTrail")).body.role
    assert (found.role_id, found.arn) == (made.role_id, made.arn)


def test_ram_makes_the_role_as_well(account, manager):
    made = account.ram().create_service_linked_role(
        ram_models.CreateServiceLinkedRoleRequest(service_name="actiontrail.aliyuncs.com")).body.role
    assert made.role_name == "AliyunServiceRoleForActionTrail"
    with refused("EntityAlreadyExists.Role", 409):
        create(manager)


def test_an_unknown_service_is_refused(manager):
    with refused("EntityNotExist.Service", 404):
        create(manager, "no-such-service.aliyuncs.com")


def test_a_call_without_service_name_is_refused(manager):
    with refused(("MissingServiceName", "MissingParameter"), 400):
        manager.create_service_linked_role(m.CreateServiceLinkedRoleRequest())


def test_a_user_needs_the_grant(cloud, account):
    alice = user(account, "alice")
    with refused(cloud.answer("rpc.denied.code"), 403):
        create(alice.resource_manager())
    policy(account, "linked", document("ram:CreateServiceLinkedRole"))
    attach(account, "linked", user="alice")
    assert create(alice.resource_manager()).role_name == "AliyunServiceRoleForActionTrail"


def test_nobody_but_its_service_assumes_a_linked_role(account, manager):
    made = create(manager)
    alice = user(account, "alice")
    attach(account, "AdministratorAccess", user="alice", kind="System")
    with refused("NoPermission", 403):
        assume(alice, made.arn)


def test_accounts_have_their_own_roles(account, manager, stranger):
    create(manager)
    assert create(stranger.resource_manager()).arn == (
        f"acs:ram::{stranger.uid}:role/aliyunserviceroleforactiontrail")
