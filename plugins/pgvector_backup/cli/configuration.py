"""How this machine backs up: flags, then the environment, then airflow.cfg, then what everybody gets.

Keys and their meaning are Airflow's section ``[pgvector_backup]``, read here without Airflow.
"""

from __future__ import annotations

import configparser
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from pgvector_backup.cli.storage import options_of
from pgvector_backup.engine.contract.settings import SECTION, Settings, read_settings, time_zone

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Configuration:
    """What is configured, wherever.

    :param flags: keys of ``[pgvector_backup]`` that the command line gave
    """

    flags: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def home(self) -> str:
        """AIRFLOW_HOME, or where Airflow has it by default."""
        return self.environment.get("AIRFLOW_HOME") or os.path.expanduser("~/airflow")

    def settings(self) -> Settings:
        """What does not change from request to request.

        :raises InvalidParams: naming the key whose value cannot be used
        """
        return read_settings(
            self.given, home=self.home, storage=lambda connection_id: options_of(connection_id, self.environment)
        )

    def given(self, key: str, section: str = SECTION) -> str | None:
        """The text that a key was given; None where nobody wrote it down."""
        if section == SECTION and key in self.flags:
            return self.flags[key]
        value = self.environment.get(f"AIRFLOW__{section.upper()}__{key.upper()}")
        if value is None:
            value = self._file().get(section, {}).get(key)
        # As Airflow takes it: "%%" is "%".
        return None if value is None else value.replace("%%", "%")

    def now(self) -> datetime:
        """The time in the zone that names of sets are in."""
        return datetime.now(time_zone(self.given("default_timezone", "core") or "utc"))

    def _file(self) -> dict[str, dict[str, str]]:
        path = Path(self.environment.get("AIRFLOW_CONFIG") or os.path.join(self.home, "airflow.cfg"))
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(path.read_text())
        except OSError:
            return {}
        except (configparser.Error, UnicodeDecodeError) as fault:
            _log.warning("%s cannot be read, so it has no say: %s", path, type(fault).__name__)
            return {}
        return {name: dict(parser[name]) for name in parser.sections()}
