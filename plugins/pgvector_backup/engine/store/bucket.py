"""One bucket of S3, Google Cloud Storage or Azure, and how it is spoken to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import quote

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from pgvector_backup.engine.base.errors import BackupError, InvalidParams, StorageFault
from pgvector_backup.engine.store.endpoints import ObjectUrl, endpoint_of
from pgvector_backup.engine.store.object_listing import Listing
from pgvector_backup.engine.store.options import StorageOptions, boto3_credentials

REQUEST_SECONDS: Final = 120
_SIGNED_FOR: Final = timedelta(minutes=5)
CONDITIONS: Final = (FileNotFoundError, exceptions.AlreadyExistsError, exceptions.PreconditionError)
"""What the store says when a condition of a write does not hold."""

_RETRY: Final = {
    "max_retries": 6,
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
    "retry_timeout": timedelta(seconds=60),
}
_SIGNED: Final = re.compile(r"(?i)\b(sig|x-amz-[a-z-]+|[a-z_]*token|[a-z_]*key[a-z_]*|signature)=[^&\s\"']+")
_XML: Final = re.compile(r"<Code>(?P<code>[^<]*)</Code>.*?(?:<Message>(?P<message>[^<]*)</Message>|$)", re.DOTALL)
_STATUS: Final = re.compile(r"status code: (\d{3})")
_ONE_OF_MANY: Final = re.compile(r"\(code: (\w+)\)$")
"""How `obstore` tells of an object that could not be removed with others."""

_REFUSED: Final = (
    "AccessDenied",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "ExpiredToken",
    "TokenRefreshRequired",
)
ODD_KEY: Final = "Encountered object with invalid path"
"""What `obstore` says of a list with a key in it that it does not take."""

_ELSEWHERE: Final = (
    "the bucket is in another region or at another endpoint; set region_name of the storage_connection, or AWS_REGION"
)
_FULL: Final = "the store takes no more; make room, or have its quota raised"
_MEANINGS: Final = {
    "RequestTimeTooSkewed": "this machine's clock is not the store's; set it right",
    **dict.fromkeys(("AuthorizationHeaderMalformed", "IllegalLocationConstraintException"), _ELSEWHERE),
    **dict.fromkeys(("PermanentRedirect", "TemporaryRedirect"), _ELSEWHERE),
    **dict.fromkeys(("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "StorageFull"), _FULL),
}
"""What a code of the store's means, and what to do."""

_SAID: Final = {
    "redirect without LOCATION": _ELSEWHERE,
    ODD_KEY: "there is a key that cannot be read from here; move it away",
}
"""The same of what `obstore` says."""

_UNKNOWN: Final = frozenset(("NotImplemented", "MethodNotAllowed", "InvalidArgument", "InvalidRequest"))
_LONGEST: Final = 400


class Bucket:
    """A bucket that is open.

    :param url: what it is of
    :param options: how to reach it
    """

    def __init__(self, url: ObjectUrl, options: StorageOptions) -> None:
        self.name = url.bucket
        self.kind = url.kind
        self.options = options
        self.conditional: bool | None = None
        """Whether it writes conditionally; None until somebody tried."""
        self.locks: bool | None = None
        """Whether it has Object Lock; None until somebody asked."""
        self.etags_are_md5 = False
        """Whether its entity tags are MD5 sums, as was seen of an object of known content."""
        self.takes_unsigned = False
        """Whether it takes what is sent without the payload's SHA-256 in the signature, as was seen by trying."""
        self._unsigned: Any = None
        self._listings: dict[str, Listing] = {}
        self.endpoint = endpoint_of(url, options)
        self._credentials = options.credentials
        if url.kind == "s3" and self._credentials is None:
            self._credentials = _of_profile()
        try:
            self.handle: Any = self._s3(self.endpoint) if url.kind == "s3" else self._other(url)
        except Exception as fault:  # nothing was asked of the store yet: another try changes nothing
            said, _ = self._said(fault)
            raise InvalidParams(
                f"backup_root: {url.kind}://{url.bucket}: {said}; check storage_connection or the environment"
            ) from None

    @property
    def uploading(self) -> Any:
        """The handle for large files.

        Where the store's own MD5 sums are compared with ours afterwards, hashing each byte for the signature as well
        would prove nothing more, and costs as much as half of those sums. What is small is signed whole: also the
        manifest, which holds the SHA-256 of every large file.
        """
        return self.unsigned if self.etags_are_md5 and self.takes_unsigned else self.handle

    @property
    def unsigned(self) -> Any:
        """A handle by which the payload is no part of the signature, of S3."""
        if self._unsigned is None:
            self._unsigned = self._s3(self.endpoint, unsigned_payload="true")
        return self._unsigned

    def listing(self, prefix: str) -> Listing:
        """What lists a prefix; the same one each time, for it learns how."""
        # Azure cannot be told where to begin.
        return self._listings.setdefault(prefix, Listing(self.handle, prefix, by_parts=self.kind != "az"))

    @property
    def has_uploads(self) -> bool:
        """Whether the store can tell of uploads that were begun and not ended, and we know how to ask it."""
        return self.kind == "s3"

    def signed(self, method: Literal["GET", "DELETE", "HEAD", "PUT"], path: str, query: Mapping[str, str]) -> str:
        """A URL by which a request with these parameters may be made within a few minutes, of S3.

        `obstore` signs a URL that it puts together from the bucket's own and a path: a query that is already part of
        the bucket's URL is signed with it, and the path that it adds ends up in a parameter that servers ignore.
        """
        if not query:
            return str(obstore.sign(self.handle, method, path, _SIGNED_FOR))
        asked = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in query.items())
        where = "/".join([self.endpoint, *([quote(path, safe="/-_.~")] if path else [])])
        handle = self._s3(f"{where}?{asked}&x-id=")
        return str(obstore.sign(handle, method, "a", _SIGNED_FOR))

    @contextmanager
    def translated(self, where: str, *passing: type[Exception]) -> Iterator[None]:
        """Let the store's errors leave the block as a `StorageFault`, without anything secret.

        :param passing: what the caller makes sense of itself
        """
        try:
            yield
        except Exception as fault:  # whatever it is, the store could not do it
            if isinstance(fault, (BackupError, *passing)):
                raise
            # Not chained: the store's own text may hold what was signed.
            raise self.fault(where, fault) from None

    def fault(self, where: str, fault: Exception) -> StorageFault:
        """What an error of the store's means, in a sentence."""
        said, code = self._said(fault)
        if isinstance(fault, FileNotFoundError) or code in ("NoSuchBucket", "ContainerNotFound"):
            return StorageFault(f"{where}: there is no bucket {self.name!r}; make it, or mend backup_root ({said})")
        meaning = _MEANINGS.get(code) or next((_SAID[one] for one in _SAID if one in said), None)
        if meaning is not None:
            return StorageFault(f"{where}: {meaning} ({said})")
        kinds = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
        if code in _REFUSED or isinstance(fault, kinds) or self.status(fault) in (401, 403):
            return StorageFault(
                f"{where}: the store refuses the credentials, or they may not do this there; check storage_connection "
                f"or the environment, and the rights on the bucket ({said})"
            )
        return StorageFault(f"{where}: {said}")

    def status(self, fault: Exception) -> int | None:
        """The HTTP status that an error of the store's tells of."""
        match = _STATUS.search(str(fault))
        return int(match[1]) if match else None

    def says_unknown(self, fault: Exception) -> bool:
        """Whether the store says that it does not know this kind of request."""
        match = _XML.search(str(fault))
        return self.status(fault) in (405, 501) or (match is not None and match["code"] in _UNKNOWN)

    def _said(self, fault: Exception) -> tuple[str, str]:
        text = str(fault).split("\n\nDebug source")[0]
        answer = _XML.search(text)
        named = answer is not None and answer["code"]
        said = f"{named}: {answer['message'] or ''}".strip().removesuffix(":") if answer and named else text
        said = _SIGNED.sub(r"\1=***", " ".join(said.split()))
        for secret in (*self.options.secrets, *_secrets_of_environment()):
            said = said.replace(secret, "***")
        code = answer["code"] if answer else ""
        if not code and (one := _ONE_OF_MANY.search(text)):
            code = one[1]
        return said[:_LONGEST] or type(fault).__name__, code

    def _s3(self, endpoint: str, **more: str) -> Any:
        options = self.options
        config: dict[str, Any] = {
            **options.config,
            # The endpoint holds the bucket already; for what is put together here, that is virtual-hosted style.
            "endpoint": endpoint,
            "virtual_hosted_style_request": "true",
            # One object at a time is removed, by the request that every store knows.
            "disable_tagging": "true",
            **more,
        }
        if options.region:
            config["region"] = options.region
        if options.encryption:
            config["server_side_encryption"] = options.encryption
        if options.encryption_key:
            config["sse_kms_key_id"] = options.encryption_key
        if os.environ.get("AWS_ENDPOINT_URL_S3"):
            # It would have the last word, and the endpoint above is what was made of it.
            config["aws_endpoint_url_s3"] = endpoint
        return S3Store(
            self.name,
            config=cast("Any", config),
            client_options=cast("Any", self._client()),
            retry_config=cast("Any", _RETRY),
            credential_provider=cast("Any", self._credentials),
        )

    def _other(self, url: ObjectUrl) -> Any:
        config = dict(self.options.config)
        if url.kind == "gs":
            kind: Any = GCSStore
            if self.endpoint:
                config["base_url"] = self.endpoint
        else:
            kind = AzureStore
            if url.account:
                config["account_name"] = url.account
            if self.endpoint:
                config["endpoint"] = self.endpoint
        return kind(
            self.name,
            config=config,
            client_options=self._client(),
            retry_config=_RETRY,
            credential_provider=self._credentials,
        )

    def _client(self) -> dict[str, Any]:
        client: dict[str, Any] = {
            "timeout": timedelta(seconds=REQUEST_SECONDS),
            "connect_timeout": timedelta(seconds=10),
            "allow_http": self.endpoint.startswith("http://"),
        }
        if self.options.verify is False:
            client["allow_invalid_certificates"] = True
        elif isinstance(self.options.verify, str):
            client["root_certificate"] = Path(self.options.verify).read_text()
        return client


def _secrets_of_environment() -> list[str]:
    told = ((key, value) for key, value in os.environ.items() if key.startswith(("AWS_", "GOOGLE_", "AZURE_")))
    return [value for key, value in told if value and any(word in key for word in ("SECRET", "TOKEN", "KEY", "SAS"))]


def _of_profile() -> Any:
    """Credentials of a profile in ``~/.aws``, which `obstore` does not read, where boto3 is there to read it."""
    environment = os.environ
    if any(
        environment.get(one)
        for one in (
            "AWS_ACCESS_KEY_ID",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_SKIP_SIGNATURE",
        )
    ):
        return None
    files = (
        environment.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        environment.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    if not any(os.path.exists(os.path.expanduser(file)) for file in files):
        return None
    try:
        import boto3  # type: ignore[import-untyped]  # noqa: PLC0415 (a third of a second, for those who use profiles only)
    except ImportError:
        return None
    return boto3_credentials(boto3.Session)
