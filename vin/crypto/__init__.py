"""The only importers of `cryptography` and `joserfc`."""
