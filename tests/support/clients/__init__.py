"""Clients for what ordinary ones do not send or show."""
