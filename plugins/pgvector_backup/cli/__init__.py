"""The engine as a command line: what it needs is psycopg; rich, where installed, draws the progress.

Each command imports its story where it calls it: those of all would add a third to the time in which a command starts.
"""
