"""``python -m pgvector_backup``: the stories on a command line, for the day Airflow itself is down."""

from __future__ import annotations

import sys
from types import FrameType

if __name__ == "__main__" and __spec__ is not None and __spec__.name == "pgvector_backup.__main__":
    from pgvector_backup.cli.main import main

    sys.exit(main())


def _stand_in() -> None:
    """Be what the process's own main module was.

    Airflow's plugin loader, where no .airflowignore keeps it out, executes this file under the name ``__main__`` and
    puts it in the place of the program that runs: the scheduler, the API server.
    """
    frame: FrameType | None = sys._getframe()
    own, found = globals(), None
    while frame is not None:
        if frame.f_globals is not own and frame.f_globals.get("__name__") == "__main__":
            found = dict(frame.f_globals)
        frame = frame.f_back
    if found is not None:
        own.clear()
        own.update(found)


if __name__ == "__main__":
    _stand_in()
