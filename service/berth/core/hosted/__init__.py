"""Hosted containers and files: those that Berth stores itself."""
