"""Berth: the Containers API for every AI provider, over gRPC and REST."""

DISTRIBUTION = "berth-containers"
"""The name on package indexes."""
