"""Berth: the Containers API for every AI provider, over gRPC and REST."""
