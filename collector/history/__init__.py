"""The import of an ASL3-Usage database: past days of the server in use before."""
