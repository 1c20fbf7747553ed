"""What a connection says of an object store, and that nothing secret of it is ever shown."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from pgvector_backup.cli.storage import options_of
from pgvector_backup.engine.base.errors import InvalidParams
from pgvector_backup.engine.contract.settings import read_settings
from pgvector_backup.engine.store import bucket
from pgvector_backup.engine.store.bucket import Bucket
from pgvector_backup.engine.store.endpoints import ObjectUrl
from pgvector_backup.engine.store.options import RemoteRoot, StorageOptions, from_connection
from pgvector_backup.engine.store.root import locate, store_at

AWS: dict[str, Any] = {"login": "AKIAEXAMPLE", "password": "top-secret", "host": None}


def of(conn_type: str, extra: dict[str, Any] | None = None, **words: Any) -> StorageOptions:
    given: dict[str, Any] = {"login": None, "password": None, "host": None} | words
    return from_connection(conn_type, extra=extra or {}, **given)


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for key in list(os.environ):
        if key.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(key)


@pytest.mark.parametrize(
    ("extra", "endpoint"),
    [
        ({}, "https://s3.us-east-1.amazonaws.com/b"),
        ({"region_name": "eu-central-1"}, "https://s3.eu-central-1.amazonaws.com/b"),
        ({"endpoint_url": "http://minio:9000"}, "http://minio:9000/b"),
        ({"endpoint_url": "http://minio:9000/"}, "http://minio:9000/b"),
        ({"service_config": {"s3": {"endpoint_url": "https://r2.example"}}}, "https://r2.example/b"),
        (
            {"endpoint_url": "https://oss.example", "config_kwargs": {"s3": {"addressing_style": "virtual"}}},
            "https://b.oss.example",
        ),
        ({"endpoint_url": "https://oss.example", "path_style": False}, "https://b.oss.example"),
        ({"endpoint_url": "https://b.oss.example", "addressing_style": "virtual"}, "https://b.oss.example"),
        ({"region_name": "cn-north-1"}, "https://s3.cn-north-1.amazonaws.com.cn/b"),
    ],
)
def test_where_requests_go(extra: dict[str, Any], endpoint: str) -> None:
    assert Bucket(ObjectUrl.parse("s3://b/p"), of("aws", extra, **AWS)).endpoint == endpoint


def test_an_environments_endpoint_is_not_a_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://elsewhere:1")
    assert Bucket(ObjectUrl.parse("s3://b/p"), StorageOptions()).endpoint == "http://elsewhere:1/b"
    options = of("aws", {"endpoint_url": "http://minio:9000"}, **AWS)
    opened = Bucket(ObjectUrl.parse("s3://b/p"), options)
    assert opened.signed("GET", "", {"uploads": ""}).startswith("http://minio:9000/b?uploads=")


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("s3://b", ("s3", "b", "", None)),
        ("s3://b/", ("s3", "b", "", None)),
        ("S3A://b//x//y/", ("s3", "b", "x/y", None)),
        ("gs://b/x", ("gs", "b", "x", None)),
        ("az://c/x", ("az", "c", "x", None)),
        ("abfs://c@account.dfs.core.windows.net/x", ("az", "c", "x", "account")),
    ],
)
def test_urls(url: str, parsed: tuple[Any, ...]) -> None:
    read = ObjectUrl.parse(url)
    assert (read.kind, read.bucket, read.prefix, read.account) == parsed


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://key:secret@b/x", "s3://b/../x", "s3://b/x?versionId=1"])
def test_urls_that_name_no_bucket_or_more_are_refused(url: str) -> None:
    with pytest.raises(InvalidParams, match="has to name a bucket") as refused:
        ObjectUrl.parse(url)
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("conn_type", ["postgres", "", "ftp"])
def test_a_connection_that_is_no_stores_is_refused(conn_type: str) -> None:
    with pytest.raises(InvalidParams, match="has to be aws"):
        of(conn_type, password="top-secret")


def test_azure() -> None:
    assert of("wasb", login="account", password="a2V5").config == {"account_name": "account", "account_key": "a2V5"}
    assert of("wasb", {"sas_token": "?sv=1&sig=x"}, login="account").config == {
        "account_name": "account",
        "sas_key": "sv=1&sig=x",
    }
    stated = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5==;BlobEndpoint=http://h:1/a;"
    told = of("wasb", {"connection_string": stated})
    assert (told.endpoint, told.config) == ("http://h:1/a", {"account_name": "a", "account_key": "a2V5=="})
    application = of("adls", {"tenant_id": "t"}, login="app", password="pw", host="account.blob.core.windows.net")
    assert application.config == {
        "tenant_id": "t",
        "client_id": "app",
        "client_secret": "pw",
        "account_name": "account",
    }


def test_google() -> None:
    assert of("google_cloud_platform", {"key_path": "/k.json"}).config == {"service_account": "/k.json"}
    assert of("google_cloud_platform", {"keyfile_dict": {"a": 1}}).config == {"service_account_key": '{"a": 1}'}


def test_nothing_secret_is_shown() -> None:
    extra = {"aws_session_token": "session-secret", "assume": {"external_key": "nested-secret"}}
    options = of("aws", extra, **AWS)
    root = RemoteRoot("s3://b/p", "lake", lambda: options, encryption="aws:kms", encryption_key="key-secret")
    opened = Bucket(ObjectUrl.parse("s3://b/p"), root.resolved())
    for shown in (repr(options), repr(root), str(root), repr(opened), repr(opened.handle), repr(store_at(root))):
        assert "secret" not in shown
    said = opened.fault(
        "s3://b/p", RuntimeError("at https://h/b?sig=abc&X-Amz-Signature=def top-secret session-secret")
    )
    assert said.message == "s3://b/p: at https://h/b?sig=***&X-Amz-Signature=*** *** ***"


def test_a_secret_of_the_environment_is_not_shown_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "top-secret")
    with pytest.raises(InvalidParams, match="Missing AccessKeyId; check storage_connection or the environment"):
        Bucket(ObjectUrl.parse("s3://b/p"), StorageOptions())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    opened = Bucket(ObjectUrl.parse("s3://b/p"), StorageOptions())
    assert "top-secret" not in opened.fault("s3://b", RuntimeError("top-secret")).message


def test_settings_lead_to_options_when_they_are_needed_and_not_before() -> None:
    asked: list[str] = []

    def storage(connection_id: str) -> StorageOptions:
        asked.append(connection_id)
        return StorageOptions(region="eu-west-1")

    given = {"backup_root": "s3://b/p", "storage_connection": "lake", "storage_encryption": "aws:kms"}
    given |= {"storage_encryption_key": "k", "storage_class": "STANDARD_IA"}
    root = read_settings(given.get, home="/h", storage=storage).backup_root
    assert isinstance(root, RemoteRoot)
    assert read_settings(given.get, home="/h", storage=storage).backup_root == root
    assert asked == []
    assert root.resolved() == StorageOptions(
        region="eu-west-1", encryption="aws:kms", encryption_key="k", storage_class="STANDARD_IA"
    )
    assert locate(root, None, "vector_bak").directory == "s3://b/p/vector_bak"
    assert set(asked) == {"lake"}
    with pytest.raises(InvalidParams, match="storage_encryption"):
        read_settings((given | {"storage_encryption": "rot13"}).get, home="/h")


@pytest.mark.parametrize(
    "stored",
    [
        "aws://AKIAEXAMPLE:top%2Dsecret@/?endpoint_url=http%3A%2F%2Fminio%3A9000&region_name=eu-west-1",
        "aws://AKIAEXAMPLE:top-secret@/?__extra__=%7B%22endpoint_url%22%3A+%22http%3A%2F%2Fminio%3A9000%22%2C+%22region_name"
        "%22%3A+%22eu-west-1%22%7D",
        json.dumps(
            {"conn_type": "aws", "login": "AKIAEXAMPLE", "password": "top-secret"}
            | {"extra": {"endpoint_url": "http://minio:9000", "region_name": "eu-west-1"}}
        ),
    ],
)
def test_the_command_line_reads_airflows_variable(stored: str) -> None:
    options = options_of("lake", {"AIRFLOW_CONN_LAKE": stored})
    assert (options.endpoint, options.region) == ("http://minio:9000", "eu-west-1")
    assert options.credentials is not None
    assert options.credentials()["secret_access_key"] == "top-secret"


def test_the_command_line_takes_the_environments_own_otherwise() -> None:
    assert options_of("lake", {}) == StorageOptions()
    with pytest.raises(InvalidParams, match="AIRFLOW_CONN_LAKE: neither a URI nor") as refused:
        options_of("lake", {"AIRFLOW_CONN_LAKE": "{top-secret"})
    assert "top-secret" not in refused.value.message


def test_without_the_package_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pgvector_backup.engine.store.objects", None)
    with pytest.raises(InvalidParams, match="needs the package obstore; install it"):
        locate("s3://b/p", None, "vector_bak")


def test_a_profile_is_read_where_boto3_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    file = tmp_path / "credentials"
    file.write_text("[lake]\naws_access_key_id = OF_PROFILE\naws_secret_access_key = top-secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "lake")
    signed = Bucket(ObjectUrl.parse("s3://b/p"), StorageOptions()).signed("GET", "", {})
    assert "OF_PROFILE" in signed
    assert bucket._secrets_of_environment() == []
