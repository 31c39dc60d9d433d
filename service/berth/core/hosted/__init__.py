"""Containers and files that Berth keeps itself."""
