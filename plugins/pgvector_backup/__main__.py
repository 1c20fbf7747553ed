"""``python -m pgvector_backup``: the stories on a command line, for the day Airflow itself is down."""

import sys

from pgvector_backup.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
