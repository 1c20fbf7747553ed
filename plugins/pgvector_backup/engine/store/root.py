"""From what is configured as the backup root, a path or a URL, to the places below it. Nobody else reads URLs."""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from pgvector_backup.engine.base import messages
from pgvector_backup.engine.base.errors import InvalidParams, NotFound, StorageFault, storage_translated
from pgvector_backup.engine.store import modes
from pgvector_backup.engine.store.endpoints import ObjectUrl, endpoint_of
from pgvector_backup.engine.store.local import LocalStore, missing_root
from pgvector_backup.engine.store.location import Location
from pgvector_backup.engine.store.naming import SAFE, check_task_id
from pgvector_backup.engine.store.options import RemoteRoot, StorageOptions
from pgvector_backup.engine.store.store import Store
from pgvector_backup.engine.store.urls import OBJECT_SCHEMES, is_object_url

_log: Final = logging.getLogger(__name__)

_ONE_SLASH: Final = re.compile(rf"(?i)({'|'.join(OBJECT_SCHEMES)}):(?!//)")
"""What was meant as a URL, and would be a directory of this name."""

Root = str | os.PathLike[str]
"""A path, or a URL such as ``s3://bucket/prefix``."""


def locate(root: Root, task_id: str | None, directory_name: str, *, create: bool = True) -> Location:
    """Find the place that a request leads to. Nothing is made by that.

    :param root: the backup root
    :param task_id: whose directory below the root, which must exist; None for the root itself
    :param directory_name: the directory in there
    :param create: whether it may be made when something is written to it; otherwise it must be there
    :raises NotFound: when the task's directory is not there, or leads out of the root
    :raises StorageFault: when the store does not answer
    """
    _check_directory_name(directory_name)
    parent = store_at(root)
    if task_id is not None:
        check_task_id(task_id)
        parent = parent.below(task_id)
        there = False
        with suppress(NotFound):
            there = parent.exists()
        if not there:
            raise NotFound(messages.TASK_DIRECTORY_MISSING.format(task_id=task_id))
    location = Location(parent.below(directory_name), task_id, directory_name)
    if not create and not location.store.exists():
        raise NotFound(f"no backups in {location.relative_path}: {location.directory} does not exist")
    return location


def place_of_copy(root: Root, task_id: str | None, directory_name: str) -> Location:
    """The place below a root where copies of a task's sets lie, or would. Nothing is made by that."""
    _check_directory_name(directory_name)
    parent = store_at(root)
    if task_id is not None:
        check_task_id(task_id)
        parent = parent.below(task_id)
    return Location(parent.below(directory_name), task_id, directory_name)


def make_for_copies(root: Root, task_id: str | None) -> None:
    """Make a task's directory below a root for copies, which no task has made there.

    :raises NotFound: when it leads out of the root
    """
    if task_id is not None:
        store = store_at(root).below(task_id)
        if not store.exists():
            store.make()


def require_apart(root: Root, other: Root) -> None:
    """Refuse a root for copies that is the backup root, or lies within it, or the other way round.

    :raises InvalidParams: naming it
    """
    one, two = (_parts(each) for each in (root, other))
    if (one[: len(two)] == two or two[: len(one)] == one) and _server(root) == _server(other):
        raise InvalidParams(
            f"copy_roots: {other} and the backup root {root} are not apart: one is, or lies within, the other; name "
            "another place"
        )


def _server(root: Root) -> str | None:
    """Where a bucket's requests go: two servers may have buckets of one name. None where the URL alone tells."""
    text = os.fspath(root)
    if not is_object_url(text):
        return None
    options = root.resolved() if isinstance(root, RemoteRoot) else StorageOptions()
    return endpoint_of(ObjectUrl.parse(text), options)


def _parts(root: Root) -> list[str]:
    text = os.fspath(root)
    if "://" not in text or text.startswith("file://"):
        return ["", *Path(os.path.realpath(text.removeprefix("file://"))).parts]
    scheme, rest = text.split("://", 1)
    parts = [part for part in rest.partition("?")[0].split("/") if part]
    return [OBJECT_SCHEMES.get(scheme.lower(), scheme.lower()), *parts]


def foresee(root: Root, task_id: str | None, directory_name: str) -> tuple[str, int | None]:
    """Where a request's sets would lie, with nothing made; and how many bytes are free there, None if nobody can say.

    :raises NotFound: when the task's directory is not there
    """
    location = locate(root, task_id, directory_name)
    return location.directory, location.free_bytes()


def locate_path(root: Root, relative_path: str, directory_name: str) -> Location:
    """Find an existing place by the path that lists of sets give, e.g. ``task_1/vector_bak``.

    :raises InvalidParams: for any other path: one that could lead elsewhere is not even tried
    :raises NotFound: when it is not there
    """
    *task, last = relative_path.split("/")
    if last != directory_name or len(task) > 1 or (task and not re.fullmatch(r"[A-Za-z0-9_]+", task[0])):
        raise InvalidParams(
            f"backup_path: {relative_path!r} is no place of backups; as listed, it is {directory_name} or "
            f"TASK_ID/{directory_name}"
        )
    return locate(root, task[0] if task else None, directory_name, create=False)


def locate_all(root: Root, directory_name: str, *, unseen: bool = False) -> list[Location]:
    """Every place below the root that may hold sets: the root's own first, then the tasks' by name.

    :param unseen: whether also those that may not be there, where it would be a call each to find that out
    """
    _check_directory_name(directory_name)
    store = store_at(root)
    tasks = [name for name in sorted(store.directories()) if re.fullmatch(r"[A-Za-z0-9_]+", name)]

    if unseen and store.at_once > 1:
        stores = {task_id: store if task_id is None else store.below(task_id) for task_id in (None, *tasks)}
        return [Location(one.below(directory_name), task_id, directory_name) for task_id, one in stores.items()]

    def found(task_id: str | None) -> Location | None:
        try:
            return locate(root, task_id, directory_name, create=False)
        except NotFound:
            return None
        except StorageFault as fault:
            if task_id is None or not isinstance(store, LocalStore):
                raise
            # One task's directory into which nobody may look keeps nobody from the others.
            _log.warning("the directory of task %s cannot be looked into: %s", task_id, fault.english)
            return None

    return [place for place in store.each(found, [None, *tasks]) if place is not None]


def require_root(root: Root, *, create: bool = False) -> None:
    """Refuse a root on this machine that is not there, such as a volume that is not mounted.

    :param create: whether to make it instead
    :raises StorageFault: with the remedy
    """
    store = store_at(root)
    if not isinstance(store, LocalStore) or store.path.is_dir():
        return
    if not create:
        raise missing_root(store.path)
    with storage_translated():
        store.path.mkdir(mode=modes.of_directory(), parents=True, exist_ok=True)


def require_writable(root: Root) -> None:
    """Refuse a root in which nothing could be stored, or, for an object store, which does not answer.

    :raises StorageFault: naming what is in the way
    """
    store_at(root).require_writable()


def store_at(root: Root) -> Store:
    """The store whose directory a backup root is.

    :raises InvalidParams: for a URL that nobody here can follow, with the remedy
    """
    text = os.fspath(root)
    if _ONE_SLASH.match(text):
        raise InvalidParams(f"backup_root: {text!r} is a path of this machine; a URL has two slashes after the colon")
    if "://" not in text or text.startswith("file://"):
        return LocalStore(Path(os.path.abspath(text.removeprefix("file://"))))
    scheme = text.split("://", 1)[0].lower()
    if scheme in OBJECT_SCHEMES:
        try:
            from pgvector_backup.engine.store.objects import ObjectStore  # noqa: PLC0415 (for those who use it only)
        except ImportError:
            raise InvalidParams(
                f"backup_root: {scheme}:// needs the package obstore; install it (pip install obstore), or name a path"
            ) from None
        return ObjectStore.at(text, root if isinstance(root, RemoteRoot) else None)
    try:
        from pgvector_backup.engine.store.fsspec_store import FsspecStore  # noqa: PLC0415 (for those who use it only)
    except ImportError:
        raise InvalidParams(
            f"backup_root: {scheme}:// needs fsspec and its package for that store; install them, or give a path"
        ) from None
    return FsspecStore.at(text)


def _check_directory_name(directory_name: str) -> None:
    if not SAFE.fullmatch(directory_name):
        raise InvalidParams(f"backup_directory: not one plain directory name: {directory_name!r}")
