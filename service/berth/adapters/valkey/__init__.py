"""Ports that replicas share through Valkey."""
