"""The engine as Airflow tasks: ask the hook for connections, call one story, push the result.

Every task's process reads the DAG's file anew, and so imports every operator in it. What only one of them needs, the
stories with psycopg and the provider's hook, which take ten times as long as all the rest, is therefore imported where
a task calls it.
"""
