"""What an expression of a set calls, as the server has read it: whether any of it could do more than compute."""

from __future__ import annotations

import re
from typing import Any, Final

from psycopg import Connection

_OPERATORS: Final = re.compile(r":(?:opno|opnos) (?:\(o )?(?P<oids>[0-9 ]+)")
_CALLS: Final = re.compile(r":(?:funcid|opfuncid|aggfnoid|winfnoid) (?P<oids>[0-9]+)")

_HARMLESS: Final = (
    "nextval", "currval", "lastval", "random", "random_normal", "array_shuffle", "array_sample", "gen_random_uuid",
    "uuidv4", "uuidv7", "clock_timestamp", "timeofday", "current_query",
    "uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "gen_random_bytes", "gen_salt",
)  # fmt: skip
"""Volatile functions of the server or of its own extensions that give a value and do nothing else."""


def suspicious(conn: Connection[Any], tree: str, *, later: bool) -> list[tuple[str, str]]:
    """The functions of an expression that are not to be trusted, and why.

    :param tree: of nodes, as the catalog keeps it. Nothing else tells which of the server's own functions an
        expression calls, for those are not noted in pg_depend
    :param later: whether it runs when an application inserts, not by itself
    """
    calls = {int(match["oids"]) for match in _CALLS.finditer(tree)} - {0}
    operators = {int(oid) for match in _OPERATORS.finditer(tree) for oid in match["oids"].split()} - {0}
    if not calls and not operators:
        return []
    wanted = {"calls": list(calls), "operators": list(operators), "harmless": list(_HARMLESS), "later": later}
    return [(row[0], row[1]) for row in conn.execute(_SUSPICIOUS, wanted).fetchall()]


# Oids below 16384 are those of the server's own functions. A default runs when its application inserts, not here.
_SUSPICIOUS: Final = """
WITH called(oid) AS (
    SELECT pg_catalog.unnest(%(calls)s::pg_catalog.oid[])
    UNION
    SELECT o.oprcode::pg_catalog.oid FROM pg_catalog.pg_operator o WHERE o.oid = ANY (%(operators)s)
), known AS (
    SELECT p.oid, p.proname, p.provolatile, p.oid < 16384 AS own, EXISTS (
        SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
    ) AS extended FROM called JOIN pg_catalog.pg_proc p ON p.oid = called.oid
)
SELECT k.oid::pg_catalog.regprocedure::text,
       CASE WHEN NOT k.own AND NOT k.extended THEN 'neither the server''s own nor of an extension nor immutable'
            WHEN k.provolatile = 'v' THEN 'one that does more than compute'
            ELSE 'closed to ordinary roles' END
FROM known k
WHERE (NOT k.own AND NOT k.extended AND k.provolatile <> 'i')
   OR ((k.own OR k.extended AND NOT %(later)s) AND k.provolatile = 'v' AND k.proname::text <> ALL (%(harmless)s))
   OR (k.own AND NOT pg_catalog.has_function_privilege('public', k.oid, 'EXECUTE'))
ORDER BY 1
"""
