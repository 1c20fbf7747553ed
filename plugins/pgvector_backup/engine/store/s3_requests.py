"""Requests of S3 that `obstore` does not make: it signs their URLs, and they are sent from here."""

from __future__ import annotations

import base64
import hashlib
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Literal, NamedTuple

from pgvector_backup.engine.store.bucket import REQUEST_SECONDS, Bucket


class Answer(NamedTuple):
    """What the store said; header names in lower case."""

    headers: Mapping[str, str]
    body: bytes


def request(
    bucket: Bucket,
    method: Literal["GET", "DELETE", "HEAD", "PUT"],
    path: str,
    query: Mapping[str, str],
    body: bytes | None = None,
    *,
    missing_is_none: bool = False,
) -> Answer | None:
    """Make one request of a bucket, or of an object in it.

    :param path: of the object; empty for the bucket itself
    :param body: XML
    :param missing_is_none: whether an object that is not there is no fault
    :return: None only where the object is not there
    :raises StorageFault: when the store does not do it
    """
    where = f"{bucket.kind}://{bucket.name}"
    with bucket.translated(where):
        url = bucket.signed(method, path, query)
    headers = {}
    if body is not None:
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"Content-Type": "application/xml", "Content-MD5": base64.b64encode(digest).decode()}
    asked = urllib.request.Request(url, data=body, method=method, headers=headers)  # noqa: S310 (the scheme is the endpoint's)
    try:
        with urllib.request.urlopen(asked, timeout=REQUEST_SECONDS, context=_context(bucket, url)) as answer:  # noqa: S310
            return Answer({name.lower(): value for name, value in answer.headers.items()}, bytes(answer.read()))
    except urllib.error.HTTPError as fault:
        with fault:
            said = fault.read(4096).decode(errors="replace")
        if missing_is_none and fault.code == 404:
            return None
        raise bucket.fault(where, RuntimeError(said or f"HTTP status {fault.code}")) from None
    except OSError as fault:
        raise bucket.fault(where, fault) from None


def _context(bucket: Bucket, url: str) -> ssl.SSLContext | None:
    if not url.startswith("https://"):
        return None
    verify = bucket.options.verify
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
