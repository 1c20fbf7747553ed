"""Why a set stays or goes, in words: English, as results and logs have it, with its Chinese beside it."""

from __future__ import annotations

from typing import Final

_TEXTS: Final[dict[str, tuple[str, str]]] = {
    "no_policy": ("no policy: nothing is removed", "未设置策略:不删除任何备份"),
    "last": ("one of the newest {count}, number {number}", "最新 {count} 个之一,第 {number} 个"),
    "within": ("within {days} days of the newest", "在最新备份之前 {days} 天之内"),
    "hourly": ("hourly of {period}", "{period} 的每小时备份"),
    "daily": ("daily of {period}", "{period} 的每日备份"),
    "weekly": ("weekly of {period}", "{period} 的每周备份"),
    "monthly": ("monthly of {period}", "{period} 的每月备份"),
    "yearly": ("yearly of {period}", "{period} 的每年备份"),
    "only_good": ("the only good one", "唯一完好的备份"),
    "newest_good": ("the newest good one", "最新的完好备份"),
    "at_least": (
        "one of the {count} good ones that stay whatever else is said",
        "无论如何都保留的 {count} 个完好备份之一",
    ),
    "newest_proven": ("the newest proven one", "最新的已验证备份"),
    "pinned": ("pinned by {by}: {why}", "由 {by} 固定:{why}"),
    "pinned_until": ("pinned until {day} by {by}: {why}", "由 {by} 固定至 {day}:{why}"),
    "unread": ("nobody knows what it holds: {fault}", "暂时无法读取:{fault}"),
    "in_use": ("in use: {whom}", "正在使用:{whom}"),
    "from_the_future": ("made later than now: the clock was set back", "创建时间晚于现在:时钟被调回"),
    "nothing_newer": ("{fault}, and no newer good set is there", "{fault},且没有更新的完好备份"),
    "only_copy": ("the only copy of what was emptied: {tables}", "已清空内容的唯一副本:{tables}"),
    "base": ("base of {timestamp}", "{timestamp} 的基础备份"),
    "no_rule": ("no rule keeps it", "没有规则保留它"),
    "superseded": ("{fault}, and a newer good set is there", "{fault},且已有更新的完好备份"),
}


class Reason(str):
    """A reason in English that knows its Chinese."""

    chinese: str

    def __new__(cls, english: str, chinese: str) -> Reason:
        """The reason in both languages."""
        made = super().__new__(cls, english)
        made.chinese = chinese
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.chinese


def reason(key: str, **parameters: object) -> Reason:
    """One of the reasons, with its parameters filled in."""
    english, chinese = _TEXTS[key]
    return Reason(english.format(**parameters), chinese.format(**parameters))
