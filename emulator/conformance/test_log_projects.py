"""Projects and tags through aliyun-log-python-sdk."""

import concurrent.futures
import re

import pytest
from aliyun.log import LogException
from cloud import refused

SERVICE = "Log Service: aliyun-log-python-sdk"


def tags_of(log, project, **wanted):
    return {k: v for page in log.get_project_tags(project, **wanted) for k, v in page.get_tags().items()}


# --- Life ---------------------------------------------------------------------------------------------


def test_a_created_project_is_read_back_with_what_was_given(cloud, log):
    name = cloud.name("audit")
    log.create_project(name, "Project to store AI workload audit trails")
    cloud.settle()
    found = log.get_project(name)
    assert found.get_projectname() == name
    assert found.get_description() == "Project to store AI workload audit trails"
    assert found.get_status() == "Normal"
    assert found.get_region() == "cn-hangzhou"
    assert found.get_data_redundancy_type() == "LRS"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", found.get_create_time())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", found.get_last_modify_time())


def test_every_answer_carries_its_own_request_id(cloud, log, project):
    first, second = log.get_project(project), log.get_project(project)
    assert re.fullmatch(r"[0-9A-F]{24}", first.get_request_id())
    assert re.fullmatch(r"[0-9A-F]{24}", second.get_request_id())
    assert first.get_request_id() != second.get_request_id()


def test_updating_the_description_leaves_the_rest_alone(cloud, log, project):
    before = log.get_project(project)
    log.update_project(project, "another purpose")
    cloud.settle()
    after = log.get_project(project)
    assert after.get_description() == "another purpose"
    assert after.get_create_time() == before.get_create_time()
    assert after.get_last_modify_time() >= before.get_last_modify_time()
    assert after.get_data_redundancy_type() == before.get_data_redundancy_type()


@pytest.mark.parametrize("text", ["", "x" * 512, "审计" * 75, 'quotes " and \\ slashes'])
def test_a_description_may_be_empty_long_or_foreign(cloud, account, text):
    log, name = account.log(), cloud.name("words")
    log.create_project(name, text)
    cloud.settle()
    assert log.get_project(name).get_description() == text


def test_an_overlong_description_is_refused_on_create_and_on_update(cloud, account, project):
    log = account.log()
    with refused("ParameterInvalid", 400, "Invalid project description"):
        log.create_project(cloud.name("long"), "x" * 600)
    with refused("ParameterInvalid", 400, "Invalid project description"):
        log.update_project(project, "x" * 600)
    assert log.get_project(project).get_description() == "made for a conformance case"


def test_a_deleted_project_is_gone_with_its_stores(cloud, log, project, store):
    log.delete_project(project)
    cloud.settle()
    with refused("ProjectNotExist", 404, project):
        log.get_project(project)
    with refused("ProjectNotExist", 404):
        log.get_logstore(project, store)


# --- Refusals -----------------------------------------------------------------------------------------


def test_a_name_that_is_taken_is_refused_to_its_owner_and_to_others(cloud, log, project, stranger):
    with refused("ProjectAlreadyExist", 400, "already exist"):
        log.create_project(project, "again")
    with refused("ProjectAlreadyExist", 400, "already exist"):
        stranger.log().create_project(project, "mine now")
    assert log.get_project(project).get_description() == "made for a conformance case"


def test_the_reserved_name_is_refused(cloud, account):
    with refused("ProjectAlreadyExist", 400, "logtail"):
        account.log().create_project("logtail", "")


@pytest.mark.parametrize("call", ["get_project", "delete_project", "list_logstore"])
def test_a_missing_project_is_named_in_the_refusal(cloud, log, call):
    name = cloud.name("missing")
    with refused("ProjectNotExist", 404, name):
        getattr(log, call)(name)


def test_updating_a_missing_project_is_refused(cloud, log):
    with refused("ProjectNotExist", 404):
        log.update_project(cloud.name("missing"), "x")


def test_a_project_of_another_region_does_not_exist_here(cloud, account, project):
    with refused("ProjectNotExist", 404, project):
        account.log(region="cn-shanghai").get_project(project)


@pytest.mark.parametrize("call", ["get_project", "delete_project", "list_logstore"])
def test_a_foreign_project_is_forbidden_not_missing(cloud, log, project, stranger, call):
    with refused("Unauthorized", 401, "does not belong to you"):
        getattr(stranger.log(), call)(project)
    assert log.get_project(project).get_projectname() == project


def test_a_foreign_project_can_be_neither_changed_nor_tagged(cloud, log, project, stranger):
    other = stranger.log()
    with refused("Unauthorized", 401):
        other.update_project(project, "taken over")
    with refused("Unauthorized", 401):
        other.tag_project(project, owner="me")
    with refused("Unauthorized", 401):
        other.create_logstore(project, "store")
    assert log.get_project(project).get_description() == "made for a conformance case"
    assert tags_of(log, project) == {}


# --- Lists --------------------------------------------------------------------------------------------


def test_projects_are_listed_in_pages_with_count_and_total(cloud, log):
    names = sorted(cloud.name("page") for _ in range(5))
    for name in names:
        log.create_project(name, "page by page")
    cloud.settle()
    pages = [log.list_project(offset=offset, size=2) for offset in (0, 2, 4)]
    assert [page.get_count() for page in pages] == [2, 2, 1]
    assert [page.get_total() for page in pages] == [5, 5, 5]
    assert sorted(p["projectName"] for page in pages for p in page.get_projects()) == names
    beyond = log.list_project(offset=5, size=2)
    assert (beyond.get_count(), beyond.get_projects(), beyond.get_total()) == (0, [], 5)


def test_a_list_can_be_narrowed_by_part_of_name_or_description(cloud, log):
    first, second = cloud.name("alpha"), cloud.name("beta")
    log.create_project(first, "holds the ledger")
    log.create_project(second, "holds nothing")
    cloud.settle()
    by_name = log.list_project(project_name_pattern=first[1:-1])
    assert [p["projectName"] for p in by_name.get_projects()] == [first]
    by_text = log.list_project(description="ledger")
    assert [p["projectName"] for p in by_text.get_projects()] == [first]
    assert by_text.get_projects()[0]["description"] == "holds the ledger"
    assert log.list_project(project_name_pattern="no-such-part").get_total() == 0


def test_a_list_shows_one_region_and_one_account(cloud, account, project, stranger):
    elsewhere = cloud.name("elsewhere")
    account.log(region="cn-shanghai").create_project(elsewhere, "")
    cloud.settle()
    listed = {r: [p["projectName"] for p in account.log(region=r).list_project().get_projects()]
              for r in ("cn-hangzhou", "cn-shanghai")}
    assert listed == {"cn-hangzhou": [project], "cn-shanghai": [elsewhere]}
    assert stranger.log().list_project().get_total() == 0
    assert account.log(region="cn-shanghai").get_project(elsewhere).get_region() == "cn-shanghai"


# --- Tags ---------------------------------------------------------------------------------------------


def test_tags_are_set_overwritten_and_removed(cloud, log, project):
    log.tag_project(project, owner="team-a", purpose="audit")
    cloud.settle()
    assert tags_of(log, project) == {"owner": "team-a", "purpose": "audit"}
    log.tag_project(project, owner="team-b")
    cloud.settle()
    assert tags_of(log, project) == {"owner": "team-b", "purpose": "audit"}
    log.untag_project(project, "purpose", "never-there")
    cloud.settle()
    assert tags_of(log, project) == {"owner": "team-b"}


def test_a_tag_filter_wants_key_and_value(cloud, log, project):
    log.tag_project(project, owner="team-a", purpose="audit")
    cloud.settle()
    assert tags_of(log, project, owner="team-a") != {}
    assert tags_of(log, project, owner="team-b") == {}


def test_tagged_projects_are_found_by_their_tag(cloud, log, project):
    mark = cloud.name("mark")
    log.tag_resources("project", project, ours=mark)
    cloud.settle()
    found = [tag for page in log.list_tag_resources("project", "", ours=mark) for tag in page.get_tags()]
    assert {(tag.get_tag_key(), tag.get_tag_value()) for tag in found} == {("ours", mark)}
    assert [tag.resourc_id for tag in found] == [project]


def test_the_resource_type_of_a_tag_ignores_case(cloud, log, project):
    log.tag_resources("PROJECT", project, owner="team-a")
    cloud.settle()
    assert tags_of(log, project) == {"owner": "team-a"}


def test_an_unknown_resource_type_is_refused(cloud, log, project):
    with refused("ParameterInvalid", 400, "resource type is not supported"):
        log.tag_resources("planet", project, owner="team-a")


def test_a_call_takes_one_to_twenty_tags(cloud, log, project):
    twenty = {f"key{number:02}": "x" for number in range(20)}
    log.tag_project(project, **twenty)
    cloud.settle()
    assert tags_of(log, project) == twenty
    with refused("PostBodyInvalid", 400, "20"):
        log.tag_project(project, **twenty, one_more="x")
    with refused("PostBodyInvalid", 400, "20"):
        log.tag_project(project)
    with refused("PostBodyInvalid", 400, "exceed"):
        log.untag_project(project, *[f"key{number:02}" for number in range(21)])
    assert tags_of(log, project) == twenty


def test_a_project_holds_at_most_twenty_tags(cloud, account, project):
    log = account.log()
    log.tag_project(project, **{f"key{number:02}": "x" for number in range(15)})
    cloud.settle()
    log.tag_project(project, **{f"key{number:02}": "y" for number in range(20)})
    cloud.settle()
    with refused(("PostBodyInvalid", "ParameterInvalid", "ExceedQuota", "ProjectQuotaExceed"), (400, 403)):
        log.tag_project(project, another="x")
    assert len(tags_of(log, project)) == 20 and set(tags_of(log, project).values()) == {"y"}


def test_a_name_wanted_by_many_at_once_goes_to_one(cloud):
    accounts, name = [cloud.account() for _ in range(6)], cloud.name("race")

    def take(account):
        try:
            account.log().create_project(name, account.uid)
        except LogException as error:
            return error.get_error_code()
        return "taken"

    with concurrent.futures.ThreadPoolExecutor(len(accounts)) as pool:
        outcomes = list(pool.map(take, accounts))
    assert sorted(outcomes) == ["ProjectAlreadyExist"] * 5 + ["taken"]
    cloud.settle()
    winner = accounts[outcomes.index("taken")]
    assert winner.log().get_project(name).get_description() == winner.uid


def test_a_missing_project_cannot_be_tagged(cloud, log):
    name = cloud.name("missing")
    with refused("ProjectNotExist", 404):
        log.tag_project(name, owner="team-a")
    with refused("ProjectNotExist", 404):
        log.untag_project(name, "owner")


@pytest.mark.parametrize("key, value", [("aliyun.owner", "x"), ("acs:owner", "x"), ("k" * 129, "x"),
                                        ("site", "http://example.com"), ("long", "v" * 129)])
def test_reserved_or_overlong_tags_are_refused(cloud, account, project, key, value):
    log = account.log()
    with refused(("ParameterInvalid", "PostBodyInvalid"), 400):
        log.tag_project(project, **{key: value})
    assert tags_of(log, project) == {}


def test_tags_go_with_their_project(cloud, account, project):
    log, mark = account.log(), cloud.name("mark")
    log.tag_project(project, ours=mark)
    cloud.settle()
    log.delete_project(project)
    cloud.settle()
    assert [t for page in log.list_tag_resources("project", "", ours=mark) for t in page.get_tags()] == []
