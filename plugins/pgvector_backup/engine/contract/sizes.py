"""Sizes as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("B", "KB", "MB", "GB", "TB", "PB")


def human_size(size: int) -> str:
    """A size in 1024-based units with one decimal, e.g. ``209.0 B``, ``764.0 KB``, ``1.2 GB``."""
    amount, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        # 1023.95 would be written 1024.0
        if amount < 1023.95:
            break
        if unit != _UNITS[-1]:
            amount /= 1024
    return f"{amount:.1f} {unit}"
