"""Berth from the other side: what the commands for people need to call a server, over gRPC."""
