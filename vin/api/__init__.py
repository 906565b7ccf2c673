"""The index's HTTP service."""
