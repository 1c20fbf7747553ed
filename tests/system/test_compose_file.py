"""What docker-compose.yaml promises, checked without Docker."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text("utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
AIRFLOW = {name: service for name, service in SERVICES.items() if name.startswith("airflow-")}
REQUIRED = re.compile(r"\$\{(\w+):\?")


def with_defaults(value: str) -> str:
    """The value as Compose reads it while .env sets nothing that is optional."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def make_env(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the command from the head of the file, in a directory of its own."""
    (command,) = re.findall(r"^#\s+(\(umask .+\))$", TEXT, re.MULTILINE)
    (directory / ".env.example").write_bytes((ROOT / ".env.example").read_bytes())
    return subprocess.run(["sh", "-c", command], cwd=directory, capture_output=True, text=True, check=False)


def secrets(path: Path, pattern: str) -> dict[str, str]:
    return dict(re.findall(rf"^(\w+)=({pattern})$", path.read_text("utf-8"), re.MULTILINE))


def test_images_are_pinned_and_airflow_is_the_version_of_the_requirements() -> None:
    (airflow,) = re.findall(r"^apache-airflow==(\S+)$", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    (base,) = re.findall(r"^FROM (\S+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert base == f"apache/airflow:{airflow}"
    assert {service["image"] for service in AIRFLOW.values()} == {f"pgvector-backup-airflow:{airflow}"}
    for name in SERVICES.keys() - AIRFLOW.keys():
        assert re.search(r":\d+\.\d+", SERVICES[name]["image"]), name


def test_one_service_builds_the_image_that_all_share() -> None:
    assert [name for name, service in SERVICES.items() if "build" in service] == ["airflow-init"]
    assert {service["pull_policy"] for service in AIRFLOW.values()} == {"never"}


def test_only_the_host_itself_can_connect() -> None:
    published = [with_defaults(port) for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:5433:5432", "127.0.0.1:8080:8080"]


def test_every_password_and_key_comes_from_env_and_must_be_there() -> None:
    for name, service in SERVICES.items():
        for key, value in service["environment"].items():
            if re.search(r"PASSWORD|SECRET|_KEY$|CONN", key) and value != "":
                assert REQUIRED.search(value), (name, key)


def test_the_example_asks_for_exactly_the_secrets_that_compose_requires() -> None:
    assert set(secrets(ROOT / ".env.example", "")) == set(REQUIRED.findall(TEXT))


def test_the_command_at_the_head_makes_an_env_that_nobody_else_reads(tmp_path: Path) -> None:
    assert make_env(tmp_path).returncode == 0
    made = secrets(tmp_path / ".env", ".+=")
    assert set(made) == set(REQUIRED.findall(TEXT))
    assert len(set(made.values())) == len(made)
    Fernet(made["AIRFLOW__CORE__FERNET_KEY"])
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_the_command_at_the_head_never_overwrites_an_env(tmp_path: Path) -> None:
    make_env(tmp_path)
    before = (tmp_path / ".env").read_bytes()
    assert make_env(tmp_path).returncode != 0
    assert (tmp_path / ".env").read_bytes() == before


def test_only_init_knows_the_login() -> None:
    knowing = [name for name, service in AIRFLOW.items() if service["environment"]["AIRFLOW_ADMIN_PASSWORD"] != ""]
    assert knowing == ["airflow-init"]


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"airflow-init"}))
def test_a_service_that_stays_has_a_health_check_and_comes_back_after_a_reboot(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(AIRFLOW))
def test_the_checkout_is_read_only_and_the_backup_root_is_a_volume(name: str) -> None:
    mounts = [with_defaults(volume) for volume in AIRFLOW[name]["volumes"]]
    root = AIRFLOW[name]["environment"]["AIRFLOW__PGVECTOR_BACKUP__BACKUP_ROOT"]
    assert {"./dags:/opt/airflow/dags:ro", "./plugins:/opt/airflow/plugins:ro", f"backups:{root}"} <= set(mounts)
    assert all(mount.endswith(":ro") for mount in mounts if mount.startswith("."))


def test_airflow_knows_every_setting() -> None:
    airflow = importlib.util.find_spec("airflow")
    assert airflow is not None
    assert airflow.submodule_search_locations is not None
    template = Path(airflow.submodule_search_locations[0], "config_templates", "config.yml")
    known = yaml.safe_load(template.read_text("utf-8"))
    names = {key for service in AIRFLOW.values() for key in service["environment"]}
    settings = {tuple(name.lower().split("__")[1:]) for name in names if name.startswith("AIRFLOW__")}
    assert settings - {("pgvector_backup", "backup_root")} <= {
        (section, option) for section, parts in known.items() for option in parts["options"]
    }
