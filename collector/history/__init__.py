"""Import of the history in an ASL3-Usage database."""
