"""What anyone may read: made from `usage_daily` and from nothing else."""
