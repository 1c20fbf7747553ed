"""The engine as a command line: what it needs is psycopg; rich, where installed, draws the progress."""
