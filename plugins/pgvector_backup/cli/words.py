"""Results in words, for people; programs ask for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pgvector_backup.cli.terminal import say, say_table
from pgvector_backup.engine.base import messages
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.sets.found import FoundSet


def verified(one: FoundSet) -> dict[str, Any] | None:
    """What is told of a set's last verify, in few words."""
    if one.verification is None:
        return None
    return {name: one.verification.get(name) for name in ("verified_at", "depth", "ok", "run_id")}


def rows(rows: int | None) -> str:
    """A count, or that nobody has counted."""
    return "?" if rows is None else f"{rows:,}"


def database(told: Mapping[str, Any] | None) -> str:
    """A database in words: its name, its server's version and identity, as far as they are known."""
    if told is None:
        return "a database that nothing tells of"
    server = "of unknown identity" if told["system_identifier"] is None else told["system_identifier"]
    return f"database {told['database']}, PostgreSQL {told['server_version']}, server {server}"


def source(one: FoundSet) -> str:
    """The database that a set is of, in words."""
    return "a database that nothing tells of" if one.source is None else one.source.describe()


def english_of(told: Mapping[str, Any], key: str) -> str:
    """A text of a result in English, whatever else stands beside it."""
    return messages.english(messages.heard(told, key))


def say_preview(body: Mapping[str, Any]) -> None:
    """What a backup would do."""
    say(
        f"would back up database {body['database']} (PostgreSQL {body['server_version']}) to {body['backup_directory']}"
    )
    say_table(
        ("table", "rows, about", "size, about"),
        [
            (label, rows(table["rows"]), table["file_size"] or "?")
            if table["success"]
            else (label, "FAILS", english_of(table, "error"))
            for label, table in body["tables"].items()
        ],
    )
    free = "unknown" if body["free_bytes"] is None else human_size(body["free_bytes"])
    say(f"needed: about {body['needed_size']}, free: {free}")


def say_backup(body: Mapping[str, Any]) -> None:
    """What a backup did."""
    if body["backup_id"] is None:
        return
    say(f"set {body['backup_id']} in {body['backup_directory']}, {body['duration']:.3f} s")
    say_table(
        ("table", "rows", "size", "file"),
        [
            (label, f"{table['row_count']:,}", table["file_size"], table["backup_file"])
            if table["success"]
            else (label, "FAILED", "", english_of(table, "error"))
            for label, table in body["tables_backed_up"].items()
        ],
    )
    for note in body.get("notes", ()):
        say(f"note: {note}")


def say_list(sets: Sequence[FoundSet], root: str) -> None:
    """The sets that there are."""
    if not sets:
        say(f"no sets below {root}")
        return
    say_table(
        ("timestamp", "where", "database", "server", "tables", "rows", "size", "state", "verified"),
        [
            (
                one.backup_id,
                one.relative_path,
                "?" if one.source is None else one.source.database,
                (one.source and one.source.system_identifier) or "?",
                str(len(one.tables)),
                rows(one.rows),
                human_size(one.bytes),
                state(one),
                when_verified(one),
            )
            for one in sets
        ],
    )


def state(one: FoundSet) -> str:
    """A set's state in a word or two."""
    if one.damaged or one.found_damaged:
        return "DAMAGED"
    if one.manifest_file is None:
        return "no manifest"
    if one.failed_tables:
        return "lacks tables"
    return "whole" if one.saved_before is None else "whole, saved before a restore"


def when_verified(one: FoundSet) -> str:
    """When a set was last verified, and how."""
    told = verified(one)
    if told is None:
        return "never"
    return f"{told['verified_at']} {told['depth']}{'' if told['ok'] else ' FAILED'}"


def say_set(body: Mapping[str, Any]) -> None:
    """All that is known of one set."""
    say(f"set        {body['timestamp']}")
    say(f"in         {body['backup_directory']}")
    say(f"made       {body['created_at']}")
    if body["damaged"]:
        say(f"DAMAGED    {body['damaged']}")
    if (before := body["saved_before"]) is not None:
        say(f"holds      the tables as they were before set {before} was restored")
    if (pin := body["pin"]) is not None:
        until = "" if pin["until"] is None else f" until {pin['until']}"
        say(f"pinned     by {pin['by']}{until}: {pin['reason']}")
    if source := body.get("source"):
        pgvector = source["pgvector_version"] or "none"
        say(f"of         {database(source)}, pgvector {pgvector}")
    if (verification := body["verification"]) is not None:
        state = "whole" if verification.get("ok") else "DAMAGED"
        say(f"verified   {verification.get('verified_at')}, {verification.get('depth')}: {state}")
        for error in verification.get("errors", ()):
            say(f"           {error}")
    for copy in body.get("copies", ()):
        say(f"copy       {copy['root']}: {copy['state']}{'' if copy['problem'] is None else ', ' + copy['problem']}")
    for one in body["collections"] or ():
        say(f"collection {one['name']}: {rows(one['rows'])} rows")
    for label, why in body["failed_tables"].items():
        say(f"lacks      {label}: {why}")
    for table in body["tables"]:
        say()
        say(f"table      {table['name']}: {rows(table['rows'])} rows, {human_size(table['bytes'])}")
        say(f"file       {table['file']}")
        if "columns" in table:
            say(f"sha256     {table['sha256']}")
            say(f"columns    {', '.join(f'{name} {kind}' for name, kind in table['columns'].items())}")
            for definition in table["indexes"]:
                say(f"index      {definition}")


def say_verify(body: Mapping[str, Any]) -> None:
    """What a verify found."""
    if not body["sets"]:
        say("nothing to verify: there is no set")
    for one in body["sets"]:
        state = "whole" if one["ok"] else "DAMAGED" if one["damaged"] else "NOT VERIFIED"
        say(f"{one['backup_path']} {one['timestamp']}: {state} ({one['depth']}, {one['duration']:.3f} s)")
        for label, table in one["tables"].items():
            drill = table.get("drill")
            drilled = "" if drill is None else f", restored {drill['rows']:,} rows, {drill['searches']} searches equal"
            say(f"  {label}: {'whole' if table['ok'] else 'DAMAGED'}, {rows(table['rows'])} rows{drilled}")
        for error in messages.all_heard(one, "errors"):
            say(f"  error: {messages.english(error)}")
        for note in one["notes"]:
            say(f"  note: {note}")
    for note in body["notes"]:
        say(f"note: {note}")


def say_truncate(body: Mapping[str, Any]) -> None:
    """What a truncate did, or would do."""
    for label, table in body["truncate_results"].items():
        if body["dry_run"]:
            say(f"{label}: {table['rows_before']:,} rows, all of them in set {body['backup_id']}; would be emptied")
        else:
            say(f"{label}: {table['rows_before']:,} rows -> {table['rows_after']:,}")
    for note in body.get("notes", ()):
        say(f"note: {note}")


def say_restore(body: Mapping[str, Any], *, refused: bool = False) -> None:
    """What a restore did, or would do; `refused`: what it would do if it were not refused."""
    info = body["backup_info"]
    done = "would REFUSE to restore" if refused else "would restore" if body["dry_run"] else "restored"
    say(f"{done} set {info['timestamp']} of {info['backup_path']}, {body['duration']:.3f} s")
    for key, word in (("source_database", "of"), ("target_database", "into")):
        say(f"  {word} {database(body[key])}")
    for note in body["notes"]:
        say(f"  note: {note}")
    if (saved := body.get("safety_backup")) is not None:
        say(f"  backed up first: set {saved['timestamp']} of {saved['backup_path']}")
    for label, table in body["truncate_results"].items():
        say(f"  {label}: emptied first, of {table['rows_before']:,} rows")
    for table in body["restore_results"].values():
        made = ", which would be created" if body["dry_run"] and table["created"] else ""
        made = ", created" if table["created"] and not made else made
        say(
            f"  {table['target']}{made}: {table['rows_restored']:,} rows from {table['source_file']}, "
            f"{table['rows_before']:,} rows before, {table['rows_after']:,} after"
        )
        for word in ("updated", "skipped", "left_out"):
            if table[f"rows_{word}"]:
                say(f"    {word.replace('_', ' ')}: {table[f'rows_{word}']:,} rows")
        if table["indexes_built"]:
            say(f"    indexes {'to be ' if body['dry_run'] else ''}built: {', '.join(table['indexes_built'])}")
        for note in table["notes"]:
            say(f"    note: {note}")
