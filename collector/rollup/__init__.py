"""From raw reports to published series: whole UTC days, exact, and safe to publish."""
