"""What only sets the stage of a page: the account's own key, people of the account, and waiting for events."""

import os
import time

import sitecustomize  # noqa: F401  first: it leads the cloud's names to the emulator
from aliyun.log import LogClient, LogException
from alibabacloud_actiontrail20200706 import models as trail_models
from alibabacloud_actiontrail20200706.client import Client as TrailClient
from alibabacloud_ram20150501 import models as ram_models
from alibabacloud_ram20150501.client import Client as RamClient
from alibabacloud_tea_openapi.utils_models import Config

ACCOUNT = "1234567890123456"
REGION = "cn-hangzhou"
DEADLINE = 120


class Key:
    """An access key and the clients that sign with it."""

    def __init__(self, id, secret):
        self.id, self.secret = id, secret

    def _config(self, endpoint):
        return Config(
            access_key_id=self.id, access_key_secret=self.secret, endpoint=endpoint, region_id=REGION, protocol="http"
        )

    @property
    def ram(self):
        return RamClient(self._config("ram.aliyuncs.com"))

    @property
    def trail(self):
        return TrailClient(self._config(f"actiontrail.{REGION}.aliyuncs.com"))

    @property
    def log(self):
        return LogClient(
            f"https://{REGION}.log.aliyuncs.com", self.id, self.secret, auth_version="v4", region=REGION
        )

    def stop(self, trail):
        """Switches a trail off."""
        self.trail.stop_logging(trail_models.StopLoggingRequest(name=trail))


#: The account itself.
root = Key(os.environ["RAMTRAIL_DOCS_ROOT_KEY_ID"], os.environ["RAMTRAIL_DOCS_ROOT_KEY_SECRET"])


def person(name, *policies):
    """A new RAM user with system policies, and its key."""
    root.ram.create_user(ram_models.CreateUserRequest(user_name=name))
    for policy in policies:
        root.ram.attach_policy_to_user(
            ram_models.AttachPolicyToUserRequest(policy_type="System", policy_name=policy, user_name=name)
        )
    key = root.ram.create_access_key(ram_models.CreateAccessKeyRequest(user_name=name)).body.access_key
    return Key(key.access_key_id, key.access_key_secret)


def trail_into(project, name, rw="All"):
    """A trail that is switched on, into a project that exists."""
    arn = f"acs:log:{REGION}:{ACCOUNT}:project/{project}"
    request = trail_models.CreateTrailRequest(name=name, event_rw=rw, sls_project_arn=arn, trail_region="All")
    root.trail.create_trail(request)
    root.trail.start_logging(trail_models.StartLoggingRequest(name=name))


def await_event(project, store, query):
    """Waits until a search finds something."""
    end = time.monotonic() + DEADLINE
    while True:
        now = int(time.time())
        try:
            if root.log.get_log(project, store, now - 3600, now + 60, query=query).get_count():
                return
            why = "nothing found"
        except LogException as error:
            why = str(error)
        if time.monotonic() > end:
            raise SystemExit(f"{query}: {why}")
        time.sleep(0.5)
