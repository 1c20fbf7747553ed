"""The engine beside the other ways to write the same tables to disk: ``python -m bench``."""
