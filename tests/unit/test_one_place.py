"""Things that are known in one place, and must not be asked for by name in another."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from pgvector_backup.engine.codec.formats import FORMATS

PACKAGE = Path(__file__).parents[2] / "plugins" / "pgvector_backup"
NAMES = {name for form in FORMATS.values() for name in (form.name, form.suffix)}


def _constants(node: ast.AST) -> set[object]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}


def compared(source: str) -> list[int]:
    """Lines of a module that ask for a format by its name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare | ast.MatchValue) and _constants(node) & NAMES:
            found.append(node.lineno)
    return found


def test_nobody_outside_the_codec_asks_what_a_format_is_called() -> None:
    asked = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in PACKAGE.rglob("*.py")
        if "codec" not in path.parts
        for line in compared(path.read_text())
    }
    assert asked == set()


def test_such_a_question_would_be_found() -> None:
    assert compared('if form.name == "csv":\n    pass') == [1]
    assert compared('match name:\n    case "binary":\n        pass') == [2]
    assert compared('x = name in ("csv", "pgcopy")') == [1]
    assert compared('file_format = "csv"') == []


def test_only_one_module_of_the_sets_walks_a_block_index() -> None:
    readers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "block_index.read(" in path.read_text() or "is_intact(" in path.read_text()
    }
    assert readers == {"engine/sets/block_index.py", "engine/sets/stored_file.py"}


def test_no_module_is_called_as_one_of_the_standard_library() -> None:
    """Airflow's loader, where it sees our folder without its dotfile, registers each module under its bare name."""
    assert [path for path in PACKAGE.rglob("*.py") if path.stem in sys.stdlib_module_names] == []
