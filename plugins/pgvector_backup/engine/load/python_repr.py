"""The repr of a Python value made JSON again, as code once wrote it into CSV in place of JSON."""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any, Final

_LONGEST: Final = 64 << 20
_DEEPEST: Final = 100
_TOKEN: Final = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[\[{(]|[\]})]""",
    re.DOTALL,
)


class NotJson(ValueError):
    """A text that is the repr of nothing that came out of JSON.

    :param column: where, counted from 1 in characters; None where it cannot be told
    """

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


def to_json(text: str) -> str:
    """The JSON that a value was read from, given its `repr`: ``None`` is null, ``True`` true, quotes are turned.

    :raises NotJson: for anything else than dicts with texts as keys, lists, texts, finite numbers, booleans, None
    """
    if len(text) > _LONGEST:
        raise NotJson(f"{len(text):,} characters are too many")
    depth = 0
    for match in _TOKEN.finditer(text):
        if match[0] in "[{(":
            depth += 1
            if depth > _DEEPEST:
                raise NotJson(f"more than {_DEEPEST} levels deep", match.start() + 1)
        elif match[0] in "]})":
            depth -= 1
    try:
        value = ast.literal_eval(text)
    except SyntaxError as fault:
        raise NotJson("neither JSON nor a Python value", fault.offset) from None
    except (ValueError, TypeError, MemoryError, RecursionError):
        raise NotJson("neither JSON nor a Python value") from None
    _check(value)
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
        written.encode()
    except (ValueError, UnicodeEncodeError):
        raise NotJson("it holds half a surrogate pair, which is no character") from None
    return written


def _check(value: Any) -> None:
    # `type`, not `isinstance`: what json.loads gives is of these very types.
    if value is None or type(value) in (bool, int, str):
        return
    if type(value) is float:
        if not math.isfinite(value):
            raise NotJson("it holds a number that is not finite")
    elif type(value) is list:
        for part in value:
            _check(part)
    elif type(value) is dict:
        for key, part in value.items():
            if type(key) is not str:
                raise NotJson(f"a key is {type(key).__name__}, not a text")
            _check(part)
    else:
        raise NotJson(f"it holds a {type(value).__name__}, which JSON has none of")
