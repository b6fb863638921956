"""Log Service through alibabacloud-sls20201230, the SDK generated from the OpenAPI metadata."""

import re

import pytest
from alibabacloud_ram20150501 import models as ram_models
from alibabacloud_sls20201230 import models as m
from cloud import refused
from darabonba.runtime import RuntimeOptions
from identities import etl_role, user
from records import pulled

SERVICE = "Log Service: alibabacloud-sls20201230"

TOKENS = [",", " ", ";", "=", "(", ")", "[", "]", "{", "}", "?", "@", "&", "<", ">", "/", ":", "\n", "\t"]


def create_project(sls, name, description="made through OpenAPI", **more):
    sls.create_project(m.CreateProjectRequest(project_name=name, description=description, **more))


def get_project(sls, name):
    return sls.get_project(name, m.GetProjectRequest()).body


# --- Projects -----------------------------------------------------------------------------------------


def test_a_created_project_is_read_back(cloud, account, sls):
    name = cloud.name("open")
    create_project(sls, name)
    cloud.settle()
    found = get_project(sls, name)
    assert (found.project_name, found.description) == (name, "made through OpenAPI")
    assert (found.status, found.region, found.data_redundancy_type) == ("Normal", "cn-hangzhou", "LRS")
    assert found.owner in (account.uid, "")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", found.create_time)
    assert found.quota["shard"] == 400 and found.quota["logstore"] == 200


def test_a_project_is_updated_and_deleted(cloud, sls, project):
    sls.update_project(project, m.UpdateProjectRequest(description="changed", recycle_bin_enabled=True))
    cloud.settle()
    found = get_project(sls, project)
    assert (found.description, found.recycle_bin_enabled) == ("changed", True)
    sls.delete_project(project, m.DeleteProjectRequest())
    cloud.settle()
    with refused("ProjectNotExist", 404, project):
        get_project(sls, project)
    with refused("ProjectNotExist", 404, project):
        sls.delete_project(project, m.DeleteProjectRequest())


@pytest.mark.parametrize("name", ["ab", "Upper-case", "-front", "back-", "under_score", "x" * 64, "dot.dot", ""])
def test_bad_project_names_are_refused(cloud, account, name):
    with refused(("ParameterInvalid", "PostBodyInvalid"), 400):
        create_project(account.sls(), name)


def test_redundancy_is_chosen_once(cloud, account):
    name = cloud.name("zrs")
    create_project(account.sls(), name, data_redundancy_type="ZRS")
    cloud.settle()
    assert get_project(account.sls(), name).data_redundancy_type == "ZRS"
    with refused("ParameterInvalid", 400):
        create_project(account.sls(), cloud.name("bad"), data_redundancy_type="XRS")


def test_a_taken_name_and_a_foreign_project_are_refused(cloud, sls, project, stranger):
    with refused("ProjectAlreadyExist", 400, "already exist"):
        create_project(sls, project)
    with refused("ProjectAlreadyExist", 400, "already exist"):
        create_project(stranger.sls(), project)
    with refused("Unauthorized", 401, "does not belong to you"):
        get_project(stranger.sls(), project)


def test_projects_are_listed_in_pages(cloud, sls):
    names = sorted(cloud.name("page") for _ in range(3))
    for name in names:
        create_project(sls, name)
    cloud.settle()
    pages = [sls.list_project(m.ListProjectRequest(offset=o, size=2)).body for o in (0, 2)]
    assert [(p.count, p.total) for p in pages] == [(2, 3), (1, 3)]
    assert sorted(p.project_name for page in pages for p in page.projects) == names
    one = sls.list_project(m.ListProjectRequest(project_name=names[1], fetch_quota=True)).body
    assert [p.project_name for p in one.projects] == [names[1]]
    assert one.projects[0].quota["shard"] == 400
    with refused("ParameterInvalid", 400):
        sls.list_project(m.ListProjectRequest(size=501))


# --- Tags ---------------------------------------------------------------------------------------------


def tags(sls, project):
    body = sls.list_tag_resources(m.ListTagResourcesRequest(resource_type="project", resource_id=[project])).body
    assert all((t.resource_type.lower(), t.resource_id) == ("project", project) for t in body.tag_resources)
    return {t.tag_key: t.tag_value for t in body.tag_resources}


def tag(sls, project, kind="project", **values):
    sls.tag_resources(m.TagResourcesRequest(resource_type=kind, resource_id=[project], tags=[
        m.TagResourcesRequestTags(key=k, value=v) for k, v in values.items()]))


def test_tags_are_set_and_removed_on_the_bare_endpoint(cloud, sls, project):
    tag(sls, project, owner="team-a", purpose="audit", phase="one")
    cloud.settle()
    assert tags(sls, project) == {"owner": "team-a", "purpose": "audit", "phase": "one"}
    sls.untag_resources(m.UntagResourcesRequest(resource_type="project", resource_id=[project], tags=["phase"]))
    cloud.settle()
    assert tags(sls, project) == {"owner": "team-a", "purpose": "audit"}
    sls.untag_resources(m.UntagResourcesRequest(resource_type="project", resource_id=[project], tags=[]))
    cloud.settle()
    assert tags(sls, project) == {"owner": "team-a", "purpose": "audit"}
    sls.untag_resources(m.UntagResourcesRequest(resource_type="project", resource_id=[project], all=True))
    cloud.settle()
    assert tags(sls, project) == {}


def test_a_tag_call_names_a_resource_that_exists(cloud, sls):
    with refused("ProjectNotExist", 404):
        tag(sls, cloud.name("missing"), owner="x")
    with refused("ParameterInvalid", 400, "not supported"):
        tag(sls, cloud.name("missing"), kind="planet", owner="x")


def test_resources_are_found_by_tag(cloud, sls, project):
    mark = cloud.name("mark")
    tag(sls, project, kind="PROJECT", ours=mark)
    cloud.settle()
    body = sls.list_tag_resources(m.ListTagResourcesRequest(
        resource_type="project", tags=[m.ListTagResourcesRequestTags(key="ours", value=mark)])).body
    assert [t.resource_id for t in body.tag_resources] == [project]
    with refused("ParameterInvalid", 400):
        sls.list_tag_resources(m.ListTagResourcesRequest(resource_type="project"))


def test_a_log_store_is_tagged_or_says_that_it_cannot_be(launch):
    for behaviour in ("supported", "unsupported"):
        own = launch(assume={"sls.tag.logstore": behaviour})
        account, project = own.account(), own.name("tagged")
        sls = account.sls()
        create_project(sls, project)
        own.settle()
        create_store(sls, project)
        own.settle()
        if behaviour == "supported":
            tag(sls, f"{project}#store", kind="logstore", owner="x")
            own.settle()
            body = sls.list_tag_resources(m.ListTagResourcesRequest(
                resource_type="logstore", resource_id=[f"{project}#store"])).body
            assert [(t.tag_key, t.tag_value) for t in body.tag_resources] == [("owner", "x")]
        else:
            with refused("ParameterInvalid", 400, "not supported"):
                tag(sls, f"{project}#store", kind="logstore", owner="x")


# --- Stores, shards, index ----------------------------------------------------------------------------


def create_store(sls, project, name="store", **more):
    more = {"ttl": 30, "shard_count": 2, **more}
    sls.create_log_store(project, m.CreateLogStoreRequest(logstore_name=name, **more))


def test_a_store_lives_and_dies(cloud, sls, project):
    create_store(sls, project, auto_split=True, max_split_shard=16, hot_ttl=7)
    cloud.settle()
    found = sls.get_log_store(project, "store").body
    assert (found.logstore_name, found.ttl, found.shard_count) == ("store", 30, 2)
    assert (found.auto_split, found.max_split_shard, found.hot_ttl) == (True, 16, 7)
    assert (found.mode, found.enable_tracking, found.append_meta) == ("standard", False, False)
    sls.update_log_store(project, "store", m.UpdateLogStoreRequest(
        logstore_name="store", ttl=60, auto_split=True, max_split_shard=16, hot_ttl=7, append_meta=True))
    cloud.settle()
    found = sls.get_log_store(project, "store").body
    assert (found.ttl, found.append_meta, found.hot_ttl, found.shard_count) == (60, True, 7, 2)
    sls.delete_log_store(project, "store")
    cloud.settle()
    with refused("LogStoreNotExist", 404, "store"):
        sls.get_log_store(project, "store")


def test_what_an_update_leaves_out_is_kept_or_reset(launch):
    """Documents do not say which; the emulator can do both."""
    for behaviour, kept in (("keep", True), ("reset", False)):
        own = launch(assume={"sls.logstore.put_omitted": behaviour})
        account, project = own.account(), own.name("omit")
        sls = account.sls()
        create_project(sls, project)
        own.settle()
        create_store(sls, project, append_meta=True, infrequent_access_ttl=30, ttl=100, hot_ttl=10)
        own.settle()
        sls.update_log_store(project, "store", m.UpdateLogStoreRequest(logstore_name="store", ttl=100, hot_ttl=10))
        own.settle()
        found = sls.get_log_store(project, "store").body
        assert found.append_meta is kept
        assert found.infrequent_access_ttl == 30, "this one is documented to stay"


def test_another_shard_count_in_an_update_changes_nothing_or_is_refused(launch):
    for behaviour in ("ignored", "refused"):
        own = launch(assume={"sls.logstore.put_shard_count": behaviour})
        account, project = own.account(), own.name("shards")
        sls = account.sls()
        create_project(sls, project)
        own.settle()
        create_store(sls, project)
        own.settle()
        request = m.UpdateLogStoreRequest(logstore_name="store", ttl=30, shard_count=3)
        if behaviour == "refused":
            with refused("ParameterInvalid", 400, "shard"):
                sls.update_log_store(project, "store", request)
        else:
            sls.update_log_store(project, "store", request)
        own.settle()
        assert sls.get_log_store(project, "store").body.shard_count == 2
        assert len(sls.list_shards(project, "store").body) == 2


@pytest.mark.parametrize("settings, words", [
    ({"ttl": 3651}, "ttl"), ({"max_split_shard": 257, "auto_split": True}, "maxSplitShard"),
    ({"hot_ttl": 3}, "hot"), ({"logstore_name": "-bad"}, "name"), ({"shard_count": 0}, "shard")])
def test_bad_stores_are_refused(account, project, settings, words):
    request = m.CreateLogStoreRequest(**{"logstore_name": "store", "ttl": 30, "shard_count": 2, **settings})
    with refused(("LogStoreInfoInvalid", "ParameterInvalid"), 400, words):
        account.sls().create_log_store(project, request)


def test_stores_are_listed_by_name_and_mode(cloud, sls, project):
    for name in ("one-a", "one-b", "two-a"):
        create_store(sls, project, name)
    create_store(sls, project, "asked", mode="query")
    cloud.settle()

    def listed(**more):
        body = sls.list_log_stores(project, m.ListLogStoresRequest(**more)).body
        assert body.count == len(body.logstores)
        return sorted(body.logstores), body.total

    assert listed() == (["asked", "one-a", "one-b", "two-a"], 4)
    assert listed(logstore_name="one") == (["one-a", "one-b"], 2)
    assert listed(mode="query") == (["asked"], 1)
    assert listed(mode="unknown") == ([], 0)
    first, total = listed(offset=0, size=2)
    second, _ = listed(offset=2, size=2)
    assert (sorted(first + second), total) == (["asked", "one-a", "one-b", "two-a"], 4)


def test_shards_are_listed_split_and_merged(cloud, sls, project):
    create_store(sls, project, shard_count=1)
    cloud.settle()
    (only,) = sls.list_shards(project, "store").body
    assert (only.shard_id, only.status, only.inclusive_begin_key, only.exclusive_end_key) == (
        0, "readwrite", "0" * 32, "f" * 32)
    parts = sls.split_shard(project, "store", 0, m.SplitShardRequest(key="8" + "0" * 31)).body
    assert [(p.shard_id, p.status) for p in parts] == [(0, "readonly"), (1, "readwrite"), (2, "readwrite")]
    cloud.settle()
    merged = sls.merge_shard(project, "store", 1).body
    assert sorted((p.shard_id, p.status) for p in merged) == [(1, "readonly"), (2, "readonly"), (3, "readwrite")]


def index(*keys):
    return m.Index(
        line=m.IndexLine(token=TOKENS, case_sensitive=False, chn=False),
        keys={k: m.IndexKey(type="text", token=TOKENS, case_sensitive=False, chn=False, doc_value=True) for k in keys},
        max_text_len=4096)


def test_an_index_lives_and_dies(cloud, sls, project, store):
    sls.create_index(project, store, m.CreateIndexRequest(body=index("id", "level")))
    cloud.settle()
    found = sls.get_index(project, store).body
    assert found.line.token == TOKENS and found.line.case_sensitive is False
    assert sorted(found.keys) == ["id", "level"] and found.keys["level"].doc_value is True
    assert (found.max_text_len, found.storage) == (4096, "pg")
    assert abs(found.last_modify_time - cloud.now()) < 900
    with refused("IndexAlreadyExist", 400):
        sls.create_index(project, store, m.CreateIndexRequest(body=index("other")))
    sls.update_index(project, store, m.UpdateIndexRequest(body=index("other")))
    cloud.settle()
    assert sorted(sls.get_index(project, store).body.keys) == ["other"]
    sls.delete_index(project, store)
    cloud.settle()
    with refused("IndexConfigNotExist", cloud.answer("sls.index.absent_status")):
        sls.get_index(project, store)
    with refused("ParameterInvalid", 400, "index is not created"):
        sls.update_index(project, store, m.UpdateIndexRequest(body=index("id")))


# --- Logs ---------------------------------------------------------------------------------------------


def put(sls, project, store, rows, compression=None, topic="demo"):
    group = m.LogGroup(topic=topic, source="203.0.113.4", log_tags=[m.LogTag(key="round", value="1")], log_items=[
        m.LogItem(time=time, contents=[m.LogContent(key=k, value=v) for k, v in fields.items()])
        for time, fields in rows])
    sls.put_logs_with_options(project, store, m.PutLogsRequest(body=group),
                              m.PutLogsHeaders(x_log_compresstype=compression), RuntimeOptions())


@pytest.mark.parametrize("compression", ["lz4", "zstd", "deflate"])
def test_logs_come_back_in_any_encoding(cloud, sls, project, store, compression):
    sls.create_index(project, store, m.CreateIndexRequest(body=index("id", "level")))
    cloud.settle()
    at = cloud.now()
    put(sls, project, store, [(at + n, {"id": str(n), "level": "warn" if n % 2 else "info"}) for n in range(6)],
        compression)
    cloud.settle()
    for wanted in ("lz4", "zstd", "gzip"):
        body = sls.get_logs_v2with_options(
            project, store, m.GetLogsV2Request(from_=at - 60, to=at + 60, query="level: warn", line=100, offset=0),
            m.GetLogsV2Headers(accept_encoding=wanted), RuntimeOptions()).body
        assert (body.meta.progress, body.meta.count, body.meta.has_sql) == ("Complete", 3, False)
        assert sorted(row["id"] for row in body.data) == ["1", "3", "5"]
        row = next(r for r in body.data if r["id"] == "1")
        assert (row["__time__"], row["__topic__"], row["__source__"]) == (str(at + 1), "demo", "203.0.113.4")
        assert row["__tag__:round"] == "1"


def test_both_reading_calls_agree(cloud, sls, project, store):
    sls.create_index(project, store, m.CreateIndexRequest(body=index("id")))
    cloud.settle()
    at = cloud.now()
    put(sls, project, store, [(at + n, {"id": str(n)}) for n in range(5)])
    cloud.settle()
    newer = sls.get_logs_v2(project, store, m.GetLogsV2Request(
        from_=at, to=at + 10, line=3, offset=1, reverse=True)).body
    older = sls.get_logs(project, store, m.GetLogsRequest(from_=at, to=at + 10, line=3, offset=1, reverse=True))
    assert [row["id"] for row in newer.data] == ["3", "2", "1"]
    assert [row["id"] for row in older.body.data] == ["3", "2", "1"]
    with refused("ParameterInvalid", 400, "sql"):
        sls.get_logs_v2(project, store, m.GetLogsV2Request(from_=at, to=at + 10, query="* | select 1"))


def test_a_page_holds_at_most_a_hundred(cloud, account, project, store):
    sls = account.sls()
    sls.create_index(project, store, m.CreateIndexRequest(body=index("id")))
    cloud.settle()
    at = cloud.now()
    put(sls, project, store, [(at, {"id": str(n)}) for n in range(120)])
    cloud.settle()
    body = sls.get_logs_v2(project, store, m.GetLogsV2Request(from_=at - 60, to=at + 60, line=500)).body
    assert len(body.data) == body.meta.count == 100
    for broken in ({"line": -1}, {"offset": -1}, {"from_": -5}):
        request = m.GetLogsV2Request(**{"from_": at - 60, "to": at + 60, **broken})
        with refused(("ParameterInvalid", "InvalidLine", "InvalidOffset", "InvalidTimeRange"), 400):
            sls.get_logs_v2(project, store, request)


def test_a_histogram_counts(cloud, sls, project, store):
    sls.create_index(project, store, m.CreateIndexRequest(body=index("id")))
    cloud.settle()
    at = cloud.now()
    put(sls, project, store, [(at + n, {"id": str(n)}) for n in range(5)])
    cloud.settle()
    body = sls.get_histograms(project, store, m.GetHistogramsRequest(from_=at, to=at + 10, query="*")).body
    assert sum(bucket.count for bucket in body) == 5
    assert {bucket.progress for bucket in body} == {"Complete"}
    assert (body[0].from_, body[-1].to) == (at, at + 10)


def test_cursors_tell_their_time(cloud, sls, project, store):
    put(sls, project, store, [(cloud.now(), {"id": "1"})])
    cloud.settle()
    begin = sls.get_cursor(project, store, "0", m.GetCursorRequest(from_="begin")).body.cursor
    at = sls.get_cursor_time(project, store, "0", m.GetCursorTimeRequest(cursor=begin)).body.cursor_time
    assert abs(at - cloud.now()) < 900
    with refused("ShardNotExist", (400, 404)):
        sls.get_cursor(project, store, "9", m.GetCursorRequest(from_="begin"))


# --- Jobs, saved searches, dashboards ------------------------------------------------------------------


def etl(account, project, script="* | where level = 'warn'"):
    arn = f"acs:ram::{account.uid}:role/etl"
    return m.ETLConfiguration(
        logstore="store", role_arn=arn, script=script, lang="SPL", from_time=0, to_time=0, parameters={},
        sinks=[m.ETLConfigurationSink(name="out", project=project, logstore="sink", role_arn=arn,
                                      endpoint="cn-hangzhou-intranet.log.aliyuncs.com", datasets=["__UNNAMED__"])])


@pytest.fixture
def job(cloud, account, sls, project, store):
    """A copying job between two stores."""
    etl_role(account)
    create_store(sls, project, "sink")
    cloud.settle()
    sls.create_etl(project, m.CreateETLRequest(
        name="copy", display_name="Copy", description="first", configuration=etl(account, project)))
    cloud.settle()
    return "copy"


def status(sls, project):
    return sls.get_etl(project, "copy").body.status


def test_a_job_is_read_back_changed_and_listed(cloud, account, sls, project, job):
    found = sls.get_etl(project, job).body
    assert (found.name, found.display_name, found.description) == ("copy", "Copy", "first")
    assert (found.configuration.logstore, found.configuration.lang) == ("store", "SPL")
    assert found.configuration.sinks[0].logstore == "sink"
    assert found.status in ("STARTING", "RUNNING", "STOPPED")
    sls.update_etl(project, job, m.UpdateETLRequest(
        display_name="Copy", description="second", configuration=etl(account, project, "*")))
    cloud.settle()
    found = sls.get_etl(project, job).body
    assert (found.description, found.configuration.script) == ("second", "*")
    listed = sls.list_etls(project, m.ListETLsRequest(offset=0, size=10, logstore="store")).body
    assert (listed.count, listed.total, [j.name for j in listed.results]) == (1, 1, ["copy"])
    assert sls.list_etls(project, m.ListETLsRequest(logstore="sink")).body.total == 0


def test_a_job_is_stopped_started_and_copies(cloud, account, sls, project, store, job):
    if status(sls, project) == "STOPPED":
        sls.start_etl(project, job)
    cloud.eventually(lambda: status(sls, project) == "RUNNING")
    sls.stop_etl(project, job)
    cloud.eventually(lambda: status(sls, project) == "STOPPED")
    sls.start_etl(project, job)
    cloud.eventually(lambda: status(sls, project) == "RUNNING")
    put(sls, project, store, [(cloud.now(), {"id": "1", "level": "warn"}), (cloud.now(), {"id": "2", "level": "info"})])
    rows = cloud.eventually(lambda: pulled(account.log(), project, "sink"))
    assert {row["id"] for row in rows} == {"1"}


def test_the_log_sdk_sees_the_same_jobs(cloud, account, sls, project, job):
    log = account.log()
    assert [j["name"] for j in log.list_etls(project).get_etls()] == ["copy"]
    log.delete_etl(project, "copy")
    cloud.settle()
    for call in (sls.get_etl, sls.start_etl, sls.stop_etl, sls.delete_etl):
        with refused("JobNotExist", 404):
            call(project, "copy")


def test_saved_searches_and_dashboards(cloud, sls, project):
    sls.create_saved_search(project, m.CreateSavedSearchRequest(
        savedsearch_name="warnings", display_name="Warnings", logstore="store", search_query="level: warn", topic=""))
    sls.create_dashboard(project, m.CreateDashboardRequest(body=m.Dashboard(
        dashboard_name="board", display_name="Board", description="d", attribute={"type": "grid"}, charts=[])))
    cloud.settle()
    assert sls.get_saved_search(project, "warnings").body.search_query == "level: warn"
    listed = sls.list_saved_search(project, m.ListSavedSearchRequest()).body
    assert (listed.total, [s.savedsearch_name for s in listed.savedsearch_items]) == (1, ["warnings"])
    assert sls.get_dashboard(project, "board").body.display_name == "Board"
    boards = sls.list_dashboard(project, m.ListDashboardRequest()).body
    assert [b.dashboard_name for b in boards.dashboard_items] == ["board"]
    sls.delete_saved_search(project, "warnings")
    sls.delete_dashboard(project, "board")
    cloud.settle()
    with refused("SavedSearchNotExist", 404):
        sls.get_saved_search(project, "warnings")
    with refused("DashboardNotExist", 404):
        sls.get_dashboard(project, "board")


def test_a_user_made_through_ram_is_denied(account, project):
    alice = user(account, "alice")
    account.ram().get_user(ram_models.GetUserRequest(user_name="alice"))
    for auth in ("v1", "v4"):
        with refused("Unauthorized", 401, "denied by sts or ram"):
            get_project(alice.sls(auth=auth), project)
