"""What needs somebody's attention: told from sets, runs and the schedule, before anyone needs a restore."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from croniter import croniter  # type: ignore[import-untyped]

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.settings import Settings
from pgvector_backup.engine.contract.sizes import human_size
from pgvector_backup.engine.prune import planned
from pgvector_backup.engine.sets import choice
from pgvector_backup.engine.sets.found import FoundLocation, FoundSet
from pgvector_backup.engine.sets.policy import Policy, policy_of
from pgvector_backup.web.language import Language

_GRACE: Final = timedelta(hours=1)
"""How much later than the schedule a backup may be done; on a schedule of less than that, one interval."""

_RECENT: Final = timedelta(days=8)
"""How long a set that was read back and found whole speaks for those after it: a weekly verification, and a day."""

_TEXTS: Final[dict[str, tuple[str, str]]] = {
    "NO_BACKUP": ("还没有任何完好的备份", "there is no good backup yet"),
    "OVERDUE": (
        "最新的完好备份是 {backup_date} 的,已超过调度允许的时间",
        "the newest good backup is of {backup_date}, older than the schedule allows",
    ),
    "UNVERIFIED": ("最新的完好备份 {timestamp} 尚未校验", "the newest good backup, {timestamp}, was never verified"),
    "VERIFY_FAILED": ("备份 {timestamp} 未通过校验", "the backup {timestamp} did not pass its verification"),
    "EMPTY": (
        "最新的备份 {timestamp} 中 {tables} 为空,而 {earlier} 中不为空",
        "in the newest backup, {timestamp}, {tables} is empty; in {earlier} it was not",
    ),
    "DAMAGED": ("备份 {timestamp} 已损坏: {damaged}", "the backup {timestamp} is damaged: {damaged}"),
    "PAUSED": ("备份 DAG 已暂停,不会自动运行", "the backup's DAG is paused: it does not run by itself"),
    "LAST_FAILED": ("最近一次备份失败: {response}", "the last backup failed: {response}"),
    "FAILING": (
        "{what} 最近 {streak} 次均失败(自 {since} 起): {response}",
        "{what} has failed {streak} times in a row, since {since}: {response}",
    ),
    "FAILING_VERIFY": (
        "{what} 的校验最近 {streak} 次均未通过(自 {since} 起): {response}",
        "the verification of {what} has failed {streak} times in a row, since {since}: {response}",
    ),
    "FAILING_PRUNE": (
        "{what} 的清理最近 {streak} 次均失败(自 {since} 起): {response}",
        "the prune of {what} has failed {streak} times in a row, since {since}: {response}",
    ),
    "VERIFY_RUN_FAILED": ("最近一次校验未通过: {response}", "the last verification failed: {response}"),
    "ROWS_FELL": (
        "最新的备份 {timestamp} 中 {tables} 的行数不到 {earlier} 的一半",
        "in the newest backup, {timestamp}, {tables} has less than half the rows that it had in {earlier}",
    ),
    "SPACE": (
        "备份存储的剩余空间不足以再存三个备份({free})",
        "there is room for fewer than three more backups: {free} is free",
    ),
    "COPY_FAILED": ("最近一次备份没有副本在 {root}", "the last backup has no copy at {root}"),
    "POLICY_IDLE": (
        "设置了 keep_at_least,但没有任何保留规则:不会删除任何备份",
        "keep_at_least is set, but no rule of retention is: nothing is ever removed",
    ),
    "POLICY_DRASTIC": (
        "保留策略将删除 {relative_path} 中超过一半的备份",
        "the retention policy would remove more than half of the backups in {relative_path}",
    ),
    "POLICY_BAD": ("保留策略无法使用: {response}", "the retention policy cannot be used: {response}"),
    "PRUNE_FAILED": ("最近一次清理失败: {response}", "the last prune failed: {response}"),
    "ROOT_UNREADABLE": ("无法读取备份目录: {response}", "the backups cannot be read: {response}"),
}


_AGAIN: Final = {"LAST_FAILED": "FAILING", "VERIFY_RUN_FAILED": "FAILING_VERIFY", "PRUNE_FAILED": "FAILING_PRUNE"}
"""What is said of more than one failure in a row."""


@dataclass(frozen=True)
class Concern:
    """Something to look at; ``code`` and ``params`` for programs."""

    code: str
    params: Mapping[str, Any]

    def to_json(self, language: Language) -> dict[str, Any]:
        """The warning with its sentence."""
        again = self.params.get("streak", 1) > 1
        text = _TEXTS[_AGAIN.get(self.code, self.code) if again else self.code][language == "en"]
        shown = {name: ", ".join(value) if isinstance(value, list) else value for name, value in self.params.items()}
        if shown.get("what") == "":
            shown["what"] = "every location" if language == "en" else "所有位置"
        if language == "en" and "response_en" in shown:
            shown["response"] = shown["response_en"]
        of = self.params.get("database") or (None if again else self.params.get("of"))
        message = text.format(**shown) if of is None else f"{of}: {text.format(**shown)}"
        return {"code": self.code, "params": dict(self.params), "message": message}


def newest_good(places: Iterable[FoundLocation]) -> FoundSet | None:
    """The newest good set of the root itself, where scheduled backups go; where it has none, of any task."""
    sets = [one for place in places for one in place.sets]
    return choice.newest_good(one for one in sets if one.task_id is None) or choice.newest_good(sets)


def about_sets(places: Sequence[FoundLocation], *, schedule: str | None, now: datetime) -> list[Concern]:
    """What the sets themselves give reason to say, of each database in each location by itself.

    :param schedule: a cron expression or preset; None: backups are nobody's duty
    """
    found = []
    newest = newest_good(places)
    if newest is None:
        found.append(Concern("NO_BACKUP", {}))
    for place in places:
        of_each = choice.by_database(place.sets)
        for sets in of_each:
            good = choice.newest_good(sets)
            which = _which(sets[0], tell_database=len(of_each) > 1)
            if good is not None and (good is newest or _is_scheduled(place, sets)):
                found += _overdue(good, which | _which(good), schedule, now)
            if good is not None and good is newest:
                found += _unverified(good, sets, which | _which(good), schedule, now)
            if good is not None and (good is newest or len(of_each) > 1):
                earlier = sets[sets.index(good) + 1 :]
                found += _empty(good, earlier, which | _which(good))
                found += _fell(good, earlier, which | _which(good))
            # An old one that is damaged worries nobody who has newer ones.
            if (damaged := sets[0].damaged) is not None:
                found.append(Concern("DAMAGED", {**which, "damaged": damaged}))
            elif sets[0].found_damaged is not None:
                found.append(Concern("VERIFY_FAILED", which))
    return found


def _is_scheduled(place: FoundLocation, sets: Sequence[FoundSet]) -> bool:
    """Whether the schedule makes these sets, so that it is missed when none comes any more."""
    return place.location.task_id is None and any((one.run_id or "").startswith("scheduled__") for one in sets)


def _overdue(newest: FoundSet, which: Mapping[str, Any], schedule: str | None, now: datetime) -> list[Concern]:
    interval = interval_of(schedule, now)
    age = timedelta(seconds=now.timestamp() - newest.moment)
    if interval is None or age <= (allowed := interval + min(interval, _GRACE)):
        return []
    date = datetime.fromisoformat(newest.created_at).strftime("%Y-%m-%d %H:%M:%S")
    figures = {"age_seconds": round(age.total_seconds()), "allowed_seconds": round(allowed.total_seconds())}
    return [Concern("OVERDUE", {**which, "backup_date": date, **figures})]


def interval_of(schedule: str | None, now: datetime) -> timedelta | None:
    """Between the last two moments that a schedule names; None where it names none."""
    if schedule is None or not croniter.is_valid(schedule):
        return None
    ticks = croniter(schedule, now)
    later, earlier = ticks.get_prev(datetime), ticks.get_prev(datetime)
    return timedelta(seconds=(later - earlier).total_seconds())


def _unverified(
    newest: FoundSet, sets: Sequence[FoundSet], which: Mapping[str, Any], schedule: str | None, now: datetime
) -> list[Concern]:
    """That nobody has read the newest set back; no concern while one before it was, not long ago."""
    recent = max(_RECENT, 2 * (interval_of(schedule, now) or _RECENT)).total_seconds()
    passed = [one for one in sets if (one.verification or {}).get("ok") is True]
    lately = any(now.timestamp() - one.moment <= recent for one in passed)
    return [] if newest.verification is not None or lately else [Concern("UNVERIFIED", which)]


def _empty(newest: FoundSet, earlier_sets: Iterable[FoundSet], which: Mapping[str, Any]) -> list[Concern]:
    emptied: dict[str, list[str]] = {}
    for table in newest.tables:
        if table.rows != 0:
            continue
        for one in earlier_sets:
            rows = next((other.rows for other in one.tables if other.name == table.name), None)
            if one.good and rows is not None:
                if rows:
                    emptied.setdefault(one.backup_id, []).append(table.name)
                break
    return [Concern("EMPTY", {**which, "earlier": earlier, "tables": tables}) for earlier, tables in emptied.items()]


def _fell(newest: FoundSet, earlier_sets: Iterable[FoundSet], which: Mapping[str, Any]) -> list[Concern]:
    """Tables that hold less than half of what they held in the good set before; those that are empty are told so."""
    before = next((one for one in earlier_sets if one.good), None)
    if before is None:
        return []
    held = {table.name: table.rows or 0 for table in before.tables}
    fell = [table.name for table in newest.tables if table.rows and table.rows * 2 < held.get(table.name, 0)]
    return [Concern("ROWS_FELL", {**which, "earlier": before.backup_id, "tables": fell})] if fell else []


def about_space(newest: FoundSet | None, free: int | None) -> list[Concern]:
    """That fewer than three more sets like the newest would fit."""
    if newest is None or free is None or free >= _ROOM_FOR * newest.bytes:
        return []
    return [Concern("SPACE", {"free": human_size(free), "free_bytes": free, "set_bytes": newest.bytes})]


def about_copies(result: Mapping[str, Any] | None) -> list[Concern]:
    """Copies that the last backup should have made and has not.

    :param result: of its run
    """
    copies = (result or {}).get("copies")
    missing = [one for one in copies if isinstance(one, Mapping)] if isinstance(copies, list) else []
    return [Concern("COPY_FAILED", {"root": str(one.get("root"))}) for one in missing if one.get("success") is False]


def about_policy(settings: Settings, places: Sequence[FoundLocation], now: datetime) -> list[Concern]:
    """A policy that removes nothing, most of what is there, or cannot be used."""
    try:
        policy = policy_of(settings)
    except InvalidParams as fault:
        return [Concern("POLICY_BAD", messages.beside("response", fault.message))]
    if not policy.removes_anything:
        return [Concern("POLICY_IDLE", {})] if policy.at_least > 1 else []
    paths = [place.location.relative_path for place in places if _is_drastic(place, policy, now)]
    return [Concern("POLICY_DRASTIC", {"relative_path": path}) for path in paths]


def _is_drastic(place: FoundLocation, policy: Policy, now: datetime) -> bool:
    if len(place.sets) < _FEW:
        return False
    key = (policy, now.replace(minute=0, second=0, microsecond=0))
    known = _drastic.get(place.location.directory)
    if known is None or known[0] is not place or known[1] != key:
        known = _drastic[place.location.directory] = place, key, bool(planned(place, policy, now).drastic())
        while len(_drastic) > _REMEMBERED:
            _drastic.pop(next(iter(_drastic)), None)
    return known[2]


_ROOM_FOR: Final = 3
_FEW: Final = 4
"""Sets below which more than half of them is nothing to call anybody for."""

_REMEMBERED: Final = 500
_drastic: Final[dict[str, tuple[FoundLocation, tuple[Policy, datetime], bool]]] = {}
"""By directory: what was found there, by which policy and in which hour it was planned, and whether most would go."""


def _which(one: FoundSet, *, tell_database: bool = False) -> dict[str, Any]:
    """Which set, and of which database where the location has sets of several."""
    of = {"database": one.source.database} if tell_database and one.source is not None else {}
    return {"relative_path": one.relative_path, "timestamp": one.backup_id, **of}
