"""The embedded server below directories that are closed to others, such as root's own: for demo and tests alone.

As root a server runs as nobody. Where nobody has no way to its data or its programs, it is given the one capability
that opens the way, so that no permissions have to be loosened. What is shipped raises no capability: a drill brings its
programs to a place that is open.

Run as a script, as root, it becomes nobody with that capability and then the command:

    python closed_directories.py COMMAND ARGUMENT…
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

# linux/prctl.h, linux/securebits.h and linux/capability.h
_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def main() -> None:
    """Become nobody who may go through closed directories, then the command."""
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)

    def prctl(option: int, *arguments: int) -> None:
        longs = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
        _checked(libc.prctl(ctypes.c_int(option), *longs), f"prctl({option})")

    # Without this, the change of user takes the capability away, and so does each access(2) for its duration.
    prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
    bits = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable; then their upper halves.
    data = (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)
    _checked(libc.capset(header, data), "capset")
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE)
    # Again, for the change of user has cleared it: a keeper that is killed takes the server along.
    prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        raise OSError("the keeper is gone")
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606


if __name__ == "__main__":
    main()
