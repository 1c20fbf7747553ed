"""The page "Vector backups": static files that the browser runs, served beside the API that they call.

They hold no data and need no login, like the files of Airflow's own UI; whatever the page shows or does, it asks the
API for as the user who looks at it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.middleware.base import RequestResponseEndpoint
from starlette.staticfiles import StaticFiles

from pgvector_backup.installation.addresses import LANDING, PAGE_PREFIX, PAGE_ROUTE

STATIC: Final = Path(__file__).parent / "static"

HEADERS: Final = {
    # Nothing from another host, nothing inline; shown inside Airflow's own pages only.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Asked for again each time, answered by 304 while it is the same: an update is seen at once.
    "Cache-Control": "no-cache",
}


def create_page() -> FastAPI:
    """The page as an app of its own, mounted under `addresses.PAGE_PREFIX`."""
    files = FastAPI(title="Vector backups", openapi_url=None, redirect_slashes=False)

    @files.middleware("http")
    async def with_headers(request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = await call_next(request)
        answer.headers.update(HEADERS)
        return answer

    from pgvector_backup.web.landing import lead  # noqa: PLC0415 (asks Airflow's auth manager)

    files.add_api_route(f"/{LANDING}", lead, methods=["GET"], include_in_schema=False)
    files.mount("/", StaticFiles(directory=STATIC, html=True))
    return files


def view() -> dict[str, str]:
    """The entry of ``AirflowPlugin.external_views``: a page of Airflow's navigation that shows the app in a frame.

    The addresses are relative to Airflow's own root, whatever prefix a proxy has given it.
    """
    files = PAGE_PREFIX.lstrip("/")
    return {
        "name": "Vector backups",
        "href": f"{files}/",
        "url_route": PAGE_ROUTE,
        "category": "browse",
        "destination": "nav",
        "icon": f"{files}/icons/light.svg",
        "icon_dark_mode": f"{files}/icons/dark.svg",
    }
