"""A thread that takes long turns does so alone, and only where nobody has said otherwise."""

from __future__ import annotations

import os
import threading

import pytest

from pgvector_backup.engine.base import batch_scheduling as long_turns


def in_a_thread_of_its_own(before: int) -> int:
    """The policy of a thread that had ``before`` and took long turns."""
    policies: list[int] = []

    def run() -> None:
        os.sched_setscheduler(0, before, os.sched_param(0))
        long_turns.take()
        policies.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return policies[0]


def test_a_thread_takes_them() -> None:
    ours = os.sched_getscheduler(0)
    assert in_a_thread_of_its_own(os.SCHED_OTHER) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == ours


def test_a_policy_of_its_own_is_left_alone() -> None:
    assert in_a_thread_of_its_own(os.SCHED_IDLE) == os.SCHED_IDLE


def test_a_system_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "SCHED_BATCH")
    assert in_a_thread_of_its_own(os.SCHED_OTHER) == os.SCHED_OTHER


def test_a_system_that_forbids_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    ours = os.sched_getscheduler(0)
    with monkeypatch.context() as patch:
        patch.setattr(long_turns.os, "sched_getscheduler", forbidden)
        long_turns.take()
    assert os.sched_getscheduler(0) == ours
