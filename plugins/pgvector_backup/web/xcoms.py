"""What tasks have left, read as the tasks themselves would: by the installation's own XCom backend."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, Final

from airflow.models.xcom import XComModel
from airflow.sdk import BaseXCom
from airflow.sdk.execution_time.xcom import resolve_xcom_backend

_log: Final = logging.getLogger(__name__)


def value_of(row: XComModel) -> Any:
    """The value of a row; None where the backend keeps it elsewhere and cannot be reached from here.

    The database of an installation with a backend of its own holds a reference, of which `XComModel` knows nothing.
    """
    stored = XComModel.deserialize_value(row)
    backend: Any = resolve_xcom_backend()  # type: ignore[no-untyped-call]
    if backend is BaseXCom or backend.deserialize_value is BaseXCom.deserialize_value:
        return stored
    try:
        return backend.deserialize_value(SimpleNamespace(key=row.key, value=stored))
    except Exception as fault:
        # Whatever a backend raises: its texts may hold addresses and credentials.
        _log.warning(
            "the XCom backend %s cannot read what task %s left as %s (%s); the API server needs its access too",
            backend.__name__,
            row.task_id,
            row.key,
            type(fault).__name__,
        )
        return None
