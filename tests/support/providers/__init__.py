"""Providers on loopback sockets that passthrough backends talk to."""
