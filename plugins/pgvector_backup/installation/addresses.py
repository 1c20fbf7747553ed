"""Where the page "Vector backups" is found: its own address, and the one inside Airflow's UI."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode, urlsplit

from airflow.configuration import conf

PAGE_PREFIX: Final = "/pgvector-backup"
"""Below the root of the API server, where the page's files are."""

PAGE_ROUTE: Final = "vector-backups"
"""Of the page inside Airflow's UI: ``plugin/{route}``."""


LANDING: Final = "open"
"""Below `PAGE_PREFIX`: leads to the page inside Airflow's UI, or to the page itself for who may not see it there."""


def link_url(*, dag_id: str | None = None, run_id: str | None = None) -> str:
    """The address for a link that anybody may follow; arguments as of `page_url`."""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    query = "" if run_id is None else f"?{urlencode({'dag_id': dag_id, 'run_id': run_id})}"
    return f"{base}{PAGE_PREFIX}/{LANDING}{query}"


def page_url(*, dag_id: str | None = None, run_id: str | None = None) -> str:
    """The page inside Airflow's UI.

    :param run_id: opens the set that this run of ``dag_id`` has made; the run itself, if it has made none
    :return: below ``[api] base_url``; without one, a path from the server's root
    """
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    if run_id is None:
        return f"{base}/plugin/{PAGE_ROUTE}"
    # What follows the route is the address, from the server's root, that Airflow's UI shows in the page's frame.
    framed = f"{urlsplit(base).path}{PAGE_PREFIX}/"
    return f"{base}/plugin/{PAGE_ROUTE}{framed}?{urlencode({'dag_id': dag_id, 'run_id': run_id})}"
