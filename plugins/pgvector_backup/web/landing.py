"""Where links to the page lead: into Airflow's own UI for who may see plugins there, to the page itself for others.

With FAB's roles Viewer and User, Airflow's UI answers 404 for every plugin's page, because they lack *can read on
Plugins*; what the page itself shows and does, they may see and do.
"""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import resolve_user_from_token
from fastapi import HTTPException, Request
from starlette.responses import RedirectResponse

from pgvector_backup.installation.addresses import page_url

_log: Final = logging.getLogger(__name__)


async def lead(request: Request, dag_id: str | None = None, run_id: str | None = None) -> RedirectResponse:
    """Answer a link with an address that works for whoever follows it."""
    if await _sees_plugins(request):
        return RedirectResponse(page_url(dag_id=dag_id, run_id=run_id), status_code=302)
    query = "" if run_id is None else f"?{urlencode({'dag_id': dag_id, 'run_id': run_id})}"
    # Relative, so that it holds below whatever prefix a proxy has given.
    return RedirectResponse(f"./{query}", status_code=302)


async def _sees_plugins(request: Request) -> bool:
    try:
        user = await resolve_user_from_token(request.cookies.get(COOKIE_NAME_JWT_TOKEN))
        return get_auth_manager().is_authorized_view(access_view=AccessView.PLUGINS, user=user)
    except HTTPException:
        # The page itself says how to log in.
        return False
    except Exception:
        _log.exception("the auth manager could not be asked who sees plugins")
        return False
