"""Reports of months: the published numbers of a finished month, kept as they were on its end."""
