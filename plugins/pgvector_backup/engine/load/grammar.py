"""What a manifest writes where SQL has one expression, one constraint or one type: that, and nothing behind it.

Definitions are data. They are what the server printed when the set was made, so they are read as it prints: keywords in
capitals, no comments, no second way to write a text. Whatever is otherwise was not printed by a server, and is refused
before a server reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from pgvector_backup.engine.base.errors import IntegrityFault

NAME: Final = r'(?:"(?:[^"]|"")+"|[^\s".,()\[\]]+)'
QUALIFIED: Final = rf"(?:{NAME}\.)?{NAME}"
"""Regular expressions of a name, and of one that may have a schema."""

_LONGEST: Final = 1 << 20
_DEEPEST: Final = 1000

_TOKEN: Final = re.compile(
    r"""[ \n\t\r]*(?:
        (?P<text>B?'[^']*(?:''[^']*)*'(?!'))
      | (?P<quoted>"[^"]+(?:""[^"]*)*"(?!"))
      | (?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?(?![\w$]))
      | (?P<word>[^\W\d][\w$]*(?!['"&]))
      | (?P<operator>[-+*/<>=~!@\#%^&|`?]+)
      | (?P<mark>::|[()\[\].,:])
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_OPEN: Final = {"(": ")", "[": "]"}

_STATE: Final = (
    r"(?: NOT DEFERRABLE| DEFERRABLE)?(?: INITIALLY (?:DEFERRED|IMMEDIATE))?(?: NO INHERIT)?(?: NOT VALID)?"
    r"(?: NOT ENFORCED)?"
)
_ACTION: Final = r"(?:NO ACTION|RESTRICT|CASCADE|SET (?:NULL|DEFAULT)(?: \(\))?)"
_SHAPES: Final[dict[str, re.Pattern[str]]] = {
    kind: re.compile(shape + _STATE)
    for kind, shape in {
        "primary key": r"PRIMARY KEY \(\)(?: INCLUDE \(\))?",
        "unique": r"UNIQUE(?: NULLS NOT DISTINCT)? \(\)(?: INCLUDE \(\))?",
        "check": r"CHECK \(\)",
        "foreign key": (
            r"FOREIGN KEY \(\) REFERENCES name(?: \. name)? \(\)(?: MATCH FULL)?"
            rf"(?: ON (?:UPDATE|DELETE) {_ACTION})*"
        ),
        "exclusion": r"EXCLUDE USING name \(\)(?: INCLUDE \(\))?(?: WITH \(\))?(?: WHERE \(\))?",
        "not null": r"NOT NULL name",
    }.items()
}
KINDS: Final = tuple(_SHAPES)
"""Of constraints."""

_INDEX: Final = re.compile(
    r"CREATE (?:UNIQUE )?INDEX name ON (?:ONLY )?name(?: \. name)? USING name \(\)(?: INCLUDE \(\))?"
    r"(?: NULLS NOT DISTINCT)?(?: WITH \(\))?(?: TABLESPACE name)?(?: WHERE .+)?"
)
_TYPE: Final = re.compile(
    r"(?:name \. name|name(?: name)*)(?: \(\))?(?: name)*(?: \[\])*",
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


def expression(text: str, what: str) -> str:
    """The text of one expression, which goes between brackets.

    :param what: that it is of, for the error
    :raises IntegrityFault: when it would leave the brackets, or holds more than one
    """
    top = list(_top(text, what))
    if not top or "," in top:
        _refuse(what)
    return text


def constraint(kind: str, text: str, what: str) -> str:
    """The text of a constraint as ``ALTER TABLE … ADD CONSTRAINT`` takes it.

    :param kind: ``primary key``, ``unique``, ``check``, ``foreign key``, ``exclusion`` or ``not null``
    :raises IntegrityFault: when it is not one constraint of that kind
    """
    shape = _SHAPES.get(kind)
    if shape is None or not shape.fullmatch(" ".join(_top(text, what))):
        _refuse(what)
    return text


def index(text: str, what: str) -> str:
    """The text of a CREATE INDEX statement.

    :raises IntegrityFault: when it is not that one statement
    """
    top = list(_top(text, what))
    if "," in top or not _INDEX.fullmatch(" ".join(top)):
        _refuse(what)
    return text


def type_name(text: str, what: str) -> str:
    """The text of a type's name with its modifier, as ``format_type`` writes it.

    :raises IntegrityFault: when it is anything else
    """
    if not _TYPE.fullmatch(" ".join(_top(text, what))):
        _refuse(what)
    return text


def _top(text: str, what: str) -> Iterator[str]:
    """What stands outside of all brackets: keywords as they are, names and values as ``name``, brackets as ``()``."""
    closing: list[str] = []
    for token in _tokens(text, what):
        if token.kind == "mark" and token.text in _OPEN:
            closing.append(_OPEN[token.text])
            if len(closing) > _DEEPEST:
                _refuse(what)
        elif token.kind == "mark" and token.text in _OPEN.values():
            if not closing or closing.pop() != token.text:
                _refuse(what)
            if not closing:
                yield "()" if token.text == ")" else "[]"
        elif not closing:
            if token.kind == "operator":
                yield "operator"
            else:
                yield token.text if token.kind == "mark" or _is_keyword(token) else "name"
    if closing:
        _refuse(what)


def _is_keyword(token: _Token) -> bool:
    # What the server prints unquoted of names has no capital letter.
    return token.kind == "word" and token.text.isascii() and token.text.isupper()


def _tokens(text: str, what: str) -> Iterator[_Token]:
    if len(text) > _LONGEST or "\0" in text:
        _refuse(what)
    at = 0
    while True:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            _refuse(what)
        kind, token = match.lastgroup, match[match.lastgroup]
        if kind == "end":
            return
        if kind == "operator" and ("--" in token or "/*" in token or "*/" in token):
            _refuse(what)
        yield _Token(kind, token)
        at = match.end()


def _refuse(what: str) -> NoReturn:
    raise IntegrityFault(f"{what}: the manifest's definition is not one that a server prints")
