"""The engine as Airflow tasks: ask the hook for connections, call one story, push the result."""
