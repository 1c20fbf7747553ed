"""From words to an exit code: parse, do, tell, and let nothing out but what was meant to be."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final

from pgvector_backup.cli import terminal
from pgvector_backup.cli.arguments import parser, settings_of
from pgvector_backup.cli.commands import COMMANDS
from pgvector_backup.cli.configuration import Configuration
from pgvector_backup.cli.order import Order
from pgvector_backup.engine.base.cancel import Cancel
from pgvector_backup.engine.base.errors import BackupError, Cancelled

EXIT_CODES: Final = {
    "INTERNAL_ERROR": 1,
    "INVALID_PARAMS": 2,
    "MISSING_REQUIRED_PARAMS": 2,
    "RESOURCE_NOT_FOUND": 3,
    "CONFLICT": 4,
    "INTEGRITY_ERROR": 5,
    "STORAGE_ERROR": 6,
    "DATABASE_ERROR": 7,
}
"""By error type, which every error of the engine has; 0 is success."""

_BY_SIGNAL: Final = 128
"""What a shell adds to the number of the signal that ended a process."""


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; return its exit code."""
    arguments = parser().parse_args(argv)
    terminal.log_to_stderr(logging.WARNING if arguments.quiet else logging.INFO)
    stop = _Stop()
    order = Order(arguments, Configuration(settings_of(arguments)), stop.cancel)
    try:
        with stop.cancel.heard():
            answer = COMMANDS[arguments.command](order)
        if arguments.json:
            terminal.say_lines(json.dumps(answer.body, ensure_ascii=False, indent=2))
        else:
            answer.say()
        sys.stdout.flush()
    except BackupError as fault:
        return _failed(fault, stop, as_json=arguments.json)
    except KeyboardInterrupt:
        return _BY_SIGNAL + signal.SIGINT
    except BrokenPipeError:
        # Whoever read the result has read enough. Python would say so again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BY_SIGNAL + signal.SIGPIPE
    if answer.failure is not None:
        sys.stderr.write(f"error: {answer.failure.error_type}: {answer.failure.english}\n")
        return EXIT_CODES.get(answer.failure.error_type, 1)
    return 0


def _failed(fault: BackupError, stop: _Stop, *, as_json: bool) -> int:
    if as_json:
        terminal.say_lines(json.dumps(fault.report(), ensure_ascii=False, indent=2))
        sys.stdout.flush()
    sys.stderr.write(f"error: {fault.error_type}: {fault.english}\n")
    if isinstance(fault, Cancelled):
        return _BY_SIGNAL + (stop.signal or signal.SIGINT)
    return EXIT_CODES.get(fault.error_type, 1)


class _Stop:
    """Turns Ctrl-C and SIGTERM into a request to stop; a second one does not wait for the work to end in order."""

    def __init__(self) -> None:
        self.cancel = Cancel()
        self.signal: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        os.write(2, "stopping: what runs on the server is cancelled …\n".encode())
        self.cancel.ask()
