"""Telling the kernel to begin writing a file out, so that the fsync at its end has little left to do."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_WRITE: Final = 2
"""SYNC_FILE_RANGE_WRITE of ``sync_file_range(2)``: begin to write dirty pages, do not wait."""


def _find() -> ctypes._NamedFuncPointer | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


_sync_file_range: Final = _find()


def begin(descriptor: int, offset: int, length: int) -> None:
    """Begin to write a range out. A hint: where it cannot be given, the fsync does all of the work."""
    if _sync_file_range is not None:
        _sync_file_range(descriptor, offset, length, _WRITE)
