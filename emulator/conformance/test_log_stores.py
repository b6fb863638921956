"""Log stores, shards and indexes through aliyun-log-python-sdk."""

import pytest
from aliyun.log import IndexConfig
from aliyun.log.index_config import IndexJsonKeyConfig, IndexKeyConfig, IndexLineConfig
from cloud import refused

SERVICE = "Log Service: aliyun-log-python-sdk"

TOKENS = [",", " ", "'", '"', ";", "=", "(", ")", "[", "]", "{", "}", "?", "@", "&", "<", ">", "/", ":", "\n", "\t"]
FULL = "f" * 32
HALF = "8" + "0" * 31


# --- Stores -------------------------------------------------------------------------------------------


def test_a_store_is_read_back_with_what_was_given(cloud, log, project):
    log.create_logstore(project, "ai-workload-log-store", ttl=30, shard_count=2, auto_split=True,
                        max_split_shard=64, append_meta=True, enable_tracking=False)
    cloud.settle()
    found = log.get_logstore(project, "ai-workload-log-store")
    assert found.logstore_name == "ai-workload-log-store"
    assert (found.get_ttl(), found.get_shard_count()) == (30, 2)
    assert (found.auto_split, found.max_split_shard) == (True, 64)
    assert (found.append_meta, found.get_enable_tracking()) == (True, False)
    assert found.mode == "standard"
    assert found.telemetry_type == ""
    assert found.preserve_storage is False
    assert abs(found.get_body()["createTime"] - cloud.now()) < 900


def test_a_store_may_keep_its_logs_for_ever(cloud, log, project):
    log.create_logstore(project, "for-ever", preserve_storage=True)
    cloud.settle()
    found = log.get_logstore(project, "for-ever")
    assert (found.get_ttl(), found.preserve_storage) == (3650, True)


def test_an_update_changes_what_it_names(cloud, log, project, store):
    log.update_logstore(project, store, ttl=90, enable_tracking=True)
    cloud.settle()
    found = log.get_logstore(project, store)
    assert (found.get_ttl(), found.get_enable_tracking()) == (90, True)
    assert (found.get_shard_count(), found.auto_split, found.max_split_shard) == (2, True, 64)
    log.update_logstore(project, store, append_meta=True, auto_split=False)
    cloud.settle()
    found = log.get_logstore(project, store)
    assert (found.get_ttl(), found.append_meta, found.auto_split) == (90, True, False)


def test_storage_classes_are_kept(cloud, log, project):
    log.create_logstore(project, "tiers", ttl=100, hot_ttl=10, infrequent_access_ttl=30)
    cloud.settle()
    found = log.get_logstore(project, "tiers")
    assert (found.get_ttl(), found.get_hot_ttl(), found.infrequent_access_ttl) == (100, 10, 30)


@pytest.mark.parametrize("settings, words", [
    ({"ttl": 0}, "ttl"),
    ({"ttl": -1}, "ttl"),
    ({"ttl": 3651}, "ttl value is out of range"),
    ({"max_split_shard": 0}, "maxSplitShard must be within range [1, 256]"),
    ({"max_split_shard": 257}, "maxSplitShard must be within range [1, 256]"),
    ({"ttl": 30, "hot_ttl": 6}, "hot"),
    ({"ttl": 30, "hot_ttl": 31}, "hot"),
    ({"ttl": 90, "hot_ttl": 10, "infrequent_access_ttl": 20}, "infrequentAccessTTL must large than 30"),
    ({"ttl": 80, "hot_ttl": 10, "infrequent_access_ttl": 30}, "archiveTTL must large than 60"),
], ids=lambda value: str(value).replace(" ", "") if isinstance(value, dict) else "")
def test_settings_out_of_range_are_refused_and_make_nothing(cloud, account, project, settings, words):
    log = account.log()
    with refused("LogStoreInfoInvalid", 400, words):
        log.create_logstore(project, "store", **settings)
    cloud.settle()
    assert log.list_logstore(project).get_total() == 0


@pytest.mark.parametrize("ttl", [0, 3651])
def test_an_update_out_of_range_is_refused_and_changes_nothing(cloud, account, project, store, ttl):
    log = account.log()
    with refused("LogStoreInfoInvalid", 400, "ttl"):
        log.update_logstore(project, store, ttl=ttl)
    assert log.get_logstore(project, store).get_ttl() == 30


@pytest.mark.parametrize("name", ["a", "Upper", "-front", "back-", "_front", "x" * 64, "dot.ted", "sp ace"])
def test_bad_store_names_are_refused(cloud, account, project, name):
    with refused("LogStoreInfoInvalid", 400, "logstore name"):
        account.log().create_logstore(project, name)


@pytest.mark.parametrize("name", ["ab", "x" * 63, "with_under-score", "0digit"])
def test_good_store_names_are_taken(cloud, account, project, name):
    log = account.log()
    log.create_logstore(project, name)
    cloud.settle()
    assert log.list_logstore(project).get_logstores() == [name]


def test_a_second_store_of_one_name_is_refused(cloud, log, project, store):
    with refused("LogStoreAlreadyExist", 400, store):
        log.create_logstore(project, store, ttl=7)
    assert log.get_logstore(project, store).get_ttl() == 30


@pytest.mark.parametrize("call", ["get_logstore", "delete_logstore", "update_logstore", "list_shards",
                                  "get_index_config", "delete_index"])
def test_a_missing_store_is_refused_everywhere(cloud, log, project, call):
    with refused("LogStoreNotExist", 404, "no-such-store"):
        getattr(log, call)(project, "no-such-store")


def test_a_store_needs_its_project(cloud, log):
    with refused("ProjectNotExist", 404):
        log.create_logstore(cloud.name("missing"), "store")


def test_a_deleted_store_is_gone_and_its_name_is_free(cloud, log, project, store):
    log.delete_logstore(project, store)
    cloud.settle()
    with refused("LogStoreNotExist", 404, store):
        log.get_logstore(project, store)
    assert log.list_logstore(project).get_logstores() == []
    log.create_logstore(project, store, ttl=7)
    cloud.settle()
    assert log.get_logstore(project, store).get_ttl() == 7


def test_stores_are_listed_by_name_in_pages(cloud, log, project):
    names = ["one-a", "one-b", "one-c", "two-a", "two-b"]
    for name in names:
        log.create_logstore(project, name)
    cloud.settle()
    pages = [log.list_logstore(project, offset=offset, size=2) for offset in (0, 2, 4)]
    assert [page.get_count() for page in pages] == [2, 2, 1]
    assert {page.get_total() for page in pages} == {5}
    assert sorted(name for page in pages for name in page.get_logstores()) == names
    some = log.list_logstore(project, logstore_name_pattern="two")
    assert (sorted(some.get_logstores()), some.get_total()) == (["two-a", "two-b"], 2)


def test_a_standard_store_cannot_become_lite(cloud, account, project, store):
    with refused("NotSupported", 400):
        account.log().update_logstore(project, store, mode="lite")
    assert account.log().get_logstore(project, store).mode == "standard"


def test_stores_take_no_more_than_the_project_has_room_for(launch):
    small = launch(quotas={"sls.logstores": 2})
    log, project = small.account().log(), small.name("small")
    log.create_project(project, "")
    small.settle()
    log.create_logstore(project, "one")
    log.create_logstore(project, "two")
    with refused("ProjectQuotaExceed", 400):
        log.create_logstore(project, "three")
    small.settle()
    assert sorted(log.list_logstore(project).get_logstores()) == ["one", "two"]
    log.delete_logstore(project, "one")
    log.create_logstore(project, "three")


# --- Shards -------------------------------------------------------------------------------------------


def test_a_new_store_has_equal_shards_over_the_whole_range(cloud, log, project, store):
    shards = log.list_shards(project, store).get_shards_info()
    assert [(s["shardID"], s["status"]) for s in shards] == [(0, "readwrite"), (1, "readwrite")]
    assert [s["inclusiveBeginKey"] for s in shards] == ["0" * 32, HALF]
    assert [s["exclusiveEndKey"] for s in shards] == [HALF, FULL]
    assert all(abs(s["createTime"] - cloud.now()) < 900 for s in shards)


def test_a_split_leaves_the_old_shard_readable(cloud, log, project, store):
    middle = "4" + "0" * 31
    answer = log.split_shard(project, store, 0, middle).get_shards_info()
    assert [(s["shardID"], s["status"]) for s in answer] == [
        (0, "readonly"), (2, "readwrite"), (3, "readwrite")]
    assert (answer[1]["exclusiveEndKey"], answer[2]["inclusiveBeginKey"]) == (middle, middle)
    cloud.settle()
    shards = {s["shardID"]: s["status"] for s in log.list_shards(project, store).get_shards_info()}
    assert shards == {0: "readonly", 1: "readwrite", 2: "readwrite", 3: "readwrite"}
    assert log.get_logstore(project, store).get_shard_count() == 3


def test_a_merge_joins_a_shard_with_its_neighbour(cloud, log, project, store):
    answer = log.merge_shard(project, store, 0).get_shards_info()
    assert sorted((s["shardID"], s["status"]) for s in answer) == [
        (0, "readonly"), (1, "readonly"), (2, "readwrite")]
    new = next(s for s in answer if s["shardID"] == 2)
    assert (new["inclusiveBeginKey"], new["exclusiveEndKey"]) == ("0" * 32, FULL)
    cloud.settle()
    assert log.get_logstore(project, store).get_shard_count() == 1


def test_the_last_shard_has_no_neighbour_to_merge_with(cloud, log, project, store):
    with refused("ParameterInvalid", 400, "can not merge the last shard"):
        log.merge_shard(project, store, 1)


@pytest.mark.parametrize("key", ["0" * 32, HALF, "f" * 32])
def test_a_split_key_must_lie_inside_its_shard(cloud, account, project, store, key):
    with refused("ParameterInvalid", 400, "invalid mid hash"):
        account.log().split_shard(project, store, 0, key)
    assert len(account.log().list_shards(project, store).get_shards_info()) == 2


def test_a_missing_shard_cannot_be_split_or_merged(cloud, account, project, store):
    with refused(("ParameterInvalid", "ShardNotExist"), (400, 404)):
        account.log().split_shard(project, store, 9, "4" + "0" * 31)
    with refused(("ParameterInvalid", "ShardNotExist"), (400, 404)):
        account.log().merge_shard(project, store, 9)


def test_shards_take_no_more_than_the_project_has_room_for(launch):
    small = launch(quotas={"sls.shards": 3})
    log, project = small.account().log(), small.name("small")
    log.create_project(project, "")
    small.settle()
    log.create_logstore(project, "one", shard_count=2)
    small.settle()
    with refused("ProjectQuotaExceed", 400):
        log.create_logstore(project, "two", shard_count=2)
    log.create_logstore(project, "three", shard_count=1)
    small.settle()
    assert sorted(log.list_logstore(project).get_logstores()) == ["one", "three"]


# --- Index --------------------------------------------------------------------------------------------


def event_index():
    leaves = IndexJsonKeyConfig(index_all=True, max_depth=3)
    leaves.add_key("serviceName", "text", doc_value=True)
    keys = {
        "level": IndexKeyConfig(TOKENS, case_sensitive=False, index_type="text", doc_value=True),
        "latency": IndexKeyConfig(index_type="long", doc_value=True),
        "event": IndexKeyConfig(TOKENS, index_type="json", doc_value=True, json_key_config=leaves),
    }
    return IndexConfig(line_config=IndexLineConfig(TOKENS, case_sensitive=False), key_config_list=keys)


def test_an_index_is_read_back_with_every_key(cloud, log, project, store):
    log.create_index(project, store, event_index())
    cloud.settle()
    found = log.get_index_config(project, store).get_index_config()
    assert found.line_config.token_list == TOKENS
    assert found.line_config.case_sensitive is False
    assert sorted(found.key_config_list) == ["event", "latency", "level"]
    assert {k: v.index_type for k, v in found.key_config_list.items()} == {
        "event": "json", "latency": "long", "level": "text"}
    assert all(key.doc_value for key in found.key_config_list.values())
    json_keys = found.key_config_list["event"].json_key_config
    assert json_keys.json_keys["serviceName"]["type"] == "text"
    assert (json_keys.index_all, json_keys.max_depth) == (True, 3)
    assert abs(found.modify_time - cloud.now()) < 900


def test_a_second_index_is_refused_and_leaves_the_first(cloud, log, project, store):
    log.create_index(project, store, event_index())
    with refused("IndexAlreadyExist", 400):
        log.create_index(project, store, IndexConfig(line_config=IndexLineConfig([" "])))
    cloud.settle()
    assert sorted(log.get_index_config(project, store).get_index_config().key_config_list) == [
        "event", "latency", "level"]


def test_an_index_update_replaces_the_whole(cloud, log, project, store):
    log.create_index(project, store, event_index())
    cloud.settle()
    only = {"latency": IndexKeyConfig(index_type="double", doc_value=False)}
    log.update_index(project, store, IndexConfig(key_config_list=only))
    cloud.settle()
    found = log.get_index_config(project, store).get_index_config()
    assert found.line_config is None
    assert {k: (v.index_type, v.doc_value) for k, v in found.key_config_list.items()} == {
        "latency": ("double", False)}


def test_a_deleted_index_is_gone(cloud, log, project, store):
    log.create_index(project, store, event_index())
    cloud.settle()
    log.delete_index(project, store)
    cloud.settle()
    with refused("IndexConfigNotExist", cloud.answer("sls.index.absent_status"), "index config doesn't exist"):
        log.get_index_config(project, store)


def test_an_absent_index_can_be_neither_updated_nor_deleted(cloud, log, project, store):
    with refused("ParameterInvalid", 400, "index is not created"):
        log.update_index(project, store, event_index())
    with refused("ParameterInvalid", 400, "index is not created"):
        log.delete_index(project, store)


def test_a_query_store_takes_no_columns(cloud, log, project):
    log.create_logstore(project, "cheap", mode="query")
    cloud.settle()
    assert log.get_logstore(project, "cheap").mode == "query"
    with refused(("ParameterInvalid", "IndexInfoInvalid", "NotSupported"), 400):
        log.create_index(project, "cheap", event_index())
    keys = {"level": IndexKeyConfig(TOKENS, doc_value=False)}
    log.create_index(project, "cheap", IndexConfig(line_config=IndexLineConfig(TOKENS), key_config_list=keys))


def test_an_index_without_line_and_keys_is_refused(cloud, log, project, store):
    with refused("IndexInfoInvalid", 400, "line/keys"):
        log.create_index(project, store, IndexConfig())


def test_an_index_key_needs_a_type_it_knows(cloud, account, project, store):
    log = account.log()
    with refused(("IndexInfoInvalid", "ParameterInvalid"), 400, "type"):
        log.create_index(project, store, IndexConfig(key_config_list={"a": IndexKeyConfig([" "], index_type="")}))
    with refused(("IndexInfoInvalid", "ParameterInvalid"), 400):
        log.create_index(project, store, IndexConfig(key_config_list={"a": IndexKeyConfig([" "], index_type="blob")}))


def test_the_index_goes_with_its_store(cloud, account, project, store):
    log = account.log()
    log.create_index(project, store, event_index())
    log.delete_logstore(project, store)
    cloud.settle()
    log.create_logstore(project, store)
    cloud.settle()
    with refused("IndexConfigNotExist", cloud.answer("sls.index.absent_status")):
        log.get_index_config(project, store)
