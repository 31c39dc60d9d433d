"""Encryption with the package `cryptography`."""
