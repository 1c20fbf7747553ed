"""Object Lock of S3: an object's version that is held can be removed by nobody before its time.

A bucket that has it is versioned too: a plain removal would succeed, hide the object, and free nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Final
from xml.etree import ElementTree

from pgvector_backup.engine.base.errors import InvalidParams, StorageFault
from pgvector_backup.engine.store.bucket import Bucket
from pgvector_backup.engine.store.hold import Hold
from pgvector_backup.engine.store.s3_requests import request

_log: Final = logging.getLogger(__name__)

_BODY: Final = (
    '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>{mode}</Mode>'
    "<RetainUntilDate>{until:%Y-%m-%dT%H:%M:%SZ}</RetainUntilDate></Retention>"
)


def require(bucket: Bucket) -> None:
    """Refuse a bucket that cannot hold what lies in it.

    :raises InvalidParams: when it has no Object Lock, with the remedy
    :raises StorageFault: when the store does not answer
    """
    if not _enabled(bucket):
        raise InvalidParams(
            f"object_lock: the bucket {bucket.name!r} has no Object Lock, so nothing in it can be held; make a bucket "
            "with it (aws s3api create-bucket --object-lock-enabled-for-bucket) and name that as the root, or leave "
            "the setting empty"
        )


def held(bucket: Bucket, path: str) -> Hold | None:
    """By what an object is held now; None: by nothing, it is not there, or the bucket holds nothing."""
    if not _may_hold(bucket):
        return None
    return _held(bucket, path)


def hold(bucket: Bucket, path: str, shown: str, wanted: Hold) -> None:
    """Have an object held, at least so long and so strictly; what is held longer or more strictly stays so.

    :raises StorageFault: when it is not held so afterwards
    """
    there = _held(bucket, path)
    if there is not None and there.covers(wanted):
        return
    assert wanted.until is not None
    until = wanted.until.astimezone(timezone.utc)
    if until.microsecond:
        until = until.replace(microsecond=0) + timedelta(seconds=1)
    mode = wanted.mode
    if there is not None:
        mode = there.mode if there.mode == "compliance" else mode
        until = max(until, there.until or until)
    request(bucket, "PUT", path, {"retention": ""}, _BODY.format(mode=mode.upper(), until=until).encode())
    there = _held(bucket, path)
    if there is None or not there.covers(wanted):
        raise StorageFault(f"{shown}: the store took the order to hold it and does not hold it; check the bucket")


def _held(bucket: Bucket, path: str) -> Hold | None:
    answer = request(bucket, "HEAD", path, {}, missing_is_none=True)
    return None if answer is None else _told(answer.headers)


def _told(headers: Mapping[str, str]) -> Hold | None:
    if headers.get("x-amz-object-lock-legal-hold", "").upper() == "ON":
        return Hold("legal hold", None)
    mode, until = (headers.get(f"x-amz-object-lock-{name}", "") for name in ("mode", "retain-until-date"))
    if not mode or not until:
        return None
    when = datetime.fromisoformat(until.replace("Z", "+00:00"))
    return Hold(mode.lower(), when if when.tzinfo else when.replace(tzinfo=timezone.utc))


def _may_hold(bucket: Bucket) -> bool:
    """Whether it has Object Lock; of one that does not say so it is taken that it has none."""
    try:
        return _enabled(bucket)
    except StorageFault as fault:
        _log.info("%s does not tell whether it has Object Lock: %s", bucket.name, fault.message)
        bucket.locks = False
        return False


def _enabled(bucket: Bucket) -> bool:
    if bucket.locks is None:
        answer = request(bucket, "GET", "", {"object-lock": ""}, missing_is_none=True)
        try:
            told = None if answer is None else ElementTree.fromstring(answer.body)  # noqa: S314 (of the store we trust with the data)
        except ElementTree.ParseError:
            told = None
        bucket.locks = told is not None and told.findtext("{*}ObjectLockEnabled") == "Enabled"
    return bucket.locks
