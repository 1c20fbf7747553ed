"""What needs somebody's attention: told from sets, runs and the schedule, before anyone needs a restore."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from croniter import croniter  # type: ignore[import-untyped]

from pgvector_backup.engine.sets.catalog import FoundLocation, FoundSet
from pgvector_backup.web.language import Language

_GRACE: Final = timedelta(hours=1)
"""How much later than the schedule a backup may be done; on a schedule of less than that, one interval."""

_TEXTS: Final[dict[str, tuple[str, str]]] = {
    "NO_BACKUP": ("还没有任何完好的备份", "there is no good backup yet"),
    "OVERDUE": (
        "最新的完好备份是 {backup_date} 的,已超过调度允许的时间",
        "the newest good backup is of {backup_date}, older than the schedule allows",
    ),
    "UNVERIFIED": ("最新的完好备份 {timestamp} 尚未验证", "the newest good backup, {timestamp}, was never verified"),
    "VERIFY_FAILED": ("备份 {timestamp} 未通过验证", "the backup {timestamp} did not pass its verification"),
    "EMPTY": (
        "最新的备份 {timestamp} 中 {tables} 为空,而 {earlier} 中不为空",
        "in the newest backup, {timestamp}, {tables} is empty; in {earlier} it was not",
    ),
    "DAMAGED": ("备份 {timestamp} 已损坏: {damaged}", "the backup {timestamp} is damaged: {damaged}"),
    "PAUSED": ("备份 DAG 已暂停,不会自动运行", "the backup's DAG is paused: it does not run by itself"),
    "LAST_FAILED": ("最近一次备份失败: {response}", "the last backup failed: {response}"),
    "ROOT_UNREADABLE": ("无法读取备份目录: {response}", "the backups cannot be read: {response}"),
}


@dataclass(frozen=True)
class Concern:
    """Something to look at; ``code`` and ``params`` for programs."""

    code: str
    params: Mapping[str, Any]

    def to_json(self, language: Language) -> dict[str, Any]:
        """The warning with its sentence."""
        text = _TEXTS[self.code][language == "en"]
        shown = {name: ", ".join(value) if isinstance(value, list) else value for name, value in self.params.items()}
        return {"code": self.code, "params": dict(self.params), "message": text.format(**shown)}


def newest_good(places: Iterable[FoundLocation]) -> FoundSet | None:
    """The newest whole set of the root itself, where scheduled backups go; where it has none, of any task."""
    whole = [one for place in places for one in place.sets if one.whole]
    return max(whole, key=lambda one: (one.task_id is None, one.moment, one.backup_id), default=None)


def about_sets(places: Sequence[FoundLocation], *, schedule: str | None, now: datetime) -> list[Concern]:
    """What the sets themselves give reason to say.

    :param schedule: a cron expression or preset; None: backups are nobody's duty
    """
    found = []
    newest = newest_good(places)
    if newest is None:
        found.append(Concern("NO_BACKUP", {}))
    else:
        found += _overdue(newest, schedule, now) + _unverified(newest)
        (place,) = [place for place in places if place.location.relative_path == newest.relative_path]
        found += _empty(newest, place.sets[place.sets.index(newest) + 1 :])
    for place in places:
        # An old one that is damaged worries nobody who has newer ones.
        if place.sets and (damaged := place.sets[0].damaged) is not None:
            found.append(Concern("DAMAGED", {**_which(place.sets[0]), "damaged": damaged}))
    return found


def _overdue(newest: FoundSet, schedule: str | None, now: datetime) -> list[Concern]:
    interval = _interval(schedule, now)
    age = timedelta(seconds=now.timestamp() - newest.moment)
    if interval is None or age <= (allowed := interval + min(interval, _GRACE)):
        return []
    date = datetime.fromisoformat(newest.created_at).strftime("%Y-%m-%d %H:%M:%S")
    figures = {"age_seconds": round(age.total_seconds()), "allowed_seconds": round(allowed.total_seconds())}
    return [Concern("OVERDUE", {**_which(newest), "backup_date": date, **figures})]


def _interval(schedule: str | None, now: datetime) -> timedelta | None:
    """Between the last two moments that the schedule names."""
    if schedule is None or not croniter.is_valid(schedule):
        return None
    ticks = croniter(schedule, now)
    later, earlier = ticks.get_prev(datetime), ticks.get_prev(datetime)
    return timedelta(seconds=(later - earlier).total_seconds())


def _unverified(newest: FoundSet) -> list[Concern]:
    if newest.verification is None:
        return [Concern("UNVERIFIED", _which(newest))]
    return [] if newest.verification.get("ok") else [Concern("VERIFY_FAILED", _which(newest))]


def _empty(newest: FoundSet, earlier_sets: Iterable[FoundSet]) -> list[Concern]:
    emptied: dict[str, list[str]] = {}
    for table in newest.tables:
        if table.rows != 0:
            continue
        for one in earlier_sets:
            rows = next((other.rows for other in one.tables if other.name == table.name), None)
            if one.whole and rows is not None:
                if rows:
                    emptied.setdefault(one.backup_id, []).append(table.name)
                break
    return [
        Concern("EMPTY", {**_which(newest), "earlier": earlier, "tables": tables})
        for earlier, tables in emptied.items()
    ]


def _which(one: FoundSet) -> dict[str, Any]:
    return {"relative_path": one.relative_path, "timestamp": one.backup_id}
