"""Ports implemented in the process's own memory."""
