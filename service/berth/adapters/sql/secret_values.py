"""Converts domain secrets to rows and back, encrypted where there is a cipher.

A row says which key its value is encrypted with. Rows without one are plain text and can always be read, so a key can
be configured at any time; it applies to containers that are created from then on.
"""

import orjson

from berth.adapters.sql.database import Row
from berth.core.errors import StorageError
from berth.core.ports.cipher import Cipher
from berth.v1.container_service_pb2 import DomainSecret

SECRETS = "SELECT domain, name, value, key_id FROM domain_secrets WHERE container_seq = :container_seq ORDER BY seq"
_CODE = "secrets_unreadable"


def secret_values(secret: DomainSecret, container_id: str, cipher: Cipher | None) -> Row:
    """Return the values of `domain`, `name`, `value` and `key_id` for a secret of a container."""
    if cipher is None:
        return secret.domain, secret.name, secret.value, None
    encrypted = cipher.encrypt(secret.value, _context(container_id, secret.domain, secret.name))
    return secret.domain, secret.name, encrypted, cipher.key_id


def domain_secret(row: Row, container_id: str, cipher: Cipher | None) -> DomainSecret:
    """Return the secret of a row of SECRETS. StorageError if `cipher` cannot decrypt its value."""
    domain, name, value, key_id = row
    if key_id is not None:
        value = _decrypt(value, key_id, _context(container_id, domain, name), cipher)
    return DomainSecret(domain=domain, name=name, value=value)


def _decrypt(value: str, key_id: str, context: str, cipher: Cipher | None) -> str:
    if cipher is None:
        raise _unreadable("they are encrypted, and store.secret_key is not set")
    if cipher.key_id != key_id:
        raise _unreadable("they were encrypted with another key than store.secret_key")
    try:
        return cipher.decrypt(value, context)
    except ValueError as error:
        raise _unreadable("they were changed in the database") from error


def _context(*parts: str) -> str:
    """Return a text that is the same only for the same parts."""
    return orjson.dumps(parts).decode()


def _unreadable(reason: str) -> StorageError:
    """Return the error of secrets that cannot be decrypted; it is final, because a retry would fail again."""
    error = StorageError(f"The secrets of the container cannot be read: {reason}.", code=_CODE)
    error.is_final = True
    return error
