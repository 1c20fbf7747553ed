"""Bytes: how rows, vectors and blocks are written, packed, read and fingerprinted; touches neither disk nor server."""
