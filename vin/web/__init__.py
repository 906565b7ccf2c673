"""The HTTP edge that both services share."""
