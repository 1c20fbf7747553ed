"""Whom to call when something begins to fail, and when it succeeds again: Airflow's own notifiers, by setting.

`on_failure` and `on_recovery` of ``[pgvector_backup]`` hold either

- names of notifiers or functions to import, ``alerts.page_us, alerts.write_mail``, of a module in the plugins
  folder; or
- one JSON object: a notifier's class, and what it is made with, which may hold templates:
  ``{"airflow.providers.smtp.notifications.smtp.SmtpNotifier": {"to": "a@b.c", "subject": "{{ pgvector.subject }}"}}``

Each is called with the task's context, in which ``pgvector`` is an `Alarm`. Called once per change: what failed is
kept as an Airflow variable until the same thing succeeds. A change that nobody could be told of is told by the next
run that finds it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import Variable

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.installation import addresses, configuration

if TYPE_CHECKING:
    from airflow.sdk import Context

_log: Final = logging.getLogger(__name__)

_PREFIX: Final = "pgvector_backup_failing_"
"""Of the variables that say what is failing now."""


@dataclass(frozen=True)
class Alarm:
    """What a notifier tells.

    :param subject: what it is about, e.g. ``backup of pgvector_default into task_1``
    :param failed: whether it begins to fail, or succeeds again
    :param errors: why, each with its remedy
    :param since: when it began to fail, ISO 8601
    :param page: where to look
    """

    subject: str
    failed: bool
    errors: tuple[str, ...]
    since: str
    page: str

    @property
    def title(self) -> str:
        """One line."""
        return f"{self.subject} {'failed' if self.failed else f'succeeds again, after it failed since {self.since}'}"

    @property
    def text(self) -> str:
        """All that is known, in lines."""
        return "\n".join([self.title, *(f"- {error}" for error in self.errors), f"Look at {self.page}"])


def tell(context: Context, subject: str, errors: Sequence[str]) -> None:
    """Call whom the settings name if this changes what is known of a subject; no trouble with it fails the task.

    :param errors: why it failed; empty: it succeeded
    """
    try:
        if not configuration.notified():
            return
        name = _PREFIX + hashlib.sha256(subject.encode()).hexdigest()[:16]
        before = Variable.get(name, default=None, deserialize_json=True)
        failing = before if isinstance(before, Mapping) else None
        if bool(errors) == (failing is not None):
            return
        now, page = configuration.now().isoformat(timespec="seconds"), addresses.link_url()
        since = now if failing is None else str(failing.get("since"))
        alarm = Alarm(subject, bool(errors), tuple(errors), since, page)
        if not _called("on_failure" if errors else "on_recovery", {**context, "pgvector": alarm}):
            return
        if errors:
            Variable.set(
                name, asdict(alarm), serialize_json=True, description="kept by pgvector_backup: what is failing"
            )
        else:
            Variable.delete(name)
    except Exception:
        _log.exception("whom [pgvector_backup] names for %s could not be called", subject)


def _called(key: str, context: Mapping[str, Any]) -> bool:
    """Call all whom a setting names, whatever becomes of one of them; whether anybody was told, or nobody is named."""
    named = notifiers(key)
    told = 0
    for name, make in named.items():
        try:
            make()({**context})
            told += 1
        except Exception:
            _log.exception("%s: %s could not be called; what failed is told again by the next run", key, name)
    return told > 0 or not named


def notifiers(key: str) -> dict[str, Callable[[], Callable[[Any], Any]]]:
    """Whom a setting names, and what makes each of them.

    :raises InvalidParams: when the setting cannot be read; by what is made, when it names what is not there
    """
    text = configuration.notifiers(key).strip()
    if not text.startswith("{"):
        names = [name.strip() for name in text.split(",") if name.strip()]
        return {name: partial(_imported, key, name) for name in names}
    try:
        made = json.loads(text)
    except ValueError as fault:
        raise InvalidParams(f"{key}: not JSON: {fault}") from None
    return {name: partial(_made, key, name, arguments) for name, arguments in made.items()}


def _made(key: str, name: str, arguments: Any) -> Any:
    if not isinstance(arguments, dict):
        raise InvalidParams(f"{key}: {name}: expected an object of arguments, got {type(arguments).__name__}")
    return _imported(key, name)(**arguments)


def _imported(key: str, name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 (for who has set it only)

    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        raise InvalidParams(
            f"{key}: {name!r} cannot be imported; it has to be on the path of the workers, as what is in the plugins "
            "folder is"
        ) from None
