"""Multipart forms: by hand, of real clients, hostile ones."""
