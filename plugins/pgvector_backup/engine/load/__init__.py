"""Blocks into tables, in one transaction: targets, definitions, conflicts, indexes."""
