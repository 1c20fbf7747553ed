"""What is done: psycopg and the standard library, never Airflow."""
