"""The public site: pages, downloads, badges and text reports, all read from `usage_daily` alone."""
