"""Tools for SQLite files: errors, locks, reading damaged files, and searching for deleted rows."""
