"""What this Airflow says of itself, for operators and for HTTP alike: its configuration, its connections."""
