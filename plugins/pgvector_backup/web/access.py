"""Who may do what: Airflow's own users and permissions, asked of its auth manager."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request

from pgvector_backup.installation.runs import DAG_IDS, Kind

User = Annotated[BaseUser, Depends(get_user)]

Deed = Literal["read", "run", "edit"]

# What Airflow itself asks for the same deeds on its own pages.
_ASKED: Final[dict[Deed, tuple[Literal["GET", "POST", "PUT"], DagAccessEntity | None]]] = {
    "read": ("GET", None),
    "run": ("POST", DagAccessEntity.RUN),
    "edit": ("PUT", DagAccessEntity.RUN),
}

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def requires(deed: Deed, kind: Kind) -> Any:
    """Dependency of a route: 401 without a user, 403 unless the user may do that to the kind's DAG."""
    method, entity = _ASKED[deed]
    return Depends(requires_access_dag(method, entity, param_dag_id=DAG_IDS[kind]))


def may(user: BaseUser, deed: Deed, kind: Kind) -> bool:
    """Whether a user may."""
    method, entity = _ASKED[deed]
    dag_id = DAG_IDS[kind]
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=details, user=user)


def may_create_connections(user: BaseUser) -> bool:
    """Whether a user may store connections, and so hand over a URI."""
    return get_auth_manager().is_authorized_connection(method="POST", details=ConnectionDetails(), user=user)


def requires_same_origin(request: Request) -> None:
    """Refuse what another site makes a logged-in user's browser send.

    Airflow's cookie is ``SameSite=Lax``, which keeps other sites out but not other origins of the same site. A token
    in the header is nothing that a browser adds by itself. Who is no browser sends neither of these headers.
    """
    if request.method in _SAFE_METHODS or request.headers.get("authorization"):
        return
    origin, fetch_site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if origin is None and fetch_site in (None, "same-origin", "none"):
        return
    if origin is not None and (fetch_site == "same-origin" or _origin(origin) in _own_origins(request)):
        return
    raise HTTPException(403, "a request that another origin sent on behalf of a logged-in user is not carried out")


def _own_origins(request: Request) -> set[str]:
    configured = [conf.get("api", "base_url", fallback=""), *conf.getlist("api", "access_control_allow_origins")]
    return {f"{scheme}://{request.headers.get('host', '')}" for scheme in ("http", "https")} | {
        _origin(url) for url in configured if url
    }


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
