"""What Airflow discovers: the plugin's name. Everything else is imported by those who use it.

Airflow imports this module in every task's process, so nothing heavy may be imported here. Whatever fails is logged
with what to do, and Airflow goes on without us: a backup's plugin must never be why a scheduler does not start.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from functools import cached_property
from types import FrameType, GeneratorType
from typing import Any, Final

from airflow import __version__ as airflow_version
from airflow.plugins_manager import AirflowPlugin

_log: Final = logging.getLogger("pgvector_backup.plugin")

_NEEDED: Final = (3, 2)
"""The oldest Airflow whose API server has what our routes and the page are built on."""

_HERE: Final = os.path.dirname(os.path.abspath(__file__))


def too_old(version: str) -> bool:
    """Whether an Airflow is older than what is needed; of a version that says no number, nobody knows."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) < _NEEDED


class PgVectorBackupPlugin(AirflowPlugin):
    """Backups of pgvector tables; the operators are in `pgvector_backup.operators`."""

    name = "pgvector_backup"

    @classmethod
    def on_load(cls, *_: Any, **__: Any) -> None:
        """Airflow has loaded all plugins: say what keeps us from working, and leave nothing of ours in the way."""
        _remove_bare_modules()
        if too_old(airflow_version):
            _log.warning(
                "pgvector_backup is switched off: it needs Airflow %d.%d or newer, this is %s; upgrade Airflow, or "
                "remove %s from the plugins folder",
                *_NEEDED,
                airflow_version,
                _HERE,
            )

    # Asked for by the API server alone: FastAPI and all that it brings is imported there and nowhere else.
    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The engine over HTTP, and the files of the page that calls it."""
        return _or_nothing("the API and the page", _apps)

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The page in Airflow's navigation; not there when what it shows is not."""
        return _or_nothing("the page's entries in the navigation", _views) if self.fastapi_apps else []


def _apps() -> list[dict[str, Any]]:
    from pgvector_backup.installation.addresses import PAGE_PREFIX  # noqa: PLC0415
    from pgvector_backup.web.app import PREFIX, create_app  # noqa: PLC0415
    from pgvector_backup.web.page import create_page  # noqa: PLC0415

    return [
        {"app": create_app(), "url_prefix": PREFIX, "name": "pgvector backup"},
        {"app": create_page(), "url_prefix": PAGE_PREFIX, "name": "pgvector backup's page"},
    ]


def _views() -> list[dict[str, Any]]:
    from pgvector_backup.web.page import view  # noqa: PLC0415

    return [view()]


def _or_nothing(what: str, make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What is made; an empty list, and the reason in the log, when it cannot be made."""
    if too_old(airflow_version):
        return []
    try:
        return make()
    except Exception:
        _log.exception(
            "pgvector_backup: %s cannot be made and stay off, Airflow goes on without us. The folder must lie in the "
            "plugins folder under the name pgvector_backup, complete and of one release, or be installed by pip, with "
            "what requirements.txt lists; [pgvector_backup] in airflow.cfg must be readable. Mend what the error below "
            "names, then restart the API server",
            what,
        )
        return []


# --- A folder that was copied without its hidden files ---
#
# Airflow's loader executes every .py below the plugins folder as a module of its bare stem, except for what an
# .airflowignore keeps from it. Without ours that would be the whole package: a hundred modules named `tables`,
# `errors`, `app`, put in front of whoever else calls a module so.


def _end_walk() -> None:
    """Have the loader that is executing this very module look no further into our folder.

    Its walk stands at our folder while this module runs, its subfolders still before it; `os.walk` lets whoever walks
    strike them from its list. Where no such walk is found nothing is done: `_remove_bare_modules` cleans up afterwards.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        for value in list(frame.f_locals.values()):
            walk = value.gi_frame.f_locals if isinstance(value, GeneratorType) and value.gi_frame is not None else {}
            root, folders, files = walk.get("root"), walk.get("dirs"), walk.get("files")
            if isinstance(folders, list) and isinstance(files, list) and _is_here(root):
                folders.clear()
                del files[files.index(os.path.basename(__file__)) + 1 :]
        frame = frame.f_back


def _is_here(path: Any) -> bool:
    return isinstance(path, (str, os.PathLike)) and os.path.realpath(path) == os.path.realpath(_HERE)


def _remove_bare_modules() -> None:
    """Take modules of ours that were loaded by their bare stem out of everybody's way."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        ours = isinstance(file, str) and os.path.abspath(file).startswith(_HERE + os.sep)
        if ours and name.partition(".")[0] not in ("pgvector_backup", "__main__", __name__):
            del sys.modules[name]


if not os.path.exists(os.path.join(_HERE, ".airflowignore")) and "." not in __name__:
    _log.warning(
        "%s was copied without its hidden files: Airflow would execute every module in it. Copy the folder whole, "
        ".airflowignore included (cp -a pgvector_backup …/plugins/)",
        _HERE,
    )
    _end_walk()
