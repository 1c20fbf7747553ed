"""As much of PromQL as the rules of `docs/monitoring` use, over one scrape and one of a day before; no more of it.

It tells whether an expression fires; for how long it has to (``for``), and what is sent to whom, is Prometheus' affair.
What it does not know it refuses. `docs/monitoring/judge.py` has the same rules judged by a real Prometheus.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>[0-9.]+)(?![a-z])|(?P<duration>[0-9]+[smhd])|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r'|"(?P<text>[^"]*)"|(?P<sign>==|[-+*<>(){},=]))'
)
_COMPARED: Final[dict[str, Callable[[float, float], bool]]] = {"<": operator.lt, ">": operator.gt, "==": operator.eq}
_COUNTED: Final[dict[str, Callable[[float, float], float]]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_GATHERED: Final[dict[str, Callable[[list[float]], float]]] = {"min": min, "max": max, "sum": sum}


def scraped(text: str) -> dict[str, Vector]:
    """A scrape's samples, by name."""
    samples: dict[str, Vector] = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            samples.setdefault(one.name, {})[frozenset(one.labels.items())] = one.value
    return samples


class Judge:
    """Evaluates expressions.

    :param now: of the scrape, whatever it says; None: nothing answered
    :param yesterday: what a scrape said a day before
    :param time: seconds since 1970
    """

    def __init__(self, now: str | None, time: float, yesterday: str = "") -> None:
        self._now = scraped(now or "")
        self._yesterday = scraped(yesterday)
        self._time = time
        self._tokens: list[tuple[str, str]] = []

    def fires(self, expression: str) -> list[Mapping[str, str]]:
        """The labels of each series for which it holds; empty: it does not fire."""
        at, self._tokens = 0, []
        expression = expression.strip()
        while at < len(expression):
            match = _TOKEN.match(expression, at)
            assert match is not None, f"not PromQL as it is used here: {expression[at:]!r}"
            assert match.lastgroup is not None
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        value = self._or()
        assert self._tokens == [], f"left over: {self._tokens}"
        assert isinstance(value, dict), "a number does not fire"
        return [dict(labels) for labels in value]

    def _or(self) -> Any:
        value = self._comparison()
        while self._taken("or"):
            other = self._comparison()
            value = {**other, **value}
        return value

    def _comparison(self) -> Any:
        left = self._sum()
        for sign, holds in _COMPARED.items():
            if self._taken(sign):
                right = self._sum()
                assert isinstance(left, dict)
                others = dict.fromkeys(left, right) if isinstance(right, float) else right
                return {one: value for one, value in left.items() if one in others and holds(value, others[one])}
        return left

    def _sum(self) -> Any:
        value = self._product()
        while sign := self._taken("+", "-"):
            value = _counted(_COUNTED[sign], value, self._product())
        return value

    def _product(self) -> Any:
        value = self._primary()
        while self._taken("*"):
            value = _counted(operator.mul, value, self._primary())
        return value

    def _primary(self) -> Any:
        kind, token = self._tokens.pop(0)
        if kind == "number":
            return float(token)
        if token == "(":
            value = self._or()
            self._expect(")")
            return value
        assert kind == "word", f"not expected: {token!r}"
        if token == "time":
            self._expect("(")
            self._expect(")")
            return self._time
        if token in _GATHERED:
            return self._gathered(_GATHERED[token])
        if token == "absent":
            self._expect("(")
            value = self._or()
            self._expect(")")
            return {} if value else {frozenset(): 1.0}
        return self._selected(token)

    def _gathered(self, gather: Callable[[list[float]], float]) -> Vector:
        kept = self._names() if self._taken("by") else []
        self._expect("(")
        value = self._or()
        self._expect(")")
        groups: dict[Labels, list[float]] = {}
        for labels, one in value.items():
            groups.setdefault(frozenset(pair for pair in labels if pair[0] in kept), []).append(one)
        return {labels: gather(members) for labels, members in groups.items()}

    def _names(self) -> list[str]:
        self._expect("(")
        names = []
        while not self._taken(")"):
            names.append(self._tokens.pop(0)[1])
            self._taken(",")
        return names

    def _selected(self, name: str) -> Vector:
        wanted = set()
        if self._taken("{"):
            while not self._taken("}"):
                label = self._tokens.pop(0)[1]
                self._expect("=")
                wanted.add((label, self._tokens.pop(0)[1]))
                self._taken(",")
        samples = self._now
        if self._taken("offset"):
            assert self._tokens.pop(0) == ("duration", "1d")
            samples = self._yesterday
        return {labels: value for labels, value in samples.get(name, {}).items() if wanted <= labels}

    def _taken(self, *signs: str) -> str | None:
        if self._tokens and self._tokens[0][1] in signs and self._tokens[0][0] != "text":
            return self._tokens.pop(0)[1]
        return None

    def _expect(self, sign: str) -> None:
        assert self._taken(sign), f"{sign!r} expected before {self._tokens[:1]}"


def _counted(count: Callable[[float, float], float], left: Any, right: Any) -> Any:
    if isinstance(left, float) and isinstance(right, float):
        return count(left, right)
    if isinstance(left, float):
        return {labels: count(left, value) for labels, value in right.items()}
    assert isinstance(right, float), "series are not counted with series here"
    return {labels: count(value, right) for labels, value in left.items()}
