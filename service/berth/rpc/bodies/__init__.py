"""Bodies of requests: JSON."""
