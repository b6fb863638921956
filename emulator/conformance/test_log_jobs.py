"""Data transformation jobs, saved searches and dashboards through aliyun-log-python-sdk."""

import copy

import pytest
from cloud import refused
from identities import etl_role
from records import pulled, put

SERVICE = "Log Service: jobs, searches, dashboards (aliyun-log-python-sdk)"

RESIDENT = {"type": "Resident"}


def configuration(account, project, script="* | where level = 'warn'", source="store", sink="sink"):
    role = f"acs:ram::{account.uid}:role/etl"
    return {
        "version": 2,
        "logstore": source,
        "script": script,
        "lang": "SPL",
        "roleArn": role,
        "parameters": {},
        "fromTime": 0,
        "toTime": 0,
        "sinks": [{
            "name": "out", "project": project, "logstore": sink, "roleArn": role, "type": "AliyunLOG",
            "endpoint": "cn-hangzhou-intranet.log.aliyuncs.com", "datasets": ["__UNNAMED__"],
        }],
    }


@pytest.fixture
def settings(account, project, store, cloud):
    etl_role(account)
    account.log().create_logstore(project, "sink")
    cloud.settle()
    return configuration(account, project)


def test_a_job_is_read_back_with_what_was_given(cloud, log, project, settings):
    log.create_etl(project, "ramtrail-copy", settings, RESIDENT, "Copy RAM events", "owner: ramtrail")
    cloud.settle()
    found = log.get_etl(project, "ramtrail-copy").get_etl()
    assert (found["name"], found["displayName"]) == ("ramtrail-copy", "Copy RAM events")
    assert found["description"] == "owner: ramtrail"
    assert found["configuration"]["script"] == settings["script"]
    assert found["configuration"]["logstore"] == "store"
    assert found["configuration"]["roleArn"] == settings["roleArn"]
    (sink,) = found["configuration"]["sinks"]
    assert (sink["project"], sink["logstore"], sink["datasets"]) == (project, "sink", ["__UNNAMED__"])
    assert found["status"] in ("STARTING", "RUNNING", "STOPPED")
    assert abs(found["createTime"] - cloud.now()) < 900


def reaches(cloud, log, project, name, status):
    return cloud.eventually(lambda: log.get_etl(project, name).get_etl()["status"] == status)


def test_a_job_is_stopped_and_started(cloud, log, project, settings):
    log.create_etl(project, "job", settings, RESIDENT, "job")
    cloud.settle()
    if log.get_etl(project, "job").get_etl()["status"] == "STOPPED":
        log.start_etl(project, "job")
    assert reaches(cloud, log, project, "job", "RUNNING")
    log.stop_etl(project, "job")
    assert reaches(cloud, log, project, "job", "STOPPED")
    log.start_etl(project, "job")
    assert reaches(cloud, log, project, "job", "RUNNING")


def test_a_job_is_changed(cloud, log, project, settings):
    log.create_etl(project, "job", settings, RESIDENT, "job", "first")
    cloud.settle()
    wider = copy.deepcopy(settings)
    wider["script"] = "* | where level = 'warn' or level = 'error'"
    log.update_etl(project, "job", wider, RESIDENT, "job", "second")
    cloud.settle()
    found = log.get_etl(project, "job").get_etl()
    assert (found["description"], found["configuration"]["script"]) == ("second", wider["script"])


def test_jobs_are_listed_in_pages(cloud, log, project, settings):
    for name in ("one", "two", "three"):
        log.create_etl(project, name, settings, RESIDENT, name)
    cloud.settle()
    pages = [log.list_etls(project, offset=offset, size=2) for offset in (0, 2)]
    assert [page.get_count() for page in pages] == [2, 1]
    assert {page.get_total() for page in pages} == {3}
    assert sorted(job["name"] for page in pages for job in page.get_etls()) == ["one", "three", "two"]


def test_a_deleted_job_is_gone(cloud, log, project, settings):
    log.create_etl(project, "job", settings, RESIDENT, "job")
    cloud.settle()
    log.delete_etl(project, "job")
    cloud.settle()
    with refused("JobNotExist", 404):
        log.get_etl(project, "job")
    assert log.list_etls(project).get_total() == 0


@pytest.mark.parametrize("call", ["get_etl", "start_etl", "stop_etl", "delete_etl"])
def test_a_missing_job_is_refused(cloud, log, project, call):
    with refused("JobNotExist", 404):
        getattr(log, call)(project, "no-such-job")


def test_a_second_job_of_one_name_is_refused(cloud, account, project, settings):
    log = account.log()
    log.create_etl(project, "job", settings, RESIDENT, "job", "first")
    cloud.settle()
    with refused(cloud.answer("sls.job.duplicate_code"), 400, "already exist"):
        log.create_etl(project, "job", settings, RESIDENT, "job", "second")
    assert log.get_etl(project, "job").get_etl()["description"] == "first"


@pytest.mark.parametrize("name", ["a", "Upper", "x" * 65, "with space"])
def test_bad_job_names_are_refused(cloud, account, project, settings, name):
    with refused("ParameterInvalid", 400):
        account.log().create_etl(project, name, settings, RESIDENT, "job")


def test_a_job_needs_script_source_and_sink(cloud, account, project, settings):
    for field in ("script", "logstore", "sinks"):
        broken = {k: v for k, v in settings.items() if k != field}
        with refused(("ParameterInvalid", "PostBodyInvalid"), 400):
            account.log().create_etl(project, f"no-{field}", broken, RESIDENT, "job")
    assert account.log().list_etls(project).get_total() == 0


def test_a_script_that_cannot_be_read_is_refused(cloud, account, project, settings):
    broken = {**settings, "script": "* | where level = "}
    with refused("ParameterInvalid", 400):
        account.log().create_etl(project, "broken", broken, RESIDENT, "job")


# --- Copying ------------------------------------------------------------------------------------------


EVENTS = [
    {"id": "1", "level": "warn", "event": '{"serviceName":"Ram","n":{"deep":"x"}}'},
    {"id": "2", "level": "info", "event": '{"serviceName":"Sts"}'},
    {"id": "3", "level": "WARN", "event": '{"serviceName":"ims"}'},
    {"id": "4", "level": "error", "event": '{"serviceName":"Ecs"}'},
]

SCRIPTS = [
    ("*", "1 2 3 4"),
    ("* | where level = 'warn'", "1"),
    ("* | where level != 'warn'", "2 3 4"),
    ("* | where lower(level) = 'warn'", "1 3"),
    ("* | where level in ('warn', 'error')", "1 4"),
    ("* | where level like 'w%'", "1"),
    ("* | where not (level = 'warn' or level = 'info')", "3 4"),
    ("* | where level = 'warn' and json_extract_scalar(event, '$.serviceName') = 'Ram'", "1"),
    ("* | where lower(json_extract_scalar(event, '$.serviceName')) in ('ram', 'ims')", "1 3"),
    ("* | where json_extract_scalar(event, '$.n.deep') = 'x'", "1"),
    ("* | where Level = 'warn'", ""),
    ("* | extend service = json_extract_scalar(event, '$.serviceName') | where service = 'Sts'", "2"),
]


@pytest.mark.parametrize("script, copied", SCRIPTS, ids=[script for script, _ in SCRIPTS])
def test_a_running_job_copies_what_its_script_keeps(cloud, account, project, settings, script, copied):
    log, now = account.log(), cloud.now()
    put(log, project, "store", [(now, fields) for fields in EVENTS], topic="t", source="203.0.113.9")
    cloud.settle()
    log.create_etl(project, "job", {**settings, "script": script}, RESIDENT, "job")
    cloud.settle()
    if log.get_etl(project, "job").get_etl()["status"] == "STOPPED":
        log.start_etl(project, "job")
    wanted = copied.split()

    def sink():
        return pulled(log, project, "sink")

    reaches(cloud, log, project, "job", "RUNNING")
    if wanted:
        cloud.eventually(lambda: {row["id"] for row in sink()} >= set(wanted))
    cloud.jump(600)
    rows = sink()
    assert sorted({row["id"] for row in rows}) == wanted
    originals = {fields["id"]: fields for fields in EVENTS}
    for row in rows:
        assert row["event"] == originals[row["id"]]["event"]
        assert row["level"] == originals[row["id"]]["level"]
        if "extend" in script:
            assert row["service"] == "Sts"


def test_a_stopped_job_copies_nothing_until_it_is_started(cloud, account, project, settings):
    log = account.log()
    log.create_etl(project, "job", {**settings, "script": "*"}, RESIDENT, "job")
    cloud.settle()
    if log.get_etl(project, "job").get_etl()["status"] != "STOPPED":
        reaches(cloud, log, project, "job", "RUNNING")
        log.stop_etl(project, "job")
        reaches(cloud, log, project, "job", "STOPPED")
    put(log, project, "store", [(cloud.now(), {"id": "late"})])
    cloud.jump(600)

    def copied():
        return [row["id"] for row in pulled(log, project, "sink")]

    assert copied() == []
    log.start_etl(project, "job")
    assert set(cloud.eventually(copied)) == {"late"}


# --- Saved searches and dashboards --------------------------------------------------------------------


def search(name, query="level: warn"):
    return {"savedsearchName": name, "displayName": "Warnings", "logstore": "store", "searchQuery": query, "topic": ""}


def test_saved_searches_live_and_die(cloud, log, project, store):
    log.create_savedsearch(project, search("warnings"))
    cloud.settle()
    found = log.get_savedsearch(project, "warnings").get_body()
    assert (found["searchQuery"], found["displayName"], found["logstore"]) == ("level: warn", "Warnings", "store")
    log.update_savedsearch(project, search("warnings", "level: error"))
    cloud.settle()
    assert log.get_savedsearch(project, "warnings").get_body()["searchQuery"] == "level: error"
    listed = log.list_savedsearch(project)
    assert (listed.get_entities(), listed.get_total()) == (["warnings"], 1)
    log.delete_savedsearch(project, "warnings")
    cloud.settle()
    with refused("SavedSearchNotExist", 404, "does not exist"):
        log.get_savedsearch(project, "warnings")


def test_saved_search_names_have_three_to_sixty_three_characters(cloud, account, project):
    for name in ("ab", "x" * 64):
        with refused("ParameterInvalid", 400):
            account.log().create_savedsearch(project, search(name))


def test_saved_searches_have_their_number(launch):
    small = launch(quotas={"sls.savedsearches": 1, "sls.dashboards": 1})
    log, project = small.account().log(), small.name("small")
    log.create_project(project, "")
    small.settle()
    log.create_savedsearch(project, search("first"))
    with refused("ExceedQuota", 400, "quota"):
        log.create_savedsearch(project, search("second"))
    log.create_dashboard(project, dashboard("first"))
    with refused("ExceedQuota", 400):
        log.create_dashboard(project, dashboard("second"))


def dashboard(name, **more):
    chart = {"title": "per hour", "type": "linepro", "action": {},
             "search": {"logstore": "store", "topic": "", "query": "* | select 1", "start": "-3600s", "end": "now"},
             "display": {"xAxis": ["t"], "yAxis": ["n"], "xPos": 0, "yPos": 0, "width": 10, "height": 8,
                         "displayName": "per hour", "unknownKey": {"kept": [1, 2.5, None, True]}}}
    return {"dashboardName": name, "displayName": "RAM access", "description": "", "attribute": {"type": "grid"},
            "charts": [chart], **more}


def test_dashboards_keep_their_charts_as_they_were_given(cloud, log, project):
    log.create_dashboard(project, dashboard("ram-access"))
    cloud.settle()
    found = log.get_dashboard(project, "ram-access").get_body()
    wanted = dashboard("ram-access")
    assert (found["displayName"], found["charts"]) == (wanted["displayName"], wanted["charts"])
    log.update_dashboard(project, dashboard("ram-access", displayName="Renamed", charts=[]))
    cloud.settle()
    found = log.get_dashboard(project, "ram-access").get_body()
    assert (found["displayName"], found["charts"]) == ("Renamed", [])
    listed = log.list_dashboard(project)
    assert (listed.get_entities(), listed.get_total()) == (["ram-access"], 1)
    log.delete_dashboard(project, "ram-access")
    cloud.settle()
    with refused("DashboardNotExist", 404, "does not exist"):
        log.get_dashboard(project, "ram-access")


def test_bad_dashboards_are_refused(cloud, account, project):
    log = account.log()
    log.create_dashboard(project, dashboard("there"))
    with refused("ParameterInvalid", 400, "already exists"):
        log.create_dashboard(project, dashboard("there"))
    with refused("InvalidDashboardName", 400):
        log.create_dashboard(project, dashboard("x"))
    twice = dashboard("twice")["charts"] * 2
    with refused("PostBodyInvalid", 400, "Duplicate chart title"):
        log.create_dashboard(project, dashboard("twice", charts=twice))
