"""Multipart uploads of S3 that were begun and not ended: nobody sees them, and they are paid for until given up."""

from __future__ import annotations

import logging
import ssl
import urllib.error
import urllib.request
from typing import Final, Literal
from xml.etree import ElementTree

from pgvector_backup.engine.base.errors import StorageFault
from pgvector_backup.engine.store.bucket import REQUEST_SECONDS, Bucket
from pgvector_backup.engine.store.remote import Upload

_log: Final = logging.getLogger(__name__)

_PAGES_AT_MOST: Final = 1_000


def unfinished(bucket: Bucket, prefix: str) -> list[Upload]:
    """Uploads of objects whose keys begin so; ``name`` is the rest of the key.

    A store that does not tell of them, or does not let us ask, has none as far as we can do anything about it: then
    a lifecycle rule of the bucket's has to remove them.
    """
    if not bucket.has_uploads:
        return []
    found: list[Upload] = []
    marker = {"key-marker": "", "upload-id-marker": ""}
    for _ in range(_PAGES_AT_MOST):
        asked = {"uploads": "", "prefix": prefix, **{key: value for key, value in marker.items() if value}}
        try:
            page = ElementTree.fromstring(_request(bucket, "GET", "", asked))  # noqa: S314 (of the store we trust with the data)
        except (StorageFault, ElementTree.ParseError) as fault:
            _log.warning(
                "unfinished uploads below %s cannot be listed, so a rule of the bucket's has to remove them: %s",
                prefix,
                fault,
            )
            return found
        for upload in page.findall("{*}Upload"):
            key, upload_id = upload.findtext("{*}Key"), upload.findtext("{*}UploadId")
            if key and upload_id and key.startswith(prefix):
                found.append(Upload(key.removeprefix(prefix), upload_id))
        if page.findtext("{*}IsTruncated") != "true":
            break
        marker = {
            "key-marker": page.findtext("{*}NextKeyMarker") or "",
            "upload-id-marker": page.findtext("{*}NextUploadIdMarker") or "",
        }
    return found


def abort(bucket: Bucket, path: str, upload_id: str) -> None:
    """Give one up.

    :raises StorageFault: when the store does not let us; one that is not there any more is no fault
    """
    _request(bucket, "DELETE", path, {"uploadId": upload_id})


def _request(bucket: Bucket, method: Literal["GET", "DELETE"], path: str, query: dict[str, str]) -> bytes:
    where = f"{bucket.kind}://{bucket.name}"
    with bucket.translated(where):
        url = bucket.signed(method, path, query)
    request = urllib.request.Request(url, method=method)  # noqa: S310 (the scheme is the endpoint's)
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS, context=_context(bucket, url)) as answer:  # noqa: S310
            return bytes(answer.read())
    except urllib.error.HTTPError as fault:
        with fault:
            said = fault.read(4096).decode(errors="replace")
        if method == "DELETE" and fault.code == 404:
            return b""
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
