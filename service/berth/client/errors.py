"""Why something that somebody asked for was not done."""


class ClientError(Exception):
    """What was asked for was not done. The text is for people, without secrets."""


class RefusedError(ClientError):
    """The server said no; the text is the server's own."""


class LocalFileError(ClientError):
    """A file of this machine could not be read or written; the text names it."""
