"""The emulator as a cloud: its process, its accounts, its clock, and how official SDKs reach it.

The SDKs stay as published. What this module changes is the machine they run on, in this process only:

- name resolution: names ending in ``aliyuncs.com`` (and ``localhost``, as in a browser) lead to the emulator;
- the system clock: it follows the emulator's clock, as a machine's clock follows the cloud's.

It has to be imported before any SDK, since SDKs bind ``datetime`` when they are imported.
"""

import contextlib
import datetime
import functools
import itertools
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import types
import urllib.error
import urllib.request

REAL_TIME = time.time
REAL_DATETIME = datetime.datetime
REAL_GETADDRINFO = socket.getaddrinfo

#: The machine's state: where names lead, and how far its clock is from real time (seconds).
machine = types.SimpleNamespace(address=None, clock=0.0)


def _getaddrinfo(host, port, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name is not None and name.lower().endswith((".aliyuncs.com", ".localhost")):
        if machine.address is None:
            raise socket.gaierror(socket.EAI_NONAME, "no emulator is in use")
        host, port = machine.address
    return REAL_GETADDRINFO(host, port, *args, **kwargs)


class _AnyDatetime(type):
    def __instancecheck__(cls, value):
        return isinstance(value, REAL_DATETIME)

    def __subclasscheck__(cls, kind):
        return issubclass(kind, REAL_DATETIME)


class _Datetime(REAL_DATETIME, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz=None):
        return REAL_DATETIME.fromtimestamp(time.time(), tz)

    @classmethod
    def today(cls):
        return cls.now()

    @classmethod
    def utcnow(cls):
        return REAL_DATETIME.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)


socket.getaddrinfo = _getaddrinfo
time.time = lambda: REAL_TIME() + machine.clock
datetime.datetime = _Datetime
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
for _variable in [name for name in os.environ if name.startswith("ALIBABA_CLOUD_")]:
    del os.environ[_variable]

# Only now: these bind the names above.
from aliyun.log import LogClient  # noqa: E402
from alibabacloud_actiontrail20200706.client import Client as TrailClient  # noqa: E402
from alibabacloud_ram20150501.client import Client as RamClient  # noqa: E402
from alibabacloud_resourcemanager20200331.client import Client as ResourceManagerClient  # noqa: E402
from alibabacloud_sls20201230.client import Client as SlsClient  # noqa: E402
from alibabacloud_sts20150401.client import Client as StsClient  # noqa: E402
from alibabacloud_tea_openapi.utils_models import Config  # noqa: E402
from darabonba.core import DaraCore  # noqa: E402

REGION = "cn-hangzhou"
#: Longer than any lag of the hostile profile between a write of Log Service and everyone seeing it.
VISIBILITY = 60
#: Longer than any delivery into a trail's store.
DELIVERY = 180
#: Longer than LookupEvents ever lags.
LOOKUP = 720


def binary():
    """The emulator under test."""
    chosen = os.environ.get("RAMTRAIL_EMULATOR_BIN")
    if chosen:
        return pathlib.Path(chosen)
    root = pathlib.Path(__file__).resolve().parents[2]
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    return target / "debug" / "ramtrail-emulator"


#: What an SDK user sees under each behaviour of the emulator's open questions.
ANSWERS = {
    "rpc.denied.code": {"no_permission": "NoPermission", "forbidden_ram": "Forbidden.RAM"},
    "rpc.security_token.status": {"400": 400, "403": 403},
    "rpc.signature.status": {"400": 400, "403": 403},
    "rpc.unknown_key.status": {"404": 404, "400": 400},
    "rpc.throttling.status": {"400": 400, "429": 429, "503": 503},
    "sls.auth.missing": {"unauthorized": "Unauthorized", "miss_access_key_id": "MissAccessKeyId"},
    "sls.skew.code": {
        "request_time_expired": "RequestTimeExpired", "request_time_too_skewed": "RequestTimeTooSkewed"},
    "sls.index.absent_status": {"400": 400, "404": 404},
    "sls.job.duplicate_code": {"JobAlreadyExist": "JobAlreadyExist", "ParameterInvalid": "ParameterInvalid"},
}


class Key:
    """An access key (or temporary credentials) and the SDK clients that use it."""

    def __init__(self, id, secret, token=None):
        self.id, self.secret, self.token = id, secret, token

    def _config(self, endpoint, region, **settings):
        return Config(
            access_key_id=self.id,
            access_key_secret=self.secret,
            security_token=self.token,
            endpoint=endpoint,
            region_id=region,
            protocol="http",
            **settings,
        )

    def log(self, auth="v4", region=REGION):
        """aliyun-log-python-sdk; ``v1`` signs with HMAC-SHA1."""
        return LogClient(
            f"http://{region}.log.aliyuncs.com",
            self.id,
            self.secret,
            securityToken=self.token,
            source="192.0.2.10",
            auth_version=auth,
            region=region,
        )

    def sls(self, auth="v1", region=REGION):
        """alibabacloud-sls20201230; ``v1`` signs with HMAC-SHA256."""
        return SlsClient(self._config(f"{region}.log.aliyuncs.com", region, signature_version=auth))

    def trail(self, region=REGION, endpoint=None, **settings):
        endpoint = endpoint or f"actiontrail.{region}.aliyuncs.com"
        return TrailClient(self._config(endpoint, region, **settings))

    def ram(self, **settings):
        return RamClient(self._config("ram.aliyuncs.com", REGION, **settings))

    def sts(self, endpoint="sts.aliyuncs.com", **settings):
        return StsClient(self._config(endpoint, REGION, **settings))

    def resource_manager(self, **settings):
        return ResourceManagerClient(self._config("resourcemanager.aliyuncs.com", REGION, **settings))


class Account(Key):
    """An account with the key of its root identity."""

    def __init__(self, number):
        self.uid = str(1_000_000_000_000_000 + number)
        super().__init__(f"LTAIroot{number:016d}", f"rootSecret{number:020d}")

    @property
    def flag(self):
        return f"{self.id}:{self.secret}:{self.uid}"


class Emulator:
    """One running emulator."""

    _names = itertools.count(1)
    _run = format(int(REAL_TIME()) % 0xFFFFFF, "x")

    def __init__(self, profile, quotas=(), assume=()):
        self.profile, self.clock = profile, 0.0
        self._numbers = itertools.count(1)
        self._known = [Account(next(self._numbers)) for _ in range(2)]
        command = [str(binary()), "--listen", "127.0.0.1:0", "--profile", profile]
        for account in self._known:
            command += ["--access-key", account.flag]
        for name, value in dict(quotas).items():
            command += ["--quota", f"{name}={value}"]
        for name, value in dict(assume).items():
            command += ["--assume", f"{name}={value}"]
        self._stderr = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._stderr, text=True)
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise RuntimeError(f"the emulator did not start: {self.stderr()}")
        ready = json.loads(line)
        host, port = ready["listen"].rsplit(":", 1)
        self.address = (host, int(port))
        self._token = ready["adminToken"]

    @property
    def hostile(self):
        return self.profile == "hostile"

    @property
    def endpoint(self):
        return f"{self.address[0]}:{self.address[1]}"

    def stderr(self):
        self._stderr.seek(0)
        return self._stderr.read()

    def stop(self):
        """Ends the process that this object started."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def use(self):
        """Leads this machine's names and clock to this emulator."""
        if machine.address != self.address:
            # Connections that the OpenAPI SDKs keep open per host name still lead to the emulator before.
            for session in DaraCore._sessions.values():
                session.close()
        machine.address, machine.clock = self.address, self.clock

    @functools.cached_property
    def assumed(self):
        """The behaviour chosen for each open question, by id."""
        return {entry["id"]: entry["chosen"] for entry in self.admin("GET", "assumptions")["assumptions"]}

    def answer(self, question):
        """What an SDK user sees under the behaviour chosen for an open question."""
        return ANSWERS[question][self.assumed[question]]

    def account(self):
        """An account that nothing has used yet."""
        if self._known:
            return self._known.pop()
        account = Account(next(self._numbers))
        self.admin("POST", "identities", {
            "accessKeyId": account.id, "accessKeySecret": account.secret, "account": account.uid})
        return account

    def name(self, prefix):
        """A name that nothing has used yet."""
        return f"{prefix}-{self._run}-{next(self._names)}"

    def now(self):
        """The cloud's time, epoch seconds."""
        return int(REAL_TIME() + self.clock)

    def jump(self, seconds):
        """Moves the cloud's clock and this machine's."""
        self.admin("POST", "clock", {"jumpSeconds": seconds})
        self.clock += seconds
        machine.clock = self.clock

    def settle(self, seconds=VISIBILITY):
        """Lets the hostile profile's lags pass; the documented profile has to do without."""
        if self.hostile:
            self.jump(seconds)

    def eventually(self, look, within=1800, step=30):
        """Looks until something is seen, the cloud's clock moving on in between; fails if it never is."""
        spent = 0
        while True:
            seen = look()
            if seen:
                return seen
            assert spent < within, f"not seen within {within} s: {seen!r}"
            self.jump(step)
            spent += step

    def admin(self, method, path, body=None, token=None, host=None):
        """Calls an admin endpoint; returns its JSON."""
        status, answer = self.admin_raw(method, path, body, self._token if token is None else token, host)
        assert status == 200, (status, answer)
        return json.loads(answer) if answer else None

    def admin_raw(self, method, path, body=None, token=None, host=None):
        headers = {"content-type": "application/json"}
        if token:
            headers["x-emulator-token"] = token
        if host:
            headers["host"] = host
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{self.endpoint}/_emulator/{path}", data=data, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


class Refusal:
    """What an SDK user sees of a refused call, whichever SDK raised it."""

    def __init__(self, error):
        self.error = error
        if hasattr(error, "get_error_code"):
            self.code, self.status = error.get_error_code(), error.get_resp_status()
            self.message, self.request_id = error.get_error_message(), error.get_request_id()
        else:
            data = error.data or {}
            self.code, self.message = error.code, error.message
            self.status = getattr(error, "status_code", None) or getattr(error, "statusCode", None)
            self.status = self.status or data.get("statusCode")
            self.request_id = data.get("RequestId") or data.get("requestId")


@contextlib.contextmanager
def refused(code, status=None, says=None):
    """The calls inside must be refused with this error code (or one of several), status and words."""
    from aliyun.log import LogException
    from darabonba.exceptions import DaraException
    from Tea.exceptions import TeaException

    outcome = types.SimpleNamespace(refusal=None)
    try:
        yield outcome
    except (LogException, TeaException, DaraException) as error:
        refusal = outcome.refusal = Refusal(error)
        codes = [code] if isinstance(code, str) else list(code)
        assert refusal.code in codes, f"expected {codes}, got {refusal.code} {refusal.status}: {refusal.message}"
        if status is not None:
            statuses = [status] if isinstance(status, int) else list(status)
            assert refusal.status in statuses, (refusal.status, refusal.code, refusal.message)
        if says is not None:
            assert says.lower() in refusal.message.lower(), refusal.message
        assert refusal.request_id, f"{refusal.code} has no request id"
    else:
        raise AssertionError(f"expected {code}, but the call was accepted")
