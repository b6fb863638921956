"""Writing, reading, pulling and searching logs through aliyun-log-python-sdk."""

import os

import pytest
from aliyun.log import GetHistogramsRequest
from cloud import refused
from records import ids, index, put, pulled

SERVICE = "Log Service: logs and search (aliyun-log-python-sdk)"

@pytest.fixture
def indexed(cloud, account, project, store):
    """A store with an index on line, `id` and `level`."""
    account.log().create_index(project, store, index("id", "level"))
    cloud.settle()
    return store


# --- Writing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"compress": False}, {"compress_type": "lz4"}, {"compress_type": "zstd"}],
                         ids=["plain", "lz4", "zstd"])
def test_logs_written_in_any_compression_are_read_back_whole(cloud, log, project, indexed, how):
    at = cloud.now()
    rows = [(at, {"id": f"{n:03}", "level": "info", "text": f"line {n} äöü 审计 " + "x" * n}) for n in range(40)]
    put(log, project, indexed, rows, topic="demo", source="198.51.100.7", **how)
    cloud.settle()
    answer = log.get_log(project, indexed, at - 60, at + 60, size=100)
    assert answer.is_completed() and answer.get_count() == 40
    found = {row.get_contents()["id"]: row for row in answer.get_logs()}
    for _, fields in rows:
        row = found[fields["id"]]
        assert row.get_contents()["text"] == fields["text"]
        assert row.get_contents()["__topic__"] == "demo"
        assert row.get_source() == "198.51.100.7"
        assert int(row.get_time()) == at


def test_a_hash_key_chooses_the_shard(cloud, log, project, indexed):
    at = cloud.now()
    put(log, project, indexed, [(at, {"id": "low"})], hashKey="0" * 31 + "1")
    put(log, project, indexed, [(at, {"id": "high"})], hashKey="f" * 31 + "0")
    cloud.settle()
    found = {}
    for shard in (0, 1):
        start = log.get_begin_cursor(project, indexed, shard).get_cursor()
        found[shard] = [row["id"] for row in log.pull_logs(project, indexed, shard, start).get_flatten_logs_json()]
    assert found == {0: ["low"], 1: ["high"]}


def test_log_tags_become_fields(cloud, log, project, indexed):
    at = cloud.now()
    put(log, project, indexed, [(at, {"id": "tagged"})], tags=[("pack", "seven")])
    cloud.settle()
    (row,) = log.get_log(project, indexed, at - 60, at + 60).get_logs()
    assert row.get_contents()["__tag__:pack"] == "seven"


def test_a_store_with_append_meta_tells_origin_and_arrival_of_what_is_written_from_then_on(cloud, log, project, indexed):
    at = cloud.now()
    put(log, project, indexed, [(at, {"id": "before"})])
    log.update_logstore(project, indexed, ttl=30, append_meta=True)
    cloud.settle()
    # A sender's own word does not replace the service's, and a time of its own does not either.
    put(log, project, indexed, [(at - 3600, {"id": "after"})], tags=[("__receive_time__", "1"), ("pack", "seven")])
    cloud.settle()
    rows = {row.get_contents()["id"]: row.get_contents() for row in log.get_log(project, indexed, at - 4000, at + 60).get_logs()}
    assert "__tag__:__client_ip__" not in rows["before"] and "__tag__:__receive_time__" not in rows["before"]
    assert rows["after"]["__tag__:__client_ip__"] == "127.0.0.1"
    assert abs(int(rows["after"]["__tag__:__receive_time__"]) - cloud.now()) < 120
    assert rows["after"]["__tag__:pack"] == "seven"


@pytest.mark.parametrize("age", [-8 * 86400, 3600])
def test_logs_too_old_or_from_the_future_are_refused(cloud, account, project, indexed, age):
    with refused("PostBodyInvalid", 400, "time is out of range"):
        put(account.log(), project, indexed, [(cloud.now() + age, {"id": "1"})])


def test_a_body_over_ten_mebibytes_is_refused(cloud, account, project, indexed):
    big = os.urandom(6 * 1024 * 1024).hex()
    with refused(("PostBodyTooLarge", "PostBodyInvalid"), (400, 413), "10485760"):
        put(account.log(), project, indexed, [(cloud.now(), {"id": big})], compress=False)


def test_writing_needs_the_store_and_the_owner(cloud, account, project, store, stranger):
    rows = [(cloud.now(), {"id": "1"})]
    with refused("LogStoreNotExist", 404):
        put(account.log(), project, "no-such-store", rows)
    with refused("ProjectNotExist", 404):
        put(account.log(), cloud.name("missing"), store, rows)
    with refused("Unauthorized", 401):
        put(stranger.log(), project, store, rows)


class Bytes:
    """Something that the SDK can write in place of a log group."""

    def __init__(self, raw):
        self.raw = raw

    def SerializeToString(self):
        return self.raw


def test_what_is_no_log_group_is_refused(cloud, account, project, indexed):
    for compress in (True, False):
        with refused("PostBodyInvalid", 400):
            account.log().put_log_raw(project, indexed, Bytes(b"\xff\xffno protobuf at all"), compress=compress)


def test_bytes_in_a_value_are_kept(cloud, log, project, store):
    put(log, project, store, [(cloud.now(), {"id": "bytes", "raw": "\u0000\u0001 tab\t line\n end"})])
    cloud.settle()
    (row,) = pulled(log, project, store)
    assert row["raw"] == "\u0000\u0001 tab\t line\n end"


def test_an_empty_value_is_a_value(cloud, log, project, indexed):
    at = cloud.now()
    put(log, project, indexed, [(at, {"id": "empty", "level": ""})])
    cloud.settle()
    (row,) = log.get_log(project, indexed, at - 60, at + 60).get_logs()
    assert row.get_contents()["level"] == ""


# --- Reading ------------------------------------------------------------------------------------------


@pytest.fixture
def numbered(cloud, account, project, indexed):
    """Ten logs, one a second; returns the time of the first."""
    start = cloud.now() - 600
    put(account.log(), project, indexed, [
        (start + n, {"id": f"{n:02}", "level": "warn" if n % 2 else "info"}) for n in range(10)])
    cloud.settle()
    return start


def legacy(log):
    """The SDK's older reading call: GET with its meta in headers."""
    log._get_logs_v2_enabled = False
    return log


@pytest.mark.parametrize("reader", [lambda log: log, legacy], ids=["post", "get"])
class TestReading:
    """Both reading calls of the SDK."""

    def test_the_range_includes_its_start_and_not_its_end(self, log, project, indexed, numbered, reader):
        answer = reader(log).get_log(project, indexed, numbered + 2, numbered + 5)
        assert ids(answer) == ["02", "03", "04"]
        assert answer.is_completed() and answer.get_count() == 3
        assert answer.get_has_sql() is False

    def test_pages_cover_everything_once(self, log, project, indexed, numbered, reader):
        pages = [reader(log).get_log(project, indexed, numbered, numbered + 10, offset=o, size=4)
                 for o in (0, 4, 8, 12)]
        assert [len(page.get_logs()) for page in pages] == [4, 4, 2, 0]
        assert sorted(i for page in pages for i in ids(page)) == [f"{n:02}" for n in range(10)]

    def test_newest_first_on_request(self, log, project, indexed, numbered, reader):
        order = [[row.get_contents()["id"] for row in
                  reader(log).get_log(project, indexed, numbered, numbered + 10, reverse=back).get_logs()]
                 for back in (False, True)]
        assert order == [[f"{n:02}" for n in range(10)], [f"{n:02}" for n in reversed(range(10))]]

    def test_a_query_narrows(self, log, project, indexed, numbered, reader):
        answer = reader(log).get_log(project, indexed, numbered, numbered + 10, query="level: warn")
        assert ids(answer) == ["01", "03", "05", "07", "09"]

    def test_a_topic_narrows(self, cloud, log, project, indexed, numbered, reader):
        put(log, project, indexed, [(numbered, {"id": "topical"})], topic="special")
        cloud.settle()
        answer = reader(log).get_log(project, indexed, numbered, numbered + 10, topic="special")
        assert ids(answer) == ["topical"]

    def test_sql_is_refused_clearly(self, log, project, indexed, numbered, reader):
        with refused("ParameterInvalid", 400, "sql"):
            reader(log).get_log(project, indexed, numbered, numbered + 10, query="* | select count(1) as n")

    def test_a_broken_query_is_refused(self, log, project, indexed, numbered, reader):
        for query in ("(level: warn", "level: warn and", 'level: "warn', "*arn"):
            with refused(("ParameterInvalid", "InvalidQueryString"), 400):
                reader(log).get_log(project, indexed, numbered, numbered + 10, query=query)

    def test_an_empty_or_backward_range_is_refused(self, log, project, indexed, numbered, reader):
        for end in (numbered, numbered - 10):
            with refused(("ParameterInvalid", "InvalidTimeRange"), 400):
                reader(log).get_log(project, indexed, numbered, end)

    def test_reading_needs_an_index_and_a_store(self, cloud, log, project, store, reader):
        with refused("IndexConfigNotExist", cloud.answer("sls.index.absent_status"), "without index"):
            reader(log).get_log(project, store, cloud.now() - 60, cloud.now())
        with refused("LogStoreNotExist", 404):
            reader(log).get_log(project, "no-such-store", cloud.now() - 60, cloud.now())


def test_a_page_holds_at_most_a_hundred_and_all_can_be_had(cloud, log, project, indexed):
    at = cloud.now() - 600
    put(log, project, indexed, [(at + n // 10, {"id": f"{n:03}"}) for n in range(250)])
    cloud.settle()
    assert log.get_log(project, indexed, at, at + 60, size=100).get_count() == 100
    everything = [i for page in log.get_log_all(project, indexed, at, at + 60) for i in ids(page)]
    assert sorted(everything) == [f"{n:03}" for n in range(250)]


def test_what_an_index_finds_of_earlier_logs_is_an_open_question(cloud, account, project, store):
    log, at = account.log(), cloud.now()
    put(log, project, store, [(at, {"id": "before"})])
    cloud.settle(60)
    log.create_index(project, store, index("id"))
    cloud.settle()
    put(log, project, store, [(at + 1, {"id": "after"})])
    cloud.settle()
    found = {"new_logs": ["after"], "all_logs": ["after", "before"]}[cloud.assumed["sls.index.reach"]]
    assert ids(log.get_log(project, store, at - 60, at + 600)) == found


def test_a_histogram_counts_what_a_search_finds(cloud, log, project, indexed, numbered):
    def histogram(query):
        return log.get_histograms(GetHistogramsRequest(project, indexed, numbered, numbered + 10, "", query))

    whole = histogram("")
    assert whole.is_completed() and whole.get_total_count() == 10
    buckets = whole.get_histograms()
    assert buckets[0].get_from() == numbered and buckets[-1].get_to() == numbered + 10
    assert [b.get_from() for b in buckets[1:]] == [b.get_to() for b in buckets[:-1]]
    assert sum(b.get_count() for b in buckets) == 10
    assert histogram("level: warn").get_total_count() == 5
    assert histogram("level: nothing").get_total_count() == 0


def test_a_histogram_needs_an_index(cloud, log, project, store):
    with refused("IndexConfigNotExist", cloud.answer("sls.index.absent_status")):
        log.get_histograms(GetHistogramsRequest(project, store, cloud.now() - 60, cloud.now(), "", "*"))


# --- Pulling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"compress": False}, {"accept_compress_type": "lz4"},
                                 {"accept_compress_type": "zstd"}], ids=["plain", "lz4", "zstd"])
def test_everything_written_can_be_pulled_once(cloud, log, project, store, how):
    at = cloud.now()
    for n in range(6):
        put(log, project, store, [(at, {"id": f"{n}a"}), (at, {"id": f"{n}b"})], topic=f"t{n}", source="203.0.113.5",
            tags=[("round", str(n))])
    cloud.settle()
    rows = []
    for shard in (0, 1):
        cursor = log.get_begin_cursor(project, store, shard).get_cursor()
        end = log.get_end_cursor(project, store, shard).get_cursor()
        while cursor != end:
            page = log.pull_logs(project, store, shard, cursor, count=2, **how)
            assert page.get_loggroup_count() <= 2
            assert page.get_next_cursor() != cursor
            cursor, rows = page.get_next_cursor(), rows + page.get_flatten_logs_json()
        last = log.pull_logs(project, store, shard, end, **how)
        assert (last.get_log_count(), last.get_next_cursor()) == (0, end)
    assert sorted(row["id"] for row in rows) == sorted(f"{n}{half}" for n in range(6) for half in "ab")
    for row in rows:
        assert row["__topic__"] == f"t{row['id'][0]}"
        assert (row["__source__"], row["__time__"]) == ("203.0.113.5", at)
        assert row["__tag__:round"] == row["id"][0]


def test_pulling_needs_no_index_and_starts_at_a_time(cloud, log, project, store):
    put(log, project, store, [(cloud.now(), {"id": "early"})], hashKey="0" * 32)
    cloud.jump(300)
    between = cloud.now()
    cloud.jump(300)
    put(log, project, store, [(cloud.now(), {"id": "late"})], hashKey="0" * 32)
    cloud.settle()
    pages = log.pull_log(project, store, 0, between, cloud.now() + 3600)
    assert [row["id"] for page in pages for row in page.get_flatten_logs_json()] == ["late"]
    cursor = log.get_cursor(project, store, 0, between).get_cursor()
    assert log.get_cursor_time(project, store, 0, cursor).get_cursor_time() >= between


def test_an_end_cursor_bounds_a_pull(cloud, log, project, store):
    for n in range(4):
        put(log, project, store, [(cloud.now(), {"id": str(n)})], hashKey="0" * 32)
    cloud.settle()
    start = log.get_begin_cursor(project, store, 0).get_cursor()
    two = log.pull_logs(project, store, 0, start, count=2).get_next_cursor()
    page = log.pull_logs(project, store, 0, start, count=100, end_cursor=two)
    assert [row["id"] for row in page.get_flatten_logs_json()] == ["0", "1"]


def test_bad_cursors_and_shards_are_refused(cloud, account, project, store):
    log = account.log()
    with refused(("InvalidCursor", "ParameterInvalid"), 400):
        log.pull_logs(project, store, 0, "not-a-cursor")
    with refused("ShardNotExist", (400, 404)):
        log.get_begin_cursor(project, store, 9)
    with refused("LogStoreNotExist", 404):
        log.get_begin_cursor(project, "no-such-store", 0)


# --- Search grammar -----------------------------------------------------------------------------------

ROWS = {
    "create": {"level": "info", "service": "Ram", "text": "CreateUser by alice from 203.0.113.7",
               "event": '{"serviceName":"Ram","eventName":"CreateUser","userIdentity":{"type":"ram-user","userName":"alice"}}'},
    "delete": {"level": "warn", "service": "Ram", "text": "DeleteUser by root",
               "event": '{"serviceName":"Ram","eventName":"DeleteUser","userIdentity":{"type":"root-account","userName":"root"},"errorCode":"NoPermission"}'},
    "assume": {"level": "info", "service": "Sts", "text": "AssumeRole by trainer/job-17",
               "event": '{"serviceName":"Sts","eventName":"AssumeRole","userIdentity":{"type":"assumed-role","userName":"trainer:job-17"}}'},
    "disk": {"level": "error", "service": "Ecs", "text": "quota of ACS::ECS::Disk is used up",
             "event": '{"serviceName":"Ecs","eventName":"CreateDisk","resourceType":"ACS::ECS::Disk"}'},
    "plain": {"level": "INFO", "text": "nothing of note, nothing at all"},
}

SEARCHES = [
    # everything
    ("", "create delete assume disk plain"),
    ("*", "create delete assume disk plain"),
    # words
    ("alice", "create"),
    ("ALICE", "create"),
    ("alice root", ""),
    ("nothing", "plain"),
    ("note all", "plain"),
    ("absent", ""),
    # key: value
    ("level: warn", "delete"),
    ("level:warn", "delete"),
    ("level : info", "create assume plain"),
    ("service: Ram", "create delete"),
    ("service: ram", "create delete"),
    ("service: Ra", ""),
    ('service: "Ram"', "create delete"),
    # presence
    ("service: *", "create delete assume disk"),
    ("not service: *", "plain"),
    # and, or, not in any case; parentheses
    ('"service": Ram', "create delete"),
    ('"event.eventName": CreateUser', "create"),
    ("event.eventName:CreateUser", "create"),
    ("event.userIdentity.userName: job-17", "assume"),
    ("event.errorCode: NoPermission*", "delete"),
    ("level: info and service: Ram", "create"),
    ("level: info AND service: Ram", "create"),
    ("level: info And service: Sts", "assume"),
    ("service: Ram or service: Sts", "create delete assume"),
    ("service: Ram OR service: Ecs", "create delete disk"),
    ("not service: Ram", "assume disk plain"),
    ("NOT service: Ram", "assume disk plain"),
    ("level: info not service: Ram", "assume plain"),
    ("level: info and not service: Ram", "assume plain"),
    ("service: Ecs or service: Ram and level: warn", "delete disk"),
    ("(service: Ecs or service: Ram) and level: warn", "delete"),
    ("not (service: Ram or service: Sts)", "disk plain"),
    ("((level: error))", "disk"),
    # wildcards
    ("ali*", "create"),
    ("al?ce", "create"),
    ("service: S*", "assume"),
    ("service: E?s", "disk"),
    # quotes
    ('"AssumeRole by"', "assume"),
    ('"and"', ""),
    ('level: "warn" or level: "error"', "delete disk"),
    ('text: "by root"', "delete"),
    ("text: by", "create delete assume"),
    ("not text: by and level: info", "plain"),
    ("alice or trainer", "create assume"),
    ("203.0.113.7", "create"),
    # JSON leaves
    ("event.serviceName: Ram", "create delete"),
    ("event.userIdentity.type: root-account", "delete"),
    ('event.userIdentity.type: "root-account"', "delete"),
    ('event.resourceType: "ACS::ECS::Disk"', "disk"),
    ("event.errorCode: *", "delete"),
    ("not event.errorCode: *", "create assume disk plain"),
    ("event.eventName: Create*", "create disk"),
    ("event.serviceName: Ram or event.serviceName: Sts", "create delete assume"),
    ("event.serviceName: Ram and not event.userIdentity.userName: alice", "delete"),
]


@pytest.fixture(scope="session")
def library(emulators):
    """By profile: one indexed store with the rows above, made once."""
    made = {}

    def get(cloud):
        if cloud.profile not in made:
            account = cloud.account()
            log, project = account.log(), cloud.name("library")
            log.create_project(project, "")
            cloud.settle()
            log.create_logstore(project, "rows")
            cloud.settle()
            log.create_index(project, "rows", index("id", "level", "service", "text"))
            cloud.settle()
            at = cloud.now()
            put(log, project, "rows", [(at, {"id": key, **fields}) for key, fields in ROWS.items()])
            cloud.settle()
            made[cloud.profile] = (account, project, at)
        return made[cloud.profile]

    return get


@pytest.mark.parametrize("query, found", SEARCHES, ids=[query or "nothing" for query, _ in SEARCHES])
def test_a_search_finds(cloud, library, query, found):
    account, project, at = library(cloud)
    answer = account.log().get_log(project, "rows", at - 60, at + 60, query=query)
    assert ids(answer) == sorted(found.split())
