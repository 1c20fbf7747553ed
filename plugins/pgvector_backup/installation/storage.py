"""From an Airflow connection to what an object store wants to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.sdk.exceptions import AirflowNotFoundException

from pgvector_backup.engine.base.errors import InvalidParams, NotFound
from pgvector_backup.engine.store.options import StorageOptions, from_connection


def options_of(connection_id: str) -> StorageOptions:
    """What the connection says, of type aws, google_cloud_platform, wasb or adls.

    With the Amazon provider its own session is asked for credentials, so roles, profiles and web identity work.

    :raises NotFound: when Airflow has no such connection
    :raises InvalidParams: when it is not of a store; nothing of it is repeated
    """
    from airflow.sdk.bases.hook import BaseHook  # noqa: PLC0415 (for those who use it only)

    try:
        connection = BaseHook.get_connection(connection_id)
        extra = connection.extra_dejson
    except AirflowNotFoundException:
        raise NotFound(
            f"storage_connection: Airflow has no connection {connection_id!r} that it can read; add it, or set "
            f"AIRFLOW_CONN_{connection_id.upper()}"
        ) from None
    except Exception as fault:
        # Not chained, not quoted: what cannot be read as a connection may hold its password.
        raise InvalidParams(
            f"storage_connection: {connection_id!r} cannot be read ({type(fault).__name__}); store it anew"
        ) from None
    return from_connection(
        connection.conn_type or "",
        login=connection.login,
        password=connection.password,
        host=connection.host,
        extra=extra,
        session=_amazon_session(connection_id) if connection.conn_type == "aws" else None,
    )


def _amazon_session(connection_id: str) -> Callable[[], Any] | None:
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import (  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
            AwsBaseHook,
        )
    except ImportError:
        return None
    return lambda: AwsBaseHook(aws_conn_id=connection_id, client_type="s3").get_session()
