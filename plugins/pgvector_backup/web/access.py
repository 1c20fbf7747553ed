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

from pgvector_backup.installation import configuration
from pgvector_backup.installation.runs import DAG_IDS, Kind

User = Annotated[BaseUser, Depends(get_user)]

Deed = Literal["read", "run", "edit"]

_DOWNLOAD_NEEDS: Final[dict[str, Deed]] = {"read": "read", "trigger": "run", "edit": "edit"}

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


def may_download(user: BaseUser) -> bool:
    """Whether a user may have the files of a set, and whatever else shows rows (`download_needs`)."""
    return may(user, _DOWNLOAD_NEEDS[configuration.download_needs()], "backup")


def requires_download(user: User) -> None:
    """Dependency of what shows rows: a backup holds the tables whole, which is more than to look at a DAG."""
    if not may_download(user):
        raise HTTPException(
            403,
            "the files of a set hold rows of the database: they need the right to "
            f"{configuration.download_needs()} the DAG {DAG_IDS['backup']} (download_needs in [pgvector_backup])",
        )


def may_create_connections(user: BaseUser) -> bool:
    """Whether a user may store connections, and so hand over a URI."""
    return get_auth_manager().is_authorized_connection(method="POST", details=ConnectionDetails(), user=user)


def requires_same_origin(request: Request) -> None:
    """Refuse what another site makes a logged-in user's browser send.

    Airflow's cookie is ``SameSite=Lax``, which keeps other sites out but not other origins of the same site. A bearer
    token is nothing that a browser adds by itself; a password of the scheme Basic is. Who is no browser sends none of
    these headers.
    """
    if request.method in _SAFE_METHODS or _has_bearer_token(request):
        return
    sent, fetch_site = request.headers.getlist("origin"), request.headers.get("sec-fetch-site")
    if not sent and fetch_site in (None, "same-origin", "none"):
        return
    # "null" is what a sandboxed frame, a file or a redirect is called: nobody's origin, whoever else is called so.
    origins = [_origin(one) for one in sent]
    if sent and None not in origins and (fetch_site == "same-origin" or set(origins) <= _own_origins(request)):
        return
    raise HTTPException(403, "a request that another origin sent on behalf of a logged-in user is not carried out")


def _has_bearer_token(request: Request) -> bool:
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    return scheme.lower() == "bearer" and token.strip() != ""


def _own_origins(request: Request) -> set[str | None]:
    configured = [conf.get("api", "base_url", fallback=""), *conf.getlist("api", "access_control_allow_origins")]
    own = (f"{scheme}://{request.headers.get('host', '')}" for scheme in _PORTS)
    return {_origin(url) for url in (*own, *configured)} - {None}


_PORTS: Final = {"http": 80, "https": 443}


def _origin(url: str) -> str | None:
    """Scheme, host and port as browsers write them; None for what names no host."""
    try:
        parts = urlsplit(url.strip())
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        return None
    if scheme not in _PORTS or not host:
        return None
    return f"{scheme}://{host}:{port or _PORTS[scheme]}"
