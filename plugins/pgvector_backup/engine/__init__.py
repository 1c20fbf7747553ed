"""What is done: psycopg and the standard library, never Airflow."""

from pgvector_backup.engine.base.plain_text import make_records_plain

make_records_plain()
