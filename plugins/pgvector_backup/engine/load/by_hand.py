"""What ``psql`` alone needs to load a set: a script of the extension, the tables, their rows, then keys and indexes.

It lies beside the files as ``schema_{timestamp}.sql``, for the day on which nothing of this project is at hand. It is
made for people and for psql; a restore never reads it.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from psycopg import sql

from pgvector_backup.engine.codec.formats import FORMATS
from pgvector_backup.engine.load import own_types, properties
from pgvector_backup.engine.load.sequences import options
from pgvector_backup.engine.postgres.properties import Policy
from pgvector_backup.engine.postgres.sequences import SequenceState
from pgvector_backup.engine.postgres.table_name import TableName
from pgvector_backup.engine.postgres.tables import Column, Constraint
from pgvector_backup.engine.sets.chain import TableChain
from pgvector_backup.engine.sets.manifest import Manifest
from pgvector_backup.engine.sets.table_entry import TableEntry
from pgvector_backup.engine.store.claim import Claim
from pgvector_backup.engine.store.naming import script_name

_UNPACK: Final = {"zstd": "zstd -dc", "gzip": "gzip -dc"}
_KEYS: Final = ("primary key", "unique", "exclusion", "check")

_HEAD: Final = """\
-- Set {backup_id} of database {database}, made {created_at} by PostgreSQL {server} with pgvector {pgvector}.
-- In the directory of these files: psql -X -d DATABASE -f schema_{backup_id}.sql
-- It is one transaction: all of it is there afterwards, or nothing. The tables must not be there yet.
-- Not in it: roles and what they were granted, triggers, functions of your own, rows of other tables,
-- indexes that were not valid.
\\set ON_ERROR_STOP on
SET client_encoding = 'UTF8';
BEGIN;
"""

_EXTENSION: Final = """\
CREATE EXTENSION IF NOT EXISTS vector;
SELECT pg_catalog.set_config('search_path', pg_catalog.quote_ident(n.nspname), true)
    FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector';
"""


_AS_WRITTEN: Final = """\
SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; SET extra_float_digits = 3;
SET bytea_output = 'hex'; SET lc_monetary = 'C';
"""
"""What keys look like in a keys file."""


def stage(claim: Claim, manifest: Manifest, content: bytes) -> Manifest:
    """Stage a set's script among its files; the manifest that names it."""
    staged = claim.stage("schema", "sql")
    staged.write(content)
    staged.sync()
    digest = hashlib.sha256(content).hexdigest()
    return replace(manifest, script=script_name(manifest.backup_id), script_sha256=digest)


def script(manifest: Manifest, chained: Mapping[str, TableChain] | None = None) -> str:
    """The whole script.

    :param chained: of an increment: where the rows of each table lie, by its label
    """
    chained = chained or {}
    source = manifest.source
    parts = [
        _HEAD.format(
            backup_id=manifest.backup_id,
            database=_one_line(source.database),
            created_at=_one_line(manifest.created_at),
            server=_one_line(source.server_version),
            pgvector=_one_line(source.pgvector_version or "none"),
        )
    ]
    if source.pgvector_version is not None:
        parts.append(_EXTENSION)
    schemas = {entry.schema for entry in manifest.tables}
    schemas |= {one.schema for entry in manifest.tables for one in entry.sequences}
    schemas |= {one.schema for entry in manifest.tables for one in entry.types}
    parts += [f"CREATE SCHEMA IF NOT EXISTS {_name(schema)};\n" for schema in sorted(schemas)]
    for own in dict.fromkeys(one for entry in manifest.tables for one in entry.types):
        there = sql.Literal(_name(own.schema, own.name)).as_string(None)
        made = "".join(f"{statement.as_string(None)};\n" for statement in own_types.plain(own))
        made += "".join(
            f'SELECT {sql.Literal(told).as_string(None)} AS "left out";\n' for told in own_types.not_plain(own)
        )
        parts.append(_if(f"pg_catalog.to_regtype({there}) IS NULL", made, f"{own.label}: is there already"))
    known: dict[str, SequenceState] = {}
    for entry in manifest.tables:
        for one in entry.sequences:
            if not one.identity and one.label not in known:
                known[one.label] = one
                parts.append(
                    f"CREATE SEQUENCE {_name(one.schema, one.name)} AS {one.type} {options(one).as_string(None)};\n"
                )
    for entry in manifest.tables:
        parts.append(_table(entry))
    parts.append("\n-- rows\n")
    if chained:
        parts.append(_AS_WRITTEN)
    for entry in manifest.tables:
        chain = chained.get(entry.name)
        parts.append(_rows(entry) if chain is None else _chain_rows(entry, chain))
    parts.append("\n-- keys, indexes, sequences\n")
    inside = {(entry.schema, entry.table) for entry in manifest.tables}
    for entry in manifest.tables:
        parts += _constraints(entry, _KEYS, inside)
    # A foreign key may go by a unique index that is no constraint's.
    for entry in manifest.tables:
        parts += _indexes(entry, unique=True)
    for entry in manifest.tables:
        parts += _constraints(entry, ("foreign key",), inside)
    for entry in manifest.tables:
        parts += _rest(entry, inside)
    parts.append("COMMIT;\n")
    return "".join(parts)


def _table(entry: TableEntry) -> str:
    place = TableName(entry.schema, entry.table)
    unlogged = entry.properties is not None and entry.properties.unlogged
    columns = ",\n".join(f"    {_column(entry, column)}" for column in entry.columns)
    text = f"\nCREATE {'UNLOGGED ' if unlogged else ''}TABLE {place.identifier.as_string(None)} (\n{columns}\n);\n"
    for _, statement in properties.beginning(entry, place):
        text += f"{statement.as_string(None)};\n"
    for one in entry.sequences:
        if one.owned_by is not None and not one.identity:
            owner = f"{place.identifier.as_string(None)}.{_name(one.owned_by)}"
            text += f"ALTER SEQUENCE {_name(one.schema, one.name)} OWNED BY {owner};\n"
        if one.comment is not None:
            remark = sql.Literal(one.comment).as_string(None)
            text += f"COMMENT ON SEQUENCE {_name(one.schema, one.name)} IS {remark};\n"
    return text


def _column(entry: TableEntry, column: Column) -> str:
    parts = [_name(column.name), column.type]
    if column.collation is not None:
        parts.append(f"COLLATE {_name(*column.collation)}")
    if column.generated:
        parts.append(f"GENERATED ALWAYS AS ({column.default}) {'VIRTUAL' if column.virtual else 'STORED'}")
    elif column.identity is not None:
        own = next((one for one in entry.sequences if one.identity and one.owned_by == column.name), None)
        always = "ALWAYS" if column.identity == "always" else "BY DEFAULT"
        parts.append(f"GENERATED {always} AS IDENTITY")
        if own is not None:
            parts.append(f"(SEQUENCE NAME {_name(own.schema, own.name)} {options(own).as_string(None)})")
    elif column.default is not None:
        parts.append(f"DEFAULT {column.default}")
    if column.not_null:
        parts += _not_null(entry, column)
    return " ".join(parts)


def _not_null(entry: TableEntry, column: Column) -> list[str]:
    named = next((one for one in entry.constraints if one.type == "not null" and one.columns == (column.name,)), None)
    if named is None:
        return ["NOT NULL"]
    if not named.validated:
        return []  # it comes after the rows, which may break it
    return ["CONSTRAINT", _name(named.name), "NOT NULL", *(["NO INHERIT"] if named.no_inherit else [])]


def _chain_rows(entry: TableEntry, chain: TableChain) -> str:
    """The rows of every set of a chain, of each those whose keys name it as their origin."""
    columns = ", ".join(_name(column.name) for column in entry.stored_columns)
    key = [column.name for column in chain.keys.lineage.key]
    texts = [f"key_{number}" for number, _ in enumerate(key, 1)]
    named = ", ".join(f"{text} text" for text in texts)
    same = " AND ".join(
        f"k.{text} = pg_catalog.format('%s', r.{_name(name)})" for text, name in zip(texts, key, strict=True)
    )
    place = _name(entry.schema, entry.table)
    parts = [
        f"CREATE TEMPORARY TABLE pgvb_keys ({named}, row_xmin text, origin text, row_hash text) ON COMMIT DROP;\n",
        _copy("pg_temp.pgvb_keys", chain.keys.file, "csv", chain.keys.compression),
        f"CREATE TEMPORARY TABLE pgvb_rows ON COMMIT DROP AS SELECT {columns} FROM {place} LIMIT 0;\n",
    ]
    for backup_id, there in chain.parts:
        parts += [
            "TRUNCATE pg_temp.pgvb_rows;\n",
            _copy(f"pg_temp.pgvb_rows ({columns})", there.file, there.format, there.compression),
            f"INSERT INTO {place} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM pg_temp.pgvb_rows AS r ",
            f"WHERE EXISTS (SELECT FROM pg_temp.pgvb_keys AS k WHERE k.origin = '{backup_id}' AND {same});\n",
        ]
    parts.append("DROP TABLE pg_temp.pgvb_rows, pg_temp.pgvb_keys;\n")
    return "".join(parts)


def _rows(entry: TableEntry) -> str:
    columns = [_name(column.name) for column in entry.columns if not column.generated]
    where = _name(entry.schema, entry.table)
    if columns:  # without any, the server takes no list of them
        where += f" ({', '.join(columns)})"
    return _copy(where, entry.file, entry.format, entry.compression, label=entry.name)


def _copy(where: str, file_name: str, file_format: str, compression: str, *, label: str = "the table") -> str:
    """One line that copies, whatever a name holds: what follows the line's end, psql would take for an order."""
    if any(char in where for char in "\r\n\0"):
        return f"-- {_one_line(label)}: a name in it has a line's end, which \\copy cannot take; load it otherwise\n"
    kind = FORMATS[file_format].file_options
    file = f"'{file_name}'"
    if compression != "none":
        command = f"{_UNPACK[compression]} {shlex.quote(file_name)}"
        file = "PROGRAM '" + command.replace("'", "''") + "'"
    return f"\\copy {where} FROM {file} WITH ({kind})\n"


def _constraints(entry: TableEntry, kinds: tuple[str, ...], inside: set[tuple[str, str]]) -> Iterator[str]:
    where = _name(entry.schema, entry.table)
    for one in entry.constraints:
        loose = one.type == "not null" and not one.validated and "check" in kinds
        if one.type in kinds or loose:
            unchecked = " NOT VALID" if one.type == "foreign key" and not one.checked and one.validated else ""
            made = f"ALTER TABLE {where} ADD CONSTRAINT {_name(one.name)} {one.definition}{unchecked};\n"
            yield _if_there(one, made, f"{entry.name}: {one.name}") if _outside(one, inside) else made


def _outside(one: Constraint, inside: set[tuple[str, str]]) -> bool:
    """Whether it is a foreign key to a table that is not in the set."""
    return one.references is not None and one.references not in inside


def _if_there(one: Constraint, statement: str, what: str) -> str:
    assert one.references is not None
    there = sql.Literal(_name(*one.references)).as_string(None)
    label = ".".join(one.references)
    return _if(f"pg_catalog.to_regclass({there}) IS NOT NULL", statement, f"{what}: {label} is not there")


def _if(condition: str, statement: str, otherwise: str) -> str:
    """A statement that psql executes where a condition holds; otherwise it says why not."""
    told = sql.Literal(otherwise).as_string(None)
    return (
        f"SELECT {condition} AS pgvb_there \\gset\n\\if :pgvb_there\n{statement}\\else\n"
        f'SELECT {told} AS "left out";\n\\endif\n'
    )


def _indexes(entry: TableEntry, *, unique: bool) -> Iterator[str]:
    for index in entry.indexes:
        if index.constraint is None and index.valid and index.unique is unique:
            yield f"{index.definition};\n"


def _rest(entry: TableEntry, inside: set[tuple[str, str]]) -> Iterator[str]:
    yield from _indexes(entry, unique=False)
    for one in entry.sequences:
        if one.last_value is not None:
            sequence = sql.Literal(_name(one.schema, one.name)).as_string(None)
            yield f"SELECT pg_catalog.setval({sequence}, {one.last_value}, {str(one.is_called).lower()});\n"
    place = TableName(entry.schema, entry.table)
    outside = {f"comment on constraint {one.name}": one for one in entry.constraints if _outside(one, inside)}
    for what, statements in properties.finishing(entry, place):
        text = "".join(f"{statement.as_string(None)};\n" for statement in statements)
        yield _if_there(outside[what], text, f"{entry.name}: {what}") if what in outside else text
    known = entry.properties
    for policy in () if known is None else known.policies:
        text = f"{_policy(policy, entry)};\n"
        if policy.comment is not None:
            text += f"{properties.policy_comment(policy, policy.comment, place).as_string(None)};\n"
        roles = [role for role in policy.roles if role != "public"]
        if roles:
            wanted = ", ".join(sql.Literal(role).as_string(None) for role in roles)
            there = f"(SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname IN ({wanted})) = {len(roles)}"
            missing = f"{entry.name}: policy {policy.name}: not all of its roles are there: {', '.join(roles)}"
            text = _if(there, text, missing)
        yield text


def _policy(one: Policy, entry: TableEntry) -> str:
    roles = ", ".join("PUBLIC" if role == "public" else _name(role) for role in one.roles)
    text = f"CREATE POLICY {_name(one.name)} ON {_name(entry.schema, entry.table)}"
    text += f" AS {'PERMISSIVE' if one.permissive else 'RESTRICTIVE'} FOR {one.command} TO {roles}"
    if one.using is not None:
        text += f" USING ({one.using})"
    return text if one.check is None else f"{text} WITH CHECK ({one.check})"


def _name(*parts: str) -> str:
    return sql.Identifier(*parts).as_string(None)


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
