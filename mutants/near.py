"""A plugin of pytest: which tests come to which lines of a module; of a changed line, those alone are asked.

``MUTANTS_MODULE`` names the module's file below the checkout, ``MUTANTS_KNOWN`` a file of this plugin's own. While
that is not there, all tests run, and it is written; from then on it chooses. What a test does in another process is
not seen: for a line that no test comes to, all are asked.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

MODULE: Final = os.environ["MUTANTS_MODULE"]
KNOWN: Final = Path(os.environ["MUTANTS_KNOWN"])
ORIGINAL: Final = KNOWN.with_suffix(".original")


class Recorder:
    """Traces the module's lines, and nothing else's."""

    def __init__(self) -> None:
        self._reached: dict[str, set[int]] = defaultdict(set)
        self._seconds: dict[str, float] = {}
        self._now: set[int] = set()
        self._all_passed = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch one test, with what is set up for it."""
        self._now = self._reached[item.nodeid]
        started = time.monotonic()
        sys.settrace(self._enter)
        threading.settrace(self._enter)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            self._seconds[item.nodeid] = time.monotonic() - started

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Keep what was seen: of tests that fail by themselves, nothing."""
        if exitstatus == 0:
            known = {
                test: {"lines": sorted(lines), "seconds": round(self._seconds[test], 3)}
                for test, lines in self._reached.items()
            }
            ORIGINAL.write_bytes(Path(MODULE).read_bytes())
            KNOWN.write_text(json.dumps(known))

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        # What runs once, while the module is imported, is no test's.
        inside = frame.f_code.co_filename.endswith(MODULE) and frame.f_code.co_flags & inspect.CO_OPTIMIZED
        return self._line if inside else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self._now.add(frame.f_lineno)
        return self._line


class Chooser:
    """Leaves out the tests that do not come to what was changed; the quickest file is asked first."""

    def __init__(self) -> None:
        known: dict[str, dict[str, Any]] = json.loads(KNOWN.read_text())
        self._chosen = chosen(known, ORIGINAL.read_text(), Path(MODULE).read_text())
        by_file: dict[str, float] = defaultdict(float)
        for test in self._chosen:
            by_file[_file_of(test)] += known[test]["seconds"]
        self._order = {test: (by_file[_file_of(test)], known[test]["seconds"]) for test in self._chosen}
        self._files = set(by_file)

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        """Pass over files none of whose tests is asked."""
        name = collection_path.relative_to(config.rootpath).as_posix()
        return True if collection_path.name.startswith("test_") and name not in self._files else None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Choose, and put into order."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self._order), key=lambda item: self._order[item.nodeid]
        )


def chosen(known: dict[str, dict[str, Any]], before: str, after: str) -> set[str]:
    """The tests that come to the statements by which two texts of a module differ; all, where none is known to."""
    old = before.splitlines()
    changed = {
        number + 1
        for tag, first, end, _, _ in SequenceMatcher(None, old, after.splitlines(), autojunk=False).get_opcodes()
        if tag != "equal"
        for number in range(first, max(end, first + 1))
    }
    for lines in _neighbourhoods(ast.parse(before), changed):
        tests = {test for test, one in known.items() if not lines.isdisjoint(one["lines"])}
        if tests:
            return tests
    return set(known)


def _neighbourhoods(tree: ast.Module, changed: set[int]) -> Iterator[set[int]]:
    """The lines of the statements that hold the changed ones, from the innermost outward, without their bodies."""
    holding: Sequence[ast.stmt] = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt)
        and any(node.lineno <= line <= (node.end_lineno or node.lineno) for line in changed)
    ]
    for node in sorted(holding, key=lambda node: (node.end_lineno or node.lineno) - node.lineno):
        inner: list[ast.stmt] = getattr(node, "body", [])
        whole = isinstance(node, (ast.FunctionDef, ast.ClassDef)) or not inner
        end = (node.end_lineno or node.lineno) if whole else inner[0].lineno - 1
        yield set(range(node.lineno, end + 1))


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def pytest_configure(config: pytest.Config) -> None:
    """Record first, choose later."""
    config.pluginmanager.register(Chooser() if KNOWN.exists() else Recorder())
