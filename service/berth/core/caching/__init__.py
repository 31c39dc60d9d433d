"""The response cache: the backend wrapper, the tracking of writes, and single flight."""
