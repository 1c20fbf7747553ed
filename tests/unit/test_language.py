"""Every sentence in both languages, from one table, and the one that is asked for in an answer."""

from __future__ import annotations

import json
import pickle
import re

import pytest

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import DatabaseFault, InvalidParams, MissingParams
from pgvector_backup.engine.base.messages import Sentence, all_beside, all_heard, beside, english, heard
from pgvector_backup.web.attention import _TEXTS
from pgvector_backup.web.language import _BY_STATUS, spoken

SENTENCES = {name: value for name, value in vars(messages).items() if isinstance(value, Sentence)}
HAN = re.compile("[\u4e00-\u9fff]")


@pytest.mark.parametrize("name", SENTENCES)
def test_every_sentence_is_there_in_both_languages_with_the_same_parameters(name: str) -> None:
    sentence = SENTENCES[name]
    assert HAN.search(sentence)
    assert sentence.english
    assert sentence.english.isascii()
    assert re.findall(r"\{\w+\}", sentence) == re.findall(r"\{\w+\}", sentence.english)


@pytest.mark.parametrize("code", [*_TEXTS, *_BY_STATUS])
def test_so_is_every_warning_and_every_status(code: str | int) -> None:
    chinese, in_english = _BY_STATUS[code] if isinstance(code, int) else _TEXTS[code]
    assert HAN.search(chinese)
    assert in_english.isascii()
    assert sorted(re.findall(r"\{\w+\}", chinese)) == sorted(re.findall(r"\{\w+\}", in_english))


def test_an_error_is_told_in_chinese_with_its_english_beside_it() -> None:
    fault = DatabaseFault(messages.CONNECTION_FAILED.followed_by("refused"))
    report = {**fault.report(), **beside("response", fault.message)}
    assert report["response"] == "数据库连接失败,请检查连接配置: refused"
    assert report["response_en"] == "the database cannot be reached, check the connection: refused"
    assert spoken(report, "en")["response"] == report["response_en"]
    assert spoken(report, "zh")["response"] == report["response"]
    for language in ("en", "zh"):
        assert "response_en" not in spoken(report, language)  # type: ignore[arg-type]


@pytest.mark.parametrize("message", ["jobs: not a number", messages.BAD_TASK_ID])
def test_an_error_as_such_is_what_its_readers_know(message: str) -> None:
    report = InvalidParams(message).report()
    assert set(report) == {"response", "error_type", "can_retry", "timestamp"}
    assert report["response"] == message
    assert beside("response", "jobs: not a number") == {"response": "jobs: not a number"}


def test_logs_and_the_command_line_speak_english() -> None:
    assert MissingParams(["timestamp"]).english == "required parameters are missing: timestamp"
    assert InvalidParams("plain").english == "plain"


def test_a_sentence_survives_json_and_pickle() -> None:
    sentence = messages.TASK_DIRECTORY_MISSING.format(task_id="t")
    told = json.loads(json.dumps(beside("response", sentence)))
    assert (heard(told), english(heard(told))) == (sentence, "the task's directory does not exist: t")
    again = pickle.loads(pickle.dumps(sentence))
    assert english(again) == sentence.english


def test_a_list_of_texts_has_its_english_beside_it_only_where_one_differs() -> None:
    assert all_beside("errors", ["a"]) == {"errors": ["a"]}
    told = all_beside("errors", ["a", messages.BACKUP_FAILED])
    assert told["errors_en"] == ["a", "The backup of the vector tables failed"]
    assert [english(one) for one in all_heard(told, "errors")] == told["errors_en"]
    assert spoken(told, "en") == {"errors": told["errors_en"]}
    assert spoken(told, "zh") == {"errors": told["errors"]}


def test_a_result_of_an_earlier_release_is_told_in_english_as_well() -> None:
    assert spoken({"response": "Vector表备份完成"}, "en") == {"response": "Vector tables backed up"}
    assert spoken({"response": "Vector表备份完成"}, "zh") == {"response": "Vector表备份完成"}


def test_data_stays_as_it_is() -> None:
    data = {"tables": {"error": {"rows": 1}, "error_en": {"rows": 2}}, "names": ["Vector表备份完成"], "note_en": "x"}
    assert spoken(data, "en") == data
    assert spoken(data, "zh") == data
