"""One group's medians as bars, in plain SVG."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from bench.cases import Line, Outcome

_WIDTH, _LABELS, _VALUES = 860, 330, 70
_ROW, _BAR, _TOP = 26, 16, 58
_OURS, _OTHERS, _WHISKER, _INK, _PAPER = "#1f6f5c", "#b9c2c9", "#4a545c", "#22282d", "#ffffff"
_FONT: Final = "font-family=\"system-ui, -apple-system, 'Segoe UI', sans-serif\""


def chart(outcome: Outcome) -> str:
    """Bars of wall time, the fastest first, each with its least and greatest value as a whisker."""
    lines = sorted((line for line in outcome.lines if line.runs), key=lambda line: line.median("wall"))
    height = _TOP + _ROW * len(lines) + 14
    longest = max((max(run.wall for run in line.runs.values()) for line in lines), default=1.0)
    scale = (_WIDTH - _LABELS - _VALUES) / longest
    body = "\n".join(part for number, line in enumerate(lines) for part in _bar(line, _TOP + number * _ROW, scale))
    title = f"Seconds to write {outcome.title}"
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img">
<title>{escape(title)}</title>
<rect width="{_WIDTH}" height="{height}" fill="{_PAPER}"/>
<g {_FONT} fill="{_INK}" font-size="13">
<text x="14" y="24" font-size="15" font-weight="600">{escape(title)}</text>
<text x="14" y="43">median, least and greatest; shorter is better; green: this engine, proof and fsync included</text>
{body}
</g>
</svg>
"""


def _bar(line: Line, top: int, scale: float) -> Iterator[str]:
    walls = [run.wall for run in line.runs.values()]
    median = line.median("wall")
    middle = top + _BAR / 2
    colour = _OURS if line.contender.startswith("ours") else _OTHERS
    label = escape(line.label.replace("`", ""))
    end = _LABELS + max(walls) * scale
    yield f'<text x="{_LABELS - 10}" y="{top + 13}" text-anchor="end">{label}</text>'
    yield f'<rect x="{_LABELS}" y="{top}" width="{max(1.0, median * scale):.1f}" height="{_BAR}" fill="{colour}"/>'
    yield f'<path d="M{_LABELS + min(walls) * scale:.1f} {middle}H{end:.1f}" stroke="{_WHISKER}" stroke-width="2"/>'
    yield f'<text x="{end + 6:.1f}" y="{top + 13}">{median:.2f} s</text>'
