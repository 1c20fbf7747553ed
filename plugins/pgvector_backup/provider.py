"""What Airflow is told of an installed package: its section of airflow.cfg, which `airflow config list` then shows.

Found by the entry point ``apache_airflow_provider``; a copy in the plugins folder has none, and needs none. Nothing of
ours is imported before somebody asks: in a copy without its hidden files Airflow's loader may execute this module
before `plugin`, whichever the file system names first.
"""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The package as Airflow's providers describe themselves."""
    import pgvector_backup  # noqa: PLC0415 (see above)
    from pgvector_backup.engine.contract.settings import SECTION, reference  # noqa: PLC0415

    return {
        "package-name": "pgvector-backup",
        "name": "pgvector backup",
        "description": pgvector_backup.__doc__,
        "versions": [pgvector_backup.__version__],
        "config": {
            SECTION: {
                "description": "Backups of pgvector tables, see the package's docs/configuration.md.",
                "options": {
                    one.key: {
                        "description": f"{one.meaning[0].upper()}{one.meaning[1:]}.",
                        "version_added": None,
                        "type": one.kind,
                        "example": None,
                        # "%" begins an interpolation in airflow.cfg.
                        "default": one.default.replace("%", "%%"),
                    }
                    for one in reference()
                },
            }
        },
    }
