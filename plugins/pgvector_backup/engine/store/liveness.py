"""Who holds a lease, and whether that process is known to be dead before its lease runs out."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

_START_FIELD: Final = 19
"""Of ``/proc/PID/stat`` behind the command's name: when the process began, in clock ticks."""


def signature(token: str, beat: int) -> bytes:
    """What a lease's object says, so that an operator knows whose it is, and another run whether it can be alive.

    :param token: this lease's own
    :param beat: how often it was renewed; no two contents of a lease are the same
    """
    return json.dumps(
        {"token": token, "beat": beat, "written": time.time(), "host": socket.gethostname(), **_process()}
    ).encode()


def is_known_dead(content: bytes) -> bool:
    """Whether a lease's holder was a process of this very system that has ended since; False: nobody here can say."""
    try:
        holder = json.loads(content)
        pid, system = holder["pid"], holder["system"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    if type(pid) is not int or system is None or system != _system():
        return False
    return bool(_started(pid) != holder.get("started"))


def written(content: bytes) -> float | None:
    """When a lease was renewed by its holder's own clock; None where it does not say."""
    try:
        when = json.loads(content)["written"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return float(when) if isinstance(when, (int, float)) and math.isfinite(when) else None


def _process() -> dict[str, Any]:
    return {"pid": os.getpid(), "started": _started(os.getpid()), "system": _system()}


@lru_cache(maxsize=1)
def _system() -> str | None:
    """One name for all processes that see one another here: a boot of the machine, and in it a space of process ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """When a process began; None where there is none of that id, or only one that nobody has buried yet."""
    try:
        _, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        state, *rest = fields.split()
        return None if state == "Z" else rest[_START_FIELD - 1]
    except (OSError, IndexError, ValueError):
        return None
