"""Text that somebody else may have chosen, made fit to be shown: one line of it stays one line, and speaks to nobody.

Names of tables and columns, ids of runs, and what a server says may hold line ends, which would forge a line or a
section of a log; escape sequences, which a terminal obeys; and marks that turn the direction of writing around, so that
what is read is not what is there. They are written as JSON writes them, which also keeps JSON what it is.
"""

from __future__ import annotations

import logging
import re
from typing import Final

_ODD: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: str) -> str:
    """The text on one line, without anything that is obeyed and not read."""
    return text if text.isascii() and text.isprintable() else _ODD.sub(_written, text)


def plain_lines(text: str) -> str:
    """The same of a text of several lines."""
    return "\n".join(map(plain, text.split("\n")))


def _written(match: re.Match[str]) -> str:
    char = match[0]
    if char in _SHORT:
        return _SHORT[char]
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


class PlainRecords(logging.Handler):
    """Makes what this package logs plain, before any handler of whoever runs it gets to see it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Make one record plain, its traceback too."""
        record.msg, record.args = plain(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = plain_lines(logging.Formatter().formatException(record.exc_info))


def make_records_plain() -> None:
    """Do so for every logger of the package: a record passes its logger's parents on its way to the root."""
    logger = logging.getLogger("pgvector_backup")
    if not any(isinstance(handler, PlainRecords) for handler in logger.handlers):
        logger.addHandler(PlainRecords())
