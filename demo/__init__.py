"""The project at work on one machine: an embedded PostgreSQL, sample data, a local Airflow."""
