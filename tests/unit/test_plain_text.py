"""Names and errors that were chosen to forge a line of a log, or to speak to a terminal."""

from __future__ import annotations

import io
import json
import logging

import pytest

from pgvector_backup.cli import terminal
from pgvector_backup.engine.base.errors import DatabaseFault
from pgvector_backup.engine.base.plain_text import plain, plain_lines
from pgvector_backup.engine.contract.run_log import section, section_of

ODD = {
    "a line": "t\n\n==== 2026-01-01T00:00:00+00:00  OK  20260101_000000",
    "a return": "t\rOK",
    "a vertical tab": "t\vOK",
    "colours": "\x1b[31mred\x1b[0m",
    "a title": "\x1b]0;title\x07",
    "a bell": "\a",
    "eight bits": "\x9b31m",
    "delete": "\x7f",
    "backspaces": "good\b\b\b\bevil",
    "right to left": "abc\u202ecba",
    "an isolate": "a\u2066b\u2069",
    "a mark": "a\u200fb",
    "a separator": "a\u2028b\u2029c",
    "next line": "a\x85b",
    "half a pair": "a\ud800b",
    "tags": "a\U000e0041b",
    "nothing": "a\0b",
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_odd_is_written_and_not_obeyed(what: str) -> None:
    shown = plain(ODD[what])
    assert all(char.isprintable() for char in shown)
    assert shown.splitlines() == [shown]
    assert not set(shown) & set("\u202e\u2066\u2069\u200f\u061c")
    shown.encode()
    if what != "half a pair":
        assert json.loads(f'"{shown}"') == ODD[what]


@pytest.mark.parametrize("text", ["langchain_pg_embedding", "公开.文档", "a b'\"c", "café", "👩\u200d👩", "ペ\u200cル"])
def test_what_is_read_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize("what", ODD)
def test_a_section_of_the_log_cannot_be_forged(what: str) -> None:
    text = section("2026-11-26T00:00:00+00:00", "OK", "20261126_000000", [("run", ODD[what]), ("errors", ODD[what])])
    assert text.count("====") == 1 + 2 * ODD[what].count("====")
    assert [line for line in text.split("\n") if line.startswith("====")] == [text.split("\n")[0]]
    assert section_of(io.BytesIO(text.encode()), "20260101_000000") is None
    assert section_of(io.BytesIO(text.encode()), "20261126_000000") is not None


@pytest.mark.parametrize("what", ODD)
def test_errors_are_one_line(what: str) -> None:
    fault = DatabaseFault(f"table {ODD[what]} is not there")
    assert fault.message == str(fault) == fault.report()["response"] == f"table {plain(ODD[what])} is not there"


@pytest.mark.parametrize("what", ODD)
def test_what_is_logged_is_plain(what: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    try:
        logger = logging.getLogger("pgvector_backup.engine.restore")
        logger.warning("%s: restored", ODD[what])
        try:
            raise ValueError(ODD[what])
        except ValueError:
            logger.exception("failed")
    finally:
        logging.getLogger().removeHandler(handler)
    first, *rest = stream.getvalue().split("\n")
    assert first == f"{plain(ODD[what])}: restored"
    assert all(char.isprintable() for line in rest for char in line)


@pytest.mark.parametrize("what", ODD)
def test_the_command_line_says_it_plainly(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(f"table {ODD[what]}")
    terminal.say_table(["name"], [[ODD[what]]])
    terminal.say_lines(json.dumps({"name": ODD[what]}, ensure_ascii=False, indent=2))
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 7
    assert all(char.isprintable() for line in lines for char in line)


def test_lines_that_are_our_own_stay() -> None:
    assert plain_lines("a\nb\x1b") == "a\nb\\u001b"
