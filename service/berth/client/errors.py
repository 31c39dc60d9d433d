"""The errors of commands that call a server or read and write local files."""


class ClientError(Exception):
    """A command failed. The message is for people and contains no secrets."""


class RefusedError(ClientError):
    """The server rejected the request; the message, `param` (the parameter at fault) and `code` are the server's."""

    def __init__(self, text: str, *, param: str = "", code: str = "") -> None:
        super().__init__(text)
        self.param = param
        self.code = code


class KeyRequiredError(ClientError):
    """The server requires a key, and none was sent."""


class KeyRefusedError(ClientError):
    """The server does not accept the key that was sent; the message is the server's."""


class LocalFileError(ClientError):
    """A local file could not be read or written; the message names it."""
