"""The page "Vector backups" in a real browser, as a user of a running Airflow meets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, FrameLocator, Locator, Page

from tests.helpers.browser import open_page
from tests.helpers.installation import Installation

ROUTE = "/plugin/vector-backups"


@dataclass
class Visit:
    """One user's visit: the browser's window, and within it the frame that shows the page."""

    installation: Installation
    window: Page
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def frame(self) -> FrameLocator:
        return self.window.frame_locator("iframe")

    def open(self, query: str = "") -> Visit:
        """Go to the page and wait until it shows what it knows."""
        path = f"{ROUTE}/pgvector-backup/{query}" if query else ROUTE
        self.window.goto(f"{self.installation.airflow.url}{path}")
        self.frame.locator("main[aria-busy=false]").wait_for()
        return self

    def button(self, name: str) -> Locator:
        return self.frame.get_by_role("button", name=name, exact=True)

    @property
    def dialog(self) -> Locator:
        return self.frame.get_by_role("dialog")

    def set_of(self, key: str) -> Locator:
        """The part of the table that is about one set, by ``{relative_path}/{timestamp}``."""
        return self.frame.locator(f'[data-set="{key}"]')

    def open_set(self, key: str) -> Locator:
        """Open a set, and give what it shows."""
        part = self.set_of(key)
        part.locator(".opener").click()
        part.locator(".set-detail").wait_for()
        return part

    @property
    def running(self) -> Locator:
        return self.frame.locator(".running-card")

    @property
    def notice(self) -> Locator:
        return self.frame.locator("[data-notice]")

    def posted(self) -> list[str]:
        """What was asked to be changed: method and path of every such request to the API."""
        return [
            f"{method} {urlsplit(url).path}"
            for method, url in self.requests
            if method != "GET" and "/api/v0/data_pipeline/vector/" in url
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its frame."""
        wide = self.frame.locator("html").evaluate("root => root.scrollWidth - root.clientWidth")
        assert isinstance(wide, int)
        return wide


@dataclass(frozen=True)
class Visitors:
    """Opens visits; each user logs in once, by hand, in Airflow's own form."""

    installation: Installation
    browser: Browser
    logins: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def __call__(
        self,
        user: str = "admin",
        *,
        width: int = 1280,
        height: int = 900,
        theme: str = "light",
        language: str = "en",
        before: Callable[[Page], None] = lambda window: None,
    ) -> Iterator[Visit]:
        """One visit, from log-in on. Whatever went wrong in the browser meanwhile fails the test at the end.

        :param before: prepares the window, before the page is opened
        """
        state = self._login(user)
        with open_page(
            self.browser,
            storage_state=state,
            viewport={"width": width, "height": height},
            locale={"en": "en-US", "zh": "zh-CN"}[language],
            timezone_id="Europe/Berlin",
            accept_downloads=True,
        ) as window:
            window.set_default_timeout(20_000)
            window.add_init_script(f"localStorage.theme ??= '{theme}'; localStorage.i18nextLng ??= '{language}';")
            visit = Visit(self.installation, window)
            window.on("request", lambda request: visit.requests.append((request.method, request.url)))
            window.on("pageerror", lambda error: visit.faults.append(str(error)))
            window.on("console", lambda message: _note(visit, message.type, message.text))
            before(window)
            yield visit.open()
            own = urlsplit(self.installation.airflow.url).netloc
            assert {urlsplit(url).netloc for _, url in visit.requests if not url.startswith(("data:", "blob:"))} == {
                own
            }
            assert visit.faults == []

    def _login(self, user: str) -> Any:
        if user not in self.logins:
            airflow = self.installation.airflow
            with open_page(self.browser, locale="en-US") as window:
                window.goto(airflow.url)
                window.fill("input[name=username]", user)
                window.fill("input[name=password]", airflow.passwords[user])
                window.click("button[type=submit]")
                window.wait_for_url(lambda url: "/auth/" not in url)
                state: dict[str, Any] = dict(window.context.storage_state())
            # The cookie alone: theme and language are each visit's own.
            self.logins[user] = {"cookies": state["cookies"], "origins": []}
        return self.logins[user]


def _note(visit: Visit, kind: str, text: str) -> None:
    """Keep what the browser complains about; that a refused request is one is told by the page itself."""
    if kind == "error" and not text.startswith("Failed to load resource"):
        visit.faults.append(text)
