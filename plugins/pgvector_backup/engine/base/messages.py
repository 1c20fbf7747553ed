"""The sentences that clients of the older API match on, word for word, and the same in English: one table for both.

Results and errors carry both, ``response`` and ``response_en``. Whoever answers picks a language; logs and the command
line speak English. No sentence is ever recognized from its finished text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final


class Sentence(str):
    """A sentence in Chinese that knows its English.

    :param chinese: may hold ``{parameters}``
    :param english: with the same ones
    """

    english: str

    def __new__(cls, chinese: str, english: str) -> Sentence:
        """The sentence in both languages."""
        made = super().__new__(cls, chinese)
        made.english = english
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.english

    def format(self, *args: object, **parameters: object) -> Sentence:
        """The sentence with its parameters filled in."""
        return Sentence(super().format(*args, **parameters), self.english.format(*args, **parameters))

    def followed_by(self, detail: str) -> Sentence:
        """The sentence, a colon, and what a server or a library said."""
        return Sentence(f"{self}: {detail}", f"{self.english}: {detail}")


def english(text: str) -> str:
    """A text in English; most are in no other language."""
    return text.english if isinstance(text, Sentence) else text


def beside(key: str, text: str) -> dict[str, Any]:
    """A text for JSON, its English beside it where that differs."""
    return {key: str(text)} | ({f"{key}_en": text.english} if isinstance(text, Sentence) else {})


def all_beside(key: str, texts: Iterable[str]) -> dict[str, Any]:
    """The same for a list of texts."""
    known = list(texts)
    spoken = {key: [str(text) for text in known]}
    if any(isinstance(one, Sentence) for one in known):
        spoken[f"{key}_en"] = [english(text) for text in known]
    return spoken


def heard(said: Mapping[str, Any], key: str = "response") -> str:
    """A text as `beside` wrote it, with its English again."""
    text, translated = str(said[key]), said.get(f"{key}_en")
    return Sentence(text, translated) if isinstance(translated, str) else text


def all_heard(said: Mapping[str, Any], key: str) -> list[str]:
    """Texts as `all_beside` wrote them; none where there are none."""
    texts = list(said.get(key, ()))
    translated = said.get(f"{key}_en", texts)
    return [one if one == other else Sentence(one, other) for one, other in zip(texts, translated, strict=False)]


BACKUP_DONE: Final = Sentence("Vector表备份完成", "Vector tables backed up")
BACKUP_PLANNED: Final = Sentence("Vector表备份预演完成,未执行任何操作", "The backup was rehearsed, nothing was written")
NOTHING_DONE: Final = Sentence("未执行任何操作", "Nothing was done")
BACKUP_FAILED: Final = Sentence("Vector表备份失败", "The backup of the vector tables failed")
TRUNCATE_FAILED: Final = Sentence("Vector表清空失败", "Emptying the vector tables failed")
OUTCOME_UNKNOWN: Final = Sentence("Vector表备份结果未知", "What became of the backup is not known")
COPY_DONE: Final = Sentence("Vector表备份复制完成", "Backup sets copied")
COPY_FAILED: Final = Sentence("Vector表备份复制失败", "Copying the backup sets failed")
RESTORE_DONE: Final = Sentence("Vector表恢复完成", "Vector tables restored")
RESTORE_FAILED: Final = Sentence("Vector表恢复失败", "The restore of the vector tables failed")
SAVING_FAILED: Final = Sentence(
    "恢复前的备份失败,未更改任何内容", "the backup before the restore failed, so nothing was changed"
)
RESTORE_PLANNED: Final = Sentence(
    "Vector表恢复预演完成,未执行任何更改", "The restore was rehearsed, nothing was changed"
)
BAD_TASK_ID: Final = Sentence(
    "无效的task_id格式,只能包含字母、数字和下划线", "malformed task_id: letters, digits and underscores only"
)
TASK_DIRECTORY_MISSING: Final = Sentence(
    "指定的任务目录不存在: {task_id}", "the task's directory does not exist: {task_id}"
)
PARAMS_MISSING: Final = Sentence("缺少必需参数", "required parameters are missing")
CONNECTION_FAILED: Final = Sentence(
    "数据库连接失败,请检查连接配置", "the database cannot be reached, check the connection"
)
VERIFY_DONE: Final = Sentence("Vector表备份校验完成", "Backups verified")
VERIFY_FAILED: Final = Sentence("Vector表备份校验失败", "The verification of the backups failed")
NOTHING_TO_VERIFY: Final = Sentence("没有可校验的备份", "There is no backup to verify")
PRUNE_DONE: Final = Sentence("Vector表备份清理完成", "Backups pruned")
PRUNE_PLANNED: Final = Sentence(
    "Vector表备份清理预演完成,未执行任何更改", "The prune was rehearsed, nothing was changed"
)
PRUNE_FAILED: Final = Sentence("Vector表备份清理失败", "The prune of the backups failed")
NO_POLICY: Final = Sentence("未设置保留策略,未删除任何备份", "No retention policy is set, nothing was removed")
CONSOLIDATED: Final = Sentence("增量备份合并完成", "The increments were consolidated")
COMPARED: Final = Sentence("备份比较完成", "Backups compared")
SEARCHED: Final = Sentence("备份查找完成", "Backups searched")
NOT_FOUND_IN_SETS: Final = Sentence("任何备份中都没有该行", "The row is in no backup")

IN_ENGLISH: Final = {str(one): one.english for one in tuple(globals().values()) if isinstance(one, Sentence)}
"""Every sentence's English by its Chinese."""
