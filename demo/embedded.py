"""The embedded server of demo and tests, which may lie anywhere in a checkout, below root's own directories too."""

from __future__ import annotations

import os
import sys

from demo import closed_directories
from pgvector_backup.embedded.server import EmbeddedPostgres


class OpenedPostgres(EmbeddedPostgres):
    """See `closed_directories`: as root, a server that goes through them; elsewhere the one that is shipped."""

    @property
    def _through_closed(self) -> bool:
        return os.geteuid() == 0 and sys.platform == "linux" and not self.confined and not self._open_to_nobody()

    def _keeper_options(self) -> list[str]:
        options = super()._keeper_options()
        return [option for option in options if option != "--nobody"] if self._through_closed else options

    def _wrapped(self, command: list[str]) -> list[str]:
        if not self._through_closed:
            return command
        return [sys.executable, "-I", os.path.abspath(closed_directories.__file__), *command]
