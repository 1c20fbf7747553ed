"""What is asked of and known about a server: sessions, names, tables, snapshots, transaction ids."""
