"""Past days: the simulated fleet, and the import of an older server's database."""
