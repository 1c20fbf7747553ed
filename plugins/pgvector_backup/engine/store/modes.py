"""Who may read what is written: its owner and its group, and everybody else only where a setting says so.

Rows are the users' data, and a backup root may lie where every account of a machine can look. The process's umask takes
away from this what it always does.
"""

from __future__ import annotations

_everybody = False


def readable_by_others(allowed: bool) -> None:
    """Let files and directories made from now on be read by everybody, or not."""
    global _everybody  # noqa: PLW0603 (as the umask is, it is of the process)
    _everybody = allowed


def of_file() -> int:
    """The mode of a new file."""
    return 0o664 if _everybody else 0o660


def of_directory() -> int:
    """The mode of a new directory."""
    return 0o775 if _everybody else 0o770
