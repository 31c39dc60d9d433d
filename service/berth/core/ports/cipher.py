"""Cipher: the port for the encryption of secrets at rest."""

from typing import Protocol


class Cipher(Protocol):
    """Encrypts texts with one key, which `key_id` names without revealing it.

    `context` says what a text belongs to; an encrypted text can only be decrypted in its own context.
    """

    @property
    def key_id(self) -> str:
        """The name of the key."""

    def encrypt(self, text: str, context: str) -> str:
        """Return `text` encrypted; the same text is encrypted differently each time."""

    def decrypt(self, encrypted: str, context: str) -> str:
        """Return the text. ValueError if it was changed, or encrypted with another key or in another context."""
