"""The keys that a caller may give, told once for every entrance.

The DAGs' Params, HTTP and the command line all take their keys, schemas and words from `BACKUP_KEYS`, `RESTORE_KEYS`,
`COPY_KEYS`, `VERIFY_KEYS`, `PRUNE_KEYS` and `PIN_KEYS`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, get_args

from pgvector_backup.engine.codec.compression import DEFAULT_LEVEL, NAMES
from pgvector_backup.engine.codec.format_names import FormatName
from pgvector_backup.engine.contract.keys import Key
from pgvector_backup.engine.store.naming import TASK_ID_LENGTH, TASK_ID_PATTERN

REASON_LENGTH: Final = 1000
"""Characters of a pin's reason."""

_TASK_ID: Final = Key(
    name="task_id",
    types=("string", "null"),
    default=None,
    title="Task directory",
    description="Back up into this task's directory below the backup root. It must exist. "
    "Letters, digits and underscores. Empty: the backup root itself.",
    pattern=TASK_ID_PATTERN,
    max_length=TASK_ID_LENGTH,
)
_DB_CONNECTION: Final = Key(
    name="db_connection",
    types=("string", "null"),
    default=None,
    title="Database connection",
    description="Airflow connection id of the database. Empty: the configured default.",
    pattern=r"^\S+$",
    max_length=2048,
)

BACKUP_KEYS: Final[tuple[Key, ...]] = (
    _TASK_ID,
    _DB_CONNECTION,
    Key(
        name="truncate_vector_tables",
        types=("boolean",),
        default=False,
        title="Empty the vector tables afterwards",
        description="Once the backup is proven, empty the tables listed in `truncate_tables`. "
        "Refused when a row was written that the backup does not hold. Switches the backup on.",
    ),
    Key(
        name="backup_vector_tables",
        types=("boolean",),
        default=True,
        title="Back up",
        description="Off, with truncate off as well: nothing is done.",
    ),
    Key(
        name="file_format",
        types=("string",),
        default="csv",
        title="File format",
        description="`csv` loads anywhere; `binary` is PostgreSQL's own binary COPY format, exact and several times "
        "as fast both ways.",
        choices=get_args(FormatName),
    ),
    Key(
        name="compression",
        types=("string",),
        default="none",
        title="Compression",
        description="`zstd` or `gzip`: ordinary files that `zstd -d` and `gzip -d` open.",
        choices=NAMES,
    ),
    Key(
        name="compression_level",
        types=("integer",),
        default=DEFAULT_LEVEL,
        title="Compression level",
        description="zstd: 1 to 19; gzip: 1 to 9. Random digits hardly get smaller with more effort.",
    ),
    Key(
        name="mode",
        types=("string", "null"),
        default=None,
        title="Mode",
        description="`full`: every row; `incremental`: the rows that were written since the last set, where that can "
        "be proven, otherwise every row, and the result says why. Empty: the configured `mode`.",
        choices=("full", "incremental"),
    ),
    Key(
        name="dry_run",
        types=("boolean",),
        default=False,
        title="Dry run",
        description="Say what would be read, how large that is and whether there is room; write nothing.",
    ),
)

_PLACE_KEYS: Final = (
    Key(
        name="backup_path",
        types=("string", "null"),
        default=None,
        title="Backup path",
        description="Directory of the set, relative to the backup root, as the list of sets gives it, e.g. "
        "`task_20250721_213627/vector_bak` or `vector_bak`.",
        max_length=2048,
    ),
    Key(
        name="task_id",
        types=("string", "null"),
        default=None,
        title="Task directory",
        description="In place of the path: the task whose directory holds the set.",
        pattern=TASK_ID_PATTERN,
        max_length=TASK_ID_LENGTH,
    ),
    Key(
        name="timestamp",
        types=("string", "null"),
        default=None,
        title="Timestamp",
        description="Which set, e.g. `20250721_234914`; `latest`: the newest that is whole.",
        pattern=r"^[A-Za-z0-9_-]+$",
        max_length=TASK_ID_LENGTH,
    ),
)

_FROM_COPY: Final = Key(
    name="from_copy",
    types=("string", "null"),
    default=None,
    title="From a copy",
    description="Read the set at this one of `copy_roots`, named as there, in place of the backup root.",
    max_length=2048,
)

RESTORE_KEYS: Final[tuple[Key, ...]] = (
    *_PLACE_KEYS,
    _FROM_COPY,
    Key(
        name="tables",
        types=("array", "null"),
        default=None,
        title="Tables",
        description="Only these tables of the set, named as in its manifest. Empty: all of them.",
    ),
    _DB_CONNECTION,
    Key(
        name="truncate_before_restore",
        types=("boolean",),
        default=False,
        title="Empty the tables first",
        description="The rows that are there now are replaced by those of the set.",
    ),
    Key(
        name="backup_before_restore",
        types=("boolean",),
        default=False,
        title="Back up first",
        description="Before rows are replaced or overwritten, back up the tables as they are now, as one more set "
        "beside this one. If that fails, nothing is restored.",
    ),
    Key(
        name="on_conflict",
        types=("string",),
        default="error",
        title="Rows with a key that is there already",
        description="`error`: nothing is restored. `skip`: the row that is there stays. `update`: it is overwritten.",
        choices=("error", "skip", "update"),
    ),
    Key(
        name="collections",
        types=("array", "null"),
        default=None,
        title="Collections",
        description="Only these collections, by name, with their embeddings. Empty: all of them.",
    ),
    Key(
        name="rename_collection",
        types=("object", "null"),
        default=None,
        title="Rename collections",
        description='`{"old name": "new name"}`: restored under the new name as a copy beside the original. '
        "Without `collections`, these alone.",
    ),
    Key(
        name="schema",
        types=("string", "null"),
        default=None,
        title="Schema",
        description="Restore into this schema in place of the one that was backed up.",
        max_length=63,
    ),
    Key(
        name="create_missing",
        types=("boolean",),
        default=True,
        title="Create what is missing",
        description="The extension, schema, tables, constraints and indexes that the set tells of.",
    ),
    Key(
        name="trust_definitions",
        types=("boolean",),
        default=False,
        title="Trust the set's definitions",
        description="Make tables whose defaults, checks or indexes call functions that are not the server's own, not "
        "of an extension and not immutable. They run with the rights of the connection's role.",
    ),
    Key(
        name="into_other_database",
        types=("boolean",),
        default=False,
        title="Into another database",
        description="The set may go among the rows of another database than the one that it is of. Where the tables "
        "hold no rows this need not be said.",
    ),
    Key(
        name="dry_run",
        types=("boolean",),
        default=False,
        title="Dry run",
        description="Say which tables, rows and conflicts there would be; change nothing.",
    ),
)

COPY_KEYS: Final[tuple[Key, ...]] = (
    *_PLACE_KEYS[:2],
    replace(
        _PLACE_KEYS[2],
        description="Which set, e.g. `20250721_234914`; empty or `latest`: the newest that is whole.",
    ),
    replace(
        _FROM_COPY,
        description="Bring the set from this one of `copy_roots`, named as there, to the backup root and to the other "
        "ones. Empty: from the backup root to each of `copy_roots`.",
    ),
    Key(
        name="all",
        types=("boolean",),
        default=False,
        title="Every set",
        description="Every set of the place named; without one, of every place.",
    ),
    Key(
        name="quick",
        types=("boolean",),
        default=False,
        title="Believe sizes",
        description="Of what lies at the other root already, compare names and sizes only; otherwise it is read.",
    ),
)

VERIFY_KEYS: Final[tuple[Key, ...]] = (
    *_PLACE_KEYS[:2],
    replace(
        _PLACE_KEYS[2],
        description="Which set, e.g. `20250721_234914`; empty or `latest`: the newest, damaged or not.",
    ),
    _FROM_COPY,
    Key(
        name="depth",
        types=("string",),
        default="rows",
        title="Depth",
        description="`files`: manifest, sizes and checksums. `rows`: every row is decoded as well. `drill`: the set is "
        "restored into a scratch database as well, compared, searched, and dropped.",
        choices=("files", "rows", "drill"),
    ),
    Key(
        name="db_connection",
        types=("string", "null"),
        default=None,
        title="Database for the drill",
        description="Airflow connection id of a server on which a scratch database may be made. Empty: an embedded "
        "server on the worker.",
        pattern=r"^\S+$",
        max_length=2048,
    ),
)

PRUNE_KEYS: Final[tuple[Key, ...]] = (
    replace(
        _PLACE_KEYS[0],
        description="Only the sets of this directory, relative to the backup root, as the list of sets gives it. "
        "Empty: every location.",
    ),
    replace(_PLACE_KEYS[1], description="In place of the path: the task whose directory holds the sets."),
    Key(
        name="dry_run",
        types=("boolean",),
        default=False,
        title="Dry run",
        description="Say what would go and what would stay, and why; remove nothing.",
    ),
    Key(
        name="force",
        types=("boolean",),
        default=False,
        title="Remove more than half",
        description="A plan that removes more than half of a location's sets waits for a second run that says the "
        "same; with this it does not wait.",
    ),
    Key(
        name="consolidate",
        types=("boolean",),
        default=False,
        title="Consolidate",
        description="Where sets stay only because the newest increment stands on them, write it as a full set first, "
        "and verify that; then they may go.",
    ),
)

PIN_KEYS: Final[tuple[Key, ...]] = (
    Key(
        name="reason",
        types=("string",),
        default="",
        title="Reason",
        description="Why the set is to stay; shown to whoever wants to remove it.",
        pattern=r"\S",
        max_length=REASON_LENGTH,
    ),
    Key(
        name="until",
        types=("string", "null"),
        default=None,
        title="Until",
        description="The last day on which it stays, e.g. `2027-03-01`. Empty: until the pin is lifted.",
        max_length=40,
    ),
)
