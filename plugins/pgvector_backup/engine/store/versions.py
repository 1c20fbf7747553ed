"""Versions of an object in a versioned bucket of S3: what lies under its name, and what did before."""

from __future__ import annotations

import logging
from typing import Final
from xml.etree import ElementTree

from pgvector_backup.engine.base.errors import StorageFault
from pgvector_backup.engine.store.bucket import Bucket
from pgvector_backup.engine.store.s3_requests import request

_log: Final = logging.getLogger(__name__)

_PAGES_AT_MOST: Final = 1_000


def remove_all(bucket: Bucket, path: str) -> bool:
    """Remove every version of an object, the newest last, so that no earlier one ever shows.

    :return: False where something of it is still there: versions that are held, or that nobody may see or remove
    """
    try:
        versions = _versions(bucket, path)
    except StorageFault as fault:
        _log.warning("versions of %s cannot be listed, so only the newest is removed: %s", path, fault.message)
        return False
    for version in versions:
        try:
            request(bucket, "DELETE", path, {"versionId": version}, missing_is_none=True)
        except StorageFault as fault:
            _log.warning("version %s of %s stays: %s", version, path, fault.message)
            return False
    return bool(versions)


def _versions(bucket: Bucket, path: str) -> list[str]:
    """Ids of an object's versions and of the marks that it was removed, the newest last."""
    found: list[tuple[bool, str]] = []
    marker = {"key-marker": "", "version-id-marker": ""}
    for _ in range(_PAGES_AT_MOST):
        asked = {"versions": "", "prefix": path, **{key: value for key, value in marker.items() if value}}
        answer = request(bucket, "GET", "", asked)
        assert answer is not None
        try:
            page = ElementTree.fromstring(answer.body)  # noqa: S314 (of the store we trust with the data)
        except ElementTree.ParseError as fault:
            raise StorageFault(f"{bucket.kind}://{bucket.name}: its list of versions is no XML: {fault}") from None
        here = [one for one in page if one.tag.rpartition("}")[2] in ("Version", "DeleteMarker")]
        for one in here:
            version = one.findtext("{*}VersionId")
            if version and one.findtext("{*}Key") == path:
                found.append((one.findtext("{*}IsLatest") == "true", version))
        if page.findtext("{*}IsTruncated") != "true" or (here and (here[-1].findtext("{*}Key") or "") > path):
            break
        marker = {
            "key-marker": page.findtext("{*}NextKeyMarker") or "",
            "version-id-marker": page.findtext("{*}NextVersionIdMarker") or "",
        }
    return [version for _, version in sorted(found)]
