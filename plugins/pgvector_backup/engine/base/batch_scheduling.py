"""Threads that take longer turns on a processor, for work that is measured by its end and not by its pace."""

from __future__ import annotations

import os
from contextlib import suppress


def take() -> None:
    """Let this thread wait its turn instead of interrupting others whenever there is something to do for it.

    A reader that is woken for every few kilobytes interrupts the very server process that is writing them: on one
    machine that is four switches for one. Nothing changes where the thread has a policy of its own already, or the
    system knows no such thing as ``SCHED_BATCH``.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
