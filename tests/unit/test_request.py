"""What a conf may hold is told once, and everything else is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_backup.engine.base.errors import InvalidParams, MissingParams
from pgvector_backup.engine.contract.request_keys import BACKUP_KEYS, PIN_KEYS, PRUNE_KEYS, RESTORE_KEYS, VERIFY_KEYS
from pgvector_backup.engine.contract.requests import BackupRequest, RestoreRequest, VerifyRequest
from pgvector_backup.engine.store.naming import LATEST, TASK_ID_PATTERN, check_task_id

NAMES = [key.name for key in BACKUP_KEYS]


def test_an_empty_conf_is_a_backup_without_truncate() -> None:
    request = BackupRequest.from_mapping({})
    assert request == BackupRequest()
    assert (request.task_id, request.db_connection, request.truncate_vector_tables) == (None, None, False)
    assert request.backup_wanted


def test_a_truncate_switches_the_backup_on() -> None:
    assert BackupRequest.from_mapping({"backup_vector_tables": False, "truncate_vector_tables": True}).backup_wanted
    assert not BackupRequest.from_mapping({"backup_vector_tables": False}).backup_wanted


@pytest.mark.parametrize("name", ["tabel", "TASK_ID", "task_id ", "", "__class__", "backup_wanted", "self"])
def test_an_unknown_key_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidParams, match=re.escape(repr(name))) as caught:
        BackupRequest.from_mapping({name: None})
    assert caught.value.report()["error_type"] == "INVALID_PARAMS"
    assert caught.value.can_retry is False


def test_a_near_miss_is_guessed() -> None:
    with pytest.raises(InvalidParams, match="did you mean 'task_id'"):
        BackupRequest.from_mapping({"taskid": "x"})


def test_a_key_that_is_no_string_is_unknown_too() -> None:
    with pytest.raises(InvalidParams, match="unknown key 1"):
        BackupRequest.from_mapping({1: "x"})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_id", True),
        ("task_id", 1),
        ("task_id", ["a"]),
        ("task_id", {"a": 1}),
        ("db_connection", False),
        ("db_connection", 5432),
        ("truncate_vector_tables", 1),
        ("truncate_vector_tables", 0),
        ("truncate_vector_tables", "true"),
        ("truncate_vector_tables", None),
        ("backup_vector_tables", 1.0),
        ("backup_vector_tables", None),
        ("backup_vector_tables", []),
    ],
)
def test_a_value_of_another_type_is_refused_and_named(name: str, value: object) -> None:
    with pytest.raises(InvalidParams, match=f"^{name}: expected .*, got {type(value).__name__}$"):
        BackupRequest.from_mapping({name: value})


@pytest.mark.parametrize("task_id", ["a", "A_9", "_", "0" * 255])
def test_a_plain_task_id_is_accepted(task_id: str) -> None:
    assert BackupRequest.from_mapping({"task_id": task_id}).task_id == task_id


@given(st.text())
def test_a_task_id_is_letters_digits_and_underscores_or_is_refused(text: str) -> None:
    plain = text != "" and all(char.isascii() and (char.isalnum() or char == "_") for char in text)
    try:
        check_task_id(text)
    except InvalidParams:
        assert not plain or len(text) > 255
    else:
        assert plain
        assert re.search(TASK_ID_PATTERN, text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(), _JSON, max_size=5))
def test_whatever_the_conf_it_is_taken_as_it_is_or_refused(conf: dict[str, Any]) -> None:
    try:
        request = BackupRequest.from_mapping(conf)
    except InvalidParams:
        pass
    else:
        assert {name: getattr(request, name) for name in conf} == conf


@pytest.mark.parametrize(
    "key", [*BACKUP_KEYS, *RESTORE_KEYS, *VERIFY_KEYS, *PRUNE_KEYS, *PIN_KEYS], ids=lambda key: key.name
)
def test_every_key_carries_what_a_form_needs(key: Any) -> None:
    assert key.title
    assert key.description
    assert key.schema["type"] == list(key.types)
    key.check(key.default)


def test_a_restore_has_to_say_which_set() -> None:
    with pytest.raises(MissingParams) as caught:
        RestoreRequest.from_mapping({"tables": ["t"]})
    assert caught.value.report()["error_type"] == "MISSING_REQUIRED_PARAMS"
    assert caught.value.report()["missing_params"] == ["backup_path", "timestamp"]
    with pytest.raises(MissingParams, match="timestamp"):
        RestoreRequest.from_mapping({"task_id": "a", "timestamp": None})
    assert RestoreRequest.from_mapping({"task_id": "a", "timestamp": "latest"}).timestamp == LATEST


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"task_id": "b"}, "backup_path, task_id"),
        ({"timestamp": "../x"}, "timestamp"),
        ({"timestamp": "2025\n"}, "timestamp"),
        ({"tables": []}, "tables"),
        ({"tables": "t"}, "tables"),
        ({"tables": [1]}, "tables"),
        ({"collections": [""]}, "collections"),
        ({"rename_collection": ["a"]}, "rename_collection"),
        ({"rename_collection": {"a": 1}}, "rename_collection"),
        ({"rename_collection": {"a": "x", "b": "x"}}, "rename_collection"),
        ({"rename_collection": {"a": "x"}, "collections": ["b"]}, "rename_collection"),
        ({"on_conflict": "replace"}, "on_conflict"),
        ({"on_conflict": "skip", "truncate_before_restore": True}, "on_conflict"),
        ({"create_missing": "yes"}, "create_missing"),
        ({"table": ["t"]}, "did you mean 'tables'"),
    ],
)
def test_a_restore_that_makes_no_sense_is_refused_and_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidParams, match=named):
        RestoreRequest.from_mapping({"backup_path": "vector_bak", "timestamp": "latest", **changes})


def test_lists_of_a_restore_count_each_name_once() -> None:
    request = RestoreRequest.from_mapping({"backup_path": "vector_bak", "timestamp": "1", "tables": ["b", "a", "b"]})
    assert request.tables == ("b", "a")


def test_an_empty_verify_is_of_every_place() -> None:
    assert VerifyRequest.from_mapping({}) == VerifyRequest()
    with pytest.raises(InvalidParams, match="say where"):
        VerifyRequest.from_mapping({"timestamp": "20250101_000000"})


@given(st.dictionaries(st.sampled_from([key.name for key in RESTORE_KEYS]) | st.text(), _JSON, max_size=5))
def test_whatever_the_conf_of_a_restore_or_verify_it_is_taken_or_refused(conf: dict[str, Any]) -> None:
    for request in (RestoreRequest, VerifyRequest):
        try:
            request.from_mapping(conf)
        except (InvalidParams, MissingParams) as fault:
            assert fault.message
