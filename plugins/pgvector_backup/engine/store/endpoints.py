"""What a URL of an object store names, and the address that its requests go to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.store.options import StorageOptions
from pgvector_backup.engine.store.urls import OBJECT_SCHEMES, Kind


@dataclass(frozen=True)
class ObjectUrl:
    """What a URL of an object store names.

    :param bucket: a container, with Azure
    :param prefix: without slashes around it; empty for the bucket's top
    :param account: of Azure, where the URL names it
    """

    kind: Kind
    bucket: str
    prefix: str
    account: str | None = None

    @classmethod
    def parse(cls, url: str) -> ObjectUrl:
        """Read a URL of one of `OBJECT_SCHEMES`.

        :raises InvalidParams: when it names no bucket, or more than a bucket and a prefix
        """
        scheme, rest = url.split("://", 1)
        kind = OBJECT_SCHEMES[scheme.lower()]
        authority, _, path = rest.partition("/")
        account = None
        if kind == "az" and "@" in authority:
            authority, _, host = authority.partition("@")
            account = host.split(".")[0]
        parts = [part for part in path.split("/") if part]
        if (
            not authority
            or "@" in authority
            or any(part in (".", "..") for part in parts)
            or "?" in path
            or not url.isprintable()
        ):
            raise InvalidParams(
                f"backup_root: it begins with {scheme}:// and has to name a bucket and a prefix, "
                f"{scheme}://BUCKET/PREFIX; credentials belong in the connection that storage_connection names"
            )
        return cls(kind, authority, "/".join(parts), account)


def endpoint_of(url: ObjectUrl, options: StorageOptions) -> str:
    """Where requests go; of S3 with the bucket in it. Empty: where the provider's own store is."""
    environment = os.environ
    if url.kind != "s3":
        named = {"gs": ("GOOGLE_BASE_URL",), "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")}[url.kind]
        return (options.endpoint or next((environment[one] for one in named if environment.get(one)), "")).rstrip("/")
    named = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    # What a connection says is whole: an endpoint of the environment is not another one's.
    given = options.endpoint or (
        None if options.credentials else next((environment[one] for one in named if environment.get(one)), None)
    )
    virtual = options.virtual_hosted or (
        options.credentials is None and environment.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() == "true"
    )
    if not given:
        region = options.region or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
        given = f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    parts = urlsplit(given if "://" in given else f"https://{given}")
    base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    if not virtual:
        return f"{base}/{url.bucket}"
    if parts.netloc.startswith(f"{url.bucket}."):
        return base
    return f"{parts.scheme}://{url.bucket}.{parts.netloc}{parts.path.rstrip('/')}"
