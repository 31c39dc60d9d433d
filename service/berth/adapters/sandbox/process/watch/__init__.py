"""Watches what a sandbox uses of the machine, from outside."""
