"""The specification: what Watchword does, in sentences."""
