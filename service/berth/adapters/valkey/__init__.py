"""Implementations of ports that replicas share through Valkey."""
