"""AesGcm: the Cipher with AES-256-GCM.

An encrypted text is the Base64 of a random nonce of 12 bytes, the ciphertext and its tag. The context is authenticated
with it. Random nonces are safe for 2^32 texts with one key.
"""

import os
from base64 import b64decode, b64encode
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_KEY_ID_DIGITS = 16


class AesGcm:
    """A Cipher with a key of KEY_BYTES."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._key_id = sha256(b"key id\0" + key).hexdigest()[:_KEY_ID_DIGITS]

    @property
    def key_id(self) -> str:
        """The name of the key; see Cipher."""
        return self._key_id

    def encrypt(self, text: str, context: str) -> str:
        """Encrypt a text; see Cipher."""
        nonce = os.urandom(_NONCE_BYTES)
        encrypted = self._cipher.encrypt(nonce, text.encode(), context.encode())
        return b64encode(nonce + encrypted).decode()

    def decrypt(self, encrypted: str, context: str) -> str:
        """Decrypt a text; see Cipher."""
        data = b64decode(encrypted)
        try:
            return self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], context.encode()).decode()
        except InvalidTag:
            raise ValueError("the text was not encrypted like this") from None
