"""Names in a manifest's definitions, as this database has to read them.

Sets name everything that is not the server's own by its schema, and the search path has none of it. Two things are told
anew here: pgvector's types, operator classes, functions and operators are where this database has the extension, which
may be elsewhere than in the set's database; and what a set of release 0.1 names without a schema is looked for on the
role's own search path, unless the server itself has something of the name, which nobody can take the place of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from pgvector_backup.engine.postgres.session import own_path
from pgvector_backup.engine.postgres.tables import extension_schema

_TOKEN: Final = re.compile(
    r"""(?P<text>[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|--[^\n]*|/\*.*?\*/)
      | (?P<name>"(?:[^"]|"")+"|[A-Za-z_\u0080-\U0010ffff][\w$]*)
      | (?P<cast>::)
      | (?P<operator>[-+*/<>=~!@\#%^&|`?]+)
      | (?P<space>\s+)
      | (?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)

_DISTANCES: Final = ("<->", "<#>", "<=>", "<+>", "<~>", "<%>")
"""pgvector's operators that sets of release 0.1 may name without a schema."""

_BEFORE_NO_FUNCTION: Final = ("using", "on", "key", "include", "references", "with")


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str

    @property
    def word(self) -> str:
        """What a name means, without its quotes and in the case that the server gives it."""
        if self.text.startswith('"'):
            return self.text[1:-1].replace('""', '"')
        return self.text.lower() if self.kind == "name" else self.text


def relocated_type(conn: Connection[Any], name: str) -> str:
    """A column's type, named as this database has to read it."""
    return relocated(conn, f"::{name}")[2:]


def relocated(conn: Connection[Any], text: str, *, index: bool = False) -> str:
    """A definition with the names in it told anew.

    :param index: whether it is an index's, in which a bare word may be an operator class
    """
    tokens = [_Token("text" if match["text"] else str(match.lastgroup), match[0]) for match in _TOKEN.finditer(text)]
    names = _Names.known(conn, tokens)
    told: list[str] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        following = tokens[at + 1].text if at + 1 < len(tokens) else ""
        member = tokens[at + 2] if token.kind == "name" and following == "." and at + 2 < len(tokens) else None
        if member is not None and (member.kind == "name" or _in_operator(tokens, at)):
            told.append(f"{names.schema_of(token, member)}.{member.text}")
            at += 3
        else:
            previous = next((one for one in reversed(tokens[:at]) if one.kind != "space"), None)
            told.append(names.bare(token, previous, following, index=index))
            at += 1
    return "".join(told)


def _in_operator(tokens: Sequence[_Token], at: int) -> bool:
    """Whether a name stands where ``OPERATOR(schema.+)`` has its schema; in ``table.*`` it is no schema."""
    before = [one.word for one in tokens[:at] if one.kind != "space"][-2:]
    return before == ["operator", "("]


@dataclass(frozen=True)
class _Names:
    """What this database knows of the words of one definition.

    :param extension: the schema of pgvector; None where there is none
    :param members: words that are names of pgvector's objects
    :param homes: by kind and name, the schema to find it in, of what the server itself does not have
    """

    conn: Connection[Any]
    extension: str | None
    members: frozenset[str]
    homes: Mapping[tuple[str, str], str]

    @classmethod
    def known(cls, conn: Connection[Any], tokens: Sequence[_Token]) -> _Names:
        """Ask for all of the words at once."""
        words = sorted({token.word for token in tokens if token.kind in ("name", "operator")})
        extension = extension_schema(conn)
        schemas = [*([] if extension is None else [extension]), *own_path(conn)]
        members = frozenset(row[0] for row in conn.execute(_MEMBERS, [words]))
        return cls(
            conn, extension, members, {(row[0], row[1]): row[2] for row in conn.execute(_HOMES, [words, schemas])}
        )

    def schema_of(self, schema: _Token, member: _Token) -> str:
        """The schema of a name that has one: what is pgvector's, and is not where it was, is where pgvector is now."""
        if self.extension is None or member.word not in self.members:
            return schema.text
        there = self.conn.execute(_EXISTS, [member.word, schema.word]).fetchone()
        return schema.text if there else self._quoted(self.extension)

    def bare(self, token: _Token, previous: _Token | None, following: str, *, index: bool) -> str:
        """A name that stands by itself."""
        if token.kind == "operator" and token.text in _DISTANCES and token.text in self.members:
            assert self.extension is not None
            return f"OPERATOR({self._quoted(self.extension)}.{token.text})"
        if token.kind != "name":
            return token.text
        kind = ""
        if previous is not None and previous.kind == "cast":
            kind = "type"
        elif following.startswith("(") and (previous is None or previous.word not in _BEFORE_NO_FUNCTION):
            kind = "function"
        elif index and token.word.endswith("_ops") and previous is not None and previous.text != "(":
            kind = "operator class"
        home = self.homes.get((kind, token.word))
        return token.text if home is None else f"{self._quoted(home)}.{token.text}"

    def _quoted(self, name: str) -> str:
        return sql.Identifier(name).as_string(self.conn)


# Each by its own name, as the catalog has it: so the server looks the few words up, and does not go through all it has.
_OBJECTS: Final = """
SELECT 'type' AS kind, 'pg_type'::regclass AS catalog, oid, typname AS name, typnamespace AS home FROM pg_type
UNION ALL SELECT 'function', 'pg_proc'::regclass, oid, proname, pronamespace FROM pg_proc
UNION ALL SELECT 'operator class', 'pg_opclass'::regclass, oid, opcname, opcnamespace FROM pg_opclass
UNION ALL SELECT 'operator', 'pg_operator'::regclass, oid, oprname, oprnamespace FROM pg_operator
"""

_FOUND: Final = f"found AS MATERIALIZED (SELECT * FROM ({_OBJECTS}) AS o WHERE o.name = ANY(%s::text[]::name[]))"

_MEMBERS: Final = f"""
WITH {_FOUND}
SELECT name FROM found
WHERE (SELECT e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
       WHERE d.classid = found.catalog AND d.objid = found.oid AND d.deptype = 'e'
       AND d.refclassid = 'pg_extension'::regclass LIMIT 1) = 'vector'
"""

# Words of the grammar, such as `double` or `coalesce`, are no names.
_HOMES: Final = f"""
WITH {_FOUND}
SELECT DISTINCT ON (o.kind, o.name) o.kind, o.name, n.nspname
FROM found o
JOIN pg_namespace n ON n.oid = o.home
JOIN unnest(%s::text[]) WITH ORDINALITY AS path(schema, position) ON path.schema = n.nspname
WHERE NOT EXISTS (SELECT FROM found AS own WHERE own.kind = o.kind AND own.name = o.name
                  AND own.home = 'pg_catalog'::regnamespace)
  AND o.name NOT IN (SELECT word FROM pg_get_keywords() WHERE catcode <> 'U')
  AND o.name NOT IN ('double')
ORDER BY o.kind, o.name, path.position
"""

_EXISTS: Final = f"""
SELECT 1 FROM ({_OBJECTS}) AS o JOIN pg_namespace n ON n.oid = o.home WHERE o.name = %s AND n.nspname = %s LIMIT 1
"""
