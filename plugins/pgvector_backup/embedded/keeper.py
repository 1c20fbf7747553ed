"""Keep one command running for as long as the caller lives, then end it with everything it started.

Run as a script:

    python keeper.py [--signal INT] [--grace SECONDS] [--nobody] [--confined]
                     [--address-space BYTES] [--hold FD] [--remove DIRECTORY]… -- COMMAND ARGUMENT…

The caller holds the writing end of standard input and never writes. When it closes that end, or dies in any
way at all, the keeper sends the signal to the command, waits, and ends whatever is left. Being a "child
subreaper", the keeper becomes the parent of every descendant that outlives its own parent or leaves its
process group: it finds them all, and touches no other process. Its exit code is the command's.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, NoReturn

import psutil

try:
    import resource
except ImportError:  # no such limits there
    resource = None  # type: ignore[assignment, unused-ignore]

# linux/prctl.h and linux/capability.h
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522


# --- for the caller ---


def start_kept(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    output: IO[bytes],
    options: Sequence[str] = (),
    hold: int | None = None,
    directory: str | os.PathLike[str] = "/",
) -> subprocess.Popen[bytes]:
    """Start ``command`` under a keeper, in a session of its own; :func:`end_kept` ends it.

    :param options: the keeper's own options, see the module's docstring
    :param hold: a file descriptor (of a lock file) that the keeper keeps open until all is gone
    :param directory: the working directory
    """
    if hold is not None:
        options = [*options, f"--hold={hold}"]
    return subprocess.Popen(
        [sys.executable, "-I", os.path.abspath(__file__), *options, "--", *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=directory,
        pass_fds=() if hold is None else (hold,),
        # A terminal's Ctrl-C is for the caller alone, which then ends things in order.
        start_new_session=True,
    )


def end_kept(process: subprocess.Popen[bytes]) -> int:
    """End the command, wait until everything it started is gone, return its exit code."""
    if process.stdin is not None:
        process.stdin.close()
    return process.wait()


# --- the keeper itself ---


class _Command:
    """The command the keeper runs, and the children that come to it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: int | None = None

    def reap(self) -> bool:
        """Collect the children that have ended; False once none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                self.code = os.waitstatus_to_exitcode(status)

    def has_ended(self) -> bool:
        self.reap()
        return self.code is not None

    def end(self, number: signal.Signals, grace: float) -> None:
        """Signal the command, wait ``grace`` seconds, then end its descendants: asked first, then forced."""
        if not self.has_ended():
            os.kill(self.pid, number)
            deadline = time.monotonic() + grace
            while not self.has_ended() and time.monotonic() < deadline:
                time.sleep(0.02)
        for step, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 60.0)):
            deadline = time.monotonic() + seconds
            signalled: set[int] = set()
            while self.reap() and time.monotonic() < deadline:
                # Again in every round: a descendant may fork while we look.
                for process in psutil.Process().children(recursive=True):
                    if process.pid not in signalled:
                        signalled.add(process.pid)
                        with contextlib.suppress(psutil.NoSuchProcess):
                            process.send_signal(step)
                time.sleep(0.02)


def _prctl(option: int, *arguments: int) -> None:
    """Call prctl(2) where there is one."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    longs = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(ctypes.c_int(option), *longs) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def _become_nobody() -> None:
    """Give up root, which PostgreSQL refuses to run as."""
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)


def _drop_capabilities() -> None:
    """Have none."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable; then their upper halves.
    data = (ctypes.c_uint32 * 6)()
    if libc.capset(header, data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capset: {os.strerror(number)}")


def _prepare_confinement() -> None:
    """What has to be done while we may still: of root's, give up every capability that a program could get later."""
    if sys.platform != "linux":
        return
    # When the machine's memory runs out, this is what goes first, not who started it.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    if os.geteuid() != 0:
        return
    number = 0
    with contextlib.suppress(OSError):  # behind the last one that this kernel knows
        while True:
            _prctl(_PR_CAPBSET_DROP, number)
            number += 1


def _give_up_privileges() -> None:
    """Keep no capability, and let no program that is run later give one back (setuid, file capabilities)."""
    if sys.platform != "linux":
        return
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _drop_capabilities()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _run(command: list[str], keeper: int, arguments: argparse.Namespace) -> NoReturn:
    """In the forked child: become the command."""
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        # Ignored signals survive exec, and a shell's background job starts with SIGINT ignored.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        if arguments.confined:
            _prepare_confinement()
        if arguments.nobody:
            _become_nobody()
        if arguments.confined:
            _give_up_privileges()
        if arguments.address_space and resource is not None:
            resource.setrlimit(resource.RLIMIT_AS, (arguments.address_space, arguments.address_space))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # rows have no business in a core file
        # After the change of user, which clears it. This covers a keeper that is killed itself.
        _prctl(_PR_SET_PDEATHSIG, arguments.signal)
        if os.getppid() != keeper:
            raise OSError("the keeper is gone")
        os.execvp(command[0], command)  # noqa: S606
    except BaseException as error:  # nothing may return into the keeper's code
        os.write(2, f"cannot run {command[0]}: {error}\n".encode())
    os._exit(127)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--signal", type=lambda name: signal.Signals[f"SIG{name}"], default=signal.SIGTERM)
    parser.add_argument("--grace", type=float, default=20.0)
    parser.add_argument("--nobody", action="store_true")
    parser.add_argument("--confined", action="store_true")
    parser.add_argument("--address-space", type=int, default=0)
    parser.add_argument("--hold", type=int)
    parser.add_argument("--remove", action="append", default=[])
    parser.add_argument("command", nargs="+")
    return parser.parse_args(arguments)


def main() -> int:
    """Run the keeper; return the command's exit code, 128 and more for a signal."""
    arguments = _parse(sys.argv[1:])
    if arguments.hold is not None:
        os.set_inheritable(arguments.hold, False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)

    # Wakes the loop below when a child ends, and when somebody asks the keeper itself to end.
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    stop_asked = False

    def ask_to_stop(number: int, frame: object) -> None:
        nonlocal stop_asked
        stop_asked = True

    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask_to_stop)

    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        _run(arguments.command, keeper, arguments)
    command = _Command(pid)
    try:
        while not stop_asked and not command.has_ended():
            ready, _, _ = select.select([0, awake], [], [])
            if awake in ready:
                os.read(awake, 4096)
            if 0 in ready and not os.read(0, 4096):
                break
    finally:
        command.end(arguments.signal, arguments.grace)
        for directory in arguments.remove:
            shutil.rmtree(directory, ignore_errors=True)
    code = 1 if command.code is None else command.code
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
