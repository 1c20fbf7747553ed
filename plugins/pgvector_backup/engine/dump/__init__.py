"""Rows out of a snapshot into blocks: ranges, readers, processes."""
