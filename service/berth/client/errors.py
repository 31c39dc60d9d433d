"""Why something that somebody asked for was not done."""


class ClientError(Exception):
    """What was asked for was not done. The text is for people, without secrets."""


class RefusedError(ClientError):
    """The server said no; the text is the server's own, and so are `param`, the parameter at fault, and `code`."""

    def __init__(self, text: str, *, param: str = "", code: str = "") -> None:
        super().__init__(text)
        self.param = param
        self.code = code


class KeyRequiredError(ClientError):
    """The server wants a key, and none was shown."""


class LocalFileError(ClientError):
    """A file of this machine could not be read or written; the text names it."""
