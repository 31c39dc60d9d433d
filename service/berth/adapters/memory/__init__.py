"""Implementations of ports in the memory of the process."""
