"""How an object store is reached where its URL does not say it: endpoint, credentials, encryption. Never shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.store.urls import without_login

_GOOD_FOR: Final = timedelta(minutes=5)
"""How long what a session said is used before it is asked again."""

Credentials = Callable[[], Mapping[str, Any]]
"""Gives credentials that are good now, in the form that `obstore` wants of its store's ``credential_provider``."""


@dataclass(frozen=True)
class StorageOptions:
    """Everything of one store's connection; what is not given is taken from the environment and the machine's role.

    :param endpoint: URL of a store that is not the provider's own
    :param virtual_hosted: whether the bucket is part of the host's name instead of the path
    :param config: further keys of `obstore`'s configuration
    :param credentials: asked whenever those at hand have run out
    :param encryption: server-side, of S3: ``AES256``, ``aws:kms`` or ``aws:kms:dsse``
    :param encryption_key: id of the key of ``aws:kms``
    :param storage_class: of data files, in the store's own words
    :param remove_versions: whether what is removed goes with all its versions
    :param verify: False: any certificate will do; a path: of a further certificate authority's
    :param secrets: texts that no message may hold
    """

    endpoint: str | None = None
    region: str | None = None
    virtual_hosted: bool = False
    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials: Credentials | None = field(default=None, repr=False)
    encryption: str | None = None
    encryption_key: str | None = field(default=None, repr=False)
    storage_class: str | None = None
    remove_versions: bool = False
    verify: bool | str = True
    secrets: tuple[str, ...] = field(default=(), repr=False)


_OWN: Final = ("encryption", "encryption_key", "storage_class", "remove_versions")


@dataclass(frozen=True)
class RemoteRoot(os.PathLike[str]):
    """A backup root given as a URL, with what else has to be known to reach it.

    :param url: as configured
    :param connection_id: whose options they are; None: the environment's
    :param options: resolves them, when they are needed
    :param encryption: and the others: see `StorageOptions`; in place of what it says
    """

    url: str = field(repr=False)
    connection_id: str | None = None
    options: Callable[[], StorageOptions] = field(default=StorageOptions, compare=False, repr=False)
    encryption: str | None = None
    encryption_key: str | None = field(default=None, repr=False)
    storage_class: str | None = None
    remove_versions: bool | None = None

    def resolved(self) -> StorageOptions:
        """The options as they are now."""
        given = {key: value for key in _OWN if (value := getattr(self, key)) is not None}
        return replace(self.options(), **given)

    def __fspath__(self) -> str:
        return self.url

    def __str__(self) -> str:
        return without_login(self.url)


def from_connection(
    conn_type: str,
    *,
    login: str | None,
    password: str | None,
    host: str | None,
    extra: Mapping[str, Any],
    session: Callable[[], Any] | None = None,
) -> StorageOptions:
    """What an Airflow connection says of a store: types ``aws``, ``google_cloud_platform``, ``wasb`` and ``adls``.

    :param session: gives the provider's own boto3 session, for roles, profiles and web identity; None: there is no
        provider, so what the connection itself holds has to do
    :raises InvalidParams: for a type that is no store's; nothing of the connection is repeated
    """
    build = {"aws": _aws, "s3": _aws, "google_cloud_platform": _google, "wasb": _azure, "adls": _azure}.get(conn_type)
    if build is None:
        raise InvalidParams(
            f"storage_connection: a connection of type {conn_type!r} is no store's; it has to be aws, "
            "google_cloud_platform, wasb or adls"
        )
    options = build(login, password, host, extra, session)
    secrets = {password, *(str(value) for key, value in _flat(extra) if _is_secret(key))}
    hidden = tuple(sorted((one for one in secrets if one), key=len, reverse=True))
    return StorageOptions(**{**options, "verify": _verify(extra), "secrets": hidden})


def _aws(
    login: str | None, password: str | None, host: str | None, extra: Mapping[str, Any], session: Any
) -> dict[str, Any]:
    service = extra.get("service_config")
    s3 = service.get("s3", {}) if isinstance(service, Mapping) else {}
    config_kwargs = extra.get("config_kwargs")
    style = config_kwargs.get("s3", {}) if isinstance(config_kwargs, Mapping) else {}
    endpoint = s3.get("endpoint_url") or extra.get("endpoint_url") or extra.get("host") or host or None
    addressing = style.get("addressing_style") or extra.get("addressing_style")
    virtual = addressing == "virtual" or extra.get("path_style") in (False, "false", "False")
    credentials: Credentials | None = None
    if login and password:
        token = extra.get("aws_session_token") or extra.get("session_token")
        fixed = {"access_key_id": login, "secret_access_key": password, "token": token, "expires_at": None}
        if not extra.get("role_arn"):
            credentials = lambda: fixed  # noqa: E731
    if credentials is None and session is not None:
        credentials = boto3_credentials(session)
    if credentials is None and extra.get("role_arn"):
        raise InvalidParams(
            "storage_connection: assuming a role needs the package apache-airflow-providers-amazon; install it, or "
            "give the machine the role"
        )
    return {
        "endpoint": endpoint,
        "region": extra.get("region_name") or extra.get("region"),
        "virtual_hosted": virtual,
        "credentials": credentials,
    }


def _google(
    login: str | None, password: str | None, host: str | None, extra: Mapping[str, Any], session: Any
) -> dict[str, Any]:
    config = {}
    for key, names in {
        "service_account": ("key_path", "extra__google_cloud_platform__key_path"),
        "service_account_key": ("keyfile_dict", "extra__google_cloud_platform__keyfile_dict"),
    }.items():
        value = next((extra[name] for name in names if extra.get(name)), None)
        if isinstance(value, Mapping):
            value = json.dumps(value)
        if value:
            config[key] = str(value)
    if _is_true(extra.get("anonymous")) or _is_true(extra.get("is_anonymous")):
        config["skip_signature"] = "true"
    return {"endpoint": extra.get("endpoint_url") or extra.get("base_url"), "config": config}


def _azure(
    login: str | None, password: str | None, host: str | None, extra: Mapping[str, Any], session: Any
) -> dict[str, Any]:
    def given(*names: str) -> Any:
        for name in names:
            for spelled in (name, f"extra__wasb__{name}", f"extra__adls__{name}"):
                if extra.get(spelled):
                    return extra[spelled]
        return None

    config: dict[str, str] = {}
    account, key = login, password
    endpoint = given("endpoint_url")
    if stated := given("connection_string"):
        parts = dict(part.split("=", 1) for part in str(stated).split(";") if "=" in part)
        account, key = parts.get("AccountName", account), parts.get("AccountKey", key)
        endpoint = endpoint or parts.get("BlobEndpoint")
        if parts.get("SharedAccessSignature"):
            config["sas_key"] = parts["SharedAccessSignature"]
    if token := given("sas_token", "sas_key"):
        config["sas_key"] = str(token).rpartition("?")[2]
    if tenant := given("tenant_id"):
        # Then login and password are an application's.
        config |= {"tenant_id": str(tenant), "client_id": account or "", "client_secret": key or ""}
        account, key = given("account_name") or (host or "").split(".")[0], None
    account = given("account_name") or account or (host or "").removeprefix("https://").split(".")[0]
    if account:
        config["account_name"] = str(account)
    if (given("account_key") or key) and "sas_key" not in config:
        config["account_key"] = str(given("account_key") or key)
    return {"endpoint": endpoint, "config": config}


def boto3_credentials(session: Callable[[], Any]) -> Credentials:
    """Credentials of a boto3 session, which knows how to renew its own.

    :param session: gives the session, when it is needed first
    """
    found: list[Any] = []

    def current() -> Mapping[str, Any]:
        if not found:
            found.append(session().get_credentials())
        if found[0] is None:
            raise InvalidParams("no AWS credentials were found: name a storage_connection, or set up the environment")
        frozen = found[0].get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(timezone.utc) + _GOOD_FOR,
        }

    return current


def _verify(extra: Mapping[str, Any]) -> bool | str:
    given = extra.get("verify")
    if given in (False, "false", "False"):
        return False
    return given if isinstance(given, str) and given.lower() != "true" else True


def _flat(extra: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in extra.items():
        found += _flat(value) if isinstance(value, Mapping) else [(key, value)]
    return found


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("secret", "token", "password", "key", "sas", "connection_string"))


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")
