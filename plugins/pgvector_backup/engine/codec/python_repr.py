"""The repr of a Python value made JSON again, as code once wrote it into CSV in place of JSON.

Python's own parser is not asked: it builds a tree of hundreds of bytes for every character, and a foreign file may hold
anything. One pass over the text, no look back, so the time grows with the length and with nothing else.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from pgvector_backup.engine.base.cancel import Cancel

_LONGEST: Final = 64 << 20
_DEEPEST: Final = 100
_LOOK_TOKENS: Final = 1 << 14
"""Tokens between looks at whether the work is to stop."""

# Each alternative tells by its first character whether it is the one, so that none is tried in vain over a long text.
_TOKEN: Final = re.compile(
    r"""[ \t\r\n\f]*(?:
        (?P<string>'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")
      | (?P<number>[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
      | (?P<word>-?[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>[\[\]{}(),:])
      | (?P<end>\Z)
    )""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED: Final = {
    "\n": "", "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
    "v": "\v",
}  # fmt: skip
_WORDS: Final = {"None": None, "True": True, "False": False}


class NotJson(ValueError):
    """A text that is the repr of nothing that came out of JSON.

    :param column: where, counted from 1 in characters; None where it cannot be told
    """

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


def to_json(text: str, cancel: Cancel | None = None) -> str:
    """The JSON that a value was read from, given its `repr`: ``None`` is null, ``True`` true, quotes are turned.

    :raises NotJson: for anything else than dicts with texts as keys, lists, texts, finite numbers, booleans, None
    :raises Cancelled: when that was asked for
    """
    if len(text) > _LONGEST:
        raise NotJson(f"{len(text):,} characters are too many")
    value = _Reader(text, cancel or Cancel()).read()
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
        written.encode()
    except (ValueError, UnicodeEncodeError):
        raise NotJson("it holds half a surrogate pair, which is no character") from None
    return written


class _Reader:
    """Reads one value, from its first token to its last."""

    def __init__(self, text: str, cancel: Cancel) -> None:
        self._text = text
        self._cancel = cancel
        self._at = self._tokens = self._start = 0

    def read(self) -> Any:
        value = self._value(*self._next(), depth=0)
        if self._next() != ("end", ""):
            raise self._fault()
        return value

    def _next(self) -> tuple[str, str]:
        self._tokens += 1
        if self._tokens % _LOOK_TOKENS == 0:
            self._cancel.check()
        match = _TOKEN.match(self._text, self._at)
        if match is None or match.lastgroup is None:
            raise self._fault()
        self._start, self._at = match.start(match.lastgroup), match.end()
        return match.lastgroup, match[match.lastgroup]

    def _fault(self) -> NotJson:
        return NotJson("neither JSON nor a Python value", min(self._at, len(self._text)) + 1)

    def _value(self, kind: str, part: str, *, depth: int) -> Any:
        if kind == "string":
            return _unescaped(part[1:-1])
        if kind == "number":
            return self._number(part)
        if kind == "word":
            if part in _WORDS:
                return _WORDS[part]
            if part == "b" and self._text[self._at : self._at + 1] in ("'", '"'):
                raise NotJson("it holds bytes, which JSON has none of", self._start + 1)
            raise NotJson("neither JSON nor a Python value", self._start + 1)
        if part == "(":
            raise NotJson("it holds a tuple, which JSON has none of", self._start + 1)
        if part not in ("[", "{"):
            raise self._fault()
        if depth == _DEEPEST:
            raise NotJson(f"more than {_DEEPEST} levels deep", self._start + 1)
        return self._list(depth) if part == "[" else self._dict(depth)

    def _list(self, depth: int) -> list[Any]:
        values: list[Any] = []
        kind, part = self._next()
        while part != "]" or kind != "mark":
            values.append(self._value(kind, part, depth=depth + 1))
            kind, part = self._after_value("]")
        return values

    def _dict(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        kind, part = self._next()
        while part != "}" or kind != "mark":
            key = self._value(kind, part, depth=depth + 1)
            if self._next() != ("mark", ":"):
                raise NotJson("it holds a set, which JSON has none of", self._start + 1)
            if type(key) is not str:
                raise NotJson(f"a key is {type(key).__name__}, not a text", self._start + 1)
            values[key] = self._value(*self._next(), depth=depth + 1)
            kind, part = self._after_value("}")
        return values

    def _after_value(self, close: str) -> tuple[str, str]:
        """The token that follows a value and its comma, or the bracket that ends it all."""
        found = self._next()
        if found == ("mark", ","):
            return self._next()
        if found != ("mark", close):
            raise self._fault()
        return found

    def _number(self, part: str) -> int | float:
        try:
            value = int(part) if part.lstrip("+-").isdigit() else float(part)
        except ValueError:
            raise NotJson("a number of too many digits", self._start + 1) from None
        if not math.isfinite(value):
            raise NotJson("it holds a number that is not finite", self._start + 1)
        return value


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _character(match: re.Match[str]) -> str:
    code = match[1]
    if code in _ESCAPED:
        return _ESCAPED[code]
    if code[0] in "01234567":
        return chr(int(code, 8))
    if code[0] in "xuU" and len(code) > 1:
        number = int(code[1:], 16)
        if number > 0x10FFFF:
            raise NotJson("it names a character that there is not")
        return chr(number)
    return match[0]
