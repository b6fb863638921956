"""Logs and indexes as the cases use them, by means of aliyun-log-python-sdk."""

from aliyun.log import IndexConfig, LogItem, PutLogsRequest
from aliyun.log.index_config import IndexJsonKeyConfig, IndexKeyConfig, IndexLineConfig

#: Token characters of an index.
TOKENS = [",", " ", "'", '"', ";", "=", "(", ")", "[", "]", "{", "}", "?", "@", "&", "<", ">", "/", ":", "\n", "\t"]


def index(*keys):
    """An index on the line, on text keys, and on the JSON key ``event``."""
    text = {key: IndexKeyConfig(TOKENS, index_type="text", doc_value=True) for key in keys}
    event = IndexKeyConfig(TOKENS, index_type="json", doc_value=True, json_key_config=IndexJsonKeyConfig(
        index_all=True, max_depth=5))
    return IndexConfig(line_config=IndexLineConfig(TOKENS), key_config_list={**text, "event": event})


def put(log, project, store, rows, topic="", source="192.0.2.10", tags=None, **how):
    """Writes rows of ``(time, {field: value})``."""
    items = [LogItem(timestamp=time, contents=list(fields.items())) for time, fields in rows]
    return log.put_logs(PutLogsRequest(project, store, topic, source, items, logtags=tags, **how))


def ids(answer):
    """The field ``id`` of what a search found, sorted."""
    return sorted(row.get_contents()["id"] for row in answer.get_logs())


def pulled(log, project, store):
    """Every log of a store, shard by shard, as pulled."""
    rows = []
    for shard in log.list_shards(project, store).get_shards_info():
        number = shard["shardID"]
        cursor = log.get_begin_cursor(project, store, number).get_cursor()
        end = log.get_end_cursor(project, store, number).get_cursor()
        while cursor != end:
            page = log.pull_logs(project, store, number, cursor)
            cursor, rows = page.get_next_cursor(), rows + page.get_flatten_logs_json()
    return rows
