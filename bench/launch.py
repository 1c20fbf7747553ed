"""Run one command as a child and print what the kernel says of it, as JSON.

A script of its own, ``python -I -S launch.py LOG COMMAND ARGUMENT…``, because a child's peak RSS counts from what its
parent had at the fork: here about 6 MiB, in the benchmark itself many times that.
"""

import json
import os
import sys
import time


def main() -> None:
    """Measure the command; its output goes to the log."""
    log, command = sys.argv[1], sys.argv[2:]
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os.execvp(command[0], command)  # noqa: S606
        finally:
            os._exit(127)
    _, status, usage = os.wait4(pid, 0)  # usage: of the child and of whatever it has waited for itself
    wall = time.monotonic() - started
    report = {
        "code": os.waitstatus_to_exitcode(status),
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "rss": usage.ru_maxrss * 1024,
    }
    print(json.dumps(report))


main()
