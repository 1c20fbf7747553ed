"""Each role of FAB in a browser, against a running Airflow: what its users see of the page, and may do.

    python -m matrix roles URL PASSWORD     of an Airflow with FAB and its user `admin`, e.g. docker-compose.yaml's

Makes a user for each role, logs in with FAB's own form, follows the link that docs, tasks and notifications have,
looks for the page in Airflow's navigation, and backs up with the browser's own cookies; then deletes the users. Prints
what was seen, and fails where that is not what docs/airflow-roles.md says. Pictures are left in `.matrix/roles/`.
"""

from __future__ import annotations

import secrets
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as LateError

PICTURES: Final = Path(__file__).resolve().parents[1] / ".matrix" / "roles"
API: Final = "/api/v0/data_pipeline/vector"
PAGE: Final = "/pgvector-backup"
USAGE: Final = 2


@dataclass(frozen=True)
class Seen:
    """What one role's user meets.

    :param navigation: whether Airflow's navigation has the page
    :param link: where the link leads: ``ui``, Airflow's frame around the page; ``page``, the page by itself;
        ``login``, Airflow's form
    :param shown: whether the page is shown there, with its sets
    :param button: whether "Back up now" can be pressed
    :param frame: what Airflow's own address of the page shows: ``page`` or ``404``
    :param looks: HTTP status of the overview, with the browser's cookies
    :param backs_up: HTTP status of a backup, likewise
    """

    navigation: bool
    link: str
    shown: bool
    button: bool
    frame: str
    looks: int
    backs_up: int


EXPECTED: Final = {
    "Public": Seen(False, "page", False, False, "login", 401, 401),
    "Viewer": Seen(False, "page", True, False, "404", 200, 403),
    "User": Seen(False, "page", True, True, "404", 200, 202),
    "Op": Seen(True, "ui", True, True, "page", 200, 202),
    "Admin": Seen(True, "ui", True, True, "page", 200, 202),
}
"""By role, what docs/airflow-roles.md says."""


def main() -> int:
    """See each role, print the table; 1 where it differs from what is said."""
    from tests.helpers.browser import open_browser  # noqa: PLC0415 (finds or installs a browser)

    if len(sys.argv) != len(("python", "roles", "URL", "PASSWORD")):
        print(__doc__)
        return USAGE
    url, password = sys.argv[2].rstrip("/"), sys.argv[3]
    PICTURES.mkdir(parents=True, exist_ok=True)
    login = {"username": "admin", "password": password}
    token = httpx.post(f"{url}/auth/token", json=login, timeout=60).raise_for_status().json()
    found = {}
    with (
        httpx.Client(headers={"Authorization": f"Bearer {token['access_token']}"}, timeout=60) as client,
        open_browser() as browser,
    ):
        for role in EXPECTED:
            name = f"role_{role.lower()}_{secrets.token_hex(4)}"
            if role != "Public":
                _make_user(client, url, name, role)
            try:
                found[role] = _see(browser, url, role, name)
            finally:
                if role != "Public":
                    client.delete(f"{url}/auth/fab/v1/users/{name}").raise_for_status()
            print(role, asdict(found[role]), flush=True)
    wrong = [role for role, expected in EXPECTED.items() if found[role] != expected]
    print(f"not as docs/airflow-roles.md says: {', '.join(wrong)}" if wrong else "all as docs/airflow-roles.md says")
    return 1 if wrong else 0


def _make_user(client: httpx.Client, url: str, name: str, role: str) -> None:
    """A user of one role, whose password is the name."""
    user: dict[str, Any] = {
        "username": name,
        "password": name,
        "email": f"{name}@example.com",
        "first_name": role,
        "last_name": "Role",
        "roles": [{"name": role}],
    }
    client.post(f"{url}/auth/fab/v1/users", json=user).raise_for_status()


def _see(browser: Browser, url: str, role: str, name: str) -> Seen:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(60_000)
    try:
        if role != "Public":
            page.goto(f"{url}/auth/login/")
            page.locator("input[name=username]").fill(name)
            page.locator("input[name=password]").fill(name)
            page.locator("input[type=submit], button[type=submit]").first.click()
            page.wait_for_url(lambda address: "/auth/login" not in address)
        navigation = role != "Public" and _in_navigation(page, url)
        page.goto(f"{url}{PAGE}/open")
        link = _place(page)
        shown = _heading(page, framed=link == "ui")
        button = shown and _button(page, framed=link == "ui")
        page.screenshot(path=PICTURES / f"{role}.png")
        looks = _status(page, f"{API}/overview", "GET")
        backs_up = _status(page, f"{API}/backup?wait=0", "POST")
        page.goto(f"{url}/plugin/vector-backups")
        # Airflow's UI finds out for itself that nobody is logged in.
        frame = "page" if _heading(page, framed=True) else "login" if "/login" in page.url else "404"
        page.screenshot(path=PICTURES / f"{role}-navigation.png")
        return Seen(navigation, link, shown, button, frame, looks, backs_up)
    finally:
        page.close()


def _in_navigation(page: Page, url: str) -> bool:
    page.goto(f"{url}/")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem").first.wait_for()
    return page.get_by_role("menuitem", name="Vector backups").count() > 0


def _place(page: Page) -> str:
    page.wait_for_load_state()
    if "/login" in page.url:
        return "login"
    return "page" if page.url.split("?")[0].rstrip("/").endswith(PAGE) and "/plugin/" not in page.url else "ui"


def _heading(page: Page, *, framed: bool) -> bool:
    where = page.frame_locator("iframe") if framed else page
    try:
        where.get_by_role("heading", name="Vector backups", level=1).wait_for(timeout=15_000)
        where.get_by_text("Loading", exact=False).first.wait_for(state="hidden", timeout=60_000)
    except LateError:
        return False
    # The page asks who is not logged in to do so.
    return where.get_by_role("button", name="Log in").count() == 0


def _button(page: Page, *, framed: bool) -> bool:
    where = page.frame_locator("iframe") if framed else page
    return where.get_by_role("button", name="Back up now").is_enabled()


def _status(page: Page, path: str, method: str) -> int:
    """The status of an answer to the page's own origin, with the cookies of this browser."""
    asked = """async ([path, method]) => (await fetch(path, {method, body: method === "POST" ? "{}" : undefined,
        headers: {"Content-Type": "application/json"}})).status"""
    return int(page.evaluate(asked, [path, method]))
