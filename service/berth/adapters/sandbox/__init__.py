"""Sandboxes for commands of tenants, made with programs of the system."""
