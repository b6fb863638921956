"""The people of the demo: official Alibaba Cloud SDKs, unmodified, working against the emulator.

Reads one request a line on standard input, ``{"do": NAME, ...}``, and answers each with one line,
``{"ok": ...}`` or ``{"refused": {"code", "message", "requestId"}}`` when the cloud refuses the call.
Anything else that goes wrong ends the program with a traceback.

Only name resolution is changed, in this process: names ending in ``aliyuncs.com`` lead to the address in
``RAMTRAIL_DEMO_CLOUD`` and nowhere else.
"""

import json
import os
import socket
import sys

REAL_GETADDRINFO = socket.getaddrinfo
CLOUD_HOST, _, CLOUD_PORT = os.environ["RAMTRAIL_DEMO_CLOUD"].rpartition(":")


def _getaddrinfo(host, port, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name and name.lower().endswith(".aliyuncs.com"):
        host, port = CLOUD_HOST, int(CLOUD_PORT)
    return REAL_GETADDRINFO(host, port, *args, **kwargs)


socket.getaddrinfo = _getaddrinfo
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
# Answers go to the pipe we were given; whatever an SDK prints must not get in between.
answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
sys.stdout = sys.stderr

from aliyun.log import GetLogsRequest, LogClient, LogException  # noqa: E402
from alibabacloud_actiontrail20200706 import models as trail_models  # noqa: E402
from alibabacloud_actiontrail20200706.client import Client as TrailClient  # noqa: E402
from alibabacloud_ram20150501 import models as ram_models  # noqa: E402
from alibabacloud_ram20150501.client import Client as RamClient  # noqa: E402
from alibabacloud_sts20150401.client import Client as StsClient  # noqa: E402
from alibabacloud_tea_openapi.utils_models import Config  # noqa: E402
from darabonba.exceptions import DaraException  # noqa: E402
from Tea.exceptions import TeaException  # noqa: E402


class Key:
    """An access key and the clients that sign with it."""

    def __init__(self, id, secret, region):
        self.id, self.secret, self.region = id, secret, region

    def _config(self, endpoint):
        return Config(
            access_key_id=self.id,
            access_key_secret=self.secret,
            endpoint=endpoint,
            region_id=self.region,
            protocol="http",
        )

    @property
    def ram(self):
        return RamClient(self._config("ram.aliyuncs.com"))

    @property
    def sts(self):
        return StsClient(self._config("sts.aliyuncs.com"))

    @property
    def trail(self):
        return TrailClient(self._config(f"actiontrail.{self.region}.aliyuncs.com"))

    @property
    def log(self):
        endpoint = f"http://{self.region}.log.aliyuncs.com"
        return LogClient(endpoint, self.id, self.secret, auth_version="v4", region=self.region)


#: Keys by the name of who holds them; ``root`` is the account itself.
keys = {}


def root(id, secret, region):
    keys["root"] = Key(id, secret, region)
    identity = keys["root"].sts.get_caller_identity().body
    return {"accountId": identity.account_id, "arn": identity.arn}


def grant(name, document):
    """A custom policy of that name."""
    request = ram_models.CreatePolicyRequest(policy_name=name, policy_document=json.dumps(document))
    keys["root"].ram.create_policy(request)


def user(name, policies=(), document=None):
    """A RAM user with an access key of its own; ``document`` becomes a policy of that name."""
    ram = keys["root"].ram
    ram.create_user(ram_models.CreateUserRequest(user_name=name))
    if document is not None:
        grant(name, document)
        ram.attach_policy_to_user(
            ram_models.AttachPolicyToUserRequest(policy_type="Custom", policy_name=name, user_name=name)
        )
    for policy in policies:
        ram.attach_policy_to_user(
            ram_models.AttachPolicyToUserRequest(policy_type="System", policy_name=policy, user_name=name)
        )
    key = ram.create_access_key(ram_models.CreateAccessKeyRequest(user_name=name)).body.access_key
    keys[name] = Key(key.access_key_id, key.access_key_secret, keys["root"].region)
    return {"accessKeyId": key.access_key_id, "accessKeySecret": key.access_key_secret}


def role(name, service, document):
    """A role that a cloud service may assume, and what it may do as it."""
    trust = {
        "Version": "1",
        "Statement": [{"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": [service]}}],
    }
    ram = keys["root"].ram
    request = ram_models.CreateRoleRequest(role_name=name, assume_role_policy_document=json.dumps(trust))
    made = ram.create_role(request).body.role
    grant(name, document)
    ram.attach_policy_to_role(
        ram_models.AttachPolicyToRoleRequest(policy_type="Custom", policy_name=name, role_name=name)
    )
    return {"arn": made.arn}


CALLS = {
    "GetCallerIdentity": lambda key, target: key.sts.get_caller_identity(),
    "ListUsers": lambda key, target: key.ram.list_users(ram_models.ListUsersRequest()),
    "CreateAccessKey": lambda key, target: key.ram.create_access_key(
        ram_models.CreateAccessKeyRequest(user_name=target)
    ),
    "DescribeTrails": lambda key, target: key.trail.describe_trails(trail_models.DescribeTrailsRequest()),
    "StopLogging": lambda key, target: key.trail.stop_logging(trail_models.StopLoggingRequest(name=target)),
}


def call(who, action, target=None):
    """One call with somebody's key."""
    return {"requestId": CALLS[action](keys[who], target).body.request_id}


def logging(trail):
    """Whether the trail is switched on, as ActionTrail says."""
    request = trail_models.GetTrailStatusRequest(name=trail)
    return {"isLogging": keys["root"].trail.get_trail_status(request).body.is_logging}


def find(project, store, ids, since):
    """Which of these request ids the events in a store carry, with who did what."""
    import time

    query = " or ".join(f'"{id}"' for id in ids)
    request = GetLogsRequest(project, store, since, int(time.time()) + 60, query=query, line=100)
    answer = keys["root"].log.get_logs(request)
    found = {}
    for log in answer.get_logs():
        event = log.get_contents().get("event", "{}")
        event = json.loads(event) if isinstance(event, str) else event
        if event.get("requestId") in ids:
            found[event["requestId"]] = {
                "action": event.get("eventName"),
                "service": event.get("serviceName"),
                "who": event.get("userIdentity", {}).get("userName"),
            }
    return {"complete": answer.is_completed(), "found": found}


ACTIONS = {f.__name__: f for f in (root, user, role, call, logging, find)}


def refusal(error):
    if isinstance(error, LogException):
        return {
            "code": error.get_error_code(),
            "message": error.get_error_message(),
            "requestId": error.get_request_id(),
        }
    data = error.data or {}
    return {"code": error.code, "message": error.message, "requestId": data.get("RequestId")}


for line in sys.stdin:
    request = json.loads(line)
    action = ACTIONS[request.pop("do")]
    try:
        answer = {"ok": action(**request)}
    except (LogException, TeaException, DaraException) as error:
        answer = {"refused": refusal(error)}
    print(json.dumps(answer), file=answers, flush=True)
