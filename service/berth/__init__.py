"""Berth: the Containers API for every AI provider, as gRPC and as REST."""
