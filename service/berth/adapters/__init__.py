"""Implementations of the core's ports: one folder for each outside system."""
