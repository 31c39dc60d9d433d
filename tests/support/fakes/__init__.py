"""Fakes of the ports in memory, and values to fill them with."""
