"""Backups of pgvector tables as files one can trust, run by Apache Airflow."""

__version__ = "0.2.0"
