"""Multipart uploads of S3 that were begun and not ended: nobody sees them, and they are paid for until given up."""

from __future__ import annotations

import logging
from typing import Final
from xml.etree import ElementTree

from pgvector_backup.engine.base.errors import StorageFault
from pgvector_backup.engine.store.bucket import Bucket
from pgvector_backup.engine.store.remote import Upload
from pgvector_backup.engine.store.s3_requests import request

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
            answer = request(bucket, "GET", "", asked)
            assert answer is not None
            page = ElementTree.fromstring(answer.body)  # noqa: S314 (of the store we trust with the data)
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
    request(bucket, "DELETE", path, {"uploadId": upload_id}, missing_is_none=True)
