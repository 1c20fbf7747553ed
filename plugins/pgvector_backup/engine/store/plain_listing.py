"""What lies below a prefix of S3 where there are keys that `obstore` does not take: other tools make all kinds.

One such key, with an empty or dotted part or a control character, makes `obstore` refuse the whole list. Nothing of
ours is called so; it is passed over here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from pgvector_backup.engine.base.errors import StorageFault
from pgvector_backup.engine.store.bucket import ODD_KEY, Bucket
from pgvector_backup.engine.store.s3_requests import request

_PAGES_AT_MOST: Final = 100_000


def takes_over(bucket: Bucket, fault: Exception) -> bool:
    """Whether a list failed for a key alone."""
    return bucket.kind == "s3" and ODD_KEY in str(fault)


def below(bucket: Bucket, prefix: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The objects up to the next slash, each with ``path``, ``size`` and ``last_modified``; names of what is deeper.

    :param prefix: without slashes around it; empty for the bucket's top
    :raises StorageFault: when the store does not tell
    """
    start = f"{prefix}/" if prefix else ""
    asked = {"list-type": "2", "prefix": start, "delimiter": "/", "encoding-type": "url"}
    objects: list[dict[str, Any]] = []
    deeper: list[str] = []
    for _ in range(_PAGES_AT_MOST):
        answer = request(bucket, "GET", "", asked)
        assert answer is not None
        try:
            page = ElementTree.fromstring(answer.body)  # noqa: S314 (of the store we trust with the data)
            encoded = page.findtext("{*}EncodingType") == "url"

            def name(text: str | None, encoded: bool = encoded) -> str:
                return (unquote_plus(text or "") if encoded else text or "").removeprefix(start)

            for one in page.findall("{*}Contents"):
                if _is_ordinary(found := name(one.findtext("{*}Key"))):
                    modified = datetime.fromisoformat((one.findtext("{*}LastModified") or "").replace("Z", "+00:00"))
                    size = int(one.findtext("{*}Size") or "")
                    objects.append({"path": start + found, "size": size, "last_modified": modified})
            for one in page.findall("{*}CommonPrefixes"):
                if _is_ordinary(found := name(one.findtext("{*}Prefix")).removesuffix("/")):
                    deeper.append(found)
        except (ElementTree.ParseError, ValueError) as fault:
            raise StorageFault(f"{bucket.kind}://{bucket.name}: its list of objects cannot be read: {fault}") from None
        asked["continuation-token"] = page.findtext("{*}NextContinuationToken") or ""
        if page.findtext("{*}IsTruncated") != "true" or not asked["continuation-token"]:
            break
    return objects, deeper


def _is_ordinary(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and name.isprintable()
