"""Tools for files that SQLite keeps: their errors, locks, damage, and remains of deleted rows."""
