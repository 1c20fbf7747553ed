"""Traps: for every name in the package's SQL something else of that name, which tells and fails when it is used.

The names are found in the package's own text, so that a new statement's are among them. Whatever of the server's own
objects has such a name gets a double in each schema: functions with the same arguments and with arguments that would
fit better than the server's, operators likewise, domains, and views over the catalog.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import psycopg

import pgvector_backup

MARK = "a trap was sprung"

_PACKAGE = Path(pgvector_backup.__file__).parent
_WORD = re.compile(r"[a-z_][a-z0-9_]*")
_SYMBOLS = re.compile(r"[-+*/<>=~!@#%^&|`?]+")

_ONE = ("oid", "regclass", "regtype", "text", "name", "int4", "int8", "varchar", "anyelement", "anyarray", '"char"')
_TWO = ("oid", "regclass", "text", "name", "int4", "int8", "varchar", "text[]", "oid[]")
_OPERANDS = (*_TWO, "int2", "bool", '"char"', "uuid", "tid", "xid", "xid8", "int2vector", "pg_lsn")


def names() -> tuple[set[str], set[str]]:
    """Words and runs of symbols in all string constants of the package."""
    words: set[str] = set()
    symbols: set[str] = set()
    for path in _PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
                text = node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
                words.update(_WORD.findall(text.lower()))
                symbols.update(_SYMBOLS.findall(text))
    return words, symbols


def lay(conn: psycopg.Connection[object], schemas: Sequence[str]) -> dict[str, int]:
    """Lay the traps in each of the schemas.

    :return: how many of each kind there are
    """
    words, symbols = names()
    conn.execute("SET search_path = pg_catalog")
    conn.execute(_FIRE)
    counts = {"function": 0, "operator": 0, "type": 0, "relation": 0}
    for schema in schemas:
        conn.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}".encode())
        for kind, script in _SCRIPTS.items():
            found = conn.execute(script, [schema, sorted(words), sorted(symbols), list(_ONE), list(_TWO)]).fetchone()
            assert found is not None
            counts[kind] += int(str(found[0]))
    return counts


_FIRE = f"""
CREATE SCHEMA trap;
CREATE FUNCTION trap.fire(what pg_catalog.text) RETURNS pg_catalog.bool LANGUAGE plpgsql
    SET search_path = pg_catalog AS $$
BEGIN
    RAISE LOG '{MARK}: %', what;
    RAISE EXCEPTION '{MARK}: %', what;
END $$;
CREATE FUNCTION trap.step(state pg_catalog.int4) RETURNS pg_catalog.int4 LANGUAGE plpgsql AS $$
BEGIN
    PERFORM trap.fire('aggregate');
END $$;
-- Makes one thing after the other, and leaves out what cannot be made.
CREATE FUNCTION trap.make(statements pg_catalog.text[]) RETURNS pg_catalog.int4 LANGUAGE plpgsql
    SET search_path = pg_catalog SET check_function_bodies = off SET client_min_messages = error AS $$
DECLARE
    statement text;
    made int := 0;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        BEGIN
            EXECUTE statement;
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    RETURN made;
END $$;
"""

_PARAMETERS = """
WITH given(schema, words, symbols, one, two) AS
    (SELECT %s::text, %s::text[], %s::text[], %s::text[], %s::text[])
"""

_SCRIPTS = {
    "function": _PARAMETERS
    + """
, known AS (
    SELECT DISTINCT p.proname::text AS name, p.pronargs AS arguments, oidvectortypes(p.proargtypes) AS types
    FROM pg_proc p, given g WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY(g.words)
      AND NOT (p.prokind = 'a' AND p.pronargs = 0)
), wanted AS (
    SELECT name, types FROM known
    UNION SELECT k.name, a FROM known k, given g, unnest(g.one) AS a WHERE k.arguments = 1
    UNION SELECT k.name, a || ', ' || b FROM known k, given g, unnest(g.two) AS a, unnest(g.two) AS b
        WHERE k.arguments = 2
    UNION SELECT k.name, k.types || ', text DEFAULT NULL' FROM known k WHERE k.arguments = 0
)
SELECT trap.make(ARRAY[format('CREATE AGGREGATE %%I.count(*) (SFUNC = trap.step, STYPE = int4)', min(g.schema))]
    || array_agg(format(
    'CREATE FUNCTION %%I.%%I(%%s) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN PERFORM trap.fire(%%L); END $f$',
    g.schema, w.name, w.types, w.name || '(' || w.types || ')'))) FROM wanted w, given g
""",
    "operator": _PARAMETERS
    + f"""
, operands AS (SELECT unnest(ARRAY[{", ".join(f"'{one}'" for one in _OPERANDS)}]) AS type),
known AS (
    SELECT DISTINCT o.oprname::text AS name FROM pg_operator o, given g
    WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprname = ANY(g.symbols)
), functions AS (
    SELECT trap.make(array_agg(format(
        'CREATE FUNCTION %%I.trap_operator(%%s, %%s) RETURNS bool LANGUAGE plpgsql'
        ' AS $f$ BEGIN PERFORM trap.fire(%%L); END $f$', g.schema, a.type, b.type, a.type || ' operator ' || b.type)))
    FROM operands a, operands b, given g
)
SELECT trap.make(array_agg(format(
    'CREATE OPERATOR %%I.%%s (FUNCTION = %%I.trap_operator, LEFTARG = %%s, RIGHTARG = %%s)',
    g.schema, k.name, g.schema, a.type, b.type)))
FROM known k, operands a, operands b, given g, functions f WHERE f.make > 0
""",
    "type": _PARAMETERS
    + """
SELECT trap.make(array_agg(format(
    'CREATE DOMAIN %%I.%%I AS pg_catalog.%%I CHECK (trap.fire(%%L))', g.schema, t.typname, t.typname, t.typname)))
FROM pg_type t, given g
WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b' AND t.typname = ANY(g.words)
""",
    "relation": _PARAMETERS
    + """
SELECT trap.make(array_agg(format(
    'CREATE VIEW %%I.%%I AS SELECT r.*, f FROM pg_catalog.%%I AS r, trap.fire(%%L) AS f',
    g.schema, c.relname, c.relname, c.relname)))
FROM pg_class c, given g
WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname = ANY(g.words)
""",
}
