"""The sections of a location's log file: how each kind of run writes its own, and how one is found again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import BinaryIO, Final

from pgvector_backup.engine.base.plain_text import plain

_LOG_TAIL: Final = 16 << 20
"""How much of a log file is searched for a section, from its end."""


def section(timestamp: str, state: str, subject: str | None, entries: Iterable[tuple[str, object]]) -> str:
    """A run's section, readable at three in the morning.

    :param timestamp: ISO 8601
    :param state: what was done, and how it ended; of a backup only the latter
    :param subject: the set; None: there is none
    :param entries: a word and what is to be said of it, a line each
    """
    lines = [f"==== {timestamp}  {state}  {subject or '(no set)'}"]
    lines += [f"{word + ':':<10} {text}" for word, text in entries]
    lines = [plain(line) for line in lines]
    return "\n".join(lines) + "\n\n"


def section_of(log: BinaryIO, backup_id: str) -> str | None:
    """The section of the run that made a set; None when the log does not hold it any more.

    :param log: the log file, open for reading
    """
    log.seek(max(log.seek(0, os.SEEK_END) - _LOG_TAIL, 0))
    for section in log.read().decode(errors="replace").split("\n\n"):
        first = section.lstrip().partition("\n")[0]
        # Of a verify or a restore of that set it says one word more.
        if first.startswith("==== ") and first.split()[3:] == [backup_id]:
            return section.strip()
    return None
