"""Operators' signatures, trigger forms and Airflow's own reference have the defaults that are told once."""

from __future__ import annotations

import inspect
import json
from importlib import resources
from typing import Any

import jsonschema
import pytest

from pgvector_backup.engine.contract.keys import Key
from pgvector_backup.engine.contract.request_keys import BACKUP_KEYS, RESTORE_KEYS, VERIFY_KEYS
from pgvector_backup.operators.backup import PgVectorBackupOperator
from pgvector_backup.operators.params import backup_params, restore_params, verify_params
from pgvector_backup.operators.restore import PgVectorRestoreOperator
from pgvector_backup.operators.verify import PgVectorVerifyOperator
from pgvector_backup.provider import get_provider_info


def defaults(operator: Any) -> dict[str, Any]:
    """Of every keyword that an operator takes, its bases' included."""
    found: dict[str, Any] = {}
    for one in reversed(operator.__mro__):
        if one.__module__.startswith("pgvector_backup."):
            found |= {
                name: parameter.default
                for name, parameter in inspect.signature(one.__init__).parameters.items()
                if parameter.default is not inspect.Parameter.empty
            }
    return found


@pytest.mark.parametrize(
    ("operator", "keys"),
    [
        (PgVectorBackupOperator, BACKUP_KEYS),
        (PgVectorRestoreOperator, RESTORE_KEYS),
        (PgVectorVerifyOperator, VERIFY_KEYS),
    ],
)
def test_a_signature_has_the_defaults_of_the_keys(operator: Any, keys: tuple[Key, ...]) -> None:
    signature = defaults(operator)
    assert signature
    for key in keys:
        name = "backup_task_id" if key.name == "task_id" else key.name
        if name in signature and signature[name] is not None and key.default is not None:
            assert signature[name] == key.default, name


@pytest.mark.parametrize(
    ("params", "keys"), [(backup_params, BACKUP_KEYS), (restore_params, RESTORE_KEYS), (verify_params, VERIFY_KEYS)]
)
def test_a_trigger_form_has_the_defaults_of_the_keys(params: Any, keys: tuple[Key, ...]) -> None:
    assert {name: param.value for name, param in params().items()} == {key.name: key.default for key in keys}


def test_airflow_accepts_what_it_is_told_of_the_package() -> None:
    schema = json.loads(resources.files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)
