"""The engine over HTTP and as a page, inside Airflow's API server."""
