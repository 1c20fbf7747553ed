"""The known sentences in both languages, wherever in an answer they stand."""

from __future__ import annotations

import pytest

from pgvector_backup.engine.base import messages
from pgvector_backup.web.language import spoken

SENTENCES = {name: value for name, value in vars(messages).items() if name.isupper()}


@pytest.mark.parametrize("name", SENTENCES)
def test_every_sentence_has_an_english_one(name: str) -> None:
    sentence = SENTENCES[name].replace("{task_id}", "task_1")
    english = spoken({"response": f"{sentence}: more", "error": sentence, "errors": [sentence]}, "en")
    assert english["response"].isascii()
    assert english["response"].endswith(": more")
    assert [english["error"]] == english["errors"]
    assert ("task_1" in english["error"]) is ("{task_id}" in SENTENCES[name])
    assert spoken({"response": sentence}, "zh") == {"response": sentence}


def test_data_stays_as_it_is() -> None:
    data = {"tables": {"Vector表备份完成": {"rows": 1}}, "names": ["Vector表备份完成"], "response": "文档 1"}
    assert spoken(data, "en") == data
