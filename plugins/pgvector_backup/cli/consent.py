"""Which database a command is about, and the question before rows of it are lost."""

from __future__ import annotations

from dataclasses import dataclass

from pgvector_backup.cli.database import named_by
from pgvector_backup.cli.order import Order
from pgvector_backup.cli.terminal import confirm, require_terminal
from pgvector_backup.engine.postgres.errors import translated
from pgvector_backup.engine.postgres.session import Connect, session
from pgvector_backup.engine.postgres.source import Source, source_of
from pgvector_backup.engine.sets.catalog import Catalog
from pgvector_backup.engine.sets.choice import several_databases
from pgvector_backup.engine.sets.found import FoundSet
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import LATEST


@dataclass(frozen=True)
class Target:
    """The database that a command would change.

    :param server: where it was reached, ``host:port`` or a socket's directory
    :param connection: what named it
    """

    source: Source
    server: str
    connection: str

    def describe(self) -> str:
        """All of it in words."""
        return f"{self.source.describe()}, reached at {self.server} by {self.connection}"


def reach(order: Order, connect: Connect) -> Target:
    """Ask the server which database it is.

    :raises DatabaseFault: when it cannot be reached
    """
    settings = order.configuration.settings()
    with translated(), session(connect, order.cancel, lock_timeout=settings.lock_timeout) as conn:
        server = f"{conn.info.host or 'localhost'}:{conn.info.port}"
        return Target(source_of(conn), server, named_by(order.arguments.dsn, order.configuration))


def find_for(order: Order, connect: Connect, location: Location, timestamp: str, *, catalog: Catalog) -> FoundSet:
    """The set that is named; ``latest`` is the newest whole one of the database that the command is about."""
    if timestamp == LATEST and several_databases(catalog.at(location).sets):
        return catalog.find(location, timestamp, of=reach(order, connect).source)
    return catalog.find(location, timestamp)


def confirm_loss(order: Order, connect: Connect, what: str) -> None:
    """Have the database's name typed before rows of it are lost, unless ``--yes`` was given.

    :param what: which rows of which tables, as a sentence
    :raises InvalidParams: when the answer is another, or there is nobody to ask
    """
    if order.arguments.yes:
        return
    require_terminal(what)  # before a server is asked
    target = reach(order, connect)
    confirm(f"{what} In {target.describe()}.", target.source.database, sure=False)
