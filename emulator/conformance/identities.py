"""Users, roles and policies as the cases use them, by means of alibabacloud-ram20150501."""

import json

from alibabacloud_ram20150501 import models as ram_models
from alibabacloud_resourcemanager20200331 import models as manager_models
from alibabacloud_sts20150401 import models as sts_models
from cloud import Key


def document(*actions, resource="*", effect="Allow", condition=None):
    """A policy of one statement."""
    statement = {"Effect": effect, "Action": list(actions), "Resource": resource}
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "1", "Statement": [statement]})


def trust(**principal):
    """A trust policy: ``trust(RAM=[arn])`` or ``trust(Service=[host])``."""
    return json.dumps({"Version": "1", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}]})


def user(account, name):
    """A new RAM user's key."""
    ram = account.ram()
    ram.create_user(ram_models.CreateUserRequest(user_name=name))
    made = ram.create_access_key(ram_models.CreateAccessKeyRequest(user_name=name)).body.access_key
    return Key(made.access_key_id, made.access_key_secret)


def role(account, name, trusted, session=None):
    """Makes a role with a trust policy and returns its ARN."""
    request = ram_models.CreateRoleRequest(role_name=name, assume_role_policy_document=trusted)
    if session:
        request.max_session_duration = session
    return account.ram().create_role(request).body.role.arn


def policy(account, name, text):
    """Makes a custom policy."""
    account.ram().create_policy(ram_models.CreatePolicyRequest(policy_name=name, policy_document=text))


def attach(account, name, user=None, group=None, role=None, kind="Custom"):
    """Attaches a policy."""
    ram = account.ram()
    if user:
        ram.attach_policy_to_user(ram_models.AttachPolicyToUserRequest(
            policy_type=kind, policy_name=name, user_name=user))
    if group:
        ram.attach_policy_to_group(ram_models.AttachPolicyToGroupRequest(
            policy_type=kind, policy_name=name, group_name=group))
    if role:
        ram.attach_policy_to_role(ram_models.AttachPolicyToRoleRequest(
            policy_type=kind, policy_name=name, role_name=role))


def assume(key, arn, session="session", **more):
    """Assumes a role; returns the answer's body."""
    return key.sts().assume_role(sts_models.AssumeRoleRequest(
        role_arn=arn, role_session_name=session, **more)).body


def session_key(key, arn, session="session", **more):
    """The temporary key of an assumed role."""
    made = assume(key, arn, session, **more).credentials
    return Key(made.access_key_id, made.access_key_secret, made.security_token)


def actiontrail_role(account):
    """Makes the service-linked role that ActionTrail delivers with."""
    return account.resource_manager().create_service_linked_role(
        manager_models.CreateServiceLinkedRoleRequest(service_name="actiontrail.aliyuncs.com")).body.role


def etl_role(account):
    """The role that copying jobs of the account run as; returns its ARN."""
    arn = role(account, "etl", trust(Service=["log.aliyuncs.com"]))
    policy(account, "etl-policy", document("log:*"))
    attach(account, "etl-policy", role="etl")
    return arn
