"""Proof that a set is what it says: inspection, searches, scratch servers."""
