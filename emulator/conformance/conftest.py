"""Fixtures of the conformance suite: one emulator per profile, a fresh account for every test."""

import collections

import cloud as machine_room  # first: it prepares the machine before any SDK is imported
import pytest

PROFILES = ("documented", "hostile")

#: The suite is one client in a hurry; rates have their own tests on emulators of their own.
UNHURRIED = {
    "sls.meta.qps": 1_000_000,
    "actiontrail.write.qps": 1_000_000,
    "actiontrail.read.qps": 1_000_000,
    "actiontrail.lookup.qps": 1_000_000,
    "ram.qps": 1_000_000,
    "sts.qps": 1_000_000,
}


def pytest_addoption(parser):
    parser.addoption(
        "--profile",
        choices=(*PROFILES, "both"),
        default="both",
        help="profile of the emulator's assumptions to run under",
    )


def pytest_generate_tests(metafunc):
    if "emulator" in metafunc.fixturenames or "profile" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("profile")
        profiles = PROFILES if chosen == "both" else (chosen,)
        metafunc.parametrize("profile", profiles, scope="session")


@pytest.fixture(scope="session")
def emulators():
    """Emulators by profile, started when first needed."""
    running = {}
    yield running
    for emulator in running.values():
        emulator.stop()


@pytest.fixture(scope="session")
def emulator(profile, emulators):
    if profile not in emulators:
        emulators[profile] = machine_room.Emulator(profile, quotas=UNHURRIED)
    return emulators[profile]


@pytest.fixture
def cloud(emulator):
    """The emulator of the test's profile, in use on this machine."""
    emulator.use()
    return emulator


@pytest.fixture
def launch(profile):
    """Starts an emulator of the test's own: ``launch(quotas={...}, assume={...})``."""
    running = []

    def start(quotas=(), assume=()):
        emulator = machine_room.Emulator(profile, quotas=quotas, assume=assume)
        running.append(emulator)
        emulator.use()
        return emulator

    yield start
    for emulator in running:
        emulator.stop()


@pytest.fixture
def account(cloud):
    """An account of the test's own."""
    return cloud.account()


@pytest.fixture
def stranger(cloud):
    """Another account."""
    return cloud.account()


@pytest.fixture
def project(cloud, account):
    """A visible project of the account."""
    name = cloud.name("project")
    account.log().create_project(name, "made for a conformance case")
    cloud.settle()
    return name


@pytest.fixture
def store(cloud, account, project):
    """A visible log store in the project, without index."""
    name = "store"
    account.log().create_logstore(project, name, ttl=30, shard_count=2)
    cloud.settle()
    return name


@pytest.fixture(params=["v1", "v4"], ids=["sha1", "v4"])
def log(request, account):
    """aliyun-log-python-sdk with each of its signatures."""
    return account.log(auth=request.param)


@pytest.fixture(params=["v1", "v4"], ids=["sha256", "v4"])
def sls(request, account):
    """alibabacloud-sls20201230 with each of its signatures."""
    return account.sls(auth=request.param)


def pytest_terminal_summary(terminalreporter):
    """Cases by service and profile."""
    counts = collections.defaultdict(lambda: collections.Counter())
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            # A case that fails and cannot be torn down reports twice; its call counts.
            if outcome == "error" or report.when == "call":
                keywords = dict(report.user_properties)
                counts[keywords.get("service", "Emulator")][(keywords.get("profile", "any"), outcome)] += 1
    if not counts:
        return
    profiles = sorted({profile for rows in counts.values() for profile, _ in rows})
    terminalreporter.section("conformance cases by service")
    terminalreporter.write_line(f"{'service':<52}" + "".join(f"{name:>14}" for name in profiles))
    totals = collections.Counter()
    for service in sorted(counts):
        cells = []
        for profile in profiles:
            passed = counts[service][(profile, "passed")]
            broken = counts[service][(profile, "failed")] + counts[service][(profile, "error")]
            totals[(profile, "passed")] += passed
            totals[(profile, "broken")] += broken
            cells.append(f"{passed}/{passed + broken}" if broken else f"{passed}")
        terminalreporter.write_line(f"{service:<52}" + "".join(f"{cell:>14}" for cell in cells))
    sums = [totals[(p, "passed")] for p in profiles]
    terminalreporter.write_line(f"{'all (passed)':<52}" + "".join(f"{n:>14}" for n in sums))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    service = getattr(item.module, "SERVICE", "Emulator")
    callspec = getattr(item, "callspec", None)
    profile = callspec.params.get("profile", "any") if callspec else "any"
    item.user_properties += [("service", service), ("profile", profile)]
